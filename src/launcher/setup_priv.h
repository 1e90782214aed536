#pragma once

#include "launcher/launcher_priv.h"

/** Opens everything in order, after sweeping what an earlier life left. What was opened before a failure is
 * closed by setup_close(). */
int setup_open(struct launcher *launcher, struct err *err);
/** Sends READY. */
void setup_announce(struct launcher *launcher);
/** Ends every process, removes everything, frees launcher. */
void setup_close(struct launcher *launcher);
