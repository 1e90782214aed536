#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>

#include "auth/sigv4_priv.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"

enum { MAX_CANONICAL_BYTES = 4 * 1024 * 1024, MAX_NAMES_BYTES = 8192, MAX_QUERY_BYTES = 64 * 1024 };

/* Headers that clients do not sign: proxies and libraries add, change or drop them. */
static bool is_unsignable(const char *name, size_t len)
{
    static const char *const names[] = { "authorization",     "connection",      "expect",
                                         "transfer-encoding", "x-amzn-trace-id", "user-agent" };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (text_equal_nocase(name, len, names[i]))
            return true;
    }
    return false;
}

static int compare_names(const void *left, const void *right)
{
    const struct sigv4_header *a = left, *b = right;
    size_t least = a->name_len < b->name_len ? a->name_len : b->name_len;
    int order = strncasecmp(a->name, b->name, least);

    return order != 0 ? order : (a->name_len > b->name_len) - (a->name_len < b->name_len);
}

/* Appends the names of sorted headers, lower case, each once. */
static void list_names(const struct sigv4_header *headers, size_t count, struct buf *out)
{
    for (size_t i = 0; i < count; i++) {
        const struct sigv4_header *header = &headers[i];

        if (is_unsignable(header->name, header->name_len) ||
            (i > 0 && compare_names(&headers[i - 1], header) == 0))
            continue;
        if (out->len > 0)
            (void)buf_putc(out, ';');
        for (size_t k = 0; k < header->name_len; k++) {
            char c = header->name[k];

            (void)buf_putc(out, (char)(c >= 'A' && c <= 'Z' ? c + 32 : c));
        }
    }
}

static int sign_canonical(const struct sigv4_canonical *canonical, const struct sigv4_scope *scope,
                          const char *secret, char out[SIGV4_HEX_BYTES])
{
    AUTO_BUF struct buf text = BUF_INIT(MAX_CANONICAL_BYTES);
    unsigned char key[SIGV4_HASH_BYTES], signature[SIGV4_HASH_BYTES];
    int result = sigv4_canonical(canonical, &text);

    if (result == 0)
        result = sigv4_signing_key(secret, scope, key);
    if (result == 0)
        result = sigv4_signature(key, scope, &text, signature);
    if (result == 0)
        text_hex(signature, sizeof signature, out);
    OPENSSL_cleanse(key, sizeof key);
    return result;
}

static struct sigv4_header header(const char *name, const char *value)
{
    return (struct sigv4_header){ name, strlen(name), value, strlen(value) };
}

int sigv4_sign(const struct sigv4_request *request, const struct sigv4_key *key, const char *region,
               const char *service, uint64_t now_ms, struct buf *out)
{
    AUTO_BUF struct buf names = BUF_INIT(MAX_NAMES_BYTES);
    AUTO_FREE struct sigv4_header *headers = calloc(request->header_count + 3, sizeof *headers);
    AUTO_FREE struct sigv4_header *sorted = calloc(request->header_count + 3, sizeof *sorted);
    char stamp[SIGV4_STAMP_BYTES], hash[SIGV4_HEX_BYTES], signature[SIGV4_HEX_BYTES];
    struct sigv4_scope scope = { stamp, region, service };
    struct sigv4_request whole = *request;
    struct sigv4_canonical canonical = { &whole, false, NULL, 0, hash, sizeof hash - 1 };
    int result;

    if (!headers || !sorted)
        return -ENOMEM;
    clock_format(now_ms, "%Y%m%dT%H%M%SZ", stamp, sizeof stamp);
    sigv4_sha256_hex(request->body, request->body_len, hash);
    if (request->header_count > 0)
        memcpy(headers, request->headers, request->header_count * sizeof *headers);
    whole.headers = headers;
    headers[whole.header_count++] = header("X-Amz-Date", stamp);
    headers[whole.header_count++] = header("X-Amz-Content-Sha256", hash);
    if (key->token)
        headers[whole.header_count++] = header("X-Amz-Security-Token", key->token);
    memcpy(sorted, headers, whole.header_count * sizeof *headers);
    qsort(sorted, whole.header_count, sizeof *sorted, compare_names);
    list_names(sorted, whole.header_count, &names);
    if (names.failed)
        return -EMSGSIZE;
    canonical.signed_headers = names.data;
    canonical.signed_headers_len = names.len;
    result = sign_canonical(&canonical, &scope, key->secret, signature);
    if (result < 0)
        return result;
    (void)buf_printf(out, "Authorization: %s Credential=%s/%.8s/%s/%s/%s, SignedHeaders=%s, Signature=%s\n",
                     sigv4_algorithm, key->access_key, stamp, region, service, sigv4_terminator, names.data,
                     signature);
    (void)buf_printf(out, "X-Amz-Date: %s\nX-Amz-Content-Sha256: %s\n", stamp, hash);
    if (key->token)
        (void)buf_printf(out, "X-Amz-Security-Token: %s\n", key->token);
    return out->failed ? -EMSGSIZE : 0;
}

static void add_parameter(struct buf *query, const char *name, const char *value, size_t len)
{
    (void)buf_printf(query, "%s%s=", query->len > 0 ? "&" : "", name);
    sigv4_encode(value, len, query);
}

static void add_text(struct buf *query, const char *name, const char *value)
{
    add_parameter(query, name, value, strlen(value));
}

int sigv4_presign(const struct sigv4_request *request, const struct sigv4_key *key, const char *region,
                  const char *service, uint64_t now_ms, uint32_t expires_s, struct buf *out)
{
    AUTO_BUF struct buf query = BUF_INIT(MAX_QUERY_BYTES), credential = BUF_INIT(1024);
    char stamp[SIGV4_STAMP_BYTES], hash[SIGV4_HEX_BYTES], signature[SIGV4_HEX_BYTES], expires[16];
    struct sigv4_scope scope = { stamp, region, service };
    struct sigv4_request whole = *request;
    struct sigv4_canonical canonical = { &whole, true, "host", 4, hash, sizeof hash - 1 };
    int result;

    clock_format(now_ms, "%Y%m%dT%H%M%SZ", stamp, sizeof stamp);
    sigv4_sha256_hex("", 0, hash);
    (void)snprintf(expires, sizeof expires, "%u", expires_s);
    (void)buf_printf(&credential, "%s/%.8s/%s/%s/%s", key->access_key, stamp, region, service,
                     sigv4_terminator);
    (void)buf_append(&query, request->query_len > 0 ? request->query : "", request->query_len);
    add_text(&query, "X-Amz-Algorithm", sigv4_algorithm);
    if (credential.failed)
        return -EMSGSIZE;
    add_parameter(&query, "X-Amz-Credential", credential.data, credential.len);
    add_text(&query, "X-Amz-Date", stamp);
    add_text(&query, "X-Amz-Expires", expires);
    if (key->token)
        add_text(&query, "X-Amz-Security-Token", key->token);
    add_text(&query, "X-Amz-SignedHeaders", "host");
    if (query.failed)
        return -EMSGSIZE;
    whole.query = query.data;
    whole.query_len = query.len;
    result = sign_canonical(&canonical, &scope, key->secret, signature);
    if (result < 0)
        return result;
    add_text(&query, "X-Amz-Signature", signature);
    (void)buf_append(out, query.data, query.len);
    return query.failed || out->failed ? -EMSGSIZE : 0;
}
