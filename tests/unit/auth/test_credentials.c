#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/credentials_priv.h"
#include "base/err.h"

#define ROLE "arn:aws:iam::123456789012:role/service-role/worker"

struct folder {
    char path[64];
    int fd;
};

static int set_up(void **state)
{
    struct folder *folder = calloc(1, sizeof *folder);

    (void)snprintf(folder->path, sizeof folder->path, "/tmp/irori-credentials-XXXXXX");
    assert_non_null(mkdtemp(folder->path));
    folder->fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(folder->fd >= 0);
    *state = folder;
    return 0;
}

static int tear_down(void **state)
{
    struct folder *folder = *state;

    (void)unlinkat(folder->fd, "credentials", 0);
    (void)close(folder->fd);
    (void)rmdir(folder->path);
    free(folder);
    return 0;
}

static void put_file(const struct folder *folder, const char *text)
{
    int fd = openat(folder->fd, "credentials", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    (void)close(fd);
}

static struct credentials *open_file(const struct folder *folder, struct err *err)
{
    struct credentials *credentials = NULL;

    (void)credentials_open(folder->fd, "credentials", "000000000000", "us-east-1", (unsigned)-1, (unsigned)-1,
                           &credentials, err);
    return credentials;
}

static size_t count_files(const struct folder *folder)
{
    DIR *dir = opendir(folder->path);
    size_t count = 0;

    assert_non_null(dir);
    while (readdir(dir))
        count++;
    (void)closedir(dir);
    return count - 2;
}

static void test_first_start_makes_keys_that_stay(void **state)
{
    const struct folder *folder = *state;
    struct credentials *credentials = open_file(folder, NULL), *again;
    const char *key = NULL, *secret = NULL, *same_key = NULL, *same_secret = NULL;
    struct credential_match match;
    struct stat info;

    assert_non_null(credentials);
    assert_int_equal(fstatat(folder->fd, "credentials", &info, 0), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    assert_int_equal(info.st_nlink, 1);
    assert_int_equal(count_files(folder), 1);
    credentials_own(credentials, &key, &secret);
    assert_int_equal(strlen(key), 20);
    assert_memory_equal(key, "AKIA", 4);
    assert_int_equal(strlen(secret), 40);
    assert_int_equal(credentials_find(credentials, key, strlen(key), &match), 0);
    assert_int_equal(match.principal.kind, PRINCIPAL_ROOT);
    assert_string_equal(match.principal.arn, "arn:aws:iam::000000000000:root");
    assert_string_equal(match.token, "");
    again = open_file(folder, NULL);
    assert_non_null(again);
    credentials_own(again, &same_key, &same_secret);
    assert_string_equal(key, same_key);
    assert_string_equal(secret, same_secret);
    (void)credentials_free(credentials);
    (void)credentials_free(again);
}

static void test_keys_of_the_owner_are_taken(void **state)
{
    const struct folder *folder = *state;
    struct credentials *credentials;
    struct credential_match match;

    put_file(folder,
             "[default]\naws_access_key_id=A1\naws_secret_access_key=s1\n[half]\naws_access_key_id=A2\n"
             "[other]\naws_access_key_id=A3\naws_secret_access_key=s3\n");
    credentials = open_file(folder, NULL);
    assert_non_null(credentials);
    assert_int_equal(credentials_find(credentials, "A1", 2, &match), 0);
    assert_string_equal(match.secret, "s1");
    assert_int_equal(credentials_find(credentials, "A2", 2, &match), -ENOENT);
    assert_int_equal(credentials_find(credentials, "A3", 2, &match), 0);
    assert_int_equal(credentials_find(credentials, "A", 1, &match), -ENOENT);
    credentials_revoke(credentials, "A1");
    assert_int_equal(credentials_find(credentials, "A1", 2, &match), 0);
    (void)credentials_free(credentials);
}

static void test_a_useless_file_is_an_error(void **state)
{
    const struct folder *folder = *state;
    struct err err = { 0 };

    put_file(folder, "[default]\naws_access_key_id=A/1\naws_secret_access_key=s1\n");
    assert_null(open_file(folder, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_non_null(strstr(err.text, "no profile"));
    (void)unlinkat(folder->fd, "credentials", 0);
    assert_int_equal(mkdirat(folder->fd, "credentials", 0700), 0);
    assert_null(open_file(folder, &err));
    assert_non_null(strstr(err.text, "no regular file"));
    assert_int_equal(unlinkat(folder->fd, "credentials", AT_REMOVEDIR), 0);
}

static void test_temporary_keys_come_and_go(void **state)
{
    (void)state;
    struct credentials *credentials = credentials_new();
    struct temporary_key key, other;
    struct credential_match match;

    assert_int_equal(credentials_issue(credentials, ROLE, "echo", 1000, &key, NULL), 0);
    assert_int_equal(credentials_issue(credentials, ROLE, "echo", 1000, &other, NULL), 0);
    assert_string_not_equal(key.access_key, other.access_key);
    assert_memory_equal(key.access_key, "ASIA", 4);
    assert_int_equal(strlen(key.access_key), 20);
    assert_int_equal(credentials_find(credentials, key.access_key, 20, &match), 0);
    assert_int_equal(match.principal.kind, PRINCIPAL_FUNCTION);
    assert_string_equal(match.principal.arn, "arn:aws:sts::123456789012:assumed-role/worker/echo");
    assert_string_equal(match.principal.account, "123456789012");
    assert_memory_equal(match.principal.user_id, "AROA", 4);
    assert_string_equal(match.principal.user_id + 21, ":echo");
    assert_string_equal(match.secret, key.secret);
    assert_string_equal(match.token, key.token);
    assert_int_equal(match.expires_wall_ms, 1000);
    credentials_revoke(credentials, key.access_key);
    credentials_revoke(credentials, key.access_key);
    assert_int_equal(credentials_find(credentials, key.access_key, 20, &match), -ENOENT);
    assert_int_equal(credentials_find(credentials, other.access_key, 20, &match), 0);
    (void)credentials_free(credentials);
}

static void test_thousands_of_keys(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    struct credentials *credentials = credentials_new();
    char(*keys)[21] = calloc(COUNT, sizeof *keys);
    struct credential_match match;

    for (size_t i = 0; i < COUNT; i++) {
        struct temporary_key key;

        assert_int_equal(credentials_issue(credentials, ROLE, "echo", 1, &key, NULL), 0);
        memcpy(keys[i], key.access_key, sizeof keys[i]);
    }
    for (size_t i = 0; i < COUNT; i += 2)
        credentials_revoke(credentials, keys[i]);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(credentials_find(credentials, keys[i], 20, &match), i % 2 == 0 ? -ENOENT : 0);
    free(keys);
    (void)credentials_free(credentials);
}

static void test_only_roles_can_be_assumed(void **state)
{
    (void)state;
    static const char *const bad[] = { "",
                                       "arn:aws:iam::12345678901:role/x",
                                       "arn:aws:iam::123456789012:user/x",
                                       "arn:aws:sts::123456789012:role/x",
                                       "arn:aws:iam::123456789012:role/",
                                       "arn::iam::123456789012:role/x",
                                       "arn:aws:iam::1234567890123:role/x" };
    struct credentials *credentials = credentials_new();
    struct temporary_key key;
    struct err err = { 0 };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(credentials_issue(credentials, bad[i], "f", 1, &key, &err), -EINVAL);
        assert_int_equal(err.code, ERR_INVALID);
    }
    assert_int_equal(
        credentials_issue(credentials, "arn:aws-cn:iam::123456789012:role/x", "f", 1, &key, NULL), 0);
    (void)credentials_free(credentials);
}

static void test_cached_signing_keys_follow_the_scope(void **state)
{
    (void)state;
    struct credentials *credentials = credentials_new();
    struct credential_match match = { .principal = { .access_key = "A1" }, .secret = "s1" };
    const struct sigv4_scope scopes[] = { { "20260115T120000Z", "eu-west-1", "lambda" },
                                          { "20260116T120000Z", "eu-west-1", "lambda" },
                                          { "20260116T120000Z", "eu-west-2", "lambda" },
                                          { "20260116T120000Z", "eu-west-2", "rds" } };

    for (size_t round = 0; round < 2; round++) {
        for (size_t i = 0; i < 4; i++) {
            unsigned char key[32], cached[32], direct[32];

            assert_int_equal(credentials_signing_key(credentials, &match, &scopes[i], key), 0);
            assert_int_equal(credentials_signing_key(credentials, &match, &scopes[i], cached), 0);
            assert_int_equal(sigv4_signing_key("s1", &scopes[i], direct), 0);
            assert_memory_equal(key, direct, 32);
            assert_memory_equal(cached, direct, 32);
        }
    }
    (void)credentials_free(credentials);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_first_start_makes_keys_that_stay, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_keys_of_the_owner_are_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_useless_file_is_an_error, set_up, tear_down),
        cmocka_unit_test(test_temporary_keys_come_and_go),
        cmocka_unit_test(test_thousands_of_keys),
        cmocka_unit_test(test_only_roles_can_be_assumed),
        cmocka_unit_test(test_cached_signing_keys_follow_the_scope),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
