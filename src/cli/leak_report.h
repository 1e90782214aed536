#pragma once

/* irori doctor NAME: calls a function and tells what one request leaves for the next. */

#include <stdbool.h>

#include "cli/options.h"

struct cli;

struct leak_options {
    const char *name, *qualifier, *tenant_id;
    const struct option_list *events; /* none, or files of A and B */
    bool yes;
};

enum { LEAK_NONE = 0, LEAK_FOUND = 1, LEAK_UNKNOWN = 2 }; /* exit status */
int leak_report(struct cli *cli, const struct leak_options *options);

/** A function URL event (payload 2.0) with secrets of its own wherever a caller may put some. For the caller
 * to delete; NULL without memory. */
struct cJSON *leak_event(void);
