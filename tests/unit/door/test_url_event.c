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
#include "base/text.h"
#include "door/url_event.h"
#include "http/parser.h"

enum { OUT_MAX = 16 << 20, FIELDS_MAX = 300, TEXT_MAX = 70000 };

struct fixture {
    struct http_parser parser;
    struct http_header fields[FIELDS_MAX];
    char text[TEXT_MAX];
    struct url_event event;
    struct buf out;
};

static void begin(struct fixture *f, const char *text, size_t len)
{
    static const struct http_limits limits = { 60000, 60000, FIELDS_MAX };

    memset(f, 0, sizeof *f);
    f->parser = (struct http_parser){ .fields = f->fields, .field_cap = FIELDS_MAX };
    memcpy(f->text, text, len);
    http_parser_begin(&f->parser, &limits);
    assert_int_equal(http_parser_step(&f->parser, f->text, &len), HTTP_HEAD);
    f->parser.body_limit = 60000;
    assert_int_equal(http_parser_step(&f->parser, f->text, &len), HTTP_DONE);
    f->out = BUF_INIT(OUT_MAX);
    f->event = (struct url_event){
        .request = &f->parser.request,
        .path = f->parser.request.path.at,
        .path_len = f->parser.request.path.len,
        .url_id = "abc",
        .domain_name = "abc.lambda-url.us-east-1.localhost",
        .host = "abc.lambda-url.us-east-1.localhost:9000",
        .scheme = "http",
        .port = 9000,
        .source_ip = "127.0.0.1",
        .request_id = "rid",
        .trace_id = "Root=1-2-3",
        .now_ms = 1768478400123,
    };
}

static void assert_event(const char *text, size_t len, const char *contains)
{
    static struct fixture f;

    begin(&f, text, len);
    assert_int_equal(url_event_write(&f.event, &f.out), 0);
    if (!strstr(f.out.data, contains))
        fail_msg("no %s in %s", contains, f.out.data);
    buf_done(&f.out);
}

static void assert_no_event_has(const char *text, const char *not_there)
{
    static struct fixture f;

    begin(&f, text, strlen(text));
    assert_int_equal(url_event_write(&f.event, &f.out), 0);
    if (strstr(f.out.data, not_there))
        fail_msg("%s is in %s", not_there, f.out.data);
    buf_done(&f.out);
}

#define HOST        "Host: x\r\n"
#define GET(target) "GET " target " HTTP/1.1\r\n" HOST "\r\n"
#define FORWARDED                                                                                     \
    "\"x-forwarded-for\":\"127.0.0.1\",\"x-forwarded-port\":\"9000\",\"x-forwarded-proto\":\"http\"," \
    "\"x-amzn-trace-id\":\"Root=1-2-3\"}"

static void test_a_whole_event(void **state)
{
    (void)state;
    static struct fixture f;
    static const char text[] = "POST /my/pa2%Fth?a=1&a=2&b=x HTTP/1.1\r\nHost: x\r\nUser-Agent: "
                               "agent\r\nX-Two: 1\r\nCookie: c1=v1; c2=v2\r\n"
                               "x-two: 2\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nHello";

    begin(&f, text, sizeof text - 1);
    assert_int_equal(url_event_write(&f.event, &f.out), 0);
    assert_string_equal(
        f.out.data,
        "{\"version\":\"2.0\",\"routeKey\":\"$default\",\"rawPath\":\"/my/"
        "pa2%Fth\",\"rawQueryString\":\"a=1&a=2&b=x\","
        "\"cookies\":[\"c1=v1\",\"c2=v2\"],"
        "\"headers\":{\"host\":\"abc.lambda-url.us-east-1.localhost:9000\",\"user-agent\":\"agent\",\"x-"
        "two\":\"1,2\","
        "\"content-type\":\"text/plain\",\"content-length\":\"5\"," FORWARDED ","
        "\"queryStringParameters\":{\"a\":\"1,2\",\"b\":\"x\"},"
        "\"requestContext\":{\"accountId\":\"anonymous\",\"apiId\":\"abc\","
        "\"domainName\":\"abc.lambda-url.us-east-1.localhost\",\"domainPrefix\":\"abc\","
        "\"http\":{\"method\":\"POST\",\"path\":\"/my/pa2%Fth\",\"protocol\":\"HTTP/"
        "1.1\",\"sourceIp\":\"127.0.0.1\","
        "\"userAgent\":\"agent\"},\"requestId\":\"rid\",\"routeKey\":\"$default\",\"stage\":\"$default\","
        "\"time\":\"15/Jan/2026:12:00:00 +0000\",\"timeEpoch\":1768478400123},"
        "\"body\":\"Hello\",\"isBase64Encoded\":false}");
    buf_done(&f.out);
}

static void test_identity_is_told_and_its_proof_is_not(void **state)
{
    (void)state;
    static struct fixture f;
    static const char text[] = "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: secret\r\n\r\n";
    static const struct principal iam = { .access_key = "AKIA",
                                          .account = "111122223333",
                                          .arn = "arn:aws:iam::111122223333:user/u",
                                          .user_id = "AIDA" };

    begin(&f, text, sizeof text - 1);
    f.event.iam = &iam;
    f.event.account = "000000000000";
    assert_int_equal(url_event_write(&f.event, &f.out), 0);
    assert_non_null(strstr(f.out.data,
                           "\"accountId\":\"000000000000\",\"apiId\":\"abc\",\"authorizer\":{\"iam\":{"
                           "\"accessKey\":\"AKIA\",\"accountId\":\"111122223333\",\"callerId\":\"AIDA\","
                           "\"cognitoIdentity\":null,\"principalOrgId\":null,"
                           "\"userArn\":\"arn:aws:iam::111122223333:user/u\",\"userId\":\"AIDA\"}}"));
    assert_null(strstr(f.out.data, "secret"));
    buf_done(&f.out);
    assert_event(text, sizeof text - 1, "\"authorization\":\"secret\"");
}

static void test_queries_are_decoded_and_joined(void **state)
{
    (void)state;
    static const struct {
        const char *query, *parameters;
    } cases[] = {
        { "a=1", "{\"a\":\"1\"}" },
        { "b=x&a=1&b=y&a=2", "{\"b\":\"x,y\",\"a\":\"1,2\"}" },
        { "a", "{\"a\":\"\"}" },
        { "a=&=b", "{\"a\":\"\",\"\":\"b\"}" },
        { "&&a=1&&b=2&", "{\"a\":\"1\",\"b\":\"2\"}" },
        { "a%20b+c=d%2Be+f", "{\"a b c\":\"d+e f\"}" },
        { "a=%zz%4", "{\"a\":\"%zz%4\"}" },
        { "a=b=c", "{\"a\":\"b=c\"}" },
        { "a=%22%5c%0a%c3%a9%ff", "{\"a\":\"\\\"\\\\\\n\xc3\xa9\xef\xbf\xbd\"}" },
        { "multiQuery=foo&multiQuery=/bar", "{\"multiQuery\":\"foo,/bar\"}" },
        { "%61=1&a=2", "{\"a\":\"1,2\"}" },
        { "ab=1&a=2&abc=3&a=4&ab=5", "{\"ab\":\"1,5\",\"a\":\"2,4\",\"abc\":\"3\"}" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        AUTO_BUF struct buf text = BUF_INIT(1000), want = BUF_INIT(1000);

        (void)buf_printf(&text, "GET /?%s HTTP/1.1\r\nHost: x\r\n\r\n", cases[i].query);
        (void)buf_printf(&want, ",\"queryStringParameters\":%s,\"requestContext\"", cases[i].parameters);
        assert_event(text.data, text.len, want.data);
        buf_clear(&want);
        (void)buf_printf(&want, "\"rawQueryString\":\"%s\"", cases[i].query);
        assert_event(text.data, text.len, want.data);
    }
    assert_no_event_has(GET("/"), "queryStringParameters");
    assert_no_event_has(GET("/?"), "queryStringParameters");
    assert_no_event_has(GET("/?&"), "queryStringParameters");
    assert_event(GET("/"), strlen(GET("/")), "\"rawQueryString\":\"\",");
}

static void test_thousands_of_parameters_are_joined_in_their_order(void **state)
{
    (void)state;
    AUTO_BUF struct buf text = BUF_INIT(TEXT_MAX), want = BUF_INIT(TEXT_MAX);

    (void)buf_puts(&text, "GET /?");
    (void)buf_puts(&want, "{\"k0\":\"0");
    for (int i = 0; i < 4000; i++)
        (void)buf_printf(&text, "k%d=%d&", i % 2 * i, i);
    for (int i = 2; i < 4000; i += 2)
        (void)buf_printf(&want, ",%d", i);
    (void)buf_puts(&want, "\",\"k1\":\"1\",\"k3\":\"3\",\"k5\"");
    (void)buf_puts(&text, " HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_event(text.data, text.len, want.data);
}

static void test_cookies_are_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *headers, *cookies;
    } cases[] = {
        { "Cookie: a=b\r\n", "[\"a=b\"]" },
        { "cookie: a=b;c=d;  e\r\n", "[\"a=b\",\"c=d\",\"e\"]" },
        { "Cookie: a=b; c=d\r\nX: y\r\nCOOKIE: e=f;\r\n", "[\"a=b\",\"c=d\",\"e=f\"]" },
        { "Cookie: a=\"b, c\"\r\n", "[\"a=\\\"b, c\\\"\"]" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        AUTO_BUF struct buf text = BUF_INIT(1000), want = BUF_INIT(1000);

        (void)buf_printf(&text, "GET / HTTP/1.1\r\nHost: x\r\n%s\r\n", cases[i].headers);
        (void)buf_printf(&want, ",\"cookies\":%s,\"headers\":{\"host\"", cases[i].cookies);
        assert_event(text.data, text.len, want.data);
        assert_no_event_has(text.data, "\"cookie\"");
    }
    assert_no_event_has(GET("/"), "cookies");
    assert_no_event_has("GET / HTTP/1.1\r\nHost: x\r\nCookie: ; \r\n\r\n", "cookies");
}

static void test_headers_are_lowered_joined_and_filtered(void **state)
{
    (void)state;
    static const char text[] =
        "GET / HTTP/1.1\r\nHost: evil\r\nX-A: 1\r\nConnection: keep-alive, x-a\r\nx-a: \"2\"\r\n"
        "Keep-Alive: 5\r\nTE: trailers\r\nUpgrade: h2c\r\nProxy-Authorization: p\r\n"
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 1\r\n"
        "X-Amzn-Trace-Id: forged\r\nX-Amzn-Tls-Version: forged\r\nX-B: \xc3\xa9\xe9\r\nX-A:\r\n\r\n";
    static struct fixture f;

    assert_event(text, sizeof text - 1,
                 "\"headers\":{\"host\":\"abc.lambda-url.us-east-1.localhost:9000\",\"x-a\":\"1,\\\"2\\\",\","
                 "\"x-b\":\"\xc3\xa9\xef\xbf\xbd\"," FORWARDED);
    begin(&f, text, sizeof text - 1);
    f.event.scheme = "https";
    f.event.trace_id = NULL;
    f.event.tls_version = "TLSv1.3";
    f.event.tls_cipher = "TLS_AES_128_GCM_SHA256";
    assert_int_equal(url_event_write(&f.event, &f.out), 0);
    assert_non_null(strstr(f.out.data, "\"x-forwarded-proto\":\"https\",\"x-amzn-tls-version\":\"TLSv1.3\","
                                       "\"x-amzn-tls-cipher-suite\":\"TLS_AES_128_GCM_SHA256\"}"));
    buf_done(&f.out);
}

static void test_bodies_are_text_or_base64(void **state)
{
    (void)state;
    static const struct {
        const char *type, *body, *want;
    } cases[] = {
        { "text/plain", "a\"b\n", "\"body\":\"a\\\"b\\n\",\"isBase64Encoded\":false}" },
        { "TEXT/Html; charset=utf-8", "<>", "\"body\":\"<>\",\"isBase64Encoded\":false}" },
        { "application/json", "{}", "\"body\":\"{}\",\"isBase64Encoded\":false}" },
        { "application/JSON ;x", "{}", "\"body\":\"{}\",\"isBase64Encoded\":false}" },
        { "application/xml", "<a/>", "\"body\":\"<a/>\",\"isBase64Encoded\":false}" },
        { "application/javascript", "f()", "\"body\":\"f()\",\"isBase64Encoded\":false}" },
        { "application/jsonx", "{}", "\"body\":\"e30=\",\"isBase64Encoded\":true}" },
        { "application/ld+json", "{}", "\"body\":\"e30=\",\"isBase64Encoded\":true}" },
        { "application/x-www-form-urlencoded", "a=b", "\"body\":\"YT1i\",\"isBase64Encoded\":true}" },
        { "multipart/form-data; boundary=x", "a", "\"body\":\"YQ==\",\"isBase64Encoded\":true}" },
        { "application/octet-stream", "ab", "\"body\":\"YWI=\",\"isBase64Encoded\":true}" },
        { "text", "ab", "\"body\":\"YWI=\",\"isBase64Encoded\":true}" },
        { "text/plain", "a\xff", "\"body\":\"Yf8=\",\"isBase64Encoded\":true}" },
        { "text/plain", "01234567890\xc3\xa9\xe2\x82\xac", "\"body\":\"01234567890\xc3\xa9\xe2\x82\xac\"," },
        { "text/plain", "", "\"timeEpoch\":1768478400123},\"isBase64Encoded\":false}" },
        { NULL, "ab", "\"body\":\"YWI=\",\"isBase64Encoded\":true}" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        AUTO_BUF struct buf text = BUF_INIT(1000);

        (void)buf_printf(&text, "POST / HTTP/1.1\r\nHost: x\r\n%s%s%sContent-Length: %zu\r\n\r\n%s",
                         cases[i].type ? "Content-Type: " : "", cases[i].type ? cases[i].type : "",
                         cases[i].type ? "\r\n" : "", strlen(cases[i].body), cases[i].body);
        assert_event(text.data, text.len, cases[i].want);
    }
}

static void test_a_chunked_body_gets_a_length(void **state)
{
    (void)state;
    static const char text[] =
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n"
        "3\r\nabc\r\n0\r\nx: y\r\n\r\n";

    assert_event(text, sizeof text - 1,
                 "\"headers\":{\"host\":\"abc.lambda-url.us-east-1.localhost:9000\",\"content-length\":\"3\","
                 "\"x-forwarded-for\"");
    assert_event(text, sizeof text - 1, "\"body\":\"YWJj\"");
}

static void test_optional_things_are_left_out(void **state)
{
    (void)state;
    static const char text[] = "GET http://x HTTP/1.0\r\n\r\n";

    assert_no_event_has(text, "userAgent");
    assert_no_event_has(text, "authorizer");
    assert_no_event_has(text, "\"body\"");
    assert_no_event_has(text, "tls");
    assert_event(text, sizeof text - 1, "\"protocol\":\"HTTP/1.0\"");
    assert_event(text, sizeof text - 1, "\"rawPath\":\"/\"");
}

static void test_the_time_is_right_on_every_day(void **state)
{
    (void)state;
    static struct fixture f;

    begin(&f, GET("/"), strlen(GET("/")));
    for (uint64_t day = 0; day < 60000; day += 13) {
        char want[60];

        f.event.now_ms = (day * 86400 + day % 86400) * 1000 + 999;
        clock_format(f.event.now_ms, "\"time\":\"%d/%b/%Y:%H:%M:%S +0000\"", want, sizeof want);
        buf_clear(&f.out);
        assert_int_equal(url_event_write(&f.event, &f.out), 0);
        if (!strstr(f.out.data, want))
            fail_msg("no %s in %s", want, f.out.data);
    }
    buf_done(&f.out);
}

static void test_an_event_larger_than_allowed_is_refused(void **state)
{
    (void)state;
    static struct fixture f;

    begin(&f, GET("/?a=1&a=2"), strlen(GET("/?a=1&a=2")));
    assert_int_equal(url_event_write(&f.event, &f.out), 0);
    for (size_t max = 0; max <= f.out.len; max++) {
        struct buf out = BUF_INIT(max);

        assert_int_equal(url_event_write(&f.event, &out), max < f.out.len ? -EMSGSIZE : 0);
        buf_done(&out);
    }
    buf_done(&f.out);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_event),
        cmocka_unit_test(test_identity_is_told_and_its_proof_is_not),
        cmocka_unit_test(test_queries_are_decoded_and_joined),
        cmocka_unit_test(test_thousands_of_parameters_are_joined_in_their_order),
        cmocka_unit_test(test_cookies_are_taken_apart),
        cmocka_unit_test(test_headers_are_lowered_joined_and_filtered),
        cmocka_unit_test(test_bodies_are_text_or_base64),
        cmocka_unit_test(test_a_chunked_body_gets_a_length),
        cmocka_unit_test(test_optional_things_are_left_out),
        cmocka_unit_test(test_the_time_is_right_on_every_day),
        cmocka_unit_test(test_an_event_larger_than_allowed_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
