/* Values of events: which are looked for, and how they are shown. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/text.h"
#include "cli/cli_priv.h"
#include "cli/client.h"
#include "cli/leaks.h"

enum {
    LENGTH_MIN = 6, /* shorter ones are met by chance */
    BRIEF_MIN = 3,  /* but not where the answer changes into one */
    PIECE_MIN = 8,
    LENGTH_MAX = 1024, /* of a longer one the beginning is looked for */
    VALUES_MAX = 300,
    NEEDLES_MAX_BYTES = 90 * 1024,
    NESTED_MAX = 3, /* JSON in strings in JSON */
    LINE_MAX_BYTES = 64 * 1024,
    EXCERPT_BEFORE = 60,
    EXCERPT_BYTES = 180,
};

static const char *text_of(const struct buf *buf)
{
    return buf->data ? buf->data : "";
}

/* ---- leaves ---- */

static void leaves_of(const cJSON *item, struct buf *path, unsigned nested, cJSON *out, int *count);

static void add_leaf(const struct buf *path, const char *text, cJSON *out, int *count)
{
    if ((*count)++ < LEAK_LEAVES_MAX)
        (void)cJSON_AddStringToObject(out, text_of(path), text);
}

static void leaves_of_string(const char *text, struct buf *path, unsigned nested, cJSON *out, int *count)
{
    const char *first = text + strspn(text, " \t\r\n");
    AUTO_JSON *inner = nested < NESTED_MAX && (*first == '{' || *first == '[') ? cJSON_Parse(text) : NULL;

    if (inner)
        leaves_of(inner, path, nested + 1, out, count);
    else
        add_leaf(path, text, out, count);
}

/* The body of an answer or event whose isBase64Encoded is true; NULL when it is none. */
static char *decoded_body(const cJSON *object)
{
    const char *body = json_text(object, "body", NULL);
    AUTO_BUF struct buf out = BUF_INIT(8 << 20);

    if (!body || !cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, "isBase64Encoded")) ||
        text_base64_decode(body, strlen(body), &out) < 0)
        return NULL;
    return buf_take(&out, NULL);
}

static void leaves_of(const cJSON *item, struct buf *path, unsigned nested, cJSON *out, int *count)
{
    size_t len = path->len;
    AUTO_FREE char *body = cJSON_IsObject(item) ? decoded_body(item) : NULL;
    const cJSON *child;
    int index = 0;

    if (cJSON_IsString(item)) {
        leaves_of_string(item->valuestring, path, nested, out, count);
    } else if (!cJSON_IsObject(item) && !cJSON_IsArray(item)) {
        AUTO_FREE char *text = cJSON_PrintUnformatted(item);

        add_leaf(path, text ? text : "", out, count);
    }
    if (!cJSON_IsObject(item) && !cJSON_IsArray(item))
        return;
    cJSON_ArrayForEach(child, item)
    {
        if (cJSON_IsArray(item))
            (void)buf_printf(path, "[%d]", index++);
        else
            (void)buf_printf(path, ".%s", child->string);
        if (body && strcmp(child->string, "body") == 0)
            leaves_of_string(body, path, nested, out, count);
        else
            leaves_of(child, path, nested, out, count);
        path->failed = false;
        path->len = len;
        if (path->data)
            path->data[len] = '\0';
    }
}

cJSON *leak_leaves(const char *body, size_t len)
{
    cJSON *out = cJSON_CreateObject();
    AUTO_JSON *json = len > 0 ? cJSON_ParseWithLength(body, len) : NULL;
    AUTO_BUF struct buf path = BUF_INIT(4096), text = BUF_INIT(8 << 20);
    int count = 0;

    (void)buf_putc(&path, '$');
    if (json) {
        leaves_of(json, &path, 0, out, &count);
    } else {
        (void)buf_append(&text, body, len);
        add_leaf(&path, text_of(&text), out, &count);
    }
    return out;
}

cJSON *leak_leaves_of_event(const cJSON *event)
{
    AUTO_FREE char *text = cJSON_PrintUnformatted(event);

    return leak_leaves(text ? text : "", text ? strlen(text) : 0);
}

bool leak_leaves_are_all(const cJSON *leaves)
{
    return cJSON_GetArraySize(leaves) < LEAK_LEAVES_MAX;
}

/* ---- values ---- */

bool leak_stands_in(const cJSON *leaves, const char *text)
{
    const cJSON *leaf;

    cJSON_ArrayForEach(leaf, leaves)
    {
        if (strstr(leaf->valuestring, text))
            return true;
    }
    return false;
}

static bool is_literal(const char *text)
{
    return strcmp(text, "true") == 0 || strcmp(text, "false") == 0 || strcmp(text, "null") == 0;
}

enum value_kind { WHOLE, PIECE, BRIEF };

static bool has_length(enum value_kind kind, size_t len)
{
    if (kind == BRIEF)
        return len >= BRIEF_MIN && len < LENGTH_MIN;
    return len >= (kind == PIECE ? PIECE_MIN : LENGTH_MIN);
}

static int add_value(struct leak_values *values, const char *text, size_t len, const char *from,
                     enum value_kind kind, const cJSON *b)
{
    AUTO_FREE char *copy = strndup(text, len < LENGTH_MAX ? len : LENGTH_MAX);

    if (!copy)
        return -ENOMEM;
    if (!has_length(kind, len) || is_literal(copy) || leak_stands_in(b, copy))
        return 0;
    for (size_t i = 0; i < values->count; i++) {
        if (strcmp(values->list[i].text, copy) == 0)
            return 0;
    }
    if (values->count == VALUES_MAX) {
        values->truncated = true;
        return 0;
    }
    values->list[values->count] = (struct leak_value){ .from = strdup(from), .brief = kind == BRIEF };
    if (!values->list[values->count].from)
        return -ENOMEM;
    values->list[values->count++].text = TAKE_PTR(copy);
    return 0;
}

static int add_leaves(struct leak_values *values, const cJSON *leaves, enum value_kind kind, const cJSON *b)
{
    const cJSON *leaf;
    int result = 0;

    cJSON_ArrayForEach(leaf, leaves)
    {
        if (result == 0)
            result = add_value(values, leaf->valuestring, strlen(leaf->valuestring), leaf->string, kind, b);
    }
    return result;
}

/* "Bearer x", "a=x; b=y", "/orders/x": somebody may keep x alone. */
static int add_pieces(struct leak_values *values, const cJSON *leaf, const cJSON *b)
{
    static const char between[] = " \t\r\n;,&=/?\"'";
    const char *at = leaf->valuestring;
    int result = 0;

    while (*at && result == 0) {
        size_t len = strcspn(at, between);

        if (len < strlen(leaf->valuestring))
            result = add_value(values, at, len, leaf->string, PIECE, b);
        at += len;
        at += strspn(at, between);
    }
    return result;
}

/* Without the last letters, which depend on what follows. */
static char *base64_of(const char *text)
{
    AUTO_BUF struct buf out = BUF_INIT((size_t)4 * LENGTH_MAX);
    size_t len = strlen(text) / 3 * 3;

    (void)text_base64_encode(text, len, &out);
    return out.len >= PIECE_MIN ? buf_take(&out, NULL) : NULL;
}

static char *url_encoded(const char *text)
{
    AUTO_BUF struct buf out = BUF_INIT((size_t)4 * LENGTH_MAX);

    client_encode(text, &out);
    return out.data && strcmp(out.data, text) != 0 ? buf_take(&out, NULL) : NULL;
}

static int make_needles(struct leak_values *values)
{
    size_t bytes = 0;

    values->needles = calloc(3 * values->count + 1, sizeof *values->needles);
    if (!values->needles)
        return -ENOMEM;
    for (size_t i = 0; i < values->count; i++) {
        const char *text = values->list[i].text;

        if (values->list[i].brief)
            continue;
        struct leak_needle forms[] = { { strdup(text), "", i },
                                       { base64_of(text), "base64", i },
                                       { url_encoded(text), "URL-encoded", i } };

        for (size_t k = 0; k < sizeof forms / sizeof *forms; k++) {
            size_t len = forms[k].text ? strlen(forms[k].text) : 0;

            if (len == 0 || bytes + len > NEEDLES_MAX_BYTES) {
                values->truncated = values->truncated || len > 0;
                free(forms[k].text);
                continue;
            }
            bytes += len;
            values->needles[values->needle_count++] = forms[k];
        }
    }
    return 0;
}

/* The values of one event that do not stand in the other. */
static int read_side(const cJSON *own, const cJSON *other, struct leak_values *values)
{
    const cJSON *leaf;
    int result;

    values->list = calloc(VALUES_MAX, sizeof *values->list);
    if (!values->list)
        return -ENOMEM;
    result = add_leaves(values, own, WHOLE, other);
    cJSON_ArrayForEach(leaf, own)
    {
        if (result == 0)
            result = add_pieces(values, leaf, other);
    }
    if (result == 0)
        result = add_leaves(values, own, BRIEF, other);
    return result < 0 ? result : make_needles(values);
}

int leak_values_read(const cJSON *a, const cJSON *b, struct leak_values *ret_values)
{
    AUTO_JSON *ours = leak_leaves_of_event(a), *theirs = leak_leaves_of_event(b);
    struct leak_values values = { 0 }, hidden = { 0 };
    int result = read_side(ours, theirs, &values);

    values.truncated = values.truncated || !leak_leaves_are_all(ours);
    if (result == 0)
        result = read_side(theirs, ours, &hidden);
    if (result == 0) {
        values.hidden = TAKE_PTR(hidden.needles);
        values.hidden_count = hidden.needle_count;
        hidden.needle_count = 0;
    } else {
        leak_values_done(&values);
    }
    leak_values_done(&hidden);
    *ret_values = values;
    return result;
}

static void needles_done(struct leak_needle *needles, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(needles[i].text);
    free(needles);
}

void leak_values_done(struct leak_values *values)
{
    for (size_t i = 0; i < values->count; i++) {
        free(values->list[i].text);
        free(values->list[i].from);
    }
    needles_done(values->needles, values->needle_count);
    needles_done(values->hidden, values->hidden_count);
    free(values->list);
    *values = (struct leak_values){ 0 };
}

void leak_values_forget(struct leak_values *values, const char *text, size_t len)
{
    for (size_t i = 0; i < values->needle_count; i++) {
        const struct leak_needle *needle = &values->needles[i];

        if (memmem(text, len, needle->text, strlen(needle->text)))
            values->list[needle->value].known = true;
    }
}

/* ---- masking ---- */

void leak_mask(const char *text, struct buf *out)
{
    size_t len = strlen(text), first = len >= 16 ? 4 : len >= 10 ? 3 : 1, last = len >= 16 ? 3 : 1;

    /* No half characters. */
    while (first > 0 && ((unsigned char)text[first] & 0xc0) == 0x80)
        first--;
    while (last > 0 && ((unsigned char)text[len - last] & 0xc0) == 0x80)
        last--;
    (void)buf_append(out, text, first);
    (void)buf_puts(out, "***");
    (void)buf_append(out, text + len - last, last);
}

static const char *longest_of(const struct leak_needle *needles, size_t count, const char *text, size_t len,
                              const char *longest)
{
    size_t most = longest ? strlen(longest) : 0;

    for (size_t i = 0; i < count; i++) {
        const char *needle = needles[i].text;
        size_t size = *needle == *text ? strlen(needle) : 0;

        if (size > most && size <= len && memcmp(text, needle, size) == 0) {
            longest = needle;
            most = size;
        }
    }
    return longest;
}

/* The longest value that begins here, or NULL. */
static const char *longest_at(const struct leak_values *values, const char *text, size_t len)
{
    const char *longest = longest_of(values->needles, values->needle_count, text, len, NULL);

    return longest_of(values->hidden, values->hidden_count, text, len, longest);
}

void leak_excerpt(const struct leak_values *values, const char *text, struct buf *out)
{
    AUTO_BUF struct buf masked = BUF_INIT((size_t)2 * LINE_MAX_BYTES);
    size_t all = strlen(text), len = all < LINE_MAX_BYTES ? all : LINE_MAX_BYTES, at = 0, end, hit = 0;

    for (size_t i = 0; i < len;) {
        const char *needle = longest_at(values, text + i, all - i);

        if (needle && hit == 0)
            hit = masked.len + 1;
        if (needle)
            leak_mask(needle, &masked);
        else
            (void)buf_putc(&masked, text[i]);
        i += needle ? strlen(needle) : 1;
    }
    if (hit > EXCERPT_BEFORE && masked.len > EXCERPT_BYTES)
        at = hit - EXCERPT_BEFORE;
    end = masked.len - at > EXCERPT_BYTES ? at + EXCERPT_BYTES : masked.len;
    while (at < end && ((unsigned char)masked.data[at] & 0xc0) == 0x80)
        at++;
    while (end > at && end < masked.len && ((unsigned char)masked.data[end] & 0xc0) == 0x80)
        end--;
    (void)buf_printf(out, "%s%.*s%s", at > 0 ? "..." : "", (int)(end - at), text_of(&masked) + at,
                     end < masked.len ? "..." : "");
}
