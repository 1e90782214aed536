#include "runtime/runtime_api.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/blob.h"
#include "base/buf.h"
#include "base/text.h"
#include "http/server.h"

enum {
    PAYLOAD_MAX_BYTES = 6291556,        /* 6 MiB + 100: invoke spec, section 2 */
    SMALL_BODY_MAX_BYTES = 64 * 1024,   /* of calls that carry none or an error */
    CAUSE_BODY_MAX_BYTES = 1024 * 1024, /* of an error that is parsed: a tree takes many times the text */
    HEADER_MAX_BYTES = 64 * 1024,
    LARGE_HEADER_MAX_BYTES = 1536 * 1024, /* the X-Ray cause alone may be 1 MiB long */
    HEAD_TIMEOUT_MS = 30000,
    LINGER_BYTES = 64 << 20, /* of a response that is too large: its sender shall read the 413 */
    CONNECTIONS_MAX = 16,
    BACKLOG = 16,
    ID_MAX_BYTES = 64,
    CREDENTIALS_MAX_BYTES = 2048,
};

#define JSON_TYPE "Content-Type: application/json\r\n"

struct runtime_api {
    struct http_server *server;
    struct runtime_api_owner owner;
    enum runtime_state state;
    struct http_exchange *next;  /* the runtime waits in it, or in restore/next; NULL when it does not */
    struct http_exchange *large; /* its body may be large; NULL when none is on its way */
    struct http_exchange
        *cache; /* likewise, of what was compiled; beside the above, because it is sent at leisure */
    char request_id[ID_MAX_BYTES]; /* of the outstanding invocation; "" when there is none */
    struct buf event_headers;      /* of the outstanding invocation, formatted */
    struct blob *event_body;
    struct blob *wake; /* for the parked runtime; NULL once it has it */
    bool invoked;      /* an invocation was handed out */
    bool freed, muted;
};

static void reply_json(struct http_exchange *x, int status, const char *json)
{
    http_reply(x, status, JSON_TYPE, sizeof JSON_TYPE - 1, json, strlen(json), NULL, NULL);
}

static void reply_ok(struct http_exchange *x)
{
    reply_json(x, 202, "{\"status\":\"OK\"}\n");
}

static void reply_error(struct http_exchange *x, int status, const char *type, const char *message)
{
    char json[512];

    (void)snprintf(json, sizeof json, "{\"errorMessage\":\"%s\",\"errorType\":\"%s\"}\n", message, type);
    reply_json(x, status, json);
}

static void reply_transition(struct http_exchange *x, enum runtime_state from, enum runtime_call call)
{
    char message[256];

    (void)snprintf(
        message, sizeof message,
        "State transition from %s to %s failed for runtime. Error: State transition is not allowed",
        runtime_state_name(from), runtime_call_target(call));
    reply_error(x, 403, "InvalidStateTransition", message);
}

static void send_event(struct runtime_api *api)
{
    struct http_exchange *x = api->next;

    api->next = NULL;
    http_reply(x, 200, api->event_headers.data, api->event_headers.len, api->event_body->data,
               api->event_body->len, blob_release, blob_ref(api->event_body));
}

static void send_wake(struct runtime_api *api, struct http_exchange *x)
{
    static const char headers[] = JSON_TYPE "Irori-Wake: runtime\r\n";
    struct blob *wake = api->wake;

    api->wake = NULL;
    http_reply(x, 200, headers, sizeof headers - 1, wake->data, wake->len, blob_release, wake);
}

/* A client that lost its connection asks again; the newer one counts. */
static void wait_in(struct runtime_api *api, struct http_exchange *x)
{
    if (api->next)
        http_abort(api->next);
    api->next = x;
}

/* Once, at the end of INIT. */
static void note_code_cache(struct runtime_api *api, struct http_exchange *x)
{
    static const char used[] = "used ";
    const struct http_slice *value = http_request_header(http_exchange_request(x), "Irori-Code-Cache");
    void (*tell)(bool useful, void *ctx) = api->owner.on_code_cache_used;

    api->owner.on_code_cache_used = NULL;
    if (tell && value)
        tell(value->len > sizeof used - 1 && memcmp(value->at, used, sizeof used - 1) == 0, api->owner.ctx);
}

static void handle_next(struct runtime_api *api, struct http_exchange *x)
{
    if (api->wake) {
        send_wake(api, x);
        return;
    }
    if (api->state == RUNTIME_STARTED)
        note_code_cache(api, x);
    if (!runtime_step(&api->state, RUNTIME_CALL_NEXT)) {
        reply_transition(x, api->state, RUNTIME_CALL_NEXT);
        return;
    }
    wait_in(api, x);
    if (api->state == RUNTIME_RUNNING)
        send_event(api);
    api->owner.on_next(api->owner.ctx);
}

static void reply_unknown(struct http_exchange *x)
{
    reply_error(x, 404, "NotFound", "No such path in this version of the Runtime API");
}

static void handle_restore_next(struct runtime_api *api, struct http_exchange *x)
{
    if (!api->owner.on_restore_next) {
        reply_unknown(x);
        return;
    }
    if (!runtime_step(&api->state, RUNTIME_CALL_RESTORE_NEXT)) {
        reply_transition(x, api->state, RUNTIME_CALL_RESTORE_NEXT);
        return;
    }
    wait_in(api, x);
    api->owner.on_restore_next(api->owner.ctx);
}

int runtime_api_restored(struct runtime_api *api, const char *wake)
{
    static const char headers[] = JSON_TYPE "Irori-Wake: function\r\n";
    struct blob *body = wake ? blob_new(wake, strlen(wake)) : NULL;
    struct http_exchange *x = api->next;

    if (wake && !body)
        return -ENOMEM;
    if (!x || !runtime_step(&api->state, RUNTIME_CALL_RESTORED)) {
        (void)blob_unref(body);
        return -EBUSY;
    }
    api->next = NULL;
    if (body)
        http_reply(x, 200, headers, sizeof headers - 1, body->data, body->len, blob_release, body);
    else
        http_reply(x, 200, "", 0, "", 0, NULL, NULL);
    return 0;
}

void runtime_map_error_type(const char *value, size_t len, char *out)
{
    static const char *const roots[] = { "Runtime.", "Function." };

    (void)snprintf(out, 128, "%s",
                   len >= 9 && memcmp(value, "Function.", 9) == 0 ? "Function.Unknown" : "Runtime.Unknown");
    if (len == 0 || len > 127) {
        if (len == 0)
            out[0] = '\0';
        return;
    }
    for (size_t at = 0; at < len; at++) {
        for (size_t r = 0; r < 2; r++) {
            size_t root = strlen(roots[r]);

            if (len - at >= root + 2 && memcmp(value + at, roots[r], root) == 0 &&
                isupper((unsigned char)value[at + root]) && isalpha((unsigned char)value[at + root + 1])) {
                memcpy(out, value, len);
                out[len] = '\0';
                return;
            }
        }
    }
}

static struct http_slice header(const struct http_request *request, const char *name)
{
    const struct http_slice *value = http_request_header(request, name);

    return value ? *value : (struct http_slice){ "", 0 };
}

static const struct http_slice *trailer(const struct http_request *request, const char *name)
{
    for (size_t i = 0; i < request->trailer_count; i++) {
        if (http_slice_equal_nocase(request->trailers[i].name, name))
            return &request->trailers[i].value;
    }
    return NULL;
}

/* A stream that broke off says so in its trailers; the error replaces what was sent (Runtime API spec, 2.2).
 */
static void apply_trailers(const struct http_request *request, struct runtime_result *result,
                           struct buf *decoded)
{
    const struct http_slice *type = trailer(request, "Lambda-Runtime-Function-Error-Type");
    const struct http_slice *body = trailer(request, "Lambda-Runtime-Function-Error-Body");

    if (!type || type->len == 0)
        return;
    result->outcome = RUNTIME_FAILED;
    runtime_map_error_type(type->at, type->len, result->error_type);
    if (body && text_base64_decode(body->at, body->len, decoded) == 0 && decoded->data) {
        result->body = decoded->data;
        result->body_len = decoded->len;
    }
}

static struct runtime_result result_of(const struct http_request *request, enum runtime_outcome outcome)
{
    struct http_slice type = header(request, "Content-Type");
    struct http_slice error_type = header(request, "Lambda-Runtime-Function-Error-Type");
    struct runtime_result result = {
        .outcome = outcome,
        .body = request->body ? request->body : "",
        .body_len = request->body_len,
        .content_type = type.at,
        .content_type_len = type.len,
    };

    runtime_map_error_type(error_type.at, error_type.len, result.error_type);
    return result;
}

static void outstanding_done(struct runtime_api *api)
{
    (void)runtime_step(&api->state, RUNTIME_CALL_ANSWERED);
    api->request_id[0] = '\0';
    api->event_body = blob_unref(api->event_body);
    buf_clear(&api->event_headers);
}

/* True when the call may go on; else it was answered. */
static bool check_id(struct runtime_api *api, struct http_exchange *x, struct http_slice id,
                     enum runtime_call call)
{
    if (api->state == RUNTIME_RUNNING && http_slice_equal(id, api->request_id))
        return true;
    if (api->state == RUNTIME_RUNNING)
        reply_error(x, 400, "InvalidRequestID", "Invalid request ID");
    else
        reply_transition(x, api->state, call);
    return false;
}

static void handle_response(struct runtime_api *api, struct http_exchange *x, struct http_slice id)
{
    const struct http_request *request = http_exchange_request(x);
    struct http_slice mode = header(request, "Lambda-Runtime-Function-Response-Mode");
    struct runtime_result result = result_of(request, RUNTIME_OK);
    AUTO_BUF struct buf decoded = BUF_INIT(PAYLOAD_MAX_BYTES);

    if (!check_id(api, x, id, RUNTIME_CALL_RESPONSE))
        return;
    (void)runtime_step(&api->state, RUNTIME_CALL_RESPONSE);
    if (mode.len > 0 && !http_slice_equal(mode, "streaming"))
        result.outcome = RUNTIME_BAD_MODE;
    else
        apply_trailers(request, &result, &decoded);
    outstanding_done(api);
    /* The caller waits, the runtime does not: the caller first. */
    api->owner.on_result(&result, api->owner.ctx);
    if (result.outcome == RUNTIME_BAD_MODE)
        reply_error(x, 400, "InvalidFunctionResponseMode", "Invalid function response mode");
    else
        reply_ok(x);
}

/* Takes "errorCause" out of the body of the special content type (Runtime API spec, 2.3). */
static void strip_error_cause(struct runtime_result *result, char **ret_owned)
{
    static const char special[] = "application/vnd.aws.lambda.error.cause+json";
    cJSON *json;

    if (!text_equal_nocase(result->content_type, result->content_type_len, special))
        return;
    json = result->body_len <= CAUSE_BODY_MAX_BYTES ? cJSON_ParseWithLength(result->body, result->body_len)
                                                    : NULL;
    if (cJSON_IsObject(json)) {
        cJSON_DeleteItemFromObjectCaseSensitive(json, "errorCause");
        *ret_owned = cJSON_PrintUnformatted(json);
    }
    cJSON_Delete(json);
    result->content_type = *ret_owned ? "application/json" : "application/octet-stream";
    result->content_type_len = strlen(result->content_type);
    result->body = *ret_owned ? *ret_owned : "Invalid error body";
    result->body_len = strlen(result->body);
}

static void handle_error(struct runtime_api *api, struct http_exchange *x, struct http_slice id)
{
    struct runtime_result result = result_of(http_exchange_request(x), RUNTIME_FAILED);
    char *owned = NULL;

    if (!check_id(api, x, id, RUNTIME_CALL_ERROR))
        return;
    (void)runtime_step(&api->state, RUNTIME_CALL_ERROR);
    strip_error_cause(&result, &owned);
    outstanding_done(api);
    api->owner.on_result(&result, api->owner.ctx);
    free(owned);
    reply_ok(x);
}

static void handle_start_error(struct runtime_api *api, struct http_exchange *x, enum runtime_call call)
{
    struct runtime_result result = result_of(http_exchange_request(x), RUNTIME_FAILED);

    if (!runtime_step(&api->state, call)) {
        reply_transition(x, api->state, call);
        return;
    }
    api->owner.on_init_error(&result, api->owner.ctx);
    reply_ok(x);
}

static void handle_credentials(struct runtime_api *api, struct http_exchange *x)
{
    static const char wrong[] = "cannot get credentials for the provided token";
    struct http_slice token = header(http_exchange_request(x), "Authorization");
    AUTO_BUF struct buf json = BUF_INIT(CREDENTIALS_MAX_BYTES);

    if (api->owner.on_credentials && api->owner.on_credentials(token.at, token.len, &json, api->owner.ctx) &&
        json.data)
        reply_json(x, 200, json.data);
    else if (api->owner.on_credentials)
        http_reply(x, 404, "Content-Type: text/plain\r\n", 26, wrong, sizeof wrong - 1, NULL, NULL);
    else
        reply_unknown(x);
}

/* Not before an invocation: nothing that INIT does is to be done for the sake of later ones. */
static bool takes_code_cache(const struct runtime_api *api)
{
    return api->owner.on_code_cache && api->invoked;
}

static void handle_code_cache(struct runtime_api *api, struct http_exchange *x)
{
    const struct http_request *request = http_exchange_request(x);
    void (*take)(const char *body, size_t len, void *ctx) = api->owner.on_code_cache;

    if (!takes_code_cache(api)) {
        reply_unknown(x);
        return;
    }
    api->owner.on_code_cache = NULL;
    reply_ok(x);
    take(request->body ? request->body : "", request->body_len, api->owner.ctx);
}

enum route {
    ROUTE_UNKNOWN,
    ROUTE_NEXT,
    ROUTE_RESPONSE,
    ROUTE_ERROR,
    ROUTE_INIT_ERROR,
    ROUTE_RESTORE_NEXT,
    ROUTE_RESTORE_ERROR,
    ROUTE_CREDENTIALS,
    ROUTE_CODE_CACHE,
    ROUTE_PING,
    ROUTE_METHOD
};

static bool take(struct http_slice *path, const char *text)
{
    size_t len = strlen(text);

    if (path->len < len || memcmp(path->at, text, len) != 0)
        return false;
    path->at += len;
    path->len -= len;
    return true;
}

static enum route route_of(const struct http_request *request, struct http_slice *ret_id)
{
    struct http_slice path = request->path;
    bool get = http_slice_equal(request->method, "GET"), post = http_slice_equal(request->method, "POST");
    const char *slash;

    if (http_slice_equal(path, "/2021-04-23/credentials"))
        return get ? ROUTE_CREDENTIALS : ROUTE_METHOD;
    if (http_slice_equal(path, "/irori/code-cache"))
        return http_slice_equal(request->method, "PUT") ? ROUTE_CODE_CACHE : ROUTE_METHOD;
    if (!take(&path, "/2018-06-01/"))
        return ROUTE_UNKNOWN;
    if (http_slice_equal(path, "ping"))
        return get ? ROUTE_PING : ROUTE_METHOD;
    if (http_slice_equal(path, "runtime/init/error"))
        return post ? ROUTE_INIT_ERROR : ROUTE_METHOD;
    if (http_slice_equal(path, "runtime/restore/next"))
        return get ? ROUTE_RESTORE_NEXT : ROUTE_METHOD;
    if (http_slice_equal(path, "runtime/restore/error"))
        return post ? ROUTE_RESTORE_ERROR : ROUTE_METHOD;
    if (!take(&path, "runtime/invocation/"))
        return ROUTE_UNKNOWN;
    if (http_slice_equal(path, "next"))
        return get ? ROUTE_NEXT : ROUTE_METHOD;
    slash = memchr(path.at, '/', path.len);
    if (!slash)
        return ROUTE_UNKNOWN;
    *ret_id = (struct http_slice){ path.at, (size_t)(slash - path.at) };
    path.len -= ret_id->len;
    path.at = slash;
    if (http_slice_equal(path, "/response"))
        return post ? ROUTE_RESPONSE : ROUTE_METHOD;
    if (http_slice_equal(path, "/error"))
        return post ? ROUTE_ERROR : ROUTE_METHOD;
    return ROUTE_UNKNOWN;
}

static void body_ended(struct runtime_api *api, const struct http_exchange *x)
{
    if (api->large == x)
        api->large = NULL;
    if (api->cache == x)
        api->cache = NULL;
}

static void on_request(struct http_exchange *x, void *ctx)
{
    struct runtime_api *api = ctx;
    struct http_slice id = { "", 0 };

    body_ended(api, x);
    if (api->muted) {
        http_abort(x);
        return;
    }
    switch (route_of(http_exchange_request(x), &id)) {
    case ROUTE_NEXT:
        handle_next(api, x);
        break;
    case ROUTE_RESPONSE:
        handle_response(api, x, id);
        break;
    case ROUTE_ERROR:
        handle_error(api, x, id);
        break;
    case ROUTE_INIT_ERROR:
        handle_start_error(api, x, RUNTIME_CALL_INIT_ERROR);
        break;
    case ROUTE_RESTORE_NEXT:
        handle_restore_next(api, x);
        break;
    case ROUTE_RESTORE_ERROR:
        handle_start_error(api, x, RUNTIME_CALL_RESTORE_ERROR);
        break;
    case ROUTE_CREDENTIALS:
        handle_credentials(api, x);
        break;
    case ROUTE_CODE_CACHE:
        handle_code_cache(api, x);
        break;
    case ROUTE_PING:
        http_reply(x, 200, "Content-Type: text/plain\r\n", 26, "pong", 4, NULL, NULL);
        break;
    case ROUTE_METHOD:
        reply_error(x, 405, "MethodNotAllowed", "Method not allowed");
        break;
    case ROUTE_UNKNOWN:
        reply_unknown(x);
        break;
    }
}

/* Only the answer that is awaited may be large, and only once at a time: a sandbox must not fill our memory.
 */
static size_t body_limit(struct http_exchange *x, void *ctx)
{
    struct runtime_api *api = ctx;
    struct http_slice id = { "", 0 };
    enum route route = route_of(http_exchange_request(x), &id);
    bool answer = (route == ROUTE_RESPONSE || route == ROUTE_ERROR) && api->state == RUNTIME_RUNNING &&
                  http_slice_equal(id, api->request_id);
    bool start_error =
        (route == ROUTE_INIT_ERROR && api->state == RUNTIME_STARTED) ||
        ((route == ROUTE_INIT_ERROR || route == ROUTE_RESTORE_ERROR) && api->state == RUNTIME_RESTORING);

    if (route == ROUTE_CODE_CACHE && takes_code_cache(api) && (!api->cache || api->cache == x)) {
        api->cache = x;
        return api->owner.code_cache_max_bytes;
    }
    if ((!answer && !start_error) || (api->large && api->large != x))
        return SMALL_BODY_MAX_BYTES;
    api->large = x;
    return PAYLOAD_MAX_BYTES;
}

/* A result that cannot be taken ends the invocation all the same. */
static void broken_result(struct runtime_api *api, struct http_exchange *x, enum runtime_outcome outcome)
{
    const struct http_request *request = http_exchange_request(x);
    struct http_slice id = { "", 0 };
    enum route route = route_of(request, &id);
    struct runtime_result result = { .outcome = outcome, .body = "", .content_type = "" };

    if ((route != ROUTE_RESPONSE && route != ROUTE_ERROR) || api->state != RUNTIME_RUNNING ||
        !http_slice_equal(id, api->request_id))
        return;
    (void)runtime_step(&api->state, RUNTIME_CALL_RESPONSE);
    outstanding_done(api);
    api->owner.on_result(&result, api->owner.ctx);
}

static void on_too_large(struct http_exchange *x, void *ctx)
{
    static const char json[] = "{\"errorMessage\":\"Exceeded maximum allowed payload size (6291556 bytes).\","
                               "\"errorType\":\"RequestEntityTooLarge\"}\n";

    body_ended(ctx, x);
    broken_result(ctx, x, RUNTIME_TOO_LARGE);
    http_reply_close(x, 413, JSON_TYPE, sizeof JSON_TYPE - 1, json, sizeof json - 1);
}

static void on_truncated(struct http_exchange *x, void *ctx)
{
    struct runtime_api *api = ctx;

    body_ended(api, x);
    if (!api->freed)
        broken_result(api, x, RUNTIME_TRUNCATED);
}

static void on_gone(struct http_exchange *x, void *ctx)
{
    struct runtime_api *api = ctx;

    if (api->next != x)
        return;
    api->next = NULL;
    http_abort(x);
}

struct runtime_api *runtime_api_new(uv_loop_t *loop, int listener, const struct runtime_api_owner *owner)
{
    struct runtime_api *api = calloc(1, sizeof *api);
    struct http_server_config config = {
        .max_line_bytes = 4096,
        .max_header_bytes = HEADER_MAX_BYTES,
        .large_header_bytes = LARGE_HEADER_MAX_BYTES,
        .head_timeout_ms = HEAD_TIMEOUT_MS,
        .max_headers = 64,
        .linger_bytes = LINGER_BYTES,
        .max_connections = CONNECTIONS_MAX,
        .reset_at_end = true, /* the next environment of the slot shall see nothing of this one */
        .join_answers =
            true, /* a result's 202 leaves with the next event, when the client asked for both at once */
        .body_limit = body_limit,
        .on_too_large = on_too_large,
        .on_request = on_request,
        .on_gone = on_gone,
        .on_truncated = on_truncated,
        .ctx = api,
    };

    if (!api) {
        (void)close(listener);
        return NULL;
    }
    api->owner = *owner;
    api->event_headers = BUF_INIT(LARGE_HEADER_MAX_BYTES);
    api->server = http_server_new(loop, &config);
    if (!api->server) {
        (void)close(listener);
        free(api);
        return NULL;
    }
    if (http_server_listen(api->server, listener, BACKLOG) < 0)
        return runtime_api_free(api);
    return api;
}

static void on_server_freed(void *ctx)
{
    struct runtime_api *api = ctx;

    buf_done(&api->event_headers);
    (void)blob_unref(api->event_body);
    (void)blob_unref(api->wake);
    free(api);
}

struct runtime_api *runtime_api_free(struct runtime_api *api)
{
    if (!api)
        return NULL;
    api->freed = true;
    if (api->next)
        http_abort(api->next);
    api->next = NULL;
    http_server_free(api->server, on_server_freed, api);
    return NULL;
}

void runtime_api_mute(struct runtime_api *api)
{
    api->muted = true;
}

int runtime_api_adopt_parked(struct runtime_api *api, int fd, enum runtime_parked parked, const char *wake)
{
    static const char next[] =
        "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: 127.0.0.1:9001\r\n\r\n";
    static const char restore[] =
        "GET /2018-06-01/runtime/restore/next HTTP/1.1\r\nHost: 127.0.0.1:9001\r\n\r\n";

    if (parked == RUNTIME_PARKED_TO_WAKE) {
        api->wake = blob_new(wake, strlen(wake));
        if (!api->wake) {
            (void)close(fd);
            return -ENOMEM;
        }
    }
    return parked == RUNTIME_PARKED_IN_RESTORE
               ? http_server_adopt(api->server, fd, restore, sizeof restore - 1)
               : http_server_adopt(api->server, fd, next, sizeof next - 1);
}

static void optional_header(struct buf *headers, const char *name, const char *value)
{
    if (value && *value)
        (void)buf_printf(headers, "%s: %s\r\n", name, value);
}

int runtime_api_deliver(struct runtime_api *api, const struct runtime_event *event)
{
    struct buf *headers = &api->event_headers;

    if (api->state != RUNTIME_READY || strlen(event->request_id) >= ID_MAX_BYTES)
        return -EBUSY;
    buf_clear(headers);
    (void)buf_printf(headers,
                     JSON_TYPE "Lambda-Runtime-Aws-Request-Id: %s\r\nLambda-Runtime-Deadline-Ms: %llu\r\n"
                               "Lambda-Runtime-Invoked-Function-Arn: %s\r\n",
                     event->request_id, (unsigned long long)event->deadline_wall_ms, event->function_arn);
    optional_header(headers, "Lambda-Runtime-Trace-Id", event->trace_id);
    optional_header(headers, "Lambda-Runtime-Client-Context", event->client_context);
    optional_header(headers, "Lambda-Runtime-Cognito-Identity", event->cognito_identity);
    optional_header(headers, "Lambda-Runtime-Aws-Tenant-Id", event->tenant_id);
    if (headers->failed)
        return -ENOMEM;
    (void)snprintf(api->request_id, sizeof api->request_id, "%s", event->request_id);
    api->event_body = blob_ref(event->body);
    (void)runtime_step(&api->state, RUNTIME_CALL_DELIVERED);
    api->invoked = true;
    if (api->next)
        send_event(api);
    return 0;
}

enum runtime_state runtime_api_state(const struct runtime_api *api)
{
    return api->state;
}
