"""Signatures: the API's, function URLs with AWS_IAM, and the credentials that functions hold (spec sigv4.md)."""

import base64
import datetime
import json
import os
import shutil
import subprocess
import time

import boto3
import pytest
from harness import aws, build, rawhttp
from harness.archives import pack, pack_folder
from harness.aws import refused, signed
from harness.paths import FUNCTIONS, IRORI
from harness.server import Server

LIST = "/2015-03-31/functions"


def get(server, headers=None, target=LIST, method="GET", body=None):
    headers = {name: value for name, value in (headers or {}).items() if name.lower() != "host"}
    return rawhttp.request(server.port, method, target, f"127.0.0.1:{server.port}", headers, body)


def denied(answer, code, text=None):
    assert answer.status == 403, answer
    assert answer.get("x-amzn-errortype") == code
    message = json.loads(answer.body)
    message = message.get("message") or message.get("Message")
    if text is not None:
        assert text in message
    return message


def header_signed(server, **more):
    arguments = {"key": server.key, "secret": server.secret, **more}
    return signed("GET", server.endpoint + LIST, **arguments)[1]


def test_no_signature(server):
    denied(get(server), "MissingAuthenticationTokenException", "Missing Authentication Token")


def test_right_signature_in_header_and_query(server):
    assert get(server, header_signed(server)).status == 200
    url, _ = signed("GET", server.endpoint + LIST, server.key, server.secret, query=True)
    assert get(server, target=url[len(server.endpoint):]).status == 200


def test_wrong_secret(server):
    message = denied(get(server, header_signed(server, secret="x" * 40)), "InvalidSignatureException",
                     "The request signature we calculated does not match the signature you provided.")
    assert server.secret not in message


def test_unknown_key(server):
    denied(get(server, header_signed(server, key="AKIAAAAAAAAAAAAAAAAA")), "UnrecognizedClientException",
           "The security token included in the request is invalid.")


def test_other_region_and_service(server):
    denied(get(server, header_signed(server, region="eu-west-1")), "InvalidSignatureException",
           "Credential should be scoped to a valid region")
    denied(get(server, header_signed(server, service="s3")), "InvalidSignatureException",
           "Credential should be scoped to correct service: 'lambda'.")


@pytest.mark.parametrize("header,text", [
    ("AWS4-HMAC-SHA256 nonsense",
     "'nonsense' not a valid key=value pair (missing equal-sign) in Authorization header: 'AWS4-HMAC-SHA256 nonsense'."),
    ("AWS4-HMAC-SHA256 Credential=a/b/c",
     "Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. "
     "Authorization=AWS4-HMAC-SHA256 Credential=a/b/c"),
    ("Bearer token", "'Bearer' not a valid key=value pair (missing equal-sign) in Authorization header: 'Bearer token'."),
    ("", "Unsupported AWS 'algorithm': ''."),
    ("AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=zz",
     "Signature must be 64 lower-case hexadecimal digits.")])
def test_malformed_authorization(server, header, text):
    answer = get(server, {"Authorization": header, "X-Amz-Date": "20260101T000000Z"})
    assert denied(answer, "IncompleteSignatureException") == text


@pytest.mark.parametrize("more,code", [
    ({"key": "AKIAAAAAAAAAAAAAAAAA"}, "UnrecognizedClientException"), ({"region": "eu-west-1"}, "InvalidSignatureException"),
    ({"service": "s3"}, "InvalidSignatureException"), (None, "IncompleteSignatureException"), ({}, None)])
def test_a_large_body_is_read_only_for_a_key_that_is_known(server, more, code):
    """A head that cannot be right is answered before its body comes; with a known key the body is waited for."""
    headers = {"Authorization": "Bearer x"}
    if more is not None:
        arguments = {"key": server.key, "secret": "x" * 40, **more}
        headers = signed("POST", server.endpoint + LIST, body=b"", **arguments)[1]
    headers = {name: value for name, value in headers.items() if name.lower() not in ("host", "content-length")}
    with rawhttp.Connection(server.port, 3) as connection:
        connection.send(rawhttp.render("POST", LIST, f"127.0.0.1:{server.port}", {**headers, "Content-Length": "60000000"}))
        if code:
            denied(connection.read(), code)
        else:
            with pytest.raises(TimeoutError):
                connection.read()


@pytest.mark.parametrize("size", [200_000, 300_000, 3_000_000])
def test_an_upload_with_a_wrong_signature_is_refused(server, size):
    """Small and large bodies take different ways; neither creates anything."""
    name = server.name("forged")
    package = base64.b64encode(pack({"index.mjs": "", "data": os.urandom(size * 3 // 4)})).decode()
    body = json.dumps({"FunctionName": name, "Runtime": "nodejs20.x", "Handler": "index.handler", "Role": aws.ROLE,
                       "Code": {"ZipFile": package}}).encode()
    assert len(body) > size

    def send(sent, **more):
        _, headers = signed("POST", server.endpoint + LIST, body=body, **{"key": server.key, "secret": server.secret, **more})
        headers = {name: value for name, value in headers.items() if name.lower() != "content-length"}
        return get(server, headers, method="POST", body=sent)

    denied(send(body, secret="x" * 40), "InvalidSignatureException",
           "The request signature we calculated does not match the signature you provided.")
    denied(send(body[:-1] + b" }"), "InvalidSignatureException")
    refused(lambda: server.lam.get_function(FunctionName=name), "ResourceNotFoundException")
    assert send(body).status == 201
    server.lam.delete_function(FunctionName=name)


def test_tampering_is_noticed(server):
    """Another method, path, query, body or signed header than was signed."""
    path = "/2015-03-31/functions/x/invocations"
    _, headers = signed("POST", server.endpoint + path, server.key, server.secret, b'{"a":1}', {"X-Amz-Log-Type": "Tail"})
    denied(get(server, headers, path, "POST", b'{"a":2}'), "InvalidSignatureException")
    denied(get(server, headers, path + "?Qualifier=1", "POST", b'{"a":1}'), "InvalidSignatureException")
    denied(get(server, {**headers, "X-Amz-Log-Type": "None"}, path, "POST", b'{"a":1}'), "InvalidSignatureException")
    assert get(server, headers, path, "POST", b'{"a":1}').status == 404


def test_old_signatures_expire(server, monkeypatch):
    """More than five minutes away is refused."""
    import botocore.auth
    real = datetime.datetime

    class Shifted(real):
        shift = 0

        @classmethod
        def utcnow(cls):
            return real.utcnow() + datetime.timedelta(seconds=cls.shift)

        @classmethod
        def now(cls, tz=None):
            return real.now(tz) + datetime.timedelta(seconds=cls.shift)

    if hasattr(botocore.auth, "get_current_datetime"):
        monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_a, **_k: Shifted.utcnow())
    else:
        monkeypatch.setattr(botocore.auth.datetime, "datetime", Shifted)
    for shift, kind in ((-600, "Signature expired: "), (600, "Signature not yet current: ")):
        Shifted.shift = shift
        denied(get(server, header_signed(server)), "InvalidSignatureException", kind)
    Shifted.shift = -200
    assert get(server, header_signed(server)).status == 200


def test_presigned_links_expire(server):
    """At their own second: five minutes of grace are for clocks that differ, not for links."""
    def presigned(expires):
        url, _ = signed("GET", server.endpoint + LIST, server.key, server.secret, query=True, expires=expires)
        return url[len(server.endpoint):]
    short, long = presigned(1), presigned(60)
    time.sleep(2.5)
    denied(get(server, target=short), "InvalidSignatureException", "Signature expired: ")
    assert get(server, target=long).status == 200
    answer = get(server, target=presigned(700000))
    assert (answer.status, answer.get("x-amzn-errortype")) == (403, "IncompleteSignatureException")
    assert b"between 1 and 604800" in answer.body


def test_both_profiles_work(server):
    key, secret = aws.credentials(server.data, "irori")
    assert aws.client(server.endpoint, key, secret).list_functions()["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_no_auth_only_on_loopback(own_server):
    """--no-auth serves without a signature on 127.0.0.1 and is refused on other addresses."""
    server = own_server("--no-auth")
    assert get(server).status == 200
    done = subprocess.run([IRORI, "serve", "--listen", "0.0.0.0:1", "--data", str(server.folder / "other"), "--no-auth"],
                          capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode != 0 and "no-auth" in done.stderr


def test_no_auth_does_not_serve_web_pages(own_server):
    """The API needs a Host of this machine and no sign of a browser's page; function URLs and /health are for pages too."""
    server = own_server("--no-auth")
    page = {"Origin": "http://example.com"}
    for path in (LIST, "/_irori/environments"):
        for headers in (page, {"Sec-Fetch-Site": "cross-site"}):
            assert "--no-auth" in denied(get(server, headers, path), "AccessDeniedException")
        answer = rawhttp.request(server.port, "GET", path, f"rebound.example.com:{server.port}")
        assert "--no-auth" in denied(answer, "AccessDeniedException")
        assert rawhttp.request(server.port, "GET", path, f"localhost:{server.port}").status == 200
    with rawhttp.Connection(server.port, 5) as connection:
        connection.send(rawhttp.render("POST", LIST, f"127.0.0.1:{server.port}", {**page, "Content-Length": "60000000"}))
        denied(connection.read(), "AccessDeniedException")
    assert get(server, page, "/health").status == 200
    url = server.deploy({"index.mjs": "export const handler = async () => 'open';"}).public_url()
    assert url.call(headers=page).status == url.call_by_path(headers=page).status == 200


def test_credentials_file_is_private(server):
    assert (server.data / "credentials").stat().st_mode & 0o077 == 0


# Function URLs with AWS_IAM

@pytest.fixture(scope="module")
def guarded(server):
    function = server.probe("node", name=server.name("iam"), MemorySize=256)
    url = function.public_url(AuthType="AWS_IAM", open_it=False)
    url.function = function
    return url


def call_signed(url, method="GET", target="/", body=b"", by_path=False, headers=None, **more):
    base = f"http://{url.host}"
    if by_path:
        base = url.base
    arguments = {"key": url.server.key, "secret": url.server.secret, **more}
    full, head = signed(method, base + target, body=body, headers=headers, **arguments)
    head = {name: value for name, value in head.items() if name.lower() != "host"}
    if by_path:
        return rawhttp.request(url.server.port, method, full[len(url.server.endpoint):],
                               f"127.0.0.1:{url.server.port}", head, body or None)
    return url.call(method, full[len(base):], head, body or None)


def test_iam_urls_need_a_signature(guarded):
    answer = guarded.call()
    assert answer.status == 403 and answer.get("x-amzn-errortype")
    assert call_signed(guarded, secret="y" * 40).status == 403
    assert call_signed(guarded, key="AKIAAAAAAAAAAAAAAAAA").status == 403
    assert call_signed(guarded, service="execute-api").status == 403


def test_iam_urls_tell_the_caller(guarded):
    answer = call_signed(guarded, "POST", "/p%20x?name=a%20b&z=1", b'{"a":1}', headers={"Content-Type": "application/json"})
    assert answer.status == 200, answer
    seen = json.loads(answer.body)
    assert seen["rawPath"] == "/p%20x" and seen["body"] == '{"a":1}' and "authorization" not in seen["headers"]
    identity = seen["requestContext"]["authorizer"]["iam"]
    assert identity["accessKey"] == guarded.server.key and identity["accountId"] == aws.ACCOUNT
    assert identity["userArn"].startswith("arn:aws:iam::") and identity["userId"] and identity["callerId"]
    assert seen["requestContext"]["accountId"] == aws.ACCOUNT


def test_iam_urls_take_presigned_queries_and_the_path_form(guarded):
    assert call_signed(guarded, target="/x?y=1", query=True).status == 200
    assert call_signed(guarded, target="/x?y=1", by_path=True).status == 200


def test_iam_preflight_needs_no_signature(deploy):
    function = deploy({"index.mjs": "export const handler = async () => 1;"})
    url = function.public_url(AuthType="AWS_IAM", open_it=False, Cors={"AllowOrigins": ["*"], "AllowMethods": ["*"]})
    answer = url.call("OPTIONS", "/", {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"})
    assert answer.status in (200, 204) and answer.get("access-control-allow-origin")


# Credentials inside functions

BOTO = """
import os, json, hashlib, hmac, datetime, urllib.request, urllib.error
def call(method, path, body=b''):
    now = datetime.datetime.now(datetime.timezone.utc).strftime('%Y%m%dT%H%M%SZ')
    host, region = event['host'], os.environ['AWS_REGION']
    scope = f"{now[:8]}/{region}/lambda/aws4_request"
    token = os.environ['AWS_SESSION_TOKEN']
    names = 'host;x-amz-date;x-amz-security-token'
    canonical = '\\n'.join([method, path, '', f'host:{host}', f'x-amz-date:{now}', f'x-amz-security-token:{token}', '', names,
                           hashlib.sha256(body).hexdigest()])
    text = '\\n'.join(['AWS4-HMAC-SHA256', now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ('AWS4' + os.environ['AWS_SECRET_ACCESS_KEY']).encode()
    for part in (now[:8], region, 'lambda', 'aws4_request'):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    credential = f"{os.environ['AWS_ACCESS_KEY_ID']}/{scope}"
    headers = {'X-Amz-Date': now, 'X-Amz-Security-Token': event.get('token') or token,
      'Authorization': f'AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}'}
    request = urllib.request.Request(f'http://{host}{path}', body or None, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return [answer.status, answer.headers.get('x-amzn-ErrorType'), answer.read().decode()]
    except urllib.error.HTTPError as error:
        return [error.code, error.headers.get('x-amzn-ErrorType'), error.read().decode()]
result = call(event['method'], event['path'], event.get('body', '').encode())
"""


def test_functions_may_do_what_was_granted_and_nothing_else(own_server):
    """From inside a function: ListFunctions is denied, Invoke of a function that granted it works."""
    server = own_server_with_api(own_server)
    caller = server.probe("python", MemorySize=256, Timeout=15)
    target = server.deploy({"index.mjs": "export const handler = async (e) => ({granted: e});"})
    host = f"host.irori.internal:{server.port}"

    def inside(method, path, body="", **more):
        return caller.call({"do": "exec", "code": BOTO, "host": host, "method": method, "path": path, "body": body, **more})

    status, kind, text = inside("GET", LIST)
    assert (status, kind) == (403, "AccessDeniedException"), text
    assert "is not authorized to perform: lambda:ListFunctions" in text and "assumed-role" in text
    invoke = f"/2015-03-31/functions/{target.name}/invocations"
    status, kind, text = inside("POST", invoke, '{"a":1}')
    assert (status, kind) == (403, "AccessDeniedException") and "lambda:InvokeFunction" in text
    server.lam.add_permission(FunctionName=target.name, StatementId="grant", Action="lambda:InvokeFunction",
                              Principal=aws.ACCOUNT)
    status, kind, text = inside("POST", invoke, '{"a":1}')
    assert (status, json.loads(text)) == (200, {"granted": {"a": 1}})
    for method, path in (("DELETE", f"/2015-03-31/functions/{target.name}"), ("GET", f"/2015-03-31/functions/{target.name}"),
                         ("GET", f"/2015-03-31/functions/{target.name}/policy")):
        assert inside(method, path)[:2] == [403, "AccessDeniedException"]
    status, kind, text = inside("GET", LIST, token="forged")
    assert status == 403 and kind in ("UnrecognizedClientException", "InvalidSignatureException")


def test_functions_and_strangers_are_kept_out_of_iroris_own_paths(own_server):
    """What the command line asks for: environments, templates, runtimes, logs and code of others, and the ends of environments."""
    server = own_server_with_api(own_server)
    caller = server.probe("python", MemorySize=256, Timeout=15)
    target = server.deploy({"index.mjs": "export const handler = async () => console.log('private');"})
    target.invoke({})
    environment = server.environments()[0]["id"]
    code = server.lam.get_function(FunctionName=target.name)["Code"]["Location"].split("?")[0][len(server.endpoint):]
    assert code.startswith("/_irori/code/")
    host = f"host.irori.internal:{server.port}"
    for method, path in (("GET", "/_irori/environments"), ("GET", "/_irori/templates"), ("GET", "/_irori/runtimes"),
                         ("GET", f"/_irori/functions/{target.name}/logs"), ("GET", f"/_irori/functions/{caller.name}/logs"),
                         ("DELETE", f"/_irori/environments/{environment}"),
                         ("POST", f"/_irori/environments/{environment}/inspect"), ("GET", code)):
        status, kind, text = caller.call({"do": "exec", "code": BOTO, "host": host, "method": method, "path": path, "body": ""})
        assert (status, kind) == (403, "AccessDeniedException"), (method, path, text)
        assert "private" not in text and "is not authorized to perform" in text
        denied(get(server, target=path, method=method), "MissingAuthenticationTokenException")
        headers = signed(method, server.endpoint + path, server.key, "x" * 40)[1]
        denied(get(server, headers, path, method), "InvalidSignatureException")
        if method == "GET":
            headers = signed(method, server.endpoint + path, server.key, server.secret)[1]
            assert get(server, headers, path).status == 200, path
    assert environment in {one["id"] for one in server.environments()}


class Reachable(Server):
    """A server whose own API its functions may reach; sdk: a folder to have at DIR/sdk."""

    def __init__(self, sdk=None):
        self._sdk = sdk
        super().__init__()

    def start(self, seconds=30):
        self.flags = ["--allow-host", f"127.0.0.1:{self.port}"]
        if self._sdk and not self.data.exists():
            self.data.mkdir(mode=0o755)
            shutil.copytree(self._sdk, self.data / "sdk", symlinks=True)
        super().start(seconds)


def own_server_with_api(own_server):
    started = Reachable()
    own_server.started.append(started)
    return started


@pytest.fixture(scope="module")
def sdk_server(needs, tmp_path_factory):
    """A server with the AWS SDKs installed by `irori runtimes sdk`, kept in the build folder for the next run."""
    cache = build.CACHE / "sdk-data"
    cache.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([IRORI, "runtimes", "sdk", "--data", cache], capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        pytest.skip(f"NOT TESTED: irori runtimes sdk failed: {done.stderr.strip()[-300:]}")
    server = Reachable(sdk=cache / "sdk")
    yield server
    server.close()


@pytest.mark.timeout(400)
def test_boto3_inside_a_function(sdk_server):
    """Clients can be made with the environment's own credentials, and Irori answers them."""
    function = sdk_server.probe("python", MemorySize=1024, Timeout=30)
    code = f"""
import boto3, botocore
client = boto3.client('lambda', endpoint_url='http://host.irori.internal:{sdk_server.port}')
try:
    client.list_functions()
    result = 'listed'
except botocore.exceptions.ClientError as error:
    result = error.response['Error']['Code']
"""
    assert function.call({"do": "exec", "code": code}) == "AccessDeniedException"


NODE_SDK = """
%s
export const handler = async (event) => {
  const client = new LambdaClient({ endpoint: event.endpoint, maxAttempts: 1 });
  try { await client.send(new ListFunctionsCommand({})); return "listed"; } catch (error) { return error.name; }
};
"""


@pytest.mark.timeout(400)
@pytest.mark.parametrize("load", [
    'import { LambdaClient, ListFunctionsCommand } from "@aws-sdk/client-lambda";',
    'import { createRequire } from "node:module";\n'
    'const { LambdaClient, ListFunctionsCommand } = createRequire(import.meta.url)("@aws-sdk/client-lambda");'],
    ids=["module", "commonjs"])
def test_node_sdk_inside_a_function(sdk_server, load):
    """SDK v3 clients are found by ES modules and by require()."""
    function = sdk_server.deploy({"index.mjs": NODE_SDK % load}, MemorySize=1024, Timeout=30)
    endpoint = f"http://host.irori.internal:{sdk_server.port}"
    assert function.call({"endpoint": endpoint}) == "AccessDeniedException"


def test_without_the_sdk_the_language_says_so(server, deploy):
    """A function that imports it gets the language's own error."""
    function = deploy({"m.py": "import boto3\ndef h(e, c): pass"}, "python3.11", "m.h")
    result = function.invoke({})
    assert result.json["errorMessage"] == "Unable to import module 'm': No module named 'boto3'"


def test_temporary_credentials_differ_and_are_refused_outside_their_rights(server, deploy):
    """Each environment has its own; used from outside they are known, and may do as little."""
    function = deploy(pack_folder(FUNCTIONS / "python"), "python3.11", "lambda_function.handler", MemorySize=256)
    env = function.call({"do": "env"})
    lam = aws.client(server.endpoint, env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env["AWS_SESSION_TOKEN"])
    refused(lam.list_functions, "AccessDeniedException", "is not authorized to perform: lambda:ListFunctions", 403)
    without = aws.client(server.endpoint, env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"])
    refused(without.list_functions, "UnrecognizedClientException", None, 403)
    function.invoke({"do": "exit", "code": 1})
    function.configure(MemorySize=320)
    assert function.call({"do": "env"})["AWS_ACCESS_KEY_ID"] != env["AWS_ACCESS_KEY_ID"]


def test_region_and_account_settings(own_server):
    server = own_server("--region", "eu-west-3", "--account-id", "123456789012")
    lam = boto3.session.Session().client(
        "lambda", region_name="eu-west-3", endpoint_url=server.endpoint, aws_access_key_id=server.key,
        aws_secret_access_key=server.secret)
    source = "export const handler = async () => process.env.AWS_REGION;"
    made = lam.create_function(FunctionName="f", Runtime="nodejs20.x", Handler="index.handler", Role=aws.ROLE,
                               Code={"ZipFile": pack({"index.mjs": source})})
    assert made["FunctionArn"] == "arn:aws:lambda:eu-west-3:123456789012:function:f"
    lam.get_waiter("function_active_v2").wait(FunctionName="f", WaiterConfig={"Delay": 0.05, "MaxAttempts": 200})
    assert json.loads(lam.invoke(FunctionName="f")["Payload"].read()) == "eu-west-3"
    assert ".lambda-url.eu-west-3.localhost:" in lam.create_function_url_config(
        FunctionName="f", AuthType="NONE")["FunctionUrl"]
