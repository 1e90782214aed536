/* One of its threads, from INIT on and all across the making of a clone, tries what only a clone on its way
 * may do. The answer to every event is how often it has tried, and how often it has succeeded with what. */
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "runtime.h"

enum { KINDS = 7 };

static volatile unsigned long tries, unshared, entered, became, dropped;

static void *intrude(void *unused)
{
    static const int flags[KINDS] = { CLONE_NEWUSER, CLONE_NEWNS,  CLONE_NEWNET,   CLONE_NEWIPC,
                                      CLONE_NEWUTS,  CLONE_NEWPID, CLONE_NEWCGROUP };

    for (;;) {
        for (int i = 0; i < KINDS; i++) {
            /* Where the restorer has what is to be entered. */
            int fd = 900 + (int)(tries % 16);

            unshared += syscall(SYS_unshare, flags[i]) == 0;
            entered += syscall(SYS_setns, fd, flags[i]) == 0;
            entered += syscall(SYS_setns, fd, 0) == 0;
            became += syscall(SYS_setresuid, 0, 0, 0) == 0 || syscall(SYS_setresgid, 0, 0, 0) == 0;
            dropped += syscall(SYS_prctl, PR_CAPBSET_DROP, 1, 0, 0, 0) == 0;
            tries++;
        }
    }
    return unused;
}

int main(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, intrude, NULL) != 0)
        return 80;
    for (;;) {
        static struct invocation in;
        char answer[128];

        rt_next(&in);
        snprintf(answer, sizeof answer, "[%lu, %lu, %lu, %lu, %lu]", tries, unshared, entered, became,
                 dropped);
        if (rt_post(&in, "response", answer, strlen(answer)) != 202)
            return 95;
    }
}
