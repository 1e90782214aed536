/*
 * Preloaded into a template's Node: lays V8's heap close together.
 *
 * V8 asks for each piece of its heap (256 KiB) at a random address of its own, so that each needs three pages
 * of page tables for itself, which fork() copies into every clone. Here the pieces stand in a row from an
 * address on that the kernel has chosen, so that they fill huge pages, too. What V8 needs at a certain place,
 * near its code, is larger, and gets it; so does what comes when the row is full.
 */

#undef _FILE_OFFSET_BITS /* both names are wanted: with it one is renamed to the other */
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PIECE = 256 << 10, HUGE = 2 << 20, LARGEST = 4 << 20, ATTEMPTS = 8 };
static const size_t row_bytes = (size_t)1 << 30;

static _Atomic(uintptr_t) row_at, row_end;

static void *map(void *address, size_t len, int protection, int flags, int fd, off_t offset)
{
    return (void *)syscall(SYS_mmap, address, len, protection, flags, fd, offset);
}

/* The place is only looked for: whoever else maps something there is evaded. */
static void find_row(void)
{
    uintptr_t at = (uintptr_t)map(NULL, row_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                                  0),
              none = 0;

    if (at == (uintptr_t)MAP_FAILED)
        return;
    (void)syscall(SYS_munmap, at, row_bytes);
    atomic_store(&row_end, at + row_bytes);
    (void)atomic_compare_exchange_strong(&row_at, &none, (at + HUGE - 1) / HUGE * HUGE);
}

/* V8 asks for more than it needs, to find an aligned piece in it, and gives the rest back. */
static size_t kept_of(size_t len)
{
    size_t kept = len > PIECE ? len - (PIECE - 4096) : len;

    return (kept + PIECE - 1) / PIECE * PIECE;
}

static void *map_in_row(size_t len, int protection, int flags, off_t offset)
{
    if (atomic_load(&row_at) == 0)
        find_row();
    for (int i = 0; i < ATTEMPTS; i++) {
        uintptr_t at = atomic_fetch_add(&row_at, kept_of(len));
        void *result;

        if (at == 0 || at + len > atomic_load(&row_end))
            break;
        result = map((void *)at, len, protection, flags | MAP_FIXED_NOREPLACE, -1, offset);
        if (result != MAP_FAILED)
            return result;
    }
    return map(NULL, len, protection, flags, -1, offset);
}

void *mmap(void *address, size_t len, int protection, int flags, int fd, off_t offset)
{
    if (address && fd < 0 && len <= LARGEST && !(flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)))
        return map_in_row(len, protection, flags, offset);
    return map(address, len, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t len, int protection, int flags, int fd, off64_t offset)
    __attribute__((alias("mmap")));
