#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "template/tids.h"

static void test_a_clone_s_number_is_no_thread_s(void **state)
{
    static const struct template_thread threads[] = {
        { .tid = 2 }, { .tid = 2000 }, { .tid = 1999 }, { .tid = 2002 }, { .tid = 2001 }
    };

    (void)state;
    assert_int_equal(template_free_tid(threads, 5, 1024), 1024);
    assert_int_equal(template_free_tid(threads, 5, 2), 3);
    assert_int_equal(template_free_tid(threads, 5, 1998), 1998);
    for (uint32_t wanted = 1999; wanted <= 2002; wanted++)
        assert_int_equal(template_free_tid(threads, 5, wanted), 2003);
    assert_int_equal(template_free_tid(threads, 1, 2000), 2000);
    assert_int_equal(template_free_tid(threads, 0, 2), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_a_clone_s_number_is_no_thread_s) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
