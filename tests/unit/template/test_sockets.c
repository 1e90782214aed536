/* What is said of real sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "template/sockets.h"

enum { TICK_US = 20000 }; /* longer than the kernel's clock takes to move on */

static int listen_on_loopback(uint16_t *ret_port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr = { htonl(INADDR_LOOPBACK) },
                                   .sin_port = htons(port) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void test_who_waits_for_an_answer(void **state)
{
    uint16_t port;
    int listener = listen_on_loopback(&port), client = connect_to(port),
        server = accept(listener, NULL, NULL);
    char byte;
    bool waits;

    (void)state;
    assert_true(socket_is_api(client, port, &waits));
    assert_false(waits);
    assert_int_equal(write(client, "?", 1), 1);
    assert_int_equal(read(server, &byte, 1), 1);
    usleep(TICK_US);
    assert_true(socket_is_api(client, port, &waits));
    assert_true(waits);
    assert_int_equal(write(server, "!", 1), 1);
    usleep(TICK_US);
    assert_true(socket_is_api(client, port, &waits));
    assert_false(waits);
    assert_int_equal(read(client, &byte, 1), 1);
    assert_true(socket_is_api(client, port, &waits));
    assert_false(waits);
    usleep(TICK_US);
    assert_int_equal(write(client, "?", 1), 1);
    usleep(TICK_US);
    assert_true(socket_is_api(client, port, &waits));
    assert_true(waits);
    assert_false(socket_is_api(client, port + 1U, &waits));
    assert_false(socket_is_api(server, port, &waits));
    assert_false(socket_is_api(listener, port, &waits));
    (void)close(server);
    assert_false(socket_is_api(client, port, &waits));
    (void)close(client);
    (void)close(listener);
}

static void test_what_becomes_of_a_socket(void **state)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    struct template_op op = { 0 };
    uint16_t port;
    int listener = listen_on_loopback(&port), client = connect_to(port),
        fresh = socket(AF_INET6, SOCK_STREAM, 0), bound = socket(AF_INET, SOCK_STREAM, 0),
        datagrams = socket(AF_INET, SOCK_DGRAM, 0), one = 1;

    (void)state;
    assert_string_equal(socket_describe(listener, &op), "a socket that listens");
    assert_null(socket_describe(client, &op));
    assert_int_equal(op.type, TEMPLATE_OP_DEAD);
    assert_int_equal(op.socket, TEMPLATE_SOCKET(AF_INET, SOCK_STREAM, IPPROTO_TCP));

    assert_int_equal(setsockopt(fresh, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one), 0);
    op = (struct template_op){ 0 };
    assert_null(socket_describe(fresh, &op));
    assert_int_equal(op.type, TEMPLATE_OP_SOCKET);
    assert_int_equal(op.b, TEMPLATE_SOCKET_NO_ADDRESS);
    assert_true(op.a & 1U << TEMPLATE_SOCKET_KEEP_ALIVE);
    assert_false(op.a & 1U << TEMPLATE_SOCKET_NO_DELAY);

    assert_int_equal(bind(bound, (struct sockaddr *)&address, sizeof address), 0);
    assert_string_equal(socket_describe(bound, &op), "a socket with a name of its own");

    assert_int_equal(bind(datagrams, (struct sockaddr *)&address, sizeof address), 0);
    op = (struct template_op){ 0 };
    assert_null(socket_describe(datagrams, &op));
    assert_int_equal(op.b, TEMPLATE_SOCKET_LOCAL);
    address.sin_port = htons(port);
    assert_int_equal(connect(datagrams, (struct sockaddr *)&address, sizeof address), 0);
    op = (struct template_op){ 0 };
    assert_null(socket_describe(datagrams, &op));
    assert_int_equal(op.b, TEMPLATE_SOCKET_PEER);
    assert_memory_equal(op.content, &address, sizeof address);
    for (int fd = listener; fd <= datagrams; fd++)
        (void)close(fd);
}

static uint64_t inode_of(int fd)
{
    struct stat status;

    assert_int_equal(fstat(fd, &status), 0);
    return status.st_ino;
}

static void test_pairs_and_what_waits_in_them(void **state)
{
    char content[4];
    uint64_t peer;
    bool is_shut;
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    if (socket_find_peer(inode_of(pair[0]), &peer, &is_shut) < 0)
        skip(); /* a kernel without CONFIG_UNIX_DIAG */
    assert_int_equal(peer, inode_of(pair[1]));
    assert_false(is_shut);
    assert_int_equal(socket_peek(pair[0], content, sizeof content), 0);
    assert_int_equal(write(pair[1], "abcd", 4), 4);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(socket_peek(pair[0], content, sizeof content), 4);
        assert_memory_equal(content, "abcd", 4);
    }
    assert_int_equal(write(pair[1], "e", 1), 1);
    assert_int_equal(socket_peek(pair[0], content, sizeof content), -EMSGSIZE);
    assert_int_equal(shutdown(pair[1], SHUT_WR), 0);
    assert_int_equal(socket_find_peer(inode_of(pair[0]), &peer, &is_shut), 0);
    assert_true(peer == inode_of(pair[1]) && is_shut);
    (void)close(pair[1]);
    assert_int_equal(socket_find_peer(inode_of(pair[0]), &peer, &is_shut), 0);
    assert_int_equal(peer, 0);
    (void)close(pair[0]);
}

/* Of datagrams the kernel counts only the first one; an empty one is one, too. */
static void expect_packets(int type)
{
    static const char *const packets[] = { "one", "", "three" };
    uint8_t content[12];
    char text[16];
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, type, 0, pair), 0);
    assert_int_equal(socket_peek_packets(pair[0], content, sizeof content), 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(send(pair[1], packets[i], strlen(packets[i]), 0), strlen(packets[i]));
    assert_int_equal(socket_peek_packets(pair[0], content, sizeof content), 11);
    assert_memory_equal(content, "\3one\0\5three", 11);
    /* The kernel shows an empty one no second time. */
    assert_int_equal(socket_peek_packets(pair[0], content, 10), 10);
    assert_memory_equal(content, "\3one\5three", 10);
    assert_int_equal(socket_peek_packets(pair[0], content, 9), -EMSGSIZE);
    assert_int_equal(send(pair[1], "", 0, 0), 0);
    assert_int_equal(socket_peek_packets(pair[0], content, 10), -EMSGSIZE);
    /* It reads on as ever: from the first one, whole. */
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(recv(pair[0], text, sizeof text, MSG_PEEK), strlen(packets[i]));
        assert_int_equal(recv(pair[0], text, sizeof text, 0), strlen(packets[i]));
        assert_memory_equal(text, packets[i], strlen(packets[i]));
    }
    (void)close(pair[0]);
    (void)close(pair[1]);
}

static void test_packets_that_wait(void **state)
{
    (void)state;
    expect_packets(SOCK_DGRAM);
    expect_packets(SOCK_SEQPACKET);
}

static void test_descriptors_on_their_way_are_no_bytes(void **state)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {
        .header = { .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS }
    };
    char byte = 'x';
    struct iovec iov = { &byte, 1 };
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
    };
    char content[4];
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    memcpy(CMSG_DATA(&control.header), &pair[0], sizeof pair[0]);
    assert_int_equal(sendmsg(pair[1], &message, 0), 1);
    assert_int_equal(socket_peek(pair[0], content, sizeof content), -EMSGSIZE);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_waits_for_an_answer),
        cmocka_unit_test(test_what_becomes_of_a_socket),
        cmocka_unit_test(test_pairs_and_what_waits_in_them),
        cmocka_unit_test(test_packets_that_wait),
        cmocka_unit_test(test_descriptors_on_their_way_are_no_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
