#include "runtime/state.h"

#include <stddef.h>

enum { NONE = -1 };

/* clang-format off */
static const int table[RUNTIME_STATE_COUNT][RUNTIME_CALL_COUNT] = {
    /*                          next           response          error                   init/error          delivered        answered */
    [RUNTIME_STARTED]        = { RUNTIME_READY, NONE,             NONE,                   RUNTIME_INIT_ERROR, NONE,            NONE },
    [RUNTIME_INIT_ERROR]     = { NONE,          NONE,             NONE,                   NONE,               NONE,            NONE },
    [RUNTIME_READY]          = { RUNTIME_READY, NONE,             NONE,                   NONE,               RUNTIME_RUNNING, NONE },
    [RUNTIME_RUNNING]        = { RUNTIME_RUNNING, RUNTIME_RESPONSE, RUNTIME_ERROR_RESPONSE, NONE,             NONE,            NONE },
    [RUNTIME_RESPONSE]       = { NONE,          NONE,             NONE,                   NONE,               NONE,            RUNTIME_RESPONSE_SENT },
    [RUNTIME_ERROR_RESPONSE] = { NONE,          NONE,             NONE,                   NONE,               NONE,            RUNTIME_RESPONSE_SENT },
    [RUNTIME_RESPONSE_SENT]  = { RUNTIME_READY, NONE,             NONE,                   NONE,               NONE,            NONE },
};
/* clang-format on */

bool runtime_step(enum runtime_state *state, enum runtime_call call)
{
    int next = table[*state][call];

    if (next == NONE)
        return false;
    *state = (enum runtime_state)next;
    return true;
}

const char *runtime_state_name(enum runtime_state state)
{
    static const char *const names[RUNTIME_STATE_COUNT] = {
        [RUNTIME_STARTED] = "Started",
        [RUNTIME_INIT_ERROR] = "InitError",
        [RUNTIME_READY] = "Ready",
        [RUNTIME_RUNNING] = "Running",
        [RUNTIME_RESPONSE] = "InvocationResponse",
        [RUNTIME_ERROR_RESPONSE] = "InvocationErrorResponse",
        [RUNTIME_RESPONSE_SENT] = "RuntimeResponseSentState",
    };

    return state < RUNTIME_STATE_COUNT ? names[state] : "unknown";
}

const char *runtime_call_target(enum runtime_call call)
{
    static const char *const names[RUNTIME_CALL_COUNT] = {
        [RUNTIME_CALL_NEXT] = "Ready",
        [RUNTIME_CALL_RESPONSE] = "InvocationResponse",
        [RUNTIME_CALL_ERROR] = "InvocationErrorResponse",
        [RUNTIME_CALL_INIT_ERROR] = "InitError",
        [RUNTIME_CALL_DELIVERED] = "Running",
        [RUNTIME_CALL_ANSWERED] = "RuntimeResponseSentState",
    };

    return call < RUNTIME_CALL_COUNT ? names[call] : "unknown";
}
