/* Copies of trees: what is taken comes out the same, and what is hostile refuses the whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "sandbox/tree.h"

struct world {
    char path[64];
    int from, to;
};

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    char path[80];

    strcpy(world->path, "/tmp/irori-tree-XXXXXX");
    assert_non_null(mkdtemp(world->path));
    (void)snprintf(path, sizeof path, "%s/from", world->path);
    assert_int_equal(mkdir(path, 0755), 0);
    world->from = open(path, O_RDONLY | O_DIRECTORY);
    (void)snprintf(path, sizeof path, "%s/to", world->path);
    assert_int_equal(mkdir(path, 0755), 0);
    world->to = open(path, O_RDONLY | O_DIRECTORY);
    *state = world;
    return 0;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *at)
{
    (void)status;
    (void)kind;
    (void)at;
    return remove(path);
}

static int tear_down(void **state)
{
    struct world *world = *state;

    (void)close(world->from);
    (void)close(world->to);
    (void)nftw(world->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(world);
    return 0;
}

static void write_file(int folder, const char *name, const char *text, mode_t mode)
{
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL, 0600);

    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    (void)close(fd);
}

static void test_holes_are_kept(void **state)
{
    enum { HOLE = 1 << 20, LENGTH = 3 * HOLE };
    struct world *world = *state;
    struct stat status;
    struct err err = { 0 };
    char text[8] = { 0 };
    int fd = openat(world->from, "holes", O_RDWR | O_CREAT | O_EXCL, 0600);

    assert_int_equal(pwrite(fd, "head", 4, 0), 4);
    assert_int_equal(pwrite(fd, "middle", 6, HOLE), 6);
    assert_int_equal(ftruncate(fd, LENGTH), 0);
    (void)close(fd);
    fd = openat(world->from, "nothing", O_RDWR | O_CREAT | O_EXCL, 0600);
    assert_int_equal(ftruncate(fd, LENGTH), 0);
    (void)close(fd);
    assert_int_equal(tree_copy(world->from, world->to, &err), 0);
    assert_int_equal(fstatat(world->to, "nothing", &status, 0), 0);
    assert_true(status.st_size == LENGTH && status.st_blocks == 0);
    fd = openat(world->to, "holes", O_RDONLY);
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(status.st_size, LENGTH);
    assert_true(status.st_blocks * 512 < HOLE);
    assert_int_equal(pread(fd, text, 4, 0), 4);
    assert_string_equal(text, "head");
    assert_int_equal(pread(fd, text, 7, HOLE), 7);
    assert_string_equal(text, "middle");
    assert_int_equal(pread(fd, text, 1, LENGTH - 1), 1);
    assert_int_equal(text[0], 0);
    (void)close(fd);
}

static void test_what_is_copied_is_the_same(void **state)
{
    const struct timespec times[2] = { { 1000, 5 }, { 2000, 7 } };
    struct world *world = *state;
    char text[32] = { 0 };
    struct stat status;
    unsigned entries;
    struct err err = { 0 };
    int fd;

    assert_int_equal(mkdirat(world->from, "folder", 0755), 0);
    write_file(world->from, "folder/secret", "text", 0400);
    write_file(world->from, "program", "", 04711);
    assert_int_equal(symlinkat("/etc/passwd", world->from, "link"), 0);
    assert_int_equal(utimensat(world->from, "folder/secret", times, 0), 0);
    assert_int_equal(fchmodat(world->from, "folder", 01750, 0), 0);
    assert_int_equal(utimensat(world->from, "folder", times, 0), 0);

    assert_int_equal(tree_measure(world->from, &entries, &err), 0);
    assert_int_equal(entries, 4);
    assert_int_equal(tree_copy(world->from, world->to, &err), 0);
    assert_int_equal(fstatat(world->to, "folder", &status, 0), 0);
    assert_int_equal(status.st_mode, S_IFDIR | 01750);
    assert_int_equal(status.st_mtim.tv_sec, 2000);
    assert_int_equal(fstatat(world->to, "folder/secret", &status, 0), 0);
    assert_int_equal(status.st_mode, S_IFREG | 0400);
    assert_int_equal(status.st_mtim.tv_sec, 2000);
    assert_int_equal(status.st_mtim.tv_nsec, 7);
    assert_int_equal(fstatat(world->to, "program", &status, 0), 0);
    assert_int_equal(status.st_mode, S_IFREG | 04711);
    assert_int_equal(readlinkat(world->to, "link", text, sizeof text), strlen("/etc/passwd"));
    assert_string_equal(text, "/etc/passwd");
    fd = openat(world->to, "folder/secret", O_RDONLY);
    memset(text, 0, sizeof text);
    assert_int_equal(read(fd, text, sizeof text), 4);
    assert_string_equal(text, "text");
    (void)close(fd);
}

static void expect_refusal(const struct world *world, const char *reason)
{
    struct err err = { 0 };
    unsigned entries;

    assert_true(tree_measure(world->from, &entries, &err) < 0);
    assert_non_null(strstr(err.text, reason));
    err = (struct err){ 0 };
    assert_true(tree_copy(world->from, world->to, &err) < 0);
    assert_non_null(strstr(err.text, reason));
}

static void test_a_pipe_is_refused(void **state)
{
    struct world *world = *state;

    assert_int_equal(mkfifoat(world->from, "pipe", 0600), 0);
    expect_refusal(world, "a pipe, socket or device (pipe)");
}

static void test_a_second_name_is_refused(void **state)
{
    struct world *world = *state;

    write_file(world->from, "one", "x", 0600);
    assert_int_equal(linkat(world->from, "one", world->from, "two", 0), 0);
    expect_refusal(world, "several names");
}

static void test_a_giant_without_content_is_refused(void **state)
{
    struct world *world = *state;
    int fd;

    write_file(world->from, "small", "x", 0600);
    fd = openat(world->from, "giant", O_WRONLY | O_CREAT, 0600);
    assert_int_equal(ftruncate(fd, (off_t)TREE_MAX_MB << 20), 0);
    (void)close(fd);
    expect_refusal(world, "more than 64 MiB");
}

static void test_many_entries_are_refused(void **state)
{
    struct world *world = *state;
    struct err err = { 0 };
    unsigned entries;
    char name[16];

    for (int i = 0; i < TREE_MAX_ENTRIES; i++) {
        (void)snprintf(name, sizeof name, "%d", i);
        write_file(world->from, name, "", 0600);
    }
    assert_int_equal(tree_measure(world->from, &entries, &err), 0);
    assert_int_equal(entries, TREE_MAX_ENTRIES);
    write_file(world->from, "more", "", 0600);
    expect_refusal(world, "more than 1000 entries");
}

static void test_a_deep_tree_is_refused(void **state)
{
    struct world *world = *state;
    char path[256] = "d";

    for (int i = 0; i <= TREE_MAX_DEPTH; i++) {
        assert_int_equal(mkdirat(world->from, path, 0700), 0);
        strcat(path, "/d");
    }
    expect_refusal(world, "too deep");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_copied_is_the_same, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_holes_are_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_pipe_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_second_name_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_giant_without_content_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_entries_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_deep_tree_is_refused, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
