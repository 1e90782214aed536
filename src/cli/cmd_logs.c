#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/text.h"
#include "cli/cli_priv.h"
#include "cli/client.h"
#include "cli/functions.h"

enum { DEFAULT_EVENTS = 100, MAX_EVENTS = 100000, PAGE_EVENTS = 1000, POLL_MS = 300 };

struct logs_options {
    const char *name;
    bool follow, timestamps;
    struct option_number count;
};

/* cursor NULL: the last tail events. */
static int fetch(struct cli *cli, const struct logs_options *options, const char *cursor, uint64_t tail,
                 cJSON **ret_json, struct err *err)
{
    AUTO_BUF struct buf path = BUF_INIT(1024);
    struct request request = { .method = "GET" };
    char query[128];

    request.path = client_path(&path, "/_irori/functions/", options->name, "/logs");
    if (!request.path)
        return err_set(err, ERR_INVALID, 0, "the name is too long");
    if (cursor)
        (void)snprintf(query, sizeof query, "cursor=%s&max=%d", cursor, PAGE_EVENTS);
    else
        (void)snprintf(query, sizeof query, "tail=%" PRIu64 "&max=%" PRIu64, tail,
                       tail > PAGE_EVENTS ? tail : PAGE_EVENTS);
    request.query = query;
    return client_call(cli, &request, ret_json, err);
}

/* '\r' is a line break inside an event. */
static void print_message(const struct cli *cli, const char *text)
{
    for (size_t len; *text != '\0'; text += len) {
        len = strcspn(text, "\r");
        cli_print_safe(cli, stdout, text, len);
        if (text[len] == '\r') {
            (void)putchar('\n');
            len++;
        }
    }
    (void)putchar('\n');
}

static bool is_platform_line(const char *message)
{
    return text_starts(message, "START RequestId:") || text_starts(message, "END RequestId:") ||
           text_starts(message, "REPORT RequestId:") || text_starts(message, "INIT_START ") ||
           text_starts(message, "INIT_REPORT ");
}

static void print_event(struct cli *cli, const struct logs_options *options, const cJSON *event)
{
    const char *message = json_text(event, "message", "");
    bool dim = cli->colour_out && is_platform_line(message);
    char time[CLOCK_ISO_BYTES];

    if (cli->json) {
        char *text = cJSON_PrintUnformatted(event);

        (void)printf("%s\n", text ? text : "{}");
        cJSON_free(text);
        return;
    }
    if (options->timestamps) {
        clock_iso((uint64_t)json_number(event, "timestamp", 0), time);
        (void)printf("%s%s%s ", cli_colour(cli->colour_out, COLOUR_DIM), time, cli_plain(cli->colour_out));
    }
    (void)fputs(cli_colour(dim, COLOUR_DIM), stdout);
    print_message(cli, message);
    (void)fputs(cli_plain(dim), stdout);
}

static size_t print_events(struct cli *cli, const struct logs_options *options, const cJSON *json)
{
    const cJSON *event = NULL;
    size_t count = 0;

    cJSON_ArrayForEach(event, cJSON_GetObjectItemCaseSensitive(json, "events"))
    {
        print_event(cli, options, event);
        count++;
    }
    return count;
}

static void next_cursor(const cJSON *json, char *cursor, size_t size)
{
    (void)snprintf(cursor, size, "%.0f", json_number(json, "next", 0));
}

/* Prints what comes until something fails; an interrupt ends the program. */
static int follow(struct cli *cli, const struct logs_options *options, const char *start, struct err *err)
{
    char cursor[32];

    (void)snprintf(cursor, sizeof cursor, "%s", start);
    for (;;) {
        const struct timespec pause = { 0, (long)POLL_MS * 1000000 };
        AUTO_JSON *json = NULL;
        int result = fetch(cli, options, cursor, 0, &json, err);
        size_t count;

        if (result < 0)
            return result;
        count = print_events(cli, options, json);
        if (fflush(stdout) != 0)
            return 0;
        next_cursor(json, cursor, sizeof cursor);
        if (count == 0)
            (void)nanosleep(&pause, NULL);
    }
}

/* Moves the events of page behind those of json. */
static void merge(cJSON *json, cJSON *page)
{
    cJSON *events = cJSON_GetObjectItemCaseSensitive(json, "events");
    cJSON *more = cJSON_GetObjectItemCaseSensitive(page, "events");

    while (cJSON_GetArraySize(more) > 0)
        (void)cJSON_AddItemToArray(events, cJSON_DetachItemFromArray(more, 0));
    (void)cJSON_ReplaceItemInObjectCaseSensitive(json, "next",
                                                 cJSON_CreateNumber(json_number(page, "next", 0)));
}

/* The last events: an answer holds about 1 MiB, so it may take several. */
static int fetch_tail(struct cli *cli, const struct logs_options *options, uint64_t wanted, cJSON **ret_json,
                      struct err *err)
{
    AUTO_JSON *json = NULL;
    int result = fetch(cli, options, NULL, wanted, &json, err), got;

    got = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "events"));
    for (int all = got; result == 0 && got > 0 && (uint64_t)all < wanted; all += got) {
        AUTO_JSON *page = NULL;
        char cursor[32];

        next_cursor(json, cursor, sizeof cursor);
        result = fetch(cli, options, cursor, 0, &page, err);
        got = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(page, "events"));
        if (result == 0 && got > 0)
            merge(json, page);
    }
    if (result == 0)
        *ret_json = TAKE_PTR(json);
    return result;
}

/* An unknown function has no events, just as one that was never called. */
static int check_exists(struct cli *cli, const char *name, struct err *err)
{
    AUTO_JSON *json = NULL;

    return function_get(cli, name, &json, err);
}

static int show(struct cli *cli, const struct logs_options *options, struct err *err, int *ret_status)
{
    uint64_t wanted = options->count.given ? options->count.value : DEFAULT_EVENTS;
    AUTO_JSON *json = NULL;
    char cursor[32];
    int result = fetch_tail(cli, options, wanted < MAX_EVENTS ? wanted : MAX_EVENTS, &json, err);

    if (result == 0 && cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "events")) == 0)
        result = check_exists(cli, options->name, err);
    if (result < 0)
        return result;
    if (cli->json && !options->follow) {
        *ret_status = cli_print_json(json);
        return 0;
    }
    (void)print_events(cli, options, json);
    next_cursor(json, cursor, sizeof cursor);
    *ret_status = EXIT_OK;
    return options->follow ? follow(cli, options, cursor, err) : 0;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct logs_options logs = { 0 };
    const struct option options[] = {
        { "follow", 'f', OPTION_FLAG, &logs.follow, NULL, "go on with what comes, until interrupted" },
        { "lines", 'n', OPTION_NUMBER, &logs.count, "COUNT", "how many of the last events (else 100)" },
        { "timestamps", 't', OPTION_FLAG, &logs.timestamps, NULL, "show the time of each event (UTC)" },
    };
    struct words words;
    struct err err = { 0 };
    int status =
        cli_begin(cli, &(struct cli_use){ &cmd_logs, options, sizeof options / sizeof options[0], 1, 1 },
                  argc, argv, &words);

    if (status >= 0)
        return status;
    logs.name = words.list[0];
    if (show(cli, &logs, &err, &status) < 0)
        return cli_fail(cli, &err);
    return status;
}

const struct cli_command cmd_logs = {
    .name = "logs",
    .usage = "irori logs NAME [-f] [-n COUNT] [--timestamps]",
    .summary = "show what a function wrote",
    .details = "--json prints {\"events\":[{\"timestamp\",\"stream\",\"message\"}],\"next\"}, and with -f "
               "one event per line.",
    .run = run,
};
