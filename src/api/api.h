#pragma once

/*
 * The Lambda control API: everything but Invoke. Blocking, called on worker threads; thread-safe.
 *
 * The caller (the door) has authenticated the request. After api_handle() it first swaps in the pictures of
 * the functions named in changed (api_picture()), then sends the response, then calls api_settle() for those
 * in settle. So a caller who has seen an answer never meets older state.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/principal.h"
#include "base/buf.h"

struct api;
struct credentials;
struct err;
struct function;

struct api_config {
    const char *region, *account;
    const char *endpoint; /* "http://127.0.0.1:9000": scheme and port of the listener, for code locations */
    const char *scheme;   /* "http" */
    unsigned port;        /* of the listener, for function URLs */
    unsigned account_concurrency;
    int data_fd;                     /* DIR */
    int code_fd;                     /* DIR/code */
    struct credentials *credentials; /* to presign code locations */
    /** Runtime ids the machine can run, NULL-terminated; borrowed; asked on each create and update. May
     * return NULL: unknown yet, accept all supported ids. */
    const char *const *(*runtimes)(void *ctx);
    void *runtimes_ctx;
};

struct api_request {
    const char *method;
    const char *path;  /* undecoded */
    const char *query; /* undecoded, without '?'; "" when none */
    const char *body;
    size_t body_len;
    const char *request_id;
    const char *host; /* Host header as received: what code locations are signed for */
    const struct principal *principal;
};

enum { API_MAX_CHANGED = 4 };
struct api_response {
    int status;
    char error_type[64];               /* x-amzn-ErrorType; "" when none */
    struct buf body;                   /* JSON; empty for 204 */
    const char *content_type;          /* static; NULL = application/json */
    int file_fd;                       /* >= 0: the body is this file instead (owned by the caller then) */
    char changed[API_MAX_CHANGED][65]; /* function names whose picture must be swapped before answering */
    size_t changed_count;
    /* Call api_settle(changed[0]) after answering. Also set by GetFunction and its configuration while a
     * transition is on its way: one whose second half failed is tried again by whoever waits for it. */
    bool settle;
};

/** Opens DIR/irori.db (made if missing), migrates, ends interrupted updates. config copied, its pointers
 * borrowed. */
int api_open(const struct api_config *config, struct api **ret_api, struct err *err);
struct api *api_free(struct api *api);

/** True for paths this module answers (not Invoke, not function URLs). */
bool api_is_route(const char *method, const char *path, size_t path_len);
/** Body limit for a path: 70167211 for code uploads, 1 MiB otherwise. */
size_t api_body_limit(const char *method, size_t method_len, const char *path, size_t path_len);
/** The operation's name, "CreateFunction"; NULL when there is none. Static storage. */
const char *api_operation(const char *method, size_t method_len, const char *path, size_t path_len);
/** Always fills ret_response (also on errors: it is then the error). The caller frees body and file_fd. */
void api_handle(struct api *api, const struct api_request *request, struct api_response *ret_response);

/** The current picture of a function, one reference for the caller; deleted = true when it is gone. NULL
 * without memory. */
struct function *api_picture(struct api *api, const char *name);
/** All functions: calls each() with a picture (reference passed on). For start-up. */
int api_each(struct api *api, void (*each)(struct function *function, void *ctx), void *ctx, struct err *err);

/** Second half of a create or update: Pending -> Active, InProgress -> Successful, in two steps so that the
 * new code serves before Successful is visible: api_settle() returns the picture that will be true; the door
 * swaps it in on the loop and then calls api_settled() on a worker, which makes the state visible. Nothing to
 * settle: returns NULL. */
struct function *api_settle(struct api *api, const char *name);
void api_settled(struct api *api, const char *name, uint64_t sequence);

/** A version's template was tried: it is Active, or Failed for this reason (NULL: not). Returns the picture
 * that is true now, or NULL when nothing has changed. Worker thread. */
struct function *api_snapshot_tried(struct api *api, const char *name, const char *version,
                                    const char *config_id, const char *failure);

/** True when code may have come out of use since the last api_collect(). Cheap; any thread. */
bool api_collect_due(const struct api *api);
/** Removes packages that neither a version names nor in_use does: the digests of what environments and
 * waiting invocations run. From before in_use is taken until this returns every change must have had its
 * picture swapped in, and no other may begin. Does nothing during an upload. Worker
 * thread. */
void api_collect(struct api *api, const char *const *in_use, size_t in_use_count);

/** Fills the error form of spec section 1.1 (case of the member name, Type, header) for one exception. */
void api_error(struct api_response *response, const char *exception, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** HTTP status of an exception name; 500 for unknown ones. */
int api_error_status(const char *exception);
/** The body of an error as above, appended to out: for the door's own errors (Invoke). reason may be NULL
 * (TooManyRequests only). */
void api_error_body(const char *exception, const char *message, const char *reason, struct buf *out);

/** A function reference in a path or ARN ({FunctionName}, percent-decoded) and an optional Qualifier: name,
 * region, account and qualifier rules of spec section 2, for Invoke too. On failure ret_response is the
 * error. */
struct api_reference {
    char name[257];
    char qualifier[129]; /* "" when none was given */
};
enum api_name_rule { API_NAME_FN140, API_NAME_FN256, API_NAME_URL };
bool api_resolve(const struct api_config *config, enum api_name_rule rule, const char *function_name,
                 const char *qualifier, struct api_reference *ret_reference,
                 struct api_response *ret_response);
