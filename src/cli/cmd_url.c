#include <stdio.h>
#include <string.h>

#include "cli/cli_priv.h"
#include "cli/functions.h"

static int print_url(struct cli *cli, const char *name, const char *url, const char *auth_type)
{
    if (cli->json) {
        AUTO_JSON *json = cJSON_CreateObject();

        (void)cJSON_AddStringToObject(json, "name", name);
        (void)cJSON_AddStringToObject(json, "url", url);
        (void)cJSON_AddStringToObject(json, "authType", auth_type);
        return cli_print_json(json);
    }
    (void)printf("%s\n", url);
    return EXIT_OK;
}

static int show(struct cli *cli, const char *name, struct err *err, int *ret_status)
{
    AUTO_JSON *json = NULL, *function = NULL;
    int result = function_url_get(cli, name, &json, err);

    if (result == 0 && !json)
        result = function_get(cli, name, &function, err);
    if (result < 0)
        return result;
    if (!json) {
        cli_hint(cli, "make one with: irori url %.100s --create", name);
        return err_set(err, ERR_NOT_FOUND, 0, "%.100s has no URL", name);
    }
    *ret_status = print_url(cli, name, json_text(json, "FunctionUrl", ""), json_text(json, "AuthType", ""));
    return 0;
}

static int open_url(struct cli *cli, const char *name, struct err *err, int *ret_status)
{
    AUTO_BUF struct buf url = BUF_INIT(1024);
    int result = function_url_open(cli, name, &url, err);

    if (result == 0)
        *ret_status = print_url(cli, name, url.data ? url.data : "", "NONE");
    return result;
}

static int close_url(struct cli *cli, const char *name, struct err *err, int *ret_status)
{
    AUTO_JSON *json = NULL;
    int result = function_url_close(cli, name, err);

    if (result < 0)
        return result;
    *ret_status = EXIT_OK;
    if (cli->json) {
        json = cJSON_CreateObject();
        (void)cJSON_AddStringToObject(json, "name", name);
        (void)cJSON_AddNullToObject(json, "url");
        *ret_status = cli_print_json(json);
    } else {
        (void)printf("%s has no URL any more\n", name);
    }
    return 0;
}

static int run(struct cli *cli, int argc, char **argv)
{
    bool create = false, delete = false;
    const struct option options[] = {
        { "create", 0, OPTION_FLAG, &create, NULL, "make a public URL, if there is none" },
        { "delete", 0, OPTION_FLAG, &delete, NULL, "remove the URL" },
    };
    struct words words;
    struct err err = { 0 };
    int status = cli_begin(cli, &(struct cli_use){ &cmd_url, options, 2, 1, 1 }, argc, argv, &words), result;

    if (status >= 0)
        return status;
    if (create && delete)
        return cli_misuse(cli, &cmd_url, "--create and --delete exclude each other");
    if (create)
        result = open_url(cli, words.list[0], &err, &status);
    else if (delete)
        result = close_url(cli, words.list[0], &err, &status);
    else
        result = show(cli, words.list[0], &err, &status);
    return result < 0 ? cli_fail(cli, &err) : status;
}

const struct cli_command cmd_url = {
    .name = "url",
    .usage = "irori url NAME [--create|--delete]",
    .summary = "show, make or remove a function's URL",
    .run = run,
};
