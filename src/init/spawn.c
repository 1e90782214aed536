/* From a process that may do everything in its namespaces to one that may do nothing, and from that to the
 * function's. */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init/init_priv.h"
#include "wire/control.h"

enum { LAST_CAPABILITY = 63, CHILD_STACK_BYTES = 32 * 1024 };

/* Recorded on AWS, except: NPROC there follows the memory size; CORE is 1, because that alone keeps the
 * kernel from starting the host's crash handler, which would look at a hostile process with root's rights.
 * MSGQUEUE and SIGPENDING are counted for the host's root as well, who made the user namespace: one queue of
 * the usual size, and as many signals as processes. */
static const struct {
    int resource;
    struct rlimit limit;
} limits[] = {
    { RLIMIT_NOFILE, { 1024, 1024 } },
    { RLIMIT_NPROC, { CONTROL_PROCESSES_MAX, RLIM_INFINITY } }, /* the rest in init_spawn() */
    { RLIMIT_MEMLOCK, { 65536, 65536 } },
    { RLIMIT_STACK, { 8388608, RLIM_INFINITY } },
    { RLIMIT_CORE, { 1, 1 } },
    { RLIMIT_MSGQUEUE, { 102400, 102400 } },
    { RLIMIT_SIGPENDING, { 1024, 1024 } },
    { RLIMIT_NICE, { 0, 0 } },
    { RLIMIT_RTPRIO, { 0, 0 } },
};

static int set_limits(void)
{
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct rlimit limit;

        /* Not above what the launcher has: that is what the machine allows. */
        if (getrlimit(limits[i].resource, &limit) < 0)
            return -errno;
        if (limits[i].limit.rlim_max < limit.rlim_max)
            limit.rlim_max = limits[i].limit.rlim_max;
        limit.rlim_cur =
            limits[i].limit.rlim_cur < limit.rlim_max ? limits[i].limit.rlim_cur : limit.rlim_max;
        if (setrlimit(limits[i].resource, &limit) < 0)
            return -errno;
    }
    return 0;
}

int init_prepare(struct init_step *step)
{
    int null;

    step->name = "capabilities";
    for (int cap = 0; cap <= LAST_CAPABILITY; cap++) {
        if (prctl(PR_CAPBSET_DROP, cap) < 0 && errno != EINVAL) /* EINVAL: beyond what this kernel knows */
            return -errno;
    }
    step->name = "no new privileges";
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    step->name = "/dev/null";
    null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null < 0 || dup2(null, 0) < 0 || close(null) < 0)
        return -errno;
    step->name = "limits";
    (void)umask(022);
    return set_limits();
}

static int install(const struct sock_fprog *filter)
{
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, filter) < 0 ? -errno : 0;
}

int init_drop(uint32_t uid, uint32_t gid, const struct sock_fprog *filter, bool is_template,
              struct init_step *step)
{
    static struct sock_filter allow[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
    static const struct sock_fprog nothing = { 1, allow };
    int r = 0;
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

    step->name = "identity";
    /* By system call: a C library's own would signal threads that do not exist. There are no other groups:
     * the launcher has none. */
    if (syscall(SYS_setresgid, gid, gid, gid) < 0 || syscall(SYS_setresuid, uid, uid, uid) < 0)
        return -errno;
    step->name = "capabilities";
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
        syscall(SYS_capset, &header, none) < 0)
        return -errno;
    /* The change of identity has cleared the signal for the launcher's death. */
    if (prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return -errno;
    step->name = "system call filter";
    /* A clone has its template's filter and the strict one. Where both can be counted they shall be two
     * everywhere; one that refuses nothing costs next to nothing. */
    if (!is_template)
        r = install(&nothing);
    return r < 0 ? r : install(filter);
}

/* ------------------------------------------------------------------ the function's process */

struct child {
    const char *const *argv, *const *env;
    int log;
    bool is_template;
    volatile int failure; /* errno; written by the child, which shares our memory until it executes */
};

/* The launcher ignores SIGPIPE, and whoever started it may have had any signal ignored; a function expects
 * the defaults. By system call: a C library refuses to touch the signals that it keeps for its own threads.
 */
static void default_signals(void)
{
    enum { SIGNALS = 64, SIGNAL_SET_BYTES = 8 };
    static const unsigned long by_default[4]; /* struct kernel_sigaction: SIG_DFL, no flags, no mask */

    for (int number = 1; number <= SIGNALS; number++)
        (void)syscall(SYS_rt_sigaction, number, by_default, NULL, SIGNAL_SET_BYTES);
}

static int child_prepare(const struct child *child)
{
    static const struct rlimit processes = { CONTROL_PROCESSES_MAX, CONTROL_PROCESSES_MAX };
    struct rlimit limit;
    sigset_t none;

    if (!child->is_template && getrlimit(RLIMIT_NPROC, &limit) == 0 && limit.rlim_max > processes.rlim_max &&
        setrlimit(RLIMIT_NPROC, &processes) < 0)
        return errno;

    if (dup2(child->log, 1) < 0 || dup2(child->log, 2) < 0 || syscall(SYS_close_range, 3U, ~0U, 0) < 0)
        return errno;
    (void)setsid();
    default_signals();
    sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &none, NULL) < 0 || chdir("/var/task") < 0)
        return errno;
    return 0;
}

static int child_main(void *argument)
{
    struct child *child = argument;

    child->failure = child_prepare(child);
    if (child->failure == 0) {
        (void)execve(child->argv[0], (char *const *)(uintptr_t)child->argv,
                     (char *const *)(uintptr_t)child->env);
        child->failure = errno;
    }
    _exit(127);
}

int init_spawn(const char *const *argv, const char *const *env, int log, bool is_template)
{
    static char stack[CHILD_STACK_BYTES] __attribute__((aligned(64)));
    struct child child = { argv, env, log, is_template, 0 };
    int pid = clone(child_main, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &child);

    if (pid < 0)
        return -errno;
    return child.failure ? -child.failure : pid;
}
