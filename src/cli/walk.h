#pragma once

/* The files of a folder that belong into a package. */

#include <stddef.h>
#include <sys/types.h>

struct err;

struct walk_entry {
    char *path;  /* below the folder */
    mode_t mode; /* S_IFREG, S_IFDIR or S_IFLNK, and permissions */
    off_t size;
    char *target; /* of a symbolic link */
};
struct walk {
    struct walk_entry *entries; /* sorted by path */
    size_t count, room;
    off_t total; /* bytes of all files */
};

/** Lists what is below folder_fd. Sockets and the like are left out with a warning. */
int walk_folder(int folder_fd, struct walk *walk, struct err *err);
void walk_done(struct walk *walk);

/** Pure: whether a link at path ("a/b/link") to target stays inside the folder. */
int walk_link_inside(const char *path, const char *target);
