"""What the options of the command line do, one by one; the usual way is in test_cli.py."""

import json
import re
import subprocess
import threading
import time

import pytest
from harness import wait
from harness.aws import refused
from harness.paths import IRORI

HANDLER = """
export const handler = async (event, context) => {
  console.log("said " + JSON.stringify(event));
  return { event, version: context.functionVersion, custom: context.clientContext?.custom ?? null };
};
"""


@pytest.fixture
def function(deploy):
    return deploy({"index.mjs": HANDLER})


def test_where_an_event_comes_from(server, function, tmp_path):
    """The word behind the name, --payload, a file, standard input; without one it is {}."""
    (tmp_path / "event.json").write_text('{"from":"file"}')
    for arguments, stdin, event in (
            ([], None, {}), (['{"from":"word"}'], None, {"from": "word"}), (["-p", '{"from":"-p"}'], None, {"from": "-p"}),
            (["--payload", '{"from":"option"}'], None, {"from": "option"}), ([f"@{tmp_path}/event.json"], None, {"from": "file"}),
            (["--payload", f"@{tmp_path}/event.json"], None, {"from": "file"}), (["-"], '{"from":"input"}', {"from": "input"}),
            (["--payload", "-"], '{"from":"input"}', {"from": "input"})):
        done = server.irori("invoke", function.name, *arguments, stdin=stdin)
        assert json.loads(done.stdout)["event"] == event, arguments
        assert done.stderr == ""
    absent = server.irori("invoke", function.name, f"@{tmp_path}/absent.json", check=False)
    assert absent.returncode == 1 and "absent.json" in absent.stderr
    assert server.irori("invoke", function.name, "{}", "--payload", "{}", check=False).returncode == 2


@pytest.mark.parametrize("option", ["--qualifier", "-q"])
def test_invoke_a_version_or_an_alias(server, function, option):
    server.lam.publish_version(FunctionName=function.name)
    server.lam.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1")
    for qualifier, version in (("1", "1"), ("live", "1"), ("$LATEST", "$LATEST")):
        assert json.loads(server.irori("invoke", function.name, option, qualifier).stdout)["version"] == version
    absent = server.irori("invoke", function.name, option, "absent", check=False)
    assert absent.returncode == 1 and "absent" in absent.stderr


def test_invoke_with_a_client_context(server, function):
    context = json.dumps({"custom": {"key": "välue"}})
    assert json.loads(server.irori("invoke", function.name, "--client-context", context).stdout)["custom"] == {"key": "välue"}
    wrong = server.irori("invoke", function.name, "--client-context", "{", check=False)
    assert wrong.returncode == 1 and "client context" in wrong.stderr


def test_invoke_in_json_and_with_its_log(server, function, deploy):
    answer = server.irori_json("invoke", function.name, '{"a":1}')
    assert set(answer) == {"statusCode", "functionError", "executedVersion", "payload", "logTail"}
    assert (answer["statusCode"], answer["functionError"], answer["executedVersion"]) == (200, None, "$LATEST")
    assert answer["payload"]["event"] == {"a": 1}
    assert 'said {"a":1}' in answer["logTail"] and "REPORT RequestId: " in answer["logTail"]
    done = server.irori("invoke", function.name, '{"b":2}', "--tail")
    assert 'said {"b":2}' in done.stderr and json.loads(done.stdout)["event"] == {"b": 2}
    failing = deploy({"index.mjs": "export const handler = async () => { throw new TypeError('no'); };"})
    done = server.irori("invoke", failing.name, "--json", check=False)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["functionError"], answer["payload"]["errorType"]) == (1, "Unhandled", "TypeError")


@pytest.mark.parametrize("option", ["--timestamps", "-t"])
def test_logs_with_times(server, function, option):
    begin = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() - 60))
    function.call({"a": 1})
    lines = server.irori("logs", function.name, option).stdout.splitlines()
    assert len(lines) >= 4
    for line in lines:
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \S", line) and line[:16] >= begin, line
    plain = server.irori("logs", function.name).stdout.splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == plain


@pytest.mark.parametrize("option", ["--lines", "-n"])
def test_logs_of_the_last_lines(server, function, option):
    for number in range(3):
        function.call({"n": number})
    plain = server.irori("logs", function.name).stdout.splitlines()
    for count in (1, 5):
        assert server.irori("logs", function.name, option, str(count)).stdout.splitlines() == plain[-count:]
    assert server.irori("logs", function.name, option, "none", check=False).returncode == 2
    events = server.irori_json("logs", function.name, option, "2")["events"]
    assert len(events) == 2 and set(events[0]) == {"timestamp", "stream", "message"}
    assert events[1]["message"].startswith("REPORT RequestId: ")


@pytest.mark.parametrize("option", ["--follow", "-f"])
def test_logs_followed_in_json(server, function, option):
    """One event a line, also what comes later."""
    function.call({"n": "before"})
    follower = subprocess.Popen([IRORI, "logs", function.name, option, "--json", "--endpoint", server.endpoint, "--data", server.data],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seen = []
    threading.Thread(target=lambda: seen.extend(iter(follower.stdout.readline, "")), daemon=True).start()
    try:
        wait.until(lambda: any("before" in line for line in seen), 8, "what was there")
        function.call({"n": "after"})
        wait.until(lambda: any("after" in line for line in seen), 8, "what came")
    finally:
        follower.terminate()
        follower.wait(5)
    assert all(set(json.loads(line)) == {"timestamp", "stream", "message"} for line in seen)


def test_url_is_made_shown_and_removed(server, function):
    none = server.irori("url", function.name, check=False)
    assert none.returncode == 1 and "--create" in none.stderr
    made = server.irori("url", function.name, "--create").stdout.strip()
    assert made == server.lam.get_function_url_config(FunctionName=function.name)["FunctionUrl"]
    assert server.irori("url", function.name, "--create").stdout.strip() == made
    assert server.irori("url", function.name).stdout.strip() == made
    shown = {"name": function.name, "url": made, "authType": "NONE"}
    assert server.irori_json("url", function.name) == server.irori_json("url", function.name, "--create") == shown
    assert server.irori("url", function.name, "--create", "--delete", check=False).returncode == 2
    assert function.name in server.irori("url", function.name, "--delete").stdout
    refused(lambda: server.lam.get_function_url_config(FunctionName=function.name), "ResourceNotFoundException")
    server.irori("url", function.name, "--create")
    assert server.irori_json("url", function.name, "--delete") == {"name": function.name, "url": None}


@pytest.mark.parametrize("option", [[], ["--yes"], ["-y"]], ids=lambda words: "".join(words) or "plain")
def test_rm_of_several(server, option):
    names = [server.deploy({"index.mjs": HANDLER}).name for _ in range(4)]
    assert server.irori("rm", *names[:2], *option).stdout.splitlines() == [f"Deleted {name}" for name in names[:2]]
    assert server.irori_json("rm", *names[2:], *option) == {"removed": names[2:]}
    left = {item["FunctionName"] for page in server.lam.get_paginator("list_functions").paginate() for item in page["Functions"]}
    assert not left & set(names)


def test_deploy_sets_what_is_given_and_keeps_the_rest(server, tmp_path):
    """--env adds to the variables that are there and replaces those of its name; short options are the long ones."""
    (tmp_path / "index.mjs").write_text(HANDLER)
    name = server.name("options")
    role = "arn:aws:iam::000000000000:role/given"
    server.irori("deploy", str(tmp_path), "-n", name, "-e", "V1=1", "-e", "V2=2", "-m", "192", "-t", "9", "--description", "first",
                 "--role", role)
    try:
        def config():
            found = server.lam.get_function_configuration(FunctionName=name)
            return (found["Environment"]["Variables"], found["MemorySize"], found["Timeout"], found["Description"], found["Role"],
                    found["Runtime"], found["Handler"])
        runtime, handler = config()[5:]
        assert runtime.startswith("nodejs") and handler == "index.handler"
        assert config()[:5] == ({"V1": "1", "V2": "2"}, 192, 9, "first", role)
        server.irori("deploy", str(tmp_path), "--name", name, "--env", "V2=x=y", "--env", "V3=")
        assert config()[:5] == ({"V1": "1", "V2": "x=y", "V3": ""}, 192, 9, "first", role)
        server.irori("deploy", str(tmp_path), "--name", name, "--description", "second", "--timeout", "11")
        assert config()[:5] == ({"V1": "1", "V2": "x=y", "V3": ""}, 192, 11, "second", role)
        for wrong in (["--env", "no-equals"], ["--memory", "much"], ["--runtime", "cobol1.x"], ["--clean-state", "--no-clean-state"]):
            assert server.irori("deploy", str(tmp_path), "--name", name, *wrong, check=False).returncode in (1, 2), wrong
        assert config()[2] == 11
    finally:
        server.irori("rm", name)


def test_heads_of_the_tables(server, function):
    function.call({})
    assert server.irori("ps").stdout.split("\n")[0].split() == [
        "ID", "FUNCTION", "VERSION", "RUNTIME", "STATE", "AGE", "REQUESTS", "MEMORY", "START"]
    assert server.irori("ls").stdout.split("\n")[0].split() == [
        "NAME", "RUNTIME", "HANDLER", "MEMORY", "TIMEOUT", "CODE", "MODIFIED"]
    row = next(line.split() for line in server.irori("ps").stdout.splitlines() if function.name in line.split())
    found = next(one for one in server.environments() if one["function"] == function.name)
    assert row[0] == found["id"][:12] and row[1:4] == [function.name, "$LATEST", "nodejs20.x"] and row[-1] == found["start"]


def test_region_of_the_server(own_server):
    """--region, then AWS_REGION, then AWS_DEFAULT_REGION; another one than the server's is refused with advice."""
    server = own_server("--region", "eu-central-1")
    plain = {"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}
    assert server.irori("ls", "--region", "eu-central-1", env=plain).returncode == 0
    assert server.irori("ls", env={**plain, "AWS_REGION": "eu-central-1"}).returncode == 0
    assert server.irori("ls", env={**plain, "AWS_DEFAULT_REGION": "eu-central-1"}).returncode == 0
    wrong = server.irori("ls", "--region", "us-west-2", env={"AWS_REGION": "eu-central-1"}, check=False)
    assert wrong.returncode == 1 and "region us-west-2; name the server's with --region" in wrong.stderr, wrong.stderr
