/* Both versions against folders that only look like control groups: what is written where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/err.h"
#include "sandbox/cgroup.h"
#include "sandbox/cgroup_priv.h"

static char top[64];

static int make_top(void **state)
{
    (void)state;
    (void)snprintf(top, sizeof top, "/tmp/cgroup-test.XXXXXX");
    return mkdtemp(top) ? 0 : -1;
}

static int remove_top(void **state)
{
    char command[128];

    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf %s", top);
    return system(command);
}

static void put(const char *path, const char *text)
{
    char whole[256];
    int fd;

    (void)snprintf(whole, sizeof whole, "%s/%s", top, path);
    fd = open(whole, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
}

static void folder(const char *path)
{
    char whole[256];

    (void)snprintf(whole, sizeof whole, "%s/%s", top, path);
    assert_int_equal(mkdir(whole, 0700), 0);
}

static void expect(const char *path, const char *want)
{
    char whole[256], text[256] = "";
    int fd;

    (void)snprintf(whole, sizeof whole, "%s/%s", top, path);
    fd = open(whole, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, text, sizeof text - 1) >= 0);
    (void)close(fd);
    assert_string_equal(text, want);
}

/* The files that the kernel would make with the folder. */
static void fill_v2(const char *dir)
{
    static const char *const names[] = { "memory.max",  "memory.swap.max",       "memory.current",
                                         "memory.stat", "memory.events",         "cpu.max",
                                         "pids.max",    "cgroup.freeze",         "cgroup.procs",
                                         "cgroup.kill", "cgroup.subtree_control" };
    char path[128];

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        put(path, "");
    }
}

static void test_v2_writes_its_files(void **state)
{
    (void)state;
    struct cgroup_mounts mounts = { .version = 2 };
    struct cgroups *groups = NULL;
    struct cgroup *group = NULL;
    int fds[CGROUP_MAX_DIRS];

    (void)snprintf(mounts.dirs[0], sizeof mounts.dirs[0], "%s", top);
    put("cgroup.subtree_control", "");
    folder("irori-abcdefgh");
    fill_v2("irori-abcdefgh");
    folder("irori-abcdefgh/1.0");
    fill_v2("irori-abcdefgh/1.0");
    assert_int_equal(cgroups_open(&mounts, "abcdefgh", &groups, NULL), 0);
    expect("cgroup.subtree_control", "+memory +cpu +pids");
    expect("irori-abcdefgh/cgroup.subtree_control", "+memory +cpu +pids");
    assert_int_equal(cgroups_version(groups), 2);
    assert_int_equal(cgroups_limit_memory(groups, 100, NULL), 0);
    expect("irori-abcdefgh/memory.max", "104857600");

    assert_int_equal(cgroup_new(groups, "1.0", &group, NULL), 0);
    expect("irori-abcdefgh/1.0/pids.max", "1024");
    fds[0] = cgroup_open_clone(group);
    assert_true(fds[0] >= 0);
    (void)close(fds[0]);
    assert_true(cgroup_has_clone(group));
    assert_int_equal(cgroup_join_fds(group, fds), 1);
    (void)close(fds[0]);
    assert_int_equal(cgroup_limit_memory(group, 128, NULL), 0);
    expect("irori-abcdefgh/1.0/memory.max", "134217728");
    expect("irori-abcdefgh/1.0/memory.swap.max", "0");
    assert_int_equal(cgroup_limit_cpu(group, 72, NULL), 0);
    expect("irori-abcdefgh/1.0/cpu.max", "1440 20000");
    assert_int_equal(cgroup_freeze(group, true, NULL), 0);
    expect("irori-abcdefgh/1.0/cgroup.freeze", "1");
    assert_int_equal(cgroup_oom_kills(group), 0);
    put("irori-abcdefgh/1.0/memory.events", "low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\noom_group_kill 0\n");
    assert_int_equal(cgroup_oom_kills(group), 3);
    (void)cgroup_remove(group);
    (void)cgroups_close(groups);
}

/* Root alone may mark a folder. */
static bool can_mark(void)
{
    return setxattr(top, "trusted.irori-test", "", 0, 0) == 0;
}

static void test_v2_takes_back_what_was_off(void **state)
{
    (void)state;
    struct cgroup_mounts mounts = { .version = 2 };
    struct cgroups *groups = NULL;
    char marked[64] = "";

    if (!can_mark())
        skip();
    (void)snprintf(mounts.dirs[0], sizeof mounts.dirs[0], "%s", top);
    put("cgroup.subtree_control", "cpuset memory\n");
    folder("irori-abcdefgh");
    fill_v2("irori-abcdefgh");
    assert_int_equal(cgroups_open(&mounts, "abcdefgh", &groups, NULL), 0);
    expect("cgroup.subtree_control",
           "+cpu +pidsory\n"); /* a file, not the kernel's: the start is overwritten */
    assert_true(getxattr(top, "trusted.irori-enabled", marked, sizeof marked - 1) > 0);
    assert_string_equal(marked, "cpu pids");
    put("cgroup.subtree_control", "");
    (void)cgroups_close(groups);
    expect("cgroup.subtree_control", "-pids");
    assert_true(getxattr(top, "trusted.irori-enabled", marked, sizeof marked) < 0);
}

static void test_v2_leaves_what_was_on(void **state)
{
    (void)state;
    struct cgroup_mounts mounts = { .version = 2 };
    struct cgroups *groups = NULL;

    (void)snprintf(mounts.dirs[0], sizeof mounts.dirs[0], "%s", top);
    put("cgroup.subtree_control", "cpu memory pids\n");
    folder("irori-abcdefgh");
    fill_v2("irori-abcdefgh");
    assert_int_equal(cgroups_open(&mounts, "abcdefgh", &groups, NULL), 0);
    (void)cgroups_close(groups);
    expect("cgroup.subtree_control", "cpu memory pids\n");
}

/* The one that turned it on was killed together with its watchman. */
static void test_v2_takes_back_what_another_life_turned_on(void **state)
{
    (void)state;
    struct cgroup_mounts mounts = { .version = 2 };
    struct cgroups *groups = NULL;

    if (!can_mark())
        skip();
    (void)snprintf(mounts.dirs[0], sizeof mounts.dirs[0], "%s", top);
    assert_int_equal(setxattr(top, "trusted.irori-enabled", "cpu", 3, 0), 0);
    put("cgroup.subtree_control", "cpu memory pids\n");
    folder("irori-abcdefgh");
    fill_v2("irori-abcdefgh");
    assert_int_equal(cgroups_open(&mounts, "abcdefgh", &groups, NULL), 0);
    (void)cgroups_close(groups);
    expect("cgroup.subtree_control", "-cpumemory pids\n");
}

static void test_v2_quota_has_bounds(void **state)
{
    (void)state;
    int dirs[CGROUP_MAX_DIRS] = { open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC), -1, -1, -1 };
    const struct cgroup_place place = { dirs, "." };

    put("cpu.max", "");
    assert_int_equal(cgroup_v2_ops.limit_cpu(&place, 1, NULL), 0);
    expect("cpu.max", "1000 20000"); /* the least the kernel takes */
    put("cpu.max", "");
    assert_int_equal(cgroup_v2_ops.limit_cpu(&place, 0, NULL), 0);
    expect("cpu.max", "max 20000");
    (void)close(dirs[0]);
}

static void test_v1_writes_its_files(void **state)
{
    (void)state;
    int dir = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC), dirs[CGROUP_MAX_DIRS] = { dir, dir, dir, dir };
    const struct cgroup_place place = { dirs, "." };

    put("memory.limit_in_bytes", "");
    put("memory.swappiness", "");
    put("cpu.cfs_quota_us", "");
    put("cpu.cfs_period_us", "");
    put("freezer.state", "");
    assert_int_equal(cgroup_v1_ops.limit_memory(&place, 134217728, NULL), 0);
    expect("memory.limit_in_bytes", "134217728");
    expect("memory.swappiness", "0"); /* no swap accounting in this folder */
    put("memory.memsw.limit_in_bytes", "");
    assert_int_equal(cgroup_v1_ops.limit_memory(&place, 134217728, NULL), 0);
    expect("memory.memsw.limit_in_bytes", "134217728");
    assert_int_equal(cgroup_v1_ops.limit_cpu(&place, 1000, NULL), 0);
    expect("cpu.cfs_quota_us", "20000");
    expect("cpu.cfs_period_us", "20000");
    put("cpu.cfs_quota_us", "");
    assert_int_equal(cgroup_v1_ops.limit_cpu(&place, 0, NULL), 0);
    expect("cpu.cfs_quota_us", "-1");
    assert_int_equal(cgroup_v1_ops.freeze(&place, true, NULL), 0);
    expect("freezer.state", "FROZEN");
    (void)close(dir);
}

static void test_mounts_are_found(void **state)
{
    (void)state;
    struct cgroup_mounts mounts;
    struct err err = { 0 };
    char path[128], text[1024];

    put("cgroup.controllers", "cpuset cpu io memory pids\n");
    (void)snprintf(path, sizeof path, "%s/mountinfo", top);
    put("mountinfo", "31 23 0:27 / /c/memory rw - cgroup cgroup rw,memory\n"
                     "32 23 0:27 / /c/cpu rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
                     "33 23 0:27 / /c/freezer rw - cgroup cgroup rw,freezer\n");
    assert_true(cgroup_mounts_find(path, &mounts, &err) < 0);
    assert_non_null(strstr(err.text, "pids"));
    put("mountinfo", "31 23 0:27 / /c/memory rw - cgroup cgroup rw,memory\n"
                     "32 23 0:27 / /c/cpu rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
                     "33 23 0:27 / /c/freezer rw - cgroup cgroup rw,freezer\n"
                     "34 23 0:27 / /c/pids rw - cgroup cgroup rw,pids\n"
                     "35 23 0:27 / /nowhere rw - cgroup2 cgroup2 rw\nbroken\n");
    assert_int_equal(cgroup_mounts_find(path, &mounts, NULL), 0);
    assert_int_equal(mounts.version, 1);
    assert_string_equal(mounts.dirs[0], "/c/memory");
    assert_string_equal(mounts.dirs[1], "/c/cpu");
    assert_string_equal(mounts.dirs[2], "/c/pids");
    assert_string_equal(mounts.dirs[3], "/c/freezer");
    (void)snprintf(text, sizeof text, "36 23 0:28 / %s rw - cgroup2 cgroup2 rw\n", top);
    put("mountinfo", text);
    assert_int_equal(cgroup_mounts_find(path, &mounts, NULL), 0);
    assert_int_equal(mounts.version, 2);
    assert_string_equal(mounts.dirs[0], top);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_v2_writes_its_files, make_top, remove_top),
        cmocka_unit_test_setup_teardown(test_v2_takes_back_what_was_off, make_top, remove_top),
        cmocka_unit_test_setup_teardown(test_v2_leaves_what_was_on, make_top, remove_top),
        cmocka_unit_test_setup_teardown(test_v2_takes_back_what_another_life_turned_on, make_top, remove_top),
        cmocka_unit_test_setup_teardown(test_v2_quota_has_bounds, make_top, remove_top),
        cmocka_unit_test_setup_teardown(test_v1_writes_its_files, make_top, remove_top),
        cmocka_unit_test_setup_teardown(test_mounts_are_found, make_top, remove_top),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
