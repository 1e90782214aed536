#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "store/db_priv.h"

#define COLUMNS                                                                                           \
    "number, document, config_id, revision_id, code_sha256, code_bytes, pending, update_status, serving," \
    " serving_config_id, serving_code, origin_description, snapshot, snapshot_reason"

void store_version_done(struct store_version *version)
{
    free(version->document);
    free(version->serving);
    free(version->origin_description);
    free(version->snapshot_reason);
    version->document = version->serving = version->origin_description = version->snapshot_reason = NULL;
}

static int read_row(sqlite3_stmt *row, struct store_version *ret_version, struct err *err)
{
    struct store_version version = {
        .number = sqlite3_column_int64(row, 0),
        .code.size_bytes = (uint64_t)sqlite3_column_int64(row, 5),
        .pending = sqlite3_column_int(row, 6) != 0,
        .update = (enum store_update)sqlite3_column_int(row, 7),
        .snapshot = (enum store_snapshot)sqlite3_column_int(row, 12),
    };
    int result = db_strdup(row, 1, &version.document, err);

    db_text(row, 2, version.config_id, sizeof version.config_id);
    db_text(row, 3, version.revision_id, sizeof version.revision_id);
    db_text(row, 4, version.code.sha256, sizeof version.code.sha256);
    if (result == 0)
        result = db_strdup(row, 8, &version.serving, err);
    db_text(row, 9, version.serving_config_id, sizeof version.serving_config_id);
    db_text(row, 10, version.serving_code, sizeof version.serving_code);
    if (result == 0)
        result = db_strdup(row, 11, &version.origin_description, err);
    if (result == 0)
        result = db_strdup(row, 13, &version.snapshot_reason, err);
    if (result < 0)
        store_version_done(&version);
    else
        *ret_version = version;
    return result;
}

static int find(struct store *store, const char *sql, int64_t function_id, int64_t number,
                struct store_version *ret_version, struct err *err)
{
    AUTO_STMT *row = NULL;
    int result = db_prepare(store, &row, err, sql, "ii", function_id, number);

    if (result == 0)
        result = db_step(store, row, err);
    if (result <= 0)
        return result;
    result = read_row(row, ret_version, err);
    return result < 0 ? result : 1;
}

int store_version_find(struct store *store, int64_t function_id, int64_t number,
                       struct store_version *ret_version, struct err *err)
{
    return find(store, "SELECT " COLUMNS " FROM version WHERE function_id = ? AND number = ?", function_id,
                number, ret_version, err);
}

int store_version_last(struct store *store, int64_t function_id, struct store_version *ret_version,
                       struct err *err)
{
    return find(store,
                "SELECT " COLUMNS
                " FROM version WHERE function_id = ? AND number > ? ORDER BY number DESC LIMIT 1",
                function_id, 0, ret_version, err);
}

int store_version_put(struct store *store, int64_t function_id, const struct store_version *version,
                      struct err *err)
{
    return db_run(store, err,
                  "INSERT OR REPLACE INTO version (function_id, " COLUMNS
                  ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                  "iittttiiittttit", function_id, version->number, version->document, version->config_id,
                  version->revision_id, version->code.sha256, (int64_t)version->code.size_bytes,
                  (int64_t)version->pending, (int64_t)version->update, version->serving,
                  version->serving_config_id, version->serving_code, version->origin_description,
                  (int64_t)version->snapshot, version->snapshot_reason);
}

int store_version_remove(struct store *store, int64_t function_id, int64_t number, struct err *err)
{
    return db_run(store, err, "DELETE FROM version WHERE function_id = ? AND number = ?", "ii", function_id,
                  number);
}

int store_version_each(struct store *store, int64_t function_id, int64_t from, size_t limit,
                       int (*each)(const struct store_version *version, void *ctx), void *ctx,
                       struct err *err)
{
    AUTO_STMT *row = NULL;
    int result = db_prepare(store, &row, err,
                            "SELECT " COLUMNS
                            " FROM version WHERE function_id = ? AND number >= ? ORDER BY number LIMIT ?",
                            "iii", function_id, from, (int64_t)limit);

    while (result == 0 && (result = db_step(store, row, err)) == 1) {
        struct store_version version;

        result = read_row(row, &version, err);
        if (result < 0)
            return result;
        result = each(&version, ctx);
        store_version_done(&version);
    }
    return result;
}

int store_code_each(struct store *store, int (*each)(const char *sha256, void *ctx), void *ctx,
                    struct err *err)
{
    AUTO_STMT *row = NULL;
    int result = db_prepare(store, &row, err,
                            "SELECT code_sha256 FROM version UNION SELECT serving_code FROM version"
                            " WHERE serving IS NOT NULL",
                            "");

    while (result == 0 && (result = db_step(store, row, err)) == 1) {
        char sha256[STORE_DIGEST_BYTES];

        db_text(row, 0, sha256, sizeof sha256);
        result = each(sha256, ctx);
    }
    return result;
}
