#pragma once

#include <stdint.h>

/** Whether an eventfd with this count is a semaphore: by reading, and giving back what was read, because
 * kernels before 6.5 do not say so in /proc. Nobody else may use it meanwhile. Returns 0, 1 or negative
 * errno. */
int eventfd_is_semaphore(int fd, uint64_t count);
