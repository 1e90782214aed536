#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "sched/template_life.h"

static unsigned step(enum template_state *state, enum template_event event)
{
    unsigned actions = 0;

    assert_true(template_step(state, event, &actions));
    return actions;
}

static void test_from_nothing_to_clones(void **unused)
{
    (void)unused;
    enum template_state state = TEMPLATE_NONE;

    assert_true(step(&state, TEMPLATE_ON_WANT) & TEMPLATE_DO_START);
    assert_true(step(&state, TEMPLATE_ON_STARTED) & TEMPLATE_DO_ARM_STEP);
    assert_true(step(&state, TEMPLATE_ON_NEXT) & TEMPLATE_DO_CAPTURE);
    assert_true(step(&state, TEMPLATE_ON_CAPTURED) & TEMPLATE_DO_PROVE);
    assert_true(step(&state, TEMPLATE_ON_CLONED) & TEMPLATE_DO_ARM_WATCH);
    assert_int_equal(state, TEMPLATE_WATCHING);
    assert_int_equal(step(&state, TEMPLATE_ON_TIMEOUT), TEMPLATE_DO_END_PROOF | TEMPLATE_DO_READY);
    assert_int_equal(state, TEMPLATE_READY);
    assert_int_equal(step(&state, TEMPLATE_ON_WANT), 0);
    assert_true(step(&state, TEMPLATE_ON_UNUSED) & TEMPLATE_DO_KILL);
    assert_true(step(&state, TEMPLATE_ON_GONE) & TEMPLATE_DO_RECONSIDER);
    assert_int_equal(state, TEMPLATE_NONE);
}

static void test_a_first_clone_that_dies_ends_it(void **unused)
{
    (void)unused;
    static const enum template_state states[] = { TEMPLATE_PROVING, TEMPLATE_WATCHING };

    for (int i = 0; i < 2; i++) {
        enum template_state state = states[i];
        unsigned actions = step(&state, TEMPLATE_ON_BROKEN);

        assert_true(actions & TEMPLATE_DO_REPORT);
        assert_true(actions & TEMPLATE_DO_KILL);
        assert_false(actions & TEMPLATE_DO_READY);
        assert_int_equal(state, TEMPLATE_FAILING);
    }
}

static void test_a_first_clone_that_cannot_be_had_is_no_fault(void **unused)
{
    (void)unused;
    enum template_state state = TEMPLATE_PROVING;

    assert_true(step(&state, TEMPLATE_ON_NO_PROOF) & TEMPLATE_DO_READY);
    assert_int_equal(state, TEMPLATE_READY);
}

static void test_a_failure_is_ended_reported_and_tried_again(void **unused)
{
    (void)unused;
    enum template_state state = TEMPLATE_CAPTURING;
    unsigned actions = step(&state, TEMPLATE_ON_BROKEN);

    assert_true(actions & TEMPLATE_DO_REPORT);
    assert_true(actions & TEMPLATE_DO_KILL);
    assert_true(step(&state, TEMPLATE_ON_GONE) & TEMPLATE_DO_ARM_RETRY);
    assert_int_equal(state, TEMPLATE_FAILED);
    assert_true(step(&state, TEMPLATE_ON_TIMEOUT) & TEMPLATE_DO_RECONSIDER);
    assert_true(step(&state, TEMPLATE_ON_WANT) & TEMPLATE_DO_START);
}

static void test_unknown_event_changes_nothing(void **unused)
{
    (void)unused;
    enum template_state state = TEMPLATE_NONE;
    unsigned actions = 77;

    assert_false(template_step(&state, TEMPLATE_ON_CAPTURED, &actions));
    assert_int_equal(state, TEMPLATE_NONE);
    assert_int_equal(actions, 77);
}

static void test_every_state_and_event_has_a_name(void **unused)
{
    (void)unused;
    for (int i = 0; i < TEMPLATE_STATE_COUNT; i++)
        assert_true(strcmp(template_state_name((enum template_state)i), "unknown") != 0);
    for (int i = 0; i < TEMPLATE_EVENT_COUNT; i++)
        assert_true(strcmp(template_event_name((enum template_event)i), "unknown") != 0);
    assert_string_equal(template_state_name(TEMPLATE_STATE_COUNT), "unknown");
    assert_string_equal(template_event_name(TEMPLATE_EVENT_COUNT), "unknown");
}

/* Whatever happens, a stop ends it, and at the latest with the launcher. */
static void test_every_state_ends_with_a_stop(void **unused)
{
    (void)unused;
    for (int i = 0; i < TEMPLATE_DEAD; i++) {
        enum template_state state = (enum template_state)i;
        unsigned actions;

        if (state != TEMPLATE_CLOSING) {
            actions = step(&state, TEMPLATE_ON_STOP);
            assert_int_equal(state == TEMPLATE_DEAD, (actions & TEMPLATE_DO_RELEASE) != 0);
        }
        if (state != TEMPLATE_DEAD)
            assert_true(step(&state, TEMPLATE_ON_LOST) & TEMPLATE_DO_RELEASE);
        assert_int_equal(state, TEMPLATE_DEAD);
    }
}

static void test_no_state_but_the_last_ignores_a_lost_launcher(void **unused)
{
    (void)unused;
    for (int i = 0; i < TEMPLATE_DEAD; i++) {
        enum template_state state = (enum template_state)i;

        (void)step(&state, TEMPLATE_ON_LOST);
        assert_false(template_has_process(state));
    }
}

/* What every walk must keep: see the asserts. */
struct walk {
    enum template_state state;
    bool timer;
    bool process; /* the launcher was asked for one, and has not cleaned it up */
    bool killed;  /* and it was asked to */
    bool open;    /* what irorid holds of it */
    bool proof;   /* a first clone was asked for and not ended */
    bool released;
};

static bool possible(const struct walk *walk, enum template_event event)
{
    switch (event) {
    case TEMPLATE_ON_TIMEOUT:
        return walk->timer;
    case TEMPLATE_ON_NEXT:
        return walk->open;
    case TEMPLATE_ON_STARTED:
    case TEMPLATE_ON_FAILED:
    case TEMPLATE_ON_CAPTURED:
    case TEMPLATE_ON_BROKEN:
        return walk->process;
    case TEMPLATE_ON_CLONED:
    case TEMPLATE_ON_NO_PROOF:
        return walk->proof;
    case TEMPLATE_ON_GONE:
        return walk->killed;
    case TEMPLATE_ON_WANT:
    case TEMPLATE_ON_UNUSED:
    case TEMPLATE_ON_LOST:
    case TEMPLATE_ON_STOP:
    case TEMPLATE_EVENT_COUNT:
        break;
    }
    return !walk->released;
}

static void check_timer(struct walk *walk, enum template_event event, unsigned actions)
{
    unsigned arms = actions & (TEMPLATE_DO_ARM_STEP | TEMPLATE_DO_ARM_WATCH | TEMPLATE_DO_ARM_RETRY);

    if (event == TEMPLATE_ON_TIMEOUT)
        walk->timer = false;
    if (actions & TEMPLATE_DO_STOP_TIMER) {
        assert_true(walk->timer);
        walk->timer = false;
    }
    assert_int_equal(arms & (arms - 1), 0);
    if (arms) {
        assert_false(walk->timer);
        walk->timer = true;
    }
    assert_int_equal(walk->timer, template_has_timer(walk->state));
}

static void check_process(struct walk *walk, enum template_state before, enum template_event event,
                          unsigned actions)
{
    if (event == TEMPLATE_ON_LOST || (event == TEMPLATE_ON_GONE && walk->killed) ||
        (event == TEMPLATE_ON_FAILED && before == TEMPLATE_STARTING))
        walk->process = walk->killed = false;
    if (event == TEMPLATE_ON_STARTED && before == TEMPLATE_STARTING)
        walk->open = true;
    if (actions & TEMPLATE_DO_CLOSE) {
        assert_true(walk->open);
        walk->open = false;
    }
    if (actions & TEMPLATE_DO_START) {
        assert_false(walk->process);
        walk->process = true;
    }
    if (actions & TEMPLATE_DO_CAPTURE)
        assert_true(walk->process && walk->open);
    if (actions & TEMPLATE_DO_KILL) {
        assert_true(walk->process && !walk->killed);
        walk->killed = true;
    }
    assert_int_equal(walk->process, template_has_process(walk->state));
    assert_true(!walk->killed || !walk->open);
}

/* Nobody else ever sees it, and it never outlives its purpose. */
static void check_proof(struct walk *walk, unsigned actions)
{
    if (actions & TEMPLATE_DO_END_PROOF) {
        assert_true(walk->proof);
        walk->proof = false;
    }
    if (actions & TEMPLATE_DO_PROVE) {
        assert_true(walk->process && walk->open && !walk->proof);
        walk->proof = true;
    }
    assert_int_equal(walk->proof, walk->state == TEMPLATE_PROVING || walk->state == TEMPLATE_WATCHING);
    if (actions & TEMPLATE_DO_READY)
        assert_int_equal(walk->state, TEMPLATE_READY);
}

static void check_step(struct walk *walk, enum template_event event)
{
    enum template_state before = walk->state;
    unsigned actions = 0;

    if (!possible(walk, event) || !template_step(&walk->state, event, &actions))
        return;
    check_timer(walk, event, actions);
    check_process(walk, before, event, actions);
    check_proof(walk, actions);
    if (actions & TEMPLATE_DO_RELEASE) {
        assert_false(walk->released || walk->process || walk->open || walk->timer || walk->proof);
        walk->released = true;
    }
    assert_int_equal(walk->released, walk->state == TEMPLATE_DEAD);
    if (actions & TEMPLATE_DO_RECONSIDER)
        assert_int_equal(walk->state, TEMPLATE_NONE);
}

static void walk_on(struct walk walk, int depth)
{
    if (depth == 0)
        return;
    for (int event = 0; event < TEMPLATE_EVENT_COUNT; event++) {
        struct walk next = walk;

        check_step(&next, (enum template_event)event);
        if (memcmp(&next, &walk, sizeof walk) != 0)
            walk_on(next, depth - 1);
    }
}

/* Steps that change nothing are not followed, so that twelve levels cover every order of the events that do.
 */
static void test_invariants_on_every_walk(void **unused)
{
    (void)unused;
    struct walk walk;

    memset(&walk, 0, sizeof walk);
    walk_on(walk, 12);
    walk.state = TEMPLATE_OFF;
    walk_on(walk, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_from_nothing_to_clones),
        cmocka_unit_test(test_a_first_clone_that_dies_ends_it),
        cmocka_unit_test(test_a_first_clone_that_cannot_be_had_is_no_fault),
        cmocka_unit_test(test_a_failure_is_ended_reported_and_tried_again),
        cmocka_unit_test(test_unknown_event_changes_nothing),
        cmocka_unit_test(test_every_state_and_event_has_a_name),
        cmocka_unit_test(test_every_state_ends_with_a_stop),
        cmocka_unit_test(test_no_state_but_the_last_ignores_a_lost_launcher),
        cmocka_unit_test(test_invariants_on_every_walk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
