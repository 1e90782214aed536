"""The little HTTP/1.1 that the Runtime API needs, on a blocking raw socket.

Not `http.client`: it imports ssl and email, and costs four times as much per request. Not `socket` either: its C part
does everything needed here.
"""

import _socket

PREFIX = "/2018-06-01/runtime"
MAX_HEAD = 1024 * 1024
MAX_BODY = 64 * 1024 * 1024
MAX_LINE = 4096  # of a chunk size or a trailer
READ_BYTES = 64 * 1024


class ApiGone(Exception):
    """The Runtime API closed the connection or does not speak HTTP/1.x."""


class Connection:
    def __init__(self, address):
        """address: "host:port"."""
        host, _, port = address.rpartition(":")
        self.address = address
        self.target = (host, int(port))
        self.data = bytearray()
        self.socket = None
        self.connect()

    def connect(self):
        self.data.clear()
        self.closing = False  # the server announced it
        self.socket = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        self.socket.connect(self.target)
        self.socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)

    def reconnect_if_closing(self):
        """True when there is a new connection."""
        if self.closing:
            self.socket.close()
            self.connect()
            return True
        return False

    def get(self, path):
        return ("GET %s%s HTTP/1.1\r\nHost: %s\r\n\r\n" % (PREFIX, path, self.address)).encode()

    def post(self, path, headers, body):
        head = "POST %s%s HTTP/1.1\r\nHost: %s\r\n%sContent-Length: %d\r\n\r\n"
        return (head % (PREFIX, path, self.address, headers, len(body))).encode("latin-1", "replace") + body

    def send(self, request):
        self.socket.sendall(request)

    def read(self):
        """(status, {lower-case name: value}, body) of the next response; raises ApiGone or OSError."""
        while True:
            status, headers = self._read_head()
            if status >= 200:
                break
        if "chunked" in headers.get("transfer-encoding", "").lower():
            body = self._read_chunks()
        else:
            length = headers.get("content-length", "0")
            if not length.isdigit() or int(length) > MAX_BODY:
                raise ApiGone("bad Content-Length")
            body = self._take(int(length))
        self.closing = "close" in headers.get("connection", "").lower()
        return status, headers, body

    def _read_head(self):
        lines = self._take_until(b"\r\n\r\n", MAX_HEAD).decode("utf-8", "replace").split("\r\n")
        if not lines[0].startswith("HTTP/1.") or not lines[0][9:12].isdigit():
            raise ApiGone("not an HTTP/1.x response")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return int(lines[0][9:12]), headers

    def _read_chunks(self):
        body = bytearray()
        while True:
            try:
                size = int(self._take_until(b"\r\n", MAX_LINE).partition(b";")[0], 16)
            except ValueError:
                raise ApiGone("bad chunk size")
            if size < 0 or len(body) + size > MAX_BODY:
                raise ApiGone("bad chunk size")
            if size == 0:
                break
            body += self._take(size)
            self._take_until(b"\r\n", MAX_LINE)
        while self._take_until(b"\r\n", MAX_LINE):
            pass  # trailers
        return bytes(body)

    def _receive(self):
        block = self.socket.recv(READ_BYTES)
        if not block:
            raise ApiGone("connection closed")
        self.data += block

    def _take_until(self, mark, limit):
        start = 0
        while (end := self.data.find(mark, start)) < 0:
            if len(self.data) > limit:
                raise ApiGone("line too long")
            start = max(0, len(self.data) - len(mark) + 1)
            self._receive()
        line = bytes(self.data[:end])
        del self.data[: end + len(mark)]
        return line

    def _take(self, length):
        if len(self.data) < length:  # straight into place, however large
            have = len(self.data)
            self.data += bytes(length - have)
            with memoryview(self.data) as view:
                while have < length:
                    count = self.socket.recv_into(view[have:])
                    if count == 0:
                        raise ApiGone("connection closed")
                    have += count
        body = bytes(self.data[:length])
        del self.data[:length]
        return body
