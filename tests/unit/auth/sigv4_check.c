/*
 * Verifies signed requests from standard input, one answer line each on standard output: "<status code>
 * <message>".
 *
 * Input: the secret lines "access_key secret token-or-dash", then "now_ms region service", then requests. A
 * request is counted fields, each "<length>\n<bytes>\n": method, path, query, header count (as digits), then
 * name and value of each header, then the body.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/credentials_priv.h"
#include "auth/sigv4.h"

enum { MAX_HEADERS = 64 };

struct field {
    char *data;
    size_t len;
};

static bool read_field(struct field *field)
{
    size_t len = 0;

    if (scanf("%zu", &len) != 1 || len > 1000000 || getchar() != '\n')
        return false;
    field->data = malloc(len + 1);
    field->len = len;
    if (!field->data || fread(field->data, 1, len, stdin) != len)
        return false;
    field->data[len] = '\0';
    return getchar() == '\n';
}

static bool read_request(struct sigv4_request *request, struct sigv4_header *headers)
{
    struct field fields[5], name, value;

    if (!read_field(&fields[0]))
        return false;
    for (size_t i = 1; i < 4; i++) {
        if (!read_field(&fields[i]))
            return false;
    }
    request->header_count = strtoul(fields[3].data, NULL, 10);
    free(fields[3].data);
    if (request->header_count > MAX_HEADERS)
        return false;
    for (size_t i = 0; i < request->header_count; i++) {
        if (!read_field(&name) || !read_field(&value))
            return false;
        headers[i] = (struct sigv4_header){ name.data, name.len, value.data, value.len };
    }
    if (!read_field(&fields[4]))
        return false;
    request->method = fields[0].data;
    request->method_len = fields[0].len;
    request->path = fields[1].data;
    request->path_len = fields[1].len;
    request->query = fields[2].data;
    request->query_len = fields[2].len;
    request->headers = headers;
    request->body = fields[4].data;
    request->body_len = fields[4].len;
    return true;
}

static void free_request(const struct sigv4_request *request)
{
    free((char *)(uintptr_t)request->method);
    free((char *)(uintptr_t)request->path);
    free((char *)(uintptr_t)request->query);
    free((char *)(uintptr_t)request->body);
    for (size_t i = 0; i < request->header_count; i++) {
        free((char *)(uintptr_t)request->headers[i].name);
        free((char *)(uintptr_t)request->headers[i].value);
    }
}

int main(void)
{
    struct credentials *credentials = credentials_new();
    struct sigv4_header headers[MAX_HEADERS];
    struct sigv4_request request;
    char region[64], service[64];
    unsigned long long now_ms = 0;
    struct sigv4_expect expect = { region, service, 0, 300 };

    for (int i = 0; i < 2; i++) {
        struct credential_match match = { 0 };

        if (!credentials ||
            scanf("%128s %128s %256s", match.principal.access_key, match.secret, match.token) != 3)
            return 2;
        if (strcmp(match.token, "-") == 0)
            match.token[0] = '\0';
        (void)credentials_add(credentials, &match);
    }
    if (scanf("%llu %63s %63s", &now_ms, region, service) != 3)
        return 2;
    expect.now_ms = now_ms;
    while (read_request(&request, headers)) {
        struct principal principal;
        char message[512];
        enum sigv4_status status =
            sigv4_verify(&request, &expect, credentials, &principal, message, sizeof message);

        (void)printf("%s %s\n", sigv4_status_code(status), message);
        free_request(&request);
    }
    (void)credentials_free(credentials);
    return 0;
}
