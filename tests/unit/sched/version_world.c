#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "version_world.h"
#include "world.h"

struct template *template_of(const struct world *w)
{
    struct template *template = w->sched->templates;

    while (template && !template->version)
        template = template->hh.next;
    return template;
}

void expect_state(const struct world *w, enum template_state state)
{
    assert_non_null(template_of(w));
    assert_string_equal(template_state_name(template_of(w)->state), template_state_name(state));
}

/* The launcher's part, from the START that the picture brings. */
static uint64_t bring(struct world *w, const char *waits_in)
{
    uint64_t id = expect_message(w, WIRE_START);

    assert_int_equal(start.flags, WIRE_START_TEMPLATE);
    assert_int_equal(start.uid_index, 1);
    assert_string_equal(start.handler, "h");
    started(w, id);
    call(w, "GET", waits_in, "");
    assert_int_equal(expect_message(w, WIRE_CAPTURE), id);
    captured(w, id, 0);
    proven(w, id);
    expect_state(w, TEMPLATE_READY);
    return id;
}

uint64_t snap_start(struct world *w, const char *waits_in)
{
    w->snap_start = true;
    put(w, -1, "snap", false);
    return bring(w, waits_in);
}

uint64_t clean(struct world *w)
{
    w->clean = true;
    put(w, -1, "clean", false);
    return bring(w, "invocation/next");
}

uint64_t cloned(struct world *w, uint64_t template_id)
{
    uint64_t id = expect_message(w, WIRE_START);

    assert_int_equal(start.template_id, template_id);
    started_parked(w, id);
    assert_int_equal(expect_message(w, WIRE_CPU), id);
    return id;
}

void answer(struct world *w)
{
    expect_text(w, "Lambda-Runtime-Aws-Request-Id: request");
    call(w, "POST", "invocation/request/response", "1");
    call(w, "GET", "invocation/next", "");
    expect_answer(w, w->answers - 1, SCHED_OK, "1");
}
