#pragma once

/* The descriptors of a stopped process as operations that make them anew; what cannot be made anew is refused
 * by name. */

#include <stdint.h>
#include <sys/types.h>

#include "template/format.h"

struct err;

/** Appends to ops; *count: how many there are. Reads /proc of the process. */
int descriptors_list(pid_t pid, unsigned api_port, struct template_op ops[TEMPLATE_MAX_OPS], uint32_t *count,
                     struct err *err);
