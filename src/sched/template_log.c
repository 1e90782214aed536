/*
 * What a template's process writes. A version's goes to the log of its function. For a runtime's no
 * function's log has a place, so its lines go to irorid's own at debug, and its last ones are kept until it
 * is known whether it failed.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "logs/logs.h"
#include "sched/sched_priv.h"

enum { READ_BYTES = 1024, READS_PER_TURN = 64 };

/* Apart from the template, since the next one may be opened while this one is still closing. */
struct template_log {
    uv_poll_t poll;
    struct template *template;
    int fd;
};

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void log_lines(const struct template *template, size_t from, size_t to, enum log_level level)
{
    const char *text = template->output;

    while (from < to) {
        const char *end = memchr(text + from, '\n', to - from);
        size_t len = end ? (size_t)(end - text) - from : to - from;

        if (len > 0)
            log_line(level, "template of %s wrote: %.*s", template->name, (int)len, text + from);
        from += len + 1;
    }
}

static void log_new_lines(struct template *template, bool all)
{
    size_t from = template->output_logged, to = template->output_len;
    const char *last = from < to ? memrchr(template->output + from, '\n', to - from) : NULL;

    if (!all)
        to = last ? (size_t)(last - template->output) + 1 : from;
    log_lines(template, from, to, LOG_DEBUG);
    template->output_logged = to;
}

static void keep(struct template *template, const char *bytes, size_t len)
{
    size_t room = sizeof template->output - template->output_len, drop;

    if (len > room) {
        log_new_lines(template, true); /* a line longer than all there is room for is cut */
        drop = len - room;
        template->output_len -= drop;
        memmove(template->output, template->output + drop, template->output_len);
        template->output_logged = template->output_len;
    }
    for (size_t i = 0; i < len; i++) {
        bool shown = bytes[i] == '\n' || ((unsigned char)bytes[i] >= ' ' && bytes[i] != 0x7f);

        template->output[template->output_len++] = (char)(shown ? bytes[i] : ' ');
    }
    log_new_lines(template, false);
}

static void write_lines(struct template *template, bool all)
{
    struct buf *lines = &template->lines;
    const char *last = lines->len > 0 ? memrchr(lines->data, '\n', lines->len) : NULL;
    size_t whole = last ? (size_t)(last - lines->data) + 1 : 0;

    if (whole < lines->len && (all || lines->len > lines->max - READ_BYTES - 1)) {
        (void)buf_putc(lines, '\n');
        whole = lines->len;
    }
    if (whole > 0 && template->writer &&
        log_writer_append(template->writer, clock_wall_ms(), lines->data, whole) < 0)
        log_debug("template of %s: log lines lost", template->name);
    buf_consume(lines, whole);
    if (lines->len == 0)
        buf_done(lines);
}

void template_log_append(struct template *template, const struct buf *lines)
{
    write_lines(template, true);
    (void)buf_append(&template->lines, lines->data ? lines->data : "", lines->len);
    write_lines(template, true);
}

/* A NUL would end the text for readers. */
static void take(struct template *template, char *bytes, size_t len)
{
    if (!template->version) {
        keep(template, bytes, len);
        return;
    }
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '\0')
            bytes[i] = ' ';
    }
    (void)buf_append(&template->lines, bytes, len);
    template->lines.failed = false;
    write_lines(template, false);
}

/* False when there is nothing now, or no more. */
static bool read_once(struct template_log *log, bool *ret_end)
{
    char bytes[READ_BYTES];
    ssize_t n;

    do
        n = read(log->fd, bytes, sizeof bytes);
    while (n < 0 && errno == EINTR);
    if (n <= 0) {
        *ret_end = n == 0 || errno != EAGAIN;
        return false;
    }
    take(log->template, bytes, (size_t)n);
    return true;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    bool end = status < 0;

    (void)events;
    if (!end)
        (void)read_once(poll->data, &end);
    if (end)
        (void)uv_poll_stop(poll);
}

void template_log_open(struct template *template, int fd)
{
    struct template_log *log = calloc(1, sizeof *log);

    if (!log || uv_poll_init(template->sched->config.loop, &log->poll, fd) < 0) {
        free(log);
        (void)close(fd);
        return;
    }
    log->poll.data = log;
    log->template = template;
    log->fd = fd;
    template->log = log;
    (void)uv_poll_start(&log->poll, UV_READABLE, on_readable);
}

void template_log_close(struct template *template)
{
    struct template_log *log = template->log;
    bool end = false;

    if (!log)
        return;
    for (int i = 0; i < READS_PER_TURN && read_once(log, &end); i++)
        continue;
    log_new_lines(template, true);
    write_lines(template, true);
    template->log = NULL;
    (void)uv_poll_stop(&log->poll);
    (void)close(log->fd);
    uv_close((uv_handle_t *)&log->poll, on_closed);
}

void template_log_repeat(const struct template *template, enum log_level level)
{
    if (level > LOG_DEBUG) /* at debug they are there already */
        log_lines(template, 0, template->output_len, level);
}
