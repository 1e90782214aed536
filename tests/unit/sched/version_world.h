#pragma once

/* Versions that have a template of their own, and clones of it. Include cmocka.h first. */

#include "world.h"

/** The version's template; NULL when there is none. */
struct template *template_of(const struct world *w);
void expect_state(const struct world *w, enum template_state state);
/** Makes a function with SnapStart, or with clean state, and its template; returns that. waits_in: the call
 * at the end of INIT. */
uint64_t snap_start(struct world *w, const char *waits_in);
uint64_t clean(struct world *w);
/** A clone that waits in `next`. */
uint64_t cloned(struct world *w, uint64_t template_id);
void answer(struct world *w);
