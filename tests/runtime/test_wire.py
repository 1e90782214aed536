"""What both clients do on the wire, byte for byte."""

import json
import socket
import time

import pytest

PREFIX = "/2018-06-01/runtime"


def test_first_request_is_next(api, echo):
    echo()
    api.wait_next()
    assert api.blocks == [f"GET {PREFIX}/invocation/next HTTP/1.1\r\nHost: {api.address}\r\n\r\n".encode()]


def test_response_and_next_arrive_in_one_segment(api, echo):
    echo()
    api.wait_next()
    for number in range(3):
        del api.blocks[:]
        answer = api.invoke(json.dumps({"n": number}).encode())
        assert (answer.path, json.loads(answer.body)) == ("response", {"n": number})
        api.wait_next()
        request_id = f"00000000-0000-4000-8000-{number + 1:012d}"
        body = answer.body.decode()
        assert b"".join(api.blocks).decode() == (
            f"POST {PREFIX}/invocation/{request_id}/response HTTP/1.1\r\nHost: {api.address}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
            f"GET {PREFIX}/invocation/next HTTP/1.1\r\nHost: {api.address}\r\n\r\n"
        )
        assert len(api.blocks) == 1
    assert api.connections == 1


def test_chunked_next(api, echo):
    api.chunked = True
    echo()
    for event in ({"a": "x" * 300}, [1], "ü€😀"):
        assert json.loads(api.invoke(event).body) == event


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("cut", [1, 3, 97])
def test_partial_reads(api, echo, cut, chunked):
    api.cut, api.chunked = cut, chunked
    echo()
    for event in ({"a": "ü" * 50}, {"b": [1, 2, 3]}):
        assert json.loads(api.invoke(event).body) == event


def test_huge_event_and_result(api, echo):
    echo()
    event = {"text": "ä" * 3_000_000}  # 6 MB in UTF-8
    data = json.dumps(event, ensure_ascii=False).encode()
    for chunked in (False, True):
        api.chunked = chunked
        answer = api.invoke(data)
        assert answer.path == "response"
        assert json.loads(answer.body) == event
    assert json.loads(api.invoke({"small": 1}).body) == {"small": 1}
    assert api.connections == 1


def test_result_over_the_limit_is_answered_413_and_work_goes_on(api, echo):
    client = echo()
    api.post_status["/response"] = (413, b'{"errorMessage":"Exceeded","errorType":"RequestEntityTooLarge"}\n')
    assert len(api.invoke({"a": "x" * 6_300_000}).body) > 6_291_556
    api.post_status.clear()
    for number in range(3):
        assert json.loads(api.invoke({"n": number}).body) == {"n": number}
    client.kill()
    assert "Http response code: 413" in client.stderr


def test_other_refusals_of_a_post_do_not_end_the_process(api, echo):
    echo()
    for status in (400, 403, 500):
        api.post_status["/response"] = (status, b"{}")
        assert api.invoke().body == b"{}"
    api.post_status.clear()
    assert api.invoke().body == b"{}"


def test_server_that_closes_after_each_post(api, echo):
    api.close_after_post = True
    echo()
    for number in range(4):
        assert json.loads(api.invoke({"n": number}).body) == {"n": number}
    assert api.connections >= 4


def test_refused_next_ends_the_process(api, echo):
    api.next_status = 500
    client = echo()
    assert client.wait_exit() in (1, 129)
    assert "next answered 500" in client.stderr


def test_closed_connection_ends_the_process(api, echo):
    client = echo()
    api.wait_next()
    api.events.put(None)
    assert client.wait_exit() == 1
    assert "connection closed" in client.stderr


def test_garbage_instead_of_http_ends_the_process(echo, api):
    api.listener.close()
    listener = socket.create_server(("127.0.0.1", 0))
    api.address = f"127.0.0.1:{listener.getsockname()[1]}"
    client = echo()
    connection, _ = listener.accept()
    connection.recv(65536)
    connection.sendall(b"SSH-2.0-x\r\n\r\n\r\n\r\n")
    assert client.wait_exit() == 1
    connection.close()
    listener.close()


def test_host_name_as_address(api, echo):
    api.address = f"localhost:{api.port}"
    echo()
    for number in range(3):
        assert json.loads(api.invoke({"n": number}).body) == {"n": number}


def test_waits_in_next_without_using_cpu(api, echo):
    client = echo()
    api.invoke()
    api.wait_next()

    def ticks():
        with open(f"/proc/{client.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    time.sleep(0.3)
    before = ticks()
    time.sleep(0.5)
    assert ticks() - before <= 2
    assert api.invoke().body == b"{}"


def test_event_of_another_content_type_or_empty(api, echo):
    echo()
    answer = api.invoke(b"")
    assert answer.path == "error"
    assert api.invoke(b'{"a": 1').path == "error"
    assert api.invoke(b"null").body == b"null"
