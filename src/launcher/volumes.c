/* The reserve of empty /tmp volumes, and the talk with their keeper. */

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "launcher/launcher_priv.h"
#include "launcher/templates.h"
#include "sandbox/keeper.h"

enum { USUAL_MB = 512, UNUSUAL_RESERVE = 2, MAX_ASKED = 4 };

struct ready_volume {
    struct list node;
    uint64_t id;
    int mount;
};

static void ask(struct launcher *launcher, enum keeper_request request, uint64_t id, uint64_t argument)
{
    int r = keeper_ask(launcher->keeper, request, id, argument);
    struct err err;

    if (r == 0)
        return;
    (void)err_set(&err, ERR_SYSTEM, -r, "the keeper of volumes does not answer");
    launcher_fail(launcher, &err);
}

void volumes_init(struct launcher *launcher)
{
    for (size_t i = 0; i < MAX_VOLUME_SIZES; i++)
        list_init(&launcher->sizes[i].ready);
    launcher->sizes[0].mb = USUAL_MB;
    launcher->sizes[0].wanted = launcher->config->spare_slots;
    launcher->sizes[0].used_us = UINT64_MAX;
}

static struct volume_size *find_size(struct launcher *launcher, unsigned mb)
{
    for (size_t i = 0; i < MAX_VOLUME_SIZES; i++) {
        if (launcher->sizes[i].mb == mb)
            return &launcher->sizes[i];
    }
    return NULL;
}

static void drop_ready(struct launcher *launcher, struct ready_volume *ready)
{
    list_remove(&ready->node);
    (void)close(ready->mount);
    ask(launcher, KEEPER_DISCARD, ready->id, 0);
    free(ready);
}

/* The size used longest ago gives way. */
static struct volume_size *add_size(struct launcher *launcher, unsigned mb)
{
    struct volume_size *size = &launcher->sizes[1];

    for (size_t i = 2; i < MAX_VOLUME_SIZES; i++) {
        if (launcher->sizes[i].used_us < size->used_us)
            size = &launcher->sizes[i];
    }
    list_each_safe(at, &size->ready) drop_ready(launcher, list_entry(at, struct ready_volume, node));
    size->mb = mb;
    size->asked = 0;
    size->wanted =
        launcher->config->spare_slots < UNUSUAL_RESERVE ? launcher->config->spare_slots : UNUSUAL_RESERVE;
    return size;
}

/* The volume and a mount of it are there; a clone's gets what the template's INIT has left in its own. */
static void taken(struct launcher *launcher, struct slot *slot)
{
    const struct template *template = slot->ahead == AHEAD_NOTHING ? NULL : slot->family;

    if (template && template->tmp_entries > 0)
        ask(launcher, KEEPER_FILL, slot->volume_id, template->slot->volume_id);
    else
        slot->state.volume = true;
}

void volumes_measure(struct launcher *launcher, const struct slot *slot)
{
    ask(launcher, KEEPER_MEASURE, slot->volume_id, 0);
}

void volumes_take(struct launcher *launcher, struct slot *slot, unsigned mb)
{
    struct volume_size *size = find_size(launcher, mb);
    struct ready_volume *ready;

    if (!size)
        size = add_size(launcher, mb);
    if (size != &launcher->sizes[0])
        size->used_us = clock_us();
    if (list_empty(&size->ready)) {
        size->asked++;
        slot->volume_asked = true;
        slot->volume_id = ++launcher->next_volume_id;
        ask(launcher, KEEPER_MAKE, slot->volume_id, mb);
        return;
    }
    ready = list_entry(size->ready.next, struct ready_volume, node);
    list_remove(&ready->node);
    slot->volume_id = ready->id;
    slot->volume_mount = ready->mount;
    free(ready);
    taken(launcher, slot);
}

void volumes_remount(struct launcher *launcher, const struct slot *slot)
{
    if (slot->volume_id)
        ask(launcher, KEEPER_REMOUNT, slot->volume_id, 0);
}

void volumes_release(struct launcher *launcher, struct slot *slot)
{
    if (slot->volume_mount >= 0)
        (void)close(slot->volume_mount);
    /* One that is still being made has no user when it comes, and so goes into the reserve. */
    if (slot->volume_id && !slot->volume_asked)
        ask(launcher, KEEPER_RELEASE, slot->volume_id, 0);
    slot->volume_mount = -1;
    slot->volume_asked = false;
    slot->volume_id = 0;
}

static unsigned count_ready(const struct volume_size *size)
{
    unsigned count = 0;

    list_each(at, &size->ready) count++;
    return count;
}

/* A volume without a user: into the reserve, or away when that is full. What comes back may stand beside what
 * was made in its place: else each environment would cost a new one, and an old one's end. */
static void store(struct launcher *launcher, const struct keeper_answer *answer)
{
    struct volume_size *size = find_size(launcher, answer->size_mb);
    struct ready_volume *ready = NULL;

    if (answer->mount < 0)
        return;
    if (size && count_ready(size) < 2 * size->wanted)
        ready = malloc(sizeof *ready);
    if (!ready) {
        (void)close(answer->mount);
        ask(launcher, KEEPER_DISCARD, answer->volume_id, 0);
        return;
    }
    *ready = (struct ready_volume){ .id = answer->volume_id, .mount = answer->mount };
    list_push_back(&size->ready, &ready->node);
}

static struct slot *user_of(struct launcher *launcher, uint64_t volume_id)
{
    for (unsigned i = 0; i < launcher->slot_count; i++) {
        if (launcher->slots[i]->volume_id == volume_id)
            return launcher->slots[i];
    }
    return NULL;
}

static void arrived(struct slot *slot)
{
    slot_event(slot, SLOT_ON_VOLUME);
    launch_go_on(slot);
}

static void failed(struct slot *slot)
{
    if (slot->ahead == AHEAD_NOTHING)
        slot_event(slot, SLOT_ON_FAILURE);
    else
        launch_fail_ahead(slot);
}

static void on_slot_answer(struct slot *slot, const struct keeper_answer *answer)
{
    slot->volume_asked = false;
    if (answer->failed || answer->mount < 0) {
        (void)err_set(&slot->why, ERR_SYSTEM, 0, "/tmp: %s", answer->text);
        log_error("slot %u: %s", slot->index, slot->why.text);
        slot->failure = WIRE_FAIL_SYSTEM;
        if (answer->request == KEEPER_MAKE)
            slot->volume_id = 0;
        failed(slot);
        return;
    }
    if (slot->volume_mount >= 0)
        (void)close(slot->volume_mount);
    slot->volume_mount = answer->mount;
    if (answer->request == KEEPER_MAKE)
        taken(slot->launcher, slot);
    if (answer->request != KEEPER_MAKE || slot->state.volume)
        arrived(slot);
}

static void on_filled(struct slot *slot, const struct keeper_answer *answer)
{
    if (!answer->failed) {
        arrived(slot);
        return;
    }
    (void)err_set(&slot->why, ERR_SYSTEM, 0, "cloning: %s", answer->text);
    log_warn("slot %u: %s", slot->index, slot->why.text);
    failed(slot);
}

void volumes_on_answer(struct launcher *launcher)
{
    struct keeper_answer answer;
    struct err err;
    int r;

    while ((r = keeper_receive(launcher->keeper, &answer)) > 0) {
        struct slot *slot = answer.request == KEEPER_RELEASE ? NULL : user_of(launcher, answer.volume_id);
        struct volume_size *size = find_size(launcher, answer.size_mb);

        if (size && answer.request == KEEPER_MAKE && size->asked > 0)
            size->asked--;
        if (answer.request == KEEPER_MEASURE || answer.request == KEEPER_FILL) {
            if (slot && answer.request == KEEPER_MEASURE)
                template_on_measured(slot, answer.failed ? answer.text : NULL, answer.entries);
            else if (slot)
                on_filled(slot, &answer);
            continue;
        }
        if (slot) {
            on_slot_answer(slot, &answer);
            continue;
        }
        if (answer.failed) {
            if (clock_us() >= launcher->brew_pause_until_us) /* once for all that were asked for together */
                log_error("/tmp: %s", answer.text);
            launcher->brew_pause_until_us = clock_us() + 1000000;
        }
        /* The mount of a released volume that was asked for before its release. */
        if (answer.request == KEEPER_REMOUNT && answer.mount >= 0)
            (void)close(answer.mount);
        else
            store(launcher, &answer);
    }
    if (r < 0) {
        (void)err_set(&err, ERR_SYSTEM, -r, "the keeper of volumes has ended");
        launcher_fail(launcher, &err);
    }
}

void volumes_refill(struct launcher *launcher)
{
    if (clock_us() < launcher->brew_pause_until_us)
        return;
    for (size_t i = 0; i < MAX_VOLUME_SIZES; i++) {
        struct volume_size *size = &launcher->sizes[i];

        while (size->mb && size->asked < MAX_ASKED && count_ready(size) + size->asked < size->wanted) {
            size->asked++;
            ask(launcher, KEEPER_MAKE, ++launcher->next_volume_id, size->mb);
        }
    }
}

bool volumes_reserve_ready(const struct launcher *launcher)
{
    return count_ready(&launcher->sizes[0]) >= launcher->sizes[0].wanted;
}

void volumes_done(struct launcher *launcher)
{
    for (size_t i = 0; i < MAX_VOLUME_SIZES; i++) {
        list_each_safe(at, &launcher->sizes[i].ready)
        {
            struct ready_volume *ready = list_entry(at, struct ready_volume, node);

            list_remove(&ready->node);
            (void)close(ready->mount);
            free(ready);
        }
    }
}
