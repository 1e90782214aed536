#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/text.h"
#include "cli/cli_priv.h"
#include "cli/client.h"
#include "cli/functions.h"
#include "cli/guess.h"
#include "cli/package.h"
#include "cli/runtime_ids.h"

#define STATE_TAG  "irori:state"
#define TENANT_TAG "irori:tenant-header"

enum { MAX_REQUEST_BYTES = 70167211, UPLOAD_TIMEOUT_S = 600, MAX_CONFIGURATION_BYTES = 64 * 1024 };

struct deploy {
    const char *path, *name, *handler, *runtime, *description, *role;
    const char *tenant_header;
    bool url, clean_state, no_clean_state, tenancy;
    struct option_list env;
    struct option_number memory, timeout;
    char own_name[FUNCTION_NAME_BYTES];
    struct buf zip;
    char sha[45]; /* base64 */
    char account[13];
    struct guess guess;
    const char *picked_runtime;
    bool created, code_changed, configuration_changed;
};

/* The folder's or file's own name, with what names cannot have made dashes. */
static int default_name(struct deploy *deploy, struct err *err)
{
    AUTO_FREE char *real = realpath(deploy->path, NULL);
    const char *name = real ? strrchr(real, '/') + 1 : "";
    size_t len = strlen(name);

    if (!real)
        return err_set(err, ERR_NOT_FOUND, errno, "%.250s", deploy->path);
    if (len > 4 && strcmp(name + len - 4, ".zip") == 0)
        len -= 4;
    if (len == 0)
        return err_set(err, ERR_INVALID, 0, "give the function a name: --name NAME");
    len = len < FUNCTION_NAME_BYTES - 1 ? len : FUNCTION_NAME_BYTES - 1;
    (void)snprintf(deploy->own_name, sizeof deploy->own_name, "%.*s", (int)len, name);
    for (char *c = deploy->own_name; *c != '\0'; c++) {
        if (!function_name_ok((char[]){ *c, '\0' }))
            *c = '-';
    }
    deploy->name = deploy->own_name;
    return 0;
}

static int check_options(struct deploy *deploy, struct err *err)
{
    if (deploy->name && !function_name_ok(deploy->name))
        return err_set(err, ERR_INVALID, 0, "'%.100s' is no name: 1 to 64 letters, digits, - and _",
                       deploy->name);
    for (size_t i = 0; i < deploy->env.count; i++) {
        const char *equals = strchr(deploy->env.items[i], '=');

        if (!equals || equals == deploy->env.items[i])
            return err_set(err, ERR_INVALID, 0, "--env needs NAME=VALUE, not '%.100s'", deploy->env.items[i]);
    }
    if (deploy->clean_state && deploy->no_clean_state)
        return err_set(err, ERR_INVALID, 0, "--clean-state and --no-clean-state exclude each other");
    if (deploy->runtime && guess_kind_of(deploy->runtime) == GUESS_NONE)
        return err_set(err, ERR_INVALID, 0, "Irori has no runtime '%.60s'; irori runtimes lists them",
                       deploy->runtime);
    return deploy->name ? 0 : default_name(deploy, err);
}

static int hash_zip(struct deploy *deploy, struct err *err)
{
    AUTO_BUF struct buf text = BUF_INIT(64);
    unsigned char hash[32];

    if (EVP_Digest(deploy->zip.data, deploy->zip.len, hash, NULL, EVP_sha256(), NULL) != 1 ||
        text_base64_encode(hash, sizeof hash, &text) < 0)
        return err_set(err, ERR_SYSTEM, ENOMEM, "SHA-256");
    (void)snprintf(deploy->sha, sizeof deploy->sha, "%s", text.data);
    return 0;
}

/* The account stands in the ARN of what was not found. */
static void learn_account(struct deploy *deploy, const char *text)
{
    const char *arn = strstr(text, "arn:aws:lambda:"), *account = arn ? strchr(arn + 15, ':') : NULL;
    bool good = account && strspn(account + 1, "0123456789") == 12;

    (void)snprintf(deploy->account, sizeof deploy->account, "%.12s", good ? account + 1 : "000000000000");
}

/* The newest runtime of the guessed language that the server has. */
static int pick_runtime(struct cli *cli, struct deploy *deploy, struct err *err)
{
    AUTO_JSON *json = NULL;
    const char *id = NULL;
    int result;

    if (deploy->runtime) {
        deploy->picked_runtime = deploy->runtime;
        return 0;
    }
    result = server_runtimes(cli, &json, err);
    if (result < 0)
        return result;
    for (size_t i = 0; runtime_ids[i]; i++) {
        if (guess_kind_of(runtime_ids[i]) == deploy->guess.kind && runtime_listed(json, runtime_ids[i]))
            id = runtime_ids[i];
    }
    if (!id) {
        cli_hint(cli, "irori runtimes tells how to add one");
        return err_set(err, ERR_NOT_FOUND, 0, "the server has no %s",
                       deploy->guess.kind == GUESS_NODE     ? "Node"
                       : deploy->guess.kind == GUESS_PYTHON ? "Python"
                                                            : "runtime for a bootstrap");
    }
    deploy->picked_runtime = id;
    return 0;
}

static int guess_new(struct cli *cli, struct deploy *deploy, struct err *err)
{
    struct package_list list;
    enum guess_kind wanted = deploy->runtime ? guess_kind_of(deploy->runtime) : GUESS_NONE;
    int result = package_look(&deploy->zip, &list, err);

    if (result < 0)
        return result;
    result = guess_package(&list, deploy->handler, wanted, &deploy->guess, err);
    package_list_done(&list);
    if (result < 0) {
        cli_hint(cli, "name it with --handler FILE.FUNCTION (and --runtime ID)");
        return result;
    }
    return pick_runtime(cli, deploy, err);
}

static void add_text(cJSON *json, const char *name, const char *value)
{
    if (value)
        (void)cJSON_AddStringToObject(json, name, value);
}

static void add_number(cJSON *json, const char *name, const struct option_number *number)
{
    if (number->given)
        (void)cJSON_AddNumberToObject(json, name, (double)number->value);
}

/* The variables given, over those that are there already. */
static void add_environment(cJSON *json, const struct deploy *deploy, const cJSON *present)
{
    const cJSON *old = cJSON_GetObjectItemCaseSensitive(present, "Environment");
    cJSON *environment, *variables;

    if (deploy->env.count == 0)
        return;
    old = cJSON_GetObjectItemCaseSensitive(old, "Variables");
    variables = old ? cJSON_Duplicate(old, true) : cJSON_CreateObject();
    for (size_t i = 0; variables && i < deploy->env.count; i++) {
        const char *equals = strchr(deploy->env.items[i], '=');
        char name[256];

        (void)snprintf(name, sizeof name, "%.*s", (int)(equals - deploy->env.items[i]), deploy->env.items[i]);
        cJSON_DeleteItemFromObjectCaseSensitive(variables, name);
        (void)cJSON_AddStringToObject(variables, name, equals + 1);
    }
    environment = cJSON_AddObjectToObject(json, "Environment");
    if (!environment || !variables || !cJSON_AddItemToObject(environment, "Variables", variables))
        cJSON_Delete(variables);
}

static cJSON *configuration_of(const struct deploy *deploy, const cJSON *present)
{
    cJSON *json = cJSON_CreateObject();

    add_text(json, "Runtime", present ? deploy->runtime : deploy->picked_runtime);
    add_text(json, "Handler", present ? deploy->handler : deploy->guess.handler);
    add_text(json, "Description", deploy->description);
    add_text(json, "Role", deploy->role);
    add_number(json, "MemorySize", &deploy->memory);
    add_number(json, "Timeout", &deploy->timeout);
    add_environment(json, deploy, present);
    return json;
}

/* Writes {"ZipFile":"...",members}: the code directly, as it is large. */
static int write_code(const struct deploy *deploy, const char *open, const char *members, const char *close,
                      struct buf *out, struct err *err)
{
    (void)buf_puts(out, open);
    if (text_base64_encode(deploy->zip.data, deploy->zip.len, out) == 0) {
        (void)buf_puts(out, members);
        (void)buf_puts(out, close);
    }
    return out->failed
               ? err_set(err, ERR_LIMIT, 0, "the request would be larger than %d bytes", MAX_REQUEST_BYTES)
               : 0;
}

static int upload(struct cli *cli, const char *method, const char *path, const struct buf *body,
                  struct err *err)
{
    struct request request = { .method = method,
                               .path = path,
                               .body = body->data,
                               .body_len = body->len,
                               .headers = { "Content-Type: application/json" },
                               .progress = body->len > 1000000,
                               .timeout_s = UPLOAD_TIMEOUT_S };

    return client_call(cli, &request, NULL, err);
}

/* What only a new function is given so. */
static void add_settings(cJSON *json, const struct deploy *deploy)
{
    cJSON *tags = deploy->clean_state || deploy->tenant_header ? cJSON_AddObjectToObject(json, "Tags") : NULL;

    if (deploy->clean_state)
        add_text(tags, STATE_TAG, "clean");
    add_text(tags, TENANT_TAG, deploy->tenant_header);
    if (deploy->tenancy)
        add_text(cJSON_AddObjectToObject(json, "TenancyConfig"), "TenantIsolationMode", "PER_TENANT");
}

static int create(struct cli *cli, struct deploy *deploy, struct err *err)
{
    AUTO_BUF struct buf body = BUF_INIT(MAX_REQUEST_BYTES), role = BUF_INIT(128);
    AUTO_JSON *json = NULL;
    AUTO_FREE char *members = NULL;
    int result;

    if (deploy->tenant_header && !deploy->tenancy)
        return err_set(err, ERR_INVALID, 0, "--tenant-header of a new function needs --tenancy");
    result = guess_new(cli, deploy, err);
    if (result < 0)
        return result;
    cli_note(cli, "Creating %s: %s, handler %s", deploy->name, deploy->picked_runtime, deploy->guess.handler);
    (void)buf_printf(&role, "arn:aws:iam::%s:role/irori", deploy->account);
    if (!deploy->role)
        deploy->role = role.data;
    json = configuration_of(deploy, NULL);
    add_text(json, "FunctionName", deploy->name);
    add_settings(json, deploy);
    members = cJSON_PrintUnformatted(json);
    if (!members)
        return err_set(err, ERR_SYSTEM, ENOMEM, "request");
    /* {"Code":{"ZipFile":"..."},"FunctionName":...} */
    result = write_code(deploy, "{\"Code\":{\"ZipFile\":\"", "\"},", members + 1, &body, err);
    if (result == 0)
        result = upload(cli, "POST", "/2015-03-31/functions", &body, err);
    deploy->created = result == 0;
    return result;
}

/* True when every member of wanted stands in present already. */
static bool is_configured(const cJSON *wanted, const cJSON *present)
{
    const cJSON *member = NULL;

    cJSON_ArrayForEach(member, wanted)
    {
        if (!cJSON_Compare(member, cJSON_GetObjectItemCaseSensitive(present, member->string), true))
            return false;
    }
    return true;
}

static int update_configuration(struct cli *cli, struct deploy *deploy, const cJSON *present, struct err *err)
{
    AUTO_BUF struct buf path = BUF_INIT(1024), body = BUF_INIT(MAX_CONFIGURATION_BYTES);
    AUTO_JSON *json = configuration_of(deploy, present);
    AUTO_FREE char *text = json ? cJSON_PrintUnformatted(json) : NULL;
    int result;

    if (!text || buf_puts(&body, text) < 0)
        return err_set(err, ERR_LIMIT, 0, "the configuration is too large");
    if (is_configured(json, present))
        return 0;
    cli_note(cli, "Updating the configuration of %s", deploy->name);
    result = upload(cli, "PUT", client_path(&path, "/2015-03-31/functions/", deploy->name, "/configuration"),
                    &body, err);
    deploy->configuration_changed = result == 0;
    return result < 0 ? result : function_wait(cli, deploy->name, NULL, err);
}

/* Clean state and the tenants' header are tags of Irori's own. */
static int update_tags(struct cli *cli, struct deploy *deploy, const cJSON *present, struct err *err)
{
    const char *arn = json_text(present, "FunctionArn", "");
    bool changed = false;
    int result = 0;

    if (deploy->clean_state || deploy->no_clean_state)
        result = function_tag(cli, arn, STATE_TAG, deploy->clean_state ? "clean" : NULL, &changed, err);
    if (changed)
        cli_note(cli, "%s %s",
                 deploy->clean_state ? "A clean state for every invocation of"
                                     : "Environments are reused for",
                 deploy->name);
    deploy->configuration_changed = deploy->configuration_changed || changed;
    if (result < 0 || !deploy->tenant_header)
        return result;
    result = function_tag(cli, arn, TENANT_TAG, deploy->tenant_header, &changed, err);
    if (changed)
        cli_note(cli, "Tenants of %s are named by the header %s", deploy->name, deploy->tenant_header);
    deploy->configuration_changed = deploy->configuration_changed || changed;
    return result;
}

/* What a function is made with cannot be changed. */
static int check_tenancy(const struct deploy *deploy, const cJSON *present, struct err *err)
{
    if (!(deploy->tenancy || deploy->tenant_header) ||
        cJSON_GetObjectItemCaseSensitive(present, "TenancyConfig"))
        return 0;
    return err_set(err, ERR_INVALID, 0,
                   "%s was made without --tenancy, which cannot be changed: delete it first (irori rm %s)",
                   deploy->name, deploy->name);
}

static int update_code(struct cli *cli, struct deploy *deploy, const cJSON *present, struct err *err)
{
    AUTO_BUF struct buf path = BUF_INIT(1024), body = BUF_INIT(MAX_REQUEST_BYTES);
    int result;

    if (strcmp(json_text(present, "CodeSha256", ""), deploy->sha) == 0) {
        cli_note(cli, "The code of %s is the same", deploy->name);
        return 0;
    }
    cli_note(cli, "Updating the code of %s", deploy->name);
    result = write_code(deploy, "{\"ZipFile\":\"", "\"", "}", &body, err);
    if (result == 0)
        result = upload(cli, "PUT", client_path(&path, "/2015-03-31/functions/", deploy->name, "/code"),
                        &body, err);
    deploy->code_changed = result == 0;
    return result;
}

static int update(struct cli *cli, struct deploy *deploy, const cJSON *present, struct err *err)
{
    int result = check_tenancy(deploy, present, err);

    if (result == 0)
        result = update_configuration(cli, deploy, present, err);
    if (result == 0)
        result = update_tags(cli, deploy, present, err);
    return result < 0 ? result : update_code(cli, deploy, present, err);
}

static int create_or_update(struct cli *cli, struct deploy *deploy, struct err *err)
{
    AUTO_JSON *present = NULL;
    char hint[sizeof cli->hint];
    int result;

    memcpy(hint, cli->hint, sizeof hint);
    result = function_get(cli, deploy->name, &present, err);
    if (result < 0 && err->code == ERR_NOT_FOUND) {
        learn_account(deploy, err->text);
        *err = (struct err){ 0 };
        memcpy(cli->hint, hint, sizeof hint);
        return create(cli, deploy, err);
    }
    if (result == 0 && !present)
        result = err_set(err, ERR_SYSTEM, 0, "the server's answer is empty");
    return result < 0 ? result : update(cli, deploy, present, err);
}

static int print_result(struct cli *cli, const struct deploy *deploy, const cJSON *function, const char *url)
{
    const char *verb = deploy->created                                         ? "Created"
                       : deploy->code_changed || deploy->configuration_changed ? "Updated"
                                                                               : "Unchanged:";

    if (cli->json) {
        AUTO_JSON *json = cJSON_CreateObject();

        add_text(json, "name", deploy->name);
        add_text(json, "arn", json_text(function, "FunctionArn", ""));
        add_text(json, "runtime", json_text(function, "Runtime", ""));
        add_text(json, "handler", json_text(function, "Handler", ""));
        add_text(json, "codeSha256", json_text(function, "CodeSha256", ""));
        (void)cJSON_AddBoolToObject(json, "created", deploy->created);
        (void)cJSON_AddBoolToObject(json, "changed",
                                    deploy->created || deploy->code_changed || deploy->configuration_changed);
        if (url)
            add_text(json, "url", url);
        return cli_print_json(json);
    }
    (void)printf("%s%s%s %s (%s, handler %s)\n", cli_colour(cli->colour_out, COLOUR_GREEN), verb,
                 cli_plain(cli->colour_out), deploy->name, json_text(function, "Runtime", "?"),
                 json_text(function, "Handler", "?"));
    if (url)
        (void)printf("%s\n\n  curl %s\n", url, url);
    return EXIT_OK;
}

static int deploy_all(struct cli *cli, struct deploy *deploy, struct err *err, int *ret_status)
{
    AUTO_BUF struct buf url = BUF_INIT(1024);
    AUTO_JSON *function = NULL;
    int result = check_options(deploy, err);

    if (result == 0)
        result = package_read(cli, deploy->path, &deploy->zip, err);
    if (result == 0)
        result = hash_zip(deploy, err);
    if (result == 0)
        result = create_or_update(cli, deploy, err);
    if (result == 0)
        result = function_wait(cli, deploy->name, &function, err);
    if (result == 0 && deploy->url)
        result = function_url_open(cli, deploy->name, &url, err);
    if (result == 0)
        *ret_status = print_result(cli, deploy, function, deploy->url ? url.data : NULL);
    return result;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct deploy deploy = { .zip = BUF_INIT(PACKAGE_MAX_ZIP_BYTES) };
    const struct option options[] = {
        { "name", 'n', OPTION_TEXT, &deploy.name, "NAME", "the function's name (else the folder's)" },
        { "url", 0, OPTION_FLAG, &deploy.url, NULL, "give it a public URL" },
        { "env", 'e', OPTION_LIST, &deploy.env, "NAME=VALUE", "an environment variable; may be repeated" },
        { "memory", 'm', OPTION_NUMBER, &deploy.memory, "MB", "memory size (new functions: 128)" },
        { "timeout", 't', OPTION_NUMBER, &deploy.timeout, "SECONDS", "timeout (new functions: 3)" },
        { "handler", 0, OPTION_TEXT, &deploy.handler, "FILE.NAME",
          "the handler (new functions: found in the files)" },
        { "runtime", 0, OPTION_TEXT, &deploy.runtime, "ID",
          "the runtime (new functions: found by the files)" },
        { "clean-state", 0, OPTION_FLAG, &deploy.clean_state, NULL,
          "every invocation gets an environment of its own, made ahead" },
        { "no-clean-state", 0, OPTION_FLAG, &deploy.no_clean_state, NULL, "environments are reused again" },
        { "tenancy", 0, OPTION_FLAG, &deploy.tenancy, NULL,
          "each tenant gets environments of its own (new functions only)" },
        { "tenant-header", 0, OPTION_TEXT, &deploy.tenant_header, "NAME",
          "the header of URL requests that names the tenant (x-amz-tenant-id)" },
        { "description", 0, OPTION_TEXT, &deploy.description, "TEXT", "a description" },
        { "role", 0, OPTION_TEXT, &deploy.role, "ARN", "the role it acts as" },
    };
    struct words words;
    struct err err = { 0 };
    int status =
        cli_begin(cli, &(struct cli_use){ &cmd_deploy, options, sizeof options / sizeof options[0], 1, 1 },
                  argc, argv, &words);

    if (status >= 0)
        return status;
    deploy.path = words.list[0];
    if (deploy_all(cli, &deploy, &err, &status) < 0)
        status = cli_fail(cli, &err);
    buf_done(&deploy.zip);
    return status;
}

const struct cli_command cmd_deploy = {
    .name = "deploy",
    .usage = "irori deploy DIR|FILE.zip [options]",
    .summary = "create or update a function from a folder or a zip file",
    .details =
        "A folder is zipped without .git and node_modules/.cache. On an update only what is given changes;\n"
        "--env adds to the variables that are there. Waits until the new code serves.",
    .run = run,
};
