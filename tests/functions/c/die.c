/*
 * Dies at the stage that the environment variable STAGE names; for every other stage it serves. Each death
 * leaves the launcher and the daemon one thing to clean: descriptors, a half-sent request, children, a full
 * pipe.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>

#include "runtime.h"

static int is(const char *stage)
{
    const char *wanted = getenv("STAGE");
    return wanted && strcmp(wanted, stage) == 0;
}

static void leave_children(void)
{
    for (int i = 0; i < 3; i++) {
        if (fork() == 0) {
            setsid();
            signal(SIGTERM, SIG_IGN);
            signal(SIGHUP, SIG_IGN);
            if (fork() == 0)
                for (;;)
                    pause();
            for (;;)
                pause();
        }
    }
}

static void before_next(void)
{
    if (is("start"))
        _exit(3);
    if (is("crash"))
        *(volatile int *)0 = 1;
    if (is("connect-only")) {
        rt_connect();
        _exit(0);
    }
    if (is("half-next")) {
        rt_socket = rt_connect();
        rt_write("GET /2018-06-01/runtime/invocation/ne", 37);
        _exit(4);
    }
    if (is("close-all")) {
        for (int fd = 0; fd < 64; fd++)
            close(fd);
        _exit(5);
    }
    if (is("children-then-die")) {
        leave_children();
        _exit(6);
    }
    if (is("many-connections")) {
        for (int i = 0; i < 200; i++)
            rt_connect();
        _exit(7);
    }
    if (is("garbage")) {
        rt_socket = rt_connect();
        char junk[4096];
        memset(junk, 0xfe, sizeof(junk));
        rt_write(junk, sizeof(junk));
        _exit(8);
    }
}

static void half_response(const struct invocation *in)
{
    char head[512];
    int n = snprintf(head, sizeof(head),
                     "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: r\r\n"
                     "Content-Length: 100000\r\n\r\n{\"half\":",
                     in->id);
    rt_write(head, (size_t)n);
    _exit(10);
}

int main(void)
{
    before_next();
    for (;;) {
        struct invocation in = { 0 };
        rt_next(&in);
        if (is("after-next"))
            _exit(9);
        if (is("kill-self"))
            kill(getpid(), SIGKILL);
        if (is("mid-response"))
            half_response(&in);
        if (is("flood-log"))
            for (int i = 0; i < 20000; i++)
                if (write(1, "flood flood flood flood flood flood flood flood flood flood\n", 60) < 0)
                    break;
        if (is("kill-init"))
            kill(1, SIGKILL);
        if (is("kill-all"))
            kill(-1, SIGKILL);
        if (rt_post(&in, "response", "\"served\"", 8) != 202)
            return 95;
        if (is("after-response") || is("flood-log"))
            _exit(11);
    }
}
