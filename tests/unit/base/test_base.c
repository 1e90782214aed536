#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/id.h"
#include "base/text.h"

static void test_buffer_stops_at_its_maximum(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT(10);

    assert_int_equal(buf_puts(&buf, "0123456789"), 0);
    assert_int_equal(buf_putc(&buf, 'x'), -EMSGSIZE);
    assert_true(buf.failed);
    assert_string_equal(buf.data, "0123456789");
    assert_null(buf_take(&buf, NULL));
    assert_int_equal(buf_puts(&buf, "again"), 0);
    buf_done(&buf);
}

static void test_empty_buffer_gives_an_empty_text(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT(10);
    size_t len = 1;
    char *text = buf_take(&buf, &len);

    assert_string_equal(text, "");
    assert_int_equal(len, 0);
    free(text);
}

static void test_json_strings_escape_and_replace(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT(1000);

    assert_int_equal(buf_json_string(&buf, "a\"\\\n\x01\xc3\xa9\xff", 8), 0);
    assert_string_equal(buf.data, "\"a\\\"\\\\\\n\\u0001\xc3\xa9\xef\xbf\xbd\"");
    buf_done(&buf);
}

static void test_base64_round_trip_of_every_length(void **state)
{
    (void)state;
    unsigned char data[64];

    id_random(data, sizeof data);
    for (size_t len = 0; len <= sizeof data; len++) {
        struct buf text = BUF_INIT(1000), back = BUF_INIT(1000);

        assert_int_equal(text_base64_encode(data, len, &text), 0);
        assert_int_equal(text_base64_decode(text.data, text.len, &back), 0);
        assert_int_equal(back.len, len);
        assert_memory_equal(back.data, data, len);
        buf_done(&text);
        buf_done(&back);
    }
}

static void test_base64_refuses_what_is_not_canonical_form(void **state)
{
    (void)state;
    const char *const bad[] = {
        "A", "AA", "AAA", "A===", "AA=A", "=AAA", "AAA=AAAA", "AA A", "AA\nA", "AA-_"
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buf out = BUF_INIT(100);

        assert_int_equal(text_base64_decode(bad[i], strlen(bad[i]), &out), -EINVAL);
        buf_done(&out);
    }
}

static void test_percent_decoding(void **state)
{
    (void)state;
    struct buf out = BUF_INIT(100);

    assert_int_equal(text_percent_decode("a%2Fb+c%", 8, false, &out), -EINVAL);
    assert_string_equal(out.data, "a/b+c%");
    buf_clear(&out);
    assert_int_equal(text_percent_decode("a+%41%4", 5, true, &out), 0);
    assert_string_equal(out.data, "a A");
    buf_done(&out);
}

static void test_utf8_refuses_overlong_and_surrogates(void **state)
{
    (void)state;
    assert_true(text_is_utf8("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 10));
    assert_false(text_is_utf8("\xc0\x80", 2));
    assert_false(text_is_utf8("\xed\xa0\x80", 3));
    assert_false(text_is_utf8("\xf4\x90\x80\x80", 4));
    assert_false(text_is_utf8("\xe2\x82", 2));
}

static void test_numbers_are_bounded(void **state)
{
    (void)state;
    uint64_t value = 7;

    assert_true(text_to_u64("18446744073709551615", 20, UINT64_MAX, &value));
    assert_true(value == UINT64_MAX);
    assert_false(text_to_u64("18446744073709551616", 20, UINT64_MAX, &value));
    assert_false(text_to_u64("11", 2, 10, &value));
    assert_false(text_to_u64("", 0, 10, &value));
    assert_false(text_to_u64("1x", 2, 100, &value));
}

static void test_time_is_formatted_in_utc(void **state)
{
    (void)state;
    char text[CLOCK_ISO_BYTES];

    clock_iso(1768478400123, text);
    assert_string_equal(text, "2026-01-15T12:00:00.123Z");
}

static void test_errors_carry_context_outermost_first(void **state)
{
    (void)state;
    struct err err = { 0 };

    assert_int_equal(err_set(&err, ERR_SYSTEM, ENOENT, "open '%s'", "x"), -ENOENT);
    assert_int_equal(err_wrap(&err, "slot %d", 3), -ENOENT);
    assert_string_equal(err.text, "slot 3: open 'x': No such file or directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buffer_stops_at_its_maximum),
        cmocka_unit_test(test_empty_buffer_gives_an_empty_text),
        cmocka_unit_test(test_json_strings_escape_and_replace),
        cmocka_unit_test(test_base64_round_trip_of_every_length),
        cmocka_unit_test(test_base64_refuses_what_is_not_canonical_form),
        cmocka_unit_test(test_percent_decoding),
        cmocka_unit_test(test_utf8_refuses_overlong_and_surrogates),
        cmocka_unit_test(test_numbers_are_bounded),
        cmocka_unit_test(test_time_is_formatted_in_utc),
        cmocka_unit_test(test_errors_carry_context_outermost_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
