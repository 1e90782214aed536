/*
 * What is different for an environment that is a clone: what it is cloned from, what it is told, and whether
 * it has begun to read that.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/id.h"
#include "base/log.h"
#include "base/text.h"
#include "model/function.h"
#include "runtime/runtime_api.h"
#include "sched/env_vars.h"
#include "sched/sched_priv.h"
#include "wire/wire.h"

void env_choose_template(struct env *env, bool ordinary)
{
    struct template_choice choice = { .token = "" };

    if (!ordinary)
        choice = templates_choose(env->sched, env->pool->version);
    env->template_id = choice.id;
    env->parked = choice.parked;
    env->restored = choice.of_version;
    if (choice.of_version)
        (void)snprintf(env->token, sizeof env->token, "%s", choice.token);
    else if (fn_version_has_template(env->pool->version))
        credentials_make_token(env->token);
}

/* Made ahead, not when the clone waits for it. Without memory for it the start is an ordinary one. */
void env_prepare_wake(struct env *env, const struct env_vars *vars)
{
    unsigned char seed[ENV_VARS_SEED_BYTES];
    bool provided = text_starts(env->pool->version->runtime, "provided");

    free(env->wake);
    env->wake = NULL;
    if (env->template_id == 0 || (env->restored && (provided || env->parked == RUNTIME_PARKED_IN_NEXT)))
        return;
    id_random(seed, sizeof seed);
    env->wake = env->restored ? env_vars_restore(env->stream, seed)
                              : env_vars_wake(vars, env->pool->version->handler, seed);
    if (!env->wake)
        env->template_id = 0;
}

void env_wake_clone(struct env *env, int *fds)
{
    bool to_wake = env->parked == RUNTIME_PARKED_TO_WAKE;
    int connection = fds[WIRE_FD_CONNECTION];

    env->peer_fd = fds[WIRE_FD_PEER];
    fds[WIRE_FD_CONNECTION] = fds[WIRE_FD_PEER] = -1;
    templates_cloned(env->sched, env->template_id);
    if (!env->api)
        (void)close(connection);
    else if (runtime_api_adopt_parked(env->api, connection, env->parked, to_wake ? env->wake : NULL) < 0)
        log_error("environment %s: the clone could not be woken; its INIT will time out", env->uuid);
}

bool env_is_untried(const struct env *env)
{
    return env->template_id && env->restored && env->parked == RUNTIME_PARKED_IN_NEXT && env->requests == 0;
}

/* The answer to the call in which a clone waits, and the right one. */
static bool is_given(const struct env *env, const char *bytes, size_t len)
{
    static const char status[] = "HTTP/1.1 200 OK\r\n";
    char id[128] = "";
    int id_len = 0;

    if (env->invocation)
        id_len = snprintf(id, sizeof id, "\r\nLambda-Runtime-Aws-Request-Id: %.64s\r\n",
                          env->invocation->request_id);
    return len >= sizeof status - 1 && memcmp(bytes, status, sizeof status - 1) == 0 &&
           memmem(bytes, len, id, (size_t)id_len);
}

/* Takes out of its connection what a clone was given and has not begun to read, so that it never will. False
 * when it has read something, or may have. */
static bool take_back(struct env *env)
{
    char bytes[8192];
    ssize_t n = recv(env->peer_fd, bytes, sizeof bytes, MSG_DONTWAIT);
    bool unread = n > 0 && is_given(env, bytes, (size_t)n);

    while (unread && n > 0)
        n = recv(env->peer_fd, bytes, sizeof bytes, MSG_DONTWAIT);
    (void)close(env->peer_fd);
    env->peer_fd = -1;
    return unread;
}

/* Only what a clone is given first can be taken back: an invocation, or what wakes it. */
bool env_has_not_begun(struct env *env)
{
    return (env->state == LIFE_INIT || env->state == LIFE_BUSY) && env->peer_fd >= 0 && take_back(env);
}
