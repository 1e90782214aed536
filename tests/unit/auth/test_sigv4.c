#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/credentials_priv.h"
#include "auth/sigv4.h"
#include "auth/sigv4_priv.h"
#include "base/buf.h"
#include "base/text.h"

#define ACCESS_KEY "AKIDEXAMPLE"
#define SECRET     "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define TOKEN      "IQoJb3JpZ2luX2VjEXAMPLETOKEN=="
#define URL_HOST   "abcdefghijklmnopqrstuvwxyz012345.lambda-url.eu-west-1.example.test"
#define API_HOST   "lambda.eu-west-1.example.test"
#define JAN15      1768478400000ull /* 2026-01-15T12:00:00Z */
#define AUG30      1440938160000ull /* 2015-08-30T12:36:00Z */

/* One of the published or cross-checked vectors. */
struct vector {
    const char *method, *path, *query, *body;
    struct sigv4_header headers[8];
    size_t header_count;
    const char *names, *payload_hash, *canonical_hash, *signature;
    const char *stamp, *region, *service;
};

#define HEADER(name, value)                              \
    {                                                    \
        name, sizeof(name) - 1, value, sizeof(value) - 1 \
    }
#define EMPTY_HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define V4_QUERY                                                                                        \
    "X-Amz-Expires=300&name=a%20b%2Fc&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-SignedHeaders=host&X-Amz-" \
    "Credential="                                                                                       \
    "AKIDEXAMPLE%2F20260115%2Feu-west-1%2Flambda%2Faws4_request&X-Amz-Date=20260115T120000Z"

static const struct vector vectors[] = {
    { "GET",
      "/",
      "",
      "",
      { HEADER("Host", "example.amazonaws.com"), HEADER("X-Amz-Date", "20150830T123600Z") },
      2,
      "host;x-amz-date",
      NULL,
      "bb579772317eb040ac9ed261061d46c1f17a8133879d6129b6e1c25292927e63",
      "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
      "20150830T123600Z",
      "us-east-1",
      "service" },
    { "GET",
      "/2015-03-31/functions/",
      "FunctionVersion=ALL&MaxItems=50",
      "",
      { HEADER("Host", API_HOST), HEADER("X-Amz-Date", "20260115T120000Z") },
      2,
      "host;x-amz-date",
      NULL,
      "46b800ddd5c0f79a3667fb5d3343d216ccaafdff38f28151b738a306d054f189",
      "aa2796b7e09cbdb264a8ae73e492f302ab8afc0475ab3ed320ad97dedb1a01b6",
      "20260115T120000Z",
      "eu-west-1",
      "lambda" },
    { "POST",
      "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Aecho/invocations",
      "Qualifier=%24LATEST",
      "{\"k\":1}",
      { HEADER("X-Amz-Invocation-Type", "RequestResponse"), HEADER("Host", API_HOST),
        HEADER("X-Amz-Date", "20260115T120000Z"), HEADER("User-Agent", "unsigned") },
      4,
      "host;x-amz-date;x-amz-invocation-type",
      NULL,
      "9733a887098ed3734c6e57e993d47ae50ecc50bd725c52420332618698aeacb5",
      "8ed93e529a024782897a2daad59772a1447dce23e30c979348d6f85a0bdc9702",
      "20260115T120000Z",
      "eu-west-1",
      "lambda" },
    { "GET",
      "/2015-03-31/functions/echo",
      "",
      "",
      { HEADER("Host", API_HOST), HEADER("X-Amz-Date", "20260115T120000Z"),
        HEADER("X-Amz-Security-Token", TOKEN) },
      3,
      "host;x-amz-date;x-amz-security-token",
      NULL,
      "93a9c094cbcb3d8ce60994cd05410448f223115e4a72d3dd24c3ed48666cdbc6",
      "d76a73405f932b6caf04b9144e07388a040029f069615bf53bf5ef68eb33652b",
      "20260115T120000Z",
      "eu-west-1",
      "lambda" },
    { "GET",
      "/p%20x",
      V4_QUERY,
      "",
      { HEADER("Host", URL_HOST) },
      1,
      "host",
      NULL,
      "3817a7b95d6e490716cda95f623e14ae34bbaba226b3fe9532d4afadbf0e9cd5",
      "e4f693b7ebefaaa6f394c4d74816669282b7f9ccad9fc17b708d3a2eb8d6e0c4",
      "20260115T120000Z",
      "eu-west-1",
      "lambda" },
    { "POST",
      "/",
      "",
      "Action=DescribeDBInstances&Version=2014-10-31",
      { HEADER("Content-Type", "application/x-www-form-urlencoded;  charset=utf-8 "),
        HEADER("Host", "rds.eu-west-1.example.test"), HEADER("X-Amz-Date", "20260115T120000Z") },
      3,
      "content-type;host;x-amz-date",
      NULL,
      "8ff2ef2c1f95c83c125bb85c6ca556e514288e3cd1cfe146eedcfbb82bd6b047",
      "6257dbc715c076f40f7b7d77788696a71b8522bc6ba22e2dc0e2a5a4667e4193",
      "20260115T120000Z",
      "eu-west-1",
      "rds" },
    { "POST",
      "/",
      "",
      "any body at all",
      { HEADER("Host", URL_HOST), HEADER("X-Amz-Date", "20260115T120000Z"),
        HEADER("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") },
      3,
      "host;x-amz-content-sha256;x-amz-date",
      "UNSIGNED-PAYLOAD",
      "42448a89dbec7350b3dda3ffd7e1d16d9e3ca33548bf97cf07a6d92f844ca42c",
      "12c1f3d73b804e44daac4398042fcd3088357a6677a1f1b789c095e1eccb537f",
      "20260115T120000Z",
      "eu-west-1",
      "lambda" },
};
enum {
    VECTOR_COUNT = sizeof vectors / sizeof vectors[0],
    V_LIST = 1,
    V_TOKEN = 3,
    V_PRESIGNED = 4,
    V_UNSIGNED = 6
};

/* A request with room for an Authorization header, and the credentials that made it. */
struct fixture {
    struct credentials *credentials;
    struct sigv4_header headers[10];
    char authorization[512], query[1024], message[512];
    struct sigv4_request request;
    struct sigv4_expect expect;
    struct principal principal;
};

static struct sigv4_request request_of(const struct vector *vector)
{
    return (struct sigv4_request){ vector->method,       strlen(vector->method), vector->path,
                                   strlen(vector->path), vector->query,          strlen(vector->query),
                                   vector->headers,      vector->header_count,   vector->body,
                                   strlen(vector->body) };
}

static void sign_fixture(struct fixture *fixture, const struct vector *vector)
{
    if (vector == &vectors[V_PRESIGNED]) {
        (void)snprintf(fixture->query, sizeof fixture->query, "X-Amz-Signature=%s&%s", vector->signature,
                       vector->query);
        fixture->request.query = fixture->query;
        fixture->request.query_len = strlen(fixture->query);
        return;
    }
    (void)snprintf(fixture->authorization, sizeof fixture->authorization,
                   "AWS4-HMAC-SHA256 Credential=" ACCESS_KEY
                   "/%.8s/%s/%s/aws4_request, SignedHeaders=%s, Signature=%s",
                   vector->stamp, vector->region, vector->service, vector->names, vector->signature);
    fixture->headers[fixture->request.header_count++] =
        (struct sigv4_header){ "authorization", 13, fixture->authorization, strlen(fixture->authorization) };
}

static void set_up(struct fixture *fixture, const struct vector *vector)
{
    struct credential_match match = { .principal = { .access_key = ACCESS_KEY, .account = "000000000000" },
                                      .secret = SECRET };

    memset(fixture, 0, sizeof *fixture);
    fixture->credentials = credentials_new();
    assert_non_null(fixture->credentials);
    if (vector == &vectors[V_TOKEN]) {
        match.principal.kind = PRINCIPAL_FUNCTION;
        match.expires_wall_ms = JAN15 + 60000;
        (void)snprintf(match.token, sizeof match.token, "%s", TOKEN);
    }
    assert_int_equal(credentials_add(fixture->credentials, &match), 0);
    fixture->request = request_of(vector);
    memcpy(fixture->headers, vector->headers, sizeof vector->headers);
    fixture->request.headers = fixture->headers;
    fixture->expect =
        (struct sigv4_expect){ vector->region, vector->service, vector == vectors ? AUG30 : JAN15, 300 };
    sign_fixture(fixture, vector);
}

static enum sigv4_status verify(struct fixture *fixture)
{
    return sigv4_verify(&fixture->request, &fixture->expect, fixture->credentials, &fixture->principal,
                        fixture->message, sizeof fixture->message);
}

static void tear_down(struct fixture *fixture)
{
    fixture->credentials = credentials_free(fixture->credentials);
}

static void test_canonical_requests_and_signatures_of_all_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < VECTOR_COUNT; i++) {
        const struct vector *vector = &vectors[i];
        struct sigv4_request request = request_of(vector);
        struct sigv4_scope scope = { vector->stamp, vector->region, vector->service };
        char hash[SIGV4_HEX_BYTES], canonical_hash[SIGV4_HEX_BYTES], hex[SIGV4_HEX_BYTES];
        unsigned char key[32], signature[32];
        struct buf text = BUF_INIT(10000);
        struct sigv4_canonical canonical = { &request,      i == V_PRESIGNED,
                                             vector->names, strlen(vector->names),
                                             hash,          64 };

        sigv4_sha256_hex(vector->body, strlen(vector->body), hash);
        if (vector->payload_hash) {
            canonical.payload_hash = vector->payload_hash;
            canonical.payload_hash_len = strlen(vector->payload_hash);
        }
        assert_int_equal(sigv4_canonical(&canonical, &text), 0);
        sigv4_sha256_hex(text.data, text.len, canonical_hash);
        assert_string_equal(canonical_hash, vector->canonical_hash);
        assert_int_equal(sigv4_signing_key(SECRET, &scope, key), 0);
        assert_int_equal(sigv4_signature(key, &scope, &text, signature), 0);
        text_hex(signature, sizeof signature, hex);
        assert_string_equal(hex, vector->signature);
        buf_done(&text);
    }
}

static void test_all_vectors_verify(void **state)
{
    (void)state;
    for (size_t i = 0; i < VECTOR_COUNT; i++) {
        struct fixture fixture;

        set_up(&fixture, &vectors[i]);
        assert_true(sigv4_is_signed(&fixture.request));
        assert_int_equal(verify(&fixture), SIGV4_OK);
        assert_string_equal(fixture.message, "");
        assert_string_equal(fixture.principal.access_key, ACCESS_KEY);
        /* Again: from the cache of signing keys. */
        assert_int_equal(verify(&fixture), SIGV4_OK);
        tear_down(&fixture);
    }
}

static void test_signing_key_chain(void **state)
{
    (void)state;
    struct sigv4_scope scope = { "20260115T120000Z", "eu-west-1", "lambda" };
    unsigned char key[32];
    char hex[SIGV4_HEX_BYTES];

    assert_int_equal(sigv4_signing_key(SECRET, &scope, key), 0);
    text_hex(key, sizeof key, hex);
    assert_string_equal(hex, "bd4d214f7b8b9f8f977a5b8a9ff7d0546b40536d9f93d7d3f3153214300796ce");
}

static void expect_refusal(const struct vector *vector, void (*change)(struct fixture *),
                           enum sigv4_status status, const char *text)
{
    struct fixture fixture;

    set_up(&fixture, vector);
    change(&fixture);
    assert_int_equal(verify(&fixture), status);
    if (!strstr(fixture.message, text))
        fail_msg("'%s' lacks '%s'", fixture.message, text);
    assert_string_equal(fixture.principal.access_key, "");
    tear_down(&fixture);
}

static void set_authorization(struct fixture *fixture, const char *text)
{
    struct sigv4_header *header = &fixture->headers[fixture->request.header_count - 1];

    header->value = text;
    header->value_len = strlen(text);
}

static void drop_authorization(struct fixture *fixture)
{
    fixture->request.header_count--;
}

static void make_bearer(struct fixture *fixture)
{
    set_authorization(fixture, "Bearer abc");
}

static void make_partial(struct fixture *fixture)
{
    set_authorization(fixture, "AWS4-HMAC-SHA256 SignedHeaders=host");
}

static void make_pairs_without_algorithm(struct fixture *fixture)
{
    set_authorization(fixture, strchr(fixture->authorization, ' ') + 1);
}

static void make_sigv4a(struct fixture *fixture)
{
    set_authorization(fixture, "AWS4-ECDSA-P256-SHA256 Credential=a, SignedHeaders=host, Signature=b");
}

static void double_authorization(struct fixture *fixture)
{
    fixture->headers[fixture->request.header_count] = fixture->headers[fixture->request.header_count - 1];
    fixture->request.header_count++;
}

static void add_presigned(struct fixture *fixture)
{
    fixture->request.query = "X-Amz-Signature=1";
    fixture->request.query_len = 17;
}

static void add_encoded_presigned(struct fixture *fixture)
{
    fixture->request.query = "a=b&%58%2dAmz-Signature=1";
    fixture->request.query_len = strlen(fixture->request.query);
}

static void other_region(struct fixture *fixture)
{
    fixture->expect.region = "us-east-1";
}

static void other_service(struct fixture *fixture)
{
    fixture->expect.service = "sts";
}

static void late(struct fixture *fixture)
{
    fixture->expect.now_ms += 301000;
}

static void early(struct fixture *fixture)
{
    fixture->expect.now_ms -= 301000;
}

static void other_body(struct fixture *fixture)
{
    fixture->request.body = "x";
    fixture->request.body_len = 1;
}

static void other_method(struct fixture *fixture)
{
    fixture->request.method = "HEAD";
    fixture->request.method_len = 4;
}

static void other_path(struct fixture *fixture)
{
    fixture->request.path = "/2015-03-31/functions";
    fixture->request.path_len = strlen(fixture->request.path);
}

static void more_query(struct fixture *fixture)
{
    (void)snprintf(fixture->query, sizeof fixture->query, "%s&x=1", vectors[V_LIST].query);
    fixture->request.query = fixture->query;
    fixture->request.query_len = strlen(fixture->query);
}

static void no_host(struct fixture *fixture)
{
    fixture->headers[0].name_len = 3;
}

static void flip_signature(struct fixture *fixture)
{
    char *last = fixture->authorization + strlen(fixture->authorization) - 1;

    *last = *last == '0' ? '1' : '0';
}

static void upper_signature(struct fixture *fixture)
{
    fixture->authorization[strlen(fixture->authorization) - 2] = 'B';
}

static void unknown_key(struct fixture *fixture)
{
    memcpy(strstr(fixture->authorization, ACCESS_KEY), "AKIDOTHERKEY", 11);
}

static void no_terminator(struct fixture *fixture)
{
    strstr(fixture->authorization, "aws4_request")[0] = 'x';
}

static void four_parts(struct fixture *fixture)
{
    strstr(fixture->authorization, "/lambda")[0] = '-';
}

static void other_scope_date(struct fixture *fixture)
{
    strstr(fixture->authorization, "20260115")[7] = '6';
}

static void unsigned_host(struct fixture *fixture)
{
    memcpy(strstr(fixture->authorization, "=host;"), "=hosx;", 6);
}

static void newline_in_names(struct fixture *fixture)
{
    strstr(fixture->authorization, "host;")[4] = '\n';
}

static void unsigned_hash_header(struct fixture *fixture)
{
    fixture->headers[fixture->request.header_count++] =
        (struct sigv4_header)HEADER("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
}

static void unsigned_tenant(struct fixture *fixture)
{
    fixture->headers[fixture->request.header_count++] =
        (struct sigv4_header)HEADER("X-Amz-Tenant-Id", "blue");
}

static void bad_date(struct fixture *fixture)
{
    fixture->headers[1].value = "20260231T120000Z";
}

static void no_date(struct fixture *fixture)
{
    fixture->headers[1].name_len = 4;
}

static void add_token(struct fixture *fixture)
{
    fixture->headers[fixture->request.header_count++] =
        (struct sigv4_header)HEADER("X-Amz-Security-Token", "t");
}

static void other_token(struct fixture *fixture)
{
    fixture->headers[2].value = "IQoJb3JpZ2luX2VjEXAMPLETOKEN=+";
}

static void token_expired(struct fixture *fixture)
{
    fixture->expect.now_ms += 60000;
}

static void test_what_is_wrong_is_named_as_aws_names_it(void **state)
{
    (void)state;
    const struct vector *v = &vectors[V_LIST];

    expect_refusal(v, drop_authorization, SIGV4_MISSING, "Missing Authentication Token");
    expect_refusal(
        v, make_bearer, SIGV4_INCOMPLETE,
        "'Bearer' not a valid key=value pair (missing equal-sign) in Authorization header: 'Bearer abc'.");
    expect_refusal(
        v, make_partial, SIGV4_INCOMPLETE,
        "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' "
        "parameter. Authorization=AWS4");
    expect_refusal(v, make_pairs_without_algorithm, SIGV4_INCOMPLETE, "Unsupported AWS 'algorithm'");
    expect_refusal(v, make_sigv4a, SIGV4_INCOMPLETE, "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256'");
    expect_refusal(v, double_authorization, SIGV4_INCOMPLETE, "Only one auth mechanism allowed");
    expect_refusal(v, add_presigned, SIGV4_INCOMPLETE, "Only one auth mechanism allowed");
    expect_refusal(v, add_encoded_presigned, SIGV4_INCOMPLETE, "Only one auth mechanism allowed");
    expect_refusal(v, no_date, SIGV4_INCOMPLETE,
                   "requires existence of either a 'X-Amz-Date' or a 'Date' header.");
    expect_refusal(v, bad_date, SIGV4_INCOMPLETE, "Got '20260231T120000Z'");
    expect_refusal(v, four_parts, SIGV4_INCOMPLETE, "exactly 5 slash-delimited");
    expect_refusal(v, upper_signature, SIGV4_INCOMPLETE, "64 lower-case");
    expect_refusal(v, newline_in_names, SIGV4_INCOMPLETE, "SignedHeaders must be");
    expect_refusal(v, no_terminator, SIGV4_INVALID_SIGNATURE, "valid terminator: 'aws4_request'");
    expect_refusal(v, other_scope_date, SIGV4_INVALID_SIGNATURE,
                   "'20260116' != '20260115', from '20260115T120000Z'.");
    expect_refusal(v, other_region, SIGV4_INVALID_SIGNATURE,
                   "Credential should be scoped to a valid region. ");
    expect_refusal(v, other_service, SIGV4_INVALID_SIGNATURE,
                   "Credential should be scoped to correct service: 'sts'. ");
    expect_refusal(v, unsigned_host, SIGV4_INVALID_SIGNATURE,
                   "'Host' or ':authority' must be a 'SignedHeader'");
    expect_refusal(v, unsigned_hash_header, SIGV4_INVALID_SIGNATURE,
                   "'x-amz-content-sha256' must be a 'SignedHeader'");
    expect_refusal(v, unsigned_tenant, SIGV4_INVALID_SIGNATURE, "'x-amz-tenant-id' must be a 'SignedHeader'");
    expect_refusal(v, late, SIGV4_INVALID_SIGNATURE,
                   "Signature expired: 20260115T120000Z is now earlier than 20260115T120001Z "
                   "(20260115T120501Z - 5 min.)");
    expect_refusal(v, early, SIGV4_INVALID_SIGNATURE,
                   "Signature not yet current: 20260115T120000Z is still later than 20260115T115959Z "
                   "(20260115T115459Z + 5 "
                   "min.)");
    expect_refusal(v, unknown_key, SIGV4_UNRECOGNIZED_CLIENT,
                   "The security token included in the request is invalid.");
    expect_refusal(v, add_token, SIGV4_INVALID_SIGNATURE, "'x-amz-security-token' must be a 'SignedHeader'");
}

static void test_any_change_breaks_the_signature(void **state)
{
    (void)state;
    static void (*const changes[])(struct fixture *) = { other_body, other_method, other_path,
                                                         more_query, no_host,      flip_signature };

    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++)
        expect_refusal(&vectors[V_LIST], changes[i], SIGV4_INVALID_SIGNATURE,
                       "The request signature we calculated does not match the signature you provided.");
}

static void test_session_tokens(void **state)
{
    (void)state;
    const struct vector *v = &vectors[V_TOKEN];

    expect_refusal(v, other_token, SIGV4_UNRECOGNIZED_CLIENT, "token included in the request is invalid");
    expect_refusal(v, token_expired, SIGV4_EXPIRED_TOKEN,
                   "The security token included in the request is expired");
}

static void presigned_late(struct fixture *fixture)
{
    fixture->expect.now_ms += 301000;
}

static void presigned_twice(struct fixture *fixture)
{
    (void)snprintf(fixture->query + strlen(fixture->query), sizeof fixture->query - strlen(fixture->query),
                   "&X-Amz-Expires=300");
    fixture->request.query_len = strlen(fixture->query);
}

static void presigned_for_ever(struct fixture *fixture)
{
    memcpy(strstr(fixture->query, "Expires=300"), "Expires=3x0", 11);
}

static void presigned_without_expiry(struct fixture *fixture)
{
    memcpy(strstr(fixture->query, "X-Amz-Expires"), "X-Amz-Expired", 13);
}

static void presigned_new_names(struct fixture *fixture)
{
    memcpy(strstr(fixture->query, "name=a"), "name=b", 6);
}

static void test_presigned_requests(void **state)
{
    (void)state;
    const struct vector *v = &vectors[V_PRESIGNED];

    expect_refusal(v, presigned_late, SIGV4_INVALID_SIGNATURE, "Signature expired: 20260115T120000Z");
    expect_refusal(v, early, SIGV4_INVALID_SIGNATURE, "Signature not yet current");
    expect_refusal(v, presigned_twice, SIGV4_INCOMPLETE, "'X-Amz-Expires' must not be sent more than once.");
    expect_refusal(v, presigned_for_ever, SIGV4_INCOMPLETE, "X-Amz-Expires must be");
    expect_refusal(v, presigned_without_expiry, SIGV4_INCOMPLETE, "must include 'X-Amz-Expires'");
    expect_refusal(v, presigned_new_names, SIGV4_INVALID_SIGNATURE, "does not match");
    expect_refusal(v, other_body, SIGV4_INVALID_SIGNATURE, "does not match");
}

static void test_unsigned_payload_takes_any_body(void **state)
{
    (void)state;
    struct fixture fixture;

    set_up(&fixture, &vectors[V_UNSIGNED]);
    other_body(&fixture);
    assert_int_equal(verify(&fixture), SIGV4_OK);
    tear_down(&fixture);
}

/* Signs a request with our own client side and appends its lines as headers. */
static void own_signature(struct fixture *fixture, struct buf *lines)
{
    struct sigv4_key key = { ACCESS_KEY, SECRET, NULL };
    char *line;

    drop_authorization(fixture);
    fixture->request.header_count = 1; /* Host */
    assert_int_equal(sigv4_sign(&fixture->request, &key, "eu-west-1", "lambda", JAN15, lines), 0);
    for (line = lines->data; *line != '\0'; line = strchr(line, '\n') + 1) {
        struct sigv4_header *header = &fixture->headers[fixture->request.header_count++];

        header->name = line;
        header->name_len = strcspn(line, ":");
        header->value = line + header->name_len + 1;
        header->value_len = strcspn(header->value, "\n");
    }
}

static void test_own_signatures_verify(void **state)
{
    (void)state;
    struct fixture fixture;
    struct buf lines = BUF_INIT(10000);

    set_up(&fixture, &vectors[V_LIST]);
    other_body(&fixture);
    own_signature(&fixture, &lines);
    assert_int_equal(verify(&fixture), SIGV4_OK);
    fixture.request.body = "y";
    assert_int_equal(verify(&fixture), SIGV4_INVALID_SIGNATURE);
    assert_non_null(strstr(fixture.message, "x-amz-content-sha256"));
    buf_done(&lines);
    tear_down(&fixture);
}

static void test_own_presigned_links_verify(void **state)
{
    (void)state;
    struct fixture fixture;
    struct buf query = BUF_INIT(10000);
    struct sigv4_key key = { ACCESS_KEY, SECRET, NULL };

    set_up(&fixture, &vectors[V_LIST]);
    fixture.request.header_count = 1; /* Host */
    assert_int_equal(sigv4_presign(&fixture.request, &key, "eu-west-1", "lambda", JAN15, 600, &query), 0);
    fixture.request.query = query.data;
    fixture.request.query_len = query.len;
    assert_int_equal(verify(&fixture), SIGV4_OK);
    fixture.expect.now_ms += 600000;
    assert_int_equal(verify(&fixture), SIGV4_OK);
    fixture.expect.now_ms += 1000;
    assert_int_equal(verify(&fixture), SIGV4_INVALID_SIGNATURE);
    buf_done(&query);
    tear_down(&fixture);
}

static void expect_path(const char *path, const char *canonical_path)
{
    struct sigv4_request request = { "GET", 3, path, strlen(path), "", 0, NULL, 0, "", 0 };
    struct sigv4_canonical canonical = { &request, false, "", 0, "", 0 };
    struct buf text = BUF_INIT(1000);
    char wanted[200];

    assert_int_equal(sigv4_canonical(&canonical, &text), 0);
    (void)snprintf(wanted, sizeof wanted, "GET\n%s\n", canonical_path);
    assert_true(text_starts(text.data, wanted));
    buf_done(&text);
}

static void test_paths_are_normalised_and_encoded_twice(void **state)
{
    (void)state;
    expect_path("/a/./b//c/../d", "/a/b/d");
    expect_path("/a/b/", "/a/b/");
    expect_path("/a/..", "/");
    expect_path("/../..", "/");
    expect_path("//", "/");
    expect_path("", "/");
    expect_path("/%3A:$~", "/%253A%3A%24~");
    expect_path("/\xc3\xbc", "/%C3%BC");
}

static void test_queries_are_recoded_and_sorted(void **state)
{
    (void)state;
    static const char query[] = "b=2&a=%2f&a=+&A&a=%zz&%62=1&&c%3d=d=e";
    struct sigv4_request request = { "GET", 3, "/", 1, query, sizeof query - 1, NULL, 0, "", 0 };
    struct sigv4_canonical canonical = { &request, false, "", 0, "", 0 };
    struct buf text = BUF_INIT(1000);

    assert_int_equal(sigv4_canonical(&canonical, &text), 0);
    assert_true(text_starts(text.data, "GET\n/\nA=&a=%25zz&a=%2B&a=%2F&b=1&b=2&c%3D=d%3De\n"));
    buf_done(&text);
}

static void test_repeated_headers_are_joined_in_order(void **state)
{
    (void)state;
    struct sigv4_header headers[] = { HEADER("X-A", " b  c\t d "), HEADER("Other", "x"), HEADER("x-a", "a"),
                                      HEADER("X-A", "") };
    struct sigv4_request request = { "GET", 3, "/", 1, "", 0, headers, 4, "", 0 };
    struct sigv4_canonical canonical = { &request, false, "x-a", 3, "h", 1 };
    struct buf text = BUF_INIT(1000);

    assert_int_equal(sigv4_canonical(&canonical, &text), 0);
    assert_string_equal(text.data, "GET\n/\n\nx-a:b c d,a,\n\nx-a\nh");
    buf_done(&text);
}

static void test_date_header_stands_in_for_x_amz_date(void **state)
{
    (void)state;
    struct fixture fixture;

    set_up(&fixture, &vectors[V_LIST]);
    fixture.headers[1] = (struct sigv4_header)HEADER("Date", "Thu, 15 Jan 2026 12:00:00 GMT");
    /* The signature is that of another header; that it is compared at all shows that the date was read. */
    assert_int_equal(verify(&fixture), SIGV4_INVALID_SIGNATURE);
    assert_non_null(strstr(fixture.message, "does not match"));
    fixture.headers[1] = (struct sigv4_header)HEADER("Date", "Thu, 15 Jax 2026 12:00:00 GMT");
    assert_int_equal(verify(&fixture), SIGV4_INCOMPLETE);
    tear_down(&fixture);
}

static void test_too_many_parameters_are_refused(void **state)
{
    (void)state;
    struct fixture fixture;
    char *query = malloc(3 * 4000 + 1);

    for (size_t i = 0; i < 4000; i++)
        memcpy(query + 3 * i, "a=&", 3);
    set_up(&fixture, &vectors[V_LIST]);
    fixture.request.query = query;
    fixture.request.query_len = 12000;
    assert_int_equal(verify(&fixture), SIGV4_INVALID_SIGNATURE);
    free(query);
    tear_down(&fixture);
}

static void test_every_status_has_a_code(void **state)
{
    (void)state;
    for (int i = 0; i < SIGV4_STATUS_COUNT; i++)
        assert_non_null(sigv4_status_code((enum sigv4_status)i));
    assert_string_equal(sigv4_status_code(SIGV4_EXPIRED_TOKEN), "ExpiredTokenException");
}

static void test_other_authorization_is_not_a_signature(void **state)
{
    (void)state;
    struct fixture fixture;

    set_up(&fixture, &vectors[V_LIST]);
    make_bearer(&fixture);
    assert_false(sigv4_is_signed(&fixture.request));
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_canonical_requests_and_signatures_of_all_vectors),
        cmocka_unit_test(test_all_vectors_verify),
        cmocka_unit_test(test_signing_key_chain),
        cmocka_unit_test(test_what_is_wrong_is_named_as_aws_names_it),
        cmocka_unit_test(test_any_change_breaks_the_signature),
        cmocka_unit_test(test_session_tokens),
        cmocka_unit_test(test_presigned_requests),
        cmocka_unit_test(test_unsigned_payload_takes_any_body),
        cmocka_unit_test(test_own_signatures_verify),
        cmocka_unit_test(test_own_presigned_links_verify),
        cmocka_unit_test(test_paths_are_normalised_and_encoded_twice),
        cmocka_unit_test(test_queries_are_recoded_and_sorted),
        cmocka_unit_test(test_repeated_headers_are_joined_in_order),
        cmocka_unit_test(test_date_header_stands_in_for_x_amz_date),
        cmocka_unit_test(test_too_many_parameters_are_refused),
        cmocka_unit_test(test_every_status_has_a_code),
        cmocka_unit_test(test_other_authorization_is_not_a_signature),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
