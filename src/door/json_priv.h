#pragma once

/* JSON text, fast: most bytes of events and results are plain, so they are looked at eight at a time. */

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/buf.h"

/* As buf_append(), but inline while there is room, since events are made of many small pieces; what is
 * written so has no NUL behind it until json_end(). */
static inline void json_put(struct buf *out, const void *data, size_t len)
{
    if (len < out->cap - out->len) {
        memcpy(out->data + out->len, data, len);
        out->len += len;
    } else {
        (void)buf_append(out, data, len);
    }
}

static inline void json_put_char(struct buf *out, char c)
{
    json_put(out, &c, 1);
}

/** Ends a text made with json_put(). Returns 0, or -EMSGSIZE when some of it did not fit. */
int json_end(struct buf *out);

/** Bytes from text on that are neither quote, backslash, control character nor beyond ASCII. */
size_t json_plain_run(const char *text, size_t len);
/** As buf_json_string(), faster. */
int json_put_string(struct buf *out, const char *text, size_t len);
/** As text_is_utf8(), faster. */
bool json_is_utf8(const char *text, size_t len);

enum { JSON_DEPTH_MAX = 1000 };

struct json_reader {
    const char *at, *end;
    bool
        canonical; /* so far it is what json_put_compact() would write: no white space, no needless escapes */
};

struct json_slice {
    const char *at; /* NULL: absent */
    size_t len;
};

void json_skip_space(struct json_reader *reader);
/** Reads one string and gives what is between its quotes, escapes and all. Returns false when it is not
 * valid. */
bool json_read_string(struct json_reader *reader, struct json_slice *ret_raw);
/** Reads one value of any kind. Returns false when it is not valid, or deeper than JSON_DEPTH_MAX. */
bool json_read_value(struct json_reader *reader, struct json_slice *ret_value);
/** The character c after white space: true, and it was taken. */
bool json_take(struct json_reader *reader, char c);

/** Appends the text of a raw string that json_read_string() took; half a surrogate pair becomes U+FFFD. */
int json_put_decoded(struct buf *out, struct json_slice raw);
/** Appends valid JSON without white space and with no more escapes than JSON asks for; numbers as they stand.
 */
int json_put_compact(struct buf *out, const char *json, size_t len);
