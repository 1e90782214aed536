/* Connections of cloned runtimes; everything else of the Runtime API is tested end to end. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/blob.h"
#include "base/buf.h"
#include "runtime/runtime_api.h"

struct world {
    uv_loop_t loop;
    struct runtime_api *api;
    int client;
    struct sockaddr_in address; /* of the listener */
    unsigned nexts, init_errors, restores, useful, useless, caches;
    size_t cache_len;
    char answers[4096];
};

static void on_next(void *ctx)
{
    ((struct world *)ctx)->nexts++;
}

static void on_result(const struct runtime_result *result, void *ctx)
{
    (void)result;
    (void)ctx;
}

static void on_init_error(const struct runtime_result *result, void *ctx)
{
    (void)result;
    ((struct world *)ctx)->init_errors++;
}

static void on_restore_next(void *ctx)
{
    ((struct world *)ctx)->restores++;
}

static bool on_credentials(const char *token, size_t len, struct buf *out, void *ctx)
{
    (void)ctx;
    if (len != 5 || memcmp(token, "token", 5) != 0)
        return false;
    return buf_puts(out, "{\"AccessKeyId\":\"A\"}") == 0;
}

static void on_code_cache_used(bool useful, void *ctx)
{
    if (useful)
        ((struct world *)ctx)->useful++;
    else
        ((struct world *)ctx)->useless++;
}

static void on_code_cache(const char *body, size_t len, void *ctx)
{
    assert_non_null(body);
    ((struct world *)ctx)->caches++;
    ((struct world *)ctx)->cache_len = len;
}

static void turn(struct world *w)
{
    for (int i = 0; i < 10; i++)
        (void)uv_run(&w->loop, UV_RUN_NOWAIT);
}

/* What the runtime gets to read now. */
static const char *read_answer(struct world *w)
{
    ssize_t n;

    turn(w);
    n = recv(w->client, w->answers, sizeof w->answers - 1, MSG_DONTWAIT);
    w->answers[n > 0 ? n : 0] = '\0';
    return w->answers;
}

static void say(struct world *w, const char *text)
{
    assert_int_equal(send(w->client, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

#define NEXT "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n"

#define RESTORE_NEXT "GET /2018-06-01/runtime/restore/next HTTP/1.1\r\nHost: x\r\n\r\n"

static void open_parked(struct world *w, enum runtime_parked parked, const char *wake, bool snap_start)
{
    struct runtime_api_owner owner = {
        .on_next = on_next,
        .on_result = on_result,
        .on_init_error = on_init_error,
        .on_code_cache_used = on_code_cache_used,
        .on_code_cache = on_code_cache,
        .code_cache_max_bytes = 100000,
        .ctx = w,
    };
    socklen_t len = sizeof w->address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), pair[2];

    if (snap_start) {
        owner.on_restore_next = on_restore_next;
        owner.on_credentials = on_credentials;
    }
    *w = (struct world){ .address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) } };
    assert_int_equal(uv_loop_init(&w->loop), 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&w->address, sizeof w->address), 0);
    assert_int_equal(listen(listener, 4), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&w->address, &len), 0);
    w->api = runtime_api_new(&w->loop, listener, &owner);
    assert_non_null(w->api);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(runtime_api_adopt_parked(w->api, pair[0], parked, wake), 0);
    assert_int_equal(w->nexts, 0); /* never before the call has returned */
    w->client = pair[1];
}

static void open_world(struct world *w, const char *wake)
{
    open_parked(w, wake ? RUNTIME_PARKED_TO_WAKE : RUNTIME_PARKED_IN_NEXT, wake, false);
}

static void close_world(struct world *w)
{
    w->api = runtime_api_free(w->api);
    (void)close(w->client);
    assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&w->loop), 0);
}

static void deliver(struct world *w)
{
    struct blob *event = blob_new("{\"a\":1}", 7);
    struct runtime_event given = { .request_id = "id", .function_arn = "arn", .body = event };

    assert_int_equal(runtime_api_deliver(w->api, &given), 0);
    (void)blob_unref(event);
}

/* A connection that ends by itself stays with the kernel for a minute, and the slot's next environment pays
 * for looking it up. */
static void test_who_is_being_ended_is_given_nothing(void **state)
{
    (void)state;
    struct world w;
    int again = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char byte;

    open_world(&w, NULL);
    turn(&w);
    deliver(&w);
    runtime_api_mute(w.api);
    assert_int_equal(connect(again, (struct sockaddr *)&w.address, sizeof w.address), 0);
    assert_int_equal(send(again, NEXT, strlen(NEXT), MSG_NOSIGNAL), strlen(NEXT));
    turn(&w);
    assert_int_equal(recv(again, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
    (void)close(again);
    close_world(&w);
}

static void test_who_waits_for_work_is_reset_at_the_end(void **state)
{
    (void)state;
    struct world w;
    int waiting = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char byte;

    open_world(&w, "{}");
    assert_int_equal(connect(waiting, (struct sockaddr *)&w.address, sizeof w.address), 0);
    assert_int_equal(send(waiting, NEXT, strlen(NEXT), MSG_NOSIGNAL), strlen(NEXT));
    turn(&w);
    assert_int_equal(w.nexts, 1);
    w.api = runtime_api_free(w.api);
    turn(&w);
    assert_int_equal(recv(waiting, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
    (void)close(waiting);
    close_world(&w);
}

static void test_a_clone_is_woken_and_then_asks_for_its_work(void **state)
{
    (void)state;
    char wake[] = "{\"seed\":\"00\"}";
    struct world w;

    open_world(&w, wake);
    memset(wake, 'x', sizeof wake - 1); /* it was copied */
    assert_string_equal(read_answer(&w),
                        "HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: keep-alive\r\n"
                        "Content-Type: application/json\r\nIrori-Wake: runtime\r\n\r\n{\"seed\":\"00\"}");
    assert_int_equal(w.nexts, 0);
    assert_int_equal(runtime_api_state(w.api), RUNTIME_STARTED);
    say(&w, NEXT);
    assert_string_equal(read_answer(&w), "");
    assert_int_equal(w.nexts, 1);
    assert_int_equal(runtime_api_state(w.api), RUNTIME_READY);
    deliver(&w);
    assert_non_null(strstr(read_answer(&w), "Lambda-Runtime-Aws-Request-Id: id\r\n"));
    close_world(&w);
}

static void test_a_woken_clone_may_fail_its_init(void **state)
{
    (void)state;
    struct world w;

    open_world(&w, "{}");
    assert_non_null(strstr(read_answer(&w), "Irori-Wake"));
    say(&w, "POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}");
    assert_non_null(strstr(read_answer(&w), " 202 "));
    assert_int_equal(w.init_errors, 1);
    assert_int_equal(w.nexts, 0);
    close_world(&w);
}

static void test_only_the_parked_one_is_woken(void **state)
{
    (void)state;
    struct world w;
    int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char byte;

    open_world(&w, "{}");
    assert_int_equal(connect(other, (struct sockaddr *)&w.address, sizeof w.address), 0);
    assert_int_equal(send(other, NEXT, strlen(NEXT), MSG_NOSIGNAL), strlen(NEXT));
    assert_non_null(strstr(read_answer(&w), "Irori-Wake"));
    assert_int_equal(w.nexts, 1);
    assert_int_equal(recv(other, &byte, 1, MSG_DONTWAIT), -1); /* waits for its work */
    (void)close(other);
    close_world(&w);
}

static void test_without_a_message_it_waits_for_its_work(void **state)
{
    (void)state;
    struct world w;

    open_world(&w, NULL);
    assert_string_equal(read_answer(&w), "");
    assert_int_equal(w.nexts, 1);
    deliver(&w);
    assert_non_null(strstr(read_answer(&w), "{\"a\":1}"));
    close_world(&w);
}

static void test_an_end_before_the_message_loses_nothing(void **state)
{
    (void)state;
    struct world w;

    open_world(&w, "{}");
    close_world(&w);
    assert_int_equal(w.nexts, 0);
}

static void test_a_clone_is_restored_and_then_asks_for_its_work(void **state)
{
    (void)state;
    char wake[] = "{\"seed\":\"00\"}";
    struct world w;

    open_parked(&w, RUNTIME_PARKED_IN_RESTORE, NULL, true);
    assert_string_equal(read_answer(&w), "");
    assert_int_equal(w.restores, 1);
    assert_int_equal(runtime_api_state(w.api), RUNTIME_RESTORE_READY);
    assert_int_equal(runtime_api_restored(w.api, wake), 0);
    memset(wake, 'x', sizeof wake - 1); /* it was copied */
    assert_non_null(strstr(read_answer(&w), "Irori-Wake: function\r\n\r\n{\"seed\":\"00\"}"));
    assert_int_equal(runtime_api_restored(w.api, NULL), -EBUSY);
    say(&w, NEXT);
    assert_string_equal(read_answer(&w), "");
    assert_int_equal(w.nexts, 1);
    close_world(&w);
}

static void test_a_runtime_that_knows_restores_is_answered_with_nothing(void **state)
{
    (void)state;
    struct world w;

    open_parked(&w, RUNTIME_PARKED_IN_RESTORE, NULL, true);
    (void)read_answer(&w);
    assert_int_equal(runtime_api_restored(w.api, NULL), 0);
    assert_string_equal(read_answer(&w),
                        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n");
    close_world(&w);
}

static void test_a_restore_may_fail_under_either_name(void **state)
{
    (void)state;
    static const char *const calls[] = { "restore/error", "init/error" };

    for (int i = 0; i < 2; i++) {
        struct world w;

        open_parked(&w, RUNTIME_PARKED_IN_RESTORE, NULL, true);
        (void)read_answer(&w);
        assert_int_equal(runtime_api_restored(w.api, NULL), 0);
        (void)read_answer(&w);
        say(&w, "POST /2018-06-01/runtime/");
        say(&w, calls[i]);
        say(&w, " HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}");
        assert_non_null(strstr(read_answer(&w), " 202 "));
        assert_int_equal(w.init_errors, 1);
        assert_int_equal(runtime_api_state(w.api), RUNTIME_RESTORE_ERROR);
        say(&w, NEXT);
        assert_non_null(strstr(read_answer(&w), "from RuntimeRestoreErrorState to Ready"));
        close_world(&w);
    }
}

static void test_only_a_snap_start_environment_is_restored_and_has_credentials(void **state)
{
    (void)state;
    static const char credentials[] = "GET /2021-04-23/credentials HTTP/1.1\r\nHost: x\r\nAuthorization: ";
    struct world w;

    open_world(&w, "{}");
    (void)read_answer(&w);
    say(&w, RESTORE_NEXT);
    assert_non_null(strstr(read_answer(&w), " 404 "));
    say(&w, credentials);
    say(&w, "token\r\n\r\n");
    assert_non_null(strstr(read_answer(&w), " 404 "));
    close_world(&w);
    open_parked(&w, RUNTIME_PARKED_IN_NEXT, NULL, true);
    close_world(&w);
    open_parked(&w, RUNTIME_PARKED_IN_RESTORE, NULL, true);
    (void)read_answer(&w);
    assert_int_equal(runtime_api_restored(w.api, NULL), 0);
    (void)read_answer(&w);
    say(&w, credentials);
    say(&w, "tokens\r\n\r\n");
    assert_non_null(strstr(read_answer(&w), "\r\n\r\ncannot get credentials for the provided token"));
    say(&w, credentials);
    say(&w, "token\r\n\r\n");
    assert_non_null(strstr(read_answer(&w), "\r\n\r\n{\"AccessKeyId\":\"A\"}"));
    close_world(&w);
}

#define PUT_CACHE(length) "PUT /irori/code-cache HTTP/1.1\r\nHost: x\r\nContent-Length: " length "\r\n\r\n"

static void open_running(struct world *w, const char *note)
{
    char next[256];

    open_parked(w, RUNTIME_PARKED_TO_WAKE, "{}", false);
    (void)read_answer(w);
    (void)snprintf(next, sizeof next, "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n%s\r\n",
                   note);
    say(w, next);
    turn(w);
}

static void finish_invocation(struct world *w)
{
    deliver(w);
    (void)read_answer(w);
    say(w,
        "POST /2018-06-01/runtime/invocation/id/response HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1");
    (void)read_answer(w);
}

static void test_what_it_compiled_is_taken_once_and_not_before_an_invocation(void **state)
{
    struct world w;

    (void)state;
    open_running(&w, "");
    assert_int_equal(w.useful + w.useless, 0);
    deliver(&w);
    (void)read_answer(&w);
    assert_int_equal(w.caches, 0);
    say(&w,
        "POST /2018-06-01/runtime/invocation/id/response HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1");
    (void)read_answer(&w);
    say(&w, PUT_CACHE("70000")); /* more than a body may usually have */
    for (int i = 0; i < 700; i++) {
        say(&w, "01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901"
                "23456789");
        turn(&w);
    }
    assert_non_null(strstr(read_answer(&w), "202"));
    assert_int_equal(w.caches, 1);
    assert_int_equal(w.cache_len, 70000);
    say(&w, PUT_CACHE("1") "x");
    assert_non_null(strstr(read_answer(&w), "404"));
    assert_int_equal(w.caches, 1);
    close_world(&w);
}

static void test_nothing_and_too_much(void **state)
{
    struct world w;

    (void)state;
    open_running(&w, "");
    finish_invocation(&w);
    say(&w, PUT_CACHE("100001"));
    assert_non_null(strstr(read_answer(&w), "413"));
    assert_int_equal(w.caches, 0);
    close_world(&w);
    open_running(&w, "");
    finish_invocation(&w);
    say(&w, PUT_CACHE("0"));
    assert_non_null(strstr(read_answer(&w), "202"));
    assert_int_equal(w.caches, 1);
    assert_int_equal(w.cache_len, 0);
    close_world(&w);
}

static void test_init_may_not_send_any(void **state)
{
    struct world w;

    (void)state;
    open_running(&w, "");
    close_world(&w);
    open_parked(&w, RUNTIME_PARKED_TO_WAKE, "{}", false);
    (void)read_answer(&w);
    say(&w, PUT_CACHE("1") "x");
    assert_non_null(strstr(read_answer(&w), "404"));
    assert_int_equal(w.caches, 0);
    close_world(&w);
}

static void test_it_says_whether_what_it_was_given_was_of_use(void **state)
{
    struct world w;

    (void)state;
    open_running(&w, "Irori-Code-Cache: used 12\r\n");
    assert_int_equal(w.useful, 1);
    finish_invocation(&w);
    say(&w,
        "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\nIrori-Code-Cache: unusable\r\n\r\n");
    turn(&w);
    assert_int_equal(w.useless, 0); /* only INIT knows */
    close_world(&w);
    open_running(&w, "Irori-Code-Cache: unusable\r\n");
    assert_int_equal(w.useful, 0);
    assert_int_equal(w.useless, 1);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_is_being_ended_is_given_nothing),
        cmocka_unit_test(test_who_waits_for_work_is_reset_at_the_end),
        cmocka_unit_test(test_what_it_compiled_is_taken_once_and_not_before_an_invocation),
        cmocka_unit_test(test_nothing_and_too_much),
        cmocka_unit_test(test_init_may_not_send_any),
        cmocka_unit_test(test_it_says_whether_what_it_was_given_was_of_use),
        cmocka_unit_test(test_a_clone_is_woken_and_then_asks_for_its_work),
        cmocka_unit_test(test_a_woken_clone_may_fail_its_init),
        cmocka_unit_test(test_only_the_parked_one_is_woken),
        cmocka_unit_test(test_a_clone_is_restored_and_then_asks_for_its_work),
        cmocka_unit_test(test_a_runtime_that_knows_restores_is_answered_with_nothing),
        cmocka_unit_test(test_a_restore_may_fail_under_either_name),
        cmocka_unit_test(test_only_a_snap_start_environment_is_restored_and_has_credentials),
        cmocka_unit_test(test_without_a_message_it_waits_for_its_work),
        cmocka_unit_test(test_an_end_before_the_message_loses_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
