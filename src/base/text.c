#include "base/text.h"

#include <errno.h>
#include <string.h>

#include "base/buf.h"

bool text_equal(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

bool text_starts(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static unsigned char lower(unsigned char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c + 32) : c;
}

bool text_equal_nocase(const char *text, size_t len, const char *other)
{
    for (size_t i = 0; i < len; i++) {
        if (other[i] == '\0' || lower((unsigned char)text[i]) != lower((unsigned char)other[i]))
            return false;
    }
    return other[len] == '\0';
}

bool text_to_u64(const char *text, size_t len, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = 0;

    if (len == 0)
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned digit = (unsigned)((unsigned char)text[i] - '0');

        if (digit > 9 || value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *ret_value = value;
    return true;
}

size_t text_utf8_length(const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t need;
    unsigned char low = 0x80, high = 0xbf;

    if (len == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    need = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (len < need)
        return 0;
    /* Overlong forms, surrogates and beyond U+10FFFF: RFC 3629, section 4. */
    if (p[0] == 0xe0)
        low = 0xa0;
    else if (p[0] == 0xed)
        high = 0x9f;
    else if (p[0] == 0xf0)
        low = 0x90;
    else if (p[0] == 0xf4)
        high = 0x8f;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < need; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    return need;
}

bool text_is_utf8(const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t step = text_utf8_length(text + i, len - i);

        if (step == 0)
            return false;
        i += step;
    }
    return true;
}

void text_hex(const void *data, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *p = data;

    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * len] = '\0';
}

int text_base64_encode(const void *data, size_t len, struct buf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = data;
    int result = buf_reserve(out, (len + 2) / 3 * 4);
    char *to;

    if (result < 0)
        return result;
    to = out->data + out->len;
    for (size_t i = 0; i < len; i += 3) {
        uint32_t bits = (uint32_t)p[i] << 16;

        if (i + 1 < len)
            bits |= (uint32_t)p[i + 1] << 8;
        if (i + 2 < len)
            bits |= p[i + 2];
        *to++ = digits[bits >> 18];
        *to++ = digits[(bits >> 12) & 63];
        *to++ = (char)(i + 1 < len ? digits[(bits >> 6) & 63] : '=');
        *to++ = (char)(i + 2 < len ? digits[bits & 63] : '=');
    }
    *to = '\0';
    out->len = (size_t)(to - out->data);
    return 0;
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int text_base64_decode(const char *text, size_t len, struct buf *out)
{
    int result;
    char *to;

    if (len % 4 != 0)
        return -EINVAL;
    result = buf_reserve(out, len / 4 * 3);
    if (result < 0)
        return result;
    to = out->data + out->len;
    for (size_t i = 0; i < len; i += 4) {
        int digit[4], pad = 0;
        uint32_t bits;

        for (int k = 0; k < 4; k++) {
            bool padding = text[i + (size_t)k] == '=' && i + 4 == len && k >= 2;

            digit[k] = padding ? 0 : base64_digit(text[i + (size_t)k]);
            if (digit[k] < 0 || (pad > 0 && !padding))
                return -EINVAL;
            pad += padding;
        }
        bits = (uint32_t)digit[0] << 18 | (uint32_t)digit[1] << 12 | (uint32_t)digit[2] << 6 |
               (uint32_t)digit[3];
        *to++ = (char)(bits >> 16);
        if (pad < 2)
            *to++ = (char)(bits >> 8 & 255);
        if (pad < 1)
            *to++ = (char)(bits & 255);
    }
    *to = '\0';
    out->len = (size_t)(to - out->data);
    return 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int text_percent_decode(const char *text, size_t len, bool plus_is_blank, struct buf *out)
{
    int broken = 0, result = buf_reserve(out, len);

    if (result < 0)
        return result;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (c == '%') {
            int high = i + 2 < len ? hex_digit(text[i + 1]) : -1;
            int low = i + 2 < len ? hex_digit(text[i + 2]) : -1;

            if (high >= 0 && low >= 0) {
                c = (char)(high << 4 | low);
                i += 2;
            } else {
                broken = -EINVAL;
            }
        } else if (c == '+' && plus_is_blank) {
            c = ' ';
        }
        out->data[out->len++] = c;
    }
    out->data[out->len] = '\0';
    return broken;
}
