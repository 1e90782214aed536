#pragma once

/*
 * Which managed runtimes the machine can run, and where their interpreters are.
 *
 * Source of the ids: Lambda's Runtime enum; nodejs18.x, nodejs20.x, nodejs22.x, nodejs24.x, python3.9 to
 * python3.14, provided.al2, provided.al2023.
 */

#include <stddef.h>

struct buf;
struct err;
struct runtimes;

struct runtime {
    char id[24];      /* "nodejs20.x" */
    char version[32]; /* "20.20.2"; "" for provided */
    char *path;       /* of the interpreter on the host; "" for provided */
    char *inside; /* of the interpreter in the sandbox: "/usr/bin/node", "/var/lang/bin/node"; "" for provided
                   */
    char *lang;   /* host folder or file to mount, "" when the interpreter lies in /usr */
    char *lang_target;  /* where: "/var/lang", or "/var/lang/bin/node" for a single file; "" likewise */
    const char *client; /* "node", "python", or "" : folder below the share folder's runtimes/, mounted at
                           /var/runtime */
};

/** Looks in /usr/bin, /usr/local/bin, /opt, DIR/runtimes (data_fd), PATH and the homes of root and the
 * invoking user (SUDO_USER): ~/.pyenv/versions, ~/.nvm/versions/node. Asks candidates for their version as an
 * unprivileged user with a time limit. Never fails for a missing interpreter. */
int runtimes_find(int data_fd, unsigned probe_uid, struct runtimes **ret_runtimes, struct err *err);
struct runtimes *runtimes_free(struct runtimes *runtimes);
/** NULL when the machine has it not. */
const struct runtime *runtimes_get(const struct runtimes *runtimes, const char *id);
/** Appends [{"id":..,"version":..,"path":..,"inside":..},...]. */
int runtimes_json(const struct runtimes *runtimes, struct buf *out);
