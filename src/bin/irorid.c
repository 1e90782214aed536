/*
 * irorid: front door, control API, scheduling and state, without privileges.
 *
 * Started by `irori serve` as root with descriptors 3 (control), 4 (listener) and 5 (data folder); it opens
 * what needs root, gives root up for good, and only then reads its first byte from anybody.
 */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <malloc.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include <cjson/cJSON.h>

#include "api/api.h"
#include "auth/credentials.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "bin/control.h"
#include "code/cache.h"
#include "door/door.h"
#include "logs/logs.h"
#include "model/function.h"
#include "sched/sched.h"

enum {
    CONTROL_FD = 3,
    LISTENER_FD = 4,
    DATA_FD = 5,
    LOG_SEGMENT_BYTES = 8 << 20,
    DRAIN_MS = 5000,                   /* of a stop: for requests under way */
    BIG_ALLOCATION_BYTES = 256 * 1024, /* from there on memory goes straight back */
    RUNTIMES_MAX = 32,
};

struct daemon_options {
    uint64_t uid, gid, owner_uid, owner_gid, port;
    uint64_t idle_timeout_ms, freeze_after_ms, busy_poll_us, max_memory_mb, account_concurrency, log_max_mb,
        log_deleted, templates, template_idle_ms, code_cache_max_mb;
    const char *region, *account_id;
    bool no_auth, debug;
};

struct runtime_ids {
    struct runtime_ids *before;
    const char *ids[RUNTIMES_MAX + 1]; /* owned, NULL-terminated */
};

struct daemon_state {
    uv_loop_t loop;
    struct daemon_options options;
    struct credentials *credentials;
    struct logs *logs;
    struct api *api;
    struct api_config api_config;
    struct code_cache *code_cache;
    struct sched *sched;
    struct door *door;
    int code_fd, logs_fd;
    char endpoint[64];
    uv_poll_t control;
    uv_signal_t terminate;
    uv_timer_t drain;
    bool stopping, door_closed, sched_stopped;
    /* Read by workers: replaced whole; those before are kept, because a worker may still read one. */
    struct runtime_ids *_Atomic runtimes;
};

/* ---- options ---- */

struct option {
    const char *name;
    uint64_t *number;
    const char **text;
    bool *flag;
};

static bool read_option(const struct option *option, const char *value)
{
    if (option->flag) {
        *option->flag = true;
        return !value;
    }
    if (!value)
        return false;
    if (option->text) {
        *option->text = value;
        return true;
    }
    return text_to_u64(value, strlen(value), UINT64_MAX, option->number);
}

static bool read_options(int argc, char **argv, struct daemon_options *o)
{
    const struct option options[] = {
        { .name = "uid", .number = &o->uid },
        { .name = "gid", .number = &o->gid },
        { .name = "owner-uid", .number = &o->owner_uid },
        { .name = "owner-gid", .number = &o->owner_gid },
        { .name = "port", .number = &o->port },
        { .name = "idle-timeout-ms", .number = &o->idle_timeout_ms },
        { .name = "busy-poll-us", .number = &o->busy_poll_us },
        { .name = "freeze-after-ms", .number = &o->freeze_after_ms },
        { .name = "max-memory-mb", .number = &o->max_memory_mb },
        { .name = "account-concurrency", .number = &o->account_concurrency },
        { .name = "log-deleted", .number = &o->log_deleted },
        { .name = "log-max-mb", .number = &o->log_max_mb },
        { .name = "code-cache-max-mb", .number = &o->code_cache_max_mb },
        { .name = "templates", .number = &o->templates },
        { .name = "template-idle-ms", .number = &o->template_idle_ms },
        { .name = "region", .text = &o->region },
        { .name = "account-id", .text = &o->account_id },
        { .name = "no-auth", .flag = &o->no_auth },
        { .name = "debug", .flag = &o->debug },
    };

    for (int i = 1; i < argc; i++) {
        const char *equal = strchr(argv[i], '=');
        size_t len = equal ? (size_t)(equal - argv[i]) : strlen(argv[i]);
        bool taken = false;

        for (size_t k = 0; k < sizeof options / sizeof *options && !taken; k++) {
            if (len == strlen(options[k].name) + 2 && strncmp(argv[i] + 2, options[k].name, len - 2) == 0)
                taken = read_option(&options[k], equal ? equal + 1 : NULL);
        }
        if (!taken)
            return false;
    }
    return o->region && o->account_id && o->uid != 0;
}

/* ---- privileges ---- */

static int drop_privileges(const struct daemon_options *options, struct err *err)
{
    struct rlimit files = { 1 << 20, 1 << 20 };

    if (setrlimit(RLIMIT_NOFILE, &files) < 0) {
        (void)getrlimit(RLIMIT_NOFILE, &files);
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    if (setgroups(0, NULL) < 0 ||
        setresgid((gid_t)options->gid, (gid_t)options->gid, (gid_t)options->gid) < 0 ||
        setresuid((uid_t)options->uid, (uid_t)options->uid, (uid_t)options->uid) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_set(err, ERR_SYSTEM, errno, "cannot give up root");
    /* Changing the user has cleared it. */
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    return 0;
}

/* ---- runtimes, for the control API ---- */

static const char *const *known_runtimes(void *ctx)
{
    const struct daemon_state *state = ctx;

    struct runtime_ids *runtimes = state->runtimes;

    return runtimes ? runtimes->ids : NULL;
}

static void on_machine(const char *json, void *ctx)
{
    struct daemon_state *state = ctx;
    cJSON *machine = cJSON_Parse(json), *runtime;
    struct runtime_ids *ids = calloc(1, sizeof *ids);
    size_t count = 0;

    cJSON_ArrayForEach(runtime, cJSON_GetObjectItemCaseSensitive(machine, "runtimes"))
    {
        const char *id = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(runtime, "id"));

        if (ids && id && count < RUNTIMES_MAX)
            ids->ids[count++] = strdup(id);
    }
    cJSON_Delete(machine);
    if (ids) {
        ids->before = state->runtimes;
        state->runtimes = ids;
    }
    door_set_machine(state->door, json);
    log_info("ready: %zu runtimes", count);
}

static void on_snapshot_tried(const struct fn_version *version, const char *failure, void *ctx)
{
    struct daemon_state *state = ctx;

    if (state->door)
        door_snapshot_tried(state->door, version, failure);
}

/* ---- stopping ---- */

static void check_stopped(struct daemon_state *state)
{
    if (state->door_closed && state->sched_stopped)
        uv_stop(&state->loop);
}

static void on_door_closed(void *ctx)
{
    struct daemon_state *state = ctx;

    state->door_closed = true;
    check_stopped(state);
}

static void on_sched_stopped(void *ctx)
{
    struct daemon_state *state = ctx;

    state->sched_stopped = true;
    check_stopped(state);
}

static void on_drain_over(uv_timer_t *timer)
{
    (void)timer;
    log_warn("environments did not end in time; the launcher ends them");
    uv_stop(timer->loop);
}

static void stop(struct daemon_state *state)
{
    if (state->stopping)
        return;
    state->stopping = true;
    log_info("stopping");
    sched_stop(state->sched, on_sched_stopped, state);
    door_close(state->door, on_door_closed, state);
    (void)uv_timer_start(&state->drain, on_drain_over, DRAIN_MS, 0);
}

static void on_terminate(uv_signal_t *handle, int number)
{
    (void)number;
    stop(handle->data);
}

static void on_control(uv_poll_t *poll, int status, int events)
{
    struct daemon_state *state = poll->data;
    struct err err = { 0 };
    int launcher = -1, result = status < 0 ? 1 : control_receive_launcher(CONTROL_FD, &launcher);

    (void)events;
    if (result == -EAGAIN || result == -EINTR)
        return;
    if (result != 0) {
        (void)uv_poll_stop(poll);
        stop(state); /* `irori serve` is gone */
    } else if (sched_connect(state->sched, launcher, &err) < 0) {
        log_error("launcher: %s", err.text);
    }
}

/* ---- start ---- */

static void put_function(struct function *function, void *ctx)
{
    struct daemon_state *state = ctx;

    sched_put_function(state->sched, function);
}

static int open_folders(struct daemon_state *state, struct err *err)
{
    state->code_fd = openat(DATA_FD, "code", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    state->logs_fd = openat(DATA_FD, "logs", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (state->code_fd < 0 || state->logs_fd < 0)
        return err_set(err, ERR_SYSTEM, errno, "data folder");
    return 0;
}

static int open_state(struct daemon_state *state, struct err *err)
{
    const struct daemon_options *o = &state->options;

    (void)snprintf(state->endpoint, sizeof state->endpoint, "http://127.0.0.1:%llu",
                   (unsigned long long)o->port);
    state->api_config = (struct api_config){
        .region = o->region,
        .account = o->account_id,
        .endpoint = state->endpoint,
        .scheme = "http",
        .port = (unsigned)o->port,
        .account_concurrency = (unsigned)o->account_concurrency,
        .data_fd = DATA_FD,
        .code_fd = state->code_fd,
        .credentials = state->credentials,
        .runtimes = known_runtimes,
        .runtimes_ctx = state,
    };
    if (api_open(&state->api_config, &state->api, err) < 0)
        return -EINVAL;
    state->logs = logs_new(state->logs_fd, LOG_SEGMENT_BYTES, o->log_max_mb << 20);
    if (!state->logs)
        return err_set(err, ERR_SYSTEM, ENOMEM, "logs");
    return code_cache_open(DATA_FD, o->code_cache_max_mb << 20, &state->code_cache, err);
}

static int open_services(struct daemon_state *state, struct err *err)
{
    const struct daemon_options *o = &state->options;
    struct sched_config sched = {
        .loop = &state->loop,
        .region = o->region,
        .account = o->account_id,
        .credentials = state->credentials,
        .logs = state->logs,
        .idle_timeout_ms = o->idle_timeout_ms,
        .freeze_after_ms = o->freeze_after_ms,
        .busy_poll_us = o->busy_poll_us,
        .logs_of_deleted = o->log_deleted,
        .templates = o->templates != 0,
        .template_idle_ms = o->template_idle_ms,
        .code_cache = state->code_cache,
        .max_memory_bytes = o->max_memory_mb << 20,
        .account_concurrency = (unsigned)o->account_concurrency,
        .on_ready = on_machine,
        .on_snapshot_tried = on_snapshot_tried,
        .ctx = state,
    };
    struct door_config door = {
        .loop = &state->loop,
        .api = state->api,
        .api_config = &state->api_config,
        .credentials = state->credentials,
        .logs_fd = state->logs_fd,
        .no_auth = o->no_auth,
    };

    state->sched = sched_new(&sched);
    if (!state->sched)
        return err_set(err, ERR_SYSTEM, ENOMEM, "scheduler");
    if (api_each(state->api, put_function, state, err) < 0)
        return err_wrap(err, "functions");
    door.sched = state->sched;
    state->door = door_new(&door, LISTENER_FD, err);
    return state->door ? 0 : -EINVAL;
}

static int watch(struct daemon_state *state, struct err *err)
{
    int result = uv_poll_init(&state->loop, &state->control, CONTROL_FD);

    if (result == 0)
        result = uv_signal_init(&state->loop, &state->terminate);
    if (result == 0)
        result = uv_timer_init(&state->loop, &state->drain);
    state->control.data = state->terminate.data = state->drain.data = state;
    if (result == 0)
        result = uv_poll_start(&state->control, UV_READABLE, on_control);
    if (result == 0)
        result = uv_signal_start(&state->terminate, on_terminate, SIGTERM);
    return result == 0 ? 0 : err_set(err, ERR_SYSTEM, -result, "event loop");
}

static int start(struct daemon_state *state, struct err *err)
{
    const struct daemon_options *o = &state->options;

    if (credentials_open(DATA_FD, "credentials", o->account_id, o->region, (unsigned)o->owner_uid,
                         (unsigned)o->owner_gid, &state->credentials, err) < 0 ||
        drop_privileges(o, err) < 0 || open_folders(state, err) < 0 || open_state(state, err) < 0)
        return -EINVAL;
    if (uv_loop_init(&state->loop) < 0)
        return err_set(err, ERR_SYSTEM, ENOMEM, "event loop");
    if (open_services(state, err) < 0)
        return -EINVAL;
    return watch(state, err);
}

int main(int argc, char **argv)
{
    static struct daemon_state state;
    struct err err = { 0 };

    (void)signal(SIGPIPE, SIG_IGN);
    (void)mallopt(M_MMAP_THRESHOLD, BIG_ALLOCATION_BYTES);
    (void)mallopt(M_ARENA_MAX, 2);
    for (int fd = CONTROL_FD; fd <= DATA_FD; fd++)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    if (!read_options(argc, argv, &state.options)) {
        (void)fprintf(stderr, "irorid is started by `irori serve`, not by hand\n");
        return CONTROL_EXIT_CONFIG;
    }
    log_init("irorid", state.options.debug ? LOG_DEBUG : LOG_INFO);
    if (start(&state, &err) < 0) {
        log_error("%s", err.text);
        return CONTROL_EXIT_CONFIG;
    }
    (void)uv_run(&state.loop, UV_RUN_DEFAULT);
    /* A worker may still be at a request of the control API, and an exit would wait for it. */
    if (!state.door_closed)
        _exit(EXIT_SUCCESS);
    state.door = door_free(state.door);
    state.sched = state.sched_stopped ? sched_free(state.sched) : state.sched;
    state.api = api_free(state.api);
    state.code_cache = code_cache_free(state.code_cache);
    return EXIT_SUCCESS;
}
