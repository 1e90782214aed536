#include <stdio.h>

#include "cli/cli_priv.h"
#include "cli/client.h"
#include "cli/table.h"

enum { MAX_TABLE_BYTES = 16 * 1024 * 1024 };

static void age_cell(struct table *table, double ms)
{
    if (ms < 1000)
        table_cell(table, "%.0f ms", ms);
    else if (ms < 100e3)
        table_cell(table, "%.1f s", ms / 1e3);
    else if (ms < 7200e3)
        table_cell(table, "%.0f min", ms / 60e3);
    else
        table_cell(table, "%.1f h", ms / 3600e3);
}

static void print_environments(struct cli *cli, const cJSON *environments)
{
    AUTO_BUF struct buf text = BUF_INIT(MAX_TABLE_BYTES);
    AUTO_TABLE struct table table;
    const cJSON *at = NULL;

    table_init(&table, "ID", "FUNCTION", "VERSION", "RUNTIME", "STATE", ">AGE", ">REQUESTS", ">MEMORY",
               "START", NULL);
    cJSON_ArrayForEach(at, environments)
    {
        table_cell(&table, "%.12s", json_text(at, "id", "-"));
        table_cell(&table, "%s", json_text(at, "function", "-"));
        table_cell(&table, "%s", json_text(at, "version", "-"));
        table_cell(&table, "%s", json_text(at, "runtime", "-"));
        table_cell(&table, "%s", json_text(at, "state", "-"));
        age_cell(&table, json_number(at, "ageMs", 0));
        table_cell(&table, "%.0f", json_number(at, "requests", 0));
        table_cell(&table, "%.1f MB", json_number(at, "memoryBytes", 0) / 1e6);
        table_cell(&table, "%s", json_text(at, "start", "-"));
    }
    table_write(&table, cli->colour_out, &text);
    (void)fputs(text.data ? text.data : "", stdout);
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct request request = { .method = "GET", .path = "/_irori/environments" };
    AUTO_JSON *json = NULL;
    const cJSON *environments;
    struct words words;
    struct err err = { 0 };
    int status = cli_begin(cli, &(struct cli_use){ &cmd_ps, NULL, 0, 0, 0 }, argc, argv, &words);

    if (status >= 0)
        return status;
    if (client_call(cli, &request, &json, &err) < 0)
        return cli_fail(cli, &err);
    if (cli->json)
        return cli_print_json(json);
    environments = cJSON_GetObjectItemCaseSensitive(json, "environments");
    if (cJSON_GetArraySize(environments) == 0)
        (void)printf("No environment runs. The next invocation makes one.\n");
    else
        print_environments(cli, environments);
    return EXIT_OK;
}

const struct cli_command cmd_ps = {
    .name = "ps",
    .usage = "irori ps",
    .summary = "list the environments that run",
    .run = run,
};
