#pragma once

/* The kernel without a C library, for restorer.c: what its headers leave to those of the library, and calls.
 */

#include <asm/unistd.h>
#include <stdint.h>

/* Of headers that belong to a C library. */
enum {
    AF_UNIX_ = 1,
    AF_INET_ = 2,
    AF_INET6_ = 10,
    SOCK_STREAM_ = 1,
    SOCK_SEQPACKET_ = 5,
    SOL_SOCKET_ = 1,
    SOL_TCP_ = 6,
    SOL_IPV6_ = 41,
    SO_REUSEADDR_ = 2,
    SO_BROADCAST_ = 6,
    SO_KEEPALIVE_ = 9,
    SO_REUSEPORT_ = 15,
    SO_RCVTIMEO_ = 20,
    SO_SNDTIMEO_ = 21,
    TCP_NODELAY_ = 1,
    IPV6_V6ONLY_ = 26,
    O_CLOEXEC_ = 02000000,
    O_NONBLOCK_ = 04000,
    O_NOFOLLOW_ = 0400000,
    /* O_CREAT, O_EXCL, O_TRUNC, O_NOFOLLOW, O_TMPFILE: not when a file is opened again */
    O_REFUSED_ = 0100 | 0200 | 01000 | 0400000 | 020000000,
    SCM_RIGHTS_ = 1,
    MSG_CMSG_CLOEXEC_ = 0x40000000,
    MSG_NOSIGNAL_ = 0x4000,
    MSG_DONTWAIT_ = 0x40,
    EFD_SEMAPHORE_ = 1,
    EINTR_ = 4,
    EINVAL_ = 22,
    EPROTO_ = 71,
    ENOSYS_ = 38,
    MADV_DONTFORK_ = 10,
    MADV_DOFORK_ = 11,
    ARCH_SET_GS_ = 0x1001,
    RSEQ_UNREGISTER_ = 1,
    RLIMIT_NPROC_ = 6,
    RLIMIT_NOFILE_ = 7,
};

struct iovec_ {
    const void *base;
    size_t len;
};
struct msghdr_ {
    void *name;
    uint32_t name_len;
    struct iovec_ *iov;
    size_t iov_len;
    void *control;
    size_t control_len;
    int flags;
};
struct cmsghdr_ {
    size_t len;
    int level, type;
};
struct sockaddr_un_ {
    uint16_t family;
    char path[108];
};
struct sockaddr_in_ {
    uint16_t family, port;
    uint8_t address[4], zero[8];
};
struct sockaddr_in6_ {
    uint16_t family, port;
    uint32_t flow;
    uint8_t address[16];
    uint32_t scope;
};
struct sock_fprog_ {
    uint16_t len;
    const struct sock_filter *filter;
};

static inline long call6(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#define CALL(name, a, b, c, d) call6(__NR_##name, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
/* With the secret where the template's filter looks for it. */
#define CALL_SECRET(data, name, a, b, c) \
    call6(__NR_##name, (long)(a), (long)(b), (long)(c), 0, (long)(data)->secret[0], (long)(data)->secret[1])
