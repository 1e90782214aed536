/*
 * What an environment's processes write, and what the platform writes between: whole lines, in order, in one
 * buffer that goes to the log file in one write.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "logs/logs.h"
#include "sched/sched_priv.h"

enum {
    READ_BYTES = 8 * 1024,
    FLUSH_BYTES = 64 * 1024,
    TURN_BYTES = 64 * 1024, /* of one environment, before the loop looks at the others */
    /* Each line is an event of its own in the log, which costs more than its bytes do. */
    LINE_COST = 128,
    CREDIT_PER_MS = 5 * 1024,
    CREDIT_MAX = 50 * CREDIT_PER_MS,
    DRAIN_COST = 1 << 20,   /* at the end of an invocation; what is more comes behind END */
    LAST_BYTES = 64 * 1024, /* a pipe's capacity: what a process that has ended can have left */
};

/* Apart from the environment, since a restart opens the next one while this one is still closing. */
struct log_source {
    uv_poll_t poll;
    struct env *env;
    struct list paused_node; /* in sched->paused while it has no credit */
    int64_t credit;          /* bytes that may be read, lines counted in; below 0 after a flood */
    uint64_t credit_ms;      /* when it was last raised */
};

static void on_source_closed(uv_handle_t *handle)
{
    free(handle->data);
}

/* The end of the last whole line, as a length. */
static size_t whole_lines(const struct buf *log)
{
    const char *last = log->len > 0 ? memrchr(log->data, '\n', log->len) : NULL;

    return last ? (size_t)(last - log->data) + 1 : 0;
}

/* Written a moment later, or when it is much: not one write to a file for each invocation. */
static void mark_dirty(struct env *env)
{
    if (!list_empty(&env->dirty_node) || whole_lines(&env->log) == 0)
        return;
    list_push_back(&env->sched->dirty, &env->dirty_node);
    sched_flush_soon(env->sched);
}

void env_log_flush(struct env *env)
{
    size_t whole = whole_lines(&env->log);

    if (whole > 0) {
        if (env->writer && log_writer_append(env->writer, clock_wall_ms(), env->log.data, whole) < 0)
            log_debug("environment %s: log lines lost", env->uuid);
        buf_consume(&env->log, whole);
    }
    /* A line without an end may not grow for ever. */
    if (env->log.len >= (size_t)FLUSH_BYTES * 4)
        env_log_end_line(env);
    list_remove(&env->dirty_node);
    /* An idle environment keeps no buffer. */
    if (env->log.len == 0)
        buf_done(&env->log);
}

struct buf *env_log_platform(struct env *env)
{
    return &env->log;
}

void env_log_written(struct env *env, size_t from)
{
    if (env->invocation && env->invocation->want_log_tail && env->log.len > from)
        (void)buf_append(&env->tail, env->log.data + from, env->log.len - from);
    if (env->tail.len > env->tail.max / 2)
        buf_consume(&env->tail, env->tail.len - 8192);
    mark_dirty(env);
    if (env->log.len > FLUSH_BYTES)
        env_log_flush(env);
}

static size_t count_lines(const char *text, size_t len)
{
    size_t lines = 0;

    for (size_t i = 0; i < len; i++)
        lines += text[i] == '\n';
    return lines;
}

/* Returns the bytes read, 0 when there is nothing now or no more. */
static size_t read_once(struct env *env, bool *ret_end)
{
    size_t from = env->log.len;
    ssize_t got;

    if (buf_reserve(&env->log, READ_BYTES) < 0) {
        env->log.failed = false;
        env_log_end_line(env);
        env_log_flush(env);
        return 0;
    }
    do {
        got = read(env->log_fd, env->log.data + from, READ_BYTES);
    } while (got < 0 && errno == EINTR);
    if (got <= 0) {
        *ret_end = got == 0 || errno != EAGAIN;
        if (env->log.len == 0)
            buf_done(&env->log);
        return 0;
    }
    /* A NUL would end the text for readers. */
    for (ssize_t i = 0; i < got; i++) {
        if (env->log.data[from + (size_t)i] == '\0')
            env->log.data[from + (size_t)i] = ' ';
    }
    env->log.len += (size_t)got;
    env->log.data[env->log.len] = '\0';
    env->log_source->credit -= got + (int64_t)count_lines(env->log.data + from, (size_t)got) * LINE_COST;
    env_log_written(env, from);
    return (size_t)got;
}

static void raise_credit(struct log_source *source)
{
    uint64_t now = uv_now(source->env->sched->config.loop);

    source->credit += (int64_t)(now - source->credit_ms) * CREDIT_PER_MS;
    if (source->credit > CREDIT_MAX)
        source->credit = CREDIT_MAX;
    source->credit_ms = now;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct log_source *source = poll->data;
    size_t total = 0, got = READ_BYTES;
    bool end = false;

    (void)events;
    raise_credit(source);
    while (status == 0 && got == READ_BYTES && total < TURN_BYTES && source->credit > 0) {
        got = read_once(source->env, &end);
        total += got;
    }
    if (status < 0 || end) {
        (void)uv_poll_stop(poll);
    } else if (source->credit <= 0) {
        (void)uv_poll_stop(poll);
        list_push_back(&source->env->sched->paused, &source->paused_node);
        sched_flush_soon(source->env->sched);
    }
}

void env_log_resume(struct sched *sched)
{
    list_each_safe(at, &sched->paused)
    {
        struct log_source *source = list_entry(at, struct log_source, paused_node);

        raise_credit(source);
        if (source->credit > 0) {
            list_remove(&source->paused_node);
            (void)uv_poll_start(&source->poll, UV_READABLE, on_readable);
        }
    }
    if (!list_empty(&sched->paused))
        sched_flush_soon(sched);
}

int env_log_open(struct env *env, int fd)
{
    struct log_source *source = calloc(1, sizeof *source);
    int result = source ? uv_poll_init(env->sched->config.loop, &source->poll, fd) : -ENOMEM;

    if (result < 0) {
        free(source);
        (void)close(fd);
        return result;
    }
    source->poll.data = source;
    source->env = env;
    source->credit = CREDIT_MAX;
    source->credit_ms = uv_now(env->sched->config.loop);
    list_init(&source->paused_node);
    env->log_source = source;
    env->log_fd = fd;
    return uv_poll_start(&source->poll, UV_READABLE, on_readable);
}

static void drain(struct env *env, size_t max_bytes, int64_t max_cost)
{
    int64_t lowest = env->log_source->credit - max_cost;
    size_t total = 0, got;
    bool end = false;

    do {
        got = read_once(env, &end);
        total += got;
    } while (got > 0 && total < max_bytes && env->log_source->credit > lowest);
}

void env_log_drain(struct env *env)
{
    if (env->log_source)
        drain(env, DRAIN_COST, DRAIN_COST);
}

void env_log_end_line(struct env *env)
{
    if (env->log.len > 0 && env->log.data[env->log.len - 1] != '\n') {
        size_t from = env->log.len;

        env->log.failed = false;
        /* Without memory for it the line stays open: env_log_written() would come back here for ever. */
        if (buf_putc(&env->log, '\n') == 0)
            env_log_written(env, from);
    }
}

void env_log_close(struct env *env)
{
    struct log_source *source = env->log_source;

    if (source)
        drain(env, LAST_BYTES, (int64_t)LAST_BYTES * (LINE_COST + 1));
    env_log_end_line(env);
    env_log_flush(env);
    if (!source)
        return;
    env->log_source = NULL;
    list_remove(&source->paused_node);
    (void)uv_poll_stop(&source->poll);
    (void)close(env->log_fd);
    env->log_fd = -1;
    uv_close((uv_handle_t *)&source->poll, on_source_closed);
}
