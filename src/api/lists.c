#include <stdio.h>
#include <string.h>

#include "api/api_priv.h"
#include "base/text.h"

/* ListFunctions and ListVersionsByFunction: pages of configurations. One more than the page is read to know
 * what comes next. */

enum { LIST_ITEMS_MAX = 10000, KEY_BYTES = STORE_NAME_BYTES + 24 };

struct listing {
    struct call *call;
    cJSON *items; /* owned until the answer */
    size_t limit;
    const char *name;     /* of the function at hand */
    bool qualified;       /* ARNs carry the version */
    char next[KEY_BYTES]; /* key of the first item beyond the page; "" when there is none */
};

static int add_version(const struct store_version *version, void *ctx)
{
    struct listing *listing = ctx;
    char number[24];
    cJSON *view;

    if ((size_t)cJSON_GetArraySize(listing->items) >= listing->limit) {
        (void)snprintf(listing->next, sizeof listing->next, "%s:%lld", listing->name,
                       (long long)version->number);
        return 1;
    }
    view = view_configuration(listing->call->api, listing->name, version,
                              listing->qualified ? version_text(version->number, number) : "", VIEW_LIST);
    return view && cJSON_AddItemToArray(listing->items, view) ? 0 : -1;
}

/* Versions of one function; the $LATEST alone unless qualified. */
static int add_versions(struct listing *listing, const char *name, int64_t from)
{
    struct call *call = listing->call;
    struct store_function function;
    int result = store_function_find(call->store, name, &function, &call->err);

    if (result != 1)
        return result;
    listing->name = name;
    result = store_version_each(call->store, function.id, from, listing->qualified ? listing->limit + 1 : 1,
                                add_version, listing, &call->err);
    store_function_done(&function);
    return result;
}

static int collect_name(const char *name, void *ctx)
{
    struct buf *names = ctx;

    return buf_append(names, name, strlen(name) + 1);
}

/* A marker's key is "<name>:<number>". */
static bool split_key(char *key, int64_t *ret_number)
{
    char *colon = strrchr(key, ':');
    uint64_t number;

    if (!colon || !text_to_u64(colon + 1, strlen(colon + 1), INT64_MAX, &number))
        return false;
    *colon = '\0';
    *ret_number = (int64_t)number;
    return true;
}

static bool answer_listing(struct listing *listing, const char *member)
{
    cJSON *answer = cJSON_CreateObject();

    (void)cJSON_AddItemToObject(answer, member, listing->items);
    if (listing->next[0] && !page_next(answer, listing->next)) {
        cJSON_Delete(answer);
        answer = NULL;
    }
    return call_answer(listing->call, 200, answer);
}

void list_functions_check(struct call *call)
{
    static const struct text_rule version_rule = { 0, 0, NULL, NULL, "ALL" };
    AUTO_BUF struct buf version = BUF_INIT(1024);

    page_check(call, LIST_ITEMS_MAX);
    if (call_query(call, "FunctionVersion", 0, &version))
        check_text(&call->check, "functionVersion", version.data, &version_rule);
}

static int list_from(struct listing *listing, const struct page *page, int64_t from)
{
    AUTO_BUF struct buf names = BUF_INIT((size_t)(listing->limit + 1) * STORE_NAME_BYTES);
    struct call *call = listing->call;
    int result = store_function_names(call->store, page->marker.data, page->started, listing->limit + 1,
                                      collect_name, &names, &call->err);

    for (size_t at = 0; result == 0 && at < names.len; at += strlen(names.data + at) + 1) {
        result = add_versions(listing, names.data + at, from);
        from = 0;
    }
    return result;
}

bool list_functions(struct call *call)
{
    AUTO_BUF struct buf version = BUF_INIT(1024);
    struct listing listing = { .call = call, .qualified = call_query(call, "FunctionVersion", 0, &version) };
    struct page page;
    int64_t from = 0;
    int result;

    if (!page_read(call, LIST_ITEMS_MAX, &page))
        return false;
    if (page.started && !split_key(page.marker.data, &from)) {
        page_done(&page);
        api_error(call->response, "InvalidParameterValueException", "The Marker is not valid.");
        return false;
    }
    listing.limit = page.limit;
    listing.items = cJSON_CreateArray();
    result = list_from(&listing, &page, from);
    page_done(&page);
    if (result < 0) {
        cJSON_Delete(listing.items);
        return call_failed(call);
    }
    return answer_listing(&listing, "Functions");
}

void list_versions_check(struct call *call)
{
    page_check(call, LIST_ITEMS_MAX);
}

bool list_versions(struct call *call)
{
    struct listing listing = { .call = call, .qualified = true };
    struct store_function function;
    struct page page;
    int64_t from = 0;
    int result;

    if (!find_function(call, "", &function))
        return false;
    store_function_done(&function);
    if (!page_read(call, LIST_ITEMS_MAX, &page))
        return false;
    if (page.started && !split_key(page.marker.data, &from)) {
        page_done(&page);
        api_error(call->response, "InvalidParameterValueException", "The Marker is not valid.");
        return false;
    }
    page_done(&page);
    listing.limit = page.limit;
    listing.items = cJSON_CreateArray();
    result = add_versions(&listing, call->reference.name, from);
    if (result < 0) {
        cJSON_Delete(listing.items);
        return call_failed(call);
    }
    return answer_listing(&listing, "Versions");
}
