/*
 * One template per managed runtime that a function uses: makes it, keeps it, and says which starts are clones
 * of it. Feeds events into its life (template_life.h) and carries the actions out.
 *
 * Nothing here ever fails a start: without a template it is an ordinary one.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "model/function.h"
#include "runtime/runtime_api.h"
#include "sched/env_vars.h"
#include "sched/sched_priv.h"
#include "wire/wire.h"

enum {
    STEP_MS = 10000, /* of each step until it is ready */
    MEMORY_MB = 1024,
    TMP_MB = 512,
    DEATHS_MAX = 3, /* of clones in a row */
};

static const uint64_t pauses_ms[] = { 1000, 10000, 60000, 600000 };

static void step(struct template *template, enum template_event event);

static bool is_managed(const char *runtime)
{
    return text_starts(runtime, "nodejs") || text_starts(runtime, "python");
}

static struct template *find(struct sched *sched, const char *runtime)
{
    struct template *template = NULL;

    HASH_FIND_STR(sched->templates, runtime, template);
    return template;
}

static bool is_wanted(const struct template *template)
{
    const struct sched *sched = template->sched;

    return template->users > 0 && sched_ready(sched) && !sched->stopping &&
           *sched_interpreter(sched, template->runtime);
}

static void reconsider(struct template *template)
{
    if (template->state == TEMPLATE_NONE && is_wanted(template))
        step(template, TEMPLATE_ON_WANT);
}

/* Texts of others, for people: one line. */
static void set_text(char *to, size_t size, const char *text, size_t len)
{
    (void)snprintf(to, size, "%.*s", (int)(len < size ? len : size - 1), text);
    for (char *at = to; *at; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = ' ';
    }
}

static void set_why(struct template *template, const char *text)
{
    set_text(template->why, sizeof template->why, text, strlen(text));
}

/* ---- the runtime's side ---- */

static void on_runtime_next(void *ctx)
{
    step(ctx, TEMPLATE_ON_NEXT);
}

static void on_runtime_result(const struct runtime_result *result, void *ctx)
{
    (void)result; /* it is never given an invocation */
    (void)ctx;
}

static void on_runtime_init_error(const struct runtime_result *result, void *ctx)
{
    struct template *template = ctx;

    set_text(template->why, sizeof template->why, result->body, result->body_len);
    step(template, TEMPLATE_ON_BROKEN);
}

/* ---- actions ---- */

static void on_timer(uv_timer_t *timer)
{
    struct template *template = timer->data;

    if (template->state == TEMPLATE_STARTING)
        set_why(template, "it did not start in time");
    else if (template->state == TEMPLATE_LOADING)
        set_why(template, "it did not ask for work in time");
    else if (template->state == TEMPLATE_CAPTURING)
        set_why(template, "it was not captured in time");
    step(template, TEMPLATE_ON_TIMEOUT);
}

static void arm(struct template *template, uint64_t ms)
{
    (void)uv_timer_start(&template->timer, on_timer, ms, 0);
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
    log_line(level, "template of %s: %s; starts are ordinary, the next try is in %llu s", template->runtime,
             template->why, (unsigned long long)(pause_ms(template) / 1000));
    template_log_repeat(template, level);
}

static void send_simple(struct template *template, enum wire_type type)
{
    struct wire_message message = { .type = type, .env_id = template->id, .text = "" };

    if (template->sched->link)
        (void)link_send(template->sched->link, &message);
}

static int ask_for_process(struct template *template)
{
    struct sched *sched = template->sched;
    struct wire_message message = { .type = WIRE_START, .text = "" };
    struct env_vars vars;
    int result = env_vars_build_template(template->runtime, sched->config.region,
                                         sched_interpreter(sched, template->runtime), &vars);

    if (result < 0)
        return result;
    template->id = message.env_id = sched->next_env_id++;
    template->deaths = 0;
    template->output_len = template->output_logged = 0;
    template->begun_us = clock_us();
    message.start = (struct wire_start){
        .env_id = template->id,
        .memory_mb = MEMORY_MB,
        .tmp_mb = TMP_MB,
        .runtime = template->runtime,
        .code = "",
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

static void close_process(struct template *template)
{
    template_log_close(template);
    template->api = runtime_api_free(template->api);
}

static void become_ready(struct template *template)
{
    /* Its process is gone; what is left of it writes no more than its last words. */
    template->api = runtime_api_free(template->api);
    log_info("template of %s: ready after %llu ms", template->runtime,
             (unsigned long long)((clock_us() - template->begun_us) / 1000));
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct template *template = handle->data;
    struct sched *sched = template->sched;

    HASH_DELETE(hh, sched->templates, template);
    free(template);
    sched_check_stopped(sched);
}

static void step(struct template *template, enum template_event event)
{
    enum template_state before = template->state;
    bool unreachable = false;
    unsigned actions;

    if (!template_step(&template->state, event, &actions)) {
        log_warn("template of %s: %s is not expected while %s, ignored", template->runtime,
                 template_event_name(event), template_state_name(before));
        return;
    }
    if (template->state != before)
        template->since_us = clock_us();
    if (actions & TEMPLATE_DO_STOP_TIMER)
        (void)uv_timer_stop(&template->timer);
    if (actions & TEMPLATE_DO_CLOSE)
        close_process(template);
    if (actions & TEMPLATE_DO_REPORT)
        report(template);
    if (actions & TEMPLATE_DO_START)
        unreachable = ask_for_process(template) < 0;
    if (actions & TEMPLATE_DO_CAPTURE)
        send_simple(template, WIRE_CAPTURE);
    if (actions & TEMPLATE_DO_KILL)
        send_simple(template, WIRE_KILL);
    if (actions & TEMPLATE_DO_ARM_STEP)
        arm(template, STEP_MS);
    if (actions & TEMPLATE_DO_ARM_RETRY)
        arm(template, pause_ms(template));
    if (actions & TEMPLATE_DO_READY)
        become_ready(template);
    if (!template_has_process(template->state))
        template->id = 0;
    if (actions & TEMPLATE_DO_RECONSIDER)
        reconsider(template);
    if (actions & TEMPLATE_DO_RELEASE)
        uv_close((uv_handle_t *)&template->timer, on_timer_closed);
    if (unreachable) {
        set_why(template, "the launcher cannot be reached");
        step(template, TEMPLATE_ON_FAILED);
    }
}

/* ---- the launcher's side ---- */

static void on_started(struct template *template, int *fds, size_t fd_count)
{
    struct runtime_api_owner owner = { on_runtime_next, on_runtime_result, on_runtime_init_error, template };

    if (template->state != TEMPLATE_STARTING) {
        step(template, TEMPLATE_ON_STARTED);
        return;
    }
    if (fd_count >= WIRE_FD_CONNECTION) {
        template->api = runtime_api_new(template->sched->config.loop, fds[WIRE_FD_LISTENER], &owner);
        fds[WIRE_FD_LISTENER] = -1;
    }
    if (!template->api) {
        set_why(template, "its Runtime API could not be opened");
        step(template, TEMPLATE_ON_BROKEN);
        return;
    }
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
    step(template, TEMPLATE_ON_BROKEN);
}

static struct template *find_id(const struct sched *sched, uint64_t id)
{
    struct template *template = sched->templates;

    while (template && template->id != id)
        template = template->hh.next;
    return template;
}

void templates_on_wire(struct sched *sched, const struct wire_message *message, int *fds, size_t fd_count)
{
    struct template *template = find_id(sched, message->env_id);

    if (!template)
        return;
    switch (message->type) {
    case WIRE_STARTED:
        on_started(template, fds, fd_count);
        break;
    case WIRE_FAILED:
        set_why(template, message->text);
        step(template, TEMPLATE_ON_FAILED);
        break;
    case WIRE_EXITED:
        on_exited(template, &message->exited);
        break;
    case WIRE_GONE:
        step(template, TEMPLATE_ON_GONE);
        break;
    case WIRE_CAPTURED:
        set_why(template, message->text);
        step(template, message->number == 0 ? TEMPLATE_ON_CAPTURED : TEMPLATE_ON_BROKEN);
        break;
    case WIRE_START:
    case WIRE_RESTART:
    case WIRE_FREEZE:
    case WIRE_THAW:
    case WIRE_CPU:
    case WIRE_KILL:
    case WIRE_STOP:
    case WIRE_CAPTURE:
    case WIRE_READY:
    case WIRE_TYPE_END:
        break;
    }
}

void templates_on_ready(struct sched *sched)
{
    for (struct template *template = sched->templates; template; template = template->hh.next)
        reconsider(template);
}

void templates_lost(struct sched *sched)
{
    for (struct template *template = sched->templates; template; template = template->hh.next) {
        if (template->state == TEMPLATE_DEAD)
            continue;
        set_why(template, "the launcher ended meanwhile");
        step(template, TEMPLATE_ON_LOST);
    }
}

void templates_stop(struct sched *sched)
{
    for (struct template *template = sched->templates; template; template = template->hh.next)
        step(template, TEMPLATE_ON_STOP);
}

/* ---- who uses them ---- */

static struct template *template_new(struct sched *sched, const char *runtime)
{
    struct template *template = calloc(1, sizeof *template);

    if (!template || strlen(runtime) >= sizeof template->runtime ||
        uv_timer_init(sched->config.loop, &template->timer) < 0) {
        free(template);
        return NULL;
    }
    memcpy(template->runtime, runtime, strlen(runtime));
    template->sched = sched;
    template->timer.data = template;
    template->state = sched->config.templates ? TEMPLATE_NONE : TEMPLATE_OFF;
    template->since_us = clock_us();
    HASH_ADD_STR(sched->templates, runtime, template);
    return template;
}

/* Without memory for a template its runtime goes without: the counts of others stay right. */
static void use(struct sched *sched, const struct fn_version *version)
{
    struct template *template = is_managed(version->runtime) ? find(sched, version->runtime) : NULL;

    if (!template && is_managed(version->runtime) && !sched->stopping)
        template = template_new(sched, version->runtime);
    if (template)
        template->users++;
}

static void unuse(struct sched *sched, const struct fn_version *version)
{
    struct template *template = is_managed(version->runtime) ? find(sched, version->runtime) : NULL;

    if (template && template->users > 0 && --template->users == 0)
        template->unused_since_us = clock_us();
}

static void each_version(struct sched *sched, const struct function *picture,
                         void (*act)(struct sched *sched, const struct fn_version *version))
{
    if (!picture)
        return;
    if (picture->latest)
        act(sched, picture->latest);
    for (size_t i = 0; i < picture->version_count; i++)
        act(sched, picture->versions[i]);
}

void templates_follow(struct sched *sched, const struct function *before, const struct function *after)
{
    each_version(sched, after, use);
    each_version(sched, before, unuse);
    templates_on_ready(sched);
}

void templates_end_unused(struct sched *sched)
{
    uint64_t now = clock_us();

    for (struct template *template = sched->templates; template; template = template->hh.next) {
        if (template->users == 0 && now - template->unused_since_us >= sched->config.template_idle_ms * 1000)
            step(template, TEMPLATE_ON_UNUSED);
    }
}

/* ---- their clones ---- */

uint64_t templates_choose(struct sched *sched, const struct fn_version *version)
{
    struct template *template = find(sched, version->runtime);
    const char *against;

    if (!template || template->state == TEMPLATE_OFF)
        return 0;
    against = env_vars_against_clone(version);
    if (against) {
        template->ineligible++;
        (void)snprintf(template->reason, sizeof template->reason, "function %.64s sets %.80s",
                       version->function_name, against);
        log_debug("template of %s: %s; its starts are ordinary", template->runtime, template->reason);
        return 0;
    }
    if (template->state == TEMPLATE_READY)
        return template->id;
    template->fallbacks++;
    return 0;
}

void templates_cloned(struct sched *sched, const char *runtime)
{
    struct template *template = find(sched, runtime);

    if (template)
        template->clones++;
}

void templates_clone_refused(struct sched *sched, const char *runtime, const char *why)
{
    struct template *template = find(sched, runtime);
    bool again;

    if (!template)
        return;
    template->fallbacks++;
    set_text(template->reason, sizeof template->reason, why, strlen(why));
    again = strcmp(template->refused, template->reason) == 0;
    (void)snprintf(template->refused, sizeof template->refused, "%s", template->reason);
    log_line(again ? LOG_DEBUG : LOG_WARN, "template of %s made no clone: %s; the start is an ordinary one",
             runtime, template->reason);
}

void templates_clone_lives(struct sched *sched, uint64_t id)
{
    struct template *template = find_id(sched, id);

    if (!template)
        return;
    template->deaths = template->failures = 0;
    template->reported[0] = template->refused[0] = '\0';
}

void templates_clone_died(struct sched *sched, uint64_t id, int signal)
{
    struct template *template = find_id(sched, id);

    if (!template || template->state != TEMPLATE_READY || ++template->deaths < DEATHS_MAX)
        return;
    (void)snprintf(template->why, sizeof template->why,
                   "%d of its clones in a row ended by a signal during INIT, the last by signal %d",
                   DEATHS_MAX, signal);
    step(template, TEMPLATE_ON_BROKEN);
}

/* ---- irori ps ---- */

static void list_one(const struct template *template, struct buf *out)
{
    (void)buf_printf(out, "{\"runtime\":\"%s\",\"kind\":\"runtime\",\"state\":\"%s\",\"ageMs\":%llu,",
                     template->runtime, template_state_name(template->state),
                     (unsigned long long)((clock_us() - template->since_us) / 1000));
    (void)buf_printf(out, "\"clones\":%llu,\"fallbacks\":%llu,\"ineligible\":%llu,\"failures\":%llu,",
                     (unsigned long long)template->clones, (unsigned long long)template->fallbacks,
                     (unsigned long long)template->ineligible, (unsigned long long)template->failed);
    (void)buf_puts(out, "\"reason\":");
    (void)buf_json_string(out, template->reason, strlen(template->reason));
    (void)buf_putc(out, '}');
}

void sched_list_templates(const struct sched *sched, struct buf *out)
{
    const char *comma = "";

    (void)buf_printf(out, "{\"enabled\":%s,\"templates\":[", sched->config.templates ? "true" : "false");
    for (const struct template *template = sched->templates; template; template = template->hh.next) {
        (void)buf_puts(out, comma);
        list_one(template, out);
        comma = ",";
    }
    (void)buf_puts(out, "]}");
}
