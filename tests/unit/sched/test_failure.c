#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>

#include "base/buf.h"
#include "sched/failure.h"
#include "wire/wire.h"

static void expect_exit(const struct wire_exited *exited, int provided, int wrapper, const char *json)
{
    AUTO_BUF struct buf out = BUF_INIT(4096);
    struct failure failure;

    failure_exit(&failure, "id", exited, provided, wrapper);
    failure_json(&failure, &out);
    assert_string_equal(out.data, json);
}

static void test_exits_as_the_service_tells_them(void **state)
{
    (void)state;
    expect_exit(
        &(struct wire_exited){ .kind = WIRE_EXIT_CODE, .value = 0, .text = "" }, 0, 0,
        "{\"errorType\":\"Runtime.ExitError\",\"errorMessage\":\"RequestId: id Error: Runtime exited without "
        "providing a reason\"}");
    expect_exit(&(struct wire_exited){ .kind = WIRE_EXIT_CODE, .value = 7, .text = "" }, 0, 0,
                "{\"errorType\":\"Runtime.ExitError\",\"errorMessage\":\"RequestId: id Error: Runtime exited "
                "with error: "
                "exit status 7\"}");
    expect_exit(&(struct wire_exited){ .kind = WIRE_EXIT_SIGNAL, .value = SIGSEGV, .text = "" }, 0, 0,
                "{\"errorType\":\"Runtime.ExitError\",\"errorMessage\":\"RequestId: id Error: Runtime exited "
                "with error: "
                "signal: segmentation fault\"}");
    expect_exit(
        &(struct wire_exited){ .kind = WIRE_EXIT_CODE, .value = 1, .out_of_memory = true, .text = "" }, 0, 0,
        "{\"errorType\":\"Runtime.ExitError\",\"errorMessage\":\"RequestId: id Error: Runtime exited with "
        "error: "
        "signal: killed\"}");
}

static void test_programs_that_cannot_start(void **state)
{
    (void)state;
    struct wire_exited missing = { .kind = WIRE_EXIT_EXEC, .value = ENOENT, .text = "/var/task/bootstrap" };
    struct wire_exited denied = { .kind = WIRE_EXIT_EXEC, .value = EACCES, .text = "/var/task/bootstrap" };

    expect_exit(&missing, 1, 0,
                "{\"errorType\":\"Runtime.InvalidEntrypoint\",\"errorMessage\":\"RequestId: id Error: "
                "Couldn't find valid "
                "bootstrap(s): [/var/task/bootstrap /opt/bootstrap]\"}");
    expect_exit(
        &denied, 1, 0,
        "{\"errorType\":\"Runtime.InvalidEntrypoint\",\"errorMessage\":\"RequestId: id Error: fork/exec "
        "/var/task/bootstrap: permission denied\"}");
    expect_exit(&missing, 0, 1,
                "{\"errorType\":\"Runtime.ExitError\",\"errorMessage\":\"RequestId: id Error: Runtime exited "
                "with error: "
                "exit status 127\"}");
    missing.kind = WIRE_EXIT_LOADER;
    expect_exit(
        &missing, 1, 0,
        "{\"errorType\":\"Runtime.InvalidEntrypoint\",\"errorMessage\":\"RequestId: id Error: fork/exec "
        "/var/task/bootstrap: no such file or directory\"}");
    expect_exit(&missing, 0, 1,
                "{\"errorType\":\"Runtime.ExitError\",\"errorMessage\":\"RequestId: id Error: Runtime exited "
                "with error: exit status 126\"}");
}

static void test_what_the_platform_could_not_do(void **state)
{
    (void)state;
    struct wire_exited failed = { .kind = WIRE_EXIT_PLATFORM, .value = ENOENT, .text = "/var/task" };
    static const char text[] =
        "{\"errorType\":\"Sandbox.Failure\",\"errorMessage\":\"RequestId: id Error: The "
        "environment could not be prepared: /var/task: No such file or directory\"}";

    expect_exit(&failed, 1, 0, text);
    expect_exit(&failed, 0, 1, text);
}

static void test_timeout_and_size(void **state)
{
    (void)state;
    AUTO_BUF struct buf out = BUF_INIT(4096);
    struct failure failure;

    failure_timeout(&failure, "id", 3);
    failure_json(&failure, &out);
    assert_string_equal(
        out.data,
        "{\"errorType\":\"Sandbox.Timedout\",\"errorMessage\":\"RequestId: id Error: Task timed out "
        "after 3.00 seconds\"}");
    buf_clear(&out);
    failure_too_large(&failure);
    failure_json(&failure, &out);
    assert_string_equal(
        out.data,
        "{\"errorMessage\":\"Response payload size exceeded maximum allowed payload size (6291556 bytes).\","
        "\"errorType\":\"Function.ResponseSizeTooLarge\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exits_as_the_service_tells_them),
        cmocka_unit_test(test_programs_that_cannot_start),
        cmocka_unit_test(test_what_the_platform_could_not_do),
        cmocka_unit_test(test_timeout_and_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
