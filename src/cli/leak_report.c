#include "cli/leak_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "cli/cli_priv.h"
#include "cli/client.h"
#include "cli/leaks.h"

enum {
    INVOKE_TIMEOUT_S = 960,
    MAX_EVENT_BYTES = 6 << 20,
    MAX_VALUES_BYTES = 256 * 1024,
    MORE = 4, /* of B's, twice, to see what grows */
    CALLS = 4 + 2 * MORE,
    LOG_PAGE = 10000,
    TEMPLATE_POLL_MS = 200,
    TEMPLATE_WAIT_MS = 150000, /* a little more than INIT may take */
};

/* An environment of ours. */
struct room {
    char uuid[40];
    cJSON *leaves; /* of its first answer to B */
    cJSON *inspection;
    char *stream;
};

struct run {
    struct cli *cli;
    const struct leak_options *options;
    char *name;          /* the function's own, without a qualifier */
    const char *version; /* all environments are of one, also behind an alias with weights */
    char executed[65];
    char *a, *b; /* events, as they are sent */
    cJSON *event_b;
    struct leak_values values;
    bool cut; /* an answer of more than can be looked at */
    struct room fresh, other, used;
    cJSON *findings;
    bool clean, tenants; /* what the function has: clean state, tenants */
};

static void room_done(struct room *room)
{
    cJSON_Delete(room->leaves);
    cJSON_Delete(room->inspection);
    free(room->stream);
}

static void run_done(struct run *run)
{
    free(run->name);
    free(run->a);
    free(run->b);
    cJSON_Delete(run->event_b);
    leak_values_done(&run->values);
    room_done(&run->fresh);
    room_done(&run->other);
    room_done(&run->used);
    cJSON_Delete(run->findings);
}

/* ---- events ---- */

static int read_event(const char *path, cJSON **ret_event, struct err *err)
{
    AUTO_BUF struct buf text = BUF_INIT(MAX_EVENT_BYTES);
    int result = cli_read_file(path, &text, err);

    if (result < 0)
        return result;
    *ret_event = text.len > 0 ? cJSON_ParseWithLength(text.data, text.len) : NULL;
    return *ret_event ? 0 : err_set(err, ERR_INVALID, 0, "%.200s is no JSON", path);
}

static int make_events(struct run *run, struct err *err)
{
    const struct option_list *files = run->options->events;
    AUTO_JSON *a = NULL;
    int result = 0;

    if (files->count == 2) {
        result = read_event(files->items[0], &a, err);
        if (result == 0)
            result = read_event(files->items[1], &run->event_b, err);
    } else {
        a = leak_event();
        run->event_b = leak_event();
    }
    if (result < 0)
        return result;
    run->a = cJSON_PrintUnformatted(a);
    run->b = cJSON_PrintUnformatted(run->event_b);
    if (!run->a || !run->b || leak_values_read(a, run->event_b, &run->values) < 0)
        return err_set(err, ERR_SYSTEM, 0, "out of memory");
    if (run->values.needle_count == 0)
        return err_set(err, ERR_INVALID, 0,
                       "event A has no value of six characters or more that is not in event B, too");
    return 0;
}

/* ---- talking to the server ---- */

/* What the function is. */
static int look_up(struct run *run, struct err *err)
{
    AUTO_BUF struct buf path = BUF_INIT(2048), query = BUF_INIT(1024);
    const char *qualifier = run->options->qualifier;
    struct request request = { .method = "GET" };
    AUTO_JSON *json = NULL;
    const cJSON *config;
    int result;

    request.path = client_path(&path, "/2015-03-31/functions/", run->options->name, "");
    request.query = qualifier ? client_path(&query, "Qualifier=", qualifier, "") : NULL;
    if (!request.path || (qualifier && !request.query))
        return err_set(err, ERR_INVALID, 0, "the name is too long");
    result = client_call(run->cli, &request, &json, err);
    if (result < 0)
        return result;
    config = cJSON_GetObjectItemCaseSensitive(json, "Configuration");
    run->clean =
        strcmp(json_text(cJSON_GetObjectItemCaseSensitive(json, "Tags"), "irori:state", ""), "clean") == 0;
    run->tenants = cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(config, "TenancyConfig"));
    run->name = strdup(json_text(config, "FunctionName", run->options->name));
    if (!run->name)
        return err_set(err, ERR_SYSTEM, 0, "out of memory");
    if (run->tenants && !run->options->tenant_id)
        return err_set(err, ERR_INVALID, 0,
                       "the function serves tenants: name a made-up one with --tenant-id");
    return 0;
}

/* Also an error of the function is one here: nothing can be told from it. */
static int send_event(struct run *run, struct room *room, const char *event, struct response *ret_response,
                      struct err *err)
{
    AUTO_BUF struct buf path = BUF_INIT(2048), query = BUF_INIT(1024), tenant = BUF_INIT(CLIENT_TENANT_BYTES);
    const char *tenant_id = run->options->tenant_id;
    char header[80];
    struct request request = { .method = "POST", .timeout_s = INVOKE_TIMEOUT_S };
    int result = tenant_id ? client_tenant_header(tenant_id, &tenant, err) : 0;

    if (result < 0)
        return result;
    (void)snprintf(header, sizeof header, "X-Irori-Environment: %s", *room->uuid ? room->uuid : "new");
    request.path = client_path(&path, "/2015-03-31/functions/",
                               *run->executed ? run->name : run->options->name, "/invocations");
    request.query = run->version ? client_path(&query, "Qualifier=", run->version, "") : NULL;
    if (!request.path || (run->version && !request.query))
        return err_set(err, ERR_INVALID, 0, "the name is too long");
    request.body = event;
    request.body_len = strlen(event);
    request.headers[0] = "Content-Type: application/json";
    request.headers[1] = "X-Amz-Log-Type: Tail"; /* the answer comes when the request is over */
    request.headers[2] = header;
    request.headers[3] = tenant_id ? tenant.data : NULL;
    result = client_send(run->cli, &request, ret_response, err);
    if (result < 0)
        return result;
    if (ret_response->status >= 300)
        return client_error(run->cli, ret_response, err);
    /* Texts end at a NUL, and what is behind it counts, too. */
    for (size_t i = 0; i < ret_response->body.len; i++)
        if (!ret_response->body.data[i])
            ret_response->body.data[i] = ' ';
    (void)snprintf(room->uuid, sizeof room->uuid, "%s", ret_response->environment);
    (void)snprintf(run->executed, sizeof run->executed, "%s", ret_response->executed_version);
    run->version = run->executed;
    if (ret_response->function_error[0] != '\0') {
        AUTO_BUF struct buf shown = BUF_INIT(4096);

        leak_excerpt(&run->values, ret_response->body.data ? ret_response->body.data : "", &shown);
        return err_set(err, ERR_SYSTEM, 0, "the function failed: %.300s", shown.data ? shown.data : "");
    }
    if (!*room->uuid)
        return err_set(err, ERR_SYSTEM, 0, "the server knows no reserved environments: it is too old");
    return 0;
}

static int inspect(struct run *run, struct room *room, struct err *err)
{
    AUTO_BUF struct buf path = BUF_INIT(256), body = BUF_INIT(MAX_VALUES_BYTES);
    AUTO_JSON *json = NULL;
    struct request request = { .method = "POST" };
    int result;

    (void)buf_puts(&body, "{\"values\":[");
    for (size_t i = 0; i < run->values.needle_count; i++) {
        const char *text = run->values.needles[i].text;

        (void)buf_puts(&body, i > 0 ? "," : "");
        (void)buf_json_string(&body, text, strlen(text));
    }
    (void)buf_puts(&body, "]}");
    request.path = client_path(&path, "/_irori/environments/", room->uuid, "/inspect");
    request.body = body.data;
    request.body_len = body.len;
    if (!request.path || body.failed)
        return err_set(err, ERR_SYSTEM, 0, "out of memory");
    result = client_call(run->cli, &request, &json, err);
    if (result < 0)
        return result;
    cJSON_Delete(room->inspection);
    room->inspection = cJSON_DetachItemFromObjectCaseSensitive(json, "inspection");
    free(room->stream);
    room->stream = strdup(json_text(json, "logStream", ""));
    return room->inspection && room->stream ? 0 : err_set(err, ERR_SYSTEM, 0, "the server's answer is odd");
}

/* Best effort: it ends by itself when it is idle for long. */
static void leave(struct run *run, const struct room *room)
{
    AUTO_BUF struct buf path = BUF_INIT(256);
    struct request request = { .method = "DELETE" };
    struct err err = { 0 };

    if (!*room->uuid)
        return;
    request.path = client_path(&path, "/_irori/environments/", room->uuid, "");
    if (request.path)
        (void)client_call(run->cli, &request, NULL, &err);
}

static int fetch_log(struct run *run, const char *query, cJSON **ret_json, struct err *err)
{
    AUTO_BUF struct buf path = BUF_INIT(1024);
    struct request request = { .method = "GET", .query = query };

    request.path = client_path(&path, "/_irori/functions/", run->name, "/logs");
    return client_call(run->cli, &request, ret_json, err);
}

static int log_end(struct run *run, double *ret_cursor, struct err *err)
{
    AUTO_JSON *json = NULL;
    int result = fetch_log(run, "tail=1", &json, err);

    *ret_cursor = json_number(json, "next", 0);
    return result;
}

/* Calls each() with what this environment has logged from the cursor on. */
static int each_line(struct run *run, const struct room *room, double cursor,
                     void (*each)(struct run *run, const char *line), struct err *err)
{
    int result = 0, got = 1;

    while (result == 0 && got > 0) {
        AUTO_JSON *json = NULL;
        const cJSON *event;
        char query[80];

        (void)snprintf(query, sizeof query, "cursor=%.0f&max=%d", cursor, LOG_PAGE);
        result = fetch_log(run, query, &json, err);
        got = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "events"));
        cJSON_ArrayForEach(event, cJSON_GetObjectItemCaseSensitive(json, "events"))
        {
            if (strcmp(json_text(event, "stream", ""), room->stream) == 0)
                each(run, json_text(event, "message", ""));
        }
        cursor = json_number(json, "next", 0);
    }
    return result;
}

static void forget_line(struct run *run, const char *line)
{
    leak_values_forget(&run->values, line, strlen(line));
}

static void look_at_line(struct run *run, const char *line)
{
    leak_in_log(&run->values, line, run->findings);
}

/* ---- the run ---- */

/* B in an environment that nothing else was sent to. What it shows does not come from A. */
static int visit_fresh(struct run *run, struct room *room, struct err *err)
{
    AUTO_RESPONSE response = { 0 };
    double cursor = 0;
    int result = log_end(run, &cursor, err);

    cli_note(run->cli, "Calling with B in a fresh environment");
    if (result == 0)
        result = send_event(run, room, run->b, &response, err);
    if (result == 0)
        result = inspect(run, room, err);
    if (result == 0)
        result = each_line(run, room, cursor, forget_line, err);
    if (result < 0)
        return result;
    cJSON_Delete(room->leaves);
    room->leaves = leak_leaves(response.body.data ? response.body.data : "", response.body.len);
    leak_values_forget(&run->values, response.body.data ? response.body.data : "", response.body.len);
    for (const cJSON *leaf = room->leaves ? room->leaves->child : NULL; leaf; leaf = leaf->next)
        leak_values_forget(&run->values, leaf->valuestring, strlen(leaf->valuestring));
    leak_forget_files(&run->values, room->inspection);
    return 0;
}

/* The version's own template, borrowed from *ret_json; NULL when it has none. */
static const cJSON *own_template(struct run *run, cJSON **ret_json)
{
    struct request request = { .method = "GET", .path = "/_irori/templates" };
    const cJSON *template;
    struct err err = { 0 };

    if (client_call(run->cli, &request, ret_json, &err) < 0)
        return NULL;
    cJSON_ArrayForEach(template, cJSON_GetObjectItemCaseSensitive(*ret_json, "templates"))
    {
        if (strcmp(json_text(template, "function", ""), run->name) == 0 &&
            strcmp(json_text(template, "version", ""), run->executed) == 0)
            return template;
    }
    return NULL;
}

static bool is_clone_of_version(struct run *run, const struct room *room)
{
    struct request request = { .method = "GET", .path = "/_irori/environments" };
    AUTO_JSON *json = NULL;
    const cJSON *environment;
    struct err err = { 0 };

    if (client_call(run->cli, &request, &json, &err) < 0)
        return false;
    cJSON_ArrayForEach(environment, cJSON_GetObjectItemCaseSensitive(json, "environments"))
    {
        if (strcmp(json_text(environment, "id", ""), room->uuid) == 0)
            return strcmp(json_text(environment, "cloneOf", ""), "version") == 0;
    }
    return false;
}

/* A template in this state will be ready, or found unfit, without anybody's doing. */
static bool is_on_its_way(const char *state)
{
    static const char *const states[] = { "starting", "loading", "capturing", "proving", "watching" };

    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        if (strcmp(state, states[i]) == 0)
            return true;
    }
    return false;
}

/* Waits while the version's template is being made. Returns whether there is one then. */
static bool wait_for_template(struct run *run)
{
    const struct timespec pause = { .tv_nsec = TEMPLATE_POLL_MS * 1000000L };
    uint64_t deadline_us = clock_us() + TEMPLATE_WAIT_MS * 1000ULL;

    for (bool told = false; clock_us() < deadline_us; told = true) {
        AUTO_JSON *json = NULL;
        const char *state = json_text(own_template(run, &json), "state", "");

        if (!is_on_its_way(state))
            return strcmp(state, "ready") == 0;
        if (!told)
            cli_note(run->cli, "Waiting for the template of version %s", run->executed);
        (void)nanosleep(&pause, NULL);
    }
    return false;
}

/* The call may be what the version's template is made for; and only clones of it show what they share. */
static int visit_first(struct run *run, struct err *err)
{
    int result = visit_fresh(run, &run->fresh, err);

    if (result < 0 || !wait_for_template(run) || is_clone_of_version(run, &run->fresh))
        return result;
    leave(run, &run->fresh);
    run->fresh.uuid[0] = '\0';
    return visit_fresh(run, &run->fresh, err);
}

/* What the used environment has shown, kept until it is known what is A's. */
struct seen {
    cJSON *answers; /* strings */
    cJSON *after_a, *after_b, *after_more;
    double log_from;
};

static void seen_done(struct seen *seen)
{
    cJSON_Delete(seen->answers);
    cJSON_Delete(seen->after_a);
    cJSON_Delete(seen->after_b);
    cJSON_Delete(seen->after_more);
}

static int send_b(struct run *run, unsigned times, struct seen *seen, struct err *err)
{
    int result = 0;

    for (unsigned i = 0; i < times && result == 0; i++) {
        AUTO_RESPONSE response = { 0 };

        result = send_event(run, &run->used, run->b, &response, err);
        /* An error of the function is an answer, too. */
        if (result == 0 || response.function_error[0] != '\0')
            (void)cJSON_AddItemToArray(seen->answers,
                                       cJSON_CreateString(response.body.data ? response.body.data : ""));
    }
    return result;
}

static int visit_used(struct run *run, struct seen *seen, struct err *err)
{
    AUTO_RESPONSE response = { 0 };
    struct room *room = &run->used;
    int result;

    cli_note(run->cli, "Calling with A, then with B, in one environment");
    result = send_event(run, room, run->a, &response, err);
    if (result == 0)
        result = inspect(run, room, err);
    if (result == 0)
        result = log_end(run, &seen->log_from, err);
    if (result < 0)
        return result;
    seen->after_a = room->inspection;
    room->inspection = NULL;
    result = send_b(run, 1, seen, err);
    if (result == 0)
        result = inspect(run, room, err);
    if (result < 0)
        return result;
    seen->after_b = room->inspection;
    room->inspection = NULL;
    cli_note(run->cli, "Calling with B %d times more", 2 * MORE);
    result = send_b(run, MORE, seen, err);
    if (result == 0)
        result = inspect(run, room, err);
    if (result < 0)
        return result;
    seen->after_more = room->inspection;
    room->inspection = NULL;
    result = send_b(run, MORE, seen, err);
    return result < 0 ? result : inspect(run, room, err);
}

static void compare_answers(struct run *run, const struct seen *seen)
{
    const cJSON *answer;

    cJSON_ArrayForEach(answer, seen->answers)
    {
        size_t len = strlen(answer->valuestring);
        AUTO_JSON *leaves = leak_leaves(answer->valuestring, len);

        leak_in_answer(&run->values, leaves, answer->valuestring, len, run->findings);
        run->cut = run->cut || !leak_leaves_are_all(leaves);
        if (answer == seen->answers->child && run->other.leaves)
            leak_differences(&run->values, run->fresh.leaves, run->other.leaves, leaves, run->findings);
    }
}

static cJSON *add_note(struct run *run, const char *kind, const char *text)
{
    cJSON *note = cJSON_CreateObject();

    (void)cJSON_AddStringToObject(note, "kind", kind);
    (void)cJSON_AddStringToObject(note, "level", "note");
    (void)cJSON_AddStringToObject(note, "text", text);
    (void)cJSON_AddItemToArray(run->findings, note);
    return note;
}

static void note_limits(struct run *run)
{
    const cJSON *const inspections[] = { run->fresh.inspection, run->used.inspection };
    bool truncated = run->values.truncated;

    for (size_t i = 0; i < 2; i++)
        truncated = truncated || cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(inspections[i], "truncated"));
    if (truncated)
        (void)add_note(run, "limit", "there was more than could be looked at: some of it was left out");
}

/* Made-up events do not suit every function. */
static void note_status(struct run *run)
{
    const char *status = json_text(run->fresh.leaves, "$.statusCode", "");
    char text[200];

    if (status[0] != '4' && status[0] != '5')
        return;
    (void)snprintf(text, sizeof text,
                   "the function answered B with status %.3s: events that suit it (--event) tell more",
                   status);
    (void)add_note(run, "status", text);
}

/* What nobody meets but this report. */
static void note_apart(struct run *run)
{
    if (run->clean)
        (void)add_note(
            run, "clean-state",
            "the function has clean state: every request gets a fresh environment, so that what is "
            "found here in a reused one does not happen in production");
    if (run->tenants)
        (void)add_note(
            run, "tenants",
            "every environment of the function serves one tenant: only requests of the same tenant "
            "meet what is left");
}

/* Sockets that the function had open when its template was made. */
static void note_template(struct run *run)
{
    AUTO_JSON *json = NULL;
    double sockets = json_number(own_template(run, &json), "sockets", 0);
    char text[200];

    if (sockets < 1)
        return;
    (void)snprintf(text, sizeof text,
                   "%.0f socket%s open when the template was made: each clone must connect anew", sockets,
                   sockets > 1 ? "s were" : " was");
    (void)cJSON_AddNumberToObject(add_note(run, "template-sockets", text), "sockets", sockets);
}

/* What was seen until the function failed may be enough. */
static void salvage(struct run *run, const struct seen *seen, const struct err *why)
{
    struct err err = { 0 };

    if (!run->fresh.leaves)
        return;
    compare_answers(run, seen);
    if (run->used.stream && cJSON_GetArraySize(seen->answers) > 0)
        (void)each_line(run, &run->used, seen->log_from, look_at_line, &err);
    if (leak_any(run->findings, "leak"))
        (void)add_note(run, "incomplete", why->text);
}

static void judge(struct run *run, const struct seen *seen)
{
    compare_answers(run, seen);
    leak_in_files(&run->values, run->used.inspection, run->findings);
    leak_left(&run->values, run->fresh.inspection, seen->after_a, seen->after_b, run->findings);
    leak_growth(seen->after_b, seen->after_more, run->used.inspection, MORE, run->findings);
    leak_shared_random(run->fresh.leaves, run->other.leaves, run->event_b, run->findings);
    note_template(run);
    note_apart(run);
    note_status(run);
    note_limits(run);
}

/* The used one between the two fresh ones: what changes with time differs between these, too. */
static int investigate(struct run *run, struct err *err)
{
    struct seen seen = { .answers = cJSON_CreateArray() };
    int result = visit_first(run, err);

    if (result == 0)
        result = visit_used(run, &seen, err);
    if (result == 0)
        result = visit_fresh(run, &run->other, err);
    if (result == 0)
        result = each_line(run, &run->used, seen.log_from, look_at_line, err);
    if (result == 0)
        judge(run, &seen);
    else
        salvage(run, &seen, err);
    if (result == 0 && !leak_any(run->findings, "leak") && (run->values.truncated || run->cut))
        result = err_set(err, ERR_LIMIT, 0, "%s",
                         run->cut ? "an answer to B has more values than can be looked at"
                                  : "event A has more values than can be looked for: take a smaller one");
    leave(run, &run->fresh);
    leave(run, &run->used);
    leave(run, &run->other);
    seen_done(&seen);
    return result;
}

/* ---- telling ---- */

static bool agreed(const struct cli *cli, const struct leak_options *options)
{
    char answer[16] = "";

    (void)fprintf(
        stderr,
        "This really calls %s, %d times or once more, with %s. Whatever it does then, it does: mails,\n"
        "orders and rows in databases are yours to judge.\n",
        options->name, CALLS, options->events->count > 0 ? "your events" : "made-up requests");
    if (options->yes || !cli->terminal_err || isatty(STDIN_FILENO) != 1)
        return true;
    (void)fprintf(stderr, "Go on? [y/N] ");
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static void print_level(const struct cli *cli, const cJSON *findings, const char *level, const char *title,
                        enum cli_colour colour)
{
    const cJSON *finding;

    if (!leak_any(findings, level))
        return;
    (void)printf("%s%s%s\n", cli_colour(cli->colour_out, colour), title, cli_plain(cli->colour_out));
    cJSON_ArrayForEach(finding, findings)
    {
        const char *text = json_text(finding, "text", "");

        if (strcmp(json_text(finding, "level", ""), level) != 0)
            continue;
        (void)fputs("  - ", stdout);
        cli_print_safe(cli, stdout, text, strlen(text));
        (void)putchar('\n');
    }
    (void)putchar('\n');
}

static void print_report(const struct run *run, bool unknown)
{
    const struct cli *cli = run->cli;
    bool leak = leak_any(run->findings, "leak"), left = leak_any(run->findings, "left");

    (void)printf("%s (%s): A, then B in one environment, against B in fresh ones\n\n", run->options->name,
                 run->version);
    print_level(cli, run->findings, "leak", "Values of A reached B", COLOUR_RED);
    print_level(cli, run->findings, "left", "A left behind", COLOUR_YELLOW);
    print_level(cli, run->findings, "note", "Notes", COLOUR_DIM);
    if (leak && run->clean)
        (void)printf(
            "In a reused environment one caller would see what another has sent. Clean state gives every "
            "request a fresh one, so that it does not happen in production.\n");
    else if (leak)
        (void)printf(
            "One caller sees what another has sent. Keep nothing of a request outside the handler, or "
            "deploy with --clean-state.\n");
    else if (!unknown)
        (void)printf("No value of A reached B's answer or log%s.\n",
                     left ? "; what is left behind does not hurt by itself"
                          : ", and nothing was left behind");
}

static int print_json(const struct run *run, int status, const struct err *err)
{
    static const char *const verdicts[] = { "clean", "leak", "unknown" };
    AUTO_JSON *json = cJSON_CreateObject();

    (void)cJSON_AddStringToObject(json, "function", run->options->name);
    (void)cJSON_AddStringToObject(json, "version", run->version ? run->version : "");
    if (run->options->tenant_id)
        (void)cJSON_AddStringToObject(json, "tenantId", run->options->tenant_id);
    (void)cJSON_AddBoolToObject(json, "cleanState", run->clean);
    (void)cJSON_AddStringToObject(json, "verdict", verdicts[status]);
    if (status == LEAK_UNKNOWN)
        (void)cJSON_AddStringToObject(json, "reason", err->text);
    (void)cJSON_AddItemReferenceToObject(json, "findings", run->findings);
    return cli_print_json(json) == EXIT_OK ? status : LEAK_UNKNOWN;
}

/* A leak is one also when not everything could be looked at. */
static int finish(struct run *run, int result, const struct err *err)
{
    int status = leak_any(run->findings, "leak") ? LEAK_FOUND : result < 0 ? LEAK_UNKNOWN : LEAK_NONE;

    if (run->cli->json)
        return print_json(run, status, err);
    if (status != LEAK_UNKNOWN || cJSON_GetArraySize(run->findings) > 0)
        print_report(run, status == LEAK_UNKNOWN);
    if (status != LEAK_UNKNOWN)
        return status;
    (void)cli_fail(run->cli, err);
    (void)fprintf(stderr, "So it cannot be told what requests leave for each other.\n");
    return status;
}

int leak_report(struct cli *cli, const struct leak_options *options)
{
    struct run run = {
        .cli = cli, .options = options, .version = options->qualifier, .findings = cJSON_CreateArray()
    };
    struct err err = { 0 };
    int result = make_events(&run, &err), status;

    if (result == 0)
        result = look_up(&run, &err);
    if (result == 0 && !agreed(cli, options))
        result = err_set(&err, ERR_INVALID, 0, "nothing was called");
    if (result == 0)
        result = investigate(&run, &err);
    if (result < 0 && err.code == ERR_NOT_FOUND)
        cli_hint(cli, "irori ls lists the functions");
    status = finish(&run, result, &err);
    run_done(&run);
    return status;
}
