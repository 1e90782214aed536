#include "template/eventfd.h"

#include <errno.h>
#include <stdbool.h>
#include <unistd.h>

enum { ENOUGH = 2 }; /* of which a semaphore gives one at a time */

static bool add(int fd, uint64_t value)
{
    return value == 0 || write(fd, &value, sizeof value) == sizeof value;
}

static bool take(int fd, uint64_t *ret_value)
{
    return read(fd, ret_value, sizeof *ret_value) == sizeof *ret_value;
}

int eventfd_is_semaphore(int fd, uint64_t count)
{
    bool is_low = count < ENOUGH, done;
    uint64_t value;

    if ((is_low && !add(fd, ENOUGH)) || !take(fd, &value))
        return -errno;
    if (value != 1)
        return add(fd, count) ? 0 : -errno;
    done = is_low ? take(fd, &value) : add(fd, 1);
    return done ? 1 : -errno;
}
