#include "sandbox/allow.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "sandbox/nft.h"

#define HOST_NAME      "host.irori.internal"
#define RESOLV_CONF    "/etc/resolv.conf"
#define RESOLVED_CONF  "/run/systemd/resolve/resolv.conf"
#define DNS_GATEWAY(n) (IP4(198, 18, 254, 1) + (uint32_t)(n))
#define HOST_GATEWAY   IP4(198, 18, 254, 10)

/* Files that are not there count as empty. */
static void read_file(const char *path, struct buf *out)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    *out = BUF_INIT(DNS_FILE_MAX + 1);
    while (fd >= 0 && out->len < DNS_FILE_MAX && buf_reserve(out, 4096) == 0) {
        size_t room = DNS_FILE_MAX - out->len;
        ssize_t got = read(fd, out->data + out->len, room < 4096 ? room : 4096);

        if (got <= 0)
            break;
        out->len += (size_t)got;
    }
}

/* The host's resolvers. systemd-resolved's stub answers only what comes from the loopback device itself, so
 * that its clients' queries cannot be redirected to it; its own list of upstream servers is used then. */
size_t allow_servers(uint32_t servers[DNS_SERVERS_MAX])
{
    AUTO_BUF struct buf text = BUF_INIT(1), upstream = BUF_INIT(1);
    uint32_t others[DNS_SERVERS_MAX];
    size_t count, other_count;

    read_file(RESOLV_CONF, &text);
    count = dns_servers(text.data ? text.data : "", text.len, servers);
    if (count == 0 || (servers[0] != IP4(127, 0, 0, 53) && servers[0] != IP4(127, 0, 0, 54)))
        return count;
    read_file(RESOLVED_CONF, &upstream);
    if (upstream.len == 0)
        return count;
    other_count = dns_servers(upstream.data, upstream.len, others);
    if (other_count == 0 || dns_is_loopback(others[0]))
        return count;
    memcpy(servers, others, sizeof others);
    return other_count;
}

static bool is_own_address(const struct nft_plan *plan, uint32_t address)
{
    if (dns_is_loopback(address))
        return true;
    for (size_t i = 0; i < plan->own_count; i++) {
        if (plan->own[i].prefix == 32 && plan->own[i].address == address)
            return true;
    }
    return false;
}

/* A service on the host answers at the host's gateway address, and, unless on loopback, at its own. */
static void plan_one(struct nft_plan *plan, const struct allow *allow)
{
    for (size_t i = 0; i < allow->count; i++) {
        uint32_t address = allow->addresses[i];
        struct nft_service gateway = { HOST_GATEWAY, allow->port, false, true, address, allow->port };
        struct nft_service direct = { address, allow->port, false, false, 0, 0 };

        if (is_own_address(plan, address))
            (void)nft_plan_add(plan, gateway);
        if (!dns_is_loopback(address))
            (void)nft_plan_add(plan, direct);
    }
}

void allow_plan_servers(struct nft_plan *plan, size_t gateways)
{
    uint32_t servers[DNS_SERVERS_MAX];
    size_t count = allow_servers(servers);

    /* The sandboxes' files name as many as there were at the start. */
    for (size_t i = 0; i < gateways && count > 0; i++) {
        uint32_t server = servers[i < count ? i : count - 1];

        (void)nft_plan_add(plan, (struct nft_service){ DNS_GATEWAY(i), 53, true, true, server, 53 });
        (void)nft_plan_add(plan, (struct nft_service){ DNS_GATEWAY(i), 53, false, true, server, 53 });
    }
}

void allow_plan(struct nft_plan *plan, const struct allow *allows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        plan_one(plan, &allows[i]);
}

/* Fills the addresses. A name that is not found now stays closed; that is no reason not to serve. */
static void resolve_allow(struct allow *allow)
{
    struct err err = { 0 };

    if (dns_parse_ip4(allow->host, strlen(allow->host), &allow->addresses[0])) {
        allow->count = 1;
    } else if (text_equal_nocase(allow->host, strlen(allow->host), "localhost") ||
               text_equal_nocase(allow->host, strlen(allow->host), HOST_NAME)) {
        allow->addresses[0] = INADDR_LOOPBACK;
        allow->count = 1;
    } else {
        allow->named = true;
        if (dns_resolve(allow->host, allow->addresses, ALLOW_ADDRESSES, &allow->count, &err) < 0)
            log_warn("--allow-host %s:%u stays closed: %s", allow->host, allow->port, err.text);
    }
}

int allow_read(const char *const *specs, size_t count, struct allow *out, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        int r = dns_parse_allow(specs[i], out[i].host, &out[i].port, err);

        if (r < 0) {
            (void)err_wrap(err, "--allow-host");
            return r;
        }
        resolve_allow(&out[i]);
    }
    return 0;
}

static void add_host_line(struct dns_host *lines, size_t *count, uint32_t address, const char *name)
{
    for (size_t i = 0; i < *count; i++) {
        if (lines[i].address == address && text_equal_nocase(name, strlen(name), lines[i].name))
            return;
    }
    lines[*count].address = address;
    (void)snprintf(lines[(*count)++].name, DNS_NAME_BYTES, "%s", name);
}

/* An allowed name must mean inside what was opened for it, even if only the host knows the name, or says it
 * is the host. */
static size_t name_lines(const struct nft_plan *plan, const struct allow *allows, size_t count,
                         struct dns_host *lines)
{
    size_t line_count = 0;

    add_host_line(lines, &line_count, HOST_GATEWAY, HOST_NAME);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < allows[i].count && allows[i].named; j++) {
            bool own = is_own_address(plan, allows[i].addresses[j]);

            add_host_line(lines, &line_count, own ? HOST_GATEWAY : allows[i].addresses[j], allows[i].host);
        }
    }
    return line_count;
}

char *allow_hosts_text(const struct nft_plan *plan, const struct allow *allows, size_t count)
{
    AUTO_FREE struct dns_host *lines = calloc(1 + ALLOW_MAX * ALLOW_ADDRESSES, sizeof *lines);
    AUTO_BUF struct buf text = BUF_INIT(1), out = BUF_INIT(2UL * DNS_FILE_MAX);
    size_t line_count;

    if (!lines)
        return NULL;
    line_count = name_lines(plan, allows, count, lines);
    read_file("/etc/hosts", &text);
    if (dns_write_hosts(text.data ? text.data : "", text.len, lines, line_count, &out) < 0)
        return NULL;
    return buf_take(&out, NULL);
}

char *allow_resolv_text(size_t count)
{
    AUTO_BUF struct buf text = BUF_INIT(1), out = BUF_INIT(2UL * DNS_FILE_MAX);
    uint32_t gateways[DNS_SERVERS_MAX] = { DNS_GATEWAY(0), DNS_GATEWAY(1), DNS_GATEWAY(2) };
    uint32_t nobody = INADDR_LOOPBACK;

    read_file(RESOLV_CONF, &text);
    if (dns_write_resolv_conf(text.data ? text.data : "", text.len, count > 0 ? gateways : &nobody,
                              count > 0 ? count : 1, &out) < 0)
        return NULL;
    return buf_take(&out, NULL);
}
