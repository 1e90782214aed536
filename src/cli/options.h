#pragma once

/* Options of commands: one table gives the parser and the help. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;

enum { WORDS_MAX = 64, OPTION_LIST_MAX = 256 };

struct option_list {
    const char *items[OPTION_LIST_MAX];
    size_t count;
};

struct option_number {
    bool given;
    uint64_t value;
};

enum option_kind {
    OPTION_FLAG,   /* value: bool */
    OPTION_TEXT,   /* value: const char * */
    OPTION_LIST,   /* value: struct option_list; may be repeated */
    OPTION_NUMBER, /* value: struct option_number */
};

struct option {
    const char *name; /* without dashes */
    char letter;      /* or 0 */
    enum option_kind kind;
    void *value;
    const char *argument; /* for the help; NULL for a flag */
    const char *help;
};

struct words {
    const char *list[WORDS_MAX];
    size_t count;
};

struct option_tables {
    const struct option *own, *global;
    size_t own_count, global_count;
};

/** Parses "--name value", "--name=value", "-n value", "-nvalue", "--"; the rest are words. With
 * first_word_ends the parser stops in front of the first word. Returns how many arguments were used, or
 * -EINVAL with err. */
int options_parse(const struct option_tables *tables, int argc, char **argv, bool first_word_ends,
                  struct words *ret_words, struct err *err);
/** Appends a table of options, one per line. */
void options_help(const struct option *options, size_t count, struct buf *out);
