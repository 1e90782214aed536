#include "bin/control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

union ancillary {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

int control_send_launcher(int control, int launcher)
{
    union ancillary space = { 0 };
    char byte = 'L';
    struct iovec part = { .iov_base = &byte, .iov_len = 1 };
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &space, .msg_controllen = sizeof space
    };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof launcher);
    memcpy(CMSG_DATA(header), &launcher, sizeof launcher);
    return sendmsg(control, &message, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

int control_receive_launcher(int control, int *ret_launcher)
{
    union ancillary space;
    char byte;
    struct iovec part = { .iov_base = &byte, .iov_len = 1 };
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &space, .msg_controllen = sizeof space
    };
    ssize_t got = recvmsg(control, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct cmsghdr *header;

    if (got < 0)
        return -errno;
    header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (!header || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof(int)))
        return 1;
    memcpy(ret_launcher, CMSG_DATA(header), sizeof(int));
    return 0;
}
