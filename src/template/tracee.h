#pragma once

/*
 * A process held still: its threads under ptrace, their registers, and system calls made in their name.
 *
 * Everything read from it is hostile. After tracee_stop() none of its instructions runs but those that
 * tracee_call() injects, each of which is checked to be the one that was meant. Context: the capturing
 * process, which does nothing else.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "template/format.h"

struct err;

struct tracee_thread {
    pid_t tid;     /* as we see it */
    uint64_t mask; /* of signals; when blocked, all of them are while it is held */
    bool blocked;
    uint64_t call; /* the number of its system call, also when the kernel says restart_syscall() by now */
    struct user_regs_struct regs;
};

struct tracee {
    pid_t pid;
    struct tracee_thread threads[TEMPLATE_MAX_THREADS]; /* the main thread first */
    size_t count;
    uint64_t syscall_at; /* address of an instruction that calls the kernel */
};

/** Seizes and stops every thread, each inside a system call and without a signal to handle; takes its
 * restartable sequence away and blocks its signals. What does not come to rest at once is given up to half a
 * second. */
int tracee_stop(struct tracee *tracee, pid_t pid, struct err *err);
/** Makes one system call in a thread; the thread's registers are as before afterwards. Returns 0 and the
 * kernel's result. */
int tracee_call(const struct tracee *tracee, size_t thread, long number, const uint64_t args[6],
                int64_t *ret_result, struct err *err);
int tracee_read(const struct tracee *tracee, uint64_t at, void *data, size_t len);
int tracee_write(const struct tracee *tracee, uint64_t at, const void *data, size_t len);
/** What restores the thread as it is: fills the thread and its frame, which will stand at frame_at. scratch:
 * writable memory of the process, 64 bytes. */
int tracee_save(const struct tracee *tracee, size_t thread, uint64_t scratch, uint64_t frame_at,
                struct template_thread *ret_thread, uint8_t frame[TEMPLATE_FRAME_BYTES], struct err *err);
/** Lets the main thread go on at entry, with every signal still blocked; the others stay where they are. */
int tracee_jump(const struct tracee *tracee, uint64_t entry, uint64_t argument, uint64_t stack,
                struct err *err);
/** Lets it go as if nothing had been. */
void tracee_release(struct tracee *tracee);
/** Kills it and waits for the end of every thread. */
void tracee_kill(struct tracee *tracee);
