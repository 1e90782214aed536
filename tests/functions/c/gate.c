/* Connects to port GATE_PORT of the host, waits until the other side closes, and answers the event with the
 * event. */

#include "runtime.h"

/* The address of host.irori.internal: a static program has no getaddrinfo() worth its name. */
static struct in_addr host_address(void)
{
    struct in_addr address = { 0 };
    char line[256], text[64];
    FILE *file = fopen("/etc/hosts", "re");
    while (file && fgets(line, sizeof line, file)) {
        if (strstr(line, "host.irori.internal") && sscanf(line, "%63s", text) == 1)
            inet_pton(AF_INET, text, &address);
    }
    if (file)
        fclose(file);
    return address;
}

static void wait_at_gate(void)
{
    const char *port = getenv("GATE_PORT");
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = host_address() };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char byte;
    address.sin_port = htons((unsigned short)atoi(port ? port : "0"));
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        _exit(96);
    while (read(fd, &byte, 1) > 0)
        ;
    close(fd);
}

int main(void)
{
    static char copy[64 * 1024];
    for (;;) {
        struct invocation in = { 0 };
        rt_next(&in);
        if (in.len > sizeof copy)
            return 94;
        memcpy(copy, in.body, in.len);
        wait_at_gate();
        if (rt_post(&in, "response", copy, in.len) != 202)
            return 95;
    }
}
