/* Requests in any bytes: the event is one valid JSON value, however odd the request. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "door/json_priv.h"
#include "door/url_event.h"
#include "http/parser.h"

enum { FIELDS_MAX = 100, OUT_MAX = 1 << 20 };

static void write_event(const struct http_request *request, const struct principal *iam)
{
    struct buf out = BUF_INIT(OUT_MAX);
    struct url_event event = {
        .request = request,
        .path = request->path.at,
        .path_len = request->path.len,
        .url_id = "abc",
        .domain_name = "abc.lambda-url",
        .host = "abc.lambda-url:9000",
        .scheme = "http",
        .port = 9000,
        .source_ip = "127.0.0.1",
        .request_id = "rid",
        .trace_id = iam ? NULL : "Root=1-2-3",
        .account = "000000000000",
        .iam = iam,
        .now_ms = request->length,
    };
    struct json_reader reader;
    struct json_slice value;

    if (url_event_write(&event, &out) == 0) {
        reader = (struct json_reader){ .at = out.data, .end = out.data + out.len };
        assert(json_read_value(&reader, &value) && reader.at == reader.end);
        assert(json_is_utf8(out.data, out.len));
    }
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct http_limits limits = { 4096, 8192, FIELDS_MAX };
    static const struct principal iam = { .access_key = "AKIA", .arn = "arn", .user_id = "AIDA" };
    struct http_header fields[FIELDS_MAX];
    struct http_parser parser = { .fields = fields, .field_cap = FIELDS_MAX };
    char *text = malloc(size + 1);
    size_t len = size;

    assert(text);
    memcpy(text, data, size);
    http_parser_begin(&parser, &limits);
    if (http_parser_step(&parser, text, &len) == HTTP_HEAD) {
        parser.body_limit = 100000;
        if (http_parser_step(&parser, text, &len) == HTTP_DONE) {
            write_event(&parser.request, NULL);
            write_event(&parser.request, &iam);
        }
    }
    free(text);
    return 0;
}
