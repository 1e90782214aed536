#include "launcher/slot_state.h"

/* WAITING goes on as soon as everything is there. */
static unsigned proceed(struct slot_state *state)
{
    if (state->life != SLOT_WAITING)
        return 0;
    if (state->husk == HUSK_NONE) {
        state->husk = HUSK_BREWING;
        return SLOT_DO_BREW;
    }
    if (state->husk != HUSK_READY || !state->volume)
        return 0;
    state->life = SLOT_RUNNING;
    state->husk = HUSK_RUNNING;
    state->volume = false;
    return SLOT_DO_LAUNCH;
}

static unsigned kill_husk(struct slot_state *state)
{
    if (state->husk == HUSK_NONE)
        return 0;
    state->husk = HUSK_DYING;
    return SLOT_DO_KILL;
}

static unsigned leave(struct slot_state *state)
{
    unsigned actions = SLOT_DO_SCRUB | (state->life == SLOT_LEAVING ? SLOT_DO_GONE : 0);

    state->life = SLOT_FREE;
    state->volume = false;
    state->restarted = false;
    return actions;
}

static unsigned on_restart(struct slot_state *state)
{
    unsigned actions = 0;

    if (state->life != SLOT_RUNNING && state->life != SLOT_EXITED)
        return 0;
    if (state->life == SLOT_RUNNING)
        actions |= kill_husk(state) | SLOT_DO_REMOUNT;
    state->life = SLOT_WAITING;
    state->restarted = true;
    return actions | proceed(state);
}

static unsigned on_kill(struct slot_state *state)
{
    if (state->life == SLOT_FREE || state->life == SLOT_LEAVING)
        return 0;
    state->life = SLOT_LEAVING;
    if (state->husk == HUSK_NONE)
        return leave(state);
    return kill_husk(state);
}

static unsigned on_husk_dead(struct slot_state *state)
{
    if (state->husk == HUSK_NONE)
        return 0;
    state->husk = HUSK_NONE;
    switch (state->life) {
    case SLOT_LEAVING:
        return leave(state);
    case SLOT_RUNNING:
        /* The next husk is prepared at once: a RESTART is what usually follows. */
        state->life = SLOT_EXITED;
        state->husk = HUSK_BREWING;
        return SLOT_DO_EXITED | SLOT_DO_REMOUNT | SLOT_DO_BREW;
    case SLOT_WAITING:
        return proceed(state);
    case SLOT_FREE:
        /* With it goes what was done ahead for the next environment. */
        return leave(state);
    case SLOT_EXITED:
    case SLOT_LIFE_COUNT:
        break;
    }
    return 0;
}

/* There is no environment after the failure of a START; after that of a RESTART there still is one. */
static unsigned on_failure(struct slot_state *state)
{
    bool launched = state->life == SLOT_RUNNING;

    if (state->life != SLOT_WAITING && !launched)
        return 0;
    if (state->restarted) {
        state->life = SLOT_EXITED;
        return kill_husk(state) | SLOT_DO_FAILED | (launched ? SLOT_DO_REMOUNT : 0);
    }
    if (state->husk == HUSK_NONE)
        return SLOT_DO_FAILED | leave(state);
    /* Free again when the processes are gone; nobody waits for a GONE. */
    state->life = SLOT_FREE;
    return kill_husk(state) | SLOT_DO_FAILED | leave(state);
}

unsigned slot_step(struct slot_state *state, enum slot_event event)
{
    switch (event) {
    case SLOT_ON_START:
        if (state->life != SLOT_FREE)
            return 0;
        state->life = SLOT_WAITING;
        state->restarted = false;
        return proceed(state);
    case SLOT_ON_RESTART:
        return on_restart(state);
    case SLOT_ON_KILL:
        return on_kill(state);
    case SLOT_ON_BREW:
        if (state->husk != HUSK_NONE)
            return 0;
        state->husk = HUSK_BREWING;
        return SLOT_DO_BREW;
    case SLOT_ON_HUSK_READY:
        if (state->husk != HUSK_BREWING)
            return 0;
        state->husk = HUSK_READY;
        return proceed(state);
    case SLOT_ON_HUSK_ENDING:
        return state->husk == HUSK_DYING ? 0 : kill_husk(state);
    case SLOT_ON_HUSK_DEAD:
        return on_husk_dead(state);
    case SLOT_ON_VOLUME:
        state->volume = true;
        return proceed(state);
    case SLOT_ON_FAILURE:
        return on_failure(state);
    case SLOT_EVENT_COUNT:
        break;
    }
    return 0;
}
