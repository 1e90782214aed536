#pragma once

/* The socket between `irori serve` and irorid: each packet is one byte and carries a socket to a new
 * launcher. */

enum { CONTROL_EXIT_CONFIG = 78 }; /* EX_CONFIG: trying again will not help */

/** launcher: borrowed. Returns 0 or negative errno. */
int control_send_launcher(int control, int launcher);
/** Returns 0 with *ret_launcher (owned) set, 1 at the end, or negative errno (-EAGAIN too). */
int control_receive_launcher(int control, int *ret_launcher);
