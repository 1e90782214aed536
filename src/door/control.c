/* The control API: handled on a worker, its pictures swapped in on the loop before the answer goes out. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "door/door_priv.h"
#include "model/function.h"
#include "sched/sched.h"

enum { HASHED_HERE_MAX_BYTES = 256 * 1024 }; /* larger bodies keep the loop for too long */

struct job {
    uv_work_t work;
    struct list node; /* in door->held, which waits for code to be removed, or in door->stale */
    struct door *door;
    struct http_exchange *x;
    bool verified; /* principal is who signed; else work() finds out */
    struct principal principal;
    char request_id[UUID_BYTES];
    char *method, *path, *query, *host; /* owned, NUL-terminated */
    struct api_response response;
    struct function *pictures[API_MAX_CHANGED]; /* counted */
    bool swapped[API_MAX_CHANGED];
    bool building; /* pictures, anew, on a worker */
    char *file;    /* contents of response.file_fd, owned */
    size_t file_len;
};

static char *slice_dup(struct http_slice slice)
{
    return strndup(slice.len > 0 ? slice.at : "", slice.len);
}

static void read_file(struct job *job)
{
    off_t size = lseek(job->response.file_fd, 0, SEEK_END);
    ssize_t got;

    job->file = size >= 0 ? malloc((size_t)size + 1) : NULL;
    while (job->file && job->file_len < (size_t)size) {
        got = pread(job->response.file_fd, job->file + job->file_len, (size_t)size - job->file_len,
                    (off_t)job->file_len);
        if (got <= 0)
            break;
        job->file_len += (size_t)got;
    }
    if (!job->file || job->file_len != (size_t)size)
        api_error(&job->response, "ServiceException", "The stored archive cannot be read");
    (void)close(job->response.file_fd);
    job->response.file_fd = -1;
}

/* The request's bytes stay where they are until it is answered, and the keys have a lock. */
static bool verify(struct job *job)
{
    struct door_auth auth;

    if (job->verified)
        return true;
    if (!door_authenticate(job->door, job->x, &auth)) {
        api_error(&job->response, auth.code, "%s", auth.message);
        return false;
    }
    job->principal = auth.principal;
    return true;
}

static void build_pictures(struct job *job)
{
    for (size_t i = 0; i < job->response.changed_count; i++) {
        if (!job->swapped[i])
            job->pictures[i] = api_picture(job->door->config.api, job->response.changed[i]);
    }
}

static void work(uv_work_t *request)
{
    struct job *job = request->data;
    const struct http_request *http = http_exchange_request(job->x);
    struct api_request wanted = {
        .method = job->method,
        .path = job->path,
        .query = job->query,
        .body = http->body ? http->body : "",
        .body_len = http->body_len,
        .request_id = job->request_id,
        .host = job->host,
        .principal = &job->principal,
    };

    if (!verify(job))
        return;
    api_handle(job->door->config.api, &wanted, &job->response);
    build_pictures(job);
    if (job->response.file_fd >= 0)
        read_file(job);
}

static void reply(struct job *job)
{
    const struct api_response *response = &job->response;
    char headers[512];
    int size = 0;

    if (response->body.len > 0 || job->file)
        size = snprintf(headers, sizeof headers, "Content-Type: %s\r\n",
                        response->content_type ? response->content_type : "application/json");
    size +=
        snprintf(headers + size, sizeof headers - (size_t)size, "x-amzn-RequestId: %s\r\n", job->request_id);
    if (*response->error_type)
        size += snprintf(headers + size, sizeof headers - (size_t)size, "x-amzn-ErrorType: %s\r\n",
                         response->error_type);
    if (job->file && response->status == 200) {
        http_reply(job->x, 200, headers, (size_t)size, job->file, job->file_len, free, job->file);
        job->file = NULL;
    } else {
        http_reply(job->x, response->status, headers, (size_t)size,
                   response->body.data ? response->body.data : "", response->body.len, NULL, NULL);
    }
}

static void job_free(struct job *job)
{
    buf_done(&job->response.body);
    free(job->method);
    free(job->path);
    free(job->query);
    free(job->host);
    free(job->file);
    free(job);
}

/* Returns whether none is missing. */
static bool swap_pictures(struct job *job)
{
    bool all = true;

    for (size_t i = 0; i < job->response.changed_count; i++) {
        if (!job->swapped[i] && job->pictures[i]) {
            sched_put_function(job->door->config.sched, job->pictures[i]);
            job->pictures[i] = NULL;
            job->swapped[i] = true;
        }
        all &= job->swapped[i];
    }
    return all;
}

static void job_done(struct job *job)
{
    struct door *door = job->door;

    door->changes--;
    job_free(job);
    door_job_done(door);
}

/* The change is made, and what serves is older: it is refused until a picture can be built. */
static void set_stale(struct job *job)
{
    log_error("request %s changed what cannot be read back; the function answers 500 until it can",
              job->request_id);
    list_push_back(&job->door->stale, &job->node);
}

static void after_work(uv_work_t *request, int status)
{
    struct job *job = request->data;
    struct door *door = job->door;
    bool all;

    (void)status;
    all = swap_pictures(job);
    reply(job);
    if (job->response.settle && job->response.changed_count > 0)
        control_settle(door, job->response.changed[0]);
    if (all || door->closing)
        job_done(job);
    else
        set_stale(job);
}

static void rebuild_work(uv_work_t *request)
{
    build_pictures(request->data);
}

static void after_rebuild(uv_work_t *request, int status)
{
    struct job *job = request->data;

    (void)status;
    job->building = false;
    if (!swap_pictures(job) && !job->door->closing)
        return;
    list_remove(&job->node);
    job_done(job);
}

void control_rebuild(struct door *door)
{
    list_each_safe(at, &door->stale)
    {
        struct job *job = list_entry(at, struct job, node);

        if (!job->building)
            job->building = uv_queue_work(door->config.loop, &job->work, rebuild_work, after_rebuild) == 0;
    }
}

void control_close(struct door *door)
{
    list_each_safe(at, &door->stale)
    {
        struct job *job = list_entry(at, struct job, node);

        if (job->building)
            continue;
        list_remove(&job->node);
        job_done(job);
    }
}

bool control_is_stale(const struct door *door, const char *name)
{
    list_each(at, &door->stale)
    {
        const struct job *job = list_entry(at, struct job, node);

        for (size_t i = 0; i < job->response.changed_count; i++) {
            if (!job->swapped[i] && strcmp(job->response.changed[i], name) == 0)
                return true;
        }
    }
    return false;
}

static void reply_no_memory(struct http_exchange *x, const char *request_id)
{
    reply_error(x, request_id, "ServiceException", "Out of memory", NULL);
}

static void start(struct job *job)
{
    struct door *door = job->door;

    if (uv_queue_work(door->config.loop, &job->work, work, after_work) == 0) {
        door->changes++;
        return;
    }
    reply_no_memory(job->x, job->request_id);
    job_free(job);
    door_job_done(door);
}

void control_handle(struct door *door, struct http_exchange *x)
{
    const struct http_request *request = http_exchange_request(x);
    bool large = request->body_len > HASHED_HERE_MAX_BYTES;
    struct job *job;
    struct door_auth auth = { 0 };
    char request_id[UUID_BYTES];

    id_uuid(request_id);
    if (large ? !door_may_authenticate(door, x, &auth) : !door_authenticate(door, x, &auth)) {
        reply_error(x, request_id, auth.code, auth.message, NULL);
        return;
    }
    job = calloc(1, sizeof *job);
    if (!job) {
        reply_no_memory(x, request_id);
        return;
    }
    job->work.data = job;
    job->door = door;
    job->x = x;
    job->verified = !large;
    job->principal = auth.principal;
    memcpy(job->request_id, request_id, UUID_BYTES);
    job->response.file_fd = -1;
    job->method = slice_dup(request->method);
    job->path = slice_dup(request->path);
    job->query = slice_dup(request->query);
    job->host = slice_dup(request->host);
    if (!job->method || !job->path || !job->query || !job->host) {
        reply_no_memory(x, request_id);
        job_free(job);
        return;
    }
    door->jobs++;
    if (door->collecting)
        list_push_back(&door->held, &job->node);
    else
        start(job);
}

/* ---- the second half of a create or an update ---- */

struct settle {
    uv_work_t work;
    struct door *door;
    char name[65];
    uint64_t sequence;
    struct function *picture; /* counted */
};

static void settle_work(uv_work_t *request)
{
    struct settle *settle = request->data;

    settle->picture = api_settle(settle->door->config.api, settle->name);
}

static void settled_work(uv_work_t *request)
{
    struct settle *settle = request->data;

    api_settled(settle->door->config.api, settle->name, settle->sequence);
}

static void settle_free(struct settle *settle)
{
    struct door *door = settle->door;

    free(settle);
    door->changes--;
    door_job_done(door);
}

static void after_settled(uv_work_t *request, int status)
{
    (void)status;
    settle_free(request->data);
}

static void after_settle(uv_work_t *request, int status)
{
    struct settle *settle = request->data;

    (void)status;
    if (!settle->picture) {
        settle_free(settle);
        return;
    }
    settle->sequence = settle->picture->sequence;
    /* From here on new code serves; only then may anybody read that it does. */
    sched_put_function(settle->door->config.sched, settle->picture);
    settle->picture = NULL;
    if (uv_queue_work(settle->door->config.loop, &settle->work, settled_work, after_settled) < 0)
        settle_free(settle);
}

void control_settle(struct door *door, const char *name)
{
    struct settle *settle = calloc(1, sizeof *settle);

    if (!settle) {
        log_error("function %s: out of memory, so its update ends at the next start", name);
        return;
    }
    settle->work.data = settle;
    settle->door = door;
    (void)snprintf(settle->name, sizeof settle->name, "%s", name);
    if (uv_queue_work(door->config.loop, &settle->work, settle_work, after_settle) < 0) {
        free(settle);
        return;
    }
    door->changes++;
    door->jobs++;
}

/* ---- versions that waited for their template ---- */

struct tried {
    uv_work_t work;
    struct door *door;
    struct function *picture;                   /* counted */
    char *name, *version, *config_id, *failure; /* owned; failure: NULL when it works */
};

static void tried_free(struct tried *tried)
{
    free(tried->name);
    free(tried->version);
    free(tried->config_id);
    free(tried->failure);
    free(tried);
}

static void tried_work(uv_work_t *request)
{
    struct tried *tried = request->data;

    tried->picture = api_snapshot_tried(tried->door->config.api, tried->name, tried->version,
                                        tried->config_id, tried->failure);
}

static void after_tried(uv_work_t *request, int status)
{
    struct tried *tried = request->data;
    struct door *door = tried->door;

    (void)status;
    if (tried->picture)
        sched_put_function(door->config.sched, tried->picture);
    tried_free(tried);
    door->changes--;
    door_job_done(door);
}

void door_snapshot_tried(struct door *door, const struct fn_version *version, const char *failure)
{
    struct tried *tried = calloc(1, sizeof *tried);

    if (!tried)
        return; /* whoever asks for the state has it tried again */
    tried->work.data = tried;
    tried->door = door;
    tried->name = strdup(version->function_name);
    tried->version = strdup(version->version);
    tried->config_id = strdup(version->config_id);
    tried->failure = failure ? strdup(failure) : NULL;
    if (!tried->name || !tried->version || !tried->config_id || (failure && !tried->failure) ||
        uv_queue_work(door->config.loop, &tried->work, tried_work, after_tried) < 0) {
        tried_free(tried);
        return;
    }
    door->changes++;
    door->jobs++;
}

/*
 * ---- code that came out of use ----
 *
 * A package may go when neither the database nor a picture nor an environment names it. While a change is
 * between the database and its picture, an invocation can still start with code that the database has
 * forgotten: code is only looked for and removed while no change is under way, and changes wait for the end
 * of that.
 */

struct collect {
    uv_work_t work;
    struct door *door;
    char **in_use;
    size_t count;
};

static void collect_work(uv_work_t *request)
{
    const struct collect *collect = request->data;

    api_collect(collect->door->config.api, (const char *const *)collect->in_use, collect->count);
}

static void after_collect(uv_work_t *request, int status)
{
    struct collect *collect = request->data;
    struct door *door = collect->door;

    (void)status;
    sched_code_free(collect->in_use, collect->count);
    free(collect);
    door->collecting = false;
    while (!list_empty(&door->held)) {
        struct job *job = list_entry(door->held.next, struct job, node);

        list_remove(&job->node);
        start(job);
    }
    door_job_done(door);
}

void control_collect(struct door *door)
{
    struct collect *collect;

    if (door->collecting || door->changes > 0 || !api_collect_due(door->config.api))
        return;
    collect = calloc(1, sizeof *collect);
    if (!collect)
        return;
    collect->work.data = collect;
    collect->door = door;
    collect->in_use = sched_code_in_use(door->config.sched, &collect->count);
    if (!collect->in_use ||
        uv_queue_work(door->config.loop, &collect->work, collect_work, after_collect) < 0) {
        sched_code_free(collect->in_use, collect->count);
        free(collect);
        return;
    }
    door->collecting = true;
    door->jobs++;
}
