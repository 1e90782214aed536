#pragma once

/*
 * Which environment serves an invocation: functions and their limits, the environments of each version, the
 * queue in front of them, the machine's memory. Everything runs on the loop thread.
 *
 * Each sched_invoke() ends in exactly one call of its done callback; a refusal calls it before sched_invoke()
 * returns.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct blob;
struct buf;
struct code_cache;
struct credentials;
struct err;
struct fn_alias;
struct fn_version;
struct function;
struct logs;
struct sched;

struct sched_config {
    uv_loop_t *loop;
    const char *region, *account;
    struct credentials *credentials;
    struct logs *logs;
    uint64_t idle_timeout_ms, freeze_after_ms;
    uint64_t busy_poll_us; /* how long to look for the next answer or request before sleeping; 0 = never */
    uint64_t max_memory_bytes;
    unsigned account_concurrency;
    size_t logs_of_deleted;        /* of so many deleted functions the logs are kept */
    bool templates;                /* clone environments of managed runtimes */
    uint64_t template_idle_ms;     /* a template that no function could use lives so long */
    struct code_cache *code_cache; /* NULL: nothing of what runtimes have compiled is kept */
    /** Machine and runtimes, as the launcher's READY says (JSON text); may be NULL. */
    void (*on_ready)(const char *json, void *ctx);
    /** The template of a version whose snapshot is pending was tried. failure: why its INIT does not work,
     * NULL when it does. May come again; may be NULL. */
    void (*on_snapshot_tried)(const struct fn_version *version, const char *failure, void *ctx);
    void *ctx;
};

/** config copied, its pointers borrowed. NULL without memory. */
struct sched *sched_new(const struct sched_config *config);
/** Ends every environment and refuses what waits; on_stopped when the launcher has cleaned all slots or is
 * gone. */
void sched_stop(struct sched *sched, void (*on_stopped)(void *ctx), void *ctx);
/** After on_stopped. */
struct sched *sched_free(struct sched *sched);

/** A launcher to work with; socket is taken. The one before is gone: its environments are lost. */
int sched_connect(struct sched *sched, int socket, struct err *err);
bool sched_ready(const struct sched *sched);

/* ---- functions ---- */

/** Swaps in a picture; takes the reference. An older sequence than the one there is dropped. Environments of
 * versions that are no longer in it end, busy ones after their invocation. */
void sched_put_function(struct sched *sched, struct function *function);
/** Borrowed until the next sched_put_function() of that name; NULL when unknown or deleted. */
const struct function *sched_find_function(const struct sched *sched, const char *name, size_t len);
/** By url-id (any case); *ret_url_index tells which of its URLs. */
const struct function *sched_find_url(const struct sched *sched, const char *url_id, size_t len,
                                      size_t *ret_url_index);
/** Whether the version's template is still to be tried. */
bool sched_snapshot_pending(const struct sched *sched, const struct fn_version *version);
size_t sched_function_count(const struct sched *sched);
/** Takes one of an alias's versions by weight. */
struct fn_version *sched_route(const struct fn_alias *alias);

/* ---- invocations ---- */

struct sched_request {
    const struct function *function; /* from sched_find_*() in this same turn of the loop */
    struct fn_version *version;      /* borrowed; one of function's */
    const char *invoked_arn;
    const char *request_id;
    const char *trace_id;
    const char *client_context; /* JSON text or NULL */
    const char *tenant_id;      /* exactly when the version is per_tenant, else NULL */
    struct blob *event;         /* referenced */
    bool want_log_tail;         /* the answer waits for END and REPORT then */
    /* NULL: any environment; "new": a reserved one is started for this caller; else the uuid of such a one.
     */
    const char *environment;
};

enum sched_outcome {
    SCHED_OK,
    SCHED_FUNCTION_ERROR, /* body is the error JSON */
    SCHED_THROTTLED,      /* reason says why; 429 */
    SCHED_UNAVAILABLE,    /* body is a message for people; 500 */
    SCHED_NO_ENVIRONMENT, /* the reserved one is not there or not free; body is a message for people */
};

/* Borrowed, valid during the call. */
struct sched_result {
    enum sched_outcome outcome;
    const char *body;
    size_t body_len;
    bool has_prelude;             /* body is a collected stream that begins with an HTTP prelude */
    const char *reason;           /* of SCHED_THROTTLED */
    const char *executed_version; /* "" when none ran */
    const char *environment;      /* uuid of the reserved one that ran it, else NULL */
    const char *log_tail;         /* last 4 KiB with want_log_tail, else NULL */
    size_t log_tail_len;
};
typedef void (*sched_done_fn)(const struct sched_result *result, void *ctx);

void sched_invoke(struct sched *sched, const struct sched_request *request, sched_done_fn done, void *ctx);

/* ---- reserved environments: for one caller, until it ends them or they were idle for too long ---- */

/** Ends it, after its invocation if it has one. False when there is none of this uuid. */
bool sched_end_reserved(struct sched *sched, const char *uuid);

/* Values of sched_inspect(); lengths in bytes. */
enum { SCHED_MAX_VALUES = 1024, SCHED_MIN_VALUE = 4, SCHED_MAX_VALUE = 4096 };

/* What sched_inspect() came to; exactly one call for each that returned true. stream: of its log; json: what
 * the launcher saw, NULL when it could not look, and then failure says why. Borrowed. */
typedef void (*sched_inspected_fn)(const char *stream, const char *json, const char *failure, void *ctx);
/** Has the launcher look at the processes and the /tmp of a reserved environment, and for these values in its
 * files (borrowed). False when there is none of this uuid, or it is being looked at
 * already. */
bool sched_inspect(struct sched *sched, const char *uuid, const char *const *values, size_t count,
                   sched_inspected_fn done, void *ctx);

/** Writes what environments have logged up to now, so that a reader of the logs finds it. */
void sched_flush_logs(struct sched *sched);

/** Digests of the code that environments and waiting invocations run: an array of *ret_count texts, to be
 * freed with its texts by sched_code_free(). NULL without memory. */
char **sched_code_in_use(const struct sched *sched, size_t *ret_count);
void sched_code_free(char **digests, size_t count);

/** {"environments":[...]} for `irori ps`. */
void sched_list(const struct sched *sched, struct buf *out);
/** {"enabled":true,"templates":[{"runtime","kind","state","ageMs" (in this state),"clones","fallbacks"
 * (ordinary starts for want of a clone),"ineligible" (ordinary starts because of the function's
 * settings),"failures", "reason" (the last failure or refusal; "" for none)}],"codeCache":code_cache_list(),
 * or null} for `irori ps --templates`. */
void sched_list_templates(const struct sched *sched, struct buf *out);
