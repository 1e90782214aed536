/* Templates of one version: SnapStart, and environments that serve one invocation. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "world.h"

static struct template *template_of(const struct world *w)
{
    struct template *template = w->sched->templates;

    while (template && !template->version)
        template = template->hh.next;
    return template;
}

static void expect_state(const struct world *w, enum template_state state)
{
    assert_non_null(template_of(w));
    assert_string_equal(template_state_name(template_of(w)->state), template_state_name(state));
}

/* The launcher's part, from the START that the picture brings. */
static uint64_t bring(struct world *w, const char *waits_in)
{
    uint64_t id = expect_message(w, WIRE_START);

    assert_int_equal(start.flags, WIRE_START_TEMPLATE);
    assert_int_equal(start.uid_index, 1);
    assert_string_equal(start.handler, "h");
    started(w, id);
    call(w, "GET", waits_in, "");
    assert_int_equal(expect_message(w, WIRE_CAPTURE), id);
    captured(w, id, 0);
    expect_state(w, TEMPLATE_READY);
    return id;
}

static uint64_t snap_start(struct world *w, const char *waits_in)
{
    w->snap_start = true;
    put(w, -1, "snap", false);
    return bring(w, waits_in);
}

static uint64_t clean(struct world *w)
{
    w->clean = true;
    put(w, -1, "clean", false);
    return bring(w, "invocation/next");
}

/* A clone that waits in `next`. */
static uint64_t cloned(struct world *w, uint64_t template_id)
{
    uint64_t id = expect_message(w, WIRE_START);

    assert_int_equal(start.template_id, template_id);
    started_parked(w, id);
    assert_int_equal(expect_message(w, WIRE_CPU), id);
    return id;
}

static void answer(struct world *w)
{
    expect_text(w, "Lambda-Runtime-Aws-Request-Id: request");
    call(w, "POST", "invocation/request/response", "1");
    call(w, "GET", "invocation/next", "");
    expect_answer(w, w->answers - 1, SCHED_OK, "1");
}

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
    uint64_t template_id = snap_start(w, "invocation/next"), id;

    invoke(w);
    id = cloned(w, template_id);
    expect_text(w, "Lambda-Runtime-Aws-Request-Id: request");
    failed(w, id, WIRE_FAIL_TEMPLATE);
    assert_int_equal(expect_message(w, WIRE_START), id);
    assert_int_equal(start.template_id, 0);
    assert_int_equal(w->answers, 0);
    started(w, id);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CPU), id);
    answer(w);
    assert_int_equal(w->answers, 1);
    expect_listed(w, "\"clones\":0,\"fallbacks\":1");
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
    }
    for (int i = 0; i < 3; i++)
        simple(w, WIRE_EXITED, ids[i]);
    assert_int_equal(w->answers, 3);
    expect_listed(w, "3 of its clones in a row ended before they had done anything");
    assert_int_equal(expect_message(w, WIRE_KILL), template_id);
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
        cmocka_unit_test_setup_teardown(test_what_waits_in_next_is_given_the_event, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_waits_in_restore_next_is_told_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_restore_that_fails_is_started_anew_for_who_waits, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            test_a_clone_that_does_not_come_leaves_the_event_to_an_ordinary_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_idle_one_that_did_not_come_is_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_capture_that_is_refused_is_nobody_s_failure, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_sockets_of_its_process_are_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_init_that_fails_is_the_version_s, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_lost_launcher_is_not_the_version_s, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_it_ends_with_its_version, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_version_that_comes_back_meanwhile_has_one_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_an_unused_one_ends_and_is_made_again_for_a_call, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_memory_takes_the_one_that_was_used_longest_ago, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_clones_that_cannot_be_made_retire_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_clones_that_end_before_they_answer_retire_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_clean_state_serves_once_and_makes_another, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_clean_state_never_reuses_for_who_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_clean_state_does_not_spin_on_an_init_that_fails, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_spares_end_with_their_version, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
