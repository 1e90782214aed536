#pragma once

/*
 * The runtime's side of the Runtime API as a state machine (spec: Runtime API, "Runtime state machine"):
 * which call is allowed when, and the names that its errors carry. No I/O.
 */

#include <stdbool.h>

enum runtime_state {
    RUNTIME_STARTED,
    RUNTIME_INIT_ERROR,
    RUNTIME_READY,
    RUNTIME_RUNNING,
    RUNTIME_RESPONSE,       /* the response is being read */
    RUNTIME_ERROR_RESPONSE, /* the error is being read */
    RUNTIME_RESPONSE_SENT,
    RUNTIME_RESTORE_READY, /* its INIT is over, and it waits to be restored */
    RUNTIME_RESTORING,     /* its hooks run */
    RUNTIME_RESTORE_ERROR,
    RUNTIME_STATE_COUNT
};

enum runtime_call {
    RUNTIME_CALL_NEXT,
    RUNTIME_CALL_RESPONSE,
    RUNTIME_CALL_ERROR,
    RUNTIME_CALL_INIT_ERROR,
    RUNTIME_CALL_RESTORE_NEXT,
    RUNTIME_CALL_RESTORE_ERROR,
    RUNTIME_CALL_DELIVERED, /* not a call: an invocation was handed out */
    RUNTIME_CALL_ANSWERED,  /* not a call: the body of a response or error was taken */
    RUNTIME_CALL_RESTORED,  /* not a call: restore/next was answered */
    RUNTIME_CALL_COUNT
};

/** Moves *state. Returns false, and leaves it, when the call is not allowed: 403 InvalidStateTransition from
 * *state to runtime_call_target(call). */
bool runtime_step(enum runtime_state *state, enum runtime_call call);
/** Names as in the error message of the spec; static storage. */
const char *runtime_state_name(enum runtime_state state);
const char *runtime_call_target(enum runtime_call call);
