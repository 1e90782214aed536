/* The store of what runtimes have compiled. */

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
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "code/cache.h"

#define CODE_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define CODE_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static const struct code_cache_key a = { 1, CODE_A, "nodejs20.x" }, b = { 1, CODE_B, "nodejs20.x" },
                                   other_function = { 2, CODE_A, "nodejs20.x" },
                                   other_runtime = { 1, CODE_A, "nodejs22.x" };
static char folder[64];
static int folder_fd;

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/irori-test-cache-XXXXXX");
    assert_non_null(mkdtemp(folder));
    folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return folder_fd < 0;
}

static int tear_down(void **state)
{
    char command[128];

    (void)state;
    (void)close(folder_fd);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static struct code_cache *open_cache(uint64_t max_bytes)
{
    struct code_cache *cache = NULL;
    struct err err = { 0 };

    assert_int_equal(code_cache_open(folder_fd, max_bytes, &cache, &err), 0);
    return cache;
}

static void put(struct code_cache *cache, const struct code_cache_key *key, const char *text)
{
    struct err err = { 0 };

    assert_int_equal(code_cache_choose(cache, key), CODE_CACHE_MAKE);
    assert_int_equal(code_cache_put(cache, key, text, strlen(text), &err), 0);
}

static void expect_list(const struct code_cache *cache, const char *text)
{
    struct buf out = BUF_INIT(1024);

    code_cache_list(cache, &out);
    assert_string_equal(out.data, text);
    buf_done(&out);
}

static void expect_file(const char *name, const char *text)
{
    char read_back[64] = "";
    int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC);

    if (!text) {
        assert_int_equal(fd, -1);
        return;
    }
    assert_true(read(fd, read_back, sizeof read_back - 1) >= 0);
    assert_string_equal(read_back, text);
    (void)close(fd);
}

static void test_one_makes_it_and_later_ones_use_it(void **state)
{
    struct code_cache *cache = open_cache(1000);
    struct stat st;

    (void)state;
    assert_int_equal(code_cache_choose(cache, &a), CODE_CACHE_MAKE);
    assert_int_equal(code_cache_choose(cache, &a), CODE_CACHE_NONE); /* one is at it */
    assert_int_equal(code_cache_choose(cache, &other_function), CODE_CACHE_MAKE);
    code_cache_abandon(cache, &other_function);
    code_cache_abandon(cache, &a);
    put(cache, &a, "what it compiled");
    assert_int_equal(code_cache_choose(cache, &a), CODE_CACHE_USE);
    code_cache_used(cache, &a);
    assert_int_equal(code_cache_choose(cache, &b), CODE_CACHE_MAKE);
    assert_int_equal(code_cache_choose(cache, &other_function), CODE_CACHE_MAKE);
    assert_int_equal(code_cache_choose(cache, &other_runtime), CODE_CACHE_MAKE);
    expect_list(cache, "{\"files\":1,\"bytes\":16,\"made\":1,\"used\":1,\"spoiled\":0}");
    expect_file("code-cache/1-" CODE_A "-nodejs20.x/modules", "what it compiled");
    assert_int_equal(fstatat(folder_fd, "code-cache/1-" CODE_A "-nodejs20.x/modules", &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0444);
    (void)code_cache_free(cache);
}

static void test_it_is_there_after_a_restart(void **state)
{
    struct code_cache *cache = open_cache(1000);

    (void)state;
    put(cache, &a, "12345");
    (void)code_cache_free(cache);
    cache = open_cache(1000);
    assert_int_equal(code_cache_choose(cache, &a), CODE_CACHE_USE);
    expect_list(cache, "{\"files\":1,\"bytes\":5,\"made\":0,\"used\":0,\"spoiled\":0}");
    (void)code_cache_free(cache);
}

static void test_less_room_than_before_holds_at_once(void **state)
{
    struct code_cache *cache = open_cache(1000);

    (void)state;
    put(cache, &a, "12345");
    (void)code_cache_free(cache);
    cache = open_cache(0);
    assert_int_equal(code_cache_choose(cache, &a), CODE_CACHE_NONE);
    expect_file("code-cache/1-" CODE_A "-nodejs20.x/modules", NULL);
    (void)code_cache_free(cache);
}

static void test_what_does_not_belong_there_is_removed_at_the_start(void **state)
{
    static const char *const names[] = { "code-cache/x", "code-cache/1-" CODE_A "-nodejs20.x",
                                         "code-cache/1-short-nodejs20.x", "code-cache/-" CODE_A "-x" };

    (void)state;
    assert_int_equal(mkdirat(folder_fd, "code-cache", 0755), 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(mkdirat(folder_fd, names[i], 0755), 0);
    assert_int_equal(symlinkat("/etc/passwd", folder_fd, "code-cache/1-" CODE_A "-nodejs20.x/modules"), 0);
    (void)code_cache_free(open_cache(1000));
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(faccessat(folder_fd, names[i], F_OK, AT_SYMLINK_NOFOLLOW), -1);
}

static void test_the_longest_unused_one_goes(void **state)
{
    struct code_cache *cache = open_cache(10);

    (void)state;
    put(cache, &a, "1234");
    put(cache, &b, "1234");
    assert_int_equal(code_cache_choose(cache, &a), CODE_CACHE_USE);
    put(cache, &other_function, "1234");
    assert_int_equal(code_cache_choose(cache, &a), CODE_CACHE_USE);
    assert_int_equal(code_cache_choose(cache, &b), CODE_CACHE_MAKE);
    expect_file("code-cache/1-" CODE_B "-nodejs20.x/modules", NULL);
    expect_list(cache, "{\"files\":2,\"bytes\":8,\"made\":3,\"used\":0,\"spoiled\":0}");
    (void)code_cache_free(cache);
}

static void test_too_large_or_nothing_is_not_asked_for_again(void **state)
{
    struct code_cache *cache = open_cache(10);

    (void)state;
    put(cache, &a, "12345678901");
    put(cache, &b, "");
    assert_int_equal(code_cache_choose(cache, &a), CODE_CACHE_NONE);
    assert_int_equal(code_cache_choose(cache, &b), CODE_CACHE_NONE);
    expect_file("code-cache/1-" CODE_A "-nodejs20.x/modules", NULL);
    (void)code_cache_free(cache);
}

static void test_a_spoiled_one_is_made_anew_but_not_for_ever(void **state)
{
    struct code_cache *cache = open_cache(100);

    (void)state;
    for (int i = 0; i < 4; i++) {
        put(cache, &a, "x");
        code_cache_spoiled(cache, &a);
        code_cache_spoiled(cache, &a); /* of another environment of the same one */
        expect_file("code-cache/1-" CODE_A "-nodejs20.x/modules", NULL);
    }
    assert_int_equal(code_cache_choose(cache, &a), CODE_CACHE_NONE);
    expect_list(cache, "{\"files\":0,\"bytes\":0,\"made\":4,\"used\":0,\"spoiled\":4}");
    for (int i = 0; i < 5; i++) {
        put(cache, &b, "x");
        code_cache_used(cache, &b);
        code_cache_spoiled(cache, &b);
    }
    (void)code_cache_free(cache);
}

static bool is_a(unsigned uid_index, const char *code, void *ctx)
{
    ++*(unsigned *)ctx;
    return uid_index == 1 && strcmp(code, CODE_A) == 0;
}

static void test_what_nobody_wants_is_swept_and_not_put_afterwards(void **state)
{
    struct code_cache *cache = open_cache(100);
    struct err err = { 0 };
    unsigned asked = 0;

    (void)state;
    put(cache, &a, "x");
    put(cache, &other_runtime, "x");
    put(cache, &other_function, "x");
    assert_int_equal(code_cache_choose(cache, &b), CODE_CACHE_MAKE);
    code_cache_sweep(cache, is_a, &asked);
    assert_int_equal(asked, 4);
    assert_int_equal(code_cache_put(cache, &b, "x", 1, &err), 0);
    expect_list(cache, "{\"files\":2,\"bytes\":2,\"made\":3,\"used\":0,\"spoiled\":0}");
    expect_file("code-cache/1-" CODE_B "-nodejs20.x/modules", NULL);
    (void)code_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_makes_it_and_later_ones_use_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_it_is_there_after_a_restart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_less_room_than_before_holds_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_does_not_belong_there_is_removed_at_the_start, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_the_longest_unused_one_goes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_too_large_or_nothing_is_not_asked_for_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_spoiled_one_is_made_anew_but_not_for_ever, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_nobody_wants_is_swept_and_not_put_afterwards, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
