#pragma once

/*
 * The Runtime API that one environment's processes see at AWS_LAMBDA_RUNTIME_API. Every byte from there is
 * hostile.
 *
 * Knows no scheduler: it checks order and form, keeps the invocation that is outstanding, and tells its owner
 * what the runtime did. An object serves one process generation; a restart gets a new one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "runtime/state.h"

struct blob;
struct buf;
struct runtime_api;

/* What an invocation's `next` answer carries. Texts are borrowed and must be header-safe (no control
 * characters). */
struct runtime_event {
    const char *request_id;
    uint64_t deadline_wall_ms;
    const char *function_arn;     /* as addressed by the caller */
    const char *trace_id;         /* NULL or "": left out, likewise the next ones */
    const char *client_context;   /* JSON text */
    const char *cognito_identity; /* JSON text */
    const char *tenant_id;
    struct blob *body;
};

enum runtime_outcome {
    RUNTIME_OK,        /* /response */
    RUNTIME_FAILED,    /* /error: body is the runtime's */
    RUNTIME_TOO_LARGE, /* over 6 MiB + 100 */
    RUNTIME_TRUNCATED, /* the connection ended inside the body */
    RUNTIME_BAD_MODE,  /* Lambda-Runtime-Function-Response-Mode is neither absent nor "streaming" */
};

/* Borrowed, valid during the call. */
struct runtime_result {
    enum runtime_outcome outcome;
    const char *body;
    size_t body_len;
    const char *content_type;
    size_t content_type_len;
    char error_type[128]; /* mapped Lambda-Runtime-Function-Error-Type; "" when not sent */
};

/* None may free the object; runtime_api_free() from inside is deferred and therefore allowed. */
struct runtime_api_owner {
    void (*on_next)(void *ctx); /* also when it is given the outstanding invocation once more */
    void (*on_result)(const struct runtime_result *result, void *ctx);
    void (*on_init_error)(const struct runtime_result *result, void *ctx); /* restore/error, too */
    /* The runtime waits for runtime_api_restored(). NULL: it is no SnapStart environment, 404. */
    void (*on_restore_next)(void *ctx);
    /* Appends the environment's credentials as JSON; false when the token is not its own. NULL: 404. */
    bool (*on_credentials)(const char *token, size_t len, struct buf *out, void *ctx);
    /* With the first `next`: whether the code cache that it was given was of use; NULL: it was given none. */
    void (*on_code_cache_used)(bool useful, void *ctx);
    /* What it has compiled, once, from its first invocation on; at most so many bytes. NULL: nobody wants it,
     * 404. */
    void (*on_code_cache)(const char *body, size_t len, void *ctx);
    size_t code_cache_max_bytes;
    void *ctx;
};

/** listener: taken (closed on failure too). Returns NULL on failure. */
struct runtime_api *runtime_api_new(uv_loop_t *loop, int listener, const struct runtime_api_owner *owner);
/** Answers nothing from now on: whoever asks is being ended. Who waits in `next` goes on waiting. */
void runtime_api_mute(struct runtime_api *api);
/** Closes every connection; no callback afterwards. Accepts NULL; returns NULL. */
struct runtime_api *runtime_api_free(struct runtime_api *api);
enum runtime_parked {
    RUNTIME_PARKED_IN_NEXT,
    RUNTIME_PARKED_TO_WAKE, /* in a `next` whose answer is a message of ours: the next call is its first */
    RUNTIME_PARKED_IN_RESTORE,
};
/** A connection made by the launcher for a cloned runtime, on which it counts as having sent that call. fd:
 * taken. wake: the wake-up message (JSON text, copied) with RUNTIME_PARKED_TO_WAKE, else NULL. Call it in the
 * turn of the loop that made api, before anybody else can be first. Returns 0 or negative errno. */
int runtime_api_adopt_parked(struct runtime_api *api, int fd, enum runtime_parked parked, const char *wake);
/** Answers restore/next, also from inside on_restore_next(). wake: what a clone is told (JSON text, copied),
 * NULL for nothing. Returns 0, -EBUSY when the runtime does not wait in it, -ENOMEM. */
int runtime_api_restored(struct runtime_api *api, const char *wake);
/** Hands out an invocation: at once when the runtime waits in `next`, else when it asks. Strings and body are
 * copied or referenced. Returns 0, -EBUSY when one is outstanding, -ENOMEM. */
int runtime_api_deliver(struct runtime_api *api, const struct runtime_event *event);
enum runtime_state runtime_api_state(const struct runtime_api *api);

/** Header value → errorType rule of the invoke spec, section 3; out has at least 128 bytes. Exposed for its
 * test. */
void runtime_map_error_type(const char *value, size_t len, char *out);
