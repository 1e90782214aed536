#pragma once

/*
 * Turns a process that waits in the Runtime API's `next` into a template: an image of its memory that makes
 * clones on request.
 *
 * The work is done by a process of its own, because it holds still and reads what is hostile, and takes some
 * milliseconds. Nothing of the process is changed before it is known to be fit, so that one that is refused
 * can go on. See docs/templates.md.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "template/format.h"

struct err;

struct template_source {
    pid_t init;                       /* PID 1 of its namespaces, as the caller sees it */
    int netns;                        /* of the slot; borrowed */
    uint64_t secret[2];               /* that its filter knows */
    const struct sock_filter *filter; /* the strict one; borrowed */
    size_t filter_count;
    unsigned api_port;
    unsigned processes_max; /* RLIMIT_NPROC of a clone */
    uint64_t log_inode;     /* of the pipe that the program was given as its output */
    bool function;          /* a function's own INIT is in it */
};

enum { TEMPLATE_REASON_BYTES = 360 };

struct template_capture {
    pid_t pid;  /* of the working process; 0 = none */
    int socket; /* readable when it has something to say; -1 = none */
};
#define TEMPLATE_CAPTURE_INIT ((struct template_capture){ 0, -1 })

struct template_captured {
    bool done;             /* else reason says why not */
    bool intact;           /* the process goes on as if nothing had been */
    int control;           /* socket to the image, for the caller to close; -1 when not done */
    unsigned dead_sockets; /* connections that clones find closed by their peer */
    char reason[TEMPLATE_REASON_BYTES];
};

/** Begins. Context: a process with one thread. Returns 0, or negative with err set. */
int template_capture_start(const struct template_source *source, struct template_capture *ret_capture,
                           struct err *err);
/** Returns 1 with the outcome, and the capture is over; 0 when there is none yet. */
int template_capture_receive(struct template_capture *capture, struct template_captured *ret_captured);
/** Ends it, whatever it is doing: a process that is being changed dies with it. */
void template_capture_cancel(struct template_capture *capture);

struct template_slot {
    int pidfd;        /* of the slot's init, which waits in hold; borrowed, as are the next ones */
    int api, log;     /* client's end of the connection; write end of the log */
    const int *joins; /* files to join control groups by, at most TEMPLATE_MAX_JOINS */
    uint32_t join_count;
    uint64_t ns_flags;
    uint32_t uid, gid; /* inside */
    uint32_t main_tid;
};

/** Asks the image for a clone. *ret_sync: socket on which the clone speaks (struct template_report), for the
 * caller to close. Never blocks. Returns 0 or negative errno. */
int template_request_clone(int control, const struct template_slot *slot, int *ret_sync);
/** Returns 1 with a report, 0 when there is none, negative errno at the end. */
int template_receive_report(int sync, struct template_report *ret_report);
/** Likewise for the image's own answers. */
int template_receive_reply(int control, struct template_reply *ret_reply);
const char *template_step_name(uint32_t step); /* static storage, never NULL */
