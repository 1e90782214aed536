"""The command line on a terminal: colour, progress, and texts of functions that would steer it."""

import os
import pty
import random
import select
import subprocess
import time

import pytest
from harness.archives import pack
from harness.paths import IRORI, SLOW

EVIL = "\x1b[2Jfirst\rsecond\x9b31m\x07\x7fend ü"
SHOWN = "?[2Jfirst\r\nsecond?31m??end ü"  # the terminal makes "\r\n" of a line feed


def on_terminal(server, *arguments, env=None, inputs=""):
    """What a person sees of `irori arguments`, and the exit status."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([IRORI, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                          env={**os.environ, "IRORI_ENDPOINT": server.endpoint, "AWS_ACCESS_KEY_ID": server.key,
                               "AWS_SECRET_ACCESS_KEY": server.secret, "NO_COLOR": "", **(env or {})}) as process:
        os.close(theirs)
        os.write(ours, inputs.encode())
        seen, deadline = b"", time.monotonic() + 60 * SLOW
        while True:
            if not select.select([ours], [], [], max(0, deadline - time.monotonic()))[0]:
                process.kill()
                raise AssertionError(f"{arguments} does not end; seen: {seen!r}")
            try:
                data = os.read(ours, 65536)
            except OSError:  # the last end of theirs was closed
                break
            seen += data
        os.close(ours)
    return seen.decode(), process.returncode


@pytest.fixture
def evil(deploy):
    source = ("evil = '\\x1b[2Jfirst\\rsecond\\x9b31m\\x07\\x7fend \\xfc'\n"
              "class Bad(Exception): pass\n"
              "def h(event, context):\n"
              "    print(evil)\n"
              "    if event.get('fail'):\n"
              "        Bad.__name__ = evil\n"
              "        raise Bad(evil)\n"
              "    return evil\n")
    return deploy({"m.py": source}, "python3.11", "m.h")


@pytest.mark.parametrize("no_colour", ["", "1"], ids=["colour", "NO_COLOR"])
def test_functions_do_not_steer_a_terminal(server, evil, no_colour):
    """Log, log tail, error and trace, with colour and without it."""
    for arguments, status in ((["invoke", evil.name, "--tail"], 0), (["invoke", evil.name, '{"fail":1}', "--tail"], 1),
                              (["logs", evil.name], 0)):
        seen, code = on_terminal(server, *arguments, env={"NO_COLOR": no_colour})
        assert code == status and SHOWN in seen, seen
        assert ("\x1b[2m" in seen) == (no_colour == "")
        for own in ("\x1b[2m", "\x1b[31m", "\x1b[0m"):
            seen = seen.replace(own, "")
        assert not [c for c in seen if ord(c) < 0x20 and c not in "\r\n\t" or 0x7f <= ord(c) <= 0x9f], repr(seen)


def test_answers_do_not_steer_a_terminal(server, deploy):
    """A function of its own runtime may answer what is no JSON."""
    bootstrap = ("#!/bin/bash\napi=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation\nwhile :; do\n"
                 "    id=$(curl -sS -D - -o /dev/null $api/next | tr -d '\\r' | sed -n 's/^lambda-runtime-aws-request-id: //Ip')\n"
                 "    printf '\\033[2Jtext' | curl -sS -o /dev/null --data-binary @- $api/$id/response\ndone\n")
    function = deploy({"bootstrap": bootstrap}, "provided.al2023", "x")
    seen, code = on_terminal(server, "invoke", function.name)
    assert (seen, code) == ("?[2Jtext\r\n", 0)
    assert server.irori("invoke", function.name).stdout == "\x1b[2Jtext\n"


def test_pipes_get_what_functions_wrote(server, evil):
    """Only a carriage return breaks a line of the log there, too."""
    environment = {**os.environ, "IRORI_ENDPOINT": server.endpoint, "AWS_ACCESS_KEY_ID": server.key,
                   "AWS_SECRET_ACCESS_KEY": server.secret}
    failed = subprocess.run([IRORI, "invoke", evil.name, '{"fail":1}'], capture_output=True, check=False, env=environment)
    assert failed.returncode == 1 and f"with {EVIL}: {EVIL}\n".encode() in failed.stderr
    logs = subprocess.run([IRORI, "logs", evil.name], capture_output=True, check=True, env=environment)
    assert EVIL.replace("\r", "\n").encode() in logs.stdout


def test_colour_and_progress(server, tmp_path):
    """Steps and the upload's progress are shown, colours too; `rm` asks."""
    archive = tmp_path / "large.zip"
    filler = random.Random(1).randbytes(4 << 20)
    archive.write_bytes(pack({"index.mjs": "export const handler = async () => 1;", "filler": filler}))
    name = server.name("terminal")
    try:
        seen, code = on_terminal(server, "deploy", str(archive), "--name", name)
        assert code == 0
        assert f"Creating {name}: nodejs" in seen and "\x1b[32mCreated\x1b[0m " + name in seen, seen
        assert "\rUploading 5.6 MB: " in seen and ": 100 %\r\n" in seen, seen
        assert "\x1b[1mNAME" in on_terminal(server, "ls")[0]
        assert "\x1b" not in on_terminal(server, "ls", env={"NO_COLOR": "1"})[0]
        seen, code = on_terminal(server, "rm", name, inputs="n\n")
        assert code == 1 and f"Delete {name} with all versions, aliases and URLs? [y/N] " in seen
        assert server.lam.get_function(FunctionName=name)
        seen, code = on_terminal(server, "rm", name, inputs="y\n")
        assert code == 0 and f"Deleted {name}" in seen
    finally:
        server.irori("rm", name, check=False)
