"""Versions, aliases and weighted routing (spec lambda-api.md section 5, invoke.md section 7)."""

import collections
import json

import pytest
from harness.aws import refused


def source(word):
    return {"index.mjs": "export const handler = async (e, c) => ({word: '" + word + "', version: c.functionVersion, "
                         "env: process.env.AWS_LAMBDA_FUNCTION_VERSION, arn: c.invokedFunctionArn});"}


@pytest.fixture
def two_versions(server, deploy):
    """A function whose versions 1 and 2 and $LATEST answer one, two, three."""
    function = deploy(source("one"))
    server.lam.publish_version(FunctionName=function.name)
    function.update_code(source("two"))
    server.lam.publish_version(FunctionName=function.name)
    function.update_code(source("three"))
    return function


def test_versions_keep_their_code(server, two_versions):
    function = two_versions
    for qualifier, word in (("1", "one"), ("2", "two"), ("$LATEST", "three")):
        result = function.invoke(Qualifier=qualifier)
        assert result.json["word"] == word and result.version == qualifier
        assert result.json["version"] == result.json["env"] == qualifier
        assert result.json["arn"] == f"{function.arn}:{qualifier}"
    assert function.invoke().json["arn"] == function.arn
    by_arn = server.lam.invoke(FunctionName=f"{function.arn}:1")
    assert by_arn["ExecutedVersion"] == "1"


def test_publish_without_change_returns_the_same_version(server, deploy):
    function = deploy(source("one"))
    first = server.lam.publish_version(FunctionName=function.name, Description="first")
    assert first["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert (first["Version"], first["FunctionArn"], first["Description"]) == ("1", function.arn + ":1", "first")
    assert first["State"] == "Active"
    again = server.lam.publish_version(FunctionName=function.name)
    assert (again["Version"], again["RevisionId"]) == ("1", first["RevisionId"])
    function.configure(Timeout=7)
    assert server.lam.publish_version(FunctionName=function.name)["Version"] == "2"
    listed = server.lam.list_versions_by_function(FunctionName=function.name)["Versions"]
    assert [item["Version"] for item in listed] == ["$LATEST", "1", "2"]
    assert listed[0]["FunctionArn"] == function.arn + ":$LATEST"


def test_publish_checks_the_digest_and_revision(server, deploy):
    function = deploy(source("one"))
    current = server.lam.get_function_configuration(FunctionName=function.name)["CodeSha256"]
    wrong = "A" * 43 + "="
    refused(lambda: server.lam.publish_version(FunctionName=function.name, CodeSha256=wrong),
            "InvalidParameterValueException", f"CodeSHA256 ({wrong}) is different from current CodeSHA256 in $LATEST "
            f"({current}). Please try again with the CodeSHA256 in $LATEST.", 400)
    refused(lambda: server.lam.publish_version(FunctionName=function.name, RevisionId="nope"),
            "PreconditionFailedException", status=412)


def test_versions_are_deleted_one_by_one(server, two_versions):
    function, lam = two_versions, server.lam
    lam.delete_function(FunctionName=function.name, Qualifier="1")
    refused(lambda: function.invoke(Qualifier="1"), "ResourceNotFoundException",
            f"Function not found: {function.arn}:1", 404)
    assert lam.delete_function(FunctionName=function.name, Qualifier="1")["ResponseMetadata"]["HTTPStatusCode"] == 204
    refused(lambda: lam.delete_function(FunctionName=function.name, Qualifier="$LATEST"), "InvalidParameterValueException",
            "$LATEST version cannot be deleted without deleting the function.", 400)
    assert function.call()["word"] == "three"
    function.configure(Timeout=8)
    assert lam.publish_version(FunctionName=function.name)["Version"] == "3"
    lam.create_alias(FunctionName=function.name, Name="held", FunctionVersion="2")
    refused(lambda: lam.delete_function(FunctionName=function.name, Qualifier="2"), "ResourceConflictException", status=409)
    refused(lambda: lam.delete_function(FunctionName=function.name, Qualifier="held"), "InvalidParameterValueException",
            "Deletion of aliases is not currently supported.", 400)


def test_alias_life(server, two_versions):
    function, lam = two_versions, server.lam
    made = lam.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1", Description="text")
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert made["AliasArn"] == function.arn + ":live" and made["FunctionVersion"] == "1"
    refused(lambda: lam.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1"),
            "ResourceConflictException", f"Alias already exists: {function.arn}:live", 409)
    assert lam.get_alias(FunctionName=function.name, Name="live")["Description"] == "text"
    result = function.invoke(Qualifier="live")
    assert (result.version, result.json["word"], result.json["arn"]) == ("1", "one", function.arn + ":live")
    read = lam.get_function(FunctionName=function.name, Qualifier="live")["Configuration"]
    assert (read["Version"], read["FunctionArn"]) == ("1", function.arn + ":live")
    moved = lam.update_alias(FunctionName=function.name, Name="live", FunctionVersion="2")
    assert moved["FunctionVersion"] == "2" and moved["Description"] == "text"
    assert moved["RevisionId"] != made["RevisionId"]
    assert function.call(Qualifier="live")["word"] == "two"
    refused(lambda: lam.update_alias(FunctionName=function.name, Name="live", RevisionId=made["RevisionId"]),
            "PreconditionFailedException", status=412)
    lam.create_alias(FunctionName=function.name, Name="beta", FunctionVersion="$LATEST")
    assert [a["Name"] for a in lam.list_aliases(FunctionName=function.name)["Aliases"]] == ["beta", "live"]
    only = lam.list_aliases(FunctionName=function.name, FunctionVersion="2")["Aliases"]
    assert [a["Name"] for a in only] == ["live"]
    for _ in range(2):
        answer = lam.delete_alias(FunctionName=function.name, Name="beta")
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    refused(lambda: lam.get_alias(FunctionName=function.name, Name="beta"), "ResourceNotFoundException",
            f"{function.arn}:beta", 404)
    refused(lambda: lam.create_alias(FunctionName=function.name, Name="123", FunctionVersion="1"), "ValidationException",
            status=400)
    refused(lambda: lam.create_alias(FunctionName=function.name, Name="x", FunctionVersion="99"),
            "ResourceNotFoundException", f"Function not found: {function.arn}:99", 404)


def test_routing_rules(server, two_versions):
    function, lam = two_versions, server.lam

    def create(**more):
        return lam.create_alias(FunctionName=function.name, Name="split", **more)

    refused(lambda: create(FunctionVersion="1", RoutingConfig={"AdditionalVersionWeights": {"1": 0.5}}),
            "InvalidParameterValueException", "Invalid function version 1. Function version 1 is already included in routing "
            "configuration.", 400)
    refused(lambda: create(FunctionVersion="$LATEST", RoutingConfig={"AdditionalVersionWeights": {"1": 0.5}}),
            "InvalidParameterValueException", "$LATEST is not supported for an alias pointing to more than 1 version", 400)
    refused(lambda: create(FunctionVersion="1", RoutingConfig={"AdditionalVersionWeights": {"2": 0.5, "3": 0.1}}),
            "InvalidParameterValueException", "Number of items in AdditionalVersionWeights cannot be greater than 1", 400)
    refused(lambda: create(FunctionVersion="1", RoutingConfig={"AdditionalVersionWeights": {"2": 2.0}}),
            "ValidationException", "at 'routingConfig.additionalVersionWeights' failed to satisfy constraint: Map value must "
            "satisfy constraint: [Member must have value less than or equal to 1.0", 400)


def test_weights_divide_the_requests(server, two_versions):
    """30 % of 400 requests: within five standard deviations of 120."""
    function, lam = two_versions, server.lam
    lam.create_alias(FunctionName=function.name, Name="split", FunctionVersion="1",
                     RoutingConfig={"AdditionalVersionWeights": {"2": 0.3}})
    seen = collections.Counter(function.invoke(Qualifier="split").version for _ in range(400))
    assert set(seen) == {"1", "2"} and 74 <= seen["2"] <= 166, seen
    lam.update_alias(FunctionName=function.name, Name="split", RoutingConfig={"AdditionalVersionWeights": {}})
    assert "RoutingConfig" not in lam.get_alias(FunctionName=function.name, Name="split")
    seen = collections.Counter(function.invoke(Qualifier="split").version for _ in range(20))
    assert seen == {"1": 20}


def test_weights_divide_the_requests_of_a_url(server, two_versions):
    """The URL of an alias: half of 200 requests, within five standard deviations."""
    function, lam = two_versions, server.lam
    lam.create_alias(FunctionName=function.name, Name="half", FunctionVersion="1",
                     RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}})
    url = function.public_url("half")
    seen = collections.Counter(json.loads(url.call().body)["word"] for _ in range(200))
    assert set(seen) == {"one", "two"} and 64 <= seen["two"] <= 136, seen
    lam.update_alias(FunctionName=function.name, Name="half", RoutingConfig={"AdditionalVersionWeights": {"2": 1.0}})
    assert {json.loads(url.call().body)["word"] for _ in range(20)} == {"two"}


def test_revision_ids_move_as_documented(server, deploy):
    """PublishVersion and AddPermission move $LATEST's RevisionId; aliases, tags and concurrency do not."""
    function, lam = deploy(source("one")), server.lam

    def revision():
        return lam.get_function_configuration(FunctionName=function.name)["RevisionId"]

    start = revision()
    lam.publish_version(FunctionName=function.name)
    published = revision()
    assert published != start
    lam.create_alias(FunctionName=function.name, Name="a", FunctionVersion="1")
    lam.tag_resource(Resource=function.arn, Tags={"a": "b"})
    lam.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=1)
    assert revision() == published
    lam.add_permission(FunctionName=function.name, StatementId="s", Action="lambda:InvokeFunction", Principal="111122223333")
    assert revision() != published


