/*
 * Drives one template: feeds events into its life (template_life.h) and carries the actions out.
 *
 * Nothing here ever fails a start: without a template it is an ordinary one.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/credentials.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/id.h"
#include "base/log.h"
#include "base/text.h"
#include "logs/logs.h"
#include "model/function.h"
#include "runtime/runtime_api.h"
#include "sched/env_vars.h"
#include "sched/report.h"
#include "sched/sched_priv.h"
#include "wire/wire.h"

enum {
    STEP_MS = 10000, /* of each step until it is ready */
    WATCH_MS = 100, /* from asking for a clone on: it is made by then, and what notices that it is another has
                       done so */
    INIT_MS = 130000,
    CREDENTIALS_MS = 60000,
    KEY_LIFE_MS = 12 * 3600 * 1000,
    MEMORY_MB = 1024,
    TMP_MB = 512,
};

static const uint64_t pauses_ms[] = { 1000, 10000, 60000, 600000 };

static void step(struct template *template, enum template_event event);

static bool can_be_made(const struct template *template)
{
    return text_starts(template->runtime, "provided") ||
           *sched_interpreter(template->sched, template->runtime);
}

void template_reconsider(struct template *template)
{
    struct sched *sched = template->sched;

    if (template->version && template->users == 0) {
        if (!template_has_process(template->state))
            step(template, TEMPLATE_ON_STOP);
        return;
    }
    if (template->state != TEMPLATE_NONE || template->users == 0 || !sched_ready(sched) || sched->stopping)
        return;
    if (!template->wanted)
        return;
    if (can_be_made(template) && memory_has_room_for_template(sched)) {
        step(template, TEMPLATE_ON_WANT);
        return;
    }
    template->wanted = false;
    template_tell_tried(template, NULL);
}

void template_set_text(char *to, size_t size, const char *text, size_t len)
{
    (void)snprintf(to, size, "%.*s", (int)(len < size ? len : size - 1), text);
    for (char *at = to; *at; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = ' ';
    }
}

void template_set_why(struct template *template, const char *text)
{
    template_set_text(template->why, sizeof template->why, text, strlen(text));
}

void template_tell_tried(struct template *template, const char *failure)
{
    const struct sched_config *config = &template->sched->config;

    if (!template->version)
        return;
    template->tried = true;
    if (template->version->snapshot_pending && config->on_snapshot_tried)
        config->on_snapshot_tried(template->version, failure, config->ctx);
}

/* ---- what the function's log tells of its INIT ---- */

static void log_init_start(struct template *template)
{
    struct buf lines = BUF_INIT(4096);

    report_init_start(template->version, template->sched->config.region, "init", clock_wall_ms(), &lines);
    template_log_append(template, &lines);
    buf_done(&lines);
}

static void log_init_failed(struct template *template, const char *status, const char *error_type)
{
    struct buf lines = BUF_INIT(4096);

    report_init_failed(template->version, "init", status, error_type, clock_us() - template->begun_us,
                       clock_wall_ms(), &lines);
    template_log_append(template, &lines);
    buf_done(&lines);
}

/* ---- the runtime's side ---- */

static void on_runtime_next(void *ctx)
{
    struct template *template = ctx;

    if (template->state == TEMPLATE_LOADING)
        template->parked = template->version ? RUNTIME_PARKED_IN_NEXT : RUNTIME_PARKED_TO_WAKE;
    step(template, TEMPLATE_ON_NEXT);
}

static void on_runtime_restore_next(void *ctx)
{
    struct template *template = ctx;

    if (template->state == TEMPLATE_LOADING)
        template->parked = RUNTIME_PARKED_IN_RESTORE;
    step(template, TEMPLATE_ON_NEXT);
}

/* Short, so that a client which keeps them asks anew in every clone. */
static bool on_runtime_credentials(const char *token, size_t len, struct buf *out, void *ctx)
{
    const struct template *template = ctx;

    return credentials_answer(template->token, token, len, &template->credentials,
                              clock_wall_ms() + CREDENTIALS_MS, out);
}

static void on_runtime_result(const struct runtime_result *result, void *ctx)
{
    (void)result; /* it is never given an invocation */
    (void)ctx;
}

static void on_runtime_init_error(const struct runtime_result *result, void *ctx)
{
    struct template *template = ctx;

    template_set_text(template->why, sizeof template->why, result->body, result->body_len);
    if (template->version && template->state == TEMPLATE_LOADING)
        log_init_failed(template, "error", result->error_type);
    template->by_function = true;
    step(template, TEMPLATE_ON_BROKEN);
}

/* ---- actions ---- */

static void on_timer(uv_timer_t *timer)
{
    struct template *template = timer->data;

    if (template->state == TEMPLATE_STARTING)
        template_set_why(template, "it did not start in time");
    else if (template->state == TEMPLATE_LOADING) {
        template_set_why(template, "it did not ask for work in time");
        template->by_function = true;
        if (template->version)
            log_init_failed(template, "timeout", "");
    } else if (template->state == TEMPLATE_CAPTURING)
        template_set_why(template, "it was not captured in time");
    else if (template->state == TEMPLATE_PROVING)
        template_set_why(template, "its first clone was not made in time");
    step(template, TEMPLATE_ON_TIMEOUT);
}

static void arm(struct template *template, uint64_t ms)
{
    (void)uv_timer_start(&template->timer, on_timer, ms, 0);
}

/* The process of a version may take as long as INIT with SnapStart: lifecycle spec, section 1. */
static uint64_t step_ms(const struct template *template)
{
    uint64_t timeout_ms;

    if (!template->version || template->state != TEMPLATE_LOADING)
        return STEP_MS;
    timeout_ms = (uint64_t) template->version->timeout_s * 1000;
    return timeout_ms > INIT_MS ? timeout_ms : INIT_MS;
}

static uint64_t pause_ms(const struct template *template)
{
    size_t last = sizeof pauses_ms / sizeof *pauses_ms - 1;
    size_t at = template->failures > 0 ? template->failures - 1 : 0;

    return pauses_ms[at < last ? at : last];
}

static void report(struct template *template)
{
    bool again = strcmp(template->reported, template->why) == 0;
    enum log_level level = again ? LOG_DEBUG : LOG_WARN;

    template->failures++;
    template->failed++;
    (void)snprintf(template->reason, sizeof template->reason, "%s", template->why);
    (void)snprintf(template->reported, sizeof template->reported, "%s", template->why);
    if (template->version) {
        /* Each try is an INIT with its effects: not again before somebody calls. */
        template->wanted = false;
        log_line(level, "template of %s: %s; starts are ordinary", template->name, template->why);
    } else {
        log_line(level, "template of %s: %s; starts are ordinary, the next try is in %llu s", template->name,
                 template->why, (unsigned long long)(pause_ms(template) / 1000));
        template_log_repeat(template, level);
    }
    template->init_failed = template->by_function;
    template_tell_tried(template, template->init_failed ? template->reason : NULL);
    template->by_function = false;
}

static void send_simple(struct template *template, enum wire_type type)
{
    struct wire_message message = { .type = type, .env_id = template->id, .text = "" };

    if (template->sched->link)
        (void)link_send(template->sched->link, &message);
}

/* Variables and arguments of a version's template; makes its credentials. */
static int build_version_vars(struct template *template, struct env_vars *ret_vars)
{
    const struct sched_config *config = &template->sched->config;
    const struct fn_version *version = template->version;
    char hex[33], stream[REPORT_STREAM_BYTES];
    unsigned char random[16];
    struct err err = { 0 };
    struct env_vars_input input = {
        .version = version,
        .region = config->region,
        .log_stream = stream,
        .credentials_token = template->token,
        .is_template = true,
        .interpreter = sched_interpreter(template->sched, version->runtime),
    };

    id_random(random, sizeof random);
    text_hex(random, sizeof random, hex);
    report_stream(version, clock_wall_ms(), hex, stream);
    credentials_make_token(template->token);
    if (credentials_issue(config->credentials, version->role, version->function_name,
                          clock_wall_ms() + KEY_LIFE_MS, &template->credentials, &err) < 0)
        return -ENOMEM;
    template->has_credentials = true;
    template->writer = log_writer_new(config->logs, version->function_name, stream, &err);
    return env_vars_build(&input, ret_vars);
}

static int ask_for_process(struct template *template)
{
    struct sched *sched = template->sched;
    const struct fn_version *version = template->version;
    struct wire_message message = { .type = WIRE_START, .text = "" };
    struct env_vars vars;
    int result = version ? build_version_vars(template, &vars)
                         : env_vars_build_template(template->runtime, sched->config.region,
                                                   sched_interpreter(sched, template->runtime), &vars);

    if (result < 0)
        return result;
    template->id = message.env_id = sched->next_env_id++;
    template->deaths = template->sockets = 0;
    template->output_len = template->output_logged = 0;
    template->begun_us = clock_us();
    message.start = (struct wire_start){
        .env_id = template->id,
        .uid_index = version ? version->uid_index : 0,
        .memory_mb = version ? version->memory_mb : MEMORY_MB,
        .tmp_mb = version ? version->tmp_mb : TMP_MB,
        .runtime = template->runtime,
        .code = version ? version->code_sha256 : "",
        .hostname = SANDBOX_HOSTNAME,
        .argv = (const char *const *)vars.argv,
        .argc = (uint32_t)vars.argc,
        .env = (const char *const *)vars.env,
        .envc = (uint32_t)vars.count,
        .flags = WIRE_START_TEMPLATE,
    };
    result = sched->link ? link_send(sched->link, &message) : -ENOTCONN;
    env_vars_done(&vars);
    return result;
}

/* What belongs to this process of the template, and to its clones. */
static void forget_process(struct template *template)
{
    template->id = 0;
    if (template->has_credentials)
        credentials_revoke(template->sched->config.credentials, template->credentials.access_key);
    template->has_credentials = false;
    template->writer = log_writer_free(template->writer);
}

static void close_process(struct template *template)
{
    template_log_close(template);
    template->api = runtime_api_free(template->api);
}

static void become_ready(struct template *template)
{
    /* Its process is gone; what is left of it writes no more than its last words. */
    template->api = runtime_api_free(template->api);
    template->unused_since_us = clock_us();
    log_info("template of %s: ready after %llu ms", template->name,
             (unsigned long long)((clock_us() - template->begun_us) / 1000));
    template_tell_tried(template, NULL);
    sched_template_ready(template);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct template *template = handle->data;
    struct sched *sched = template->sched;

    (void)fn_version_unref(template->version);
    buf_done(&template->lines);
    free(template);
    sched->open_handles--;
    sched_check_stopped(sched);
}

/* Its key may be wanted again at once. */
static void release(struct template *template)
{
    HASH_DELETE(hh, template->sched->templates, template);
    template->sched->open_handles++;
    uv_close((uv_handle_t *)&template->timer, on_timer_closed);
}

static void step(struct template *template, enum template_event event)
{
    enum template_state before = template->state;
    bool unreachable = false, unproven = false;
    unsigned actions;

    if (!template_step(&template->state, event, &actions)) {
        log_warn("template of %s: %s is not expected while %s, ignored", template->name,
                 template_event_name(event), template_state_name(before));
        return;
    }
    if (template->state != before)
        template->since_us = clock_us();
    if (actions & TEMPLATE_DO_STOP_TIMER)
        (void)uv_timer_stop(&template->timer);
    if (actions & TEMPLATE_DO_END_PROOF)
        template_end_proof(template);
    if (actions & TEMPLATE_DO_CLOSE)
        close_process(template);
    if (actions & TEMPLATE_DO_REPORT)
        report(template);
    if (actions & TEMPLATE_DO_START)
        unreachable = ask_for_process(template) < 0;
    if (actions & TEMPLATE_DO_CAPTURE)
        send_simple(template, WIRE_CAPTURE);
    if (actions & TEMPLATE_DO_PROVE)
        unproven = !template_prove(template);
    if (actions & TEMPLATE_DO_KILL)
        send_simple(template, WIRE_KILL);
    if (actions & TEMPLATE_DO_ARM_STEP)
        arm(template, step_ms(template));
    if (actions & TEMPLATE_DO_ARM_WATCH)
        arm(template, WATCH_MS);
    if (actions & TEMPLATE_DO_ARM_RETRY)
        arm(template, pause_ms(template));
    if (actions & TEMPLATE_DO_READY)
        become_ready(template);
    if (!template_has_process(template->state))
        forget_process(template);
    if (actions & TEMPLATE_DO_RECONSIDER)
        template_reconsider(template);
    if (actions & TEMPLATE_DO_RELEASE)
        release(template);
    if (unreachable) {
        template_set_why(template, "the launcher cannot be reached");
        step(template, TEMPLATE_ON_FAILED);
    }
    if (unproven)
        step(template, TEMPLATE_ON_NO_PROOF);
}

void template_step_event(struct template *template, enum template_event event)
{
    step(template, event);
}

/* ---- the launcher's side ---- */

static void on_started(struct template *template, int *fds, size_t fd_count)
{
    struct runtime_api_owner owner = {
        .on_next = on_runtime_next,
        .on_result = on_runtime_result,
        .on_init_error = on_runtime_init_error,
        .on_restore_next = template->version ? on_runtime_restore_next : NULL,
        .on_credentials = template->version ? on_runtime_credentials : NULL,
        .ctx = template,
    };

    if (template->state != TEMPLATE_STARTING) {
        step(template, TEMPLATE_ON_STARTED);
        return;
    }
    if (fd_count >= WIRE_FD_CONNECTION) {
        template->api = runtime_api_new(template->sched->config.loop, fds[WIRE_FD_LISTENER], &owner);
        fds[WIRE_FD_LISTENER] = -1;
    }
    if (!template->api) {
        template_set_why(template, "its Runtime API could not be opened");
        step(template, TEMPLATE_ON_BROKEN);
        return;
    }
    template->begun_us = clock_us();
    if (template->version)
        log_init_start(template);
    template_log_open(template, fds[WIRE_FD_LOG]);
    fds[WIRE_FD_LOG] = -1;
    step(template, TEMPLATE_ON_STARTED);
}

static void on_exited(struct template *template, const struct wire_exited *exited)
{
    if (exited->kind != WIRE_EXIT_CODE && exited->kind != WIRE_EXIT_SIGNAL)
        (void)snprintf(template->why, sizeof template->why, "%.100s cannot be run: %s", exited->text,
                       strerror(exited->value));
    else
        (void)snprintf(template->why, sizeof template->why, "it ended%s: %s %d",
                       exited->out_of_memory ? " for want of memory" : "",
                       exited->kind == WIRE_EXIT_CODE ? "exit status" : "signal", exited->value);
    template->by_function = template->state == TEMPLATE_LOADING && exited->kind != WIRE_EXIT_PLATFORM;
    if (template->version && template->by_function)
        log_init_failed(template, "error", "Runtime.ExitError");
    step(template, TEMPLATE_ON_BROKEN);
}

static void on_captured(struct template *template, const struct wire_message *message)
{
    if (message->number == 0) {
        template->sockets = (unsigned)strtoul(message->text, NULL, 10); /* "N sockets", or nothing */
        step(template, TEMPLATE_ON_CAPTURED);
        return;
    }
    template_set_why(template, message->text);
    step(template, TEMPLATE_ON_BROKEN);
}

void templates_on_wire(struct sched *sched, const struct wire_message *message, int *fds, size_t fd_count)
{
    struct template *template = template_find_id(sched, message->env_id);

    if (!template) {
        template_proof_on_wire(sched, message, fds, fd_count);
        return;
    }
    switch (message->type) {
    case WIRE_STARTED:
        on_started(template, fds, fd_count);
        break;
    case WIRE_FAILED:
        template_set_why(template, message->text);
        step(template, TEMPLATE_ON_FAILED);
        break;
    case WIRE_EXITED:
        on_exited(template, &message->exited);
        break;
    case WIRE_GONE:
        step(template, TEMPLATE_ON_GONE);
        sched_try_again(sched);
        break;
    case WIRE_CAPTURED:
        on_captured(template, message);
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
    case WIRE_INSPECTED:
    case WIRE_READY:
    case WIRE_TYPE_END:
        break;
    }
}

void templates_on_ready(struct sched *sched)
{
    struct template *template, *next;

    HASH_ITER(hh, sched->templates, template, next)
    template_reconsider(template);
}

void templates_lost(struct sched *sched)
{
    struct template *template, *next;

    HASH_ITER(hh, sched->templates, template, next)
    {
        template_set_why(template, "the launcher ended meanwhile");
        step(template, TEMPLATE_ON_LOST);
    }
}

void templates_stop(struct sched *sched)
{
    struct template *template, *next;

    HASH_ITER(hh, sched->templates, template, next)
    step(template, TEMPLATE_ON_STOP);
}
