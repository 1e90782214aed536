/* Accepting, time, drain and end. */

#include "http/server_priv.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ACCEPTS_PER_TURN = 64, /* then the connections that are there get their turn */
    ACCEPT_PAUSE_MS = 100, /* out of descriptors or memory */
    IDLE_CLOSED = 8,       /* at most so many make room at once */
    IDLE_LOOKED_AT = 256,
    REFUSALS_MAX = 64, /* connections above the limit that get a 503; more are just closed */
    LINGER_MS = 2000,
    TICK_MIN_MS = 20,
    TICK_MAX_MS = 500,
};

void server_ref(struct http_server *server)
{
    server->refs++;
}

void server_unref(struct http_server *server)
{
    void (*on_freed)(void *ctx) = server->on_freed;
    void *ctx = server->freed_ctx;

    assert(server->refs > 0);
    if (--server->refs > 0)
        return;
    free(server);
    if (on_freed)
        on_freed(ctx);
}

static void on_ready(uv_idle_t *idle);
static void on_tick(uv_timer_t *timer);

struct http_server *http_server_new(uv_loop_t *loop, const struct http_server_config *config)
{
    struct http_server *server = calloc(1, sizeof *server);

    if (!server)
        return NULL;
    assert(config->body_limit && config->on_request);
    server->config = *config;
    server->loop = loop;
    server->limits_ms[CLOCK_IDLE] = config->idle_timeout_ms;
    server->limits_ms[CLOCK_HEAD] = config->head_timeout_ms;
    server->limits_ms[CLOCK_PROGRESS] = config->body_timeout_ms;
    server->limits_ms[CLOCK_LINGER] = LINGER_MS;
    list_init(&server->conns);
    list_init(&server->listeners);
    list_init(&server->ready);
    for (int i = 0; i < CLOCK_COUNT; i++)
        list_init(&server->clocks[i]);
    (void)uv_timer_init(loop, &server->timer);
    (void)uv_idle_init(loop, &server->idle);
    server->timer.data = server;
    server->idle.data = server;
    server->refs = 3;
    return server;
}

/* --- time
 * ------------------------------------------------------------------------------------------------------- */

void server_start_timer(struct http_server *server)
{
    uint64_t tick = TICK_MAX_MS;

    if (server->closed)
        return;
    for (int i = 0; i < CLOCK_COUNT; i++) {
        if (server->limits_ms[i] > 0 && server->limits_ms[i] / 8 < tick)
            tick = server->limits_ms[i] / 8;
    }
    if (tick < TICK_MIN_MS)
        tick = TICK_MIN_MS;
    if (server->accept_at > 0 && tick > ACCEPT_PAUSE_MS)
        tick = ACCEPT_PAUSE_MS;
    server->timer_runs = uv_timer_start(&server->timer, on_tick, tick, tick) == 0;
}

static void listen_again(struct http_server *server);

/* Each list is ordered by its beginning, and a clock has one duration: only the first ones can be over. */
static void on_tick(uv_timer_t *timer)
{
    struct http_server *server = timer->data;
    uint64_t now = uv_now(server->loop);
    bool needed = false;

    server_ref(server);
    if (server->accept_at > 0 && server->accept_at <= now)
        listen_again(server);
    for (int i = 0; i < CLOCK_COUNT; i++) {
        struct list *head = &server->clocks[i];

        while (server->limits_ms[i] > 0 && !list_empty(head)) {
            struct conn *conn = list_entry(head->next, struct conn, timed);

            if (now - conn->since < server->limits_ms[i])
                break;
            conn_expired(conn, (enum conn_clock)i);
        }
        needed |= server->limits_ms[i] > 0 && !list_empty(head);
    }
    if (!needed && server->accept_at == 0) {
        (void)uv_timer_stop(timer);
        server->timer_runs = false;
    }
    server_unref(server);
}

/* --- deferred runs
 * ---------------------------------------------------------------------------------------------- */

void server_defer(struct http_server *server, struct conn *conn)
{
    if (list_empty(&conn->ready))
        list_push_back(&server->ready, &conn->ready);
    if (!server->closed)
        (void)uv_idle_start(&server->idle, on_ready);
}

static void on_ready(uv_idle_t *idle)
{
    struct http_server *server = idle->data;
    struct list *last = server->ready.prev;
    bool more = !list_empty(&server->ready);

    server_ref(server);
    while (more && !list_empty(&server->ready)) {
        struct conn *conn = list_entry(server->ready.next, struct conn, ready);

        more = &conn->ready != last; /* those added meanwhile wait for the next iteration */
        list_remove(&conn->ready);
        conn_run(conn);
    }
    if (list_empty(&server->ready))
        (void)uv_idle_stop(idle);
    server_unref(server);
}

/* --- accepting
 * -------------------------------------------------------------------------------------------------- */

static void on_connection(uv_poll_t *poll, int status, int events);

static void listen_again(struct http_server *server)
{
    server->accept_at = 0;
    list_each(at, &server->listeners)
    {
        struct listener *listener = list_entry(at, struct listener, node);

        (void)uv_poll_start(&listener->poll, UV_READABLE, on_connection);
    }
}

/* Out of descriptors: the kernel keeps the callers waiting, connections that have long been idle make room,
 * and later we try again. */
static void pause_accepting(struct http_server *server)
{
    int looked_at = 0, closed = 0;

    list_each(at, &server->listeners)
    {
        (void)uv_poll_stop(&list_entry(at, struct listener, node)->poll);
    }
    server->accept_at = uv_now(server->loop) + ACCEPT_PAUSE_MS;
    server_start_timer(server);
    list_each_safe(at, &server->clocks[CLOCK_IDLE])
    {
        struct conn *conn = list_entry(at, struct conn, timed);

        if (looked_at++ == IDLE_LOOKED_AT || closed == IDLE_CLOSED)
            break;
        if (conn->served && conn->in_start == conn->in_end) {
            conn_close(conn, false);
            closed++;
        }
    }
}

static void take_connection(struct http_server *server, int fd, const struct sockaddr_storage *address)
{
    size_t max = server->config.max_connections;
    struct conn *conn;

    if (max > 0 && server->conn_count >= max + REFUSALS_MAX) {
        (void)close(fd);
        return;
    }
    conn = conn_new(server, fd, address);
    if (conn && max > 0 && server->conn_count > max)
        conn_refuse(conn, 503);
}

static bool error_is_of_one_connection(int error)
{
    return error == ECONNABORTED || error == EINTR || error == EPROTO || error == EPERM ||
           error == ENETDOWN || error == ENOPROTOOPT || error == EHOSTDOWN || error == ENONET ||
           error == EHOSTUNREACH || error == EOPNOTSUPP || error == ENETUNREACH;
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct listener *listener = poll->data;
    struct http_server *server = listener->server;

    (void)events;
    if (status < 0) {
        pause_accepting(server);
        return;
    }
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage address = { 0 };
        socklen_t len = sizeof address;
        int fd = accept4(listener->fd, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            take_connection(server, fd, &address);
        } else if (errno == EAGAIN) {
            return;
        } else if (!error_is_of_one_connection(errno)) {
            pause_accepting(server);
            return;
        }
    }
}

static int set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0
               ? -errno
               : 0;
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct listener *listener = handle->data;

    server_unref(listener->server);
    free(listener);
}

static void close_listener(struct listener *listener)
{
    list_remove(&listener->node);
    uv_close((uv_handle_t *)&listener->poll, on_listener_closed);
    (void)close(listener->fd);
}

int http_server_listen(struct http_server *server, int fd, int backlog)
{
    struct listener *listener = calloc(1, sizeof *listener);
    int result = !listener ? -ENOMEM : server->draining ? -ECANCELED : set_nonblocking(fd);

    if (result == 0 && listen(fd, backlog) < 0)
        result = -errno;
    if (result == 0)
        result = uv_poll_init(server->loop, &listener->poll, fd);
    if (result < 0) {
        free(listener);
        (void)close(fd);
        return result;
    }
    listener->fd = fd;
    listener->server = server;
    listener->poll.data = listener;
    server_ref(server);
    list_push_back(&server->listeners, &listener->node);
    if (server->accept_at == 0)
        result = uv_poll_start(&listener->poll, UV_READABLE, on_connection);
    if (result < 0)
        close_listener(listener);
    return result;
}

int http_server_adopt(struct http_server *server, int fd, const void *received, size_t received_len)
{
    int result = server->draining ? -ECANCELED : set_nonblocking(fd);
    struct conn *conn;

    if (result < 0) {
        (void)close(fd);
        return result;
    }
    conn = conn_new(server, fd, NULL);
    if (!conn || conn->state == CONN_CLOSED)
        return -ENOMEM;
    if (received_len == 0)
        return 0;
    if (!conn_feed(conn, received, received_len)) {
        conn_close(conn, false);
        return -ENOMEM;
    }
    server_defer(server, conn);
    return 0;
}

/* --- the end
 * ---------------------------------------------------------------------------------------------------- */

static void on_handle_closed(uv_handle_t *handle)
{
    server_unref(handle->data);
}

static void close_listeners(struct http_server *server)
{
    list_each_safe(at, &server->listeners) close_listener(list_entry(at, struct listener, node));
    server->accept_at = 0;
}

void http_server_drain(struct http_server *server)
{
    struct list *idle = &server->clocks[CLOCK_IDLE];

    server->draining = true;
    close_listeners(server);
    list_each_safe(at, idle)
    {
        struct conn *conn = list_entry(at, struct conn, timed);

        /* One that is about to read its next, already received request is not idle. */
        if (conn->in_start == conn->in_end)
            conn_close(conn, false);
    }
}

size_t http_server_connections(const struct http_server *server)
{
    return server->conn_count;
}

void http_server_free(struct http_server *server, void (*on_freed)(void *ctx), void *ctx)
{
    assert(!server->closed);
    server->closed = server->draining = true;
    server->on_freed = on_freed;
    server->freed_ctx = ctx;
    close_listeners(server);
    while (!list_empty(&server->conns)) {
        struct conn *conn = list_entry(server->conns.next, struct conn, all);

        if (server->config.reset_at_end)
            conn_reset(conn);
        conn_close(conn, false);
    }
    uv_close((uv_handle_t *)&server->timer, on_handle_closed);
    uv_close((uv_handle_t *)&server->idle, on_handle_closed);
    server_unref(server);
}
