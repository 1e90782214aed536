"""Clients are driven as plain processes, for every interpreter that is found.

Further interpreters: IRORI_TEST_NODES and IRORI_TEST_PYTHONS, colon-separated paths.
"""

import glob
import os
import pathlib
import re
import shutil
import subprocess

import pytest

pytest.register_assert_rewrite("runtime_api", "templates")
from runtime_api import Client, RuntimeApi  # noqa: E402
from templates import Runtime  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
NODE_CLIENT = str(ROOT / "runtimes/node/bootstrap.cjs")
PYTHON_CLIENT = str(ROOT / "runtimes/python/bootstrap.py")


def version(path):
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    numbers = re.search(r"(\d+)\.(\d+)", answer)
    return tuple(map(int, numbers.groups())) if numbers else None


def find(candidates, series, wanted):
    """{series: path}, the first candidate of each."""
    found = {}
    for path in filter(None, candidates):
        numbers = version(path)
        if numbers and wanted(numbers):
            found.setdefault(series(numbers), path)
    return found


NODES = find(
    [*os.environ.get("IRORI_TEST_NODES", "").split(":"), "/usr/bin/node", shutil.which("node")],
    lambda numbers: f"node{numbers[0]}",
    lambda numbers: numbers[0] >= 18,
)
PYTHONS = find(
    [
        *os.environ.get("IRORI_TEST_PYTHONS", "").split(":"),
        *sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/*/bin/python3"))),
        "/usr/bin/python3",
    ],
    lambda numbers: f"python{numbers[0]}.{numbers[1]}",
    lambda numbers: numbers >= (3, 9),
)


def missing(name):
    return [pytest.param(None, id=f"no-{name}", marks=pytest.mark.skip(reason=f"no {name} on this machine"))]


def choices(found, name):
    return [pytest.param(path, id=series) for series, path in sorted(found.items())] or missing(name)


@pytest.fixture
def api():
    server = RuntimeApi()
    yield server
    server.close()


@pytest.fixture
def start(api, tmp_path):
    """start(argv, handler, files, env): writes the files and runs a client in their folder."""
    clients = []

    def run(argv, handler, files=None, env=None, **options):
        for name, text in (files or {}).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        client = Client(argv, api, tmp_path, handler, env, **options)
        clients.append(client)
        return client

    yield run
    for client in clients:
        client.kill()


@pytest.fixture(params=choices(NODES, "node"))
def node(request, start):
    """node(handler, files, env) starts the Node client; a text instead of files is index.mjs."""

    def run(handler, files, env=None, **options):
        files = {"index.mjs": files} if isinstance(files, str) else files
        client = start([request.param, NODE_CLIENT], handler, files, env, **options)
        return client

    run.major = version(request.param)[0] if request.param else 0
    return run


@pytest.fixture(params=choices(PYTHONS, "python"))
def python(request, start):
    """python(handler, files, env) starts the Python client; a text instead of files is app.py."""

    def run(handler, files, env=None, **options):
        files = {"app.py": files} if isinstance(files, str) else files
        env = {"PYTHONPATH": str(ROOT / "runtimes/python"), **(env or {})}
        return start([request.param, "-S", PYTHON_CLIENT], handler, files, env, **options)

    run.version = version(request.param) if request.param else (0, 0)
    return run


ECHO = {
    "node": ("index.handler", {"index.js": "exports.handler = async (event) => event;"}),
    "python": ("app.handler", {"app.py": "def handler(event, context):\n    return event\n"}),
}


@pytest.fixture(params=[*choices(NODES, "node"), *choices(PYTHONS, "python")])
def echo(request, start):
    """echo(env) starts a client whose handler returns its event; either language."""
    is_node = request.param in NODES.values()
    argv = [request.param, NODE_CLIENT] if is_node else [request.param, "-S", PYTHON_CLIENT]
    handler, files = ECHO["node" if is_node else "python"]
    return lambda env=None: start(argv, handler, files, env)


def make_runtime(path, api, start, tmp_path):
    if path in NODES.values():
        return Runtime([path, NODE_CLIENT], version(path), {"UV_USE_IO_URING": "0"}, api, start, tmp_path)
    common = {"PYTHONPATH": str(ROOT / "runtimes/python")}
    return Runtime([path, "-S", PYTHON_CLIENT], version(path), common, api, start, tmp_path)


@pytest.fixture(params=[*choices(NODES, "node"), *choices(PYTHONS, "python")])
def runtime(request, api, start, tmp_path):
    return make_runtime(request.param, api, start, tmp_path)


@pytest.fixture(params=choices(NODES, "node"))
def node_runtime(request, api, start, tmp_path):
    return make_runtime(request.param, api, start, tmp_path)


@pytest.fixture(params=choices(PYTHONS, "python"))
def python_runtime(request, api, start, tmp_path):
    return make_runtime(request.param, api, start, tmp_path)
