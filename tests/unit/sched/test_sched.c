/* The scheduler against a launcher and a runtime that the test plays: limits, counters, and the bad ends. */

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

enum { ANSWERS_MAX = 16, TURNS = 2000 };

struct world {
    uv_loop_t loop;
    char folder[64];
    int folder_fd;
    struct credentials *credentials;
    struct logs *logs;
    struct sched *sched;
    int launcher; /* the launcher's end */
    uint64_t sequence;
    bool stopped;
    unsigned answers;
    enum sched_outcome outcomes[ANSWERS_MAX];
    char bodies[ANSWERS_MAX][128];
    int runtime; /* a connection to the Runtime API */
    int output;  /* the runtime's stdout */
    int peak;    /* the environment's memory peak, as a file; -1: the launcher sends none */
};

/* ---- the world ---- */

static void turn(struct world *w)
{
    for (int i = 0; i < 20; i++) {
        (void)uv_run(&w->loop, UV_RUN_NOWAIT);
        (void)usleep(200);
    }
}

static void send_message(struct world *w, const struct wire_message *message, const int *fds, size_t count)
{
    AUTO_BUF struct buf packet = BUF_INIT(WIRE_MAX_BYTES);

    assert_int_equal(wire_encode(message, &packet), 0);
    assert_int_equal(wire_send(w->launcher, packet.data, packet.len, fds, count), 0);
    turn(w);
}

static void connect_launcher(struct world *w)
{
    struct wire_message ready = {
        .type = WIRE_READY,
        .text = "{\"runtimes\":[{\"id\":\"nodejs20.x\",\"inside\":\"/var/lang/bin/node\"}]}"
    };
    struct err err = { 0 };
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    w->launcher = pair[1];
    assert_int_equal(sched_connect(w->sched, pair[0], &err), 0);
    send_message(w, &ready, NULL, 0);
}

/* Of the last START. */
static struct {
    uint64_t template_id;
    uint32_t flags, uid_index;
    char code[65], handler[64];
} start;

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
static uint64_t expect_message(struct world *w, enum wire_type type)
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

static void expect_silence(struct world *w)
{
    char byte;

    turn(w);
    assert_int_equal(recv(w->launcher, &byte, 1, MSG_PEEK | MSG_DONTWAIT), -1);
}

static void put_full(struct world *w, const char *name, const char *runtime, int reserved,
                     const char *config_id, bool deleted)
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
    function->latest = version;
    sched_put_function(w->sched, function);
}

static void put_as(struct world *w, const char *runtime, int reserved, const char *config_id, bool deleted)
{
    put_full(w, "fn", runtime, reserved, config_id, deleted);
}

static void put_function(struct world *w, const char *name, int reserved, const char *config_id, bool deleted)
{
    put_full(w, name, "provided.al2023", reserved, config_id, deleted);
}

static void put(struct world *w, int reserved, const char *config_id, bool deleted)
{
    put_as(w, "provided.al2023", reserved, config_id, deleted);
}

static void on_done(const struct sched_result *result, void *ctx)
{
    struct world *w = ctx;

    assert_true(w->answers < ANSWERS_MAX);
    w->outcomes[w->answers] = result->outcome;
    (void)snprintf(w->bodies[w->answers], sizeof w->bodies[0], "%.*s",
                   result->outcome == SCHED_THROTTLED ? (int)strlen(result->reason) : (int)result->body_len,
                   result->outcome == SCHED_THROTTLED ? result->reason : result->body);
    w->answers++;
}

static void invoke_function(struct world *w, const char *name)
{
    const struct function *function = sched_find_function(w->sched, name, strlen(name));
    struct blob *event = blob_new("{}", 2);
    struct sched_request request = { .function = function,
                                     .version = function->latest,
                                     .invoked_arn = function->arn,
                                     .request_id = "request",
                                     .trace_id = "",
                                     .event = event };

    sched_invoke(w->sched, &request, on_done, w);
    (void)blob_unref(event);
}

static void invoke(struct world *w)
{
    invoke_function(w, "fn");
}

static void expect_answer(const struct world *w, unsigned at, enum sched_outcome outcome, const char *text)
{
    assert_true(w->answers > at);
    assert_int_equal(w->outcomes[at], outcome);
    assert_non_null(strstr(w->bodies[at], text));
}

static int set_up(void **state)
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
                                   .template_idle_ms = 60000 };
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

static void on_stopped(void *ctx)
{
    struct world *w = ctx;

    w->stopped = true;
}

/* Every test ends so: nothing may be left over, whatever it did. */
static int tear_down(void **state)
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

static void started(struct world *w, uint64_t id)
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
static void started_parked(struct world *w, uint64_t id)
{
    struct wire_message message = { .type = WIRE_STARTED, .env_id = id, .number = WIRE_PARKED, .text = "" };
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int pair[2], file = open("/dev/null", O_RDONLY | O_CLOEXEC), log[2];

    assert_int_equal(listen(listener, 4), 0); /* on any port: nobody comes */
    assert_int_equal(pipe2(log, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    send_message(w, &message, (int[]){ listener, log[0], file, file, file, file, pair[0] },
                 WIRE_FD_CONNECTION + 1);
    (void)close(listener);
    (void)close(log[0]);
    (void)close(log[1]);
    (void)close(file);
    (void)close(pair[0]);
    if (w->runtime >= 0)
        (void)close(w->runtime);
    w->runtime = pair[1];
}

static void expect_text(struct world *w, const char *text)
{
    char bytes[65536];
    ssize_t n;

    turn(w);
    n = recv(w->runtime, bytes, sizeof bytes - 1, MSG_DONTWAIT);
    bytes[n > 0 ? n : 0] = '\0';
    if (!strstr(bytes, text))
        fail_msg("'%s' has no '%s'", bytes, text);
}

static void call(struct world *w, const char *method, const char *path, const char *body)
{
    char text[512];
    int len = snprintf(text, sizeof text,
                       "%s /2018-06-01/runtime/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s",
                       method, path, strlen(body), body);

    assert_int_equal(send(w->runtime, text, (size_t)len, MSG_NOSIGNAL), len);
    turn(w);
}

static void simple(struct world *w, enum wire_type type, uint64_t id)
{
    struct wire_message message = { .type = type, .env_id = id, .text = "" };

    message.exited = (struct wire_exited){ .env_id = id, .kind = WIRE_EXIT_CODE, .value = 3, .text = "" };
    send_message(w, &message, NULL, 0);
}

static void failed(struct world *w, uint64_t id, enum wire_failure why)
{
    struct wire_message message = { .type = WIRE_FAILED, .env_id = id, .number = why, .text = "no" };

    send_message(w, &message, NULL, 0);
}

/* An environment that waits in `next` after its first invocation. */
static uint64_t make_warm(struct world *w)
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

/* ---- tests ---- */

static void test_limits_follow_changes_under_way(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < 4; i++)
        invoke(w);
    assert_int_equal(w->answers, 1);
    expect_answer(w, 0, SCHED_THROTTLED, "ConcurrentInvocationLimitExceeded");
    assert_int_equal(w->sched->in_flight_unreserved, 3);
    put(w, 3, "first", false); /* its three now count as reserved ones */
    assert_int_equal(w->sched->in_flight_unreserved, 0);
    invoke(w);
    expect_answer(w, 1, SCHED_THROTTLED, "ReservedFunctionConcurrentInvocationLimitExceeded");
    put(w, -1, "first", false);
    assert_int_equal(w->sched->in_flight_unreserved, 3);
    put(w, 0, "first", false);
    invoke(w);
    expect_answer(w, 2, SCHED_THROTTLED, "ReservedFunctionConcurrentInvocationLimitExceeded");
    put(w, 0, "first", true); /* deleted: what is under way goes on */
    assert_null(sched_find_function(w->sched, "fn", 2));
    assert_int_equal(w->answers, 3);
    for (int i = 0; i < 3; i++)
        failed(w, expect_message(w, WIRE_START), WIRE_FAIL_SYSTEM);
    assert_int_equal(w->answers, 6);
    expect_answer(w, 5, SCHED_UNAVAILABLE, "no");
    assert_int_equal(w->sched->starting, 0);
    assert_null(w->sched->pools);
    assert_null(w->sched->envs);
}

static void test_reserved_concurrency_is_taken_from_the_account(void **state)
{
    struct world *w = *state;

    put(w, 2, "first", false);
    put_function(w, "other", -1, "other", false);
    invoke_function(w, "other");
    assert_int_equal(w->answers, 0);
    invoke_function(w, "other"); /* of three, two are another one's, who does not use them */
    expect_answer(w, 0, SCHED_THROTTLED, "ConcurrentInvocationLimitExceeded");
    invoke(w);
    invoke(w);
    assert_int_equal(w->answers, 1);
    invoke(w);
    expect_answer(w, 1, SCHED_THROTTLED, "ReservedFunctionConcurrentInvocationLimitExceeded");
}

static void test_whichever_environment_is_ready_first_serves(void **state)
{
    struct world *w = *state;
    uint64_t cold;

    (void)make_warm(w);
    invoke(w);
    invoke(w);
    cold = expect_message(w, WIRE_START);
    call(w, "POST", "invocation/request/response", "2");
    call(w, "GET", "invocation/next", "");
    call(w, "POST", "invocation/request/response", "3");
    expect_answer(w, 2, SCHED_OK, "3");
    started(w, cold);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CPU), cold);
    expect_silence(w); /* it waits for the next one */
}

static void test_one_that_is_about_to_be_free_is_waited_for(void **state)
{
    struct world *w = *state;
    uv_timer_t *grace;

    (void)make_warm(w);
    invoke(w);
    call(w, "POST", "invocation/request/response", "2");
    invoke(w);
    grace = &w->sched->pools->grace;
    assert_true(uv_is_active((uv_handle_t *)grace));
    (void)uv_timer_start(grace, grace->timer_cb, 1000, 0); /* however slow this machine is */
    call(w, "GET", "invocation/next", "");
    expect_silence(w);
    call(w, "POST", "invocation/request/response", "3");
    expect_answer(w, 2, SCHED_OK, "3");
    assert_int_equal(w->sched->pools->responded, 1);
}

static void test_but_not_for_long(void **state)
{
    struct world *w = *state;
    char byte;

    (void)make_warm(w);
    invoke(w);
    call(w, "POST", "invocation/request/response", "2");
    uv_update_time(&w->loop);
    invoke(w);
    assert_int_equal(recv(w->launcher, &byte, 1, MSG_PEEK | MSG_DONTWAIT), -1);
    (void)usleep(5000);
    turn(w);
    assert_true(expect_message(w, WIRE_START) > 0);
}

static void test_an_older_picture_comes_too_late(void **state)
{
    struct world *w = *state;

    invoke(w);
    put(w, -1, "first", true);
    failed(w, expect_message(w, WIRE_START), WIRE_FAIL_SYSTEM);
    pictures_forget(w->sched);
    w->sequence = 0;
    put(w, -1, "first", false);
    assert_null(sched_find_function(w->sched, "fn", 2));
    pictures_forget(w->sched);
    assert_null(w->sched->entries);
}

static void test_no_slot_and_nobody_to_end(void **state)
{
    struct world *w = *state;

    invoke(w);
    failed(w, expect_message(w, WIRE_START), WIRE_FAIL_NO_SLOT);
    expect_answer(w, 0, SCHED_THROTTLED, "ConcurrentInvocationLimitExceeded");
    assert_null(w->sched->pools);
}

static void test_no_slot_for_two_in_the_queue(void **state)
{
    struct world *w = *state;
    uint64_t first, second;

    invoke(w);
    invoke(w);
    first = expect_message(w, WIRE_START);
    second = expect_message(w, WIRE_START);
    failed(w, first, WIRE_FAIL_NO_SLOT);
    expect_answer(w, 0, SCHED_THROTTLED, "ConcurrentInvocationLimitExceeded");
    failed(w, second, WIRE_FAIL_NO_SLOT);
    expect_answer(w, 1, SCHED_THROTTLED, "ConcurrentInvocationLimitExceeded");
    expect_silence(w);
    assert_null(w->sched->pools);
}

static void test_no_slot_but_one_that_will_be_free(void **state)
{
    struct world *w = *state;

    (void)make_warm(w);
    invoke(w);
    invoke(w);
    invoke(w);
    failed(w, expect_message(w, WIRE_START), WIRE_FAIL_NO_SLOT);
    assert_int_equal(w->answers, 1);
    failed(w, expect_message(w, WIRE_START), WIRE_FAIL_NO_SLOT);
    assert_int_equal(w->answers, 2);
    expect_answer(w, 1, SCHED_THROTTLED, "ConcurrentInvocationLimitExceeded");
    expect_silence(w);
    call(w, "POST", "invocation/request/response", "2");
    call(w, "GET", "invocation/next", "");
    expect_answer(w, 2, SCHED_OK, "2");
    call(w, "POST", "invocation/request/response", "3");
    expect_answer(w, 3, SCHED_OK, "3");
}

static void test_no_memory_leaves_no_pool(void **state)
{
    struct world *w = *state;

    w->sched->config.max_memory_bytes = 1 << 20;
    invoke(w);
    expect_answer(w, 0, SCHED_THROTTLED, "ConcurrentInvocationLimitExceeded");
    expect_silence(w);
    assert_null(w->sched->pools);
}

/* READY's descriptors: what all environments use. */
static void send_memory_files(struct world *w, int fds[2])
{
    struct wire_message ready = { .type = WIRE_READY, .text = "{\"runtimes\":[]}" };

    for (int i = 0; i < 2; i++)
        fds[i] = openat(w->folder_fd, i == 0 ? "usage" : "stat", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    send_message(w, &ready, fds, 2);
}

static void write_memory(const int fds[2], unsigned usage_mb, unsigned file_mb)
{
    assert_int_equal(ftruncate(fds[0], 0), 0);
    assert_int_equal(ftruncate(fds[1], 0), 0);
    (void)lseek(fds[0], 0, SEEK_SET);
    (void)lseek(fds[1], 0, SEEK_SET);
    assert_true(dprintf(fds[0], "%llu\n", (unsigned long long)usage_mb << 20) > 0);
    assert_true(dprintf(fds[1], "cache 1\ntotal_inactive_file %llu\ntotal_active_file 0\n",
                        (unsigned long long)file_mb << 20) > 0);
}

static void wait_for_tick(struct world *w)
{
    unsigned before = w->sched->ticks;

    for (int i = 0; i < TURNS && w->sched->ticks == before; i++)
        turn(w);
    assert_true(w->sched->ticks > before);
}

static void test_memory_in_use_ends_the_longest_idle(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w);
    int fds[2];

    send_memory_files(w, fds);
    write_memory(fds, 1020, 200); /* of 1024: file pages are no use */
    wait_for_tick(w);
    expect_silence(w);
    write_memory(fds, 980, 0);
    wait_for_tick(w);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    wait_for_tick(w);
    expect_silence(w);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void test_exit_restart_and_its_failure(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w);

    invoke(w);
    simple(w, WIRE_EXITED, id);
    expect_answer(w, 1, SCHED_FUNCTION_ERROR, "exit status 3");
    invoke(w);
    assert_int_equal(expect_message(w, WIRE_RESTART), id);
    started(w, id);
    call(w, "POST", "init/error", "{\"errorMessage\":\"again\"}");
    expect_answer(w, 2, SCHED_FUNCTION_ERROR, "again");
    assert_int_equal(expect_message(w, WIRE_STOP), id);
    invoke(w);
    assert_int_equal(expect_message(w, WIRE_RESTART), id);
    failed(w, id, WIRE_FAIL_SYSTEM);
    expect_answer(w, 3, SCHED_UNAVAILABLE, "lost");
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    simple(w, WIRE_GONE, id);
    assert_null(w->sched->envs);
    assert_null(w->sched->pools);
}

static void test_a_restart_that_cannot_be_asked_for(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w);

    invoke(w);
    simple(w, WIRE_EXITED, id);
    w->sched->pools->version->memory_mb = 1; /* no message may say so */
    invoke(w);
    expect_answer(w, 2, SCHED_UNAVAILABLE, "lost");
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    simple(w, WIRE_GONE, id);
    assert_null(w->sched->envs);
}

/* The timer's end, now. */
static void fire_timer(struct world *w)
{
    uv_timer_t *timer = &w->sched->envs->timer;
    uv_timer_cb callback = timer->timer_cb;

    assert_int_equal(uv_timer_stop(timer), 0);
    callback(timer);
    turn(w);
}

static uint64_t timer_due_ms(const struct world *w)
{
    return uv_timer_get_due_in(&w->sched->envs->timer);
}

static void test_a_long_init_inside_an_invocation_gets_its_share(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w);

    w->sched->pools->version->timeout_s = 60;
    invoke(w);
    simple(w, WIRE_EXITED, id);
    invoke(w);
    assert_int_equal(expect_message(w, WIRE_RESTART), id);
    started(w, id);
    assert_in_range(timer_due_ms(w), 9000, 10000);
    expect_silence(w);
    fire_timer(w);
    assert_int_equal(expect_message(w, WIRE_CPU), id);
    assert_int_equal(w->sched->envs->state, LIFE_REINIT);
    assert_in_range(timer_due_ms(w), 49000, 50001);
    fire_timer(w);
    expect_answer(w, 2, SCHED_FUNCTION_ERROR, "timed out");
}

static void test_timeout_after_the_response(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w);

    invoke(w);
    call(w, "POST", "invocation/request/response", "2");
    expect_answer(w, 1, SCHED_OK, "2");
    assert_int_equal(w->sched->envs->state, LIFE_RESPONDED);
    assert_int_equal(w->sched->pools->responded, 1);
    for (int i = 0; i < TURNS && w->sched->envs->state == LIFE_RESPONDED; i++)
        turn(w);
    assert_int_equal(w->sched->envs->state, LIFE_DOWN);
    assert_int_equal(w->sched->pools->responded, 0);
    assert_int_equal(expect_message(w, WIRE_STOP), id);
}

static void print_lines(struct world *w, size_t lines)
{
    for (size_t i = 0; i < lines; i++)
        assert_int_equal(write(w->output, "x\n", 2), 2);
}

/* The log as it is in the file. */
static char *read_log(struct world *w)
{
    enum { MAX = 1 << 22 };
    char *text = calloc(1, MAX);
    int fd = openat(w->folder_fd, "fn/0000000000000000.log", O_RDONLY | O_CLOEXEC);
    ssize_t len = read(fd, text, MAX - 1);

    assert_true(len >= 0);
    (void)close(fd);
    return text;
}

static size_t count_printed(struct world *w)
{
    char *text, *at;
    size_t count = 0;

    sched_flush_logs(w->sched);
    text = read_log(w);
    for (at = text; (at = strstr(at, "\tx\n")); at++)
        count++;
    free(text);
    return count;
}

static void wait_for_printed(struct world *w, size_t lines)
{
    for (int i = 0; i < TURNS / 10 && count_printed(w) < lines; i++)
        turn(w);
    assert_int_equal(count_printed(w), lines);
}

static void test_the_largest_use_is_no_file_page_and_within_the_limit(void **state)
{
    (void)state;
    assert_int_equal(memory_peak(10, 100, 30, 1000), 70);
    assert_int_equal(memory_peak(80, 100, 30, 1000), 80);
    assert_int_equal(memory_peak(10, 100, 30, 50), 50);
    assert_int_equal(memory_peak(10, 20, 30, 1000), 10);
    assert_int_equal(memory_peak(10, 0, 0, 1000), 10);
}

static void expect_max_memory(struct world *w, const char *text)
{
    char *log;

    sched_flush_logs(w->sched);
    log = read_log(w);
    assert_non_null(strstr(log, text));
    free(log);
}

static void test_report_shows_a_use_between_two_samples(void **state)
{
    struct world *w = *state;

    w->peak = openat(w->folder_fd, "peak", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(dprintf(w->peak, "%d\n", 33 << 20) > 0);
    (void)make_warm(w);
    expect_max_memory(w, "Max Memory Used: 33 MB");
    invoke(w);
    call(w, "POST", "invocation/request/response", "2");
    call(w, "GET", "invocation/next", "");
    assert_int_equal(pwrite(w->peak, "91000000\n", 9, 0), 9);
    invoke(w);
    call(w, "POST", "invocation/request/response", "3");
    call(w, "GET", "invocation/next", "");
    expect_max_memory(w, "Max Memory Used: 87 MB");
    (void)close(w->peak);
}

static void test_a_flood_of_lines_is_read_bit_by_bit(void **state)
{
    struct world *w = *state;

    (void)make_warm(w);
    print_lines(w, 10000);
    (void)uv_run(&w->loop, UV_RUN_NOWAIT);
    assert_in_range(count_printed(w), 1, 4096);
    wait_for_printed(w, 10000);
    print_lines(w, 1); /* it is still read */
    wait_for_printed(w, 10001);
}

static void test_output_stands_before_the_end(void **state)
{
    struct world *w = *state;
    char *text, *end, *line;

    (void)make_warm(w);
    invoke(w);
    print_lines(w, 6000);
    call(w, "POST", "invocation/request/response", "2");
    call(w, "GET", "invocation/next", "");
    assert_int_equal(count_printed(w), 6000);
    text = read_log(w);
    end = strstr(strstr(text, "\tx\n"), "\tEND ");
    assert_non_null(end);
    line = strstr(end, "\tx\n");
    free(text);
    assert_null(line);
}

static void test_output_of_an_ended_process_is_kept(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w);

    invoke(w);
    print_lines(w, 30000);
    simple(w, WIRE_EXITED, id);
    assert_true(count_printed(w) < 30000);
    invoke(w);
    assert_int_equal(expect_message(w, WIRE_RESTART), id);
    assert_int_equal(count_printed(w), 30000);
}

static void test_an_update_ends_what_is_idle(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w);

    put(w, -1, "second", false);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    simple(w, WIRE_GONE, id);
    assert_null(w->sched->pools);
}

static void test_an_update_takes_the_queue_along(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w), old, fresh;

    invoke(w);
    invoke(w);
    old = expect_message(w, WIRE_START);
    put(w, -1, "second", false);
    fresh = expect_message(w, WIRE_START);
    call(w, "POST", "invocation/request/response", "2");
    call(w, "GET", "invocation/next", "");
    expect_answer(w, 1, SCHED_OK, "2");
    assert_int_equal(expect_message(w, WIRE_KILL), id); /* it is idle, and nobody waits for it */
    simple(w, WIRE_GONE, id);
    started(w, old);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CPU), old);
    assert_int_equal(expect_message(w, WIRE_KILL), old);
    simple(w, WIRE_GONE, old);
    assert_int_equal(w->answers, 2);
    started(w, fresh);
    call(w, "GET", "invocation/next", "");
    call(w, "POST", "invocation/request/response", "new");
    expect_answer(w, 2, SCHED_OK, "new");
    assert_ptr_equal(w->sched->envs->invocation->version, sched_find_function(w->sched, "fn", 2)->latest);
    assert_string_equal(w->sched->envs->invocation->invoked_arn,
                        "arn:aws:lambda:us-east-1:000000000000:function:fn");
}

static void test_old_credentials_end_the_environment(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w);

    w->sched->envs->replace_wall_ms = 0;
    invoke(w);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    assert_true(expect_message(w, WIRE_START) != id);
    assert_int_equal(w->answers, 1);
}

static void test_a_lost_launcher(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w);
    char byte;

    invoke(w); /* busy */
    invoke(w); /* starting */
    assert_true(expect_message(w, WIRE_START) != id);
    assert_int_equal(send(w->launcher, "x", 1, 0),
                     1); /* no message is so short: refused, and no more than that */
    turn(w);
    assert_int_equal(w->answers, 1);
    (void)shutdown(w->launcher, SHUT_WR);
    turn(w);
    assert_int_equal(recv(w->launcher, &byte, 1, 0), 0); /* our end is shut, too */
    assert_int_equal(w->answers, 3);
    expect_answer(w, 1, SCHED_UNAVAILABLE, "lost");
    expect_answer(w, 2, SCHED_UNAVAILABLE, "lost");
    invoke(w); /* waits for the next one */
    assert_int_equal(w->answers, 3);
    (void)close(w->launcher);
    connect_launcher(w);
    assert_true(expect_message(w, WIRE_START) > id);
}

static void test_stop_with_all_under_way(void **state)
{
    struct world *w = *state;
    uint64_t id = make_warm(w);

    simple(w, WIRE_EXITED, id);
    assert_int_equal(expect_message(w, WIRE_KILL), id); /* STOPPING */
    invoke(w);
    id = expect_message(w, WIRE_START);
    started(w, id);
    call(w, "POST", "init/error", "{}");
    assert_int_equal(expect_message(w, WIRE_STOP), id);
    assert_int_equal(expect_message(w, WIRE_RESTART), id); /* RESTARTING with the invocation */
    invoke(w);                                             /* STARTING */
}

/* ---- templates ---- */

static struct template *template_of(const struct world *w)
{
    assert_non_null(w->sched->templates);
    return w->sched->templates;
}

static void expect_state(const struct world *w, enum template_state state)
{
    assert_string_equal(template_state_name(template_of(w)->state), template_state_name(state));
}

/* Its limit, or its pause, is over. */
static void let_time_pass(struct world *w)
{
    uv_timer_t *timer = &template_of(w)->timer;

    assert_true(uv_is_active((uv_handle_t *)timer));
    (void)uv_timer_start(timer, timer->timer_cb, 0, 0);
    turn(w);
}

static void captured(struct world *w, uint64_t id, uint64_t refused)
{
    struct wire_message message = {
        .type = WIRE_CAPTURED, .env_id = id, .number = refused, .text = refused ? "an open socket" : ""
    };

    send_message(w, &message, NULL, 0);
}

static void exited(struct world *w, uint64_t id, int signal_number)
{
    struct wire_message message = { .type = WIRE_EXITED, .env_id = id };

    message.exited = (struct wire_exited){ id, WIRE_EXIT_SIGNAL, signal_number, false, "" };
    send_message(w, &message, NULL, 0);
}

/* The launcher's part until it is in that state; returns its id. */
static uint64_t bring_template(struct world *w, enum template_state state)
{
    uint64_t id = expect_message(w, WIRE_START);

    assert_int_equal(start.flags, WIRE_START_TEMPLATE);
    if (state == TEMPLATE_STARTING)
        return id;
    started(w, id);
    if (state == TEMPLATE_LOADING)
        return id;
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CAPTURE), id);
    if (state == TEMPLATE_CAPTURING)
        return id;
    captured(w, id, 0);
    expect_state(w, TEMPLATE_READY);
    return id;
}

static uint64_t make_template(struct world *w, enum template_state state)
{
    put_as(w, "nodejs20.x", -1, "node", false);
    return bring_template(w, state);
}

/* A clone that waits in its INIT. */
static uint64_t make_clone(struct world *w, uint64_t template_id)
{
    uint64_t id;

    invoke(w);
    id = expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, template_id);
    started_parked(w, id);
    expect_text(w, "Irori-Wake: runtime\r\n");
    return id;
}

static void serve(struct world *w, uint64_t id)
{
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CPU), id);
    expect_text(w, "Lambda-Runtime-Aws-Request-Id: request");
    call(w, "POST", "invocation/request/response", "1");
    call(w, "GET", "invocation/next", "");
    expect_answer(w, w->answers - 1, SCHED_OK, "1");
}

static void expect_listed(struct world *w, const char *text)
{
    AUTO_BUF struct buf out = BUF_INIT(65536);

    sched_list_templates(w->sched, &out);
    if (!strstr(out.data, text))
        fail_msg("'%s' has no '%s'", out.data, text);
}

static void test_a_function_brings_a_template_and_its_environments_are_clones(void **state)
{
    struct world *w = *state;
    uint64_t template_id, id;

    expect_silence(w); /* provided has none */
    template_id = make_template(w, TEMPLATE_READY);
    assert_string_equal(start.code, "");
    assert_string_equal(start.handler, "");
    assert_int_equal(start.uid_index, 0);
    assert_null(template_of(w)->api);
    put_as(w, "nodejs20.x", -1, "other", false);
    expect_silence(w); /* one is enough */
    invoke(w);
    id = expect_message(w, WIRE_START);
    assert_true(id != template_id);
    assert_int_equal(start.template_id, template_id);
    assert_int_equal(start.uid_index, 1);
    assert_string_equal(start.handler, "h");
    started_parked(w, id);
    assert_int_equal(w->sched->envs->state, LIFE_INIT);
    expect_text(w, "\"handler\":\"h\",\"root\":\"/var/task\"}");
    expect_silence(w);
    serve(w, id);
    assert_null(w->sched->envs->wake);
    expect_listed(w, "{\"enabled\":true,\"templates\":[{\"runtime\":\"nodejs20.x\",\"kind\":\"runtime\","
                     "\"state\":\"ready\",");
    expect_listed(w, "\"clones\":1,\"fallbacks\":0,\"ineligible\":0,\"failures\":0,\"reason\":\"\"}");
    simple(w, WIRE_EXITED, id); /* idle ones are not mourned */
    assert_int_equal(expect_message(w, WIRE_KILL), id);
}

static void test_a_restart_is_never_a_clone(void **state)
{
    struct world *w = *state;
    uint64_t id = make_clone(w, make_template(w, TEMPLATE_READY));

    call(w, "POST", "init/error", "{\"errorMessage\":\"no\"}");
    assert_int_equal(expect_message(w, WIRE_STOP), id);
    assert_int_equal(expect_message(w, WIRE_RESTART), id);
    started(w, id);
    call(w, "GET", "invocation/next", "");
    assert_int_equal(expect_message(w, WIRE_CPU), id);
    call(w, "POST", "invocation/request/response", "1");
    expect_answer(w, 0, SCHED_OK, "1");
    assert_int_equal(template_of(w)->deaths, 0);
}

static void test_without_a_clone_the_start_is_an_ordinary_one(void **state)
{
    struct world *w = *state;
    uint64_t template_id = make_template(w, TEMPLATE_READY), id;

    invoke(w);
    id = expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, template_id);
    failed(w, id, WIRE_FAIL_TEMPLATE);
    assert_int_equal(w->answers, 0);
    assert_int_equal(expect_message(w, WIRE_START), id);
    assert_int_equal(start.template_id, 0);
    started(w, id);
    serve(w, id);
    expect_listed(w, "\"clones\":0,\"fallbacks\":1,\"ineligible\":0,\"failures\":0,\"reason\":\"no\"}");
    expect_state(w, TEMPLATE_READY);
}

static void test_an_ordinary_start_that_fails_so_has_failed(void **state)
{
    struct world *w = *state;

    invoke(w);
    failed(w, expect_message(w, WIRE_START), WIRE_FAIL_TEMPLATE);
    expect_answer(w, 0, SCHED_UNAVAILABLE, "no");
    expect_silence(w);
}

static void test_starts_are_ordinary_until_the_template_is_ready(void **state)
{
    struct world *w = *state;
    uint64_t template_id = make_template(w, TEMPLATE_LOADING), id;

    invoke(w);
    id = expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, 0);
    assert_int_equal(start.flags, 0);
    expect_listed(w, "\"state\":\"loading\"");
    expect_listed(w, "\"fallbacks\":1");
    call(w, "GET", "invocation/next", ""); /* the template's */
    assert_int_equal(expect_message(w, WIRE_CAPTURE), template_id);
    captured(w, template_id, 0);
    started(w, id);
    serve(w, id);
}

static void test_variables_that_a_clone_could_not_obey(void **state)
{
    struct world *w = *state;
    struct fn_version *version;

    (void)make_template(w, TEMPLATE_READY);
    version = w->sched->entries->picture->latest;
    version->vars = calloc(1, sizeof *version->vars);
    version->vars[0] = (struct env_var){ strdup("NODE_OPTIONS"), strdup("--no-warnings") };
    version->var_count = 1;
    invoke(w);
    (void)expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, 0);
    expect_listed(
        w, "\"fallbacks\":0,\"ineligible\":1,\"failures\":0,\"reason\":\"function fn sets NODE_OPTIONS\"}");
}

static void test_a_launcher_that_knows_no_templates(void **state)
{
    struct world *w = *state;
    uint64_t id = make_template(w, TEMPLATE_STARTING);

    for (unsigned i = 1; i < 6; i++) {
        static const unsigned pauses_s[] = { 0, 1, 10, 60, 600, 600 };

        failed(w, id, WIRE_FAIL_NO_CODE);
        expect_state(w, TEMPLATE_FAILED);
        assert_int_equal(template_of(w)->failures, i);
        assert_in_range(uv_timer_get_due_in(&template_of(w)->timer), pauses_s[i] * 1000 - 100,
                        pauses_s[i] * 1000);
        expect_silence(w);
        let_time_pass(w);
        assert_true(expect_message(w, WIRE_START) > id);
        id = template_of(w)->id;
    }
    expect_listed(w, "\"failures\":5,\"reason\":\"no\"}");
    invoke(w);
    id = expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, 0);
    started(w, id);
    serve(w, id);
}

static void test_a_refused_capture_is_ended_and_tried_again(void **state)
{
    struct world *w = *state;
    uint64_t id = make_template(w, TEMPLATE_CAPTURING);

    captured(w, id, 1);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    exited(w, id, SIGKILL); /* crossed */
    expect_state(w, TEMPLATE_FAILING);
    simple(w, WIRE_GONE, id);
    expect_state(w, TEMPLATE_FAILED);
    expect_listed(w, "\"failures\":1,\"reason\":\"an open socket\"}");
    let_time_pass(w);
    assert_true(bring_template(w, TEMPLATE_READY) > id);
}

static void test_every_step_has_its_limit(void **state)
{
    static const enum template_state states[] = { TEMPLATE_STARTING, TEMPLATE_LOADING, TEMPLATE_CAPTURING };
    struct world *w = *state;

    put_as(w, "nodejs20.x", -1, "node", false);
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        uint64_t id = bring_template(w, states[i]);

        expect_state(w, states[i]);
        let_time_pass(w);
        assert_int_equal(expect_message(w, WIRE_KILL), id);
        expect_listed(w, "in time\"}");
        if (states[i] == TEMPLATE_STARTING)
            simple(w, WIRE_STARTED, id); /* crossed */
        expect_state(w, TEMPLATE_FAILING);
        simple(w, WIRE_GONE, id);
        let_time_pass(w);
    }
    (void)bring_template(w, TEMPLATE_READY);
}

static void test_a_template_that_cannot_load(void **state)
{
    struct world *w = *state;
    uint64_t id = make_template(w, TEMPLATE_LOADING);

    call(w, "POST", "init/error", "{\"errorMessage\":\n\"broken\"}");
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    expect_listed(w, "\"reason\":\"{\\\"errorMessage\\\": \\\"broken\\\"}\"}");
    assert_null(template_of(w)->api);
}

static void test_a_dead_template_is_made_anew_and_its_clones_go_on(void **state)
{
    struct world *w = *state;
    uint64_t template_id = make_template(w, TEMPLATE_READY), id = make_clone(w, template_id);

    exited(w, template_id, SIGSEGV);
    assert_int_equal(expect_message(w, WIRE_KILL), template_id);
    serve(w, id);
    simple(w, WIRE_GONE, template_id);
    expect_listed(w, "\"reason\":\"it ended: signal 11\"}");
    let_time_pass(w);
    assert_true(bring_template(w, TEMPLATE_READY) > template_id);
}

/* The clone's INIT ends by a signal; its environment starts again the ordinary way. */
static void die_in_init(struct world *w, uint64_t template_id)
{
    uint64_t id = make_clone(w, template_id);
    bool last = template_of(w)->deaths == 2;

    exited(w, id, SIGSEGV);
    if (last) {
        assert_int_equal(expect_message(w, WIRE_KILL), template_id);
        expect_state(w, TEMPLATE_FAILING);
    }
    assert_int_equal(expect_message(w, WIRE_RESTART), id);
    failed(w, id, WIRE_FAIL_SYSTEM);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    simple(w, WIRE_GONE, id);
    assert_null(w->sched->envs);
}

static void test_three_deaths_in_a_row_retire_a_template(void **state)
{
    struct world *w = *state;
    uint64_t template_id = make_template(w, TEMPLATE_READY), id;

    die_in_init(w, template_id);
    die_in_init(w, template_id);
    id = make_clone(w, template_id);
    serve(w, id); /* in between */
    assert_int_equal(template_of(w)->deaths, 0);
    simple(w, WIRE_EXITED, id);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    simple(w, WIRE_GONE, id);
    die_in_init(w, template_id);
    die_in_init(w, template_id);
    expect_state(w, TEMPLATE_READY);
    die_in_init(w, template_id);
    simple(w, WIRE_GONE, template_id);
    expect_listed(w, "\"state\":\"failed\"");
    expect_listed(w, "\"reason\":\"3 of its clones in a row ended by a signal before their first next, the "
                     "last by signal 11\"}");
    let_time_pass(w);
    assert_true(bring_template(w, TEMPLATE_READY) > template_id);
}

static void test_other_ends_of_a_clone_are_its_own(void **state)
{
    struct world *w = *state;
    uint64_t template_id = make_template(w, TEMPLATE_READY), id;

    for (int i = 0; i < 4; i++) {
        struct wire_message message = { .type = WIRE_EXITED };

        id = message.env_id = make_clone(w, template_id);
        message.exited = (struct wire_exited){ id, i % 2 ? WIRE_EXIT_CODE : WIRE_EXIT_SIGNAL, SIGKILL,
                                               /* out_of_memory= */ true, "" };
        send_message(w, &message, NULL, 0);
        assert_int_equal(expect_message(w, WIRE_RESTART), id);
        failed(w, id, WIRE_FAIL_SYSTEM);
        assert_int_equal(expect_message(w, WIRE_KILL), id);
        simple(w, WIRE_GONE, id);
    }
    expect_state(w, TEMPLATE_READY);
    assert_int_equal(template_of(w)->deaths, 0);
}

static void change_launchers(struct world *w)
{
    (void)close(w->launcher);
    turn(w);
    connect_launcher(w);
}

static void test_a_new_launcher_makes_a_new_template(void **state)
{
    struct world *w = *state;
    uint64_t id = make_template(w, TEMPLATE_READY);

    (void)close(w->launcher);
    turn(w);
    expect_state(w, TEMPLATE_NONE);
    invoke(w); /* waits */
    connect_launcher(w);
    (void)expect_message(w, WIRE_START); /* first the one that somebody waits for */
    assert_int_equal(start.template_id, 0);
    assert_int_equal(start.flags, 0);
    assert_true(bring_template(w, TEMPLATE_READY) > id);
}

/* What may have ended the launcher is not done again at once. */
static void test_a_launcher_lost_on_the_way_counts_as_a_failure(void **state)
{
    static const enum template_state states[] = { TEMPLATE_STARTING, TEMPLATE_LOADING, TEMPLATE_CAPTURING };
    struct world *w = *state;

    put_as(w, "nodejs20.x", -1, "node", false);
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        (void)bring_template(w, states[i]);
        change_launchers(w);
        expect_state(w, TEMPLATE_FAILED);
        expect_silence(w);
        let_time_pass(w);
    }
    (void)bring_template(w, TEMPLATE_READY);
}

static void test_an_unused_template_ends(void **state)
{
    struct world *w = *state;
    uint64_t id = make_template(w, TEMPLATE_READY);

    w->sched->config.template_idle_ms = 0;
    templates_end_unused(w->sched);
    expect_silence(w); /* it is used */
    w->sched->config.template_idle_ms = 60000;
    put_as(w, "nodejs20.x", -1, "node", true);
    templates_end_unused(w->sched);
    expect_silence(w); /* not for long enough */
    w->sched->config.template_idle_ms = 0;
    templates_end_unused(w->sched);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    expect_state(w, TEMPLATE_RETIRING);
    put_as(w, "nodejs20.x", -1, "node", false);
    expect_silence(w); /* one after the other */
    simple(w, WIRE_GONE, id);
    assert_true(bring_template(w, TEMPLATE_READY) > id);
    put_as(w, "provided.al2023", -1, "node", false);
    templates_end_unused(w->sched);
    simple(w, WIRE_GONE, expect_message(w, WIRE_KILL));
    expect_state(w, TEMPLATE_NONE);
}

static void test_templates_may_be_switched_off(void **state)
{
    struct world *w = *state;

    w->sched->config.templates = false;
    put_as(w, "nodejs20.x", -1, "node", false);
    expect_silence(w);
    expect_listed(w, "{\"enabled\":false,");
    expect_listed(w, "\"state\":\"off\"");
    invoke(w);
    (void)expect_message(w, WIRE_START);
    assert_int_equal(start.template_id, 0);
    expect_listed(w, "\"fallbacks\":0");
    change_launchers(w);
    expect_silence(w);
}

static void test_what_a_template_writes_is_kept_for_its_failure(void **state)
{
    struct world *w = *state;
    struct template *template;
    int log[2];

    (void)make_template(w, TEMPLATE_STARTING);
    template = template_of(w);
    assert_int_equal(pipe2(log, O_CLOEXEC | O_NONBLOCK), 0);
    template_log_open(template, log[0]);
    for (int i = 0; i < 2000; i++) {
        if (write(log[1], "a line\x01\n", 8) != 8)
            turn(w);
    }
    turn(w);
    assert_int_equal(write(log[1], "the end", 7), 7);
    template_log_close(template);
    assert_true(template->output_len <= sizeof template->output);
    assert_memory_equal(template->output + template->output_len - 15, "a line \nthe end", 15);
    assert_int_equal(template->output_logged, template->output_len);
    (void)close(log[1]);
}

/* ---- stopping with a template in each state; the rest is tear_down()'s ---- */

static void test_stop_while_a_template_starts(void **state)
{
    (void)make_template(*state, TEMPLATE_STARTING);
}

static void test_stop_while_a_template_loads(void **state)
{
    (void)make_template(*state, TEMPLATE_LOADING);
}

static void test_stop_while_a_template_is_captured(void **state)
{
    (void)make_template(*state, TEMPLATE_CAPTURING);
}

static void test_stop_with_a_template_and_a_clone_on_its_way(void **state)
{
    struct world *w = *state;

    (void)make_clone(w, make_template(w, TEMPLATE_READY));
    invoke(w);
    (void)expect_message(w, WIRE_START);
}

static void test_stop_while_a_template_waits_for_its_next_try(void **state)
{
    struct world *w = *state;

    failed(w, make_template(w, TEMPLATE_STARTING), WIRE_FAIL_SYSTEM);
    expect_state(w, TEMPLATE_FAILED);
}

static void test_stop_while_a_template_ends(void **state)
{
    struct world *w = *state;

    captured(w, make_template(w, TEMPLATE_CAPTURING), 1);
    expect_state(w, TEMPLATE_FAILING);
}

static void test_stop_waits_for_the_end_of_a_template(void **state)
{
    struct world *w = *state;
    uint64_t id = make_template(w, TEMPLATE_READY);

    sched_stop(w->sched, on_stopped, w);
    put_as(w, "nodejs20.x", -1, "late", false);
    turn(w);
    assert_int_equal(expect_message(w, WIRE_KILL), id);
    assert_false(w->stopped);
    simple(w, WIRE_GONE, id);
    assert_true(w->stopped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_limits_follow_changes_under_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reserved_concurrency_is_taken_from_the_account, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_whichever_environment_is_ready_first_serves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_that_is_about_to_be_free_is_waited_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_but_not_for_long, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_older_picture_comes_too_late, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_slot_and_nobody_to_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_slot_for_two_in_the_queue, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_slot_but_one_that_will_be_free, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_memory_leaves_no_pool, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_memory_in_use_ends_the_longest_idle, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_exit_restart_and_its_failure, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_restart_that_cannot_be_asked_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_long_init_inside_an_invocation_gets_its_share, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_timeout_after_the_response, set_up, tear_down),
        cmocka_unit_test(test_the_largest_use_is_no_file_page_and_within_the_limit),
        cmocka_unit_test_setup_teardown(test_report_shows_a_use_between_two_samples, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_flood_of_lines_is_read_bit_by_bit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_output_stands_before_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_output_of_an_ended_process_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_update_ends_what_is_idle, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_update_takes_the_queue_along, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_old_credentials_end_the_environment, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_lost_launcher, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stop_with_all_under_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_function_brings_a_template_and_its_environments_are_clones,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_restart_is_never_a_clone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_a_clone_the_start_is_an_ordinary_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_ordinary_start_that_fails_so_has_failed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_starts_are_ordinary_until_the_template_is_ready, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_variables_that_a_clone_could_not_obey, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_launcher_that_knows_no_templates, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_refused_capture_is_ended_and_tried_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_step_has_its_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_template_that_cannot_load, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_dead_template_is_made_anew_and_its_clones_go_on, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_three_deaths_in_a_row_retire_a_template, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_ends_of_a_clone_are_its_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_new_launcher_makes_a_new_template, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_launcher_lost_on_the_way_counts_as_a_failure, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_an_unused_template_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_templates_may_be_switched_off, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_a_template_writes_is_kept_for_its_failure, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_stop_while_a_template_starts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stop_while_a_template_loads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stop_while_a_template_is_captured, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stop_with_a_template_and_a_clone_on_its_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stop_while_a_template_waits_for_its_next_try, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stop_while_a_template_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stop_waits_for_the_end_of_a_template, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
