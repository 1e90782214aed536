"""Clients as templates: parked without a handler, woken as a function's. A wake-up here changes the process itself, as it does a clone."""

import contextlib
import json
import os
import stat

import pytest
from conftest import NODE_CLIENT, NODES, PYTHON_CLIENT, PYTHONS, ROOT, choices
from runtime_api import Client, RuntimeApi

NODE = """
import { execFileSync } from 'node:child_process';
export const handler = async (event) => ({ event, math: [Math.random(), Math.random()], env: process.env, cwd: process.cwd(),
  pid: process.pid, child: execFileSync('/usr/bin/env').toString() });
"""
PYTHON = """
import os, random
def handler(event, context):
    return {"event": event, "math": [random.random(), random.random()], "env": dict(os.environ), "cwd": os.getcwd(), "pid": os.getpid(),
            "child": os.popen("env").read()}
"""
BROKEN = {"node": "import './missing.mjs';\nexport const handler = 1;\n", "python": "import missing_module\n"}


@pytest.fixture(params=[*choices(NODES, "node"), *choices(PYTHONS, "python")])
def language(request, start, tmp_path):
    """(start, source of a probe, handler's name, source that cannot be loaded)"""
    name = "node" if request.param in NODES.values() else "python"
    file, handler = {"node": ("index.mjs", "index.handler"), "python": ("app.py", "app.handler")}[name]
    argv = [request.param, NODE_CLIENT] if name == "node" else [request.param, "-S", PYTHON_CLIENT]
    base = {} if name == "node" else {"PYTHONPATH": str(ROOT / "runtimes/python")}

    def run(wanted, source, env=None, api=None):
        if api:
            return Client(argv, api, tmp_path, wanted, {**base, **(env or {})})
        return start(argv, wanted, {file: source}, {**base, **(env or {})})

    return run, {"node": NODE, "python": PYTHON}[name], handler, BROKEN[name]


def park(api, start, handler, source, env=None):
    client = start(handler, source, {"IRORI_TEMPLATE": "runtime", "OF_THE_TEMPLATE": "1", **(env or {})})
    api.wait_next()
    return client


def wake(api, client, tmp_path, handler, seed="12" * 32, **env):
    given = dict(line.split("=", 1) for line in (f"{name}={value}" for name, value in client.env.items()))
    wanted = {name: value for name, value in given.items() if name not in ("IRORI_TEMPLATE", "OF_THE_TEMPLATE")} | env
    message = {"seed": seed, "env": wanted, "handler": handler, "root": str(tmp_path)}
    api.send_event(message, headers={"Irori-Wake": "runtime"})
    return wanted


def test_a_parked_client_holds_only_what_can_be_copied(api, language):
    start, source, handler, _ = language
    client = park(api, start, handler, source)
    folder = f"/proc/{client.process.pid}/fd"
    links = {int(fd): os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)}
    sockets = [link for link in links.values() if link.startswith("socket:")]
    assert len(sockets) == 1 and api.connections == 1, links
    for fd, link in links.items():
        known = ("socket:", "pipe:", "anon_inode:[eventpoll]", "anon_inode:[eventfd]", "anon_inode:[timerfd]", "/dev/null")
        mode = os.stat(f"{folder}/{fd}").st_mode
        assert fd <= 2 or link.startswith(known) or stat.S_ISREG(mode) and not link.startswith("/tmp"), (fd, link)


def test_a_woken_client_is_the_functions(api, language, tmp_path):
    start, source, handler, _ = language
    client = park(api, start, handler, source)
    wanted = wake(api, client, tmp_path, handler, MINE="mine ü", _HANDLER=handler)
    api.wait_next()
    for number in (1, 2):
        answer = json.loads(api.invoke({"number": number}).body)
        assert answer["event"] == {"number": number} and answer["cwd"] == str(tmp_path) and answer["pid"] == client.process.pid
    own = {name: value for name, value in answer["env"].items() if name not in ("_X_AMZN_TRACE_ID", "LC_CTYPE")}
    assert own == {name: value for name, value in wanted.items() if name != "LC_CTYPE"}
    child = dict(line.split("=", 1) for line in answer["child"].splitlines() if "=" in line)
    assert child["MINE"] == "mine ü" and "OF_THE_TEMPLATE" not in child


def test_the_seed_decides_what_comes_by_chance(api, language, tmp_path):
    start, source, handler, _ = language
    seen = []
    start(handler, source).kill()  # writes the files
    for seed in ("ab" * 32, "cd" * 32, "ab" * 32):
        with contextlib.closing(RuntimeApi()) as own:
            client = start(handler, source, {"IRORI_TEMPLATE": "runtime", "OF_THE_TEMPLATE": "1"}, own)
            own.wait_next()
            wake(own, client, tmp_path, handler, seed=seed, _HANDLER=handler)
            own.wait_next()
            seen.append(json.loads(own.invoke({}).body)["math"])
            client.kill()
    assert seen[0] == seen[2] != seen[1]


def test_an_init_that_fails_says_what_it_says_in_an_ordinary_start(api, language, tmp_path):
    start, _, handler, broken = language
    ordinary = start(handler, broken)
    expected = api.wait_request()
    ordinary_status = ordinary.process.wait(20)
    client = park(api, start, handler, broken)
    wake(api, client, tmp_path, handler, _HANDLER=handler)
    request = api.wait_request()
    assert request.path == expected.path and request.path.endswith("/init/error")
    assert json.loads(request.body) == json.loads(expected.body)
    assert client.process.wait(20) == ordinary_status


def test_what_is_no_wake_up_ends_a_template(api, language):
    start, source, handler, _ = language
    client = park(api, start, handler, source)
    api.send_event({"an": "event"})
    assert client.process.wait(20) != 0
