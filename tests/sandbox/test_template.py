"""Templates and clones on the real launcher: a static program, so that what is tested is the launcher and the restorer."""
import ctypes
import errno
import os
import pathlib
import re
import signal
import time

import driver
import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or os.uname().machine != "x86_64", reason="needs root and an x86-64 processor")


def make_share(tmp_path_factory):
    share = tmp_path_factory.mktemp("share")
    for name, extra in (("node", "node_modules"), ("python", "sdk")):
        (share / "runtimes" / name / extra).mkdir(parents=True)
    return share


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    made = driver.Launcher(tmp_path_factory.mktemp("data"), instance="pytest20", share=make_share(tmp_path_factory))
    yield made
    assert made.stop() == 0
    assert driver.traces("pytest20", made.data) == []


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory):
    return driver.compile_bootstrap(tmp_path_factory.mktemp("bootstrap"))


@pytest.fixture(scope="module")
def code(launcher, bootstrap):
    return launcher.add_code({"bootstrap": bootstrap})


def capture(launcher, env):
    launcher.send(driver.CAPTURE, env.env_id)
    message = launcher.receive(env.env_id, 10)
    assert message.type == driver.CAPTURED, (message, launcher.log())
    return message


def make_template(launcher, code, **options):
    env = launcher.start(code, flags=driver.START_TEMPLATE, **options).hello()
    message = capture(launcher, env)
    assert (message.number, message.text) == (0, ""), (message, launcher.log())
    return env


@pytest.fixture
def template(launcher, code):
    made = make_template(launcher, code)
    yield made
    if made.launcher:
        made.kill()


def fields(text):
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def expect_exit(launcher, env):
    message = launcher.receive(env.env_id, 10)
    assert message.type == driver.EXITED, message
    return message


def test_clones_answer_each_with_its_own_state(launcher, code, template):
    clones = [launcher.start(code, template=template.env_id) for _ in range(6)]
    assert all(clone.parked for clone in clones)
    for number, clone in enumerate(clones):
        assert clone.ask(f"e echo {number} > /tmp/file; cat /tmp/file") == f"{number}\n"
    pids = {fields(clone.ask("r /proc/self/status"))["Pid"] for clone in clones}
    assert len(pids) == len(clones), "each has a process id of its own"
    for clone in clones:
        clone.kill()


SAME = ["Uid", "Gid", "Groups", "Umask", "SigIgn", "SigBlk", "SigCgt", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs",
        "Seccomp", "Seccomp_filters", "Cpus_allowed"]


def test_a_clone_may_do_what_an_ordinary_environment_may(launcher, code, template):
    ordinary, clone = launcher.start(code).hello(), launcher.start(code, template=template.env_id)
    seen = [fields(env.ask("r /proc/self/status")) for env in (ordinary, clone)]
    assert {name: seen[0][name] for name in SAME} == {name: seen[1][name] for name in SAME}
    for file in ("limits", "mounts", "cgroup", "oom_score_adj", "uid_map", "gid_map"):
        texts = [re.sub(r"/dev/loop\d+", "/dev/loop", env.ask(f"r /proc/self/{file}")) for env in (ordinary, clone)]
        if file.endswith("map"):
            texts = [text.split()[0] for text in texts]
        if file == "mounts":
            texts = [sorted(text.splitlines()) for text in texts]
        assert texts[0] == texts[1], file
    for link in ("user", "pid", "mnt", "net", "ipc", "uts", "cgroup"):
        own, others = (env.ask(f"e readlink /proc/self/ns/{link}") for env in (clone, ordinary))
        assert own != others, link
    assert "1 irori-init" in clone.ask("e echo 1 $(cat /proc/1/comm)")
    for env in (ordinary, clone):
        env.kill()


def test_what_is_refused_is_refused_in_a_clone(launcher, code, template):
    clone, ordinary = launcher.start(code, template=template.env_id), launcher.start(code).hello()
    for flags in (0x10000000, 0x20000, 0x40000000, 0x20000000):
        assert clone.ask(f"u {flags}") == ordinary.ask(f"u {flags}") == str(errno.EPERM), flags
    assert clone.ask("e cat /proc/sys/user/max_user_namespaces") == "0\n"
    for env in (clone, ordinary):
        env.kill()


def test_exits_are_told_as_of_any_environment(launcher, code, template):
    for command, kind, value in (("x 7", 0, 7), ("k 9", 1, 9), ("k 6", 1, 6), ("x 0", 0, 0)):
        clone = launcher.start(code, template=template.env_id)
        clone.send(command)
        message = expect_exit(launcher, clone)
        assert (message.kind, message.value, message.oom) == (kind, value, 0), command
        clone.kill()


def test_a_clone_can_be_restarted_as_an_ordinary_process(launcher, code, template):
    clone = launcher.start(code, template=template.env_id)
    clone.ask("w /tmp/kept 5")
    again = launcher.restart(clone, code).hello()
    assert not again.parked and again.ask("e cat /tmp/kept") == "xxxxx"
    assert fields(again.ask("r /proc/self/status"))["Uid"].split()[0] == "993"
    again.kill()


def test_clones_outlive_their_template(launcher, code):
    template = make_template(launcher, code)
    clones = [launcher.start(code, template=template.env_id) for _ in range(3)]
    assert all(clone.ask("e echo made") == "made\n" for clone in clones)
    template.kill()
    assert all(clone.ask("e echo alive") == "alive\n" for clone in clones)
    env_id = launcher.start_raw(code, template=template.env_id)
    message = launcher.receive(env_id)
    assert (message.type, message.number) == (driver.FAILED, driver.FAIL_TEMPLATE)
    for clone in clones:
        clone.kill()


def image_of(launcher):
    """The process that holds the template's memory; those of templates that were killed before get a moment to end."""
    deadline = time.monotonic() + 10 * driver.SLOW
    while len(found := images_of(launcher)) != 1:
        assert time.monotonic() < deadline, [pathlib.Path(f"/proc/{pid}/status").read_text() for pid in found]
        time.sleep(0.05)
    return found


def images_of(launcher):
    """Children of an init, with a descriptor above 900 and without /tmp of their own."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text() == "bootstrap\n" and (process / "fd/900").is_symlink() and \
                    f"/irori-{launcher.instance}/" in (process / "cgroup").read_text():
                found.append(int(process.name))
        except OSError:
            pass
    return found


def test_the_death_of_an_image_is_told_and_harms_no_clone(launcher, code):
    template = make_template(launcher, code)
    clone = launcher.start(code, template=template.env_id)
    (image,) = image_of(launcher)
    os.kill(image, signal.SIGKILL)
    assert expect_exit(launcher, template).value == signal.SIGKILL
    assert clone.ask("e echo alive") == "alive\n"
    message = launcher.receive(launcher.start_raw(code, template=template.env_id))
    assert (message.type, message.number) == (driver.FAILED, driver.FAIL_TEMPLATE)
    template.kill()
    clone.kill()


def test_a_clone_is_frozen_when_it_is_made_and_not_before(launcher, code):
    """The image waits for the clone: frozen with it, it would make no other."""
    template = make_template(launcher, code)
    (image,) = image_of(launcher)
    os.kill(image, signal.SIGSTOP)
    env = launcher.start(code, template=template.env_id)
    launcher.send(driver.FREEZE, env.env_id)
    launcher.send(driver.CPU, env.env_id, number=500)
    time.sleep(0.2)
    os.kill(image, signal.SIGCONT)
    other = launcher.start(code, template=template.env_id)
    assert other.ask("e echo made") == "made\n"
    with pytest.raises(TimeoutError):
        env.ask("e echo thawed", timeout=0.3)
    launcher.send(driver.THAW, env.env_id)
    env.connection.settimeout(10)
    assert env.connection.recv(64).startswith(b"thawed")
    for one in (env, other, template):
        one.kill()


def test_a_clone_that_does_not_come_fails_after_started(launcher, code):
    template = make_template(launcher, code)
    (image,) = image_of(launcher)
    os.kill(image, signal.SIGSTOP)
    env = launcher.start(code, template=template.env_id)
    assert env.parked
    os.kill(image, signal.SIGKILL)
    message = launcher.receive(env.env_id)
    assert (message.type, message.number) == (driver.FAILED, driver.FAIL_TEMPLATE)
    env.close()
    launcher.send(driver.START, env.env_id, start=launcher.start_options(code))
    message = launcher.receive(env.env_id)
    assert (message.type, message.number) == (driver.STARTED, 0)
    driver.Environment(launcher, env.env_id, message).hello().kill()
    template.kill()


def test_a_process_with_children_is_refused_and_goes_on(launcher, code):
    env = launcher.start(code, flags=driver.START_TEMPLATE).hello()
    env.ask("e sleep 1000 > /dev/null 2>&1 < /dev/null & echo started")
    message = capture(launcher, env)
    assert message.number == 1 and "child processes" in message.text
    assert env.ask("e echo alive") == "alive\n"
    env.send("x 3")
    assert expect_exit(launcher, env).value == 3
    env.kill()


def test_only_what_was_started_as_a_template_becomes_one(launcher, code):
    env = launcher.start(code).hello()
    message = capture(launcher, env)
    assert message.number == 1 and "not started as a template" in message.text
    assert env.ask("e echo alive") == "alive\n"
    env.kill()


def test_endless_cloning_leaves_the_launcher_as_it_was(launcher, code, template):
    def descriptors():
        return len(os.listdir(f"/proc/{launcher.process.pid}/fd"))

    def round_trip():
        clone = launcher.start(code, template=template.env_id)
        assert clone.ask("e echo x") == "x\n"
        clone.kill()

    for _ in range(15):
        round_trip()
    time.sleep(1)
    before = descriptors()
    for _ in range(60):
        round_trip()
    time.sleep(1.5)
    assert descriptors() <= before + 4


def test_nothing_is_left_after_a_kill_of_the_launcher(tmp_path, tmp_path_factory, bootstrap):
    launcher = driver.Launcher(tmp_path, instance="pytest23", share=make_share(tmp_path_factory))
    code = launcher.add_code({"bootstrap": bootstrap})
    template = make_template(launcher, code)
    for _ in range(3):
        launcher.start(code, template=template.env_id)
    launcher.kill9()
    deadline = time.monotonic() + 10
    while any(entry.startswith("process") for entry in driver.traces("pytest23", launcher.data)):
        assert time.monotonic() < deadline, driver.traces("pytest23", launcher.data)
        time.sleep(0.1)
    again = driver.Launcher(tmp_path, instance="pytest23", share=make_share(tmp_path_factory))
    assert again.stop() == 0
    assert driver.traces("pytest23", launcher.data) == []


def test_ordinary_environments_take_the_slots_that_a_template_reserves(tmp_path, tmp_path_factory, bootstrap):
    launcher = driver.Launcher(tmp_path, instance="pytest24", share=make_share(tmp_path_factory), spare=3, extra=["--max-slots=10"])
    code = launcher.add_code({"bootstrap": bootstrap})
    template = make_template(launcher, code)
    clones = [launcher.start(code, template=template.env_id) for _ in range(3)]
    for clone in clones:
        clone.kill()
    time.sleep(0.5)
    ordinary = [launcher.start(code, timeout=20).hello() for _ in range(9)]
    message = launcher.receive(launcher.start_raw(code), 20)
    assert (message.type, message.number) == (driver.FAILED, driver.FAIL_NO_SLOT)
    for env in ordinary:
        env.kill()
    message = launcher.receive(launcher.start_raw(code, template=template.env_id))
    assert (message.type, message.number) == (driver.FAILED, driver.FAIL_TEMPLATE), "all slots are ordinary ones now"
    assert launcher.stop() == 0
    assert driver.traces("pytest24", launcher.data) == []


def host_pid(inside):
    """Of a clone's program: inside it has a process id that no other process has."""
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if fields((process / "status").read_text()).get("NSpid", "").split()[-1:] == [str(inside)]:
                return int(process.name)
        except OSError:
            pass
    raise LookupError(inside)


def test_a_start_that_waits_gets_the_slot_that_a_clone_leaves(tmp_path, tmp_path_factory, bootstrap):
    launcher = driver.Launcher(tmp_path, instance="pytest25", share=make_share(tmp_path_factory), spare=0, extra=["--max-slots=3"])
    code = launcher.add_code({"bootstrap": bootstrap})
    template = make_template(launcher, code)
    slow, quick = (launcher.start(code, template=template.env_id) for _ in range(2))
    assert quick.ask("e echo alive") == "alive\n"
    # What is traced is not gone before its tracer has seen its end: this slot leaves for as long as we want.
    libc, pid = ctypes.CDLL(None, use_errno=True), host_pid(fields(slow.ask("r /proc/self/status"))["Pid"])
    assert libc.ptrace(0x4206, pid, 0, 0) == 0, "PTRACE_SEIZE"
    launcher.send(driver.KILL, slow.env_id)
    env_id = launcher.start_raw(code)
    with pytest.raises(TimeoutError):
        launcher.receive(env_id, 0.5)
    quick.kill()
    message = launcher.receive(env_id, 10)
    assert message.type == driver.STARTED, (message, launcher.log())
    driver.Environment(launcher, env_id, message).hello().kill()
    os.waitpid(pid, 0x40000000)  # __WALL
    assert launcher.receive(slow.env_id).type == driver.GONE
    slow.close()
    template.kill()
    assert launcher.stop() == 0
    assert driver.traces("pytest25", launcher.data) == []


def test_one_function_reserves_only_what_it_uses(tmp_path, tmp_path_factory, bootstrap):
    launcher = driver.Launcher(tmp_path, instance="pytest28", share=make_share(tmp_path_factory), spare=8)
    code = launcher.add_code({"bootstrap": bootstrap})
    template = make_template(launcher, code)

    def prepared():
        count = 0
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                count += (process / "comm").read_text() == "irori-init\n" and f"/irori-{launcher.instance}/" in (process / "cgroup").read_text()
            except OSError:
                pass
        return count

    def settled(expected):
        deadline = time.monotonic() + 20
        while prepared() != expected and time.monotonic() < deadline:
            time.sleep(0.1)
        return prepared()

    # The template's own, the reserve of everybody and the family's.
    assert settled(1 + 8 + 1) == 10
    clones = [launcher.start(code, template=template.env_id) for _ in range(3)]
    assert all(clone.ask("e echo alive") == "alive\n" for clone in clones)
    assert settled(1 + 8 + 3 + 4) == 16, "one more than it uses"
    for clone in clones:
        clone.kill()
    template.kill()
    assert launcher.stop() == 0
