/* Limits, counters, and the bad ends. */

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

static void test_limits_follow_changes_under_way(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < 4; i++)
        invoke(w);
    assert_int_equal(w->answers, 1);
    expect_answer(w, 0, SCHED_THROTTLED, "ConcurrentInvocationLimitExceeded");
    assert_int_equal(w->sched->in_flight_unreserved, 3);
    put(w, 3, "first", false); /* its three now count as reserved ones */
    assert_int_equal(w->sched->in_flight_unreserved, 0);
    invoke(w);
    expect_answer(w, 1, SCHED_THROTTLED, "ReservedFunctionConcurrentInvocationLimitExceeded");
    put(w, -1, "first", false);
    assert_int_equal(w->sched->in_flight_unreserved, 3);
    put(w, 0, "first", false);
    invoke(w);
    expect_answer(w, 2, SCHED_THROTTLED, "ReservedFunctionConcurrentInvocationLimitExceeded");
    put(w, 0, "first", true); /* deleted: what is under way goes on */
    assert_null(sched_find_function(w->sched, "fn", 2));
    assert_int_equal(w->answers, 3);
    for (int i = 0; i < 3; i++)
        failed(w, expect_message(w, WIRE_START), WIRE_FAIL_SYSTEM);
    assert_int_equal(w->answers, 6);
    expect_answer(w, 5, SCHED_UNAVAILABLE, "no");
    assert_int_equal(w->sched->starting, 0);
    assert_null(w->sched->pools);
    assert_null(w->sched->envs);
}

static void test_reserved_concurrency_is_taken_from_the_account(void **state)
{
    struct world *w = *state;

    put(w, 2, "first", false);
    put_function(w, "other", -1, "other", false);
    invoke_function(w, "other");
    assert_int_equal(w->answers, 0);
    invoke_function(w, "other"); /* of three, two are another one's, who does not use them */
    expect_answer(w, 0, SCHED_THROTTLED, "ConcurrentInvocationLimitExceeded");
    invoke(w);
    invoke(w);
    assert_int_equal(w->answers, 1);
    invoke(w);
    expect_answer(w, 1, SCHED_THROTTLED, "ReservedFunctionConcurrentInvocationLimitExceeded");
}

static void test_whichever_environment_is_ready_first_serves(void **state)
{
    struct world *w = *state;
    uint64_t cold;

    (void)make_warm(w);
    invoke(w);
    invoke(w);
    cold = expect_message(w, WIRE_START);
    call(w, "POST", "invocation/request/response", "2");
    call(w, "GET", "invocation/next", "");
    call(w, "POST", "invocation/request/response", "3");
    expect_answer(w, 2, SCHED_OK, "3");
    started(w, cold);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CPU), cold);
    expect_silence(w); /* it waits for the next one */
}

static void test_one_that_is_about_to_be_free_is_waited_for(void **state)
{
    struct world *w = *state;
    uv_timer_t *grace;

    (void)make_warm(w);
    invoke(w);
    call(w, "POST", "invocation/request/response", "2");
    invoke(w);
    grace = &w->sched->pools->grace;
    assert_true(uv_is_active((uv_handle_t *)grace));
    (void)uv_timer_start(grace, grace->timer_cb, 1000, 0); /* however slow this machine is */
    call(w, "GET", "invocation/next", "");
    expect_silence(w);
    call(w, "POST", "invocation/request/response", "3");
    expect_answer(w, 2, SCHED_OK, "3");
    assert_int_equal(w->sched->pools->responded, 1);
}

static void test_but_not_for_long(void **state)
{
    struct world *w = *state;
    char byte;

    (void)make_warm(w);
    invoke(w);
    call(w, "POST", "invocation/request/response", "2");
    uv_update_time(&w->loop);
    invoke(w);
    assert_int_equal(recv(w->launcher, &byte, 1, MSG_PEEK | MSG_DONTWAIT), -1);
    (void)usleep(5000);
    turn(w);
    assert_true(expect_message(w, WIRE_START) > 0);
}

static void test_an_older_picture_comes_too_late(void **state)
{
    struct world *w = *state;

    invoke(w);
    put(w, -1, "first", true);
    failed(w, expect_message(w, WIRE_START), WIRE_FAIL_SYSTEM);
    pictures_forget(w->sched);
    w->sequence = 0;
    put(w, -1, "first", false);
    assert_null(sched_find_function(w->sched, "fn", 2));
    pictures_forget(w->sched);
    assert_null(w->sched->entries);
}

static void test_no_slot_and_nobody_to_end(void **state)
{
    struct world *w = *state;

    invoke(w);
    failed(w, expect_message(w, WIRE_START), WIRE_FAIL_NO_SLOT);
    expect_answer(w, 0, SCHED_THROTTLED, "ConcurrentInvocationLimitExceeded");
    assert_null(w->sched->pools);
}

static void test_no_slot_for_two_in_the_queue(void **state)
{
    struct world *w = *state;
    uint64_t first, second;

    invoke(w);
    invoke(w);
    first = expect_message(w, WIRE_START);
    second = expect_message(w, WIRE_START);
    failed(w, first, WIRE_FAIL_NO_SLOT);
    expect_answer(w, 0, SCHED_THROTTLED, "ConcurrentInvocationLimitExceeded");
    failed(w, second, WIRE_FAIL_NO_SLOT);
    expect_answer(w, 1, SCHED_THROTTLED, "ConcurrentInvocationLimitExceeded");
    expect_silence(w);
    assert_null(w->sched->pools);
}

static void test_no_slot_but_one_that_will_be_free(void **state)
{
    struct world *w = *state;

    (void)make_warm(w);
    invoke(w);
    invoke(w);
    invoke(w);
    failed(w, expect_message(w, WIRE_START), WIRE_FAIL_NO_SLOT);
    assert_int_equal(w->answers, 1);
    failed(w, expect_message(w, WIRE_START), WIRE_FAIL_NO_SLOT);
    assert_int_equal(w->answers, 2);
    expect_answer(w, 1, SCHED_THROTTLED, "ConcurrentInvocationLimitExceeded");
    expect_silence(w);
    call(w, "POST", "invocation/request/response", "2");
    call(w, "GET", "invocation/next", "");
    expect_answer(w, 2, SCHED_OK, "2");
    call(w, "POST", "invocation/request/response", "3");
    expect_answer(w, 3, SCHED_OK, "3");
}

static void test_no_memory_leaves_no_pool(void **state)
{
    struct world *w = *state;

    w->sched->config.max_memory_bytes = 1 << 20;
    invoke(w);
    expect_answer(w, 0, SCHED_THROTTLED, "ConcurrentInvocationLimitExceeded");
    expect_silence(w);
    assert_null(w->sched->pools);
}

static void wait_for_tick(struct world *w)
{
    unsigned before = w->sched->ticks;

    for (int i = 0; i < TURNS && w->sched->ticks == before; i++)
        turn(w);
    assert_true(w->sched->ticks > before);
}

static void test_memory_in_use_ends_the_longest_idle(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w);
    int fds[2];

    send_memory_files(w, fds);
    write_memory(fds, 1020, 200); /* of 1024: file pages are no use */
    wait_for_tick(w);
    expect_silence(w);
    write_memory(fds, 980, 0);
    wait_for_tick(w);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    wait_for_tick(w);
    expect_silence(w);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

/* Three that are thought to take 32 MB each do not fit into 80 at once, but one after the other. */
static void test_who_finds_no_memory_waits_for_those_that_start(void **state)
{
    struct world *w = *state;
    uint64_t first;
    int fds[2];

    give_memory(w, fds, 1, 80);
    for (int i = 0; i < 3; i++)
        invoke(w);
    first = expect_message(w, WIRE_START);
    (void)expect_message(w, WIRE_START);
    expect_silence(w);
    assert_int_equal(w->answers, 0);
    started(w, first);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CPU), first);
    (void)usleep(60000); /* until the next look at what is used: less than was thought */
    sched_try_again(w->sched);
    turn(w);
    (void)expect_message(w, WIRE_START);
    assert_int_equal(w->answers, 0);
    close_memory(fds);
}

static void test_but_not_when_there_is_none_at_all(void **state)
{
    struct world *w = *state;
    int fds[2];

    give_memory(w, fds, 60, 80);
    invoke(w);
    expect_answer(w, 0, SCHED_THROTTLED, "ConcurrentInvocationLimitExceeded");
    close_memory(fds);
}

static void test_who_waits_too_long_for_memory_is_refused(void **state)
{
    struct world *w = *state;
    int fds[2];

    give_memory(w, fds, 1, 50);
    invoke(w);
    (void)expect_message(w, WIRE_START);
    invoke(w);
    assert_int_equal(w->answers, 0);
    w->sched->pools->waits_since_us -= 11000000;
    sched_try_again(w->sched);
    turn(w);
    expect_answer(w, 0, SCHED_THROTTLED, "ConcurrentInvocationLimitExceeded");
    assert_int_equal(w->sched->pools->queued, 1); /* for the one that is on its way */
    close_memory(fds);
}

/* Those that are ending show in the samples until they have ended. */
static void test_who_finds_no_memory_waits_for_those_that_end(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w);
    int fds[2];

    put_function(w, "other", -1, "other", false);
    give_memory(w, fds, 60, 80);
    env_evict(w->sched->envs);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    invoke_function(w, "other");
    expect_silence(w);
    assert_int_equal(w->answers, 1);
    write_memory(fds, 1, 0);
    (void)usleep(60000);
    simple(w, WIRE_GONE, id);
    (void)expect_message(w, WIRE_START);
    assert_int_equal(w->answers, 1);
    close_memory(fds);
}

static void test_an_estimate_follows_what_is_used(void **state)
{
    struct world *w = *state;
    struct pool *pool;

    (void)make_warm(w);
    pool = w->sched->pools;
    assert_int_equal(memory_estimate(pool), 32 << 20);
    pool->memory_estimate_bytes = 3 << 20;
    assert_int_equal(memory_estimate(pool), 3 << 20);
    invoke(w);
    invoke(w);
    assert_int_equal(w->sched->starting_bytes, 3 << 20);
    invoke(w);
    assert_int_equal(w->sched->starting_bytes, 6 << 20);
    failed(w, expect_message(w, WIRE_START), WIRE_FAIL_SYSTEM);
    assert_int_equal(w->sched->starting_bytes, 3 << 20);
    failed(w, expect_message(w, WIRE_START), WIRE_FAIL_SYSTEM);
    assert_int_equal(w->sched->starting_bytes, 0);
}

static void test_an_estimate_rises_at_once_and_falls_slowly(void **state)
{
    (void)state;
    assert_int_equal(memory_learn(0, 3000), 3000);
    assert_int_equal(memory_learn(3000, 5000), 5000);
    assert_int_equal(memory_learn(5000, 3400), 4900);
}

static void test_exit_restart_and_its_failure(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w);

    invoke(w);
    simple(w, WIRE_EXITED, id);
    expect_answer(w, 1, SCHED_FUNCTION_ERROR, "exit status 3");
    invoke(w);
    assert_int_equal(expect_message(w, WIRE_RESTART), id);
    started(w, id);
    call(w, "POST", "init/error", "{\"errorMessage\":\"again\"}");
    expect_answer(w, 2, SCHED_FUNCTION_ERROR, "again");
    assert_int_equal(expect_message(w, WIRE_STOP), id);
    invoke(w);
    assert_int_equal(expect_message(w, WIRE_RESTART), id);
    failed(w, id, WIRE_FAIL_SYSTEM);
    expect_answer(w, 3, SCHED_UNAVAILABLE, "lost");
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    simple(w, WIRE_GONE, id);
    assert_null(w->sched->envs);
    assert_null(w->sched->pools);
}

static void test_a_restart_that_cannot_be_asked_for(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w);

    invoke(w);
    simple(w, WIRE_EXITED, id);
    w->sched->pools->version->memory_mb = 1; /* no message may say so */
    invoke(w);
    expect_answer(w, 2, SCHED_UNAVAILABLE, "lost");
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    simple(w, WIRE_GONE, id);
    assert_null(w->sched->envs);
}

/* The timer's end, now. */
static void fire_timer(struct world *w)
{
    uv_timer_t *timer = &w->sched->envs->timer;
    uv_timer_cb callback = timer->timer_cb;

    assert_int_equal(uv_timer_stop(timer), 0);
    callback(timer);
    turn(w);
}

static uint64_t timer_due_ms(const struct world *w)
{
    return uv_timer_get_due_in(&w->sched->envs->timer);
}

static void test_a_long_init_inside_an_invocation_gets_its_share(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w);

    w->sched->pools->version->timeout_s = 60;
    invoke(w);
    simple(w, WIRE_EXITED, id);
    invoke(w);
    assert_int_equal(expect_message(w, WIRE_RESTART), id);
    started(w, id);
    assert_in_range(timer_due_ms(w), 9000, 10000);
    expect_silence(w);
    fire_timer(w);
    assert_int_equal(expect_message(w, WIRE_CPU), id);
    assert_int_equal(w->sched->envs->state, LIFE_REINIT);
    assert_in_range(timer_due_ms(w), 49000, 50001);
    fire_timer(w);
    expect_answer(w, 2, SCHED_FUNCTION_ERROR, "timed out");
}

static void test_timeout_after_the_response(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w);

    invoke(w);
    call(w, "POST", "invocation/request/response", "2");
    expect_answer(w, 1, SCHED_OK, "2");
    assert_int_equal(w->sched->envs->state, LIFE_RESPONDED);
    assert_int_equal(w->sched->pools->responded, 1);
    for (int i = 0; i < TURNS && w->sched->envs->state == LIFE_RESPONDED; i++)
        turn(w);
    assert_int_equal(w->sched->envs->state, LIFE_DOWN);
    assert_int_equal(w->sched->pools->responded, 0);
    assert_int_equal(expect_message(w, WIRE_STOP), id);
}

static void print_lines(struct world *w, size_t lines)
{
    for (size_t i = 0; i < lines; i++)
        assert_int_equal(write(w->output, "x\n", 2), 2);
}

/* The log as it is in the file. */
static char *read_log(struct world *w)
{
    enum { MAX = 1 << 22 };
    char *text = calloc(1, MAX);
    int fd = openat(w->folder_fd, "fn/0000000000000000.log", O_RDONLY | O_CLOEXEC);
    ssize_t len = read(fd, text, MAX - 1);

    assert_true(len >= 0);
    (void)close(fd);
    return text;
}

static size_t count_printed(struct world *w)
{
    char *text, *at;
    size_t count = 0;

    sched_flush_logs(w->sched);
    text = read_log(w);
    for (at = text; (at = strstr(at, "\tx\n")); at++)
        count++;
    free(text);
    return count;
}

static void wait_for_printed(struct world *w, size_t lines)
{
    for (int i = 0; i < TURNS / 10 && count_printed(w) < lines; i++)
        turn(w);
    assert_int_equal(count_printed(w), lines);
}

static void test_the_largest_use_is_no_file_page_and_within_the_limit(void **state)
{
    (void)state;
    assert_int_equal(memory_peak(10, 100, 30, 1000), 70);
    assert_int_equal(memory_peak(80, 100, 30, 1000), 80);
    assert_int_equal(memory_peak(10, 100, 30, 50), 50);
    assert_int_equal(memory_peak(10, 20, 30, 1000), 10);
    assert_int_equal(memory_peak(10, 0, 0, 1000), 10);
}

static void expect_max_memory(struct world *w, const char *text)
{
    char *log;

    sched_flush_logs(w->sched);
    log = read_log(w);
    assert_non_null(strstr(log, text));
    free(log);
}

static void test_report_shows_a_use_between_two_samples(void **state)
{
    struct world *w = *state;

    w->peak = openat(w->folder_fd, "peak", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(dprintf(w->peak, "%d\n", 33 << 20) > 0);
    (void)make_warm(w);
    expect_max_memory(w, "Max Memory Used: 33 MB");
    invoke(w);
    call(w, "POST", "invocation/request/response", "2");
    call(w, "GET", "invocation/next", "");
    assert_int_equal(pwrite(w->peak, "91000000\n", 9, 0), 9);
    invoke(w);
    call(w, "POST", "invocation/request/response", "3");
    call(w, "GET", "invocation/next", "");
    expect_max_memory(w, "Max Memory Used: 87 MB");
    (void)close(w->peak);
}

static void test_a_flood_of_lines_is_read_bit_by_bit(void **state)
{
    struct world *w = *state;

    (void)make_warm(w);
    print_lines(w, 10000);
    (void)uv_run(&w->loop, UV_RUN_NOWAIT);
    assert_in_range(count_printed(w), 1, 4096);
    wait_for_printed(w, 10000);
    print_lines(w, 1); /* it is still read */
    wait_for_printed(w, 10001);
}

static void test_output_stands_before_the_end(void **state)
{
    struct world *w = *state;
    char *text, *end, *line;

    (void)make_warm(w);
    invoke(w);
    print_lines(w, 6000);
    call(w, "POST", "invocation/request/response", "2");
    call(w, "GET", "invocation/next", "");
    assert_int_equal(count_printed(w), 6000);
    text = read_log(w);
    end = strstr(strstr(text, "\tx\n"), "\tEND ");
    assert_non_null(end);
    line = strstr(end, "\tx\n");
    free(text);
    assert_null(line);
}

static void test_output_of_an_ended_process_is_kept(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w);

    invoke(w);
    print_lines(w, 30000);
    simple(w, WIRE_EXITED, id);
    assert_true(count_printed(w) < 30000);
    invoke(w);
    assert_int_equal(expect_message(w, WIRE_RESTART), id);
    assert_int_equal(count_printed(w), 30000);
}

static void test_an_update_ends_what_is_idle(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w);

    put(w, -1, "second", false);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    simple(w, WIRE_GONE, id);
    assert_null(w->sched->pools);
}

static void test_an_update_takes_the_queue_along(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w), old, fresh;

    invoke(w);
    invoke(w);
    old = expect_message(w, WIRE_START);
    put(w, -1, "second", false);
    fresh = expect_message(w, WIRE_START);
    call(w, "POST", "invocation/request/response", "2");
    call(w, "GET", "invocation/next", "");
    expect_answer(w, 1, SCHED_OK, "2");
    assert_int_equal(expect_message(w, WIRE_KILL), id); /* it is idle, and nobody waits for it */
    simple(w, WIRE_GONE, id);
    started(w, old);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CPU), old);
    assert_int_equal(expect_message(w, WIRE_KILL), old);
    simple(w, WIRE_GONE, old);
    assert_int_equal(w->answers, 2);
    started(w, fresh);
    call(w, "GET", "invocation/next", "");
    call(w, "POST", "invocation/request/response", "new");
    expect_answer(w, 2, SCHED_OK, "new");
    assert_ptr_equal(w->sched->envs->invocation->version, sched_find_function(w->sched, "fn", 2)->latest);
    assert_string_equal(w->sched->envs->invocation->invoked_arn,
                        "arn:aws:lambda:us-east-1:000000000000:function:fn");
}

static void test_old_credentials_end_the_environment(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w);

    w->sched->envs->replace_wall_ms = 0;
    invoke(w);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    assert_true(expect_message(w, WIRE_START) != id);
    assert_int_equal(w->answers, 1);
}

static void test_a_lost_launcher(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w);
    char byte;

    invoke(w); /* busy */
    invoke(w); /* starting */
    assert_true(expect_message(w, WIRE_START) != id);
    assert_int_equal(send(w->launcher, "x", 1, 0),
                     1); /* no message is so short: refused, and no more than that */
    turn(w);
    assert_int_equal(w->answers, 1);
    (void)shutdown(w->launcher, SHUT_WR);
    turn(w);
    assert_int_equal(recv(w->launcher, &byte, 1, 0), 0); /* our end is shut, too */
    assert_int_equal(w->answers, 3);
    expect_answer(w, 1, SCHED_UNAVAILABLE, "lost");
    expect_answer(w, 2, SCHED_UNAVAILABLE, "lost");
    invoke(w); /* waits for the next one */
    assert_int_equal(w->answers, 3);
    (void)close(w->launcher);
    connect_launcher(w);
    assert_true(expect_message(w, WIRE_START) > id);
}

static void test_stop_with_all_under_way(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w);

    simple(w, WIRE_EXITED, id);
    assert_int_equal(expect_message(w, WIRE_KILL), id); /* STOPPING */
    invoke(w);
    id = expect_message(w, WIRE_START);
    started(w, id);
    call(w, "POST", "init/error", "{}");
    assert_int_equal(expect_message(w, WIRE_STOP), id);
    assert_int_equal(expect_message(w, WIRE_RESTART), id); /* RESTARTING with the invocation */
    invoke(w);                                             /* STARTING */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_limits_follow_changes_under_way),
        TEST(test_reserved_concurrency_is_taken_from_the_account),
        TEST(test_whichever_environment_is_ready_first_serves),
        TEST(test_one_that_is_about_to_be_free_is_waited_for),
        TEST(test_but_not_for_long),
        TEST(test_an_older_picture_comes_too_late),
        TEST(test_no_slot_and_nobody_to_end),
        TEST(test_no_slot_for_two_in_the_queue),
        TEST(test_no_slot_but_one_that_will_be_free),
        TEST(test_no_memory_leaves_no_pool),
        TEST(test_memory_in_use_ends_the_longest_idle),
        TEST(test_who_finds_no_memory_waits_for_those_that_start),
        TEST(test_but_not_when_there_is_none_at_all),
        TEST(test_who_waits_too_long_for_memory_is_refused),
        TEST(test_who_finds_no_memory_waits_for_those_that_end),
        TEST(test_an_estimate_follows_what_is_used),
        cmocka_unit_test(test_an_estimate_rises_at_once_and_falls_slowly),
        TEST(test_exit_restart_and_its_failure),
        TEST(test_a_restart_that_cannot_be_asked_for),
        TEST(test_a_long_init_inside_an_invocation_gets_its_share),
        TEST(test_timeout_after_the_response),
        cmocka_unit_test(test_the_largest_use_is_no_file_page_and_within_the_limit),
        TEST(test_report_shows_a_use_between_two_samples),
        TEST(test_a_flood_of_lines_is_read_bit_by_bit),
        TEST(test_output_stands_before_the_end),
        TEST(test_output_of_an_ended_process_is_kept),
        TEST(test_an_update_ends_what_is_idle),
        TEST(test_an_update_takes_the_queue_along),
        TEST(test_old_credentials_end_the_environment),
        TEST(test_a_lost_launcher),
        TEST(test_stop_with_all_under_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
