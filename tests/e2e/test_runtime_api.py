"""The Runtime API as a hostile or confused runtime meets it, on the real sandbox (spec runtime-api.md section 2)."""

import pytest
from harness import build


@pytest.fixture(scope="module")
def misuse(server):
    return server.deploy({"bootstrap": build.c_program("protocol")}, "provided.al2023", "x", server.name("protocol"), Timeout=5)


@pytest.mark.parametrize("what,status,text", [
    ("ping", 200, "pong"),
    ("wrong-id", 400, "InvalidRequestID"),
    ("init-error", 403, "InvalidStateTransition"),
    ("nonsense", 404, ""),
])
def test_answers(misuse, what, status, text):
    """Each misuse gets its status, and the invocation still gets its response."""
    answer = misuse.call(what)
    assert answer["status"] == status and text in answer["body"]


def test_next_while_running_repeats_the_invocation(misuse):
    """The same invocation again, no transition."""
    answer = misuse.call("next-again")
    assert answer["status"] == 200 and "next-again" in answer["body"]


def test_a_second_response_is_refused(misuse):
    result = misuse.invoke("twice", tail=True)
    assert result.error is None
    again = misuse.invoke("nothing", tail=True)
    assert "second response: 400" in result.log + again.log or "second response: 403" in result.log + again.log


def test_bad_response_mode_fails_the_invocation(misuse):
    """Runtime.InvalidResponseModeHeader with an empty body; the runtime gets 400."""
    result = misuse.invoke("bad-mode")
    assert result.error == "Unhandled" and result.payload == b""
    assert misuse.call("ping")["status"] == 200
