#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "code/code.h"

/* Any bytes as an archive: a refusal leaves nothing, and nothing ever appears beside the code folder. */

static char folder[64];
static int folder_fd = -1;

static void set_up(void)
{
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

    (void)snprintf(folder, sizeof folder, "%s/irori-fuzz-XXXXXX", base);
    if (!mkdtemp(folder))
        abort();
    (void)strncat(folder, "/code", sizeof folder - strlen(folder) - 1);
    if (mkdir(folder, 0755) < 0)
        abort();
    folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder_fd < 0)
        abort();
}

static void clean_up(void)
{
    char parent[64], lock[80];

    (void)code_sweep(folder_fd, NULL, 0, NULL);
    (void)snprintf(lock, sizeof lock, "%s/.lock", folder);
    (void)unlink(lock);
    (void)snprintf(parent, sizeof parent, "%s", folder);
    *strrchr(parent, '/') = '\0';
    /* Fails, and so does the run, when anything is left. */
    if (rmdir(folder) < 0 || rmdir(parent) < 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct code_package package;
    struct err err = { 0 };
    enum code_status status;

    if (folder_fd < 0) {
        set_up();
        (void)atexit(clean_up);
    }
    status = code_add(folder_fd, data, size, &package, &err);
    if (status == CODE_SYSTEM && err.sys != 0 && err.sys != 36 /* ENAMETOOLONG */)
        abort();
    if (status == CODE_OK && code_sweep(folder_fd, NULL, 0, &err) < 0)
        abort();
    return 0;
}
