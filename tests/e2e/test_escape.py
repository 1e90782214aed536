"""Attempts to leave the sandbox, written as functions and run in the real one: each proves that it is stopped, in ordinary
environments, in clones of a runtime's template and in clones of a function's own."""

import concurrent.futures
import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request

import pytest
from harness import build, procs, wait
from harness.archives import pack, pack_folder
from harness.fakenet import HERE, METADATA, PORT, PRIVATE, PUBLIC, SPECIAL, THERE, World
from harness.paths import FUNCTIONS
from harness.server import Server

EPERM, ENOENT, ESRCH, EACCES, ENOSYS = 1, 2, 3, 13, 38
C = ("provided.al2023", "x")


HAS_TEMPLATES = os.uname().machine == "x86_64"
MODES = ["ordinary", *(["runtime-clone", "function-clone"] if HAS_TEMPLATES else [])]
# A runtime of one's own has no template but that of a function.
PROGRAM = pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "runtime-clone"], indirect=True, scope="module")
FLAGS = {"ordinary": ["--templates", "false"]}
ORDINARY_PID = 2


@pytest.fixture(scope="module", params=MODES)
def mode(request):
    """How the environments of all functions here come into being."""
    return request.param


@pytest.fixture(scope="module")
def without_templates(needs):
    plain = Server(["--idle-timeout-ms", "20000", *FLAGS["ordinary"]])
    yield plain
    plain.close()


@pytest.fixture(scope="module")
def server(request, server, mode):
    return request.getfixturevalue("without_templates") if mode == "ordinary" else server


class Attacker:
    """A function whose environments are all started in one way; asserts that they are. With a template of its own it is called
    by the version that was published last."""

    def __init__(self, server, mode, files, runtime, handler, name="attacker", **config):
        self.server, self.mode, self.runtime, self.version = server, mode, runtime, None
        if mode == "runtime-clone":
            server.deploy(files, runtime, handler, server.name("first"))
            wait.until(lambda: self.template().get("state") == "ready", 30, f"the template of {runtime}")
        snap = {"SnapStart": {"ApplyOn": "PublishedVersions"}} if mode == "function-clone" else {}
        self.function = server.deploy(files, runtime, handler, server.name(name), **snap, **config)
        self.publish()

    @classmethod
    def program(cls, server, mode, source, **config):
        return cls(server, mode, {"bootstrap": build.c_program(source)}, *C, name=source, **config)

    @classmethod
    def probe(cls, server, mode, folder, **config):
        return cls(server, mode, pack_folder(FUNCTIONS / folder), "python3.11", "lambda_function.handler", name=folder, **config)

    def template(self):
        """What `irori ps --templates` says of the one that its environments are cloned from."""
        def fits(one):
            if self.mode == "runtime-clone":
                return one["kind"] == "runtime" and one["runtime"] == self.runtime
            return one["kind"] == "function" and (one["function"], one["version"]) == (self.function.name, self.version)
        return next((one for one in self.server.irori_json("ps", "--templates")["templates"] if fits(one)), {})

    def publish(self):
        self.clones = self.template().get("clones", 0) if self.mode == "runtime-clone" else 0
        if self.mode != "function-clone":
            return
        lam, name, before = self.server.lam, self.function.name, self.version
        self.version = lam.publish_version(FunctionName=name)["Version"]
        wait.until(lambda: lam.get_function_configuration(FunctionName=name, Qualifier=self.version)["State"] == "Active", 30)
        assert self.template().get("state") == "ready", self.template()
        if before:
            lam.delete_function(FunctionName=name, Qualifier=before)

    def invoke(self, event=None, **more):
        return self.function.invoke(event, **({"Qualifier": self.version} if self.version else {}), **more)

    def call(self, event=None):
        result = self.invoke(event)
        assert result.error is None, result.payload
        return result.json

    def configure(self, **settings):
        self.function.configure(**settings)
        self.publish()

    def cloned(self):
        """Clones since it was published or configured, perhaps with some of others of its runtime."""
        return self.template().get("clones", 0) - self.clones

    def assert_kind(self, pid):
        """Of the process that has answered: clones have another number than the first one in a namespace."""
        assert (pid == ORDINARY_PID) == (self.mode == "ordinary"), f"{pid} is of no {self.mode}"
        assert self.mode == "ordinary" or self.cloned() > 0

    def delete(self):
        self.function.delete()


@pytest.fixture(scope="module")
def box(server, mode):
    """The Python attempts; with memory enough that other limits are met first."""
    function = Attacker.probe(server, mode, "escape", MemorySize=3008, Timeout=60)
    function.assert_kind(function.call({"attempt": "status"})["pid"])
    yield function
    function.delete()


@pytest.fixture(scope="module")
def neighbour(server, mode):
    """Another function, whose files and processes the attempts look for, and which has to stay well."""
    function = Attacker(server, mode, pack_folder(FUNCTIONS / "python", {"neighbour-secret-file": "secret"}), "python3.11",
                        "lambda_function.handler", "neighbour", MemorySize=256, Timeout=20)
    function.assert_kind(function.call({"do": "exec", "code": "import os\nresult = os.getpid()"}))
    yield function
    function.delete()


@pytest.fixture(scope="module", autouse=True)
def host_is_well(server):
    yield
    assert server.healthy() and server.process.poll() is None


def attempt(function, name, **more):
    answer = function.call({"attempt": name, **more})
    assert (answer["pid"] == ORDINARY_PID) == (function.mode == "ordinary"), answer
    return answer


def stopped(function, name, **more):
    answer = attempt(function, name, **more)
    assert answer["stopped"], answer["detail"]
    return answer["detail"]


def well(neighbour, seconds=5):
    begin = time.monotonic()
    assert neighbour.call({"do": "echo", "value": 1}) == 1
    assert time.monotonic() - begin < seconds, "the neighbour was slow"


# System calls

@pytest.fixture(scope="module")
def syscalls(server, mode):
    function = Attacker.program(server, mode, "escape", Timeout=60)
    outcomes = {item["name"]: item for item in function.call({})}
    function.assert_kind(outcomes.pop("pid")["ret"])
    yield outcomes
    function.delete()


def names_of_syscalls():
    source = (FUNCTIONS / "c" / "escape.c").read_text()
    return re.findall(r"ENTRY\((\w+)\)", source.split("attempts[] = {")[1])


@PROGRAM
@pytest.mark.parametrize("name", names_of_syscalls())
def test_system_call_is_refused(syscalls, name):
    """It fails, or kills only the process that tried it."""
    outcome = syscalls[name]
    assert outcome["ret"] < 0 or outcome["signal"] == signal.SIGSYS, outcome
    if outcome["signal"] == 0:
        assert outcome["errno"] != 0, outcome


@PROGRAM
@pytest.mark.parametrize("name", ["mount", "umount", "unshare_user", "clone_user", "setns_own", "ptrace_me", "bpf", "perf",
                                  "userfaultfd", "keyctl", "packet", "vsock", "alg", "io_uring", "open_tree", "handle",
                                  "init_module", "reboot", "kexec", "netlink_generic", "process_vm_readv"])
def test_the_filter_refuses_it_whatever_the_rights(syscalls, name):
    """EPERM or ENOSYS (EAFNOSUPPORT for sockets) at once: not an answer of the code behind it."""
    assert syscalls[name]["signal"] == signal.SIGSYS or syscalls[name]["errno"] in (EPERM, ENOSYS, EACCES, 97, 93), syscalls[name]


# Files

def test_host_files_cannot_be_read(box, server):
    stopped(box, "read_paths", paths=[
        "/etc/shadow", "/etc/gshadow", "/root", "/root/.ssh", "/home", "/boot", "/var/lib/dpkg", "/var/log", "/sys", "/run",
        str(server.data), str(server.folder), "/var/lib/irori", "/proc/1/root/etc/shadow", "/proc/1/cwd/..", "/lost+found",
        "/tmp/../root", "/var/task/../../root", "/proc/self/root/root", "/usr/local/sbin/../../../root"])


def test_other_functions_code_cannot_be_found(box, neighbour, server):
    neighbour.call({"do": "nothing"})
    detail = stopped(box, "find_names", names=["neighbour-secret-file", server.folder.name, "irori-launcher"])
    assert detail["folders"] > 10


def test_nothing_but_tmp_can_be_written(box):
    stopped(box, "write_anywhere")


def test_proc_cannot_be_written(box):
    stopped(box, "write_proc")


def test_oom_score_cannot_be_lowered(box):
    stopped(box, "lower_oom_score")


def test_init_is_closed(box):
    stopped(box, "proc_of_init")


def test_kernel_memory_and_devices_are_closed(box):
    stopped(box, "kernel_secrets")


def test_devices_and_set_uid_files(box):
    """mknod is refused; /tmp is nosuid and nodev."""
    stopped(box, "make_devices")


def test_tmp_of_others_cannot_be_seen(box, neighbour):
    neighbour.call({"do": "put", "name": "neighbour-tmp-secret", "text": "x"})
    stopped(box, "find_names", names=["neighbour-tmp-secret"])


def test_tmp_refuses_more_than_its_size(box, neighbour):
    """512 MB: at least 500 MB are usable, not more than 560; nothing stays when it was removed."""
    detail = stopped(box, "fill_tmp", limit_mb=700)
    assert 500 * 1000 * 1000 >> 20 <= detail["written_mb"] <= 540, detail
    detail = stopped(box, "fill_tmp", limit_mb=700)
    assert detail["written_mb"] >= 500 * 1000 * 1000 >> 20, "removed files still take room"
    well(neighbour)


def test_full_tmp_is_fresh_for_the_next_environment(box):
    """A filled /tmp dies with its environment: the one of another version starts empty."""
    stopped(box, "fill_inodes")
    box.configure(Description="a new configuration needs a new environment")
    detail = stopped(box, "fill_tmp", limit_mb=700)
    assert detail["written_mb"] >= 476


# Processes

def test_only_own_processes_are_seen(box):
    stopped(box, "see_processes")


def test_host_processes_cannot_be_signalled(box, server):
    """A process of the host, irorid, the launcher and another function's runtime live on."""
    victim = subprocess.Popen(["sleep", "60"])
    try:
        pids = [victim.pid, server.process.pid, server.pid_of("irorid"), server.pid_of("irori-launcher"), os.getpid()]
        inside = [pid for pid in pids if pid > 40]
        stopped(box, "signal_pids", pids=inside, signal=signal.SIGKILL)
        assert victim.poll() is None and server.process.poll() is None
        assert server.pid_of("irorid") == pids[2] and server.pid_of("irori-launcher") == pids[3]
    finally:
        victim.kill()
        victim.wait()


def test_init_cannot_be_killed_from_inside(box):
    stopped(box, "kill_init")


def test_identity(box):
    """Not root, no capability at all, no_new_privs, a seccomp filter."""
    detail = stopped(box, "status")
    assert detail["Groups"] == ""


def test_host_identities_differ_between_functions(server, box, neighbour):
    """On the host each function runs under a user id of its own that is neither root's nor anybody's."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(box.invoke, {"attempt": "tamper_parent", "seconds": 3}),
                   pool.submit(neighbour.invoke, {"do": "sleep", "ms": 2500})]
        time.sleep(1.0)
        users = {}
        for pid in procs.everyone():
            image = os.path.lexists(f"/proc/{pid}/fd/900")
            if not image and server.instance in procs.read(pid, "cgroup").decode() and b"bootstrap.py" in procs.read(pid, "cmdline"):
                uid = re.search(rb"Uid:\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)", procs.read(pid, "status"))
                users[pid] = {int(part) for part in uid.groups()}
        for one in waiting:
            one.result()
    assert len(users) >= 2 and all(len(found) == 1 and min(found) > 1000 for found in users.values()), users
    assert len(set().union(*users.values())) >= 2


def test_namespaces_are_private(box, neighbour):
    mine = attempt(box, "namespaces")["detail"]
    code = "import os\nresult = {n: os.readlink(f'/proc/self/ns/{n}') for n in ('user','mnt','pid','net','ipc','uts')}"
    theirs = neighbour.call({"do": "exec", "code": code})
    for name, value in theirs.items():
        assert value != mine[name] and mine[name] != os.readlink(f"/proc/self/ns/{name}"), name


def test_descriptors_are_limited_and_none_is_inherited(box, neighbour):
    stopped(box, "descriptors")
    stopped(box, "inherited")
    well(neighbour)


def test_processes_and_threads_are_limited(box, neighbour):
    stopped(box, "fork_until_refused")
    stopped(box, "threads_until_refused")
    well(neighbour)


def inside(server):
    """Pids of all processes in the instance's control groups."""
    return [pid for pid in procs.everyone() if server.instance in procs.read(pid, "cgroup").decode(errors="replace")]


@PROGRAM
def test_fork_bomb(server, mode, neighbour):
    """The bomb meets its timeout; host and neighbour stay responsive; no process of it remains."""
    bomb = Attacker.program(server, mode, "bomb", MemorySize=256, Timeout=4)
    well(neighbour)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(bomb.invoke, {})
        time.sleep(1.5)
        begin = time.monotonic()
        assert len(inside(server)) < 1500
        with urllib.request.urlopen(f"{server.endpoint}/health", timeout=5) as answer:
            assert answer.status == 200
        well(neighbour, 6)
        assert time.monotonic() - begin < 8
        result = running.result()
    assert result.error == "Unhandled" and result.json["errorType"] == "Sandbox.Timedout"
    assert mode == "ordinary" or bomb.cloned() == 1
    bomb.delete()

    def left():
        return [pid for pid in inside(server) if b"AWS_LAMBDA_FUNCTION_NAME=bomb" in procs.read(pid, "environ")]
    wait.until(lambda: not left(), 60, "the bomb's processes to end")
    well(neighbour)


CHILDREN, EACH_MB = 20, 170
TAKE_TOGETHER = f"""
import ctypes, os, time
ctypes.CDLL(None).prctl(15, event['comm'].encode(), 0, 0, 0)
children = []
for _ in range({CHILDREN}):
    pid = os.fork()
    if pid == 0:
        kept = bytearray(b'1' * ({EACH_MB} << 20))
        time.sleep(6)
        os._exit(0)
    children.append(pid)
result = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
"""


def memory_of(comm):
    """MiB of anonymous memory that the processes of this name have; what a child still shares counts for it, too."""
    sizes = [re.search(rb"^RssAnon:\s+(\d+) kB", procs.read(pid, "status"), re.MULTILINE)
             for pid in procs.everyone() if (procs.stat(pid) or ("",))[0] == comm]
    return sum(int(size.group(1)) for size in sizes if size) / 1024


def test_memory_is_limited_for_all_processes_together(server, mode, neighbour):
    """Many children that each take a little, together twice the limit: the kernel ends some of them or the function, and at no
    moment do they have more than the function's memory and what they grow by while they are counted. (With less than a whole
    processor they would stand still at the limit until the timeout.)"""
    function = Attacker.probe(server, mode, "python", MemorySize=1769, Timeout=40)
    programs = server.pid_of("irorid"), server.pid_of("irori-launcher")
    comm, peak = f"irm{server.port}", 0
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(function.invoke, {"do": "exec", "code": TAKE_TOGETHER, "comm": comm}, tail=True)
        while not running.done():
            peak = max(peak, memory_of(comm))
            time.sleep(0.02)
        result = running.result()
    assert 1600 < peak < 2400, f"{peak:.0f} MiB with a limit of 1769"
    assert re.search(r"Memory Size: 1769 MB\tMax Memory Used: 17[0-9][0-9] MB", result.log), result.log
    if result.error:
        assert "signal: killed" in result.json["errorMessage"], result.json
    else:
        assert -signal.SIGKILL in result.json, result.json
    assert mode == "ordinary" or function.cloned() > 0
    well(neighbour)
    assert (server.pid_of("irorid"), server.pid_of("irori-launcher")) == programs
    assert function.call({"do": "echo", "value": 2}) == 2
    function.delete()


# Background processes

def ticks(function):
    return attempt(function, "background_ticks")["detail"]


def test_background_process_is_frozen_with_its_environment(box):
    """A detached daemon writes 100 times a second while the function runs, and (nearly) never while it is idle."""
    stopped(box, "background", marker="irori-bg")
    time.sleep(2.5)
    seen = ticks(box)
    assert len(seen) > 5
    gaps = [later - earlier for earlier, later in zip(seen, seen[1:], strict=False)]
    assert max(gaps) > 1.5, "it went on while frozen"


def test_background_process_ends_with_its_environment(server, mode):
    """Double fork, setsid, every signal ignored: gone within seconds after the function was deleted."""
    function = Attacker.probe(server, mode, "escape", MemorySize=256, Timeout=10)
    marker = f"irb{server.port}"
    stopped(function, "background", marker=marker)

    def running():
        return [pid for pid in procs.everyone() if (procs.stat(pid) or ("",))[0] == marker]
    wait.until(running, 3, "the marked process to be seen")
    function.delete()
    wait.until(lambda: not running(), 8, "the daemon to end")


def test_background_process_dies_with_a_crash(server, mode):
    """The runtime exits, its detached children must not outlive it into the next generation."""
    function = Attacker.probe(server, mode, "python", MemorySize=256, Timeout=10)
    argument = f"7{server.port}"
    function.invoke({"do": "exec", "code": f"""
import os, subprocess
subprocess.Popen(['setsid', 'sleep', '{argument}'], start_new_session=True)
import time; time.sleep(0.3)
os._exit(1)
"""})
    assert function.call({"do": "echo", "value": 1}) == 1
    assert not [pid for pid in procs.everyone() if argument in procs.cmdline(pid)]
    function.delete()


def test_children_that_hold_descriptors_do_not_hold_the_answer(box):
    begin = time.monotonic()
    stopped(box, "tamper_parent", seconds=20)
    assert time.monotonic() - begin < 5


# Network

def host_addresses():
    found = subprocess.run(["ip", "-4", "-o", "addr"], capture_output=True, text=True, check=True).stdout
    return re.findall(r"inet (\d+\.\d+\.\d+\.\d+)", found)


class Listener:
    """Accepts on a port of all the host's addresses and keeps who came."""

    def __init__(self):
        self.visits = []
        self._socket = socket.socket()
        self._socket.bind(("0.0.0.0", 0))
        self._socket.listen(64)
        self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.port = self._socket.getsockname()[1]
        self._datagrams.bind(("0.0.0.0", self.port))
        threading.Thread(target=self._accept, daemon=True).start()
        threading.Thread(target=self._receive, daemon=True).start()

    def _accept(self):
        while True:
            try:
                _peer, source = self._socket.accept()
            except OSError:
                return
            self.visits.append(source)

    def _receive(self):
        while True:
            try:
                data, source = self._datagrams.recvfrom(2000)
            except OSError:
                return
            self.visits.append((data, source))

    def close(self):
        for one in (self._socket, self._datagrams):
            one.close()


@pytest.fixture
def listener():
    one = Listener()
    yield one
    one.close()


def test_host_services_cannot_be_reached(box, server, listener):
    """Loopback, every address of the host, the gateways and resolvers of the sandbox: TCP and UDP, API port included."""
    seen = attempt(box, "addresses")["detail"]
    hosts = sorted({"127.0.0.1", "127.0.0.53", "::1", *host_addresses(), *seen["gateways"], *seen["resolvers"], *seen["hosts"]})
    hosts = [host for host in hosts if not host.startswith(("fe", "ff"))]
    targets = [(host, port) for host in hosts for port in (listener.port, server.port, 22)]
    stopped(box, "connect", targets=targets)
    attempt(box, "send_udp", targets=[(host, listener.port) for host in hosts if ":" not in host], text="hello host")
    time.sleep(0.3)
    assert listener.visits == []


OWN_ADDRESS = """
import socket
result = None
try:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(('198.51.100.77', 9))
        result = one.getsockname()[0]
except OSError:
    pass
"""


def test_runtime_apis_of_others_cannot_be_reached(box, neighbour):
    """Port 9001 of neighbouring slots and of the routed address itself."""
    own = attempt(box, "addresses")["detail"]["own"]
    neighbour.call({"do": "nothing"})
    other = neighbour.call({"do": "exec", "code": OWN_ADDRESS})
    targets = [(address, 9001) for address in (own, other) if address]
    for address in (own, other):
        if address:
            head, last = address.rsplit(".", 1)
            targets += [(f"{head}.{n}", 9001) for n in range(max(0, int(last) - 12), min(255, int(last) + 12))]
    if targets:
        stopped(box, "connect", targets=targets)


@contextlib.contextmanager
def straight_route(server, address):
    """While it lasts, the host sends what is for this address straight into the instance's link."""
    link = next(name for name in os.listdir("/sys/class/net") if server.instance in name)
    shown = subprocess.run(["ip", "-4", "-o", "addr", "show", "dev", link], capture_output=True, text=True, check=True).stdout
    head, last = re.search(r"inet (\S+)\.(\d+)/30", shown).groups()
    gateway = f"{head}.{int(last) ^ 3}"
    subprocess.run(["ip", "route", "add", f"{address}/32", "via", gateway, "dev", link], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "route", "del", f"{address}/32", "dev", link], check=True)


def test_nobody_can_connect_to_a_function(box, server):
    """A function that listens on all addresses is reached by no other one, nor from the host."""
    own = attempt(box, "addresses")["detail"]["own"]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        listening = pool.submit(attempt, box, "listen", port=9555, seconds=2.5)
        time.sleep(0.8)
        with straight_route(server, own):
            with pytest.raises(OSError):
                socket.create_connection((own, 9555), 0.7)
        assert attempt(box, "connect", targets=[(own, 9555)], seconds=0.7)["stopped"]
        assert listening.result()["stopped"]


def test_private_networks_and_metadata_cannot_be_reached(box):
    """A public address answers, so that the network is there; private ones and 169.254.169.254 do not."""
    with World() as world:
        reached = attempt(box, "connect", targets=[(PUBLIC, PORT)], seconds=5)["detail"]["opened"]
        assert reached == [f"{PUBLIC}:{PORT}"], "outbound does not work at all"
        wait.until(lambda: world.visits == [(PUBLIC, HERE)], 3, "one masqueraded visit")
        world.visits.clear()
        stopped(box, "connect", targets=[(address, PORT) for address in (PRIVATE, METADATA, *SPECIAL, THERE, HERE)])
        time.sleep(0.2)
        assert world.visits == []


def test_allow_host_opens_exactly_what_it_names(own_server, mode, listener):
    """A service on the host's loopback and one on a private network; their neighbours stay closed."""
    with World() as world:
        server = own_server("--allow-host", f"127.0.0.1:{listener.port}", "--allow-host", f"{PRIVATE}:{PORT}", *FLAGS.get(mode, []))
        box = Attacker.probe(server, mode, "escape", MemorySize=256, Timeout=20)
        opened = attempt(box, "connect", targets=[("host.irori.internal", listener.port), (PRIVATE, PORT)], seconds=5)["detail"]
        assert len(opened["opened"]) == 2, opened
        wait.until(lambda: len(listener.visits) == 1, 5, "the listener to notice")
        stopped(box, "connect", targets=[("host.irori.internal", server.port), ("host.irori.internal", 22), (METADATA, PORT),
                                         (PRIVATE, PORT + 1), ("127.0.0.1", listener.port)])
        assert [visit[0] for visit in world.visits] == [PRIVATE]
        server.stop()


def test_unix_sockets_of_the_host_are_not_there(box):
    stopped(box, "abstract_sockets")


# Dying

STAGES = ["start", "crash", "connect-only", "half-next", "close-all", "children-then-die", "many-connections", "garbage",
          "after-next", "kill-self", "mid-response", "kill-init", "kill-all", "after-response", "flood-log"]
STAGES_OF_CLONES = STAGES[STAGES.index("after-next"):]
DEATHS = 7


def properly(stage, result):
    if result.error is None:
        assert stage in ("kill-init", "kill-all", "after-response", "flood-log"), stage
        assert result.json == "served"
    else:
        assert result.json["errorType"] in ("Runtime.ExitError", "Runtime.TruncatedResponse", "Sandbox.Timedout",
                                            "Runtime.Unknown"), result.json


def die(function, stage, times):
    function.configure(Environment={"Variables": {"STAGE": stage}})
    for _ in range(times):
        properly(stage, function.invoke({}))


def die_at_once(function, stage, times):
    """In clones: an environment that has died once goes on with an ordinary process."""
    function.configure(Environment={"Variables": {"STAGE": stage}})
    with concurrent.futures.ThreadPoolExecutor(times) as pool:
        for result in pool.map(function.invoke, [{}] * times):
            properly(stage, result)
    assert function.cloned() > 0


def assert_deaths_leave_nothing(server, function, kill, rounds):
    """A slot may still be added, on a busy machine for longer, as those that are being cleaned are in use; what leaks in one stage
    grows by more, and in every round."""
    neighbour = Attacker.program(server, "ordinary", "echo")
    broken = server.deploy(pack({"bootstrap": b"\x7fELF that is none"}), *C)
    launcher, daemon = server.pid_of("irori-launcher"), server.pid_of("irorid")
    stages = STAGES if kill is die else STAGES_OF_CLONES
    for stage in stages:
        kill(function, stage, 1)
    before = server.at_rest()
    for _ in range(rounds):
        for stage in stages:
            kill(function, stage, DEATHS)
            assert neighbour.call({"n": stage}) == {"n": stage}
            assert broken.invoke({}).error == "Unhandled"
        after = server.at_rest()
        grown = {name: (before[name], after[name]) for name in after if after[name] >= before[name] + DEATHS}
        if not grown:
            break
        before = after
    assert not grown, "more after each round of deaths"
    assert (server.pid_of("irori-launcher"), server.pid_of("irorid")) == (launcher, daemon), "a program died"
    function.configure(Environment={"Variables": {}})
    assert function.call({}) == "served"


@PROGRAM
@pytest.mark.timeout(400)
def test_dying_at_every_stage_exhausts_nothing(own_server, mode):
    """A hundred deaths and more: descriptors, processes, cgroups, mounts, links and loop devices are as before."""
    server = own_server("--idle-timeout-ms", "1500")
    kill = die_at_once if mode == "function-clone" else die
    assert_deaths_leave_nothing(server, Attacker.program(server, mode, "die", Timeout=1), kill, 6)
