#pragma once

/*
 * A runtime client in a few lines of C, for functions that tests build statically. It speaks HTTP/1.1 to
 * AWS_LAMBDA_RUNTIME_API over one kept-alive connection; errors end the program with status 90 to 99.
 */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

struct invocation {
    char id[64];
    char arn[256];
    char *body; /* ends in NUL; borrowed until the next rt_next() */
    size_t len;
};

static int rt_socket = -1;
static char rt_buffer[8 * 1024 * 1024];

static inline int rt_connect(void)
{
    const char *api = getenv("AWS_LAMBDA_RUNTIME_API");
    char host[64] = "127.0.0.1";
    int port = 9001;
    if (api)
        sscanf(api, "%63[^:]:%d", host, &port);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };
    inet_pton(AF_INET, host, &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        _exit(90);
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static inline void rt_write(const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(rt_socket, data, len);
        if (n <= 0)
            _exit(91);
        data += n;
        len -= (size_t)n;
    }
}

/* Reads one answer into rt_buffer; returns its status, *ret_body its body. */
static inline int rt_read(char **ret_body, size_t *ret_len)
{
    size_t used = 0;
    char *end = NULL;
    while (!end) {
        ssize_t n = read(rt_socket, rt_buffer + used, sizeof(rt_buffer) - 1 - used);
        if (n <= 0)
            _exit(92);
        used += (size_t)n;
        rt_buffer[used] = 0;
        end = strstr(rt_buffer, "\r\n\r\n");
    }
    char *body = end + 4;
    char *length = strcasestr(rt_buffer, "\r\ncontent-length:");
    size_t want = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
    while (used - (size_t)(body - rt_buffer) < want) {
        ssize_t n = read(rt_socket, rt_buffer + used, sizeof(rt_buffer) - 1 - used);
        if (n <= 0)
            _exit(93);
        used += (size_t)n;
    }
    rt_buffer[used] = 0;
    *end = 0;
    *ret_body = body;
    *ret_len = want;
    return atoi(rt_buffer + 9);
}

static inline void rt_header(const char *name, char *out, size_t size)
{
    char *at = strcasestr(rt_buffer, name);
    if (!at)
        return;
    at += strlen(name);
    while (*at == ' ')
        at++;
    size_t len = strcspn(at, "\r\n");
    if (len >= size)
        len = size - 1;
    memcpy(out, at, len);
    out[len] = 0;
}

static inline void rt_next(struct invocation *out)
{
    static const char request[] = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: runtime\r\n\r\n";
    if (rt_socket < 0)
        rt_socket = rt_connect();
    rt_write(request, sizeof(request) - 1);
    if (rt_read(&out->body, &out->len) != 200)
        _exit(94);
    rt_header("\r\nlambda-runtime-aws-request-id:", out->id, sizeof(out->id));
    rt_header("\r\nlambda-runtime-invoked-function-arn:", out->arn, sizeof(out->arn));
}

/* what: "response" or "error". Returns the status of the answer. */
static inline int rt_post(const struct invocation *in, const char *what, const char *body, size_t len)
{
    char head[512];
    int n = snprintf(head, sizeof(head),
                     "POST /2018-06-01/runtime/invocation/%s/%s HTTP/1.1\r\nHost: runtime\r\n"
                     "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                     in->id, what, len);
    rt_write(head, (size_t)n);
    rt_write(body, len);
    char *answer;
    size_t answer_len;
    return rt_read(&answer, &answer_len);
}
