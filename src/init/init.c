/*
 * irori-init: PID 1 of every environment. Static, no allocation, one thread.
 *
 * Prepares the sandbox while nobody waits, then waits for its one START, becomes the function's user, runs
 * the function's program, reaps, and reports how the program ended. It ends with that program, and with the
 * launcher: the kernel then ends whatever else runs in the environment. It forwards nothing and obeys nobody
 * inside: signals from its own namespace do not reach it.
 */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init/init_priv.h"
#include "wire/wire.h"

static _Alignas(struct control_start) char packet[CONTROL_MAX_BYTES + 1];
static struct sock_filter filter[CONTROL_MAX_FILTER];
static const char *strings[WIRE_MAX_ARGS + WIRE_MAX_ENV + 2];

static void report(enum control_type type, uint32_t kind, int value, const char *step)
{
    struct control_report message = { .type = type, .kind = kind, .value = value };

    strncpy(message.step, step, sizeof message.step - 1);
    (void)send(CONTROL_FD, &message, sizeof message, MSG_NOSIGNAL);
}

static _Noreturn void fail(const struct init_step *step, int r)
{
    report(CONTROL_FAILED, 0, -r, step->name);
    _exit(1);
}

/* Returns the length; ends the process when the launcher is gone. */
static size_t receive(int *fds, size_t *fd_count)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int) * CONTROL_MAX_MOUNTS)];
    } control;
    struct iovec iov = { packet, CONTROL_MAX_BYTES };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
    };
    const struct cmsghdr *header;
    ssize_t n;

    do
        n = recvmsg(CONTROL_FD, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n <= 0 || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
        _exit(1);
    *fd_count = 0;
    header = CMSG_FIRSTHDR(&msg);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        *fd_count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds, CMSG_DATA(header), *fd_count * sizeof(int));
    }
    packet[n] = '\0';
    return (size_t)n;
}

static struct sock_fprog receive_setup(void)
{
    const struct control_setup *setup = (const void *)packet;
    int fds[CONTROL_MAX_MOUNTS];
    size_t fd_count, len = receive(fds, &fd_count);

    if (len < sizeof *setup || setup->type != CONTROL_SETUP || setup->filter_count > CONTROL_MAX_FILTER ||
        len != sizeof *setup + setup->filter_count * sizeof setup->filter[0])
        _exit(1);
    memcpy(filter, setup->filter, setup->filter_count * sizeof filter[0]);
    return (struct sock_fprog){ .len = (unsigned short)setup->filter_count, .filter = filter };
}

/* Fills the vectors behind strings: argv, NULL, environment, NULL; and program, if another filter stands
 * behind them. */
static bool split_start(const struct control_start *start, size_t len, struct sock_fprog *program)
{
    const char *at = start->strings, *end = packet + len;
    const char **out = strings;
    size_t filter_bytes = start->filter_count * sizeof filter[0];

    if (start->argc > WIRE_MAX_ARGS || start->envc > WIRE_MAX_ENV ||
        start->filter_count > CONTROL_MAX_FILTER || filter_bytes > (size_t)(end - at))
        return false;
    end -= filter_bytes;
    for (uint32_t i = 0; i < start->argc + start->envc; i++) {
        if (i == start->argc)
            out++;
        if (at >= end)
            return false;
        *out++ = at;
        at += strnlen(at, (size_t)(end - at)) + 1;
    }
    if (at != end)
        return false;
    if (start->filter_count > 0) {
        memcpy(filter, end, filter_bytes);
        program->len = (unsigned short)start->filter_count;
    }
    return true;
}

static void adopt(void)
{
    struct control_adopt adopt;

    if (recv(CONTROL_FD, &adopt, sizeof adopt, 0) != sizeof adopt || adopt.type != CONTROL_ADOPT)
        _exit(1); /* the launcher is gone */
    report(CONTROL_ADOPTED, 0, 0, "");
}

/* Reaps until the program itself has ended, and returns its status; without a program, or once adopted, for
 * ever. The launcher's end of the socket closes when it dies. */
static int supervise(pid_t program, int signals)
{
    struct pollfd wait[] = { { .fd = signals, .events = POLLIN }, { .fd = CONTROL_FD, .events = POLLIN } };
    bool adopted = false;

    for (;;) {
        struct signalfd_siginfo info;
        pid_t pid;
        int status;

        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
            if (adopted)
                report(CONTROL_CHILD, (uint32_t)pid, status, "");
            else if (pid == program)
                return status;
        }
        if (poll(wait, 2, -1) < 0 && errno != EINTR)
            _exit(1);
        if (wait[1].revents) {
            adopt();
            adopted = true;
        }
        if (wait[0].revents && read(signals, &info, sizeof info) < 0 && errno != EAGAIN && errno != EINTR)
            _exit(1);
    }
}

static int block_signals(void)
{
    sigset_t all, child;

    sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, NULL);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    return signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
}

int main(void)
{
    struct init_step step = { "start" };
    struct sock_fprog program = { 0 };
    const struct control_start *start = (const void *)packet;
    int fds[CONTROL_MAX_MOUNTS], signals, status, r;
    size_t fd_count, len;

    (void)prctl(PR_SET_NAME, "irori-init");
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    program = receive_setup();
    signals = block_signals();
    r = signals < 0 ? -errno : init_build_root(&step);
    if (r == 0)
        r = init_prepare(&step);
    if (r < 0)
        fail(&step, r);
    report(CONTROL_READY, 0, 0, "");

    len = receive(fds, &fd_count);
    step.name = "start message";
    if (len < sizeof *start || start->type != CONTROL_START || fd_count != start->mount_count ||
        !split_start(start, len, &program))
        fail(&step, -EINVAL);
    r = init_attach(start, fds, &step);
    if (r == 0) {
        step.name = "host name";
        r = sethostname(start->hostname, strnlen(start->hostname, sizeof start->hostname)) < 0 ? -errno : 0;
    }
    if (r == 0)
        r = init_drop(start->uid, start->gid, &program, start->filter_count > 0, &step);
    if (r < 0)
        fail(&step, r);
    if (start->argc == 0) {
        (void)close(CONTROL_LOG_FD);
        report(CONTROL_HELD, 0, 0, "");
        (void)supervise(0, signals);
    }
    r = init_spawn(strings, strings + start->argc + 1, CONTROL_LOG_FD, start->is_template != 0);
    (void)close(CONTROL_LOG_FD);
    if (r < 0) {
        bool there = r == -ENOENT && access(strings[0], F_OK) == 0;

        report(CONTROL_EXITED, there ? WIRE_EXIT_LOADER : WIRE_EXIT_EXEC, -r, strings[0]);
        _exit(0);
    }
    status = supervise(r, signals);
    if (WIFSIGNALED(status))
        report(CONTROL_EXITED, WIRE_EXIT_SIGNAL, WTERMSIG(status), "");
    else
        report(CONTROL_EXITED, WIRE_EXIT_CODE, WEXITSTATUS(status), "");
    _exit(0);
}
