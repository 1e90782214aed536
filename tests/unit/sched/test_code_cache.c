/* Which environments make a code cache, and which use it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "code/cache.h"
#include "sched/sched_priv.h"
#include "wire/wire.h"
#include "world.h"

static int set_up_cache(void **state)
{
    struct world *w;
    struct err err = { 0 };

    assert_int_equal(set_up(state), 0);
    w = *state;
    w->sched->config.templates = false;
    return code_cache_open(w->folder_fd, 1 << 20, &w->sched->config.code_cache, &err);
}

static int tear_down_cache(void **state)
{
    struct code_cache *cache = ((struct world *)*state)->sched->config.code_cache;
    int result = tear_down(state);

    (void)code_cache_free(cache);
    return result;
}

static void ask_next(struct world *w, const char *note)
{
    char text[256];
    int len = snprintf(text, sizeof text,
                       "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n%s\r\n", note);

    assert_int_equal(send(w->runtime, text, (size_t)len, MSG_NOSIGNAL), len);
    turn(w);
}

/* On a connection of its own: the other one waits in `next`. */
static void send_cache(struct world *w)
{
    static const char text[] = "PUT /irori/code-cache HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\ncode";
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(getpeername(w->runtime, (struct sockaddr *)&address, &len), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(send(fd, text, sizeof text - 1, MSG_NOSIGNAL), sizeof text - 1);
    turn(w);
    (void)close(fd);
}

static uint64_t start_one(struct world *w, uint32_t flags)
{
    uint64_t id;

    invoke(w);
    id = expect_message(w, WIRE_START);
    assert_int_equal(start.flags, flags);
    return id;
}

/* Started, INIT done, answered, idle. */
static void serve(struct world *w, uint64_t id, const char *note)
{
    started(w, id);
    ask_next(w, note);
    assert_int_equal(expect_message(w, WIRE_CPU), id);
    call(w, "POST", "invocation/request/response", "1");
    call(w, "GET", "invocation/next", "");
    expect_answer(w, w->answers - 1, SCHED_OK, "1");
}

static void expect_cache(const struct world *w, const char *text)
{
    struct buf out = BUF_INIT(512);

    code_cache_list(w->sched->config.code_cache, &out);
    assert_non_null(strstr(out.data, text));
    buf_done(&out);
}

static struct env *env_of(const struct world *w, uint64_t id)
{
    struct env *env = NULL;

    HASH_FIND(hh, w->sched->envs, &id, sizeof id, env);
    assert_non_null(env);
    return env;
}

static void evict(struct world *w, uint64_t id)
{
    env_evict(env_of(w, id));
    turn(w);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    simple(w, WIRE_GONE, id);
}

static void make_one(struct world *w)
{
    uint64_t id = start_one(w, 0);

    serve(w, id, "");
    send_cache(w);
    evict(w, id);
}

static void test_the_first_makes_it_and_later_ones_use_it(void **state)
{
    struct world *w = *state;
    uint64_t id;

    put_as(w, "nodejs20.x", -1, "second", false);
    make_one(w);
    expect_cache(w, "\"files\":1,\"bytes\":4,\"made\":1,\"used\":0");
    id = start_one(w, WIRE_START_CODE_CACHE);
    serve(w, id, "Irori-Code-Cache: used 3\r\n");
    expect_cache(w, "\"used\":1,\"spoiled\":0");
    evict(w, id);
}

static void test_functions_with_tenants_have_none(void **state)
{
    struct world *w = *state;

    w->per_tenant = true;
    put_as(w, "nodejs20.x", -1, "second", false);
    invoke_tenant(w, "a");
    assert_int_equal(env_of(w, expect_message(w, WIRE_START))->code_cache, CODE_CACHE_NONE);
}

static void test_while_it_is_made_nobody_else_does_and_it_stays_awake(void **state)
{
    struct world *w = *state;
    uint64_t id, other;

    w->sched->config.freeze_after_ms = 500;
    put_as(w, "nodejs20.x", -1, "second", false);
    id = start_one(w, 0);
    other = start_one(w, 0);
    assert_int_equal(env_of(w, id)->code_cache, CODE_CACHE_MAKE);
    assert_int_equal(env_of(w, other)->code_cache, CODE_CACHE_NONE);
    serve(w, id, "");
    call(w, "POST", "invocation/request/response", "1"); /* of the second caller */
    call(w, "GET", "invocation/next", "");
    assert_true(uv_timer_get_due_in(&env_of(w, id)->timer) > 1000);
    send_cache(w);
    assert_true(uv_timer_get_due_in(&env_of(w, id)->timer) <= 500);
    expect_cache(w, "\"files\":1");
}

static void test_the_next_one_tries_when_the_maker_has_ended(void **state)
{
    struct world *w = *state;
    uint64_t id;

    put_as(w, "nodejs20.x", -1, "second", false);
    id = start_one(w, 0);
    serve(w, id, "");
    evict(w, id);
    make_one(w);
    expect_cache(w, "\"files\":1");
}

static void test_one_of_no_use_is_made_anew(void **state)
{
    struct world *w = *state;
    uint64_t id;

    put_as(w, "nodejs20.x", -1, "second", false);
    make_one(w);
    id = start_one(w, WIRE_START_CODE_CACHE);
    serve(w, id, "Irori-Code-Cache: unusable\r\n");
    expect_cache(w, "\"files\":0,\"bytes\":0,\"made\":1,\"used\":0,\"spoiled\":1");
    evict(w, id);
    make_one(w);
    expect_cache(w, "\"files\":1");
}

static void test_one_over_which_the_runtime_crashes_is_removed(void **state)
{
    struct world *w = *state;
    struct wire_message message = { .type = WIRE_EXITED };
    uint64_t id;

    put_as(w, "nodejs20.x", -1, "second", false);
    make_one(w);
    id = start_one(w, WIRE_START_CODE_CACHE);
    started(w, id);
    message.env_id = id;
    message.exited = (struct wire_exited){ id, WIRE_EXIT_SIGNAL, SIGTRAP, false, "" };
    send_message(w, &message, NULL, 0);
    expect_cache(w, "\"files\":0,\"bytes\":0,\"made\":1,\"used\":0,\"spoiled\":1");
}

static void test_it_goes_with_its_code(void **state)
{
    struct world *w = *state;

    put_as(w, "nodejs20.x", -1, "second", false);
    make_one(w);
    put_as(w, "nodejs20.x", -1, "third", false); /* another configuration of the same code */
    env_cache_sweep(w->sched);
    expect_cache(w, "\"files\":1");
    put_as(w, "nodejs20.x", -1, "third", true);
    expect_cache(w, "\"files\":0,\"bytes\":0");
}

static void test_what_comes_after_a_change_is_not_kept(void **state)
{
    struct world *w = *state;
    uint64_t id;

    put_as(w, "nodejs20.x", -1, "second", false);
    id = start_one(w, 0);
    started(w, id);
    ask_next(w, "");
    assert_int_equal(expect_message(w, WIRE_CPU), id);
    put_as(w, "nodejs20.x", -1, "second", true); /* it is busy, and may end its invocation */
    send_cache(w);
    expect_cache(w, "\"files\":0");
}

static void expect_none(struct world *w, const char *name, const char *runtime)
{
    struct interpreter *interpreter = &w->sched->interpreters[w->sched->interpreter_count++];
    uint64_t id;

    (void)snprintf(interpreter->id, sizeof interpreter->id, "%s", runtime);
    (void)snprintf(interpreter->inside, sizeof interpreter->inside, "/bin/x");
    put_full(w, name, runtime, -1, "config", false);
    invoke_function(w, name);
    id = expect_message(w, WIRE_START);
    assert_int_equal(start.flags, 0);
    assert_int_equal(env_of(w, id)->code_cache, CODE_CACHE_NONE);
}

static void test_node_18_has_none(void **state)
{
    struct world *w = *state;

    expect_none(w, "old", "nodejs18.x");
}

static void test_python_has_none(void **state)
{
    struct world *w = *state;

    expect_none(w, "python", "python3.11");
}

static void test_versions_with_a_template_of_their_own_have_none(void **state)
{
    struct world *w = *state;

    w->clean = true;
    expect_none(w, "clean", "nodejs20.x");
}

#define CACHE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_cache, tear_down_cache)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CACHE_TEST(test_the_first_makes_it_and_later_ones_use_it),
        CACHE_TEST(test_while_it_is_made_nobody_else_does_and_it_stays_awake),
        CACHE_TEST(test_the_next_one_tries_when_the_maker_has_ended),
        CACHE_TEST(test_one_of_no_use_is_made_anew),
        CACHE_TEST(test_one_over_which_the_runtime_crashes_is_removed),
        CACHE_TEST(test_it_goes_with_its_code),
        CACHE_TEST(test_what_comes_after_a_change_is_not_kept),
        CACHE_TEST(test_node_18_has_none),
        CACHE_TEST(test_functions_with_tenants_have_none),
        CACHE_TEST(test_python_has_none),
        CACHE_TEST(test_versions_with_a_template_of_their_own_have_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
