#pragma once

#include "sandbox/cgroup.h"

/* One group: the folder called name in each of dirs, which are in the order of struct cgroup_mounts. Groups
 * hold no descriptors of their own: there may be thousands. */
struct cgroup_place {
    const int *dirs;
    const char *name; /* "." = dirs themselves */
};

/* What differs between the versions. */
struct cgroup_ops {
    int version;
    size_t dir_count;
    const char *usage_file, *stat_file, *peak_file, *oom_file; /* in dirs[0] */
    const char *join_file; /* in each of dirs; NULL = processes are made inside, by cgroup_open_clone() */
    /* The instance's own group; parents are the mount points. */
    int (*prepare)(const int *parents, const struct cgroup_place *place, struct err *err);
    /* Takes back what prepare() changed in parents; the instance's own group is gone. */
    void (*withdraw)(const int *parents);
    int (*limit_processes)(const struct cgroup_place *place, unsigned count, struct err *err);
    int (*limit_memory)(const struct cgroup_place *place, uint64_t bytes, struct err *err);
    int (*limit_cpu)(const struct cgroup_place *place, unsigned millis, struct err *err);
    int (*freeze)(const struct cgroup_place *place, bool frozen, struct err *err);
    /* Ends every process of the group at once, or returns negative errno: then they are killed one by one. */
    int (*kill)(const struct cgroup_place *place);
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
int cgroup_write(const struct cgroup_place *place, size_t which, const char *file, const char *text);
int cgroup_write_number(const struct cgroup_place *place, size_t which, const char *file, uint64_t value);
