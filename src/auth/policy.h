#pragma once

/*
 * Resource policies: may this principal do this to that function?
 * Evaluates the documents that AddPermission builds (and any of that shape): an explicit Deny wins, then any
 * Allow.
 */

#include <stdbool.h>

#include "auth/principal.h"

struct policy_question {
    const struct principal *principal;       /* NULL: anonymous */
    const char *action;                      /* "lambda:InvokeFunctionUrl" */
    const char *resource;                    /* the ARN as addressed (qualified if a qualifier was given) */
    const char *function_url_auth_type;      /* "NONE", "AWS_IAM", or NULL: not through a URL */
    const char *source_arn, *source_account; /* or NULL */
    const char *service; /* "s3.amazonaws.com": a service acts, principal is NULL then; or NULL */
};

/** document: JSON text, or NULL: nothing is granted. A document that cannot be parsed, and a condition that
 * is not understood, grant nothing (a Deny with one denies). Context: any thread.
 *
 * Owners (PRINCIPAL_ROOT, PRINCIPAL_NO_AUTH) may do everything by themselves: for them only a Deny says no.
 * A function's principal is assumed-role/R/S of account A. It is named by its own ARN, by
 * arn:aws:iam::A:role/R (with any path) and by A or arn:aws:iam::A:root: on AWS naming an account leaves the
 * decision to that account's own policies, and as there are none here, the account's every function is meant.
 */
bool policy_allows(const char *document, const struct policy_question *question);
