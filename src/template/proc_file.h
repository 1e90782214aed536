#pragma once

#include <stddef.h>

/** A file of /proc as a whole, NUL-terminated, for the caller to free. NULL with errno set; EFBIG beyond
 * max_bytes. */
char *proc_read(size_t max_bytes, const char *format, ...) __attribute__((format(printf, 2, 3)));
