/*
 * Preloaded into a template's Node: lays V8's heap close together.
 *
 * V8 asks for each piece of its heap (256 KiB) at a random address of its own, so that each needs three pages
 * of page tables for itself, which fork() copies into every clone: 0.4 MiB of 0.65. Without its wish the
 * kernel puts the piece beside the one before. Where the whole heap lies stays random. What V8 needs at a
 * certain place, near its code, is larger, and gets it.
 */

#undef _FILE_OFFSET_BITS /* both names are wanted: with it one is renamed to the other */
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LARGEST_PIECE = 4 << 20 };

void *mmap(void *address, size_t len, int protection, int flags, int fd, off_t offset)
{
    if (fd < 0 && len <= LARGEST_PIECE && !(flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)))
        address = NULL;
    return (void *)syscall(SYS_mmap, address, len, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t len, int protection, int flags, int fd, off64_t offset)
    __attribute__((alias("mmap")));
