/* What kernels say in /proc, recorded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "template/proc.h"

/* Linux 6.18, a thread of Node in a sandbox. */
static const char status_6_18[] =
    "Name:\tlibuv-worker\nUmask:\t0022\nState:\tS "
    "(sleeping)\nTgid:\t7118\nNgid:\t0\nPid:\t7121\nPPid:\t7071\n"
    "TracerPid:\t0\nUid:\t700007\t700007\t700007\t700007\nGid:\t700008\t700008\t700008\t700008\n"
    "FDSize:\t64\nGroups:\t \nNStgid:\t7118\t2\nNSpid:\t7121\t13\t5\nNSpgid:\t7116\t2\nNSsid:\t7116\t2\n"
    "VmSwap:\t       4 kB\nRssAnon:\t    2048 "
    "kB\nKthread:\t0\nThreads:\t11\nSigQ:\t0/96365\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\n"
    "SigBlk:\tfffffffffffbfeff\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n"
    "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"
    "Cpus_allowed:\t3\nCpus_allowed_list:\t0-1\nx86_Thread_features:\tshstk\n"
    "x86_Thread_features_locked:\t\n";
/* Linux 5.10: no Kthread, no count of filters, no thread features. */
static const char status_5_10[] = "Name:\tNSpid: 9\nUmask:\t0022\nState:\tS "
                                  "(sleeping)\nTgid:\t40\nPid:\t40\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n"
                                  "NSpid:\t40\nSigPnd:\t0000000000000400\nShdPnd:\t0000000000010000\nSigBlk:"
                                  "\t0000000000000400\nCapPrm:\t000001ffffffffff\n"
                                  "CapEff:\t0000000000000001\nSeccomp:\t0\nCpus_allowed:\tff\n";

static void test_status(void **state)
{
    struct proc_status status;

    (void)state;
    assert_true(proc_parse_status(status_6_18, &status));
    assert_int_equal(status.tid, 5);
    assert_int_equal(status.uid, 700007);
    assert_int_equal(status.gid, 700008);
    assert_int_equal(status.pending, 0);
    assert_int_equal(status.anonymous_kb, 2052);
    assert_int_equal(status.blocked, 0xfffffffffffbfeff);
    assert_int_equal(status.capabilities, 0);
    assert_int_equal(status.seccomp, 2);
    assert_true(status.shadow_stack);
    assert_string_equal(status.processors, "3");
    assert_true(proc_parse_status(status_5_10, &status));
    assert_int_equal(status.tid, 40);
    assert_int_equal(status.pending, 0x10400);
    assert_int_equal(status.anonymous_kb, 0);
    assert_int_equal(status.blocked, 0x400);
    assert_int_equal(status.capabilities, 0x1ffffffffff);
    assert_false(status.shadow_stack);
    assert_string_equal(status.processors, "ff");
}

/* Every field that is needed is missed. */
static void test_status_without_a_field_is_refused(void **state)
{
    static const char *const fields[] = { "\nNSpid:",  "\nUid:",    "\nGid:",    "\nSeccomp:", "\nSigPnd:",
                                          "\nShdPnd:", "\nSigBlk:", "\nCapEff:", "\nCapPrm:" };

    (void)state;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char *text = strdup(status_6_18);
        struct proc_status status;

        *(strstr(text, fields[i]) + 1) = '_';
        assert_false(proc_parse_status(text, &status));
        free(text);
    }
}

static const char smaps[] =
    "55d0c0a00000-55d0c0a2c000 r--p 00000000 fe:00 1234                       /usr/bin/node with spaces\n"
    "Size:                176 kB\nRss:                 176 kB\nVmFlags: rd mr mw me sd\n"
    "7f0000000000-7f0000100000 rw-p 00000000 00:00 0 \n"
    "Size:               1024 kB\nProtectionKey:         0\nVmFlags: rd wr mr mw me dc ac sd\n"
    "7f0000200000-7f0000201000 rw-s 00000000 00:01 77                         /dev/zero (deleted)\n"
    "VmFlags: rd wr sh mr mw me ms sd\n"
    "7ffd6f5a0000-7ffd6f5a4000 r--p 00000000 00:00 0                          [vvar]\n"
    "VmFlags: rd mr pf io de dd sd\n"
    "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n"
    "VmFlags: ex\n";

/* Linux 6.18: mapped with PROT_READ alone. Of a file that is open for reading, which never becomes writable;
 * of one that is open for writing, too; shared and of no file. */
static const char smaps_of_readers[] =
    "7f90b9d5b000-7f90b9d5c000 r--s 00000000 fe:00 9980154                    /tmp/file\n"
    "VmFlags: rd mr me ms \n"
    "7f90b9d5c000-7f90b9d5d000 r--s 00000000 fe:00 9980154                    /tmp/file\n"
    "VmFlags: rd sh mr mw me ms \n"
    "7f90b9d5d000-7f90b9d5e000 r--s 00000000 00:01 2578                       /dev/zero (deleted)\n"
    "VmFlags: rd sh mr mw me ms \n";

struct seen {
    struct proc_area areas[8];
    size_t count;
};

static bool remember(const struct proc_area *area, void *ctx)
{
    struct seen *seen = ctx;

    seen->areas[seen->count++] = *area;
    return true;
}

static void test_smaps(void **state)
{
    struct seen seen = { .count = 0 };

    (void)state;
    assert_true(proc_parse_smaps(smaps, remember, &seen));
    assert_int_equal(seen.count, 5);
    assert_int_equal(seen.areas[0].start, 0x55d0c0a00000);
    assert_int_equal(seen.areas[0].end, 0x55d0c0a2c000);
    assert_memory_equal(seen.areas[0].name, "/usr/bin/node with spaces", seen.areas[0].name_len);
    assert_false(seen.areas[0].writable);
    assert_true(seen.areas[1].writable && seen.areas[1].dontfork && !seen.areas[1].shared);
    assert_int_equal(seen.areas[1].name_len, 0);
    assert_true(seen.areas[2].shared && seen.areas[2].writable && !seen.areas[2].dontfork);
    assert_true(seen.areas[3].device);
    assert_memory_equal(seen.areas[4].name, "[vsyscall]", seen.areas[4].name_len);
}

static void test_what_may_become_writable(void **state)
{
    struct seen seen = { .count = 0 };

    (void)state;
    assert_true(proc_parse_smaps(smaps_of_readers, remember, &seen));
    assert_int_equal(seen.count, 3);
    for (size_t i = 0; i < seen.count; i++)
        assert_true(seen.areas[i].shared && !seen.areas[i].writable);
    assert_false(seen.areas[0].may_write);
    assert_true(seen.areas[1].may_write);
    assert_true(seen.areas[2].may_write);
}

/* One row for each change of the format; each is one area. */
static void test_smaps_of_several_kernels(void **state)
{
    static const struct {
        const char *change, *text;
        bool dontfork, device, may_write;
    } rows[] = {
        { "where there are protection keys, and sd where the kernel tracks what was written",
          "7f0000000000-7f0000100000 rw-p 00000000 00:00 0 \nLocked:                0 kB\n"
          "THPeligible:    0\nProtectionKey:         0\nVmFlags: rd wr mr mw me dc ac sd \n",
          true, false, true },
        { "6.0 and later: Pss_Dirty and KSM (recorded: 6.18)",
          "7f0000000000-7f0000100000 rw-p 00000000 00:00 0 \nPss_Dirty:             0 kB\n"
          "KSM:                   0 kB\nTHPeligible:           0\nVmFlags: rd wr mr mw me dc ac \n",
          true, false, true },
        { "5.17: names that a program gives its memory, in the place of a file's",
          "7f0000000000-7f0000100000 rw-p 00000000 00:00 0                          [anon:V8 heap]\n"
          "VmFlags: rd wr mr mw me dc ac \n",
          true, false, true },
        { "6.2: also to memory that it shares",
          "7f0000000000-7f0000100000 rw-s 00000000 00:01 1037                       [anon_shmem:dc pf io]\n"
          "VmFlags: rd wr sh mr mw me ms \n",
          false, false, true },
        { "6.6: ss for a shadow stack",
          "7f0000000000-7f0000100000 rw-p 00000000 00:00 0 \nVmFlags: rd wr mr mw me ac ss \n", false, false,
          true },
        { "with mseal(): sl for what is sealed",
          "7f0000000000-7f0000100000 r--p 00000000 00:00 0 \nVmFlags: rd mr me ac sl \n", false, false,
          false },
        { "6.13: the clocks of other worlds have an area of their own (recorded: 6.18)",
          "7fb13ba81000-7fb13ba83000 r--p 00000000 00:00 0                          [vvar_vclock]\n"
          "Size:                  8 kB\nTHPeligible:           0\nVmFlags: rd mr pf io de dd \n",
          false, true, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct seen seen = { .count = 0 };

        print_message("# %s\n", rows[i].change);
        assert_true(proc_parse_smaps(rows[i].text, remember, &seen));
        assert_int_equal(seen.count, 1);
        assert_int_equal(seen.areas[0].dontfork, rows[i].dontfork);
        assert_int_equal(seen.areas[0].device, rows[i].device);
        assert_int_equal(seen.areas[0].may_write, rows[i].may_write);
    }
}

static void test_smaps_that_say_too_little_are_refused(void **state)
{
    static const char *const bad[] = {
        "nonsense\n",
        "VmFlags: rd\n",
        "Size: 4 kB\n",
        /* maps instead of smaps: no flags */
        "1000-2000 rw-p 00000000 00:00 0 \n3000-4000 rw-p 00000000 00:00 0 \n",
        "1000-2000 rw-p 00000000 00:00 0 \nSize: 4 kB\n",
    };
    struct seen seen = { .count = 0 };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(proc_parse_smaps(bad[i], remember, &seen));
}

static void test_fdinfo(void **state)
{
    struct proc_fdinfo info;

    (void)state;
    assert_true(proc_parse_fdinfo("pos:\t12\nflags:\t02100000\nmnt_id:\t30\nino:\t77\n", &info));
    assert_int_equal(info.flags, 02100000);
    assert_int_equal(info.position, 12);
    assert_false(info.locked);
    assert_true(proc_parse_fdinfo(
        "pos:\t0\nflags:\t0100002\nlock:\t1: POSIX  ADVISORY  WRITE 1 00:01:2 0 EOF\n", &info));
    assert_true(info.locked);
    assert_true(
        proc_parse_fdinfo("pos:\t0\nflags:\t04002\neventfd-count:               2a\neventfd-id: 4\n", &info));
    assert_int_equal(info.count, 0x2a);
    assert_int_equal(info.semaphore, -1);
    /* Linux 6.18: a semaphore says so since 6.5. */
    assert_true(proc_parse_fdinfo("pos:\t0\nflags:\t02\nmnt_id:\t17\nino:\t1038\n"
                                  "eventfd-count:                3\neventfd-id: 2\neventfd-semaphore: 1\n",
                                  &info));
    assert_int_equal(info.count, 3);
    assert_int_equal(info.semaphore, 1);
    assert_true(
        proc_parse_fdinfo("pos:\t0\nflags:\t02\nclockid: 1\nticks: 0\nsettime flags: 01\nit_value: (3, 500)\n"
                          "it_interval: (1, 7)\n",
                          &info));
    assert_int_equal(info.clock, 1);
    assert_int_equal(info.times[0], 1);
    assert_int_equal(info.times[1], 7);
    assert_int_equal(info.times[2], 3);
    assert_int_equal(info.times[3], 500);
    assert_int_equal(info.ticks, 0);
    /* Linux 6.18: every 5 ms, but it stands still until somebody reads. */
    assert_true(proc_parse_fdinfo("pos:\t0\nflags:\t02\nmnt_id:\t17\nino:\t1038\nclockid: 1\nticks: 1\n"
                                  "settime flags: 00\nit_value: (0, 0)\nit_interval: (0, 5000000)\n",
                                  &info));
    assert_int_equal(info.ticks, 1);
    assert_int_equal(info.times[1], 5000000);
    assert_int_equal(info.times[3], 0);
    assert_true(
        proc_parse_fdinfo("pos:\t0\nflags:\t02000002\nmnt_id:\t15\n"
                          "tfd:        7 events:       19 data:                7  pos:0 ino:2ab sdev:f\n"
                          "tfd:       12 events: 80000001 data: ffff88001234abcd  pos:0 ino:7 sdev:e\n",
                          &info));
    assert_int_equal(info.watch_count, 2);
    assert_int_equal(info.watches[0].fd, 7);
    assert_int_equal(info.watches[0].events, 0x19);
    assert_int_equal(info.watches[0].inode, 0x2ab);
    assert_int_equal(info.watches[1].events, 0x80000001);
    assert_int_equal(info.watches[1].data, 0xffff88001234abcd);
    assert_false(proc_parse_fdinfo("pos:\t0\n", &info));
    assert_false(proc_parse_fdinfo("flags:\t02\n", &info));
    assert_false(proc_parse_fdinfo("pos:\t0\nflags:\t02\ntfd: none\n", &info));
    assert_false(proc_parse_fdinfo("pos:\t0\nflags:\t02\nclockid: 1\n", &info));
}

/* One row for each change of the format. */
static void test_fdinfo_of_several_kernels(void **state)
{
    static const struct {
        const char *change, *text;
        int watched; /* descriptor; -1 = nothing is watched */
        uint64_t inode, count;
        int semaphore;
        bool locked;
    } rows[] = {
        { "3.8 to 4.12: an epoll does not say what files it watches",
          "pos:\t0\nflags:\t02\nmnt_id:\t10\ntfd:        9 events:       19 data: 74253d2500000009\n", 9, 0,
          0, -1, false },
        { "4.13: and their place",
          "pos:\t0\nflags:\t02000002\nmnt_id:\t17\n"
          "tfd:        5 events:       19 data:                5  pos:0 ino:2dd773 sdev:f\n",
          5, 0x2dd773, 0, -1, false },
        { "5.14: an inode of its own, before what it watches (recorded: 6.18)",
          "pos:\t0\nflags:\t02000002\nmnt_id:\t17\nino:\t1038\n"
          "tfd:        5 events:       19 data:                5  pos:0 ino:2dd773 sdev:f\n",
          5, 0x2dd773, 0, -1, false },
        { "3.8: the count of an eventfd",
          "pos:\t0\nflags:\t02\nmnt_id:\t10\neventfd-count:               40\n", -1, 0, 0x40, -1, false },
        { "5.2: its number",
          "pos:\t0\nflags:\t02\nmnt_id:\t10\neventfd-count:               40\neventfd-id: 7\n", -1, 0, 0x40,
          -1, false },
        { "6.5: whether it is a semaphore",
          "pos:\t0\nflags:\t02\nmnt_id:\t17\nino:\t1038\neventfd-count:                3\neventfd-id: 2\n"
          "eventfd-semaphore: 0\n",
          -1, 0, 3, 0, false },
        { "3.15 to 5.13: a locked file, without an inode of its own",
          "pos:\t0\nflags:\t02100001\nmnt_id:\t27\n"
          "lock:\t1: FLOCK  ADVISORY  WRITE 19239 fe:00:9981841 0 EOF\n",
          -1, 0, 0, -1, true },
        { "5.14: with one (recorded: 6.18)",
          "pos:\t0\nflags:\t02100001\nmnt_id:\t27\nino:\t9981841\n"
          "lock:\t1: FLOCK  ADVISORY  WRITE 19239 fe:00:9981841 0 EOF\n"
          "lock:\t2: POSIX  ADVISORY  WRITE 19239 fe:00:9981841 5 14\n",
          -1, 0, 0, -1, true },
    };
    struct proc_fdinfo info;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        print_message("# %s\n", rows[i].change);
        assert_true(proc_parse_fdinfo(rows[i].text, &info));
        assert_int_equal(info.watch_count, rows[i].watched < 0 ? 0 : 1);
        if (rows[i].watched >= 0) {
            assert_int_equal(info.watches[0].fd, rows[i].watched);
            assert_int_equal(info.watches[0].events, 0x19);
            assert_int_equal(info.watches[0].inode, rows[i].inode);
        }
        assert_int_equal(info.count, rows[i].count);
        assert_int_equal(info.semaphore, rows[i].semaphore);
        assert_int_equal(info.locked, rows[i].locked);
    }
}

static void test_links(void **state)
{
    (void)state;
    assert_int_equal(proc_fd_kind("anon_inode:[eventpoll]"), PROC_FD_EPOLL);
    assert_int_equal(proc_fd_kind("anon_inode:[eventfd]"), PROC_FD_EVENTFD);
    assert_int_equal(proc_fd_kind("anon_inode:[timerfd]"), PROC_FD_TIMERFD);
    assert_int_equal(proc_fd_kind("anon_inode:inotify"), PROC_FD_OTHER);
    assert_int_equal(proc_fd_kind("/tmp/anon_inode:[eventpoll]"), PROC_FD_OTHER);
    assert_int_equal(proc_link_inode("socket:[4711]", "socket"), 4711);
    assert_int_equal(proc_link_inode("pipe:[4711]", "socket"), 0);
    assert_int_equal(proc_link_inode("/tmp/socket:[4711]", "socket"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_status_without_a_field_is_refused),
        cmocka_unit_test(test_smaps),
        cmocka_unit_test(test_what_may_become_writable),
        cmocka_unit_test(test_smaps_that_say_too_little_are_refused),
        cmocka_unit_test(test_smaps_of_several_kernels),
        cmocka_unit_test(test_fdinfo_of_several_kernels),
        cmocka_unit_test(test_fdinfo),
        cmocka_unit_test(test_links),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
