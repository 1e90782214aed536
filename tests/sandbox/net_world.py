"""A small world of network namespaces: a machine, the Internet behind it and a neighbour, all apart from the real host.

The machine has its own /run, /etc/resolv.conf and /etc/hosts. Nothing here touches the settings of the host the tests run on.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("IRORI_BUILD", ROOT / "build")).resolve()
DRIVER = BUILD / "tests" / "unit" / "sandbox" / "net_driver"

MACHINE, NEIGHBOUR, GATEWAY = "203.0.113.1", "203.0.113.2", "203.0.113.2"
PUBLIC = "198.51.100.10"
PRIVATE = ["10.9.9.9", "172.16.9.9", "192.168.9.9", "100.64.9.9", "169.254.169.254", "192.0.0.192", "198.18.200.1", "198.19.255.254",
           "168.63.129.16", "240.0.0.1"]

# Answers each TCP connection, and each datagram, with the address it came from and the address it was sent to.
ECHO = r"""
import select, socket, sys
tcp, udp = [], []
for spec in sys.argv[1:]:
    kind, host, port = spec.rsplit(":", 2)
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((host, int(port)))
    if kind == "tcp":
        s.listen(64)
    (tcp if kind == "tcp" else udp).append(s)
print("ready", flush=True)
while True:
    for s in select.select(tcp + udp, [], [])[0]:
        if s in tcp:
            c, peer = s.accept()
            c.sendall(f"{peer[0]} {c.getsockname()[0]}".encode())
            c.close()
        else:
            _, peer = s.recvfrom(2048)
            s.sendto(f"{peer[0]} {s.getsockname()[0]}".encode(), peer)
"""

# Asks each place once; prints what came back, or the error's name.
PROBE = r"""
import errno, json, socket, sys
out = []
for kind, host, port, source in json.loads(sys.argv[1]):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    s.settimeout(1)
    try:
        if source:
            s.bind((source, 0))
        s.connect((host, port))
        if kind == "udp":
            s.send(b"?")
        out.append(s.recv(200).decode())
    except TimeoutError:
        out.append("TIMEOUT")
    except OSError as e:
        out.append(errno.errorcode.get(e.errno, str(e)))
    s.close()
print(json.dumps(out))
"""


def run(*command, check=True, **more):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=check, timeout=120, **more)


class Space:
    """A network namespace (and a mount namespace with its own /run), held by a sleeping process."""

    def __init__(self, name, folder):
        self.processes = []
        self.folder = folder / name
        self.folder.mkdir()
        self.holder = self._start(["unshare", "-n", "-m", "--propagation", "private", "sh", "-c",
                                   "mount -t tmpfs tmpfs /run && echo ready && exec sleep 100000"])
        self.pid = self.holder.pid
        # A new namespace takes the machine's present settings, and an instance may be running there.
        self.do("sh", "-c", "for file in /proc/sys/net/ipv4/conf/*/forwarding; do echo 0 >$file; done")
        self.do("ip", "link", "set", "lo", "up")

    def _start(self, command, **more):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **more)
        self.processes.append(process)
        answer = process.stdout.readline()
        if not answer.startswith(("ready", "ok")):
            raise RuntimeError(f"{command[-1]}: {answer!r}")
        process.answer = answer.strip()
        return process

    def inside(self):
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "--"]

    def do(self, *command, check=True):
        return run(*self.inside(), *command, check=check)

    def start(self, *command):
        return self._start([*self.inside(), *(str(part) for part in command)])

    def echo(self, *places):
        return self.start(sys.executable, "-c", ECHO, *places)

    def put(self, path, text):
        """Replaces one file of this namespace's view; may be called again."""
        source = self.folder / path.replace("/", "_")
        fresh = not source.exists()
        source.write_text(text)
        if fresh:
            self.do("mount", "--bind", source, path)

    def sysctl(self, name, value=None):
        path = f"/proc/sys/net/ipv4/conf/{name}"
        if value is not None:
            self.do("sh", "-c", f"echo {value} > {path}")
        return self.do("cat", path).stdout.strip()

    def probe(self, kind, host, port, source=None):
        return probe(self.inside(), (kind, host, port, source))[0]

    def settings(self):
        """Everything an instance may change, in a form to compare."""
        kept = self.do("sh", "-c", "cd /proc/sys/net && grep -r . ipv4/conf ipv4/ip_forward ipv6/conf 2>/dev/null | "
                       "grep -v -e stable_secret -e mc_forwarding | sort").stdout
        return kept, self.do("nft", "list", "ruleset").stdout, self.do("ip", "-4", "-br", "address").stdout, \
            self.do("ip", "-4", "route", "show", "table", "all").stdout.replace(" linkdown", ""), self.do("find", "/run").stdout

    def close(self):
        for process in reversed(self.processes):
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


def probe(inside, *places):
    done = run(*inside, sys.executable, "-c", PROBE, json.dumps(places))
    return json.loads(done.stdout)


class Net:
    """A running instance in a space."""

    def __init__(self, space, instance, *allowed):
        self.space = space
        self.instance = instance
        self.process = space.start(DRIVER, instance, *allowed)
        self.usable = self.process.answer.startswith("ok usable")

    def command(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer.startswith("ok"):
            raise RuntimeError(answer)
        return answer[3:]

    def add(self, index):
        return Slot(self.process.pid, int(self.command(f"add {index}")), index)

    def router(self):
        """The words before a command in the router's namespace: the second one that the driver opens."""
        folder = Path(f"/proc/{self.process.pid}/fd")
        found = [fd for fd in sorted(map(int, os.listdir(folder))) if os.readlink(folder / str(fd)).startswith("net:")]
        return ["nsenter", f"--net={folder / str(found[1])}", "--"]

    @property
    def link(self):
        """Addresses of both ends of the link to the host."""
        for line in self.space.do("ip", "-br", "-4", "address").stdout.splitlines():
            if line.startswith(f"irori-{self.instance}@"):
                host = line.split()[2].split("/")[0]
                start, last = host.rsplit(".", 1)
                return host, f"{start}.{int(last) + 1}"
        raise RuntimeError("no link")

    def close(self):
        self.process.stdin.close()
        return self.process.wait(20)

    def kill(self):
        self.process.kill()
        self.process.wait()


class Slot:
    def __init__(self, pid, descriptor, index):
        self.path = f"/proc/{pid}/fd/{descriptor}"
        self.address = f"198.18.{(index + 1) >> 8}.{(index + 1) & 255}"

    def inside(self):
        return ["nsenter", f"--net={self.path}", "--"]

    def do(self, *command, check=True):
        return run(*self.inside(), *command, check=check)

    def probe(self, kind, host, port, source=None):
        return probe(self.inside(), (kind, host, port, source))[0]

    def probe_many(self, *places):
        return probe(self.inside(), *(((*place, None) if len(place) == 3 else place) for place in places))


def connect(one, one_name, other, other_name):
    one.do("ip", "link", "add", one_name, "type", "veth", "peer", "name", other_name, "netns", other.pid)
    one.do("ip", "link", "set", one_name, "up")
    other.do("ip", "link", "set", other_name, "up")


def make_internet(machine, internet, default_route=True):
    """The machine's eth0 leads to the Internet, where also the private addresses answer: were they asked."""
    connect(machine, "eth0", internet, "gw")
    machine.do("ip", "address", "add", f"{MACHINE}/29", "dev", "eth0")
    internet.do("ip", "address", "add", f"{GATEWAY}/29", "dev", "gw")
    for address in [PUBLIC, *PRIVATE[:-1]]:
        internet.do("ip", "address", "add", f"{address}/32", "dev", "lo")
    if default_route:
        machine.do("ip", "route", "add", "default", "via", GATEWAY)
    # One socket for each address: a datagram's answer must come from where the question went.
    internet.echo("tcp:0.0.0.0:80", "tcp:0.0.0.0:7003", "tcp:0.0.0.0:53",
                  *(f"udp:{address}:{port}" for address in [PUBLIC, NEIGHBOUR, *PRIVATE[:-1]] for port in (53, 9999)))
