"""Restart, and SIGKILL of each program at random moments under load: nothing deployed is lost, callers get a proper
error or a right answer, and nothing stays behind."""

import contextlib
import collections
import json
import os
import random
import signal
import threading
import time

import pytest
from botocore.exceptions import ClientError, ConnectionError as BotoConnectionError, ConnectTimeoutError, HTTPClientError, ReadTimeoutError
from harness import build, leftovers, procs, wait
from harness.aws import client
from harness.paths import LONG

PYTHON = ("python3.11", "lambda_function.handler")
ROUNDS = 12 if LONG else 2
PROPER = {"answer", "refused connection", "429 TooManyRequestsException", "500 ServiceException"}
# An environment's PID 1 takes the runtime along; and irorid may see a runtime die a moment before it learns that the launcher
# has gone, which took it along.
DIED = {"function error Runtime.ExitError", "function error Runtime.TruncatedResponse"}


class Load:
    """Threads that invoke all the time and keep what they were answered; what is neither right nor a proper error
    (PROPER, more_outcomes) is in wrong."""

    def __init__(self, server, functions, more_outcomes=(), threads=6):
        self.server, self.functions, self.proper = server, functions, PROPER | set(more_outcomes)
        self.outcomes, self.wrong = collections.Counter(), []
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a caller hangs"

    def _run(self, number):
        lam = client(self.server.endpoint, self.server.key, self.server.secret, read_timeout=40, connect_timeout=5)
        source = random.Random(number)
        while not self._stop.is_set():
            function, value = source.choice(self.functions), source.random()
            outcome = self._one(lam, function, value)
            with self._lock:
                self.outcomes[outcome] += 1
                if outcome not in self.proper:
                    self.wrong.append((function.name, outcome))
            if outcome == "refused connection":
                time.sleep(0.05)

    def _one(self, lam, function, value):
        try:
            answer = lam.invoke(FunctionName=function.name, Payload=json.dumps({"do": "echo", "value": value}).encode())
            got = json.loads(answer["Payload"].read())
        except ClientError as error:
            return f"{error.response['ResponseMetadata']['HTTPStatusCode']} {error.response['Error']['Code']}"
        except (ReadTimeoutError, ConnectTimeoutError):
            return "no answer in time"  # ahead of the next line, whose errors these are, too
        except (BotoConnectionError, HTTPClientError):
            return "refused connection"
        if answer.get("FunctionError"):
            return f"function error {got.get('errorType')}"
        return "answer" if got in (value, {"do": "echo", "value": value}) else f"{got} for {value}"

    def answers(self):
        return self.outcomes["answer"]


def three(server):
    """A Node, a Python and a native function."""
    return [server.probe("node", MemorySize=256, Timeout=10),
            server.probe("python", MemorySize=256, Timeout=10),
            server.deploy({"bootstrap": build.c_program("echo")}, "provided.al2023", "x", Timeout=10)]


def all_answer(server, functions):
    for function in functions:
        found = wait.until(lambda function=function: attempt(function), 30, f"{function.name} to answer again", every=0.2)
        assert found == "well"


def attempt(function):
    try:
        got = function.invoke({"do": "echo", "value": "well"})
    except (ClientError, BotoConnectionError, HTTPClientError):
        return None
    if got.error:
        return None
    return got.json if isinstance(got.json, str) else got.json["value"]


def helpers(server, name):
    """Pids of the launcher's children of this name."""
    launcher = server.pid_of("irori-launcher")
    found = [(pid, procs.stat(pid)) for pid in (procs.descendants(launcher) if launcher else [])]
    return [pid for pid, stat in found if stat and stat[0] == name and stat[1] not in "ZX" and stat[2] == launcher]


def kill(server, program, source=random):
    """SIGKILL to one program of this server; of irori-init, to half of those that run and wait."""
    if program == "irori":
        pids = [server.process.pid]
    elif program in ("irorid", "irori-launcher"):
        pids = [wait.until(lambda: server.pid_of(program), 10, f"{program} to run")]
    else:
        pids = wait.until(lambda: helpers(server, program), 10, f"{program} to run")
        pids = source.sample(pids, (len(pids) + 1) // 2)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # one of many environments that came to its end meanwhile
            os.kill(pid, signal.SIGKILL)


def test_restart_keeps_everything(own_server):
    """SIGTERM and a new start: functions, versions, aliases, URLs, policies, tags, concurrency, credentials, url ids."""
    server = own_server()
    function = server.deploy({"index.mjs": "export const handler = async () => 'kept';"}, Tags={"a": "b"},
                             Environment={"Variables": {"KEY": "V"}})
    lam = server.lam
    lam.publish_version(FunctionName=function.name)
    lam.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1")
    lam.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=5)
    url = function.public_url()
    assert function.call() == "kept" and url.call().body == b"kept"
    before = {"config": lam.get_function_configuration(FunctionName=function.name), "key": server.key,
              "policy": lam.get_policy(FunctionName=function.name)["Policy"]}
    server.stop()
    server.start()
    lam = server.lam
    after = {"config": lam.get_function_configuration(FunctionName=function.name), "key": server.key,
             "policy": lam.get_policy(FunctionName=function.name)["Policy"]}
    for picture in (before, after):
        picture["config"].pop("ResponseMetadata")
    assert before == after
    assert function.call() == "kept" and function.call(Qualifier="live") == "kept" and url.call().body == b"kept"
    assert lam.get_function(FunctionName=function.name)["Concurrency"] == {"ReservedConcurrentExecutions": 5}
    assert lam.list_tags(Resource=function.arn)["Tags"] == {"a": "b"}


def test_two_instances_do_not_touch_each_other(own_server):
    """One stops and is searched for leftovers while the other serves on."""
    first, second = own_server(), own_server()
    one = first.deploy({"bootstrap": build.c_program("echo")}, "provided.al2023", "x")
    two = second.deploy({"bootstrap": build.c_program("echo")}, "provided.al2023", "x")
    assert (one.call({"n": 1}), two.call({"n": 2})) == ({"n": 1}, {"n": 2})
    assert first.instance != second.instance
    first.stop()
    assert two.call({"n": 3}) == {"n": 3}
    first.start()
    assert (one.call({"n": 4}), two.call({"n": 5})) == ({"n": 4}, {"n": 5})


def test_stop_under_load_ends_within_ten_seconds(own_server):
    """Status 0, nothing left, although requests were running."""
    server = own_server()
    functions = three(server)
    with Load(server, functions) as load:
        wait.until(lambda: load.answers() > 20, 30, "load to run")
        server.stop()
    assert not load.wrong, load.wrong[:5]


@pytest.mark.timeout(900 if LONG else 180)
@pytest.mark.parametrize("program", ["irorid", "irori-launcher", "irori-volumes", "irori-init"])
def test_a_killed_part_recovers_by_itself(own_server, program):
    """The supervisor, or for irori-init the scheduler, brings it back; no function is lost, and callers got right answers or
    proper errors."""
    server = own_server()
    functions = three(server)
    source = random.Random(program)
    with Load(server, functions, () if program == "irorid" else DIED) as load:
        for turn in range(ROUNDS):
            goal = load.answers() + 20
            wait.until(lambda goal=goal: load.answers() > goal, 40, f"load after {turn} kills; so far {dict(load.outcomes)}")
            time.sleep(source.random() * 0.5 + (2.5 if turn else 0))  # more often is a fault that stays: the supervisor gives up
            kill(server, program, source)
            wait.until(server.healthy, 30, f"/health after {program} was killed")
            server.note_processes()
        goal = load.answers() + 10
        wait.until(lambda: load.answers() > goal, 40, f"answers after the last kill; so far {dict(load.outcomes)}")
    assert not load.wrong, load.wrong[:5]
    assert server.process.poll() is None, "irori serve ended"
    all_answer(server, functions)
    listed = {item["FunctionName"] for item in server.lam.list_functions()["Functions"]}
    assert listed == {function.name for function in functions}


def test_a_launcher_killed_during_a_stop_leaves_nothing(own_server):
    """No other launcher would come to sweep: the supervisor starts one for that."""
    server = own_server()
    all_answer(server, three(server))
    server.note_processes()
    os.kill(server.process.pid, signal.SIGSTOP)  # so that it finds both at once
    kill(server, "irori-launcher")
    server.process.send_signal(signal.SIGTERM)
    os.kill(server.process.pid, signal.SIGCONT)
    assert server.process.wait(20) == 0
    server.assert_nothing_left()
    assert "irori-launcher was killed by signal 9" in server.log()
    server.start()


@pytest.mark.timeout(180)
def test_without_its_watchman_the_launcher_is_swept_after(own_server):
    """The watchman's death disturbs nobody; when the launcher dies after it, the next one ends what the watchman would have."""
    server = own_server()
    functions = three(server)
    with Load(server, functions, DIED) as load:
        wait.until(lambda: load.answers() > 20, 40, "load")
        kill(server, "irori-watchman")
        goal = load.answers() + 20
        wait.until(lambda: load.answers() > goal, 40, f"answers without a watchman; so far {dict(load.outcomes)}")
        assert set(load.outcomes) == {"answer"}, load.outcomes
        server.note_processes()
        before = [procs.identity(pid) for pid in procs.descendants(server.pid_of("irori-launcher"))]
        kill(server, "irori-launcher")
        wait.until(lambda: not any(ident and procs.alive(ident) for ident in before), 15, "everything of the launcher to end")
        wait.until(lambda: helpers(server, "irori-watchman"), 15, "another launcher and its watchman")
        goal = load.answers() + 10
        wait.until(lambda: load.answers() > goal, 40, f"answers after the kill; so far {dict(load.outcomes)}")
    assert not load.wrong, load.wrong[:5]
    all_answer(server, functions)


@pytest.mark.timeout(900 if LONG else 180)
def test_killed_serve_starts_again(own_server):
    """SIGKILL of `irori serve`: its programs end by themselves; the next start sweeps, serves, and a stop leaves nothing."""
    server = own_server()
    functions = three(server)
    for _ in range(ROUNDS):
        with Load(server, functions, DIED) as load:
            wait.until(lambda load=load: load.answers() > 20, 40, "load")
            server.note_processes()
            kill(server, "irori")
            server.process.wait()
        assert not load.wrong, load.wrong[:5]
        children = [ident for ident in server.known if ident[0] != server.process.pid]
        wait.until(lambda children=children: not any(procs.alive(ident) for ident in children), 10,
                   "irorid, the launcher and the sandboxes to end")
        server.start()
        all_answer(server, functions)


def test_everything_killed_at_once_then_cleanly_stopped(own_server):
    """All three at the same moment, as with a power cut for the programs."""
    server = own_server()
    functions = three(server)
    url = functions[0].public_url()
    with Load(server, functions) as load:
        wait.until(lambda: load.answers() > 20, 40, "load")
        server.note_processes()
        pids = [server.process.pid, server.pid_of("irorid"), server.pid_of("irori-launcher")]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        server.process.wait()
    assert not load.wrong, load.wrong[:5]
    server.start()
    all_answer(server, functions)
    assert url.call(headers={"x-probe": '{"do":"echo","value":1}'}).body == b"1"
    server.stop()


def test_killed_while_deploying(own_server):
    """What create answered with 201 is there after a kill in the next moment; what was not answered is whole or absent."""
    server = own_server()
    source = random.Random(3)
    promised = []

    def deployer():
        number = 0
        while True:
            number += 1
            name = f"d{number}"
            try:
                server.deploy({"index.mjs": f"export const handler = async () => '{name}';"}, name=name, wait_active=False)
            except (ClientError, BotoConnectionError, HTTPClientError):
                return
            promised.append(name)
    for turn in range(ROUNDS):
        promised.clear()
        for item in server.lam.list_functions()["Functions"]:
            server.lam.delete_function(FunctionName=item["FunctionName"])
        thread = threading.Thread(target=deployer)
        thread.start()
        time.sleep(0.3 + source.random())
        server.note_processes()
        kill(server, "irorid" if turn % 2 else "irori")
        thread.join(60)
        if server.process.poll() is not None or not turn % 2:
            server.process.wait()
            server.start()
        wait.until(server.healthy, 30, "health")
        for name in list(promised)[-3:]:
            server.active(name)
            assert json.loads(server.lam.invoke(FunctionName=name)["Payload"].read()) == name
        names = {item["FunctionName"] for page in server.lam.get_paginator("list_functions").paginate()
                 for item in page["Functions"]}
        assert names >= set(promised)


def test_killed_environment_processes_are_noticed(own_server):
    """Somebody on the host kills a function's process: the next request is served by a new one."""
    server = own_server()
    function = server.probe("python", MemorySize=256)
    function.call({"do": "count"})
    victims = [pid for pid in procs.everyone() if "/var/runtime/bootstrap.py" in " ".join(procs.cmdline(pid))
               and server.instance in procs.read(pid, "cgroup").decode()]
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):  # a process that became a template is gone by itself
            os.kill(pid, signal.SIGKILL)
    assert victims
    assert wait.until(lambda: attempt(function), 10, "an answer") == "well"


def test_leftover_search_finds_things(server):
    """The search itself works: it sees the running server."""
    found = leftovers.find(server.before, server.instance, server.data, server.known)
    assert any(item.startswith("process") for item in found) and any(item.startswith("cgroups") for item in found)
