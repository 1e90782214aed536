"""Templates of functions that do before their handler what people do: open database connections, make SDK clients and web frameworks."""

import concurrent.futures
import json
import os
import sys

import pytest
from harness import build
from harness.postgres import Postgres
from test_snapstart import SNAP, of_version, publish, settled

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="templates need an x86-64 processor")


@pytest.fixture(scope="module")
def postgres():
    database = Postgres()
    yield database
    database.close()


@pytest.fixture
def near(own_server, postgres):
    """A server whose functions may reach the database."""
    return own_server("--allow-host", f"127.0.0.1:{postgres.port}")


def restored(server, function, events):
    """A published version's answers, each from an environment of its own."""
    version = publish(function)
    found = settled(function, version)
    assert found["State"] == "Active", found
    template = of_version(server, function, version)
    assert template["state"] == "ready", json.dumps(template)
    with concurrent.futures.ThreadPoolExecutor(len(events)) as pool:
        return version, list(pool.map(lambda event: function.call(event, Qualifier=version), events))


def check_connections(postgres, answers):
    """Each has one of its own, none the one of the INIT, which has ended."""
    assert len({one["early"] for one in answers}) == 1
    assert all(one["next"] == i + 1 for i, one in enumerate(answers))
    backends = {one["backend"] for one in answers}
    assert answers[0]["early"] not in backends and backends <= set(postgres.backends())
    assert answers[0]["early"] not in postgres.backends()
    assert len({one["key"] for one in answers}) == len(answers) and all(one["key"].startswith("ASIA") for one in answers)


def test_node_with_pg_express_and_the_sdk(near, postgres):
    function = near.deploy(build.npm_packages(), "nodejs20.x", "index.handler", Timeout=20, MemorySize=512,
                           Environment={"Variables": {"PG_PORT": str(postgres.port), "CLOSE_SERVER": "1"}}, **SNAP)
    version, answers = restored(near, function, [{"n": i, "hold": 0.7} for i in range(3)])
    assert {one["count"] for one in answers} == {1} and {one["refused"] for one in answers} == {"ECONNREFUSED"}
    check_connections(postgres, answers)
    again = function.call({"n": 6}, Qualifier=version)
    assert again["next"] == 7 and again["count"] == 2


def test_a_server_that_listens_is_started_ordinarily(near, postgres):
    """What cannot be cloned serves all the same, and one line says why it is slower."""
    function = near.deploy(build.npm_packages(), "nodejs20.x", "index.handler", Timeout=20, MemorySize=512,
                           Environment={"Variables": {"PG_PORT": str(postgres.port)}}, **SNAP)
    version = publish(function)
    assert settled(function, version)["State"] == "Active"
    template = of_version(near, function, version)
    assert template["state"] != "ready" and "listen" in template["reason"]
    answer = function.call({"n": 1}, Qualifier=version)
    assert answer["next"] == 2 and answer["early"] == answer["backend"]
    assert near.log().count(template["reason"]) == 1


def test_python_with_psycopg_fastapi_numpy_and_boto3(near, postgres):
    python = "/usr/bin/python3.11" if os.path.exists("/usr/bin/python3.11") else sys.executable
    function = near.deploy(build.pip_packages(python), "python3.11", "index.handler", Timeout=20, MemorySize=512,
                           Environment={"Variables": {"PG_PORT": str(postgres.port)}}, **SNAP)
    version, answers = restored(near, function, [{"n": i, "hold": 0.7} for i in range(3)])
    assert {one["count"] for one in answers} == {1} and {one["sum"] for one in answers} == {499500}
    check_connections(postgres, answers)
    assert len({one["early_random"] for one in answers}) == 1
    for what in ("random", "generator"):
        assert len({one[what] for one in answers}) == 3, what
    event = {"version": "2.0", "rawPath": "/world", "rawQueryString": "", "headers": {"host": "x"},
             "requestContext": {"http": {"method": "GET", "path": "/world", "sourceIp": "1.2.3.4"}}, "isBase64Encoded": False}
    answer = function.call(event, Qualifier=version)
    assert json.loads(answer["body"]) == {"hello": "world"} and answer["statusCode"] == 200
