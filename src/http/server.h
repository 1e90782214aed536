#pragma once

/*
 * HTTP/1.1 server on libuv; knows no Lambda.
 *
 * A connection reads requests one after the other; a pipelined one waits until
 * the one before was answered. A request reaches on_request() whole (body in
 * memory, bounded). Each request is an exchange, which its handler owns until
 * it calls http_reply() or http_abort(), exactly one of them, at once or later;
 * answering when the peer has gone is harmless.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "http/parser.h"

struct http_exchange;
struct http_server;

struct http_server_config {
    uint32_t max_line_bytes;     /* request line; beyond: 414 */
    uint32_t max_header_bytes;   /* all header lines together; beyond: 431 */
    uint32_t large_header_bytes; /* instead, for one connection at a time until its answer; 0 = for none */
    uint32_t max_headers;        /* number of header lines; beyond: 431 */
    uint64_t idle_timeout_ms;    /* between requests; 0 = never */
    uint64_t head_timeout_ms;    /* first byte of a request to the end of its head; 0 = never; beyond: 408 */
    uint64_t body_timeout_ms;    /* without progress in a body, or in writing an answer, and for a whole body
                                    beyond what it takes at 16 KiB a second; 0 = never */
    size_t linger_bytes; /* to read and throw away after an early answer, so that its reader gets it; 0 = 256
                            KiB */
    size_t max_connections; /* further ones are accepted and closed with 503; 0 = no limit */
    size_t max_input_bytes; /* of memory for what all connections have sent; 0 = no limit */
    bool reset_at_end; /* http_server_free() and http_abort() reset connections: nothing of them lingers in
                          the kernel */
    bool date_header;  /* add Date */
    /* Keep a small answer back while the request behind it has already come and is not answered yet: both
     * leave in one write. For peers that do not wait for the one before they can go on with the other. */
    bool join_answers;

    /** The largest body to accept for this head (x's request has no body yet). Called once a request, before
     * 100 Continue is sent. Over it on_too_large() is called, at once when Content-Length says so. */
    size_t (*body_limit)(struct http_exchange *x, void *ctx);
    /** Must answer; the connection closes afterwards. NULL: 413 without body. */
    void (*on_too_large)(struct http_exchange *x, void *ctx);
    /** The body, of which nothing or a part is there, would pass max_input_bytes. Must answer; the connection
     * closes afterwards. NULL: 503. Small bodies always have room. */
    void (*on_no_room)(struct http_exchange *x, void *ctx);
    void (*on_request)(struct http_exchange *x, void *ctx);
    /** May be NULL. The peer of an unanswered exchange has gone, or has shut its sending side (the two look
     * alike, so an answer is still sent if it can be); the handler still owns it. */
    void (*on_gone)(struct http_exchange *x, void *ctx);
    /** May be NULL. The connection ended inside this body, or its framing broke, or it stood still; x is
     * valid during the call only and not owned. */
    void (*on_truncated)(struct http_exchange *x, void *ctx);
    /** May be NULL. Body text for an answer the server gives itself (400, 408, 414, 417, 431, 501, 503, 505).
     * Returns static storage; *ret_headers likewise ("Name: value\r\n"...). */
    const char *(*error_body)(int status, const char **ret_headers, void *ctx);
    void *ctx;
};

/** config copied. Returns NULL without memory. */
struct http_server *http_server_new(uv_loop_t *loop, const struct http_server_config *config);
/** Takes fd (bound; listen() is called). Returns 0 or negative errno, and then fd was closed. May be called
 * again. */
int http_server_listen(struct http_server *server, int fd, int backlog);
/** Takes a connected stream socket as if it had been accepted. received: what counts as read from it already
 * (copied); it is handled in the loop's next turn, before any connection of a listener that was added in this
 * one. Returns 0 or negative errno, and then fd was closed. */
int http_server_adopt(struct http_server *server, int fd, const void *received, size_t received_len);
/** Stops accepting; idle connections close, busy ones after their answer. */
void http_server_drain(struct http_server *server);
size_t http_server_connections(const struct http_server *server);
/** Closes everything; exchanges not yet answered become gone (no on_gone) and their owners must still answer
 * or abort them. The memory is freed once the loop closed the last handle and the last exchange ended;
 * on_freed (may be NULL) tells, from the loop or from that last answer. */
void http_server_free(struct http_server *server, void (*on_freed)(void *ctx), void *ctx);

/** Valid until the exchange ends; the body included. */
const struct http_request *http_exchange_request(const struct http_exchange *x);
void http_exchange_set_data(struct http_exchange *x, void *data);
void *http_exchange_data(const struct http_exchange *x);
/** The ctx of the server's config. */
void *http_exchange_context(const struct http_exchange *x);
bool http_exchange_gone(const struct http_exchange *x);
/** Address of the peer as text ("127.0.0.1", "::1"); "" for a Unix socket. Static until the exchange ends. */
const char *http_exchange_peer(const struct http_exchange *x);
uv_loop_t *http_exchange_loop(const struct http_exchange *x);

/** Answers. headers: formatted lines "Name: value\r\n"..., checked by the caller, copied; Content-Length,
 * Date and Connection are added here (Content-Length not for 1xx, 204 and 304; for HEAD the body is left out
 * and its length kept). body: borrowed until release(body_owner) is called, when release is NULL it is
 * copied. */
void http_reply(struct http_exchange *x, int status, const char *headers, size_t headers_len,
                const void *body, size_t body_len, void (*release)(void *owner), void *body_owner);
/** Like http_reply(), and closes the connection afterwards. */
void http_reply_close(struct http_exchange *x, int status, const char *headers, size_t headers_len,
                      const void *body, size_t body_len);
/** Closes the connection without an answer. */
void http_abort(struct http_exchange *x);
/** "OK" ...; "Unknown" for others. */
const char *http_status_text(int status);
