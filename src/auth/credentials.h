#pragma once

/*
 * The keys that requests may be signed with: the account's own (DIR/credentials, AWS INI format) and
 * temporary ones, one set per environment, in memory only.
 *
 * Thread-safe: the loop makes and drops temporary ones while workers verify.
 */

#include <stddef.h>
#include <stdint.h>

#include "auth/principal.h"

struct credentials;
struct err;

/** Reads the file at dir_fd/name, or makes it (mode 0600, owner uid:gid unless uid is (uid_t)-1) with
 * profiles [default] and [irori], each with aws_access_key_id, aws_secret_access_key and region; written
 * atomically. */
int credentials_open(int dir_fd, const char *name, const char *account, const char *region,
                     unsigned owner_uid, unsigned owner_gid, struct credentials **ret_credentials,
                     struct err *err);
struct credentials *credentials_free(struct credentials *credentials);

struct temporary_key {
    char access_key[21]; /* ASIA + 16 of [A-Z2-7] */
    char secret[41];
    char token[257];
};
/** Makes temporary credentials for an environment of a function. role_arn as configured
 * (arn:aws:iam::<acct>:role/<path/name>); the principal becomes assumed-role/<role name>/<function name>. */
int credentials_issue(struct credentials *credentials, const char *role_arn, const char *function_name,
                      uint64_t expires_wall_ms, struct temporary_key *ret_key, struct err *err);
void credentials_revoke(struct credentials *credentials, const char *access_key);

struct credential_match {
    struct principal principal;
    char secret[129];
    char token[257];          /* "" for a long-term key */
    uint64_t expires_wall_ms; /* 0: never */
};
/** Returns 0 or -ENOENT. */
int credentials_find(struct credentials *credentials, const char *access_key, size_t len,
                     struct credential_match *ret_match);
/** The long-term key, for presigning our own links. Borrowed, lives as long as credentials. */
void credentials_own(const struct credentials *credentials, const char **ret_access_key,
                     const char **ret_secret);
