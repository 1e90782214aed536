"""`make up` and `make down` as people type them, and an installed tree instead of the build folder."""

import os
import re
import subprocess

import pytest
from harness import leftovers, procs, wait
from harness.paths import BUILD, ROOT
from harness.ports import Port
from harness.server import Server

COLD, WARM = "(cold: the environment is made):\n   coldstart ", "(warm: the environment remembers):\n   warmstart, message="


class Checkout:
    """make with a data folder and an address of its own; the SDKs would come over the network."""

    def __init__(self, data, port):
        self.data, self.port = data, port
        self.known, self.instance = set(), None

    def make(self, target, check=True):
        done = subprocess.run(["make", "--no-print-directory", target, f"BUILD={BUILD}", f"DATA={self.data}", "SDK=no",
                               f"LISTEN=127.0.0.1:{self.port}"], cwd=ROOT, capture_output=True, text=True, timeout=300,
                              check=False, stdin=subprocess.DEVNULL)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def pid(self):
        return int((self.data / "serve.pid").read_text())

    def note(self):
        """Remembers what runs, for the search at the end."""
        pids = [self.pid(), *procs.descendants(self.pid())]
        self.known.update(ident for ident in map(procs.identity, pids) if ident)
        lines = (" ".join(procs.cmdline(pid)) for pid in pids)
        self.instance = next(match.group(1) for match in map(re.compile(r"--instance[ =](\S+)").search, lines) if match)

    def left(self, before):
        return leftovers.find(before, self.instance, self.data, self.known)


@pytest.fixture
def checkout(needs, tmp_path):
    port = Port()
    (tmp_path / "closed").mkdir(mode=0o700)
    one = Checkout(tmp_path / "closed" / "data", port.number)
    yield one
    one.make("down", check=False)
    port.release()


@pytest.mark.timeout(400)
def test_up_twice_and_down(checkout):
    """Two answers, told for what they are; the server stays; the second time the environment is warm; nothing is left."""
    before = leftovers.Picture()
    first = checkout.make("up")
    assert "first " + COLD in first and f"second {WARM}hello " in first, first
    checkout.note()
    server = procs.identity(checkout.pid())
    second = checkout.make("up")
    assert "already running" in second and f"first {WARM}again " in second and f"second {WARM}hello " in second, second
    assert procs.identity(checkout.pid()) == server and procs.alive(server)
    checkout.note()
    assert "Irori is stopped." in checkout.make("down")
    assert not procs.alive(server) and not (checkout.data / "serve.pid").exists()
    wait.until(lambda: not checkout.left(before), 3, "nothing to be left")
    assert "Irori is not running." in checkout.make("down")


@pytest.fixture
def stranger(request, checkout):
    """A process that is no server of the data folder, in a session of its own."""
    checkout.data.mkdir()
    program, *arguments = request.param
    if program == "irori":
        program = checkout.data.parent / "irori"
        program.write_bytes(open("/bin/sh", "rb").read())
        program.chmod(0o755)
    process = subprocess.Popen([program, *(text.format(data=checkout.data) for text in arguments)], stdin=subprocess.PIPE,
                               start_new_session=True)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("stranger", [["sleep", "60"], ["sh", "-c", "read x; :", "serve", "--data", "{data}"],
                                      ["irori", "-c", "read x; :", "serve", "--data", "{data}/other"]], indirect=True,
                         ids=["another program", "another program of this name", "another data folder"])
def test_down_ends_no_other_process(checkout, stranger):
    """serve.pid may be left from before the machine's last start, and its number be somebody else's by now."""
    for text in (f"{stranger.pid}", f"-{stranger.pid}"):
        (checkout.data / "serve.pid").write_text(text)
        assert "Irori is not running." in checkout.make("down")
        assert stranger.poll() is None
        assert not (checkout.data / "serve.pid").exists()


@pytest.mark.timeout(200)
def test_installed_tree(needs, tmp_path):
    """irori finds its programs, its runtime clients and its policy below the folder that it lies in."""
    subprocess.run(["meson", "install", "--no-rebuild", "--quiet", "-C", BUILD], check=True, timeout=100,
                   env={**os.environ, "DESTDIR": str(tmp_path)})
    program, = tmp_path.rglob("bin/irori")
    server = Server(program=program)
    try:
        assert server.probe("python").call({"do": "echo", "value": 5}) == 5
        assert server.probe("node").call({"do": "echo", "value": 6}) == 6
        running = {os.readlink(f"/proc/{pid}/exe") for pid in (server.process.pid, server.pid_of("irorid"),
                                                               server.pid_of("irori-launcher"))}
        assert all(path.startswith(str(tmp_path)) for path in running), running
    finally:
        server.close()
