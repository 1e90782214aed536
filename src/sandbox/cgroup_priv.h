#pragma once

#include "sandbox/cgroup.h"

/* What differs between the versions. dirs: descriptors of the group's folders, in the order of struct
 * cgroup_mounts. */
struct cgroup_ops {
    int version;
    size_t dir_count;
    const char *usage_file, *stat_file, *oom_file; /* in dirs[0] */
    const char *join_file; /* in each of dirs; NULL = processes are made inside, by cgroup_clone_fd() */
    /* The instance's own group; parents are the mount points. */
    int (*prepare)(const int *parents, const int *dirs, struct err *err);
    int (*limit_processes)(const int *dirs, unsigned count, struct err *err);
    int (*limit_memory)(const int *dirs, uint64_t bytes, struct err *err);
    int (*limit_cpu)(const int *dirs, unsigned millis, struct err *err);
    int (*freeze)(const int *dirs, bool frozen, struct err *err);
    /* Ends every process of the group at once, or returns negative errno: then they are killed one by one. */
    int (*kill)(const int *dirs);
};

extern const struct cgroup_ops cgroup_v1_ops, cgroup_v2_ops;

/*
 * Length of the period in which CPU time is shared out. The kernel's default of 100 ms lets a 128 MB
 * environment (72 thousandths of a core) run 7 ms and then stand still for 93; with 20 ms the longest stop
 * is 18. Below that the smallest quota the kernel takes, 1 ms, would be more than such an environment's
 * share.
 */
enum { CGROUP_CPU_PERIOD_US = 20000, CGROUP_CPU_QUOTA_MIN_US = 1000 };

/** Writes text to an existing file. Returns 0 or negative errno. */
int cgroup_write(int dir, const char *file, const char *text);
int cgroup_write_number(int dir, const char *file, uint64_t value);
