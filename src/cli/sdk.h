#pragma once

/* The AWS SDKs that managed runtimes have, in the server's data folder: DIR/sdk/python and DIR/sdk/node. */

#include <stdbool.h>

struct cJSON;
struct cli;
struct err;

/** Installs both, each into a folder of its own that then takes the old one's place; leaves alone what is
 * there already unless again is true. runtimes: the server's answer, or NULL. Adds what was done to result,
 * an object. */
int sdk_install(struct cli *cli, const char *data, bool again, const struct cJSON *runtimes,
                struct cJSON *result, struct err *err);
