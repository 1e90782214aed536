#pragma once

/*
 * A husk: irori-init as PID 1 in namespaces of its own, prepared and waiting for its one START.
 *
 * Context: the launcher's thread. husk_spawn() takes some hundred microseconds: not on the way of a request
 * if it can be helped.
 */

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
};

#define HUSK_NONE_INIT ((struct husk){ 0, -1, -1, -1, -1, -1, -1 })

/* Of the function's user, inside; recorded on AWS. */
enum { HUSK_UID = 993, HUSK_GID = 990 };

struct husk_place {
    int program;    /* irori-init */
    int null;       /* /dev/null */
    int netns;      /* of the slot */
    int home_netns; /* the launcher's own */
    const struct cgroup *cgroup;
    const struct sock_filter *filter;
    size_t filter_count;
};

/** Starts it; the working directory must be the sandbox's root to be. All descriptors in place are borrowed.
 */
int husk_spawn(const struct husk_place *place, struct husk *ret_husk, struct err *err);

struct husk_mounts {
    int fds[CONTROL_MAX_MOUNTS];
    uint8_t places[CONTROL_MAX_MOUNTS];
    uint32_t count;
};

/** Gives it its identity and its START. mounts: borrowed. uid: the host's. */
int husk_launch(struct husk *husk, const struct wire_start *start, const struct husk_mounts *mounts,
                uint32_t uid, struct err *err);
/** Returns 1 with a report, 0 when there is none, negative errno when there will be none. Its texts may be
 * hostile but end. */
int husk_receive(const struct husk *husk, struct control_report *ret_report);
/** Returns whether its pid namespace is empty; reaps it then. */
int husk_reap(const struct husk *husk);
void husk_kill(const struct husk *husk);
/** Closes all descriptors. */
void husk_reset(struct husk *husk);
