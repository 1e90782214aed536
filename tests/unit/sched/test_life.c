#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "sched/life.h"

static unsigned step(enum life_state *state, enum life_event event)
{
    unsigned actions = 0;

    assert_true(life_step(state, event, &actions));
    return actions;
}

static void test_cold_then_warm_then_frozen(void **unused)
{
    (void)unused;
    enum life_state state = LIFE_STARTING;

    assert_true(step(&state, LIFE_ON_STARTED) & LIFE_DO_ARM_INIT);
    assert_true(step(&state, LIFE_ON_NEXT) & LIFE_DO_POOL);
    assert_true(step(&state, LIFE_ON_INVOKE) & LIFE_DO_DELIVER);
    assert_int_equal(state, LIFE_BUSY);
    assert_true(step(&state, LIFE_ON_RESULT) & LIFE_DO_ANSWER);
    assert_true(step(&state, LIFE_ON_NEXT) & LIFE_DO_COMPLETE);
    assert_true(step(&state, LIFE_ON_LINGER) & LIFE_DO_FREEZE);
    assert_true(step(&state, LIFE_ON_INVOKE) & LIFE_DO_THAW);
    assert_int_equal(state, LIFE_BUSY);
}

static void test_failed_init_runs_again_inside_the_first_invoke(void **unused)
{
    (void)unused;
    enum life_state state = LIFE_INIT;

    assert_true(step(&state, LIFE_ON_EXITED) & LIFE_DO_INIT_FAILED);
    assert_int_equal(state, LIFE_DOWN);
    assert_true(step(&state, LIFE_ON_INVOKE) & LIFE_DO_RESTART);
    assert_int_equal(step(&state, LIFE_ON_STARTED), 0);
    assert_true(step(&state, LIFE_ON_NEXT) & LIFE_DO_DELIVER);
    assert_int_equal(state, LIFE_BUSY);
}

static void test_a_start_without_a_clone_is_an_ordinary_one(void **unused)
{
    (void)unused;
    enum life_state state = LIFE_STARTING;
    unsigned actions = step(&state, LIFE_ON_NO_CLONE);

    assert_int_equal(state, LIFE_STARTING);
    assert_int_equal(actions, LIFE_DO_STOP_TIMER | LIFE_DO_START | LIFE_DO_ARM_START);
    assert_true(step(&state, LIFE_ON_STARTED) & LIFE_DO_ARM_INIT);
}

static void test_what_was_not_read_is_given_to_another(void **unused)
{
    (void)unused;
    enum life_state state = LIFE_BUSY;
    unsigned actions = step(&state, LIFE_ON_UNREAD);

    assert_int_equal(state, LIFE_STOPPING);
    assert_int_equal(actions, LIFE_DO_STOP_TIMER | LIFE_DO_GIVE_BACK | LIFE_DO_KILL);
    state = LIFE_RESPONDED; /* it has */
    assert_false(life_step(&state, LIFE_ON_UNREAD, &actions));
}

static void test_timeout_keeps_the_slot(void **unused)
{
    (void)unused;
    enum life_state state = LIFE_BUSY;
    unsigned actions = step(&state, LIFE_ON_TIMEOUT);

    assert_int_equal(state, LIFE_DOWN);
    assert_true(actions & LIFE_DO_FAIL);
    assert_true(actions & LIFE_DO_STOP);
    assert_false(actions & LIFE_DO_KILL);
}

static void test_unknown_event_changes_nothing(void **unused)
{
    (void)unused;
    enum life_state state = LIFE_STARTING;
    unsigned actions = 77;

    assert_false(life_step(&state, LIFE_ON_RESULT, &actions));
    assert_int_equal(state, LIFE_STARTING);
    assert_int_equal(actions, 77);
}

static void test_every_state_and_event_has_a_name(void **unused)
{
    (void)unused;
    for (int i = 0; i < LIFE_STATE_COUNT; i++)
        assert_true(strcmp(life_state_name((enum life_state)i), "unknown") != 0);
    for (int i = 0; i < LIFE_EVENT_COUNT; i++)
        assert_true(strcmp(life_event_name((enum life_event)i), "unknown") != 0);
    assert_string_equal(life_state_name(LIFE_STATE_COUNT), "unknown");
}

static void test_no_state_ignores_a_lost_launcher(void **unused)
{
    (void)unused;
    for (int i = 0; i < LIFE_DEAD; i++) {
        enum life_state state = (enum life_state)i;

        assert_true(step(&state, LIFE_ON_LOST) & LIFE_DO_RELEASE);
        assert_int_equal(state, LIFE_DEAD);
    }
}

/* What every walk must keep: see the asserts. */
struct walk {
    enum life_state state;
    bool timer, pooled, told; /* told: the invocation's caller */
    unsigned releases, kills;
};

static bool possible(const struct walk *walk, enum life_event event)
{
    if (event == LIFE_ON_TIMEOUT)
        return walk->timer && walk->state != LIFE_IDLE;
    if (event == LIFE_ON_LINGER)
        return walk->timer && walk->state == LIFE_IDLE;
    if (event == LIFE_ON_INVOKE)
        return walk->pooled;
    if (event == LIFE_ON_EVICT)
        return !life_has_invocation(walk->state);
    return true;
}

static void check_step(struct walk *walk, enum life_event event)
{
    enum life_state before = walk->state;
    unsigned actions = 0, arms;

    if (!possible(walk, event) || !life_step(&walk->state, event, &actions))
        return;
    if (event == LIFE_ON_TIMEOUT || event == LIFE_ON_LINGER)
        walk->timer = false;
    if (actions & LIFE_DO_STOP_TIMER)
        walk->timer = false;
    arms = actions & (LIFE_DO_ARM_START | LIFE_DO_ARM_INIT | LIFE_DO_ARM_INVOKE | LIFE_DO_ARM_LINGER |
                      LIFE_DO_ARM_IDLE);
    assert_int_equal(arms & (arms - 1), 0);
    if (arms) {
        assert_false(walk->timer);
        walk->timer = true;
    }
    assert_int_equal(walk->timer, life_has_timer(walk->state));

    if (actions & LIFE_DO_UNPOOL) {
        assert_true(walk->pooled);
        walk->pooled = false;
    }
    if (actions & LIFE_DO_POOL) {
        assert_false(walk->pooled);
        walk->pooled = true;
    }
    assert_int_equal(walk->pooled,
                     walk->state == LIFE_IDLE || walk->state == LIFE_FROZEN || walk->state == LIFE_DOWN);

    /* Exactly one answer per invocation, or another environment for it, and an end for each. */
    if (event == LIFE_ON_INVOKE)
        walk->told = false;
    if ((actions & (LIFE_DO_ANSWER | LIFE_DO_FAIL)) ||
        ((actions & LIFE_DO_GIVE_BACK) && life_has_invocation(before))) {
        assert_false(walk->told);
        walk->told = true;
    }
    if (life_has_invocation(before) && !life_has_invocation(walk->state)) {
        assert_true(walk->told);
        assert_true(actions & (LIFE_DO_COMPLETE | LIFE_DO_FAIL | LIFE_DO_GIVE_BACK));
    }
    walk->releases += (actions & LIFE_DO_RELEASE) != 0;
    walk->kills += (actions & LIFE_DO_KILL) != 0;
    assert_true(walk->kills <= 1);
    assert_int_equal(walk->releases, walk->state == LIFE_DEAD);
}

static void walk_on(struct walk walk, int depth)
{
    if (depth == 0)
        return;
    for (int event = 0; event < LIFE_EVENT_COUNT; event++) {
        struct walk next = walk;

        check_step(&next, (enum life_event)event);
        if (memcmp(&next, &walk, sizeof walk) != 0)
            walk_on(next, depth - 1);
    }
}

/* Steps that change nothing are not followed, so that ten levels cover every order of the events that do. */
static void test_invariants_on_every_walk(void **unused)
{
    (void)unused;
    struct walk walk;

    memset(&walk, 0, sizeof walk);
    walk.state = LIFE_STARTING;
    walk.timer = walk.told = true;
    walk_on(walk, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cold_then_warm_then_frozen),
        cmocka_unit_test(test_failed_init_runs_again_inside_the_first_invoke),
        cmocka_unit_test(test_a_start_without_a_clone_is_an_ordinary_one),
        cmocka_unit_test(test_what_was_not_read_is_given_to_another),
        cmocka_unit_test(test_timeout_keeps_the_slot),
        cmocka_unit_test(test_unknown_event_changes_nothing),
        cmocka_unit_test(test_every_state_and_event_has_a_name),
        cmocka_unit_test(test_no_state_ignores_a_lost_launcher),
        cmocka_unit_test(test_invariants_on_every_walk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
