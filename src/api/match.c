#include <ctype.h>
#include <string.h>

#include "api/check_priv.h"
#include "base/text.h"

/* The patterns of the service's model (spec, appendix A), each followed by hand: whole strings, no
 * backtracking. */

#define DIGITS  "0123456789"
#define LOWER   "abcdefghijklmnopqrstuvwxyz"
#define LETTERS LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define WORD    LETTERS DIGITS "-_"

static bool all_in(const char *text, const char *set)
{
    return text[0] && text[strspn(text, set)] == '\0';
}

/* Skips a literal. */
static bool skip(const char **at, const char *literal)
{
    if (!text_starts(*at, literal))
        return false;
    *at += strlen(literal);
    return true;
}

/* Skips count digits. */
static bool skip_digits(const char **at, size_t count)
{
    if (strspn(*at, DIGITS) < count)
        return false;
    *at += count;
    return true;
}

/* Skips up to and over the next colon; the text before it is the result. */
static bool skip_part(const char **at, const char **ret_part, size_t *ret_len)
{
    const char *colon = strchr(*at, ':');

    if (!colon)
        return false;
    *ret_part = *at;
    *ret_len = (size_t)(colon - *at);
    *at = colon + 1;
    return true;
}

static bool part_in(const char *part, size_t len, const char *set)
{
    return strspn(part, set) >= len;
}

bool match_partition(const char *text, size_t len)
{
    return len == 0 || (len >= 3 && memcmp(text, "aws", 3) == 0 && part_in(text, len, LETTERS "-"));
}

/* -[a-z]+-\d{1} */
static bool is_region_end(const char *at, const char *end)
{
    size_t letters = at < end && *at == '-' ? strspn(at + 1, LOWER) : 0;

    at += 1 + letters;
    return letters > 0 && end - at == 2 && at[0] == '-' && isdigit((unsigned char)at[1]);
}

/* (eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1} */
bool match_region(const char *text, size_t len)
{
    const char *at = text, *end = text + len;

    if (len >= 5 && memcmp(at, "eusc-", 5) == 0)
        at += 5;
    if (end - at < 6 || strspn(at, LOWER) < 2)
        return false;
    at += 2;
    if (is_region_end(at, end))
        return true;
    if (text_starts(at, "-gov"))
        return is_region_end(at + 4, end);
    if (!text_starts(at, "-iso") || end - at < 6)
        return false;
    return is_region_end(at + 4, end) || (islower((unsigned char)at[4]) && is_region_end(at + 5, end));
}

/* arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+ */
bool match_role(const char *text)
{
    const char *at = text, *part;
    size_t len;

    if (!skip(&at, "arn:") || !skip_part(&at, &part, &len) || !match_partition(part, len) ||
        !skip(&at, "iam::") || !skip_digits(&at, 12) || !skip(&at, ":role"))
        return false;
    return all_in(at, WORD "+=,.@/");
}

bool match_handler(const char *text)
{
    return text[0] && !strpbrk(text, " \t\n\v\f\r");
}

bool match_log_group(const char *text)
{
    return all_in(text, WORD "./#");
}

/* (arn:(aws[a-zA-Z-]*)?:[a-z0-9-.]+:.*)|() */
bool match_resource_arn(const char *text)
{
    const char *at = text, *part;
    size_t len;

    if (text[0] == '\0')
        return true;
    return skip(&at, "arn:") && skip_part(&at, &part, &len) && match_partition(part, len) &&
           skip_part(&at, &part, &len) && len > 0 && part_in(part, len, LOWER DIGITS "-.") &&
           !strchr(at, '\n');
}

/* arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:(<region>)?:(\d{12})?:(.*) */
bool match_arn(const char *text)
{
    const char *at = text, *part;
    size_t len;

    if (!skip(&at, "arn:") || !skip_part(&at, &part, &len) || len < 3 || memcmp(part, "aws", 3) != 0 ||
        !part_in(part, len, LETTERS DIGITS "-"))
        return false;
    if (!skip_part(&at, &part, &len) || len == 0 || !part_in(part, len, LETTERS DIGITS "-"))
        return false;
    if (!skip_part(&at, &part, &len) || (len > 0 && !match_region(part, len)))
        return false;
    if (!skip_part(&at, &part, &len) || (len != 0 && (len != 12 || !part_in(part, len, DIGITS))))
        return false;
    return !strchr(at, '\n');
}

bool match_digits(const char *text)
{
    return all_in(text, DIGITS);
}

bool match_account(const char *text)
{
    return strlen(text) == 12 && match_digits(text);
}

bool match_alias(const char *text)
{
    return all_in(text, WORD) && !match_digits(text);
}

bool match_version(const char *text)
{
    return strcmp(text, "$LATEST") == 0 || strcmp(text, "$LATEST.PUBLISHED") == 0 || match_digits(text);
}

bool match_statement_id(const char *text)
{
    return all_in(text, WORD);
}

bool match_principal(const char *text)
{
    return match_handler(text);
}

/* (lambda:[*]|lambda:[a-zA-Z]+|[*]) */
bool match_action(const char *text)
{
    const char *at = text;

    if (strcmp(text, "*") == 0)
        return true;
    return skip(&at, "lambda:") && (strcmp(at, "*") == 0 || all_in(at, LETTERS));
}

bool match_organization(const char *text)
{
    const char *at = text;

    return skip(&at, "o-") && all_in(at, LOWER DIGITS) && strlen(at) >= 10 && strlen(at) <= 32;
}

bool match_event_token(const char *text)
{
    return all_in(text, WORD ".");
}

static bool match_id(const char *text, const char *prefix, const char *set)
{
    const char *at = text;

    return skip(&at, prefix) && at[strspn(at, set)] == '\0';
}

bool match_subnet(const char *text)
{
    return match_id(text, "subnet-", LOWER DIGITS);
}

bool match_security_group(const char *text)
{
    return match_id(text, "sg-", LETTERS DIGITS);
}

bool match_variable_name(const char *text)
{
    return strlen(text) >= 2 && isalpha((unsigned char)text[0]) && all_in(text, LETTERS DIGITS "_");
}

/* [\p{L}\p{Z}\p{N}_.:/=+\-@]*; beyond ASCII everything is taken for a letter. */
bool match_tag_text(const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
        if (*at < 0x80 && !isalnum(*at) && !strchr(" _.:/=+-@", *at))
            return false;
    }
    return true;
}

/* arn:(aws[a-zA-Z-]*):lambda:<region>:\d{12}:(function:<name>[:<qualifier>]|...) */
bool match_taggable(const char *text)
{
    static const char *const others[] = { "code-signing-config:", "event-source-mapping:",
                                          "capacity-provider:", "network-connector:" };
    const char *at = text, *part;
    size_t len;

    if (!skip(&at, "arn:") || !skip_part(&at, &part, &len) || len == 0 || !match_partition(part, len) ||
        !skip(&at, "lambda:") || !skip_part(&at, &part, &len) || !match_region(part, len) ||
        !skip_digits(&at, 12) || !skip(&at, ":"))
        return false;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (text_starts(at, others[i]))
            return all_in(at + strlen(others[i]), WORD);
    }
    if (!skip(&at, "function:"))
        return false;
    len = strspn(at, WORD);
    if (len == 0 || at[len] == '\0')
        return len > 0;
    at += len;
    return skip(&at, ":") && (strcmp(at, "$LATEST") == 0 || all_in(at, WORD));
}
