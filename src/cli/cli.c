#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/cli_priv.h"
#include "cli/client.h"

static const struct cli_command cmd_serve = {
    .name = "serve",
    .usage = "irori serve [--listen ADDRESS:PORT] [--data DIR] [--config FILE]",
    .summary = "run the server in the foreground",
};
/* In the order in which a newcomer needs them. */
static const struct cli_command *const commands[] = {
    &cmd_serve, &cmd_deploy, &cmd_invoke, &cmd_logs,     &cmd_ps,
    &cmd_ls,    &cmd_url,    &cmd_rm,     &cmd_runtimes, &cmd_doctor,
};
enum { COMMAND_COUNT = sizeof commands / sizeof commands[0], GLOBAL_COUNT = 5, MAX_HELP_BYTES = 64 * 1024 };

static void global_options(struct cli *cli, struct option options[GLOBAL_COUNT])
{
    const struct option list[GLOBAL_COUNT] = {
        { "endpoint", 0, OPTION_TEXT, &cli->endpoint, "URL",
          "the server (else IRORI_ENDPOINT, else http://127.0.0.1:9000)" },
        { "data", 0, OPTION_TEXT, &cli->data, "DIR", "the server's data folder: its credentials are used" },
        { "region", 0, OPTION_TEXT, &cli->region, "NAME",
          "the server's region (else the credentials', else us-east-1)" },
        { "json", 0, OPTION_FLAG, &cli->json, NULL, "print JSON" },
        { "help", 'h', OPTION_FLAG, &cli->help, NULL, "show this help" },
    };

    memcpy(options, list, sizeof list);
}

static void print(FILE *to, struct buf *text)
{
    if (text->data)
        (void)fputs(text->data, to);
}

static void print_help(struct cli *cli, FILE *to)
{
    AUTO_BUF struct buf text = BUF_INIT(MAX_HELP_BYTES);
    struct option globals[GLOBAL_COUNT];

    global_options(cli, globals);
    (void)buf_puts(
        &text, "Irori runs AWS Lambda functions on your own machine.\n\nUsage: irori COMMAND [options]\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        (void)buf_printf(&text, "  %-12s %s\n", commands[i]->name, commands[i]->summary);
    (void)buf_puts(&text, "\nOptions of every command:\n");
    options_help(globals, GLOBAL_COUNT, &text);
    (void)buf_puts(&text, "      --version                show the version\n\n"
                          "irori COMMAND --help tells more about one. To begin: irori deploy FOLDER --url\n");
    print(to, &text);
}

static void print_command_help(struct cli *cli, const struct cli_use *use)
{
    AUTO_BUF struct buf text = BUF_INIT(MAX_HELP_BYTES);
    const struct cli_command *command = use->command;
    struct option globals[GLOBAL_COUNT];

    global_options(cli, globals);
    (void)buf_printf(&text, "Usage: %s\n\n%c%s.\n", command->usage, command->summary[0] - 'a' + 'A',
                     command->summary + 1);
    if (command->details)
        (void)buf_printf(&text, "\n%s\n", command->details);
    if (use->option_count > 0) {
        (void)buf_puts(&text, "\nOptions:\n");
        options_help(use->options, use->option_count, &text);
    }
    (void)buf_puts(&text, "\nOptions of every command:\n");
    options_help(globals, GLOBAL_COUNT, &text);
    print(stdout, &text);
}

int cli_misuse(struct cli *cli, const struct cli_command *command, const char *format, ...)
{
    struct err err = { 0 };
    va_list args;

    va_start(args, format);
    (void)vsnprintf(err.text, sizeof err.text, format, args);
    va_end(args);
    cli_hint(cli, "usage: %s\nirori %s --help tells more", command->usage, command->name);
    (void)cli_fail(cli, &err);
    return EXIT_USAGE;
}

int cli_begin(struct cli *cli, const struct cli_use *use, int argc, char **argv, struct words *ret_words)
{
    struct option globals[GLOBAL_COUNT];
    struct option_tables tables = { use->options, globals, use->option_count, GLOBAL_COUNT };
    struct err err = { 0 };

    global_options(cli, globals);
    if (options_parse(&tables, argc, argv, false, ret_words, &err) < 0)
        return cli_misuse(cli, use->command, "%s", err.text);
    if (cli->help) {
        print_command_help(cli, use);
        return EXIT_OK;
    }
    if (ret_words->count < use->least)
        return cli_misuse(cli, use->command, "an argument is missing");
    if (ret_words->count > use->most)
        return cli_misuse(cli, use->command, "'%.60s' is one argument too many", ret_words->list[use->most]);
    return -1;
}

size_t cli_distance(const char *a, const char *b, size_t limit)
{
    size_t row[33], a_len = strlen(a), b_len = strlen(b);

    if (a_len > 32 || b_len > 32)
        return limit;
    for (size_t k = 0; k <= b_len; k++)
        row[k] = k;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t k = 1; k <= b_len; k++) {
            size_t change = diagonal + (a[i - 1] != b[k - 1]);
            size_t least = row[k] < row[k - 1] ? row[k] + 1 : row[k - 1] + 1;

            diagonal = row[k];
            row[k] = change < least ? change : least;
        }
    }
    return row[b_len] < limit ? row[b_len] : limit;
}

static int unknown_command(struct cli *cli, const char *name)
{
    struct err err = { 0 };
    const char *nearest = NULL;
    size_t best = 3;

    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        size_t distance = cli_distance(name, commands[i]->name, best);

        if (distance < best) {
            best = distance;
            nearest = commands[i]->name;
        }
    }
    (void)err_set(&err, ERR_INVALID, 0, "there is no command '%.60s'", name);
    if (nearest)
        cli_hint(cli, "did you mean: irori %s", nearest);
    else
        cli_hint(cli, "irori --help lists the commands");
    (void)cli_fail(cli, &err);
    return EXIT_USAGE;
}

static int run_command(struct cli *cli, int argc, char **argv)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(argv[0], commands[i]->name) != 0)
            continue;
        if (commands[i]->run)
            return commands[i]->run(cli, argc - 1, argv + 1);
        return cli_misuse(cli, commands[i], "'%s' must be the first argument", argv[0]);
    }
    return unknown_command(cli, argv[0]);
}

/* Global options may stand in front of the command, too. */
static int parse_and_run(struct cli *cli, int argc, char **argv)
{
    struct option options[GLOBAL_COUNT + 1] = { 0 };
    struct option_tables tables = { NULL, options, 0, GLOBAL_COUNT + 1 };
    struct words words;
    struct err err = { 0 };
    int used;

    global_options(cli, options);
    options[GLOBAL_COUNT] = (struct option){ "version", 'V', OPTION_FLAG, &cli->version, NULL, "" };
    used = options_parse(&tables, argc, argv, true, &words, &err);
    if (used < 0) {
        cli_hint(cli, "irori --help lists the commands and options");
        (void)cli_fail(cli, &err);
        return EXIT_USAGE;
    }
    if (cli->version) {
        (void)printf("irori %s\n", IRORI_VERSION);
        return EXIT_OK;
    }
    if (used < argc && strcmp(argv[used], "help") == 0)
        cli->help = true;
    else if (used < argc)
        return run_command(cli, argc - used, argv + used);
    print_help(cli, cli->help ? stdout : stderr);
    return cli->help ? EXIT_OK : EXIT_USAGE;
}

int cli_main(int argc, char **argv)
{
    const char *no_colour = getenv("NO_COLOR");
    bool colour = !no_colour || no_colour[0] == '\0';
    struct cli cli = { .terminal_out = isatty(STDOUT_FILENO) == 1,
                       .terminal_err = isatty(STDERR_FILENO) == 1 };
    int status;

    cli.colour_out = colour && cli.terminal_out;
    cli.colour_err = colour && cli.terminal_err;
    status = parse_and_run(&cli, argc - 1, argv + 1);
    cli.client = client_free(cli.client);
    /* A full disk or a closed pipe behind standard output is a failure. */
    if (fflush(stdout) != 0 && status == EXIT_OK)
        status = EXIT_FAILED;
    return status;
}
