"""The HTTP server under load and under bad callers, driven from outside."""
import contextlib
import json
import resource
import socket
import subprocess
import time

import pytest
from test_http_parser import http_echo


@contextlib.contextmanager
def server(*options, preexec_fn=None):
    """A fresh http_echo; yields its port, and its exit status must be 0."""
    process = subprocess.Popen([http_echo(), *options], stdout=subprocess.PIPE, preexec_fn=preexec_fn)
    try:
        yield int(process.stdout.readline())
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


def connect(port):
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def read_answer(client):
    """(status, body) of the next answer, which has a Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = client.recv(65536)
        if not part:
            return None, data
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    while len(body) < length:
        part = client.recv(1 << 20)
        assert part, f"ended after {len(body)} of {length} bytes"
        body += part
    return int(head.split(b" ")[1]), body


def get(client, target):
    client.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return read_answer(client)


def stats(port):
    with connect(port) as client:
        return json.loads(get(client, "/stats")[1])


def eventually(check, seconds=5):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.02)


def test_an_idle_connection_costs_less_than_4_kib():
    with server() as port:
        before = stats(port)["heap"]
        clients = [connect(port) for _ in range(400)]
        for client in clients:
            assert get(client, "/plain") == (200, b"hello")
        after = stats(port)
        assert after["connections"] == 401
        assert (after["heap"] - before) / 400 < 4096
        for client in clients:
            client.close()


def test_the_memory_of_a_large_body_is_given_back():
    with server(f"body_limit={80 << 20}", "max_header_bytes=2000000") as port, connect(port) as client:
        before = stats(port)["heap"]
        body = b"x" * (60 << 20)
        started = time.monotonic()
        client.sendall(b"POST /plain HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
        client.sendall(body)
        assert read_answer(client) == (200, b"hello")
        assert time.monotonic() - started < 5
        assert stats(port)["heap"] - before < 65536
        client.sendall(b"POST /plain HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(60):
            client.sendall(b"100000\r\n" + body[: 1 << 20] + b"\r\n")
        client.sendall(b"0\r\n\r\n")
        assert read_answer(client) == (200, b"hello")
        assert stats(port)["heap"] - before < 65536


def test_a_body_in_tiny_chunks_is_read_in_linear_time():
    with server("body_limit=1000000") as port, connect(port) as client:
        started = time.monotonic()
        client.sendall(b"POST /plain HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.sendall(b"1\r\nx\r\n" * 1000000 + b"0\r\n\r\n")
        assert read_answer(client) == (200, b"hello")
        assert time.monotonic() - started < 5


def test_thousands_of_pipelined_requests_are_answered():
    with server() as port, connect(port) as client:
        count = 5000
        client.sendall(b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n" * count)
        client.shutdown(socket.SHUT_WR)
        data = b""
        while part := client.recv(1 << 20):
            data += part
        assert data.count(b"HTTP/1.1 200 OK") == count


def test_one_who_does_not_read_is_not_read_from():
    with server() as port, connect(port) as client:
        before = stats(port)["heap"]
        client.settimeout(0.5)
        sent = 0
        with pytest.raises(TimeoutError):  # the server stops reading, so sooner or later the kernel takes no more
            while sent < 1 << 28:
                sent += client.send(b"GET /big?100000 HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        assert stats(port)["heap"] - before < 2 << 20


def test_an_early_refusal_reaches_one_who_still_sends():
    with server("body_limit=1000") as port:
        for _ in range(20):
            with connect(port) as client:
                client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200000)
                assert read_answer(client) == (413, b"too large")


def test_connections_beyond_the_limit_get_503():
    with server("max_connections=10") as port:
        clients = [connect(port) for _ in range(10)]
        assert all(get(client, "/plain") == (200, b"hello") for client in clients)
        with connect(port) as one_more:
            assert read_answer(one_more) == (503, b"refused")
        clients.pop().close()
        eventually(lambda: _served(port))
        for client in clients:
            client.close()


def _served(port):
    with connect(port) as client:
        try:
            return get(client, "/plain") == (200, b"hello")
        except ConnectionError:
            return False


def test_running_out_of_descriptors_is_survived():
    def few_descriptors():
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

    with server(preexec_fn=few_descriptors) as port:
        clients = [connect(port) for _ in range(120)]
        answered = 0
        for client in clients:
            try:
                answered += get(client, "/plain") == (200, b"hello")
            except ConnectionError:
                pass  # was idle, and made room for another
        assert answered >= 100
        for client in clients:
            client.close()
        eventually(lambda: _served(port))


@pytest.mark.parametrize("half", [True, False])
def test_one_who_leaves_while_waiting_is_noticed(half):
    with server() as port:
        client = connect(port)
        client.sendall(b"GET /later?300 HTTP/1.1\r\nHost: x\r\n\r\n")
        if half:
            client.shutdown(socket.SHUT_WR)
        else:
            client.close()
        eventually(lambda: stats(port)["gone"] == 1)
        if half:
            assert read_answer(client) == (200, b"later")
            assert client.recv(1) == b""
            client.close()
        eventually(lambda: stats(port)["connections"] == 1)


def test_drain_finishes_what_is_under_way():
    with server() as port, connect(port) as waiting, connect(port) as draining:
        waiting.sendall(b"GET /later?200 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.05)
        draining.sendall(b"GET /drain HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(draining)[0] == 200
        with pytest.raises(ConnectionRefusedError):
            connect(port)
        assert read_answer(waiting) == (200, b"later")
        assert waiting.recv(1) == b""


def test_slow_heads_end_with_408():
    with server("head_timeout_ms=200") as port, connect(port) as client:
        client.sendall(b"GET / HT")
        assert read_answer(client) == (408, b"refused")
