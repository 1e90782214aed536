/* Whatever is decoded is encoded again to the same bytes: nothing is guessed, nothing is skipped. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_BUF struct buf packet = BUF_INIT(WIRE_MAX_BYTES);
    struct wire_message message;

    if (wire_decode(data, size, &message, NULL) < 0)
        return 0;
    if (wire_encode(&message, &packet) < 0 || packet.len != size || memcmp(packet.data, data, size) != 0)
        abort();
    wire_message_done(&message);
    return 0;
}
