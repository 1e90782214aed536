/* Invoke of functions in states that last no longer than a moment in a real server. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "door/door_priv.h"
#include "model/function.h"
#include "sched/sched.h"

enum { TURNS = 2000 };

struct world {
    uv_loop_t loop;
    struct api_config api_config;
    struct door door;
    struct http_server *server;
    int caller; /* our end of the connection */
    bool stopped;
};

static size_t body_limit(struct http_exchange *x, void *ctx)
{
    (void)x;
    (void)ctx;
    return 1024;
}

static void on_request(struct http_exchange *x, void *ctx)
{
    struct world *w = ctx;
    struct http_slice name;

    assert_true(invoke_is_route(http_exchange_request(x), &name));
    invoke_handle(&w->door, x, name);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    const struct sched_config sched_config = { .loop = &w->loop,
                                               .region = "us-east-1",
                                               .account = "000000000000" };
    const struct http_server_config config = { .max_line_bytes = 1000,
                                               .max_header_bytes = 4096,
                                               .max_headers = 20,
                                               .body_limit = body_limit,
                                               .on_request = on_request,
                                               .ctx = w };
    int pair[2];

    log_init("test", LOG_ERROR);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    w->api_config = (struct api_config){ .region = "us-east-1", .account = "000000000000" };
    w->door.config = (struct door_config){
        .loop = &w->loop, .api_config = &w->api_config, .sched = sched_new(&sched_config), .no_auth = true
    };
    list_init(&w->door.stale);
    w->server = http_server_new(&w->loop, &config);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    w->caller = pair[0];
    assert_int_equal(http_server_adopt(w->server, pair[1], NULL, 0), 0);
    *state = w;
    return 0;
}

static void on_stopped(void *ctx)
{
    struct world *w = ctx;

    w->stopped = true;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    (void)close(w->caller);
    http_server_free(w->server, NULL, NULL);
    sched_stop(w->door.config.sched, on_stopped, w);
    for (int i = 0; i < TURNS && !w->stopped; i++)
        (void)uv_run(&w->loop, UV_RUN_NOWAIT);
    assert_true(w->stopped);
    (void)sched_free(w->door.config.sched);
    (void)uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    free(w);
    return 0;
}

static struct function *new_function(uint64_t sequence)
{
    struct function *function = function_new();

    function->sequence = sequence;
    function->name = strdup("fn");
    function->arn = strdup("arn:aws:lambda:us-east-1:000000000000:function:fn");
    function->reserved_concurrency = -1;
    function->latest = fn_version_new();
    function->latest->function_name = strdup("fn");
    function->latest->version = strdup("$LATEST");
    function->latest->runtime = strdup("provided.al2023");
    function->latest->config_id = strdup("config");
    function->latest->code_sha256 = strdup("");
    return function;
}

static void put(struct world *w, uint64_t sequence, bool pending, bool failed)
{
    struct function *function = new_function(sequence);

    function->pending = pending;
    function->failed = failed;
    sched_put_function(w->door.config.sched, function);
}

static void put_tenancy(struct world *w, uint64_t sequence, bool per_tenant)
{
    struct function *function = new_function(sequence);

    function->latest->per_tenant = per_tenant;
    sched_put_function(w->door.config.sched, function);
}

/* The answer to an Invoke that checks all and runs nothing. headers: more of them. */
static void dry_run_with(struct world *w, const char *headers, const char *event, char *out, size_t size)
{
    char request[2048];
    int len = snprintf(request, sizeof request,
                       "POST /2015-03-31/functions/fn/invocations HTTP/1.1\r\nHost: localhost\r\n"
                       "X-Amz-Invocation-Type: DryRun\r\n%sContent-Length: %zu\r\n\r\n%s",
                       headers, strlen(event), event);
    ssize_t got = -1;

    assert_int_equal(send(w->caller, request, (size_t)len, 0), len);
    for (int i = 0; i < TURNS && got < 0; i++) {
        (void)uv_run(&w->loop, UV_RUN_NOWAIT);
        got = recv(w->caller, out, size - 1, 0);
        assert_true(got > 0 || errno == EAGAIN);
    }
    assert_true(got > 0);
    out[got] = '\0';
}

static void dry_run(struct world *w, char *out, size_t size)
{
    dry_run_with(w, "", "{}", out, size);
}

static void expect_conflict(struct world *w, const char *function_state)
{
    char answer[2048], message[256];

    dry_run(w, answer, sizeof answer);
    assert_non_null(strstr(answer, "HTTP/1.1 409 "));
    assert_non_null(strstr(answer, "x-amzn-ErrorType: ResourceConflictException\r\n"));
    (void)snprintf(
        message, sizeof message,
        "The operation cannot be performed at this time. The function is currently in the following "
        "state: %s\"",
        function_state);
    assert_non_null(strstr(answer, message));
}

static void test_only_active_functions_are_invoked(void **state)
{
    struct world *w = *state;
    char answer[2048];

    put(w, 1, true, false);
    expect_conflict(w, "Pending");
    put(w, 2, false, true);
    expect_conflict(w, "Failed");
    put(w, 3, false, false);
    dry_run(w, answer, sizeof answer);
    assert_non_null(strstr(answer, "HTTP/1.1 204 "));
}

static void expect_dry_run(struct world *w, const char *headers, const char *event, const char *expected)
{
    char answer[4096];

    dry_run_with(w, headers, event, answer, sizeof answer);
    if (!strstr(answer, expected))
        fail_msg("'%s' has no '%s'", answer, expected);
}

#define TENANT(id)   "X-Amz-Tenant-Id: " id "\r\n"
#define FAULT(value) "Value '" value "' at 'tenantId' failed to satisfy constraint: Member must "
#define PATTERN      "satisfy regular expression pattern: [a-zA-Z0-9\\\\._:\\\\/=+\\\\-@ ]+"

static void test_a_tenant_is_given_when_it_must_be(void **state)
{
    struct world *w = *state;

    put_tenancy(w, 1, true);
    expect_dry_run(w, TENANT("blue"), "{}", "HTTP/1.1 204 ");
    expect_dry_run(w, TENANT("  a._:/=+-@ Z9\t"), "{}", "HTTP/1.1 204 ");
    expect_dry_run(
        w, "", "{}",
        "{\"Type\":\"User\",\"message\":\"The invoked function is enabled with tenancy configuration. "
        "Add a valid tenant ID in your request and try again.\"}");
    expect_dry_run(w, "", "{}", "x-amzn-ErrorType: InvalidParameterValueException\r\n");
    expect_dry_run(w, "", "{",
                   "x-amzn-ErrorType: InvalidRequestContentException\r\n"); /* that is seen before */
    put_tenancy(w, 2, false);
    expect_dry_run(w, "", "{}", "HTTP/1.1 204 ");
    expect_dry_run(w, TENANT("blue"), "{}",
                   "{\"Type\":\"User\",\"message\":\"The invoked function is not enabled with tenancy "
                   "configuration. Remove the tenant ID from your request and try again.\"}");
}

static void test_a_tenant_id_has_a_form(void **state)
{
    struct world *w = *state;
    char header[512] = "X-Amz-Tenant-Id: ", *id = header + strlen(header);

    put_tenancy(w, 1, true);
    expect_dry_run(w, TENANT("a!b"), "{}",
                   "{\"message\":\"1 validation error detected: " FAULT("a!b") PATTERN "\"}");
    expect_dry_run(w, TENANT("a!b"), "{", "x-amzn-ErrorType: ValidationException\r\n");
    expect_dry_run(w, TENANT(""), "{}",
                   "\"2 validation errors detected: " FAULT(
                       "") "have length greater than or equal to 1; " FAULT("") PATTERN "\"");
    expect_dry_run(w, TENANT("blue") TENANT("blue"), "{}",
                   "\"1 validation error detected: " FAULT("blue,blue") PATTERN "\"");
    expect_dry_run(w, TENANT("\xc3\xbc"), "{}", FAULT("\xc3\xbc") PATTERN);
    expect_dry_run(w, TENANT("\xff"), "{}", FAULT("\xef\xbf\xbd") PATTERN);
    memset(id, 'x', 256);
    memcpy(id + 256, "\r\n", 3);
    expect_dry_run(w, header, "{}", "HTTP/1.1 204 ");
    memset(id, 'x', 257);
    memcpy(id + 257, "\r\n", 3);
    expect_dry_run(w, header, "{}",
                   "xxx' at 'tenantId' failed to satisfy constraint: Member must have length less "
                   "than or equal to 256\"}");
    put_tenancy(w, 2, false);
    expect_dry_run(w, TENANT("a!b"), "{}", "x-amzn-ErrorType: ValidationException\r\n");
}

static void expect_decision(const char *given, bool active, const char *expected)
{
    const struct fn_version version = { .tracing_active = active };
    char trace_id[DOOR_TRACE_MAX_BYTES];

    (void)snprintf(trace_id, sizeof trace_id, "%s", given);
    door_trace_decide(trace_id, &version);
    assert_string_equal(trace_id, expected);
}

static void test_active_tracing_samples_what_nobody_has_decided(void **state)
{
    char longest[DOOR_TRACE_MAX_BYTES];

    (void)state;
    expect_decision("Root=1-a;Parent=b", false, "Root=1-a;Parent=b;Sampled=0");
    expect_decision("Root=1-a;Parent=b", true, "Root=1-a;Parent=b;Sampled=1");
    expect_decision("Root=1-a;Parent=b;Sampled=0", true, "Root=1-a;Parent=b;Sampled=0");
    expect_decision("Root=1-a;Sampled=1;Parent=b", false, "Root=1-a;Sampled=1;Parent=b");
    memset(longest, 'a', sizeof longest - 1);
    memcpy(longest, "Root=", 5);
    longest[sizeof longest - 1] = '\0';
    expect_decision(longest, true, longest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_only_active_functions_are_invoked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_tenant_is_given_when_it_must_be, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_tenant_id_has_a_form, set_up, tear_down),
        cmocka_unit_test(test_active_tracing_samples_what_nobody_has_decided),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
