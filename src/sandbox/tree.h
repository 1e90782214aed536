#pragma once

/*
 * Copies of small trees of files that a function made, for the /tmp of clones.
 *
 * The content is hostile: no link is followed, no name leaves its folder, nothing but folders, regular files
 * and symbolic links is taken, and all of it together is little. What else there is refuses the tree whole.
 *
 * Context: root. Blocks.
 */

struct err;

enum { TREE_MAX_ENTRIES = 1000, TREE_MAX_MB = 64, TREE_MAX_DEPTH = 32 };

/** What lies below the folder: *ret_entries. Refuses what tree_copy() would refuse. */
int tree_measure(int folder, unsigned *ret_entries, struct err *err);
/** Copies what lies below from into the empty folder to, with owners, modes and times of modification. What
 * was copied before a failure stays. */
int tree_copy(int from, int to, struct err *err);
