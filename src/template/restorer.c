/*
 * Runs inside a template: makes the image, and in each clone rebuilds what fork() does not copy.
 *
 * Position-independent code without a C library, started by capture.c at template_entry() in the template's
 * main thread when every thread of it stands still for good. The memory around it is a hostile function's:
 * nothing outside struct template_data is read, and no instruction outside this file runs until every thread
 * has given up its capabilities and has the strict filter. See docs/templates.md.
 */

#include <linux/capability.h>
#include <linux/eventpoll.h>
#include <linux/fcntl.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>

#include "template/format.h"
#include "template/kernel.h"
#include "template/tids.h"

/* clone3() into a function on a new stack; the secret is read from *data. */
long template_clone_thread(const struct clone_args *args, size_t size,
                           void (*run)(struct template_data *, long), struct template_data *data,
                           long argument);
__asm__(".text\n"
        ".hidden template_clone_thread\n"
        ".globl template_clone_thread\n"
        "template_clone_thread:\n"
        "  push %r12\n"
        "  push %r13\n"
        "  push %r14\n"
        "  mov %rdx, %r12\n"
        "  mov %rcx, %r13\n"
        "  mov %r8, %r14\n"
        "  mov (%r13), %r8\n"
        "  mov 8(%r13), %r9\n"
        "  mov $435, %eax\n"
        "  syscall\n"
        "  test %rax, %rax\n"
        "  jz 1f\n"
        "  pop %r14\n"
        "  pop %r13\n"
        "  pop %r12\n"
        "  ret\n"
        "1: xor %ebp, %ebp\n"
        "  mov %r13, %rdi\n"
        "  mov %r14, %rsi\n"
        "  call *%r12\n"
        "  hlt\n");

/* The compiler may not turn this into a call of memset(), which is not there. */
static void zero(void *at, size_t len)
{
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(len) : "a"(0) : "memory");
}

static _Noreturn void resume(uint8_t *frame)
{
    /* Behind the return address, where the kernel looks for the frame when a handler has returned. */
    __asm__ volatile("mov %0, %%rsp\n  mov $15, %%eax\n  syscall\n  hlt" : : "r"(frame + 8) : "memory");
    __builtin_unreachable();
}

static long drop_capabilities(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct none[2];

    zero(none, sizeof none);
    return CALL(capset, &header, none, 0, 0);
}

static void wait_on(volatile uint32_t *word, uint32_t value)
{
    (void)CALL(futex, word, FUTEX_WAIT_PRIVATE, value, 0);
}

static void wake(volatile uint32_t *word)
{
    (void)CALL(futex, word, FUTEX_WAKE_PRIVATE, TEMPLATE_MAX_THREADS, 0);
}

/* ------------------------------------------------------------------ descriptors */

static bool is_cloexec(uint32_t flags)
{
    return flags & O_CLOEXEC_;
}

/* Gives what was opened as from the number to. */
static long place(long from, int to, uint32_t flags)
{
    long result;

    if (from < 0)
        return from;
    if (from == to)
        return CALL(fcntl, to, F_SETFD, is_cloexec(flags) ? FD_CLOEXEC : 0, 0);
    result = CALL(dup3, from, to, is_cloexec(flags) ? O_CLOEXEC_ : 0, 0);
    (void)CALL(close, from, 0, 0, 0);
    return result;
}

static long make_pipe(const struct template_op *op)
{
    int ends[2] = { -1, -1 };
    long result = CALL(pipe2, ends, O_CLOEXEC_, 0, 0);

    if (result < 0)
        return result;
    /* Out of the way of the numbers that the ends shall get. */
    for (int i = 0; i < 2; i++) {
        long high = CALL(fcntl, ends[i], F_DUPFD_CLOEXEC, TEMPLATE_FD_FLOOR, 0);

        (void)CALL(close, ends[i], 0, 0, 0);
        if (high < 0)
            return high;
        ends[i] = (int)high;
    }
    if (op->a > 0 && CALL(write, ends[1], op->content, op->a, 0) != (long)op->a)
        return -EPROTO_;
    if ((op->flags & O_NONBLOCK_) && (result = CALL(fcntl, ends[0], F_SETFL, O_NONBLOCK_, 0)) < 0)
        return result;
    if ((op->other_flags & O_NONBLOCK_) && (result = CALL(fcntl, ends[1], F_SETFL, O_NONBLOCK_ | 1, 0)) < 0)
        return result;
    result = place(ends[0], op->fd, op->flags);
    return result < 0 ? result : place(ends[1], op->other, op->other_flags);
}

static long reopen(const struct template_op *op)
{
    char path[32] = { '/', 'p', 'r', 'o', 'c', '/', 's', 'e', 'l', 'f', '/', 'f', 'd', '/' }, digits[12];
    int at = 14, count = 0, number = op->fd;
    long fd;

    do
        digits[count++] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    while (count > 0)
        path[at++] = digits[--count];
    fd = CALL(openat, AT_FDCWD, path, (op->flags & ~(uint32_t)O_REFUSED_) | O_CLOEXEC_, 0);
    if (fd >= 0 && CALL(lseek, fd, op->a, 0, 0) < 0)
        return -EPROTO_;
    return place(fd, op->fd, op->flags);
}

/* In the clone's own /tmp, which is a copy of the template's: nobody else has been there yet. */
static long open_tmp(const struct template_data *data, const struct template_op *op)
{
    long fd = CALL(openat, AT_FDCWD, data->paths + op->b,
                   (op->flags & ~(uint32_t)O_REFUSED_) | O_CLOEXEC_ | O_NOFOLLOW_, 0);

    if (fd >= 0 && CALL(lseek, fd, op->a, 0, 0) < 0)
        return -EPROTO_;
    return place(fd, op->fd, op->flags);
}

/* The call that makes it takes no count above 32 bits. */
static long make_eventfd(const struct template_op *op)
{
    long fd = CALL(eventfd2, 0, (op->flags & O_NONBLOCK_) | O_CLOEXEC_ | (op->b ? EFD_SEMAPHORE_ : 0), 0, 0);

    if (fd >= 0 && op->a > 0 && CALL(write, fd, &op->a, sizeof op->a, 0) != sizeof op->a)
        return -EPROTO_;
    return place(fd, op->fd, op->flags);
}

static long make_timer(const struct template_op *op)
{
    long fd = CALL(timerfd_create, op->a, (op->flags & O_NONBLOCK_) | O_CLOEXEC_, 0, 0), result;

    if (fd < 0)
        return fd;
    result = CALL(timerfd_settime, fd, 0, op->times, 0);
    return result < 0 ? result : place(fd, op->fd, op->flags);
}

/* ------------------------------------------------------------------ sockets */

static void set_option(long fd, int level, int name, uint32_t value)
{
    (void)call6(__NR_setsockopt, fd, level, name, (long)&value, sizeof value, 0);
}

static void set_timeout(long fd, int name, const uint64_t limit[2])
{
    (void)call6(__NR_setsockopt, fd, SOL_SOCKET_, name, (long)limit, 2 * sizeof *limit, 0);
}

static void set_options(long fd, const struct template_op *op)
{
    static const uint8_t options[TEMPLATE_SOCKET_OPTIONS][2] = {
        [TEMPLATE_SOCKET_REUSE_ADDRESS] = { SOL_SOCKET_, SO_REUSEADDR_ },
        [TEMPLATE_SOCKET_REUSE_PORT] = { SOL_SOCKET_, SO_REUSEPORT_ },
        [TEMPLATE_SOCKET_BROADCAST] = { SOL_SOCKET_, SO_BROADCAST_ },
        [TEMPLATE_SOCKET_KEEP_ALIVE] = { SOL_SOCKET_, SO_KEEPALIVE_ },
        [TEMPLATE_SOCKET_NO_DELAY] = { SOL_TCP_, TCP_NODELAY_ },
        [TEMPLATE_SOCKET_V6_ONLY] = { SOL_IPV6_, IPV6_V6ONLY_ },
    };

    for (uint32_t i = 0; i < TEMPLATE_SOCKET_OPTIONS; i++) {
        if (op->a >> i & 1)
            set_option(fd, options[i][0], options[i][1], 1);
    }
    set_timeout(fd, SO_RCVTIMEO_, op->times);
    set_timeout(fd, SO_SNDTIMEO_, op->times + 2);
}

static long new_socket(const struct template_op *op, uint32_t more)
{
    return CALL(socket, TEMPLATE_SOCKET_FAMILY(op->socket),
                TEMPLATE_SOCKET_TYPE(op->socket) | O_CLOEXEC_ | more, TEMPLATE_SOCKET_PROTOCOL(op->socket),
                0);
}

/* An address that the slot does not have is no reason to give up: the program finds out when it sends. */
static long make_socket(const struct template_op *op)
{
    long fd = new_socket(op, op->flags & O_NONBLOCK_);
    uint32_t len = TEMPLATE_SOCKET_FAMILY(op->socket) == AF_INET6_ ? sizeof(struct sockaddr_in6_)
                                                                   : sizeof(struct sockaddr_in_);

    if (fd < 0)
        return fd;
    set_options(fd, op);
    if (op->b == TEMPLATE_SOCKET_LOCAL)
        (void)CALL(bind, fd, op->content, len, 0);
    else if (op->b == TEMPLATE_SOCKET_PEER)
        (void)CALL(connect, fd, op->content, len, 0);
    return place(fd, op->fd, op->flags);
}

/* One for all dead sockets of a clone, in its own network namespace. */
static long listen_for_dead(struct template_data *data)
{
    struct sockaddr_in_ address = { .family = AF_INET_, .address = { 127, 0, 0, 1 } };
    uint32_t len = sizeof address;
    long fd = CALL(socket, AF_INET_, SOCK_STREAM_ | O_CLOEXEC_, 0, 0), result;

    if (fd < 0)
        return fd;
    data->listener = (int32_t)CALL(fcntl, fd, F_DUPFD_CLOEXEC, TEMPLATE_FD_FLOOR, 0);
    (void)CALL(close, fd, 0, 0, 0);
    if (data->listener < 0)
        return data->listener;
    result = CALL(bind, data->listener, &address, sizeof address, 0);
    if (result == 0)
        result = CALL(listen, data->listener, 1, 0, 0);
    if (result == 0)
        result = CALL(getsockname, data->listener, &address, &len, 0);
    data->listener_port = address.port;
    return result;
}

/* An IPv6 socket speaks to the same listener. */
static long connect_to_listener(const struct template_data *data, const struct template_op *op, long fd)
{
    struct sockaddr_in6_ address;
    struct sockaddr_in_ *plain = (struct sockaddr_in_ *)(void *)&address;
    bool v6 = TEMPLATE_SOCKET_FAMILY(op->socket) == AF_INET6_;
    uint8_t *last = v6 ? address.address + 12 : plain->address;

    zero(&address, sizeof address);
    address.family = (uint16_t)TEMPLATE_SOCKET_FAMILY(op->socket);
    address.port = (uint16_t)data->listener_port;
    if (v6)
        address.address[10] = address.address[11] = 0xff;
    last[0] = 127;
    last[3] = 1;
    return CALL(connect, fd, &address, v6 ? sizeof address : sizeof *plain, 0);
}

static long make_dead_tcp(struct template_data *data, const struct template_op *op)
{
    static const uint64_t moment[2] = { 1, 0 };
    long fd, peer, result = data->listener < 0 ? listen_for_dead(data) : 0;

    if (result < 0)
        return result;
    fd = new_socket(op, 0);
    if (fd < 0)
        return fd;
    set_timeout(fd, SO_SNDTIMEO_, moment);
    result = connect_to_listener(data, op, fd);
    if (result < 0)
        return result;
    peer = CALL(accept4, data->listener, 0, 0, O_CLOEXEC_);
    if (peer < 0)
        return peer;
    (void)CALL(close, peer, 0, 0, 0);
    set_options(fd, op);
    if (op->flags & O_NONBLOCK_)
        (void)CALL(fcntl, fd, F_SETFL, O_NONBLOCK_, 0);
    return place(fd, op->fd, op->flags);
}

/* Both ends out of the way of the numbers that they shall get. */
static long make_ends(const struct template_op *op, int ends[2])
{
    long result = CALL(socketpair, AF_UNIX_, TEMPLATE_SOCKET_TYPE(op->socket) | O_CLOEXEC_, 0, ends);

    for (int i = 0; result == 0 && i < 2; i++) {
        long high = CALL(fcntl, ends[i], F_DUPFD_CLOEXEC, TEMPLATE_FD_FLOOR, 0);

        (void)CALL(close, ends[i], 0, 0, 0);
        if (high < 0)
            return high;
        ends[i] = (int)high;
    }
    return result;
}

static bool send_all(int fd, const uint8_t *data, uint64_t len)
{
    return call6(__NR_sendto, fd, (long)data, (long)len, MSG_NOSIGNAL_ | MSG_DONTWAIT_, 0, 0) == (long)len;
}

/* What waits on the other side of fd. */
static bool fill_pair(const struct template_op *op, int fd, const uint8_t *content, uint64_t len)
{
    if (TEMPLATE_SOCKET_TYPE(op->socket) == SOCK_STREAM_)
        return len == 0 || send_all(fd, content, len);
    for (uint64_t at = 0; at < len; at += 1 + content[at]) {
        if (at + 1 + content[at] > len || !send_all(fd, content + at + 1, content[at]))
            return false;
    }
    return true;
}

static long make_pair(const struct template_op *op)
{
    int ends[2];
    long result = make_ends(op, ends);

    if (result < 0)
        return result;
    if (!fill_pair(op, ends[1], op->content, op->a) ||
        !fill_pair(op, ends[0], op->content + TEMPLATE_PAIR_BYTES, op->b))
        return -EPROTO_;
    if (op->flags & O_NONBLOCK_)
        (void)CALL(fcntl, ends[0], F_SETFL, O_NONBLOCK_, 0);
    if (op->other_flags & O_NONBLOCK_)
        (void)CALL(fcntl, ends[1], F_SETFL, O_NONBLOCK_, 0);
    result = place(ends[0], op->fd, op->flags);
    return result < 0 ? result : place(ends[1], op->other, op->other_flags);
}

static long make_dead(struct template_data *data, const struct template_op *op)
{
    int ends[2];
    long result;

    if (TEMPLATE_SOCKET_FAMILY(op->socket) != AF_UNIX_)
        return make_dead_tcp(data, op);
    result = make_ends(op, ends);
    if (result < 0)
        return result;
    (void)CALL(close, ends[1], 0, 0, 0);
    set_options(ends[0], op);
    if (op->flags & O_NONBLOCK_)
        (void)CALL(fcntl, ends[0], F_SETFL, O_NONBLOCK_, 0);
    return place(ends[0], op->fd, op->flags);
}

/* ------------------------------------------------------------------ all of them */

static long perform(struct template_data *data, const struct template_op *op)
{
    struct epoll_event event;

    switch (op->type) {
    case TEMPLATE_OP_EPOLL:
        return place(CALL(epoll_create1, O_CLOEXEC_, 0, 0, 0), op->fd, op->flags);
    case TEMPLATE_OP_EPOLL_ADD:
        event.events = (uint32_t)op->a;
        event.data = op->b;
        return CALL(epoll_ctl, op->fd, EPOLL_CTL_ADD, op->other, &event);
    case TEMPLATE_OP_EVENTFD:
        return make_eventfd(op);
    case TEMPLATE_OP_PIPE:
        return make_pipe(op);
    case TEMPLATE_OP_TIMERFD:
        return make_timer(op);
    case TEMPLATE_OP_FILE:
        return reopen(op);
    case TEMPLATE_OP_API:
        (void)CALL(fcntl, data->fds[TEMPLATE_FD_API], F_SETFL, op->flags & O_NONBLOCK_, 0);
        return CALL(dup3, data->fds[TEMPLATE_FD_API], op->fd, is_cloexec(op->flags) ? O_CLOEXEC_ : 0, 0);
    case TEMPLATE_OP_LOG:
        return CALL(dup3, data->fds[TEMPLATE_FD_LOG], op->fd, is_cloexec(op->flags) ? O_CLOEXEC_ : 0, 0);
    case TEMPLATE_OP_TMP:
        return open_tmp(data, op);
    case TEMPLATE_OP_DUP:
        return CALL(dup3, op->other, op->fd, is_cloexec(op->flags) ? O_CLOEXEC_ : 0, 0);
    case TEMPLATE_OP_SOCKET:
        return make_socket(op);
    case TEMPLATE_OP_DEAD:
        return make_dead(data, op);
    case TEMPLATE_OP_PAIR:
        return make_pair(op);
    default:
        return -EPROTO_;
    }
}

/* All but a file that is opened again by what the image holds, and the log, which may be one. */
static bool is_made_anew(uint32_t type)
{
    return type != TEMPLATE_OP_FILE && type != TEMPLATE_OP_LOG && type != TEMPLATE_OP_EPOLL_ADD;
}

/* The image keeps only what clones open again. */
static void close_of_template(const struct template_data *data)
{
    for (uint32_t i = 0; i < data->op_count; i++) {
        const struct template_op *op = &data->ops[i];

        if (!is_made_anew(op->type))
            continue;
        (void)CALL(close, op->fd, 0, 0, 0);
        if (op->type == TEMPLATE_OP_PIPE || op->type == TEMPLATE_OP_PAIR)
            (void)CALL(close, op->other, 0, 0, 0);
    }
}

/* ------------------------------------------------------------------ the clone */

static void say(int socket, uint32_t step, long error, uint32_t at)
{
    struct template_report report = { .step = step, .error = (int32_t)error, .at = at };

    (void)call6(__NR_sendto, socket, (long)&report, sizeof report, MSG_NOSIGNAL_, 0, 0);
}

static _Noreturn void give_up(struct template_data *data, uint32_t step, long error, uint32_t at)
{
    say(data->fds[TEMPLATE_FD_SYNC], step, error, at);
    for (;;)
        (void)CALL(exit_group, 127, 0, 0, 0);
}

static void register_thread(const struct template_thread *thread)
{
    if (thread->robust_list)
        (void)CALL(set_robust_list, thread->robust_list, thread->robust_len, 0, 0);
    (void)CALL(prctl, PR_SET_NAME, thread->name, 0, 0);
}

static void register_rseq(const struct template_thread *thread)
{
    if (thread->rseq)
        (void)CALL(rseq, thread->rseq, thread->rseq_len, 0, thread->rseq_signature);
}

__attribute__((noinline, used)) static void run_thread(struct template_data *data, long index)
{
    const struct template_thread *thread = &data->threads[index];

    if (thread->gs_base)
        (void)CALL(arch_prctl, ARCH_SET_GS_, thread->gs_base, 0, 0);
    register_thread(thread);
    if (drop_capabilities() < 0)
        give_up(data, TEMPLATE_STEP_CAPABILITIES, 0, (uint32_t)index);
    if (__atomic_add_fetch(&data->ready, 1, __ATOMIC_SEQ_CST) == data->thread_count - 1)
        wake(&data->ready);
    while (!__atomic_load_n(&data->gate, __ATOMIC_ACQUIRE))
        wait_on(&data->gate, 0);
    register_rseq(thread);
    resume(data->frames[index]);
}

static void make_threads(struct template_data *data)
{
    for (uint32_t i = 1; i < data->thread_count; i++) {
        const struct template_thread *thread = &data->threads[i];
        int tid = (int)thread->tid;
        struct clone_args args;
        long result;

        zero(&args, sizeof args);
        args.flags =
            CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS;
        if (thread->clear_tid)
            args.flags |= CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID;
        args.child_tid = thread->clear_tid;
        args.tls = thread->fs_base;
        args.stack = (uint64_t)data->thread_stacks[i];
        args.stack_size = TEMPLATE_THREAD_STACK;
        args.set_tid = (uint64_t)&tid;
        args.set_tid_size = 1;
        result = template_clone_thread(&args, sizeof args, run_thread, data, i);
        if (result < 0)
            give_up(data, TEMPLATE_STEP_THREAD, result, i);
    }
}

static void await_threads(struct template_data *data)
{
    uint32_t ready;

    while ((ready = __atomic_load_n(&data->ready, __ATOMIC_ACQUIRE)) < data->thread_count - 1)
        wait_on(&data->ready, ready);
}

/* Entering the slot's user namespace has filled it. Threads inherit it empty. */
static void drop_bounding_set(struct template_data *data)
{
    long capability = 0, result;

    while ((result = CALL_SECRET(data, prctl, PR_CAPBSET_DROP, capability, 0)) == 0)
        capability++;
    if (result != -EINVAL_) /* beyond what this kernel knows */
        give_up(data, TEMPLATE_STEP_CAPABILITIES, result, (uint32_t)capability);
}

static void become_user(struct template_data *data)
{
    uint32_t uid = data->request.uid, gid = data->request.gid;
    long result = CALL(setresgid, gid, gid, gid, 0);

    if (result == 0)
        result = CALL(setresuid, uid, uid, uid, 0);
    if (result < 0)
        give_up(data, TEMPLATE_STEP_IDENTITY, result, 0);
    (void)CALL(setsid, 0, 0, 0, 0);
    result = CALL(chdir, data->paths + data->folder, 0, 0, 0);
    if (result < 0)
        give_up(data, TEMPLATE_STEP_FOLDER, result, 0);
}

static void make_descriptors(struct template_data *data)
{
    data->listener = -1;
    for (uint32_t i = 0; i < data->op_count; i++) {
        long result = perform(data, &data->ops[i]);

        if (result < 0)
            give_up(data, TEMPLATE_STEP_DESCRIPTOR, result, (uint32_t)data->ops[i].fd);
    }
    if (data->listener >= 0)
        (void)CALL(close, data->listener, 0, 0, 0);
    (void)CALL(close, data->fds[TEMPLATE_FD_API], 0, 0, 0);
    (void)CALL(close, data->fds[TEMPLATE_FD_LOG], 0, 0, 0);
    (void)CALL(close, data->fds[TEMPLATE_FD_SLOT], 0, 0, 0);
    for (uint32_t i = 0; i < data->request.join_count; i++)
        (void)CALL(close, data->fds[TEMPLATE_FD_JOIN + i], 0, 0, 0);
    (void)CALL(close, data->control, 0, 0, 0);
}

/* From here on this process can do no more than any function. */
static void close_the_door(struct template_data *data)
{
    struct sock_fprog_ program = { .len = (uint16_t)data->filter_count, .filter = data->filter };
    long result = drop_capabilities();

    if (result < 0)
        give_up(data, TEMPLATE_STEP_CAPABILITIES, result, 0);
    result = CALL_SECRET(data, seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
    if (result != 0)
        give_up(data, TEMPLATE_STEP_FILTER, result < 0 ? result : -EPROTO_, 0);
    zero(data->secret, sizeof data->secret);
}

static _Noreturn void run_clone(struct template_data *data)
{
    int sync = data->fds[TEMPLATE_FD_SYNC];

    drop_bounding_set(data);
    become_user(data);
    make_descriptors(data);
    register_thread(&data->threads[0]);
    make_threads(data);
    await_threads(data);
    /* Child processes of the clone stay as cheap as those of the original. */
    for (uint32_t i = 0; i < data->range_count; i++)
        (void)CALL(madvise, data->ranges[i].start, data->ranges[i].len, MADV_DONTFORK_, 0);
    (void)CALL(prlimit64, 0, RLIMIT_NPROC_, data->process_limit, 0);
    (void)CALL(prlimit64, 0, RLIMIT_NOFILE_, data->file_limit, 0);
    close_the_door(data);
    (void)CALL(prctl, PR_SET_DUMPABLE, 1, 0, 0);
    say(sync, TEMPLATE_STEP_DONE, 0, 0);
    (void)CALL(close, sync, 0, 0, 0);
    register_rseq(&data->threads[0]);
    __atomic_store_n(&data->gate, 1, __ATOMIC_SEQ_CST);
    wake(&data->gate);
    resume(data->frames[0]);
}

/* ------------------------------------------------------------------ the image */

static long fork_process(struct template_data *data, bool is_image)
{
    int tid = (int)template_free_tid(data->threads, data->thread_count, data->request.main_tid);
    struct clone_args args;

    zero(&args, sizeof args);
    args.flags = CLONE_PARENT;
    if (data->threads[0].clear_tid)
        args.flags |= CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID;
    args.child_tid = data->threads[0].clear_tid;
    if (!is_image) {
        args.set_tid = (uint64_t)&tid;
        args.set_tid_size = 1;
    }
    return CALL_SECRET(data, clone3, &args, sizeof args, 0);
}

/* By itself: moved from outside it would wait until all processors have passed a grace period. Before the
 * clone is there: the tables of its pages are charged to who forks. */
static long join_groups(const struct template_data *data)
{
    for (uint32_t i = 0; i < data->request.join_count; i++) {
        long n = CALL(write, data->fds[TEMPLATE_FD_JOIN + i], "0", 1, 0);

        if (n != 1)
            return n < 0 ? n : -EPROTO_;
    }
    return 0;
}

/* Shares the image's memory, so that nothing is copied twice: enters the slot and its control groups, and
 * forks the clone from there. */
__attribute__((noinline, used)) static void run_helper(struct template_data *data, long argument)
{
    long result = join_groups(data);

    (void)argument;
    data->result_step = TEMPLATE_STEP_GROUP;
    if (result == 0) {
        data->result_step = TEMPLATE_STEP_ENTER;
        result = CALL_SECRET(data, setns, data->fds[TEMPLATE_FD_SLOT], data->request.ns_flags, 0);
    }
    if (result == 0) {
        data->result_step = TEMPLATE_STEP_CLONE;
        data->ready = data->gate = 0;
        result = fork_process(data, false);
        if (result == 0)
            run_clone(data);
    }
    data->result = result;
    for (;;)
        (void)CALL(exit, 0, 0, 0, 0);
}

static long make_clone(struct template_data *data)
{
    struct clone_args args;
    long result;

    zero(&args, sizeof args);
    args.flags = CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_PARENT;
    args.stack = (uint64_t)data->helper_stack;
    args.stack_size = TEMPLATE_STACK;
    data->result_step = TEMPLATE_STEP_CLONE;
    result = template_clone_thread(&args, sizeof args, run_helper, data, 0);
    return result < 0 ? result : data->result;
}

/* Returns the length; descriptors go above the floor, so that they never collide with those being rebuilt. */
static long receive(struct template_data *data)
{
    union {
        struct cmsghdr_ header;
        char bytes[sizeof(struct cmsghdr_) + sizeof(int) * TEMPLATE_FD_COUNT];
    } control;
    struct iovec_ iov = { &data->request, sizeof data->request };
    struct msghdr_ message;
    const int *fds = (const int *)(const void *)(&control.header + 1);
    size_t count;
    long n;

    zero(&message, sizeof message);
    zero(&control, sizeof control);
    message.iov = &iov;
    message.iov_len = 1;
    message.control = control.bytes;
    message.control_len = sizeof control.bytes;
    n = CALL(recvmsg, data->control, &message, MSG_CMSG_CLOEXEC_, 0);
    for (size_t i = 0; i < TEMPLATE_FD_COUNT; i++)
        data->fds[i] = -1;
    if (n <= 0 || control.header.type != SCM_RIGHTS_ || control.header.len < sizeof control.header)
        return n;
    count = (control.header.len - sizeof control.header) / sizeof(int);
    for (size_t i = 0; i < count && i < TEMPLATE_FD_COUNT; i++) {
        data->fds[i] = (int)CALL(fcntl, fds[i], F_DUPFD_CLOEXEC, TEMPLATE_FD_FLOOR, 0);
        (void)CALL(close, fds[i], 0, 0, 0);
    }
    return n;
}

static long connect_to_launcher(struct template_data *data)
{
    struct sockaddr_un_ address;
    long fd = CALL(socket, AF_UNIX_, SOCK_SEQPACKET_ | O_CLOEXEC_, 0, 0), result;

    if (fd < 0)
        return fd;
    zero(&address, sizeof address);
    address.family = AF_UNIX_;
    for (uint32_t i = 0; i < data->address_len; i++)
        address.path[i] = data->address[i];
    result = CALL(connect, fd, &address, sizeof address.family + data->address_len, 0);
    if (result < 0)
        return result;
    data->control = (int32_t)CALL(fcntl, fd, F_DUPFD_CLOEXEC, TEMPLATE_FD_FLOOR, 0);
    (void)CALL(close, fd, 0, 0, 0);
    return data->control < 0 ? data->control : 0;
}

static void answer(const struct template_data *data, long result)
{
    struct template_reply reply = { .format = TEMPLATE_FORMAT,
                                    .pid = (int32_t)result,
                                    .step = data->result_step };

    (void)call6(__NR_sendto, data->control, (long)&reply, sizeof reply, MSG_NOSIGNAL_, 0, 0);
}

/* What the template's own thread has registered points at memory that the clones' threads will use. */
static void unregister_rseq(const struct template_data *data)
{
    const struct template_thread *main = &data->threads[0];

    if (main->rseq)
        (void)CALL(rseq, main->rseq, main->rseq_len, RSEQ_UNREGISTER_, main->rseq_signature);
}

static void serve(struct template_data *data);

static long make_image(struct template_data *data)
{
    long result = fork_process(data, true);

    if (result != 0)
        return result;
    unregister_rseq(data);
    (void)CALL(close, data->control, 0, 0, 0);
    close_of_template(data);
    if (connect_to_launcher(data) < 0)
        (void)CALL(exit_group, 126, 0, 0, 0);
    data->result_step = TEMPLATE_STEP_START;
    answer(data, 0);
    serve(data);
    return 0;
}

static void serve(struct template_data *data)
{
    for (;;) {
        long n = receive(data), result;

        if (n == -EINTR_)
            continue;
        if (n != sizeof data->request || data->request.format != TEMPLATE_FORMAT)
            (void)CALL(exit_group, 125, 0, 0, 0);
        result = data->request.type == TEMPLATE_REQUEST_IMAGE ? make_image(data) : make_clone(data);
        for (size_t i = 0; i < TEMPLATE_FD_COUNT; i++) {
            if (data->fds[i] >= 0)
                (void)CALL(close, data->fds[i], 0, 0, 0);
        }
        answer(data, result);
    }
}

/* Placed first by the linker. */
__attribute__((section(".text.entry"), noreturn, used)) void template_entry(struct template_data *data)
{
    /* The flags are the function's: with this one a string instruction would go backwards. */
    __asm__ volatile("cld" : : : "cc");
    if (data->format == TEMPLATE_FORMAT) {
        /* V8 marks its whole heap as not to be copied. */
        for (uint32_t i = 0; i < data->range_count; i++)
            (void)CALL(madvise, data->ranges[i].start, data->ranges[i].len, MADV_DOFORK_, 0);
        if (connect_to_launcher(data) == 0) {
            answer(data, 0);
            serve(data);
        }
    }
    for (;;)
        (void)CALL(exit_group, 124, 0, 0, 0);
}
