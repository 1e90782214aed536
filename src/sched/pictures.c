/*
 * The functions that the scheduler knows: pictures by name and by URL.
 */

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/id.h"
#include "base/log.h"
#include "logs/logs.h"
#include "model/function.h"
#include "sched/sched_priv.h"

static struct entry *entry_of(struct sched *sched, const char *name)
{
    struct entry *entry = NULL;

    HASH_FIND_STR(sched->entries, name, entry);
    if (entry)
        return entry;
    entry = calloc(1, sizeof *entry);
    if (entry)
        entry->name = strdup(name);
    if (!entry || !entry->name) {
        free(entry);
        return NULL;
    }
    HASH_ADD_KEYPTR(hh, sched->entries, entry->name, strlen(entry->name), entry);
    return entry;
}

static void drop_urls(struct sched *sched, const struct entry *entry)
{
    if (!entry->picture)
        return;
    for (size_t i = 0; i < entry->picture->url_count; i++) {
        struct url_entry *url = NULL;

        HASH_FIND_STR(sched->urls, entry->picture->urls[i].url_id, url);
        if (url) {
            HASH_DELETE(hh, sched->urls, url);
            free(url);
        }
    }
}

static void add_urls(struct sched *sched, struct entry *entry)
{
    for (size_t i = 0; i < entry->picture->url_count; i++) {
        const char *id = entry->picture->urls[i].url_id;
        struct url_entry *url = calloc(1, sizeof *url);

        if (!url || strlen(id) >= sizeof url->url_id) {
            free(url);
            log_error("function %s: a URL cannot be served: out of memory", entry->name);
            continue;
        }
        memcpy(url->url_id, id, strlen(id));
        url->entry = entry;
        url->index = i;
        HASH_ADD_STR(sched->urls, url_id, url);
    }
}

static bool has_version(const struct function *picture, const struct fn_version *version)
{
    const struct fn_version *own = picture ? function_version(picture, version->version) : NULL;

    return own && strcmp(own->config_id, version->config_id) == 0;
}

static void evict_idle(struct pool *pool)
{
    list_each_safe(at, &pool->idle) env_evict(list_entry(at, struct env, pool_node));
}

static void refresh_pools(struct sched *sched, const struct entry *entry)
{
    struct pool *pool, *next;

    HASH_ITER(hh, sched->pools, pool, next)
    {
        if (strcmp(pool->version->function_name, entry->name) != 0)
            continue;
        pool->current = has_version(entry->picture, pool->version);
        if (pool->current)
            continue;
        evict_idle(pool);
        reserved_evict_idle(pool);
        /* Unless it is another function by now, with tenants or without. */
        if (entry->picture && strcmp(pool->version->version, "$LATEST") == 0 &&
            entry->picture->latest->per_tenant == pool->version->per_tenant)
            sched_requeue(pool, entry->picture->latest);
    }
}

static void refresh_limits(struct sched *sched)
{
    unsigned reserved = 0, in_flight = 0;

    for (const struct entry *entry = sched->entries; entry; entry = entry->hh.next) {
        if (entry->picture && entry->picture->reserved_concurrency >= 0)
            reserved += (unsigned)entry->picture->reserved_concurrency;
        else
            in_flight += entry->in_flight;
    }
    sched->in_flight_unreserved = in_flight;
    sched->unreserved_limit =
        reserved < sched->config.account_concurrency ? sched->config.account_concurrency - reserved : 0;
}

static int reserved_of(const struct function *picture)
{
    return picture ? picture->reserved_concurrency : -1;
}

void sched_put_function(struct sched *sched, struct function *function)
{
    struct entry *entry = entry_of(sched, function->name);
    int reserved_before;

    if (!entry || function->sequence < entry->sequence) {
        (void)function_unref(function);
        return;
    }
    reserved_before = reserved_of(entry->picture);
    templates_follow(sched, entry->picture, function->deleted ? NULL : function);
    sched->caches_stale = true;
    drop_urls(sched, entry);
    (void)function_unref(entry->picture);
    entry->sequence = function->sequence;
    entry->seen_unused = false;
    entry->picture = function->deleted ? function_unref(function) : function;
    if (entry->picture)
        add_urls(sched, entry);
    else
        sched->logs_stale = true;
    /* At once: the next function may get the same user id. */
    if (!entry->picture)
        env_cache_sweep(sched);
    refresh_pools(sched, entry);
    if (reserved_before != reserved_of(entry->picture))
        refresh_limits(sched);
}

const struct function *sched_find_function(const struct sched *sched, const char *name, size_t len)
{
    struct entry *entry = NULL;

    HASH_FIND(hh, sched->entries, name, len, entry);
    return entry ? entry->picture : NULL;
}

const struct function *sched_find_url(const struct sched *sched, const char *url_id, size_t len,
                                      size_t *ret_url_index)
{
    struct url_entry *url = NULL;
    char lower[33];

    if (len >= sizeof lower)
        return NULL;
    for (size_t i = 0; i < len; i++)
        lower[i] = (char)tolower((unsigned char)url_id[i]);
    HASH_FIND(hh, sched->urls, lower, len, url);
    if (!url)
        return NULL;
    *ret_url_index = url->index;
    return url->entry->picture;
}

size_t sched_function_count(const struct sched *sched)
{
    size_t count = 0;

    for (const struct entry *entry = sched->entries; entry; entry = entry->hh.next)
        count += entry->picture != NULL;
    return count;
}

struct fn_version *sched_route(const struct fn_alias *alias)
{
    uint32_t random;

    if (!alias->secondary)
        return alias->primary;
    id_random(&random, sizeof random);
    return (double)random / 4294967296.0 < alias->secondary_weight ? alias->secondary : alias->primary;
}

void pictures_forget(struct sched *sched)
{
    struct entry *entry, *next;

    HASH_ITER(hh, sched->entries, entry, next)
    {
        if (entry->picture || entry->in_flight > 0) {
            entry->seen_unused = false;
        } else if (!entry->seen_unused) {
            entry->seen_unused = true;
        } else {
            HASH_DELETE(hh, sched->entries, entry);
            free(entry->name);
            free(entry);
        }
    }
}

static bool has_picture(const char *name, void *ctx)
{
    return sched_find_function(ctx, name, strlen(name)) != NULL;
}

void pictures_prune_logs(struct sched *sched)
{
    struct err err = { 0 };

    if (!sched->logs_stale)
        return;
    sched->logs_stale = false;
    if (logs_prune(sched->config.logs, sched->config.logs_of_deleted, has_picture, sched, &err) < 0)
        log_warn("logs of deleted functions stay: %s", err.text);
}

void pictures_drop_all(struct sched *sched)
{
    struct entry *entry, *next;

    HASH_ITER(hh, sched->entries, entry, next)
    {
        drop_urls(sched, entry);
        entry->picture = function_unref(entry->picture);
        HASH_DELETE(hh, sched->entries, entry);
        free(entry->name);
        free(entry);
    }
}
