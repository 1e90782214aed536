#include "sched/failure.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "wire/wire.h"

void failure_plain(struct failure *failure, const char *type, const char *request_id, const char *text)
{
    (void)snprintf(failure->type, sizeof failure->type, "%s", type);
    if (request_id && *request_id)
        (void)snprintf(failure->message, sizeof failure->message, "RequestId: %s Error: %s", request_id,
                       text);
    else
        (void)snprintf(failure->message, sizeof failure->message, "Error: %s", text);
}

void failure_timeout(struct failure *failure, const char *request_id, unsigned timeout_s)
{
    char text[64];

    (void)snprintf(text, sizeof text, "Task timed out after %u.00 seconds", timeout_s);
    failure_plain(failure, "Sandbox.Timedout", request_id, text);
}

void failure_too_large(struct failure *failure)
{
    (void)snprintf(failure->type, sizeof failure->type, "Function.ResponseSizeTooLarge");
    (void)snprintf(failure->message, sizeof failure->message,
                   "Response payload size exceeded maximum allowed payload size (6291556 bytes).");
}

/* Go's names, which the service uses: syscall.Signal.String() for Linux. */
static const char *signal_name(int number)
{
    static const char *const names[] = {
        [SIGHUP] = "hangup",
        [SIGINT] = "interrupt",
        [SIGQUIT] = "quit",
        [SIGILL] = "illegal instruction",
        [SIGTRAP] = "trace/breakpoint trap",
        [SIGABRT] = "aborted",
        [SIGBUS] = "bus error",
        [SIGFPE] = "floating point exception",
        [SIGKILL] = "killed",
        [SIGUSR1] = "user defined signal 1",
        [SIGSEGV] = "segmentation fault",
        [SIGUSR2] = "user defined signal 2",
        [SIGPIPE] = "broken pipe",
        [SIGALRM] = "alarm clock",
        [SIGTERM] = "terminated",
    };

    if (number > 0 && (size_t)number < sizeof names / sizeof *names)
        return names[number];
    return NULL;
}

static void exec_failure(struct failure *failure, const char *request_id, const struct wire_exited *exited,
                         int provided, int has_wrapper)
{
    char text[300], reason[64];

    /* What a start script of the managed runtimes would exit with. */
    if (has_wrapper && !provided) {
        (void)snprintf(text, sizeof text, "Runtime exited with error: exit status %d",
                       exited->value == ENOENT && exited->kind == WIRE_EXIT_EXEC ? 127 : 126);
        failure_plain(failure, "Runtime.ExitError", request_id, text);
        return;
    }
    if (provided && exited->value == ENOENT && exited->kind == WIRE_EXIT_EXEC) {
        failure_plain(failure, "Runtime.InvalidEntrypoint", request_id,
                      "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]");
        return;
    }
    (void)snprintf(reason, sizeof reason, "%s", strerror(exited->value));
    if (reason[0] >= 'A' && reason[0] <= 'Z')
        reason[0] = (char)(reason[0] + 32);
    (void)snprintf(text, sizeof text, "fork/exec %s: %s", exited->text, reason);
    failure_plain(failure, "Runtime.InvalidEntrypoint", request_id, text);
}

static void platform_failure(struct failure *failure, const char *request_id,
                             const struct wire_exited *exited)
{
    char text[300];

    (void)snprintf(text, sizeof text, "The environment could not be prepared: %s: %s", exited->text,
                   strerror(exited->value));
    failure_plain(failure, "Sandbox.Failure", request_id, text);
}

void failure_exit(struct failure *failure, const char *request_id, const struct wire_exited *exited,
                  int provided, int has_wrapper)
{
    char text[128];
    const char *name;

    switch ((enum wire_exit_kind)exited->kind) {
    case WIRE_EXIT_EXEC:
    case WIRE_EXIT_LOADER:
        exec_failure(failure, request_id, exited, provided, has_wrapper);
        return;
    case WIRE_EXIT_PLATFORM:
        platform_failure(failure, request_id, exited);
        return;
    case WIRE_EXIT_SIGNAL:
        name = signal_name(exited->value);
        if (name)
            (void)snprintf(text, sizeof text, "Runtime exited with error: signal: %s", name);
        else
            (void)snprintf(text, sizeof text, "Runtime exited with error: signal: signal %d", exited->value);
        break;
    case WIRE_EXIT_CODE:
        if (exited->out_of_memory)
            (void)snprintf(text, sizeof text, "Runtime exited with error: signal: killed");
        else if (exited->value == 0)
            (void)snprintf(text, sizeof text, "Runtime exited without providing a reason");
        else
            (void)snprintf(text, sizeof text, "Runtime exited with error: exit status %d", exited->value);
        break;
    }
    failure_plain(failure, "Runtime.ExitError", request_id, text);
}

static void member(struct buf *out, const char *name, const char *value)
{
    (void)buf_puts(out, name);
    (void)buf_json_string(out, value, strlen(value));
}

void failure_json(const struct failure *failure, struct buf *out)
{
    /* The service's order, which is another one for this type. */
    bool message_first = strcmp(failure->type, "Function.ResponseSizeTooLarge") == 0;

    (void)buf_putc(out, '{');
    if (message_first) {
        member(out, "\"errorMessage\":", failure->message);
        member(out, ",\"errorType\":", failure->type);
    } else {
        member(out, "\"errorType\":", failure->type);
        member(out, ",\"errorMessage\":", failure->message);
    }
    (void)buf_putc(out, '}');
}
