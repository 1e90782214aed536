#include <stdlib.h>
#include <string.h>

#include "api/api_priv.h"
#include "base/id.h"
#include "base/text.h"

static const struct text_rule description_rule = { 0, 256, NULL, NULL, NULL };
static const struct field publish_fields[] = {
    { "CodeSha256", FIELD_TEXT, false, NULL, 0, 0 },
    { "Description", FIELD_TEXT, false, &description_rule, 0, 0 },
    { "RevisionId", FIELD_TEXT, false, NULL, 0, 0 },
};

void publish_version_check(struct call *call)
{
    check_fields(&call->check, call->body, "", publish_fields,
                 sizeof publish_fields / sizeof publish_fields[0]);
}

bool latest_is_settled(struct call *call, const struct store_function *function,
                       const struct store_version *latest)
{
    AUTO_BUF struct buf arn = { 0 };

    if (latest->pending) {
        api_error(call->response, "ResourceConflictException",
                  "The operation cannot be performed at this time. The function is currently in the "
                  "following state: "
                  "Pending");
        return false;
    }
    if (latest->update != STORE_UPDATE_IN_PROGRESS)
        return true;
    api_error(call->response, "ResourceConflictException",
              "The operation cannot be performed at this time. An update is in progress for resource: %s",
              arn_of(call->api, function->name, "", &arn));
    return false;
}

/* What a version was made of and $LATEST now are the same, but for when. */
static bool is_unchanged(const cJSON *latest, const struct store_version *version)
{
    cJSON *now = cJSON_Duplicate(latest, 1), *then = cJSON_Parse(version->document);
    const char *description = call_text(latest, "Description");
    bool same;

    cJSON_DeleteItemFromObjectCaseSensitive(now, "LastModified");
    cJSON_DeleteItemFromObjectCaseSensitive(then, "LastModified");
    cJSON_DeleteItemFromObjectCaseSensitive(now, "Description");
    cJSON_DeleteItemFromObjectCaseSensitive(then, "Description");
    same = now && then && cJSON_Compare(now, then, 1) && text_equal(description, version->origin_description);
    cJSON_Delete(now);
    cJSON_Delete(then);
    return same;
}

/* The document of a new version; NULL without memory. */
static char *document_with(cJSON *document, const char *description)
{
    if (description &&
        !cJSON_ReplaceItemInObjectCaseSensitive(document, "Description", cJSON_CreateString(description)))
        return NULL;
    return cJSON_PrintUnformatted(document);
}

static bool snap_start(const cJSON *document)
{
    return text_equal(call_text(call_member(document, "SnapStart"), "ApplyOn"), "PublishedVersions");
}

static bool publish_new(struct call *call, struct store_function *function, struct store_version *latest,
                        cJSON *document, const char *description, struct store_version *ret_version)
{
    struct store_version version = { .number = function->next_version++,
                                     .code = latest->code,
                                     /* Made together with code that is not there yet. */
                                     .pending =
                                         latest->pending || latest->update == STORE_UPDATE_IN_PROGRESS };
    const char *origin = call_text(document, "Description");

    version.snapshot = snap_start(document) ? STORE_SNAPSHOT_WANTED : STORE_SNAPSHOT_NONE;
    version.update = version.pending ? STORE_UPDATE_NONE : STORE_UPDATE_SUCCESSFUL;
    version.origin_description = strdup(origin ? origin : "");
    version.document = document_with(document, description);
    id_uuid(version.config_id);
    id_uuid(version.revision_id);
    id_uuid(latest->revision_id);
    if (!version.document || !version.origin_description ||
        store_version_put(call->store, function->id, &version, &call->err) < 0) {
        store_version_done(&version);
        return call_failed(call);
    }
    *ret_version = version;
    return true;
}

bool publish_latest(struct call *call, struct store_function *function, struct store_version *latest,
                    const char *description, struct store_version *ret_version)
{
    cJSON *document = cJSON_Parse(latest->document);
    struct store_version last;
    int found = document ? store_version_last(call->store, function->id, &last, &call->err) : -1;
    bool fine;

    if (found < 0) {
        cJSON_Delete(document);
        return call_failed(call);
    }
    if (found == 1 && is_unchanged(document, &last)) {
        cJSON_Delete(document);
        *ret_version = last;
        return true;
    }
    if (found == 1)
        store_version_done(&last);
    fine = publish_new(call, function, latest, document, description, ret_version);
    cJSON_Delete(document);
    return fine;
}

static bool code_matches(struct call *call, const struct store_version *latest)
{
    const char *given = call_text(call->body, "CodeSha256");
    cJSON *document;
    const char *current;
    bool same;

    if (!given || !given[0])
        return true;
    document = cJSON_Parse(latest->document);
    current = call_text(document, "CodeSha256");
    same = text_equal(given, current);
    if (!same)
        api_error(call->response, "InvalidParameterValueException",
                  "CodeSHA256 (%.128s) is different from current CodeSHA256 in $LATEST (%s). Please try "
                  "again with the "
                  "CodeSHA256 in $LATEST.",
                  given, current ? current : "");
    cJSON_Delete(document);
    return same;
}

static bool publish(struct call *call, struct store_function *function, struct store_version *latest)
{
    const char *description = call_text(call->body, "Description");
    int64_t before = function->next_version;
    struct store_version version = { 0 };
    char number[24];
    bool fine;

    if (!publish_latest(call, function, latest, description && description[0] ? description : NULL, &version))
        return false;
    fine = true;
    if (function->next_version != before) {
        if (store_version_put(call->store, function->id, latest, &call->err) < 0 ||
            store_function_save(call->store, function, &call->err) < 0)
            fine = call_failed(call);
        call_changed(call, function->name, false);
    }
    if (fine)
        fine = call_answer(call, 201,
                           view_configuration(call->api, function->name, &version,
                                              version_text(version.number, number), VIEW_FULL));
    store_version_done(&version);
    return fine;
}

bool publish_version(struct call *call)
{
    struct store_function function;
    struct store_version latest;
    bool fine;

    if (!find_function(call, "", &function))
        return false;
    if (!find_version(call, &function, "", &latest)) {
        store_function_done(&function);
        return false;
    }
    fine = latest_is_settled(call, &function, &latest) &&
           revision_matches(call, call_text(call->body, "RevisionId"), latest.revision_id) &&
           code_matches(call, &latest) && publish(call, &function, &latest);
    store_version_done(&latest);
    store_function_done(&function);
    return fine;
}
