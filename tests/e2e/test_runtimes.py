"""Every managed runtime of the machine, bootstraps of several kinds, and AWS's own runtime clients."""

import pytest
from harness import build
from harness.archives import pack_folder
from harness.aws import refused
from harness.paths import FUNCTIONS

PYTHONS = ["python3.9", "python3.10", "python3.11", "python3.12", "python3.13", "python3.14"]
NODES = ["nodejs18.x", "nodejs20.x", "nodejs22.x", "nodejs24.x"]


def there(server, runtime):
    if runtime not in server.runtimes():
        pytest.skip(f"NOT TESTED: this machine has no {runtime}")


@pytest.mark.parametrize("runtime", PYTHONS)
def test_python(server, deploy, runtime):
    there(server, runtime)
    function = deploy(pack_folder(FUNCTIONS / "python"), runtime, "lambda_function.handler", MemorySize=256)
    version = function.call({"do": "exec", "code": "import sys, ssl, sqlite3, hashlib; result = list(sys.version_info[:2])"})
    assert runtime == "python" + ".".join(map(str, version))
    first, second = function.call({"do": "count"}), function.call({"do": "count"})
    assert (first["count"], second["count"]) == (1, 2)
    error = function.invoke({"do": "throw", "message": "x"})
    assert error.json["errorType"] == "Exception"


@pytest.mark.parametrize("runtime", NODES)
def test_node(server, deploy, runtime):
    there(server, runtime)
    source = {"index.mjs": "let n = 0;\nexport const handler = async (e) => ({v: process.version, n: ++n, e});"}
    function = deploy(source, runtime, MemorySize=256)
    answer = function.call({"a": 1})
    assert answer["v"].startswith(f"v{runtime[6:-2]}.") and answer["n"] == 1 and answer["e"] == {"a": 1}
    assert function.call({})["n"] == 2


def test_missing_runtime_is_refused_with_advice(server):
    missing = next((runtime for runtime in PYTHONS + NODES if runtime not in server.runtimes()), None)
    if missing is None:
        pytest.skip("this machine has every runtime")
    refused(lambda: server.deploy({"x": ""}, missing, "a.b"), "InvalidParameterValueException", "irori runtimes", 400)


@pytest.mark.parametrize("runtime", ["provided.al2", "provided.al2023"])
def test_static_bootstrap(deploy, runtime):
    function = deploy({"bootstrap": build.c_program("echo")}, runtime, "x")
    assert function.call({"a": [1, 2, 3]}) == {"a": [1, 2, 3]}
    big = {"text": "x" * 3000000}
    assert function.call(big) == big


def test_bash_bootstrap(deploy):
    function = deploy(pack_folder(FUNCTIONS / "bash"), "provided.al2023", "x", MemorySize=256)
    assert function.call({"a": 1}) == {"bash": {"a": 1}}
    result = function.invoke({"a": "fail"}, tail=True)
    assert result.error == "Unhandled" and result.json == {"errorMessage": "bash fails", "errorType": "Function.Bad"}
    assert function.call({"a": 2}) == {"bash": {"a": 2}}


@pytest.mark.timeout(700)
def test_go_client(deploy):
    """github.com/aws/aws-lambda-go: chunked posts with trailers, exact statuses, panic ends the process."""
    function = deploy({"bootstrap": build.go_program()}, "provided.al2023", "x", MemorySize=256, Timeout=2)
    assert function.call({"do": "echo", "value": {"deep": [1, "ü"]}}) == {"deep": [1, "ü"]}
    assert [function.call({"do": "count"}) for _ in range(3)] == [1, 2, 3]
    seen = function.invoke({"do": "context"})
    assert seen.json["id"] == seen.request_id and seen.json["arn"] == function.arn and 0 < seen.json["left"] <= 2000
    assert seen.json["name"] == function.name
    assert function.invoke({"do": "fail"}).json == {"errorMessage": "no", "errorType": "errorString"}
    panic = function.invoke({"do": "panic"})
    assert panic.error == "Unhandled" and panic.json["errorMessage"] == "all is lost" and panic.json["stackTrace"]
    assert function.invoke({"do": "exit"}).json["errorMessage"].endswith("exit status 3")
    assert function.invoke({"do": "sleep"}).json["errorType"] == "Sandbox.Timedout"
    assert function.call({"do": "count"}) == 1


@pytest.mark.timeout(700)
def test_rust_client(deploy):
    """The crate lambda_runtime."""
    function = deploy({"bootstrap": build.rust_program()}, "provided.al2023", "x", MemorySize=256, Timeout=3)
    assert function.call({"do": "echo", "value": {"deep": [1, "ü"]}}) == {"deep": [1, "ü"]}
    assert [function.call({"do": "count"}) for _ in range(3)] == [1, 2, 3]
    seen = function.invoke({"do": "context"})
    assert seen.json["id"] == seen.request_id and seen.json["name"] == function.name
    failed = function.invoke({"do": "fail"})
    assert failed.error == "Unhandled" and failed.json["errorMessage"] == "no"
    assert function.invoke({"do": "panic"}).error == "Unhandled"
    assert function.call({"do": "echo", "value": 1}) == 1


def check_aws_client(function):
    """A cold call and a warm one, what the handler is told, and an error; as AWS's client tells it."""
    cold = function.invoke({"value": {"deep": [1, "ü"]}}, tail=True)
    assert (cold.error, cold.json["count"], cold.json["event"]) == (None, 1, {"value": {"deep": [1, "ü"]}}), cold
    assert cold.json["id"] == cold.request_id and cold.json["arn"] == function.arn and 0 < cold.json["left"] <= 10000
    assert "a line of the handler" in cold.log
    assert function.call({})["count"] == 2
    failed = function.invoke({"fail": "no"})
    assert failed.error == "Unhandled" and failed.json["errorMessage"] == "no", failed
    assert failed.json["errorType"] in ("ValueError", "RangeError")
    assert function.call({})["count"] == 4


@pytest.mark.timeout(400)
def test_python_client_of_aws(deploy):
    """awslambdaric, vendored into the package, under the machine's python3."""
    app = ("import json\ncount = 0\ndef handler(event, context):\n    global count\n    count += 1\n"
           "    print('a line of the handler')\n    if 'fail' in event:\n        raise ValueError(event['fail'])\n"
           "    return {'count': count, 'event': event, 'id': context.aws_request_id, 'arn': context.invoked_function_arn,\n"
           "            'left': context.get_remaining_time_in_millis()}\n")
    bootstrap = '#!/bin/sh\ncd "$LAMBDA_TASK_ROOT"\nexec /usr/bin/python3 -m awslambdaric "$_HANDLER"\n'
    package = pack_folder(build.aws_python_client(), {"app.py": app, "bootstrap": bootstrap})
    check_aws_client(deploy(package, "provided.al2023", "app.handler", MemorySize=256, Timeout=10))


@pytest.mark.timeout(400)
def test_node_client_of_aws(deploy):
    """aws-lambda-ric with its native part, vendored into the package, under the machine's node."""
    app = ("let count = 0;\nexports.handler = async (event, context) => {\n    count++;\n"
           "    console.log('a line of the handler');\n    if ('fail' in event) throw new RangeError(event.fail);\n"
           "    return { count, event, id: context.awsRequestId, arn: context.invokedFunctionArn,\n"
           "             left: context.getRemainingTimeInMillis() };\n};\n")
    bootstrap = '#!/bin/sh\ncd "$LAMBDA_TASK_ROOT"\nexec /usr/bin/node ric/bin/index.mjs "$_HANDLER"\n'
    client = build.aws_node_client()
    files = {f"ric/{path.relative_to(client)}": path.read_bytes() for path in client.rglob("*") if path.is_file()}
    check_aws_client(deploy({**files, "app.js": app, "bootstrap": bootstrap}, "provided.al2023", "app.handler",
                            MemorySize=256, Timeout=10))


def test_runtimes_are_listed(server):
    """irori runtimes names each id of the contract, what is there, and how to add the others."""
    ids = {item["id"] for item in as_list(server.irori_json("runtimes"))}
    assert ids >= set(NODES) | set(PYTHONS) | {"provided.al2", "provided.al2023"}
    text = server.irori("runtimes").stdout
    assert all(runtime in text for runtime in ids)


def as_list(listed):
    return listed["runtimes"] if isinstance(listed, dict) else listed
