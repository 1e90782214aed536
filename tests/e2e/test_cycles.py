"""Deploy, invoke, delete, again and again: nothing grows."""

import itertools

import pytest
from harness import build, procs
from harness.archives import pack
from harness.paths import LONG

TURNS = 1000 if LONG else 20
ROUNDS = 5


def cycle(server, number, package):
    kind = number % 3
    if kind == 0:
        function = server.deploy(pack({"index.mjs": f"export const handler = async () => {number};"}), name=f"c{number}")
    elif kind == 1:
        function = server.deploy(pack({"m.py": f"def h(e, c): return {number}"}), "python3.11", "m.h", name=f"c{number}")
    else:
        function = server.deploy(pack({"bootstrap": package, "n": str(number)}), "provided.al2023", "x", name=f"c{number}")
    assert function.call(number) == number
    function.delete()


def files(server):
    return sum(1 for path in server.data.rglob("*") if path.is_file())


@pytest.mark.timeout(3600 if LONG else 120)
def test_cycles_do_not_grow(own_server):
    """Memory, descriptors, mounts, cgroups, devices, links, processes: as after the first turns. Files: bounded."""
    server = own_server("--idle-timeout-ms", "1000")
    package = build.c_program("echo")
    for number in range(9):
        cycle(server, number, package)
    before = server.at_rest()
    memory = {name: procs.rss_kib(server.pid_of(name)) for name in ("irorid", "irori-launcher")}
    # One slot more may be pooled whenever more environments than ever are there at once; what leaks grows in every round.
    for number in itertools.count(1):
        for turn in range(TURNS):
            cycle(server, 100000 * number + turn, package)
        after = server.at_rest()
        grown = {name: (before[name], after[name]) for name in before if after[name] > before[name]}
        if not grown:
            break
        assert number < ROUNDS, grown
        before = after
    for name, start in memory.items():
        now = procs.rss_kib(server.pid_of(name))
        assert now <= start + 2048 + TURNS * 2, f"{name}: {start} KiB, then {now} KiB"
    assert files(server) <= 200 + 40 * (TURNS if TURNS < 100 else 100)
    assert server.lam.list_functions()["Functions"] == []


@pytest.mark.timeout(300)
def test_updates_do_not_grow(own_server):
    """Twenty updates under use: environments of old versions end, numbers return."""
    server = own_server("--idle-timeout-ms", "1000")
    function = server.deploy(pack({"index.mjs": "export const handler = async () => 0;"}))
    for number in range(5):
        function.update_code({"index.mjs": f"export const handler = async () => {number};"})
        assert function.call() == number
    before = server.at_rest()
    for number in range(20):
        function.update_code({"index.mjs": f"export const handler = async () => {number};"})
        assert function.call() == number
    after = server.at_rest()
    assert {name: (before[name], after[name]) for name in before if after[name] > before[name]} == {}
