"""Requests signed by botocore must verify, and must not once anything signed has changed.

IRORI_BUILD is the build folder, with the program of sigv4_check.c (default: build/).
"""

import datetime
import os
import pathlib
import random
import subprocess
import urllib.parse

import pytest
from botocore import auth, awsrequest
from botocore.credentials import Credentials

BUILD = pathlib.Path(os.environ.get("IRORI_BUILD", pathlib.Path(__file__).parents[3] / "build"))
PROGRAM = BUILD / "tests/unit/auth/sigv4_check"
NOW = datetime.datetime(2026, 1, 15, 12, 0, 0)
NOW_MS = 1768478400000
REGION, SERVICE = "eu-west-1", "lambda"
PLAIN = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
SESSION = Credentials("ASIDEXAMPLE", "tJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "IQoJb3/+TOKEN==")
WORDS = ["a", "b c", "%", "ü", "日本", "x=y", "a&b", "$LATEST", "arn:aws:lambda:eu-west-1:1:function:f", "~", "'", "*",
         "a+b", "..", ".", "", "(1)", "😀", "@,;", '"q"', "A" * 200]


class FixedTime(datetime.datetime):
    """botocore asks the clock by itself."""

    @classmethod
    def utcnow(cls):
        return NOW

    @classmethod
    def now(cls, tz=None):
        return NOW.replace(tzinfo=tz)


def random_path(rng):
    segments = [urllib.parse.quote(rng.choice(WORDS), safe=rng.choice(["", ":$", "~'()*"]))
                for _ in range(rng.randrange(5))]
    return "/" + "/".join(segments) + rng.choice(["", "/"])


def random_query(rng):
    pairs = [(rng.choice(WORDS) + str(rng.randrange(3)), rng.choice(WORDS)) for _ in range(rng.randrange(6))]
    return "&".join(f"{urllib.parse.quote(k, safe='-_.~')}={urllib.parse.quote(v, safe='-_.~')}" for k, v in pairs)


def signer_of(rng):
    credentials = rng.choice([PLAIN, SESSION])
    if rng.random() < 0.4:
        return auth.SigV4QueryAuth(credentials, SERVICE, REGION, expires=rng.choice([1, 300, 604800]))
    return auth.SigV4Auth(credentials, SERVICE, REGION)


def sign(rng):
    """A signed request as [method, path, query, headers, body]."""
    signer = signer_of(rng)
    method = rng.choice(["GET", "POST", "PUT", "DELETE"])
    host = rng.choice(["127.0.0.1:9000", "lambda.eu-west-1.example.test", "x.lambda-url.us-east-1.localhost:9000"])
    query = random_query(rng)
    url = f"http://{host}{random_path(rng)}" + (f"?{query}" if query else "")
    bodies = [b"", b'{"k":1}', rng.randbytes(50), "ünï".encode()]
    # botocore moves the body of a presigned request into its query.
    body = b"" if isinstance(signer, auth.SigV4QueryAuth) else rng.choice(bodies)
    request = awsrequest.AWSRequest(method=method, url=url, data=body)
    if rng.random() < 0.5:
        request.headers["X-Custom"] = rng.choice(["  a   b  ", "plain", "tab\there", ""])
        request.headers["X-Custom"] = "second   value"
    if rng.random() < 0.3:
        request.headers["Content-Type"] = "application/json; charset=utf-8"
    if rng.random() < 0.3:
        request.headers["X-Amz-Invocation-Type"] = "RequestResponse"
    if rng.random() < 0.3:
        request.headers["X-Amz-Content-SHA256"] = "UNSIGNED-PAYLOAD"
        request.context["payload_signing_enabled"] = False
    signer.add_auth(request)
    parts = urllib.parse.urlsplit(request.url)
    headers = [(k, v) for k, v in request.headers.items()]
    headers.append(("Host", host))
    headers.append(("User-Agent", "cross"))
    return [method, parts.path, parts.query, headers, body]


def unsigned_payload(request):
    return any(v == "UNSIGNED-PAYLOAD" for _, v in request[3])


def authorization(request):
    return next((i for i, (k, _) in enumerate(request[3]) if k == "Authorization"), None)


def mutate(rng, request):
    """The request with one signed thing changed."""
    method, path, query, headers, body = request
    headers = list(headers)
    kind = rng.randrange(8)
    if kind == 0:
        method = "PATCH"
    elif kind == 1:
        path += "x"
    elif kind == 2:
        query += ("&" if query else "") + "added=1"
    elif kind == 3 and not unsigned_payload(request):
        body += b"x"
    elif kind == 4:
        i = next(i for i, (k, _) in enumerate(headers) if k == "Host")
        headers[i] = ("Host", "evil.example.test")
    elif kind == 5 and authorization(request) is not None:
        i = authorization(request)
        value = headers[i][1]
        headers[i] = ("Authorization", value[:-1] + ("0" if value[-1] != "0" else "1"))
    elif kind == 6 and any(k == "X-Custom" for k, _ in headers):
        headers.append(("X-Custom", "third"))
    else:
        headers = [(k, v.replace("AKIDEXAMPLE", "AKIDEXAMPLF").replace("ASIDEXAMPLE", "ASIDEXAMPLF"))
                   for k, v in headers]
        query = query.replace("AKIDEXAMPLE", "AKIDEXAMPLF").replace("ASIDEXAMPLE", "ASIDEXAMPLF")
    return [method, path, query, headers, body]


def encode(request):
    method, path, query, headers, body = request
    fields = [method, path, query, str(len(headers))]
    for name, value in headers:
        fields += [name, value]
    out = b""
    for field in fields + [body]:
        data = field if isinstance(field, bytes) else str(field).encode()
        out += b"%d\n%s\n" % (len(data), data)
    return out


def check(requests):
    """One answer line per request."""
    head = "".join(f"{c.access_key} {c.secret_key} {c.token or '-'}\n" for c in (PLAIN, SESSION))
    head += f"{NOW_MS} {REGION} {SERVICE}\n"
    result = subprocess.run([PROGRAM], input=head.encode() + b"".join(map(encode, requests)), capture_output=True,
                            check=True, timeout=100)
    lines = result.stdout.decode().splitlines()
    assert len(lines) == len(requests), (len(lines), len(requests), result.stderr)
    return lines


@pytest.fixture
def requests(monkeypatch):
    """(the source of randomness, requests as botocore signed them at NOW)."""
    monkeypatch.setattr(auth.datetime, "datetime", FixedTime)
    if hasattr(auth, "get_current_datetime"):
        monkeypatch.setattr(auth, "get_current_datetime", lambda remove_tzinfo=True: NOW)
    rng = random.Random(20260115)
    return rng, [sign(rng) for _ in range(400)]


def test_what_botocore_signed_verifies(requests):
    _, signed = requests
    for request, line in zip(signed, check(signed), strict=True):
        assert line.startswith("OK"), (line, request)


def test_what_was_changed_after_signing_does_not(requests):
    mutated = [mutate(requests[0], request) for request in requests[1]]
    for request, line in zip(mutated, check(mutated), strict=True):
        assert line.startswith(("InvalidSignatureException ", "UnrecognizedClientException ")), (line, request)
