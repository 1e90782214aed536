#pragma once

/*
 * What callers and logs are told when the platform, not the handler, ends an invocation: exact texts of the
 * invoke spec, section 3. Pure.
 */

#include <stddef.h>
#include <stdint.h>

struct buf;
struct wire_exited;

struct failure {
    char type[64];     /* "Runtime.ExitError" */
    char message[400]; /* with "RequestId: <id> Error: " in front when there is an id */
};

void failure_timeout(struct failure *failure, const char *request_id, unsigned timeout_s);
/** has_wrapper: AWS_LAMBDA_EXEC_WRAPPER is in use, so that a program that cannot be executed counts as a
 * shell would count it. */
void failure_exit(struct failure *failure, const char *request_id, const struct wire_exited *exited,
                  int provided, int has_wrapper);
void failure_too_large(struct failure *failure);
void failure_plain(struct failure *failure, const char *type, const char *request_id, const char *text);
/** {"errorType":..,"errorMessage":..} appended. */
void failure_json(const struct failure *failure, struct buf *out);
