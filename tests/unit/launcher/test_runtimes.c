#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "launcher/runtimes.h"
#include "launcher/runtimes_priv.h"

enum { PROBE_UID = 65534, LIMIT_MS = 1500 };

static const char *fake_path;

/* One test's tree: a root, two homes, a data folder, all in a folder that only root may enter. */
struct tree {
    char root[PATH_MAX], home[PATH_MAX];
    int root_fd, data_fd;
    struct runtimes *runtimes;
};

static int setup(void **state)
{
    struct tree *tree = calloc(1, sizeof *tree);
    char name[] = "/tmp/test_runtimes.XXXXXX";

    assert_non_null(tree);
    assert_non_null(mkdtemp(name));
    snprintf(tree->root, sizeof tree->root, "%s/", name);
    snprintf(tree->home, sizeof tree->home, "%s/home", name);
    tree->root_fd = open(name, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    assert_int_equal(mkdirat(tree->root_fd, "data", 0755), 0);
    tree->data_fd = openat(tree->root_fd, "data", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    assert_true(tree->data_fd >= 0);
    *state = tree;
    return 0;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info, (void)type, (void)where;
    return remove(path);
}

static int teardown(void **state)
{
    struct tree *tree = *state;

    runtimes_free(tree->runtimes);
    (void)close(tree->root_fd);
    (void)close(tree->data_fd);
    (void)nftw(tree->root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(tree);
    return 0;
}

static void make_parents(struct tree *tree, const char *path)
{
    char part[PATH_MAX];

    for (const char *at = strchr(path, '/'); at; at = strchr(at + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(at - path), path);
        assert_true(mkdirat(tree->root_fd, part, 0755) == 0 || errno == EEXIST);
    }
}

static void make_file(struct tree *tree, const char *path, const void *data, size_t len)
{
    make_parents(tree, path);

    AUTO_FD int fd = openat(tree->root_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
}

/* A program at path that says text. */
static void make_program(struct tree *tree, const char *path, const char *text)
{
    struct stat info;
    AUTO_FD int fd = open(fake_path, O_RDONLY | O_CLOEXEC);

    assert_int_equal(fstat(fd, &info), 0);

    AUTO_FREE char *data = calloc(1, (size_t)info.st_size + 64);
    assert_non_null(data);
    assert_int_equal(read(fd, data, (size_t)info.st_size), info.st_size);
    snprintf(data + info.st_size, 64, "SAYS%s", text);
    make_file(tree, path, data, (size_t)info.st_size + 64);
}

static void search(struct tree *tree, const char *path)
{
    struct err err = { 0 };
    const struct runtimes_search in = {
        .data_fd = tree->data_fd,
        .probe_uid = PROBE_UID,
        .limit_ms = LIMIT_MS,
        .root = tree->root,
        .homes = { tree->home, "" },
        .path = path,
    };

    tree->runtimes = runtimes_free(tree->runtimes);
    assert_int_equal(runtimes_search(&in, &tree->runtimes, &err), 0);
}

static void assert_runtime(struct tree *tree, const char *id, const char *version, const char *path,
                           const char *inside, const char *lang, const char *target)
{
    char full[PATH_MAX + 256], full_lang[PATH_MAX + 256] = "";
    const struct runtime *runtime = runtimes_get(tree->runtimes, id);

    snprintf(full, sizeof full, "%s%s", tree->root, path);
    if (*lang)
        snprintf(full_lang, sizeof full_lang, "%s%s", tree->root, lang);
    assert_non_null(runtime);
    assert_string_equal(runtime->version, version);
    assert_string_equal(runtime->path, full);
    assert_string_equal(runtime->inside, inside);
    assert_string_equal(runtime->lang, full_lang);
    assert_string_equal(runtime->lang_target, target);
}

static void test_interpreters_of_usr_stay_where_they_are(void **state)
{
    struct tree *tree = *state;

    make_program(tree, "usr/bin/node", "v20.20.2\n");
    make_program(tree, "usr/bin/python3.11", "Python 3.11.2\n");
    assert_int_equal(symlinkat("python3.11", tree->root_fd, "usr/bin/python3"), 0);
    search(tree, NULL);
    assert_runtime(tree, "nodejs20.x", "20.20.2", "usr/bin/node", "/usr/bin/node", "", "");
    assert_runtime(tree, "python3.11", "3.11.2", "usr/bin/python3.11", "/usr/bin/python3.11", "", "");
    assert_string_equal(runtimes_get(tree->runtimes, "nodejs20.x")->client, "node");
    assert_string_equal(runtimes_get(tree->runtimes, "python3.11")->client, "python");
    assert_null(runtimes_get(tree->runtimes, "nodejs22.x"));
    assert_null(runtimes_get(tree->runtimes, "python3.1"));
}

static void test_prefixes_outside_usr_are_mounted_as_lang(void **state)
{
    struct tree *tree = *state;

    make_program(tree, "home/.pyenv/versions/3.12.1/bin/python3.12", "Python 3.12.1\n");
    make_file(tree, "home/.pyenv/versions/3.12.1/lib/python3.12/os.py", "", 0);
    make_program(tree, "home/.nvm/versions/node/v18.2.0/bin/node", "v18.2.0\n");
    make_file(tree, "home/.nvm/versions/node/v18.2.0/include/node/node_version.h", "", 0);
    make_program(tree, "usr/local/bin/python3.9", "Python 3.9.18\n");
    make_file(tree, "usr/local/lib/python3.9/os.py", "", 0);
    search(tree, NULL);
    assert_runtime(tree, "python3.12", "3.12.1", "home/.pyenv/versions/3.12.1/bin/python3.12",
                   "/var/lang/bin/python3.12", "home/.pyenv/versions/3.12.1", "/var/lang");
    assert_runtime(tree, "nodejs18.x", "18.2.0", "home/.nvm/versions/node/v18.2.0/bin/node",
                   "/var/lang/bin/node", "home/.nvm/versions/node/v18.2.0", "/var/lang");
    assert_runtime(tree, "python3.9", "3.9.18", "usr/local/bin/python3.9", "/var/lang/bin/python3.9",
                   "usr/local", "/var/lang");
}

static void test_node_among_strangers_is_mounted_alone(void **state)
{
    struct tree *tree = *state;

    make_program(tree, "data/runtimes/nodejs22.x/node_modules/node/bin/node", "v22.1.0\n");
    make_program(tree, "usr/local/bin/node", "v24.0.1\n");
    make_file(tree, "usr/local/include/node/node_version.h", "", 0);
    make_program(tree, "home/bin/node", "v20.0.0\n");
    make_file(tree, "home/include/node/node_version.h", "", 0);

    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, ":relative:%s/bin:", tree->home);
    search(tree, path);
    assert_runtime(tree, "nodejs22.x", "22.1.0", "data/runtimes/nodejs22.x/node_modules/node/bin/node",
                   "/var/lang/bin/node", "data/runtimes/nodejs22.x/node_modules/node/bin/node",
                   "/var/lang/bin/node");
    assert_runtime(tree, "nodejs24.x", "24.0.1", "usr/local/bin/node", "/var/lang/bin/node",
                   "usr/local/bin/node", "/var/lang/bin/node");
    assert_runtime(tree, "nodejs20.x", "20.0.0", "home/bin/node", "/var/lang/bin/node", "home/bin/node",
                   "/var/lang/bin/node");
}

static void test_pythons_whose_library_is_elsewhere_are_left_out(void **state)
{
    struct tree *tree = *state;

    make_program(tree, "opt/venv/bin/python3.12", "Python 3.12.1\n");
    make_program(tree, "home/bin/python3.13", "Python 3.13.0\n"); /* its prefix is the home itself */
    make_file(tree, "home/lib/python3.13/os.py", "", 0);

    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/bin", tree->home);
    search(tree, path);
    assert_null(runtimes_get(tree->runtimes, "python3.12"));
    assert_null(runtimes_get(tree->runtimes, "python3.13"));
}

static void test_earlier_places_win_and_within_one_the_highest_version(void **state)
{
    struct tree *tree = *state;

    make_program(tree, "data/runtimes/n/bin/node", "v20.1.0\n");
    make_program(tree, "usr/bin/node", "v20.20.0\n");
    make_program(tree, "opt/a/bin/node", "v22.9.0\n");
    make_program(tree, "opt/b/bin/node", "v22.10.0\n");
    make_program(tree, "opt/c/bin/node", "v22.2.0\n");
    search(tree, NULL);
    assert_runtime(tree, "nodejs20.x", "20.1.0", "data/runtimes/n/bin/node", "/var/lang/bin/node",
                   "data/runtimes/n/bin/node", "/var/lang/bin/node");
    assert_string_equal(runtimes_get(tree->runtimes, "nodejs22.x")->version, "22.10.0");
}

static void test_what_misbehaves_is_left_out_in_time(void **state)
{
    static const char *const wrong[] = { "hang",
                                         "flood",
                                         "crash",
                                         "",
                                         "v20.1.0",
                                         "Python 3.12.1",
                                         "v20.1.0\nmore\n",
                                         "v20.1 0\n",
                                         "20.1.0\n",
                                         "v16.0.0\n",
                                         "v200.0.0\n",
                                         "v20\n",
                                         "Python 3.8.1\n",
                                         "v20.0.0-0123456789012345678901234567890\n" };
    struct tree *tree = *state;
    uint64_t start_us = clock_us();

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char path[64];

        snprintf(path, sizeof path, "opt/%zu/bin/node", i);
        make_program(tree, path, wrong[i]);
    }
    make_file(tree, "opt/script/bin/node", "#!/bin/sh\necho v20.1.0\n", 23);
    make_file(tree, "opt/short/bin/node", "\177E", 2);
    make_parents(tree, "opt/fifo/bin/node");
    assert_int_equal(mkfifoat(tree->root_fd, "opt/fifo/bin/node", 0777), 0);
    make_parents(tree, "opt/loop/bin/node");
    assert_int_equal(symlinkat("node", tree->root_fd, "opt/loop/bin/node"), 0);
    search(tree, "/nowhere");
    assert_true(clock_us() - start_us < 4 * LIMIT_MS * 1000);
    assert_null(runtimes_get(tree->runtimes, "nodejs20.x"));
}

static void test_a_child_left_behind_costs_one_limit_and_is_killed(void **state)
{
    struct tree *tree = *state;

    make_program(tree, "opt/a/bin/node", "daemon");
    search(tree, NULL);
    /* In its own pid namespace the child dies with the program, and the answer counts. */
    if (geteuid() == 0)
        assert_non_null(runtimes_get(tree->runtimes, "nodejs20.x"));
}

static void test_provided_is_always_there_and_json_lists_all(void **state)
{
    struct tree *tree = *state;
    AUTO_BUF struct buf json = BUF_INIT(4096);
    AUTO_BUF struct buf small = BUF_INIT(20);

    search(tree, NULL);
    assert_int_equal(runtimes_json(tree->runtimes, &json), 0);
    assert_string_equal(json.data,
                        "[{\"id\":\"provided.al2\",\"version\":\"\",\"path\":\"\",\"inside\":\"\"},"
                        "{\"id\":\"provided.al2023\",\"version\":\"\",\"path\":\"\",\"inside\":\"\"}]");
    assert_string_equal(runtimes_get(tree->runtimes, "provided.al2")->lang, "");
    assert_string_equal(runtimes_get(tree->runtimes, "provided.al2023")->client, "");
    assert_int_equal(runtimes_json(tree->runtimes, &small), -EMSGSIZE);
}

static void test_this_machine_is_searched(void **state)
{
    struct tree *tree = *state;
    struct err err = { 0 };
    AUTO_BUF struct buf json = BUF_INIT(65536);
    uint64_t start_us = clock_us();

    assert_int_equal(runtimes_find(tree->data_fd, PROBE_UID, &tree->runtimes, &err), 0);
    assert_non_null(runtimes_get(tree->runtimes, "provided.al2023"));
    assert_int_equal(runtimes_json(tree->runtimes, &json), 0);
    print_message("%llu ms: %s\n", (unsigned long long)(clock_us() - start_us) / 1000, json.data);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_interpreters_of_usr_stay_where_they_are),
        TEST(test_prefixes_outside_usr_are_mounted_as_lang),
        TEST(test_node_among_strangers_is_mounted_alone),
        TEST(test_pythons_whose_library_is_elsewhere_are_left_out),
        TEST(test_earlier_places_win_and_within_one_the_highest_version),
        TEST(test_what_misbehaves_is_left_out_in_time),
        TEST(test_a_child_left_behind_costs_one_limit_and_is_killed),
        TEST(test_provided_is_always_there_and_json_lists_all),
        TEST(test_this_machine_is_searched),
    };

    if (argc != 2)
        return 2;
    fake_path = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
