#pragma once

/*
 * Names: what the sandbox's /etc/resolv.conf and /etc/hosts say, made from the host's, and what --allow-host
 * names.
 *
 * Pure except dns_resolve(). The files are the administrator's, but programs edit them: nothing in them is
 * trusted to be well formed, and lines that are not understood are left out. IPv4 addresses are in host byte
 * order.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;

enum {
    DNS_SERVERS_MAX = 3,       /* MAXNS of the C library */
    DNS_FILE_MAX = 256 * 1024, /* of either file; what comes after is ignored */
    DNS_NAME_BYTES = 256,      /* with the NUL */
    DNS_IP4_BYTES = 16,
};

/** "192.0.2.1", whole text. */
bool dns_parse_ip4(const char *text, size_t len, uint32_t *ret_address);
void dns_format_ip4(uint32_t address, char out[DNS_IP4_BYTES]);
bool dns_is_loopback(uint32_t address);

/** The IPv4 servers of a resolv.conf, in order. Returns how many; 1 (127.0.0.1, as the C library does) when
 * the file names none at all, 0 when it names only IPv6 ones. */
size_t dns_servers(const char *text, size_t len, uint32_t servers[DNS_SERVERS_MAX]);
/** Appends a resolv.conf naming the given servers, with the search, domain, sortlist and options lines of the
 * other one. */
int dns_write_resolv_conf(const char *text, size_t len, const uint32_t *servers, size_t count,
                          struct buf *out);

/** A line of our own in the sandbox's /etc/hosts. */
struct dns_host {
    uint32_t address;
    char name[DNS_NAME_BYTES];
};
/** Appends a hosts file: localhost, the own lines, then the entries of text that are neither loopback nor
 * multicast and do not redefine a name written before them. */
int dns_write_hosts(const char *text, size_t len, const struct dns_host *own, size_t own_count,
                    struct buf *out);

/** "HOST:PORT": a name, an IPv4 address, or [::1]. Returns 0 or -EINVAL with err filled. */
int dns_parse_allow(const char *spec, char host[DNS_NAME_BYTES], uint16_t *ret_port, struct err *err);

/** Asks the host's name service (all its sources) for IPv4 addresses, in a child without privileges, for at
 * most 5 s. Returns 0 with *ret_count >= 1, or negative with err filled. */
int dns_resolve(const char *host, uint32_t *addresses, size_t max, size_t *ret_count, struct err *err);
