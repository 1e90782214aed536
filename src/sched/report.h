#pragma once

/*
 * The platform's own log lines, in text and in JSON: lifecycle spec, section 6. Pure; each function appends
 * whole lines.
 */

#include <stdbool.h>
#include <stdint.h>

struct buf;
struct fn_version;

struct report {
    const struct fn_version *version;
    const char *region;
    const char *request_id;
    uint64_t wall_ms;
    uint64_t duration_us;
    uint64_t init_us;    /* 0: not the first invocation of an environment that made its INIT */
    uint64_t restore_us; /* 0: not the first of one that was restored */
    unsigned max_memory_mb;
    const char *status;     /* "success", "error", "failure" or "timeout" */
    const char *error_type; /* "" when none; only the text form's failing ones show it */
    const char *trace_id;
    const char *tenant_id; /* "" when none */
};

enum { REPORT_STREAM_BYTES = 192 };
/** An environment's log stream; hex: what makes it its own. A log group of one's own may be shared by
 * functions, so that there the function's name is in it. */
void report_stream(const struct fn_version *version, uint64_t wall_ms, const char *hex,
                   char out[REPORT_STREAM_BYTES]);
/** The INIT is beginning: INIT_START, platform.initStart. */
void report_init_start(const struct fn_version *version, const char *region, const char *phase,
                       uint64_t wall_ms, struct buf *out);
/** The INIT failed: INIT_REPORT, platform.initReport. phase: "init" or "invoke". */
void report_init_failed(const struct fn_version *version, const char *phase, const char *status,
                        const char *error_type, uint64_t duration_us, uint64_t wall_ms, struct buf *out);
/** A successful INIT's DEBUG events; nothing in text. */
void report_init_done(const struct fn_version *version, uint64_t duration_us, uint64_t wall_ms,
                      struct buf *out);
/** A clone with its INIT behind it is beginning: RESTORE_START, platform.restoreStart. */
void report_restore_start(const struct fn_version *version, const char *region, uint64_t wall_ms,
                          struct buf *out);
/** It has asked for work, or failed: RESTORE_REPORT, platform.restoreReport. */
void report_restored(const struct fn_version *version, const char *status, const char *error_type,
                     uint64_t duration_us, uint64_t wall_ms, struct buf *out);
void report_start(const struct report *report, struct buf *out);
/** What ended the invocation, if not the runtime itself: the line before END. */
void report_timeout(const struct report *report, struct buf *out);
void report_crash(const struct report *report, const char *message, struct buf *out);
/** END and REPORT, platform.runtimeDone and platform.report. */
void report_end(const struct report *report, struct buf *out);
