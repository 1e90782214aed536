#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "cli/cli_priv.h"
#include "cli/options.h"

struct values {
    bool flag;
    const char *text;
    struct option_number number;
    struct option_list list;
    struct words words;
    struct err err;
};

static int parse(struct values *values, bool first_word_ends, int argc, const char *const *argv)
{
    const struct option own[] = {
        { "flag", 'f', OPTION_FLAG, &values->flag, NULL, "a flag" },
        { "text", 't', OPTION_TEXT, &values->text, "T", "a text" },
    };
    const struct option global[] = {
        { "number", 'n', OPTION_NUMBER, &values->number, "N", "a number" },
        { "list", 0, OPTION_LIST, &values->list, "L", "a list" },
    };
    const struct option_tables tables = { own, global, 2, 2 };

    return options_parse(&tables, argc, (char **)(uintptr_t)argv, first_word_ends, &values->words,
                         &values->err);
}

#define PARSE(values, ends, ...)                                                             \
    parse(values, ends, (int)(sizeof(const char *[]){ __VA_ARGS__ } / sizeof(const char *)), \
          (const char *[]){ __VA_ARGS__ })

static void test_all_ways_to_write_an_option(void **state)
{
    (void)state;
    struct values values = { 0 };

    assert_int_equal(
        PARSE(&values, false, "a", "--flag", "--text=x=y", "-n", "7", "--list", "1", "b", "--list=2"), 9);
    assert_true(values.flag);
    assert_string_equal(values.text, "x=y");
    assert_true(values.number.given);
    assert_int_equal(values.number.value, 7);
    assert_int_equal(values.list.count, 2);
    assert_string_equal(values.list.items[1], "2");
    assert_int_equal(values.words.count, 2);
    assert_string_equal(values.words.list[1], "b");
    assert_int_equal(PARSE(&values, false, "-n12", "-tz", "-", "--text", "", "--", "--flag", "-x"), 8);
    assert_int_equal(values.number.value, 12);
    assert_string_equal(values.text, "");
    assert_int_equal(values.words.count, 3);
    assert_string_equal(values.words.list[0], "-");
    assert_string_equal(values.words.list[2], "-x");
}

static void test_the_parser_stops_at_a_command(void **state)
{
    (void)state;
    struct values values = { 0 };

    assert_int_equal(PARSE(&values, true, "--text", "a", "ls", "--unknown"), 2);
    assert_int_equal(PARSE(&values, true, "--flag"), 1);
}

static void test_wrong_uses_are_named(void **state)
{
    (void)state;
    struct values values = { 0 };

    assert_int_equal(PARSE(&values, false, "--nope"), -EINVAL);
    assert_string_equal(values.err.text, "there is no option '--nope'");
    assert_int_equal(PARSE(&values, false, "--fla"), -EINVAL);
    assert_int_equal(PARSE(&values, false, "-x"), -EINVAL);
    assert_int_equal(PARSE(&values, false, "--text"), -EINVAL);
    assert_string_equal(values.err.text, "--text needs a value: --text T");
    assert_int_equal(PARSE(&values, false, "--flag=1"), -EINVAL);
    assert_int_equal(PARSE(&values, false, "--number", "1x"), -EINVAL);
    assert_string_equal(values.err.text, "--number needs a number, not '1x'");
    assert_int_equal(PARSE(&values, false, "--number", "99999999999"), -EINVAL);
}

static void test_help_lists_options(void **state)
{
    (void)state;
    const struct option options[] = { { "flag", 'f', OPTION_FLAG, NULL, NULL, "a flag" },
                                      { "text", 0, OPTION_TEXT, NULL, "T", "a text" } };
    struct buf out = BUF_INIT(1000);

    options_help(options, 2, &out);
    assert_string_equal(out.data,
                        "  -f, --flag                   a flag\n      --text T                 a text\n");
    buf_done(&out);
}

static void test_distances(void **state)
{
    (void)state;
    assert_int_equal(cli_distance("deploy", "deploy", 3), 0);
    assert_int_equal(cli_distance("deplyo", "deploy", 3), 2);
    assert_int_equal(cli_distance("invok", "invoke", 3), 1);
    assert_int_equal(cli_distance("", "ls", 3), 2);
    assert_int_equal(cli_distance("banana", "ls", 3), 3);
    assert_int_equal(cli_distance("a word that is longer than any command", "ls", 3), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_ways_to_write_an_option),
        cmocka_unit_test(test_the_parser_stops_at_a_command),
        cmocka_unit_test(test_wrong_uses_are_named),
        cmocka_unit_test(test_help_lists_options),
        cmocka_unit_test(test_distances),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
