#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_priv.h"
#include "api/own_tags.h"
#include "auth/policy.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "model/function.h"

/* Builds what the data plane knows of a function from its rows. Any failure drops the whole picture. */

struct build {
    struct api *api;
    const struct store_function *row;
    struct function *function; /* owned */
    bool clean;
    struct err *err;
};

static int out_of_memory(struct build *build)
{
    return err_set(build->err, ERR_SYSTEM, ENOMEM, "cannot build the picture of %s", build->row->name);
}

/* Copies text, "" for NULL. */
static bool copy_text(char **to, const char *text)
{
    *to = strdup(text ? text : "");
    return *to != NULL;
}

/* Makes room for one more element of an array that grows by one; NULL without memory. The new element is
 * zeroed. */
static void *grow(void *array_at, size_t *count, size_t size)
{
    void **array = array_at;
    char *larger = realloc(*array, (*count + 1) * size);

    if (!larger)
        return NULL;
    *array = larger;
    memset(larger + *count * size, 0, size);
    return larger + (*count)++ * size;
}

static unsigned number_of(const cJSON *object, const char *member)
{
    const cJSON *item = call_member(object, member);

    return cJSON_IsNumber(item) && item->valuedouble > 0 ? (unsigned)item->valuedouble : 0;
}

static bool copy_variables(struct fn_version *version, const cJSON *document)
{
    const cJSON *item, *variables = call_member(call_member(document, "Environment"), "Variables");

    cJSON_ArrayForEach(item, variables)
    {
        struct env_var *variable;

        if (item->string[0] == '_')
            continue; /* never passed */
        variable = grow(&version->vars, &version->var_count, sizeof *version->vars);
        if (!variable || !copy_text(&variable->name, item->string) ||
            !copy_text(&variable->value, item->valuestring))
            return false;
    }
    return true;
}

static bool copy_logging(struct fn_version *version, const cJSON *document)
{
    const cJSON *logging = call_member(document, "LoggingConfig");

    version->log_format =
        text_equal(call_text(logging, "LogFormat"), "JSON") ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT;
    return copy_text(&version->application_log_level, call_text(logging, "ApplicationLogLevel")) &&
           copy_text(&version->system_log_level, call_text(logging, "SystemLogLevel")) &&
           copy_text(&version->log_group, call_text(logging, "LogGroup"));
}

/* An environment of the one kind is none of the other. */
static bool copy_config_id(struct fn_version *version, const char *config_id)
{
    char text[STORE_UUID_BYTES + 8];

    (void)snprintf(text, sizeof text, "%s%s", config_id, version->clean ? "+clean" : "");
    return copy_text(&version->config_id, text);
}

static bool fill_version(struct build *build, struct fn_version *version, const struct store_version *row,
                         const cJSON *document)
{
    char number[24];

    version->uid_index = build->row->uid_index;
    version->memory_mb = number_of(document, "MemorySize");
    version->timeout_s = number_of(document, "Timeout");
    version->tmp_mb = number_of(call_member(document, "EphemeralStorage"), "Size");
    version->clean = build->clean;
    version->snap_start = row->snapshot != STORE_SNAPSHOT_NONE;
    version->snapshot_pending = row->snapshot == STORE_SNAPSHOT_WANTED;
    version->snapshot_failed = row->snapshot == STORE_SNAPSHOT_FAILED;
    version->per_tenant =
        text_equal(call_text(call_member(document, "TenancyConfig"), "TenantIsolationMode"), "PER_TENANT");
    version->tracing_active = text_equal(call_text(call_member(document, "TracingConfig"), "Mode"), "Active");
    return copy_text(&version->function_name, build->row->name) &&
           copy_text(&version->version, version_text(row->number, number)) &&
           copy_text(&version->runtime, call_text(document, "Runtime")) &&
           copy_text(&version->handler, call_text(document, "Handler")) &&
           copy_text(&version->role, call_text(document, "Role")) &&
           copy_text(&version->code_sha256, row->serving ? row->serving_code : row->code.sha256) &&
           copy_config_id(version, row->serving ? row->serving_config_id : row->config_id) &&
           copy_variables(version, document) && copy_logging(version, document);
}

static int add_version(const struct store_version *row, void *ctx)
{
    struct build *build = ctx;
    struct function *function = build->function;
    struct fn_version *version = fn_version_new(), **slot;
    cJSON *document = cJSON_Parse(row->serving ? row->serving : row->document);
    bool fine = version && document && fill_version(build, version, row, document);

    cJSON_Delete(document);
    if (fine && row->number == 0) {
        function->latest = version;
        function->pending = row->pending && build->row->settling == 0;
        return 0;
    }
    slot = fine ? grow(&function->versions, &function->version_count, sizeof(struct fn_version *)) : NULL;
    if (!slot) {
        (void)fn_version_unref(version);
        return out_of_memory(build);
    }
    *slot = version;
    return 0;
}

static struct fn_version *version_ref(const struct function *function, int64_t number)
{
    char text[24];

    return fn_version_ref(function_version(function, version_text(number, text)));
}

static int add_alias(const struct store_alias *row, void *ctx)
{
    struct build *build = ctx;
    struct function *function = build->function;
    struct fn_alias *alias = grow(&function->aliases, &function->alias_count, sizeof *function->aliases);

    if (!alias || !copy_text(&alias->name, row->name))
        return out_of_memory(build);
    alias->primary = version_ref(function, row->version);
    if (row->routing_version >= 0) {
        alias->secondary = version_ref(function, row->routing_version);
        alias->secondary_weight = row->routing_weight;
    }
    return alias->primary ? 0
                          : err_set(build->err, ERR_SYSTEM, 0, "alias %s of %s points to no version",
                                    row->name, build->row->name);
}

/* NULL for an absent list. */
static bool copy_list(char ***to, const cJSON *list)
{
    const cJSON *item;
    size_t count = 0;

    if (!list)
        return true;
    *to = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof **to);
    if (!*to)
        return false;
    cJSON_ArrayForEach(item, list)
    {
        if (!copy_text(&(*to)[count++], item->valuestring))
            return false;
    }
    return true;
}

static bool copy_cors(struct fn_url *url, const char *text)
{
    cJSON *json;
    struct fn_cors *cors;
    bool fine;

    if (!text)
        return true;
    cors = url->cors = calloc(1, sizeof *cors);
    json = cJSON_Parse(text);
    fine = cors && json && copy_list(&cors->allow_origins, call_member(json, "AllowOrigins")) &&
           copy_list(&cors->allow_methods, call_member(json, "AllowMethods")) &&
           copy_list(&cors->allow_headers, call_member(json, "AllowHeaders")) &&
           copy_list(&cors->expose_headers, call_member(json, "ExposeHeaders"));
    if (fine) {
        cors->allow_credentials = cJSON_IsTrue(call_member(json, "AllowCredentials"));
        cors->max_age_s = number_of(json, "MaxAge");
    }
    cJSON_Delete(json);
    return fine;
}

static int add_url(const struct store_url *row, void *ctx)
{
    struct build *build = ctx;
    struct function *function = build->function;
    struct fn_url *url = grow(&function->urls, &function->url_count, sizeof *function->urls);

    if (!url || !copy_text(&url->url_id, row->url_id) ||
        (row->qualifier[0] && !copy_text(&url->qualifier, row->qualifier)) || !copy_cors(url, row->cors))
        return out_of_memory(build);
    url->auth = strcmp(row->auth, "NONE") == 0 ? URL_AUTH_NONE : URL_AUTH_IAM;
    url->streaming = strcmp(row->mode, "RESPONSE_STREAM") == 0;
    return 0;
}

static int add_policy(const struct store_policy *row, void *ctx)
{
    struct build *build = ctx;
    struct function *function = build->function;
    struct fn_policy *policy = grow(&function->policies, &function->policy_count, sizeof *function->policies);

    if (!policy || (row->qualifier[0] && !copy_text(&policy->qualifier, row->qualifier)))
        return out_of_memory(build);
    policy->document = policy_document(row);
    return policy->document ? 0 : out_of_memory(build);
}

/* Judged once here, not at every request. */
static void judge_urls(struct function *function, const char *arn)
{
    for (size_t i = 0; i < function->url_count; i++) {
        struct fn_url *url = &function->urls[i];
        const struct fn_policy *policy = function_policy(function, url->qualifier);
        AUTO_BUF struct buf resource = BUF_INIT(512);
        struct policy_question question = { .action = "lambda:InvokeFunctionUrl",
                                            .function_url_auth_type = "NONE" };

        (void)buf_printf(&resource, "%s%s%s", arn, url->qualifier ? ":" : "",
                         url->qualifier ? url->qualifier : "");
        question.resource = resource.data;
        url->open = url->auth == URL_AUTH_NONE && policy && resource.data &&
                    policy_allows(policy->document, &question);
    }
}

static int read_own_tags(struct build *build)
{
    AUTO_FREE char *state = NULL;
    int found = own_tag_find(build->row, "state", &state);

    if (found < 0 || own_tag_find(build->row, "tenant-header", &build->function->tenant_header) < 0)
        return out_of_memory(build);
    build->clean = text_equal(state, "clean");
    return 0;
}

static int fill(struct build *build)
{
    const struct store_function *row = build->row;
    struct function *function = build->function;
    struct store *store = build->api->store;
    AUTO_BUF struct buf arn = { 0 };
    int result;

    function->sequence = row->sequence;
    function->reserved_concurrency = row->reserved;
    if (!copy_text(&function->name, row->name) || !copy_text(&function->state_reason, "") ||
        !copy_text(&function->arn, arn_of(build->api, row->name, "", &arn)))
        return out_of_memory(build);
    if (read_own_tags(build) < 0)
        return -1;
    result = store_version_each(store, row->id, 0, SIZE_MAX >> 1, add_version, build, build->err);
    if (result == 0 && !function->latest)
        result = err_set(build->err, ERR_SYSTEM, 0, "function %s has no $LATEST", row->name);
    if (result == 0)
        result = store_alias_each(store, row->id, "", -1, SIZE_MAX >> 1, add_alias, build, build->err);
    if (result == 0)
        result = store_url_each(store, row->id, "", SIZE_MAX >> 1, add_url, build, build->err);
    if (result == 0)
        result = store_policy_each(store, row->id, add_policy, build, build->err);
    if (result == 0)
        judge_urls(function, function->arn);
    return result;
}

static struct function *build_gone(struct api *api, const char *name, struct err *err)
{
    struct function *function = function_new();
    AUTO_BUF struct buf arn = { 0 };

    if (function && store_sequence(api->store, &function->sequence, err) == 0 &&
        copy_text(&function->name, name) && copy_text(&function->state_reason, "") &&
        copy_text(&function->arn, arn_of(api, name, "", &arn))) {
        function->deleted = true;
        return function;
    }
    return function ? function_unref(function) : NULL;
}

struct function *picture_build(struct api *api, const char *name, struct err *err)
{
    struct store_function row;
    struct build build = { .api = api, .row = &row, .err = err };
    int found = store_function_find(api->store, name, &row, err);

    if (found == 0)
        return build_gone(api, name, err);
    if (found < 0)
        return NULL;
    build.function = function_new();
    if (!build.function || fill(&build) < 0)
        build.function = build.function ? function_unref(build.function) : NULL;
    store_function_done(&row);
    return build.function;
}
