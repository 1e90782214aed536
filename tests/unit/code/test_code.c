#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/text.h"
#include "code/code.h"
#include "zip_writer.h"

enum { FILE_MODE = 0100644, LINK_MODE = 0120777, FOLDER_MODE = 0040755 };

static char folder[64];
static int folder_fd;

static int set_up(void **state)
{
    (void)state;
    (void)umask(077);
    (void)snprintf(folder, sizeof folder, "/tmp/irori-code-test-XXXXXX");
    folder_fd = mkdtemp(folder) ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    return folder_fd < 0;
}

static int tear_down(void **state)
{
    char command[128];

    (void)state;
    (void)close(folder_fd);
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* Names in the code folder but the lock. */
static size_t names_left(void)
{
    DIR *dir = opendir(folder);
    size_t count = 0;

    for (struct dirent *entry; (entry = readdir(dir));)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
                 strcmp(entry->d_name, ".lock") != 0;
    (void)closedir(dir);
    return count;
}

static enum code_status add(const struct zip_entry *entries, size_t count, struct code_package *package,
                            struct err *err)
{
    struct buf archive = BUF_INIT((size_t)512 * 1048576);
    enum code_status status;

    zip_write(&archive, entries, count);
    status = code_add(folder_fd, archive.data, archive.len, package, err);
    buf_done(&archive);
    return status;
}

static mode_t mode_of(const char *hex, const char *name)
{
    char path[512];
    struct stat st;

    (void)snprintf(path, sizeof path, "%s/%s/%s", folder, hex, name);
    if (lstat(path, &st) < 0)
        fail_msg("%s is missing", path);
    return st.st_mode;
}

static void a_package_is_unpacked_with_sane_modes(void **state)
{
    struct zip_entry entries[] = {
        { .name = "index.mjs", .data = "export {}", .mode = 0100600 },
        { .name = "bin/", .mode = FOLDER_MODE },
        { .name = "bin/tool", .data = "#!/bin/sh", .mode = 0106777 },
        { .name = "deep/er/x", .data = "", .mode = FILE_MODE },
        { .name = "bootstrap", .data = "b" },
        { .name = "sub/bootstrap", .data = "b" },
        { .name = "node_modules/.bin/x", .data = "../../bin/tool", .mode = LINK_MODE },
        { .name = "index.mjs", .data = "export { }", .mode = 0100640 },
        { .name = "n\xc3\xa4me", .data = "u", .mode = FILE_MODE, .flags = 0x800 },
        { .name = "./dot", .data = "", .mode = FILE_MODE },
    };
    struct code_package package, again;
    struct err err = { 0 };
    char path[256], link[64] = "";

    (void)state;
    if (add(entries, 10, &package, &err) != CODE_OK)
        fail_msg("%s", err.text);
    assert_int_equal(mode_of(package.sha256_hex, ""), 0040755);
    assert_int_equal(mode_of(package.sha256_hex, "index.mjs"), 0100644);
    assert_int_equal(mode_of(package.sha256_hex, "bin"), 0040755);
    assert_int_equal(mode_of(package.sha256_hex, "bin/tool"), 0100755);
    assert_int_equal(mode_of(package.sha256_hex, "deep/er"), 0040755);
    assert_int_equal(mode_of(package.sha256_hex, "bootstrap"), 0100755);
    assert_int_equal(mode_of(package.sha256_hex, "sub/bootstrap"), 0100644);
    assert_int_equal(mode_of(package.sha256_hex, "n\xc3\xa4me"), 0100644);
    assert_int_equal(mode_of(package.sha256_hex, "dot"), 0100644);
    (void)snprintf(path, sizeof path, "%s/%s/node_modules/.bin/x", folder, package.sha256_hex);
    assert_true(readlink(path, link, sizeof link - 1) > 0);
    assert_string_equal(link, "../../bin/tool");
    assert_int_equal(names_left(), 2);
    assert_int_equal(add(entries, 10, &again, &err), CODE_OK);
    assert_string_equal(again.sha256_base64, package.sha256_base64);
    int fd = code_open_archive(folder_fd, package.sha256_hex);
    assert_true(fd >= 0);
    assert_int_equal(lseek(fd, 0, SEEK_END), package.size_bytes);
    (void)close(fd);
    assert_true(code_open_archive(folder_fd, "../../etc/passwd") < 0);
}

static char long_name[300], deep_name[300];

static void hostile_archives_are_refused_and_leave_nothing(void **state)
{
    static const struct zip_entry good = { .name = "good", .data = "g", .mode = FILE_MODE };
    const struct {
        struct zip_entry entry;
        const char *reason;
    } cases[] = {
        { { .name = "../x", .data = "x", .mode = FILE_MODE }, "leaves the package" },
        { { .name = "a/../../x", .data = "x", .mode = FILE_MODE }, "leaves the package" },
        { { .name = "/etc/x", .data = "x", .mode = FILE_MODE }, "absolute" },
        { { .name = "C:/x", .data = "x", .mode = FILE_MODE }, "drive letter" },
        { { .name = "a\\b", .data = "x", .mode = FILE_MODE }, "backslash" },
        { { .name = "a\0b", .name_len = 3, .data = "x", .mode = FILE_MODE }, "NUL" },
        { { .name = "l", .data = "/etc/passwd", .mode = LINK_MODE }, "points outside" },
        { { .name = "l", .data = "../x", .mode = LINK_MODE }, "points outside" },
        { { .name = "d/l", .data = "../../x", .mode = LINK_MODE }, "points outside" },
        { { .name = "l", .data = "d/../../x", .mode = LINK_MODE }, "points outside" },
        { { .name = "pipe", .data = "", .mode = 0010644 }, "neither a file" },
        { { .name = "dev", .data = "", .mode = 0020644 }, "neither a file" },
        { { .name = "good/x", .data = "", .mode = FILE_MODE }, "through a link or a file" },
        { { .name = "secret", .data = "x", .mode = FILE_MODE, .flags = 1 }, "encrypted" },
        { { .name = "lzma", .data = "x", .mode = FILE_MODE, .method = 14 }, "compression method" },
        { { .name = long_name, .data = "x", .mode = FILE_MODE }, "too long" },
        { { .name = deep_name, .data = "x", .mode = FILE_MODE }, "too deep" },
    };

    (void)state;
    memset(long_name, 'n', 256);
    for (int i = 0; i < 65; i++)
        memcpy(deep_name + 2 * i, "d/", 2);
    deep_name[130] = 'f';
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct zip_entry entries[] = { good, cases[i].entry };
        struct code_package package;
        struct err err = { 0 };

        if (add(entries, 2, &package, &err) != CODE_NOT_ZIP)
            fail_msg("accepted: %s", cases[i].reason);
        if (err.code != ERR_DENIED || !strstr(err.text, cases[i].reason))
            fail_msg("%s: %s", cases[i].reason, err.text);
        assert_int_equal(names_left(), 0);
    }
}

static void links_do_not_carry_files_out(void **state)
{
    struct zip_entry through[] = { { .name = "d/", .mode = FOLDER_MODE },
                                   { .name = "l", .data = "d", .mode = LINK_MODE },
                                   { .name = "l/x", .data = "x", .mode = FILE_MODE } };
    struct zip_entry over[] = { { .name = "d", .data = "f", .mode = FILE_MODE },
                                { .name = "l", .data = "d", .mode = LINK_MODE },
                                { .name = "l", .data = "x", .mode = FILE_MODE } };
    struct zip_entry chain[] = { { .name = "a/b/up", .data = "../..", .mode = LINK_MODE },
                                 { .name = "q", .data = "a/b/up/..", .mode = LINK_MODE } };
    struct code_package package;
    struct err err = { 0 };

    (void)state;
    assert_int_equal(add(through, 3, &package, &err), CODE_NOT_ZIP);
    assert_non_null(strstr(err.text, "through a link"));
    assert_int_equal(add(over, 3, &package, &err), CODE_NOT_ZIP);
    assert_non_null(strstr(err.text, "folder or a link is already"));
    assert_int_equal(add(chain, 2, &package, &err), CODE_NOT_ZIP);
    assert_non_null(strstr(err.text, "points outside"));
    assert_int_equal(names_left(), 0);
}

static void broken_archives_are_refused(void **state)
{
    struct zip_entry entry = { .name = "x", .data = "content", .mode = FILE_MODE };
    struct buf archive = BUF_INIT(4096);
    struct code_package package;
    struct err err = { 0 };

    (void)state;
    zip_write(&archive, &entry, 1);
    for (size_t len = 0; len < archive.len; len++) {
        enum code_status status = code_add(folder_fd, archive.data, len, &package, &err);

        if (status != CODE_NOT_ZIP)
            fail_msg("%zu bytes of the archive were accepted", len);
    }
    entry.wrong_crc = true;
    assert_int_equal(add(&entry, 1, &package, &err), CODE_NOT_ZIP);
    assert_int_equal(err.code, ERR_INVALID);
    assert_int_equal(names_left(), 0);
    buf_done(&archive);
}

static void archives_may_not_hold_too_much(void **state)
{
    enum { BIG = 66000000, MANY = 100000 };
    char *zeros = calloc(1, BIG);
    struct zip_entry *entries = calloc(MANY, sizeof *entries);
    char(*names)[8] = calloc(MANY, sizeof *names);
    struct code_package package;
    struct err err = { 0 };

    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        (void)snprintf(names[i], sizeof names[i], "%zu", i);
        entries[i] = (struct zip_entry){ .name = names[i], .data = "", .mode = FILE_MODE };
    }
    assert_int_equal(add(entries, MANY, &package, &err), CODE_NOT_ZIP);
    assert_non_null(strstr(err.text, "more than 99999 entries"));
    entries[0] = (struct zip_entry){ .name = "big", .data = zeros, .data_len = BIG, .mode = FILE_MODE };
    assert_int_equal(add(entries, 1, &package, &err), CODE_ZIPPED_TOO_BIG);
    assert_int_equal(names_left(), 0);
    free(zeros);
    free(entries);
    free(names);
}

/* 300 MB of zeros in 300 KB, made by the zip module of Python. */
static void bombs_are_stopped(void **state)
{
    static char archive[1048576];
    char command[512], path[128];
    struct code_package package;
    struct err err = { 0 };
    size_t len;
    FILE *file;

    (void)state;
    (void)snprintf(path, sizeof path, "%s.zip", folder);
    (void)snprintf(command, sizeof command,
                   "python3 -c \"import zipfile; z = zipfile.ZipFile('%s', 'w', zipfile.ZIP_DEFLATED);"
                   " z.writestr('a', bytes(150000000)); z.writestr('b', bytes(150000000)); z.close()\"",
                   path);
    if (system(command) != 0)
        skip();
    file = fopen(path, "rbe");
    assert_non_null(file);
    len = fread(archive, 1, sizeof archive, file);
    (void)fclose(file);
    (void)unlink(path);
    assert_int_equal(code_add(folder_fd, archive, len, &package, &err), CODE_UNZIPPED_TOO_BIG);
    assert_int_equal(names_left(), 0);
}

static struct buf shared;

static void *add_shared(void *result)
{
    struct code_package package;
    struct err err = { 0 };

    *(enum code_status *)result = code_add(folder_fd, shared.data, shared.len, &package, &err);
    return NULL;
}

static void many_threads_add_the_same_archive(void **state)
{
    enum { THREADS = 8 };
    struct zip_entry entry = { .name = "x", .data = "y", .mode = FILE_MODE };
    pthread_t threads[THREADS];
    enum code_status results[THREADS];

    (void)state;
    shared = BUF_INIT(4096);
    zip_write(&shared, &entry, 1);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_shared, &results[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
        assert_int_equal(results[i], CODE_OK);
    }
    assert_int_equal(names_left(), 2);
    buf_done(&shared);
}

static void sweeping_keeps_what_is_used_or_young(void **state)
{
    struct zip_entry one = { .name = "x", .data = "1", .mode = FILE_MODE };
    struct zip_entry two = { .name = "x", .data = "2", .mode = FILE_MODE };
    struct code_package first, second;
    struct err err = { 0 };
    const char *keep[1];

    (void)state;
    assert_int_equal(add(&one, 1, &first, &err), CODE_OK);
    assert_int_equal(add(&two, 1, &second, &err), CODE_OK);
    assert_int_equal(mkdirat(folder_fd, ".tmp-crash", 0700), 0);
    keep[0] = first.sha256_hex;
    assert_int_equal(code_sweep(folder_fd, keep, 1, &err), 0);
    assert_int_equal(names_left(), 2);
    assert_true(code_open_archive(folder_fd, second.sha256_hex) < 0);
    assert_int_equal(code_sweep(folder_fd, NULL, 0, &err), 0);
    assert_int_equal(add(&one, 1, &first, &err), CODE_OK);
    assert_int_equal(names_left(), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_package_is_unpacked_with_sane_modes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hostile_archives_are_refused_and_leave_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(links_do_not_carry_files_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(broken_archives_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(archives_may_not_hold_too_much, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bombs_are_stopped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_threads_add_the_same_archive, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sweeping_keeps_what_is_used_or_young, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
