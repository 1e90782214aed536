#include "auth/sigv4.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <openssl/crypto.h>

#include "auth/credentials_priv.h"
#include "auth/sigv4_priv.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"

enum { MAX_PRESIGNED_S = 604800, MAX_QUERY_VALUE = 4096, MAX_CANONICAL_BYTES = 4 * 1024 * 1024 };

static const char text_invalid_token[] = "The security token included in the request is invalid.";
static const char text_mismatch[] = "The request signature we calculated does not match the signature you "
                                    "provided. Check your AWS Secret Access Key "
                                    "and signing method. Consult the service documentation for details.";

/* A counted text in the request, or (query form) in proof.decoded. data is NULL when absent. */
struct part {
    const char *data;
    size_t len;
};

/* What a request says about its signature, from either form. */
struct proof {
    bool query_form;
    struct part credential, signed_headers, signature;
    struct part date;    /* as sent */
    struct part expires; /* query form */
    struct part token;
    struct part payload_hash;      /* X-Amz-Content-Sha256 */
    char stamp[SIGV4_STAMP_BYTES]; /* the date in ISO basic form */
    uint64_t time_s;
    struct part access_key, scope_date, region, service, terminator;
    char decoded[MAX_QUERY_VALUE]; /* query form: the parameters, decoded, one after the other */
    size_t decoded_len;
};

struct verify {
    const struct sigv4_request *request;
    const struct sigv4_expect *expect;
    struct proof proof;
    char *message;
    size_t message_size;
};

const char *sigv4_status_code(enum sigv4_status status)
{
    static const char *const codes[SIGV4_STATUS_COUNT] = {
        [SIGV4_OK] = "OK",
        [SIGV4_MISSING] = "MissingAuthenticationTokenException",
        [SIGV4_INCOMPLETE] = "IncompleteSignatureException",
        [SIGV4_UNRECOGNIZED_CLIENT] = "UnrecognizedClientException",
        [SIGV4_INVALID_SIGNATURE] = "InvalidSignatureException",
        [SIGV4_EXPIRED_TOKEN] = "ExpiredTokenException",
    };

    return (unsigned)status < SIGV4_STATUS_COUNT ? codes[status] : "InvalidSignatureException";
}

__attribute__((format(printf, 3, 4))) static enum sigv4_status
refuse(struct verify *verify, enum sigv4_status status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(verify->message, verify->message_size, format, args);
    va_end(args);
    return status;
}

static bool part_is(struct part part, const char *text)
{
    return part.data && part.len == strlen(text) && memcmp(part.data, text, part.len) == 0;
}

static struct part trim(struct part part)
{
    while (part.len > 0 && (part.data[0] == ' ' || part.data[0] == '\t')) {
        part.data++;
        part.len--;
    }
    while (part.len > 0 && (part.data[part.len - 1] == ' ' || part.data[part.len - 1] == '\t'))
        part.len--;
    return part;
}

/* Counts the headers of a name (lower or upper case); ret_part is the first one, trimmed. */
static size_t find_header(const struct sigv4_request *request, const char *name, struct part *ret_part)
{
    size_t count = 0;

    *ret_part = (struct part){ 0 };
    for (size_t i = 0; i < request->header_count; i++) {
        const struct sigv4_header *header = &request->headers[i];

        if (!text_equal_nocase(header->name, header->name_len, name))
            continue;
        if (count++ == 0)
            *ret_part = trim((struct part){ header->value_len > 0 ? header->value : "", header->value_len });
    }
    return count;
}

/* Walks the query; *at starts at 0. Neither name nor value is decoded. */
static bool next_parameter(const struct sigv4_request *request, size_t *at, struct part *ret_name,
                           struct part *ret_value)
{
    const char *text, *end, *equals;
    size_t len;

    if (*at >= request->query_len)
        return false;
    text = request->query + *at;
    end = memchr(text, '&', request->query_len - *at);
    len = end ? (size_t)(end - text) : request->query_len - *at;
    *at += len + 1;
    equals = memchr(text, '=', len);
    *ret_name = (struct part){ text, equals ? (size_t)(equals - text) : len };
    *ret_value = equals ? (struct part){ equals + 1, len - ret_name->len - 1 } : (struct part){ "", 0 };
    return true;
}

/* The name of an X-Amz- parameter, decoded as the canonical query decodes it: an encoded name is the same
 * name. */
static bool amz_name(struct part name, char *out, size_t size)
{
    AUTO_BUF struct buf decoded = BUF_INIT(128);

    if (name.len < 6 || name.len > 96 || (name.data[0] != 'X' && name.data[0] != '%'))
        return false;
    (void)text_percent_decode(name.data, name.len, false, &decoded);
    if (decoded.failed || !text_starts(decoded.data, "X-Amz-") || strlen(decoded.data) >= size)
        return false;
    (void)snprintf(out, size, "%s", decoded.data);
    return true;
}

static bool is_proof_parameter(const char *name)
{
    return strcmp(name, "X-Amz-Algorithm") == 0 || strcmp(name, "X-Amz-Credential") == 0 ||
           strcmp(name, "X-Amz-Signature") == 0;
}

static bool is_query_form(const struct sigv4_request *request)
{
    struct part name, value;
    size_t at = 0;

    while (next_parameter(request, &at, &name, &value)) {
        char plain[64];

        if (amz_name(name, plain, sizeof plain) && is_proof_parameter(plain))
            return true;
    }
    return false;
}

bool sigv4_is_signed(const struct sigv4_request *request)
{
    struct part authorization;

    if (find_header(request, "authorization", &authorization) > 0 && authorization.len >= 5 &&
        memcmp(authorization.data, "AWS4-", 5) == 0)
        return true;
    return is_query_form(request);
}

static enum sigv4_status unsupported_algorithm(struct verify *verify, struct part algorithm)
{
    return refuse(verify, SIGV4_INCOMPLETE, "Unsupported AWS 'algorithm': '%.*s'.",
                  (int)(algorithm.len < 64 ? algorithm.len : 64), algorithm.data);
}

/* One "Key=value" of the Authorization header. */
static enum sigv4_status read_pair(struct verify *verify, struct part authorization, struct part pair)
{
    const char *equals = memchr(pair.data, '=', pair.len);
    struct part key, value, *to;

    if (!equals)
        return refuse(
            verify, SIGV4_INCOMPLETE,
            "'%.*s' not a valid key=value pair (missing equal-sign) in Authorization header: '%.*s'.",
            (int)(pair.len < 128 ? pair.len : 128), pair.data,
            (int)(authorization.len < 256 ? authorization.len : 256), authorization.data);
    key = (struct part){ pair.data, (size_t)(equals - pair.data) };
    value = trim((struct part){ equals + 1, pair.len - key.len - 1 });
    if (part_is(key, "Credential"))
        to = &verify->proof.credential;
    else if (part_is(key, "SignedHeaders"))
        to = &verify->proof.signed_headers;
    else if (part_is(key, "Signature"))
        to = &verify->proof.signature;
    else
        return SIGV4_OK;
    if (to->data)
        return refuse(verify, SIGV4_INCOMPLETE, "Authorization header has '%.*s' more than once.",
                      (int)key.len, key.data);
    *to = value;
    return SIGV4_OK;
}

/* A text that does not begin with an AWS4 algorithm is answered as AWS does: its first word is no pair. */
static enum sigv4_status read_authorization(struct verify *verify, struct part authorization)
{
    const char *blank = memchr(authorization.data, ' ', authorization.len);
    struct part algorithm = { authorization.data,
                              blank ? (size_t)(blank - authorization.data) : authorization.len };
    bool known = part_is(algorithm, sigv4_algorithm);
    size_t at = known ? algorithm.len : 0;

    if (!known && algorithm.len >= 5 && memcmp(algorithm.data, "AWS4-", 5) == 0)
        return unsupported_algorithm(verify, algorithm);
    while (at < authorization.len) {
        struct part pair = { authorization.data + at, 0 };
        enum sigv4_status status;

        while (at + pair.len < authorization.len && pair.data[pair.len] != ',' && pair.data[pair.len] != ' ')
            pair.len++;
        at += pair.len + 1;
        if (pair.len == 0)
            continue;
        status = read_pair(verify, authorization, pair);
        if (status != SIGV4_OK)
            return status;
    }
    return known ? SIGV4_OK : unsupported_algorithm(verify, algorithm);
}

static enum sigv4_status check_header_parts(struct verify *verify, struct part authorization)
{
    const struct proof *proof = &verify->proof;

    if (proof->credential.data && proof->signature.data && proof->signed_headers.data && proof->date.data)
        return SIGV4_OK;
    return refuse(
        verify, SIGV4_INCOMPLETE, "%s%s%s%sAuthorization=%.*s",
        proof->credential.data ? "" : "Authorization header requires 'Credential' parameter. ",
        proof->signature.data ? "" : "Authorization header requires 'Signature' parameter. ",
        proof->signed_headers.data ? "" : "Authorization header requires 'SignedHeaders' parameter. ",
        proof->date.data
            ? ""
            : "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ",
        (int)(authorization.len < 200 ? authorization.len : 200), authorization.data);
}

static enum sigv4_status once(struct verify *verify, const char *name, size_t count)
{
    return count <= 1 ? SIGV4_OK
                      : refuse(verify, SIGV4_INCOMPLETE, "'%s' must not be sent more than once.", name);
}

static enum sigv4_status read_header_form(struct verify *verify, struct part authorization)
{
    struct proof *proof = &verify->proof;
    enum sigv4_status status = read_authorization(verify, authorization);

    if (status != SIGV4_OK)
        return status;
    status = once(verify, "X-Amz-Date", find_header(verify->request, "x-amz-date", &proof->date));
    if (status != SIGV4_OK)
        return status;
    if (!proof->date.data) {
        status = once(verify, "Date", find_header(verify->request, "date", &proof->date));
        if (status != SIGV4_OK)
            return status;
    }
    status = once(verify, "X-Amz-Security-Token",
                  find_header(verify->request, "x-amz-security-token", &proof->token));
    return status != SIGV4_OK ? status : check_header_parts(verify, authorization);
}

/* Decodes value into proof->decoded. */
static bool keep_value(struct proof *proof, struct part value, struct part *to)
{
    AUTO_BUF struct buf decoded = BUF_INIT(MAX_QUERY_VALUE);
    char *place = proof->decoded + proof->decoded_len;

    if (text_percent_decode(value.data, value.len, false, &decoded) < 0 ||
        decoded.len > sizeof proof->decoded - proof->decoded_len)
        return false;
    memcpy(place, decoded.data, decoded.len);
    proof->decoded_len += decoded.len;
    *to = (struct part){ place, decoded.len };
    return true;
}

/* Order: as the messages name them. */
enum {
    QUERY_ALGORITHM,
    QUERY_CREDENTIAL,
    QUERY_DATE,
    QUERY_EXPIRES,
    QUERY_NAMES,
    QUERY_SIGNATURE,
    QUERY_REQUIRED
};

static enum sigv4_status read_query_form(struct verify *verify)
{
    static const char *const names[] = { "X-Amz-Algorithm",      "X-Amz-Credential",    "X-Amz-Date",
                                         "X-Amz-Expires",        "X-Amz-SignedHeaders", "X-Amz-Signature",
                                         "X-Amz-Security-Token", "X-Amz-Content-Sha256" };
    struct proof *proof = &verify->proof;
    struct part algorithm = { 0 }, name, value;
    struct part *const to[] = { &algorithm,      &proof->credential,     &proof->date,
                                &proof->expires, &proof->signed_headers, &proof->signature,
                                &proof->token,   &proof->payload_hash };
    size_t at = 0, count = sizeof names / sizeof names[0];

    proof->query_form = true;
    while (next_parameter(verify->request, &at, &name, &value)) {
        char plain[64];
        size_t i = 0;

        if (!amz_name(name, plain, sizeof plain))
            continue;
        while (i < count && strcmp(plain, names[i]) != 0)
            i++;
        if (i == count)
            continue;
        if (to[i]->data)
            return refuse(verify, SIGV4_INCOMPLETE, "'%s' must not be sent more than once.", names[i]);
        if (!keep_value(proof, value, to[i]))
            return refuse(verify, SIGV4_INCOMPLETE, "The value of '%s' is not valid.", names[i]);
    }
    for (size_t i = 0; i < QUERY_REQUIRED; i++) {
        if (!to[i]->data)
            return refuse(
                verify, SIGV4_INCOMPLETE,
                "AWS query-string parameters must include '%s'. Re-examine the query-string parameters.",
                names[i]);
    }
    return part_is(algorithm, sigv4_algorithm) ? SIGV4_OK : unsupported_algorithm(verify, algorithm);
}

static enum sigv4_status read_proof(struct verify *verify)
{
    struct part authorization, header_hash;
    size_t count = find_header(verify->request, "authorization", &authorization);
    bool query_form = is_query_form(verify->request);
    enum sigv4_status status;

    if (count == 0 && !query_form)
        return refuse(verify, SIGV4_MISSING, "Missing Authentication Token");
    if (count > 1 || (count > 0 && query_form))
        return refuse(verify, SIGV4_INCOMPLETE,
                      "Only one auth mechanism allowed: either the X-Amz-Algorithm query parameter or one "
                      "Authorization header.");
    status = query_form ? read_query_form(verify) : read_header_form(verify, authorization);
    if (status != SIGV4_OK)
        return status;
    status = once(verify, "X-Amz-Content-Sha256",
                  find_header(verify->request, "x-amz-content-sha256", &header_hash));
    if (header_hash.data)
        verify->proof.payload_hash = header_hash;
    return status;
}

/* Two digits at text, or -1. */
static int two_digits(const char *text)
{
    bool digits = text[0] >= '0' && text[0] <= '9' && text[1] >= '0' && text[1] <= '9';

    return digits ? (text[0] - '0') * 10 + (text[1] - '0') : -1;
}

/* Fills proof->time_s from broken-down UTC when all fields are in range. */
static bool set_time(struct proof *proof, struct tm *parts)
{
    struct tm given = *parts;
    time_t seconds = timegm(parts);

    if (seconds < 0 || parts->tm_mday != given.tm_mday || parts->tm_mon != given.tm_mon ||
        parts->tm_hour != given.tm_hour || parts->tm_min != given.tm_min || parts->tm_sec != given.tm_sec)
        return false;
    proof->time_s = (uint64_t)seconds;
    clock_format((uint64_t)seconds * 1000, "%Y%m%dT%H%M%SZ", proof->stamp, sizeof proof->stamp);
    return proof->stamp[0] != '\0';
}

static bool read_iso_date(struct proof *proof, const char *text)
{
    int field[7];
    struct tm parts = { 0 };

    if (text[8] != 'T' || text[15] != 'Z')
        return false;
    for (size_t i = 0; i < 7; i++) {
        field[i] = two_digits(text + 2 * i + (i >= 4));
        if (field[i] < 0)
            return false;
    }
    parts.tm_year = field[0] * 100 + field[1] - 1900;
    parts.tm_mon = field[2] - 1;
    parts.tm_mday = field[3];
    parts.tm_hour = field[4];
    parts.tm_min = field[5];
    parts.tm_sec = field[6];
    return set_time(proof, &parts);
}

/* "Mon, 23 Nov 2026 20:14:32 GMT" (RFC 1123) */
static bool read_http_date(struct proof *proof, const char *text)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm parts = { 0 };
    int century = two_digits(text + 12), year = two_digits(text + 14);

    if (memcmp(text + 3, ", ", 2) != 0 || memcmp(text + 25, " GMT", 4) != 0 || century < 0 || year < 0)
        return false;
    parts.tm_mon = -1;
    for (int i = 0; i < 12; i++) {
        if (memcmp(text + 8, months + (size_t)i * 3, 3) == 0)
            parts.tm_mon = i;
    }
    parts.tm_year = century * 100 + year - 1900;
    parts.tm_mday = two_digits(text + 5);
    parts.tm_hour = two_digits(text + 17);
    parts.tm_min = two_digits(text + 20);
    parts.tm_sec = two_digits(text + 23);
    return parts.tm_mon >= 0 && set_time(proof, &parts);
}

static enum sigv4_status read_date(struct verify *verify)
{
    struct proof *proof = &verify->proof;
    struct part date = proof->date;
    char text[30] = "";

    if (date.len < sizeof text)
        memcpy(text, date.data, date.len);
    if ((date.len == 16 && read_iso_date(proof, text)) ||
        (date.len == 29 && !proof->query_form && read_http_date(proof, text)))
        return SIGV4_OK;
    return refuse(verify, SIGV4_INCOMPLETE, "Date must be in ISO-8601 'basic format'. Got '%.*s'.",
                  (int)(date.len < 64 ? date.len : 64), date.data);
}

/* <access key>/<date>/<region>/<service>/aws4_request */
static enum sigv4_status read_credential(struct verify *verify)
{
    struct proof *proof = &verify->proof;
    struct part *const parts[] = { &proof->access_key, &proof->scope_date, &proof->region, &proof->service,
                                   &proof->terminator };
    struct part rest = proof->credential;
    size_t count = 0;

    for (bool more = true; more; count++) {
        const char *slash = memchr(rest.data, '/', rest.len);
        struct part part = { rest.data, slash ? (size_t)(slash - rest.data) : rest.len };

        if (count < 5)
            *parts[count] = part;
        more = slash != NULL;
        if (more)
            rest = (struct part){ slash + 1, rest.len - part.len - 1 };
    }
    if (count != 5 || proof->access_key.len == 0 || proof->access_key.len > 128)
        return refuse(verify, SIGV4_INCOMPLETE,
                      "Credential must have exactly 5 slash-delimited elements, e.g. "
                      "keyid/date/region/service/term, got '%.*s'",
                      (int)(proof->credential.len < 200 ? proof->credential.len : 200),
                      proof->credential.data);
    return SIGV4_OK;
}

static enum sigv4_status check_scope(struct verify *verify)
{
    const struct proof *proof = &verify->proof;

    if (!part_is(proof->terminator, sigv4_terminator))
        return refuse(verify, SIGV4_INVALID_SIGNATURE,
                      "Credential should be scoped with a valid terminator: '%s'", sigv4_terminator);
    if (proof->scope_date.len != 8 || memcmp(proof->scope_date.data, proof->stamp, 8) != 0)
        return refuse(verify, SIGV4_INVALID_SIGNATURE,
                      "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from "
                      "HTTP: '%.*s' != "
                      "'%.8s', from '%s'.",
                      (int)(proof->scope_date.len < 32 ? proof->scope_date.len : 32), proof->scope_date.data,
                      proof->stamp, proof->stamp);
    if (!part_is(proof->region, verify->expect->region))
        return refuse(verify, SIGV4_INVALID_SIGNATURE, "Credential should be scoped to a valid region. ");
    if (!part_is(proof->service, verify->expect->service))
        return refuse(verify, SIGV4_INVALID_SIGNATURE,
                      "Credential should be scoped to correct service: '%s'. ", verify->expect->service);
    return SIGV4_OK;
}

static bool is_hex64(struct part part)
{
    for (size_t i = 0; i < part.len; i++) {
        char c = part.data[i];

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
    }
    return part.len == 64;
}

static bool is_signed(const struct proof *proof, const char *name)
{
    return sigv4_names_have(proof->signed_headers.data, proof->signed_headers.len, name);
}

/* What decides about the request must be signed when it is sent; other x-amz- headers are often left out. */
static enum sigv4_status check_signed_headers(struct verify *verify)
{
    static const char *const needed[] = { "x-amz-date", "x-amz-security-token", "x-amz-content-sha256",
                                          "x-amz-tenant-id" };
    const struct proof *proof = &verify->proof;
    struct part ignored;

    if (!sigv4_names_ok(proof->signed_headers.data, proof->signed_headers.len))
        return refuse(verify, SIGV4_INCOMPLETE,
                      "SignedHeaders must be lower-case header names joined by ';'.");
    if (!is_hex64(proof->signature))
        return refuse(verify, SIGV4_INCOMPLETE, "Signature must be 64 lower-case hexadecimal digits.");
    if (!is_signed(proof, "host"))
        return refuse(verify, SIGV4_INVALID_SIGNATURE,
                      "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.");
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (find_header(verify->request, needed[i], &ignored) > 0 && !is_signed(proof, needed[i]))
            return refuse(verify, SIGV4_INVALID_SIGNATURE,
                          "'%s' must be a 'SignedHeader' in the AWS Authorization.", needed[i]);
    }
    return SIGV4_OK;
}

static void stamp_of(uint64_t time_s, char out[SIGV4_STAMP_BYTES])
{
    clock_format(time_s * 1000, "%Y%m%dT%H%M%SZ", out, SIGV4_STAMP_BYTES);
}

/* valid_s: how long after its date the signature holds. */
static enum sigv4_status check_window(struct verify *verify, uint64_t valid_s)
{
    const struct proof *proof = &verify->proof;
    uint64_t now = verify->expect->now_ms / 1000, skew = verify->expect->skew_s;
    char text_now[SIGV4_STAMP_BYTES], limit[SIGV4_STAMP_BYTES];

    stamp_of(now, text_now);
    if (proof->time_s + valid_s < now) {
        stamp_of(now - valid_s, limit);
        return refuse(verify, SIGV4_INVALID_SIGNATURE,
                      "Signature expired: %s is now earlier than %s (%s - %llu %s.)", proof->stamp, limit,
                      text_now, (unsigned long long)(valid_s % 60 ? valid_s : valid_s / 60),
                      valid_s % 60 ? "sec" : "min");
    }
    if (proof->time_s > now + skew) {
        stamp_of(now + skew, limit);
        return refuse(verify, SIGV4_INVALID_SIGNATURE,
                      "Signature not yet current: %s is still later than %s (%s + %llu min.)", proof->stamp,
                      limit, text_now, (unsigned long long)(skew / 60));
    }
    return SIGV4_OK;
}

static enum sigv4_status check_time(struct verify *verify)
{
    uint64_t expires = 0;

    if (!verify->proof.query_form)
        return check_window(verify, verify->expect->skew_s);
    if (!text_to_u64(verify->proof.expires.data, verify->proof.expires.len, MAX_PRESIGNED_S, &expires) ||
        expires == 0)
        return refuse(verify, SIGV4_INCOMPLETE, "X-Amz-Expires must be a number of seconds between 1 and %d.",
                      MAX_PRESIGNED_S);
    return check_window(verify, expires);
}

static enum sigv4_status check_token(struct verify *verify, const struct credential_match *match)
{
    struct part token = verify->proof.token;
    size_t len = strlen(match->token);

    /* A token beside a long-term key is refused, as AWS does. */
    if (token.len != len || (len > 0 && CRYPTO_memcmp(token.data, match->token, len) != 0))
        return refuse(verify, SIGV4_UNRECOGNIZED_CLIENT, "%s", text_invalid_token);
    if (match->expires_wall_ms > 0 && verify->expect->now_ms >= match->expires_wall_ms)
        return refuse(verify, SIGV4_EXPIRED_TOKEN, "The security token included in the request is expired");
    return SIGV4_OK;
}

/* Computes what the signature should be; false when that is impossible. */
static bool compute(struct verify *verify, struct credentials *credentials,
                    const struct credential_match *match, struct part payload_hash,
                    unsigned char out[SIGV4_HASH_BYTES])
{
    const struct sigv4_request *request = verify->request;
    const struct proof *proof = &verify->proof;
    struct sigv4_scope scope = { proof->stamp, verify->expect->region, verify->expect->service };
    struct sigv4_canonical canonical = {
        request,           proof->query_form, proof->signed_headers.data, proof->signed_headers.len,
        payload_hash.data, payload_hash.len
    };
    /* The caller's limits hold for the request; three times is what encoding can add. */
    AUTO_BUF struct buf text = BUF_INIT(MAX_CANONICAL_BYTES);
    unsigned char key[SIGV4_HASH_BYTES];
    bool done;

    if (sigv4_canonical(&canonical, &text) < 0)
        return false;
    done = credentials_signing_key(credentials, match, &scope, key) == 0 &&
           sigv4_signature(key, &scope, &text, out) == 0;
    OPENSSL_cleanse(key, sizeof key);
    return done;
}

static enum sigv4_status check_signature(struct verify *verify, struct credentials *credentials,
                                         const struct credential_match *match)
{
    const struct sigv4_request *request = verify->request;
    struct part declared = verify->proof.payload_hash, hash = declared;
    bool declared_hash = declared.data && !part_is(declared, "UNSIGNED-PAYLOAD");
    unsigned char wanted[SIGV4_HASH_BYTES];
    char body_hash[SIGV4_HEX_BYTES], hex[SIGV4_HEX_BYTES];

    if (!declared.data || declared_hash) {
        sigv4_sha256_hex(request->body, request->body_len, body_hash);
        if (!declared.data)
            hash = (struct part){ body_hash, sizeof body_hash - 1 };
    }
    if (!compute(verify, credentials, match, hash, wanted))
        return refuse(verify, SIGV4_INVALID_SIGNATURE, "%s", text_mismatch);
    text_hex(wanted, sizeof wanted, hex);
    if (CRYPTO_memcmp(hex, verify->proof.signature.data, sizeof hex - 1) != 0)
        return refuse(verify, SIGV4_INVALID_SIGNATURE, "%s", text_mismatch);
    if (declared_hash && !part_is(declared, body_hash))
        return refuse(verify, SIGV4_INVALID_SIGNATURE,
                      "The provided 'x-amz-content-sha256' header does not match what was computed.");
    return SIGV4_OK;
}

static enum sigv4_status find_key(struct verify *verify, struct credentials *credentials,
                                  struct credential_match *ret_match)
{
    const struct part key = verify->proof.access_key;

    if (credentials_find(credentials, key.data, key.len, ret_match) < 0)
        return refuse(verify, SIGV4_UNRECOGNIZED_CLIENT, "%s", text_invalid_token);
    return check_token(verify, ret_match);
}

static enum sigv4_status read_head(struct verify *verify)
{
    static enum sigv4_status (*const steps[])(struct verify *) = {
        read_proof, read_credential, read_date, check_scope, check_signed_headers, check_time,
    };

    verify->message[0] = '\0';
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        enum sigv4_status status = steps[i](verify);

        if (status != SIGV4_OK)
            return status;
    }
    return SIGV4_OK;
}

enum sigv4_status sigv4_check_head(const struct sigv4_request *request, const struct sigv4_expect *expect,
                                   struct credentials *credentials, char *message, size_t message_size)
{
    struct verify verify = {
        .request = request, .expect = expect, .message = message, .message_size = message_size
    };
    struct credential_match match = { 0 };
    enum sigv4_status status = read_head(&verify);

    if (status == SIGV4_OK)
        status = find_key(&verify, credentials, &match);
    OPENSSL_cleanse(&match, sizeof match);
    return status;
}

enum sigv4_status sigv4_verify(const struct sigv4_request *request, const struct sigv4_expect *expect,
                               struct credentials *credentials, struct principal *ret_principal,
                               char *message, size_t message_size)
{
    struct verify verify = {
        .request = request, .expect = expect, .message = message, .message_size = message_size
    };
    struct credential_match match = { 0 };
    enum sigv4_status status = read_head(&verify);

    if (status == SIGV4_OK)
        status = find_key(&verify, credentials, &match);
    if (status == SIGV4_OK)
        status = check_signature(&verify, credentials, &match);
    if (status == SIGV4_OK)
        *ret_principal = match.principal;
    OPENSSL_cleanse(&match, sizeof match);
    return status;
}
