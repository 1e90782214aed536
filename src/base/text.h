#pragma once

/* Small text and encoding helpers; no locale, no hidden allocation unless said. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

bool text_equal(const char *a, const char *b); /* NULL equals only NULL */
bool text_starts(const char *text, const char *prefix);
/** ASCII case-insensitive comparison of a counted text with a C string. */
bool text_equal_nocase(const char *text, size_t len, const char *other);

/** Decimal digits only, whole text (len bytes), at most max. Returns false otherwise. */
bool text_to_u64(const char *text, size_t len, uint64_t max, uint64_t *ret_value);

/** Bytes of the valid UTF-8 character at text (1 to 4), 0 if there is none. */
size_t text_utf8_length(const char *text, size_t len);
bool text_is_utf8(const char *text, size_t len);

/** Lower-case hex; out has 2 * len + 1 bytes. */
void text_hex(const void *data, size_t len, char *out);

/** Standard base64 with padding, appended to out. */
int text_base64_encode(const void *data, size_t len, struct buf *out);
/** Strict base64 (padding required unless the length says otherwise is refused;
 * white space refused). Appends to out; returns 0 or -EINVAL, -EMSGSIZE, -ENOMEM. */
int text_base64_decode(const char *text, size_t len, struct buf *out);

/** Percent-decodes into out ('+' becomes a blank when plus_is_blank). Returns 0,
 * or -EINVAL for a broken escape; then what follows '%' was copied as it is. */
int text_percent_decode(const char *text, size_t len, bool plus_is_blank, struct buf *out);
