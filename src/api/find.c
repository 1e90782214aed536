#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_priv.h"
#include "base/text.h"

enum { ARN_MAX_BYTES = 1024 };

const char *arn_of(const struct api *api, const char *name, const char *qualifier, struct buf *out)
{
    out->max = ARN_MAX_BYTES;
    buf_clear(out);
    (void)buf_printf(out, "arn:aws:lambda:%s:%s:function:%s%s%s", api->config.region, api->config.account,
                     name, qualifier[0] ? ":" : "", qualifier);
    return out->data ? out->data : "";
}

bool not_found(struct call *call, const char *name, const char *qualifier)
{
    AUTO_BUF struct buf arn = { 0 };

    api_error(call->response, "ResourceNotFoundException", "Function not found: %s",
              arn_of(call->api, name, qualifier, &arn));
    return false;
}

bool find_function(struct call *call, const char *suffix, struct store_function *ret_function)
{
    int found = store_function_find(call->store, call->reference.name, ret_function, &call->err);

    if (found < 0)
        return call_failed(call);
    return found == 1 || not_found(call, call->reference.name, suffix);
}

/* The number a qualifier stands for, -1 when there is none. */
static bool number_of(struct call *call, const struct store_function *function, const char *qualifier,
                      int64_t *ret_number)
{
    struct store_alias alias;
    uint64_t number;
    int found;

    if (qualifier[0] == '\0' || strcmp(qualifier, "$LATEST") == 0) {
        *ret_number = 0;
        return true;
    }
    if (match_digits(qualifier)) {
        bool fits = text_to_u64(qualifier, strlen(qualifier), INT64_MAX, &number) && number > 0 &&
                    qualifier[0] != '0';

        *ret_number = fits ? (int64_t)number : -1;
        return true;
    }
    found = store_alias_find(call->store, function->id, qualifier, &alias, &call->err);
    if (found < 0)
        return call_failed(call);
    *ret_number = found == 1 ? alias.version : -1;
    if (found == 1)
        store_alias_done(&alias);
    return true;
}

bool find_version(struct call *call, const struct store_function *function, const char *qualifier,
                  struct store_version *ret_version)
{
    int64_t number = -1;
    int found;

    if (!number_of(call, function, qualifier, &number))
        return false;
    found = number < 0 ? 0 : store_version_find(call->store, function->id, number, ret_version, &call->err);
    if (found < 0)
        return call_failed(call);
    return found == 1 || not_found(call, function->name, qualifier);
}

bool revision_matches(struct call *call, const char *revision_id, const char *current)
{
    if (!revision_id || strcmp(revision_id, current) == 0)
        return true;
    api_error(call->response, "PreconditionFailedException",
              "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias "
              "API to "
              "retrieve the latest Revision Id");
    return false;
}
