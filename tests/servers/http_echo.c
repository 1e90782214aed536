/*
 * A server of src/http/ for tests: says on stdout the port it listens on and serves until SIGTERM.
 *
 *   /later?MS   answers after so many milliseconds; /big?N answers N bytes; /stats the counters as JSON;
 *   /plain      "hello", for measuring; /drop closes without an answer; /drain drains the server;
 *   any other   what the server saw of the request, as JSON in hexadecimal in the header X-Saw.
 *
 * Arguments: name=number for the limits and timeouts named in options[].
 */

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/text.h"
#include "http/server.h"

enum { OUT_MAX = 512 << 20 };

struct state {
    struct http_server *server;
    struct http_server_config config;
    uint64_t body_limit, port;
    uint64_t requests, gone, truncated, too_large;
};

struct option {
    const char *name;
    uint64_t *value;
};

struct later {
    uv_timer_t timer;
    struct http_exchange *x;
};

static void put_hex(struct buf *out, struct http_slice slice)
{
    char pair[3];

    (void)buf_putc(out, '"');
    for (size_t i = 0; i < slice.len; i++) {
        text_hex(slice.at + i, 1, pair);
        (void)buf_puts(out, pair);
    }
    (void)buf_putc(out, '"');
}

static void put_fields(struct buf *out, const char *name, const struct http_header *fields, size_t count)
{
    (void)buf_printf(out, ",\"%s\":[", name);
    for (size_t i = 0; i < count; i++) {
        (void)buf_puts(out, i > 0 ? ",[" : "[");
        put_hex(out, fields[i].name);
        (void)buf_putc(out, ',');
        put_hex(out, fields[i].value);
        (void)buf_putc(out, ']');
    }
    (void)buf_putc(out, ']');
}

static void reply_saw(struct http_exchange *x)
{
    const struct http_request *request = http_exchange_request(x);
    AUTO_BUF struct buf json = BUF_INIT(OUT_MAX), headers = BUF_INIT(OUT_MAX);

    (void)buf_puts(&json, "{\"method\":");
    put_hex(&json, request->method);
    (void)buf_puts(&json, ",\"target\":");
    put_hex(&json, request->target);
    put_fields(&json, "headers", request->headers, request->header_count);
    put_fields(&json, "trailers", request->trailers, request->trailer_count);
    (void)buf_puts(&json, ",\"body\":");
    put_hex(&json, (struct http_slice){ request->body, request->body_len });
    (void)buf_putc(&json, '}');
    (void)buf_puts(&headers, "X-Saw: ");
    for (size_t i = 0; i < json.len; i++) {
        char pair[3];

        text_hex(json.data + i, 1, pair);
        (void)buf_puts(&headers, pair);
    }
    (void)buf_puts(&headers, "\r\n");
    http_reply(x, 200, headers.data, headers.len, "", 0, NULL, NULL);
}

static void on_later_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_later(uv_timer_t *timer)
{
    struct later *later = timer->data;

    http_reply(later->x, 200, "", 0, "later", 5, NULL, NULL);
    uv_close((uv_handle_t *)timer, on_later_closed);
}

static void reply_later(struct http_exchange *x, uint64_t ms)
{
    struct later *later = malloc(sizeof *later);

    if (!later) {
        http_abort(x);
        return;
    }
    later->x = x;
    later->timer.data = later;
    (void)uv_timer_init(http_exchange_loop(x), &later->timer);
    (void)uv_timer_start(&later->timer, on_later, ms, 0);
}

static void reply_big(struct http_exchange *x, uint64_t bytes)
{
    char *body = malloc(bytes + 1);

    if (!body) {
        http_abort(x);
        return;
    }
    memset(body, 'b', bytes);
    http_reply(x, 200, "", 0, body, bytes, free, body);
}

static void reply_stats(struct http_exchange *x, const struct state *state)
{
    struct mallinfo2 info = mallinfo2();
    char text[300];
    int len = snprintf(text, sizeof text,
                       "{\"requests\":%" PRIu64 ",\"gone\":%" PRIu64 ",\"truncated\":%" PRIu64
                       ",\"too_large\":%" PRIu64 ",\"connections\":%zu,\"heap\":%zu}",
                       state->requests, state->gone, state->truncated, state->too_large,
                       http_server_connections(state->server), info.uordblks + info.hblkhd);

    http_reply(x, 200, "", 0, text, (size_t)len, NULL, NULL);
}

static void on_request(struct http_exchange *x, void *ctx)
{
    const struct http_request *request = http_exchange_request(x);
    struct state *state = ctx;
    uint64_t number = 0;

    state->requests++;
    if (http_slice_equal(request->path, "/drain"))
        http_server_drain(state->server);
    (void)text_to_u64(request->query.at, request->query.len, OUT_MAX, &number);
    if (http_slice_equal(request->path, "/plain"))
        http_reply(x, 200, "Content-Type: text/plain\r\n", 26, "hello", 5, NULL, NULL);
    else if (http_slice_equal(request->path, "/later"))
        reply_later(x, number);
    else if (http_slice_equal(request->path, "/big"))
        reply_big(x, number);
    else if (http_slice_equal(request->path, "/stats"))
        reply_stats(x, state);
    else if (http_slice_equal(request->path, "/drop"))
        http_abort(x);
    else
        reply_saw(x);
}

static size_t body_limit(struct http_exchange *x, void *ctx)
{
    (void)x;
    return ((struct state *)ctx)->body_limit;
}

static void on_too_large(struct http_exchange *x, void *ctx)
{
    ((struct state *)ctx)->too_large++;
    http_reply(x, 413, "", 0, "too large", 9, NULL, NULL);
}

static void on_gone(struct http_exchange *x, void *ctx)
{
    (void)x;
    ((struct state *)ctx)->gone++;
}

static void on_truncated(struct http_exchange *x, void *ctx)
{
    (void)x;
    ((struct state *)ctx)->truncated++;
}

static const char *error_body(int status, const char **ret_headers, void *ctx)
{
    (void)status;
    (void)ctx;
    *ret_headers = "Content-Type: text/plain\r\n";
    return "refused";
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct state *state = handle->data;

    (void)number;
    http_server_free(state->server, NULL, NULL);
    uv_close((uv_handle_t *)handle, NULL);
}

static int bind_socket(uint64_t port, int *ret_port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    socklen_t len = sizeof address;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0) {
        perror("listen");
        exit(1);
    }
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static void read_options(struct state *state, int count, char **arguments)
{
    uint64_t line = 8192, headers = 16384, number = 100, connections = 0;
    struct option options[] = {
        { "max_line_bytes", &line },
        { "max_header_bytes", &headers },
        { "max_headers", &number },
        { "max_connections", &connections },
        { "idle_timeout_ms", &state->config.idle_timeout_ms },
        { "head_timeout_ms", &state->config.head_timeout_ms },
        { "body_timeout_ms", &state->config.body_timeout_ms },
        { "body_limit", &state->body_limit },
        { "port", &state->port },
    };

    for (int i = 1; i < count; i++) {
        const char *mark = strchr(arguments[i], '=');

        for (size_t k = 0; mark && k < sizeof options / sizeof options[0]; k++) {
            if (text_equal_nocase(arguments[i], (size_t)(mark - arguments[i]), options[k].name))
                (void)text_to_u64(mark + 1, strlen(mark + 1), UINT64_MAX, options[k].value);
        }
    }
    state->config.max_line_bytes = (uint32_t)line;
    state->config.max_header_bytes = (uint32_t)headers;
    state->config.max_headers = (uint32_t)number;
    state->config.max_connections = connections;
}

int main(int count, char **arguments)
{
    struct state state = { .body_limit = 1 << 20 };
    uv_loop_t loop;
    uv_signal_t signal;
    int port;

    state.config = (struct http_server_config){
        .date_header = true,
        .body_limit = body_limit,
        .on_too_large = on_too_large,
        .on_request = on_request,
        .on_gone = on_gone,
        .on_truncated = on_truncated,
        .error_body = error_body,
        .ctx = &state,
    };
    read_options(&state, count, arguments);
    (void)uv_loop_init(&loop);
    (void)uv_signal_init(&loop, &signal);
    signal.data = &state;
    (void)uv_signal_start(&signal, on_signal, SIGTERM);
    state.server = http_server_new(&loop, &state.config);
    if (!state.server || http_server_listen(state.server, bind_socket(state.port, &port), 511) < 0)
        return 1;
    (void)printf("%d\n", port);
    (void)fflush(stdout);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop) == 0 ? 0 : 1;
}
