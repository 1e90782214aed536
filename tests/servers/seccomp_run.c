/*
 * seccomp_run [-u UID] PROGRAM ARG...: runs a program under the filter of the sandbox, and under nothing else
 * of it.
 *
 * With -u it first becomes that user, without capabilities, as a function is. PROGRAM is looked up in PATH.
 */

#include <errno.h>
#include <grp.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/seccomp.h"

static int fail(const char *what)
{
    fprintf(stderr, "seccomp_run: %s: %s\n", what, strerror(errno));
    return 125;
}

static bool become(const char *text)
{
    char *end;
    unsigned long uid = strtoul(text, &end, 10);

    return *text && !*end && !setgroups(0, NULL) && !setresgid((gid_t)uid, (gid_t)uid, (gid_t)uid) &&
           !setresuid((uid_t)uid, (uid_t)uid, (uid_t)uid);
}

int main(int argc, char **argv)
{
    int at = 1;

    if (argc > 3 && strcmp(argv[1], "-u") == 0) {
        if (!become(argv[2]))
            return fail("change of user");
        at = 3;
    }
    if (at >= argc) {
        fputs("usage: seccomp_run [-u UID] PROGRAM ARG...\n", stderr);
        return 125;
    }

    size_t count;
    const struct sock_filter *filter = seccomp_strict(&count);
    struct sock_fprog program = { .len = (unsigned short)count,
                                  .filter = (struct sock_filter *)(void *)filter };

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
        return fail("filter");
    execvp(argv[at], argv + at);
    return fail(argv[at]);
}
