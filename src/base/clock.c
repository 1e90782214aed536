#include "base/clock.h"

#include <stdio.h>
#include <time.h>

uint64_t clock_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_wall_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void clock_format(uint64_t wall_ms, const char *format, char *out, size_t size)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;

    (void)gmtime_r(&seconds, &parts);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    if (strftime(out, size, format, &parts) == 0)
        out[0] = '\0';
#pragma GCC diagnostic pop
}

void clock_iso(uint64_t wall_ms, char *out)
{
    char seconds[20];

    clock_format(wall_ms, "%Y-%m-%dT%H:%M:%S", seconds, sizeof seconds);
    (void)snprintf(out, CLOCK_ISO_BYTES, "%s.%03uZ", seconds, (unsigned)(wall_ms % 1000));
}
