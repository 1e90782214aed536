#include "cli/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "cli/package.h"

void walk_done(struct walk *walk)
{
    for (size_t i = 0; i < walk->count; i++) {
        free(walk->entries[i].path);
        free(walk->entries[i].target);
    }
    free(walk->entries);
    *walk = (struct walk){ 0 };
}

int walk_link_inside(const char *path, const char *target)
{
    int depth = 0;

    if (target[0] == '/' || target[0] == '\0')
        return 0;
    for (const char *c = path; *c != '\0'; c++)
        depth += *c == '/';
    while (*target != '\0') {
        size_t len = strcspn(target, "/");

        if (len == 2 && target[0] == '.' && target[1] == '.')
            depth--;
        else if (len > 0 && !(len == 1 && target[0] == '.'))
            depth++;
        if (depth < 0)
            return 0;
        target += len + (target[len] == '/');
    }
    return 1;
}

static bool is_excluded(const char *path)
{
    const char *name = strrchr(path, '/');
    size_t len = strlen(path);

    name = name ? name + 1 : path;
    if (strcmp(name, ".git") == 0)
        return true;
    return len >= 19 && strcmp(path + len - 19, "node_modules/.cache") == 0 &&
           (len == 19 || path[len - 20] == '/');
}

static int add(struct walk *walk, struct walk_entry *entry, struct err *err)
{
    if (walk->count == PACKAGE_MAX_ENTRIES)
        return err_set(err, ERR_LIMIT, 0, "the folder has more than %d files", PACKAGE_MAX_ENTRIES);
    if (walk->count == walk->room) {
        size_t room = walk->room ? walk->room * 2 : 64;
        struct walk_entry *entries = realloc(walk->entries, room * sizeof *entries);

        if (!entries)
            return err_set(err, ERR_SYSTEM, ENOMEM, "list of files");
        walk->entries = entries;
        walk->room = room;
    }
    walk->entries[walk->count++] = *entry;
    *entry = (struct walk_entry){ 0 };
    return 0;
}

static int read_link(int dir_fd, const char *name, struct walk_entry *entry, struct err *err)
{
    char target[PATH_MAX];
    ssize_t len = readlinkat(dir_fd, name, target, sizeof target - 1);

    if (len < 0)
        return err_set(err, ERR_SYSTEM, errno, "read the link %.200s", entry->path);
    target[len] = '\0';
    if (!walk_link_inside(entry->path, target))
        return err_set(err, ERR_INVALID, 0,
                       "the link %.120s points outside the folder (%.120s): replace it by what it points to",
                       entry->path, target);
    entry->target = strdup(target);
    return entry->target ? 0 : err_set(err, ERR_SYSTEM, ENOMEM, "list of files");
}

/* A folder that is being listed. */
struct level {
    int fd;
    const char *path; /* "" at the top */
    unsigned depth;
};

static int visit_folder(const struct level *level, struct walk *walk, struct err *err);

static int visit_below(const struct level *level, const char *name, const char *path, struct walk *walk,
                       struct err *err)
{
    AUTO_FD int fd = openat(level->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return err_set(err, ERR_SYSTEM, errno, "open %.250s", path);
    return visit_folder(&(struct level){ fd, path, level->depth + 1 }, walk, err);
}

static int visit(const struct level *level, const char *name, struct walk_entry *entry, struct walk *walk,
                 struct err *err)
{
    struct stat info;
    int result = 0;

    if (fstatat(level->fd, name, &info, AT_SYMLINK_NOFOLLOW) < 0)
        return err_set(err, ERR_SYSTEM, errno, "look at %.250s", entry->path);
    entry->mode = info.st_mode;
    if (S_ISLNK(info.st_mode)) {
        result = read_link(level->fd, name, entry, err);
    } else if (S_ISDIR(info.st_mode)) {
        result = visit_below(level, name, entry->path, walk, err);
    } else if (!S_ISREG(info.st_mode)) {
        (void)fprintf(stderr, "irori: %s is no file, folder or link: left out\n", entry->path);
        return 0;
    } else {
        entry->size = info.st_size;
        walk->total += info.st_size;
        if (walk->total > PACKAGE_MAX_UNZIPPED_BYTES)
            return err_set(err, ERR_LIMIT, 0,
                           "the folder holds more than %d MB, Lambda's limit for unzipped code",
                           PACKAGE_MAX_UNZIPPED_BYTES / 1000000);
    }
    return result < 0 ? result : add(walk, entry, err);
}

static int visit_name(const struct level *level, const char *name, struct walk *walk, struct err *err)
{
    struct walk_entry entry = { 0 };
    int result = 0;

    if (asprintf(&entry.path, "%s%s%s", level->path, level->path[0] != '\0' ? "/" : "", name) < 0)
        return err_set(err, ERR_SYSTEM, ENOMEM, "list of files");
    if (strlen(entry.path) > PACKAGE_MAX_PATH_BYTES)
        result = err_set(err, ERR_LIMIT, 0, "the path %.200s... is too long", entry.path);
    else if (!is_excluded(entry.path))
        result = visit(level, name, &entry, walk, err);
    free(entry.path);
    free(entry.target);
    return result;
}

static int visit_folder(const struct level *level, struct walk *walk, struct err *err)
{
    int fd = dup(level->fd), result = 0;
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    if (!folder) {
        result = err_set(err, ERR_SYSTEM, errno, "open %.250s",
                         level->path[0] != '\0' ? level->path : "the folder");
        if (fd >= 0)
            (void)close(fd);
        return result;
    }
    if (level->depth > PACKAGE_MAX_DEPTH)
        result = err_set(err, ERR_LIMIT, 0, "%.250s lies more than %d folders deep", level->path,
                         PACKAGE_MAX_DEPTH);
    while (result == 0 && (entry = readdir(folder))) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            result = visit_name(level, entry->d_name, walk, err);
    }
    (void)closedir(folder);
    return result;
}

static int compare_entries(const void *left, const void *right)
{
    const struct walk_entry *a = left, *b = right;

    return strcmp(a->path, b->path);
}

int walk_folder(int folder_fd, struct walk *walk, struct err *err)
{
    int result = visit_folder(&(struct level){ folder_fd, "", 0 }, walk, err);

    if (result == 0 && walk->count > 0)
        qsort(walk->entries, walk->count, sizeof *walk->entries, compare_entries);
    return result;
}
