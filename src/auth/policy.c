#include "auth/policy.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <cjson/cJSON.h>

#include "base/text.h"

enum { MAX_DOCUMENT_BYTES = 256 * 1024 };

/* UNKNOWN: something in the document is not understood. It never allows, and always denies. */
enum verdict { NO, YES, UNKNOWN };

static enum verdict both(enum verdict a, enum verdict b)
{
    if (a == NO || b == NO)
        return NO;
    return a == UNKNOWN || b == UNKNOWN ? UNKNOWN : YES;
}

static enum verdict either(enum verdict a, enum verdict b)
{
    if (a == YES || b == YES)
        return YES;
    return a == UNKNOWN || b == UNKNOWN ? UNKNOWN : NO;
}

static int fold(char c, bool nocase)
{
    return nocase && c >= 'A' && c <= 'Z' ? c + 32 : c;
}

/* '*' is any run, '?' any one byte; goes back to the last star only, so it cannot explode. */
static bool wildcard(const char *pattern, size_t pattern_len, const char *text, size_t text_len, bool nocase)
{
    size_t p = 0, t = 0, star = pattern_len, mark = 0;

    while (t < text_len) {
        if (p < pattern_len && pattern[p] == '*') {
            star = p++;
            mark = t;
        } else if (p < pattern_len &&
                   (pattern[p] == '?' || fold(pattern[p], nocase) == fold(text[t], nocase))) {
            p++;
            t++;
        } else if (star < pattern_len) {
            p = star + 1;
            t = ++mark;
        } else {
            return false;
        }
    }
    while (p < pattern_len && pattern[p] == '*')
        p++;
    return p == pattern_len;
}

/* The six parts of an ARN are compared one by one, so that a star does not cross a colon; the last has the
 * rest. */
static bool arn_like(const char *pattern, const char *text)
{
    for (int part = 0; part < 6; part++) {
        size_t pattern_len = part < 5 ? strcspn(pattern, ":") : strlen(pattern);
        size_t text_len = part < 5 ? strcspn(text, ":") : strlen(text);

        if (!wildcard(pattern, pattern_len, text, text_len, false))
            return false;
        if (part < 5 && (pattern[pattern_len] != ':' || text[text_len] != ':'))
            return false;
        pattern += pattern_len + 1;
        text += text_len + 1;
    }
    return true;
}

/* What value says as a string; NULL when it is none. */
static const char *string_of(const cJSON *value)
{
    if (value && cJSON_IsString(value))
        return value->valuestring;
    if (value && cJSON_IsBool(value))
        return cJSON_IsTrue(value) ? "true" : "false";
    return NULL;
}

/* A string, or each element of a list of them, is handed to one(); the answers are joined with "or". */
static enum verdict any_of(const cJSON *value, enum verdict (*one)(const char *text, const void *ctx),
                           const void *ctx)
{
    const char *text = string_of(value);
    const cJSON *element = NULL;
    enum verdict verdict = NO;

    if (text)
        return one(text, ctx);
    if (!cJSON_IsArray(value))
        return UNKNOWN;
    cJSON_ArrayForEach(element, value)
    {
        text = string_of(element);
        verdict = either(verdict, text ? one(text, ctx) : UNKNOWN);
    }
    return verdict;
}

static bool is_account(const char *text)
{
    return strlen(text) == 12 && strspn(text, "0123456789") == 12;
}

/* arn:aws:iam::<account>:root or :role[/path]/<name>; rest is behind the account's colon. */
static bool iam_arn_names(const char *account, const char *rest, const struct principal *principal)
{
    const char *own = strstr(principal->arn, ":assumed-role/"), *name, *end;

    if (strncmp(account, principal->account, 12) != 0)
        return false;
    if (strcmp(rest, "root") == 0)
        return true;
    if (!own || strncmp(rest, "role/", 5) != 0)
        return false;
    own += strlen(":assumed-role/");
    end = strchr(own, '/');
    /* Role names are unique in an account whatever their path, and a session's ARN does not have the path. */
    name = strrchr(rest, '/') + 1;
    return end && strlen(name) == (size_t)(end - own) && memcmp(name, own, (size_t)(end - own)) == 0;
}

static enum verdict aws_names(const char *text, const void *ctx)
{
    const struct principal *principal = ctx;
    const char *iam = text_starts(text, "arn:") ? strstr(text, ":iam::") : NULL;

    if (strcmp(text, "*") == 0)
        return YES;
    if (!principal)
        return NO;
    if (is_account(text))
        return strcmp(text, principal->account) == 0 ? YES : NO;
    if (strcmp(text, principal->arn) == 0)
        return YES;
    if (!iam || strspn(iam + 6, "0123456789") != 12 || iam[18] != ':')
        return NO;
    return iam_arn_names(iam + 6, iam + 19, principal) ? YES : NO;
}

static enum verdict service_names(const char *text, const void *ctx)
{
    const char *service = ctx;

    return service && strcmp(text, service) == 0 ? YES : NO;
}

static enum verdict principal_matches(const cJSON *value, const struct policy_question *question)
{
    const char *text = string_of(value);
    const cJSON *member = NULL;
    enum verdict verdict = NO;

    if (text)
        return strcmp(text, "*") == 0 ? YES : UNKNOWN;
    if (!cJSON_IsObject(value))
        return UNKNOWN;
    cJSON_ArrayForEach(member, value)
    {
        if (strcmp(member->string, "AWS") == 0)
            verdict = either(verdict, any_of(member, aws_names, question->principal));
        else if (strcmp(member->string, "Service") == 0)
            verdict = either(verdict, any_of(member, service_names, question->service));
        else
            verdict = either(verdict, UNKNOWN);
    }
    return verdict;
}

static enum verdict action_matches(const char *pattern, const void *ctx)
{
    const char *action = ctx;

    return wildcard(pattern, strlen(pattern), action, strlen(action), true) ? YES : NO;
}

static enum verdict resource_matches(const char *pattern, const void *ctx)
{
    const char *resource = ctx;

    if (strstr(pattern, "${"))
        return UNKNOWN;
    return wildcard(pattern, strlen(pattern), resource, strlen(resource), false) ? YES : NO;
}

static enum verdict string_equals(const char *pattern, const void *ctx)
{
    return strstr(pattern, "${") ? UNKNOWN : strcmp(pattern, ctx) == 0 ? YES : NO;
}

static enum verdict string_like(const char *pattern, const void *ctx)
{
    const char *text = ctx;

    if (strstr(pattern, "${"))
        return UNKNOWN;
    return wildcard(pattern, strlen(pattern), text, strlen(text), false) ? YES : NO;
}

static enum verdict arn_matches(const char *pattern, const void *ctx)
{
    return strstr(pattern, "${") ? UNKNOWN : arn_like(pattern, ctx) ? YES : NO;
}

static enum verdict bool_matches(const char *pattern, const void *ctx)
{
    return strcasecmp(pattern, ctx) == 0 ? YES : NO;
}

/* The request's value of a condition key; NULL: it has none. Returns false for a key we know nothing about,
 * as is aws:PrincipalOrgID: there are no organisations here. */
static bool context_value(const char *key, const struct policy_question *question, const char **ret_value)
{
    if (strcasecmp(key, "lambda:FunctionUrlAuthType") == 0)
        *ret_value = question->function_url_auth_type;
    else if (strcasecmp(key, "lambda:InvokedViaFunctionUrl") == 0)
        *ret_value = question->function_url_auth_type ? "true" : "false";
    else if (strcasecmp(key, "aws:SourceArn") == 0)
        *ret_value = question->source_arn;
    else if (strcasecmp(key, "aws:SourceAccount") == 0)
        *ret_value = question->source_account;
    else
        return false;
    return true;
}

typedef enum verdict (*operator_fn)(const char *pattern, const void *ctx);

static operator_fn find_operator(const char *name)
{
    static const struct {
        const char *name;
        operator_fn matches;
    } operators[] = {
        { "StringEquals", string_equals }, { "StringLike", string_like },
        { "ArnLike", arn_matches },        { "ArnEquals", arn_matches }, /* AWS: the same as ArnLike */
        { "Bool", bool_matches },
    };

    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        if (strcmp(name, operators[i].name) == 0)
            return operators[i].matches;
    }
    return NULL;
}

static enum verdict condition_holds(const cJSON *condition, const struct policy_question *question)
{
    const cJSON *block = NULL, *key = NULL;
    enum verdict verdict = YES;

    if (!cJSON_IsObject(condition))
        return UNKNOWN;
    cJSON_ArrayForEach(block, condition)
    {
        operator_fn matches = find_operator(block->string);

        if (!matches || !cJSON_IsObject(block)) {
            verdict = both(verdict, UNKNOWN);
            continue;
        }
        cJSON_ArrayForEach(key, block)
        {
            const char *value = NULL;

            if (!context_value(key->string, question, &value))
                verdict = both(verdict, UNKNOWN);
            else
                verdict = both(verdict, value ? any_of(key, matches, value) : NO);
        }
    }
    return verdict;
}

enum member { EFFECT, PRINCIPAL, ACTION, RESOURCE, CONDITION, SID, MEMBER_COUNT };

/* NULL for what is absent. Returns false for a member that is there twice or that is none of these
 * (NotAction, ...). */
static bool read_members(const cJSON *statement, const cJSON *members[MEMBER_COUNT])
{
    static const char *const names[MEMBER_COUNT] = { "Effect",   "Principal", "Action",
                                                     "Resource", "Condition", "Sid" };
    const cJSON *at = NULL;

    cJSON_ArrayForEach(at, statement)
    {
        size_t i = 0;

        while (i < MEMBER_COUNT && strcmp(at->string, names[i]) != 0)
            i++;
        if (i == MEMBER_COUNT || members[i])
            return false;
        members[i] = at;
    }
    return true;
}

static enum verdict statement_applies(const cJSON *members[MEMBER_COUNT],
                                      const struct policy_question *question)
{
    enum verdict verdict = principal_matches(members[PRINCIPAL], question);

    verdict = both(verdict, any_of(members[ACTION], action_matches, question->action));
    verdict = both(verdict, any_of(members[RESOURCE], resource_matches, question->resource));
    if (members[CONDITION])
        verdict = both(verdict, condition_holds(members[CONDITION], question));
    return verdict;
}

struct decision {
    bool allowed, denied;
};

static void judge_statement(const cJSON *statement, const struct policy_question *question,
                            struct decision *decision)
{
    const cJSON *members[MEMBER_COUNT] = { NULL };
    const char *effect;
    enum verdict verdict;
    bool whole;

    if (!cJSON_IsObject(statement))
        return;
    whole = read_members(statement, members);
    effect = string_of(members[EFFECT]);
    if (!effect)
        return;
    verdict = statement_applies(members, question);
    if (!whole)
        verdict = both(verdict, UNKNOWN);
    if (strcmp(effect, "Deny") == 0)
        decision->denied = decision->denied || verdict != NO;
    else if (strcmp(effect, "Allow") == 0)
        decision->allowed = decision->allowed || verdict == YES;
}

static void judge(const char *document, const struct policy_question *question, struct decision *decision)
{
    size_t len = strnlen(document, MAX_DOCUMENT_BYTES + 1);
    cJSON *root = len <= MAX_DOCUMENT_BYTES ? cJSON_ParseWithLength(document, len) : NULL;
    const cJSON *statements = cJSON_GetObjectItemCaseSensitive(root, "Statement"), *statement = NULL;

    if (cJSON_IsArray(statements)) {
        cJSON_ArrayForEach(statement, statements) judge_statement(statement, question, decision);
    } else {
        judge_statement(statements, question, decision);
    }
    cJSON_Delete(root);
}

bool policy_allows(const char *document, const struct policy_question *question)
{
    struct decision decision = { 0 };

    if (question->principal && question->principal->kind != PRINCIPAL_FUNCTION)
        decision.allowed = true;
    if (document)
        judge(document, question, &decision);
    return decision.allowed && !decision.denied;
}
