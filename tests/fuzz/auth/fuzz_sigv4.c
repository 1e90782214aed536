/*
 * A request whose parts are lines of the input: method, path, query, body, then "Name: value" headers. Signed
 * with nothing known, so that OK is only possible by a forged signature: that aborts.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "auth/credentials_priv.h"
#include "auth/sigv4.h"
#include "base/text.h"

enum { MAX_HEADERS = 40 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct credentials *credentials;

struct line {
    const char *data;
    size_t len;
};

static struct line next_line(const char **at, const char *end)
{
    struct line line = { *at, 0 };

    while (*at < end && **at != '\n') {
        (*at)++;
        line.len++;
    }
    if (*at < end)
        (*at)++;
    return line;
}

static size_t read_headers(const char *at, const char *end, struct sigv4_header *headers)
{
    size_t count = 0;

    while (at < end && count < MAX_HEADERS) {
        struct line line = next_line(&at, end);
        const char *colon = memchr(line.data, ':', line.len);

        if (!colon)
            continue;
        headers[count++] = (struct sigv4_header){ line.data, (size_t)(colon - line.data), colon + 1,
                                                  line.len - (size_t)(colon - line.data) - 1 };
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *at = (const char *)data, *end = at + size;
    struct line method = next_line(&at, end), path = next_line(&at, end), query = next_line(&at, end);
    struct line body = next_line(&at, end);
    struct sigv4_header headers[MAX_HEADERS];
    struct sigv4_request request = { method.data, method.len, path.data, path.len,  query.data,
                                     query.len,   headers,    0,         body.data, body.len };
    struct sigv4_expect expect = { "eu-west-1", "lambda", 1768478400000ull, 300 };
    struct principal principal;
    enum sigv4_status status;
    char message[512];

    if (!credentials) {
        struct credential_match match = { .principal = { .access_key = "AKIDEXAMPLE" },
                                          .secret = "a secret that no corpus was signed with" };

        credentials = credentials_new();
        if (!credentials || credentials_add(credentials, &match) < 0)
            return 0;
    }
    request.header_count = read_headers(at, end, headers);
    (void)sigv4_is_signed(&request);
    status = sigv4_verify(&request, &expect, credentials, &principal, message, sizeof message);
    assert(status != SIGV4_OK && strnlen(message, sizeof message) < sizeof message);
    (void)status;
    return 0;
}
