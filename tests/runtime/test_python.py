"""The Python client: handler resolution, results, errors, context, log lines, exit codes."""

import json
import os
import re
import struct
import time

import pytest
from conftest import ROOT

SECONDS = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"


def body(request):
    return json.loads(request.body)


# -- start and handler resolution


@pytest.mark.parametrize(
    "handler, files",
    [
        ("app.handler", {"app.py": "def handler(event, context): return 'found'"}),
        ("src/app.handler", {"src/app.py": "def handler(event, context): return 'found'"}),
        ("src.deep.app.handler", {"src/deep/app.py": "def handler(event, context): return 'found'"}),
        ("package.handler", {"package/__init__.py": "from .a import handler", "package/a.py": "handler = lambda *_: 'found'"}),
    ],
)
def test_handler_is_found(api, python, handler, files):
    python(handler, files)
    assert body(api.invoke()) == "found"


def test_path_order_and_no_site_packages(api, python, tmp_path):
    client = python("app.handler", "import sys\ndef handler(event, context): return [sys.path, 'site' in sys.modules]")
    path, has_site = body(api.invoke())
    runtime_dir = str(ROOT / "runtimes/python")
    series = "python%d.%d" % python.version
    assert path[:5] == [
        str(tmp_path),
        f"/opt/python/lib/{series}/site-packages",
        "/opt/python",
        runtime_dir,
        runtime_dir + "/sdk",
    ]
    assert not any("packages" in entry for entry in path[5:])
    assert not has_site
    assert client.stderr == ""


def test_light_start(api, python):
    """What a cold start must not pay for."""
    python("app.handler", "import sys\ndef handler(event, context): return sorted(sys.modules)")
    modules = body(api.invoke())
    for heavy in "site json re logging traceback socket enum typing http.client asyncio collections".split():
        assert heavy not in modules


def test_site_names_and_sitecustomize(api, python, tmp_path):
    files = {
        "custom/sitecustomize.py": "import builtins; builtins.customized = 1",
        "app.py": "def handler(event, context): return [exit is not quit, callable(help), customized]",
    }
    python("app.handler", files, {"PYTHONPATH": f"{tmp_path}/custom"})
    assert body(api.invoke()) == [True, True, 1]


@pytest.mark.parametrize(
    "handler, files, kind, message, trace",
    [
        ("app.nope", {"app.py": ""}, "HandlerNotFound", "Handler 'nope' missing on module 'app'", []),
        ("nowhere.handler", {}, "ImportModuleError", "Unable to import module 'nowhere': No module named 'nowhere'", []),
        ("a/b.handler", {}, "ImportModuleError", "Unable to import module 'a/b': No module named 'a'", []),
        (
            "app.handler",
            {"app.py": "import nowhere"},
            "ImportModuleError",
            "Unable to import module 'app': No module named 'nowhere'",
            [],
        ),
        (
            "app",
            {"app.py": ""},
            "MalformedHandlerName",
            "Bad handler 'app': not enough values to unpack (expected 2, got 1)",
            [],
        ),
        ("sys.handler", {}, "BuiltInModuleConflict", "Cannot use built-in module sys as a handler module", []),
        (
            "app.handler",
            {"app.py": "def handler(:\n    pass\n"},
            "UserCodeSyntaxError",
            "Syntax error in module 'app': invalid syntax (app.py, line 1)",
            ['  File "{root}/app.py" Line 1\n    def handler(:\n'],
        ),
    ],
)
def test_init_error_is_posted(api, python, tmp_path, handler, files, kind, message, trace):
    client = python(handler, files)
    request = api.wait_request()
    assert request.path == "/2018-06-01/runtime/init/error"
    assert request.headers["lambda-runtime-function-error-type"] == f"Runtime.{kind}"
    trace = [entry.format(root=tmp_path) for entry in trace]
    expected = {"errorMessage": message, "errorType": f"Runtime.{kind}", "requestId": "", "stackTrace": trace}
    assert request.body.decode() == json.dumps(expected)
    assert client.wait_exit() == 1
    lines = "".join("\r" + line.replace("    ", "\u00a0" * 4, 1) for entry in trace for line in entry.splitlines())
    lines = lines.replace("\r  File", "\r\u00a0\u00a0File")
    assert client.stdout == f"[ERROR] Runtime.{kind}: {message}\rTraceback (most recent call last):{lines}\n"


def test_module_that_raises(api, python, tmp_path):
    client = python("app.handler", "def start():\n    raise Exception('Runtime startup fails')\nstart()\n")
    error = body(api.wait_request())
    assert list(error) == ["errorMessage", "errorType", "requestId", "stackTrace"]
    assert (error["errorMessage"], error["errorType"], error["requestId"]) == ("Runtime startup fails", "Exception", "")
    assert "/importlib/__init__.py" in error["stackTrace"][0]
    assert error["stackTrace"][-2:] == [
        f'  File "{tmp_path}/app.py", line 3, in <module>\n    start()\n',
        f"  File \"{tmp_path}/app.py\", line 2, in start\n    raise Exception('Runtime startup fails')\n",
    ]
    assert client.wait_exit() == 1


def test_exit_during_init(python):
    assert python("app.handler", "import sys; sys.exit(3)").wait_exit() == 3


# -- results


@pytest.mark.parametrize(
    "source, expected",
    [
        ("None", "null"),
        ("event", '{"a": [1, 2.5], "b": true}'),
        ("{1: 2, True: 3, None: 4, 2.5: 5, 'x': (1, 2)}", '{"1": 3, "null": 4, "2.5": 5, "x": [1, 2]}'),
        ("[float('nan'), float('inf'), -float('inf')]", "[NaN, Infinity, -Infinity]"),
        ("{'d': Decimal('1.10'), 'n': Decimal('NaN'), 'e': Decimal('1E+3')}", '{"d": 1.10, "n": NaN, "e": 1E+3}'),
        ("Point(1, 'y')", '{"x": 1, "y": "y"}'),
        ("[Point(1, 2)]", '[{"x": 1, "y": 2}]'),
        ("OrderedDict(b=1, a=b'bytes')", '{"b": 1, "a": "bytes"}'),
        ("{'raw': b'bytes'}", '{"raw": "bytes"}'),
        ("{b'key': 1}", '{"key": 1}'),
        ("[Color.RED, Number.ONE]", '["red", 1]'),
        ("10 ** 30", "1" + "0" * 30),
        ("'quote \" back \\\\ line \\n'", '"quote \\" back \\\\ line \\n"'),
    ],
)
def test_result(api, python, source, expected):
    python(
        "app.handler",
        "from collections import OrderedDict, namedtuple\nfrom decimal import Decimal\nimport enum\n"
        "Point = namedtuple('Point', 'x y')\n"
        "class Color(str, enum.Enum): RED = 'red'\nclass Number(enum.IntEnum): ONE = 1\n"
        f"def handler(event, context): return {source}\n",
    )
    request = api.invoke(b' {"a": [1, 2.5], "b": true}\n')
    assert (request.path, request.body.decode()) == ("response", expected)
    assert request.headers["content-type"] == "application/json"


def test_non_ascii_is_escaped_before_python_3_12(api, python):
    python("app.handler", "def handler(event, context): return 'ü€😀'", {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.11"})
    assert api.invoke().body == b'"\\u00fc\\u20ac\\ud83d\\ude00"'


def test_non_ascii_is_utf8_since_python_3_12(api, python):
    source = "def handler(event, context):\n    if event: raise Exception('ü')\n    return 'ü€😀'"
    python("app.handler", source, {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.12"})
    assert api.invoke().body == '"ü€😀"'.encode()
    assert b'{"errorMessage": "\xc3\xbc"' in api.invoke(b"1").body


def test_bytes_pass_as_they_are(api, python):
    python("app.handler", "def handler(event, context): return b'\\x00\\xff'")
    request = api.invoke()
    assert (request.body, request.headers["content-type"]) == (b"\x00\xff", "application/unknown")


def test_event_of_another_content_type_is_bytes(api, python):
    python("app.handler", "def handler(event, context): return repr(event)")
    assert body(api.invoke(b"\x00raw", headers={"Content-Type": "text/plain"})) == "b'\\x00raw'"


@pytest.mark.parametrize(
    "source, message",
    [
        ("{1, 2}", "Object of type set is not JSON serializable"),
        ("(x for x in [1])", "Object of type generator is not JSON serializable"),
        ("{(1, 2): 3}", "keys must be str, int, float, bool or None, not tuple"),
        ("object()", "Object of type object is not JSON serializable"),
        ("cycle", "Circular reference detected"),
        ("{'d': __import__('datetime').date(2026, 1, 1)}", "Object of type date is not JSON serializable"),
    ],
)
def test_marshal_error(api, python, source, message):
    client = python("app.handler", f"cycle = []\ncycle.append(cycle)\ndef handler(event, context): return {source}\n")
    request = api.invoke()
    message = f"Unable to marshal response: {message}"
    expected = {
        "errorMessage": message,
        "errorType": "Runtime.MarshalError",
        "requestId": "00000000-0000-4000-8000-000000000001",
        "stackTrace": [],
    }
    assert (request.path, request.body.decode()) == ("error", json.dumps(expected))
    assert client.wait_stdout("\n") == f"[ERROR] Runtime.MarshalError: {message}\rTraceback (most recent call last):\n"
    assert api.invoke().path == "error"


def test_unmarshal_error(api, python):
    python("app.handler", "def handler(event, context): return 1")
    error = body(api.invoke(b'{"a": 1,}'))
    assert error["errorType"] == "Runtime.UnmarshalError"
    assert error["errorMessage"].startswith("Unable to unmarshal input: ")
    assert "line 1 column" in error["errorMessage"]
    assert api.invoke(b"1").body == b"1"


# -- errors


def test_error_payload(api, python, tmp_path):
    source = 'def deep():\n    raise Exception("Handler fails")\n\ndef handler(event, context):\n    deep()\n'
    client = python("app.handler", source)
    request_id = "11111111-2222-4333-8444-555555555555"
    request = api.invoke(request_id=request_id)
    file = str(tmp_path / "app.py")
    assert request.path == "error"
    assert request.body.decode() == (
        '{"errorMessage": "Handler fails", "errorType": "Exception", "requestId": "' + request_id + '", "stackTrace": ['
        f'"  File \\"{file}\\", line 5, in handler\\n    deep()\\n", '
        f'"  File \\"{file}\\", line 2, in deep\\n    raise Exception(\\"Handler fails\\")\\n"]}}'
    )
    assert "lambda-runtime-function-error-type" not in request.headers
    assert json.loads(request.headers["lambda-runtime-function-xray-error-cause"]) == {
        "working_directory": str(tmp_path),
        "exceptions": [
            {
                "message": "Handler fails",
                "type": "Exception",
                "stack": [
                    {"label": "handler", "path": file, "line": 5},
                    {"label": "deep", "path": file, "line": 2},
                ],
            }
        ],
        "paths": [file],
    }
    two, four = "\u00a0" * 2, "\u00a0" * 4
    assert client.wait_stdout("\n") == (
        "[ERROR] Exception: Handler fails\rTraceback (most recent call last):"
        f'\r{two}File "{file}", line 5, in handler\r{four}deep()'
        f'\r{two}File "{file}", line 2, in deep\r{four}raise Exception("Handler fails")\n'
    )
    assert api.invoke().path == "error"


def test_error_without_text_and_handler_that_cannot_be_called(api, python):
    python("app.handler", "def handler(event, context):\n    raise KeyError\n")
    assert (body(api.invoke())["errorMessage"], body(api.invoke())["errorType"]) == ("", "KeyError")


def test_exit_in_handler(api, python):
    client = python("app.handler", "import sys\ndef handler(event, context):\n    print('bye', end='')\n    sys.exit(5)\n")
    api.send_event()
    assert client.wait_exit() == 5
    assert api.requests.empty()
    assert client.stdout == "bye"


def test_exit_without_a_code(api, python):
    client = python("app.handler", "def handler(event, context):\n    exit()\n")
    api.send_event()
    assert client.wait_exit() == 0


def test_globals_stay_warm(api, python):
    python("app.handler", "n = 0\ndef handler(event, context):\n    global n\n    n += 1\n    return n\n")
    assert [api.invoke().body for _ in range(3)] == [b"1", b"2", b"3"]


# -- context


def test_context(api, python):
    source = """import os
def handler(event, context):
    client = context.client_context
    return {
        "fields": [context.aws_request_id, context.log_group_name, context.log_stream_name, context.function_name,
                   context.memory_limit_in_mb, context.function_version, context.invoked_function_arn, context.tenant_id],
        "client": client and [client.custom, client.env, client.client and client.client.app_title],
        "identity": [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id],
        "remaining": context.get_remaining_time_in_millis(), "trace": os.environ.get("_X_AMZN_TRACE_ID"),
        "w3c": context.w3c(), "text": repr(context), "log": context.log("logged\\n"),
    }
"""
    client = python("app.handler", source)
    headers = {
        "Lambda-Runtime-Trace-Id": "Root=1-a;Parent=b;Sampled=1",
        "Lambda-Runtime-Client-Context": json.dumps(
            {"custom": {"k": "ü"}, "env": {"e": 1}, "client": {"app_title": "t"}, "w3c": {"traceparent": "p", "x": "y"}},
            ensure_ascii=False,
        ),
        "Lambda-Runtime-Cognito-Identity": '{"cognitoIdentityId":"i","cognitoIdentityPoolId":"p"}',
        "Lambda-Runtime-Aws-Tenant-Id": "blue",
    }
    answer = body(api.invoke(headers=headers, deadline_ms=int(time.time() * 1000) + 10000))
    assert answer["fields"] == [
        "00000000-0000-4000-8000-000000000001",
        "/aws/lambda/fn",
        "2026/01/15/[$LATEST]0123456789abcdef0123456789abcdef",
        "fn",
        "128",
        "$LATEST",
        "arn:aws:lambda:us-east-1:000000000000:function:fn",
        "blue",
    ]
    assert answer["client"] == [{"k": "ü"}, {"e": 1}, "t"]
    assert answer["identity"] == ["i", "p"]
    assert 5000 < answer["remaining"] <= 10000
    assert answer["trace"] == "Root=1-a;Parent=b;Sampled=1"
    assert answer["w3c"] == {"traceparent": "p"}
    assert answer["text"].startswith("LambdaContext([aws_request_id=00000000-")
    assert client.wait_stdout("logged\n") == "logged\n"
    answer = body(api.invoke(deadline_ms=1000))
    assert (answer["client"], answer["identity"], answer["trace"], answer["remaining"]) == (None, [None, None], None, 0)


def test_bad_client_context_is_an_error(api, python):
    python("app.handler", "def handler(event, context): return 1")
    error = body(api.invoke(headers={"Lambda-Runtime-Client-Context": "{"}))
    assert error["errorType"] == "Runtime.LambdaContextUnmarshalError"
    assert error["errorMessage"].startswith("Unable to parse Client Context JSON: ")
    assert api.invoke().body == b"1"


# -- log lines

LOGGER = """import logging, sys
logging.warning("init")
log = logging.getLogger("mine")
def handler(event, context):
    logging.warning("two\\nlines %d", 7)
    log.info("hidden")
    log.setLevel("INFO"); log.info("shown")
    try: 1 / 0
    except ZeroDivisionError: log.exception("caught", extra={"more": 1})
    print("a", "b", "c"); print("raw", file=sys.stderr)
    print("part", end="")
"""


def test_text_log(api, python):
    client = python("app.handler", LOGGER)
    request_id = api.send_event()
    api.wait_request()
    lines = client.wait_stdout("part").split("\n")
    assert re.fullmatch(r"\[WARNING\]\t" + SECONDS + r"\.\d{3}Z\t\tinit", lines[0])
    assert re.fullmatch(r"\[WARNING\]\t" + SECONDS + r"\.\d{3}Z\t" + request_id + "\ttwo\rlines 7", lines[1])
    assert lines[2].startswith("[INFO]\t") and lines[2].endswith("\tshown")
    assert re.search("\tcaught\rTraceback \\(most recent call last\\):\r  File ", lines[3])
    assert lines[4:] == ["a b c", "part"]
    client.kill()
    assert client.stderr == "raw\n"


def test_a_print_is_one_write(api, python, tmp_path):
    """A pipe in packet mode keeps the borders of writes."""
    reader, writer = os.pipe2(os.O_DIRECT)
    files = {
        "app.py": f"import os\nos.dup2({writer}, 1)\n"
        "def handler(event, context):\n    for _ in range(event): print('x' * 50, 1, None, ['y'])\n"
    }
    python("app.handler", files, pass_fds=(writer,))
    os.close(writer)
    api.invoke(b"10")  # a pipe holds 16 packets
    assert [os.read(reader, 4096).decode() for _ in range(10)] == ["x" * 50 + " 1 None ['y']\n"] * 10
    os.close(reader)


def test_json_log(api, python):
    client = python("app.handler", LOGGER, {"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    request_id = api.send_event(headers={"Lambda-Runtime-Aws-Tenant-Id": "blue"})
    api.wait_request()
    lines = [json.loads(line) for line in client.wait_stdout("part").split("\n") if line.startswith("{")]
    assert list(lines[0]) == ["timestamp", "level", "message", "logger", "requestId"]
    assert re.fullmatch(SECONDS + "Z", lines[1]["timestamp"])
    del lines[1]["timestamp"]
    assert lines[1] == {
        "level": "WARNING",
        "message": "two\nlines 7",
        "logger": "root",
        "requestId": request_id,
        "tenantId": "blue",
    }
    keys = "timestamp level message logger stackTrace errorType errorMessage requestId location tenantId more"
    assert list(lines[3]) == keys.split()
    assert (lines[3]["errorType"], lines[3]["errorMessage"], lines[3]["more"]) == ("ZeroDivisionError", "division by zero", 1)


def test_json_log_of_an_uncaught_error(api, python):
    client = python("app.handler", "def handler(event, context):\n    raise ValueError('x\\ny')\n", {"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    error = body(api.invoke())
    line = json.loads(client.wait_stdout("\n"))
    assert list(line) == ["timestamp", "log_level", "errorMessage", "errorType", "requestId", "stackTrace"]
    assert line["log_level"] == "ERROR" and line["stackTrace"] == error["stackTrace"]


def test_log_level(api, python):
    client = python("app.handler", LOGGER, {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "ERROR"})
    api.invoke()
    lines = [json.loads(line)["message"] for line in client.wait_stdout("part").split("\n") if line.startswith("{")]
    assert lines == ["shown", "caught"]  # a logger with a level of its own is not bound by the root's


@pytest.mark.parametrize("form, kind", [(None, 0xA55A0003), ("JSON", 0xA55A0002)])
def test_framed_log(api, python, form, kind):
    reader, writer = os.pipe()
    env = {"_LAMBDA_TELEMETRY_LOG_FD": str(writer), "AWS_LAMBDA_LOG_FORMAT": form}
    source = (
        "import logging, os\ndef handler(event, context):\n    logging.warning('two\\nlines')\n"
        "    return os.environ.get('_LAMBDA_TELEMETRY_LOG_FD', 'gone')\n"
    )
    python("app.handler", source, env, pass_fds=(writer,))
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
        assert data.endswith(b"\ttwo\nlines\n")


def test_module_of_the_function_named_logging(api, python):
    python("app.handler", {"app.py": "import logging\ndef handler(event, context): return logging.own", "logging.py": "own = 1"})
    assert api.invoke().body == b"1"
