/* Invoke: POST /2015-03-31/functions/{FunctionName}/invocations. */

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/policy.h"
#include "base/blob.h"
#include "base/json.h"
#include "base/text.h"
#include "door/door_priv.h"
#include "model/function.h"
#include "sched/sched.h"

enum { CONTEXT_MAX_BYTES = 3583 };

static const char prefix[] = "/2015-03-31/functions/";
static const char suffix[] = "/invocations";

bool invoke_is_route(const struct http_request *request, struct http_slice *ret_name)
{
    size_t outer = sizeof prefix - 1 + sizeof suffix - 1;
    struct http_slice path = request->path;

    if (path.len > 0 && path.at[path.len - 1] == '/')
        path.len--;
    if (path.len <= outer || memcmp(path.at, prefix, sizeof prefix - 1) != 0 ||
        memcmp(path.at + path.len - (sizeof suffix - 1), suffix, sizeof suffix - 1) != 0)
        return false;
    *ret_name = (struct http_slice){ path.at + sizeof prefix - 1, path.len - outer };
    return !memchr(ret_name->at, '/', ret_name->len) && http_slice_equal(request->method, "POST");
}

/* One Invoke under way; the exchange's data. */
struct invoke {
    struct http_exchange *x;
    char request_id[UUID_BYTES];
    char trace_id[DOOR_TRACE_MAX_BYTES];
    bool want_log_tail;
};

static void reply_result(struct invoke *invoke, const struct sched_result *result)
{
    AUTO_BUF struct buf headers = BUF_INIT(16384);

    (void)buf_printf(
        &headers,
        "Content-Type: application/json\r\nX-Amz-Executed-Version: %s\r\nx-amzn-RequestId: %s\r\n"
        "X-Amzn-Trace-Id: %s\r\n%s",
        result->executed_version, invoke->request_id, invoke->trace_id,
        result->outcome == SCHED_FUNCTION_ERROR ? "X-Amz-Function-Error: Unhandled\r\n" : "");
    if (result->environment)
        (void)buf_printf(&headers, "X-Irori-Environment: %s\r\n", result->environment);
    if (result->log_tail) {
        (void)buf_puts(&headers, "X-Amz-Log-Result: ");
        (void)text_base64_encode(result->log_tail, result->log_tail_len, &headers);
        (void)buf_puts(&headers, "\r\n");
    }
    http_reply(invoke->x, 200, headers.data, headers.len, result->body, result->body_len, NULL, NULL);
}

static void on_done(const struct sched_result *result, void *ctx)
{
    struct invoke *invoke = ctx;
    char message[512];

    switch (result->outcome) {
    case SCHED_OK:
    case SCHED_FUNCTION_ERROR:
        reply_result(invoke, result);
        break;
    case SCHED_THROTTLED:
        reply_error(invoke->x, invoke->request_id, "TooManyRequestsException", "Rate Exceeded.",
                    result->reason);
        break;
    case SCHED_NO_ENVIRONMENT:
        reply_error(invoke->x, invoke->request_id, "ResourceConflictException", result->body, NULL);
        break;
    case SCHED_UNAVAILABLE:
        (void)snprintf(message, sizeof message, "An error occurred and the request cannot be processed. %.*s",
                       (int)(result->body_len < 400 ? result->body_len : 400), result->body);
        reply_error(invoke->x, invoke->request_id, "ServiceException", message, NULL);
        break;
    }
    free(invoke);
}

/* What the request's headers ask for; texts are NUL-terminated. */
struct options {
    char type[32];
    char log_type[16];
    char environment[UUID_BYTES]; /* "" when any will do */
    struct buf client_context, tenant_id;
    bool has_tenant;
};

static void copy_header(const struct http_request *request, const char *name, const char *standard, char *out,
                        size_t size)
{
    const struct http_slice *value = http_request_header(request, name);

    if (value)
        (void)snprintf(out, size, "%.*s", (int)(value->len < size ? value->len : size - 1), value->at);
    else
        (void)snprintf(out, size, "%s", standard);
}

/* Returns NULL, or what is wrong with it. Header-safe afterwards. */
static const char *read_client_context(const struct http_request *request, struct buf *out)
{
    const struct http_slice *value = http_request_header(request, "X-Amz-Client-Context");
    size_t padding;
    AUTO_BUF struct buf encoded = BUF_INIT(CONTEXT_MAX_BYTES + 4);

    if (!value || value->len == 0)
        return NULL;
    if (value->len > CONTEXT_MAX_BYTES)
        return "Client context must be no more than 3583 bytes when base64 encoded.";
    (void)buf_append(&encoded, value->at, value->len);
    padding = (4 - value->len % 4) % 4; /* SDKs leave it out at times */
    (void)buf_append(&encoded, "===", padding);
    if (text_base64_decode(encoded.data, encoded.len, out) < 0 || !out->data ||
        !json_valid(out->data, out->len, NULL) || out->data[strspn(out->data, " \t\r\n")] != '{')
        return "Client context must be a valid Base64-encoded JSON object.";
    for (size_t i = 0; i < out->len; i++) {
        if ((unsigned char)out->data[i] < 0x20)
            out->data[i] = ' ';
    }
    return NULL;
}

static bool known(const char *value, const char *const *set)
{
    for (; *set; set++) {
        if (strcmp(value, *set) == 0)
            return true;
    }
    return false;
}

static bool check_options(struct http_exchange *x, const char *request_id, const struct options *options)
{
    static const char *const types[] = { "Event", "RequestResponse", "DryRun", NULL };
    static const char *const log_types[] = { "None", "Tail", NULL };
    char message[256];

    if (!known(options->type, types)) {
        (void)snprintf(
            message, sizeof message,
            "1 validation error detected: Value '%s' at 'invocationType' failed to satisfy constraint: "
            "Member must satisfy enum value set: [Event, RequestResponse, DryRun]",
            options->type);
        reply_error(x, request_id, "ValidationException", message, NULL);
        return false;
    }
    if (!known(options->log_type, log_types)) {
        (void)snprintf(message, sizeof message,
                       "1 validation error detected: Value '%s' at 'logType' failed to satisfy constraint: "
                       "Member must satisfy enum value set: [None, Tail]",
                       options->log_type);
        reply_error(x, request_id, "ValidationException", message, NULL);
        return false;
    }
    if (options->has_tenant && !tenant_is_valid(&options->tenant_id)) {
        AUTO_BUF struct buf faults = BUF_INIT(TENANT_READ_BYTES);

        tenant_faults(&options->tenant_id, &faults);
        reply_error(x, request_id, "ValidationException", faults.data ? faults.data : "", NULL);
        return false;
    }
    if (strcmp(options->type, "Event") == 0) {
        reply_error(x, request_id, "InvalidParameterValueException",
                    "InvocationType Event is not supported by Irori yet, because an accepted event must "
                    "survive a crash. "
                    "Use RequestResponse.",
                    NULL);
        return false;
    }
    return true;
}

/* An environment of one's own is not for those who were only let in. */
static bool check_environment(struct http_exchange *x, const char *request_id,
                              const struct principal *principal, const struct options *options)
{
    if (*options->environment && !reserved_allowed(principal)) {
        reply_denied(x, request_id, principal, "irori:ReserveEnvironment", "*");
        return false;
    }
    if (!*options->environment || strcmp(options->environment, "new") == 0 ||
        strlen(options->environment) == UUID_BYTES - 1)
        return true;
    reply_error(x, request_id, "InvalidParameterValueException",
                "X-Irori-Environment must be new or the id of a reserved environment.", NULL);
    return false;
}

static bool check_payload(struct http_exchange *x, const char *request_id)
{
    const struct http_request *request = http_exchange_request(x);
    size_t at = 0;
    char message[256];

    if (request->body_len == 0 || json_valid(request->body, request->body_len, &at))
        return true;
    if (at >= request->body_len)
        (void)snprintf(
            message, sizeof message,
            "Could not parse request body into json: Could not parse payload into json: Unexpected "
            "end-of-input at byte %zu",
            at);
    else
        (void)snprintf(
            message, sizeof message,
            "Could not parse request body into json: Could not parse payload into json: Unexpected character "
            "(code %u) at byte %zu: expected a valid value (JSON String, Number, Array, Object or token "
            "'null', 'true' or 'false')",
            (unsigned)(unsigned char)request->body[at], at);
    reply_error(x, request_id, "InvalidRequestContentException", message, NULL);
    return false;
}

static bool check_tenant(struct http_exchange *x, const char *request_id, const struct fn_version *version,
                         const struct options *options)
{
    if (options->has_tenant == version->per_tenant)
        return true;
    reply_error(x, request_id, "InvalidParameterValueException",
                version->per_tenant
                    ? "The invoked function is enabled with tenancy configuration. Add a valid tenant ID in "
                      "your request and try again."
                    : "The invoked function is not enabled with tenancy configuration. Remove the tenant ID "
                      "from your request and try again.",
                NULL);
    return false;
}

/* What is addressed. */
struct target {
    struct api_reference reference;
    const struct function *function;
    struct fn_version *version;
    char arn[320];
};

static void reply_not_found(struct door *door, struct http_exchange *x, const char *request_id,
                            const struct target *target)
{
    const struct api_config *config = door->config.api_config;
    char message[640];

    (void)snprintf(message, sizeof message, "Function not found: arn:aws:lambda:%s:%s:function:%s:%s",
                   config->region, config->account, target->reference.name,
                   *target->reference.qualifier ? target->reference.qualifier : "$LATEST");
    reply_error(x, request_id, "ResourceNotFoundException", message, NULL);
}

static struct fn_version *choose_version(const struct function *function, const char *qualifier)
{
    const struct fn_alias *alias = *qualifier ? function_alias(function, qualifier) : NULL;

    if (alias)
        return sched_route(alias);
    return function_version(function, *qualifier ? qualifier : NULL);
}

static bool resolve(struct door *door, struct http_exchange *x, const char *request_id,
                    struct http_slice name, struct target *target)
{
    const struct http_request *request = http_exchange_request(x);
    AUTO_BUF struct buf decoded = BUF_INIT(2048);
    char qualifier[512] = "";
    struct api_response failure = { .file_fd = -1, .body = BUF_INIT(16384) };

    if (text_percent_decode(name.at, name.len, false, &decoded) < 0 || !decoded.data ||
        strlen(decoded.data) != decoded.len) {
        reply_error(x, request_id, "ValidationException", "The function name is not properly percent-encoded",
                    NULL);
        return false;
    }
    /* One that cannot be read must not stand for $LATEST. */
    if (door_query(request, "Qualifier", qualifier, sizeof qualifier) < 0) {
        reply_error(x, request_id, "ValidationException",
                    "1 validation error detected: Value at 'qualifier' failed to satisfy constraint: Member "
                    "must have length "
                    "less than or equal to 128",
                    NULL);
        return false;
    }
    if (!api_resolve(door->config.api_config, API_NAME_FN256, decoded.data, qualifier, &target->reference,
                     &failure)) {
        char headers[256];
        int size =
            snprintf(headers, sizeof headers,
                     "Content-Type: application/json\r\nx-amzn-RequestId: %s\r\nx-amzn-ErrorType: %s\r\n",
                     request_id, failure.error_type);

        http_reply(x, failure.status, headers, (size_t)size, failure.body.data ? failure.body.data : "",
                   failure.body.len, NULL, NULL);
        buf_done(&failure.body);
        return false;
    }
    buf_done(&failure.body);
    target->function =
        sched_find_function(door->config.sched, target->reference.name, strlen(target->reference.name));
    target->version = target->function ? choose_version(target->function, target->reference.qualifier) : NULL;
    if (target->function)
        (void)snprintf(target->arn, sizeof target->arn, "%s%s%s", target->function->arn,
                       *target->reference.qualifier ? ":" : "", target->reference.qualifier);
    return true;
}

static bool authorize(struct http_exchange *x, const char *request_id, const struct principal *principal,
                      const struct target *target, const struct api_config *config)
{
    const char *qualifier = *target->reference.qualifier ? target->reference.qualifier : NULL;
    const struct fn_policy *policy = target->function ? function_policy(target->function, qualifier) : NULL;
    struct policy_question question = { .principal = principal,
                                        .action = "lambda:InvokeFunction",
                                        .resource = target->arn };
    char arn[640];

    if (policy_allows(policy ? policy->document : NULL, &question))
        return true;
    (void)snprintf(arn, sizeof arn, "arn:aws:lambda:%s:%s:function:%s", config->region, config->account,
                   target->reference.name);
    reply_denied(x, request_id, principal, "lambda:InvokeFunction", target->function ? target->arn : arn);
    return false;
}

static bool check_state(const struct door *door, struct http_exchange *x, const char *request_id,
                        const struct function *function, const struct fn_version *version)
{
    if (function->pending || sched_snapshot_pending(door->config.sched, version)) {
        reply_error(x, request_id, "ResourceConflictException",
                    "The operation cannot be performed at this time. The function is currently in the "
                    "following state: "
                    "Pending",
                    NULL);
        return false;
    }
    if (function->failed || version->snapshot_failed) {
        reply_error(x, request_id, "ResourceConflictException",
                    "The operation cannot be performed at this time. The function is currently in the "
                    "following state: "
                    "Failed",
                    NULL);
        return false;
    }
    return true;
}

static void start(struct door *door, struct http_exchange *x, const char *request_id,
                  const struct target *target, const struct options *options)
{
    const struct http_request *request = http_exchange_request(x);
    struct invoke *invoke = calloc(1, sizeof *invoke);
    struct blob *event =
        request->body_len > 0 ? blob_new(request->body, request->body_len) : blob_new("{}", 2);
    struct sched_request wanted = {
        .function = target->function,
        .version = target->version,
        .invoked_arn = target->arn,
        .request_id = request_id,
        .client_context = options->client_context.data,
        .tenant_id = options->has_tenant ? options->tenant_id.data : NULL,
        .event = event,
        .want_log_tail = strcmp(options->log_type, "Tail") == 0,
        .environment = *options->environment ? options->environment : NULL,
    };

    if (!invoke || !event) {
        free(invoke);
        (void)blob_unref(event);
        reply_error(x, request_id, "ServiceException", "Out of memory", NULL);
        return;
    }
    invoke->x = x;
    memcpy(invoke->request_id, request_id, UUID_BYTES);
    door_trace_id(request, invoke->trace_id);
    door_trace_decide(invoke->trace_id, target->version);
    wanted.trace_id = invoke->trace_id;
    sched_invoke(door->config.sched, &wanted, on_done, invoke);
    (void)blob_unref(event);
}

static void handle(struct door *door, struct http_exchange *x, struct http_slice name, const char *request_id,
                   struct options *options)
{
    const struct http_request *request = http_exchange_request(x);
    struct door_auth auth;
    struct target target = { 0 };
    const char *wrong;

    if (!door_authenticate(door, x, &auth)) {
        reply_error(x, request_id, auth.code, auth.message, NULL);
        return;
    }
    copy_header(request, "X-Amz-Invocation-Type", "RequestResponse", options->type, sizeof options->type);
    copy_header(request, "X-Amz-Log-Type", "None", options->log_type, sizeof options->log_type);
    options->has_tenant = tenant_read(request, TENANT_HEADER, &options->tenant_id);
    copy_header(request, "X-Irori-Environment", "", options->environment, sizeof options->environment);
    if (!resolve(door, x, request_id, name, &target))
        return;
    if (control_is_stale(door, target.reference.name)) {
        reply_error(x, request_id, "ServiceException",
                    "The function was changed and its new state cannot be read yet. Try again later.", NULL);
        return;
    }
    if (!authorize(x, request_id, &auth.principal, &target, door->config.api_config))
        return;
    if (!target.version) {
        reply_not_found(door, x, request_id, &target);
        return;
    }
    if (!check_options(x, request_id, options) ||
        !check_environment(x, request_id, &auth.principal, options) || !check_payload(x, request_id) ||
        !check_tenant(x, request_id, target.version, options))
        return;
    wrong = read_client_context(request, &options->client_context);
    if (wrong) {
        reply_error(x, request_id, "InvalidRequestContentException", wrong, NULL);
        return;
    }
    if (!check_state(door, x, request_id, target.function, target.version))
        return;
    if (strcmp(options->type, "DryRun") == 0) {
        char headers[80];
        int size = snprintf(headers, sizeof headers, "x-amzn-RequestId: %s\r\n", request_id);

        http_reply(x, 204, headers, (size_t)size, NULL, 0, NULL, NULL);
        return;
    }
    start(door, x, request_id, &target, options);
}

void invoke_handle(struct door *door, struct http_exchange *x, struct http_slice name)
{
    struct options options = { .client_context = BUF_INIT(CONTEXT_MAX_BYTES + 4),
                               .tenant_id = BUF_INIT(TENANT_READ_BYTES) };
    char request_id[UUID_BYTES];

    id_uuid(request_id);
    handle(door, x, name, request_id, &options);
    buf_done(&options.client_context);
    buf_done(&options.tenant_id);
}
