#pragma once

/*
 * Function URLs, both directions, without I/O: an HTTP request becomes a payload format 2.0 event, a
 * function's result becomes an HTTP answer. Written directly, without a JSON tree: this is the hot path.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/principal.h"
#include "base/buf.h"

struct http_request;

struct url_event {
    const struct http_request *request;
    const char *path; /* what the function sees (differs from the request's with /_irori/url/) */
    size_t path_len;
    const char *url_id;      /* apiId, domainPrefix */
    const char *domain_name; /* host without port */
    const char *host;        /* value of the host header the function sees */
    const char *scheme;      /* "http" */
    unsigned port;
    const char *source_ip;
    const char *request_id;
    const char *trace_id;        /* for x-amzn-trace-id */
    const char *account;         /* the account when iam is set */
    const struct principal *iam; /* NULL: AuthType NONE */
    uint64_t now_ms;             /* wall clock */
    const char *tls_version,
        *tls_cipher; /* for x-amzn-tls-*; NULL: the caller's connection is not encrypted */
};

/** Appends the event. Returns 0, -EMSGSIZE when it would pass out->max, or -ENOMEM. */
int url_event_write(const struct url_event *event, struct buf *out);

/** An HTTP answer. headers holds formatted, checked lines "Name: value\r\n"; body points into the result or
 * into owned. url_answer_done() frees. */
struct url_answer {
    int status;
    struct buf headers;
    const char *body;
    size_t body_len;
    struct buf owned;
};
/** Interprets a function's result (JSON bytes; anything else than valid JSON is a malformed result) by the
 * inference rules. Returns 0, or -EINVAL for a malformed structured response (the caller answers 502). result
 * is borrowed and must outlive the answer. */
int url_answer_read(const char *result, size_t len, struct url_answer *ret_answer);
/** The same for what a streaming handler wrote, collected: a JSON prelude, eight NULs, the body as it is
 * (content type application/vnd.awslambda.http-integration-response). */
int url_answer_read_stream(const char *result, size_t len, struct url_answer *ret_answer);
void url_answer_done(struct url_answer *answer);

/** CORS headers ("Name: value\r\n") for an ordinary answer or, with preflight, for the answer to a preflight;
 * nothing when origin is not allowed. */
struct fn_cors;
void url_cors_headers(const struct fn_cors *cors, const char *origin, size_t origin_len, bool preflight,
                      struct buf *out);
