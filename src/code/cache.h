#pragma once

/*
 * What runtimes have compiled of a function's code, kept for its later environments: DIR/code-cache/.
 *
 * One file for each function (its index of user ids), code and runtime id. It is hostile: made inside the
 * function's own sandbox and shown to its own sandboxes only, read-only. Nobody here looks into it.
 *
 * Small, and lost without harm: nothing is flushed to the disk, and who uses it checks it.
 *
 * Context: one thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct code_cache;
struct err;

enum { CODE_CACHE_FILE_MAX_BYTES = 16 << 20 };

struct code_cache_key {
    unsigned uid_index;
    const char *code;    /* lower-case hex SHA-256 */
    const char *runtime; /* "nodejs20.x" */
};

/* What an environment that starts now is to do. */
enum code_cache_use {
    CODE_CACHE_NONE,
    CODE_CACHE_MAKE, /* nobody has yet: the caller must end it by _put() or _abandon() */
    CODE_CACHE_USE,
};

/** Opens DIR/code-cache, made if missing, and finds what is there. data_fd: borrowed, must stay open.
 * max_bytes: of all files together. */
int code_cache_open(int data_fd, uint64_t max_bytes, struct code_cache **ret_cache, struct err *err);
struct code_cache *code_cache_free(struct code_cache *cache);

enum code_cache_use code_cache_choose(struct code_cache *cache, const struct code_cache_key *key);
/** Keeps what the maker has sent (data borrowed). Nothing (len 0): it was not worth it, and nobody makes it
 * again. Removes what was not used for longest beyond max_bytes. A failure is as if nothing had been sent,
 * but said. */
int code_cache_put(struct code_cache *cache, const struct code_cache_key *key, const void *data, size_t len,
                   struct err *err);
/** The maker ended before it had sent anything. */
void code_cache_abandon(struct code_cache *cache, const struct code_cache_key *key);
/** It was of use; or it was not, and is removed: another environment may make it anew, a few times. */
void code_cache_used(struct code_cache *cache, const struct code_cache_key *key);
void code_cache_spoiled(struct code_cache *cache, const struct code_cache_key *key);
/** Removes what wanted() does not want. */
void code_cache_sweep(struct code_cache *cache,
                      bool (*wanted)(unsigned uid_index, const char *code, void *ctx), void *ctx);
/** {"files":N,"bytes":N,"made":N,"used":N,"spoiled":N} (the last three since the start). */
void code_cache_list(const struct code_cache *cache, struct buf *out);
