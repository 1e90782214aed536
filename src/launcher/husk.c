#include "launcher/husk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "sandbox/net.h"
#include "wire/wire.h"

/* In an emergency of the whole machine an environment goes first. The function may raise it, but not lower
 * it: the launcher writes it with the capability that makes it the minimum. */
static const char oom_score[] = "500";

struct ends {
    int control, log;
    const int *joins; /* the husk's */
    int join_count;
};

/* ------------------------------------------------------------------ in the new process */

/* The process has every capability in its new user namespace, but no user id there yet: executing a program
 * would take them away. */
static bool keep_capabilities(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];

    if (syscall(SYS_capget, &header, caps) < 0)
        return false;
    for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        caps[i].inheritable = caps[i].permitted;
    if (syscall(SYS_capset, &header, caps) < 0)
        return false;
    for (unsigned cap = 0; cap < 64; cap++) {
        if ((caps[cap / 32].permitted & 1U << cap % 32) &&
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
            return false;
    }
    return true;
}

/* Only system calls: the memory is a copy of the launcher's. */
static _Noreturn void become_init(const struct husk_place *place, const struct ends *ends)
{
    static char name[] = "irori-init";
    static char *const argv[] = { name, NULL }, *const env[] = { NULL };
    int control, log, program;

    /* The group first: the cgroup namespace shall begin at it. */
    for (int i = 0; i < ends->join_count; i++) {
        if (write(ends->joins[i], "0", 1) != 1)
            _exit(101);
    }
    if (unshare(CLONE_NEWCGROUP) < 0 || !keep_capabilities())
        _exit(102);
    /* Out of the way of the numbers they shall get. */
    control = fcntl(ends->control, F_DUPFD_CLOEXEC, 64);
    log = fcntl(ends->log, F_DUPFD_CLOEXEC, 64);
    program = fcntl(place->program, F_DUPFD_CLOEXEC, 64);
    if (control < 0 || log < 0 || program < 0 || dup2(place->null, 0) < 0 || dup2(place->null, 1) < 0 ||
        dup2(place->null, 2) < 0 || dup2(control, CONTROL_FD) < 0 || dup2(log, CONTROL_LOG_FD) < 0 ||
        syscall(SYS_close_range, CONTROL_LOG_FD + 1U, ~0U, 1U << 2 /* CLOSE_RANGE_CLOEXEC */) < 0)
        _exit(103);
    (void)syscall(SYS_execveat, program, "", argv, env, AT_EMPTY_PATH);
    _exit(104);
}

/* ------------------------------------------------------------------ in the launcher */

static int send_setup(int control, const struct sock_filter *filter, size_t count)
{
    size_t bytes = sizeof(struct control_setup) + count * sizeof *filter;
    AUTO_FREE struct control_setup *setup = calloc(1, bytes);

    if (!setup)
        return -ENOMEM;
    setup->type = CONTROL_SETUP;
    setup->filter_count = (uint32_t)count;
    memcpy(setup->filter, filter, count * sizeof *filter);
    return send(control, setup, bytes, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static int open_of(pid_t pid, const char *file)
{
    char path[64];
    int fd;

    (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

enum { NEW_NAMESPACES = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS };

/* While it ran the function's code no namespace could be made below the template's. Those of its slots are;
 * they forbid it in turn. */
static bool allow_namespaces(void)
{
    static const char *const kinds[] = { "user", "pid", "mnt", "net", "ipc", "uts", "cgroup" };
    static const char most[] = "65536";
    bool done = true;

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[64];

        (void)snprintf(path, sizeof path, "/proc/sys/user/max_%s_namespaces", kinds[i]);
        AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);

        done = done && fd >= 0 && write(fd, most, sizeof most - 1) > 0;
    }
    return done;
}

/* Enters a family's user and process id namespaces as its user; what is made from here on belongs to that
 * user. */
static int enter_family(int family)
{
    if (setns(family, CLONE_NEWUSER | CLONE_NEWPID) < 0 || !allow_namespaces() ||
        syscall(SYS_setresgid, HUSK_GID, HUSK_GID, HUSK_GID) < 0 ||
        syscall(SYS_setresuid, HUSK_UID, HUSK_UID, HUSK_UID) < 0)
        return -errno;
    return 0;
}

/* The number of a process where the mounted /proc is at home: here. */
static pid_t pid_of(int pidfd)
{
    char path[64], text[512];
    const char *line;
    ssize_t n;

    (void)snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

    n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    text[n < 0 ? 0 : n] = '\0';
    line = strstr(text, "\nPid:");
    return line ? (pid_t)strtol(line + strlen("\nPid:"), NULL, 10) : -ESRCH;
}

/*
 * The way into a family, by three processes that are all the launcher's children and the first two of which
 * share its memory and descriptors: the door enters the namespaces, the midwife is the first that lives in
 * the new process id namespace (before that the kernel makes no further one below it), and makes the init.
 */
struct birth {
    const struct husk_place *place;
    const struct ends *ends;
    pid_t midwife, pid; /* or negative errno */
    int pidfd, uid_map, gid_map;
};
enum { BIRTH_STACK = 64 * 1024, BIRTH_FLAGS = CLONE_VM | CLONE_VFORK | CLONE_FILES };

static int be_midwife(void *argument)
{
    struct birth *birth = argument;
    struct clone_args args = {
        .flags = (uint64_t)NEW_NAMESPACES | CLONE_PIDFD | CLONE_PARENT,
        .pidfd = (uint64_t)(uintptr_t)&birth->pidfd,
    };
    long pid = syscall(SYS_clone3, &args, sizeof args);

    if (pid == 0) {
        /* The descriptors are shared up to here. */
        if (unshare(CLONE_FILES) < 0)
            _exit(105);
        become_init(birth->place, birth->ends);
    }
    birth->pid = pid < 0 ? -errno : pid_of(birth->pidfd);
    if (birth->pid > 0) {
        /* Here, because only who has opened it in the namespace above may write more than its own id. */
        birth->uid_map = open_of(birth->pid, "uid_map");
        birth->gid_map = open_of(birth->pid, "gid_map");
    }
    _exit(0);
}

static int be_door(void *argument)
{
    static char stack[BIRTH_STACK] __attribute__((aligned(64)));
    struct birth *birth = argument;
    int r = enter_family(birth->place->family);

    /* Else /proc shows what is made from here on as root's, whom nobody in this namespace is. */
    (void)prctl(PR_SET_DUMPABLE, 1);
    if (r == 0)
        birth->midwife = clone(be_midwife, stack + sizeof stack, BIRTH_FLAGS | CLONE_PARENT, birth);
    if (r < 0 || birth->midwife < 0)
        birth->pid = r < 0 ? r : -errno;
    _exit(0);
}

static pid_t clone_in_family(const struct husk_place *place, const struct ends *ends, struct husk *husk)
{
    static char stack[BIRTH_STACK] __attribute__((aligned(64)));
    struct birth birth = { place, ends, 0, -ECHILD, -1, -1, -1 };
    pid_t door = clone(be_door, stack + sizeof stack, BIRTH_FLAGS | SIGCHLD, &birth);

    if (door < 0)
        return -errno;
    (void)waitpid(door, NULL, 0);
    if (birth.midwife > 0)
        (void)waitpid(birth.midwife, NULL, 0);
    husk->pidfd = birth.pidfd;
    husk->uid_map = birth.uid_map;
    husk->gid_map = birth.gid_map;
    return birth.pid;
}

static pid_t clone_into_group(const struct husk_place *place, const struct ends *ends, int *ret_pidfd)
{
    struct clone_args args = {
        .flags = (uint64_t)NEW_NAMESPACES | CLONE_PIDFD,
        .pidfd = (uint64_t)(uintptr_t)ret_pidfd,
        .exit_signal = SIGCHLD,
    };
    AUTO_FD int group = cgroup_open_clone(place->cgroup);
    long pid;

    if (group < 0 && group != -ENOENT)
        return group;
    if (group >= 0) {
        args.flags |= (__u64)CLONE_INTO_CGROUP;
        args.cgroup = (__u64)group;
    }
    pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0)
        become_init(place, ends);
    return pid < 0 ? -errno : (pid_t)pid;
}

static pid_t clone_process(const struct husk_place *place, const struct ends *ends, struct husk *husk)
{
    pid_t pid;

    if (setns(place->netns, CLONE_NEWNET) < 0)
        return -errno;
    pid =
        place->family >= 0 ? clone_in_family(place, ends, husk) : clone_into_group(place, ends, &husk->pidfd);
    if (setns(place->home_netns, CLONE_NEWNET) < 0)
        abort(); /* anything done from here on would happen in the wrong network */
    return pid;
}

/* A child that makes the namespace and waits until it was looked at. */
static _Noreturn void make_netns(int family, int sync)
{
    char byte = 'n';

    if (enter_family(family) == 0 && unshare(CLONE_NEWUSER) == 0 && unshare(CLONE_NEWNET) == 0 &&
        write(sync, &byte, 1) == 1)
        (void)!read(sync, &byte, 1);
    _exit(0);
}

int husk_family_netns(int family, int *ret_netns, struct err *err)
{
    char path[64], byte;
    int pair[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set(err, ERR_SYSTEM, errno, "network namespace of a template");
    pid = fork();
    if (pid == 0) {
        (void)close(pair[0]);
        make_netns(family, pair[1]);
    }
    (void)close(pair[1]);
    *ret_netns = -1;
    if (pid > 0 && read(pair[0], &byte, 1) == 1) {
        (void)snprintf(path, sizeof path, "/proc/%d/ns/net", (int)pid);
        *ret_netns = open(path, O_RDONLY | O_CLOEXEC);
    }
    (void)close(pair[0]);
    if (pid > 0)
        (void)waitpid(pid, NULL, 0);
    return *ret_netns < 0 ? err_set(err, ERR_SYSTEM, errno, "network namespace of a template") : 0;
}

/* What the launcher does to the new process from outside while that prepares itself. */
static int adopt(struct husk *husk)
{
    AUTO_FD int score = open_of(husk->pid, "oom_score_adj");

    if (husk->uid_map < 0) {
        husk->uid_map = open_of(husk->pid, "uid_map");
        husk->gid_map = open_of(husk->pid, "gid_map");
    }
    if (score < 0 || husk->uid_map < 0 || husk->gid_map < 0)
        return -ESRCH;
    return write(score, oom_score, sizeof oom_score - 1) < 0 ? -errno : 0;
}

static int open_group(const struct cgroup *group, struct husk *husk, struct err *err)
{
    int peak = cgroup_memory_peak_fd(group);

    husk->memory_usage = cgroup_memory_usage_fd(group);
    husk->memory_stat = cgroup_memory_stat_fd(group);
    husk->memory_peak = peak < 0 ? -1 : peak;
    if (husk->memory_usage < 0 || husk->memory_stat < 0)
        return err_set(err, ERR_SYSTEM, ENOENT, "memory of the control group");
    return 0;
}

static int make_channels(const struct husk_place *place, struct husk *husk, struct ends *ends,
                         struct err *err)
{
    int pair[2], pipes[2], r;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set(err, ERR_SYSTEM, errno, "control socket");
    husk->control = pair[0];
    ends->control = pair[1];
    if (pipe2(pipes, O_CLOEXEC) < 0)
        return err_set(err, ERR_SYSTEM, errno, "log pipe");
    husk->log = pipes[0];
    ends->log = pipes[1];
    if (fcntl(husk->log, F_SETFL, O_NONBLOCK) < 0 || fcntl(husk->control, F_SETFL, O_NONBLOCK) < 0)
        return err_set(err, ERR_SYSTEM, errno, "log pipe");
    r = send_setup(husk->control, place->filter, place->filter_count);
    if (r < 0)
        return err_set(err, ERR_SYSTEM, -r, "control socket");
    r = net_slot_listen(place->netns, &husk->listener, err);
    if (r == 0)
        r = open_group(place->cgroup, husk, err);
    if (r == 0 && place->family >= 0) {
        husk->log_out = fcntl(ends->log, F_DUPFD_CLOEXEC, 0);
        r = net_slot_connect(place->netns, husk->listener, &husk->client, &husk->server, err);
    }
    if (r < 0)
        return err_wrap(err, "Runtime API");
    /* Into a family no process can be cloned right into its group: that takes the right to write there. */
    if (place->family < 0 && cgroup_has_clone(place->cgroup))
        return 0;
    r = cgroup_join_fds(place->cgroup, husk->joins);
    if (r < 0)
        return err_set(err, ERR_SYSTEM, -r, "joining the control group");
    ends->joins = husk->joins;
    ends->join_count = husk->join_count = r;
    return 0;
}

int husk_spawn(const struct husk_place *place, struct husk *ret_husk, struct err *err)
{
    struct husk husk = HUSK_NONE_INIT;
    struct ends ends = { -1, -1, NULL, 0 };
    int r = make_channels(place, &husk, &ends, err);

    if (r == 0) {
        husk.pid = clone_process(place, &ends, &husk);
        if (husk.pid < 0) {
            r = err_set(err, ERR_SYSTEM, -husk.pid, "new process in namespaces of its own");
            husk.pid = 0;
        }
    }
    if (ends.control >= 0)
        (void)close(ends.control);
    if (ends.log >= 0)
        (void)close(ends.log);
    if (r == 0) {
        r = adopt(&husk);
        if (r < 0) {
            r = err_set(err, ERR_SYSTEM, -r, "new process");
            husk_kill(&husk);
            (void)waitid(P_PID, (id_t)husk.pid, NULL, WEXITED);
        }
    }
    if (r < 0) {
        husk_reset(&husk);
        return r;
    }
    *ret_husk = husk;
    return 0;
}

/* One id inside stands for one outside; there are no others, but in a template's namespace those of all
 * functions. */
static int write_map(int fd, unsigned inside, uint32_t outside, const struct husk_start *start)
{
    char lines[96];
    int n = snprintf(lines, sizeof lines, "%u %u 1", inside, outside);

    if (start->family_base)
        n += snprintf(lines + n, sizeof lines - (size_t)n, "\n%u %u %u", HUSK_FAMILY_IDS + 1U,
                      start->family_base, (unsigned)HUSK_FAMILY_ID_COUNT);
    return write(fd, lines, (size_t)n) == n ? 0 : -errno;
}

/* Returns the length of the packet, 0 when it is too long. */
static size_t build_start(char *packet, size_t size, const struct husk_start *launch)
{
    const struct wire_start *start = launch->start;
    const struct husk_mounts *mounts = launch->mounts;
    struct control_start *message = (void *)packet;
    size_t used = offsetof(struct control_start, strings),
           filter_bytes = launch->filter_count * sizeof *launch->filter;

    memset(message, 0, sizeof *message);
    message->type = CONTROL_START;
    message->uid = HUSK_UID;
    message->gid = HUSK_GID;
    message->mount_count = mounts->count;
    message->argc = launch->hold ? 0 : start->argc;
    message->envc = launch->hold ? 0 : start->envc;
    message->is_template = launch->is_template;
    message->filter_count = (uint32_t)launch->filter_count;
    memcpy(message->places, mounts->places, mounts->count);
    (void)snprintf(message->hostname, sizeof message->hostname, "%s", start->hostname);
    for (uint32_t i = 0; i < message->argc + message->envc; i++) {
        const char *text = i < start->argc ? start->argv[i] : start->env[i - start->argc];
        size_t bytes = strlen(text) + 1;

        if (bytes > size - used)
            return 0;
        memcpy(packet + used, text, bytes);
        used += bytes;
    }
    if (filter_bytes > size - used)
        return 0;
    if (filter_bytes > 0)
        memcpy(packet + used, launch->filter, filter_bytes);
    return used + filter_bytes;
}

int husk_launch(struct husk *husk, const struct husk_start *start, struct err *err)
{
    static _Alignas(struct control_start) char packet[CONTROL_MAX_BYTES];
    size_t len = build_start(packet, sizeof packet, start);
    int r;

    if (len == 0)
        return err_set(err, ERR_INVALID, 0, "arguments and environment variables are too long");
    r = write_map(husk->uid_map, HUSK_UID, start->uid, start);
    if (r == 0)
        r = write_map(husk->gid_map, HUSK_GID, start->gid, start);
    if (r < 0)
        return err_set(err, ERR_SYSTEM, -r, "user id map");
    /* /dev/stdout and /dev/stderr can be opened by name only by the pipe's owner. */
    if (fchown(husk->log, start->host_uid, start->host_uid) < 0)
        return err_set(err, ERR_SYSTEM, errno, "log pipe");
    (void)close(husk->uid_map);
    (void)close(husk->gid_map);
    husk->uid_map = husk->gid_map = -1;
    r = wire_send(husk->control, packet, len, start->mounts->fds, start->mounts->count);
    return r < 0 ? err_set(err, ERR_SYSTEM, -r, "sending to irori-init") : 0;
}

int husk_adopt(const struct husk *husk)
{
    const struct control_adopt adopt = { .type = CONTROL_ADOPT };

    return wire_send(husk->control, &adopt, sizeof adopt, NULL, 0);
}

int husk_receive(const struct husk *husk, struct control_report *ret_report)
{
    struct control_report report;
    ssize_t n = recv(husk->control, &report, sizeof report, MSG_DONTWAIT);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (n != (ssize_t)sizeof report)
        return -EPIPE;
    report.step[sizeof report.step - 1] = '\0';
    *ret_report = report;
    return 1;
}

int husk_reap(const struct husk *husk)
{
    siginfo_t info = { 0 };

    return waitid(P_PIDFD, (id_t)husk->pidfd, &info, WEXITED | WNOHANG) == 0 && info.si_pid != 0;
}

void husk_kill(const struct husk *husk)
{
    if (husk->pid > 0)
        (void)syscall(SYS_pidfd_send_signal, husk->pidfd, SIGKILL, NULL, 0);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

void husk_hand_over(struct husk *husk)
{
    close_fd(&husk->log);
    close_fd(&husk->log_out);
    close_fd(&husk->client);
    close_fd(&husk->server);
    close_fd(&husk->memory_usage);
    close_fd(&husk->memory_stat);
    close_fd(&husk->memory_peak);
    for (; husk->join_count > 0; husk->join_count--)
        close_fd(&husk->joins[husk->join_count - 1]);
}

void husk_reset(struct husk *husk)
{
    int *const fds[] = { &husk->pidfd, &husk->control, &husk->listener, &husk->uid_map, &husk->gid_map };

    /* Others may hold it, too: irorid, and for a moment every process that is being made. Its successor needs
     * the port, and nobody shall connect to it any more. */
    if (husk->listener >= 0)
        (void)shutdown(husk->listener, SHUT_RDWR);
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        close_fd(fds[i]);
    husk_hand_over(husk);
    *husk = HUSK_NONE_INIT;
}
