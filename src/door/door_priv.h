#pragma once

/* Shared inside door/. */

#include <stdbool.h>
#include <stddef.h>

#include "api/api.h"
#include "auth/principal.h"
#include "base/buf.h"
#include "base/id.h"
#include "base/list.h"
#include "door/door.h"
#include "http/server.h"

struct fn_version;

struct door {
    struct door_config config;
    struct http_server *server;
    char *machine;     /* JSON of READY; NULL until then */
    unsigned jobs;     /* on workers, or held */
    unsigned changes;  /* requests of the control API whose pictures are not swapped in yet, and settlings */
    struct list stale; /* requests, answered, some of whose pictures could not be built */
    struct list held;  /* requests that wait until collecting ends */
    uv_timer_t second; /* drives control_collect() */
    bool closing, server_freed, timer_closed, collecting;
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

enum { DOOR_PAYLOAD_MAX_BYTES = 6291456, DOOR_TRACE_MAX_BYTES = 256 };

/* authenticate.c */
struct door_auth {
    struct principal principal;
    char code[64]; /* "" when authenticated */
    char message[1024];
};
/** Fills ret_auth; code is the error to answer with 403. Context: any thread, while x is unanswered. */
bool door_authenticate(const struct door *door, const struct http_exchange *x, struct door_auth *ret_auth);
/** Whether the head alone leaves the signature possible; principal is not filled. */
bool door_may_authenticate(const struct door *door, const struct http_exchange *x,
                           struct door_auth *ret_auth);

/* reply.c */
void reply_error(struct http_exchange *x, const char *request_id, const char *exception, const char *message,
                 const char *reason);
void reply_json(struct http_exchange *x, int status, const char *request_id, const char *json, size_t len);
/** AccessDeniedException for an action on a resource. */
void reply_denied(struct http_exchange *x, const char *request_id, const struct principal *principal,
                  const char *action, const char *resource);
/** The caller's X-Amzn-Trace-Id when it is well formed, else a new one. Whether it is sampled may be open. */
void door_trace_id(const struct http_request *request, char out[DOOR_TRACE_MAX_BYTES]);
/** Decides that if the caller has not: active tracing samples. */
void door_trace_decide(char trace_id[DOOR_TRACE_MAX_BYTES], const struct fn_version *version);
/** First value of a query parameter, percent-decoded. Returns 1, 0 when it is absent (out is untouched then),
 * or -EINVAL when it is longer than size - 1 or badly encoded. */
int door_query(const struct http_request *request, const char *name, char *out, size_t size);

/* tenant.c */
#define TENANT_HEADER "X-Amz-Tenant-Id"
enum { TENANT_READ_BYTES = 8192 };
/** The values of a header, joined by commas, into out, an empty buffer of TENANT_READ_BYTES. False when there
 * is none. */
bool tenant_read(const struct http_request *request, const char *header, struct buf *out);
bool tenant_is_valid(const struct buf *tenant);
/** What is wrong with one that is not valid, in the service's words. */
void tenant_faults(const struct buf *tenant, struct buf *out);

/* invoke.c */
/** True when the path is Invoke's; *ret_name is the undecoded function label. */
bool invoke_is_route(const struct http_request *request, struct http_slice *ret_name);
void invoke_handle(struct door *door, struct http_exchange *x, struct http_slice name);

/* url.c */
/** True when the request is for a function URL, by host or by /_irori/url/; then *ret_url_id and *ret_path
 * are set. */
bool url_is_route(const struct http_request *request, struct http_slice *ret_url_id,
                  struct http_slice *ret_path);
void url_handle(struct door *door, struct http_exchange *x, struct http_slice url_id, struct http_slice path);

/* control.c */
void control_handle(struct door *door, struct http_exchange *x);
/** Runs api_settle() and api_settled() for a function. */
void control_settle(struct door *door, const char *name);

/** True while the function was changed and its picture could not be built: what serves is older. */
bool control_is_stale(const struct door *door, const char *name);
/** Builds those pictures again. */
void control_rebuild(struct door *door);
/** Gives them up. */
void control_close(struct door *door);

/** Removes code that came out of use, if there is any and no change is under way. */
void control_collect(struct door *door);

/* admin.c */
bool admin_is_route(const struct http_request *request);
void admin_handle(struct door *door, struct http_exchange *x);

/* reserved.c */
/** /_irori/environments/{uuid}, with /inspect behind it or without. */
bool reserved_is_route(const struct http_request *request, char ret_uuid[UUID_BYTES], bool *ret_inspect);
/** Whether it may have environments of its own: the account's keys only. */
bool reserved_allowed(const struct principal *principal);
void reserved_handle(struct door *door, struct http_exchange *x, const char *request_id,
                     const struct principal *principal, const char *uuid, bool inspect);

/* door.c */
void door_job_done(struct door *door);
