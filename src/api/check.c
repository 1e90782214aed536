#include "api/check_priv.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/api_priv.h"
#include "base/text.h"

enum { ITEMS_BYTES = 49152, VALUE_SHOWN = 2048, PATH_BYTES = 128 };

void check_init(struct check *check)
{
    *check = (struct check){ .items = BUF_INIT(ITEMS_BYTES) };
}

void check_done(struct check *check)
{
    buf_done(&check->items);
}

bool check_passes(struct check *check, struct api_response *response)
{
    if (check->malformed[0]) {
        api_error(response, "SerializationException", "%s", check->malformed);
        return false;
    }
    if (check->count == 0)
        return true;
    api_error(response, "ValidationException", "%u validation error%s detected: %s", check->count,
              check->count > 1 ? "s" : "", check->items.data ? check->items.data : "");
    return false;
}

static void start_item(struct check *check)
{
    if (check->count++ > 0)
        (void)buf_puts(&check->items, "; ");
    (void)buf_puts(&check->items, "Value ");
}

void check_fault(struct check *check, const char *path, const char *value, const char *format, ...)
{
    va_list args;

    start_item(check);
    if (value)
        (void)buf_printf(&check->items, "'%.*s'", VALUE_SHOWN, value);
    else
        (void)buf_puts(&check->items, "null");
    (void)buf_printf(&check->items, " at '%s' failed to satisfy constraint: ", path);
    va_start(args, format);
    (void)buf_vprintf(&check->items, format, args);
    va_end(args);
}

void check_fault_hidden(struct check *check, const char *path, const char *format, ...)
{
    va_list args;

    start_item(check);
    (void)buf_printf(&check->items, "at '%s' failed to satisfy constraint: ", path);
    va_start(args, format);
    (void)buf_vprintf(&check->items, format, args);
    va_end(args);
}

void check_wrong_type(struct check *check, const char *member, const char *expected)
{
    if (!check->malformed[0])
        (void)snprintf(check->malformed, sizeof check->malformed, "Member %s must be %s", member, expected);
}

size_t text_units(const char *text)
{
    size_t units = 0;

    for (const unsigned char *at = (const unsigned char *)text; *at; at++)
        units += (*at & 0xc0) != 0x80 ? (*at >= 0xf0 ? 2 : 1) : 0;
    return units;
}

static bool is_listed(const char *values, const char *value)
{
    size_t len = strlen(value);

    for (const char *at = values; *at; at += strspn(at, ", ")) {
        size_t step = strcspn(at, ",");

        if (step == len && memcmp(at, value, len) == 0)
            return true;
        at += step;
    }
    return false;
}

static bool fits(const char *value, const struct text_rule *rule)
{
    size_t units = text_units(value);

    return (rule->max == 0 || (units <= rule->max && units >= rule->min)) &&
           (!rule->match || rule->match(value)) && (!rule->values || is_listed(rule->values, value));
}

void check_text(struct check *check, const char *path, const char *value, const struct text_rule *rule)
{
    size_t units = text_units(value);

    if (rule->max > 0 && units > rule->max)
        check_fault(check, path, value, "Member must have length less than or equal to %zu", rule->max);
    if (rule->max > 0 && units < rule->min)
        check_fault(check, path, value, "Member must have length greater than or equal to %zu", rule->min);
    if (rule->match && !rule->match(value))
        check_fault(check, path, value, "Member must satisfy regular expression pattern: %s", rule->pattern);
    if (rule->values && !is_listed(rule->values, value))
        check_fault(check, path, value, "Member must satisfy enum value set: [%s]", rule->values);
}

static void check_integer(struct check *check, const char *path, const cJSON *item, const struct field *field)
{
    double value = item->valuedouble;
    char shown[32];

    if (!cJSON_IsNumber(item) || floor(value) != value || fabs(value) > 9007199254740992.0) {
        check_wrong_type(check, field->member, "an integer");
        return;
    }
    (void)snprintf(shown, sizeof shown, "%.0f", value);
    if (value < (double)field->min)
        check_fault(check, path, shown, "Member must have value greater than or equal to %lld",
                    (long long)field->min);
    if (value > (double)field->max)
        check_fault(check, path, shown, "Member must have value less than or equal to %lld",
                    (long long)field->max);
}

static void put_rule(struct buf *out, const struct text_rule *rule)
{
    const char *comma = "";

    if (rule->max > 0) {
        (void)buf_printf(out, "Member must have length less than or equal to %zu", rule->max);
        (void)buf_printf(out, ", Member must have length greater than or equal to %zu", rule->min);
        comma = ", ";
    }
    if (rule->match) {
        (void)buf_printf(out, "%sMember must satisfy regular expression pattern: %s", comma, rule->pattern);
        comma = ", ";
    }
    if (rule->values)
        (void)buf_printf(out, "%sMember must satisfy enum value set: [%s]", comma, rule->values);
}

static void check_list(struct check *check, const char *path, const cJSON *list, const struct field *field)
{
    struct buf shown = BUF_INIT((size_t)2 * VALUE_SHOWN), rule = BUF_INIT((size_t)2 * VALUE_SHOWN);
    const cJSON *item;
    bool bad = false;
    int size = cJSON_GetArraySize(list);

    (void)buf_putc(&shown, '[');
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsString(item)) {
            if (field->text)
                check_wrong_type(check, field->member, "a list of strings");
            continue;
        }
        (void)buf_printf(&shown, "%s%.*s", item == list->child ? "" : ", ", 256, item->valuestring);
        bad |= field->text && !fits(item->valuestring, field->text);
    }
    (void)buf_putc(&shown, ']');
    if (field->max > 0 && size > field->max)
        check_fault(check, path, shown.data, "Member must have length less than or equal to %lld",
                    (long long)field->max);
    if (size < field->min)
        check_fault(check, path, shown.data, "Member must have length greater than or equal to %lld",
                    (long long)field->min);
    if (bad) {
        put_rule(&rule, field->text);
        check_fault(check, path, shown.data, "Member must satisfy constraint: [%s, Member must not be null]",
                    rule.data ? rule.data : "");
    }
    buf_done(&shown);
    buf_done(&rule);
}

static void check_field(struct check *check, const char *path, const cJSON *item, const struct field *field)
{
    switch (field->kind) {
    case FIELD_TEXT:
        if (!cJSON_IsString(item))
            check_wrong_type(check, field->member, "a string");
        else if (field->text)
            check_text(check, path, item->valuestring, field->text);
        break;
    case FIELD_INTEGER:
        check_integer(check, path, item, field);
        break;
    case FIELD_BOOLEAN:
        if (!cJSON_IsBool(item))
            check_wrong_type(check, field->member, "true or false");
        break;
    case FIELD_OBJECT:
        if (!cJSON_IsObject(item))
            check_wrong_type(check, field->member, "an object");
        break;
    case FIELD_LIST:
        if (!cJSON_IsArray(item))
            check_wrong_type(check, field->member, "a list");
        else
            check_list(check, path, item, field);
        break;
    }
}

void check_fields(struct check *check, const cJSON *object, const char *prefix, const struct field *fields,
                  size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const cJSON *item = call_member(object, fields[i].member);
        char path[PATH_BYTES];

        (void)snprintf(path, sizeof path, "%s%c%s", prefix, tolower(fields[i].member[0]),
                       fields[i].member + 1);
        if (item)
            check_field(check, path, item, &fields[i]);
        else if (fields[i].required)
            check_fault(check, path, NULL, "Member must not be null");
    }
}
