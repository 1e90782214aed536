#include <cjson/cJSON.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/api.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "model/function.h"

/* First line: "METHOD PATH[?QUERY]", the rest: the body. Every answer is JSON or empty, and every function
 * named as changed has a picture. A function "fix" exists from the start. */

static struct api *api;
static char folder[64];

static void clean_up(void)
{
    char command[128];

    api = api_free(api);
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command) != 0)
        abort();
}

static void request(const char *method, const char *target, const char *body, size_t body_len)
{
    static const struct principal root = { .kind = PRINCIPAL_ROOT, .arn = "arn:aws:iam::000000000000:root" };
    const char *query = strchr(target, '?');
    AUTO_FREE char *path = query ? strndup(target, (size_t)(query - target)) : strdup(target);
    struct api_request asked = { .method = method,
                                 .path = path,
                                 .query = query ? query + 1 : "",
                                 .body = body,
                                 .body_len = body_len,
                                 .request_id = "r",
                                 .host = "h",
                                 .principal = &root };
    struct api_response answer;
    cJSON *json;

    if (!path || !api_is_route(method, path, strlen(path)))
        return;
    api_handle(api, &asked, &answer);
    json = answer.body.len > 0 ? cJSON_Parse(answer.body.data) : NULL;
    if (answer.status < 200 || (answer.body.len > 0 && !json) ||
        (answer.status >= 400) != (answer.error_type[0] != '\0'))
        abort();
    for (size_t i = 0; i < answer.changed_count; i++) {
        struct function *picture = api_picture(api, answer.changed[i]);

        if (!picture)
            abort();
        (void)function_unref(picture);
        picture = answer.settle ? api_settle(api, answer.changed[i]) : NULL;
        if (picture)
            api_settled(api, answer.changed[i], picture->sequence);
        if (picture)
            (void)function_unref(picture);
    }
    if (answer.file_fd >= 0)
        (void)close(answer.file_fd);
    cJSON_Delete(json);
    buf_done(&answer.body);
}

static void set_up(void)
{
    static const char create[] =
        "{\"FunctionName\":\"fix\",\"Runtime\":\"nodejs20.x\",\"Role\":\"arn:aws:iam::000000000000:role/"
        "r\",\"Handler\":\"i.h\","
        "\"Publish\":true,\"Code\":{\"ZipFile\":\"UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA==\"}}";
    struct api_config config = { .region = "us-east-1",
                                 .account = "000000000000",
                                 .endpoint = "http://h",
                                 .scheme = "http",
                                 .port = 9000,
                                 .account_concurrency = 1000 };
    struct err err = { 0 };

    (void)snprintf(folder, sizeof folder, "%s/irori-fuzz-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(folder))
        abort();
    config.data_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (config.data_fd < 0 || mkdirat(config.data_fd, "code", 0755) < 0)
        abort();
    config.code_fd = openat(config.data_fd, "code", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (config.code_fd < 0 || api_open(&config, &api, &err) < 0)
        abort();
    (void)atexit(clean_up);
    request("POST", "/2015-03-31/functions", create, strlen(create));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const char *end = memchr(text, '\n', size), *blank;
    AUTO_FREE char *line = NULL, *method = NULL;

    if (!api)
        set_up();
    line = strndup(text, end ? (size_t)(end - text) : size);
    blank = line ? strchr(line, ' ') : NULL;
    method = blank ? strndup(line, (size_t)(blank - line)) : NULL;
    if (method)
        request(method, blank + 1, end ? end + 1 : NULL, end ? size - (size_t)(end + 1 - text) : 0);
    return 0;
}
