/* Templates of one version: SnapStart and clean state. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <unistd.h>

#include "model/function.h"
#include "version_world.h"
#include "world.h"

static void test_what_waits_in_next_is_given_the_event(void **state)
{
    struct world *w = *state;
    uint64_t template_id = snap_start(w, "invocation/next");

    assert_int_equal(w->tries, 1);
    assert_string_equal(w->tried, "");
    assert_false(sched_snapshot_pending(w->sched, template_of(w)->version));
    invoke(w);
    (void)cloned(w, template_id);
    answer(w);
    expect_listed(w, "\"kind\":\"function\",\"function\":\"fn\",\"version\":\"$LATEST\",\"state\":\"ready\"");
    expect_listed(w, "\"clones\":1,\"fallbacks\":0");
    invoke(w); /* it is warm */
    answer(w);
    expect_silence(w);
}

static void test_what_waits_in_restore_next_is_told_first(void **state)
{
    struct world *w = *state;
    uint64_t template_id = snap_start(w, "restore/next"), id;

    invoke(w);
    id = expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, template_id);
    started_parked(w, id);
    expect_text(w, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"); /* provided: nothing to tell */
    expect_silence(w);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CPU), id);
    answer(w);
}

static void test_a_restore_that_fails_is_started_anew_for_who_waits(void **state)
{
    struct world *w = *state;
    uint64_t template_id = snap_start(w, "restore/next"), id;

    invoke(w);
    id = expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, template_id);
    started_parked(w, id);
    expect_text(w, " 200 ");
    call(w, "POST", "restore/error", "{}");
    assert_int_equal(expect_message(w, WIRE_STOP), id);
    assert_int_equal(expect_message(w, WIRE_RESTART), id);
    simple(w, WIRE_EXITED, id);
    started(w, id);
    call(w, "GET", "restore/next", ""); /* an ordinary process asks, too, and goes on at once */
    expect_text(w, " 200 ");
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CPU), id);
    answer(w);
}

static void test_a_capture_that_is_refused_is_nobody_s_failure(void **state)
{
    struct world *w = *state;
    uint64_t id;

    w->snap_start = true;
    put(w, -1, "snap", false);
    id = expect_message(w, WIRE_START);
    started(w, id);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CAPTURE), id);
    assert_true(sched_snapshot_pending(w->sched, template_of(w)->version));
    captured(w, id, 1);
    assert_int_equal(w->tries, 1);
    assert_string_equal(w->tried, "");
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    simple(w, WIRE_GONE, id);
    expect_silence(w); /* not again before it is called */
    invoke(w);
    (void)expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, 0);
    assert_int_equal(start.flags, 0);
    expect_listed(
        w, "\"fallbacks\":1,\"ineligible\":0,\"failures\":1,\"sockets\":0,\"reason\":\"an open socket\"");
}

static void test_sockets_of_its_process_are_counted(void **state)
{
    struct world *w = *state;
    uint64_t id;

    w->snap_start = true;
    put(w, -1, "snap", false);
    id = expect_message(w, WIRE_START);
    started(w, id);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CAPTURE), id);
    captured_with(w, id, 0, "3 sockets");
    proven(w, id);
    expect_listed(w, "\"state\":\"ready\"");
    expect_listed(w, "\"sockets\":3,\"reason\":\"\"");
    simple(w, WIRE_GONE, id);
    connect_launcher(w);
    invoke(w);
    (void)expect_message(w, WIRE_START);
    expect_listed(w, "\"sockets\":0,"); /* the next process has its own */
}

static void test_an_init_that_fails_is_the_version_s(void **state)
{
    struct world *w = *state;
    uint64_t id;

    w->snap_start = true;
    put(w, -1, "snap", false);
    id = expect_message(w, WIRE_START);
    started(w, id);
    call(w, "POST", "init/error", "{\"errorType\":\"Broken\"}");
    assert_int_equal(w->tries, 1);
    assert_string_equal(w->tried, "{\"errorType\":\"Broken\"}");
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    put(w, -1, "snap", false); /* whoever waits for the state has it told again */
    assert_int_equal(w->tries, 2);
    assert_string_equal(w->tried, "{\"errorType\":\"Broken\"}");
}

static void test_a_lost_launcher_is_not_the_version_s(void **state)
{
    struct world *w = *state;

    w->snap_start = true;
    put(w, -1, "snap", false);
    started(w, expect_message(w, WIRE_START));
    (void)close(w->launcher);
    turn(w);
    assert_int_equal(w->tries, 1);
    assert_string_equal(w->tried, "");
    connect_launcher(w);
}

static void test_it_ends_with_its_version(void **state)
{
    struct world *w = *state;
    uint64_t id = snap_start(w, "invocation/next");

    w->snap_start = false;
    put(w, -1, "other", false);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    put(w, -1, "first", false);
    simple(w, WIRE_GONE, id);
    assert_null(template_of(w));
    expect_silence(w);
}

static void test_a_version_that_comes_back_meanwhile_has_one_again(void **state)
{
    struct world *w = *state;
    uint64_t id = clean(w);

    w->clean = false;
    put(w, -1, "other", false);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    w->clean = true;
    put(w, -1, "clean", false);
    invoke(w);
    (void)expect_message(w, WIRE_START); /* ordinary: there is none yet */
    assert_int_equal(start.flags, 0);
    simple(w, WIRE_GONE, id);
    expect_state(w, TEMPLATE_STARTING);
}

static void test_an_unused_one_ends_and_is_made_again_for_a_call(void **state)
{
    struct world *w = *state;
    uint64_t id = snap_start(w, "invocation/next");

    templates_end_unused(w->sched);
    expect_silence(w);
    w->sched->config.template_idle_ms = 0;
    templates_end_unused(w->sched);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    simple(w, WIRE_GONE, id);
    expect_state(w, TEMPLATE_NONE);
    w->sched->config.template_idle_ms = 60000;
    invoke(w);
    assert_true(expect_message(w, WIRE_START) > id);
    expect_state(w, TEMPLATE_STARTING);
}

static void test_memory_takes_the_one_that_was_used_longest_ago(void **state)
{
    struct world *w = *state;
    uint64_t id = snap_start(w, "invocation/next");

    assert_false(templates_yield(w->sched)); /* it was used just now */
    template_of(w)->unused_since_us -= 60000000;
    assert_true(templates_yield(w->sched));
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    assert_false(templates_yield(w->sched));
}

/* 10 MB are left, and the caller is not refused while its end is awaited. */
static void test_who_finds_no_memory_waits_for_a_template_to_end(void **state)
{
    struct world *w = *state;
    uint64_t id = snap_start(w, "invocation/next");
    int fds[2];

    w->snap_start = false;
    put_function(w, "other", -1, "other", false);
    give_memory(w, fds, 290, 300);
    template_of(w)->unused_since_us -= 60000000;
    invoke_function(w, "other");
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    expect_silence(w);
    invoke_function(w, "other");
    assert_int_equal(w->answers, 0);
    write_memory(fds, 100, 0);
    (void)usleep(60000);
    simple(w, WIRE_GONE, id);
    (void)expect_message(w, WIRE_START);
    (void)expect_message(w, WIRE_START);
    assert_int_equal(w->answers, 0);
    close_memory(fds);
}

static void test_what_ended_may_show_for_a_moment(void **state)
{
    struct world *w = *state;
    uint64_t id = snap_start(w, "invocation/next");
    int fds[2];

    w->snap_start = false;
    put_function(w, "other", -1, "other", false);
    give_memory(w, fds, 290, 300);
    template_of(w)->unused_since_us -= 60000000;
    invoke_function(w, "other");
    simple(w, WIRE_GONE, expect_message(w, WIRE_KILL));
    (void)id;
    expect_silence(w);
    assert_int_equal(w->answers, 0);
    w->sched->memory_settles_us = 0;
    sched_try_again(w->sched);
    turn(w);
    expect_answer(w, 0, SCHED_THROTTLED, "ConcurrentInvocationLimitExceeded");
    close_memory(fds);
}

static void test_a_new_pool_is_thought_to_be_like_other_clones(void **state)
{
    struct world *w = *state;

    (void)snap_start(w, "invocation/next");
    template_of(w)->clone_bytes = 2 << 20;
    invoke(w);
    assert_int_equal(w->sched->starting_bytes, 2 << 20);
    template_of(w)->clone_bytes = 200 << 20;
    invoke(w);
    assert_int_equal(w->sched->starting_bytes, (2 + 32) << 20);
}

static void test_clones_that_cannot_be_made_retire_it(void **state)
{
    struct world *w = *state;
    uint64_t template_id = snap_start(w, "invocation/next");

    for (int i = 0; i < 3; i++) {
        struct wire_message message = { .type = WIRE_FAILED,
                                        .number = WIRE_FAIL_TEMPLATE,
                                        .text = "cloning: broken" };

        invoke(w);
        message.env_id = expect_message(w, WIRE_START);
        assert_int_equal(start.template_id, template_id);
        send_message(w, &message, NULL, 0);
        if (i == 2)
            assert_int_equal(expect_message(w, WIRE_KILL), template_id);
        assert_int_equal(expect_message(w, WIRE_START), message.env_id);
        assert_int_equal(start.template_id, 0);
    }
}

/* The launcher says STARTED when it has asked for the clone: the event lies there when none comes. */
static void test_a_clone_that_does_not_come_leaves_the_event_to_an_ordinary_process(void **state)
{
    struct world *w = *state;
    uint64_t template_id = snap_start(w, "invocation/next"), id, other;

    invoke(w);
    id = cloned(w, template_id);
    turn(w);
    failed(w, id, WIRE_FAIL_TEMPLATE);
    other = expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, 0);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    simple(w, WIRE_GONE, id);
    assert_int_equal(w->answers, 0);
    started(w, other);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CPU), other);
    answer(w);
    assert_int_equal(w->answers, 1);
    expect_listed(w, "\"clones\":0,\"fallbacks\":1");
}

/* It came to life while the launcher gave it up: what it reads it may have begun, and nobody else gets that.
 */
static void test_an_event_that_was_read_is_given_to_nobody_else(void **state)
{
    struct world *w = *state;
    uint64_t template_id = snap_start(w, "invocation/next"), id;

    invoke(w);
    id = cloned(w, template_id);
    expect_text(w, "Lambda-Runtime-Aws-Request-Id: request");
    failed(w, id, WIRE_FAIL_TEMPLATE);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    expect_answer(w, 0, SCHED_UNAVAILABLE, "The execution environment was lost");
    simple(w, WIRE_GONE, id);
    expect_silence(w);
}

static void test_an_idle_one_that_did_not_come_is_replaced(void **state)
{
    struct world *w = *state;
    uint64_t template_id = clean(w), first, second;

    invoke(w);
    first = cloned(w, template_id);
    answer(w);
    assert_int_equal(expect_message(w, WIRE_KILL), first);
    second = cloned(w, template_id);
    simple(w, WIRE_GONE, first);
    failed(w, second, WIRE_FAIL_TEMPLATE);
    assert_int_equal(expect_message(w, WIRE_KILL), second);
    simple(w, WIRE_GONE, second);
    invoke(w);
    (void)cloned(w, template_id);
    answer(w);
}

static void test_clones_that_end_before_they_answer_retire_it(void **state)
{
    struct world *w = *state;
    uint64_t template_id = snap_start(w, "invocation/next"), ids[3];

    for (int i = 0; i < 3; i++) {
        invoke(w);
        ids[i] = cloned(w, template_id);
        expect_text(w, "Lambda-Runtime-Aws-Request-Id: request"); /* so the function may have begun */
    }
    for (int i = 0; i < 3; i++)
        simple(w, WIRE_EXITED, ids[i]);
    assert_int_equal(w->answers, 3);
    expect_answer(w, 2, SCHED_FUNCTION_ERROR, "exit status 3");
    expect_listed(
        w, "3 of its clones in a row ended before they had done anything, the last by signal or status 3");
    assert_int_equal(expect_message(w, WIRE_KILL), template_id);
}

/* The first clone, up to where it is there. */
static uint64_t bring_proof(struct world *w, uint64_t *ret_template)
{
    uint64_t id;

    w->snap_start = true;
    put(w, -1, "snap", false);
    *ret_template = expect_message(w, WIRE_START);
    started(w, *ret_template);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CAPTURE), *ret_template);
    captured(w, *ret_template, 0);
    id = expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, *ret_template);
    expect_state(w, TEMPLATE_PROVING);
    assert_int_equal(w->tries, 0);
    return id;
}

static void expect_ordinary_calls(struct world *w)
{
    assert_int_equal(w->tries, 1);
    assert_string_equal(w->tried, ""); /* the version is as good as any */
    invoke(w);
    (void)expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, 0);
    assert_int_equal(start.flags, 0);
}

static void test_a_first_clone_that_ends_is_seen_by_nobody(void **state)
{
    struct world *w = *state;
    uint64_t template_id, id = bring_proof(w, &template_id);

    started_parked(w, id);
    simple(w, WIRE_EXITED, id);
    expect_state(w, TEMPLATE_FAILING);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    assert_int_equal(expect_message(w, WIRE_KILL), template_id);
    expect_listed(w, "\"reason\":\"its first clone ended by itself: exit status 3\"");
    simple(w, WIRE_GONE, id);
    simple(w, WIRE_GONE, template_id);
    expect_ordinary_calls(w);
}

static void test_a_first_clone_that_cannot_be_made(void **state)
{
    struct world *w = *state;
    struct wire_message message = { .type = WIRE_FAILED,
                                    .number = WIRE_FAIL_TEMPLATE,
                                    .text = "cloning: broken" };
    uint64_t template_id;

    message.env_id = bring_proof(w, &template_id);
    send_message(w, &message, NULL, 0);
    assert_int_equal(expect_message(w, WIRE_KILL), template_id); /* there is nothing else to end */
    expect_ordinary_calls(w);
}

static void test_without_a_slot_for_a_first_clone_it_is_trusted(void **state)
{
    struct world *w = *state;
    uint64_t template_id;

    failed(w, bring_proof(w, &template_id), WIRE_FAIL_NO_SLOT);
    expect_state(w, TEMPLATE_READY);
    invoke(w);
    (void)cloned(w, template_id);
    answer(w);
}

static void test_its_end_ends_the_first_clone(void **state)
{
    struct world *w = *state;
    uint64_t template_id, id = bring_proof(w, &template_id);

    started_parked(w, id);
    w->snap_start = false;
    put(w, -1, "other", false);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    assert_int_equal(expect_message(w, WIRE_KILL), template_id);
    simple(w, WIRE_EXITED, id); /* crossed */
    simple(w, WIRE_GONE, template_id);
    assert_null(template_of(w));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_waits_in_next_is_given_the_event),
        TEST(test_what_waits_in_restore_next_is_told_first),
        TEST(test_a_restore_that_fails_is_started_anew_for_who_waits),
        TEST(test_a_clone_that_does_not_come_leaves_the_event_to_an_ordinary_process),
        TEST(test_an_event_that_was_read_is_given_to_nobody_else),
        TEST(test_an_idle_one_that_did_not_come_is_replaced),
        TEST(test_a_capture_that_is_refused_is_nobody_s_failure),
        TEST(test_sockets_of_its_process_are_counted),
        TEST(test_an_init_that_fails_is_the_version_s),
        TEST(test_a_lost_launcher_is_not_the_version_s),
        TEST(test_it_ends_with_its_version),
        TEST(test_a_version_that_comes_back_meanwhile_has_one_again),
        TEST(test_an_unused_one_ends_and_is_made_again_for_a_call),
        TEST(test_memory_takes_the_one_that_was_used_longest_ago),
        TEST(test_who_finds_no_memory_waits_for_a_template_to_end),
        TEST(test_what_ended_may_show_for_a_moment),
        TEST(test_a_new_pool_is_thought_to_be_like_other_clones),
        TEST(test_clones_that_cannot_be_made_retire_it),
        TEST(test_clones_that_end_before_they_answer_retire_it),
        TEST(test_a_first_clone_that_ends_is_seen_by_nobody),
        TEST(test_a_first_clone_that_cannot_be_made),
        TEST(test_without_a_slot_for_a_first_clone_it_is_trusted),
        TEST(test_its_end_ends_the_first_clone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
