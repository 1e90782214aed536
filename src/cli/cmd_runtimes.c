#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cli/cli_priv.h"
#include "cli/client.h"
#include "cli/functions.h"
#include "cli/guess.h"
#include "cli/runtime_ids.h"
#include "cli/sdk.h"
#include "cli/table.h"

enum { MAX_TABLE_BYTES = 1024 * 1024 };

const char *const runtime_ids[] = {
    "nodejs18.x", "nodejs20.x", "nodejs22.x", "nodejs24.x",   "python3.9",       "python3.10", "python3.11",
    "python3.12", "python3.13", "python3.14", "provided.al2", "provided.al2023", NULL,
};

const cJSON *runtime_entry(const cJSON *json, const char *id)
{
    const cJSON *at = NULL;

    cJSON_ArrayForEach(at, cJSON_GetObjectItemCaseSensitive(json, "runtimes"))
    {
        if (strcmp(json_text(at, "id", ""), id) == 0)
            return at;
    }
    return NULL;
}

bool runtime_listed(const cJSON *json, const char *id)
{
    return runtime_entry(json, id) != NULL;
}

/* The command that adds a runtime. */
static void how_to_add(const struct cli *cli, const char *id, char *out, size_t size)
{
    const char *data = cli->data ? cli->data : "/var/lib/irori";
    const char *version = id + 6;

    if (guess_kind_of(id) == GUESS_NODE)
        (void)snprintf(out, size, "sudo npm install --prefix %s/runtimes/%s node@%.2s", data, id, version);
    else if (guess_kind_of(id) == GUESS_PYTHON)
        (void)snprintf(out, size,
                       "sudo apt-get install python%s (where the distribution has it) or: pyenv install %s",
                       version, version);
    else
        (void)snprintf(out, size, "update Irori: it needs nothing else");
}

static void print_table(struct cli *cli, const cJSON *json)
{
    AUTO_BUF struct buf text = BUF_INIT(MAX_TABLE_BYTES);
    AUTO_TABLE struct table table;
    bool missing = false;

    table_init(&table, "RUNTIME", "VERSION", "WHERE, OR HOW TO ADD IT", NULL);
    for (size_t i = 0; runtime_ids[i]; i++) {
        const cJSON *entry = runtime_entry(json, runtime_ids[i]);
        const char *path = json_text(entry, "path", ""), *version = json_text(entry, "version", "");
        char how[512];

        how_to_add(cli, runtime_ids[i], how, sizeof how);
        table_cell(&table, "%s", runtime_ids[i]);
        table_cell(&table, "%s", !entry ? "missing" : version[0] != '\0' ? version : "there");
        table_cell(&table, "%s", !entry ? how : path[0] != '\0' ? path : "the function brings its own");
        missing = missing || !entry;
    }
    table_write(&table, cli->colour_out, &text);
    (void)fputs(text.data ? text.data : "", stdout);
    if (missing)
        (void)printf("\nThe server looks for runtimes when it starts: restart it after adding one.\n");
}

static int print_list(struct cli *cli, const cJSON *json)
{
    AUTO_JSON *list = cJSON_CreateObject();
    cJSON *runtimes = cJSON_AddArrayToObject(list, "runtimes");

    for (size_t i = 0; runtime_ids[i]; i++) {
        const cJSON *entry = runtime_entry(json, runtime_ids[i]);
        cJSON *item = cJSON_CreateObject();
        char how[512];

        (void)cJSON_AddStringToObject(item, "id", runtime_ids[i]);
        (void)cJSON_AddBoolToObject(item, "available", entry != NULL);
        if (entry) {
            (void)cJSON_AddStringToObject(item, "version", json_text(entry, "version", ""));
            (void)cJSON_AddStringToObject(item, "path", json_text(entry, "path", ""));
        } else {
            how_to_add(cli, runtime_ids[i], how, sizeof how);
            (void)cJSON_AddStringToObject(item, "add", how);
        }
        (void)cJSON_AddItemToArray(runtimes, item);
    }
    return cli_print_json(list);
}

/* The SDKs go where the server looks for them; asking it which Pythons there are is a help, not a need. */
static int install_sdk(struct cli *cli, bool again)
{
    const char *data = cli->data ? cli->data : "/var/lib/irori";
    AUTO_JSON *runtimes = NULL, *json = cJSON_CreateObject();
    struct err ignored = { 0 }, err = { 0 };

    (void)server_runtimes(cli, &runtimes, &ignored);
    cli->hint[0] = '\0';
    if (sdk_install(cli, data, again, runtimes, json, &err) < 0)
        return cli_fail(cli, &err);
    if (cli->json)
        return cli_print_json(json);
    (void)printf("The AWS SDKs are in %s/sdk: Python %s, Node %s\n", data, json_text(json, "python", "?"),
                 json_text(json, "node", "?"));
    return EXIT_OK;
}

static int run(struct cli *cli, int argc, char **argv)
{
    bool again = false;
    const struct option options[] = {
        { "again", 0, OPTION_FLAG, &again, NULL, "with sdk: install what is there already anew" },
    };
    AUTO_JSON *json = NULL;
    struct words words;
    struct err err = { 0 };
    int status = cli_begin(cli, &(struct cli_use){ &cmd_runtimes, options, 1, 0, 1 }, argc, argv, &words);

    if (status >= 0)
        return status;
    if (words.count == 1 && strcmp(words.list[0], "sdk") == 0)
        return install_sdk(cli, again);
    if (words.count == 1)
        return cli_misuse(cli, &cmd_runtimes, "there is no '%.60s' of runtimes", words.list[0]);
    if (server_runtimes(cli, &json, &err) < 0)
        return cli_fail(cli, &err);
    if (cli->json)
        return print_list(cli, json);
    print_table(cli, json);
    return EXIT_OK;
}

const struct cli_command cmd_runtimes = {
    .name = "runtimes",
    .usage = "irori runtimes [sdk [--again]] [--data DIR]",
    .summary = "list the runtimes, or install the AWS SDKs for functions",
    .details =
        "irori runtimes sdk installs into DIR/sdk what AWS's own runtimes have: boto3 for Python, and for "
        "Node the SDK v3\n"
        "clients s3, dynamodb (lib-dynamodb, util-dynamodb), sqs, sns, lambda, secrets-manager, ssm, sts, "
        "eventbridge,\n"
        "cloudwatch-logs, kinesis, sfn, ses, cognito-identity-provider, rds-data, and s3-request-presigner.\n"
        "Other clients belong into the function's own package.",
    .run = run,
};
