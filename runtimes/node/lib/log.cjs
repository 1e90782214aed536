'use strict';
/*
 * console.*, as Lambda's Node runtimes write it: one line per message on stdout, or one frame on _LAMBDA_TELEMETRY_LOG_FD.
 *
 *   text  <ISO time> TAB <request id> TAB <LEVEL> TAB <message, line feeds as carriage returns> LF
 *   JSON  {"timestamp","level","requestId","tenantId"?,"message","errorType"?,"errorMessage"?,"stackTrace"?} LF
 *   frame 4 bytes type | level, 4 bytes length, 8 bytes microseconds, message; all big-endian
 *
 * Before the first invocation the request id is "undefined", as on AWS.
 */
const errors = require('./errors.cjs');

const LEVELS = Object.freeze({
    TRACE: { name: 'TRACE', priority: 1, frame: 0x04 },
    DEBUG: { name: 'DEBUG', priority: 2, frame: 0x08 },
    INFO: { name: 'INFO', priority: 3, frame: 0x0c },
    WARN: { name: 'WARN', priority: 4, frame: 0x10 },
    ERROR: { name: 'ERROR', priority: 5, frame: 0x14 },
    FATAL: { name: 'FATAL', priority: 6, frame: 0x18 },
});
const FRAME_TEXT = 0xa55a0003;
const FRAME_JSON = 0xa55a0002;
// Known names: tracing libraries read them to label their own output.
const REQUEST_ID = Symbol.for('aws.lambda.runtime.requestId');
const TENANT_ID = Symbol.for('aws.lambda.runtime.tenantId');

let json = false;

const format = (...params) => require('util').format(...params); // loaded with the first message

function describe(error) {
    return {
        errorType: error.constructor?.name ?? 'UnknownError',
        errorMessage: error.message,
        stackTrace: typeof error.stack === 'string' ? error.stack.split('\n') : error.stack,
    };
}

const expand_errors = (_key, value) => (value instanceof Error ? { ...describe(value), ...value } : value);

function to_json(time, level, params) {
    const line = { timestamp: time, level: level.name, requestId: globalThis[REQUEST_ID] };
    if (globalThis[TENANT_ID] !== undefined) line.tenantId = globalThis[TENANT_ID];
    if (params.length === 1) {
        line.message = params[0];
        try {
            return JSON.stringify(line, expand_errors);
        } catch {
            line.message = format(params[0]); // a cycle or a BigInt
            return JSON.stringify(line);
        }
    }
    line.message = format(...params);
    const error = params.find((param) => param instanceof Error);
    if (error) Object.assign(line, describe(error));
    return JSON.stringify(line);
}

function to_line(date, level, params) {
    const time = date.toISOString();
    if (json) return to_json(time, level, params);
    return `${time}\t${globalThis[REQUEST_ID]}\t${level.name}\t${format(...params)}`;
}

function write_stdout(level, params) {
    process.stdout.write(`${to_line(new Date(), level, params).replace(/\n/g, '\r')}\n`);
}

function frame_writer(fd) {
    const fs = require('fs');
    return (level, params) => {
        const date = new Date();
        const message = Buffer.from(to_line(date, level, params) + (json ? '' : '\n'));
        const head = Buffer.alloc(16);
        head.writeUInt32BE(((json ? FRAME_JSON : FRAME_TEXT) | level.frame) >>> 0, 0);
        head.writeUInt32BE(message.length, 4);
        head.writeBigInt64BE(BigInt(date.valueOf()) * 1000n, 8);
        fs.writeSync(fd, Buffer.concat([head, message]));
    };
}

/** The frame descriptor is the platform's offer to the runtime, not to the function: the variable is taken away. */
function take_frame_fd() {
    const value = process.env._LAMBDA_TELEMETRY_LOG_FD;
    if (value === undefined) return -1;
    delete process.env._LAMBDA_TELEMETRY_LOG_FD;
    return /^\d+$/.test(value) ? Number(value) : -1;
}

/** Replaces console's methods by AWS_LAMBDA_LOG_FORMAT and AWS_LAMBDA_LOG_LEVEL. */
function patch_console() {
    json = process.env.AWS_LAMBDA_LOG_FORMAT?.toUpperCase() === 'JSON';
    const minimum = LEVELS[process.env.AWS_LAMBDA_LOG_LEVEL?.toUpperCase()] ?? LEVELS.TRACE;
    const fd = take_frame_fd();
    const write = fd >= 0 ? frame_writer(fd) : write_stdout;
    const nothing = () => {};
    // The first parameter is always there: console.log() prints "undefined", as on AWS.
    const writer = (level) =>
        level.priority >= minimum.priority ? (message, ...params) => write(level, [message, ...params]) : nothing;
    console.trace = writer(LEVELS.TRACE);
    console.debug = writer(LEVELS.DEBUG);
    console.info = console.log = writer(LEVELS.INFO);
    console.warn = writer(LEVELS.WARN);
    console.error = writer(LEVELS.ERROR);
    console.fatal = writer(LEVELS.FATAL);
}

/** Names the invocation that later messages belong to. */
function set_invocation(request_id, tenant_id) {
    globalThis[REQUEST_ID] = request_id;
    globalThis[TENANT_ID] = tenant_id;
}

/** Logs an error that the runtime reports: text has the message as title, JSON only the error. */
function error(title, value) {
    if (json) console.error(errors.to_error(value));
    else console.error(title, `\t${errors.to_log(errors.to_error(value))}`);
}

module.exports = { error, patch_console, set_invocation };
