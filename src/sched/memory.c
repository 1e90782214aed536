/*
 * What environments use of the machine's memory, and room for more.
 */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "model/function.h"
#include "sched/sched_priv.h"

enum {
    ENV_SAMPLE_US = 500000, /* memory.stat costs tens of microseconds */
    SCHED_SAMPLE_US = 50000,
    FIRST_ESTIMATE_BYTES = 32 << 20,
    PEAK_STEP_BYTES = 1 << 20, /* REPORT shows megabytes */
    FORGET = 16,               /* an estimate loses so much, a sixteenth, of what is too much at each look */
    SETTLE_US = 500000,        /* processes that have been told to end are gone by then */
    FULL_PERCENT = 95,         /* of the limit: environments grow between two looks */
};

static bool read_text(int fd, char *text, size_t size)
{
    ssize_t got = fd >= 0 ? pread(fd, text, size - 1, 0) : -1;

    if (got <= 0)
        return false;
    text[got] = '\0';
    return true;
}

static uint64_t read_number(int fd)
{
    char text[32];
    uint64_t value = 0;

    if (read_text(fd, text, sizeof text))
        (void)text_to_u64(text, strcspn(text, "\n"), UINT64_MAX, &value);
    return value;
}

/* A line "name value"; v1 counts children only in the total_ ones. */
static uint64_t stat_value(const char *text, const char *name)
{
    size_t len = strlen(name);

    for (const char *line = text; line; line = strchr(line, '\n')) {
        uint64_t value = 0;

        line += *line == '\n';
        if (strncmp(line, name, len) == 0 && line[len] == ' ' &&
            text_to_u64(line + len + 1, strcspn(line + len + 1, "\n"), UINT64_MAX, &value))
            return value;
    }
    return 0;
}

static uint64_t file_bytes(int stat_fd)
{
    uint64_t cache = 0;
    char text[4096];

    if (read_text(stat_fd, text, sizeof text)) {
        cache = stat_value(text, "total_inactive_file") + stat_value(text, "total_active_file");
        if (cache == 0)
            cache = stat_value(text, "inactive_file") + stat_value(text, "active_file");
    }
    return cache;
}

/* File pages can be had back at any time, so they are not use. */
static uint64_t without_files(uint64_t usage, uint64_t cache)
{
    return cache < usage ? usage - cache : usage;
}

static uint64_t used_bytes(int usage_fd, int stat_fd)
{
    uint64_t usage = read_number(usage_fd);

    return usage > 0 ? without_files(usage, file_bytes(stat_fd)) : 0;
}

uint64_t memory_peak(uint64_t sampled, uint64_t peak, uint64_t file_now, uint64_t limit)
{
    uint64_t largest = peak > file_now ? peak - file_now : 0;

    if (largest < sampled)
        largest = sampled;
    return largest < limit ? largest : limit;
}

uint64_t memory_learn(uint64_t estimate, uint64_t peak)
{
    return peak > estimate ? peak : estimate - (estimate - peak) / FORGET;
}

static void note_use(struct env *env)
{
    struct template *template = template_find_id(env->sched, env->template_id);
    struct pool *pool = env->pool;

    pool->memory_estimate_bytes = memory_learn(pool->memory_estimate_bytes, env->max_memory_bytes);
    if (template)
        template->clone_bytes = memory_learn(template->clone_bytes, env->max_memory_bytes);
}

void memory_sample_env(struct env *env, bool force)
{
    uint64_t now = clock_us(), limit = (uint64_t)env->pool->version->memory_mb << 20;
    uint64_t peak = read_number(env->memory_peak_fd), usage, files, largest;

    if (!force && now - env->memory_read_us < ENV_SAMPLE_US &&
        peak < env->memory_peak_bytes + PEAK_STEP_BYTES)
        return;
    env->memory_read_us = now;
    env->memory_peak_bytes = peak;
    usage = read_number(env->memory_usage_fd);
    files = file_bytes(env->memory_stat_fd);
    env->memory_bytes = without_files(usage, files);
    if (env->memory_bytes > limit)
        env->memory_bytes = limit;
    largest = memory_peak(env->memory_bytes, peak, files, limit);
    if (largest > env->max_memory_bytes)
        env->max_memory_bytes = largest;
    if (env->memory_bytes > 0)
        note_use(env);
}

void memory_sample(struct sched *sched)
{
    sched->memory_read_us = clock_us();
    sched->memory_used_bytes = used_bytes(sched->memory_usage_fd, sched->memory_stat_fd);
}

static struct env *longest_idle(const struct sched *sched)
{
    return list_empty(&sched->lru) ? NULL : list_entry(sched->lru.next, struct env, lru_node);
}

static uint64_t bytes_of(struct env *env)
{
    memory_sample_env(env, true);
    return env->memory_bytes;
}

void memory_enforce(struct sched *sched)
{
    uint64_t full = sched->config.max_memory_bytes / 100 * FULL_PERCENT, freed = 0;

    if (sched->memory_used_bytes <= full)
        return;
    /* Those that are ending still show in the sample. */
    for (const struct env *env = sched->envs; env; env = env->hh.next)
        freed += env->state == LIFE_STOPPING ? env->memory_bytes : 0;
    while (sched->memory_used_bytes > full + freed) {
        struct env *env = longest_idle(sched);

        if (!env) {
            (void)templates_yield(sched);
            return;
        }
        freed += bytes_of(env);
        env_evict(env);
    }
}

uint64_t memory_estimate(const struct pool *pool)
{
    const struct template *template;

    if (pool->memory_estimate_bytes)
        return pool->memory_estimate_bytes;
    /* Other functions may have used more: that says nothing about this one. */
    template = templates_of(pool->sched, pool->version);
    return template && template->clone_bytes > 0 && template->clone_bytes < FIRST_ESTIMATE_BYTES
               ? template->clone_bytes
               : FIRST_ESTIMATE_BYTES;
}

void memory_env_started(struct env *env)
{
    env->sched->starting_bytes -= env->estimate_bytes;
    env->sched->memory_used_bytes += env->estimate_bytes;
}

/* With one more of that size, but not yet with those on their way. */
static uint64_t with_one_more(struct sched *sched, uint64_t estimate)
{
    if (clock_us() - sched->memory_read_us > SCHED_SAMPLE_US)
        memory_sample(sched);
    return sched->memory_used_bytes + estimate;
}

bool memory_has_room(struct pool *pool)
{
    struct sched *sched = pool->sched;

    return with_one_more(sched, memory_estimate(pool)) + sched->starting_bytes <=
           sched->config.max_memory_bytes;
}

bool memory_has_room_for_template(struct sched *sched)
{
    return with_one_more(sched, FIRST_ESTIMATE_BYTES) + sched->starting_bytes <=
           sched->config.max_memory_bytes;
}

static bool environments_are_ending(const struct sched *sched)
{
    const struct env *env = sched->envs;

    while (env && env->state != LIFE_STOPPING)
        env = env->hh.next;
    return env != NULL;
}

/* Those that start may turn out smaller than was thought, and what ends is free soon. */
static bool may_be_had_soon(struct sched *sched, uint64_t wanted)
{
    uint64_t limit = sched->config.max_memory_bytes;

    if (sched->starting > 0 && wanted <= limit)
        return true;
    if (environments_are_ending(sched) || templates_are_ending(sched) || templates_yield(sched)) {
        sched->memory_settles_us = clock_us() + SETTLE_US;
        return true;
    }
    return clock_us() < sched->memory_settles_us;
}

enum memory_verdict memory_admit(struct pool *pool)
{
    struct sched *sched = pool->sched;
    uint64_t wanted = with_one_more(sched, memory_estimate(pool)), freed = 0;
    struct env *env;

    while (wanted + sched->starting_bytes > sched->config.max_memory_bytes + freed) {
        env = longest_idle(sched);
        if (!env)
            break;
        freed += bytes_of(env);
        env_evict(env);
    }
    /* What was just freed is still counted by the next reader. */
    sched->memory_used_bytes = sched->memory_used_bytes > freed ? sched->memory_used_bytes - freed : 0;
    wanted = wanted > freed ? wanted - freed : 0;
    if (wanted + sched->starting_bytes <= sched->config.max_memory_bytes)
        return MEMORY_ROOM;
    return may_be_had_soon(sched, wanted) ? MEMORY_WAIT : MEMORY_FULL;
}
