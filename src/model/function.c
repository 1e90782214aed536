#include "model/function.h"

#include <stdlib.h>
#include <string.h>

struct fn_version *fn_version_new(void)
{
    struct fn_version *version = calloc(1, sizeof *version);

    if (version)
        version->refs = 1;
    return version;
}

struct fn_version *fn_version_ref(struct fn_version *version)
{
    if (version)
        __atomic_add_fetch(&version->refs, 1, __ATOMIC_RELAXED);
    return version;
}

static void fn_version_free(struct fn_version *version)
{
    for (size_t i = 0; i < version->var_count; i++) {
        free(version->vars[i].name);
        free(version->vars[i].value);
    }
    free(version->vars);
    free(version->function_name);
    free(version->version);
    free(version->runtime);
    free(version->handler);
    free(version->role);
    free(version->code_sha256);
    free(version->config_id);
    free(version->application_log_level);
    free(version->system_log_level);
    free(version->log_group);
    free(version);
}

struct fn_version *fn_version_unref(struct fn_version *version)
{
    if (version && __atomic_sub_fetch(&version->refs, 1, __ATOMIC_ACQ_REL) == 0)
        fn_version_free(version);
    return NULL;
}

static void strings_free(char **strings)
{
    for (char **at = strings; at && *at; at++)
        free(*at);
    free(strings);
}

static void url_done(struct fn_url *url)
{
    free(url->url_id);
    free(url->qualifier);
    if (!url->cors)
        return;
    strings_free(url->cors->allow_origins);
    strings_free(url->cors->allow_methods);
    strings_free(url->cors->allow_headers);
    strings_free(url->cors->expose_headers);
    free(url->cors);
}

struct function *function_new(void)
{
    struct function *function = calloc(1, sizeof *function);

    if (function) {
        function->refs = 1;
        function->reserved_concurrency = -1;
    }
    return function;
}

struct function *function_ref(struct function *function)
{
    if (function)
        __atomic_add_fetch(&function->refs, 1, __ATOMIC_RELAXED);
    return function;
}

static void function_free(struct function *function)
{
    (void)fn_version_unref(function->latest);
    for (size_t i = 0; i < function->version_count; i++)
        (void)fn_version_unref(function->versions[i]);
    for (size_t i = 0; i < function->alias_count; i++) {
        free(function->aliases[i].name);
        (void)fn_version_unref(function->aliases[i].primary);
        (void)fn_version_unref(function->aliases[i].secondary);
    }
    for (size_t i = 0; i < function->url_count; i++)
        url_done(&function->urls[i]);
    for (size_t i = 0; i < function->policy_count; i++) {
        free(function->policies[i].qualifier);
        free(function->policies[i].document);
    }
    free(function->versions);
    free(function->aliases);
    free(function->urls);
    free(function->policies);
    free(function->name);
    free(function->arn);
    free(function->state_reason);
    free(function->tenant_header);
    free(function);
}

struct function *function_unref(struct function *function)
{
    if (function && __atomic_sub_fetch(&function->refs, 1, __ATOMIC_ACQ_REL) == 0)
        function_free(function);
    return NULL;
}

struct fn_version *function_version(const struct function *function, const char *qualifier)
{
    if (!qualifier || strcmp(qualifier, "$LATEST") == 0)
        return function->latest;
    for (size_t i = 0; i < function->version_count; i++) {
        if (strcmp(function->versions[i]->version, qualifier) == 0)
            return function->versions[i];
    }
    return NULL;
}

const struct fn_alias *function_alias(const struct function *function, const char *name)
{
    for (size_t i = 0; i < function->alias_count; i++) {
        if (strcmp(function->aliases[i].name, name) == 0)
            return &function->aliases[i];
    }
    return NULL;
}

const struct fn_policy *function_policy(const struct function *function, const char *qualifier)
{
    for (size_t i = 0; i < function->policy_count; i++) {
        const char *own = function->policies[i].qualifier;

        if (qualifier && own ? strcmp(own, qualifier) == 0 : own == qualifier)
            return &function->policies[i];
    }
    return NULL;
}
