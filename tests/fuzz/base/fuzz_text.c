#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/text.h"

/* The decoders and the JSON check take any bytes; what was encoded decodes to itself. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    AUTO_BUF struct buf out = BUF_INIT(1 << 20), back = BUF_INIT(1 << 20);
    size_t at = 0;

    if (size > 1 << 16)
        return 0;
    (void)json_valid(text, size, &at);
    assert(at <= size);
    (void)text_percent_decode(text, size, size % 2, &out);
    buf_clear(&out);
    if (text_base64_decode(text, size, &out) == 0) {
        buf_clear(&out);
    }
    buf_clear(&out);
    assert(text_base64_encode(data, size, &out) == 0);
    assert(text_base64_decode(out.data ? out.data : "", out.len, &back) == 0);
    assert(back.len == size && (size == 0 || memcmp(back.data, data, size) == 0));
    buf_clear(&out);
    assert(buf_json_string(&out, text, size) == 0);
    assert(json_valid(out.data, out.len, NULL));
    return 0;
}
