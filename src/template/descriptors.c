#include "template/descriptors.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "template/proc.h"
#include "template/proc_file.h"

enum { FDINFO_MAX_BYTES = 64 * 1024, TCP_MAX_BYTES = 1 << 20, LINK_BYTES = 256, MEMORY_MAJOR = 1 };

struct end {
    int fd;
    uint32_t flags;
    uint64_t inode;
    bool taken;
};

struct listing {
    pid_t pid;
    struct template_op *ops;
    uint32_t *count;
    uint64_t api_inode; /* 0 = no such connection */
    struct end pipes[TEMPLATE_MAX_OPS];
    size_t pipe_count;
    struct template_op watches[TEMPLATE_MAX_OPS];
    uint64_t watch_inodes[TEMPLATE_MAX_OPS];
    size_t watch_count;
};

static int add(struct listing *listing, const struct template_op *op, struct err *err)
{
    if (*listing->count == TEMPLATE_MAX_OPS)
        return err_set(err, ERR_LIMIT, 0, "it has more than %d descriptors", TEMPLATE_MAX_OPS);
    listing->ops[(*listing->count)++] = *op;
    return 0;
}

static int refuse(int fd, const char *link, const char *why, struct err *err)
{
    return err_set(err, ERR_CONFLICT, 0, "descriptor %d is %s (%.100s)", fd, why, link);
}

static int add_epoll(struct listing *listing, const struct template_op *op, const struct proc_fdinfo *info,
                     const char *link, struct err *err)
{
    if (info->too_many || listing->watch_count + info->watch_count > TEMPLATE_MAX_OPS)
        return refuse(op->fd, link, "an epoll that watches too much", err);
    for (size_t i = 0; i < info->watch_count; i++) {
        const struct proc_watch *watch = &info->watches[i];

        listing->watch_inodes[listing->watch_count] = watch->inode;
        listing->watches[listing->watch_count++] = (struct template_op){
            .type = TEMPLATE_OP_EPOLL_ADD,
            .fd = op->fd,
            .other = watch->fd,
            .a = watch->events,
            .b = watch->data,
        };
    }
    return add(listing, op, err);
}

static int add_pipe(struct listing *listing, const struct template_op *op, uint64_t inode, const char *link,
                    struct err *err)
{
    if (op->fd == 1 || op->fd == 2) {
        struct template_op log = *op;

        log.type = TEMPLATE_OP_LOG;
        return add(listing, &log, err);
    }
    if (listing->pipe_count == TEMPLATE_MAX_OPS)
        return refuse(op->fd, link, "one pipe too many", err);
    listing->pipes[listing->pipe_count++] = (struct end){ op->fd, op->flags, inode, false };
    return 0;
}

/* Devices without a state of their own: a clone inherits them. */
static bool is_plain_device(const struct stat *status)
{
    unsigned number = minor(status->st_rdev);

    return S_ISCHR(status->st_mode) && major(status->st_rdev) == MEMORY_MAJOR &&
           (number == 3 || number == 5 || number == 7 || number == 8 ||
            number == 9); /* null zero full random urandom */
}

static int add_file(struct listing *listing, const struct template_op *op, const struct proc_fdinfo *info,
                    const struct stat *status, const char *link, struct err *err)
{
    struct template_op file = *op;

    if (is_plain_device(status))
        return 0;
    /* A folder would show a clone the template's mounts. */
    if (!S_ISREG(status->st_mode) || (op->flags & (uint32_t)O_PATH) || strncmp(link, "/proc/", 6) == 0)
        return refuse(op->fd, link, "nothing that can be opened again", err);
    if ((op->flags & O_ACCMODE) != O_RDONLY)
        return refuse(op->fd, link, "a file open for writing", err);
    if (status->st_nlink == 0 || link[0] != '/' || strncmp(link, "/tmp/", 5) == 0 ||
        strncmp(link, "/memfd:", 7) == 0)
        return refuse(op->fd, link, "a file that clones do not have", err);
    if (info->locked)
        return refuse(op->fd, link, "a locked file", err);
    file.type = TEMPLATE_OP_FILE;
    file.a = info->position;
    return add(listing, &file, err);
}

static int add_one(struct listing *listing, int fd, const char *link, const struct proc_fdinfo *info,
                   const struct stat *status, struct err *err)
{
    struct template_op op = { .fd = fd, .other = -1, .flags = info->flags };
    uint64_t inode = proc_link_inode(link, "pipe");

    if (inode)
        return add_pipe(listing, &op, inode, link, err);
    if (proc_link_inode(link, "socket")) {
        if (!listing->api_inode || proc_link_inode(link, "socket") != listing->api_inode)
            return refuse(fd, link, "a socket", err);
        op.type = TEMPLATE_OP_API;
        return add(listing, &op, err);
    }
    switch (proc_fd_kind(link)) {
    case PROC_FD_EPOLL:
        op.type = TEMPLATE_OP_EPOLL;
        return add_epoll(listing, &op, info, link, err);
    case PROC_FD_EVENTFD:
        op.type = TEMPLATE_OP_EVENTFD;
        op.a = info->count;
        return add(listing, &op, err);
    case PROC_FD_TIMERFD:
        op.type = TEMPLATE_OP_TIMERFD;
        op.a = info->clock;
        memcpy(op.times, info->times, sizeof op.times);
        return add(listing, &op, err);
    case PROC_FD_OTHER:
        break;
    }
    return add_file(listing, &op, info, status, link, err);
}

static int read_one(struct listing *listing, int fd, struct err *err)
{
    AUTO_FREE struct proc_fdinfo *info = malloc(sizeof *info);
    AUTO_FREE char *text = proc_read(FDINFO_MAX_BYTES, "/proc/%d/fdinfo/%d", (int)listing->pid, fd);
    char path[64], link[LINK_BYTES];
    struct stat status;
    ssize_t n;

    (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)listing->pid, fd);
    n = readlink(path, link, sizeof link - 1);
    if (n < 0 || !text || !info || stat(path, &status) < 0)
        return err_set(err, ERR_SYSTEM, errno, "descriptor %d", fd);
    link[n] = '\0';
    if (fd >= TEMPLATE_FD_FLOOR)
        return refuse(fd, link, "one of a number that the restorer needs", err);
    if (!proc_parse_fdinfo(text, info))
        return refuse(fd, link, "of a kind that is not known", err);
    return add_one(listing, fd, link, info, &status, err);
}

/* ------------------------------------------------------------------ pipes */

static int copy_content(struct listing *listing, struct template_op *op, struct err *err)
{
    char path[64];
    int waiting = 0, copy[2];
    ssize_t n;

    (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)listing->pid, op->fd);
    AUTO_FD int pipe_fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

    if (pipe_fd < 0 || ioctl(pipe_fd, FIONREAD, &waiting) < 0)
        return err_set(err, ERR_SYSTEM, errno, "pipe %d", op->fd);
    if (waiting == 0)
        return 0;
    if (waiting > TEMPLATE_PIPE_BYTES)
        return refuse(op->fd, "pipe", "a pipe with much in it", err);
    if (pipe2(copy, O_CLOEXEC | O_NONBLOCK) < 0)
        return err_set(err, ERR_SYSTEM, errno, "pipe %d", op->fd);
    n = tee(pipe_fd, copy[1], (size_t)waiting, SPLICE_F_NONBLOCK);
    if (n == waiting)
        n = read(copy[0], op->content, (size_t)waiting);
    (void)close(copy[0]);
    (void)close(copy[1]);
    if (n != waiting)
        return err_set(err, ERR_SYSTEM, EIO, "pipe %d", op->fd);
    op->a = (uint64_t)waiting;
    return 0;
}

/* Both ends must be there, each once: anything else has a peer outside. */
static int pair_pipes(struct listing *listing, struct err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < listing->pipe_count; i++) {
        struct end *one = &listing->pipes[i], *other = NULL;
        bool one_reads = (one->flags & O_ACCMODE) == O_RDONLY;
        struct template_op op = { .type = TEMPLATE_OP_PIPE };

        if (one->taken)
            continue;
        for (size_t k = i + 1; k < listing->pipe_count; k++) {
            if (listing->pipes[k].inode != one->inode)
                continue;
            if (other || ((listing->pipes[k].flags & O_ACCMODE) == O_RDONLY) == one_reads)
                return refuse(one->fd, "pipe", "a pipe with more than two ends", err);
            other = &listing->pipes[k];
        }
        if (!other)
            return refuse(one->fd, "pipe", "a pipe to somebody else", err);
        one->taken = other->taken = true;
        op.fd = one_reads ? one->fd : other->fd;
        op.flags = one_reads ? one->flags : other->flags;
        op.other = one_reads ? other->fd : one->fd;
        op.other_flags = one_reads ? other->flags : one->flags;
        r = copy_content(listing, &op, err);
        if (r == 0)
            r = add(listing, &op, err);
    }
    return r;
}

/* ------------------------------------------------------------------ epoll */

/* A registration outlives the number it was made with, when the file has another one, too. */
static int add_watches(struct listing *listing, struct err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < listing->watch_count; i++) {
        char path[64];
        struct stat status;

        (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)listing->pid, listing->watches[i].other);
        if (stat(path, &status) < 0 || status.st_ino != listing->watch_inodes[i])
            return refuse(listing->watches[i].fd, "epoll", "an epoll that watches a closed descriptor", err);
        r = add(listing, &listing->watches[i], err);
    }
    return r;
}

static int list_all(struct listing *listing, struct err *err)
{
    char path[64];
    const struct dirent *entry;
    DIR *folder;
    int r = 0;

    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)listing->pid);
    folder = opendir(path);
    if (!folder)
        return err_set(err, ERR_SYSTEM, errno, "%s", path);
    while (r == 0 && (entry = readdir(folder))) {
        if (entry->d_name[0] != '.')
            r = read_one(listing, (int)strtol(entry->d_name, NULL, 10), err);
    }
    (void)closedir(folder);
    return r;
}

int descriptors_list(pid_t pid, unsigned api_port, struct template_op ops[TEMPLATE_MAX_OPS], uint32_t *count,
                     struct err *err)
{
    AUTO_FREE struct listing *listing = calloc(1, sizeof *listing);
    AUTO_FREE char *tcp = proc_read(TCP_MAX_BYTES, "/proc/%d/net/tcp", (int)pid);
    int r;

    if (!listing || !tcp)
        return err_set(err, ERR_SYSTEM, errno, "connections");
    listing->pid = pid;
    listing->ops = ops;
    listing->count = count;
    listing->api_inode = proc_find_connection(tcp, api_port);
    if (!listing->api_inode)
        return err_set(err, ERR_CONFLICT, 0, "it has not exactly one connection to the Runtime API");
    r = list_all(listing, err);
    if (r == 0)
        r = pair_pipes(listing, err);
    return r < 0 ? r : add_watches(listing, err);
}
