#pragma once

/*
 * Turns on IPv4 forwarding for as long as an instance lives, and puts back what was there when the last one
 * leaves, however each of them ended.
 *
 * Instances of one machine share a state folder (/run/irori/net, gone with the settings at a reboot):
 *     lock            taken while any of the rest is read or changed
 *     saved           the settings as they were before the first instance, one "NAME 0|1" a line
 *     users/INSTANCE  one per instance; a living one holds a POSIX record lock on it, which dies with its
 * process Forwarding is turned on for each device and for devices to come ("default"), not by the global
 * switch: that switch stays what it was, so that it tells later whether somebody else (a container engine)
 * has turned forwarding on meanwhile; then nothing is taken back.
 *
 * A process must not hold two guards, nor fork and go on in the child: record locks belong to the process.
 */

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

struct buf;
struct err;

enum { GUARD_DEVICES_MAX = 4096 };

struct guard_device {
    char name[IFNAMSIZ];
    bool forwarding;
};

/** The settings before the first instance. */
struct guard_state {
    bool all, by_default;
    size_t count;
    struct guard_device *devices; /* owned */
};

struct guard {
    int user_fd; /* holds the record lock; -1: not entered */
    struct guard_state before;
};
#define GUARD_INIT ((struct guard){ .user_fd = -1 })

/** Takes the lock that all instances of the machine share; blocks. Give it back by closing *ret_fd. */
int guard_lock(int *ret_fd, struct err *err);
/** Enters the instance and fills before; changes nothing yet. lock_fd must be held. -EBUSY when another
 * process is this instance. */
int guard_enter(struct guard *guard, const char *instance, struct err *err);
/** Turns forwarding on. */
int guard_enable(const struct guard *guard, struct err *err);
/** Leaves; restores when nobody else is left. Accepts a guard that was not entered. Takes the lock itself. */
void guard_leave(struct guard *guard, const char *instance);
/** Leaves in the place of a dead instance. -EBUSY when it is alive. */
int guard_sweep(const char *instance, struct err *err);
/** Whether somebody has turned on forwarding by the global switch since. */
bool guard_is_overridden(const struct guard *guard);

/** The two forms of the saved state; pure. */
int guard_state_write(const struct guard_state *state, struct buf *out);
int guard_state_read(const char *text, size_t len, struct guard_state *ret_state);
void guard_state_done(struct guard_state *state);

/** Writes one file below /proc/sys/net of the calling thread's network namespace. Returns 0 or -errno. */
int sysctl_net_write(const char *name, const char *value);
