#pragma once

/*
 * An instance is one data folder and the server that has it open. What the kernel shares among instances
 * carries the instance's id or comes from its user id range; both are kept in DIR/instance.
 *
 *   DIR/instance     "<id> <range>\n"
 *   DIR/lock         locked while a server runs
 *   /run/irori/range-N   locked by the instance that uses range N
 */

#include <stdint.h>

#include "base/err.h"

enum { INSTANCE_UID_FIRST = 0x70000000, INSTANCE_RANGE_UIDS = 65536, INSTANCE_RANGES = 4096 };

struct instance {
    char id[9];
    unsigned range;
    unsigned uid_base;
    unsigned uid, gid; /* that irorid runs as */
    int data_fd;       /* DIR */
    int lock_fd, range_fd;
    char range_path[64];
};

/** Makes DIR and its folders if missing, locks it, and gives irorid's user what it needs to own. Root. */
int instance_open(const char *dir, struct instance *ret_instance, struct err *err);
void instance_close(struct instance *instance);
