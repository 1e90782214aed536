"""Fixtures: a server shared by the whole run, servers of one test, functions that end with their test."""

import contextlib
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness.paths import IRORI, LONG, SLOW  # noqa: E402
from harness.server import Server  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes minutes; runs with IRORI_LONG=1")


def pytest_collection_modifyitems(items):
    skip = pytest.mark.skip(reason="long: set IRORI_LONG=1")
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(120 * SLOW))
        if "long" in item.keywords and not LONG:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def needs():
    """What a server needs; a run without it ends at once instead of failing a thousand times."""
    if os.geteuid() != 0:
        pytest.exit("the end-to-end tests start real sandboxes: run them as root", returncode=4)
    if not IRORI.exists():
        pytest.exit(f"{IRORI} is not there: build first, or set IRORI_BUILD", returncode=4)


@pytest.fixture(scope="session")
def server(needs):
    """One server for all tests that do not need settings of their own."""
    shared = Server(["--idle-timeout-ms", "20000"])
    yield shared
    shared.close()


@pytest.fixture
def own_server(needs):
    """own_server(*flags) starts a server for this test alone; it is stopped and searched for leftovers at the end."""
    started = []

    def start(*flags):
        started.append(Server(flags))
        return started[-1]

    start.started = started
    yield start
    with contextlib.ExitStack() as stack:
        for one in started:
            stack.callback(one.close)


@pytest.fixture
def deploy(server):
    """deploy(files, ...) makes a function on the shared server that is deleted after the test."""
    made = []

    def make(files, *args, **more):
        function = server.deploy(files, *args, **more)
        made.append(function)
        return function

    yield make
    for function in made:
        try:
            function.delete()
        except server.lam.exceptions.ResourceNotFoundException:
            pass


@pytest.fixture(scope="session")
def node(server):
    """The Node function that does what the event asks; see tests/functions/node."""
    return server.probe("node", name=server.name("node"), MemorySize=512, Timeout=20)


@pytest.fixture(scope="session")
def python(server):
    """The Python function that does what the event asks; see tests/functions/python."""
    return server.probe("python", name=server.name("python"), MemorySize=512, Timeout=20)


@pytest.fixture(params=["node", "python"])
def probe(request):
    """Each of the two in turn."""
    return request.getfixturevalue(request.param)
