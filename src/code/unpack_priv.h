#pragma once

/* Unpacking one archive into one empty folder; code.c gives it names and makes it last. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "code/code.h"

enum {
    UNPACK_MAX_ZIPPED = 52428800,    /* bytes of the archive */
    UNPACK_MAX_UNZIPPED = 262144000, /* bytes of all its files */
    UNPACK_MAX_ENTRIES = 99999,      /* entries, and folders that paths imply */
    UNPACK_MAX_DEPTH = 64,
    UNPACK_MAX_PATH = 4096,
    UNPACK_MAX_COMPONENT = 255,
};

/* What the central directory of an archive says, read before anything is unpacked. */
struct zip_facts {
    uint64_t entries;
    bool plain_bootstrap; /* a file "bootstrap" in the top folder carries no Unix mode */
};

/** Walks the central directory: refuses encryption, devices, compression other than stored and deflate, NUL
 * and backslash in names, and too many entries. Returns CODE_OK or CODE_NOT_ZIP. */
enum code_status zip_scan(const void *archive, size_t len, struct zip_facts *ret_facts, struct err *err);

/** Unpacks into the empty folder tree_fd; on failure what was written stays, the caller removes it. */
enum code_status unpack_zip(int tree_fd, const void *archive, size_t len, struct err *err);

struct link_path {
    unsigned depth; /* folders between the package's root and the link */
    const char *target;
};
/** True when the link cannot leave the package, whatever other links of the same kind it passes. */
bool unpack_link_is_inside(const struct link_path *link);
/** Splits off the next component of an entry's path; false at its end. "" and "." are skipped. */
bool unpack_next_component(const char **at, char *ret_component, size_t size);
/** NULL for a path that may be used, else what is wrong with it. */
const char *unpack_path_fault(const char *path);
