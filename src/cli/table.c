#include "cli/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

static void add(struct table *table, char *text)
{
    if (text && table->count == table->room) {
        size_t room = table->room ? table->room * 2 : 64;
        char **cells = realloc(table->cells, room * sizeof *cells);

        if (cells) {
            table->cells = cells;
            table->room = room;
        }
    }
    if (!text || table->count == table->room) {
        free(text);
        table->failed = true;
        return;
    }
    for (char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
    table->cells[table->count++] = text;
}

void table_init(struct table *table, const char *head, ...)
{
    va_list args;

    *table = (struct table){ 0 };
    va_start(args, head);
    for (; head && table->columns < TABLE_COLUMNS; head = va_arg(args, const char *)) {
        table->right[table->columns++] = head[0] == '>';
        add(table, strdup(head[0] == '>' ? head + 1 : head));
    }
    va_end(args);
}

void table_cell(struct table *table, const char *format, ...)
{
    va_list args;
    char *text = NULL;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    va_end(args);
    add(table, text);
}

/* In characters: bytes that do not continue one. */
static size_t width(const char *text)
{
    size_t count = 0;

    for (; *text != '\0'; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

static void pad(struct buf *out, size_t count)
{
    (void)buf_printf(out, "%*s", (int)count, "");
}

void table_write(const struct table *table, bool colour, struct buf *out)
{
    size_t widths[TABLE_COLUMNS] = { 0 };

    for (size_t i = 0; i < table->count; i++) {
        size_t wide = width(table->cells[i]), *widest = &widths[i % table->columns];

        *widest = wide > *widest ? wide : *widest;
    }
    for (size_t i = 0; i < table->count; i++) {
        size_t column = i % table->columns, room = widths[column] - width(table->cells[i]);
        bool last = column + 1 == table->columns;

        (void)buf_puts(out, colour && i == 0 ? "\033[1m" : "");
        if (table->right[column])
            pad(out, room);
        (void)buf_puts(out, table->cells[i]);
        if (!last && !table->right[column])
            pad(out, room);
        (void)buf_puts(out, colour && i + 1 == table->columns ? "\033[0m" : "");
        (void)buf_puts(out, last ? "\n" : "  ");
    }
}

void table_done(struct table *table)
{
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i]);
    free(table->cells);
    *table = (struct table){ 0 };
}
