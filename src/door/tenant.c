/* Who a request is for, when a function serves tenants. */

#include <ctype.h>
#include <string.h>

#include "base/text.h"
#include "door/door_priv.h"

enum { TENANT_MAX_BYTES = 256, SHOWN_BYTES = 2048 };

bool tenant_read(const struct http_request *request, const char *header, struct buf *out)
{
    size_t len = strlen(header);
    bool found = false;

    for (size_t i = 0; i < request->header_count; i++) {
        const struct http_header *at = &request->headers[i];

        if (at->name.len != len || !http_slice_equal_nocase(at->name, header))
            continue;
        /* Which of two would be meant? A comma is no part of any id, so none is. */
        if (found)
            (void)buf_putc(out, ',');
        (void)buf_append(out, at->value.at, at->value.len);
        found = true;
    }
    return found;
}

static bool matches(const struct buf *tenant)
{
    for (size_t i = 0; i < tenant->len; i++) {
        unsigned char c = (unsigned char)tenant->data[i];

        if (c >= 0x80 || (!isalnum(c) && !strchr("._:/=+-@ ", c)))
            return false;
    }
    return tenant->len > 0;
}

bool tenant_is_valid(const struct buf *tenant)
{
    return !tenant->failed && matches(tenant) && tenant->len <= TENANT_MAX_BYTES;
}

static void put_fault(struct buf *out, const struct buf *tenant, const char *rule)
{
    (void)buf_printf(out, "%sValue '%.*s' at 'tenantId' failed to satisfy constraint: Member must %s",
                     out->len > 0 ? "; " : "", SHOWN_BYTES, tenant->data ? tenant->data : "", rule);
}

void tenant_faults(const struct buf *tenant, struct buf *out)
{
    AUTO_BUF struct buf faults = BUF_INIT(3 * (size_t)SHOWN_BYTES);
    unsigned count = 1;

    if (tenant->len > TENANT_MAX_BYTES)
        put_fault(&faults, tenant, "have length less than or equal to 256");
    if (tenant->len == 0)
        put_fault(&faults, tenant, "have length greater than or equal to 1");
    if (!matches(tenant)) {
        count += faults.len > 0;
        put_fault(&faults, tenant, "satisfy regular expression pattern: [a-zA-Z0-9\\._:\\/=+\\-@ ]+");
    }
    (void)buf_printf(out, "%u validation error%s detected: %s", count, count > 1 ? "s" : "",
                     faults.data ? faults.data : "");
}
