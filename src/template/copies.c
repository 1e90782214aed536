#include "template/copies.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"

enum {
    PAGE_BYTES = 4096,
    HUGE_BYTES = 2 << 20,
    HUGE_PAGES = HUGE_BYTES / PAGE_BYTES,
    /* Of a huge page, that are there already: the rest is memory that the template would not need. */
    HUGE_WORTH = HUGE_PAGES / 2,
    MADV_COLLAPSE_ = 25, /* Linux 6.1 */
};
static const uint64_t present = UINT64_C(1) << 63; /* in /proc/PID/pagemap */

static bool is_file(const struct proc_area *area)
{
    return area->name_len > 0 && area->name[0] == '/';
}

void copies_note(struct copies *copies, const struct proc_area *area)
{
    uint64_t start = (area->start + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES,
             end = area->end / HUGE_BYTES * HUGE_BYTES;

    if (area->shared || is_file(area) || !area->writable || start >= end ||
        copies->heap_count == COPIES_MAX_HEAPS)
        return;
    copies->heaps[copies->heap_count].start = start;
    copies->heaps[copies->heap_count++].end = end;
}

static bool is_worth_it(int pagemap, uint64_t at)
{
    uint64_t pages[HUGE_PAGES];
    unsigned count = 0;

    if (pread(pagemap, pages, sizeof pages, (off_t)(at / PAGE_BYTES * sizeof *pages)) !=
        (ssize_t)sizeof pages)
        return false;
    for (size_t i = 0; i < HUGE_PAGES; i++)
        count += (pages[i] & present) != 0;
    return count >= HUGE_WORTH;
}

/* Of a huge page one entry is copied instead of 512; a clone that writes to it takes one page of it. */
void copies_cheapen(const struct copies *copies, pid_t pid)
{
    char path[64];

    (void)snprintf(path, sizeof path, "/proc/%d/pagemap", (int)pid);
    AUTO_FD int pagemap = open(path, O_RDONLY | O_CLOEXEC);
    AUTO_FD int pidfd = (int)syscall(SYS_pidfd_open, pid, 0U);

    if (pagemap < 0 || pidfd < 0)
        return;
    for (size_t i = 0; i < copies->heap_count; i++) {
        for (uint64_t at = copies->heaps[i].start; at < copies->heaps[i].end; at += HUGE_BYTES) {
            const struct iovec block = { (void *)(uintptr_t)at, HUGE_BYTES };

            if (is_worth_it(pagemap, at))
                (void)syscall(SYS_process_madvise, pidfd, &block, 1UL, MADV_COLLAPSE_, 0U);
        }
    }
}
