/* What the launcher says to an image and to its clones. */

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "template/capture.h"

static int send_request(int control, const struct template_slot *slot, int sync)
{
    struct template_request request = {
        .format = TEMPLATE_FORMAT,
        .type = TEMPLATE_REQUEST_CLONE,
        .ns_flags = slot->ns_flags,
        .main_tid = slot->main_tid,
        .uid = slot->uid,
        .gid = slot->gid,
    };
    const int fds[TEMPLATE_FD_COUNT] = {
        [TEMPLATE_FD_SYNC] = sync,
        [TEMPLATE_FD_API] = slot->api,
        [TEMPLATE_FD_LOG] = slot->log,
        [TEMPLATE_FD_SLOT] = slot->pidfd,
    };
    struct iovec iov = { &request, sizeof request };
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof fds)];
    } ancillary = { 0 };
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary.bytes
    };

    ancillary.header.cmsg_level = SOL_SOCKET;
    ancillary.header.cmsg_type = SCM_RIGHTS;
    ancillary.header.cmsg_len = CMSG_LEN(sizeof fds);
    memcpy(CMSG_DATA(&ancillary.header), fds, sizeof fds);
    return sendmsg(control, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

int template_request_clone(int control, const struct template_slot *slot, int *ret_sync)
{
    int pair[2], on = 1, r;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    r = setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0
            ? -errno
            : send_request(control, slot, pair[1]);
    (void)close(pair[1]);
    if (r < 0) {
        (void)close(pair[0]);
        return r;
    }
    *ret_sync = pair[0];
    return 0;
}

int template_receive_report(int sync, struct template_report *ret_report, pid_t *ret_pid)
{
    struct iovec iov = { ret_report, sizeof *ret_report };
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(struct ucred))];
    } ancillary = { 0 };
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary.bytes
    };
    ssize_t n = recvmsg(sync, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct ucred sender = { 0 };

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (n != sizeof *ret_report)
        return -EPIPE;
    if (message.msg_controllen >= CMSG_LEN(sizeof sender) && ancillary.header.cmsg_type == SCM_CREDENTIALS)
        memcpy(&sender, CMSG_DATA(&ancillary.header), sizeof sender);
    *ret_pid = sender.pid;
    return 1;
}

int template_receive_reply(int control, struct template_reply *ret_reply)
{
    ssize_t n = recv(control, ret_reply, sizeof *ret_reply, MSG_DONTWAIT);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    return n == sizeof *ret_reply ? 1 : -EPIPE;
}

int template_go(int sync)
{
    return send(sync, "g", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1 ? 0 : -errno;
}

const char *template_step_name(uint32_t step)
{
    static const char *const names[TEMPLATE_STEP_COUNT] = {
        [TEMPLATE_STEP_HELLO] = "greeting",
        [TEMPLATE_STEP_ENTER] = "entering the slot",
        [TEMPLATE_STEP_CLONE] = "copying the process",
        [TEMPLATE_STEP_IDENTITY] = "identity",
        [TEMPLATE_STEP_FOLDER] = "working directory",
        [TEMPLATE_STEP_DESCRIPTOR] = "descriptor",
        [TEMPLATE_STEP_THREAD] = "thread",
        [TEMPLATE_STEP_CAPABILITIES] = "capabilities",
        [TEMPLATE_STEP_FILTER] = "system call filter",
        [TEMPLATE_STEP_DONE] = "done",
    };

    return step < TEMPLATE_STEP_COUNT ? names[step] : "unknown";
}
