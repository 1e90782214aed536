#pragma once

/* A table for people: columns as wide as they must be. */

#include <stdbool.h>
#include <stddef.h>

struct buf;

enum { TABLE_COLUMNS = 10 };

struct table {
    size_t columns;
    bool right[TABLE_COLUMNS]; /* numbers */
    char **cells;              /* owned, row by row; the first row is the head */
    size_t count, room;
    bool failed;
};

/** Each argument is borrowed; a head that begins with '>' makes a column of numbers. Ends with NULL. */
void table_init(struct table *table, const char *head, ...) __attribute__((sentinel));
/** Appends one cell; cells fill rows from left to right. NULL is "-". */
void table_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** Appends the table as text; bold around the head when on. Control characters become '?'. */
void table_write(const struct table *table, bool colour, struct buf *out);
void table_done(struct table *table);
#define AUTO_TABLE __attribute__((cleanup(table_done)))
