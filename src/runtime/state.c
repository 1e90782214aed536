#include "runtime/state.h"

#define TO(call_, state_) [RUNTIME_CALL_##call_] = { true, RUNTIME_##state_ }

/* One line: in this state, these calls lead there. Any other is refused. */
/* clang-format off */
static const struct row {
    bool valid;
    enum runtime_state next;
} table[RUNTIME_STATE_COUNT][RUNTIME_CALL_COUNT] = {
    [RUNTIME_STARTED]        = { TO(NEXT, READY), TO(INIT_ERROR, INIT_ERROR), TO(RESTORE_NEXT, RESTORE_READY) },
    [RUNTIME_READY]          = { TO(NEXT, READY), TO(DELIVERED, RUNNING) },
    [RUNTIME_RUNNING]        = { TO(NEXT, RUNNING), TO(RESPONSE, RESPONSE), TO(ERROR, ERROR_RESPONSE) },
    [RUNTIME_RESPONSE]       = { TO(ANSWERED, RESPONSE_SENT) },
    [RUNTIME_ERROR_RESPONSE] = { TO(ANSWERED, RESPONSE_SENT) },
    [RUNTIME_RESPONSE_SENT]  = { TO(NEXT, READY) },
    [RUNTIME_RESTORE_READY]  = { TO(RESTORE_NEXT, RESTORE_READY), TO(RESTORED, RESTORING) },
    /* init/error counts as restore/error by now. */
    [RUNTIME_RESTORING]      = { TO(NEXT, READY), TO(RESTORE_ERROR, RESTORE_ERROR), TO(INIT_ERROR, RESTORE_ERROR) },
};
/* clang-format on */

bool runtime_step(enum runtime_state *state, enum runtime_call call)
{
    const struct row *row = &table[*state][call];

    if (!row->valid)
        return false;
    *state = row->next;
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
        [RUNTIME_RESTORE_READY] = "RestoreReady",
        [RUNTIME_RESTORING] = "Restoring",
        [RUNTIME_RESTORE_ERROR] = "RuntimeRestoreErrorState",
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
        [RUNTIME_CALL_RESTORE_NEXT] = "RestoreReady",
        [RUNTIME_CALL_RESTORE_ERROR] = "RuntimeRestoreErrorState",
        [RUNTIME_CALL_DELIVERED] = "Running",
        [RUNTIME_CALL_ANSWERED] = "RuntimeResponseSentState",
        [RUNTIME_CALL_RESTORED] = "Restoring",
    };

    return call < RUNTIME_CALL_COUNT ? names[call] : "unknown";
}
