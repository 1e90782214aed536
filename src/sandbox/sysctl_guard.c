#include "sandbox/sysctl_guard.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/text.h"

#define GUARD_PARENT  "/run/irori"
#define GUARD_FOLDER  GUARD_PARENT "/net"
#define GUARD_USERS   GUARD_FOLDER "/users"
#define GUARD_LOCK    GUARD_FOLDER "/lock"
#define GUARD_SAVED   GUARD_FOLDER "/saved"
#define CONF_FOLDER   "/proc/sys/net/ipv4/conf"
#define OWN_PREFIX    "irori-"
#define STATE_MAX     ((size_t)GUARD_DEVICES_MAX * (IFNAMSIZ + 3))
#define INSTANCE_MAX  64
#define SYSCTL_PREFIX "/proc/sys/net/"

static int write_whole(int dir_fd, const char *path, int flags, const char *text, size_t len)
{
    AUTO_FD int fd = openat(dir_fd, path, flags | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
    ssize_t put;

    if (fd < 0)
        return -errno;
    put = write(fd, text, len);
    if (put < 0)
        return -errno;
    return (size_t)put == len ? 0 : -EIO;
}

int sysctl_net_write(const char *name, const char *value)
{
    char path[400];

    if ((size_t)snprintf(path, sizeof path, SYSCTL_PREFIX "%s", name) >= sizeof path)
        return -ENAMETOOLONG;
    return write_whole(AT_FDCWD, path, 0, value, strlen(value));
}

/* /proc/sys/net/ipv4/conf/NAME/forwarding: 0, 1, or -errno. */
static int forwarding_read(const char *name)
{
    char path[sizeof CONF_FOLDER + 300], value[4];
    ssize_t got;

    (void)snprintf(path, sizeof path, CONF_FOLDER "/%s/forwarding", name);
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    got = read(fd, value, sizeof value);
    if (got <= 0)
        return got < 0 ? -errno : -EIO;
    return value[0] != '0';
}

static int forwarding_write(const char *name, bool on)
{
    char path[300];

    (void)snprintf(path, sizeof path, "ipv4/conf/%s/forwarding", name);
    return sysctl_net_write(path, on ? "1" : "0");
}

/* Whether a name below conf/ is a device, and not one of ours: those come and go with us. */
static bool is_foreign_device(const char *name)
{
    return name[0] != '.' && !text_equal(name, "all") && !text_equal(name, "default") &&
           !text_starts(name, OWN_PREFIX) && strlen(name) < IFNAMSIZ;
}

/* One try: 0, -EAGAIN when the last instance removed the folder meanwhile, or another -errno. */
static int try_lock(int *ret_fd)
{
    struct stat info;

    if ((mkdir(GUARD_PARENT, 0755) < 0 && errno != EEXIST) ||
        (mkdir(GUARD_FOLDER, 0700) < 0 && errno != EEXIST))
        return errno == ENOENT ? -EAGAIN : -errno;
    AUTO_FD int fd = open(GUARD_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return errno == ENOENT ? -EAGAIN : -errno;
    while (flock(fd, LOCK_EX) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    if (fstat(fd, &info) < 0 || info.st_nlink == 0)
        return -EAGAIN;
    if (mkdir(GUARD_USERS, 0700) < 0 && errno != EEXIST)
        return -errno;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int guard_lock(int *ret_fd, struct err *err)
{
    int r;

    do
        r = try_lock(ret_fd);
    while (r == -EAGAIN);
    return r < 0 ? err_set(err, ERR_SYSTEM, -r, "cannot lock %s", GUARD_LOCK) : 0;
}

void guard_state_done(struct guard_state *state)
{
    free(state->devices);
    *state = (struct guard_state){ 0 };
}

static int state_add(struct guard_state *state, const char *name, size_t len, bool on)
{
    struct guard_device *grown;

    if (state->count == GUARD_DEVICES_MAX)
        return -E2BIG;
    grown = reallocarray(state->devices, state->count + 1, sizeof *grown);
    if (!grown)
        return -ENOMEM;
    state->devices = grown;
    grown += state->count++;
    *grown = (struct guard_device){ .forwarding = on };
    memcpy(grown->name, name, len);
    return 0;
}

int guard_state_write(const struct guard_state *state, struct buf *out)
{
    (void)buf_printf(out, "all %d\ndefault %d\n", state->all, state->by_default);
    for (size_t i = 0; i < state->count; i++)
        (void)buf_printf(out, "%s %d\n", state->devices[i].name, state->devices[i].forwarding);
    return out->failed ? -ENOMEM : 0;
}

/* "NAME 0" or "NAME 1", without the line's end. */
static int state_read_line(const char *line, size_t len, struct guard_state *state)
{
    size_t name = len < 3 ? 0 : len - 2;

    if (name == 0 || name >= IFNAMSIZ || line[name] != ' ' || (line[len - 1] | 1) != '1' ||
        memchr(line, '\0', len) || memchr(line, '/', len) || memchr(line, ' ', name) || line[0] == '.')
        return -EINVAL;
    if (text_equal_nocase(line, name, "all"))
        state->all = line[len - 1] == '1';
    else if (text_equal_nocase(line, name, "default"))
        state->by_default = line[len - 1] == '1';
    else
        return state_add(state, line, name, line[len - 1] == '1');
    return 0;
}

int guard_state_read(const char *text, size_t len, struct guard_state *ret_state)
{
    struct guard_state state = { 0 };

    while (len > 0) {
        const char *end = memchr(text, '\n', len);
        int r = end ? state_read_line(text, (size_t)(end - text), &state) : -EINVAL;

        if (r < 0) {
            guard_state_done(&state);
            return r;
        }
        len -= (size_t)(end + 1 - text);
        text = end + 1;
    }
    *ret_state = state;
    return 0;
}

static int state_load(struct guard_state *ret_state)
{
    AUTO_FD int fd = open(GUARD_SAVED, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    AUTO_BUF struct buf text = BUF_INIT(STATE_MAX);
    ssize_t got;

    if (fd < 0)
        return -errno;
    do {
        if (buf_reserve(&text, 4096) < 0)
            return -EMSGSIZE;
        got = read(fd, text.data + text.len, 4096);
        if (got < 0)
            return -errno;
        text.len += (size_t)got;
    } while (got > 0);
    return guard_state_read(text.data, text.len, ret_state);
}

/* Complete or not at all: a crash between two writes must not leave half of it. */
static int state_save(const struct guard_state *state)
{
    AUTO_BUF struct buf text = BUF_INIT(STATE_MAX);
    int r = guard_state_write(state, &text);

    if (r == 0)
        r = write_whole(AT_FDCWD, GUARD_SAVED ".new", O_CREAT | O_TRUNC, text.data, text.len);
    if (r == 0 && rename(GUARD_SAVED ".new", GUARD_SAVED) < 0)
        r = -errno;
    return r;
}

/* The settings of this moment. */
static int state_observe(struct guard_state *ret_state)
{
    int all = forwarding_read("all"), by_default = forwarding_read("default"), r = 0;
    struct guard_state state = { .all = all == 1, .by_default = by_default == 1 };
    DIR *folder = all < 0 || by_default < 0 ? NULL : opendir(CONF_FOLDER);

    if (!folder)
        return all < 0 ? all : by_default < 0 ? by_default : -errno;
    for (const struct dirent *at = readdir(folder); at && r == 0; at = readdir(folder)) {
        int on = is_foreign_device(at->d_name) ? forwarding_read(at->d_name) : -ENODEV;

        if (on >= 0)
            r = state_add(&state, at->d_name, strlen(at->d_name), on == 1);
    }
    (void)closedir(folder);
    if (r < 0)
        guard_state_done(&state);
    else
        *ret_state = state;
    return r;
}

static void user_path(const char *instance, char path[static sizeof GUARD_USERS + INSTANCE_MAX])
{
    (void)snprintf(path, sizeof GUARD_USERS + INSTANCE_MAX, GUARD_USERS "/%.*s", INSTANCE_MAX - 2, instance);
}

/* Whether another process than this one holds the instance's record lock. */
static bool user_is_alive(const char *instance)
{
    char path[sizeof GUARD_USERS + INSTANCE_MAX];
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

    user_path(instance, path);
    AUTO_FD int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 && fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* Whether another instance than this one is alive; forgets the dead ones. */
static bool others_are_alive(const char *instance)
{
    DIR *folder = opendir(GUARD_USERS);
    bool alive = false;

    if (!folder)
        return false;
    for (const struct dirent *at = readdir(folder); at; at = readdir(folder)) {
        char path[sizeof GUARD_USERS + INSTANCE_MAX];

        if (at->d_name[0] == '.' || text_equal(at->d_name, instance))
            continue;
        if (user_is_alive(at->d_name)) {
            alive = true;
            continue;
        }
        user_path(at->d_name, path);
        (void)unlink(path);
    }
    (void)closedir(folder);
    return alive;
}

static bool state_is_overridden(const struct guard_state *before)
{
    return !before->all && forwarding_read("all") == 1;
}

bool guard_is_overridden(const struct guard *guard)
{
    return state_is_overridden(&guard->before);
}

static bool state_had_forwarding(const struct guard_state *state, const char *name)
{
    for (size_t i = 0; i < state->count; i++) {
        if (text_equal(state->devices[i].name, name))
            return state->devices[i].forwarding;
    }
    return state->by_default; /* it came later, and would have begun so */
}

static int devices_each(const struct guard_state *before, bool enable)
{
    DIR *folder = opendir(CONF_FOLDER);
    int first_error = 0;

    if (!folder)
        return -errno;
    for (const struct dirent *at = readdir(folder); at; at = readdir(folder)) {
        int r = 0;

        if (!is_foreign_device(at->d_name) || forwarding_read(at->d_name) != !enable)
            continue;
        if (enable || !state_had_forwarding(before, at->d_name))
            r = forwarding_write(at->d_name, enable);
        if (r < 0 && r != -ENOENT && first_error == 0)
            first_error = r; /* ENOENT: the device has just gone */
    }
    (void)closedir(folder);
    return first_error;
}

/* With the lock held, and nobody left. */
static void restore(void)
{
    struct guard_state before = { 0 };

    if (state_load(&before) == 0) {
        if (!state_is_overridden(&before)) {
            if (!before.by_default && forwarding_read("default") == 1)
                (void)forwarding_write("default", false);
            (void)devices_each(&before, false);
        }
        guard_state_done(&before);
    }
    (void)unlink(GUARD_SAVED);
    (void)unlink(GUARD_SAVED ".new");
}

int guard_enter(struct guard *guard, const char *instance, struct err *err)
{
    char path[sizeof GUARD_USERS + INSTANCE_MAX];
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    int r;

    user_path(instance, path);
    AUTO_FD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_set(err, ERR_SYSTEM, errno, "cannot open %s", path);
    if (fcntl(fd, F_SETLK, &lock) < 0)
        return err_set(err, ERR_CONFLICT, EBUSY, "instance %s is already running", instance);
    if (!others_are_alive(instance))
        restore(); /* what the last of the dead did not put back must not be taken for the original */
    r = state_load(&guard->before);
    if (r < 0) {
        r = state_observe(&guard->before);
        if (r == 0)
            r = state_save(&guard->before);
    }
    if (r < 0)
        return err_set(err, ERR_SYSTEM, -r, "cannot save the forwarding settings in %s", GUARD_SAVED);
    guard->user_fd = TAKE_FD(fd);
    return 0;
}

int guard_enable(const struct guard *guard, struct err *err)
{
    int r = 0;

    if (forwarding_read("default") == 0)
        r = forwarding_write("default", true);
    if (r == 0)
        r = devices_each(&guard->before, true);
    return r < 0 ? err_set(err, ERR_SYSTEM, -r, "cannot turn on IPv4 forwarding") : 0;
}

/* With the lock held: the instance is gone. */
static void forget(const char *instance)
{
    char path[sizeof GUARD_USERS + INSTANCE_MAX];

    user_path(instance, path);
    (void)unlink(path);
    if (others_are_alive(instance))
        return;
    restore();
    /* Whoever waits for the lock finds it without a name, and starts over. */
    (void)unlink(GUARD_LOCK);
    (void)rmdir(GUARD_USERS);
    (void)rmdir(GUARD_FOLDER);
    (void)rmdir(GUARD_PARENT);
}

void guard_leave(struct guard *guard, const char *instance)
{
    if (guard->user_fd < 0)
        return;
    AUTO_FD int lock_fd = -1;
    (void)guard_lock(&lock_fd, NULL);
    forget(instance);
    (void)close(guard->user_fd);
    guard->user_fd = -1;
    guard_state_done(&guard->before);
}

int guard_sweep(const char *instance, struct err *err)
{
    AUTO_FD int lock_fd = -1;
    int r = guard_lock(&lock_fd, err);

    if (r < 0)
        return r;
    if (user_is_alive(instance))
        return err_set(err, ERR_CONFLICT, EBUSY, "instance %s is already running", instance);
    forget(instance);
    return 0;
}
