#include "launcher/templates.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/id.h"
#include "base/log.h"
#include "sandbox/cgroup.h"
#include "wire/control.h"

enum {
    API_PORT = 9001,
    /* A clone's own process id; the restorer takes the next one when a thread of the template has it. */
    FIRST_MAIN_TID = 1024,
    MAIN_TID_COUNT = 30000,
    SLOT_NAMESPACES = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
                      CLONE_NEWPID | CLONE_NEWCGROUP,
};

static void unwatch(struct launcher *launcher, int fd)
{
    if (fd >= 0)
        (void)epoll_ctl(launcher->epoll, EPOLL_CTL_DEL, fd, NULL);
}

/* ------------------------------------------------------------------ clones */

static void clone_failed(struct slot *slot, const char *step, int error, uint32_t at)
{
    slot->failure = WIRE_FAIL_TEMPLATE;
    (void)err_set(&slot->why, ERR_SYSTEM, error, "cloning: %s %u", step, at);
    log_warn("slot %u: %s", slot->index, slot->why.text);
    slot_event(slot, SLOT_ON_FAILURE);
}

void template_forget_clone(struct slot *slot)
{
    struct clone *clone = &slot->clone;

    list_remove(&clone->node);
    if (clone->sync >= 0) {
        unwatch(slot->launcher, clone->sync);
        (void)close(clone->sync);
    }
    clone->sync = -1;
    clone->state = CLONE_NONE;
    clone->freeze = clone->limit = false;
    clone->pid = 0;
}

/* Early reports of its end are kept by the template: they may come before the image's answer. */
static void take_early_end(struct slot *slot)
{
    struct template *template = slot->family;

    for (size_t i = 0; template && i < TEMPLATE_EARLY; i++) {
        if (template->early[i].pid == slot->clone.pid && slot->clone.number < template->early[i].requests) {
            int32_t status = template->early[i].status;

            template->early[i].pid = 0;
            slot_clone_ended(slot, status);
            return;
        }
    }
}

static void check_made(struct slot *slot)
{
    if (slot->clone.state != CLONE_ASKED || !slot->clone.done || slot->clone.pid == 0)
        return;
    slot->clone.state = CLONE_MADE;
    slot_settle_clone(slot);
    take_early_end(slot);
}

static void on_sync(void *owner)
{
    struct slot *slot = owner;
    struct template_report report;
    int r;

    if (slot->clone.sync < 0 || slot->clone.state != CLONE_ASKED)
        return;
    r = template_receive_report(slot->clone.sync, &report);
    if (r == 0)
        return;
    if (r < 0) {
        clone_failed(slot, "the clone has ended", 0, 0);
    } else if (report.step != TEMPLATE_STEP_DONE) {
        clone_failed(slot, template_step_name(report.step), -report.error, report.at);
    } else {
        unwatch(slot->launcher, slot->clone.sync);
        (void)close(slot->clone.sync);
        slot->clone.sync = -1;
        slot->clone.done = true;
        check_made(slot);
    }
}

static uint32_t random_tid(void)
{
    uint32_t number;

    id_random(&number, sizeof number);
    return FIRST_MAIN_TID + number % MAIN_TID_COUNT;
}

static int ask(struct slot *slot)
{
    struct template_slot target = {
        .pidfd = slot->husk.pidfd,
        .api = slot->husk.client,
        .log = slot->husk.log_out,
        .ns_flags = SLOT_NAMESPACES,
        .uid = HUSK_UID,
        .gid = HUSK_GID,
        .main_tid = random_tid(),
        .joins = slot->husk.joins,
        .join_count = (uint32_t)slot->husk.join_count,
    };

    return template_request_clone(slot->family->control, &target, &slot->clone.sync);
}

int template_ask(struct slot *slot)
{
    struct template *template = slot->family;
    int r = template && template->state == TEMPLATE_READY ? ask(slot) : -ESRCH;

    if (r == 0) {
        slot->clone.on_sync = (struct watch){ on_sync, slot };
        r = launcher_watch(slot->launcher, slot->clone.sync, &slot->clone.on_sync, EPOLLIN);
    }
    if (r < 0)
        return err_set(&slot->why, ERR_SYSTEM, -r, "cloning: asking the image");
    slot->clone.state = CLONE_ASKED;
    slot->clone.done = false;
    slot->clone.number = template->requests++;
    list_push_back(&template->asked, &slot->clone.node);
    launch_tell_started(slot);
    return 0;
}

void template_on_held(struct slot *slot)
{
    slot->failure = WIRE_FAIL_TEMPLATE;
    if (template_ask(slot) < 0)
        slot_event(slot, SLOT_ON_FAILURE);
}

/* ------------------------------------------------------------------ the image */

static void tell(const struct template *template, enum wire_type type, uint64_t number, const char *text)
{
    const struct wire_message message = {
        .type = type, .env_id = template->slot->env_id, .number = number, .text = text
    };

    if (template->slot->env_id)
        outbox_send(template->launcher, &message, NULL, 0);
}

static void close_image(struct template *template)
{
    unwatch(template->launcher, template->control);
    if (template->control >= 0)
        (void)close(template->control);
    template->control = -1;
}

static void fail_asked(struct template *template)
{
    while (!list_empty(&template->asked)) {
        struct slot *slot = list_entry(template->asked.next, struct slot, clone.node);

        list_remove(&slot->clone.node);
        clone_failed(slot, "the image has ended", 0, 0);
    }
}

static void refuse(struct template *template, const char *reason)
{
    struct slot *slot = template->slot;
    bool ended = template->program_ended;
    int status = template->program_status;

    tell(template, WIRE_CAPTURED, 1, reason);
    template_drop(template);
    if (ended)
        slot_clone_ended(slot, status);
}

/* Its clones live on; the init of its namespaces stays for them. */
static void image_died(struct template *template)
{
    struct wire_message message = { .type = WIRE_EXITED, .env_id = template->slot->env_id, .text = "" };

    if (template->state < TEMPLATE_READY) {
        refuse(template, "the image has ended");
        return;
    }
    close_image(template);
    template->state = TEMPLATE_ENDED;
    fail_asked(template);
    message.exited = (struct wire_exited){
        .env_id = template->slot->env_id, .kind = WIRE_EXIT_SIGNAL, .value = SIGKILL, .text = ""
    };
    if (template->slot->env_id)
        outbox_send(template->launcher, &message, NULL, 0);
}

static void on_reply(struct template *template, const struct template_reply *reply)
{
    uint64_t number = template->replies++;
    struct slot *slot = NULL;

    if (!list_empty(&template->asked))
        slot = list_entry(template->asked.next, struct slot, clone.node);
    if (!slot || slot->clone.number != number)
        return; /* of a clone that was given up */
    list_remove(&slot->clone.node);
    if (reply->pid <= 0) {
        clone_failed(slot, template_step_name(reply->step), -reply->pid, 0);
        return;
    }
    slot->clone.pid = reply->pid;
    check_made(slot);
}

static void on_image(void *owner)
{
    struct template *template = owner;
    struct template_reply reply;
    int r;

    while (template->control >= 0 && (r = template_receive_reply(template->control, &reply)) != 0) {
        if (r < 0 || reply.format != TEMPLATE_FORMAT) {
            image_died(template);
            return;
        }
        on_reply(template, &reply);
    }
}

static void on_child(struct template *template, int32_t pid, int32_t status)
{
    list_each_safe(at, &template->launcher->busy)
    {
        struct slot *slot = list_entry(at, struct slot, node);

        if (slot->family == template && slot->clone.state == CLONE_MADE && slot->clone.pid == pid) {
            slot_clone_ended(slot, status);
            return;
        }
    }
    template->early[template->early_at].pid = pid;
    template->early[template->early_at].status = status;
    template->early[template->early_at].requests = template->requests;
    template->early_at = (template->early_at + 1) % TEMPLATE_EARLY;
}

/* ------------------------------------------------------------------ becoming one */

static void get_ready(struct template *template)
{
    char text[32] = "";

    template->state = TEMPLATE_READY;
    if (template->dead_sockets > 0)
        (void)snprintf(text, sizeof text, "%u sockets", template->dead_sockets);
    tell(template, WIRE_CAPTURED, 0, text);
}

static void on_capture(void *owner)
{
    struct template *template = owner;
    struct template_captured captured;
    int socket = template->capture.socket;

    if (template->state != TEMPLATE_CAPTURING || socket < 0)
        return;
    unwatch(template->launcher, socket);
    if (template_capture_receive(&template->capture, &captured) == 0) {
        (void)launcher_watch(template->launcher, socket, &template->on_capture, EPOLLIN);
        return;
    }
    if (!captured.done) {
        refuse(template, captured.reason);
        return;
    }
    template->control = captured.control;
    if (launcher_watch(template->launcher, template->control, &template->on_image, EPOLLIN) < 0) {
        refuse(template, "out of memory");
        return;
    }
    template->dead_sockets = captured.dead_sockets;
    template->state = TEMPLATE_MEASURING;
    if (template->serves_all)
        get_ready(template);
    else
        volumes_measure(template->launcher, template->slot);
}

static void capture(struct template *template)
{
    const struct template_source source = {
        .init = template->slot->husk.pid,
        .netns = template->slot->netns,
        .secret = { template->secret[0], template->secret[1] },
        .filter = template->launcher->filter,
        .filter_count = template->launcher->filter_count,
        .api_port = API_PORT,
        .processes_max = CONTROL_PROCESSES_MAX,
        .log_inode = template->log_inode,
        .function = !template->serves_all,
    };
    struct err err = { 0 };

    template->state = TEMPLATE_CAPTURING;
    if (template_capture_start(&source, &template->capture, &err) < 0)
        refuse(template, err.text);
    else if (launcher_watch(template->launcher, template->capture.socket, &template->on_capture, EPOLLIN) < 0)
        refuse(template, "out of memory");
}

void template_begin(struct slot *slot)
{
    struct template *template = slot->own;

    if (!template || template->state != TEMPLATE_ADOPTING || slot->adopted ||
        slot->state.life != SLOT_RUNNING || slot->state.husk != HUSK_RUNNING) {
        const struct wire_message message = { .type = WIRE_CAPTURED,
                                              .env_id = slot->env_id,
                                              .number = 1,
                                              .text = "it was not started as a template" };

        outbox_send(slot->launcher, &message, NULL, 0);
        return;
    }
    slot->adopted = true;
    if (husk_adopt(&slot->husk) < 0)
        refuse(template, "its init does not answer");
}

void template_on_measured(struct slot *slot, const char *why, unsigned entries)
{
    struct template *template = slot->own;

    if (!template || (template->state != TEMPLATE_ADOPTING && template->state != TEMPLATE_MEASURING))
        return;
    template->tmp_entries = entries;
    if (why)
        refuse(template, why);
    else if (template->state == TEMPLATE_ADOPTING)
        capture(template);
    else
        get_ready(template);
}

void template_on_report(struct slot *slot, const struct control_report *report)
{
    struct template *template = slot->own;

    if (report->type == CONTROL_ADOPTED && template && template->state == TEMPLATE_ADOPTING) {
        if (template->serves_all)
            capture(template);
        else
            volumes_measure(slot->launcher, slot);
    }
    if (report->type == CONTROL_CHILD && template && template->state != TEMPLATE_ADOPTING)
        on_child(template, (int32_t)report->kind, report->value);
    if (report->type != CONTROL_CHILD || report->kind != CONTROL_PROGRAM_PID)
        return;
    /* The end of the original is part of becoming a template; of what is none it is what it is for any
     * environment. */
    if (!template) {
        slot_clone_ended(slot, report->value);
    } else if (template->state < TEMPLATE_READY) {
        template->program_ended = true;
        template->program_status = report->value;
    }
}

void template_on_launch(struct slot *slot)
{
    struct stat status;

    if (slot->own && fstat(slot->husk.log, &status) == 0)
        slot->own->log_inode = status.st_ino;
}

struct template *template_find(const struct launcher *launcher, uint64_t env_id)
{
    const struct slot *slot = slot_find(launcher, env_id);

    return slot && slot->own && slot->own->state == TEMPLATE_READY ? slot->own : NULL;
}

struct template *template_new(struct slot *slot)
{
    struct template *template = calloc(1, sizeof *template);

    if (!template)
        return NULL;
    template->launcher = slot->launcher;
    template->slot = slot;
    template->serves_all = slot->message.start.uid_index == 0;
    template->control = -1;
    template->capture = TEMPLATE_CAPTURE_INIT;
    template->on_capture = (struct watch){ on_capture, template };
    template->on_image = (struct watch){ on_image, template };
    list_init(&template->node);
    list_init(&template->ready);
    list_init(&template->cold);
    list_init(&template->asked);
    if (getrandom(template->secret, sizeof template->secret, 0) != sizeof template->secret) {
        free(template);
        return NULL;
    }
    list_push_back(&slot->launcher->templates, &template->node);
    slot->own = template;
    return template;
}

/* ------------------------------------------------------------------ the end */

static void end_free_slots(struct template *template)
{
    for (unsigned i = 0; i < template->launcher->slot_count; i++) {
        struct slot *slot = template->launcher->slots[i];

        if (slot->family != template || slot->state.life != SLOT_FREE)
            continue;
        if (slot->state.husk == HUSK_NONE)
            slot_refile(slot);
        else
            slot_event(slot, SLOT_ON_HUSK_ENDING);
    }
}

/* What has been made is no failure, though nobody has heard of it yet. */
static void hear_all(struct template *template)
{
    if (template->state == TEMPLATE_READY)
        on_image(template);
    list_each_safe(at, &template->launcher->busy)
    {
        struct slot *slot = list_entry(at, struct slot, node);

        if (slot->family == template && slot->clone.state == CLONE_ASKED)
            on_sync(slot);
    }
}

static void stop(struct template *template)
{
    hear_all(template);
    unwatch(template->launcher, template->capture.socket);
    template_capture_cancel(&template->capture);
    close_image(template);
    template->state = TEMPLATE_ENDED;
    fail_asked(template);
}

bool template_retire(struct template *template)
{
    stop(template);
    end_free_slots(template);
    return template->slot_count == 0;
}

void template_drop(struct template *template)
{
    stop(template);
    /* What is left of its family loses its namespaces with it: the slots go on as ordinary ones. */
    for (unsigned i = 0; i < template->launcher->slot_count; i++) {
        struct slot *slot = template->launcher->slots[i];

        if (slot->family != template)
            continue;
        slot->family = NULL;
        slot->surplus = true;
        slot->given_away = false;
        if (slot->state.life == SLOT_WAITING && slot->clone.state == CLONE_HOLDING)
            launch_fail_ahead(slot);
        else if (slot->state.life == SLOT_FREE && slot->state.husk != HUSK_NONE)
            slot_event(slot, SLOT_ON_HUSK_ENDING);
        else
            slot_refile(slot);
    }
    template->slot->own = NULL;
    list_remove(&template->node);
    list_push_back(&template->launcher->dropped_templates, &template->node);
}

void templates_bury(struct launcher *launcher)
{
    list_each_safe(at, &launcher->dropped_templates)
    {
        list_remove(at);
        free(list_entry(at, struct template, node));
    }
}

/* ------------------------------------------------------------------ slots of the family */

struct slot *template_add_slot(struct template *template, struct err *err)
{
    int netns;
    struct slot *slot;

    if (husk_family_netns(template->slot->husk.pidfd, &netns, err) < 0)
        return NULL;
    slot = slot_new(template->launcher, template, netns, err);
    (void)close(netns);
    if (slot)
        template->slot_count++;
    return slot;
}

void template_release_slot(struct slot *slot)
{
    struct template *template = slot->family;

    slot->family = NULL;
    slot->surplus = !slot->given_away;
    slot->given_away = false;
    if (--template->slot_count == 0 && template->state == TEMPLATE_ENDED && template->slot->env_id == 0)
        slot_event(template->slot, SLOT_ON_KILL);
}

static struct slot *find_free(const struct launcher *launcher)
{
    for (unsigned i = 0; i < launcher->slot_count; i++) {
        struct slot *slot = launcher->slots[i];

        if (slot->family && slot->state.life == SLOT_FREE && !slot->given_away)
            return slot;
    }
    return NULL;
}

struct slot *template_take_slot(struct launcher *launcher)
{
    struct slot *slot = find_free(launcher);

    if (!slot)
        return NULL;
    slot->given_away = true;
    if (slot->state.husk == HUSK_NONE) {
        slot_refile(slot);
        return slot;
    }
    slot_event(slot, SLOT_ON_HUSK_ENDING);
    /* One that had no process yet is an ordinary one by now. */
    return slot->family ? NULL : slot;
}

void template_give_slots(struct launcher *launcher, unsigned wanted)
{
    unsigned coming = 0;

    for (unsigned i = 0; i < launcher->slot_count; i++)
        coming += launcher->slots[i]->given_away && launcher->slots[i]->state.life == SLOT_FREE;
    for (; coming < wanted && find_free(launcher); coming++)
        (void)template_take_slot(launcher);
}
