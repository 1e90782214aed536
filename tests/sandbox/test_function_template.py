"""Function templates on the real launcher: programs after their own INIT, with what they hold, and what is refused."""
import os
import pathlib
import shutil
import subprocess
import sys

import driver
import pytest
import runtime_api
from test_template import make_share

sys.path.insert(0, str(driver.ROOT / "tests/e2e"))
from harness import build  # noqa: E402

pytestmark = [pytest.mark.skipif(os.geteuid() != 0 or os.uname().machine != "x86_64", reason="needs root and an x86-64 processor"),
              pytest.mark.timeout(120)]
FUNCTIONS = driver.ROOT / "tests/functions"
PROGRAMS = pathlib.Path(__file__).parent / "programs"
PROVIDED = {"runtime": "provided.al2023", "argv": ["/var/task/bootstrap"]}
UID = 7


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    made = driver.Launcher(tmp_path_factory.mktemp("data"), instance="pytest26", share=driver.ROOT)
    yield made
    assert made.stop() == 0
    assert driver.traces("pytest26", made.data) == []


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Compiles a program of this folder or of tests/functions/c once; returns its path."""
    folder, made = tmp_path_factory.mktemp("programs"), {}

    def compile_program(source, *command):
        if (source, command) not in made:
            if not shutil.which(command[0]):
                pytest.skip(f"NOT TESTED: {command[0]} is not installed")
            made[source, command] = folder / f"{len(made)}"
            subprocess.run([*command, "-O1", "-D_GNU_SOURCE", "-pthread", "-I", FUNCTIONS / "c", "-o", made[source, command], source], check=True)
        return made[source, command]

    return compile_program


def managed(launcher, runtime):
    """The arguments of a runtime of this machine, or None."""
    import json
    for known in json.loads(launcher.ready.text)["runtimes"]:
        if known["id"].startswith(runtime):
            client = ["/var/runtime/bootstrap.cjs"] if runtime == "nodejs" else ["-S", "/var/runtime/bootstrap.py"]
            return {"runtime": known["id"], "argv": [known["inside"], *client]}
    return pytest.skip(f"NOT TESTED: this machine has no {runtime}")


class Template:
    """A function that was started as a template and waits in `next`."""

    def __init__(self, launcher, code, **options):
        self.launcher, self.code = launcher, code
        self.options = {"uid": UID, "memory": 512, **options}
        self.environment = launcher.start(code, flags=driver.START_TEMPLATE, **self.options)
        self.function = runtime_api.park(self.environment)

    def capture(self):
        """Returns (refused, text)."""
        self.launcher.send(driver.CAPTURE, self.environment.env_id)
        message = self.launcher.receive(self.environment.env_id, 20)
        assert message.type == driver.CAPTURED, (message, self.launcher.log())
        return message.number, message.text

    def captured(self):
        refused, text = self.capture()
        assert not refused, (text, self.environment.read_log(0.1))
        return self

    def clone(self):
        environment = self.launcher.start(self.code, template=self.environment.env_id, **self.options)
        return runtime_api.Function(environment, parked_at=self.function.parked_at).restore()

    def kill(self):
        self.environment.kill()


# ---- programs as they are, each after its own INIT ------------------------------------------------------------------

def static_c(launcher, compiled):
    return {"bootstrap": compiled(FUNCTIONS / "c/echo.c", "gcc", "-static")}, PROVIDED


def musl_c(launcher, compiled):
    return {"bootstrap": compiled(FUNCTIONS / "c/echo.c", "musl-gcc", "-static")}, PROVIDED


def dynamic_c(launcher, compiled):
    return {"bootstrap": compiled(FUNCTIONS / "c/echo.c", "gcc")}, PROVIDED


def threads_glibc(launcher, compiled):
    return {"bootstrap": compiled(PROGRAMS / "threads.c", "gcc", "-static")}, PROVIDED


def threads_musl(launcher, compiled):
    return {"bootstrap": compiled(PROGRAMS / "threads.c", "musl-gcc", "-static")}, PROVIDED


def go(launcher, compiled):
    return {"bootstrap": build.go_program()}, PROVIDED


def go_with_c(launcher, compiled):
    return {"bootstrap": build.go_with_c_program()}, PROVIDED


def rust(launcher, compiled):
    return {"bootstrap": build.rust_program()}, PROVIDED


def node(launcher, compiled):
    options = managed(launcher, "nodejs")
    return {"index.mjs": FUNCTIONS / "node/index.mjs"}, {**options, "handler": "index.handler"}


def python(launcher, compiled):
    options = managed(launcher, "python3")
    return {"lambda_function.py": FUNCTIONS / "python/lambda_function.py"}, {**options, "handler": "lambda_function.handler"}


@pytest.mark.parametrize("program", [static_c, musl_c, dynamic_c, threads_glibc, threads_musl, go, go_with_c, rust, node, python])
def test_clones_of_a_function_after_its_init(launcher, compiled, program):
    files, options = program(launcher, compiled)
    options = {"env": [*runtime_api.VARIABLES, "_HANDLER=" + options.get("handler", "bootstrap")],
               **{name: value for name, value in options.items() if name != "handler"}}
    template = Template(launcher, launcher.add_code(files), **options).captured()
    for _ in range(3):
        clones = [template.clone() for _ in range(3)]
        for number in range(4):
            for at, clone in enumerate(clones):
                answer = clone.invoke({"do": "echo", "value": [at, number]})
                assert answer in ([at, number], {"do": "echo", "value": [at, number]}), (at, number)
        for clone in clones:
            clone.kill()
    template.kill()


# ---- what INIT leaves open -------------------------------------------------------------------------------------------

HANDLER = """

def handler(event, _context):
    found = dict(globals())
    exec(event["code"], found)
    return found.get("result")
"""


class Probe(Template):
    """A Python function whose INIT is given, and whose events are code that sets `result`."""

    def __init__(self, launcher, init, **options):
        arguments = managed(launcher, "python3")
        code = launcher.add_code({"probe.py": (init + HANDLER).encode()})
        super().__init__(launcher, code, **arguments, env=[*runtime_api.VARIABLES, "_HANDLER=probe.handler"], **options)


def run(function, code):
    return function.invoke({"code": code})


@pytest.fixture
def probe(launcher):
    made = []

    def make(init, **options):
        made.append(Probe(launcher, init, **options))
        return made[-1]

    yield make
    for template in made:
        template.kill()


CONNECTED = """
import errno, os, select, socket, struct
def connection(family, address):
    listener = socket.socket(family)
    listener.bind((address, 0))
    listener.listen(4)
    one = socket.create_connection(listener.getsockname()[:2])
    other, _ = listener.accept()
    listener.close()
    return one, other
"""


def test_connections_are_closed_by_their_peer_in_clones(probe):
    template = probe(CONNECTED + """
tcp, tcp_peer = connection(socket.AF_INET, "127.0.0.1")
six, six_peer = connection(socket.AF_INET6, "::1")
local, local_peer = socket.socketpair()
local_peer.close()
tcp.setblocking(False)
six.settimeout(None)
six.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 7, 0))
six.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
poll = select.epoll()
poll.register(tcp, select.EPOLLIN | select.EPOLLRDHUP)
poll.register(six, select.EPOLLIN | select.EPOLLET)
connecting = socket.socket()
connecting.setblocking(False)
connecting.connect_ex(("198.51.100.1", 9))
duplicate = os.dup(tcp.fileno())
numbers = [s.fileno() for s in (tcp, six, local, connecting)]
""")
    refused, text = template.capture()
    assert (refused, text) == (0, "6 sockets")
    for _ in range(2):
        clone = template.clone()
        assert run(clone, "result = [s.fileno() for s in (tcp, six, local, connecting)] == numbers") is True
        assert sorted(run(clone, "result = poll.poll(0)")) == sorted(
            [[run(clone, "result = tcp.fileno()"), 0x2001], [run(clone, "result = six.fileno()"), 1]])
        for name in ("tcp", "tcp_peer", "six", "six_peer", "local", "connecting"):
            assert run(clone, f"result = list({name}.recv(10))") == [], name
            if name.startswith("local"):
                continue
            for option in ("socket.IPPROTO_TCP, socket.TCP_NODELAY", "socket.SOL_SOCKET, socket.SO_KEEPALIVE"):
                assert run(clone, f"{name}.setsockopt({option}, 1); result = {name}.getsockopt({option})") == 1, name
        assert run(clone, "result = [tcp.getblocking(), six.family == socket.AF_INET6, connecting.getblocking()]") == [False, True, False]
        assert run(clone, "result = list(struct.unpack('ll', six.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)))") == [7, 0]
        for name in ("tcp", "six", "local", "connecting"):
            assert run(clone, f"""
result = None
for _ in range(20):
    try:
        {name}.send(b'x')
        select.select([], [], [], 0.01)
    except OSError as error:
        result = error.errno
        break
""") in (32, 104), name
        assert run(clone, "result = os.path.samefile(f'/proc/self/fd/{duplicate}', f'/proc/self/fd/{tcp.fileno()}')") is True
        clone.kill()


def test_pairs_of_sockets_within_the_process_stay_connected(probe):
    template = probe("""
import asyncio, socket
loop = asyncio.new_event_loop()
loop.run_until_complete(asyncio.sleep(0))
one, other = socket.socketpair()
packets, packets_peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
one.send(b"to other")
other.send(b"to one")
packets.send(b"whole")
other.setblocking(False)
""")
    assert template.capture() == (0, "")
    for _ in range(2):
        clone = template.clone()
        assert run(clone, "result = [one.recv(99).decode(), other.recv(99).decode(), packets_peer.recv(99).decode()]") == [
            "to one", "to other", "whole"]
        assert run(clone, "result = [one.getblocking(), other.getblocking()]") == [True, False]
        assert run(clone, "one.send(b'x'); result = other.recv(9).decode()") == "x"
        assert run(clone, """
import threading
async def work():
    return await loop.run_in_executor(None, lambda: 7)
result = loop.run_until_complete(work())
""") == 7
        clone.kill()


def test_sockets_without_a_connection_are_made_anew(probe):
    template = probe("""
import socket
fresh = socket.socket()
fresh.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("127.0.0.1", 5353))
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(("127.0.0.1", 5353))
local = socket.socket(socket.AF_UNIX)
""")
    assert template.capture() == (0, "")
    clone = template.clone()
    assert run(clone, "client.send(b'statistics'); result = receiver.recv(99).decode()") == "statistics"
    assert run(clone, "sender.sendto(b'more', ('127.0.0.1', 5353)); result = receiver.recv(99).decode()") == "more"
    assert run(clone, "result = [fresh.getsockopt(1, socket.SO_REUSEADDR), sender.getsockopt(1, socket.SO_BROADCAST)]") == [1, 1]
    assert run(clone, """
fresh.bind(('127.0.0.1', 0))
fresh.listen()
again = socket.create_connection(fresh.getsockname())
fresh.accept()[0].send(b'hello')
result = again.recv(9).decode()
""") == "hello"
    clone.kill()


REFUSED = {
    "a socket that listens": "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()",
    "a socket with a name of its own": "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0))",
    "one of a pair with much in it": "import socket; a, b = socket.socketpair(); a.send(b'x' * 100)",
    "a pipe with much in it": "import os; r, w = os.pipe(); os.write(w, b'x' * 100)",
    "a deleted file": "import tempfile; f = tempfile.TemporaryFile()",
    "a locked file": "import fcntl; f = open('/tmp/lock', 'w'); fcntl.flock(f, fcntl.LOCK_EX)",
    "nothing that can be opened again": "import os; f = os.open('/var/task', os.O_RDONLY)",
    "child processes": "import subprocess; p = subprocess.Popen(['/bin/sleep', '1000'])",
    "POSIX timer": """
import ctypes
libc = ctypes.CDLL(None)
timer = ctypes.c_void_p()
assert libc.syscall(222, 1, None, ctypes.byref(timer)) == 0
""",
    "interval timer": "import signal; signal.setitimer(signal.ITIMER_REAL, 1000)",
    "a signal is pending": "import os, signal; signal.pthread_sigmask(0, [10]); os.kill(os.getpid(), 10)",
    "shares writable memory": "import mmap; m = mmap.mmap(-1, 4096)",
    "more than 64 threads": "import threading, time; [threading.Thread(target=time.sleep, args=(1000,), daemon=True).start() for _ in range(64)]",
    "come to rest": "import threading\ndef spin():\n    while True: pass\nthreading.Thread(target=spin, daemon=True).start()",
    "descriptor 1000": "import os; os.dup2(0, 1000)",
    "signalfd": "import ctypes; fd = ctypes.CDLL(None).signalfd(-1, ctypes.byref(ctypes.c_ulong(1)), 0)",
    "inotify": "import ctypes; fd = ctypes.CDLL(None).inotify_init()",
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_refused_is_told_and_the_function_goes_on(probe, reason):
    template = probe(REFUSED[reason] + "\n")
    refused, text = template.capture()
    assert refused == 1 and reason in text, text
    assert run(template.function.restore(), "result = 'alive'") == "alive"


def test_files_that_init_left_in_tmp_are_copied_for_every_clone(probe):
    template = probe("""
import os, time
os.makedirs("/tmp/cache/deep", mode=0o750)
open("/tmp/cache/deep/model", "wb").write(bytes(range(256)) * 4096)
os.chmod("/tmp/cache/deep/model", 0o440)
os.symlink("/etc/passwd", "/tmp/link")
os.symlink("../../../../../etc", "/tmp/cache/up")
reading = open("/tmp/cache/deep/model", "rb", buffering=0)
reading.seek(257)
writing = open("/tmp/log", "a+b", buffering=0)
writing.write(b"from init\\n")
changing = open("/tmp/data", "w+b", buffering=0)
changing.write(b"0123456789")
changing.seek(3)
os.chdir("/tmp/cache")
""")
    assert template.capture() == (0, "")
    clones = [template.clone() for _ in range(3)]
    for at, clone in enumerate(clones):
        assert run(clone, "result = sorted(os.listdir('/tmp')) + sorted(os.listdir('/tmp/cache'))") == ["cache", "data", "link", "log", "deep", "up"]
        assert run(clone, "s = os.stat('/tmp/cache/deep/model'); result = [s.st_size, oct(s.st_mode), s.st_uid == os.getuid()]") == [
            1 << 20, "0o100440", True]
        assert run(clone, "result = [os.readlink('/tmp/link'), os.readlink('/tmp/cache/up')]") == ["/etc/passwd", "../../../../../etc"]
        assert run(clone, "result = os.getcwd()") == "/tmp/cache"
        assert run(clone, "result = list(reading.read(3))") == [1, 2, 3]
        assert run(clone, f"writing.write(b'clone {at}\\n'); result = open('/tmp/log').read()") == f"from init\nclone {at}\n"
        assert run(clone, f"changing.write(b'{at}'); result = open('/tmp/data').read()") == f"012{at}456789"
        assert run(clone, "open('/tmp/new', 'w'); result = os.path.samefile('/tmp/log', f'/proc/self/fd/{writing.fileno()}')") is True
    for clone in clones:
        clone.kill()


TMP_REFUSED = {
    "pipe, socket or device": "import os; os.mkfifo('/tmp/pipe')",
    "several names": "import os; open('/tmp/a', 'w'); os.link('/tmp/a', '/tmp/b')",
    "more than 64 MiB": "open('/tmp/giant', 'w').truncate(200 << 30)",
    "more than 1000 entries": "for i in range(1001): open(f'/tmp/{i}', 'w')",
    "too deep": "import os; os.makedirs('/tmp/' + 'd/' * 40)",
    "attributes of its own": "import os; open('/tmp/a', 'w'); os.setxattr('/tmp/a', 'user.x', b'y')",
}


@pytest.mark.parametrize("reason", TMP_REFUSED)
def test_what_lies_in_tmp_and_cannot_be_copied_is_refused(probe, reason):
    template = probe(TMP_REFUSED[reason] + "\n")
    refused, text = template.capture()
    assert refused == 1 and reason in text, text
    assert run(template.function.restore(), "result = 'alive'") == "alive"


# ---- limits ----------------------------------------------------------------------------------------------------------

def test_a_clone_has_the_memory_of_its_function(launcher, probe):
    template = probe("block = bytearray(50 << 20)\n", memory=256).captured()
    clone = template.clone()
    assert run(clone, "more = bytearray(100 << 20); result = len(more)") == 100 << 20
    clone.client.answer("200 OK", b'{"code": "more = bytearray(400 << 20)"}', Lambda_Runtime_Aws_Request_Id="x", Lambda_Runtime_Deadline_Ms=1)
    message = launcher.receive(clone.environment.env_id)
    assert (message.type, message.kind, message.value, message.oom) == (driver.EXITED, 1, 9, 1)
    clone.kill()
    other = template.clone()
    assert run(other, "result = len(block)") == 50 << 20
    other.kill()


def test_clones_pay_for_the_tables_of_their_pages(probe):
    """Else those of many clones would fill up the template's memory, and the kernel would end it."""
    template = probe("block = bytearray(200 << 20)\n", memory=512).captured()
    clones = [template.clone() for _ in range(2)]
    before = template.environment.memory()
    clones += [template.clone() for _ in range(10)]
    assert template.environment.memory() - before < 1 << 20
    assert all(clone.environment.memory() > 300 << 10 for clone in clones)
    for clone in clones:
        clone.kill()


def test_too_much_memory_is_refused(probe):
    template = probe("block = bytearray(1100 << 20)\n", memory=2048)
    refused, text = template.capture()
    assert refused == 1 and "1024 are the most" in text, text
