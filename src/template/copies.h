#pragma once

/*
 * Makes copies of a process cheap, without changing a byte of its memory: what fork() has to copy are tables
 * of pages. Context: the capturing process, which holds the process still. Nothing here can fail to the harm
 * of more than time.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "template/proc.h"

enum { COPIES_MAX_HEAPS = 64 };

struct copies {
    struct {
        uint64_t start, end;
    } heaps[COPIES_MAX_HEAPS]; /* memory of its own, of one huge page and more */
    size_t heap_count;
};

/** Notes an area of the process. */
void copies_note(struct copies *copies, const struct proc_area *area);
/** Does it. */
void copies_cheapen(const struct copies *copies, pid_t pid);
