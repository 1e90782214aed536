"""A scripted Runtime API server, and the client process it talks to.

The server answers `next` from a queue and keeps every request, and every block of bytes as recv() returned it. How it
answers can be bent: chunked bodies, answers cut into small pieces, other statuses, connections closed after a post.
"""

import collections
import json
import os
import queue
import socket
import subprocess
import threading
import time

TIMEOUT = 20
PREFIX = "/2018-06-01/runtime"

Request = collections.namedtuple("Request", "method path headers body connection")


class RuntimeApi:
    def __init__(self):
        self.events = queue.Queue()
        self.requests = queue.Queue()  # everything but invocation/next and restore/next
        self.nexts = threading.Semaphore(0)
        self.blocks = []  # bytes of each recv()
        self.connections = 0
        self.chunked = False
        self.cut = 0  # bytes per send(); 0 = all at once
        self.post_status = {}  # path suffix -> (status, body)
        self.close_after_post = False
        self.drop_idle = threading.Event()
        self.next_status = 200
        self.restores = None  # answers to restore/next; None: at once, as where nothing was restored
        self.restore_asked = threading.Semaphore(0)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.sockets = []
        self.clients = []
        self.counter = 0
        self.accepting = threading.Thread(target=self._accept, daemon=True)
        self.accepting.start()

    def close(self):
        if self.listener.fileno() >= 0:
            self.listener.shutdown(socket.SHUT_RDWR)  # ends accept() before the descriptor's number is used again
            self.accepting.join(TIMEOUT)
            self.listener.close()
        self.events.put(None)
        for connection in self.sockets:
            connection.close()

    # -- what tests call

    def wait_next(self, timeout=TIMEOUT):
        assert self.nexts.acquire(timeout=timeout), "no next"

    def send_event(self, event=b"{}", request_id=None, headers=None, deadline_ms=None):
        self.counter += 1
        request_id = request_id or f"00000000-0000-4000-8000-{self.counter:012d}"
        lines = {
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(deadline_ms or int(time.time() * 1000) + 30000),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:fn",
            "Content-Type": "application/json",
        }
        lines.update(headers or {})
        if not isinstance(event, bytes):
            event = json.dumps(event).encode()
        self.events.put((lines, event))
        return request_id

    def hold_restore(self):
        """From now on restore/next waits for send_restore()."""
        self.restores = queue.Queue()

    def wait_restore(self, timeout=TIMEOUT):
        assert self.restore_asked.acquire(timeout=timeout), f"no restore/next; {[c.output for c in self.clients]}"

    def send_restore(self, headers=None, body=b"", status=200):
        self.restores.put((status, headers or {}, body))

    def wait_request(self, timeout=TIMEOUT):
        try:
            return self.requests.get(timeout=timeout)
        except queue.Empty:
            states = [(c.process.poll(), c.output) for c in self.clients]
            raise AssertionError(f"no request; clients {states}, {self.connections} connections") from None

    def invoke(self, event=b"{}", timeout=TIMEOUT, **options):
        """Sends an event and returns the post that ends it; path is response or error."""
        request_id = self.send_event(event, **options)
        request = self.wait_request(timeout)
        assert request.path.startswith(f"{PREFIX}/invocation/{request_id}/"), request
        return request._replace(path=request.path.rsplit("/", 1)[1])

    # -- the server

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self.sockets.append(connection)
            threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection, number):
        data = b""
        try:
            while True:
                head_end = data.find(b"\r\n\r\n")
                if head_end < 0:
                    data += self._receive(connection)
                    continue
                lines = data[:head_end].decode("latin-1").split("\r\n")
                method, path, version = lines[0].split(" ")
                assert version == "HTTP/1.1"
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
                end = head_end + 4 + int(headers.get("content-length", 0))
                while len(data) < end:
                    data += self._receive(connection)
                body, data = data[head_end + 4 : end], data[end:]
                if not self._answer(connection, Request(method, path, headers, body, number)):
                    connection.close()
                    return
        except (OSError, EOFError):
            connection.close()

    def _receive(self, connection):
        block = connection.recv(1 << 20)
        if not block:
            raise EOFError
        self.blocks.append(block)
        return block

    def _answer(self, connection, request):
        if request.path == f"{PREFIX}/invocation/next":
            self.nexts.release()
            if self.next_status != 200:
                self._send(connection, self.next_status, {}, b"{}")
                return True
            event = self._take(self.events, connection)
            if event is None:
                return False
            self._send(connection, 200, *event)
            return True
        if request.path == f"{PREFIX}/restore/next":
            self.restore_asked.release()
            if self.restores is None:
                self._send(connection, 200, {}, b"")
                return True
            answer = self._take(self.restores, connection)
            if answer is None:
                return False
            self._send(connection, *answer)
            return True
        status, body = 202, b'{"status":"OK"}\n'
        for suffix, answer in self.post_status.items():
            if request.path.endswith(suffix):
                status, body = answer
        headers = {"Content-Type": "application/json"}
        if self.close_after_post:
            headers["Connection"] = "close"
        self.requests.put(request)
        self._send(connection, status, headers, body)
        return not self.close_after_post

    def _take(self, answers, connection):
        """None when the client is gone: the answer is another's."""
        while True:
            try:
                return answers.get(timeout=0.05)
            except queue.Empty:
                if is_gone(connection):
                    return None

    def _send(self, connection, status, headers, body):
        head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        if self.chunked and body:
            body = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(part), part) for part in pieces(body, 7 + len(body) // 3))
            body += b"0\r\nTrailer: x\r\n\r\n"
            head += "Transfer-Encoding: chunked\r\n\r\n"
        else:
            head += f"Content-Length: {len(body)}\r\n\r\n"
        data = head.encode("utf-8") + body
        for part in pieces(data, self.cut) if self.cut else [data]:
            connection.sendall(part)
            if self.cut:
                time.sleep(0.0002)


def is_gone(connection):
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def pieces(data, size):
    return [data[i : i + size] for i in range(0, len(data), size)]


class Client:
    """A runtime client as a plain process; its output is collected by threads, so that it never blocks on a pipe."""

    def __init__(self, argv, api, root, handler, env=None, pass_fds=()):
        self.env = {
            "PATH": "/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "_HANDLER": handler,
            "LAMBDA_TASK_ROOT": str(root),
            "AWS_LAMBDA_RUNTIME_API": api.address,
            "AWS_LAMBDA_FUNCTION_NAME": "fn",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/fn",
            "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/15/[$LATEST]0123456789abcdef0123456789abcdef",
            "AWS_REGION": "us-east-1",
        }
        self.env.update(env or {})
        self.process = subprocess.Popen(
            argv,
            cwd=root,
            env={k: v for k, v in self.env.items() if v is not None},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
        )
        api.clients.append(self)
        self.output = {"stdout": b"", "stderr": b""}
        self.readers = []
        for name in self.output:
            reader = threading.Thread(target=self._collect, args=(name,), daemon=True)
            reader.start()
            self.readers.append(reader)

    def _collect(self, name):
        stream = getattr(self.process, name)
        while block := os.read(stream.fileno(), 65536):
            self.output[name] += block

    @property
    def stdout(self):
        return self.output["stdout"].decode()

    @property
    def stderr(self):
        return self.output["stderr"].decode()

    def wait_stdout(self, text, timeout=TIMEOUT):
        deadline = time.monotonic() + timeout
        while text not in self.stdout:
            assert time.monotonic() < deadline, f"no {text!r} in {self.stdout!r}; stderr {self.stderr!r}"
            time.sleep(0.005)
        return self.stdout

    def wait_exit(self, timeout=TIMEOUT):
        code = self.process.wait(timeout)
        for reader in self.readers:
            reader.join(timeout)
        return code

    def kill(self):
        if self.process.stdout.closed:
            return
        if self.process.poll() is None:
            self.process.kill()
        self.wait_exit()
        self.process.stdout.close()
        self.process.stderr.close()
