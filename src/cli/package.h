#pragma once

/*
 * A function's code as a zip: made from a folder, or read from a file.
 *
 * The same folder always gives the same bytes: sorted names, no times, and modes reduced to "may be run" or
 * not (0755, 0644). Left out: .git anywhere, and node_modules/.cache. Symbolic links are kept when they stay
 * inside the folder.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct cli;
struct err;

enum {
    PACKAGE_MAX_ZIP_BYTES = 52428800,       /* Lambda: zipped, uploaded directly */
    PACKAGE_MAX_UNZIPPED_BYTES = 262144000, /* Lambda: unzipped */
    PACKAGE_MAX_ENTRIES = 100000,
    PACKAGE_MAX_PATH_BYTES = 4096,
    PACKAGE_MAX_DEPTH = 64,
    PACKAGE_MAX_LOOK_BYTES = 1024 * 1024, /* of a file that is looked into */
};

/** Fills out (empty, its maximum PACKAGE_MAX_ZIP_BYTES or more) with the zip of a folder or of a file. */
int package_read(struct cli *cli, const char *path, struct buf *out, struct err *err);

/* What is in a zip, for guessing. */
struct package_entry {
    char *name;    /* "src/index.mjs" */
    char *content; /* text of a top-level source file or package.json, at most PACKAGE_MAX_LOOK_BYTES; else
                      NULL */
};
struct package_list {
    struct package_entry *entries;
    size_t count, room;
};
int package_look(const struct buf *zip, struct package_list *ret_list, struct err *err);
void package_list_done(struct package_list *list);
/** NULL when there is no such file. */
const struct package_entry *package_find(const struct package_list *list, const char *name);
