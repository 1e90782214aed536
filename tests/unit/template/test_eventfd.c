/* What real eventfds are, found out by using them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "template/eventfd.h"

static uint64_t drain(int fd)
{
    uint64_t sum = 0, value;

    while (read(fd, &value, sizeof value) == sizeof value)
        sum += value;
    assert_int_equal(errno, EAGAIN);
    return sum;
}

static void test_a_semaphore_is_told_from_a_counter(void **state)
{
    static const uint64_t counts[] = { 0, 1, 2, 3, 77, UINT32_MAX, UINT64_C(1) << 40, UINT64_MAX - 1 };

    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        for (int kind = 0; kind < 2; kind++) {
            int fd = eventfd(0, EFD_NONBLOCK | (kind ? EFD_SEMAPHORE : 0));
            uint64_t count = counts[i];

            if (kind && count > 100)
                count = 100; /* drain() takes one at a time */
            assert_true(count == 0 || write(fd, &count, sizeof count) == sizeof count);
            assert_int_equal(eventfd_is_semaphore(fd, count), kind);
            assert_int_equal(drain(fd), count);
            (void)close(fd);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_a_semaphore_is_told_from_a_counter) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
