#pragma once

/*
 * What the kernel says of a process in /proc, as far as a template needs it. Pure: texts in, numbers out. The
 * texts are the kernel's, but names in them are a function's choice.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct proc_status {
    uint64_t tid;     /* in the innermost process id namespace */
    uint64_t pending; /* signals, of the thread and of the process */
    uint64_t blocked;
    unsigned uid, gid;
    unsigned seccomp;      /* mode */
    uint64_t capabilities; /* effective or permitted */
    uint64_t anonymous_kb; /* of the process's own memory, also what lies in swap space */
    bool shadow_stack;
    char processors[128]; /* Cpus_allowed, "" when longer */
};
/** /proc/PID/task/TID/status. False when a field is missing that every kernel since 4.1 has. */
bool proc_parse_status(const char *text, struct proc_status *ret_status);

struct proc_area {
    uint64_t start, end;
    bool shared, writable, dontfork, device;
    bool may_write;   /* mprotect() can make it writable */
    const char *name; /* not terminated */
    size_t name_len;
};
/** /proc/PID/smaps: calls each() for every area. False when the text is not understood or each() returned
 * false. */
bool proc_parse_smaps(const char *text, bool (*each)(const struct proc_area *area, void *ctx), void *ctx);

enum proc_fd_kind {
    PROC_FD_OTHER, /* the link of /proc/PID/fd says what */
    PROC_FD_EPOLL,
    PROC_FD_EVENTFD,
    PROC_FD_TIMERFD,
};
struct proc_watch {
    int fd;
    uint32_t events;
    uint64_t data, inode;
};
enum { PROC_MAX_WATCHES = 128 };
struct proc_fdinfo {
    uint32_t flags;
    uint64_t position, count;
    uint32_t clock;
    uint64_t times[4]; /* interval s, ns, value s, ns */
    uint64_t ticks;    /* of a timer, that nobody has read */
    int semaphore;     /* an eventfd: 1 or 0; -1 = not said, as before Linux 6.5 */
    bool locked;
    struct proc_watch watches[PROC_MAX_WATCHES];
    size_t watch_count;
    bool too_many;
};
/** /proc/PID/fdinfo/FD. False when it is not understood. */
bool proc_parse_fdinfo(const char *text, struct proc_fdinfo *ret_info);
/** The kind that the link of /proc/PID/fd names. */
enum proc_fd_kind proc_fd_kind(const char *link);
/** "pipe:[123]" and "socket:[123]": the number; 0 when it is neither. */
uint64_t proc_link_inode(const char *link, const char *type);
