/* Answers every event with the event, after DELAY_MS milliseconds. */

#include "runtime.h"

int main(void)
{
    static char copy[7 * 1024 * 1024];
    const char *delay = getenv("DELAY_MS");
    for (;;) {
        struct invocation in = { 0 };
        rt_next(&in);
        memcpy(copy, in.body, in.len);
        if (delay)
            usleep((useconds_t)atoi(delay) * 1000);
        if (rt_post(&in, "response", copy, in.len) != 202)
            return 95;
    }
}
