/* Of this process and a folder of its own. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "sandbox/inspection.h"

static const char *const values[] = { "secret-value", "other-value", "/etc/passwd" };

struct place {
    char path[64];
    int fd;
    struct buf out;
};

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);

    (void)snprintf(place->path, sizeof place->path, "/tmp/irori-test-XXXXXX");
    assert_non_null(mkdtemp(place->path));
    place->fd = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    char command[128];

    (void)close(place->fd);
    (void)snprintf(command, sizeof command, "rm -rf %s", place->path);
    assert_int_equal(system(command), 0);
    buf_done(&place->out);
    free(place);
    return 0;
}

static void look(struct place *place, size_t max)
{
    int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    pid_t self = getpid();
    const struct inspection inspection = {
        .proc = proc, .pids = &self, .pid_count = 1, .tmp = place->fd, .values = values, .value_count = 3
    };

    buf_done(&place->out);
    place->out = BUF_INIT(max);
    inspection_look(&inspection, &place->out);
    assert_false(place->out.failed);
    assert_true(json_valid(place->out.data, place->out.len, NULL));
    (void)close(proc);
}

static void expect(const struct place *place, const char *text)
{
    if (!strstr(place->out.data, text))
        fail_msg("'%s' has no '%s'", place->out.data, text);
}

static void put(const struct place *place, const char *name, const char *text, size_t len)
{
    int fd = openat(place->fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_int_equal(write(fd, text, len), len);
    (void)close(fd);
}

static void test_files(void **state)
{
    struct place *place = *state;

    assert_int_equal(mkdirat(place->fd, "d", 0700), 0);
    put(place, "d/one", "a secret-value b", 16);
    put(place, "quote\"", "", 0);
    put(place, "other-value", "x", 1);
    look(place, INSPECTION_MAX_BYTES);
    expect(place, "{\"bytes\":16,\"path\":\"d/one\",\"values\":[0]}");
    expect(place, "{\"bytes\":0,\"path\":\"quote\\\"\",\"values\":[]}");
    expect(place, "{\"bytes\":1,\"path\":\"other-value\",\"values\":[1]}"); /* in its name */
    expect(place, "\"truncated\":false}");
}

static void test_a_value_across_two_parts_of_a_file(void **state)
{
    struct place *place = *state;
    enum { SIZE = 600 * 1024, AT = 256 * 1024 - 5 };
    char *text = malloc(SIZE);

    memset(text, 'x', SIZE);
    memcpy(text + AT, values[0], strlen(values[0]));
    put(place, "large", text, SIZE);
    free(text);
    look(place, INSPECTION_MAX_BYTES);
    expect(place, "\"path\":\"large\",\"values\":[0]");
}

/* Neither out of the folder, nor into what would block. */
static void test_links_and_pipes(void **state)
{
    struct place *place = *state;

    put(place, "file", "secret-value", 12);
    assert_int_equal(symlinkat("file", place->fd, "link"), 0);
    assert_int_equal(symlinkat("/etc/passwd", place->fd, "out"), 0);
    assert_int_equal(symlinkat("/proc", place->fd, "folder"), 0);
    assert_int_equal(mkfifoat(place->fd, "fifo", 0600), 0);
    look(place, INSPECTION_MAX_BYTES);
    expect(place, "{\"bytes\":0,\"path\":\"link\",\"values\":[]}");
    expect(place, "{\"bytes\":0,\"path\":\"out\",\"values\":[2]}"); /* where it points to */
    expect(place, "{\"bytes\":0,\"path\":\"folder\",\"values\":[]}");
    expect(place, "{\"bytes\":0,\"path\":\"fifo\",\"values\":[]}");
    assert_null(strstr(place->out.data, "folder/"));
}

static void test_limits(void **state)
{
    struct place *place = *state;
    char name[32];

    for (int i = 0; i < INSPECTION_FILES + 10; i++) {
        (void)snprintf(name, sizeof name, "%d", i);
        put(place, name, "", 0);
    }
    look(place, INSPECTION_MAX_BYTES);
    expect(place, "\"truncated\":true}");
    look(place, 96 * 1024); /* no more than fits */
    expect(place, "\"truncated\":true}");
}

static void test_deep_folders(void **state)
{
    struct place *place = *state;
    int at = dup(place->fd);

    for (int i = 0; i < 100; i++) {
        int next;

        assert_int_equal(mkdirat(at, "d", 0700), 0);
        next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        (void)close(at);
        at = next;
    }
    (void)close(at);
    look(place, INSPECTION_MAX_BYTES);
    expect(place, "d/d/d/d");
    expect(place, "\"truncated\":true}");
}

static void test_descriptors(void **state)
{
    struct place *place = *state;
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
        client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), pipes[2], pair[2];
    char text[200];

    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    look(place, INSPECTION_MAX_BYTES);
    expect(place, "\"name\":\"test_inspection\"");
    (void)snprintf(text, sizeof text, "\"peer\":\"127.0.0.1:%u\",\"connected\":true}",
                   ntohs(address.sin_port));
    expect(place, text);
    (void)snprintf(text, sizeof text, "{\"fd\":%d,\"kind\":\"pipe\",\"path\":\"pipe:[", pipes[0]);
    expect(place, text);
    (void)snprintf(text, sizeof text, "{\"fd\":%d,\"kind\":\"file\",\"path\":\"%s\"}", place->fd,
                   place->path);
    expect(place, text);
    (void)snprintf(text, sizeof text, "{\"fd\":%d,\"kind\":\"socket\"", listener);
    expect(place, text);
    for (const char *at = strstr(place->out.data, text); at; at = NULL)
        assert_non_null(strstr(strstr(at, "socket:["), "\"connected\":false}"));
    (void)close(listener);
    (void)close(client);
    (void)close(pipes[0]);
    (void)close(pipes[1]);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_value_across_two_parts_of_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_links_and_pipes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_limits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deep_folders, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_descriptors, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
