"""Cold and warm, freeze, idle expiry, init that fails or takes too long (spec lifecycle.md section 1)."""

import concurrent.futures
import re
import time

import pytest
from harness import procs, wait
from harness.archives import pack_folder
from harness.paths import FUNCTIONS

PYTHON = ("python3.11", "lambda_function.handler")


@pytest.fixture
def fresh(deploy):
    """A Python probe of this test alone."""
    return deploy(pack_folder(FUNCTIONS / "python"), *PYTHON, MemorySize=256, Timeout=10)


def test_warm_start_keeps_globals_and_tmp(probe):
    first = probe.call({"do": "count"})
    probe.call({"do": "put", "name": "warm", "text": "kept"})
    second = probe.call({"do": "count"})
    assert (second["born"], second["count"], second["loadedAt"]) == (first["born"], first["count"] + 1, first["loadedAt"])
    assert probe.call({"do": "get", "name": "warm"}) == "kept"


def test_one_request_at_a_time_per_environment(fresh):
    """Four at once run in four environments; afterwards the most recently used one serves."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: fresh.call({"do": "sleep", "ms": 1000}), range(4)))
    assert len({answer["born"] for answer in answers}) == 4
    served = {fresh.call({"do": "count"})["born"] for _ in range(8)}
    assert len(served) == 1 and served <= {answer["born"] for answer in answers}


def test_environments_do_not_share_tmp(fresh):
    """Two at once: each sees only the file it wrote itself."""
    def work(number):
        return fresh.call({"do": "exec", "code": f"""
import os, time
open('/tmp/mine-{number}', 'w').close()
time.sleep(1)
result = sorted(name for name in os.listdir('/tmp') if name.startswith('mine-'))
"""})
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(work, (1, 2))) == [["mine-1"], ["mine-2"]]


def test_background_work_stops_while_frozen(own_server):
    """A timer that ticks 200 times a second hardly advances between two invocations that are two seconds apart."""
    server = own_server("--freeze-after-ms", "50")
    for folder, runtime in (("node", ("nodejs20.x", "index.handler")), ("python", PYTHON)):
        function = server.deploy(pack_folder(FUNCTIONS / folder), *runtime, MemorySize=256)
        function.call({"do": "tick"})
        time.sleep(0.5)
        first = function.call({"do": "ticks"})
        time.sleep(2)
        second = function.call({"do": "ticks"})
        assert second - first < 120, f"{folder}: {second - first} ticks while frozen"
        born = function.call({"do": "count"})["born"]
        assert function.call({"do": "count"})["born"] == born


def test_idle_environments_end(own_server):
    """After --idle-timeout-ms the processes are gone and the next invocation is a cold start; /tmp is empty."""
    server = own_server("--idle-timeout-ms", "700")
    function = server.probe("python", MemorySize=256)
    first = function.call({"do": "count"})
    function.call({"do": "put", "name": "old", "text": "x"})
    assert len(server.environments()) == 1
    wait.until(lambda: not server.environments(), 8, "the idle environment to end")
    second = function.call({"do": "count"})
    assert second["born"] != first["born"] and second["count"] == 1
    assert function.call({"do": "get", "name": "old"}) is None


def test_the_end_of_an_environment_is_not_announced(own_server):
    """No SIGTERM, as on Lambda without extensions: not when it was idle for long, nor for an update or a deletion. (The process is
    not frozen meanwhile, and logs one that it sends itself.)"""
    server = own_server("--idle-timeout-ms", "1500", "--freeze-after-ms", "100000")
    function = server.deploy({"m.py": """
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: print("SIGTERM came", flush=True))
def h(event, context):
    if event.get("self"):
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)
"""}, "python3.11", "m.h", MemorySize=256)

    def came():
        return server.irori("logs", function.name).stdout.count("SIGTERM came")
    function.call({"self": True})
    wait.until(lambda: came() == 1, 5, "the signal of its own")
    wait.until(lambda: not server.environments(), 8, "the idle environment to end")
    function.call({})
    function.configure(Description="a new configuration needs a new environment")
    wait.until(lambda: not server.environments(), 8, "the environment of the old configuration to end")
    function.call({})
    assert came() == 1
    function.delete()
    wait.until(lambda: not server.environments(), 8, "the environment of the deleted function to end")
    time.sleep(0.3)
    (log,) = (server.data / "logs").glob(f"*{function.name}*")
    assert sum(path.read_bytes().count(b"SIGTERM came") for path in log.rglob("*") if path.is_file()) == 1


def test_use_postpones_expiry(own_server):
    """The idle time counts from the last request on."""
    server = own_server("--idle-timeout-ms", "1200")
    function = server.probe("python", MemorySize=256)
    born = function.call({"do": "count"})["born"]
    for _ in range(5):
        time.sleep(0.6)
        assert function.call({"do": "count"})["born"] == born


FAILING_INIT = {"lambda_function.py": """
import os
path = '/tmp/inits'
count = int(open(path).read()) if os.path.exists(path) else 0
open(path, 'w').write(str(count + 1))
print('init number', count + 1)
if count + 1 < int(os.environ['GOOD_FROM']):
    raise Exception('not yet')
def handler(event, context):
    return count + 1
"""}


def test_failing_init_runs_again_inside_the_first_invoke(deploy):
    """Static code runs twice: the second run, inside the invoke, succeeds and the caller gets the answer."""
    function = deploy(FAILING_INIT, *PYTHON, Environment={"Variables": {"GOOD_FROM": "2"}})
    result = function.invoke({}, tail=True)
    assert (result.error, result.json) == (None, 2), result.payload
    assert function.call({}) == 2


def test_init_that_fails_twice_is_the_result(deploy):
    """Two runs, then the error of the second; the next invocation begins anew."""
    function = deploy(FAILING_INIT, *PYTHON, Environment={"Variables": {"GOOD_FROM": "3"}})
    result = function.invoke({})
    assert result.error == "Unhandled" and result.json["errorMessage"] == "not yet"
    assert function.call({}) == 3


def test_init_is_ended_after_ten_seconds(deploy):
    """INIT_REPORT says timeout; INIT then runs inside the invoke under the function's own timeout."""
    source = {"lambda_function.py": """
import os, time
if not os.path.exists('/tmp/seen'):
    open('/tmp/seen', 'w').close()
    time.sleep(60)
def handler(event, context):
    return 'ready'
"""}
    function = deploy(source, *PYTHON, Timeout=5)
    begin = time.monotonic()
    result = function.invoke({}, tail=True)
    took = time.monotonic() - begin
    assert (result.error, result.json) == (None, "ready"), result.payload
    assert 9.5 < took < 15
    log = function.server.irori("logs", function.name).stdout
    assert re.search(r"INIT_REPORT Init Duration: (9|10)\d{3}\.\d\d ms\tPhase: init\tStatus: timeout", log), log


def test_init_that_hangs_in_the_invoke_times_out(deploy):
    function = deploy({"lambda_function.py": "import time\ntime.sleep(60)\ndef handler(e, c): pass"}, *PYTHON, Timeout=1)
    result = function.invoke({})
    assert result.error == "Unhandled" and result.json["errorType"] == "Sandbox.Timedout"
    assert result.json["errorMessage"].endswith("Task timed out after 1.00 seconds")


def test_init_has_the_whole_processor(deploy):
    """At 128 MB (0.07 cores) work during init is not throttled, the same work in the handler is."""
    source = {"lambda_function.py": """
import time
def work():
    begin = time.perf_counter()
    n = 0
    for i in range(1500000): n += i
    return time.perf_counter() - begin
init = work()
def handler(event, context):
    return [init, work()]
"""}
    function = deploy(source, *PYTHON, MemorySize=128, Timeout=60)
    function.call({})  # the limit comes with the first event and may be a moment behind it
    init, invoke = function.call({})
    assert invoke > 4 * init, (init, invoke)


def test_client_that_leaves_does_not_stop_the_function(fresh):
    """The caller goes away in the middle; the function runs to its end and serves the next request."""
    from harness import rawhttp
    from harness.aws import signed
    server = fresh.server
    fresh.call({"do": "nothing"})
    body = b'{"do":"exec","code":"import time; time.sleep(1); open(\'/tmp/done\',\'w\').write(\'yes\')"}'
    path = f"/2015-03-31/functions/{fresh.name}/invocations"
    _, headers = signed("POST", server.endpoint + path, server.key, server.secret, body)
    headers.pop("Host", None)
    with rawhttp.Connection(server.port) as connection:
        connection.send(rawhttp.render("POST", path, f"127.0.0.1:{server.port}", headers, body))
        time.sleep(0.3)
    time.sleep(1.2)
    assert fresh.call({"do": "get", "name": "done"}) == "yes"


def test_ended_environment_leaves_no_process(own_server):
    """After the function is deleted none of its processes is on the host."""
    server = own_server()
    function = server.probe("python")
    function.call({"do": "exec", "code": f"import subprocess; subprocess.Popen(['sleep', '987{server.port}'])"})
    wanted = f"987{server.port}"

    def running():
        return [pid for pid in procs.everyone() if wanted in procs.cmdline(pid)]
    wait.until(running, 3, "the marked process to be seen")
    function.delete()
    wait.until(lambda: not running(), 5, "the deleted function's processes to end")
