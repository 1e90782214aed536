#include "base/buf.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

void buf_done(struct buf *buf)
{
    free(buf->data);
    *buf = BUF_INIT(buf->max);
}

int buf_reserve(struct buf *buf, size_t extra)
{
    size_t cap;
    char *data;

    if (buf->failed)
        return -EMSGSIZE;
    if (extra > buf->max || buf->len > buf->max - extra) {
        buf->failed = true;
        return -EMSGSIZE;
    }
    if (buf->data && buf->len + extra < buf->cap)
        return 0;
    cap = buf->cap ? buf->cap : 256;
    while (cap < buf->len + extra + 1)
        cap = cap > SIZE_MAX / 2 ? buf->len + extra + 1 : cap * 2;
    if (cap > buf->max + 1)
        cap = buf->max + 1;
    data = realloc(buf->data, cap);
    if (!data) {
        buf->failed = true;
        return -ENOMEM;
    }
    if (!buf->data)
        data[0] = '\0';
    buf->data = data;
    buf->cap = cap;
    return 0;
}

int buf_append(struct buf *buf, const void *data, size_t len)
{
    int result = buf_reserve(buf, len);

    if (result < 0)
        return result;
    if (len > 0)
        memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
    return 0;
}

int buf_puts(struct buf *buf, const char *text)
{
    return buf_append(buf, text, strlen(text));
}

int buf_putc(struct buf *buf, char c)
{
    return buf_append(buf, &c, 1);
}

int buf_vprintf(struct buf *buf, const char *format, va_list args)
{
    size_t room;
    va_list again;
    int need, result = buf_reserve(buf, 1);

    if (result < 0)
        return result;
    /* Most texts fit into what is there, and are formatted once. */
    room = buf->cap - buf->len;
    va_copy(again, args);
    need = vsnprintf(buf->data + buf->len, room, format, again);
    va_end(again);
    if (need >= 0 && (size_t)need < room && (size_t)need <= buf->max - buf->len) {
        buf->len += (size_t)need;
        return 0;
    }
    buf->data[buf->len] = '\0';
    if (need < 0)
        return -EINVAL;
    result = buf_reserve(buf, (size_t)need);
    if (result < 0)
        return result;
    (void)vsnprintf(buf->data + buf->len, (size_t)need + 1, format, args);
    buf->len += (size_t)need;
    return 0;
}

int buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    int result;

    va_start(args, format);
    result = buf_vprintf(buf, format, args);
    va_end(args);
    return result;
}

void buf_consume(struct buf *buf, size_t n)
{
    if (n == 0)
        return;
    memmove(buf->data, buf->data + n, buf->len - n);
    buf->len -= n;
    buf->data[buf->len] = '\0';
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->failed = false;
    if (buf->data)
        buf->data[0] = '\0';
}

char *buf_take(struct buf *buf, size_t *ret_len)
{
    char *data;

    if (buf_reserve(buf, 0) < 0) {
        buf_done(buf);
        return NULL;
    }
    data = buf->data;
    if (ret_len)
        *ret_len = buf->len;
    *buf = BUF_INIT(buf->max);
    return data;
}

int buf_json_string(struct buf *buf, const char *text, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    size_t start = 0, i = 0;

    (void)buf_putc(buf, '"');
    while (i < len) {
        unsigned char c = (unsigned char)text[i];
        size_t step = 1;

        if (c >= 0x80) {
            step = text_utf8_length(text + i, len - i);
            if (step > 0) {
                i += step;
                continue;
            }
        } else if (c >= 0x20 && c != '"' && c != '\\') {
            i++;
            continue;
        }
        (void)buf_append(buf, text + start, i - start);
        if (c >= 0x80)
            (void)buf_puts(buf, "\xef\xbf\xbd");
        else if (c == '"' || c == '\\')
            (void)buf_append(buf, (char[]){ '\\', (char)c }, 2);
        else if (c == '\n')
            (void)buf_puts(buf, "\\n");
        else if (c == '\r')
            (void)buf_puts(buf, "\\r");
        else if (c == '\t')
            (void)buf_puts(buf, "\\t");
        else
            (void)buf_append(buf, (char[]){ '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] }, 6);
        i++;
        start = i;
    }
    (void)buf_append(buf, text + start, len - start);
    return buf_putc(buf, '"');
}
