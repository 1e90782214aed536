#pragma once

/*
 * The environment variables of a sandbox and the program it starts: Runtime API spec, sections 6 and 7. Pure.
 */

#include <stdbool.h>
#include <stddef.h>

struct fn_version;

enum { ENV_VARS_SEED_BYTES = 32 };

struct env_vars_input {
    const struct fn_version *version;
    const char *region;
    const char *log_stream;
    const char *access_key, *secret, *token;
    /* For versions with a template of their own: with it they ask the Runtime API for credentials. */
    const char *credentials_token;
    bool is_template;        /* the process will be captured, and is none that serves */
    const char *interpreter; /* path inside the sandbox; "" for provided */
    const char *code_cache;  /* what the runtime client is to do about it; NULL: nothing */
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
/** Of a managed runtime's template: what does not depend on a function. Returns 0 or -ENOMEM. */
int env_vars_build_template(const char *runtime, const char *region, const char *interpreter,
                            struct env_vars *ret_vars);
/** The message that makes a clone of a runtime's template the function's process, as JSON text to be freed;
 * NULL without memory:
 *
 *   {"seed":"<hex>","env":{"NAME":"value",...},"handler":"index.handler","root":"/var/task"} */
char *env_vars_wake(const struct env_vars *vars, const char *handler,
                    const unsigned char seed[static ENV_VARS_SEED_BYTES]);
/** The message that makes a clone of a function's template an environment of its own, likewise:
 *
 *   {"seed":"<hex>","env":{"AWS_LAMBDA_LOG_STREAM_NAME":"..."}} */
char *env_vars_restore(const char *log_stream, const unsigned char seed[static ENV_VARS_SEED_BYTES]);
/** The variable of the version that a clone could not obey, because the interpreter reads it before it is
 * cloned; NULL when there is none. Borrowed from version. */
const char *env_vars_against_clone(const struct fn_version *version);
void env_vars_done(struct env_vars *vars);
