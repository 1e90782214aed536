#pragma once

/*
 * Inside the server: server.c accepts, keeps time and ends; conn.c reads and
 * runs one connection; answer.c formats and writes.
 *
 *   IDLE ─byte─▶ HEAD ─▶ BODY ─▶ BUSY ─reply─▶ WRITE ─▶ IDLE ...
 *     any ─error, close─▶ (WRITE ─▶) LINGER ─▶ CLOSED
 *
 * WRITE is only entered when the kernel did not take the answer at once, and
 * nothing is read before it has, so a connection never holds more than one
 * unsent answer.
 */

#include <time.h>

#include "base/buf.h"
#include "base/list.h"
#include "http/server.h"

enum conn_state { CONN_IDLE, CONN_HEAD, CONN_BODY, CONN_BUSY, CONN_WRITE, CONN_LINGER, CONN_CLOSED };

/* The clocks a connection may be under; a list each, the oldest first. */
enum conn_clock {
    CLOCK_IDLE,
    CLOCK_HEAD,
    CLOCK_PROGRESS,
    CLOCK_LINGER,
    CLOCK_COUNT,
    CLOCK_NONE = CLOCK_COUNT
};

struct http_exchange {
    void *data;
    bool owned; /* by its handler: on_request() or on_too_large() was called, no answer yet */
    bool gone;
};

struct conn {
    struct http_exchange exchange; /* first: an exchange is its connection */
    struct http_server *server;    /* counted */
    uv_poll_t poll;
    struct list all, timed, ready;
    uint64_t since;      /* when its clock began, uv_now() */
    uint64_t body_since; /* when its body began */
    unsigned refs;       /* the handle, the owned exchange, whoever runs it */
    enum conn_state state;
    int fd;
    int interest;        /* what the poll handle waits for */
    unsigned turn;       /* requests handed over in this conn_run() */
    bool running;        /* conn_run() is on the stack */
    bool read_paused;    /* readable while it may not read */
    bool fin;            /* the peer will send no more than what the kernel holds */
    bool close_after;    /* the answer at hand is the last */
    bool served;         /* has had an answer */
    bool whole;          /* the request at hand was read to its end */
    bool is_head_method; /* of the request at hand */

    char *in; /* owned; bytes [in_start, in_end) are unread or the request at hand */
    size_t in_start, in_end, in_cap;
    struct http_parser parser;

    struct buf held; /* whole answers kept back, see join_answers */
    struct buf out;  /* unsent head, and a copied body */
    size_t out_at;
    const char *body; /* unsent, borrowed */
    size_t body_len;
    void (*release)(void *owner);
    void *body_owner;

    size_t lingered;
    char peer[INET6_ADDRSTRLEN];
};

struct listener {
    struct list node;
    uv_poll_t poll;
    struct http_server *server; /* counted */
    int fd;
};

struct http_server {
    struct http_server_config config;
    uv_loop_t *loop;
    unsigned refs; /* the user, connections, listeners, the two handles */
    bool closed, draining;
    struct list conns, listeners, ready;
    struct list clocks[CLOCK_COUNT];
    uint64_t limits_ms[CLOCK_COUNT]; /* 0 = never */
    size_t conn_count;
    size_t input_bytes;            /* what all connections' in hold */
    const struct conn *large_head; /* has large_header_bytes; NULL: nobody */
    uv_timer_t timer;              /* coarse; runs only while somebody is under a clock that ends */
    bool timer_runs;
    uint64_t accept_at; /* when to listen again after running out of descriptors; 0 = listening */
    uv_idle_t idle;     /* runs the ready connections in the next iteration */
    time_t date_s;
    char date[48]; /* "Date: ...\r\n" */
    void (*on_freed)(void *ctx);
    void *freed_ctx;
};

void server_ref(struct http_server *server);
void server_unref(struct http_server *server);
/** Runs conn from the loop, in its next iteration. */
void server_defer(struct http_server *server, struct conn *conn);
void server_start_timer(struct http_server *server);

/** Takes fd; address may be NULL. Returns NULL without memory, and then fd was closed. */
struct conn *conn_new(struct http_server *server, int fd, const struct sockaddr_storage *address);
void conn_unref(struct conn *conn);
/** Adds bytes that count as read; conn_run() is for the caller. False without memory. */
bool conn_feed(struct conn *conn, const void *bytes, size_t len);
/** Parses and dispatches what has been read. */
void conn_run(struct conn *conn);
/** Its end, whenever it comes, will be a reset. */
void conn_reset(struct conn *conn);
/** Harmless when closed already. tell: an unanswered exchange's on_gone() is called. */
void conn_close(struct conn *conn, bool tell);
void conn_expired(struct conn *conn, enum conn_clock clock);
/** Answers status for the server itself, then closes. */
void conn_refuse(struct conn *conn, int status);
void conn_set_state(struct conn *conn, enum conn_state state);
/** Waits for what the state can use. */
void conn_update_interest(struct conn *conn);
/** The answer is with the kernel: on to the next request, or close. */
void conn_answered(struct conn *conn);

/** Sends what was kept back. */
void answer_send_held(struct conn *conn);
/** Writes what the kernel did not take before. */
void answer_flush(struct conn *conn);
void answer_drop(struct conn *conn);

struct answer {
    int status;
    const char *headers;
    size_t headers_len;
    const void *body;
    size_t body_len;
    void (*release)(void *owner);
    void *owner;
};
/** Sends as much as the kernel takes and keeps the rest; calls conn_answered() once all is gone. */
void answer_send(struct conn *conn, const struct answer *answer);
