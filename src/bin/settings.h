#pragma once

/*
 * Every setting once: one table makes the flags, the config file's names, their checks and their help.
 *
 * The config file has lines "name = value" and comments with '#'; names are the flags without "--". A flag
 * wins over the file; a repeatable setting of the file is added to by flags. A switch alone is on; it may be
 * followed by true, yes, on or 1, or false, no, off or 0.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { SETTINGS_ALLOW_HOSTS_MAX = 64 };

struct settings {
    char listen[128];
    char data[4096];
    char config[4096];
    char region[32];
    char account_id[13];
    uint64_t idle_timeout_ms, freeze_after_ms, busy_poll_us, log_deleted, max_memory_mb, account_concurrency;
    uint64_t max_environments, spare_slots, log_max_mb, code_cache_max_mb, template_idle_ms;
    bool no_auth, debug, templates;
    char *allow_host[SETTINGS_ALLOW_HOSTS_MAX]; /* owned */
    size_t allow_host_count;
};

/** Defaults. */
void settings_init(struct settings *settings);
/** Reads argv[first..]; --config's file first. Returns 0, 1 when --help was asked for and printed, or
 * negative with err set. */
int settings_read(struct settings *settings, int argc, char **argv, int first, struct err *err);
/** Reads a config file's text. Exposed for its test and fuzz target. */
int settings_parse_file(struct settings *settings, const char *text, size_t len, struct err *err);
void settings_print_help(void);
/** Splits HOST:PORT or [V6]:PORT. Returns 0 or -EINVAL. */
int settings_split_listen(const char *listen, char *host, size_t host_size, unsigned *ret_port,
                          struct err *err);
/** True for 127.0.0.0/8, ::1 and localhost. */
bool settings_is_loopback(const char *host);
void settings_done(struct settings *settings);
