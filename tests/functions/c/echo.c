/* Answers every event with the event. */

#include "runtime.h"

int main(void)
{
    static char copy[7 * 1024 * 1024];
    for (;;) {
        struct invocation in = { 0 };
        rt_next(&in);
        memcpy(copy, in.body, in.len);
        if (rt_post(&in, "response", copy, in.len) != 202)
            return 95;
    }
}
