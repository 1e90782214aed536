#pragma once

/*
 * One request's way through the control API:
 *
 *   route  ->  check (names, body: all faults at once)  ->  permission  ->  prepare (slow work, no lock)
 *          ->  store_begin()  ->  run  ->  store_end(): committed when the answer is no error
 *
 * Everything of one request hangs on struct call. A step that fails fills the response by api_error() and
 * returns false; what it was about to change is rolled back.
 */

#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdint.h>

#include "api/api.h"
#include "api/check_priv.h"
#include "base/buf.h"
#include "base/err.h"
#include "code/code.h"
#include "store/store.h"

struct api {
    struct api_config config;
    struct store *store; /* owned */
    /* Held for reading by a request from its upload to its end, for writing by a sweep of the code folder. */
    pthread_rwlock_t uploads;
    bool collect_due; /* atomic */
};

struct call;

enum {
    ROUTE_BODY = 1,  /* parses a JSON object (none: an empty one) */
    ROUTE_WRITE = 2, /* commits what run did */
    ROUTE_FN140 = 4, /* label 0 is a function name of that rule ... */
    ROUTE_FN256 = 8,
    ROUTE_URL = 16,
    ROUTE_QUALIFIER = 32,   /* ... and query Qualifier belongs to it */
    ROUTE_UNQUALIFIED = 64, /* refuses a version or alias in the name; $LATEST is fine */
    ROUTE_UPLOAD = 128,     /* the body may hold an archive */
    ROUTE_STORES = 256,     /* the account holds more code afterwards */
};

#define API_CODE_MAX_BYTES UINT64_C(80530636800) /* of an account: 75 GB */

struct route {
    const char *method;
    const char *path;      /* "{}" stands for a label; no trailing slash */
    const char *operation; /* as AWS names it; also the action for permissions */
    unsigned flags;
    void (*check)(struct call *call);   /* adds faults to call->check; may be NULL */
    bool (*prepare)(struct call *call); /* without the store; may be NULL */
    bool (*run)(struct call *call);     /* NULL: AWS has it, Irori has not */
};

enum { CALL_LABELS = 2 };

struct call {
    struct api *api;
    struct store *store;
    const struct api_request *request;
    struct api_response *response;
    const struct route *route;
    struct buf label[CALL_LABELS]; /* decoded */
    cJSON *body;                   /* owned; NULL without ROUTE_BODY */
    struct check check;
    struct api_reference reference;
    struct code_package package; /* of the archive in the body, after call_take_code() */
    bool has_package;
    bool has_upload; /* holds api->uploads */
    cJSON *document; /* owned; a configuration that prepare made for run */
    struct err err;
};

/* route.c */
/** Finds the route of a request and decodes its labels. False when there is none. */
bool route_find(struct call *call);
extern const struct route routes[];
extern const size_t route_count;

/* call.c */
/** The answer is {}: 500 for a failed store, disk or memory; logged. Returns false. */
bool call_failed(struct call *call);
/** Prints json (taken, may be NULL: out of memory) as the answer. Returns true. */
bool call_answer(struct call *call, int status, cJSON *json);
bool call_answer_empty(struct call *call);
/** Notes that the picture of this function has changed; settle: it goes on after the answer. */
void call_changed(struct call *call, const char *name, bool settle);
/** First (from n = 0 on: next) value of a query parameter, decoded into out. False when there is none. */
bool call_query(struct call *call, const char *name, unsigned n, struct buf *out);
/** Unpacks the archive of member ZipFile of code, outside of any lock, and drops the member. */
bool call_take_code(struct call *call, cJSON *code);
/** A member, NULL when it is absent or null. */
const cJSON *call_member(const cJSON *object, const char *name);
const char *call_text(const cJSON *object, const char *name);

/* find.c: looking things up, with the right 404 */
/** The function named; not found: 404 with its unqualified ARN and suffix. */
bool find_function(struct call *call, const char *suffix, struct store_function *ret_function);
/** A version by qualifier ("" and "$LATEST": 0; digits; an alias: what it points to). not_found: 404
 * `Function not found`. */
bool find_version(struct call *call, const struct store_function *function, const char *qualifier,
                  struct store_version *ret_version);
/** arn of the function or, with a qualifier that is not "", of that version or alias; lives as long as out.
 */
const char *arn_of(const struct api *api, const char *name, const char *qualifier, struct buf *out);
bool not_found(struct call *call, const char *name, const char *qualifier);
/** 412 unless revision_id is NULL or equal to current. */
bool revision_matches(struct call *call, const char *revision_id, const char *current);

/* view.c */
enum view_kind { VIEW_FULL, VIEW_LIST };
/** FunctionConfiguration; qualifier as it appears in the ARN, "" for none. NULL without memory. */
cJSON *view_configuration(const struct api *api, const char *name, const struct store_version *version,
                          const char *qualifier, enum view_kind kind);
/** "$LATEST" or digits. */
const char *version_text(int64_t number, char out[24]);

/* settings.c: the members of a configuration that create and update share */
void settings_check(struct call *call, const cJSON *body, bool create);
/** Puts the members given in body into document, after the checks that look at more than one member. */
bool settings_apply(struct call *call, const cJSON *body, const char *name, cJSON *document);
/** The same for TenancyConfig, which stays what it was at the function's creation. */
bool settings_apply_tenancy(struct call *call, const cJSON *body, cJSON *document);
/** A document with the defaults of a new function. */
cJSON *settings_default(const char *name);
bool runtime_is_usable(struct call *call, const char *runtime);
/** Refuses architectures other than the machine's. */
bool architectures_are_usable(struct call *call, const cJSON *body);
void settings_set_code(cJSON *document, const struct code_package *package);
void settings_touch(cJSON *document); /* LastModified */
/** False, answered, when there are too many. */
bool tags_fit(struct call *call, const cJSON *tags);
void settings_check_tags(struct check *check, const cJSON *tags);
/** Refuses sources of code other than ZipFile. code: the object with ZipFile, S3Bucket, ImageUri. */
bool code_source_is_usable(struct call *call, const cJSON *code);

/* pages.c */
struct page {
    size_t limit;
    struct buf marker; /* what to go on from; "" at the start */
    bool started;      /* a marker was given */
};
/** Reads MaxItems and Marker. max_items: the model's maximum, for the validation text. */
bool page_read(struct call *call, size_t max_items, struct page *ret_page);
void page_check(struct call *call, size_t max_items);
void page_done(struct page *page);
/** Adds NextMarker. */
bool page_next(cJSON *answer, const char *key);

/* permission.c */
bool call_is_permitted(struct call *call);
bool call_deny(struct call *call, const char *resource);
/** The whole policy as JSON text, to free(). */
char *policy_document(const struct store_policy *policy);

/* collect.c: removing code that is no longer used */
/* A version lets go of its code. */
void collect_release(struct call *call);
int collect_at_start(struct api *api, struct err *err);

/* operations, one file per resource */
/* clang-format off */
void create_function_check(struct call *call);
bool create_function_prepare(struct call *call);
bool create_function(struct call *call);
bool get_function(struct call *call);
bool get_function_configuration(struct call *call);
void list_functions_check(struct call *call);
bool list_functions(struct call *call);
bool delete_function(struct call *call);
void update_function_code_check(struct call *call);
bool update_function_code_prepare(struct call *call);
bool update_function_code(struct call *call);
void update_function_configuration_check(struct call *call);
bool update_function_configuration(struct call *call);
void publish_version_check(struct call *call);
bool publish_version(struct call *call);
void list_versions_check(struct call *call);
bool list_versions(struct call *call);
void create_alias_check(struct call *call);
bool create_alias(struct call *call);
void alias_name_check(struct call *call);
bool get_alias(struct call *call);
void update_alias_check(struct call *call);
bool update_alias(struct call *call);
bool delete_alias(struct call *call);
void list_aliases_check(struct call *call);
bool list_aliases(struct call *call);
void put_concurrency_check(struct call *call);
bool put_concurrency(struct call *call);
bool get_concurrency(struct call *call);
bool delete_concurrency(struct call *call);
void create_url_check(struct call *call);
bool create_url(struct call *call);
bool get_url(struct call *call);
void update_url_check(struct call *call);
bool update_url(struct call *call);
bool delete_url(struct call *call);
void list_urls_check(struct call *call);
bool list_urls(struct call *call);
void add_permission_check(struct call *call);
bool add_permission(struct call *call);
bool get_policy(struct call *call);
void remove_permission_check(struct call *call);
bool remove_permission(struct call *call);
void tag_resource_check(struct call *call);
bool tag_resource(struct call *call);
void untag_resource_check(struct call *call);
bool untag_resource(struct call *call);
void list_tags_check(struct call *call);
bool list_tags(struct call *call);
bool get_account_settings(struct call *call);
bool get_code_signing_config(struct call *call);
bool get_recursion_config(struct call *call);
void put_recursion_config_check(struct call *call);
bool put_recursion_config(struct call *call);
bool get_runtime_management_config(struct call *call);
bool get_code(struct call *call);
/* clang-format on */

/* versions.c */
/** Copies $LATEST (which gets a new revision; the caller saves it) to the next number, unless it is still
 * what the last published version was made of: then that one. description NULL: $LATEST's. */
bool publish_latest(struct call *call, struct store_function *function, struct store_version *latest,
                    const char *description, struct store_version *ret_version);
/** 409 while the function is Pending or being updated. */
bool latest_is_settled(struct call *call, const struct store_function *function,
                       const struct store_version *latest);

/* picture.c */
/** Between store_begin() and store_end(). NULL with err. */
struct function *picture_build(struct api *api, const char *name, struct err *err);

/* name_priv.h's users */
bool name_check(struct check *check, enum api_name_rule rule, const char *function_name,
                const char *qualifier);
struct name_context {
    const struct api_config *config;
    const char *operation;
    const char *user_arn;
};
bool name_resolve(const struct name_context *context, enum api_name_rule rule, const char *function_name,
                  const char *qualifier, struct api_reference *ret_reference,
                  struct api_response *ret_response);
/** Without "Type", as the service answers in a few cases. */
void api_error_untyped(struct api_response *response, const char *exception, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
