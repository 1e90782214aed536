"""Version 2 of control groups: what a server changes at the top, and the top group of a container."""

import subprocess
from pathlib import Path

import pytest
from harness import procs, wait
from harness.paths import IRORI
from harness.server import Server

TOP = Path("/sys/fs/cgroup")
WANTED = ["cpu", "memory", "pids"]
pytestmark = pytest.mark.skipif(not (TOP / "cgroup.controllers").exists(), reason="not version 2 of control groups")

# A program in the box sees it as one in a container sees its top group. Like a container's later programs it joins the
# first one's group where the top takes nobody.
WRAPPER = """#!/bin/sh
{{ echo $$ >{box}/cgroup.procs || echo $$ >{box}/irori.rest/cgroup.procs; }} 2>/dev/null || exit 1
exec nsenter --cgroup=/proc/{other}/ns/cgroup unshare --mount \\
    sh -c 'umount -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec "$0" "$@"' {irori} "$@"
"""


def handed_down(group):
    return sorted(set((group / "cgroup.subtree_control").read_text().split()) & set(WANTED))


def members(group):
    return [int(line) for line in (group / "cgroup.procs").read_text().split()]


@pytest.fixture
def box(needs, tmp_path):
    before = handed_down(TOP)
    (TOP / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in WANTED))
    group = TOP / f"box-{tmp_path.name}"
    group.mkdir()
    program = tmp_path / "irori"
    other = subprocess.Popen(["sh", "-c", f"echo $$ >{group}/cgroup.procs; exec unshare --cgroup sleep 3600"])
    program.write_text(WRAPPER.format(box=group, irori=IRORI, other=other.pid))
    program.chmod(0o755)
    wait.until(lambda: procs.read(other.pid, "comm") == b"sleep\n", 10, "the first program of the box")
    yield group, program, other.pid
    other.kill()
    other.wait()
    wait.until(lambda: not members(group), 10, "the box is empty")
    group.rmdir()
    for name in set(WANTED) - set(before):
        try:
            (TOP / "cgroup.subtree_control").write_text(f"-{name}")
        except OSError:  # another server's
            pass


def as_before(group, pids):
    return handed_down(group) == [] and members(group) == pids and not [one for one in group.iterdir() if one.is_dir()]


def test_a_containers_processes_are_moved_and_moved_back(box):
    group, program, other = box
    server = Server(program=program)
    try:
        assert handed_down(group) == WANTED
        assert members(group) == [] and other in members(group / "irori.rest")
        assert server.probe("python", name="python", MemorySize=256, Timeout=20).call({"do": "echo", "value": 1})
        groups = [path for path in group.glob("irori-*/*") if path.is_dir()]
        assert groups and all((path / "memory.max").exists() for path in groups)
    finally:
        server.close()
    assert as_before(group, [other])


def test_they_are_moved_back_after_a_kill(box):
    group, program, other = box
    server = Server(program=program)
    try:
        server.process.kill()
        wait.until(lambda: as_before(group, [other]), 20, "the top group is as it was")
        server.assert_nothing_left()
        server.process = None
    finally:
        server.close()


def test_the_last_server_takes_back_what_the_first_turned_on(box):
    group, program, other = box
    first, second = Server(program=program), None
    try:
        second = Server(program=program)
        first.stop()
        assert handed_down(group) == WANTED and other in members(group / "irori.rest")
        second.stop()
        assert as_before(group, [other])
    finally:
        first.close()
        if second:
            second.close()
