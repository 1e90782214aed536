#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "door/url_event.h"
#include "model/function.h"

#define TYPE "Content-Type: application/json\r\n"

struct answer_case {
    const char *result;
    int status; /* 0: malformed */
    const char *headers, *body;
};

static void assert_answers(const struct answer_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct answer_case *c = &cases[i];
        size_t len = strlen(c->result);
        char *result = malloc(len + 1); /* exactly as large as it is, for the sanitizer */
        struct url_answer answer;
        int value;

        memcpy(result, c->result, len);
        value = url_answer_read(result, len, &answer);
        if ((value == 0) != (c->status != 0))
            fail_msg("%s: %d", c->result, value);
        if (value == 0) {
            if (answer.status != c->status || strcmp(answer.headers.data, c->headers) != 0 ||
                answer.body_len != strlen(c->body) || memcmp(answer.body, c->body, answer.body_len) != 0)
                fail_msg("%s: %d, %s, %.*s", c->result, answer.status, answer.headers.data,
                         (int)answer.body_len, answer.body);
            url_answer_done(&answer);
        } else {
            assert_int_equal(value, -EINVAL);
        }
        free(result);
    }
}

#define ASSERT_ANSWERS(cases) assert_answers(cases, sizeof(cases) / sizeof(cases)[0])

static void test_unstructured_results_are_written_anew(void **state)
{
    (void)state;
    static const struct answer_case cases[] = {
        { "{\"hello\": \"world\"}", 200, TYPE, "{\"hello\":\"world\"}" },
        { "{\"hello\":\"world\"}", 200, TYPE, "{\"hello\":\"world\"}" },
        { "[\"hello\", 3, true]", 200, TYPE, "[\"hello\",3,true]" },
        { " [ ] ", 200, TYPE, "[]" },
        { "{}", 200, TYPE, "{}" },
        { "\n{ \"a\" : { \"b\" : [ 1 , { } ] } }\t", 200, TYPE, "{\"a\":{\"b\":[1,{}]}}" },
        { "3", 200, TYPE, "3" },
        { "3.1", 200, TYPE, "3.1" },
        { "-0.10E+05", 200, TYPE, "-0.10E+05" },
        { "12345678901234567890123", 200, TYPE, "12345678901234567890123" },
        { "true", 200, TYPE, "true" },
        { " false", 200, TYPE, "false" },
        { "null", 200, TYPE, "null" },
        { "", 200, TYPE, "null" },
        { " \n", 200, TYPE, "null" },
        { "\"hello\"", 200, TYPE, "hello" },
        { "\"\"", 200, TYPE, "" },
        { " \"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\" ", 200, TYPE, "a\"\\/\b\f\n\r\tA" },
        { "\"\\u00e9\\u20ac\\ud83d\\ude00\"", 200, TYPE, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
        { "\"\\ud83dx\\ude00\\ud83d\\u0041\"", 200, TYPE,
          "\xef\xbf\xbdx\xef\xbf\xbd\xef\xbf\xbd"
          "A" },
        { "[\"\\u00e9\\/\\u0041\\u0022\\u005c\\u000a\\u0001\\ud83d\\ude00\"]", 200, TYPE,
          "[\"\xc3\xa9/A\\\"\\\\\\n\\u0001\xf0\x9f\x98\x80\"]" },
        { "[\"\\uD83Dx\"]", 200, TYPE, "[\"\\uD83Dx\"]" },
        { "{\"a b\" : \"c  d\"}", 200, TYPE, "{\"a b\":\"c  d\"}" },
        { "{\"body\":\"x\",\"headers\":{}}", 200, TYPE, "{\"body\":\"x\",\"headers\":{}}" },
        { "{\"a\":{\"statusCode\":201}}", 200, TYPE, "{\"a\":{\"statusCode\":201}}" },
        { "{\"StatusCode\":201}", 200, TYPE, "{\"StatusCode\":201}" },
    };

    ASSERT_ANSWERS(cases);
}

static void test_what_is_not_json_is_malformed(void **state)
{
    (void)state;
    static const char *const results[] = {
        "{",
        "}",
        "[",
        "]",
        "[1,]",
        "[,1]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1",
        "{\"a\":1,}",
        "{a:1}",
        "{1:2}",
        "[1}",
        "{\"a\":1]",
        "01",
        "1.",
        ".5",
        "+1",
        "-",
        "1e",
        "1e+",
        "0x1",
        "tru",
        "truex",
        "nul",
        "NaN",
        "undefined",
        "'a'",
        "\"a",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"a\nb\"",
        "\"\x01\"",
        "\"\xff\"",
        "\"\xc3\"",
        "\"\\",
        "1 2",
        "{} {}",
        "[1 2]",
        "hello",
        "\"\\ud8",
        "\xef\xbb\xbf{}",
        "{\"statusCode\":200",
        "{\"statusCode\":200}x",
    };

    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++)
        assert_answers(&(struct answer_case){ results[i], 0, NULL, NULL }, 1);
}

static void test_status_codes(void **state)
{
    (void)state;
    static const struct answer_case cases[] = {
        { "{\"statusCode\":201}", 201, TYPE, "" },
        { "{\"statusCode\":\"418\"}", 418, TYPE, "" },
        { "{\"statusCode\":100}", 100, TYPE, "" },
        { "{\"statusCode\":599}", 599, TYPE, "" },
        { "{\"statusCode\":200.0}", 200, TYPE, "" },
        { "{\"status\\u0043ode\":202}", 202, TYPE, "" },
        { "{\"statusCode\":200,\"statusCode\":203}", 203, TYPE, "" },
        { "{\"statusCode\":99}", 0, NULL, NULL },
        { "{\"statusCode\":600}", 0, NULL, NULL },
        { "{\"statusCode\":-200}", 0, NULL, NULL },
        { "{\"statusCode\":200.5}", 0, NULL, NULL },
        { "{\"statusCode\":2e2}", 0, NULL, NULL },
        { "{\"statusCode\":\"\"}", 0, NULL, NULL },
        { "{\"statusCode\":\"200 OK\"}", 0, NULL, NULL },
        { "{\"statusCode\":null}", 0, NULL, NULL },
        { "{\"statusCode\":true}", 0, NULL, NULL },
        { "{\"statusCode\":[200]}", 0, NULL, NULL },
        { "{\"statusCode\":99999999999999999999999}", 0, NULL, NULL },
    };

    ASSERT_ANSWERS(cases);
}

static void test_bodies(void **state)
{
    (void)state;
    static const struct answer_case cases[] = {
        { "{\"statusCode\":200,\"body\":\"{\\\"hello\\\": \\\"world\\\"}\"}", 200, TYPE,
          "{\"hello\": \"world\"}" },
        { "{\"statusCode\":200,\"body\":\"plain\"}", 200, TYPE, "plain" },
        { "{\"body\":\"a\",\"statusCode\":200,\"body\":\"b\"}", 200, TYPE, "b" },
        { "{\"statusCode\":200,\"body\":null,\"isBase64Encoded\":null,\"headers\":null,\"cookies\":null}",
          200, TYPE, "" },
        { "{\"statusCode\":200,\"body\":\"aGk=\",\"isBase64Encoded\":true}", 200, TYPE, "hi" },
        { "{\"statusCode\":200,\"body\":\"Pz8\\/\",\"isBase64Encoded\":true}", 200, TYPE, "???" },
        { "{\"statusCode\":200,\"body\":\"\",\"isBase64Encoded\":true}", 200, TYPE, "" },
        { "{\"statusCode\":200,\"isBase64Encoded\":true}", 200, TYPE, "" },
        { "{\"statusCode\":200,\"body\":\"aGk=\",\"isBase64Encoded\":false}", 200, TYPE, "aGk=" },
        { "{\"statusCode\":200,\"body\":\"a\",\"isBase64Encoded\":true}", 0, NULL, NULL },
        { "{\"statusCode\":200,\"body\":\"aG k=\",\"isBase64Encoded\":true}", 0, NULL, NULL },
        { "{\"statusCode\":200,\"body\":\"\\u0061Gk\",\"isBase64Encoded\":true}", 0, NULL, NULL },
        { "{\"statusCode\":200,\"isBase64Encoded\":\"true\"}", 0, NULL, NULL },
        { "{\"statusCode\":200,\"isBase64Encoded\":1}", 0, NULL, NULL },
        { "{\"statusCode\":200,\"body\":{}}", 0, NULL, NULL },
        { "{\"statusCode\":200,\"body\":3}", 0, NULL, NULL },
        { "{\"statusCode\":200,\"body\":[\"a\"]}", 0, NULL, NULL },
    };

    ASSERT_ANSWERS(cases);
}

#define HEADERS(inside) "{\"statusCode\":200,\"headers\":{" inside "}}"

static void test_headers(void **state)
{
    (void)state;
    static const struct answer_case cases[] = {
        { HEADERS("\"X-A\":\"b\""), 200, "X-A: b\r\n" TYPE, "" },
        { HEADERS("\"content-type\":\"text/html\""), 200, "content-type: text/html\r\n", "" },
        { HEADERS("\"a\":1,\"b\":true,\"c\":false,\"d\":1.50,\"e\":\"\""), 200,
          "a: 1\r\nb: true\r\nc: false\r\nd: 1.50\r\ne: \r\n" TYPE, "" },
        { HEADERS("\"a\":null"), 200, TYPE, "" },
        { HEADERS("\"a\":\"\\u00e9\\tx\""), 200, "a: \xc3\xa9\tx\r\n" TYPE, "" },
        { HEADERS("\"\\u0061b\":\"c\""), 200, "ab: c\r\n" TYPE, "" },
        { HEADERS("\"a\":\"1\",\"b\":\"2\",\"a\":\"3\""), 200, "b: 2\r\na: 3\r\n" TYPE, "" },
        { HEADERS("\"Content-Type\":\"a/b\",\"content-type\":\"c/d\""), 200, "content-type: c/d\r\n", "" },
        { HEADERS("\"Set-Cookie\":\"a\",\"set-cookie\":\"b\""), 200,
          "Set-Cookie: a\r\nset-cookie: b\r\n" TYPE, "" },
        { HEADERS("\"Content-Length\":\"5\",\"connection\":\"close\",\"Date\":\"x\",\"Transfer-Encoding\":"
                  "\"chunked\","
                  "\"Server\":\"s\""),
          200,
          "x-amzn-Remapped-Content-Length: 5\r\nx-amzn-Remapped-connection: close\r\nx-amzn-Remapped-Date: "
          "x\r\n"
          "x-amzn-Remapped-Transfer-Encoding: chunked\r\nx-amzn-Remapped-Server: s\r\n" TYPE,
          "" },
        { "{\"statusCode\":200,\"multiValueHeaders\":{\"a\":[\"b\"]}}", 200, TYPE, "" },
        { HEADERS("\"a\":\"b\\r\\nSet-Cookie: evil\""), 0, NULL, NULL },
        { HEADERS("\"a\":\"b\\u000aX: y\""), 0, NULL, NULL },
        { HEADERS("\"a\":\"b\\u0000\""), 0, NULL, NULL },
        { HEADERS("\"a\":\"\\u007f\""), 0, NULL, NULL },
        { HEADERS("\"a b\":\"c\""), 0, NULL, NULL },
        { HEADERS("\"a:\":\"c\""), 0, NULL, NULL },
        { HEADERS("\"\":\"c\""), 0, NULL, NULL },
        { HEADERS("\"a\\r\\nb\":\"c\""), 0, NULL, NULL },
        { HEADERS("\"a\\u0000\":\"c\""), 0, NULL, NULL },
        { HEADERS("\"\\u00e9\":\"c\""), 0, NULL, NULL },
        { HEADERS("\"a\":[\"b\"]"), 0, NULL, NULL },
        { HEADERS("\"a\":{}"), 0, NULL, NULL },
        { "{\"statusCode\":200,\"headers\":[]}", 0, NULL, NULL },
        { "{\"statusCode\":200,\"headers\":\"a: b\"}", 0, NULL, NULL },
    };

    ASSERT_ANSWERS(cases);
}

static void test_cookies(void **state)
{
    (void)state;
    static const struct answer_case cases[] = {
        { "{\"statusCode\":200,\"cookies\":[\"a=b; Path=/\", \"c=d\"]}", 200,
          TYPE "Set-Cookie: a=b; Path=/\r\nSet-Cookie: c=d\r\n", "" },
        { "{\"statusCode\":200,\"cookies\":[]}", 200, TYPE, "" },
        { "{\"statusCode\":200,\"cookies\":[1]}", 0, NULL, NULL },
        { "{\"statusCode\":200,\"cookies\":\"a=b\"}", 0, NULL, NULL },
        { "{\"statusCode\":200,\"cookies\":{\"a\":\"b\"}}", 0, NULL, NULL },
        { "{\"statusCode\":200,\"cookies\":[\"a=b\\r\\nX: y\"]}", 0, NULL, NULL },
        { "{\"statusCode\":200,\"cookies\":[null]}", 0, NULL, NULL },
    };

    ASSERT_ANSWERS(cases);
}

static void test_depth_is_limited(void **state)
{
    (void)state;
    static char result[2100000];
    struct url_answer answer;

    memset(result, '[', 1000);
    memset(result + 1000, ']', 1000);
    assert_int_equal(url_answer_read(result, 2000, &answer), 0);
    assert_int_equal(answer.body_len, 2000);
    url_answer_done(&answer);
    memset(result, '[', 1001);
    memset(result + 1001, ']', 1001);
    assert_int_equal(url_answer_read(result, 2002, &answer), -EINVAL);
    memset(result, '[', sizeof result);
    assert_int_equal(url_answer_read(result, sizeof result, &answer), -EINVAL);
}

static void test_the_number_of_headers_is_limited(void **state)
{
    (void)state;
    static const struct {
        int count, result;
    } cases[] = { { 33, 0 }, { 1000, 0 }, { 1001, -EINVAL } };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        AUTO_BUF struct buf result = BUF_INIT(100000);
        struct url_answer answer;

        (void)buf_puts(&result, "{\"statusCode\":200,\"headers\":{");
        for (int k = 0; k < cases[i].count; k++)
            (void)buf_printf(&result, "%s\"h%d\":%d", k ? "," : "", k, k);
        (void)buf_puts(&result, "}}");
        assert_int_equal(url_answer_read(result.data, result.len, &answer), cases[i].result);
        if (cases[i].result == 0) {
            assert_non_null(strstr(answer.headers.data, "h32: 32\r\n"));
            url_answer_done(&answer);
        }
    }
}

static void test_a_large_body_without_escapes_is_not_copied(void **state)
{
    (void)state;
    static const char result[] = "{\"statusCode\":200,\"body\":\"abc\"}";
    struct url_answer answer;

    assert_int_equal(url_answer_read(result, sizeof result - 1, &answer), 0);
    assert_ptr_equal(answer.body, strstr(result, "abc"));
    url_answer_done(&answer);
    assert_int_equal(url_answer_read("[1,2]", 5, &answer), 0);
    assert_null(answer.owned.data);
    url_answer_done(&answer);
}

static void assert_cors(const struct fn_cors *cors, const char *origin, bool preflight, const char *want)
{
    struct buf out = BUF_INIT(2000);

    (void)buf_puts(&out, "");
    url_cors_headers(cors, origin, strlen(origin), preflight, &out);
    assert_string_equal(out.data ? out.data : "", want);
    buf_done(&out);
}

static void assert_stream(const char *result, size_t len, int status, const char *headers, const char *body)
{
    struct url_answer answer = { 0 };

    assert_int_equal(url_answer_read_stream(result, len, &answer), 0);
    assert_int_equal(answer.status, status);
    assert_string_equal(answer.headers.data, headers);
    assert_int_equal(answer.body_len, strlen(body));
    assert_memory_equal(answer.body, body, answer.body_len);
    url_answer_done(&answer);
}

static void test_collected_streams_begin_with_a_prelude(void **state)
{
    static const char full[] =
        "{\"statusCode\":201,\"headers\":{\"x-a\":1},\"cookies\":[\"c=1\"]}\0\0\0\0\0\0\0\0body";
    static const char empty[] = "{}\0\0\0\0\0\0\0\0";
    static const char cut[] = "{}\0\0\0\0\0\0\0";
    static const char bad[] = "{\"statusCode\":99}\0\0\0\0\0\0\0\0x";
    static const char text[] = "hello\0\0\0\0\0\0\0\0x";
    struct url_answer answer = { 0 };

    (void)state;
    assert_stream(full, sizeof full - 1, 201,
                  "x-a: 1\r\nContent-Type: application/octet-stream\r\nSet-Cookie: c=1\r\n", "body");
    assert_stream(empty, sizeof empty - 1, 200, "Content-Type: application/octet-stream\r\n", "");
    assert_int_equal(url_answer_read_stream(cut, sizeof cut - 1, &answer), -EINVAL);
    assert_int_equal(url_answer_read_stream(bad, sizeof bad - 1, &answer), -EINVAL);
    assert_int_equal(url_answer_read_stream(text, sizeof text - 1, &answer), -EINVAL);
}

static void test_cors(void **state)
{
    (void)state;
    static char star[] = "*", origin_a[] = "https://a.example", origin_b[] = "http://b:1", get[] = "GET",
                post[] = "POST", name_a[] = "x-a", name_b[] = "x-b";
    char *any[] = { star, NULL }, *some[] = { origin_a, origin_b, NULL };
    char *methods[] = { get, post, NULL }, *names[] = { name_a, name_b, NULL };
    struct fn_cors open = { .allow_origins = any, .allow_methods = any };
    struct fn_cors full = { .allow_credentials = true,
                            .allow_origins = some,
                            .allow_methods = methods,
                            .allow_headers = names,
                            .expose_headers = names,
                            .max_age_s = 5 };
    struct fn_cors any_with_credentials = { .allow_credentials = true, .allow_origins = any };
    struct fn_cors none = { 0 };

    assert_cors(&open, "https://x", false, "Access-Control-Allow-Origin: *\r\n");
    assert_cors(&open, "https://x", true,
                "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: *\r\n");
    assert_cors(&open, "", true, "");
    assert_cors(&full, "http://b:1", false,
                "Access-Control-Allow-Origin: http://b:1\r\nVary: "
                "Origin\r\nAccess-Control-Allow-Credentials: true\r\n"
                "Access-Control-Expose-Headers: x-a,x-b\r\n");
    assert_cors(&full, "https://a.example", true,
                "Access-Control-Allow-Origin: https://a.example\r\nVary: Origin\r\n"
                "Access-Control-Allow-Credentials: true\r\nAccess-Control-Allow-Methods: GET,POST\r\n"
                "Access-Control-Allow-Headers: x-a,x-b\r\nAccess-Control-Max-Age: 5\r\n");
    assert_cors(&full, "https://other", true, "");
    assert_cors(&full, "https://a.example.evil", false, "");
    assert_cors(&any_with_credentials, "https://x", false,
                "Access-Control-Allow-Origin: https://x\r\nVary: Origin\r\nAccess-Control-Allow-Credentials: "
                "true\r\n");
    assert_cors(&any_with_credentials, "https://x\r\nEvil: 1", false, "");
    assert_cors(&none, "https://x", false, "");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unstructured_results_are_written_anew),
        cmocka_unit_test(test_what_is_not_json_is_malformed),
        cmocka_unit_test(test_status_codes),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_cookies),
        cmocka_unit_test(test_depth_is_limited),
        cmocka_unit_test(test_the_number_of_headers_is_limited),
        cmocka_unit_test(test_a_large_body_without_escapes_is_not_copied),
        cmocka_unit_test(test_collected_streams_begin_with_a_prelude),
        cmocka_unit_test(test_cors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
