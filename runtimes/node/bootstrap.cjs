'use strict';
/*
 * Entry of the Node runtime client: `node /var/runtime/bootstrap.cjs`, working directory /var/task.
 *
 * Loads the handler named by _HANDLER from LAMBDA_TASK_ROOT, then serves invocations (lib/loop.cjs) until the process ends.
 * With IRORI_TEMPLATE=runtime it becomes a template first, and does so in each of its clones; with IRORI_TEMPLATE=function it
 * becomes a template when it has loaded the handler (lib/template.cjs).
 * CommonJS, few and small modules, nothing loaded before it is needed: this file is on the way of every cold start.
 *
 * Exit codes: 129 uncaught exception (a failed INIT too), 128 unhandled rejection, 13 event loop drained without a result,
 * 1 the Runtime API went away, 64 and 65 a hook of a snapshot failed.
 */
const errors = require('./lib/errors.cjs');
const log = require('./lib/log.cjs');
const { Loop } = require('./lib/loop.cjs');

const EXIT_UNSETTLED = 13;
const EXIT_REJECTION = 128;
const EXIT_EXCEPTION = 129;
const PRELOAD = '/var/runtime/lib/dense-heap.so';
const BEFORE_EXIT = Symbol.for('aws.lambda.beforeExit');

/** Reports what nobody caught. The loop knows whether it belongs to INIT, to an invocation or to neither. */
function watch_process(loop) {
    process.on('uncaughtException', (error) => {
        log.error('Uncaught Exception', error);
        loop.die(error, EXIT_EXCEPTION);
    });
    process.on('unhandledRejection', (reason, promise) => {
        const error = new errors.UnhandledPromiseRejection(reason, promise);
        log.error('Unhandled Promise Rejection', error);
        loop.die(error, EXIT_REJECTION);
    });
    // A global symbol, because tracing libraries wrap the listener of AWS's client under this name.
    globalThis[BEFORE_EXIT] = () => process.exit(EXIT_UNSETTLED); // during INIT: a top-level await that never settles
    process.on('beforeExit', () => globalThis[BEFORE_EXIT]());
}

/** Returns null, or what lib/code_cache.cjs has begun. */
function begin_code_cache(loop) {
    const { IRORI_CODE_CACHE: wanted, LAMBDA_TASK_ROOT: root } = process.env;
    if (!wanted) return null;
    delete process.env.IRORI_CODE_CACHE;
    return require('./lib/code_cache.cjs').begin(wanted, root, loop);
}

function load_handler({ loop, template }) {
    require('./lib/globals.cjs').install();
    const { load } = require('./lib/handler.cjs');
    const cache = begin_code_cache(loop);
    load(process.env.LAMBDA_TASK_ROOT, process.env._HANDLER, (error, handler) => {
        if (error) {
            log.error('Uncaught Exception', error);
            loop.die(error, EXIT_EXCEPTION);
        } else if (process.env.AWS_LAMBDA_INITIALIZATION_TYPE === 'snap-start') {
            require('./lib/snapshot.cjs').pass(loop, handler, template);
        } else {
            loop.after_reply = cache && cache.after_reply;
            loop.start(handler, cache && cache.note ? `Irori-Code-Cache: ${cache.note}\r\n` : '');
        }
    });
}

/** INIT, in the environment of the function. The handler is loaded on a stack of its own, so that error reports show the same
 * one whether this process was started for the function or is a clone. (process.nextTick would cost the start 2 ms.)
 * template: of this function, when the process is to be one. */
function initialise(loop, template = null) {
    log.patch_console();
    watch_process(loop);
    Promise.resolve({ loop, template }).then(load_handler);
}

function main() {
    const template = process.env.IRORI_TEMPLATE;
    if (template === 'runtime' || template === 'function') {
        // Ours has done what it is for; the function's child processes shall not have it.
        if (process.env.LD_PRELOAD === PRELOAD) delete process.env.LD_PRELOAD;
        process.execArgv = process.execArgv.filter((argument) => !argument.startsWith('--v8-pool-size='));
        require('./lib/template.cjs').serve(template, initialise);
        return;
    }
    const loop = new Loop(process.env.AWS_LAMBDA_RUNTIME_API);
    loop.connect(); // the kernel shakes hands while the handler loads
    initialise(loop);
}

main();
