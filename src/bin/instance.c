#include "bin/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/id.h"
#include "base/text.h"

enum { ID_CHARACTERS = 8 };

static int make_folders(const char *dir, struct err *err)
{
    char path[4096];
    size_t len = strlen(dir);

    if (len >= sizeof path)
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "data folder");
    for (size_t i = 1; i <= len; i++) {
        if (dir[i] != '/' && dir[i] != '\0')
            continue;
        memcpy(path, dir, i);
        path[i] = '\0';
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            return err_set(err, ERR_SYSTEM, errno, "data folder '%s'", path);
    }
    return 0;
}

static int lock_file(int dir_fd, const char *name, const char *busy, int *ret_fd, struct err *err)
{
    for (;;) {
        int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        struct stat info;

        if (fd < 0)
            return err_set(err, ERR_SYSTEM, errno, "'%s'", name);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
            int why = errno;

            (void)close(fd);
            return why == EWOULDBLOCK ? err_set(err, ERR_CONFLICT, EBUSY, "%s", busy)
                                      : err_set(err, ERR_SYSTEM, why, "'%s'", name);
        }
        if (fstat(fd, &info) == 0 && info.st_nlink > 0) {
            *ret_fd = fd;
            return 0;
        }
        (void)close(fd); /* its owner before removed it in between: the lock is worth nothing */
    }
}

/* "<id> <range>\n"; false when there is none yet. One that root has not written does not count: with another
 * instance's id, its environments would be swept. */
static bool read_identity(struct instance *instance)
{
    AUTO_FD int fd = openat(instance->data_fd, "instance", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    char text[64];
    struct stat info;
    ssize_t len = fd >= 0 && fstat(fd, &info) == 0 && info.st_uid == 0 ? read(fd, text, sizeof text - 1) : -1;
    uint64_t range;
    size_t digits;

    if (len < ID_CHARACTERS + 2)
        return false;
    text[len] = '\0';
    if (strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789") != ID_CHARACTERS || text[ID_CHARACTERS] != ' ')
        return false;
    digits = strcspn(text + ID_CHARACTERS + 1, "\n");
    if (!text_to_u64(text + ID_CHARACTERS + 1, digits, INSTANCE_RANGES - 1, &range))
        return false;
    memcpy(instance->id, text, ID_CHARACTERS);
    instance->id[ID_CHARACTERS] = '\0';
    instance->range = (unsigned)range;
    return true;
}

static int write_identity(const struct instance *instance, struct err *err)
{
    char text[64];
    int len = snprintf(text, sizeof text, "%s %u\n", instance->id, instance->range);
    AUTO_FD int fd = -1;

    /* The folder is irorid's: whatever has that name is not written to. */
    (void)unlinkat(instance->data_fd, "instance.new", 0);
    fd =
        openat(instance->data_fd, "instance.new", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0 || write(fd, text, (size_t)len) != len || fsync(fd) < 0 ||
        renameat(instance->data_fd, "instance.new", instance->data_fd, "instance") < 0)
        return err_set(err, ERR_SYSTEM, errno, "instance file");
    return 0;
}

/* The wanted range if it is free, else the next free one: two copies of a data folder may run at once. */
static int lock_range(struct instance *instance, struct err *err)
{
    unsigned wanted = instance->range;

    (void)mkdir("/run/irori", 0755);
    for (unsigned i = 0; i < INSTANCE_RANGES; i++) {
        instance->range = (wanted + i) % INSTANCE_RANGES;
        (void)snprintf(instance->range_path, sizeof instance->range_path, "/run/irori/range-%u",
                       instance->range);
        if (lock_file(AT_FDCWD, instance->range_path, "taken", &instance->range_fd, err) == 0)
            return 0;
        if (err->code != ERR_CONFLICT)
            return err_wrap(err, "user id range");
    }
    return err_set(err, ERR_LIMIT, 0, "all %d user id ranges are in use", INSTANCE_RANGES);
}

static int identify(struct instance *instance, struct err *err)
{
    bool known = read_identity(instance);
    unsigned before = instance->range;

    if (!known) {
        uint32_t random;

        id_text("abcdefghijklmnopqrstuvwxyz0123456789", ID_CHARACTERS, instance->id);
        id_random(&random, sizeof random);
        instance->range = random % INSTANCE_RANGES;
    }
    if (lock_range(instance, err) < 0)
        return -EINVAL;
    instance->uid_base = INSTANCE_UID_FIRST + instance->range * INSTANCE_RANGE_UIDS;
    return known && before == instance->range ? 0 : write_identity(instance, err);
}

static void choose_user(struct instance *instance)
{
    const struct passwd *user = getpwnam("irori");

    instance->uid = user ? user->pw_uid : instance->uid_base;
    instance->gid = user ? user->pw_gid : instance->uid_base;
}

static unsigned chown_uid, chown_gid; /* nftw() passes no context */

static int chown_one(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    return lchown(path, chown_uid, chown_gid);
}

/* A second name of somebody else's file, which irorid's user might have made here, is not given away. */
static int give_file(const struct instance *instance, const char *name, struct err *err)
{
    AUTO_FD int fd = openat(instance->data_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat info;

    if (fd < 0)
        return errno == ENOENT ? 0 : err_set(err, ERR_SYSTEM, errno, "'%s'", name);
    if (fstat(fd, &info) < 0)
        return err_set(err, ERR_SYSTEM, errno, "'%s'", name);
    if (info.st_uid == instance->uid)
        return 0;
    if (!S_ISREG(info.st_mode) || info.st_nlink != 1)
        return err_set(err, ERR_INVALID, 0, "'%s' is not an ordinary file of its own", name);
    return fchown(fd, instance->uid, instance->gid) == 0
               ? 0
               : err_set(err, ERR_SYSTEM, errno, "owner of '%s'", name);
}

/* irorid owns DIR, its database, code and logs; the rest belongs to root. */
static int give(const struct instance *instance, const char *dir, struct err *err)
{
    static const char *const folders[] = { "code", "code-cache", "logs" };
    static const char *const files[] = { "irori.db", "irori.db-wal", "irori.db-shm" };
    struct stat info;
    bool moved;

    if (fstat(instance->data_fd, &info) < 0)
        return err_set(err, ERR_SYSTEM, errno, "data folder");
    moved = info.st_uid != instance->uid;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char path[4200];

        if (mkdirat(instance->data_fd, folders[i], 0700) < 0 && errno != EEXIST)
            return err_set(err, ERR_SYSTEM, errno, "'%s/%s'", dir, folders[i]);
        (void)snprintf(path, sizeof path, "%s/%s", dir, folders[i]);
        chown_uid = instance->uid;
        chown_gid = instance->gid;
        if (moved && nftw(path, chown_one, 16, FTW_PHYS) < 0)
            return err_set(err, ERR_SYSTEM, errno, "owner of '%s'", path);
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (give_file(instance, files[i], err) < 0)
            return -EINVAL;
    }
    /* Others may pass through to their credentials file, and see nothing. */
    if (fchown(instance->data_fd, instance->uid, instance->gid) < 0 || fchmod(instance->data_fd, 0711) < 0)
        return err_set(err, ERR_SYSTEM, errno, "data folder");
    return 0;
}

int instance_open(const char *dir, struct instance *ret_instance, struct err *err)
{
    struct instance instance = { .data_fd = -1, .lock_fd = -1, .range_fd = -1 };
    char busy[4200];

    if (make_folders(dir, err) < 0)
        return -EINVAL;
    instance.data_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (instance.data_fd < 0)
        return err_set(err, ERR_SYSTEM, errno, "data folder '%s'", dir);
    (void)snprintf(busy, sizeof busy, "another server uses '%.1000s'; stop it, or give another --data", dir);
    if (lock_file(instance.data_fd, "lock", busy, &instance.lock_fd, err) < 0 ||
        identify(&instance, err) < 0) {
        instance_close(&instance);
        return -EINVAL;
    }
    choose_user(&instance);
    if (give(&instance, dir, err) < 0) {
        instance_close(&instance);
        return -EINVAL;
    }
    *ret_instance = instance;
    return 0;
}

void instance_close(struct instance *instance)
{
    if (instance->range_fd >= 0) {
        (void)unlink(instance->range_path);
        (void)close(instance->range_fd);
    }
    if (instance->lock_fd >= 0)
        (void)close(instance->lock_fd);
    if (instance->data_fd >= 0)
        (void)close(instance->data_fd);
    *instance = (struct instance){ .data_fd = -1, .lock_fd = -1, .range_fd = -1 };
}
