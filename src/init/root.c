/* The mounts of a sandbox. See docs/sandbox.md, "Root". */

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init/init_priv.h"

/* Not in every C library's headers, and those that have them clash with linux/mount.h. */
enum {
    MS_REC_ = 16384,
    MS_PRIVATE_ = 1 << 18,
    MS_NOSUID_ = 2,
    MS_NODEV_ = 4,
    MS_NOEXEC_ = 8,
    MNT_DETACH_ = 2
};

static int mount_at(const char *source, const char *target, const char *type, unsigned long flags)
{
    return syscall(SYS_mount, source, target, type, flags, NULL) < 0 ? -errno : 0;
}

static int clone_tree(const char *path, unsigned flags)
{
    long fd = syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);

    return fd < 0 ? -errno : (int)fd;
}

static int attach_tree(int fd, const char *path)
{
    return syscall(SYS_move_mount, fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
}

/* Covers path, where it is there, by what lies at cover. */
static int cover(const char *path, const char *over)
{
    int fd, r;

    if (faccessat(AT_FDCWD, path, F_OK, 0) < 0)
        return 0;
    fd = clone_tree(over, 0);
    if (fd < 0)
        return fd;
    r = attach_tree(fd, path);
    (void)close(fd);
    return r;
}

static int make_read_only(const char *path)
{
    struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
    int fd, r;

    if (faccessat(AT_FDCWD, path, F_OK, 0) < 0)
        return 0;
    fd = clone_tree(path, 0);
    if (fd < 0)
        return fd;
    r = syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0 ? -errno
                                                                                  : attach_tree(fd, path);
    (void)close(fd);
    return r;
}

/* What of /proc speaks of the machine's memory, keys and devices; most needs privilege anyway. */
static int restrict_proc(struct init_step *step)
{
    static const char *const files[] = { "/proc/kcore",       "/proc/keys",          "/proc/key-users",
                                         "/proc/kallsyms",    "/proc/kmsg",          "/proc/timer_list",
                                         "/proc/sched_debug", "/proc/sysrq-trigger", "/proc/kpagecount",
                                         "/proc/kpageflags",  "/proc/kpagecgroup",   "/proc/latency_stats" };
    static const char *const dirs[] = { "/proc/acpi", "/proc/scsi", "/proc/driver", "/proc/dynamic_debug" };
    static const char *const fixed[] = { "/proc/sys", "/proc/bus", "/proc/fs", "/proc/irq" };
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof files / sizeof *files; i++)
        r = cover(step->name = files[i], "/dev/null");
    for (size_t i = 0; r == 0 && i < sizeof dirs / sizeof *dirs; i++)
        r = cover(step->name = dirs[i], "/var/empty");
    for (size_t i = 0; r == 0 && i < sizeof fixed / sizeof *fixed; i++)
        r = make_read_only(step->name = fixed[i]);
    return r;
}

/*
 * A function never needs namespaces of its own; without them a whole class of kernel bugs is out of reach.
 * The filter refuses them as well. What a function may have of inotify is charged to the host's root, too,
 * who made its user namespace and has 128 instances for itself and all environments (docs/sandbox.md).
 * Opened before /proc/sys becomes read-only, written after the last mount is made: a mount in the making
 * counts as a namespace.
 */
static const struct {
    const char *name, *value;
} limits[] = {
    { "user_namespaces", "0" },    { "pid_namespaces", "0" },  { "mnt_namespaces", "0" },
    { "net_namespaces", "0" },     { "ipc_namespaces", "0" },  { "uts_namespaces", "0" },
    { "cgroup_namespaces", "0" },  { "time_namespaces", "0" }, { "inotify_instances", "16" },
    { "inotify_watches", "1024" },
};
enum { LIMIT_COUNT = sizeof limits / sizeof *limits };

static int open_limits(int fds[LIMIT_COUNT])
{
    for (size_t i = 0; i < LIMIT_COUNT; i++) {
        char path[64];

        (void)snprintf(path, sizeof path, "/proc/sys/user/max_%s", limits[i].name);
        fds[i] = open(path, O_WRONLY | O_CLOEXEC);
        if (fds[i] < 0 && errno != ENOENT)
            return -errno;
    }
    return 0;
}

static int write_limits(const int fds[LIMIT_COUNT])
{
    for (size_t i = 0; i < LIMIT_COUNT; i++) {
        if (fds[i] < 0)
            continue;
        if (write(fds[i], limits[i].value, strlen(limits[i].value)) < 0 || close(fds[i]) < 0)
            return -errno;
    }
    return 0;
}

/* The working directory is the root to be; afterwards it is the root. */
static int pivot(struct init_step *step)
{
    int tree, r;

    step->name = "private mounts";
    r = mount_at(NULL, "/", NULL, MS_REC_ | MS_PRIVATE_);
    if (r < 0)
        return r;
    step->name = "root";
    tree = clone_tree(".", AT_RECURSIVE);
    if (tree < 0)
        return tree;
    r = attach_tree(tree, ".");
    if (r == 0 && fchdir(tree) < 0)
        r = -errno;
    (void)close(tree);
    if (r < 0)
        return r;
    /* Before the host's /proc is gone: the kernel grants a new one only to who sees a whole one. */
    step->name = "/proc";
    r = mount_at("proc", "proc", "proc", MS_NOSUID_ | MS_NODEV_ | MS_NOEXEC_);
    if (r < 0)
        return r;
    step->name = "pivot_root";
    if (syscall(SYS_pivot_root, ".", ".") < 0 || syscall(SYS_umount2, ".", MNT_DETACH_) < 0 || chdir("/") < 0)
        return -errno;
    return 0;
}

int init_build_root(struct init_step *step)
{
    int fds[LIMIT_COUNT] = { [0 ... LIMIT_COUNT - 1] = -1 }, r = pivot(step);

    if (r < 0)
        return r;
    step->name = "limits of the user namespace";
    r = open_limits(fds);
    if (r == 0)
        r = restrict_proc(step);
    if (r < 0)
        return r;
    step->name = "limits of the user namespace";
    return write_limits(fds);
}

int init_attach(const struct control_start *start, const int *fds, struct init_step *step)
{
    static const char *const places[CONTROL_PLACE_COUNT] = {
        [CONTROL_AT_TASK] = "/var/task",
        [CONTROL_AT_LANG] = "/var/lang",
        [CONTROL_AT_OPT] = "/opt",
        [CONTROL_AT_RUNTIME] = "/var/runtime",
        [CONTROL_AT_NODE_SDK] = "/var/runtime/node_modules",
        [CONTROL_AT_PYTHON_SDK] = "/var/runtime/sdk",
        [CONTROL_AT_CODE_CACHE] = "/var/runtime/code-cache",
        [CONTROL_AT_TMP] = "/tmp",
    };

    for (uint32_t i = 0; i < start->mount_count; i++) {
        int r = -EINVAL;

        if (start->places[i] < CONTROL_PLACE_COUNT)
            r = attach_tree(fds[i], step->name = places[start->places[i]]);
        if (r < 0)
            return r;
        (void)close(fds[i]);
    }
    return 0;
}
