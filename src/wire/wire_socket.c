#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire/wire.h"

int wire_send(int socket, const void *packet, size_t len, const int *fds, size_t fd_count)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int) * WIRE_MAX_FDS)];
    } control;
    struct iovec iov = { (void *)(uintptr_t)packet, len };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t n;

    if (fd_count > WIRE_MAX_FDS || len == 0 || len > WIRE_MAX_BYTES)
        return -EINVAL;
    if (fd_count > 0) {
        struct cmsghdr *header;

        memset(&control, 0, sizeof control);
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        header = CMSG_FIRSTHDR(&msg);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(header), fds, sizeof(int) * fd_count);
    }
    do
        n = sendmsg(socket, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

/* Takes every descriptor that came, so that none leaks; more than there is room for counts as too many. */
static int take_fds(struct msghdr *msg, int fds[WIRE_MAX_FDS], size_t *count)
{
    bool too_many = msg->msg_flags & MSG_CTRUNC;

    for (struct cmsghdr *header = CMSG_FIRSTHDR(msg); header; header = CMSG_NXTHDR(msg, header)) {
        size_t n;

        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        n = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
            if (*count < WIRE_MAX_FDS) {
                fds[(*count)++] = fd;
            } else {
                (void)close(fd);
                too_many = true;
            }
        }
    }
    return too_many ? -EMSGSIZE : 0;
}

ssize_t wire_receive(int socket, void *packet, size_t size, int fds[WIRE_MAX_FDS], size_t *ret_fd_count)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int) * WIRE_MAX_FDS)];
    } control;
    struct iovec iov = { packet, size };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
    };
    size_t count = 0;
    ssize_t n;
    int r;

    do
        n = recvmsg(socket, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    r = take_fds(&msg, fds, &count);
    if (r == 0 && (msg.msg_flags & MSG_TRUNC))
        r = -EMSGSIZE;
    if (r == 0 && n == 0 && count > 0)
        r = -EMSGSIZE; /* an empty packet is not the end of the connection, and no message either */
    if (r < 0) {
        while (count > 0)
            (void)close(fds[--count]);
        return r;
    }
    *ret_fd_count = count;
    return n;
}
