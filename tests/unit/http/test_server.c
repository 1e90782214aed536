#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "http/server.h"

/* A server on one end of a socket pair; the test is the client. */
struct world {
    uv_loop_t loop;
    struct http_server *server;
    int client;
    struct http_exchange *held[4]; /* requests to /hold, in their order */
    size_t held_count, requests, gone, truncated, too_large, released, freed;
    size_t marked; /* requests before the one to /mark */
    struct buf answers;
    bool ended; /* the server has closed */
};

static size_t body_limit(struct http_exchange *x, void *ctx)
{
    (void)ctx;
    return http_slice_equal(http_exchange_request(x)->path, "/large") ? 64 << 20 : 1000;
}

static void on_release(void *owner)
{
    ++*(size_t *)owner;
}

static void on_request(struct http_exchange *x, void *ctx)
{
    const struct http_request *request = http_exchange_request(x);
    struct world *world = ctx;
    static char big[8 << 20];

    if (http_slice_equal(request->path, "/mark"))
        world->marked = world->requests;
    world->requests++;
    assert_ptr_equal(http_exchange_context(x), world);
    assert_ptr_equal(http_exchange_loop(x), &world->loop);
    assert_string_equal(http_exchange_peer(x), "");
    if (http_slice_equal(request->path, "/hold"))
        world->held[world->held_count++] = x;
    else if (http_slice_equal(request->path, "/abort"))
        http_abort(x);
    else if (http_slice_equal(request->path, "/close"))
        http_reply_close(x, 200, "", 0, "bye", 3);
    else if (http_slice_equal(request->path, "/204"))
        http_reply(x, 204, "", 0, "ignored", 7, NULL, NULL);
    else if (http_slice_equal(request->path, "/big"))
        http_reply(x, 200, "A: b\r\n", 6, big, sizeof big, on_release, &world->released);
    else if (http_slice_equal(request->path, "/copy"))
        http_reply(x, 200, "", 0, big, sizeof big, NULL, NULL);
    else if (http_slice_equal(request->path, "/free"))
        http_server_free(world->server, NULL, NULL), http_reply(x, 200, "", 0, "late", 4, NULL, NULL);
    else if (http_slice_equal(request->path, "/large"))
        http_reply(x, request->body_len == 30 << 20 ? 200 : 500, "", 0, "", 0, NULL, NULL);
    else
        http_reply(x, 200, "X: y\r\n", 6, request->path.at, request->path.len, NULL, NULL);
}

static void on_too_large(struct http_exchange *x, void *ctx)
{
    ((struct world *)ctx)->too_large++;
    http_reply(x, 413, "", 0, "no", 2, NULL, NULL);
}

static void on_gone(struct http_exchange *x, void *ctx)
{
    assert_true(http_exchange_gone(x));
    ((struct world *)ctx)->gone++;
}

static void on_truncated(struct http_exchange *x, void *ctx)
{
    assert_int_equal(http_exchange_request(x)->path.at[0], '/');
    ((struct world *)ctx)->truncated++;
}

static void on_freed(void *ctx)
{
    ((struct world *)ctx)->freed++;
}

static const char *error_body(int status, const char **ret_headers, void *ctx)
{
    (void)ctx;
    (void)status;
    *ret_headers = "E: f\r\n";
    return "refused";
}

/* One more connection; returns the client's end. */
static int connect_more(struct world *world)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(http_server_adopt(world->server, pair[0], NULL, 0), 0);
    return pair[1];
}

static void open_configured(struct world *world, const struct http_server_config *config)
{
    *world = (struct world){ .answers = BUF_INIT(64 << 20) };
    assert_int_equal(uv_loop_init(&world->loop), 0);
    world->server = http_server_new(&world->loop, config);
    assert_non_null(world->server);
    world->client = connect_more(world);
    assert_int_equal(http_server_connections(world->server), 1);
}

static struct http_server_config standard_config(struct world *world, uint64_t timeout_ms)
{
    return (struct http_server_config){
        .max_line_bytes = 1000,
        .max_header_bytes = 2 << 20,
        .max_headers = 50,
        .idle_timeout_ms = timeout_ms,
        .head_timeout_ms = timeout_ms,
        .body_timeout_ms = timeout_ms,
        .body_limit = body_limit,
        .on_too_large = on_too_large,
        .on_request = on_request,
        .on_gone = on_gone,
        .on_truncated = on_truncated,
        .error_body = error_body,
        .ctx = world,
    };
}

static void open_world(struct world *world, uint64_t timeout_ms)
{
    struct http_server_config config = standard_config(world, timeout_ms);

    open_configured(world, &config);
}

static void run_some(struct world *world)
{
    for (int i = 0; i < 10; i++)
        (void)uv_run(&world->loop, UV_RUN_NOWAIT);
}

static void read_answers(struct world *world)
{
    static char bytes[1 << 20];
    ssize_t n;

    for (int i = 0; i < 200; i++) {
        run_some(world);
        n = recv(world->client, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n > 0)
            assert_int_equal(buf_append(&world->answers, bytes, (size_t)n), 0);
        world->ended |= n == 0 || (n < 0 && errno == ECONNRESET);
        if (n <= 0 && i > 20)
            break;
    }
}

static void say(struct world *world, const char *text)
{
    assert_int_equal(send(world->client, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    read_answers(world);
}

static void close_world(struct world *world)
{
    if (world->client >= 0)
        (void)close(world->client);
    run_some(world);
    if (world->server)
        http_server_free(world->server, on_freed, world);
    for (size_t i = 0; i < world->held_count; i++)
        http_reply(world->held[i], 200, "", 0, "late", 4, NULL, NULL);
    assert_int_equal(uv_run(&world->loop, UV_RUN_DEFAULT), 0);
    assert_true(!world->server || world->freed == 1);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    buf_done(&world->answers);
}

static size_t occurrences(const struct world *world, const char *text)
{
    size_t count = 0;

    for (const char *at = world->answers.data; at && (at = strstr(at, text)); at++)
        count++;
    return count;
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

static void test_an_answer_is_formatted_whole(void **state)
{
    (void)state;
    struct world world;

    open_world(&world, 0);
    say(&world, GET("/hello"));
    assert_string_equal(
        world.answers.data,
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: keep-alive\r\nX: y\r\n\r\n/hello");
    close_world(&world);
}

static void test_answers_without_a_body(void **state)
{
    (void)state;
    struct world world;

    open_world(&world, 0);
    say(&world, "HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n" GET("/204"));
    assert_string_equal(world.answers.data,
                        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: keep-alive\r\nX: y\r\n\r\n"
                        "HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n");
    close_world(&world);
}

static void test_pipelined_requests_wait_for_the_answer_before(void **state)
{
    (void)state;
    struct world world;

    open_world(&world, 0);
    say(&world, GET("/a") GET("/hold") GET("/b") GET("/hold") GET("/c"));
    assert_int_equal(world.requests, 2);
    assert_int_equal(occurrences(&world, "200 OK"), 1);
    http_reply(world.held[0], 200, "", 0, "first", 5, NULL, NULL);
    assert_int_equal(world.requests, 2); /* never from inside the reply */
    read_answers(&world);
    assert_int_equal(world.requests, 4);
    assert_int_equal(occurrences(&world, "first"), 1);
    http_reply(world.held[1], 200, "", 0, "second", 6, NULL, NULL);
    read_answers(&world);
    assert_int_equal(occurrences(&world, "/c"), 1);
    world.held_count = 0;
    close_world(&world);
}

static void test_answers_are_joined_while_the_next_request_waits(void **state)
{
    (void)state;
    struct world world;
    struct http_server_config config = standard_config(&world, 0);

    config.join_answers = true;
    open_configured(&world, &config);
    say(&world, GET("/a") GET("/hold"));
    assert_int_equal(world.requests, 2);
    assert_int_equal(occurrences(&world, "200 OK"), 0);
    http_reply(world.held[0], 200, "", 0, "first", 5, NULL, NULL);
    read_answers(&world);
    assert_int_equal(occurrences(&world, "200 OK"), 2);
    assert_int_equal(occurrences(&world, "/a"), 1);
    /* Half a request behind it is nothing to wait for. */
    say(&world, GET("/b") "GET /c");
    assert_int_equal(occurrences(&world, "/b"), 1);
    world.held_count = 0;
    close_world(&world);
}

/* The buffer was moved for the body when the end came instead. */
static void test_a_large_body_cut_short_names_its_request(void **state)
{
    (void)state;
    struct world world;

    open_world(&world, 0);
    say(&world, "POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: 31457280\r\n\r\n");
    assert_int_equal(shutdown(world.client, SHUT_WR), 0);
    read_answers(&world);
    assert_int_equal(world.truncated, 1);
    close_world(&world);
}

static void test_a_request_may_come_while_another_is_held(void **state)
{
    (void)state;
    struct world world;

    open_world(&world, 0);
    say(&world, GET("/hold"));
    say(&world, GET("/b"));
    assert_int_equal(world.requests, 1);
    http_reply(world.held[0], 200, "", 0, "first", 5, NULL, NULL);
    read_answers(&world);
    assert_int_equal(world.requests, 2);
    assert_int_equal(occurrences(&world, "/b"), 1);
    world.held_count = 0;
    close_world(&world);
}

static void test_a_request_stays_where_it_is_while_held(void **state)
{
    (void)state;
    struct world world;
    const struct http_request *request;

    open_world(&world, 0);
    say(&world, "POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" GET("/b"));
    say(&world, GET("/c"));
    request = http_exchange_request(world.held[0]);
    assert_memory_equal(request->body, "abc", 3);
    assert_true(http_slice_equal(request->path, "/hold"));
    close_world(&world);
}

static void test_a_peer_that_goes_is_told_once_and_may_still_be_answered(void **state)
{
    (void)state;
    struct world world;

    open_world(&world, 0);
    say(&world, GET("/hold"));
    assert_int_equal(shutdown(world.client, SHUT_WR), 0);
    read_answers(&world);
    assert_int_equal(world.gone, 1);
    http_reply(world.held[0], 200, "", 0, "anyway", 6, NULL, NULL);
    world.held_count = 0;
    read_answers(&world);
    assert_int_equal(occurrences(&world, "anyway"), 1);
    assert_true(world.ended);
    assert_int_equal(http_server_connections(world.server), 0);
    close_world(&world);
}

static void test_pipelined_requests_of_a_half_closed_peer_are_served(void **state)
{
    (void)state;
    struct world world;

    open_world(&world, 0);
    assert_true(send(world.client, GET("/hold") GET("/b"), strlen(GET("/hold") GET("/b")), 0) > 0);
    assert_int_equal(shutdown(world.client, SHUT_WR), 0);
    read_answers(&world);
    http_reply(world.held[0], 200, "", 0, "first", 5, NULL, NULL);
    world.held_count = 0;
    read_answers(&world);
    assert_int_equal(occurrences(&world, "/b"), 1);
    assert_true(world.ended);
    close_world(&world);
}

static void test_an_answer_after_the_end_is_harmless(void **state)
{
    (void)state;
    struct world world;
    size_t released = 0;

    open_world(&world, 0);
    say(&world, GET("/hold"));
    (void)close(world.client);
    world.client = -1;
    run_some(&world);
    http_reply(world.held[0], 200, "", 0, "late", 4, on_release, &released);
    world.held_count = 0;
    run_some(&world);
    assert_int_equal(released, 1);
    assert_int_equal(http_server_connections(world.server), 0);
    close_world(&world);
}

static void test_a_server_is_freed_after_its_last_exchange(void **state)
{
    (void)state;
    struct world world;

    open_world(&world, 0);
    say(&world, GET("/hold"));
    http_server_free(world.server, on_freed, &world);
    world.server = NULL;
    read_answers(&world);
    assert_int_equal(world.freed, 0);
    assert_int_equal(world.gone, 0);
    assert_true(http_exchange_gone(world.held[0]));
    http_abort(world.held[0]);
    assert_int_equal(world.freed, 1);
    world.held_count = 0;
    close_world(&world);
}

static void test_a_handler_may_free_the_server(void **state)
{
    (void)state;
    struct world world;

    open_world(&world, 0);
    say(&world, GET("/free") GET("/b"));
    assert_int_equal(world.requests, 1);
    assert_true(world.ended);
    world.server = NULL;
    close_world(&world);
}

static void test_a_large_answer_waits_for_its_reader(void **state)
{
    (void)state;
    static const char *const paths[] = { GET("/big") GET("/b"), GET("/copy") GET("/b") };

    for (size_t i = 0; i < 2; i++) {
        struct world world;

        open_world(&world, 0);
        assert_true(send(world.client, paths[i], strlen(paths[i]), 0) > 0);
        run_some(&world);
        assert_int_equal(world.requests, 1); /* the second waits for the unsent answer */
        assert_int_equal(world.released, 0);
        read_answers(&world);
        assert_int_equal(world.requests, 2);
        assert_int_equal(world.released, i == 0);
        assert_true(world.answers.len > 8 << 20);
        assert_memory_equal(world.answers.data + world.answers.len - 2, "/b", 2);
        close_world(&world);
    }
}

static void test_a_large_answer_to_nobody_is_released(void **state)
{
    (void)state;
    struct world world;

    open_world(&world, 0);
    assert_true(send(world.client, GET("/big"), strlen(GET("/big")), 0) > 0);
    run_some(&world);
    (void)close(world.client);
    world.client = -1;
    run_some(&world);
    assert_int_equal(world.released, 1);
    close_world(&world);
}

static void test_continue_is_sent_when_the_body_is_wanted(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t continues, answers, too_large;
    } cases[] = {
        { "POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", 1, 0, 0 },
        { "POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", 0, 1, 0 },
        { "POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n", 0, 1, 0 },
        { "POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n", 0, 0, 1 },
        { "POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n", 1, 0,
          0 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct world world;

        open_world(&world, 0);
        say(&world, cases[i].text);
        assert_int_equal(occurrences(&world, "100 Continue"), cases[i].continues);
        assert_int_equal(occurrences(&world, "200 OK"), cases[i].answers);
        assert_int_equal(world.too_large, cases[i].too_large);
        close_world(&world);
    }
}

static void test_errors_are_answered_and_the_rest_is_swallowed(void **state)
{
    (void)state;
    static char junk[100000];
    struct world world;

    memset(junk, 'x', sizeof junk);
    open_world(&world, 0);
    say(&world, "GET / HTTP/1.1\r\nHost : x\r\n\r\n");
    assert_string_equal(world.answers.data, "HTTP/1.1 400 Bad Request\r\nContent-Length: 7\r\n"
                                            "Connection: close\r\nE: f\r\n\r\nrefused");
    assert_true(send(world.client, junk, sizeof junk, MSG_NOSIGNAL | MSG_DONTWAIT) > 0);
    run_some(&world);
    assert_int_equal(http_server_connections(world.server), 1);
    for (int i = 0; i < 20; i++) {
        (void)send(world.client, junk, sizeof junk, MSG_NOSIGNAL | MSG_DONTWAIT);
        run_some(&world);
    }
    assert_int_equal(http_server_connections(world.server), 0); /* beyond its patience */
    close_world(&world);
}

static void test_a_body_too_large_is_the_handlers_to_answer(void **state)
{
    (void)state;
    struct world world;

    open_world(&world, 0);
    say(&world, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\nabc");
    assert_int_equal(world.too_large, 1);
    assert_int_equal(occurrences(&world, "413 Content Too Large\r\nContent-Length: 2\r\nConnection: close"),
                     1);
    assert_int_equal(world.requests, 0);
    close_world(&world);
}

static void test_closing_is_announced_and_done(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "GET /close HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct world world;

        open_world(&world, 0);
        say(&world, cases[i]);
        assert_int_equal(occurrences(&world, "Connection: close\r\n"), 1);
        assert_true(world.ended);
        assert_int_equal(http_server_connections(world.server), 0);
        close_world(&world);
    }
}

static void test_a_body_that_ends_early_is_told(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdeX",
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct world world;

        open_world(&world, 0);
        say(&world, cases[i]);
        (void)shutdown(world.client, SHUT_WR);
        read_answers(&world);
        assert_int_equal(world.truncated, 1);
        assert_int_equal(world.requests, 0);
        assert_true(world.ended);
        close_world(&world);
    }
}

static void test_slow_peers_are_not_waited_for(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t refused, truncated;
    } cases[] = {
        { "", 0, 0 },          { GET("/"), 0, 0 },
        { "GET / HT", 1, 0 },  { "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab", 1, 1 },
        { GET("/big"), 0, 0 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct world world;

        open_world(&world, 50);
        assert_int_equal(send(world.client, cases[i].text, strlen(cases[i].text), 0), strlen(cases[i].text));
        for (int k = 0; k < 40 && http_server_connections(world.server) > 0; k++) {
            run_some(&world);
            (void)usleep(10000);
            if (k == 30) /* until then a refused one is granted time to read */
                (void)shutdown(world.client, SHUT_WR);
        }
        assert_int_equal(http_server_connections(world.server), 0);
        read_answers(&world);
        assert_int_equal(occurrences(&world, "408 Request Timeout"), cases[i].refused);
        assert_int_equal(world.truncated, cases[i].truncated);
        close_world(&world);
    }
}

static void test_a_dripping_body_is_not_waited_for(void **state)
{
    (void)state;
    static const char *const heads[] = {
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n300\r\n",
    };

    for (size_t i = 0; i < 2; i++) {
        struct world world;
        int drops = 0;

        open_world(&world, 200);
        say(&world, heads[i]);
        for (; drops < 200 && occurrences(&world, "408 Request Timeout") == 0; drops++) {
            (void)send(world.client, "x", 1, MSG_NOSIGNAL);
            read_answers(&world);
            (void)usleep(10000);
        }
        assert_in_range(drops, 2, 190);
        assert_int_equal(world.truncated, 1);
        assert_int_equal(world.requests, 0);
        close_world(&world);
    }
}

static void test_a_held_request_has_no_timeout(void **state)
{
    (void)state;
    struct world world;

    open_world(&world, 40);
    say(&world, GET("/hold"));
    (void)usleep(150000);
    run_some(&world);
    assert_int_equal(http_server_connections(world.server), 1);
    http_reply(world.held[0], 200, "", 0, "first", 5, NULL, NULL);
    world.held_count = 0;
    read_answers(&world);
    assert_int_equal(occurrences(&world, "first"), 1);
    close_world(&world);
}

static void test_draining_lets_the_busy_ones_answer(void **state)
{
    (void)state;
    struct world world;
    int other;

    open_world(&world, 0);
    say(&world, GET("/hold"));
    other = connect_more(&world);
    http_server_drain(world.server);
    assert_int_equal(http_server_connections(world.server), 1);
    http_reply(world.held[0], 200, "", 0, "last", 4, NULL, NULL);
    world.held_count = 0;
    read_answers(&world);
    assert_int_equal(occurrences(&world, "Connection: close\r\n\r\nlast"), 1);
    assert_int_equal(http_server_connections(world.server), 0);
    (void)close(other);
    close_world(&world);
}

static void send_large(struct world *world, const char *head, const char *part, size_t part_len, size_t parts)
{
    assert_int_equal(send(world->client, head, strlen(head), 0), strlen(head));
    for (size_t i = 0; i < parts; i++) {
        for (size_t at = 0; at < part_len;) {
            ssize_t n = send(world->client, part + at, part_len - at, MSG_DONTWAIT);

            if (n > 0)
                at += (size_t)n;
            run_some(world);
        }
    }
}

static void test_large_bodies_arrive_whole(void **state)
{
    (void)state;
    static char part[(1 << 20) + 10] = "100000\r\n";
    struct world world;

    open_world(&world, 0);
    send_large(&world, "POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: 31457280\r\n\r\n", part, 1 << 20,
               30);
    read_answers(&world);
    assert_int_equal(occurrences(&world, "200 OK"), 1);
    memcpy(part + 8 + (1 << 20), "\r\n", 2);
    send_large(&world, "POST /large HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", part,
               sizeof part, 30);
    say(&world, "0\r\n\r\n");
    assert_int_equal(occurrences(&world, "200 OK"), 2);
    close_world(&world);
}

static void test_a_header_line_may_be_longer_than_a_megabyte(void **state)
{
    (void)state;
    static char value[3 << 19];
    struct world world;

    memset(value, 'v', sizeof value);
    open_world(&world, 0);
    send_large(&world, "GET / HTTP/1.1\r\nHost: x\r\nX-Long: ", value, sizeof value, 1);
    say(&world, "\r\n\r\n");
    assert_int_equal(occurrences(&world, "200 OK"), 1);
    close_world(&world);
}

static void test_an_adopted_connection_may_have_sent_already(void **state)
{
    (void)state;
    static const char received[] = GET("/a") "GET /b HTTP/1.1\r\n";
    struct world world;
    int pair[2];

    open_world(&world, 0);
    (void)close(world.client);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(http_server_adopt(world.server, pair[0], received, sizeof received - 1), 0);
    assert_int_equal(world.requests, 0); /* not before the loop runs */
    world.client = pair[1];
    read_answers(&world);
    assert_int_equal(occurrences(&world, "/a"), 1);
    assert_int_equal(occurrences(&world, "/b"), 0);
    say(&world, "Host: x\r\n\r\n");
    assert_int_equal(occurrences(&world, "/b"), 1);
    close_world(&world);
}

static void test_a_server_may_end_before_an_adopted_request_is_read(void **state)
{
    (void)state;
    struct world world;
    int pair[2];

    open_world(&world, 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(http_server_adopt(world.server, pair[0], GET("/a"), strlen(GET("/a"))), 0);
    http_server_free(world.server, on_freed, &world);
    world.server = NULL;
    close_world(&world);
    assert_int_equal(world.freed, 1);
    assert_int_equal(world.requests, 0);
    (void)close(pair[1]);
}

static void say_on(int client, const char *text)
{
    assert_int_equal(send(client, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static const char *answer_on(struct world *world, int client, char *text, size_t size)
{
    ssize_t n;

    run_some(world);
    n = recv(client, text, size - 1, MSG_DONTWAIT);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void test_one_connection_at_a_time_may_send_a_long_head(void **state)
{
    (void)state;
    static char value[60000];
    static const char start[] = "GET /hold HTTP/1.1\r\nHost: x\r\nX-Long: ";
    struct world world;
    struct http_server_config config = standard_config(&world, 0);
    char text[1000];
    int other;

    memset(value, 'v', sizeof value);
    config.max_header_bytes = 1000;
    config.large_header_bytes = sizeof value + 1000;
    open_configured(&world, &config);
    other = connect_more(&world);
    send_large(&world, start, value, sizeof value, 1);
    say(&world, "\r\n\r\n" GET("/b"));
    assert_int_equal(world.held_count, 1);
    /* Until its answer nobody else. */
    assert_true(send(other, start, strlen(start), 0) > 0);
    assert_true(send(other, value, 2000, 0) > 0);
    assert_non_null(strstr(answer_on(&world, other, text, sizeof text), "HTTP/1.1 431"));
    (void)close(other);
    http_reply(world.held[0], 200, "", 0, "first", 5, NULL, NULL);
    world.held_count = 0;
    read_answers(&world);
    assert_int_equal(occurrences(&world, "200 OK"), 2);
    other = connect_more(&world);
    assert_true(send(other, start, strlen(start), 0) > 0);
    assert_true(send(other, value, 2000, 0) > 0);
    assert_true(send(other, "\r\n\r\n", 4, 0) > 0);
    run_some(&world);
    assert_int_equal(world.held_count, 1);
    (void)close(other);
    close_world(&world);
}

static void test_bodies_have_room_together(void **state)
{
    (void)state;
    static char part[1 << 20];
    struct world world;
    struct http_server_config config = standard_config(&world, 0);
    char text[1000];
    int other;

    config.max_input_bytes = 31 << 20;
    open_configured(&world, &config);
    other = connect_more(&world);
    send_large(&world, "POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: 31457280\r\n\r\n", part,
               sizeof part, 4);
    /* Known from the head. */
    say_on(other, "POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: 31457280\r\n\r\n");
    assert_non_null(strstr(answer_on(&world, other, text, sizeof text), "HTTP/1.1 503"));
    (void)close(other);
    /* A small one always has room. */
    other = connect_more(&world);
    say_on(other, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    assert_non_null(strstr(answer_on(&world, other, text, sizeof text), "HTTP/1.1 200"));
    send_large(&world, "", part, sizeof part, 26);
    read_answers(&world);
    assert_int_equal(occurrences(&world, "200 OK"), 1);
    /* The memory is there again. */
    send_large(&world, "POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: 31457280\r\n\r\n", part,
               sizeof part, 30);
    read_answers(&world);
    assert_int_equal(occurrences(&world, "200 OK"), 2);
    (void)close(other);
    close_world(&world);
}

static void test_a_body_of_unknown_length_stops_when_there_is_no_room(void **state)
{
    (void)state;
    static char part[(1 << 20) + 10] = "100000\r\n";
    struct world world;
    struct http_server_config config = standard_config(&world, 0);

    memcpy(part + 8 + (1 << 20), "\r\n", 2);
    config.max_input_bytes = 5 << 20;
    config.linger_bytes = 64 << 20;
    open_configured(&world, &config);
    send_large(&world, "POST /large HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", part,
               sizeof part, 10);
    read_answers(&world);
    assert_int_equal(occurrences(&world, "503 Service Unavailable"), 1);
    assert_int_equal(world.requests, 0);
    close_world(&world);
}

static void test_a_long_pipeline_does_not_keep_others_waiting(void **state)
{
    (void)state;
    static char pipeline[300 * (sizeof GET("/a") - 1) + 1];
    struct world world;
    int other;

    open_world(&world, 0);
    other = connect_more(&world);
    for (size_t i = 0; i < 300; i++)
        memcpy(pipeline + i * strlen(GET("/a")), GET("/a"), strlen(GET("/a")));
    say_on(world.client, pipeline);
    say_on(other, GET("/mark"));
    read_answers(&world);
    assert_int_equal(world.requests, 301);
    assert_int_equal(occurrences(&world, "200 OK"), 300);
    assert_in_range(world.marked, 0, 40);
    (void)close(other);
    close_world(&world);
}

static void test_status_texts(void **state)
{
    (void)state;
    assert_string_equal(http_status_text(200), "OK");
    assert_string_equal(http_status_text(431), "Request Header Fields Too Large");
    assert_string_equal(http_status_text(299), "Unknown");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer_is_formatted_whole),
        cmocka_unit_test(test_answers_without_a_body),
        cmocka_unit_test(test_pipelined_requests_wait_for_the_answer_before),
        cmocka_unit_test(test_answers_are_joined_while_the_next_request_waits),
        cmocka_unit_test(test_a_large_body_cut_short_names_its_request),
        cmocka_unit_test(test_a_request_may_come_while_another_is_held),
        cmocka_unit_test(test_a_request_stays_where_it_is_while_held),
        cmocka_unit_test(test_a_peer_that_goes_is_told_once_and_may_still_be_answered),
        cmocka_unit_test(test_pipelined_requests_of_a_half_closed_peer_are_served),
        cmocka_unit_test(test_an_answer_after_the_end_is_harmless),
        cmocka_unit_test(test_a_server_is_freed_after_its_last_exchange),
        cmocka_unit_test(test_a_handler_may_free_the_server),
        cmocka_unit_test(test_a_large_answer_waits_for_its_reader),
        cmocka_unit_test(test_a_large_answer_to_nobody_is_released),
        cmocka_unit_test(test_continue_is_sent_when_the_body_is_wanted),
        cmocka_unit_test(test_errors_are_answered_and_the_rest_is_swallowed),
        cmocka_unit_test(test_a_body_too_large_is_the_handlers_to_answer),
        cmocka_unit_test(test_closing_is_announced_and_done),
        cmocka_unit_test(test_a_body_that_ends_early_is_told),
        cmocka_unit_test(test_slow_peers_are_not_waited_for),
        cmocka_unit_test(test_a_dripping_body_is_not_waited_for),
        cmocka_unit_test(test_a_held_request_has_no_timeout),
        cmocka_unit_test(test_draining_lets_the_busy_ones_answer),
        cmocka_unit_test(test_large_bodies_arrive_whole),
        cmocka_unit_test(test_a_header_line_may_be_longer_than_a_megabyte),
        cmocka_unit_test(test_an_adopted_connection_may_have_sent_already),
        cmocka_unit_test(test_a_server_may_end_before_an_adopted_request_is_read),
        cmocka_unit_test(test_one_connection_at_a_time_may_send_a_long_head),
        cmocka_unit_test(test_bodies_have_room_together),
        cmocka_unit_test(test_a_body_of_unknown_length_stops_when_there_is_no_room),
        cmocka_unit_test(test_a_long_pipeline_does_not_keep_others_waiting),
        cmocka_unit_test(test_status_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
