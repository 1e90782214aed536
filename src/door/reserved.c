/* Reserved environments: DELETE /_irori/environments/{uuid}, POST /_irori/environments/{uuid}/inspect. */

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "door/door_priv.h"
#include "sched/sched.h"

enum { ANSWER_MAX_BYTES = 4 << 20, VALUES_MAX_BYTES = 96 * 1024 };

static const char prefix[] = "/_irori/environments/";
static const char inspect_suffix[] = "/inspect";

bool reserved_is_route(const struct http_request *request, char ret_uuid[UUID_BYTES], bool *ret_inspect)
{
    struct http_slice path = request->path;
    size_t outer = sizeof prefix - 1, id = UUID_BYTES - 1, suffix = sizeof inspect_suffix - 1;

    *ret_inspect =
        path.len == outer + id + suffix && memcmp(path.at + outer + id, inspect_suffix, suffix) == 0;
    if ((path.len != outer + id && !*ret_inspect) || memcmp(path.at, prefix, outer) != 0)
        return false;
    memcpy(ret_uuid, path.at + outer, id);
    ret_uuid[id] = '\0';
    return strspn(ret_uuid, "0123456789abcdef-") == id;
}

bool reserved_allowed(const struct principal *principal)
{
    return principal->kind == PRINCIPAL_ROOT || principal->kind == PRINCIPAL_NO_AUTH;
}

static void reply_none(struct http_exchange *x, const char *request_id)
{
    reply_error(x, request_id, "ResourceNotFoundException",
                "There is no reserved environment of this id, or it is being looked into already", NULL);
}

/* An inspection under way. */
struct inspect {
    struct http_exchange *x;
    char request_id[UUID_BYTES], uuid[UUID_BYTES];
};

static void on_inspected(const char *stream, const char *json, const char *failure, void *ctx)
{
    struct inspect *inspect = ctx;
    AUTO_BUF struct buf out = BUF_INIT(ANSWER_MAX_BYTES);

    if (json) {
        (void)buf_printf(&out, "{\"environment\":\"%s\",\"logStream\":", inspect->uuid);
        (void)buf_json_string(&out, stream, strlen(stream));
        (void)buf_printf(&out, ",\"inspection\":%s}", json);
        reply_json(inspect->x, 200, inspect->request_id, out.data, out.len);
    } else {
        reply_error(inspect->x, inspect->request_id, "ServiceException", failure, NULL);
    }
    free(inspect);
}

/* {"values":["text",...]}. Returns their number, or -1 for anything else; borrowed from json. */
static int read_values(const cJSON *json, const char *values[SCHED_MAX_VALUES])
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "values"), *item;
    size_t bytes = 0;
    int count = 0;

    if (!cJSON_IsArray(list))
        return -1;
    cJSON_ArrayForEach(item, list)
    {
        size_t len = cJSON_IsString(item) ? strlen(item->valuestring) : 0;

        bytes += len;
        if (len < SCHED_MIN_VALUE || len > SCHED_MAX_VALUE || count == SCHED_MAX_VALUES ||
            bytes > VALUES_MAX_BYTES)
            return -1;
        values[count++] = item->valuestring;
    }
    return count;
}

static void begin(struct door *door, struct http_exchange *x, const char *request_id, const char *uuid,
                  const cJSON *json)
{
    const char *values[SCHED_MAX_VALUES];
    int count = read_values(json, values);
    struct inspect *inspect = count < 0 ? NULL : calloc(1, sizeof *inspect);

    if (count < 0) {
        reply_error(x, request_id, "InvalidRequestContentException",
                    "The body must be {\"values\": [texts of 4 to 4096 bytes, 1024 of them, 96 KiB together "
                    "at most]}",
                    NULL);
        return;
    }
    if (!inspect) {
        reply_error(x, request_id, "ServiceException", "Out of memory", NULL);
        return;
    }
    inspect->x = x;
    memcpy(inspect->request_id, request_id, UUID_BYTES);
    memcpy(inspect->uuid, uuid, UUID_BYTES);
    if (sched_inspect(door->config.sched, uuid, values, (size_t)count, on_inspected, inspect))
        return;
    free(inspect);
    reply_none(x, request_id);
}

void reserved_handle(struct door *door, struct http_exchange *x, const char *request_id,
                     const struct principal *principal, const char *uuid, bool inspect)
{
    const struct http_request *request = http_exchange_request(x);
    char headers[80];
    cJSON *json;

    if (!reserved_allowed(principal)) {
        reply_denied(x, request_id, principal, "irori:Inspect", "*");
    } else if (!http_slice_equal(request->method, inspect ? "POST" : "DELETE")) {
        reply_error(x, request_id, "UnknownOperationException",
                    inspect ? "This path answers POST only" : "This path answers DELETE only", NULL);
    } else if (inspect) {
        json = json_valid(request->body, request->body_len, NULL)
                   ? cJSON_ParseWithLength(request->body, request->body_len)
                   : NULL;
        begin(door, x, request_id, uuid, json);
        cJSON_Delete(json);
    } else if (sched_end_reserved(door->config.sched, uuid)) {
        (void)snprintf(headers, sizeof headers, "x-amzn-RequestId: %s\r\n", request_id);
        http_reply(x, 204, headers, strlen(headers), NULL, 0, NULL, NULL);
    } else {
        reply_none(x, request_id);
    }
}
