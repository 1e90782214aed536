#include "api/own_tags.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/api_priv.h"
#include "base/text.h"

#define PREFIX "irori:"

enum { HEADER_NAME_MAX = 64 };

static bool is_state(const char *value)
{
    return strcmp(value, "clean") == 0;
}

/* A tenant's id is written to logs and shown by `irori ps`: no place for what is secret. The others speak of
 * the message, not of who sent it. */
static bool is_tenant_header(const char *value)
{
    static const char *const useless[] = { "authorization",
                                           "proxy-authorization",
                                           "cookie",
                                           "x-amz-security-token",
                                           "connection",
                                           "content-length",
                                           "transfer-encoding",
                                           "upgrade",
                                           "te",
                                           "trailer",
                                           "expect" };

    for (size_t i = 0; i < sizeof useless / sizeof useless[0]; i++) {
        if (strcasecmp(value, useless[i]) == 0)
            return false;
    }
    for (const char *at = value; *at; at++) {
        if (!isalnum((unsigned char)*at) && !strchr("-_.+", *at))
            return false;
    }
    return *value && strlen(value) <= HEADER_NAME_MAX;
}

static const struct own_tag {
    const char *name;
    bool (*fits)(const char *value);
    const char *rule;
} own_tags[] = {
    { "state", is_state, "its only value is clean" },
    { "tenant-header", is_tenant_header,
      "it names a request header, 1 to 64 letters, digits, -, _, . and +, that holds no secret" },
};

static bool is_fine(struct call *call, const char *name, const char *value)
{
    for (size_t i = 0; i < sizeof own_tags / sizeof own_tags[0]; i++) {
        if (strcmp(name, own_tags[i].name) != 0)
            continue;
        if (own_tags[i].fits(value))
            return true;
        api_error(call->response, "InvalidParameterValueException",
                  "The tag " PREFIX "%s cannot be '%.256s': %s.", name, value, own_tags[i].rule);
        return false;
    }
    api_error(call->response, "InvalidParameterValueException",
              "Irori knows no tag " PREFIX "%.128s. Tags that begin with " PREFIX " are settings: " PREFIX
              "state and " PREFIX "tenant-header.",
              name);
    return false;
}

bool own_tags_are_fine(struct call *call, const cJSON *tags)
{
    const cJSON *tag;

    cJSON_ArrayForEach(tag, tags)
    {
        if (text_starts(tag->string, PREFIX) &&
            !is_fine(call, tag->string + strlen(PREFIX), tag->valuestring))
            return false;
    }
    return true;
}

int own_tag_find(const struct store_function *function, const char *name, char **ret_value)
{
    cJSON *tags = cJSON_Parse(function->tags);
    char key[64];
    const char *value;
    int result = tags ? 0 : -ENOMEM;

    (void)snprintf(key, sizeof key, PREFIX "%s", name);
    value = call_text(tags, key);
    if (value) {
        *ret_value = strdup(value);
        result = *ret_value ? 1 : -ENOMEM;
    }
    cJSON_Delete(tags);
    return result;
}
