/* Environments of one caller. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "sched/sched_priv.h"
#include "wire/wire.h"
#include "world.h"

static char uuid[40];

/* One that waits in `next` after its first invocation. */
static uint64_t reserve(struct world *w)
{
    uint64_t id;

    invoke_in(w, "fn", "new");
    id = expect_message(w, WIRE_START);
    started(w, id);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CPU), id);
    call(w, "POST", "invocation/request/response", "1");
    call(w, "GET", "invocation/next", "");
    expect_answer(w, w->answers - 1, SCHED_OK, "1");
    (void)snprintf(uuid, sizeof uuid, "%s", w->environment);
    assert_int_equal(strlen(uuid), 36);
    return id;
}

static void test_it_serves_its_caller_and_nobody_else(void **state)
{
    struct world *w = *state;
    AUTO_BUF struct buf out = BUF_INIT(65536);
    uint64_t id = reserve(w);

    sched_list(w->sched, &out);
    assert_non_null(strstr(out.data, "\"reserved\":true"));
    invoke(w);
    assert_true(expect_message(w, WIRE_START) != id);
    invoke_in(w, "fn", uuid);
    expect_silence(w);
    call(w, "POST", "invocation/request/response", "2");
    expect_answer(w, 1, SCHED_OK, "2");
    assert_string_equal(w->environment, uuid);
    assert_int_equal(w->sched->pools->responded, 0); /* nobody waits for it to be free */
    assert_int_equal(w->sched->pools->running, 0);
}

static void test_nobody_in_the_queue_waits_for_it(void **state)
{
    struct world *w = *state;

    invoke_in(w, "fn", "new");
    (void)expect_message(w, WIRE_START);
    invoke(w);
    failed(w, expect_message(w, WIRE_START), WIRE_FAIL_NO_SLOT);
    expect_answer(w, 0, SCHED_THROTTLED, "ConcurrentInvocationLimitExceeded");
}

static void test_only_where_it_is_and_free(void **state)
{
    struct world *w = *state;

    (void)reserve(w);
    invoke_in(w, "fn", "00000000-0000-4000-8000-000000000000");
    expect_answer(w, 1, SCHED_NO_ENVIRONMENT, "no such environment");
    invoke_in(w, "fn", uuid);
    invoke_in(w, "fn", uuid);
    expect_answer(w, 2, SCHED_NO_ENVIRONMENT, "busy");
    put_function(w, "other", -1, "other", false);
    invoke_in(w, "other", uuid);
    expect_answer(w, 3, SCHED_NO_ENVIRONMENT, "no such environment");
}

static void test_of_another_tenant(void **state)
{
    struct world *w = *state;
    uint64_t id;

    w->per_tenant = true;
    put(w, -1, "tenants", false);
    invoke_tenant_in(w, "blue", "new");
    id = expect_message(w, WIRE_START);
    started(w, id);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CPU), id);
    call(w, "POST", "invocation/request/response", "1");
    call(w, "GET", "invocation/next", "");
    (void)snprintf(uuid, sizeof uuid, "%s", w->environment);
    invoke_tenant_in(w, "green", uuid);
    expect_answer(w, 1, SCHED_NO_ENVIRONMENT, "no such environment");
    invoke_tenant_in(w, "blue", uuid);
    call(w, "POST", "invocation/request/response", "2");
    expect_answer(w, 2, SCHED_OK, "2");
}

static void test_an_ordinary_one_cannot_be_named(void **state)
{
    struct world *w = *state;

    (void)make_warm(w);
    invoke_in(w, "fn", w->sched->envs->uuid);
    expect_answer(w, 1, SCHED_NO_ENVIRONMENT, "no such environment");
    assert_false(sched_end_reserved(w->sched, w->sched->envs->uuid));
}

static void test_it_ends_when_told(void **state)
{
    struct world *w = *state;
    uint64_t id = reserve(w);

    assert_true(sched_end_reserved(w->sched, uuid));
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    assert_false(sched_end_reserved(w->sched, uuid));
    simple(w, WIRE_GONE, id);
    assert_null(w->sched->envs);
    assert_null(w->sched->pools);
}

static void test_it_ends_after_its_invocation(void **state)
{
    struct world *w = *state;
    uint64_t id = reserve(w);

    invoke_in(w, "fn", uuid);
    assert_true(sched_end_reserved(w->sched, uuid));
    expect_silence(w);
    call(w, "POST", "invocation/request/response", "2");
    expect_answer(w, 1, SCHED_OK, "2");
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_KILL), id);
}

static void test_an_update_ends_it(void **state)
{
    struct world *w = *state;
    uint64_t id = reserve(w);

    put(w, -1, "second", false);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    invoke_in(w, "fn", uuid);
    expect_answer(w, 1, SCHED_NO_ENVIRONMENT, "no such environment");
}

static void test_clean_state_and_want_of_memory_spare_it(void **state)
{
    struct world *w = *state;

    w->clean = true;
    put(w, -1, "clean", false);
    failed(w, expect_message(w, WIRE_START), WIRE_FAIL_SYSTEM); /* the version's template */
    (void)reserve(w);
    w->sched->memory_used_bytes = UINT64_MAX / 2;
    memory_enforce(w->sched);
    invoke_in(w, "fn", uuid);
    call(w, "POST", "invocation/request/response", "2");
    expect_answer(w, 1, SCHED_OK, "2");
    w->sched->memory_used_bytes = 0;
}

static void test_limits_hold_for_it(void **state)
{
    struct world *w = *state;

    put(w, 0, "first", false);
    invoke_in(w, "fn", "new");
    expect_answer(w, 0, SCHED_THROTTLED, "ReservedFunctionConcurrentInvocationLimitExceeded");
    expect_silence(w);
}

static void test_a_start_that_fails(void **state)
{
    struct world *w = *state;
    uint64_t idle;

    invoke_in(w, "fn", "new");
    failed(w, expect_message(w, WIRE_START), WIRE_FAIL_SYSTEM);
    expect_answer(w, 0, SCHED_UNAVAILABLE, "no");
    invoke_in(w, "fn", "new");
    failed(w, expect_message(w, WIRE_START), WIRE_FAIL_NO_SLOT);
    expect_answer(w, 1, SCHED_THROTTLED, "ConcurrentInvocationLimitExceeded");
    assert_int_equal(w->sched->starting, 0);
    assert_null(w->sched->pools);
    idle = make_warm(w);
    invoke_in(w, "fn", "new");
    failed(w, expect_message(w, WIRE_START), WIRE_FAIL_NO_SLOT);
    assert_int_equal(expect_message(w, WIRE_KILL), idle); /* gives way */
    assert_true(expect_message(w, WIRE_START) > idle);
    assert_int_equal(w->answers, 3);
}

static void test_a_lost_launcher(void **state)
{
    struct world *w = *state;

    invoke_in(w, "fn", "new");
    (void)expect_message(w, WIRE_START);
    (void)close(w->launcher);
    turn(w);
    expect_answer(w, 0, SCHED_UNAVAILABLE, "lost");
    invoke_in(w, "fn", "new");
    expect_answer(w, 1, SCHED_UNAVAILABLE, "starting");
    connect_launcher(w);
}

/* ---- looking into it ---- */

static struct {
    unsigned count;
    char stream[128], json[128], failure[128];
} seen;

static void on_inspected(const char *stream, const char *json, const char *failure, void *ctx)
{
    (void)ctx;
    seen.count++;
    (void)snprintf(seen.stream, sizeof seen.stream, "%s", stream);
    (void)snprintf(seen.json, sizeof seen.json, "%s", json ? json : "");
    (void)snprintf(seen.failure, sizeof seen.failure, "%s", json ? "" : failure);
}

static bool inspect(struct world *w)
{
    static const char *const values[] = { "secret" };

    return sched_inspect(w->sched, uuid, values, 1, on_inspected, NULL);
}

static void inspected(struct world *w, uint64_t id, const char *json)
{
    struct wire_message message = {
        .type = WIRE_INSPECTED, .env_id = id, .number = json ? 0 : 1, .text = json ? "" : "cannot"
    };
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_int_equal(write(fd, json ? json : "", strlen(json ? json : "")), strlen(json ? json : ""));
    send_message(w, &message, &fd, json ? 1 : 0);
    (void)close(fd);
}

static void test_an_inspection(void **state)
{
    struct world *w = *state;
    uint64_t id = reserve(w);

    memset(&seen, 0, sizeof seen);
    assert_true(inspect(w));
    assert_int_equal(expect_message(w, WIRE_INSPECT), id);
    assert_false(inspect(w)); /* one at a time */
    inspected(w, id, "{\"files\":[]}");
    assert_int_equal(seen.count, 1);
    assert_string_equal(seen.json, "{\"files\":[]}");
    assert_non_null(strstr(seen.stream, "[$LATEST]"));
    inspected(w, id, "{}"); /* not asked for */
    assert_int_equal(seen.count, 1);
    assert_true(inspect(w));
    inspected(w, id, "{\"files\":");
    assert_string_equal(seen.failure, "The launcher's answer cannot be read");
    assert_true(inspect(w));
    inspected(w, id, NULL);
    assert_string_equal(seen.failure, "cannot");
    assert_int_equal(seen.count, 3);
}

static void test_an_inspection_of_one_that_ends(void **state)
{
    struct world *w = *state;
    uint64_t id = reserve(w);

    memset(&seen, 0, sizeof seen);
    assert_true(inspect(w));
    assert_int_equal(expect_message(w, WIRE_INSPECT), id);
    assert_true(sched_end_reserved(w->sched, uuid));
    assert_false(inspect(w));
    simple(w, WIRE_GONE, id);
    assert_int_equal(seen.count, 1);
    assert_non_null(strstr(seen.failure, "ended"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_it_serves_its_caller_and_nobody_else),
        TEST(test_nobody_in_the_queue_waits_for_it),
        TEST(test_only_where_it_is_and_free),
        TEST(test_of_another_tenant),
        TEST(test_an_ordinary_one_cannot_be_named),
        TEST(test_it_ends_when_told),
        TEST(test_it_ends_after_its_invocation),
        TEST(test_an_update_ends_it),
        TEST(test_clean_state_and_want_of_memory_spare_it),
        TEST(test_limits_hold_for_it),
        TEST(test_a_start_that_fails),
        TEST(test_a_lost_launcher),
        TEST(test_an_inspection),
        TEST(test_an_inspection_of_one_that_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
