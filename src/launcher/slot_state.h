#pragma once

/*
 * What a slot does next: a pure table of states and events, without I/O. slot.c performs the actions.
 *
 * A slot is one place in which environments live one after the other. Its processes are a husk: irori-init as
 * PID 1, prepared before anybody asks. A husk is used for one START only; the next needs a new one.
 *
 *             START                     launched                 program ended
 *   FREE ───────────────▶ WAITING ───────────────▶ RUNNING ───────────────▶ EXITED
 *    ▲                       ▲                        │   RESTART              │
 *    │                       └────────────────────────┴────────────────────────┘
 *    └──── GONE ──── LEAVING ◀──── KILL, from everywhere
 */

#include <stdbool.h>

enum slot_life {
    SLOT_FREE,
    SLOT_WAITING, /* START or RESTART was given; husk or volume is missing */
    SLOT_RUNNING,
    SLOT_EXITED,
    SLOT_LEAVING, /* KILL was given; the processes are ending */
    SLOT_LIFE_COUNT
};

enum husk_state {
    HUSK_NONE,
    HUSK_BREWING, /* prepares itself */
    HUSK_READY,
    HUSK_RUNNING, /* has got its START */
    HUSK_DYING,
    HUSK_STATE_COUNT
};

struct slot_state {
    enum slot_life life;
    enum husk_state husk;
    bool volume;    /* a mount of /tmp is at hand, for the next START */
    bool restarted; /* WAITING for a RESTART: a failure leaves the environment there */
};

enum slot_event {
    SLOT_ON_START,   /* only when FREE */
    SLOT_ON_RESTART, /* only with an environment */
    SLOT_ON_KILL,    /* only with an environment */
    SLOT_ON_BREW,    /* somebody decided to prepare a husk */
    SLOT_ON_HUSK_READY,
    SLOT_ON_HUSK_ENDING, /* reported its end, or something senseless, or could not be prepared */
    SLOT_ON_HUSK_DEAD,   /* the kernel says: no process is left */
    SLOT_ON_VOLUME,      /* a mount came */
    SLOT_ON_FAILURE,     /* what was to be done for WAITING could not be done */
    SLOT_EVENT_COUNT
};

enum slot_action {
    SLOT_DO_LAUNCH = 1 << 0, /* send the START to the husk; a failure comes back as SLOT_ON_FAILURE */
    SLOT_DO_KILL = 1 << 1,   /* end all processes */
    SLOT_DO_FAILED = 1 << 2, /* tell irorid */
    SLOT_DO_EXITED = 1 << 3,
    SLOT_DO_GONE = 1 << 4,
    SLOT_DO_REMOUNT = 1 << 5, /* ask for another mount of the same /tmp */
    SLOT_DO_SCRUB = 1 << 6,   /* give /tmp and control group back */
    SLOT_DO_BREW = 1 << 7,    /* make a husk: at once when the slot is WAITING, else when there is time */
};

/** Returns actions, to be performed in ascending order of their bits after the new state is stored. Events
 * that the state does not expect change nothing. */
unsigned slot_step(struct slot_state *state, enum slot_event event);
