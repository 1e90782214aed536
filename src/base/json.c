#include "base/json.h"

#include <string.h>

#include "base/text.h"

struct scan {
    const char *at, *end;
};

static void skip_blanks(struct scan *scan)
{
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\r' || *scan->at == '\t'))
        scan->at++;
}

static bool take(struct scan *scan, char c)
{
    if (scan->at == scan->end || *scan->at != c)
        return false;
    scan->at++;
    return true;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool escape(struct scan *scan)
{
    if (scan->at == scan->end)
        return false;
    if (*scan->at == 'u') {
        for (int i = 1; i <= 4; i++) {
            if (scan->at + i >= scan->end || !is_hex(scan->at[i])) {
                scan->at += i;
                if (scan->at > scan->end)
                    scan->at = scan->end;
                return false;
            }
        }
        scan->at += 5;
        return true;
    }
    if (*scan->at == '\0' || !strchr("\"\\/bfnrt", *scan->at))
        return false;
    scan->at++;
    return true;
}

static bool string(struct scan *scan)
{
    if (!take(scan, '"'))
        return false;
    while (scan->at < scan->end) {
        unsigned char c = (unsigned char)*scan->at;
        size_t step = 1;

        if (c == '"') {
            scan->at++;
            return true;
        }
        if (c == '\\') {
            scan->at++;
            if (!escape(scan))
                return false;
            continue;
        }
        if (c < 0x20)
            return false;
        if (c >= 0x80)
            step = text_utf8_length(scan->at, (size_t)(scan->end - scan->at));
        if (step == 0)
            return false;
        scan->at += step;
    }
    return false;
}

static bool digits(struct scan *scan)
{
    const char *start = scan->at;

    while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9')
        scan->at++;
    return scan->at > start;
}

static bool number(struct scan *scan)
{
    (void)take(scan, '-');
    if (!take(scan, '0') && !digits(scan))
        return false;
    if (take(scan, '.') && !digits(scan))
        return false;
    if (scan->at < scan->end && (*scan->at == 'e' || *scan->at == 'E')) {
        scan->at++;
        if (!take(scan, '+'))
            (void)take(scan, '-');
        return digits(scan);
    }
    return true;
}

static bool word(struct scan *scan, const char *text)
{
    size_t len = strlen(text);

    if ((size_t)(scan->end - scan->at) < len || memcmp(scan->at, text, len) != 0)
        return false;
    scan->at += len;
    return true;
}

static bool scalar(struct scan *scan)
{
    if (scan->at == scan->end)
        return false;
    switch (*scan->at) {
    case '"':
        return string(scan);
    case 't':
        return word(scan, "true");
    case 'f':
        return word(scan, "false");
    case 'n':
        return word(scan, "null");
    default:
        return number(scan);
    }
}

static bool member_name(struct scan *scan)
{
    skip_blanks(scan);
    if (!string(scan))
        return false;
    skip_blanks(scan);
    return take(scan, ':');
}

/* Without recursion: stack[] holds the closing character of each open container. */
static bool value(struct scan *scan)
{
    char stack[JSON_MAX_DEPTH];
    size_t depth = 0;

    for (;;) {
        bool opened = false;

        skip_blanks(scan);
        if (scan->at < scan->end && (*scan->at == '{' || *scan->at == '[')) {
            char close = *scan->at == '{' ? '}' : ']';

            if (depth == JSON_MAX_DEPTH)
                return false;
            scan->at++;
            skip_blanks(scan);
            if (!take(scan, close)) {
                stack[depth++] = close;
                opened = true;
                if (close == '}' && !member_name(scan))
                    return false;
            }
        } else if (!scalar(scan)) {
            return false;
        }
        if (opened)
            continue;
        for (;;) {
            if (depth == 0)
                return true;
            skip_blanks(scan);
            if (take(scan, ',')) {
                if (stack[depth - 1] == '}' && !member_name(scan))
                    return false;
                break;
            }
            if (!take(scan, stack[depth - 1]))
                return false;
            depth--;
        }
    }
}

bool json_valid(const char *text, size_t len, size_t *ret_at)
{
    struct scan scan = { text, text + len };
    bool valid = value(&scan);

    if (valid) {
        skip_blanks(&scan);
        valid = scan.at == scan.end;
    }
    if (ret_at)
        *ret_at = (size_t)(scan.at - text);
    return valid;
}
