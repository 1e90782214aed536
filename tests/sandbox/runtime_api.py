"""The Runtime API as a function sees it, on the sockets of an environment: just enough to park, to wake, and to be answered."""
import json
import select
import socket
import time

import driver

NEXT = "/2018-06-01/runtime/invocation/next"
VARIABLES = ["AWS_LAMBDA_RUNTIME_API=127.0.0.1:9001", "LAMBDA_TASK_ROOT=/var/task", "LAMBDA_RUNTIME_DIR=/var/runtime", "LANG=en_US.UTF-8",
             "PATH=/var/lang/bin:/usr/bin:/bin", "LD_LIBRARY_PATH=/var/lang/lib", "AWS_LAMBDA_FUNCTION_NAME=f", "AWS_LAMBDA_FUNCTION_VERSION=1",
             "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=512", "AWS_LAMBDA_LOG_GROUP_NAME=group", "AWS_LAMBDA_LOG_STREAM_NAME=stream",
             "AWS_LAMBDA_INITIALIZATION_TYPE=snap-start", "UV_USE_IO_URING=0",
             "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:9001/2021-04-23/credentials",
             "AWS_CONTAINER_AUTHORIZATION_TOKEN=token"]


class Ended(Exception):
    """The program closed its connection instead."""


class Client:
    """One connection of a program, and what it sent so far."""

    def __init__(self, connection):
        self.connection, self.buffer = connection, b""
        connection.setblocking(True)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fill(self, timeout):
        if not driver.readable(self.connection.fileno(), timeout * driver.SLOW):
            raise TimeoutError(f"nothing but {self.buffer!r}")
        piece = self.connection.recv(65536)
        if not piece:
            raise Ended(self.buffer)
        self.buffer += piece

    def line(self, timeout):
        while b"\r\n" not in self.buffer:
            self.fill(timeout)
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def take(self, length, timeout):
        while len(self.buffer) < length:
            self.fill(timeout)
        taken, self.buffer = self.buffer[:length], self.buffer[length:]
        return taken

    def request(self, timeout=10):
        """The next request whole: (method, path, headers, body)."""
        method, path, _ = self.line(timeout).decode().split(" ", 2)
        headers = {}
        while line := self.line(timeout):
            name, value = line.decode().split(":", 1)
            headers[name.lower()] = value.strip()
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            while length := int(self.line(timeout).split(b";")[0], 16):
                body += self.take(length, timeout)
                self.take(2, timeout)
            while self.line(timeout):
                pass
        else:
            body = self.take(int(headers.get("content-length", 0)), timeout)
        return method, path, headers, body

    def answer(self, status, body=b"", **headers):
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: application/json"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def park(environment, others=None, timeout=20):
    """Serves a started environment until it waits in `next` or `restore/next`. Returns the Function that does."""
    deadline, clients = time.monotonic() + timeout * driver.SLOW, {}
    while True:
        left = deadline - time.monotonic()
        ready = select.select([environment.listener, *clients], [], [], max(0, left))[0] if left > 0 else []
        if not ready:
            raise TimeoutError(f"not parked; log: {environment.read_log()!r}")
        for which in ready:
            if which is environment.listener:
                try:
                    connection, _ = which.accept()
                except OSError as error:
                    raise AssertionError(f"the program ended: {environment.read_log(0.2)!r}") from error
                clients[connection] = Client(connection)
                continue
            try:
                method, path, _, body = clients[which].request(left)
            except Ended:
                del clients[which]
                continue
            if method == "GET" and path.endswith("/next"):
                environment.connection, environment.parked_at = which, path
                return Function(environment, clients[which], path)
            if others and "/runtime/" not in path:
                others(clients[which])
                continue
            raise AssertionError((method, path, body, environment.read_log(0.3)))


class Function:
    """A clone, or an ordinary environment, that waits in `next` or `restore/next`."""

    def __init__(self, environment, client=None, parked_at=NEXT):
        self.environment, self.parked_at = environment, parked_at
        self.client = client or Client(environment.connection)
        self.count = 0

    def restore(self, timeout=10):
        """From `restore/next` to `next`, as what no runtime client of ours is told."""
        if self.parked_at != NEXT:
            self.client.answer("200 OK")
            try:
                _, self.parked_at, _, body = self.client.request(timeout)
            except Ended:  # some use another connection from there on
                again = park(self.environment, timeout=timeout)
                self.client, self.parked_at, body = again.client, again.parked_at, b""
            assert self.parked_at == NEXT, (self.parked_at, body)
        return self

    def invoke(self, event, timeout=20):
        """Returns the result of one event, or raises with what the function posted as its error."""
        self.count += 1
        request = f"00000000-0000-4000-8000-{self.count:012d}"
        self.client.answer("200 OK", json.dumps(event).encode(), Lambda_Runtime_Aws_Request_Id=request,
                           Lambda_Runtime_Deadline_Ms=int(time.time() * 1000) + 60000,
                           Lambda_Runtime_Invoked_Function_Arn="arn:aws:lambda:us-east-1:000000000000:function:f")
        try:
            _, path, _, body = self.client.request(timeout)
            self.client.answer("202 Accepted", b"{}")
            method, following, _, _ = self.client.request(timeout)
        except (TimeoutError, Ended, ConnectionError) as error:
            raise AssertionError(f"{error!r}; log: {self.environment.read_log(0.2)!r}") from error
        assert (method, following) == ("GET", NEXT)
        if path == f"/2018-06-01/runtime/invocation/{request}/response":
            return json.loads(body)
        raise RuntimeError(path, body)

    def kill(self):
        self.environment.kill()
