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

static bool has_tenants(const cJSON *environments)
{
    const cJSON *at = NULL;

    cJSON_ArrayForEach(at, environments)
    {
        if (cJSON_GetObjectItemCaseSensitive(at, "tenantId"))
            return true;
    }
    return false;
}

static void print_environments(struct cli *cli, const cJSON *environments)
{
    bool tenants = has_tenants(environments);
    AUTO_BUF struct buf text = BUF_INIT(MAX_TABLE_BYTES);
    AUTO_TABLE struct table table;
    const cJSON *at = NULL;

    table_init(&table, "ID", "FUNCTION", "VERSION", "RUNTIME", "STATE", ">AGE", ">REQUESTS", ">MEMORY",
               "START", tenants ? "TENANT" : NULL, NULL);
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
        if (tenants)
            table_cell(&table, "%s", json_text(at, "tenantId", "-"));
    }
    table_write(&table, cli->colour_out, &text);
    (void)fputs(text.data ? text.data : "", stdout);
}

static void print_templates(struct cli *cli, const cJSON *templates)
{
    AUTO_BUF struct buf text = BUF_INIT(MAX_TABLE_BYTES);
    AUTO_TABLE struct table table;
    const cJSON *at = NULL;

    table_init(&table, "OF", "RUNTIME", "STATE", ">AGE", ">CLONES", ">FALLBACKS", ">SOCKETS", "REASON", NULL);
    cJSON_ArrayForEach(at, templates)
    {
        if (*json_text(at, "function", ""))
            table_cell(&table, "%s:%s", json_text(at, "function", ""), json_text(at, "version", "-"));
        else
            table_cell(&table, "every function");
        table_cell(&table, "%s", json_text(at, "runtime", "-"));
        table_cell(&table, "%s", json_text(at, "state", "-"));
        age_cell(&table, json_number(at, "ageMs", 0));
        table_cell(&table, "%.0f", json_number(at, "clones", 0));
        table_cell(&table, "%.0f", json_number(at, "fallbacks", 0) + json_number(at, "ineligible", 0));
        table_cell(&table, "%.0f", json_number(at, "sockets", 0));
        table_cell(&table, "%s", *json_text(at, "reason", "") ? json_text(at, "reason", "") : "-");
    }
    table_write(&table, cli->colour_out, &text);
    (void)fputs(text.data ? text.data : "", stdout);
}

static void print_code_cache(const cJSON *cache)
{
    if (json_number(cache, "files", 0) > 0)
        (void)printf("Code cache: %.0f functions, %.1f MiB, %.0f made and %.0f times used since the start.\n",
                     json_number(cache, "files", 0), json_number(cache, "bytes", 0) / (1 << 20),
                     json_number(cache, "made", 0), json_number(cache, "used", 0));
}

static void show_templates(struct cli *cli, const cJSON *json)
{
    const cJSON *templates = cJSON_GetObjectItemCaseSensitive(json, "templates");

    if (cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(json, "enabled")))
        (void)printf("Templates are switched off (irori serve --templates off).\n");
    else if (cJSON_GetArraySize(templates) == 0)
        (void)printf("There is no template. The first function of a Node or Python runtime makes one.\n");
    else
        print_templates(cli, templates);
    print_code_cache(cJSON_GetObjectItemCaseSensitive(json, "codeCache"));
}

static void show_environments(struct cli *cli, const cJSON *json)
{
    const cJSON *environments = cJSON_GetObjectItemCaseSensitive(json, "environments");

    if (cJSON_GetArraySize(environments) == 0)
        (void)printf("No environment runs. The next invocation makes one.\n");
    else
        print_environments(cli, environments);
}

static int run(struct cli *cli, int argc, char **argv)
{
    bool templates = false;
    const struct option options[] = {
        { "templates", 0, OPTION_FLAG, &templates, NULL, "list what environments are cloned from instead" },
    };
    struct request request = { .method = "GET" };
    AUTO_JSON *json = NULL;
    struct words words;
    struct err err = { 0 };
    int status = cli_begin(cli, &(struct cli_use){ &cmd_ps, options, 1, 0, 0 }, argc, argv, &words);

    if (status >= 0)
        return status;
    request.path = templates ? "/_irori/templates" : "/_irori/environments";
    if (client_call(cli, &request, &json, &err) < 0)
        return cli_fail(cli, &err);
    if (cli->json)
        return cli_print_json(json);
    if (templates)
        show_templates(cli, json);
    else
        show_environments(cli, json);
    return EXIT_OK;
}

const struct cli_command cmd_ps = {
    .name = "ps",
    .usage = "irori ps [--templates]",
    .summary = "list the environments that run",
    .details =
        "FALLBACKS of a template are the starts that were ordinary ones: there was no clone, or the "
        "function sets a variable that a clone could not obey. SOCKETS were open when the template was "
        "made; its clones must connect anew. REASON is the last one, or why there is no template.",
    .run = run,
};
