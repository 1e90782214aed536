#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/api_priv.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"

enum { ANSWER_MAX_BYTES = 32 * 1048576, ZIPPED_MAX_BYTES = 52428800 };

bool call_failed(struct call *call)
{
    log_error("api: request failed operation=%s request_id=%s error=\"%s\"", call->route->operation,
              call->request->request_id ? call->request->request_id : "", call->err.text);
    api_error(call->response, "ServiceException", "An error occurred and the request cannot be processed: %s",
              call->err.text[0] ? call->err.text : "out of memory");
    return false;
}

bool call_answer(struct call *call, int status, cJSON *json)
{
    char *text = json ? cJSON_PrintUnformatted(json) : NULL;
    struct buf body = BUF_INIT(ANSWER_MAX_BYTES);

    cJSON_Delete(json);
    if (!text || buf_puts(&body, text) < 0) {
        cJSON_free(text);
        buf_done(&body);
        (void)err_set(&call->err, ERR_SYSTEM, 0, "out of memory");
        return call_failed(call);
    }
    cJSON_free(text);
    call->response->status = status;
    call->response->body = body;
    return true;
}

bool call_answer_empty(struct call *call)
{
    call->response->status = 204;
    return true;
}

void call_changed(struct call *call, const char *name, bool settle)
{
    struct api_response *response = call->response;

    (void)snprintf(response->changed[0], sizeof response->changed[0], "%s", name);
    response->changed_count = 1;
    response->settle = settle;
}

static bool decode_pair(const char *pair, size_t len, const char *name, struct buf *out)
{
    const char *equals = memchr(pair, '=', len);
    size_t name_len = equals ? (size_t)(equals - pair) : len;
    AUTO_BUF struct buf key = BUF_INIT(1024);

    if (text_percent_decode(pair, name_len, true, &key) == -EMSGSIZE || !key.data ||
        strcmp(key.data, name) != 0)
        return false;
    buf_clear(out);
    if (equals)
        (void)text_percent_decode(equals + 1, len - name_len - 1, true, out);
    else
        (void)buf_puts(out, "");
    return out->data != NULL;
}

bool call_query(struct call *call, const char *name, unsigned n, struct buf *out)
{
    const char *at = call->request->query ? call->request->query : "";

    while (*at) {
        size_t len = strcspn(at, "&");

        if (decode_pair(at, len, name, out) && n-- == 0)
            return true;
        at += len;
        at += *at == '&';
    }
    return false;
}

const cJSON *call_member(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

    return cJSON_IsNull(item) ? NULL : item;
}

const char *call_text(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(call_member(object, name));
}

static bool refuse_code(struct call *call, enum code_status status)
{
    static const char not_zip[] =
        "Could not unzip uploaded file. Please check your file, then try to upload again.";

    switch (status) {
    case CODE_OK:
        return true;
    case CODE_NOT_ZIP:
        /* The service's own text; what it would not tell is added where the archive is well formed. */
        if (call->err.code == ERR_DENIED)
            api_error(call->response, "InvalidParameterValueException", "%s (%s)", not_zip, call->err.text);
        else
            api_error(call->response, "InvalidParameterValueException", "%s", not_zip);
        return false;
    case CODE_ZIPPED_TOO_BIG:
        api_error(call->response, "RequestEntityTooLargeException",
                  "Zipped size must be smaller than 52428800 bytes");
        return false;
    case CODE_UNZIPPED_TOO_BIG:
        api_error(call->response, "InvalidParameterValueException",
                  "Unzipped size must be smaller than 262144000 bytes");
        return false;
    case CODE_SYSTEM:
        return call_failed(call);
    }
    return false;
}

bool call_take_code(struct call *call, cJSON *code)
{
    const char *text = call_text(code, "ZipFile");
    size_t len = text ? strlen(text) : 0;
    AUTO_BUF struct buf archive = BUF_INIT((size_t)ZIPPED_MAX_BYTES + 4);
    int result;

    if (!text)
        return true;
    if (len / 4 * 3 > (size_t)ZIPPED_MAX_BYTES + 2)
        return refuse_code(call, CODE_ZIPPED_TOO_BIG);
    result = text_base64_decode(text, len, &archive);
    if (result == -EINVAL) {
        api_error(call->response, "SerializationException", "Member ZipFile must be base64");
        return false;
    }
    if (result < 0) {
        (void)err_set(&call->err, ERR_SYSTEM, -result, "cannot decode the archive");
        return call_failed(call);
    }
    /* As large as the archive, and of no use any more while that is unpacked. */
    cJSON_DeleteItemFromObjectCaseSensitive(code, "ZipFile");
    call->has_upload = pthread_rwlock_rdlock(&call->api->uploads) == 0;
    if (!refuse_code(call, code_add(call->api->config.code_fd, archive.data ? archive.data : "", archive.len,
                                    &call->package, &call->err)))
        return false;
    call->has_package = true;
    return true;
}
