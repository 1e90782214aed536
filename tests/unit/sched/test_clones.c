/* Clones of a version's template: that do not read, that are made ahead, that serve once. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/socket.h>

#include "model/function.h"
#include "version_world.h"
#include "world.h"

static struct env *env_of(const struct world *w, uint64_t id)
{
    struct env *env = NULL;

    HASH_FIND(hh, w->sched->envs, &id, sizeof id, env);
    assert_non_null(env);
    return env;
}

static void fire_timer(struct world *w, uint64_t id)
{
    uv_timer_t *timer = &env_of(w, id)->timer;

    (void)uv_timer_start(timer, timer->timer_cb, 0, 0);
    turn(w);
}

/* The caller is served by an ordinary start and sees nothing. */
static void expect_served_by_another(struct world *w, uint64_t id)
{
    unsigned before = w->answers;
    uint64_t other = expect_message(w, WIRE_START);

    assert_int_equal(start.template_id, 0);
    assert_int_equal(start.flags, 0);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    simple(w, WIRE_GONE, id);
    started(w, other);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CPU), other);
    answer(w);
    assert_int_equal(w->answers, before + 1);
    simple(w, WIRE_EXITED, other);
    assert_int_equal(expect_message(w, WIRE_KILL), other);
    simple(w, WIRE_GONE, other);
}

static void test_what_a_clone_has_not_read_is_given_to_another(void **state)
{
    struct world *w = *state;
    uint64_t template_id = snap_start(w, "invocation/next"), id;

    invoke(w);
    id = cloned(w, template_id);
    simple(w, WIRE_EXITED, id);
    assert_int_equal(w->answers, 0);
    assert_int_equal(template_of(w)->deaths, 1);
    expect_served_by_another(w, id);
    expect_silence(w);
    invoke(w); /* the next one is a clone again */
    (void)cloned(w, template_id);
    answer(w);
    assert_int_equal(template_of(w)->deaths, 0);
}

static void test_so_is_who_waits_for_a_reserved_one(void **state)
{
    struct world *w = *state;
    uint64_t template_id = snap_start(w, "invocation/next"), id, other;

    invoke_in(w, "fn", "new");
    id = cloned(w, template_id);
    simple(w, WIRE_EXITED, id);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    expect_silence(w);
    simple(w, WIRE_GONE, id);
    other = expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, 0);
    started(w, other);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CPU), other);
    answer(w);
    assert_int_equal(w->answers, 1);
    assert_string_not_equal(w->environment, "");
}

static void test_one_byte_that_was_read_is_enough(void **state)
{
    struct world *w = *state;
    uint64_t template_id = snap_start(w, "invocation/next");
    char byte;

    invoke(w);
    uint64_t id = cloned(w, template_id);
    assert_int_equal(recv(w->runtime, &byte, 1, MSG_DONTWAIT), 1);
    simple(w, WIRE_EXITED, id);
    expect_answer(w, 0, SCHED_FUNCTION_ERROR, "exit status 3");
    expect_silence(w);
}

static void test_who_asks_again_elsewhere_has_begun(void **state)
{
    struct world *w = *state;
    uint64_t template_id = snap_start(w, "invocation/next"), id;

    invoke(w);
    id = cloned(w, template_id);
    call(w, "GET", "invocation/next", ""); /* the event is there twice, and may have been read once */
    simple(w, WIRE_EXITED, id);
    expect_answer(w, 0, SCHED_FUNCTION_ERROR, "exit status 3");
}

static void test_clones_that_stand_still_retire_it(void **state)
{
    struct world *w = *state;
    uint64_t template_id = snap_start(w, "invocation/next"), id;
    char byte;

    for (int i = 0; i < 3; i++) {
        invoke(w);
        id = cloned(w, template_id);
        fire_timer(w, id);
        assert_true(recv(w->runtime, &byte, 1, MSG_DONTWAIT) <= 0); /* it comes too late now */
        if (i == 2)
            assert_int_equal(expect_message(w, WIRE_KILL), template_id);
        expect_served_by_another(w, id);
    }
    expect_listed(w,
                  "3 of its clones in a row ended before they had done anything; the last one stood still");
}

static void test_a_slow_function_is_looked_at_and_left_alone(void **state)
{
    struct world *w = *state;
    uint64_t template_id = snap_start(w, "invocation/next"), id;

    template_of(w)->version->timeout_s = 60;
    invoke(w);
    id = cloned(w, template_id);
    assert_in_range(uv_timer_get_due_in(&env_of(w, id)->timer), 4000, 5000);
    expect_text(w, "Lambda-Runtime-Aws-Request-Id: request");
    fire_timer(w, id);
    expect_silence(w);
    assert_in_range(uv_timer_get_due_in(&env_of(w, id)->timer), 54000, 55001);
    fire_timer(w, id);
    expect_answer(w, 0, SCHED_FUNCTION_ERROR, "timed out");
    assert_int_equal(template_of(w)->deaths, 1);
}

/* Two are made ahead. */
static uint64_t make_spares(struct world *w, uint64_t template_id, uint64_t *ret_other)
{
    uint64_t first, id;

    invoke(w);
    first = cloned(w, template_id);
    w->sched->pools->peak = 2;
    answer(w);
    assert_int_equal(expect_message(w, WIRE_KILL), first);
    id = expect_message(w, WIRE_START);
    *ret_other = expect_message(w, WIRE_START);
    started_parked(w, id);
    assert_int_equal(expect_message(w, WIRE_CPU), id);
    started_parked(w, *ret_other);
    assert_int_equal(expect_message(w, WIRE_CPU), *ret_other);
    return id;
}

static void test_with_their_template_spares_end_that_would_die_of_it(void **state)
{
    struct world *w = *state;
    uint64_t template_id = clean(w), other, id = make_spares(w, template_id, &other);

    template_of(w)->deaths = 2;
    simple(w, WIRE_EXITED, id);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    assert_int_equal(expect_message(w, WIRE_KILL), other);
    assert_int_equal(expect_message(w, WIRE_KILL), template_id);
    expect_silence(w);
}

static void test_who_was_given_a_spare_that_does_not_read(void **state)
{
    struct world *w = *state;
    uint64_t template_id = clean(w), other;

    (void)make_spares(w, template_id, &other);
    invoke(w); /* the last one takes it */
    simple(w, WIRE_EXITED, other);
    (void)expect_message(w, WIRE_START); /* and not the other spare, which is no better */
    assert_int_equal(start.template_id, 0);
    assert_int_equal(expect_message(w, WIRE_KILL), other);
    assert_int_equal(w->answers, 1);
}

static void test_clean_state_serves_once_and_makes_another(void **state)
{
    struct world *w = *state;
    uint64_t template_id = clean(w), first, second;

    invoke(w);
    first = cloned(w, template_id);
    expect_silence(w); /* nothing is made beside a request */
    answer(w);
    assert_int_equal(expect_message(w, WIRE_KILL), first);
    second = cloned(w, template_id);
    assert_true(second != first);
    simple(w, WIRE_GONE, first);
    expect_silence(w);
    invoke(w); /* the one made ahead takes it */
    answer(w);
    assert_int_equal(expect_message(w, WIRE_KILL), second);
    (void)cloned(w, template_id);
}

static void test_clean_state_never_reuses_for_who_waits(void **state)
{
    struct world *w = *state;
    uint64_t template_id = clean(w), first, second;

    invoke(w);
    first = cloned(w, template_id);
    invoke(w);
    second = expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, template_id);
    answer(w); /* the first has answered, and would be free */
    assert_int_equal(expect_message(w, WIRE_KILL), first);
    assert_int_equal(w->answers, 1);
    /* Two were busy at once, so that beside the second two are made ahead. */
    (void)expect_message(w, WIRE_START);
    (void)expect_message(w, WIRE_START);
    expect_silence(w);
    started_parked(w, second);
    answer(w);
    assert_int_equal(w->answers, 2);
}

static void test_clean_state_does_not_spin_on_an_init_that_fails(void **state)
{
    struct world *w = *state;
    uint64_t id;

    w->clean = true;
    put(w, -1, "clean", false);
    id = expect_message(w, WIRE_START);
    started(w, id);
    simple(w, WIRE_EXITED, id);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    simple(w, WIRE_GONE, id);
    expect_silence(w);
}

static void test_spares_end_with_their_version(void **state)
{
    struct world *w = *state;
    uint64_t template_id = clean(w), first, spare;

    invoke(w);
    first = cloned(w, template_id);
    answer(w);
    assert_int_equal(expect_message(w, WIRE_KILL), first);
    spare = cloned(w, template_id);
    w->clean = false;
    put(w, -1, "next", false);
    assert_int_equal(expect_message(w, WIRE_KILL), template_id);
    assert_int_equal(expect_message(w, WIRE_KILL), spare);
    expect_silence(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_a_clone_has_not_read_is_given_to_another),
        TEST(test_so_is_who_waits_for_a_reserved_one),
        TEST(test_one_byte_that_was_read_is_enough),
        TEST(test_who_asks_again_elsewhere_has_begun),
        TEST(test_clones_that_stand_still_retire_it),
        TEST(test_a_slow_function_is_looked_at_and_left_alone),
        TEST(test_with_their_template_spares_end_that_would_die_of_it),
        TEST(test_who_was_given_a_spare_that_does_not_read),
        TEST(test_clean_state_serves_once_and_makes_another),
        TEST(test_clean_state_never_reuses_for_who_waits),
        TEST(test_clean_state_does_not_spin_on_an_init_that_fails),
        TEST(test_spares_end_with_their_version),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
