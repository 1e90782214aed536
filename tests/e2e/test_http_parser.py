"""Our HTTP parser against Node's on byte strings that readers are known to disagree about.

Where ours accepts, Node must see the same messages; where Node accepts more, the case must say why ours does not.
"""
import json
import os
import pathlib
import re
import socket
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CASES_FILE = ROOT / "tests/unit/http/smuggling/cases.txt"


def unescape(text):
    """The bytes of a case; the escapes are listed at the head of the file."""
    simple = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}
    out = bytearray()
    at = 0
    while at < len(text):
        repeat = re.compile(r"\\R(\d+),(.*?);").match(text, at)
        if text[at] != "\\":
            out += text[at].encode("latin-1")
            at += 1
        elif repeat:
            out += repeat[2].encode() * int(repeat[1])
            at = repeat.end()
        elif text[at + 1] == "x":
            out.append(int(text[at + 2 : at + 4], 16))
            at += 4
        else:
            out += simple[text[at + 1]]
            at += 2
    return bytes(out)


def read_cases():
    for line in CASES_FILE.read_text().splitlines():
        if line and not line.startswith("#"):
            name, verdict, data, *reason = line.split("\t")
            yield pytest.param(verdict, unescape(data), reason[0] if reason else "", id=name)


def http_echo():
    build = pathlib.Path(os.environ.get("IRORI_BUILD", ROOT / "build"))
    found = [path for path in [build / "http_echo", *build.rglob("http_echo")] if path.is_file()]
    if not found:
        pytest.skip(f"no http_echo in {build}: it is built together with the unit tests")
    return str(found[0])


def start(command):
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    return process, int(process.stdout.readline())


@pytest.fixture(scope="module")
def servers():
    """Ports of our server and Node's."""
    ours, our_port = start([http_echo()])
    node, node_port = start(["node", str(ROOT / "tests/servers/http_echo.js")])
    yield our_port, node_port
    node.kill()
    node.wait()
    ours.terminate()
    assert ours.wait(10) == 0


def exchange(port, data):
    """Sends all, shuts the sending side, and returns (messages seen, status of a refusal or None)."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while part := client.recv(65536):
                answer += part
        except (ConnectionResetError, BrokenPipeError):
            pass
    messages, refusal = [], None
    for head in re.findall(rb"HTTP/1\.1 (\d{3}) [^\r]*\r\n((?:[^\r]+\r\n)*)\r\n", answer):
        saw = re.search(rb"(?i)^x-saw: ([0-9a-f]*)", head[1], re.M)
        if saw:
            messages.append(json.loads(bytes.fromhex(saw[1].decode())))
        elif head[0] != b"100":
            refusal = int(head[0])
    return messages, refusal


def split(port, data, count):
    """The bytes of each of the first count messages: the shortest that the server at port reads as one."""
    parts = []
    for _ in range(count):
        used = next(i for i in range(1, len(data) + 1) if exchange(port, data[:i])[0])
        parts.append(data[:used])
        data = data[used:]
    return parts


def expected(verdict):
    """Number of messages and status of the refusal of a verdict."""
    if re.fullmatch(r"\d", verdict):
        return int(verdict), None
    count, plus, status = verdict.rpartition("+")
    return int(count) if plus else 0, int(status)


@pytest.mark.parametrize("verdict, data, reason", list(read_cases()))
def test_ours_is_at_least_as_strict_as_node(servers, verdict, data, reason):
    ours, refusal = exchange(servers[0], data)
    assert (len(ours), refusal) == expected(verdict)
    nodes, node_refusal = exchange(servers[1], data)
    if len(nodes) >= len(ours):
        assert nodes[: len(ours)] == ours
    else:  # Node forgets a message when it refuses the next in the same breath: then each by itself
        assert [exchange(servers[1], part)[0] for part in split(servers[0], data, len(ours))] == [[one] for one in ours]
    if len(nodes) > len(ours) or (refusal is not None and node_refusal is None):
        assert reason, f"Node reads {len(nodes)} messages, refuses with {node_refusal}: say why we do not"


@pytest.mark.parametrize("verdict, data, reason", list(read_cases()))
def test_however_the_bytes_arrive_the_outcome_is_the_same(servers, verdict, data, reason):
    if len(data) > 400:
        pytest.skip("split at every byte by the fuzz target")
    messages, refusal = [], None
    with socket.create_connection(("127.0.0.1", servers[0]), timeout=10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for i in range(len(data)):
                client.send(data[i : i + 1])
            client.shutdown(socket.SHUT_WR)
        except (ConnectionResetError, BrokenPipeError):
            pass
        answer = b""
        try:
            while part := client.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
    messages = len(re.findall(rb"(?i)x-saw:", answer))
    refusals = [int(status) for status in re.findall(rb"HTTP/1\.1 ([45]\d\d)", answer)]
    refusal = refusals[0] if refusals else None
    assert (messages, refusal) == expected(verdict)
