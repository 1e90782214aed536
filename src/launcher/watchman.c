/*
 * The watchman: a process that does nothing until the launcher is gone.
 *
 * A clean stop ends it before. After a kill it thaws and kills what runs in the instance's control groups:
 * PID 1 of each environment ends by itself with its control socket, but not while it is frozen.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launcher/launcher_priv.h"

enum { END_MS = 10000 };

static _Noreturn void watch(struct cgroups *cgroups, int life)
{
    char byte;

    (void)prctl(PR_SET_NAME, "irori-watchman");
    (void)setsid();
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    while (read(life, &byte, 1) < 0 && errno == EINTR)
        ;
    (void)cgroups_end_processes(cgroups, END_MS);
    (void)cgroups_close(cgroups);
    _exit(0);
}

int watchman_start(const struct launcher *launcher, pid_t *ret_pid, struct err *err)
{
    int pipes[2];
    pid_t pid;

    if (pipe2(pipes, O_CLOEXEC) < 0)
        return err_set(err, ERR_SYSTEM, errno, "watchman");
    pid = fork();
    if (pid == 0) {
        /* irorid and the supervisor must see at once that the launcher is gone. The lock stays: nobody shall
         * start before all is ended. */
        (void)close(pipes[1]);
        (void)close(launcher->config->wire_fd);
        (void)close(launcher->config->supervisor_fd);
        watch(launcher->cgroups, pipes[0]);
    }
    (void)close(pipes[0]);
    if (pid < 0) {
        (void)close(pipes[1]);
        return err_set(err, ERR_SYSTEM, errno, "watchman");
    }
    /* pipes[1] stays open as long as the launcher lives; nothing is ever written. */
    *ret_pid = pid;
    return 0;
}
