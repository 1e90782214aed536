/*
 * A template's first clone. Nobody waits for it and it is told nothing; it is left alone for a moment and
 * then ended. A process that cannot bear to be another one than before (its id has changed, its threads are
 * new) shows it here, and not to a caller.
 */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "model/function.h"
#include "sched/sched_priv.h"
#include "wire/wire.h"

/* Whose code it finds: its own version's, or that of any which uses the runtime. */
static const struct fn_version *version_for(const struct template *template)
{
    if (template->version)
        return template->version;
    for (const struct entry *entry = template->sched->entries; entry; entry = entry->hh.next) {
        const struct function *picture = entry->picture;

        if (picture && picture->latest && strcmp(picture->latest->runtime, template->runtime) == 0)
            return picture->latest;
        for (size_t i = 0; picture && i < picture->version_count; i++) {
            if (strcmp(picture->versions[i]->runtime, template->runtime) == 0)
                return picture->versions[i];
        }
    }
    return NULL;
}

bool template_prove(struct template *template)
{
    static const char *const argv[] = { "/none" }; /* it starts no program */
    struct sched *sched = template->sched;
    const struct fn_version *version = version_for(template);
    struct wire_message message = { .type = WIRE_START, .text = "" };

    if (!version || !sched->link)
        return false;
    template->proof_id = message.env_id = sched->next_env_id++;
    message.start = env_wire_start(version);
    message.start.env_id = template->proof_id;
    message.start.argv = argv;
    message.start.argc = 1;
    message.start.template_id = template->id;
    if (link_send(sched->link, &message) == 0)
        return true;
    template->proof_id = 0;
    return false;
}

void template_end_proof(struct template *template)
{
    struct wire_message message = { .type = WIRE_KILL, .env_id = template->proof_id, .text = "" };

    if (template->proof_id && template->sched->link)
        (void)link_send(template->sched->link, &message);
    template->proof_id = 0;
    for (size_t i = 0; i < template->proof_fd_count; i++)
        (void)close(template->proof_fds[i]);
    template->proof_fd_count = 0;
}

/* What it would notice the end of stays open. */
static void on_started(struct template *template, uint64_t flags, int *fds, size_t fd_count)
{
    for (size_t i = 0; i < fd_count; i++) {
        template->proof_fds[template->proof_fd_count++] = fds[i];
        fds[i] = -1;
    }
    template_step_event(template, flags & WIRE_PARKED ? TEMPLATE_ON_CLONED : TEMPLATE_ON_NO_PROOF);
}

static void on_failed(struct template *template, const char *why)
{
    template->proof_id = 0; /* there is nothing to end */
    template_set_why(template, why);
    template_step_event(template, text_starts(why, "cloning:") ? TEMPLATE_ON_BROKEN : TEMPLATE_ON_NO_PROOF);
}

static void on_exited(struct template *template, const struct wire_exited *exited)
{
    (void)snprintf(template->why, sizeof template->why, "its first clone ended by itself: %s %d",
                   exited->kind == WIRE_EXIT_CODE ? "exit status" : "signal", exited->value);
    template_step_event(template, TEMPLATE_ON_BROKEN);
}

void template_proof_on_wire(struct sched *sched, const struct wire_message *message, int *fds,
                            size_t fd_count)
{
    struct template *template = message->env_id > 0 ? sched->templates : NULL;

    while (template && template->proof_id != message->env_id)
        template = template->hh.next;
    if (!template)
        return;
    if (message->type == WIRE_STARTED && template->proof_fd_count == 0)
        on_started(template, message->number, fds, fd_count);
    else if (message->type == WIRE_FAILED)
        on_failed(template, message->text);
    else if (message->type == WIRE_EXITED)
        on_exited(template, &message->exited);
}
