#pragma once

/*
 * irori-launcher: the only privileged program. Makes sandboxes on irorid's request (wire/wire.h) and checks
 * every message again.
 *
 * One thread, one epoll loop. What takes long happens ahead of requests (slots, see slot.h), or in processes
 * of their own: the keeper makes volumes, the watchman ends every sandbox should the launcher be killed.
 *
 *   irori-launcher --data-fd N --wire-fd N --supervisor-fd N --instance ID --uid-base U --share DIR [...]
 *
 *   --data-fd N        data folder: code/<sha256>/ and runtimes/, sdk/; the launcher keeps scratch/ and
 * launcher.lock there
 *   --wire-fd N        socket to irorid; its end means: clean up and exit
 *   --supervisor-fd N  read end of a pipe; likewise
 *   --instance ID      [a-z0-9]{8}, once per data folder
 *   --uid-base U       first of 65536 user ids; the environment of function i runs as U + i, U itself stays
 * free
 *   --share DIR        holds runtimes/node, runtimes/python
 *   --init PATH        irori-init; default: beside this program
 *   --spare-slots N    prepared environments to keep waiting, 0 to 4096, default 8
 *   --max-slots N      environments at most, 1 to 60000, default 4000
 *   --max-memory-mb N  actual use of all environments together; default 0: no limit
 *   --allow-host H:P   repeatable; see docs/network.md
 *   --debug            log more
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum { LAUNCHER_MAX_ALLOW_HOSTS = 64 };

struct launcher_config {
    int data_fd, wire_fd, supervisor_fd; /* borrowed; -1 = not given */
    const char *instance, *share, *init; /* init: NULL = beside the program */
    uint32_t uid_base;
    unsigned spare_slots, max_slots;
    uint64_t max_memory_mb;
    const char *allow_hosts[LAUNCHER_MAX_ALLOW_HOSTS];
    size_t allow_host_count;
    bool debug;
};

/** Reads the command line; ret_config borrows from argv. */
int launcher_parse(int argc, char **argv, struct launcher_config *ret_config, struct err *err);
/** Runs until irorid, the supervisor or a signal ends it, then removes everything. Returns 0, or negative
 * with err set. */
int launcher_run(const struct launcher_config *config, struct err *err);
