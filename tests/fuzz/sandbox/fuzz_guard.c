#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "sandbox/dns.h"
#include "sandbox/sysctl_guard.h"

/* A saved state is refused or means the same after writing; an --allow-host is refused or has a name and a
 * port. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_BUF struct buf text = BUF_INIT(1 << 20), spec = BUF_INIT(1 << 20);
    struct guard_state state, again;
    char host[DNS_NAME_BYTES];
    uint16_t port = 0;

    if (buf_append(&spec, data, size) == 0 && spec.data && dns_parse_allow(spec.data, host, &port, NULL) == 0)
        assert(host[0] != '\0' && port != 0);
    if (guard_state_read((const char *)data, size, &state) < 0)
        return 0;
    assert(guard_state_write(&state, &text) == 0);
    assert(guard_state_read(text.data, text.len, &again) == 0);
    assert(again.count == state.count && again.all == state.all && again.by_default == state.by_default);
    guard_state_done(&state);
    guard_state_done(&again);
    return 0;
}
