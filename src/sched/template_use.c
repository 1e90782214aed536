/*
 * Which templates there are: one per managed runtime that a function uses, and one per version that has its
 * own (SnapStart, clean state). Says what a start is cloned from.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "model/function.h"
#include "sched/env_vars.h"
#include "sched/sched_priv.h"

enum {
    DEATHS_MAX = 3,            /* of clones in a row */
    YIELD_AFTER_US = 10000000, /* one that was used just now is not taken for want of memory */
    LINES_MAX_BYTES = 1 << 18,
};

static bool is_managed(const char *runtime)
{
    return text_starts(runtime, "nodejs") || text_starts(runtime, "python");
}

static struct template *find(const struct sched *sched, const char *key)
{
    struct template *template = NULL;

    HASH_FIND_STR(sched->templates, key, template);
    return template;
}

struct template *template_find_id(const struct sched *sched, uint64_t id)
{
    struct template *template = id > 0 ? sched->templates : NULL;

    while (template && template->id != id)
        template = template->hh.next;
    return template;
}

static void key_of(const struct fn_version *version, char out[static TEMPLATE_KEY_BYTES])
{
    (void)snprintf(out, TEMPLATE_KEY_BYTES, "%s/%s", version->config_id, version->version);
}

static struct template *of_version(const struct sched *sched, const struct fn_version *version)
{
    char key[TEMPLATE_KEY_BYTES];

    if (!fn_version_has_template(version))
        return NULL;
    key_of(version, key);
    return find(sched, key);
}

/* ---- who uses them ---- */

/* version: NULL for the template of a runtime. NULL without memory. */
static struct template *template_new(struct sched *sched, const char *key, const char *runtime,
                                     struct fn_version *version)
{
    struct template *template = calloc(1, sizeof *template);

    if (!template || strlen(runtime) >= sizeof template->runtime ||
        uv_timer_init(sched->config.loop, &template->timer) < 0) {
        free(template);
        return NULL;
    }
    memcpy(template->runtime, runtime, strlen(runtime));
    (void)snprintf(template->key, sizeof template->key, "%s", key);
    (void)snprintf(template->name, sizeof template->name, "%s%.64s%s%.20s", version ? "function " : "",
                   version ? version->function_name : runtime, version ? ":" : "",
                   version ? version->version : "");
    template->version = fn_version_ref(version);
    template->lines = BUF_INIT(LINES_MAX_BYTES);
    template->sched = sched;
    template->timer.data = template;
    template->state = sched->config.templates ? TEMPLATE_NONE : TEMPLATE_OFF;
    template->since_us = template->unused_since_us = clock_us();
    HASH_ADD_STR(sched->templates, key, template);
    return template;
}

/* Without memory for a template its starts are ordinary. */
static void use_runtime(struct sched *sched, const struct fn_version *version)
{
    struct template *template = is_managed(version->runtime) ? find(sched, version->runtime) : NULL;

    if (!template && is_managed(version->runtime) && !sched->stopping)
        template = template_new(sched, version->runtime, version->runtime, NULL);
    if (template) {
        template->users++;
        template->wanted = true;
    }
}

/* A new version's is made at once; after a start of the server only when it is called. */
static void use_own(struct sched *sched, struct fn_version *version)
{
    char key[TEMPLATE_KEY_BYTES];
    struct template *template;

    if (!fn_version_has_template(version) || sched->stopping)
        return;
    key_of(version, key);
    template = find(sched, key);
    if (!template) {
        template = template_new(sched, key, version->runtime, version);
        if (template)
            template->wanted = sched_ready(sched) || version->snapshot_pending;
    }
    if (!template)
        return;
    template->users++;
    /* The newest picture knows whether anybody waits for its state. */
    (void)fn_version_ref(version);
    (void)fn_version_unref(template->version);
    template->version = version;
    if (version->snapshot_pending && (template->tried || template->state == TEMPLATE_OFF))
        template_tell_tried(template, template->init_failed ? template->reason : NULL);
}

static void use(struct sched *sched, struct fn_version *version)
{
    use_runtime(sched, version);
    use_own(sched, version);
}

static void unuse(struct sched *sched, struct fn_version *version)
{
    struct template *template = is_managed(version->runtime) ? find(sched, version->runtime) : NULL;

    if (template && template->users > 0 && --template->users == 0)
        template->unused_since_us = clock_us();
    template = of_version(sched, version);
    if (template && template->users > 0 && --template->users == 0)
        template_step_event(template, TEMPLATE_ON_UNUSED);
}

static void each_version(struct sched *sched, const struct function *picture,
                         void (*act)(struct sched *sched, struct fn_version *version))
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

static uint64_t idle_us(const struct template *template, uint64_t now)
{
    return now - template->unused_since_us;
}

void templates_end_unused(struct sched *sched)
{
    uint64_t now = clock_us();
    struct template *template, *next;

    HASH_ITER(hh, sched->templates, template, next)
    {
        /* One of a version is used by calls, one of a runtime by functions that are there. */
        if (template->version ? template->state != TEMPLATE_READY : template->users > 0)
            continue;
        if (idle_us(template, now) < sched->config.template_idle_ms * 1000)
            continue;
        template->wanted = false;
        template_step_event(template, TEMPLATE_ON_UNUSED);
    }
}

bool templates_yield(struct sched *sched)
{
    uint64_t now = clock_us(), longest = YIELD_AFTER_US;
    struct template *chosen = NULL;

    for (struct template *template = sched->templates; template; template = template->hh.next) {
        if (template->state == TEMPLATE_READY && idle_us(template, now) >= longest) {
            longest = idle_us(template, now);
            chosen = template;
        }
    }
    if (!chosen)
        return false;
    chosen->wanted = false;
    template_step_event(chosen, TEMPLATE_ON_UNUSED);
    return true;
}

bool templates_are_ending(const struct sched *sched)
{
    for (const struct template *template = sched->templates; template; template = template->hh.next) {
        if (template->state == TEMPLATE_RETIRING || template->state == TEMPLATE_FAILING)
            return true;
    }
    return false;
}

/* ---- their clones ---- */

static struct template_choice choose_runtime(struct sched *sched, const struct fn_version *version)
{
    struct template *template = find(sched, version->runtime);
    struct template_choice choice = { .parked = RUNTIME_PARKED_TO_WAKE, .token = "" };
    const char *against;

    if (!template || template->state == TEMPLATE_OFF)
        return choice;
    against = env_vars_against_clone(version);
    if (against) {
        template->ineligible++;
        (void)snprintf(template->reason, sizeof template->reason, "function %.64s sets %.80s",
                       version->function_name, against);
        log_debug("template of %s: %s; its starts are ordinary", template->name, template->reason);
        return choice;
    }
    template->unused_since_us = clock_us();
    if (template->state == TEMPLATE_READY) {
        choice.id = template->id;
        return choice;
    }
    template->fallbacks++;
    template->wanted = true;
    sched_try_again(sched); /* after the one that somebody waits for */
    return choice;
}

struct template *templates_of(const struct sched *sched, const struct fn_version *version)
{
    struct template *template = of_version(sched, version);

    if (template && template->state == TEMPLATE_READY)
        return template;
    template = find(sched, version->runtime);
    return template && template->state == TEMPLATE_READY ? template : NULL;
}

struct template_choice templates_choose(struct sched *sched, const struct fn_version *version)
{
    struct template *template = of_version(sched, version);

    if (!template || template->state == TEMPLATE_OFF)
        return choose_runtime(sched, version);
    template->unused_since_us = clock_us();
    if (template->state == TEMPLATE_READY)
        return (struct template_choice){ template->id, template->parked, true, template->token };
    template->fallbacks++;
    template->wanted = true;
    template_reconsider(template);
    return choose_runtime(sched, version);
}

void templates_cloned(struct sched *sched, uint64_t id)
{
    struct template *template = template_find_id(sched, id);

    if (template)
        template->clones++;
}

/* Those that wait for an event would do no better. */
static void evict_untried(struct sched *sched, uint64_t id)
{
    struct env *env, *next;

    HASH_ITER(hh, sched->envs, env, next)
    {
        if (env->template_id == id && env_is_untried(env) && !env->reservation &&
            (env->state == LIFE_IDLE || env->state == LIFE_FROZEN))
            env_evict(env);
    }
}

static void count_death(struct template *template, const char *why)
{
    if (template->state != TEMPLATE_READY || ++template->deaths < DEATHS_MAX)
        return;
    template_set_why(template, why);
    evict_untried(template->sched, template->id);
    template_step_event(template, TEMPLATE_ON_BROKEN);
}

void templates_clone_refused(struct sched *sched, uint64_t id, bool counted, const char *why)
{
    struct template *template = template_find_id(sched, id);
    bool again;

    if (!template)
        return;
    template->fallbacks++;
    template->clones -= counted;
    if (template->state != TEMPLATE_READY)
        return; /* why it has ended is known */
    template_set_text(template->reason, sizeof template->reason, why, strlen(why));
    again = strcmp(template->refused, template->reason) == 0;
    (void)snprintf(template->refused, sizeof template->refused, "%s", template->reason);
    log_line(again ? LOG_DEBUG : LOG_WARN, "template of %s made no clone: %s; the start is an ordinary one",
             template->name, template->reason);
    /* For want of a slot it is not its fault. */
    if (text_starts(why, "cloning:"))
        count_death(template, why);
}

void templates_clone_lives(struct sched *sched, uint64_t id)
{
    struct template *template = template_find_id(sched, id);

    if (!template)
        return;
    template->deaths = template->failures = 0;
    template->reported[0] = template->refused[0] = '\0';
}

void templates_clone_died(struct sched *sched, uint64_t id, const struct wire_exited *exited)
{
    struct template *template = template_find_id(sched, id);
    char why[128];

    if (!template)
        return;
    if (exited)
        (void)snprintf(
            why, sizeof why,
            "%d of its clones in a row ended before they had done anything, the last by signal or status %d",
            DEATHS_MAX, exited->value);
    else
        (void)snprintf(
            why, sizeof why,
            "%d of its clones in a row ended before they had done anything; the last one stood still",
            DEATHS_MAX);
    count_death(template, why);
}

bool sched_snapshot_pending(const struct sched *sched, const struct fn_version *version)
{
    const struct template *template = of_version(sched, version);

    return version->snapshot_pending && template && !template->tried;
}

/* ---- irori ps ---- */

static void list_one(const struct template *template, struct buf *out)
{
    const struct fn_version *version = template->version;

    (void)buf_printf(out, "{\"runtime\":\"%s\",\"kind\":\"%s\",", template->runtime,
                     version ? "function" : "runtime");
    if (version)
        (void)buf_printf(out, "\"function\":\"%s\",\"version\":\"%s\",", version->function_name,
                         version->version);
    (void)buf_printf(out, "\"state\":\"%s\",\"ageMs\":%llu,", template_state_name(template->state),
                     (unsigned long long)((clock_us() - template->since_us) / 1000));
    (void)buf_printf(out, "\"clones\":%llu,\"fallbacks\":%llu,\"ineligible\":%llu,\"failures\":%llu,",
                     (unsigned long long)template->clones, (unsigned long long)template->fallbacks,
                     (unsigned long long)template->ineligible, (unsigned long long)template->failed);
    (void)buf_printf(out, "\"sockets\":%u,\"reason\":", template->sockets);
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
    (void)buf_puts(out, "],\"codeCache\":");
    if (sched->config.code_cache)
        code_cache_list(sched->config.code_cache, out);
    else
        (void)buf_puts(out, "null");
    (void)buf_putc(out, '}');
}
