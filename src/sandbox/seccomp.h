#pragma once

/*
 * The strict system call filter of every environment, compiled at build time from policy/seccomp.txt.
 *
 * Used by irori-init, which is static and has no libc worth the name: this header and the generated
 * seccomp_filter.h need only kernel headers.
 */

#include <linux/filter.h>
#include <stddef.h>

/** Static storage. Install with seccomp(SECCOMP_SET_MODE_FILTER) after no_new_privs. */
const struct sock_filter *seccomp_strict(size_t *ret_count);
