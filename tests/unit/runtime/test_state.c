#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "runtime/runtime_api.h"
#include "runtime/state.h"

static void test_an_ordinary_invocation(void **unused)
{
    (void)unused;
    enum runtime_state state = RUNTIME_STARTED;

    assert_true(runtime_step(&state, RUNTIME_CALL_NEXT));
    assert_true(runtime_step(&state, RUNTIME_CALL_DELIVERED));
    assert_true(runtime_step(&state, RUNTIME_CALL_NEXT)); /* the same invocation again */
    assert_int_equal(state, RUNTIME_RUNNING);
    assert_true(runtime_step(&state, RUNTIME_CALL_RESPONSE));
    assert_true(runtime_step(&state, RUNTIME_CALL_ANSWERED));
    assert_false(runtime_step(&state, RUNTIME_CALL_RESPONSE));
    assert_true(runtime_step(&state, RUNTIME_CALL_NEXT));
    assert_int_equal(state, RUNTIME_READY);
}

static void test_init_error_only_before_the_first_next(void **unused)
{
    (void)unused;
    for (int i = 0; i < RUNTIME_STATE_COUNT; i++) {
        enum runtime_state state = (enum runtime_state)i;

        assert_int_equal(runtime_step(&state, RUNTIME_CALL_INIT_ERROR),
                         i == RUNTIME_STARTED || i == RUNTIME_RESTORING);
    }
}

static void test_a_result_is_taken_only_while_an_invocation_runs(void **unused)
{
    (void)unused;
    for (int i = 0; i < RUNTIME_STATE_COUNT; i++) {
        enum runtime_state one = (enum runtime_state)i, other = (enum runtime_state)i;

        assert_int_equal(runtime_step(&one, RUNTIME_CALL_RESPONSE), i == RUNTIME_RUNNING);
        assert_int_equal(runtime_step(&other, RUNTIME_CALL_ERROR), i == RUNTIME_RUNNING);
    }
}

static void test_a_restore_ends_in_the_first_next(void **unused)
{
    (void)unused;
    enum runtime_state state = RUNTIME_STARTED;

    assert_false(runtime_step(&state, RUNTIME_CALL_RESTORED));
    assert_true(runtime_step(&state, RUNTIME_CALL_RESTORE_NEXT));
    assert_false(runtime_step(&state, RUNTIME_CALL_NEXT));
    assert_true(runtime_step(&state, RUNTIME_CALL_RESTORED));
    assert_false(runtime_step(&state, RUNTIME_CALL_RESTORE_NEXT));
    assert_true(runtime_step(&state, RUNTIME_CALL_NEXT));
    assert_int_equal(state, RUNTIME_READY);
    assert_false(runtime_step(&state, RUNTIME_CALL_RESTORE_NEXT));
}

/* In any order of calls: never two results for one delivery. */
static void test_every_order_of_six_calls(void **unused)
{
    (void)unused;
    const unsigned calls = RUNTIME_CALL_COUNT;

    for (unsigned code = 0; code < calls * calls * calls * calls * calls * calls; code++) {
        enum runtime_state state = RUNTIME_STARTED;
        unsigned rest = code;
        int outstanding = 0;

        for (int i = 0; i < 6; i++, rest /= calls) {
            enum runtime_call call = (enum runtime_call)(rest % calls);

            if (!runtime_step(&state, call))
                continue;
            outstanding += call == RUNTIME_CALL_DELIVERED;
            outstanding -= call == RUNTIME_CALL_RESPONSE || call == RUNTIME_CALL_ERROR;
            assert_in_range(outstanding, 0, 1);
            assert_int_equal(outstanding, state == RUNTIME_RUNNING);
        }
    }
}

static void test_every_name_is_there(void **unused)
{
    (void)unused;
    for (int i = 0; i < RUNTIME_STATE_COUNT; i++)
        assert_true(strcmp(runtime_state_name((enum runtime_state)i), "unknown") != 0);
    for (int i = 0; i < RUNTIME_CALL_COUNT; i++)
        assert_true(strcmp(runtime_call_target((enum runtime_call)i), "unknown") != 0);
}

static void test_error_types_are_mapped(void **unused)
{
    (void)unused;
    static const struct {
        const char *sent, *mapped;
    } rows[] = {
        { "Runtime.ImportModuleError", "Runtime.ImportModuleError" },
        { "Function.MyError", "Function.MyError" },
        { "x Runtime.Ab", "x Runtime.Ab" },
        { "Function.lower", "Function.Unknown" },
        { "unhandled", "Runtime.Unknown" },
        { "Runtime.A", "Runtime.Unknown" },
        { "", "" },
    };
    char out[128];

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        runtime_map_error_type(rows[i].sent, strlen(rows[i].sent), out);
        assert_string_equal(out, rows[i].mapped);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_ordinary_invocation),
        cmocka_unit_test(test_init_error_only_before_the_first_next),
        cmocka_unit_test(test_a_result_is_taken_only_while_an_invocation_runs),
        cmocka_unit_test(test_a_restore_ends_in_the_first_next),
        cmocka_unit_test(test_every_order_of_six_calls),
        cmocka_unit_test(test_every_name_is_there),
        cmocka_unit_test(test_error_types_are_mapped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
