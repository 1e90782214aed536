#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/cli_priv.h"
#include "cli/client.h"

enum {
    MAX_PAYLOAD_BYTES = 8 * 1024 * 1024,
    INVOKE_TIMEOUT_S = 960,
    MAX_CONTEXT_BYTES = 16 * 1024,
    MAX_LOG_BYTES = 64 * 1024
};

struct invoke {
    const char *name, *payload, *qualifier, *context, *tenant_id;
    bool tail;
};

/* JSON, @file, or - for standard input. */
static int read_payload(const char *payload, struct buf *out, struct err *err)
{
    if (!payload)
        return 0;
    if (strcmp(payload, "-") == 0)
        return cli_read_file("-", out, err);
    if (payload[0] == '@')
        return cli_read_file(payload + 1, out, err);
    return buf_puts(out, payload) < 0 ? err_set(err, ERR_LIMIT, 0, "the payload is too large") : 0;
}

static int context_header(const char *context, struct buf *out, struct err *err)
{
    AUTO_JSON *json = cJSON_Parse(context);

    if (!json)
        return err_set(err, ERR_INVALID, 0, "the client context is no JSON: '%.100s'", context);
    (void)buf_puts(out, "X-Amz-Client-Context: ");
    return text_base64_encode(context, strlen(context), out) < 0
               ? err_set(err, ERR_LIMIT, 0, "the client context is too large")
               : 0;
}

static int send_invoke(struct cli *cli, const struct invoke *invoke, struct response *ret_response,
                       struct err *err)
{
    AUTO_BUF struct buf payload = BUF_INIT(MAX_PAYLOAD_BYTES), path = BUF_INIT(2048), query = BUF_INIT(1024);
    AUTO_BUF struct buf context = BUF_INIT(MAX_CONTEXT_BYTES), tenant = BUF_INIT(CLIENT_TENANT_BYTES);
    struct request request = { .method = "POST", .timeout_s = INVOKE_TIMEOUT_S };
    size_t headers = 0;
    int result = read_payload(invoke->payload, &payload, err);

    if (result == 0 && invoke->context)
        result = context_header(invoke->context, &context, err);
    if (result == 0 && invoke->tenant_id)
        result = client_tenant_header(invoke->tenant_id, &tenant, err);
    if (result < 0)
        return result;
    request.path = client_path(&path, "/2015-03-31/functions/", invoke->name, "/invocations");
    request.query = invoke->qualifier ? client_path(&query, "Qualifier=", invoke->qualifier, "") : NULL;
    if (!request.path || (invoke->qualifier && !request.query))
        return err_set(err, ERR_INVALID, 0, "the name is too long");
    request.body = payload.data;
    request.body_len = payload.len;
    request.headers[headers++] = "Content-Type: application/json";
    if (invoke->tail || cli->json)
        request.headers[headers++] = "X-Amz-Log-Type: Tail";
    if (invoke->context)
        request.headers[headers++] = context.data;
    if (invoke->tenant_id)
        request.headers[headers++] = tenant.data;
    result = client_send(cli, &request, ret_response, err);
    if (result == 0 && ret_response->status >= 300) {
        result = client_error(cli, ret_response, err);
        if (ret_response->status == 404)
            cli_hint(cli, "irori ls lists the functions");
    }
    return result;
}

static void decode_log(const struct response *response, struct buf *out)
{
    if (response->log_result.len > 0 &&
        text_base64_decode(response->log_result.data, response->log_result.len, out) < 0)
        buf_clear(out);
}

/* What a runtime puts below an error: Python's stackTrace, Node's trace. */
static void print_trace(const struct cli *cli, const cJSON *error)
{
    const cJSON *trace = cJSON_GetObjectItemCaseSensitive(error, "stackTrace"), *line = NULL;
    bool first = true;

    if (!cJSON_IsArray(trace))
        trace = cJSON_GetObjectItemCaseSensitive(error, "trace");
    cJSON_ArrayForEach(line, trace)
    {
        /* Node repeats "Error: text" as the first line. */
        bool repeated = first && cJSON_IsString(line) && !text_starts(line->valuestring, " ");

        first = false;
        if (!cJSON_IsString(line) || repeated)
            continue;
        cli_print_safe(cli, stderr, line->valuestring, strlen(line->valuestring));
        if (line->valuestring[0] == '\0' || line->valuestring[strlen(line->valuestring) - 1] != '\n')
            (void)fputc('\n', stderr);
    }
}

static void print_function_error(const struct cli *cli, const struct response *response)
{
    AUTO_JSON *json =
        response->body.data ? cJSON_ParseWithLength(response->body.data, response->body.len) : NULL;
    const char *type = json_text(json, "errorType", ""), *message = json_text(json, "errorMessage", NULL);

    if (!message) {
        type = "";
        message = response->body.data ? response->body.data : "";
    }
    (void)fprintf(stderr, "%sThe function failed%s", cli_colour(cli->colour_err, COLOUR_RED),
                  type[0] != '\0' ? " with " : "");
    cli_print_safe(cli, stderr, type, strlen(type));
    (void)fprintf(stderr, ":%s ", cli_plain(cli->colour_err));
    cli_print_safe(cli, stderr, message, strlen(message));
    (void)fputc('\n', stderr);
    print_trace(cli, json);
}

/* A payload that is no JSON (a function of its own runtime may answer anything) is shown as a string. */
static int print_json(const struct response *response, const char *log)
{
    const char *body = response->body.data ? response->body.data : "";
    AUTO_JSON *json = cJSON_CreateObject();
    cJSON *payload =
        response->body.len > 0 ? cJSON_ParseWithLength(body, response->body.len) : cJSON_CreateNull();

    (void)cJSON_AddNumberToObject(json, "statusCode", response->status);
    if (response->function_error[0] != '\0')
        (void)cJSON_AddStringToObject(json, "functionError", response->function_error);
    else
        (void)cJSON_AddNullToObject(json, "functionError");
    (void)cJSON_AddStringToObject(json, "executedVersion", response->executed_version);
    if (!cJSON_AddItemToObject(json, "payload", payload ? payload : cJSON_CreateString(body)))
        return EXIT_FAILED;
    (void)cJSON_AddStringToObject(json, "logTail", log);
    return cli_print_json(json);
}

static void print_log(const struct cli *cli, const struct buf *log)
{
    (void)fputs(cli_colour(cli->colour_err, COLOUR_DIM), stderr);
    cli_print_safe(cli, stderr, log->data, log->len);
    (void)fprintf(stderr, "%s%s", cli_plain(cli->colour_err), log->data[log->len - 1] == '\n' ? "" : "\n");
}

static int print_response(struct cli *cli, const struct invoke *invoke, const struct response *response)
{
    AUTO_BUF struct buf log = BUF_INIT(MAX_LOG_BYTES);
    bool failed = response->function_error[0] != '\0';
    int status = EXIT_OK;

    decode_log(response, &log);
    if (cli->json) {
        status = print_json(response, log.data ? log.data : "");
        return failed ? EXIT_FAILED : status;
    }
    if (invoke->tail && log.len > 0)
        print_log(cli, &log);
    if (failed) {
        print_function_error(cli, response);
        return EXIT_FAILED;
    }
    if (response->body.len > 0)
        cli_print_safe(cli, stdout, response->body.data, response->body.len);
    if (response->body.len == 0 || response->body.data[response->body.len - 1] != '\n')
        (void)fputc('\n', stdout);
    return status;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct invoke invoke = { 0 };
    const struct option options[] = {
        { "payload", 'p', OPTION_TEXT, &invoke.payload, "JSON|@FILE|-",
          "the event; - reads standard input (else {})" },
        { "qualifier", 'q', OPTION_TEXT, &invoke.qualifier, "NAME", "a version or alias" },
        { "tail", 0, OPTION_FLAG, &invoke.tail, NULL, "show the end of the invocation's log" },
        { "client-context", 0, OPTION_TEXT, &invoke.context, "JSON", "the client context" },
        { "tenant-id", 0, OPTION_TEXT, &invoke.tenant_id, "ID", "the tenant, for functions that have them" },
    };
    AUTO_RESPONSE response = { 0 };
    struct words words;
    struct err err = { 0 };
    int status =
        cli_begin(cli, &(struct cli_use){ &cmd_invoke, options, sizeof options / sizeof options[0], 1, 2 },
                  argc, argv, &words);

    if (status >= 0)
        return status;
    invoke.name = words.list[0];
    if (words.count == 2 && invoke.payload)
        return cli_misuse(cli, &cmd_invoke, "the payload was given twice");
    if (words.count == 2)
        invoke.payload = words.list[1];
    if (send_invoke(cli, &invoke, &response, &err) < 0)
        return cli_fail(cli, &err);
    return print_response(cli, &invoke, &response);
}

const struct cli_command cmd_invoke = {
    .name = "invoke",
    .usage = "irori invoke NAME [JSON|@FILE|-] [options]",
    .summary = "call a function and print its result",
    .details = "The exit status is 1 when the function failed.\n"
               "--json prints statusCode, functionError, executedVersion, payload and logTail.",
    .run = run,
};
