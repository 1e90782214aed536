#include "door/url_event.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "door/json_priv.h"
#include "http/parser.h"

enum {
    FEW_PARAMS = 32,     /* as many need no memory of their own */
    LIKELY_BYTES = 3000, /* of an event without query and body */
};

/* Inline, so that the lengths of the many constants are constants. */
static inline void put(struct buf *out, const char *text)
{
    json_put(out, text, strlen(text));
}

static void put_string(struct buf *out, const char *text)
{
    (void)json_put_string(out, text, strlen(text));
}

/* ,"name":"text" */
static void put_member(struct buf *out, const char *name, const char *text)
{
    put(out, ",\"");
    put(out, name);
    put(out, "\":");
    put_string(out, text);
}

static void put_number(struct buf *out, uint64_t value)
{
    char digits[20];
    size_t n = sizeof digits;

    do {
        digits[--n] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    json_put(out, digits + n, sizeof digits - n);
}

static void put_two(struct buf *out, unsigned value)
{
    json_put(out, (char[]){ (char)('0' + value / 10 % 10), (char)('0' + value % 10) }, 2);
}

/* dd/Mon/yyyy:HH:mm:ss +0000, without the C library's time zone machinery: this is done for every event. */
static void put_clf_time(struct buf *out, uint64_t now_ms)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    uint64_t seconds = now_ms / 1000;
    unsigned of_day = (unsigned)(seconds % 86400);
    /* Days since 1 March of the year 0, so that a leap day ends its year: 400 years have 146,097 days. */
    uint64_t days = seconds / 86400 + 719468;
    uint64_t era = days / 146097;
    unsigned of_era = (unsigned)(days % 146097);
    unsigned year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year + year / 4 - year / 100);
    unsigned from_march = (5 * of_year + 2) / 153;
    unsigned month = from_march < 10 ? from_march + 2 : from_march - 10; /* 0 = January */

    put_two(out, of_year - (153 * from_march + 2) / 5 + 1);
    json_put_char(out, '/');
    json_put(out, months + (size_t)month * 3, 3);
    json_put_char(out, '/');
    put_number(out, era * 400 + year + (month < 2));
    json_put_char(out, ':');
    put_two(out, of_day / 3600);
    json_put_char(out, ':');
    put_two(out, of_day / 60 % 60);
    json_put_char(out, ':');
    put_two(out, of_day % 60);
    put(out, " +0000");
}

/* --- headers and cookies
 * ---------------------------------------------------------------------------------------- */

/* clang-format off */
#define NAME(text) { (text), sizeof(text) - 1 }

/* Not handed on as they came: hop-by-hop ones, cookies (an own member), and those that the platform writes itself
 * and that a caller must not be able to forge. */
static const struct http_slice not_forwarded[] = {
    NAME("connection"), NAME("keep-alive"), NAME("proxy-connection"), NAME("proxy-authenticate"),
    NAME("proxy-authorization"), NAME("te"), NAME("trailer"), NAME("transfer-encoding"), NAME("upgrade"),
    NAME("cookie"), NAME("host"), NAME("x-forwarded-for"), NAME("x-forwarded-port"),
    NAME("x-forwarded-proto"), NAME("x-amzn-trace-id"), NAME("x-amzn-tls-version"), NAME("x-amzn-tls-cipher-suite"),
};
/* clang-format on */

static bool same_text(struct http_slice a, struct http_slice b)
{
    return a.len == b.len && strncasecmp(a.at, b.at, a.len) == 0;
}

static bool is_forwarded(const struct url_event *event, struct http_slice name)
{
    if (event->iam && http_slice_equal_nocase(name, "authorization"))
        return false;
    for (size_t i = 0; i < sizeof not_forwarded / sizeof not_forwarded[0]; i++) {
        if (same_text(name, not_forwarded[i]))
            return false;
    }
    return true;
}

/* A name is a token, so it needs no escapes. */
static void put_lower(struct buf *out, struct http_slice name)
{
    char *to;

    json_put(out, name.at, name.len);
    if (out->failed)
        return;
    to = out->data + out->len - name.len;
    for (size_t i = 0; i < name.len; i++) {
        if (to[i] >= 'A' && to[i] <= 'Z')
            to[i] = (char)(to[i] + 32);
    }
}

/* The value of header number at and of those after it with the same name, as one JSON string. */
static void put_joined(struct buf *out, const struct http_request *request, size_t at)
{
    const struct http_header *headers = request->headers;

    (void)json_put_string(out, headers[at].value.at, headers[at].value.len);
    for (size_t i = at + 1; i < request->header_count && !out->failed; i++) {
        if (!same_text(headers[at].name, headers[i].name))
            continue;
        out->len--; /* the closing quote; the next string's opening one becomes the comma */
        out->data[out->len] = '\0';
        size_t comma = out->len;
        if (json_put_string(out, headers[i].value.at, headers[i].value.len) == 0)
            out->data[comma] = ',';
    }
}

static bool came_before(const struct http_request *request, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (same_text(request->headers[i].name, request->headers[at].name))
            return true;
    }
    return false;
}

static void put_headers(const struct url_event *event, struct buf *out)
{
    const struct http_request *request = event->request;

    put(out, ",\"headers\":{\"host\":");
    put_string(out, event->host);
    for (size_t i = 0; i < request->header_count; i++) {
        const struct http_header *header = &request->headers[i];

        if (!is_forwarded(event, header->name) || came_before(request, i))
            continue;
        put(out, ",\"");
        put_lower(out, header->name);
        put(out, "\":");
        put_joined(out, request, i);
    }
    if (request->chunked) { /* the function gets the body whole, so it gets its length */
        put(out, ",\"content-length\":\"");
        put_number(out, request->body_len);
        json_put_char(out, '"');
    }
    put_member(out, "x-forwarded-for", event->source_ip);
    put(out, ",\"x-forwarded-port\":\"");
    put_number(out, event->port);
    json_put_char(out, '"');
    put_member(out, "x-forwarded-proto", event->scheme);
    if (event->trace_id)
        put_member(out, "x-amzn-trace-id", event->trace_id);
    if (event->tls_version)
        put_member(out, "x-amzn-tls-version", event->tls_version);
    if (event->tls_cipher)
        put_member(out, "x-amzn-tls-cipher-suite", event->tls_cipher);
    json_put_char(out, '}');
}

/* Appends the cookies of one header. Returns how many there are now. */
static size_t put_cookie_header(struct buf *out, struct http_slice value, size_t count)
{
    const char *at = value.at, *stop = value.at + value.len;

    while (at < stop) {
        const char *mark = memchr(at, ';', (size_t)(stop - at));
        const char *end = mark ? mark : stop;

        while (at < end && *at == ' ')
            at++;
        while (end > at && end[-1] == ' ')
            end--;
        if (end > at) {
            put(out, count++ == 0 ? ",\"cookies\":[" : ",");
            (void)json_put_string(out, at, (size_t)(end - at));
        }
        at = mark ? mark + 1 : stop;
    }
    return count;
}

static void put_cookies(const struct http_request *request, struct buf *out)
{
    size_t count = 0;

    for (size_t i = 0; i < request->header_count; i++) {
        if (http_slice_equal_nocase(request->headers[i].name, "cookie"))
            count = put_cookie_header(out, request->headers[i].value, count);
    }
    if (count > 0)
        json_put_char(out, ']');
}

/* --- query
 * ------------------------------------------------------------------------------------------------------ */

struct param {
    size_t key, key_len, value, value_len; /* in the decoded text */
    size_t next;                           /* parameter of the same name, or its own index: the last */
    bool repeated;                         /* there is one of the same name before */
};

static size_t count_params(struct http_slice query)
{
    size_t count = 1;

    for (size_t i = 0; i < query.len; i++)
        count += query.at[i] == '&';
    return count;
}

/* Splits and decodes; a broken escape stays as it is. Returns the number of parameters. */
static size_t decode_params(struct http_slice query, struct param *params, struct buf *text)
{
    const char *at = query.at, *stop = query.at + query.len;
    size_t count = 0;

    while (at < stop) {
        const char *mark = memchr(at, '&', (size_t)(stop - at));
        const char *end = mark ? mark : stop;
        const char *equals = memchr(at, '=', (size_t)(end - at));
        const char *key_end = equals ? equals : end;
        struct param *param = &params[count];

        if (end > at) {
            param->key = text->len;
            (void)text_percent_decode(at, (size_t)(key_end - at), true, text);
            param->key_len = text->len - param->key;
            param->value = text->len;
            if (equals)
                (void)text_percent_decode(equals + 1, (size_t)(end - equals - 1), true, text);
            param->value_len = text->len - param->value;
            param->next = count++;
            param->repeated = false;
        }
        at = mark ? mark + 1 : stop;
    }
    return count;
}

struct by_key {
    const struct param *params;
    const char *text;
};

static int compare_keys(const struct by_key *by, size_t a, size_t b)
{
    const struct param *first = &by->params[a], *second = &by->params[b];
    size_t len = first->key_len < second->key_len ? first->key_len : second->key_len;
    int order = len > 0 ? memcmp(by->text + first->key, by->text + second->key, len) : 0;

    if (order != 0)
        return order;
    return first->key_len < second->key_len ? -1 : first->key_len > second->key_len;
}

static int compare_params(const void *a, const void *b, void *context)
{
    size_t first = *(const size_t *)a, second = *(const size_t *)b;
    int order = compare_keys(context, first, second);

    return order != 0 ? order : first < second ? -1 : 1;
}

/* Chains parameters of one name. By sorting: a caller may send thousands, and choose them to collide in any
 * hash. */
static void chain_params(struct param *params, size_t *order, size_t count, const char *text)
{
    struct by_key by = { params, text };

    for (size_t i = 0; i < count; i++)
        order[i] = i;
    qsort_r(order, count, sizeof *order, compare_params, &by);
    for (size_t i = 1; i < count; i++) {
        if (compare_keys(&by, order[i - 1], order[i]) == 0) {
            params[order[i - 1]].next = order[i];
            params[order[i]].repeated = true;
        }
    }
}

static void put_params(struct buf *out, const struct param *params, size_t count, const char *text)
{
    bool first = true;

    for (size_t i = 0; i < count && !out->failed; i++) {
        size_t at = i;

        if (params[i].repeated)
            continue;
        put(out, first ? ",\"queryStringParameters\":{" : ",");
        first = false;
        (void)json_put_string(out, text + params[i].key, params[i].key_len);
        json_put_char(out, ':');
        (void)json_put_string(out, text + params[i].value, params[i].value_len);
        while (params[at].next != at && !out->failed) {
            size_t comma = --out->len;

            at = params[at].next;
            if (json_put_string(out, text + params[at].value, params[at].value_len) == 0)
                out->data[comma] = ',';
        }
    }
    if (!first)
        json_put_char(out, '}');
}

/* Returns 0 or -ENOMEM. */
static int put_query(const struct http_request *request, struct buf *out)
{
    AUTO_BUF struct buf text = BUF_INIT(request->query.len);
    AUTO_FREE void *memory = NULL;
    struct param few[FEW_PARAMS], *params = few;
    size_t few_order[FEW_PARAMS], *order = few_order;
    size_t count;

    if (request->query.len == 0)
        return 0;
    count = count_params(request->query);
    if (count > FEW_PARAMS) {
        memory = malloc(count * (sizeof *params + sizeof *order));
        if (!memory)
            return -ENOMEM;
        params = memory;
        order = (size_t *)(void *)(params + count);
    }
    if (buf_reserve(&text, request->query.len) < 0)
        return -ENOMEM;
    count = decode_params(request->query, params, &text);
    chain_params(params, order, count, text.data);
    put_params(out, params, count, text.data);
    return 0;
}

/* --- the rest
 * --------------------------------------------------------------------------------------------------- */

static void put_authorizer(const struct principal *iam, struct buf *out)
{
    put(out, ",\"authorizer\":{\"iam\":{\"accessKey\":");
    put_string(out, iam->access_key);
    put_member(out, "accountId", iam->account);
    put_member(out, "callerId", iam->user_id);
    put(out, ",\"cognitoIdentity\":null,\"principalOrgId\":null");
    put_member(out, "userArn", iam->arn);
    put_member(out, "userId", iam->user_id);
    put(out, "}}");
}

static void put_path(const struct url_event *event, struct buf *out)
{
    (void)json_put_string(out, event->path_len > 0 ? event->path : "/",
                          event->path_len > 0 ? event->path_len : 1);
}

static void put_http(const struct url_event *event, struct buf *out)
{
    const struct http_request *request = event->request;
    const struct http_slice *agent = http_request_header(request, "user-agent");

    put(out, ",\"http\":{\"method\":");
    (void)json_put_string(out, request->method.at, request->method.len);
    put(out, ",\"path\":");
    put_path(event, out);
    put(out, request->minor == 1 ? ",\"protocol\":\"HTTP/1.1\"" : ",\"protocol\":\"HTTP/1.0\"");
    put_member(out, "sourceIp", event->source_ip);
    if (agent) {
        put(out, ",\"userAgent\":");
        (void)json_put_string(out, agent->at, agent->len);
    }
    json_put_char(out, '}');
}

static void put_context(const struct url_event *event, struct buf *out)
{
    put(out, ",\"requestContext\":{\"accountId\":");
    put_string(out, event->iam ? event->account : "anonymous");
    put_member(out, "apiId", event->url_id);
    if (event->iam)
        put_authorizer(event->iam, out);
    put_member(out, "domainName", event->domain_name);
    put_member(out, "domainPrefix", event->url_id);
    put_http(event, out);
    put_member(out, "requestId", event->request_id);
    put(out, ",\"routeKey\":\"$default\",\"stage\":\"$default\",\"time\":\"");
    put_clf_time(out, event->now_ms);
    put(out, "\",\"timeEpoch\":");
    put_number(out, event->now_ms);
    json_put_char(out, '}');
}

/* Whether a body of this type is delivered as text; spec: everything else is not, also when it looks like
 * text. */
static bool type_is_text(const struct http_slice *type)
{
    size_t len = 0;

    if (!type)
        return false;
    while (len < type->len && type->at[len] != ';')
        len++;
    while (len > 0 && (type->at[len - 1] == ' ' || type->at[len - 1] == '\t'))
        len--;
    if (len > 5 && strncasecmp(type->at, "text/", 5) == 0)
        return true;
    return text_equal_nocase(type->at, len, "application/json") ||
           text_equal_nocase(type->at, len, "application/xml") ||
           text_equal_nocase(type->at, len, "application/javascript");
}

static void put_body(const struct http_request *request, struct buf *out)
{
    bool is_text = true;

    if (request->body_len > 0) {
        is_text = type_is_text(http_request_header(request, "content-type")) &&
                  json_is_utf8(request->body, request->body_len);
        put(out, ",\"body\":");
        if (is_text) {
            (void)json_put_string(out, request->body, request->body_len);
        } else {
            json_put_char(out, '"');
            (void)text_base64_encode(request->body, request->body_len, out);
            json_put_char(out, '"');
        }
    }
    put(out, is_text ? ",\"isBase64Encoded\":false}" : ",\"isBase64Encoded\":true}");
}

int url_event_write(const struct url_event *event, struct buf *out)
{
    const struct http_request *request = event->request;
    size_t likely = LIKELY_BYTES + request->query.len * 2 + request->body_len * 4 / 3;
    size_t room = out->max - out->len;

    (void)buf_reserve(out, likely < room ? likely : room);
    put(out, "{\"version\":\"2.0\",\"routeKey\":\"$default\",\"rawPath\":");
    put_path(event, out);
    put(out, ",\"rawQueryString\":");
    (void)json_put_string(out, request->query.at, request->query.len);
    put_cookies(request, out);
    put_headers(event, out);
    if (put_query(request, out) < 0)
        return -ENOMEM;
    put_context(event, out);
    put_body(request, out);
    return json_end(out);
}
