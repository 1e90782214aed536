"""Templates and the memory of all environments together: they count, they give way, and nobody is refused for what is just ending."""

import os
import time

import pytest
from harness import build, wait
from test_snapstart import of_version, publish, settled
from test_templates import templates

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="templates need an x86-64 processor")

LIMIT_MB = 300
# No environment that is new finds room, but memory is not yet so short that something has to end for it.
FULL_MB = 278
KEEP = """
import os
kept = b"1" * (int(os.environ["MB"]) << 20)
def handler(event, context):
    return len(kept) >> 20
"""


def large(server, megabytes):
    """(function, version) whose INIT keeps so much, and whose template is ready."""
    function = server.deploy({"index.py": KEEP}, "python3.11", "index.handler", MemorySize=512, Timeout=30,
                             Environment={"Variables": {"MB": str(megabytes)}}, SnapStart={"ApplyOn": "PublishedVersions"})
    version = publish(function)
    assert settled(function, version)["State"] == "Active"
    assert of_version(server, function, version)["state"] == "ready", of_version(server, function, version)
    return function, version


def test_templates_give_way_and_the_caller_waits(own_server):
    server = own_server("--max-memory-mb", str(LIMIT_MB))
    first = large(server, 150)
    wait.until(lambda: templates(server)["python3.11"]["state"] == "ready", 20, "the runtime's template")
    before = server.memory()["environments"]
    assert before > 150, "templates count"
    large(server, int(FULL_MB - before - 12))
    small = server.deploy({"bootstrap": build.c_program("echo")}, "provided.al2023", "x")
    assert LIMIT_MB - 32 < server.memory()["environments"] < LIMIT_MB * 0.95, server.memory()
    time.sleep(10.5)  # one that was used just now is not taken
    assert small.call({"n": 1}) == {"n": 1}
    states = [one["state"] for one in server.irori_json("ps", "--templates")["templates"]]
    assert states.count("ready") < 3 and server.memory()["environments"] < FULL_MB, states
    assert first[0].call({}, Qualifier=first[1]) == 150, "with or without its template"
