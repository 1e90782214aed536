/* One connection: reading, its states, and the way of a request to its handler. */

#include "http/server_priv.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_BYTES = 65536,        /* one read while little is known of what comes */
    BODY_READ_BYTES = 1 << 20, /* one read into a body's own memory */
    KEEP_BYTES = 1024,         /* an idle connection keeps a buffer no larger */
    KEEP_FIELDS = 32,
    KEEP_RUN_BYTES = 2 * READ_BYTES, /* what follows a request keeps a buffer no larger, if it fits */
    REQUESTS_PER_TURN = 16,          /* then the other connections get theirs */
    LINGER_BYTES = 256 * 1024,
    BODY_BYTES_PER_MS = 16, /* a body that comes slower, after its first grace, is not waited for */
};

static void set_peer(struct conn *conn, const struct sockaddr_storage *address)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
    const void *from = NULL;
    int family = address->ss_family;

    if (family == AF_INET) {
        from = &v4->sin_addr;
    } else if (family == AF_INET6) {
        from = &v6->sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
            family = AF_INET;
            from = &v6->sin6_addr.s6_addr[12];
        }
    }
    if (!from || !inet_ntop(family, from, conn->peer, sizeof conn->peer))
        conn->peer[0] = '\0';
}

static void conn_run_events(uv_poll_t *poll, int status, int events);

struct conn *conn_new(struct http_server *server, int fd, const struct sockaddr_storage *address)
{
    static const int on = 1;
    struct sockaddr_storage own = { 0 };
    socklen_t len = sizeof own;
    struct conn *conn = calloc(1, sizeof *conn);

    if (!conn || uv_poll_init(server->loop, &conn->poll, fd) < 0) {
        free(conn);
        (void)close(fd);
        return NULL;
    }
    if (!address && getpeername(fd, (struct sockaddr *)&own, &len) == 0)
        address = &own;
    if (address)
        set_peer(conn, address);
    /* Answers are written whole: waiting for more to send only delays them. Fails on a Unix socket. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    conn->poll.data = conn;
    conn->server = server;
    conn->fd = fd;
    conn->refs = 1;
    list_init(&conn->all);
    list_init(&conn->timed);
    list_init(&conn->ready);
    server_ref(server);
    server->conn_count++;
    list_push_back(&server->conns, &conn->all);
    conn_set_state(conn, CONN_IDLE);
    conn_update_interest(conn);
    return conn;
}

/* in: what realloc() or free() made of the memory before. */
static void note_input(struct conn *conn, char *in, size_t cap)
{
    conn->server->input_bytes += cap - conn->in_cap;
    conn->in = in;
    conn->in_cap = cap;
}

void conn_unref(struct conn *conn)
{
    assert(conn->refs > 0);
    if (--conn->refs > 0)
        return;
    free(conn->in);
    note_input(conn, NULL, 0);
    free(conn->parser.fields);
    buf_done(&conn->held);
    server_unref(conn->server);
    free(conn);
}

static void on_closed(uv_handle_t *handle)
{
    conn_unref(handle->data);
}

void conn_reset(struct conn *conn)
{
    const struct linger at_once = { .l_onoff = 1, .l_linger = 0 };

    (void)setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

void conn_close(struct conn *conn, bool tell)
{
    struct http_server *server = conn->server;

    if (conn->state == CONN_CLOSED)
        return;
    conn_set_state(conn, CONN_CLOSED);
    list_remove(&conn->all);
    list_remove(&conn->ready);
    server->conn_count--;
    uv_close((uv_handle_t *)&conn->poll, on_closed);
    (void)close(conn->fd);
    conn->fd = -1;
    answer_drop(conn);
    if (!conn->exchange.owned)
        return;
    if (tell && !conn->exchange.gone && server->config.on_gone) {
        conn->exchange.gone = true;
        server->config.on_gone(&conn->exchange, server->config.ctx);
    } else {
        conn->exchange.gone = true;
    }
}

static enum conn_clock clock_of(enum conn_state state)
{
    switch (state) {
    case CONN_IDLE:
        return CLOCK_IDLE;
    case CONN_HEAD:
        return CLOCK_HEAD;
    case CONN_BODY:
    case CONN_WRITE:
        return CLOCK_PROGRESS;
    case CONN_LINGER:
        return CLOCK_LINGER;
    case CONN_BUSY:
    case CONN_CLOSED:
        break;
    }
    return CLOCK_NONE;
}

/* Entering a state anew, also the same one, starts its clock anew. */
void conn_set_state(struct conn *conn, enum conn_state state)
{
    struct http_server *server = conn->server;
    enum conn_clock clock = clock_of(state);

    conn->state = state;
    list_remove(&conn->timed);
    if (server->large_head == conn && (state == CONN_IDLE || state >= CONN_LINGER))
        server->large_head = NULL;
    if (clock == CLOCK_NONE)
        return;
    conn->since = uv_now(server->loop);
    list_push_back(&server->clocks[clock], &conn->timed);
    if (!server->timer_runs && server->limits_ms[clock] > 0)
        server_start_timer(server);
}

void conn_update_interest(struct conn *conn)
{
    int wanted = conn->fin ? 0 : UV_DISCONNECT;

    switch (conn->state) {
    case CONN_IDLE:
    case CONN_HEAD:
    case CONN_BODY:
        conn->read_paused = false;
        wanted |= UV_READABLE;
        break;
    case CONN_BUSY:
        wanted |= conn->read_paused ? 0 : UV_READABLE;
        break;
    case CONN_WRITE:
        conn->read_paused = true;
        wanted |= UV_WRITABLE;
        break;
    case CONN_LINGER:
        wanted = UV_READABLE;
        break;
    case CONN_CLOSED:
        return;
    }
    if (wanted == conn->interest)
        return;
    conn->interest = wanted;
    if (uv_poll_start(&conn->poll, wanted, conn_run_events) < 0)
        conn_close(conn, true);
}

static void drop_input(struct conn *conn)
{
    conn->in_start = conn->in_end = 0;
    if (conn->in_cap > KEEP_BYTES) {
        free(conn->in);
        note_input(conn, NULL, 0);
    }
    if (conn->parser.field_cap > KEEP_FIELDS) {
        free(conn->parser.fields);
        conn->parser.fields = NULL;
        conn->parser.field_cap = 0;
    }
}

/* Behind a large request: its memory is not for the small one that follows. */
static void shrink_input(struct conn *conn)
{
    size_t held = conn->in_end - conn->in_start;
    char *smaller;

    if (conn->in_cap <= KEEP_RUN_BYTES || held > KEEP_RUN_BYTES)
        return;
    memmove(conn->in, conn->in + conn->in_start, held);
    conn->in_start = 0;
    conn->in_end = held;
    smaller = realloc(conn->in, held);
    if (smaller)
        note_input(conn, smaller, held);
}

/* Doubling keeps a long body linear, but not beyond a known end; the first time it is what came, since an
 * idle connection shall be small. */
static size_t grown_cap(const struct conn *conn, size_t held, size_t extra)
{
    size_t end = conn->parser.missing > extra ? held + (size_t)conn->parser.missing : SIZE_MAX;
    size_t cap = conn->in_cap * 2 < end ? conn->in_cap * 2 : end;

    return cap > held + extra ? cap : (held + extra + 255) / 256 * 256;
}

/* Small requests always have room: there is a limit to connections. */
static bool has_room(const struct conn *conn, uint64_t more)
{
    const struct http_server *server = conn->server;
    size_t max = server->config.max_input_bytes;

    return max == 0 || conn->in_cap + more <= KEEP_RUN_BYTES ||
           (server->input_bytes < max && more <= max - server->input_bytes);
}

/* Room for extra bytes behind in_end. The request at hand moves to the front, or elsewhere; the parser
 * follows. */
static bool reserve_input(struct conn *conn, size_t extra)
{
    size_t held = conn->in_end - conn->in_start, cap = conn->in_cap;
    char *grown;

    if (conn->in_cap - conn->in_end >= extra)
        return true;
    if (conn->in_start > 0) {
        memmove(conn->in, conn->in + conn->in_start, held);
        conn->in_start = 0;
        conn->in_end = held;
    }
    if (cap - held >= extra)
        return true;
    cap = grown_cap(conn, held, extra);
    assert(cap > held); /* sums of limits and of what came: far from SIZE_MAX */
    if (conn->state == CONN_BODY && !has_room(conn, cap - conn->in_cap)) {
        errno = ENOBUFS;
        return false;
    }
    grown = realloc(conn->in, cap);
    if (!grown)
        return false; /* errno is ENOMEM */
    note_input(conn, grown, cap);
    return true;
}

bool conn_feed(struct conn *conn, const void *bytes, size_t len)
{
    if (!reserve_input(conn, len))
        return false;
    memcpy(conn->in + conn->in_end, bytes, len);
    conn->in_end += len;
    return true;
}

static bool grow_fields(struct conn *conn)
{
    size_t cap = (conn->parser.fields_needed + 15) / 16 * 16;
    struct http_header *fields = realloc(conn->parser.fields, cap * sizeof *fields);

    if (!fields)
        return false;
    conn->parser.fields = fields;
    conn->parser.field_cap = cap;
    return true;
}

/* The input may have moved since the last step, for bytes that then did not come. */
static void follow_input(struct conn *conn)
{
    size_t before = conn->in_end - conn->in_start, len = before;

    (void)http_parser_step(&conn->parser, conn->in + conn->in_start, &len);
    conn->in_end -= before - len;
}

static void end_body_early(struct conn *conn)
{
    const struct http_server_config *config = &conn->server->config;

    if (conn->state != CONN_BODY || !config->on_truncated)
        return;
    if (conn->parser.error_status == 0)
        follow_input(conn);
    config->on_truncated(&conn->exchange, config->ctx);
}

void conn_refuse(struct conn *conn, int status)
{
    const struct http_server_config *config = &conn->server->config;
    struct answer answer = { .status = status, .headers = "", .body = "" };

    if (conn->state == CONN_CLOSED)
        return;
    if (config->error_body) {
        const char *headers = NULL, *body = config->error_body(status, &headers, config->ctx);

        answer.headers = headers ? headers : "";
        answer.body = body ? body : "";
        answer.headers_len = strlen(answer.headers);
        answer.body_len = strlen(answer.body);
    }
    conn->close_after = true;
    conn->whole = false;
    conn->is_head_method = false;
    answer_send(conn, &answer);
}

/* Gives the request to its handler. */
static void hand_over(struct conn *conn, void (*handler)(struct http_exchange *x, void *ctx), bool whole)
{
    conn->turn++;
    conn->whole = whole;
    conn->is_head_method = http_slice_equal(conn->parser.request.method, "HEAD");
    conn->exchange.owned = true;
    conn->exchange.gone = false;
    conn->refs++;
    conn_set_state(conn, CONN_BUSY);
    handler(&conn->exchange, conn->server->config.ctx);
}

static void refuse_for_room(struct conn *conn)
{
    if (conn->server->config.on_no_room)
        hand_over(conn, conn->server->config.on_no_room, false);
    else
        conn_refuse(conn, 503);
}

static void refuse_large(struct conn *conn)
{
    if (conn->server->config.on_too_large)
        hand_over(conn, conn->server->config.on_too_large, false);
    else
        conn_refuse(conn, 413);
}

/* The head is read. Returns whether to go on with the body. */
static bool begin_body(struct conn *conn, size_t available)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const struct http_server_config *config = &conn->server->config;
    struct http_parser *parser = &conn->parser;
    const struct http_request *request = &parser->request;
    bool has_body = request->chunked || request->length > 0;
    uint64_t there = available - parser->head_len;
    uint64_t missing = request->length > there ? request->length - there : 0;

    conn->exchange.data = NULL;
    parser->body_limit = config->body_limit(&conn->exchange, config->ctx);
    if (conn->state == CONN_CLOSED || !has_body)
        return conn->state != CONN_CLOSED;
    conn_set_state(conn, CONN_BODY);
    conn->body_since = conn->since;
    if (request->length <= parser->body_limit && !has_room(conn, missing)) {
        refuse_for_room(conn);
        return false;
    }
    /* Not when some of the body is there already (RFC 9110, 10.1.1), and not when it will be refused. Nothing
     * else is unsent here, so these few bytes fit the kernel's buffer; if not, the client sends without them
     * after a while. */
    if (request->expect_continue && available == parser->head_len && request->length <= parser->body_limit)
        (void)send(conn->fd, go_on, sizeof go_on - 1, MSG_NOSIGNAL);
    return true;
}

/* The header lines are long: one connection at a time may have them so. */
static void widen_head(struct conn *conn)
{
    struct http_server *server = conn->server;
    struct http_limits *limits = &conn->parser.limits;

    limits->ask = false;
    if (server->large_head)
        return;
    server->large_head = conn;
    limits->max_header_bytes = server->config.large_header_bytes;
}

/* Returns whether to step again. */
static bool step(struct conn *conn)
{
    const struct http_server_config *config = &conn->server->config;
    size_t len = conn->in_end - conn->in_start;
    size_t before = len;
    enum http_step result;

    if (len == 0) {
        drop_input(conn);
        return false;
    }
    if (conn->state == CONN_IDLE) {
        struct http_limits limits = { config->max_line_bytes, config->max_header_bytes, config->max_headers,
                                      config->large_header_bytes > config->max_header_bytes };

        shrink_input(conn);
        http_parser_begin(&conn->parser, &limits);
        conn_set_state(conn, CONN_HEAD);
    }
    result = http_parser_step(&conn->parser, conn->in + conn->in_start, &len);
    conn->in_end -= before - len;
    switch (result) {
    case HTTP_MORE:
        return false;
    case HTTP_FIELDS:
        if (!grow_fields(conn))
            conn_close(conn, false);
        return true;
    case HTTP_LONG:
        widen_head(conn);
        return true;
    case HTTP_HEAD:
        return begin_body(conn, len);
    case HTTP_DONE:
        hand_over(conn, config->on_request, true);
        return true;
    case HTTP_TOO_LARGE:
        refuse_large(conn);
        return true;
    case HTTP_BAD:
        end_body_early(conn);
        conn_refuse(conn, conn->parser.error_status);
        return true;
    }
    return false;
}

void conn_run(struct conn *conn)
{
    if (conn->running)
        return;
    conn->running = true;
    conn->turn = 0;
    conn->refs++;
    while (conn->state <= CONN_BODY && conn->turn < REQUESTS_PER_TURN && step(conn)) {
    }
    conn->running = false;
    if (conn->state == CONN_IDLE && conn->turn == REQUESTS_PER_TURN)
        server_defer(conn->server, conn);
    /* Only an answer that is awaited may take kept ones along. */
    if (conn->held.len > 0 && conn->state <= CONN_BODY)
        answer_send_held(conn);
    if (conn->state == CONN_IDLE && conn->server->draining)
        conn_close(conn, false);
    conn_update_interest(conn);
    conn_unref(conn);
}

/* The last answer went out. Closing with unread input would reset the connection, and the peer might lose the
 * answer: then only our side is shut, and a while and some bytes are granted (RFC 9112, 9.6). */
static void close_gently(struct conn *conn)
{
    size_t held = conn->in_end - conn->in_start;
    int waiting = 0;

    if (conn->whole && held == conn->parser.used && ioctl(conn->fd, FIONREAD, &waiting) == 0 &&
        waiting == 0) {
        conn_close(conn, false);
        return;
    }
    (void)shutdown(conn->fd, SHUT_WR);
    drop_input(conn);
    conn_set_state(conn, CONN_LINGER);
    conn_update_interest(conn);
}

void conn_answered(struct conn *conn)
{
    if (conn->close_after || conn->server->draining) {
        close_gently(conn);
        return;
    }
    conn->served = true;
    conn->in_start += conn->parser.used;
    conn_set_state(conn, CONN_IDLE);
    if (conn->running)
        return;
    if (conn->in_start == conn->in_end) {
        drop_input(conn);
        conn_update_interest(conn);
    } else {
        server_defer(conn->server, conn);
    }
}

static void on_end(struct conn *conn)
{
    end_body_early(conn);
    conn_close(conn, true);
}

/* Returns what read() does, -1 with ENOBUFS when the body has no room; never touches memory of a request that
 * a handler owns. */
static ssize_t read_some(struct conn *conn)
{
    uint64_t missing = conn->state == CONN_BODY ? conn->parser.missing : 0;
    char bytes[READ_BYTES];
    ssize_t n;

    if (missing >= READ_BYTES) {
        size_t want = missing < BODY_READ_BYTES ? (size_t)missing : BODY_READ_BYTES;

        if (!reserve_input(conn, want))
            return -1;
        n = read(conn->fd, conn->in + conn->in_end, want);
        if (n > 0)
            conn->in_end += (size_t)n;
        return n;
    }
    n = read(conn->fd, bytes, sizeof bytes);
    if (n <= 0 || conn->state == CONN_LINGER)
        return n;
    if (!conn_feed(conn, bytes, (size_t)n))
        return -1;
    return n;
}

/* A body has its clock started anew with each of its bytes, and all the same it has an end. One without a
 * length is measured by what came. */
static bool body_is_late(const struct conn *conn)
{
    const struct http_request *request = &conn->parser.request;
    uint64_t limit = conn->server->limits_ms[CLOCK_PROGRESS];
    uint64_t length = request->has_length ? request->length : conn->in_end - conn->in_start;

    return limit > 0 && uv_now(conn->server->loop) - conn->body_since > limit + length / BODY_BYTES_PER_MS;
}

static size_t linger_limit(const struct conn *conn)
{
    size_t limit = conn->server->config.linger_bytes;

    return limit > 0 ? limit : LINGER_BYTES;
}

static void on_readable(struct conn *conn)
{
    ssize_t n;

    if (!list_empty(&conn->ready))
        return; /* first what has been read */
    if (conn->state == CONN_BUSY || conn->state == CONN_WRITE) {
        conn->read_paused = true;
        conn_update_interest(conn);
        return;
    }
    n = read_some(conn);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0 && errno == ENOBUFS && conn->state == CONN_BODY) {
        follow_input(conn);
        refuse_for_room(conn);
        return;
    }
    if (n <= 0) {
        on_end(conn);
        return;
    }
    if (conn->state == CONN_LINGER) {
        conn->lingered += (size_t)n;
        if (conn->lingered > linger_limit(conn))
            conn_close(conn, false);
        return;
    }
    if (conn->state == CONN_BODY)
        conn_set_state(conn, CONN_BODY); /* progress */
    conn_run(conn);
    if (conn->state == CONN_BODY && body_is_late(conn))
        conn_expired(conn, CLOCK_PROGRESS);
}

/* The peer has shut its side, or died: a reader of answers may still be there, so one can be given. */
static void on_disconnect(struct conn *conn)
{
    const struct http_server_config *config = &conn->server->config;

    if (conn->state != CONN_BUSY && conn->state != CONN_WRITE)
        return; /* read() will say so */
    conn->fin = true;
    if (conn->exchange.owned && !conn->exchange.gone) {
        conn->exchange.gone = true;
        if (config->on_gone)
            config->on_gone(&conn->exchange, config->ctx);
    }
    conn_update_interest(conn);
}

static void conn_run_events(uv_poll_t *poll, int status, int events)
{
    struct conn *conn = poll->data;

    conn->refs++;
    if (status < 0) { /* reset; libuv has stopped the handle */
        on_end(conn);
    } else {
        if (events & UV_WRITABLE && conn->state == CONN_WRITE)
            answer_flush(conn);
        if (events & UV_READABLE && conn->state != CONN_CLOSED)
            on_readable(conn);
        if (events & UV_DISCONNECT && conn->state != CONN_CLOSED)
            on_disconnect(conn);
    }
    conn_unref(conn);
}

void conn_expired(struct conn *conn, enum conn_clock clock)
{
    if (clock == CLOCK_HEAD || (clock == CLOCK_PROGRESS && conn->state == CONN_BODY)) {
        end_body_early(conn);
        conn_refuse(conn, 408);
    } else {
        conn_close(conn, true);
    }
}

static const struct conn *exchange_conn(const struct http_exchange *x)
{
    return (const struct conn *)(const void *)x;
}

const struct http_request *http_exchange_request(const struct http_exchange *x)
{
    return &exchange_conn(x)->parser.request;
}

void http_exchange_set_data(struct http_exchange *x, void *data)
{
    x->data = data;
}

void *http_exchange_data(const struct http_exchange *x)
{
    return x->data;
}

void *http_exchange_context(const struct http_exchange *x)
{
    return exchange_conn(x)->server->config.ctx;
}

bool http_exchange_gone(const struct http_exchange *x)
{
    return x->gone;
}

const char *http_exchange_peer(const struct http_exchange *x)
{
    return exchange_conn(x)->peer;
}

uv_loop_t *http_exchange_loop(const struct http_exchange *x)
{
    return exchange_conn(x)->server->loop;
}
