"""Function URLs: events, inference of responses, status codes, CORS (spec function-url.md sections 1 to 4)."""

import base64
import json
import re
import time

import pytest


@pytest.fixture(scope="module")
def echo(server):
    """The Node probe behind a public URL; answers with the event unless x-probe says otherwise."""
    function = server.probe("node", name=server.name("url"), MemorySize=256, Timeout=5)
    url = function.public_url()
    url.function = function
    return url


def event(answer):
    assert answer.status == 200, answer
    return json.loads(answer.body)


def respond(url, response, method="GET", headers=None):
    return url.call(method, "/", {"x-probe": json.dumps({"do": "respond", "response": response}), **(headers or {})})


def test_every_field_of_the_event(echo):
    before = int(time.time() * 1000)
    answer = echo.call("POST", "/my/path?a=1&a=2&b=x%20y&flag", {
        "Content-Type": "application/json; charset=utf-8", "User-Agent": "agent/1", "Cookie": "c1=v1; c2=v2"},
        b'{"k":"v"}')
    seen = event(answer)
    assert (seen["version"], seen["routeKey"], seen["rawPath"], seen["rawQueryString"]) == (
        "2.0", "$default", "/my/path", "a=1&a=2&b=x%20y&flag")
    assert seen["queryStringParameters"] == {"a": "1,2", "b": "x y", "flag": ""}
    assert seen["cookies"] == ["c1=v1", "c2=v2"] and "cookie" not in seen["headers"]
    assert (seen["body"], seen["isBase64Encoded"]) == ('{"k":"v"}', False)
    context = seen["requestContext"]
    assert (context["accountId"], context["apiId"], context["domainName"], context["domainPrefix"]) == (
        "anonymous", echo.id, echo.domain, echo.id)
    assert (context["routeKey"], context["stage"], context["requestId"]) == (
        "$default", "$default", answer.get("x-amzn-requestid"))
    assert context["http"] == {"method": "POST", "path": "/my/path", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1",
                               "userAgent": "agent/1"}
    assert re.fullmatch(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000", context["time"])
    assert before - 1000 <= context["timeEpoch"] <= before + 10000
    assert "authorizer" not in context and "authentication" not in {k for k, v in context.items() if v is not None}
    headers = seen["headers"]
    assert headers["x-forwarded-for"] == "127.0.0.1" and headers["x-forwarded-proto"] == "http"
    assert headers["x-forwarded-port"] == str(echo.server.port) and headers["host"].split(":")[0] == echo.domain
    assert headers["x-amzn-trace-id"].startswith("Root=1-") and headers["content-type"] == "application/json; charset=utf-8"
    assert "connection" not in headers and all(name == name.lower() for name in headers)


def test_repeated_headers_are_joined(echo):
    answer = echo.call("GET", "/", [("X-Many", "one"), ("x-many", "two"), ("Connection", "keep-alive")])
    assert event(answer)["headers"]["x-many"] == "one,two"


def test_what_is_absent_is_left_out(echo):
    seen = event(echo.call("GET", "/"))
    assert seen["rawQueryString"] == "" and seen["rawPath"] == "/"
    for name in ("cookies", "queryStringParameters", "body", "pathParameters", "stageVariables"):
        assert name not in seen
    assert seen["isBase64Encoded"] is False


@pytest.mark.parametrize("target", ["/pa2%Fth/1", "/a%20b/%E2%82%AC", "/a//b/./c/../d", "/%2e%2e/x", "/+plus", "/;semi=1"])
def test_paths_arrive_as_sent(echo, target):
    seen = event(echo.call("GET", target))
    assert seen["rawPath"] == target and seen["requestContext"]["http"]["path"] == target


def test_query_decoding(echo):
    seen = event(echo.call("GET", "/?a=%C3%BC&b=1+2&c=a%26b%3D&=empty&d&multi=foo&multi=/bar"))
    parameters = seen["queryStringParameters"]
    assert (parameters["a"], parameters["b"], parameters["c"], parameters["d"], parameters["multi"]) == (
        "ü", "1 2", "a&b=", "", "foo,/bar")


@pytest.mark.parametrize("kind,binary", [
    ("text/plain", False), ("text/csv; charset=x", False), ("application/json", False), ("APPLICATION/JSON", False),
    ("application/xml", False), ("application/javascript", False), ("application/octet-stream", True), ("image/png", True),
    ("application/x-www-form-urlencoded", True), ("multipart/form-data; boundary=x", True), (None, True)])
def test_bodies_are_text_or_base64(echo, kind, binary):
    body = b"some=body&text"
    seen = event(echo.call("POST", "/", {"Content-Type": kind} if kind else {}, body))
    assert seen["isBase64Encoded"] is binary
    assert (base64.b64decode(seen["body"]) if binary else seen["body"].encode()) == body


def test_binary_bodies_both_ways(echo):
    """Every byte value arrives, and returns."""
    body = bytes(range(256)) * 100
    seen = event(echo.call("PUT", "/", {"Content-Type": "application/octet-stream"}, body))
    assert base64.b64decode(seen["body"]) == body
    blob = bytes(range(256))
    answer = respond(echo, {"statusCode": 200, "headers": {"Content-Type": "image/png"}, "isBase64Encoded": True,
                            "body": base64.b64encode(blob).decode()})
    assert answer.body == blob and answer.get("content-type") == "image/png" and answer.get("content-length") == "256"


def test_large_text_body(echo):
    body = json.dumps({"text": "ü\n\"x" * 200000}).encode()
    assert event(echo.call("POST", "/", {"Content-Type": "application/json"}, body))["body"] == body.decode()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_methods(echo, method):
    assert event(echo.call(method, "/x"))["requestContext"]["http"]["method"] == method


def test_by_path_the_function_sees_its_own_path_and_domain(echo):
    """/_irori/url/<id>/PATH is the same URL for clients that do not resolve *.localhost."""
    seen = event(echo.call_by_path("GET", "/my/path?q=1"))
    assert (seen["rawPath"], seen["rawQueryString"]) == ("/my/path", "q=1")
    assert seen["requestContext"]["domainName"] == echo.domain and seen["headers"]["host"].split(":")[0] == echo.domain
    assert event(echo.call_by_path("GET", "/"))["rawPath"] == "/"


def test_host_is_compared_without_case_and_port(echo):
    for host in (echo.host.upper(), echo.domain, f"{echo.domain}:{echo.server.port}"):
        assert echo.call(host=host).status == 200


def test_health_is_a_path_like_others_here(echo):
    assert event(echo.call("GET", "/health"))["rawPath"] == "/health"


# Responses

@pytest.mark.parametrize("value,body", [
    ({"hello": "world"}, b'{"hello":"world"}'), ("hello", b"hello"), (3, b"3"), (3.1, b"3.1"), (True, b"true"),
    (["hello", 3, True], b'["hello",3,true]'), (None, b"null"), ({"a": {"b": [1, "ü"]}}, '{"a":{"b":[1,"ü"]}}'.encode()),
    ("", b""), ({}, b"{}"), ('{"already": "json"}', b'{"already": "json"}')])
def test_inferred_responses(echo, value, body):
    """Without statusCode: 200, JSON content type, the value compactly, strings without quotes."""
    answer = respond(echo, value)
    assert (answer.status, answer.get("content-type"), answer.body) == (200, "application/json", body)
    assert answer.get("content-length") == str(len(body))


def test_python_results_are_written_compactly(python):
    """The runtime posts blanks after ':'; the client gets none."""
    url = python.public_url()
    answer = url.call(headers={"x-probe": json.dumps({"do": "respond", "response": {"hello": "world", "n": [1, 2]}})})
    assert answer.body == b'{"hello":"world","n":[1,2]}'
    python.server.lam.delete_function_url_config(FunctionName=python.name)


def test_structured_response(echo):
    answer = respond(echo, {"statusCode": 201, "headers": {"X-Own": "a", "X-Number": 5, "X-Bool": True,
                                                           "Content-Type": "text/html"},
                            "cookies": ["a=1; Path=/", "b=2"], "body": '{"hello": "world"}'})
    assert (answer.status, answer.body) == (201, b'{"hello": "world"}')
    assert (answer.get("x-own"), answer.get("x-number"), answer.get("x-bool")) == ("a", "5", "true")
    assert answer.all("set-cookie") == ["a=1; Path=/", "b=2"] and answer.get("content-type") == "text/html"
    assert answer.get("date") and answer.get("x-amzn-requestid") and answer.get("x-amzn-trace-id")


@pytest.mark.parametrize("code,status", [("418", 418), (204, 204), (304, 304), (404, 404), (500, 500), (599, 599)])
def test_status_codes(echo, code, status):
    answer = respond(echo, {"statusCode": code, "body": ""})
    assert answer.status == status and answer.body == b""
    assert echo.call().status == 200


def test_defaults_of_a_structured_response(echo):
    answer = respond(echo, {"statusCode": 200})
    assert (answer.get("content-type"), answer.body, answer.get("content-length")) == ("application/json", b"", "0")


@pytest.mark.parametrize("name", ["Connection", "Date", "Content-Length", "Transfer-Encoding"])
def test_headers_of_the_platform_are_renamed(echo, name):
    answer = respond(echo, {"statusCode": 200, "headers": {name: "17"}, "body": "text"})
    assert answer.get(f"x-amzn-remapped-{name}") == "17" and answer.body == b"text"


@pytest.mark.parametrize("bad", [
    {"statusCode": "x"}, {"statusCode": 99}, {"statusCode": 600}, {"statusCode": {}}, {"statusCode": 200.5},
    {"statusCode": 200, "headers": {"a": {}}}, {"statusCode": 200, "headers": "text"}, {"statusCode": 200, "body": {"a": 1}},
    {"statusCode": 200, "body": "%%%", "isBase64Encoded": True}, {"statusCode": 200, "cookies": "a"},
    {"statusCode": 200, "headers": {"bad name": "x"}}, {"statusCode": 200, "headers": {"x": "a\r\nInjected: yes"}},
    {"statusCode": 200, "cookies": ["a\r\nInjected: yes"]}])
def test_malformed_structured_responses_are_502(echo, bad):
    answer = respond(echo, bad)
    assert (answer.status, answer.body) == (502, b"Internal Server Error") and answer.get("injected") is None
    assert echo.call().status == 200


def test_function_errors_are_502(echo):
    for probe in ({"do": "throw", "message": "x"}, {"do": "exit", "code": 1}):
        answer = echo.call(headers={"x-probe": json.dumps(probe)})
        assert (answer.status, answer.body) == (502, b"Internal Server Error")
    assert echo.call().status == 200


def test_timeouts_are_502(echo):
    answer = echo.call(headers={"x-probe": json.dumps({"do": "sleep", "ms": 20000})})
    assert (answer.status, answer.body) == (502, b"Internal Server Error")


def test_large_responses(echo):
    """Just under the limit arrives whole; beyond it is 502."""
    answer = echo.call(headers={"x-probe": json.dumps({"do": "big", "bytes": 6000000})})
    assert answer.status == 200 and len(answer.body) == 6000000
    assert echo.call(headers={"x-probe": json.dumps({"do": "big", "bytes": 6400000})}).status == 502


def test_head_has_headers_and_no_body(echo):
    answer = respond(echo, {"statusCode": 200, "headers": {"X-Own": "a"}, "body": "twelve bytes"}, "HEAD")
    assert (answer.status, answer.body, answer.get("x-own")) == (200, b"", "a")
    assert answer.get("content-length") in ("12", None)


# Who may call

def test_none_needs_the_statement(deploy):
    """403 with its header and text until the statement is there, and again after it was removed."""
    function = deploy({"index.mjs": "export const handler = async () => 'in';"})
    lam = function.server.lam
    url = function.public_url(open_it=False)
    closed = url.call()
    assert closed.status == 403 and closed.get("x-amzn-errortype") == "AccessDeniedException"
    assert json.loads(closed.body)["Message"].startswith("Forbidden")
    lam.add_permission(FunctionName=function.name, StatementId="wrong", Action="lambda:InvokeFunctionUrl", Principal="*",
                       FunctionUrlAuthType="AWS_IAM")
    assert url.call().status == 403
    lam.add_permission(FunctionName=function.name, StatementId="open", Action="lambda:InvokeFunctionUrl", Principal="*",
                       FunctionUrlAuthType="NONE")
    assert url.call().body == b"in"
    lam.add_permission(FunctionName=function.name, StatementId="second", Action="lambda:InvokeFunction", Principal="*",
                       InvokedViaFunctionUrl=True)
    assert url.call().body == b"in"
    lam.remove_permission(FunctionName=function.name, StatementId="open")
    assert url.call().status == 403


def test_unknown_urls(server):
    from harness import rawhttp
    for host in (f"{'a' * 32}.lambda-url.us-east-1.localhost:{server.port}", f"x.lambda-url.us-east-1.localhost:{server.port}"):
        answer = rawhttp.request(server.port, "GET", "/", host)
        assert (answer.status, answer.get("x-amzn-errortype")) == (403, "AccessDeniedException")
        assert answer.get("content-type") == "application/json" and json.loads(answer.body) == {"Message": None}
    answer = rawhttp.request(server.port, "GET", f"/_irori/url/{'a' * 32}/", f"127.0.0.1:{server.port}")
    assert answer.status == 403


def test_a_deleted_function_closes_its_url(server):
    function = server.deploy({"index.mjs": "export const handler = async () => 1;"})
    url = function.public_url()
    assert url.call().status == 200
    function.delete()
    assert url.call().status == 403


# CORS

@pytest.fixture
def cors(deploy):
    function = deploy({"index.mjs": "let n = 0; export const handler = async () => ({statusCode: 200, body: String(++n)});"})

    def configure(**settings):
        return function.public_url(Cors=settings)
    return configure


PREFLIGHT = {"Origin": "https://a.example", "Access-Control-Request-Method": "PUT"}


def test_preflight_is_answered_by_the_platform(cors):
    url = cors(AllowOrigins=["https://a.example"], AllowMethods=["GET", "PUT"], AllowHeaders=["x-a", "x-b"], MaxAge=300,
               AllowCredentials=True, ExposeHeaders=["x-c"])
    answer = url.call("OPTIONS", "/", PREFLIGHT)
    assert answer.status in (200, 204) and answer.body == b""
    assert answer.get("access-control-allow-origin") == "https://a.example"
    assert answer.get("access-control-allow-methods").replace(" ", "") == "GET,PUT"
    assert answer.get("access-control-allow-headers").replace(" ", "") == "x-a,x-b"
    assert answer.get("access-control-max-age") == "300" and answer.get("access-control-allow-credentials") == "true"
    assert "origin" in (answer.get("vary") or "").lower()
    assert url.call("GET", "/").body == b"1", "the preflight reached the function"
    answer = url.call("GET", "/", {"Origin": "https://a.example"})
    assert answer.get("access-control-allow-origin") == "https://a.example"
    assert answer.get("access-control-expose-headers") == "x-c" and answer.get("access-control-max-age") is None


def test_other_origins_get_no_headers(cors):
    url = cors(AllowOrigins=["https://a.example"], AllowMethods=["*"])
    answer = url.call("GET", "/", {"Origin": "https://evil.example"})
    assert answer.status == 200 and answer.get("access-control-allow-origin") is None
    assert url.call("OPTIONS", "/", {**PREFLIGHT, "Origin": "https://evil.example"}).get("access-control-allow-origin") is None


def test_star_origin(cors):
    url = cors(AllowOrigins=["*"], AllowMethods=["*"])
    answer = url.call("GET", "/", {"Origin": "https://any.example"})
    assert answer.get("access-control-allow-origin") == "*"


def test_without_cors_options_is_the_functions_business(echo):
    assert event(echo.call("OPTIONS", "/", PREFLIGHT))["requestContext"]["http"]["method"] == "OPTIONS"
