#pragma once

/*
 * Inside of the search for interpreters: what it looks through, and the asking of one candidate for its
 * version. Apart from runtimes.h so that tests can search folders of their own.
 */

#include <stddef.h>

struct err;
struct runtimes;

struct runtimes_search {
    int data_fd;          /* the data folder, or -1 */
    unsigned probe_uid;   /* whom candidates run as, when the caller is root */
    unsigned limit_ms;    /* for one candidate's answer */
    const char *root;     /* "/", or in front of usr/bin, usr/local/bin and opt */
    const char *homes[2]; /* "" where there is none */
    const char *path;     /* folders separated by colons, or NULL */
};

/** As runtimes_find(), with all inputs named. */
int runtimes_search(const struct runtimes_search *search, struct runtimes **ret_runtimes, struct err *err);

enum { RUNTIMES_ANSWER_BYTES = 128 };

struct runtimes_probe {
    int program_fd;   /* an ELF file */
    int lib_fd;       /* folder of its libraries, or -1 */
    const char *name; /* its argv[0] */
    unsigned uid, limit_ms;
};

/** Runs the program with --version: as another user, in its own process, network and ipc namespaces where
 * that is permitted, under the functions' system call filter. The answer is what it wrote, NUL-terminated.
 * Programs are started by descriptor and find their libraries by descriptor, so that the folders above may be
 * closed to the user. Blocks for limit_ms at most. Returns 0, -ETIME when it took too long, -EMSGSIZE when it
 * wrote too much, -ENOEXEC when it failed, or another negative errno. */
int runtimes_probe(const struct runtimes_probe *probe, char answer[RUNTIMES_ANSWER_BYTES]);
