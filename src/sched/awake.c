#include "sched/awake.h"

#include <sched.h>
#include <stddef.h>

#include "base/clock.h"

/* While the handle is active libuv polls without waiting, so that this is called once a turn. */
static void on_turn(uv_idle_t *idle)
{
    struct awake *awake = idle->data;

    if (clock_us() >= awake->until_us)
        (void)uv_idle_stop(idle);
    else
        (void)sched_yield();
}

void awake_init(struct awake *awake, uv_loop_t *loop, uint64_t limit_us)
{
    (void)uv_idle_init(loop, &awake->idle);
    awake->idle.data = awake;
    awake->limit_us = limit_us;
}

void awake_stay(struct awake *awake)
{
    if (awake->limit_us == 0 || uv_is_closing((uv_handle_t *)&awake->idle))
        return;
    awake->until_us = clock_us() + awake->limit_us;
    (void)uv_idle_start(&awake->idle, on_turn);
}

void awake_close(struct awake *awake, uv_close_cb on_closed, void *data)
{
    awake->idle.data = data;
    uv_close((uv_handle_t *)&awake->idle, on_closed);
}
