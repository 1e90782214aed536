#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_priv.h"
#include "base/clock.h"
#include "base/id.h"

enum { LIST_ITEMS_MAX = 50, URL_BYTES = 256 };

static const struct text_rule auth_rule = { 0, 0, NULL, NULL, "NONE, AWS_IAM" };
static const struct text_rule mode_rule = { 0, 0, NULL, NULL, "BUFFERED, RESPONSE_STREAM" };
static const struct text_rule origin_rule = { 1, 253, NULL, NULL, NULL };
static const struct text_rule header_rule = { 0, 1024, NULL, NULL, NULL };
static const struct text_rule method_rule = { 0, 6, NULL, NULL, NULL };

static const struct field cors_fields[] = {
    { "AllowCredentials", FIELD_BOOLEAN, false, NULL, 0, 0 },
    { "AllowHeaders", FIELD_LIST, false, &header_rule, 0, 100 },
    { "AllowMethods", FIELD_LIST, false, &method_rule, 0, 6 },
    { "AllowOrigins", FIELD_LIST, false, &origin_rule, 0, 100 },
    { "ExposeHeaders", FIELD_LIST, false, &header_rule, 0, 100 },
    { "MaxAge", FIELD_INTEGER, false, NULL, 0, 86400 },
};
enum { CORS_FIELDS = sizeof cors_fields / sizeof cors_fields[0] };

static void check_url(struct call *call, bool create)
{
    const struct field fields[] = {
        { "AuthType", FIELD_TEXT, create, &auth_rule, 0, 0 },
        { "Cors", FIELD_OBJECT, false, NULL, 0, 0 },
        { "InvokeMode", FIELD_TEXT, false, &mode_rule, 0, 0 },
    };
    const cJSON *cors = call_member(call->body, "Cors");

    check_fields(&call->check, call->body, "", fields, 3);
    if (cJSON_IsObject(cors))
        check_fields(&call->check, cors, "cors.", cors_fields, CORS_FIELDS);
}

void create_url_check(struct call *call)
{
    check_url(call, true);
}

void update_url_check(struct call *call)
{
    check_url(call, false);
}

static bool missing(struct call *call, const char *text)
{
    api_error(call->response, "ResourceNotFoundException", "%s", text);
    return false;
}

#define NO_FUNCTION "Function does not exist"
#define NO_RESOURCE "The resource you requested does not exist."

static cJSON *url_view(const struct api *api, const char *name, const struct store_url *url, bool created)
{
    cJSON *view = cJSON_CreateObject();
    AUTO_BUF struct buf arn = { 0 };
    char text[URL_BYTES], time[CLOCK_ISO_BYTES];
    cJSON *cors = url->cors ? cJSON_Parse(url->cors) : NULL;

    (void)snprintf(text, sizeof text, "%s://%s.lambda-url.%s.localhost:%u/", api->config.scheme, url->url_id,
                   api->config.region, api->config.port);
    (void)cJSON_AddStringToObject(view, "FunctionUrl", text);
    (void)cJSON_AddStringToObject(view, "FunctionArn", arn_of(api, name, url->qualifier, &arn));
    (void)cJSON_AddStringToObject(view, "AuthType", url->auth);
    if (cors)
        (void)cJSON_AddItemToObject(view, "Cors", cors);
    clock_iso(url->created_ms, time);
    (void)cJSON_AddStringToObject(view, "CreationTime", time);
    if (!created) {
        clock_iso(url->modified_ms, time);
        (void)cJSON_AddStringToObject(view, "LastModifiedTime", time);
    }
    if (url->mode[0] || !created)
        (void)cJSON_AddStringToObject(view, "InvokeMode", url->mode[0] ? url->mode : "BUFFERED");
    return view;
}

/* Only the members we know are kept. An empty block is none. */
static bool apply_cors(struct call *call, struct store_url *url)
{
    const cJSON *asked = call_member(call->body, "Cors");
    cJSON *copy;

    if (!asked)
        return true;
    free(url->cors);
    url->cors = NULL;
    copy = cJSON_CreateObject();
    for (size_t i = 0; i < CORS_FIELDS; i++) {
        const cJSON *item = call_member(asked, cors_fields[i].member);

        if (item && !cJSON_AddItemToObject(copy, cors_fields[i].member, cJSON_Duplicate(item, 1))) {
            cJSON_Delete(copy);
            return call_failed(call);
        }
    }
    if (cJSON_GetArraySize(copy) > 0) {
        url->cors = cJSON_PrintUnformatted(copy);
        if (!url->cors) {
            cJSON_Delete(copy);
            return call_failed(call);
        }
    }
    cJSON_Delete(copy);
    return true;
}

static bool apply(struct call *call, struct store_url *url)
{
    const char *auth = call_text(call->body, "AuthType"), *mode = call_text(call->body, "InvokeMode");

    if (auth)
        (void)snprintf(url->auth, sizeof url->auth, "%s", auth);
    if (mode)
        (void)snprintf(url->mode, sizeof url->mode, "%s", mode);
    url->modified_ms = clock_wall_ms();
    return apply_cors(call, url);
}

static bool save(struct call *call, struct store_function *function, const struct store_url *url, int status)
{
    if (store_url_put(call->store, function->id, url, &call->err) < 0 ||
        store_function_save(call->store, function, &call->err) < 0)
        return call_failed(call);
    call_changed(call, function->name, false);
    return call_answer(call, status, url_view(call->api, function->name, url, status == 201));
}

/* The function; with an alias as qualifier that, too, unless any is fine. False with the text given. */
static bool find_target(struct call *call, const char *text, bool any_alias,
                        struct store_function *ret_function)
{
    const char *qualifier = call->reference.qualifier;
    struct store_alias alias;
    int found = store_function_find(call->store, call->reference.name, ret_function, &call->err);

    if (found < 0)
        return call_failed(call);
    if (found == 0)
        return missing(call, text);
    if (any_alias || qualifier[0] == '\0')
        return true;
    found = store_alias_find(call->store, ret_function->id, qualifier, &alias, &call->err);
    if (found == 1) {
        store_alias_done(&alias);
        return true;
    }
    store_function_done(ret_function);
    return found < 0 ? call_failed(call) : missing(call, text);
}

static bool add_url(struct call *call, struct store_function *function)
{
    const char *qualifier = call->reference.qualifier;
    struct store_url url;
    AUTO_BUF struct buf arn = { 0 };
    int found = store_url_find(call->store, function->id, qualifier, &url, &call->err);
    bool fine;

    if (found < 0)
        return call_failed(call);
    if (found == 1) {
        store_url_done(&url);
        api_error(
            call->response, "ResourceConflictException",
            "Failed to create function url config for [functionArn = %s]. Error message:  FunctionUrlConfig "
            "exists for this Lambda function",
            arn_of(call->api, function->name, qualifier, &arn));
        return false;
    }
    url = (struct store_url){ .created_ms = clock_wall_ms() };
    (void)snprintf(url.qualifier, sizeof url.qualifier, "%s", qualifier);
    id_text("abcdefghijklmnopqrstuvwxyz0123456789", STORE_URL_ID_BYTES - 1, url.url_id);
    fine = apply(call, &url) && save(call, function, &url, 201);
    store_url_done(&url);
    return fine;
}

bool create_url(struct call *call)
{
    struct store_function function;
    bool fine;

    if (!find_target(call, NO_FUNCTION, false, &function))
        return false;
    fine = add_url(call, &function);
    store_function_done(&function);
    return fine;
}

/* The config addressed, with its function; both for the caller to release on true. */
static bool find_url(struct call *call, const char *no_target, bool any_alias,
                     struct store_function *ret_function, struct store_url *ret_url)
{
    int found;

    if (!find_target(call, no_target, any_alias, ret_function))
        return false;
    found = store_url_find(call->store, ret_function->id, call->reference.qualifier, ret_url, &call->err);
    if (found == 1)
        return true;
    store_function_done(ret_function);
    return found < 0 ? call_failed(call) : missing(call, NO_RESOURCE);
}

bool get_url(struct call *call)
{
    struct store_function function;
    struct store_url url;
    bool fine;

    if (!find_url(call, NO_RESOURCE, true, &function, &url))
        return false;
    fine = call_answer(call, 200, url_view(call->api, function.name, &url, false));
    store_url_done(&url);
    store_function_done(&function);
    return fine;
}

bool update_url(struct call *call)
{
    struct store_function function;
    struct store_url url;
    bool fine;

    if (!find_url(call, NO_FUNCTION, false, &function, &url))
        return false;
    fine = apply(call, &url) && save(call, &function, &url, 200);
    store_url_done(&url);
    store_function_done(&function);
    return fine;
}

bool delete_url(struct call *call)
{
    struct store_function function;
    struct store_url url;
    bool fine;

    if (!find_url(call, NO_RESOURCE, true, &function, &url))
        return false;
    store_url_done(&url);
    fine = store_url_remove(call->store, function.id, call->reference.qualifier, &call->err) >= 0 &&
           store_function_save(call->store, &function, &call->err) >= 0;
    if (fine)
        call_changed(call, function.name, false);
    store_function_done(&function);
    return fine ? call_answer_empty(call) : call_failed(call);
}

void list_urls_check(struct call *call)
{
    page_check(call, LIST_ITEMS_MAX);
}

struct listing {
    struct call *call;
    const char *function;
    cJSON *items;
    size_t limit;
    char next[STORE_QUALIFIER_BYTES];
    bool more;
};

static int add_item(const struct store_url *url, void *ctx)
{
    struct listing *listing = ctx;

    if ((size_t)cJSON_GetArraySize(listing->items) >= listing->limit) {
        (void)snprintf(listing->next, sizeof listing->next, "%s", url->qualifier);
        listing->more = true;
        return 1;
    }
    return cJSON_AddItemToArray(listing->items, url_view(listing->call->api, listing->function, url, false))
               ? 0
               : -1;
}

static bool list(struct call *call, const struct store_function *function, const struct page *page)
{
    struct listing listing = { .call = call, .function = function->name, .limit = page->limit };
    cJSON *answer = cJSON_CreateObject();
    int result;

    listing.items = cJSON_AddArrayToObject(answer, "FunctionUrlConfigs");
    result = store_url_each(call->store, function->id, page->marker.data, page->limit + 1, add_item, &listing,
                            &call->err);
    if (result < 0 || (listing.more && !page_next(answer, listing.next))) {
        cJSON_Delete(answer);
        return call_failed(call);
    }
    return call_answer(call, 200, answer);
}

bool list_urls(struct call *call)
{
    struct store_function function;
    struct page page;
    bool fine;

    if (!find_target(call, NO_FUNCTION, true, &function))
        return false;
    fine = page_read(call, LIST_ITEMS_MAX, &page);
    if (fine) {
        fine = list(call, &function, &page);
        page_done(&page);
    }
    store_function_done(&function);
    return fine;
}
