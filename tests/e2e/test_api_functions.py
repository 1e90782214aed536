"""The control API's functions through boto3: shapes, states, validation texts (spec lambda-api.md)."""

import base64
import hashlib
import re
import time
import urllib.request

import pytest
from harness import wait
from harness.archives import pack
from harness.aws import ACCOUNT, REGION, ROLE, refused

NODE = {"index.mjs": "export const handler = async () => 'one';"}
OTHER = {"index.mjs": "export const handler = async () => 'two';"}
PREFIX = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:"
UUID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000$")


def create(server, name, **changes):
    arguments = {"FunctionName": name, "Role": ROLE, "Runtime": "nodejs20.x", "Handler": "index.handler",
                 "Code": {"ZipFile": pack(NODE)}, **changes}
    return server.lam.create_function(**{key: value for key, value in arguments.items() if value is not None})


def test_create_answers_the_whole_configuration(server):
    """201, every default of section 3, unqualified ARN, Pending with its reason."""
    name = server.name("create")
    package = pack(NODE)
    answer = create(server, name, Code={"ZipFile": package})
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert answer["FunctionName"] == name
    assert answer["FunctionArn"] == PREFIX + name
    assert answer["Runtime"] == "nodejs20.x" and answer["Handler"] == "index.handler" and answer["Role"] == ROLE
    assert answer["CodeSize"] == len(package)
    assert answer["CodeSha256"] == base64.b64encode(hashlib.sha256(package).digest()).decode()
    assert answer["Description"] == "" and answer["Timeout"] == 3 and answer["MemorySize"] == 128
    assert answer["Version"] == "$LATEST" and answer["PackageType"] == "Zip"
    assert answer["Architectures"] == ["x86_64"]
    assert answer["EphemeralStorage"] == {"Size": 512}
    assert answer["TracingConfig"] == {"Mode": "PassThrough"}
    assert answer["SnapStart"] == {"ApplyOn": "None", "OptimizationStatus": "Off"}
    assert answer["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{name}"}
    assert STAMP.match(answer["LastModified"]) and UUID.match(answer["RevisionId"])
    assert (answer["State"], answer["StateReason"], answer["StateReasonCode"]) == (
        "Pending", "The function is being created.", "Creating")
    for absent in ("LastUpdateStatus", "Environment", "VpcConfig", "DeadLetterConfig", "Layers", "KMSKeyArn"):
        assert absent not in answer
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert headers["content-type"] == "application/json" and UUID.match(headers["x-amzn-requestid"])
    assert "date" in headers
    server.active(name)
    ready = server.lam.get_function_configuration(FunctionName=name)
    assert ready["State"] == "Active" and ready["LastUpdateStatus"] == "Successful"
    assert "StateReason" not in ready and ready["RevisionId"] != answer["RevisionId"]
    server.lam.delete_function(FunctionName=name)


def test_all_waiters_end(server):
    """The four waiters of boto3, older and newer."""
    name = server.name("waiters")
    create(server, name)
    for waiter in ("function_exists", "function_active", "function_active_v2", "function_updated", "function_updated_v2"):
        server.lam.get_waiter(waiter).wait(FunctionName=name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 100})
    server.lam.publish_version(FunctionName=name)
    server.lam.get_waiter("published_version_active").wait(
        FunctionName=name, Qualifier="1", WaiterConfig={"Delay": 0.1, "MaxAttempts": 100})
    server.lam.delete_function(FunctionName=name)


def test_code_location_downloads_the_package(server, deploy):
    """GetFunction's link gives the very bytes that were uploaded."""
    package = pack({**NODE, "more.txt": "text" * 1000})
    function = deploy(package)
    code = server.lam.get_function(FunctionName=function.name)["Code"]
    assert code["RepositoryType"] == "S3"
    with urllib.request.urlopen(code["Location"], timeout=10) as answer:
        assert answer.read() == package
    tampered = code["Location"].replace("X-Amz-Expires=600", "X-Amz-Expires=60000")
    if tampered != code["Location"]:
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(tampered, timeout=10)
        assert error.value.code == 403


def test_get_carries_tags_and_concurrency_only_when_set(server, deploy):
    function = deploy(NODE)
    plain = server.lam.get_function(FunctionName=function.name)
    assert "Tags" not in plain and "Concurrency" not in plain
    server.lam.tag_resource(Resource=function.arn, Tags={"team": "hearth"})
    server.lam.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=3)
    full = server.lam.get_function(FunctionName=function.name)
    assert full["Tags"] == {"team": "hearth"}
    assert full["Concurrency"] == {"ReservedConcurrentExecutions": 3}


def test_every_name_form_reaches_the_function(server, deploy):
    """Name, partial ARNs, full ARN, each with and without qualifier."""
    function = deploy(NODE)
    forms = [function.name, f"{ACCOUNT}:function:{function.name}", f"function:{function.name}",
             f"{REGION}:{ACCOUNT}:function:{function.name}", function.arn]
    for form in forms:
        assert server.lam.get_function_configuration(FunctionName=form)["FunctionArn"] == function.arn
        latest = server.lam.get_function_configuration(FunctionName=f"{form}:$LATEST")
        assert latest["FunctionArn"] == function.arn + ":$LATEST"
    both = server.lam.get_function(FunctionName=f"{function.name}:$LATEST", Qualifier="$LATEST")
    assert both["Configuration"]["FunctionArn"].endswith(":$LATEST")
    refused(lambda: server.lam.get_function(FunctionName=f"{function.name}:1", Qualifier="2"),
            "InvalidParameterValueException",
            "The derived qualifier from the function name does not match the specified qualifier.", 400)


def test_every_name_form_is_taken_by_every_kind_of_operation(server, deploy):
    """Configuration, versions, concurrency, aliases, policies, URLs, invocations: each has a rule for names of its own."""
    function, lam = deploy(NODE), server.lam
    lam.publish_version(FunctionName=function.name)
    lam.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1")
    forms = [function.name, f"{ACCOUNT}:function:{function.name}", f"function:{function.name}",
             f"{REGION}:{ACCOUNT}:function:{function.name}", function.arn]
    for number, form in enumerate(forms):
        assert lam.update_function_configuration(FunctionName=form, Description=form)["FunctionArn"] == function.arn
        server.updated(function.name)
        assert lam.update_function_code(FunctionName=form, ZipFile=pack(NODE))["Description"] == form
        server.updated(function.name)
        assert {item["Version"] for item in lam.list_versions_by_function(FunctionName=form)["Versions"]} >= {"$LATEST", "1"}
        assert lam.publish_version(FunctionName=form)["FunctionArn"] == f"{function.arn}:{number + 2}"
        assert lam.put_function_concurrency(FunctionName=form, ReservedConcurrentExecutions=5 + number)
        assert lam.get_function_concurrency(FunctionName=form)["ReservedConcurrentExecutions"] == 5 + number
        lam.delete_function_concurrency(FunctionName=form)
        assert lam.get_alias(FunctionName=form, Name="live")["AliasArn"] == f"{function.arn}:live"
        assert len(lam.list_aliases(FunctionName=form)["Aliases"]) == 1
        statement = lam.add_permission(FunctionName=f"{form}:live", StatementId="x", Action="lambda:InvokeFunction", Principal="*")
        assert f'"{function.arn}:live"' in statement["Statement"]
        lam.remove_permission(FunctionName=form, Qualifier="live", StatementId="x")
        for name, arn in ((form, function.arn), (f"{form}:live", f"{function.arn}:live")):
            made = lam.create_function_url_config(FunctionName=name, AuthType="AWS_IAM")
            assert made["FunctionArn"] == arn
            found = lam.update_function_url_config(FunctionName=name, AuthType="NONE")
            assert (found["FunctionUrl"], found["FunctionArn"]) == (made["FunctionUrl"], arn)
            assert lam.get_function_url_config(FunctionName=name)["AuthType"] == "NONE"
            lam.delete_function_url_config(FunctionName=name)
        assert lam.list_function_url_configs(FunctionName=form)["FunctionUrlConfigs"] == []
        for qualifier, version in (("", "$LATEST"), (":$LATEST", "$LATEST"), (":1", "1"), (":live", "1")):
            assert lam.invoke(FunctionName=form + qualifier)["ExecutedVersion"] == version
    for wrong in (f"{function.arn}:1", f"{function.arn}:$LATEST"):
        refused(lambda wrong=wrong: lam.create_function_url_config(FunctionName=wrong, AuthType="NONE"), "ValidationException",
                status=400)


def test_not_found_texts(server):
    missing = PREFIX + "missing"
    lam = server.lam
    for call in (lam.get_function, lam.get_function_configuration, lam.delete_function):
        error = refused(lambda call=call: call(FunctionName="missing"), "ResourceNotFoundException",
                        f"Function not found: {missing}", 404)
        assert error.response["Type"] == "User"
    refused(lambda: lam.get_function(FunctionName="missing", Qualifier="7"), "ResourceNotFoundException",
            f"Function not found: {missing}:7", 404)
    refused(lambda: lam.invoke(FunctionName="missing"), "ResourceNotFoundException",
            f"Function not found: {missing}:$LATEST", 404)
    refused(lambda: lam.get_function(FunctionName="x" * 65), "ResourceNotFoundException", "Function not found: ", 404)
    refused(lambda: lam.get_function(FunctionName="arn:aws:lambda:eu-west-1:000000000000:function:f"),
            "ResourceNotFoundException",
            f"Functions from 'eu-west-1' are not reachable in this region ('{REGION}')", 404)
    refused(lambda: lam.get_function(FunctionName=f"arn:aws:lambda:{REGION}:999999999999:function:f"),
            "AccessDeniedException", status=403)


@pytest.mark.parametrize("name", ["*", "my-fn!", "fn:1:2", "arn:aws:s3:::bucket", "a b"])
def test_bad_names_are_validation_errors(server, name):
    error = refused(lambda: server.lam.get_function(FunctionName=name), "ValidationException", status=400)
    text = error.response["Error"]["Message"]
    assert text.startswith("1 validation error detected: Value '") and "Member must satisfy regular expression" in text
    assert "Type" not in error.response


def test_create_validation(server):
    """Texts of section 1.2, with the path of the member."""
    lam_name = server.name("bad")

    def bad(code, text, **changes):
        refused(lambda: create(server, lam_name, **changes), code, text, 400)

    bad("InvalidParameterValueException", "1 validation error detected: Value '" + "x" * 65 + "' at 'functionName' failed to "
        "satisfy constraint: Member must have length less than or equal to 64", FunctionName="x" * 65)
    bad("InvalidParameterValueException", "Value nodejs1.x at 'runtime' failed to satisfy constraint: Member must satisfy "
        "enum value set: [", Runtime="nodejs1.x")
    bad("InvalidParameterValueException", "no longer supported for creating or updating AWS Lambda functions",
        Runtime="nodejs12.x")
    bad("ValidationException", "at 'memorySize' failed to satisfy constraint: Member must have value greater than or "
        "equal to 128", MemorySize=64)
    bad("ValidationException", "at 'timeout' failed to satisfy constraint: Member must have value greater than or equal to 1",
        Timeout=0)
    bad("ValidationException", "at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern: ",
        Role="arn:aws:iam::1:role/x")
    bad("ValidationException", "at 'handler' failed to satisfy constraint: Member must satisfy regular expression pattern",
        Handler="a b")
    bad("ValidationException", "Member must satisfy enum value set: [", Architectures=["mips"])
    bad("ValidationException", "at 'ephemeralStorage.size' failed to satisfy constraint: Member must have value greater",
        EphemeralStorage={"Size": 100})
    bad("ValidationException", "2 validation errors detected: ", MemorySize=64, Timeout=0)
    bad("InvalidParameterValueException", "exceeded the 4KB limit. String measured: {",
        Environment={"Variables": {"LONG": "x" * 4200}})
    bad("InvalidParameterValueException", "reserved keys", Environment={"Variables": {"AWS_REGION": "x"}})
    bad("InvalidParameterValueException", "Could not unzip uploaded file. Please check your file, then try to upload again.",
        Code={"ZipFile": b"this is not an archive"})
    bad("InvalidParameterValueException", "", Code={"S3Bucket": "b", "S3Key": "k"})
    bad("InvalidParameterValueException", "", Runtime=None, Handler=None)
    refused(lambda: server.lam.get_function(FunctionName=lam_name), "ResourceNotFoundException")


def test_create_twice_conflicts(server, deploy):
    function = deploy(NODE)
    refused(lambda: create(server, function.name), "ResourceConflictException",
            f"Function already exist: {function.name}", 409)


def test_arn_as_name_is_stored_under_the_bare_name(server):
    name = server.name("by-arn")
    assert create(server, PREFIX + name)["FunctionName"] == name
    server.lam.delete_function(FunctionName=name)


def test_create_with_publish(server):
    """Version 1, unqualified ARN."""
    name = server.name("publish")
    answer = create(server, name, Publish=True)
    assert answer["Version"] == "1" and answer["FunctionArn"] == PREFIX + name
    server.active(name)
    assert server.lam.get_function_configuration(FunctionName=name, Qualifier="1")["FunctionArn"] == f"{PREFIX}{name}:1"
    server.lam.delete_function(FunctionName=name)


def test_update_code(server, deploy):
    """InProgress with reason, then Successful; new sha, new RevisionId; stale RevisionId is 412; DryRun stores nothing."""
    function = deploy(NODE)
    before = server.lam.get_function_configuration(FunctionName=function.name)
    dry = server.lam.update_function_code(FunctionName=function.name, ZipFile=pack(OTHER), DryRun=True)
    assert dry["CodeSha256"] != before["CodeSha256"]
    unchanged = server.lam.get_function_configuration(FunctionName=function.name)
    assert (unchanged["CodeSha256"], unchanged["RevisionId"]) == (before["CodeSha256"], before["RevisionId"])
    refused(lambda: server.lam.update_function_code(
        FunctionName=function.name, ZipFile=pack(OTHER), RevisionId="00000000-0000-0000-0000-000000000000"),
        "PreconditionFailedException", "The Revision Id provided does not match the latest Revision Id. Call the "
        "GetFunction/GetAlias API to retrieve the latest Revision Id", 412)
    answer = server.lam.update_function_code(
        FunctionName=function.name, ZipFile=pack(OTHER), RevisionId=before["RevisionId"])
    assert (answer["State"], answer["LastUpdateStatus"]) == ("Active", "InProgress")
    assert answer["LastUpdateStatusReasonCode"] == "Creating" and answer["LastUpdateStatusReason"]
    server.updated(function.name)
    after = server.lam.get_function_configuration(FunctionName=function.name)
    assert after["LastUpdateStatus"] == "Successful" and "LastUpdateStatusReason" not in after
    assert len({before["RevisionId"], answer["RevisionId"], after["RevisionId"]}) == 3
    assert function.call() == "two"
    refused(lambda: server.lam.update_function_code(FunctionName=function.name, ImageUri="a/b:c"),
            "InvalidParameterValueException",
            "Please don't provide ImageUri when updating a function with packageType Zip.", 400)


def test_update_code_with_publish(server, deploy):
    function = deploy(NODE)
    answer = server.lam.update_function_code(FunctionName=function.name, ZipFile=pack(OTHER), Publish=True)
    assert answer["Version"] == "1" and answer["FunctionArn"] == function.arn + ":1"
    server.updated(function.name)
    server.active(function.name, "1")
    assert function.call(Qualifier="1") == "two"


def test_update_configuration_changes_only_what_is_given(server, deploy):
    function = deploy(NODE, Description="text", Timeout=5, Environment={"Variables": {"KEY": "a"}})
    answer = function.configure(MemorySize=256)
    assert (answer["MemorySize"], answer["Timeout"], answer["Description"]) == (256, 5, "text")
    assert answer["Environment"] == {"Variables": {"KEY": "a"}} and answer["LastUpdateStatus"] == "InProgress"
    assert function.configure(Environment={"Variables": {}})["Environment"] == {"Variables": {}}
    assert function.configure(Description="")["Description"] == ""
    json_format = function.configure(LoggingConfig={"LogFormat": "JSON"})["LoggingConfig"]
    assert json_format["ApplicationLogLevel"] == "INFO" and json_format["SystemLogLevel"] == "INFO"
    text = function.configure(LoggingConfig={"LogFormat": "Text"})["LoggingConfig"]
    assert "ApplicationLogLevel" not in text
    refused(lambda: server.lam.update_function_configuration(FunctionName=function.name, Timeout=901),
            "ValidationException", "less than or equal to 900", 400)


def test_update_of_a_version_is_refused(server, deploy):
    function = deploy(NODE)
    server.lam.publish_version(FunctionName=function.name)
    refused(lambda: server.lam.update_function_code(FunctionName=function.name + ":1", ZipFile=pack(OTHER)),
            "InvalidParameterValueException", status=400)


def test_list_functions_pages(server):
    """MaxItems and Marker; no state members in lists; FunctionVersion=ALL shows versions with qualified ARNs."""
    names = sorted(server.name("list") for _ in range(4))
    for name in names:
        server.deploy(NODE, name=name)
    pages = server.lam.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2})
    found = [item for page in pages for item in page["Functions"]]
    listed = [item["FunctionName"] for item in found]
    assert sorted(name for name in listed if name in names) == names and len(listed) == len(set(listed))
    assert not any("State" in item or "LastUpdateStatus" in item for item in found)
    server.lam.publish_version(FunctionName=names[0])
    every = [item for page in server.lam.get_paginator("list_functions").paginate(FunctionVersion="ALL")
             for item in page["Functions"] if item["FunctionName"] == names[0]]
    assert [item["FunctionArn"].rsplit(":", 1)[1] for item in every] == ["$LATEST", "1"]
    refused(lambda: server.lam.list_functions(Marker="nonsense!"), "InvalidParameterValueException", status=400)
    for name in names:
        server.lam.delete_function(FunctionName=name)


def test_delete(server):
    """204 without a body; everything of the function is gone; the name can be used again."""
    name = server.name("gone")
    create(server, name)
    answer = server.lam.delete_function(FunctionName=name)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    refused(lambda: server.lam.get_function(FunctionName=name), "ResourceNotFoundException")
    function = server.deploy(OTHER, name=name)
    assert function.call() == "two"
    function.delete()


def test_tags(server, deploy):
    function = deploy(NODE, Tags={"a": "1"})
    assert server.lam.list_tags(Resource=function.arn)["Tags"] == {"a": "1"}
    answer = server.lam.tag_resource(Resource=function.arn, Tags={"b": "2", "a": "3"})
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    answer = server.lam.untag_resource(Resource=function.arn, TagKeys=["a", "never-there"])
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert server.lam.list_tags(Resource=function.arn)["Tags"] == {"b": "2"}
    refused(lambda: server.lam.list_tags(Resource=function.arn + ":1"), "InvalidParameterValueException",
            "Tags on function aliases and versions are not supported. Please specify a function ARN.", 400)
    refused(lambda: server.lam.tag_resource(Resource=function.arn, Tags={f"k{n}": "v" for n in range(51)}),
            "InvalidParameterValueException", "Number of tags exceeds resource tag limit.", 400)


def test_account_settings(server):
    answer = server.lam.get_account_settings()
    limit = answer["AccountLimit"]
    assert (limit["TotalCodeSize"], limit["CodeSizeUnzipped"], limit["CodeSizeZipped"], limit["ConcurrentExecutions"]) == (
        80530636800, 262144000, 52428800, 1000)
    assert limit["UnreservedConcurrentExecutions"] <= 1000
    assert set(answer["AccountUsage"]) == {"TotalCodeSize", "FunctionCount"}


def test_code_signing_config_is_empty(server, deploy):
    function = deploy(NODE)
    answer = server.lam.get_function_code_signing_config(FunctionName=function.name)
    assert "CodeSigningConfigArn" not in answer
    refused(lambda: server.lam.get_function_code_signing_config(FunctionName="missing"), "ResourceNotFoundException",
            "Function not found: ", 404)


def test_concurrency_settings(server, deploy):
    function = deploy(NODE)
    lam = server.lam
    assert "ReservedConcurrentExecutions" not in lam.get_function_concurrency(FunctionName=function.name)
    put = lam.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=7)
    assert put["ReservedConcurrentExecutions"] == 7
    assert lam.get_function_concurrency(FunctionName=function.name)["ReservedConcurrentExecutions"] == 7
    refused(lambda: lam.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=901),
            "InvalidParameterValueException", "decreases account's UnreservedConcurrentExecution below its minimum value "
            "of [100].", 400)
    answer = lam.delete_function_concurrency(FunctionName=function.name)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert "ReservedConcurrentExecutions" not in lam.get_function_concurrency(FunctionName=function.name)


def test_update_while_an_update_runs_conflicts_or_serialises(server, deploy):
    """Two updates at once: each answer is success or the 409 of the spec, and the last word holds."""
    function = deploy(NODE)
    outcomes = []
    for size in (128, 192, 256):
        try:
            server.lam.update_function_configuration(FunctionName=function.name, MemorySize=size)
            outcomes.append(size)
        except server.lam.exceptions.ResourceConflictException as error:
            assert (f"The operation cannot be performed at this time. An update is in progress for resource: "
                    f"{function.arn}") in str(error)
    server.updated(function.name)
    assert outcomes[0] == 128
    assert server.lam.get_function_configuration(FunctionName=function.name)["MemorySize"] == outcomes[-1]


def test_last_modified_moves(server, deploy):
    function = deploy(NODE)
    first = server.lam.get_function_configuration(FunctionName=function.name)["LastModified"]
    time.sleep(0.01)
    function.configure(Timeout=9)
    assert server.lam.get_function_configuration(FunctionName=function.name)["LastModified"] > first


def test_old_code_goes_while_calls_go_on(own_server):
    """Code that came out of use is removed; calls that come meanwhile are served, and new code is there."""
    server = own_server()
    function = server.deploy({"index.mjs": "export const handler = async () => 0;"})
    for number in range(1, 6):
        function.update_code({"index.mjs": f"export const handler = async () => {number};"})
        assert function.call({}) == number

    def packages():
        for _ in range(5):
            assert server.lam.get_function(FunctionName=function.name)["Configuration"]["FunctionName"] == function.name
        return len(list((server.data / "code").glob("*.zip")))

    wait.until(lambda: packages() == 1, 20, "old code stayed")
    assert function.call({}) == 5
