#pragma once

/* Is this JSON? Strict (RFC 8259), without a tree: for bodies that are passed on as they came. */

#include <stdbool.h>
#include <stddef.h>

enum { JSON_MAX_DEPTH = 1000 };

/** ret_at (may be NULL): where it stops being JSON. Strings must be UTF-8. */
bool json_valid(const char *text, size_t len, size_t *ret_at);
