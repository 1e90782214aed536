#include "template/tracee.h"

#include <cpuid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ptrace.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "template/proc.h"
#include "template/proc_file.h"

/* <sys/ptrace.h> and <linux/ptrace.h> cannot be had together; this is the one that knows the newer requests.
 */
extern long ptrace(int request, ...);

enum {
    /* First only those that are not at rest may go on for a moment; when that does not help, all: one may
     * wait for another. */
    SETTLE_ROUNDS = 100,
    SETTLE_ALONE = 8,
    SETTLE_US = 2000,
    SETTLE_LONG_US = 5000,
    STOP_PASSES = 20,
    SIGNALS_MOST = 64, /* handled on the way to one stop */
    STATUS_MAX_BYTES = 64 * 1024,
    SYSCALL_BYTES = 2,
    RSEQ_CS_OFFSET = 8, /* struct rseq.rseq_cs */
    PR_GET_TID_ADDRESS_ = 40,
    USER_CS = 0x33,
    PLAIN_FLAGS = 0x202, /* interrupts on, and a bit that always is */
    UC_SIGCONTEXT_SS_ = 2,
    UC_STRICT_RESTORE_SS_ = 4,
    UC_FP_XSTATE_ = 1,
    NT_PRFPREG_ = 2,
    NT_X86_XSTATE_ = 0x202,
    FX_BYTES = 512,
    FX_SOFTWARE_AT = 464, /* of the 512: what ptrace() says of the features, and where the kernel looks for
                             the sign of a larger state */
    XSAVE_HEADER_AT = 512,
    XSAVE_LEAST_BYTES = 576,
    XSAVE_MAX_BYTES = TEMPLATE_FRAME_BYTES - TEMPLATE_FX_OFFSET - 8, /* room for the sign of the end */
    XSAVE_FEATURES = 0x2ff, /* x87, SSE, AVX, MPX, AVX-512, protection keys */
    XSAVE_FEATURE_COUNT = 10,
    CPUID_XSAVE = 0xd,
};
static const uint8_t syscall_bytes[SYSCALL_BYTES] = { 0x0f, 0x05 };

int tracee_read(const struct tracee *tracee, uint64_t at, void *data, size_t len)
{
    struct iovec ours = { data, len }, theirs = { (void *)(uintptr_t)at, len };

    return process_vm_readv(tracee->pid, &ours, 1, &theirs, 1, 0) == (ssize_t)len ? 0 : -EFAULT;
}

int tracee_write(const struct tracee *tracee, uint64_t at, const void *data, size_t len)
{
    struct iovec ours = { (void *)(uintptr_t)data, len }, theirs = { (void *)(uintptr_t)at, len };

    return process_vm_writev(tracee->pid, &ours, 1, &theirs, 1, 0) == (ssize_t)len ? 0 : -EFAULT;
}

/* ------------------------------------------------------------------ stopping */

enum wait_result { WAIT_STOPPED, WAIT_ENDED, WAIT_FAILED };

static enum wait_result wait_for(pid_t tid, int *ret_status)
{
    pid_t pid;

    do
        pid = waitpid(tid, ret_status, __WALL);
    while (pid < 0 && errno == EINTR);
    if (pid != tid)
        return WAIT_FAILED;
    return WIFSTOPPED(*ret_status) ? WAIT_STOPPED : WAIT_ENDED;
}

/* Signals that come on the way are handled as ever. */
static enum wait_result interrupt(pid_t tid)
{
    int status;

    if (ptrace(PTRACE_INTERRUPT, tid, 0L, 0L) < 0 && errno != ESRCH)
        return WAIT_FAILED;
    for (int i = 0; i < SIGNALS_MOST; i++) {
        enum wait_result result = wait_for(tid, &status);

        if (result != WAIT_STOPPED)
            return result;
        if (status >> 16 == PTRACE_EVENT_STOP)
            return WSTOPSIG(status) == SIGTRAP ? WAIT_STOPPED : WAIT_FAILED; /* else it has stopped itself */
        if (ptrace(PTRACE_CONT, tid, 0L, status >> 16 ? 0L : (long)WSTOPSIG(status)) < 0 && errno != ESRCH)
            return WAIT_FAILED;
    }
    return WAIT_FAILED;
}

static bool is_known(const struct tracee *tracee, pid_t tid)
{
    for (size_t i = 0; i < tracee->count; i++) {
        if (tracee->threads[i].tid == tid)
            return true;
    }
    return false;
}

/* One that ends instead is forgotten: the last one takes its place. */
static int stop_one(struct tracee *tracee, size_t at, struct err *err)
{
    switch (interrupt(tracee->threads[at].tid)) {
    case WAIT_STOPPED:
        return 0;
    case WAIT_ENDED:
        tracee->threads[at] = tracee->threads[--tracee->count];
        return 0;
    case WAIT_FAILED:
        break;
    }
    return err_set(err, ERR_CONFLICT, 0, "a thread does not stop");
}

static int seize(struct tracee *tracee, pid_t tid, struct err *err)
{
    if (tracee->count == TEMPLATE_MAX_THREADS)
        return err_set(err, ERR_LIMIT, 0, "it has more than %d threads", TEMPLATE_MAX_THREADS);
    if (ptrace(PTRACE_SEIZE, tid, 0L, (long)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)) < 0)
        return errno == ESRCH ? 0 : err_set(err, ERR_SYSTEM, errno, "a thread cannot be traced");
    tracee->threads[tracee->count++] = (struct tracee_thread){ .tid = tid };
    return stop_one(tracee, tracee->count - 1, err);
}

/* Returns how many threads were new, or negative. */
static int seize_all(struct tracee *tracee, struct err *err)
{
    char path[64];
    DIR *folder;
    const struct dirent *entry;
    int found = 0, r = 0;

    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)tracee->pid);
    folder = opendir(path);
    if (!folder)
        return err_set(err, ERR_SYSTEM, errno, "%s", path);
    while (r == 0 && (entry = readdir(folder))) {
        pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);

        if (tid <= 0 || is_known(tracee, tid))
            continue;
        r = seize(tracee, tid, err);
        found++;
    }
    (void)closedir(folder);
    return r < 0 ? r : found;
}

static bool read_registers(struct tracee_thread *thread)
{
    struct iovec iov = { &thread->regs, sizeof thread->regs };

    /* A thread in a 32-bit code segment has another, smaller set. */
    return ptrace(PTRACE_GETREGSET, thread->tid, 1L /* NT_PRSTATUS */, &iov) == 0 &&
           iov.iov_len == sizeof thread->regs && thread->regs.cs == USER_CS;
}

static bool write_registers(pid_t tid, struct user_regs_struct *regs)
{
    struct iovec iov = { regs, sizeof *regs };

    return ptrace(PTRACE_SETREGSET, tid, 1L /* NT_PRSTATUS */, &iov) == 0;
}

/* A call that waits with a time limit is continued by restart_syscall() once the thread was stopped; a new
 * thread must make the call itself. */
static void learn_call(struct tracee_thread *thread, const struct user_regs_struct *before)
{
    if (thread->regs.orig_rax != SYS_restart_syscall)
        thread->call = thread->regs.orig_rax;
    else if (thread->regs.rip != before->rip || thread->regs.rsp != before->rsp ||
             thread->regs.rdi != before->rdi || thread->regs.rsi != before->rsi)
        thread->call = SYS_restart_syscall; /* another one, of which nothing is known */
}

static int look(const struct tracee *tracee, struct tracee_thread *thread, bool *ret_at_rest, struct err *err)
{
    struct user_regs_struct before = thread->regs;
    AUTO_FREE char *text =
        proc_read(STATUS_MAX_BYTES, "/proc/%d/task/%d/status", (int)tracee->pid, (int)thread->tid);
    struct proc_status status;

    if (!text || !proc_parse_status(text, &status))
        return err_set(err, ERR_SYSTEM, errno, "status of a thread");
    if (!read_registers(thread))
        return err_set(err, ERR_SYSTEM, errno, "registers of a thread");
    *ret_at_rest = (int64_t)thread->regs.orig_rax >= 0 && (status.pending & ~status.blocked) == 0;
    if (*ret_at_rest)
        learn_call(thread, &before);
    return 0;
}

/* Lets go those that are not at rest, or all of them; false when all are. */
static int let_go(struct tracee *tracee, bool everybody, bool running[TEMPLATE_MAX_THREADS], struct err *err)
{
    bool any = false;

    for (size_t i = 0; i < tracee->count; i++) {
        bool at_rest = false;

        if (look(tracee, &tracee->threads[i], &at_rest, err) < 0)
            return -1;
        running[i] = !at_rest;
        any = any || !at_rest;
    }
    for (size_t i = 0; any && i < tracee->count; i++) {
        running[i] = running[i] || everybody;
        if (running[i] && ptrace(PTRACE_CONT, tracee->threads[i].tid, 0L, 0L) < 0)
            return err_set(err, ERR_SYSTEM, errno, "a thread cannot be continued");
    }
    return any;
}

static int stop_again(struct tracee *tracee, const bool running[TEMPLATE_MAX_THREADS], struct err *err)
{
    /* Backwards: what ends makes room for the last one, which has been seen then. */
    for (size_t i = tracee->count; i-- > 0;) {
        if (running[i] && stop_one(tracee, i, err) < 0)
            return -1;
    }
    for (int pass = 0; pass < STOP_PASSES; pass++) {
        int found = seize_all(tracee, err);

        if (found <= 0)
            return found;
    }
    return err_set(err, ERR_CONFLICT, 0, "it keeps making threads");
}

/* A thread that computes is given moments until it waits for something. */
static int settle(struct tracee *tracee, struct err *err)
{
    bool running[TEMPLATE_MAX_THREADS] = { false };

    for (int i = 0; i < SETTLE_ROUNDS; i++) {
        int r = stop_again(tracee, running, err);

        if (r == 0)
            r = let_go(tracee, i >= SETTLE_ALONE, running, err);
        if (r <= 0)
            return r;
        (void)usleep(i < SETTLE_ALONE ? SETTLE_US : SETTLE_LONG_US);
    }
    (void)stop_again(tracee, running, err);
    return err_set(err, ERR_CONFLICT, 0, "a thread does not come to rest in a system call");
}

static int block_signals(struct tracee *tracee, struct err *err)
{
    uint64_t all = ~UINT64_C(0);

    for (size_t i = 0; i < tracee->count; i++) {
        struct tracee_thread *thread = &tracee->threads[i];

        if (ptrace(PTRACE_GETSIGMASK, thread->tid, sizeof thread->mask, &thread->mask) < 0 ||
            ptrace(PTRACE_SETSIGMASK, thread->tid, sizeof all, &all) < 0)
            return err_set(err, ERR_SYSTEM, errno, "signals of a thread");
        thread->blocked = true;
    }
    return 0;
}

/* A function could have the kernel run its own code in place of the restorer: with the restorer's addresses
 * in a critical section of its making, which the kernel would "abort". */
static int clear_rseq(const struct tracee *tracee, const struct tracee_thread *thread, struct err *err)
{
    struct ptrace_rseq_configuration rseq = { 0 };
    uint64_t none = 0;

    if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, thread->tid, sizeof rseq, &rseq) < 0)
        return err_set(err, ERR_SYSTEM, errno, "restartable sequence of a thread");
    if (rseq.rseq_abi_pointer &&
        tracee_write(tracee, rseq.rseq_abi_pointer + RSEQ_CS_OFFSET, &none, sizeof none) < 0)
        return err_set(err, ERR_SYSTEM, EFAULT, "restartable sequence of a thread");
    return 0;
}

static void main_thread_first(struct tracee *tracee)
{
    for (size_t i = 0; i < tracee->count; i++) {
        if (tracee->threads[i].tid == tracee->pid) {
            struct tracee_thread first = tracee->threads[0];

            tracee->threads[0] = tracee->threads[i];
            tracee->threads[i] = first;
        }
    }
}

static void find_syscall(struct tracee *tracee)
{
    for (size_t i = 0; i < tracee->count && !tracee->syscall_at; i++) {
        uint8_t bytes[SYSCALL_BYTES];
        uint64_t at = tracee->threads[i].regs.rip - SYSCALL_BYTES;

        if (tracee_read(tracee, at, bytes, sizeof bytes) == 0 &&
            memcmp(bytes, syscall_bytes, sizeof bytes) == 0)
            tracee->syscall_at = at;
    }
}

int tracee_stop(struct tracee *tracee, pid_t pid, struct err *err)
{
    int r;

    memset(tracee, 0, sizeof *tracee);
    tracee->pid = pid;
    r = settle(tracee, err);
    if (r < 0)
        return r;
    main_thread_first(tracee);
    for (size_t i = 0; i < tracee->count; i++) {
        r = clear_rseq(tracee, &tracee->threads[i], err);
        if (r < 0)
            return r;
    }
    r = block_signals(tracee, err);
    if (r < 0)
        return r;
    find_syscall(tracee);
    return tracee->syscall_at ? 0
                              : err_set(err, ERR_CONFLICT, 0, "no thread waits in an ordinary system call");
}

/* ------------------------------------------------------------------ injected calls */

/* Runs to the next edge of a system call, which must be the injected one's. */
static bool step(const struct tracee *tracee, pid_t tid, long number, struct user_regs_struct *regs)
{
    struct tracee_thread thread = { .tid = tid };
    int status;

    if (ptrace(PTRACE_SYSCALL, tid, 0L, 0L) < 0 || wait_for(tid, &status) != WAIT_STOPPED ||
        WSTOPSIG(status) != (SIGTRAP | 0x80) || !read_registers(&thread))
        return false;
    *regs = thread.regs;
    return regs->rip == tracee->syscall_at + SYSCALL_BYTES && (long)regs->orig_rax == number;
}

int tracee_call(const struct tracee *tracee, size_t thread, long number, const uint64_t args[6],
                int64_t *ret_result, struct err *err)
{
    pid_t tid = tracee->threads[thread].tid;
    struct user_regs_struct before = tracee->threads[thread].regs, regs = before;
    bool done;

    regs.rip = tracee->syscall_at;
    regs.rax = (uint64_t)number;
    regs.orig_rax = (uint64_t)-1;
    regs.rdi = args[0];
    regs.rsi = args[1];
    regs.rdx = args[2];
    regs.r10 = args[3];
    regs.r8 = args[4];
    regs.r9 = args[5];
    done = write_registers(tid, &regs) && step(tracee, tid, number, &regs) &&
           step(tracee, tid, number, &regs) && write_registers(tid, &before);
    if (!done)
        return err_set(err, ERR_SYSTEM, 0, "a system call in the process went astray");
    *ret_result = (int64_t)regs.rax;
    return 0;
}

/* ------------------------------------------------------------------ saving */

/* The kernel's struct sigcontext_64. Its header and the C library's <signal.h> cannot be had together. */
struct context {
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15, di, si, bp, bx, dx, ax, cx, sp, ip, flags;
    uint16_t cs, gs, fs, ss;
    uint64_t err, trap, old_mask, cr2, fpstate, reserved[8];
};

/* What rt_sigreturn() reads; the kernel's struct rt_sigframe without siginfo. */
struct frame {
    uint64_t return_address;
    uint64_t flags, link;
    struct {
        uint64_t at;
        uint32_t flags, padding;
        uint64_t size;
    } stack;
    struct context context;
    uint64_t mask;
};
_Static_assert(sizeof(struct frame) <= TEMPLATE_FX_OFFSET,
               "a frame stands in front of its floating-point state");
_Static_assert(sizeof(struct context) == 256, "as the kernel has it");

/* A call that was interrupted for us is made again; EINTR, because epoll_wait() and its like give that
 * instead. */
static void prepare_restart(struct user_regs_struct *regs, uint64_t call)
{
    static const int64_t interrupted[] = { -512, -513, -514, -516, -EINTR };

    for (size_t i = 0; i < sizeof interrupted / sizeof *interrupted; i++) {
        if ((int64_t)regs->rax == interrupted[i]) {
            regs->rip -= SYSCALL_BYTES;
            regs->rax = call;
            return;
        }
    }
}

static void fill_context(struct context *context, const struct user_regs_struct *regs, uint64_t fpstate)
{
    *context = (struct context){
        .r8 = regs->r8,
        .r9 = regs->r9,
        .r10 = regs->r10,
        .r11 = regs->r11,
        .r12 = regs->r12,
        .r13 = regs->r13,
        .r14 = regs->r14,
        .r15 = regs->r15,
        .di = regs->rdi,
        .si = regs->rsi,
        .bp = regs->rbp,
        .bx = regs->rbx,
        .dx = regs->rdx,
        .ax = regs->rax,
        .cx = regs->rcx,
        .sp = regs->rsp,
        .ip = regs->rip,
        .flags = regs->eflags,
        .cs = (uint16_t)regs->cs,
        .ss = (uint16_t)regs->ss,
        .fpstate = fpstate,
    };
}

/* Of the area in which XSAVE puts these features. */
static uint32_t area_bytes(uint64_t features)
{
    uint32_t bytes = XSAVE_LEAST_BYTES;

    for (unsigned i = 2; i < XSAVE_FEATURE_COUNT; i++) {
        unsigned size, offset, c, d;

        if ((features >> i & 1) && __get_cpuid_count(CPUID_XSAVE, i, &size, &offset, &c, &d) &&
            offset + size > bytes)
            bytes = offset + size;
    }
    return bytes;
}

/* A thread in a system call need not care for the upper halves of its vector registers: but calls may be
 * written into functions that do. Returns false when the processor has no more than the 512 bytes. */
static bool read_extended(pid_t tid, uint8_t *state, uint64_t *ret_unknown)
{
    struct iovec iov = { state, XSAVE_MAX_BYTES };
    struct {
        uint32_t magic, extended_bytes;
        uint64_t features;
        uint32_t bytes, padding[7];
    } software = { .magic = 0x46505853 };
    static const uint32_t end_magic = 0x46505845;
    uint64_t used;

    _Static_assert(sizeof software == FX_BYTES - FX_SOFTWARE_AT, "struct _fpx_sw_bytes of the kernel");
    if (ptrace(PTRACE_GETREGSET, tid, (long)NT_X86_XSTATE_, &iov) < 0 || iov.iov_len < XSAVE_LEAST_BYTES)
        return false;
    memcpy(&software.features, state + FX_SOFTWARE_AT, sizeof software.features);
    memcpy(&used, state + XSAVE_HEADER_AT, sizeof used);
    *ret_unknown = used & ~(uint64_t)XSAVE_FEATURES;
    software.features &= XSAVE_FEATURES;
    software.bytes = area_bytes(software.features);
    if (software.bytes > iov.iov_len)
        return false;
    software.extended_bytes = software.bytes + (uint32_t)sizeof end_magic;
    memcpy(state + FX_SOFTWARE_AT, &software, sizeof software);
    memcpy(state + software.bytes, &end_magic, sizeof end_magic);
    return true;
}

static int read_floating_point(pid_t tid, uint8_t *state, bool *ret_extended, struct err *err)
{
    struct iovec iov = { state, FX_BYTES };
    uint64_t unknown = 0;

    *ret_extended = read_extended(tid, state, &unknown);
    if (unknown)
        return err_set(err, ERR_CONFLICT, 0, "a thread uses matrix registers");
    if (*ret_extended)
        return 0;
    if (ptrace(PTRACE_GETREGSET, tid, (long)NT_PRFPREG_, &iov) < 0)
        return err_set(err, ERR_SYSTEM, errno, "state of a thread");
    memset(state + FX_SOFTWARE_AT, 0, FX_BYTES - FX_SOFTWARE_AT);
    return 0;
}

static int build_frame(const struct tracee_thread *thread, const void *altstack, uint64_t frame_at,
                       uint8_t out[TEMPLATE_FRAME_BYTES], struct err *err)
{
    struct frame *frame = (void *)out;
    struct user_regs_struct regs = thread->regs;
    bool extended;
    int r;

    memset(out, 0, TEMPLATE_FRAME_BYTES);
    prepare_restart(&regs, thread->call);
    frame->flags = UC_SIGCONTEXT_SS_ | UC_STRICT_RESTORE_SS_;
    frame->mask = thread->mask;
    memcpy(&frame->stack, altstack, sizeof frame->stack);
    fill_context(&frame->context, &regs, frame_at + TEMPLATE_FX_OFFSET);
    r = read_floating_point(thread->tid, out + TEMPLATE_FX_OFFSET, &extended, err);
    if (extended)
        frame->flags |= UC_FP_XSTATE_;
    return r;
}

static int ask(const struct tracee *tracee, size_t thread, long number, uint64_t a, uint64_t b,
               int64_t *ret_result, struct err *err)
{
    const uint64_t args[6] = { a, b };

    return tracee_call(tracee, thread, number, args, ret_result, err);
}

static int save_addresses(const struct tracee *tracee, size_t at, uint64_t scratch,
                          struct template_thread *thread, struct err *err)
{
    struct ptrace_rseq_configuration rseq = { 0 };
    pid_t tid = tracee->threads[at].tid;
    void *list = NULL;
    size_t list_len = 0;
    int64_t result = -ENOSYS;
    int r = ask(tracee, at, SYS_prctl, PR_GET_TID_ADDRESS_, scratch, &result, err);

    if (r < 0)
        return r;
    if (result < 0 || tracee_read(tracee, scratch, &thread->clear_tid, sizeof thread->clear_tid) < 0)
        return err_set(err, ERR_SYSTEM, (int)-result,
                       "address of a thread's id (the kernel needs CONFIG_CHECKPOINT_RESTORE)");
    if (syscall(SYS_get_robust_list, tid, &list, &list_len) == 0) {
        thread->robust_list = (uint64_t)(uintptr_t)list;
        thread->robust_len = list_len;
    }
    if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, sizeof rseq, &rseq) > 0) {
        thread->rseq = rseq.rseq_abi_pointer;
        thread->rseq_len = rseq.rseq_abi_size;
        thread->rseq_signature = rseq.signature;
    }
    return 0;
}

static void save_name(const struct tracee *tracee, size_t at, struct template_thread *thread)
{
    char path[64];
    ssize_t n;

    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/comm", (int)tracee->pid,
                   (int)tracee->threads[at].tid);
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

    n = fd < 0 ? 0 : read(fd, thread->name, sizeof thread->name - 1);
    thread->name[n < 0 ? 0 : n] = '\0';
    thread->name[strcspn(thread->name, "\n")] = '\0';
}

int tracee_save(const struct tracee *tracee, size_t at, uint64_t scratch, uint64_t frame_at,
                struct template_thread *ret_thread, uint8_t frame[TEMPLATE_FRAME_BYTES], struct err *err)
{
    const struct tracee_thread *thread = &tracee->threads[at];
    uint8_t altstack[24];
    int64_t result = -ENOSYS;
    int r = save_addresses(tracee, at, scratch, ret_thread, err);

    if (r == 0)
        r = ask(tracee, at, SYS_sigaltstack, 0, scratch, &result, err);
    if (r < 0)
        return r;
    if (result < 0 || tracee_read(tracee, scratch, altstack, sizeof altstack) < 0)
        return err_set(err, ERR_SYSTEM, (int)-result, "alternate stack of a thread");
    ret_thread->fs_base = thread->regs.fs_base;
    ret_thread->gs_base = thread->regs.gs_base;
    save_name(tracee, at, ret_thread);
    return build_frame(thread, altstack, frame_at, frame, err);
}

/* ------------------------------------------------------------------ the end */

int tracee_jump(const struct tracee *tracee, uint64_t entry, uint64_t argument, uint64_t stack,
                struct err *err)
{
    struct user_regs_struct regs = tracee->threads[0].regs;
    pid_t tid = tracee->pid;

    regs.rip = entry;
    regs.rdi = argument;
    regs.rsp = stack - 8; /* as behind a call */
    regs.eflags = PLAIN_FLAGS;
    regs.rax = 0;
    regs.orig_rax = (uint64_t)-1;
    if (!write_registers(tid, &regs) || ptrace(PTRACE_CONT, tid, 0L, 0L) < 0)
        return err_set(err, ERR_SYSTEM, errno, "starting the restorer");
    return 0;
}

void tracee_release(struct tracee *tracee)
{
    for (size_t i = 0; i < tracee->count; i++) {
        struct tracee_thread *thread = &tracee->threads[i];

        if (thread->blocked)
            (void)ptrace(PTRACE_SETSIGMASK, thread->tid, sizeof thread->mask, &thread->mask);
        (void)ptrace(PTRACE_DETACH, thread->tid, 0L, 0L);
    }
    tracee->count = 0;
}

void tracee_kill(struct tracee *tracee)
{
    int status;

    (void)kill(tracee->pid, SIGKILL);
    while (waitpid(-1, &status, __WALL) > 0 || errno == EINTR)
        continue;
    tracee->count = 0;
}
