/*
 * Load client for the benchmarks: as little of its own as possible, so that what is measured is the server.
 *
 *   bench-load PORT CONNECTIONS SECONDS HOST PATH EXPECTED
 *
 * Sends GET PATH over CONNECTIONS keep-alive connections, the next request when the answer before is whole.
 * An answer that is not 200 or does not contain EXPECTED counts as an error. Prints one JSON object:
 * requests, errors, rps, p50_us, p90_us, p99_us.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 4096, ANSWER_MAX_BYTES = 65536, SAMPLES_MAX = 8000000, WARM_UP_PERCENT = 10 };

struct connection {
    int fd;
    uint64_t sent_ns;
    size_t len;
    char answer[ANSWER_MAX_BYTES];
};

struct load {
    const char *expected;
    char request[4096];
    size_t request_len;
    struct sockaddr_in address;
    int epoll;
    uint32_t *samples_us10; /* tenths of a microsecond */
    size_t sample_count, errors;
};

static uint64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool send_request(const struct load *load, struct connection *connection)
{
    connection->len = 0;
    connection->sent_ns = now_ns();
    return send(connection->fd, load->request, load->request_len, MSG_NOSIGNAL) == (ssize_t)load->request_len;
}

static bool open_connection(struct load *load, struct connection *connection)
{
    int on = 1;
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = connection };

    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 ||
        connect(connection->fd, (const struct sockaddr *)&load->address, sizeof load->address) < 0)
        return false;
    (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return epoll_ctl(load->epoll, EPOLL_CTL_ADD, connection->fd, &event) == 0 &&
           send_request(load, connection);
}

/* Bytes of the whole answer, or 0 while it is not whole. Content-Length only: that is what is measured. */
static size_t answer_size(const struct connection *connection)
{
    const char *end = memmem(connection->answer, connection->len, "\r\n\r\n", 4);
    const char *length;

    if (!end)
        return 0;
    length = strcasestr(connection->answer, "\r\ncontent-length:");
    if (!length || length > end)
        return 0;
    return (size_t)(end + 4 - connection->answer) + strtoul(length + 17, NULL, 10);
}

static void on_readable(struct load *load, struct connection *connection)
{
    ssize_t got =
        recv(connection->fd, connection->answer + connection->len, ANSWER_MAX_BYTES - 1 - connection->len, 0);
    size_t whole;

    if (got <= 0) {
        load->errors++;
        (void)close(connection->fd);
        if (!open_connection(load, connection))
            load->errors++;
        return;
    }
    connection->len += (size_t)got;
    connection->answer[connection->len] = '\0';
    whole = answer_size(connection);
    if (whole == 0 || connection->len < whole)
        return;
    if (load->sample_count < SAMPLES_MAX)
        load->samples_us10[load->sample_count++] = (uint32_t)((now_ns() - connection->sent_ns) / 100);
    if (strncmp(connection->answer + 9, "200", 3) != 0 || !strstr(connection->answer, load->expected))
        load->errors++;
    (void)send_request(load, connection);
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static double percentile(const struct load *load, unsigned percent)
{
    return load->sample_count ? load->samples_us10[(load->sample_count - 1) * percent / 100] / 10.0 : 0;
}

static void run(struct load *load, uint64_t until_ns)
{
    struct epoll_event events[256];

    while (now_ns() < until_ns) {
        int count = epoll_wait(load->epoll, events, 256, 100);

        for (int i = 0; i < count; i++)
            on_readable(load, events[i].data.ptr);
    }
}

int main(int argc, char **argv)
{
    static struct load load;
    struct connection *connections;
    unsigned count;
    double seconds;
    uint64_t warm_ns, begun_ns;

    if (argc != 7) {
        (void)fprintf(stderr, "usage: bench-load PORT CONNECTIONS SECONDS HOST PATH EXPECTED\n");
        return 2;
    }
    count = (unsigned)strtoul(argv[2], NULL, 10);
    seconds = strtod(argv[3], NULL);
    load.expected = argv[6];
    load.address = (struct sockaddr_in){ .sin_family = AF_INET,
                                         .sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10)),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    load.request_len = (size_t)snprintf(load.request, sizeof load.request,
                                        "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", argv[5], argv[4]);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.samples_us10 = malloc(SAMPLES_MAX * sizeof *load.samples_us10);
    connections = calloc(count, sizeof *connections);
    if (count < 1 || count > CONNECTIONS_MAX || load.epoll < 0 || !load.samples_us10 || !connections)
        return 2;
    for (unsigned i = 0; i < count; i++) {
        if (!open_connection(&load, &connections[i])) {
            perror("connect");
            return 1;
        }
    }
    begun_ns = now_ns();
    warm_ns = (uint64_t)(seconds * 1e9 * WARM_UP_PERCENT / 100);
    run(&load, begun_ns + warm_ns);
    load.sample_count = load.errors = 0;
    begun_ns = now_ns();
    run(&load, begun_ns + (uint64_t)(seconds * 1e9));
    seconds = (double)(now_ns() - begun_ns) / 1e9;
    qsort(load.samples_us10, load.sample_count, sizeof *load.samples_us10, compare);
    (void)printf(
        "{\"requests\":%zu,\"errors\":%zu,\"rps\":%.0f,\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f}\n",
        load.sample_count, load.errors, (double)load.sample_count / seconds, percentile(&load, 50),
        percentile(&load, 90), percentile(&load, 99));
    return 0;
}
