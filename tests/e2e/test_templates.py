"""Cold starts by cloning a runtime's template: who is cloned, what is different in each clone, and what nobody may notice."""

import concurrent.futures
import os
import signal

import pytest
from harness import procs, wait

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="templates need an x86-64 processor")

NODE = {"index.mjs": """
import { randomBytes, randomUUID } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
let count = 0;
export const handler = async (event) => {
  count++;
  await sleep(event.sleep ?? 0);
  const many = (make) => Array.from({ length: event.values ?? 0 }, make);
  return { count, pid: process.pid, stream: process.env.AWS_LAMBDA_LOG_STREAM_NAME, env: process.env, child: event.child ? execFileSync('/usr/bin/env').toString() : '',
    bytes: many(() => randomBytes(16).toString('hex')), uuid: many(() => randomUUID()), math: many(() => Math.random()) };
};
"""}
PYTHON = {"index.py": """
import os, random, secrets, ssl, time, uuid
count = 0
def handler(event, context):
    global count
    count += 1
    time.sleep(event.get("sleep", 0) / 1000)
    def many(make):
        return [make() for _ in range(event.get("values", 0))]
    return {"count": count, "pid": os.getpid(), "stream": context.log_stream_name, "env": dict(os.environ), "child": os.popen("env").read() if event.get("child") else "",
            "secrets": many(lambda: secrets.token_hex(16)), "random": many(random.random), "uuid": many(lambda: str(uuid.uuid4())),
            "ssl": many(lambda: ssl.RAND_bytes(16).hex())}
"""}
KINDS = {"node": ("nodejs20.x", NODE, ("bytes", "uuid", "math")), "python": ("python3.11", PYTHON, ("secrets", "random", "uuid", "ssl"))}
ORDINARY_PID = 2
CLONES = 200


def templates(server):
    return {one["runtime"]: one for one in server.irori_json("ps", "--templates")["templates"] if one["kind"] == "runtime"}


def ready(server, runtime):
    """Waits for the template; a function of that runtime must be there."""
    wait.until(lambda: templates(server).get(runtime, {}).get("state") == "ready", 30, f"a template of {runtime}")
    return templates(server)[runtime]


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def deploy(server, kind, **config):
    runtime, files, _ = kind
    return server.deploy(files, runtime, "index.handler", **config)


def test_a_cold_start_is_a_clone_and_only_a_faster_one(own_server, kind):
    server = own_server()
    deploy(server, kind)
    before = ready(server, kind[0])
    function = deploy(server, kind, Environment={"Variables": {"MINE": "mine ü"}}, MemorySize=256)
    first, second = function.call({"child": True}), function.call()
    assert (first["count"], second["count"]) == (1, 2) and first["pid"] == second["pid"] != ORDINARY_PID
    assert ready(server, kind[0])["clones"] == before["clones"] + 1
    plain = own_server("--templates=false")
    other = deploy(plain, kind, name=function.name, Environment={"Variables": {"MINE": "mine ü"}}, MemorySize=256)
    expected = other.call({"child": True})
    assert expected["pid"] == ORDINARY_PID
    changing = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_LAMBDA_LOG_STREAM_NAME", "_X_AMZN_TRACE_ID"}
    for name in first["env"].keys() | expected["env"].keys() - changing:
        assert name in changing or first["env"].get(name) == expected["env"].get(name), name
    child = [dict(line.split("=", 1) for line in one["child"].splitlines() if "=" in line) for one in (first, expected)]
    assert set(child[0]) - {"_"} == set(child[1]) - {"_"} and child[0]["MINE"] == "mine ü"


def test_no_random_value_comes_twice(own_server, kind):
    server = own_server("--idle-timeout-ms", "400")
    function = deploy(server, kind, Timeout=60, MemorySize=128)
    before = ready(server, kind[0])["clones"]
    answers, clones = server.in_fresh_environments(lambda: function.call({"values": 1000, "sleep": 1000}), CLONES)
    assert all(answer["pid"] != ORDINARY_PID for answer in answers) and ready(server, kind[0])["clones"] - before >= clones
    for source in kind[2]:
        values = [value for answer in answers for value in answer[source]]
        assert len(values) == 1000 * len(answers) and len(set(values)) == len(values), source


@pytest.mark.parametrize("variable", ["NODE_OPTIONS", "PYTHONHASHSEED", "LD_DEBUG", "AWS_LAMBDA_EXEC_WRAPPER"])
def test_what_an_interpreter_reads_at_its_start_is_honoured(own_server, variable):
    server = own_server()
    name = "node" if variable in ("NODE_OPTIONS", "LD_DEBUG") else "python"
    deploy(server, KINDS[name])
    ready(server, KINDS[name][0])
    value = {"NODE_OPTIONS": "--no-warnings", "PYTHONHASHSEED": "7", "LD_DEBUG": "", "AWS_LAMBDA_EXEC_WRAPPER": "/usr/bin/env"}[variable]
    function = deploy(server, KINDS[name], Environment={"Variables": {variable: value}})
    answer = function.call()
    assert answer["pid"] == ORDINARY_PID and answer["count"] == 1


def image_pids(server):
    """Images of templates: they wait for the launcher on a descriptor far above all others."""
    found = []
    for pid in procs.descendants(server.pid_of("irori-launcher")):
        if procs.program(pid) != "irori-init" and os.path.lexists(f"/proc/{pid}/fd/900"):
            found.append(pid)
    return found


def test_the_death_of_a_template_is_noticed_by_nobody(own_server, kind):
    server = own_server()
    function = deploy(server, kind)
    ready(server, kind[0])
    warm = function.call()
    (image,) = image_pids(server)
    os.kill(image, signal.SIGKILL)
    assert deploy(server, kind).call()["count"] == 1
    assert function.call()["pid"] == warm["pid"], "clones outlive their template"
    wait.until(lambda: image_pids(server) not in ([], [image]) and ready(server, kind[0]), 30, "another template")
    assert deploy(server, kind).call()["pid"] != ORDINARY_PID


def test_an_init_that_crashes_is_the_functions_own_fault(own_server):
    server = own_server()
    deploy(server, KINDS["python"])
    ready(server, "python3.11")
    for _ in range(3):
        function = server.deploy({"index.py": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"}, "python3.11", "index.handler")
        result = function.invoke({})
        assert result.error == "Unhandled" and b"Runtime.ExitError" in result.payload
    wait.until(lambda: deploy(server, KINDS["python"]).call()["count"] == 1, 10, "others to be served")


def test_a_stop_leaves_nothing_of_templates_and_clones(own_server, kind):
    server = own_server()
    function = deploy(server, kind)
    ready(server, kind[0])
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: function.call({"sleep": 500}), range(6)))
    server.stop()


def test_clones_of_one_template_are_not_counted_together(server):
    """Their processes belong to one user in the template's namespaces, whose limit holds for each environment alone."""
    count = 110  # with eleven threads each, more than the 1,024 processes that one may have
    function = deploy(server, KINDS["node"], Timeout=60)
    function.call({})
    before = ready(server, "nodejs20.x")
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(lambda _: function.call({"sleep": 4000}), range(count)))
    after = ready(server, "nodejs20.x")
    assert sum(answer["pid"] != ORDINARY_PID for answer in answers) >= count - 1
    assert after["fallbacks"] == before["fallbacks"] and after["clones"] - before["clones"] >= count - 1
