#include "cli/functions.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/text.h"
#include "cli/cli_priv.h"
#include "cli/client.h"

enum { WAIT_S = 300, FIRST_PAUSE_MS = 20, LONGEST_PAUSE_MS = 1000, MAX_PATH_BYTES = 2048 };

static const char url_statement[] = "FunctionURLAllowPublicAccess";

bool function_name_ok(const char *name)
{
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t len = strlen(name);

    return len > 0 && len < FUNCTION_NAME_BYTES && strspn(name, good) == len;
}

/* A call about one function. */
struct call {
    const char *method, *prefix, *suffix; /* around the name, in the path */
    const char *body;                     /* JSON; NULL: none */
};

static const char functions_path[] = "/2015-03-31/functions/";
static const char urls_path[] = "/2021-10-31/functions/";

static int send_call(struct cli *cli, const char *name, const struct call *call, cJSON **ret_json,
                     struct err *err)
{
    AUTO_BUF struct buf path = BUF_INIT(MAX_PATH_BYTES);
    struct request request = { .method = call->method,
                               .path = client_path(&path, call->prefix, name, call->suffix) };

    if (!request.path)
        return err_set(err, ERR_INVALID, 0, "the name is too long");
    if (call->body) {
        request.body = call->body;
        request.body_len = strlen(call->body);
        request.headers[0] = "Content-Type: application/json";
    }
    return client_call(cli, &request, ret_json, err);
}

int function_get(struct cli *cli, const char *name, cJSON **ret_json, struct err *err)
{
    int result =
        send_call(cli, name, &(struct call){ "GET", functions_path, "/configuration", NULL }, ret_json, err);

    if (result < 0 && err->code == ERR_NOT_FOUND)
        cli_hint(cli, "irori ls lists the functions");
    return result;
}

static void pause_ms(unsigned ms)
{
    struct timespec time = { ms / 1000, (long)(ms % 1000) * 1000000 };

    (void)nanosleep(&time, NULL);
}

/* 1: done, 0: not yet, negative: failed. */
static int is_settled(const cJSON *json, struct err *err)
{
    const char *state = json_text(json, "State", "Active");
    const char *update = json_text(json, "LastUpdateStatus", "Successful");

    if (strcmp(state, "Failed") == 0)
        return err_set(err, ERR_SYSTEM, 0, "the function failed: %s",
                       json_text(json, "StateReason", "no reason given"));
    if (strcmp(update, "Failed") == 0)
        return err_set(err, ERR_SYSTEM, 0, "the update failed: %s",
                       json_text(json, "LastUpdateStatusReason", "no reason given"));
    return strcmp(state, "Pending") != 0 && strcmp(update, "InProgress") != 0;
}

int function_wait(struct cli *cli, const char *name, cJSON **ret_json, struct err *err)
{
    uint64_t deadline = clock_us() + (uint64_t)WAIT_S * 1000000;
    unsigned pause = FIRST_PAUSE_MS;

    for (;;) {
        AUTO_JSON *json = NULL;
        int result = function_get(cli, name, &json, err);

        if (result == 0)
            result = is_settled(json, err);
        if (result < 0)
            return result;
        if (result > 0) {
            if (ret_json)
                *ret_json = TAKE_PTR(json);
            return 0;
        }
        if (clock_us() > deadline)
            return err_set(err, ERR_SYSTEM, 0, "the function was not ready after %d s; its state is %s",
                           WAIT_S, json_text(json, "State", "unknown"));
        pause_ms(pause);
        pause = pause * 2 < LONGEST_PAUSE_MS ? pause * 2 : LONGEST_PAUSE_MS;
    }
}

static int url_call(struct cli *cli, const char *method, const char *name, const char *body, cJSON **ret_json,
                    struct err *err)
{
    return send_call(cli, name, &(struct call){ method, urls_path, "/url", body }, ret_json, err);
}

int function_url_get(struct cli *cli, const char *name, cJSON **ret_json, struct err *err)
{
    int result = url_call(cli, "GET", name, NULL, ret_json, err);

    if (result == 0 || err->code != ERR_NOT_FOUND)
        return result;
    *err = (struct err){ 0 };
    *ret_json = NULL;
    return 0;
}

static int allow_everybody(struct cli *cli, const char *name, struct err *err)
{
    char body[256];
    int result;

    (void)snprintf(body, sizeof body,
                   "{\"StatementId\":\"%s\",\"Action\":\"lambda:InvokeFunctionUrl\",\"Principal\":\"*\","
                   "\"FunctionUrlAuthType\":\"NONE\"}",
                   url_statement);
    result = send_call(cli, name, &(struct call){ "POST", functions_path, "/policy", body }, NULL, err);
    /* The statement is there from an earlier time. */
    if (result < 0 && err->code == ERR_CONFLICT) {
        *err = (struct err){ 0 };
        return 0;
    }
    return result;
}

int function_url_open(struct cli *cli, const char *name, struct buf *ret_url, struct err *err)
{
    static const char body[] = "{\"AuthType\":\"NONE\"}";
    AUTO_JSON *json = NULL;
    int result = function_url_get(cli, name, &json, err);

    if (result == 0 && !json)
        result = url_call(cli, "POST", name, body, &json, err);
    else if (result == 0 && strcmp(json_text(json, "AuthType", ""), "NONE") != 0)
        result = url_call(cli, "PUT", name, body, NULL, err);
    if (result == 0)
        result = allow_everybody(cli, name, err);
    if (result < 0)
        return result;
    (void)buf_puts(ret_url, json_text(json, "FunctionUrl", ""));
    return 0;
}

int function_url_close(struct cli *cli, const char *name, struct err *err)
{
    char suffix[64];
    int result = url_call(cli, "DELETE", name, NULL, NULL, err);

    if (result < 0)
        return result;
    (void)snprintf(suffix, sizeof suffix, "/policy/%s", url_statement);
    result = send_call(cli, name, &(struct call){ "DELETE", functions_path, suffix, NULL }, NULL, err);
    /* Nobody had been let in. */
    if (result < 0 && err->code == ERR_NOT_FOUND) {
        *err = (struct err){ 0 };
        return 0;
    }
    return result;
}

static int tag_change(struct cli *cli, const char *path, const char *key, const char *value, struct err *err)
{
    AUTO_BUF struct buf query = BUF_INIT(1024);
    AUTO_JSON *json = NULL;
    AUTO_FREE char *body = NULL;
    struct request request = { .method = "DELETE", .path = path };

    if (!value) {
        request.query = client_path(&query, "tagKeys=", key, "");
        return client_call(cli, &request, NULL, err);
    }
    json = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(cJSON_AddObjectToObject(json, "Tags"), key, value);
    body = cJSON_PrintUnformatted(json);
    if (!body)
        return err_set(err, ERR_SYSTEM, ENOMEM, "request");
    request.method = "POST";
    request.body = body;
    request.body_len = strlen(body);
    request.headers[0] = "Content-Type: application/json";
    return client_call(cli, &request, NULL, err);
}

int function_tag(struct cli *cli, const char *arn, const char *key, const char *value, bool *ret_changed,
                 struct err *err)
{
    AUTO_BUF struct buf path = BUF_INIT(MAX_PATH_BYTES);
    AUTO_JSON *json = NULL;
    struct request request = { .method = "GET", .path = client_path(&path, "/2017-03-31/tags/", arn, "") };
    int result = client_call(cli, &request, &json, err);
    const char *present;

    *ret_changed = false;
    if (result < 0)
        return result;
    present = json_text(cJSON_GetObjectItemCaseSensitive(json, "Tags"), key, NULL);
    if (present && value ? strcmp(present, value) == 0 : present == value)
        return 0;
    result = tag_change(cli, path.data, key, value, err);
    *ret_changed = result == 0;
    return result;
}

int server_runtimes(struct cli *cli, cJSON **ret_json, struct err *err)
{
    struct request request = { .method = "GET", .path = "/_irori/runtimes" };

    return client_call(cli, &request, ret_json, err);
}
