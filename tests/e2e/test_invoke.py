"""Invoke in all its forms: answers, errors and limits (spec invoke.md)."""

import base64
import json
import re

import pytest
from harness import aws, wait
from harness.aws import ROLE, refused
from harness.archives import pack

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
LIMIT = 6291456
RESPONSE_LIMIT = 6291556


def error_of(result):
    """The error JSON of an invocation that failed as functions fail: 200 and Unhandled."""
    assert (result.status, result.error) == (200, "Unhandled"), result
    return result.json


def python_source(body):
    return {"lambda_function.py": body}


def test_answer_and_headers(probe):
    """200, the handler's bytes, executed version, JSON content type, one request id for caller and function."""
    result = probe.invoke({"do": "context"})
    assert (result.status, result.error, result.version) == (200, None, "$LATEST")
    assert result.headers["content-type"] == "application/json"
    seen = result.json.get("awsRequestId") or result.json.get("aws_request_id")
    assert result.request_id == seen and re.fullmatch(UUID, seen)
    assert re.match(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", result.headers["x-amzn-trace-id"])


@pytest.mark.parametrize("value", [{"a": [1, None, "ü", {"b": False}]}, "text", 3, 3.5, True, None, [], "\u2028 \\ \""])
def test_any_json_value_goes_through(probe, value):
    assert probe.call({"do": "echo", "value": value}) == value


@pytest.mark.parametrize("raw", [b"3", b"[1,2]", b'"text"', b"null", b"true", b' {"a" : 1 } '])
def test_any_json_document_is_an_event(probe, raw):
    assert probe.invoke(raw=raw).json == json.loads(raw)


def test_empty_body_is_an_empty_object(probe):
    assert probe.call() == {}


def test_nothing_returned_is_null(probe):
    assert probe.invoke({"do": "nothing"}).payload == b"null"


@pytest.mark.parametrize("raw", [b"{", b"nonsense", b'{"a":}', b"\x99", b'{"a":1} trailing', b"'single'", b"{a:1}",
                                 b'"\xff"'])
def test_what_is_not_json_is_refused(node, raw):
    refused(lambda: node.invoke(raw=raw), "InvalidRequestContentException",
            "Could not parse request body into json: Could not parse payload into json: ", 400)


def test_dry_run_runs_nothing(node):
    before = node.call({"do": "count"})["count"]
    answer = node.server.lam.invoke(FunctionName=node.name, InvocationType="DryRun", Payload=b'{"do":"count"}')
    assert answer["StatusCode"] == 204 and "ExecutedVersion" not in answer and answer["Payload"].read() == b""
    assert node.call({"do": "count"})["count"] == before + 1


def test_event_invocations_are_refused_clearly(node):
    error = refused(lambda: node.server.lam.invoke(FunctionName=node.name, InvocationType="Event"),
                    "InvalidParameterValueException", status=400)
    assert "Event" in str(error)


def test_unknown_invocation_type(node):
    refused(lambda: node.server.lam.invoke(FunctionName=node.name, InvocationType="Wrong"), "ValidationException",
            "at 'invocationType' failed to satisfy constraint: Member must satisfy enum value set: [", 400)
    refused(lambda: node.server.lam.invoke(FunctionName=node.name, LogType="Wrong"), "ValidationException", None, 400)


def test_client_context(python, node):
    context = base64.b64encode(json.dumps({"custom": {"key": "value"}, "client": {}, "env": {}}).encode()).decode()
    assert python.invoke({"do": "context"}, ClientContext=context).json["custom"] == {"key": "value"}
    assert node.invoke({"do": "context"}, ClientContext=context).json["clientContext"]["custom"] == {"key": "value"}
    for bad in ("%%%", *(base64.b64encode(text).decode() for text in (b"no json", b"[1]", b'"text"', b" 1", b"null"))):
        refused(lambda bad=bad: node.invoke({}, ClientContext=bad), "InvalidRequestContentException",
                "Client context must be a valid Base64-encoded JSON object.", 400)


def test_context_is_complete(python, node):
    seen = python.invoke({"do": "context"}).json
    assert seen["function_name"] == python.name and seen["function_version"] == "$LATEST"
    assert seen["invoked_function_arn"] == python.arn and int(seen["memory_limit_in_mb"]) == 512
    assert seen["log_group_name"] == f"/aws/lambda/{python.name}"
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", seen["log_stream_name"])
    assert 15000 < seen["remaining"] <= 20000
    seen = node.invoke({"do": "context"}).json
    assert seen["functionName"] == node.name and seen["invokedFunctionArn"] == node.arn
    assert seen["memoryLimitInMB"] == "512" and 15000 < seen["remaining"] <= 20000


def test_trace_id_is_continued(node):
    """The caller's trace reaches the function."""
    root = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    lam = node.server.lam

    def add(request, **_):
        request.headers.add_header("X-Amzn-Trace-Id", root)
    lam.meta.events.register("before-sign.lambda.Invoke", add, unique_id="trace")
    try:
        seen = node.call({"do": "context"})["trace"]
    finally:
        lam.meta.events.unregister("before-sign.lambda.Invoke", unique_id="trace")
    assert seen.startswith("Root=1-5759e988-bd862e3fe1be46a994272793") and "Sampled=1" in seen


def test_active_tracing_samples_what_nobody_has_decided(deploy):
    """Nothing but the caller's own decision keeps an active function from being traced; PassThrough decides nothing."""
    source = {"index.mjs": "export const handler = async () => process.env._X_AMZN_TRACE_ID;"}
    active, passing = (deploy(source, TracingConfig={"Mode": mode}) for mode in ("Active", "PassThrough"))
    for function, sampled in ((active, 1), (passing, 0)):
        result = function.invoke({}, tail=True)
        assert result.json == result.headers["x-amzn-trace-id"]
        assert re.fullmatch(rf"Root=1-[0-9a-f]{{8}}-[0-9a-f]{{24}};Parent=[0-9a-f]{{16}};Sampled={sampled}", result.json)
        assert ("\tSampled: true\t" in result.log) == bool(sampled)
    url, root = active.public_url(), "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8"
    for given, expected in ((root, root + ";Sampled=1"), (root + ";Sampled=0", root + ";Sampled=0")):
        answer = url.call("GET", "/", {"X-Amzn-Trace-Id": given})
        assert (answer.get("x-amzn-trace-id"), answer.body.decode()) == (expected, expected)


# Errors of functions

def test_python_exception(python):
    """The very bytes of the spec, with blanks after ':' and ','."""
    result = python.invoke({"do": "throw", "message": "Handler fails"})
    error = error_of(result)
    assert list(error) == ["errorMessage", "errorType", "requestId", "stackTrace"]
    assert (error["errorMessage"], error["errorType"], error["requestId"]) == ("Handler fails", "Exception", result.request_id)
    assert re.match(r'  File "/var/task/lambda_function.py", line \d+, in handler\n    return ACTIONS', error["stackTrace"][0])
    assert result.payload.startswith(b'{"errorMessage": "Handler fails", "errorType": "Exception", "requestId": ')


def test_node_exception(node):
    error = error_of(node.invoke({"do": "throw", "message": "no", "name": "Wrong"}))
    assert list(error) == ["errorType", "errorMessage", "trace"]
    assert (error["errorType"], error["errorMessage"], error["trace"][0]) == ("Wrong", "no", "Wrong: no")
    assert error_of(node.invoke({"do": "reject"}))["errorType"] == "TypeError"
    assert node.call({"do": "echo", "value": 1}) == 1


def test_globals_survive_a_handler_exception(probe):
    before = probe.call({"do": "count"})
    error_of(probe.invoke({"do": "throw", "message": "x"}))
    after = probe.call({"do": "count"})
    assert (after["born"], after["count"]) == (before["born"], before["count"] + 1)


def test_node_callback_handlers(deploy):
    from harness.archives import pack_folder
    from harness.paths import FUNCTIONS
    function = deploy(pack_folder(FUNCTIONS / "node"), handler="index.callback")
    assert function.call({"a": 1}) == {"viaCallback": {"a": 1}}
    assert error_of(function.invoke({"fail": "far"}))["errorType"] == "RangeError"


def test_node_commonjs_and_nested_handlers(deploy):
    files = {"src/app.js": "exports.api = { run: async (e) => ({ got: e, dir: __dirname }) };"}
    assert deploy(files, handler="src/app.api.run").call({"a": 1}) == {"got": {"a": 1}, "dir": "/var/task/src"}


def test_node_module_with_top_level_await(deploy):
    files = {"index.mjs": "const x = await Promise.resolve(5);\nexport const handler = async () => x;"}
    assert deploy(files).call() == 5


def test_node_unhandled_rejection(node):
    error = error_of(node.invoke({"do": "unhandled"}))
    assert error["errorType"] == "Runtime.UnhandledPromiseRejection"
    assert "nobody catches this" in error["errorMessage"]
    assert node.call({"do": "echo", "value": 2}) == 2


def test_node_exits_without_a_result(node):
    """The event loop drains while the promise is pending."""
    assert error_of(node.invoke({"do": "never"}))["errorType"] in ("Runtime.NodeJsExit",)


def test_results_that_are_not_json(node, python):
    error = error_of(python.invoke({"do": "unserialisable"}))
    assert error["errorType"] == "Runtime.MarshalError" and error["errorMessage"].startswith("Unable to marshal response: ")
    assert "errorType" in error_of(node.invoke({"do": "bigint"}))


INIT_ERRORS = [
    ("nodejs20.x", "index.nothing", {"index.mjs": "export const x = 1;"}, "Runtime.HandlerNotFound",
     "index.nothing is undefined or not exported"),
    ("nodejs20.x", "missing.handler", {"index.mjs": ""}, "Runtime.ImportModuleError", "Cannot find module 'missing'"),
    ("nodejs20.x", "index.handler", {"index.mjs": "export const handler = {{{"}, "Runtime.UserCodeSyntaxError",
     "SyntaxError: "),
    ("nodejs20.x", "nodots", {"index.mjs": ""}, "Runtime.MalformedHandlerName", "Bad handler"),
    ("python3.11", "m.f", {"m.py": "x = 1"}, "Runtime.HandlerNotFound", "Handler 'f' missing on module 'm'"),
    ("python3.11", "gone.f", {"m.py": ""}, "Runtime.ImportModuleError", "Unable to import module 'gone': No module named 'gone'"),
    ("python3.11", "m.f", {"m.py": "def f(:"}, "Runtime.UserCodeSyntaxError", "Syntax error in module 'm': "),
    ("python3.11", "nodots", {"m.py": ""}, "Runtime.MalformedHandlerName",
     "Bad handler 'nodots': not enough values to unpack (expected 2, got 1)"),
    ("python3.11", "m.f", {"m.py": "raise Exception('Runtime startup fails')"}, "Exception", "Runtime startup fails"),
]


@pytest.mark.parametrize("runtime,handler,files,kind,text", INIT_ERRORS, ids=[f"{c[0][:4]}-{c[3]}" for c in INIT_ERRORS])
def test_init_errors(deploy, runtime, handler, files, kind, text):
    function = deploy(files, runtime, handler)
    error = error_of(function.invoke({}))
    assert error["errorType"] == kind and text in error["errorMessage"], error
    if runtime.startswith("python"):
        assert error["requestId"] == "" and isinstance(error["stackTrace"], list)
    assert error_of(function.invoke({}))["errorType"] == kind


# Ends of processes

@pytest.mark.parametrize("code,text", [(0, "Runtime exited without providing a reason"),
                                       (1, "Runtime exited with error: exit status 1"),
                                       (77, "Runtime exited with error: exit status 77")])
def test_exit_codes(python, code, text):
    result = python.invoke({"do": "exit", "code": code})
    assert error_of(result) == {"errorType": "Runtime.ExitError", "errorMessage": f"RequestId: {result.request_id} Error: {text}"}
    assert list(result.json) == ["errorType", "errorMessage"]


def test_node_exit(node):
    result = node.invoke({"do": "exit", "code": 5})
    assert error_of(result)["errorType"] == "Runtime.ExitError"
    assert error_of(result)["errorMessage"].endswith("Error: Runtime exited with error: exit status 5")


@pytest.mark.parametrize("name,words", [("SIGKILL", "signal: killed"), ("SIGSEGV", "signal: segmentation fault"),
                                        ("SIGABRT", "signal: aborted"), ("SIGTERM", "signal: terminated")])
def test_signals(python, name, words):
    """Go's names of the signals."""
    result = python.invoke({"do": "signal", "signal": name})
    assert error_of(result)["errorType"] == "Runtime.ExitError"
    start = f"RequestId: {result.request_id} Error: Runtime exited with error: {words}"
    assert error_of(result)["errorMessage"].startswith(start)


def test_crash_keeps_tmp_and_loses_globals(python):
    """The next invocation runs in the same environment, with new processes."""
    python.call({"do": "put", "name": "kept", "text": "still here"})
    before = python.call({"do": "count"})
    error_of(python.invoke({"do": "exit", "code": 9}))
    after = python.call({"do": "count"})
    assert after["born"] != before["born"] and after["count"] == 1
    assert python.call({"do": "get", "name": "kept"}) == "still here"


def test_timeout(probe):
    """The configured seconds with two decimals; /tmp survives, globals do not; it ends on time."""
    probe.configure(Timeout=1)
    try:
        probe.call({"do": "put", "name": "kept", "text": "x"})
        before = probe.call({"do": "count"})
        result = probe.invoke({"do": "sleep", "ms": 10000}, tail=True)
        assert error_of(result) == {"errorType": "Sandbox.Timedout",
                                    "errorMessage": f"RequestId: {result.request_id} Error: Task timed out after 1.00 seconds"}
        assert re.search(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z {result.request_id} Task timed out after 1\.00 seconds",
                         result.log)
        duration = float(re.search(r"Duration: ([\d.]+) ms", result.log).group(1))
        assert 1000 <= duration < 1500
        assert probe.call({"do": "get", "name": "kept"}) == "x"
        assert probe.call({"do": "count"})["born"] != before["born"]
    finally:
        probe.configure(Timeout=20)


def test_out_of_memory(deploy, node):
    """The function dies, is told so, and the next invocation works; neighbours notice nothing."""
    from harness.archives import pack_folder
    from harness.paths import FUNCTIONS
    function = deploy(pack_folder(FUNCTIONS / "python"), "python3.11", "lambda_function.handler", MemorySize=128, Timeout=15)
    result = function.invoke({"do": "memory", "mb": 400}, tail=True)
    assert error_of(result)["errorType"] in ("Runtime.ExitError", "Runtime.OutOfMemory")
    assert "signal: killed" in result.json["errorMessage"]
    assert re.search(r"Memory Size: 128 MB\tMax Memory Used: 12[0-9] MB", result.log), result.log
    assert function.call({"do": "memory", "mb": 40}) == 40
    assert node.call({"do": "echo", "value": 1}) == 1


# Limits

def test_request_payload_limit(node):
    padding = LIMIT - len(json.dumps({"do": "nothing", "padding": ""}))
    event = {"do": "nothing", "padding": "x" * padding}
    assert node.invoke(event).payload == b"null"
    event["padding"] += "x"
    refused(lambda: node.invoke(event), "RequestEntityTooLargeException",
            "Request must be smaller than 6291456 bytes for the InvokeFunction operation", 413)


def test_response_payload_limit(probe):
    """6 MB and 100 bytes pass; one byte more is an error that leaves the environment usable."""
    before = probe.call({"do": "count"})
    result = probe.invoke({"do": "big", "bytes": RESPONSE_LIMIT - 2})
    assert result.error is None and len(result.payload) == RESPONSE_LIMIT
    result = probe.invoke({"do": "big", "bytes": RESPONSE_LIMIT - 1})
    assert error_of(result) == {
        "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
        "errorType": "Function.ResponseSizeTooLarge"}
    assert list(result.json) == ["errorMessage", "errorType"]
    # The client connects anew first; a request that does not wait for that may get another environment.
    wait.until(lambda: all(env["state"] in ("idle", "frozen") for env in probe.server.environments()
                           if env["function"] == probe.name), 10, "the environment to be idle again")
    after = probe.call({"do": "count"})
    assert (after["born"], after["count"]) == (before["born"], before["count"] + 1)


def test_log_tail_is_the_last_4096_bytes(probe):
    result = probe.invoke({"do": "log", "lines": ["x" * 99] * 100}, tail=True)
    assert len(result.log.encode()) == 4096 and "REPORT RequestId: " + result.request_id in result.log
    short = probe.invoke({"do": "log", "lines": ["hello from the handler"]}, tail=True)
    assert "START RequestId: " + short.request_id in short.log and "hello from the handler" in short.log
    assert probe.invoke({"do": "nothing"}).log is None


def test_bootstrap_missing_and_not_executable(deploy):
    function = deploy({"other": "x"}, "provided.al2023", "x")
    result = function.invoke({})
    assert error_of(result) == {
        "errorType": "Runtime.InvalidEntrypoint",
        "errorMessage": f"RequestId: {result.request_id} Error: Couldn't find valid bootstrap(s): "
                        "[/var/task/bootstrap /opt/bootstrap]"}
    broken = deploy(pack({"bootstrap": b"\x7fELF broken"}), "provided.al2023", "x")
    error = error_of(broken.invoke({}))
    assert error["errorType"] in ("Runtime.InvalidEntrypoint", "Runtime.ExitError")
    assert "exec format error" in error["errorMessage"] or "exit status" in error["errorMessage"]
    refused_mode = deploy(pack({"bootstrap": (b"#!/bin/sh\n", 0o644)}), "provided.al2023", "x")
    assert error_of(refused_mode.invoke({}))["errorType"] == "Runtime.InvalidEntrypoint"


def test_bootstrap_whose_interpreter_is_missing(deploy):
    function = deploy(pack({"bootstrap": b"#!/no/such/interpreter\n"}), "provided.al2023", "x")
    result = function.invoke({})
    assert error_of(result) == {
        "errorType": "Runtime.InvalidEntrypoint",
        "errorMessage": f"RequestId: {result.request_id} Error: fork/exec /var/task/bootstrap: no such file or directory"}


def test_functions_are_pending_and_then_active(server):
    """Pending is over too soon to invoke in it for sure: tests/unit/door/test_invoke.c does that."""
    name = server.name("pending")
    made = server.lam.create_function(FunctionName=name, Role=ROLE, Runtime="nodejs20.x", Handler="index.handler",
                                      Code={"ZipFile": pack({"index.mjs": "export const handler = async () => 1;"})})
    assert (made["State"], made["StateReasonCode"]) == ("Pending", "Creating")
    server.active(name)
    assert server.lam.get_function_configuration(FunctionName=name)["State"] == "Active"
    assert server.lam.invoke(FunctionName=name)["Payload"].read() == b"1"
    server.lam.delete_function(FunctionName=name)
