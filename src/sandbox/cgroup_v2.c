#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "sandbox/cgroup_priv.h"

/*
 * The top group
 *
 * It hands memory, cpu and pids down only where somebody asked for it, and asking changes the machine:
 * whatever was off before is turned off by whichever instance ends last. Which that is, and what was off, is
 * kept in the group itself, so that it outlives a kill and is common to all instances.
 *
 * Every top group but the machine's own (so that of a container) refuses while it holds processes itself.
 * They are moved into a group below it, which changes none of their limits, and back at the end.
 */

enum { CONTROLLERS = 3, MOVES = 100, NAMES_MAX = 256 };
static const char *const controllers[CONTROLLERS] = { "memory", "cpu", "pids" };
static const char mark[] = "trusted.irori-enabled", rest[] = "irori.rest";

static bool has_word(const char *list, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = list; (at = strstr(at, word)); at += len) {
        if ((at == list || at[-1] == ' ') && (at[len] == '\0' || at[len] == ' ' || at[len] == '\n'))
            return true;
    }
    return false;
}

static void read_names(const struct cgroup_place *place, const char *file, char names[NAMES_MAX])
{
    char path[64];
    ssize_t n;

    (void)snprintf(path, sizeof path, "%s/%s", place->name, file);
    AUTO_FD int fd = openat(place->dirs[0], path, O_RDONLY | O_CLOEXEC);

    n = fd < 0 ? -1 : read(fd, names, NAMES_MAX - 1);
    names[n < 0 ? 0 : n] = '\0';
}

static void read_mark(int top, char names[NAMES_MAX])
{
    ssize_t n = fgetxattr(top, mark, names, NAMES_MAX - 1);

    names[n < 0 ? 0 : n] = '\0';
}

static void add_word(char names[NAMES_MAX], const char *prefix, const char *word)
{
    size_t used = strlen(names);

    (void)snprintf(names + used, NAMES_MAX - used, "%s%s%s", used > 0 ? " " : "", prefix, word);
}

/* Moves the processes of one group into another, until there are none left: they may be forking. One of
 * another pid namespace reads as 0 and stays, as a thread of the kernel does. */
static void move_processes(const struct cgroup_place *from, const struct cgroup_place *to)
{
    for (int i = 0; i < MOVES; i++) {
        char path[64], line[32];
        bool moved = false;
        FILE *file;
        int fd;

        (void)snprintf(path, sizeof path, "%s/cgroup.procs", from->name);
        fd = openat(from->dirs[0], path, O_RDONLY | O_CLOEXEC);
        file = fd < 0 ? NULL : fdopen(fd, "r");
        if (!file)
            return;
        while (fgets(line, sizeof line, file))
            moved |= line[0] != '0' && cgroup_write(to, 0, "cgroup.procs", line) == 0;
        (void)fclose(file);
        if (!moved)
            return;
    }
}

/* Turns on what is off at the top, and remembers it. */
static int enable(int top_fd)
{
    const struct cgroup_place top = { &top_fd, "." }, below = { &top_fd, rest };
    char on[NAMES_MAX], marked[NAMES_MAX], wanted[NAMES_MAX] = "";
    int r;

    read_names(&top, "cgroup.subtree_control", on);
    read_mark(top_fd, marked);
    for (size_t i = 0; i < CONTROLLERS; i++) {
        if (has_word(on, controllers[i]))
            continue;
        add_word(wanted, "+", controllers[i]);
        if (!has_word(marked, controllers[i]))
            add_word(marked, "", controllers[i]);
    }
    if (wanted[0] == '\0')
        return 0;
    r = cgroup_write(&top, 0, "cgroup.subtree_control", wanted);
    if (r == -EBUSY && (mkdirat(top_fd, rest, 0755) == 0 || errno == EEXIST)) {
        move_processes(&top, &below);
        r = cgroup_write(&top, 0, "cgroup.subtree_control", wanted);
        if (r < 0) {
            move_processes(&below, &top);
            (void)unlinkat(top_fd, rest, AT_REMOVEDIR);
        }
    }
    /* Where the mark cannot be made it stays turned on. */
    if (r == 0)
        (void)fsetxattr(top_fd, mark, marked, strlen(marked), 0);
    return r;
}

static int prepare_v2(const int *parents, const struct cgroup_place *place, struct err *err)
{
    int r = 0;

    /* Again, because the instance that ends last may turn off at this moment what this one has found turned
     * on. */
    for (int i = 0; i < 3; i++) {
        r = enable(parents[0]);
        if (r == -EBUSY)
            return err_set(
                err, ERR_SYSTEM, -r,
                "the top control group holds processes that cannot be moved, so it hands memory, cpu "
                "and pids down to nobody; start Irori in a container with a control group namespace "
                "of its own (--privileged --cgroupns=private)");
        if (r < 0)
            return err_set(err, ERR_SYSTEM, -r,
                           "handing memory, cpu and pids down from the top control group");
        r = cgroup_write(place, 0, "cgroup.subtree_control", "+memory +cpu +pids");
        if (r != -ENOENT)
            break;
    }
    return r < 0 ? err_set(err, ERR_SYSTEM, -r, "cgroup.subtree_control") : 0;
}

/* The kernel refuses (EBUSY) as long as another group hands the controller down itself: another instance, or
 * whoever has begun to use it. Then the mark stays, and the next one to end tries again. */
static void withdraw_v2(const int *parents)
{
    const struct cgroup_place top = { parents, "." }, below = { parents, rest };
    char marked[NAMES_MAX], left[NAMES_MAX] = "";

    read_mark(parents[0], marked);
    for (size_t i = 0; i < CONTROLLERS; i++) {
        char off[16];

        (void)snprintf(off, sizeof off, "-%s", controllers[i]);
        if (has_word(marked, controllers[i]) && cgroup_write(&top, 0, "cgroup.subtree_control", off) < 0)
            add_word(left, "", controllers[i]);
    }
    if (marked[0] != '\0' && left[0] != '\0')
        (void)fsetxattr(parents[0], mark, left, strlen(left), 0);
    else if (marked[0] != '\0')
        (void)fremovexattr(parents[0], mark);
    if (left[0] == '\0' && faccessat(parents[0], rest, F_OK, 0) == 0) {
        move_processes(&below, &top);
        (void)unlinkat(parents[0], rest, AT_REMOVEDIR);
    }
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
    .withdraw = withdraw_v2,
    .limit_processes = limit_processes_v2,
    .limit_memory = limit_memory_v2,
    .limit_cpu = limit_cpu_v2,
    .freeze = freeze_v2,
    .kill = kill_v2,
};
