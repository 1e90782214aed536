/* The filter in the kernel: each test runs in a child that has installed it, as root, so that the kernel's
 * own permission checks do not hide a hole. Every forbidden call has arguments with which it would do no
 * harm. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <asm/prctl.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/if_alg.h>
#include <linux/mempolicy.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/seccomp.h"

#include "seccomp_template.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

struct attempt {
    const char *what;
    long number;
    long args[6];
    int error; /* expected; 0 means success, -1 anything but EPERM and ENOSYS */
};

static int install(const struct sock_filter *filter, size_t count)
{
    struct sock_fprog program = { .len = (unsigned short)count,
                                  .filter = (struct sock_filter *)(uintptr_t)filter };

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

static int install_strict(void)
{
    size_t count;
    const struct sock_filter *filter = seccomp_strict(&count);

    return install(filter, count);
}

static bool attempt_ends_as_expected(const struct attempt *a)
{
    errno = 0;
    long result = syscall(a->number, a->args[0], a->args[1], a->args[2], a->args[3], a->args[4], a->args[5]);
    int error = result == -1 ? errno : 0;
    bool good = a->error == -1 ? error != EPERM && error != ENOSYS : error == a->error;

    if (!good)
        fprintf(stderr, "# %s: %s\n", a->what, error ? strerror(error) : "succeeded");
    return good;
}

/* Runs the attempts in a child under the strict filter; returns its wait status, 0 when all ended as
 * expected. */
static int run_attempts(const struct attempt *attempts, size_t count)
{
    pid_t pid = fork();

    if (pid == 0) {
        bool good = install_strict() == 0;

        for (size_t i = 0; i < count; i++)
            good &= attempt_ends_as_expected(&attempts[i]);
        _exit(!good);
    }

    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

#define NR(call) #call, SYS_##call
#define NO_FD    9999

static const struct attempt attacks[] = {
    { NR(unshare), { 0 }, EPERM },
    { NR(unshare), { CLONE_NEWUSER }, EPERM },
    { NR(setns), { NO_FD, 0 }, EPERM },
    { NR(clone3), { 0, 0 }, ENOSYS },
    { "clone NEWUSER", SYS_clone, { CLONE_NEWUSER | SIGCHLD }, EPERM },
    { "clone NEWNS", SYS_clone, { CLONE_NEWNS | SIGCHLD }, EPERM },
    { "clone NEWPID", SYS_clone, { CLONE_NEWPID | SIGCHLD }, EPERM },
    { "clone NEWNET", SYS_clone, { CLONE_NEWNET | SIGCHLD }, EPERM },
    { "clone NEWIPC", SYS_clone, { CLONE_NEWIPC | SIGCHLD }, EPERM },
    { "clone NEWUTS", SYS_clone, { CLONE_NEWUTS | SIGCHLD }, EPERM },
    { "clone NEWCGROUP", SYS_clone, { CLONE_NEWCGROUP | SIGCHLD }, EPERM },
    { "clone PARENT", SYS_clone, { CLONE_PARENT | SIGCHLD }, EPERM },
    { "clone with high bits", SYS_clone, { (1L << 40) | CLONE_NEWUSER | SIGCHLD }, EPERM },
    { NR(mount), { 0 }, EPERM },
    { NR(umount2), { 0 }, EPERM },
    { NR(pivot_root), { 0 }, EPERM },
    { NR(chroot), { 0 }, EPERM },
    { NR(open_tree), { NO_FD }, EPERM },
    { NR(move_mount), { NO_FD }, EPERM },
    { NR(fsopen), { 0 }, EPERM },
    { NR(fsconfig), { NO_FD }, EPERM },
    { NR(fsmount), { NO_FD }, EPERM },
    { NR(fspick), { NO_FD }, EPERM },
    { NR(mount_setattr), { NO_FD }, EPERM },
    { "open_tree_attr", 467, { NO_FD }, EPERM },
    { "statmount", 457, { 0 }, ENOSYS },
    { "listns", 470, { 0 }, ENOSYS },
    { NR(ptrace), { PTRACE_TRACEME }, EPERM },
    { NR(process_vm_readv), { 0 }, EPERM },
    { NR(process_vm_writev), { 0 }, EPERM },
    { NR(pidfd_getfd), { NO_FD }, EPERM },
    { NR(kcmp), { 0 }, EPERM },
    { NR(process_madvise), { NO_FD }, EPERM },
    { NR(bpf), { 0 }, EPERM },
    { NR(perf_event_open), { 0 }, EPERM },
    { NR(userfaultfd), { 0 }, EPERM },
    { NR(seccomp), { SECCOMP_SET_MODE_FILTER, 0, 0 }, EPERM },
    { NR(seccomp), { SECCOMP_SET_MODE_STRICT, 0, 0 }, EPERM },
    { NR(keyctl), { 0 }, EPERM },
    { NR(add_key), { 0 }, EPERM },
    { NR(request_key), { 0 }, EPERM },
    { NR(name_to_handle_at), { NO_FD }, EPERM },
    { NR(open_by_handle_at), { NO_FD }, EPERM },
    { NR(fanotify_init), { 0 }, EPERM },
    { NR(kexec_load), { 0, 0, 0, -1 }, EPERM },
    { NR(kexec_file_load), { NO_FD, NO_FD }, EPERM },
    { NR(init_module), { 0 }, EPERM },
    { NR(finit_module), { NO_FD }, EPERM },
    { NR(delete_module), { 0 }, EPERM },
    { NR(reboot), { 0 }, EPERM },
    { NR(swapon), { 0 }, EPERM },
    { NR(swapoff), { 0 }, EPERM },
    { NR(acct), { 1 }, EPERM },
    { NR(sethostname), { 0, -1 }, EPERM },
    { NR(setdomainname), { 0, -1 }, EPERM },
    { NR(quotactl), { 0 }, EPERM },
    { NR(syslog), { 3 }, EPERM },
    { NR(settimeofday), { 1, 1 }, EPERM },
    { NR(clock_settime), { 0, 1 }, EPERM },
    { NR(adjtimex), { 0 }, EPERM },
    { NR(mbind), { 0 }, EPERM },
    { NR(set_mempolicy), { -1 }, EPERM },
    { NR(vmsplice), { NO_FD }, EPERM },
    { NR(sync), { 0 }, EPERM },
    { NR(syncfs), { NO_FD }, EPERM },
    { NR(io_uring_setup), { 0 }, ENOSYS },
    { NR(io_uring_enter), { NO_FD }, ENOSYS },
    { NR(io_uring_register), { NO_FD }, ENOSYS },
    { NR(io_setup), { 0 }, ENOSYS },
    { NR(memfd_secret), { -1 }, ENOSYS },
    { NR(landlock_create_ruleset), { 0 }, ENOSYS },
    { "a call of the future", 472, { 0 }, ENOSYS },
    { "a number never used", 400, { 0 }, ENOSYS },
    { "a negative number", -1, { 0 }, ENOSYS },
    { "personality ADDR_NO_RANDOMIZE", SYS_personality, { ADDR_NO_RANDOMIZE }, EPERM },
    { "personality READ_IMPLIES_EXEC", SYS_personality, { READ_IMPLIES_EXEC }, EPERM },
    { "AF_PACKET", SYS_socket, { AF_PACKET, SOCK_RAW, 0 }, EPERM },
    { "AF_VSOCK", SYS_socket, { AF_VSOCK, SOCK_STREAM, 0 }, EPERM },
    { "AF_ALG", SYS_socket, { AF_ALG, SOCK_SEQPACKET, 0 }, EPERM },
    { "AF_BLUETOOTH", SYS_socket, { AF_BLUETOOTH, SOCK_RAW, 0 }, EPERM },
    { "family with high bits", SYS_socket, { (1L << 32) | AF_PACKET, SOCK_DGRAM, 0 }, EPERM },
    { "raw IPv4", SYS_socket, { AF_INET, SOCK_RAW, IPPROTO_ICMP }, EPERM },
    { "raw IPv6", SYS_socket, { AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6 }, EPERM },
    { "SOCK_PACKET", SYS_socket, { AF_INET, SOCK_PACKET, 0 }, EPERM },
    { "SCTP", SYS_socket, { AF_INET, SOCK_STREAM, IPPROTO_SCTP }, EPERM },
    { "MPTCP", SYS_socket, { AF_INET, SOCK_STREAM, 262 }, EPERM },
    { "netlink nftables", SYS_socket, { AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER }, EPERM },
    { "netlink generic", SYS_socket, { AF_NETLINK, SOCK_RAW, NETLINK_GENERIC }, EPERM },
    { "netlink audit", SYS_socket, { AF_NETLINK, SOCK_RAW, NETLINK_AUDIT }, EPERM },
    { "pair of AF_TIPC", SYS_socketpair, { AF_TIPC, SOCK_STREAM, 0, 0 }, EPERM },
    { "ioctl TIOCSTI", SYS_ioctl, { 0, TIOCSTI, 0 }, EPERM },
    { "ioctl TIOCSTI with high bits", SYS_ioctl, { 0, (1L << 32) | TIOCSTI, 0 }, EPERM },
    { "ioctl TIOCLINUX", SYS_ioctl, { 0, TIOCLINUX, 0 }, EPERM },
    { "ioctl TIOCSETD", SYS_ioctl, { 0, TIOCSETD, 0 }, EPERM },
    { "ioctl of no one", SYS_ioctl, { NO_FD, 0x12345678, 0 }, ENOTTY },
    { "prctl PR_SET_SECCOMP", SYS_prctl, { PR_SET_SECCOMP, SECCOMP_MODE_FILTER, 0 }, EPERM },
    { "prctl PR_SET_MM", SYS_prctl, { PR_SET_MM, 0 }, EPERM },
    { "prctl PR_CAP_AMBIENT", SYS_prctl, { PR_CAP_AMBIENT, 0 }, EPERM },
    { "prctl PR_SET_SECUREBITS", SYS_prctl, { PR_SET_SECUREBITS, -1 }, EPERM },
    { "prctl PR_SET_SYSCALL_USER_DISPATCH", SYS_prctl, { 59, -1 }, EPERM },
    { "device file", SYS_mknodat, { AT_FDCWD, 0, S_IFCHR | 0600, 0x103 }, EPERM },
    { "block file", SYS_mknodat, { AT_FDCWD, 0, S_IFBLK | 0600, 0x700 }, EPERM },
#ifdef __x86_64__
    { NR(mknod), { 0, S_IFCHR | 0600, 0x103 }, EPERM },
    { NR(modify_ldt), { 9 }, EPERM },
    { NR(iopl), { 9 }, EPERM },
    { NR(ioperm), { -1 }, EPERM },
    { NR(uselib), { 0 }, ENOSYS },
    { "x32 getpid", 0x40000000 | SYS_getpid, { 0 }, ENOSYS },
    { "x32 ptrace", 0x40000000 | 521, { 0 }, ENOSYS },
    { "arch_prctl ARCH_SET_CPUID", SYS_arch_prctl, { ARCH_SET_CPUID, 1 }, EPERM },
#endif
};

static const struct attempt granted[] = {
    { NR(getpid), { 0 }, 0 },
    { NR(personality), { 0xffffffff }, 0 },
    { NR(sched_yield), { 0 }, 0 },
    { NR(openat), { NO_FD, 0 }, -1 },
    { NR(clone), { CLONE_THREAD, 0 }, EINVAL }, /* past the filter: CLONE_THREAD wants more flags */
    { "IPv4 stream", SYS_socket, { AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP }, 0 },
    { "IPv4 datagram", SYS_socket, { AF_INET, SOCK_DGRAM, 0 }, 0 },
    { "IPv6", SYS_socket, { AF_INET6, SOCK_STREAM, 0 }, -1 },
    { "local", SYS_socket, { AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0 }, 0 },
    { "routes", SYS_socket, { AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE }, 0 },
    { "ioctl FIONBIO", SYS_ioctl, { NO_FD, FIONBIO, 0 }, EBADF },
    { "ioctl TCGETS", SYS_ioctl, { NO_FD, TCGETS, 0 }, EBADF },
    { "fifo", SYS_mknodat, { NO_FD, (long)"x", S_IFIFO | 0600, 0 }, EBADF },
    { "prctl PR_GET_SECCOMP", SYS_prctl, { PR_GET_SECCOMP }, -1 },
    { "prctl PR_SET_NAME", SYS_prctl, { PR_SET_NAME, (long)"renamed" }, 0 },
    { NR(inotify_init1), { 0 }, 0 },
    { NR(memfd_create), { (long)"x", 0 }, 0 },
    { NR(setresuid), { -1, -1, -1 }, 0 },
    { NR(membarrier), { 0 }, -1 },
};

static void test_attacks_fail_with_the_right_error(void **state)
{
    (void)state;
    assert_int_equal(run_attempts(attacks, COUNT(attacks)), 0);
}

static void test_granted_calls_reach_the_kernel(void **state)
{
    (void)state;
    assert_int_equal(run_attempts(granted, COUNT(granted)), 0);
}

static void test_a_second_filter_cannot_be_installed(void **state)
{
    (void)state;
    pid_t pid = fork();

    if (pid == 0)
        _exit(install_strict() != 0 || install_strict() == 0 || errno != EPERM);

    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

#ifdef __x86_64__
/* int 0x80 enters the kernel with the numbers of i386, where 20 is getpid. */
static void test_calls_of_another_architecture_kill(void **state)
{
    (void)state;
    pid_t pid = fork();

    if (pid == 0) {
        long result = 20;

        if (install_strict() == 0)
            __asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
        _exit(0);
    }

    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_true(WTERMSIG(status) == SIGSYS ||
                WTERMSIG(status) == SIGSEGV); /* SIGSEGV: no 32-bit calls at all */
}
#endif

static const uint32_t secret[4] = { 0x01020304, 0xdeadbeef, 0, 0xffffffff };
#define SECRET_LOW  ((long)(((uint64_t)0xdeadbeef << 32) | 0x01020304))
#define SECRET_HIGH ((long)((uint64_t)0xffffffff << 32))

static int run_template_child(void)
{
    static struct sock_filter filter[COUNT(seccomp_template_filter)];
    const struct attempt attempts[] = {
        { "setns without the secret", SYS_setns, { NO_FD, 0, 0, 0, 0, 0 }, EPERM },
        { "setns with half of it", SYS_setns, { NO_FD, 0, 0, 0, SECRET_LOW, 0 }, EPERM },
        { "setns with one bit wrong", SYS_setns, { NO_FD, 0, 0, 0, SECRET_LOW, SECRET_HIGH ^ 1 }, EPERM },
        { "setns", SYS_setns, { NO_FD, 0, 0, 0, SECRET_LOW, SECRET_HIGH }, EBADF },
        { "clone3 without", SYS_clone3, { 0, 0, 0, 0, 0, 0 }, ENOSYS },
        { "clone3", SYS_clone3, { 0, 0, 0, 0, SECRET_LOW, SECRET_HIGH }, EINVAL },
        { "unshare", SYS_unshare, { 0, 0, 0, 0, SECRET_LOW, SECRET_HIGH }, EPERM },
    };
    bool good = true;

    memcpy(filter, seccomp_template_filter, sizeof filter);
    for (size_t call = 0; call < COUNT(seccomp_template_secret); call++)
        for (size_t word = 0; word < 4; word++)
            filter[seccomp_template_secret[call][word]].k = secret[word];
    if (install(filter, COUNT(filter)))
        return 1;
    for (size_t i = 0; i < COUNT(attempts); i++)
        good &= attempt_ends_as_expected(&attempts[i]);

    /* As a clone does it: with the secret the strict filter goes on top, and closes what was open. */
    size_t count;
    struct sock_fprog program = { .filter = (struct sock_filter *)(uintptr_t)seccomp_strict(&count) };
    const struct attempt closed = {
        "setns in a clone", SYS_setns, { NO_FD, 0, 0, 0, SECRET_LOW, SECRET_HIGH }, EPERM
    };

    program.len = (unsigned short)count;
    good &= syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program, 0, SECRET_LOW, SECRET_HIGH) == 0;
    return !(good && attempt_ends_as_expected(&closed));
}

static void test_template_filter_opens_with_its_secret_until_the_strict_one_follows(void **state)
{
    (void)state;
    pid_t pid = fork();

    if (pid == 0)
        _exit(run_template_child());

    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attacks_fail_with_the_right_error),
        cmocka_unit_test(test_granted_calls_reach_the_kernel),
        cmocka_unit_test(test_a_second_filter_cannot_be_installed),
#ifdef __x86_64__
        cmocka_unit_test(test_calls_of_another_architecture_kill),
#endif
        cmocka_unit_test(test_template_filter_opens_with_its_secret_until_the_strict_one_follows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
