#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "http/parser.h"

enum { FIELDS_MAX = 64 };

static const struct http_limits limits = { .max_line_bytes = 100, .max_header_bytes = 300, .max_headers = 8 };

struct parsed {
    struct http_parser parser;
    struct http_header fields[FIELDS_MAX];
    char data[4096];
    size_t len;
};

/* Parses text as it would come in pieces of so many bytes, each time at another place in memory. */
static enum http_step parse(struct parsed *parsed, const char *text, size_t len, size_t piece,
                            uint64_t body_limit)
{
    struct http_parser *parser = &parsed->parser;
    static char other[4096];
    char *data = parsed->data;
    enum http_step step = HTTP_MORE;
    size_t fed = 0;

    *parser = (struct http_parser){ .fields = parsed->fields, .field_cap = FIELDS_MAX };
    http_parser_begin(parser, &limits);
    parsed->len = 0;
    for (;;) {
        step = http_parser_step(parser, data, &parsed->len);
        if (step == HTTP_HEAD)
            parser->body_limit = body_limit;
        else if (step != HTTP_MORE || fed == len)
            return step;
        if (step == HTTP_MORE) {
            size_t n = len - fed < piece ? len - fed : piece;
            char *next = data == other ? parsed->data : other;

            memcpy(next, data, parsed->len);
            memcpy(next + parsed->len, text + fed, n);
            memset(data, '#', parsed->len);
            data = next;
            fed += n;
            parsed->len += n;
        }
    }
}

static void assert_slice(struct http_slice slice, const char *text)
{
    assert_int_equal(slice.len, strlen(text));
    if (slice.len > 0)
        assert_memory_equal(slice.at, text, slice.len);
}

static const size_t pieces[] = { 1, 2, 3, 7, 4096 };

#define each_piece(piece) \
    for (const size_t *piece = pieces; piece < pieces + sizeof pieces / sizeof pieces[0]; piece++)

static void test_every_part_of_a_head_is_found(void **state)
{
    (void)state;
    static const char text[] =
        "POST /a/b?c=d?e HTTP/1.1\r\nHost: x.y:80\r\nConnection: foo ,CLOSE\r\nEmpty:\r\n"
        "Content-Length:  3 \r\n\r\nabcGET";
    each_piece(piece)
    {
        struct parsed parsed;
        const struct http_request *request = &parsed.parser.request;

        assert_int_equal(parse(&parsed, text, sizeof text - 1, *piece, 10), HTTP_DONE);
        assert_slice(request->method, "POST");
        assert_slice(request->target, "/a/b?c=d?e");
        assert_slice(request->path, "/a/b");
        assert_true(request->has_query);
        assert_slice(request->query, "c=d?e");
        assert_slice(request->host, "x.y:80");
        assert_int_equal(request->minor, 1);
        assert_int_equal(request->header_count, 4);
        assert_slice(request->headers[3].name, "Content-Length");
        assert_slice(*http_request_header(request, "content-length"), "3");
        assert_slice(*http_request_header(request, "EMPTY"), "");
        assert_null(http_request_header(request, "emptyx"));
        assert_false(request->keep_alive);
        assert_true(request->has_length);
        assert_int_equal(request->length, 3);
        assert_int_equal(request->body_len, 3);
        assert_memory_equal(request->body, "abc", 3);
        assert_int_equal(parsed.parser.used, sizeof text - 4);
    }
}

static void test_chunks_are_joined_and_trailers_kept(void **state)
{
    (void)state;
    static const char text[] =
        "\r\nPOST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\n00A;x;y=\"z z\"\r\n0123456789\r\n0\r\nX-A: 1\r\nX-B:\t2 \r\n\r\nGET /";
    each_piece(piece)
    {
        struct parsed parsed;
        const struct http_request *request = &parsed.parser.request;

        assert_int_equal(parse(&parsed, text, sizeof text - 1, *piece, 13), HTTP_DONE);
        assert_true(request->chunked);
        assert_int_equal(request->body_len, 13);
        assert_memory_equal(request->body, "abc0123456789", 13);
        assert_int_equal(request->header_count, 2);
        assert_int_equal(request->trailer_count, 2);
        assert_slice(request->trailers[0].name, "X-A");
        assert_slice(request->trailers[1].value, "2");
        if (*piece == 4096) /* what follows lies behind the message */
            assert_memory_equal(request->body - parsed.parser.head_len + parsed.parser.used, "GET /", 5);
    }
}

static void test_absolute_form_gives_host_and_path(void **state)
{
    (void)state;
    static const struct {
        const char *target, *host, *path, *query;
    } cases[] = {
        { "http://h:1/p?q", "h:1", "/p", "q" },
        { "HTTPS://h:1", "h:1", "/", "" },
        { "http://h:1?q", "h:1", "/", "q" },
        { "http://h:1/", "h:1", "/", "" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct parsed parsed;
        char text[200] = "GET ";

        strncat(text, cases[i].target, 50);
        strncat(text, " HTTP/1.1\r\nHost: H:1\r\n\r\n", 50);
        each_piece(piece)
        {
            assert_int_equal(parse(&parsed, text, strlen(text), *piece, 0), HTTP_DONE);
            assert_slice(parsed.parser.request.host, cases[i].host);
            assert_slice(parsed.parser.request.path, cases[i].path);
            assert_slice(parsed.parser.request.query, cases[i].query);
        }
    }
}

static void test_keep_alive_follows_version_and_connection(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool keep_alive;
    } cases[] = {
        { "GET / HTTP/1.1\r\nHost: x\r\n\r\n", true },
        { "GET / HTTP/1.0\r\n\r\n", false },
        { "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true },
        { "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, close\r\n\r\n", false },
        { "GET / HTTP/1.1\r\nHost: x\r\nConnection: closed\r\n\r\n", true },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct parsed parsed;

        assert_int_equal(parse(&parsed, cases[i].text, strlen(cases[i].text), 4096, 0), HTTP_DONE);
        assert_int_equal(parsed.parser.request.keep_alive, cases[i].keep_alive);
    }
}

#define LINE(n) "GET /" n " HTTP/1.1\r\nHost: x\r\n\r\n"
#define A10     "aaaaaaaaaa"
#define A50     A10 A10 A10 A10 A10

static void test_limits_have_their_own_status(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int status; /* 0: fine */
    } cases[] = {
        { LINE(A50 A10 A10 A10 "aaaa"), 0 },
        { LINE(A50 A10 A10 A10 "aaaaa"), 414 },
        { "GET / HTTP/1.1\r\nHost: x\r\nA: " A50 A50 A50 A50 A50 A10 A10 A10 "aaaa\r\n\r\n", 0 },
        { "GET / HTTP/1.1\r\nHost: x\r\nA: " A50 A50 A50 A50 A50 A10 A10 A10 "aaaaa\r\n\r\n", 431 },
        { "GET / HTTP/1.1\r\nHost: x\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\n\r\n", 0 },
        { "GET / HTTP/1.1\r\nHost: x\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\n\r\n", 431 },
        { "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
          "chunked\r\n\r\n0\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\n\r\n",
          0 },
        { "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
          "chunked\r\n\r\n0\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\n"
          "\r\n",
          431 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        each_piece(piece)
        {
            struct parsed parsed;
            enum http_step step = parse(&parsed, cases[i].text, strlen(cases[i].text), *piece, 0);

            assert_int_equal(step, cases[i].status ? HTTP_BAD : HTTP_DONE);
            assert_int_equal(parsed.parser.error_status, cases[i].status);
        }
    }
}

static void test_a_body_over_its_limit_is_known_at_once(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nB\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n6\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nffffffffffffffff\r\n",
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        each_piece(piece)
        {
            struct parsed parsed;

            assert_int_equal(parse(&parsed, cases[i], strlen(cases[i]), *piece, 10), HTTP_TOO_LARGE);
        }
    }
}

static void test_fields_are_asked_for_when_there_are_too_few(void **state)
{
    (void)state;
    char text[] =
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: y\r\n\r\n";
    size_t len = sizeof text - 1;
    struct http_parser parser = { 0 };

    http_parser_begin(&parser, &limits);
    assert_int_equal(http_parser_step(&parser, text, &len), HTTP_FIELDS);
    assert_int_equal(parser.fields_needed, 2);
    parser.fields = calloc(2, sizeof *parser.fields);
    parser.field_cap = 2;
    assert_int_equal(http_parser_step(&parser, text, &len), HTTP_HEAD);
    parser.body_limit = 1;
    assert_int_equal(http_parser_step(&parser, text, &len), HTTP_FIELDS);
    assert_int_equal(parser.fields_needed, 3);
    parser.fields = realloc(parser.fields, 3 * sizeof *parser.fields);
    parser.field_cap = 3;
    assert_int_equal(http_parser_step(&parser, text, &len), HTTP_DONE);
    assert_slice(parser.request.headers[1].value, "chunked");
    assert_slice(parser.request.trailers[0].value, "y");
    free(parser.fields);
}

static void test_missing_says_what_is_still_to_come(void **state)
{
    (void)state;
    static const char text[] = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab";
    struct parsed parsed;

    assert_int_equal(parse(&parsed, text, sizeof text - 1, 4096, 9), HTTP_MORE);
    assert_int_equal(parsed.parser.missing, 7);
}

static void test_long_header_lines_are_asked_about(void **state)
{
    (void)state;
    char text[] = "GET / HTTP/1.1\r\nHost: x\r\nA: bbbbbbbbbbbbbbbbbbbb\r\n\r\n";
    struct http_limits small = {
        .max_line_bytes = 100, .max_header_bytes = 20, .max_headers = 8, .ask = true
    };
    struct http_header fields[8];
    struct http_parser parser = { .fields = fields, .field_cap = 8 };
    size_t len = strlen(text);

    http_parser_begin(&parser, &small);
    assert_int_equal(http_parser_step(&parser, text, &len), HTTP_LONG);
    parser.limits.max_header_bytes = 100;
    assert_int_equal(http_parser_step(&parser, text, &len), HTTP_HEAD);
    assert_int_equal(parser.request.header_count, 2);
    http_parser_begin(&parser, &small);
    assert_int_equal(http_parser_step(&parser, text, &len), HTTP_LONG);
    parser.limits.ask = false;
    assert_int_equal(http_parser_step(&parser, text, &len), HTTP_BAD);
    assert_int_equal(parser.error_status, 431);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_part_of_a_head_is_found),
        cmocka_unit_test(test_chunks_are_joined_and_trailers_kept),
        cmocka_unit_test(test_absolute_form_gives_host_and_path),
        cmocka_unit_test(test_keep_alive_follows_version_and_connection),
        cmocka_unit_test(test_limits_have_their_own_status),
        cmocka_unit_test(test_a_body_over_its_limit_is_known_at_once),
        cmocka_unit_test(test_fields_are_asked_for_when_there_are_too_few),
        cmocka_unit_test(test_missing_says_what_is_still_to_come),
        cmocka_unit_test(test_long_header_lines_are_asked_about),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
