#pragma once

/* Time: monotonic for measuring, wall for people and protocols. */

#include <stddef.h>
#include <stdint.h>

uint64_t clock_us(void);      /* CLOCK_MONOTONIC */
uint64_t clock_wall_ms(void); /* since the epoch */

/** "2026-01-15T12:00:00.123Z"; out has at least CLOCK_ISO_BYTES. */
enum { CLOCK_ISO_BYTES = 25 };
void clock_iso(uint64_t wall_ms, char *out);
/** strftime() in UTC and the C locale; out is NUL-terminated, "" when too small. */
void clock_format(uint64_t wall_ms, const char *format, char *out, size_t size);
