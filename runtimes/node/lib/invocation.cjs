'use strict';
/*
 * One invocation: builds the context, calls the handler, and turns what it does (returns, promises, calls back, streams,
 * throws, or lets the event loop run empty) into one reply.
 */
const errors = require('./errors.cjs');
const globals = require('./globals.cjs');
const log = require('./log.cjs');

const BEFORE_EXIT = Symbol.for('aws.lambda.beforeExit');
const EXIT_UNSETTLED = 13;
const NODE_MAJOR = parseInt(process.versions.node, 10);
const UNSETTLED =
    'The Lambda runtime client detected an unexpected Node.js exit code. This is most commonly caused by a Promise that was ' +
    'never settled. For more information, see https://nodejs.org/docs/latest/api/process.html#exit-codes';

const ignore = () => {};
const is_promise = (value) => value && typeof value.then === 'function';

/** The reply's body. undefined answers null; a cycle or a BigInt cannot be answered. */
function to_body(result) {
    let body;
    try {
        body = JSON.stringify(result === undefined ? null : result);
    } catch {
        // AWS named the error with Node 24.
        const type = NODE_MAJOR >= 24 ? errors.JSONStringifyError : Error;
        throw new type('Unable to stringify response body');
    }
    if (body === undefined) throw new TypeError('Wrong arguments'); // a function or a symbol
    return body;
}

function parse_header(text, name) {
    if (!text) return undefined;
    try {
        return JSON.parse(text);
    } catch (error) {
        throw new Error(`Cannot parse ${name} as json: ${error.toString()}`);
    }
}

/** Adds what environment and headers tell; throws when a header is no JSON. */
function complete_context(context, headers) {
    const deadline = Number(headers['lambda-runtime-deadline-ms']);
    const env = process.env;
    context.functionVersion = env.AWS_LAMBDA_FUNCTION_VERSION;
    context.functionName = env.AWS_LAMBDA_FUNCTION_NAME;
    context.memoryLimitInMB = env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE;
    context.logGroupName = env.AWS_LAMBDA_LOG_GROUP_NAME;
    context.logStreamName = env.AWS_LAMBDA_LOG_STREAM_NAME;
    context.clientContext = parse_header(headers['lambda-runtime-client-context'], 'ClientContext');
    context.identity = parse_header(headers['lambda-runtime-cognito-identity'], 'CognitoIdentity');
    context.invokedFunctionArn = headers['lambda-runtime-invoked-function-arn'];
    context.awsRequestId = headers['lambda-runtime-aws-request-id'];
    context.tenantId = headers['lambda-runtime-aws-tenant-id'];
    context.getRemainingTimeInMillis = () => deadline - Date.now();
    return context;
}

/** callback, and a context with callbackWaitsForEmptyEventLoop, succeed, fail, done. The first of the four calls counts. */
function make_callbacks(loop) {
    let waits = true;
    let finished = false;
    const fail = (error) => {
        log.error('Invoke Error', error);
        loop.reply_error(error);
    };
    const done = (error, result) => {
        globalThis[BEFORE_EXIT] = ignore;
        if (error !== undefined && error !== null) fail(error);
        else loop.reply(to_body(result));
    };
    const callback = (error, result) => {
        globalThis[BEFORE_EXIT] = ignore;
        if ((error !== undefined && error !== null) || !waits) done(error, result);
        else globalThis[BEFORE_EXIT] = () => done(null, result);
    };
    // Finished only when the call returns: a result that cannot be stringified may still be reported as an error.
    const once = (action) =>
        function (...params) {
            if (finished) return;
            action(...params);
            finished = true;
        };
    const context = {
        get callbackWaitsForEmptyEventLoop() {
            return waits;
        },
        set callbackWaitsForEmptyEventLoop(value) {
            waits = value;
        },
        succeed: once((result) => done(null, result)),
        fail: once((error) => done(error ?? 'handled', null)),
        done: once(done),
    };
    return { callback: once(callback), context, is_finished: () => finished, abandon: () => (finished = true) };
}

/** A promise that nobody can settle any more: reported, and the process ends, because its handler will never return. */
function die_unsettled(loop) {
    const error = new errors.NodeJsExit(UNSETTLED);
    log.error('Invoke Error', error);
    loop.die(error, EXIT_UNSETTLED);
}

function publish(headers) {
    const request_id = headers['lambda-runtime-aws-request-id'];
    const trace_id = headers['lambda-runtime-trace-id'];
    const tenant_id = headers['lambda-runtime-aws-tenant-id'];
    log.set_invocation(request_id, tenant_id);
    globals.set_invocation(request_id, trace_id, tenant_id);
    if (trace_id) process.env._X_AMZN_TRACE_ID = trace_id;
    else delete process.env._X_AMZN_TRACE_ID;
}

function run_buffered(loop, handler, { headers, body }) {
    const { callback, context, is_finished, abandon } = make_callbacks(loop);
    globalThis[BEFORE_EXIT] = () => {
        abandon();
        loop.reply('null'); // neither a promise nor a callback
    };
    try {
        const event = JSON.parse(body.utf8Slice(0, body.length));
        const result = handler(event, complete_context(context, headers), callback);
        if (!is_promise(result)) return;
        if (!is_finished()) globalThis[BEFORE_EXIT] = () => die_unsettled(loop);
        result.then(context.succeed, context.fail).catch(context.fail);
    } catch (error) {
        callback(error);
    }
}

/** Serves one answer of `next`; ends in exactly one loop.reply(), loop.reply_error() or loop.die(). */
function run(loop, handler, response) {
    publish(response.headers);
    if (handler[globals.STREAMING]) {
        require('./stream.cjs').run_streaming(loop, handler, response, {
            complete_context,
            die_unsettled: () => die_unsettled(loop),
        });
    } else {
        run_buffered(loop, handler, response);
    }
}

module.exports = { run };
