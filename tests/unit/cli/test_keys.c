#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/cli_priv.h"
#include "cli/keys.h"

#define PAIR(name) "[" name "]\naws_access_key_id = A-" name "\naws_secret_access_key = S-" name "\n"

static void test_profiles(void **state)
{
    (void)state;
    struct keys keys;

    assert_int_equal(keys_read(PAIR("default") "region = r\n" PAIR("irori"), NULL, &keys), 0);
    assert_string_equal(keys.access_key, "A-irori");
    assert_string_equal(keys.region, "");
    assert_int_equal(
        keys_read(PAIR("default") "region = r\naws_session_token = t\n" PAIR("other"), NULL, &keys), 0);
    assert_string_equal(keys.access_key, "A-default");
    assert_string_equal(keys.region, "r");
    assert_string_equal(keys.token, "t");
    assert_int_equal(keys_read(PAIR("default") PAIR("other"), "other", &keys), 0);
    assert_string_equal(keys.secret, "S-other");
    assert_int_equal(keys_read(PAIR("default"), "other", &keys), -ENOENT);
    assert_int_equal(keys_read("[irori]\naws_access_key_id=x\n" PAIR("default"), NULL, &keys), 0);
    assert_string_equal(keys.access_key, "A-default");
    assert_int_equal(keys_read("", NULL, &keys), -ENOENT);
}

struct home {
    char path[64], file[128];
};

static int set_up(void **state)
{
    struct home *home = calloc(1, sizeof *home);
    FILE *file;

    (void)snprintf(home->path, sizeof home->path, "/tmp/irori-keys-XXXXXX");
    assert_non_null(mkdtemp(home->path));
    (void)snprintf(home->file, sizeof home->file, "%s/credentials", home->path);
    file = fopen(home->file, "we");
    assert_non_null(file);
    (void)fputs(PAIR("default") "region = eu-west-3\n" PAIR("work"), file);
    assert_int_equal(fclose(file), 0);
    (void)unsetenv("AWS_ACCESS_KEY_ID");
    (void)unsetenv("AWS_SECRET_ACCESS_KEY");
    (void)unsetenv("AWS_PROFILE");
    (void)setenv("AWS_SHARED_CREDENTIALS_FILE", home->file, 1);
    *state = home;
    return 0;
}

static int tear_down(void **state)
{
    struct home *home = *state;

    (void)unlink(home->file);
    (void)rmdir(home->path);
    free(home);
    return 0;
}

static void test_the_order_of_sources(void **state)
{
    const struct home *home = *state;
    struct cli cli = { 0 };
    struct keys keys;
    struct err err = { 0 };

    assert_int_equal(keys_find(&cli, &keys, &err), 0);
    assert_string_equal(keys.access_key, "A-default");
    assert_string_equal(keys.source, home->file);
    assert_false(keys.own_file);
    (void)setenv("AWS_PROFILE", "work", 1);
    assert_int_equal(keys_find(&cli, &keys, &err), 0);
    assert_string_equal(keys.access_key, "A-work");
    (void)setenv("AWS_ACCESS_KEY_ID", "A-env", 1);
    (void)setenv("AWS_SECRET_ACCESS_KEY", "S-env", 1);
    assert_int_equal(keys_find(&cli, &keys, &err), 0);
    assert_string_equal(keys.access_key, "A-env");
    cli.data = home->path;
    assert_int_equal(keys_find(&cli, &keys, &err), 0);
    assert_string_equal(keys.access_key, "A-default");
    assert_true(keys.own_file);
}

static void test_what_was_asked_for_and_is_not_there(void **state)
{
    (void)state;
    struct cli cli = { .data = "/tmp/irori-no-such-folder" };
    struct keys keys;
    struct err err = { 0 };

    assert_true(keys_find(&cli, &keys, &err) < 0);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_non_null(strstr(cli.hint, "irori serve --data"));
    cli = (struct cli){ 0 };
    (void)setenv("AWS_PROFILE", "nobody", 1);
    assert_true(keys_find(&cli, &keys, &err) < 0);
    assert_non_null(strstr(err.text, "'nobody'"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_profiles),
        cmocka_unit_test_setup_teardown(test_the_order_of_sources, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_was_asked_for_and_is_not_there, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
