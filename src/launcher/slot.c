/* Slots and what is done with them; slot_state.c decides, this file acts. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "launcher/launcher_priv.h"
#include "launcher/templates.h"
#include "sandbox/net.h"

enum { DYING_COMPLAINT_US = 5000000, WAITING_LIMIT_US = 30000000, MAX_BREW_FAILURES = 3 };

struct dead_cgroup {
    struct list node;
    struct cgroup *cgroup;
};

/* ------------------------------------------------------------------ book-keeping */

static struct list *home_of(struct slot *slot)
{
    struct launcher *launcher = slot->launcher;

    if (slot->state.life != SLOT_FREE)
        return &launcher->busy;
    if (slot->family)
        return slot->state.husk == HUSK_READY ? &slot->family->ready : &slot->family->cold;
    return slot->state.husk == HUSK_READY ? &launcher->ready : &launcher->cold;
}

void slot_refile(struct slot *slot)
{
    if (slot->family && (slot->family->state == TEMPLATE_ENDED || slot->given_away) &&
        slot->state.life == SLOT_FREE && slot->state.husk == HUSK_NONE)
        template_release_slot(slot);
    list_remove(&slot->node);
    list_push_back(home_of(slot), &slot->node);
}

struct slot *slot_find(const struct launcher *launcher, uint64_t env_id)
{
    const struct list *bucket = &launcher->environments[env_id % ENV_BUCKETS];

    list_each(at, bucket)
    {
        struct slot *slot = list_entry(at, struct slot, env_node);

        if (slot->env_id == env_id)
            return slot;
    }
    return NULL;
}

static void take_packet(struct slot *slot, char *packet, const struct wire_message *message)
{
    if (slot->packet)
        wire_message_done(&slot->message);
    free(slot->packet);
    slot->packet = packet;
    slot->message = *message;
}

static void forget_environment(struct slot *slot)
{
    if (slot->packet)
        wire_message_done(&slot->message);
    free(slot->packet);
    slot->packet = NULL;
    list_remove(&slot->env_node);
    slot->env_id = 0;
    slot->frozen = slot->limited = slot->adopted = false;
}

void slot_forget_id(struct slot *slot)
{
    list_remove(&slot->env_node);
    slot->env_id = 0;
}

/* ------------------------------------------------------------------ husks */

static void count_brew_failure(struct slot *slot)
{
    slot->launcher->brew_pause_until_us = clock_us() + 500000;
    if (++slot->brew_failures >= MAX_BREW_FAILURES && slot->state.life == SLOT_WAITING)
        slot_event(slot, SLOT_ON_FAILURE);
}

static bool is_being_made(const struct slot *slot)
{
    return slot->clone.state == CLONE_HOLDING || slot->clone.state == CLONE_ASKED;
}

/* While a clone is being made any end of the slot's init is a failure of the START. */
static void husk_ended(struct slot *slot)
{
    bool making = is_being_made(slot);

    if (making) {
        slot->failure = WIRE_FAIL_TEMPLATE;
        (void)err_set(&slot->why, ERR_SYSTEM, 0, "cloning: the slot's init has ended");
    }
    slot_event(slot, making ? SLOT_ON_FAILURE : SLOT_ON_HUSK_ENDING);
}

static bool is_of_template(const struct slot *slot, const struct control_report *report)
{
    return slot->state.husk == HUSK_RUNNING &&
           (report->type == CONTROL_HELD || report->type == CONTROL_ADOPTED || report->type == CONTROL_CHILD);
}

static void on_control(void *owner)
{
    struct slot *slot = owner;
    struct control_report report;
    int r;

    if (slot->husk.control < 0)
        return;
    r = husk_receive(&slot->husk, &report);
    if (r == 0)
        return;
    if (r > 0 && is_of_template(slot, &report)) {
        if (report.type == CONTROL_HELD && slot->clone.state == CLONE_HOLDING)
            template_on_held(slot);
        else if (report.type != CONTROL_HELD && slot->adopted)
            template_on_report(slot, &report);
        return;
    }
    if (r > 0 && (report.type == CONTROL_READY || report.type == CONTROL_HELD) &&
        slot->state.husk == HUSK_BREWING) {
        slot->brew_failures = 0;
        if (launch_is_prepared(slot, report.type))
            slot_event(slot, SLOT_ON_HUSK_READY);
        return;
    }
    if (r > 0 && report.type == CONTROL_FAILED && slot->state.husk == HUSK_BREWING) {
        (void)err_set(&slot->why, ERR_SYSTEM, report.value, "preparing an environment: %s", report.step);
        log_error("slot %u: %s", slot->index, slot->why.text);
        count_brew_failure(slot);
    } else if (r > 0 && report.type == CONTROL_FAILED) {
        /* STARTED is said already. */
        log_error("slot %u: %s: %s", slot->index, report.step, strerror(report.value));
        slot->exit.kind = WIRE_EXIT_PLATFORM;
        slot->exit.value = report.value;
        (void)snprintf(slot->exit_text, sizeof slot->exit_text, "%s", report.step);
    } else if (r > 0 && report.type == CONTROL_EXITED && slot->state.husk == HUSK_RUNNING &&
               report.kind <= WIRE_EXIT_LOADER) {
        slot->exit.kind = report.kind;
        slot->exit.value = report.value;
        (void)snprintf(slot->exit_text, sizeof slot->exit_text, "%s",
                       report.kind >= WIRE_EXIT_EXEC ? slot->message.start.argv[0] : "");
    }
    /* One report is all there is; the end of the socket comes with the end of the process. */
    (void)epoll_ctl(slot->launcher->epoll, EPOLL_CTL_DEL, slot->husk.control, NULL);
    husk_ended(slot);
}

/* Closing does not end the watch: irorid holds the same pidfd, and it would be readable for ever. */
static void reset_husk(struct slot *slot)
{
    if (slot->husk.pidfd >= 0)
        (void)epoll_ctl(slot->launcher->epoll, EPOLL_CTL_DEL, slot->husk.pidfd, NULL);
    if (slot->husk.control >= 0)
        (void)epoll_ctl(slot->launcher->epoll, EPOLL_CTL_DEL, slot->husk.control, NULL);
    husk_reset(&slot->husk);
}

static void on_pidfd(void *owner)
{
    struct slot *slot = owner;
    enum husk_state was = slot->state.husk;

    if (slot->husk.pidfd < 0 || !husk_reap(&slot->husk))
        return;
    /* Its last words may still be unread. */
    if (was == HUSK_RUNNING)
        on_control(slot);
    reset_husk(slot);
    slot->dying_since_us = 0;
    if (was == HUSK_BREWING) {
        if (!slot->why.code)
            (void)err_set(&slot->why, ERR_SYSTEM, 0, "preparing an environment: irori-init ended");
        count_brew_failure(slot);
    }
    slot_event(slot, SLOT_ON_HUSK_DEAD);
}

static int make_cgroup(struct slot *slot, struct err *err)
{
    char name[32];

    if (slot->cgroup)
        return 0;
    (void)snprintf(name, sizeof name, "%u.%u", slot->index, slot->launcher->generation++);
    return cgroup_new(slot->launcher->cgroups, name, &slot->cgroup, err);
}

/* No process is left in the slot here, so nothing new comes. Not on the way of a KILL: it takes milliseconds.
 */
static void clean(struct slot *slot)
{
    struct err err;

    if (!slot->soiled)
        return;
    slot->soiled = false;
    if (net_slot_clean(slot->launcher->net, slot->index, slot->netns, &slot->packets, &err) < 0)
        log_warn("slot %u: %s", slot->index, err.text);
}

static int brew(struct slot *slot, struct err *err)
{
    struct launcher *launcher = slot->launcher;
    int r = make_cgroup(slot, err);
    const struct husk_place place = {
        .program = launcher->init_program,
        .null = launcher->null,
        .netns = slot->netns,
        .home_netns = launcher->home_netns,
        .cgroup = slot->cgroup,
        .filter = launcher->filter,
        .filter_count = launcher->filter_count,
        .family = slot->family ? slot->family->slot->husk.pidfd : -1,
    };

    if (r < 0)
        return r;
    clean(slot);
    r = husk_spawn(&place, &slot->husk, err);
    if (r < 0)
        return r;
    launch_prepare(slot);
    if (launcher_watch(launcher, slot->husk.control, &slot->on_control, EPOLLIN) < 0 ||
        launcher_watch(launcher, slot->husk.pidfd, &slot->on_pidfd, EPOLLIN) < 0)
        abort(); /* without memory for it nothing could be noticed any more */
    return 0;
}

void slot_brew(struct slot *slot)
{
    struct err err = { 0 };

    list_remove(&slot->brew_node);
    if (brew(slot, &err) == 0)
        return;
    log_error("slot %u: %s", slot->index, err.text);
    slot->launcher->brew_pause_until_us = clock_us() + 1000000;
    slot->why = err;
    slot->failure = WIRE_FAIL_SYSTEM;
    slot_event(slot, slot->state.life == SLOT_WAITING ? SLOT_ON_FAILURE : SLOT_ON_HUSK_ENDING);
}

/* ------------------------------------------------------------------ actions */

/* Dying takes processor time, too: a thousand processes would need minutes of a small share. A frozen process
 * of a v1 group does not even die. */
static void let_die(struct slot *slot)
{
    if (slot->limited)
        (void)cgroup_limit_cpu(slot->cgroup, 0, NULL);
    if (slot->frozen)
        (void)cgroup_freeze(slot->cgroup, false, NULL);
    slot->limited = slot->frozen = false;
}

static void do_kill(struct slot *slot)
{
    if (!list_empty(&slot->brew_node) || slot->husk.pid == 0) {
        list_remove(&slot->brew_node);
        slot_event(slot, SLOT_ON_HUSK_DEAD);
        return;
    }
    slot->dying_since_us = clock_us();
    husk_kill(&slot->husk);
    let_die(slot);
}

static void do_failed(struct slot *slot)
{
    struct wire_message message = {
        .type = WIRE_FAILED, .env_id = slot->env_id, .number = slot->failure, .text = slot->why.text
    };

    outbox_send(slot->launcher, &message, NULL, 0);
}

static void do_exited(struct slot *slot)
{
    struct wire_message message = {
        .type = WIRE_EXITED, .env_id = slot->env_id, .text = "", .exited = slot->exit
    };

    message.exited.text = slot->exit_text;
    message.exited.out_of_memory = cgroup_oom_kills(slot->cgroup) > slot->oom_kills;
    slot->frozen = false;
    outbox_send(slot->launcher, &message, NULL, 0);
}

static void do_gone(struct slot *slot)
{
    struct wire_message message = { .type = WIRE_GONE, .env_id = slot->env_id, .text = "" };

    if (slot->env_id == 0)
        return; /* said when its template was retired */
    outbox_send(slot->launcher, &message, NULL, 0);
}

/* A group in use by dying processes cannot be removed yet. */
static void bury(struct launcher *launcher, struct cgroup *cgroup)
{
    struct dead_cgroup *dead;

    if (cgroup_remove(cgroup) == 0)
        return;
    dead = malloc(sizeof *dead);
    if (!dead)
        return; /* the next sweep finds it */
    dead->cgroup = cgroup;
    list_push_back(&launcher->dead_cgroups, &dead->node);
}

void slot_bury_cgroups(struct launcher *launcher)
{
    list_each_safe(at, &launcher->dead_cgroups)
    {
        struct dead_cgroup *dead = list_entry(at, struct dead_cgroup, node);

        if (cgroup_remove(dead->cgroup) == 0) {
            list_remove(&dead->node);
            free(dead);
        }
    }
}

static void do_scrub(struct slot *slot)
{
    template_forget_clone(slot);
    if (slot->own)
        template_drop(slot->own);
    volumes_release(slot->launcher, slot);
    let_die(slot);
    if (slot->cgroup)
        bury(slot->launcher, slot->cgroup);
    slot->cgroup = NULL;
    slot->ahead = AHEAD_NOTHING;
    forget_environment(slot);
}

void slot_event(struct slot *slot, enum slot_event event)
{
    /* Of a template whose end was told already: nobody waits for an EXITED, nor would anybody send a KILL. */
    if (event == SLOT_ON_HUSK_DEAD && slot->own && slot->env_id == 0 && slot->state.life == SLOT_RUNNING)
        slot->state.life = SLOT_LEAVING;
    /* A START that waits for the next husk still waits for a clone. */
    if (event == SLOT_ON_FAILURE || (event == SLOT_ON_HUSK_DEAD && slot->state.life != SLOT_WAITING))
        template_forget_clone(slot);
    if (event == SLOT_ON_HUSK_DEAD && slot->own)
        template_drop(slot->own);
    unsigned actions = slot_step(&slot->state, event);
    bool launch_failed = (actions & SLOT_DO_LAUNCH) && launch_start(slot) < 0;

    /* What cannot be had any more shall not come to life behind the message. */
    if ((actions & SLOT_DO_FAILED) && (actions & SLOT_DO_KILL))
        husk_kill(&slot->husk);
    if (actions & SLOT_DO_FAILED)
        do_failed(slot);
    if (actions & SLOT_DO_EXITED)
        do_exited(slot);
    if (actions & SLOT_DO_GONE)
        do_gone(slot);
    if (actions & SLOT_DO_REMOUNT)
        volumes_remount(slot->launcher, slot);
    if (actions & SLOT_DO_SCRUB)
        do_scrub(slot);
    if (actions & SLOT_DO_BREW) {
        list_remove(&slot->brew_node);
        list_push_back(&slot->launcher->brews, &slot->brew_node);
    }
    slot_refile(slot);
    /* From here on events may follow: the state is whole. */
    if (actions & SLOT_DO_KILL)
        do_kill(slot);
    else if (launch_failed)
        slot_event(slot, SLOT_ON_FAILURE);
    else if (slot->state.life == SLOT_WAITING && !list_empty(&slot->brew_node))
        slot_brew(slot);
}

/* ------------------------------------------------------------------ requests */

void slot_start(struct slot *slot, char *packet, const struct wire_message *message)
{
    struct launcher *launcher = slot->launcher;

    take_packet(slot, packet, message);
    slot->env_id = message->env_id;
    list_push_back(&launcher->environments[slot->env_id % ENV_BUCKETS], &slot->env_node);
    slot->brew_failures = 0;
    slot->surplus = false;
    slot->why = (struct err){ 0 };
    slot->failure = WIRE_FAIL_SYSTEM;
    slot->waiting_since_us = clock_us();
    if (message->start.flags & WIRE_START_TEMPLATE && !template_new(slot))
        log_error("slot %u: no memory for a template", slot->index);
    slot->clone.state = message->start.template_id ? CLONE_HOLDING : CLONE_NONE;
    if (!launch_is_ahead(slot))
        volumes_take(launcher, slot, message->start.tmp_mb);
    slot_event(slot, SLOT_ON_START);
}

void slot_restart(struct slot *slot, char *packet, const struct wire_message *message)
{
    take_packet(slot, packet, message);
    slot->brew_failures = 0;
    slot->why = (struct err){ 0 };
    slot->failure = WIRE_FAIL_SYSTEM;
    slot->waiting_since_us = clock_us();
    slot_event(slot, SLOT_ON_RESTART);
}

void slot_clone_ended(struct slot *slot, int status)
{
    slot->exit.kind = WIFSIGNALED(status) ? WIRE_EXIT_SIGNAL : WIRE_EXIT_CODE;
    slot->exit.value = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
    slot_event(slot, SLOT_ON_HUSK_ENDING);
}

void slot_stop(struct slot *slot)
{
    if (slot->state.life == SLOT_RUNNING && slot->state.husk == HUSK_RUNNING)
        slot_event(slot, SLOT_ON_HUSK_ENDING);
}

void slot_settle_clone(struct slot *slot)
{
    const struct clone wanted = slot->clone;

    if (wanted.limit)
        slot_limit_cpu(slot, wanted.cpu_millis);
    if (wanted.freeze)
        slot_freeze(slot, true);
}

void slot_freeze(struct slot *slot, bool frozen)
{
    struct err err;

    slot->clone.freeze = frozen && is_being_made(slot);
    if (is_being_made(slot))
        return;
    if (slot->state.life != SLOT_RUNNING || slot->state.husk != HUSK_RUNNING || slot->frozen == frozen)
        return;
    if (cgroup_freeze(slot->cgroup, frozen, &err) < 0)
        log_error("slot %u: %s", slot->index, err.text);
    else
        slot->frozen = frozen;
}

void slot_limit_cpu(struct slot *slot, unsigned millis)
{
    struct err err;

    slot->clone.limit = is_being_made(slot);
    slot->clone.cpu_millis = millis;
    if (slot->clone.limit)
        return;
    if (slot->state.life != SLOT_RUNNING || slot->state.husk != HUSK_RUNNING)
        return;
    if (cgroup_limit_cpu(slot->cgroup, millis, &err) < 0)
        log_error("slot %u: %s", slot->index, err.text);
    else
        slot->limited = millis > 0;
}

void slot_tick(struct slot *slot)
{
    /* Of each slot: what the one before did takes time, and may have made this one die. */
    uint64_t now_us = clock_us();

    if (slot->state.life == SLOT_WAITING && now_us - slot->waiting_since_us > WAITING_LIMIT_US) {
        if (!slot->why.code)
            (void)err_set(&slot->why, ERR_SYSTEM, ETIMEDOUT, "preparing an environment");
        slot_event(slot, SLOT_ON_FAILURE);
        return;
    }
    if (slot->dying_since_us == 0 || now_us - slot->dying_since_us < DYING_COMPLAINT_US)
        return;
    log_warn("slot %u: processes have not ended for %u s", slot->index,
             (unsigned)((now_us - slot->dying_since_us) / 1000000));
    husk_kill(&slot->husk);
    if (slot->cgroup)
        (void)cgroup_freeze(slot->cgroup, false, NULL);
}

/* ------------------------------------------------------------------ making and unmaking */

static unsigned take_index(struct launcher *launcher)
{
    return launcher->free_index_count > 0 ? launcher->free_indexes[--launcher->free_index_count]
                                          : launcher->next_index++;
}

struct slot *slot_new(struct launcher *launcher, struct template *family, int netns, struct err *err)
{
    struct slot *slot = calloc(1, sizeof *slot);

    if (!slot) {
        (void)err_set(err, ERR_SYSTEM, ENOMEM, "slot");
        return NULL;
    }
    slot->launcher = launcher;
    slot->family = family;
    slot->clone.sync = -1;
    slot->index = take_index(launcher);
    slot->husk = HUSK_NONE_INIT;
    slot->volume_mount = -1;
    slot->on_control = (struct watch){ on_control, slot };
    slot->on_pidfd = (struct watch){ on_pidfd, slot };
    list_init(&slot->node);
    list_init(&slot->brew_node);
    list_init(&slot->env_node);
    list_init(&slot->clone.node);
    if (net_slot_add(launcher->net, slot->index, netns, &slot->netns, err) < 0) {
        launcher->free_indexes[launcher->free_index_count++] = slot->index;
        free(slot);
        return NULL;
    }
    launcher->slots[launcher->slot_count++] = slot;
    slot_refile(slot);
    return slot;
}

struct slot *slot_free(struct slot *slot)
{
    if (!slot)
        return NULL;
    if (slot->volume_mount >= 0)
        (void)close(slot->volume_mount);
    template_forget_clone(slot);
    forget_environment(slot); /* a template's may have no number any more */
    if (slot->husk.pid > 0) {
        husk_kill(&slot->husk);
        (void)husk_reap(&slot->husk);
    }
    reset_husk(slot);
    (void)cgroup_remove(slot->cgroup);
    list_remove(&slot->node);
    (void)close(slot->netns);
    free(slot);
    return NULL;
}

void slot_remove(struct slot *slot)
{
    struct launcher *launcher = slot->launcher;
    unsigned at = 0;

    clean(slot); /* its address goes to another one */
    while (launcher->slots[at] != slot)
        at++;
    launcher->slots[at] = launcher->slots[--launcher->slot_count];
    if (net_slot_remove(launcher->net, slot->index) == 0)
        launcher->free_indexes[launcher->free_index_count++] = slot->index;
    (void)slot_free(slot);
}
