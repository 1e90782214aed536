"""Clients of the Lambda API: boto3, the aws command line, and requests signed by hand."""

import base64
import configparser
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import boto3
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

REGION = "us-east-1"
ACCOUNT = "000000000000"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/test"


def credentials(data, profile="default"):
    """(access key, secret) of the data folder."""
    parser = configparser.ConfigParser()
    with open(Path(data) / "credentials", encoding="utf-8") as file:
        parser.read_file(file)
    section = parser[profile]
    return section["aws_access_key_id"], section["aws_secret_access_key"]


def client(endpoint, key, secret, token=None, **config):
    """A boto3 Lambda client without retries; what it sends is checked by the server alone."""
    settings = {"retries": {"total_max_attempts": 1, "mode": "standard"}, "read_timeout": 120, "connect_timeout": 10,
                "max_pool_connections": 128, "parameter_validation": False, **config}
    return boto3.session.Session().client(
        "lambda", region_name=REGION, endpoint_url=endpoint, aws_access_key_id=key, aws_secret_access_key=secret,
        aws_session_token=token, config=Config(**settings))


def signed(method, url, key, secret, body=b"", headers=None, service="lambda", region=REGION, query=False, expires=60):
    """(url, headers) of a request signed with SigV4, in the header or, with query, in the URL."""
    request = AWSRequest(method=method, url=url, data=body, headers=dict(headers or {}))
    identity = Credentials(key, secret)
    if query:
        SigV4QueryAuth(identity, service, region, expires=expires).add_auth(request)
    else:
        SigV4Auth(identity, service, region).add_auth(request)
    return request.url, dict(request.headers.items())


@dataclass
class Result:
    """What Invoke answered."""

    status: int
    payload: bytes
    error: str | None
    version: str | None
    request_id: str
    log: str | None
    headers: dict = field(repr=False, default_factory=dict)

    @property
    def json(self):
        return json.loads(self.payload)


def invoke(lam, name, event=None, raw=None, tail=False, **more):
    """Invokes and unpacks the answer. event: any JSON value; raw: the payload's bytes instead."""
    args = {"FunctionName": name, **more}
    if raw is not None:
        args["Payload"] = raw
    elif event is not None:
        args["Payload"] = json.dumps(event).encode()
    if tail:
        args["LogType"] = "Tail"
    answer = lam.invoke(**args)
    log = answer.get("LogResult")
    meta = answer["ResponseMetadata"]
    return Result(answer["StatusCode"], answer["Payload"].read(), answer.get("FunctionError"),
                  answer.get("ExecutedVersion"), meta["RequestId"],
                  base64.b64decode(log).decode(errors="replace") if log is not None else None, meta["HTTPHeaders"])


def refused(call, code, text=None, status=None):
    """Asserts that call() fails with this error code, message (a part of it, or exactly with ^...$ semantics of ==)
    and status; returns the ClientError."""
    try:
        answer = call()
    except ClientError as error:
        shown = error.response["Error"]
        message = shown.get("Message") or error.response.get("message") or ""
        assert shown["Code"] == code, f"{shown}"
        if text is not None:
            assert text in message, f"{message!r} lacks {text!r}"
        if status is not None:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == status
        return error
    raise AssertionError(f"expected {code}, got an answer: {answer}")


def aws_cli():
    """The real command line, of the environment that runs the tests."""
    beside = Path(sys.executable).with_name("aws")
    return str(beside) if beside.exists() else shutil.which("aws")


def run_aws(endpoint, key, secret, *args, check=True):
    """Runs `aws --endpoint-url ... lambda ARGS`; returns parsed JSON, or None without output, or with check=False
    the finished process."""
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_DEFAULT_REGION": REGION,
                   "AWS_MAX_ATTEMPTS": "1", "AWS_PAGER": "", "AWS_CONFIG_FILE": "/dev/null"}
    done = subprocess.run([aws_cli(), "--endpoint-url", endpoint, "--output", "json", "lambda", *args],
                          capture_output=True, text=True, env=environment, timeout=120, check=False)
    if not check:
        return done
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None
