#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/control.h"

/** What failed, for the launcher's log: set before each step. */
struct init_step {
    const char *name;
};

/** Turns the copied mount namespace into the sandbox's: its root, /proc, and nothing else of the host. The
 * working directory is the root to be. Returns 0 or negative errno, step naming the place. */
int init_build_root(struct init_step *step);
/** Sets what the program will inherit and what needs no identity yet: limits, standard input, no way back to
 * privileges. */
int init_prepare(struct init_step *step);
/** Attaches the mounts of a START at their places. */
int init_attach(const struct control_start *start, const int *fds, struct init_step *step);
/** Gives up every privilege, for good: identity, capabilities, the system call filter. is_template: the
 * filter is the only one. */
int init_drop(uint32_t uid, uint32_t gid, const struct sock_fprog *filter, bool is_template,
              struct init_step *step);
/** Starts the program. Returns its pid, or negative errno of what failed in the new process (chdir, execve).
 */
int init_spawn(const char *const *argv, const char *const *env, int log, bool is_template);
