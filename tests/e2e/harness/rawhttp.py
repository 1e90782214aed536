"""HTTP over a plain socket, for what client libraries would never send."""

import socket
from dataclasses import dataclass


@dataclass
class Answer:
    status: int
    reason: str
    headers: list  # (lower-case name, value), in order
    body: bytes

    def get(self, name, default=None):
        """The first header of this name."""
        return next((value for key, value in self.headers if key == name.lower()), default)

    def all(self, name):
        return [value for key, value in self.headers if key == name.lower()]


class Connection:
    """One TCP connection; reads answers strictly."""

    def __init__(self, port, timeout=30.0, host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._left = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))

    def _more(self):
        piece = self.socket.recv(65536)
        if not piece:
            raise EOFError(f"connection closed; unread: {self._left[:200]!r}")
        self._left += piece

    def _line(self):
        while b"\r\n" not in self._left:
            self._more()
        line, self._left = self._left.split(b"\r\n", 1)
        return line.decode("latin-1")

    def _exactly(self, count):
        while len(self._left) < count:
            self._more()
        data, self._left = self._left[:count], self._left[count:]
        return data

    def _chunked(self):
        body = b""
        while True:
            size = int(self._line().split(";")[0], 16)
            if size == 0:
                while self._line():
                    pass
                return body
            body += self._exactly(size)
            assert self._exactly(2) == b"\r\n"

    def read(self, head=False):
        """The next answer; head: it answers HEAD and has no body. 1xx answers are returned like others."""
        version, code, reason = (self._line().split(" ", 2) + [""])[:3]
        assert version.startswith("HTTP/1."), version
        status, headers = int(code), []
        while line := self._line():
            name, value = line.split(":", 1)
            headers.append((name.lower(), value.strip()))
        answer = Answer(status, reason, headers, b"")
        if head or status < 200 or status in (204, 304):
            return answer
        if answer.get("transfer-encoding") == "chunked":
            answer.body = self._chunked()
        elif answer.get("content-length") is not None:
            answer.body = self._exactly(int(answer.get("content-length")))
        else:
            answer.body = self.rest()
        return answer

    def rest(self):
        """Everything until the other side closes."""
        try:
            while True:
                self._more()
        except EOFError:
            data, self._left = self._left, b""
            return data

    def closed(self):
        """True when the other side closes without sending anything more."""
        try:
            return not self._left and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True


def render(method, target, host, headers=None, body=None):
    """Bytes of one request; headers: dict or list of pairs; Content-Length is added for a body."""
    pairs = list(headers.items()) if isinstance(headers, dict) else list(headers or [])
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"] + [f"{name}: {value}" for name, value in pairs]
    if body is not None and not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in pairs):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


def request(port, method, target, host, headers=None, body=None, timeout=60.0):
    """One request on a connection of its own."""
    with Connection(port, timeout) as connection:
        try:
            connection.send(render(method, target, host, headers, body))
        except (BrokenPipeError, ConnectionResetError):
            pass  # answered before everything was sent
        return connection.read(head=method == "HEAD")
