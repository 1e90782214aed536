#pragma once

/*
 * AWS Signature Version 4: verification by a server and signing by a client.
 * Source: the sections of AWS's SigV4 documentation; test vectors in tests/unit/auth.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/principal.h"

struct credentials;
struct err;

struct sigv4_header {
    const char *name; /* any case */
    size_t name_len;
    const char *value; /* outer white space may remain */
    size_t value_len;
};

/* A request as received: nothing decoded, nothing normalised. All borrowed. */
struct sigv4_request {
    const char *method;
    size_t method_len;
    const char *path;
    size_t path_len;
    const char *query; /* without '?' */
    size_t query_len;
    const struct sigv4_header *headers;
    size_t header_count;
    const void *body;
    size_t body_len;
};

enum sigv4_status {
    SIGV4_OK,
    SIGV4_MISSING,             /* MissingAuthenticationTokenException */
    SIGV4_INCOMPLETE,          /* IncompleteSignatureException */
    SIGV4_UNRECOGNIZED_CLIENT, /* UnrecognizedClientException */
    SIGV4_INVALID_SIGNATURE,   /* InvalidSignatureException */
    SIGV4_EXPIRED_TOKEN,       /* ExpiredTokenException */
    SIGV4_STATUS_COUNT
};
/** The rest-json error code of a status, e.g. "InvalidSignatureException"; static storage. */
const char *sigv4_status_code(enum sigv4_status status);

struct sigv4_expect {
    const char *region;
    const char *service; /* "lambda" */
    uint64_t now_ms;     /* wall clock */
    uint32_t skew_s;     /* 300 for lambda */
};

/** Verifies header or query form. On SIGV4_OK ret_principal is filled; else message (at least 512 bytes) is
 * the text for the caller (it never holds a secret or the expected signature). Context: any thread; hashes
 * the body. */
enum sigv4_status sigv4_verify(const struct sigv4_request *request, const struct sigv4_expect *expect,
                               struct credentials *credentials, struct principal *ret_principal,
                               char *message, size_t message_size);
/** What of this can be told before the body is there: all but the signature itself and the payload's hash. On
 * SIGV4_OK the caller names a key and, if it is a temporary one, shows its token; who signed is not known. */
enum sigv4_status sigv4_check_head(const struct sigv4_request *request, const struct sigv4_expect *expect,
                                   struct credentials *credentials, char *message, size_t message_size);
/** True when the request carries any SigV4 material (header or query form). */
bool sigv4_is_signed(const struct sigv4_request *request);

/** Client side: appends "Authorization", "X-Amz-Date", "X-Amz-Content-Sha256" and, with a token,
 * "X-Amz-Security-Token" as "Name: value\n" lines to out. request->headers must hold Host. */
struct buf;
struct sigv4_key {
    const char *access_key, *secret, *token; /* token may be NULL */
};
int sigv4_sign(const struct sigv4_request *request, const struct sigv4_key *key, const char *region,
               const char *service, uint64_t now_ms, struct buf *out);
/** Presigns: appends the complete query (existing parameters of request->query included) to out.
 * UNSIGNED-PAYLOAD is not used: the hash of the empty body. */
int sigv4_presign(const struct sigv4_request *request, const struct sigv4_key *key, const char *region,
                  const char *service, uint64_t now_ms, uint32_t expires_s, struct buf *out);
