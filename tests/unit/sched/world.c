#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "auth/credentials.h"
#include "base/blob.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "logs/logs.h"
#include "model/function.h"
#include "sched/sched_priv.h"
#include "wire/wire.h"
#include "world.h"

#define RUNTIMES "{\"runtimes\":[{\"id\":\"nodejs20.x\",\"inside\":\"/var/lang/bin/node\"}]}"

/* ---- the world ---- */

void turn(struct world *w)
{
    for (int i = 0; i < 20; i++) {
        (void)uv_run(&w->loop, UV_RUN_NOWAIT);
        (void)usleep(200);
    }
}

void send_message(struct world *w, const struct wire_message *message, const int *fds, size_t count)
{
    AUTO_BUF struct buf packet = BUF_INIT(WIRE_MAX_BYTES);

    assert_int_equal(wire_encode(message, &packet), 0);
    assert_int_equal(wire_send(w->launcher, packet.data, packet.len, fds, count), 0);
    turn(w);
}

void connect_launcher(struct world *w)
{
    struct wire_message ready = { .type = WIRE_READY, .text = RUNTIMES };
    struct err err = { 0 };
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    w->launcher = pair[1];
    assert_int_equal(sched_connect(w->sched, pair[0], &err), 0);
    send_message(w, &ready, NULL, 0);
}

struct last_start start;

static void keep_start(const struct wire_start *sent)
{
    start.template_id = sent->template_id;
    start.flags = sent->flags;
    start.uid_index = sent->uid_index;
    (void)snprintf(start.code, sizeof start.code, "%s", sent->code);
    start.handler[0] = '\0';
    for (uint32_t i = 0; i < sent->envc; i++) {
        if (strncmp(sent->env[i], "_HANDLER=", 9) == 0)
            (void)snprintf(start.handler, sizeof start.handler, "%s", sent->env[i] + 9);
    }
}

/* What the scheduler has sent: its env_id; fails when it is of another type. */
uint64_t expect_message(struct world *w, enum wire_type type)
{
    static char packet[WIRE_MAX_BYTES];
    struct wire_message message;
    struct err err = { 0 };
    int fds[WIRE_MAX_FDS];
    size_t fd_count;
    uint64_t id;
    ssize_t len = wire_receive(w->launcher, packet, sizeof packet, fds, &fd_count);

    assert_true(len > 0);
    assert_int_equal(wire_decode(packet, (size_t)len, &message, &err), 0);
    assert_int_equal(message.type, type);
    id = message.env_id;
    if (type == WIRE_START)
        keep_start(&message.start);
    wire_message_done(&message);
    return id;
}

void expect_silence(struct world *w)
{
    char byte;

    turn(w);
    assert_int_equal(recv(w->launcher, &byte, 1, MSG_PEEK | MSG_DONTWAIT), -1);
}

void put_full(struct world *w, const char *name, const char *runtime, int reserved, const char *config_id,
              bool deleted)
{
    struct function *function = function_new();
    struct fn_version *version = fn_version_new();

    function->sequence = ++w->sequence;
    function->name = strdup(name);
    function->arn = strdup("arn:aws:lambda:us-east-1:000000000000:function:fn");
    function->reserved_concurrency = reserved;
    function->deleted = deleted;
    version->function_name = strdup(name);
    version->version = strdup("$LATEST");
    version->runtime = strdup(runtime);
    version->handler = strdup("h");
    version->role = strdup("arn:aws:iam::000000000000:role/r");
    version->code_sha256 = strdup("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    version->config_id = strdup(config_id);
    version->log_group = strdup("/aws/lambda/fn");
    version->application_log_level = strdup("");
    version->system_log_level = strdup("");
    version->uid_index = 1;
    version->memory_mb = 128;
    version->timeout_s = 1;
    version->tmp_mb = 512;
    version->clean = w->clean;
    version->per_tenant = w->per_tenant;
    version->snap_start = version->snapshot_pending = w->snap_start;
    function->latest = version;
    sched_put_function(w->sched, function);
}

void put_as(struct world *w, const char *runtime, int reserved, const char *config_id, bool deleted)
{
    put_full(w, "fn", runtime, reserved, config_id, deleted);
}

void put_function(struct world *w, const char *name, int reserved, const char *config_id, bool deleted)
{
    put_full(w, name, "provided.al2023", reserved, config_id, deleted);
}

void put(struct world *w, int reserved, const char *config_id, bool deleted)
{
    put_as(w, "provided.al2023", reserved, config_id, deleted);
}

static void on_done(const struct sched_result *result, void *ctx)
{
    struct world *w = ctx;

    assert_true(w->answers < ANSWERS_MAX);
    w->outcomes[w->answers] = result->outcome;
    (void)snprintf(w->environment, sizeof w->environment, "%s",
                   result->environment ? result->environment : "");
    (void)snprintf(w->bodies[w->answers], sizeof w->bodies[0], "%.*s",
                   result->outcome == SCHED_THROTTLED ? (int)strlen(result->reason) : (int)result->body_len,
                   result->outcome == SCHED_THROTTLED ? result->reason : result->body);
    w->answers++;
}

static void invoke_with(struct world *w, const char *name, const char *tenant_id, const char *environment)
{
    const struct function *function = sched_find_function(w->sched, name, strlen(name));
    struct blob *event = blob_new("{}", 2);
    struct sched_request request = { .function = function,
                                     .version = function->latest,
                                     .invoked_arn = function->arn,
                                     .request_id = "request",
                                     .trace_id = "",
                                     .tenant_id = tenant_id,
                                     .event = event,
                                     .environment = environment };

    sched_invoke(w->sched, &request, on_done, w);
    (void)blob_unref(event);
}

void invoke_in(struct world *w, const char *name, const char *environment)
{
    invoke_with(w, name, NULL, environment);
}

void invoke_tenant_in(struct world *w, const char *tenant_id, const char *environment)
{
    invoke_with(w, "fn", tenant_id, environment);
}

void invoke_function(struct world *w, const char *name)
{
    invoke_with(w, name, NULL, NULL);
}

void invoke(struct world *w)
{
    invoke_function(w, "fn");
}

void invoke_tenant(struct world *w, const char *tenant_id)
{
    invoke_with(w, "fn", tenant_id, NULL);
}

void expect_answer(const struct world *w, unsigned at, enum sched_outcome outcome, const char *text)
{
    assert_true(w->answers > at);
    assert_int_equal(w->outcomes[at], outcome);
    assert_non_null(strstr(w->bodies[at], text));
}

static void on_snapshot_tried(const struct fn_version *version, const char *failure, void *ctx)
{
    struct world *w = ctx;

    assert_true(version->snapshot_pending);
    w->tries++;
    (void)snprintf(w->tried, sizeof w->tried, "%s", failure ? failure : "");
}

int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct sched_config config = { .loop = &w->loop,
                                   .region = "us-east-1",
                                   .account = "000000000000",
                                   .idle_timeout_ms = 60000,
                                   .freeze_after_ms = 60000,
                                   .max_memory_bytes = 1 << 30,
                                   .account_concurrency = 3,
                                   .templates = true,
                                   .template_idle_ms = 60000,
                                   .on_snapshot_tried = on_snapshot_tried,
                                   .ctx = w };
    struct err err = { 0 };

    log_init("test", LOG_ERROR);
    (void)snprintf(w->folder, sizeof w->folder, "/tmp/irori-test-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    w->folder_fd = open(w->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(credentials_open(w->folder_fd, "credentials", "000000000000", "us-east-1", (unsigned)-1,
                                      (unsigned)-1, &w->credentials, &err),
                     0);
    w->logs = logs_new(w->folder_fd, 1 << 22, 1 << 22);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    config.credentials = w->credentials;
    config.logs = w->logs;
    w->sched = sched_new(&config);
    w->launcher = w->runtime = w->output = w->peak = -1;
    put(w, -1, "first", false);
    connect_launcher(w);
    *state = w;
    return 0;
}

void on_stopped(void *ctx)
{
    struct world *w = ctx;

    w->stopped = true;
}

/* Every test ends so: nothing may be left over, whatever it did. */
int tear_down(void **state)
{
    struct world *w = *state;
    char command[128];

    if (!w->sched->stopping)
        sched_stop(w->sched, on_stopped, w);
    (void)close(w->launcher); /* ends what still waits for its GONE */
    if (w->runtime >= 0)
        (void)close(w->runtime);
    if (w->output >= 0)
        (void)close(w->output);
    for (int i = 0; i < TURNS && !w->stopped; i++)
        (void)uv_run(&w->loop, UV_RUN_NOWAIT);
    assert_true(w->stopped);
    assert_int_equal(w->sched->in_flight_unreserved, 0);
    for (const struct entry *entry = w->sched->entries; entry; entry = entry->hh.next)
        assert_int_equal(entry->in_flight, 0);
    w->sched = sched_free(w->sched);
    turn(w);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    w->logs = logs_free(w->logs);
    w->credentials = credentials_free(w->credentials);
    (void)close(w->folder_fd);
    (void)snprintf(command, sizeof command, "rm -rf %s", w->folder);
    assert_int_equal(system(command), 0);
    free(w);
    return 0;
}

/* ---- the sandbox ---- */

void started(struct world *w, uint64_t id)
{
    struct wire_message message = { .type = WIRE_STARTED, .env_id = id, .text = "" };
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int log[2], file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int fds[WIRE_FD_CONNECTION];

    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 4), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    assert_int_equal(pipe2(log, O_CLOEXEC | O_NONBLOCK), 0);
    fds[WIRE_FD_LISTENER] = listener;
    fds[WIRE_FD_LOG] = log[0];
    fds[WIRE_FD_PIDFD] = fds[WIRE_FD_MEMORY_USAGE] = fds[WIRE_FD_MEMORY_STAT] = file;
    fds[WIRE_FD_MEMORY_PEAK] = w->peak >= 0 ? w->peak : file;
    send_message(w, &message, fds, WIRE_FD_CONNECTION);
    (void)close(listener);
    (void)close(log[0]);
    (void)close(file);
    if (w->output >= 0)
        (void)close(w->output);
    w->output = log[1];
    if (w->runtime >= 0)
        (void)close(w->runtime);
    w->runtime = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(w->runtime, (struct sockaddr *)&address, sizeof address), 0);
    turn(w);
}

/* A clone: its end of the connection is w->runtime, and it has asked for work already. */
void started_parked(struct world *w, uint64_t id)
{
    struct wire_message message = { .type = WIRE_STARTED, .env_id = id, .number = WIRE_PARKED, .text = "" };
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int pair[2], file = open("/dev/null", O_RDONLY | O_CLOEXEC), log[2];

    assert_int_equal(listen(listener, 4), 0); /* on any port: nobody comes */
    assert_int_equal(pipe2(log, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    send_message(w, &message, (int[]){ listener, log[0], file, file, file, file, pair[0], pair[1] },
                 WIRE_FD_END);
    (void)close(listener);
    (void)close(log[0]);
    (void)close(log[1]);
    (void)close(file);
    (void)close(pair[0]);
    if (w->runtime >= 0)
        (void)close(w->runtime);
    w->runtime = pair[1];
}

void expect_text(struct world *w, const char *text)
{
    char bytes[65536];
    ssize_t n;

    turn(w);
    n = recv(w->runtime, bytes, sizeof bytes - 1, MSG_DONTWAIT);
    bytes[n > 0 ? n : 0] = '\0';
    if (!strstr(bytes, text))
        fail_msg("'%s' has no '%s'", bytes, text);
}

void call(struct world *w, const char *method, const char *path, const char *body)
{
    char text[512];
    int len = snprintf(text, sizeof text,
                       "%s /2018-06-01/runtime/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s",
                       method, path, strlen(body), body);

    assert_int_equal(send(w->runtime, text, (size_t)len, MSG_NOSIGNAL), len);
    turn(w);
}

void simple(struct world *w, enum wire_type type, uint64_t id)
{
    struct wire_message message = { .type = type, .env_id = id, .text = "" };

    message.exited = (struct wire_exited){ .env_id = id, .kind = WIRE_EXIT_CODE, .value = 3, .text = "" };
    send_message(w, &message, NULL, 0);
}

void failed(struct world *w, uint64_t id, enum wire_failure why)
{
    struct wire_message message = { .type = WIRE_FAILED, .env_id = id, .number = why, .text = "no" };

    send_message(w, &message, NULL, 0);
}

/* An environment that waits in `next` after its first invocation. */
uint64_t make_warm(struct world *w)
{
    uint64_t id;

    invoke(w);
    id = expect_message(w, WIRE_START);
    started(w, id);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CPU), id);
    call(w, "POST", "invocation/request/response", "1");
    call(w, "GET", "invocation/next", "");
    expect_answer(w, w->answers - 1, SCHED_OK, "1");
    return id;
}

void captured_with(struct world *w, uint64_t id, uint64_t refused, const char *text)
{
    struct wire_message message = { .type = WIRE_CAPTURED, .env_id = id, .number = refused, .text = text };

    send_message(w, &message, NULL, 0);
}

void captured(struct world *w, uint64_t id, uint64_t refused)
{
    captured_with(w, id, refused, refused ? "an open socket" : "");
}

/* The first clone of a template, which is only watched for a moment. */
void proven(struct world *w, uint64_t template_id)
{
    struct template *template = template_find_id(w->sched, template_id);
    uint64_t id = expect_message(w, WIRE_START);

    assert_int_equal(template->state, TEMPLATE_PROVING);
    assert_int_equal(start.template_id, template_id);
    assert_int_equal(start.flags, 0);
    started_parked(w, id);
    for (int i = 0; i < TURNS && template->state == TEMPLATE_WATCHING; i++)
        turn(w);
    assert_int_equal(template->state, TEMPLATE_READY);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    simple(w, WIRE_GONE, id);
}

/* READY's descriptors: what all environments use. */
void send_memory_files(struct world *w, int fds[2])
{
    struct wire_message ready = { .type = WIRE_READY, .text = RUNTIMES };

    for (int i = 0; i < 2; i++)
        fds[i] = openat(w->folder_fd, i == 0 ? "usage" : "stat", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    send_message(w, &ready, fds, 2);
}

void write_memory(const int fds[2], unsigned usage_mb, unsigned file_mb)
{
    assert_int_equal(ftruncate(fds[0], 0), 0);
    assert_int_equal(ftruncate(fds[1], 0), 0);
    (void)lseek(fds[0], 0, SEEK_SET);
    (void)lseek(fds[1], 0, SEEK_SET);
    assert_true(dprintf(fds[0], "%llu\n", (unsigned long long)usage_mb << 20) > 0);
    assert_true(dprintf(fds[1], "cache 1\ntotal_inactive_file %llu\ntotal_active_file 0\n",
                        (unsigned long long)file_mb << 20) > 0);
}

/* A launcher whose environments use nothing that shows, with so much room. */
void give_memory(struct world *w, int fds[2], unsigned usage_mb, unsigned limit_mb)
{
    send_memory_files(w, fds);
    write_memory(fds, usage_mb, 0);
    w->sched->config.max_memory_bytes = (uint64_t)limit_mb << 20;
    memory_sample(w->sched);
}

void close_memory(int fds[2])
{
    (void)close(fds[0]);
    (void)close(fds[1]);
}

void expect_listed(struct world *w, const char *text)
{
    AUTO_BUF struct buf out = BUF_INIT(65536);

    sched_list_templates(w->sched, &out);
    if (!strstr(out.data, text))
        fail_msg("'%s' has no '%s'", out.data, text);
}
