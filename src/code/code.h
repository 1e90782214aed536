#pragma once

/*
 * Code packages: unpacked once into DIR/code/<sha256 hex>/, the archive kept as DIR/code/<sha256 hex>.zip
 * (GetFunction's download).
 *
 * Archives are hostile: paths that leave the folder, links that point outside, device nodes, bombs, absurd
 * counts and bad checksums are refused, and then nothing is left. Unpacking goes to a temporary folder that
 * is renamed when complete; code_sweep() removes what a crash left. Unpacked files are readable for all (mode
 * | 0444, folders | 0555, never writable for group or others), so that the function's own user id can read
 * them.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum code_status {
    CODE_OK,
    CODE_NOT_ZIP, /* "Could not unzip uploaded file. Please check your file, then try to upload again." */
    CODE_ZIPPED_TOO_BIG,   /* "Zipped size must be smaller than 52428800 bytes" */
    CODE_UNZIPPED_TOO_BIG, /* "Unzipped size must be smaller than 262144000 bytes" */
    CODE_SYSTEM,           /* disk full and the like; err says */
};

struct code_package {
    char sha256_hex[65];
    char sha256_base64[45];
    uint64_t size_bytes; /* of the archive */
};

/** Checks, hashes and unpacks; an archive that is there already is not unpacked again. Context: any thread
 * but the loop's; the same archive from two threads at once is fine. err also says what exactly was wrong
 * with the archive (entry name, reason); with CODE_NOT_ZIP its code is ERR_INVALID for an archive that cannot
 * be read and ERR_DENIED for one that holds what a package may not hold. */
enum code_status code_add(int dir_fd, const void *archive, size_t len, struct code_package *ret_package,
                          struct err *err);
/** Removes what is not in keep (an array of hex digests), and temporary leftovers. The caller sees to it that
 * no code_add() has made a package that keep does not name yet. */
int code_sweep(int dir_fd, const char *const *keep, size_t keep_count, struct err *err);
/** Opens the kept archive for reading; negative errno when there is none. */
int code_open_archive(int dir_fd, const char *sha256_hex);
