#pragma once

/* Which runtime identifiers there are, and what Irori makes of each. */

enum runtime_kind {
    RUNTIME_SUPPORTED,   /* where the machine has it */
    RUNTIME_DEPRECATED,  /* refused in the service's words */
    RUNTIME_UNSUPPORTED, /* the service has it, Irori not yet */
    RUNTIME_UNKNOWN,
};
enum runtime_kind runtime_kind(const char *id);
/** All identifiers of the service, joined by ", ". */
extern const char runtime_values[];
