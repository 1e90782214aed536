/* A function that waits in a system call of its own making with something in every vector register. */
#include <immintrin.h>
#include <poll.h>
#include <sys/syscall.h>

#include "runtime.h"

enum { VECTORS = 16 };

/* Returns how many of the registers are as they were. */
__attribute__((target("avx"), noinline)) static int wait_with_vectors(struct pollfd *wait)
{
    static _Alignas(32) unsigned char before[VECTORS][32], after[VECTORS][32];
    register long timeout __asm__("rdx") = -1;
    long result = SYS_poll;
    int same = 0;

    for (int i = 0; i < VECTORS; i++)
        memset(before[i], 0x40 + i, sizeof before[i]);
#define EACH(what)                                                                                    \
    what(0) what(1) what(2) what(3) what(4) what(5) what(6) what(7) what(8) what(9) what(10) what(11) \
        what(12) what(13) what(14) what(15)
#define LOAD(n)  "vmovdqa 32*" #n "(%[before]), %%ymm" #n "\n"
#define STORE(n) "vmovdqa %%ymm" #n ", 32*" #n "(%[after])\n"
#define NAME(n)  "xmm" #n,
    __asm__ volatile(EACH(LOAD) "syscall\n" EACH(STORE)
                     : "+a"(result), "+r"(timeout)
                     : "D"(wait), "S"(1L), [before] "r"(before), [after] "r"(after)
                     : EACH(NAME) "rcx", "r11", "memory");
    for (int i = 0; i < VECTORS; i++)
        same += memcmp(before[i], after[i], sizeof before[i]) == 0;
    return same;
}

int main(void)
{
    static const char request[] = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: runtime\r\n\r\n";
    struct invocation in = { 0 };
    char answer[16];

    if (!__builtin_cpu_supports("avx"))
        return 81;
    rt_socket = rt_connect();
    for (;;) {
        struct pollfd wait = { .fd = rt_socket, .events = POLLIN };
        int same;

        rt_write(request, sizeof request - 1);
        same = wait_with_vectors(&wait);
        if (rt_read(&in.body, &in.len) != 200)
            return 94;
        rt_header("\r\nlambda-runtime-aws-request-id:", in.id, sizeof in.id);
        if (rt_post(&in, "response", answer, (size_t)snprintf(answer, sizeof answer, "%d", same)) != 202)
            return 95;
    }
}
