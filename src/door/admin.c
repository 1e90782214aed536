/* Irori's own paths, for its command line: /_irori/environments (and what lies below, reserved.c),
 * /_irori/templates, /_irori/runtimes, /_irori/functions/{name}/logs. */

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"
#include "door/door_priv.h"
#include "logs/logs.h"
#include "sched/sched.h"

enum { ANSWER_MAX_BYTES = 4 << 20, TAIL_DEFAULT = 100, TAIL_MAX = 10000 };

static const char functions_prefix[] = "/_irori/functions/";
static const char logs_suffix[] = "/logs";

static bool is_logs(struct http_slice path, struct http_slice *ret_name)
{
    size_t outer = sizeof functions_prefix - 1 + sizeof logs_suffix - 1;

    if (path.len <= outer || memcmp(path.at, functions_prefix, sizeof functions_prefix - 1) != 0 ||
        memcmp(path.at + path.len - (sizeof logs_suffix - 1), logs_suffix, sizeof logs_suffix - 1) != 0)
        return false;
    *ret_name = (struct http_slice){ path.at + sizeof functions_prefix - 1, path.len - outer };
    return true;
}

bool admin_is_route(const struct http_request *request)
{
    struct http_slice name;
    char uuid[UUID_BYTES];
    bool inspect;

    return http_slice_equal(request->path, "/_irori/environments") ||
           http_slice_equal(request->path, "/_irori/templates") ||
           http_slice_equal(request->path, "/_irori/runtimes") || is_logs(request->path, &name) ||
           reserved_is_route(request, uuid, &inspect);
}

static uint64_t number_query(const struct http_request *request, const char *name, uint64_t standard,
                             uint64_t max)
{
    char text[32];
    uint64_t value;

    if (door_query(request, name, text, sizeof text) <= 0 ||
        !text_to_u64(text, strlen(text), UINT64_MAX, &value))
        return standard;
    return value < max ? value : max;
}

/* Reading a log segment blocks for a moment, so it is done on a worker. */
struct logs_job {
    uv_work_t work;
    struct door *door;
    struct http_exchange *x;
    char request_id[UUID_BYTES];
    char name[65];
    uint64_t cursor;
    size_t tail, max;
    struct buf out;
    struct err err;
    int result;
};

static void logs_work(uv_work_t *work)
{
    struct logs_job *job = work->data;

    job->result = logs_read(job->door->config.logs_fd, job->name, job->cursor, job->tail, job->max, &job->out,
                            &job->err);
}

static void logs_after(uv_work_t *work, int status)
{
    struct logs_job *job = work->data;
    struct door *door = job->door;

    (void)status;
    if (job->result < 0)
        reply_error(job->x, job->request_id, "ServiceException", job->err.text, NULL);
    else
        reply_json(job->x, 200, job->request_id, job->out.data ? job->out.data : "", job->out.len);
    buf_done(&job->out);
    free(job);
    door_job_done(door);
}

static void reply_logs(struct door *door, struct http_exchange *x, const char *request_id,
                       struct http_slice name)
{
    const struct http_request *request = http_exchange_request(x);
    struct logs_job *job = name.len <= 64 ? calloc(1, sizeof *job) : NULL;

    if (!job) {
        reply_error(x, request_id, "InvalidParameterValueException", "The function name is too long", NULL);
        return;
    }
    job->work.data = job;
    job->door = door;
    job->x = x;
    memcpy(job->request_id, request_id, UUID_BYTES);
    memcpy(job->name, name.at, name.len);
    job->cursor = number_query(request, "cursor", UINT64_MAX, UINT64_MAX);
    job->tail = (size_t)number_query(request, "tail", TAIL_DEFAULT, TAIL_MAX);
    job->max = (size_t)number_query(request, "max", TAIL_MAX, TAIL_MAX);
    job->out = BUF_INIT(ANSWER_MAX_BYTES);
    sched_flush_logs(door->config.sched);
    if (uv_queue_work(door->config.loop, &job->work, logs_work, logs_after) < 0) {
        reply_error(x, request_id, "ServiceException", "Out of memory", NULL);
        free(job);
        return;
    }
    door->jobs++;
}

static void reply_environments(struct door *door, struct http_exchange *x, const char *request_id)
{
    AUTO_BUF struct buf out = BUF_INIT(ANSWER_MAX_BYTES);

    sched_list(door->config.sched, &out);
    reply_json(x, 200, request_id, out.data, out.len);
}

static void reply_templates(struct door *door, struct http_exchange *x, const char *request_id)
{
    AUTO_BUF struct buf out = BUF_INIT(ANSWER_MAX_BYTES);

    sched_list_templates(door->config.sched, &out);
    reply_json(x, 200, request_id, out.data, out.len);
}

void admin_handle(struct door *door, struct http_exchange *x)
{
    const struct http_request *request = http_exchange_request(x);
    struct door_auth auth;
    struct http_slice name;
    char request_id[UUID_BYTES], uuid[UUID_BYTES];
    bool inspect;
    const char *machine = door->machine ? door->machine : "{\"runtimes\":[]}";

    id_uuid(request_id);
    if (!door_authenticate(door, x, &auth)) {
        reply_error(x, request_id, auth.code, auth.message, NULL);
        return;
    }
    if (auth.principal.kind == PRINCIPAL_FUNCTION) {
        reply_denied(x, request_id, &auth.principal, "irori:Inspect", "*");
        return;
    }
    if (reserved_is_route(request, uuid, &inspect))
        reserved_handle(door, x, request_id, &auth.principal, uuid, inspect);
    else if (!http_slice_equal(request->method, "GET"))
        reply_error(x, request_id, "UnknownOperationException", "This path answers GET only", NULL);
    else if (is_logs(request->path, &name))
        reply_logs(door, x, request_id, name);
    else if (http_slice_equal(request->path, "/_irori/runtimes"))
        reply_json(x, 200, request_id, machine, strlen(machine));
    else if (http_slice_equal(request->path, "/_irori/templates"))
        reply_templates(door, x, request_id);
    else
        reply_environments(door, x, request_id);
}
