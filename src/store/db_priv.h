#pragma once

/* SQL with as little ceremony as it takes. */

#include <sqlite3.h>
#include <stdarg.h>

#include "store/store.h"

struct store;

static inline void auto_finalize_(sqlite3_stmt **statement)
{
    (void)sqlite3_finalize(*statement);
}
#define AUTO_STMT __attribute__((cleanup(auto_finalize_))) sqlite3_stmt

/** Prepares sql and binds one value per letter of types: t text (may be NULL), i int64_t, d double. Texts
 * stay borrowed until the statement is done. */
int db_prepare(struct store *store, sqlite3_stmt **ret_statement, struct err *err, const char *sql,
               const char *types, ...);
/** The next row: 1, or 0 when there is none. */
int db_step(struct store *store, sqlite3_stmt *statement, struct err *err);
/** Runs a statement that gives no rows. */
int db_run(struct store *store, struct err *err, const char *sql, const char *types, ...);
/** Runs a query for one number; 0 when it gives no row. */
int db_number(struct store *store, int64_t *ret_number, struct err *err, const char *sql, const char *types,
              ...);
/** Rows changed by the last statement. */
int db_changes(const struct store *store);

/** Copies a text column, cut to size; "" for NULL. */
void db_text(sqlite3_stmt *statement, int column, char *out, size_t size);
/** A copy of a text column, NULL for NULL. Returns 0 or -ENOMEM with err filled. */
int db_strdup(sqlite3_stmt *statement, int column, char **ret_text, struct err *err);
