/*
 * Credentials that processes ask the Runtime API for, because what stood in a template's environment would be
 * the same in all its clones.
 */

#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/text.h"
#include "sched/sched_priv.h"

void credentials_make_token(char out[static CREDENTIALS_TOKEN_BYTES])
{
    unsigned char random[(CREDENTIALS_TOKEN_BYTES - 1) / 2];

    id_random(random, sizeof random);
    text_hex(random, sizeof random, out);
}

bool credentials_answer(const char *token, const char *given, size_t len, const struct temporary_key *key,
                        uint64_t expires_wall_ms, struct buf *out)
{
    char expires[CLOCK_ISO_BYTES];

    if (!*token || len != strlen(token) || memcmp(token, given, len) != 0)
        return false;
    clock_iso(expires_wall_ms, expires);
    return buf_printf(out,
                      "{\"AccessKeyId\":\"%s\",\"SecretAccessKey\":\"%s\",\"Token\":\"%s\","
                      "\"Expiration\":\"%s\"}",
                      key->access_key, key->secret, key->token, expires) == 0;
}
