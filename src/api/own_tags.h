#pragma once

/* Tags with the prefix "irori:" are settings of a function that AWS does not know. */

#include <stdbool.h>

#include <cjson/cJSON.h>

struct call;
struct store_function;

/** Looks at those among tags that a request gives (NULL: none). False, answered, when one is unknown or has a
 * value that means nothing. */
bool own_tags_are_fine(struct call *call, const cJSON *tags);
/** The value of tag irori:<name>. Returns 1 and sets *ret_value (the caller's to free), 0 when there is none,
 * or -ENOMEM. */
int own_tag_find(const struct store_function *function, const char *name, char **ret_value);
