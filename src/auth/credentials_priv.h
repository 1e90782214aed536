#pragma once

/* For sigv4.c and the tests. */

#include "auth/credentials.h"
#include "auth/sigv4_priv.h"

/** A set without keys. NULL without memory. */
struct credentials *credentials_new(void);
/** Adds a key as it stands. Returns 0, -EEXIST or -ENOMEM. */
int credentials_add(struct credentials *credentials, const struct credential_match *match);

/** The signing key of match in scope, from the cache or newly derived. Returns 0 or -ENOMEM. */
int credentials_signing_key(struct credentials *credentials, const struct credential_match *match,
                            const struct sigv4_scope *scope, unsigned char out[SIGV4_HASH_BYTES]);
