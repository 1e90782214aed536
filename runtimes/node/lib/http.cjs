'use strict';
/*
 * The little HTTP/1.1 that the Runtime API needs: responses are read incrementally, with Content-Length or chunked bodies.
 * Refuses what no Runtime API sends: heads above 1 MiB, bodies above 64 MiB, a response that is not HTTP/1.x.
 */
const MAX_HEAD = 1024 * 1024;
const MAX_BODY = 64 * 1024 * 1024;
const MAX_LINE = 4096; // of a chunk size or a trailer
const EMPTY = Buffer.alloc(0);

/** Header values are UTF-8 here (client contexts); Latin-1 is the fast way to read the ASCII they usually are. */
const decode = (value) => (/[\x80-\xff]/.test(value) ? Buffer.from(value, 'latin1').toString('utf8') : value);

function parse_head(text) {
    const lines = text.split('\r\n');
    const match = /^HTTP\/1\.[01] ([0-9]{3})(?: |$)/.exec(lines[0]);
    if (!match) throw new Error('Runtime API: not an HTTP/1.x response');
    const headers = Object.create(null);
    for (let i = 1; i < lines.length; i++) {
        const colon = lines[i].indexOf(':');
        if (colon > 0) headers[lines[i].slice(0, colon).toLowerCase()] = decode(lines[i].slice(colon + 1).trim());
    }
    return { status: Number(match[1]), headers, body: EMPTY };
}

function parse_length(value) {
    if (value === undefined) return 0;
    if (!/^[0-9]{1,9}$/.test(value) || Number(value) > MAX_BODY) throw new Error('Runtime API: bad Content-Length');
    return Number(value);
}

class ResponseReader {
    #on_response;
    #rest = EMPTY; // bytes of an unfinished head or chunk line
    #response = null; // whose body is being read
    #wanted = 0; // bytes missing from a body of known length or from a chunk
    #filled = 0;
    #chunks = null; // parts of a chunked body
    #size = 0; // of all chunks
    #state = 'head';

    /** on_response({status, headers, body}) is called once per response, from push(). */
    constructor(on_response) {
        this.#on_response = on_response;
    }

    /** Reads bytes, which are the caller's again afterwards. Throws on what is no response. */
    push(bytes) {
        let data = this.#rest.length ? Buffer.concat([this.#rest, bytes]) : bytes;
        this.#rest = EMPTY;
        while (data !== null && (data.length > 0 || this.#state === 'done')) data = this.#step(data);
    }

    /** Takes what it can from the front; returns the remainder, or null when more bytes are needed. */
    #step(data) {
        switch (this.#state) {
            case 'head':
                return this.#read_head(data);
            case 'body':
                return this.#read_body(data);
            case 'size':
                return this.#read_size(data);
            case 'chunk':
                return this.#read_chunk(data);
            case 'chunk-end':
                return this.#read_line(data, () => 'size');
            case 'trailer':
                return this.#read_line(data, (line) => (line === '' ? 'done' : 'trailer'));
            default:
                return this.#finish(data);
        }
    }

    #read_head(data) {
        const end = data.indexOf('\r\n\r\n');
        if (end < 0) return this.#keep(data, MAX_HEAD);
        this.#response = parse_head(data.latin1Slice(0, end));
        const { status, headers } = this.#response;
        if (status < 200) return data.subarray(end + 4); // 100 Continue: the response is still to come
        if (/chunked/i.test(headers['transfer-encoding'])) {
            this.#chunks = [];
            this.#size = 0;
            this.#state = 'size';
            return data.subarray(end + 4);
        }
        const length = status === 204 || status === 304 ? 0 : parse_length(headers['content-length']);
        const start = end + 4;
        if (data.length - start >= length) {
            this.#response.body = data.subarray(start, start + length); // whole: no copy
            return this.#finish(data.subarray(start + length));
        }
        this.#response.body = Buffer.allocUnsafe(length);
        this.#wanted = length;
        this.#filled = 0;
        this.#state = 'body';
        return data.subarray(start);
    }

    #read_body(data) {
        const taken = Math.min(this.#wanted, data.length);
        data.copy(this.#response.body, this.#filled, 0, taken);
        this.#filled += taken;
        this.#wanted -= taken;
        if (this.#wanted === 0) this.#state = 'done';
        return data.subarray(taken);
    }

    #read_size(data) {
        return this.#read_line(data, (line) => {
            const match = /^([0-9a-f]{1,8})[ \t]*(?:;|$)/i.exec(line);
            this.#wanted = match ? parseInt(match[1], 16) : -1;
            this.#size += this.#wanted;
            if (this.#wanted < 0 || this.#size > MAX_BODY) throw new Error('Runtime API: bad chunk size');
            return this.#wanted === 0 ? 'trailer' : 'chunk';
        });
    }

    #read_chunk(data) {
        const taken = Math.min(this.#wanted, data.length);
        this.#chunks.push(Buffer.from(data.subarray(0, taken)));
        this.#wanted -= taken;
        if (this.#wanted === 0) this.#state = 'chunk-end';
        return data.subarray(taken);
    }

    /** One CRLF-terminated line; next_state(line) says what follows it. */
    #read_line(data, next_state) {
        const end = data.indexOf('\r\n');
        if (end < 0) return this.#keep(data, MAX_LINE);
        this.#state = next_state(data.latin1Slice(0, end));
        return data.subarray(end + 2);
    }

    #keep(data, limit) {
        if (data.length > limit) throw new Error('Runtime API: line too long');
        this.#rest = Buffer.from(data);
        return null;
    }

    #finish(data) {
        const response = this.#response;
        if (this.#chunks) response.body = Buffer.concat(this.#chunks);
        this.#response = this.#chunks = null;
        this.#state = 'head';
        this.#on_response(response);
        return data;
    }
}

module.exports = { ResponseReader };
