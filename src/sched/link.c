/*
 * The socket to the launcher: encodes, queues what does not fit, decodes, and hands each message to its
 * environment or template.
 */

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "sched/sched_priv.h"
#include "wire/wire.h"

enum { MESSAGES_PER_TURN = 64, QUEUE_MAX = 65536 };

struct packet {
    struct list node;
    size_t len;
    char data[];
};

struct link {
    struct sched *sched;
    uv_poll_t poll;
    int socket;
    struct list queue;
    size_t queued;
    bool closed;
    char packet[WIRE_MAX_BYTES];
};

static void on_event(uv_poll_t *poll, int status, int events);

static void watch(struct link *link)
{
    (void)uv_poll_start(&link->poll, UV_READABLE | (list_empty(&link->queue) ? 0 : UV_WRITABLE), on_event);
}

static int enqueue(struct link *link, const struct buf *encoded)
{
    struct packet *packet;

    if (link->queued == QUEUE_MAX)
        return -ENOBUFS;
    packet = malloc(sizeof *packet + encoded->len);
    if (!packet)
        return -ENOMEM;
    packet->len = encoded->len;
    memcpy(packet->data, encoded->data, encoded->len);
    list_push_back(&link->queue, &packet->node);
    link->queued++;
    watch(link);
    return 0;
}

int link_send(struct link *link, const struct wire_message *message)
{
    AUTO_BUF struct buf encoded = BUF_INIT(WIRE_MAX_BYTES);
    int result = wire_encode(message, &encoded);

    if (result < 0)
        return result;
    if (link->closed)
        return -ENOTCONN;
    if (list_empty(&link->queue)) {
        result = wire_send(link->socket, encoded.data, encoded.len, NULL, 0);
        if (result != -EAGAIN)
            return result;
    }
    return enqueue(link, &encoded);
}

static void send_queued(struct link *link)
{
    while (!list_empty(&link->queue)) {
        struct packet *packet = list_entry(link->queue.next, struct packet, node);

        if (wire_send(link->socket, packet->data, packet->len, NULL, 0) == -EAGAIN)
            return;
        list_remove(&packet->node);
        link->queued--;
        free(packet);
    }
    watch(link);
}

static void read_interpreters(struct sched *sched, const char *text)
{
    cJSON *json = cJSON_Parse(text), *runtime;

    sched->interpreter_count = 0;
    cJSON_ArrayForEach(runtime, cJSON_GetObjectItemCaseSensitive(json, "runtimes"))
    {
        const char *id = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(runtime, "id"));
        const char *inside = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(runtime, "inside"));
        struct interpreter *slot = &sched->interpreters[sched->interpreter_count];

        if (!id || sched->interpreter_count == sizeof sched->interpreters / sizeof *sched->interpreters ||
            strlen(id) >= sizeof slot->id || (inside && strlen(inside) >= sizeof slot->inside))
            continue;
        *slot = (struct interpreter){ 0 };
        memcpy(slot->id, id, strlen(id));
        if (inside)
            memcpy(slot->inside, inside, strlen(inside));
        sched->interpreter_count++;
    }
    cJSON_Delete(json);
}

static void take_fd(int *slot, int *fd)
{
    if (*slot >= 0)
        (void)close(*slot);
    *slot = *fd;
    *fd = -1;
}

static void on_ready(struct sched *sched, const char *text, int *fds, size_t fd_count)
{
    read_interpreters(sched, text);
    if (fd_count > 0)
        take_fd(&sched->memory_usage_fd, &fds[0]);
    if (fd_count > 1)
        take_fd(&sched->memory_stat_fd, &fds[1]);
    if (sched->config.on_ready)
        sched->config.on_ready(text, sched->config.ctx);
    sched_on_ready(sched);
}

static void dispatch(struct link *link, const struct wire_message *message, int *fds, size_t fd_count)
{
    struct sched *sched = link->sched;
    struct env *env = NULL;

    if (message->type == WIRE_READY) {
        on_ready(sched, message->text, fds, fd_count);
        return;
    }
    HASH_FIND(hh, sched->envs, &message->env_id, sizeof message->env_id, env);
    if (env)
        env_on_wire(env, message, fds, fd_count);
    else
        templates_on_wire(sched, message, fds, fd_count);
}

static void lose(struct link *link)
{
    struct sched *sched = link->sched;
    struct env *env, *next;

    if (link->closed)
        return;
    link->closed = true;
    (void)uv_poll_stop(&link->poll);
    /* One that is still there and was given up for a broken message ends, so that another one comes. */
    (void)shutdown(link->socket, SHUT_RDWR);
    sched->ready = false;
    if (!sched->stopping)
        log_error("the launcher is gone, and every environment with it; waiting for another one");
    HASH_ITER(hh, sched->envs, env, next)
    env_lost(env);
    templates_lost(sched);
}

/* False when there is nothing more to read now. */
static bool receive_one(struct link *link)
{
    int fds[WIRE_MAX_FDS];
    size_t fd_count = 0;
    struct wire_message message;
    struct err err = { 0 };
    ssize_t len = wire_receive(link->socket, link->packet, sizeof link->packet, fds, &fd_count);

    if (len == -EAGAIN || len == -EINTR)
        return false;
    if (len <= 0) {
        lose(link);
        return false;
    }
    if (wire_decode(link->packet, (size_t)len, &message, &err) < 0) {
        log_error("message from the launcher refused: %s", err.text);
    } else {
        dispatch(link, &message, fds, fd_count);
        wire_message_done(&message);
    }
    for (size_t i = 0; i < fd_count; i++) {
        if (fds[i] >= 0)
            (void)close(fds[i]);
    }
    return true;
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    struct link *link = poll->data;

    if (status < 0) {
        lose(link);
        return;
    }
    if (events & UV_WRITABLE)
        send_queued(link);
    if (events & UV_READABLE) {
        for (int i = 0; i < MESSAGES_PER_TURN && !link->closed && receive_one(link); i++)
            continue;
    }
}

struct link *link_new(struct sched *sched, int socket)
{
    struct link *link = calloc(1, sizeof *link);

    if (!link || uv_poll_init(sched->config.loop, &link->poll, socket) < 0) {
        free(link);
        (void)close(socket);
        return NULL;
    }
    link->sched = sched;
    link->socket = socket;
    link->poll.data = link;
    list_init(&link->queue);
    watch(link);
    return link;
}

static void on_poll_closed(uv_handle_t *handle)
{
    free(handle->data);
}

struct link *link_free(struct link *link)
{
    if (!link)
        return NULL;
    list_each_safe(at, &link->queue)
    {
        list_remove(at);
        free(list_entry(at, struct packet, node));
    }
    link->closed = true;
    (void)uv_poll_stop(&link->poll);
    (void)close(link->socket);
    uv_close((uv_handle_t *)&link->poll, on_poll_closed);
    return NULL;
}
