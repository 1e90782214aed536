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

enum { MAX_PROCESSES = 1024, NAME_LIMIT = 63 };

struct cgroups {
    const struct cgroup_ops *ops;
    char name[64];
    int parents[CGROUP_MAX_DIRS], dirs[CGROUP_MAX_DIRS];
};

struct cgroup {
    struct cgroups *groups;
    char name[64];
};

static int open_file(const struct cgroup_place *place, size_t which, const char *file, int flags)
{
    char path[128];
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", place->name, file);
    fd = openat(place->dirs[which], path, flags | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static struct cgroup_place place_of(const struct cgroup *group)
{
    return (struct cgroup_place){ group->groups->dirs, group->name };
}

static struct cgroup_place whole(const struct cgroups *groups)
{
    return (struct cgroup_place){ groups->dirs, "." };
}

int cgroup_write(const struct cgroup_place *place, size_t which, const char *file, const char *text)
{
    AUTO_FD int fd = open_file(place, which, file, O_WRONLY);

    if (fd < 0)
        return fd;
    return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

int cgroup_write_number(const struct cgroup_place *place, size_t which, const char *file, uint64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%" PRIu64, value);
    return cgroup_write(place, which, file, text);
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
    struct cgroup_place place;
    int r;

    if (!groups)
        return err_set(err, ERR_SYSTEM, ENOMEM, "control groups");
    groups->ops = mounts->version == 2 ? &cgroup_v2_ops : &cgroup_v1_ops;
    (void)snprintf(groups->name, sizeof groups->name, "irori-%s", instance);
    place = whole(groups);
    for (size_t i = 0; i < CGROUP_MAX_DIRS; i++)
        groups->parents[i] = groups->dirs[i] = -1;
    for (size_t i = 0; i < groups->ops->dir_count; i++) {
        groups->parents[i] = open_dir(AT_FDCWD, mounts->dirs[i]);
        groups->dirs[i] =
            groups->parents[i] < 0 ? groups->parents[i] : make_dir(groups->parents[i], groups->name);
        if (groups->dirs[i] < 0) {
            r = err_set(err, ERR_SYSTEM, -groups->dirs[i], "control group %s/%s%s", mounts->dirs[i],
                        groups->name, groups->dirs[i] == -EROFS ? " (a container needs --privileged)" : "");
            cgroups_free(groups);
            return r;
        }
    }
    r = groups->ops->prepare(groups->parents, &place, err);
    if (r < 0) {
        (void)cgroups_close(groups);
        return r;
    }
    *ret_groups = groups;
    return 0;
}

int cgroups_limit_memory(struct cgroups *groups, uint64_t max_memory_mb, struct err *err)
{
    const struct cgroup_place place = whole(groups);

    return max_memory_mb == 0 ? 0 : groups->ops->limit_memory(&place, max_memory_mb << 20, err);
}

struct cgroups *cgroups_close(struct cgroups *groups)
{
    if (!groups)
        return NULL;
    for (size_t i = 0; i < groups->ops->dir_count; i++) {
        if (groups->dirs[i] >= 0)
            (void)unlinkat(groups->parents[i], groups->name, AT_REMOVEDIR);
    }
    groups->ops->withdraw(groups->parents);
    return cgroups_free(groups);
}

int cgroups_version(const struct cgroups *groups)
{
    return groups->ops->version;
}

int cgroups_memory_usage_fd(const struct cgroups *groups)
{
    const struct cgroup_place place = whole(groups);

    return open_file(&place, 0, groups->ops->usage_file, O_RDONLY);
}

int cgroups_memory_stat_fd(const struct cgroups *groups)
{
    const struct cgroup_place place = whole(groups);

    return open_file(&place, 0, groups->ops->stat_file, O_RDONLY);
}

int cgroup_procs_fd(const struct cgroup *group)
{
    const struct cgroup_place place = place_of(group);

    return open_file(&place, 0, "cgroup.procs", O_RDONLY);
}

/* Returns whether any process was there. */
static bool kill_processes(const struct cgroup_place *place, size_t which)
{
    int fd = open_file(place, which, "cgroup.procs", O_RDONLY);
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
        const struct cgroup_place place = { groups->dirs, entry->d_name };

        if (entry->d_name[0] == '.' || entry->d_type != DT_DIR || strlen(entry->d_name) > NAME_LIMIT)
            continue;
        (void)groups->ops->limit_cpu(&place, 0, NULL); /* dying takes processor time, too */
        (void)groups->ops->freeze(&place, false, NULL);
        left |= kill_processes(&place, which);
        if (unlinkat(groups->dirs[which], entry->d_name, AT_REMOVEDIR) < 0)
            left = true;
    }
    (void)closedir(dir);
    return left;
}

int cgroups_end_processes(struct cgroups *groups, unsigned timeout_ms)
{
    const struct cgroup_place place = whole(groups);
    uint64_t deadline = clock_us() + timeout_ms * UINT64_C(1000);

    for (;;) {
        bool left = false;

        (void)groups->ops->kill(&place);
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
    struct cgroup_place place;
    int r = 0;

    if (!group)
        return err_set(err, ERR_SYSTEM, ENOMEM, "control group");
    group->groups = groups;
    (void)snprintf(group->name, sizeof group->name, "%s", name);
    for (size_t i = 0; r == 0 && i < groups->ops->dir_count; i++) {
        if (mkdirat(groups->dirs[i], name, 0755) < 0 && errno != EEXIST)
            r = err_set(err, ERR_SYSTEM, errno, "control group %s/%s", groups->name, name);
    }
    place = place_of(group);
    if (r == 0)
        r = groups->ops->limit_processes(&place, MAX_PROCESSES, err);
    if (r < 0) {
        (void)cgroup_remove(group);
        return r;
    }
    *ret_group = group;
    return 0;
}

int cgroup_open_clone(const struct cgroup *group)
{
    return group->groups->ops->join_file ? -ENOENT : open_dir(group->groups->dirs[0], group->name);
}

bool cgroup_has_clone(const struct cgroup *group)
{
    return !group->groups->ops->join_file;
}

int cgroup_join_fds(const struct cgroup *group, int fds[CGROUP_MAX_DIRS])
{
    const struct cgroup_ops *ops = group->groups->ops;
    const struct cgroup_place place = place_of(group);
    size_t count = ops->dir_count;

    for (size_t i = 0; i < count; i++) {
        fds[i] = open_file(&place, i, ops->join_file ? ops->join_file : "cgroup.procs", O_WRONLY);
        if (fds[i] < 0) {
            int r = fds[i];

            while (i > 0)
                (void)close(fds[--i]);
            return r;
        }
    }
    return (int)count;
}

int cgroup_limit_memory(struct cgroup *group, unsigned memory_mb, struct err *err)
{
    const struct cgroup_place place = place_of(group);

    return group->groups->ops->limit_memory(&place, (uint64_t)memory_mb << 20, err);
}

int cgroup_limit_cpu(struct cgroup *group, unsigned millis, struct err *err)
{
    const struct cgroup_place place = place_of(group);

    return group->groups->ops->limit_cpu(&place, millis, err);
}

int cgroup_freeze(struct cgroup *group, bool frozen, struct err *err)
{
    const struct cgroup_place place = place_of(group);

    return group->groups->ops->freeze(&place, frozen, err);
}

uint64_t cgroup_oom_kills(const struct cgroup *group)
{
    const struct cgroup_place place = place_of(group);
    char text[1024], *at;
    AUTO_FD int fd = open_file(&place, 0, group->groups->ops->oom_file, O_RDONLY);
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
    const struct cgroup_place place = place_of(group);

    return open_file(&place, 0, group->groups->ops->usage_file, O_RDONLY);
}

int cgroup_memory_stat_fd(const struct cgroup *group)
{
    const struct cgroup_place place = place_of(group);

    return open_file(&place, 0, group->groups->ops->stat_file, O_RDONLY);
}

int cgroup_memory_peak_fd(const struct cgroup *group)
{
    const struct cgroup_place place = place_of(group);

    return open_file(&place, 0, group->groups->ops->peak_file, O_RDONLY);
}

int cgroup_remove(struct cgroup *group)
{
    if (!group)
        return 0;
    for (size_t i = 0; i < group->groups->ops->dir_count; i++) {
        if (unlinkat(group->groups->dirs[i], group->name, AT_REMOVEDIR) < 0 && errno == EBUSY)
            return -EBUSY;
    }
    free(group);
    return 0;
}
