#include <stdlib.h>
#include <string.h>

#include "api/api_priv.h"
#include "base/log.h"

/*
 * Removing code nobody uses.
 *
 * A package is kept while a version (or the configuration served during an update) names it, and while an
 * environment or a waiting invocation runs it, which only the scheduler knows: it says so in api_collect().
 * An upload that no version names yet is protected by the lock that its request holds (call_take_code()): no
 * sweep runs meanwhile. At start nothing runs, so only what versions name stays.
 */

void collect_release(struct call *call)
{
    __atomic_store_n(&call->api->collect_due, true, __ATOMIC_RELAXED);
}

struct digests {
    char **list; /* owned, as its texts */
    size_t count, cap;
};

static int add_digest(const char *sha256, void *ctx)
{
    struct digests *digests = ctx;

    if (digests->count == digests->cap) {
        size_t cap = digests->cap ? 2 * digests->cap : 64;
        char **list = realloc(digests->list, cap * sizeof *list);

        if (!list)
            return -1;
        digests->list = list;
        digests->cap = cap;
    }
    digests->list[digests->count] = strdup(sha256);
    return digests->list[digests->count] ? (digests->count++, 0) : -1;
}

static void digests_done(struct digests *digests)
{
    for (size_t i = 0; i < digests->count; i++)
        free(digests->list[i]);
    free(digests->list);
}

static bool has(const struct digests *digests, size_t count, const char *sha256)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(digests->list[i], sha256) == 0)
            return true;
    }
    return false;
}

/* *ret_waiting: something unnamed is still in use, so that there will be more to do. */
static int sweep(struct api *api, const char *const *in_use, size_t in_use_count, bool *ret_waiting,
                 struct err *err)
{
    struct digests digests = { 0 };
    int result = store_begin(api->store, err), ended;
    size_t named;

    if (result < 0)
        return result;
    result = store_code_each(api->store, add_digest, &digests, err);
    ended = store_end(api->store, result >= 0, err);
    named = digests.count;
    for (size_t i = 0; result >= 0 && i < in_use_count; i++) {
        if (!has(&digests, named, in_use[i])) {
            *ret_waiting = true;
            result = add_digest(in_use[i], &digests);
        }
    }
    if (result >= 0 && ended >= 0)
        result = code_sweep(api->config.code_fd, (const char *const *)digests.list, digests.count, err);
    digests_done(&digests);
    return result < 0 ? result : ended;
}

int collect_at_start(struct api *api, struct err *err)
{
    bool waiting = false;

    return sweep(api, NULL, 0, &waiting, err);
}

bool api_collect_due(const struct api *api)
{
    return __atomic_load_n(&api->collect_due, __ATOMIC_RELAXED);
}

void api_collect(struct api *api, const char *const *in_use, size_t in_use_count)
{
    bool waiting = false;
    struct err err = { 0 };

    if (pthread_rwlock_trywrlock(&api->uploads) != 0)
        return; /* still due: the next second will do */
    __atomic_store_n(&api->collect_due, false, __ATOMIC_RELAXED);
    if (sweep(api, in_use, in_use_count, &waiting, &err) < 0)
        log_warn("api: old code stays for now error=\"%s\"", err.text);
    (void)pthread_rwlock_unlock(&api->uploads);
    if (waiting)
        __atomic_store_n(&api->collect_due, true, __ATOMIC_RELAXED);
}
