"""Templates and clones that are killed, expire and run short of memory, all under load: right answers or proper errors, and nothing
is left or grows."""

import collections
import contextlib
import itertools
import json
import os
import random
import signal
import threading
import time
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError, ConnectionError as BotoConnectionError, HTTPClientError
from harness import procs, wait
from harness.aws import client, signed
from harness.paths import LONG
from test_snapstart import PROVIDED, publish, settled

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="templates need an x86-64 processor")

SECONDS = 300 if LONG else 12
GROWTH_MB = 2  # that one round may leave in buffers of the allocator, but not one after the other
NODE = {"index.mjs": """
const born = process.hrtime.bigint().toString();
let count = 0;
export const handler = async (event) => ({ echo: event.echo, count: ++count, born });
"""}
PYTHON = {"index.py": """
count = 0
def handler(event, context):
    global count
    count += 1
    return {"echo": event["echo"], "count": count}
"""}
OWN = {"bootstrap": PROVIDED.replace('"count": count,', '"count": count, "echo": event["echo"],')}
WAITS = {"Variables": {"WAITS": "next"}}
# What a caller may see when processes are killed under it; never another's answer.
PROPER = {"answer", "429 TooManyRequestsException", "500 ServiceException", "refused connection"}
KILLED = {"function error Runtime.ExitError"}


class Storm:
    """Callers that check each answer: it is their own, and with clean state it is the environment's first."""

    def __init__(self, server, targets, proper, threads=6):
        self.server, self.targets, self.proper = server, targets, proper
        self.outcomes, self.wrong, self.stop, self.lock = collections.Counter(), [], threading.Event(), threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(90)
        assert not any(thread.is_alive() for thread in self.threads), "a caller hangs"

    def run(self, number):
        lam = client(self.server.endpoint, self.server.key, self.server.secret, read_timeout=60, connect_timeout=5)
        source = random.Random(number)
        for turn in itertools.count():
            if self.stop.is_set():
                return
            name, version, clean = source.choice(self.targets)
            outcome = self.one(lam, name, version, clean, f"{number}.{turn}")
            with self.lock:
                self.outcomes[outcome] += 1
                if outcome not in self.proper:
                    self.wrong.append((name, outcome))
            if outcome == "refused connection":
                time.sleep(0.05)

    @staticmethod
    def one(lam, name, version, clean, value):
        try:
            answer = lam.invoke(FunctionName=name, Payload=json.dumps({"echo": value}).encode(), **({"Qualifier": version} if version else {}))
            got = json.loads(answer["Payload"].read())
        except ClientError as error:
            return f"{error.response['ResponseMetadata']['HTTPStatusCode']} {error.response['Error']['Code']}"
        except (BotoConnectionError, HTTPClientError):
            return "refused connection"
        if answer.get("FunctionError"):
            return f"function error {got.get('errorType')}"
        if got["echo"] != value or (clean and got["count"] != 1):
            return f"{got} for {value}"
        return "answer"


def everything(server):
    """SnapStart, clean state and ordinary functions of three kinds: (name, version, whether its state is clean)."""
    targets = []
    for runtime, files in (("nodejs20.x", NODE), ("python3.11", PYTHON), ("provided.al2023", OWN)):
        common = {"Timeout": 20, "MemorySize": 256, "Environment": WAITS}
        snap = server.deploy(files, runtime, "index.handler", SnapStart={"ApplyOn": "PublishedVersions"}, **common)
        version = publish(snap)
        assert settled(snap, version)["State"] == "Active"
        clean = server.deploy(files, runtime, "index.handler", Tags={"irori:state": "clean"}, **common)
        targets += [(snap.name, version, False), (snap.name, None, False), (clean.name, None, True)]
    return targets


def sandboxed(server):
    """Processes of this server's sandboxes: images of templates, clones, inits, ordinary ones."""
    return [pid for pid in procs.everyone() if server.instance in procs.read(pid, "cgroup").decode()
            and b"irori-launcher" not in procs.read(pid, "cmdline")]


class Clones:
    """How many were made in all; templates that end take their counts with them."""

    def __init__(self, server):
        self.server, self.seen, self.before, self.stop = server, 0, {}, threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def watch(self):
        while not self.stop.wait(0.2):
            url, headers = signed("GET", f"{self.server.endpoint}/_irori/templates", self.server.key, self.server.secret)
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
                    self.look(json.loads(answer.read())["templates"])

    def look(self, templates):
        now = {(one["runtime"], one.get("function"), one.get("version")): one["clones"] for one in templates}
        self.seen += sum(max(0, count - self.before.get(key, 0)) for key, count in now.items())
        self.before = now


def all_well(server, targets):
    lam = server.lam
    for name, version, clean in targets:
        wait.until(lambda name=name, version=version, clean=clean: Storm.one(lam, name, version, clean, "well") == "answer",
                   40, f"{name}:{version} to answer", every=0.2)


@pytest.mark.timeout(SECONDS * 3 + 120)
def test_whatever_is_killed_answers_stay_right(own_server):
    """Processes of sandboxes at random moments, the launcher now and then."""
    server = own_server("--idle-timeout-ms", "2000", "--template-idle-ms", "3000")
    targets = everything(server)
    source, launchers = random.Random(1), 0
    with Clones(server) as clones, Storm(server, targets, PROPER | KILLED) as storm:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(source.uniform(0.02, 0.2))
            victims = sandboxed(server)
            with contextlib.suppress(ProcessLookupError):
                if source.random() < 0.02:
                    os.kill(server.pid_of("irori-launcher"), signal.SIGKILL)
                    launchers += 1
                elif victims:
                    os.kill(source.choice(victims), signal.SIGKILL)
    assert storm.wrong == [] and storm.outcomes["answer"] > SECONDS, (storm.outcomes, launchers)
    assert clones.seen > 2 * SECONDS, (clones.seen, storm.outcomes)
    all_well(server, targets)
    server.stop()
    server.assert_nothing_left()


@pytest.mark.timeout(SECONDS * 3 + 120)
def test_with_little_memory_and_busy_processors(own_server):
    """Environments give way to each other, and templates to environments; nobody gets a wrong answer."""
    server = own_server("--max-memory-mb", "300", "--idle-timeout-ms", "3000")
    targets = everything(server)
    busy = threading.Event()
    spinners = [threading.Thread(target=lambda: [None for _ in iter(busy.is_set, True)]) for _ in range(2)]
    for spinner in spinners:
        spinner.start()
    try:
        with Clones(server) as clones, Storm(server, targets, PROPER - {"refused connection"}, threads=10) as storm:
            time.sleep(SECONDS)
    finally:
        busy.set()
        for spinner in spinners:
            spinner.join()
    assert storm.wrong == [] and storm.outcomes["answer"] > SECONDS, storm.outcomes
    assert clones.seen > 10 * SECONDS, (clones.seen, storm.outcomes)
    all_well(server, targets)


@pytest.mark.timeout(SECONDS * 6 + 120)
def test_expiry_does_not_grow(own_server):
    """Environments and templates that end and are made again all the time: weeks of it in seconds."""
    server = own_server("--idle-timeout-ms", "60", "--freeze-after-ms", "20", "--template-idle-ms", "300")
    targets = everything(server)

    def rounds(seconds):
        with Storm(server, targets, {"answer"}, threads=3) as storm:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(0.9)
                storm.stop.set()  # long enough for all to expire
                for thread in storm.threads:
                    thread.join(60)
                time.sleep(0.6)
                storm.stop.clear()
                storm.threads = [threading.Thread(target=storm.run, args=(number,)) for number in range(3)]
                for thread in storm.threads:
                    thread.start()
        assert storm.wrong == [], storm.wrong[:5]

    def at_rest():
        return server.at_rest(), server.memory()

    with Clones(server) as clones:
        rounds(SECONDS / 2)
    assert clones.seen > SECONDS, clones.seen
    before, memory_before = at_rest()
    for turn in range(4):
        rounds(SECONDS / 2)
        after, memory = at_rest()
        grown = {name: (before[name], after[name]) for name in before if after[name] > before[name]}
        grown |= {f"memory of {name}": (memory_before[name], memory[name]) for name in memory
                  if memory[name] > memory_before[name] + GROWTH_MB}
        if not grown:
            break
        before, memory_before = after, memory
    assert not grown, grown
