#pragma once

/*
 * Messages between irorid and irori-launcher over one SOCK_SEQPACKET socket.
 *
 * One packet is one message: a fixed header and the fields that the type
 * names, each text length-prefixed, little endian, plus descriptors
 * (SCM_RIGHTS). Both sides check version, lengths and ranges; what does not
 * fit is refused whole. irorid holds the socket without blocking and queues;
 * the launcher reads one message after the other.
 *
 * irorid chooses env_id (never 0, never reused in a connection). For one
 * environment the order is:
 *
 *   START ──▶ STARTED | FAILED      FAILED: there is no environment
 *   (FREEZE | THAW | CPU)*          no answer
 *   STOP                            ends in EXITED, unless a RESTART comes first
 *   EXITED ◀──                      the runtime process is gone; the slot and /tmp wait
 *   RESTART ──▶ STARTED | FAILED    only after EXITED, or ends what runs and needs no EXITED
 *   KILL ──▶ GONE                   always answered, also after FAILED of a RESTART
 *
 * A template is started like an environment, with WIRE_START_TEMPLATE. Once it is captured, its own process
 * is gone, its Runtime API with it, and clones are made of it:
 *
 *   CAPTURE ──▶ CAPTURED            number 0: START may name it, text = "" or "N sockets", the number of
 *                                   connections that its clones find closed by their peer; 1: refused,
 *                                   text = why, and it waits for its KILL
 *   START with template_id ──▶ STARTED with WIRE_PARKED, as soon as the clone is asked for: what is written
 *                              to its connection waits for it
 *                         ──▶ FAILED with WIRE_FAIL_TEMPLATE, also after that STARTED: nothing was
 *                              read, there is no environment, and the same env_id may be STARTed
 *                              without a template
 *   EXITED ◀── | KILL ──▶ GONE      no more clones; those that live go on
 *
 * INSPECT ──▶ INSPECTED               what an environment has left in its processes and its /tmp; one at a
 *                                   time. None comes for an environment that is GONE meanwhile
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;

enum { WIRE_VERSION = 1, WIRE_MAX_BYTES = 128 * 1024, WIRE_MAX_FDS = 8 };

enum wire_type {
    /* irorid to launcher */
    WIRE_START = 1, /* struct wire_start */
    WIRE_RESTART,   /* struct wire_start; the same environment, slot and /tmp */
    WIRE_FREEZE,    /* env_id */
    WIRE_THAW,      /* env_id */
    WIRE_CPU,       /* env_id, number = millicores, 0 = no limit */
    WIRE_KILL,      /* env_id; the slot is cleaned and pooled */
    WIRE_STOP,      /* env_id; the processes end, the slot and /tmp wait as after EXITED */
    WIRE_CAPTURE,   /* env_id of a template that waits in `next` */
    WIRE_INSPECT,   /* env_id; values to look for in its files */
    /* launcher to irorid */
    WIRE_READY = 32, /* text = JSON about machine and runtimes; fds: as WIRE_FD_MEMORY_USAGE and _STAT, of all
                        environments together */
    WIRE_STARTED,    /* env_id, number = enum wire_started_flag; fds in enum wire_started_fd order */
    WIRE_FAILED,     /* env_id, text = why; number = enum wire_failure */
    WIRE_EXITED,     /* env_id, struct wire_exited */
    WIRE_GONE,       /* env_id */
    WIRE_CAPTURED,   /* env_id; number = 0, text = "" or "N sockets"; or number = 1 = refused, text = why */
    WIRE_INSPECTED,  /* env_id; number = 0: fds[0] is a file with JSON, or 1: text = why there is none */
    WIRE_TYPE_END
};

enum wire_started_flag {
    WIRE_PARKED =
        1 << 0, /* a clone: fds[WIRE_FD_CONNECTION] and _PEER are there, and it is already in `next` */
};
enum wire_started_fd {
    WIRE_FD_LISTENER,     /* Runtime API, 127.0.0.1:9001 inside the slot, listening, non-blocking */
    WIRE_FD_LOG,          /* read end of stdout and stderr, non-blocking */
    WIRE_FD_PIDFD,        /* of the runtime's pid namespace init */
    WIRE_FD_MEMORY_USAGE, /* one decimal number of bytes, page cache included; pread() it */
    WIRE_FD_MEMORY_STAT,  /* memory.stat of the cgroup */
    WIRE_FD_MEMORY_PEAK, /* the most that WIRE_FD_MEMORY_USAGE was; empty where the kernel does not keep it */
    WIRE_FD_CONNECTION,  /* only with WIRE_PARKED: our end of a connection on which `next` was sent */
    WIRE_FD_PEER,        /* only with WIRE_PARKED: the clone's end of it, to see what it has not read */
    WIRE_FD_END
};
enum wire_failure {
    WIRE_FAIL_SYSTEM,     /* ours or the kernel's */
    WIRE_FAIL_NO_SLOT,    /* all slots in use */
    WIRE_FAIL_NO_RUNTIME, /* the machine has no interpreter for this runtime id */
    WIRE_FAIL_NO_CODE,    /* the code folder is not there */
    WIRE_FAIL_INVALID,    /* the message was refused */
    WIRE_FAIL_TEMPLATE,   /* the template made no clone; an ordinary START may succeed */
};

enum wire_exit_kind {
    WIRE_EXIT_CODE,     /* value = exit status */
    WIRE_EXIT_SIGNAL,   /* value = signal number */
    WIRE_EXIT_EXEC,     /* value = errno of execve(), text = the path */
    WIRE_EXIT_LOADER,   /* likewise: the file is there, but not the interpreter or loader that it names */
    WIRE_EXIT_PLATFORM, /* the program was never tried: value = errno, text = what was being done */
};

struct wire_exited {
    uint64_t env_id;
    uint32_t kind; /* enum wire_exit_kind */
    int32_t value;
    bool out_of_memory; /* the kernel killed something in the environment for memory */
    const char *text;   /* never NULL */
};

/* Everything borrowed; after decoding it points into the packet. */
struct wire_start {
    uint64_t env_id;
    uint32_t uid_index;      /* of the function in the instance's user id range, from 1; 0 without code */
    uint32_t memory_mb;      /* 128 to 10240 */
    uint32_t tmp_mb;         /* 512 to 10240 */
    uint32_t cpu_millis;     /* 0 = no limit (INIT) */
    const char *runtime;     /* runtime id; chooses interpreter and runtime client */
    const char *code;        /* lower-case hex SHA-256, names DIR/code/<it>/; "" only in a template */
    const char *hostname;    /* [a-z0-9.-]{1,63} */
    const char *const *argv; /* program inside the sandbox and its arguments */
    uint32_t argc;           /* 1 to WIRE_MAX_ARGS */
    const char *const *env;  /* "NAME=value" */
    uint32_t envc;           /* 0 to WIRE_MAX_ENV */
    uint32_t flags;          /* enum wire_start_flag; 0 in RESTART */
    uint64_t template_id;    /* env_id of the template to clone, 0 = none; 0 in RESTART */
};
enum wire_start_flag {
    WIRE_START_TEMPLATE = 1 << 0, /* it will be captured and cloned, and never serves an invocation itself */
    WIRE_START_CODE_CACHE =
        1 << 1, /* DIR/code-cache/<uid_index>-<code>-<runtime>/ is to be seen, if it is there */
};
enum { WIRE_MAX_ARGS = 64, WIRE_MAX_ENV = 640 }; /* 4 KB of a function's own are at most 511, and ours */

enum { WIRE_MAX_VALUES = 1024, WIRE_MIN_VALUE = 4, WIRE_MAX_VALUE = 4096 }; /* of INSPECT; lengths in bytes */

/* Any decoded message; the fields its type does not name are zero or "". */
struct wire_message {
    enum wire_type type;
    uint64_t env_id;
    uint64_t number;
    const char *text; /* never NULL */
    struct wire_start start;
    struct wire_exited exited;
    const char *const *values;
    uint32_t value_count;
    /* Owned arrays behind start.argv and start.env, or values; wire_message_done(). */
    const char **strings;
};

struct buf;

/** Encodes into out (max at least WIRE_MAX_BYTES). Returns 0, or -EINVAL, -EMSGSIZE for what may not be sent.
 */
int wire_encode(const struct wire_message *message, struct buf *out);
/** Decodes a whole packet, which must outlive ret_message; checks ranges of every field and that texts hold
 * no NUL. Returns 0 or negative with err set, and then ret_message holds nothing. */
int wire_decode(const void *packet, size_t len, struct wire_message *ret_message, struct err *err);
void wire_message_done(struct wire_message *message);

/** Sends one packet with fds (borrowed). Returns 0, -EAGAIN (would block), or another negative errno. */
int wire_send(int socket, const void *packet, size_t len, const int *fds, size_t fd_count);
/** Receives one packet; descriptors are close-on-exec and owned by the caller. Returns the length, 0 at the
 * end of the connection, -EAGAIN, -EMSGSIZE for a truncated packet or too many descriptors (all of them
 * closed), or another negative errno. */
ssize_t wire_receive(int socket, void *packet, size_t size, int fds[WIRE_MAX_FDS], size_t *ret_fd_count);
