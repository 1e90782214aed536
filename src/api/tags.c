#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_priv.h"
#include "api/own_tags.h"
#include "base/text.h"

static const struct text_rule resource_rule = {
    1, 10000, match_taggable,
    "arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:\\d{12}:(function:[a-"
    "zA-Z0-9-_]+"
    "(:(\\$LATEST|[a-zA-Z0-9-_]+))?|code-signing-config:csc-[a-z0-9]{17}|event-source-mapping:[0-9a-fA-F]{8}-"
    "[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|(capacity-provider|network-connector):"
    "[a-zA-Z0-9-_]{1,64})",
    NULL
};

void list_tags_check(struct call *call)
{
    check_text(&call->check, "resource", call->label[0].data, &resource_rule);
}

void tag_resource_check(struct call *call)
{
    static const struct field fields[] = { { "Tags", FIELD_OBJECT, true, NULL, 0, 0 } };

    list_tags_check(call);
    check_fields(&call->check, call->body, "", fields, 1);
    settings_check_tags(&call->check, call_member(call->body, "Tags"));
}

void untag_resource_check(struct call *call)
{
    AUTO_BUF struct buf key = BUF_INIT(1024);

    list_tags_check(call);
    if (!call_query(call, "tagKeys", 0, &key))
        check_fault(&call->check, "tagKeys", NULL, "Member must not be null");
}

/* The function that the ARN in the path names; on true the caller's to release, with its tags. */
static bool find_tagged(struct call *call, struct store_function *ret_function, cJSON **ret_tags)
{
    const char *arn = call->label[0].data;
    struct name_context context = { .config = &call->api->config,
                                    .operation = call->route->operation,
                                    .user_arn =
                                        call->request->principal ? call->request->principal->arn : "" };

    if (!strstr(arn, ":function:")) {
        api_error(call->response, "ResourceNotFoundException", "The resource you requested does not exist.");
        return false;
    }
    if (!name_resolve(&context, API_NAME_FN256, arn, NULL, &call->reference, call->response))
        return false;
    if (call->reference.qualifier[0]) {
        api_error(call->response, "InvalidParameterValueException",
                  "Tags on function aliases and versions are not supported. Please specify a function ARN.");
        return false;
    }
    if (!find_function(call, "", ret_function))
        return false;
    *ret_tags = cJSON_Parse(ret_function->tags);
    if (*ret_tags)
        return true;
    store_function_done(ret_function);
    return call_failed(call);
}

static bool save(struct call *call, struct store_function *function, const cJSON *tags)
{
    free(function->tags);
    function->tags = cJSON_PrintUnformatted(tags);
    if (!function->tags || store_function_save(call->store, function, &call->err) < 0)
        return call_failed(call);
    call_changed(call, function->name, false);
    return call_answer_empty(call);
}

static bool put_tags(struct call *call, cJSON *tags)
{
    const cJSON *given = call_member(call->body, "Tags"), *item;

    if (!own_tags_are_fine(call, given))
        return false;

    cJSON_ArrayForEach(item, given)
    {
        cJSON_DeleteItemFromObjectCaseSensitive(tags, item->string);
        if (!cJSON_AddStringToObject(tags, item->string, item->valuestring))
            return call_failed(call);
    }
    return tags_fit(call, tags);
}

bool tag_resource(struct call *call)
{
    struct store_function function;
    cJSON *tags;
    bool fine;

    if (!find_tagged(call, &function, &tags))
        return false;
    if (cJSON_GetArraySize(call_member(call->body, "Tags")) == 0) {
        api_error(call->response, "InvalidParameterValueException",
                  "An error occurred and the request cannot be processed.");
        fine = false;
    } else {
        fine = put_tags(call, tags) && save(call, &function, tags);
    }
    cJSON_Delete(tags);
    store_function_done(&function);
    return fine;
}

bool untag_resource(struct call *call)
{
    AUTO_BUF struct buf key = BUF_INIT(1024);
    struct store_function function;
    cJSON *tags;
    bool fine;

    if (!find_tagged(call, &function, &tags))
        return false;
    for (unsigned i = 0; call_query(call, "tagKeys", i, &key); i++)
        cJSON_DeleteItemFromObjectCaseSensitive(tags, key.data);
    fine = save(call, &function, tags);
    cJSON_Delete(tags);
    store_function_done(&function);
    return fine;
}

bool list_tags(struct call *call)
{
    struct store_function function;
    cJSON *tags, *answer;

    if (!find_tagged(call, &function, &tags))
        return false;
    store_function_done(&function);
    answer = cJSON_CreateObject();
    (void)cJSON_AddItemToObject(answer, "Tags", tags);
    return call_answer(call, 200, answer);
}
