#include <stdio.h>
#include <string.h>

#include "api/api_priv.h"
#include "base/text.h"

/*
 * A function's name in its many forms (spec section 2). All patterns have the shape
 *
 *   [arn:PARTITION:lambda:] [REGION:] [ACCOUNT:] [function:] NAME [:QUALIFIER]
 *
 * so the text is cut at its colons, and each of the 16 ways to have or not have the four optional parts is
 * tried, most parts first, as a greedy regular expression would. Nothing is copied before it is known to fit.
 */

enum { PARTS_MAX = 9, WITH_ARN = 8, WITH_REGION = 4, WITH_ACCOUNT = 2, WITH_FUNCTION = 1, ALL_PARTS = 15 };

#define WORD     "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
#define REGION   "((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:)"
#define ARN_HEAD "(arn:(aws[a-zA-Z-]*)?:lambda:)?" REGION "?(\\d{12}:)?(function:)?"

static const struct rule {
    size_t max;
    const char *pattern;
    bool dots;     /* in names, and $LATEST.PUBLISHED as qualifier */
    bool full_arn; /* an ARN must have region and account */
    size_t name_max;
    bool aliases_only; /* qualifiers: neither digits nor $LATEST */
    const char *qualifier_pattern;
} rules[] = {
    [API_NAME_FN140] = { 140, ARN_HEAD "([a-zA-Z0-9-_]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?", false, false, 140,
                         false, "\\$(LATEST(\\.PUBLISHED)?)|[a-zA-Z0-9-_$]+" },
    [API_NAME_FN256] = { 256,
                         "(arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}"
                         ":\\d{12}:|(" REGION "?(\\d{12}:)?))(function:)?([a-zA-Z0-9-_\\.]+)"
                         "(:(\\$LATEST(\\.PUBLISHED)?|[a-zA-Z0-9-_]+))?",
                         true, true, 256, false, "\\$(LATEST(\\.PUBLISHED)?)|[a-zA-Z0-9-_$]+" },
    [API_NAME_URL] = { 140, ARN_HEAD "([a-zA-Z0-9-_]{1,64})(:((?!\\d+$)[0-9a-zA-Z-_]+))?", false, false, 64,
                       true, "((?!^\\d+$)^[0-9a-zA-Z-_]+$)" },
};

struct part {
    const char *text;
    size_t len;
};

struct name_parts {
    struct part region, account, name, qualifier; /* len 0: absent */
};

static size_t split(const char *text, struct part *parts)
{
    size_t count = 0;

    for (const char *at = text;; at++) {
        size_t len = strcspn(at, ":");

        if (count == PARTS_MAX)
            return PARTS_MAX + 1;
        parts[count++] = (struct part){ at, len };
        at += len;
        if (*at == '\0')
            return count;
    }
}

static bool is_text(const struct part *part, const char *text)
{
    return part->len == strlen(text) && memcmp(part->text, text, part->len) == 0;
}

static bool is_word(const struct part *part, bool dots)
{
    for (size_t i = 0; i < part->len; i++) {
        if (!strchr(WORD, part->text[i]) && !(dots && part->text[i] == '.'))
            return false;
    }
    return part->len > 0;
}

static bool is_digits(const struct part *part)
{
    return part->len > 0 && strspn(part->text, "0123456789") >= part->len;
}

static bool is_qualifier(const struct part *part, const struct rule *rule)
{
    if (rule->aliases_only)
        return is_word(part, false) && !is_digits(part);
    return is_text(part, "$LATEST") || (rule->dots && is_text(part, "$LATEST.PUBLISHED")) ||
           is_word(part, false);
}

/* One of the 16 ways; with: bits of WITH_*. */
static bool fits(const struct part *parts, size_t count, unsigned with, const struct rule *rule,
                 struct name_parts *ret_parts)
{
    struct name_parts found = { 0 };
    size_t at = 0;

    if (with & WITH_ARN) {
        if (count < 4 || !is_text(&parts[0], "arn") || !match_partition(parts[1].text, parts[1].len) ||
            !is_text(&parts[2], "lambda"))
            return false;
        if (rule->full_arn && (with & (WITH_REGION | WITH_ACCOUNT)) != (WITH_REGION | WITH_ACCOUNT))
            return false;
        at = 3;
    }
    if (with & WITH_REGION) {
        if (at >= count || !match_region(parts[at].text, parts[at].len))
            return false;
        found.region = parts[at++];
    }
    if (with & WITH_ACCOUNT) {
        if (at >= count || parts[at].len != 12 || !is_digits(&parts[at]))
            return false;
        found.account = parts[at++];
    }
    if ((with & WITH_FUNCTION) && (at >= count || !is_text(&parts[at++], "function")))
        return false;
    if (at >= count || count - at > 2 || parts[at].len > rule->name_max || !is_word(&parts[at], rule->dots))
        return false;
    found.name = parts[at++];
    if (at < count && !is_qualifier(&parts[at], rule))
        return false;
    if (at < count)
        found.qualifier = parts[at];
    *ret_parts = found;
    return true;
}

static bool parse(const char *text, const struct rule *rule, struct name_parts *ret_parts)
{
    struct part parts[PARTS_MAX];
    size_t count = split(text, parts);

    if (count > PARTS_MAX)
        return false;
    for (unsigned with = ALL_PARTS + 1; with-- > 0;) {
        if (fits(parts, count, with, rule, ret_parts))
            return true;
    }
    return false;
}

static bool qualifier_matches(const char *qualifier, const struct rule *rule)
{
    struct part part = { qualifier, strlen(qualifier) };

    if (rule->aliases_only)
        return is_word(&part, false) && !is_digits(&part);
    return strcmp(qualifier, "$LATEST.PUBLISHED") == 0 ||
           (part.len > 0 && strspn(qualifier, WORD "$") == part.len);
}

static void check_qualifier(struct check *check, const char *qualifier, const struct rule *rule)
{
    size_t units = text_units(qualifier);

    if (units > 128)
        check_fault(check, "qualifier", qualifier, "Member must have length less than or equal to 128");
    if (!qualifier_matches(qualifier, rule))
        check_fault(check, "qualifier", qualifier, "Member must satisfy regular expression pattern: %s",
                    rule->qualifier_pattern);
}

bool name_check(struct check *check, enum api_name_rule rule_id, const char *function_name,
                const char *qualifier)
{
    const struct rule *rule = &rules[rule_id];
    struct name_parts parts;
    unsigned before = check->count;

    if (qualifier && qualifier[0])
        check_qualifier(check, qualifier, rule);
    if (text_units(function_name) > rule->max)
        check_fault(check, "functionName", function_name, "Member must have length less than or equal to %zu",
                    rule->max);
    if (function_name[0] == '\0')
        check_fault(check, "functionName", function_name,
                    "Member must have length greater than or equal to 1");
    if (!parse(function_name, rule, &parts))
        check_fault(check, "functionName", function_name,
                    "Member must satisfy regular expression pattern: %s", rule->pattern);
    return check->count == before;
}

static void copy(const struct part *part, char *out, size_t size)
{
    (void)snprintf(out, size, "%.*s", (int)part->len, part->text ? part->text : "");
}

static bool is_ours(const struct name_context *context, const struct name_parts *parts,
                    struct api_response *response)
{
    const struct api_config *config = context->config;
    char resource[320];

    if (parts->region.len > 0 && !is_text(&parts->region, config->region)) {
        api_error(response, "ResourceNotFoundException",
                  "Functions from '%.*s' are not reachable in this region ('%s')", (int)parts->region.len,
                  parts->region.text, config->region);
        return false;
    }
    if (parts->account.len == 0 || is_text(&parts->account, config->account))
        return true;
    (void)snprintf(resource, sizeof resource, "arn:aws:lambda:%s:%.12s:function:%.*s", config->region,
                   parts->account.text, (int)parts->name.len, parts->name.text);
    api_error(
        response, "AccessDeniedException",
        "User: %s is not authorized to perform: lambda:%s on resource: %s because no identity-based policy "
        "allows the lambda:%s action",
        context->user_arn, context->operation, resource, context->operation);
    return false;
}

bool name_resolve(const struct name_context *context, enum api_name_rule rule_id, const char *function_name,
                  const char *qualifier, struct api_reference *ret_reference,
                  struct api_response *ret_response)
{
    struct api_reference reference = { .name = "" };
    struct name_parts parts;

    if (!parse(function_name, &rules[rule_id], &parts) || !is_ours(context, &parts, ret_response))
        return false;
    copy(&parts.name, reference.name, sizeof reference.name);
    /* One of 65 to 256 characters names no function and is looked up in vain; a longer qualifier in the name
     * likewise. */
    copy(&parts.qualifier, reference.qualifier, sizeof reference.qualifier);
    if (qualifier && qualifier[0]) {
        if (reference.qualifier[0] && strcmp(reference.qualifier, qualifier) != 0) {
            api_error(ret_response, "InvalidParameterValueException",
                      "The derived qualifier from the function name does not match the specified qualifier.");
            return false;
        }
        (void)snprintf(reference.qualifier, sizeof reference.qualifier, "%s", qualifier);
    }
    *ret_reference = reference;
    return true;
}

bool api_resolve(const struct api_config *config, enum api_name_rule rule, const char *function_name,
                 const char *qualifier, struct api_reference *ret_reference,
                 struct api_response *ret_response)
{
    char user[64];
    struct name_context context = { .config = config, .operation = "InvokeFunction", .user_arn = user };
    struct check check;
    bool fine;

    (void)snprintf(user, sizeof user, "arn:aws:iam::%.12s:root", config->account);
    check_init(&check);
    (void)name_check(&check, rule, function_name, qualifier);
    fine = check_passes(&check, ret_response);
    check_done(&check);
    return fine && name_resolve(&context, rule, function_name, qualifier, ret_reference, ret_response);
}
