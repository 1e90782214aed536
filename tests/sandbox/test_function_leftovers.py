"""What the INIT of a function leaves open, in clones of its template: what they get, and what is refused."""
import os
import re
import time

import driver
import pytest
import runtime_api
from function_template import Template, managed, run

pytestmark = [pytest.mark.skipif(os.geteuid() != 0 or os.uname().machine != "x86_64", reason="needs root and an x86-64 processor"),
              pytest.mark.timeout(120 * driver.SLOW)]

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
