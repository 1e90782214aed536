/* Templates of runtimes, and what is cloned from them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "auth/credentials.h"
#include "base/blob.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "logs/logs.h"
#include "model/function.h"
#include "sched/sched_priv.h"
#include "wire/wire.h"
#include "world.h"

static struct template *template_of(const struct world *w)
{
    assert_non_null(w->sched->templates);
    return w->sched->templates;
}

static void expect_state(const struct world *w, enum template_state state)
{
    assert_string_equal(template_state_name(template_of(w)->state), template_state_name(state));
}

/* Its limit, or its pause, is over. */
static void let_time_pass(struct world *w)
{
    uv_timer_t *timer = &template_of(w)->timer;

    assert_true(uv_is_active((uv_handle_t *)timer));
    (void)uv_timer_start(timer, timer->timer_cb, 0, 0);
    turn(w);
}

static void exited(struct world *w, uint64_t id, int signal_number)
{
    struct wire_message message = { .type = WIRE_EXITED, .env_id = id };

    message.exited = (struct wire_exited){ id, WIRE_EXIT_SIGNAL, signal_number, false, "" };
    send_message(w, &message, NULL, 0);
}

/* The launcher's part until it is in that state; returns its id. */
static uint64_t bring_template(struct world *w, enum template_state state)
{
    uint64_t id = expect_message(w, WIRE_START);

    assert_int_equal(start.flags, WIRE_START_TEMPLATE);
    if (state == TEMPLATE_STARTING)
        return id;
    started(w, id);
    if (state == TEMPLATE_LOADING)
        return id;
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CAPTURE), id);
    if (state == TEMPLATE_CAPTURING)
        return id;
    captured(w, id, 0);
    if (state == TEMPLATE_PROVING)
        return id;
    proven(w, id);
    expect_state(w, TEMPLATE_READY);
    return id;
}

static uint64_t make_template(struct world *w, enum template_state state)
{
    put_as(w, "nodejs20.x", -1, "node", false);
    return bring_template(w, state);
}

/* A clone that waits in its INIT. */
static uint64_t make_clone(struct world *w, uint64_t template_id)
{
    uint64_t id;

    invoke(w);
    id = expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, template_id);
    started_parked(w, id);
    expect_text(w, "Irori-Wake: runtime\r\n");
    return id;
}

static void serve(struct world *w, uint64_t id)
{
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CPU), id);
    expect_text(w, "Lambda-Runtime-Aws-Request-Id: request");
    call(w, "POST", "invocation/request/response", "1");
    call(w, "GET", "invocation/next", "");
    expect_answer(w, w->answers - 1, SCHED_OK, "1");
}

static void test_a_function_brings_a_template_and_its_environments_are_clones(void **state)
{
    struct world *w = *state;
    uint64_t template_id, id;

    expect_silence(w); /* provided has none */
    template_id = make_template(w, TEMPLATE_CAPTURING);
    assert_string_equal(start.code, "");
    assert_string_equal(start.handler, "");
    assert_int_equal(start.uid_index, 0);
    captured(w, template_id, 0);
    expect_state(w, TEMPLATE_PROVING);
    proven(w, template_id);
    assert_null(template_of(w)->api);
    put_as(w, "nodejs20.x", -1, "other", false);
    expect_silence(w); /* one is enough */
    invoke(w);
    id = expect_message(w, WIRE_START);
    assert_true(id != template_id);
    assert_int_equal(start.template_id, template_id);
    assert_int_equal(start.uid_index, 1);
    assert_string_equal(start.handler, "h");
    started_parked(w, id);
    assert_int_equal(w->sched->envs->state, LIFE_INIT);
    expect_text(w, "\"handler\":\"h\",\"root\":\"/var/task\"}");
    expect_silence(w);
    serve(w, id);
    assert_null(w->sched->envs->wake);
    expect_listed(w, "{\"enabled\":true,\"templates\":[{\"runtime\":\"nodejs20.x\",\"kind\":\"runtime\","
                     "\"state\":\"ready\",");
    expect_listed(
        w, "\"clones\":1,\"fallbacks\":0,\"ineligible\":0,\"failures\":0,\"sockets\":0,\"reason\":\"\"}");
    simple(w, WIRE_EXITED, id); /* idle ones are not mourned */
    assert_int_equal(expect_message(w, WIRE_KILL), id);
}

static void test_a_restart_is_never_a_clone(void **state)
{
    struct world *w = *state;
    uint64_t id = make_clone(w, make_template(w, TEMPLATE_READY));

    call(w, "POST", "init/error", "{\"errorMessage\":\"no\"}");
    assert_int_equal(expect_message(w, WIRE_STOP), id);
    assert_int_equal(expect_message(w, WIRE_RESTART), id);
    started(w, id);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CPU), id);
    call(w, "POST", "invocation/request/response", "1");
    expect_answer(w, 0, SCHED_OK, "1");
    assert_int_equal(template_of(w)->deaths, 0);
}

static void test_without_a_clone_the_start_is_an_ordinary_one(void **state)
{
    struct world *w = *state;
    uint64_t template_id = make_template(w, TEMPLATE_READY), id;

    invoke(w);
    id = expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, template_id);
    failed(w, id, WIRE_FAIL_TEMPLATE);
    assert_int_equal(w->answers, 0);
    assert_int_equal(expect_message(w, WIRE_START), id);
    assert_int_equal(start.template_id, 0);
    started(w, id);
    serve(w, id);
    expect_listed(
        w, "\"clones\":0,\"fallbacks\":1,\"ineligible\":0,\"failures\":0,\"sockets\":0,\"reason\":\"no\"}");
    expect_state(w, TEMPLATE_READY);
}

static void test_a_clone_that_does_not_come_after_all_is_an_ordinary_start(void **state)
{
    struct world *w = *state;
    uint64_t template_id = make_template(w, TEMPLATE_READY), id;

    invoke(w);
    id = expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, template_id);
    started_parked(w, id);
    failed(w, id, WIRE_FAIL_TEMPLATE);
    assert_int_equal(w->answers, 0);
    assert_int_equal(expect_message(w, WIRE_START), id);
    assert_int_equal(start.template_id, 0);
    started(w, id);
    serve(w, id);
    expect_listed(w, "\"clones\":0,\"fallbacks\":1");
}

static void test_an_ordinary_start_that_fails_so_has_failed(void **state)
{
    struct world *w = *state;

    invoke(w);
    failed(w, expect_message(w, WIRE_START), WIRE_FAIL_TEMPLATE);
    expect_answer(w, 0, SCHED_UNAVAILABLE, "no");
    expect_silence(w);
}

static void test_starts_are_ordinary_until_the_template_is_ready(void **state)
{
    struct world *w = *state;
    uint64_t template_id = make_template(w, TEMPLATE_LOADING), id;

    invoke(w);
    id = expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, 0);
    assert_int_equal(start.flags, 0);
    expect_listed(w, "\"state\":\"loading\"");
    expect_listed(w, "\"fallbacks\":1");
    call(w, "GET", "invocation/next", ""); /* the template's */
    assert_int_equal(expect_message(w, WIRE_CAPTURE), template_id);
    captured(w, template_id, 0);
    proven(w, template_id);
    started(w, id);
    serve(w, id);
}

static void test_variables_that_a_clone_could_not_obey(void **state)
{
    struct world *w = *state;
    struct fn_version *version;

    (void)make_template(w, TEMPLATE_READY);
    version = w->sched->entries->picture->latest;
    version->vars = calloc(1, sizeof *version->vars);
    version->vars[0] = (struct env_var){ strdup("NODE_OPTIONS"), strdup("--no-warnings") };
    version->var_count = 1;
    invoke(w);
    (void)expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, 0);
    expect_listed(w, "\"fallbacks\":0,\"ineligible\":1,\"failures\":0,\"sockets\":0,\"reason\":\"function fn "
                     "sets NODE_OPTIONS\"}");
}

static void test_a_launcher_that_knows_no_templates(void **state)
{
    struct world *w = *state;
    uint64_t id = make_template(w, TEMPLATE_STARTING);

    for (unsigned i = 1; i < 6; i++) {
        static const unsigned pauses_s[] = { 0, 1, 10, 60, 600, 600 };

        failed(w, id, WIRE_FAIL_NO_CODE);
        expect_state(w, TEMPLATE_FAILED);
        assert_int_equal(template_of(w)->failures, i);
        assert_in_range(uv_timer_get_due_in(&template_of(w)->timer), pauses_s[i] * 1000 - 100,
                        pauses_s[i] * 1000);
        expect_silence(w);
        let_time_pass(w);
        assert_true(expect_message(w, WIRE_START) > id);
        id = template_of(w)->id;
    }
    expect_listed(w, "\"failures\":5,\"sockets\":0,\"reason\":\"no\"}");
    invoke(w);
    id = expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, 0);
    started(w, id);
    serve(w, id);
}

static void test_a_refused_capture_is_ended_and_tried_again(void **state)
{
    struct world *w = *state;
    uint64_t id = make_template(w, TEMPLATE_CAPTURING);

    captured(w, id, 1);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    exited(w, id, SIGKILL); /* crossed */
    expect_state(w, TEMPLATE_FAILING);
    simple(w, WIRE_GONE, id);
    expect_state(w, TEMPLATE_FAILED);
    expect_listed(w, "\"failures\":1,\"sockets\":0,\"reason\":\"an open socket\"}");
    let_time_pass(w);
    assert_true(bring_template(w, TEMPLATE_READY) > id);
}

static void test_every_step_has_its_limit(void **state)
{
    static const enum template_state states[] = { TEMPLATE_STARTING, TEMPLATE_LOADING, TEMPLATE_CAPTURING,
                                                  TEMPLATE_PROVING };
    struct world *w = *state;

    put_as(w, "nodejs20.x", -1, "node", false);
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        uint64_t id = bring_template(w, states[i]);

        expect_state(w, states[i]);
        let_time_pass(w);
        if (states[i] == TEMPLATE_PROVING) {
            uint64_t proof = expect_message(w, WIRE_START);

            assert_int_equal(expect_message(w, WIRE_KILL), proof);
        }
        assert_int_equal(expect_message(w, WIRE_KILL), id);
        expect_listed(w, "in time\"}");
        if (states[i] == TEMPLATE_STARTING)
            simple(w, WIRE_STARTED, id); /* crossed */
        expect_state(w, TEMPLATE_FAILING);
        simple(w, WIRE_GONE, id);
        let_time_pass(w);
    }
    (void)bring_template(w, TEMPLATE_READY);
}

static void test_a_template_that_cannot_load(void **state)
{
    struct world *w = *state;
    uint64_t id = make_template(w, TEMPLATE_LOADING);

    call(w, "POST", "init/error", "{\"errorMessage\":\n\"broken\"}");
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    expect_listed(w, "\"reason\":\"{\\\"errorMessage\\\": \\\"broken\\\"}\"}");
    assert_null(template_of(w)->api);
}

static void test_a_dead_template_is_made_anew_and_its_clones_go_on(void **state)
{
    struct world *w = *state;
    uint64_t template_id = make_template(w, TEMPLATE_READY), id = make_clone(w, template_id);

    exited(w, template_id, SIGSEGV);
    assert_int_equal(expect_message(w, WIRE_KILL), template_id);
    serve(w, id);
    simple(w, WIRE_GONE, template_id);
    expect_listed(w, "\"reason\":\"it ended: signal 11\"}");
    let_time_pass(w);
    assert_true(bring_template(w, TEMPLATE_READY) > template_id);
}

/* The clone's INIT ends by a signal; its environment starts again the ordinary way. */
static void die_in_init(struct world *w, uint64_t template_id)
{
    uint64_t id = make_clone(w, template_id);
    bool last = template_of(w)->deaths == 2;

    exited(w, id, SIGSEGV);
    if (last) {
        assert_int_equal(expect_message(w, WIRE_KILL), template_id);
        expect_state(w, TEMPLATE_FAILING);
    }
    assert_int_equal(expect_message(w, WIRE_RESTART), id);
    failed(w, id, WIRE_FAIL_SYSTEM);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    simple(w, WIRE_GONE, id);
    assert_null(w->sched->envs);
}

static void test_three_deaths_in_a_row_retire_a_template(void **state)
{
    struct world *w = *state;
    uint64_t template_id = make_template(w, TEMPLATE_READY), id;

    die_in_init(w, template_id);
    die_in_init(w, template_id);
    id = make_clone(w, template_id);
    serve(w, id); /* in between */
    assert_int_equal(template_of(w)->deaths, 0);
    simple(w, WIRE_EXITED, id);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    simple(w, WIRE_GONE, id);
    die_in_init(w, template_id);
    die_in_init(w, template_id);
    expect_state(w, TEMPLATE_READY);
    die_in_init(w, template_id);
    simple(w, WIRE_GONE, template_id);
    expect_listed(w, "\"state\":\"failed\"");
    expect_listed(w, "\"reason\":\"3 of its clones in a row ended before they had done anything, the "
                     "last by signal or status 11\"}");
    let_time_pass(w);
    assert_true(bring_template(w, TEMPLATE_READY) > template_id);
}

static void test_a_clone_that_reads_no_wake_up_is_replaced(void **state)
{
    struct world *w = *state;
    uint64_t template_id = make_template(w, TEMPLATE_READY), id, other;

    invoke(w);
    id = expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, template_id);
    started_parked(w, id);
    assert_in_range(uv_timer_get_due_in(&w->sched->envs->timer), 9000, 10000);
    (void)uv_timer_start(&w->sched->envs->timer, w->sched->envs->timer.timer_cb, 0, 0);
    turn(w);
    other = expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, 0);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    simple(w, WIRE_GONE, id);
    assert_int_equal(template_of(w)->deaths, 1);
    assert_int_equal(w->sched->starting, 1);
    started(w, other);
    serve(w, other);
    expect_silence(w);
}

static void test_other_ends_of_a_clone_are_its_own(void **state)
{
    struct world *w = *state;
    uint64_t template_id = make_template(w, TEMPLATE_READY), id;

    for (int i = 0; i < 4; i++) {
        struct wire_message message = { .type = WIRE_EXITED };

        id = message.env_id = make_clone(w, template_id);
        message.exited = (struct wire_exited){ id, i % 2 ? WIRE_EXIT_CODE : WIRE_EXIT_SIGNAL, SIGKILL,
                                               /* out_of_memory= */ true, "" };
        send_message(w, &message, NULL, 0);
        assert_int_equal(expect_message(w, WIRE_RESTART), id);
        failed(w, id, WIRE_FAIL_SYSTEM);
        assert_int_equal(expect_message(w, WIRE_KILL), id);
        simple(w, WIRE_GONE, id);
    }
    expect_state(w, TEMPLATE_READY);
    assert_int_equal(template_of(w)->deaths, 0);
}

static void change_launchers(struct world *w)
{
    (void)close(w->launcher);
    turn(w);
    connect_launcher(w);
}

static void test_a_new_launcher_makes_a_new_template(void **state)
{
    struct world *w = *state;
    uint64_t id = make_template(w, TEMPLATE_READY);

    (void)close(w->launcher);
    turn(w);
    expect_state(w, TEMPLATE_NONE);
    invoke(w); /* waits */
    connect_launcher(w);
    (void)expect_message(w, WIRE_START); /* first the one that somebody waits for */
    assert_int_equal(start.template_id, 0);
    assert_int_equal(start.flags, 0);
    assert_true(bring_template(w, TEMPLATE_READY) > id);
}

/* What may have ended the launcher is not done again at once. */
static void test_a_launcher_lost_on_the_way_counts_as_a_failure(void **state)
{
    static const enum template_state states[] = { TEMPLATE_STARTING, TEMPLATE_LOADING, TEMPLATE_CAPTURING };
    struct world *w = *state;

    put_as(w, "nodejs20.x", -1, "node", false);
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        (void)bring_template(w, states[i]);
        change_launchers(w);
        expect_state(w, TEMPLATE_FAILED);
        expect_silence(w);
        let_time_pass(w);
    }
    (void)bring_template(w, TEMPLATE_READY);
}

static void test_an_unused_template_ends(void **state)
{
    struct world *w = *state;
    uint64_t id = make_template(w, TEMPLATE_READY);

    w->sched->config.template_idle_ms = 0;
    templates_end_unused(w->sched);
    expect_silence(w); /* it is used */
    w->sched->config.template_idle_ms = 60000;
    put_as(w, "nodejs20.x", -1, "node", true);
    templates_end_unused(w->sched);
    expect_silence(w); /* not for long enough */
    w->sched->config.template_idle_ms = 0;
    templates_end_unused(w->sched);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    expect_state(w, TEMPLATE_RETIRING);
    put_as(w, "nodejs20.x", -1, "node", false);
    expect_silence(w); /* one after the other */
    simple(w, WIRE_GONE, id);
    assert_true(bring_template(w, TEMPLATE_READY) > id);
    put_as(w, "provided.al2023", -1, "node", false);
    templates_end_unused(w->sched);
    simple(w, WIRE_GONE, expect_message(w, WIRE_KILL));
    expect_state(w, TEMPLATE_NONE);
}

static void test_memory_takes_one_that_nobody_was_cloned_from_for_long(void **state)
{
    struct world *w = *state;
    uint64_t id = make_template(w, TEMPLATE_READY), clone;

    assert_false(templates_yield(w->sched));
    template_of(w)->unused_since_us -= 60000000;
    clone = make_clone(w, id);
    serve(w, clone);
    assert_false(templates_yield(w->sched)); /* it is used */
    template_of(w)->unused_since_us -= 60000000;
    assert_true(templates_yield(w->sched));
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    simple(w, WIRE_GONE, id);
    expect_silence(w); /* not before somebody could use it */
    invoke(w);
    call(w, "POST", "invocation/request/response", "1");
    call(w, "GET", "invocation/next", "");
    simple(w, WIRE_EXITED, clone);
    assert_int_equal(expect_message(w, WIRE_KILL), clone);
    invoke(w);
    (void)expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, 0);
    turn(w);
    assert_true(bring_template(w, TEMPLATE_STARTING) > id);
}

static void test_without_memory_none_is_made(void **state)
{
    struct world *w = *state;
    int fds[2];

    give_memory(w, fds, 280, 300);
    put_as(w, "nodejs20.x", -1, "node", false);
    expect_silence(w);
    expect_state(w, TEMPLATE_NONE);
    write_memory(fds, 100, 0);
    memory_sample(w->sched);
    invoke(w);
    (void)expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, 0);
    turn(w);
    (void)bring_template(w, TEMPLATE_STARTING);
    close_memory(fds);
}

static void test_templates_may_be_switched_off(void **state)
{
    struct world *w = *state;

    w->sched->config.templates = false;
    put_as(w, "nodejs20.x", -1, "node", false);
    expect_silence(w);
    expect_listed(w, "{\"enabled\":false,");
    expect_listed(w, "\"state\":\"off\"");
    invoke(w);
    (void)expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, 0);
    expect_listed(w, "\"fallbacks\":0");
    change_launchers(w);
    expect_silence(w);
}

static void test_what_a_template_writes_is_kept_for_its_failure(void **state)
{
    struct world *w = *state;
    struct template *template;
    int log[2];

    (void)make_template(w, TEMPLATE_STARTING);
    template = template_of(w);
    assert_int_equal(pipe2(log, O_CLOEXEC | O_NONBLOCK), 0);
    template_log_open(template, log[0]);
    for (int i = 0; i < 2000; i++) {
        if (write(log[1], "a line\x01\n", 8) != 8)
            turn(w);
    }
    turn(w);
    assert_int_equal(write(log[1], "the end", 7), 7);
    template_log_close(template);
    assert_true(template->output_len <= sizeof template->output);
    assert_memory_equal(template->output + template->output_len - 15, "a line \nthe end", 15);
    assert_int_equal(template->output_logged, template->output_len);
    (void)close(log[1]);
}

/* ---- stopping with a template in each state; the rest is tear_down()'s ---- */

static void test_stop_while_a_template_starts(void **state)
{
    (void)make_template(*state, TEMPLATE_STARTING);
}

static void test_stop_while_a_template_loads(void **state)
{
    (void)make_template(*state, TEMPLATE_LOADING);
}

static void test_stop_while_a_template_is_captured(void **state)
{
    (void)make_template(*state, TEMPLATE_CAPTURING);
}

static void test_stop_with_a_template_and_a_clone_on_its_way(void **state)
{
    struct world *w = *state;

    (void)make_clone(w, make_template(w, TEMPLATE_READY));
    invoke(w);
    (void)expect_message(w, WIRE_START);
}

static void test_stop_while_a_template_waits_for_its_next_try(void **state)
{
    struct world *w = *state;

    failed(w, make_template(w, TEMPLATE_STARTING), WIRE_FAIL_SYSTEM);
    expect_state(w, TEMPLATE_FAILED);
}

static void test_stop_while_a_template_ends(void **state)
{
    struct world *w = *state;

    captured(w, make_template(w, TEMPLATE_CAPTURING), 1);
    expect_state(w, TEMPLATE_FAILING);
}

static void test_stop_waits_for_the_end_of_a_template(void **state)
{
    struct world *w = *state;
    uint64_t id = make_template(w, TEMPLATE_READY);

    sched_stop(w->sched, on_stopped, w);
    put_as(w, "nodejs20.x", -1, "late", false);
    turn(w);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    assert_false(w->stopped);
    simple(w, WIRE_GONE, id);
    assert_true(w->stopped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_function_brings_a_template_and_its_environments_are_clones),
        TEST(test_a_restart_is_never_a_clone),
        TEST(test_without_a_clone_the_start_is_an_ordinary_one),
        TEST(test_a_clone_that_does_not_come_after_all_is_an_ordinary_start),
        TEST(test_an_ordinary_start_that_fails_so_has_failed),
        TEST(test_starts_are_ordinary_until_the_template_is_ready),
        TEST(test_variables_that_a_clone_could_not_obey),
        TEST(test_a_launcher_that_knows_no_templates),
        TEST(test_a_refused_capture_is_ended_and_tried_again),
        TEST(test_every_step_has_its_limit),
        TEST(test_a_template_that_cannot_load),
        TEST(test_a_dead_template_is_made_anew_and_its_clones_go_on),
        TEST(test_three_deaths_in_a_row_retire_a_template),
        TEST(test_a_clone_that_reads_no_wake_up_is_replaced),
        TEST(test_other_ends_of_a_clone_are_its_own),
        TEST(test_a_new_launcher_makes_a_new_template),
        TEST(test_a_launcher_lost_on_the_way_counts_as_a_failure),
        TEST(test_an_unused_template_ends),
        TEST(test_memory_takes_one_that_nobody_was_cloned_from_for_long),
        TEST(test_without_memory_none_is_made),
        TEST(test_templates_may_be_switched_off),
        TEST(test_what_a_template_writes_is_kept_for_its_failure),
        TEST(test_stop_while_a_template_starts),
        TEST(test_stop_while_a_template_loads),
        TEST(test_stop_while_a_template_is_captured),
        TEST(test_stop_with_a_template_and_a_clone_on_its_way),
        TEST(test_stop_while_a_template_waits_for_its_next_try),
        TEST(test_stop_while_a_template_ends),
        TEST(test_stop_waits_for_the_end_of_a_template),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
