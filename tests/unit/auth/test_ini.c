#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "auth/ini.h"
#include "base/buf.h"

static void on_setting(const char *section, const char *key, const char *value, void *ctx)
{
    if (key)
        (void)buf_printf(ctx, "%s.%s=%s;", section, key, value);
    else
        (void)buf_printf(ctx, "/%s;", section);
}

static void expect(const char *text, const char *wanted)
{
    struct buf seen = BUF_INIT(10000);

    ini_read(text, strlen(text), on_setting, &seen);
    assert_string_equal(seen.data, wanted);
    buf_done(&seen);
}

static void test_sections_and_settings(void **state)
{
    (void)state;
    expect("", "/;");
    expect("[a]\nKey = v w \r\nother=\n[ profile b ]\nk=x=y",
           "/;a.key=v w;a.other=;/a;profile b.k=x=y;/profile b;");
}

static void test_noise_is_skipped(void **state)
{
    (void)state;
    char text[3000];

    expect("# a=b\n; a=b\n[a\n  nested=1\nplain\n=v\n[c]\nk=v", "/;c.k=v;/c;");
    memset(text, 'x', sizeof text);
    text[1] = '=';
    memcpy(text + sizeof text - 5, "\na=b", 5);
    expect(text, ".a=b;/;");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sections_and_settings),
        cmocka_unit_test(test_noise_is_skipped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
