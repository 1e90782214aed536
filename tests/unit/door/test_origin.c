#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "door/origin.h"

static const char *refusal(const char *host, const char *name, const char *value)
{
    struct http_header header = { { name, strlen(name) }, { value, strlen(value) } };
    struct http_request request = { .host = { host, strlen(host) },
                                    .headers = &header,
                                    .header_count = *name ? 1 : 0 };

    return origin_refusal(&request);
}

static void test_hosts_of_this_machine(void **state)
{
    (void)state;
    static const char *const fine[] = { "127.0.0.1",
                                        "127.0.0.1:9000",
                                        "127.1.2.3:1",
                                        "localhost",
                                        "LocalHost:9000",
                                        "[::1]",
                                        "[::1]:9000",
                                        "",
                                        "host.irori.internal:9000" };
    static const char *const foreign[] = { "example.com",
                                           "127.0.0.1.example.com:9000",
                                           "localhost.example.com",
                                           "10.0.0.1",
                                           "[::2]:9000",
                                           "0.0.0.0",
                                           "[::1",
                                           "127.1",
                                           "::1" };

    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++)
        assert_null(refusal(fine[i], "", ""));
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
        assert_non_null(refusal(foreign[i], "", ""));
}

static void test_signs_of_a_page(void **state)
{
    (void)state;
    assert_non_null(refusal("127.0.0.1", "Origin", "null"));
    assert_non_null(refusal("127.0.0.1", "origin", "http://127.0.0.1"));
    assert_non_null(refusal("127.0.0.1", "Sec-Fetch-Site", "cross-site"));
    assert_non_null(refusal("127.0.0.1", "Sec-Fetch-Site", "same-site"));
    assert_null(refusal("127.0.0.1", "Sec-Fetch-Site", "none"));
    assert_null(refusal("127.0.0.1", "Sec-Fetch-Site", "same-origin"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hosts_of_this_machine),
        cmocka_unit_test(test_signs_of_a_page),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
