/* Answers that several of the door's handlers give. */

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "door/door_priv.h"
#include "model/function.h"

void reply_json(struct http_exchange *x, int status, const char *request_id, const char *json, size_t len)
{
    char headers[128];
    int size = snprintf(headers, sizeof headers, "Content-Type: application/json\r\nx-amzn-RequestId: %s\r\n",
                        request_id);

    http_reply(x, status, headers, (size_t)size, json, len, NULL, NULL);
}

void reply_error(struct http_exchange *x, const char *request_id, const char *exception, const char *message,
                 const char *reason)
{
    AUTO_BUF struct buf body = BUF_INIT(16384);
    char headers[256];
    int size;

    api_error_body(exception, message, reason, &body);
    size = snprintf(headers, sizeof headers,
                    "Content-Type: application/json\r\nx-amzn-RequestId: %s\r\nx-amzn-ErrorType: %s\r\n",
                    request_id, exception);
    http_reply(x, api_error_status(exception), headers, (size_t)size, body.data ? body.data : "", body.len,
               NULL, NULL);
}

void reply_denied(struct http_exchange *x, const char *request_id, const struct principal *principal,
                  const char *action, const char *resource)
{
    char message[1024];

    (void)snprintf(
        message, sizeof message,
        "User: %s is not authorized to perform: %s on resource: %s because no identity-based policy allows "
        "the %s action",
        principal->arn, action, resource, action);
    reply_error(x, request_id, "AccessDeniedException", message, NULL);
}

static bool trace_is_clean(const struct http_slice *value)
{
    if (value->len < 5 || value->len >= DOOR_TRACE_MAX_BYTES || memcmp(value->at, "Root=", 5) != 0)
        return false;
    for (size_t i = 0; i < value->len; i++) {
        unsigned char c = (unsigned char)value->at[i];

        if (!isalnum(c) && !strchr("=;:-_.", c))
            return false;
    }
    return true;
}

void door_trace_id(const struct http_request *request, char out[DOOR_TRACE_MAX_BYTES])
{
    const struct http_slice *given = http_request_header(request, "X-Amzn-Trace-Id");
    unsigned char random[20];
    char hex[41];

    if (given && trace_is_clean(given)) {
        memcpy(out, given->at, given->len);
        out[given->len] = '\0';
        return;
    }
    id_random(random, sizeof random);
    text_hex(random, sizeof random, hex);
    (void)snprintf(out, DOOR_TRACE_MAX_BYTES, "Root=1-%08x-%.24s;Parent=%.16s",
                   (unsigned)(clock_wall_ms() / 1000), hex, hex + 24);
}

void door_trace_decide(char trace_id[DOOR_TRACE_MAX_BYTES], const struct fn_version *version)
{
    size_t len = strlen(trace_id);

    if (!strstr(trace_id, ";Sampled=") && len < DOOR_TRACE_MAX_BYTES - sizeof ";Sampled=0")
        (void)snprintf(trace_id + len, DOOR_TRACE_MAX_BYTES - len, ";Sampled=%d", version->tracing_active);
}

int door_query(const struct http_request *request, const char *name, char *out, size_t size)
{
    const char *at = request->query.at, *end = at + request->query.len;
    size_t name_len = strlen(name);

    while (at < end) {
        const char *amp = memchr(at, '&', (size_t)(end - at));
        const char *stop = amp ? amp : end;
        const char *equal = memchr(at, '=', (size_t)(stop - at));
        const char *name_end = equal ? equal : stop;

        if ((size_t)(name_end - at) == name_len && memcmp(at, name, name_len) == 0) {
            AUTO_BUF struct buf value = BUF_INIT(size - 1);

            if (equal && text_percent_decode(equal + 1, (size_t)(stop - equal - 1), true, &value) < 0)
                return -EINVAL;
            memcpy(out, value.data ? value.data : "", value.len);
            out[value.len] = '\0';
            return strlen(out) == value.len ? 1 : -EINVAL;
        }
        at = stop + 1;
    }
    return 0;
}
