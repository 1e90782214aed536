#include "launcher/runtimes_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "sandbox/seccomp.h"

/* Where the child keeps what it needs across execve; all above is closed. */
enum { CHILD_LIB_FD = 3, CHILD_PROGRAM_FD = 4, CHILD_FIRST_CLOSED = 5, CHILD_SAFE_FD = 16 };

static int child_descriptors(const struct runtimes_probe *probe, int out)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int program = fcntl(probe->program_fd, F_DUPFD_CLOEXEC, CHILD_SAFE_FD);
    int lib = probe->lib_fd < 0 ? -1 : fcntl(probe->lib_fd, F_DUPFD_CLOEXEC, CHILD_SAFE_FD);
    int pipe_end = fcntl(out, F_DUPFD_CLOEXEC, CHILD_SAFE_FD);

    if (null < 0 || program < 0 || pipe_end < 0 || (probe->lib_fd >= 0 && lib < 0))
        return -1;
    if (dup2(null, 0) < 0 || dup2(pipe_end, 1) < 0 || dup2(pipe_end, 2) < 0)
        return -1;
    if (lib < 0 ? close(CHILD_LIB_FD) && errno != EBADF : dup2(lib, CHILD_LIB_FD) < 0)
        return -1;
    if (dup3(program, CHILD_PROGRAM_FD, O_CLOEXEC) < 0)
        return -1;
    return (int)syscall(SYS_close_range, CHILD_FIRST_CLOSED, ~0U, 0);
}

static int child_limits(void)
{
    static const struct {
        __rlimit_resource_t what;
        rlim_t value;
    } limits[] = { { RLIMIT_CORE, 0 }, { RLIMIT_FSIZE, 0 }, { RLIMIT_CPU, 10 }, { RLIMIT_NOFILE, 64 } };

    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        const struct rlimit limit = { limits[i].value, limits[i].value };

        if (setrlimit(limits[i].what, &limit))
            return -1;
    }
    return 0;
}

static int child_rights(unsigned uid)
{
    size_t count;
    const struct sock_filter *filter = seccomp_strict(&count);
    struct sock_fprog program = { .len = (unsigned short)count,
                                  .filter = (struct sock_filter *)(uintptr_t)filter };

    if (geteuid() == 0 && (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid)))
        return -1;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

__attribute__((noreturn)) static void child_run(const struct runtimes_probe *probe, int out)
{
    const char *argv[] = { probe->name, "--version", NULL };
    const char *env[] = { "PATH=/usr/bin:/bin", "HOME=/", NULL, NULL };
    sigset_t none;

    if (probe->lib_fd >= 0)
        env[2] = "LD_LIBRARY_PATH=/proc/self/fd/3"; /* CHILD_LIB_FD */
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setsid();
    if (chdir("/") == 0 && child_descriptors(probe, out) == 0 && child_limits() == 0 &&
        child_rights(probe->uid) == 0)
        (void)syscall(SYS_execveat, CHILD_PROGRAM_FD, "", argv, env, AT_EMPTY_PATH);
    _exit(127);
}

/* As fork(), in namespaces of its own if that is permitted: whatever the program starts ends with it, as its
 * PID 1. */
static pid_t fork_apart(int *ret_pidfd)
{
    const unsigned long apart = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC;
    long pid = syscall(SYS_clone, apart | CLONE_PIDFD | SIGCHLD, NULL, ret_pidfd, NULL, NULL);

    if (pid < 0)
        pid = syscall(SYS_clone, (unsigned long)CLONE_PIDFD | SIGCHLD, NULL, ret_pidfd, NULL, NULL);
    return (pid_t)pid;
}

/* Returns 0 at the end of what the program writes. */
static int read_answer(int fd, unsigned limit_ms, char answer[RUNTIMES_ANSWER_BYTES])
{
    const uint64_t end_us = clock_us() + (uint64_t)limit_ms * 1000;
    size_t len = 0;

    for (;;) {
        uint64_t now_us = clock_us();
        struct pollfd wait = { .fd = fd, .events = POLLIN };
        int ready = now_us < end_us ? poll(&wait, 1, (int)((end_us - now_us + 999) / 1000)) : 0;

        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return ready ? -errno : -ETIME;

        ssize_t got = read(fd, answer + len, RUNTIMES_ANSWER_BYTES - len);
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got > 0)
            len += (size_t)got;
        if (len == RUNTIMES_ANSWER_BYTES)
            return -EMSGSIZE;
        answer[len] = '\0';
        if (got == 0)
            return 0;
    }
}

/* Ends the program if it has not ended, which it may take a moment for after its last word. */
static int end_and_reap(pid_t pid, int pidfd, bool at_once)
{
    struct pollfd wait = { .fd = pidfd, .events = POLLIN };
    siginfo_t info = { 0 };

    if (at_once || poll(&wait, 1, 1000) <= 0) {
        (void)kill(-pid, SIGKILL); /* its session, where it has no pid namespace of its own */
        (void)kill(pid, SIGKILL);
    }
    while (waitid(P_PID, (id_t)pid, &info, WEXITED) < 0)
        if (errno != EINTR)
            return -errno;
    return info.si_code == CLD_EXITED && info.si_status == 0 ? 0 : -ENOEXEC;
}

int runtimes_probe(const struct runtimes_probe *probe, char answer[RUNTIMES_ANSWER_BYTES])
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC))
        return -errno;

    AUTO_FD int in = ends[0];
    AUTO_FD int out = ends[1];
    AUTO_FD int pidfd = -1;
    int raw_pidfd = -1;
    pid_t pid = fork_apart(&raw_pidfd);

    if (pid < 0)
        return -errno;
    if (pid == 0)
        child_run(probe, out);
    pidfd = raw_pidfd;
    (void)close(TAKE_FD(out));

    int read_result = read_answer(in, probe->limit_ms, answer);
    int end_result = end_and_reap(pid, pidfd, read_result < 0);
    return read_result < 0 ? read_result : end_result;
}
