#pragma once

/*
 * Function logs in the data folder: DIR/logs/<function>/<16 hex digits>.log, one folder per function.
 *
 * A log is a sequence of events; each is one line "<wall ms>\t<stream>\t<message>\n", where '\n' never occurs
 * in a message (a writer has one event per line; '\r' inside a message is a line break for people). The
 * number in a file's name is the offset of its first byte in the function's whole log, so that an offset is a
 * cursor that survives rotation: a file that has reached segment_bytes is closed and the oldest beyond
 * max_bytes are deleted.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct logs;
struct log_writer;
struct buf;
struct err;

/** dir_fd: of DIR/logs, borrowed, must outlive. */
struct logs *logs_new(int dir_fd, uint64_t segment_bytes, uint64_t max_bytes);
struct logs *logs_free(struct logs *logs);

/** One environment's stream; counted per function inside, so that all streams of a function share its current
 * file. function and stream copied. Context: one thread for all writers of a logs object. */
struct log_writer *log_writer_new(struct logs *logs, const char *function, const char *stream,
                                  struct err *err);
/** Appends complete events: text holds lines that end in '\n' (each gets wall_ms); a line longer than 256 KiB
 * is cut with a mark. Buffers nothing: one write. Errors (disk full) are remembered and logged once per
 * minute by the caller through the return value: 0 or negative errno, and then the text is lost. */
int log_writer_append(struct log_writer *writer, uint64_t wall_ms, const char *text, size_t len);
struct log_writer *log_writer_free(struct log_writer *writer);

/** Reads events of a function from cursor on ((uint64_t)-1: the last tail_events ones), at most max_events
 * and about 1 MiB, as JSON: {"events":[{"timestamp":ms,"stream":"..","message":".."}],"next":cursor} appended
 * to out. A cursor that was rotated away continues at the oldest event; an unknown function has no events.
 * Context: any thread. */
int logs_read(int dir_fd, const char *function, uint64_t cursor, size_t tail_events, size_t max_events,
              struct buf *out, struct err *err);
/** Deletes a function's log folder. */
int logs_delete(struct logs *logs, const char *function, struct err *err);
/** Deletes the logs of functions that exist() denies, but for the keep ones that were begun or rotated last,
 * and for those that still have a writer. Context: the writers' thread; reads the whole folder. */
int logs_prune(struct logs *logs, size_t keep, bool (*exists)(const char *function, void *ctx), void *ctx,
               struct err *err);
