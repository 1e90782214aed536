#include "code/code.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/text.h"
#include "code/tree_priv.h"
#include "code/unpack_priv.h"

/*
 * DIR/code/
 *   <digest>.zip   the archive; its mtime is when it was last uploaded
 *   <digest>/      what it holds; renamed here last, so that it is whole when it is there
 *   .tmp-<digest>/ archive.zip and tree/ while they are made; flock()ed by whoever makes them
 *   .old-<digest>/ on its way out
 *   .lock          flock()ed while a package is found and touched, put in place, or removed
 *
 * Locks belong to open descriptions, so they hold between threads and vanish with a killed process. Whoever
 * holds the lock of a temporary folder may wait for .lock, never the other way round.
 */

enum { HEX_BYTES = 65, NAME_BYTES = 80 };
#define TEMPORARY_PREFIX ".tmp-"
#define DOOMED_PREFIX    ".old-"

static int take_lock(int dir_fd)
{
    int fd = openat(dir_fd, ".lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int result = fd < 0 ? -1 : 0;

    while (fd >= 0 && (result = flock(fd, LOCK_EX)) < 0 && errno == EINTR)
        ;
    if (result < 0 && fd >= 0) {
        int saved = errno;

        (void)close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static bool find_package(int dir_fd, const char *hex)
{
    char name[NAME_BYTES];
    struct stat st;

    if (fstatat(dir_fd, hex, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
        return false;
    (void)snprintf(name, sizeof name, "%s.zip", hex);
    return faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool find_package_locked(int dir_fd, const char *hex)
{
    AUTO_FD int lock = take_lock(dir_fd);

    return lock >= 0 && find_package(dir_fd, hex);
}

/* The temporary folder of a digest, locked and still in its place. Waits for another thread that makes the
 * same one. */
static int open_temporary(int dir_fd, const char *name)
{
    for (;;) {
        struct stat held, named;
        int fd;

        if (mkdirat(dir_fd, name, 0700) < 0 && errno != EEXIST)
            return -1;
        fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && errno != ENOENT)
            return -1;
        if (fd < 0)
            continue;
        while (flock(fd, LOCK_EX) < 0 && errno == EINTR)
            ;
        if (fstat(fd, &held) == 0 && fstatat(dir_fd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
            held.st_ino == named.st_ino && held.st_dev == named.st_dev)
            return fd;
        (void)close(fd);
    }
}

static int write_archive(int dir_fd, const void *archive, size_t len)
{
    AUTO_FD int fd =
        openat(dir_fd, "archive.zip", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    const char *data = archive;

    if (fd < 0)
        return -errno;
    for (size_t done = 0; done < len;) {
        ssize_t step = write(fd, data + done, len - done);

        if (step < 0 && errno != EINTR)
            return -errno;
        done += step > 0 ? (size_t)step : 0;
    }
    return 0;
}

static enum code_status system_failure(struct err *err, int sys, const char *what)
{
    (void)err_set(err, ERR_SYSTEM, sys, "cannot %s", what);
    return CODE_SYSTEM;
}

/* Unpacks into temporary_fd/tree and writes the archive beside it, all of it on the disk when it returns. */
static enum code_status make_package(int temporary_fd, const void *archive, size_t len, struct err *err)
{
    AUTO_FD int tree = -1;
    enum code_status status;
    int result = tree_remove(temporary_fd, "tree"); /* what a crash left */

    if (result == 0)
        result = tree_remove(temporary_fd, "archive.zip");
    if (result < 0)
        return system_failure(err, -result, "clear a temporary folder");
    if (mkdirat(temporary_fd, "tree", 0755) < 0)
        return system_failure(err, errno, "make a folder for code");
    tree = openat(temporary_fd, "tree", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (tree < 0 || fchmod(tree, 0755) < 0)
        return system_failure(err, errno, "open a folder for code");
    status = unpack_zip(tree, archive, len, err);
    if (status != CODE_OK)
        return status;
    result = write_archive(temporary_fd, archive, len);
    if (result < 0)
        return system_failure(err, -result, "keep the archive");
    /* One call for thousands of files; a package that is renamed into place must survive a power cut. */
    return syncfs(tree) < 0 ? system_failure(err, errno, "write code to the disk") : CODE_OK;
}

static enum code_status put_in_place(int dir_fd, int temporary_fd, const char *hex, struct err *err)
{
    AUTO_FD int lock = take_lock(dir_fd);
    char name[NAME_BYTES];
    int result;

    if (lock < 0)
        return system_failure(err, errno, "lock the code folder");
    (void)snprintf(name, sizeof name, "%s.zip", hex);
    result = tree_remove(dir_fd, hex); /* half a package, whose archive is missing */
    if (result < 0)
        return system_failure(err, -result, "remove old code");
    if (renameat(temporary_fd, "archive.zip", dir_fd, name) < 0 ||
        renameat(temporary_fd, "tree", dir_fd, hex) < 0 || fsync(dir_fd) < 0)
        return system_failure(err, errno, "put code in place");
    return find_package(dir_fd, hex) ? CODE_OK : system_failure(err, errno, "find new code");
}

static enum code_status add_new(int dir_fd, const char *hex, const void *archive, size_t len, struct err *err)
{
    char name[NAME_BYTES];
    AUTO_FD int temporary = -1;
    enum code_status status = CODE_OK;

    (void)snprintf(name, sizeof name, TEMPORARY_PREFIX "%s", hex);
    temporary = open_temporary(dir_fd, name);
    if (temporary < 0)
        return system_failure(err, errno, "make a temporary folder for code");
    /* Another thread may have finished the same package while this one waited. */
    if (!find_package_locked(dir_fd, hex)) {
        status = make_package(temporary, archive, len, err);
        if (status == CODE_OK)
            status = put_in_place(dir_fd, temporary, hex, err);
    }
    (void)tree_remove(dir_fd, name);
    return status;
}

static enum code_status describe(const void *archive, size_t len, struct code_package *ret_package,
                                 struct err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned digest_len = 0;
    AUTO_BUF struct buf base64 = BUF_INIT(64);

    if (EVP_Digest(archive, len, digest, &digest_len, EVP_sha256(), NULL) != 1 || digest_len != 32 ||
        text_base64_encode(digest, digest_len, &base64) < 0)
        return system_failure(err, ENOMEM, "hash an archive");
    text_hex(digest, digest_len, ret_package->sha256_hex);
    (void)snprintf(ret_package->sha256_base64, sizeof ret_package->sha256_base64, "%s", base64.data);
    ret_package->size_bytes = len;
    return CODE_OK;
}

enum code_status code_add(int dir_fd, const void *archive, size_t len, struct code_package *ret_package,
                          struct err *err)
{
    struct code_package package;
    enum code_status status;

    if (len > UNPACK_MAX_ZIPPED) {
        (void)err_set(err, ERR_LIMIT, 0, "the archive has %zu bytes, allowed are %d", len, UNPACK_MAX_ZIPPED);
        return CODE_ZIPPED_TOO_BIG;
    }
    if (len == 0) {
        (void)err_set(err, ERR_INVALID, 0, "the archive is empty");
        return CODE_NOT_ZIP;
    }
    status = describe(archive, len, &package, err);
    if (status == CODE_OK && !find_package_locked(dir_fd, package.sha256_hex))
        status = add_new(dir_fd, package.sha256_hex, archive, len, err);
    if (status == CODE_OK)
        *ret_package = package;
    return status;
}

static bool is_digest(const char *text, size_t len)
{
    return len == HEX_BYTES - 1 && strspn(text, "0123456789abcdef") >= len;
}

int code_open_archive(int dir_fd, const char *sha256_hex)
{
    char name[NAME_BYTES];
    int fd;

    if (!is_digest(sha256_hex, strlen(sha256_hex)))
        return -ENOENT;
    (void)snprintf(name, sizeof name, "%s.zip", sha256_hex);
    fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

struct sweep {
    const char *const *keep;
    size_t keep_count;
};

static bool is_kept(const struct sweep *sweep, const char *hex)
{
    for (size_t i = 0; i < sweep->keep_count; i++) {
        if (strncmp(sweep->keep[i], hex, HEX_BYTES - 1) == 0)
            return true;
    }
    return false;
}

static int sweep_temporary(int dir_fd, const char *name)
{
    AUTO_FD int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    /* Locked: someone is at work in it. */
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0)
        return 0;
    return tree_remove(dir_fd, name);
}

static int sweep_one(int dir_fd, const char *name, void *ctx)
{
    const struct sweep *sweep = ctx;
    size_t len = strlen(name);
    bool package = is_digest(name, len);
    bool archive =
        len == HEX_BYTES + 3 && is_digest(name, HEX_BYTES - 1) && strcmp(name + HEX_BYTES - 1, ".zip") == 0;
    char doomed[NAME_BYTES];
    int result;

    if (text_starts(name, TEMPORARY_PREFIX))
        return sweep_temporary(dir_fd, name);
    if (text_starts(name, DOOMED_PREFIX))
        return tree_remove(dir_fd, name);
    if ((!package && !archive) || is_kept(sweep, name))
        return 0;
    if (archive)
        return tree_remove(dir_fd, name);
    /* Renamed first: half a removed folder must never be taken for a package. */
    (void)snprintf(doomed, sizeof doomed, DOOMED_PREFIX "%s", name);
    result = tree_remove(dir_fd, doomed);
    if (result == 0 && renameat(dir_fd, name, dir_fd, doomed) < 0)
        result = -errno;
    return result < 0 ? result : tree_remove(dir_fd, doomed);
}

int code_sweep(int dir_fd, const char *const *keep, size_t keep_count, struct err *err)
{
    AUTO_FD int lock = take_lock(dir_fd);
    struct sweep sweep = { .keep = keep, .keep_count = keep_count };
    int result;

    if (lock < 0)
        return err_set(err, ERR_SYSTEM, errno, "cannot lock the code folder");
    result = tree_each(dir_fd, sweep_one, &sweep);
    return result < 0 ? err_set(err, ERR_SYSTEM, -result, "cannot sweep the code folder") : 0;
}
