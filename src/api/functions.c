#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_priv.h"
#include "api/own_tags.h"
#include "auth/credentials.h"
#include "auth/sigv4.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/text.h"

enum { CREATE_NAME_MAX = 64, LINK_SECONDS = 600, LINK_MAX_BYTES = 4096 };

void create_function_check(struct call *call)
{
    static const struct field fields[] = { { "FunctionName", FIELD_TEXT, true, NULL, 0, 0 } };
    const char *name = call_text(call->body, "FunctionName");

    check_fields(&call->check, call->body, "", fields, 1);
    if (name)
        (void)name_check(&call->check, API_NAME_FN140, name, NULL);
    settings_check(call, call->body, true);
}

static bool resolve_new_name(struct call *call)
{
    const char *given = call_text(call->body, "FunctionName");
    struct name_context context = { .config = &call->api->config,
                                    .operation = call->route->operation,
                                    .user_arn =
                                        call->request->principal ? call->request->principal->arn : "" };

    if (!name_resolve(&context, API_NAME_FN140, given, NULL, &call->reference, call->response))
        return false;
    if (strlen(call->reference.name) > CREATE_NAME_MAX) {
        api_error_untyped(
            call->response, "InvalidParameterValueException",
            "1 validation error detected: Value '%s' at 'functionName' failed to satisfy constraint: "
            "Member must have length less than or equal to %d",
            given, CREATE_NAME_MAX);
        return false;
    }
    if (call->reference.qualifier[0] && strcmp(call->reference.qualifier, "$LATEST") != 0) {
        api_error(call->response, "InvalidParameterValueException",
                  "A function cannot be created with a version or an alias in its name: %s", given);
        return false;
    }
    return true;
}

bool code_source_is_usable(struct call *call, const cJSON *code)
{
    struct api_response *response = call->response;

    if (call_member(code, "S3Bucket") || call_member(code, "S3Key")) {
        api_error(response, "InvalidParameterValueException",
                  "Irori cannot fetch code from S3 yet. Send the archive itself: as ZipFile in the API, with "
                  "--zip-file "
                  "fileb://FILE in the aws command line, or with `irori deploy`.");
        return false;
    }
    if (call_member(code, "ImageUri")) {
        api_error(response, "InvalidParameterValueException",
                  "Container images are not supported by Irori yet. Send the code as a zip archive.");
        return false;
    }
    if (call_member(code, "ZipFile") && !call_text(code, "ZipFile")) {
        api_error(response, "SerializationException", "Member ZipFile must be a string");
        return false;
    }
    if (!call_text(code, "ZipFile")) {
        api_error(response, "InvalidParameterValueException", "Please provide a source for function code.");
        return false;
    }
    return true;
}

static bool create_is_complete(struct call *call)
{
    const cJSON *body = call->body;
    const char *signing = call_text(body, "CodeSigningConfigArn");

    if (text_equal(call_text(body, "PackageType"), "Image")) {
        api_error(call->response, "InvalidParameterValueException",
                  "Container images are not supported by Irori yet. Use PackageType Zip.");
        return false;
    }
    if (signing) {
        api_error(
            call->response, "CodeSigningConfigNotFoundException",
            "The code signing configuration cannot be found. Check that the provided configuration is not "
            "deleted: %.256s.",
            signing);
        return false;
    }
    if (!code_source_is_usable(call, call_member(body, "Code")))
        return false;
    if (!call_text(body, "Runtime") || !call_text(body, "Handler")) {
        api_error(
            call->response, "InvalidParameterValueException",
            "Runtime and Handler are mandatory parameters for functions created with deployment packages.");
        return false;
    }
    return architectures_are_usable(call, body) && tags_fit(call, call_member(body, "Tags")) &&
           own_tags_are_fine(call, call_member(body, "Tags"));
}

static bool name_is_free(struct call *call)
{
    struct store_function function;
    int found = store_function_find(call->store, call->reference.name, &function, &call->err);

    if (found == 0)
        return true;
    if (found < 0)
        return call_failed(call);
    store_function_done(&function);
    api_error(call->response, "ResourceConflictException", "Function already exist: %s",
              call->reference.name);
    return false;
}

/* Before the archive is unpacked; run asks again. */
static bool name_seems_free(struct call *call)
{
    bool is_free;

    if (store_begin(call->store, &call->err) < 0)
        return call_failed(call);
    is_free = name_is_free(call);
    (void)store_end(call->store, false, NULL);
    return is_free;
}

bool create_function_prepare(struct call *call)
{
    const char *name = call->reference.name;

    if (!resolve_new_name(call) || !create_is_complete(call) || !name_seems_free(call))
        return false;
    call->document = settings_default(name);
    if (!call->document)
        return call_failed(call);
    if (!settings_apply(call, call->body, name, call->document) ||
        !settings_apply_tenancy(call, call->body, call->document) ||
        !call_take_code(call, cJSON_GetObjectItemCaseSensitive(call->body, "Code")))
        return false;
    settings_set_code(call->document, &call->package);
    settings_touch(call->document);
    return true;
}

static bool fill_latest(struct call *call, struct store_version *ret_latest)
{
    *ret_latest = (struct store_version){ .pending = true,
                                          .document = cJSON_PrintUnformatted(call->document),
                                          .code.size_bytes = call->package.size_bytes };
    if (!ret_latest->document)
        return call_failed(call);
    id_uuid(ret_latest->config_id);
    id_uuid(ret_latest->revision_id);
    (void)snprintf(ret_latest->code.sha256, sizeof ret_latest->code.sha256, "%s", call->package.sha256_hex);
    return true;
}

static bool add_function(struct call *call, struct store_function *ret_function)
{
    const cJSON *tags = call_member(call->body, "Tags");
    char *text = tags ? cJSON_PrintUnformatted(tags) : strdup("{}");
    int result;

    if (!text)
        return call_failed(call);
    result = store_function_add(call->store, call->reference.name, text, ret_function, &call->err);
    free(text);
    if (result < 0 && call->err.code == ERR_LIMIT) {
        api_error(call->response, "InvalidParameterValueException", "%s", call->err.text);
        return false;
    }
    return result == 0 || call_failed(call);
}

bool create_function(struct call *call)
{
    bool publish = cJSON_IsTrue(call_member(call->body, "Publish")), fine;
    struct store_function function = { 0 };
    struct store_version latest = { 0 }, version = { 0 };

    if (!name_is_free(call) || !add_function(call, &function))
        return false;
    fine = fill_latest(call, &latest);
    if (fine && publish)
        fine = publish_latest(call, &function, &latest, NULL, &version);
    if (fine && (store_version_put(call->store, function.id, &latest, &call->err) < 0 ||
                 store_function_save(call->store, &function, &call->err) < 0))
        fine = call_failed(call);
    if (fine) {
        fine = call_answer(
            call, 201,
            view_configuration(call->api, function.name, publish ? &version : &latest, "", VIEW_FULL));
        call_changed(call, function.name, true);
    }
    store_version_done(&latest);
    store_version_done(&version);
    store_function_done(&function);
    return fine;
}

/* "<scheme>://<host>/_irori/code/<digest>?X-Amz-..."; whoever has it may download, for ten minutes. */
static bool code_link(struct call *call, const char *sha256, struct buf *out)
{
    const struct api_config *config = &call->api->config;
    const char *after = config->endpoint ? strstr(config->endpoint, "://") : NULL;
    const char *host = call->request->host && call->request->host[0] ? call->request->host
                       : after                                       ? after + 3
                                                                     : "";
    struct sigv4_header header = { "Host", 4, host, strlen(host) };
    struct sigv4_request request = {
        .method = "GET", .method_len = 3, .query = "", .headers = &header, .header_count = 1
    };
    struct sigv4_key key = { 0 };
    char path[128];

    (void)snprintf(path, sizeof path, "/_irori/code/%s", sha256);
    request.path = path;
    request.path_len = strlen(path);
    (void)buf_printf(out, "%s://%s%s", config->scheme, host, path);
    if (config->credentials) {
        credentials_own(config->credentials, &key.access_key, &key.secret);
        (void)buf_putc(out, '?');
        if (sigv4_presign(&request, &key, config->region, "lambda", clock_wall_ms(), LINK_SECONDS, out) < 0)
            return false;
    }
    return !out->failed;
}

static cJSON *function_answer(struct call *call, const struct store_function *function,
                              const struct store_version *version)
{
    AUTO_BUF struct buf link = BUF_INIT(LINK_MAX_BYTES);
    cJSON *answer = cJSON_CreateObject(), *code, *tags;
    const char *qualifier = call->reference.qualifier;

    (void)cJSON_AddItemToObject(answer, "Configuration",
                                view_configuration(call->api, function->name, version, qualifier, VIEW_FULL));
    code = cJSON_AddObjectToObject(answer, "Code");
    if (!code_link(call, version->code.sha256, &link) ||
        !cJSON_AddStringToObject(code, "RepositoryType", "S3") ||
        !cJSON_AddStringToObject(code, "Location", link.data)) {
        cJSON_Delete(answer);
        return NULL;
    }
    tags = qualifier[0] ? NULL : cJSON_Parse(function->tags);
    if (cJSON_GetArraySize(tags) > 0)
        (void)cJSON_AddItemToObject(answer, "Tags", tags);
    else
        cJSON_Delete(tags);
    if (function->reserved >= 0)
        (void)cJSON_AddNumberToObject(cJSON_AddObjectToObject(answer, "Concurrency"),
                                      "ReservedConcurrentExecutions", function->reserved);
    return answer;
}

static bool answer_version(struct call *call, bool whole)
{
    const char *qualifier = call->reference.qualifier;
    struct store_function function;
    struct store_version version;
    bool fine;

    if (!find_function(call, qualifier, &function))
        return false;
    fine = find_version(call, &function, qualifier, &version);
    if (fine) {
        /* A transition whose second half failed (a full disk) would last until the next start: whoever waits
         * for it tries again. */
        if (version.pending || version.update == STORE_UPDATE_IN_PROGRESS)
            call_changed(call, function.name, true);
        else if (version.snapshot == STORE_SNAPSHOT_WANTED)
            call_changed(call, function.name, false);
        fine =
            call_answer(call, 200,
                        whole ? function_answer(call, &function, &version)
                              : view_configuration(call->api, function.name, &version, qualifier, VIEW_FULL));
        store_version_done(&version);
    }
    store_function_done(&function);
    return fine;
}

bool get_function(struct call *call)
{
    return answer_version(call, true);
}

bool get_function_configuration(struct call *call)
{
    return answer_version(call, false);
}

bool get_code(struct call *call)
{
    int fd = code_open_archive(call->api->config.code_fd, call->label[0].data);

    if (fd < 0) {
        api_error(call->response, "ResourceNotFoundException", "This code does not exist (any more).");
        return false;
    }
    call->response->status = 200;
    call->response->content_type = "application/zip";
    call->response->file_fd = fd;
    return true;
}

static bool delete_whole(struct call *call, const struct store_function *function)
{
    if (store_function_remove(call->store, function->id, &call->err) < 0)
        return call_failed(call);
    collect_release(call);
    call_changed(call, function->name, false);
    return call_answer_empty(call);
}

static int note_alias(const struct store_alias *alias, void *ctx)
{
    struct buf *names = ctx;

    return buf_printf(names, "%s%s", names->len ? ", " : "", alias->name);
}

static bool delete_version(struct call *call, struct store_function *function, int64_t number)
{
    AUTO_BUF struct buf aliases = BUF_INIT(16384);
    struct store_version version;
    int found = store_version_find(call->store, function->id, number, &version, &call->err);

    if (found == 0)
        return call_answer_empty(call);
    if (found > 0)
        found =
            store_alias_each(call->store, function->id, "", number, 100, note_alias, &aliases, &call->err);
    if (found >= 0 && aliases.len > 0) {
        store_version_done(&version);
        api_error(call->response, "ResourceConflictException",
                  "Version %lld is used by an alias and cannot be deleted: [%s]", (long long)number,
                  aliases.data);
        return false;
    }
    if (found >= 0 &&
        (store_version_remove(call->store, function->id, number, &call->err) < 0 ||
         store_policy_remove(call->store, function->id, call->reference.qualifier, &call->err) < 0 ||
         store_function_save(call->store, function, &call->err) < 0))
        found = -1;
    store_version_done(&version);
    if (found < 0)
        return call_failed(call);
    collect_release(call);
    call_changed(call, function->name, false);
    return call_answer_empty(call);
}

static bool delete_qualified(struct call *call, struct store_function *function)
{
    const char *qualifier = call->reference.qualifier;
    uint64_t number;

    if (strcmp(qualifier, "$LATEST") == 0) {
        api_error(call->response, "InvalidParameterValueException",
                  "$LATEST version cannot be deleted without deleting the function.");
        return false;
    }
    if (!match_digits(qualifier)) {
        api_error(call->response, "InvalidParameterValueException",
                  "Deletion of aliases is not currently supported.");
        return false;
    }
    if (!text_to_u64(qualifier, strlen(qualifier), INT64_MAX, &number) || number == 0)
        return call_answer_empty(call);
    return delete_version(call, function, (int64_t)number);
}

bool delete_function(struct call *call)
{
    struct store_function function;
    bool fine;

    if (!find_function(call, "", &function))
        return false;
    fine = call->reference.qualifier[0] ? delete_qualified(call, &function) : delete_whole(call, &function);
    store_function_done(&function);
    return fine;
}
