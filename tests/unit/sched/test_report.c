#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/buf.h"
#include "model/function.h"
#include "sched/report.h"

static struct fn_version text_version = {
    .function_name = (char[]){ "fn" },
    .version = (char[]){ "$LATEST" },
    .runtime = (char[]){ "python3.12" },
    .memory_mb = 128,
    .timeout_s = 3,
};
static struct fn_version json_version = {
    .function_name = (char[]){ "fn" },
    .version = (char[]){ "7" },
    .runtime = (char[]){ "nodejs20.x" },
    .memory_mb = 256,
    .timeout_s = 3,
    .log_format = LOG_FORMAT_JSON,
    .system_log_level = (char[]){ "INFO" },
};

static struct report report_for(const struct fn_version *version)
{
    return (struct report){
        .version = version,
        .region = "us-east-1",
        .request_id = "id",
        .wall_ms = 1768478400123,
        .duration_us = 1840,
        .max_memory_mb = 33,
        .status = "success",
        .error_type = "",
        .trace_id = "",
        .tenant_id = "",
    };
}

static void test_text_lines_of_a_cold_start(void **state)
{
    (void)state;
    AUTO_BUF struct buf out = BUF_INIT(4096);
    struct report report = report_for(&text_version);

    report.init_us = 98120;
    report_start(&report, &out);
    report_end(&report, &out);
    assert_string_equal(
        out.data, "START RequestId: id Version: $LATEST\nEND RequestId: id\n"
                  "REPORT RequestId: id\tDuration: 1.84 ms\tBilled Duration: 100 ms\tMemory Size: 128 MB\t"
                  "Max Memory Used: 33 MB\tInit Duration: 98.12 ms\t\n");
}

static void test_text_lines_of_a_timeout(void **state)
{
    (void)state;
    AUTO_BUF struct buf out = BUF_INIT(4096);
    struct report report = report_for(&text_version);

    report.status = "timeout";
    report.duration_us = 3000000;
    report_timeout(&report, &out);
    report_end(&report, &out);
    assert_string_equal(out.data,
                        "2026-01-15T12:00:00.123Z id Task timed out after 3.00 seconds\n\nEND RequestId: id\n"
                        "REPORT RequestId: id\tDuration: 3000.00 ms\tBilled Duration: 3000 ms\t"
                        "Memory Size: 128 MB\tMax Memory Used: 33 MB\tStatus: timeout\n");
}

static void test_text_lines_of_a_crash(void **state)
{
    (void)state;
    AUTO_BUF struct buf out = BUF_INIT(4096);
    struct report report = report_for(&text_version);

    report.status = "failure";
    report.error_type = "Runtime.ExitError";
    report_crash(&report, "RequestId: id Error: Runtime exited with error: exit status 1", &out);
    report_end(&report, &out);
    assert_non_null(strstr(out.data, "exit status 1\nRuntime.ExitError\nEND "));
    assert_non_null(strstr(out.data, "\tStatus: error\tError Type: Runtime.ExitError\n"));
}

static void test_text_lines_of_a_tenant(void **state)
{
    (void)state;
    AUTO_BUF struct buf out = BUF_INIT(4096);
    struct report report = report_for(&text_version);

    report.tenant_id = "blue team";
    report.init_us = 98120;
    report.status = "timeout";
    report_start(&report, &out);
    report_end(&report, &out);
    assert_string_equal(
        out.data, "START RequestId: id Version: $LATEST TenantId: blue team\nEND RequestId: id\n"
                  "REPORT RequestId: id\tDuration: 1.84 ms\tBilled Duration: 100 ms\tMemory Size: 128 MB\t"
                  "Max Memory Used: 33 MB\tInit Duration: 98.12 ms\tTenantId: blue team\tStatus: timeout\n");
}

static void test_json_records_of_a_tenant(void **state)
{
    (void)state;
    AUTO_BUF struct buf out = BUF_INIT(4096);
    struct report report = report_for(&json_version);

    report.tenant_id = "blue";
    report.status = "failure";
    report.error_type = "Runtime.ExitError";
    report_start(&report, &out);
    report_end(&report, &out);
    assert_non_null(strstr(out.data, "{\"requestId\":\"id\",\"version\":\"7\",\"tenantId\":\"blue\"}}\n"));
    assert_non_null(strstr(
        out.data, "\"type\":\"platform.runtimeDone\",\"record\":{\"requestId\":\"id\",\"status\":"
                  "\"failure\",\"errorType\":\"Runtime.ExitError\",\"tenantId\":\"blue\",\"metrics\""));
    assert_non_null(strstr(
        out.data, "\"type\":\"platform.report\",\"record\":{\"requestId\":\"id\",\"status\":"
                  "\"failure\",\"errorType\":\"Runtime.ExitError\",\"tenantId\":\"blue\",\"metrics\""));
}

static void expect_xray(const char *trace_id, const char *line)
{
    AUTO_BUF struct buf out = BUF_INIT(4096);
    struct report report = report_for(&text_version);
    const char *found;

    report.trace_id = trace_id;
    text_version.tracing_active = true;
    report_end(&report, &out);
    text_version.tracing_active = false;
    found = strstr(out.data, "XRAY ");
    assert_string_equal(found ? found : "", line);
}

static void expect_stream(char *group, const char *expected)
{
    char stream[REPORT_STREAM_BYTES];

    text_version.log_group = group;
    report_stream(&text_version, 1768478400123, "0123456789abcdef0123456789abcdef", stream);
    assert_string_equal(stream, expected);
}

static void test_stream_of_a_shared_group_names_the_function(void **state)
{
    (void)state;
    expect_stream((char[]){ "/aws/lambda/fn" }, "2026/01/15/[$LATEST]0123456789abcdef0123456789abcdef");
    expect_stream((char[]){ "mine" }, "2026/01/15/fn[$LATEST]0123456789abcdef0123456789abcdef");
    expect_stream((char[]){ "/aws/lambda/fn2" }, "2026/01/15/fn[$LATEST]0123456789abcdef0123456789abcdef");
    expect_stream((char[]){ "" }, "2026/01/15/fn[$LATEST]0123456789abcdef0123456789abcdef");
}

static void test_trace_line(void **state)
{
    (void)state;
    AUTO_BUF struct buf out = BUF_INIT(4096);
    struct report report = report_for(&text_version);

    expect_xray("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
                "XRAY TraceId: 1-5759e988-bd862e3fe1be46a994272793\tSegmentId: 53995c3f42cd8ad8\t"
                "Sampled: true\t\n");
    expect_xray("Sampled=0;Lineage=a:0;Root=1-2-3", "XRAY TraceId: 1-2-3\tSegmentId: \tSampled: false\t\n");
    expect_xray("Parent=53995c3f42cd8ad8", "");
    expect_xray(";;", "");
    expect_xray("", "");
    report.trace_id = "Root=1-2-3;Parent=4;Sampled=1"; /* not traced */
    report_end(&report, &out);
    assert_null(strstr(out.data, "XRAY"));
}

static void test_init_lines(void **state)
{
    (void)state;
    AUTO_BUF struct buf out = BUF_INIT(4096);

    report_init_start(&text_version, "us-east-1", "init", 0, &out);
    assert_memory_equal(out.data,
                        "INIT_START Runtime Version: python:3.12.v1\tRuntime Version ARN: "
                        "arn:aws:lambda:us-east-1::runtime:",
                        93);
    buf_clear(&out);
    report_init_failed(&text_version, "init", "timeout", "", 10008160, 0, &out);
    assert_string_equal(out.data, "INIT_REPORT Init Duration: 10008.16 ms\tPhase: init\tStatus: timeout\n");
    buf_clear(&out);
    report_init_failed(&text_version, "invoke", "error", "Runtime.ExitError", 120050, 0, &out);
    assert_string_equal(out.data, "INIT_REPORT Init Duration: 120.05 ms\tPhase: invoke\tStatus: error\tError "
                                  "Type: Runtime.ExitError\n");
}

static void test_json_lines_follow_the_level(void **state)
{
    (void)state;
    AUTO_BUF struct buf out = BUF_INIT(4096);
    struct report report = report_for(&json_version);

    report_start(&report, &out);
    report_end(&report, &out);
    assert_string_equal(
        out.data,
        "{\"time\":\"2026-01-15T12:00:00.123Z\",\"type\":\"platform.start\",\"record\":{\"requestId\":\"id\","
        "\"version\":\"7\"}}\n"
        "{\"time\":\"2026-01-15T12:00:00.123Z\",\"type\":\"platform.report\",\"record\":{\"requestId\":"
        "\"id\","
        "\"status\":\"success\",\"metrics\":{\"durationMs\":1.840,\"billedDurationMs\":2,"
        "\"memorySizeMB\":256,\"maxMemoryUsedMB\":33}}}\n");
    buf_clear(&out);
    json_version.system_log_level = (char[]){ "WARN" };
    report_start(&report, &out);
    report_end(&report, &out);
    json_version.system_log_level = (char[]){ "INFO" };
    assert_int_equal(out.len, 0);
}

static void test_lines_of_a_restore(void **state)
{
    (void)state;
    AUTO_BUF struct buf out = BUF_INIT(4096);
    struct report report = report_for(&text_version);

    report_restore_start(&text_version, "us-east-1", 1768478400123, &out);
    report_restored(&text_version, "success", "", 345670, 1768478400123, &out);
    report_restored(&text_version, "error", "Runtime.AfterRestoreError", 345670, 1768478400123, &out);
    assert_memory_equal(
        out.data, "RESTORE_START Runtime Version: python:3.12.v1\tRuntime Version ARN: arn:aws:",
        strlen("RESTORE_START Runtime Version: python:3.12.v1\tRuntime Version ARN: arn:aws:"));
    assert_string_equal(strchr(out.data, '\n') + 1,
                        "RESTORE_REPORT Restore Duration: 345.67 ms\n"
                        "RESTORE_REPORT Restore Duration: 345.67 ms\tStatus: error\t"
                        "Error Type: Runtime.AfterRestoreError\n");
    buf_clear(&out);
    report.restore_us = 2100;
    report_end(&report, &out);
    assert_non_null(strstr(out.data, "Max Memory Used: 33 MB\tRestore Duration: 2.10 ms\t"
                                     "Billed Restore Duration: 3 ms\t\n"));
    assert_non_null(strstr(out.data, "Billed Duration: 2 ms"));
}

static void test_json_lines_of_a_restore(void **state)
{
    (void)state;
    AUTO_BUF struct buf out = BUF_INIT(4096);
    struct report report = report_for(&json_version);

    report_restore_start(&json_version, "us-east-1", 1768478400123, &out);
    assert_non_null(strstr(out.data, "\"type\":\"platform.restoreStart\",\"record\":{\"runtimeVersion\":"));
    assert_non_null(strstr(out.data, "\"functionName\":\"fn\",\"functionVersion\":\"7\"}}\n"));
    buf_clear(&out);
    report_restored(&json_version, "success", "", 2100, 1768478400123, &out);
    assert_string_equal(out.data,
                        "{\"time\":\"2026-01-15T12:00:00.123Z\",\"type\":\"platform.restoreReport\","
                        "\"record\":{\"status\":\"success\",\"metrics\":{\"durationMs\":2.100}}}\n");
    buf_clear(&out);
    report_restored(&json_version, "timeout", "", 2100, 1768478400123, &out);
    assert_non_null(strstr(out.data, "platform.restoreRuntimeDone\",\"record\":{\"status\":\"timeout\"}}"));
    buf_clear(&out);
    report.restore_us = 2100;
    report_end(&report, &out);
    assert_non_null(strstr(out.data, "\"restoreDurationMs\":2.100,\"billedRestoreDurationMs\":3}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_lines_of_a_cold_start),
        cmocka_unit_test(test_text_lines_of_a_timeout),
        cmocka_unit_test(test_text_lines_of_a_crash),
        cmocka_unit_test(test_text_lines_of_a_tenant),
        cmocka_unit_test(test_json_records_of_a_tenant),
        cmocka_unit_test(test_trace_line),
        cmocka_unit_test(test_stream_of_a_shared_group_names_the_function),
        cmocka_unit_test(test_init_lines),
        cmocka_unit_test(test_lines_of_a_restore),
        cmocka_unit_test(test_json_lines_of_a_restore),
        cmocka_unit_test(test_json_lines_follow_the_level),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
