"""Resource policies and function URL configurations (spec lambda-api.md section 9)."""

import contextlib
import json
import re
import sqlite3

import pytest
from harness import wait
from harness.aws import REGION, refused

NODE = {"index.mjs": "export const handler = async () => 'one';"}


def statement(lam, function, sid, principal, **more):
    answer = lam.add_permission(FunctionName=function.name, StatementId=sid, Action="lambda:InvokeFunction",
                                Principal=principal, **more)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 201
    return json.loads(answer["Statement"])


def test_statements_take_the_documented_shape(server, deploy):
    function, lam = deploy(NODE), server.lam
    expected = {"Sid": "all", "Effect": "Allow", "Principal": "*", "Action": "lambda:InvokeFunction", "Resource": function.arn}
    assert statement(lam, function, "all", "*") == expected
    s3 = statement(lam, function, "s3", "s3.amazonaws.com", SourceArn="arn:aws:s3:::bucket", SourceAccount="111122223333")
    assert s3["Principal"] == {"Service": "s3.amazonaws.com"}
    assert s3["Condition"] == {"ArnLike": {"AWS:SourceArn": "arn:aws:s3:::bucket"},
                               "StringEquals": {"AWS:SourceAccount": "111122223333"}}
    assert statement(lam, function, "acct", "111122223333")["Principal"] == {"AWS": "arn:aws:iam::111122223333:root"}
    policy = json.loads(lam.get_policy(FunctionName=function.name)["Policy"])
    assert (policy["Version"], policy["Id"]) == ("2012-10-17", "default")
    assert [item["Sid"] for item in policy["Statement"]] == ["all", "s3", "acct"]
    for sid in ("all", "s3", "acct"):
        answer = lam.remove_permission(FunctionName=function.name, StatementId=sid)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    refused(lambda: lam.get_policy(FunctionName=function.name), "ResourceNotFoundException",
            "The resource you requested does not exist.", 404)


def test_policy_errors(server, deploy):
    function, lam = deploy(NODE), server.lam
    refused(lambda: lam.remove_permission(FunctionName=function.name, StatementId="x"), "ResourceNotFoundException",
            "No policy is associated with the given resource.", 404)
    refused(lambda: lam.remove_permission(FunctionName="missing", StatementId="x"), "ResourceNotFoundException",
            "No policy found for: ", 404)
    statement(lam, function, "one", "*")
    refused(lambda: statement(lam, function, "one", "*"), "ResourceConflictException", "The statement id (one) provided already "
            "exists. Please provide a new statement id, or remove the existing statement.", 409)
    refused(lambda: lam.remove_permission(FunctionName=function.name, StatementId="two"), "ResourceNotFoundException",
            "Statement two is not found in resource policy.", 404)
    refused(lambda: statement(lam, function, "three", "nobody"), "InvalidParameterValueException",
            "The provided principal was invalid. Please check the principal and try again.", 400)
    refused(lambda: statement(lam, function, "four", "*", Qualifier="$LATEST"), "InvalidParameterValueException",
            "We currently do not support adding policies for $LATEST.", 400)
    refused(lambda: statement(lam, function, "five", "*", RevisionId="nope"), "PreconditionFailedException", status=412)


def test_a_policy_has_an_end(server, deploy):
    """20,480 bytes; what did not fit changes nothing."""
    function, lam = deploy(NODE), server.lam
    source = "arn:aws:s3:::" + "b" * 130
    kept = 0
    with pytest.raises(lam.exceptions.PolicyLengthExceededException) as raised:
        for kept in range(100):
            statement(lam, function, f"{kept:0100}", "s3.amazonaws.com", SourceArn=source)
    size, limit = re.fullmatch(r"The final policy size \((\d+)\) is bigger than the limit \((\d+)\)\.",
                               raised.value.response["message"]).groups()
    assert int(limit) == 20480 < int(size) < 21200 and raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    statements = json.loads(lam.get_policy(FunctionName=function.name)["Policy"])["Statement"]
    assert [int(item["Sid"]) for item in statements] == list(range(kept))
    lam.remove_permission(FunctionName=function.name, StatementId=f"{0:0100}")
    statement(lam, function, "fits-again", "*")


def test_policies_of_versions_and_aliases_are_their_own(server, deploy):
    function, lam = deploy(NODE), server.lam
    lam.publish_version(FunctionName=function.name)
    lam.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1")
    assert statement(lam, function, "v", "*", Qualifier="1")["Resource"] == function.arn + ":1"
    assert statement(lam, function, "a", "*", Qualifier="live")["Resource"] == function.arn + ":live"
    refused(lambda: lam.get_policy(FunctionName=function.name), "ResourceNotFoundException", status=404)
    own = json.loads(lam.get_policy(FunctionName=function.name, Qualifier="live")["Policy"])
    assert [item["Sid"] for item in own["Statement"]] == ["a"]


def test_url_config_life(server, deploy):
    function, lam = deploy(NODE), server.lam
    cors = {"AllowOrigins": ["https://a.example"], "AllowMethods": ["GET", "POST"], "MaxAge": 60}
    made = lam.create_function_url_config(FunctionName=function.name, AuthType="NONE", Cors=cors)
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert made["FunctionArn"] == function.arn and made["AuthType"] == "NONE" and made["Cors"] == cors
    assert "InvokeMode" not in made
    host = made["FunctionUrl"].split("/")[2]
    url_id = host.split(".")[0]
    assert made["FunctionUrl"] == f"http://{url_id}.lambda-url.{REGION}.localhost:{server.port}/"
    assert len(url_id) == 32 and url_id.isalnum() and url_id == url_id.lower()
    refused(lambda: lam.create_function_url_config(FunctionName=function.name, AuthType="NONE"), "ResourceConflictException",
            f"Failed to create function url config for [functionArn = {function.arn}]. Error message:  FunctionUrlConfig "
            "exists for this Lambda function", 409)
    got = lam.get_function_url_config(FunctionName=function.name)
    assert got["InvokeMode"] == "BUFFERED" and got["FunctionUrl"] == made["FunctionUrl"] and got["LastModifiedTime"]
    changed = lam.update_function_url_config(FunctionName=function.name, AuthType="AWS_IAM", Cors={})
    assert changed["AuthType"] == "AWS_IAM" and not changed.get("Cors")
    listed = lam.list_function_url_configs(FunctionName=function.name)["FunctionUrlConfigs"]
    assert [item["FunctionUrl"] for item in listed] == [made["FunctionUrl"]]
    assert lam.delete_function_url_config(FunctionName=function.name)["ResponseMetadata"]["HTTPStatusCode"] == 204
    refused(lambda: lam.get_function_url_config(FunctionName=function.name), "ResourceNotFoundException",
            "The resource you requested does not exist.", 404)


def test_url_config_errors(server, deploy):
    function, lam = deploy(NODE), server.lam
    refused(lambda: lam.create_function_url_config(FunctionName="missing", AuthType="NONE"), "ResourceNotFoundException",
            "Function does not exist", 404)
    refused(lambda: lam.list_function_url_configs(FunctionName="missing"), "ResourceNotFoundException",
            "Function does not exist", 404)
    for qualifier in ("$LATEST", "1"):
        refused(lambda qualifier=qualifier: lam.create_function_url_config(
            FunctionName=function.name, AuthType="NONE", Qualifier=qualifier), "ValidationException", status=400)
    refused(lambda: lam.create_function_url_config(FunctionName=function.name, AuthType="OPEN"), "ValidationException",
            "at 'authType' failed to satisfy constraint: Member must satisfy enum value set: [", 400)
    refused(lambda: lam.create_function_url_config(FunctionName=function.name, AuthType="NONE", Cors={"MaxAge": 90000}),
            "ValidationException", "less than or equal to 86400", 400)


def test_function_and_alias_have_urls_of_their_own(server, deploy):
    function, lam = deploy(NODE), server.lam
    lam.publish_version(FunctionName=function.name)
    lam.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1")
    plain, alias = function.public_url(), function.public_url("live")
    assert plain.id != alias.id
    assert plain.call().status == 200 and alias.call().status == 200
    lam.delete_function_url_config(FunctionName=function.name)
    assert plain.call().status == 403 and alias.call().status == 200
    lam.delete_alias(FunctionName=function.name, Name="live")
    assert alias.call().status == 403


def test_old_rights_do_not_outlive_a_change_that_cannot_be_read(own_server):
    """A function whose new state cannot be read answers 500, not as before, and serves again by itself."""
    server = own_server()
    function = server.deploy({"index.mjs": "export const handler = async () => 'fine';"})
    url = function.public_url()
    function.server.lam.publish_version(FunctionName=function.name)
    function.server.lam.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1")
    assert url.call().status == 200

    def set_version(number):
        with contextlib.closing(sqlite3.connect(server.data / "irori.db", timeout=10)) as database, database:
            database.execute("UPDATE alias SET version = ?", (number,))

    set_version(99)
    policy = json.loads(function.server.lam.get_policy(FunctionName=function.name)["Policy"])
    server.lam.remove_permission(FunctionName=function.name, StatementId=policy["Statement"][0]["Sid"])
    assert url.call().status == 500
    with pytest.raises(Exception, match="cannot be read yet"):
        function.invoke()
    set_version(1)
    wait.until(lambda: url.call().status == 403, 10, "still old or stale")
    assert function.call({}) == "fine"
