#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "bin/settings.h"

static int read_flags(struct settings *settings, struct err *err, const char *const *flags)
{
    char *argv[16] = { (char[]){ "irori" }, (char[]){ "serve" } };
    int argc = 2;

    while (*flags)
        argv[argc++] = (char *)(uintptr_t)*flags++;
    settings_init(settings);
    return settings_read(settings, argc, argv, 2, err);
}

static void test_flags_in_both_forms(void **state)
{
    (void)state;
    struct settings settings;
    struct err err = { 0 };
    const char *const flags[] = { "--listen", "127.0.0.1:0",      "--idle-timeout-ms=5", "--allow-host",
                                  "a:1",      "--allow-host=b:2", "--no-auth",           NULL };

    assert_int_equal(read_flags(&settings, &err, flags), 0);
    assert_string_equal(settings.listen, "127.0.0.1:0");
    assert_int_equal(settings.idle_timeout_ms, 5);
    assert_int_equal(settings.allow_host_count, 2);
    assert_string_equal(settings.allow_host[1], "b:2");
    assert_true(settings.no_auth);
    settings_done(&settings);
}

static void test_switches(void **state)
{
    (void)state;
    static const struct {
        const char *flags[4];
        bool templates;
    } rows[] = {
        { { NULL }, true },
        { { "--templates", NULL }, true },
        { { "--templates=false", NULL }, false },
        { { "--templates=off", NULL }, false },
        { { "--templates", "off", "--no-auth", NULL }, false },
        { { "--templates", "false", NULL }, false },
        { { "--templates", "on", NULL }, true },
        { { "--templates", "--no-auth", NULL }, true },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct settings settings;
        struct err err = { 0 };

        assert_int_equal(read_flags(&settings, &err, rows[i].flags), 0);
        assert_int_equal(settings.templates, rows[i].templates);
        settings_done(&settings);
    }
}

static void test_bad_values_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *flags[4], *expected;
    } rows[] = {
        { { "--nope", NULL }, "there is no flag '--nope'" },
        { { "--listen", NULL }, "needs a value" },
        { { "--listen", "9000", NULL }, "HOST:PORT" },
        { { "--idle-timeout-ms", "-1", NULL }, "whole number" },
        { { "--account-id", "12", NULL }, "12 digits" },
        { { "--listen=0.0.0.0:9000", "--no-auth", NULL }, "loopback" },
        { { "surplus", NULL }, "is not a flag" },
        { { "--templates=maybe", NULL }, "neither true nor false" },
        { { "--templates", "maybe", NULL }, "is not a flag" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct settings settings;
        struct err err = { 0 };

        assert_true(read_flags(&settings, &err, rows[i].flags) < 0);
        if (!strstr(err.text, rows[i].expected))
            fail_msg("'%s' does not say '%s'", err.text, rows[i].expected);
        settings_done(&settings);
    }
}

static void test_config_files(void **state)
{
    (void)state;
    static const char good[] =
        "# comment\n\n  region = eu-west-1 \nallow-host=x:1\nno-auth = true\nfreeze-after-ms=0";
    struct settings settings;
    struct err err = { 0 };

    settings_init(&settings);
    assert_int_equal(settings_parse_file(&settings, good, sizeof good - 1, &err), 0);
    assert_string_equal(settings.region, "eu-west-1");
    assert_int_equal(settings.freeze_after_ms, 0);
    assert_true(settings.no_auth);
    assert_true(settings_parse_file(&settings, "\nregion\n", 8, &err) < 0);
    assert_non_null(strstr(err.text, "line 2"));
    assert_true(settings_parse_file(&settings, "config = x\n", 11, &err) < 0);
    settings_done(&settings);
}

static void test_listen_addresses(void **state)
{
    (void)state;
    char host[64];
    unsigned port;

    assert_int_equal(settings_split_listen("[::1]:80", host, sizeof host, &port, NULL), 0);
    assert_string_equal(host, "::1");
    assert_int_equal(port, 80);
    assert_true(settings_split_listen(":80", host, sizeof host, &port, NULL) < 0);
    assert_true(settings_split_listen("a:70000", host, sizeof host, &port, NULL) < 0);
    assert_true(settings_is_loopback("127.1.2.3"));
    assert_false(settings_is_loopback("0.0.0.0"));
    assert_false(settings_is_loopback("127.example.org"));
    assert_false(settings_is_loopback("1270.0.0.1"));
    assert_true(settings_is_loopback("::1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flags_in_both_forms),  cmocka_unit_test(test_switches),
        cmocka_unit_test(test_bad_values_are_named), cmocka_unit_test(test_config_files),
        cmocka_unit_test(test_listen_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
