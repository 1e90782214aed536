#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "wire/wire.h"

#define CODE "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char *const argv[] = { "/var/task/bootstrap", "", "two words" };
static const char *const env[] = { "A=b", "EMPTY=", "LINES=a\nb=c" };

static struct wire_message start_message(void)
{
    return (struct wire_message){ .type = WIRE_START,
                                  .env_id = UINT64_C(0x1122334455667788),
                                  .text = "",
                                  .start = { .uid_index = 65535,
                                             .memory_mb = 10240,
                                             .tmp_mb = 512,
                                             .cpu_millis = 72,
                                             .runtime = "nodejs20.x",
                                             .code = CODE,
                                             .hostname = "a-b.c",
                                             .argv = argv,
                                             .argc = 3,
                                             .env = env,
                                             .envc = 3,
                                             .flags = WIRE_START_TEMPLATE,
                                             .template_id = UINT64_C(0x99aabbccddeeff00) } };
}

static void encode(const struct wire_message *message, struct buf *out)
{
    *out = BUF_INIT(WIRE_MAX_BYTES);
    assert_int_equal(wire_encode(message, out), 0);
}

static void test_start_arrives_as_it_was_sent(void **state)
{
    (void)state;
    struct wire_message sent = start_message(), got;
    struct buf packet;

    encode(&sent, &packet);
    assert_int_equal(wire_decode(packet.data, packet.len, &got, NULL), 0);
    assert_int_equal(got.type, WIRE_START);
    assert_true(got.env_id == sent.env_id && got.start.env_id == sent.env_id);
    assert_int_equal(got.start.uid_index, 65535);
    assert_int_equal(got.start.memory_mb, 10240);
    assert_int_equal(got.start.tmp_mb, 512);
    assert_int_equal(got.start.cpu_millis, 72);
    assert_string_equal(got.start.runtime, "nodejs20.x");
    assert_string_equal(got.start.code, CODE);
    assert_string_equal(got.start.hostname, "a-b.c");
    assert_int_equal(got.start.argc, 3);
    assert_int_equal(got.start.envc, 3);
    assert_int_equal(got.start.flags, WIRE_START_TEMPLATE);
    assert_true(got.start.template_id == sent.start.template_id);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(got.start.argv[i], argv[i]);
        assert_string_equal(got.start.env[i], env[i]);
    }
    assert_null(got.start.argv[3]);
    assert_null(got.start.env[3]);
    wire_message_done(&got);
    buf_done(&packet);
}

static void test_every_type_arrives(void **state)
{
    (void)state;
    const struct wire_message all[] = {
        { .type = WIRE_FREEZE, .env_id = 1 },
        { .type = WIRE_THAW, .env_id = 1 },
        { .type = WIRE_CPU, .env_id = 1, .number = 1769 },
        { .type = WIRE_KILL, .env_id = UINT64_MAX },
        { .type = WIRE_STOP, .env_id = 5 },
        { .type = WIRE_CAPTURE, .env_id = 6 },
        { .type = WIRE_READY, .text = "{\"a\":1}" },
        { .type = WIRE_STARTED, .env_id = 3, .number = WIRE_PARKED },
        { .type = WIRE_FAILED, .env_id = 3, .number = WIRE_FAIL_NO_CODE, .text = "why" },
        { .type = WIRE_EXITED,
          .env_id = 4,
          .exited = { .kind = WIRE_EXIT_EXEC, .value = -2, .out_of_memory = true, .text = "/x" } },
        { .type = WIRE_FAILED, .env_id = 3, .number = WIRE_FAIL_TEMPLATE, .text = "gone" },
        { .type = WIRE_EXITED,
          .env_id = 4,
          .exited = { .kind = WIRE_EXIT_PLATFORM, .value = -2, .out_of_memory = true, .text = "/x" } },
        { .type = WIRE_GONE, .env_id = 5 },
        { .type = WIRE_CAPTURED, .env_id = 6, .number = 1, .text = "an open socket" },
        { .type = WIRE_INSPECT, .env_id = 7 },
        { .type = WIRE_INSPECTED, .env_id = 7, .number = 1, .text = "why" },
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct wire_message got;
        struct buf packet;

        encode(&all[i], &packet);
        assert_int_equal(wire_decode(packet.data, packet.len, &got, NULL), 0);
        assert_int_equal(got.type, all[i].type);
        assert_true(got.env_id == all[i].env_id);
        assert_true(got.number == all[i].number);
        assert_string_equal(got.text, all[i].text ? all[i].text : "");
        if (got.type == WIRE_EXITED) {
            assert_int_equal(got.exited.kind, all[i].exited.kind);
            assert_int_equal(got.exited.value, -2);
            assert_true(got.exited.out_of_memory && got.exited.env_id == 4);
            assert_string_equal(got.exited.text, "/x");
        }
        wire_message_done(&got);
        buf_done(&packet);
    }
}

static void refuse(const struct wire_message *message)
{
    struct buf packet = BUF_INIT(WIRE_MAX_BYTES);

    assert_int_equal(wire_encode(message, &packet), -EINVAL);
    buf_done(&packet);
}

#define REFUSE_WITH(change)                            \
    do {                                               \
        struct wire_message message = start_message(); \
                                                       \
        message.change;                                \
        refuse(&message);                              \
    } while (0)

static void test_values_out_of_range_are_not_sent(void **state)
{
    (void)state;
    static const char *const relative[] = { "bootstrap" }, *const nameless[] = { "=x" },
                             *const valueless[] = { "x" };

    REFUSE_WITH(env_id = 0);
    REFUSE_WITH(type = (enum wire_type)(WIRE_READY - 1));
    REFUSE_WITH(type = (enum wire_type)1000);
    REFUSE_WITH(start.uid_index = 0);
    REFUSE_WITH(start.uid_index = 65536);
    REFUSE_WITH(start.memory_mb = 127);
    REFUSE_WITH(start.memory_mb = 10241);
    REFUSE_WITH(start.tmp_mb = 511);
    REFUSE_WITH(start.tmp_mb = 10241);
    REFUSE_WITH(start.cpu_millis = 1000001);
    REFUSE_WITH(start.runtime = "");
    REFUSE_WITH(start.runtime = "../x");
    REFUSE_WITH(start.runtime = NULL);
    REFUSE_WITH(start.code = "../../etc");
    REFUSE_WITH(start.code = CODE "0");
    REFUSE_WITH(start.hostname = "A");
    REFUSE_WITH(start.flags = WIRE_START_TEMPLATE | WIRE_START_CODE_CACHE);
    REFUSE_WITH(start.flags = WIRE_START_CODE_CACHE << 1);
    REFUSE_WITH(start.argc = 0);
    REFUSE_WITH(start.argc = WIRE_MAX_ARGS + 1);
    REFUSE_WITH(start.envc = WIRE_MAX_ENV + 1);
    REFUSE_WITH(start.argv = relative; message.start.argc = 1);
    REFUSE_WITH(start.env = nameless; message.start.envc = 1);
    REFUSE_WITH(start.env = valueless; message.start.envc = 1);
    refuse(&(struct wire_message){ .type = WIRE_CPU, .env_id = 1, .number = 1000001 });
    refuse(&(struct wire_message){ .type = WIRE_READY });
    refuse(&(struct wire_message){ .type = WIRE_CAPTURED, .env_id = 1, .number = 2, .text = "" });
    refuse(&(struct wire_message){
        .type = WIRE_EXITED, .env_id = 1, .exited = { .kind = WIRE_EXIT_PLATFORM + 1, .text = "" } });
}

static void test_only_a_template_may_be_without_code(void **state)
{
    (void)state;
    struct wire_message message = start_message(), got;
    struct buf packet;

    message.start.code = "";
    message.start.uid_index = 0;
    encode(&message, &packet);
    assert_int_equal(wire_decode(packet.data, packet.len, &got, NULL), 0);
    assert_string_equal(got.start.code, "");
    assert_int_equal(got.start.uid_index, 0);
    wire_message_done(&got);
    buf_done(&packet);
    message.start.uid_index = 1;
    refuse(&message);
    message.start.uid_index = 0;
    message.start.flags = 0;
    refuse(&message);
    message.start.uid_index = 1;
    refuse(&message);
}

static void test_a_restart_knows_no_template(void **state)
{
    (void)state;
    struct wire_message message = start_message();
    struct buf packet;

    message.type = WIRE_RESTART;
    refuse(&message);
    message.start.flags = 0;
    refuse(&message);
    message.start.template_id = 0;
    encode(&message, &packet);
    buf_done(&packet);
}

static void test_values_arrive_as_they_were_sent(void **state)
{
    (void)state;
    static const char *const values[] = { "four", "two words\n", "\xff\xfe\xfd\xfc\xfb" };
    struct wire_message sent = { .type = WIRE_INSPECT, .env_id = 9, .values = values, .value_count = 3 }, got;
    struct buf packet;

    encode(&sent, &packet);
    assert_int_equal(wire_decode(packet.data, packet.len, &got, NULL), 0);
    assert_int_equal(got.value_count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(got.values[i], values[i]);
    wire_message_done(&got);
    for (size_t len = 0; len < packet.len; len++)
        assert_int_not_equal(wire_decode(packet.data, len, &got, NULL), 0);
    buf_done(&packet);
}

static void test_odd_values_are_refused(void **state)
{
    (void)state;
    static char longest[WIRE_MAX_VALUE + 2];
    static const char *const shorter[] = { "abc" }, *const longer[] = { longest }, *const none[] = { NULL };
    struct wire_message message = { .type = WIRE_INSPECT, .env_id = 9, .value_count = 1 }, got;
    struct buf packet;

    memset(longest, 'x', WIRE_MAX_VALUE);
    message.values = longer;
    encode(&message, &packet);
    buf_done(&packet);
    longest[WIRE_MAX_VALUE] = 'x';
    refuse(&message);
    message.values = shorter;
    refuse(&message);
    message.values = none;
    refuse(&message);
    message.values = NULL;
    refuse(&message);
    message.values = longer;
    message.value_count = WIRE_MAX_VALUES + 1;
    refuse(&message);
    message.value_count = 0;
    encode(&message, &packet);
    packet.data[16] = 1; /* more of them than are there */
    assert_true(wire_decode(packet.data, packet.len, &got, NULL) < 0);
    packet.data[19] = (char)0x80;
    assert_true(wire_decode(packet.data, packet.len, &got, NULL) < 0);
    buf_done(&packet);
}

static void test_what_is_too_long_is_not_sent(void **state)
{
    (void)state;
    struct wire_message message = { .type = WIRE_READY };
    struct buf packet = BUF_INIT((size_t)4 * WIRE_MAX_BYTES);
    char *text = malloc(WIRE_MAX_BYTES + 1);

    assert_non_null(text);
    memset(text, 'x', WIRE_MAX_BYTES);
    text[WIRE_MAX_BYTES] = '\0';
    message.text = text;
    assert_int_equal(wire_encode(&message, &packet), -EMSGSIZE);
    free(text);
    buf_done(&packet);
}

/* Each byte of a packet set to each of some values, and each length: never more than a refusal. */
static void test_damaged_packets_are_refused_or_whole(void **state)
{
    (void)state;
    static const unsigned char values[] = { 0, 1, 0x7f, 0x80, 0xff };
    struct wire_message sent = start_message(), got;
    struct buf packet;

    encode(&sent, &packet);
    for (size_t len = 0; len < packet.len; len++)
        assert_int_not_equal(wire_decode(packet.data, len, &got, NULL), 0);
    for (size_t at = 0; at < packet.len; at++) {
        char old = packet.data[at];

        for (size_t i = 0; i < sizeof values; i++) {
            packet.data[at] = (char)values[i];
            if (wire_decode(packet.data, packet.len, &got, NULL) == 0)
                wire_message_done(&got);
        }
        packet.data[at] = old;
    }
    buf_done(&packet);
}

static void test_a_text_with_a_nul_is_refused(void **state)
{
    (void)state;
    struct wire_message sent = { .type = WIRE_READY, .text = "abc" }, got;
    struct err err = { 0 };
    struct buf packet;

    encode(&sent, &packet);
    packet.data[packet.len - 3] = '\0';
    assert_true(wire_decode(packet.data, packet.len, &got, &err) < 0);
    assert_int_equal(err.code, ERR_INVALID);
    buf_done(&packet);
}

static void test_descriptors_travel_and_do_not_survive_exec(void **state)
{
    (void)state;
    int pair[2], fds[WIRE_MAX_FDS], zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    const int sent[] = { zero, zero, zero, zero, zero, zero, zero, zero };
    char packet[64], byte = 'x';
    size_t count = 0;

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(wire_receive(pair[1], packet, sizeof packet, fds, &count), -EAGAIN);
    assert_int_equal(wire_send(pair[0], "hello", 5, sent, WIRE_MAX_FDS), 0);
    assert_int_equal(wire_send(pair[0], "hello", 5, sent, WIRE_MAX_FDS + 1), -EINVAL);
    assert_int_equal(wire_receive(pair[1], packet, sizeof packet, fds, &count), 5);
    assert_int_equal(count, WIRE_MAX_FDS);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
        assert_int_equal(read(fds[i], &byte, 1), 1);
        assert_int_equal(close(fds[i]), 0);
    }
    (void)close(pair[0]);
    assert_int_equal(wire_receive(pair[1], packet, sizeof packet, fds, &count), 0);
    (void)close(pair[1]);
    (void)close(zero);
}

static void test_a_packet_that_does_not_fit_is_refused_with_its_descriptors(void **state)
{
    (void)state;
    int pair[2], fds[WIRE_MAX_FDS], zero = open("/dev/zero", O_RDONLY | O_CLOEXEC), next;
    char packet[4];
    size_t count = 0;

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(wire_send(pair[0], "hello", 5, &zero, 1), 0);
    assert_int_equal(wire_receive(pair[1], packet, sizeof packet, fds, &count), -EMSGSIZE);
    assert_int_equal(count, 0);
    next = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    assert_int_equal(next, pair[1] + 1); /* nothing was left open */
    (void)close(next);
    (void)close(pair[0]);
    (void)close(pair[1]);
    (void)close(zero);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start_arrives_as_it_was_sent),
        cmocka_unit_test(test_every_type_arrives),
        cmocka_unit_test(test_values_out_of_range_are_not_sent),
        cmocka_unit_test(test_only_a_template_may_be_without_code),
        cmocka_unit_test(test_a_restart_knows_no_template),
        cmocka_unit_test(test_values_arrive_as_they_were_sent),
        cmocka_unit_test(test_odd_values_are_refused),
        cmocka_unit_test(test_what_is_too_long_is_not_sent),
        cmocka_unit_test(test_damaged_packets_are_refused_or_whole),
        cmocka_unit_test(test_a_text_with_a_nul_is_refused),
        cmocka_unit_test(test_descriptors_travel_and_do_not_survive_exec),
        cmocka_unit_test(test_a_packet_that_does_not_fit_is_refused_with_its_descriptors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
