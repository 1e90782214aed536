/*
 * Carries out a START in a prepared slot, and does ahead what of it is known before.
 *
 * All clones of a function's template get the same identity, mounts and /tmp: a slot of its family has them
 * before anybody asks, and a START finds an init that holds. What the clones of a runtime's template get
 * depends on the function.
 */

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "launcher/launcher_priv.h"
#include "launcher/templates.h"
#include "sandbox/seccomp.h"

enum { AHEAD_PAUSE_US = 500000 };

static void close_mounts(struct husk_mounts *mounts)
{
    for (uint32_t i = 0; i < mounts->count; i++)
        (void)close(mounts->fds[i]);
}

void launch_tell_started(struct slot *slot)
{
    const struct husk *husk = &slot->husk;
    bool parked = slot->clone.state == CLONE_ASKED;
    struct wire_message message = {
        .type = WIRE_STARTED, .env_id = slot->env_id, .number = parked ? WIRE_PARKED : 0, .text = ""
    };
    int fds[] = {
        [WIRE_FD_LISTENER] = husk->listener,
        [WIRE_FD_LOG] = husk->log,
        [WIRE_FD_PIDFD] = husk->pidfd,
        [WIRE_FD_MEMORY_USAGE] = husk->memory_usage,
        [WIRE_FD_MEMORY_STAT] = husk->memory_stat,
        [WIRE_FD_MEMORY_PEAK] = husk->memory_peak >= 0 ? husk->memory_peak : slot->launcher->null,
        [WIRE_FD_CONNECTION] = husk->server,
        [WIRE_FD_PEER] = husk->client,
    };

    outbox_send(slot->launcher, &message, fds, parked ? WIRE_FD_END : WIRE_FD_CONNECTION);
    husk_hand_over(&slot->husk);
}

/* ------------------------------------------------------------------ the husk's START */

/* Who is to become what: ids in the user namespace above, which may be a template's. */
static struct husk_start start_of(const struct slot *slot, const struct wire_start *start,
                                  const struct husk_mounts *mounts)
{
    uint32_t base = slot->launcher->config->uid_base;
    struct husk_start launch = {
        .start = start,
        .mounts = mounts,
        .hold = slot->ahead != AHEAD_NOTHING || slot->clone.state == CLONE_HOLDING,
        .uid = base + start->uid_index,
        .gid = base + start->uid_index,
        .host_uid = base + start->uid_index,
    };

    if (slot->family && slot->family->serves_all) {
        launch.uid = launch.gid = HUSK_FAMILY_IDS + start->uid_index;
    } else if (slot->family) {
        launch.uid = HUSK_UID;
        launch.gid = HUSK_GID;
    }
    if (slot->own && slot->own->serves_all)
        launch.family_base = base + 1;
    return launch;
}

static int launch_husk(struct slot *slot, const struct wire_start *start, const struct husk_mounts *mounts)
{
    static struct sock_filter filter[SECCOMP_MAX_TEMPLATE];
    struct husk_start launch = start_of(slot, start, mounts);

    launch.is_template = slot->own != NULL;
    if (slot->own) {
        launch.filter = filter;
        launch.filter_count = seccomp_template(slot->own->secret, filter);
        template_on_launch(slot);
    }
    return husk_launch(&slot->husk, &launch, &slot->why);
}

static int limit_cpu(struct slot *slot, unsigned millis)
{
    int r = millis > 0 || slot->limited ? cgroup_limit_cpu(slot->cgroup, millis, &slot->why) : 0;

    slot->limited = millis > 0;
    return r;
}

static int launch(struct slot *slot, const struct wire_start *start)
{
    struct husk_mounts mounts = { .count = 0 };
    int r = cgroup_limit_memory(slot->cgroup, start->memory_mb, &slot->why);

    if (r == 0)
        r = mounts_open(slot->launcher, start, slot->volume_mount, &mounts, &slot->failure, &slot->why);
    if (r == 0)
        r = launch_husk(slot, start, &mounts);
    close_mounts(&mounts);
    slot->volume_mount = -1;
    return r;
}

/* ------------------------------------------------------------------ ahead */

bool launch_is_ahead(const struct slot *slot)
{
    return slot->family && !slot->family->serves_all;
}

void launch_prepare(struct slot *slot)
{
    /* What was there ahead has ended with the husk before. */
    if (slot->ahead != AHEAD_NOTHING) {
        volumes_release(slot->launcher, slot);
        slot->state.volume = false;
    }
    slot->ahead = AHEAD_NOTHING;
    if (!launch_is_ahead(slot) || slot->state.life == SLOT_EXITED || slot->state.restarted)
        return;
    slot->ahead = AHEAD_BREWING;
    volumes_take(slot->launcher, slot, slot->family->slot->message.start.tmp_mb);
}

void launch_fail_ahead(struct slot *slot)
{
    bool waiting = slot->state.life == SLOT_WAITING;

    slot->failure = WIRE_FAIL_TEMPLATE;
    if (!waiting) {
        log_warn("slot %u: %s", slot->index, slot->why.text);
        slot->launcher->brew_pause_until_us = clock_us() + AHEAD_PAUSE_US;
    }
    slot_event(slot, waiting ? SLOT_ON_FAILURE : SLOT_ON_HUSK_ENDING);
}

void launch_go_on(struct slot *slot)
{
    const struct template *template = slot->family;
    int r = -ESRCH;

    if (slot->ahead != AHEAD_PREPARED || !slot->state.volume || slot->state.husk != HUSK_BREWING)
        return;
    slot->ahead = AHEAD_HOLDING;
    if (template && template->state == TEMPLATE_READY)
        r = launch(slot, &template->slot->message.start);
    else
        (void)err_set(&slot->why, ERR_SYSTEM, 0, "cloning: the template has ended");
    if (r < 0)
        launch_fail_ahead(slot);
}

bool launch_is_prepared(struct slot *slot, enum control_type report)
{
    if (slot->ahead == AHEAD_NOTHING)
        return report == CONTROL_READY;
    if (slot->ahead == AHEAD_BREWING && report == CONTROL_READY) {
        slot->ahead = AHEAD_PREPARED;
        launch_go_on(slot);
        return false;
    }
    if (slot->ahead != AHEAD_HOLDING || report != CONTROL_HELD)
        return false;
    slot->ahead = AHEAD_HELD;
    return true;
}

/* Whether what was done ahead is what this START asks for. */
static bool is_as_template(const struct slot *slot)
{
    const struct wire_start *start = &slot->message.start, *done;

    if (!slot->family)
        return false;
    done = &slot->family->slot->message.start;
    return start->uid_index == done->uid_index && start->memory_mb == done->memory_mb &&
           start->tmp_mb == done->tmp_mb && strcmp(start->code, done->code) == 0 &&
           strcmp(start->runtime, done->runtime) == 0 && strcmp(start->hostname, done->hostname) == 0;
}

static int start_held(struct slot *slot)
{
    slot->ahead = AHEAD_NOTHING; /* from here on it is the environment's */
    slot->failure = WIRE_FAIL_TEMPLATE;
    if (!is_as_template(slot))
        return err_set(&slot->why, ERR_INVALID, 0, "cloning: not what the template was made for");
    if (limit_cpu(slot, slot->message.start.cpu_millis) < 0)
        return -EIO;
    return template_ask(slot);
}

/* ------------------------------------------------------------------ START */

int launch_start(struct slot *slot)
{
    const struct wire_start *start = &slot->message.start;
    int r;

    slot->exit = (struct wire_exited){ .env_id = slot->env_id, .kind = WIRE_EXIT_SIGNAL, .value = 9 };
    slot->exit_text[0] = '\0';
    slot->oom_kills = slot->state.restarted ? cgroup_oom_kills(slot->cgroup) : 0; /* a new group has none */
    slot->soiled = true;
    if (slot->ahead == AHEAD_HELD)
        return start_held(slot);
    slot->failure = WIRE_FAIL_SYSTEM;
    r = limit_cpu(slot, start->cpu_millis);
    if (r == 0)
        r = launch(slot, start);
    if (r == 0 && slot->clone.state != CLONE_HOLDING)
        launch_tell_started(slot);
    return r;
}
