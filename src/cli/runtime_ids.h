#pragma once

/* The runtime ids that Irori supports. */

#include <stdbool.h>

#include <cjson/cJSON.h>

/** Per language from old to new; NULL-terminated. */
extern const char *const runtime_ids[];

/** Whether the answer of /_irori/runtimes lists an id. */
bool runtime_listed(const cJSON *json, const char *id);
/** Its entry; NULL when it is not listed. Borrowed. */
const cJSON *runtime_entry(const cJSON *json, const char *id);
