#pragma once

/* What a process may have made in its IPC namespace. No clone would find it: each has a namespace of its own.
 */

#include <sys/types.h>

struct err;

/** Refuses a process in whose IPC namespace there is shared memory, a semaphore or a queue of System V, or a
 * POSIX queue. The caller is in that namespace afterwards. Context: root, one thread. */
int ipc_check_empty(pid_t pid, struct err *err);
