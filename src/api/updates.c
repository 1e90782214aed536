#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_priv.h"
#include "base/id.h"
#include "base/text.h"

/*
 * UpdateFunctionCode and UpdateFunctionConfiguration: $LATEST gets its new document at once, and what
 * invocations get stays the old one until api_settle().
 */

static const struct text_rule architecture_rule = { 0, 0, NULL, NULL, "x86_64, arm64" };
static const struct field code_fields[] = {
    { "ImageUri", FIELD_TEXT, false, NULL, 0, 0 },
    { "Architectures", FIELD_LIST, false, &architecture_rule, 1, 1 },
    { "Publish", FIELD_BOOLEAN, false, NULL, 0, 0 },
    { "DryRun", FIELD_BOOLEAN, false, NULL, 0, 0 },
    { "RevisionId", FIELD_TEXT, false, NULL, 0, 0 },
};

void update_function_code_check(struct call *call)
{
    check_fields(&call->check, call->body, "", code_fields, sizeof code_fields / sizeof code_fields[0]);
}

void update_function_configuration_check(struct call *call)
{
    settings_check(call, call->body, false);
}

/* The function and its $LATEST, which may be changed now. Both are the caller's to release on true. */
static bool find_changeable(struct call *call, struct store_function *ret_function,
                            struct store_version *ret_latest)
{
    if (!find_function(call, "", ret_function))
        return false;
    if (!find_version(call, ret_function, "", ret_latest)) {
        store_function_done(ret_function);
        return false;
    }
    if (latest_is_settled(call, ret_function, ret_latest) &&
        revision_matches(call, call_text(call->body, "RevisionId"), ret_latest->revision_id))
        return true;
    store_version_done(ret_latest);
    store_function_done(ret_function);
    return false;
}

/* Refuses before the archive is unpacked; run asks again. */
static bool seems_changeable(struct call *call)
{
    struct store_function function;
    struct store_version latest;
    bool fine;

    if (store_begin(call->store, &call->err) < 0)
        return call_failed(call);
    fine = find_changeable(call, &function, &latest);
    if (fine) {
        store_version_done(&latest);
        store_function_done(&function);
    }
    (void)store_end(call->store, false, NULL);
    return fine;
}

bool update_function_code_prepare(struct call *call)
{
    if (!seems_changeable(call))
        return false;
    if (call_text(call->body, "ImageUri")) {
        api_error(call->response, "InvalidParameterValueException",
                  "Please don't provide ImageUri when updating a function with packageType Zip.");
        return false;
    }
    return code_source_is_usable(call, call->body) && architectures_are_usable(call, call->body) &&
           call_take_code(call, call->body);
}

/* Gives $LATEST a new document (printed from json, which is taken) and keeps the old one for invocations. */
static bool replace_latest(struct call *call, struct store_version *latest, cJSON *json)
{
    char *document;

    settings_touch(json);
    document = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    if (!document)
        return call_failed(call);
    latest->serving = latest->document;
    latest->document = document;
    memcpy(latest->serving_config_id, latest->config_id, sizeof latest->serving_config_id);
    memcpy(latest->serving_code, latest->code.sha256, sizeof latest->serving_code);
    latest->update = STORE_UPDATE_IN_PROGRESS;
    id_uuid(latest->config_id);
    id_uuid(latest->revision_id);
    return true;
}

static bool save(struct call *call, struct store_function *function, const struct store_version *latest)
{
    if (store_version_put(call->store, function->id, latest, &call->err) < 0 ||
        store_function_save(call->store, function, &call->err) < 0)
        return call_failed(call);
    call_changed(call, function->name, true);
    return true;
}

static bool answer_code_update(struct call *call, struct store_function *function,
                               struct store_version *latest)
{
    struct store_version version = { 0 };
    char number[24];
    bool fine;

    if (cJSON_IsTrue(call_member(call->body, "DryRun"))) {
        latest->update = STORE_UPDATE_SUCCESSFUL;
        return call_answer(call, 200, view_configuration(call->api, function->name, latest, "", VIEW_FULL));
    }
    collect_release(call);
    if (!cJSON_IsTrue(call_member(call->body, "Publish")))
        return save(call, function, latest) &&
               call_answer(call, 200, view_configuration(call->api, function->name, latest, "", VIEW_FULL));
    fine = publish_latest(call, function, latest, NULL, &version) && save(call, function, latest) &&
           call_answer(call, 200,
                       view_configuration(call->api, function->name, &version,
                                          version_text(version.number, number), VIEW_FULL));
    store_version_done(&version);
    return fine;
}

bool update_function_code(struct call *call)
{
    struct store_function function;
    struct store_version latest;
    cJSON *document;
    bool fine;

    if (!find_changeable(call, &function, &latest))
        return false;
    document = cJSON_Parse(latest.document);
    if (document)
        settings_set_code(document, &call->package);
    fine = document ? replace_latest(call, &latest, document) : call_failed(call);
    if (fine) {
        (void)snprintf(latest.code.sha256, sizeof latest.code.sha256, "%s", call->package.sha256_hex);
        latest.code.size_bytes = call->package.size_bytes;
        fine = answer_code_update(call, &function, &latest);
    }
    store_version_done(&latest);
    store_function_done(&function);
    return fine;
}

bool update_function_configuration(struct call *call)
{
    struct store_function function;
    struct store_version latest;
    cJSON *document;
    bool fine;

    if (!find_changeable(call, &function, &latest))
        return false;
    document = cJSON_Parse(latest.document);
    fine = document ? settings_apply(call, call->body, function.name, document) : call_failed(call);
    if (fine)
        fine = replace_latest(call, &latest, document) && save(call, &function, &latest) &&
               call_answer(call, 200, view_configuration(call->api, function.name, &latest, "", VIEW_FULL));
    else
        cJSON_Delete(document);
    store_version_done(&latest);
    store_function_done(&function);
    return fine;
}
