/*
 * How many environments of functions with tenants there may be. Idle ones count, too, but give way: whoever
 * sends a new tenant id should not be refused because others have been here.
 */

#include "sched/sched_priv.h"

enum { PER_CONCURRENCY = 1000, TENANT_ENVS = 2500 };

static bool has_tenant(const struct pool *pool)
{
    return *pool->tenant_id != '\0';
}

bool tenants_have_room(const struct pool *pool)
{
    const struct sched *sched = pool->sched;
    uint64_t limit = (uint64_t)sched->config.account_concurrency * TENANT_ENVS / PER_CONCURRENCY;

    return !has_tenant(pool) || sched->tenant_envs < limit;
}

static struct env *longest_idle(const struct sched *sched)
{
    list_each(at, &sched->lru)
    {
        struct env *env = list_entry(at, struct env, lru_node);

        if (has_tenant(env->pool))
            return env;
    }
    return NULL;
}

bool tenants_admit(const struct pool *pool)
{
    while (!tenants_have_room(pool)) {
        struct env *env = longest_idle(pool->sched);

        if (!env)
            return false;
        env_evict(env);
    }
    return true;
}

void tenants_count_start(const struct pool *pool)
{
    pool->sched->tenant_envs += has_tenant(pool);
}

void tenants_count_end(const struct pool *pool)
{
    pool->sched->tenant_envs -= has_tenant(pool);
}
