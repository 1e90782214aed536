#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "auth/credentials.h"
#include "auth/sigv4.h"
#include "base/clock.h"
#include "base/err.h"
#include "fixture.h"
#include "model/function.h"
#include "store/store.h"

#define FN   "/2015-03-31/functions"
#define ARN  "arn:aws:lambda:us-east-1:000000000000:function:"
#define ROLE "arn:aws:iam::000000000000:role/r"

static char buffer[8192];

static const char *code_body(const char *zip, const char *members)
{
    (void)snprintf(buffer, sizeof buffer, "{\"ZipFile\":\"%s\"%s}", zip, members);
    return buffer;
}

static void create(struct fixture *f, const char *name, const char *members)
{
    char body[8192];

    (void)snprintf(body, sizeof body,
                   "{\"FunctionName\":\"%s\",\"Runtime\":\"nodejs20.x\",\"Role\":\"" ROLE
                   "\",\"Handler\":\"index.handler\",\"Code\":{\"ZipFile\":\"%s\"}%s}",
                   name, fixture_zip, members);
    (void)fixture_request(f, "POST", FN, body);
}

/* create -> get -> update -> publish -> alias -> url -> permission -> delete */
static void a_function_lives_a_whole_life(void **state)
{
    struct fixture f = { 0 };
    struct function *picture;
    char config[64], code[80], path[4096];

    (void)state;
    fixture_open(&f);
    create(&f, "hello", ",\"Environment\":{\"Variables\":{\"KEY\":\"value\"}},\"Tags\":{\"team\":\"a b\"}");
    assert_int_equal(f.response.status, 201);
    assert_true(f.response.settle);
    assert_string_equal(f.response.changed[0], "hello");
    assert_string_equal(fixture_text(&f, "FunctionArn"), ARN "hello");
    assert_string_equal(fixture_text(&f, "State"), "Pending");
    assert_string_equal(fixture_text(&f, "StateReason"), "The function is being created.");
    assert_string_equal(fixture_text(&f, "StateReasonCode"), "Creating");
    assert_false(fixture_has(&f, "LastUpdateStatus"));
    assert_string_equal(fixture_text(&f, "Version"), "$LATEST");
    assert_string_equal(fixture_text(&f, "LoggingConfig.LogGroup"), "/aws/lambda/hello");
    assert_string_equal(fixture_text(&f, "SnapStart.OptimizationStatus"), "Off");
    assert_string_equal(fixture_text(&f, "Architectures.0"), "x86_64");
    assert_string_equal(fixture_text(&f, "TracingConfig.Mode"), "PassThrough");
    assert_int_equal((int)fixture_number(&f, "EphemeralStorage.Size"), 512);
    picture = api_picture(f.api, "hello");
    assert_true(picture->pending);
    assert_int_equal(picture->latest->uid_index, 1);
    (void)function_unref(picture);
    fixture_request(&f, "PUT", FN "/hello/configuration", "{\"Timeout\":5}");
    expect_error(
        &f, 409, "ResourceConflictException",
        "The operation cannot be performed at this time. The function is currently in the following state: "
        "Pending");
    fixture_settle(&f, "hello");
    assert_int_equal(fixture_request(&f, "GET", FN "/hello", NULL), 200);
    assert_string_equal(fixture_text(&f, "Configuration.State"), "Active");
    assert_string_equal(fixture_text(&f, "Configuration.LastUpdateStatus"), "Successful");
    assert_string_equal(fixture_text(&f, "Tags.team"), "a b");
    assert_memory_equal(fixture_text(&f, "Code.Location"), "http://127.0.0.1:9000/_irori/code/", 34);
    (void)snprintf(path, sizeof path, "%s",
                   fixture_text(&f, "Code.Location") + strlen("http://127.0.0.1:9000"));
    assert_int_equal(fixture_request(&f, "GET", path, NULL), 200);
    assert_true(f.response.file_fd >= 0);

    picture = api_picture(f.api, "hello");
    (void)snprintf(config, sizeof config, "%s", picture->latest->config_id);
    (void)snprintf(code, sizeof code, "%s", picture->latest->code_sha256);
    assert_string_equal(picture->latest->vars[0].value, "value");
    (void)function_unref(picture);

    /* An update keeps the old code and configuration in service until it is settled. */
    assert_int_equal(
        fixture_request(&f, "PUT", FN "/hello/code", code_body(fixture_zip2, ",\"Publish\":true")), 200);
    assert_string_equal(fixture_text(&f, "FunctionArn"), ARN "hello:1");
    assert_string_equal(fixture_text(&f, "State"), "Pending");
    picture = api_picture(f.api, "hello");
    assert_string_equal(picture->latest->code_sha256, code);
    assert_string_equal(picture->latest->config_id, config);
    assert_int_equal(picture->version_count, 1);
    (void)function_unref(picture);
    fixture_request(&f, "POST", FN "/hello/versions", "{}");
    expect_error(&f, 409, "ResourceConflictException",
                 "The operation cannot be performed at this time. An update is in progress for resource: " ARN
                 "hello");
    assert_int_equal(fixture_request(&f, "GET", FN "/hello/configuration", NULL), 200);
    assert_string_equal(fixture_text(&f, "LastUpdateStatus"), "InProgress");
    picture = api_settle(f.api, "hello");
    assert_string_not_equal(picture->latest->code_sha256, code);
    /* A change in between is told apart, and shows the new code as well. */
    assert_int_equal(fixture_request(&f, "PUT", "/2017-10-31/functions/hello/concurrency",
                                     "{\"ReservedConcurrentExecutions\":7}"),
                     200);
    struct function *later = api_picture(f.api, "hello");
    assert_true(later->sequence > picture->sequence);
    assert_string_equal(later->latest->config_id, picture->latest->config_id);
    assert_int_equal(later->reserved_concurrency, 7);
    (void)function_unref(later);
    assert_int_equal(fixture_request(&f, "GET", FN "/hello/configuration", NULL), 200);
    assert_string_equal(fixture_text(&f, "LastUpdateStatus"), "InProgress");
    api_settled(f.api, "hello", picture->sequence);
    (void)function_unref(picture);
    assert_int_equal(fixture_request(&f, "GET", FN "/hello/configuration?Qualifier=1", NULL), 200);
    assert_string_equal(fixture_text(&f, "State"), "Active");
    assert_string_equal(fixture_text(&f, "FunctionArn"), ARN "hello:1");

    assert_int_equal(
        fixture_request(&f, "POST", FN "/hello/aliases/", "{\"Name\":\"live\",\"FunctionVersion\":\"1\"}"),
        201);
    assert_string_equal(fixture_text(&f, "AliasArn"), ARN "hello:live");
    assert_string_equal(fixture_text(&f, "Description"), "");
    assert_int_equal(
        fixture_request(&f, "POST", "/2021-10-31/functions/hello/url?Qualifier=live",
                        "{\"AuthType\":\"NONE\",\"Cors\":{\"AllowOrigins\":[\"*\"],\"MaxAge\":5}}"),
        201);
    assert_false(fixture_has(&f, "InvokeMode"));
    assert_string_equal(fixture_text(&f, "FunctionArn"), ARN "hello:live");
    assert_string_equal(strchr(fixture_text(&f, "FunctionUrl"), '.'),
                        ".lambda-url.us-east-1.localhost:9000/");
    assert_int_equal(
        fixture_request(
            &f, "POST", FN "/hello/policy?Qualifier=live",
            "{\"StatementId\":\"pub\",\"Action\":\"lambda:InvokeFunctionUrl\",\"Principal\":\"*\","
            "\"FunctionUrlAuthType\":\"NONE\"}"),
        201);
    assert_string_equal(
        fixture_text(&f, "Statement"),
        "{\"Sid\":\"pub\",\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"lambda:InvokeFunctionUrl\","
        "\"Resource\":\"" ARN "hello:live\",\"Condition\":{\"StringEquals\":{\"lambda:FunctionUrlAuthType\":"
        "\"NONE\"}}}");
    picture = api_picture(f.api, "hello");
    assert_int_equal(picture->alias_count, 1);
    assert_int_equal(picture->url_count, 1);
    assert_string_equal(picture->urls[0].qualifier, "live");
    assert_string_equal(picture->urls[0].cors->allow_origins[0], "*");
    assert_int_equal(picture->urls[0].cors->max_age_s, 5);
    assert_non_null(strstr(function_policy(picture, "live")->document, "\"Id\":\"default\""));
    uint64_t sequence = picture->sequence;
    (void)function_unref(picture);

    assert_int_equal(fixture_request(&f, "DELETE", FN "/hello", NULL), 204);
    assert_int_equal(f.response.body.len, 0);
    picture = api_picture(f.api, "hello");
    assert_true(picture->deleted);
    assert_true(picture->sequence > sequence);
    sequence = picture->sequence;
    (void)function_unref(picture);
    fixture_request(&f, "GET", FN "/hello", NULL);
    expect_error(&f, 404, "ResourceNotFoundException", "Function not found: " ARN "hello");
    /* Made again: a later sequence, another user id, versions from 1. */
    create(&f, "hello", ",\"Publish\":true");
    assert_string_equal(fixture_text(&f, "FunctionArn"), ARN "hello");
    assert_string_equal(fixture_text(&f, "Version"), "1");
    picture = api_picture(f.api, "hello");
    assert_true(picture->sequence > sequence);
    assert_int_equal(picture->latest->uid_index, 2);
    (void)function_unref(picture);
    fixture_done(&f);
}

/* Waiting for a function is enough to bring a transition to its end that was left half done. */
static void a_transition_left_half_done_goes_on(void **state)
{
    struct fixture f = { 0 };
    struct function *picture;

    (void)state;
    fixture_open(&f);
    create(&f, "w", "");
    picture = api_settle(f.api, "w");
    assert_int_equal(fixture_request(&f, "GET", FN "/w", NULL), 200);
    assert_string_equal(fixture_text(&f, "Configuration.State"), "Pending");
    assert_true(f.response.settle);
    fixture_settle(&f, "w");
    /* The first half's other half comes late. */
    api_settled(f.api, "w", picture->sequence);
    (void)function_unref(picture);
    assert_int_equal(fixture_request(&f, "GET", FN "/w", NULL), 200);
    assert_string_equal(fixture_text(&f, "Configuration.State"), "Active");
    assert_false(f.response.settle);
    fixture_done(&f);
}

static void what_was_stored_survives_and_transitions_end(void **state)
{
    struct fixture f = { 0 };
    char revision[64];

    (void)state;
    fixture_open(&f);
    create(&f, "a", "");
    (void)snprintf(revision, sizeof revision, "%s", fixture_text(&f, "RevisionId"));
    fixture_function(&f, "b", "");
    assert_int_equal(fixture_request(&f, "PUT", FN "/b/code", code_body(fixture_zip2, ",\"Publish\":true")),
                     200);
    fixture_close(&f);
    fixture_open(&f);
    assert_int_equal(fixture_request(&f, "GET", FN "/a", NULL), 200);
    assert_string_equal(fixture_text(&f, "Configuration.State"), "Active");
    assert_string_not_equal(fixture_text(&f, "Configuration.RevisionId"), revision);
    assert_int_equal(fixture_request(&f, "GET", FN "/b?Qualifier=1", NULL), 200);
    assert_string_equal(fixture_text(&f, "Configuration.State"), "Active");
    assert_int_equal(fixture_request(&f, "GET", FN "/b", NULL), 200);
    assert_string_equal(fixture_text(&f, "Configuration.LastUpdateStatus"), "Successful");
    assert_null(api_settle(f.api, "b"));
    fixture_done(&f);
}

static void versions_are_published_and_found_unchanged(void **state)
{
    struct fixture f = { 0 };
    char revision[64];

    (void)state;
    fixture_open(&f);
    fixture_function(&f, "v", "");
    assert_int_equal(fixture_request(&f, "GET", FN "/v/configuration", NULL), 200);
    (void)snprintf(revision, sizeof revision, "%s", fixture_text(&f, "RevisionId"));
    assert_int_equal(fixture_request(&f, "POST", FN "/v/versions", "{\"Description\":\"first\"}"), 201);
    assert_string_equal(fixture_text(&f, "Version"), "1");
    assert_string_equal(fixture_text(&f, "Description"), "first");
    assert_string_equal(fixture_text(&f, "State"), "Active");
    fixture_request(&f, "POST", FN "/v/versions",
                    "{\"RevisionId\":\"00000000-0000-4000-8000-000000000000\"}");
    expect_error(&f, 412, "PreconditionFailedException",
                 "The Revision Id provided does not match the latest Revision Id. Call the "
                 "GetFunction/GetAlias API to "
                 "retrieve the latest Revision Id");
    assert_int_equal(fixture_request(&f, "GET", FN "/v/configuration", NULL), 200);
    assert_string_not_equal(fixture_text(&f, "RevisionId"), revision);
    /* Nothing changed: the same version again. */
    assert_int_equal(fixture_request(&f, "POST", FN "/v/versions", "{}"), 201);
    assert_string_equal(fixture_text(&f, "Version"), "1");
    assert_int_equal(fixture_request(&f, "PUT", FN "/v/configuration", "{\"Timeout\":9}"), 200);
    fixture_settle(&f, "v");
    fixture_request(&f, "POST", FN "/v/versions", "{\"CodeSha256\":\"x\"}");
    assert_int_equal(f.response.status, 400);
    assert_non_null(
        strstr(fixture_message(&f), "CodeSHA256 (x) is different from current CodeSHA256 in $LATEST ("));
    assert_int_equal(fixture_request(&f, "POST", FN "/v/versions", NULL), 201);
    assert_string_equal(fixture_text(&f, "Version"), "2");
    assert_int_equal(fixture_request(&f, "GET", FN "/v/versions", NULL), 200);
    assert_int_equal((int)fixture_number(&f, "Versions"), 3);
    assert_string_equal(fixture_text(&f, "Versions.0.FunctionArn"), ARN "v:$LATEST");
    assert_false(fixture_has(&f, "Versions.0.State"));
    assert_int_equal(fixture_request(&f, "GET", FN "/v/versions?MaxItems=2", NULL), 200);
    assert_int_equal((int)fixture_number(&f, "Versions"), 2);
    char path[512];
    (void)snprintf(path, sizeof path, FN "/v/versions?Marker=%s", fixture_text(&f, "NextMarker"));
    assert_int_equal(fixture_request(&f, "GET", path, NULL), 200);
    assert_int_equal((int)fixture_number(&f, "Versions"), 1);
    assert_string_equal(fixture_text(&f, "Versions.0.Version"), "2");
    assert_false(fixture_has(&f, "NextMarker"));
    /* Numbers never come back. */
    assert_int_equal(fixture_request(&f, "DELETE", FN "/v?Qualifier=2", NULL), 204);
    assert_int_equal(fixture_request(&f, "DELETE", FN "/v?Qualifier=77", NULL), 204);
    fixture_request(&f, "DELETE", FN "/v?Qualifier=%24LATEST", NULL);
    expect_error(&f, 400, "InvalidParameterValueException",
                 "$LATEST version cannot be deleted without deleting the function.");
    fixture_request(&f, "DELETE", FN "/v:some", NULL);
    expect_error(&f, 400, "InvalidParameterValueException",
                 "Deletion of aliases is not currently supported.");
    assert_int_equal(fixture_request(&f, "POST", FN "/v/versions", NULL), 201);
    assert_string_equal(fixture_text(&f, "Version"), "3");
    fixture_request(&f, "PUT", FN "/v:3/configuration", "{}");
    assert_int_equal(f.response.status, 400);
    fixture_done(&f);
}

static void aliases_follow_their_rules(void **state)
{
    struct fixture f = { 0 };
    struct function *picture;

    (void)state;
    fixture_open(&f);
    fixture_function(&f, "fn", ",\"Publish\":true");
    assert_int_equal(fixture_request(&f, "PUT", FN "/fn/configuration", "{\"MemorySize\":256}"), 200);
    fixture_settle(&f, "fn");
    assert_int_equal(fixture_request(&f, "POST", FN "/fn/versions", NULL), 201);
    assert_int_equal(fixture_request(&f, "POST", FN "/fn/aliases",
                                     "{\"Name\":\"p\",\"FunctionVersion\":\"1\",\"Description\":"
                                     "\"d\",\"RoutingConfig\":{\"AdditionalVersionWeights\":{\"2\":0.25}}}"),
                     201);
    picture = api_picture(f.api, "fn");
    assert_string_equal(picture->aliases[0].secondary->version, "2");
    assert_true(picture->aliases[0].secondary_weight == 0.25);
    (void)function_unref(picture);
    fixture_request(&f, "POST", FN "/fn/aliases", "{\"Name\":\"p\",\"FunctionVersion\":\"1\"}");
    expect_error(&f, 409, "ResourceConflictException", "Alias already exists: " ARN "fn:p");
    fixture_request(&f, "PUT", FN "/fn/aliases/p",
                    "{\"RoutingConfig\":{\"AdditionalVersionWeights\":{\"1\":0.1,\"2\":0.2}}}");
    expect_error(&f, 400, "InvalidParameterValueException",
                 "Number of items in AdditionalVersionWeights cannot be greater than 1");
    fixture_request(&f, "PUT", FN "/fn/aliases/p", "{\"FunctionVersion\":\"2\"}");
    expect_error(
        &f, 400, "InvalidParameterValueException",
        "Invalid function version 2. Function version 2 is already included in routing configuration.");
    fixture_request(&f, "PUT", FN "/fn/aliases/p", "{\"FunctionVersion\":\"$LATEST\"}");
    expect_error(&f, 400, "InvalidParameterValueException",
                 "$LATEST is not supported for an alias pointing to more than 1 version");
    fixture_request(&f, "PUT", FN "/fn/aliases/p",
                    "{\"RoutingConfig\":{\"AdditionalVersionWeights\":{\"2\":2}}}");
    expect_error(
        &f, 400, "ValidationException",
        "1 validation error detected: Value '{2=2.0}' at 'routingConfig.additionalVersionWeights' failed to "
        "satisfy constraint: Map value must satisfy constraint: [Member must have value less than or equal "
        "to "
        "1.0, Member must have value greater than or equal to 0.0, Member must not be null]");
    fixture_request(&f, "PUT", FN "/fn/aliases/p", "{\"FunctionVersion\":\"9\"}");
    expect_error(&f, 404, "ResourceNotFoundException", "Function not found: " ARN "fn:9");
    fixture_request(&f, "PUT", FN "/fn/aliases/none", "{}");
    expect_error(&f, 404, "ResourceNotFoundException", "Alias not found: " ARN "fn:none");
    fixture_request(&f, "GET", FN "/fn/aliases/none", NULL);
    expect_error(&f, 404, "ResourceNotFoundException", "Cannot find alias arn: " ARN "fn:none");
    fixture_request(&f, "DELETE", FN "/fn?Qualifier=2", NULL);
    assert_int_equal(f.response.status, 409);
    assert_int_equal(fixture_request(&f, "PUT", FN "/fn/aliases/p",
                                     "{\"RoutingConfig\":{\"AdditionalVersionWeights\":{}}}"),
                     200);
    assert_false(fixture_has(&f, "RoutingConfig"));
    assert_string_equal(fixture_text(&f, "Description"), "d");
    assert_int_equal(fixture_request(&f, "GET", FN "/fn/aliases?FunctionVersion=2", NULL), 200);
    assert_int_equal((int)fixture_number(&f, "Aliases"), 0);
    assert_int_equal(fixture_request(&f, "GET", FN "/fn:p/configuration", NULL), 200);
    assert_string_equal(fixture_text(&f, "FunctionArn"), ARN "fn:p");
    assert_string_equal(fixture_text(&f, "Version"), "1");
    assert_int_equal(fixture_request(&f, "DELETE", FN "/fn/aliases/p", NULL), 204);
    assert_int_equal(fixture_request(&f, "DELETE", FN "/fn/aliases/p", NULL), 204);
    fixture_done(&f);
}

static void urls_and_permissions_follow_their_rules(void **state)
{
    struct fixture f = { 0 };
    char revision[64], path[256];

    (void)state;
    fixture_open(&f);
    fixture_function(&f, "u", "");
    fixture_request(&f, "GET", "/2021-10-31/functions/u/url", NULL);
    expect_error(&f, 404, "ResourceNotFoundException", "The resource you requested does not exist.");
    fixture_request(&f, "POST", "/2021-10-31/functions/nix/url", "{\"AuthType\":\"NONE\"}");
    expect_error(&f, 404, "ResourceNotFoundException", "Function does not exist");
    assert_int_equal(fixture_request(&f, "POST", "/2021-10-31/functions/u/url",
                                     "{\"AuthType\":\"AWS_IAM\",\"InvokeMode\":\"BUFFERED\"}"),
                     201);
    assert_string_equal(fixture_text(&f, "InvokeMode"), "BUFFERED");
    assert_false(fixture_has(&f, "LastModifiedTime"));
    fixture_request(&f, "POST", "/2021-10-31/functions/u/url", "{\"AuthType\":\"NONE\"}");
    expect_error(&f, 409, "ResourceConflictException",
                 "Failed to create function url config for [functionArn = " ARN
                 "u]. Error message:  FunctionUrlConfig "
                 "exists for this Lambda function");
    fixture_request(&f, "GET", "/2021-10-31/functions/u/url?Qualifier=1", NULL);
    expect_error(
        &f, 400, "ValidationException",
        "1 validation error detected: Value '1' at 'qualifier' failed to satisfy constraint: Member must "
        "satisfy regular expression pattern: ((?!^\\d+$)^[0-9a-zA-Z-_]+$)");
    fixture_request(&f, "PUT", "/2021-10-31/functions/u/url", "{\"Cors\":{\"AllowMethods\":[\"OPTIONS\"]}}");
    assert_int_equal(f.response.status, 400);
    assert_int_equal(fixture_request(&f, "PUT", "/2021-10-31/functions/u/url",
                                     "{\"Cors\":{\"AllowMethods\":[\"GET\"],\"Unknown\":1}}"),
                     200);
    assert_true(fixture_has(&f, "LastModifiedTime"));
    assert_false(fixture_has(&f, "Cors.Unknown"));
    assert_int_equal(fixture_request(&f, "PUT", "/2021-10-31/functions/u/url", "{\"Cors\":{}}"), 200);
    assert_false(fixture_has(&f, "Cors"));
    assert_int_equal(fixture_request(&f, "GET", "/2021-10-31/functions/u/urls", NULL), 200);
    assert_int_equal((int)fixture_number(&f, "FunctionUrlConfigs"), 1);
    assert_int_equal(fixture_request(&f, "DELETE", "/2021-10-31/functions/u/url", NULL), 204);

    fixture_request(&f, "GET", FN "/u/policy", NULL);
    expect_error(&f, 404, "ResourceNotFoundException", "The resource you requested does not exist.");
    assert_int_equal(
        fixture_request(
            &f, "POST", FN "/u/policy",
            "{\"StatementId\":\"s3\",\"Action\":\"lambda:InvokeFunction\",\"Principal\":"
            "\"s3.amazonaws.com\",\"SourceArn\":\"arn:aws:s3:::b\",\"SourceAccount\":\"123456789012\"}"),
        201);
    assert_string_equal(
        fixture_text(&f, "Statement"),
        "{\"Sid\":\"s3\",\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"s3.amazonaws.com\"},\"Action\":"
        "\"lambda:InvokeFunction\",\"Resource\":\"" ARN "u\",\"Condition\":{\"StringEquals\":"
        "{\"AWS:SourceAccount\":\"123456789012\"},\"ArnLike\":{\"AWS:SourceArn\":\"arn:aws:s3:::b\"}}}");
    fixture_request(&f, "POST", FN "/u/policy",
                    "{\"StatementId\":\"s3\",\"Action\":\"lambda:InvokeFunction\",\"Principal\":\"*\"}");
    expect_error(
        &f, 409, "ResourceConflictException",
        "The statement id (s3) provided already exists. Please provide a new statement id, or remove the "
        "existing statement.");
    fixture_request(&f, "POST", FN "/u/policy",
                    "{\"StatementId\":\"x\",\"Action\":\"lambda:InvokeFunction\",\"Principal\":\"nobody\"}");
    expect_error(&f, 400, "InvalidParameterValueException",
                 "The provided principal was invalid. Please check the principal and try again.");
    fixture_request(&f, "POST", FN "/u:$LATEST/policy",
                    "{\"StatementId\":\"x\",\"Action\":\"lambda:InvokeFunction\",\"Principal\":\"*\"}");
    expect_error(&f, 400, "InvalidParameterValueException",
                 "We currently do not support adding policies for $LATEST.");
    assert_int_equal(fixture_request(&f, "GET", FN "/u/policy", NULL), 200);
    (void)snprintf(revision, sizeof revision, "%s", fixture_text(&f, "RevisionId"));
    assert_int_equal(fixture_request(&f, "GET", FN "/u/configuration", NULL), 200);
    assert_string_equal(fixture_text(&f, "RevisionId"), revision);
    fixture_request(&f, "POST", FN "/u/policy",
                    "{\"StatementId\":\"y\",\"Action\":\"*\",\"Principal\":\"*\",\"RevisionId\":\"no\"}");
    expect_error(
        &f, 412, "PreconditionFailedException",
        "The Revision Id provided does not match the latest Revision Id. Call the GetPolicy API to retrieve "
        "the latest Revision Id");
    fixture_request(&f, "DELETE", FN "/u/policy/zz", NULL);
    expect_error(&f, 404, "ResourceNotFoundException", "Statement zz is not found in resource policy.");
    (void)snprintf(path, sizeof path, FN "/u/policy/s3?RevisionId=%s", revision);
    assert_int_equal(fixture_request(&f, "DELETE", path, NULL), 204);
    fixture_request(&f, "DELETE", FN "/u/policy/s3", NULL);
    expect_error(&f, 404, "ResourceNotFoundException", "No policy is associated with the given resource.");
    fixture_request(&f, "DELETE", FN "/nix/policy/s3", NULL);
    expect_error(&f, 404, "ResourceNotFoundException", "No policy found for: " ARN "nix");
    fixture_done(&f);
}

static void tags_concurrency_and_settings(void **state)
{
    struct fixture f = { 0 };

    (void)state;
    fixture_open(&f);
    fixture_function(&f, "t", "");
    assert_int_equal(
        fixture_request(&f, "POST",
                        "/2017-03-31/tags/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3At",
                        "{\"Tags\":{\"a\":\"1\",\"b\":\"2\",\"c\":\"3\"}}"),
        204);
    assert_int_equal(
        fixture_request(&f, "DELETE", "/2017-03-31/tags/" ARN "t?tagKeys=a&tagKeys=c&tagKeys=zz", NULL), 204);
    assert_int_equal(fixture_request(&f, "GET", "/2017-03-31/tags/" ARN "t", NULL), 200);
    assert_string_equal(f.response.body.data, "{\"Tags\":{\"b\":\"2\"}}");
    fixture_request(&f, "POST", "/2017-03-31/tags/" ARN "t", "{\"Tags\":{}}");
    expect_error(&f, 400, "InvalidParameterValueException",
                 "An error occurred and the request cannot be processed.");
    fixture_request(&f, "GET", "/2017-03-31/tags/" ARN "t:1", NULL);
    expect_error(&f, 400, "InvalidParameterValueException",
                 "Tags on function aliases and versions are not supported. Please specify a function ARN.");
    fixture_request(&f, "DELETE", "/2017-03-31/tags/" ARN "t", NULL);
    expect_error(&f, 400, "ValidationException",
                 "1 validation error detected: Value null at 'tagKeys' failed to satisfy constraint: Member "
                 "must not be "
                 "null");

    assert_int_equal(fixture_request(&f, "GET", "/2019-09-30/functions/t/concurrency", NULL), 200);
    assert_string_equal(f.response.body.data, "{}");
    assert_int_equal(fixture_request(&f, "PUT", "/2017-10-31/functions/t/concurrency",
                                     "{\"ReservedConcurrentExecutions\":900}"),
                     200);
    fixture_request(&f, "PUT", "/2017-10-31/functions/t/concurrency",
                    "{\"ReservedConcurrentExecutions\":901}");
    expect_error(&f, 400, "InvalidParameterValueException",
                 "Specified ReservedConcurrentExecutions for function decreases account's "
                 "UnreservedConcurrentExecution "
                 "below its minimum value of [100].");
    fixture_request(&f, "PUT", "/2017-10-31/functions/t:1/concurrency",
                    "{\"ReservedConcurrentExecutions\":1}");
    expect_error(
        &f, 400, "InvalidParameterValueException",
        "This operation is permitted on Lambda functions only. Aliases and versions do not support this "
        "operation. Please specify either a function name or an unqualified function ARN.");
    fixture_request(&f, "PUT", "/2017-10-31/functions/no/concurrency",
                    "{\"ReservedConcurrentExecutions\":1}");
    expect_error(&f, 404, "ResourceNotFoundException", "Function not found: " ARN "no:$LATEST");
    assert_int_equal(fixture_request(&f, "GET", "/2016-08-19/account-settings/", NULL), 200);
    assert_int_equal((int)fixture_number(&f, "AccountLimit.UnreservedConcurrentExecutions"), 100);
    assert_int_equal((int)fixture_number(&f, "AccountUsage.FunctionCount"), 1);
    assert_int_equal(fixture_request(&f, "DELETE", "/2017-10-31/functions/t/concurrency", NULL), 204);
    assert_int_equal(fixture_request(&f, "GET", "/2020-06-30/functions/t/code-signing-config", NULL), 200);
    assert_string_equal(f.response.body.data, "{}");
    assert_int_equal(fixture_request(&f, "GET", "/2024-08-31/functions/t/recursion-config", NULL), 200);
    assert_string_equal(f.response.body.data, "{\"RecursiveLoop\":\"Terminate\"}");
    fixture_request(&f, "GET", "/2015-03-31/event-source-mappings/", NULL);
    expect_error(&f, 404, "UnknownOperationException",
                 "ListEventSourceMappings is not supported by Irori yet.");
    fixture_done(&f);
}

static void functions_are_listed_in_pages(void **state)
{
    struct fixture f = { 0 };
    char name[16], path[512];

    (void)state;
    fixture_open(&f);
    for (int i = 0; i < 53; i++) {
        (void)snprintf(name, sizeof name, "f%02d", i);
        fixture_function(&f, name, i < 2 ? ",\"Publish\":true" : "");
    }
    assert_int_equal(fixture_request(&f, "GET", FN "?MaxItems=10000", NULL), 200);
    assert_int_equal((int)fixture_number(&f, "Functions"), 50);
    (void)snprintf(path, sizeof path, FN "/?Marker=%s", fixture_text(&f, "NextMarker"));
    assert_int_equal(fixture_request(&f, "GET", path, NULL), 200);
    assert_int_equal((int)fixture_number(&f, "Functions"), 3);
    assert_false(fixture_has(&f, "NextMarker"));
    assert_int_equal(fixture_request(&f, "GET", FN "?FunctionVersion=ALL&MaxItems=3", NULL), 200);
    assert_string_equal(fixture_text(&f, "Functions.0.FunctionArn"), ARN "f00:$LATEST");
    assert_string_equal(fixture_text(&f, "Functions.2.FunctionArn"), ARN "f01:$LATEST");
    (void)snprintf(path, sizeof path, FN "?FunctionVersion=ALL&MaxItems=2&Marker=%s",
                   fixture_text(&f, "NextMarker"));
    assert_int_equal(fixture_request(&f, "GET", path, NULL), 200);
    assert_string_equal(fixture_text(&f, "Functions.0.FunctionArn"), ARN "f01:1");
    assert_string_equal(fixture_text(&f, "Functions.1.FunctionArn"), ARN "f02:$LATEST");
    fixture_request(&f, "GET", FN "?Marker=nonsense", NULL);
    expect_error(&f, 400, "InvalidParameterValueException", "The Marker is not valid.");
    fixture_request(&f, "GET", FN "?MaxItems=0", NULL);
    expect_error(
        &f, 400, "ValidationException",
        "1 validation error detected: Value '0' at 'maxItems' failed to satisfy constraint: Member must have "
        "value greater than or equal to 1");
    fixture_done(&f);
}

static void functions_may_do_what_policies_grant(void **state)
{
    struct fixture f = { 0 };

    (void)state;
    fixture_open(&f);
    fixture_function(&f, "p", "");
    f.principal = (struct principal){ .kind = PRINCIPAL_FUNCTION,
                                      .account = "000000000000",
                                      .arn = "arn:aws:sts::000000000000:assumed-role/r/p" };
    fixture_request(&f, "GET", FN, NULL);
    expect_error(&f, 403, "AccessDeniedException",
                 "User: arn:aws:sts::000000000000:assumed-role/r/p is not authorized to perform: "
                 "lambda:ListFunctions on "
                 "resource: * because no identity-based policy allows the lambda:ListFunctions action");
    fixture_request(&f, "GET", FN "/p", NULL);
    assert_int_equal(f.response.status, 403);
    f.principal.kind = PRINCIPAL_ROOT;
    assert_int_equal(
        fixture_request(&f, "POST", FN "/p/policy",
                        "{\"StatementId\":\"s\",\"Action\":\"lambda:GetFunction\",\"Principal\":\"*\"}"),
        201);
    f.principal.kind = PRINCIPAL_FUNCTION;
    assert_int_equal(fixture_request(&f, "GET", FN "/p", NULL), 200);
    assert_int_equal(fixture_request(&f, "DELETE", FN "/p", NULL), 403);
    fixture_done(&f);
}

/* As a client takes the link: whatever it does with it, the signature must hold, and for ten minutes only. */
static void code_links_are_signed(void **state)
{
    struct fixture f = { 0 };
    struct err err = { 0 };
    struct credentials *credentials = NULL;
    struct sigv4_header host = { "Host", 4, "127.0.0.1:9000", 14 };
    struct sigv4_request request = { .method = "GET", .method_len = 3, .headers = &host, .header_count = 1 };
    struct sigv4_expect expect = { .region = "us-east-1", .service = "lambda", .skew_s = 300 };
    struct principal principal;
    char link[4096], message[512] = "";
    const char *query;

    (void)state;
    fixture_open(&f);
    assert_int_equal(credentials_open(f.data_fd, "credentials", "000000000000", "us-east-1", (unsigned)-1,
                                      (unsigned)-1, &credentials, &err),
                     0);
    fixture_close(&f);
    f.config.credentials = credentials;
    assert_int_equal(api_open(&f.config, &f.api, &err), 0);
    fixture_function(&f, "l", "");
    assert_int_equal(fixture_request(&f, "GET", FN "/l", NULL), 200);
    (void)snprintf(link, sizeof link, "%s", fixture_text(&f, "Code.Location"));
    query = strchr(link, '?');
    assert_non_null(query);
    assert_memory_equal(link, "http://127.0.0.1:9000/_irori/code/", 34);
    request.path = link + strlen("http://127.0.0.1:9000");
    request.path_len = (size_t)(query - request.path);
    request.query = query + 1;
    request.query_len = strlen(query + 1);
    expect.now_ms = clock_wall_ms();
    if (sigv4_verify(&request, &expect, credentials, &principal, message, sizeof message) != SIGV4_OK)
        fail_msg("%s", message);
    assert_int_equal(principal.kind, PRINCIPAL_ROOT);
    expect.now_ms += 601000;
    assert_int_not_equal(sigv4_verify(&request, &expect, credentials, &principal, message, sizeof message),
                         SIGV4_OK);
    fixture_done(&f);
    (void)credentials_free(credentials);
}

/* As if a package of so many bytes were $LATEST of a. */
static void pretend_size(struct fixture *f, uint64_t bytes)
{
    struct err err = { 0 };
    struct store *store = NULL;
    struct store_function function;
    struct store_version latest;

    fixture_close(f);
    assert_int_equal(store_open(f->data_fd, "irori.db", &store, &err), 0);
    assert_int_equal(store_begin(store, &err), 0);
    assert_int_equal(store_function_find(store, "a", &function, &err), 1);
    assert_int_equal(store_version_find(store, function.id, 0, &latest, &err), 1);
    latest.code.size_bytes = bytes;
    assert_int_equal(store_version_put(store, function.id, &latest, &err), 0);
    store_version_done(&latest);
    store_function_done(&function);
    assert_int_equal(store_end(store, true, &err), 0);
    (void)store_free(store);
    fixture_open(f);
}

static void code_storage_has_a_limit(void **state)
{
    (void)state;
    static const uint64_t limit = 80530636800;
    struct fixture f = { 0 };
    double size;

    fixture_open(&f);
    fixture_function(&f, "a", "");
    fixture_function(&f, "b", "");
    fixture_request(&f, "GET", FN "/b/configuration", NULL);
    size = fixture_number(&f, "CodeSize");
    pretend_size(&f, limit - 2 * (uint64_t)size);
    /* One more copy of the code fits, another does not. */
    assert_int_equal(fixture_request(&f, "POST", FN "/b/versions", "{}"), 201);
    assert_int_equal(fixture_request(&f, "PUT", FN "/b/configuration", "{\"MemorySize\":256}"), 200);
    fixture_settle(&f, "b");
    fixture_request(&f, "POST", FN "/b/versions", "{}");
    expect_error(&f, 400, "CodeStorageExceededException", "Code storage limit exceeded.");
    assert_int_equal(f.response.changed_count, 0);
    assert_int_equal(fixture_request(&f, "GET", FN "/b?Qualifier=2", NULL), 404);
    assert_int_equal(fixture_request(&f, "DELETE", FN "/b?Qualifier=1", NULL), 204);
    assert_int_equal(fixture_request(&f, "POST", FN "/b/versions", "{}"), 201);
    fixture_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_function_lives_a_whole_life),
        cmocka_unit_test(a_transition_left_half_done_goes_on),
        cmocka_unit_test(what_was_stored_survives_and_transitions_end),
        cmocka_unit_test(versions_are_published_and_found_unchanged),
        cmocka_unit_test(aliases_follow_their_rules),
        cmocka_unit_test(urls_and_permissions_follow_their_rules),
        cmocka_unit_test(tags_concurrency_and_settings),
        cmocka_unit_test(functions_are_listed_in_pages),
        cmocka_unit_test(functions_may_do_what_policies_grant),
        cmocka_unit_test(code_links_are_signed),
        cmocka_unit_test(code_storage_has_a_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
