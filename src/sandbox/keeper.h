#pragma once

/*
 * A process of its own that makes and throws away volumes, so that no disk ever holds up the launcher's loop.
 *
 * Requests are answered in order. It ends when the launcher does.
 * Context: the launcher's thread; nothing here blocks except keeper_start() and keeper_stop().
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct err;
struct keeper;

enum keeper_request {
    KEEPER_MAKE,    /* a new volume; answered with a mount of it */
    KEEPER_REMOUNT, /* another mount of the same volume, as the processes that held the former are gone */
    KEEPER_RELEASE, /* answered with a mount when the volume is as good as new, else without: it is gone */
    KEEPER_DISCARD, /* not answered */
    KEEPER_MEASURE, /* how many entries it has; refused when it may not be copied */
    KEEPER_FILL,    /* with a copy of all that lies in another one */
};

struct keeper_answer {
    enum keeper_request request;
    uint64_t volume_id;
    unsigned size_mb, entries;
    int mount; /* for the caller to close; -1 = none */
    bool failed;
    char text[200]; /* why */
};

/** scratch: folder for the images (borrowed). */
int keeper_start(int scratch, struct keeper **ret_keeper, struct err *err);
/** Ends the process and all its volumes and waits for that, at most timeout_ms. Accepts NULL; returns NULL.
 */
struct keeper *keeper_stop(struct keeper *keeper, unsigned timeout_ms);
/** To wait on for answers. */
int keeper_fd(const struct keeper *keeper);
pid_t keeper_pid(const struct keeper *keeper);
/** volume_id: chosen by the caller for KEEPER_MAKE, never 0 and never used again after its release. argument:
 * of KEEPER_MAKE the size in MiB, of KEEPER_FILL the volume to copy. Returns 0 or negative errno. */
int keeper_ask(struct keeper *keeper, enum keeper_request request, uint64_t volume_id, uint64_t argument);
/** Returns 1 with an answer, 0 when there is none now, negative errno when the process is gone. */
int keeper_receive(struct keeper *keeper, struct keeper_answer *ret_answer);
