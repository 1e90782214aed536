"""A network namespace that plays the world outside: a public host, a private one and the metadata address, each with a
server that says who came. Its link to the host ends with it; nothing leaves the machine."""

import os
import select
import socket
import subprocess
import sys
import threading

from . import wait

HERE, THERE = "10.213.78.1", "10.213.78.2"  # the link itself
PUBLIC = "198.51.100.10"
PRIVATE = "10.213.77.10"
METADATA = "169.254.169.254"
SPECIAL = ["172.16.213.10", "192.168.213.10", "100.64.213.10"]
ALL = [PUBLIC, PRIVATE, METADATA, *SPECIAL]
PORT = 8088

SERVE = """
import socket, sys, threading
def serve(address):
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind((address, int(sys.argv[1])))
    one.listen(64)
    while True:
        peer, source = one.accept()
        print(address, source[0], flush=True)
        peer.sendall(address.encode())
        peer.close()
for address in sys.argv[2:]:
    threading.Thread(target=serve, args=(address,), daemon=True).start()
print('ready', flush=True)
sys.stdin.read()
"""


def _run(*command):
    subprocess.run(command, check=True, capture_output=True, text=True)


class World:
    """Use with `with`; `visits` are (address, source) pairs of connections that arrived."""

    def __init__(self):
        self.visits = []
        self._name = f"tst-world-{os.getpid()}"
        self._link = f"tstw{os.getpid() % 100000}"

    def __enter__(self):
        _run("ip", "netns", "add", self._name)
        try:
            self._connect()
            self._serve()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _connect(self):
        inner = ("ip", "-n", self._name)
        _run("ip", "link", "add", self._link, "type", "veth", "peer", "name", "out", "netns", self._name)
        _run("ip", "addr", "add", f"{HERE}/30", "dev", self._link)
        _run("ip", "link", "set", self._link, "up")
        _run(*inner, "link", "set", "lo", "up")
        _run(*inner, "link", "set", "out", "up")
        _run(*inner, "addr", "add", f"{THERE}/30", "dev", "out")
        for address in ALL:
            _run(*inner, "addr", "add", f"{address}/32", "dev", "lo")
            _run("ip", "route", "add", f"{address}/32", "via", THERE, "dev", self._link)

    def _serve(self):
        self._server = subprocess.Popen(
            ["ip", "netns", "exec", self._name, sys.executable, "-c", SERVE, str(PORT), *ALL],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ready, _, _ = select.select([self._server.stdout], [], [], 10)
        assert ready and self._server.stdout.readline() == "ready\n"
        threading.Thread(target=self._collect, daemon=True).start()
        for address in ALL:
            with socket.create_connection((address, PORT), 3) as one:
                assert one.recv(64) == address.encode()
        wait.until(lambda: len(self.visits) == len(ALL), 5, "the visits of the check")
        self.visits.clear()

    def _collect(self):
        for line in self._server.stdout:
            self.visits.append(tuple(line.split()))

    def __exit__(self, *_):
        server = getattr(self, "_server", None)
        if server is not None:
            server.stdin.close()
            server.terminate()
            server.wait(5)
        subprocess.run(["ip", "link", "del", self._link], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self._name], capture_output=True, check=False)
