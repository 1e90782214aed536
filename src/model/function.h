#pragma once

/*
 * What the data plane knows of a function: an immutable picture that the
 * control API publishes after every change and the loop thread swaps in whole.
 *
 * Pictures and versions are counted (atomically, since workers build them and
 * the loop drops them); an environment keeps its version alive, never a picture.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FN_VCPU_MB = 1769 }; /* MemorySize that comes with one processor */
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };
enum url_auth { URL_AUTH_NONE, URL_AUTH_IAM };

struct env_var {
    char *name, *value; /* owned */
};

/* One version of code and configuration; $LATEST is one, too. */
struct fn_version {
    unsigned refs; /* fn_version_ref(), fn_version_unref() */

    char *function_name;
    char *version; /* "$LATEST" or digits */
    char *runtime; /* "nodejs20.x" ...; "" for images */
    char *handler;
    char *role;
    char *code_sha256; /* lower-case hex of the archive; names DIR/code/<it> */
    /* Changes whenever code or configuration of this version changes: two
     * versions with equal config_id may share environments, no others. */
    char *config_id;
    unsigned uid_index; /* of the function within the instance's user id range, from 1 */
    unsigned memory_mb, timeout_s, tmp_mb;
    struct env_var *vars; /* the customer's, allowed ones only */
    size_t var_count;
    enum log_format log_format;
    char *application_log_level, *system_log_level; /* "" unless JSON */
    char *log_group;
    bool tracing_active;
    bool per_tenant;       /* an environment serves one tenant; the same in all versions of a function */
    bool snap_start;       /* published with SnapStart */
    bool clean;            /* an environment serves one invocation */
    bool snapshot_pending; /* State Pending: Invoke answers 409 until its template was tried */
    bool snapshot_failed;  /* State Failed: its INIT was */
};

struct fn_alias {
    char *name;
    struct fn_version *primary;   /* counted */
    struct fn_version *secondary; /* counted; NULL without routing */
    double secondary_weight;      /* 0.0 to 1.0 */
};

struct fn_cors {
    bool allow_credentials;
    char **allow_origins, **allow_methods, **allow_headers,
        **expose_headers; /* NULL-terminated, owned; NULL when absent */
    unsigned max_age_s;
};

struct fn_url {
    char *url_id;    /* 32 characters of [a-z0-9] */
    char *qualifier; /* alias name, or NULL: $LATEST */
    enum url_auth auth;
    bool streaming;       /* InvokeMode RESPONSE_STREAM */
    bool open;            /* AuthType NONE, and the resource policy lets anybody in */
    struct fn_cors *cors; /* NULL when absent */
};

struct fn_policy {
    char *qualifier; /* NULL for the unqualified function */
    char *document;  /* the whole policy as JSON text, see auth/policy.h */
};

struct function {
    unsigned refs;
    uint64_t sequence;        /* of the store's change; the loop ignores an older picture */
    char *name, *arn;         /* unqualified ARN */
    bool deleted;             /* a picture that only says: gone */
    bool pending;             /* State Pending: Invoke answers 409 */
    bool failed;              /* State Failed */
    char *state_reason;       /* "" unless failed */
    int reserved_concurrency; /* -1: none */
    char *tenant_header;      /* of URL requests: names the tenant; NULL: the usual one */

    struct fn_version *latest;
    struct fn_version **versions; /* published, ascending */
    size_t version_count;
    struct fn_alias *aliases;
    size_t alias_count;
    struct fn_url *urls;
    size_t url_count;
    struct fn_policy *policies;
    size_t policy_count;
};

/** Its environments are cloned from a template of its own. */
static inline bool fn_version_has_template(const struct fn_version *version)
{
    return version->snap_start || version->clean;
}

/** Zeroed objects with one reference; NULL without memory. */
struct fn_version *fn_version_new(void);
struct fn_version *fn_version_ref(struct fn_version *version);
/** Accepts NULL; returns NULL. */
struct fn_version *fn_version_unref(struct fn_version *version);

struct function *function_new(void);
struct function *function_ref(struct function *function);
struct function *function_unref(struct function *function);

/** NULL when there is none. qualifier: "$LATEST", digits, or NULL for $LATEST; never an alias. */
struct fn_version *function_version(const struct function *function, const char *qualifier);
const struct fn_alias *function_alias(const struct function *function, const char *name);
const struct fn_policy *function_policy(const struct function *function, const char *qualifier);
