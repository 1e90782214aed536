#include "model/runtime_version.h"

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

void runtime_version_arn(const char *runtime, const char *region, struct buf *out)
{
    (void)buf_printf(out, "arn:aws:lambda:%s::runtime:", region);
    /* FNV-1a four times, with different beginnings. */
    for (uint64_t i = 0; i < 4; i++) {
        uint64_t hash = 14695981039346656037u + i;

        for (const char *p = runtime; *p; p++)
            hash = (hash ^ (unsigned char)*p) * 1099511628211u;
        (void)buf_printf(out, "%016llx", (unsigned long long)hash);
    }
}
