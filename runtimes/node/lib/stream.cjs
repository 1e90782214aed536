'use strict';
/*
 * Handlers wrapped in awslambda.streamifyResponse: handler(event, responseStream, context). The stream is collected and
 * posted as one body, with the content type the handler chose; a prelude (HttpResponseStream.from) stays in front of it.
 */
const { Writable } = require('stream');

const { InvalidStreamingOperation } = require('./errors.cjs');
const globals = require('./globals.cjs');
const log = require('./log.cjs');

const BEFORE_EXIT = Symbol.for('aws.lambda.beforeExit');

class ResponseStream extends Writable {
    #chunks = [];
    #content_type = 'application/octet-stream';
    #started = false;

    constructor(high_water_mark) {
        super({ decodeStrings: true, highWaterMark: high_water_mark });
    }

    setContentType(type) {
        if (this.#started) throw new InvalidStreamingOperation('Cannot set content-type, too late.');
        if (/[^\t\x20-\x7e\x80-\xff]/.test(type)) throw new TypeError('Invalid character in header content ["Content-Type"]');
        this.#content_type = type;
    }

    /** As AWS's: anything but text and bytes is sent as JSON, and a prelude goes before the first chunk. */
    write(chunk, encoding, callback) {
        const bytes = typeof chunk === 'string' || chunk instanceof Uint8Array;
        if (!this.#started) {
            this.#started = true;
            if (typeof this._onBeforeFirstWrite === 'function') this._onBeforeFirstWrite((part) => super.write(part));
        }
        return super.write(bytes ? chunk : JSON.stringify(chunk), encoding, callback);
    }

    /** Through write(), so that end(chunk) as the only call sends the prelude too. */
    end(chunk, encoding, callback) {
        if (typeof chunk === 'function') return super.end(chunk);
        if (chunk !== undefined && chunk !== null) this.write(chunk, typeof encoding === 'string' ? encoding : undefined);
        return super.end(typeof encoding === 'function' ? encoding : callback);
    }

    _write(chunk, _encoding, callback) {
        this.#chunks.push(chunk);
        callback();
    }

    get result() {
        return { body: Buffer.concat(this.#chunks), content_type: this.#content_type };
    }
}

/** Same contract as invocation.run(). */
function run_streaming(loop, handler, { headers, body }, { complete_context, die_unsettled }) {
    const stream = new ResponseStream(handler[globals.HIGH_WATER_MARK]);
    let open = true;
    const finish = (reply) => {
        if (!open) return;
        open = false;
        globalThis[BEFORE_EXIT] = () => {};
        reply();
    };
    const fail = (error) =>
        finish(() => {
            log.error('Invoke Error', error);
            loop.reply_error(error);
        });
    // At once, whatever callbackWaitsForEmptyEventLoop says: a stream's caller has its answer when the stream ends.
    const succeed = () => finish(() => loop.reply(stream.result.body, stream.result.content_type));
    const context = { callbackWaitsForEmptyEventLoop: true };
    stream.on('error', fail);
    globalThis[BEFORE_EXIT] = die_unsettled;
    try {
        const event = JSON.parse(body.utf8Slice(0, body.length));
        const result = handler(event, stream, complete_context(context, headers));
        if (!result || typeof result.then !== 'function') {
            fail(new Error('Streaming does not support non-async handlers.'));
            return;
        }
        result.then((value) => {
            if (value !== undefined) console.warn('Streaming handlers ignore return values.');
            if (stream.writableFinished) succeed();
            else {
                globalThis[BEFORE_EXIT] = () => fail(new Error('Response stream is not finished.'));
                stream.on('finish', succeed);
            }
        }, fail);
    } catch (error) {
        fail(error);
    }
}

module.exports = { run_streaming };
