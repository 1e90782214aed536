#pragma once

/* Which keys to sign with. */

#include <stdbool.h>

struct cli;
struct err;

enum { KEYS_SOURCE_BYTES = 512 };

struct keys {
    char access_key[129], secret[129], token[4097]; /* access_key "": none were found, requests go unsigned */
    char region[65];                                /* of the profile; "" when it names none */
    char source[KEYS_SOURCE_BYTES];                 /* for messages: where they come from */
    bool own_file;                                  /* from a server's data folder: its region counts */
};

/** Looks where the help of irori says: --data DIR; AWS_ACCESS_KEY_ID; AWS_SHARED_CREDENTIALS_FILE or
 * ~/.aws/credentials with AWS_PROFILE, "irori" or "default"; /var/lib/irori. Finding none is no error, but
 * for a DIR or an AWS_PROFILE that was asked for; then the cli's hint is set as well. */
int keys_find(struct cli *cli, struct keys *ret_keys, struct err *err);

/** Pure part: the keys of a profile in the text of a credentials file. profile NULL: "irori" if there is one,
 * else "default". Returns 0, or -ENOENT when the profile is not there or has no whole pair. */
int keys_read(const char *text, const char *profile, struct keys *ret_keys);
