#include <ctype.h>
#include <string.h>

#include "api/api_priv.h"
#include "base/text.h"

#define FN15 "/2015-03-31/functions"

/* clang-format off */
enum {
    FN256Q = ROUTE_FN256 | ROUTE_QUALIFIER,
    URLQ = ROUTE_URL | ROUTE_QUALIFIER,
    FN140U = ROUTE_FN140 | ROUTE_UNQUALIFIED,
    CHANGE = ROUTE_BODY | ROUTE_WRITE,
};
/* An operation without functions is AWS's and not ours yet: its name goes into the error. */
const struct route routes[] = {
    { "POST",   FN15,                          "CreateFunction", CHANGE | ROUTE_UPLOAD | ROUTE_STORES, create_function_check, create_function_prepare, create_function },
    { "GET",    FN15,                          "ListFunctions", 0, list_functions_check, NULL, list_functions },
    { "GET",    FN15 "/{}",                    "GetFunction", FN256Q, NULL, NULL, get_function },
    { "DELETE", FN15 "/{}",                    "DeleteFunction", FN256Q | ROUTE_WRITE, NULL, NULL, delete_function },
    { "GET",    FN15 "/{}/configuration",      "GetFunctionConfiguration", FN256Q, NULL, NULL, get_function_configuration },
    { "PUT",    FN15 "/{}/configuration",      "UpdateFunctionConfiguration", FN140U | CHANGE, update_function_configuration_check, NULL, update_function_configuration },
    { "PUT",    FN15 "/{}/code",               "UpdateFunctionCode", FN140U | CHANGE | ROUTE_UPLOAD | ROUTE_STORES, update_function_code_check, update_function_code_prepare, update_function_code },
    { "POST",   FN15 "/{}/versions",           "PublishVersion", FN140U | CHANGE | ROUTE_STORES, publish_version_check, NULL, publish_version },
    { "GET",    FN15 "/{}/versions",           "ListVersionsByFunction", ROUTE_FN256, list_versions_check, NULL, list_versions },
    { "POST",   FN15 "/{}/aliases",            "CreateAlias", FN140U | CHANGE, create_alias_check, NULL, create_alias },
    { "GET",    FN15 "/{}/aliases",            "ListAliases", ROUTE_FN140, list_aliases_check, NULL, list_aliases },
    { "GET",    FN15 "/{}/aliases/{}",         "GetAlias", ROUTE_FN140, alias_name_check, NULL, get_alias },
    { "PUT",    FN15 "/{}/aliases/{}",         "UpdateAlias", FN140U | CHANGE, update_alias_check, NULL, update_alias },
    { "DELETE", FN15 "/{}/aliases/{}",         "DeleteAlias", FN140U | ROUTE_WRITE, alias_name_check, NULL, delete_alias },
    { "POST",   FN15 "/{}/policy",             "AddPermission", FN256Q | CHANGE, add_permission_check, NULL, add_permission },
    { "GET",    FN15 "/{}/policy",             "GetPolicy", FN256Q, NULL, NULL, get_policy },
    { "DELETE", FN15 "/{}/policy/{}",          "RemovePermission", FN256Q | ROUTE_WRITE, remove_permission_check, NULL, remove_permission },
    { "PUT",    "/2017-10-31/functions/{}/concurrency", "PutFunctionConcurrency", ROUTE_FN140 | CHANGE, put_concurrency_check, NULL, put_concurrency },
    { "DELETE", "/2017-10-31/functions/{}/concurrency", "DeleteFunctionConcurrency", ROUTE_FN140 | ROUTE_WRITE, NULL, NULL, delete_concurrency },
    { "GET",    "/2019-09-30/functions/{}/concurrency", "GetFunctionConcurrency", ROUTE_FN140, NULL, NULL, get_concurrency },
    { "POST",   "/2021-10-31/functions/{}/url", "CreateFunctionUrlConfig", URLQ | CHANGE, create_url_check, NULL, create_url },
    { "GET",    "/2021-10-31/functions/{}/url", "GetFunctionUrlConfig", URLQ, NULL, NULL, get_url },
    { "PUT",    "/2021-10-31/functions/{}/url", "UpdateFunctionUrlConfig", URLQ | CHANGE, update_url_check, NULL, update_url },
    { "DELETE", "/2021-10-31/functions/{}/url", "DeleteFunctionUrlConfig", URLQ | ROUTE_WRITE, NULL, NULL, delete_url },
    { "GET",    "/2021-10-31/functions/{}/urls", "ListFunctionUrlConfigs", ROUTE_URL, list_urls_check, NULL, list_urls },
    { "POST",   "/2017-03-31/tags/{}",         "TagResource", CHANGE, tag_resource_check, NULL, tag_resource },
    { "DELETE", "/2017-03-31/tags/{}",         "UntagResource", ROUTE_WRITE, untag_resource_check, NULL, untag_resource },
    { "GET",    "/2017-03-31/tags/{}",         "ListTags", 0, list_tags_check, NULL, list_tags },
    { "GET",    "/2016-08-19/account-settings", "GetAccountSettings", 0, NULL, NULL, get_account_settings },
    { "GET",    "/2020-06-30/functions/{}/code-signing-config", "GetFunctionCodeSigningConfig", ROUTE_FN256, NULL, NULL, get_code_signing_config },
    { "GET",    "/2024-08-31/functions/{}/recursion-config", "GetFunctionRecursionConfig", FN140U, NULL, NULL, get_recursion_config },
    { "PUT",    "/2024-08-31/functions/{}/recursion-config", "PutFunctionRecursionConfig", FN140U | CHANGE, put_recursion_config_check, NULL, put_recursion_config },
    { "GET",    "/2021-07-20/functions/{}/runtime-management-config", "GetRuntimeManagementConfig", FN256Q, NULL, NULL, get_runtime_management_config },
    { "GET",    "/_irori/code/{}",             "GetFunction", 0, NULL, get_code, NULL },
    { "PUT",    "/2021-07-20/functions/{}/runtime-management-config", "PutRuntimeManagementConfig", 0, NULL, NULL, NULL },
    { "PUT",    "/2020-06-30/functions/{}/code-signing-config", "PutFunctionCodeSigningConfig", 0, NULL, NULL, NULL },
    { "DELETE", "/2020-06-30/functions/{}/code-signing-config", "DeleteFunctionCodeSigningConfig", 0, NULL, NULL, NULL },
    { "PUT",    "/2019-09-30/functions/{}/provisioned-concurrency", "PutProvisionedConcurrencyConfig", 0, NULL, NULL, NULL },
    { "GET",    "/2019-09-30/functions/{}/provisioned-concurrency", "GetProvisionedConcurrencyConfig", 0, NULL, NULL, NULL },
    { "DELETE", "/2019-09-30/functions/{}/provisioned-concurrency", "DeleteProvisionedConcurrencyConfig", 0, NULL, NULL, NULL },
    { "PUT",    "/2019-09-25/functions/{}/event-invoke-config", "PutFunctionEventInvokeConfig", 0, NULL, NULL, NULL },
    { "POST",   "/2019-09-25/functions/{}/event-invoke-config", "UpdateFunctionEventInvokeConfig", 0, NULL, NULL, NULL },
    { "GET",    "/2019-09-25/functions/{}/event-invoke-config", "GetFunctionEventInvokeConfig", 0, NULL, NULL, NULL },
    { "DELETE", "/2019-09-25/functions/{}/event-invoke-config", "DeleteFunctionEventInvokeConfig", 0, NULL, NULL, NULL },
    { "GET",    "/2019-09-25/functions/{}/event-invoke-config/list", "ListFunctionEventInvokeConfigs", 0, NULL, NULL, NULL },
    { "POST",   "/2015-03-31/event-source-mappings", "CreateEventSourceMapping", 0, NULL, NULL, NULL },
    { "GET",    "/2015-03-31/event-source-mappings", "ListEventSourceMappings", 0, NULL, NULL, NULL },
    { "GET",    "/2015-03-31/event-source-mappings/{}", "GetEventSourceMapping", 0, NULL, NULL, NULL },
    { "PUT",    "/2015-03-31/event-source-mappings/{}", "UpdateEventSourceMapping", 0, NULL, NULL, NULL },
    { "DELETE", "/2015-03-31/event-source-mappings/{}", "DeleteEventSourceMapping", 0, NULL, NULL, NULL },
    { "GET",    "/2018-10-31/layers",          "ListLayers", 0, NULL, NULL, NULL },
    { "POST",   "/2018-10-31/layers/{}/versions", "PublishLayerVersion", 0, NULL, NULL, NULL },
    { "GET",    "/2018-10-31/layers/{}/versions", "ListLayerVersions", 0, NULL, NULL, NULL },
    { "GET",    "/2018-10-31/layers/{}/versions/{}", "GetLayerVersion", 0, NULL, NULL, NULL },
    { "DELETE", "/2018-10-31/layers/{}/versions/{}", "DeleteLayerVersion", 0, NULL, NULL, NULL },
    { "POST",   "/2014-11-13/functions/{}/invoke-async", "InvokeAsync", 0, NULL, NULL, NULL },
    { "POST",   "/2021-11-15/functions/{}/response-streaming-invocations", "InvokeWithResponseStream", 0, NULL, NULL, NULL },
};
/* clang-format on */
const size_t route_count = sizeof routes / sizeof routes[0];

enum { UPLOAD_MAX_BYTES = 70167211, BODY_MAX_BYTES = 1048576, LABEL_MAX_BYTES = 12288 };

struct label {
    const char *text;
    size_t len;
};

/* Follows template and path together; labels may be NULL. */
static bool path_matches(const char *pattern, const char *path, size_t len, struct label *labels)
{
    const char *end = path + len;
    size_t count = 0;

    while (*pattern) {
        if (pattern[0] == '{') {
            const char *stop = memchr(path, '/', (size_t)(end - path));

            if (!stop)
                stop = end;
            if (stop == path)
                return false;
            if (labels)
                labels[count++] = (struct label){ path, (size_t)(stop - path) };
            path = stop;
            pattern += 2;
        } else if (path < end && *path == *pattern) {
            path++;
            pattern++;
        } else {
            return false;
        }
    }
    return path == end || (end - path == 1 && *path == '/');
}

static bool decode_labels(struct call *call, const struct label *labels)
{
    for (size_t i = 0; i < CALL_LABELS && labels[i].text; i++) {
        call->label[i] = BUF_INIT(LABEL_MAX_BYTES);
        if (text_percent_decode(labels[i].text, labels[i].len, false, &call->label[i]) < 0 ||
            strlen(call->label[i].data) != call->label[i].len ||
            !text_is_utf8(call->label[i].data, call->label[i].len))
            return false;
    }
    return true;
}

bool route_find(struct call *call)
{
    const struct api_request *request = call->request;

    for (size_t i = 0; i < route_count; i++) {
        struct label labels[CALL_LABELS] = { 0 };

        if (strcmp(routes[i].method, request->method) != 0 ||
            !path_matches(routes[i].path, request->path, strlen(request->path), labels))
            continue;
        call->route = &routes[i];
        if (decode_labels(call, labels))
            return true;
        api_error(call->response, "ValidationException",
                  "The path is not valid: it holds a broken escape, a NUL or "
                  "bytes that are not UTF-8.");
        return false;
    }
    api_error(call->response, "UnknownOperationException", "There is no operation %.16s %.256s",
              request->method, request->path);
    return false;
}

/* "/20yy-mm-dd/" */
static bool is_dated(const char *path, size_t len)
{
    static const char shape[] = "/0000-00-00/";

    if (len < strlen(shape))
        return false;
    for (size_t i = 0; shape[i]; i++) {
        if (shape[i] == '0' ? !isdigit((unsigned char)path[i]) : path[i] != shape[i])
            return false;
    }
    return true;
}

bool api_is_route(const char *method, const char *path, size_t path_len)
{
    bool invoke = strcmp(method, "POST") == 0 &&
                  path_matches("/2015-03-31/functions/{}/invocations", path, path_len, NULL);

    return !invoke && (is_dated(path, path_len) || path_matches("/_irori/code/{}", path, path_len, NULL));
}

static const struct route *find_route(const char *method, size_t method_len, const char *path,
                                      size_t path_len)
{
    for (size_t i = 0; i < route_count; i++) {
        if (strlen(routes[i].method) == method_len && memcmp(routes[i].method, method, method_len) == 0 &&
            path_matches(routes[i].path, path, path_len, NULL))
            return &routes[i];
    }
    return NULL;
}

size_t api_body_limit(const char *method, size_t method_len, const char *path, size_t path_len)
{
    const struct route *route = find_route(method, method_len, path, path_len);

    return route && (route->flags & ROUTE_UPLOAD) ? UPLOAD_MAX_BYTES : BODY_MAX_BYTES;
}

const char *api_operation(const char *method, size_t method_len, const char *path, size_t path_len)
{
    const struct route *route = find_route(method, method_len, path, path_len);

    return route ? route->operation : NULL;
}
