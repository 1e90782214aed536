#include <errno.h>
#include <inttypes.h>

#include "base/err.h"
#include "sandbox/cgroup_priv.h"

enum { DIR_MEMORY, DIR_CPU, DIR_PIDS, DIR_FREEZER, DIR_COUNT };

static int prepare_v1(const int *parents, const struct cgroup_place *place, struct err *err)
{
    (void)parents;
    (void)err;
    /* Only kernels before 5.11 have the switch; there it must be on for the sum over all environments. */
    (void)cgroup_write(place, DIR_MEMORY, "memory.use_hierarchy", "1");
    return 0;
}

static void withdraw_v1(const int *parents)
{
    (void)parents;
}

static int limit_processes_v1(const struct cgroup_place *place, unsigned count, struct err *err)
{
    int r = cgroup_write_number(place, DIR_PIDS, "pids.max", count);

    return r < 0 ? err_set(err, ERR_SYSTEM, -r, "pids.max") : 0;
}

/* The kernel refuses memory + swap below memory, so the order depends on the direction. A kernel without swap
 * accounting lacks the second file; then swappiness 0 keeps what it can out of swap. */
static int limit_memory_v1(const struct cgroup_place *place, uint64_t bytes, struct err *err)
{
    int r = cgroup_write_number(place, DIR_MEMORY, "memory.limit_in_bytes", bytes);
    int swap = cgroup_write_number(place, DIR_MEMORY, "memory.memsw.limit_in_bytes", bytes);

    if (r == -EINVAL && swap == 0)
        r = cgroup_write_number(place, DIR_MEMORY, "memory.limit_in_bytes", bytes);
    if (r < 0)
        return err_set(err, ERR_SYSTEM, -r, "memory.limit_in_bytes");
    if (swap < 0 && swap != -ENOENT)
        return err_set(err, ERR_SYSTEM, -swap, "memory.memsw.limit_in_bytes");
    if (swap == -ENOENT)
        (void)cgroup_write(place, DIR_MEMORY, "memory.swappiness", "0");
    return 0;
}

static int limit_cpu_v1(const struct cgroup_place *place, unsigned millis, struct err *err)
{
    uint64_t quota = (uint64_t)millis * CGROUP_CPU_PERIOD_US / 1000;
    int r;

    if (quota < CGROUP_CPU_QUOTA_MIN_US)
        quota = CGROUP_CPU_QUOTA_MIN_US;
    if (millis == 0) {
        r = cgroup_write(place, DIR_CPU, "cpu.cfs_quota_us", "-1");
    } else {
        r = cgroup_write_number(place, DIR_CPU, "cpu.cfs_period_us", CGROUP_CPU_PERIOD_US);
        if (r == 0)
            r = cgroup_write_number(place, DIR_CPU, "cpu.cfs_quota_us", quota);
    }
    return r < 0 ? err_set(err, ERR_SYSTEM, -r, "cpu.cfs_quota_us") : 0;
}

static int freeze_v1(const struct cgroup_place *place, bool frozen, struct err *err)
{
    int r = cgroup_write(place, DIR_FREEZER, "freezer.state", frozen ? "FROZEN" : "THAWED");

    return r < 0 ? err_set(err, ERR_SYSTEM, -r, "freezer.state") : 0;
}

static int kill_v1(const struct cgroup_place *place)
{
    (void)place;
    return -EOPNOTSUPP;
}

const struct cgroup_ops cgroup_v1_ops = {
    .version = 1,
    .dir_count = DIR_COUNT,
    .usage_file = "memory.usage_in_bytes",
    .stat_file = "memory.stat",
    .peak_file = "memory.max_usage_in_bytes",
    .oom_file = "memory.oom_control",
    /* Not cgroup.procs: for the only thread of a process they are the same, except that moving a whole
     * process waits until all processors have passed a grace period (20 ms on two). */
    .join_file = "tasks",
    .prepare = prepare_v1,
    .withdraw = withdraw_v1,
    .limit_processes = limit_processes_v1,
    .limit_memory = limit_memory_v1,
    .limit_cpu = limit_cpu_v1,
    .freeze = freeze_v1,
    .kill = kill_v1,
};
