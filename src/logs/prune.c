/* Logs of functions that are gone. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "logs/logs.h"
#include "logs/logs_priv.h"

enum { ORPHANS_MAX = 1 << 20 };

struct orphan {
    char function[LOGS_MAX_NAME_BYTES + 1];
    struct timespec changed;
};

struct orphans {
    struct orphan *list; /* owned */
    size_t count, room;
};

static int compare(const void *left, const void *right)
{
    const struct timespec *a = &((const struct orphan *)left)->changed;
    const struct timespec *b = &((const struct orphan *)right)->changed;

    if (a->tv_sec != b->tv_sec)
        return a->tv_sec < b->tv_sec ? 1 : -1;
    return (a->tv_nsec < b->tv_nsec) - (a->tv_nsec > b->tv_nsec);
}

static int add(struct orphans *orphans, const char *function, const struct timespec *changed)
{
    struct orphan *orphan;

    if (orphans->count == orphans->room) {
        size_t room = orphans->room ? orphans->room * 2 : 64;
        struct orphan *grown = room > ORPHANS_MAX ? NULL : realloc(orphans->list, room * sizeof *grown);

        if (!grown)
            return -ENOMEM;
        orphans->list = grown;
        orphans->room = room;
    }
    orphan = &orphans->list[orphans->count++];
    memcpy(orphan->function, function, strlen(function) + 1);
    orphan->changed = *changed;
    return 0;
}

int logs_prune(struct logs *logs, size_t keep, bool (*exists)(const char *function, void *ctx), void *ctx,
               struct err *err)
{
    int fd = openat(logs_folder(logs), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), result = 0;
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    struct orphans orphans = { 0 };
    const struct dirent *entry;

    if (!folder) {
        result = err_set(err, ERR_SYSTEM, errno, "read the folder of the logs");
        if (fd >= 0)
            (void)close(fd);
        return result;
    }
    while (result == 0 && (entry = readdir(folder))) {
        struct stat info;

        if (!logs_name_ok(entry->d_name) || exists(entry->d_name, ctx) ||
            logs_has_writer(logs, entry->d_name) ||
            fstatat(fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(info.st_mode))
            continue;
        if (add(&orphans, entry->d_name, &info.st_mtim) < 0)
            result = err_set(err, ERR_SYSTEM, ENOMEM, "list the logs of deleted functions");
    }
    (void)closedir(folder);
    if (orphans.count > keep)
        qsort(orphans.list, orphans.count, sizeof *orphans.list, compare);
    for (size_t i = keep; result == 0 && i < orphans.count; i++)
        result = logs_delete(logs, orphans.list[i].function, err);
    free(orphans.list);
    return result;
}
