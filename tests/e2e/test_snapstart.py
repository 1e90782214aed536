"""Templates of one version, made after its INIT: SnapStart, and environments that serve one invocation (clean state)."""

import concurrent.futures
import json
import os
import re

import pytest
from harness import aws, wait

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="templates need an x86-64 processor")

# A runtime of the customer's own; "restore" or "next" says where it waits.
PROVIDED = """#!/usr/bin/python3 -S
import http.client, json, os, sys, time
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
def call(method, path, body=None, headers={}):
    api.request(method, path, body, headers)
    answer = api.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()
count, born = 0, os.urandom(8).hex()
print("INIT of", born, flush=True)
waits = os.environ["WAITS"]
if waits == "exit":
    sys.exit(3)
restored = None
if waits in ("restore", "restore-fails"):
    restored = call("GET", "/2018-06-01/runtime/restore/next")[0]
if waits == "restore-fails":
    call("POST", "/2018-06-01/runtime/restore/error", b'{"errorType":"Hook","errorMessage":"broken hook"}',
         {"Lambda-Runtime-Function-Error-Type": "Runtime.AfterRestoreError"})
    sys.exit(65)
while True:
    status, headers, event = call("GET", "/2018-06-01/runtime/invocation/next")
    event = json.loads(event)
    count += 1
    time.sleep(event.get("sleep", 0) if isinstance(event, dict) else 0)
    tmp = sorted(os.listdir("/tmp"))
    open("/tmp/%d" % count, "w").close()
    answer = {"count": count, "born": born, "restored": restored, "env": dict(os.environ), "pid": os.getpid(), "tmp": tmp}
    if isinstance(event, dict) and "credentials" in event:
        token = os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"] if event["credentials"] is None else event["credentials"]
        got = call("GET", "/2021-04-23/credentials", headers={"Authorization": token})
        answer["credentials"] = [got[0], got[2].decode()]
    headers = {key.lower(): value for key, value in headers.items()}
    call("POST", "/2018-06-01/runtime/invocation/%s/response" % headers["lambda-runtime-aws-request-id"], json.dumps(answer))
"""
NODE = {"index.mjs": """
import { randomBytes, randomUUID } from 'node:crypto';
let count = 0;
const born = randomBytes(8).toString('hex'), early = [randomUUID(), Math.random()];
console.log('INIT of', born);
export const handler = async (event) => {
  await new Promise((done) => setTimeout(done, (event.sleep ?? 0) * 1000));
  return { count: ++count, born, early, uuid: randomUUID(), math: Math.random(), bytes: randomBytes(8).toString('hex'), pid: process.pid, env: process.env };
};
"""}
PYTHON = {"index.py": """
import os, random, time, uuid
count, born = 0, os.urandom(8).hex()
print("INIT of", born)
def handler(event, context):
    global count
    count += 1
    time.sleep(event.get("sleep", 0))
    return {"count": count, "born": born, "uuid": str(uuid.uuid4()), "math": random.random(), "bytes": os.urandom(8).hex(), "pid": os.getpid(), "env": dict(os.environ)}
"""}
KINDS = {"node": ("nodejs20.x", NODE), "python": ("python3.11", PYTHON), "provided": ("provided.al2023", {"bootstrap": PROVIDED})}
SNAP = {"SnapStart": {"ApplyOn": "PublishedVersions"}}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def make(server, kind, waits="restore", **config):
    runtime, files = KINDS[kind]
    return server.deploy(files, runtime, "index.handler", Environment={"Variables": {"WAITS": waits}}, **config)


def of_version(server, function, version):
    return next((one for one in server.irori_json("ps", "--templates")["templates"]
                 if one["kind"] == "function" and one["function"] == function.name and one["version"] == version), {})


def publish(function):
    answer = function.server.lam.publish_version(FunctionName=function.name)
    assert answer["State"] == "Pending" and answer["StateReasonCode"] == "Creating"
    assert answer["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"}
    return answer["Version"]


def settled(function, version):
    """The version's configuration, when it is Pending no more."""
    def state():
        found = function.server.lam.get_function_configuration(FunctionName=function.name, Qualifier=version)
        return found if found["State"] != "Pending" else None
    return wait.until(state, 30, f"version {version} of {function.name}")


def logs(function):
    return "\n".join(event["message"] for event in function.server.irori_json("logs", function.name, "-n", "1000")["events"])


def at_once(function, events, **more):
    with concurrent.futures.ThreadPoolExecutor(len(events)) as pool:
        return list(pool.map(lambda event: function.call(event, **more), events))


def test_a_published_version_is_restored(server, kind):
    """INIT runs once, before the version is Active; every environment is a clone that says so in its log."""
    function = make(server, kind, **SNAP)
    version = publish(function)
    found = settled(function, version)
    assert found["State"] == "Active" and found["SnapStart"]["OptimizationStatus"] == "On"
    assert of_version(server, function, version)["state"] == "ready", server.irori("ps", "--templates").stdout
    answers = at_once(function, [{"sleep": 0.5}] * 3, Qualifier=version)
    assert [one["count"] for one in answers] == [1, 1, 1] and len({one["born"] for one in answers}) == 1
    for answer in answers:
        env = answer["env"]
        assert env["AWS_LAMBDA_INITIALIZATION_TYPE"] == "snap-start" and env["AWS_LAMBDA_FUNCTION_VERSION"] == version
        assert "AWS_ACCESS_KEY_ID" not in env and "IRORI_TEMPLATE" not in env
    assert function.call({}, Qualifier=version)["count"] == 2
    assert of_version(server, function, version)["clones"] == 3
    text = logs(function)
    assert text.count("INIT of") == 1 and text.count("RESTORE_START Runtime Version: ") == 3
    assert len(re.findall(r"RESTORE_REPORT Restore Duration: \d+\.\d\d ms\n", text)) == 3
    assert len(re.findall(r"\tRestore Duration: \d+\.\d\d ms\tBilled Restore Duration: \d+ ms\t", text)) == 3
    assert "Init Duration" not in text


MADE = {"index.mjs": """
import { execFileSync } from 'node:child_process';
const child = () => execFileSync(process.execPath, ['-p', 'JSON.stringify([process.execArgv[0], process.env.LD_PRELOAD])']).toString();
const init = child();
export const handler = async () => [process.execArgv, process.env.LD_PRELOAD ?? null, JSON.parse(init), JSON.parse(child())];
"""}


def test_functions_do_not_see_how_node_is_prepared_for_cloning(server):
    function = server.deploy(MADE, "nodejs20.x", "index.handler", MemorySize=512, Timeout=30, **SNAP)
    version = publish(function)
    settled(function, version)
    plain = ["-p", None]
    assert function.call({}, Qualifier=version) == [[], None, plain, plain]
    assert of_version(server, function, version)["clones"] == 1
    assert function.call({}) == [[], None, plain, plain]  # $LATEST: of the runtime's template, or ordinary


def test_clones_of_a_version_differ_in_what_is_random(server):
    for kind in ("node", "python"):
        function = make(server, kind, **SNAP)
        version = publish(function)
        settled(function, version)
        answers = at_once(function, [{"sleep": 1}] * 8, Qualifier=version)
        for what in ("uuid", "math", "bytes"):
            assert len({one[what] for one in answers}) == 8, (kind, what)
        if kind == "node":
            assert len({json.dumps(one["env"]["AWS_LAMBDA_LOG_STREAM_NAME"]) for one in answers}) == 8


@pytest.mark.parametrize("waits,restored", [("restore", 200), ("next", None)])
def test_a_custom_runtime_waits_where_it_likes(server, waits, restored):
    function = make(server, "provided", waits, **SNAP)
    version = publish(function)
    settled(function, version)
    answers = at_once(function, [{"sleep": 0.5}] * 2, Qualifier=version)
    assert len({one["born"] for one in answers}) == 1 and {one["restored"] for one in answers} == {restored}
    assert all(one["tmp"] == [] for one in answers)
    # $LATEST is an ordinary function.
    assert function.call({})["env"]["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"


def test_credentials_are_asked_for(server):
    function = make(server, "provided", **SNAP)
    version = publish(function)
    settled(function, version)
    first, second = at_once(function, [{"sleep": 0.5, "credentials": None}] * 2, Qualifier=version)
    keys = [json.loads(one["credentials"][1]) for one in (first, second)]
    assert keys[0]["AccessKeyId"].startswith("ASIA") and keys[0]["AccessKeyId"] != keys[1]["AccessKeyId"]
    assert set(keys[0]) == {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"}
    refused = function.call({"credentials": "wrong"}, Qualifier=version)["credentials"]
    assert refused == [404, "cannot get credentials for the provided token"]
    # They are recognised, and nobody has granted them anything.
    with pytest.raises(Exception, match="AccessDenied"):
        aws.client(server.endpoint, keys[0]["AccessKeyId"], keys[0]["SecretAccessKey"], keys[0]["Token"]).list_functions()


def test_an_init_that_fails_makes_the_version_fail(server):
    function = make(server, "provided", "exit", **SNAP)
    version = publish(function)
    found = settled(function, version)
    assert found["State"] == "Failed" and found["StateReasonCode"] == "FunctionError" and "exit status 3" in found["StateReason"]
    with pytest.raises(server.lam.exceptions.ResourceConflictException, match="Failed"):
        function.invoke({}, Qualifier=version)
    assert re.search(r"INIT_REPORT Init Duration: [\d.]+ ms\tPhase: init\tStatus: error\tError Type: Runtime.ExitError", logs(function))


def test_a_restore_that_fails_is_the_answer(server):
    """As with an INIT, it is tried again inside the invocation, which then tells."""
    function = make(server, "provided", "restore-fails", **SNAP)
    version = publish(function)
    assert settled(function, version)["State"] == "Active"
    result = function.invoke({}, Qualifier=version)
    assert result.error == "Unhandled" and result.json["errorMessage"] == "broken hook"
    assert re.search(r"RESTORE_REPORT Restore Duration: [\d.]+ ms\tStatus: error\tError Type: Runtime.AfterRestoreError", logs(function))


def test_without_templates_the_same_api_serves(own_server):
    """The legal emulation: INIT in every environment, restore/next answered at once."""
    server = own_server("--templates", "false")
    function = make(server, "provided", **SNAP)
    version = publish(function)
    assert settled(function, version)["State"] == "Active"
    answers = at_once(function, [{"sleep": 0.5}] * 2, Qualifier=version)
    assert len({one["born"] for one in answers}) == 2 and all(one["restored"] == 200 for one in answers)
    assert answers[0]["env"]["AWS_LAMBDA_INITIALIZATION_TYPE"] == "snap-start"


def test_pending_survives_a_restart_of_the_server(own_server):
    server = own_server()
    function = make(server, "provided", **SNAP)
    version = publish(function)
    server.kill()
    server.start()
    assert settled(function, version)["State"] == "Active"
    assert function.call({}, Qualifier=version)["count"] == 1


def test_another_version_has_a_template_of_its_own(server):
    function = make(server, "provided", **SNAP)
    first = publish(function)
    settled(function, first)
    function.configure(Environment={"Variables": {"WAITS": "next", "MORE": "1"}})
    second = publish(function)
    settled(function, second)
    one, two = function.call({}, Qualifier=first), function.call({}, Qualifier=second)
    assert one["born"] != two["born"] and "MORE" not in one["env"] and two["env"]["MORE"] == "1"
    server.lam.delete_function(FunctionName=function.name, Qualifier=first)
    wait.until(lambda: not of_version(server, function, first), 10, "the end of the template")
    assert of_version(server, function, second)["state"] == "ready"


# ---- clean state ----

def clean(server, kind, waits="restore", **config):
    return make(server, kind, waits, Tags={"irori:state": "clean"}, **config)


def spares(server, function):
    return [one for one in server.irori_json("ps")["environments"] if one["function"] == function.name and one["state"] in ("idle", "frozen")]


def test_every_invocation_gets_an_environment_of_its_own(server, kind):
    function = clean(server, kind)
    wait.until(lambda: of_version(server, function, "$LATEST").get("state") == "ready", 30, "the template")
    answers = [function.call({}) for _ in range(20)]
    assert {one["count"] for one in answers} == {1}
    assert len({one["born"] for one in answers}) == 1, "they are clones"
    if kind == "provided":
        assert all(one["tmp"] == [] for one in answers)
    else:
        for what in ("uuid", "math", "bytes"):
            assert len({one[what] for one in answers}) == 20, what


def test_one_is_made_ahead(server):
    function = clean(server, "provided")
    wait.until(lambda: of_version(server, function, "$LATEST").get("state") == "ready", 30, "the template")
    function.call({})
    wait.until(lambda: len(spares(server, function)) == 1, 10, "a spare environment")
    before = spares(server, function)[0]["id"]
    at_once(function, [{"sleep": 0.3}] * 4)
    wait.until(lambda: len(spares(server, function)) >= 4, 10, "as many as were busy at once")
    assert before not in {one["id"] for one in spares(server, function)}


def test_clean_state_comes_and_goes_with_the_tag(server):
    function = make(server, "provided", "next")
    assert [function.call({})["count"] for _ in range(3)] == [1, 2, 3]
    server.lam.tag_resource(Resource=function.arn, Tags={"irori:state": "clean"})
    assert [function.call({})["count"] for _ in range(3)] == [1, 1, 1]
    server.lam.untag_resource(Resource=function.arn, TagKeys=["irori:state"])
    assert [function.call({})["count"] for _ in range(3)] == [1, 2, 3]


def test_more_requests_than_spares_wait_for_their_own(server):
    function = clean(server, "python")
    wait.until(lambda: of_version(server, function, "$LATEST").get("state") == "ready", 30, "the template")
    answers = at_once(function, [{"sleep": 0.05}] * 40)
    assert {one["count"] for one in answers} == {1} and len({one["bytes"] for one in answers}) == 40


def test_new_code_makes_a_new_template(server):
    function = clean(server, "provided", "next")
    wait.until(lambda: of_version(server, function, "$LATEST").get("state") == "ready", 30, "the template")
    old = function.call({})["born"]
    function.update_code({"bootstrap": PROVIDED.replace('"count": count', '"new": 1, "count": count')})
    answers = [function.call({}) for _ in range(5)]
    assert all(one["new"] == 1 and one["count"] == 1 and one["born"] != old for one in answers)


def test_an_init_that_fails_does_not_spin(server):
    function = clean(server, "provided", "exit")
    for _ in range(3):
        assert function.invoke({}).error == "Unhandled"
    text = logs(function)
    assert text.count("INIT of") <= 3 * 2 + 2


def test_deploy_sets_the_tag_and_takes_it_back(server, tmp_path):
    (tmp_path / "index.mjs").write_text(NODE["index.mjs"])
    name = server.name("clean")

    def deploy(*flags):
        return server.irori_json("deploy", str(tmp_path), "--name", name, *flags)

    def counts():
        return [json.loads(server.irori("invoke", name, "{}").stdout)["count"] for _ in range(2)]

    assert deploy("--clean-state")["created"] and counts() == [1, 1]
    assert not deploy()["changed"] and counts() == [1, 1]
    assert deploy("--no-clean-state")["changed"] and counts() == [1, 2]
    assert not deploy("--no-clean-state")["changed"]
    assert deploy("--clean-state")["changed"] and counts() == [1, 1]
    both = server.irori("deploy", str(tmp_path), "--clean-state", "--no-clean-state", check=False)
    assert both.returncode == 1 and "exclude each other" in both.stderr
