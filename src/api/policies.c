#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_priv.h"
#include "base/id.h"
#include "base/text.h"

enum { POLICY_MAX_BYTES = 20480 };

/* clang-format off */
static const struct text_rule statement_rule = { 1, 100, match_statement_id, "([a-zA-Z0-9-_]+)", NULL };
static const struct text_rule removed_rule = { 1, 100, match_event_token, "([a-zA-Z0-9-_.]+)", NULL };
static const struct text_rule action_rule = { 0, 10000, match_action, "(lambda:[*]|lambda:[a-zA-Z]+|[*])", NULL };
static const struct text_rule principal_rule = { 0, 2048, match_principal, "[^\\s]+", NULL };
static const struct text_rule arn_rule = { 0, 10000, match_arn, "arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\\-])+:((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1})?:(\\d{12})?:(.*)", NULL };
static const struct text_rule account_rule = { 0, 12, match_account, "\\d{12}", NULL };
static const struct text_rule token_rule = { 0, 256, match_event_token, "[a-zA-Z0-9._\\-]+", NULL };
static const struct text_rule auth_rule = { 0, 0, NULL, NULL, "NONE, AWS_IAM" };
static const struct text_rule organization_rule = { 12, 34, match_organization, "o-[a-z0-9]{10,32}", NULL };
static const struct field fields[] = {
    { "StatementId", FIELD_TEXT, true, &statement_rule, 0, 0 },
    { "Action", FIELD_TEXT, true, &action_rule, 0, 0 },
    { "Principal", FIELD_TEXT, true, &principal_rule, 0, 0 },
    { "SourceArn", FIELD_TEXT, false, &arn_rule, 0, 0 },
    { "SourceAccount", FIELD_TEXT, false, &account_rule, 0, 0 },
    { "EventSourceToken", FIELD_TEXT, false, &token_rule, 0, 0 },
    { "FunctionUrlAuthType", FIELD_TEXT, false, &auth_rule, 0, 0 },
    { "InvokedViaFunctionUrl", FIELD_BOOLEAN, false, NULL, 0, 0 },
    { "PrincipalOrgID", FIELD_TEXT, false, &organization_rule, 0, 0 },
    { "RevisionId", FIELD_TEXT, false, NULL, 0, 0 },
};
/* clang-format on */

void add_permission_check(struct call *call)
{
    check_fields(&call->check, call->body, "", fields, sizeof fields / sizeof fields[0]);
}

void remove_permission_check(struct call *call)
{
    check_text(&call->check, "statementId", call->label[1].data, &removed_rule);
}

static bool invalid(struct call *call, const char *text)
{
    api_error(call->response, "InvalidParameterValueException", "%s", text);
    return false;
}

static bool is_service(const char *text)
{
    size_t len = strlen(text);
    static const char *const ends[] = { ".amazonaws.com", ".amazonaws.com.cn", ".amazon.com" };

    if (strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789.-") != len)
        return false;
    for (size_t i = 0; i < 3; i++) {
        size_t end = strlen(ends[i]);

        if (len > end && strcmp(text + len - end, ends[i]) == 0)
            return true;
    }
    return false;
}

/* arn:<partition>:iam|sts::<account>:<what> */
static bool is_identity(const char *text)
{
    const char *service = text_starts(text, "arn:aws") ? strchr(text + 4, ':') : NULL;
    size_t digits;

    if (!service || (!text_starts(service, ":iam::") && !text_starts(service, ":sts::")))
        return false;
    digits = strspn(service + 6, "0123456789");
    return digits == 12 && service[18] == ':' && service[19] != '\0';
}

static bool add_principal(struct call *call, cJSON *statement)
{
    const char *principal = call_text(call->body, "Principal");
    char root[64];
    cJSON *object;

    if (strcmp(principal, "*") == 0)
        return cJSON_AddStringToObject(statement, "Principal", "*") || call_failed(call);
    if (match_account(principal))
        (void)snprintf(root, sizeof root, "arn:aws:iam::%s:root", principal);
    else if (!is_service(principal) && !is_identity(principal))
        return invalid(call, "The provided principal was invalid. Please check the principal and try again.");
    object = cJSON_AddObjectToObject(statement, "Principal");
    if (is_service(principal))
        (void)cJSON_AddStringToObject(object, "Service", principal);
    else
        (void)cJSON_AddStringToObject(object, "AWS", match_account(principal) ? root : principal);
    return object || call_failed(call);
}

/* The operator's object within Condition, made when first needed. */
static cJSON *operator_of(cJSON *statement, const char *name)
{
    cJSON *condition = cJSON_GetObjectItemCaseSensitive(statement, "Condition"), *found;

    if (!condition)
        condition = cJSON_AddObjectToObject(statement, "Condition");
    found = cJSON_GetObjectItemCaseSensitive(condition, name);
    return found ? found : cJSON_AddObjectToObject(condition, name);
}

static bool add_conditions(struct call *call, cJSON *statement)
{
    static const struct condition {
        const char *member, *test, *key;
    } conditions[] = {
        { "SourceAccount", "StringEquals", "AWS:SourceAccount" },
        { "FunctionUrlAuthType", "StringEquals", "lambda:FunctionUrlAuthType" },
        { "PrincipalOrgID", "StringEquals", "aws:PrincipalOrgID" },
        { "EventSourceToken", "StringEquals", "lambda:EventSourceToken" },
        { "SourceArn", "ArnLike", "AWS:SourceArn" },
    };
    const char *action = call_text(call->body, "Action");
    const cJSON *via_url = call_member(call->body, "InvokedViaFunctionUrl");

    if (call_member(call->body, "FunctionUrlAuthType") && strcmp(action, "lambda:InvokeFunctionUrl") != 0)
        return invalid(call, "FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action");
    if (via_url && strcmp(action, "lambda:InvokeFunction") != 0)
        return invalid(call, "InvokedViaFunctionUrl is only supported for lambda:InvokeFunction action");
    for (size_t i = 0; i < sizeof conditions / sizeof conditions[0]; i++) {
        const char *value = call_text(call->body, conditions[i].member);

        if (value &&
            !cJSON_AddStringToObject(operator_of(statement, conditions[i].test), conditions[i].key, value))
            return call_failed(call);
    }
    if (via_url && !cJSON_AddStringToObject(operator_of(statement, "Bool"), "lambda:InvokedViaFunctionUrl",
                                            cJSON_IsTrue(via_url) ? "true" : "false"))
        return call_failed(call);
    return true;
}

/* The statement asked for, for the caller to delete; NULL when answered. */
static cJSON *make_statement(struct call *call, const char *function)
{
    AUTO_BUF struct buf arn = { 0 };
    cJSON *statement = cJSON_CreateObject();

    (void)cJSON_AddStringToObject(statement, "Sid", call_text(call->body, "StatementId"));
    (void)cJSON_AddStringToObject(statement, "Effect", "Allow");
    if (!add_principal(call, statement)) {
        cJSON_Delete(statement);
        return NULL;
    }
    (void)cJSON_AddStringToObject(statement, "Action", call_text(call->body, "Action"));
    (void)cJSON_AddStringToObject(statement, "Resource",
                                  arn_of(call->api, function, call->reference.qualifier, &arn));
    if (!add_conditions(call, statement)) {
        cJSON_Delete(statement);
        return NULL;
    }
    return statement;
}

static const cJSON *find_statement(const cJSON *statements, const char *sid, int *ret_index)
{
    const cJSON *item;
    int index = 0;

    cJSON_ArrayForEach(item, statements)
    {
        if (text_equal(call_text(item, "Sid"), sid)) {
            *ret_index = index;
            return item;
        }
        index++;
    }
    return NULL;
}

/* The revision of what the policy belongs to: the function ($LATEST), a version, an alias. */
static bool set_revision(struct call *call, const struct store_function *function, const char *revision)
{
    const char *qualifier = call->reference.qualifier;
    struct store_version version;
    struct store_alias alias;
    int found, result;

    if (qualifier[0] == '\0' || match_digits(qualifier)) {
        if (!find_version(call, function, qualifier, &version))
            return false;
        (void)snprintf(version.revision_id, sizeof version.revision_id, "%s", revision);
        result = store_version_put(call->store, function->id, &version, &call->err);
        store_version_done(&version);
        return result == 0 || call_failed(call);
    }
    found = store_alias_find(call->store, function->id, qualifier, &alias, &call->err);
    if (found != 1)
        return found < 0 ? call_failed(call) : not_found(call, function->name, qualifier);
    (void)snprintf(alias.revision_id, sizeof alias.revision_id, "%s", revision);
    result = store_alias_put(call->store, function->id, &alias, &call->err);
    store_alias_done(&alias);
    return result == 0 || call_failed(call);
}

static bool current_revision(struct call *call, const struct store_function *function, char *out, size_t size)
{
    const char *qualifier = call->reference.qualifier;
    struct store_version version;
    struct store_alias alias;

    if (qualifier[0] && !match_digits(qualifier) &&
        store_alias_find(call->store, function->id, qualifier, &alias, &call->err) == 1) {
        (void)snprintf(out, size, "%s", alias.revision_id);
        store_alias_done(&alias);
        return true;
    }
    if (!find_version(call, function, qualifier, &version))
        return false;
    (void)snprintf(out, size, "%s", version.revision_id);
    store_version_done(&version);
    return true;
}

/* Callers take the revision from GetPolicy or from GetFunction and GetAlias: either is current. */
static bool revision_is_current(struct call *call, const struct store_function *function,
                                const struct store_policy *policy, const char *given, const char *source)
{
    char current[STORE_UUID_BYTES];

    if (!current_revision(call, function, current, sizeof current))
        return false;
    if (!given || strcmp(given, current) == 0 || strcmp(given, policy->revision_id) == 0)
        return true;
    api_error(call->response, "PreconditionFailedException",
              "The Revision Id provided does not match the latest Revision Id. Call the %s API to retrieve "
              "the latest "
              "Revision Id",
              source);
    return false;
}

static bool save(struct call *call, struct store_function *function, struct store_policy *policy,
                 const cJSON *statements)
{
    int result;

    free(policy->statements);
    policy->statements = cJSON_PrintUnformatted(statements);
    id_uuid(policy->revision_id);
    if (!policy->statements)
        return call_failed(call);
    if (strlen(policy->statements) > POLICY_MAX_BYTES) {
        api_error(call->response, "PolicyLengthExceededException",
                  "The final policy size (%zu) is bigger than the limit (%d).", strlen(policy->statements),
                  POLICY_MAX_BYTES);
        return false;
    }
    result = cJSON_GetArraySize(statements) > 0
                 ? store_policy_put(call->store, function->id, policy, &call->err)
                 : store_policy_remove(call->store, function->id, policy->qualifier, &call->err);
    if (result < 0)
        return call_failed(call);
    if (!set_revision(call, function, policy->revision_id))
        return false;
    if (store_function_save(call->store, function, &call->err) < 0)
        return call_failed(call);
    call_changed(call, function->name, false);
    return true;
}

static bool answer_statement(struct call *call, const cJSON *statement)
{
    cJSON *answer = cJSON_CreateObject();
    char *text = cJSON_PrintUnformatted(statement);

    (void)cJSON_AddStringToObject(answer, "Statement", text ? text : "");
    cJSON_free(text);
    return call_answer(call, 201, text ? answer : (cJSON_Delete(answer), NULL));
}

static bool add_statement(struct call *call, struct store_function *function, struct store_policy *policy,
                          cJSON *statements)
{
    const char *sid = call_text(call->body, "StatementId");
    cJSON *statement;
    int index;

    if (!revision_is_current(call, function, policy, call_text(call->body, "RevisionId"), "GetPolicy"))
        return false;
    if (find_statement(statements, sid, &index)) {
        api_error(
            call->response, "ResourceConflictException",
            "The statement id (%s) provided already exists. Please provide a new statement id, or remove the "
            "existing statement.",
            sid);
        return false;
    }
    statement = make_statement(call, function->name);
    if (!statement)
        return false;
    (void)cJSON_AddItemToArray(statements, statement);
    return save(call, function, policy, statements) && answer_statement(call, statement);
}

bool add_permission(struct call *call)
{
    struct store_function function;
    struct store_policy policy = { .statements = NULL };
    cJSON *statements;
    bool fine;
    int found;

    if (strcmp(call->reference.qualifier, "$LATEST") == 0)
        return invalid(call, "We currently do not support adding policies for $LATEST.");
    if (!find_function(call, call->reference.qualifier, &function))
        return false;
    found = store_policy_find(call->store, function.id, call->reference.qualifier, &policy, &call->err);
    (void)snprintf(policy.qualifier, sizeof policy.qualifier, "%s", call->reference.qualifier);
    statements = found == 1 ? cJSON_Parse(policy.statements) : cJSON_CreateArray();
    fine = found >= 0 && statements ? add_statement(call, &function, &policy, statements) : call_failed(call);
    cJSON_Delete(statements);
    store_policy_done(&policy);
    store_function_done(&function);
    return fine;
}

bool get_policy(struct call *call)
{
    struct store_function function;
    struct store_policy policy;
    cJSON *answer;
    char *document;
    int found;

    if (!find_function(call, call->reference.qualifier, &function))
        return false;
    found = store_policy_find(call->store, function.id, call->reference.qualifier, &policy, &call->err);
    store_function_done(&function);
    if (found < 0)
        return call_failed(call);
    if (found == 0) {
        api_error(call->response, "ResourceNotFoundException", "The resource you requested does not exist.");
        return false;
    }
    answer = cJSON_CreateObject();
    document = policy_document(&policy);
    (void)cJSON_AddStringToObject(answer, "Policy", document ? document : "");
    (void)cJSON_AddStringToObject(answer, "RevisionId", policy.revision_id);
    free(document);
    store_policy_done(&policy);
    return call_answer(call, 200, answer);
}

static bool drop_statement(struct call *call, struct store_function *function, struct store_policy *policy)
{
    AUTO_BUF struct buf revision = BUF_INIT(1024);
    const char *given = call_query(call, "RevisionId", 0, &revision) ? revision.data : NULL;
    cJSON *statements = cJSON_Parse(policy->statements);
    int index = 0;
    bool fine;

    if (!find_statement(statements, call->label[1].data, &index)) {
        cJSON_Delete(statements);
        api_error(call->response, "ResourceNotFoundException",
                  "Statement %s is not found in resource policy.", call->label[1].data);
        return false;
    }
    fine = revision_is_current(call, function, policy, given, "GetFunction/GetAlias");
    if (fine) {
        cJSON_DeleteItemFromArray(statements, index);
        fine = save(call, function, policy, statements);
    }
    cJSON_Delete(statements);
    return fine;
}

bool remove_permission(struct call *call)
{
    struct store_function function;
    struct store_policy policy;
    AUTO_BUF struct buf arn = { 0 };
    int found = store_function_find(call->store, call->reference.name, &function, &call->err);
    bool fine;

    if (found < 0)
        return call_failed(call);
    if (found == 0) {
        api_error(call->response, "ResourceNotFoundException", "No policy found for: %s",
                  arn_of(call->api, call->reference.name, call->reference.qualifier, &arn));
        return false;
    }
    found = store_policy_find(call->store, function.id, call->reference.qualifier, &policy, &call->err);
    if (found == 1) {
        fine = drop_statement(call, &function, &policy) && call_answer_empty(call);
        store_policy_done(&policy);
    } else if (found == 0) {
        api_error(call->response, "ResourceNotFoundException",
                  "No policy is associated with the given resource.");
        fine = false;
    } else {
        fine = call_failed(call);
    }
    store_function_done(&function);
    return fine;
}
