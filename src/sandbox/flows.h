#pragma once

/*
 * Connections that outlive the processes that made them: what the kernel keeps of an environment in its
 * slot's network namespace (sockets that wait for the last word of their peer) and in the tables of
 * connection tracking. The next environment of the slot has the same addresses and would be taken for the
 * former.
 *
 * Context: the launcher's only thread; root. Milliseconds: the kernel looks through tables that it has once
 * for all namespaces.
 */

#include <stdbool.h>
#include <stdint.h>

/** Ends every TCP socket, except listening ones, of the network namespace that the thread is in. Returns 0 or
 * -errno. */
int flows_end_sockets(void);
/** Deletes what the router tracks of connections that came from source (host byte order), and their
 * continuations in the host's table. The descriptors: nl_open(NETLINK_NETFILTER) in each namespace. Returns 0
 * or -errno. */
int flows_forget(int router_nl, int host_nl, uint32_t source);
/** Whether there is any TCP socket, also one without a process, in the network namespace that the thread is
 * in; true when the kernel does not tell. Cheap. */
bool flows_any_socket(void);
/** How many packets the device has sent, in the network namespace that the thread is in; 0 when there is no
 * such device. */
uint64_t flows_packets_sent(const char *device);
