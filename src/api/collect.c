#include <stdlib.h>
#include <string.h>

#include "api/api_priv.h"
#include "base/clock.h"
#include "base/log.h"

/*
 * Removing code nobody uses.
 *
 * A package is kept while a version (or the configuration served during an update) names it. When a version
 * lets go of one, its digest is written down with the time: environments made before may go on for as long as
 * a function may take (900 s) and read their code until then. RELEASE_AGE_S later it is forgotten and the
 * next sweep removes the package, unless a version has come to use it again. An upload that no version names
 * yet is protected by its age alone (code_add() renews it). At start nothing runs, so only what versions name
 * stays.
 */

enum { RELEASE_AGE_S = 1200, SWEEP_EVERY_S = 60 };

bool collect_release(struct call *call, const char *sha256)
{
    return store_code_release(call->store, sha256, clock_wall_ms(), &call->err) == 0 || call_failed(call);
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

static int sweep(struct api *api, uint64_t released_before_ms, unsigned min_age_s, struct err *err)
{
    struct digests digests = { 0 };
    int result = store_begin(api->store, err), ended;

    if (result < 0)
        return result;
    result = store_code_expire(api->store, released_before_ms, err);
    if (result >= 0)
        result = store_code_each(api->store, add_digest, &digests, err);
    ended = store_end(api->store, result >= 0, err);
    if (result >= 0 && ended >= 0)
        result =
            code_sweep(api->config.code_fd, (const char *const *)digests.list, digests.count, min_age_s, err);
    digests_done(&digests);
    return result < 0 ? result : ended;
}

int collect_at_start(struct api *api, struct err *err)
{
    __atomic_store_n(&api->next_sweep_us, clock_us() + (uint64_t)SWEEP_EVERY_S * 1000000, __ATOMIC_RELAXED);
    return sweep(api, UINT64_MAX >> 1, 0, err);
}

void collect_now_and_then(struct api *api)
{
    uint64_t now = clock_us(), due = __atomic_load_n(&api->next_sweep_us, __ATOMIC_RELAXED);
    uint64_t wall = clock_wall_ms(), age = (uint64_t)RELEASE_AGE_S * 1000;
    struct err err = { 0 };

    /* One thread does it, whoever comes first. */
    if (now < due ||
        !__atomic_compare_exchange_n(&api->next_sweep_us, &due, now + (uint64_t)SWEEP_EVERY_S * 1000000,
                                     false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return;
    if (sweep(api, wall > age ? wall - age : 0, RELEASE_AGE_S, &err) < 0)
        log_warn("api: old code stays for now error=\"%s\"", err.text);
}
