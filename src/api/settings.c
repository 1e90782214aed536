#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "api/api_priv.h"
#include "api/runtimes_priv.h"
#include "base/clock.h"
#include "base/text.h"

enum { VARIABLES_MAX_BYTES = 4096, TAGS_MAX = 50 };

#define ARN_PATTERN "(arn:(aws[a-zA-Z-]*)?:[a-z0-9-.]+:.*)|()"

/* clang-format off */
static const struct text_rule role_rule = { 0, 10000, match_role, "arn:(aws[a-zA-Z-]*)?:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+", NULL };
static const struct text_rule handler_rule = { 0, 128, match_handler, "[^\\s]+", NULL };
static const struct text_rule description_rule = { 0, 256, NULL, NULL, NULL };
static const struct text_rule arn_rule = { 0, 10000, match_resource_arn, ARN_PATTERN, NULL };
static const struct text_rule package_rule = { 0, 0, NULL, NULL, "Zip, Image" };
static const struct text_rule architecture_rule = { 0, 0, NULL, NULL, "x86_64, arm64" };
static const struct text_rule tracing_rule = { 0, 0, NULL, NULL, "Active, PassThrough" };
static const struct text_rule snap_start_rule = { 0, 0, NULL, NULL, "PublishedVersions, None" };
static const struct text_rule tenancy_rule = { 0, 0, NULL, NULL, "PER_TENANT" };
static const struct text_rule format_rule = { 0, 0, NULL, NULL, "JSON, Text" };
static const struct text_rule application_rule = { 0, 0, NULL, NULL, "TRACE, DEBUG, INFO, WARN, ERROR, FATAL" };
static const struct text_rule system_rule = { 0, 0, NULL, NULL, "DEBUG, INFO, WARN" };
static const struct text_rule group_rule = { 1, 512, match_log_group, "[\\.\\-_/#A-Za-z0-9]+", NULL };
static const struct text_rule subnet_rule = { 0, 1024, match_subnet, "subnet-[0-9a-z]*", NULL };
static const struct text_rule security_rule = { 0, 1024, match_security_group, "sg-[0-9a-zA-Z]*", NULL };

static const struct field common[] = {
    { "Runtime", FIELD_TEXT, false, NULL, 0, 0 }, /* looked up later, with an error of its own */
    { "Handler", FIELD_TEXT, false, &handler_rule, 0, 0 },
    { "Description", FIELD_TEXT, false, &description_rule, 0, 0 },
    { "Timeout", FIELD_INTEGER, false, NULL, 1, 900 },
    { "MemorySize", FIELD_INTEGER, false, NULL, 128, 10240 },
    { "VpcConfig", FIELD_OBJECT, false, NULL, 0, 0 },
    { "DeadLetterConfig", FIELD_OBJECT, false, NULL, 0, 0 },
    { "Environment", FIELD_OBJECT, false, NULL, 0, 0 },
    { "KMSKeyArn", FIELD_TEXT, false, &arn_rule, 0, 0 },
    { "TracingConfig", FIELD_OBJECT, false, NULL, 0, 0 },
    { "Layers", FIELD_LIST, false, NULL, 0, 0 },
    { "FileSystemConfigs", FIELD_LIST, false, NULL, 0, 0 },
    { "ImageConfig", FIELD_OBJECT, false, NULL, 0, 0 },
    { "EphemeralStorage", FIELD_OBJECT, false, NULL, 0, 0 },
    { "SnapStart", FIELD_OBJECT, false, NULL, 0, 0 },
    { "LoggingConfig", FIELD_OBJECT, false, NULL, 0, 0 },
    { "CapacityProviderConfig", FIELD_OBJECT, false, NULL, 0, 0 },
    { "DurableConfig", FIELD_OBJECT, false, NULL, 0, 0 },
};
static const struct field create_only[] = {
    { "Role", FIELD_TEXT, true, &role_rule, 0, 0 },
    { "Code", FIELD_OBJECT, true, NULL, 0, 0 },
    { "PackageType", FIELD_TEXT, false, &package_rule, 0, 0 },
    { "Architectures", FIELD_LIST, false, &architecture_rule, 1, 1 },
    { "Publish", FIELD_BOOLEAN, false, NULL, 0, 0 },
    { "PublishTo", FIELD_TEXT, false, NULL, 0, 0 },
    { "Tags", FIELD_OBJECT, false, NULL, 0, 0 },
    { "CodeSigningConfigArn", FIELD_TEXT, false, NULL, 0, 0 },
    { "TenancyConfig", FIELD_OBJECT, false, NULL, 0, 0 },
};
static const struct field update_only[] = {
    { "Role", FIELD_TEXT, false, &role_rule, 0, 0 },
    { "RevisionId", FIELD_TEXT, false, NULL, 0, 0 },
};
static const struct field vpc[] = {
    { "SubnetIds", FIELD_LIST, false, &subnet_rule, 0, 16 },
    { "SecurityGroupIds", FIELD_LIST, false, &security_rule, 0, 5 },
    { "Ipv6AllowedForDualStack", FIELD_BOOLEAN, false, NULL, 0, 0 },
};
static const struct field dead_letter[] = { { "TargetArn", FIELD_TEXT, false, &arn_rule, 0, 0 } };
static const struct field tracing[] = { { "Mode", FIELD_TEXT, false, &tracing_rule, 0, 0 } };
static const struct field storage[] = { { "Size", FIELD_INTEGER, true, NULL, 512, 10240 } };
static const struct field snap_start[] = { { "ApplyOn", FIELD_TEXT, false, &snap_start_rule, 0, 0 } };
static const struct field tenancy[] = { { "TenantIsolationMode", FIELD_TEXT, true, &tenancy_rule, 0, 0 } };
static const struct field logging[] = {
    { "LogFormat", FIELD_TEXT, false, &format_rule, 0, 0 },
    { "ApplicationLogLevel", FIELD_TEXT, false, &application_rule, 0, 0 },
    { "SystemLogLevel", FIELD_TEXT, false, &system_rule, 0, 0 },
    { "LogGroup", FIELD_TEXT, false, &group_rule, 0, 0 },
};
static const struct nested {
    const char *member, *prefix;
    const struct field *fields;
    size_t count;
} nested[] = {
    { "VpcConfig", "vpcConfig.", vpc, 3 },
    { "DeadLetterConfig", "deadLetterConfig.", dead_letter, 1 },
    { "TracingConfig", "tracingConfig.", tracing, 1 },
    { "EphemeralStorage", "ephemeralStorage.", storage, 1 },
    { "SnapStart", "snapStart.", snap_start, 1 },
    { "LoggingConfig", "loggingConfig.", logging, 4 },
};
/* What would break a function if it were taken and ignored. */
static const struct unsupported {
    const char *member, *text;
} unsupported[] = {
    { "Layers", "Layers are not supported by Irori yet. Put the layer's content into the function's package instead." },
    { "FileSystemConfigs", "FileSystemConfigs are not supported by Irori." },
    { "ImageConfig", "ImageConfig belongs to container images, which are not supported by Irori yet." },
    { "CapacityProviderConfig", "CapacityProviderConfig is not supported by Irori." },
    { "DurableConfig", "DurableConfig is not supported by Irori." },
    { "PublishTo", "PublishTo is not supported by Irori." },
};
static const char *const reserved_variables[] = {
    "_HANDLER", "_X_AMZN_TRACE_ID", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
    "AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR", "AWS_LAMBDA_MAX_CONCURRENCY",
};
/* clang-format on */

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* The values are secrets, so the fault does not show them. */
static void check_variables(struct check *check, const cJSON *environment)
{
    const cJSON *variables = call_member(environment, "Variables"), *item;
    bool bad_name = false;

    if (variables && !cJSON_IsObject(variables))
        check_wrong_type(check, "Environment.Variables", "an object");
    cJSON_ArrayForEach(item, variables)
    {
        if (!cJSON_IsString(item))
            check_wrong_type(check, "Environment.Variables", "an object of strings");
        /* A reserved name is told apart from a malformed one, though some look malformed. */
        bad_name |= item->string && item->string[0] != '_' && !match_variable_name(item->string);
        bad_name |= item->string && item->string[0] == '_' && strcmp(item->string, "_HANDLER") != 0 &&
                    strcmp(item->string, "_X_AMZN_TRACE_ID") != 0;
    }
    if (bad_name)
        check_fault_hidden(
            check, "environment.variables",
            "Map keys must satisfy constraint: [Member must satisfy regular expression pattern: "
            "[a-zA-Z]([a-zA-Z0-9_])+]");
}

void settings_check_tags(struct check *check, const cJSON *tags)
{
    const cJSON *item;
    bool keys = false, values = false;

    cJSON_ArrayForEach(item, tags)
    {
        if (!cJSON_IsString(item)) {
            check_wrong_type(check, "Tags", "an object of strings");
            return;
        }
        keys |= item->string[0] == '\0' || text_units(item->string) > 128 || !match_tag_text(item->string);
        values |= text_units(item->valuestring) > 256 || !match_tag_text(item->valuestring);
    }
    if (keys)
        check_fault_hidden(
            check, "tags",
            "Map keys must satisfy constraint: [Member must have length less than or equal to 128, "
            "Member must have length greater than or equal to 1, Member must satisfy regular "
            "expression pattern: ([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)]");
    if (values)
        check_fault_hidden(
            check, "tags",
            "Map value must satisfy constraint: [Member must have length less than or equal to 256, "
            "Member must have length greater than or equal to 0, Member must satisfy regular "
            "expression pattern: ([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*), Member must not be null]");
}

bool tags_fit(struct call *call, const cJSON *tags)
{
    if (cJSON_GetArraySize(tags) <= TAGS_MAX)
        return true;
    api_error(call->response, "InvalidParameterValueException", "Number of tags exceeds resource tag limit.");
    return false;
}

void settings_check(struct call *call, const cJSON *body, bool create)
{
    struct check *check = &call->check;

    if (create)
        check_fields(check, body, "", create_only, COUNT(create_only));
    else
        check_fields(check, body, "", update_only, COUNT(update_only));
    check_fields(check, body, "", common, COUNT(common));
    for (size_t i = 0; i < COUNT(nested); i++) {
        const cJSON *object = call_member(body, nested[i].member);

        if (cJSON_IsObject(object))
            check_fields(check, object, nested[i].prefix, nested[i].fields, nested[i].count);
    }
    check_variables(check, call_member(body, "Environment"));
    if (!create)
        return;
    if (cJSON_IsObject(call_member(body, "TenancyConfig")))
        check_fields(check, call_member(body, "TenancyConfig"), "tenancyConfig.", tenancy, COUNT(tenancy));
    settings_check_tags(check, call_member(body, "Tags"));
}

static bool refuse_unsupported(struct call *call, const cJSON *body)
{
    for (size_t i = 0; i < COUNT(unsupported); i++) {
        const cJSON *item = call_member(body, unsupported[i].member);

        if (item && (cJSON_IsString(item) || cJSON_GetArraySize(item) > 0)) {
            api_error(call->response, "InvalidParameterValueException", "%s", unsupported[i].text);
            return false;
        }
    }
    return true;
}

static bool variables_are_fine(struct call *call, const cJSON *variables)
{
    AUTO_BUF struct buf reserved = BUF_INIT(4096);
    const cJSON *item;
    char *text;
    bool fine;

    cJSON_ArrayForEach(item, variables)
    {
        for (size_t i = 0; i < COUNT(reserved_variables); i++) {
            if (strcmp(item->string, reserved_variables[i]) == 0)
                (void)buf_printf(&reserved, "%s%s", reserved.len ? ", " : "", item->string);
        }
    }
    if (reserved.len > 0) {
        api_error(
            call->response, "InvalidParameterValueException",
            "Lambda was unable to configure your environment variables because the environment variables you "
            "have provided contains reserved keys that are currently not supported for modification. "
            "Reserved "
            "keys used in this request: %s",
            reserved.data);
        return false;
    }
    text = cJSON_PrintUnformatted(variables);
    if (!text)
        return call_failed(call);
    fine = strlen(text) <= VARIABLES_MAX_BYTES;
    if (!fine)
        api_error(
            call->response, "InvalidParameterValueException",
            "Lambda was unable to configure your environment variables because the environment variables you "
            "have provided exceeded the 4KB limit. String measured: %.16384s",
            text);
    cJSON_free(text);
    return fine;
}

/* Puts a value in its place, whether there is one or not. Takes item. */
static bool put(cJSON *document, const char *member, cJSON *item)
{
    if (!item)
        return false;
    if (cJSON_GetObjectItemCaseSensitive(document, member))
        return cJSON_ReplaceItemInObjectCaseSensitive(document, member, item);
    return cJSON_AddItemToObject(document, member, item);
}

static bool apply_environment(struct call *call, const cJSON *body, cJSON *document)
{
    const cJSON *environment = call_member(body, "Environment");
    const cJSON *variables = call_member(environment, "Variables");
    cJSON *copy;

    if (!environment)
        return true;
    if (variables && !variables_are_fine(call, variables))
        return false;
    copy = cJSON_CreateObject();
    if (!put(copy, "Variables", variables ? cJSON_Duplicate(variables, 1) : cJSON_CreateObject()) ||
        !put(document, "Environment", copy))
        return call_failed(call);
    return true;
}

/* A subset of cJSON: null-proof list copy. */
static cJSON *list_or_empty(const cJSON *list)
{
    return list ? cJSON_Duplicate(list, 1) : cJSON_CreateArray();
}

static bool apply_vpc(struct call *call, const cJSON *body, cJSON *document)
{
    const cJSON *vpc_config = call_member(body, "VpcConfig");
    const cJSON *subnets = call_member(vpc_config, "SubnetIds");
    cJSON *copy;

    if (!vpc_config)
        return true;
    copy = cJSON_CreateObject();
    if (!put(copy, "SubnetIds", list_or_empty(subnets)) ||
        !put(copy, "SecurityGroupIds", list_or_empty(call_member(vpc_config, "SecurityGroupIds"))) ||
        !cJSON_AddStringToObject(copy, "VpcId",
                                 cJSON_GetArraySize(subnets) > 0 ? "vpc-00000000000000000" : "") ||
        !cJSON_AddBoolToObject(copy, "Ipv6AllowedForDualStack",
                               cJSON_IsTrue(call_member(vpc_config, "Ipv6AllowedForDualStack"))) ||
        !put(document, "VpcConfig", copy))
        return call_failed(call);
    return true;
}

static bool apply_logging(struct call *call, const cJSON *body, const char *name, cJSON *document)
{
    const cJSON *asked = call_member(body, "LoggingConfig"), *old = call_member(document, "LoggingConfig");
    const char *format = call_text(asked, "LogFormat"), *group = call_text(asked, "LogGroup");
    const char *application = call_text(asked, "ApplicationLogLevel"),
               *system = call_text(asked, "SystemLogLevel");
    char own_group[320];
    bool json;
    cJSON *copy;

    if (!asked)
        return true;
    if (!format)
        format = call_text(old, "LogFormat");
    json = text_equal(format, "JSON");
    if (!json && (application || system)) {
        api_error(call->response, "InvalidParameterValueException",
                  "You can only set ApplicationLogLevel and SystemLogLevel when LogFormat is set to JSON.");
        return false;
    }
    (void)snprintf(own_group, sizeof own_group, "/aws/lambda/%s", name);
    if (!group)
        group = call_text(old, "LogGroup") ? call_text(old, "LogGroup") : own_group;
    if (!application)
        application = call_text(old, "ApplicationLogLevel") ? call_text(old, "ApplicationLogLevel") : "INFO";
    if (!system)
        system = call_text(old, "SystemLogLevel") ? call_text(old, "SystemLogLevel") : "INFO";
    copy = cJSON_CreateObject();
    if (!cJSON_AddStringToObject(copy, "LogFormat", json ? "JSON" : "Text") ||
        (json && (!cJSON_AddStringToObject(copy, "ApplicationLogLevel", application) ||
                  !cJSON_AddStringToObject(copy, "SystemLogLevel", system))) ||
        !cJSON_AddStringToObject(copy, "LogGroup", group) || !put(document, "LoggingConfig", copy))
        return call_failed(call);
    return true;
}

/* Members whose value is taken over as it is; an empty one removes them. */
static bool apply_plain(struct call *call, const cJSON *body, cJSON *document)
{
    static const char *const members[] = { "Runtime",     "Role",    "Handler",
                                           "Description", "Timeout", "MemorySize" };
    const char *key = call_text(body, "KMSKeyArn");
    const cJSON *letter = call_member(body, "DeadLetterConfig"),
                *size = call_member(body, "EphemeralStorage");
    const char *target = call_text(letter, "TargetArn"),
               *mode = call_text(call_member(body, "TracingConfig"), "Mode");
    const char *snap = call_text(call_member(body, "SnapStart"), "ApplyOn");
    bool fine = true;
    cJSON *copy;

    for (size_t i = 0; i < COUNT(members); i++) {
        if (call_member(body, members[i]))
            fine &= put(document, members[i], cJSON_Duplicate(call_member(body, members[i]), 1));
    }
    if (key && key[0] == '\0')
        cJSON_DeleteItemFromObjectCaseSensitive(document, "KMSKeyArn");
    else if (key)
        fine &= put(document, "KMSKeyArn", cJSON_CreateString(key));
    if (letter && (!target || target[0] == '\0'))
        cJSON_DeleteItemFromObjectCaseSensitive(document, "DeadLetterConfig");
    else if (letter && (copy = cJSON_CreateObject()))
        fine &= cJSON_AddStringToObject(copy, "TargetArn", target) && put(document, "DeadLetterConfig", copy);
    if (size && (copy = cJSON_CreateObject()))
        fine &= put(copy, "Size", cJSON_Duplicate(call_member(size, "Size"), 1)) &&
                put(document, "EphemeralStorage", copy);
    if (mode && (copy = cJSON_CreateObject()))
        fine &= cJSON_AddStringToObject(copy, "Mode", mode) && put(document, "TracingConfig", copy);
    if (snap && (copy = cJSON_CreateObject()))
        fine &= cJSON_AddStringToObject(copy, "ApplyOn", snap) &&
                cJSON_AddStringToObject(copy, "OptimizationStatus", "Off") &&
                put(document, "SnapStart", copy);
    return fine || call_failed(call);
}

bool settings_apply(struct call *call, const cJSON *body, const char *name, cJSON *document)
{
    const char *runtime = call_text(body, "Runtime");

    return refuse_unsupported(call, body) && (!runtime || runtime_is_usable(call, runtime)) &&
           apply_plain(call, body, document) && apply_environment(call, body, document) &&
           apply_vpc(call, body, document) && apply_logging(call, body, name, document);
}

bool settings_apply_tenancy(struct call *call, const cJSON *body, cJSON *document)
{
    const char *mode = call_text(call_member(body, "TenancyConfig"), "TenantIsolationMode");
    cJSON *copy = mode ? cJSON_CreateObject() : NULL;

    if (!mode)
        return true;
    if (!cJSON_AddStringToObject(copy, "TenantIsolationMode", mode) || !put(document, "TenancyConfig", copy))
        return call_failed(call);
    return true;
}

cJSON *settings_default(const char *name)
{
    static const char format[] =
        "{\"Description\":\"\",\"Timeout\":3,\"MemorySize\":128,"
        "\"TracingConfig\":{\"Mode\":\"PassThrough\"},\"PackageType\":\"Zip\","
        "\"EphemeralStorage\":{\"Size\":512},"
        "\"SnapStart\":{\"ApplyOn\":\"None\",\"OptimizationStatus\":\"Off\"},"
        "\"LoggingConfig\":{\"LogFormat\":\"Text\",\"LogGroup\":\"/aws/lambda/%s\"}}";
    char text[1024];
    cJSON *document;
    struct utsname machine;
    const char *architecture;

    (void)snprintf(text, sizeof text, format, name);
    document = cJSON_Parse(text);
    architecture = uname(&machine) == 0 && strcmp(machine.machine, "aarch64") == 0 ? "arm64" : "x86_64";
    if (document && !put(document, "Architectures", cJSON_CreateStringArray(&architecture, 1))) {
        cJSON_Delete(document);
        return NULL;
    }
    return document;
}

bool architectures_are_usable(struct call *call, const cJSON *body)
{
    const char *asked = cJSON_GetStringValue(cJSON_GetArrayItem(call_member(body, "Architectures"), 0));
    struct utsname machine;
    const char *ours;

    if (!asked)
        return true;
    ours = uname(&machine) == 0 && strcmp(machine.machine, "aarch64") == 0 ? "arm64" : "x86_64";
    if (strcmp(asked, ours) == 0)
        return true;
    api_error(call->response, "InvalidParameterValueException",
              "This machine runs %s functions; Irori cannot run %s on it. Use Architectures [%s].", ours,
              asked, ours);
    return false;
}

void settings_set_code(cJSON *document, const struct code_package *package)
{
    (void)put(document, "CodeSize", cJSON_CreateNumber((double)package->size_bytes));
    (void)put(document, "CodeSha256", cJSON_CreateString(package->sha256_base64));
}

void settings_touch(cJSON *document)
{
    uint64_t now = clock_wall_ms();
    char date[32], text[48];

    clock_format(now, "%Y-%m-%dT%H:%M:%S", date, sizeof date);
    (void)snprintf(text, sizeof text, "%s.%03u+0000", date, (unsigned)(now % 1000));
    (void)put(document, "LastModified", cJSON_CreateString(text));
}
