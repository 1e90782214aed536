#pragma once

/*
 * The life of one runtime's template, decided without I/O or clock:
 *
 *   NONE ─want─▶ STARTING ─started─▶ LOADING ─next─▶ CAPTURING ─captured─▶ PROVING ─cloned─▶ WATCHING
 *    ▲ ▲            │ failed                                                  │ no-proof        │ timeout
 *    │ │            ▼                                                         └──────▶ READY ◀──┘
 *    │ └─timeout─ FAILED ◀──gone── FAILING ◀─broken, timeout─ any that runs
 *    └──gone── RETIRING ◀─unused─ any that runs
 *   any ─stop─▶ CLOSING ─gone─▶ DEAD
 *
 * A first clone, which nobody waits for and which is told nothing, shows whether clones live at all: PROVING
 * and WATCHING.
 * RETIRING, FAILING and CLOSING wait for the launcher's GONE; FAILED waits until the next try.
 * sched/templates.c feeds the events in and carries the actions out, in bit order.
 */

#include <stdbool.h>

enum template_state {
    TEMPLATE_NONE,
    TEMPLATE_STARTING,  /* the launcher was asked */
    TEMPLATE_LOADING,   /* the process runs and has not asked for work yet */
    TEMPLATE_CAPTURING, /* it waits in `next`; the launcher was asked to make clones possible */
    TEMPLATE_PROVING,   /* it can be cloned; the launcher was asked for a first clone */
    TEMPLATE_WATCHING,  /* that clone is there, and left alone for a moment */
    TEMPLATE_READY,     /* clones can be made */
    TEMPLATE_FAILED,
    TEMPLATE_RETIRING, /* being ended, because nobody uses it */
    TEMPLATE_FAILING,  /* being ended, because it failed */
    TEMPLATE_CLOSING,  /* being ended, because the server stops */
    TEMPLATE_OFF,      /* none is ever made */
    TEMPLATE_DEAD,
    TEMPLATE_STATE_COUNT
};

enum template_event {
    TEMPLATE_ON_WANT,     /* a function could use one, and the launcher is there */
    TEMPLATE_ON_STARTED,  /* the launcher started the process */
    TEMPLATE_ON_FAILED,   /* the launcher could not start it, and there is nothing to end */
    TEMPLATE_ON_NEXT,     /* the runtime asked for work */
    TEMPLATE_ON_CAPTURED, /* the launcher can make clones */
    TEMPLATE_ON_CLONED,   /* the first clone is there */
    TEMPLATE_ON_NO_PROOF, /* it could not be made, and not for the template's fault */
    TEMPLATE_ON_BROKEN,   /* of no use any more: refused, ended, init/error, or its clones die */
    TEMPLATE_ON_TIMEOUT,  /* the state's limit passed, or its pause is over, or the first clone has lived */
    TEMPLATE_ON_UNUSED,   /* no function could use it for long */
    TEMPLATE_ON_GONE,     /* the launcher has cleaned up */
    TEMPLATE_ON_LOST,     /* the launcher itself is gone, and the template with it */
    TEMPLATE_ON_STOP,     /* the server stops */
    TEMPLATE_EVENT_COUNT
};

enum template_action {
    TEMPLATE_DO_STOP_TIMER = 1 << 0,
    TEMPLATE_DO_END_PROOF = 1 << 1, /* the first clone, if there is one */
    TEMPLATE_DO_CLOSE = 1 << 2,     /* what irorid holds of the process */
    TEMPLATE_DO_REPORT = 1 << 3,    /* it failed: say why, count it */
    TEMPLATE_DO_START = 1 << 4,     /* ask the launcher for a process */
    TEMPLATE_DO_CAPTURE = 1 << 5,
    TEMPLATE_DO_PROVE = 1 << 6, /* ask for a first clone */
    TEMPLATE_DO_KILL = 1 << 7,
    TEMPLATE_DO_ARM_STEP = 1 << 8,   /* timer: the limit of this step */
    TEMPLATE_DO_ARM_WATCH = 1 << 9,  /* timer: for how long the first clone is watched */
    TEMPLATE_DO_ARM_RETRY = 1 << 10, /* timer: until the next try */
    TEMPLATE_DO_READY = 1 << 11,
    TEMPLATE_DO_RECONSIDER = 1 << 12, /* there is none now: WANT, if it is */
    TEMPLATE_DO_RELEASE = 1 << 13,    /* forget it */
};

/** Moves *state by one event. Returns true and sets *ret_actions; false when the state knows no such event,
 * and then nothing has changed. */
bool template_step(enum template_state *state, enum template_event event, unsigned *ret_actions);

/** True for states whose timer must be running. */
bool template_has_timer(enum template_state state);
/** True for states in which the launcher knows the template. */
bool template_has_process(enum template_state state);
const char *template_state_name(enum template_state state); /* static storage, never NULL */
const char *template_event_name(enum template_event event);
