#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "auth/policy.h"

#define ARN    "arn:aws:lambda:us-east-1:000000000000:function:echo"
#define URL    "lambda:InvokeFunctionUrl"
#define INVOKE "lambda:InvokeFunction"
#define ALLOW(p) \
    "{\"Effect\":\"Allow\",\"Principal\":" p ",\"Action\":\"" INVOKE "\",\"Resource\":\"" ARN "\"}"
#define PUBLIC                                                                            \
    "{\"Version\":\"2012-10-17\",\"Id\":\"default\",\"Statement\":[{\"Sid\":"             \
    "\"FunctionURLAllowPublicAccess\","                                                   \
    "\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"" URL "\",\"Resource\":\"" ARN \
    "\",\"Condition\":"                                                                   \
    "{\"StringEquals\":{\"lambda:FunctionUrlAuthType\":\"NONE\"}}}]}"

static const struct principal function = { .kind = PRINCIPAL_FUNCTION,
                                           .account = "123456789012",
                                           .arn = "arn:aws:sts::123456789012:assumed-role/worker/caller" };
static const struct principal root = { .kind = PRINCIPAL_ROOT,
                                       .account = "000000000000",
                                       .arn = "arn:aws:iam::000000000000:root" };

static bool invoke(const char *statement, const struct principal *principal)
{
    struct policy_question question = { .principal = principal, .action = INVOKE, .resource = ARN };
    char document[4096];

    (void)snprintf(document, sizeof document, "{\"Version\":\"2012-10-17\",\"Statement\":[%s]}", statement);
    return policy_allows(document, &question);
}

static bool conditioned(const char *condition, struct policy_question question)
{
    char document[4096];

    question.action = INVOKE;
    question.resource = ARN;
    (void)snprintf(
        document, sizeof document,
        "{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\","
        "\"Condition\":%s}}",
        condition);
    return policy_allows(document, &question);
}

static void test_nothing_is_granted_without_a_policy(void **state)
{
    (void)state;
    struct policy_question question = { .principal = &function, .action = INVOKE, .resource = ARN };

    assert_false(policy_allows(NULL, &question));
    assert_false(policy_allows("", &question));
    assert_false(policy_allows("{", &question));
    assert_false(policy_allows("[]", &question));
    assert_false(policy_allows("{\"Statement\":[1,null,\"x\"]}", &question));
    question.principal = NULL;
    assert_false(policy_allows(NULL, &question));
}

static void test_the_public_statement_opens_a_url(void **state)
{
    (void)state;
    struct policy_question question = { .action = URL, .resource = ARN, .function_url_auth_type = "NONE" };

    assert_true(policy_allows(PUBLIC, &question));
    question.function_url_auth_type = "AWS_IAM";
    assert_false(policy_allows(PUBLIC, &question));
    question.function_url_auth_type = "NONE";
    question.action = INVOKE;
    assert_false(policy_allows(PUBLIC, &question));
    question.action = URL;
    question.resource = ARN ":prod";
    assert_false(policy_allows(PUBLIC, &question));
}

static void test_owners_may_do_everything_unless_denied(void **state)
{
    (void)state;
    struct policy_question question = { .principal = &root, .action = INVOKE, .resource = ARN };

    assert_true(policy_allows(NULL, &question));
    assert_true(invoke(ALLOW("{\"AWS\":\"arn:aws:iam::999999999999:root\"}"), &root));
    assert_false(invoke(
        "{\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"lambda:*\",\"Resource\":\"*\"}", &root));
}

static void test_principals(void **state)
{
    (void)state;
    assert_true(invoke(ALLOW("\"*\""), NULL));
    assert_true(invoke(ALLOW("{\"AWS\":\"*\"}"), NULL));
    assert_true(invoke(ALLOW("{\"AWS\":\"123456789012\"}"), &function));
    assert_true(invoke(ALLOW("{\"AWS\":\"arn:aws:iam::123456789012:root\"}"), &function));
    assert_true(invoke(ALLOW("{\"AWS\":\"arn:aws:iam::123456789012:role/worker\"}"), &function));
    assert_true(invoke(ALLOW("{\"AWS\":\"arn:aws:iam::123456789012:role/a/path/worker\"}"), &function));
    assert_true(
        invoke(ALLOW("{\"AWS\":\"arn:aws:sts::123456789012:assumed-role/worker/caller\"}"), &function));
    assert_true(invoke(ALLOW("{\"AWS\":[\"x\",\"123456789012\"]}"), &function));
    assert_true(invoke(ALLOW("{\"Service\":\"s3.amazonaws.com\",\"AWS\":\"123456789012\"}"), &function));
    assert_false(invoke(ALLOW("{\"AWS\":\"123456789012\"}"), NULL));
    assert_false(invoke(ALLOW("{\"AWS\":\"000000000000\"}"), &function));
    assert_false(invoke(ALLOW("{\"AWS\":\"arn:aws:iam::123456789012:role/work\"}"), &function));
    assert_false(invoke(ALLOW("{\"AWS\":\"arn:aws:iam::123456789012:role/worker2\"}"), &function));
    assert_false(invoke(ALLOW("{\"AWS\":\"arn:aws:iam::123456789012:role/*\"}"), &function));
    assert_false(invoke(ALLOW("{\"AWS\":\"arn:aws:iam::123456789012:user/worker\"}"), &function));
    assert_false(invoke(ALLOW("{\"AWS\":\"arn:aws:iam::123456789013:role/worker\"}"), &function));
    assert_false(
        invoke(ALLOW("{\"AWS\":\"arn:aws:sts::123456789012:assumed-role/worker/other\"}"), &function));
    assert_false(invoke(ALLOW("{\"Service\":\"s3.amazonaws.com\"}"), &function));
    assert_false(invoke(ALLOW("{\"Federated\":\"*\"}"), &function));
    assert_false(invoke(ALLOW("\"123456789012\""), &function));
    assert_false(invoke(ALLOW("[]"), &function));
}

static void test_services(void **state)
{
    (void)state;
    struct policy_question question = { .action = INVOKE, .resource = ARN, .service = "s3.amazonaws.com" };

    assert_true(
        policy_allows("{\"Statement\":[" ALLOW("{\"Service\":\"s3.amazonaws.com\"}") "]}", &question));
    assert_false(
        policy_allows("{\"Statement\":[" ALLOW("{\"Service\":\"sns.amazonaws.com\"}") "]}", &question));
}

static bool shaped(const char *action, const char *resource)
{
    char statement[1000];

    (void)snprintf(statement, sizeof statement,
                   "{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":%s,\"Resource\":%s}", action,
                   resource);
    return invoke(statement, &function);
}

static void test_actions_and_resources(void **state)
{
    (void)state;
    assert_true(shaped("\"" INVOKE "\"", "\"" ARN "\""));
    assert_true(shaped("\"LAMBDA:invokefunction\"", "\"*\""));
    assert_true(shaped("\"lambda:*\"", "[\"x\",\"" ARN "*\"]"));
    assert_true(shaped("[\"s3:*\",\"*\"]", "\"arn:aws:lambda:*:*:function:e?ho\""));
    assert_true(shaped("\"lambda:Invoke*tion\"", "\"**\""));
    assert_false(shaped("\"lambda:InvokeFunctionUrl\"", "\"*\""));
    assert_false(shaped("\"lambda:Invoke\"", "\"*\""));
    assert_false(shaped("\"*\"", "\"" ARN ":*\""));
    assert_false(shaped("\"*\"", "\"arn:aws:lambda:us-east-1:000000000000:function:ECHO\""));
    assert_false(shaped("\"*\"", "\"arn:aws:lambda:us-east-1:000000000000:function:${x}*\""));
    assert_false(shaped("[]", "\"*\""));
    assert_false(shaped("{}", "\"*\""));
    assert_false(shaped("\"*\"", "null"));
}

static void test_incomplete_or_strange_statements_grant_nothing(void **state)
{
    (void)state;
    static const char *const statements[] = {
        "{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}",
        "{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"*\"}",
        "{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Resource\":\"*\"}",
        "{\"Effect\":\"allow\",\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\"}",
        "{\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\"}",
        "{\"Effect\":\"Allow\",\"NotPrincipal\":\"x\",\"Action\":\"*\",\"Resource\":\"*\"}",
        "{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\",\"NotAction\":\"x\"}",
        ("{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":{},"
         "\"Condition\":{}}"),
    };

    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++)
        assert_false(invoke(statements[i], &function));
}

static void test_a_deny_wins_and_denies_when_in_doubt(void **state)
{
    (void)state;
    assert_true(invoke(
        ALLOW("\"*\"") ",{\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"s3:*\",\"Resource\":\"*\"}",
        &function));
    assert_false(invoke(
        "{\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\"}," ALLOW("\"*\""),
        &function));
    assert_false(
        invoke(ALLOW("\"*\"") ",{\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\","
                              "\"Condition\":{\"DateLessThan\":{\"aws:CurrentTime\":\"x\"}}}",
               &function));
    assert_true(invoke(
        ALLOW("\"*\"") ",{\"Effect\":\"Deny\",\"Principal\":{\"AWS\":\"999999999999\"},\"NotAction\":\"x\","
                       "\"Resource\":\"*\"}",
        &function));
}

static void test_conditions_that_are_understood(void **state)
{
    (void)state;
    struct policy_question from = { .source_arn = "arn:aws:s3:::bucket", .source_account = "123456789012" };
    struct policy_question url = { .function_url_auth_type = "NONE" };

    assert_true(conditioned("{}", from));
    assert_true(conditioned("{\"ArnLike\":{\"AWS:SourceArn\":\"arn:aws:s3:::buck*\"}}", from));
    assert_true(conditioned("{\"ArnEquals\":{\"aws:sourcearn\":[\"x\",\"arn:aws:s3:::bucket\"]}}", from));
    assert_true(conditioned("{\"StringEquals\":{\"AWS:SourceAccount\":\"123456789012\"},"
                            "\"ArnLike\":{\"AWS:SourceArn\":\"arn:*:s3:*:*:*\"}}",
                            from));
    assert_true(conditioned("{\"StringLike\":{\"AWS:SourceAccount\":\"1234*\"}}", from));
    assert_true(conditioned("{\"Bool\":{\"lambda:InvokedViaFunctionUrl\":\"true\"}}", url));
    assert_true(conditioned("{\"Bool\":{\"lambda:InvokedViaFunctionUrl\":true}}", url));
    assert_true(conditioned("{\"Bool\":{\"lambda:InvokedViaFunctionUrl\":\"false\"}}", from));
    assert_false(conditioned("{\"Bool\":{\"lambda:InvokedViaFunctionUrl\":\"true\"}}", from));
    assert_false(conditioned("{\"ArnLike\":{\"AWS:SourceArn\":\"arn:aws:s3*\"}}", from));
    assert_false(conditioned("{\"ArnLike\":{\"AWS:SourceArn\":\"*\"}}", from));
    assert_false(conditioned("{\"ArnLike\":{\"AWS:SourceArn\":\"arn:aws:s3:::other\"}}", from));
    assert_false(conditioned("{\"ArnLike\":{\"AWS:SourceArn\":\"arn:aws:s3:::bucket\"}}", url));
    assert_false(conditioned("{\"StringEquals\":{\"AWS:SourceAccount\":\"1234*\"}}", from));
    assert_false(conditioned("{\"StringEquals\":{\"AWS:SourceAccount\":\"123456789012\"},"
                             "\"ArnLike\":{\"AWS:SourceArn\":\"arn:aws:sns:*:*:*\"}}",
                             from));
}

static void test_conditions_that_are_not_understood_grant_nothing(void **state)
{
    (void)state;
    static const char *const conditions[] = {
        "{\"StringEquals\":{\"aws:PrincipalOrgID\":\"o-1234567890\"}}",
        "{\"StringEquals\":{\"lambda:EventSourceToken\":\"t\"}}",
        "{\"StringNotEquals\":{\"AWS:SourceAccount\":\"x\"}}",
        "{\"StringEqualsIfExists\":{\"AWS:SourceAccount\":\"123456789012\"}}",
        "{\"StringEquals\":{\"AWS:SourceAccount\":123456789012}}",
        "{\"StringEquals\":{\"AWS:SourceAccount\":\"${aws:PrincipalAccount}\"}}",
        "{\"StringEquals\":\"x\"}",
        "[]",
        "null",
    };
    struct policy_question from = { .source_account = "123456789012" };

    for (size_t i = 0; i < sizeof conditions / sizeof conditions[0]; i++)
        assert_false(conditioned(conditions[i], from));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_granted_without_a_policy),
        cmocka_unit_test(test_the_public_statement_opens_a_url),
        cmocka_unit_test(test_owners_may_do_everything_unless_denied),
        cmocka_unit_test(test_principals),
        cmocka_unit_test(test_services),
        cmocka_unit_test(test_actions_and_resources),
        cmocka_unit_test(test_incomplete_or_strange_statements_grant_nothing),
        cmocka_unit_test(test_a_deny_wins_and_denies_when_in_doubt),
        cmocka_unit_test(test_conditions_that_are_understood),
        cmocka_unit_test(test_conditions_that_are_not_understood_grant_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
