"""Speaks the wire protocol (src/wire/wire.h) to a real irori-launcher, as irorid does. Needs root."""
import array
import hashlib
import os
import pathlib
import select
import shutil
import socket
import struct
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
START, RESTART, FREEZE, THAW, CPU, KILL, STOP, CAPTURE = range(1, 9)
READY, STARTED, FAILED, EXITED, GONE, CAPTURED = range(32, 38)
FAIL_SYSTEM, FAIL_NO_SLOT, FAIL_NO_RUNTIME, FAIL_NO_CODE, FAIL_INVALID, FAIL_TEMPLATE = range(6)
PARKED = START_TEMPLATE = 1
NUMBER, START_PART, EXITED_PART, TEXT = 1, 2, 4, 8
PARTS = {START: START_PART, RESTART: START_PART, FREEZE: 0, THAW: 0, CPU: NUMBER, KILL: 0,
         STOP: 0, CAPTURE: 0, READY: TEXT, STARTED: NUMBER, FAILED: NUMBER | TEXT, EXITED: EXITED_PART | TEXT, GONE: 0,
         CAPTURED: NUMBER | TEXT}


# Two runs on one machine at once need different ones.
UID_BASE = int(os.environ.get("IRORI_UID_BASE", 700000))


def instance_of_run(name):
    """A test's instance, under another name in a run with other user ids."""
    return name if UID_BASE == 700000 else f"p{UID_BASE // 1000:05}"[-6:] + name[-2:]


def build_dir():
    return pathlib.Path(os.environ.get("IRORI_BUILD", ROOT / "build"))


# As for tests/e2e: how much slower than usual the machine is.
SLOW = float(os.environ.get("IRORI_SLOW") or os.environ.get("TIMEOUT_MULTIPLIER") or "1")


def readable(fd, timeout):
    """select() that does not mind many descriptors."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(max(0, timeout * 1000)))


def text(value):
    raw = value.encode()
    return struct.pack("<I", len(raw)) + raw + b"\0"


def encode(kind, env_id, number=None, start=None):
    body = b""
    if number is not None:
        body += struct.pack("<Q", number)
    if start is not None:
        body += struct.pack("<7IQ", start["uid"], start["memory"], start["tmp"], start["cpu"], len(start["argv"]),
                            len(start["env"]), start.get("flags", 0), start.get("template", 0))
        for item in [start["runtime"], start["code"], start["hostname"], *start["argv"], *start["env"]]:
            body += text(item)
    return struct.pack("<BBHIQ", 1, kind, 0, 16 + len(body), env_id) + body


class Message:
    def __init__(self, packet, fds):
        _, self.type, _, _, self.env_id = struct.unpack_from("<BBHIQ", packet)
        self.fds, at, parts = fds, 16, PARTS[self.type]
        self.text = ""
        if parts & NUMBER:
            (self.number,) = struct.unpack_from("<Q", packet, at)
            at += 8
        if parts & EXITED_PART:
            self.kind, self.value, self.oom = struct.unpack_from("<IiI", packet, at)
            at += 12
        if parts & TEXT:
            (length,) = struct.unpack_from("<I", packet, at)
            self.text = packet[at + 4:at + 4 + length].decode()

    def __repr__(self):
        return f"<{ {k: v for k, v in vars(self).items()} }>"


class Environment:
    """One started environment: what irorid would hold of it."""

    def __init__(self, launcher, env_id, message):
        self.launcher, self.env_id = launcher, env_id
        self.adopt(message)

    def adopt(self, message):
        listener, self.log, self.pidfd, self.usage, self.stat, self.peak = message.fds[:6]
        self.listener = socket.socket(fileno=listener)
        self.connection = socket.socket(fileno=message.fds[6]) if message.number & PARKED else None
        for peer in message.fds[7:]:
            os.close(peer)
        self.parked = bool(message.number & PARKED)

    def hello(self, timeout=10):
        """Accepts the bootstrap's connection and waits for its first bytes."""
        deadline = time.monotonic() + timeout * SLOW
        while True:
            try:
                self.connection, _ = self.listener.accept()
                break
            except BlockingIOError:
                if not readable(self.listener, deadline - time.monotonic()):
                    raise TimeoutError(f"no connection; log: {self.read_log()!r}") from None
        self.connection.settimeout(timeout * SLOW)
        assert self.connection.recv(6) == b"hello\n"
        return self

    def send(self, command):
        self.connection.sendall(command.encode() + b"\n")

    def ask(self, command, timeout=60):
        self.connection.settimeout(timeout * SLOW)
        self.send(command)
        answer = b""
        while not answer.endswith(b"\n\x04"):
            piece = self.connection.recv(65536)
            if not piece:
                raise EOFError(answer)
            answer += piece
        return answer[:-2].decode()

    def read_log(self, wait=0.0):
        if wait:
            readable(self.log, wait)
        try:
            return os.read(self.log, 65536)
        except BlockingIOError:
            return b""

    def memory(self):
        return int(os.pread(self.usage, 32, 0))

    def peak_memory(self):
        return int(os.pread(self.peak, 32, 0))

    def close(self):
        if self.connection:
            self.connection.close()
        self.listener.close()
        for fd in (self.log, self.pidfd, self.usage, self.stat, self.peak):
            os.close(fd)

    def kill(self, timeout=10):
        self.launcher.send(KILL, self.env_id)
        message = self.launcher.receive(self.env_id, timeout)
        while message.type != GONE:
            message = self.launcher.receive(self.env_id, timeout)
        self.close()


class Launcher:
    def __init__(self, data, instance="testtest", spare=4, extra=(), uid_base=UID_BASE, share=None, wait=True,
                 preexec=None):
        instance = instance_of_run(instance)
        self.data, self.instance, self.uid_base = pathlib.Path(data), instance, uid_base
        self.share = pathlib.Path(share or ROOT / "share")
        self.data.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reader, self.life = os.pipe()
        data_fd = os.open(self.data, os.O_RDONLY | os.O_DIRECTORY)
        self.log_path = self.data / "launcher.log"
        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            [str(build_dir() / "irori-launcher"), f"--data-fd={data_fd}", f"--wire-fd={theirs.fileno()}",
             f"--supervisor-fd={reader}", f"--instance={instance}", f"--uid-base={uid_base}",
             f"--share={self.share}", f"--spare-slots={spare}", *extra],
            pass_fds=(data_fd, theirs.fileno(), reader), stderr=open(self.log_path, "ab"), stdin=subprocess.DEVNULL,
            preexec_fn=preexec)
        theirs.close()
        os.close(reader)
        os.close(data_fd)
        self.socket, self.inbox, self.next_id = ours, [], 0
        self.ready = None
        if wait:
            self.ready = self.receive(0, 30)
            self.ready_after = time.monotonic() - self.begun

    def send(self, kind, env_id, **parts):
        self.socket.send(encode(kind, env_id, **parts))

    def receive(self, env_id, timeout=10):
        """The next message about that environment."""
        deadline = time.monotonic() + timeout * SLOW
        while True:
            for at, message in enumerate(self.inbox):
                if message.env_id == env_id:
                    return self.inbox.pop(at)
            left = deadline - time.monotonic()
            if left <= 0 or not readable(self.socket, left):
                raise TimeoutError(f"no message about {env_id}; launcher said:\n{self.log()}")
            packet, ancillary, _, _ = self.socket.recvmsg(131072, socket.CMSG_SPACE(64))
            if not packet:
                raise EOFError(f"launcher ended:\n{self.log()}")
            fds = array.array("i")
            for _, kind, content in ancillary:
                if kind == socket.SCM_RIGHTS:
                    fds.frombytes(content[:len(content) - len(content) % fds.itemsize])
            self.inbox.append(Message(packet, list(fds)))

    def add_code(self, files):
        """files: name -> bytes or Path. Returns the code's hash."""
        blobs = {name: (pathlib.Path(content).read_bytes() if isinstance(content, pathlib.Path) else content)
                 for name, content in files.items()}
        digest = hashlib.sha256(repr(sorted((n, hashlib.sha256(b).hexdigest()) for n, b in blobs.items())).encode()).hexdigest()
        folder = self.data / "code" / digest
        if not folder.exists():
            folder.mkdir(parents=True)
            for name, content in blobs.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                path.chmod(0o755)
        return digest

    def start_options(self, code, **options):
        start = {"uid": 7, "memory": 128, "tmp": 512, "cpu": 0, "runtime": "provided.al2023", "code": code,
                 "hostname": "irori-test", "argv": ["/var/task/bootstrap"], "env": ["LANG=en_US.UTF-8", "TEST=1"]}
        start.update(options)
        return start

    def start_raw(self, code, **options):
        self.next_id += 1
        self.send(START, self.next_id, start=self.start_options(code, **options))
        return self.next_id

    def start(self, code, timeout=10, **options):
        env_id = self.start_raw(code, **options)
        message = self.receive(env_id, timeout)
        assert message.type == STARTED, message
        return Environment(self, env_id, message)

    def restart(self, environment, code, timeout=10, **options):
        self.send(RESTART, environment.env_id, start=self.start_options(code, **options))
        environment.close()
        message = self.receive(environment.env_id, timeout)
        if message.type == EXITED:  # crossed the RESTART
            message = self.receive(environment.env_id, timeout)
        assert message.type == STARTED, message
        environment.adopt(message)
        return environment

    def log(self):
        return self.log_path.read_text(errors="replace")

    def stop(self, timeout=10):
        """The clean way: irorid's end closes. Returns the exit status."""
        self.socket.close()
        os.close(self.life)
        self.life = -1
        return self.process.wait(timeout * SLOW)

    def kill9(self):
        self.process.kill()
        self.process.wait()
        self.socket.close()
        os.close(self.life)
        self.life = -1


def traces(instance, data):
    """Whatever of an instance is left on the machine."""
    instance, found = instance_of_run(instance), []
    for base, folders, _ in os.walk("/sys/fs/cgroup"):
        found += [os.path.join(base, name) for name in folders if name == f"irori-{instance}"]
        if base.count("/") > 4:
            folders.clear()
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    found += [line for line in links.splitlines() if instance in line]
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False).stdout
    found += [line for line in tables.splitlines() if instance in line]
    mounts = pathlib.Path("/proc/self/mountinfo").read_text()
    found += [line for line in mounts.splitlines() if str(data) in line]
    for loop in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            if str(data) in loop.read_text():
                found.append(str(loop))
        except OSError:
            pass
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            name = (process / "comm").read_text().strip()
            status = (process / "status").read_text()
            command = (process / "cmdline").read_bytes().decode(errors="replace")
            groups = (process / "cgroup").read_text()
        except OSError:
            continue
        if "State:\tZ" in status:
            continue
        if f"--instance={instance}" in command or f"/irori-{instance}" in groups:
            found.append(f"process {process.name} {name} {command}")
    scratch = pathlib.Path(data) / "scratch"
    if scratch.exists():
        found += [str(path) for path in scratch.iterdir()]
    return found


def compile_bootstrap(folder):
    out = pathlib.Path(folder) / "bootstrap"
    compiler = "musl-gcc" if shutil.which("musl-gcc") else "gcc"
    subprocess.run([compiler, "-static", "-O2", "-w", "-D_GNU_SOURCE", "-o", str(out),
                    str(pathlib.Path(__file__).parent / "bootstrap.c")], check=True)
    return out
