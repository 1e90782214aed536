#include "code/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uthash.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/text.h"
#include "code/tree_priv.h"

/*
 * DIR/code-cache/<index>-<digest>-<runtime>/   mounted as a whole
 *   modules    renamed here when it is whole; its mtime is when it was last used, to the hour
 *   .new       on its way in
 */

enum {
    NAME_BYTES = 128,
    DIGEST_CHARS = 64,
    TRIES_MAX = 4, /* of making one, in a row without any being used */
    TOUCH_AFTER_S = 3600,
};
#define FOLDER    "code-cache"
#define FILE_NAME "modules"
#define NEW_NAME  ".new"

enum state { STATE_NONE, STATE_MAKING, STATE_READY, STATE_USELESS };

struct entry {
    char name[NAME_BYTES];
    enum state state;
    unsigned tries;
    uint64_t bytes;
    uint64_t used_s;   /* wall clock */
    uint64_t sequence; /* of its last use, among those of one second */
    UT_hash_handle hh;
};

struct code_cache {
    int fd;
    uint64_t max_bytes, bytes, made, used, spoiled, sequence;
    struct entry *entries;
};

static uint64_t now_s(void)
{
    return clock_wall_ms() / 1000;
}

static void name_of(const struct code_cache_key *key, char out[static NAME_BYTES])
{
    (void)snprintf(out, NAME_BYTES, "%u-%.64s-%.24s", key->uid_index, key->code, key->runtime);
}

static struct entry *find(const struct code_cache *cache, const char *name)
{
    struct entry *entry = NULL;

    HASH_FIND_STR(cache->entries, name, entry);
    return entry;
}

static struct entry *find_or_add(struct code_cache *cache, const char *name)
{
    struct entry *entry = find(cache, name);

    if (entry)
        return entry;
    entry = calloc(1, sizeof *entry);
    if (!entry)
        return NULL;
    (void)snprintf(entry->name, sizeof entry->name, "%s", name);
    HASH_ADD_STR(cache->entries, name, entry);
    return entry;
}

/* What cannot be removed is tried again at the next start. */
static void remove_file(struct code_cache *cache, struct entry *entry)
{
    (void)tree_remove(cache->fd, entry->name);
    cache->bytes -= entry->bytes;
    entry->bytes = 0;
    entry->state = STATE_NONE;
}

static void forget(struct code_cache *cache, struct entry *entry)
{
    remove_file(cache, entry);
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): the table is there, because entry is in it */
    HASH_DELETE(hh, cache->entries, entry);
    free(entry);
}

/* ---- at the start ---- */

static bool split_name(const char *name, unsigned *ret_uid_index, char ret_code[static DIGEST_CHARS + 1])
{
    uint64_t index;
    size_t digits = strcspn(name, "-");
    const char *code = name + digits + 1;

    if (name[digits] != '-' || strlen(name) >= NAME_BYTES || !text_to_u64(name, digits, UINT32_MAX, &index) ||
        strspn(code, "0123456789abcdef") != DIGEST_CHARS || code[DIGEST_CHARS] != '-')
        return false;
    *ret_uid_index = (unsigned)index;
    (void)snprintf(ret_code, DIGEST_CHARS + 1, "%.64s", code);
    return true;
}

static int load_one(int dir_fd, const char *name, void *ctx)
{
    struct code_cache *cache = ctx;
    char path[NAME_BYTES + 16], code[DIGEST_CHARS + 1];
    unsigned uid_index;
    struct stat st;
    struct entry *entry;

    (void)snprintf(path, sizeof path, "%.127s/" FILE_NAME, name);
    if (!split_name(name, &uid_index, code) || fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISREG(st.st_mode) || st.st_size > CODE_CACHE_FILE_MAX_BYTES)
        return tree_remove(dir_fd, name);
    entry = find_or_add(cache, name);
    if (!entry)
        return -ENOMEM;
    entry->state = STATE_READY;
    entry->bytes = (uint64_t)st.st_size;
    entry->used_s = (uint64_t)st.st_mtime;
    cache->bytes += entry->bytes;
    return 0;
}

struct code_cache *code_cache_free(struct code_cache *cache)
{
    struct entry *entry, *next;

    if (!cache)
        return NULL;
    HASH_ITER(hh, cache->entries, entry, next)
    {
        HASH_DELETE(hh, cache->entries, entry);
        free(entry);
    }
    if (cache->fd >= 0)
        (void)close(cache->fd);
    free(cache);
    return NULL;
}

/* ---- use ---- */

static void touch(struct code_cache *cache, struct entry *entry)
{
    char path[NAME_BYTES + 16];
    uint64_t now = now_s();

    entry->sequence = ++cache->sequence;
    if (now < entry->used_s + TOUCH_AFTER_S)
        return;
    entry->used_s = now;
    (void)snprintf(path, sizeof path, "%s/" FILE_NAME, entry->name);
    (void)utimensat(cache->fd, path, NULL, AT_SYMLINK_NOFOLLOW);
}

enum code_cache_use code_cache_choose(struct code_cache *cache, const struct code_cache_key *key)
{
    char name[NAME_BYTES];
    struct entry *entry;

    name_of(key, name);
    entry = find_or_add(cache, name);
    if (!entry)
        return CODE_CACHE_NONE;
    if (entry->state == STATE_READY) {
        touch(cache, entry);
        return CODE_CACHE_USE;
    }
    if (entry->state != STATE_NONE || entry->tries >= TRIES_MAX || cache->max_bytes == 0)
        return CODE_CACHE_NONE;
    entry->tries++;
    entry->state = STATE_MAKING;
    return CODE_CACHE_MAKE;
}

static bool is_older(const struct entry *a, const struct entry *b)
{
    return a->used_s != b->used_s ? a->used_s < b->used_s : a->sequence < b->sequence;
}

static void make_room(struct code_cache *cache, uint64_t wanted)
{
    while (cache->bytes + wanted > cache->max_bytes) {
        struct entry *oldest = NULL;

        for (struct entry *entry = cache->entries; entry; entry = entry->hh.next) {
            if (entry->state == STATE_READY && (!oldest || is_older(entry, oldest)))
                oldest = entry;
        }
        if (!oldest)
            return;
        forget(cache, oldest);
    }
}

int code_cache_open(int data_fd, uint64_t max_bytes, struct code_cache **ret_cache, struct err *err)
{
    struct code_cache *cache = calloc(1, sizeof *cache);
    int result;

    if (!cache)
        return err_set(err, ERR_SYSTEM, ENOMEM, "code cache");
    cache->max_bytes = max_bytes;
    if (mkdirat(data_fd, FOLDER, 0755) < 0 && errno != EEXIST)
        cache->fd = -1;
    else
        cache->fd = openat(data_fd, FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    result = cache->fd < 0 ? -errno : tree_each(cache->fd, load_one, cache);
    if (result < 0) {
        (void)code_cache_free(cache);
        return err_set(err, ERR_SYSTEM, -result, "code cache");
    }
    make_room(cache, 0); /* there may have been more room before */
    *ret_cache = cache;
    return 0;
}

static int write_file(int dir_fd, const void *data, size_t len)
{
    AUTO_FD int fd = openat(dir_fd, NEW_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    const char *at = data;

    /* The function's user reads it, whatever our mask is. */
    if (fd < 0 || fchmod(fd, 0444) < 0)
        return -errno;
    for (size_t done = 0; done < len;) {
        ssize_t step = write(fd, at + done, len - done);

        if (step < 0 && errno != EINTR)
            return -errno;
        done += step > 0 ? (size_t)step : 0;
    }
    return renameat(dir_fd, NEW_NAME, dir_fd, FILE_NAME) < 0 ? -errno : 0;
}

static int store(const struct code_cache *cache, const char *name, const void *data, size_t len)
{
    AUTO_FD int dir = -1;
    int result = tree_remove(cache->fd, name); /* what a failure or another life left */

    if (result < 0)
        return result;
    if (mkdirat(cache->fd, name, 0755) < 0)
        return -errno;
    dir = openat(cache->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (dir < 0 || fchmod(dir, 0755) < 0)
        return -errno;
    return write_file(dir, data, len);
}

int code_cache_put(struct code_cache *cache, const struct code_cache_key *key, const void *data, size_t len,
                   struct err *err)
{
    char name[NAME_BYTES];
    struct entry *entry;
    int result;

    name_of(key, name);
    entry = find(cache, name);
    if (!entry || entry->state != STATE_MAKING)
        return 0; /* it was swept meanwhile */
    if (len == 0 || len > CODE_CACHE_FILE_MAX_BYTES || len > cache->max_bytes) {
        entry->state = STATE_USELESS;
        return 0;
    }
    make_room(cache, len);
    result = store(cache, name, data, len);
    if (result < 0) {
        remove_file(cache, entry);
        return err_set(err, ERR_SYSTEM, -result, "the code cache of %.16s…", name);
    }
    entry->state = STATE_READY;
    entry->bytes = len;
    entry->used_s = now_s();
    entry->sequence = ++cache->sequence;
    cache->bytes += len;
    cache->made++;
    return 0;
}

void code_cache_abandon(struct code_cache *cache, const struct code_cache_key *key)
{
    char name[NAME_BYTES];
    struct entry *entry;

    name_of(key, name);
    entry = find(cache, name);
    if (entry && entry->state == STATE_MAKING)
        entry->state = STATE_NONE;
}

void code_cache_used(struct code_cache *cache, const struct code_cache_key *key)
{
    char name[NAME_BYTES];
    struct entry *entry;

    name_of(key, name);
    entry = find(cache, name);
    cache->used++;
    if (entry)
        entry->tries = 0;
}

void code_cache_spoiled(struct code_cache *cache, const struct code_cache_key *key)
{
    char name[NAME_BYTES];
    struct entry *entry;

    name_of(key, name);
    entry = find(cache, name);
    if (!entry || entry->state != STATE_READY)
        return;
    remove_file(cache, entry);
    cache->spoiled++;
}

void code_cache_sweep(struct code_cache *cache,
                      bool (*wanted)(unsigned uid_index, const char *code, void *ctx), void *ctx)
{
    struct entry *entry, *next;

    HASH_ITER(hh, cache->entries, entry, next)
    {
        char code[DIGEST_CHARS + 1];
        unsigned uid_index;

        if (!split_name(entry->name, &uid_index, code) || !wanted(uid_index, code, ctx))
            forget(cache, entry);
    }
}

void code_cache_list(const struct code_cache *cache, struct buf *out)
{
    unsigned files = 0;

    for (const struct entry *entry = cache->entries; entry; entry = entry->hh.next)
        files += entry->state == STATE_READY;
    (void)buf_printf(out, "{\"files\":%u,\"bytes\":%llu,\"made\":%llu,\"used\":%llu,\"spoiled\":%llu}", files,
                     (unsigned long long)cache->bytes, (unsigned long long)cache->made,
                     (unsigned long long)cache->used, (unsigned long long)cache->spoiled);
}
