#include "door/door.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "door/door_priv.h"
#include "door/origin.h"
#include "sched/sched.h"

enum {
    BACKLOG = 4096,
    ADMIN_MAX_BYTES = 256 * 1024,
    COLLECT_MS = 1000,
    UNSIGNED_MAX_BYTES = 64 * 1024, /* an API request without a signature will be refused anyway */
    BODIES_MAX_BYTES = 512 << 20,   /* of all requests at once, where the machine is large enough */
    BODIES_MIN_BYTES = 160 << 20,   /* two uploads */
};

/* Without signatures only the place a request comes from tells the owner's programs from web pages. */
static const char *page_refusal(const struct door *door, const struct http_request *request)
{
    return door->config.no_auth ? origin_refusal(request) : NULL;
}

/* Whether a request of the API cannot be granted, as its head alone shows; then *ret_auth says why. */
static bool head_refused(const struct door *door, const struct http_exchange *x, struct door_auth *ret_auth)
{
    const char *page = page_refusal(door, http_exchange_request(x));

    if (!page)
        return !door_may_authenticate(door, x, ret_auth);
    (void)snprintf(ret_auth->code, sizeof ret_auth->code, "AccessDeniedException");
    (void)snprintf(ret_auth->message, sizeof ret_auth->message, "%s", page);
    return true;
}

static size_t body_limit(struct http_exchange *x, void *ctx)
{
    const struct door *door = ctx;
    const struct http_request *request = http_exchange_request(x);
    struct http_slice first, second;
    struct door_auth auth;

    if (url_is_route(request, &first, &second))
        return DOOR_PAYLOAD_MAX_BYTES;
    if ((request->chunked || request->length > UNSIGNED_MAX_BYTES) && head_refused(door, x, &auth))
        return UNSIGNED_MAX_BYTES;
    if (admin_is_route(request))
        return ADMIN_MAX_BYTES;
    if (invoke_is_route(request, &first))
        return DOOR_PAYLOAD_MAX_BYTES;
    return api_body_limit(request->method.at, request->method.len, request->path.at, request->path.len);
}

static void on_too_large(struct http_exchange *x, void *ctx)
{
    const struct http_request *request = http_exchange_request(x);
    struct http_slice first, second;
    char request_id[UUID_BYTES], headers[256], body[160];
    const char *operation;
    size_t limit = body_limit(x, ctx);
    struct door_auth auth;
    int size, len;

    id_uuid(request_id);
    if (!url_is_route(request, &first, &second) && head_refused(ctx, x, &auth)) {
        reply_error(x, request_id, auth.code, auth.message, NULL);
        return;
    }
    size = snprintf(headers, sizeof headers,
                    "Content-Type: application/json\r\nx-amzn-RequestId: %s\r\n"
                    "x-amzn-ErrorType: RequestEntityTooLargeException\r\n",
                    request_id);
    if (url_is_route(request, &first, &second)) {
        len = snprintf(body, sizeof body, "{\"message\":\"Request Entity Too Large\"}");
    } else {
        operation = invoke_is_route(request, &first) ? "InvokeFunction"
                                                     : api_operation(request->method.at, request->method.len,
                                                                     request->path.at, request->path.len);
        len = snprintf(body, sizeof body,
                       "{\"message\":\"Request must be smaller than %zu bytes for the %s operation\"}", limit,
                       operation ? operation : "unknown");
    }
    http_reply_close(x, 413, headers, (size_t)size, body, (size_t)len);
}

static void on_no_room(struct http_exchange *x, void *ctx)
{
    char request_id[UUID_BYTES];

    (void)ctx;
    id_uuid(request_id);
    reply_error(x, request_id, "ServiceUnavailableException",
                "Service Unavailable: the requests under way fill the memory that is set aside for their "
                "bodies. Try again later.",
                NULL);
}

/* An eighth of the machine's memory. */
static size_t bodies_max_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    size_t share = pages > 0 && page > 0 ? (size_t)pages / 8 * (size_t)page : 0;

    return share > BODIES_MAX_BYTES ? BODIES_MAX_BYTES : share < BODIES_MIN_BYTES ? BODIES_MIN_BYTES : share;
}

static void reply_health(const struct door *door, struct http_exchange *x)
{
    bool ready = sched_ready(door->config.sched);
    const char *body = ready ? "{\"status\":\"ready\"}\n" : "{\"status\":\"starting\"}\n";

    http_reply(x, ready ? 200 : 503, "Content-Type: application/json\r\n", 32, body, strlen(body), NULL,
               NULL);
}

static void on_request(struct http_exchange *x, void *ctx)
{
    struct door *door = ctx;
    const struct http_request *request = http_exchange_request(x);
    struct http_slice first, second;
    const char *page;
    char request_id[UUID_BYTES];

    if (url_is_route(request, &first, &second)) {
        url_handle(door, x, first, second);
        return;
    }
    if (http_slice_equal(request->path, "/health")) {
        reply_health(door, x);
        return;
    }
    page = page_refusal(door, request);
    if (page) {
        id_uuid(request_id);
        reply_error(x, request_id, "AccessDeniedException", page, NULL);
        return;
    }
    if (invoke_is_route(request, &first))
        invoke_handle(door, x, first);
    else if (admin_is_route(request))
        admin_handle(door, x);
    else
        control_handle(door, x);
}

static const char *error_body(int status, const char **ret_headers, void *ctx)
{
    (void)ctx;
    *ret_headers = "Content-Type: application/json\r\n";
    switch (status) {
    case 400:
        return "{\"message\":\"Bad Request: this is not well-formed HTTP/1.1\"}";
    case 408:
        return "{\"message\":\"Request Timeout: the request did not arrive in time\"}";
    case 414:
        return "{\"message\":\"URI Too Long\"}";
    case 431:
        return "{\"message\":\"Request Header Fields Too Large\"}";
    case 503:
        return "{\"message\":\"Service Unavailable: too many connections\"}";
    case 505:
        return "{\"message\":\"HTTP Version Not Supported: use HTTP/1.1\"}";
    default:
        return "{\"message\":\"The request cannot be served\"}";
    }
}

static void on_second(uv_timer_t *timer)
{
    control_rebuild(timer->data);
    control_collect(timer->data);
}

struct door *door_new(const struct door_config *config, int listener, struct err *err)
{
    struct door *door = calloc(1, sizeof *door);
    struct http_server_config http = {
        .max_line_bytes = 16 * 1024,
        .max_header_bytes = 32 * 1024,
        .max_headers = 100,
        .idle_timeout_ms = 75000,
        .head_timeout_ms = 10000,
        .body_timeout_ms = 20000,
        .max_connections = 20000,
        .max_input_bytes = bodies_max_bytes(),
        .date_header = true,
        .body_limit = body_limit,
        .on_too_large = on_too_large,
        .on_no_room = on_no_room,
        .on_request = on_request,
        .error_body = error_body,
        .ctx = door,
    };
    int result;

    if (door)
        door->server = http_server_new(config->loop, &http);
    if (!door || !door->server) {
        (void)close(listener);
        free(door);
        (void)err_set(err, ERR_SYSTEM, ENOMEM, "front door");
        return NULL;
    }
    door->config = *config;
    list_init(&door->held);
    list_init(&door->stale);
    result = http_server_listen(door->server, listener, BACKLOG);
    if (result < 0) {
        (void)err_set(err, ERR_SYSTEM, -result, "listen");
        http_server_free(door->server, NULL, NULL);
        free(door);
        return NULL;
    }
    (void)uv_timer_init(config->loop, &door->second);
    door->second.data = door;
    (void)uv_timer_start(&door->second, on_second, COLLECT_MS, COLLECT_MS);
    uv_unref((uv_handle_t *)&door->second);
    return door;
}

void door_set_machine(struct door *door, const char *json)
{
    free(door->machine);
    door->machine = strdup(json);
}

static void check_closed(struct door *door)
{
    void (*on_closed)(void *) = door->on_closed;

    if (!door->closing || !door->server_freed || !door->timer_closed || door->jobs > 0 || !on_closed)
        return;
    door->on_closed = NULL;
    on_closed(door->closed_ctx);
}

void door_job_done(struct door *door)
{
    door->jobs--;
    check_closed(door);
}

static void on_server_freed(void *ctx)
{
    struct door *door = ctx;

    door->server_freed = true;
    check_closed(door);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct door *door = handle->data;

    door->timer_closed = true;
    check_closed(door);
}

void door_close(struct door *door, void (*on_closed)(void *ctx), void *ctx)
{
    door->closing = true;
    door->on_closed = on_closed;
    door->closed_ctx = ctx;
    uv_close((uv_handle_t *)&door->second, on_timer_closed);
    control_close(door);
    http_server_free(door->server, on_server_freed, door);
}

struct door *door_free(struct door *door)
{
    if (!door)
        return NULL;
    free(door->machine);
    free(door);
    return NULL;
}
