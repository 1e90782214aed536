'use strict';
/*
 * Templates: this process, once it waits to be copied. Environments are clones of it.
 *
 * The template of a runtime belongs to no function yet. It loads what an invocation and the loading of a handler need, rehearses
 * both in memory, and parks in `next`; the answer is the wake-up message of the clone, which names the function. After it an
 * ordinary INIT follows.
 *
 *   {"seed":"<64 hex digits>","env":{"NAME":"value",...},"root":"/var/task"}      with the header Irori-Wake: runtime
 *
 * The template of a function rehearses, then does the function's own INIT and waits in `restore/next` (lib/snapshot.cjs).
 *
 *   {"seed":"<64 hex digits>","env":{"NAME":"value",...}}                         with the header Irori-Wake: function
 *
 * A clone has everything that is in memory here. So nothing of the client may stay open or pending, no thread may be started that
 * cannot wait, and what the rehearsal changed is changed back: user code finds the process as an ordinary start leaves it.
 * What clones would have in common of random numbers and identity, and what is done about it: lib/identity.cjs.
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

const identity = require('./identity.cjs');
const { Loop } = require('./loop.cjs');
const transport = require('./transport.cjs');

const ROUNDS = 15; // of each play three; more make no clone faster and all of them larger
const SETTLE_MS = 50; // for V8's helper threads, before the process is said to be quiet
const EXIT_API_ERROR = 129;

/** What functions commonly import, with the cost of loading it paid once. None of them opens or starts anything. */
const COMMON_MODULES = [
    'assert', 'async_hooks', 'buffer', 'child_process', 'crypto', 'events', 'fs', 'fs/promises', 'http', 'https', 'module', 'net',
    'os', 'path', 'perf_hooks', 'querystring', 'stream', 'stream/promises', 'string_decoder', 'timers/promises', 'tls', 'url',
    'util', 'zlib',
];

// -- in the clone

/** Only differences are written: an assignment to TZ, even of the same value, makes V8 forget what it knows of time zones. */
function set_env(wanted) {
    const { env } = process;
    for (const name of Object.keys(wanted)) {
        if (env[name] !== wanted[name]) env[name] = wanted[name];
    }
}

function replace_env(wanted) {
    for (const name of Object.keys(process.env)) {
        if (!Object.hasOwn(wanted, name)) delete process.env[name];
    }
    set_env(wanted);
}

/** Makes of a clone of a runtime's template what an ordinary start with the environment of a function would have made.
 * open_random_numbers: identity.guard()'s. */
function become_function(body, open_random_numbers) {
    const { seed, env, root } = JSON.parse(body);
    const { HOME, NODE_PATH } = process.env;
    replace_env(env);
    process.chdir(root);
    if (env.HOME !== HOME || env.NODE_PATH !== NODE_PATH) Module._initPaths();
    identity.renew(seed, open_random_numbers(seed));
}

/** The clone of a function's template is the function already. Returns false for the process itself, which no snapshot was made
 * of: it goes on as what it is. */
function become_environment({ headers, body }, open_random_numbers) {
    if (headers['irori-wake'] !== 'function') return false;
    const { seed, env } = JSON.parse(body);
    set_env(env);
    identity.renew(seed, open_random_numbers(seed));
    return true;
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

/** One life of an environment: parked, woken, INIT, three invocations; or INIT, parked, woken, three invocations. */
function rehearse_once(kind, root, number, initialise) {
    const play = PLAYS[number % PLAYS.length];
    const handler = `index.${play.method}`;
    const env = { ...process.env, LAMBDA_TASK_ROOT: root, _HANDLER: handler, IRORI_REHEARSAL: String(number) };
    write_function(root, number, play);
    return new Promise((resolve) => {
        const responses = [
            make_response({ 'Irori-Wake': kind }, { seed: '0'.repeat(64), env, handler, root }),
            make_event(1, { a: 1, b: [1, 2, { c: 'ü' }], text: 'x'.repeat(200) }),
            make_event(2, { fail: true }),
            make_event(3, { number }),
        ];
        const binding = make_binding(responses, resolve);
        const loop = new Loop('127.0.0.1:1', (...params) => transport.connect(...params, () => binding));
        loop.connect();
        if (kind === 'function') {
            replace_env(env);
            process.chdir(root);
            initialise(loop, { settle: () => {}, wake: (response) => become_environment(response, () => Date.now) });
        } else {
            loop.park(({ body }) => {
                become_function(body, () => Date.now);
                initialise(loop);
            });
        }
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

async function rehearse(kind, initialise) {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'irori-'));
    for (let number = 0; number < ROUNDS; number++) {
        const clear_up = remember_process();
        const nowhere = open_nowhere();
        Object.defineProperty(process, 'stdout', { configurable: true, enumerable: true, get: () => nowhere });
        await rehearse_once(kind, path.join(folder, String(number)), number, initialise);
        nowhere.destroy();
        clear_up();
    }
    if (kind === 'runtime') await require('./code_cache.cjs').rehearse(path.join(folder, 'cache'));
    forget_modules(folder);
    fs.rmSync(folder, { recursive: true });
}

const settle = () => new Promise((resolve) => setTimeout(resolve, SETTLE_MS));

function serve_runtime(loop, open_random_numbers, initialise) {
    loop.connect();
    loop.park(({ status, headers, body }) => {
        if (status !== 200 || headers['irori-wake'] !== 'runtime') {
            loop.give_up(`next answered ${status}, no wake-up`, EXIT_API_ERROR);
            return;
        }
        v8.setFlagsFromString(AFTERTHOUGHTS_ON);
        become_function(body, open_random_numbers);
        initialise(loop);
    });
}

function serve_function(loop, open_random_numbers, initialise) {
    loop.connect();
    initialise(loop, {
        settle,
        wake(response) {
            v8.setFlagsFromString(AFTERTHOUGHTS_ON);
            return become_environment(response, open_random_numbers);
        },
    });
}

/** Makes this process a template, of a 'runtime' or of a 'function'. initialise(loop, template) is called in the environment of
 * the function: in each clone, or before there are any. Of the template lib/snapshot.cjs needs:
 *   settle()         resolves when the process is quiet
 *   wake(response)   makes a clone what it is to be; false when this is none
 */
async function serve(kind, initialise) {
    delete process.env.IRORI_TEMPLATE;
    const loop = new Loop(process.env.AWS_LAMBDA_RUNTIME_API);
    void process.stdout; // made by being asked for; a clone has a pipe there too
    for (const name of COMMON_MODULES) require(name); // import() of http would set up what fetch() needs, visibly
    await rehearse(kind, initialise);
    const open_random_numbers = identity.guard(kind);
    await settle();
    if (kind === 'runtime') serve_runtime(loop, open_random_numbers, initialise);
    else serve_function(loop, open_random_numbers, initialise);
}

module.exports = { serve };
