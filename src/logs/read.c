#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/text.h"
#include "logs/logs.h"
#include "logs/logs_priv.h"

enum {
    CHUNK_BYTES = 64 * 1024,
    LINE_ROOM_BYTES = 8 * CHUNK_BYTES,
    MAX_ANSWER_BYTES = 1024 * 1024,
    MAX_TAIL_BYTES = 1024 * 1024
};

struct reading {
    int folder_fd;
    struct logs_segment *segments;
    size_t count;
    uint64_t cursor;
    size_t events, max_events;
    struct buf *out;
    size_t out_start;
};

static int open_segment(const struct reading *reading, size_t i)
{
    char name[LOGS_FILE_NAME_BYTES];
    int fd;

    logs_file_name(reading->segments[i].start, name);
    fd = openat(reading->folder_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

static uint64_t end_of(const struct logs_segment *segment)
{
    return segment->start + segment->size;
}

/* Reads at most size bytes at offset; fewer only at the end of the file. */
static ssize_t read_at(int fd, char *out, size_t size, uint64_t offset)
{
    size_t got = 0;

    while (got < size) {
        ssize_t part = pread(fd, out + got, size - got, (off_t)(offset + got));

        if (part < 0 && errno == EINTR)
            continue;
        if (part < 0)
            return -errno;
        if (part == 0)
            break;
        got += (size_t)part;
    }
    return (ssize_t)got;
}

/* "<ms>\t<stream>\t<message>"; a line of another shape (torn by a crash) is no event. */
static void add_event(struct reading *reading, const char *line, size_t len)
{
    const char *first = memchr(line, '\t', len), *second;
    uint64_t time_ms = 0;

    second = first ? memchr(first + 1, '\t', len - (size_t)(first + 1 - line)) : NULL;
    if (!second || !text_to_u64(line, (size_t)(first - line), (uint64_t)1 << 53, &time_ms))
        return;
    (void)buf_printf(reading->out, "%s{\"timestamp\":%" PRIu64 ",\"stream\":", reading->events > 0 ? "," : "",
                     time_ms);
    (void)buf_json_string(reading->out, first + 1, (size_t)(second - first - 1));
    (void)buf_puts(reading->out, ",\"message\":");
    (void)buf_json_string(reading->out, second + 1, len - (size_t)(second + 1 - line));
    (void)buf_putc(reading->out, '}');
    reading->events++;
}

static bool full(const struct reading *reading)
{
    return reading->out->failed || reading->events >= reading->max_events ||
           reading->out->len - reading->out_start >= MAX_ANSWER_BYTES;
}

/* Takes the whole lines of data; returns how many bytes that were. */
static size_t take_lines(struct reading *reading, const char *data, size_t len)
{
    size_t at = 0;

    while (at < len && !full(reading)) {
        const char *end = memchr(data + at, '\n', len - at);

        if (!end)
            break;
        add_event(reading, data + at, (size_t)(end - data) - at);
        at = (size_t)(end - data) + 1;
    }
    return at;
}

/* Reads the whole lines at the cursor and passes them by. Returns how many bytes that were; 0: nothing whole
 * is there. */
static ssize_t read_lines(struct reading *reading, int fd, uint64_t start, char *chunk, size_t room)
{
    /* More and more until a line's end is in it. */
    for (size_t want = CHUNK_BYTES; want <= room; want *= 2) {
        ssize_t got = read_at(fd, chunk, want, reading->cursor - start);
        size_t taken = got > 0 ? take_lines(reading, chunk, (size_t)got) : 0;

        if (got < 0)
            return got;
        reading->cursor += taken;
        if (taken > 0 || (size_t)got < want)
            return (ssize_t)taken;
    }
    /* No event is that long: pass it by. */
    reading->cursor += room;
    return (ssize_t)room;
}

/* Reads from the cursor to the end of segment i. Stops in front of an event without an end: it is being
 * written. */
static int read_segment(struct reading *reading, size_t i, char *chunk, size_t room)
{
    AUTO_FD int fd = open_segment(reading, i);
    ssize_t got = 1;

    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    while (got > 0 && !full(reading))
        got = read_lines(reading, fd, reading->segments[i].start, chunk, room);
    return got < 0 ? (int)got : 0;
}

static int read_events(struct reading *reading)
{
    AUTO_FREE char *chunk = malloc(LINE_ROOM_BYTES);

    _Static_assert((int)LINE_ROOM_BYTES >= (int)LOGS_MAX_LINE_BYTES, "every line fits");
    if (!chunk)
        return -ENOMEM;
    for (size_t i = 0; i < reading->count && !full(reading); i++) {
        int result;

        if (i + 1 < reading->count && reading->cursor >= reading->segments[i + 1].start)
            continue;
        result = read_segment(reading, i, chunk, LINE_ROOM_BYTES);
        if (result < 0)
            return result;
        /* A closed segment is behind us, also when its last event has no end or when it was deleted
         * meanwhile. */
        if (!full(reading) && i + 1 < reading->count)
            reading->cursor = reading->segments[i + 1].start;
    }
    return 0;
}

/* Looking for where the last events begin, backwards. */
struct tail {
    size_t events, ends; /* wanted, line ends seen */
    uint64_t place;      /* the earliest start of an event seen */
    bool found;
};

/* Looks at segment i from its end down to start. */
static int scan_back(const struct reading *reading, size_t i, uint64_t start, char *chunk, struct tail *tail)
{
    const struct logs_segment *segment = &reading->segments[i];
    AUTO_FD int fd = open_segment(reading, i);
    uint64_t at = end_of(segment);

    if (fd < 0)
        return fd;
    while (at > start) {
        size_t size = at - start < CHUNK_BYTES ? (size_t)(at - start) : CHUNK_BYTES;
        ssize_t got = read_at(fd, chunk, size, at - size - segment->start);

        if (got != (ssize_t)size)
            return got < 0 ? (int)got : -EIO;
        at -= size;
        for (size_t k = size; k > 0; k--) {
            if (chunk[k - 1] != '\n')
                continue;
            tail->place = at + k;
            if (tail->ends++ == tail->events) {
                tail->found = true;
                return 0;
            }
        }
    }
    if (start == segment->start)
        tail->place = start;
    return 0;
}

/* Puts the cursor where the last events begin; MAX_TAIL_BYTES back at most. */
static int find_tail(struct reading *reading, size_t events)
{
    AUTO_FREE char *chunk = malloc(CHUNK_BYTES);
    struct tail tail = { .events = events };
    uint64_t lowest;

    if (!chunk)
        return -ENOMEM;
    if (reading->count == 0)
        return 0;
    tail.place = end_of(&reading->segments[reading->count - 1]);
    lowest = tail.place > MAX_TAIL_BYTES ? tail.place - MAX_TAIL_BYTES : 0;
    for (size_t i = reading->count; i > 0 && !tail.found; i--) {
        const struct logs_segment *segment = &reading->segments[i - 1];
        uint64_t start = segment->start > lowest ? segment->start : lowest;
        int result = end_of(segment) > start ? scan_back(reading, i - 1, start, chunk, &tail) : 0;

        /* Deleted meanwhile: what is older is gone as well. */
        if (result == -ENOENT || segment->start <= lowest)
            break;
        if (result < 0)
            return result;
    }
    reading->cursor = tail.place;
    return 0;
}

/* A cursor of a caller may point anywhere: forward to the oldest event, back to it when it is behind the end
 * (the function was made anew), and to the next start of an event. It stays where nothing is, and when the
 * list is not whole: what it points into may have been rotated away before it was looked at. */
static int place_cursor(struct reading *reading, uint64_t cursor, bool whole)
{
    size_t i = 0;
    char before = '\n';

    reading->cursor = cursor;
    if (reading->count == 0)
        return 0;
    if (cursor > end_of(&reading->segments[reading->count - 1]) && !whole)
        return 0;
    if (cursor < reading->segments[0].start || cursor > end_of(&reading->segments[reading->count - 1])) {
        reading->cursor = reading->segments[0].start;
        return 0;
    }
    while (i + 1 < reading->count && cursor >= reading->segments[i + 1].start)
        i++;
    if (cursor > reading->segments[i].start) {
        AUTO_FD int fd = open_segment(reading, i);

        if (fd < 0)
            return fd == -ENOENT ? 0 : fd;
        while (read_at(fd, &before, 1, reading->cursor - 1 - reading->segments[i].start) == 1 &&
               before != '\n')
            reading->cursor++;
    }
    return 0;
}

static int read_folder(struct reading *reading, uint64_t cursor, size_t tail_events)
{
    int result = logs_segments(reading->folder_fd, &reading->segments, &reading->count);
    bool whole = result == 0;

    if (result < 0)
        return result;
    if (cursor == (uint64_t)-1)
        result = find_tail(reading, tail_events < reading->max_events ? tail_events : reading->max_events);
    else
        result = place_cursor(reading, cursor, whole);
    return result < 0 ? result : read_events(reading);
}

int logs_read(int dir_fd, const char *function, uint64_t cursor, size_t tail_events, size_t max_events,
              struct buf *out, struct err *err)
{
    struct reading reading = { .max_events = max_events, .out = out, .out_start = out->len };
    AUTO_FD int folder_fd = -1;
    int result = 0;

    if (!logs_name_ok(function))
        return err_set(err, ERR_INVALID, 0, "no name of a function: '%.64s'", function);
    folder_fd = openat(dir_fd, function, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder_fd < 0 && errno != ENOENT)
        return err_set(err, ERR_SYSTEM, errno, "open the log of %s", function);
    (void)buf_puts(out, "{\"events\":[");
    if (folder_fd >= 0) {
        reading.folder_fd = folder_fd;
        result = read_folder(&reading, cursor, tail_events);
        free(reading.segments);
    }
    (void)buf_printf(out, "],\"next\":%" PRIu64 "}", reading.cursor);
    if (result == 0 && out->failed)
        result = -EMSGSIZE;
    return result < 0 ? err_set(err, ERR_SYSTEM, -result, "read the log of %s", function) : 0;
}
