/*
 * A runtime that does not bear to be another process than the one it started as. FRAGILE says when it
 * notices: "thread": at once, by a thread that looks all the time, and aborts; "abort", "hang": when there is
 * something to read, before it reads it; "late": after it has read it. Prints each event that it has read.
 */

#include <poll.h>
#include <pthread.h>
#include <signal.h>

#include "runtime.h"

static pid_t born;

static int is(const char *mode)
{
    const char *wanted = getenv("FRAGILE");
    return wanted && strcmp(wanted, mode) == 0;
}

static void *watch(void *unused)
{
    while (getpid() == born)
        usleep(2000);
    abort();
    return unused;
}

static void wait_for_event(void)
{
    static const char request[] = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: runtime\r\n\r\n";
    struct pollfd waits = { .fd = rt_socket, .events = POLLIN };

    rt_write(request, sizeof request - 1);
    (void)poll(&waits, 1, -1);
    if (getpid() != born && is("abort"))
        abort();
    while (getpid() != born && is("hang"))
        (void)pause();
}

int main(void)
{
    pthread_t thread;
    char *body, id[64], head[512], line[256];
    size_t len;

    born = getpid();
    if (is("thread") && pthread_create(&thread, NULL, watch, NULL) != 0)
        return 89;
    rt_socket = rt_connect();
    for (;;) {
        wait_for_event();
        if (rt_read(&body, &len) != 200)
            return 94;
        int n = snprintf(line, sizeof line, "has read %.*s\n", (int)len, body);
        if (write(1, line, (size_t)n) != n || (getpid() != born && is("late")))
            abort();
        rt_header("\r\nlambda-runtime-aws-request-id:", id, sizeof id);
        struct invocation in = { 0 };
        memcpy(in.id, id, sizeof id);
        n = snprintf(head, sizeof head, "{\"pid\":%d,\"born\":%d}", (int)getpid(), (int)born);
        if (rt_post(&in, "response", head, (size_t)n) != 202)
            return 95;
    }
}
