#include "fixture.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* After the headers it needs. */
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "model/function.h"

const char fixture_zip[] =
    "UEsDBBQAAAAAAAAAIVzptiQqKQAAACkAAAAJAAAAaW5kZXgubWpzZXhwb3J0IGNvbnN0IGhhbmRsZXIgPSBhc3luYyAoKSA9PiAi"
    "b25lIgpQSwMEFAAAAAAAAAAhXB2d+wQKAAAACgAAAAkAAABib290c3RyYXAjIS9iaW4vc2gKUEsBAhQDFAAAAAAAAAAhXOm2JCop"
    "AAAAKQAAAAkAAAAAAAAAAAAAAKSBAAAAAGluZGV4Lm1qc1BLAQIUAxQAAAAAAAAAIVwdnfsECgAAAAoAAAAJAAAAAAAAAAAAAADt"
    "gVAAAABib290c3RyYXBQSwUGAAAAAAIAAgBuAAAAgQAAAAAA";
const char fixture_zip2[] =
    "UEsDBBQAAAAAAAAAIVy5jZIdKQAAACkAAAAJAAAAaW5kZXgubWpzZXhwb3J0IGNvbnN0IGhhbmRsZXIgPSBhc3luYyAoKSA9PiAi"
    "dHdvIgpQSwMEFAAAAAAAAAAhXB2d+wQKAAAACgAAAAkAAABib290c3RyYXAjIS9iaW4vc2gKUEsBAhQDFAAAAAAAAAAhXLmNkh0p"
    "AAAAKQAAAAkAAAAAAAAAAAAAAKSBAAAAAGluZGV4Lm1qc1BLAQIUAxQAAAAAAAAAIVwdnfsECgAAAAoAAAAJAAAAAAAAAAAAAADt"
    "gVAAAABib290c3RyYXBQSwUGAAAAAAIAAgBuAAAAgQAAAAAA";

static const char *const installed[] = { "nodejs20.x", "python3.11", "provided.al2023", NULL };

static const char *const *runtimes(void *ctx)
{
    (void)ctx;
    return installed;
}

void fixture_open(struct fixture *fixture)
{
    struct err err = { 0 };

    if (!fixture->folder[0]) {
        (void)snprintf(fixture->folder, sizeof fixture->folder, "/tmp/irori-api-test-XXXXXX");
        assert_non_null(mkdtemp(fixture->folder));
        fixture->data_fd = open(fixture->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fixture->data_fd >= 0);
        assert_int_equal(mkdirat(fixture->data_fd, "code", 0755), 0);
        fixture->code_fd = openat(fixture->data_fd, "code", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fixture->code_fd >= 0);
    }
    fixture->config = (struct api_config){ .region = "us-east-1",
                                           .account = "000000000000",
                                           .endpoint = "http://127.0.0.1:9000",
                                           .scheme = "http",
                                           .port = 9000,
                                           .account_concurrency = 1000,
                                           .data_fd = fixture->data_fd,
                                           .code_fd = fixture->code_fd,
                                           .runtimes = runtimes };
    fixture->principal =
        (struct principal){ .kind = PRINCIPAL_ROOT, .arn = "arn:aws:iam::000000000000:root" };
    if (api_open(&fixture->config, &fixture->api, &err) < 0)
        fail_msg("%s", err.text);
}

static void forget(struct fixture *fixture)
{
    cJSON_Delete(fixture->json);
    fixture->json = NULL;
    buf_done(&fixture->response.body);
    if (fixture->response.file_fd > 0)
        (void)close(fixture->response.file_fd);
    fixture->response.file_fd = -1;
}

void fixture_close(struct fixture *fixture)
{
    forget(fixture);
    fixture->api = api_free(fixture->api);
}

void fixture_done(struct fixture *fixture)
{
    char command[128];

    fixture_close(fixture);
    (void)close(fixture->data_fd);
    (void)close(fixture->code_fd);
    (void)snprintf(command, sizeof command, "rm -rf %s", fixture->folder);
    assert_int_equal(system(command), 0);
}

int fixture_request(struct fixture *fixture, const char *method, const char *path, const char *body)
{
    char only_path[16384];
    const char *query = strchr(path, '?');
    struct api_request request = { .method = method,
                                   .query = query ? query + 1 : "",
                                   .body = body,
                                   .body_len = body ? strlen(body) : 0,
                                   .request_id = "r",
                                   .host = "127.0.0.1:9000",
                                   .principal = &fixture->principal };

    forget(fixture);
    (void)snprintf(only_path, sizeof only_path, "%.*s", (int)(query ? query - path : (long)strlen(path)),
                   path);
    request.path = only_path;
    assert_true(api_is_route(method, only_path, strlen(only_path)));
    api_handle(fixture->api, &request, &fixture->response);
    if (fixture->response.body.len > 0) {
        fixture->json = cJSON_Parse(fixture->response.body.data);
        assert_non_null(fixture->json);
    }
    assert_true(fixture->response.status < 400 || fixture->response.changed_count == 0);
    return fixture->response.status;
}

void fixture_settle(struct fixture *fixture, const char *name)
{
    struct function *picture = api_settle(fixture->api, name);

    assert_non_null(picture);
    assert_false(picture->pending);
    api_settled(fixture->api, name, picture->sequence);
    (void)function_unref(picture);
}

void fixture_function(struct fixture *fixture, const char *name, const char *members)
{
    char body[8192];

    (void)snprintf(
        body, sizeof body,
        "{\"FunctionName\":\"%s\",\"Runtime\":\"nodejs20.x\",\"Role\":"
        "\"arn:aws:iam::000000000000:role/r\",\"Handler\":\"index.handler\",\"Code\":{\"ZipFile\":\"%s\"}%s}",
        name, fixture_zip, members);
    if (fixture_request(fixture, "POST", "/2015-03-31/functions", body) != 201)
        fail_msg("%s", fixture->response.body.data);
    fixture_settle(fixture, name);
}

static const cJSON *find(const struct fixture *fixture, const char *path)
{
    const cJSON *at = fixture->json;
    char part[64];

    while (at && *path) {
        size_t len = strcspn(path, ".");

        (void)snprintf(part, sizeof part, "%.*s", (int)len, path);
        at = cJSON_IsArray(at) ? cJSON_GetArrayItem(at, (int)strtoul(part, NULL, 10))
                               : cJSON_GetObjectItemCaseSensitive(at, part);
        path += len + (path[len] == '.');
    }
    return at;
}

const char *fixture_text(const struct fixture *fixture, const char *path)
{
    const char *text = cJSON_GetStringValue(find(fixture, path));

    return text ? text : "(absent)";
}

double fixture_number(const struct fixture *fixture, const char *path)
{
    const cJSON *item = find(fixture, path);

    return cJSON_IsNumber(item) ? item->valuedouble : cJSON_IsArray(item) ? cJSON_GetArraySize(item) : -1;
}

bool fixture_has(const struct fixture *fixture, const char *path)
{
    return find(fixture, path) != NULL;
}

const char *fixture_message(const struct fixture *fixture)
{
    return fixture_has(fixture, "message") ? fixture_text(fixture, "message")
                                           : fixture_text(fixture, "Message");
}

void expect_error(struct fixture *fixture, int status, const char *type, const char *message)
{
    assert_string_equal(fixture_message(fixture), message);
    assert_string_equal(fixture->response.error_type, type);
    assert_int_equal(fixture->response.status, status);
}
