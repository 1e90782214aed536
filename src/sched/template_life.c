#include "sched/template_life.h"

struct row {
    bool valid;
    enum template_state next;
    unsigned actions;
};

/* clang-format off */
#define TO(next_, actions_) { .valid = true, .next = TEMPLATE_##next_, .actions = (actions_) }
#define DO(action_) TEMPLATE_DO_##action_

/* Already in the socket, or from the process, when we decided to end it. */
#define LATE(state_)                             \
    [TEMPLATE_ON_WANT]     = TO(state_, 0),      \
    [TEMPLATE_ON_STARTED]  = TO(state_, 0),      \
    [TEMPLATE_ON_FAILED]   = TO(state_, 0),      \
    [TEMPLATE_ON_CAPTURED] = TO(state_, 0),      \
    [TEMPLATE_ON_CLONED]   = TO(state_, 0),      \
    [TEMPLATE_ON_NO_PROOF] = TO(state_, 0),      \
    [TEMPLATE_ON_BROKEN]   = TO(state_, 0),      \
    [TEMPLATE_ON_UNUSED]   = TO(state_, 0)

/*
 * One line: in this state, this event leads there and asks for that. A missing
 * line is an error, not a no-op; an event that may be ignored has its line.
 */
static const struct row table[TEMPLATE_STATE_COUNT][TEMPLATE_EVENT_COUNT] = {
    [TEMPLATE_NONE] = {
        [TEMPLATE_ON_WANT]   = TO(STARTING, DO(START) | DO(ARM_STEP)),
        [TEMPLATE_ON_UNUSED] = TO(NONE, 0),
        [TEMPLATE_ON_LOST]   = TO(NONE, 0),
        [TEMPLATE_ON_STOP]   = TO(DEAD, DO(RELEASE)),
    },
    [TEMPLATE_STARTING] = {
        [TEMPLATE_ON_WANT]    = TO(STARTING, 0),
        [TEMPLATE_ON_STARTED] = TO(LOADING, DO(STOP_TIMER) | DO(ARM_STEP)),
        [TEMPLATE_ON_FAILED]  = TO(FAILED, DO(STOP_TIMER) | DO(REPORT) | DO(ARM_RETRY)),
        [TEMPLATE_ON_BROKEN]  = TO(FAILING, DO(STOP_TIMER) | DO(REPORT) | DO(KILL)),
        [TEMPLATE_ON_TIMEOUT] = TO(FAILING, DO(REPORT) | DO(KILL)),
        [TEMPLATE_ON_UNUSED]  = TO(RETIRING, DO(STOP_TIMER) | DO(KILL)),
        [TEMPLATE_ON_LOST]    = TO(FAILED, DO(STOP_TIMER) | DO(REPORT) | DO(ARM_RETRY)),
        [TEMPLATE_ON_STOP]    = TO(CLOSING, DO(STOP_TIMER) | DO(KILL)),
    },
    [TEMPLATE_LOADING] = {
        [TEMPLATE_ON_WANT]    = TO(LOADING, 0),
        [TEMPLATE_ON_NEXT]    = TO(CAPTURING, DO(STOP_TIMER) | DO(CAPTURE) | DO(ARM_STEP)),
        [TEMPLATE_ON_BROKEN]  = TO(FAILING, DO(STOP_TIMER) | DO(CLOSE) | DO(REPORT) | DO(KILL)),
        [TEMPLATE_ON_TIMEOUT] = TO(FAILING, DO(CLOSE) | DO(REPORT) | DO(KILL)),
        [TEMPLATE_ON_UNUSED]  = TO(RETIRING, DO(STOP_TIMER) | DO(CLOSE) | DO(KILL)),
        /* It may be what ended the launcher: not at once again. */
        [TEMPLATE_ON_LOST]    = TO(FAILED, DO(STOP_TIMER) | DO(CLOSE) | DO(REPORT) | DO(ARM_RETRY)),
        [TEMPLATE_ON_STOP]    = TO(CLOSING, DO(STOP_TIMER) | DO(CLOSE) | DO(KILL)),
    },
    [TEMPLATE_CAPTURING] = {
        [TEMPLATE_ON_WANT]     = TO(CAPTURING, 0),
        [TEMPLATE_ON_NEXT]     = TO(CAPTURING, 0), /* a client that reconnected asks again */
        [TEMPLATE_ON_CAPTURED] = TO(PROVING, DO(STOP_TIMER) | DO(PROVE) | DO(ARM_STEP)),
        [TEMPLATE_ON_BROKEN]   = TO(FAILING, DO(STOP_TIMER) | DO(CLOSE) | DO(REPORT) | DO(KILL)),
        [TEMPLATE_ON_TIMEOUT]  = TO(FAILING, DO(CLOSE) | DO(REPORT) | DO(KILL)),
        [TEMPLATE_ON_UNUSED]   = TO(RETIRING, DO(STOP_TIMER) | DO(CLOSE) | DO(KILL)),
        [TEMPLATE_ON_LOST]     = TO(FAILED, DO(STOP_TIMER) | DO(CLOSE) | DO(REPORT) | DO(ARM_RETRY)),
        [TEMPLATE_ON_STOP]     = TO(CLOSING, DO(STOP_TIMER) | DO(CLOSE) | DO(KILL)),
    },
    [TEMPLATE_PROVING] = {
        [TEMPLATE_ON_WANT]     = TO(PROVING, 0),
        [TEMPLATE_ON_CLONED]   = TO(WATCHING, DO(STOP_TIMER) | DO(ARM_WATCH)),
        [TEMPLATE_ON_NO_PROOF] = TO(READY, DO(STOP_TIMER) | DO(END_PROOF) | DO(READY)),
        [TEMPLATE_ON_BROKEN]   = TO(FAILING, DO(STOP_TIMER) | DO(END_PROOF) | DO(CLOSE) | DO(REPORT) | DO(KILL)),
        [TEMPLATE_ON_TIMEOUT]  = TO(FAILING, DO(END_PROOF) | DO(CLOSE) | DO(REPORT) | DO(KILL)),
        [TEMPLATE_ON_UNUSED]   = TO(RETIRING, DO(STOP_TIMER) | DO(END_PROOF) | DO(CLOSE) | DO(KILL)),
        [TEMPLATE_ON_LOST]     = TO(FAILED, DO(STOP_TIMER) | DO(END_PROOF) | DO(CLOSE) | DO(REPORT) | DO(ARM_RETRY)),
        [TEMPLATE_ON_STOP]     = TO(CLOSING, DO(STOP_TIMER) | DO(END_PROOF) | DO(CLOSE) | DO(KILL)),
    },
    [TEMPLATE_WATCHING] = {
        [TEMPLATE_ON_WANT]    = TO(WATCHING, 0),
        [TEMPLATE_ON_TIMEOUT] = TO(READY, DO(END_PROOF) | DO(READY)),
        [TEMPLATE_ON_BROKEN]  = TO(FAILING, DO(STOP_TIMER) | DO(END_PROOF) | DO(CLOSE) | DO(REPORT) | DO(KILL)),
        [TEMPLATE_ON_UNUSED]  = TO(RETIRING, DO(STOP_TIMER) | DO(END_PROOF) | DO(CLOSE) | DO(KILL)),
        [TEMPLATE_ON_LOST]    = TO(FAILED, DO(STOP_TIMER) | DO(END_PROOF) | DO(CLOSE) | DO(REPORT) | DO(ARM_RETRY)),
        [TEMPLATE_ON_STOP]    = TO(CLOSING, DO(STOP_TIMER) | DO(END_PROOF) | DO(CLOSE) | DO(KILL)),
    },
    [TEMPLATE_READY] = {
        [TEMPLATE_ON_WANT]   = TO(READY, 0),
        [TEMPLATE_ON_BROKEN] = TO(FAILING, DO(CLOSE) | DO(REPORT) | DO(KILL)),
        [TEMPLATE_ON_UNUSED] = TO(RETIRING, DO(CLOSE) | DO(KILL)),
        [TEMPLATE_ON_LOST]   = TO(NONE, DO(CLOSE) | DO(RECONSIDER)),
        [TEMPLATE_ON_STOP]   = TO(CLOSING, DO(CLOSE) | DO(KILL)),
    },
    [TEMPLATE_FAILED] = {
        [TEMPLATE_ON_WANT]    = TO(FAILED, 0),
        [TEMPLATE_ON_TIMEOUT] = TO(NONE, DO(RECONSIDER)),
        [TEMPLATE_ON_UNUSED]  = TO(NONE, DO(STOP_TIMER)),
        [TEMPLATE_ON_LOST]    = TO(FAILED, 0),
        [TEMPLATE_ON_STOP]    = TO(DEAD, DO(STOP_TIMER) | DO(RELEASE)),
    },
    [TEMPLATE_RETIRING] = {
        LATE(RETIRING),
        [TEMPLATE_ON_GONE] = TO(NONE, DO(RECONSIDER)),
        [TEMPLATE_ON_LOST] = TO(NONE, DO(RECONSIDER)),
        [TEMPLATE_ON_STOP] = TO(CLOSING, 0),
    },
    [TEMPLATE_FAILING] = {
        LATE(FAILING),
        [TEMPLATE_ON_GONE] = TO(FAILED, DO(ARM_RETRY)),
        [TEMPLATE_ON_LOST] = TO(FAILED, DO(ARM_RETRY)),
        [TEMPLATE_ON_STOP] = TO(CLOSING, 0),
    },
    [TEMPLATE_CLOSING] = {
        LATE(CLOSING),
        [TEMPLATE_ON_GONE] = TO(DEAD, DO(RELEASE)),
        [TEMPLATE_ON_LOST] = TO(DEAD, DO(RELEASE)),
    },
    [TEMPLATE_OFF] = {
        [TEMPLATE_ON_WANT]   = TO(OFF, 0),
        [TEMPLATE_ON_UNUSED] = TO(OFF, 0),
        [TEMPLATE_ON_LOST]   = TO(OFF, 0),
        [TEMPLATE_ON_STOP]   = TO(DEAD, DO(RELEASE)),
    },
};

static const char *const state_names[TEMPLATE_STATE_COUNT] = {
    [TEMPLATE_NONE] = "none", [TEMPLATE_STARTING] = "starting", [TEMPLATE_LOADING] = "loading",
    [TEMPLATE_CAPTURING] = "capturing", [TEMPLATE_PROVING] = "proving", [TEMPLATE_WATCHING] = "watching", [TEMPLATE_READY] = "ready", [TEMPLATE_FAILED] = "failed",
    [TEMPLATE_RETIRING] = "retiring", [TEMPLATE_FAILING] = "failing", [TEMPLATE_CLOSING] = "closing",
    [TEMPLATE_OFF] = "off", [TEMPLATE_DEAD] = "dead",
};
static const char *const event_names[TEMPLATE_EVENT_COUNT] = {
    [TEMPLATE_ON_WANT] = "want", [TEMPLATE_ON_STARTED] = "started", [TEMPLATE_ON_FAILED] = "failed",
    [TEMPLATE_ON_NEXT] = "next", [TEMPLATE_ON_CAPTURED] = "captured", [TEMPLATE_ON_CLONED] = "cloned",
    [TEMPLATE_ON_NO_PROOF] = "no-proof", [TEMPLATE_ON_BROKEN] = "broken",
    [TEMPLATE_ON_TIMEOUT] = "timeout", [TEMPLATE_ON_UNUSED] = "unused", [TEMPLATE_ON_GONE] = "gone",
    [TEMPLATE_ON_LOST] = "lost", [TEMPLATE_ON_STOP] = "stop",
};
/* clang-format on */

bool template_step(enum template_state *state, enum template_event event, unsigned *ret_actions)
{
    const struct row *row = &table[*state][event];

    if (!row->valid)
        return false;
    *state = row->next;
    *ret_actions = row->actions;
    return true;
}

static bool is_being_made(enum template_state state)
{
    return state == TEMPLATE_STARTING || state == TEMPLATE_LOADING || state == TEMPLATE_CAPTURING ||
           state == TEMPLATE_PROVING || state == TEMPLATE_WATCHING;
}

bool template_has_timer(enum template_state state)
{
    return is_being_made(state) || state == TEMPLATE_FAILED;
}

bool template_has_process(enum template_state state)
{
    return is_being_made(state) || state == TEMPLATE_READY || state == TEMPLATE_RETIRING ||
           state == TEMPLATE_FAILING || state == TEMPLATE_CLOSING;
}

const char *template_state_name(enum template_state state)
{
    return state < TEMPLATE_STATE_COUNT ? state_names[state] : "unknown";
}

const char *template_event_name(enum template_event event)
{
    return event < TEMPLATE_EVENT_COUNT ? event_names[event] : "unknown";
}
