#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"

#define FN  "/2015-03-31/functions"
#define ARN "arn:aws:lambda:us-east-1:000000000000:function:"
#define PATTERN140                                                                                         \
    "(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:)?(\\d{12}:)?" \
    "(function:)?([a-zA-Z0-9-_]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?"

static const struct {
    const char *text, *qualifier, *name, *found; /* name NULL: refused */
} names[] = {
    { "my-fn", NULL, "my-fn", "" },
    { "my-fn:prod", NULL, "my-fn", "prod" },
    { "my-fn:$LATEST", NULL, "my-fn", "$LATEST" },
    { "my-fn:3", "3", "my-fn", "3" },
    { "my-fn", "prod", "my-fn", "prod" },
    { "my-fn:3", "4", NULL, NULL },
    { "000000000000:function:my-fn", NULL, "my-fn", "" },
    { "function:my-fn:q", NULL, "my-fn", "q" },
    { "us-east-1:000000000000:function:my-fn", NULL, "my-fn", "" },
    { "000000000000:my-fn", NULL, "my-fn", "" },
    { ARN "my-fn", NULL, "my-fn", "" },
    { ARN "my-fn:$LATEST", NULL, "my-fn", "$LATEST" },
    { "arn:aws:lambda:us-east-1:000000000000:function", NULL, "function", "" },
    { "function", NULL, "function", "" },
    { "function:$LATEST", NULL, "function", "$LATEST" },
    { "123456789012", NULL, "123456789012", "" },
    { "arn:aws-cn:lambda:us-east-1:000000000000:function:x", NULL, "x", "" },
    { "*", NULL, NULL, NULL },
    { "my-fn!", NULL, NULL, NULL },
    { "fn:1:2", NULL, NULL, NULL },
    { "fn:$LATES", NULL, NULL, NULL },
    { "", NULL, NULL, NULL },
    { ":", NULL, NULL, NULL },
    { "arn:aws:s3:us-east-1:000000000000:function:x", NULL, NULL, NULL },
    { "arn:aws:lambda:us-east-1:function:x", NULL, NULL, NULL },
    { "arn:aws:lambda:000000000000:function:x", NULL, NULL, NULL },
    { "::::::::::::::::::::::::::::", NULL, NULL, NULL },
    { ARN "my-fn", "b@d", NULL, NULL },
    { "my-fn", "$latest", "my-fn", "$latest" },
};

static void every_form_of_a_name_is_understood(void **state)
{
    struct api_config config = { .region = "us-east-1", .account = "000000000000" };

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct api_reference reference;
        struct api_response response = { .file_fd = -1 };
        bool fine =
            api_resolve(&config, API_NAME_FN256, names[i].text, names[i].qualifier, &reference, &response);

        if (fine != (names[i].name != NULL))
            fail_msg("%s: %s", names[i].text, response.body.data ? response.body.data : "accepted");
        if (fine) {
            assert_string_equal(reference.name, names[i].name);
            assert_string_equal(reference.qualifier, names[i].found);
        }
        buf_done(&response.body);
    }
}

static void expect_name(const char *text, const char *qualifier, const char *body)
{
    struct api_config config = { .region = "us-east-1", .account = "000000000000" };
    struct api_reference reference;
    struct api_response response = { .file_fd = -1 };

    assert_false(api_resolve(&config, API_NAME_FN256, text, qualifier, &reference, &response));
    assert_string_equal(response.body.data, body);
    buf_done(&response.body);
}

static void names_elsewhere_have_their_own_errors(void **state)
{
    char qualifier[130];

    (void)state;
    expect_name(
        "arn:aws:lambda:eu-west-1:000000000000:function:x", NULL,
        "{\"Type\":\"User\",\"Message\":\"Functions from 'eu-west-1' are not reachable in this region "
        "('us-east-1')\"}");
    expect_name(
        "111111111111:function:x", NULL,
        "{\"Message\":\"User: arn:aws:iam::000000000000:root is not authorized to perform: "
        "lambda:InvokeFunction on resource: arn:aws:lambda:us-east-1:111111111111:function:x because no "
        "identity-based policy allows the lambda:InvokeFunction action\"}");
    expect_name(
        "fn:a", "b",
        "{\"Type\":\"User\",\"message\":\"The derived qualifier from the function name does not match the "
        "specified qualifier.\"}");
    memset(qualifier, 'q', 129);
    qualifier[129] = '\0';
    struct api_config config = { .region = "us-east-1", .account = "000000000000" };
    struct api_reference reference;
    struct api_response response = { .file_fd = -1 };
    assert_false(api_resolve(&config, API_NAME_FN256, "bad!", qualifier, &reference, &response));
    assert_string_equal(response.error_type, "ValidationException");
    assert_non_null(strstr(response.body.data, "{\"message\":\"2 validation errors detected: Value 'qqq"));
    assert_non_null(strstr(response.body.data,
                           "' at 'qualifier' failed to satisfy constraint: Member must have length "
                           "less than or equal to 128; Value 'bad!' at 'functionName' failed"));
    buf_done(&response.body);
}

struct refusal {
    const char *members; /* replaces or adds to a good request */
    const char *type, *message;
};

static const char *body_with(const char *members)
{
    static char body[32768];

    (void)snprintf(body, sizeof body, "{%s,\"Code\":{\"ZipFile\":\"%s\"}}", members, fixture_zip);
    return body;
}

#define NAME "\"FunctionName\":\"fn\""
#define ROLE "\"Role\":\"arn:aws:iam::000000000000:role/r\""
#define BASE NAME "," ROLE ",\"Runtime\":\"nodejs20.x\",\"Handler\":\"i.h\""
#define ONE  "1 validation error detected: "

static const struct refusal refusals[] = {
    { NAME ",\"Runtime\":\"nodejs20.x\",\"Handler\":\"i.h\"", "ValidationException",
      ONE "Value null at 'role' failed to satisfy constraint: Member must not be null" },
    { NAME ",\"Runtime\":\"nodejs20.x\",\"Handler\":\"i.h\",\"Role\":\"x\"", "ValidationException",
      ONE "Value 'x' at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern: "
          "arn:(aws[a-zA-Z-]*)?:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+" },
    { BASE ",\"Timeout\":901,\"MemorySize\":64", "ValidationException",
      "2 validation errors detected: Value '901' at 'timeout' failed to satisfy constraint: Member must have "
      "value less "
      "than or equal to 900; Value '64' at 'memorySize' failed to satisfy constraint: Member must have value "
      "greater "
      "than or equal to 128" },
    { BASE ",\"EphemeralStorage\":{\"Size\":511}", "ValidationException",
      ONE "Value '511' at 'ephemeralStorage.size' failed to satisfy constraint: Member must have value "
          "greater than or "
          "equal to 512" },
    { BASE ",\"Architectures\":[\"x86\"]", "ValidationException",
      ONE "Value '[x86]' at 'architectures' failed to satisfy constraint: Member must satisfy constraint: "
          "[Member must "
          "satisfy enum value set: [x86_64, arm64], Member must not be null]" },
    { BASE ",\"Architectures\":[\"x86_64\",\"arm64\"]", "ValidationException",
      ONE "Value '[x86_64, arm64]' at 'architectures' failed to satisfy constraint: Member must have length "
          "less than "
          "or equal to 1" },
    { BASE ",\"PackageType\":\"Tar\"", "ValidationException",
      ONE "Value 'Tar' at 'packageType' failed to satisfy constraint: Member must satisfy enum value set: "
          "[Zip, Image]" },
    { BASE ",\"SnapStart\":{\"ApplyOn\":\"All\"}", "ValidationException",
      ONE
      "Value 'All' at 'snapStart.applyOn' failed to satisfy constraint: Member must satisfy enum value set: "
      "[PublishedVersions, None]" },
    { BASE ",\"TracingConfig\":{\"Mode\":\"On\"}", "ValidationException",
      ONE
      "Value 'On' at 'tracingConfig.mode' failed to satisfy constraint: Member must satisfy enum value set: "
      "[Active, PassThrough]" },
    { BASE ",\"TenancyConfig\":{\"TenantIsolationMode\":\"SHARED\"}", "ValidationException",
      ONE "Value 'SHARED' at 'tenancyConfig.tenantIsolationMode' failed to satisfy constraint: Member must "
          "satisfy enum value set: [PER_TENANT]" },
    { BASE ",\"TenancyConfig\":{}", "ValidationException",
      ONE "Value null at 'tenancyConfig.tenantIsolationMode' failed to satisfy constraint: Member must not "
          "be null" },
    { BASE ",\"TenancyConfig\":\"PER_TENANT\"", "SerializationException",
      "Member TenancyConfig must be an object" },
    { BASE ",\"Tags\":{\"irori:state\":\"dirty\"}", "InvalidParameterValueException",
      "The tag irori:state cannot be 'dirty': its only value is clean." },
    { BASE ",\"Tags\":{\"irori:stat\":\"clean\"}", "InvalidParameterValueException",
      "Irori knows no tag irori:stat. Tags that begin with irori: are settings: irori:state and "
      "irori:tenant-header." },
    { BASE ",\"Timeout\":\"3\"", "SerializationException", "Member Timeout must be an integer" },
    { BASE ",\"Timeout\":3.5", "SerializationException", "Member Timeout must be an integer" },
    { NAME "," ROLE ",\"Handler\":\"i.h\",\"Runtime\":\"nodejs16.x\"", "InvalidParameterValueException",
      "The runtime parameter of nodejs16.x is no longer supported for creating or updating AWS Lambda "
      "functions. We "
      "recommend you use a supported runtime while creating or updating functions." },
    { NAME "," ROLE ",\"Handler\":\"i.h\",\"Runtime\":\"java21\"", "InvalidParameterValueException",
      "The runtime java21 is not supported by Irori yet. Run `irori runtimes` to see which runtimes there "
      "are." },
    { NAME "," ROLE ",\"Handler\":\"i.h\",\"Runtime\":\"nodejs24.x\"", "InvalidParameterValueException",
      "The runtime nodejs24.x is not installed on this machine. Run `irori runtimes` to see which runtimes "
      "there are and "
      "how to add it." },
    { NAME "," ROLE ",\"Runtime\":\"nodejs20.x\"", "InvalidParameterValueException",
      "Runtime and Handler are mandatory parameters for functions created with deployment packages." },
    { BASE ",\"PackageType\":\"Image\"", "InvalidParameterValueException",
      "Container images are not supported by Irori yet. Use PackageType Zip." },
    { BASE ",\"Architectures\":[\"arm64\"]", "InvalidParameterValueException",
      "This machine runs x86_64 functions; Irori cannot run arm64 on it. Use Architectures [x86_64]." },
    { BASE ",\"Layers\":[\"arn:aws:lambda:us-east-1:000000000000:layer:l:1\"]",
      "InvalidParameterValueException",
      "Layers are not supported by Irori yet. Put the layer's content into the function's package instead." },
    { BASE ",\"FileSystemConfigs\":[{}]", "InvalidParameterValueException",
      "FileSystemConfigs are not supported by Irori." },
    { BASE ",\"Environment\":{\"Variables\":{\"AWS_REGION\":\"x\"}}", "InvalidParameterValueException",
      "Lambda was unable to configure your environment variables because the environment variables you have "
      "provided "
      "contains reserved keys that are currently not supported for modification. Reserved keys used in this "
      "request: "
      "AWS_REGION" },
    { BASE ",\"Environment\":{\"Variables\":{\"1A\":\"secret\"}}", "ValidationException",
      ONE "Value at 'environment.variables' failed to satisfy constraint: Map keys must satisfy constraint: "
          "[Member must "
          "satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]" },
    { BASE ",\"LoggingConfig\":{\"ApplicationLogLevel\":\"INFO\"}", "InvalidParameterValueException",
      "You can only set ApplicationLogLevel and SystemLogLevel when LogFormat is set to JSON." },
};

static void creation_is_validated_in_the_services_words(void **state)
{
    struct fixture f = { 0 };

    (void)state;
    fixture_open(&f);
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        fixture_request(&f, "POST", FN, body_with(refusals[i].members));
        expect_error(&f, 400, refusals[i].type, refusals[i].message);
    }
    fixture_request(&f, "POST", FN, body_with(NAME "," ROLE ",\"Handler\":\"i.h\",\"Runtime\":\"cobol\""));
    assert_non_null(strstr(fixture_message(&f),
                           "Value cobol at 'runtime' failed to satisfy constraint: Member must "
                           "satisfy enum value set: [nodejs, nodejs4.3"));
    assert_non_null(strstr(fixture_message(&f), "] or be a valid ARN"));
    assert_string_equal(f.response.error_type, "InvalidParameterValueException");
    fixture_done(&f);
}

static void names_on_creation_have_their_own_limits(void **state)
{
    struct fixture f = { 0 };
    char members[1024], name[160], expected[2048];

    (void)state;
    fixture_open(&f);
    (void)snprintf(name, sizeof name, "%065d", 0);
    (void)snprintf(members, sizeof members,
                   "\"FunctionName\":\"%s\"," ROLE ",\"Runtime\":\"nodejs20.x\",\"Handler\":\"i.h\"", name);
    fixture_request(&f, "POST", FN, body_with(members));
    (void)snprintf(expected, sizeof expected,
                   "{\"message\":\"" ONE
                   "Value '%s' at 'functionName' failed to satisfy constraint: Member must have "
                   "length less than or equal to 64\"}",
                   name);
    assert_string_equal(f.response.error_type, "InvalidParameterValueException");
    assert_string_equal(f.response.body.data, expected);
    (void)snprintf(name, sizeof name, "%0141d", 0);
    (void)snprintf(members, sizeof members,
                   "\"FunctionName\":\"%s!\"," ROLE ",\"Runtime\":\"nodejs20.x\",\"Handler\":\"i.h\"", name);
    fixture_request(&f, "POST", FN, body_with(members));
    (void)snprintf(
        expected, sizeof expected,
        "2 validation errors detected: Value '%s!' at 'functionName' failed to satisfy constraint: Member "
        "must have length less than or equal to 140; Value '%s!' at 'functionName' failed to satisfy "
        "constraint: Member must satisfy regular expression pattern: " PATTERN140,
        name, name);
    expect_error(&f, 400, "ValidationException", expected);
    fixture_request(&f, "POST", FN,
                    body_with("\"FunctionName\":\"" ARN "full\"," ROLE
                              ",\"Runtime\":\"nodejs20.x\",\"Handler\":\"i.h\""));
    assert_int_equal(f.response.status, 201);
    assert_string_equal(fixture_text(&f, "FunctionName"), "full");
    fixture_request(
        &f, "POST", FN,
        body_with("\"FunctionName\":\"full\"," ROLE ",\"Runtime\":\"nodejs20.x\",\"Handler\":\"i.h\""));
    expect_error(&f, 409, "ResourceConflictException", "Function already exist: full");
    fixture_done(&f);
}

static void code_must_be_a_zip_here(void **state)
{
    struct fixture f = { 0 };

    (void)state;
    fixture_open(&f);
    fixture_request(&f, "POST", FN, "{" BASE ",\"Code\":{\"ZipFile\":\"bm90IGEgemlw\"}}");
    expect_error(&f, 400, "InvalidParameterValueException",
                 "Could not unzip uploaded file. Please check your file, then try to upload again.");
    fixture_request(&f, "POST", FN, "{" BASE ",\"Code\":{\"ZipFile\":\"***\"}}");
    assert_string_equal(f.response.error_type, "SerializationException");
    fixture_request(&f, "POST", FN, "{" BASE ",\"Code\":{\"S3Bucket\":\"b\",\"S3Key\":\"k\"}}");
    assert_int_equal(f.response.status, 400);
    assert_non_null(strstr(fixture_message(&f), "S3"));
    fixture_request(&f, "POST", FN, "{" BASE ",\"Code\":{\"ImageUri\":\"i\"}}");
    assert_int_equal(f.response.status, 400);
    fixture_request(&f, "POST", FN, "{" BASE ",\"Code\":{}}");
    assert_int_equal(f.response.status, 400);
    fixture_request(&f, "POST", FN, "{" BASE);
    assert_string_equal(f.response.error_type, "SerializationException");
    fixture_request(&f, "POST", FN, "[]");
    assert_string_equal(f.response.error_type, "SerializationException");
    fixture_request(&f, "POST", FN, "{} x");
    assert_string_equal(f.response.error_type, "SerializationException");
    fixture_request(&f, "POST", FN, "{\"a\":\"\xff\"}");
    assert_string_equal(f.response.error_type, "SerializationException");
    fixture_done(&f);
}

static void only_given_members_change(void **state)
{
    struct fixture f = { 0 };

    (void)state;
    fixture_open(&f);
    fixture_function(
        &f, "c",
        ",\"Description\":\"d\",\"KMSKeyArn\":\"arn:aws:kms:us-east-1:000000000000:key/x\","
        "\"DeadLetterConfig\":{\"TargetArn\":\"arn:aws:sqs:us-east-1:000000000000:q\"},"
        "\"LoggingConfig\":{\"LogFormat\":\"JSON\",\"LogGroup\":\"g\"},\"VpcConfig\":{\"SubnetIds\":"
        "[\"subnet-1\"],\"SecurityGroupIds\":[\"sg-1\"]},\"Environment\":{\"Variables\":{}}");
    fixture_request(&f, "PUT", FN "/c/configuration", "{\"Timeout\":7}");
    assert_int_equal(f.response.status, 200);
    assert_int_equal((int)fixture_number(&f, "Timeout"), 7);
    assert_string_equal(fixture_text(&f, "Description"), "d");
    assert_string_equal(fixture_text(&f, "KMSKeyArn"), "arn:aws:kms:us-east-1:000000000000:key/x");
    assert_string_equal(fixture_text(&f, "LoggingConfig.ApplicationLogLevel"), "INFO");
    assert_string_equal(fixture_text(&f, "VpcConfig.SubnetIds.0"), "subnet-1");
    assert_true(fixture_has(&f, "Environment.Variables"));
    assert_string_equal(fixture_text(&f, "LastUpdateStatus"), "InProgress");
    assert_string_equal(fixture_text(&f, "LastUpdateStatusReason"), "The function is being created.");
    fixture_settle(&f, "c");
    fixture_request(
        &f, "PUT", FN "/c/configuration",
        "{\"Description\":\"\",\"KMSKeyArn\":\"\",\"DeadLetterConfig\":{\"TargetArn\":\"\"},"
        "\"LoggingConfig\":"
        "{\"LogFormat\":\"Text\"},\"VpcConfig\":{\"SubnetIds\":[],\"SecurityGroupIds\":[]},\"Layers\":[],"
        "\"Environment\":{\"Variables\":{\"AB\":\"c\"}}}");
    assert_int_equal(f.response.status, 200);
    assert_string_equal(fixture_text(&f, "Description"), "");
    assert_false(fixture_has(&f, "KMSKeyArn"));
    assert_false(fixture_has(&f, "DeadLetterConfig"));
    assert_false(fixture_has(&f, "LoggingConfig.ApplicationLogLevel"));
    assert_string_equal(fixture_text(&f, "LoggingConfig.LogGroup"), "g");
    assert_string_equal(fixture_text(&f, "VpcConfig.VpcId"), "");
    assert_string_equal(fixture_text(&f, "Environment.Variables.AB"), "c");
    fixture_settle(&f, "c");
    fixture_done(&f);
}

static void a_dry_run_stores_nothing(void **state)
{
    struct fixture f = { 0 };
    char body[8192], sha[64], revision[64];

    (void)state;
    fixture_open(&f);
    fixture_function(&f, "d", "");
    fixture_request(&f, "GET", FN "/d/configuration", NULL);
    (void)snprintf(sha, sizeof sha, "%s", fixture_text(&f, "CodeSha256"));
    (void)snprintf(revision, sizeof revision, "%s", fixture_text(&f, "RevisionId"));
    (void)snprintf(body, sizeof body, "{\"ZipFile\":\"%s\",\"DryRun\":true}", fixture_zip2);
    assert_int_equal(fixture_request(&f, "PUT", FN "/d/code", body), 200);
    assert_string_not_equal(fixture_text(&f, "CodeSha256"), sha);
    assert_int_equal(f.response.changed_count, 0);
    fixture_request(&f, "GET", FN "/d/configuration", NULL);
    assert_string_equal(fixture_text(&f, "CodeSha256"), sha);
    assert_string_equal(fixture_text(&f, "RevisionId"), revision);
    fixture_done(&f);
}

static void limits_of_bodies_depend_on_the_path(void **state)
{
    (void)state;
    assert_int_equal(api_body_limit("POST", 4, FN, strlen(FN)), 70167211);
    assert_int_equal(api_body_limit("POST", 4, FN "/", strlen(FN) + 1), 70167211);
    assert_int_equal(api_body_limit("PUT", 3, FN "/x/code", strlen(FN "/x/code")), 70167211);
    assert_int_equal(api_body_limit("GET", 3, FN, strlen(FN)), 1048576);
    assert_string_equal(api_operation("PUT", 3, FN "/x/configuration", strlen(FN "/x/configuration")),
                        "UpdateFunctionConfiguration");
    assert_string_equal(api_operation("POST", 4, FN, strlen(FN)), "CreateFunction");
    assert_null(api_operation("PATCH", 5, FN, strlen(FN)));
    assert_false(api_is_route("POST", FN "/x/invocations", strlen(FN "/x/invocations")));
    assert_true(api_is_route("GET", "/_irori/code/ab", 15));
    assert_false(api_is_route("GET", "/health", 7));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_a_name_is_understood),
        cmocka_unit_test(names_elsewhere_have_their_own_errors),
        cmocka_unit_test(creation_is_validated_in_the_services_words),
        cmocka_unit_test(names_on_creation_have_their_own_limits),
        cmocka_unit_test(code_must_be_a_zip_here),
        cmocka_unit_test(only_given_members_change),
        cmocka_unit_test(a_dry_run_stores_nothing),
        cmocka_unit_test(limits_of_bodies_depend_on_the_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
