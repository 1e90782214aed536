#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "sandbox/dns.h"

#define IP(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))

static void addresses_are_whole_and_decimal(void **state)
{
    static const char *const wrong[] = { "",          "1.2.3",    "1.2.3.4.5", "1.2.3.256",
                                         "0x1.2.3.4", "1.2.3.4 ", "1.2.3.04",  "::1" };
    uint32_t address;
    char text[DNS_IP4_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(dns_parse_ip4(wrong[i], strlen(wrong[i]), &address));
    assert_false(dns_parse_ip4("1.2.3.4\0x", 9, &address));
    assert_true(dns_parse_ip4("192.0.2.254", 11, &address));
    assert_int_equal(address, IP(192, 0, 2, 254));
    dns_format_ip4(address, text);
    assert_string_equal(text, "192.0.2.254");
}

static size_t servers_of(const char *text, uint32_t servers[DNS_SERVERS_MAX])
{
    return dns_servers(text, strlen(text), servers);
}

static void servers_are_the_ipv4_ones_in_order(void **state)
{
    uint32_t servers[DNS_SERVERS_MAX];

    (void)state;
    assert_int_equal(servers_of("# x\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\n"
                                "nameserver\t127.0.0.53 # stub\n;nameserver 9.9.9.9\nnameservers 8.8.8.8",
                                servers),
                     2);
    assert_int_equal(servers[0], IP(10, 0, 0, 1));
    assert_int_equal(servers[1], IP(127, 0, 0, 53));
    assert_int_equal(
        servers_of("nameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\nnameserver 4.4.4.4", servers),
        3);
    assert_int_equal(servers_of("nameserver 0.0.0.0\n", servers), 1);
    assert_int_equal(servers[0], IP(127, 0, 0, 1));
}

static void no_server_means_this_machine_and_only_ipv6_means_none(void **state)
{
    uint32_t servers[DNS_SERVERS_MAX];

    (void)state;
    assert_int_equal(servers_of("", servers), 1);
    assert_int_equal(servers[0], IP(127, 0, 0, 1));
    assert_int_equal(servers_of("search a.b\n", servers), 1);
    assert_int_equal(servers_of("nameserver 2001:db8::1\n", servers), 0);
}

static void resolv_conf_keeps_what_is_not_a_server(void **state)
{
    static const char host[] = "; made by somebody\nnameserver 9.9.9.9\nsearch corp.example  lan \nnonsense\n"
                               "options edns0 ndots:2 # c\nsearch \x01\noptions trust-ad";
    const uint32_t servers[] = { IP(198, 18, 254, 1), IP(198, 18, 254, 2) };
    AUTO_BUF struct buf out = BUF_INIT(4096);

    (void)state;
    assert_int_equal(dns_write_resolv_conf(host, sizeof host - 1, servers, 2, &out), 0);
    assert_string_equal(out.data,
                        "nameserver 198.18.254.1\nnameserver 198.18.254.2\nsearch corp.example  lan\n"
                        "options edns0 ndots:2\noptions trust-ad\n");
}

static void hosts_leave_out_loopback_and_taken_names(void **state)
{
    static const char host[] =
        "127.0.0.1 localhost vm\n127.0.1.1 vm\n::1 localhost\nff02::1 ip6-allnodes\n"
        "10.9.9.9 db.corp db # the database\n10.9.9.8 LOCALHOST Host.Irori.Internal\n"
        "10.9.9.7 good -bad b/ad\n2001:db8::5 six\n::ffff:127.0.0.1 trick\nnot-an-address x\n"
        "0.0.0.0 ads.example\n10.9.9.6";
    const struct dns_host own[] = { { IP(198, 18, 254, 10), "host.irori.internal" } };
    AUTO_BUF struct buf out = BUF_INIT(4096);

    (void)state;
    assert_int_equal(dns_write_hosts(host, sizeof host - 1, own, 1, &out), 0);
    assert_string_equal(out.data, "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
                                  "198.18.254.10 host.irori.internal\n10.9.9.9 db.corp db\n10.9.9.7 good\n"
                                  "2001:db8::5 six\n");
}

static void a_full_buffer_is_an_error(void **state)
{
    AUTO_BUF struct buf out = BUF_INIT(16);

    (void)state;
    assert_true(dns_write_hosts("10.0.0.1 a\n", 11, NULL, 0, &out) < 0);
}

static void allowed_hosts_are_host_and_port(void **state)
{
    static const char *const wrong[] = {
        "",       "host",     ":80",     "host:",        "host:0", "host:65536", "host:8x",
        "a b:80", "[::2]:80", "10.1:80", "010.0.0.1:80", "-x:80",  "x\n:80",     "a/b:80"
    };
    char host[DNS_NAME_BYTES];
    uint16_t port;
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        err = (struct err){ 0 };
        assert_true(dns_parse_allow(wrong[i], host, &port, &err) < 0);
        assert_int_equal(err.code, ERR_INVALID);
    }
    assert_int_equal(dns_parse_allow("db.corp:5432", host, &port, &err), 0);
    assert_string_equal(host, "db.corp");
    assert_int_equal(port, 5432);
    assert_int_equal(dns_parse_allow("10.9.9.9:65535", host, &port, &err), 0);
    assert_string_equal(host, "10.9.9.9");
    assert_int_equal(dns_parse_allow("[::1]:80", host, &port, &err), 0);
    assert_string_equal(host, "localhost");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_whole_and_decimal),
        cmocka_unit_test(servers_are_the_ipv4_ones_in_order),
        cmocka_unit_test(no_server_means_this_machine_and_only_ipv6_means_none),
        cmocka_unit_test(resolv_conf_keeps_what_is_not_a_server),
        cmocka_unit_test(hosts_leave_out_loopback_and_taken_names),
        cmocka_unit_test(a_full_buffer_is_an_error),
        cmocka_unit_test(allowed_hosts_are_host_and_port),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
