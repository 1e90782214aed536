#pragma once

/*
 * The network of an instance: one router network namespace, held by this object alone, to which every slot's
 * own namespace is linked; one link from it to the host; addresses, nftables rules, DNS and --allow-host. See
 * docs/network.md.
 *
 * Everything inside the router namespace vanishes with the process; net_sweep() removes what an earlier life
 * left on the host. Context: the launcher's only thread; root. Slow (milliseconds): never on the way of a
 * request.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct net;

struct net_config {
    const char *instance;           /* [a-z0-9]{8} */
    const char *const *allow_hosts; /* "HOST:PORT" */
    size_t allow_host_count;
};

/** Sweeps, then builds. When the machine cannot do it (no nftables, no veth) returns 0 with net_usable()
 * false and err saying why: slots then have loopback only. */
int net_open(const struct net_config *config, struct net **ret_net, struct err *err);
/** Removes everything and restores settings. Accepts NULL; returns NULL. */
struct net *net_close(struct net *net);
bool net_usable(const struct net *net);
/** Removes what a crashed life of this instance left on the host: nftables table, link, saved system
 * settings. */
int net_sweep(const char *instance, struct err *err);

/** Makes the namespace of slot index (0 to 65000) and its link. made: a namespace to use, borrowed, or -1.
 * ret_netns_fd: owned by the caller. */
int net_slot_add(struct net *net, unsigned index, int made, int *ret_netns_fd, struct err *err);
/** Removes the link; the caller closes its namespace descriptor. Returns 0 or negative errno, and then the
 * index cannot be used again. */
int net_slot_remove(struct net *net, unsigned index);
/** Both ends of a connection to that listener of the namespace, close-on-exec and owned by the caller; the
 * server's does not block. */
int net_slot_connect(int netns_fd, int listener, int *ret_client, int *ret_server, struct err *err);
/** Ends what an earlier environment left behind in a slot without processes: connections of its own and those
 * that router and host still know of. packets: how many the slot had sent at the last call, 0 at first; when
 * it sent none since, that is noticed and quick. */
int net_slot_clean(struct net *net, unsigned index, int netns_fd, uint64_t *packets, struct err *err);
/** A fresh listening, non-blocking, close-on-exec TCP socket on 127.0.0.1:9001 inside that namespace. */
int net_slot_listen(int netns_fd, int *ret_fd, struct err *err);

/** Becomes readable when something on the host may have changed: an address, a resolver, a firewall that
 * threw our rules away. Stays the property of net; -1 when there is nothing to watch. */
int net_event_fd(const struct net *net);
/** Call when it is readable: brings the rules up to date. Takes milliseconds, but only when there was a
 * change. */
void net_on_event(struct net *net);

/** Contents of the sandbox's /etc/resolv.conf and /etc/hosts; borrowed, live as long as net. */
const char *net_resolv_conf(const struct net *net);
const char *net_hosts(const struct net *net);
