#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

static const char *log_program = "irori";
static enum log_level log_lowest = LOG_INFO;

void log_init(const char *program, enum log_level lowest)
{
    log_program = program;
    log_lowest = lowest;
}

void log_line(enum log_level level, const char *format, ...)
{
    static const char *const names[] = { "debug", "info", "warn", "error" };
    char line[2048], stamp[CLOCK_ISO_BYTES];
    size_t used;
    va_list args;

    if (level < log_lowest)
        return;
    clock_iso(clock_wall_ms(), stamp);
    (void)snprintf(line, sizeof line, "%s %-5s %s: ", stamp, names[level], log_program);
    used = strlen(line);
    va_start(args, format);
    (void)vsnprintf(line + used, sizeof line - used - 1, format, args);
    va_end(args);
    /* Hostile text must not forge log lines. */
    for (char *p = line; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
    }
    used = strlen(line);
    line[used++] = '\n';
    if (write(STDERR_FILENO, line, used) < 0)
        return; /* nowhere left to report it */
}
