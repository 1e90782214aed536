#pragma once

/*
 * A husk: irori-init as PID 1 in namespaces of its own, prepared and waiting for its one START.
 *
 * Context: the launcher's thread. husk_spawn() takes some hundred microseconds: not on the way of a request
 * if it can be helped.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "sandbox/cgroup.h"
#include "wire/control.h"

struct err;
struct wire_start;

struct husk {
    pid_t pid; /* 0 = none */
    int pidfd, control;
    int listener;         /* of the Runtime API; shut down, not only closed, at the end */
    int log;              /* -1 once handed on */
    int uid_map, gid_map; /* to be written at the START */
    /* Of a husk in a family, for a clone: both ends of a connection to the listener, and the log's write end.
     */
    int client, server, log_out;
    /* Of its control group: about its memory, and for a clone to join by (cgroup_join_fds()). */
    int memory_usage, memory_stat, memory_peak; /* peak: -1 where the kernel does not keep it */
    int joins[CGROUP_MAX_DIRS], join_count;
};

#define HUSK_NONE_INIT                  \
    ((struct husk){ .pidfd = -1,        \
                    .control = -1,      \
                    .listener = -1,     \
                    .log = -1,          \
                    .uid_map = -1,      \
                    .gid_map = -1,      \
                    .client = -1,       \
                    .server = -1,       \
                    .log_out = -1,      \
                    .memory_usage = -1, \
                    .memory_stat = -1,  \
                    .memory_peak = -1 })

/* Of the function's user, inside; recorded on AWS. */
enum { HUSK_UID = 993, HUSK_GID = 990 };

/* A template's namespaces, in which the slots of its clones are made: the image may enter what its own user
 * owns. */
enum {
    HUSK_FAMILY_IDS = 100000,
    HUSK_FAMILY_ID_COUNT = 65535
}; /* ids of functions, from HUSK_FAMILY_IDS + 1 on */

struct husk_place {
    int program;    /* irori-init */
    int null;       /* /dev/null */
    int netns;      /* of the slot */
    int home_netns; /* the launcher's own */
    const struct cgroup *cgroup;
    const struct sock_filter *filter;
    size_t filter_count;
    int family; /* pidfd of the init of a template's namespaces; -1 = none */
};

/** Starts it; the working directory must be the sandbox's root to be. All descriptors in place are borrowed.
 */
int husk_spawn(const struct husk_place *place, struct husk *ret_husk, struct err *err);

struct husk_mounts {
    int fds[CONTROL_MAX_MOUNTS];
    uint8_t places[CONTROL_MAX_MOUNTS];
    uint32_t count;
};

struct husk_start {
    const struct wire_start *start; /* borrowed, as are the next ones */
    const struct husk_mounts *mounts;
    bool hold;                        /* run nothing: a clone comes */
    bool is_template;                 /* the process will be captured */
    const struct sock_filter *filter; /* instead of the one it was spawned with; NULL = none */
    size_t filter_count;
    uint32_t uid, gid;    /* of the function in the user namespace above: the host's, or the family's */
    uint32_t family_base; /* != 0: the ids of all functions are mapped too, as HUSK_FAMILY_IDS + 1 and so on;
                             the host's first one */
    uint32_t host_uid;
};

/** Gives it its identity and its START. */
int husk_launch(struct husk *husk, const struct husk_start *start, struct err *err);
/** Tells the init of a template-to-be to outlive its program. */
int husk_adopt(const struct husk *husk);
/** A network namespace for a slot in the family of that init, for the caller to close. */
int husk_family_netns(int family, int *ret_netns, struct err *err);
/** Returns 1 with a report, 0 when there is none, negative errno when there will be none. Its texts may be
 * hostile but end. */
int husk_receive(const struct husk *husk, struct control_report *ret_report);
/** Returns whether its pid namespace is empty; reaps it then. */
int husk_reap(const struct husk *husk);
void husk_kill(const struct husk *husk);
/** Closes what others hold now: the log, the connection, the descriptors of the control group. */
void husk_hand_over(struct husk *husk);
/** Closes all descriptors. */
void husk_reset(struct husk *husk);
