/*
 * Misuses the Runtime API, as the event says, and reports what it answered: {"status":N,"body":"..."} with
 * the answer to the misuse. The invocation itself always gets that report.
 */

#include "runtime.h"

static int raw(const char *text, char *out, size_t size)
{
    rt_write(text, strlen(text));
    char *body;
    size_t len;
    int status = rt_read(&body, &len);
    size_t used = 0;
    for (size_t i = 0; i < len && used + 2 < size; i++) {
        if (body[i] == '"' || body[i] == '\\')
            out[used++] = '\\';
        if ((unsigned char)body[i] >= ' ')
            out[used++] = body[i];
    }
    out[used] = 0;
    return status;
}

static int misuse(const char *what, const struct invocation *in, char *out, size_t size)
{
    char text[1024];
    if (strstr(what, "ping"))
        return raw("GET /2018-06-01/ping HTTP/1.1\r\nHost: r\r\n\r\n", out, size);
    if (strstr(what, "wrong-id"))
        return raw(
            "POST /2018-06-01/runtime/invocation/00000000-0000-0000-0000-000000000000/response HTTP/1.1\r\n"
            "Host: r\r\nContent-Length: 2\r\n\r\n{}",
            out, size);
    if (strstr(what, "init-error"))
        return raw("POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: r\r\nContent-Length: 2\r\n\r\n{}",
                   out, size);
    if (strstr(what, "bad-mode")) {
        snprintf(text, sizeof(text),
                 "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: r\r\n"
                 "Lambda-Runtime-Function-Response-Mode: wrong\r\nContent-Length: 2\r\n\r\n{}",
                 in->id);
        return raw(text, out, size);
    }
    if (strstr(what, "next-again"))
        return raw("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: r\r\n\r\n", out, size);
    if (strstr(what, "nonsense"))
        return raw("POST /2018-06-01/no/such/path HTTP/1.1\r\nHost: r\r\nContent-Length: 0\r\n\r\n", out,
                   size);
    return 0;
}

int main(void)
{
    static char answer[4096], report[8192];
    for (;;) {
        struct invocation in = { 0 };
        rt_next(&in);
        char event[256] = "";
        memcpy(event, in.body, in.len < sizeof(event) - 1 ? in.len : sizeof(event) - 1);
        answer[0] = 0;
        int status = misuse(event, &in, answer, sizeof(answer));
        int n = snprintf(report, sizeof(report), "{\"status\":%d,\"body\":\"%s\"}", status, answer);
        int posted = rt_post(&in, "response", report, (size_t)n);
        if (strstr(event, "twice") && posted == 202)
            fprintf(stderr, "second response: %d\n", rt_post(&in, "response", report, (size_t)n));
    }
}
