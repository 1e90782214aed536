'use strict';
/*
 * Error classes of the runtime and the shapes errors take on the wire and in the log.
 * Sources: Lambda's developer guide (Node.js errors); observed payloads {errorType, errorMessage, trace}.
 */

/** A message for whatever was thrown; symbols and objects without a prototype refuse the ordinary conversion. */
function to_text(value) {
    try {
        return value === undefined ? '' : String(value);
    } catch {
        return Object.prototype.toString.call(value);
    }
}

/** Names what a class's errors are called in payloads: Runtime.<class>. */
function runtime_error(type) {
    type.prototype.name = `Runtime.${type.name}`;
    return type;
}

const HandlerNotFound = runtime_error(class HandlerNotFound extends Error {});
const ImportModuleError = runtime_error(class ImportModuleError extends Error {});
const MalformedHandlerName = runtime_error(class MalformedHandlerName extends Error {});
const MalformedStreamingHandler = runtime_error(class MalformedStreamingHandler extends Error {});
const InvalidStreamingOperation = runtime_error(class InvalidStreamingOperation extends Error {});
const JSONStringifyError = runtime_error(class JSONStringifyError extends Error {});
const NodeJsExit = runtime_error(class NodeJsExit extends Error {});
const UserCodeSyntaxError = runtime_error(class UserCodeSyntaxError extends Error {});
const UnhandledPromiseRejection = runtime_error(
    class UnhandledPromiseRejection extends Error {
        constructor(reason, promise) {
            super(to_text(reason));
            this.reason = reason;
            this.promise = promise;
        }
    },
);

/** DEL is not allowed in a header, and both texts may become one. */
const without_del = (text) => text.replace(/\x7F/g, '%7F');

/** True for errors of another realm (vm, jsdom) too. */
function looks_like_error(value) {
    return (
        value instanceof Error ||
        (value && typeof value.name === 'string' && typeof value.message === 'string' && typeof value.stack === 'string')
    );
}

/** The body of an error report. Never throws, whatever was thrown. */
function to_payload(error) {
    try {
        if (looks_like_error(error)) {
            return {
                errorType: without_del(error.name),
                errorMessage: without_del(error.message),
                trace: without_del(error.stack).split('\n'),
            };
        }
        return { errorType: typeof error, errorMessage: error.toString(), trace: [] };
    } catch {
        return {
            errorType: 'handled',
            errorMessage:
                'callback called with Error argument, but there was a problem while retrieving one or more of its message, name, and stack',
        };
    }
}

function with_all_properties(value) {
    if (!(value instanceof Error)) return value;
    const all = { errorType: value.name, errorMessage: value.message, code: value.code, ...value };
    if (typeof value.stack === 'string') all.stack = value.stack.split('\n');
    return all;
}

/** One line for the text log: {"errorType","errorMessage",own properties...,"stack":[...]}. */
function to_log(error) {
    try {
        return JSON.stringify(error, (_key, value) => with_all_properties(value));
    } catch {
        return JSON.stringify(to_payload(error));
    }
}

/** What is logged and reported for a value that was thrown but is no error. */
const to_error = (value) => (value instanceof Error ? value : new Error(to_text(value)));

function stack_frame(line) {
    const text = line.trim().replace(/[()]/g, '');
    const call = text.slice(text.indexOf(' ') + 1);
    const space = call.lastIndexOf(' ');
    const [path, number] = call.slice(space + 1).split(':');
    return { path, line: parseInt(number, 10), label: (space >= 0 && call.slice(0, space)) || 'anonymous' };
}

/** Value of Lambda-Runtime-Function-XRay-Error-Cause, "" when there is none or it would exceed max_chars.
 * Source: AWS X-Ray segment documents, "cause". */
function to_xray_cause(error, max_chars) {
    try {
        const stack = error.stack ? without_del(error.stack).split('\n').slice(1).map(stack_frame) : [];
        const cause = JSON.stringify({
            working_directory: process.cwd(),
            exceptions: [{ type: without_del(error.name), message: without_del(error.message), stack }],
            paths: [...new Set(stack.map((frame) => frame.path))],
        });
        if (cause.length > max_chars) return '';
        // A header is ASCII; JSON has its own escapes for the rest.
        return cause.replace(/[\x7f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
    } catch {
        return '';
    }
}

module.exports = {
    HandlerNotFound,
    ImportModuleError,
    InvalidStreamingOperation,
    JSONStringifyError,
    MalformedHandlerName,
    MalformedStreamingHandler,
    NodeJsExit,
    UnhandledPromiseRejection,
    UserCodeSyntaxError,
    to_error,
    to_log,
    to_payload,
    to_xray_cause,
};
