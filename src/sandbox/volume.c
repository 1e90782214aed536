#include "sandbox/volume.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "sandbox/tree.h"

/* From linux/ext4.h, which is not installed: drop what is not yet on the disk. */
#define EXT4_IOC_SHUTDOWN _IOR('X', 125, uint32_t)
enum { EXT4_GOING_FLAGS_NOLOGFLUSH = 2 };

enum { MAX_TEMPLATES = 8, BLOCK_BYTES = 4096, BYTES_PER_INODE = 8192, INODE_BYTES = 256 };

/* Free in the file system below which there are no new volumes: the smaller of the two. */
enum { ROOM_PERCENT = 5, ROOM_BYTES = 1 << 30 };

struct template
{
    unsigned size_mb; /* 0 = free */
    int fd;
    uint64_t used; /* for replacing the one not asked for the longest */
};

struct volume_source {
    int scratch;
    uint64_t clock;
    struct template templates[MAX_TEMPLATES];
};

struct volume {
    int root; /* its top folder, through a mount of our own */
    char device[32];
    struct statfs fresh;
    struct statx_timestamp changed;
};

/* ------------------------------------------------------------------ loop devices and mounts */

static int unnamed_file(int folder)
{
    int fd = openat(folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    char name[32];

    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
        return fd < 0 ? -errno : fd;
    (void)snprintf(name, sizeof name, "image.%d", (int)getpid());
    fd = openat(folder, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    (void)unlinkat(folder, name, 0);
    return fd;
}

/* Binds image to a free loop device, which unbinds itself after its last use. */
static int attach(int image, char device[32], struct err *err)
{
    struct loop_config config = {
        .fd = (uint32_t)image,
        .block_size = BLOCK_BYTES,
        .info = { .lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO },
    };
    AUTO_FD int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

    if (control < 0)
        return err_set(err, ERR_SYSTEM, errno, "/dev/loop-control");
    /* Others may take the free device before us. */
    for (int attempt = 0; attempt < 64; attempt++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE), fd;

        if (number < 0)
            return err_set(err, ERR_SYSTEM, errno, "free loop device");
        (void)snprintf(device, 32, "/dev/loop%d", number);
        fd = open(device, O_RDWR | O_CLOEXEC);
        if (fd < 0)
            return err_set(err, ERR_SYSTEM, errno, "%s", device);
        if (ioctl(fd, LOOP_CONFIGURE, &config) == 0)
            return fd;
        if (errno == EINVAL && (config.info.lo_flags & LO_FLAGS_DIRECT_IO))
            config.info.lo_flags &=
                ~(uint32_t)LO_FLAGS_DIRECT_IO; /* the folder's file system has no direct I/O */
        else if (errno != EBUSY)
            attempt = 64;
        (void)close(fd);
    }
    return err_set(err, ERR_SYSTEM, errno, "binding %s", device);
}

static int mount_device(const char *device, int *ret_fd, struct err *err)
{
    AUTO_FD int context = fsopen("ext4", FSOPEN_CLOEXEC);
    int fd;

    if (context < 0)
        return err_set(err, ERR_SYSTEM, errno, "ext4");
    if (fsconfig(context, FSCONFIG_SET_STRING, "source", device, 0) < 0 ||
        fsconfig(context, FSCONFIG_SET_FLAG, "noinit_itable", NULL, 0) < 0 ||
        fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return err_set(err, ERR_SYSTEM, errno, "mounting %s", device);
    fd = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOATIME);
    if (fd < 0)
        return err_set(err, ERR_SYSTEM, errno, "mounting %s", device);
    *ret_fd = fd;
    return 0;
}

/* ------------------------------------------------------------------ the image that others are copied from */

static int run_mkfs(int image, unsigned inodes, struct err *err)
{
    extern char **environ;
    char path[32], count[16];
    const char *const argv[] = {
        "mkfs.ext4",
        "-q",
        "-F",
        "-b",
        "4096",
        "-m",
        "0",
        "-N",
        count,
        "-I",
        "256",
        "-O",
        "^has_journal,^resize_inode,^metadata_csum,sparse_super2,flex_bg,extent,uninit_bg",
        "-E",
        "nodiscard,lazy_itable_init=1",
        path,
        NULL
    };
    posix_spawn_file_actions_t actions;
    int status = 0, r;
    pid_t pid;

    (void)snprintf(path, sizeof path, "/dev/fd/%d", 3);
    (void)snprintf(count, sizeof count, "%u", inodes);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_adddup2(&actions, image, 3);
    r = posix_spawnp(&pid, "mkfs.ext4", &actions, NULL, (char *const *)(uintptr_t)argv, environ);
    if (r == ENOENT)
        r = posix_spawn(&pid, "/sbin/mkfs.ext4", &actions, NULL, (char *const *)(uintptr_t)argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    if (r != 0)
        return err_set(err, ERR_SYSTEM, r, "mkfs.ext4 (package e2fsprogs)");
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return err_set(err, ERR_SYSTEM, 0, "mkfs.ext4 failed with status %d", status);
    return 0;
}

/* Empties the top folder, sets its mode, and tells how much room there is. */
static int finish_template(int image, uint64_t *ret_room, struct err *err)
{
    char device[32];
    AUTO_FD int loop = attach(image, device, err);
    AUTO_FD int mounted = -1;
    struct statfs room;

    if (loop < 0)
        return loop;
    if (mount_device(device, &mounted, err) < 0)
        return -EIO;
    AUTO_FD int root = openat(mounted, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return err_set(err, ERR_SYSTEM, errno, "opening a new file system");
    if (unlinkat(root, "lost+found", AT_REMOVEDIR) < 0 && errno != ENOENT)
        return err_set(err, ERR_SYSTEM, errno, "emptying a new file system");
    if (fchmod(root, 01777) < 0 || fstatfs(root, &room) < 0 || syncfs(root) < 0)
        return err_set(err, ERR_SYSTEM, errno, "preparing a new file system");
    *ret_room = (uint64_t)room.f_bavail * (uint64_t)room.f_bsize;
    return 0;
}

/* The device unbinds itself some time after its last use; only then is everything in the image. */
static int make_template(int scratch, unsigned size_mb, struct err *err)
{
    uint64_t wanted = (uint64_t)size_mb << 20, bytes, room = 0;
    unsigned inodes = (unsigned)(wanted / BYTES_PER_INODE);

    /* Tables of inodes and block maps take room, too: ask, look, and add what was missing. */
    bytes = wanted + (uint64_t)inodes * INODE_BYTES + wanted / 1024 + (UINT64_C(1) << 20);
    for (int attempt = 0; attempt < 4; attempt++) {
        AUTO_FD int image = unnamed_file(scratch);

        if (image < 0)
            return err_set(err, ERR_SYSTEM, -image, "file for /tmp");
        bytes = (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
        if (ftruncate(image, (off_t)bytes) < 0)
            return err_set(err, ERR_SYSTEM, errno, "size of the file for /tmp");
        if (run_mkfs(image, inodes, err) < 0 || finish_template(image, &room, err) < 0)
            return -EIO;
        if (room >= wanted)
            return TAKE_FD(image);
        bytes += wanted - room + (uint64_t)BLOCK_BYTES * 16;
    }
    return err_set(err, ERR_SYSTEM, 0, "a new ext4 file system has %llu bytes instead of %llu",
                   (unsigned long long)room, (unsigned long long)wanted);
}

static int find_template(struct volume_source *source, unsigned size_mb, struct err *err)
{
    struct template *oldest = &source->templates[0];
    int fd;

    for (size_t i = 0; i < MAX_TEMPLATES; i++) {
        struct template *template = &source->templates[i];

        if (template->size_mb == size_mb) {
            template->used = ++source->clock;
            return template->fd;
        }
        if (template->used < oldest->used)
            oldest = template;
    }
    fd = make_template(source->scratch, size_mb, err);
    if (fd < 0)
        return fd;
    if (oldest->size_mb)
        (void)close(oldest->fd);
    *oldest = (struct template){ size_mb, fd, ++source->clock };
    return fd;
}

int volume_source_new(int scratch, struct volume_source **ret_source, struct err *err)
{
    struct volume_source *source = calloc(1, sizeof *source);

    if (!source)
        return err_set(err, ERR_SYSTEM, ENOMEM, "volumes");
    source->scratch = scratch;
    *ret_source = source;
    return 0;
}

struct volume_source *volume_source_free(struct volume_source *source)
{
    if (!source)
        return NULL;
    for (size_t i = 0; i < MAX_TEMPLATES; i++) {
        if (source->templates[i].size_mb)
            (void)close(source->templates[i].fd);
    }
    free(source);
    return NULL;
}

/* ------------------------------------------------------------------ volumes */

/* Copies what is not a hole. */
static int copy_image(int from, int to)
{
    struct stat status;
    off_t at = 0;

    if (fstat(from, &status) < 0 || ftruncate(to, status.st_size) < 0)
        return -errno;
    while ((at = lseek(from, at, SEEK_DATA)) >= 0) {
        off_t end = lseek(from, at, SEEK_HOLE), source = at;

        if (end < 0)
            return -errno;
        while (at < end) {
            ssize_t n = copy_file_range(from, &source, to, &at, (size_t)(end - at), 0);

            if (n <= 0)
                return n < 0 ? -errno : -EIO;
        }
    }
    return errno == ENXIO ? 0 : -errno;
}

static int read_state(const struct volume *volume, struct statfs *ret_room,
                      struct statx_timestamp *ret_changed)
{
    struct statx status;

    if (fstatfs(volume->root, ret_room) < 0 ||
        statx(volume->root, "", AT_EMPTY_PATH | AT_STATX_SYNC_AS_STAT, STATX_CTIME, &status) < 0)
        return -errno;
    *ret_changed = status.stx_ctime;
    return 0;
}

/* Images are sparse: what they promise together may be more than there is. What is left belongs to the data
 * folder's other users, and to the environments that run. */
static int check_room(int scratch, struct err *err)
{
    struct statfs room;
    uint64_t unit, left, least;

    if (fstatfs(scratch, &room) < 0)
        return err_set(err, ERR_SYSTEM, errno, "looking for room in the data folder");
    unit = (uint64_t)room.f_bsize;
    left = (uint64_t)room.f_bavail * unit;
    least = (uint64_t)room.f_blocks * unit / 100 * ROOM_PERCENT;
    if (least > ROOM_BYTES)
        least = ROOM_BYTES;
    if (left >= least)
        return 0;
    return err_set(err, ERR_SYSTEM, ENOSPC, "the data folder's file system has only %llu MiB free",
                   (unsigned long long)(left >> 20));
}

int volume_new(struct volume_source *source, unsigned size_mb, struct volume **ret_volume, struct err *err)
{
    int r = check_room(source->scratch, err), template = r < 0 ? r : find_template(source, size_mb, err);
    AUTO_FREE struct volume *volume = calloc(1, sizeof *volume);

    if (template <0)
        return template;
    if (!volume)
        return err_set(err, ERR_SYSTEM, ENOMEM, "volume");
    AUTO_FD int image = unnamed_file(source->scratch);
    if (image < 0)
        return err_set(err, ERR_SYSTEM, -image, "file for /tmp");
    r = copy_image(template, image);
    if (r < 0)
        return err_set(err, ERR_SYSTEM, -r, "copying the file for /tmp");
    AUTO_FD int loop = attach(image, volume->device, err);
    if (loop < 0)
        return loop;
    AUTO_FD int mounted = -1;
    r = mount_device(volume->device, &mounted, err);
    if (r < 0)
        return r;
    volume->root = openat(mounted, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (volume->root < 0)
        return err_set(err, ERR_SYSTEM, errno, "opening a new volume");
    r = read_state(volume, &volume->fresh, &volume->changed);
    if (r < 0) {
        (void)close(volume->root);
        return err_set(err, ERR_SYSTEM, -r, "looking at a new volume");
    }
    *ret_volume = TAKE_PTR(volume);
    return 0;
}

int volume_mount(struct volume *volume, int *ret_fd, struct err *err)
{
    return mount_device(volume->device, ret_fd, err);
}

/* Making or removing anything at the top changes the time of the top folder, which no unprivileged process
 * can set back; the template's time lies in the past, so that a change in the same tick of the clock shows as
 * well. */
bool volume_untouched(const struct volume *volume)
{
    struct statx_timestamp changed = { 0 };
    struct statfs room;

    return read_state(volume, &room, &changed) == 0 && room.f_bfree == volume->fresh.f_bfree &&
           room.f_ffree == volume->fresh.f_ffree && changed.tv_sec == volume->changed.tv_sec &&
           changed.tv_nsec == volume->changed.tv_nsec;
}

int volume_measure(const struct volume *volume, unsigned *ret_entries, struct err *err)
{
    return tree_measure(volume->root, ret_entries, err);
}

int volume_fill(struct volume *volume, const struct volume *from, struct err *err)
{
    return tree_copy(from->root, volume->root, err);
}

struct volume *volume_free(struct volume *volume)
{
    uint32_t how = EXT4_GOING_FLAGS_NOLOGFLUSH;

    if (!volume)
        return NULL;
    if (!volume_untouched(volume))
        (void)ioctl(volume->root, EXT4_IOC_SHUTDOWN, &how);
    (void)close(volume->root);
    free(volume);
    return NULL;
}

/* ------------------------------------------------------------------ what an earlier life left */

static bool backed_below(const char *name, const char *folder)
{
    char path[320], text[4096];
    size_t len = strlen(folder);
    ssize_t n;

    (void)snprintf(path, sizeof path, "/sys/block/%s/loop/backing_file", name);
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n < 0)
        return false;
    text[n] = '\0';
    return strncmp(text, folder, len) == 0 && text[len] == '/';
}

unsigned volume_sweep(const char *scratch_path)
{
    DIR *dir = opendir("/sys/block");
    unsigned count = 0;

    if (!dir)
        return 0;
    for (const struct dirent *entry; (entry = readdir(dir));) {
        char device[300];

        if (strncmp(entry->d_name, "loop", 4) != 0 || !backed_below(entry->d_name, scratch_path))
            continue;
        (void)snprintf(device, sizeof device, "/dev/%s", entry->d_name);
        AUTO_FD int fd = open(device, O_RDWR | O_CLOEXEC);
        if (fd >= 0 && ioctl(fd, LOOP_CLR_FD) == 0)
            count++;
    }
    (void)closedir(dir);
    return count;
}
