"""The Node client: handler resolution, results, errors, context, log lines, exit codes."""

import json
import os
import re
import struct
import time

import pytest

ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def body(request):
    return json.loads(request.body)


# -- handler resolution


@pytest.mark.parametrize(
    "handler, files",
    [
        ("index.handler", {"index.js": "exports.handler = async () => 'found'"}),
        ("index.handler", {"index.cjs": "exports.handler = async () => 'found'"}),
        ("index.handler", {"index.mjs": "export const handler = async () => 'found'"}),
        ("index.handler", {"index.mjs": "export const handler = await (async () => async () => 'found')()"}),
        (
            "index.handler",
            {"index.js": "export const handler = async () => 'found'", "package.json": '{"type":"module"}'},
        ),
        (
            "src/deep/index.handler",
            {"src/deep/index.js": "export const handler = async () => 'found'", "package.json": '{"type":"module"}'},
        ),
        (
            "src/index.handler",
            {
                "src/index.js": "exports.handler = async () => 'found'",
                "src/package.json": '{"type":"commonjs"}',
                "package.json": '{"type":"module"}',
            },
        ),
        ("dir/a-b_c.x.y.handler", {"dir/a-b_c.js": "exports.x = {y: {handler: async () => 'found'}}"}),
        ("index.handler", {"index.js": "module.exports = {default: {handler: async () => 'found'}}"}),
        ("index.handler", {"index/index.js": "exports.handler = async () => 'found'"}),
        ("index.handler", {"node_modules/index/index.js": "exports.handler = async () => 'found'"}),
        ("a#b?c%20d/index.handler", {"a#b?c%20d/index.mjs": "export const handler = async () => 'found'"}),
        # .js wins over .mjs, .mjs over .cjs
        (
            "index.handler",
            {"index.js": "exports.handler = async () => 'found'", "index.mjs": "export const handler = () => 'mjs'"},
        ),
        (
            "index.handler",
            {"index.mjs": "export const handler = async () => 'found'", "index.cjs": "exports.handler = () => 'cjs'"},
        ),
    ],
)
def test_handler_is_found(api, node, handler, files):
    node(handler, files)
    assert body(api.invoke()) == "found"


def test_node_path_is_searched_by_commonjs(api, node, tmp_path):
    files = {"index.js": "exports.handler = async () => require('layered')", "opt/layered/index.js": "module.exports = 'found'"}
    node("index.handler", files, {"NODE_PATH": str(tmp_path / "opt")})
    assert body(api.invoke()) == "found"


@pytest.mark.parametrize(
    "handler, files, kind, message",
    [
        ("index.nope", {"index.js": "exports.a = 1"}, "HandlerNotFound", "index.nope is undefined or not exported"),
        ("index.a", {"index.js": "exports.a = 1"}, "HandlerNotFound", "index.a is not a function"),
        ("index.a.b.c", {"index.mjs": "export const a = {}"}, "HandlerNotFound", "index.a.b.c is undefined or not exported"),
        ("index", {"index.js": ""}, "MalformedHandlerName", "Bad handler"),
        (
            "../index.handler",
            {"index.js": ""},
            "MalformedHandlerName",
            "'../index.handler' is not a valid handler name. Use absolute paths when specifying root directories in handler names.",
        ),
        ("index.handler", {"index.js": "exports.handler = ("}, "UserCodeSyntaxError", "SyntaxError: Unexpected "),
        ("index.handler", {"index.mjs": "export const handler = ("}, "UserCodeSyntaxError", "SyntaxError: Unexpected "),
        (
            "index.handler",
            {"index.js": "require('nowhere')"},
            "ImportModuleError",
            "Error: Cannot find module 'nowhere'\nRequire stack:\n- {root}/index.js\n- {client}/index.mjs",
        ),
        (
            "index.handler",
            {},
            "ImportModuleError",
            "Error: Cannot find module 'index'\nRequire stack:\n- {client}/index.mjs",
        ),
    ],
)
def test_init_error_is_posted(api, node, tmp_path, handler, files, kind, message):
    client = node(handler, files)
    request = api.wait_request()
    assert request.path == "/2018-06-01/runtime/init/error"
    assert request.headers["lambda-runtime-function-error-type"] == f"Runtime.{kind}"
    error = body(request)
    assert list(error) == ["errorType", "errorMessage", "trace"]
    assert error["errorType"] == f"Runtime.{kind}"
    client_dir = os.path.dirname(os.path.abspath(client.process.args[1]))
    expected = message.format(root=tmp_path, client=client_dir)
    assert error["errorMessage"] == expected or kind == "UserCodeSyntaxError" and error["errorMessage"].startswith(expected)
    assert error["trace"][0] == f"Runtime.{kind}: {error['errorMessage']}".split("\n")[0]
    assert client.wait_exit() == 129
    line = client.stdout
    assert re.match(ISO + r"\tundefined\tERROR\tUncaught Exception \t\{", line)
    logged = json.loads(line.split("\t", 4)[4])
    assert logged["errorType"] == f"Runtime.{kind}" and logged["stack"][0] == error["trace"][0]


@pytest.mark.parametrize(
    "files", [{"index.js": "throw new RangeError('no start')"}, {"index.mjs": "throw new RangeError('no start')"}]
)
def test_module_that_throws(api, node, files):
    client = node("index.handler", files)
    error = body(api.wait_request())
    assert (error["errorType"], error["errorMessage"]) == ("RangeError", "no start")
    assert client.wait_exit() == 129


def test_rejection_during_init(api, node):
    client = node("index.handler", "Promise.reject(new Error('x')); await new Promise(r => setTimeout(r, 5000))")
    request = api.wait_request()
    assert request.path.endswith("/init/error")
    error = body(request)
    assert (error["errorType"], error["errorMessage"]) == ("Runtime.UnhandledPromiseRejection", "Error: x")
    assert client.wait_exit() == 128


def test_top_level_await_that_never_settles(node):
    assert node("index.handler", "await new Promise(() => {}); export const handler = () => 1").wait_exit() == 13


# -- results


@pytest.mark.parametrize(
    "source, expected",
    [
        ("async () => undefined", b"null"),
        ("async () => {}", b"null"),
        ("async () => null", b"null"),
        ("async () => 'ü€😀'", '"ü€😀"'.encode()),
        ("async (event) => event", b'{"a":[1,2.5]}'),
        ("async () => new Date(0)", b'"1970-01-01T00:00:00.000Z"'),
        ("async () => ({toJSON() { return 7 }})", b"7"),
        ("() => ({then(f) { f('thenable') }})", b'"thenable"'),
        ("(event, context, callback) => callback(null, 1)", b"1"),
        ("(event, context, callback) => setTimeout(() => callback(null, 2), 5)", b"2"),
        ("(event, context, callback) => { callback(null, 1); callback(null, 2) }", b"1"),
        ("(event, context) => context.succeed(3)", b"3"),
        ("(event, context) => context.done(null, 4)", b"4"),
        ("(event, context) => { setTimeout(() => context.succeed(5), 5) }", b"5"),
        ("() => 'ignored'", b"null"),
        ("() => {}", b"null"),
        ("() => { setTimeout(() => {}, 30) }", b"null"),
    ],
)
def test_result(api, node, source, expected):
    node("index.handler", f"export const handler = {source}")
    for _ in range(2):
        request = api.invoke(b'{"a":[1,2.5]}')
        assert (request.path, request.body) == ("response", expected)
        assert request.headers["content-type"] == "application/json"


def test_callback_waits_for_the_empty_event_loop(api, node):
    source = """export const handler = (event, context, callback) => {
        context.callbackWaitsForEmptyEventLoop = event.wait;
        setTimeout(() => console.log('timer'), 400);
        callback(null, context.callbackWaitsForEmptyEventLoop);
    }"""
    client = node("index.handler", source)
    api.wait_next()
    start = time.monotonic()
    assert api.invoke({"wait": False}).body == b"false"
    assert time.monotonic() - start < 0.35
    client.wait_stdout("timer")
    start = time.monotonic()
    assert api.invoke({"wait": True}).body == b"true"
    assert time.monotonic() - start > 0.35
    client.kill()
    assert client.stdout.count("timer") == 2


def test_async_result_does_not_wait_for_the_event_loop(api, node):
    node("index.handler", "export const handler = async () => { setTimeout(() => {}, 60000); return 1 }")
    assert api.invoke(timeout=5).body == b"1"


def test_globals_stay_warm(api, node):
    node("index.handler", "let n = 0; export const handler = async () => ++n")
    assert [api.invoke().body for _ in range(3)] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("source", ["10n", "(() => { const a = {}; a.a = a; return a })()"])
def test_result_that_cannot_be_serialised(api, node, source):
    client = node("index.handler", f"export const handler = async () => {source}")
    request = api.invoke()
    kind = "Runtime.JSONStringifyError" if node.major >= 24 else "Error"
    assert request.path == "error"
    assert request.body.startswith(
        f'{{"errorType":"{kind}","errorMessage":"Unable to stringify response body","trace":["{kind}: Unable'.encode()
    )
    assert api.invoke().path == "error"
    client.wait_stdout("\tERROR\tInvoke Error \t")


# -- errors


def test_error_payload(api, node, tmp_path):
    client = node(
        "index.handler",
        "class Special extends Error { name = 'Special'; code = 'E1' }\n"
        "export const handler = async () => { throw new Special('two\\nlines') }",
    )
    request_id = "11111111-2222-4333-8444-555555555555"
    request = api.invoke(request_id=request_id)
    assert request.path == "error"
    assert request.headers["content-type"] == "application/json"
    assert "lambda-runtime-function-error-type" not in request.headers
    pattern = r'{"errorType":"Special","errorMessage":"two\\nlines","trace":\["(Special|Error): two","lines","    at handler \(file://'
    assert re.match(pattern, request.body.decode())
    cause = json.loads(request.headers["lambda-runtime-function-xray-error-cause"])
    assert list(cause) == ["working_directory", "exceptions", "paths"]
    assert cause["working_directory"] == str(tmp_path)
    assert cause["exceptions"][0]["type"] == "Special"
    assert "handler" in [entry["label"] for entry in cause["exceptions"][0]["stack"]]
    line = client.wait_stdout("\n")
    assert re.match(ISO + f"\t{request_id}\tERROR\tInvoke Error \t", line)
    logged = json.loads(line.split("\t", 4)[4])
    assert list(logged) == ["errorType", "errorMessage", "code", "name", "stack"]
    assert api.invoke().path == "error"  # the environment lives on


@pytest.mark.parametrize(
    "source, expected",
    [
        ("async () => { throw 'text' }", '{"errorType":"string","errorMessage":"text","trace":[]}'),
        ("async () => { throw {a: 1} }", '{"errorType":"object","errorMessage":"[object Object]","trace":[]}'),
        ("async () => { throw undefined }", '{"errorType":"string","errorMessage":"handled","trace":[]}'),
        ("async () => { throw Symbol('s') }", '{"errorType":"symbol","errorMessage":"Symbol(s)","trace":[]}'),
        ("(e, c, callback) => callback('text')", '{"errorType":"string","errorMessage":"text","trace":[]}'),
        ("(e, c) => c.fail('text')", '{"errorType":"string","errorMessage":"text","trace":[]}'),
        ("(e, c) => c.fail()", '{"errorType":"string","errorMessage":"handled","trace":[]}'),
        ("(e, c) => c.done('text')", '{"errorType":"string","errorMessage":"text","trace":[]}'),
        (
            "async () => { throw {get name() { throw 1 }} }",
            '{"errorType":"handled","errorMessage":"callback called with Error argument, but there was a problem while '
            'retrieving one or more of its message, name, and stack"}',
        ),
        ("async () => { throw 'del\\x7f' }", '{"errorType":"string","errorMessage":"del\\u007f","trace":[]}'),
    ],
)
def test_thrown_values(api, node, source, expected):
    node("index.handler", f"export const handler = {source}")
    for _ in range(2):
        request = api.invoke()
        assert (request.path, json.loads(request.body)) == ("error", json.loads(expected))
        if "\\u" not in expected:
            assert request.body.decode() == expected


def test_synchronous_throw(api, node):
    node("index.handler", "export const handler = () => { throw new TypeError('x') }")
    error = body(api.invoke())
    assert (error["errorType"], error["errorMessage"], error["trace"][0]) == ("TypeError", "x", "TypeError: x")
    assert api.invoke().path == "error"


def test_error_with_non_ascii_text(api, node):
    node("index.handler", "export const handler = async () => { throw new Error('\\u00fc\\u20ac\\r\\nX: y') }")
    request = api.invoke()
    assert body(request)["errorMessage"] == "ü€\r\nX: y"
    assert "x" not in request.headers
    assert json.loads(request.headers["lambda-runtime-function-xray-error-cause"])["exceptions"][0]["message"] == "ü€\r\nX: y"


def test_uncaught_exception(api, node):
    client = node(
        "index.handler",
        "export const handler = async () => { setTimeout(() => { throw new RangeError('late') }, 5); await new Promise(r => setTimeout(r, 5000)) }",
    )
    request = api.invoke()
    assert request.path == "error"
    assert (body(request)["errorType"], body(request)["errorMessage"]) == ("RangeError", "late")
    assert client.wait_exit() == 129
    assert "\tERROR\tUncaught Exception \t{" in client.stdout


def test_unhandled_rejection(api, node):
    client = node(
        "index.handler",
        "export const handler = async () => { Promise.reject(new Error('lost')); await new Promise(r => setTimeout(r, 5000)) }",
    )
    request = api.invoke()
    assert request.path == "error"
    error = body(request)
    assert (error["errorType"], error["errorMessage"]) == ("Runtime.UnhandledPromiseRejection", "Error: lost")
    assert error["trace"][0] == "Runtime.UnhandledPromiseRejection: Error: lost"
    assert client.wait_exit() == 128
    logged = json.loads(client.stdout.split("Unhandled Promise Rejection \t")[1])
    assert logged["reason"]["errorMessage"] == "lost"
    assert logged["promise"] == {}


def test_result_counts_when_a_forgotten_promise_rejects(api, node):
    client = node(
        "index.handler", "const f = async () => { throw new Error('x') }; export const handler = async () => { f(); return 'ok' }"
    )
    request = api.invoke()
    assert (request.path, request.body) == ("response", b'"ok"')
    assert client.wait_exit() == 128
    assert len([block for block in api.blocks if b"/next" in block]) == 1  # no further event was asked for


def test_exception_while_waiting_in_next(api, node):
    client = node("index.handler", "export const handler = async () => { setTimeout(() => { throw new Error('x') }, 50); return 1 }")
    assert api.invoke().body == b"1"
    assert client.wait_exit() == 129
    assert api.requests.empty()


def test_promise_that_never_settles(api, node):
    client = node("index.handler", "export const handler = () => new Promise(() => {})")
    request = api.invoke()
    assert request.path == "error"
    error = body(request)
    assert error["errorType"] == "Runtime.NodeJsExit"
    assert error["errorMessage"].startswith("The Lambda runtime client detected an unexpected Node.js exit code.")
    assert client.wait_exit() == 13


def test_process_exit(api, node):
    client = node("index.handler", "export const handler = async () => process.exit(7)")
    api.send_event()
    assert client.wait_exit() == 7
    assert api.requests.empty()


def test_signal_handlers_and_exit_events_are_the_functions_own(api, node):
    node("index.handler", "process.on('uncaughtException', () => {}); export const handler = async () => process.listenerCount('SIGTERM')")
    assert api.invoke().body == b"0"


# -- context


def test_context(api, node):
    source = """export const handler = async (event, context) => ({
        keys: Object.keys(context), context,
        remaining: context.getRemainingTimeInMillis(), trace: process.env._X_AMZN_TRACE_ID,
        store: awslambda.InvokeStore.getXRayTraceId(), id: awslambda.InvokeStore.getRequestId(),
    })"""
    node("index.handler", source)
    headers = {
        "Lambda-Runtime-Trace-Id": "Root=1-a;Parent=b;Sampled=1",
        "Lambda-Runtime-Client-Context": json.dumps({"custom": {"k": "ü"}}, ensure_ascii=False),
        "Lambda-Runtime-Cognito-Identity": '{"cognitoIdentityId":"i","cognitoIdentityPoolId":"p"}',
        "Lambda-Runtime-Aws-Tenant-Id": "blue",
    }
    answer = body(api.invoke(headers=headers, deadline_ms=int(time.time() * 1000) + 10000))
    assert answer["keys"] == (
        "callbackWaitsForEmptyEventLoop succeed fail done functionVersion functionName memoryLimitInMB logGroupName "
        "logStreamName clientContext identity invokedFunctionArn awsRequestId tenantId getRemainingTimeInMillis"
    ).split()
    assert answer["context"] == {
        "callbackWaitsForEmptyEventLoop": True,
        "functionVersion": "$LATEST",
        "functionName": "fn",
        "memoryLimitInMB": "128",
        "logGroupName": "/aws/lambda/fn",
        "logStreamName": "2026/01/15/[$LATEST]0123456789abcdef0123456789abcdef",
        "clientContext": {"custom": {"k": "ü"}},
        "identity": {"cognitoIdentityId": "i", "cognitoIdentityPoolId": "p"},
        "invokedFunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:fn",
        "awsRequestId": answer["id"],
        "tenantId": "blue",
    }
    assert 5000 < answer["remaining"] <= 10000
    assert answer["trace"] == answer["store"] == "Root=1-a;Parent=b;Sampled=1"
    answer = body(api.invoke())
    assert "trace" not in answer and "tenantId" not in answer["context"] and "clientContext" not in answer["context"]


def test_bad_client_context_is_an_error(api, node):
    node("index.handler", "export const handler = async () => 1")
    request = api.invoke(headers={"Lambda-Runtime-Client-Context": "{"})
    assert request.path == "error"
    assert body(request)["errorMessage"].startswith("Cannot parse ClientContext as json: SyntaxError: ")
    assert api.invoke().body == b"1"


# -- log lines


LOGGER = """console.info('init');
export const handler = async (event) => {
    console.log('two\\nlines %d', 7, {a: 1});
    console.debug('d'); console.trace('t'); console.info('i'); console.warn('w'); console.error('e'); console.fatal('f');
    console.log(); console.error('bad', new TypeError('boom')); console.log(new RangeError('only'));
    console.log({deep: {a: 1}}); const cycle = {}; cycle.cycle = cycle; console.log(cycle);
    process.stdout.write('raw\\n');
}"""


def test_text_log(api, node):
    client = node("index.handler", LOGGER)
    request_id = api.send_event()
    api.wait_request()
    lines = client.wait_stdout("raw\n").split("\n")
    assert re.fullmatch(ISO + "\tundefined\tINFO\tinit", lines[0])
    assert re.fullmatch(ISO + f"\t{request_id}\tINFO\ttwo\rlines 7 {{ a: 1 }}", lines[1])
    levels = [line.split("\t")[2:4] for line in lines[2:8]]
    assert levels == [["DEBUG", "d"], ["TRACE", "t"], ["INFO", "i"], ["WARN", "w"], ["ERROR", "e"], ["FATAL", "f"]]
    assert lines[8].endswith("\tINFO\tundefined")
    assert re.search("\tERROR\tbad TypeError: boom\r    at handler", lines[9])
    assert lines[-2:] == ["raw", ""]


def test_json_log(api, node):
    client = node("index.handler", LOGGER, {"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    request_id = api.send_event(headers={"Lambda-Runtime-Aws-Tenant-Id": "blue"})
    api.wait_request()
    lines = [json.loads(line) for line in client.wait_stdout("raw\n").split("\n") if line.startswith("{")]
    assert list(lines[0]) == ["timestamp", "level", "message"]
    assert list(lines[1]) == ["timestamp", "level", "requestId", "tenantId", "message"]
    assert (lines[1]["requestId"], lines[1]["tenantId"]) == (request_id, "blue")
    assert lines[1]["message"] == "two\nlines 7 { a: 1 }"
    assert [line["level"] for line in lines[2:8]] == "DEBUG TRACE INFO WARN ERROR FATAL".split()
    assert (lines[9]["errorType"], lines[9]["errorMessage"], lines[9]["stackTrace"][0]) == ("TypeError", "boom", "TypeError: boom")
    assert lines[10]["message"]["errorType"] == "RangeError"
    assert lines[11]["message"] == {"deep": {"a": 1}}
    assert "Circular" in lines[12]["message"]


def test_log_level(api, node):
    client = node("index.handler", LOGGER, {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "warn"})
    api.invoke()
    levels = {json.loads(line)["level"] for line in client.wait_stdout("raw\n").split("\n") if line.startswith("{")}
    assert levels == {"WARN", "ERROR", "FATAL"}


@pytest.mark.parametrize("form, kind", [(None, 0xA55A0003), ("JSON", 0xA55A0002)])
def test_framed_log(api, node, form, kind):
    reader, writer = os.pipe()
    env = {"_LAMBDA_TELEMETRY_LOG_FD": str(writer), "AWS_LAMBDA_LOG_FORMAT": form}
    node(
        "index.handler",
        "export const handler = async () => { console.warn('two\\nlines'); return process.env._LAMBDA_TELEMETRY_LOG_FD ?? 'gone' }",
        env,
        pass_fds=(writer,),
    )
    os.close(writer)
    assert body(api.invoke()) == "gone"
    data = os.read(reader, 65536)
    os.close(reader)
    frame, length, microseconds = struct.unpack(">IIQ", data[:16])
    assert (frame, length) == (kind | 0x10, len(data) - 16)
    assert abs(microseconds / 1e6 - time.time()) < 60
    if form:
        assert json.loads(data[16:])["message"] == "two\nlines"
    else:
        assert data.endswith(b"\tWARN\ttwo\nlines\n")


# -- streams, collected


def test_streamed_response(api, node):
    source = """export const handler = awslambda.streamifyResponse(async (event, stream, context) => {
        stream.setContentType('text/plain');
        stream.write('ü1 '); stream.write(Buffer.from('2 ')); stream.write({three: 3});
        await new Promise(r => setTimeout(r, 5));
        stream.end(' end');
    })"""
    node("index.handler", source)
    for _ in range(2):
        request = api.invoke()
        assert (request.path, request.body.decode()) == ("response", 'ü1 2 {"three":3} end')
        assert request.headers["content-type"] == "text/plain"
        assert "lambda-runtime-function-response-mode" not in request.headers


def test_streamed_response_with_prelude(api, node):
    source = """import { pipeline } from 'node:stream/promises'; import { Readable } from 'node:stream';
    export const handler = awslambda.streamifyResponse(async (event, stream) => {
        stream = awslambda.HttpResponseStream.from(stream, {statusCode: 201, headers: {a: 'b'}, cookies: ['c=d']});
        if (event.pipe) await pipeline(Readable.from(['one ', 'two']), stream); else stream.end('one two');
    })"""
    node("index.handler", source)
    for event in ({}, {"pipe": 1}):
        request = api.invoke(event)
        assert request.headers["content-type"] == "application/vnd.awslambda.http-integration-response"
        assert request.body == b'{"statusCode":201,"headers":{"a":"b"},"cookies":["c=d"]}' + bytes(8) + b"one two"


@pytest.mark.parametrize(
    "source, message",
    [
        ("async () => { throw new Error('x') }", "x"),
        ("async (e, stream) => { stream.write('1'); throw new Error('x') }", "x"),
        ("(e, stream) => stream.end()", "Streaming does not support non-async handlers."),
        ("async (e, stream) => { stream.write('1') }", "Response stream is not finished."),
        ("async (e, stream) => { stream.write('1'); stream.setContentType('a') }", "Cannot set content-type, too late."),
    ],
)
def test_streaming_error(api, node, source, message):
    node("index.handler", f"export const handler = awslambda.streamifyResponse({source})")
    for _ in range(2):
        request = api.invoke()
        assert (request.path, body(request)["errorMessage"]) == ("error", message)


def test_no_global(api, node):
    node("index.handler", "export const handler = async () => typeof awslambda", {"AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA": "1"})
    assert body(api.invoke()) == "undefined"
