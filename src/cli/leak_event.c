/* Events with made-up secrets. */

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/id.h"
#include "cli/cli_priv.h"
#include "cli/leak_report.h"

enum { SECRET_BYTES = 21 };

static void make_secret(char out[static SECRET_BYTES])
{
    id_text("abcdefghijkmnopqrstuvwxyz23456789", SECRET_BYTES - 1, out);
}

static void add_secret(cJSON *object, const char *name, const char *before)
{
    char secret[SECRET_BYTES], text[64];

    make_secret(secret);
    (void)snprintf(text, sizeof text, "%s%s", before, secret);
    (void)cJSON_AddStringToObject(object, name, text);
}

static void add_query(cJSON *event)
{
    static const char *const names[] = { "message", "name", "id", "user", "token", "q" };
    cJSON *query = cJSON_AddObjectToObject(event, "queryStringParameters");
    AUTO_BUF struct buf raw = BUF_INIT(1024);
    const cJSON *item;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        add_secret(query, names[i], "");
    cJSON_ArrayForEach(item, query)(void)
        buf_printf(&raw, "%s%s=%s", raw.len > 0 ? "&" : "", item->string, item->valuestring);
    (void)cJSON_AddStringToObject(event, "rawQueryString", raw.data ? raw.data : "");
}

static void add_headers(cJSON *event)
{
    cJSON *headers = cJSON_AddObjectToObject(event, "headers");

    (void)cJSON_AddStringToObject(headers, "host", "irori-doctor.lambda-url.us-east-1.localhost");
    (void)cJSON_AddStringToObject(headers, "content-type", "application/json");
    (void)cJSON_AddStringToObject(headers, "user-agent", "irori-doctor");
    (void)cJSON_AddStringToObject(headers, "x-forwarded-proto", "http");
    add_secret(headers, "authorization", "Bearer ");
    add_secret(headers, "x-api-key", "");
}

static void add_cookies(cJSON *event)
{
    cJSON *cookies = cJSON_AddArrayToObject(event, "cookies");
    char secret[SECRET_BYTES], text[64];

    make_secret(secret);
    (void)snprintf(text, sizeof text, "session=%s", secret);
    (void)cJSON_AddItemToArray(cookies, cJSON_CreateString(text));
}

static void add_context(cJSON *event, const char *path)
{
    cJSON *context = cJSON_AddObjectToObject(event, "requestContext");
    cJSON *http = cJSON_AddObjectToObject(context, "http");
    char request_id[UUID_BYTES], text[64];
    time_t now = time(NULL);
    struct tm parts;

    id_uuid(request_id);
    (void)strftime(text, sizeof text, "%d/%b/%Y:%H:%M:%S +0000", gmtime_r(&now, &parts));
    (void)cJSON_AddStringToObject(context, "accountId", "anonymous");
    (void)cJSON_AddStringToObject(context, "apiId", "irori-doctor");
    (void)cJSON_AddStringToObject(context, "domainName", "irori-doctor.lambda-url.us-east-1.localhost");
    (void)cJSON_AddStringToObject(context, "domainPrefix", "irori-doctor");
    (void)cJSON_AddStringToObject(context, "requestId", request_id);
    (void)cJSON_AddStringToObject(context, "routeKey", "$default");
    (void)cJSON_AddStringToObject(context, "stage", "$default");
    (void)cJSON_AddStringToObject(context, "time", text);
    (void)cJSON_AddNumberToObject(context, "timeEpoch", (double)clock_wall_ms());
    (void)cJSON_AddStringToObject(http, "method", "POST");
    (void)cJSON_AddStringToObject(http, "path", path);
    (void)cJSON_AddStringToObject(http, "protocol", "HTTP/1.1");
    (void)cJSON_AddStringToObject(http, "sourceIp", "127.0.0.1");
    (void)cJSON_AddStringToObject(http, "userAgent", "irori-doctor");
}

static void add_body(cJSON *event)
{
    AUTO_JSON *body = cJSON_CreateObject();
    char *text;

    add_secret(body, "message", "");
    add_secret(body, "name", "");
    add_secret(body, "password", "");
    text = cJSON_PrintUnformatted(body);
    (void)cJSON_AddStringToObject(event, "body", text ? text : "");
    cJSON_free(text);
    (void)cJSON_AddFalseToObject(event, "isBase64Encoded");
}

cJSON *leak_event(void)
{
    cJSON *event = cJSON_CreateObject();
    char secret[SECRET_BYTES], path[64];

    make_secret(secret);
    (void)snprintf(path, sizeof path, "/orders/%s", secret);
    (void)cJSON_AddStringToObject(event, "version", "2.0");
    (void)cJSON_AddStringToObject(event, "routeKey", "$default");
    (void)cJSON_AddStringToObject(event, "rawPath", path);
    add_query(event);
    add_cookies(event);
    add_headers(event);
    add_context(event, path);
    add_body(event);
    return event;
}
