#include "base/text.h"
#include "door/json_priv.h"
#include <errno.h>
#include <stdint.h>

/* Any byte of word below n (n <= 128), marked in its top bit; bytes from 0x80 on are not marked (Mycroft). */
#define ONES         UINT64_C(0x0101010101010101)
#define HIGHS        UINT64_C(0x8080808080808080)
#define BELOW(w, n)  (((w)-ONES * (n)) & ~(w)&HIGHS)
#define EQUALS(w, c) BELOW((w) ^ (ONES * (c)), 1)

int json_end(struct buf *out)
{
    if (out->failed || buf_reserve(out, 0) < 0)
        return -EMSGSIZE;
    out->data[out->len] = '\0';
    return 0;
}

size_t json_plain_run(const char *text, size_t len)
{
    size_t i = 0;

    while (len - i >= 8) {
        uint64_t word;

        memcpy(&word, text + i, 8);
        if ((word & HIGHS) | BELOW(word, 0x20) | EQUALS(word, '"') | EQUALS(word, '\\'))
            break;
        i += 8;
    }
    for (; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\')
            break;
    }
    return i;
}

bool json_is_utf8(const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint64_t word;
        size_t step;

        if (len - i >= 8) {
            memcpy(&word, text + i, 8);
            if (!(word & HIGHS)) {
                i += 8;
                continue;
            }
        }
        step = text_utf8_length(text + i, len - i);
        if (step == 0)
            return false;
        i += step;
    }
    return true;
}

/* The letter of a two-byte escape for c, 0 if it has none. */
static char short_escape(unsigned char c)
{
    switch (c) {
    case '"':
    case '\\':
        return (char)c;
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return 0;
    }
}

static void put_escaped(struct buf *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char letter = short_escape(c);

    if (letter)
        json_put(out, (char[]){ '\\', letter }, 2);
    else
        json_put(out, (char[]){ '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] }, 6);
}

/* The inside of a JSON string. */
static void put_text(struct buf *out, const char *text, size_t len)
{
    size_t start = 0, i = 0;

    for (;;) {
        size_t step = 1;

        i += json_plain_run(text + i, len - i);
        if (i == len)
            break;
        if ((unsigned char)text[i] >= 0x80) {
            step = text_utf8_length(text + i, len - i);
            if (step > 0) {
                i += step;
                continue;
            }
        }
        json_put(out, text + start, i - start);
        if (step == 0)
            json_put(out, "\xef\xbf\xbd", 3);
        else
            put_escaped(out, (unsigned char)text[i]);
        start = ++i;
    }
    json_put(out, text + start, len - start);
}

int json_put_string(struct buf *out, const char *text, size_t len)
{
    /* At once what will be needed at least: growing in steps would copy a large body several times. */
    if (buf_reserve(out, len + 2) < 0)
        return -EMSGSIZE;
    json_put_char(out, '"');
    put_text(out, text, len);
    json_put_char(out, '"');
    return json_end(out);
}

void json_skip_space(struct json_reader *reader)
{
    while (reader->at < reader->end &&
           (*reader->at == ' ' || *reader->at == '\n' || *reader->at == '\r' || *reader->at == '\t')) {
        reader->at++;
        reader->canonical = false;
    }
}

bool json_take(struct json_reader *reader, char c)
{
    json_skip_space(reader);
    if (reader->at == reader->end || *reader->at != c)
        return false;
    reader->at++;
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The four digits of \uXXXX at text, -1 when they are not there. */
static int read_unit(const char *text, size_t len)
{
    int unit = 0;

    if (len < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(text[i]);

        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

/* Length of the escape at reader->at, a backslash; 0 when it is not valid. */
static size_t escape_length(struct json_reader *reader)
{
    size_t len = (size_t)(reader->end - reader->at);
    char letter = (char)(len > 1 ? reader->at[1] : '\0');

    if (letter == 'u') {
        reader->canonical = false;
        return read_unit(reader->at + 2, len - 2) < 0 ? 0 : 6;
    }
    if (letter == '/')
        reader->canonical = false;
    return letter != '\0' && strchr("\"\\/bfnrt", letter) ? 2 : 0;
}

bool json_read_string(struct json_reader *reader, struct json_slice *ret_raw)
{
    const char *start;

    if (!json_take(reader, '"'))
        return false;
    start = reader->at;
    for (;;) {
        size_t step;

        reader->at += json_plain_run(reader->at, (size_t)(reader->end - reader->at));
        if (reader->at == reader->end)
            return false;
        if (*reader->at == '"')
            break;
        step = *reader->at == '\\' ? escape_length(reader)
               : (unsigned char)*reader->at < 0x20
                   ? 0
                   : text_utf8_length(reader->at, (size_t)(reader->end - reader->at));
        if (step == 0)
            return false;
        reader->at += step;
    }
    *ret_raw = (struct json_slice){ start, (size_t)(reader->at - start) };
    reader->at++;
    return true;
}

static bool skip_digits(struct json_reader *reader)
{
    const char *start = reader->at;

    while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9')
        reader->at++;
    return reader->at > start;
}

static bool read_number(struct json_reader *reader)
{
    const char *end = reader->end;

    if (*reader->at == '-')
        reader->at++;
    if (reader->at < end && *reader->at == '0')
        reader->at++;
    else if (!skip_digits(reader))
        return false;
    if (reader->at < end && *reader->at == '.') {
        reader->at++;
        if (!skip_digits(reader))
            return false;
    }
    if (reader->at < end && (*reader->at == 'e' || *reader->at == 'E')) {
        reader->at++;
        if (reader->at < end && (*reader->at == '+' || *reader->at == '-'))
            reader->at++;
        return skip_digits(reader);
    }
    return true;
}

static bool read_word(struct json_reader *reader, const char *word)
{
    size_t len = strlen(word);

    if ((size_t)(reader->end - reader->at) < len || memcmp(reader->at, word, len) != 0)
        return false;
    reader->at += len;
    return true;
}

static bool read_scalar(struct json_reader *reader)
{
    struct json_slice raw;

    switch (*reader->at) {
    case '"':
        return json_read_string(reader, &raw);
    case 't':
        return read_word(reader, "true");
    case 'f':
        return read_word(reader, "false");
    case 'n':
        return read_word(reader, "null");
    default:
        return read_number(reader);
    }
}

/* "name": of the next member of an object. */
static bool read_name(struct json_reader *reader)
{
    struct json_slice raw;

    return json_read_string(reader, &raw) && json_take(reader, ':');
}

/* After a value: closes what ends here, and goes to the next value. Returns 1 when there is one, 0 at the
 * very end of the outermost value, -1 when it is not valid. */
static int read_on(struct json_reader *reader, const char *open, size_t *depth)
{
    while (*depth > 0) {
        bool is_object = open[*depth - 1] == '{';

        if (json_take(reader, ','))
            return !is_object || read_name(reader) ? 1 : -1;
        if (!json_take(reader, is_object ? '}' : ']'))
            return -1;
        --*depth;
    }
    return 0;
}

/* Opens an object or array. Returns 1 when its first value follows, 0 when it is empty (and closed), -1. */
static int read_open(struct json_reader *reader, char *open, size_t *depth)
{
    char kind = *reader->at++;

    if (*depth == JSON_DEPTH_MAX)
        return -1;
    if (json_take(reader, kind == '{' ? '}' : ']'))
        return 0;
    open[(*depth)++] = kind;
    return kind == '[' || read_name(reader) ? 1 : -1;
}

bool json_read_value(struct json_reader *reader, struct json_slice *ret_value)
{
    char open[JSON_DEPTH_MAX];
    const char *start;
    size_t depth = 0;
    int next = 1;

    json_skip_space(reader);
    start = reader->at;
    while (next == 1) {
        json_skip_space(reader);
        if (reader->at == reader->end)
            return false;
        if (*reader->at == '{' || *reader->at == '[')
            next = read_open(reader, open, &depth);
        else
            next = read_scalar(reader) ? 0 : -1;
        if (next == 0)
            next = read_on(reader, open, &depth);
    }
    *ret_value = (struct json_slice){ start, (size_t)(reader->at - start) };
    return next == 0;
}

static size_t utf8_put(char out[4], unsigned c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 63));
        out[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 63));
    out[2] = (char)(0x80 | (c >> 6 & 63));
    out[3] = (char)(0x80 | (c & 63));
    return 4;
}

/* Decodes the valid escape at text into out; ret_len receives its own length. Returns the bytes put, 0 for
 * half a surrogate pair. */
static size_t decode_escape(const char *text, size_t len, char out[4], size_t *ret_len)
{
    static const char letters[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    unsigned unit, low;

    *ret_len = 2;
    if (text[1] != 'u') {
        out[0] = bytes[strchr(letters, text[1]) - letters];
        return 1;
    }
    *ret_len = 6;
    unit = (unsigned)read_unit(text + 2, len - 2);
    if (unit < 0xd800 || unit > 0xdfff)
        return utf8_put(out, unit);
    if (unit > 0xdbff || len < 12 || text[6] != '\\' || text[7] != 'u')
        return 0;
    low = (unsigned)read_unit(text + 8, len - 8);
    if (low < 0xdc00 || low > 0xdfff)
        return 0;
    *ret_len = 12;
    return utf8_put(out, 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00));
}

int json_put_decoded(struct buf *out, struct json_slice raw)
{
    size_t i = 0;

    if (buf_reserve(out, raw.len) < 0)
        return -EMSGSIZE;
    while (i < raw.len) {
        const char *mark = memchr(raw.at + i, '\\', raw.len - i);
        size_t plain = mark ? (size_t)(mark - raw.at) - i : raw.len - i;
        size_t len = 0, n;
        char bytes[4];

        json_put(out, raw.at + i, plain);
        i += plain;
        if (!mark)
            break;
        n = decode_escape(mark, raw.len - i, bytes, &len);
        json_put(out, n > 0 ? bytes : "\xef\xbf\xbd", n > 0 ? n : 3);
        i += len;
    }
    return json_end(out);
}

/* Copies a string with its quotes; each escape is decoded and written anew where it has to be. */
static void put_string_anew(struct buf *out, struct json_slice raw)
{
    size_t i = 0;

    json_put_char(out, '"');
    while (i < raw.len) {
        const char *mark = memchr(raw.at + i, '\\', raw.len - i);
        size_t plain = mark ? (size_t)(mark - raw.at) - i : raw.len - i;
        size_t len = 0, n;
        char bytes[4];

        json_put(out, raw.at + i, plain);
        i += plain;
        if (!mark)
            break;
        n = decode_escape(mark, raw.len - i, bytes, &len);
        if (n > 0)
            put_text(out, bytes, n);
        else
            json_put(out, mark, len); /* has no other form */
        i += len;
    }
    json_put_char(out, '"');
}

int json_put_compact(struct buf *out, const char *json, size_t len)
{
    struct json_reader reader = { .at = json, .end = json + len };

    if (buf_reserve(out, len) < 0)
        return -EMSGSIZE;
    for (json_skip_space(&reader); reader.at < reader.end; json_skip_space(&reader)) {
        struct json_slice raw;

        if (*reader.at == '"') {
            if (!json_read_string(&reader, &raw))
                return -EINVAL;
            put_string_anew(out, raw);
        } else {
            const char *start = reader.at++;

            while (reader.at < reader.end && *reader.at != '"' && (unsigned char)*reader.at > ' ')
                reader.at++;
            json_put(out, start, (size_t)(reader.at - start));
        }
    }
    return json_end(out);
}
