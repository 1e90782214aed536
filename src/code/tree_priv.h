#pragma once

/* Folders as wholes. Depth is bounded by what unpack.c makes. */

/** Calls each() for every name but the dots; stops at the first result that is not 0 and returns it. */
int tree_each(int dir_fd, int (*each)(int dir_fd, const char *name, void *ctx), void *ctx);
/** Removes a file or a folder with all it holds; a missing one is fine. Never follows a link. */
int tree_remove(int dir_fd, const char *name);
