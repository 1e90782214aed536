#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "sandbox/dns.h"

/* Whatever a hosts file holds, ours names nothing else localhost nor the host, and reading it again changes
 * nothing. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char head[] = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
                               "198.18.254.10 host.irori.internal\n";
    static const struct dns_host own = { 0xc612fe0a, "host.irori.internal" };
    AUTO_BUF struct buf once = BUF_INIT(4 * DNS_FILE_MAX), twice = BUF_INIT(4 * DNS_FILE_MAX);

    if (size > DNS_FILE_MAX)
        return 0;
    assert(dns_write_hosts((const char *)data, size, &own, 1, &once) == 0);
    assert(once.len >= sizeof head - 1 && memcmp(once.data, head, sizeof head - 1) == 0);
    assert(!strstr(once.data + sizeof head - 1, " localhost\n"));
    assert(!strstr(once.data + sizeof head - 1, "host.irori.internal\n") ||
           strstr(once.data + sizeof head - 1, "host.irori.internal\n")[-1] != ' ');
    assert(dns_write_hosts(once.data + sizeof head - 1, once.len - (sizeof head - 1), &own, 1, &twice) == 0);
    assert(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
    return 0;
}
