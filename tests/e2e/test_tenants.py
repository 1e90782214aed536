"""Tenant isolation: whose environment a request gets, through Invoke and function URLs (spec lifecycle.md section 5)."""

import concurrent.futures
import itertools
import json
import os
import re

import pytest
from harness import aws, procs, rawhttp, wait
from harness.archives import pack
from harness.aws import refused

TENANCY = {"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}
WITHOUT = "The invoked function is enabled with tenancy configuration. Add a valid tenant ID in your request and try again."
UNASKED = "The invoked function is not enabled with tenancy configuration. Remove the tenant ID from your request and try again."
NODE = {"index.mjs": """
import fs from 'node:fs';
const seen = [];
export const handler = async (event, context) => {
  if (event.requestContext) event = JSON.parse(event.headers['x-event'] ?? '{}');
  seen.push(context.tenantId);
  fs.appendFileSync('/tmp/seen', context.tenantId + '\\n');
  await new Promise((done) => setTimeout(done, event.ms ?? 0));
  if (event.log) console.log(event.log);
  return { seen, tmp: fs.readFileSync('/tmp/seen', 'utf8').split('\\n').slice(0, -1), stream: context.logStreamName };
};
"""}
PYTHON = {"index.py": """
import time
seen = []
def handler(event, context):
    seen.append(context.tenant_id)
    with open("/tmp/seen", "a+") as file:
        file.write(context.tenant_id + "\\n")
        file.seek(0)
        tmp = file.read().splitlines()
    time.sleep(event.get("ms", 0) / 1000)
    return {"seen": seen, "tmp": tmp, "stream": context.log_stream_name}
"""}
PROVIDED = {"bootstrap": """#!/usr/bin/python3 -S
import http.client, json, os
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
def call(method, path, body=None):
    api.request(method, "/2018-06-01/runtime/invocation/" + path, body)
    answer = api.getresponse()
    return {key.lower(): value for key, value in answer.getheaders()}, answer.read()
seen = []
while True:
    headers, _ = call("GET", "next")
    seen.append(headers["lambda-runtime-aws-tenant-id"])
    tmp = open("/tmp/seen", "a+")
    tmp.write(seen[-1] + "\\n")
    tmp.seek(0)
    answer = {"seen": seen, "tmp": tmp.read().splitlines(), "stream": os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]}
    tmp.close()
    call("POST", headers["lambda-runtime-aws-request-id"] + "/response", json.dumps(answer))
"""}
KINDS = {"node": ("nodejs20.x", NODE), "python": ("python3.11", PYTHON), "provided": ("provided.al2023", PROVIDED)}


@pytest.fixture(params=KINDS)
def function(request, deploy):
    """A function with tenants, of each kind of runtime."""
    runtime, files = KINDS[request.param]
    return deploy(files, runtime, **TENANCY)


@pytest.fixture
def node(deploy):
    return deploy(NODE, "nodejs20.x", **TENANCY)


def seen(function, tenant, event=None, **more):
    """What the environment that served this tenant has seen so far: globals and /tmp agree."""
    answer = function.call(event or {}, TenantId=tenant, **more)
    assert answer["seen"] == answer["tmp"]
    return answer["seen"]


def post(server, name, *tenants, signed=True, header="X-Amz-Tenant-Id", body=b"{}"):
    """Invoke as no client would send it: with this header as often as there are tenants."""
    path = f"/2015-03-31/functions/{name}/invocations"
    more = {"X-Amz-Tenant-Id": ",".join(tenant.strip() for tenant in tenants)} if signed else {}
    _, own = aws.signed("POST", server.endpoint + path, server.key, server.secret, body, more)
    pairs = [(key, value) for key, value in own.items() if key.lower() not in ("host", "content-length", "x-amz-tenant-id")]
    pairs += [(header, tenant.encode().decode("latin-1")) for tenant in tenants]
    return rawhttp.request(server.port, "POST", path, f"127.0.0.1:{server.port}", pairs, body)


def message(answer):
    body = json.loads(answer.body)
    return body.get("message") or body.get("Message")


def test_globals_and_tmp_are_a_tenants_own(function):
    assert seen(function, "blue") == ["blue"]
    assert seen(function, "green") == ["green"]
    assert seen(function, "blue") == ["blue"] * 2
    assert seen(function, "green") == ["green"] * 2
    listed = [item for item in function.server.environments() if item["function"] == function.name]
    assert {item["tenantId"] for item in listed} == {"blue", "green"}
    assert all(item["requests"] in (0, 2) for item in listed)


def test_versions_and_aliases_alike(node):
    lam = node.server.lam
    version = lam.publish_version(FunctionName=node.name)
    assert version["TenancyConfig"] == TENANCY["TenancyConfig"]
    lam.create_alias(FunctionName=node.name, Name="live", FunctionVersion="1")
    for qualifier in ("1", "live"):
        refused(lambda qualifier=qualifier: node.invoke({}, Qualifier=qualifier), "InvalidParameterValueException", WITHOUT, 400)
    assert seen(node, "blue", Qualifier="1") == ["blue"]
    assert seen(node, "blue", Qualifier="live") == ["blue"] * 2
    assert seen(node, "blue") == ["blue"]
    assert seen(node, "green", Qualifier="live") == ["green"]


def test_tenancy_is_shown_everywhere_and_fixed(node):
    lam = node.server.lam
    wanted = TENANCY["TenancyConfig"]
    assert lam.get_function(FunctionName=node.name)["Configuration"]["TenancyConfig"] == wanted
    assert lam.get_function_configuration(FunctionName=node.name)["TenancyConfig"] == wanted
    pages = lam.get_paginator("list_functions").paginate()
    assert [one["TenancyConfig"] for page in pages for one in page["Functions"] if one["FunctionName"] == node.name] == [wanted]
    assert lam.list_versions_by_function(FunctionName=node.name)["Versions"][0]["TenancyConfig"] == wanted
    node.configure(Timeout=7)
    node.update_code(NODE)
    assert lam.get_function_configuration(FunctionName=node.name)["TenancyConfig"] == wanted
    refused(lambda: node.invoke({}), "InvalidParameterValueException", WITHOUT, 400)


def test_the_aws_command_line(node):
    out = node.server.folder / "out"
    node.server.aws("invoke", "--function-name", node.name, "--tenant-id", "blue team", str(out))
    assert json.loads(out.read_text())["seen"] == ["blue team"]
    made = node.server.name("aws")
    archive = node.server.folder / "f.zip"
    archive.write_bytes(pack(NODE))
    answer = node.server.aws("create-function", "--function-name", made, "--runtime", "nodejs20.x", "--handler", "index.handler",
                             "--role", aws.ROLE, "--zip-file", f"fileb://{archive}", "--tenancy-config",
                             "TenantIsolationMode=PER_TENANT")
    assert answer["TenancyConfig"] == TENANCY["TenancyConfig"]
    node.server.lam.delete_function(FunctionName=made)


def test_a_request_without_a_tenant_is_refused(node):
    refused(lambda: node.invoke({}), "InvalidParameterValueException", WITHOUT, 400)
    refused(lambda: node.invoke({}, InvocationType="DryRun"), "InvalidParameterValueException", WITHOUT, 400)
    assert node.server.lam.invoke(FunctionName=node.name, InvocationType="DryRun", TenantId="blue")["StatusCode"] == 204


def test_a_tenant_of_an_ordinary_function_is_refused(deploy):
    plain = deploy(NODE, "nodejs20.x")
    refused(lambda: plain.invoke({}, TenantId="blue"), "InvalidParameterValueException", UNASKED, 400)
    assert plain.invoke({}).status == 200


@pytest.mark.parametrize("tenant", ["a!b", "a,b", "<script>", "\u00fc", "a\\b", "a'b", '"', "%20", "a;b", "{}", "*", "$LATEST", "x" * 257])
def test_hostile_ids_are_refused(node, tenant):
    answer = post(node.server, node.name, tenant)
    assert (answer.status, answer.get("x-amzn-errortype")) == (400, "ValidationException")
    assert "at 'tenantId' failed to satisfy constraint: Member must " in message(answer)
    assert node.server.healthy()


def test_ids_that_cannot_be_read_one_way(node):
    for tenants in ([""], ["  \t"], ["blue", "green"], ["blue", "blue"]):
        answer = post(node.server, node.name, *tenants)
        assert (answer.status, answer.get("x-amzn-errortype")) == (400, "ValidationException"), answer
    answer = post(node.server, node.name, "  blue \t")
    assert json.loads(answer.body)["seen"] == ["blue"]
    assert post(node.server, node.name, "blue", signed=False, header="X-Amz-Tenant-Id\x00").status == 400


def test_nobody_on_the_way_chooses_the_tenant(node):
    """What is signed says who it is for: not even a link that was signed without a tenant can be given one."""
    answer = post(node.server, node.name, "blue", signed=False)
    assert (answer.status, answer.get("x-amzn-errortype")) == (403, "InvalidSignatureException")
    assert "'x-amz-tenant-id' must be a 'SignedHeader'" in message(answer)
    server, url = node.server, node.public_url(open_it=False, AuthType="AWS_IAM")
    for header, status in (({}, 403), ({"X-Amz-Tenant-Id": "blue"}, 200)):
        link, _ = aws.signed("GET", f"http://{url.host}/", server.key, server.secret, headers=header, query=True)
        answer = url.call("GET", "/?" + link.split("?", 1)[1], {"X-Amz-Tenant-Id": "blue"})
        assert answer.status == status, answer
    assert json.loads(answer.body)["seen"] == ["blue"]


@pytest.mark.parametrize("tenant", ["x" * 256, "a b", "../../etc/passwd", "/", "a//b", "@", "-", "=", "blue", "Blue", "blue "])
def test_every_legal_id_has_environments_of_its_own(node, tenant):
    assert seen(node, tenant) == [tenant.strip()]
    assert seen(node, "other") == ["other"]


def test_logs_name_the_tenant(deploy):
    text = deploy(NODE, "nodejs20.x", **TENANCY)
    log = text.invoke({"log": "mine"}, TenantId="blue team", tail=True).log
    assert re.search(r"^START RequestId: \S+ Version: \$LATEST TenantId: blue team$", log, re.M), log
    assert re.search(r"^REPORT RequestId: .*\tTenantId: blue team\t$", log, re.M), log
    structured = deploy(NODE, "nodejs20.x", LoggingConfig={"LogFormat": "JSON", "SystemLogLevel": "DEBUG"}, **TENANCY)
    log = structured.invoke({"log": "mine"}, TenantId="blue", tail=True).log
    records = [json.loads(line) for line in log.splitlines()]
    kinds = {record["type"]: record["record"] for record in records if "type" in record}
    for kind in ("platform.start", "platform.runtimeDone", "platform.report"):
        assert kinds[kind]["tenantId"] == "blue", kind
    assert [record["tenantId"] for record in records if record.get("message") == "mine"] == ["blue"]


def test_many_at_once_never_mix(node):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        tenants = [f"tenant-{i % 5}" for i in range(80)]
        answers = list(pool.map(lambda tenant: seen(node, tenant, {"ms": 5}), tenants))
    assert all(set(answer) == {tenant} for tenant, answer in zip(tenants, answers))


# Function URLs


def call(url, headers, event=None, **more):
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    return url.call("GET", "/", [*pairs, ("x-event", json.dumps(event or {}))], **more)


def test_a_url_takes_the_tenant_from_its_header(node):
    url = node.public_url()
    assert json.loads(call(url, {"x-amz-tenant-id": "blue"}).body)["seen"] == ["blue"]
    assert json.loads(call(url, {"X-Amz-Tenant-Id": "green"}).body)["seen"] == ["green"]
    assert seen(node, "blue") == ["blue"] * 2  # one and the same environment
    answer = call(url, {})
    assert (answer.status, answer.get("x-amzn-errortype"), answer.get("content-type")) == (
        400, "InvalidParameterValueException", "application/json")
    assert message(answer) == "This function serves each tenant apart: name the tenant in the request header X-Amz-Tenant-Id."
    for bad in ({"x-amz-tenant-id": "a!b"}, {"x-amz-tenant-id": ""}, {"x-amz-tenant-id": "x" * 257},
                [("x-amz-tenant-id", "blue"), ("x-amz-tenant-id", "green")]):
        answer = call(url, bad)
        assert (answer.status, answer.get("x-amzn-errortype")) == (400, "ValidationException")
        assert message(answer).startswith("The request header X-Amz-Tenant-Id names no tenant: ")


def test_a_url_of_an_alias(node):
    lam = node.server.lam
    lam.publish_version(FunctionName=node.name)
    lam.create_alias(FunctionName=node.name, Name="live", FunctionVersion="1")
    url = node.public_url("live")
    assert json.loads(call(url, {"x-amz-tenant-id": "blue"}).body)["seen"] == ["blue"]
    assert call(url, {}).status == 400


def test_a_setting_names_the_header(node):
    """The tag takes effect with the next request, and then no other header does."""
    lam, url = node.server.lam, node.public_url()
    lam.tag_resource(Resource=node.arn, Tags={"irori:tenant-header": "X-Org"})
    assert json.loads(call(url, {"x-org": "blue", "x-amz-tenant-id": "green"}).body)["seen"] == ["blue"]
    answer = call(url, {"x-amz-tenant-id": "green"})
    assert answer.status == 400 and "X-Org" in message(answer)
    lam.tag_resource(Resource=node.arn, Tags={"irori:tenant-header": "host"})
    assert json.loads(url.call("GET", "/").body)["seen"] == [url.host]
    assert json.loads(url.call_by_path("GET", "/").body)["seen"] == [f"127.0.0.1:{node.server.port}"]
    lam.untag_resource(Resource=node.arn, TagKeys=["irori:tenant-header"])
    assert json.loads(call(url, {"x-org": "blue", "x-amz-tenant-id": "green"}).body)["seen"] == ["green"]
    assert seen(node, "blue") == ["blue"] * 2  # Invoke has its own header
    refused(lambda: lam.tag_resource(Resource=node.arn, Tags={"irori:tenant-header": "authorization"}),
            "InvalidParameterValueException", "that holds no secret", 400)
    refused(lambda: lam.tag_resource(Resource=node.arn, Tags={"irori:tenants": "x"}), "InvalidParameterValueException",
            "Irori knows no tag irori:tenants.", 400)


def test_a_preflight_needs_no_tenant(node):
    url = node.public_url(Cors={"AllowOrigins": ["https://a.example"], "AllowHeaders": ["x-amz-tenant-id"]})
    headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
    answer = url.call("OPTIONS", "/", headers)
    assert answer.status == 200 and answer.get("access-control-allow-headers") == "x-amz-tenant-id"
    answer = url.call("GET", "/", {"Origin": "https://a.example"})
    assert answer.status == 400 and answer.get("access-control-allow-origin") == "https://a.example"


def test_a_url_of_an_ordinary_function_hands_the_header_on(deploy):
    plain = deploy({"index.mjs": "export const handler = async (event, context) => ({ "
                                 "header: event.headers['x-amz-tenant-id'], tenant: context.tenantId ?? null });"}, "nodejs20.x")
    answer = plain.public_url().call("GET", "/", {"x-amz-tenant-id": "any!thing"})
    assert json.loads(answer.body) == {"header": "any!thing", "tenant": None}


# Limits


def test_idle_ones_give_way_and_busy_ones_do_not(own_server):
    """An account concurrency of 4 lets 10 environments of tenants live."""
    server = own_server("--account-concurrency", "4")
    node = server.deploy(NODE, "nodejs20.x", **TENANCY)
    for i in range(13):
        assert seen(node, f"t{i}") == [f"t{i}"]
    wait.until(lambda: len(server.environments()) == 10, 10, "the environments of the first tenants to end")
    assert seen(node, "t12") == ["t12"] * 2
    assert seen(node, "t0") == ["t0"]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(seen, node, f"b{i}", {"ms": 1500}) for i in range(4)]
        wait.until(lambda: sum(one["state"] == "busy" for one in server.environments()) == 4, 10, "four busy ones")
        error = refused(lambda: node.invoke({}, TenantId="late"), "TooManyRequestsException", "Rate Exceeded.", 429)
        assert error.response["Reason"] == "ConcurrentInvocationLimitExceeded"
        assert [one.result() for one in busy] == [[f"b{i}"] for i in range(4)]


def test_hostile_numbers_of_tenants_leave_nothing(own_server):
    server = own_server("--account-concurrency", "8", "--idle-timeout-ms", "500", "--freeze-after-ms", "100")
    function = server.deploy(PROVIDED, "provided.al2023", **TENANCY)
    numbers = itertools.count()

    def flood(count):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            tenants = [f"t{next(numbers)}" for _ in range(count)]
            assert list(pool.map(lambda tenant: seen(function, tenant), tenants)) == [[tenant] for tenant in tenants]
        return server.at_rest()
    before, memory = flood(60), procs.rss_kib(server.pid_of("irorid"))
    # One slot more may be pooled whenever more environments than ever are there at once; what leaks grows in every round.
    for _ in range(5):
        after = flood(150)
        grown = {name: (before[name], after[name]) for name in before if after[name] > before[name]}
        if not grown:
            break
        before = after
    assert not grown
    assert procs.rss_kib(server.pid_of("irorid")) < memory + 2048


def test_with_templates_of_versions(server, deploy):
    """SnapStart and clean state: clones of one template, each for one tenant; nothing of a tenant is in the template."""
    if os.uname().machine != "x86_64":
        pytest.skip("templates need an x86-64 processor")
    snap = deploy(NODE, "nodejs20.x", SnapStart={"ApplyOn": "PublishedVersions"}, **TENANCY)
    server.lam.publish_version(FunctionName=snap.name)
    server.active(snap.name, "1")
    for times in (1, 2):
        for tenant in ("blue", "green"):
            assert seen(snap, tenant, Qualifier="1") == [tenant] * times
    clean = deploy(NODE, "nodejs20.x", Tags={"irori:state": "clean"}, **TENANCY)
    for tenant in ("blue", "green", "blue", "blue", "green"):
        assert seen(clean, tenant) == [tenant]


# The command line


def test_the_command_line(server, tmp_path):
    (tmp_path / "index.mjs").write_text(NODE["index.mjs"])
    name = server.name("cli")
    deploy = ("deploy", str(tmp_path), "--name", name)
    try:
        done = server.irori(*deploy, "--tenant-header", "x-org", check=False)
        assert done.returncode == 1 and "--tenant-header of a new function needs --tenancy" in done.stderr
        server.irori(*deploy, "--tenancy", "--tenant-header", "x-org", "--url")
        config = server.lam.get_function(FunctionName=name)
        assert config["Configuration"]["TenancyConfig"] == TENANCY["TenancyConfig"]
        assert config["Tags"] == {"irori:tenant-header": "x-org"}
        assert json.loads(server.irori("invoke", name, "--tenant-id", "blue team").stdout)["seen"] == ["blue team"]
        assert server.irori_json("invoke", name, "--tenant-id", "blue team")["payload"]["seen"] == ["blue team"] * 2
        done = server.irori("invoke", name, check=False)
        assert done.returncode == 1 and WITHOUT in done.stderr
        done = server.irori("invoke", name, "--tenant-id", "blue\r\nX-Amz-Log-Type: Tail", check=False)
        assert done.returncode == 1 and "control characters" in done.stderr
        table = server.irori("ps").stdout
        assert re.search(r"START +TENANT\s*$", table.splitlines()[0]) and "blue team" in table
        assert "Unchanged" in server.irori(*deploy, "--tenancy", "--tenant-header", "x-org").stdout
        assert "Updated" in server.irori(*deploy, "--tenant-header", "x-amz-tenant-id").stdout
        assert server.lam.list_tags(Resource=config["Configuration"]["FunctionArn"])["Tags"] == {
            "irori:tenant-header": "x-amz-tenant-id"}
        done = server.irori(*deploy, "--tenant-header", "cookie", check=False)
        assert done.returncode == 1 and "that holds no secret" in done.stderr
    finally:
        server.lam.delete_function(FunctionName=name)


def test_an_old_function_gets_no_tenancy(server, tmp_path):
    (tmp_path / "index.mjs").write_text(NODE["index.mjs"])
    name = server.name("cli")
    try:
        server.irori("deploy", str(tmp_path), "--name", name)
        done = server.irori("deploy", str(tmp_path), "--name", name, "--tenancy", check=False)
        assert done.returncode == 1 and "which cannot be changed: delete it first" in done.stderr
    finally:
        server.lam.delete_function(FunctionName=name)
