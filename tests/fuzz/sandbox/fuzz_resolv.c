#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "sandbox/dns.h"

/* Whatever a resolv.conf holds, ours names our servers and no others, and reading it again changes nothing.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t ours[] = { 0xc612fe01, 0xc612fe02 };
    AUTO_BUF struct buf once = BUF_INIT(2 * DNS_FILE_MAX), twice = BUF_INIT(2 * DNS_FILE_MAX);
    uint32_t servers[DNS_SERVERS_MAX];

    if (size > DNS_FILE_MAX)
        return 0;
    assert(dns_servers((const char *)data, size, servers) <= DNS_SERVERS_MAX);
    assert(dns_write_resolv_conf((const char *)data, size, ours, 2, &once) == 0);
    assert(dns_servers(once.data, once.len, servers) == 2 && memcmp(servers, ours, sizeof ours) == 0);
    assert(dns_write_resolv_conf(once.data, once.len, ours, 2, &twice) == 0);
    assert(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
    return 0;
}
