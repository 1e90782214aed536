/* Texts of /proc: whatever they say, nothing is read behind their end. The first byte chooses the file. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "template/proc.h"

static bool count(const struct proc_area *area, void *ctx)
{
    size_t *bytes = ctx;

    *bytes += area->name_len > 0 && area->name[area->name_len - 1] == ']';
    return *bytes < 1000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct proc_fdinfo info;
    struct proc_status status;
    size_t names = 0;
    char *text;

    if (size == 0)
        return 0;
    text = malloc(size);
    if (!text)
        return 0;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    switch (data[0] % 4) {
    case 0:
        (void)proc_parse_status(text, &status);
        break;
    case 1:
        (void)proc_parse_smaps(text, count, &names);
        break;
    case 2:
        (void)proc_parse_fdinfo(text, &info);
        break;
    default:
        (void)proc_fd_kind(text);
        (void)proc_link_inode(text, "pipe");
        break;
    }
    free(text);
    return 0;
}
