#pragma once

/*
 * Strict incremental HTTP/1.1 request parser (RFC 9112), no I/O, no allocation
 * beyond the caller's buffer.
 *
 * Refuses whatever two readers could understand differently: bare CR or LF in
 * a head, obs-fold, white space before a colon, Content-Length together with
 * Transfer-Encoding, two different Content-Lengths, any transfer coding but a
 * single final chunked, a missing or repeated Host in 1.1, NUL bytes, a
 * chunk size that is not plain hexadecimal.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_slice {
    const char *at; /* not NUL-terminated */
    size_t len;
};

struct http_header {
    struct http_slice name, value; /* value without outer white space */
};

struct http_request {
    struct http_slice method;
    struct http_slice target; /* as on the request line */
    struct http_slice path;   /* of target, undecoded, without the query; for absolute-form without scheme and authority */
    struct http_slice query;  /* without '?' */
    bool has_query;
    int minor; /* HTTP/1.minor: 0 or 1 */
    struct http_slice host; /* Host value (or the authority of an absolute-form target); "" in 1.0 without */
    const struct http_header *headers;
    size_t header_count;
    bool keep_alive;
    bool expect_continue;
    bool chunked;
    bool has_length; /* Content-Length was there */
    uint64_t length; /* its value */
    /* Body, once read whole: */
    const char *body;
    size_t body_len;
    const struct http_header *trailers;
    size_t trailer_count;
};

/** First header of that name (ASCII case-insensitive), or NULL. */
const struct http_slice *http_request_header(const struct http_request *request, const char *name);
bool http_slice_equal(struct http_slice slice, const char *text);
bool http_slice_equal_nocase(struct http_slice slice, const char *text);
