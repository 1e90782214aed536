#pragma once

/*
 * What the processes of an environment hold, and what lies in its /tmp: as JSON.
 *
 * Everything it reads is hostile: names and contents are the function's, and may change meanwhile. It follows
 * no link, opens regular files and folders of the one file system only, and has limits of time, entries and
 * bytes.
 *
 * Context: blocks, up to INSPECTION_TIME_MS and a little: call it in a process of its own.
 */

#include <stddef.h>
#include <sys/types.h>

struct buf;

enum {
    INSPECTION_TIME_MS = 5000,
    INSPECTION_MAX_BYTES = 1 << 20,   /* of the JSON */
    INSPECTION_READ_BYTES = 64 << 20, /* of all files together */
    INSPECTION_FILES = 2000,
    INSPECTION_PROCESSES = 256,
    INSPECTION_DESCRIPTORS = 1024, /* of one process */
};

/* Descriptors are borrowed. */
struct inspection {
    int proc; /* /proc */
    const pid_t *pids;
    size_t pid_count;
    int tmp; /* the folder; -1: none */
    const char *const *values;
    size_t value_count;
};

/**
 * Appends
 *   {"processes":[{"pid","name","zombie","residentBytes","descriptors":[{"fd","kind":"file"|"socket"|"pipe"|
 *   "other","path","connected","peer"}]}], "files":[{"path","bytes","values":[index]}],"truncated"}
 * pid is the innermost namespace's. connected and peer are of sockets only; values are the indices of those
 * that stand in a file, a link or their names. truncated: a limit was met.
 */
void inspection_look(const struct inspection *inspection, struct buf *out);
