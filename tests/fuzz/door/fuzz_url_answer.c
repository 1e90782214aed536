/*
 * Results of functions in any bytes: headers are whole lines that hold nothing but what a header may, a body
 * lies where it should, and what was written anew reads as itself.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "door/url_event.h"

static void check_headers(const struct buf *headers)
{
    const char *at = headers->data, *end = headers->data + headers->len;

    while (at < end) {
        const char *line_end = memchr(at, '\r', (size_t)(end - at));
        const char *colon = memchr(at, ':', (size_t)(end - at));

        assert(line_end && line_end + 1 < end && line_end[1] == '\n');
        assert(colon && colon > at && colon < line_end && colon[1] == ' ');
        for (; at < line_end; at++)
            assert(((unsigned char)*at >= 0x20 || *at == '\t') && *at != 0x7f);
        at = line_end + 2;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *result = (const char *)data;
    struct url_answer answer, again;

    if (url_answer_read(result, size, &answer) < 0)
        return 0;
    assert(answer.status >= 100 && answer.status <= 599);
    check_headers(&answer.headers);
    assert(answer.body_len <= size || answer.body_len == 4 /* null */);
    if (answer.body_len > 0 && (answer.body[0] == '{' || answer.body[0] == '[') &&
        data[0] == (uint8_t)answer.body[0] && url_answer_read(answer.body, answer.body_len, &again) == 0) {
        assert(again.body_len != answer.body_len || memcmp(again.body, answer.body, answer.body_len) == 0);
        url_answer_done(&again);
    }
    url_answer_done(&answer);
    return 0;
}
