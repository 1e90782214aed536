#include "template/sockets.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"

enum {
    /* As <netinet/tcp.h> has them, which cannot be had together with the newer <linux/tcp.h>. */
    TCP_OPEN = 1,
    TCP_CLOSED = 7,
    ATTRIBUTE_HEADER_BYTES = sizeof(struct nlattr)
};

_Static_assert(sizeof(struct sockaddr_in6) == TEMPLATE_ADDRESS_BYTES, "the longest");
_Static_assert(sizeof(struct timeval) == 2 * sizeof(uint64_t), "as it lies in template_op.times");

static bool get(int fd, int level, int name, int *ret_value)
{
    socklen_t len = sizeof *ret_value;

    return getsockopt(fd, level, name, ret_value, &len) == 0;
}

static uint64_t read_options(int fd)
{
    static const int options[TEMPLATE_SOCKET_OPTIONS][2] = {
        [TEMPLATE_SOCKET_REUSE_ADDRESS] = { SOL_SOCKET, SO_REUSEADDR },
        [TEMPLATE_SOCKET_REUSE_PORT] = { SOL_SOCKET, SO_REUSEPORT },
        [TEMPLATE_SOCKET_BROADCAST] = { SOL_SOCKET, SO_BROADCAST },
        [TEMPLATE_SOCKET_KEEP_ALIVE] = { SOL_SOCKET, SO_KEEPALIVE },
        [TEMPLATE_SOCKET_NO_DELAY] = { IPPROTO_TCP, TCP_NODELAY },
        [TEMPLATE_SOCKET_V6_ONLY] = { IPPROTO_IPV6, IPV6_V6ONLY },
    };
    uint64_t bits = 0;
    int value;

    for (unsigned i = 0; i < TEMPLATE_SOCKET_OPTIONS; i++) {
        if (get(fd, options[i][0], options[i][1], &value) && value)
            bits |= UINT64_C(1) << i;
    }
    return bits;
}

static void read_timeouts(int fd, uint64_t times[4])
{
    socklen_t len = sizeof(struct timeval);

    (void)getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, times, &len);
    len = sizeof(struct timeval);
    (void)getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, times + 2, &len);
}

static in_port_t port_of(const struct sockaddr_storage *address)
{
    struct sockaddr_in plain = { 0 };

    /* At the same place in an address of IPv6. */
    memcpy(&plain, address, sizeof plain);
    return plain.sin_port;
}

static bool is_inet(int family)
{
    return family == AF_INET || family == AF_INET6;
}

/* Had a connection once, has one, or is to have one. */
static bool tcp_was_used(int fd)
{
    struct tcp_info info = { 0 };
    socklen_t len = sizeof info;

    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 || info.tcpi_state != TCP_CLOSED ||
           info.tcpi_segs_out > 0;
}

/* A datagram socket: its peer, or else where it is bound. */
static void read_address(int fd, struct template_op *op)
{
    struct sockaddr_storage address = { 0 };
    socklen_t len = sizeof address;

    if (getpeername(fd, (struct sockaddr *)&address, &len) == 0) {
        op->b = TEMPLATE_SOCKET_PEER;
    } else {
        len = sizeof address;
        if (getsockname(fd, (struct sockaddr *)&address, &len) < 0 || port_of(&address) == 0)
            return;
        op->b = TEMPLATE_SOCKET_LOCAL;
    }
    memcpy(op->content, &address, TEMPLATE_ADDRESS_BYTES);
}

static bool is_bound(int fd, int family)
{
    struct sockaddr_storage address = { 0 };
    socklen_t len = sizeof address;

    if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        return false;
    return is_inet(family) ? port_of(&address) != 0 : len > sizeof(sa_family_t);
}

static bool is_connected(int fd)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof address;

    return getpeername(fd, (struct sockaddr *)&address, &len) == 0;
}

const char *socket_describe(int fd, struct template_op *op)
{
    int family, type, protocol, listens = 0;
    bool stream;

    if (!get(fd, SOL_SOCKET, SO_DOMAIN, &family) || !get(fd, SOL_SOCKET, SO_TYPE, &type) ||
        !get(fd, SOL_SOCKET, SO_PROTOCOL, &protocol) ||
        (!is_inet(family) && family != AF_UNIX && family != AF_NETLINK))
        return "a socket of a kind that is not known";
    if (get(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens) && listens)
        return "a socket that listens";
    stream = (family == AF_UNIX && type != SOCK_DGRAM) || (is_inet(family) && type == SOCK_STREAM);
    op->socket = TEMPLATE_SOCKET(family, type, protocol);
    op->a = read_options(fd);
    read_timeouts(fd, op->times);
    op->type = stream && (family == AF_UNIX ? is_connected(fd) : tcp_was_used(fd)) ? TEMPLATE_OP_DEAD
                                                                                   : TEMPLATE_OP_SOCKET;
    if (op->type == TEMPLATE_OP_DEAD)
        return NULL;
    if (is_inet(family) && type == SOCK_DGRAM)
        read_address(fd, op);
    else if (family != AF_NETLINK && is_bound(fd, family))
        return "a socket with a name of its own";
    return NULL;
}

bool socket_is_api(int fd, unsigned port, bool *ret_waits)
{
    struct sockaddr_in peer = { 0 };
    struct tcp_info info = { 0 };
    socklen_t peer_len = sizeof peer, info_len = sizeof info;
    int type, unread = 0;

    if (!get(fd, SOL_SOCKET, SO_TYPE, &type) || type != SOCK_STREAM ||
        getpeername(fd, (struct sockaddr *)&peer, &peer_len) < 0 || peer.sin_family != AF_INET ||
        peer.sin_addr.s_addr != htonl(INADDR_LOOPBACK) || peer.sin_port != htons((uint16_t)port) ||
        getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &info_len) < 0 || info.tcpi_state != TCP_OPEN ||
        ioctl(fd, FIONREAD, &unread) < 0)
        return false;
    /* Ages, in milliseconds. */
    *ret_waits = unread == 0 && info.tcpi_bytes_sent > 0 &&
                 (info.tcpi_bytes_received == 0 || info.tcpi_last_data_sent < info.tcpi_last_data_recv);
    return true;
}

/* ------------------------------------------------------------------ pairs */

static int ask_for_peer(int diag, uint64_t inode)
{
    struct {
        struct nlmsghdr header;
        struct unix_diag_req request;
    } message = {
        .header = { .nlmsg_len = sizeof message,
                    .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                    .nlmsg_flags = NLM_F_REQUEST },
        .request = { .sdiag_family = AF_UNIX,
                     .udiag_states = ~0U,
                     .udiag_ino = (uint32_t)inode,
                     .udiag_show = UDIAG_SHOW_PEER,
                     .udiag_cookie = { ~0U, ~0U } },
    };

    return send(diag, &message, sizeof message, 0) < 0 ? -errno : 0;
}

int socket_find_peer(uint64_t inode, uint64_t *ret_peer, bool *ret_is_shut)
{
    _Alignas(struct nlmsghdr) char answer[1024];
    const struct nlmsghdr *header = (const void *)answer;
    AUTO_FD int diag = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    int r = diag < 0 ? -errno : ask_for_peer(diag, inode);
    size_t at = NLMSG_SPACE(sizeof(struct unix_diag_msg));
    ssize_t n;

    *ret_peer = 0;
    *ret_is_shut = false;
    if (r < 0)
        return r;
    n = recv(diag, answer, sizeof answer, 0);
    if (n < (ssize_t)sizeof *header || header->nlmsg_len > (size_t)n ||
        header->nlmsg_type != SOCK_DIAG_BY_FAMILY)
        return -EPROTO;
    while (at + sizeof(struct nlattr) <= header->nlmsg_len) {
        struct nlattr attribute;
        uint32_t peer;

        memcpy(&attribute, answer + at, sizeof attribute);
        if (attribute.nla_len < sizeof attribute || attribute.nla_len > header->nlmsg_len - at)
            return -EPROTO;
        if (attribute.nla_type == UNIX_DIAG_PEER &&
            attribute.nla_len == ATTRIBUTE_HEADER_BYTES + sizeof peer) {
            memcpy(&peer, answer + at + ATTRIBUTE_HEADER_BYTES, sizeof peer);
            *ret_peer = peer;
        }
        if (attribute.nla_type == UNIX_DIAG_SHUTDOWN && attribute.nla_len > ATTRIBUTE_HEADER_BYTES)
            *ret_is_shut = answer[at + ATTRIBUTE_HEADER_BYTES] != 0;
        at += (attribute.nla_len + 3U) & ~3U; /* aligned */
    }
    return 0;
}

int socket_peek(int fd, void *data, size_t size)
{
    char control[64];
    struct iovec iov = { data, size };
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control
    };
    int waiting = 0;
    ssize_t n;

    if (ioctl(fd, FIONREAD, &waiting) < 0)
        return -errno;
    if (waiting == 0)
        return 0;
    n = recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return -errno;
    return n == waiting && message.msg_controllen == 0 && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
               ? (int)n
               : -EMSGSIZE;
}

/* The next one that was not peeked at yet: its length, or negative errno; -EAGAIN: there is none. */
static int peek_packet(int fd, void *data, size_t size)
{
    char control[64];
    struct iovec iov = { data, size };
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control
    };
    ssize_t n = recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n < 0)
        return -errno;
    return message.msg_controllen == 0 && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ? (int)n
                                                                                          : -EMSGSIZE;
}

int socket_peek_packets(int fd, uint8_t *data, size_t size)
{
    static const int begin = 0;
    uint8_t packet[UINT8_MAX];
    size_t used = 0;
    int before = -1, n;

    if (!get(fd, SOL_SOCKET, SO_PEEK_OFF, &before) ||
        setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &begin, sizeof begin) < 0)
        return -errno;
    while ((n = peek_packet(fd, packet, sizeof packet)) >= 0) {
        if (used + 1 + (size_t)n > size) {
            n = -EMSGSIZE;
            break;
        }
        data[used] = (uint8_t)n;
        memcpy(data + used + 1, packet, (size_t)n);
        used += 1 + (size_t)n;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &before, sizeof before);
    return n == -EAGAIN ? (int)used : n;
}
