#include <stdlib.h>

#include "base/err.h"
#include "store/db_priv.h"

#define COLUMNS "qualifier, url_id, auth, mode, cors, created_ms, modified_ms"

void store_url_done(struct store_url *url)
{
    free(url->cors);
    url->cors = NULL;
}

static int read_row(sqlite3_stmt *row, struct store_url *ret_url, struct err *err)
{
    struct store_url url = {
        .created_ms = (uint64_t)sqlite3_column_int64(row, 5),
        .modified_ms = (uint64_t)sqlite3_column_int64(row, 6),
    };
    int result;

    db_text(row, 0, url.qualifier, sizeof url.qualifier);
    db_text(row, 1, url.url_id, sizeof url.url_id);
    db_text(row, 2, url.auth, sizeof url.auth);
    db_text(row, 3, url.mode, sizeof url.mode);
    result = db_strdup(row, 4, &url.cors, err);
    if (result == 0)
        *ret_url = url;
    return result;
}

int store_url_find(struct store *store, int64_t function_id, const char *qualifier, struct store_url *ret_url,
                   struct err *err)
{
    AUTO_STMT *row = NULL;
    int result =
        db_prepare(store, &row, err, "SELECT " COLUMNS " FROM url WHERE function_id = ? AND qualifier = ?",
                   "it", function_id, qualifier);

    if (result == 0)
        result = db_step(store, row, err);
    if (result <= 0)
        return result;
    result = read_row(row, ret_url, err);
    return result < 0 ? result : 1;
}

int store_url_put(struct store *store, int64_t function_id, const struct store_url *url, struct err *err)
{
    return db_run(store, err,
                  "INSERT OR REPLACE INTO url (function_id, " COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                  "itttttii", function_id, url->qualifier, url->url_id, url->auth, url->mode, url->cors,
                  (int64_t)url->created_ms, (int64_t)url->modified_ms);
}

int store_url_remove(struct store *store, int64_t function_id, const char *qualifier, struct err *err)
{
    int result = db_run(store, err, "DELETE FROM url WHERE function_id = ? AND qualifier = ?", "it",
                        function_id, qualifier);

    return result < 0 ? result : db_changes(store) > 0;
}

int store_url_each(struct store *store, int64_t function_id, const char *from, size_t limit,
                   int (*each)(const struct store_url *url, void *ctx), void *ctx, struct err *err)
{
    AUTO_STMT *row = NULL;
    int result = db_prepare(store, &row, err,
                            "SELECT " COLUMNS
                            " FROM url WHERE function_id = ? AND qualifier >= ? ORDER BY qualifier LIMIT ?",
                            "iti", function_id, from, (int64_t)limit);

    while (result == 0 && (result = db_step(store, row, err)) == 1) {
        struct store_url url;

        result = read_row(row, &url, err);
        if (result < 0)
            return result;
        result = each(&url, ctx);
        store_url_done(&url);
    }
    return result;
}
