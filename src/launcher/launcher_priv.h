#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "launcher/husk.h"
#include "launcher/launcher.h"
#include "launcher/slot_state.h"
#include "wire/wire.h"

enum { ENV_BUCKETS = 1024, MAX_VOLUME_SIZES = 8 };

struct launcher;
struct template;

/* What epoll hands back. Handlers may run once more after their descriptor was closed in the same round, and
 * must bear it. */
struct watch {
    void (*handler)(void *owner);
    void *owner;
};

enum clone_state { CLONE_NONE, CLONE_HOLDING, CLONE_ASKED, CLONE_MADE };

/* A slot's environment as a clone; templates.c. */
struct clone {
    enum clone_state state;
    struct list node; /* in template.asked */
    uint64_t number;  /* of the request to the image */
    int sync;         /* on which the clone speaks until it is made; -1 = none */
    struct watch on_sync;
    bool freeze, limit; /* once it is made: the image waits for it, and would stand still with it */
    unsigned cpu_millis;
    bool done;   /* said by the clone */
    int32_t pid; /* in the template's namespace; 0 = not told yet */
};

/* What is done of a START before it comes; launch.c. */
enum ahead_state {
    AHEAD_NOTHING,
    AHEAD_BREWING,  /* its init prepares itself */
    AHEAD_PREPARED, /* the volume is missing */
    AHEAD_HOLDING,  /* its init takes identity, mounts and /tmp */
    AHEAD_HELD,
};

struct slot {
    struct list node;      /* in launcher.ready, .cold or .busy, as the state says */
    struct list brew_node; /* in launcher.brews while a husk is to be made when there is time */
    struct list env_node;  /* in launcher.environments while there is one */
    struct launcher *launcher;
    struct slot_state state;
    unsigned index;
    int netns;
    struct cgroup *cgroup;
    uint64_t oom_kills; /* in the group, at the START */
    struct husk husk;
    struct watch on_control, on_pidfd;
    enum ahead_state ahead;
    unsigned brew_failures;  /* in a row */
    bool soiled;             /* an earlier environment may have left connections */
    uint64_t packets;        /* sent, when the slot was cleaned last */
    struct template *family; /* in whose namespaces it is made; NULL = none */
    bool surplus;            /* made for a template that has ended: not kept */
    bool given_away;         /* an ordinary slot is wanted more: it becomes one once its processes are gone */

    /* of the environment */
    uint64_t env_id;
    char *packet; /* START or RESTART; owned, message points into it */
    struct wire_message message;
    bool frozen, limited; /* limited: in CPU */
    uint64_t volume_id;   /* 0 = none yet */
    bool volume_asked;    /* it is being made */
    int volume_mount;     /* for the next START; -1 = none */
    struct template *own; /* that this environment is, or is to become; NULL = none */
    bool adopted;         /* its init outlives its program */
    struct clone clone;
    struct wire_exited exit;
    char exit_text[256];
    enum wire_failure failure;
    struct err why;
    uint64_t dying_since_us; /* 0 = not */
    uint64_t waiting_since_us;
};

/* Volumes of one size that are ready. */
struct volume_size {
    unsigned mb, wanted, asked; /* asked: on their way from the keeper */
    uint64_t used_us;
    struct list ready; /* struct ready_volume */
};

struct launcher {
    const struct launcher_config *config;
    int epoll, signals;
    int data, code, share, scratch, lock, null, init_program, home_netns;
    struct watch on_wire, on_supervisor, on_signal, on_keeper, on_net;
    bool stopping, failed;
    struct err why; /* of failed */

    struct cgroups *cgroups;
    struct net *net;
    struct skeleton *skeleton;
    struct keeper *keeper;
    struct runtimes *runtimes;
    pid_t watchman;
    const struct sock_filter *filter;
    size_t filter_count;

    struct slot **slots; /* slot_count of them, at most config->max_slots */
    unsigned slot_count;
    unsigned *free_indexes; /* of slots that were removed; free_index_count of them */
    unsigned free_index_count, next_index;
    unsigned generation; /* of control groups, so that names never repeat */
    struct list ready, cold, busy, brews;
    struct list environments[ENV_BUCKETS];
    struct list deferred; /* STARTs for which all slots are still being cleaned */
    struct list templates;
    struct list dropped_templates; /* their handlers may still run in this round */
    struct list inspectors;        /* inspect.c */
    struct list dead_cgroups;      /* to be removed when their last process has left */

    struct volume_size sizes[MAX_VOLUME_SIZES];
    uint64_t next_volume_id;

    struct list out; /* messages that irorid's socket had no room for */
    bool out_watched;
    bool announced; /* READY was sent */
    uint64_t started_us, brew_pause_until_us, last_request_us;
    struct buf encoded;
    char packet[WIRE_MAX_BYTES];
};

/* launcher.c */
int launcher_watch(struct launcher *launcher, int fd, struct watch *watch, uint32_t events);
/** Ends the loop with an error. */
void launcher_fail(struct launcher *launcher, const struct err *err);

/* outbox.c */
/** Sends, or keeps for later; fds: borrowed. */
void outbox_send(struct launcher *launcher, const struct wire_message *message, const int *fds,
                 size_t fd_count);
void outbox_flush(struct launcher *launcher);
void outbox_done(struct launcher *launcher);

/* requests.c */
void requests_read(struct launcher *launcher);
/** Takes up STARTs that waited for a slot. */
void requests_resume(struct launcher *launcher);
void requests_done(struct launcher *launcher);

/* inspect.c */
/** Answers INSPECT, later. */
void inspect_begin(struct launcher *launcher, const struct wire_message *message);
void inspect_done(struct launcher *launcher);

/* launch.c */
/** Carries out a START or RESTART for which everything is there; what it cannot is in slot.failure and .why.
 */
int launch_start(struct slot *slot);
/** Whether its START is done ahead. */
bool launch_is_ahead(const struct slot *slot);
/** Its husk has just been made. */
void launch_prepare(struct slot *slot);
/** Its husk says READY or HELD. Returns whether all is done that can be done before a START. */
bool launch_is_prepared(struct slot *slot, enum control_type report);
/** The volume of what is done ahead has come. */
void launch_go_on(struct slot *slot);
/** It cannot be done: the START fails, or the husk is made anew. */
void launch_fail_ahead(struct slot *slot);
void launch_tell_started(struct slot *slot);

/* volumes.c */
void volumes_init(struct launcher *launcher);
/** Gives the slot a volume when one is ready; else asks for one, and slot_event() comes later. */
void volumes_take(struct launcher *launcher, struct slot *slot, unsigned mb);
/** Asks what lies in the volume of a template-to-be; template_on_measured() comes. */
void volumes_measure(struct launcher *launcher, const struct slot *slot);
void volumes_remount(struct launcher *launcher, const struct slot *slot);
void volumes_release(struct launcher *launcher, struct slot *slot);
void volumes_on_answer(struct launcher *launcher);
/** Asks for what the reserve lacks. */
void volumes_refill(struct launcher *launcher);
bool volumes_reserve_ready(const struct launcher *launcher);
void volumes_done(struct launcher *launcher);

/* slot.c */
/** Makes a slot with its network; slow. family: NULL = none, netns: then -1. Returns NULL with err set. */
struct slot *slot_new(struct launcher *launcher, struct template *family, int netns, struct err *err);
struct slot *slot_free(struct slot *slot);
/** Unmakes one without processes and environment; not from a handler. */
void slot_remove(struct slot *slot);
struct slot *slot_find(const struct launcher *launcher, uint64_t env_id);
/** packet: taken; message points into it. The slot must be free. */
void slot_start(struct slot *slot, char *packet, const struct wire_message *message);
void slot_restart(struct slot *slot, char *packet, const struct wire_message *message);
void slot_event(struct slot *slot, enum slot_event event);
/** Prepares a husk that was put off; slow. */
void slot_brew(struct slot *slot);
/** Nobody knows its environment any more. */
void slot_forget_id(struct slot *slot);
/** Puts it into the list that its state says. */
void slot_refile(struct slot *slot);
/** The clone in it has ended with this status of waitpid(). */
void slot_clone_ended(struct slot *slot, int status);
/** Ends the processes; EXITED follows. */
void slot_stop(struct slot *slot);
void slot_freeze(struct slot *slot, bool frozen);
void slot_limit_cpu(struct slot *slot, unsigned millis);
/** Does what was asked for while its clone was being made. */
void slot_settle_clone(struct slot *slot);
/** Called about every second: repeats what may have been lost, and complains. */
void slot_tick(struct slot *slot);
/** Removes groups that are empty by now. */
void slot_bury_cgroups(struct launcher *launcher);

/* mounts.c */
/** Opens what a START is to see. Descriptors in ret_mounts are for the caller to close, also after a failure.
 */
int mounts_open(struct launcher *launcher, const struct wire_start *start, int volume_mount,
                struct husk_mounts *ret_mounts, enum wire_failure *ret_failure, struct err *err);

/* watchman.c */
/** Starts the process that ends all sandboxes after the launcher's death. Call it when control groups and
 * lock are open, and nothing else that must not outlive the launcher. */
int watchman_start(const struct launcher *launcher, pid_t *ret_pid, struct err *err);
