#include <stdio.h>
#include <string.h>

#include "api/api_priv.h"
#include "base/text.h"

/* Concurrency, account settings, and the small documents beside a function that clients read on every visit.
 */

enum { UNRESERVED_MIN = 100 };

void put_concurrency_check(struct call *call)
{
    static const struct field fields[] = { { "ReservedConcurrentExecutions", FIELD_INTEGER, true, NULL, 0,
                                             INT32_MAX } };

    check_fields(&call->check, call->body, "", fields, 1);
}

static bool refuse_qualifier(struct call *call)
{
    if (call->reference.qualifier[0] == '\0')
        return true;
    api_error(
        call->response, "InvalidParameterValueException",
        "This operation is permitted on Lambda functions only. Aliases and versions do not support this "
        "operation. Please specify either a function name or an unqualified function ARN.");
    return false;
}

/* What all others may share must not fall below the minimum; an account smaller than that reserves nothing.
 */
static bool leaves_enough(struct call *call, const struct store_function *function, int wanted)
{
    uint64_t account = call->api->config.account_concurrency;
    uint64_t least = account < UNRESERVED_MIN ? account : UNRESERVED_MIN;
    struct store_usage usage;

    if (store_usage(call->store, function->name, &usage, &call->err) < 0)
        return call_failed(call);
    if (wanted == 0 || wanted <= function->reserved || usage.reserved + (uint64_t)wanted + least <= account)
        return true;
    api_error(call->response, "InvalidParameterValueException",
              "Specified ReservedConcurrentExecutions for function decreases account's "
              "UnreservedConcurrentExecution "
              "below its minimum value of [%llu].",
              (unsigned long long)least);
    return false;
}

static bool set_reserved(struct call *call, struct store_function *function, int reserved)
{
    function->reserved = reserved;
    if (store_function_save(call->store, function, &call->err) < 0)
        return call_failed(call);
    call_changed(call, function->name, false);
    return true;
}

static cJSON *concurrency_view(int reserved)
{
    cJSON *view = cJSON_CreateObject();

    if (reserved >= 0)
        (void)cJSON_AddNumberToObject(view, "ReservedConcurrentExecutions", reserved);
    return view;
}

bool put_concurrency(struct call *call)
{
    int wanted = (int)call_member(call->body, "ReservedConcurrentExecutions")->valuedouble;
    struct store_function function;
    bool fine;

    if (!refuse_qualifier(call) || !find_function(call, "$LATEST", &function))
        return false;
    fine = leaves_enough(call, &function, wanted) && set_reserved(call, &function, wanted) &&
           call_answer(call, 200, concurrency_view(wanted));
    store_function_done(&function);
    return fine;
}

bool get_concurrency(struct call *call)
{
    struct store_function function;

    if (!refuse_qualifier(call) || !find_function(call, "", &function))
        return false;
    store_function_done(&function);
    return call_answer(call, 200, concurrency_view(function.reserved));
}

bool delete_concurrency(struct call *call)
{
    struct store_function function;
    bool fine;

    if (!refuse_qualifier(call) || !find_function(call, "", &function))
        return false;
    fine = set_reserved(call, &function, -1) && call_answer_empty(call);
    store_function_done(&function);
    return fine;
}

bool get_account_settings(struct call *call)
{
    cJSON *answer, *limit, *used;
    struct store_usage usage;
    double account = call->api->config.account_concurrency;

    if (store_usage(call->store, NULL, &usage, &call->err) < 0)
        return call_failed(call);
    answer = cJSON_CreateObject();
    limit = cJSON_AddObjectToObject(answer, "AccountLimit");
    (void)cJSON_AddNumberToObject(limit, "TotalCodeSize", (double)API_CODE_MAX_BYTES);
    (void)cJSON_AddNumberToObject(limit, "CodeSizeUnzipped", 262144000);
    (void)cJSON_AddNumberToObject(limit, "CodeSizeZipped", 52428800);
    (void)cJSON_AddNumberToObject(limit, "ConcurrentExecutions", account);
    (void)cJSON_AddNumberToObject(limit, "UnreservedConcurrentExecutions",
                                  account > (double)usage.reserved ? account - (double)usage.reserved : 0);
    used = cJSON_AddObjectToObject(answer, "AccountUsage");
    (void)cJSON_AddNumberToObject(used, "TotalCodeSize", (double)usage.code_bytes);
    (void)cJSON_AddNumberToObject(used, "FunctionCount", (double)usage.functions);
    return call_answer(call, 200, answer);
}

bool get_code_signing_config(struct call *call)
{
    struct store_function function;

    if (!find_function(call, "", &function))
        return false;
    store_function_done(&function);
    return call_answer(call, 200, cJSON_CreateObject());
}

static bool answer_recursion(struct call *call, bool allowed)
{
    cJSON *answer = cJSON_CreateObject();

    (void)cJSON_AddStringToObject(answer, "RecursiveLoop", allowed ? "Allow" : "Terminate");
    return call_answer(call, 200, answer);
}

bool get_recursion_config(struct call *call)
{
    struct store_function function;

    if (!find_function(call, "", &function))
        return false;
    store_function_done(&function);
    return answer_recursion(call, function.recursion_allowed);
}

void put_recursion_config_check(struct call *call)
{
    static const struct text_rule rule = { 0, 0, NULL, NULL, "Allow, Terminate" };
    static const struct field fields[] = { { "RecursiveLoop", FIELD_TEXT, true, &rule, 0, 0 } };

    check_fields(&call->check, call->body, "", fields, 1);
}

bool put_recursion_config(struct call *call)
{
    struct store_function function;
    bool fine;

    if (!find_function(call, "", &function))
        return false;
    function.recursion_allowed = text_equal(call_text(call->body, "RecursiveLoop"), "Allow");
    fine = store_function_save(call->store, &function, &call->err) == 0
               ? answer_recursion(call, function.recursion_allowed)
               : call_failed(call);
    store_function_done(&function);
    return fine;
}

bool get_runtime_management_config(struct call *call)
{
    struct store_function function;
    struct store_version version;
    AUTO_BUF struct buf arn = { 0 };
    cJSON *answer;

    if (!find_function(call, call->reference.qualifier, &function))
        return false;
    if (!find_version(call, &function, call->reference.qualifier, &version)) {
        store_function_done(&function);
        return false;
    }
    store_version_done(&version);
    answer = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(answer, "UpdateRuntimeOn", "Auto");
    (void)cJSON_AddStringToObject(answer, "FunctionArn",
                                  arn_of(call->api, function.name, call->reference.qualifier, &arn));
    store_function_done(&function);
    return call_answer(call, 200, answer);
}
