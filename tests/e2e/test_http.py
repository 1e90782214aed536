"""HTTP/1.1 at the front door: keep-alive, pipelining, chunks, Expect, limits, slow and malformed requests."""

import json
import socket
import threading
import time

import pytest
from harness import aws, build, rawhttp
from harness.rawhttp import Connection, render


@pytest.fixture(scope="module")
def url(server):
    function = server.probe("node", name=server.name("http"), MemorySize=256, Timeout=5)
    return function.public_url()


def echo_body(answer):
    assert answer.status == 200, answer
    return json.loads(answer.body)


def raw(url, data, timeout=15):
    """Sends bytes; everything that comes back until the server closes or nothing comes for a while."""
    with Connection(url.server.port, timeout) as connection:
        try:
            connection.send(data)
            connection.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        try:
            return connection.rest()
        except (ConnectionResetError, TimeoutError):
            return b""


def still_well(url):
    assert url.call("GET", "/well").status == 200
    assert url.server.healthy()


def test_keep_alive(url):
    with Connection(url.server.port) as connection:
        for number in range(20):
            connection.send(render("GET", f"/{number}", url.host))
            assert echo_body(connection.read())["rawPath"] == f"/{number}"


def test_connection_close_and_http_1_0(url):
    with Connection(url.server.port) as connection:
        connection.send(render("GET", "/", url.host, {"Connection": "close"}))
        assert connection.read().get("connection", "").lower() == "close" and connection.closed()
    with Connection(url.server.port) as connection:
        connection.send(f"GET /old HTTP/1.0\r\nHost: {url.host}\r\n\r\n")
        assert echo_body(connection.read())["rawPath"] == "/old" and connection.closed()


def test_pipelined_requests_are_answered_in_order(url):
    with Connection(url.server.port) as connection:
        connection.send(b"".join(render("POST", f"/{n}", url.host, {"Content-Type": "text/plain"}, f"body {n}".encode())
                                 for n in range(10)))
        for number in range(10):
            seen = echo_body(connection.read())
            assert (seen["rawPath"], seen["body"]) == (f"/{number}", f"body {number}")


def test_chunked_request(url):
    with Connection(url.server.port) as connection:
        connection.send(render("POST", "/", url.host, {"Transfer-Encoding": "chunked", "Content-Type": "text/plain"}))
        for piece in (b"5\r\nhello\r\n", b"6;ext=1\r\n world\r\n", b"0\r\nX-Checksum: x\r\n\r\n"):
            connection.send(piece)
            time.sleep(0.02)
        assert echo_body(connection.read())["body"] == "hello world"
        connection.send(render("GET", "/next", url.host))
        assert echo_body(connection.read())["rawPath"] == "/next"


def test_byte_by_byte(url):
    with Connection(url.server.port) as connection:
        for byte in render("POST", "/slow?x=1", url.host, {"Content-Type": "text/plain"}, b"drip"):
            connection.send(bytes([byte]))
        seen = echo_body(connection.read())
        assert (seen["rawPath"], seen["body"]) == ("/slow", "drip")


def test_expect_100_continue(url):
    with Connection(url.server.port) as connection:
        connection.send(render("POST", "/", url.host, {"Expect": "100-continue", "Content-Length": "4",
                                                       "Content-Type": "text/plain"}))
        assert connection.read().status == 100
        connection.send(b"body")
        assert echo_body(connection.read())["body"] == "body"


def test_expect_100_continue_is_not_answered_for_what_is_too_large(url):
    with Connection(url.server.port) as connection:
        connection.send(render("POST", "/", url.host, {"Expect": "100-continue", "Content-Length": "99999999"}))
        assert connection.read().status == 413


def test_head_keeps_the_connection(url):
    with Connection(url.server.port) as connection:
        connection.send(render("HEAD", "/", url.host))
        answer = connection.read(head=True)
        assert answer.status == 200 and answer.body == b""
        connection.send(render("GET", "/after", url.host))
        assert echo_body(connection.read())["rawPath"] == "/after"


def test_oversized_heads(url):
    """Request line and headers beyond the limits: 414 and 431, or 400; never the function."""
    assert url.call("GET", "/" + "x" * 300000).status in (400, 414, 431)
    assert url.call("GET", "/", {"X-Big": "x" * 2000000}).status in (400, 431)
    assert url.call("GET", "/", [(f"X-{n}", "1") for n in range(20000)]).status in (400, 431)
    still_well(url)


def test_oversized_bodies(url):
    """Beyond 6 MB: 413, by Content-Length at once and by chunks when it shows."""
    body = b"x" * 6500000
    answer = url.call("POST", "/", {"Content-Type": "text/plain"}, body)
    assert answer.status == 413 and b"Request Entity Too Large" in answer.body
    with Connection(url.server.port) as connection:
        connection.send(render("POST", "/", url.host, {"Transfer-Encoding": "chunked"}))
        try:
            for _ in range(20):
                connection.send(b"80000\r\n" + b"x" * 0x80000 + b"\r\n")
        except OSError:
            pass
        try:
            assert connection.read().status == 413
        except ConnectionResetError:
            pass
    still_well(url)


@pytest.mark.parametrize("method,path,operation", [
    ("PUT", "/2015-03-31/functions/x/configuration", "UpdateFunctionConfiguration"),
    ("POST", "/2015-03-31/functions/x/aliases", "CreateAlias"),
    ("POST", "/2015-03-31/functions/x/invocations", "InvokeFunction")])
def test_an_oversized_body_names_its_operation(server, method, path, operation):
    _, headers = aws.signed(method, server.endpoint + path, server.key, server.secret, b"")
    with Connection(server.port) as connection:
        connection.send(render(method, path, f"127.0.0.1:{server.port}",
                               {**{k: v for k, v in headers.items() if k.lower() not in ("host", "content-length")},
                                "Content-Length": "7000000"}))
        answer = connection.read()
    assert answer.status == 413 and f" bytes for the {operation} operation" in answer.body.decode()


def test_medium_headers_are_served(url):
    seen = echo_body(url.call("GET", "/", {"X-Medium": "y" * 6000}))
    assert seen["headers"]["x-medium"] == "y" * 6000


HOST = "Host: HOST\r\n"
MALFORMED = {
    "garbage": "\x16\x03\x01\x02\x00 not http at all\r\n\r\n",
    "no version": f"GET /\r\n{HOST}\r\n",
    "bad version": f"GET / HTTP/9.9\r\n{HOST}\r\n",
    "lower version": f"GET / http/1.1\r\n{HOST}\r\n",
    "two blanks": f"GET  / HTTP/1.1\r\n{HOST}\r\n",
    "tab in line": f"GET\t/ HTTP/1.1\r\n{HOST}\r\n",
    "no host": "GET / HTTP/1.1\r\n\r\n",
    "two hosts": f"GET / HTTP/1.1\r\n{HOST}{HOST}\r\n",
    "bare LF": "GET / HTTP/1.1\nHost: HOST\n\n",
    "blank before colon": f"GET / HTTP/1.1\r\n{HOST}X-A : 1\r\n\r\n",
    "folded header": f"GET / HTTP/1.1\r\n{HOST}X-A: 1\r\n  folded\r\n\r\n",
    "NUL in header": f"GET / HTTP/1.1\r\n{HOST}X-A: a\0b\r\n\r\n",
    "NUL in target": f"GET /\0 HTTP/1.1\r\n{HOST}\r\n",
    "no colon": f"GET / HTTP/1.1\r\n{HOST}nocolon\r\n\r\n",
    "empty name": f"GET / HTTP/1.1\r\n{HOST}: x\r\n\r\n",
    "bad method": f"G@T / HTTP/1.1\r\n{HOST}\r\n",
    "CR in header": f"GET / HTTP/1.1\r\n{HOST}X-A: a\rb\r\n\r\n",
    "length and chunked": f"POST / HTTP/1.1\r\n{HOST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": f"POST / HTTP/1.1\r\n{HOST}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "length list": f"POST / HTTP/1.1\r\n{HOST}Content-Length: 4, 5\r\n\r\nabcde",
    "negative length": f"POST / HTTP/1.1\r\n{HOST}Content-Length: -1\r\n\r\n",
    "plus length": f"POST / HTTP/1.1\r\n{HOST}Content-Length: +4\r\n\r\nabcd",
    "hex length": f"POST / HTTP/1.1\r\n{HOST}Content-Length: 0x4\r\n\r\nabcd",
    "huge length": f"POST / HTTP/1.1\r\n{HOST}Content-Length: 99999999999999999999999\r\n\r\n",
    "other coding": f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "obscured chunked": f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "vertical tab": f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "bad chunk size": f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
    "huge chunk size": f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nab\r\n0\r\n\r\n",
    "chunk without CRLF": f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n2\r\nabXX0\r\n\r\n",
    "negative chunk": f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n-2\r\nab\r\n0\r\n\r\n",
    "chunk with LF": f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n2\nab\n0\n\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_are_refused(url, name):
    """4xx or 5xx (or a closed connection), then nothing more on that connection: what follows is never a request."""
    data = MALFORMED[name].replace("HOST", url.host) + f"GET /smuggled HTTP/1.1\r\nHost: {url.host}\r\n\r\n"
    answer = raw(url, data.encode("latin-1"))
    assert b"smuggled" not in answer, f"{name}: the second request was served"
    assert answer == b"" or answer.split(b" ")[1][:1] in (b"4", b"5"), answer[:200]
    assert answer.count(b"HTTP/1.1 ") <= 1
    still_well(url)


@pytest.mark.parametrize("data", [
    "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 100\r\n\r\nshort",
    "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "GET / HTTP/1.1\r\nHost: HO", "G", ""])
def test_truncated_requests(url, data):
    answer = raw(url, data.replace("HOST", url.host).encode())
    assert b" 200 " not in answer
    still_well(url)


def test_random_bytes(url):
    """Two hundred connections with noise, and with a good request that was cut, doubled or changed."""
    import random
    source = random.Random(7)
    good = render("POST", "/x?y=1", url.host, {"Content-Type": "text/plain"}, b"some body")
    for number in range(200):
        data = bytearray(good if number % 2 else source.randbytes(300))
        for _ in range(source.randint(1, 6)):
            place = source.randrange(len(data))
            data[place:place + source.randint(0, 3)] = source.randbytes(source.randint(0, 3))
        raw(url, bytes(data), timeout=2)
    still_well(url)


def test_slow_clients_are_timed_out(own_server):
    """A head that never ends costs a connection for a while only; others are served meanwhile."""
    server = own_server()
    function = server.deploy({"bootstrap": build.c_program("echo")}, "provided.al2023", "x")
    slow = [Connection(server.port, 90) for _ in range(50)]
    for one in slow:
        one.send("GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    begin = time.monotonic()
    assert function.call({"a": 1}) == {"a": 1}
    assert time.monotonic() - begin < 5
    answer = slow[0].rest()
    assert answer == b"" or b" 408 " in answer.split(b"\r\n")[0]
    assert time.monotonic() - begin < 85
    for one in slow:
        one.close()


def test_many_connections_at_once(url):
    """A hundred clients, ten requests each on one connection."""
    problems = []

    def client(number):
        try:
            with Connection(url.server.port, 60) as connection:
                for turn in range(10):
                    connection.send(render("GET", f"/{number}/{turn}", url.host))
                    answer = connection.read()
                    if answer.status != 200 or json.loads(answer.body)["rawPath"] != f"/{number}/{turn}":
                        problems.append((number, turn, answer.status))
        except Exception as error:  # any failure of a client is a finding
            problems.append((number, repr(error)))
    threads = [threading.Thread(target=client, args=(number,)) for number in range(25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert not problems, problems[:5]


def test_unknown_paths_and_methods_of_the_api(server):
    answer = rawhttp.request(server.port, "GET", "/no/such/path", f"127.0.0.1:{server.port}")
    assert answer.status in (403, 404) and answer.get("x-amzn-errortype")
    answer = rawhttp.request(server.port, "GET", "/health", "any.name.example")
    assert answer.status == 200
