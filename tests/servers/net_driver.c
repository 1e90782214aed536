/*
 * Makes networks on command, for tests/sandbox/test_network.py: net_driver INSTANCE [HOST:PORT ...]
 *
 * One command a line on stdin, one answer a line on stdout, beginning with "ok" or "error":
 *     add I       namespace of slot I; answers its descriptor (/proc/PID/fd/N)
 *     many I N    slots I to I+N-1; answers the milliseconds it took
 *     listen I    answers the descriptor of the slot's Runtime API listener
 *     clean I     ends what is left of earlier connections; answers the milliseconds it took
 *     remove I
 *     resolv, hosts   the files, newlines as '|'
 *     close           as at the end of stdin
 * With --sweep as first argument: sweeps the instance and exits.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "sandbox/net.h"

enum { SLOTS_MAX = 8192 };

static int slots[SLOTS_MAX];
static uint64_t packets[SLOTS_MAX];

static void answer_text(const char *text)
{
    (void)fputs("ok ", stdout);
    for (; *text; text++)
        (void)putchar(*text == '\n' ? '|' : *text);
    (void)putchar('\n');
}

static int add_many(struct net *net, unsigned first, unsigned count, struct err *err)
{
    uint64_t start = clock_us();

    for (unsigned i = first; i < first + count; i++) {
        int r = i < SLOTS_MAX ? net_slot_add(net, i, -1, &slots[i], err) : -EINVAL;

        if (r < 0)
            return r;
    }
    (void)printf("ok %.1f\n", (double)(clock_us() - start) / 1000);
    return 0;
}

static int clean(struct net *net, unsigned index, struct err *err)
{
    uint64_t start = clock_us();
    int r = net_slot_clean(net, index, slots[index], &packets[index], err);

    if (r == 0)
        (void)printf("ok %.2f\n", (double)(clock_us() - start) / 1000);
    return r;
}

static int on_slot_command(struct net *net, const char *word, unsigned index, unsigned count, struct err *err)
{
    int fd, r = 0;

    if (index >= SLOTS_MAX)
        return err_set(err, ERR_INVALID, 0, "slot");
    if (strcmp(word, "add") == 0) {
        r = net_slot_add(net, index, -1, &slots[index], err);
        if (r == 0)
            (void)printf("ok %d\n", slots[index]);
    } else if (strcmp(word, "many") == 0) {
        r = add_many(net, index, count, err);
    } else if (strcmp(word, "listen") == 0) {
        r = net_slot_listen(slots[index], &fd, err);
        if (r == 0)
            (void)printf("ok %d\n", fd);
    } else if (strcmp(word, "clean") == 0) {
        r = clean(net, index, err);
    } else if (strcmp(word, "remove") == 0) {
        (void)net_slot_remove(net, index);
        (void)close(slots[index]);
        (void)puts("ok");
    } else {
        r = err_set(err, ERR_INVALID, 0, "unknown command");
    }
    return r;
}

/* Returns false to end. */
static bool on_line(struct net *net, const char *line)
{
    struct err err = { 0 };
    char word[16] = "";
    unsigned index = 0, count = 0;
    int words = sscanf(line, "%15s %u %u", word, &index, &count), r = 0;

    if (words < 1 || strcmp(word, "close") == 0)
        return false;
    if (strcmp(word, "resolv") == 0)
        answer_text(net_resolv_conf(net));
    else if (strcmp(word, "hosts") == 0)
        answer_text(net_hosts(net));
    else
        r = on_slot_command(net, word, index, count, &err);
    if (r < 0)
        (void)printf("error %s\n", err.text);
    (void)fflush(stdout);
    return true;
}

static void serve(struct net *net)
{
    char line[128];

    for (;;) {
        struct pollfd wait[2] = { { .fd = STDIN_FILENO, .events = POLLIN },
                                  { .fd = net_event_fd(net), .events = POLLIN } };

        if (poll(wait, 2, -1) < 0 && errno != EINTR)
            return;
        if (wait[1].revents)
            net_on_event(net);
        if (wait[0].revents && (!fgets(line, sizeof line, stdin) || !on_line(net, line)))
            return;
    }
}

static int sweep(const char *instance)
{
    struct err err = { 0 };

    if (net_sweep(instance, &err) < 0) {
        (void)printf("error %s\n", err.text);
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct rlimit files = { 65536, 65536 };
    struct err err = { 0 };
    struct net *net;

    log_init("net_driver", LOG_DEBUG);
    if (argc == 3 && strcmp(argv[1], "--sweep") == 0)
        return sweep(argv[2]);
    if (argc < 2)
        return 2;
    /* Commands come one at a time, each after the answer to the one before: poll() must see what fgets()
     * would keep. */
    (void)setvbuf(stdin, NULL, _IONBF, 0);
    (void)setrlimit(RLIMIT_NOFILE, &files);
    struct net_config config = { argv[1], (const char *const *)&argv[2], (size_t)argc - 2 };
    if (net_open(&config, &net, &err) < 0) {
        (void)printf("error %s\n", err.text);
        return 1;
    }
    (void)printf("ok %s %s\n", net_usable(net) ? "usable" : "unusable", err.text);
    (void)fflush(stdout);
    serve(net);
    (void)net_close(net);
    return 0;
}
