/* Every order of events up to a length, against a model of what really runs: no state is reached from which
 * nothing leads on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "launcher/slot_state.h"

struct world {
    struct slot_state state;
    bool environment; /* irorid believes there is one */
    bool process;     /* one was made and has not been seen dead */
    bool asked_volume;
    bool ahead; /* the husk brings the volume with it, and has it before it is ready */
    unsigned launches, exits, gones, failures, starts;
};

static void perform(struct world *world, unsigned actions)
{
    if (actions & SLOT_DO_LAUNCH) {
        assert_true(world->environment && world->process);
        assert_int_equal(world->state.life, SLOT_RUNNING);
        world->launches++;
    }
    if (actions & SLOT_DO_KILL)
        assert_true(world->process);
    if (actions & SLOT_DO_FAILED) {
        assert_true(world->environment);
        world->failures++;
    }
    if (actions & SLOT_DO_EXITED) {
        assert_true(world->environment);
        world->exits++;
    }
    if (actions & SLOT_DO_REMOUNT)
        world->asked_volume = true;
    if (actions & SLOT_DO_GONE) {
        assert_true(world->environment);
        assert_true(actions & SLOT_DO_SCRUB);
        world->gones++;
    }
    if (actions & SLOT_DO_SCRUB) {
        assert_int_equal(world->state.life, SLOT_FREE);
        assert_false(world->state.volume);
        world->environment = false;
        world->asked_volume = false;
    }
    if (actions & SLOT_DO_BREW) {
        assert_false(world->process);
        world->process = true;
        if (world->ahead && world->state.life != SLOT_EXITED && !world->state.restarted) {
            world->state.volume = false;
            world->asked_volume = true;
        }
    }
}

/* Whether the event can happen in this world at all. */
static bool possible(const struct world *world, enum slot_event event)
{
    const struct slot_state *state = &world->state;

    switch (event) {
    case SLOT_ON_START:
        return !world->environment;
    case SLOT_ON_RESTART:
    case SLOT_ON_KILL:
        return world->environment;
    case SLOT_ON_HUSK_READY:
        return world->process && state->husk == HUSK_BREWING &&
               (!world->ahead || state->restarted || state->volume);
    case SLOT_ON_HUSK_ENDING:
    case SLOT_ON_HUSK_DEAD:
        return world->process;
    case SLOT_ON_VOLUME:
        return world->asked_volume;
    case SLOT_ON_FAILURE:
        return state->life == SLOT_WAITING || state->life == SLOT_RUNNING;
    case SLOT_ON_BREW:
    case SLOT_EVENT_COUNT:
        break;
    }
    return true;
}

static void apply(struct world *world, enum slot_event event)
{
    unsigned actions;

    if (event == SLOT_ON_START) {
        world->environment = true;
        world->asked_volume |= !world->ahead;
        world->starts++;
    }
    if (event == SLOT_ON_VOLUME)
        world->asked_volume = false;
    actions = slot_step(&world->state, event);
    if (event == SLOT_ON_HUSK_DEAD)
        world->process = false;
    perform(world, actions);
    /* What the state says is so. */
    assert_int_equal(world->process, world->state.husk != HUSK_NONE);
    assert_int_equal(world->environment, world->state.life != SLOT_FREE);
    assert_true(world->state.life != SLOT_RUNNING || world->state.husk == HUSK_RUNNING ||
                world->state.husk == HUSK_DYING);
    assert_true(world->state.husk != HUSK_RUNNING || world->state.life == SLOT_RUNNING);
    /* A waiting slot always waits for something that will come. */
    if (world->state.life == SLOT_WAITING)
        assert_true(world->state.husk != HUSK_READY || world->asked_volume);
    if (world->state.life == SLOT_WAITING && world->ahead && world->state.husk == HUSK_BREWING)
        assert_true(world->state.volume || world->asked_volume);
    if (world->state.life == SLOT_LEAVING)
        assert_int_equal(world->state.husk, HUSK_DYING);
}

static unsigned explore(struct world world, unsigned depth)
{
    unsigned count = 1;

    for (int event = 0; depth > 0 && event < SLOT_EVENT_COUNT; event++) {
        struct world next = world;

        if (!possible(&next, (enum slot_event)event))
            continue;
        apply(&next, (enum slot_event)event);
        count += explore(next, depth - 1);
    }
    return count;
}

static void test_all_orders_of_events_keep_the_rules(void **state)
{
    (void)state;
    assert_true(explore((struct world){ .state = { SLOT_FREE, HUSK_NONE, false, false } }, 8) > 100000);
}

static void test_all_orders_with_what_is_done_ahead(void **state)
{
    (void)state;
    assert_true(explore((struct world){ .state = { SLOT_FREE, HUSK_NONE, false, false }, .ahead = true }, 8) >
                10000);
}

static void test_what_was_done_ahead_ends_with_its_husk(void **state)
{
    (void)state;
    struct slot_state slot = { SLOT_FREE, HUSK_READY, true, false };

    assert_int_equal(slot_step(&slot, SLOT_ON_HUSK_ENDING), SLOT_DO_KILL);
    assert_int_equal(slot_step(&slot, SLOT_ON_HUSK_DEAD), SLOT_DO_SCRUB);
    assert_false(slot.volume);
}

static void test_a_prepared_slot_launches_at_once(void **state)
{
    (void)state;
    struct slot_state slot = { SLOT_FREE, HUSK_READY, true, false };

    assert_int_equal(slot_step(&slot, SLOT_ON_START), SLOT_DO_LAUNCH);
    assert_int_equal(slot.life, SLOT_RUNNING);
}

static void test_a_kill_is_answered_when_the_processes_are_gone(void **state)
{
    (void)state;
    struct slot_state slot = { SLOT_RUNNING, HUSK_RUNNING, false, false };

    assert_int_equal(slot_step(&slot, SLOT_ON_KILL), SLOT_DO_KILL);
    assert_int_equal(slot_step(&slot, SLOT_ON_HUSK_ENDING), 0);
    assert_int_equal(slot_step(&slot, SLOT_ON_HUSK_DEAD), SLOT_DO_GONE | SLOT_DO_SCRUB);
    assert_int_equal(slot.life, SLOT_FREE);
}

static void test_an_ended_program_is_told_once_and_a_new_husk_made(void **state)
{
    (void)state;
    struct slot_state slot = { SLOT_RUNNING, HUSK_RUNNING, false, false };

    assert_int_equal(slot_step(&slot, SLOT_ON_HUSK_ENDING), SLOT_DO_KILL);
    assert_int_equal(slot_step(&slot, SLOT_ON_HUSK_DEAD), SLOT_DO_EXITED | SLOT_DO_REMOUNT | SLOT_DO_BREW);
    assert_int_equal(slot_step(&slot, SLOT_ON_HUSK_READY), 0);
    assert_int_equal(slot_step(&slot, SLOT_ON_VOLUME), 0);
    assert_int_equal(slot_step(&slot, SLOT_ON_RESTART), SLOT_DO_LAUNCH);
}

static void test_a_restart_that_fails_leaves_the_environment(void **state)
{
    (void)state;
    struct slot_state slot = { SLOT_EXITED, HUSK_READY, true, false };

    assert_int_equal(slot_step(&slot, SLOT_ON_RESTART), SLOT_DO_LAUNCH);
    assert_int_equal(slot_step(&slot, SLOT_ON_FAILURE), SLOT_DO_KILL | SLOT_DO_FAILED | SLOT_DO_REMOUNT);
    assert_int_equal(slot.life, SLOT_EXITED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_orders_of_events_keep_the_rules),
        cmocka_unit_test(test_all_orders_with_what_is_done_ahead),
        cmocka_unit_test(test_what_was_done_ahead_ends_with_its_husk),
        cmocka_unit_test(test_a_prepared_slot_launches_at_once),
        cmocka_unit_test(test_a_kill_is_answered_when_the_processes_are_gone),
        cmocka_unit_test(test_an_ended_program_is_told_once_and_a_new_husk_made),
        cmocka_unit_test(test_a_restart_that_fails_leaves_the_environment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
