"""What Python's parts need of the kernel, for every version from 3.9. Prints "ok" when all of it worked."""
import asyncio
import concurrent.futures
import ctypes
import fcntl
import http.client
import http.server
import json
import mmap
import multiprocessing
import os
import pathlib
import random
import resource
import select
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="python-"))


def threads():
    lock, total = threading.Lock(), [0]

    def work(n):
        for _ in range(1000):
            with lock:
                total[0] += n

    every = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    [thread.start() for thread in every]
    [thread.join() for thread in every]
    assert total[0] == 28000
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(len, ["a", "bb", "ccc"])) == 6


def square(x):
    return x * x


def child_of_pipe(end):
    end.send(os.getpid())


def processes():
    assert subprocess.run(["/bin/sh", "-c", "echo $((6*7))"], capture_output=True, check=True).stdout == b"42\n"
    assert subprocess.run(["cat"], input=b"x" * 200000, capture_output=True, close_fds=False, check=True).stdout[-1:] == b"x"
    assert subprocess.run(["true"], preexec_fn=os.setsid, check=True).returncode == 0
    pid = os.posix_spawn("/bin/true", ["true"], {})
    assert os.waitpid(pid, 0)[1] == 0
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        here, there = context.Pipe()
        process = context.Process(target=child_of_pipe, args=(there,))
        process.start()
        assert here.recv() == process.pid
        process.join()
        assert process.exitcode == 0
    try:
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(square, range(10))[9] == 81
    except OSError as error:  # no /dev/shm: as in Lambda
        assert not os.path.isdir("/dev/shm"), error


def event_loop():
    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"line\n")
        assert await reader.readline() == b"line\n"
        writer.close()
        server.close()
        process = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert (await process.communicate(b"sub"))[0] == b"sub"
        assert await asyncio.get_running_loop().run_in_executor(None, square, 7) == 49

    async def echo(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    asyncio.run(main())


def secure_sockets():
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        assert outgoing.pending > 100
    assert len(ssl.RAND_bytes(16)) == 16


def databases():
    database = sqlite3.connect(str(FOLDER / "data.db"))
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("create table t (a, b)")
    with database:
        database.executemany("insert into t values (?, ?)", [(i, str(i)) for i in range(1000)])
    assert database.execute("select sum(a) from t").fetchone() == (499500,)
    database.close()


def foreign_code():
    libc = ctypes.CDLL(None, use_errno=True)
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    values = (ctypes.c_int * 5)(5, 1, 4, 2, 3)
    libc.qsort(values, 5, 4, compare(lambda a, b: a[0] - b[0]))  # a callback: memory that is written, then run
    assert list(values) == [1, 2, 3, 4, 5]
    assert libc.unshare(0x10000000) == -1 and ctypes.get_errno() == 1


def files():
    (FOLDER / "a").write_bytes(b"x" * 100000)
    shutil.copy2(FOLDER / "a", FOLDER / "b")
    shutil.move(str(FOLDER / "b"), str(FOLDER / "c"))
    os.mkfifo(FOLDER / "fifo")
    os.symlink("a", FOLDER / "link")
    os.chown(FOLDER / "a", -1, -1)
    os.setxattr(FOLDER / "a", "user.note", b"1") if os.access("/proc/self/fd", os.X_OK) and xattrs_work() else None
    with open(FOLDER / "a", "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.lockf(file, fcntl.LOCK_EX)
        os.posix_fallocate(file.fileno(), 0, 200000)
        with mmap.mmap(file.fileno(), 0) as view:
            view[0:5] = b"hello"
            view.flush()
    with tarfile.open(FOLDER / "t.tar.gz", "w:gz") as archive:
        archive.add(FOLDER / "a", "a")
    with tarfile.open(FOLDER / "t.tar.gz") as archive:
        archive.extractall(FOLDER / "out")
    assert (FOLDER / "out/a").read_bytes()[:5] == b"hello"
    assert os.memfd_create("x") > 2 and shutil.disk_usage(FOLDER).total > 0
    os.sync()


def xattrs_work():
    try:
        os.setxattr(FOLDER / "a", "user.probe", b"1")
    except OSError as error:
        assert error.errno == 95, error  # the file system has none
        return False
    return True


def networking():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    connection = http.client.HTTPConnection(*server.server_address)
    connection.request("GET", "/proc-nothing")
    assert connection.getresponse().status == 404
    server.shutdown()
    assert socket.if_nameindex()
    assert socket.getaddrinfo("localhost", 80)
    one, two = socket.socketpair()
    socket.send_fds(one, [b"x"], [0])
    assert len(socket.recv_fds(two, 1, 1)[1]) == 1
    poll = select.epoll()
    poll.register(two, select.EPOLLIN)
    one.send(b"y")
    assert poll.poll(1)
    for family, kind in ((socket.AF_PACKET, socket.SOCK_RAW), (socket.AF_INET, socket.SOCK_RAW)):
        try:
            socket.socket(family, kind)
        except PermissionError:
            continue
        raise AssertionError("a raw socket")


def process_itself():
    resource.setrlimit(resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))
    os.sched_setaffinity(0, os.sched_getaffinity(0))
    os.nice(1)
    os.getrandom(16)
    hits = []
    signal.signal(signal.SIGALRM, lambda *_: hits.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    time.sleep(0.1)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    os.kill(os.getpid(), signal.SIGUSR1)
    assert signal.sigtimedwait([signal.SIGUSR1], 1).si_signo == signal.SIGUSR1
    assert hits and random.SystemRandom().random() >= 0
    os.close(os.pidfd_open(os.getpid()))


if __name__ == "__main__":
    os.chdir(FOLDER)
    for part in (threads, processes, event_loop, secure_sockets, databases, foreign_code, files, networking, process_itself):
        try:
            part()
        except BaseException:
            print(part.__name__, file=sys.stderr)
            raise
    os.chdir("/")
    shutil.rmtree(FOLDER)
    print(json.dumps("ok").strip('"'))
