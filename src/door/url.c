/* Function URLs. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/policy.h"
#include "base/blob.h"
#include "base/clock.h"
#include "base/text.h"
#include "door/door_priv.h"
#include "door/url_event.h"
#include "model/function.h"
#include "sched/sched.h"

enum {
    URL_ID_BYTES = 32,
    HEADERS_MAX_BYTES = 64 * 1024,
    EVENT_MAX_BYTES = DOOR_PAYLOAD_MAX_BYTES + HEADERS_MAX_BYTES
};

static const char path_prefix[] = "/_irori/url/";

bool url_is_route(const struct http_request *request, struct http_slice *ret_url_id,
                  struct http_slice *ret_path)
{
    static const char mark[] = ".lambda-url.";
    struct http_slice host = request->host, path = request->path;
    const char *dot = memchr(host.at, '.', host.len);
    size_t used = sizeof path_prefix - 1;

    if (dot && (size_t)(host.at + host.len - dot) > sizeof mark - 1 &&
        text_equal_nocase(dot, sizeof mark - 1, mark)) {
        *ret_url_id = (struct http_slice){ host.at, (size_t)(dot - host.at) };
        *ret_path = path;
        return true;
    }
    if (path.len <= used || memcmp(path.at, path_prefix, used) != 0)
        return false;
    ret_url_id->at = path.at + used;
    ret_url_id->len = 0;
    while (used + ret_url_id->len < path.len && ret_url_id->at[ret_url_id->len] != '/')
        ret_url_id->len++;
    used += ret_url_id->len;
    *ret_path = used < path.len ? (struct http_slice){ path.at + used, path.len - used }
                                : (struct http_slice){ "/", 1 };
    return true;
}

/* One request to a function URL; freed when it was answered. */
struct url_call {
    struct http_exchange *x;
    const struct fn_cors *cors; /* of the picture below */
    struct function *picture;   /* counted, for cors */
    char request_id[UUID_BYTES];
    char trace_id[DOOR_TRACE_MAX_BYTES];
};

static void call_free(struct url_call *call)
{
    (void)function_unref(call->picture);
    free(call);
}

static void add_own_headers(const struct url_call *call, struct buf *headers)
{
    const struct http_request *request = http_exchange_request(call->x);
    const struct http_slice *origin = http_request_header(request, "Origin");

    if (call->cors && origin)
        url_cors_headers(call->cors, origin->at, origin->len, false, headers);
    (void)buf_printf(headers, "x-amzn-RequestId: %s\r\nX-Amzn-Trace-Id: %s\r\n", call->request_id,
                     call->trace_id);
}

static void reply_text(struct url_call *call, int status, const char *error_type, const char *body)
{
    AUTO_BUF struct buf headers = BUF_INIT(HEADERS_MAX_BYTES);

    (void)buf_puts(&headers, "Content-Type: application/json\r\n");
    if (error_type)
        (void)buf_printf(&headers, "x-amzn-ErrorType: %s\r\n", error_type);
    add_own_headers(call, &headers);
    http_reply(call->x, status, headers.data, headers.len, body, strlen(body), NULL, NULL);
}

static void reply_forbidden(struct url_call *call)
{
    reply_text(call, 403, "AccessDeniedException",
               "{\"Message\":\"Forbidden. For troubleshooting Function URL authorization issues, see: "
               "https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html\"}");
}

static void reply_answer(struct url_call *call, const struct sched_result *result)
{
    struct url_answer answer = { 0 };
    int read = result->has_prelude ? url_answer_read_stream(result->body, result->body_len, &answer)
                                   : url_answer_read(result->body, result->body_len, &answer);

    if (read < 0) {
        reply_text(call, 502, NULL, "Internal Server Error");
    } else {
        add_own_headers(call, &answer.headers);
        http_reply(call->x, answer.status, answer.headers.data, answer.headers.len, answer.body,
                   answer.body_len, NULL, NULL);
    }
    url_answer_done(&answer);
}

static void on_done(const struct sched_result *result, void *ctx)
{
    struct url_call *call = ctx;
    char body[256];

    switch (result->outcome) {
    case SCHED_OK:
        reply_answer(call, result);
        break;
    case SCHED_FUNCTION_ERROR:
        reply_text(call, 502, NULL, "Internal Server Error");
        break;
    case SCHED_THROTTLED:
        (void)snprintf(body, sizeof body,
                       "{\"Reason\":\"%s\",\"Type\":\"User\",\"message\":\"Rate Exceeded.\"}",
                       result->reason);
        reply_text(call, 429, "TooManyRequestsException", body);
        break;
    case SCHED_NO_ENVIRONMENT:
    case SCHED_UNAVAILABLE:
        reply_text(call, 503, "ServiceException", "{\"message\":\"Service Unavailable\"}");
        break;
    }
    call_free(call);
}

static bool is_preflight(const struct http_request *request)
{
    return http_slice_equal(request->method, "OPTIONS") && http_request_header(request, "Origin") &&
           http_request_header(request, "Access-Control-Request-Method");
}

static void reply_preflight(struct url_call *call)
{
    const struct http_slice *origin = http_request_header(http_exchange_request(call->x), "Origin");
    AUTO_BUF struct buf headers = BUF_INIT(HEADERS_MAX_BYTES);

    url_cors_headers(call->cors, origin->at, origin->len, true, &headers);
    (void)buf_printf(&headers, "x-amzn-RequestId: %s\r\n", call->request_id);
    http_reply(call->x, 200, headers.data, headers.len, NULL, 0, NULL, NULL);
}

/* True when the caller may go on; else it was answered. ret_auth->principal is valid for AWS_IAM. */
static bool authorize(struct door *door, struct url_call *call, const struct fn_url *url, const char *arn,
                      struct door_auth *ret_auth)
{
    const struct fn_policy *policy = function_policy(call->picture, url->qualifier);
    struct policy_question question = {
        .principal = &ret_auth->principal,
        .action = "lambda:InvokeFunctionUrl",
        .resource = arn,
        .function_url_auth_type = "AWS_IAM",
    };

    if (url->auth == URL_AUTH_NONE) {
        if (!url->open)
            reply_forbidden(call);
        return url->open;
    }
    if (!door_authenticate(door, call->x, ret_auth)) {
        reply_error(call->x, call->request_id, ret_auth->code, ret_auth->message, NULL);
        return false;
    }
    if (policy_allows(policy ? policy->document : NULL, &question))
        return true;
    reply_forbidden(call);
    return false;
}

/* Fills ret_tenant for a function that serves tenants. False when it was answered. */
static bool read_tenant(struct url_call *call, const struct fn_version *version, struct buf *ret_tenant)
{
    const char *header = call->picture->tenant_header ? call->picture->tenant_header : TENANT_HEADER;
    char body[512];

    if (!version->per_tenant)
        return true;
    if (!tenant_read(http_exchange_request(call->x), header, ret_tenant)) {
        (void)snprintf(
            body, sizeof body,
            "{\"message\":\"This function serves each tenant apart: name the tenant in the request "
            "header %s.\"}",
            header);
        reply_text(call, 400, "InvalidParameterValueException", body);
        return false;
    }
    if (tenant_is_valid(ret_tenant))
        return true;
    (void)snprintf(body, sizeof body,
                   "{\"message\":\"The request header %s names no tenant: a tenant ID is 1 to 256 letters, "
                   "digits, blanks and . _ : / = + - @\"}",
                   header);
    reply_text(call, 400, "ValidationException", body);
    return false;
}

static struct fn_version *version_of(const struct function *function, const struct fn_url *url)
{
    const struct fn_alias *alias = url->qualifier ? function_alias(function, url->qualifier) : NULL;

    if (!url->qualifier)
        return function->latest;
    return alias ? sched_route(alias) : NULL;
}

/* The event, or NULL when it was answered. */
static struct blob *build_event(struct door *door, struct url_call *call, const struct fn_url *url,
                                struct http_slice path, const struct principal *iam)
{
    const struct api_config *config = door->config.api_config;
    AUTO_BUF struct buf out = BUF_INIT(EVENT_MAX_BYTES);
    char domain[160], host[176];
    struct url_event event = {
        .request = http_exchange_request(call->x),
        .path = path.at,
        .path_len = path.len,
        .url_id = url->url_id,
        .domain_name = domain,
        .host = host,
        .scheme = config->scheme,
        .port = config->port,
        .source_ip = http_exchange_peer(call->x),
        .request_id = call->request_id,
        .trace_id = call->trace_id,
        .account = config->account,
        .iam = iam,
        .now_ms = clock_wall_ms(),
    };
    struct blob *blob;

    (void)snprintf(domain, sizeof domain, "%s.lambda-url.%s.localhost", url->url_id, config->region);
    (void)snprintf(host, sizeof host, "%s:%u", domain, config->port);
    if (url_event_write(&event, &out) < 0) {
        reply_text(call, 413, "RequestEntityTooLargeException", "{\"message\":\"Request Entity Too Large\"}");
        return NULL;
    }
    blob = blob_new(out.data, out.len);
    if (!blob)
        reply_text(call, 500, "ServiceException", "{\"message\":\"Internal Server Error\"}");
    return blob;
}

static void dispatch(struct door *door, struct url_call *call, const struct fn_url *url,
                     struct http_slice path)
{
    struct door_auth auth;
    struct fn_version *version = version_of(call->picture, url);
    char arn[320];
    AUTO_BUF struct buf tenant = BUF_INIT(TENANT_READ_BYTES);
    struct sched_request wanted = {
        .function = call->picture,
        .version = version,
        .invoked_arn = arn,
        .request_id = call->request_id,
        .trace_id = call->trace_id,
    };

    (void)snprintf(arn, sizeof arn, "%s%s%s", call->picture->arn, url->qualifier ? ":" : "",
                   url->qualifier ? url->qualifier : "");
    if (call->cors && is_preflight(http_exchange_request(call->x))) {
        reply_preflight(call);
        call_free(call);
        return;
    }
    if (!version || call->picture->pending || call->picture->failed || version->snapshot_failed ||
        sched_snapshot_pending(door->config.sched, version)) {
        reply_forbidden(call);
        call_free(call);
        return;
    }
    door_trace_decide(call->trace_id, version);
    if (!authorize(door, call, url, arn, &auth) || !read_tenant(call, version, &tenant)) {
        call_free(call);
        return;
    }
    wanted.tenant_id = tenant.data;
    wanted.event = build_event(door, call, url, path, url->auth == URL_AUTH_IAM ? &auth.principal : NULL);
    if (!wanted.event) {
        call_free(call);
        return;
    }
    sched_invoke(door->config.sched, &wanted, on_done, call);
    (void)blob_unref(wanted.event);
}

void url_handle(struct door *door, struct http_exchange *x, struct http_slice url_id, struct http_slice path)
{
    struct url_call *call = calloc(1, sizeof *call);
    size_t index = 0;
    const struct function *function;

    if (!call) {
        http_abort(x);
        return;
    }
    call->x = x;
    id_uuid(call->request_id);
    door_trace_id(http_exchange_request(x), call->trace_id);
    function =
        url_id.len == URL_ID_BYTES ? sched_find_url(door->config.sched, url_id.at, url_id.len, &index) : NULL;
    if (!function) {
        reply_text(call, 403, "AccessDeniedException", "{\"Message\":null}");
        call_free(call);
        return;
    }
    call->picture = function_ref((struct function *)(uintptr_t)function);
    call->cors = function->urls[index].cors;
    if (control_is_stale(door, function->name)) {
        reply_text(call, 500, "ServiceException", "{\"Message\":\"Internal Server Error\"}");
        call_free(call);
        return;
    }
    dispatch(door, call, &function->urls[index], path);
}
