/*
 * What an environment asks of the launcher, and what the launcher says about it.
 */

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "model/function.h"
#include "runtime/runtime_api.h"
#include "sched/env_vars.h"
#include "sched/report.h"
#include "sched/sched_priv.h"
#include "wire/wire.h"

struct wire_start env_wire_start(const struct fn_version *version)
{
    return (struct wire_start){
        .uid_index = version->uid_index,
        .memory_mb = version->memory_mb,
        .tmp_mb = version->tmp_mb,
        .runtime = version->runtime,
        .code = version->code_sha256,
        .hostname = SANDBOX_HOSTNAME,
    };
}

void env_send(struct env *env, enum wire_type type, uint64_t number)
{
    struct wire_message message = { .type = type, .env_id = env->id, .number = number, .text = "" };

    if (env->sched->link)
        (void)link_send(env->sched->link, &message);
}

int env_send_start(struct env *env, enum wire_type type, bool ordinary)
{
    const struct fn_version *version = env->pool->version;
    struct env_vars_input input = {
        .version = version,
        .region = env->sched->config.region,
        .log_stream = env->stream,
        .access_key = env->key.access_key,
        .secret = env->key.secret,
        .token = env->key.token,
        .credentials_token = env->token,
        .interpreter = sched_interpreter(env->sched, version->runtime),
    };
    struct env_vars vars;
    struct wire_message message = { .type = type, .text = "" };
    int result;

    env_choose_template(env, ordinary);
    if (type == WIRE_START)
        env_cache_choose(env);
    input.code_cache = env_cache_instruction(env);
    result = env_vars_build(&input, &vars);
    if (result < 0)
        return result;
    env->has_wrapper = vars.has_wrapper;
    env_prepare_wake(env, &vars);
    message.start = env_wire_start(version);
    message.start.env_id = env->id;
    message.start.argv = (const char *const *)vars.argv;
    message.start.argc = (uint32_t)vars.argc;
    message.start.env = (const char *const *)vars.env;
    message.start.envc = (uint32_t)vars.count;
    message.start.flags = env->code_cache == CODE_CACHE_USE ? WIRE_START_CODE_CACHE : 0;
    message.start.template_id = env->template_id;
    message.env_id = env->id;
    result = env->sched->link ? link_send(env->sched->link, &message) : -ENOTCONN;
    env_vars_done(&vars);
    return result;
}

static void log_init_start(struct env *env)
{
    struct buf *log = env_log_platform(env);
    size_t from = log->len;

    if (env->restored)
        report_restore_start(env->pool->version, env->sched->config.region, clock_wall_ms(), log);
    else
        report_init_start(env->pool->version, env->sched->config.region,
                          env->state == LIFE_STARTING ? "init" : "invoke", clock_wall_ms(), log);
    env_log_written(env, from);
}

static void take_fds(struct env *env, uint64_t flags, int *fds, size_t fd_count)
{
    struct runtime_api_owner owner = env_runtime_owner(env);

    env->api = runtime_api_new(env->sched->config.loop, fds[WIRE_FD_LISTENER], &owner);
    fds[WIRE_FD_LISTENER] = -1;
    (void)env_log_open(env, fds[WIRE_FD_LOG]);
    fds[WIRE_FD_LOG] = -1;
    env->pidfd = fds[WIRE_FD_PIDFD];
    env->memory_usage_fd = fds[WIRE_FD_MEMORY_USAGE];
    env->memory_stat_fd = fds[WIRE_FD_MEMORY_STAT];
    fds[WIRE_FD_PIDFD] = fds[WIRE_FD_MEMORY_USAGE] = fds[WIRE_FD_MEMORY_STAT] = -1;
    if (fd_count > WIRE_FD_MEMORY_PEAK) {
        env->memory_peak_fd = fds[WIRE_FD_MEMORY_PEAK];
        fds[WIRE_FD_MEMORY_PEAK] = -1;
    }
    if ((flags & WIRE_PARKED) && fd_count > WIRE_FD_PEER && env->template_id)
        env_wake_clone(env, fds);
    /* What is restored is told when it asks. */
    if (!env->restored) {
        free(env->wake);
        env->wake = NULL;
    }
}

static void on_started(struct env *env, uint64_t flags, int *fds, size_t fd_count)
{
    if (env->state != LIFE_STARTING && env->state != LIFE_RESTARTING) {
        env_step(env, LIFE_ON_STARTED);
        return;
    }
    if (fd_count < WIRE_FD_MEMORY_PEAK) {
        failure_plain(&env->failure, "Sandbox.Failure", NULL, "The launcher sent too few descriptors");
        env_step(env, LIFE_ON_FAILED);
        return;
    }
    env->init_begun_us = clock_us();
    if (!(flags & WIRE_PARKED)) {
        env->template_id = 0; /* the launcher made an ordinary one */
        env->restored = false;
    }
    log_init_start(env);
    take_fds(env, flags, fds, fd_count);
    env_step(env, LIFE_ON_STARTED);
}

/* The launcher has given up a clone of which STARTED was said. It may have come to life all the same, at the
 * last moment: only an event that it has not begun to read is given to another process. */
static void no_clone(struct env *env)
{
    if (env->state != LIFE_BUSY)
        env_step(env, LIFE_ON_NO_CLONE);
    else
        env_step(env, env_has_not_begun(env) ? LIFE_ON_UNREAD : LIFE_ON_FAILED);
}

static void on_failed(struct env *env, const struct wire_message *message)
{
    if (message->number == WIRE_FAIL_TEMPLATE && env->template_id) {
        templates_clone_refused(env->sched, env->template_id, env->api != NULL, message->text);
        no_clone(env);
        return;
    }
    failure_plain(&env->failure, "Sandbox.Failure", NULL, message->text);
    env->failed_reason = (uint32_t)message->number;
    log_warn("environment %s of %s: %s", env->uuid, env->pool->version->function_name, message->text);
    env_step(env, LIFE_ON_FAILED);
}

static void on_exited(struct env *env, const struct wire_exited *exited)
{
    bool waits = env->state == LIFE_IDLE || env->state == LIFE_FROZEN;
    bool untried = waits && env_is_untried(env) && !exited->out_of_memory;
    bool unread = env_has_not_begun(env);

    env->exited = exited;
    if (unread || untried)
        templates_clone_died(env->sched, env->template_id, exited);
    env_step(env, unread ? LIFE_ON_UNREAD : LIFE_ON_EXITED);
    env->exited = NULL;
}

void env_on_wire(struct env *env, const struct wire_message *message, int *fds, size_t fd_count)
{
    switch (message->type) {
    case WIRE_STARTED:
        on_started(env, message->number, fds, fd_count);
        break;
    case WIRE_FAILED:
        on_failed(env, message);
        break;
    case WIRE_EXITED:
        on_exited(env, &message->exited);
        break;
    case WIRE_GONE:
        env_step(env, LIFE_ON_GONE);
        break;
    case WIRE_INSPECTED:
        reserved_on_inspected(env, message, fds, fd_count);
        break;
    case WIRE_START:
    case WIRE_RESTART:
    case WIRE_FREEZE:
    case WIRE_THAW:
    case WIRE_CPU:
    case WIRE_KILL:
    case WIRE_STOP:
    case WIRE_CAPTURE:
    case WIRE_INSPECT:
    case WIRE_READY:
    case WIRE_CAPTURED:
    case WIRE_TYPE_END:
        break;
    }
}
