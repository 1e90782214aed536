/*
 * Admission, queues and the choice of environments.
 */

#include "sched/sched.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/blob.h"
#include "base/clock.h"
#include "base/log.h"
#include "logs/logs.h"
#include "model/function.h"
#include "sched/sched_priv.h"
#include "wire/wire.h"

enum {
    /* An environment that has posted its result asks for the next work in well under this. */
    GRACE_MS = 3,
    TICK_MS = 250,
    PRUNE_TICKS = 8,
    FORGET_TICKS = 240,
    PEAK_TICKS = 40,
    FLUSH_MS = 50,
    WAIT_US = 10000000, /* for memory that may be free soon */
};

/* ---- pools ---- */

/* *ret_tenant_id points into it. Only a tenant id may hold a slash. */
static char *pool_key(const struct fn_version *version, const char *tenant_id, const char **ret_tenant_id)
{
    size_t own = strlen(version->config_id) + strlen(version->version) + 1,
           size = own + strlen(tenant_id) + 2;
    char *key = malloc(size);

    if (!key)
        return NULL;
    (void)snprintf(key, size, "%s/%s%s%s", version->config_id, version->version, *tenant_id ? "/" : "",
                   tenant_id);
    *ret_tenant_id = *tenant_id ? key + own + 1 : key + own;
    return key;
}

static void on_grace(uv_timer_t *timer);

/* key, and tenant_id in it: taken. */
static struct pool *pool_new(struct sched *sched, struct fn_version *version, char *key,
                             const char *tenant_id)
{
    struct pool *pool = calloc(1, sizeof *pool);

    if (!pool) {
        free(key);
        return NULL;
    }
    pool->key = key;
    pool->tenant_id = tenant_id;
    pool->sched = sched;
    pool->version = fn_version_ref(version);
    pool->current = true;
    list_init(&pool->idle);
    list_init(&pool->queue);
    (void)uv_timer_init(sched->config.loop, &pool->grace);
    pool->grace.data = pool;
    sched->open_handles++;
    HASH_ADD_KEYPTR(hh, sched->pools, pool->key, strlen(pool->key), pool);
    return pool;
}

static struct pool *pool_of(struct sched *sched, struct fn_version *version, const char *tenant_id)
{
    const char *own_tenant_id;
    char *key = pool_key(version, tenant_id, &own_tenant_id);
    struct pool *pool = NULL;

    if (!key)
        return NULL;
    HASH_FIND_STR(sched->pools, key, pool);
    if (!pool)
        return pool_new(sched, version, key, own_tenant_id);
    free(key);
    return pool;
}

static void on_pool_closed(uv_handle_t *handle)
{
    struct pool *pool = handle->data;
    struct sched *sched = pool->sched;

    (void)fn_version_unref(pool->version);
    free(pool->key);
    free(pool);
    sched->open_handles--;
    sched_check_stopped(sched);
}

static void pool_free_if_unused(struct pool *pool)
{
    if (pool->envs > 0 || pool->reserved > 0 || pool->queued > 0 || pool->closing)
        return;
    pool->closing = true;
    HASH_DELETE(hh, pool->sched->pools, pool);
    uv_close((uv_handle_t *)&pool->grace, on_pool_closed);
}

/* ---- invocations ---- */

struct invocation *sched_invocation_free(struct invocation *invocation)
{
    (void)fn_version_unref(invocation->version);
    (void)blob_unref(invocation->event);
    buf_done(&invocation->held);
    free(invocation);
    return NULL;
}

/* One caller at a time waits for nothing but us. With more of them the processors have better things to do.
 */
void sched_stay_awake(struct sched *sched)
{
    if (sched->in_flight <= 1)
        awake_stay(&sched->awake);
}

void sched_answer(struct sched *sched, struct invocation *invocation, const struct sched_result *result)
{
    struct entry *entry = invocation->entry;

    invocation->answered = true;
    if (entry->in_flight-- > 0 && (!entry->picture || entry->picture->reserved_concurrency < 0) &&
        sched->in_flight_unreserved > 0)
        sched->in_flight_unreserved--;
    sched->in_flight--;
    invocation->entry = NULL;
    invocation->done(result, invocation->ctx);
    sched_stay_awake(sched);
}

struct invocation *sched_refuse(struct sched *sched, struct invocation *invocation, const char *reason,
                                const char *text)
{
    struct sched_result result = {
        .outcome = reason ? SCHED_THROTTLED : SCHED_UNAVAILABLE,
        .body = text,
        .body_len = strlen(text),
        .reason = reason,
        .executed_version = "",
    };

    sched_answer(sched, invocation, &result);
    return sched_invocation_free(invocation);
}

static const char *put_text(char **at, const char *text)
{
    char *start = *at;
    size_t len = text ? strlen(text) : 0;

    if (len > 0)
        memcpy(start, text, len);
    start[len] = '\0';
    *at += len + 1;
    return start;
}

static size_t text_size(const char *text)
{
    return text ? strlen(text) + 1 : 1;
}

static struct invocation *invocation_new(const struct sched_request *request, struct entry *entry,
                                         sched_done_fn done, void *ctx)
{
    size_t size = text_size(request->request_id) + text_size(request->invoked_arn) +
                  text_size(request->trace_id) + text_size(request->client_context) +
                  text_size(request->tenant_id);
    struct invocation *invocation = calloc(1, sizeof *invocation + size);
    char *at;

    if (!invocation)
        return NULL;
    at = invocation->texts;
    invocation->request_id = put_text(&at, request->request_id);
    invocation->invoked_arn = put_text(&at, request->invoked_arn);
    invocation->trace_id = put_text(&at, request->trace_id);
    invocation->client_context = put_text(&at, request->client_context);
    invocation->tenant_id = put_text(&at, request->tenant_id);
    invocation->entry = entry;
    invocation->version = fn_version_ref(request->version);
    invocation->event = blob_ref(request->event);
    invocation->want_log_tail = request->want_log_tail;
    invocation->done = done;
    invocation->ctx = ctx;
    list_init(&invocation->node);
    return invocation;
}

/* NULL when one more may run. */
static const char *over_limit(const struct sched *sched, const struct entry *entry)
{
    int reserved = entry->picture->reserved_concurrency;

    if (reserved >= 0)
        return entry->in_flight >= (unsigned)reserved ? "ReservedFunctionConcurrentInvocationLimitExceeded"
                                                      : NULL;
    return sched->in_flight_unreserved >= sched->unreserved_limit ? "ConcurrentInvocationLimitExceeded"
                                                                  : NULL;
}

/* ---- environments ---- */

static void start_one(struct pool *pool)
{
    pool->starting++;
    pool->envs++;
    pool->sched->starting++;
    tenants_count_start(pool);
    if (!env_start(pool, NULL)) {
        struct failure failure;

        pool->starting--;
        pool->envs--;
        pool->sched->starting--;
        tenants_count_end(pool);
        failure_plain(&failure, "Sandbox.Failure", NULL, "Out of memory");
        sched_start_failed(pool, &failure, WIRE_FAIL_SYSTEM);
    }
}

static struct invocation *dequeue(struct pool *pool)
{
    struct invocation *invocation = list_entry(pool->queue.next, struct invocation, node);

    list_remove(&invocation->node);
    if (--pool->queued == 0)
        pool->ordinary = 0; /* nobody waits for one any more */
    return invocation;
}

/* No more environments of tenants: those stay in the queue for whom one is on its way or about to be free. */
static void refuse_beyond_tenants(struct pool *pool)
{
    while (pool->queued > pool->starting + pool->responded) {
        struct invocation *newest = list_entry(pool->queue.prev, struct invocation, node);

        list_remove(&newest->node);
        pool->queued--;
        (void)sched_refuse(pool->sched, newest, "ConcurrentInvocationLimitExceeded", "Rate Exceeded.");
    }
}

/* Those in the queue whom no environment, present or on its way, will serve. */
static void refuse_stranded(struct pool *pool, const char *reason, const char *text)
{
    while (pool->queued > 0 && pool->queued > pool->envs)
        (void)sched_refuse(pool->sched, dequeue(pool), reason, text);
}

static bool is_clean(const struct pool *pool)
{
    return pool->version->clean;
}

/* Has served its one invocation. */
static bool is_used_up(const struct env *env)
{
    return is_clean(env->pool) && env->requests > 0;
}

/* False when it has done so for long enough. */
static bool wait_for_memory(struct pool *pool)
{
    uint64_t now = clock_us();

    if (pool->waits_since_us == 0)
        pool->waits_since_us = now;
    return now - pool->waits_since_us < WAIT_US;
}

static void grow(struct pool *pool, bool count_responded)
{
    struct sched *sched = pool->sched;
    enum memory_verdict verdict;

    if (is_clean(pool))
        count_responded = false; /* they serve nobody else */
    while (pool->queued > pool->starting + (count_responded ? pool->responded : 0)) {
        if (!sched->link || !sched->ready)
            return; /* sched_connect() and READY come back to it */
        if (!tenants_admit(pool)) {
            refuse_beyond_tenants(pool);
            pool_free_if_unused(pool);
            return;
        }
        verdict = memory_admit(pool);
        if (verdict == MEMORY_WAIT && wait_for_memory(pool))
            return;
        pool->waits_since_us = 0;
        if (verdict != MEMORY_ROOM) {
            refuse_stranded(pool, "ConcurrentInvocationLimitExceeded", "No memory for another environment");
            pool_free_if_unused(pool);
            return;
        }
        start_one(pool);
    }
    pool->waits_since_us = 0;
    if (count_responded && pool->queued > pool->starting && !uv_is_active((uv_handle_t *)&pool->grace))
        (void)uv_timer_start(&pool->grace, on_grace, GRACE_MS, 0);
}

/* Clean state: environments made ahead, as many as there were invocations at once lately. */
static void refill(struct pool *pool)
{
    struct sched *sched = pool->sched;
    unsigned wanted = pool->peak > pool->peak_before ? pool->peak : pool->peak_before, there = pool->starting;

    if (!is_clean(pool) || !pool->current || sched->stopping || !sched_ready(sched))
        return;
    list_each(at, &pool->idle) there++;
    for (; there < wanted + pool->queued && tenants_have_room(pool) && memory_has_room(pool); there++)
        start_one(pool);
}

void sched_template_ready(struct template *template)
{
    size_t len = strlen(template->key);
    struct pool *pool, *next;

    HASH_ITER(hh, template->sched->pools, pool, next)
    {
        if (strncmp(pool->key, template->key, len) == 0 && (pool->key[len] == '\0' || pool->key[len] == '/'))
            refill(pool);
    }
}

static void note_peak(struct pool *pool)
{
    if (pool->running + pool->queued > pool->peak)
        pool->peak = pool->running + pool->queued;
}

static void give(struct env *env, struct invocation *invocation)
{
    env->pool->running++;
    note_peak(env->pool);
    env_invoke(env, invocation);
}

void sched_env_completed(struct env *env)
{
    if (!env->reservation)
        env->pool->running--;
}

static void on_grace(uv_timer_t *timer)
{
    grow(timer->data, false);
}

void sched_env_started(struct env *env)
{
    if (!env->reservation)
        env->pool->starting--;
    env->sched->starting--;
    memory_env_started(env);
    sched_try_again(env->sched);
}

static void on_again(uv_timer_t *timer)
{
    struct sched *sched = timer->data;
    struct pool *pool, *next;

    HASH_ITER(hh, sched->pools, pool, next)
    {
        if (pool->waits_since_us > 0)
            grow(pool, true);
    }
    templates_on_ready(sched);
}

/* In the next turn of the loop: what has just become free is first offered to those who wait for that. */
void sched_try_again(struct sched *sched)
{
    if (!uv_is_active((uv_handle_t *)&sched->again) && !uv_is_closing((uv_handle_t *)&sched->again))
        (void)uv_timer_start(&sched->again, on_again, 0, 0);
}

/* The pool's environments that can come to the queue: on their way, or with an invocation that ends. */
static unsigned coming(const struct pool *pool)
{
    unsigned count = 0;

    for (const struct env *env = pool->sched->envs; env; env = env->hh.next) {
        if (env->pool == pool && !env->reservation &&
            (env->state == LIFE_STARTING || env->state == LIFE_INIT ||
             (life_has_invocation(env->state) && !is_clean(pool))))
            count++;
    }
    return count;
}

static void no_slot(struct pool *pool, const char *text)
{
    unsigned served;

    if (!list_empty(&pool->sched->lru)) {
        env_evict(list_entry(pool->sched->lru.next, struct env, lru_node));
        grow(pool, true);
        return;
    }
    served = coming(pool);
    while (pool->queued > served)
        (void)sched_refuse(pool->sched, dequeue(pool), "ConcurrentInvocationLimitExceeded", text);
}

void sched_start_failed(struct pool *pool, const struct failure *failure, uint32_t reason)
{
    if (pool->queued == 0)
        return;
    if (reason == WIRE_FAIL_NO_SLOT) {
        no_slot(pool, failure->message);
        return;
    }
    (void)sched_refuse(pool->sched, dequeue(pool), NULL, failure->message);
    pool_free_if_unused(pool);
}

void sched_withdraw(struct env *env)
{
    list_remove(&env->pool_node);
    list_remove(&env->lru_node);
}

void sched_offer(struct env *env)
{
    struct pool *pool = env->pool;
    struct sched *sched = env->sched;
    bool used_up = is_used_up(env), serves = !used_up && !env_is_old(env),
         keep = serves && pool->current && !sched->stopping;

    if (env->reservation) {
        reserved_offer(env);
        return;
    }
    list_push_back(&sched->lru, &env->lru_node);
    /* One that must start a process first comes after those that need not. */
    if (env->state == LIFE_DOWN)
        list_push_back(&pool->idle, &env->pool_node);
    else
        list_push_front(&pool->idle, &env->pool_node);
    if (pool->queued > 0 && serves)
        give(env, dequeue(pool));
    else if (!keep || (env->state == LIFE_DOWN && env->requests == 0))
        env_evict(env);
    if (used_up) {
        grow(pool, true);
        refill(pool);
    }
}

void sched_env_released(struct env *env)
{
    struct pool *pool = env->pool;
    struct sched *sched = env->sched;
    /* The one for which there was no slot leaves none behind: trying again would only spin. */
    bool left_room = env->failed_reason != WIRE_FAIL_NO_SLOT || coming(pool) == 0;

    HASH_DELETE(hh, sched->envs, env);
    if (env->reservation)
        reserved_released(env);
    else
        pool->envs--;
    buf_done(&env->log);
    buf_done(&env->tail);
    free(env);
    if (pool->queued > 0 && left_room)
        grow(pool, true);
    pool_free_if_unused(pool);
    sched_try_again(sched);
    sched_check_stopped(sched);
}

/* ---- the public side ---- */

static void enqueue(struct pool *pool, struct invocation *invocation)
{
    while (!list_empty(&pool->idle)) {
        struct env *env = list_entry(pool->idle.next, struct env, pool_node);

        if (!env_is_old(env)) {
            give(env, invocation);
            return;
        }
        env_evict(env);
    }
    list_push_back(&pool->queue, &invocation->node);
    pool->queued++;
    note_peak(pool);
    grow(pool, true);
}

static struct env *idle_and_tried(const struct pool *pool)
{
    list_each(at, &pool->idle)
    {
        struct env *env = list_entry(at, struct env, pool_node);

        if (!env_is_untried(env) && !env_is_old(env))
            return env;
    }
    return NULL;
}

void sched_give_back(struct env *env, struct invocation *invocation)
{
    struct pool *pool = env->pool;
    struct env *other = idle_and_tried(pool);

    if (env->reservation) {
        reserved_give_back(env, invocation);
        return;
    }
    if (invocation)
        pool->running--;
    if (invocation && other) {
        give(other, invocation);
        return;
    }
    if (invocation) {
        list_push_front(&pool->queue, &invocation->node);
        pool->queued++;
    }
    if (pool->queued > pool->starting)
        pool->ordinary++;
    grow(pool, true);
}

void sched_requeue(struct pool *pool, struct fn_version *version)
{
    while (pool->queued > 0) {
        struct pool *to = pool_of(pool->sched, version, pool->tenant_id);
        struct invocation *invocation;

        if (!to)
            break;
        invocation = dequeue(pool);
        (void)fn_version_unref(invocation->version);
        invocation->version = fn_version_ref(version);
        enqueue(to, invocation);
    }
    pool_free_if_unused(pool);
}

void sched_invoke(struct sched *sched, const struct sched_request *request, sched_done_fn done, void *ctx)
{
    struct entry *entry = NULL;
    struct invocation *invocation;
    struct pool *pool;
    const char *reason;

    HASH_FIND_STR(sched->entries, request->function->name, entry);
    invocation = entry ? invocation_new(request, entry, done, ctx) : NULL;
    if (!invocation) {
        static const char text[] = "Out of memory";

        done(&(struct sched_result){ .outcome = SCHED_UNAVAILABLE,
                                     .body = text,
                                     .body_len = sizeof text - 1,
                                     .executed_version = "" },
             ctx);
        return;
    }
    reason = over_limit(sched, entry);
    if (entry->picture->reserved_concurrency < 0)
        sched->in_flight_unreserved++;
    entry->in_flight++;
    sched->in_flight++;
    pool = reason || sched->stopping ? NULL : pool_of(sched, request->version, invocation->tenant_id);
    if (!pool) {
        (void)sched_refuse(sched, invocation, reason, reason ? "Rate Exceeded." : "The server is stopping");
        return;
    }
    if (!request->environment)
        enqueue(pool, invocation);
    else if (strcmp(request->environment, "new") == 0)
        reserved_start(pool, invocation);
    else
        reserved_give(sched, request->environment, invocation);
    pool_free_if_unused(pool);
}

static void age_peaks(struct sched *sched)
{
    for (struct pool *pool = sched->pools; pool; pool = pool->hh.next) {
        pool->peak_before = pool->peak;
        pool->peak = pool->running + pool->queued;
    }
}

static void on_tick(uv_timer_t *timer)
{
    struct sched *sched = timer->data;

    memory_sample(sched);
    memory_enforce(sched);
    templates_end_unused(sched);
    sched_try_again(sched);
    env_cache_sweep(sched);
    if (++sched->ticks % PRUNE_TICKS == 0)
        pictures_prune_logs(sched);
    if (sched->ticks % PEAK_TICKS == 0)
        age_peaks(sched);
    if (sched->ticks % FORGET_TICKS == 0)
        pictures_forget(sched);
}

void sched_flush_logs(struct sched *sched)
{
    list_each_safe(at, &sched->dirty) env_log_flush(list_entry(at, struct env, dirty_node));
}

static void on_flush(uv_timer_t *timer)
{
    sched_flush_logs(timer->data);
    env_log_resume(timer->data);
}

void sched_flush_soon(struct sched *sched)
{
    if (!uv_is_active((uv_handle_t *)&sched->flush) && !uv_is_closing((uv_handle_t *)&sched->flush))
        (void)uv_timer_start(&sched->flush, on_flush, FLUSH_MS, 0);
}

struct sched *sched_new(const struct sched_config *config)
{
    struct sched *sched = calloc(1, sizeof *sched);

    if (!sched)
        return NULL;
    sched->config = *config;
    sched->next_env_id = 1;
    sched->logs_stale = true; /* functions may have been deleted just before the last end */
    sched->unreserved_limit = config->account_concurrency;
    sched->memory_usage_fd = sched->memory_stat_fd = -1;
    list_init(&sched->lru);
    list_init(&sched->dirty);
    list_init(&sched->paused);
    (void)uv_timer_init(config->loop, &sched->tick);
    (void)uv_timer_init(config->loop, &sched->flush);
    (void)uv_timer_init(config->loop, &sched->again);
    sched->tick.data = sched->flush.data = sched->again.data = sched;
    awake_init(&sched->awake, config->loop, config->busy_poll_us);
    sched->open_handles = 4;
    (void)uv_timer_start(&sched->tick, on_tick, TICK_MS, TICK_MS);
    uv_unref((uv_handle_t *)&sched->tick);
    return sched;
}

bool sched_ready(const struct sched *sched)
{
    return sched->ready && sched->link;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct sched *sched = handle->data;

    sched->open_handles--;
    sched_check_stopped(sched);
}

void sched_check_stopped(struct sched *sched)
{
    void (*on_stopped)(void *) = sched->on_stopped;

    if (!sched->stopping || sched->envs || sched->templates || sched->pools || sched->open_handles > 0 ||
        !on_stopped)
        return;
    sched->on_stopped = NULL;
    sched->link = link_free(sched->link);
    on_stopped(sched->stopped_ctx);
}

static void refuse_queues(struct sched *sched, const char *text)
{
    struct pool *pool, *pool_next;

    HASH_ITER(hh, sched->pools, pool, pool_next)
    {
        while (pool->queued > 0)
            (void)sched_refuse(sched, dequeue(pool), NULL, text);
        pool_free_if_unused(pool);
    }
}

void sched_stop(struct sched *sched, void (*on_stopped)(void *ctx), void *ctx)
{
    struct env *env, *env_next;

    sched->stopping = true;
    sched->on_stopped = on_stopped;
    sched->stopped_ctx = ctx;
    refuse_queues(sched, "The server is stopping");
    HASH_ITER(hh, sched->envs, env, env_next)
    {
        if (life_has_invocation(env->state))
            env_lost(env); /* the launcher ends the process with the connection */
        else if (env->state != LIFE_STOPPING && env->state != LIFE_DEAD)
            env_evict(env);
    }
    templates_stop(sched);
    sched_flush_logs(sched);
    uv_close((uv_handle_t *)&sched->tick, on_handle_closed);
    uv_close((uv_handle_t *)&sched->flush, on_handle_closed);
    uv_close((uv_handle_t *)&sched->again, on_handle_closed);
    awake_close(&sched->awake, on_handle_closed, sched);
}

struct sched *sched_free(struct sched *sched)
{
    if (!sched)
        return NULL;
    pictures_drop_all(sched);
    sched->link = link_free(sched->link);
    if (sched->memory_usage_fd >= 0)
        (void)close(sched->memory_usage_fd);
    if (sched->memory_stat_fd >= 0)
        (void)close(sched->memory_stat_fd);
    free(sched);
    return NULL;
}

int sched_connect(struct sched *sched, int socket, struct err *err)
{
    struct env *env, *env_next;

    (void)err;
    sched->link = link_free(sched->link);
    sched->ready = false;
    HASH_ITER(hh, sched->envs, env, env_next)
    env_lost(env);
    templates_lost(sched);
    sched->link = link_new(sched, socket);
    return sched->link ? 0 : -1;
}

void sched_on_ready(struct sched *sched)
{
    struct pool *pool, *pool_next;

    sched->ready = true;
    HASH_ITER(hh, sched->pools, pool, pool_next)
    grow(pool, true);
    templates_on_ready(sched); /* after those for whom somebody waits */
}

const char *sched_interpreter(const struct sched *sched, const char *runtime)
{
    for (size_t i = 0; i < sched->interpreter_count; i++) {
        if (strcmp(sched->interpreters[i].id, runtime) == 0)
            return sched->interpreters[i].inside;
    }
    return "";
}

void sched_code_free(char **digests, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(digests[i]);
    free(digests);
}

char **sched_code_in_use(const struct sched *sched, size_t *ret_count)
{
    char **digests = calloc(HASH_COUNT(sched->pools) + 1u, sizeof *digests);
    size_t count = 0;

    for (const struct pool *pool = sched->pools; digests && pool; pool = pool->hh.next) {
        digests[count] = strdup(pool->version->code_sha256);
        if (!digests[count]) {
            sched_code_free(digests, count);
            return NULL;
        }
        count++;
    }
    *ret_count = count;
    return digests;
}
