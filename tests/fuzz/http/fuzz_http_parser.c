/*
 * Messages in any bytes: the outcome must not depend on how the bytes are split, nor on where they lie, and
 * what the parser gives must lie within what it was given.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/parser.h"

enum { FIELDS_MAX = 20, MESSAGES_MAX = 8, SPLIT_MAX = 600 };

static const struct http_limits limits = { .max_line_bytes = 200,
                                           .max_header_bytes = 400,
                                           .max_headers = FIELDS_MAX };

struct outcome {
    enum http_step last;
    int status;
    size_t messages, used;
    uint64_t digest; /* of all that was read */
};

static void digest_slice(struct outcome *outcome, struct http_slice slice)
{
    for (size_t i = 0; i < slice.len; i++)
        outcome->digest = (outcome->digest ^ (unsigned char)slice.at[i]) * 1099511628211u;
    outcome->digest = (outcome->digest ^ 0x100) * 1099511628211u;
}

static void check_within(struct http_slice slice, const char *data, size_t len)
{
    assert(slice.len == 0 || (slice.at >= data && slice.at + slice.len <= data + len));
}

static void digest_request(struct outcome *outcome, const struct http_request *request, const char *data,
                           size_t len)
{
    const struct http_slice slices[] = { request->method, request->target,
                                         request->path,   request->query,
                                         request->host,   { request->body, request->body_len } };

    for (size_t i = 0; i < sizeof slices / sizeof slices[0]; i++) {
        check_within(slices[i], data, len);
        digest_slice(outcome, slices[i]);
    }
    for (size_t i = 0; i < request->header_count + request->trailer_count; i++) {
        const struct http_header *field =
            i < request->header_count ? &request->headers[i] : &request->trailers[i - request->header_count];

        check_within(field->name, data, len);
        check_within(field->value, data, len);
        digest_slice(outcome, field->name);
        digest_slice(outcome, field->value);
    }
    outcome->digest = outcome->digest * 31 + (unsigned)request->minor + (request->keep_alive ? 2u : 0u) +
                      (request->chunked ? 4u : 0u) + (request->expect_continue ? 8u : 0u) + request->length;
}

/* Feeds data[0..first), then step bytes at a time, from fresh memory each time. */
static struct outcome run(const uint8_t *input, size_t size, size_t first, size_t step)
{
    struct http_header *fields = NULL;
    struct http_parser parser = { 0 };
    struct outcome outcome = { .digest = 14695981039346656037u };
    size_t fed = first < size ? first : size, len = fed;
    char *data = malloc(len + 1);

    assert(data);
    memcpy(data, input, len);
    http_parser_begin(&parser, &limits);
    for (;;) {
        outcome.last = http_parser_step(&parser, data, &len);
        if (outcome.last == HTTP_FIELDS) {
            fields = realloc(fields, parser.fields_needed * sizeof *fields);
            assert(fields && parser.fields_needed <= FIELDS_MAX);
            parser.fields = fields;
            parser.field_cap = parser.fields_needed;
        } else if (outcome.last == HTTP_HEAD) {
            parser.body_limit = 300;
        } else if (outcome.last == HTTP_DONE) {
            digest_request(&outcome, &parser.request, data, len);
            assert(parser.used <= len && parser.request.body_len <= 300);
            memmove(data, data + parser.used, len - parser.used);
            len -= parser.used;
            if (++outcome.messages == MESSAGES_MAX)
                break;
            http_parser_begin(&parser, &limits);
        } else if (outcome.last == HTTP_MORE && fed < size) {
            size_t n = size - fed < step ? size - fed : step;
            char *next = malloc(len + n);

            assert(next);
            memcpy(next, data, len);
            memcpy(next + len, input + fed, n);
            free(data);
            data = next;
            len += n;
            fed += n;
        } else {
            break;
        }
    }
    outcome.status = parser.error_status;
    free(data);
    free(fields);
    return outcome;
}

static void assert_same(struct outcome a, struct outcome b)
{
    assert(a.last == b.last && a.status == b.status && a.messages == b.messages && a.digest == b.digest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outcome whole = run(data, size, size, 1);

    assert_same(whole, run(data, size, 0, 1));
    for (size_t i = 1; i < size && size <= SPLIT_MAX; i++)
        assert_same(whole, run(data, size, i, size));
    return 0;
}
