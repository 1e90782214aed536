#include "sandbox/flows.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/inet_diag.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "sandbox/netlink_priv.h"

enum {
    ANSWER_BYTES = 32768,
    SOCKETS_MAX = 8192, /* more than descriptors of all processes leave behind in a minute */
    FLOWS_MAX = 8192,   /* twice what one slot may have */
    TUPLE_BYTES = 96,
    BATCH_REQUESTS = 24, /* fit a batch, and their answers a socket's buffer */
    TCP_LISTEN_STATE = 10,
    SOURCE_ADDRESS_FLAG = 1 << 0, /* CTA_FILTER_F_CTA_IP_SRC, which is not in the kernel's headers for us */
};

/* ------------------------------------------------------------------ listings */

/* Takes one message of a listing. */
typedef void on_entry(const struct nlmsghdr *message, void *data);

/* Sends the one request of the batch and hands on every entry. */
static int list_all(int fd, const struct nl_batch *batch, on_entry *handler, void *data)
{
    if (send(fd, batch->data, batch->len, 0) < 0)
        return -errno;
    for (;;) {
        _Alignas(8) char answer[ANSWER_BYTES];
        ssize_t got = recv(fd, answer, sizeof answer, 0);
        size_t left;

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        left = (size_t)got;
        for (struct nlmsghdr *at = (struct nlmsghdr *)(void *)answer; NLMSG_OK(at, left);
             at = NLMSG_NEXT(at, left)) {
            if (at->nlmsg_type == NLMSG_DONE)
                return 0;
            if (at->nlmsg_type == NLMSG_ERROR)
                return ((const struct nlmsgerr *)NLMSG_DATA(at))->error;
            handler(at, data);
        }
    }
}

/* ------------------------------------------------------------------ sockets */

struct sockets {
    size_t count;
    struct inet_diag_req_v2 all[SOCKETS_MAX];
};

static void on_socket(const struct nlmsghdr *message, void *data)
{
    struct sockets *sockets = data;
    const struct inet_diag_msg *found = NLMSG_DATA(message);

    if (message->nlmsg_len < NLMSG_LENGTH(sizeof *found) || sockets->count == SOCKETS_MAX)
        return;
    sockets->all[sockets->count++] = (struct inet_diag_req_v2){ .sdiag_family = found->idiag_family,
                                                                .sdiag_protocol = IPPROTO_TCP,
                                                                .idiag_states = ~0U,
                                                                .id = found->id };
}

/* Of both families: the older request asks for no particular one. */
static int list_sockets(int fd, struct sockets *sockets)
{
    const struct inet_diag_req request = { .idiag_states = ~(1U << TCP_LISTEN_STATE) };
    struct nl_batch batch;

    nl_batch_init(&batch);
    nl_begin(&batch, TCPDIAG_GETSOCK, NLM_F_DUMP, &request, sizeof request);
    return list_all(fd, &batch, on_socket, sockets);
}

int flows_end_sockets(void)
{
    AUTO_FREE struct sockets *sockets = calloc(1, sizeof *sockets);
    AUTO_FD int fd = -1;
    int r = nl_open(NETLINK_SOCK_DIAG, 0, &fd);

    if (!sockets)
        return -ENOMEM;
    if (r == 0)
        r = list_sockets(fd, sockets);
    for (size_t i = 0; r == 0 && i < sockets->count;) {
        struct nl_batch batch;

        nl_batch_init(&batch);
        for (unsigned n = 0; n < BATCH_REQUESTS && i < sockets->count; n++, i++)
            nl_begin(&batch, SOCK_DESTROY, 0, &sockets->all[i], sizeof sockets->all[i]);
        r = nl_commit(fd, &batch);
        if (r == -ENOENT) /* has ended by itself meanwhile */
            r = 0;
    }
    return r;
}

/* The number behind the word in the line that begins so; 1 when there is none. */
static unsigned socket_count(const char *path, const char *line_start, const char *word)
{
    FILE *file = fopen(path, "re");
    unsigned count = 1;
    char line[256];

    while (file && fgets(line, sizeof line, file)) {
        const char *at = strncmp(line, line_start, strlen(line_start)) == 0 ? strstr(line, word) : NULL;

        if (at)
            count = (unsigned)strtoul(at + strlen(word), NULL, 10);
    }
    if (file)
        (void)fclose(file);
    return count;
}

bool flows_any_socket(void)
{
    static const char v4[] = "/proc/thread-self/net/sockstat", v6[] = "/proc/thread-self/net/sockstat6";

    return socket_count(v4, "TCP:", " inuse ") > 0 || socket_count(v4, "TCP:", " tw ") > 0 ||
           socket_count(v6, "TCP6:", " inuse ") > 0;
}

uint64_t flows_packets_sent(const char *device)
{
    FILE *file = fopen("/proc/thread-self/net/dev", "re");
    char line[512], name[32];
    uint64_t packets = 0, sent;

    while (file && fgets(line, sizeof line, file)) {
        /* NOLINTNEXTLINE(cert-err34-c): written by the kernel, whose counters have 64 bits */
        if (sscanf(line, " %31[^:]: %*u %*u %*u %*u %*u %*u %*u %*u %*u %" SCNu64, name, &sent) == 2 &&
            strcmp(name, device) == 0)
            packets = sent;
    }
    if (file)
        (void)fclose(file);
    return packets;
}

/* ------------------------------------------------------------------ connection tracking */

/* One direction of a connection, as the kernel says it: network byte order. */
struct tuple {
    uint32_t source, destination;
    uint16_t source_port, destination_port;
    uint8_t protocol;
};

struct flow {
    size_t tuple_len;
    unsigned char tuple[TUPLE_BYTES]; /* the attribute's contents, as the router's kernel wrote them */
    struct tuple reply;
};

struct flows {
    uint32_t source; /* network byte order */
    size_t count;
    struct flow all[FLOWS_MAX];
};

static const struct rtattr *find_attr(const struct rtattr *attr, size_t len, unsigned type)
{
    for (; RTA_OK(attr, len); attr = RTA_NEXT(attr, len)) {
        if ((attr->rta_type & NLA_TYPE_MASK) == type)
            return attr;
    }
    return NULL;
}

static const struct rtattr *find_inside(const struct rtattr *outer, unsigned type)
{
    return outer ? find_attr(RTA_DATA(outer), RTA_PAYLOAD(outer), type) : NULL;
}

static bool copy_value(const struct rtattr *outer, unsigned type, void *out, size_t len)
{
    const struct rtattr *attr = find_inside(outer, type);

    if (!attr || RTA_PAYLOAD(attr) < len)
        return false;
    memcpy(out, RTA_DATA(attr), len);
    return true;
}

/* Without ports (ICMP) these stay 0. Returns whether there is one. */
static bool read_tuple(const struct rtattr *attr, struct tuple *ret)
{
    const struct rtattr *ip = find_inside(attr, CTA_TUPLE_IP), *proto = find_inside(attr, CTA_TUPLE_PROTO);
    struct tuple tuple = { 0 };

    if (!copy_value(ip, CTA_IP_V4_SRC, &tuple.source, sizeof tuple.source) ||
        !copy_value(ip, CTA_IP_V4_DST, &tuple.destination, sizeof tuple.destination) ||
        !copy_value(proto, CTA_PROTO_NUM, &tuple.protocol, sizeof tuple.protocol))
        return false;
    (void)copy_value(proto, CTA_PROTO_SRC_PORT, &tuple.source_port, sizeof tuple.source_port);
    (void)copy_value(proto, CTA_PROTO_DST_PORT, &tuple.destination_port, sizeof tuple.destination_port);
    *ret = tuple;
    return true;
}

/* Looks at the source again: a kernel without filters lists everything. */
static void on_flow(const struct nlmsghdr *message, void *data)
{
    struct flows *flows = data;
    size_t header = NLMSG_SPACE(sizeof(struct nfgenmsg));
    const struct rtattr *attrs = (const void *)((const char *)message + header), *original, *reply;
    struct flow *flow = &flows->all[flows->count];
    struct tuple tuple;

    if (message->nlmsg_len < header || flows->count == FLOWS_MAX)
        return;
    original = find_attr(attrs, message->nlmsg_len - header, CTA_TUPLE_ORIG);
    reply = find_attr(attrs, message->nlmsg_len - header, CTA_TUPLE_REPLY);
    if (!original || !read_tuple(original, &tuple) || tuple.source != flows->source ||
        RTA_PAYLOAD(original) > sizeof flow->tuple || !read_tuple(reply, &flow->reply))
        return;
    flow->tuple_len = RTA_PAYLOAD(original);
    memcpy(flow->tuple, RTA_DATA(original), flow->tuple_len);
    flows->count++;
}

static void begin(struct nl_batch *batch, unsigned message, unsigned flags)
{
    const struct nfgenmsg header = { .nfgen_family = AF_INET, .version = NFNETLINK_V0 };

    nl_begin(batch, (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | message), flags, &header, sizeof header);
}

static int list_flows(int fd, struct flows *flows)
{
    const uint32_t flag = SOURCE_ADDRESS_FLAG;
    struct nl_batch batch;
    size_t tuple, ip, filter;

    nl_batch_init(&batch);
    begin(&batch, IPCTNL_MSG_CT_GET, NLM_F_DUMP);
    tuple = nl_nest(&batch, CTA_TUPLE_ORIG | NLA_F_NESTED);
    ip = nl_nest(&batch, CTA_TUPLE_IP | NLA_F_NESTED);
    nl_attr(&batch, CTA_IP_V4_SRC, &flows->source, sizeof flows->source);
    nl_nest_end(&batch, ip);
    nl_nest_end(&batch, tuple);
    filter = nl_nest(&batch, CTA_FILTER | NLA_F_NESTED);
    nl_attr(&batch, CTA_FILTER_ORIG_FLAGS, &flag, sizeof flag);
    nl_nest_end(&batch, filter);
    return list_all(fd, &batch, on_flow, flows);
}

static void delete_in_router(struct nl_batch *batch, const struct flow *flow)
{
    begin(batch, IPCTNL_MSG_CT_DELETE, 0);
    nl_attr(batch, CTA_TUPLE_ORIG | NLA_F_NESTED, flow->tuple, flow->tuple_len);
}

/* On the host the connection begins where the router's answers go: the other way round. What has no ports
 * (ICMP) ends by itself within half a minute. */
static void delete_in_host(struct nl_batch *batch, const struct flow *flow)
{
    const struct tuple *reply = &flow->reply;
    size_t tuple, part;

    if (reply->source_port == 0 && reply->destination_port == 0)
        return;
    begin(batch, IPCTNL_MSG_CT_DELETE, 0);
    tuple = nl_nest(batch, CTA_TUPLE_ORIG | NLA_F_NESTED);
    part = nl_nest(batch, CTA_TUPLE_IP | NLA_F_NESTED);
    nl_attr(batch, CTA_IP_V4_SRC, &reply->destination, sizeof reply->destination);
    nl_attr(batch, CTA_IP_V4_DST, &reply->source, sizeof reply->source);
    nl_nest_end(batch, part);
    part = nl_nest(batch, CTA_TUPLE_PROTO | NLA_F_NESTED);
    nl_attr(batch, CTA_PROTO_NUM, &reply->protocol, sizeof reply->protocol);
    nl_attr(batch, CTA_PROTO_SRC_PORT, &reply->destination_port, sizeof reply->destination_port);
    nl_attr(batch, CTA_PROTO_DST_PORT, &reply->source_port, sizeof reply->source_port);
    nl_nest_end(batch, part);
    nl_nest_end(batch, tuple);
}

static int delete_all(int fd, const struct flows *flows, void (*add)(struct nl_batch *, const struct flow *))
{
    for (size_t i = 0; i < flows->count;) {
        struct nl_batch batch;
        int r;

        nl_batch_init(&batch);
        for (unsigned n = 0; n < BATCH_REQUESTS && i < flows->count; n++, i++)
            add(&batch, &flows->all[i]);
        r = batch.count > 0 ? nl_commit(fd, &batch) : 0;
        if (r < 0 && r != -ENOENT) /* that one has ended by itself meanwhile */
            return r;
    }
    return 0;
}

int flows_forget(int router_nl, int host_nl, uint32_t source)
{
    AUTO_FREE struct flows *flows = calloc(1, sizeof *flows);
    int r;

    if (!flows)
        return -ENOMEM;
    flows->source = htonl(source);
    r = list_flows(router_nl, flows);
    if (r == 0)
        r = delete_all(router_nl, flows, delete_in_router);
    return r == 0 ? delete_all(host_nl, flows, delete_in_host) : r;
}
