/* Messages from irorid. Each is checked again, whoever sent it. */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "launcher/launcher_priv.h"
#include "launcher/runtimes.h"
#include "launcher/templates.h"

/* A START for which no slot is free yet. */
struct deferred {
    struct list node;
    char *packet;
    struct wire_message message;
};

static void fail_start(struct launcher *launcher, uint64_t env_id, enum wire_failure failure, const char *why)
{
    struct wire_message answer = { .type = WIRE_FAILED, .env_id = env_id, .number = failure, .text = why };

    outbox_send(launcher, &answer, NULL, 0);
}

/* What can be refused without a slot. Returns whether the message may go on. */
static bool acceptable(struct launcher *launcher, const struct wire_message *message)
{
    struct stat status;

    if (!runtimes_get(launcher->runtimes, message->start.runtime)) {
        fail_start(launcher, message->env_id, WIRE_FAIL_NO_RUNTIME,
                   "this machine has no interpreter for this runtime");
        return false;
    }
    if (*message->start.code &&
        (fstatat(launcher->code, message->start.code, &status, AT_SYMLINK_NOFOLLOW) < 0 ||
         !S_ISDIR(status.st_mode))) {
        fail_start(launcher, message->env_id, WIRE_FAIL_NO_CODE, "the code is not in the data folder");
        return false;
    }
    return true;
}

/* Prefers one that is ready, then one that is on its way, then a new one. */
static struct slot *choose_slot(struct launcher *launcher, struct template *template)
{
    struct list *ready = template ? &template->ready : &launcher->ready;
    struct slot *cold = NULL;
    struct err err = { 0 };

    if (!list_empty(ready))
        return list_entry(ready->next, struct slot, node);
    list_each(at, template ? &template->cold : &launcher->cold)
    {
        struct slot *slot = list_entry(at, struct slot, node);

        if (slot->given_away)
            continue;
        if (slot->state.husk == HUSK_BREWING && list_empty(&slot->brew_node))
            return slot;
        cold = slot;
    }
    if (cold || launcher->slot_count >= launcher->config->max_slots)
        return cold;
    cold = template ? template_add_slot(template, &err) : slot_new(launcher, NULL, -1, &err);
    if (!cold)
        log_error("new slot: %s", err.text);
    return cold;
}

static bool any_leaving(const struct launcher *launcher)
{
    for (unsigned i = 0; i < launcher->slot_count; i++) {
        const struct slot *slot = launcher->slots[i];

        if (slot->state.life == SLOT_LEAVING || (slot->given_away && slot->state.life == SLOT_FREE))
            return true;
    }
    return false;
}

/* Takes packet. */
static void start(struct launcher *launcher, char *packet, struct wire_message *message)
{
    struct template *template =
        message->start.template_id ? template_find(launcher, message->start.template_id) : NULL;
    struct slot *slot = message->start.template_id && !template ? NULL : choose_slot(launcher, template);
    struct deferred *deferred;

    launcher->last_request_us = clock_us();
    if (slot) {
        slot_start(slot, packet, message);
        return;
    }
    if (message->start.template_id) {
        fail_start(launcher, message->env_id, WIRE_FAIL_TEMPLATE, "the template has no slot");
        wire_message_done(message);
        free(packet);
        return;
    }
    slot = template_take_slot(launcher);
    if (slot) {
        slot_start(slot, packet, message);
        return;
    }
    deferred = any_leaving(launcher) ? malloc(sizeof *deferred) : NULL;
    if (deferred) {
        *deferred = (struct deferred){ .packet = packet, .message = *message };
        list_push_back(&launcher->deferred, &deferred->node);
        return;
    }
    fail_start(launcher, message->env_id, WIRE_FAIL_NO_SLOT, "all environments of this machine are in use");
    wire_message_done(message);
    free(packet);
}

void requests_resume(struct launcher *launcher)
{
    unsigned waiting = 0;

    list_each(at, &launcher->deferred) waiting++;
    /* A slot of a family may have become free since. */
    if (waiting > 0 && list_empty(&launcher->ready) && list_empty(&launcher->cold))
        template_give_slots(launcher, waiting);
    while (!list_empty(&launcher->deferred) &&
           (!list_empty(&launcher->ready) || !list_empty(&launcher->cold) || !any_leaving(launcher))) {
        struct deferred *deferred = list_entry(launcher->deferred.next, struct deferred, node);

        list_remove(&deferred->node);
        start(launcher, deferred->packet, &deferred->message);
        free(deferred);
    }
}

/* A KILL may come for a START that still waits for a slot. */
static bool cancel_deferred(struct launcher *launcher, uint64_t env_id)
{
    list_each_safe(at, &launcher->deferred)
    {
        struct deferred *deferred = list_entry(at, struct deferred, node);

        if (deferred->message.env_id != env_id)
            continue;
        list_remove(&deferred->node);
        wire_message_done(&deferred->message);
        free(deferred->packet);
        free(deferred);
        return true;
    }
    return false;
}

void requests_done(struct launcher *launcher)
{
    while (!list_empty(&launcher->deferred)) {
        struct deferred *deferred = list_entry(launcher->deferred.next, struct deferred, node);

        (void)cancel_deferred(launcher, deferred->message.env_id);
    }
}

/* The message must outlive the packet it came in. */
static void on_start(struct launcher *launcher, size_t len)
{
    AUTO_FREE char *packet = malloc(len);
    struct wire_message message;
    struct slot *slot;

    if (!packet)
        return;
    memcpy(packet, launcher->packet, len);
    if (wire_decode(packet, len, &message, NULL) < 0)
        return;
    slot = slot_find(launcher, message.env_id);
    if (slot && message.type == WIRE_RESTART && slot->state.life != SLOT_RUNNING &&
        slot->state.life != SLOT_EXITED) {
        fail_start(launcher, message.env_id, WIRE_FAIL_INVALID, "the environment is being started or ended");
        wire_message_done(&message);
    } else if ((message.type == WIRE_START) != !slot) {
        fail_start(launcher, message.env_id, WIRE_FAIL_INVALID,
                   slot ? "there is such an environment already" : "there is no such environment");
        wire_message_done(&message);
    } else if (!acceptable(launcher, &message)) {
        wire_message_done(&message);
    } else if (slot) {
        slot_restart(slot, TAKE_PTR(packet), &message);
    } else {
        start(launcher, TAKE_PTR(packet), &message);
    }
}

static void on_kill(struct launcher *launcher, uint64_t env_id)
{
    struct slot *slot = slot_find(launcher, env_id);
    struct wire_message gone = { .type = WIRE_GONE, .env_id = env_id, .text = "" };

    if (slot && slot->own && !template_retire(slot->own)) {
        slot_forget_id(slot);
        outbox_send(launcher, &gone, NULL, 0);
        return;
    }
    if (slot)
        slot_event(slot, SLOT_ON_KILL);
    else
        outbox_send(launcher, &gone, NULL,
                    0); /* also for one that never was: whoever asks wants to see it gone */
    if (!slot)
        (void)cancel_deferred(launcher, env_id);
}

static void on_message(struct launcher *launcher, const struct wire_message *message, size_t len)
{
    struct slot *slot;

    switch ((int)message->type) {
    case WIRE_START:
    case WIRE_RESTART:
        on_start(launcher, len);
        break;
    case WIRE_KILL:
        on_kill(launcher, message->env_id);
        break;
    case WIRE_CAPTURE:
        slot = slot_find(launcher, message->env_id);
        if (slot)
            template_begin(slot);
        break;
    case WIRE_INSPECT:
        inspect_begin(launcher, message);
        break;
    case WIRE_STOP:
        slot = slot_find(launcher, message->env_id);
        if (slot)
            slot_stop(slot);
        break;
    case WIRE_FREEZE:
    case WIRE_THAW:
        slot = slot_find(launcher, message->env_id);
        if (slot)
            slot_freeze(slot, message->type == WIRE_FREEZE);
        break;
    case WIRE_CPU:
        slot = slot_find(launcher, message->env_id);
        if (slot)
            slot_limit_cpu(slot, (unsigned)message->number);
        break;
    default:
        log_warn("irorid sent a message of type %d, which only the launcher sends", (int)message->type);
        break;
    }
}

/* What cannot be decoded but names an environment is answered, so that nobody waits for ever. */
static void refuse(struct launcher *launcher, size_t len, const struct err *err)
{
    uint64_t env_id = 0;

    log_error("%s", err->text);
    if (len < 16 || (launcher->packet[1] != WIRE_START && launcher->packet[1] != WIRE_RESTART))
        return;
    for (size_t i = 0; i < 8; i++)
        env_id |= (uint64_t)(unsigned char)launcher->packet[8 + i] << (8 * i);
    if (env_id)
        fail_start(launcher, env_id, WIRE_FAIL_INVALID, err->text);
}

void requests_read(struct launcher *launcher)
{
    struct wire_message message;
    int fds[WIRE_MAX_FDS];
    size_t fd_count = 0;
    struct err err = { 0 };
    ssize_t n =
        wire_receive(launcher->config->wire_fd, launcher->packet, sizeof launcher->packet, fds, &fd_count);

    if (n == -EAGAIN)
        return;
    if (n == 0 || n == -ECONNRESET || n == -EPIPE) {
        launcher->stopping = true;
        return;
    }
    if (n < 0) {
        (void)err_set(&err, ERR_SYSTEM, (int)-n, "message from irorid");
        launcher_fail(launcher, &err);
        return;
    }
    while (fd_count > 0)
        (void)close(fds[--fd_count]); /* nothing that irorid sends has any */
    if (wire_decode(launcher->packet, (size_t)n, &message, &err) < 0) {
        refuse(launcher, (size_t)n, &err);
        return;
    }
    on_message(launcher, &message, (size_t)n);
    wire_message_done(&message);
}
