/* What the launcher says to an image and to its clones. */

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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
        .join_count = slot->join_count,
    };
    int fds[TEMPLATE_FD_COUNT] = {
        [TEMPLATE_FD_SYNC] = sync,
        [TEMPLATE_FD_API] = slot->api,
        [TEMPLATE_FD_LOG] = slot->log,
        [TEMPLATE_FD_SLOT] = slot->pidfd,
    };
    size_t bytes = (TEMPLATE_FD_JOIN + slot->join_count) * sizeof *fds;
    struct iovec iov = { &request, sizeof request };
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof fds)];
    } ancillary = { 0 };
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = CMSG_SPACE(bytes)
    };

    memcpy(fds + TEMPLATE_FD_JOIN, slot->joins, slot->join_count * sizeof *fds);
    ancillary.header.cmsg_level = SOL_SOCKET;
    ancillary.header.cmsg_type = SCM_RIGHTS;
    ancillary.header.cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(&ancillary.header), fds, bytes);
    return sendmsg(control, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

int template_request_clone(int control, const struct template_slot *slot, int *ret_sync)
{
    int pair[2], r;

    if (slot->join_count > TEMPLATE_MAX_JOINS)
        return -EINVAL;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    r = send_request(control, slot, pair[1]);
    (void)close(pair[1]);
    if (r < 0) {
        (void)close(pair[0]);
        return r;
    }
    *ret_sync = pair[0];
    return 0;
}

/* 1: a message of that size; 0: none now. */
static int receive(int socket, void *message, size_t size)
{
    ssize_t n = recv(socket, message, size, MSG_DONTWAIT);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    return n == (ssize_t)size ? 1 : -EPIPE;
}

int template_receive_report(int sync, struct template_report *ret_report)
{
    return receive(sync, ret_report, sizeof *ret_report);
}

int template_receive_reply(int control, struct template_reply *ret_reply)
{
    return receive(control, ret_reply, sizeof *ret_reply);
}

const char *template_step_name(uint32_t step)
{
    static const char *const names[TEMPLATE_STEP_COUNT] = {
        [TEMPLATE_STEP_START] = "start",
        [TEMPLATE_STEP_ENTER] = "entering the slot",
        [TEMPLATE_STEP_CLONE] = "copying the process",
        [TEMPLATE_STEP_GROUP] = "control group",
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
