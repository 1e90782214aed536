/*
 * INSPECT: a short-lived process looks into an environment, since all that it reads is hostile and may be
 * slow. It keeps the two capabilities that this needs, and no descriptor but those it reads and its answer's
 * file.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "launcher/launcher_priv.h"
#include "sandbox/inspection.h"

enum { INSPECTORS_MAX = 4, LIMIT_S = 10, MEMORY_MAX_BYTES = 512 << 20 /* beyond the launcher's */ };

struct inspector {
    struct list node; /* in launcher.inspectors */
    struct launcher *launcher;
    uint64_t env_id;
    pid_t pid;
    int pidfd, answer;
    struct watch on_end;
};

/* ---- in the process ---- */

static bool keep_few_capabilities(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3] = { 0 };

    caps[0].permitted = caps[0].effective = 1U << CAP_SYS_PTRACE | 1U << CAP_DAC_READ_SEARCH;
    return syscall(SYS_capset, &header, caps) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

/* The root of the environment's PID 1, which is ours and cannot have moved. */
static int open_tmp(int proc, pid_t init)
{
    char path[64];
    struct statfs info;
    int fd;

    (void)snprintf(path, sizeof path, "%d/root/tmp", (int)init);
    fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && (fstatfs(fd, &info) < 0 || info.f_type != EXT4_SUPER_MAGIC)) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* Those of the group, without the environment's own PID 1. */
static size_t read_pids(int procs, pid_t init, pid_t *pids, size_t max)
{
    FILE *file = fdopen(procs, "r");
    char line[32];
    size_t count = 0;

    while (file && count < max && fgets(line, sizeof line, file)) {
        long pid = strtol(line, NULL, 10);

        if (pid > 1 && pid != init)
            pids[count++] = (pid_t)pid;
    }
    return count;
}

/* Of this process; a sanitizer's takes terabytes. The inspected ones' does not count: nothing of it is
 * mapped. */
static rlim_t address_space_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    char line[128] = "";
    unsigned long long pages = file && fgets(line, sizeof line, file) ? strtoull(line, NULL, 10) : 0;

    if (file)
        (void)fclose(file);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

static void limit(void)
{
    const struct rlimit cpu = { LIMIT_S, LIMIT_S };
    struct rlimit memory;
    sigset_t none;

    memory.rlim_max = memory.rlim_cur = address_space_bytes() + MEMORY_MAX_BYTES;
    (void)setrlimit(RLIMIT_AS, &memory);
    (void)setrlimit(RLIMIT_CPU, &cpu);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)alarm(LIMIT_S);
}

/* Closes all but these three, which become 3, 4 and 5; -1 stays away. */
static void close_others(int *answer, int *proc, int *procs)
{
    int *const kept[] = { answer, proc, procs };

    for (size_t i = 0; i < 3; i++)
        *kept[i] = fcntl(*kept[i], F_DUPFD_CLOEXEC, 100);
    for (size_t i = 0; i < 3; i++)
        *kept[i] = dup3(*kept[i], (int)(3 + i), O_CLOEXEC);
    (void)syscall(SYS_close_range, 6U, ~0U, 0U);
}

static _Noreturn void look(const struct slot *slot, const struct wire_message *message, int answer)
{
    static pid_t pids[INSPECTION_PROCESSES + 1];
    struct buf out = BUF_INIT(INSPECTION_MAX_BYTES);
    int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC), procs = cgroup_procs_fd(slot->cgroup);
    struct inspection inspection = { .pids = pids,
                                     .values = message->values,
                                     .value_count = message->value_count };

    (void)prctl(PR_SET_NAME, "irori-inspector");
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    limit();
    close_others(&answer, &proc, &procs);
    if (proc < 0 || procs < 0 || answer < 0 || !keep_few_capabilities())
        _exit(1);
    inspection.proc = proc;
    inspection.tmp = open_tmp(proc, slot->husk.pid);
    inspection.pid_count = read_pids(procs, slot->husk.pid, pids, INSPECTION_PROCESSES + 1);
    inspection_look(&inspection, &out);
    _exit(!out.failed && write(answer, out.data, out.len) == (ssize_t)out.len ? 0 : 1);
}

/* ---- in the launcher ---- */

static void refuse(struct launcher *launcher, uint64_t env_id, const char *why)
{
    const struct wire_message message = {
        .type = WIRE_INSPECTED, .env_id = env_id, .number = 1, .text = why
    };

    outbox_send(launcher, &message, NULL, 0);
}

/* Closing it does not end the watch while a process that was forked meanwhile still holds a copy. */
static void drop(struct inspector *inspector)
{
    if (inspector->pidfd >= 0) {
        (void)epoll_ctl(inspector->launcher->epoll, EPOLL_CTL_DEL, inspector->pidfd, NULL);
        (void)close(inspector->pidfd);
    }
    (void)close(inspector->answer);
    list_remove(&inspector->node);
    free(inspector);
}

static void on_end(void *owner)
{
    struct inspector *inspector = owner;
    const struct wire_message message = { .type = WIRE_INSPECTED, .env_id = inspector->env_id, .text = "" };
    int status;

    if (waitpid(inspector->pid, &status, WNOHANG) != inspector->pid)
        return;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        outbox_send(inspector->launcher, &message, &inspector->answer, 1);
    else
        refuse(inspector->launcher, inspector->env_id, "looking into the environment failed");
    drop(inspector);
}

static unsigned count(const struct launcher *launcher)
{
    unsigned number = 0;

    list_each(at, &launcher->inspectors) number++;
    return number;
}

static bool begin(struct inspector *inspector, const struct slot *slot, const struct wire_message *message)
{
    struct launcher *launcher = inspector->launcher;

    inspector->answer = memfd_create("inspection", MFD_CLOEXEC);
    if (inspector->answer < 0)
        return false;
    inspector->pid = fork();
    if (inspector->pid == 0)
        look(slot, message, inspector->answer);
    if (inspector->pid < 0)
        return false;
    inspector->pidfd = (int)syscall(SYS_pidfd_open, inspector->pid, 0);
    if (inspector->pidfd >= 0 && launcher_watch(launcher, inspector->pidfd, &inspector->on_end, EPOLLIN) == 0)
        return true;
    (void)kill(inspector->pid, SIGKILL);
    (void)waitpid(inspector->pid, NULL, 0);
    return false;
}

void inspect_begin(struct launcher *launcher, const struct wire_message *message)
{
    const struct slot *slot = slot_find(launcher, message->env_id);
    struct inspector *inspector;

    if (!slot || slot->state.life != SLOT_RUNNING || slot->state.husk != HUSK_RUNNING || slot->own) {
        refuse(launcher, message->env_id, "there is no such environment, or nothing runs in it");
        return;
    }
    inspector = count(launcher) < INSPECTORS_MAX ? calloc(1, sizeof *inspector) : NULL;
    if (!inspector) {
        refuse(launcher, message->env_id, "too many environments are being looked into");
        return;
    }
    inspector->launcher = launcher;
    inspector->env_id = message->env_id;
    inspector->pidfd = inspector->answer = -1;
    inspector->on_end = (struct watch){ on_end, inspector };
    list_push_back(&launcher->inspectors, &inspector->node);
    if (begin(inspector, slot, message))
        return;
    log_error("looking into an environment: %s", strerror(errno));
    refuse(launcher, message->env_id, "looking into the environment cannot begin");
    drop(inspector);
}

void inspect_done(struct launcher *launcher)
{
    list_each_safe(at, &launcher->inspectors)
    {
        struct inspector *inspector = list_entry(at, struct inspector, node);

        (void)kill(inspector->pid, SIGKILL);
        (void)waitpid(inspector->pid, NULL, 0);
        drop(inspector);
    }
}
