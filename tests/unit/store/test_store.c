#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "store/store.h"

static char folder[64];
static int folder_fd;

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/irori-store-test-XXXXXX");
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

static struct store *open_store(void)
{
    struct store *store = NULL;
    struct err err = { 0 };

    if (store_open(folder_fd, "irori.db", &store, &err) < 0)
        fail_msg("%s", err.text);
    return store;
}

static void execute(const char *sql)
{
    char path[96];
    sqlite3 *db;

    (void)snprintf(path, sizeof path, "%s/irori.db", folder);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(db);
}

static unsigned add(struct store *store, const char *name)
{
    struct store_function function;
    struct err err = { 0 };

    if (store_function_add(store, name, "{}", &function, &err) < 0)
        fail_msg("%s", err.text);
    store_function_done(&function);
    return function.uid_index;
}

static void user_ids_come_back_as_late_as_possible(void **state)
{
    struct store *store = open_store();
    struct store_function function;
    struct err err = { 0 };

    (void)state;
    assert_int_equal(store_begin(store, &err), 0);
    assert_int_equal(add(store, "a"), 1);
    assert_int_equal(add(store, "b"), 2);
    assert_int_equal(add(store, "c"), 3);
    assert_int_equal(store_function_find(store, "b", &function, &err), 1);
    assert_int_equal(store_function_remove(store, function.id, &err), 0);
    store_function_done(&function);
    assert_int_equal(add(store, "d"), 4);
    assert_int_equal(store_end(store, true, &err), 0);
    execute("UPDATE counter SET value = 65000 WHERE name = 'uid'");
    assert_int_equal(store_begin(store, &err), 0);
    assert_int_equal(add(store, "e"), 65000);
    assert_int_equal(add(store, "f"), 2);
    assert_int_equal(add(store, "g"), 5);
    assert_int_equal(store_end(store, true, &err), 0);
    (void)store_free(store);
}

static void what_is_not_committed_is_gone(void **state)
{
    struct store *store = open_store();
    struct store_function function;
    struct err err = { 0 };

    (void)state;
    assert_int_equal(store_begin(store, &err), 0);
    (void)add(store, "a");
    assert_int_equal(store_end(store, false, &err), 0);
    assert_int_equal(store_begin(store, &err), 0);
    assert_int_equal(store_function_find(store, "a", &function, &err), 0);
    (void)add(store, "b");
    assert_int_equal(store_end(store, true, &err), 0);
    (void)store_free(store);
    store = open_store();
    assert_int_equal(store_begin(store, &err), 0);
    assert_int_equal(store_function_find(store, "b", &function, &err), 1);
    store_function_done(&function);
    assert_int_equal(store_end(store, false, &err), 0);
    (void)store_free(store);
}

static void a_newer_database_is_refused(void **state)
{
    struct store *store = open_store();
    struct err err = { 0 };

    (void)state;
    (void)store_free(store);
    execute("PRAGMA user_version = 99");
    assert_true(store_open(folder_fd, "irori.db", &store, &err) < 0);
    assert_non_null(strstr(err.text, "newer Irori"));
}

static void a_broken_database_is_an_error(void **state)
{
    struct store *store = NULL;
    struct err err = { 0 };
    int fd = openat(folder_fd, "irori.db", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    (void)state;
    assert_int_equal(write(fd, "this is no database, but long enough to be looked at as one", 59), 59);
    (void)close(fd);
    assert_true(store_open(folder_fd, "irori.db", &store, &err) < 0);
    assert_true(err.text[0] != '\0');
}

/* The disk is full: the write fails, what was there before stays, and later writes work. */
static void a_full_disk_changes_nothing(void **state)
{
    struct store *store = open_store();
    struct store_function function;
    struct rlimit full = { .rlim_cur = 100000, .rlim_max = RLIM_INFINITY }, enough;
    struct err err = { 0 };
    char *big = malloc(1000001);
    int result;

    (void)state;
    memset(big, 'x', 1000000);
    big[1000000] = '\0';
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(store_begin(store, &err), 0);
    (void)add(store, "before");
    assert_int_equal(store_end(store, true, &err), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &enough), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &full), 0);
    assert_int_equal(store_begin(store, &err), 0);
    result = store_function_add(store, "during", big, &function, &err);
    if (result == 0)
        store_function_done(&function);
    assert_true(store_end(store, result == 0, &err) < 0 || result < 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &enough), 0);
    assert_int_equal(store_begin(store, &err), 0);
    assert_int_equal(store_function_find(store, "during", &function, &err), 0);
    assert_int_equal(store_function_find(store, "before", &function, &err), 1);
    store_function_done(&function);
    (void)add(store, "after");
    assert_int_equal(store_end(store, true, &err), 0);
    (void)store_free(store);
    free(big);
}

/* As the server's unprivileged half: the folder was opened before, its parents are closed. */
static void the_folders_parents_may_be_closed(void **state)
{
    char path[96];
    int status, fd;
    pid_t child;

    (void)state;
    if (geteuid() != 0)
        skip();
    (void)snprintf(path, sizeof path, "%s/data", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chown(path, 65534, 65534), 0);
    assert_int_equal(chmod(folder, 0700), 0);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    child = fork();
    if (child == 0) {
        struct store *store = NULL;
        struct err err = { 0 };
        bool fine = setgid(65534) == 0 && setuid(65534) == 0 &&
                    store_open(fd, "irori.db", &store, &err) == 0 && store_begin(store, &err) == 0 &&
                    store_end(store, true, &err) == 0;

        if (!fine)
            (void)fprintf(stderr, "# %s\n", err.text);
        _exit(!fine);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    (void)close(fd);
}

/* Killed while it writes: every function whose commit was reported is there. */
static void commits_survive_a_kill(void **state)
{
    struct store_function function;
    struct err err = { 0 };
    struct store *store;
    int pipe_fd[2], number = 0, reported = -1, status;
    pid_t child;

    (void)state;
    assert_int_equal(pipe2(pipe_fd, O_CLOEXEC), 0);
    child = fork();
    if (child == 0) {
        store = open_store();
        for (int i = 0;; i++) {
            char name[16];

            (void)snprintf(name, sizeof name, "f%d", i);
            if (store_begin(store, &err) < 0 || store_function_add(store, name, "{}", &function, &err) < 0 ||
                store_end(store, true, &err) < 0 || write(pipe_fd[1], &i, sizeof i) != sizeof i)
                _exit(1);
            store_function_done(&function);
        }
    }
    (void)close(pipe_fd[1]);
    while (number < 50 && read(pipe_fd[0], &number, sizeof number) == sizeof number)
        reported = number;
    (void)kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    while (read(pipe_fd[0], &number, sizeof number) == sizeof number)
        reported = number;
    (void)close(pipe_fd[0]);
    assert_true(reported >= 50);
    store = open_store();
    assert_int_equal(store_begin(store, &err), 0);
    for (int i = 0; i <= reported; i++) {
        char name[16];

        (void)snprintf(name, sizeof name, "f%d", i);
        assert_int_equal(store_function_find(store, name, &function, &err), 1);
        store_function_done(&function);
    }
    assert_int_equal(store_end(store, false, &err), 0);
    (void)store_free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(user_ids_come_back_as_late_as_possible, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_committed_is_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_newer_database_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_broken_database_is_an_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_folders_parents_may_be_closed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(commits_survive_a_kill, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
