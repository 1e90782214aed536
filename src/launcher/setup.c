/*
 * Start and stop of the launcher.
 *
 * Order matters at the start: lock, control groups and their sweep first (nothing of an earlier life may
 * still run), then the watchman (before anything is open that must not outlive the launcher), then the
 * keeper, network, runtimes, and the root of the sandboxes last, because it holds what the others found.
 */

#include "launcher/setup_priv.h"
#include "launcher/templates.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "launcher/runtimes.h"
#include "sandbox/cgroup.h"
#include "sandbox/keeper.h"
#include "sandbox/net.h"
#include "sandbox/seccomp.h"
#include "sandbox/skeleton.h"
#include "sandbox/volume.h"

enum { LOCK_MS = 20000, SWEEP_MS = 10000, END_MS = 5000, KEEPER_MS = 4000 };

/* ------------------------------------------------------------------ start */

/* As far as it goes: in a container root may be held below what it asks for. */
static void raise_limit(int resource, rlim_t wanted)
{
    struct rlimit limit = { wanted, wanted };

    if (setrlimit((__rlimit_resource_t)resource, &limit) == 0 ||
        getrlimit((__rlimit_resource_t)resource, &limit) < 0)
        return;
    if (limit.rlim_max > wanted)
        limit.rlim_max = wanted;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit((__rlimit_resource_t)resource, &limit);
}

/* Sandboxes inherit what the launcher is not limited in: whoever started it must not decide over them. */
static int raise_limits(struct err *err)
{
    static const int unlimited[] = { RLIMIT_AS,    RLIMIT_CPU,        RLIMIT_DATA,
                                     RLIMIT_FSIZE, RLIMIT_NPROC,      RLIMIT_STACK,
                                     RLIMIT_LOCKS, RLIMIT_SIGPENDING, RLIMIT_MSGQUEUE };

    for (size_t i = 0; i < sizeof unlimited / sizeof *unlimited; i++)
        raise_limit(unlimited[i], RLIM_INFINITY);
    raise_limit(RLIMIT_NOFILE, 1048576);
    if (setgroups(0, NULL) < 0)
        return err_set(err, ERR_SYSTEM, errno, "supplementary groups (must run as root)");
    return 0;
}

static void close_fd(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}

static int open_folder(int parent, const char *path)
{
    int fd = openat(parent, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

/* The data folder may belong to somebody less trusted. */
static int own_folder(int parent, const char *name, mode_t mode)
{
    int fd;

    if (mkdirat(parent, name, mode) < 0 && errno != EEXIST)
        return -errno;
    fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

/* A mount namespace of our own: nothing that is mounted from here on is seen outside, or stays when we end.
 * Descriptors opened before still belong to the old one, where nothing can be cloned from; the working
 * directory moves along. */
static int enter_namespace(struct launcher *launcher, struct err *err)
{
    struct stat status;

    if (fchdir(launcher->config->data_fd) < 0)
        return err_set(err, ERR_SYSTEM, errno, "data folder");
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return err_set(err, ERR_SYSTEM, errno, "mount namespace");
    launcher->data = open_folder(AT_FDCWD, ".");
    if (launcher->data < 0)
        return err_set(err, ERR_SYSTEM, -launcher->data, "data folder");
    launcher->code = own_folder(launcher->data, "code", 0755);
    launcher->scratch = own_folder(launcher->data, "scratch", 0700);
    if (launcher->code < 0 || launcher->scratch < 0)
        return err_set(err, ERR_SYSTEM, EIO,
                       "folders code and scratch in the data folder (must not be links)");
    if (fstat(launcher->scratch, &status) < 0 || status.st_uid != 0 || (status.st_mode & 022))
        return err_set(err, ERR_SYSTEM, EPERM, "scratch in the data folder is not root's alone");
    launcher->share = open_folder(AT_FDCWD, launcher->config->share);
    if (launcher->share < 0)
        return err_set(err, ERR_SYSTEM, -launcher->share, "%s", launcher->config->share);
    return 0;
}

/* Held until the last process of this life has ended: by the watchman, too. */
static int take_lock(struct launcher *launcher, struct err *err)
{
    uint64_t deadline = clock_us() + LOCK_MS * UINT64_C(1000);

    launcher->lock = openat(launcher->data, "launcher.lock", O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (launcher->lock < 0)
        return err_set(err, ERR_SYSTEM, errno, "launcher.lock");
    while (flock(launcher->lock, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_set(err, ERR_SYSTEM, errno, "launcher.lock");
        if (clock_us() > deadline)
            return err_set(err, ERR_SYSTEM, 0, "another irori-launcher runs on this data folder");
        (void)usleep(10000);
    }
    return 0;
}

static int open_cgroups(struct launcher *launcher, struct err *err)
{
    struct cgroup_mounts mounts;
    int r = cgroup_mounts_find("/proc/self/mountinfo", &mounts, err);

    if (r == 0)
        r = cgroups_open(&mounts, launcher->config->instance, &launcher->cgroups, err);
    if (r < 0)
        return r;
    if (cgroups_end_processes(launcher->cgroups, SWEEP_MS) < 0)
        return err_set(err, ERR_SYSTEM, 0, "processes of an earlier run do not end");
    return cgroups_limit_memory(launcher->cgroups, launcher->config->max_memory_mb, err);
}

static void sweep_scratch(struct launcher *launcher)
{
    char link[32], path[4096];
    ssize_t n;
    DIR *dir;
    int copy = open_folder(launcher->scratch, ".");

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", launcher->scratch);
    n = readlink(link, path, sizeof path - 1);
    if (n > 0) {
        path[n] = '\0';
        (void)volume_sweep(path);
    }
    dir = copy < 0 ? NULL : fdopendir(copy);
    if (!dir)
        return;
    for (const struct dirent *entry; (entry = readdir(dir));)
        (void)unlinkat(launcher->scratch, entry->d_name, 0);
    (void)closedir(dir);
}

static int open_programs(struct launcher *launcher, struct err *err)
{
    char path[4096];
    ssize_t n = -1;

    if (launcher->config->init) {
        (void)snprintf(path, sizeof path, "%s", launcher->config->init);
    } else {
        n = readlink("/proc/self/exe", path, sizeof path - sizeof "irori-init");
        if (n < 0)
            return err_set(err, ERR_SYSTEM, errno, "/proc/self/exe");
        path[n] = '\0';
        memcpy(strrchr(path, '/') + 1, "irori-init", sizeof "irori-init");
    }
    launcher->init_program = open(path, O_RDONLY | O_CLOEXEC);
    if (launcher->init_program < 0)
        return err_set(err, ERR_SYSTEM, errno, "%s", path);
    launcher->null = open("/dev/null", O_RDWR | O_CLOEXEC);
    launcher->home_netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (launcher->null < 0 || launcher->home_netns < 0)
        return err_set(err, ERR_SYSTEM, errno, "/dev/null or /proc/self/ns/net");
    launcher->filter = seccomp_strict(&launcher->filter_count);
    return 0;
}

static int open_network(struct launcher *launcher, struct err *err)
{
    const struct net_config config = {
        .instance = launcher->config->instance,
        .allow_hosts = launcher->config->allow_hosts,
        .allow_host_count = launcher->config->allow_host_count,
    };
    int r = net_open(&config, &launcher->net, err);

    if (r < 0)
        return err_wrap(err, "network");
    if (!net_usable(launcher->net)) {
        log_warn("functions have no network but loopback: %s", err->text);
        *err = (struct err){ 0 };
    }
    return 0;
}

static const char *const runtime_ids[] = { "nodejs18.x", "nodejs20.x", "nodejs22.x", "nodejs24.x",
                                           "python3.9",  "python3.10", "python3.11", "python3.12",
                                           "python3.13", "python3.14" };

static int open_root(struct launcher *launcher, struct err *err)
{
    const struct skeleton_config config = {
        .resolv_conf = net_resolv_conf(launcher->net),
        .hosts = net_hosts(launcher->net),
        .uid = HUSK_UID,
        .gid = HUSK_GID,
    };
    int place, r;

    if (mkdirat(launcher->scratch, "root", 0700) < 0 && errno != EEXIST)
        return err_set(err, ERR_SYSTEM, errno, "scratch folder");
    place = open_folder(launcher->scratch, "root");
    r = skeleton_open(place, &config, &launcher->skeleton, err);
    if (place >= 0)
        (void)close(place);
    for (size_t i = 0; r == 0 && i < sizeof runtime_ids / sizeof *runtime_ids; i++) {
        const struct runtime *runtime = runtimes_get(launcher->runtimes, runtime_ids[i]);

        if (runtime && *runtime->lang)
            r = skeleton_add_lang(launcher->skeleton, runtime->id, runtime->lang, runtime->lang_target, err);
    }
    if (r == 0)
        r = skeleton_seal(launcher->skeleton, err);
    /* Environments begin in the launcher's working directory. */
    if (r == 0 && fchdir(skeleton_root(launcher->skeleton)) < 0)
        r = err_set(err, ERR_SYSTEM, errno, "root of the sandboxes");
    return r;
}

int setup_open(struct launcher *launcher, struct err *err)
{
    int r = raise_limits(err);

    if (r == 0)
        r = enter_namespace(launcher, err);
    if (r == 0)
        r = take_lock(launcher, err);
    if (r == 0)
        r = open_cgroups(launcher, err);
    if (r == 0)
        r = watchman_start(launcher, &launcher->watchman, err);
    if (r == 0) {
        sweep_scratch(launcher);
        r = open_programs(launcher, err);
    }
    if (r == 0)
        r = keeper_start(launcher->scratch, &launcher->keeper, err);
    if (r == 0)
        r = open_network(launcher, err);
    if (r == 0)
        r = runtimes_find(launcher->data, launcher->config->uid_base, &launcher->runtimes, err);
    return r == 0 ? open_root(launcher, err) : r;
}

void setup_announce(struct launcher *launcher)
{
    AUTO_BUF struct buf text = BUF_INIT(WIRE_MAX_BYTES / 2);
    struct wire_message message = { .type = WIRE_READY };
    struct utsname names;
    int fds[2] = { cgroups_memory_usage_fd(launcher->cgroups), cgroups_memory_stat_fd(launcher->cgroups) };

    (void)uname(&names);
    (void)buf_printf(&text, "{\"cgroup\":%d,\"network\":%s,\"kernel\":", cgroups_version(launcher->cgroups),
                     net_usable(launcher->net) ? "true" : "false");
    (void)buf_json_string(&text, names.release, strlen(names.release));
    (void)buf_puts(&text, ",\"runtimes\":");
    (void)runtimes_json(launcher->runtimes, &text);
    (void)buf_putc(&text, '}');
    message.text = text.failed ? "{}" : text.data;
    outbox_send(launcher, &message, fds, fds[0] < 0 ? 0 : fds[1] < 0 ? 1 : 2);
    close_fd(fds[0]);
    close_fd(fds[1]);
    log_info("ready after %u ms", (unsigned)((clock_us() - launcher->started_us) / 1000));
}

/* ------------------------------------------------------------------ stop */

/* All at once, then wait: one after the other would take long. */
static void end_environments(struct launcher *launcher)
{
    while (!list_empty(&launcher->templates))
        template_drop(list_entry(launcher->templates.next, struct template, node));
    templates_bury(launcher);
    for (unsigned i = 0; i < launcher->slot_count; i++)
        husk_kill(&launcher->slots[i]->husk);
    if (launcher->cgroups && cgroups_end_processes(launcher->cgroups, END_MS) < 0)
        log_warn("some processes of functions do not end");
    for (unsigned i = 0; i < launcher->slot_count; i++)
        launcher->slots[i] = slot_free(launcher->slots[i]);
}

static void end_watchman(struct launcher *launcher)
{
    if (launcher->watchman > 0) {
        (void)kill(launcher->watchman, SIGKILL);
        (void)waitpid(launcher->watchman, NULL, 0);
    }
}

void setup_close(struct launcher *launcher)
{
    requests_done(launcher);
    inspect_done(launcher);
    outbox_done(launcher);
    end_environments(launcher);
    slot_bury_cgroups(launcher);
    volumes_done(launcher);
    if (chdir("/") < 0)
        log_warn("chdir: %s", strerror(errno));
    launcher->skeleton = skeleton_close(launcher->skeleton);
    if (launcher->scratch >= 0)
        (void)unlinkat(launcher->scratch, "root", AT_REMOVEDIR);
    launcher->net = net_close(launcher->net); /* first: of a stop that is cut short, this would stay */
    launcher->keeper = keeper_stop(launcher->keeper, KEEPER_MS);
    launcher->runtimes = runtimes_free(launcher->runtimes);
    end_watchman(launcher);
    launcher->cgroups = cgroups_close(launcher->cgroups);
    close_fd(launcher->data);
    close_fd(launcher->code);
    close_fd(launcher->share);
    close_fd(launcher->scratch);
    close_fd(launcher->lock);
    close_fd(launcher->null);
    close_fd(launcher->init_program);
    close_fd(launcher->home_netns);
    close_fd(launcher->signals);
    close_fd(launcher->epoll);
    free(launcher->slots);
    free(launcher->free_indexes);
    free(launcher);
}
