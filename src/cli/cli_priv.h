#pragma once

/* What all commands share. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cjson/cJSON.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "cli/options.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct client;

struct cli {
    const char *endpoint, *data, *region; /* as given; NULL: not */
    bool json, help, version;
    bool colour_out, colour_err; /* a terminal, and not NO_COLOR */
    bool terminal_out, terminal_err;
    char hint[700];        /* the next step, printed below an error */
    struct client *client; /* made when first needed */
};

struct cli_command {
    const char *name, *usage, *summary;
    const char *details; /* paragraphs for --help; NULL: none */
    int (*run)(struct cli *cli, int argc,
               char **argv); /* argv without the command; NULL: started by main() */
};
extern const struct cli_command cmd_deploy, cmd_invoke, cmd_logs, cmd_ps, cmd_ls, cmd_url, cmd_rm,
    cmd_runtimes, cmd_doctor;

struct cli_use {
    const struct cli_command *command;
    const struct option *options;
    size_t option_count;
    size_t least, most; /* words */
};
/** Reads a command's options, with the global ones, and its words. Returns -1 to go on, else the exit status:
 * --help was answered or the use is wrong. */
int cli_begin(struct cli *cli, const struct cli_use *use, int argc, char **argv, struct words *ret_words);
/** Tells of a wrong use; returns EXIT_USAGE. */
int cli_misuse(struct cli *cli, const struct cli_command *command, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** Prints err and the hint on standard error; returns EXIT_FAILED. */
int cli_fail(struct cli *cli, const struct err *err);
/** Sets the hint unless there is one. */
void cli_hint(struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** A line of progress on standard error, when that is a terminal. */
void cli_note(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Prints a text that others wrote on stdout or stderr. Where that is a terminal, what could steer it is
 * shown as '?', and a carriage return begins a line. */
void cli_print_safe(const struct cli *cli, FILE *out, const char *text, size_t len);

/** Appends a file's contents, - is standard input; as far as out may grow. */
int cli_read_file(const char *path, struct buf *out, struct err *err);

/** Prints JSON and a newline on standard output. Returns EXIT_OK, or EXIT_FAILED when it could not. */
int cli_print_json(const cJSON *json);

enum cli_colour { COLOUR_BOLD, COLOUR_DIM, COLOUR_RED, COLOUR_GREEN, COLOUR_YELLOW };
/** The escape sequence that begins a colour, "" when on is false. */
const char *cli_colour(bool on, enum cli_colour colour);
const char *cli_plain(bool on);

/** Edit distance of two short words, as far as it is less than limit. */
size_t cli_distance(const char *a, const char *b, size_t limit);

static inline void auto_json_(cJSON **json)
{
    cJSON_Delete(*json);
}
#define AUTO_JSON __attribute__((cleanup(auto_json_))) cJSON

/** A member that is a string, or fallback. Borrowed. */
const char *json_text(const cJSON *json, const char *name, const char *fallback);
/** A member that is a number, or fallback. */
double json_number(const cJSON *json, const char *name, double fallback);
