"""Concurrency limits, load, updates and deletion under load (spec lifecycle.md section 2, invoke.md section 4)."""

import asyncio
import collections
import concurrent.futures
import json
import re
import resource
import socket
import threading
import time

import pytest
from harness import build, procs, rawhttp, wait
from harness.archives import pack_folder
from harness.aws import client, refused, signed
from harness.paths import FUNCTIONS, SLOW

PYTHON = ("python3.11", "lambda_function.handler")


def probe_on(server):
    return server.probe("python", MemorySize=256, Timeout=20)


def throttled(call, reason):
    error = refused(call, "TooManyRequestsException", "Rate Exceeded.", 429)
    assert error.response["Reason"] == reason and error.response["Type"] == "User"


def test_reserved_concurrency_zero_blocks(server, deploy):
    function = deploy({"index.mjs": "export const handler = async () => 1;"})
    server.lam.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=0)
    throttled(function.invoke, "ReservedFunctionConcurrentInvocationLimitExceeded")
    url = function.public_url()
    answer = url.call()
    assert answer.status == 429 and answer.get("x-amzn-errortype") == "TooManyRequestsException"
    assert json.loads(answer.body)["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    server.lam.delete_function_concurrency(FunctionName=function.name)
    assert function.call() == 1


def test_reserved_concurrency_is_a_bound(server, deploy):
    """Six at once with two reserved: two answers, four throttles; afterwards it works again."""
    function = deploy(pack_folder(FUNCTIONS / "python"), *PYTHON, Timeout=10, MemorySize=256)
    server.lam.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=2)

    def call(_):
        try:
            return function.call({"do": "sleep", "ms": 2500})["born"]
        except server.lam.exceptions.TooManyRequestsException as error:
            return error.response["Reason"]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        outcomes = collections.Counter(pool.map(call, range(6)))
    assert outcomes.pop("ReservedFunctionConcurrentInvocationLimitExceeded") == 4
    assert len(outcomes) == 2
    assert function.call({"do": "echo", "value": 1}) == 1


def storm_request(server, function, url, number):
    """Bytes of the request and the body that is the right answer: every other one by Invoke, the rest by URL."""
    if number % 2:
        path, body = f"/2015-03-31/functions/{function.name}/invocations", json.dumps({"n": number}).encode()
        _, headers = signed("POST", server.endpoint + path, server.key, server.secret, body)
        headers.pop("Host", None)
        return rawhttp.render("POST", path, f"127.0.0.1:{server.port}", headers, body)
    return rawhttp.render("POST", f"/?n={number}", url.host, {"Content-Type": "application/json"}, b"{}")


def judge(number, status, body):
    if status == 429:
        return json.loads(body)["Reason"]
    found = json.loads(body)
    right = found == {"n": number} if number % 2 else found["queryStringParameters"] == {"n": str(number)}
    return "answer" if status == 200 and right else f"wrong {status} {body[:100]}"


async def one_of_the_storm(server, number, request, everybody):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        await everybody.wait()  # all connections are there before the first request is sent
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = int(re.search(r"(?i)content-length: (\d+)", head).group(1))
        return judge(number, int(head.split(" ")[1]), await reader.readexactly(length))
    except (OSError, EOFError) as error:
        return f"broken: {error!r}"
    finally:
        writer.close()


async def storm(server, requests, seconds=60):
    everybody = asyncio.Event()
    calls = [asyncio.create_task(one_of_the_storm(server, *item, everybody)) for item in requests]
    await asyncio.sleep(1.5)
    everybody.set()
    return await asyncio.wait_for(asyncio.gather(*calls), seconds)


@pytest.fixture
def many_descriptors():
    """The tests' own connections, too, are descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.timeout(180)
def test_two_thousand_requests_at_once_against_fifty_environments(own_server, many_descriptors):
    """Two thousand connections, each with one request at the same moment: only right answers and 429s with their
    reason; nobody is left waiting, and afterwards all is as before."""
    server = own_server("--account-concurrency", "50")
    function = server.deploy({"bootstrap": build.c_program("echo")}, "provided.al2023", "x", Timeout=30,
                             Environment={"Variables": {"DELAY_MS": "200"}})
    url = function.public_url()
    requests = [(number, storm_request(server, function, url, number)) for number in range(2000)]
    outcomes = collections.Counter(asyncio.run(storm(server, requests)))
    assert set(outcomes) <= {"answer", "ConcurrentInvocationLimitExceeded"}, outcomes
    assert outcomes["answer"] >= 50 and sum(outcomes.values()) == 2000, outcomes
    assert len(server.environments()) <= 50
    assert wait.until(lambda: function.invoke({"n": 1}), 10, "an answer after the storm").json == {"n": 1}


class Gate:
    """Functions connect here and wait until it opens; waiting is how many do. Use with `with`."""

    def __enter__(self):
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port = self._socket.getsockname()[1]
        self._held, self._open = [], False
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.open()

    def _accept(self):
        while True:
            try:
                peer, _source = self._socket.accept()
            except OSError:
                return
            self._held.append(peer)

    @property
    def waiting(self):
        return len(self._held)

    def open(self):
        while self._held:
            self._held.pop().close()


MANY, BATCH, SEVERAL = 2100, 150, int(700 / SLOW)


async def fill(server, requests, gate, when_full):
    """Sends the requests, a batch as soon as the functions of those before wait at the gate; opens it after when_full()."""
    begin, calls = asyncio.Event(), []
    begin.set()
    try:
        for first in range(0, len(requests), BATCH):
            calls += [asyncio.create_task(one_of_the_storm(server, *item, begin)) for item in requests[first:first + BATCH]]
            deadline = time.monotonic() + 60 * SLOW
            while gate.waiting < len(calls):
                assert time.monotonic() < deadline, f"{gate.waiting} of {len(calls)} functions run"
                assert not any(call.done() for call in calls), [call.result() for call in calls if call.done()][:3]
                await asyncio.sleep(0.05)
        await asyncio.to_thread(when_full)
    finally:
        gate.open()
    return await asyncio.wait_for(asyncio.gather(*calls), 120 * SLOW)


def many_at_the_gate(own_server, gate, count, *flags):
    """A server that may have so many environments, and as many requests of a function that waits at the gate."""
    server = own_server("--account-concurrency", str(count + 100), "--max-environments", str(count + 10),
                        "--max-memory-mb", str(40 * count), "--allow-host", f"127.0.0.1:{gate.port}", *flags)
    function = server.deploy({"bootstrap": build.c_program("gate")}, "provided.al2023", "x", MemorySize=128, Timeout=900,
                             Environment={"Variables": {"GATE_PORT": str(gate.port)}})
    return server, [(number, storm_request(server, function, None, number)) for number in range(1, 2 * count, 2)]


@pytest.mark.timeout(300)
def test_stop_in_the_middle_of_hundreds_of_requests(own_server, many_descriptors):
    """Each has a /tmp of its own to unmount: still within ten seconds, by itself, and nothing is left."""
    with Gate() as gate:
        server, requests = many_at_the_gate(own_server, gate, SEVERAL)
        asyncio.run(fill(server, requests, gate, server.stop))
    assert "did not end in time" not in server.log()


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_more_than_two_thousand_environments_at_once(own_server, many_descriptors):
    """Each is in the middle of a request at one moment, held by its own connection to the host; every request is answered."""
    with Gate() as gate:
        server, requests = many_at_the_gate(own_server, gate, MANY, "--idle-timeout-ms", "5000")

        def when_full():
            assert collections.Counter(one["state"] for one in server.environments()) == {"busy": MANY}
            assert server.healthy()
        outcomes = collections.Counter(asyncio.run(fill(server, requests, gate, when_full)))
    assert outcomes == {"answer": MANY}
    wait.until(lambda: not server.environments(), 120, "all environments to end")
    rest = server.at_rest(5)
    assert rest["processes"] < 100 and rest["loop devices"] < 100, rest


def test_account_concurrency(own_server):
    """The limit of all functions together, less what is reserved."""
    server = own_server("--account-concurrency", "103")
    slow, other = probe_on(server), probe_on(server)
    server.lam.put_function_concurrency(FunctionName=other.name, ReservedConcurrentExecutions=2)
    assert server.lam.get_account_settings()["AccountLimit"]["ConcurrentExecutions"] == 103
    assert server.lam.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == 101
    refused(lambda: server.lam.put_function_concurrency(FunctionName=slow.name, ReservedConcurrentExecutions=2),
            "InvalidParameterValueException", "below its minimum value of [100].", 400)
    assert slow.call({"do": "echo", "value": 1}) == 1 and other.call({"do": "echo", "value": 2}) == 2


def test_small_account_limit_throttles_with_its_reason(own_server):
    server = own_server("--account-concurrency", "2")
    function = probe_on(server)

    def call(_):
        try:
            return function.call({"do": "sleep", "ms": 2500})["born"]
        except server.lam.exceptions.TooManyRequestsException as error:
            return error.response["Reason"]
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        outcomes = collections.Counter(pool.map(call, range(5)))
    assert outcomes.pop("ConcurrentInvocationLimitExceeded") == 3 and len(outcomes) == 2


def test_memory_budget_ends_the_longest_idle(own_server):
    """Ten functions that keep 25 MB each do not fit into 200 MB: all are served, the first ones had to make room."""
    server = own_server("--max-memory-mb", "200")
    functions = [server.probe("python", MemorySize=512) for _ in range(10)]
    keep = "import builtins\nbuiltins.kept = bytearray(25 << 20)\nfor i in range(0, 25 << 20, 4096): kept[i] = 1\nresult = 1"
    born = []
    for function in functions:
        assert function.call({"do": "exec", "code": keep}) == 1
        born.append(function.call({"do": "count"})["born"])
        time.sleep(0.6)
    assert functions[9].call({"do": "count"})["born"] == born[9], "the most recently used one was ended"
    assert functions[0].call({"do": "count"})["born"] != born[0], "nobody made room"


def test_file_pages_are_no_memory_in_use(own_server):
    """250 MB in one function's /tmp fill the page cache, not the 300 MB: a cold start ends nobody's environment."""
    server = own_server("--max-memory-mb", "300")
    writer, warm, cold = (server.probe("python", MemorySize=512, Timeout=60) for _ in range(3))
    write = "with open('/tmp/big', 'wb') as file:\n    for _ in range(250): file.write(bytes(1 << 20))\nresult = 1"
    born = warm.call({"do": "count"})["born"]
    assert writer.call({"do": "exec", "code": write}) == 1
    time.sleep(1)  # some looks at the memory
    assert cold.call({"do": "echo", "value": 1}) == 1
    assert warm.call({"do": "count"})["born"] == born, "file pages counted as memory in use"


def test_never_old_code_after_the_update_is_successful(server, deploy):
    """Eight callers all the time; once the waiter has ended, every request that begins later gets the new code."""
    def source(number):
        return {"index.mjs": "export const handler = async () => " + str(number) + ";"}
    function = deploy(source(0), Timeout=10)
    stop, current, wrong = threading.Event(), [0], []

    def caller():
        lam = client(server.endpoint, server.key, server.secret)
        while not stop.is_set():
            at_least = current[0]
            answer = lam.invoke(FunctionName=function.name)
            got = json.loads(answer["Payload"].read())
            if answer.get("FunctionError") or got < at_least:
                wrong.append((at_least, got))
    threads = [threading.Thread(target=caller) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        for number in range(1, 6):
            function.update_code(source(number))
            current[0] = number
            time.sleep(0.2)
        function.configure(MemorySize=256)
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert not wrong, wrong[:5]


def test_configuration_reaches_only_new_environments(server, deploy):
    function = deploy({"index.mjs": "export const handler = async () => process.env.MODE;"},
                      Environment={"Variables": {"MODE": "a"}})
    assert function.call() == "a"
    function.configure(Environment={"Variables": {"MODE": "b"}})
    assert [function.call() for _ in range(5)] == ["b"] * 5


def test_delete_under_load(server):
    """Callers get a right answer or 404; afterwards only 404; the processes end."""
    function = server.probe("python", name=server.name("deleted"))
    function.call({"do": "nothing"})
    stop, outcomes = threading.Event(), collections.Counter()

    def caller():
        lam = client(server.endpoint, server.key, server.secret)
        while not stop.is_set():
            try:
                answer = lam.invoke(FunctionName=function.name, Payload=b'{"do":"echo","value":7}')
                good = json.loads(answer["Payload"].read()) == 7
                outcomes["answer" if good else "wrong"] += 1
            except lam.exceptions.ResourceNotFoundException:
                outcomes["gone"] += 1
    threads = [threading.Thread(target=caller) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait.until(lambda: outcomes["answer"] > 20, 20, "load")
    function.delete()
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert set(outcomes) == {"answer", "gone"}, outcomes
    refused(function.invoke, "ResourceNotFoundException")


def test_a_slow_function_does_not_hold_up_others(server, node, deploy):
    """While ten requests sleep, another function answers quickly."""
    slow = deploy(pack_folder(FUNCTIONS / "python"), *PYTHON, Timeout=10)
    node.call({"do": "nothing"})
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        waiting = [pool.submit(slow.call, {"do": "sleep", "ms": 3000}) for _ in range(10)]
        time.sleep(1.5)
        begin = time.monotonic()
        node.call({"do": "nothing"})
        assert time.monotonic() - begin < 1.0
        for one in waiting:
            one.result()


def test_connections_without_requests_are_harmless(server, node):
    """Two hundred idle connections, then an ordinary request."""
    idle = [rawhttp.Connection(server.port) for _ in range(200)]
    assert node.call({"do": "echo", "value": 5}) == 5
    for one in idle:
        one.close()
