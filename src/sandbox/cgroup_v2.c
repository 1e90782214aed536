#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/err.h"
#include "sandbox/cgroup_priv.h"

static int prepare_v2(const int *parents, const struct cgroup_place *place, struct err *err)
{
    static const char *const controllers = "+memory +cpu +pids";
    const struct cgroup_place top = { parents, "." };
    int r = cgroup_write(&top, 0, "cgroup.subtree_control", controllers);

    if (r < 0)
        return err_set(err, ERR_SYSTEM, -r,
                       "handing memory, cpu and pids down from the top control group (a group that holds "
                       "processes itself cannot)");
    r = cgroup_write(place, 0, "cgroup.subtree_control", controllers);
    return r < 0 ? err_set(err, ERR_SYSTEM, -r, "cgroup.subtree_control") : 0;
}

static int limit_processes_v2(const struct cgroup_place *place, unsigned count, struct err *err)
{
    int r = cgroup_write_number(place, 0, "pids.max", count);

    return r < 0 ? err_set(err, ERR_SYSTEM, -r, "pids.max") : 0;
}

/* memory.oom.group stays off: it would kill PID 1 together with the process that asked too much, and with it
 * the report of what ended. */
static int limit_memory_v2(const struct cgroup_place *place, uint64_t bytes, struct err *err)
{
    int r = cgroup_write_number(place, 0, "memory.max", bytes);

    if (r < 0)
        return err_set(err, ERR_SYSTEM, -r, "memory.max");
    r = cgroup_write(place, 0, "memory.swap.max", "0");
    if (r < 0 && r != -ENOENT) /* a kernel without swap accounting */
        return err_set(err, ERR_SYSTEM, -r, "memory.swap.max");
    return 0;
}

static int limit_cpu_v2(const struct cgroup_place *place, unsigned millis, struct err *err)
{
    uint64_t quota = (uint64_t)millis * CGROUP_CPU_PERIOD_US / 1000;
    char text[64];
    int r;

    if (quota < CGROUP_CPU_QUOTA_MIN_US)
        quota = CGROUP_CPU_QUOTA_MIN_US;
    if (millis == 0)
        (void)snprintf(text, sizeof text, "max %d", CGROUP_CPU_PERIOD_US);
    else
        (void)snprintf(text, sizeof text, "%" PRIu64 " %d", quota, CGROUP_CPU_PERIOD_US);
    r = cgroup_write(place, 0, "cpu.max", text);
    return r < 0 ? err_set(err, ERR_SYSTEM, -r, "cpu.max") : 0;
}

static int freeze_v2(const struct cgroup_place *place, bool frozen, struct err *err)
{
    int r = cgroup_write(place, 0, "cgroup.freeze", frozen ? "1" : "0");

    return r < 0 ? err_set(err, ERR_SYSTEM, -r, "cgroup.freeze") : 0;
}

/* Since Linux 5.14; reaches frozen processes, too. */
static int kill_v2(const struct cgroup_place *place)
{
    return cgroup_write(place, 0, "cgroup.kill", "1");
}

const struct cgroup_ops cgroup_v2_ops = {
    .version = 2,
    .dir_count = 1,
    .usage_file = "memory.current",
    .stat_file = "memory.stat",
    .peak_file = "memory.peak",
    .oom_file = "memory.events",
    .prepare = prepare_v2,
    .limit_processes = limit_processes_v2,
    .limit_memory = limit_memory_v2,
    .limit_cpu = limit_cpu_v2,
    .freeze = freeze_v2,
    .kill = kill_v2,
};
