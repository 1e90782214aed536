#include "template/descriptors.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "template/eventfd.h"
#include "template/proc.h"
#include "template/proc_file.h"
#include "template/sockets.h"

enum {
    FDINFO_MAX_BYTES = 64 * 1024,
    LINK_BYTES = 4096,
    MEMORY_MAJOR = 1,
    API_CONNECTIONS = 16,
    MQUEUE_MAGIC = 0x19800202
};

struct end {
    int fd;
    uint32_t flags;
    uint64_t inode;
    bool taken;
};

/* Of an AF_UNIX socket, which may be one of a pair. */
struct local {
    struct template_op op; /* what it is by itself */
    uint64_t inode, peer;
    bool is_shut; /* in one direction or both */
    bool taken;
};

/* A connection to the Runtime API. */
struct api {
    struct template_op op; /* what it is if it is not the one that waits */
    bool waits;
};

struct seen {
    int fd;
    dev_t device;
    ino_t inode;
};

struct listing {
    const struct descriptors_source *source;
    struct template_data *data;
    int pidfd;
    uint32_t dead;
    struct seen seen[TEMPLATE_MAX_OPS];
    size_t seen_count;
    struct api apis[API_CONNECTIONS];
    size_t api_count;
    struct end pipes[TEMPLATE_MAX_OPS];
    size_t pipe_count;
    struct local locals[TEMPLATE_MAX_OPS];
    size_t local_count;
    struct template_op duplicates[TEMPLATE_MAX_OPS];
    size_t duplicate_count;
    struct template_op watches[TEMPLATE_MAX_OPS];
    uint64_t watch_inodes[TEMPLATE_MAX_OPS];
    size_t watch_count;
};

static int add(struct listing *listing, const struct template_op *op, struct err *err)
{
    if (listing->data->op_count == TEMPLATE_MAX_OPS)
        return err_set(err, ERR_LIMIT, 0, "it has more than %d descriptors", TEMPLATE_MAX_OPS);
    listing->data->ops[listing->data->op_count++] = *op;
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

static int add_eventfd(struct listing *listing, struct template_op *op, const struct proc_fdinfo *info,
                       struct err *err)
{
    int semaphore = info->semaphore;

    op->type = TEMPLATE_OP_EVENTFD;
    op->a = info->count;
    if (semaphore < 0) {
        AUTO_FD int fd = (int)syscall(SYS_pidfd_getfd, listing->pidfd, op->fd, 0);

        semaphore = fd < 0 ? -errno : eventfd_is_semaphore(fd, info->count);
    }
    if (semaphore < 0)
        return err_set(err, ERR_SYSTEM, -semaphore, "descriptor %d", op->fd);
    op->b = (uint64_t)semaphore;
    return add(listing, op, err);
}

/* One that has expired and was not read yet stands still, also one with an interval: it expires in each
 * clone at once. */
static int add_timer(struct listing *listing, struct template_op *op, const struct proc_fdinfo *info,
                     const char *link, struct err *err)
{
    if (info->ticks > 1)
        return refuse(op->fd, link, "a timer that has expired several times since it was read", err);
    op->type = TEMPLATE_OP_TIMERFD;
    op->a = info->clock;
    memcpy(op->times, info->times, sizeof op->times);
    if (info->ticks > 0) {
        op->times[2] = 0;
        op->times[3] = 1;
    }
    return add(listing, op, err);
}

/* The log may have been duplicated, and standard output may be something else by now. */
static bool is_log(const struct listing *listing, const struct template_op *op, uint64_t inode)
{
    if (listing->source->log_inode == 0)
        return op->fd == 1 || op->fd == 2;
    return inode == listing->source->log_inode && (op->flags & O_ACCMODE) == O_WRONLY;
}

static int add_pipe(struct listing *listing, const struct template_op *op, uint64_t inode, const char *link,
                    struct err *err)
{
    if (is_log(listing, op, inode)) {
        struct template_op log = *op;

        log.type = TEMPLATE_OP_LOG;
        return add(listing, &log, err);
    }
    if (op->flags & O_DIRECT)
        return refuse(op->fd, link, "a pipe of packets", err);
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

/* Looks like a file at the root, and would be the template's in every clone. */
static bool is_queue(const struct listing *listing, int fd)
{
    char path[64];
    struct statfs status;

    (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)listing->source->pid, fd);
    return statfs(path, &status) == 0 && (unsigned long)status.f_type == MQUEUE_MAGIC;
}

/* A copy of it will be in the clone's own /tmp. */
static int add_tmp_file(struct listing *listing, const struct template_op *op, const char *link,
                        struct err *err)
{
    struct template_op file = *op;
    size_t bytes = strlen(link) + 1;

    if (bytes > sizeof listing->data->paths - listing->data->paths_used)
        return refuse(op->fd, link, "one file too many in /tmp", err);
    file.type = TEMPLATE_OP_TMP;
    file.b = listing->data->paths_used;
    memcpy(listing->data->paths + listing->data->paths_used, link, bytes);
    listing->data->paths_used += (uint32_t)bytes;
    return add(listing, &file, err);
}

static int add_file(struct listing *listing, const struct template_op *op, const struct proc_fdinfo *info,
                    const struct stat *status, const char *link, struct err *err)
{
    struct template_op file = *op;
    bool in_tmp = strncmp(link, "/tmp/", 5) == 0;

    /* Opened anew like a file: the flags of one that is shared could be set by one clone and read by another.
     */
    if (is_plain_device(status) && strncmp(link, "/dev/", 5) == 0) {
        file.type = TEMPLATE_OP_FILE;
        file.a = 0;
        return add(listing, &file, err);
    }
    if (is_plain_device(status))
        return refuse(op->fd, link, "a device under another name", err);
    /* A folder would show a clone the template's mounts. */
    if (!S_ISREG(status->st_mode) || (op->flags & (uint32_t)O_PATH) || strncmp(link, "/proc/", 6) == 0)
        return refuse(op->fd, link, "nothing that can be opened again", err);
    if (is_queue(listing, op->fd))
        return refuse(op->fd, link, "a POSIX message queue", err);
    if (status->st_nlink == 0)
        return refuse(op->fd, link, "a deleted file", err);
    if (link[0] != '/' || strncmp(link, "/memfd:", 7) == 0 || (in_tmp && !listing->source->function))
        return refuse(op->fd, link, "a file that clones do not have", err);
    if (info->locked)
        return refuse(op->fd, link, "a locked file", err);
    file.a = info->position;
    if (in_tmp)
        return add_tmp_file(listing, &file, link, err);
    if ((op->flags & O_ACCMODE) != O_RDONLY)
        return refuse(op->fd, link, "a file open for writing", err);
    file.type = TEMPLATE_OP_FILE;
    return add(listing, &file, err);
}

/* ------------------------------------------------------------------ sockets */

static int add_local(struct listing *listing, const struct template_op *op, uint64_t inode, const char *link,
                     struct err *err)
{
    struct local *local = &listing->locals[listing->local_count];
    int r;

    if (listing->local_count == TEMPLATE_MAX_OPS)
        return refuse(op->fd, link, "one socket too many", err);
    *local = (struct local){ .op = *op, .inode = inode };
    r = socket_find_peer(inode, &local->peer, &local->is_shut);
    if (r < 0)
        return err_set(err, ERR_SYSTEM, -r,
                       "descriptor %d: the other end of a socket (the kernel needs CONFIG_UNIX_DIAG)",
                       op->fd);
    listing->local_count++;
    return 0;
}

static int add_socket(struct listing *listing, struct template_op *op, uint64_t inode, const char *link,
                      struct err *err)
{
    const char *why;
    bool waits = false, is_api;
    AUTO_FD int socket = (int)syscall(SYS_pidfd_getfd, listing->pidfd, op->fd, 0);

    if (socket < 0)
        return err_set(err, ERR_SYSTEM, errno, "descriptor %d", op->fd);
    is_api = socket_is_api(socket, listing->source->api_port, &waits);
    if (!is_api && !listing->source->function)
        return refuse(op->fd, link, "a socket", err);
    why = socket_describe(socket, op);
    if (is_api && listing->api_count < API_CONNECTIONS) {
        listing->apis[listing->api_count++] = (struct api){ *op, waits };
        return 0;
    }
    if (why)
        return refuse(op->fd, link, why, err);
    if (TEMPLATE_SOCKET_FAMILY(op->socket) == AF_UNIX)
        return add_local(listing, op, inode, link, err);
    listing->dead += op->type == TEMPLATE_OP_DEAD;
    return add(listing, op, err);
}

/* Clients of other things, of credentials above all, may have connections to the Runtime API as well. */
static int choose_api(struct listing *listing, struct err *err)
{
    struct api *chosen = NULL;
    size_t waiting = 0;
    int r = 0;

    for (size_t i = 0; i < listing->api_count; i++) {
        if (listing->api_count > 1 && !listing->apis[i].waits)
            continue;
        chosen = &listing->apis[i];
        waiting++;
    }
    if (waiting != 1 || (listing->api_count > 1 && !listing->source->function))
        return err_set(err, ERR_CONFLICT, 0,
                       "it has not exactly one connection on which it waits for the Runtime API");
    for (size_t i = 0; r == 0 && i < listing->api_count; i++) {
        if (&listing->apis[i] == chosen)
            chosen->op.type = TEMPLATE_OP_API;
        else
            listing->dead++;
        r = add(listing, &listing->apis[i].op, err);
    }
    return r;
}

/* What waits in a socket of a pair, into content. */
static int copy_waiting(const struct listing *listing, int fd, bool is_stream,
                        uint8_t content[TEMPLATE_PAIR_BYTES], uint64_t *ret_len, struct err *err)
{
    AUTO_FD int socket = (int)syscall(SYS_pidfd_getfd, listing->pidfd, fd, 0);
    int n = socket < 0  ? -errno
            : is_stream ? socket_peek(socket, content, TEMPLATE_PAIR_BYTES)
                        : socket_peek_packets(socket, content, TEMPLATE_PAIR_BYTES);

    if (n < 0)
        return refuse(fd, "socket", "one of a pair with much in it", err);
    *ret_len = (uint64_t)n;
    return 0;
}

static int add_pair(struct listing *listing, const struct local *one, const struct local *other,
                    struct err *err)
{
    struct template_op op = { .type = TEMPLATE_OP_PAIR,
                              .fd = one->op.fd,
                              .other = other->op.fd,
                              .flags = one->op.flags,
                              .other_flags = other->op.flags,
                              .socket = one->op.socket };
    bool is_stream = TEMPLATE_SOCKET_TYPE(op.socket) == SOCK_STREAM;
    int r = one->is_shut || other->is_shut ? refuse(op.fd, "socket", "one of a pair that is shut down", err)
                                           : copy_waiting(listing, op.fd, is_stream, op.content, &op.a, err);

    if (r == 0)
        r = copy_waiting(listing, op.other, is_stream, op.content + TEMPLATE_PAIR_BYTES, &op.b, err);
    return r < 0 ? r : add(listing, &op, err);
}

/* Those whose peer is one of the process's own stay connected. */
static int pair_locals(struct listing *listing, struct err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < listing->local_count; i++) {
        struct local *one = &listing->locals[i], *other = NULL;

        for (size_t k = i + 1; !one->taken && k < listing->local_count; k++) {
            if (listing->locals[k].inode == one->peer && listing->locals[k].peer == one->inode)
                other = &listing->locals[k];
        }
        if (one->taken)
            continue;
        if (other) {
            other->taken = true;
            r = add_pair(listing, one, other, err);
            continue;
        }
        listing->dead += one->op.type == TEMPLATE_OP_DEAD;
        r = add(listing, &one->op, err);
    }
    return r;
}

/* ------------------------------------------------------------------ one of them */

/* Several descriptors may be one open file, with one position and one set of flags. */
static int find_original(const struct listing *listing, int fd, const struct stat *status)
{
    pid_t pid = listing->source->pid;

    for (size_t i = 0; i < listing->seen_count; i++) {
        const struct seen *seen = &listing->seen[i];

        if (seen->device == status->st_dev && seen->inode == status->st_ino &&
            syscall(SYS_kcmp, pid, pid, KCMP_FILE, seen->fd, fd) == 0)
            return seen->fd;
    }
    return -1;
}

static int add_one(struct listing *listing, int fd, const char *link, const struct proc_fdinfo *info,
                   const struct stat *status, struct err *err)
{
    struct template_op op = { .fd = fd, .other = -1, .flags = info->flags };
    uint64_t inode = proc_link_inode(link, "pipe");

    if (inode)
        return add_pipe(listing, &op, inode, link, err);
    if ((inode = proc_link_inode(link, "socket")) != 0)
        return add_socket(listing, &op, inode, link, err);
    switch (proc_fd_kind(link)) {
    case PROC_FD_EPOLL:
        op.type = TEMPLATE_OP_EPOLL;
        return add_epoll(listing, &op, info, link, err);
    case PROC_FD_EVENTFD:
        return add_eventfd(listing, &op, info, err);
    case PROC_FD_TIMERFD:
        return add_timer(listing, &op, info, link, err);
    case PROC_FD_OTHER:
        break;
    }
    return add_file(listing, &op, info, status, link, err);
}

static int read_one(struct listing *listing, int fd, struct err *err)
{
    AUTO_FREE struct proc_fdinfo *info = malloc(sizeof *info);
    AUTO_FREE char *text = proc_read(FDINFO_MAX_BYTES, "/proc/%d/fdinfo/%d", (int)listing->source->pid, fd);
    char path[64], link[LINK_BYTES];
    struct stat status;
    int original;
    ssize_t n;

    (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)listing->source->pid, fd);
    n = readlink(path, link, sizeof link);
    if (n < 0 || !text || !info || stat(path, &status) < 0)
        return err_set(err, ERR_SYSTEM, errno, "descriptor %d", fd);
    if (n == sizeof link)
        return err_set(err, ERR_CONFLICT, 0, "descriptor %d has a path that is too long", fd);
    link[n] = '\0';
    if (fd >= TEMPLATE_FD_FLOOR)
        return refuse(fd, link, "one of a number that the restorer needs", err);
    if (!proc_parse_fdinfo(text, info))
        return refuse(fd, link, "of a kind that is not known", err);
    if (listing->seen_count == TEMPLATE_MAX_OPS)
        return err_set(err, ERR_LIMIT, 0, "it has more than %d descriptors", TEMPLATE_MAX_OPS);
    original = find_original(listing, fd, &status);
    if (original >= 0) {
        listing->duplicates[listing->duplicate_count++] = (struct template_op){
            .type = TEMPLATE_OP_DUP, .fd = fd, .other = original, .flags = info->flags
        };
        return 0;
    }
    listing->seen[listing->seen_count++] = (struct seen){ fd, status.st_dev, status.st_ino };
    return add_one(listing, fd, link, info, &status, err);
}

/* ------------------------------------------------------------------ pipes */

static int copy_content(struct listing *listing, struct template_op *op, struct err *err)
{
    char path[64];
    int waiting = 0, copy[2];
    ssize_t n;

    (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)listing->source->pid, op->fd);
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

        (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)listing->source->pid,
                       listing->watches[i].other);
        if (stat(path, &status) < 0 || status.st_ino != listing->watch_inodes[i])
            return refuse(listing->watches[i].fd, "epoll", "an epoll that watches a closed descriptor", err);
        r = add(listing, &listing->watches[i], err);
    }
    return r;
}

static int add_duplicates(struct listing *listing, struct err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < listing->duplicate_count; i++)
        r = add(listing, &listing->duplicates[i], err);
    return r;
}

static int list_all(struct listing *listing, struct err *err)
{
    char path[64];
    const struct dirent *entry;
    DIR *folder;
    int r = 0;

    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)listing->source->pid);
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

int descriptors_list(const struct descriptors_source *source, struct template_data *data, uint32_t *ret_dead,
                     struct err *err)
{
    AUTO_FREE struct listing *listing = calloc(1, sizeof *listing);
    AUTO_FD int pidfd = (int)syscall(SYS_pidfd_open, source->pid, 0);
    int r;

    if (!listing || pidfd < 0)
        return err_set(err, ERR_SYSTEM, errno, "connections");
    listing->source = source;
    listing->data = data;
    listing->pidfd = pidfd;
    r = list_all(listing, err);
    if (r == 0)
        r = choose_api(listing, err);
    if (r == 0)
        r = pair_pipes(listing, err);
    if (r == 0)
        r = pair_locals(listing, err);
    if (r == 0)
        r = add_duplicates(listing, err);
    *ret_dead = listing->dead;
    return r < 0 ? r : add_watches(listing, err);
}
