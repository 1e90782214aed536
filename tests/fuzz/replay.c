/*
 * Runs a fuzz target over saved inputs, without libFuzzer: each argument is a file, or a folder of files.
 * Prints how many there were; fails when there were none or one could not be read.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t replayed;

static int replay_file(int dir_fd, const char *name)
{
    AUTO_FD int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    AUTO_FREE uint8_t *data = NULL;
    struct stat info;

    if (fd < 0 || fstat(fd, &info) < 0)
        return -errno;
    /* Exactly as large as the input, so that a sanitizer sees reads behind its end. */
    data = malloc((size_t)info.st_size + (info.st_size == 0));
    if (!data || read(fd, data, (size_t)info.st_size) != info.st_size)
        return -EIO;
    (void)LLVMFuzzerTestOneInput(data, (size_t)info.st_size);
    replayed++;
    return 0;
}

static int replay_folder(DIR *folder)
{
    const struct dirent *entry;
    int result = 0;

    while (result == 0 && (entry = readdir(folder))) {
        if (entry->d_name[0] != '.')
            result = replay_file(dirfd(folder), entry->d_name);
    }
    return result;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        int result = folder ? replay_folder(folder) : replay_file(AT_FDCWD, argv[i]);

        if (folder)
            (void)closedir(folder);
        if (result < 0) {
            (void)fprintf(stderr, "%s: %s\n", argv[i], strerror(-result));
            return 1;
        }
    }
    (void)printf("%zu inputs replayed\n", replayed);
    return replayed > 0 ? 0 : 1;
}
