#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_priv.h"
#include "base/id.h"
#include "base/text.h"

enum { LIST_ITEMS_MAX = 10000 };

static const struct text_rule name_rule = { 1, 128, match_alias, "(?!^[0-9]+$)([a-zA-Z0-9-_]+)", NULL };
static const struct text_rule version_rule = { 1, 1024, match_version, "(\\$LATEST(\\.PUBLISHED)?|[0-9]+)",
                                               NULL };
static const struct text_rule description_rule = { 0, 256, NULL, NULL, NULL };
static const struct text_rule weight_key_rule = { 1, 1024, match_digits, "[0-9]+", NULL };

static const struct field create_fields[] = {
    { "Name", FIELD_TEXT, true, &name_rule, 0, 0 },
    { "FunctionVersion", FIELD_TEXT, true, &version_rule, 0, 0 },
};
static const struct field update_fields[] = {
    { "FunctionVersion", FIELD_TEXT, false, &version_rule, 0, 0 },
    { "RevisionId", FIELD_TEXT, false, NULL, 0, 0 },
};
static const struct field shared_fields[] = {
    { "Description", FIELD_TEXT, false, &description_rule, 0, 0 },
    { "RoutingConfig", FIELD_OBJECT, false, NULL, 0, 0 },
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* As the service prints a map of numbers: {2=0.5, 3=1.0}. */
static void print_weights(const cJSON *weights, struct buf *out)
{
    const cJSON *item;

    (void)buf_putc(out, '{');
    cJSON_ArrayForEach(item, weights)
    {
        const char *point = floor(item->valuedouble) == item->valuedouble ? ".0" : "";

        (void)buf_printf(out, "%s%.64s=%.15g%s", item == weights->child ? "" : ", ", item->string,
                         item->valuedouble, point);
    }
    (void)buf_putc(out, '}');
}

static void check_weights(struct check *check, const cJSON *routing)
{
    static const char path[] = "routingConfig.additionalVersionWeights";
    const cJSON *weights = call_member(routing, "AdditionalVersionWeights"), *item;
    AUTO_BUF struct buf shown = BUF_INIT(2048);
    bool bad_key = false, bad_weight = false;

    if (weights && !cJSON_IsObject(weights))
        check_wrong_type(check, "AdditionalVersionWeights", "an object");
    cJSON_ArrayForEach(item, weights)
    {
        if (!cJSON_IsNumber(item)) {
            check_wrong_type(check, "AdditionalVersionWeights", "an object of numbers");
            return;
        }
        bad_key |= item->string[0] == '\0' || text_units(item->string) > weight_key_rule.max ||
                   !match_digits(item->string);
        bad_weight |= !(item->valuedouble >= 0.0 && item->valuedouble <= 1.0);
    }
    if (!bad_key && !bad_weight)
        return;
    print_weights(weights, &shown);
    if (bad_weight)
        check_fault(check, path, shown.data,
                    "Map value must satisfy constraint: [Member must have value less than or equal to 1.0, "
                    "Member must "
                    "have value greater than or equal to 0.0, Member must not be null]");
    if (bad_key)
        check_fault(
            check, path, shown.data,
            "Map keys must satisfy constraint: [Member must have length less than or equal to 1024, Member "
            "must have length greater than or equal to 1, Member must satisfy regular expression pattern: "
            "[0-9]+]");
}

void create_alias_check(struct call *call)
{
    check_fields(&call->check, call->body, "", create_fields, COUNT(create_fields));
    check_fields(&call->check, call->body, "", shared_fields, COUNT(shared_fields));
    check_weights(&call->check, call_member(call->body, "RoutingConfig"));
}

void alias_name_check(struct call *call)
{
    check_text(&call->check, "name", call->label[1].data, &name_rule);
}

void update_alias_check(struct call *call)
{
    alias_name_check(call);
    check_fields(&call->check, call->body, "", update_fields, COUNT(update_fields));
    check_fields(&call->check, call->body, "", shared_fields, COUNT(shared_fields));
    check_weights(&call->check, call_member(call->body, "RoutingConfig"));
}

static cJSON *alias_view(const struct api *api, const char *function, const struct store_alias *alias)
{
    cJSON *view = cJSON_CreateObject(), *routing;
    AUTO_BUF struct buf arn = { 0 };
    char number[24];

    (void)cJSON_AddStringToObject(view, "AliasArn", arn_of(api, function, alias->name, &arn));
    (void)cJSON_AddStringToObject(view, "Name", alias->name);
    (void)cJSON_AddStringToObject(view, "FunctionVersion", version_text(alias->version, number));
    (void)cJSON_AddStringToObject(view, "Description", alias->description);
    if (alias->routing_version >= 0) {
        routing = cJSON_AddObjectToObject(view, "RoutingConfig");
        routing = cJSON_AddObjectToObject(routing, "AdditionalVersionWeights");
        (void)cJSON_AddNumberToObject(routing, version_text(alias->routing_version, number),
                                      alias->routing_weight);
    }
    (void)cJSON_AddStringToObject(view, "RevisionId", alias->revision_id);
    return view;
}

/* The number of an existing version, or 404. */
static bool existing_version(struct call *call, const struct store_function *function, const char *version,
                             int64_t *ret_number)
{
    struct store_version found;

    if (!find_version(call, function, version, &found))
        return false;
    *ret_number = found.number;
    store_version_done(&found);
    return true;
}

static bool apply_routing(struct call *call, const struct store_function *function, struct store_alias *alias)
{
    const cJSON *routing = call_member(call->body, "RoutingConfig");
    const cJSON *weights = call_member(routing, "AdditionalVersionWeights");

    if (!routing)
        return true;
    alias->routing_version = -1;
    alias->routing_weight = 0.0;
    if (cJSON_GetArraySize(weights) > 1) {
        api_error(call->response, "InvalidParameterValueException",
                  "Number of items in AdditionalVersionWeights cannot be greater than 1");
        return false;
    }
    if (cJSON_GetArraySize(weights) == 0)
        return true;
    if (!existing_version(call, function, weights->child->string, &alias->routing_version))
        return false;
    alias->routing_weight = weights->child->valuedouble;
    return true;
}

/* What is asked in the body, put into alias, and the rules that look at all of it. */
static bool apply(struct call *call, const struct store_function *function, struct store_alias *alias)
{
    const char *version = call_text(call->body, "FunctionVersion");
    const char *description = call_text(call->body, "Description");

    if (version && !existing_version(call, function, version, &alias->version))
        return false;
    if (description) {
        free(alias->description);
        alias->description = strdup(description);
    }
    if (!alias->description)
        return call_failed(call);
    if (!apply_routing(call, function, alias))
        return false;
    if (alias->routing_version >= 0 && alias->version == 0) {
        api_error(call->response, "InvalidParameterValueException",
                  "$LATEST is not supported for an alias pointing to more than 1 version");
        return false;
    }
    if (alias->routing_version == alias->version) {
        api_error(call->response, "InvalidParameterValueException",
                  "Invalid function version %lld. Function version %lld is already included in routing "
                  "configuration.",
                  (long long)alias->version, (long long)alias->version);
        return false;
    }
    return true;
}

static bool save(struct call *call, struct store_function *function, struct store_alias *alias, int status)
{
    id_uuid(alias->revision_id);
    if (store_alias_put(call->store, function->id, alias, &call->err) < 0 ||
        store_function_save(call->store, function, &call->err) < 0)
        return call_failed(call);
    call_changed(call, function->name, false);
    return call_answer(call, status, alias_view(call->api, function->name, alias));
}

static bool add_alias(struct call *call, struct store_function *function)
{
    const char *name = call_text(call->body, "Name");
    struct store_alias alias;
    AUTO_BUF struct buf arn = { 0 };
    int found = store_alias_find(call->store, function->id, name, &alias, &call->err);
    bool fine;

    if (found < 0)
        return call_failed(call);
    if (found == 1) {
        store_alias_done(&alias);
        api_error(call->response, "ResourceConflictException", "Alias already exists: %s",
                  arn_of(call->api, function->name, name, &arn));
        return false;
    }
    alias = (struct store_alias){ .routing_version = -1, .description = strdup("") };
    (void)snprintf(alias.name, sizeof alias.name, "%s", name);
    fine = apply(call, function, &alias) && save(call, function, &alias, 201);
    store_alias_done(&alias);
    return fine;
}

bool create_alias(struct call *call)
{
    struct store_function function;
    bool fine;

    if (!find_function(call, "", &function))
        return false;
    fine = add_alias(call, &function);
    store_function_done(&function);
    return fine;
}

/* The function and the alias of label 1, both for the caller to release on true; else 404 with this text
 * before the ARN. */
static bool find_alias(struct call *call, const char *missing, struct store_function *ret_function,
                       struct store_alias *ret_alias)
{
    AUTO_BUF struct buf arn = { 0 };
    int found = store_function_find(call->store, call->reference.name, ret_function, &call->err);

    if (found == 1) {
        found = store_alias_find(call->store, ret_function->id, call->label[1].data, ret_alias, &call->err);
        if (found == 1)
            return true;
        store_function_done(ret_function);
    }
    if (found < 0)
        return call_failed(call);
    api_error(call->response, "ResourceNotFoundException", "%s: %s", missing,
              arn_of(call->api, call->reference.name, call->label[1].data, &arn));
    return false;
}

bool get_alias(struct call *call)
{
    struct store_function function;
    struct store_alias alias = { 0 };
    bool fine;

    if (!find_alias(call, "Cannot find alias arn", &function, &alias))
        return false;
    fine = call_answer(call, 200, alias_view(call->api, function.name, &alias));
    store_alias_done(&alias);
    store_function_done(&function);
    return fine;
}

bool update_alias(struct call *call)
{
    struct store_function function;
    struct store_alias alias = { 0 };
    bool fine;

    if (!find_alias(call, "Alias not found", &function, &alias))
        return false;
    fine = revision_matches(call, call_text(call->body, "RevisionId"), alias.revision_id) &&
           apply(call, &function, &alias) && save(call, &function, &alias, 200);
    store_alias_done(&alias);
    store_function_done(&function);
    return fine;
}

bool delete_alias(struct call *call)
{
    struct store_function function;
    int removed;

    if (!find_function(call, "", &function))
        return false;
    removed = store_alias_remove(call->store, function.id, call->label[1].data, &call->err);
    if (removed == 1 && store_function_save(call->store, &function, &call->err) < 0)
        removed = -1;
    if (removed == 1)
        call_changed(call, function.name, false);
    store_function_done(&function);
    return removed < 0 ? call_failed(call) : call_answer_empty(call);
}

void list_aliases_check(struct call *call)
{
    AUTO_BUF struct buf version = BUF_INIT(4096);

    page_check(call, LIST_ITEMS_MAX);
    if (call_query(call, "FunctionVersion", 0, &version))
        check_text(&call->check, "functionVersion", version.data, &version_rule);
}

struct listing {
    struct call *call;
    const char *function;
    cJSON *items;
    size_t limit;
    char last[STORE_QUALIFIER_BYTES]; /* of the page; what comes after it is the next */
    bool more;
};

static int add_item(const struct store_alias *alias, void *ctx)
{
    struct listing *listing = ctx;

    if ((size_t)cJSON_GetArraySize(listing->items) >= listing->limit) {
        listing->more = true;
        return 1;
    }
    (void)snprintf(listing->last, sizeof listing->last, "%s", alias->name);
    return cJSON_AddItemToArray(listing->items, alias_view(listing->call->api, listing->function, alias))
               ? 0
               : -1;
}

static bool list(struct call *call, const struct store_function *function, const struct page *page)
{
    AUTO_BUF struct buf version = BUF_INIT(4096);
    struct listing listing = { .call = call, .function = function->name, .limit = page->limit };
    uint64_t number = 0;
    int64_t only = -1;
    cJSON *answer = cJSON_CreateObject();
    int result;

    if (call_query(call, "FunctionVersion", 0, &version))
        only = text_to_u64(version.data, version.len, INT64_MAX, &number) ? (int64_t)number : 0;
    listing.items = cJSON_AddArrayToObject(answer, "Aliases");
    result = store_alias_each(call->store, function->id, page->marker.data, only, page->limit + 1, add_item,
                              &listing, &call->err);
    if (result < 0 || (listing.more && !page_next(answer, listing.last))) {
        cJSON_Delete(answer);
        return call_failed(call);
    }
    return call_answer(call, 200, answer);
}

bool list_aliases(struct call *call)
{
    struct store_function function;
    struct page page;
    bool fine;

    if (!find_function(call, "", &function))
        return false;
    fine = page_read(call, LIST_ITEMS_MAX, &page);
    if (fine) {
        fine = list(call, &function, &page);
        page_done(&page);
    }
    store_function_done(&function);
    return fine;
}
