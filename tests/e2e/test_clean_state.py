"""Clean state: whatever a request leaves, the next one does not find it."""

import os
import time

import pytest
from harness import wait
from test_snapstart import KINDS, at_once, clean, logs, make, of_version, spares

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="templates need an x86-64 processor")

# Each tells what it finds, then leaves one of everything: a global, a file, a descriptor, a child, a timer.
NODE = {"index.mjs": """
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
const born = randomBytes(8).toString('hex');
let fired = 0;
const tried = (make) => { try { return make(); } catch { return ''; } };
export const handler = async (event) => {
  await sleep(500);
  const found = { born, fired, global: globalThis.kept ?? null, tmp: fs.readdirSync('/tmp'),
    descriptors: fs.readdirSync('/proc/self/fd').map((fd) => tried(() => fs.readlinkSync('/proc/self/fd/' + fd))),
    processes: fs.readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name)).map((pid) => tried(() => fs.readFileSync(`/proc/${pid}/comm`, 'utf8').trim())) };
  globalThis.kept = event.n;
  fs.writeFileSync('/tmp/left', 'x');
  fs.openSync('/tmp/left');
  spawn('/bin/sleep', ['600'], { stdio: 'ignore' });
  setTimeout(() => { fired++; console.log('timer of', event.n); }, 300);
  return found;
};
"""}
PYTHON = {"index.py": """
import os, subprocess, threading, time
born, kept, fired, children, files = os.urandom(8).hex(), None, 0, [], []
def read(make, *args):
    try:
        return make(*args)
    except OSError:
        return ""
def comm(pid):
    with open(f"/proc/{pid}/comm") as file:
        return file.read().strip()
def fire(n):
    global fired
    fired += 1
    print("timer of", n, flush=True)
def handler(event, context):
    global kept
    time.sleep(0.5)
    found = {"born": born, "fired": fired, "global": kept, "tmp": os.listdir("/tmp"),
             "descriptors": [read(os.readlink, "/proc/self/fd/" + fd) for fd in os.listdir("/proc/self/fd")],
             "processes": [read(comm, pid) for pid in os.listdir("/proc") if pid.isdigit()]}
    kept = event["n"]
    files.append(open("/tmp/left", "w"))
    children.append(subprocess.Popen(["/bin/sleep", "600"]))
    threading.Timer(0.3, fire, [event["n"]]).start()
    return found
"""}
LEAVING = {"node": ("nodejs20.x", NODE), "python": ("python3.11", PYTHON)}


@pytest.fixture(params=LEAVING)
def leaving(request):
    return LEAVING[request.param]


def ready(server, function):
    wait.until(lambda: of_version(server, function, "$LATEST").get("state") == "ready", 30, "the template")
    return of_version(server, function, "$LATEST")


def traces(found):
    """What an earlier request has left, by kind."""
    return {"global": found["global"] is not None, "file": found["tmp"] != [], "timer": found["fired"] > 0,
            "descriptor": any(path.startswith("/tmp/left") for path in found["descriptors"]), "child": "sleep" in found["processes"]}


def test_nothing_of_a_request_is_there_for_the_next(server, leaving):
    runtime, files = leaving
    function = server.deploy(files, runtime, Timeout=20, Tags={"irori:state": "clean"})
    before = ready(server, function)["clones"]
    answers = [function.call({"n": n}) for n in range(6)]
    for found in answers:
        assert not [kind for kind, there in traces(found).items() if there], found
    assert len({one["born"] for one in answers}) == 1, "all are clones of one INIT"
    after = ready(server, function)
    assert after["clones"] >= before + 6 and after["fallbacks"] == 0, after
    time.sleep(0.6)  # longer than the timers are set to
    assert "timer of" not in logs(function), "a timer outlived its request"
    wait.until(lambda: spares(server, function), 10, "one that was made ahead")
    assert {one["cloneOf"] for one in server.environments() if one["function"] == function.name} == {"version"}


def test_reuse_finds_all_of_it(server, leaving):
    """So the test above would have seen it."""
    runtime, files = leaving
    function = server.deploy(files, runtime, Timeout=20)
    assert not any(traces(function.call({"n": 0})).values())
    found = function.call({"n": 1})
    assert all(traces(found).values()), found
    wait.until(lambda: "timer of 0" in logs(function), 10, "the timer's line")


def test_requests_at_once_find_nothing_of_each_other(server, leaving):
    runtime, files = leaving
    function = server.deploy(files, runtime, Timeout=20, Tags={"irori:state": "clean"})
    before = ready(server, function)["clones"]
    answers = at_once(function, [{"n": n} for n in range(6)]) + at_once(function, [{"n": n} for n in range(6)])
    for found in answers:
        assert not any(traces(found).values()), found
    assert len({one["born"] for one in answers}) == 1 and ready(server, function)["clones"] >= before + 12


@pytest.mark.parametrize("kind", KINDS)
def test_functions_of_equal_code_have_templates_of_their_own(server, kind):
    """The same archive and configuration twice: two INITs, and nobody gets the other's clone."""
    one, other = clean(server, kind), clean(server, kind)
    assert one.server.lam.get_function(FunctionName=one.name)["Configuration"]["CodeSha256"] == \
        other.server.lam.get_function(FunctionName=other.name)["Configuration"]["CodeSha256"]
    counts = [ready(server, function)["clones"] for function in (one, other)]
    born = [{function.call({})["born"] for _ in range(4)} for function in (one, other)]
    assert [len(some) for some in born] == [1, 1] and born[0] != born[1]
    for function, before in zip((one, other), counts, strict=True):
        assert ready(server, function)["clones"] >= before + 4
    one.delete()
    wait.until(lambda: not of_version(server, one, "$LATEST"), 10, "the end of the template")
    assert ready(server, other)["state"] == "ready" and {other.call({})["born"]} == born[1]


def test_an_ordinary_function_of_equal_code_shares_nothing_either(server):
    function, plain = clean(server, "python"), make(server, "python")
    ready(server, function)
    assert function.call({})["born"] != plain.call({})["born"]
    assert {one["cloneOf"] for one in server.environments() if one["function"] == plain.name} <= {"runtime", ""}
