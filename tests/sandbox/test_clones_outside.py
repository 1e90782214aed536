"""Clones of a template that serves all functions, as the host sees them: each is confined as an ordinary environment is."""
import os
import pathlib
import re
import time

import driver
import pytest
import runtime_api
from function_template import PROGRAMS, PROVIDED, Template, build_program, init_of, managed
from test_template import make_share

pytestmark = [pytest.mark.skipif(os.geteuid() != 0 or os.uname().machine != "x86_64", reason="needs root and an x86-64 processor"),
              pytest.mark.timeout(120)]
EVERYBODY = 0  # the user id index of a template that serves all functions
STATUS = ["Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters", "Umask", "SigIgn"]
NAMESPACES = ["user", "mnt", "net", "ipc", "uts", "pid", "pid_for_children", "cgroup"]
LIMITS = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.oom_control", "memory.swappiness", "cpu.shares", "cpu.cfs_quota_us",
          "cpu.cfs_period_us", "pids.max", "freezer.state", "memory.max", "memory.high", "memory.swap.max", "memory.oom.group", "cpu.max",
          "cpu.weight", "cgroup.freeze"]


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    """Its runtime client for Python is a folder of programs of these tests: a template that serves all functions has no other code."""
    share = make_share(tmp_path_factory)
    for name in ("threads", "intruder"):
        build_program(share / "runtimes/python" / name, PROGRAMS / f"{name}.c", "gcc", "-static")
    made = driver.Launcher(tmp_path_factory.mktemp("data"), instance="pytest29", share=share)
    yield made
    assert made.stop() == 0
    assert driver.traces("pytest29", made.data) == []


def client(launcher, name):
    return {"runtime": managed(launcher, "python3")["runtime"], "argv": [f"/var/runtime/{name}"], "env": runtime_api.VARIABLES}


def processes_of(environment):
    """{"init": pid, "program": pid} of an environment; the original of a template may still be ending."""
    init, deadline = init_of(environment), time.monotonic() + 10
    inside = pathlib.Path(f"/proc/{init}/ns/pid").readlink()
    others = []
    while len(others) != 1:
        assert time.monotonic() < deadline, others
        others = []
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if (process / "ns/pid").readlink() == inside and int(process.name) != init:
                    others.append(int(process.name))
            except OSError:
                pass
    return {"init": init, "program": others[0]}


def hierarchies():
    """Where each hierarchy of control groups is mounted, by what /proc/PID/cgroup calls it."""
    found = {}
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        place, (kind, _, options) = line.split()[4], line.split(" - ")[1].split()
        if kind == "cgroup2":
            found[""] = place
        elif kind == "cgroup":
            found.update({name: place for name in options.split(",")})
    return found


def groups_of(launcher, task):
    """({controllers: place of the environment's group}, {(controllers, file): content})"""
    places, limits = {}, {}
    for line in (task / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        mounted = hierarchies().get(controllers.split(",")[0])
        if f"/irori-{launcher.instance}/" not in path or not mounted:
            places[controllers] = path
            continue
        group = pathlib.Path(mounted + path)
        places[controllers] = "own"
        for name in LIMITS:
            if (group / name).exists():
                limits[controllers, name] = re.sub(r"oom_kill \d+", "", (group / name).read_text())
    assert "own" in places.values()
    return places, limits


def look(launcher, environment):
    """{process: [what is to be the same, of each task]}, {process: [namespaces of each task]}, groups"""
    same, apart, groups = {}, {}, set()
    for name, pid in processes_of(environment).items():
        process = pathlib.Path(f"/proc/{pid}")
        tasks = sorted((process / "task").iterdir(), key=lambda task: int(task.name))
        same[name], apart[name] = [], []
        for task in tasks:
            status = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
            places, limits = groups_of(launcher, task)
            same[name].append([{field: status.get(field) for field in STATUS}, places, limits, (process / "limits").read_text(),
                               (process / "oom_score_adj").read_text()])
            apart[name].append({kind: (task / "ns" / kind).readlink() for kind in NAMESPACES})
            groups |= {line for line in (task / "cgroup").read_text().splitlines() if f"/irori-{launcher.instance}/" in line}
    return same, apart, groups


def test_clones_for_different_functions_look_as_ordinary_environments_from_outside(launcher):
    code = launcher.add_code({"unused": b""})
    options = {**client(launcher, "threads"), "memory": 256, "cpu": 700}
    template = Template(launcher, "", **options, uid=EVERYBODY).captured()
    seen = {("template", EVERYBODY): look(launcher, template.environment)}
    functions = []
    for uid in (5, 9):
        clone = template.clone(code=code, uid=uid)
        ordinary = runtime_api.park(launcher.start(code, **options, uid=uid))
        for what, function in (("clone", clone), ("ordinary", ordinary)):
            assert function.invoke({"uid": uid}) == {"uid": uid}
            seen[what, uid] = look(launcher, function.environment)
            functions.append(function)
    for uid in (5, 9):
        same = seen["clone", uid][0]
        assert same == seen["ordinary", uid][0], uid
        assert [len(same[name]) for name in ("init", "program")] == [1, 9]
        for name in ("init", "program"):
            for status, *_ in same[name]:
                assert status["Uid"].split() == [str(launcher.uid_base + uid)] * 4, (uid, name)
                assert status["CapEff"] == status["CapPrm"] == status["CapBnd"] == status["CapAmb"] == "0" * 16 and status["NoNewPrivs"] == "1"
        for status, *_ in same["program"]:
            assert (status["Seccomp"], status["Seccomp_filters"]) == ("2", "2")
    # One set of namespaces and groups for all tasks of an environment, and another for every environment.
    used, groups = set(), set()
    for (what, uid), (_, apart, own_groups) in seen.items():
        (program,) = {tuple(sorted(namespaces.items())) for namespaces in apart["program"]}
        (init,) = {tuple(sorted(namespaces.items())) for namespaces in apart["init"]}
        assert program == init, (what, uid)
        links = {link for _, link in program}
        assert not links & used, (what, uid)
        assert not own_groups & groups, (what, uid)
        used |= links
        groups |= own_groups
    host = {pathlib.Path(f"/proc/self/ns/{kind}").readlink() for kind in NAMESPACES}
    assert not host & used
    for function in functions:
        function.kill()
    template.kill()


@pytest.mark.parametrize("kind", ["a function's", "a runtime's"])
def test_a_thread_that_tries_all_the_time_never_succeeds(launcher, kind):
    """From INIT on, while the process is held, copied and confined."""
    code = launcher.add_code({"bootstrap": launcher.share / "runtimes/python/intruder"})
    if kind == "a runtime's":
        template = Template(launcher, "", **client(launcher, "intruder"), uid=EVERYBODY).captured()
    else:
        template = Template(launcher, code, **PROVIDED, env=runtime_api.VARIABLES, uid=5).captured()
    for _ in range(20):
        clone = template.clone(code=code, uid=5)
        first, deadline = clone.invoke({}), time.monotonic() + 10
        while (last := clone.invoke({}))[0] < first[0] + 100:
            assert time.monotonic() < deadline, "it goes on in the clone"
        assert first[1:] == last[1:] == [0, 0, 0, 0], last
        clone.kill()
    template.kill()
