#include "sandbox/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "sandbox/allow.h"
#include "sandbox/flows.h"
#include "sandbox/netlink.h"
#include "sandbox/nft.h"
#include "sandbox/sysctl_guard.h"

#define SLOT_ADDRESS(index) (IP4(198, 18, 0, 1) + (index))
#define SLOT_ROUTER         IP4(169, 254, 1, 1) /* only ever a next hop */
#define SLOT_DEVICE         "eth0"
#define LINK_RANGE          IP4(198, 19, 0, 0)

enum {
    LINK_BLOCKS = 16384, /* /30s in LINK_RANGE */
    LINK_PREFIX = 30,
    INSTANCE_LEN = 8,
    SLOT_INDEX_MAX = 65000,
    IFINDEX_UPLINK = 999, /* chosen, so that nobody has to ask; above what the kernel makes by itself */
    IFINDEX_SLOTS = 1000,
    RANGES_MAX = 16384,
    RUNTIME_PORT = 9001,
    RUNTIME_BACKLOG = 128,
    WATCH_SECONDS = 10,
};

static const uint8_t mac_host[NL_MAC_BYTES] = { 0x02, 'I', 'r', 0, 0, 1 };
static const uint8_t mac_uplink[NL_MAC_BYTES] = { 0x02, 'I', 'r', 0, 0, 2 };
static const uint8_t mac_router[NL_MAC_BYTES] = { 0x02, 'I', 'r', 0, 0, 3 };

struct net {
    char instance[INSTANCE_LEN + 1];
    char link[IFNAMSIZ];
    bool usable, warned;
    int home_ns, router_ns;
    int host_nl, router_nl;
    int host_flows, router_flows;                 /* NETLINK_NETFILTER */
    int epoll, timer, address_events, nft_events; /* see watch_open() */
    uint32_t host_address, router_address;
    struct allow allows[ALLOW_MAX];
    size_t allow_count, server_count;
    struct guard guard;
    char *resolv_conf, *hosts;
    char *host_script, *router_script; /* as the kernel has them */
};

/* From a namespace that this thread visited. A launcher lost in another network must not go on. */
static void netns_return(int home_ns)
{
    if (setns(home_ns, CLONE_NEWNET) < 0)
        abort();
}

static int netns_current(int *ret_fd)
{
    int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}

/* Settings of one namespace or device; a NULL name ends the table. */
struct setting {
    const char *name, *value;
};

/* Settings that this kernel does not have (IPv6, connection tracking not loaded yet) need no change. */
static int apply_settings(const struct setting *settings)
{
    for (; settings->name; settings++) {
        int r = sysctl_net_write(settings->name, settings->value);

        if (r < 0 && r != -ENOENT)
            return r;
    }
    return 0;
}

static const struct setting router_settings[] = {
    { "ipv6/conf/all/disable_ipv6", "1" },
    { "ipv6/conf/default/disable_ipv6", "1" },
    { "ipv4/conf/all/rp_filter", "1" }, /* strict: a slot cannot send in another's name */
    { "ipv4/conf/default/rp_filter", "1" },
    { "ipv4/conf/all/route_localnet", "0" }, /* the host's values are inherited */
    { "ipv4/conf/default/route_localnet", "0" },
    { "ipv4/conf/all/accept_local", "0" },
    { "ipv4/conf/default/accept_local", "0" },
    { "ipv4/conf/all/send_redirects", "0" },
    { "ipv4/conf/default/send_redirects", "0" },
    { "ipv4/icmp_ratemask",
      "0" }, /* whoever asks for what is refused hears so each time, instead of waiting */
    { "ipv4/ip_forward", "1" },
    { NULL, NULL },
};

/* Only once the rules have brought connection tracking: two hours, the least that RFC 5382 asks for, instead
 * of five days. */
static const struct setting router_late_settings[] = {
    { "netfilter/nf_conntrack_tcp_timeout_established", "7440" },
    { NULL, NULL },
};

static const struct setting slot_settings[] = {
    { "ipv6/conf/default/disable_ipv6", "1" }, /* the loopback device is there already and keeps ::1 */
    { NULL, NULL },
};

/* Makes a namespace, unless one is given as made, with its settings and a netlink socket in it, and comes
 * back. */
static int netns_make(int home_ns, int made, const struct setting *settings, int *ret_fd, int *ret_nl,
                      struct err *err)
{
    AUTO_FD int fd = -1;
    AUTO_FD int nl = -1;
    int r;

    if (made >= 0 ? setns(made, CLONE_NEWNET) < 0 : unshare(CLONE_NEWNET) < 0)
        return err_set(err, ERR_SYSTEM, errno, "cannot make a network namespace");
    r = netns_current(&fd);
    if (r == 0)
        r = apply_settings(settings);
    if (r == 0)
        r = nl_open(NETLINK_ROUTE, 0, &nl);
    netns_return(home_ns);
    if (r < 0)
        return err_set(err, ERR_SYSTEM, -r, "cannot set up a network namespace");
    *ret_fd = TAKE_FD(fd);
    *ret_nl = TAKE_FD(nl);
    return 0;
}

/* Links of instances come and go, and are refused in any case. */
static void drop_own_links(struct nft_plan *plan)
{
    const struct nl_range links = { LINK_RANGE, 16 };
    size_t kept = 0;

    for (size_t i = 0; i < plan->own_count; i++) {
        if (!nl_range_overlaps(plan->own[i], links))
            plan->own[kept++] = plan->own[i];
    }
    plan->own_count = kept;
}

/* 0 when connection tracking is not there yet: the plan is made again soon. */
static uint32_t read_table_entries(void)
{
    AUTO_FD int fd = open("/proc/sys/net/netfilter/nf_conntrack_max", O_RDONLY | O_CLOEXEC);
    char text[24];
    uint64_t value = 0;
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    if (n <= 0)
        return 0;
    text[n] = '\0';
    return text_to_u64(text, strcspn(text, "\n"), UINT32_MAX, &value) ? (uint32_t)value : 0;
}

static int make_plan(const struct net *net, struct nft_plan *plan)
{
    int r;

    *plan = (struct nft_plan){ .instance = net->instance, .router_address = net->router_address };
    memcpy(plan->link, net->link, sizeof plan->link);
    plan->table_entries = read_table_entries();
    r = nl_ranges(net->host_nl, NL_ADDRESSES | NL_SUBNETS, plan->own, NFT_OWN_MAX, &plan->own_count);
    if (r < 0)
        return r;
    drop_own_links(plan);
    allow_plan_servers(plan, net->server_count);
    allow_plan(plan, net->allows, net->allow_count);
    if (net->guard.user_fd >= 0 && !guard_is_overridden(&net->guard))
        plan->before = &net->guard.before;
    return 0;
}

static bool plan_uses_loopback(const struct nft_plan *plan)
{
    for (size_t i = 0; i < plan->service_count; i++) {
        if (plan->services[i].translated && dns_is_loopback(plan->services[i].to_address))
            return true;
    }
    return false;
}

/* Loads the script unless the kernel has it. */
static int load_script(const struct buf *script, int netns_fd, bool force, char **loaded, struct err *err)
{
    char *copy;
    int r;

    if (!force && *loaded && text_equal(script->data, *loaded))
        return 0;
    copy = strndup(script->data, script->len);
    if (!copy)
        return err_set(err, ERR_SYSTEM, ENOMEM, "rules");
    r = nft_run(script->data, script->len, netns_fd, err);
    if (r < 0) {
        free(copy);
        return r;
    }
    free(*loaded);
    *loaded = copy;
    return 0;
}

static int load_plan(struct net *net, const struct nft_plan *plan, bool force, struct err *err)
{
    AUTO_BUF struct buf host = BUF_INIT(NFT_TEXT_MAX), router = BUF_INIT(NFT_TEXT_MAX);
    char name[64];
    int r;

    if (nft_write_host(plan, &host) < 0 || nft_write_router(plan, &router) < 0)
        return err_set(err, ERR_SYSTEM, ENOMEM, "rules");
    r = load_script(&router, net->router_ns, false, &net->router_script, err);
    if (r == 0)
        r = load_script(&host, -1, force, &net->host_script, err);
    if (r < 0)
        return r;
    (void)snprintf(name, sizeof name, "ipv4/conf/%s/route_localnet", net->link);
    r = sysctl_net_write(name, plan_uses_loopback(plan) ? "1" : "0");
    return r < 0 ? err_set(err, ERR_SYSTEM, -r, "cannot set %s", name) : 0;
}

static int update_rules(struct net *net, bool force, struct err *err)
{
    AUTO_FREE struct nft_plan *plan = malloc(sizeof *plan);
    int r;

    if (!plan)
        return err_set(err, ERR_SYSTEM, ENOMEM, "rules");
    r = make_plan(net, plan);
    if (r < 0)
        return err_set(err, ERR_SYSTEM, -r, "cannot list the host's addresses");
    return load_plan(net, plan, force, err);
}

/* Whether a /30 is neither in use nor on somebody's way. Wide routes (a VPN's 0.0.0.0/1) are no use of our
 * range. */
static bool is_free_block(const struct nl_range *used, size_t count, struct nl_range block)
{
    for (size_t i = 0; i < count; i++) {
        if (used[i].prefix >= 16 && nl_range_overlaps(used[i], block))
            return false;
    }
    return true;
}

/* Which /30 the link has: begins where the instance's name says, so that it is mostly the same again. */
static int choose_addresses(struct net *net, struct err *err)
{
    AUTO_FREE struct nl_range *used = calloc(RANGES_MAX, sizeof *used);
    uint32_t start = 2166136261U;
    size_t count = 0;
    int r;

    if (!used)
        return err_set(err, ERR_SYSTEM, ENOMEM, "addresses");
    r = nl_ranges(net->host_nl, NL_ADDRESSES | NL_SUBNETS | NL_ROUTES, used, RANGES_MAX, &count);
    if (r == -E2BIG) /* a router with the whole Internet's table */
        r = nl_ranges(net->host_nl, NL_ADDRESSES | NL_SUBNETS, used, RANGES_MAX, &count);
    if (r < 0)
        return err_set(err, ERR_SYSTEM, -r, "cannot list the host's addresses");
    for (const char *c = net->instance; *c; c++)
        start = (start ^ (unsigned char)*c) * 16777619U;
    for (uint32_t i = 0; i < LINK_BLOCKS; i++) {
        struct nl_range block = { LINK_RANGE + (start + i) % LINK_BLOCKS * 4, LINK_PREFIX };

        if (!is_free_block(used, count, block))
            continue;
        net->host_address = block.address + 1;
        net->router_address = block.address + 2;
        return 0;
    }
    return err_set(err, ERR_SYSTEM, EADDRINUSE, "no free addresses in 198.19.0.0/16");
}

/* The link, still down on the host's side: nothing may pass before the rules are there. Made from the
 * router's side, because the kernel takes an index for the far end only together with one for the near end,
 * and the host's indexes are not ours. */
static int make_uplink(struct net *net, struct err *err)
{
    struct nl_veth_end near = { NFT_ROUTER_UPLINK, IFINDEX_UPLINK, { 0 } }, far = { net->link, 0, { 0 } };
    struct nl_batch batch;
    int r, ifindex;

    memcpy(near.mac, mac_uplink, sizeof mac_uplink);
    memcpy(far.mac, mac_host, sizeof mac_host);
    nl_batch_init(&batch);
    nl_add_veth(&batch, &near, &far, net->home_ns);
    r = nl_commit(net->router_nl, &batch);
    if (r < 0)
        return err_set(err, ERR_SYSTEM, -r, "cannot make the link %s", net->link);
    ifindex = (int)if_nametoindex(net->link);
    nl_batch_init(&batch);
    nl_add_address(&batch, ifindex, net->host_address, LINK_PREFIX);
    nl_add_neighbour(&batch, ifindex, net->router_address, mac_uplink);
    r = nl_commit(net->host_nl, &batch);
    if (r < 0)
        return err_set(err, ERR_SYSTEM, -r, "cannot give %s its address", net->link);
    return 0;
}

/* Both sides' last step. Settings of the link vanish with it and need no restoring. */
static int raise_uplink(struct net *net, struct err *err)
{
    static const struct setting link_settings[] = {
        { "ipv6/conf/%s/disable_ipv6", "1" },     { "ipv4/conf/%s/rp_filter", "1" },
        { "ipv4/conf/%s/accept_redirects", "0" }, { "ipv4/conf/%s/send_redirects", "0" },
        { "ipv4/conf/%s/forwarding", "1" },
    };
    struct nl_batch batch;
    int r;

    for (size_t i = 0; i < sizeof link_settings / sizeof *link_settings; i++) {
        char name[64];
        const char *mark = strchr(link_settings[i].name, '%');
        struct setting one[2] = { { name, link_settings[i].value } };

        (void)snprintf(name, sizeof name, "%.*s%s%s", (int)(mark - link_settings[i].name),
                       link_settings[i].name, net->link, mark + 2);
        r = apply_settings(one);
        if (r < 0)
            return err_set(err, ERR_SYSTEM, -r, "cannot set %s", name);
    }
    nl_batch_init(&batch);
    nl_link_up(&batch, (int)if_nametoindex(net->link));
    r = nl_commit(net->host_nl, &batch);
    if (r < 0)
        return err_set(err, ERR_SYSTEM, -r, "cannot raise %s", net->link);
    nl_batch_init(&batch);
    nl_link_up(&batch, 1);
    nl_link_up(&batch, IFINDEX_UPLINK);
    nl_add_address(&batch, IFINDEX_UPLINK, net->router_address, LINK_PREFIX);
    nl_add_neighbour(&batch, IFINDEX_UPLINK, net->host_address, mac_host);
    nl_add_route(&batch, IFINDEX_UPLINK, 0, 0, net->host_address);
    r = nl_commit(net->router_nl, &batch);
    return r < 0 ? err_set(err, ERR_SYSTEM, -r, "cannot set up the router") : 0;
}

/* What must not happen in two instances at once. */
static int claim_addresses(struct net *net, struct err *err)
{
    AUTO_FD int lock_fd = -1;
    int r = guard_lock(&lock_fd, err);

    if (r == 0)
        r = guard_enter(&net->guard, net->instance, err);
    if (r == 0)
        r = choose_addresses(net, err);
    if (r == 0)
        r = make_uplink(net, err);
    return r;
}

static int build(struct net *net, struct err *err)
{
    int r = netns_make(net->home_ns, -1, router_settings, &net->router_ns, &net->router_nl, err);

    if (r == 0)
        r = claim_addresses(net, err);
    if (r == 0)
        r = update_rules(net, true, err);
    if (r == 0)
        r = raise_uplink(net, err);
    if (r == 0)
        r = guard_enable(&net->guard, err);
    if (r < 0)
        return r;
    if (setns(net->router_ns, CLONE_NEWNET) < 0)
        return err_set(err, ERR_SYSTEM, errno, "cannot enter the router");
    (void)apply_settings(router_late_settings);
    r = nl_open(NETLINK_NETFILTER, 0, &net->router_flows);
    netns_return(net->home_ns);
    if (r == 0)
        r = nl_open(NETLINK_NETFILTER, 0, &net->host_flows);
    return r < 0 ? err_set(err, ERR_SYSTEM, -r, "cannot reach connection tracking") : 0;
}

static void watch_add(int epoll, int fd)
{
    struct epoll_event event = { .events = EPOLLIN };

    (void)epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static uint32_t group_bit(unsigned group)
{
    return 1U << (group - 1);
}

/* Addresses and forwarding settings say when they change, and so does nftables; resolv.conf is looked at now
 * and then. What cannot be watched is not: the rules made at the start stay right for most machines. */
static void watch_open(struct net *net)
{
    struct itimerspec period = { { WATCH_SECONDS, 0 }, { WATCH_SECONDS, 0 } };

    net->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (net->epoll < 0)
        return;
    net->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (net->timer >= 0 && timerfd_settime(net->timer, 0, &period, NULL) == 0)
        watch_add(net->epoll, net->timer);
    if (nl_open(NETLINK_ROUTE, group_bit(RTNLGRP_IPV4_IFADDR) | group_bit(RTNLGRP_IPV4_NETCONF),
                &net->address_events) == 0)
        watch_add(net->epoll, net->address_events);
    if (nl_open(NETLINK_NETFILTER, group_bit(NFNLGRP_NFTABLES), &net->nft_events) == 0)
        watch_add(net->epoll, net->nft_events);
}

static bool is_valid_instance(const char *instance)
{
    return instance && strlen(instance) == INSTANCE_LEN &&
           strspn(instance, "abcdefghijklmnopqrstuvwxyz0123456789") == INSTANCE_LEN;
}

static int init(struct net *net, const struct net_config *config, struct err *err)
{
    uint32_t servers[DNS_SERVERS_MAX];
    int r;

    memcpy(net->instance, config->instance, INSTANCE_LEN + 1);
    (void)snprintf(net->link, sizeof net->link, NFT_LINK_PREFIX "%s", net->instance);
    r = netns_current(&net->home_ns);
    if (r == 0)
        r = nl_open(NETLINK_ROUTE, 0, &net->host_nl);
    if (r < 0)
        return err_set(err, ERR_SYSTEM, -r, "cannot reach the kernel's network");
    net->server_count = allow_servers(servers);
    if (config->allow_host_count > ALLOW_MAX)
        return err_set(err, ERR_INVALID, 0, "more than %d --allow-host", ALLOW_MAX);
    net->allow_count = config->allow_host_count;
    return allow_read(config->allow_hosts, net->allow_count, net->allows, err);
}

static void close_one(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static int remove_link(int nl, const char *link)
{
    struct nl_batch batch;

    nl_batch_init(&batch);
    nl_link_delete(&batch, link);
    return nl_commit(nl, &batch);
}

static int remove_rules(const char *instance, struct err *err)
{
    AUTO_BUF struct buf script = BUF_INIT(256);
    int r = nft_write_removal(instance, &script);

    return r < 0 ? err_set(err, ERR_SYSTEM, -r, "rules") : nft_run(script.data, script.len, -1, err);
}

/* Takes down what build() made, in an order that never leaves forwarding open without the rules. */
static void unbuild(struct net *net)
{
    bool had_rules = net->host_script != NULL;

    guard_leave(&net->guard, net->instance);
    if (net->router_ns >= 0)
        (void)remove_link(net->host_nl, net->link);
    if (had_rules)
        (void)remove_rules(net->instance, NULL);
    free(net->host_script);
    free(net->router_script);
    net->host_script = net->router_script = NULL;
    close_one(&net->host_flows);
    close_one(&net->router_flows);
    close_one(&net->router_nl);
    close_one(&net->router_ns);
    net->usable = false;
}

/* A packet must pass every table's chain, and a firewall of the host (ufw, a container engine) may let
 * nothing through. */
static void warn_about_firewall(const struct net *net)
{
    char chain[NFT_CHAIN_BYTES];

    if (nft_find_dropping_chain(chain))
        log_warn("the firewall's chain '%s' drops forwarded traffic: unless it lets %s pass, functions reach "
                 "nothing outside (see docs/network.md)",
                 chain, net->link);
}

/* What the sandboxes' files say; they are not told of later changes. */
static int make_texts(struct net *net, struct err *err)
{
    AUTO_FREE struct nft_plan *plan = calloc(1, sizeof *plan);

    if (plan && nl_ranges(net->host_nl, NL_ADDRESSES, plan->own, NFT_OWN_MAX, &plan->own_count) == 0)
        net->hosts = allow_hosts_text(plan, net->allows, net->allow_count);
    net->resolv_conf = allow_resolv_text(net->usable ? net->server_count : 0);
    return net->hosts && net->resolv_conf ? 0 : err_set(err, ERR_SYSTEM, ENOMEM, "network");
}

int net_open(const struct net_config *config, struct net **ret_net, struct err *err)
{
    struct err why = { 0 };
    struct net *net;
    int r;

    if (!is_valid_instance(config->instance))
        return err_set(err, ERR_INVALID, 0, "an instance is named by eight letters or digits");
    r = net_sweep(config->instance, &why);
    if (r == -EBUSY) {
        if (err)
            *err = why;
        return r;
    }
    net = calloc(1, sizeof *net);
    if (!net)
        return err_set(err, ERR_SYSTEM, ENOMEM, "network");
    net->home_ns = net->router_ns = net->host_nl = net->router_nl = -1;
    net->host_flows = net->router_flows = -1;
    net->epoll = net->timer = net->address_events = net->nft_events = -1;
    net->guard = GUARD_INIT;
    r = init(net, config, err);
    if (r == 0) {
        net->usable = build(net, &why) == 0;
        if (net->usable) {
            watch_open(net);
            warn_about_firewall(net);
        } else {
            unbuild(net);
        }
        r = make_texts(net, err);
    }
    if (r < 0) {
        (void)net_close(net);
        return r;
    }
    if (!net->usable && err)
        *err = why;
    *ret_net = net;
    return 0;
}

struct net *net_close(struct net *net)
{
    if (!net)
        return NULL;
    unbuild(net);
    close_one(&net->nft_events);
    close_one(&net->address_events);
    close_one(&net->timer);
    close_one(&net->epoll);
    close_one(&net->host_nl);
    close_one(&net->home_ns);
    free(net->resolv_conf);
    free(net->hosts);
    free(net);
    return NULL;
}

bool net_usable(const struct net *net)
{
    return net->usable;
}

int net_sweep(const char *instance, struct err *err)
{
    char link[IFNAMSIZ];
    AUTO_FD int nl = -1;
    int r;

    if (!is_valid_instance(instance))
        return err_set(err, ERR_INVALID, 0, "an instance is named by eight letters or digits");
    r = guard_sweep(instance, err);
    if (r < 0)
        return r;
    r = nl_open(NETLINK_ROUTE, 0, &nl);
    if (r < 0)
        return err_set(err, ERR_SYSTEM, -r, "cannot reach the kernel's network");
    (void)snprintf(link, sizeof link, NFT_LINK_PREFIX "%s", instance);
    r = remove_link(nl, link);
    if (r < 0 && r != -ENODEV)
        return err_set(err, ERR_SYSTEM, -r, "cannot remove the link %s", link);
    r = remove_rules(instance, err);
    return r == -ENOENT ? 0 : r; /* no nft, so no rules */
}

static void slot_name(unsigned index, char name[static IFNAMSIZ])
{
    (void)snprintf(name, IFNAMSIZ, NFT_SLOT_PREFIX "%u", index);
}

/* The router's side: the link with both its ends, and the way to the slot. */
static int connect_slot(const struct net *net, unsigned index, int netns_fd)
{
    char name[IFNAMSIZ];
    struct nl_veth_end near = { name, IFINDEX_SLOTS + (int)index, { 0 } };
    struct nl_veth_end far = { SLOT_DEVICE, IFINDEX_SLOTS, { 0x02, 'I', 'r', 1 } };
    struct nl_batch batch;

    slot_name(index, name);
    memcpy(near.mac, mac_router, sizeof mac_router);
    far.mac[4] = (uint8_t)(index >> 8);
    far.mac[5] = (uint8_t)index;
    nl_batch_init(&batch);
    nl_add_veth(&batch, &near, &far, netns_fd);
    nl_link_up(&batch, near.ifindex);
    nl_add_route(&batch, near.ifindex, SLOT_ADDRESS(index), 32, 0);
    nl_add_neighbour(&batch, near.ifindex, SLOT_ADDRESS(index), far.mac);
    return nl_commit(net->router_nl, &batch);
}

/* The slot's side; of it the loopback device is all there is when there is no network. */
static int configure_slot(const struct net *net, unsigned index, int slot_nl)
{
    struct nl_batch batch;

    nl_batch_init(&batch);
    nl_link_up(&batch, 1);
    if (net->usable) {
        nl_link_up(&batch, IFINDEX_SLOTS);
        nl_add_address(&batch, IFINDEX_SLOTS, SLOT_ADDRESS(index), 32);
        nl_add_neighbour(&batch, IFINDEX_SLOTS, SLOT_ROUTER, mac_router);
        nl_add_route(&batch, IFINDEX_SLOTS, 0, 0, SLOT_ROUTER);
    }
    return nl_commit(slot_nl, &batch);
}

int net_slot_add(struct net *net, unsigned index, int made, int *ret_netns_fd, struct err *err)
{
    AUTO_FD int netns_fd = -1;
    AUTO_FD int slot_nl = -1;
    int r;

    if (index > SLOT_INDEX_MAX)
        return err_set(err, ERR_LIMIT, 0, "no slot above %d", SLOT_INDEX_MAX);
    r = netns_make(net->home_ns, made, slot_settings, &netns_fd, &slot_nl, err);
    if (r < 0)
        return r;
    if (net->usable) {
        r = connect_slot(net, index, netns_fd);
        if (r < 0) {
            if (r != -EEXIST)
                (void)net_slot_remove(net, index);
            return err_set(err, ERR_SYSTEM, -r, "cannot make the link of slot %u", index);
        }
    }
    r = configure_slot(net, index, slot_nl);
    if (r < 0) {
        (void)net_slot_remove(net, index);
        return err_set(err, ERR_SYSTEM, -r, "cannot set up the network of slot %u", index);
    }
    *ret_netns_fd = TAKE_FD(netns_fd);
    return 0;
}

int net_slot_remove(struct net *net, unsigned index)
{
    char name[IFNAMSIZ];

    if (!net->usable)
        return 0;
    slot_name(index, name);
    return remove_link(net->router_nl, name);
}

int net_slot_clean(struct net *net, unsigned index, int netns_fd, uint64_t *packets, struct err *err)
{
    uint64_t sent;
    int r = 0;

    if (setns(netns_fd, CLONE_NEWNET) < 0)
        return err_set(err, ERR_SYSTEM, errno, "cannot enter the slot's network");
    sent = flows_packets_sent(SLOT_DEVICE);
    /* A look at all connections of the machine costs a millisecond. */
    if (sent != *packets || flows_any_socket())
        r = flows_end_sockets();
    netns_return(net->home_ns);
    if (r < 0)
        return err_set(err, ERR_SYSTEM, -r, "cannot end the connections of slot %u", index);
    if (!net->usable || sent == *packets)
        return 0;
    r = flows_forget(net->router_flows, net->host_flows, SLOT_ADDRESS(index));
    if (r < 0)
        return err_set(err, ERR_SYSTEM, -r, "cannot forget the connections of slot %u", index);
    *packets = sent;
    return 0;
}

static int listen_here(int *ret_fd)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(RUNTIME_PORT),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    AUTO_FD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof address) < 0 || listen(fd, RUNTIME_BACKLOG) < 0)
        return -errno;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* Returns 0, and netns_return(*ret_home_ns) leads back. */
static int enter_slot(int netns_fd, int *ret_home_ns, struct err *err)
{
    int r = netns_current(ret_home_ns);

    if (r == 0 && setns(netns_fd, CLONE_NEWNET) < 0)
        r = -errno;
    return r < 0 ? err_set(err, ERR_SYSTEM, -r, "cannot enter the slot's network") : 0;
}

int net_slot_listen(int netns_fd, int *ret_fd, struct err *err)
{
    AUTO_FD int home_ns = -1;
    int r = enter_slot(netns_fd, &home_ns, err);

    if (r < 0)
        return r;
    r = listen_here(ret_fd);
    netns_return(home_ns);
    return r < 0 ? err_set(err, ERR_SYSTEM, -r, "cannot listen on 127.0.0.1:%d", RUNTIME_PORT) : 0;
}

static int connect_here(int listener, int *ret_client, int *ret_server)
{
    const struct sockaddr_in address = { .sin_family = AF_INET,
                                         .sin_port = htons(RUNTIME_PORT),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    AUTO_FD int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int server, one = 1;

    if (client < 0 || connect(client, (const struct sockaddr *)&address, sizeof address) < 0)
        return -errno;
    server = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (server < 0)
        return -errno;
    (void)setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    *ret_client = TAKE_FD(client);
    *ret_server = server;
    return 0;
}

int net_slot_connect(int netns_fd, int listener, int *ret_client, int *ret_server, struct err *err)
{
    AUTO_FD int home_ns = -1;
    int r = enter_slot(netns_fd, &home_ns, err);

    if (r < 0)
        return r;
    r = connect_here(listener, ret_client, ret_server);
    netns_return(home_ns);
    return r < 0 ? err_set(err, ERR_SYSTEM, -r, "cannot connect to 127.0.0.1:%d", RUNTIME_PORT) : 0;
}

int net_event_fd(const struct net *net)
{
    return net->epoll;
}

struct table_watch {
    char name[32];
    bool deleted;
};

static void on_nft_message(const struct nlmsghdr *message, void *data)
{
    struct table_watch *watch = data;

    if (nl_is_table_deletion(message, watch->name))
        watch->deleted = true;
}

void net_on_event(struct net *net)
{
    struct err err = { 0 };
    struct table_watch watch = { .deleted = false };
    uint64_t ticks;

    if (!net->usable)
        return;
    (void)snprintf(watch.name, sizeof watch.name, "irori_%s", net->instance);
    if (net->timer >= 0 && read(net->timer, &ticks, sizeof ticks) < 0)
        ticks = 0;
    if (net->address_events >= 0)
        nl_drain(net->address_events, NULL, NULL);
    if (net->nft_events >= 0)
        nl_drain(net->nft_events, on_nft_message, &watch);
    if (update_rules(net, watch.deleted, &err) < 0) {
        if (!net->warned)
            log_warn("the network's rules stay as they were: %s", err.text);
        net->warned = true;
        return;
    }
    net->warned = false;
    /* Our own change is no news. */
    if (net->nft_events >= 0)
        nl_drain(net->nft_events, NULL, NULL);
}

const char *net_resolv_conf(const struct net *net)
{
    return net->resolv_conf;
}

const char *net_hosts(const struct net *net)
{
    return net->hosts;
}
