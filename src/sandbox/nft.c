#include "sandbox/nft.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "sandbox/dns.h"
#include "sandbox/sysctl_guard.h"

enum { NFT_DEADLINE_MS = 10000, NFT_REPORT_BYTES = 240 };

/* Never on the Internet, and places where clouds keep the secrets of a machine. */
static const char special_ranges[] =
    "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, "
    "172.16.0.0/12, 192.0.0.0/24, 192.168.0.0/16, 198.18.0.0/15, 224.0.0.0/3, "
    "168.63.129.16"; /* Azure's host agent */

bool nft_plan_add(struct nft_plan *plan, struct nft_service service)
{
    for (size_t i = 0; i < plan->service_count; i++) {
        const struct nft_service *at = &plan->services[i];

        if (at->address == service.address && at->port == service.port && at->udp == service.udp)
            return false;
    }
    if (plan->service_count == NFT_SERVICES_MAX)
        return false;
    plan->services[plan->service_count++] = service;
    return true;
}

static void write_sets(const struct nft_plan *plan, struct buf *out)
{
    char address[DNS_IP4_BYTES];

    (void)buf_printf(out, "  set special { type ipv4_addr; flags interval; auto-merge; elements = { %s } }\n",
                     special_ranges);
    (void)buf_puts(out, "  set own { type ipv4_addr; flags interval; auto-merge;");
    for (size_t i = 0; i < plan->own_count; i++) {
        dns_format_ip4(plan->own[i].address, address);
        (void)buf_printf(out, "%s%s/%u", i == 0 ? " elements = { " : ", ", address, plan->own[i].prefix);
    }
    (void)buf_puts(out, plan->own_count > 0 ? " } }\n" : " }\n");
}

/* What functions may send, for the host and the router alike. The first packet decides; ct original is the
 * destination the function named, before any translation, ours or the host's (a published container port). */
static void write_outbound(const struct nft_plan *plan, struct buf *out)
{
    char address[DNS_IP4_BYTES];

    (void)buf_puts(out, "  chain services {\n");
    for (size_t i = 0; i < plan->service_count; i++) {
        const struct nft_service *at = &plan->services[i];

        dns_format_ip4(at->address, address);
        (void)buf_printf(out, "    meta l4proto %s ct original ip daddr %s ct original proto-dst %u accept\n",
                         at->udp ? "udp" : "tcp", address, at->port);
    }
    (void)buf_puts(out, "  }\n"
                        "  chain outbound {\n"
                        "    meta nfproto != ipv4 drop\n"
                        "    ct state established,related accept\n"
                        "    ct state != new drop\n"
                        "    jump services\n"
                        "    meta l4proto != { tcp, udp, icmp } drop\n"
                        "    ip daddr @special reject with icmpx admin-prohibited\n"
                        "    ip daddr @own reject with icmpx admin-prohibited\n"
                        "    accept\n"
                        "  }\n");
}

/* Destination translation for the gateway addresses, and the source that services on the host's loopback
 * expect: they and their access rules (pg_hba.conf, a resolver's access-control) take connections from
 * 127.0.0.1 only. */
static void write_translation(const struct nft_plan *plan, struct buf *out)
{
    char address[DNS_IP4_BYTES], to[DNS_IP4_BYTES];

    (void)buf_puts(out, "  chain gateways {\n    type nat hook prerouting priority -110; policy accept;\n");
    for (size_t i = 0; i < plan->service_count; i++) {
        const struct nft_service *at = &plan->services[i];

        if (!at->translated)
            continue;
        dns_format_ip4(at->address, address);
        dns_format_ip4(at->to_address, to);
        (void)buf_printf(out, "    iifname \"%s\" ip daddr %s %s dport %u dnat ip to %s:%u\n", plan->link,
                         address, at->udp ? "udp" : "tcp", at->port, to, at->to_port);
    }
    (void)buf_printf(out,
                     "  }\n"
                     "  chain loopback {\n"
                     "    type nat hook input priority 90; policy accept;\n"
                     "    iifname \"%s\" ip daddr 127.0.0.0/8 snat ip to 127.0.0.1\n"
                     "  }\n",
                     plan->link);
    dns_format_ip4(plan->router_address, address);
    (void)buf_printf(out,
                     "  chain outside {\n"
                     "    type nat hook postrouting priority 110; policy accept;\n"
                     "    ip saddr %s oifname != \"" NFT_LINK_PREFIX "*\" masquerade\n"
                     "  }\n",
                     address);
}

/* A name that nft could take for something else is not worth a rule. */
static bool is_listed(const struct guard_device *device, bool forwarding)
{
    return device->forwarding == forwarding && !strpbrk(device->name, "\"\\*");
}

static void write_device_set(const struct guard_state *before, bool forwarding, struct buf *out)
{
    bool first = true;

    for (size_t i = 0; i < before->count; i++) {
        if (!is_listed(&before->devices[i], forwarding))
            continue;
        (void)buf_printf(out, "%s\"%s\"", first ? "" : ", ", before->devices[i].name);
        first = false;
    }
}

static bool has_device(const struct guard_state *before, bool forwarding)
{
    for (size_t i = 0; i < before->count; i++) {
        if (is_listed(&before->devices[i], forwarding))
            return true;
    }
    return false;
}

/* Forwarding had to be turned on for us; what comes from a device that did not forward before still gets no
 * further. Traffic of other instances has a link of theirs on one side. */
static void write_guard(const struct guard_state *before, struct buf *out)
{
    bool listed =
        !before->by_default; /* whether the exceptions are those that did forward, or those that did not */

    if (before->by_default && !has_device(before, false))
        return;
    (void)buf_puts(out, "    iifname \"" NFT_LINK_PREFIX "*\" accept\n"
                        "    oifname \"" NFT_LINK_PREFIX "*\" accept\n"
                        "    ct state established,related accept\n");
    if (has_device(before, listed)) {
        (void)buf_printf(out, "    iifname %s{ ", listed ? "!= " : "");
        write_device_set(before, listed, out);
        (void)buf_puts(out, " } drop\n");
    } else {
        (void)buf_puts(out, "    drop\n");
    }
}

/* By the low bits of the source port, which all groups get about as much of. Whoever chooses ports can fill a
 * group, and then the others' connections that fall into it are refused; but not the host's own. */
static void write_share(const struct nft_plan *plan, const char *match, struct buf *out)
{
    uint32_t entries = plan->table_entries ? plan->table_entries : NFT_TABLE_ENTRIES;

    (void)buf_printf(
        out,
        "    %sct state new add @connections { th sport & %d ct count over %u } reject with icmpx "
        "admin-prohibited\n",
        match, NFT_CONNECTION_GROUPS - 1, entries / 2 / NFT_CONNECTION_GROUPS);
}

int nft_write_host(const struct nft_plan *plan, struct buf *out)
{
    char router[DNS_IP4_BYTES], match[IFNAMSIZ + 16];

    dns_format_ip4(plan->router_address, router);
    (void)nft_write_removal(plan->instance, out);
    (void)buf_printf(out,
                     "table inet irori_%s {\n"
                     "  set connections { type inet_service; size %d; flags dynamic; }\n",
                     plan->instance, NFT_CONNECTION_GROUPS);
    write_sets(plan, out);
    write_outbound(plan, out);
    write_translation(plan, out);
    (void)buf_printf(out,
                     "  chain source {\n"
                     "    type filter hook prerouting priority -310; policy accept;\n"
                     "    iifname \"%s\" ip saddr != %s drop\n"
                     "  }\n"
                     "  chain input {\n"
                     "    type filter hook input priority -10; policy accept;\n"
                     "    iifname != \"%s\" accept\n"
                     "    meta nfproto != ipv4 drop\n"
                     "    ct state established,related accept\n",
                     plan->link, router, plan->link);
    write_share(plan, "", out);
    (void)buf_puts(out, "    jump services\n"
                        "    reject with icmpx admin-prohibited\n"
                        "  }\n"
                        "  chain forward {\n"
                        "    type filter hook forward priority -10; policy accept;\n");
    (void)snprintf(match, sizeof match, "iifname \"%s\" ", plan->link);
    write_share(plan, match, out);
    (void)buf_printf(out,
                     "    iifname \"%s\" jump outbound\n"
                     "    oifname \"%s\" ct state established,related accept\n"
                     "    oifname \"%s\" drop\n",
                     plan->link, plan->link, plan->link);
    if (plan->before)
        write_guard(plan->before, out);
    (void)buf_puts(out, "  }\n}\n");
    return out->failed ? -ENOMEM : 0;
}

int nft_write_router(const struct nft_plan *plan, struct buf *out)
{
    (void)buf_puts(out, "table inet irori\ndelete table inet irori\ntable inet irori {\n"
                        "  set connections { type ipv4_addr; size 65535; flags dynamic; }\n");
    write_sets(plan, out);
    write_outbound(plan, out);
    (void)buf_printf(out,
                     "  chain input {\n"
                     "    type filter hook input priority 0; policy drop;\n"
                     "    ct state established,related accept\n"
                     "    iifname \"" NFT_SLOT_PREFIX "*\" reject with icmpx admin-prohibited\n"
                     "  }\n"
                     "  chain forward {\n"
                     "    type filter hook forward priority 0; policy drop;\n"
                     "    iifname \"" NFT_SLOT_PREFIX "*\" ct state new add @connections "
                     "{ ip saddr ct count over %d } reject with icmpx admin-prohibited\n"
                     "    iifname \"" NFT_SLOT_PREFIX "*\" oifname \"" NFT_ROUTER_UPLINK "\" jump outbound\n"
                     "    iifname \"" NFT_SLOT_PREFIX "*\" reject with icmpx admin-prohibited\n"
                     "    iifname \"" NFT_ROUTER_UPLINK "\" ct state established,related accept\n"
                     "  }\n"
                     "  chain outside {\n"
                     "    type nat hook postrouting priority 100; policy accept;\n"
                     "    oifname \"" NFT_ROUTER_UPLINK "\" masquerade\n"
                     "  }\n"
                     "}\n",
                     NFT_SLOT_CONNECTIONS);
    return out->failed ? -ENOMEM : 0;
}

int nft_write_removal(const char *instance, struct buf *out)
{
    /* Made first, so that removing succeeds in any case. */
    return buf_printf(out, "table inet irori_%s\ndelete table inet irori_%s\n", instance, instance);
}

static __attribute__((noreturn)) void nft_child(int script_fd, int out_fd, int report_fd, int netns_fd)
{
    static const char *const places[] = { "/usr/sbin/nft", "/sbin/nft", "/usr/local/sbin/nft",
                                          "/usr/bin/nft" };
    char name[] = "nft", flag[] = "-f", file[] = "-", path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
    char *argv[] = { name, flag, file, NULL }, *envp[] = { path, NULL };
    sigset_t none;

    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if ((netns_fd < 0 || setns(netns_fd, CLONE_NEWNET) == 0) && dup2(script_fd, STDIN_FILENO) >= 0 &&
        dup2(out_fd, STDOUT_FILENO) >= 0 && dup2(report_fd, STDERR_FILENO) >= 0) {
        for (size_t i = 0; i < sizeof places / sizeof *places; i++)
            (void)execve(places[i], argv, envp);
    }
    _exit(127);
}

/* Waits until the child ends or the time is over, then makes sure that it has ended. Returns its wait status.
 */
static int wait_or_kill(pid_t pid)
{
    AUTO_FD int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd wait = { .fd = pidfd, .events = POLLIN };
    int status = -1;

    if (pidfd >= 0) {
        while (poll(&wait, 1, NFT_DEADLINE_MS) < 0 && errno == EINTR)
            ;
        if (!(wait.revents & POLLIN))
            (void)kill(pid, SIGKILL);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

/* nft says much; its first line says what is wrong. */
static int nft_failed(int report_fd, int status, struct err *err)
{
    char text[NFT_REPORT_BYTES];
    ssize_t got = pread(report_fd, text, sizeof text - 1, 0);

    text[got > 0 ? got : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return err_set(err, ERR_SYSTEM, ENOENT, "nft cannot be started (Debian package nftables)");
    if (WIFSIGNALED(status))
        return err_set(err, ERR_SYSTEM, 0, "nft was ended by signal %d", WTERMSIG(status));
    return err_set(err, ERR_SYSTEM, 0, "nft refused the rules: %s", text);
}

static int read_output(int fd, struct buf *out)
{
    off_t size = lseek(fd, 0, SEEK_END);
    ssize_t got;

    if (size < 0 || buf_reserve(out, (size_t)size) < 0)
        return -EMSGSIZE;
    got = size > 0 ? pread(fd, out->data, (size_t)size, 0) : 0;
    if (got < 0)
        return -errno;
    out->len = (size_t)got;
    return buf_puts(out, "");
}

/* out: what nft printed, or NULL. */
static int run(const char *script, size_t len, int netns_fd, struct buf *out, struct err *err)
{
    AUTO_FD int script_fd = memfd_create("nft-script", MFD_CLOEXEC);
    AUTO_FD int report_fd = memfd_create("nft-report", MFD_CLOEXEC);
    AUTO_FD int out_fd = memfd_create("nft-output", MFD_CLOEXEC);
    pid_t pid;
    int status;

    if (script_fd < 0 || report_fd < 0 || out_fd < 0)
        return err_set(err, ERR_SYSTEM, errno, "memfd_create");
    if (pwrite(script_fd, script, len, 0) != (ssize_t)len)
        return err_set(err, ERR_SYSTEM, errno, "cannot write the rules");
    pid = fork();
    if (pid == 0)
        nft_child(script_fd, out_fd, report_fd, netns_fd);
    if (pid < 0)
        return err_set(err, ERR_SYSTEM, errno, "fork");
    status = wait_or_kill(pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return nft_failed(report_fd, status, err);
    return out ? read_output(out_fd, out) : 0;
}

int nft_run(const char *script, size_t len, int netns_fd, struct err *err)
{
    return run(script, len, netns_fd, NULL, err);
}

bool nft_parse_dropping_chain(const char *text, char name[NFT_CHAIN_BYTES])
{
    char table[NFT_CHAIN_BYTES / 2] = "", chain[NFT_CHAIN_BYTES / 2] = "";

    for (; text; text = strchr(text, '\n')) {
        size_t len = strcspn(text += *text == '\n', "\n");
        const char *drop;

        (void)sscanf(text, "table %95[^{\n]", table);
        (void)sscanf(text, "\tchain %95[^{\n]", chain);
        drop = memmem(text, len, "hook forward ", sizeof "hook forward " - 1);
        if (!drop || !memmem(text, len, "policy drop;", sizeof "policy drop;" - 1) ||
            strstr(table, " irori_"))
            continue;
        (void)snprintf(name, NFT_CHAIN_BYTES, "%s%s", table, chain);
        name[strlen(name) - (name[0] != '\0')] = '\0'; /* the blank before the brace */
        return true;
    }
    return false;
}

bool nft_find_dropping_chain(char name[NFT_CHAIN_BYTES])
{
    static const char script[] = "list chains\n";
    AUTO_BUF struct buf text = BUF_INIT(NFT_TEXT_MAX);

    return run(script, sizeof script - 1, -1, &text, NULL) == 0 && text.data &&
           nft_parse_dropping_chain(text.data, name);
}
