#include "cli/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <curl/curl.h>

#include "auth/sigv4.h"
#include "base/clock.h"
#include "base/text.h"
#include "cli/cli_priv.h"
#include "cli/keys.h"

enum {
    MAX_URL_BYTES = 16 * 1024,
    MAX_LOG_BYTES = 64 * 1024,
    MAX_BODY_BYTES = 64 * 1024 * 1024,
    MAX_SIGNED_BYTES = 64 * 1024,
    CONNECT_TIMEOUT_S = 5,
    DEFAULT_TIMEOUT_S = 60
};

struct client {
    CURL *curl;
    char endpoint[300]; /* "http://127.0.0.1:9000", no slash at the end */
    char host[260];     /* for the Host header */
    char region[65];
    bool loopback;
    struct keys keys;
};

struct client *client_free(struct client *client)
{
    if (!client)
        return NULL;
    if (client->curl)
        curl_easy_cleanup(client->curl);
    explicit_bzero(&client->keys, sizeof client->keys);
    free(client);
    return NULL;
}
DEFINE_AUTO_PTR(client, client_free)

void response_done(struct response *response)
{
    buf_done(&response->body);
    buf_done(&response->log_result);
}

void client_encode(const char *text, struct buf *out)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~";

    for (; *text != '\0'; text++) {
        if (strchr(plain, *text))
            (void)buf_putc(out, *text);
        else
            (void)buf_printf(out, "%%%02X", (unsigned char)*text);
    }
}

const char *client_path(struct buf *out, const char *prefix, const char *name, const char *suffix)
{
    (void)buf_puts(out, prefix);
    client_encode(name, out);
    (void)buf_puts(out, suffix);
    return out->failed ? NULL : out->data;
}

/* What a tenant id may be is the server's to say, but it must not become another header. */
int client_tenant_header(const char *tenant_id, struct buf *out, struct err *err)
{
    for (const char *c = tenant_id; *c; c++) {
        if ((unsigned char)*c < ' ')
            return err_set(err, ERR_INVALID, 0, "a tenant id has no control characters");
    }
    (void)buf_printf(out, "X-Amz-Tenant-Id: %s", tenant_id);
    return out->failed || strspn(tenant_id, " ") == strlen(tenant_id)
               ? err_set(err, ERR_INVALID, 0, "a tenant id has 1 to 256 characters")
               : 0;
}

static bool is_loopback(const char *host)
{
    size_t len = strlen(host);

    return strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 || text_starts(host, "127.") ||
           (len > 10 && strcmp(host + len - 10, ".localhost") == 0);
}

/* Splits the endpoint; what is behind the port must be nothing. */
static bool read_endpoint(struct client *client, CURLU *url)
{
    char *scheme = NULL, *host = NULL, *port = NULL, *path = NULL;
    bool good = curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
                curl_url_get(url, CURLUPART_PATH, &path, 0) == CURLUE_OK && strcmp(path, "/") == 0 &&
                (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0) && strlen(host) < 250;

    /* As curl writes it in its own Host header: without the scheme's default port. */
    if (good && curl_url_get(url, CURLUPART_PORT, &port, CURLU_NO_DEFAULT_PORT) != CURLUE_OK)
        port = NULL;
    if (good) {
        (void)snprintf(client->host, sizeof client->host, "%s%s%s", host, port ? ":" : "", port ? port : "");
        (void)snprintf(client->endpoint, sizeof client->endpoint, "%s://%s", scheme, client->host);
        client->loopback = is_loopback(host);
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_free(path);
    return good;
}

static int set_endpoint(struct client *client, const char *given, struct err *err)
{
    const char *environment = getenv("IRORI_ENDPOINT");
    const char *text = given                                   ? given
                       : environment && environment[0] != '\0' ? environment
                                                               : "http://127.0.0.1:9000";
    CURLU *url = curl_url();
    bool good;

    if (!url)
        return err_set(err, ERR_SYSTEM, ENOMEM, "endpoint");
    good = curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK && read_endpoint(client, url);
    curl_url_cleanup(url);
    return good ? 0
                : err_set(err, ERR_INVALID, 0,
                          "'%.200s' is no endpoint: it must look like http://127.0.0.1:9000", text);
}

static void set_region(struct client *client, const char *given)
{
    const char *region = getenv("AWS_REGION"), *fallback = getenv("AWS_DEFAULT_REGION");

    if (region && region[0] == '\0')
        region = NULL;
    if (given)
        region = given;
    else if (client->keys.region[0] != '\0' && (client->keys.own_file || !region))
        region = client->keys.region;
    else if (!region)
        region = fallback && fallback[0] != '\0' ? fallback : "us-east-1";
    (void)snprintf(client->region, sizeof client->region, "%s", region);
}

static int make_client(struct cli *cli, struct err *err)
{
    AUTO_PTR(client) client = NULL;
    int result;

    if (cli->client)
        return 0;
    client = calloc(1, sizeof *client);
    if (!client || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return err_set(err, ERR_SYSTEM, ENOMEM, "HTTP client");
    client->curl = curl_easy_init();
    if (!client->curl)
        return err_set(err, ERR_SYSTEM, ENOMEM, "HTTP client");
    result = set_endpoint(client, cli->endpoint, err);
    if (result == 0)
        result = keys_find(cli, &client->keys, err);
    if (result < 0)
        return result;
    set_region(client, cli->region);
    cli->client = TAKE_PTR(client);
    return 0;
}

int client_describe(struct cli *cli, const char **ret_endpoint, const char **ret_region,
                    const char **ret_source, struct err *err)
{
    int result = make_client(cli, err);

    if (result < 0)
        return result;
    *ret_endpoint = cli->client->endpoint;
    *ret_region = cli->client->region;
    *ret_source = cli->client->keys.access_key[0] != '\0' ? cli->client->keys.source : "";
    return 0;
}

static size_t on_body(char *data, size_t size, size_t count, void *ctx)
{
    struct response *response = ctx;

    return buf_append(&response->body, data, size * count) < 0 ? 0 : size * count;
}

/* Keeps value when the line is that header. */
static void keep_header(const char *line, size_t len, const char *name, char *out, size_t size)
{
    size_t name_len = strlen(name), start = name_len + 1;

    if (len <= start || line[name_len] != ':' || strncasecmp(line, name, name_len) != 0)
        return;
    while (start < len && line[start] == ' ')
        start++;
    while (len > start && (line[len - 1] == '\n' || line[len - 1] == '\r' || line[len - 1] == ' '))
        len--;
    (void)snprintf(out, size, "%.*s", (int)(len - start), line + start);
}

static size_t on_header(char *data, size_t size, size_t count, void *ctx)
{
    struct response *response = ctx;
    size_t len = size * count;
    char log[16 * 1024] = "";

    keep_header(data, len, "x-amzn-ErrorType", response->error_type, sizeof response->error_type);
    keep_header(data, len, "X-Amz-Function-Error", response->function_error, sizeof response->function_error);
    keep_header(data, len, "X-Amz-Executed-Version", response->executed_version,
                sizeof response->executed_version);
    keep_header(data, len, "X-Irori-Environment", response->environment, sizeof response->environment);
    keep_header(data, len, "X-Amz-Log-Result", log, sizeof log);
    if (log[0] != '\0')
        (void)buf_puts(&response->log_result, log);
    return len;
}

static int on_progress(void *ctx, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    int *last = ctx, percent = up_total > 0 ? (int)(up * 100 / up_total) : 0;

    (void)down_total;
    (void)down;
    if (up_total > 0 && percent != *last) {
        (void)fprintf(stderr, "\rUploading %.1f MB: %d %%%s", (double)up_total / 1e6, percent,
                      percent == 100 ? "\n" : "");
        *last = percent;
    }
    return 0;
}

/* Adds "Name: value" as a header of the signature. */
static void add_signed(const char *line, struct sigv4_header *headers, size_t *count)
{
    size_t name_len = strcspn(line, ":"), skip = name_len + 1;

    while (line[skip] == ' ')
        skip++;
    headers[(*count)++] = (struct sigv4_header){ line, name_len, line + skip, strlen(line + skip) };
}

static int append_line(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*list, line);

    if (!longer)
        return -ENOMEM;
    *list = longer;
    return 0;
}

/* Host, the request's own headers and the signature's, as curl wants them. */
static int make_headers(const struct client *client, const struct request *request, struct curl_slist **list)
{
    AUTO_BUF struct buf lines = BUF_INIT(MAX_SIGNED_BYTES);
    struct sigv4_header headers[CLIENT_HEADERS + 1];
    struct sigv4_request signing = { request->method,
                                     strlen(request->method),
                                     request->path,
                                     strlen(request->path),
                                     request->query ? request->query : "",
                                     request->query ? strlen(request->query) : 0,
                                     headers,
                                     0,
                                     request->body ? request->body : "",
                                     request->body_len };
    const struct keys *keys = &client->keys;
    struct sigv4_key key = { keys->access_key, keys->secret, keys->token[0] != '\0' ? keys->token : NULL };
    char host[300];
    int result;

    (void)snprintf(host, sizeof host, "Host: %s", client->host);
    add_signed(host, headers, &signing.header_count);
    result = append_line(list, host);
    for (size_t i = 0; i < CLIENT_HEADERS && request->headers[i] && result == 0; i++) {
        add_signed(request->headers[i], headers, &signing.header_count);
        result = append_line(list, request->headers[i]);
    }
    /* The server needs no invitation to read the body, and 100-continue costs a round trip. */
    if (result == 0)
        result = append_line(list, "Expect:");
    if (result == 0 && !request->no_signature && keys->access_key[0] != '\0')
        result = sigv4_sign(&signing, &key, client->region, "lambda", clock_wall_ms(), &lines);
    for (char *line = lines.data, *end; result == 0 && line && (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        result = append_line(list, line);
    }
    return result;
}

static void set_options(CURL *curl, const struct client *client, const struct request *request,
                        struct response *response)
{
    curl_easy_reset(curl);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    /* The path is signed as it is. */
    (void)curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT,
                           (long)(request->timeout_s ? request->timeout_s : DEFAULT_TIMEOUT_S));
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "irori/" IRORI_VERSION);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, response);
    (void)curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(curl, CURLOPT_HEADERDATA, response);
    if (client->loopback)
        (void)curl_easy_setopt(curl, CURLOPT_PROXY, "");
    if (strcmp(request->method, "GET") != 0) {
        (void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
        if (request->body || strcmp(request->method, "DELETE") != 0) {
            (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
            (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body ? request->body : "");
        }
    }
}

static int transport_error(struct cli *cli, CURLcode code, struct err *err)
{
    const char *endpoint = cli->client->endpoint;

    if (code == CURLE_COULDNT_CONNECT) {
        cli_hint(cli, "is `irori serve` running? Start it with: sudo irori serve\n"
                      "or name another server with --endpoint URL");
        return err_set(err, ERR_SYSTEM, 0, "nothing answers at %s", endpoint);
    }
    if (code == CURLE_OPERATION_TIMEDOUT)
        return err_set(err, ERR_SYSTEM, 0, "%s did not answer in time", endpoint);
    if (code == CURLE_COULDNT_RESOLVE_HOST)
        cli_hint(cli, "check --endpoint and IRORI_ENDPOINT");
    return err_set(err, ERR_SYSTEM, 0, "request to %s failed: %s", endpoint, curl_easy_strerror(code));
}

int client_send(struct cli *cli, const struct request *request, struct response *ret_response,
                struct err *err)
{
    AUTO_BUF struct buf url = BUF_INIT(MAX_URL_BYTES);
    struct response response = { .body = BUF_INIT(MAX_BODY_BYTES), .log_result = BUF_INIT(MAX_LOG_BYTES) };
    struct curl_slist *headers = NULL;
    int result = make_client(cli, err), percent = -1;
    CURLcode code = CURLE_OUT_OF_MEMORY;
    long status = 0;

    if (result < 0)
        return result;
    set_options(cli->client->curl, cli->client, request, &response);
    (void)buf_printf(&url, "%s%s%s%s", cli->client->endpoint, request->path, request->query ? "?" : "",
                     request->query ? request->query : "");
    result = make_headers(cli->client, request, &headers);
    if (result == 0 && !url.failed) {
        (void)curl_easy_setopt(cli->client->curl, CURLOPT_URL, url.data);
        (void)curl_easy_setopt(cli->client->curl, CURLOPT_HTTPHEADER, headers);
        if (request->progress && cli->terminal_err) {
            (void)curl_easy_setopt(cli->client->curl, CURLOPT_NOPROGRESS, 0L);
            (void)curl_easy_setopt(cli->client->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
            (void)curl_easy_setopt(cli->client->curl, CURLOPT_XFERINFODATA, &percent);
        }
        code = curl_easy_perform(cli->client->curl);
    }
    curl_slist_free_all(headers);
    if (code != CURLE_OK) {
        response_done(&response);
        return transport_error(cli, code, err);
    }
    (void)curl_easy_getinfo(cli->client->curl, CURLINFO_RESPONSE_CODE, &status);
    response.status = (int)status;
    *ret_response = response;
    return 0;
}

/* The next step for what a signature can be refused for. */
static void signature_hint(struct cli *cli, const char *type, const char *message)
{
    const struct keys *keys = &cli->client->keys;

    if (keys->access_key[0] == '\0')
        cli_hint(cli, "no credentials were found. Name the server's data folder with --data DIR (its file "
                      "credentials is\n"
                      "read), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
    else if (text_starts(type, "UnrecognizedClient"))
        cli_hint(cli,
                 "the server does not know key %s of %s.\nName the server's data folder with --data DIR to "
                 "use its own keys",
                 keys->access_key, keys->source);
    else if (strstr(message, "valid region"))
        cli_hint(cli, "the request was signed for region %s; name the server's with --region",
                 cli->client->region);
    else if (strstr(message, "Signature expired") || strstr(message, "not yet current"))
        cli_hint(cli, "the clocks of this machine and the server differ by more than five minutes");
}

int client_error(struct cli *cli, const struct response *response, struct err *err)
{
    AUTO_JSON *json =
        response->body.len > 0 ? cJSON_ParseWithLength(response->body.data, response->body.len) : NULL;
    const char *message = json_text(json, "message", json_text(json, "Message", ""));
    enum err_code code = ERR_SYSTEM;

    if (response->status == 404)
        code = ERR_NOT_FOUND;
    else if (response->status == 409)
        code = ERR_CONFLICT;
    else if (response->status == 403)
        code = ERR_DENIED;
    else if (response->status == 429 || response->status == 413)
        code = ERR_LIMIT;
    else if (response->status < 500)
        code = ERR_INVALID;
    if (response->status == 403)
        signature_hint(cli, response->error_type, message);
    return err_set(err, code, 0, "%s%s%s (%d)",
                   message[0] != '\0' ? message : "the server refused the request",
                   response->error_type[0] != '\0' ? ": " : "", response->error_type, response->status);
}

int client_call(struct cli *cli, const struct request *request, cJSON **ret_json, struct err *err)
{
    AUTO_RESPONSE response = { 0 };
    cJSON *json;
    int result = client_send(cli, request, &response, err);

    if (result < 0)
        return result;
    if (response.status >= 300)
        return client_error(cli, &response, err);
    if (!ret_json)
        return 0;
    json = response.body.len > 0 ? cJSON_ParseWithLength(response.body.data, response.body.len) : NULL;
    if (response.body.len > 0 && !json)
        return err_set(err, ERR_SYSTEM, 0, "the answer of %s is no JSON: is that an Irori server?",
                       cli->client->endpoint);
    *ret_json = json;
    return 0;
}
