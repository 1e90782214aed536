#pragma once

/*
 * Model validation: collects every fault of a request in the service's words (spec 1.2), to be answered at
 * once. Paths are the member names in lowerCamelCase, dotted.
 */

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct api_response;

struct check {
    struct buf items; /* joined by "; " */
    unsigned count;
    char malformed[160]; /* a member of the wrong JSON type; "" for none: answered before all else */
};

void check_init(struct check *check);
void check_done(struct check *check);
/** True when nothing was wrong, else the response is the error. */
bool check_passes(struct check *check, struct api_response *response);

/** One fault. value NULL: `Value null`. */
void check_fault(struct check *check, const char *path, const char *value, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/** The same with the value as the caller prints it: `Value at 'path'` when it is NULL, for secrets. */
void check_fault_hidden(struct check *check, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void check_wrong_type(struct check *check, const char *member, const char *expected);

struct text_rule {
    size_t min, max; /* in UTF-16 units, as the service counts; max 0: no limits */
    bool (*match)(const char *text);
    const char *pattern; /* shown when match fails */
    const char *values;  /* "A, B": an enumeration */
};
/** Checks a text that is there. */
void check_text(struct check *check, const char *path, const char *value, const struct text_rule *rule);

struct field {
    const char *member;
    enum { FIELD_TEXT, FIELD_INTEGER, FIELD_BOOLEAN, FIELD_OBJECT, FIELD_LIST } kind;
    bool required;
    const struct text_rule *text; /* of a text, or of a list's elements */
    int64_t min, max;             /* of an integer; of a list's length (0, 0: any) */
};
/** Checks the members of an object; prefix is "" or a path with its dot. object NULL: an empty one. */
void check_fields(struct check *check, const cJSON *object, const char *prefix, const struct field *fields,
                  size_t count);

/* match.c: the service's patterns, by hand. */
bool match_role(const char *text);
bool match_handler(const char *text);
bool match_log_group(const char *text);
bool match_resource_arn(const char *text);
bool match_arn(const char *text);
bool match_alias(const char *text);
bool match_version(const char *text);
bool match_digits(const char *text);
bool match_account(const char *text);
bool match_statement_id(const char *text);
bool match_principal(const char *text);
bool match_action(const char *text);
bool match_organization(const char *text);
bool match_event_token(const char *text);
bool match_subnet(const char *text);
bool match_security_group(const char *text);
bool match_variable_name(const char *text);
bool match_tag_text(const char *text);
bool match_taggable(const char *text);
bool match_region(const char *text, size_t len);
bool match_partition(const char *text, size_t len); /* (aws[a-zA-Z-]*)? */
/** Length in UTF-16 units. */
size_t text_units(const char *text);
