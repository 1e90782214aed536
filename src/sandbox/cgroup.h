#pragma once

/*
 * Resource limits, freezing and counting of processes: control groups of version 1 or 2 behind one interface.
 *
 * An instance has one group "irori-<instance>" at the top of each hierarchy; below it each environment has
 * its own. Groups are made for one environment and thrown away after it, so that no counter and no charged
 * page goes over to the next one.
 *
 * Context: root. All calls are quick except cgroups_end_processes().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct cgroups;
struct cgroup;

enum { CGROUP_MAX_DIRS = 4 };

/* Where the hierarchies are mounted; tests give folders of their own. */
struct cgroup_mounts {
    int version;                     /* 1 or 2 */
    char dirs[CGROUP_MAX_DIRS][256]; /* v1: memory, cpu, pids, freezer; v2: one */
};

/** Reads a file like /proc/self/mountinfo. Prefers v2 when it has the controllers. err says what is missing.
 */
int cgroup_mounts_find(const char *mountinfo, struct cgroup_mounts *ret_mounts, struct err *err);

/** Opens, and makes where missing, the instance's own groups. max_memory_mb: for all environments together, 0
 * = no limit. */
int cgroups_open(const struct cgroup_mounts *mounts, const char *instance, struct cgroups **ret_groups,
                 struct err *err);
int cgroups_limit_memory(struct cgroups *groups, uint64_t max_memory_mb, struct err *err);
/** Closes; removes the instance's groups when they are empty. Accepts NULL; returns NULL. */
struct cgroups *cgroups_close(struct cgroups *groups);
int cgroups_version(const struct cgroups *groups);
/** Descriptors about the memory of all environments, for the caller to close; negative errno. */
int cgroups_memory_usage_fd(const struct cgroups *groups);
int cgroups_memory_stat_fd(const struct cgroups *groups);
/** Thaws and kills every process below the instance's groups and removes the groups, for at most timeout_ms.
 * Returns 0 or -ETIMEDOUT. */
int cgroups_end_processes(struct cgroups *groups, unsigned timeout_ms);

/** name: unique in the instance. Sets the limit of processes; memory and CPU are without limit. */
int cgroup_new(struct cgroups *groups, const char *name, struct cgroup **ret_group, struct err *err);
/** For clone3() with CLONE_INTO_CGROUP, for the caller to close; -ENOENT on a v1 machine: there the new
 * process joins by itself. */
int cgroup_open_clone(const struct cgroup *group);
/** Whether the one above is there. */
bool cgroup_has_clone(const struct cgroup *group);
/** Opens the files that a process with a single thread writes "0" to in order to join; all are for the caller
 * to close. Returns their number or negative errno. Not needed where cgroup_open_clone() serves. */
int cgroup_join_fds(const struct cgroup *group, int fds[CGROUP_MAX_DIRS]);
int cgroup_limit_memory(struct cgroup *group, unsigned memory_mb, struct err *err);
/** millis: thousandths of a core; 0 = no limit. */
int cgroup_limit_cpu(struct cgroup *group, unsigned millis, struct err *err);
int cgroup_freeze(struct cgroup *group, bool frozen, struct err *err);
/** How many processes the kernel has killed in it for memory; 0 when it cannot be read. */
uint64_t cgroup_oom_kills(const struct cgroup *group);
/** Descriptors for the caller to close; negative errno. */
int cgroup_memory_usage_fd(const struct cgroup *group);
int cgroup_memory_stat_fd(const struct cgroup *group);
/** One process id a line. */
int cgroup_procs_fd(const struct cgroup *group);
/** -ENOENT where the kernel does not keep it (version 2 before Linux 5.19). */
int cgroup_memory_peak_fd(const struct cgroup *group);
/** Removes the group. Returns 0 (then group is gone), or -EBUSY while processes are still leaving it: try
 * again. Any other failure counts as done: the next start sweeps. Accepts NULL. */
int cgroup_remove(struct cgroup *group);
