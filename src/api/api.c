#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_priv.h"
#include "base/id.h"
#include "base/log.h"
#include "base/text.h"
#include "model/function.h"

enum { QUALIFIER_MAX_BYTES = 131072, BIG_BODY_BYTES = 1048576 };

static int collect_name(const char *name, void *ctx)
{
    struct buf *names = ctx;

    return buf_append(names, name, strlen(name) + 1);
}

/* All names, each with its NUL. */
static int all_names(struct api *api, struct buf *names, struct err *err)
{
    int result = store_begin(api->store, err), ended;

    if (result < 0)
        return result;
    result = store_function_names(api->store, "", false, SIZE_MAX >> 1, collect_name, names, err);
    if (result == -EMSGSIZE || result == -ENOMEM)
        (void)err_set(err, ERR_SYSTEM, -result, "cannot list the functions");
    ended = store_end(api->store, false, err);
    return result < 0 ? result : ended;
}

static int end_transition(struct api *api, struct store_function *function, struct err *err);

static int end_transition_of(struct api *api, const char *name, struct err *err)
{
    struct store_function function;
    int result = store_begin(api->store, err), ended;

    if (result < 0)
        return result;
    result = store_function_find(api->store, name, &function, err);
    if (result == 1) {
        result = end_transition(api, &function, err);
        store_function_done(&function);
    }
    ended = store_end(api->store, result >= 0, err);
    return result < 0 ? result : ended;
}

struct transition {
    struct api *api;
    struct store_function *function;
    bool changed;
    struct err *err;
};

static int end_version(const struct store_version *version, void *ctx)
{
    struct transition *transition = ctx;
    struct store_version next = *version;

    if (!version->pending && version->update != STORE_UPDATE_IN_PROGRESS && !version->serving)
        return 0;
    transition->changed = true;
    next.pending = false;
    next.update = STORE_UPDATE_SUCCESSFUL;
    next.serving = NULL;
    next.serving_config_id[0] = next.serving_code[0] = '\0';
    id_uuid(next.revision_id);
    return store_version_put(transition->api->store, transition->function->id, &next, transition->err);
}

/* Only $LATEST and the highest number can be on their way: both came with the last change. */
static int end_transition(struct api *api, struct store_function *function, struct err *err)
{
    struct transition transition = { .api = api, .function = function, .err = err };
    struct store_version version;
    int result = store_version_find(api->store, function->id, 0, &version, err);

    if (result == 1) {
        result = end_version(&version, &transition);
        store_version_done(&version);
    }
    if (result >= 0 && store_version_last(api->store, function->id, &version, err) == 1) {
        result = end_version(&version, &transition);
        store_version_done(&version);
    }
    if (result < 0 || (!transition.changed && function->settling == 0))
        return result;
    function->settling = 0;
    return store_function_save(api->store, function, err);
}

static int end_transitions(struct api *api, struct err *err)
{
    struct buf names = BUF_INIT((size_t)STORE_UID_INDEX_MAX * STORE_NAME_BYTES);
    int result = all_names(api, &names, err);

    for (size_t at = 0; result >= 0 && at < names.len; at += strlen(names.data + at) + 1)
        result = end_transition_of(api, names.data + at, err);
    buf_done(&names);
    return result;
}

int api_open(const struct api_config *config, struct api **ret_api, struct err *err)
{
    struct api *api = calloc(1, sizeof *api);
    int result;

    if (!api)
        return err_set(err, ERR_SYSTEM, ENOMEM, "cannot open the control API");
    api->config = *config;
    (void)pthread_rwlock_init(&api->uploads, NULL);
    result = store_open(config->data_fd, "irori.db", &api->store, err);
    if (result >= 0)
        result = end_transitions(api, err);
    if (result >= 0)
        result = collect_at_start(api, err);
    if (result < 0) {
        (void)api_free(api);
        return result;
    }
    *ret_api = api;
    return 0;
}

struct api *api_free(struct api *api)
{
    if (!api)
        return NULL;
    (void)store_free(api->store);
    (void)pthread_rwlock_destroy(&api->uploads);
    free(api);
    return NULL;
}

static bool is_blank(const char *at, const char *end)
{
    while (at < end && strchr(" \t\r\n", *at))
        at++;
    return at == end;
}

static bool parse_body(struct call *call)
{
    const struct api_request *request = call->request;
    const char *end = NULL, *stop = request->body ? request->body + request->body_len : NULL;

    if (!request->body || is_blank(request->body, stop)) {
        call->body = cJSON_CreateObject();
    } else if (text_is_utf8(request->body, request->body_len) &&
               !memchr(request->body, '\0', request->body_len)) {
        call->body = cJSON_ParseWithLengthOpts(request->body, request->body_len, &end, 0);
        if (!call->body || !is_blank(end, stop) || !cJSON_IsObject(call->body)) {
            api_error(call->response, "SerializationException",
                      "Could not parse request body into json: it is not one JSON object");
            return false;
        }
        return true;
    } else {
        api_error(call->response, "SerializationException",
                  "Could not parse request body into json: it is not valid UTF-8");
        return false;
    }
    return call->body ? true : call_failed(call);
}

static enum api_name_rule rule_of(const struct route *route)
{
    return route->flags & ROUTE_FN140   ? API_NAME_FN140
           : route->flags & ROUTE_FN256 ? API_NAME_FN256
                                        : API_NAME_URL;
}

static bool refuse_qualified(struct call *call)
{
    if (!(call->route->flags & ROUTE_UNQUALIFIED) || call->reference.qualifier[0] == '\0' ||
        strcmp(call->reference.qualifier, "$LATEST") == 0)
        return true;
    api_error(
        call->response, "InvalidParameterValueException",
        "This operation is permitted on Lambda functions only. Aliases and versions do not support this "
        "operation. Please specify either a function name or an unqualified function ARN.");
    return false;
}

/* Model validation of everything, then whose function it is. */
static bool check_all(struct call *call)
{
    const struct route *route = call->route;
    bool named = (route->flags & (ROUTE_FN140 | ROUTE_FN256 | ROUTE_URL)) != 0;
    struct buf qualifier = BUF_INIT(QUALIFIER_MAX_BYTES);
    const struct principal *principal = call->request->principal;
    struct name_context context = { .config = &call->api->config,
                                    .operation = route->operation,
                                    .user_arn = principal ? principal->arn : "anonymous" };
    const char *asked;
    bool fine;

    asked = (route->flags & ROUTE_QUALIFIER) && call_query(call, "Qualifier", 0, &qualifier) ? qualifier.data
                                                                                             : NULL;
    if (asked && strlen(asked) != qualifier.len)
        check_wrong_type(&call->check, "Qualifier", "free of NUL");
    if (named)
        (void)name_check(&call->check, rule_of(route), call->label[0].data, asked);
    if (route->check)
        route->check(call);
    fine = check_passes(&call->check, call->response);
    if (fine && named)
        fine = name_resolve(&context, rule_of(route), call->label[0].data, asked, &call->reference,
                            call->response) &&
               refuse_qualified(call);
    buf_done(&qualifier);
    return fine;
}

static void discard_changes(struct api_response *response)
{
    response->changed_count = 0;
    response->settle = false;
}

/* Asked when the change is made but not kept, so that it counts. */
static bool code_fits(struct call *call)
{
    struct store_usage usage;

    if (!(call->route->flags & ROUTE_STORES))
        return true;
    if (store_usage(call->store, NULL, &usage, &call->err) < 0)
        return call_failed(call);
    if (usage.code_bytes <= API_CODE_MAX_BYTES)
        return true;
    api_error(call->response, "CodeStorageExceededException", "Code storage limit exceeded.");
    return false;
}

/* One transaction: what the caller is told and what is stored agree, or neither happens. */
static void run_in_store(struct call *call)
{
    struct store *store = call->api->store;
    bool fine;

    if (store_begin(store, &call->err) < 0) {
        (void)call_failed(call);
        return;
    }
    fine = call_is_permitted(call) && call->route->run(call) && code_fits(call);
    if (store_end(store, fine && (call->route->flags & ROUTE_WRITE), &call->err) < 0 && fine) {
        buf_done(&call->response->body);
        (void)call_failed(call);
        fine = false;
    }
    if (!fine)
        discard_changes(call->response);
}

/* Slow work is not done for a caller who may not: asked once before it and, since policies change, once after
 * it. */
static bool prepare(struct call *call)
{
    bool permitted;

    if (!call->route->prepare)
        return true;
    if (store_begin(call->api->store, &call->err) < 0)
        return call_failed(call);
    permitted = call_is_permitted(call);
    (void)store_end(call->api->store, false, NULL);
    return permitted && call->route->prepare(call);
}

static bool body_fits(struct call *call)
{
    const struct api_request *request = call->request;
    size_t limit =
        api_body_limit(request->method, strlen(request->method), request->path, strlen(request->path));

    if (request->body_len <= limit)
        return true;
    api_error(call->response, "RequestEntityTooLargeException",
              "Request must be smaller than %zu bytes for the %s operation", limit, call->route->operation);
    return false;
}

static void handle(struct call *call)
{
    if (!route_find(call))
        return;
    if (!call->route->run && !call->route->prepare) {
        api_error(call->response, "UnknownOperationException", "%s is not supported by Irori yet.",
                  call->route->operation);
        return;
    }
    if (!body_fits(call))
        return;
    if ((call->route->flags & ROUTE_BODY) && !parse_body(call))
        return;
    if (!check_all(call) || !prepare(call))
        return;
    if (call->route->run)
        run_in_store(call);
}

void api_handle(struct api *api, const struct api_request *request, struct api_response *ret_response)
{
    struct call call = { .api = api, .store = api->store, .request = request, .response = ret_response };

    *ret_response = (struct api_response){ .file_fd = -1 };
    check_init(&call.check);
    handle(&call);
    check_done(&call.check);
    for (size_t i = 0; i < CALL_LABELS; i++)
        buf_done(&call.label[i]);
    cJSON_Delete(call.body);
    cJSON_Delete(call.document);
    /* An upload is a hundred times larger than all else we hold; the allocator would keep it. */
    if (request->body_len > BIG_BODY_BYTES)
        (void)malloc_trim(0);
    if (call.has_upload)
        (void)pthread_rwlock_unlock(&api->uploads);
}

int api_each(struct api *api, void (*each)(struct function *function, void *ctx), void *ctx, struct err *err)
{
    struct buf names = BUF_INIT((size_t)STORE_UID_INDEX_MAX * STORE_NAME_BYTES);
    int result = all_names(api, &names, err);

    for (size_t at = 0; result >= 0 && at < names.len; at += strlen(names.data + at) + 1) {
        struct function *function = api_picture(api, names.data + at);

        if (!function)
            result = err_set(err, ERR_SYSTEM, 0, "cannot read function %s", names.data + at);
        else
            each(function, ctx);
    }
    buf_done(&names);
    return result < 0 ? result : 0;
}

struct function *api_picture(struct api *api, const char *name)
{
    struct err err = { 0 };
    struct function *picture;

    if (store_begin(api->store, &err) < 0) {
        log_error("api: no picture function=%s error=\"%s\"", name, err.text);
        return NULL;
    }
    picture = picture_build(api, name, &err);
    (void)store_end(api->store, false, NULL);
    if (!picture)
        log_error("api: no picture function=%s error=\"%s\"", name, err.text);
    return picture;
}

static struct function *settle(struct api *api, const char *name, struct err *err)
{
    struct store_function function;
    struct store_version latest = { 0 };
    struct function *picture = NULL;
    int result = store_function_find(api->store, name, &function, err);

    if (result != 1)
        return NULL;
    result = store_version_find(api->store, function.id, 0, &latest, err);
    if (result == 1 && (latest.pending || latest.update == STORE_UPDATE_IN_PROGRESS)) {
        free(latest.serving);
        latest.serving = NULL;
        latest.serving_config_id[0] = latest.serving_code[0] = '\0';
        result = store_version_put(api->store, function.id, &latest, err);
        /* The save below takes the next number. */
        if (result == 0)
            result = store_sequence(api->store, &function.settling, err);
        function.settling++;
        if (result == 0)
            result = store_function_save(api->store, &function, err);
        if (result == 0)
            picture = picture_build(api, name, err);
    }
    store_version_done(&latest);
    store_function_done(&function);
    return picture;
}

struct function *api_settle(struct api *api, const char *name)
{
    struct err err = { 0 };
    struct function *picture;

    if (store_begin(api->store, &err) < 0) {
        log_error("api: cannot settle function=%s error=\"%s\"", name, err.text);
        return NULL;
    }
    picture = settle(api, name, &err);
    if (store_end(api->store, picture != NULL, &err) < 0)
        picture = function_unref(picture);
    if (!picture && err.text[0])
        log_error("api: cannot settle function=%s error=\"%s\"", name, err.text);
    return picture;
}

static int settled(struct api *api, const char *name, uint64_t sequence, struct err *err)
{
    struct store_function function;
    int result = store_function_find(api->store, name, &function, err);

    if (result != 1)
        return result;
    /* Deleted and made again meanwhile: not the one that was settled. */
    if (function.settling == sequence)
        result = end_transition(api, &function, err);
    store_function_done(&function);
    return result;
}

void api_settled(struct api *api, const char *name, uint64_t sequence)
{
    struct err err = { 0 };
    int result = store_begin(api->store, &err);

    if (result >= 0) {
        int ended;

        result = settled(api, name, sequence, &err);
        ended = store_end(api->store, result >= 0, &err);
        result = result < 0 ? result : ended;
    }
    if (result < 0)
        log_error("api: cannot settle function=%s error=\"%s\"", name, err.text);
}

static int end_snapshot(struct api *api, struct store_function *function, struct store_version *version,
                        const char *failure, struct err *err)
{
    version->snapshot = failure ? STORE_SNAPSHOT_FAILED : STORE_SNAPSHOT_DONE;
    version->snapshot_reason = failure ? strdup(failure) : NULL;
    if (failure && !version->snapshot_reason)
        return err_set(err, ERR_SYSTEM, ENOMEM, "state of version %lld", (long long)version->number);
    id_uuid(version->revision_id);
    if (store_version_put(api->store, function->id, version, err) < 0)
        return -1;
    return store_function_save(api->store, function, err);
}

static struct function *snapshot_tried(struct api *api, const char *name, const char *number,
                                       const char *config_id, const char *failure, struct err *err)
{
    struct store_function function;
    struct store_version version;
    struct function *picture = NULL;

    if (store_function_find(api->store, name, &function, err) != 1)
        return NULL;
    if (store_version_find(api->store, function.id, strtoll(number, NULL, 10), &version, err) == 1) {
        /* A function of the same name that was made meanwhile has other ids. */
        if (version.snapshot == STORE_SNAPSHOT_WANTED && text_starts(config_id, version.config_id) &&
            end_snapshot(api, &function, &version, failure, err) == 0)
            picture = picture_build(api, name, err);
        store_version_done(&version);
    }
    store_function_done(&function);
    return picture;
}

struct function *api_snapshot_tried(struct api *api, const char *name, const char *version,
                                    const char *config_id, const char *failure)
{
    struct err err = { 0 };
    struct function *picture = NULL;

    if (store_begin(api->store, &err) == 0) {
        picture = snapshot_tried(api, name, version, config_id, failure, &err);
        if (store_end(api->store, picture != NULL, &err) < 0)
            picture = function_unref(picture);
    }
    if (!picture && err.text[0])
        log_error("api: cannot note the state of function=%s version=%s error=\"%s\"", name, version,
                  err.text);
    return picture;
}
