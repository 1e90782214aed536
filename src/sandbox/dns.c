#include "sandbox/dns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/text.h"

enum { DNS_LINE_MAX = 1024, DNS_RESOLVE_MS = 5000, DNS_NOBODY = 65534 };

/* A part of a text. */
struct span {
    const char *at;
    size_t len;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

/* Cuts the next line off rest. */
static bool next_line(struct span *rest, struct span *line)
{
    const char *end;

    if (rest->len == 0)
        return false;
    end = memchr(rest->at, '\n', rest->len);
    line->at = rest->at;
    line->len = end ? (size_t)(end - rest->at) : rest->len;
    rest->at += line->len + (end ? 1 : 0);
    rest->len -= line->len + (end ? 1 : 0);
    return true;
}

/* Cuts the next word off line. */
static bool next_word(struct span *line, struct span *word)
{
    while (line->len > 0 && is_blank(*line->at)) {
        line->at++;
        line->len--;
    }
    word->at = line->at;
    word->len = 0;
    while (line->len > 0 && !is_blank(*line->at)) {
        line->at++;
        line->len--;
        word->len++;
    }
    return word->len > 0;
}

static void cut_comment(struct span *line, const char *marks)
{
    for (size_t i = 0; i < line->len; i++) {
        if (line->at[i] != '\0' && strchr(marks, line->at[i]))
            line->len = i;
    }
}

static bool span_is(struct span span, const char *text)
{
    return span.len == strlen(text) && memcmp(span.at, text, span.len) == 0;
}

static bool span_is_name(struct span span)
{
    if (span.len == 0 || span.len >= DNS_NAME_BYTES || span.at[0] == '-' || span.at[0] == '.')
        return false;
    for (size_t i = 0; i < span.len; i++) {
        char c = span.at[i];
        bool alnum = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');

        if (!alnum && c != '-' && c != '.' && c != '_')
            return false;
    }
    return true;
}

bool dns_parse_ip4(const char *text, size_t len, uint32_t *ret_address)
{
    char copy[DNS_IP4_BYTES];
    struct in_addr address;

    if (len >= sizeof copy)
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (strlen(copy) != len || inet_pton(AF_INET, copy, &address) != 1)
        return false;
    *ret_address = ntohl(address.s_addr);
    return true;
}

void dns_format_ip4(uint32_t address, char out[DNS_IP4_BYTES])
{
    (void)snprintf(out, DNS_IP4_BYTES, "%u.%u.%u.%u", (address >> 24) & 255, (address >> 16) & 255,
                   (address >> 8) & 255, address & 255);
}

bool dns_is_loopback(uint32_t address)
{
    return address >> 24 == 127;
}

size_t dns_servers(const char *text, size_t len, uint32_t servers[DNS_SERVERS_MAX])
{
    struct span rest = { text, len }, line, word;
    size_t count = 0;
    bool any = false;

    while (next_line(&rest, &line)) {
        cut_comment(&line, "#;");
        if (!next_word(&line, &word) || !span_is(word, "nameserver") || !next_word(&line, &word))
            continue;
        any = true;
        /* 0.0.0.0 means this machine, to the C library. */
        if (count < DNS_SERVERS_MAX && dns_parse_ip4(word.at, word.len, &servers[count])) {
            if (servers[count] == 0)
                servers[count] = INADDR_LOOPBACK;
            count++;
        }
    }
    if (!any)
        servers[count++] = INADDR_LOOPBACK;
    return count;
}

static bool is_printable(struct span span)
{
    for (size_t i = 0; i < span.len; i++) {
        if ((span.at[i] < 0x20 && span.at[i] != '\t') || span.at[i] == 0x7f)
            return false;
    }
    return true;
}

int dns_write_resolv_conf(const char *text, size_t len, const uint32_t *servers, size_t count,
                          struct buf *out)
{
    struct span rest = { text, len }, line, word;
    char address[DNS_IP4_BYTES];

    for (size_t i = 0; i < count; i++) {
        dns_format_ip4(servers[i], address);
        (void)buf_printf(out, "nameserver %s\n", address);
    }
    while (next_line(&rest, &line)) {
        struct span all;

        cut_comment(&line, "#;");
        while (line.len > 0 && is_blank(line.at[line.len - 1]))
            line.len--;
        all = line;
        if (all.len > DNS_LINE_MAX || !is_printable(all) || !next_word(&line, &word))
            continue;
        if (!span_is(word, "search") && !span_is(word, "domain") && !span_is(word, "options") &&
            !span_is(word, "sortlist"))
            continue;
        (void)buf_append(out, all.at, all.len);
        (void)buf_putc(out, '\n');
    }
    return out->failed ? -ENOMEM : 0;
}

/* Whether an /etc/hosts address is of use inside: not loopback, not multicast, not the unspecified one. */
static bool is_foreign_address(struct span span)
{
    char copy[INET6_ADDRSTRLEN];
    struct in6_addr six;
    uint32_t four;

    if (dns_parse_ip4(span.at, span.len, &four))
        return four != 0 && !dns_is_loopback(four) && four >> 28 < 14;
    if (span.len >= sizeof copy)
        return false;
    memcpy(copy, span.at, span.len);
    copy[span.len] = '\0';
    if (strlen(copy) != span.len || inet_pton(AF_INET6, copy, &six) != 1)
        return false;
    if (IN6_IS_ADDR_V4MAPPED(&six))
        return six.s6_addr[12] != 127;
    return !IN6_IS_ADDR_LOOPBACK(&six) && !IN6_IS_ADDR_MULTICAST(&six) && !IN6_IS_ADDR_UNSPECIFIED(&six) &&
           six.s6_addr[0] != 0xfe;
}

static bool is_taken_name(struct span name, const struct dns_host *own, size_t own_count)
{
    if (text_equal_nocase(name.at, name.len, "localhost"))
        return true;
    for (size_t i = 0; i < own_count; i++) {
        if (text_equal_nocase(name.at, name.len, own[i].name))
            return true;
    }
    return false;
}

static void write_hosts_line(struct span line, const struct dns_host *own, size_t own_count, struct buf *out)
{
    struct span address, name;
    bool first = true;

    cut_comment(&line, "#");
    if (!next_word(&line, &address) || !is_foreign_address(address))
        return;
    while (next_word(&line, &name)) {
        if (!span_is_name(name) || is_taken_name(name, own, own_count))
            continue;
        if (first)
            (void)buf_append(out, address.at, address.len);
        first = false;
        (void)buf_putc(out, ' ');
        (void)buf_append(out, name.at, name.len);
    }
    if (!first)
        (void)buf_putc(out, '\n');
}

int dns_write_hosts(const char *text, size_t len, const struct dns_host *own, size_t own_count,
                    struct buf *out)
{
    struct span rest = { text, len }, line;
    char address[DNS_IP4_BYTES];

    (void)buf_puts(out, "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    for (size_t i = 0; i < own_count; i++) {
        dns_format_ip4(own[i].address, address);
        (void)buf_printf(out, "%s %s\n", address, own[i].name);
    }
    while (next_line(&rest, &line))
        write_hosts_line(line, own, own_count, out);
    return out->failed ? -ENOMEM : 0;
}

int dns_parse_allow(const char *spec, char host[DNS_NAME_BYTES], uint16_t *ret_port, struct err *err)
{
    const char *colon = strrchr(spec, ':');
    struct span name = { spec, colon ? (size_t)(colon - spec) : 0 };
    uint32_t address;
    uint64_t port;

    if (!colon || !text_to_u64(colon + 1, strlen(colon + 1), UINT16_MAX, &port) || port == 0)
        return err_set(err, ERR_INVALID, 0, "'%.280s' is not HOST:PORT", spec);
    if (span_is(name, "[::1]"))
        name = (struct span){ "localhost", strlen("localhost") };
    if (!span_is_name(name))
        return err_set(err, ERR_INVALID, 0, "'%.280s' does not begin with a host name or an IPv4 address",
                       spec);
    /* 10.1 and 010.0.0.1 mean different things to different programs. */
    if (strspn(spec, "0123456789.") == name.len && !dns_parse_ip4(name.at, name.len, &address))
        return err_set(err, ERR_INVALID, 0, "'%.280s' does not begin with a whole IPv4 address", spec);
    memcpy(host, name.at, name.len);
    host[name.len] = '\0';
    *ret_port = (uint16_t)port;
    return 0;
}

/* In the child: answers arrive from the network, so nothing of the caller's may be in reach of whoever parses
 * them. */
static __attribute__((noreturn)) void resolve_child(const char *host, int out_fd)
{
    struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *found = NULL;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (dup2(out_fd, STDOUT_FILENO) < 0 || close_range(STDERR_FILENO, ~0U, 0) < 0)
        _exit(1);
    if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(DNS_NOBODY, DNS_NOBODY, DNS_NOBODY) < 0 ||
                           setresuid(DNS_NOBODY, DNS_NOBODY, DNS_NOBODY) < 0))
        _exit(1);
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        _exit(2);
    for (const struct addrinfo *at = found; at; at = at->ai_next) {
        const struct sockaddr_in *address = (const void *)at->ai_addr;

        if (at->ai_family == AF_INET &&
            write(STDOUT_FILENO, &address->sin_addr.s_addr, sizeof(uint32_t)) != sizeof(uint32_t))
            _exit(1);
    }
    _exit(0);
}

/* Everything the child writes until it closes its end or the time is over. */
static size_t read_until_close(int fd, void *out, size_t size, uint64_t deadline_us)
{
    size_t len = 0;

    while (len < size) {
        struct pollfd wait = { .fd = fd, .events = POLLIN };
        uint64_t now = clock_us();
        ssize_t got;
        int ready = now < deadline_us ? poll(&wait, 1, (int)((deadline_us - now) / 1000) + 1) : 0;

        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            break;
        got = read(fd, (char *)out + len, size - len);
        if (got <= 0)
            break;
        len += (size_t)got;
    }
    return len;
}

int dns_resolve(const char *host, uint32_t *addresses, size_t max, size_t *ret_count, struct err *err)
{
    int ends[2];
    pid_t pid;
    size_t len;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_set(err, ERR_SYSTEM, errno, "pipe");
    pid = fork();
    if (pid == 0)
        resolve_child(host, ends[1]);
    (void)close(ends[1]);
    if (pid < 0) {
        int sys = errno;

        (void)close(ends[0]);
        return err_set(err, ERR_SYSTEM, sys, "fork");
    }
    len =
        read_until_close(ends[0], addresses, max * sizeof *addresses, clock_us() + DNS_RESOLVE_MS * 1000ULL);
    (void)close(ends[0]);
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    if (len < sizeof *addresses)
        return err_set(err, ERR_NOT_FOUND, 0, "'%s' has no IPv4 address", host);
    *ret_count = len / sizeof *addresses;
    for (size_t i = 0; i < *ret_count; i++)
        addresses[i] = ntohl(addresses[i]);
    return 0;
}
