/*
 * Drives one environment: feeds events into its life (life.h) and carries the actions out.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/id.h"
#include "base/log.h"
#include "base/text.h"
#include "logs/logs.h"
#include "model/function.h"
#include "runtime/runtime_api.h"
#include "sched/report.h"
#include "sched/sched_priv.h"
#include "wire/wire.h"

enum {
    START_TIMEOUT_MS = 30000,
    INIT_TIMEOUT_MS = 10000, /* lifecycle spec, section 1 */
    LOOP_CLOCK_MS = 1,       /* the loop's clock may be that much behind: a timeout never comes early */
    LOG_MAX_BYTES = 1 << 20,
    KEY_LIFE_MS = 12 * 3600 * 1000,
    KEY_SPARE_MS = 3600 * 1000, /* more than the longest invocation */
    /* A clone reads within a millisecond, on a busy machine within some hundred, what it is given. */
    UNREAD_MS = 5000,
};

static const struct fn_version *version_of(const struct env *env)
{
    return env->pool->version;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

/* ---- the runtime's side ---- */

static void on_runtime_next(void *ctx)
{
    struct env *env = ctx;

    /* It asks on another connection, and is given the invocation there. */
    if (env->state == LIFE_BUSY)
        close_fd(&env->peer_fd);
    env_step(env, LIFE_ON_NEXT);
}

/* A clone is told what is its own; an ordinary process has nothing to wait for. */
static void on_runtime_restore_next(void *ctx)
{
    struct env *env = ctx;

    if (runtime_api_restored(env->api, env->wake) < 0)
        log_error("environment %s: it could not be restored; that will time out", env->uuid);
    free(env->wake);
    env->wake = NULL;
}

static bool on_runtime_credentials(const char *token, size_t len, struct buf *out, void *ctx)
{
    const struct env *env = ctx;

    return credentials_answer(env->token, token, len, &env->key, env->replace_wall_ms + KEY_SPARE_MS, out);
}

static void answer(struct env *env, enum sched_outcome outcome, const char *status, const char *error_type,
                   const char *body, size_t len)
{
    struct invocation *invocation = env->invocation;
    struct sched_result result = {
        .outcome = outcome,
        .body = body,
        .body_len = len,
        .has_prelude = invocation->has_prelude,
        .executed_version = version_of(env)->version,
        .environment = env->reservation ? env->uuid : NULL,
    };

    invocation->outcome = outcome;
    invocation->status = status;
    (void)snprintf(invocation->error_type, sizeof invocation->error_type, "%s", error_type);
    if (invocation->want_log_tail) {
        invocation->held = BUF_INIT(len + 1);
        (void)buf_append(&invocation->held, body, len);
        return;
    }
    sched_answer(env->sched, invocation, &result);
}

static void answer_failure(struct env *env, const char *status)
{
    AUTO_BUF struct buf json = BUF_INIT(4096);

    failure_json(&env->failure, &json);
    answer(env, SCHED_FUNCTION_ERROR, status, env->failure.type, json.data ? json.data : "", json.len);
}

static void on_runtime_result(const struct runtime_result *result, void *ctx)
{
    struct env *env = ctx;

    close_fd(&env->peer_fd);
    if (env->state != LIFE_BUSY) {
        env_step(env, LIFE_ON_RESULT); /* too late: nobody waits any more */
        return;
    }
    if (env_is_untried(env))
        templates_clone_lives(env->sched, env->template_id);
    switch (result->outcome) {
    case RUNTIME_OK:
        env->invocation->has_prelude =
            text_equal_nocase(result->content_type, result->content_type_len,
                              "application/vnd.awslambda.http-integration-response");
        answer(env, SCHED_OK, "success", "", result->body, result->body_len);
        break;
    case RUNTIME_FAILED:
        answer(env, SCHED_FUNCTION_ERROR, "error", result->error_type, result->body, result->body_len);
        break;
    case RUNTIME_TOO_LARGE:
        failure_too_large(&env->failure);
        answer_failure(env, "error");
        break;
    case RUNTIME_TRUNCATED:
        failure_plain(&env->failure, "Runtime.TruncatedResponse", env->invocation->request_id,
                      "Response body was cut short");
        answer_failure(env, "error");
        break;
    case RUNTIME_BAD_MODE:
        answer(env, SCHED_FUNCTION_ERROR, "error", "Runtime.InvalidResponseModeHeader", "", 0);
        break;
    }
    env_step(env, LIFE_ON_RESULT);
}

static void on_runtime_init_error(const struct runtime_result *result, void *ctx)
{
    struct env *env = ctx;

    env->init_error = result;
    env_step(env, LIFE_ON_INIT_ERROR);
    env->init_error = NULL;
}

struct runtime_api_owner env_runtime_owner(struct env *env)
{
    bool has_template = fn_version_has_template(version_of(env));
    struct runtime_api_owner owner = {
        .on_next = on_runtime_next,
        .on_result = on_runtime_result,
        .on_init_error = on_runtime_init_error,
        .on_restore_next = has_template ? on_runtime_restore_next : NULL,
        .on_credentials = has_template ? on_runtime_credentials : NULL,
        .ctx = env,
    };

    env_cache_listen(env, &owner);
    return owner;
}

/* ---- actions ---- */

static void on_timer(uv_timer_t *timer);

static void arm(struct env *env, uint64_t ms)
{
    env->rest_ms = 0;
    (void)uv_timer_start(&env->timer, on_timer, ms, 0);
}

static void limit_cpu(struct env *env)
{
    env_send(env, WIRE_CPU, (uint64_t)version_of(env)->memory_mb * 1000 / FN_VCPU_MB);
}

static void on_timer(uv_timer_t *timer)
{
    struct env *env = timer->data;
    bool watched = env->peer_fd >= 0;

    if (env_has_not_begun(env)) {
        templates_clone_died(env->sched, env->template_id, NULL);
        env_step(env, LIFE_ON_UNREAD);
        return;
    }
    if (env->rest_ms > 0) {
        if (!watched)
            limit_cpu(env);
        arm(env, env->rest_ms);
        return;
    }
    env_step(env, env->state == LIFE_IDLE ? LIFE_ON_LINGER : LIFE_ON_TIMEOUT);
}

/* The invocation's time. An INIT inside it has all processors for as long as one outside, no longer. A clone
 * is looked at in between. */
static void arm_invoke(struct env *env)
{
    uint64_t whole = (uint64_t)version_of(env)->timeout_s * 1000 + LOOP_CLOCK_MS, first = whole;

    if (env->state == LIFE_RESTARTING)
        first = INIT_TIMEOUT_MS;
    else if (env->peer_fd >= 0)
        first = UNREAD_MS;
    arm(env, first < whole ? first : whole);
    env->rest_ms = first < whole ? whole - first : 0;
}

static uint64_t linger_ms(const struct env *env)
{
    const struct sched_config *config = &env->sched->config;
    uint64_t awake_ms = env_cache_linger_ms(env);

    if (awake_ms < config->freeze_after_ms)
        awake_ms = config->freeze_after_ms;
    return awake_ms < config->idle_timeout_ms ? awake_ms : config->idle_timeout_ms;
}

void env_cache_settled(struct env *env)
{
    if (env->state == LIFE_IDLE)
        arm(env, linger_ms(env));
}

static void arm_idle(struct env *env, bool down)
{
    uint64_t whole = env->sched->config.idle_timeout_ms;

    arm(env, down ? whole : whole - linger_ms(env));
}

static void close_process(struct env *env)
{
    env_cache_done(env);
    env_log_close(env);
    env->api = runtime_api_free(env->api);
    close_fd(&env->peer_fd);
    close_fd(&env->pidfd);
    close_fd(&env->memory_usage_fd);
    close_fd(&env->memory_stat_fd);
    close_fd(&env->memory_peak_fd);
}

static struct report report_of(struct env *env)
{
    const struct invocation *invocation = env->invocation;

    return (struct report){
        .version = version_of(env),
        .region = env->sched->config.region,
        .request_id = invocation->request_id,
        .wall_ms = clock_wall_ms(),
        .duration_us = clock_us() - invocation->begun_us,
        .init_us = env->init_us,
        .restore_us = env->restore_us,
        .max_memory_mb = (unsigned)((env->max_memory_bytes + (1 << 20) - 1) >> 20),
        .status = invocation->status ? invocation->status : "failure",
        .error_type = invocation->error_type,
        .trace_id = invocation->trace_id,
        .tenant_id = invocation->tenant_id,
    };
}

static void release_tail(struct env *env, struct invocation *invocation)
{
    enum { TAIL_BYTES = 4096 };
    size_t skip = env->tail.len > TAIL_BYTES ? env->tail.len - TAIL_BYTES : 0;
    struct sched_result result = {
        .outcome = invocation->outcome,
        .body = invocation->held.data ? invocation->held.data : "",
        .body_len = invocation->held.len,
        .has_prelude = invocation->has_prelude,
        .executed_version = version_of(env)->version,
        .environment = env->reservation ? env->uuid : NULL,
        .log_tail = env->tail.data ? env->tail.data + skip : "",
        .log_tail_len = env->tail.len - skip,
    };

    sched_answer(env->sched, invocation, &result);
}

/* crash_line: what ended it instead of the runtime's `next`, or NULL. */
static void complete(struct env *env, bool timed_out, const char *crash_line)
{
    struct invocation *invocation = env->invocation;
    struct report report;
    struct buf *log;
    size_t from;

    env_log_drain(env);
    env_log_end_line(env);
    memory_sample_env(env, env->requests < 2);
    env->requests++;
    log = env_log_platform(env);
    from = log->len;
    report = report_of(env);
    if (timed_out)
        report_timeout(&report, log);
    if (crash_line)
        report_crash(&report, crash_line, log);
    report_end(&report, log);
    env_log_written(env, from);
    env->init_us = env->restore_us = 0;
    env->invocation = NULL;
    sched_env_completed(env);
    if (!invocation->answered)
        release_tail(env, invocation);
    buf_done(&env->tail);
    (void)sched_invocation_free(invocation);
}

static void log_init_report(struct env *env, const char *phase, const char *status, const char *error_type)
{
    struct buf *log;
    size_t from;

    env_log_drain(env);
    env_log_end_line(env);
    log = env_log_platform(env);
    from = log->len;
    if (env->restored)
        report_restored(version_of(env), status, error_type, clock_us() - env->init_begun_us, clock_wall_ms(),
                        log);
    else
        report_init_failed(version_of(env), phase, status, error_type, clock_us() - env->init_begun_us,
                           clock_wall_ms(), log);
    env_log_written(env, from);
    env_log_flush(env);
}

static void exit_failure(struct env *env, const char *request_id)
{
    failure_exit(&env->failure, request_id, env->exited, text_starts(version_of(env)->runtime, "provided"),
                 env->has_wrapper);
    if (env->exited->out_of_memory)
        env->max_memory_bytes = (uint64_t)version_of(env)->memory_mb << 20;
}

/* The invocation cannot go on: answers the caller according to the event. before: the state in which it came.
 */
static void fail(struct env *env, enum life_state before, enum life_event event)
{
    const char *id = env->invocation->request_id;
    bool in_init = before == LIFE_REINIT;

    if (event == LIFE_ON_TIMEOUT) {
        if (env_is_untried(env))
            templates_clone_died(env->sched, env->template_id, NULL);
        failure_timeout(&env->failure, id, version_of(env)->timeout_s);
        if (in_init)
            log_init_report(env, "invoke", "timeout", "");
        answer_failure(env, "timeout");
        (void)snprintf(env->invocation->error_type, sizeof env->invocation->error_type, "Sandbox.Timedout");
        complete(env, true, NULL);
    } else if (event == LIFE_ON_EXITED) {
        exit_failure(env, id);
        if (env_is_untried(env) && !env->exited->out_of_memory)
            templates_clone_died(env->sched, env->template_id, env->exited);
        if (in_init)
            log_init_report(env, "invoke", "error", env->failure.type);
        answer_failure(env, "failure");
        complete(env, false, env->failure.message);
    } else if (event == LIFE_ON_INIT_ERROR) {
        log_init_report(env, "invoke", "error", env->init_error->error_type);
        answer(env, SCHED_FUNCTION_ERROR, "error", env->init_error->error_type, env->init_error->body,
               env->init_error->body_len);
        complete(env, false, NULL);
    } else {
        static const char text[] = "The execution environment was lost. Try again.";

        answer(env, SCHED_UNAVAILABLE, "failure", "Sandbox.Failure", text, sizeof text - 1);
        complete(env, false, NULL);
    }
}

/* After the result was posted: the caller has it, or gets it now with the log tail. */
static void complete_after_result(struct env *env, enum life_event event)
{
    if (!env->reservation)
        env->pool->responded--;
    if (event == LIFE_ON_EXITED) {
        exit_failure(env, env->invocation->request_id);
        env->invocation->status = "failure";
        (void)snprintf(env->invocation->error_type, sizeof env->invocation->error_type, "%s",
                       env->failure.type);
        complete(env, false, env->failure.message);
        return;
    }
    if (event == LIFE_ON_TIMEOUT)
        env->invocation->status = "timeout";
    complete(env, event == LIFE_ON_TIMEOUT, NULL);
}

/* Whoever waits for a reserved one is told when it is released. */
static void tell_start_failed(struct env *env)
{
    if (!env->reservation)
        sched_start_failed(env->pool, &env->failure, env->failed_reason);
}

static void init_failed(struct env *env, enum life_state before, enum life_event event)
{
    if (before == LIFE_STARTING) {
        if (event == LIFE_ON_TIMEOUT)
            failure_plain(&env->failure, "Sandbox.Failure", NULL, "The sandbox did not start in time");
        else if (event == LIFE_ON_LOST)
            failure_plain(&env->failure, "Sandbox.Failure", NULL, "The launcher was lost");
        sched_env_started(env);
        tell_start_failed(env);
        return;
    }
    env_cache_init_failed(env);
    if (event == LIFE_ON_TIMEOUT) {
        log_init_report(env, "init", "timeout", "");
    } else if (event == LIFE_ON_EXITED) {
        exit_failure(env, NULL);
        /* During INIT we end nothing ourselves. */
        if (env->template_id && env->exited->kind == WIRE_EXIT_SIGNAL && !env->exited->out_of_memory)
            templates_clone_died(env->sched, env->template_id, env->exited);
        log_init_report(env, "init", "error", env->failure.type);
    } else if (event == LIFE_ON_INIT_ERROR) {
        log_init_report(env, "init", "error", env->init_error->error_type);
    }
    sched_env_started(env);
    if (event == LIFE_ON_LOST) {
        failure_plain(&env->failure, "Sandbox.Failure", NULL, "The launcher was lost");
        env->failed_reason = WIRE_FAIL_SYSTEM;
        tell_start_failed(env);
    }
}

static void init_done(struct env *env)
{
    struct buf *log = env_log_platform(env);
    size_t from = log->len;
    uint64_t took_us = clock_us() - env->init_begun_us;

    if (env->restored) {
        env->restore_us = took_us;
        report_restored(version_of(env), "success", "", took_us, clock_wall_ms(), log);
    } else {
        env->init_us = took_us;
        report_init_done(version_of(env), took_us, clock_wall_ms(), log);
    }
    env_log_written(env, from);
    env->idle_since_us = clock_us();
    /* One that is only given its event has not shown anything yet. */
    if (env->template_id && !env_is_untried(env)) {
        close_fd(&env->peer_fd);
        templates_clone_lives(env->sched, env->template_id);
    }
    sched_env_started(env);
}

static void deliver(struct env *env)
{
    const struct invocation *invocation = env->invocation;
    struct runtime_event event = {
        .request_id = invocation->request_id,
        .deadline_wall_ms = invocation->deadline_wall_ms,
        .function_arn = invocation->invoked_arn,
        .trace_id = invocation->trace_id,
        .client_context = invocation->client_context,
        .tenant_id = invocation->tenant_id,
        .body = invocation->event,
    };

    if (runtime_api_deliver(env->api, &event) < 0)
        log_error("environment %s: the invocation could not be handed over; it will time out", env->uuid);
    sched_stay_awake(env->sched);
}

/* Nobody has seen anything of it. */
static void give_back(struct env *env, enum life_state before)
{
    struct invocation *invocation = env->invocation;

    log_info("environment %s of %s: a clone has not read what it was given; another process gets it",
             env->uuid, version_of(env)->function_name);
    env->invocation = NULL;
    buf_done(&env->tail);
    if (before == LIFE_INIT)
        sched_env_started(env);
    sched_give_back(env, invocation);
}

static void on_timer_closed(uv_handle_t *handle)
{
    sched_env_released(handle->data);
}

static void release(struct env *env)
{
    close_process(env);
    free(env->wake);
    if (env->has_key)
        credentials_revoke(env->sched->config.credentials, env->key.access_key);
    env->writer = log_writer_free(env->writer);
    list_remove(&env->dirty_node);
    uv_close((uv_handle_t *)&env->timer, on_timer_closed);
}

static void act_on_invocation(struct env *env, unsigned actions, enum life_state before,
                              enum life_event event)
{
    if (actions & LIFE_DO_INIT_DONE)
        init_done(env);
    if (actions & LIFE_DO_DELIVER)
        deliver(env);
    if ((actions & LIFE_DO_ANSWER) && !env->reservation)
        env->pool->responded++; /* on_runtime_result() has told the caller */
    if (actions & LIFE_DO_COMPLETE)
        complete_after_result(env, event);
    if (actions & LIFE_DO_FAIL)
        fail(env, before, event);
    if (actions & LIFE_DO_INIT_FAILED)
        init_failed(env, before, event);
    if (actions & LIFE_DO_GIVE_BACK)
        give_back(env, before);
}

static void act_on_timer(struct env *env, unsigned actions)
{
    if (actions & LIFE_DO_ARM_START)
        arm(env, START_TIMEOUT_MS);
    if (actions & LIFE_DO_ARM_INIT)
        arm(env, INIT_TIMEOUT_MS);
    if (actions & LIFE_DO_ARM_INVOKE)
        arm_invoke(env);
    if (actions & LIFE_DO_ARM_LINGER)
        arm(env, linger_ms(env));
    if (actions & LIFE_DO_ARM_IDLE)
        arm_idle(env, env->state == LIFE_DOWN);
}

static void start_unreachable(struct env *env)
{
    failure_plain(&env->failure, "Sandbox.Failure", NULL, "The launcher cannot be reached");
    env->failed_reason = WIRE_FAIL_SYSTEM;
    env_step(env, LIFE_ON_FAILED);
}

static bool is_ending(enum life_state state)
{
    return state == LIFE_STOPPING || state == LIFE_DEAD;
}

void env_step(struct env *env, enum life_event event)
{
    enum life_state before = env->state;
    bool unreachable = false;
    unsigned actions;

    if (!life_step(&env->state, event, &actions)) {
        log_warn("environment %s: %s is not expected while %s, ignored", env->uuid, life_event_name(event),
                 life_state_name(before));
        return;
    }
    if (is_ending(env->state) && !is_ending(before))
        tenants_count_end(env->pool);
    if (actions & LIFE_DO_STOP_TIMER)
        (void)uv_timer_stop(&env->timer);
    if (actions & LIFE_DO_THAW)
        env_send(env, WIRE_THAW, 0);
    if (actions & LIFE_DO_UNPOOL)
        sched_withdraw(env);
    if (actions & LIFE_DO_RESTART) {
        close_process(env);
        unreachable = env_send_start(env, WIRE_RESTART, true) < 0;
    }
    if (actions & LIFE_DO_START) {
        close_process(env);
        env->restore_us = 0;
        unreachable = env_send_start(env, WIRE_START, true) < 0;
    }
    if (actions & LIFE_DO_LIMIT_CPU)
        limit_cpu(env);
    act_on_invocation(env, actions, before, event);
    act_on_timer(env, actions);
    if (actions & LIFE_DO_STOP)
        env_send(env, WIRE_STOP, 0);
    if (actions & LIFE_DO_FREEZE) {
        env_log_drain(env);
        env_send(env, WIRE_FREEZE, 0);
    }
    /* Its connection stays until it is gone: who finds it closed dies with much ado, at the cost of others.
     */
    if (actions & LIFE_DO_KILL) {
        env_log_close(env);
        if (env->api)
            runtime_api_mute(env->api);
        env_send(env, WIRE_KILL, 0);
    }
    if (actions & LIFE_DO_RELEASE)
        release(env);
    if (actions & LIFE_DO_POOL) {
        env->idle_since_us = clock_us();
        sched_offer(env);
    }
    if (unreachable)
        start_unreachable(env);
}

void env_lost(struct env *env)
{
    if (env->state != LIFE_DEAD)
        env_step(env, LIFE_ON_LOST);
}

void env_evict(struct env *env)
{
    env_step(env, LIFE_ON_EVICT);
}

bool env_is_old(const struct env *env)
{
    return clock_wall_ms() >= env->replace_wall_ms;
}

void env_invoke(struct env *env, struct invocation *invocation)
{
    struct report report;
    struct buf *log;
    size_t from;

    env->invocation = invocation;
    invocation->begun_us = clock_us();
    invocation->deadline_wall_ms = clock_wall_ms() + (uint64_t)version_of(env)->timeout_s * 1000;
    env->tail = BUF_INIT(LOG_MAX_BYTES);
    log = env_log_platform(env);
    from = log->len;
    report = report_of(env);
    report_start(&report, log);
    env_log_written(env, from);
    env_step(env, LIFE_ON_INVOKE);
}

static int make_identity(struct env *env)
{
    const struct fn_version *version = version_of(env);
    const struct sched_config *config = &env->sched->config;
    char hex[33];
    unsigned char random[16];
    struct err err = { 0 };
    uint64_t now = clock_wall_ms();

    id_uuid(env->uuid);
    id_random(random, sizeof random);
    text_hex(random, sizeof random, hex);
    report_stream(version, now, hex, env->stream);
    if (credentials_issue(config->credentials, version->role, version->function_name, now + KEY_LIFE_MS,
                          &env->key, &err) < 0)
        return -ENOMEM;
    env->has_key = true;
    env->replace_wall_ms = now + KEY_LIFE_MS - KEY_SPARE_MS;
    env->writer = log_writer_new(config->logs, version->function_name, env->stream, &err);
    if (!env->writer)
        log_warn("function %s: no log: %s", version->function_name, err.text);
    return 0;
}

struct env *env_start(struct pool *pool, struct reservation *reservation)
{
    struct env *env = calloc(1, sizeof *env);
    bool ordinary = pool->ordinary > 0;

    if (!env)
        return NULL;
    pool->ordinary -= ordinary;
    env->sched = pool->sched;
    env->pool = pool;
    env->reservation = reservation;
    env->id = pool->sched->next_env_id++;
    env->state = LIFE_STARTING;
    env->log_fd = env->pidfd = env->memory_usage_fd = env->memory_stat_fd = env->memory_peak_fd = -1;
    env->peer_fd = -1;
    env->log = BUF_INIT(LOG_MAX_BYTES);
    env->tail = BUF_INIT(LOG_MAX_BYTES);
    env->created_us = env->idle_since_us = clock_us();
    list_init(&env->pool_node);
    list_init(&env->lru_node);
    list_init(&env->dirty_node);
    env->timer.data = env;
    if (make_identity(env) < 0 || uv_timer_init(pool->sched->config.loop, &env->timer) < 0) {
        free(env);
        return NULL;
    }
    HASH_ADD(hh, pool->sched->envs, id, sizeof env->id, env);
    env->estimate_bytes = memory_estimate(pool);
    pool->sched->starting_bytes += env->estimate_bytes;
    arm(env, START_TIMEOUT_MS);
    if (env_send_start(env, WIRE_START, ordinary) < 0)
        start_unreachable(env);
    return env;
}
