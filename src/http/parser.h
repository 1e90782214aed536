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
    struct http_slice
        path; /* of target, undecoded, without the query; for absolute-form without scheme and authority */
    struct http_slice query; /* without '?' */
    bool has_query;
    int minor;              /* HTTP/1.minor: 0 or 1 */
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

struct http_limits {
    uint32_t max_line_bytes; /* request line with its CRLF; beyond: 414 */
    uint32_t
        max_header_bytes; /* all header lines with the empty one, and again all trailer lines; beyond: 431 */
    uint32_t max_headers; /* header lines and trailer lines together; beyond: 431 */
    bool ask;             /* beyond max_header_bytes: HTTP_LONG first */
};

enum http_step {
    HTTP_MORE,   /* append bytes and call again; the message ends early if there are none */
    HTTP_FIELDS, /* make room for fields_needed entries at fields, keeping what is there, and call again */
    HTTP_LONG,   /* raise limits.max_header_bytes, clear limits.ask or both, and call again */
    HTTP_HEAD, /* the head is read: request is filled but for body and trailers; set body_limit, call again */
    HTTP_DONE, /* the message is whole: its first `used` bytes; behind them begins the next one */
    HTTP_TOO_LARGE, /* the body is, or says it will be, larger than body_limit; the parser has ended */
    HTTP_BAD,       /* error_status says why; the parser has ended */
};

/*
 * Reads one message. The caller owns the bytes and the array of fields, may
 * move both between two calls (the slices follow), and must leave the bytes
 * alone otherwise. However the bytes are split into calls, the outcome is the
 * same.
 */
struct http_parser {
    struct http_request request;
    struct http_header *fields; /* the caller's; headers, then trailers */
    size_t field_cap;           /* entries at fields */
    size_t fields_needed;       /* after HTTP_FIELDS */
    uint64_t body_limit;        /* the caller's, to be set after HTTP_HEAD; 0 until then */
    size_t used;                /* after HTTP_DONE */
    uint64_t missing;           /* after HTTP_MORE: bytes that surely have to come; 0 = unknown */
    int error_status;           /* after HTTP_BAD: 400, 414, 417, 431, 501, 505 */

    /* The parser's own. Numbers are offsets into the bytes. */
    struct http_limits limits;
    const char *data;
    int state;
    size_t line, scan;    /* start of the current line; where to look for its end */
    size_t fields_at;     /* first header or trailer line */
    size_t head_len;      /* the head with its empty line; the body begins here */
    size_t read, write;   /* chunked: next raw byte; end of the decoded body */
    size_t line_count;    /* header and trailer lines so far */
    size_t ext_bytes;     /* chunk extensions so far */
    uint64_t chunk_left;  /* of the current chunk */
    unsigned size_digits; /* of the current chunk size */
    bool skipped_empty, has_close, has_keep_alive, has_transfer_encoding, has_host, has_authority;
};

/** Begins a message; keeps fields and field_cap, which are zero in a parser never used before. */
void http_parser_begin(struct http_parser *parser, const struct http_limits *limits);
/** Goes on with the message whose first byte is at data and of which *len bytes are there (bytes of the
 * message behind it may follow). Chunk framing is taken out in place, which makes *len smaller. */
enum http_step http_parser_step(struct http_parser *parser, char *data, size_t *len);

/** First header of that name (ASCII case-insensitive), or NULL. */
const struct http_slice *http_request_header(const struct http_request *request, const char *name);
bool http_slice_equal(struct http_slice slice, const char *text);
bool http_slice_equal_nocase(struct http_slice slice, const char *text);
