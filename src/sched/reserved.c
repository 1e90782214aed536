/*
 * Environments that serve one caller only, who names them by uuid and may look into them: for the leak
 * report. They are in no idle list, so nobody else gets one, and neither want of memory nor clean state ends
 * it.
 */

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "model/function.h"
#include "sched/sched_priv.h"
#include "wire/wire.h"

_Static_assert((int)SCHED_MAX_VALUES == (int)WIRE_MAX_VALUES && (int)SCHED_MIN_VALUE == (int)WIRE_MIN_VALUE &&
                   (int)SCHED_MAX_VALUE == (int)WIRE_MAX_VALUE,
               "what the door lets in can be sent");

enum { RESERVED_MAX = 16, INSPECTION_MAX_BYTES = 2 << 20 };

struct reservation {
    struct invocation *waiting; /* for its start; NULL once it has it */
    bool ended;                 /* goes as soon as it can */
    bool again;                 /* it has done nothing: another one is started for who waits */
    sched_inspected_fn inspected;
    void *inspected_ctx;
};

static struct env *find(const struct sched *sched, const char *uuid)
{
    struct env *env = sched->envs;

    while (env && (!env->reservation || strcmp(env->uuid, uuid) != 0))
        env = env->hh.next;
    return env;
}

static unsigned count(const struct sched *sched)
{
    unsigned number = 0;

    for (const struct env *env = sched->envs; env; env = env->hh.next)
        number += env->reservation != NULL;
    return number;
}

static bool can_take(const struct env *env)
{
    return env->state == LIFE_IDLE || env->state == LIFE_FROZEN || env->state == LIFE_DOWN;
}

static void refuse(struct sched *sched, struct invocation *invocation, const char *text)
{
    struct sched_result result = {
        .outcome = SCHED_NO_ENVIRONMENT, .body = text, .body_len = strlen(text), .executed_version = ""
    };

    sched_answer(sched, invocation, &result);
    (void)sched_invocation_free(invocation);
}

void reserved_start(struct pool *pool, struct invocation *invocation)
{
    struct sched *sched = pool->sched;
    struct reservation *reservation;

    if (!sched_ready(sched)) {
        (void)sched_refuse(sched, invocation, NULL, "The server is starting");
        return;
    }
    if (count(sched) >= RESERVED_MAX || !tenants_admit(pool) || memory_admit(pool) != MEMORY_ROOM) {
        (void)sched_refuse(sched, invocation, "ConcurrentInvocationLimitExceeded",
                           "No room for a reserved environment");
        return;
    }
    reservation = calloc(1, sizeof *reservation);
    pool->reserved++;
    sched->starting++;
    tenants_count_start(pool);
    if (reservation)
        reservation->waiting = invocation;
    if (reservation && env_start(pool, reservation))
        return;
    pool->reserved--;
    sched->starting--;
    tenants_count_end(pool);
    free(reservation);
    (void)sched_refuse(sched, invocation, NULL, "Out of memory");
}

void reserved_give(struct sched *sched, const char *uuid, struct invocation *invocation)
{
    struct env *env = find(sched, uuid);

    if (!env || strcmp(env->pool->version->function_name, invocation->version->function_name) != 0 ||
        strcmp(env->pool->tenant_id, invocation->tenant_id) != 0 || !env->pool->current ||
        env->reservation->ended)
        refuse(sched, invocation, "This function has no such environment, or it has ended");
    else if (!can_take(env))
        refuse(sched, invocation, "The environment is busy");
    else
        env_invoke(env, invocation);
}

void reserved_offer(struct env *env)
{
    struct reservation *reservation = env->reservation;
    struct invocation *waiting = reservation->waiting;

    reservation->waiting = NULL;
    if (waiting)
        env_invoke(env, waiting);
    else if (reservation->ended || !env->pool->current || env->sched->stopping || env_is_old(env))
        env_evict(env);
}

void reserved_give_back(struct env *env, struct invocation *invocation)
{
    env->reservation->again = true;
    if (invocation)
        env->reservation->waiting = invocation;
}

/* As for all others, an idle environment gives way when there is no slot. */
static void refuse_waiting(struct env *env, struct invocation *waiting)
{
    struct sched *sched = env->sched;
    bool no_slot = env->failed_reason == WIRE_FAIL_NO_SLOT;

    if (no_slot && !sched->stopping && !list_empty(&sched->lru)) {
        env_evict(list_entry(sched->lru.next, struct env, lru_node));
        reserved_start(env->pool, waiting);
        return;
    }
    if (env->reservation->again && !sched->stopping) {
        env->pool->ordinary++;
        reserved_start(env->pool, waiting);
        return;
    }
    (void)sched_refuse(sched, waiting, no_slot ? "ConcurrentInvocationLimitExceeded" : NULL,
                       *env->failure.message ? env->failure.message : "The environment has ended");
}

static void tell(struct env *env, const char *json, const char *failure)
{
    struct reservation *reservation = env->reservation;
    sched_inspected_fn inspected = reservation->inspected;

    reservation->inspected = NULL;
    if (inspected)
        inspected(env->stream, json, failure, reservation->inspected_ctx);
}

void reserved_released(struct env *env)
{
    struct reservation *reservation = env->reservation;

    env->pool->reserved--;
    tell(env, NULL, "The environment has ended");
    if (reservation->waiting)
        refuse_waiting(env, reservation->waiting);
    free(reservation);
    env->reservation = NULL;
}

static void end(struct env *env)
{
    env->reservation->ended = true;
    if (can_take(env))
        env_evict(env);
}

void reserved_evict_idle(struct pool *pool)
{
    struct env *env, *next;

    HASH_ITER(hh, pool->sched->envs, env, next)
    {
        if (env->pool == pool && env->reservation)
            end(env);
    }
}

bool sched_end_reserved(struct sched *sched, const char *uuid)
{
    struct env *env = find(sched, uuid);

    if (!env || env->reservation->ended)
        return false;
    end(env);
    return true;
}

/* ---- looking into them ---- */

bool sched_inspect(struct sched *sched, const char *uuid, const char *const *values, size_t value_count,
                   sched_inspected_fn done, void *ctx)
{
    struct env *env = find(sched, uuid);
    struct wire_message message = {
        .type = WIRE_INSPECT, .text = "", .values = values, .value_count = (uint32_t)value_count
    };

    if (!env || env->reservation->ended || env->reservation->inspected || value_count > SCHED_MAX_VALUES)
        return false;
    message.env_id = env->id;
    env->reservation->inspected = done;
    env->reservation->inspected_ctx = ctx;
    env_log_drain(env);
    env_log_end_line(env);
    env_log_flush(env);
    if (!sched->link || link_send(sched->link, &message) < 0)
        tell(env, NULL, "The launcher cannot be asked");
    return true;
}

/* From the launcher's file; NULL when it is not as it should be. For the caller to free. */
static char *read_json(int fd)
{
    struct stat status;
    char *text;
    ssize_t got;

    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size < 1 ||
        status.st_size > INSPECTION_MAX_BYTES)
        return NULL;
    text = malloc((size_t)status.st_size + 1);
    got = text ? pread(fd, text, (size_t)status.st_size, 0) : -1;
    if (got != status.st_size || !json_valid(text, (size_t)got, NULL)) {
        free(text);
        return NULL;
    }
    text[got] = '\0';
    return text;
}

void reserved_on_inspected(struct env *env, const struct wire_message *message, int *fds, size_t fd_count)
{
    char *json;

    if (!env->reservation)
        return;
    json = message->number == 0 && fd_count > 0 ? read_json(fds[0]) : NULL;
    tell(env, json, *message->text ? message->text : "The launcher's answer cannot be read");
    free(json);
}
