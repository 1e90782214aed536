/* A `provided` runtime of the smallest kind: one connection, one buffer. Built static with musl by bench.py.
 */

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static const char answer[] =
    "{\"statusCode\":200,\"headers\":{\"content-type\":\"text/plain\"},\"body\":\"hello world\"}";
static const char next[] = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: 127.0.0.1:9001\r\n\r\n";

/* Reads one whole answer into text; returns its length, 0 at the end. */
static size_t read_answer(int fd, char *text, size_t size, size_t *have)
{
    for (;;) {
        char *end = memmem(text, *have, "\r\n\r\n", 4);

        if (end) {
            char *length = strcasestr(text, "content-length:");
            size_t whole =
                (size_t)(end + 4 - text) + (length && length < end ? strtoul(length + 15, NULL, 10) : 0);

            if (*have >= whole)
                return whole;
        }
        ssize_t got = read(fd, text + *have, size - 1 - *have);
        if (got <= 0)
            return 0;
        *have += (size_t)got;
        text[*have] = '\0';
    }
}

static void consume(char *text, size_t *have, size_t used)
{
    memmove(text, text + used, *have - used);
    *have -= used;
    text[*have] = '\0';
}

int main(void)
{
    static char text[65536], out[4096];
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(9001),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    size_t have = 0, used;

    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (write(fd, next, sizeof next - 1) < 0)
        return 1;
    while ((used = read_answer(fd, text, sizeof text, &have)) > 0) {
        char *id = strcasestr(text, "lambda-runtime-aws-request-id:");
        int len;

        if (!id)
            return 1;
        id += 30 + strspn(id + 30, " ");
        len =
            snprintf(out, sizeof out,
                     "POST /2018-06-01/runtime/invocation/%.36s/response HTTP/1.1\r\nHost: 127.0.0.1:9001\r\n"
                     "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s%s",
                     id, sizeof answer - 1, answer, next);
        consume(text, &have, used);
        if (write(fd, out, (size_t)len) != len)
            return 1;
        used = read_answer(fd, text, sizeof text, &have); /* 202 */
        if (used == 0)
            return 1;
        consume(text, &have, used);
    }
    return 0;
}
