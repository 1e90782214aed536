#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/buf.h"
#include "cli/table.h"

static void test_columns_are_as_wide_as_they_must_be(void **state)
{
    (void)state;
    AUTO_TABLE struct table table;
    struct buf out = BUF_INIT(1000);

    table_init(&table, "NAME", ">SIZE", "END", NULL);
    table_cell(&table, "%s", "a");
    table_cell(&table, "%d", 5);
    table_cell(&table, "%s", "x");
    table_cell(&table, "%s", "l\xc3\xa4nger");
    table_cell(&table, "%d", 123456);
    table_cell(&table, "%s", "\033[2J");
    table_write(&table, false, &out);
    assert_string_equal(out.data, "NAME      SIZE  END\n"
                                  "a            5  x\n"
                                  "l\xc3\xa4nger  123456  ?[2J\n");
    buf_clear(&out);
    table_write(&table, true, &out);
    assert_memory_equal(out.data, "\033[1mNAME", 8);
    assert_non_null(strstr(out.data, "END\033[0m\n"));
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_columns_are_as_wide_as_they_must_be) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
