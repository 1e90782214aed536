#pragma once

/*
 * What functions reach beyond the Internet: the host's resolvers and what --allow-host names, and under which
 * names. Turns both into entries of the rules (nft.h) and into the sandbox's /etc/hosts and /etc/resolv.conf.
 *
 * The addresses that stand for them inside are the same in every instance and for its whole life:
 * 198.18.254.1 to .3 for the resolvers, 198.18.254.10 for the host.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sandbox/dns.h"

struct err;
struct nft_plan;

#define IP4(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))

enum { ALLOW_MAX = 64, ALLOW_ADDRESSES = 8 };

/** One --allow-host. */
struct allow {
    char host[DNS_NAME_BYTES];
    uint16_t port;
    bool named;   /* not an address */
    size_t count; /* 0: the name was not found */
    uint32_t addresses[ALLOW_ADDRESSES];
};

/** Parses and resolves count specs into out (zeroed); may block 5 s for each name. A name that is not found
 * is logged and stays closed. -EINVAL for a malformed one. */
int allow_read(const char *const *specs, size_t count, struct allow *out, struct err *err);

/** The host's IPv4 resolvers as of now. */
size_t allow_servers(uint32_t servers[DNS_SERVERS_MAX]);

/** Adds the services to the plan, whose own addresses are filled. */
void allow_plan(struct nft_plan *plan, const struct allow *allows, size_t count);
/** Adds as many resolvers as the sandboxes' files name (gateways). */
void allow_plan_servers(struct nft_plan *plan, size_t gateways);

/** Contents of the two files; the caller frees. NULL without memory. count 0: no resolver answers, and the C
 * library must not wait for one: nobody listens on the sandbox's loopback. */
char *allow_hosts_text(const struct nft_plan *plan, const struct allow *allows, size_t count);
char *allow_resolv_text(size_t count);
