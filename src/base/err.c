#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, enum err_code code, int sys, const char *format, ...)
{
    if (err) {
        va_list args;
        size_t used;

        err->code = code;
        err->sys = sys;
        va_start(args, format);
        (void)vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
        used = strlen(err->text);
        if (sys > 0)
            (void)snprintf(err->text + used, sizeof err->text - used, ": %s", strerror(sys));
    }
    return sys > 0 ? -sys : -EINVAL;
}

int err_wrap(struct err *err, const char *format, ...)
{
    char inner[sizeof err->text];
    va_list args;
    size_t used;

    if (!err)
        return -EINVAL;
    memcpy(inner, err->text, sizeof inner);
    va_start(args, format);
    (void)vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    used = strlen(err->text);
    (void)snprintf(err->text + used, sizeof err->text - used, ": %s", inner);
    return err->sys > 0 ? -err->sys : -EINVAL;
}
