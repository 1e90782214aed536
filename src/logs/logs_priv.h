#pragma once

/* What writers and readers of the log folder share. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LOGS_MAX_EVENT_BYTES = 256 * 1024,
    LOGS_MAX_STREAM_BYTES = 512,
    /* Time, two tabs, stream and mark: what a line may have beside its message. */
    LOGS_MAX_LINE_BYTES = LOGS_MAX_EVENT_BYTES + LOGS_MAX_STREAM_BYTES + 64,
    LOGS_MAX_NAME_BYTES = 140,
    LOGS_MAX_SEGMENTS = 65536,
    LOGS_FILE_NAME_BYTES = 21, /* 16 digits, ".log", NUL */
};

struct logs;

/** DIR/logs, borrowed. */
int logs_folder(const struct logs *logs);
bool logs_has_writer(const struct logs *logs, const char *function);

/** True for what a function may be called; nothing else becomes a folder. */
bool logs_name_ok(const char *function);

struct logs_segment {
    uint64_t start; /* offset in the function's log */
    uint64_t size;
};
/** The files of a function's folder, oldest first. The caller frees ret_segments. Returns 0; 1 when the list
 * is not whole, because files were deleted while they were looked at; negative errno. */
int logs_segments(int folder_fd, struct logs_segment **ret_segments, size_t *ret_count);
void logs_file_name(uint64_t start, char out[LOGS_FILE_NAME_BYTES]);
