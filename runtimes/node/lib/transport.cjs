'use strict';
/*
 * The connection to the Runtime API, one level below net.Socket: loading `net` and its streams costs 3 to 6 ms of a cold
 * start, the handle underneath is part of every Node process. Where the handle cannot be had (a host name instead of an IPv4
 * address, or a Node without process.binding) net.Socket does the same job.
 *
 * While an invocation runs the connection is unref'd: it must not keep the event loop of a finished handler alive.
 */
const READ_BYTES = 64 * 1024;
const LAST_WORDS_MS = 2000;

function load_binding() {
    try {
        const { TCP, TCPConnectWrap, constants } = process.binding('tcp_wrap');
        const { WriteWrap, streamBaseState, kReadBytesOrError, kLastWriteWasAsync } = process.binding('stream_wrap');
        if (typeof kReadBytesOrError !== 'number' || typeof TCP.prototype.useUserBuffer !== 'function') return null;
        return { TCP, TCPConnectWrap, constants, WriteWrap, streamBaseState, kReadBytesOrError, kLastWriteWasAsync };
    } catch {
        return null;
    }
}

/** What both kinds share. on_data(buffer, valid during the call only), on_close() once, not after close(). */
class Transport {
    constructor(on_data, on_close) {
        this.on_data = on_data;
        this.on_close = on_close;
        this.open = false;
        this.fd = -1;
        this.writes = 0; // unfinished
        this.on_flushed = null;
    }

    written() {
        this.writes--;
        if (this.writes === 0 && this.on_flushed) this.on_flushed();
    }

    closed() {
        if (!this.open) return;
        this.close();
        this.on_close();
    }
}

class HandleTransport extends Transport {
    #binding;
    #handle;
    #early = []; // written before the connection stood
    #connected = false;

    constructor(binding, host, port, on_data, on_close) {
        super(on_data, on_close);
        this.#binding = binding;
        this.#handle = new binding.TCP(binding.constants.SOCKET);
        const request = new binding.TCPConnectWrap();
        request.oncomplete = (status) => this.#on_connect(status);
        this.open = true;
        const result = this.#handle.connect(request, host, port);
        if (result !== 0) throw new Error(`Runtime API: connect ${host}:${port} failed (${result})`);
        this.fd = this.#handle.fd;
        this.#handle.unref();
    }

    #on_connect(status) {
        if (!this.open) return;
        if (status !== 0) {
            this.closed();
            return;
        }
        const { streamBaseState, kReadBytesOrError } = this.#binding;
        const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
        this.#connected = true;
        this.#handle.setNoDelay(true);
        this.#handle.useUserBuffer(buffer);
        this.#handle.onread = () => {
            const count = streamBaseState[kReadBytesOrError];
            if (count > 0) this.on_data(buffer.subarray(0, count));
            else if (count < 0) this.closed();
        };
        this.#handle.readStart();
        const early = this.#early;
        this.#early = [];
        for (const data of early) this.write(data);
    }

    write(data) {
        if (!this.#connected) {
            this.#early.push(data);
            return;
        }
        const request = new this.#binding.WriteWrap();
        request.oncomplete = (status) => {
            this.written();
            if (status !== 0) this.closed();
        };
        const result =
            typeof data === 'string'
                ? this.#handle.writeUtf8String(request, data)
                : this.#handle.writeBuffer(request, data);
        if (result !== 0) setImmediate(() => this.closed());
        else if (this.#binding.streamBaseState[this.#binding.kLastWriteWasAsync]) this.writes++;
    }

    ref() {
        this.#handle.ref();
    }

    unref() {
        this.#handle.unref();
    }

    close() {
        this.open = false;
        this.#handle.close();
    }
}

class SocketTransport extends Transport {
    #socket;

    constructor(host, port, on_data, on_close) {
        super(on_data, on_close);
        this.open = true;
        this.#socket = require('net').connect({ host, port, noDelay: true });
        this.#socket.unref();
        this.#socket.on('connect', () => {
            this.fd = this.#socket._handle?.fd ?? -1;
        });
        this.#socket.on('data', (data) => this.on_data(data));
        this.#socket.on('error', () => this.closed());
        this.#socket.on('close', () => this.closed());
    }

    write(data) {
        this.writes++;
        this.#socket.write(data, () => this.written());
    }

    ref() {
        this.#socket.ref();
    }

    unref() {
        this.#socket.unref();
    }

    close() {
        this.open = false;
        this.#socket.destroy();
    }
}

/** Connects in the background; what is written before the connection stands is sent then. find_binding: where the handles
 * come from, null for net.Socket. */
function connect(host, port, on_data, on_close, find_binding = load_binding) {
    const binding = /^[0-9.]+$/.test(host) ? find_binding() : null;
    if (binding) return new HandleTransport(binding, host, port, on_data, on_close);
    return new SocketTransport(host, port, on_data, on_close);
}

/** Retries a non-blocking call until it passes or the deadline is over; returns its result, or -1. */
function insist(call, deadline) {
    for (;;) {
        try {
            return call();
        } catch (error) {
            if (error.code !== 'EAGAIN' || Date.now() > deadline) return -1;
            Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
        }
    }
}

/** Sends a request and waits for its answer without returning to the event loop, so that no user code runs between an
 * uncaught exception and the end of the process. False when the connection is in no state for that. */
function say_last_words(transport, request) {
    if (transport.fd < 0 || transport.writes > 0 || !transport.open) return false;
    const fs = require('fs');
    const deadline = Date.now() + LAST_WORDS_MS;
    const data = Buffer.from(request);
    for (let sent = 0; sent < data.length; ) {
        const count = insist(() => fs.writeSync(transport.fd, data, sent), deadline);
        if (count < 0) return true; // nobody listens
        sent += count;
    }
    const answer = Buffer.alloc(4096);
    insist(() => fs.readSync(transport.fd, answer, 0, answer.length, null), deadline);
    return true;
}

module.exports = { connect, say_last_words };
