#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "logs/logs_priv.h"

enum { LIST_ATTEMPTS = 8 };

bool logs_name_ok(const char *function)
{
    size_t len = strnlen(function, LOGS_MAX_NAME_BYTES + 1);

    for (size_t i = 0; i < len; i++) {
        char c = function[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
              c == '_'))
            return false;
    }
    return len > 0 && len <= LOGS_MAX_NAME_BYTES;
}

void logs_file_name(uint64_t start, char out[LOGS_FILE_NAME_BYTES])
{
    (void)snprintf(out, LOGS_FILE_NAME_BYTES, "%016" PRIx64 ".log", start);
}

static bool read_file_name(const char *name, uint64_t *ret_start)
{
    uint64_t start = 0;

    if (strlen(name) != LOGS_FILE_NAME_BYTES - 1 || strcmp(name + 16, ".log") != 0)
        return false;
    for (size_t i = 0; i < 16; i++) {
        char c = name[i];

        if (c >= '0' && c <= '9')
            start = start << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            start = start << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *ret_start = start;
    return true;
}

static int compare_segments(const void *left, const void *right)
{
    const struct logs_segment *a = left, *b = right;

    return (a->start > b->start) - (a->start < b->start);
}

static int grow(struct logs_segment **list, size_t count, size_t *room)
{
    size_t wanted = *room ? *room * 2 : 16;
    struct logs_segment *grown;

    if (count < *room)
        return 0;
    if (count >= LOGS_MAX_SEGMENTS)
        return -E2BIG;
    grown = realloc(*list, wanted * sizeof *grown);
    if (!grown)
        return -ENOMEM;
    *list = grown;
    *room = wanted;
    return 0;
}

/* Returns 1 when some were deleted while they were looked at. */
static int collect(DIR *folder, struct logs_segment **list, size_t *ret_count)
{
    const struct dirent *entry;
    size_t room = 0;
    int torn = 0;

    *ret_count = 0;
    while ((entry = readdir(folder))) {
        struct stat info;
        uint64_t start = 0;
        int result;

        if (!read_file_name(entry->d_name, &start))
            continue;
        /* The writer may be deleting the oldest ones meanwhile. */
        if (fstatat(dirfd(folder), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) < 0) {
            torn = 1;
            continue;
        }
        if (!S_ISREG(info.st_mode))
            continue;
        result = grow(list, *ret_count, &room);
        if (result < 0)
            return result;
        (*list)[(*ret_count)++] = (struct logs_segment){ start, (uint64_t)info.st_size };
    }
    return torn;
}

static int list_once(int folder_fd, struct logs_segment **ret_segments, size_t *ret_count)
{
    /* A descriptor of its own: one that is shared has one position for all. */
    int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct logs_segment *list = NULL;
    DIR *folder;
    size_t count = 0;
    int result;

    if (fd < 0)
        return -errno;
    folder = fdopendir(fd);
    if (!folder) {
        result = -errno;
        (void)close(fd);
        return result;
    }
    result = collect(folder, &list, &count);
    (void)closedir(folder);
    if (result < 0) {
        free(list);
        return result;
    }
    if (count > 0)
        qsort(list, count, sizeof *list, compare_segments);
    *ret_segments = list;
    *ret_count = count;
    return result;
}

int logs_segments(int folder_fd, struct logs_segment **ret_segments, size_t *ret_count)
{
    int result = list_once(folder_fd, ret_segments, ret_count);

    for (int i = 1; i < LIST_ATTEMPTS && result == 1; i++) {
        free(*ret_segments);
        *ret_segments = NULL;
        result = list_once(folder_fd, ret_segments, ret_count);
    }
    return result;
}
