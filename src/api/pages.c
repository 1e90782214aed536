#include <stdio.h>
#include <string.h>

#include "api/api_priv.h"
#include "base/text.h"

/* A marker is base64 of "irori:" and the key of the next item: opaque to callers, and no other text is taken
 * for one. */

enum { PAGE_ITEMS_MAX = 50, MARKER_MAX_BYTES = 1024 };
#define MARKER_PREFIX "irori:"

static bool read_number(struct call *call, bool *ret_given, int64_t *ret_number)
{
    AUTO_BUF struct buf text = BUF_INIT(MARKER_MAX_BYTES);
    uint64_t number = 0;
    bool minus;

    *ret_given = call_query(call, "MaxItems", 0, &text);
    if (!*ret_given)
        return true;
    minus = text.data[0] == '-';
    if (!text_to_u64(text.data + minus, text.len - minus, INT32_MAX, &number))
        return false;
    *ret_number = minus ? -(int64_t)number : (int64_t)number;
    return true;
}

void page_check(struct call *call, size_t max_items)
{
    int64_t number = 0;
    bool given;
    char shown[24];

    if (!read_number(call, &given, &number)) {
        check_wrong_type(&call->check, "MaxItems", "an integer");
        return;
    }
    (void)snprintf(shown, sizeof shown, "%lld", (long long)number);
    if (given && number < 1)
        check_fault(&call->check, "maxItems", shown, "Member must have value greater than or equal to 1");
    if (given && number > (int64_t)max_items)
        check_fault(&call->check, "maxItems", shown, "Member must have value less than or equal to %zu",
                    max_items);
}

bool page_read(struct call *call, size_t max_items, struct page *ret_page)
{
    struct page page = { .limit = PAGE_ITEMS_MAX, .marker = BUF_INIT(MARKER_MAX_BYTES) };
    AUTO_BUF struct buf text = BUF_INIT(MARKER_MAX_BYTES);
    int64_t number = 0;
    bool given;

    if (read_number(call, &given, &number) && given && number < PAGE_ITEMS_MAX && number > 0)
        page.limit = (size_t)number;
    if (page.limit > max_items)
        page.limit = max_items;
    if (call_query(call, "Marker", 0, &text) && text.len > 0) {
        if (text_base64_decode(text.data, text.len, &page.marker) < 0 ||
            !text_starts(page.marker.data, MARKER_PREFIX) || strlen(page.marker.data) != page.marker.len) {
            buf_done(&page.marker);
            api_error(call->response, "InvalidParameterValueException", "The Marker is not valid.");
            return false;
        }
        buf_consume(&page.marker, strlen(MARKER_PREFIX));
        page.started = true;
    } else if (buf_puts(&page.marker, "") < 0) {
        return call_failed(call);
    }
    *ret_page = page;
    return true;
}

void page_done(struct page *page)
{
    buf_done(&page->marker);
}

bool page_next(cJSON *answer, const char *key)
{
    AUTO_BUF struct buf plain = BUF_INIT(MARKER_MAX_BYTES), encoded = BUF_INIT((size_t)2 * MARKER_MAX_BYTES);

    return buf_printf(&plain, MARKER_PREFIX "%s", key) == 0 &&
           text_base64_encode(plain.data, plain.len, &encoded) == 0 &&
           cJSON_AddStringToObject(answer, "NextMarker", encoded.data);
}
