#pragma once

/* What verification, signing and presigning share: the canonical request and the key derivation. */

#include <stdbool.h>
#include <stddef.h>

#include "auth/sigv4.h"

enum {
    SIGV4_HASH_BYTES = 32,
    SIGV4_HEX_BYTES = 65,       /* hex of a hash, and NUL */
    SIGV4_STAMP_BYTES = 17,     /* "20260115T120000Z", and NUL */
    SIGV4_MAX_SIGNED = 128,     /* names in SignedHeaders; common clients send about ten */
    SIGV4_MAX_PARAMETERS = 2048 /* of one query */
};

extern const char sigv4_algorithm[];  /* "AWS4-HMAC-SHA256" */
extern const char sigv4_terminator[]; /* "aws4_request" */

void sigv4_sha256_hex(const void *data, size_t len, char out[SIGV4_HEX_BYTES]);

struct sigv4_canonical {
    const struct sigv4_request *request;
    bool skip_signature;        /* leave X-Amz-Signature out of the query: the presigned form */
    const char *signed_headers; /* "host;x-amz-date" */
    size_t signed_headers_len;
    const char *payload_hash; /* hex, or UNSIGNED-PAYLOAD */
    size_t payload_hash_len;
};
/** Appends the canonical request. Returns 0, -ENOENT when a signed header is not in the request, -E2BIG when
 * a limit above is passed, -EMSGSIZE or -ENOMEM. */
int sigv4_canonical(const struct sigv4_canonical *canonical, struct buf *out);
/** Appends text with every byte but the unreserved ones as %XX. */
void sigv4_encode(const char *text, size_t len, struct buf *out);

/** True when text is a list of lower-case header names joined by ';'. Anything else could move the borders
 * between the lines of the canonical request. */
bool sigv4_names_ok(const char *names, size_t len);
/** True when name is one of names ("a;b;c"). */
bool sigv4_names_have(const char *names, size_t len, const char *name);

struct sigv4_scope {
    const char *stamp; /* X-Amz-Date; its first eight characters are the scope's date */
    const char *region;
    const char *service;
};
/** Returns 0 or -ENOMEM; out must not be used then. */
int sigv4_signing_key(const char *secret, const struct sigv4_scope *scope,
                      unsigned char out[SIGV4_HASH_BYTES]);
/** The signature of a canonical request under a signing key. Returns 0 or -ENOMEM; out must not be used then.
 */
int sigv4_signature(const unsigned char key[SIGV4_HASH_BYTES], const struct sigv4_scope *scope,
                    const struct buf *canonical, unsigned char out[SIGV4_HASH_BYTES]);
