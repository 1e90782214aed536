#include <stdio.h>
#include <string.h>

#include "api/api_priv.h"
#include "base/text.h"
#include "model/runtime_version.h"

const char *version_text(int64_t number, char out[24])
{
    if (number == 0)
        return "$LATEST";
    (void)snprintf(out, 24, "%lld", (long long)number);
    return out;
}

static void add_state(cJSON *view, const struct store_version *version)
{
    static const char reason[] = "The function is being created.";
    bool pending = version->pending || version->snapshot == STORE_SNAPSHOT_WANTED;
    bool failed = version->snapshot == STORE_SNAPSHOT_FAILED;

    (void)cJSON_AddStringToObject(view, "State", pending ? "Pending" : failed ? "Failed" : "Active");
    if (failed && !pending) {
        (void)cJSON_AddStringToObject(view, "StateReason",
                                      version->snapshot_reason ? version->snapshot_reason : "");
        (void)cJSON_AddStringToObject(view, "StateReasonCode", "FunctionError");
    }
    if (pending) {
        (void)cJSON_AddStringToObject(view, "StateReason", reason);
        (void)cJSON_AddStringToObject(view, "StateReasonCode", "Creating");
    } else if (version->update == STORE_UPDATE_IN_PROGRESS) {
        (void)cJSON_AddStringToObject(view, "LastUpdateStatus", "InProgress");
        (void)cJSON_AddStringToObject(view, "LastUpdateStatusReason", reason);
        (void)cJSON_AddStringToObject(view, "LastUpdateStatusReasonCode", "Creating");
    } else {
        (void)cJSON_AddStringToObject(view, "LastUpdateStatus", "Successful");
    }
}

static void add_runtime_version(cJSON *view, const struct api *api, const char *runtime)
{
    AUTO_BUF struct buf arn = BUF_INIT(256);
    cJSON *config = cJSON_AddObjectToObject(view, "RuntimeVersionConfig");

    runtime_version_arn(runtime, api->config.region, &arn);
    if (!arn.failed)
        (void)cJSON_AddStringToObject(config, "RuntimeVersionArn", arn.data);
}

cJSON *view_configuration(const struct api *api, const char *name, const struct store_version *version,
                          const char *qualifier, enum view_kind kind)
{
    cJSON *view = cJSON_CreateObject(), *document = cJSON_Parse(version->document), *item;
    AUTO_BUF struct buf arn = { 0 };
    const char *runtime;
    char number[24];

    if (!view || !document) {
        cJSON_Delete(view);
        cJSON_Delete(document);
        return NULL;
    }
    (void)cJSON_AddStringToObject(view, "FunctionName", name);
    (void)cJSON_AddStringToObject(view, "FunctionArn", arn_of(api, name, qualifier, &arn));
    while ((item = cJSON_DetachItemFromArray(document, 0)))
        (void)cJSON_AddItemToObject(view, item->string, item);
    cJSON_Delete(document);
    if (version->snapshot != STORE_SNAPSHOT_NONE)
        (void)cJSON_ReplaceItemInObjectCaseSensitive(cJSON_GetObjectItemCaseSensitive(view, "SnapStart"),
                                                     "OptimizationStatus", cJSON_CreateString("On"));
    (void)cJSON_AddStringToObject(view, "Version", version_text(version->number, number));
    (void)cJSON_AddStringToObject(view, "RevisionId", version->revision_id);
    if (kind == VIEW_LIST)
        return view;
    add_state(view, version);
    runtime = call_text(view, "Runtime");
    if (runtime)
        add_runtime_version(view, api, runtime);
    return view;
}
