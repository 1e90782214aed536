#pragma once

/* Numbers of threads, for restorer.c and its test. */

#include "template/format.h"

/** The first number from wanted on that no thread has. */
static inline uint32_t template_free_tid(const struct template_thread *threads, uint32_t count,
                                         uint32_t wanted)
{
    for (uint32_t i = 0; i < count; i++) {
        if (threads[i].tid == wanted) {
            wanted++;
            i = (uint32_t)-1; /* from the first one again */
        }
    }
    return wanted;
}
