"""Log lines exactly as on Lambda, in the data folder and through `irori logs` (spec lifecycle.md section 6)."""

import re
import subprocess
import threading
import time

import pytest
from harness import wait
from harness.archives import pack_folder
from harness.paths import FUNCTIONS, IRORI

ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
REPORT = (r"REPORT RequestId: {id}\tDuration: \d+\.\d\d ms\tBilled Duration: \d+ ms\tMemory Size: {mb} MB\t"
          r"Max Memory Used: \d+ MB\t")
INIT = r"Init Duration: \d+\.\d\d ms\t"


@pytest.fixture(params=["node", "python"])
def fresh(deploy, request):
    runtime = {"node": ("nodejs20.x", "index.handler"), "python": ("python3.11", "lambda_function.handler")}[request.param]
    return deploy(pack_folder(FUNCTIONS / request.param), *runtime, MemorySize=256, Timeout=2)


def logs(function):
    return function.server.irori("logs", function.name).stdout


def test_start_end_report(fresh):
    """START, output, END, REPORT in this order; Init Duration in the first report only; the trailing tab."""
    first = fresh.invoke({"do": "log", "lines": ["from the handler"]}, tail=True)
    second = fresh.invoke({"do": "log", "lines": ["again"]}, tail=True)
    for result, word, init in ((first, "from the handler", INIT), (second, "again", "")):
        report = REPORT.format(id=result.request_id, mb=256)
        pattern = (rf"(?s).*START RequestId: {result.request_id} Version: \$LATEST\n.*{word}\n"
                   rf"END RequestId: {result.request_id}\n{report}{init}\n+")
        assert re.fullmatch(pattern, result.log), result.log
    billed = re.search(r"Duration: ([\d.]+) ms\tBilled Duration: (\d+) ms", second.log)
    assert int(billed.group(2)) >= 1 and int(billed.group(2)) - float(billed.group(1)) < 1.01


def test_lines_of_the_runtime_clients(fresh):
    """Node's console lines carry time, request id and level; print() of Python is plain."""
    result = fresh.invoke({"do": "log", "lines": ["one line"]}, tail=True)
    if fresh.call({"do": "env"})["AWS_EXECUTION_ENV"].startswith("AWS_Lambda_node"):
        assert re.search(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z\t{result.request_id}\tINFO\tone line\n", result.log)
    else:
        assert "\none line\n" in result.log


def test_python_logging_and_traceback(deploy):
    source = {"m.py": "import logging\nlogging.getLogger().setLevel('INFO')\ndef h(e, c):\n    logging.info('careful')\n"
                      "    raise ValueError('bad')\n"}
    result = deploy(source, "python3.11", "m.h").invoke({}, tail=True)
    assert re.search(rf"\[INFO\]\t\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z\t{result.request_id}\tcareful\n", result.log)
    assert re.search(r"\[ERROR\] ValueError: bad[\r\n]+Traceback \(most recent call last\):", result.log)


def test_timeout_report(fresh):
    result = fresh.invoke({"do": "sleep", "ms": 9000}, tail=True)
    report = REPORT.format(id=result.request_id, mb=256)
    assert re.search(rf"{TIME} {result.request_id} Task timed out after 2\.00 seconds\n", result.log)
    assert re.search(rf"{report}({INIT})?Status: timeout\n", result.log), result.log


def test_crash_report(fresh):
    result = fresh.invoke({"do": "exit", "code": 4}, tail=True)
    report = REPORT.format(id=result.request_id, mb=256)
    assert f"RequestId: {result.request_id} Error: Runtime exited with error: exit status 4\nRuntime.ExitError\n" in result.log
    assert re.search(rf"{report}({INIT})?Status: error\tError Type: Runtime.ExitError\n", result.log), result.log


def test_init_report_of_a_failing_init(deploy):
    """One for the init that failed (phase init), one for its repetition (phase invoke)."""
    function = deploy({"m.py": "raise SystemExit(3)"}, "python3.11", "m.h")
    function.invoke({})
    text = logs(function)
    found = re.findall(r"INIT_REPORT Init Duration: \d+\.\d\d ms\tPhase: (\w+)\tStatus: (\w+)(?:\tError Type: ([\w.]+))?", text)
    assert [item[0] for item in found] == ["init", "invoke"] and {item[1] for item in found} == {"error"}, text
    assert found[0][2] == "Runtime.ExitError"


def test_no_init_report_for_a_good_init(fresh):
    fresh.call({"do": "nothing"})
    assert "INIT_REPORT" not in logs(fresh)


def test_init_start_and_module_output_come_first(deploy):
    function = deploy({"m.py": "print('at load')\ndef h(e, c): print('at call')"}, "python3.11", "m.h")
    function.invoke({})
    text = logs(function)
    config = function.server.lam.get_function_configuration(FunctionName=function.name)
    version = config["RuntimeVersionConfig"]["RuntimeVersionArn"]
    assert re.fullmatch(r"arn:aws:lambda:us-east-1::runtime:[0-9a-f]{64}", version)
    assert f"INIT_START Runtime Version: python:3.11.v1\tRuntime Version ARN: {version}\n" in text, text
    order = [text.index(word) for word in ("INIT_START", "at load", "START RequestId", "at call", "END RequestId",
                                           "REPORT RequestId")]
    assert order == sorted(order), text


def test_json_format(deploy):
    """Platform events as JSON objects, one a line."""
    import json
    function = deploy({"m.py": "import logging\ndef h(e, c): logging.getLogger().warning('jay')"}, "python3.11", "m.h",
                      LoggingConfig={"LogFormat": "JSON"})
    result = function.invoke({}, tail=True)
    found = [json.loads(line) for line in result.log.splitlines() if line.startswith("{")]
    kinds = [item.get("type") for item in found]
    assert "platform.start" in kinds and "platform.report" in kinds, result.log
    report = next(item for item in found if item.get("type") == "platform.report")["record"]
    assert report["requestId"] == result.request_id and report["status"] == "success"
    assert {"durationMs", "billedDurationMs", "memorySizeMB", "maxMemoryUsedMB"} <= set(report["metrics"])
    own = next(item for item in found if item.get("message") == "jay")
    assert own["level"] == "WARN" or own["level"] == "WARNING"
    assert own["requestId"] == result.request_id


def test_logs_command(fresh):
    """All lines of all invocations, in order."""
    ids = [fresh.invoke({"do": "log", "lines": [f"line {n}"]}).request_id for n in range(3)]
    text = logs(fresh)
    places = [text.index(f"START RequestId: {one}") for one in ids]
    assert places == sorted(places) and all(f"line {n}" in text for n in range(3))


def test_logs_follow(fresh):
    """-f shows what happens while it runs."""
    fresh.call({"do": "nothing"})
    server = fresh.server
    follower = subprocess.Popen([IRORI, "logs", fresh.name, "-f", "--endpoint", server.endpoint, "--data", server.data],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(iter(follower.stdout.readline, "")), daemon=True)
    reader.start()
    try:
        time.sleep(0.5)
        fresh.invoke({"do": "log", "lines": ["while following"]})
        wait.until(lambda: any("while following" in line for line in seen), 8, "the followed line")
    finally:
        follower.terminate()
        follower.wait(5)


def test_logs_rotate_by_size(own_server):
    """A function that writes without end does not fill the disk."""
    server = own_server()
    function = server.probe("python", MemorySize=512, Timeout=30)
    code = "import sys\nfor _ in range(3000): sys.stdout.write(('x' * 1000 + '\\n') * 10)\nresult = 1"
    for _ in range(4):
        function.call({"do": "exec", "code": code})
    files = [path for path in server.data.rglob("*") if path.is_file() and "log" in str(path.relative_to(server.data))]
    held = sum(path.stat().st_size for path in files)
    assert 0 < held < 100 << 20, f"{held >> 20} MiB of logs from 120 MB of output"
    assert "REPORT RequestId" in function.invoke({"do": "nothing"}, tail=True).log


def test_binary_and_long_lines(fresh):
    """Bytes that are no text, and a line of a megabyte, neither break the log nor the function."""
    if fresh.call({"do": "env"})["AWS_EXECUTION_ENV"].startswith("AWS_Lambda_python"):
        fresh.call({"do": "exec", "code": "import os; os.write(1, bytes(range(256)) + b'\\n' + b'y' * (1 << 20) + b'\\n')"})
    else:
        fresh.call({"do": "log", "lines": [], "raw": "y" * (1 << 20) + "\n"})
    assert fresh.call({"do": "echo", "value": 3}) == 3
    assert "yyyy" in logs(fresh)


def test_output_without_newline_is_kept(fresh):
    result = fresh.invoke({"do": "log", "lines": [], "raw": "no newline at the end"}, tail=True)
    later = fresh.invoke({"do": "nothing"}, tail=True)
    assert "no newline at the end" in result.log + later.log + logs(fresh)


def test_logs_of_deleted_functions_go_in_time(own_server):
    """Of the last deleted ones they stay, for people who look for what went wrong; there is no end of them otherwise."""
    server = own_server("--log-deleted", "2")
    for name in ("first", "second", "third", "kept"):
        function = server.deploy({"lambda_function.py": "def handler(event, context): return 1"}, "python3.11",
                                 "lambda_function.handler", name=name)
        assert function.call() == 1
        if name != "kept":
            function.delete()
            wait.until(lambda: not [env for env in server.environments() if env["function"] == name], 10, "the end of " + name)
    wait.until(lambda: {path.name for path in (server.data / "logs").iterdir()} == {"second", "third", "kept"}, 20,
               "the logs of the first function to go")
    assert "REPORT RequestId" in server.irori("logs", "third").stdout
