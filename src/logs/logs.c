#include "logs/logs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/list.h"
#include "logs/logs_priv.h"

enum { MAX_APPEND_BYTES = 32 * 1024 * 1024 };

static const char cut_mark[] = " [cut]";

/* One function's log: what all its writers share. */
struct log_file {
    struct list node; /* logs.files, or self-linked after logs_delete() */
    unsigned writers;
    char function[LOGS_MAX_NAME_BYTES + 1];
    int folder_fd;
    int fd;         /* current segment; -1: the next append makes one */
    uint64_t start; /* offset of the segment (of the one to make) */
    uint64_t size;  /* of the segment: up to the end of its last whole event */
    uint64_t total; /* of all segments */
    bool torn;      /* half an event stands behind size */
};

struct logs {
    int dir_fd;
    uint64_t segment_bytes, max_bytes;
    struct list files;
};

struct log_writer {
    struct logs *logs;
    struct log_file *file;
    char stream[LOGS_MAX_STREAM_BYTES + 1];
};

struct logs *logs_new(int dir_fd, uint64_t segment_bytes, uint64_t max_bytes)
{
    struct logs *logs = calloc(1, sizeof *logs);

    if (!logs)
        return NULL;
    logs->dir_fd = dir_fd;
    logs->segment_bytes = segment_bytes;
    logs->max_bytes = max_bytes;
    list_init(&logs->files);
    return logs;
}

struct logs *logs_free(struct logs *logs)
{
    free(logs);
    return NULL;
}

static struct log_file *file_free(struct log_file *file)
{
    if (!file)
        return NULL;
    list_remove(&file->node);
    if (file->fd >= 0)
        (void)close(file->fd);
    if (file->folder_fd >= 0)
        (void)close(file->folder_fd);
    free(file);
    return NULL;
}
DEFINE_AUTO_PTR(log_file, file_free)

/* Brings the segment back to its last whole event. If it cannot be shortened, the half event gets an end. */
static int mend(struct log_file *file)
{
    if (!file->torn)
        return 0;
    if (ftruncate(file->fd, (off_t)file->size) < 0) {
        struct stat info;

        if (fstat(file->fd, &info) < 0)
            return -errno;
        if (write(file->fd, "\n", 1) != 1)
            return -EIO;
        file->total += (uint64_t)info.st_size + 1 - file->size;
        file->size = (uint64_t)info.st_size + 1;
    }
    file->torn = false;
    return 0;
}

static int open_segment(struct log_file *file, int flags)
{
    char name[LOGS_FILE_NAME_BYTES];

    logs_file_name(file->start, name);
    file->fd = openat(file->folder_fd, name, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | flags, 0640);
    return file->fd < 0 ? -errno : 0;
}

/* After a crash or a full disk the last event may have no end: it is given one, so that it can be read as far
 * as it got. */
static int continue_segment(struct log_file *file)
{
    char last = '\n';
    int result = open_segment(file, 0);

    if (result < 0)
        return result;
    if (file->size > 0 && pread(file->fd, &last, 1, (off_t)file->size - 1) != 1)
        return -EIO;
    if (last != '\n') {
        if (write(file->fd, "\n", 1) != 1)
            return errno ? -errno : -EIO;
        file->size++;
        file->total++;
    }
    return 0;
}

static int continue_log(struct log_file *file)
{
    AUTO_FREE struct logs_segment *segments = NULL;
    size_t count = 0;
    int result = logs_segments(file->folder_fd, &segments, &count);

    if (result < 0 || count == 0)
        return result < 0 ? result : 0;
    for (size_t i = 0; i < count; i++)
        file->total += segments[i].size;
    file->start = segments[count - 1].start;
    file->size = segments[count - 1].size;
    return continue_segment(file);
}

static int open_folder(int dir_fd, const char *function)
{
    int fd;

    if (mkdirat(dir_fd, function, 0750) < 0 && errno != EEXIST)
        return -errno;
    fd = openat(dir_fd, function, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int file_open(struct logs *logs, const char *function, struct log_file **ret_file)
{
    AUTO_PTR(log_file) file = calloc(1, sizeof *file);
    int result;

    if (!file)
        return -ENOMEM;
    list_init(&file->node);
    file->fd = -1;
    (void)snprintf(file->function, sizeof file->function, "%s", function);
    file->folder_fd = open_folder(logs->dir_fd, function);
    if (file->folder_fd < 0)
        return file->folder_fd;
    result = continue_log(file);
    if (result < 0)
        return result;
    list_push_back(&logs->files, &file->node);
    *ret_file = TAKE_PTR(file);
    return 0;
}

static struct log_file *find_file(const struct logs *logs, const char *function)
{
    list_each(at, &logs->files)
    {
        struct log_file *file = list_entry(at, struct log_file, node);

        if (strcmp(file->function, function) == 0)
            return file;
    }
    return NULL;
}

int logs_folder(const struct logs *logs)
{
    return logs->dir_fd;
}

bool logs_has_writer(const struct logs *logs, const char *function)
{
    return find_file(logs, function) != NULL;
}

static bool stream_ok(const char *stream)
{
    size_t len = strnlen(stream, LOGS_MAX_STREAM_BYTES + 1);

    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)stream[i] < 0x20 || stream[i] == 0x7f)
            return false;
    }
    return len <= LOGS_MAX_STREAM_BYTES;
}

struct log_writer *log_writer_new(struct logs *logs, const char *function, const char *stream,
                                  struct err *err)
{
    AUTO_FREE struct log_writer *writer = calloc(1, sizeof *writer);
    int result = 0;

    if (!logs_name_ok(function) || !stream_ok(stream)) {
        (void)err_set(err, ERR_INVALID, 0, "no name for a log: '%.64s', '%.64s'", function, stream);
        return NULL;
    }
    if (!writer) {
        (void)err_set(err, ERR_SYSTEM, ENOMEM, "log of %s", function);
        return NULL;
    }
    writer->logs = logs;
    (void)snprintf(writer->stream, sizeof writer->stream, "%s", stream);
    writer->file = find_file(logs, function);
    if (!writer->file)
        result = file_open(logs, function, &writer->file);
    if (result < 0) {
        (void)err_set(err, ERR_SYSTEM, -result, "log of %s", function);
        return NULL;
    }
    writer->file->writers++;
    return TAKE_PTR(writer);
}

struct log_writer *log_writer_free(struct log_writer *writer)
{
    if (!writer)
        return NULL;
    if (--writer->file->writers == 0)
        (void)file_free(writer->file);
    free(writer);
    return NULL;
}

/* Deletes the oldest segments beyond max_bytes; the current one stays. Failing is no harm: the next rotation
 * tries again. */
static void drop_oldest(const struct logs *logs, struct log_file *file)
{
    AUTO_FREE struct logs_segment *segments = NULL;
    size_t count = 0;

    if (file->total <= logs->max_bytes || logs_segments(file->folder_fd, &segments, &count) < 0)
        return;
    for (size_t i = 0; i < count && file->total > logs->max_bytes && segments[i].start < file->start; i++) {
        char name[LOGS_FILE_NAME_BYTES];

        logs_file_name(segments[i].start, name);
        if (unlinkat(file->folder_fd, name, 0) == 0)
            file->total -= segments[i].size < file->total ? segments[i].size : file->total;
    }
}

static int prepare(const struct logs *logs, struct log_file *file)
{
    int result = mend(file);

    if (result < 0)
        return result;
    if (file->fd >= 0 && file->size >= logs->segment_bytes) {
        (void)close(file->fd);
        file->fd = -1;
        file->start += file->size;
        file->size = 0;
    }
    if (file->fd >= 0)
        return 0;
    result = open_segment(file, O_CREAT);
    drop_oldest(logs, file);
    return result;
}

/* '\t' and the rest may stand in a message; only its end is special. */
static void format_event(const char *prefix, size_t prefix_len, const char *text, size_t len, struct buf *out)
{
    bool cut = len > LOGS_MAX_EVENT_BYTES;

    (void)buf_append(out, prefix, prefix_len);
    (void)buf_append(out, text, cut ? LOGS_MAX_EVENT_BYTES : len);
    if (cut)
        (void)buf_puts(out, cut_mark);
    (void)buf_append(out, "\n", 1);
}

static int write_events(struct log_file *file, const struct buf *events)
{
    size_t at = 0;

    while (at < events->len) {
        ssize_t sent = write(file->fd, events->data + at, events->len - at);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0) {
            int result = sent < 0 ? -errno : -EIO;

            file->torn = at > 0;
            (void)mend(file);
            return result;
        }
        at += (size_t)sent;
    }
    file->size += events->len;
    file->total += events->len;
    return 0;
}

int log_writer_append(struct log_writer *writer, uint64_t wall_ms, const char *text, size_t len)
{
    AUTO_BUF struct buf events = BUF_INIT(MAX_APPEND_BYTES);
    char prefix[LOGS_MAX_STREAM_BYTES + 32];
    int prefix_len = snprintf(prefix, sizeof prefix, "%" PRIu64 "\t%s\t", wall_ms, writer->stream);
    size_t at = 0;
    int result;

    while (at < len) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t size = end ? (size_t)(end - text) - at : len - at;

        format_event(prefix, (size_t)prefix_len, text + at, size, &events);
        at += size + 1;
    }
    if (events.failed)
        return -EMSGSIZE;
    if (events.len == 0)
        return 0;
    result = prepare(writer->logs, writer->file);
    return result < 0 ? result : write_events(writer->file, &events);
}

static int delete_folder(int dir_fd, const char *function)
{
    AUTO_FD int fd = openat(dir_fd, function, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    AUTO_FREE struct logs_segment *segments = NULL;
    size_t count = 0;
    int result;

    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    result = logs_segments(fd, &segments, &count);
    if (result < 0)
        return result;
    for (size_t i = 0; i < count; i++) {
        char name[LOGS_FILE_NAME_BYTES];

        logs_file_name(segments[i].start, name);
        if (unlinkat(fd, name, 0) < 0 && errno != ENOENT)
            return -errno;
    }
    return unlinkat(dir_fd, function, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

int logs_delete(struct logs *logs, const char *function, struct err *err)
{
    struct log_file *file;
    int result;

    if (!logs_name_ok(function))
        return err_set(err, ERR_INVALID, 0, "no name for a log: '%.64s'", function);
    /* Writers that are still there end in files without a name; a new function of this name gets a new
     * folder. */
    file = find_file(logs, function);
    if (file)
        list_remove(&file->node);
    result = delete_folder(logs->dir_fd, function);
    return result < 0 ? err_set(err, ERR_SYSTEM, -result, "delete the log of %s", function) : 0;
}
