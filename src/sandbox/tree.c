#include "sandbox/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"

/* A folder that is being read. */
struct level {
    DIR *from;
    int to; /* its copy; -1 = none */
    struct stat status;
};

struct walk {
    struct level levels[TREE_MAX_DEPTH + 1]; /* count of them; the last one is read */
    unsigned count;
    unsigned entries;
    uint64_t bytes;
    struct err *err;
};

static int refuse(const struct walk *walk, const char *name, const char *why)
{
    return err_set(walk->err, ERR_CONFLICT, 0, "/tmp holds %s (%.60s)", why, name);
}

static int failed(const struct walk *walk, const char *name)
{
    return err_set(walk->err, ERR_SYSTEM, errno, "copying /tmp: %.60s", name);
}

/* Opens what was looked at before, and nothing else that took its place. */
static int open_same(int folder, const char *name, int flags, const struct stat *wanted)
{
    struct stat status;
    AUTO_FD int fd = openat(folder, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return -1;
    if (fstat(fd, &status) < 0 || status.st_dev != wanted->st_dev || status.st_ino != wanted->st_ino) {
        errno = ESTALE;
        return -1;
    }
    return TAKE_FD(fd);
}

static bool set_state(int fd, const struct stat *status)
{
    const struct timespec times[2] = { status->st_atim, status->st_mtim };

    /* The owner first: giving away takes bits of the mode. */
    return fchown(fd, status->st_uid, status->st_gid) == 0 && fchmod(fd, status->st_mode & 07777) == 0 &&
           futimens(fd, times) == 0;
}

/* Takes both descriptors. */
static int enter(struct walk *walk, int from, int to, const struct stat *status)
{
    DIR *folder = fdopendir(from);

    if (!folder) {
        (void)close(from);
        if (to >= 0)
            (void)close(to);
        return failed(walk, ".");
    }
    walk->levels[walk->count++] = (struct level){ folder, to, *status };
    return 0;
}

/* What was written into a folder has changed its times. */
static int leave(struct walk *walk, bool is_whole)
{
    struct level *level = &walk->levels[--walk->count];
    int r = 0;

    if (is_whole && level->to >= 0 && walk->count > 0 && !set_state(level->to, &level->status))
        r = failed(walk, ".");
    (void)closedir(level->from);
    if (level->to >= 0)
        (void)close(level->to);
    return r;
}

static int take_folder(struct walk *walk, int from, int to, const char *name, const struct stat *status)
{
    AUTO_FD int source = open_same(from, name, O_RDONLY | O_DIRECTORY, status);
    AUTO_FD int copy = -1;

    if (source < 0)
        return failed(walk, name);
    if (walk->count > TREE_MAX_DEPTH)
        return refuse(walk, name, "folders within folders too deep");
    if (flistxattr(source, NULL, 0) > 0)
        return refuse(walk, name, "a folder with attributes of its own");
    if (to >= 0) {
        if (mkdirat(to, name, 0700) < 0)
            return failed(walk, name);
        copy = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (copy < 0)
            return failed(walk, name);
    }
    return enter(walk, TAKE_FD(source), TAKE_FD(copy), status);
}

static int copy_range(int from, int to, off_t at, off_t end)
{
    if (lseek(to, at, SEEK_SET) < 0)
        return -1;
    while (at < end) {
        ssize_t n = sendfile(to, from, &at, (size_t)(end - at));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
    }
    return 0;
}

/* What was never written takes no room in the copy either. */
static int copy_content(int from, int to, off_t len)
{
    off_t at = 0;

    while (at < len) {
        off_t end;

        at = lseek(from, at, SEEK_DATA);
        if (at < 0 && errno == ENXIO)
            break; /* nothing but a hole */
        end = at < 0 ? -1 : lseek(from, at, SEEK_HOLE);
        if (end < 0 || copy_range(from, to, at, end < len ? end : len) < 0)
            return -1;
        at = end;
    }
    return ftruncate(to, len);
}

static int take_file(struct walk *walk, int from, int to, const char *name, const struct stat *status)
{
    AUTO_FD int source = open_same(from, name, O_RDONLY, status);
    AUTO_FD int copy = -1;

    if (source < 0)
        return failed(walk, name);
    if (status->st_nlink > 1)
        return refuse(walk, name, "a file with several names");
    if (flistxattr(source, NULL, 0) > 0)
        return refuse(walk, name, "a file with attributes of its own");
    if ((uint64_t)status->st_size > (UINT64_C(1) << 20) * TREE_MAX_MB - walk->bytes)
        return err_set(walk->err, ERR_LIMIT, 0, "/tmp holds more than %d MiB", TREE_MAX_MB);
    walk->bytes += (uint64_t)status->st_size;
    if (to < 0)
        return 0;
    copy = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (copy < 0 || copy_content(source, copy, status->st_size) < 0 || !set_state(copy, status))
        return failed(walk, name);
    return 0;
}

static int take_link(struct walk *walk, int from, int to, const char *name, const struct stat *status)
{
    const struct timespec times[2] = { status->st_atim, status->st_mtim };
    char target[PATH_MAX];
    ssize_t n = readlinkat(from, name, target, sizeof target);

    if (n < 0)
        return failed(walk, name);
    if (n == sizeof target)
        return refuse(walk, name, "a link that is too long");
    target[n] = '\0';
    if (to < 0)
        return 0;
    if (symlinkat(target, to, name) < 0 ||
        fchownat(to, name, status->st_uid, status->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) < 0)
        return failed(walk, name);
    return 0;
}

static int take(struct walk *walk, int from, int to, const char *name)
{
    struct stat status;

    if (++walk->entries > TREE_MAX_ENTRIES)
        return err_set(walk->err, ERR_LIMIT, 0, "/tmp holds more than %d entries", TREE_MAX_ENTRIES);
    if (fstatat(from, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return failed(walk, name);
    if (S_ISDIR(status.st_mode))
        return take_folder(walk, from, to, name, &status);
    if (S_ISREG(status.st_mode))
        return take_file(walk, from, to, name, &status);
    if (S_ISLNK(status.st_mode))
        return take_link(walk, from, to, name, &status);
    return refuse(walk, name, "a pipe, socket or device");
}

/* to: -1 = nothing is copied. */
static int walk_all(struct walk *walk, int from, int to)
{
    const struct stat none = { 0 };
    int top = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), copy = to < 0 ? -1 : dup(to), r;

    if (top < 0 || (to >= 0 && copy < 0)) {
        r = failed(walk, ".");
        if (top >= 0)
            (void)close(top);
        return r;
    }
    r = enter(walk, top, copy, &none);
    while (r == 0 && walk->count > 0) {
        const struct level *level = &walk->levels[walk->count - 1];
        const struct dirent *entry;

        errno = 0;
        entry = readdir(level->from);
        if (!entry && errno != 0)
            r = failed(walk, ".");
        else if (!entry)
            r = leave(walk, true);
        else if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            r = take(walk, dirfd(level->from), level->to, entry->d_name);
    }
    while (walk->count > 0)
        (void)leave(walk, false);
    return r;
}

int tree_measure(int folder, unsigned *ret_entries, struct err *err)
{
    struct walk walk = { .err = err };
    int r = walk_all(&walk, folder, -1);

    *ret_entries = walk.entries;
    return r;
}

int tree_copy(int from, int to, struct err *err)
{
    struct walk walk = { .err = err };

    return walk_all(&walk, from, to);
}
