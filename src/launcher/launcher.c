/* The loop, and what is done when nobody asks for anything: preparing. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "launcher/launcher_priv.h"
#include "launcher/setup_priv.h"
#include "launcher/templates.h"
#include "sandbox/keeper.h"
#include "sandbox/net.h"

enum {
    MAX_EVENTS = 64,
    TICK_US = 1000000,
    LINGER_US = 10000,
    QUICK_TICK_US = 20000,
    ANNOUNCE_LATEST_US = 5000000,
    HOPELESS_FAILURES = 3
};

int launcher_watch(struct launcher *launcher, int fd, struct watch *watch, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = watch };

    return epoll_ctl(launcher->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void launcher_fail(struct launcher *launcher, const struct err *err)
{
    if (!launcher->failed)
        launcher->why = *err;
    launcher->failed = launcher->stopping = true;
}

/* ------------------------------------------------------------------ events */

static void on_wire(void *owner)
{
    struct launcher *launcher = owner;

    if (launcher->out_watched)
        outbox_flush(launcher);
    requests_read(launcher);
}

/* The supervisor never writes: the end of the pipe means that it is gone. */
static void on_supervisor(void *owner)
{
    struct launcher *launcher = owner;
    char byte;
    ssize_t n = read(launcher->config->supervisor_fd, &byte, 1);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        launcher->stopping = true;
}

static void on_signal(void *owner)
{
    struct launcher *launcher = owner;
    struct signalfd_siginfo info;

    if (read(launcher->signals, &info, sizeof info) == (ssize_t)sizeof info)
        launcher->stopping = true;
}

static void on_keeper(void *owner)
{
    volumes_on_answer(owner);
}

static void on_net(void *owner)
{
    net_on_event(((struct launcher *)owner)->net);
}

/* ------------------------------------------------------------------ when there is time */

static unsigned length(const struct list *list, unsigned at_most)
{
    unsigned count = 0;

    list_each(at, list)
    {
        if (++count == at_most)
            break;
    }
    return count;
}

/* A free slot without processes. Returns NULL when all have some. */
static struct slot *find_cold(const struct list *cold, unsigned *ret_brewing)
{
    struct slot *found = NULL;

    *ret_brewing = 0;
    list_each(at, cold)
    {
        struct slot *slot = list_entry(at, struct slot, node);

        if (slot->state.husk == HUSK_BREWING)
            ++*ret_brewing;
        else if (slot->state.husk == HUSK_NONE && !found)
            found = slot;
    }
    return found;
}

/* An environment that was just started needs the processors more than the one after it, as long as one is
 * left for that. */
static bool must_wait(const struct launcher *launcher)
{
    uint64_t now_us = clock_us();

    return now_us < launcher->brew_pause_until_us ||
           (now_us - launcher->last_request_us < LINGER_US && !list_empty(&launcher->ready));
}

/* Slots that will be free again by themselves. */
static unsigned count_leaving(const struct launcher *launcher, const struct template *template)
{
    unsigned count = 0;

    list_each(at, &launcher->busy)
    {
        const struct slot *slot = list_entry(at, struct slot, node);

        count += slot->state.life == SLOT_LEAVING && slot->family == template;
    }
    return count;
}

/* A runtime's template serves many functions, a version's at first only those who call it now and then. */
static unsigned wanted_spare(const struct launcher *launcher, const struct template *template)
{
    unsigned busy = 0;

    if (!template || template->serves_all)
        return launcher->config->spare_slots;
    list_each(at, &launcher->busy) busy += list_entry(at, struct slot, node)->family == template;
    return busy < launcher->config->spare_slots ? busy + 1 : launcher->config->spare_slots;
}

/* template: NULL = slots for everybody. Returns whether it did anything. */
static bool prepare_slot(struct launcher *launcher, struct template *template)
{
    const struct list *ready = template ? &template->ready : &launcher->ready;
    unsigned spare = wanted_spare(launcher, template), brewing;
    struct slot *slot = find_cold(template ? &template->cold : &launcher->cold, &brewing);
    struct err err = { 0 };

    if (length(ready, spare) + brewing >= spare)
        return false;
    /* Else there would be one more each time that many end at once. */
    if (!slot && length(ready, spare) + brewing + count_leaving(launcher, template) >= spare)
        return false;
    /* A family leaves room for ordinary ones. */
    if (!slot &&
        launcher->slot_count + (template ? launcher->config->spare_slots : 0) < launcher->config->max_slots) {
        slot = template ? template_add_slot(template, &err) : slot_new(launcher, NULL, -1, &err);
        if (!slot) {
            log_error("new slot: %s", err.text);
            launcher->brew_pause_until_us = clock_us() + 1000000;
        }
    }
    if (!slot)
        return false;
    slot->surplus = false;
    slot_event(slot, SLOT_ON_BREW);
    return true;
}

/* Each template brings slots of its own; those of the ones that have ended would add up. */
static bool remove_surplus(struct launcher *launcher)
{
    list_each(at, &launcher->cold)
    {
        struct slot *slot = list_entry(at, struct slot, node);

        if (slot->surplus && slot->state.husk == HUSK_NONE && list_empty(&slot->brew_node)) {
            slot_remove(slot);
            return true;
        }
    }
    return false;
}

/* One step towards the wanted reserve. Returns whether it did anything. */
static bool prepare(struct launcher *launcher)
{
    if (must_wait(launcher))
        return false;
    if (!list_empty(&launcher->brews)) {
        slot_brew(list_entry(launcher->brews.next, struct slot, brew_node));
        return true;
    }
    volumes_refill(launcher);
    if (prepare_slot(launcher, NULL))
        return true;
    list_each(at, &launcher->templates)
    {
        struct template *template = list_entry(at, struct template, node);

        if (template->state == TEMPLATE_READY && prepare_slot(launcher, template))
            return true;
    }
    return remove_surplus(launcher);
}

static void tick(struct launcher *launcher)
{
    struct list *const lists[] = { &launcher->busy, &launcher->cold };

    for (size_t i = 0; i < 2; i++) {
        list_each_safe(at, lists[i]) slot_tick(list_entry(at, struct slot, node));
    }
    slot_bury_cgroups(launcher);
}

/* irorid may begin when the reserve is there, or when that takes too long. When not even one environment can
 * be prepared, there is no point in going on. */
static void announce(struct launcher *launcher)
{
    unsigned spare = launcher->config->spare_slots, failures = 0;

    if (launcher->announced)
        return;
    list_each(at, &launcher->cold) failures += list_entry(at, struct slot, node)->brew_failures;
    if (failures >= HOPELESS_FAILURES && list_empty(&launcher->ready)) {
        struct slot *slot = list_entry(launcher->cold.next, struct slot, node);

        launcher_fail(launcher, &slot->why);
        return;
    }
    if ((length(&launcher->ready, spare) < spare || !volumes_reserve_ready(launcher)) &&
        clock_us() - launcher->started_us < ANNOUNCE_LATEST_US)
        return;
    launcher->announced = true;
    setup_announce(launcher);
}

/* ------------------------------------------------------------------ the loop */

/* Requests go before preparations: those are done one at a time, and only after a look whether somebody asks.
 */
static void loop(struct launcher *launcher)
{
    uint64_t next_tick_us = 0;
    bool more = true;

    while (!launcher->stopping) {
        struct epoll_event events[MAX_EVENTS];
        uint64_t now_us;
        bool quick = !launcher->announced || !list_empty(&launcher->dead_cgroups) || must_wait(launcher);
        int n = epoll_wait(launcher->epoll, events, MAX_EVENTS,
                           more    ? 0
                           : quick ? QUICK_TICK_US / 1000
                                   : TICK_US / 1000);

        for (int i = 0; i < n && !launcher->stopping; i++) {
            const struct watch *watch = events[i].data.ptr;

            watch->handler(watch->owner);
        }
        templates_bury(launcher);
        requests_resume(launcher);
        more = n > 0 || prepare(launcher);
        now_us = clock_us();
        if (now_us >= next_tick_us) {
            tick(launcher);
            next_tick_us = now_us + (quick ? QUICK_TICK_US : TICK_US);
        }
        announce(launcher);
    }
}

static int watch_signals(struct launcher *launcher)
{
    sigset_t set;

    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGCHLD, SIG_DFL); /* ignored, children would vanish without a status */
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    launcher->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return launcher->signals < 0 ? -errno : 0;
}

static int watch_everything(struct launcher *launcher, struct err *err)
{
    const struct launcher_config *config = launcher->config;
    int r = fcntl(config->wire_fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;

    if (r == 0)
        r = launcher_watch(launcher, config->wire_fd, &launcher->on_wire, EPOLLIN);
    if (r == 0 && config->supervisor_fd >= 0)
        r = launcher_watch(launcher, config->supervisor_fd, &launcher->on_supervisor, EPOLLIN);
    if (r == 0)
        r = launcher_watch(launcher, launcher->signals, &launcher->on_signal, EPOLLIN);
    if (r == 0)
        r = launcher_watch(launcher, keeper_fd(launcher->keeper), &launcher->on_keeper, EPOLLIN);
    if (r == 0 && net_event_fd(launcher->net) >= 0)
        r = launcher_watch(launcher, net_event_fd(launcher->net), &launcher->on_net, EPOLLIN);
    return r < 0 ? err_set(err, ERR_SYSTEM, -r, "epoll") : 0;
}

static struct launcher *make(const struct launcher_config *config, struct err *err)
{
    struct launcher *launcher = calloc(1, sizeof *launcher);
    int r;

    if (!launcher) {
        (void)err_set(err, ERR_SYSTEM, ENOMEM, "launcher");
        return NULL;
    }
    launcher->config = config;
    launcher->started_us = clock_us();
    launcher->data = launcher->code = launcher->share = launcher->scratch = launcher->lock = launcher->null =
        launcher->init_program = launcher->home_netns = launcher->signals = -1;
    launcher->encoded = BUF_INIT(WIRE_MAX_BYTES);
    launcher->on_wire = (struct watch){ on_wire, launcher };
    launcher->on_supervisor = (struct watch){ on_supervisor, launcher };
    launcher->on_signal = (struct watch){ on_signal, launcher };
    launcher->on_keeper = (struct watch){ on_keeper, launcher };
    launcher->on_net = (struct watch){ on_net, launcher };
    list_init(&launcher->ready);
    list_init(&launcher->cold);
    list_init(&launcher->busy);
    list_init(&launcher->brews);
    list_init(&launcher->deferred);
    list_init(&launcher->templates);
    list_init(&launcher->dropped_templates);
    list_init(&launcher->dead_cgroups);
    list_init(&launcher->inspectors);
    list_init(&launcher->out);
    for (size_t i = 0; i < ENV_BUCKETS; i++)
        list_init(&launcher->environments[i]);
    volumes_init(launcher);
    launcher->slots = calloc(config->max_slots, sizeof(struct slot *));
    launcher->free_indexes = calloc(config->max_slots, sizeof *launcher->free_indexes);
    launcher->epoll = epoll_create1(EPOLL_CLOEXEC);
    r = launcher->epoll < 0 || !launcher->slots || !launcher->free_indexes ? -errno : watch_signals(launcher);
    if (r < 0)
        (void)err_set(err, ERR_SYSTEM, -r, "launcher");
    return launcher;
}

int launcher_run(const struct launcher_config *config, struct err *err)
{
    struct err why = { 0 };
    struct launcher *launcher = make(config, &why);

    if (!launcher) {
        *err = why;
        return -ENOMEM;
    }
    if (!why.code && setup_open(launcher, &why) == 0 && watch_everything(launcher, &why) == 0) {
        loop(launcher);
        if (launcher->failed)
            why = launcher->why;
    }
    setup_close(launcher);
    if (why.code)
        *err = why;
    return why.code ? (why.sys ? -why.sys : -EINVAL) : 0;
}
