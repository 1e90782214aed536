#pragma once

/*
 * The life of one execution environment, decided without I/O or clock:
 *
 *   STARTING ─started─▶ INIT ─next─▶ IDLE ◀──next── RESPONDED ◀─result─┐
 *                        │            │ ▲ └─linger─▶ FROZEN             │
 *                        │            └─┴───────invoke─────────▶ BUSY ──┘
 *                        └─error, exit, timeout─▶ DOWN ◀─exit, timeout──┘
 *   DOWN ─invoke─▶ RESTARTING ─started─▶ REINIT ─next─▶ BUSY
 *   anything ─evict─▶ STOPPING ─gone─▶ DEAD
 *
 * A start that was to be a clone and could not is an ordinary one; nobody sees the difference, even if
 * STARTED was said. Nor does anybody when a clone does not even read what it is given, or never comes to be
 * where it was given: it ends, and its invocation is given to another.
 * DOWN has a slot and /tmp but no process worth keeping: the next invocation
 * starts one and pays for its INIT ("suppressed init").
 * sched/env.c feeds the events in and carries the actions out, in bit order.
 */

#include <stdbool.h>

enum life_state {
    LIFE_STARTING,  /* the launcher was asked */
    LIFE_INIT,      /* the runtime process runs and has not asked for work yet */
    LIFE_IDLE,      /* waits in `next` */
    LIFE_FROZEN,    /* the same, without CPU */
    LIFE_BUSY,      /* has an invocation */
    LIFE_RESPONDED, /* has posted its result; the invoke phase ends with `next` */
    LIFE_DOWN,
    LIFE_RESTARTING, /* has an invocation; the launcher was asked for a new process */
    LIFE_REINIT,     /* has an invocation; the new process has not asked for work yet */
    LIFE_STOPPING,   /* the launcher was asked to end it */
    LIFE_DEAD,
    LIFE_STATE_COUNT
};

enum life_event {
    LIFE_ON_STARTED,    /* the launcher started the process */
    LIFE_ON_NEXT,       /* the runtime asked for work */
    LIFE_ON_INVOKE,     /* the scheduler chose it for an invocation */
    LIFE_ON_RESULT,     /* the runtime posted a response or an error */
    LIFE_ON_INIT_ERROR, /* the runtime posted init/error */
    LIFE_ON_EXITED,     /* the runtime process is gone */
    LIFE_ON_UNREAD,     /* a clone is gone, stands still or was not made, and what it was given is unread */
    LIFE_ON_FAILED,     /* the launcher could not start it; a clone's, also after STARTED */
    LIFE_ON_NO_CLONE,   /* its template made no clone, and it was given no event; also after STARTED */
    LIFE_ON_TIMEOUT,    /* the state's limit passed */
    LIFE_ON_LINGER,     /* idle long enough to be frozen */
    LIFE_ON_EVICT,      /* no longer wanted; only for environments without an invocation */
    LIFE_ON_GONE,       /* the launcher has cleaned the slot */
    LIFE_ON_LOST,       /* the launcher itself is gone, and every sandbox with it */
    LIFE_EVENT_COUNT
};

enum life_action {
    LIFE_DO_STOP_TIMER = 1 << 0,
    LIFE_DO_THAW = 1 << 1,
    LIFE_DO_RESTART = 1 << 2,      /* ask the launcher for a new process in the same slot */
    LIFE_DO_START = 1 << 3,        /* ask again for the first process, not for a clone */
    LIFE_DO_LIMIT_CPU = 1 << 4,    /* INIT is over */
    LIFE_DO_INIT_DONE = 1 << 5,    /* an INIT outside an invocation succeeded */
    LIFE_DO_DELIVER = 1 << 6,      /* hand the invocation to the runtime */
    LIFE_DO_ANSWER = 1 << 7,       /* tell the caller the result */
    LIFE_DO_COMPLETE = 1 << 8,     /* the invoke phase is over: END and REPORT */
    LIFE_DO_FAIL = 1 << 9,         /* answer the caller with the event's error, then as COMPLETE */
    LIFE_DO_INIT_FAILED = 1 << 10, /* an INIT outside an invocation failed */
    LIFE_DO_GIVE_BACK = 1 << 11,   /* the invocation, or who waits for this start, to an ordinary start */
    LIFE_DO_ARM_START = 1 << 12,   /* timer: the launcher's limit */
    LIFE_DO_ARM_INIT = 1 << 13,    /* timer: INIT's limit */
    LIFE_DO_ARM_INVOKE = 1 << 14,  /* timer: the function's timeout */
    LIFE_DO_ARM_LINGER = 1 << 15,  /* timer: until freezing */
    LIFE_DO_ARM_IDLE = 1 << 16,    /* timer: the rest of the idle life */
    LIFE_DO_STOP = 1 << 17,        /* ask the launcher to end the processes; slot and /tmp stay */
    LIFE_DO_FREEZE = 1 << 18,
    LIFE_DO_KILL = 1 << 19,    /* ask the launcher to end it and clean the slot */
    LIFE_DO_POOL = 1 << 20,    /* it can take an invocation again: offer it to the scheduler */
    LIFE_DO_UNPOOL = 1 << 21,  /* it no longer can */
    LIFE_DO_RELEASE = 1 << 22, /* forget it */
};

/** Moves *state by one event. Returns true and sets *ret_actions; false when the state knows no such event,
 * and then nothing has changed. */
bool life_step(enum life_state *state, enum life_event event, unsigned *ret_actions);

/** True for states that hold an invocation. */
bool life_has_invocation(enum life_state state);
/** True for states whose timer must be running. */
bool life_has_timer(enum life_state state);
const char *life_state_name(enum life_state state); /* static storage, never NULL */
const char *life_event_name(enum life_event event);
