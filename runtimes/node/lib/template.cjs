'use strict';
/*
 * The runtime template: this process, before it belongs to any function. It loads what an invocation and the loading of a
 * handler need, rehearses both in memory, and parks in `next`. Environments are clones of the parked process: the answer to
 * `next` is the wake-up message of the clone, which names the function. After it an ordinary INIT follows.
 *
 *   {"seed":"<64 hex digits>","env":{"NAME":"value",...},"root":"/var/task"}      with the header Irori-Wake: runtime
 *
 * A clone has everything that is in memory here. So nothing may stay open or pending, no thread may be started that cannot
 * wait, and what the rehearsal changed is changed back: user code finds the process as an ordinary start leaves it.
 *
 * Random numbers: Math.random of this context is never called before the wake-up, so that the seed counts. The stocks of
 * crypto.randomUUID and crypto.randomInt are not filled either; OpenSSL itself notices the new process id. Not solved: the
 * Math.random of further vm contexts, which V8 seeds from a generator that all clones share.
 */
const v8 = require('v8');

// With these a heap that grows sets a timer for a collection 8 s later, and every clone would begin with that.
const AFTERTHOUGHTS_OFF = '--no-incremental-marking --no-memory-reducer-for-small-heaps';
const AFTERTHOUGHTS_ON = '--incremental-marking --memory-reducer-for-small-heaps';
v8.setFlagsFromString(AFTERTHOUGHTS_OFF); // before anything is loaded

const fs = require('fs');
const Module = require('module');
const os = require('os');
const path = require('path');

const { Loop } = require('./loop.cjs');
const transport = require('./transport.cjs');

const ROUNDS = 15; // of each play three; more make no clone faster and all of them larger
const SETTLE_MS = 50; // for V8's helper threads, before the process is said to be quiet
const RANDOM_SEED_MASK = 0x7fffffff; // V8's flag has 31 bits; 0 would mean none

/** What functions commonly import, with the cost of loading it paid once. None of them opens or starts anything. */
const COMMON_MODULES = [
    'assert', 'async_hooks', 'buffer', 'child_process', 'crypto', 'events', 'fs', 'fs/promises', 'http', 'https', 'module', 'net',
    'os', 'path', 'perf_hooks', 'querystring', 'stream', 'stream/promises', 'string_decoder', 'timers/promises', 'tls', 'url',
    'util', 'zlib',
];

// -- in the clone

/** process.pid is a value that Node read at its start. */
function restore_pid() {
    Object.defineProperty(process, 'pid', { value: Number(fs.readlinkSync('/proc/self')) });
}

/** Only differences are written: an assignment to TZ, even of the same value, makes V8 forget what it knows of time zones. */
function replace_env(wanted) {
    const { env } = process;
    for (const name of Object.keys(env)) {
        if (!Object.hasOwn(wanted, name)) delete env[name];
    }
    for (const name of Object.keys(wanted)) {
        if (env[name] !== wanted[name]) env[name] = wanted[name];
    }
}

/** V8 takes the seed when a context's Math.random is called first. Without the flag afterwards Workers seed themselves. */
function reseed(seed, draw) {
    v8.setFlagsFromString(`--random-seed=${parseInt(seed.slice(0, 8), 16) & RANDOM_SEED_MASK || 1}`);
    draw();
    v8.setFlagsFromString('--random-seed=0');
}

/** process.uptime() counts from the wake-up. */
function restart_uptime() {
    const { uptime } = process;
    const start = uptime();
    process.uptime = { uptime: () => uptime() - start }.uptime;
}

/** The pipe behind process.stdout is a new one; Node sets O_NONBLOCK when it makes the stream. */
function adopt_stdout() {
    process.stdout._handle?.setBlocking(false);
}

/** Makes of this process what an ordinary start with the environment of a function would have made. */
function restore(body, draw_random_number = Math.random) {
    const { seed, env, root } = JSON.parse(body);
    const { HOME, NODE_PATH } = process.env;
    restore_pid();
    replace_env(env);
    process.chdir(root);
    if (env.HOME !== HOME || env.NODE_PATH !== NODE_PATH) Module._initPaths();
    reseed(seed, draw_random_number);
    restart_uptime();
    adopt_stdout();
}

// -- the rehearsal

/** A Runtime API in memory, in the shape of Node's own socket handles: answers each `next` with one of responses, and calls
 * on_end when it has no more. */
function make_binding(responses, on_end) {
    const streamBaseState = [0, 0];
    class TCP {
        connect(request) {
            setImmediate(() => request.oncomplete(0));
            return 0;
        }
        useUserBuffer(buffer) {
            this.buffer = buffer;
        }
        answer(request) {
            const response = responses.shift();
            if (response === undefined) {
                on_end();
                return;
            }
            const accepted = request.startsWith('POST') ? 'HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n' : '';
            streamBaseState[0] = this.buffer.write(accepted + response);
            this.onread();
        }
        writeUtf8String(_request, text) {
            setImmediate(() => this.answer(text));
            return 0;
        }
        writeBuffer(_request, data) {
            return this.writeUtf8String(_request, data.toString());
        }
        setNoDelay() {}
        readStart() {}
        ref() {}
        unref() {}
    }
    return {
        TCP,
        TCPConnectWrap: class {},
        WriteWrap: class {},
        constants: { SOCKET: 0 },
        streamBaseState,
        kReadBytesOrError: 0,
        kLastWriteWasAsync: 1,
    };
}

function make_response(headers, value) {
    const body = JSON.stringify(value);
    const lines = Object.entries({ ...headers, 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) });
    return `HTTP/1.1 200 OK\r\n${lines.map(([name, text]) => `${name}: ${text}\r\n`).join('')}\r\n${body}`;
}

function make_event(number, event) {
    const headers = {
        'Lambda-Runtime-Aws-Request-Id': `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`,
        'Lambda-Runtime-Deadline-Ms': Date.now() + 3000,
        'Lambda-Runtime-Invoked-Function-Arn': 'arn:aws:lambda:us-east-1:000000000000:function:rehearsal',
        'Lambda-Runtime-Trace-Id': 'Root=1-00000000-000000000000000000000000;Sampled=0',
    };
    return make_response(headers, event);
}

const BODY = `
class Greeter {
    #name;
    constructor(name) { this.#name = name; }
    greet(options = {}) { return { text: \`hello \${this.#name}\`, ...options }; }
}
const pause = () => new Promise((resolve) => setImmediate(resolve));
async function handle(event, context) {
    console.log('event', event, [1, { two: 2 }], 'three');
    console.error(new Error('rehearsal'));
    if (event.fail) throw new TypeError('rehearsal');
    await pause();
    const body = Buffer.from(JSON.stringify({ ...event, id: context.awsRequestId }));
    const hash = crypto.createHash('sha256').update(body).digest('hex');
    const mac = crypto.createHmac('sha256', 'key').update(hash).digest('base64');
    return { statusCode: 200, headers: { 'Content-Type': 'text/plain' }, body: body.toString('base64'),
        more: new Greeter('you').greet({ mac, left: context.getRemainingTimeInMillis(), env: process.env.LANG }) };
}
function call_back(event, context, callback) {
    console.warn('%s %j %d', 'a', event, 1);
    context.callbackWaitsForEmptyEventLoop = false;
    callback(null, { path: path.join('a', 'b'), time: new Date().toISOString() });
}
async function stream(event, response) {
    response.setContentType('text/plain');
    response.write('a');
    response.end('b');
}
`;
const REQUIRES = `
const fs = require('fs'); const path = require('node:path'); const crypto = require('crypto');
const helper = require('./helper'); const dep = require('dep');
`;
const IMPORTS = `
import fs from 'fs'; import * as path from 'node:path'; import crypto from 'crypto'; import helper from './helper.js';
import { deep } from './deep.mjs'; import dep from 'dep';
`;
const PACKAGE_OF_DEP = JSON.stringify({
    name: 'dep',
    version: '1.0.0',
    main: 'index.js',
    exports: { '.': { import: './index.mjs', require: './index.js' } },
});
const EXPORTS = {
    commonjs: 'exports.handler = handle; exports.callback = call_back; exports.stream = awslambda.streamifyResponse(stream);',
    module: `const streaming = awslambda.streamifyResponse(stream);
        export { handle as handler, call_back as callback, streaming as stream };`,
};
const PLAYS = [
    { type: 'module', file: 'index.mjs', method: 'handler' },
    { type: 'commonjs', file: 'index.js', method: 'handler' },
    { type: 'module', file: 'index.js', method: 'handler' },
    { type: 'commonjs', file: 'index.cjs', method: 'callback' },
    { type: 'module', file: 'index.mjs', method: 'stream' },
];

/** Writes a function into folder. Each has its own package.json, so that nothing outside is looked up and remembered. */
function write_function(folder, number, { type, file }) {
    const files = {
        'package.json': JSON.stringify({ type }),
        [file]: `// ${number}\n${type === 'module' ? IMPORTS : REQUIRES}${BODY}${EXPORTS[type]}\n`,
        'helper.js': type === 'module' ? `export default ${number};` : `module.exports = ${number};`,
        'deep.mjs': 'import "./helper.js"; export const deep = await Promise.resolve(1);',
        'node_modules/dep/package.json': PACKAGE_OF_DEP,
        'node_modules/dep/index.js': `module.exports = ${number};`,
        'node_modules/dep/index.mjs': `export default ${number};`,
    };
    fs.mkdirSync(path.join(folder, 'node_modules/dep'), { recursive: true });
    for (const [name, text] of Object.entries(files)) fs.writeFileSync(path.join(folder, name), text);
}

/** One life of an environment: parked, woken, INIT, three invocations. */
function rehearse_once(root, number, initialise) {
    const play = PLAYS[number % PLAYS.length];
    const handler = `index.${play.method}`;
    const env = { ...process.env, LAMBDA_TASK_ROOT: root, _HANDLER: handler, IRORI_REHEARSAL: String(number) };
    write_function(root, number, play);
    return new Promise((resolve) => {
        const responses = [
            make_response({ 'Irori-Wake': 'runtime' }, { seed: '0'.repeat(64), env, handler, root }),
            make_event(1, { a: 1, b: [1, 2, { c: 'ü' }], text: 'x'.repeat(200) }),
            make_event(2, { fail: true }),
            make_event(3, { number }),
        ];
        const binding = make_binding(responses, resolve);
        const loop = new Loop('127.0.0.1:1', (...params) => transport.connect(...params, () => binding));
        loop.connect();
        loop.park((body) => {
            restore(body, Date.now);
            initialise(loop);
        });
    });
}

/** Where the rehearsal's messages go: made like process.stdout of a pipe, leads to /dev/null. */
function open_nowhere() {
    const { Pipe, constants } = process.binding('pipe_wrap');
    const handle = new Pipe(constants.SOCKET);
    handle.open(fs.openSync('/dev/null', 'w'));
    return new (require('net').Socket)({ handle, readable: false, writable: true });
}

function forget_modules(folder) {
    for (const file of Object.keys(require.cache)) {
        if (file.startsWith(folder)) delete require.cache[file];
    }
    for (const key of Object.keys(Module._pathCache)) {
        if (Module._pathCache[key].startsWith(folder)) delete Module._pathCache[key];
    }
}

/** Notes what the rehearsal changes; returns the function that changes it back. */
function remember_process() {
    const console_methods = { ...console };
    const stdout = Object.getOwnPropertyDescriptor(process, 'stdout');
    const { uptime } = process;
    const env = { ...process.env };
    const names = new Set(Reflect.ownKeys(globalThis));
    const folder = process.cwd();
    return () => {
        globalThis.awslambda.InvokeStore.run(undefined, () => {});
        for (const name of Reflect.ownKeys(globalThis)) {
            if (!names.has(name)) delete globalThis[name];
        }
        for (const name of ['uncaughtException', 'unhandledRejection', 'beforeExit']) process.removeAllListeners(name);
        Object.defineProperty(process, 'stdout', stdout);
        process.uptime = uptime;
        delete console.fatal;
        Object.assign(console, console_methods);
        replace_env(env);
        process.chdir(folder);
    };
}

async function rehearse(initialise) {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'irori-'));
    for (let number = 0; number < ROUNDS; number++) {
        const clear_up = remember_process();
        const nowhere = open_nowhere();
        Object.defineProperty(process, 'stdout', { configurable: true, enumerable: true, get: () => nowhere });
        await rehearse_once(path.join(folder, String(number)), number, initialise);
        nowhere.destroy();
        clear_up();
    }
    forget_modules(folder);
    fs.rmSync(folder, { recursive: true });
}

/** Makes this process a template. initialise(loop) is called in each clone, in the environment of its function. */
async function serve(initialise) {
    const loop = new Loop(process.env.AWS_LAMBDA_RUNTIME_API);
    void process.stdout; // made by being asked for; a clone has a pipe there too
    for (const name of COMMON_MODULES) require(name); // import() of http would set up what fetch() needs, visibly
    await rehearse(initialise);
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    loop.connect();
    loop.park((body) => {
        v8.setFlagsFromString(AFTERTHOUGHTS_ON);
        restore(body);
        initialise(loop);
    });
}

module.exports = { serve };
