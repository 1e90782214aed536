#include "sandbox/netlink_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/cleanup.h"

enum { NL_ANSWER_BYTES = 32768, NL_TIMEOUT_S = 5 };

int nl_open(int protocol, uint32_t groups, int *ret_fd)
{
    struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = groups };
    struct timeval timeout = { .tv_sec = NL_TIMEOUT_S };
    AUTO_FD int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
    int one = 1;

    if (fd < 0)
        return -errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    /* Error answers repeat the request otherwise. */
    (void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return -errno;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

void nl_batch_init(struct nl_batch *batch)
{
    batch->len = 0;
    batch->message = 0;
    batch->count = 0;
    batch->overflow = false;
}

/* Room of len bytes, padded and zeroed, or NULL. */
static void *batch_room(struct nl_batch *batch, size_t len)
{
    size_t padded = NLMSG_ALIGN(len);
    unsigned char *at = batch->data + batch->len;

    if (batch->overflow || padded > NL_BATCH_BYTES - batch->len) {
        batch->overflow = true;
        return NULL;
    }
    memset(at, 0, padded);
    batch->len += padded;
    return at;
}

static void batch_set_message_len(struct nl_batch *batch)
{
    struct nlmsghdr *header = (struct nlmsghdr *)(void *)(batch->data + batch->message);

    header->nlmsg_len = (uint32_t)(batch->len - batch->message);
}

void nl_begin(struct nl_batch *batch, uint16_t type, unsigned flags, const void *body, size_t len)
{
    size_t start = batch->len;
    struct nlmsghdr *header = batch_room(batch, sizeof *header);
    void *at = batch_room(batch, len);

    if (!header || !at)
        return;
    memcpy(at, body, len);
    header->nlmsg_type = type;
    header->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    header->nlmsg_seq = ++batch->count;
    batch->message = start;
    batch_set_message_len(batch);
}

void nl_attr(struct nl_batch *batch, unsigned type, const void *value, size_t len)
{
    struct rtattr *attr = batch_room(batch, RTA_LENGTH(len));

    if (!attr)
        return;
    attr->rta_type = (unsigned short)type;
    attr->rta_len = (unsigned short)RTA_LENGTH(len);
    if (len > 0)
        memcpy(RTA_DATA(attr), value, len);
    batch_set_message_len(batch);
}

static void nl_attr_u32(struct nl_batch *batch, unsigned type, uint32_t value)
{
    nl_attr(batch, type, &value, sizeof value);
}

static void nl_attr_ip4(struct nl_batch *batch, unsigned type, uint32_t address)
{
    nl_attr_u32(batch, type, htonl(address));
}

static void nl_attr_text(struct nl_batch *batch, unsigned type, const char *text)
{
    nl_attr(batch, type, text, strlen(text) + 1);
}

size_t nl_nest(struct nl_batch *batch, unsigned type)
{
    size_t start = batch->len;

    nl_attr(batch, type, NULL, 0);
    return start;
}

void nl_nest_end(struct nl_batch *batch, size_t start)
{
    struct rtattr *attr = (struct rtattr *)(void *)(batch->data + start);

    if (!batch->overflow)
        attr->rta_len = (unsigned short)(batch->len - start);
}

/* Takes one datagram of acknowledgements; counts them and keeps the first error. */
static int read_acks(int fd, uint32_t *acks, int *first_error)
{
    _Alignas(8) char answer[NL_ANSWER_BYTES];
    ssize_t got = recv(fd, answer, sizeof answer, 0);
    size_t left;

    if (got < 0)
        return errno == EINTR ? 0 : -errno;
    left = (size_t)got;
    for (struct nlmsghdr *at = (struct nlmsghdr *)(void *)answer; NLMSG_OK(at, left);
         at = NLMSG_NEXT(at, left)) {
        const struct nlmsgerr *result = NLMSG_DATA(at);

        if (at->nlmsg_type != NLMSG_ERROR || at->nlmsg_len < NLMSG_LENGTH(sizeof *result))
            continue;
        ++*acks;
        if (result->error < 0 && *first_error == 0)
            *first_error = result->error;
    }
    return 0;
}

int nl_commit(int fd, struct nl_batch *batch)
{
    uint32_t acks = 0;
    int first_error = 0;
    ssize_t sent;

    if (batch->overflow)
        return -EMSGSIZE;
    do
        sent = send(fd, batch->data, batch->len, 0);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return -errno;
    while (acks < batch->count) {
        int r = read_acks(fd, &acks, &first_error);

        if (r < 0)
            return r;
    }
    return first_error;
}

/* Name, index, address and queues of one end. One queue each: the kernel would make one per processor. */
static void veth_attributes(struct nl_batch *batch, const struct nl_veth_end *end)
{
    nl_attr_text(batch, IFLA_IFNAME, end->name);
    nl_attr(batch, IFLA_ADDRESS, end->mac, sizeof end->mac);
    nl_attr_u32(batch, IFLA_NUM_TX_QUEUES, 1);
    nl_attr_u32(batch, IFLA_NUM_RX_QUEUES, 1);
}

void nl_add_veth(struct nl_batch *batch, const struct nl_veth_end *near, const struct nl_veth_end *far,
                 int far_netns_fd)
{
    struct ifinfomsg header = { .ifi_index = near->ifindex }, far_header = { .ifi_index = far->ifindex };
    size_t info, data, peer;
    void *room;

    nl_begin(batch, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof header);
    veth_attributes(batch, near);
    info = nl_nest(batch, IFLA_LINKINFO);
    nl_attr_text(batch, IFLA_INFO_KIND, "veth");
    data = nl_nest(batch, IFLA_INFO_DATA);
    peer = nl_nest(batch, VETH_INFO_PEER);
    room = batch_room(batch, sizeof far_header);
    if (room)
        memcpy(room, &far_header, sizeof far_header);
    veth_attributes(batch, far);
    nl_attr_u32(batch, IFLA_NET_NS_FD, (uint32_t)far_netns_fd);
    nl_nest_end(batch, peer);
    nl_nest_end(batch, data);
    nl_nest_end(batch, info);
}

void nl_link_up(struct nl_batch *batch, int ifindex)
{
    struct ifinfomsg header = { .ifi_index = ifindex, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };

    nl_begin(batch, RTM_NEWLINK, 0, &header, sizeof header);
}

void nl_link_delete(struct nl_batch *batch, const char *name)
{
    struct ifinfomsg header = { 0 };

    nl_begin(batch, RTM_DELLINK, 0, &header, sizeof header);
    nl_attr_text(batch, IFLA_IFNAME, name);
}

void nl_add_address(struct nl_batch *batch, int ifindex, uint32_t address, unsigned prefix)
{
    struct ifaddrmsg header = { .ifa_family = AF_INET,
                                .ifa_prefixlen = (unsigned char)prefix,
                                .ifa_index = (uint32_t)ifindex };

    nl_begin(batch, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof header);
    nl_attr_ip4(batch, IFA_LOCAL, address);
    nl_attr_ip4(batch, IFA_ADDRESS, address);
}

void nl_add_route(struct nl_batch *batch, int ifindex, uint32_t address, unsigned prefix, uint32_t gateway)
{
    struct rtmsg header = { .rtm_family = AF_INET,
                            .rtm_dst_len = (unsigned char)prefix,
                            .rtm_table = RT_TABLE_MAIN,
                            .rtm_protocol = RTPROT_STATIC,
                            .rtm_scope = gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK,
                            .rtm_type = RTN_UNICAST,
                            .rtm_flags = gateway ? RTNH_F_ONLINK : 0 };

    nl_begin(batch, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &header, sizeof header);
    if (prefix > 0)
        nl_attr_ip4(batch, RTA_DST, address);
    if (gateway)
        nl_attr_ip4(batch, RTA_GATEWAY, gateway);
    nl_attr_u32(batch, RTA_OIF, (uint32_t)ifindex);
}

void nl_add_neighbour(struct nl_batch *batch, int ifindex, uint32_t address, const uint8_t mac[NL_MAC_BYTES])
{
    struct ndmsg header = { .ndm_family = AF_INET, .ndm_ifindex = ifindex, .ndm_state = NUD_PERMANENT };

    nl_begin(batch, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &header, sizeof header);
    nl_attr_ip4(batch, NDA_DST, address);
    nl_attr(batch, NDA_LLADDR, mac, NL_MAC_BYTES);
}

struct range_list {
    unsigned kinds;
    struct nl_range *out;
    size_t count, max;
    bool full;
};

static void range_push(struct range_list *list, uint32_t address, unsigned prefix)
{
    uint32_t mask = prefix == 0 ? 0 : UINT32_MAX << (32 - prefix);

    if (prefix > 32)
        return;
    if (list->count == list->max) {
        list->full = true;
        return;
    }
    list->out[list->count++] = (struct nl_range){ address & mask, prefix };
}

/* The IPv4 address in the attribute of that type, in host order. */
static bool find_ip4(const struct rtattr *attr, size_t len, unsigned type, uint32_t *ret)
{
    for (; RTA_OK(attr, len); attr = RTA_NEXT(attr, len)) {
        uint32_t value;

        if (attr->rta_type != type || RTA_PAYLOAD(attr) != sizeof value)
            continue;
        memcpy(&value, RTA_DATA(attr), sizeof value);
        *ret = ntohl(value);
        return true;
    }
    return false;
}

static void range_from_address(struct range_list *list, const struct nlmsghdr *message)
{
    const struct ifaddrmsg *header = NLMSG_DATA(message);
    const struct rtattr *attrs = IFA_RTA(header);
    size_t len = IFA_PAYLOAD(message);
    uint32_t address;

    if (message->nlmsg_len < NLMSG_LENGTH(sizeof *header) || header->ifa_family != AF_INET)
        return;
    if ((list->kinds & NL_ADDRESSES) && find_ip4(attrs, len, IFA_LOCAL, &address))
        range_push(list, address, 32);
    /* On a point-to-point link this is the other end, else the same address. */
    if ((list->kinds & NL_SUBNETS) && find_ip4(attrs, len, IFA_ADDRESS, &address))
        range_push(list, address, header->ifa_prefixlen);
}

static void range_from_route(struct range_list *list, const struct nlmsghdr *message)
{
    const struct rtmsg *header = NLMSG_DATA(message);
    uint32_t address;

    if (message->nlmsg_len < NLMSG_LENGTH(sizeof *header) || header->rtm_family != AF_INET)
        return;
    if (header->rtm_dst_len > 0 && find_ip4(RTM_RTA(header), RTM_PAYLOAD(message), RTA_DST, &address))
        range_push(list, address, header->rtm_dst_len);
}

/* Takes one datagram of a listing. Returns 1 at its end, 0 when more follows, or -errno. */
static int read_listing(int fd, struct range_list *list)
{
    _Alignas(8) char answer[NL_ANSWER_BYTES];
    ssize_t got = recv(fd, answer, sizeof answer, 0);
    size_t left;

    if (got < 0)
        return errno == EINTR ? 0 : -errno;
    left = (size_t)got;
    for (struct nlmsghdr *at = (struct nlmsghdr *)(void *)answer; NLMSG_OK(at, left);
         at = NLMSG_NEXT(at, left)) {
        if (at->nlmsg_type == NLMSG_DONE)
            return 1;
        if (at->nlmsg_type == NLMSG_ERROR)
            return ((const struct nlmsgerr *)NLMSG_DATA(at))->error;
        if (at->nlmsg_type == RTM_NEWADDR)
            range_from_address(list, at);
        if (at->nlmsg_type == RTM_NEWROUTE)
            range_from_route(list, at);
    }
    return 0;
}

static int list_ranges(int fd, uint16_t type, struct range_list *list)
{
    struct nl_batch batch;
    struct rtmsg body = { .rtm_family = AF_INET }; /* for addresses, only the family counts */
    int r;

    nl_batch_init(&batch);
    nl_begin(&batch, type, NLM_F_DUMP, &body, type == RTM_GETADDR ? sizeof(struct ifaddrmsg) : sizeof body);
    if (send(fd, batch.data, batch.len, 0) < 0)
        return -errno;
    do
        r = read_listing(fd, list);
    while (r == 0);
    return r < 0 ? r : 0;
}

int nl_ranges(int fd, unsigned kinds, struct nl_range *out, size_t max, size_t *ret_count)
{
    struct range_list list = { .kinds = kinds, .out = out, .max = max };
    int r = 0;

    if (kinds & (NL_ADDRESSES | NL_SUBNETS))
        r = list_ranges(fd, RTM_GETADDR, &list);
    if (r == 0 && (kinds & NL_ROUTES))
        r = list_ranges(fd, RTM_GETROUTE, &list);
    if (r < 0)
        return r;
    if (list.full)
        return -E2BIG;
    *ret_count = list.count;
    return 0;
}

void nl_drain(int fd, void (*on_message)(const struct nlmsghdr *message, void *data), void *data)
{
    _Alignas(8) char answer[NL_ANSWER_BYTES];
    ssize_t got;

    /* ENOBUFS says that messages were lost, and that the socket works again. */
    while ((got = recv(fd, answer, sizeof answer, MSG_DONTWAIT)) > 0 || (got < 0 && errno == ENOBUFS)) {
        size_t left = got < 0 ? 0 : (size_t)got;

        if (!on_message)
            continue;
        for (struct nlmsghdr *at = (struct nlmsghdr *)(void *)answer; NLMSG_OK(at, left);
             at = NLMSG_NEXT(at, left))
            on_message(at, data);
    }
}

bool nl_is_table_deletion(const struct nlmsghdr *message, const char *table)
{
    size_t header = NLMSG_SPACE(sizeof(struct nfgenmsg)), len = message->nlmsg_len;
    const struct rtattr *attr = (const void *)((const char *)message + header);

    if (message->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE) || len < header)
        return false;
    for (len -= header; RTA_OK(attr, len); attr = RTA_NEXT(attr, len)) {
        if (attr->rta_type == NFTA_TABLE_NAME && RTA_PAYLOAD(attr) == strlen(table) + 1 &&
            memcmp(RTA_DATA(attr), table, strlen(table) + 1) == 0)
            return true;
    }
    return false;
}

bool nl_range_overlaps(struct nl_range a, struct nl_range b)
{
    unsigned prefix = a.prefix < b.prefix ? a.prefix : b.prefix;
    uint32_t mask = prefix == 0 ? 0 : UINT32_MAX << (32 - prefix);

    return (a.address & mask) == (b.address & mask);
}
