#pragma once

/*
 * The environment variables of a sandbox and the program it starts: Runtime API spec, sections 6 and 7. Pure.
 */

#include <stdbool.h>
#include <stddef.h>

struct fn_version;

struct env_vars_input {
    const struct fn_version *version;
    const char *region;
    const char *log_stream;
    const char *access_key, *secret, *token;
    const char *interpreter; /* path inside the sandbox; "" for provided */
};

/* Owned. */
struct env_vars {
    char **env; /* "NAME=value", count of them */
    size_t count;
    char **argv;
    size_t argc;
    bool has_wrapper; /* AWS_LAMBDA_EXEC_WRAPPER is in argv[0] */
};

/** Returns 0 or -ENOMEM. */
int env_vars_build(const struct env_vars_input *input, struct env_vars *ret_vars);
void env_vars_done(struct env_vars *vars);
