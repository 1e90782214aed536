#pragma once

/* How requests are put together, for the files that know what to ask for. */

#include "sandbox/netlink.h"

/** Begins a request of that type with a fixed part; every request is acknowledged. */
void nl_begin(struct nl_batch *batch, uint16_t type, unsigned flags, const void *body, size_t len);
void nl_attr(struct nl_batch *batch, unsigned type, const void *value, size_t len);
/** Attributes until nl_nest_end() lie in one of that type. Returns what that wants. */
size_t nl_nest(struct nl_batch *batch, unsigned type);
void nl_nest_end(struct nl_batch *batch, size_t start);
