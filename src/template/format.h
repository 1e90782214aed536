#pragma once

/*
 * What capture.c leaves in a template's memory for restorer.c, and what the launcher and the restorer say to
 * each other.
 *
 * Both are one build: structs travel as they are. TEMPLATE_FORMAT changes with any of them, and the restorer
 * refuses another one. Only kernel headers: the restorer is linked with no library at all.
 *
 *   launcher                          image (the template's memory, one thread, waits)
 *   REQUEST + descriptors ──▶         makes the clone from within the slot's namespaces
 *             ◀── REPLY               its process id, or what failed
 *
 *                                     clone, over a socket of its own
 *             ◀── DONE                every thread stands, has no capability and the strict filter; or what
 *                                     failed
 */

#include <linux/filter.h>
#include <stdint.h>

enum {
    TEMPLATE_FORMAT = 3,
    TEMPLATE_MAX_THREADS = 64,
    TEMPLATE_MAX_OPS = 512,
    TEMPLATE_MAX_RANGES = 8192,
    TEMPLATE_MAX_FILTER = 1024,
    TEMPLATE_PIPE_BYTES = 64,
    TEMPLATE_PAIR_BYTES = TEMPLATE_PIPE_BYTES / 2,
    TEMPLATE_PATH_BYTES = 32768, /* of all files in /tmp together */
    TEMPLATE_MAX_JOINS = 4,
    /* struct rt_sigframe of the kernel without siginfo, then what XSAVE saves but for matrix registers. */
    TEMPLATE_FRAME_BYTES = 4096,
    TEMPLATE_FX_OFFSET = 512,
    TEMPLATE_THREAD_STACK = 2048,
    TEMPLATE_STACK = 16384,
    TEMPLATE_FD_FLOOR = 900, /* descriptors of the restorer's own lie from here on */
};

/* How one descriptor comes into being in a clone; performed in order, epoll registrations last. */
enum template_op_type {
    TEMPLATE_OP_EPOLL = 1, /* fd */
    TEMPLATE_OP_EPOLL_ADD, /* fd: the epoll, other: what it watches, a: events, b: data */
    TEMPLATE_OP_EVENTFD,   /* a: count, b: 1 for a semaphore */
    TEMPLATE_OP_PIPE,      /* fd: read end, other: write end, content: a bytes */
    TEMPLATE_OP_TIMERFD,   /* a: clock, times: interval and value as in struct itimerspec */
    TEMPLATE_OP_FILE,      /* a: offset */
    TEMPLATE_OP_API,       /* the connection to the Runtime API */
    TEMPLATE_OP_LOG,       /* the log: standard output or error */
    TEMPLATE_OP_TMP,       /* a file of the clone's own /tmp; a: offset, b: where its path is in paths */
    TEMPLATE_OP_DUP,       /* other: whose duplicate it is */
    TEMPLATE_OP_SOCKET,    /* one without a peer; socket, a: enum template_socket_option bits, b: enum
                              template_socket_address, times: for reading and for writing, content: address */
    TEMPLATE_OP_DEAD,      /* one whose peer has closed; socket, a and times as above */
    TEMPLATE_OP_PAIR,      /* fd and other are each other's peers; socket, a, b: bytes that wait in fd and in
                              other, content: those of fd, from TEMPLATE_PAIR_BYTES on those of other; but for
                              a stream each packet with a byte in front that says its length */
};

/* A socket's kind in template_op.socket: family, type, protocol. */
#define TEMPLATE_SOCKET(family, type, protocol) \
    ((uint32_t)(family) | (uint32_t)(type) << 8 | (uint32_t)(protocol) << 16)
#define TEMPLATE_SOCKET_FAMILY(socket)   ((socket)&0xff)
#define TEMPLATE_SOCKET_TYPE(socket)     ((socket) >> 8 & 0xff)
#define TEMPLATE_SOCKET_PROTOCOL(socket) ((socket) >> 16)

/* Options that are on or off; which bit is which. */
enum template_socket_option {
    TEMPLATE_SOCKET_REUSE_ADDRESS,
    TEMPLATE_SOCKET_REUSE_PORT,
    TEMPLATE_SOCKET_BROADCAST,
    TEMPLATE_SOCKET_KEEP_ALIVE,
    TEMPLATE_SOCKET_NO_DELAY,
    TEMPLATE_SOCKET_V6_ONLY,
    TEMPLATE_SOCKET_OPTIONS
};
enum template_socket_address {
    TEMPLATE_SOCKET_NO_ADDRESS,
    TEMPLATE_SOCKET_LOCAL, /* to be bound to, if that is possible */
    TEMPLATE_SOCKET_PEER,  /* of a datagram socket */
};
enum { TEMPLATE_ADDRESS_BYTES = 28 }; /* struct sockaddr_in6, the longest */

struct template_op {
    uint32_t type;
    int32_t fd, other;
    uint32_t flags, other_flags; /* of open() */
    uint32_t socket;
    uint64_t a, b;
    uint64_t times[4];
    uint8_t content[TEMPLATE_PIPE_BYTES];
};

struct template_thread {
    uint64_t tid; /* in the template's own process id namespace */
    uint64_t clear_tid, robust_list, robust_len, rseq, fs_base, gs_base;
    uint32_t rseq_len, rseq_signature;
    char name[16];
};

struct template_range {
    uint64_t start, len;
};

/* Descriptors that come with a request, in this order. */
enum template_fd {
    TEMPLATE_FD_SYNC,
    TEMPLATE_FD_API,
    TEMPLATE_FD_LOG,
    TEMPLATE_FD_SLOT, /* pidfd of the slot's init */
    TEMPLATE_FD_JOIN, /* the first of up to TEMPLATE_MAX_JOINS files of control groups, to write "0" to */
    TEMPLATE_FD_COUNT = TEMPLATE_FD_JOIN + TEMPLATE_MAX_JOINS
};

struct template_request {
    uint32_t format;
    uint32_t type;     /* enum template_request_type */
    uint64_t ns_flags; /* what to enter of the slot */
    uint32_t main_tid; /* of the clone; or the next one that no thread of the template has */
    uint32_t uid, gid; /* inside the slot */
    uint32_t join_count;
};
enum template_request_type {
    TEMPLATE_REQUEST_IMAGE = 1, /* fork the image; without descriptors */
    TEMPLATE_REQUEST_CLONE,
};

struct template_reply {
    uint32_t format;
    int32_t pid;   /* in the template's namespace; negative errno */
    uint32_t step; /* enum template_step when negative */
};

enum template_step {
    TEMPLATE_STEP_START,
    TEMPLATE_STEP_ENTER,
    TEMPLATE_STEP_CLONE,
    TEMPLATE_STEP_GROUP,
    TEMPLATE_STEP_IDENTITY,
    TEMPLATE_STEP_FOLDER,
    TEMPLATE_STEP_DESCRIPTOR,
    TEMPLATE_STEP_THREAD,
    TEMPLATE_STEP_CAPABILITIES,
    TEMPLATE_STEP_FILTER,
    TEMPLATE_STEP_DONE,
    TEMPLATE_STEP_COUNT
};

struct template_report {
    uint32_t step; /* DONE, or what failed */
    int32_t error; /* negative errno; 0 */
    uint32_t at;   /* which descriptor or thread */
};

struct template_data {
    uint64_t secret[2]; /* first: the assembler reads them here */
    uint32_t format;
    uint32_t thread_count, op_count, range_count, filter_count;
    int32_t control;           /* the socket to the launcher */
    uint64_t process_limit[2]; /* RLIMIT_NPROC of a clone: soft, hard */
    uint64_t file_limit[2];    /* RLIMIT_NOFILE likewise */
    uint32_t paths_used;
    uint32_t folder; /* the working directory, in paths */
    uint32_t address_len;
    char address[64];                                     /* abstract name of the launcher's socket */
    struct template_thread threads[TEMPLATE_MAX_THREADS]; /* the main thread first */
    struct template_op ops[TEMPLATE_MAX_OPS];
    char paths[TEMPLATE_PATH_BYTES];                   /* each with its NUL */
    struct template_range ranges[TEMPLATE_MAX_RANGES]; /* that are not to be copied by fork() */
    struct sock_filter filter[TEMPLATE_MAX_FILTER];    /* the strict one */
    _Alignas(64) uint8_t frames[TEMPLATE_MAX_THREADS][TEMPLATE_FRAME_BYTES];
    /* Of the restorer while it runs. */
    struct template_request request;
    int32_t fds[TEMPLATE_FD_COUNT];
    volatile int64_t result; /* of the helper */
    volatile uint32_t result_step;
    volatile uint32_t ready, gate;
    int32_t listener;       /* for dead sockets; -1 = not needed yet */
    uint32_t listener_port; /* in network order */
    _Alignas(64) uint8_t thread_stacks[TEMPLATE_MAX_THREADS][TEMPLATE_THREAD_STACK];
    _Alignas(64) uint8_t helper_stack[TEMPLATE_STACK];
    _Alignas(64) uint8_t main_stack[TEMPLATE_STACK];
};
