/* Formatting and writing of answers. The usual one leaves in a single system call, without allocation. */

#include "http/server_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/clock.h"

enum {
    PREFIX_BYTES = 256, /* status line and the server's own headers */
    FLAT_BYTES = 4096,  /* up to this, copying is cheaper than a longer vector */
    HELD_BYTES = 1024,  /* answers kept back, together */
    PARTS = 5,          /* of an answer on the wire */
};

/* clang-format off */
static const struct { int status; const char *text; } status_texts[] = {
    { 100, "Continue" }, { 101, "Switching Protocols" }, { 103, "Early Hints" },
    { 200, "OK" }, { 201, "Created" }, { 202, "Accepted" }, { 203, "Non-Authoritative Information" },
    { 204, "No Content" }, { 205, "Reset Content" }, { 206, "Partial Content" }, { 207, "Multi-Status" },
    { 300, "Multiple Choices" }, { 301, "Moved Permanently" }, { 302, "Found" }, { 303, "See Other" },
    { 304, "Not Modified" }, { 307, "Temporary Redirect" }, { 308, "Permanent Redirect" },
    { 400, "Bad Request" }, { 401, "Unauthorized" }, { 402, "Payment Required" }, { 403, "Forbidden" },
    { 404, "Not Found" }, { 405, "Method Not Allowed" }, { 406, "Not Acceptable" },
    { 407, "Proxy Authentication Required" }, { 408, "Request Timeout" }, { 409, "Conflict" },
    { 410, "Gone" }, { 411, "Length Required" }, { 412, "Precondition Failed" }, { 413, "Content Too Large" },
    { 414, "URI Too Long" }, { 415, "Unsupported Media Type" }, { 416, "Range Not Satisfiable" },
    { 417, "Expectation Failed" }, { 418, "I'm a teapot" }, { 421, "Misdirected Request" },
    { 422, "Unprocessable Content" }, { 423, "Locked" }, { 424, "Failed Dependency" }, { 425, "Too Early" },
    { 426, "Upgrade Required" }, { 428, "Precondition Required" }, { 429, "Too Many Requests" },
    { 431, "Request Header Fields Too Large" }, { 451, "Unavailable For Legal Reasons" },
    { 500, "Internal Server Error" }, { 501, "Not Implemented" }, { 502, "Bad Gateway" },
    { 503, "Service Unavailable" }, { 504, "Gateway Timeout" }, { 505, "HTTP Version Not Supported" },
    { 507, "Insufficient Storage" }, { 511, "Network Authentication Required" },
};
/* clang-format on */

const char *http_status_text(int status)
{
    if (status == 200)
        return "OK";
    for (size_t i = 0; i < sizeof status_texts / sizeof status_texts[0]; i++) {
        if (status_texts[i].status == status)
            return status_texts[i].text;
    }
    return "Unknown";
}

/* A prefix is bounded by construction: fixed words, a number, a date, a status text of the table. */
static char *put(char *to, const char *text)
{
    return mempcpy(to, text, strlen(text));
}

static char *put_number(char *to, uint64_t value)
{
    char digits[20];
    size_t n = sizeof digits;

    do {
        digits[--n] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    memcpy(to, digits + n, sizeof digits - n);
    return to + sizeof digits - n;
}

static const char *date_line(struct http_server *server)
{
    time_t now = time(NULL);

    if (now != server->date_s) {
        clock_format((uint64_t)now * 1000, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", server->date,
                     sizeof server->date);
        server->date_s = now;
    }
    return server->date;
}

static bool status_has_no_body(int status)
{
    return status < 200 || status == 204 || status == 304;
}

static size_t format_prefix(struct conn *conn, const struct answer *answer, char *out)
{
    char *to = put(out, "HTTP/1.1 ");

    to = put_number(to, (uint64_t)answer->status);
    *to++ = ' ';
    to = put(to, http_status_text(answer->status));
    to = put(to, "\r\n");
    if (conn->server->config.date_header)
        to = put(to, date_line(conn->server));
    if (!status_has_no_body(answer->status)) {
        to = put(to, "Content-Length: ");
        to = put_number(to, answer->body_len);
        to = put(to, "\r\n");
    }
    to = put(to, conn->close_after ? "Connection: close\r\n" : "Connection: keep-alive\r\n");
    assert(to <= out + PREFIX_BYTES);
    return (size_t)(to - out);
}

void answer_drop(struct conn *conn)
{
    void (*release)(void *owner) = conn->release;

    buf_done(&conn->out);
    conn->out_at = 0;
    conn->body = NULL;
    conn->body_len = 0;
    conn->release = NULL;
    if (release)
        release(conn->body_owner);
}

/* Returns the bytes that the kernel took, 0 when it takes none now, or negative errno. */
static ssize_t send_parts(int fd, struct iovec *parts, size_t count)
{
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = count };
    ssize_t n;

    do {
        n = count == 1 ? send(fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL)
                       : sendmsg(fd, &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN || errno == ENOBUFS ? 0 : -errno;
    return n;
}

/* Keeps what the kernel did not take of head (count parts) and body. Returns false without memory. */
static bool keep_rest(struct conn *conn, const struct iovec *head, size_t count, const struct answer *answer,
                      size_t taken)
{
    size_t at = taken;

    conn->out = BUF_INIT(HELD_BYTES + PREFIX_BYTES + answer->headers_len + answer->body_len);
    for (size_t i = 0; i < count; i++) {
        size_t skip = at < head[i].iov_len ? at : head[i].iov_len;

        if (skip == head[i].iov_len) {
            at -= skip;
            continue;
        }
        (void)buf_append(&conn->out, (char *)head[i].iov_base + skip, head[i].iov_len - skip);
        at -= skip;
    }
    if (answer->release) {
        conn->body = (const char *)answer->body + at;
        conn->body_len = answer->body_len - at;
    } else if (answer->body_len > at) {
        (void)buf_append(&conn->out, (const char *)answer->body + at, answer->body_len - at);
    }
    return !conn->out.failed;
}

static void flat_copy(char *flat, struct iovec *parts, size_t count)
{
    size_t at = 0;

    for (size_t i = 0; i < count; i++) {
        if (parts[i].iov_len > 0)
            memcpy(flat + at, parts[i].iov_base, parts[i].iov_len);
        at += parts[i].iov_len;
    }
    parts[0] = (struct iovec){ flat, at };
}

/* Whether to keep the answer back: more input is there and will be run now. */
static bool may_hold(const struct conn *conn, size_t total)
{
    return conn->server->config.join_answers && conn->running && !conn->close_after && total <= HELD_BYTES &&
           conn->in_end - conn->in_start > conn->parser.used;
}

static bool hold(struct conn *conn, const struct iovec *parts, const struct answer *answer)
{
    conn->held.max = HELD_BYTES;
    for (size_t i = 1; i < PARTS; i++)
        (void)buf_append(&conn->held, parts[i].iov_base, parts[i].iov_len);
    conn->release = answer->release;
    conn->body_owner = answer->owner;
    return !conn->held.failed;
}

/* parts: what was held, three of the head, then the body. */
static void send_or_keep(struct conn *conn, struct iovec parts[static PARTS], const struct answer *answer)
{
    size_t total = 0;
    struct iovec vector[PARTS];
    char flat[FLAT_BYTES];
    bool is_flat;
    ssize_t n;

    for (size_t i = 0; i < PARTS; i++)
        total += parts[i].iov_len;
    if (may_hold(conn, total) && hold(conn, parts, answer)) {
        answer_drop(conn);
        conn_answered(conn);
        return;
    }
    is_flat = total <= sizeof flat;
    memcpy(vector, parts, sizeof vector);
    if (is_flat)
        flat_copy(flat, vector, PARTS);
    n = send_parts(conn->fd, vector, is_flat ? 1 : PARTS);
    conn->release = answer->release;
    conn->body_owner = answer->owner;
    if (n < 0 || ((size_t)n < total && !keep_rest(conn, parts, PARTS - 1, answer, (size_t)n))) {
        conn_close(conn, false);
        return;
    }
    buf_done(&conn->held);
    if ((size_t)n < total) {
        conn_set_state(conn, CONN_WRITE);
        conn_update_interest(conn);
        return;
    }
    answer_drop(conn);
    conn_answered(conn);
}

void answer_send(struct conn *conn, const struct answer *answer)
{
    struct answer sent = *answer;
    char prefix[PREFIX_BYTES];
    struct iovec parts[PARTS];
    bool no_body;

    if (sent.status < 100 || sent.status > 999)
        sent.status = 500;
    /* After a final answer that reads like an interim one the peer would wait for more. */
    if (sent.status < 200)
        conn->close_after = true;
    no_body = conn->is_head_method || status_has_no_body(sent.status);
    parts[0] = (struct iovec){ conn->held.data, conn->held.len };
    parts[1] = (struct iovec){ prefix, format_prefix(conn, &sent, prefix) };
    parts[2] = (struct iovec){ (char *)(uintptr_t)sent.headers, sent.headers_len };
    parts[3] = (struct iovec){ (char *)(uintptr_t) "\r\n", 2 };
    parts[4] = (struct iovec){ (char *)(uintptr_t)sent.body, no_body ? 0 : sent.body_len };
    sent.body_len = parts[4].iov_len;
    send_or_keep(conn, parts, &sent);
}

void answer_send_held(struct conn *conn)
{
    struct iovec part = { conn->held.data, conn->held.len };
    ssize_t n = send_parts(conn->fd, &part, 1);

    if (n < 0) {
        conn_close(conn, true);
        return;
    }
    if ((size_t)n < conn->held.len) { /* goes with the next answer */
        buf_consume(&conn->held, (size_t)n);
        return;
    }
    buf_done(&conn->held);
}

void answer_flush(struct conn *conn)
{
    struct iovec parts[2] = {
        { conn->out.data ? conn->out.data + conn->out_at : NULL, conn->out.len - conn->out_at },
        { (char *)(uintptr_t)conn->body, conn->body_len },
    };
    size_t first = parts[0].iov_len, rest = first + parts[1].iov_len;
    ssize_t n = send_parts(conn->fd, parts, 2);
    size_t of_first;

    if (n < 0) {
        conn_close(conn, false);
        return;
    }
    of_first = (size_t)n < first ? (size_t)n : first;
    conn->out_at += of_first;
    if ((size_t)n > of_first) {
        conn->body += (size_t)n - of_first;
        conn->body_len -= (size_t)n - of_first;
    }
    if ((size_t)n < rest) {
        if (n > 0)
            conn_set_state(conn, CONN_WRITE); /* progress: its clock starts anew */
        return;
    }
    answer_drop(conn);
    conn_answered(conn);
}

static struct conn *exchange_conn(struct http_exchange *x)
{
    return (struct conn *)(void *)x;
}

/* Takes the exchange back from its handler. Returns whether there is a connection left to answer on. */
static bool take_back(struct conn *conn)
{
    assert(conn->exchange.owned);
    conn->exchange.owned = false;
    conn->exchange.data = NULL;
    return conn->state != CONN_CLOSED;
}

void http_reply(struct http_exchange *x, int status, const char *headers, size_t headers_len,
                const void *body, size_t body_len, void (*release)(void *owner), void *body_owner)
{
    struct conn *conn = exchange_conn(x);
    struct answer answer = { status, headers, headers_len, body, body_len, release, body_owner };

    if (take_back(conn)) {
        if (!conn->whole || !conn->parser.request.keep_alive || conn->server->draining)
            conn->close_after = true;
        answer_send(conn, &answer);
    } else if (release) {
        release(body_owner);
    }
    conn_unref(conn);
}

void http_reply_close(struct http_exchange *x, int status, const char *headers, size_t headers_len,
                      const void *body, size_t body_len)
{
    exchange_conn(x)->close_after = true;
    http_reply(x, status, headers, headers_len, body, body_len, NULL, NULL);
}

void http_abort(struct http_exchange *x)
{
    struct conn *conn = exchange_conn(x);

    if (take_back(conn)) {
        if (conn->server->config.reset_at_end)
            conn_reset(conn);
        conn_close(conn, false);
    }
    conn_unref(conn);
}
