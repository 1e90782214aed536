#pragma once

/*
 * Messages between irori-launcher and irori-init, PID 1 of an environment, over its SOCK_SEQPACKET socket
 * (descriptor 3).
 *
 *   SETUP ──▶                the filter; sent before the process exists
 *             ◀── READY | FAILED
 *   START ──▶                who to become, what to mount, what to run; the mounts as descriptors
 *             ◀── EXITED     what the runtime process came to, or (WIRE_EXIT_EXEC, _LOADER)
 *                          why there never was one
 *
 * A START that asks to hold runs nothing: the slot is for a clone, which comes in from outside.
 *             ◀── HELD
 *
 * ADOPT ──▶                  to a template: from now on the init outlives its program, and tells of every
 * child ◀── ADOPTED, then CHILD for each that ends
 *
 * Both ends are one build on one machine: structs travel as they are. After START the process at the other
 * end has the function's identity, so the launcher takes every answer as hostile. Only kernel headers:
 * irori-init is linked with another C library.
 */

#include <linux/filter.h>
#include <stdint.h>

enum {
    CONTROL_FD = 3,     /* in irori-init, as it is executed */
    CONTROL_LOG_FD = 4, /* write end of what becomes the runtime's stdout and stderr */
    CONTROL_MAX_BYTES = 160 * 1024,
    CONTROL_MAX_FILTER = 4096,
    CONTROL_MAX_MOUNTS = 8,
    CONTROL_PROCESSES_MAX = 1024, /* RLIMIT_NPROC of what runs in a sandbox */
    CONTROL_PROGRAM_PID = 2,      /* the first process that an init makes in its namespace */
};

enum control_type {
    CONTROL_SETUP = 1,
    CONTROL_START,
    CONTROL_READY,
    CONTROL_FAILED,
    CONTROL_EXITED,
    CONTROL_HELD,
    CONTROL_ADOPT,
    CONTROL_ADOPTED,
    CONTROL_CHILD,
};

struct control_setup {
    uint32_t type;
    uint32_t filter_count; /* at most CONTROL_MAX_FILTER */
    struct sock_filter filter[];
};

/* Mounts are attached in this order, so that one may lie in another. */
enum control_place {
    CONTROL_AT_TASK,
    CONTROL_AT_LANG,
    CONTROL_AT_OPT,
    CONTROL_AT_RUNTIME,
    CONTROL_AT_NODE_SDK,
    CONTROL_AT_PYTHON_SDK,
    CONTROL_AT_CODE_CACHE,
    CONTROL_AT_TMP,
    CONTROL_PLACE_COUNT
};

struct control_start {
    uint32_t type;
    uint32_t uid, gid; /* inside; the map is already written */
    uint32_t mount_count;
    uint32_t argc, envc; /* within WIRE_MAX_ARGS, WIRE_MAX_ENV; argc 0: hold */
    /* Only its soft limit of processes is set: those of all its clones will count as its own, and where root
     * may not raise limits, a hard one could never be lifted. Its control group holds it. */
    uint32_t is_template;
    uint32_t filter_count; /* 0: the filter of the SETUP; else another one stands behind the strings */
    uint8_t places[CONTROL_MAX_MOUNTS]; /* of the descriptors that come with the message, ascending */
    char hostname[64];
    char strings[]; /* argc + envc texts, each with its NUL */
};

struct control_report {
    uint32_t type; /* READY, FAILED, EXITED, HELD, ADOPTED, CHILD */
    uint32_t kind; /* EXITED: enum wire_exit_kind; CHILD: process id in the init's namespace */
    int32_t value; /* EXITED: see there; FAILED: errno; CHILD: status as of waitpid() */
    char step[52]; /* FAILED, and EXITED with WIRE_EXIT_EXEC or _LOADER: what was being done */
};

struct control_adopt {
    uint32_t type;
};
