#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "cli/cli_priv.h"
#include "cli/package.h"
#include "cli/walk.h"

static void put(int dir, const char *name, const char *text, mode_t mode)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    (void)close(fd);
}

struct folder {
    char path[64];
    int fd;
};

static int set_up(void **state)
{
    struct folder *folder = calloc(1, sizeof *folder);

    (void)snprintf(folder->path, sizeof folder->path, "/tmp/irori-package-XXXXXX");
    assert_non_null(mkdtemp(folder->path));
    folder->fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(mkdirat(folder->fd,
                                 ((const char *const[]){ "b", ".git", "node_modules", "node_modules/.cache",
                                                         "b/\xc3\xbc" })[i],
                                 0700),
                         0);
    put(folder->fd, "index.js", "exports.handler = 1", 0600);
    put(folder->fd, "run", "#!/bin/sh", 0700);
    put(folder->fd, ".git/x", "x", 0600);
    put(folder->fd, "node_modules/.cache/x", "x", 0600);
    put(folder->fd, "b/\xc3\xbc/\xc3\xa9.txt", "x", 0644);
    put(folder->fd, "b/a.py", "x", 0644);
    assert_int_equal(symlinkat("../index.js", folder->fd, "b/link"), 0);
    *state = folder;
    return 0;
}

static int tear_down(void **state)
{
    static const char *const files[] = {
        "index.js", "run",    ".git/x", "node_modules/.cache/x", "b/\xc3\xbc/\xc3\xa9.txt",
        "b/a.py",   "b/link", "bad"
    };
    static const char *const folders[] = { "b/\xc3\xbc", "b", ".git", "node_modules/.cache", "node_modules" };
    struct folder *folder = *state;

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        (void)unlinkat(folder->fd, files[i], 0);
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        (void)unlinkat(folder->fd, folders[i], AT_REMOVEDIR);
    (void)close(folder->fd);
    assert_int_equal(rmdir(folder->path), 0);
    free(folder);
    return 0;
}

static void zip(const char *path, struct buf *out)
{
    struct cli cli = { 0 };
    struct err err = { 0 };

    if (package_read(&cli, path, out, &err) < 0)
        fail_msg("%s", err.text);
}

static void test_a_folder_always_gives_the_same_zip(void **state)
{
    const struct folder *folder = *state;
    const struct timespec times[2] = { { 1, 0 }, { 1700000000, 0 } };
    struct buf first = BUF_INIT(PACKAGE_MAX_ZIP_BYTES), second = BUF_INIT(PACKAGE_MAX_ZIP_BYTES);

    zip(folder->path, &first);
    assert_int_equal(utimensat(folder->fd, "index.js", times, 0), 0);
    assert_int_equal(fchmodat(folder->fd, "index.js", 0640, 0), 0);
    (void)setenv("TZ", "Asia/Tokyo", 1);
    tzset();
    zip(folder->path, &second);
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.data, second.data, first.len);
    buf_done(&first);
    buf_done(&second);
}

static void test_what_is_in_a_package(void **state)
{
    const struct folder *folder = *state;
    struct buf text = BUF_INIT(PACKAGE_MAX_ZIP_BYTES);
    struct package_list list;
    const struct package_entry *index;

    zip(folder->path, &text);
    assert_int_equal(package_look(&text, &list, NULL), 0);
    assert_int_equal(list.count, 4);
    index = package_find(&list, "index.js");
    assert_non_null(index);
    assert_string_equal(index->content, "exports.handler = 1");
    assert_non_null(package_find(&list, "b/\xc3\xbc/\xc3\xa9.txt"));
    assert_non_null(package_find(&list, "run"));
    assert_null(package_find(&list, ".git/x"));
    assert_null(package_find(&list, "node_modules/.cache/x"));
    package_list_done(&list);
    buf_done(&text);
}

static void test_links_out_of_the_folder_are_refused(void **state)
{
    const struct folder *folder = *state;
    struct buf text = BUF_INIT(PACKAGE_MAX_ZIP_BYTES);
    struct cli cli = { 0 };
    struct err err = { 0 };

    assert_int_equal(symlinkat("../etc", folder->fd, "bad"), 0);
    assert_true(package_read(&cli, folder->path, &text, &err) < 0);
    assert_non_null(strstr(err.text, "points outside"));
    buf_done(&text);
    assert_true(walk_link_inside("a/b/link", "../../x"));
    assert_true(walk_link_inside("a/link", "./b/../c"));
    assert_true(walk_link_inside("link", "x//y"));
    assert_false(walk_link_inside("a/link", "../../x"));
    assert_false(walk_link_inside("link", "b/../../a"));
    assert_false(walk_link_inside("link", "/x"));
    assert_false(walk_link_inside("link", ""));
}

static void test_what_is_no_zip_is_refused(void **state)
{
    const struct folder *folder = *state;
    struct buf text = BUF_INIT(PACKAGE_MAX_ZIP_BYTES), broken = BUF_INIT(100);
    struct package_list list;
    struct cli cli = { 0 };
    struct err err = { 0 };
    char path[100];

    (void)snprintf(path, sizeof path, "%s/run", folder->path);
    assert_true(package_read(&cli, path, &text, &err) < 0);
    assert_non_null(strstr(err.text, "no zip"));
    (void)buf_puts(&broken, "PK\003\004 nothing of the kind");
    assert_true(package_look(&broken, &list, &err) < 0);
    buf_done(&text);
    buf_done(&broken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_folder_always_gives_the_same_zip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_in_a_package, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_links_out_of_the_folder_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_no_zip_is_refused, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
