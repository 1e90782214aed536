#include "sched/life.h"

struct row {
    bool valid;
    enum life_state next;
    unsigned actions;
};

/* clang-format off */
#define TO(next_, actions_) { .valid = true, .next = LIFE_##next_, .actions = (actions_) }
#define LOST_IDLE TO(DEAD, LIFE_DO_STOP_TIMER | LIFE_DO_UNPOOL | LIFE_DO_RELEASE)
#define LOST_BUSY TO(DEAD, LIFE_DO_STOP_TIMER | LIFE_DO_FAIL | LIFE_DO_RELEASE)

/*
 * One line: in this state, this event leads there and asks for that. A missing
 * line is an error, not a no-op; an event that may be ignored has its line.
 */
static const struct row table[LIFE_STATE_COUNT][LIFE_EVENT_COUNT] = {
    [LIFE_STARTING] = {
        [LIFE_ON_STARTED]  = TO(INIT, LIFE_DO_STOP_TIMER | LIFE_DO_ARM_INIT),
        [LIFE_ON_FAILED]   = TO(DEAD, LIFE_DO_STOP_TIMER | LIFE_DO_INIT_FAILED | LIFE_DO_RELEASE),
        [LIFE_ON_NO_CLONE] = TO(STARTING, LIFE_DO_STOP_TIMER | LIFE_DO_START | LIFE_DO_ARM_START),
        [LIFE_ON_TIMEOUT]  = TO(STOPPING, LIFE_DO_INIT_FAILED | LIFE_DO_KILL),
        [LIFE_ON_EVICT]    = TO(STOPPING, LIFE_DO_STOP_TIMER | LIFE_DO_KILL),
        [LIFE_ON_LOST]     = TO(DEAD, LIFE_DO_STOP_TIMER | LIFE_DO_INIT_FAILED | LIFE_DO_RELEASE),
    },
    [LIFE_INIT] = {
        [LIFE_ON_NEXT]       = TO(IDLE, LIFE_DO_STOP_TIMER | LIFE_DO_LIMIT_CPU | LIFE_DO_INIT_DONE | LIFE_DO_ARM_LINGER | LIFE_DO_POOL),
        [LIFE_ON_INIT_ERROR] = TO(DOWN, LIFE_DO_STOP_TIMER | LIFE_DO_INIT_FAILED | LIFE_DO_ARM_IDLE | LIFE_DO_STOP | LIFE_DO_POOL),
        [LIFE_ON_EXITED]     = TO(DOWN, LIFE_DO_STOP_TIMER | LIFE_DO_INIT_FAILED | LIFE_DO_ARM_IDLE | LIFE_DO_POOL),
        [LIFE_ON_NO_CLONE]   = TO(STARTING, LIFE_DO_STOP_TIMER | LIFE_DO_START | LIFE_DO_ARM_START),
        [LIFE_ON_UNREAD]     = TO(STOPPING, LIFE_DO_STOP_TIMER | LIFE_DO_GIVE_BACK | LIFE_DO_KILL),
        [LIFE_ON_TIMEOUT]    = TO(DOWN, LIFE_DO_INIT_FAILED | LIFE_DO_ARM_IDLE | LIFE_DO_STOP | LIFE_DO_POOL),
        [LIFE_ON_EVICT]      = TO(STOPPING, LIFE_DO_STOP_TIMER | LIFE_DO_KILL),
        [LIFE_ON_LOST]       = TO(DEAD, LIFE_DO_STOP_TIMER | LIFE_DO_INIT_FAILED | LIFE_DO_RELEASE),
    },
    [LIFE_IDLE] = {
        [LIFE_ON_NEXT]    = TO(IDLE, 0), /* a client that reconnected asks again */
        [LIFE_ON_INVOKE]  = TO(BUSY, LIFE_DO_STOP_TIMER | LIFE_DO_UNPOOL | LIFE_DO_DELIVER | LIFE_DO_ARM_INVOKE),
        [LIFE_ON_LINGER]  = TO(FROZEN, LIFE_DO_ARM_IDLE | LIFE_DO_FREEZE),
        [LIFE_ON_EXITED]  = TO(STOPPING, LIFE_DO_STOP_TIMER | LIFE_DO_UNPOOL | LIFE_DO_KILL),
        [LIFE_ON_NO_CLONE] = TO(STOPPING, LIFE_DO_STOP_TIMER | LIFE_DO_UNPOOL | LIFE_DO_KILL),
        [LIFE_ON_EVICT]   = TO(STOPPING, LIFE_DO_STOP_TIMER | LIFE_DO_UNPOOL | LIFE_DO_KILL),
        [LIFE_ON_LOST]    = LOST_IDLE,
    },
    [LIFE_FROZEN] = {
        [LIFE_ON_NEXT]    = TO(FROZEN, 0), /* was on its way when the freezer closed */
        [LIFE_ON_INVOKE]  = TO(BUSY, LIFE_DO_STOP_TIMER | LIFE_DO_THAW | LIFE_DO_UNPOOL | LIFE_DO_DELIVER | LIFE_DO_ARM_INVOKE),
        [LIFE_ON_TIMEOUT] = TO(STOPPING, LIFE_DO_UNPOOL | LIFE_DO_KILL),
        [LIFE_ON_EXITED]  = TO(STOPPING, LIFE_DO_STOP_TIMER | LIFE_DO_UNPOOL | LIFE_DO_KILL),
        [LIFE_ON_NO_CLONE] = TO(STOPPING, LIFE_DO_STOP_TIMER | LIFE_DO_UNPOOL | LIFE_DO_KILL),
        [LIFE_ON_EVICT]   = TO(STOPPING, LIFE_DO_STOP_TIMER | LIFE_DO_UNPOOL | LIFE_DO_KILL),
        [LIFE_ON_LOST]    = LOST_IDLE,
    },
    [LIFE_BUSY] = {
        [LIFE_ON_NEXT]    = TO(BUSY, 0), /* the Runtime API gives it the same invocation again */
        [LIFE_ON_RESULT]  = TO(RESPONDED, LIFE_DO_ANSWER),
        [LIFE_ON_EXITED]  = TO(DOWN, LIFE_DO_STOP_TIMER | LIFE_DO_FAIL | LIFE_DO_ARM_IDLE | LIFE_DO_POOL),
        [LIFE_ON_FAILED]  = TO(STOPPING, LIFE_DO_STOP_TIMER | LIFE_DO_FAIL | LIFE_DO_KILL),
        [LIFE_ON_UNREAD]  = TO(STOPPING, LIFE_DO_STOP_TIMER | LIFE_DO_GIVE_BACK | LIFE_DO_KILL),
        [LIFE_ON_TIMEOUT] = TO(DOWN, LIFE_DO_FAIL | LIFE_DO_ARM_IDLE | LIFE_DO_STOP | LIFE_DO_POOL),
        [LIFE_ON_LOST]    = LOST_BUSY,
    },
    [LIFE_RESPONDED] = {
        [LIFE_ON_NEXT]    = TO(IDLE, LIFE_DO_STOP_TIMER | LIFE_DO_COMPLETE | LIFE_DO_ARM_LINGER | LIFE_DO_POOL),
        [LIFE_ON_EXITED]  = TO(DOWN, LIFE_DO_STOP_TIMER | LIFE_DO_COMPLETE | LIFE_DO_ARM_IDLE | LIFE_DO_POOL),
        [LIFE_ON_TIMEOUT] = TO(DOWN, LIFE_DO_COMPLETE | LIFE_DO_ARM_IDLE | LIFE_DO_STOP | LIFE_DO_POOL),
        [LIFE_ON_LOST]    = TO(DEAD, LIFE_DO_STOP_TIMER | LIFE_DO_COMPLETE | LIFE_DO_RELEASE),
    },
    [LIFE_DOWN] = {
        /* The process of a failed INIT or a timeout is ending. */
        [LIFE_ON_NEXT]       = TO(DOWN, 0),
        [LIFE_ON_RESULT]     = TO(DOWN, 0),
        [LIFE_ON_INIT_ERROR] = TO(DOWN, 0),
        [LIFE_ON_EXITED]     = TO(DOWN, 0),
        [LIFE_ON_NO_CLONE]   = TO(STOPPING, LIFE_DO_STOP_TIMER | LIFE_DO_UNPOOL | LIFE_DO_KILL),
        [LIFE_ON_INVOKE]     = TO(RESTARTING, LIFE_DO_STOP_TIMER | LIFE_DO_UNPOOL | LIFE_DO_RESTART | LIFE_DO_ARM_INVOKE),
        [LIFE_ON_TIMEOUT]    = TO(STOPPING, LIFE_DO_UNPOOL | LIFE_DO_KILL),
        [LIFE_ON_EVICT]      = TO(STOPPING, LIFE_DO_STOP_TIMER | LIFE_DO_UNPOOL | LIFE_DO_KILL),
        [LIFE_ON_LOST]       = LOST_IDLE,
    },
    [LIFE_RESTARTING] = {
        [LIFE_ON_STARTED] = TO(REINIT, 0),
        [LIFE_ON_EXITED]  = TO(RESTARTING, 0), /* the process before */
        [LIFE_ON_FAILED]  = TO(STOPPING, LIFE_DO_STOP_TIMER | LIFE_DO_FAIL | LIFE_DO_KILL),
        /* Its STARTED is still to come, so the slot cannot be asked again. */
        [LIFE_ON_TIMEOUT] = TO(STOPPING, LIFE_DO_FAIL | LIFE_DO_KILL),
        [LIFE_ON_LOST]    = LOST_BUSY,
    },
    [LIFE_REINIT] = {
        [LIFE_ON_NEXT]       = TO(BUSY, LIFE_DO_LIMIT_CPU | LIFE_DO_DELIVER),
        [LIFE_ON_INIT_ERROR] = TO(DOWN, LIFE_DO_STOP_TIMER | LIFE_DO_FAIL | LIFE_DO_ARM_IDLE | LIFE_DO_STOP | LIFE_DO_POOL),
        [LIFE_ON_EXITED]     = TO(DOWN, LIFE_DO_STOP_TIMER | LIFE_DO_FAIL | LIFE_DO_ARM_IDLE | LIFE_DO_POOL),
        [LIFE_ON_TIMEOUT]    = TO(DOWN, LIFE_DO_FAIL | LIFE_DO_ARM_IDLE | LIFE_DO_STOP | LIFE_DO_POOL),
        [LIFE_ON_LOST]       = LOST_BUSY,
    },
    [LIFE_STOPPING] = {
        /* Already in the socket when we decided to end it. */
        [LIFE_ON_STARTED]    = TO(STOPPING, 0),
        [LIFE_ON_FAILED]     = TO(STOPPING, 0),
        [LIFE_ON_NO_CLONE]   = TO(STOPPING, 0),
        [LIFE_ON_NEXT]       = TO(STOPPING, 0),
        [LIFE_ON_RESULT]     = TO(STOPPING, 0),
        [LIFE_ON_INIT_ERROR] = TO(STOPPING, 0),
        [LIFE_ON_EXITED]     = TO(STOPPING, 0),
        [LIFE_ON_EVICT]      = TO(STOPPING, 0),
        [LIFE_ON_GONE]       = TO(DEAD, LIFE_DO_RELEASE),
        [LIFE_ON_LOST]       = TO(DEAD, LIFE_DO_RELEASE),
    },
};

static const char *const state_names[LIFE_STATE_COUNT] = {
    [LIFE_STARTING] = "starting", [LIFE_INIT] = "init", [LIFE_IDLE] = "idle", [LIFE_FROZEN] = "frozen",
    [LIFE_BUSY] = "busy", [LIFE_RESPONDED] = "responded", [LIFE_DOWN] = "down", [LIFE_RESTARTING] = "restarting",
    [LIFE_REINIT] = "reinit", [LIFE_STOPPING] = "stopping", [LIFE_DEAD] = "dead",
};
static const char *const event_names[LIFE_EVENT_COUNT] = {
    [LIFE_ON_STARTED] = "started", [LIFE_ON_NEXT] = "next", [LIFE_ON_INVOKE] = "invoke", [LIFE_ON_RESULT] = "result",
    [LIFE_ON_INIT_ERROR] = "init-error", [LIFE_ON_EXITED] = "exited", [LIFE_ON_UNREAD] = "unread", [LIFE_ON_FAILED] = "failed", [LIFE_ON_NO_CLONE] = "no-clone",
    [LIFE_ON_TIMEOUT] = "timeout", [LIFE_ON_LINGER] = "linger", [LIFE_ON_EVICT] = "evict", [LIFE_ON_GONE] = "gone",
    [LIFE_ON_LOST] = "lost",
};
/* clang-format on */

bool life_step(enum life_state *state, enum life_event event, unsigned *ret_actions)
{
    const struct row *row = &table[*state][event];

    if (!row->valid)
        return false;
    *state = row->next;
    *ret_actions = row->actions;
    return true;
}

bool life_has_invocation(enum life_state state)
{
    return state == LIFE_BUSY || state == LIFE_RESPONDED || state == LIFE_RESTARTING || state == LIFE_REINIT;
}

bool life_has_timer(enum life_state state)
{
    return state != LIFE_STOPPING && state != LIFE_DEAD;
}

const char *life_state_name(enum life_state state)
{
    return state < LIFE_STATE_COUNT ? state_names[state] : "unknown";
}

const char *life_event_name(enum life_event event)
{
    return event < LIFE_EVENT_COUNT ? event_names[event] : "unknown";
}
