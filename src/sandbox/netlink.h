#pragma once

/*
 * Just enough rtnetlink to make links, addresses, routes and neighbours, several requests in one system call.
 *
 * A batch is filled on the stack, sent with nl_commit(), and each request is acknowledged by the kernel on
 * its own; the first error is the result, and requests after it may still have taken effect. IPv4 addresses
 * are in host byte order. A socket belongs to the network namespace it was opened in, wherever its user is
 * now.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NL_BATCH_BYTES = 4096, NL_MAC_BYTES = 6 };

struct nlmsghdr;

struct nl_batch {
    size_t len;     /* bytes filled */
    size_t message; /* where the request being filled starts */
    uint32_t count; /* requests */
    bool overflow;
    _Alignas(8) unsigned char data[NL_BATCH_BYTES];
};

/** Opens a socket of NETLINK_<protocol> subscribed to the groups bit mask (group n is bit n - 1). Returns 0
 * or -errno. */
int nl_open(int protocol, uint32_t groups, int *ret_fd);

void nl_batch_init(struct nl_batch *batch);
/** Sends the batch and waits for every acknowledgement (at most 5 s). Returns 0, the first error, or
 * -EMSGSIZE. */
int nl_commit(int fd, struct nl_batch *batch);

/** One end of a veth pair; the index is chosen by the caller (0: by the kernel; the far end's only if the
 * near end's is not 0). */
struct nl_veth_end {
    const char *name;
    int ifindex;
    uint8_t mac[NL_MAC_BYTES];
};

/** A veth pair, both ends down: near is made in the socket's namespace, far in the one of far_netns_fd. */
void nl_add_veth(struct nl_batch *batch, const struct nl_veth_end *near, const struct nl_veth_end *far,
                 int far_netns_fd);
void nl_link_up(struct nl_batch *batch, int ifindex);
void nl_link_delete(struct nl_batch *batch, const char *name);
void nl_add_address(struct nl_batch *batch, int ifindex, uint32_t address, unsigned prefix);
/** gateway 0: the destination is directly on the link; else the gateway is, although no address of the link
 * says so. */
void nl_add_route(struct nl_batch *batch, int ifindex, uint32_t address, unsigned prefix, uint32_t gateway);
/** A permanent entry: never asked for, and not counted against the kernel's neighbour table limits. */
void nl_add_neighbour(struct nl_batch *batch, int ifindex, uint32_t address, const uint8_t mac[NL_MAC_BYTES]);

/** An IPv4 range. */
struct nl_range {
    uint32_t address;
    unsigned prefix;
};
enum nl_range_kind {
    NL_ADDRESSES = 1, /* the host's own addresses, each as a /32 */
    NL_SUBNETS = 2,   /* the subnets those are in */
    NL_ROUTES = 4,    /* destinations of all routes but the default ones */
};
/** Appends to out what the kernel knows of the kinds asked for, at most max ranges in all. Returns 0, -E2BIG
 * or -errno. */
int nl_ranges(int fd, unsigned kinds, struct nl_range *out, size_t max, size_t *ret_count);

/** Reads and drops whatever the subscribed socket has. Calls back (unless NULL) once per message. */
void nl_drain(int fd, void (*on_message)(const struct nlmsghdr *message, void *data), void *data);

/** Whether an nftables event says that the table of that name was deleted. */
bool nl_is_table_deletion(const struct nlmsghdr *message, const char *table);

bool nl_range_overlaps(struct nl_range a, struct nl_range b);
