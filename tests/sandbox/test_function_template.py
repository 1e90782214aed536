"""Function templates on the real launcher: programs after their own INIT, with what they hold, and what is refused."""
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import time

import driver
import pytest
import runtime_api
from test_template import host_pid

sys.path.insert(0, str(driver.ROOT / "tests/e2e"))
from harness import build  # noqa: E402

pytestmark = [pytest.mark.skipif(os.geteuid() != 0 or os.uname().machine != "x86_64", reason="needs root and an x86-64 processor"),
              pytest.mark.timeout(120 * driver.SLOW)]
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


def build_program(path, source, *command):
    if not shutil.which(command[0]):
        pytest.skip(f"NOT TESTED: {command[0]} is not installed")
    subprocess.run([*command, "-O1", "-D_GNU_SOURCE", "-pthread", "-I", FUNCTIONS / "c", "-o", path, source], check=True)
    return path


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Compiles a program of this folder or of tests/functions/c once; returns its path."""
    folder, made = tmp_path_factory.mktemp("programs"), {}

    def compile_program(source, *command):
        if (source, command) not in made:
            made[source, command] = build_program(folder / f"{len(made)}", source, *command)
        return made[source, command]

    return compile_program


def managed(launcher, runtime):
    """The arguments of a runtime of this machine, or None."""
    import json
    for known in json.loads(launcher.ready.text)["runtimes"]:
        if known["id"].startswith(runtime):
            client = ["/var/runtime/bootstrap.cjs"] if runtime.startswith("nodejs") else ["-S", "/var/runtime/bootstrap.py"]
            return {"runtime": known["id"], "argv": [known["inside"], *client]}
    return pytest.skip(f"NOT TESTED: this machine has no {runtime}")


class Template:
    """A function that was started as a template and waits in `next`."""

    def __init__(self, launcher, code, others=None, **options):
        """others: answers a client's request that is none of the Runtime API's."""
        self.launcher, self.code = launcher, code
        self.options = {"uid": UID, "memory": 512, **options}
        self.environment = launcher.start(code, flags=driver.START_TEMPLATE, **self.options)
        self.function = runtime_api.park(self.environment, others)

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

    def clone(self, **options):
        options = {"code": self.code, **self.options, **options}
        environment = self.launcher.start(template=self.environment.env_id, **options)
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


def package(folder):
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


def python_of_aws(launcher, compiled):
    start = b"#!/bin/sh\nexec /usr/bin/python3 -m awslambdaric index.handler\n"
    return {**package(build.aws_python_client()), "bootstrap": start, "index.py": b"def handler(event, _context):\n    return event\n"}, {
        **PROVIDED, "path": "PYTHONPATH=/var/task"}


def node_of_aws(launcher, compiled):
    start = b"#!/bin/sh\nexec /usr/bin/node /var/task/client/bin/index.mjs index.handler\n"
    files = {f"client/{name}": path for name, path in package(build.aws_node_client()).items()}
    return {**files, "bootstrap": start, "index.js": b"exports.handler = async (event) => event;\n"}, PROVIDED


@pytest.mark.parametrize("program", [static_c, musl_c, dynamic_c, threads_glibc, threads_musl, go, go_with_c, rust, node, python, python_of_aws, node_of_aws])
def test_clones_of_a_function_after_its_init(launcher, compiled, program):
    files, options = program(launcher, compiled)
    options = {"env": [*runtime_api.VARIABLES, "_HANDLER=" + options.get("handler", "bootstrap"), options.get("path", "X=")],
               **{name: value for name, value in options.items() if name not in ("handler", "path")}}
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


def test_all_of_a_vector_register_is_kept(launcher, compiled):
    if " avx " not in pathlib.Path("/proc/cpuinfo").read_text():
        pytest.skip("NOT TESTED: this processor has no AVX")
    code = launcher.add_code({"bootstrap": compiled(PROGRAMS / "vectors.c", "gcc")})
    template = Template(launcher, code, **PROVIDED, env=runtime_api.VARIABLES).captured()
    clone = template.clone()
    assert [clone.invoke({}) for _ in range(2)] == [16, 16]
    clone.kill()
    template.kill()


# ---- what INIT leaves open -------------------------------------------------------------------------------------------

HANDLER = """
import os

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


NODE = """
import http from 'node:http';
import dgram from 'node:dgram';
import net from 'node:net';
import zlib from 'node:zlib';
import fs from 'node:fs/promises';
import crypto from 'node:crypto';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

let ticks = 0;
setInterval(() => ticks++, 1);
const agent = new http.Agent({ keepAlive: true });
async function serve() {
  const server = http.createServer((request, response) => response.end('pong'));
  await new Promise((done) => server.listen(8080, '127.0.0.1', done));
  return server;
}
const ping = () => new Promise((done, fail) => http.get({ port: 8080, host: '127.0.0.1', agent }, (response) => {
  let text = '';
  response.on('data', (piece) => (text += piece)).on('end', () => done(text));
}).on('error', fail));
const first = await serve();
await ping();
await new Promise((done) => { first.closeIdleConnections = () => {}; first.close(done); setTimeout(done, 50); });
const datagrams = dgram.createSocket('udp4');
await new Promise((done) => datagrams.bind(0, '127.0.0.1', done));
const unread = net.connect({ port: 9, host: '198.51.100.1' }).on('error', () => {});
await promisify(zlib.gzip)('x'.repeat(100000));
await promisify(execFile)('/bin/true');
await fs.writeFile('/tmp/kept', 'from init');
const actions = {
  nothing: () => 1,
  random: () => crypto.randomBytes(16).toString('hex'),
  ticks: async () => { const before = ticks; await new Promise((done) => setTimeout(done, 60)); return ticks - before > 5; },
  ping: async () => { const server = await serve(); const text = await ping(); server.closeAllConnections(); server.close(); return text; },
  file: () => fs.readFile('/tmp/kept', 'utf8'),
  child: async () => (await promisify(execFile)('/bin/echo', ['child'])).stdout,
  zip: async () => (await promisify(zlib.gunzip)(await promisify(zlib.gzip)('text'))).toString(),
  datagram: () => new Promise((done) => { datagrams.once('message', (m) => done(m.toString()));
    dgram.createSocket('udp4').send('datagram', datagrams.address().port, '127.0.0.1'); }),
};
export const handler = async (event) => actions[event.do]();
"""


def test_node_goes_on_with_what_its_init_left(launcher):
    options = {**managed(launcher, "nodejs"), "env": [*runtime_api.VARIABLES, "_HANDLER=index.handler"]}
    template = Template(launcher, launcher.add_code({"index.mjs": NODE.encode()}), **options)
    refused, text = template.capture()
    assert not refused and re.fullmatch(r"[1-9] sockets", text), text
    clones = [template.clone() for _ in range(3)]
    expected = {"nothing": 1, "ticks": True, "ping": "pong", "file": "from init", "child": "child\n", "zip": "text", "datagram": "datagram"}
    for do, result in expected.items():
        assert [clone.invoke({"do": do}) for clone in clones] == [result] * 3, do
    assert len({clone.invoke({"do": "random"}) for clone in clones}) == 3
    for clone in clones:
        clone.kill()
    template.kill()


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
datagrams, datagrams_peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
for text in (b"first", b"", b"third"):
    datagrams.send(text)
datagrams_peer.send(b"back")
""")
    assert template.capture() == (0, "")
    for _ in range(2):
        clone = template.clone()
        assert run(clone, "result = [one.recv(99).decode(), other.recv(99).decode(), packets_peer.recv(99).decode()]") == [
            "to one", "to other", "whole"]
        assert run(clone, "result = [one.getblocking(), other.getblocking()]") == [True, False]
        assert run(clone, "result = [datagrams_peer.recv(99).decode() for _ in range(3)] + [datagrams.recv(99).decode()]") == [
            "first", "", "third", "back"]
        assert run(clone, """
result = []
for end in (datagrams, datagrams_peer, packets, packets_peer):
    try:
        end.recv(9, socket.MSG_DONTWAIT)
    except BlockingIOError:
        result.append('nothing')
""") == ["nothing"] * 4
        assert run(clone, "one.send(b'x'); result = other.recv(9).decode()") == "x"
        assert run(clone, """
import threading
async def work():
    return await loop.run_in_executor(None, lambda: 7)
result = loop.run_until_complete(work())
""") == 7
        clone.kill()


def test_counters_and_timers_go_on(probe):
    template = probe("""
import ctypes, os, select, time
libc = ctypes.CDLL(None)
EFD_SEMAPHORE, NONBLOCK = 1, os.O_NONBLOCK
def counter(count, flags):
    fd = libc.eventfd(0, flags | NONBLOCK)
    os.write(fd, count.to_bytes(8, "little"))
    return fd
semaphore, plain, vast = counter(3, EFD_SEMAPHORE), counter(3, 0), counter(1 << 40, 0)
def timer(first, interval):
    fd = libc.timerfd_create(1, NONBLOCK)
    libc.timerfd_settime(fd, 0, (ctypes.c_long * 4)(0, interval, 0, first), None)
    return fd
expired, unread, running = timer(1000000, 0), timer(1000000, 10000000), timer(999999999, 20000000)
poll = select.epoll()
poll.register(expired, select.EPOLLIN)
poll.register(unread, select.EPOLLIN)
time.sleep(0.02)
def read(fd):
    try:
        return int.from_bytes(os.read(fd, 8), "little")
    except BlockingIOError:
        return 0
""")
    assert template.capture() == (0, "")
    for _ in range(2):
        clone = template.clone()
        assert run(clone, "result = [read(semaphore) for _ in range(4)]") == [1, 1, 1, 0]
        assert run(clone, "result = [read(plain), read(plain), read(vast)]") == [3, 0, 1 << 40]
        assert sorted(run(clone, "result = poll.poll(5)")) == sorted([[run(clone, f"result = {name}"), 1] for name in ("expired", "unread")])
        assert run(clone, "result = [read(expired), read(expired)]") == [1, 0]
        assert run(clone, "result = read(unread) > 0") is True
        assert run(clone, "time.sleep(0.05); result = [read(unread) > 0, read(expired)]") == [True, 0], "it has an interval"
        assert run(clone, "time.sleep(1.1); result = read(running) > 0") is True
        clone.kill()


def test_threads_with_high_numbers(probe):
    """Clones draw the numbers of their main threads from there."""
    template = probe("""
import os, threading, time
for _ in range(1200):
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
stay = threading.Event()
threads = [threading.Thread(target=stay.wait, daemon=True) for _ in range(40)]
for thread in threads:
    thread.start()
numbers = [thread.native_id for thread in threads]
assert min(numbers) > 1024
""").captured()
    for _ in range(5):
        clone = template.clone()
        assert run(clone, "result = os.getpid() in numbers") is False
        assert run(clone, "result = sorted(map(int, os.listdir('/proc/self/task'))) == sorted([os.getpid(), *numbers])") is True
        assert run(clone, "stay.set(); [thread.join() for thread in threads]; result = threading.active_count()") == 1
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


def test_other_clients_may_have_connections_to_the_runtime_api_s_address(launcher, probe):
    """As AWS's SDKs have, which ask there for credentials and keep the connection."""
    template = probe("""
import http.client
others = [http.client.HTTPConnection("127.0.0.1", 9001) for _ in range(2)]
for other in others:
    other.request("GET", "/2021-04-23/credentials")
    other.getresponse().read()
silent = http.client.HTTPConnection("127.0.0.1", 9001)
silent.connect()
import time; time.sleep(0.05)
""", others=lambda client: client.answer("200 OK", b"{}"))
    assert template.capture() == (0, "3 sockets")
    for _ in range(2):
        clone = template.clone()
        assert run(clone, "result = 'alive'") == "alive"
        assert run(clone, "result = [list(c.sock.recv(9)) for c in (*others, silent)]") == [[], [], []]
        clone.kill()


REFUSED = {
    "a socket that listens": "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()",
    "a socket with a name of its own": "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0))",
    "one of a pair with much in it": "import socket; a, b = socket.socketpair(); a.send(b'x' * 100)",
    "one of a pair with much in it (socket)": """
import socket
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
for _ in range(4): a.send(b'12345678')
""",
    "one of a pair that is shut down": "import socket; a, b = socket.socketpair(); a.shutdown(socket.SHUT_WR)",
    "a pipe to somebody else": "import os; r, w = os.pipe(); os.close(r)",
    "a pipe with more than two ends": "import os; r, w = os.pipe(); w2 = os.open(f'/proc/self/fd/{w}', os.O_WRONLY)",
    "a pipe of packets": "import os; r, w = os.pipe2(os.O_DIRECT)",
    "a timer that has expired several times": """
import ctypes, time
libc = ctypes.CDLL(None)
timer, now = libc.timerfd_create(1, 0), (ctypes.c_long * 4)()
libc.timerfd_settime(timer, 0, (ctypes.c_long * 4)(0, 1000000, 0, 1000000), None)
time.sleep(0.02)
libc.timerfd_gettime(timer, now)
""",
    "differ in identity or processors": "import os, threading; threading.Thread(target=lambda: (os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]), "
                                        "threading.Event().wait()), daemon=True).start()",
    "differ in priority": "import ctypes, threading; threading.Thread(target=lambda: (ctypes.CDLL(None).setpriority(0, 0, 5), "
                          "threading.Event().wait()), daemon=True).start()",
    "pidfd": "import ctypes, os; fd = ctypes.CDLL(None).syscall(434, os.getpid(), 0); assert fd > 0",
    "a pipe with much in it": "import os; r, w = os.pipe(); os.write(w, b'x' * 100)",
    "a deleted file": "import tempfile; f = tempfile.TemporaryFile()",
    "a locked file": "import fcntl; f = open('/tmp/lock', 'w'); fcntl.flock(f, fcntl.LOCK_EX)",
    "nothing that can be opened again": "import os; f = os.open('/var/task', os.O_RDONLY)",
    "nothing that can be opened again (/proc/": "f = open('/proc/self/oom_score_adj', 'w')",
    "child processes": "import subprocess; p = subprocess.Popen(['/bin/sleep', '1000'])",
    "POSIX timer": """
import ctypes
libc = ctypes.CDLL(None)
timer = ctypes.c_void_p()
assert libc.syscall(222, 1, None, ctypes.byref(timer)) == 0
""",
    "interval timer": "import signal; signal.setitimer(signal.ITIMER_REAL, 1000)",
    "a signal is pending": "import os, signal; signal.pthread_sigmask(0, [10]); os.kill(os.getpid(), 10)",
    "shares writable memory (/dev/zero": "import mmap; m = mmap.mmap(-1, 4096)",
    # What mprotect() can make writable later.
    "shares writable memory": "import mmap; m = mmap.mmap(-1, 4096, prot=mmap.PROT_READ)",
    "shares writable memory (/tmp/file": "import mmap; f = open('/tmp/file', 'w+b'); f.truncate(4096); m = mmap.mmap(f.fileno(), 4096, prot=mmap.PROT_READ)",
    "shares the memory of a file in /tmp (/tmp/file": """
import mmap
open("/tmp/file", "wb").write(b"x")
f = open("/tmp/file", "rb")
m = mmap.mmap(f.fileno(), 1, prot=mmap.PROT_READ)
""",
    "shared memory of System V": "import ctypes; assert ctypes.CDLL(None).shmget(0, 4096, 0o600) >= 0",
    "semaphores of System V": "import ctypes; assert ctypes.CDLL(None).semget(0, 1, 0o600) >= 0",
    "message queue of System V": "import ctypes; assert ctypes.CDLL(None).msgget(0, 0o600) >= 0",
    "it has a POSIX message queue": "import ctypes, os; fd = ctypes.CDLL(None).syscall(240, b'.q', 0o102, 0o600, None); os.close(fd)",
    "is a POSIX message queue": "import ctypes; fd = ctypes.CDLL(None).syscall(240, b'q', 0o102, 0o600, None); ctypes.CDLL(None).syscall(241, b'q')",
    "more than 64 threads": "import threading, time; [threading.Thread(target=time.sleep, args=(1000,), daemon=True).start() for _ in range(64)]",
    "come to rest": "import threading\ndef spin():\n    while True: pass\nthreading.Thread(target=spin, daemon=True).start()",
    "descriptor 1000": "import os; os.dup2(0, 1000)",
    "signalfd": "import ctypes; fd = ctypes.CDLL(None).signalfd(-1, ctypes.byref(ctypes.c_ulong(1)), 0)",
    "inotify": "import ctypes; fd = ctypes.CDLL(None).inotify_init()",
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_refused_is_told_and_the_function_goes_on(probe, reason):
    template = probe(REFUSED[reason] + "\n")
    time.sleep(0.2)  # its main thread waits for the answer by then, and for no lock of the interpreter
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


# Writes when it sees that the others are held: what lies in /tmp has been looked at by then.
LATE = """
import os, threading, time
wrote = False
def is_held():
    with open(f"/proc/self/task/{os.getpid()}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] == "t"
def spin():
    global wrote
    while not is_held():
        again = time.monotonic() + 0.01
        while time.monotonic() < again:
            pass
    WRITE
    wrote = True
    threading.Event().wait()
threading.Thread(target=spin, daemon=True).start()
"""


def test_what_is_written_into_tmp_at_the_last_moment_is_copied(probe):
    wrote = False
    for _ in range(10):
        template = probe(LATE.replace("WRITE", "open('/tmp/late', 'w').write('x' * 5000)"))
        refused, text = template.capture()
        if refused:
            assert "/proc/" in text, text
            continue
        for clone in [template.clone() for _ in range(2)]:
            wrote = run(clone, "result = wrote")
            assert run(clone, "result = [os.path.getsize('/tmp/' + name) for name in os.listdir('/tmp')]") == ([5000] if wrote else [])
            clone.kill()
        if wrote:
            return
    pytest.fail("it was never seen while it ran")


def test_what_comes_into_tmp_at_the_last_moment_and_cannot_be_copied_is_told(launcher, probe):
    for _ in range(10):
        template = probe(LATE.replace("WRITE", "os.mkfifo('/tmp/pipe')"))
        refused, text = template.capture()
        if not refused:
            clone = template.clone()
            assert run(clone, "result = [wrote, os.listdir('/tmp')]") == [False, []]
            clone.kill()
        elif "/proc/" not in text:
            assert "pipe, socket or device" in text
            message = launcher.receive(template.environment.env_id)
            assert message.type == driver.EXITED, message
            return
    pytest.fail("it was never seen while it ran")


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


# ---- attacks ---------------------------------------------------------------------------------------------------------

SYSCALLS = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    return -ctypes.get_errno() if libc.syscall(number, *[ctypes.c_long(a) for a in arguments]) < 0 else 0
def attack():
    memory = ctypes.create_string_buffer(256)
    at = ctypes.addressof(memory)
    found = {}
    for name, flag in (("user", 0x10000000), ("pid", 0x20000000), ("net", 0x40000000), ("mnt", 0x20000), ("ipc", 0x8000000), ("uts", 0x4000000)):
        found["unshare " + name] = call(272, flag)
        found["clone " + name] = call(56, flag | 17, 0, 0, 0, 0)
    namespace = os.open("/proc/self/ns/uts", os.O_RDONLY)
    for guess in (0, 1, -1, 0x0123456789abcdef, at):
        found[f"clone3 {guess == at or guess}"] = call(435, at, 88, 0, 0, guess, guess)
        found[f"setns {guess == at or guess}"] = call(308, namespace, 0, 0, 0, guess, guess)
        found[f"seccomp {guess == at or guess}"] = call(317, 1, 0, at, 0, guess, guess)
        found[f"prctl {guess == at or guess}"] = call(157, 24, 1, 0, 0, guess, guess)
    os.close(namespace)
    for name, number, *arguments in (
            ("ptrace init", 101, 16, 1, 0, 0), ("ptrace seize", 101, 0x4206, 1, 0, 0), ("process_vm_readv", 310, 1, at, 1, at, 1, 0),
            ("process_vm_writev", 311, 1, at, 1, at, 1, 0), ("pidfd_getfd", 438, 0, 0, 0), ("kcmp", 312, 1, 1, 0, 0, 0),
            ("bpf", 321, 0, at, 64), ("userfaultfd", 323, 0), ("io_uring_setup", 425, 8, at), ("io_setup", 206, 8, at),
            ("io_submit", 209, 0, 1, at), ("mount", 165, 0, at, 0, 0, 0), ("open_tree", 428, -100, at, 1), ("pivot_root", 155, at, at),
            ("vmsplice", 278, 1, at, 1, 0), ("memfd_secret", 447, 0), ("syscall user dispatch", 157, 59, 1, 0, 0, 0), ("PR_SET_MM", 157, 35, 1, 0, 0, 0),
            ("setuid 0", 105, 0), ("capset", 126, at, at), ("personality", 135, 0x40000)):
        found[name] = call(number, *arguments)
    try:
        open("/proc/1/mem", "rb")
        found["memory of init"] = 0
    except OSError as error:
        found["memory of init"] = -error.errno
    return found
during_init = attack()
"""


def test_attacks_meet_the_same_refusals_in_init_in_a_clone_and_in_any_environment(launcher, probe):
    template = probe(SYSCALLS).captured()
    clone = template.clone()
    ordinary = runtime_api.park(launcher.start(template.code, **template.options)).restore()
    seen = [run(function, f"result = {what}") for function, what in
            ((ordinary, "during_init"), (ordinary, "attack()"), (clone, "during_init"), (clone, "attack()"))]
    assert all(result < 0 for result in seen[0].values()), seen[0]
    assert seen[1:] == seen[:1] * 3
    for function in (clone, ordinary):
        function.kill()


RSEQ = """
import ctypes, struct, threading, time
libc = ctypes.CDLL(None, use_errno=True)
pointer = ctypes.c_ulong()
libc.syscall(158, 0x1003, ctypes.byref(pointer))
rseq = pointer.value + ctypes.c_long.in_dll(libc, "__rseq_offset").value
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
code = libc.mmap(0x10000000, 4096, 7, 0x32, -1, 0)
section, message = code + 256, code + 512
said = b"RSEQ: user code runs in place of the restorer\\n"
# The signature, then: arm it again, say it, exit. Its own section is all that mmap() gives out.
program = (b"\\x53\\x30\\x05\\x53" + b"\\x48\\xb9" + struct.pack("<Q", rseq + 8) + b"\\x49\\xbb" + struct.pack("<Q", section)
           + b"\\x4c\\x89\\x19\\x0f\\x05\\xb8\\x01\\0\\0\\0\\xbf\\x02\\0\\0\\0\\x48\\xbe" + struct.pack("<Q", message) + b"\\xba"
           + struct.pack("<I", len(said)) + b"\\x0f\\x05\\xb8\\xe7\\0\\0\\0\\x0f\\x05")
ctypes.memmove(code, program, len(program))
ctypes.memmove(message, said, len(said))
ctypes.memmove(section, struct.pack("<IIQQQ", 0, 0, 0x700000000000, 0x0fff00000000, code + 4), 32)
def arm():
    time.sleep(0.2)
    ctypes.c_ulong.from_address(rseq + 8).value = section
    time.sleep(1000)
threading.Thread(target=arm, daemon=True).start()
"""


def test_a_restartable_sequence_aimed_at_the_restorer_does_nothing(probe):
    if not hasattr(__import__("ctypes").CDLL(None), "__rseq_offset"):
        pytest.skip("NOT TESTED: this C library registers no restartable sequences")
    template = probe(RSEQ)
    time.sleep(0.4)
    refused, text = template.capture()
    if not refused:
        clone = template.clone()
        assert run(clone, "result = 'alive'") == "alive"
        assert b"RSEQ" not in clone.environment.read_log(0.2)
        clone.kill()
    assert b"RSEQ" not in template.environment.read_log(0.2), text


def image_memory(template):
    """(pid, addresses) of the image of a template: the restorer's code and data are its last two mappings of their kind."""
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if (process / "fd/900").is_symlink() and "python" in (process / "exe").readlink().name and \
                    (process / "ns/pid").readlink() == pathlib.Path(f"/proc/{init_of(template.environment)}/ns/pid").readlink():
                return int(process.name)
        except OSError:
            pass
    raise LookupError("no image")


def init_of(environment):
    for line in pathlib.Path(f"/proc/self/fdinfo/{environment.pidfd}").read_text().splitlines():
        if line.startswith("Pid:"):
            return int(line.split()[1])
    raise LookupError("no init")


def restorer_of(template):
    """(pid of the image, begin and end of the restorer's code and data in it)"""
    pid = image_memory(template)
    areas = [line.split() for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()]
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for one, other in zip(areas, areas[1:], strict=False):
            (begin, middle), (after, end) = ([int(text, 16) for text in area[0].split("-")] for area in (one, other))
            if middle == after and one[1] == "r-xp" and other[1] == "rw-p" and len(one) == len(other) == 5:
                memory.seek(middle + 16)
                if struct.unpack("<I", memory.read(4)) == (3,):  # TEMPLATE_FORMAT
                    return pid, begin, end
    raise LookupError("no restorer")


def secret_of(template):
    """As root may read it in the image: the first 16 bytes behind the restorer's code."""
    pid, begin, _ = restorer_of(template)
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        if line.startswith(f"{begin:x}-"):
            with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
                memory.seek(int(line.split()[0].split("-")[1], 16))
                return memory.read(16)
    raise LookupError("no secret")


AIMED = """
import ctypes, threading, time
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
def aim():
    time.sleep(0.2)
    at = libc.mmap(None, SIZE, 3, 0x22, -1, 0) # where the next mapping of this size will be, too
    libc.munmap(at, SIZE)
    libc.syscall(218, ctypes.c_void_p(at + SIZE // 2))
    time.sleep(1000)
threading.Thread(target=aim, daemon=True).start()
"""


def test_the_address_of_a_thread_s_id_may_not_lie_in_the_restorer(probe):
    """The kernel writes there in every clone while that still has rights."""
    _, begin, end = restorer_of(probe("").captured())
    template = probe(AIMED.replace("SIZE", str(end - begin)))
    time.sleep(0.4)
    refused, text = template.capture()
    assert refused == 1 and "not its own" in text, text


def memory_of(pid):
    """All that a process could read of itself, area by area."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
            begin, end = (int(text, 16) for text in line.split()[0].split("-"))
            if line.split()[1][0] == "r" and "[v" not in line:
                memory.seek(begin)
                yield line, memory.read(end - begin)


def test_no_clone_holds_the_secret_of_its_template(probe):
    template = probe("needle = b'irori-needle'\n").captured()
    secret = secret_of(template)
    clone = template.clone()
    pid = host_pid(run(clone, "result = os.getpid()"))
    for half in (secret[:8], secret[8:]):
        assert [line for line, content in memory_of(pid) if half in content] == []
    assert any(b"irori-needle" in content for _, content in memory_of(pid))
    clone.kill()


def test_a_process_that_shares_the_memory_and_is_no_thread_is_refused(probe):
    template = probe("""
import ctypes
libc = ctypes.CDLL(None)
stack = ctypes.create_string_buffer(65536)
CLONE_VM = 0x100
pause = ctypes.cast(libc.pause, ctypes.c_void_p)
assert libc.clone(pause, ctypes.c_void_p(ctypes.addressof(stack) + 65536 - 16), CLONE_VM | 17, None) > 0
""")
    refused, text = template.capture()
    assert refused == 1 and "child processes" in text, text


def test_a_thread_that_changes_the_memory_map_all_the_time_is_harmless(probe):
    template = probe("""
import ctypes, threading
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
rounds = 0
def change():
    global rounds
    while True:
        at = libc.mmap(None, 1 << 20, 3, 0x22, -1, 0)
        ctypes.memset(at, 7, 4096)
        libc.munmap(at, 1 << 20)
        rounds += 1
threading.Thread(target=change, daemon=True).start()
""")
    refused, text = template.capture()
    if refused:
        assert "come to rest" in text, text
        assert run(template.function.restore(), "result = 'alive'") == "alive"
        return
    for _ in range(5):
        clone = template.clone()
        before = run(clone, "result = rounds")
        time.sleep(0.1)
        assert run(clone, "result = rounds") > before
        clone.kill()


def test_limits_that_a_function_gives_itself_hold_in_clones(probe):
    template = probe("""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (50, 1000))
resource.setrlimit(resource.RLIMIT_NPROC, (40, 41))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
""").captured()
    clone = template.clone()
    assert run(clone, "result = [resource.getrlimit(r) for r in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE)]") == [
        [50, 1000], [40, 41], [0, 0]]
    assert run(clone, """
import os
result = 0
try:
    while True:
        os.dup(0)
except OSError as error:
    result = error.errno
""") == 24
    clone.kill()


def test_few_descriptors_are_no_way_to_stop_the_restorer(probe):
    template = probe("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (50, 60))\n")
    refused, text = template.capture()
    if refused:  # where the launcher may not raise the highest limit of others
        assert "descriptors above 60" in text
    function = template.function.restore() if refused else template.clone()
    assert run(function, "import resource; result = resource.getrlimit(resource.RLIMIT_NOFILE)") == [50, 60]


# ---- a clone looks like any environment ------------------------------------------------------------------------------

LOOK = """
import os, threading, time
for name in ("first", "second", "third"):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True, name=name).start()
KEPT = ("Name", "Umask", "Uid", "Gid", "Groups", "Kthread", "CoreDumping", "THP_enabled", "untag_mask", "Threads", "SigPnd", "ShdPnd",
        "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters",
        "Speculation_Store_Bypass", "SpeculationIndirectBranch", "Cpus_allowed", "Mems_allowed_list", "x86_Thread_features", "TracerPid", "Ngid")
def look():
    found = []
    for tid in sorted(os.listdir("/proc/self/task"), key=int):
        folder = "/proc/self/task/" + tid + "/"
        status = dict(line.split(":\\t", 1) for line in open(folder + "status").read().splitlines() if ":\\t" in line)
        seen = {name: status.get(name) for name in KEPT}
        for file in ("limits", "oom_score_adj", "cgroup", "comm", "timerslack_ns", "attr/current", "uid_map", "setgroups", "loginuid", "coredump_filter"):
            try:
                seen[file] = open(folder + file).read()
            except OSError as error:
                seen[file] = error.errno
        seen["uid_map"] = seen["uid_map"] and seen["uid_map"].split()[0]
        seen["stat"] = open(folder + "stat").read().rsplit(")", 1)[1].split()[15:17]  # priority and nice value
        seen["policy"] = os.sched_getscheduler(int(tid))
        seen["processors"] = sorted(os.sched_getaffinity(int(tid)))
        found.append(seen)
    return found
"""


def test_every_thread_of_a_clone_looks_as_in_an_ordinary_environment(launcher, probe):
    template = probe(LOOK).captured()
    clone = template.clone()
    ordinary = runtime_api.park(launcher.start(template.code, **template.options)).restore()
    seen = [run(function, "result = look()") for function in (ordinary, clone)]
    assert len(seen[0]) == 4
    for own, other in zip(*seen, strict=True):
        assert own == other
    for function in (clone, ordinary):
        function.kill()


def test_identities_within_a_clone_agree(probe):
    template = probe("import os, threading, ctypes\nlibc = ctypes.CDLL(None)\n").captured()
    clones = [template.clone() for _ in range(3)]
    pids = [run(clone, "result = os.getpid()") for clone in clones]
    assert len(set(pids)) == 3
    for clone, pid in zip(clones, pids, strict=True):
        assert run(clone, "result = [libc.getpid(), libc.gettid(), int(os.readlink('/proc/self')), os.getsid(0), os.getpgid(0)]") == [pid] * 5
        # Its parent is outside: the init of its template.
        assert run(clone, "result = os.getppid()") == 0
        assert run(clone, "import subprocess; result = subprocess.run(['/bin/sh', '-c', 'echo $PPID'], capture_output=True, text=True).stdout") == f"{pid}\n"
        assert run(clone, "pid = os.fork() or os._exit(7); result = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])") == 7
    for clone in clones:
        clone.kill()
