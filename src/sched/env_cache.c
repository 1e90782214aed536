/*
 * What the runtime of an environment has compiled of its function's code, kept for later environments.
 *
 * The first environment of a function's code makes it, while nobody waits for it; from then on every start
 * uses it, a clone of the runtime's template as well as an ordinary one. Templates of a version have their
 * INIT behind them and need none.
 */

#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "model/function.h"
#include "sched/env_vars.h"
#include "sched/sched_priv.h"
#include "wire/wire.h"

enum { MAKE_MS = 2000 };

#define CACHE_FILE "/var/runtime/code-cache/modules"

static struct code_cache *cache_of(const struct env *env)
{
    return env->sched->config.code_cache;
}

static struct code_cache_key key_of(const struct env *env)
{
    const struct fn_version *version = env->pool->version;

    return (struct code_cache_key){ version->uid_index, version->code_sha256, version->runtime };
}

/* What one tenant's environment has made, which runs its code, is not for another's. Node 18 cannot say who
 * answers the import() of a script. Variables that Node reads at its start may ask for source maps, hooks, or
 * a cache of the customer's own. */
static bool may_have_one(const struct fn_version *version)
{
    return !version->per_tenant && text_starts(version->runtime, "nodejs") &&
           strcmp(version->runtime, "nodejs18.x") != 0 && !fn_version_has_template(version) &&
           !env_vars_against_clone(version);
}

void env_cache_choose(struct env *env)
{
    struct code_cache_key key = key_of(env);

    if (!cache_of(env) || env->reservation || !env->pool->current || !may_have_one(env->pool->version))
        return;
    env->code_cache = code_cache_choose(cache_of(env), &key);
}

const char *env_cache_instruction(const struct env *env)
{
    if (env->code_cache == CODE_CACHE_NONE)
        return NULL;
    return env->code_cache == CODE_CACHE_MAKE ? "make" : CACHE_FILE;
}

static void spoiled(struct env *env, const char *why)
{
    struct code_cache_key key = key_of(env);

    log_info("function %s: its code cache is removed: %s", env->pool->version->function_name, why);
    code_cache_spoiled(cache_of(env), &key);
    env->code_cache = CODE_CACHE_NONE;
}

static void on_used(bool useful, void *ctx)
{
    struct env *env = ctx;
    struct code_cache_key key = key_of(env);

    if (!useful) {
        spoiled(env, "the runtime could not use it");
        return;
    }
    code_cache_used(cache_of(env), &key);
    env->code_cache = CODE_CACHE_NONE;
}

static void on_made(const char *body, size_t len, void *ctx)
{
    struct env *env = ctx;
    struct code_cache_key key = key_of(env);
    struct err err = { 0 };

    if (env->code_cache != CODE_CACHE_MAKE)
        return;
    env->code_cache = CODE_CACHE_NONE;
    if (!env->pool->current)
        code_cache_abandon(cache_of(env), &key);
    else if (code_cache_put(cache_of(env), &key, body, len, &err) < 0)
        log_warn("function %s: %s", env->pool->version->function_name, err.text);
    env_cache_settled(env);
}

void env_cache_listen(const struct env *env, struct runtime_api_owner *owner)
{
    if (env->code_cache == CODE_CACHE_USE)
        owner->on_code_cache_used = on_used;
    if (env->code_cache == CODE_CACHE_MAKE) {
        owner->on_code_cache = on_made;
        owner->code_cache_max_bytes = CODE_CACHE_FILE_MAX_BYTES;
    }
}

void env_cache_init_failed(struct env *env)
{
    /* V8 aborts over data that it cannot read. */
    if (env->code_cache == CODE_CACHE_USE && env->exited && env->exited->kind == WIRE_EXIT_SIGNAL &&
        !env->exited->out_of_memory)
        spoiled(env, "the runtime has crashed in INIT");
}

void env_cache_done(struct env *env)
{
    struct code_cache_key key = key_of(env);

    if (env->code_cache == CODE_CACHE_MAKE)
        code_cache_abandon(cache_of(env), &key);
    env->code_cache = CODE_CACHE_NONE;
}

uint64_t env_cache_linger_ms(const struct env *env)
{
    return env->code_cache == CODE_CACHE_MAKE && env->requests > 0 ? MAKE_MS : 0;
}

static bool has_code(const struct fn_version *version, unsigned uid_index, const char *code)
{
    return version && version->uid_index == uid_index && strcmp(version->code_sha256, code) == 0;
}

static bool is_wanted(unsigned uid_index, const char *code, void *ctx)
{
    const struct sched *sched = ctx;

    for (const struct entry *entry = sched->entries; entry; entry = entry->hh.next) {
        const struct function *picture = entry->picture;

        if (picture && has_code(picture->latest, uid_index, code))
            return true;
        for (size_t i = 0; picture && i < picture->version_count; i++) {
            if (has_code(picture->versions[i], uid_index, code))
                return true;
        }
    }
    return false;
}

void env_cache_sweep(struct sched *sched)
{
    if (!sched->caches_stale || !sched->config.code_cache)
        return;
    sched->caches_stale = false;
    code_cache_sweep(sched->config.code_cache, is_wanted, sched);
}
