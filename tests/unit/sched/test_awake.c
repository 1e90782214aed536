#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "sched/awake.h"

enum { LIMIT_US = 30000 };

static void ignore(uv_timer_t *timer)
{
    (void)timer;
}

static void on_closed(uv_handle_t *handle)
{
    *(int *)handle->data += 1;
}

/* Runs turns of the loop until nothing keeps it awake; returns how many there were. */
static unsigned turns_awake(uv_loop_t *loop, const struct awake *awake)
{
    unsigned turns = 0;

    while (uv_is_active((const uv_handle_t *)&awake->idle)) {
        (void)uv_run(loop, UV_RUN_ONCE);
        turns++;
    }
    return turns;
}

static void test_stays_awake_for_its_time_and_then_sleeps(void **state)
{
    uv_loop_t loop;
    uv_timer_t far;
    struct awake awake;
    uint64_t begun;
    int closed = 0;

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_timer_init(&loop, &far), 0);
    assert_int_equal(uv_timer_start(&far, ignore, 3600 * 1000, 0), 0);
    awake_init(&awake, &loop, LIMIT_US);
    assert_int_equal(turns_awake(&loop, &awake), 0);
    begun = clock_us();
    awake_stay(&awake);
    /* Many turns in a time in which a sleeping loop would have had none. */
    assert_true(turns_awake(&loop, &awake) > 1);
    assert_true(clock_us() - begun >= LIMIT_US);
    awake_close(&awake, on_closed, &closed);
    awake_stay(&awake);
    uv_close((uv_handle_t *)&far, NULL);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(closed, 1);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_no_time_never_keeps_it_awake(void **state)
{
    uv_loop_t loop;
    struct awake awake;
    int closed = 0;

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    awake_init(&awake, &loop, 0);
    awake_stay(&awake);
    assert_false(uv_is_active((uv_handle_t *)&awake.idle));
    awake_close(&awake, on_closed, &closed);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stays_awake_for_its_time_and_then_sleeps),
        cmocka_unit_test(test_no_time_never_keeps_it_awake),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
