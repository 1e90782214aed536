/* Functions that serve tenants, and the tags that are settings. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"
#include "model/function.h"

#define FN      "/2015-03-31/functions"
#define TAGS    "/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:function:fn"
#define TENANCY ",\"TenancyConfig\":{\"TenantIsolationMode\":\"PER_TENANT\"}"

static void expect_mode(struct fixture *f, const char *path, const char *member)
{
    assert_int_equal(fixture_request(f, "GET", path, NULL), 200);
    assert_string_equal(fixture_text(f, member), "PER_TENANT");
}

static void tenancy_is_shown_and_stays(void **state)
{
    struct fixture f = { 0 };
    struct function *picture;

    (void)state;
    fixture_open(&f);
    fixture_function(&f, "fn", TENANCY);
    assert_int_equal(fixture_request(&f, "POST", FN "/fn/versions", "{}"), 201);
    assert_string_equal(fixture_text(&f, "TenancyConfig.TenantIsolationMode"), "PER_TENANT");
    expect_mode(&f, FN "/fn", "Configuration.TenancyConfig.TenantIsolationMode");
    expect_mode(&f, FN "/fn/configuration", "TenancyConfig.TenantIsolationMode");
    expect_mode(&f, FN "/fn/configuration?Qualifier=1", "TenancyConfig.TenantIsolationMode");
    expect_mode(&f, FN, "Functions.0.TenancyConfig.TenantIsolationMode");
    expect_mode(&f, FN "/fn/versions", "Versions.1.TenancyConfig.TenantIsolationMode");
    /* It is no member of this request: as any unknown one it is not looked at. */
    assert_int_equal(fixture_request(&f, "PUT", FN "/fn/configuration",
                                     "{\"Timeout\":5,\"TenancyConfig\":{\"TenantIsolationMode\":\"NONE\"}}"),
                     200);
    fixture_settle(&f, "fn");
    expect_mode(&f, FN "/fn", "Configuration.TenancyConfig.TenantIsolationMode");
    picture = api_picture(f.api, "fn");
    assert_true(picture->latest->per_tenant);
    assert_true(picture->versions[0]->per_tenant);
    (void)function_unref(picture);
    fixture_done(&f);
}

static void others_have_none(void **state)
{
    struct fixture f = { 0 };
    struct function *picture;

    (void)state;
    fixture_open(&f);
    fixture_function(&f, "fn", ",\"TenancyConfig\":null");
    assert_int_equal(fixture_request(&f, "PUT", FN "/fn/configuration", "{\"Timeout\":5" TENANCY "}"), 200);
    fixture_settle(&f, "fn");
    assert_int_equal(fixture_request(&f, "GET", FN "/fn/configuration", NULL), 200);
    assert_false(fixture_has(&f, "TenancyConfig"));
    picture = api_picture(f.api, "fn");
    assert_false(picture->latest->per_tenant);
    assert_null(picture->tenant_header);
    (void)function_unref(picture);
    fixture_done(&f);
}

/* The tag's value in a picture of now; NULL for none. */
static void expect_header(struct fixture *f, const char *header)
{
    struct function *picture = api_picture(f->api, "fn");

    if (header)
        assert_string_equal(picture->tenant_header, header);
    else
        assert_null(picture->tenant_header);
    (void)function_unref(picture);
}

static void expect_changed(const struct fixture *f)
{
    assert_int_equal(f->response.status, 204);
    assert_int_equal(f->response.changed_count, 1);
    assert_string_equal(f->response.changed[0], "fn");
    assert_false(f->response.settle);
}

static void a_tag_names_the_header_at_once(void **state)
{
    struct fixture f = { 0 };

    (void)state;
    fixture_open(&f);
    fixture_function(&f, "fn",
                     TENANCY ",\"Tags\":{\"irori:tenant-header\":\"X-Org\",\"irori:state\":\"clean\"}");
    expect_header(&f, "X-Org");
    fixture_request(&f, "POST", TAGS, "{\"Tags\":{\"irori:tenant-header\":\"host\"}}");
    expect_changed(&f);
    expect_header(&f, "host");
    fixture_request(&f, "DELETE", TAGS "?tagKeys=irori:tenant-header", NULL);
    expect_changed(&f);
    expect_header(&f, NULL);
    fixture_done(&f);
}

static void tags_that_mean_nothing_are_refused(void **state)
{
    static const char *const values[] = {
        "",
        "a b",
        "a:b",
        "a/b",
        "\u00fcber",
        "Authorization",
        "cookie",
        "X-Amz-Security-Token",
        "Content-Length",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
    };
    struct fixture f = { 0 };
    char body[256];

    (void)state;
    fixture_open(&f);
    fixture_function(&f, "fn", TENANCY ",\"Tags\":{\"irori:tenant-header\":\"x-org\"}");
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        (void)snprintf(body, sizeof body, "{\"Tags\":{\"mine\":\"1\",\"irori:tenant-header\":\"%s\"}}",
                       values[i]);
        assert_int_equal(fixture_request(&f, "POST", TAGS, body), 400);
        assert_string_equal(f.response.error_type, "InvalidParameterValueException");
        assert_non_null(strstr(fixture_message(&f), "that holds no secret."));
        assert_int_equal(f.response.changed_count, 0);
    }
    fixture_request(&f, "POST", TAGS, "{\"Tags\":{\"irori:\":\"x\"}}");
    expect_error(&f, 400, "InvalidParameterValueException",
                 "Irori knows no tag irori:. Tags that begin with irori: are settings: irori:state and "
                 "irori:tenant-header.");
    expect_header(&f, "x-org");
    assert_int_equal(fixture_request(&f, "GET", TAGS, NULL), 200);
    assert_string_equal(f.response.body.data, "{\"Tags\":{\"irori:tenant-header\":\"x-org\"}}");
    /* Others are nobody's business. */
    assert_int_equal(fixture_request(&f, "POST", TAGS, "{\"Tags\":{\"Irori:x\":\"1\",\"iroris\":\"2\"}}"),
                     204);
    fixture_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tenancy_is_shown_and_stays),
        cmocka_unit_test(others_have_none),
        cmocka_unit_test(a_tag_names_the_header_at_once),
        cmocka_unit_test(tags_that_mean_nothing_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
