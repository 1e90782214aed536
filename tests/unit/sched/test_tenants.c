/* Environments of tenants: who gets which, how many there may be, and that nothing stays behind. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "model/function.h"
#include "sched/sched_priv.h"
#include "wire/wire.h"
#include "world.h"

/* Per function with tenants; the world's account concurrency of 3 lets 7 of their environments live. */
static int set_up_tenants(void **state)
{
    struct world *w;
    int result = set_up(state);

    w = *state;
    w->per_tenant = true;
    put(w, -1, "tenants", false);
    return result;
}

static int tear_down_tenants(void **state)
{
    const struct world *w = *state;
    const struct sched *sched = w->sched;
    unsigned alive = 0;

    for (const struct env *env = sched->envs; env; env = env->hh.next)
        alive += *env->pool->tenant_id && env->state != LIFE_STOPPING;
    assert_int_equal(sched->tenant_envs, alive);
    return tear_down(state);
}

/* The environment that START asked for serves what waits, with this result, and then waits itself. */
static uint64_t serve_cold(struct world *w, const char *result)
{
    uint64_t id = expect_message(w, WIRE_START);

    started(w, id);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CPU), id);
    call(w, "POST", "invocation/request/response", result);
    call(w, "GET", "invocation/next", "");
    expect_answer(w, w->answers - 1, SCHED_OK, result);
    w->answers = 0;
    return id;
}

static uint64_t warm_tenant(struct world *w, const char *tenant_id)
{
    invoke_tenant(w, tenant_id);
    return serve_cold(w, "1");
}

static const struct env *env_of(const struct world *w, uint64_t id)
{
    const struct env *env = NULL;

    HASH_FIND(hh, w->sched->envs, &id, sizeof id, env);
    return env;
}

static void expect_tenant(const struct world *w, uint64_t id, const char *tenant_id)
{
    assert_string_equal(env_of(w, id)->pool->tenant_id, tenant_id);
}

static unsigned pool_count(const struct world *w)
{
    return HASH_COUNT(w->sched->pools);
}

static void test_an_environment_serves_one_tenant(void **state)
{
    struct world *w = *state;
    uint64_t blue = warm_tenant(w, "blue"), green;

    expect_tenant(w, blue, "blue");
    invoke_tenant(w, "green"); /* although blue's is idle */
    green = serve_cold(w, "2");
    expect_tenant(w, green, "green");
    invoke_tenant(w, "green");
    expect_silence(w);
    assert_int_equal(env_of(w, green)->state, LIFE_BUSY);
    assert_int_equal(env_of(w, blue)->state, LIFE_IDLE);
    assert_int_equal(pool_count(w), 2);
}

static void test_the_runtime_and_ps_are_told(void **state)
{
    struct world *w = *state;
    AUTO_BUF struct buf out = BUF_INIT(4096);
    uint64_t id;

    invoke_tenant(w, "a/b c@d");
    id = expect_message(w, WIRE_START);
    started(w, id);
    call(w, "GET", "invocation/next", "");
    expect_text(w, "Lambda-Runtime-Aws-Tenant-Id: a/b c@d\r\n");
    sched_list(w->sched, &out);
    assert_non_null(strstr(out.data, "\"tenantId\":\"a/b c@d\","));
}

static void test_ids_that_look_like_keys_are_others(void **state)
{
    static const char *const ids[] = { "$LATEST", "/", "tenants/$LATEST", "a", "a/", "a//" };
    struct world *w = *state;

    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        expect_tenant(w, warm_tenant(w, ids[i]), ids[i]);
    assert_int_equal(pool_count(w), sizeof ids / sizeof ids[0]);
}

/* One above the limit: the environment that has been idle for longest makes room. */
static void test_idle_ones_of_others_give_way(void **state)
{
    struct world *w = *state;
    uint64_t ids[8], evicted;
    char tenant_id[8];

    for (unsigned i = 0; i < 8; i++) {
        (void)snprintf(tenant_id, sizeof tenant_id, "t%u", i);
        invoke_tenant(w, tenant_id);
        if (i == 7) {
            evicted = expect_message(w, WIRE_KILL);
            assert_int_equal(evicted, ids[0]);
        }
        ids[i] = serve_cold(w, "1");
    }
    assert_int_equal(w->sched->tenant_envs, 7);
    assert_int_equal(pool_count(w), 8);
    simple(w, WIRE_GONE, ids[0]);
    assert_int_equal(pool_count(w), 7);
}

/* Busy ones do not: 429, at once, also for a tenant who has a busy one. */
static void test_beyond_the_limit_is_refused(void **state)
{
    struct world *w = *state;
    uint64_t id;

    w->sched->config.account_concurrency = 1; /* two environments, and three at once by an earlier limit */
    invoke_tenant(w, "blue");
    invoke_tenant(w, "green");
    id = expect_message(w, WIRE_START);
    started(w, id);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_START), id + 1);
    invoke_tenant(w, "red");
    expect_answer(w, 0, SCHED_THROTTLED, "ConcurrentInvocationLimitExceeded");
    invoke_tenant(w, "blue");
    expect_answer(w, 1, SCHED_THROTTLED, "ConcurrentInvocationLimitExceeded");
    assert_int_equal(w->answers, 2);
    assert_int_equal(pool_count(w), 2);
    assert_int_equal(w->sched->tenant_envs, 2);
    assert_int_equal(w->sched->in_flight, 2);
    put_function(w, "other", -1, "other", false);
    w->per_tenant = false;
    put_function(w, "plain", -1, "plain", false);
    invoke_function(w, "plain"); /* not of a tenant: no matter */
    assert_int_equal(w->answers, 2);
}

/* Whoever can have the environment that has just posted its result waits for it; the next one is refused. */
static void test_one_that_is_about_to_be_free_is_waited_for_at_the_limit(void **state)
{
    struct world *w = *state;

    w->sched->config.account_concurrency = 1; /* two environments */
    (void)warm_tenant(w, "green");
    (void)warm_tenant(w, "blue");
    invoke_tenant(w, "green");
    invoke_tenant(w, "blue");
    call(w, "POST", "invocation/request/response", "1");
    expect_answer(w, 0, SCHED_OK, "1");
    invoke_tenant(w, "blue");
    invoke_tenant(w, "blue");
    for (int i = 0; i < 5; i++)
        expect_silence(w); /* longer than another environment would be waited for */
    assert_int_equal(w->answers, 2);
    expect_answer(w, 1, SCHED_THROTTLED, "ConcurrentInvocationLimitExceeded");
    call(w, "GET", "invocation/next", "");
    call(w, "POST", "invocation/request/response", "2");
    expect_answer(w, 2, SCHED_OK, "2");
}

static void test_an_update_takes_each_tenants_queue_along(void **state)
{
    struct world *w = *state;
    uint64_t old = warm_tenant(w, "blue"), busy, id;

    invoke_tenant(w, "blue");
    invoke_tenant(w, "blue"); /* waits for a second one */
    busy = expect_message(w, WIRE_START);
    put(w, -1, "newer", false);
    id = expect_message(w, WIRE_START);
    expect_tenant(w, id, "blue");
    assert_string_equal(env_of(w, id)->pool->version->config_id, "newer");
    assert_int_equal(env_of(w, old)->state, LIFE_BUSY);
    assert_int_equal(env_of(w, busy)->state, LIFE_STARTING);
}

/* The function is gone, and another of its name has no tenants: it is not what they asked for. */
static void test_another_function_without_tenants_gets_nobody(void **state)
{
    struct world *w = *state;
    uint64_t id;

    invoke_tenant(w, "blue");
    id = expect_message(w, WIRE_START);
    put(w, -1, "tenants", true);
    w->per_tenant = false;
    put(w, -1, "plain", false);
    expect_silence(w);
    expect_tenant(w, id, "blue");
    started(w, id);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CPU), id);
    call(w, "POST", "invocation/request/response", "1");
    expect_answer(w, 0, SCHED_OK, "1");
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    simple(w, WIRE_GONE, id);
    assert_null(w->sched->pools);
}

static void test_hostile_numbers_of_tenants_leave_nothing(void **state)
{
    struct world *w = *state;
    char tenant_id[32];
    unsigned handles = w->sched->open_handles;

    for (unsigned i = 0; i < 300; i++) {
        (void)snprintf(tenant_id, sizeof tenant_id, "tenant-%u", i);
        invoke_tenant(w, tenant_id);
        failed(w, expect_message(w, WIRE_START), WIRE_FAIL_SYSTEM);
        assert_int_equal(w->answers, 1);
        w->answers = 0;
    }
    assert_null(w->sched->pools);
    assert_null(w->sched->envs);
    turn(w);
    assert_int_equal(w->sched->open_handles, handles);
}

static void test_a_lost_launcher_counts_them_out(void **state)
{
    struct world *w = *state;

    (void)warm_tenant(w, "blue");
    invoke_tenant(w, "green");
    (void)expect_message(w, WIRE_START);
    assert_int_equal(w->sched->tenant_envs, 2);
    (void)close(w->launcher);
    turn(w);
    assert_int_equal(w->sched->tenant_envs, 0);
    connect_launcher(w);
    expect_answer(w, 0, SCHED_UNAVAILABLE, "launcher");
}

/* Clean state: what is made ahead is made for a tenant, within the limit, and is nobody else's. */
static void test_clean_state_is_kept_for_each_tenant(void **state)
{
    struct world *w = *state;
    uint64_t id, ahead;

    w->clean = true;
    put(w, -1, "clean", false);
    (void)expect_message(w, WIRE_START); /* the template's */
    invoke_tenant(w, "blue");
    id = expect_message(w, WIRE_START);
    started(w, id);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CPU), id);
    call(w, "POST", "invocation/request/response", "1");
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    ahead = expect_message(w, WIRE_START);
    expect_tenant(w, ahead, "blue");
    invoke_tenant(w, "green");
    id = expect_message(w, WIRE_START);
    expect_tenant(w, id, "green");
}

/* The template comes while the tenant waits for an ordinary start: then, too, something is made ahead. */
static void test_a_template_refills_the_pools_of_tenants(void **state)
{
    struct world *w = *state;
    uint64_t template_id, id;

    w->clean = true;
    put(w, -1, "clean", false);
    template_id = expect_message(w, WIRE_START);
    invoke_tenant(w, "blue");
    invoke_tenant(w, "blue");
    failed(w, expect_message(w, WIRE_START), WIRE_FAIL_SYSTEM);
    id = expect_message(w, WIRE_START);
    started(w, template_id);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CAPTURE), template_id);
    captured(w, template_id, 0);
    proven(w, template_id);
    expect_tenant(w, expect_message(w, WIRE_START), "blue");
    expect_tenant(w, id, "blue");
}

int main(void)
{
#define TENANTS_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_tenants, tear_down_tenants)
    const struct CMUnitTest tests[] = {
        TENANTS_TEST(test_an_environment_serves_one_tenant),
        TENANTS_TEST(test_the_runtime_and_ps_are_told),
        TENANTS_TEST(test_ids_that_look_like_keys_are_others),
        TENANTS_TEST(test_idle_ones_of_others_give_way),
        TENANTS_TEST(test_beyond_the_limit_is_refused),
        TENANTS_TEST(test_one_that_is_about_to_be_free_is_waited_for_at_the_limit),
        TENANTS_TEST(test_an_update_takes_each_tenants_queue_along),
        TENANTS_TEST(test_another_function_without_tenants_gets_nobody),
        TENANTS_TEST(test_hostile_numbers_of_tenants_leave_nothing),
        TENANTS_TEST(test_a_lost_launcher_counts_them_out),
        TENANTS_TEST(test_clean_state_is_kept_for_each_tenant),
        TENANTS_TEST(test_a_template_refills_the_pools_of_tenants),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
