#include "sched/report.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/text.h"
#include "model/function.h"
#include "model/runtime_version.h"

static bool is_json(const struct fn_version *version)
{
    return version->log_format == LOG_FORMAT_JSON;
}

/* Levels in rising order; an event is written when it is at least the configured one. */
static bool wanted(const struct fn_version *version, const char *level)
{
    static const char *const levels[] = { "DEBUG", "INFO", "WARN" };
    size_t configured = 1, own = 1;

    for (size_t i = 0; i < 3; i++) {
        if (version->system_log_level && strcmp(version->system_log_level, levels[i]) == 0)
            configured = i;
        if (strcmp(level, levels[i]) == 0)
            own = i;
    }
    return own >= configured;
}

static void json_begin(struct buf *out, uint64_t wall_ms, const char *type)
{
    char stamp[CLOCK_ISO_BYTES];

    clock_iso(wall_ms, stamp);
    (void)buf_printf(out, "{\"time\":\"%s\",\"type\":\"%s\",\"record\":{", stamp, type);
}

static void json_text(struct buf *out, const char *name, const char *value, bool first)
{
    (void)buf_printf(out, "%s\"%s\":", first ? "" : ",", name);
    (void)buf_json_string(out, value, strlen(value));
}

static void json_tenant(const struct report *report, struct buf *out)
{
    if (*report->tenant_id)
        json_text(out, "tenantId", report->tenant_id, false);
}

static const char *initialization_type(const struct fn_version *version)
{
    return fn_version_has_template(version) ? "snap-start" : "on-demand";
}

static void json_end(struct buf *out)
{
    (void)buf_puts(out, "}}\n");
}

static const char *const family_version[] = { "nodejs", "python", "provided." };

/* "python:3.12.v1" */
static void version_name(const char *runtime, struct buf *out)
{
    for (size_t i = 0; i < 3; i++) {
        size_t len = strlen(family_version[i]);

        if (strncmp(runtime, family_version[i], len) == 0) {
            size_t shown = family_version[i][len - 1] == '.' ? len - 1 : len;
            size_t rest = strlen(runtime) - len;

            if (rest > 2 && strcmp(runtime + strlen(runtime) - 2, ".x") == 0)
                rest -= 2;
            (void)buf_printf(out, "%.*s:%.*s.v1", (int)shown, runtime, (int)rest, runtime + len);
            break;
        }
    }
}

void report_stream(const struct fn_version *version, uint64_t wall_ms, const char *hex,
                   char out[REPORT_STREAM_BYTES])
{
    static const char usual[] = "/aws/lambda/";
    const char *name = version->function_name, *group = version->log_group;
    bool custom = !text_starts(group, usual) || strcmp(group + strlen(usual), name) != 0;
    char date[16];

    clock_format(wall_ms, "%Y/%m/%d", date, sizeof date);
    (void)snprintf(out, REPORT_STREAM_BYTES, "%s/%.64s[%.20s]%.32s", date, custom ? name : "",
                   version->version, hex);
}

void report_init_start(const struct fn_version *version, const char *region, const char *phase,
                       uint64_t wall_ms, struct buf *out)
{
    AUTO_BUF struct buf name = BUF_INIT(128), arn = BUF_INIT(256);

    version_name(version->runtime, &name);
    runtime_version_arn(version->runtime, region, &arn);
    if (!name.data || !arn.data)
        return;
    if (!is_json(version)) {
        (void)buf_printf(out, "INIT_START Runtime Version: %s\tRuntime Version ARN: %s\n", name.data,
                         arn.data);
        return;
    }
    if (!wanted(version, "INFO"))
        return;
    json_begin(out, wall_ms, "platform.initStart");
    json_text(out, "initializationType", initialization_type(version), true);
    json_text(out, "phase", phase, false);
    json_text(out, "runtimeVersion", name.data, false);
    json_text(out, "runtimeVersionArn", arn.data, false);
    json_text(out, "functionName", version->function_name, false);
    json_text(out, "functionVersion", version->version, false);
    json_end(out);
}

void report_init_failed(const struct fn_version *version, const char *phase, const char *status,
                        const char *error_type, uint64_t duration_us, uint64_t wall_ms, struct buf *out)
{
    if (!is_json(version)) {
        (void)buf_printf(out, "INIT_REPORT Init Duration: %.2f ms\tPhase: %s\tStatus: %s",
                         (double)duration_us / 1000, phase, status);
        if (*error_type)
            (void)buf_printf(out, "\tError Type: %s", error_type);
        (void)buf_putc(out, '\n');
        return;
    }
    json_begin(out, wall_ms, "platform.initReport");
    json_text(out, "initializationType", initialization_type(version), true);
    json_text(out, "phase", phase, false);
    json_text(out, "status", status, false);
    if (*error_type)
        json_text(out, "errorType", error_type, false);
    (void)buf_printf(out, ",\"metrics\":{\"durationMs\":%.3f}", (double)duration_us / 1000);
    json_end(out);
}

void report_init_done(const struct fn_version *version, uint64_t duration_us, uint64_t wall_ms,
                      struct buf *out)
{
    if (!is_json(version) || !wanted(version, "DEBUG"))
        return;
    json_begin(out, wall_ms, "platform.initRuntimeDone");
    json_text(out, "initializationType", initialization_type(version), true);
    json_text(out, "phase", "init", false);
    json_text(out, "status", "success", false);
    json_end(out);
    json_begin(out, wall_ms, "platform.initReport");
    json_text(out, "initializationType", initialization_type(version), true);
    json_text(out, "phase", "init", false);
    json_text(out, "status", "success", false);
    (void)buf_printf(out, ",\"metrics\":{\"durationMs\":%.3f}", (double)duration_us / 1000);
    json_end(out);
}

void report_restore_start(const struct fn_version *version, const char *region, uint64_t wall_ms,
                          struct buf *out)
{
    AUTO_BUF struct buf name = BUF_INIT(128), arn = BUF_INIT(256);

    version_name(version->runtime, &name);
    runtime_version_arn(version->runtime, region, &arn);
    if (!name.data || !arn.data)
        return;
    if (!is_json(version)) {
        (void)buf_printf(out, "RESTORE_START Runtime Version: %s\tRuntime Version ARN: %s\n", name.data,
                         arn.data);
        return;
    }
    if (!wanted(version, "INFO"))
        return;
    json_begin(out, wall_ms, "platform.restoreStart");
    json_text(out, "runtimeVersion", name.data, true);
    json_text(out, "runtimeVersionArn", arn.data, false);
    json_text(out, "functionName", version->function_name, false);
    json_text(out, "functionVersion", version->version, false);
    json_end(out);
}

static void restored_json(const char *type, const char *status, const char *error_type, uint64_t duration_us,
                          uint64_t wall_ms, struct buf *out)
{
    json_begin(out, wall_ms, type);
    json_text(out, "status", status, true);
    if (*error_type)
        json_text(out, "errorType", error_type, false);
    if (duration_us > 0)
        (void)buf_printf(out, ",\"metrics\":{\"durationMs\":%.3f}", (double)duration_us / 1000);
    json_end(out);
}

void report_restored(const struct fn_version *version, const char *status, const char *error_type,
                     uint64_t duration_us, uint64_t wall_ms, struct buf *out)
{
    bool failed = strcmp(status, "success") != 0;

    if (!is_json(version)) {
        (void)buf_printf(out, "RESTORE_REPORT Restore Duration: %.2f ms", (double)duration_us / 1000);
        if (failed)
            (void)buf_printf(out, "\tStatus: %s", status);
        if (*error_type)
            (void)buf_printf(out, "\tError Type: %s", error_type);
        (void)buf_putc(out, '\n');
        return;
    }
    if (wanted(version, failed ? "WARN" : "DEBUG"))
        restored_json("platform.restoreRuntimeDone", status, error_type, 0, wall_ms, out);
    if (wanted(version, failed ? "WARN" : "INFO"))
        restored_json("platform.restoreReport", status, error_type, duration_us, wall_ms, out);
}

void report_start(const struct report *report, struct buf *out)
{
    if (!is_json(report->version)) {
        (void)buf_printf(out, "START RequestId: %s Version: %s%s%s\n", report->request_id,
                         report->version->version, *report->tenant_id ? " TenantId: " : "",
                         report->tenant_id);
        return;
    }
    if (!wanted(report->version, "INFO"))
        return;
    json_begin(out, report->wall_ms, "platform.start");
    json_text(out, "requestId", report->request_id, true);
    json_text(out, "version", report->version->version, false);
    json_tenant(report, out);
    json_end(out);
}

void report_timeout(const struct report *report, struct buf *out)
{
    char stamp[CLOCK_ISO_BYTES];

    if (is_json(report->version))
        return; /* the report's status says it */
    clock_iso(report->wall_ms, stamp);
    (void)buf_printf(out, "%s %s Task timed out after %u.00 seconds\n\n", stamp, report->request_id,
                     report->version->timeout_s);
}

void report_crash(const struct report *report, const char *message, struct buf *out)
{
    if (is_json(report->version))
        return;
    (void)buf_printf(out, "%s\n%s\n", message, report->error_type);
}

static uint64_t ceil_ms(uint64_t us)
{
    uint64_t ms = (us + 999) / 1000;

    return ms > 0 ? ms : 1;
}

/* A field of "Root=..;Parent=..;Sampled=..". */
static bool trace_field(const char *trace_id, const char *name, const char **ret_value, int *ret_len)
{
    size_t len = strlen(name);

    for (const char *field = trace_id; *field; field += *field == ';') {
        size_t size = strcspn(field, ";");

        if (size > len && strncmp(field, name, len) == 0 && field[len] == '=') {
            *ret_value = field + len + 1;
            *ret_len = (int)(size - len - 1);
            return true;
        }
        field += size;
    }
    return false;
}

static void xray_text(const char *trace_id, struct buf *out)
{
    const char *root, *parent = "", *sampled = "";
    int root_len, parent_len = 0, sampled_len = 0;

    if (!trace_field(trace_id, "Root", &root, &root_len))
        return;
    (void)trace_field(trace_id, "Parent", &parent, &parent_len);
    (void)trace_field(trace_id, "Sampled", &sampled, &sampled_len);
    (void)buf_printf(out, "XRAY TraceId: %.*s\tSegmentId: %.*s\tSampled: %s\t\n", root_len, root, parent_len,
                     parent, sampled_len == 1 && *sampled == '1' ? "true" : "false");
}

static void end_text(const struct report *report, struct buf *out)
{
    (void)buf_printf(out, "END RequestId: %s\n", report->request_id);
    (void)buf_printf(out,
                     "REPORT RequestId: %s\tDuration: %.2f ms\tBilled Duration: %llu ms\tMemory Size: %u MB\t"
                     "Max Memory Used: %u MB\t",
                     report->request_id, (double)report->duration_us / 1000,
                     (unsigned long long)ceil_ms(report->duration_us + report->init_us),
                     report->version->memory_mb, report->max_memory_mb);
    if (report->init_us > 0)
        (void)buf_printf(out, "Init Duration: %.2f ms\t", (double)report->init_us / 1000);
    if (report->restore_us > 0)
        (void)buf_printf(out, "Restore Duration: %.2f ms\tBilled Restore Duration: %llu ms\t",
                         (double)report->restore_us / 1000, (unsigned long long)ceil_ms(report->restore_us));
    if (*report->tenant_id)
        (void)buf_printf(out, "TenantId: %s\t", report->tenant_id);
    if (strcmp(report->status, "timeout") == 0)
        (void)buf_puts(out, "Status: timeout");
    else if (strcmp(report->status, "failure") == 0)
        (void)buf_printf(out, "Status: error\tError Type: %s", report->error_type);
    (void)buf_putc(out, '\n');
    if (report->version->tracing_active && report->trace_id)
        xray_text(report->trace_id, out);
}

static void end_json(const struct report *report, struct buf *out)
{
    bool failed = strcmp(report->status, "success") != 0;

    if (wanted(report->version, failed ? "WARN" : "DEBUG")) {
        json_begin(out, report->wall_ms, "platform.runtimeDone");
        json_text(out, "requestId", report->request_id, true);
        json_text(out, "status", report->status, false);
        if (*report->error_type)
            json_text(out, "errorType", report->error_type, false);
        json_tenant(report, out);
        (void)buf_printf(out, ",\"metrics\":{\"durationMs\":%.3f}", (double)report->duration_us / 1000);
        json_end(out);
    }
    if (!wanted(report->version, failed ? "WARN" : "INFO"))
        return;
    json_begin(out, report->wall_ms, "platform.report");
    json_text(out, "requestId", report->request_id, true);
    json_text(out, "status", report->status, false);
    if (*report->error_type)
        json_text(out, "errorType", report->error_type, false);
    json_tenant(report, out);
    (void)buf_printf(out,
                     ",\"metrics\":{\"durationMs\":%.3f,\"billedDurationMs\":%llu,\"memorySizeMB\":%u,"
                     "\"maxMemoryUsedMB\":%u",
                     (double)report->duration_us / 1000,
                     (unsigned long long)ceil_ms(report->duration_us + report->init_us),
                     report->version->memory_mb, report->max_memory_mb);
    if (report->init_us > 0)
        (void)buf_printf(out, ",\"initDurationMs\":%.3f", (double)report->init_us / 1000);
    if (report->restore_us > 0)
        (void)buf_printf(out, ",\"restoreDurationMs\":%.3f,\"billedRestoreDurationMs\":%llu",
                         (double)report->restore_us / 1000, (unsigned long long)ceil_ms(report->restore_us));
    (void)buf_putc(out, '}');
    json_end(out);
}

void report_end(const struct report *report, struct buf *out)
{
    if (is_json(report->version))
        end_json(report, out);
    else
        end_text(report, out);
}
