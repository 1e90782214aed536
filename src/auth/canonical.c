#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "auth/sigv4_priv.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/text.h"

enum { HMAC_BLOCK_BYTES = 64, HMAC_MAX_TEXT_BYTES = 4096, USUAL_BYTES = 1000 };

const char sigv4_algorithm[] = "AWS4-HMAC-SHA256";
const char sigv4_terminator[] = "aws4_request";

/* Looked up once for the life of the process: by name, OpenSSL 3 searches its providers for every hash. */
static EVP_MD *sha256_method;
static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;

static void find_sha256(void)
{
    sha256_method = EVP_MD_fetch(NULL, "SHA256", NULL);
}

static bool sha256(const void *data, size_t len, unsigned char out[SIGV4_HASH_BYTES])
{
    (void)pthread_once(&sha256_once, find_sha256);
    return sha256_method && EVP_Digest(len > 0 ? data : "", len, out, NULL, sha256_method, NULL) == 1;
}

void sigv4_sha256_hex(const void *data, size_t len, char out[SIGV4_HEX_BYTES])
{
    unsigned char hash[SIGV4_HASH_BYTES];

    /* Fails only without memory or without SHA-256; a hash of zeros then belongs to no signature. */
    if (!sha256(data, len, hash))
        memset(hash, 0, sizeof hash);
    text_hex(hash, sizeof hash, out);
}

static bool is_unreserved(unsigned char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '~';
}

static void encode_byte(unsigned char c, struct buf *out)
{
    static const char hex[] = "0123456789ABCDEF";

    if (is_unreserved(c))
        (void)buf_putc(out, (char)c);
    else
        (void)buf_append(out, (char[]){ '%', hex[c >> 4], hex[c & 15] }, 3);
}

/* Appends text with what is neither unreserved nor keep encoded. */
static void encode(const char *text, size_t len, char keep, struct buf *out)
{
    size_t start = 0;

    for (size_t i = 0; i < len; i++) {
        if (text[i] == keep || is_unreserved((unsigned char)text[i]))
            continue;
        (void)buf_append(out, text + start, i - start);
        encode_byte((unsigned char)text[i], out);
        start = i + 1;
    }
    (void)buf_append(out, text + start, len - start);
}

void sigv4_encode(const char *text, size_t len, struct buf *out)
{
    encode(text, len, 'a', out);
}

/* Appends "/segment" for each segment that counts; returns with an empty buffer for the root. */
static void normalise_path(const char *path, size_t len, struct buf *out)
{
    size_t at = 0;

    while (at < len) {
        const char *end = memchr(path + at, '/', len - at);
        size_t size = end ? (size_t)(end - path) - at : len - at;
        const char *segment = path + at;

        at += size + 1;
        if (size == 0 || (size == 1 && segment[0] == '.'))
            continue;
        if (size == 2 && segment[0] == '.' && segment[1] == '.') {
            while (out->len > 0 && out->data[--out->len] != '/')
                ;
            continue;
        }
        (void)buf_putc(out, '/');
        (void)buf_append(out, segment, size);
    }
}

/* Dot segments and double slashes go, then everything is encoded once more: the path came encoded already. */
static int canonical_path(const char *path, size_t len, struct buf *out)
{
    AUTO_BUF struct buf plain = BUF_INIT(len + 1);

    normalise_path(path, len, &plain);
    if (plain.failed)
        return -ENOMEM;
    if (plain.len == 0 || path[len - 1] == '/')
        (void)buf_putc(&plain, '/');
    if (plain.failed)
        return -ENOMEM;
    encode(plain.data, plain.len, '/', out);
    return 0;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decodes and encodes again, so that %2f, %2F and / are the same. A '+' is a plus: SigV4 knows no forms. */
static void recode(const char *text, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len; i++) {
        int high = text[i] == '%' && i + 2 < len ? hex_value(text[i + 1]) : -1;
        int low = high >= 0 ? hex_value(text[i + 2]) : -1;

        if (low >= 0) {
            encode_byte((unsigned char)(high << 4 | low), out);
            i += 2;
        } else {
            encode_byte((unsigned char)text[i], out);
        }
    }
}

/* Places in the buffer of encoded names and values. */
struct parameter {
    size_t name, name_len, value, value_len;
};

static int compare_bytes(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t least = a_len < b_len ? a_len : b_len;
    int order = least > 0 ? memcmp(a, b, least) : 0;

    return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

static int compare_parameters(const void *left, const void *right, void *ctx)
{
    const struct parameter *a = left, *b = right;
    const char *text = ctx;
    int order = compare_bytes(text + a->name, a->name_len, text + b->name, b->name_len);

    return order != 0 ? order : compare_bytes(text + a->value, a->value_len, text + b->value, b->value_len);
}

static void add_parameter(const char *text, size_t len, struct buf *encoded, struct parameter *to)
{
    const char *equals = memchr(text, '=', len);
    size_t name_len = equals ? (size_t)(equals - text) : len;

    to->name = encoded->len;
    recode(text, name_len, encoded);
    to->name_len = encoded->len - to->name;
    to->value = encoded->len;
    if (equals)
        recode(equals + 1, len - name_len - 1, encoded);
    to->value_len = encoded->len - to->value;
}

static size_t count_parameters(const char *query, size_t len)
{
    size_t count = 1;

    for (size_t i = 0; i < len; i++)
        count += query[i] == '&';
    return count;
}

static int canonical_query(const struct sigv4_request *request, bool skip_signature, struct buf *out)
{
    static const char signature[] = "X-Amz-Signature";
    size_t room = count_parameters(request->query, request->query_len), count = 0, at = 0;
    AUTO_BUF struct buf encoded = BUF_INIT(request->query_len * 3 + 1);
    AUTO_FREE struct parameter *list = NULL;

    if (request->query_len == 0)
        return 0;
    if (room > SIGV4_MAX_PARAMETERS)
        return -E2BIG;
    list = calloc(room, sizeof *list);
    if (!list || buf_reserve(&encoded, request->query_len) < 0)
        return -ENOMEM;
    while (at < request->query_len) {
        const char *text = request->query + at, *end = memchr(text, '&', request->query_len - at);
        size_t len = end ? (size_t)(end - text) : request->query_len - at;

        at += len + 1;
        if (len == 0)
            continue;
        add_parameter(text, len, &encoded, &list[count]);
        if (encoded.failed)
            return -ENOMEM;
        if (!skip_signature || list[count].name_len != sizeof signature - 1 ||
            memcmp(encoded.data + list[count].name, signature, sizeof signature - 1) != 0)
            count++;
    }
    qsort_r(list, count, sizeof *list, compare_parameters, encoded.data);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            (void)buf_putc(out, '&');
        (void)buf_append(out, encoded.data + list[i].name, list[i].name_len);
        (void)buf_putc(out, '=');
        (void)buf_append(out, encoded.data + list[i].value, list[i].value_len);
    }
    return 0;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Outer blanks go, inner runs become one: what is between the words of a value is not signed. */
static void canonical_value(const char *value, size_t len, struct buf *out)
{
    size_t start = out->len, at = 0;

    while (at < len) {
        size_t word = at;

        while (at < len && !is_blank(value[at]))
            at++;
        if (at > word && out->len > start)
            (void)buf_putc(out, ' ');
        (void)buf_append(out, value + word, at - word);
        while (at < len && is_blank(value[at]))
            at++;
    }
}

static int canonical_header(const struct sigv4_request *request, const char *name, size_t len,
                            struct buf *out)
{
    bool found = false;

    (void)buf_append(out, name, len);
    (void)buf_putc(out, ':');
    for (size_t i = 0; i < request->header_count; i++) {
        const struct sigv4_header *header = &request->headers[i];

        /* name is lower case (sigv4_names_ok), but not NUL-terminated. */
        if (header->name_len != len || strncasecmp(header->name, name, len) != 0)
            continue;
        if (found)
            (void)buf_putc(out, ',');
        canonical_value(header->value, header->value_len, out);
        found = true;
    }
    (void)buf_putc(out, '\n');
    return found ? 0 : -ENOENT;
}

static int canonical_headers(const struct sigv4_canonical *canonical, struct buf *out)
{
    const char *names = canonical->signed_headers;
    size_t at = 0, count = 0;

    while (at < canonical->signed_headers_len) {
        const char *end = memchr(names + at, ';', canonical->signed_headers_len - at);
        size_t len = end ? (size_t)(end - names) - at : canonical->signed_headers_len - at;
        int result;

        if (++count > SIGV4_MAX_SIGNED)
            return -E2BIG;
        result = canonical_header(canonical->request, names + at, len, out);
        if (result < 0)
            return result;
        at += len + 1;
    }
    return 0;
}

int sigv4_canonical(const struct sigv4_canonical *canonical, struct buf *out)
{
    const struct sigv4_request *request = canonical->request;
    int result;

    (void)buf_reserve(out, USUAL_BYTES);
    (void)buf_append(out, request->method, request->method_len);
    (void)buf_putc(out, '\n');
    result = canonical_path(request->path, request->path_len, out);
    if (result < 0)
        return result;
    (void)buf_putc(out, '\n');
    result = canonical_query(request, canonical->skip_signature, out);
    if (result < 0)
        return result;
    (void)buf_putc(out, '\n');
    result = canonical_headers(canonical, out);
    if (result < 0)
        return result;
    (void)buf_putc(out, '\n');
    (void)buf_append(out, canonical->signed_headers, canonical->signed_headers_len);
    (void)buf_putc(out, '\n');
    (void)buf_append(out, canonical->payload_hash, canonical->payload_hash_len);
    return out->failed ? -EMSGSIZE : 0;
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || c == '-' || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("_.!#$%&'*+^`|~", c));
}

bool sigv4_names_ok(const char *names, size_t len)
{
    size_t word = 0, count = 1;

    for (size_t i = 0; i < len; i++) {
        if (names[i] == ';') {
            if (word == 0 || ++count > SIGV4_MAX_SIGNED)
                return false;
            word = 0;
        } else if (is_name_char(names[i])) {
            word++;
        } else {
            return false;
        }
    }
    return word > 0;
}

bool sigv4_names_have(const char *names, size_t len, const char *name)
{
    size_t at = 0, want = strlen(name);

    while (at < len) {
        const char *end = memchr(names + at, ';', len - at);
        size_t size = end ? (size_t)(end - names) - at : len - at;

        if (size == want && memcmp(names + at, name, want) == 0)
            return true;
        at += size + 1;
    }
    return false;
}

/* RFC 2104. By hand, because OpenSSL 3 looks up the HMAC and its hash on every call: that cost more than the
 * hashing. Keys are at most a block here; all of them but "AWS4" + secret are hashes. */
static bool hmac(const void *key, size_t key_len, const char *text, size_t len,
                 unsigned char out[SIGV4_HASH_BYTES])
{
    unsigned char inner[HMAC_BLOCK_BYTES + HMAC_MAX_TEXT_BYTES], outer[HMAC_BLOCK_BYTES + SIGV4_HASH_BYTES];
    bool done;

    if (key_len > HMAC_BLOCK_BYTES || len > HMAC_MAX_TEXT_BYTES)
        return HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)text, len, out, NULL) != NULL;
    memset(inner, 0x36, HMAC_BLOCK_BYTES);
    memset(outer, 0x5c, HMAC_BLOCK_BYTES);
    for (size_t i = 0; i < key_len; i++) {
        inner[i] ^= ((const unsigned char *)key)[i];
        outer[i] ^= ((const unsigned char *)key)[i];
    }
    memcpy(inner + HMAC_BLOCK_BYTES, text, len);
    done =
        sha256(inner, HMAC_BLOCK_BYTES + len, outer + HMAC_BLOCK_BYTES) && sha256(outer, sizeof outer, out);
    OPENSSL_cleanse(inner, HMAC_BLOCK_BYTES);
    OPENSSL_cleanse(outer, sizeof outer);
    return done;
}

int sigv4_signing_key(const char *secret, const struct sigv4_scope *scope,
                      unsigned char out[SIGV4_HASH_BYTES])
{
    unsigned char key[SIGV4_HASH_BYTES];
    char start[4 + 128] = "AWS4";
    size_t len = strnlen(secret, 128);
    bool done;

    memcpy(start + 4, secret, len);
    done = hmac(start, 4 + len, scope->stamp, 8, key) &&
           hmac(key, sizeof key, scope->region, strlen(scope->region), out) &&
           hmac(out, SIGV4_HASH_BYTES, scope->service, strlen(scope->service), key) &&
           hmac(key, sizeof key, sigv4_terminator, strlen(sigv4_terminator), out);
    OPENSSL_cleanse(start, sizeof start);
    OPENSSL_cleanse(key, sizeof key);
    return done ? 0 : -ENOMEM;
}

int sigv4_signature(const unsigned char key[SIGV4_HASH_BYTES], const struct sigv4_scope *scope,
                    const struct buf *canonical, unsigned char out[SIGV4_HASH_BYTES])
{
    AUTO_BUF struct buf text = BUF_INIT(4096);
    char hash[SIGV4_HEX_BYTES];

    sigv4_sha256_hex(canonical->data, canonical->len, hash);
    (void)buf_printf(&text, "%s\n%s\n%.8s/%s/%s/%s\n%s", sigv4_algorithm, scope->stamp, scope->stamp,
                     scope->region, scope->service, sigv4_terminator, hash);
    if (text.failed || !hmac(key, SIGV4_HASH_BYTES, text.data, text.len, out))
        return -ENOMEM;
    return 0;
}
