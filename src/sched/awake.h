#pragma once

/*
 * Keeps the loop from sleeping for a moment when an answer is likely to come at once: a sleeping thread must
 * be woken by its peer, which takes tens of microseconds when it is on another processor. Whoever else wants
 * the processor gets it.
 */

#include <stdint.h>
#include <uv.h>

/* Embedded; private. */
struct awake {
    uv_idle_t idle;
    uint64_t until_us, limit_us;
};

/** limit_us: how long each awake_stay() lasts; 0 = never. */
void awake_init(struct awake *awake, uv_loop_t *loop, uint64_t limit_us);
void awake_stay(struct awake *awake);
/** on_closed is called from the loop, with data in the handle; nothing stays awake from here on. */
void awake_close(struct awake *awake, uv_close_cb on_closed, void *data);
