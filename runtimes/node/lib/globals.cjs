'use strict';
/*
 * globalThis.awslambda: streamifyResponse, HttpResponseStream and InvokeStore (what AWS's libraries ask for the request id
 * and the trace of the running invocation). AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA=1 leaves the global away.
 */
const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const HIGH_WATER_MARK = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');

const KEYS = Object.freeze({
    REQUEST_ID: Symbol.for('_AWS_LAMBDA_REQUEST_ID'),
    X_RAY_TRACE_ID: Symbol.for('_AWS_LAMBDA_X_RAY_TRACE_ID'),
    TENANT_ID: Symbol.for('_AWS_LAMBDA_TENANT_ID'),
});

/** One invocation at a time, hence one context, without async_hooks. */
class InvokeStore {
    #context;

    getContext() {
        return this.#context;
    }
    hasContext() {
        return this.#context !== undefined;
    }
    get(key) {
        return this.#context?.[key];
    }
    set(key, value) {
        if (Object.values(KEYS).includes(key)) {
            throw new Error(`Cannot modify protected Lambda context field: ${String(key)}`);
        }
        this.#context ??= {};
        this.#context[key] = value;
    }
    getRequestId() {
        return this.get(KEYS.REQUEST_ID) ?? '-';
    }
    getXRayTraceId() {
        return this.get(KEYS.X_RAY_TRACE_ID);
    }
    getTenantId() {
        return this.get(KEYS.TENANT_ID);
    }
    run(context, body) {
        this.#context = context;
        return body();
    }
}

const store = new InvokeStore();

class HttpResponseStream {
    /** Puts status, headers and cookies before the first byte: JSON, eight NULs, then the body. */
    static from(stream, prelude) {
        stream.setContentType('application/vnd.awslambda.http-integration-response');
        const head = JSON.stringify(prelude);
        stream._onBeforeFirstWrite = (write) => {
            write(head);
            write(new Uint8Array(8));
        };
        return stream;
    }
}

function streamifyResponse(handler, options) {
    handler[STREAMING] = 'response';
    if (typeof options?.highWaterMark === 'number') handler[HIGH_WATER_MARK] = parseInt(options.highWaterMark, 10);
    return handler;
}

function install() {
    if (['1', 'true'].includes(process.env.AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA)) return;
    globalThis.awslambda = { ...globalThis.awslambda, streamifyResponse, HttpResponseStream, InvokeStore: store };
}

/** Makes the invocation known to InvokeStore. */
function set_invocation(request_id, trace_id, tenant_id) {
    store.run({ [KEYS.REQUEST_ID]: request_id, [KEYS.X_RAY_TRACE_ID]: trace_id, [KEYS.TENANT_ID]: tenant_id }, () => {});
}

module.exports = { HIGH_WATER_MARK, STREAMING, install, set_invocation };
