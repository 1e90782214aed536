"""The launcher, spoken to as irorid speaks to it. Needs root, IRORI_BUILD (default: build/) and a C compiler."""
import ctypes
import errno
import json
import os
import pathlib
import signal
import socket
import statistics
import struct
import subprocess
import time

import driver
import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
EXEC, LOADER, PLATFORM = 2, 3, 4  # enum wire_exit_kind
CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWNET = 0x10000000, 0x20000, 0x40000000


@pytest.fixture(scope="session")
def bootstrap(tmp_path_factory):
    return driver.compile_bootstrap(tmp_path_factory.mktemp("bootstrap"))


@pytest.fixture(scope="session")
def share(tmp_path_factory):
    folder = tmp_path_factory.mktemp("share")
    for name, extra in (("node", "node_modules"), ("python", "sdk")):
        (folder / "runtimes" / name / extra).mkdir(parents=True)
        (folder / "runtimes" / name / "client").write_text(name)
    return folder


@pytest.fixture(scope="module")
def launcher(tmp_path_factory, share):
    made = driver.Launcher(tmp_path_factory.mktemp("data"), instance="pytest01", share=share)
    yield made
    assert made.stop() == 0
    assert driver.traces("pytest01", made.data) == []


@pytest.fixture(scope="module")
def code(launcher, bootstrap):
    return launcher.add_code({"bootstrap": bootstrap})


@pytest.fixture
def env(launcher, code):
    made = launcher.start(code).hello()
    yield made
    if made.launcher:
        made.kill()


def fields(text):
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def expect_exit(launcher, env, timeout=20):
    message = launcher.receive(env.env_id, timeout)
    assert message.type == driver.EXITED, message
    return message


def test_ready_says_what_the_machine_has(launcher):
    ready = json.loads(launcher.ready.text)
    assert ready["cgroup"] in (1, 2) and isinstance(ready["network"], bool) and ready["kernel"]
    assert {"provided.al2", "provided.al2023"} <= {runtime["id"] for runtime in ready["runtimes"]}
    usage, stat = launcher.ready.fds
    assert int(os.pread(usage, 32, 0)) > 0
    assert b"inactive_file " in os.pread(stat, 4096, 0)


def test_identity_is_that_of_lambda(env):
    answer = dict(item.split("=", 1) for item in env.ask("s").split())
    assert (answer["uid"], answer["gid"], answer["groups"], answer["cwd"]) == ("993", "990", "0", "/var/task")
    assert answer["ppid"] == "1"
    outside = pathlib.Path(f"/proc/{pid_of(env)}/status").read_text()
    assert fields(outside)["Uid"].split() == [str(env.launcher.uid_base + 7)] * 4


def pid_of(env):
    text = pathlib.Path(f"/proc/self/fdinfo/{env.pidfd}").read_text()
    return int(fields(text)["Pid"])


@pytest.mark.parametrize("process", ["self", "1"])
def test_no_process_has_any_privilege(env, process):
    status = fields(env.ask(f"r /proc/{process}/status"))
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"].strip() == "1" and status["Seccomp"].strip() == "2"


def test_every_namespace_is_its_own(env):
    for name in ("user", "pid", "mnt", "ipc", "uts", "net", "cgroup"):
        assert os.readlink(f"/proc/{pid_of(env)}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"), name
    for flag in (CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWNET):
        assert env.ask(f"u {flag}") in (str(errno.EPERM), str(errno.ENOSPC))


def test_pid_1_cannot_be_looked_into_or_killed(env):
    for file in ("mem", "environ", "maps", "fd/3"):
        assert env.ask(f"o /proc/1/{file}") != "0"
    env.ask("e kill -9 1; kill -TERM 1")
    assert "pid=2" in env.ask("s")


@pytest.mark.parametrize("path", ["/x", "/usr/x", "/etc/passwd", "/var/task/bootstrap", "/var/runtime/x", "/opt/x", "/dev/x",
                                  "/proc/sys/kernel/hostname", "/usr/local/x", "/var/task/new"])
def test_nothing_but_tmp_can_be_written(env, path):
    assert int(env.ask(f"w {path} 10").split()[1]) in (errno.EROFS, errno.EACCES, errno.ENOENT, errno.EPERM, errno.ENOTSUP)


@pytest.mark.parametrize("path", ["/proc/sysrq-trigger", "/proc/kcore", "/proc/keys", "/proc/kallsyms"])
def test_what_speaks_of_the_machine_is_the_null_device(env, path):
    """Where the kernel has it."""
    assert env.ask(f"e stat -c %t:%T {path} 2>/dev/null").strip() in ("", "1:3")


def test_the_root_shows_nothing_of_the_host(env):
    assert env.ask("e ls /sys /root /home /run /mnt /usr/local 2>/dev/null | grep -v :").strip() == ""
    assert "sbx_user1051:x:993:990" in env.ask("r /etc/passwd")
    assert env.ask("r /proc/kallsyms") == "" and env.ask("r /proc/keys") == ""
    assert env.ask("e ls /dev").split() == ["fd", "full", "null", "random", "stderr", "stdin", "stdout", "urandom", "zero"]
    assert env.ask("w /dev/null 100") == "100 0" and env.ask("o /dev/stdout") == "0"
    listing = env.ask("e ls /usr/lib/python3/dist-packages 2>/dev/null")
    assert listing.strip() == ""


def test_limits_are_those_recorded_on_aws(env):
    limits = env.ask("r /proc/self/limits")
    assert [line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files")] == [["1024", "1024"]]
    assert [line.split()[3:5] for line in limits.splitlines() if line.startswith("Max locked memory")] == [["65536", "65536"]]


def test_what_is_counted_for_root_is_left_to_root(env):
    assert env.ask("i") == "16 1024 1"
    limits = env.ask("r /proc/self/limits")
    assert [line.split()[3:5] for line in limits.splitlines() if line.startswith("Max pending signals")] == [["1024", "1024"]]
    assert subprocess.run(["python3", "-c", "import ctypes; exit(ctypes.CDLL(None).inotify_init() < 0)"], check=False).returncode == 0


def test_no_descriptor_leaks_into_the_function(env):
    assert sorted(env.ask("e ls /proc/$PPID/fd").split()) == ["0", "1", "2", "3", "4"]  # 3 is its connection, 4 the pipe from ls


def test_output_reaches_the_log_pipe(env):
    env.ask("l hello out there")
    assert env.read_log(1) == b"hello out there\n"


def test_exit_status_signal_and_exec_errors_are_told(launcher, code):
    for command, kind, value in (("x 3", 0, 3), ("k 11", 1, 11), ("k 9", 1, 9), ("x 0", 0, 0)):
        env = launcher.start(code).hello()
        env.send(command)
        message = expect_exit(launcher, env)
        assert (message.kind, message.value, message.oom) == (kind, value, 0)
        env.kill()
    for path, value in (("/var/task/none", errno.ENOENT), ("/etc/passwd", errno.EACCES)):
        env = launcher.start(code, argv=[path])
        message = expect_exit(launcher, env)
        assert (message.kind, message.value, message.text) == (EXEC, value, path)
        env.kill()


def test_a_missing_interpreter_is_not_a_missing_program(launcher):
    env = launcher.start(launcher.add_code({"bootstrap": b"#!/usr/bin/none\n"}))
    message = expect_exit(launcher, env)
    assert (message.kind, message.value, message.text) == (LOADER, errno.ENOENT, "/var/task/bootstrap")
    env.kill()


# An irori-init that is ready and then cannot do what a START asks for; see src/wire/control.h.
FAILING_INIT = r"""
#include <string.h>
#include <sys/socket.h>

int main(void)
{
    static char packet[1 << 18];
    struct { unsigned type, kind; int value; char step[52]; } report = { 3 };

    recv(3, packet, sizeof packet, 0);
    send(3, &report, sizeof report, 0);
    recv(3, packet, sizeof packet, 0);
    report.type = 4;
    report.value = 2;
    strcpy(report.step, "/var/task");
    send(3, &report, sizeof report, 0);
    return 1;
}
"""


def test_what_the_platform_cannot_do_is_not_blamed_on_the_program(tmp_path, share, bootstrap):
    (tmp_path / "init.c").write_text(FAILING_INIT)
    subprocess.run(["gcc", "-static", "-o", str(tmp_path / "init"), str(tmp_path / "init.c")], check=True)
    launcher = driver.Launcher(tmp_path / "data", instance="pytest11", share=share, spare=1, extra=[f"--init={tmp_path / 'init'}"])
    env = launcher.start(launcher.add_code({"bootstrap": bootstrap}))
    message = expect_exit(launcher, env)
    assert (message.kind, message.value, message.text) == (PLATFORM, errno.ENOENT, "/var/task")
    env.kill()
    assert launcher.stop() == 0


def test_children_die_with_the_program(launcher, code):
    env = launcher.start(code).hello()
    env.ask("e sleep 1000 >/dev/null 2>&1 & sleep 1000 >/dev/null 2>&1 &")
    env.send("x 0")
    expect_exit(launcher, env)
    listing = subprocess.run(["pgrep", "-x", "-u", str(launcher.uid_base + 7), "sleep"], capture_output=True, text=True, check=False).stdout
    assert listing == ""
    env.kill()


def test_restart_keeps_tmp_and_kill_throws_it_away(launcher, code):
    env = launcher.start(code).hello()
    assert env.ask("w /tmp/kept 1000") == "1000 0"
    env.send("x 1")
    expect_exit(launcher, env)
    launcher.restart(env, code).hello()
    assert "kept" in env.ask("e ls /tmp")
    launcher.restart(env, code).hello()  # ends what runs, without EXITED
    assert "kept" in env.ask("e ls /tmp") and "pid=2" in env.ask("s")
    env.kill()
    for _ in range(6):
        other = launcher.start(code).hello()
        assert other.ask("e ls -A /tmp") == ""
        other.ask("w /tmp/x 10")
        other.kill()


def test_tmp_has_its_size_and_no_more(launcher, code):
    env = launcher.start(code).hello()
    written, error = env.ask("w /tmp/big 629145600").split()
    assert 512 << 20 <= int(written) <= 516 << 20 and int(error) == errno.ENOSPC
    env.ask("e rm /tmp/big")
    assert int(env.ask("p 20000")) == 20000
    env.kill()


def test_tmp_does_not_count_against_memory(launcher, code):
    env = launcher.start(code, tmp=1024, timeout=20).hello()
    assert env.ask("w /tmp/big 629145600", 120) == "629145600 0"
    assert env.memory() <= 128 << 20
    env.kill()


def test_no_tmp_is_promised_when_the_disk_is_nearly_full(tmp_path, share, bootstrap):
    data = tmp_path / "data"
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(data)], check=True)
    try:
        launcher = driver.Launcher(data, instance="pytest12", share=share, spare=0)
        code = launcher.add_code({"bootstrap": bootstrap})
        launcher.start(code).hello().kill()
        free = os.statvfs(data).f_bavail * os.statvfs(data).f_bsize
        (data / "filler").write_bytes(bytes(free - (9 << 20)))
        message = launcher.receive(launcher.start_raw(code))
        assert (message.type, message.number) == (driver.FAILED, 0) and "free" in message.text, message
        (data / "filler").unlink()
        launcher.start(code).hello().kill()
        assert launcher.stop() == 0
        assert [trace for trace in driver.traces("pytest12", data) if " - tmpfs " not in trace] == []
    finally:
        subprocess.run(["umount", "-l", str(data)], check=True)


def test_tmp_refuses_devices_and_set_user_id(env):
    options = env.ask("e grep ' /tmp ' /proc/self/mounts").split()[3].split(",")
    assert {"nosuid", "nodev"} <= set(options)


def test_out_of_memory_stays_inside(launcher, code):
    other, env = launcher.start(code, uid=8).hello(), launcher.start(code).hello()
    env.send(f"m {300 << 20}")
    message = expect_exit(launcher, env)
    assert (message.kind, message.value, message.oom) == (1, 9, 1)
    assert "pid=2" in other.ask("s")
    launcher.restart(env, code).hello()
    env.send("x 1")
    assert not expect_exit(launcher, env).oom
    env.kill()
    other.kill()


def test_memory_within_the_limit_is_granted(launcher, code):
    env = launcher.start(code, memory=512).hello()
    assert env.ask(f"m {400 << 20}") == "ok"
    assert env.memory() >= 400 << 20
    env.kill()


def test_the_peak_of_memory_stays(launcher, code):
    env = launcher.start(code, memory=512).hello()
    assert env.ask("e head -c 100000000 /dev/zero | tail -c 100000000 | wc -c").strip() == "100000000"
    assert env.memory() < 90_000_000 < env.peak_memory()
    env.kill()


def test_a_fork_bomb_ends_at_once(launcher, code):
    other, bomb = launcher.start(code, uid=8).hello(), launcher.start(code, cpu=72).hello()
    bomb.send("f")
    time.sleep(0.5)
    begun = time.monotonic()
    assert "pid=2" in other.ask("s")
    assert time.monotonic() - begun < 2
    bomb.kill()
    other.kill()
    assert subprocess.run(["pgrep", "-x", "-u", str(launcher.uid_base + 7), "sleep"], check=False, capture_output=True).stdout == b""


def test_frozen_environments_do_nothing_until_thawed_and_can_be_killed(launcher, code):
    env = launcher.start(code).hello()
    launcher.send(driver.FREEZE, env.env_id)
    time.sleep(0.2)
    env.send("s")
    env.connection.settimeout(0.3)
    with pytest.raises(socket.timeout):
        env.connection.recv(1)
    launcher.send(driver.THAW, env.env_id)
    env.connection.settimeout(5)
    assert env.connection.recv(1) == b"u"
    launcher.send(driver.FREEZE, env.env_id)
    time.sleep(0.1)
    env.kill()
    env = launcher.start(code).hello()
    launcher.send(driver.FREEZE, env.env_id)
    launcher.restart(env, code).hello()
    env.kill()


def test_the_processor_is_limited_and_can_be_lifted(launcher, code):
    env = launcher.start(code, cpu=100).hello()
    spin = "e i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done"
    slow = time.monotonic()
    env.ask(spin)
    slow = time.monotonic() - slow
    launcher.send(driver.CPU, env.env_id, number=0)
    time.sleep(0.05)
    fast = time.monotonic()
    env.ask(spin)
    fast = time.monotonic() - fast
    assert slow > 2 * fast, (slow, fast)
    env.kill()


def test_a_function_that_closes_everything_does_not_hold_up_the_kill(launcher, code):
    env = launcher.start(code).hello()
    env.send("z")
    time.sleep(0.1)
    begun = time.monotonic()
    env.kill()
    assert time.monotonic() - begun < 2


def test_an_unusual_environment_reaches_the_program(launcher, code):
    value = "ä\n=" + "x" * 2000
    env = launcher.start(code, env=[f"ODD={value}", "EMPTY="], argv=["/var/task/bootstrap", "", "two words"], hostname="h.x-1").hello()
    assert env.ask("e tr '\\0' '|' < /proc/$PPID/cmdline") == "/var/task/bootstrap||two words|"
    assert value in env.ask("r /proc/self/environ") and env.ask("r /proc/sys/kernel/hostname").strip() == "h.x-1"
    env.kill()


def test_what_cannot_be_started_is_refused(launcher, code):
    for options, number in (({"code": "0" * 64}, 3), ({"runtime": "java21"}, 2), ({"memory": 64}, 4), ({"tmp": 100}, 4),
                            ({"argv": ["relative"]}, 4), ({"env": ["novalue"]}, 4), ({"uid": 0}, 4), ({"hostname": "a/b"}, 4),
                            ({"code": "../../etc"}, 4)):
        env_id = launcher.start_raw(**{"code": code, **options})
        message = launcher.receive(env_id)
        assert (message.type, message.number) == (driver.FAILED, number), (options, message)
        launcher.send(driver.KILL, env_id)
        assert launcher.receive(env_id).type == driver.GONE


def test_links_in_the_data_folder_lead_nowhere(launcher, code):
    (launcher.data / "code" / ("a" * 64)).symlink_to("/etc")
    env_id = launcher.start_raw("a" * 64)
    assert launcher.receive(env_id).number == 3


def test_senseless_messages_do_no_harm(launcher, code):
    env = launcher.start(code).hello()
    whole = driver.encode(driver.START, 99999, start=launcher.start_options(code))
    for packet in (b"x", b"\0" * 16, whole[:-1], whole + b"x", whole[:40], bytes([9]) + whole[1:], b"\xff" * 5000,
                   driver.encode(driver.KILL, 0), driver.encode(77, 1) if 77 in driver.PARTS else struct.pack("<BBHIQ", 1, 77, 0, 16, 1)):
        launcher.socket.send(packet)
    launcher.send(driver.RESTART, 888888, start=launcher.start_options(code))
    assert launcher.receive(888888).type == driver.FAILED
    launcher.send(driver.FREEZE, 888889)
    launcher.send(driver.CPU, 888889, number=5)
    launcher.send(driver.START, env.env_id, start=launcher.start_options(code))
    assert launcher.receive(env.env_id).number == 4
    assert "pid=2" in env.ask("s")
    for _ in range(2):  # also for one that is gone already
        launcher.send(driver.KILL, env.env_id)
        assert launcher.receive(env.env_id).type == driver.GONE
    env.close()


def test_metadata_and_host_are_out_of_reach(env):
    assert env.ask("c 169.254.169.254 80") != "0"
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert env.ask(f"c 127.0.0.1 {server.getsockname()[1]}") == str(errno.ECONNREFUSED)


def runtimes(launcher):
    return json.loads(launcher.ready.text)["runtimes"]


def test_every_interpreter_runs_with_its_own_library(launcher, code):
    managed = [runtime for runtime in runtimes(launcher) if runtime["inside"]]
    for runtime in managed:
        if runtime["id"].startswith("python"):
            script = ("import sys,ssl,json,ctypes,zoneinfo,socket;"
                      "print(sys.version.split()[0], [p for p in sys.path if __import__('os').path.isdir(p) and "
                      "'packages' in p and __import__('os').listdir(p)], open('/var/runtime/client').read())")
            argv, want = [runtime["inside"], "-c", script], f"{runtime['version']} [] python"
        else:
            argv = [runtime["inside"], "-e", "console.log(process.version, require('fs').readFileSync('/var/runtime/client','utf8'))"]
            want = f"v{runtime['version']} node"
        env = launcher.start(code, runtime=runtime["id"], argv=argv, memory=512,
                             env=["LD_LIBRARY_PATH=/var/lang/lib", "PATH=/var/lang/bin:/usr/bin:/bin"])
        message = expect_exit(launcher, env)
        output = env.read_log()
        assert message.kind == 0 and message.value == 0, (runtime, message, output)
        assert output.decode().strip() == want
        env.kill()


def test_the_sdk_is_mounted_when_it_is_there(launcher, code):
    pythons = [runtime for runtime in runtimes(launcher) if runtime["id"].startswith("python")]
    if not pythons:
        pytest.skip("no Python on this machine")
    sdk = launcher.data / "sdk" / "python"
    sdk.mkdir(parents=True)
    (sdk / "boto3.txt").write_text("here")
    env = launcher.start(code, runtime=pythons[0]["id"]).hello()
    assert env.ask("r /var/runtime/sdk/boto3.txt") == "here"
    env.kill()


def test_many_at_once_and_no_more_than_allowed(tmp_path, share, bootstrap):
    launcher = driver.Launcher(tmp_path / "data", instance="pytest02", share=share, spare=2, extra=["--max-slots=12"])
    code = launcher.add_code({"bootstrap": bootstrap})
    ids = [launcher.start_raw(code, uid=i + 1) for i in range(13)]
    messages = [launcher.receive(env_id, 30) for env_id in ids]
    assert [message.type for message in messages] == [driver.STARTED] * 12 + [driver.FAILED]
    assert messages[12].number == 1
    envs = [driver.Environment(launcher, env_id, message).hello() for env_id, message in zip(ids[:12], messages)]
    # While one is being cleaned, a START waits for its slot.
    launcher.send(driver.KILL, envs[0].env_id)
    late = launcher.start_raw(code)
    assert launcher.receive(envs[0].env_id).type == driver.GONE
    message = launcher.receive(late, 20)
    assert message.type == driver.STARTED, message
    driver.Environment(launcher, late, message).hello()
    assert launcher.stop() == 0
    assert driver.traces("pytest02", launcher.data) == []


@pytest.mark.parametrize("how", ["term", "supervisor", "wire"])
def test_a_clean_stop_leaves_nothing(tmp_path, share, bootstrap, how):
    launcher = driver.Launcher(tmp_path / "data", instance="pytest03", share=share, spare=2)
    code = launcher.add_code({"bootstrap": bootstrap})
    envs = [launcher.start(code, uid=i + 1).hello() for i in range(3)]
    envs[0].ask("w /tmp/x 10000000")
    launcher.send(driver.FREEZE, envs[1].env_id)
    begun = time.monotonic()
    if how == "term":
        launcher.process.send_signal(signal.SIGTERM)
    elif how == "supervisor":
        os.close(launcher.life)
    else:
        launcher.socket.close()
    assert launcher.process.wait(10) == 0
    assert time.monotonic() - begun < 8
    assert driver.traces("pytest03", launcher.data) == []


def test_kill_9_ends_every_sandbox_and_the_next_start_sweeps(tmp_path, share, bootstrap):
    launcher = driver.Launcher(tmp_path / "data", instance="pytest04", share=share, spare=3)
    code = launcher.add_code({"bootstrap": bootstrap})
    envs = [launcher.start(code, uid=i + 1).hello() for i in range(3)]
    envs[0].ask("w /tmp/x 10000000")
    launcher.send(driver.FREEZE, envs[1].env_id)
    time.sleep(0.2)
    launcher.kill9()
    deadline = time.monotonic() + 5
    while [t for t in driver.traces("pytest04", launcher.data) if t.startswith(("process", "/sys/block"))]:
        assert time.monotonic() < deadline, driver.traces("pytest04", launcher.data)
        time.sleep(0.05)
    again = driver.Launcher(launcher.data, instance="pytest04", share=share, spare=1)
    again.start(code).hello().kill()
    assert again.stop() == 0
    assert driver.traces("pytest04", launcher.data) == []


def test_the_next_environment_of_a_slot_sees_no_connections_of_the_former(tmp_path, share, bootstrap):
    launcher = driver.Launcher(tmp_path / "data", instance="pytest10", share=share, spare=1, extra=["--max-slots=1"])
    code = launcher.add_code({"bootstrap": bootstrap})
    for _ in range(3):
        env = launcher.start(code).hello()
        states = [line.split()[3] for line in env.ask("r /proc/net/tcp").splitlines()[1:]]
        assert sorted(states) == ["01", "01", "0A"]  # both ends of its connection to the Runtime API, and the listener
        env.kill()
    assert launcher.stop() == 0
    assert driver.traces("pytest10", launcher.data) == []


def test_two_instances_live_side_by_side(tmp_path, share, bootstrap, launcher, code):
    other = driver.Launcher(tmp_path / "data", instance="pytest05", share=share, spare=1, uid_base=driver.UID_BASE + 100000)
    env, theirs = launcher.start(code).hello(), other.start(other.add_code({"bootstrap": bootstrap})).hello()
    other.kill9()
    assert "pid=2" in env.ask("s")
    again = driver.Launcher(other.data, instance="pytest05", share=share, spare=1, uid_base=driver.UID_BASE + 100000)
    assert again.stop() == 0 and "pid=2" in env.ask("s")
    assert driver.traces("pytest05", other.data) == []
    theirs.close()
    env.kill()


def test_a_second_launcher_on_the_same_folder_waits_for_the_first(tmp_path, share):
    first = driver.Launcher(tmp_path / "data", instance="pytest06", share=share, spare=0)
    second = driver.Launcher(tmp_path / "data", instance="pytest06", share=share, spare=0, wait=False)
    time.sleep(0.3)
    assert second.process.poll() is None and first.process.poll() is None
    assert first.stop() == 0
    assert second.receive(0, 10).type == driver.READY
    assert second.stop() == 0


def test_endless_churn_leaves_the_launcher_as_it_was(launcher, code):
    def descriptors():
        return len(os.listdir(f"/proc/{launcher.process.pid}/fd"))

    for _ in range(10):
        launcher.start(code).hello().kill()
    time.sleep(1)
    before = descriptors()
    for _ in range(60):
        launcher.start(code).hello().kill()
    time.sleep(1.5)
    assert descriptors() <= before + 4


def test_from_start_to_first_byte(launcher, code, record_property):
    times = []
    for _ in range(40):
        begun = time.perf_counter()
        env = launcher.start(code).hello()
        times.append((time.perf_counter() - begun) * 1000)
        env.kill()
        time.sleep(0.05)
    record_property("first_byte_ms_p50", statistics.median(times))
    print(f"START to first byte: p50 {statistics.median(times):.2f} ms, p90 {sorted(times)[36]:.2f} ms")


def ignore_signals():
    """By system call: a C library refuses to touch the signals that it keeps for its own threads."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    ignored = struct.pack("=QQQQ", signal.SIG_IGN, 0, 0, 0)
    for number in range(1, 65):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            assert call(13, number, ignored, None, 8) == 0, number


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the number of a system call")
def test_signals_are_as_a_program_expects_them(tmp_path, share, bootstrap):
    """Neither ignored nor blocked: neither the launcher's settings nor those of who started it reach a function."""
    launcher = driver.Launcher(tmp_path, instance="pytest09", share=share, preexec=ignore_signals)
    status = fields(pathlib.Path(f"/proc/{launcher.process.pid}/status").read_text())
    assert int(status["SigIgn"], 16) & 3 << 31, "the launcher was started with signals ignored"
    env = launcher.start(launcher.add_code({"bootstrap": bootstrap})).hello()
    status = env.ask("r /proc/self/status")
    assert "SigIgn:\t0000000000000000" in status and "SigBlk:\t0000000000000000" in status, status
    env.kill()
    assert launcher.stop() == 0
    assert driver.traces("pytest09", launcher.data) == []
