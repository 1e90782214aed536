"""Attempts to leave the sandbox. Each returns {"stopped": bool, "detail": ...}; the test asserts on both sides."""

import ctypes
import errno
import os
import resource
import signal
import socket
import stat
import sys
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)


def verdict(stopped, detail):
    return {"stopped": bool(stopped), "detail": detail}


def refusals(paths, action):
    """Runs action(path) for each; stopped when each raised OSError."""
    done, refused = {}, {}
    for path in paths:
        try:
            done[path] = repr(action(path))[:200]
        except OSError as error:
            refused[path] = errno.errorcode.get(error.errno, str(error.errno))
    return verdict(not done, {"succeeded": done, "refused": refused})


def read_some(path):
    if os.path.isdir(path):
        names = os.listdir(path)
        if not names:
            raise OSError(errno.ENODATA, "an empty folder")
        return names
    with open(path, "rb") as file:
        return file.read(64)


# Files

def read_paths(event):
    return refusals(event["paths"], read_some)


def find_names(event):
    """Looks for file names (of other functions, of the host) everywhere, and through every /proc/*/root and cwd."""
    wanted, found, seen = set(event["names"]), [], 0
    roots = ["/"] + [f"/proc/{pid}/{link}" for pid in os.listdir("/proc") if pid.isdigit() for link in ("root", "cwd")]
    for root in roots:
        for folder, names, files in os.walk(root):
            if folder.removeprefix(root).strip("/") in ("proc", "usr/share", "usr/lib", "sys"):
                names.clear()
            if folder.count("/") > 12:
                names.clear()
            seen += 1
            found += [os.path.join(folder, name) for name in wanted.intersection(names + files)]
            if seen > 60000:
                break
    return verdict(not found, {"found": found, "folders": seen})


def write_anywhere(_event):
    """Creates a file in every folder that is not below /proc or /tmp, and opens what exists for writing."""
    wrote = []
    usual = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"}
    for folder, names, files in os.walk("/"):
        if folder == "/":
            names[:] = [name for name in names if name not in ("proc", "tmp")]
        if folder.count("/") > 3:
            names.clear()
        target = os.path.join(folder, "irori-was-here")
        try:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
            wrote.append(target)
        except OSError:
            pass
        if not folder.startswith("/usr"):
            for name in files:
                path = os.path.join(folder, name)
                if path in usual or os.path.islink(path) or path.startswith(("/dev/std", "/dev/fd")):
                    continue
                try:
                    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                    wrote.append(path)
                except OSError:
                    pass
    return verdict(not wrote, wrote)


def write_proc(_event):
    paths = ["/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname",
             "/proc/sys/kernel/panic", "/proc/sys/vm/drop_caches", "/proc/sys/net/ipv4/ip_forward",
             "/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/fs/binfmt_misc/register",
             "/proc/sys/kernel/modprobe", "/proc/sys/user/max_user_namespaces", "/proc/1/oom_score_adj",
             "/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/setgroups", "/proc/1/mem",
             "/proc/irq/0/smp_affinity", "/proc/1/clear_refs"]

    def write(path):
        fd = os.open(path, os.O_WRONLY)
        try:
            return os.write(fd, b"0\n")
        finally:
            os.close(fd)
    return refusals(paths, write)


def lower_oom_score(_event):
    def write(path):
        with open(path, "w", encoding="ascii") as file:
            file.write("-1000")
    return refusals(["/proc/self/oom_score_adj"], write)


def proc_of_init(_event):
    paths = [f"/proc/1/{name}" for name in ("root", "cwd", "exe", "environ", "mem", "maps", "fd", "map_files", "io",
                                             "stack", "syscall", "auxv", "pagemap", "personality", "ns")]

    def reach(path):
        if path.endswith(("root", "cwd", "exe")):
            return os.readlink(path), os.stat(path)
        if path.endswith("mem"):
            with open(path, "rb") as file:
                file.seek(0x400000)
                return file.read(16)
        if path.endswith("ns"):
            return [os.readlink(f"{path}/{name}") for name in os.listdir(path)]
        data = read_some(path)
        if not data:
            raise OSError(errno.ENODATA, "empty")
        return data
    return refusals(paths, reach)


def kernel_secrets(_event):
    """Kernel memory and lists: unreadable, empty, or (symbols) without addresses."""
    told = {}
    for path in ("/proc/kcore", "/proc/keys", "/proc/kallsyms", "/proc/kmsg", "/proc/timer_list", "/proc/sched_debug",
                 "/proc/vmallocinfo", "/proc/slabinfo", "/proc/kpagecount", "/proc/kpageflags", "/proc/iomem", "/dev/mem",
                 "/dev/kmsg", "/dev/port", "/dev/vda", "/dev/sda", "/dev/loop0", "/dev/loop-control", "/dev/kvm",
                 "/dev/fuse", "/dev/net/tun", "/sys/kernel", "/sys/fs/cgroup", "/dev/ptmx", "/dev/shm"):
        try:
            data = read_some(path)
        except OSError:
            continue
        if data and not (path in ("/proc/kallsyms", "/proc/iomem") and data.lstrip().startswith(b"0000000")):
            told[path] = repr(data)[:100]
    return verdict(not told, told)


def make_devices(_event):
    def make(path):
        os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(254, 0))
    result = refusals(["/tmp/block", "/dev/block"], make)
    set_uid = "/tmp/set-uid"
    with open(set_uid, "wb") as file:
        file.write(b"#!/bin/sh\nid -u\n")
    os.chmod(set_uid, 0o6755)
    options = [line.split()[3] for line in open("/proc/mounts", encoding="utf-8") if line.split()[1] == "/tmp"]
    good = bool(options) and "nosuid" in options[-1] and "nodev" in options[-1]
    return verdict(result["stopped"] and good, {**result["detail"], "options of /tmp": options})


def fill_tmp(event):
    """Writes until it is refused; then everything is removed again."""
    written, refused = 0, None
    block = os.urandom(1 << 20)
    try:
        with open("/tmp/fill", "wb", buffering=0) as file:
            while written < event["limit_mb"]:
                if file.write(block) < len(block):
                    continue
                written += 1
    except OSError as error:
        refused = errno.errorcode[error.errno]
    os.unlink("/tmp/fill")
    return verdict(refused == "ENOSPC", {"written_mb": written, "refused": refused})


def fill_inodes(_event):
    made, refused = 0, None
    os.makedirs("/tmp/many", exist_ok=True)
    try:
        while made < 400000:
            os.close(os.open(f"/tmp/many/{made}", os.O_CREAT | os.O_WRONLY))
            made += 1
    except OSError as error:
        refused = errno.errorcode[error.errno]
    return verdict(refused == "ENOSPC", {"made": made, "refused": refused})


# Processes

def see_processes(_event):
    shown = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    shown[name] = file.read(200).replace(b"\0", b" ").decode(errors="replace")
            except OSError as error:
                shown[name] = error.strerror
    mine = os.getpid()
    strangers = [pid for pid in shown if int(pid) not in (1, mine, os.getppid())]
    return verdict(not strangers, shown)


def signal_pids(event):
    """Signals given host pids and everything else; only ourselves and PID 1 exist here."""
    reached = []
    for pid in list(event["pids"]) + list(range(1, 40000)):
        if pid in (os.getpid(), os.getppid(), 1) and pid not in event["pids"]:
            continue
        try:
            os.kill(pid, event.get("signal", 0) if pid in event["pids"] else 0)
            reached.append(pid)
        except OSError:
            pass
    threads = {int(name) for name in os.listdir("/proc/self/task")}
    reached = [pid for pid in reached if pid not in threads]
    return verdict(not reached, reached)


def kill_init(_event):
    """PID 1 ignores what its own namespace sends."""
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGSEGV):
        try:
            os.kill(1, number)
        except OSError:
            pass
    time.sleep(0.2)
    return verdict(os.path.exists("/proc/1"), "PID 1 lives")


def fork_until_refused(_event):
    children, refused = [], None
    try:
        while len(children) < 5000:
            pid = os.fork()
            if pid == 0:
                signal.pause()
            children.append(pid)
    except OSError as error:
        refused = errno.errorcode[error.errno]
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    for pid in children:
        os.waitpid(pid, 0)
    return verdict(refused == "EAGAIN" and len(children) <= 1024, {"children": len(children), "refused": refused})


def threads_until_refused(_event):
    stop, made, refused = threading.Event(), [], None
    threading.stack_size(64 * 1024)
    try:
        while len(made) < 5000:
            thread = threading.Thread(target=stop.wait)
            thread.start()
            made.append(thread)
    except RuntimeError as error:
        refused = str(error)
    stop.set()
    for thread in made:
        thread.join()
    return verdict(refused and len(made) <= 1024, {"threads": len(made), "refused": refused})


def background(event):
    """A daemon that detaches in every way it can and writes the time to /tmp, again and again."""
    if os.fork() == 0:
        os.setsid()
        for number in range(1, 32):
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                try:
                    signal.signal(number, signal.SIG_IGN)
                except (OSError, ValueError):
                    pass
        if os.fork() == 0:
            LIBC.prctl(15, event["marker"].encode()[:15], 0, 0, 0)
            while True:
                with open("/tmp/background", "a", encoding="ascii") as file:
                    file.write(f"{time.time()}\n")
                time.sleep(0.01)
        os._exit(0)
    time.sleep(0.3)
    return verdict(True, "started")


def background_ticks(_event):
    time.sleep(0.2)
    try:
        with open("/tmp/background", encoding="ascii") as file:
            return {"stopped": True, "detail": [float(line) for line in file.read().split("\n") if line]}
    except FileNotFoundError:
        return {"stopped": True, "detail": []}


def tamper_parent(event):
    """Holds the response's descriptor open elsewhere: a child keeps stdout and the Runtime API socket."""
    if os.fork() == 0:
        time.sleep(event["seconds"])
        os._exit(0)
    return verdict(True, "child holds every descriptor")


# Limits

def descriptors(_event):
    opened, refused = [], None
    try:
        while len(opened) < 5000:
            opened.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        refused = errno.errorcode[error.errno]
    for fd in opened:
        os.close(fd)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1] + 1000))
        raised = True
    except (OSError, ValueError):
        raised = False
    return verdict(refused == "EMFILE" and limit == (1024, 1024) and not raised,
                   {"opened": len(opened), "limit": limit, "raised": raised})


def inherited(_event):
    """Descriptors that the runtime was started with, besides the three standard ones and its own socket."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
    odd = {fd: target for fd, target in found.items()
           if int(fd) > 2 and not target.startswith("socket:") and "/proc/" not in target
           and not target.startswith(("/var/", "/usr/", "/dev/null", "/tmp"))}
    sockets = [target for target in found.values() if target.startswith("socket:")]
    return verdict(not odd and len(sockets) <= 1, found)


def status(_event):
    lines = dict(line.split(":", 1) for line in open("/proc/self/status", encoding="ascii") if ":" in line)
    fields = {name: value.strip() for name, value in lines.items()}
    none = all(int(fields[name], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
    good = none and fields["NoNewPrivs"] == "1" and fields["Seccomp"] == "2" and os.getuid() != 0 and os.getgid() != 0
    return verdict(good, {name: fields[name] for name in
                          ("Uid", "Gid", "Groups", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")})


def namespaces(_event):
    names = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
    return verdict(True, {name: os.readlink(f"/proc/self/ns/{name}") for name in names})


# Network

def connect(event):
    """TCP to each (host, port); stopped when none opens."""
    opened, refused = [], {}
    lock = threading.Lock()

    def attempt(host, port):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as one:
                one.settimeout(event.get("seconds", 1.5))
                one.connect((host, port))
                with lock:
                    opened.append(f"{host}:{port}")
        except OSError as error:
            with lock:
                refused[f"{host}:{port}"] = type(error).__name__
    threads = [threading.Thread(target=attempt, args=tuple(target)) for target in event["targets"]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return verdict(not opened, {"opened": opened, "refused": refused})


def send_udp(event):
    """Datagrams to each target; whether they arrive is for the receiver to say."""
    sent = 0
    for host, port in event["targets"]:
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                one.sendto(event["text"].encode(), (host, port))
                sent += 1
        except OSError:
            pass
    return verdict(True, {"sent": sent})


def addresses(_event):
    """Own address towards the outside and the gateways of the routing table."""
    own = None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("198.51.100.77", 9))
            own = one.getsockname()[0]
        except OSError:
            pass
    gateways = []
    with open("/proc/net/route", encoding="ascii") as file:
        for line in file.read().splitlines()[1:]:
            raw = int(line.split()[2], 16)
            if raw:
                gateways.append(socket.inet_ntoa(raw.to_bytes(4, sys.byteorder)))
    servers = [line.split()[1] for line in open("/etc/resolv.conf", encoding="ascii") if line.startswith("nameserver")]
    hosts = [line.split()[0] for line in open("/etc/hosts", encoding="ascii") if line.strip() and line[0] != "#"]
    return verdict(True, {"own": own, "gateways": gateways, "resolvers": servers, "hosts": hosts})


def listen(event):
    """Accepts on all addresses for a while; stopped when nobody came."""
    with socket.socket() as one:
        one.bind(("0.0.0.0", event["port"]))
        one.listen()
        one.settimeout(event["seconds"])
        try:
            _peer, address = one.accept()
        except TimeoutError:
            return verdict(True, "nobody")
    return verdict(False, address)


def abstract_sockets(_event):
    """Unix sockets of the host, by what the network namespace shows."""
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
        shown = [line.split()[-1] for line in file.read().splitlines()[1:] if len(line.split()) > 7]
    return verdict(not shown, shown)


ATTEMPTS = {name: value for name, value in list(globals().items()) if callable(value) and name[0].islower()}


def handler(event, _context):
    return {**ATTEMPTS[event["attempt"]](event), "pid": os.getpid()}
