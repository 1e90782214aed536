"""irori doctor NAME: what one request leaves for the next, found in real functions."""

import json
import os

import pytest
from test_snapstart import SNAP, of_version, publish, settled

from harness.paths import ROOT

CLEAN = {"index.mjs": "export const handler = async (event) => ({ statusCode: 200, body: `hello ${event.queryStringParameters?.name ?? ''}` });"}
LOGS_LATER = {"index.mjs": """
let before;
export const handler = async (event) => {
  if (before) console.log('before this:', before);
  before = event.headers.authorization;
  return { statusCode: 200, body: 'done' };
};
"""}
KEEPS_FILE = {"index.py": """
def handler(event, context):
    with open("/tmp/last.json", "a") as out:
        out.write(event["headers"]["authorization"])
    return {"statusCode": 200, "body": "done"}
"""}
CRASHES = {"index.mjs": "export const handler = async () => { process.exit(3); };"}
OWN = {"index.py": """
last = None
def handler(event, context):
    global last
    found, last = last, event["secret"]
    return {"found": found}
"""}
HOLDS_SOCKETS = {"index.py": """
import socket
with socket.create_server(("127.0.0.1", 0)) as listener:
    ours = socket.create_connection(listener.getsockname())
    theirs, _ = listener.accept()
def handler(event, context):
    return {"statusCode": 200, "body": "done"}
"""}
needs_templates = pytest.mark.skipif(os.uname().machine != "x86_64", reason="templates need an x86-64 processor")


def findings(done, kind):
    """Those of one kind in a report."""
    return [one for one in json.loads(done.stdout)["findings"] if one["kind"] == kind]


def doctor(server, name, *more, status):
    done = server.irori("doctor", name, "--json", "--yes", *more, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def test_what_the_example_keeps_is_caught(server):
    """The previous caller's query parameter in the next one's answer: status 1, named, its middle masked."""
    folder = ROOT / "examples" / "warmstart"
    name = server.name("leaky")
    server.irori("deploy", str(folder), "--name", name)
    report = doctor(server, name, status=1).stdout
    assert "message" in report
    shown = server.irori("doctor", name, "--yes", check=False)
    assert shown.returncode == 1 and "really" in (shown.stderr + shown.stdout)
    assert json.loads(report)


def test_a_function_that_keeps_nothing_is_well(server):
    doctor(server, server.deploy(CLEAN).name, status=0)


def test_a_value_in_the_next_one_s_log_is_caught(server):
    doctor(server, server.deploy(LOGS_LATER).name, status=1)


def test_a_file_is_told_and_no_failure(server):
    report = doctor(server, server.deploy(KEEPS_FILE, "python3.11").name, status=0).stdout
    assert "/tmp/last.json" in report


def test_what_cannot_be_told_is_said(server):
    doctor(server, server.deploy(CRASHES).name, status=2)
    doctor(server, "there-is-none", status=2)


def test_events_of_one_s_own(server, tmp_path):
    for name, secret in (("a", "first-secret-5b1f"), ("b", "second-secret-77aa")):
        (tmp_path / f"{name}.json").write_text(json.dumps({"secret": secret}))
    events = ["--event", str(tmp_path / "a.json"), "--event", str(tmp_path / "b.json")]
    report = doctor(server, server.deploy(OWN, "python3.11").name, *events, status=1).stdout
    assert "first-secret-5b1f" not in report, "its middle is masked"


@needs_templates
def test_sockets_that_were_open_when_the_template_was_made(server):
    """They are dead in every clone: the report and `irori ps --templates` count them."""
    function = server.deploy(HOLDS_SOCKETS, "python3.11", **SNAP)
    version = publish(function)
    assert settled(function, version)["State"] == "Active"
    assert of_version(server, function, version)["sockets"] == 2
    head, *rows = [line.split() for line in server.irori("ps", "--templates").stdout.splitlines()]
    row = next(row for row in rows if row[0] == f"{function.name}:{version}")
    assert row[head.index("SOCKETS") + 1] == "2", row  # an age is two words
    done = doctor(server, function.name, "--qualifier", version, status=0)
    found = findings(done, "template-sockets")
    assert [one["sockets"] for one in found] == [2] and "2 sockets were open when the template was made" in found[0]["text"]
    assert findings(doctor(server, function.name, status=0), "template-sockets") == [], "$LATEST has no template of its own"


def test_its_environments_serve_nobody_else_and_end(server):
    function = server.deploy(LOGS_LATER)
    doctor(server, function.name, status=1)
    assert [one for one in server.environments() if one["function"] == function.name and one["state"] not in ("stopping", "dead")] == []


@pytest.mark.parametrize("value", ["new", "8b7b0a57-3f43-4a4f-9a52-6c5b0c0b6c1f", "nonsense"])
def test_an_environment_of_one_s_own_is_for_the_account_s_key(server, value):
    """A function's temporary key may not ask for one."""
    function = server.deploy({"index.mjs": "export const handler = async () => process.env;"})
    keys = function.call({})
    import harness.aws as aws
    lam = aws.client(server.endpoint, keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"], keys["AWS_SESSION_TOKEN"])
    lam.meta.events.register("before-sign.lambda.Invoke", lambda request, **_: request.headers.add_header("X-Irori-Environment", value))
    with pytest.raises(Exception, match="AccessDenied"):
        lam.invoke(FunctionName=function.name)
