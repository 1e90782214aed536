#include <stdlib.h>

#include "base/err.h"
#include "store/db_priv.h"

#define COLUMNS "name, version, description, routing_version, routing_weight, revision_id"

void store_alias_done(struct store_alias *alias)
{
    free(alias->description);
    alias->description = NULL;
}

static int read_row(sqlite3_stmt *row, struct store_alias *ret_alias, struct err *err)
{
    struct store_alias alias = {
        .version = sqlite3_column_int64(row, 1),
        .routing_version = sqlite3_column_int64(row, 3),
        .routing_weight = sqlite3_column_double(row, 4),
    };
    int result;

    db_text(row, 0, alias.name, sizeof alias.name);
    db_text(row, 5, alias.revision_id, sizeof alias.revision_id);
    result = db_strdup(row, 2, &alias.description, err);
    if (result == 0)
        *ret_alias = alias;
    return result;
}

int store_alias_find(struct store *store, int64_t function_id, const char *name,
                     struct store_alias *ret_alias, struct err *err)
{
    AUTO_STMT *row = NULL;
    int result =
        db_prepare(store, &row, err, "SELECT " COLUMNS " FROM alias WHERE function_id = ? AND name = ?", "it",
                   function_id, name);

    if (result == 0)
        result = db_step(store, row, err);
    if (result <= 0)
        return result;
    result = read_row(row, ret_alias, err);
    return result < 0 ? result : 1;
}

int store_alias_put(struct store *store, int64_t function_id, const struct store_alias *alias,
                    struct err *err)
{
    return db_run(store, err,
                  "INSERT OR REPLACE INTO alias (function_id, " COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?)",
                  "ititidt", function_id, alias->name, alias->version, alias->description,
                  alias->routing_version, alias->routing_weight, alias->revision_id);
}

int store_alias_remove(struct store *store, int64_t function_id, const char *name, struct err *err)
{
    int result =
        db_run(store, err, "DELETE FROM alias WHERE function_id = ? AND name = ?", "it", function_id, name);
    int found = db_changes(store);

    if (result == 0)
        result = store_policy_remove(store, function_id, name, err);
    return result < 0 ? result : found > 0;
}

int store_alias_each(struct store *store, int64_t function_id, const char *after, int64_t version,
                     size_t limit, int (*each)(const struct store_alias *alias, void *ctx), void *ctx,
                     struct err *err)
{
    AUTO_STMT *row = NULL;
    int result = db_prepare(store, &row, err,
                            "SELECT " COLUMNS " FROM alias WHERE function_id = ?1 AND name > ?2"
                            " AND (?3 < 0 OR version = ?3 OR routing_version = ?3) ORDER BY name LIMIT ?4",
                            "itii", function_id, after, version, (int64_t)limit);

    while (result == 0 && (result = db_step(store, row, err)) == 1) {
        struct store_alias alias;

        result = read_row(row, &alias, err);
        if (result < 0)
            return result;
        result = each(&alias, ctx);
        store_alias_done(&alias);
    }
    return result;
}
