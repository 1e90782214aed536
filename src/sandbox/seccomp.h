#pragma once

/*
 * The strict system call filter of every environment, compiled at build time from policy/seccomp.txt.
 *
 * Used by irori-init, which is static and has no libc worth the name: this header and the generated
 * seccomp_filter.h need only kernel headers.
 */

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>

/** Static storage. Install with seccomp(SECCOMP_SET_MODE_FILTER) after no_new_privs. */
const struct sock_filter *seccomp_strict(size_t *ret_count);

enum { SECCOMP_MAX_TEMPLATE = 2048 };
/** The filter of a template: the same, except that clone3, setns and seccomp pass when their unused arguments
 * 4 and 5 hold the secret. Returns the number of instructions. */
size_t seccomp_template(const uint64_t secret[2], struct sock_filter out[SECCOMP_MAX_TEMPLATE]);
