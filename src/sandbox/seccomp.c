#include "sandbox/seccomp.h"

#include <string.h>

#include "sandbox/seccomp_filter.h"   /* generated */
#include "sandbox/seccomp_template.h" /* generated */

const struct sock_filter *seccomp_strict(size_t *ret_count)
{
    *ret_count = sizeof seccomp_strict_filter / sizeof seccomp_strict_filter[0];
    return seccomp_strict_filter;
}

size_t seccomp_template(const uint64_t secret[2], struct sock_filter out[SECCOMP_MAX_TEMPLATE])
{
    const uint32_t words[4] = { (uint32_t)secret[0], (uint32_t)(secret[0] >> 32), (uint32_t)secret[1],
                                (uint32_t)(secret[1] >> 32) };
    size_t count = sizeof seccomp_template_filter / sizeof seccomp_template_filter[0];

    _Static_assert(sizeof seccomp_template_filter / sizeof seccomp_template_filter[0] <= SECCOMP_MAX_TEMPLATE,
                   "it fits");
    memcpy(out, seccomp_template_filter, sizeof seccomp_template_filter);
    for (size_t i = 0; i < sizeof seccomp_template_secret / sizeof seccomp_template_secret[0]; i++) {
        for (size_t word = 0; word < 4; word++)
            out[seccomp_template_secret[i][word]].k = words[word];
    }
    return count;
}
