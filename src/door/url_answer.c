#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "door/json_priv.h"
#include "door/url_event.h"
#include "model/function.h"

enum {
    HEADERS_BYTES_MAX = 256 * 1024,
    HEADERS_MAX = 1000,
    FEW_HEADERS = 32, /* as many need no memory of their own */
    NAME_BYTES_MAX = 256,
};

static const char default_type[] = "Content-Type: application/json\r\n";
static const char stream_type[] = "Content-Type: application/octet-stream\r\n";

/* clang-format off */
/* The platform writes these itself, and some of them frame the answer: the function's go out under another
 * name. */
static const char *const owned_by_platform[] = {
    "connection", "content-length", "date", "keep-alive", "proxy-connection", "server", "te", "trailer",
    "transfer-encoding", "upgrade", "x-amzn-requestid", "x-amzn-trace-id",
};
/* clang-format on */

/* Members of a structured response that mean something; raw JSON values, absent when never seen. */
struct members {
    struct json_slice status, headers, cookies, body, is_base64;
};

struct entry {
    struct json_slice name, value; /* name without quotes, raw; value as it stands */
};

static bool is_null(struct json_slice value)
{
    return !value.at || (value.len == 4 && memcmp(value.at, "null", 4) == 0);
}

static bool is_string(struct json_slice value)
{
    return value.at && value.at[0] == '"';
}

static struct json_slice unquoted(struct json_slice string)
{
    return (struct json_slice){ string.at + 1, string.len - 2 };
}

static bool has_escapes(struct json_slice raw)
{
    return raw.len > 0 && memchr(raw.at, '\\', raw.len) != NULL;
}

/* --- inference
 * -------------------------------------------------------------------------------------------------- */

/* The member's slot, NULL when it means nothing. */
static struct json_slice *member_slot(struct members *members, struct json_slice raw_name)
{
    const struct {
        const char *name;
        struct json_slice *slot;
    } known[] = {
        { "statusCode", &members->status },         { "headers", &members->headers },
        { "cookies", &members->cookies },           { "body", &members->body },
        { "isBase64Encoded", &members->is_base64 },
    };
    AUTO_BUF struct buf name = BUF_INIT(NAME_BYTES_MAX);

    if (has_escapes(raw_name)) { /* the longest known name has 15 characters, as escapes 90 bytes */
        if (raw_name.len > NAME_BYTES_MAX || json_put_decoded(&name, raw_name) < 0)
            return NULL;
        raw_name = (struct json_slice){ name.data, name.len };
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strlen(known[i].name) == raw_name.len && memcmp(known[i].name, raw_name.at, raw_name.len) == 0)
            return known[i].slot;
    }
    return NULL;
}

/* Reads an object and notes the members that mean something; the last of a name counts. */
static bool read_members(struct json_reader *reader, struct members *ret_members)
{
    struct json_slice name, value, *slot;

    if (!json_take(reader, '{'))
        return false;
    if (json_take(reader, '}'))
        return true;
    do {
        if (!json_read_string(reader, &name) || !json_take(reader, ':') || !json_read_value(reader, &value))
            return false;
        slot = member_slot(ret_members, name);
        if (slot)
            *slot = value;
    } while (json_take(reader, ','));
    return json_take(reader, '}');
}

/* Makes the text of a raw string the body: in place, or decoded. */
static int string_body(struct url_answer *answer, struct json_slice raw)
{
    if (!has_escapes(raw)) {
        answer->body = raw.at;
        answer->body_len = raw.len;
        return 0;
    }
    answer->owned = BUF_INIT(raw.len);
    if (json_put_decoded(&answer->owned, raw) < 0)
        return -EINVAL;
    answer->body = answer->owned.data;
    answer->body_len = answer->owned.len;
    return 0;
}

static int plain_answer(struct url_answer *answer, struct json_slice value, bool canonical)
{
    answer->status = 200;
    (void)buf_puts(&answer->headers, default_type);
    if (is_string(value))
        return string_body(answer, unquoted(value));
    answer->body = value.at;
    answer->body_len = value.len;
    if (canonical)
        return 0;
    /* What is decoded and needs no escape is shorter than its escape; what needs one has had one. */
    answer->owned = BUF_INIT(value.len);
    if (json_put_compact(&answer->owned, value.at, value.len) < 0)
        return -EINVAL;
    answer->body = answer->owned.data;
    answer->body_len = answer->owned.len;
    return 0;
}

/* --- structured response
 * ---------------------------------------------------------------------------------------- */

/* 200, "200", and 200.0 as languages without integers write it. */
static int read_status(struct json_slice value, int *ret_status)
{
    struct json_slice digits = is_string(value) ? unquoted(value) : value;
    size_t len = digits.len;
    uint64_t status;

    if (!is_string(value)) {
        const char *point = memchr(digits.at, '.', digits.len);

        len = point ? (size_t)(point - digits.at) : digits.len;
        for (size_t i = len + 1; i < digits.len; i++) {
            if (digits.at[i] != '0')
                return -EINVAL;
        }
    }
    if (!text_to_u64(digits.at, len, 599, &status) || status < 100)
        return -EINVAL;
    *ret_status = (int)status;
    return 0;
}

static bool name_is_token(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = name[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (c != '\0' && strchr("!#$%&'*+-.^_`|~", c))))
            return false;
    }
    return len > 0 && len <= NAME_BYTES_MAX;
}

/* No line end, no NUL nor another control character: the answer stays the answer that it is. */
static bool value_is_safe(const char *value, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)value[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static bool is_owned_by_platform(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof owned_by_platform / sizeof owned_by_platform[0]; i++) {
        if (text_equal_nocase(name, len, owned_by_platform[i]))
            return true;
    }
    return false;
}

/* "Name: value\r\n"; value is a raw JSON scalar. Returns 0 or -EINVAL. */
static int put_line(struct buf *out, const char *name, size_t name_len, struct json_slice value)
{
    size_t start;
    int result = 0;

    (void)buf_append(out, name, name_len);
    (void)buf_puts(out, ": ");
    start = out->len;
    if (is_string(value))
        result = json_put_decoded(out, unquoted(value));
    else if (value.at[0] == '{' || value.at[0] == '[')
        result = -EINVAL;
    else
        (void)buf_append(out, value.at, value.len);
    if (result < 0 || out->failed || !value_is_safe(out->data + start, out->len - start))
        return -EINVAL;
    return buf_puts(out, "\r\n") < 0 ? -EINVAL : 0;
}

static int put_header(struct buf *out, const char *name, size_t len, struct json_slice value)
{
    if (!name_is_token(name, len))
        return -EINVAL;
    if (is_owned_by_platform(name, len))
        (void)buf_puts(out, "x-amzn-Remapped-");
    return put_line(out, name, len, value);
}

/* Reads the headers object, already known to be valid, into entries. Returns how many, or -EINVAL. */
static int read_entries(struct json_slice headers, struct entry *entries, size_t max)
{
    struct json_reader reader = { .at = headers.at, .end = headers.at + headers.len };
    size_t count = 0;

    if (!json_take(&reader, '{'))
        return -EINVAL;
    if (json_take(&reader, '}'))
        return 0;
    do {
        struct entry entry;

        if (count == max || !json_read_string(&reader, &entry.name) || !json_take(&reader, ':') ||
            !json_read_value(&reader, &entry.value))
            return -EINVAL;
        entries[count++] = entry;
    } while (json_take(&reader, ','));
    return (int)count;
}

/* Whether a later entry takes this one's place: names differ in nothing but case. Not for Set-Cookie, since
 * functions have long varied its case to send several. */
static bool is_overridden(const struct entry *entries, size_t count, size_t at)
{
    struct json_slice name = entries[at].name;
    bool by_case = !text_equal_nocase(name.at, name.len, "set-cookie");

    for (size_t i = at + 1; i < count; i++) {
        struct json_slice other = entries[i].name;

        if (other.len == name.len && (by_case ? strncasecmp(other.at, name.at, name.len) == 0
                                              : memcmp(other.at, name.at, name.len) == 0))
            return true;
    }
    return false;
}

static int put_entry(struct url_answer *answer, const struct entry *entry, bool *has_type)
{
    AUTO_BUF struct buf decoded = BUF_INIT(NAME_BYTES_MAX);
    const char *name = entry->name.at;
    size_t len = entry->name.len;

    if (has_escapes(entry->name)) {
        if (entry->name.len > NAME_BYTES_MAX || json_put_decoded(&decoded, entry->name) < 0)
            return -EINVAL;
        name = decoded.data;
        len = decoded.len;
    }
    if (is_null(entry->value)) /* languages with optional values send them so */
        return name_is_token(name, len) ? 0 : -EINVAL;
    *has_type |= text_equal_nocase(name, len, "content-type");
    return put_header(&answer->headers, name, len, entry->value);
}

static int structured_headers(struct url_answer *answer, struct json_slice headers, const char *standard_type)
{
    AUTO_FREE struct entry *memory = NULL;
    struct entry few[FEW_HEADERS], *entries = few;
    bool has_type = false;
    int count = 0;

    if (!is_null(headers))
        count = read_entries(headers, few, FEW_HEADERS);
    if (count < 0 && headers.at[0] == '{') {
        memory = malloc(HEADERS_MAX * sizeof *memory);
        entries = memory;
        count = memory ? read_entries(headers, memory, HEADERS_MAX) : -EINVAL;
    }
    if (count < 0)
        return -EINVAL;
    for (size_t i = 0; i < (size_t)count; i++) {
        if (!is_overridden(entries, (size_t)count, i) && put_entry(answer, &entries[i], &has_type) < 0)
            return -EINVAL;
    }
    return has_type || buf_puts(&answer->headers, standard_type) == 0 ? 0 : -EINVAL;
}

static int structured_cookies(struct url_answer *answer, struct json_slice cookies)
{
    struct json_reader reader = { 0 };
    struct json_slice value;

    if (is_null(cookies))
        return 0;
    reader.at = cookies.at;
    reader.end = cookies.at + cookies.len;
    if (!json_take(&reader, '['))
        return -EINVAL;
    if (json_take(&reader, ']'))
        return 0;
    do {
        if (!json_read_value(&reader, &value) || !is_string(value) ||
            put_line(&answer->headers, "Set-Cookie", strlen("Set-Cookie"), value) < 0)
            return -EINVAL;
    } while (json_take(&reader, ','));
    return 0;
}

static int base64_body(struct url_answer *answer)
{
    struct buf bytes = BUF_INIT(answer->body_len);

    if (text_base64_decode(answer->body, answer->body_len, &bytes) < 0) {
        buf_done(&bytes);
        return -EINVAL;
    }
    buf_done(&answer->owned);
    answer->owned = bytes;
    answer->body = bytes.data;
    answer->body_len = bytes.len;
    return 0;
}

static int structured_body(struct url_answer *answer, const struct members *members)
{
    bool base64 = members->is_base64.at && members->is_base64.at[0] == 't';

    if (!is_null(members->is_base64) && !base64 && members->is_base64.at[0] != 'f')
        return -EINVAL;
    if (is_null(members->body))
        return 0;
    if (!is_string(members->body) || string_body(answer, unquoted(members->body)) < 0)
        return -EINVAL;
    return base64 && answer->body_len > 0 ? base64_body(answer) : 0;
}

static int structured_answer(struct url_answer *answer, const struct members *members)
{
    if (read_status(members->status, &answer->status) < 0 ||
        structured_headers(answer, members->headers, default_type) < 0 ||
        structured_cookies(answer, members->cookies) < 0)
        return -EINVAL;
    return structured_body(answer, members);
}

/* A prelude is a structured response without body: status, headers, cookies; each may be absent. */
static int prelude_answer(struct url_answer *answer, const char *prelude, size_t len)
{
    struct json_reader reader = { .at = prelude, .end = prelude + len };
    struct members members = { 0 };

    json_skip_space(&reader);
    if (reader.at == reader.end || *reader.at != '{' || !read_members(&reader, &members))
        return -EINVAL;
    json_skip_space(&reader);
    answer->status = 200;
    if (reader.at < reader.end ||
        (!is_null(members.status) && read_status(members.status, &answer->status) < 0) ||
        structured_headers(answer, members.headers, stream_type) < 0)
        return -EINVAL;
    return structured_cookies(answer, members.cookies);
}

int url_answer_read_stream(const char *result, size_t len, struct url_answer *ret_answer)
{
    static const char delimiter[8];
    struct url_answer answer = { .headers = BUF_INIT(HEADERS_BYTES_MAX), .body = "" };
    const char *end = memmem(result, len, delimiter, sizeof delimiter);

    if (!end || prelude_answer(&answer, result, (size_t)(end - result)) < 0) {
        url_answer_done(&answer);
        return -EINVAL;
    }
    answer.body = end + sizeof delimiter;
    answer.body_len = len - (size_t)(answer.body - result);
    *ret_answer = answer;
    return 0;
}

int url_answer_read(const char *result, size_t len, struct url_answer *ret_answer)
{
    struct json_reader reader = { .at = result, .end = result + len, .canonical = true };
    struct url_answer answer = { .headers = BUF_INIT(HEADERS_BYTES_MAX), .body = "" };
    struct json_slice value = { "null", 4 };
    struct members members = { 0 };
    bool valid = true;

    json_skip_space(&reader);
    if (reader.at < reader.end && *reader.at == '{') {
        value.at = reader.at;
        valid = read_members(&reader, &members);
        value.len = (size_t)(reader.at - value.at);
    } else if (reader.at < reader.end) {
        valid = json_read_value(&reader, &value);
    }
    json_skip_space(&reader);
    if (!valid || reader.at < reader.end ||
        (members.status.at ? structured_answer(&answer, &members)
                           : plain_answer(&answer, value, reader.canonical)) < 0) {
        url_answer_done(&answer);
        return -EINVAL;
    }
    *ret_answer = answer;
    return 0;
}

void url_answer_done(struct url_answer *answer)
{
    buf_done(&answer->headers);
    buf_done(&answer->owned);
    answer->body = NULL;
    answer->body_len = 0;
}

/* --- CORS
 * ------------------------------------------------------------------------------------------------------- */

static bool list_has(char *const *list, const char *text, size_t len)
{
    for (; list && *list; list++) {
        if (text_equal_nocase(text, len, *list))
            return true;
    }
    return false;
}

/* "Name: a,b\r\n"; nothing for an absent or empty list. */
static void put_list(struct buf *out, const char *name, char *const *list)
{
    if (!list || !*list)
        return;
    (void)buf_puts(out, name);
    for (const char *between = ": "; *list; list++, between = ",") {
        if (!value_is_safe(*list, strlen(*list)))
            continue;
        (void)buf_puts(out, between);
        (void)buf_puts(out, *list);
    }
    (void)buf_puts(out, "\r\n");
}

void url_cors_headers(const struct fn_cors *cors, const char *origin, size_t origin_len, bool preflight,
                      struct buf *out)
{
    bool any = list_has(cors->allow_origins, "*", 1);

    if (origin_len == 0 || !value_is_safe(origin, origin_len) ||
        (!any && !list_has(cors->allow_origins, origin, origin_len)))
        return;
    if (any && !cors->allow_credentials) {
        (void)buf_puts(out, "Access-Control-Allow-Origin: *\r\n");
    } else {
        (void)buf_puts(out, "Access-Control-Allow-Origin: ");
        (void)buf_append(out, origin, origin_len);
        (void)buf_puts(out, "\r\nVary: Origin\r\n");
    }
    if (cors->allow_credentials)
        (void)buf_puts(out, "Access-Control-Allow-Credentials: true\r\n");
    if (!preflight) {
        put_list(out, "Access-Control-Expose-Headers", cors->expose_headers);
        return;
    }
    put_list(out, "Access-Control-Allow-Methods", cors->allow_methods);
    put_list(out, "Access-Control-Allow-Headers", cors->allow_headers);
    if (cors->max_age_s > 0)
        (void)buf_printf(out, "Access-Control-Max-Age: %u\r\n", cors->max_age_s);
}
