#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_priv.h"
#include "auth/policy.h"

enum { POLICY_TEXT_MAX = 65536 };

char *policy_document(const struct store_policy *policy)
{
    struct buf text = BUF_INIT(POLICY_TEXT_MAX);

    (void)buf_printf(&text, "{\"Version\":\"2012-10-17\",\"Id\":\"default\",\"Statement\":%s}",
                     policy->statements);
    return buf_take(&text, NULL);
}

bool call_deny(struct call *call, const char *resource)
{
    const struct principal *principal = call->request->principal;
    const char *operation = call->route->operation;

    api_error(
        call->response, "AccessDeniedException",
        "User: %s is not authorized to perform: lambda:%s on resource: %s because no identity-based policy "
        "allows the lambda:%s action",
        principal ? principal->arn : "anonymous", operation, resource, operation);
    return false;
}

/* What the resource policy of the function (or of the version or alias addressed) grants. */
static bool is_granted(struct call *call, const char *resource)
{
    char action[80];
    struct policy_question question = { .principal = call->request->principal,
                                        .action = action,
                                        .resource = resource };
    struct store_function function;
    struct store_policy policy;
    char *document = NULL;
    bool granted;

    (void)snprintf(action, sizeof action, "lambda:%s", call->route->operation);
    if (store_function_find(call->store, call->reference.name, &function, &call->err) != 1)
        return false;
    if (store_policy_find(call->store, function.id, call->reference.qualifier, &policy, &call->err) == 1) {
        document = policy_document(&policy);
        store_policy_done(&policy);
    }
    granted = document && policy_allows(document, &question);
    free(document);
    store_function_done(&function);
    return granted;
}

bool call_is_permitted(struct call *call)
{
    const struct principal *principal = call->request->principal;
    AUTO_BUF struct buf arn = { 0 };
    const char *resource = "*";

    if (principal && (principal->kind == PRINCIPAL_ROOT || principal->kind == PRINCIPAL_NO_AUTH))
        return true;
    if (call->reference.name[0]) {
        resource = arn_of(call->api, call->reference.name, call->reference.qualifier, &arn);
        if (principal && is_granted(call, resource))
            return true;
    }
    return call_deny(call, resource);
}
