#pragma once

/*
 * What Irori remembers, in one SQLite database (WAL, every commit on the disk before it returns).
 *
 * One connection: store_begin() takes its mutex and starts a transaction, store_end() commits or rolls back
 * and releases it. Every other function is called between the two, by the thread that began. Rows are plain
 * copies; the JSON texts in them are the caller's business.
 *
 * Results: negative with err filled; where something may be missing, 1 when found and 0 when not.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct store;

enum {
    STORE_NAME_BYTES = 257,
    STORE_QUALIFIER_BYTES = 129,
    STORE_UUID_BYTES = 37,
    STORE_DIGEST_BYTES = 65,
    STORE_URL_ID_BYTES = 33,
    STORE_UID_INDEX_MAX = 65000,
};

/** Opens name in the folder dir_fd (borrowed) or makes it (mode 0600), and brings it to the current schema.
 * Works although the folder's parents are closed to us. A database of a newer program is refused. */
int store_open(int dir_fd, const char *name, struct store **ret_store, struct err *err);
/** Accepts NULL; returns NULL. */
struct store *store_free(struct store *store);

/** Waits for the connection. On failure nothing is held. */
int store_begin(struct store *store, struct err *err);
/** Ends what store_begin() began; when commit fails nothing has changed. */
int store_end(struct store *store, bool commit, struct err *err);

struct store_function {
    int64_t id;
    char name[STORE_NAME_BYTES];
    unsigned uid_index;   /* unique among living functions, reused as late as possible */
    int64_t next_version; /* number the next published version gets */
    uint64_t sequence;    /* of its last change; grows over all functions, also over delete and create */
    uint64_t settling; /* sequence of the picture in which a change becomes effective, 0: none on its way */
    int reserved;      /* concurrency; -1: none */
    bool recursion_allowed;
    char *tags; /* JSON object; owned */
};
void store_function_done(struct store_function *function);
int store_function_find(struct store *store, const char *name, struct store_function *ret_function,
                        struct err *err);
/** Adds a function with a user id and a sequence of its own; tags copied. */
int store_function_add(struct store *store, const char *name, const char *tags,
                       struct store_function *ret_function, struct err *err);
/** Gives the function the next sequence and writes all its fields but id, name and uid_index. */
int store_function_save(struct store *store, struct store_function *function, struct err *err);
/** Removes it with all that belongs to it. */
int store_function_remove(struct store *store, int64_t id, struct err *err);
/** Names in ascending order, greater than after (at least, when from is set), at most limit. */
int store_function_names(struct store *store, const char *after, bool from, size_t limit,
                         int (*each)(const char *name, void *ctx), void *ctx, struct err *err);
/** The highest sequence given so far. */
int store_sequence(struct store *store, uint64_t *ret_sequence, struct err *err);

struct store_usage {
    uint64_t functions, code_bytes, reserved;
};
/** reserved counts all functions but the one of this name (NULL: all). */
int store_usage(struct store *store, const char *but, struct store_usage *ret_usage, struct err *err);

/* Of a version that was published with SnapStart. */
enum store_snapshot {
    STORE_SNAPSHOT_NONE,
    STORE_SNAPSHOT_WANTED, /* the version is Pending */
    STORE_SNAPSHOT_DONE,   /* was tried, and its INIT works */
    STORE_SNAPSHOT_FAILED, /* its INIT does not work: the version is Failed */
};

enum store_update { STORE_UPDATE_NONE, STORE_UPDATE_IN_PROGRESS, STORE_UPDATE_SUCCESSFUL };

struct store_code {
    char sha256[STORE_DIGEST_BYTES]; /* hex */
    uint64_t size_bytes;
};
struct store_version {
    int64_t number; /* 0: $LATEST */
    char *document; /* owned; JSON of the configuration */
    char config_id[STORE_UUID_BYTES];
    char revision_id[STORE_UUID_BYTES];
    struct store_code code;
    bool pending;
    enum store_update update;
    /* What invocations get while an update is in progress; serving is NULL when that is the above. */
    char *serving; /* owned */
    char serving_config_id[STORE_UUID_BYTES];
    char serving_code[STORE_DIGEST_BYTES];
    /* Of a published version: the description $LATEST had, which the version's own may replace. Owned; NULL
     * for $LATEST. */
    char *origin_description;
    enum store_snapshot snapshot;
    char *snapshot_reason; /* why it failed; owned, NULL otherwise */
};
void store_version_done(struct store_version *version);
int store_version_find(struct store *store, int64_t function_id, int64_t number,
                       struct store_version *ret_version, struct err *err);
/** The published version with the highest number. */
int store_version_last(struct store *store, int64_t function_id, struct store_version *ret_version,
                       struct err *err);
/** Adds or replaces. */
int store_version_put(struct store *store, int64_t function_id, const struct store_version *version,
                      struct err *err);
int store_version_remove(struct store *store, int64_t function_id, int64_t number, struct err *err);
/** Ascending from number on ($LATEST first), at most limit. The row is borrowed. */
int store_version_each(struct store *store, int64_t function_id, int64_t from, size_t limit,
                       int (*each)(const struct store_version *version, void *ctx), void *ctx,
                       struct err *err);

struct store_alias {
    char name[STORE_QUALIFIER_BYTES];
    int64_t version;         /* 0: $LATEST */
    char *description;       /* owned */
    int64_t routing_version; /* -1: no routing */
    double routing_weight;
    char revision_id[STORE_UUID_BYTES];
};
void store_alias_done(struct store_alias *alias);
int store_alias_find(struct store *store, int64_t function_id, const char *name,
                     struct store_alias *ret_alias, struct err *err);
int store_alias_put(struct store *store, int64_t function_id, const struct store_alias *alias,
                    struct err *err);
/** Removes the alias with its policy, not its URL; 1 when there was one. */
int store_alias_remove(struct store *store, int64_t function_id, const char *name, struct err *err);
/** Ascending by name, greater than after; only those that use version, unless it is -1. */
int store_alias_each(struct store *store, int64_t function_id, const char *after, int64_t version,
                     size_t limit, int (*each)(const struct store_alias *alias, void *ctx), void *ctx,
                     struct err *err);

struct store_url {
    char qualifier[STORE_QUALIFIER_BYTES]; /* alias; "" for the function itself */
    char url_id[STORE_URL_ID_BYTES];
    char auth[16];
    char mode[20]; /* "" when none was given */
    char *cors;    /* JSON object, owned; NULL: none */
    uint64_t created_ms, modified_ms;
};
void store_url_done(struct store_url *url);
int store_url_find(struct store *store, int64_t function_id, const char *qualifier, struct store_url *ret_url,
                   struct err *err);
int store_url_put(struct store *store, int64_t function_id, const struct store_url *url, struct err *err);
int store_url_remove(struct store *store, int64_t function_id, const char *qualifier, struct err *err);
/** Ascending by qualifier, from it on. */
int store_url_each(struct store *store, int64_t function_id, const char *from, size_t limit,
                   int (*each)(const struct store_url *url, void *ctx), void *ctx, struct err *err);

struct store_policy {
    char qualifier[STORE_QUALIFIER_BYTES]; /* "" for the function itself */
    char *statements;                      /* JSON array, owned */
    char revision_id[STORE_UUID_BYTES];
};
void store_policy_done(struct store_policy *policy);
int store_policy_find(struct store *store, int64_t function_id, const char *qualifier,
                      struct store_policy *ret_policy, struct err *err);
int store_policy_put(struct store *store, int64_t function_id, const struct store_policy *policy,
                     struct err *err);
int store_policy_remove(struct store *store, int64_t function_id, const char *qualifier, struct err *err);
int store_policy_each(struct store *store, int64_t function_id,
                      int (*each)(const struct store_policy *policy, void *ctx), void *ctx, struct err *err);

/** Digests that a version uses or serves. */
int store_code_each(struct store *store, int (*each)(const char *sha256, void *ctx), void *ctx,
                    struct err *err);
