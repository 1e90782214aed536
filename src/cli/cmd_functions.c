#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli_priv.h"
#include "cli/client.h"
#include "cli/functions.h"
#include "cli/table.h"

enum { MAX_TABLE_BYTES = 16 * 1024 * 1024, MAX_PAGES = 10000 };

/* Appends one page's functions; marker is the next page's ("" at the end). */
static int list_page(struct cli *cli, cJSON *functions, struct buf *marker, struct err *err)
{
    AUTO_BUF struct buf query = BUF_INIT(8192);
    AUTO_JSON *page = NULL;
    struct request request = { .method = "GET", .path = "/2015-03-31/functions" };
    cJSON *list;
    int result;

    if (marker->len > 0)
        request.query = client_path(&query, "Marker=", marker->data, "");
    result = client_call(cli, &request, &page, err);
    if (result < 0)
        return result;
    list = cJSON_GetObjectItemCaseSensitive(page, "Functions");
    while (cJSON_GetArraySize(list) > 0)
        (void)cJSON_AddItemToArray(functions, cJSON_DetachItemFromArray(list, 0));
    buf_clear(marker);
    return buf_puts(marker, json_text(page, "NextMarker", "")) < 0
               ? err_set(err, ERR_SYSTEM, 0, "the marker is too long")
               : 0;
}

static int list_functions(struct cli *cli, cJSON *functions, struct err *err)
{
    AUTO_BUF struct buf marker = BUF_INIT(2048);
    int result = list_page(cli, functions, &marker, err);

    for (int i = 0; result == 0 && marker.len > 0 && i < MAX_PAGES; i++)
        result = list_page(cli, functions, &marker, err);
    return result;
}

static void print_functions(struct cli *cli, const cJSON *functions)
{
    AUTO_BUF struct buf text = BUF_INIT(MAX_TABLE_BYTES);
    AUTO_TABLE struct table table;
    const cJSON *function = NULL;

    table_init(&table, "NAME", "RUNTIME", "HANDLER", ">MEMORY", ">TIMEOUT", ">CODE", "MODIFIED", NULL);
    cJSON_ArrayForEach(function, functions)
    {
        table_cell(&table, "%s", json_text(function, "FunctionName", "-"));
        table_cell(&table, "%s", json_text(function, "Runtime", "-"));
        table_cell(&table, "%s", json_text(function, "Handler", "-"));
        table_cell(&table, "%.0f MB", json_number(function, "MemorySize", 0));
        table_cell(&table, "%.0f s", json_number(function, "Timeout", 0));
        table_cell(&table, "%.1f kB", json_number(function, "CodeSize", 0) / 1e3);
        table_cell(&table, "%.16s", json_text(function, "LastModified", "-"));
    }
    table_write(&table, cli->colour_out, &text);
    (void)fputs(text.data ? text.data : "", stdout);
}

struct item {
    cJSON *json;
};

static int compare_names(const void *left, const void *right)
{
    const struct item *a = left, *b = right;

    return strcmp(json_text(a->json, "FunctionName", ""), json_text(b->json, "FunctionName", ""));
}

/* The service promises no order; people want one. */
static int sort_functions(cJSON *json, struct err *err)
{
    cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "functions");
    size_t count = (size_t)cJSON_GetArraySize(list);
    AUTO_FREE struct item *items = calloc(count + 1, sizeof *items);

    if (!items)
        return err_set(err, ERR_SYSTEM, ENOMEM, "list of functions");
    for (size_t i = 0; i < count; i++)
        items[i].json = cJSON_DetachItemFromArray(list, 0);
    qsort(items, count, sizeof *items, compare_names);
    for (size_t i = 0; i < count; i++)
        (void)cJSON_AddItemToArray(list, items[i].json);
    return 0;
}

static int run_ls(struct cli *cli, int argc, char **argv)
{
    AUTO_JSON *json = cJSON_CreateObject();
    cJSON *functions = cJSON_AddArrayToObject(json, "functions");
    struct words words;
    struct err err = { 0 };
    int status = cli_begin(cli, &(struct cli_use){ &cmd_ls, NULL, 0, 0, 0 }, argc, argv, &words);

    if (status >= 0)
        return status;
    if (list_functions(cli, functions, &err) < 0 || sort_functions(json, &err) < 0)
        return cli_fail(cli, &err);
    if (cli->json)
        return cli_print_json(json);
    if (cJSON_GetArraySize(functions) == 0)
        (void)printf("There are no functions yet. Make one with: irori deploy FOLDER --url\n");
    else
        print_functions(cli, functions);
    return EXIT_OK;
}

const struct cli_command cmd_ls = {
    .name = "ls",
    .usage = "irori ls",
    .summary = "list the functions",
    .details = "--json prints {\"functions\":[...]} as ListFunctions gives them.",
    .run = run_ls,
};

/* Returns false when the person does not want it. */
static bool confirm(const struct words *words)
{
    char answer[16] = "";

    (void)fprintf(stderr, "Delete ");
    for (size_t i = 0; i < words->count; i++)
        (void)fprintf(stderr, "%s%s", i > 0 ? ", " : "", words->list[i]);
    (void)fprintf(stderr, " with all versions, aliases and URLs? [y/N] ");
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static int remove_function(struct cli *cli, const char *name, struct err *err)
{
    AUTO_BUF struct buf path = BUF_INIT(2048);
    struct request request = { .method = "DELETE" };
    int result;

    request.path = client_path(&path, "/2015-03-31/functions/", name, "");
    if (!request.path || name[0] == '\0')
        return err_set(err, ERR_INVALID, 0, "'%.60s' is no name of a function", name);
    result = client_call(cli, &request, NULL, err);
    if (result < 0 && err->code == ERR_NOT_FOUND)
        cli_hint(cli, "irori ls lists the functions");
    return result;
}

static int run_rm(struct cli *cli, int argc, char **argv)
{
    bool yes = false;
    const struct option options[] = { { "yes", 'y', OPTION_FLAG, &yes, NULL, "do not ask" } };
    AUTO_JSON *json = cJSON_CreateObject();
    cJSON *removed = cJSON_AddArrayToObject(json, "removed");
    struct words words;
    struct err err = { 0 };
    int status = cli_begin(cli, &(struct cli_use){ &cmd_rm, options, 1, 1, WORDS_MAX }, argc, argv, &words);

    if (status >= 0)
        return status;
    /* A script has been asked by its author. */
    if (!yes && cli->terminal_err && isatty(STDIN_FILENO) == 1 && !confirm(&words))
        return EXIT_FAILED;
    for (size_t i = 0; i < words.count; i++) {
        if (remove_function(cli, words.list[i], &err) < 0)
            return cli_fail(cli, &err);
        (void)cJSON_AddItemToArray(removed, cJSON_CreateString(words.list[i]));
        if (!cli->json)
            (void)printf("Deleted %s\n", words.list[i]);
    }
    return cli->json ? cli_print_json(json) : EXIT_OK;
}

const struct cli_command cmd_rm = {
    .name = "rm",
    .usage = "irori rm NAME... [--yes]",
    .summary = "delete functions",
    .details = "Deletes the functions with all versions, aliases, URLs and permissions. Asks first, when on "
               "a terminal.",
    .run = run_rm,
};
