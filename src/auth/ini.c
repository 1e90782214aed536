#include "auth/ini.h"

#include <stdbool.h>
#include <string.h>

enum { LINE_BYTES = 1024 };

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static char *trim(char *text)
{
    size_t len;

    while (is_blank(*text))
        text++;
    len = strlen(text);
    while (len > 0 && is_blank(text[len - 1]))
        text[--len] = '\0';
    return text;
}

static void read_setting(char *line, const char *section, ini_setting_fn setting, void *ctx)
{
    char *equals = strchr(line, '='), *key;

    if (!equals)
        return;
    *equals = '\0';
    key = trim(line);
    for (char *c = key; *c != '\0'; c++) {
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + 32);
    }
    if (key[0] != '\0')
        setting(section, key, trim(equals + 1), ctx);
}

void ini_read(const char *text, size_t len, ini_setting_fn setting, void *ctx)
{
    char section[LINE_BYTES] = "", line[LINE_BYTES];
    size_t at = 0;

    while (at < len) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t size = end ? (size_t)(end - text) - at : len - at;
        char *close;

        if (size < sizeof line) {
            memcpy(line, text + at, size);
            line[size] = '\0';
        } else {
            line[0] = '\0';
        }
        at += size + 1;
        close = line[0] == '[' ? strchr(line, ']') : NULL;
        if (close) {
            setting(section, NULL, NULL, ctx);
            *close = '\0';
            (void)memcpy(section, trim(line + 1), strlen(trim(line + 1)) + 1);
        } else if (line[0] != '#' && line[0] != ';' && !is_blank(line[0])) {
            read_setting(line, section, setting, ctx);
        }
    }
    setting(section, NULL, NULL, ctx);
}
