#include "api/runtimes_priv.h"

#include <string.h>

#include "api/api_priv.h"

const char runtime_values[] =
    "nodejs, nodejs4.3, nodejs6.10, nodejs8.10, nodejs10.x, nodejs12.x, nodejs14.x, nodejs16.x, nodejs18.x, "
    "nodejs20.x, nodejs22.x, nodejs24.x, java8, java8.al2, java11, java17, java21, java25, python2.7, "
    "python3.6, "
    "python3.7, python3.8, python3.9, python3.10, python3.11, python3.12, python3.13, python3.14, "
    "dotnetcore1.0, "
    "dotnetcore2.0, dotnetcore2.1, dotnetcore3.1, dotnet6, dotnet8, dotnet10, nodejs4.3-edge, go1.x, "
    "ruby2.5, "
    "ruby2.7, ruby3.2, ruby3.3, ruby3.4, ruby4.0, provided, provided.al2, provided.al2023, nodejs26.x, "
    "python3.15, "
    "java8.al2023, java11.al2023, java17.al2023";

static const char *const supported[] = {
    "nodejs18.x", "nodejs20.x", "nodejs22.x", "nodejs24.x", "python3.9",    "python3.10",
    "python3.11", "python3.12", "python3.13", "python3.14", "provided.al2", "provided.al2023",
};
static const char *const deprecated[] = {
    "nodejs",         "nodejs4.3",     "nodejs6.10",    "nodejs8.10",    "nodejs10.x", "nodejs12.x",
    "nodejs14.x",     "nodejs16.x",    "java8",         "python2.7",     "python3.6",  "python3.7",
    "python3.8",      "dotnetcore1.0", "dotnetcore2.0", "dotnetcore2.1", "dotnet6",    "dotnetcore3.1",
    "nodejs4.3-edge", "go1.x",         "ruby2.5",       "ruby2.7",       "provided",
};
static const char *const unsupported[] = {
    "java8.al2",  "java11",       "java17",        "java21",        "java25",  "dotnet8",
    "dotnet10",   "ruby3.2",      "ruby3.3",       "ruby3.4",       "ruby4.0", "nodejs26.x",
    "python3.15", "java8.al2023", "java11.al2023", "java17.al2023",
};

static bool is_in(const char *const *list, size_t count, const char *id)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i], id) == 0)
            return true;
    }
    return false;
}

enum runtime_kind runtime_kind(const char *id)
{
    if (is_in(supported, sizeof supported / sizeof supported[0], id))
        return RUNTIME_SUPPORTED;
    if (is_in(deprecated, sizeof deprecated / sizeof deprecated[0], id))
        return RUNTIME_DEPRECATED;
    return is_in(unsupported, sizeof unsupported / sizeof unsupported[0], id) ? RUNTIME_UNSUPPORTED
                                                                              : RUNTIME_UNKNOWN;
}

static bool machine_has(struct call *call, const char *id)
{
    const struct api_config *config = &call->api->config;
    const char *const *list = config->runtimes ? config->runtimes(config->runtimes_ctx) : NULL;

    if (!list)
        return true;
    for (size_t i = 0; list[i]; i++) {
        if (strcmp(list[i], id) == 0)
            return true;
    }
    return false;
}

bool runtime_is_usable(struct call *call, const char *runtime)
{
    struct api_response *response = call->response;

    switch (runtime_kind(runtime)) {
    case RUNTIME_SUPPORTED:
        if (machine_has(call, runtime))
            return true;
        api_error(response, "InvalidParameterValueException",
                  "The runtime %s is not installed on this machine. Run `irori runtimes` to see which "
                  "runtimes there "
                  "are and how to add it.",
                  runtime);
        return false;
    case RUNTIME_DEPRECATED:
        api_error(response, "InvalidParameterValueException",
                  "The runtime parameter of %s is no longer supported for creating or updating AWS Lambda "
                  "functions. "
                  "We recommend you use a supported runtime while creating or updating functions.",
                  runtime);
        return false;
    case RUNTIME_UNSUPPORTED:
        api_error(response, "InvalidParameterValueException",
                  "The runtime %s is not supported by Irori yet. Run `irori runtimes` to see which runtimes "
                  "there are.",
                  runtime);
        return false;
    case RUNTIME_UNKNOWN:
        break;
    }
    api_error(response, "InvalidParameterValueException",
              "Value %.2048s at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: "
              "[%s] or be "
              "a valid ARN",
              runtime, runtime_values);
    return false;
}
