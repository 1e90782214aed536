#pragma once

/*
 * A growing byte buffer that cannot be made without a maximum.
 *
 * Appending past the maximum, or without memory, fails once and for all: the
 * buffer remembers it (buf.failed), later appends do nothing, and the caller
 * checks once at the end. data is always NUL-terminated when not NULL.
 */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data; /* owned; NULL while empty */
    size_t len, cap, max;
    bool failed;
};

#define BUF_INIT(max_bytes) ((struct buf){ .max = (max_bytes) })

/** Frees the contents; the buffer may be used again. Accepts a zeroed buffer. */
void buf_done(struct buf *buf);
#define AUTO_BUF __attribute__((cleanup(buf_done)))

/** Makes room for extra more bytes. Returns 0, -EMSGSIZE or -ENOMEM. */
int buf_reserve(struct buf *buf, size_t extra);
int buf_append(struct buf *buf, const void *data, size_t len);
int buf_puts(struct buf *buf, const char *text);
int buf_putc(struct buf *buf, char c);
int buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
int buf_vprintf(struct buf *buf, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

/** Drops the first n bytes (n <= len). */
void buf_consume(struct buf *buf, size_t n);
/** Empties, keeps the memory and clears failed. */
void buf_clear(struct buf *buf);
/** Hands the memory on (NUL-terminated, free() it; "" when empty, NULL when failed) and resets. */
char *buf_take(struct buf *buf, size_t *ret_len);

/** Appends text as a JSON string with its quotes. Bytes that are not UTF-8
 * become U+FFFD; control characters are escaped. */
int buf_json_string(struct buf *buf, const char *text, size_t len);
