#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "logs/logs.h"

enum { TAIL = 1000 };

struct folder {
    char path[64];
    int fd;
};

static int set_up(void **state)
{
    struct folder *folder = calloc(1, sizeof *folder);

    (void)snprintf(folder->path, sizeof folder->path, "/tmp/irori-logs-XXXXXX");
    assert_non_null(mkdtemp(folder->path));
    folder->fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(folder->fd >= 0);
    *state = folder;
    return 0;
}

static int tear_down(void **state)
{
    struct folder *folder = *state;
    struct logs *logs = logs_new(folder->fd, 1, 1);

    assert_int_equal(logs_delete(logs, "f", NULL), 0);
    assert_int_equal(logs_delete(logs, "g", NULL), 0);
    (void)logs_free(logs);
    (void)close(folder->fd);
    assert_int_equal(rmdir(folder->path), 0);
    free(folder);
    return 0;
}

static char *read_log(const struct folder *folder, uint64_t cursor, size_t tail, size_t most)
{
    struct buf out = BUF_INIT(16 * 1024 * 1024);
    struct err err = { 0 };

    if (logs_read(folder->fd, "f", cursor, tail, most, &out, &err) < 0)
        fail_msg("%s", err.text);
    return buf_take(&out, NULL);
}

static void expect_log(const struct folder *folder, uint64_t cursor, size_t tail, size_t most,
                       const char *wanted)
{
    char *text = read_log(folder, cursor, tail, most);

    assert_string_equal(text, wanted);
    free(text);
}

static uint64_t next_of(const char *answer)
{
    const char *next = strstr(answer, "\"next\":");

    assert_non_null(next);
    return strtoull(next + 7, NULL, 10);
}

static size_t count_events(const char *answer)
{
    size_t count = 0;

    for (const char *at = answer; (at = strstr(at, "{\"timestamp\":")); at++)
        count++;
    return count;
}

static struct log_writer *writer_of(struct logs *logs, const char *function, const char *stream)
{
    struct err err = { 0 };
    struct log_writer *writer = log_writer_new(logs, function, stream, &err);

    if (!writer)
        fail_msg("%s", err.text);
    return writer;
}

static int append(struct log_writer *writer, uint64_t wall_ms, const char *text)
{
    return log_writer_append(writer, wall_ms, text, strlen(text));
}

static size_t count_segments(const struct folder *folder)
{
    char path[80];
    DIR *dir;
    size_t count = 0;

    (void)snprintf(path, sizeof path, "%s/f", folder->path);
    dir = opendir(path);
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    (void)closedir(dir);
    return count - 2;
}

static void test_events_come_back_as_json(void **state)
{
    const struct folder *folder = *state;
    struct logs *logs = logs_new(folder->fd, 1000, 100000);
    struct log_writer *one, *two;

    expect_log(folder, 0, 0, 10, "{\"events\":[],\"next\":0}");
    one = writer_of(logs, "f", "2026/01/15/[$LATEST]1");
    two = writer_of(logs, "f", "s2");
    expect_log(folder, (uint64_t)-1, TAIL, 10, "{\"events\":[],\"next\":0}");
    assert_int_equal(append(one, 5, "a\tb\r\"\n\xff\n"), 0);
    assert_int_equal(append(two, 6, "no end"), 0);
    assert_int_equal(append(two, 6, ""), 0);
    assert_int_equal(append(two, 7, "\n"), 0);
    expect_log(
        folder, 0, 0, 10,
        "{\"events\":[{\"timestamp\":5,\"stream\":\"2026/01/15/[$LATEST]1\",\"message\":\"a\\tb\\r\\\"\"},"
        "{\"timestamp\":5,\"stream\":\"2026/01/15/[$LATEST]1\",\"message\":\"\xef\xbf\xbd\"},"
        "{\"timestamp\":6,\"stream\":\"s2\",\"message\":\"no end\"},"
        "{\"timestamp\":7,\"stream\":\"s2\",\"message\":\"\"}],\"next\":74}");
    expect_log(folder, (uint64_t)-1, 1, 10,
               "{\"events\":[{\"timestamp\":7,\"stream\":\"s2\",\"message\":\"\"}],\"next\":74}");
    expect_log(folder, (uint64_t)-1, 0, 10, "{\"events\":[],\"next\":74}");
    expect_log(folder, 74, 0, 10, "{\"events\":[],\"next\":74}");
    (void)log_writer_free(one);
    (void)log_writer_free(two);
    (void)logs_free(logs);
}

static void test_a_cursor_pages_and_survives_strange_values(void **state)
{
    const struct folder *folder = *state;
    struct logs *logs = logs_new(folder->fd, 20, 100000);
    struct log_writer *writer = writer_of(logs, "f", "s");
    char *text;

    for (int i = 0; i < 10; i++)
        assert_int_equal(append(writer, 1, "x\n"), 0); /* 6 bytes each, 4 to a segment */
    assert_int_equal(count_segments(folder), 3);
    text = read_log(folder, 0, 0, 3);
    assert_int_equal(count_events(text), 3);
    assert_int_equal(next_of(text), 18);
    free(text);
    for (uint64_t cursor = 0; cursor <= 60; cursor++) {
        text = read_log(folder, cursor, 0, 100);
        assert_int_equal(count_events(text), (60 - cursor) / 6);
        assert_int_equal(next_of(text), 60);
        free(text);
    }
    for (size_t tail = 0; tail < 12; tail++) {
        text = read_log(folder, (uint64_t)-1, tail, 100);
        assert_int_equal(count_events(text), tail < 10 ? tail : 10);
        free(text);
    }
    text = read_log(folder, (uint64_t)-1, 8, 5);
    assert_int_equal(count_events(text), 5);
    assert_int_equal(next_of(text), 60);
    free(text);
    text = read_log(folder, 1000, 0, 100); /* of an earlier function of this name */
    assert_int_equal(count_events(text), 10);
    free(text);
    (void)log_writer_free(writer);
    (void)logs_free(logs);
}

static void test_old_segments_go_and_cursors_go_on(void **state)
{
    const struct folder *folder = *state;
    struct logs *logs = logs_new(folder->fd, 60, 200);
    struct log_writer *writer = writer_of(logs, "f", "s");
    char *text;

    for (int i = 0; i < 100; i++)
        assert_int_equal(append(writer, 1, "x\n"), 0);
    assert_true(count_segments(folder) <= 4);
    text = read_log(folder, 6, 0, 1000);
    assert_true(count_events(text) >= 20 && count_events(text) <= 40);
    assert_int_equal(next_of(text), 600);
    free(text);
    (void)log_writer_free(writer);
    (void)logs_free(logs);
}

static void test_a_log_goes_on_after_a_restart(void **state)
{
    const struct folder *folder = *state;

    for (int i = 0; i < 5; i++) {
        struct logs *logs = logs_new(folder->fd, 12, 100000);
        struct log_writer *writer = writer_of(logs, "f", "s");
        char *text;

        assert_int_equal(append(writer, 1, "x\n"), 0);
        text = read_log(folder, 0, 0, 100);
        assert_int_equal(count_events(text), i + 1);
        assert_int_equal(next_of(text), 6 * (i + 1));
        free(text);
        (void)log_writer_free(writer);
        (void)logs_free(logs);
    }
}

static void put_segment(const struct folder *folder, const char *name, const char *text)
{
    char path[80];
    int fd;

    (void)mkdirat(folder->fd, "f", 0700);
    (void)snprintf(path, sizeof path, "f/%s", name);
    fd = openat(folder->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    (void)close(fd);
}

static void test_a_torn_end_is_closed_and_passed(void **state)
{
    const struct folder *folder = *state;
    struct logs *logs = logs_new(folder->fd, 1000, 100000);
    struct log_writer *writer;

    put_segment(folder, "0000000000000000.log", "1\ts\twhole\n17");
    expect_log(folder, 0, 0, 10,
               "{\"events\":[{\"timestamp\":1,\"stream\":\"s\",\"message\":\"whole\"}],\"next\":10}");
    expect_log(folder, (uint64_t)-1, 1, 10,
               "{\"events\":[{\"timestamp\":1,\"stream\":\"s\",\"message\":\"whole\"}],\"next\":10}");
    writer = writer_of(logs, "f", "s");
    assert_int_equal(append(writer, 2, "after\n"), 0);
    expect_log(folder, 10, 0, 10,
               "{\"events\":[{\"timestamp\":2,\"stream\":\"s\",\"message\":\"after\"}],\"next\":23}");
    (void)log_writer_free(writer);
    (void)logs_free(logs);
}

static void test_a_torn_end_of_a_closed_segment_is_passed(void **state)
{
    const struct folder *folder = *state;

    put_segment(folder, "0000000000000000.log", "1\ts\ta\ntorn");
    put_segment(folder, "000000000000000a.log", "1\ts\tb\n");
    put_segment(folder, "strange", "1\ts\tc\n");
    expect_log(folder, 0, 0, 10,
               "{\"events\":[{\"timestamp\":1,\"stream\":\"s\",\"message\":\"a\"},"
               "{\"timestamp\":1,\"stream\":\"s\",\"message\":\"b\"}],\"next\":16}");
    assert_int_equal(unlinkat(folder->fd, "f/strange", 0), 0);
}

static void test_long_events_are_cut(void **state)
{
    const struct folder *folder = *state;
    struct logs *logs = logs_new(folder->fd, 100000000, 100000000);
    struct log_writer *writer = writer_of(logs, "f", "s");
    size_t len = 300 * 1024;
    char *text = malloc(len + 1), *answer;

    memset(text, 'x', len);
    text[len] = '\n';
    assert_int_equal(log_writer_append(writer, 1, text, len + 1), 0);
    assert_int_equal(append(writer, 1, "next\n"), 0);
    answer = read_log(folder, 0, 0, 10);
    assert_int_equal(count_events(answer), 2);
    assert_non_null(strstr(answer, "x [cut]\""));
    assert_true(strlen(answer) < 257 * 1024);
    free(answer);
    for (int i = 0; i < 8; i++)
        assert_int_equal(log_writer_append(writer, 1, text, len + 1), 0);
    answer = read_log(folder, 0, 0, 100);
    assert_true(strlen(answer) < 1400 * 1024);
    assert_true(count_events(answer) >= 4 && count_events(answer) <= 6);
    free(answer);
    free(text);
    (void)log_writer_free(writer);
    (void)logs_free(logs);
}

static void test_names_are_checked(void **state)
{
    const struct folder *folder = *state;
    struct logs *logs = logs_new(folder->fd, 100, 100);
    static const char *const bad[] = { "", ".", "..", "a/b", "a.b", "\xc3\xbc", "a b" };
    struct buf out = BUF_INIT(1000);
    struct err err = { 0 };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_null(log_writer_new(logs, bad[i], "s", &err));
        assert_int_equal(err.code, ERR_INVALID);
        assert_int_equal(logs_read(folder->fd, bad[i], 0, 0, 1, &out, &err), -EINVAL);
        assert_int_equal(logs_delete(logs, bad[i], &err), -EINVAL);
    }
    assert_null(log_writer_new(logs, "f", "a\tb", &err));
    assert_null(log_writer_new(logs, "f", "a\nb", &err));
    buf_done(&out);
    (void)logs_free(logs);
}

static bool is_kept(const char *function, void *ctx)
{
    return strcmp(function, ctx) == 0;
}

static bool has_log(const struct folder *folder, const char *function)
{
    struct stat info;

    return fstatat(folder->fd, function, &info, 0) == 0;
}

static void test_logs_of_deleted_functions_go_but_the_newest(void **state)
{
    const struct folder *folder = *state;
    static char here[] = "here";
    static const char *const names[] = { "old", "here", "writing", "new", "newer" };
    struct logs *logs = logs_new(folder->fd, 1000, 1000);
    struct log_writer *writer = NULL;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct log_writer *one = writer_of(logs, names[i], "s");
        struct timespec times[2] = { { .tv_sec = 1000 + (time_t)i }, { .tv_sec = 1000 + (time_t)i } };

        assert_int_equal(append(one, 1, "line\n"), 0);
        assert_int_equal(utimensat(folder->fd, names[i], times, 0), 0);
        if (strcmp(names[i], "writing") == 0)
            writer = one;
        else
            (void)log_writer_free(one);
    }
    assert_int_equal(logs_prune(logs, 2, is_kept, here, NULL), 0);
    assert_false(has_log(folder, "old"));
    for (size_t i = 1; i < sizeof names / sizeof *names; i++)
        assert_true(has_log(folder, names[i]));
    (void)log_writer_free(writer);
    assert_int_equal(logs_prune(logs, 0, is_kept, here, NULL), 0);
    assert_true(has_log(folder, "here"));
    for (size_t i = 2; i < sizeof names / sizeof *names; i++)
        assert_false(has_log(folder, names[i]));
    assert_int_equal(logs_delete(logs, "here", NULL), 0);
    (void)logs_free(logs);
}

static void test_deleting_leaves_writers_harmless(void **state)
{
    const struct folder *folder = *state;
    struct logs *logs = logs_new(folder->fd, 20, 100);
    struct log_writer *old = writer_of(logs, "f", "s"), *writer;
    char *text;

    for (int i = 0; i < 5; i++)
        assert_int_equal(append(old, 1, "old\n"), 0);
    assert_int_equal(logs_delete(logs, "f", NULL), 0);
    assert_int_equal(logs_delete(logs, "f", NULL), 0);
    expect_log(folder, 0, 0, 10, "{\"events\":[],\"next\":0}");
    writer = writer_of(logs, "f", "s");
    assert_int_equal(append(writer, 1, "new\n"), 0);
    for (int i = 0; i < 5; i++)
        (void)append(old, 1, "old\n");
    text = read_log(folder, 0, 0, 10);
    assert_int_equal(count_events(text), 1);
    assert_null(strstr(text, "old"));
    free(text);
    (void)log_writer_free(old);
    (void)log_writer_free(writer);
    (void)logs_free(logs);
}

/* A full disk, played by a limit on the size of files: it too writes what fits and then refuses. */
static void test_a_full_disk_loses_only_what_did_not_fit(void **state)
{
    const struct folder *folder = *state;
    struct logs *logs = logs_new(folder->fd, 1000000, 1000000);
    struct log_writer *writer = writer_of(logs, "f", "s");
    struct rlimit before, small;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    int result;

    assert_int_equal(append(writer, 1, "first\n"), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 15;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    result = append(writer, 1, "does not fit\n");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(result, -EFBIG);
    assert_int_equal(append(writer, 1, "last\n"), 0);
    expect_log(folder, 0, 0, 10,
               "{\"events\":[{\"timestamp\":1,\"stream\":\"s\",\"message\":\"first\"},"
               "{\"timestamp\":1,\"stream\":\"s\",\"message\":\"last\"}],\"next\":19}");
    (void)log_writer_free(writer);
    (void)logs_free(logs);
}

enum { RACE_EVENTS = 20000 };
static atomic_bool race_done;

/* Follows the log while the writer rotates: numbers only go up. */
static void *follow(void *argument)
{
    static char repeated[] = "an event came twice or late", back[] = "the cursor went back";
    const struct folder *folder = argument;
    uint64_t cursor = 0;
    long last = -1;

    while (!atomic_load(&race_done)) {
        char *text = read_log(folder, cursor, 0, 500);

        for (const char *at = text; (at = strstr(at, "\"message\":\"")); at++) {
            long number = strtol(at + 11, NULL, 10);

            if (number <= last)
                return repeated;
            last = number;
        }
        if (next_of(text) < cursor)
            return back;
        cursor = next_of(text);
        free(text);
    }
    return NULL;
}

static void test_reading_while_writing_and_rotating(void **state)
{
    struct folder *folder = *state;
    struct logs *logs = logs_new(folder->fd, 4096, 32 * 1024);
    struct log_writer *writer = writer_of(logs, "f", "s");
    pthread_t reader;
    void *complaint = NULL;

    assert_int_equal(pthread_create(&reader, NULL, follow, folder), 0);
    for (int i = 0; i < RACE_EVENTS; i++) {
        char text[16];

        (void)snprintf(text, sizeof text, "%d\n", i);
        assert_int_equal(append(writer, 1, text), 0);
    }
    atomic_store(&race_done, true);
    assert_int_equal(pthread_join(reader, &complaint), 0);
    if (complaint)
        fail_msg("%s", (char *)complaint);
    (void)log_writer_free(writer);
    (void)logs_free(logs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_events_come_back_as_json, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_cursor_pages_and_survives_strange_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_old_segments_go_and_cursors_go_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_log_goes_on_after_a_restart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_torn_end_is_closed_and_passed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_torn_end_of_a_closed_segment_is_passed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_events_are_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names_are_checked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_logs_of_deleted_functions_go_but_the_newest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deleting_leaves_writers_harmless, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_full_disk_loses_only_what_did_not_fit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reading_while_writing_and_rotating, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
