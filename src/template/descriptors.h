#pragma once

/* The descriptors of a stopped process as operations that make them anew; what cannot be made anew is refused
 * by name. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "template/format.h"

struct err;

struct descriptors_source {
    pid_t pid;
    unsigned api_port;
    uint64_t log_inode; /* of the pipe that is its standard output; 0 = whatever 1 and 2 are */
    bool function;      /* a function's own INIT is in it: sockets and files in /tmp are made anew, too */
};

/** Fills ops and paths of data. Reads /proc of the process, which must be traced, and in its network
 * namespace. *ret_dead: how many connections become sockets whose peer has closed. */
int descriptors_list(const struct descriptors_source *source, struct template_data *data, uint32_t *ret_dead,
                     struct err *err);
