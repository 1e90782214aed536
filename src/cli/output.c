#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* The length of the control character that text begins with; 0: it begins with another character. The upper
 * ones (U+0080 to U+009F) are two bytes. */
static size_t control_len(const char *text, size_t len)
{
    unsigned char first = (unsigned char)text[0], second = len > 1 ? (unsigned char)text[1] : 0;

    if (first == 0xc2 && second >= 0x80 && second <= 0x9f)
        return 2;
    return (first < 0x20 && first != '\n' && first != '\t') || first == 0x7f ? 1 : 0;
}

void cli_print_safe(const struct cli *cli, FILE *out, const char *text, size_t len)
{
    if (!(out == stderr ? cli->terminal_err : cli->terminal_out)) {
        (void)fwrite(text, 1, len, out);
        return;
    }
    for (size_t i = 0, control; i<len; i += control> 0 ? control : 1) {
        control = control_len(text + i, len - i);
        if (control == 0)
            (void)fputc(text[i], out);
        else if (text[i] != '\r')
            (void)fputc('?', out);
        else if (i + 1 == len || text[i + 1] != '\n')
            (void)fputc('\n', out);
    }
}

int cli_fail(struct cli *cli, const struct err *err)
{
    (void)fflush(stdout);
    (void)fprintf(stderr, "%sirori:%s ", cli_colour(cli->colour_err, COLOUR_RED), cli_plain(cli->colour_err));
    cli_print_safe(cli, stderr, err->text, strlen(err->text));
    (void)fputc('\n', stderr);
    if (cli->hint[0] != '\0') {
        cli_print_safe(cli, stderr, cli->hint, strlen(cli->hint));
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

int cli_read_file(const char *path, struct buf *out, struct err *err)
{
    bool standard = strcmp(path, "-") == 0;
    AUTO_FD int opened = standard ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int fd = standard ? STDIN_FILENO : opened;
    char chunk[16 * 1024];
    ssize_t got = 0;

    if (fd < 0)
        return err_set(err, ERR_NOT_FOUND, errno, "open %.250s", path);
    while ((got = read(fd, chunk, sizeof chunk)) > 0 || (got < 0 && errno == EINTR)) {
        if (got > 0 && buf_append(out, chunk, (size_t)got) < 0)
            return err_set(err, ERR_LIMIT, 0, "%.200s is larger than %zu MB", path, out->max >> 20);
    }
    return got < 0 ? err_set(err, ERR_SYSTEM, errno, "read %.250s", path) : 0;
}
