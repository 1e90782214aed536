'use strict';
/*
 * The client's loop: wait in `next`, run the invocation, send its result and the following `next` together, again.
 *
 *   loading --start()--> waiting --event--> running --reply()--> replied --one write--> waiting
 *   loading --park()--> parked --wake-up--> loading, in a clone: there is no handler before (lib/template.cjs)
 *   loading --park_for_restore()--> parked --answer--> restoring --start()--> waiting (lib/snapshot.cjs)
 *   any state --die()--> dead, and the process exits
 *
 * All state of the loop is in the object: parked in `next` it can be copied with its process, and a second loop with another
 * address can run beside it.
 */
const { say_last_words, connect } = require('./transport.cjs');
const errors = require('./errors.cjs');
const { ResponseReader } = require('./http.cjs');
const { run } = require('./invocation.cjs');

const PREFIX = '/2018-06-01/runtime';
const MAX_CAUSE = 64 * 1024; // Lambda crops the X-Ray cause there
const EXIT_API_GONE = 1;
const EXIT_API_ERROR = 129;
const AFTER_RESTORE_ERROR = 'Runtime.AfterRestoreError';
const LAST_WORDS_MS = 2000;

class Loop {
    #host;
    #port;
    #authority;
    #next;
    #transport = null;
    #reader = null;
    #handler = null;
    #on_answer = null; // while parked
    #state_after = '';
    #connect;
    #state = 'loading';
    #invocation = null; // {id}
    #reply = null; // of the finished invocation, not sent yet
    #unanswered = 0; // posts whose answer has not come
    #server_closes = false;
    /** Called once, after the first result was sent. */
    after_reply = null;

    /** address: "host:port", AWS_LAMBDA_RUNTIME_API. connect_to: transport.connect(), or what speaks like it. */
    constructor(address, connect_to = connect) {
        const colon = String(address).lastIndexOf(':');
        this.#host = String(address).slice(0, colon);
        this.#port = Number(String(address).slice(colon + 1));
        if (colon < 1 || !Number.isInteger(this.#port)) throw new Error(`AWS_LAMBDA_RUNTIME_API: bad address ${address}`);
        this.#authority = address;
        this.#connect = connect_to;
        this.#next = this.#get('/invocation/next');
    }

    /** Starts connecting; never waits. */
    connect() {
        this.#reader = new ResponseReader((response) => this.#on_response(response));
        this.#unanswered = 0;
        this.#server_closes = false;
        this.#transport = this.#connect(
            this.#host,
            this.#port,
            (data) => this.#on_data(data),
            () => this.#on_close(),
        );
    }

    /** Ends INIT or the restore: asks for the first invocation. headers: of that request, each with its line end. */
    start(handler, headers = '') {
        if (this.#state !== 'loading' && this.#state !== 'restoring') return;
        this.#handler = handler;
        this.#ask('waiting', '', headers === '' ? this.#next : this.#get('/invocation/next', headers));
    }

    /** Nobody waits for this process. */
    get is_waiting() {
        return this.#state === 'waiting';
    }

    /** Hands over what lib/code_cache.cjs has made (Buffers), on a connection of its own: this one is busy waiting. */
    send_code_cache(parts) {
        const length = parts.reduce((sum, part) => sum + part.length, 0);
        const end = () => transport.close();
        const transport = this.#connect(this.#host, this.#port, end, () => {});
        const head = `PUT /irori/code-cache HTTP/1.1\r\nHost: ${this.#authority}\r\nContent-Length: ${length}\r\n\r\n`;
        transport.write(head);
        for (const part of parts) transport.write(part);
    }

    /** Asks for the first invocation with no handler loaded. What comes is the wake-up message of a clone: on_answer(response) is
     * called once, and INIT follows on the same connection. */
    park(on_answer) {
        this.#park(this.#next, 'loading', on_answer);
    }

    /** Asks for the restore; what fails after its answer is told as an error of the restore. on_answer as above. */
    park_for_restore(on_answer) {
        this.#park(this.#get('/restore/next'), 'restoring', on_answer);
    }

    #park(request, state_after, on_answer) {
        if (this.#state !== 'loading') return;
        this.#on_answer = on_answer;
        this.#state_after = state_after;
        this.#ask('parked', '', request);
    }

    #get(path, headers = '') {
        return `GET ${PREFIX}${path} HTTP/1.1\r\nHost: ${this.#authority}\r\n${headers}\r\n`;
    }

    /** Sends data and waits for the next event. */
    #wait(data) {
        this.#ask('waiting', data);
    }

    #ask(state, data, request = this.#next) {
        this.#state = state;
        this.#invocation = null;
        if (!this.#transport.open) this.connect();
        this.#transport.ref();
        this.#transport.write(
            typeof data === 'string' ? data + request : Buffer.concat([data, Buffer.from(request)]),
        );
    }

    #on_data(data) {
        try {
            this.#reader.push(data);
        } catch (error) {
            this.give_up(error.message);
        }
    }

    #on_response(response) {
        this.#server_closes = /close/i.test(response.headers.connection);
        if (this.#unanswered > 0) {
            // Accepted or not (413 for a response that is too large): the platform has recorded it, work goes on.
            this.#unanswered--;
            if (response.status < 200 || response.status > 299) {
                const message = `LAMBDA_RUNTIME Failed to post handler success response. Http response code: ${response.status}.`;
                process.stderr.write(`[ERROR] [${Date.now()}] ${message}\n`);
            }
            if (this.#server_closes && this.#state === 'waiting') this.#transport.closed();
            return;
        }
        if (this.#state === 'parked') {
            this.#leave_parking(response);
            return;
        }
        if (this.#state !== 'waiting') return; // nothing was asked
        const id = response.headers['lambda-runtime-aws-request-id'];
        if (response.status !== 200 || !id) {
            this.give_up(`next answered ${response.status}`, EXIT_API_ERROR);
            return;
        }
        this.#state = 'running';
        this.#invocation = { id };
        this.#transport.unref();
        run(this, this.#handler, response);
    }

    #leave_parking(response) {
        this.#state = this.#state_after;
        this.#transport.unref();
        this.#on_answer(response);
    }

    #on_close() {
        if (this.#state === 'waiting' && this.#server_closes) this.#wait('');
        else if (['waiting', 'parked', 'loading', 'restoring'].includes(this.#state)) this.give_up('connection closed');
        // While an invocation runs its reply finds out and connects again.
    }

    /** Ends the process: the Runtime API is of no use any more. */
    give_up(reason, code = EXIT_API_GONE) {
        process.stderr.write(`Runtime API ${this.#authority}: ${reason}\n`);
        process.exit(code);
    }

    #post(path, headers, body) {
        const length = Buffer.byteLength(body);
        const head = `POST ${PREFIX}${path} HTTP/1.1\r\nHost: ${this.#authority}\r\n${headers}Content-Length: ${length}\r\n\r\n`;
        return typeof body === 'string' ? head + body : Buffer.concat([Buffer.from(head), body]);
    }

    #error_request(error, id) {
        const cause = errors.to_xray_cause(error, MAX_CAUSE);
        const headers = `Content-Type: application/json\r\nLambda-Runtime-Function-XRay-Error-Cause: ${cause}\r\n`;
        return this.#post(`/invocation/${encodeURIComponent(id)}/error`, headers, JSON.stringify(errors.to_payload(error)));
    }

    /** kind: the error's type for the platform; undefined: as the error is called. */
    #phase_error_request(path, error, kind) {
        const payload = errors.to_payload(error);
        const type = String(kind ?? payload.errorType).replace(/[^\x20-\x7e]/g, '?').slice(0, 1024);
        const headers = `Content-Type: application/json\r\nLambda-Runtime-Function-Error-Type: ${type}\r\n`;
        return this.#post(path, headers, JSON.stringify(payload));
    }

    /** Ends the invocation with a body (string or Buffer). */
    reply(body, content_type = 'application/json') {
        const path = `/invocation/${encodeURIComponent(this.#invocation.id)}/response`;
        this.#finish(this.#post(path, `Content-Type: ${content_type}\r\n`, body));
    }

    /** Ends the invocation with an error; the environment lives on. */
    reply_error(error) {
        this.#finish(this.#error_request(error, this.#invocation.id));
    }

    /** The write waits until rejections and exceptions of this turn are known: after one of them the result still counts,
     * but no further event may be asked for. */
    #finish(request) {
        if (this.#state !== 'running') return;
        this.#state = 'replied';
        this.#reply = request;
        setImmediate(() => {
            if (this.#state === 'replied') this.#send_reply();
        });
    }

    #send_reply() {
        const reply = this.#reply;
        this.#reply = null;
        if (!this.#transport.open) this.connect();
        this.#wait(reply);
        this.#unanswered++;
        const { after_reply } = this;
        this.after_reply = null;
        after_reply?.();
    }

    /** Ends the process with code, after telling the Runtime API what it does not know yet: the error of INIT (of this kind, when
     * it is given) or of the restore, the error of the running invocation, or the result that was about to be sent. */
    die(error, code, kind = undefined) {
        const state = this.#state;
        if (state === 'dead') return;
        this.#state = 'dead';
        if (state === 'waiting' || state === 'parked') {
            this.#exit_when_flushed(code);
            return;
        }
        if (!this.#transport.open) this.connect();
        const request = this.#last_request(state, error, kind);
        if (say_last_words(this.#transport, request)) process.exit(code);
        this.#transport.on_data = this.#transport.on_close = () => process.exit(code);
        this.#transport.ref();
        this.#transport.write(request);
        setTimeout(() => process.exit(code), LAST_WORDS_MS);
    }

    #last_request(state, error, kind) {
        if (state === 'replied') return this.#reply;
        if (state === 'loading') return this.#phase_error_request('/init/error', error, kind);
        if (state === 'restoring') return this.#phase_error_request('/restore/error', error, AFTER_RESTORE_ERROR);
        return this.#error_request(error, this.#invocation.id);
    }

    #exit_when_flushed(code) {
        if (this.#transport.writes === 0) process.exit(code);
        this.#transport.on_flushed = this.#transport.on_close = () => process.exit(code);
        setTimeout(() => process.exit(code), LAST_WORDS_MS);
    }
}

module.exports = { Loop };
