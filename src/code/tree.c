#include "code/tree_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

int tree_each(int dir_fd, int (*each)(int dir_fd, const char *name, void *ctx), void *ctx)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    int result = 0;

    if (!dir) {
        result = -errno;
        if (fd >= 0)
            (void)close(fd);
        return result;
    }
    while (result == 0) {
        struct dirent *entry;

        errno = 0;
        entry = readdir(dir);
        if (!entry) {
            result = -errno;
            break;
        }
        if (!is_dots(entry->d_name))
            result = each(dir_fd, entry->d_name, ctx);
    }
    (void)closedir(dir);
    return result;
}

static int remove_one(int dir_fd, const char *name, void *ctx)
{
    (void)ctx;
    return tree_remove(dir_fd, name);
}

int tree_remove(int dir_fd, const char *name)
{
    int fd, result;

    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -errno;
    fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    result = tree_each(fd, remove_one, NULL);
    (void)close(fd);
    if (result == 0 && unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        result = -errno;
    return result;
}
