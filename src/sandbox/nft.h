#pragma once

/*
 * The nftables rules of an instance as text, and the way to the kernel: `nft -f`, a few times in an
 * instance's life.
 *
 * Two tables, each replaced as a whole in one transaction: `irori_INSTANCE` on the host, and `irori` in the
 * router namespace. Both refuse the same destinations, so that a host whose rules somebody flushes
 * (`systemctl restart nftables`) does not lie open. Addresses in host byte order. The writers are pure.
 */

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sandbox/netlink.h"

struct buf;
struct err;
struct guard_state;

#define NFT_LINK_PREFIX   "irori-" /* of host link names: prefix and instance fill 14 of 15 bytes */
#define NFT_SLOT_PREFIX   "s"      /* of the router's ends of the slots' links */
#define NFT_ROUTER_UPLINK "host0"

enum {
    NFT_TEXT_MAX = 1024 * 1024,
    NFT_OWN_MAX = 8192, /* kube-proxy gives a host thousands */
    NFT_SERVICES_MAX = 512,
    NFT_SLOT_CONNECTIONS = 4096, /* open at a time; one function must not fill the host's table of them */
    /* All functions together may take half of the host's table. Counted in groups: the kernel goes through a
     * whole group for a new connection. */
    NFT_CONNECTION_GROUPS = 16,
    NFT_TABLE_ENTRIES = 65536, /* of the host's table, while that is not known */
    NFT_CHAIN_BYTES = 192,
};

/** One destination that functions may reach although the rules would refuse it. */
struct nft_service {
    uint32_t address; /* as the function sees it */
    uint16_t port;
    bool udp;
    bool translated; /* the host sends it on to: */
    uint32_t to_address;
    uint16_t to_port;
};

struct nft_plan {
    const char *instance;
    char link[IFNAMSIZ]; /* the host's end of the link */
    uint32_t router_address;
    uint32_t table_entries; /* net.netfilter.nf_conntrack_max; 0 = not known */
    struct nft_service services[NFT_SERVICES_MAX];
    size_t service_count;
    struct nl_range own[NFT_OWN_MAX]; /* addresses and subnets of the host */
    size_t own_count;
    const struct guard_state *before; /* NULL: do not guard other devices' forwarding */
};

/** Adds unless something already answers at that address, port and protocol. Returns false when it was not
 * added. */
bool nft_plan_add(struct nft_plan *plan, struct nft_service service);

int nft_write_host(const struct nft_plan *plan, struct buf *out);
int nft_write_router(const struct nft_plan *plan, struct buf *out);
int nft_write_removal(const char *instance, struct buf *out);

/** Runs nft on the script, inside the namespace unless netns_fd is -1, for at most 10 s. */
int nft_run(const char *script, size_t len, int netns_fd, struct err *err);

/** Whether a chain of somebody else's refuses forwarded traffic unless told otherwise; which no rule of ours
 * can undo. name: its family, table and chain. The second form is pure: text is what `nft list chains`
 * prints. */
bool nft_find_dropping_chain(char name[NFT_CHAIN_BYTES]);
bool nft_parse_dropping_chain(const char *text, char name[NFT_CHAIN_BYTES]);
