#include "sandbox/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "sandbox/cgroup_priv.h"

enum { MAX_PROCESSES = 1024 };

struct cgroups {
    const struct cgroup_ops *ops;
    char name[64];
    int parents[CGROUP_MAX_DIRS], dirs[CGROUP_MAX_DIRS];
};

struct cgroup {
    struct cgroups *groups;
    char name[64];
    int dirs[CGROUP_MAX_DIRS];
};

int cgroup_write(int dir, const char *file, const char *text)
{
    AUTO_FD int fd = openat(dir, file, O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        return -errno;
    return 0;
}

int cgroup_write_number(int dir, const char *file, uint64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%" PRIu64, value);
    return cgroup_write(dir, file, text);
}

/* ------------------------------------------------------------------ mounts */

/* Whether the comma-separated list holds the word. */
static bool list_has(const char *list, const char *word, const char *separators)
{
    size_t len = strlen(word);

    while (*list) {
        size_t n = strcspn(list, separators);

        if (n == len && memcmp(list, word, len) == 0)
            return true;
        list += n;
        list += strspn(list, separators);
    }
    return false;
}

static bool v2_has_controllers(const char *dir)
{
    char path[300], text[512];
    ssize_t n;

    (void)snprintf(path, sizeof path, "%s/cgroup.controllers", dir);
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n < 0)
        return false;
    text[n] = '\0';
    return list_has(text, "memory", " \n") && list_has(text, "cpu", " \n") && list_has(text, "pids", " \n");
}

/* One line: "id parent maj:min root MOUNTPOINT options [tags] - TYPE source SUPEROPTIONS". */
static void look_at_mount(char *line, struct cgroup_mounts *v1, struct cgroup_mounts *v2)
{
    static const char *const names[CGROUP_MAX_DIRS] = { "memory", "cpu", "pids", "freezer" };
    char *dash = strstr(line, " - "), *save = NULL, *dir = NULL, *type, *options;

    if (!dash)
        return;
    *dash = '\0';
    for (int i = 0; i < 5; i++) {
        dir = strtok_r(i == 0 ? line : NULL, " ", &save);
        if (!dir)
            return;
    }
    type = strtok_r(dash + 3, " ", &save);
    (void)strtok_r(NULL, " ", &save);
    options = strtok_r(NULL, " \n", &save);
    if (!type || !options || strlen(dir) >= sizeof v1->dirs[0])
        return;
    if (strcmp(type, "cgroup2") == 0 && !v2->dirs[0][0] && v2_has_controllers(dir))
        (void)snprintf(v2->dirs[0], sizeof v2->dirs[0], "%s", dir);
    for (size_t i = 0; i < CGROUP_MAX_DIRS && strcmp(type, "cgroup") == 0; i++) {
        if (!v1->dirs[i][0] && list_has(options, names[i], ","))
            (void)snprintf(v1->dirs[i], sizeof v1->dirs[i], "%s", dir);
    }
}

int cgroup_mounts_find(const char *mountinfo, struct cgroup_mounts *ret_mounts, struct err *err)
{
    static const char *const names[CGROUP_MAX_DIRS] = { "memory", "cpu", "pids", "freezer" };
    struct cgroup_mounts v1 = { .version = 1 }, v2 = { .version = 2 };
    FILE *file = fopen(mountinfo, "re");
    char line[4096];

    if (!file)
        return err_set(err, ERR_SYSTEM, errno, "%s", mountinfo);
    while (fgets(line, sizeof line, file))
        look_at_mount(line, &v1, &v2);
    (void)fclose(file);
    if (v2.dirs[0][0]) {
        *ret_mounts = v2;
        return 0;
    }
    for (size_t i = 0; i < CGROUP_MAX_DIRS; i++) {
        if (!v1.dirs[i][0])
            return err_set(err, ERR_SYSTEM, 0, "no control group hierarchy has the %s controller", names[i]);
    }
    *ret_mounts = v1;
    return 0;
}

/* ------------------------------------------------------------------ the instance's groups */

static int open_dir(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

static int make_dir(int parent, const char *name)
{
    if (mkdirat(parent, name, 0755) < 0 && errno != EEXIST)
        return -errno;
    return open_dir(parent, name);
}

static void close_all(int fds[CGROUP_MAX_DIRS])
{
    for (size_t i = 0; i < CGROUP_MAX_DIRS; i++) {
        if (fds[i] >= 0)
            (void)close(fds[i]);
        fds[i] = -1;
    }
}

static struct cgroups *cgroups_free(struct cgroups *groups)
{
    close_all(groups->parents);
    close_all(groups->dirs);
    free(groups);
    return NULL;
}

int cgroups_open(const struct cgroup_mounts *mounts, const char *instance, struct cgroups **ret_groups,
                 struct err *err)
{
    struct cgroups *groups = calloc(1, sizeof *groups);
    int r;

    if (!groups)
        return err_set(err, ERR_SYSTEM, ENOMEM, "control groups");
    groups->ops = mounts->version == 2 ? &cgroup_v2_ops : &cgroup_v1_ops;
    (void)snprintf(groups->name, sizeof groups->name, "irori-%s", instance);
    for (size_t i = 0; i < CGROUP_MAX_DIRS; i++)
        groups->parents[i] = groups->dirs[i] = -1;
    for (size_t i = 0; i < groups->ops->dir_count; i++) {
        groups->parents[i] = open_dir(AT_FDCWD, mounts->dirs[i]);
        groups->dirs[i] =
            groups->parents[i] < 0 ? groups->parents[i] : make_dir(groups->parents[i], groups->name);
        if (groups->dirs[i] < 0) {
            r = err_set(err, ERR_SYSTEM, -groups->dirs[i], "control group %s/%s", mounts->dirs[i],
                        groups->name);
            cgroups_free(groups);
            return r;
        }
    }
    r = groups->ops->prepare(groups->parents, groups->dirs, err);
    if (r < 0) {
        (void)cgroups_close(groups);
        return r;
    }
    *ret_groups = groups;
    return 0;
}

int cgroups_limit_memory(struct cgroups *groups, uint64_t max_memory_mb, struct err *err)
{
    if (max_memory_mb == 0)
        return 0;
    return groups->ops->limit_memory(groups->dirs, max_memory_mb << 20, err);
}

struct cgroups *cgroups_close(struct cgroups *groups)
{
    if (!groups)
        return NULL;
    for (size_t i = 0; i < groups->ops->dir_count; i++) {
        if (groups->dirs[i] >= 0)
            (void)unlinkat(groups->parents[i], groups->name, AT_REMOVEDIR);
    }
    return cgroups_free(groups);
}

int cgroups_version(const struct cgroups *groups)
{
    return groups->ops->version;
}

static int open_file(int dir, const char *name, int flags)
{
    int fd = openat(dir, name, flags | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

int cgroups_memory_fd(const struct cgroups *groups)
{
    return open_file(groups->dirs[0], groups->ops->usage_file, O_RDONLY);
}

/* Returns whether any process was there. */
static bool kill_processes(int dir)
{
    int fd = open_file(dir, "cgroup.procs", O_RDONLY);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
    bool any = false;
    char line[32];

    if (!file) {
        if (fd >= 0)
            (void)close(fd);
        return false;
    }
    while (fgets(line, sizeof line, file)) {
        long pid = strtol(line, NULL, 10);

        /* A process of another pid namespace would read as 0. */
        if (pid > 1) {
            (void)kill((pid_t)pid, SIGKILL);
            any = true;
        }
    }
    (void)fclose(file);
    return any;
}

/* Kills in, and removes, each environment's group below dirs[which]. Returns whether something is left. */
static bool end_below(const struct cgroups *groups, size_t which)
{
    int copy = open_dir(groups->dirs[which], ".");
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    bool left = false;

    if (!dir)
        return false;
    for (const struct dirent *entry; (entry = readdir(dir));) {
        int dirs[CGROUP_MAX_DIRS] = { -1, -1, -1, -1 };

        if (entry->d_name[0] == '.' || entry->d_type != DT_DIR)
            continue;
        for (size_t i = 0; i < groups->ops->dir_count; i++)
            dirs[i] = open_dir(groups->dirs[i], entry->d_name);
        (void)groups->ops->freeze(dirs, false, NULL);
        left |= kill_processes(dirs[which]);
        close_all(dirs);
        if (unlinkat(groups->dirs[which], entry->d_name, AT_REMOVEDIR) < 0)
            left = true;
    }
    (void)closedir(dir);
    return left;
}

int cgroups_end_processes(struct cgroups *groups, unsigned timeout_ms)
{
    uint64_t deadline = clock_us() + timeout_ms * UINT64_C(1000);

    for (;;) {
        bool left = false;

        (void)groups->ops->kill(groups->dirs);
        for (size_t i = 0; i < groups->ops->dir_count; i++)
            left |= end_below(groups, i);
        if (!left)
            return 0;
        if (clock_us() > deadline)
            return -ETIMEDOUT;
        (void)usleep(2000);
    }
}

/* ------------------------------------------------------------------ one environment's group */

int cgroup_new(struct cgroups *groups, const char *name, struct cgroup **ret_group, struct err *err)
{
    struct cgroup *group = calloc(1, sizeof *group);
    int r = 0;

    if (!group)
        return err_set(err, ERR_SYSTEM, ENOMEM, "control group");
    group->groups = groups;
    (void)snprintf(group->name, sizeof group->name, "%s", name);
    for (size_t i = 0; i < CGROUP_MAX_DIRS; i++)
        group->dirs[i] = -1;
    for (size_t i = 0; r == 0 && i < groups->ops->dir_count; i++) {
        group->dirs[i] = make_dir(groups->dirs[i], name);
        if (group->dirs[i] < 0)
            r = err_set(err, ERR_SYSTEM, -group->dirs[i], "control group %s/%s", groups->name, name);
    }
    if (r == 0)
        r = groups->ops->limit_processes(group->dirs, MAX_PROCESSES, err);
    if (r < 0) {
        (void)cgroup_remove(group);
        return r;
    }
    *ret_group = group;
    return 0;
}

int cgroup_join_fds(const struct cgroup *group, int fds[CGROUP_MAX_DIRS])
{
    const struct cgroup_ops *ops = group->groups->ops;
    size_t count = ops->join_file ? ops->dir_count : 0;

    for (size_t i = 0; i < count; i++) {
        fds[i] = open_file(group->dirs[i], ops->join_file, O_WRONLY);
        if (fds[i] < 0) {
            int r = fds[i];

            while (i > 0)
                (void)close(fds[--i]);
            return r;
        }
    }
    return (int)count;
}

int cgroup_clone_fd(const struct cgroup *group)
{
    return group->groups->ops->join_file ? -1 : group->dirs[0];
}

int cgroup_limit_memory(struct cgroup *group, unsigned memory_mb, struct err *err)
{
    return group->groups->ops->limit_memory(group->dirs, (uint64_t)memory_mb << 20, err);
}

int cgroup_limit_cpu(struct cgroup *group, unsigned millis, struct err *err)
{
    return group->groups->ops->limit_cpu(group->dirs, millis, err);
}

int cgroup_freeze(struct cgroup *group, bool frozen, struct err *err)
{
    return group->groups->ops->freeze(group->dirs, frozen, err);
}

uint64_t cgroup_oom_kills(const struct cgroup *group)
{
    char text[1024], *at;
    AUTO_FD int fd = open_file(group->dirs[0], group->groups->ops->oom_file, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    if (n < 0)
        return 0;
    text[n] = '\0';
    at = strstr(text, "oom_kill ");
    /* "oom_kill_disable 0" comes first in version 1. */
    while (at && at != text && at[-1] != '\n')
        at = strstr(at + 1, "oom_kill ");
    return at ? strtoull(at + strlen("oom_kill "), NULL, 10) : 0;
}

int cgroup_memory_usage_fd(const struct cgroup *group)
{
    return open_file(group->dirs[0], group->groups->ops->usage_file, O_RDONLY);
}

int cgroup_memory_stat_fd(const struct cgroup *group)
{
    return open_file(group->dirs[0], group->groups->ops->stat_file, O_RDONLY);
}

int cgroup_remove(struct cgroup *group)
{
    if (!group)
        return 0;
    for (size_t i = 0; i < group->groups->ops->dir_count; i++) {
        if (unlinkat(group->groups->dirs[i], group->name, AT_REMOVEDIR) < 0 && errno == EBUSY)
            return -EBUSY;
    }
    close_all(group->dirs);
    free(group);
    return 0;
}
