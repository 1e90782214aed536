#include "template/proc_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { FIRST_BYTES = 4096, PATH_BYTES = 128 };

/* Some files are read at once or not at all consistently: as few reads as possible. */
char *proc_read(size_t max_bytes, const char *format, ...)
{
    char path[PATH_BYTES];
    size_t room = FIRST_BYTES, len = 0;
    va_list args;

    va_start(args, format);
    (void)vsnprintf(path, sizeof path, format, args);
    va_end(args);

    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    AUTO_FREE char *text = fd < 0 ? NULL : malloc(room);

    while (text) {
        ssize_t n = read(fd, text + len, room - len - 1);
        char *grown;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return NULL;
        len += (size_t)n;
        text[len] = '\0';
        if (n == 0)
            return TAKE_PTR(text);
        if (room - len > 1)
            continue;
        if (room > max_bytes) {
            errno = EFBIG;
            return NULL;
        }
        grown = realloc(text, room * 2);
        if (!grown)
            return NULL;
        text = grown;
        room *= 2;
    }
    return NULL;
}
