#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli_priv.h"

const char *cli_colour(bool on, enum cli_colour colour)
{
    static const char *const codes[] = {
        [COLOUR_BOLD] = "\033[1m",   [COLOUR_DIM] = "\033[2m",     [COLOUR_RED] = "\033[31m",
        [COLOUR_GREEN] = "\033[32m", [COLOUR_YELLOW] = "\033[33m",
    };

    return on ? codes[colour] : "";
}

const char *cli_plain(bool on)
{
    return on ? "\033[0m" : "";
}

void cli_hint(struct cli *cli, const char *format, ...)
{
    va_list args;

    if (cli->hint[0] != '\0')
        return;
    va_start(args, format);
    (void)vsnprintf(cli->hint, sizeof cli->hint, format, args);
    va_end(args);
}

void cli_note(const struct cli *cli, const char *format, ...)
{
    va_list args;

    if (!cli->terminal_err)
        return;
    (void)fputs(cli_colour(cli->colour_err, COLOUR_DIM), stderr);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fprintf(stderr, "%s\n", cli_plain(cli->colour_err));
}

/* Texts from the server may hold anything: what could steer a terminal is shown as '?'. */
static void print_safe(const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;

        (void)fputc((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f ? '?' : c, stderr);
    }
}

int cli_fail(struct cli *cli, const struct err *err)
{
    (void)fflush(stdout);
    (void)fprintf(stderr, "%sirori:%s ", cli_colour(cli->colour_err, COLOUR_RED), cli_plain(cli->colour_err));
    print_safe(err->text);
    (void)fputc('\n', stderr);
    if (cli->hint[0] != '\0') {
        print_safe(cli->hint);
        (void)fputc('\n', stderr);
    }
    return EXIT_FAILED;
}

int cli_print_json(const cJSON *json)
{
    char *text = cJSON_Print(json);
    int result = text ? printf("%s\n", text) : -1;

    cJSON_free(text);
    return result < 0 ? EXIT_FAILED : EXIT_OK;
}

const char *json_text(const cJSON *json, const char *name, const char *fallback)
{
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(json, name);

    return cJSON_IsString(member) ? member->valuestring : fallback;
}

double json_number(const cJSON *json, const char *name, double fallback)
{
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(json, name);

    return cJSON_IsNumber(member) ? member->valuedouble : fallback;
}
