#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "runtime/runtime_api.h"

enum { CLIENTS = 8, LONG_BYTES = 1 << 20 };

static void ignore_next(void *ctx)
{
    (void)ctx;
}

static void ignore_result(const struct runtime_result *result, void *ctx)
{
    (void)result;
    (void)ctx;
}

struct world {
    uv_loop_t loop;
    struct runtime_api *api;
    struct sockaddr_un address;
    socklen_t address_len;
};

static void open_world(struct world *world)
{
    static const struct runtime_api_owner owner = { ignore_next, ignore_result, ignore_result, NULL };
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    *world = (struct world){ .address = { .sun_family = AF_UNIX }, .address_len = sizeof world->address };
    /* An unnamed one gets an abstract name of the kernel's choice. */
    assert_int_equal(bind(listener, (struct sockaddr *)&world->address, sizeof(sa_family_t)), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&world->address, &world->address_len), 0);
    assert_int_equal(uv_loop_init(&world->loop), 0);
    world->api = runtime_api_new(&world->loop, listener, &owner);
    assert_non_null(world->api);
}

static void close_world(struct world *world)
{
    (void)runtime_api_free(world->api);
    assert_int_equal(uv_run(&world->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&world->loop), 0);
}

static void run_some(struct world *world)
{
    for (int i = 0; i < 5; i++)
        (void)uv_run(&world->loop, UV_RUN_NOWAIT);
}

static int connect_client(struct world *world)
{
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(client, (struct sockaddr *)&world->address, world->address_len), 0);
    run_some(world);
    return client;
}

/* Returns how much of it was taken before the server closed its side or stopped reading. */
static size_t send_long_head(struct world *world, int client)
{
    static const char start[] = "GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\nX-Long: ";
    static char value[LONG_BYTES];
    size_t at = 0;

    memset(value, 'v', sizeof value);
    assert_true(send(client, start, sizeof start - 1, MSG_NOSIGNAL) > 0);
    for (int idle = 0; at < sizeof value && idle < 3;) {
        ssize_t n = send(client, value + at, sizeof value - at, MSG_DONTWAIT | MSG_NOSIGNAL);

        idle = n > 0 ? 0 : idle + 1;
        at += n > 0 ? (size_t)n : 0;
        run_some(world);
    }
    return at;
}

static bool answered(struct world *world, int client, const char *status)
{
    char text[256] = "";

    run_some(world);
    return recv(client, text, sizeof text - 1, MSG_DONTWAIT) > 0 && strstr(text, status);
}

static void test_only_one_connection_fills_memory_with_its_head(void **unused)
{
    (void)unused;
    struct world world;
    int clients[CLIENTS];
    size_t refused = 0;

    open_world(&world);
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = connect_client(&world);
        (void)send_long_head(&world, clients[i]);
        refused += answered(&world, clients[i], " 431 ");
    }
    assert_int_equal(refused, CLIENTS - 1);
    /* The X-Ray cause of an error may be as long as that. */
    assert_true(send(clients[0], "\r\n\r\n", 4, MSG_NOSIGNAL) > 0);
    assert_true(answered(&world, clients[0], " 200 "));
    (void)close(clients[1]);
    clients[1] = connect_client(&world);
    assert_int_equal(send_long_head(&world, clients[1]), LONG_BYTES);
    assert_true(send(clients[1], "\r\n\r\n", 4, MSG_NOSIGNAL) > 0);
    assert_true(answered(&world, clients[1], " 200 "));
    for (size_t i = 0; i < CLIENTS; i++)
        (void)close(clients[i]);
    close_world(&world);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_one_connection_fills_memory_with_its_head),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
