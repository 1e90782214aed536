#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "store/db_priv.h"

void store_function_done(struct store_function *function)
{
    free(function->tags);
    function->tags = NULL;
}

static int read_row(sqlite3_stmt *row, struct store_function *ret_function, struct err *err)
{
    struct store_function function = {
        .id = sqlite3_column_int64(row, 0),
        .uid_index = (unsigned)sqlite3_column_int64(row, 2),
        .next_version = sqlite3_column_int64(row, 3),
        .sequence = (uint64_t)sqlite3_column_int64(row, 4),
        .settling = (uint64_t)sqlite3_column_int64(row, 5),
        .reserved = sqlite3_column_int(row, 6),
        .recursion_allowed = sqlite3_column_int(row, 7) != 0,
    };
    int result;

    db_text(row, 1, function.name, sizeof function.name);
    result = db_strdup(row, 8, &function.tags, err);
    if (result == 0)
        *ret_function = function;
    return result;
}

int store_function_find(struct store *store, const char *name, struct store_function *ret_function,
                        struct err *err)
{
    AUTO_STMT *row = NULL;
    int result = db_prepare(store, &row, err,
                            "SELECT id, name, uid_index, next_version, sequence, settling, reserved,"
                            " recursion_allowed, tags FROM function WHERE name = ?",
                            "t", name);

    if (result == 0)
        result = db_step(store, row, err);
    if (result <= 0)
        return result;
    result = read_row(row, ret_function, err);
    return result < 0 ? result : 1;
}

static int next_sequence(struct store *store, uint64_t *ret_sequence, struct err *err)
{
    int result = db_run(store, err, "UPDATE counter SET value = value + 1 WHERE name = 'sequence'", "");

    return result < 0 ? result : store_sequence(store, ret_sequence, err);
}

int store_sequence(struct store *store, uint64_t *ret_sequence, struct err *err)
{
    int64_t value;
    int result = db_number(store, &value, err, "SELECT value FROM counter WHERE name = 'sequence'", "");

    if (result == 0)
        *ret_sequence = (uint64_t)value;
    return result;
}

/* Upwards first, so that a user id (and what may be left of its files) comes back as late as possible; then
 * the lowest free. */
static int take_uid(struct store *store, int64_t *ret_index, struct err *err)
{
    int64_t next;
    int result = db_number(store, &next, err, "SELECT value FROM counter WHERE name = 'uid'", "");

    if (result < 0)
        return result;
    if (next <= STORE_UID_INDEX_MAX) {
        *ret_index = next;
        return db_run(store, err, "UPDATE counter SET value = value + 1 WHERE name = 'uid'", "");
    }
    result = db_number(store, &next, err,
                       "SELECT min(free) FROM (SELECT 1 AS free UNION SELECT uid_index + 1 FROM function)"
                       " WHERE free <= ? AND free NOT IN (SELECT uid_index FROM function)",
                       "i", (int64_t)STORE_UID_INDEX_MAX);
    if (result < 0)
        return result;
    if (next == 0)
        return err_set(err, ERR_LIMIT, 0, "there are %d functions already, more is not possible",
                       STORE_UID_INDEX_MAX);
    *ret_index = next;
    return 0;
}

int store_function_add(struct store *store, const char *name, const char *tags,
                       struct store_function *ret_function, struct err *err)
{
    uint64_t sequence;
    int64_t uid = 0;
    int result = next_sequence(store, &sequence, err);

    if (result == 0)
        result = take_uid(store, &uid, err);
    if (result == 0)
        result =
            db_run(store, err, "INSERT INTO function (name, uid_index, sequence, tags) VALUES (?, ?, ?, ?)",
                   "tiit", name, uid, (int64_t)sequence, tags);
    if (result == 0)
        result = store_function_find(store, name, ret_function, err);
    return result < 0 ? result : 0;
}

int store_function_save(struct store *store, struct store_function *function, struct err *err)
{
    uint64_t sequence;
    int result = next_sequence(store, &sequence, err);

    if (result == 0)
        result = db_run(store, err,
                        "UPDATE function SET next_version = ?, sequence = ?, settling = ?, reserved = ?,"
                        " recursion_allowed = ?, tags = ? WHERE id = ?",
                        "iiiiiti", function->next_version, (int64_t)sequence, (int64_t)function->settling,
                        (int64_t)function->reserved, (int64_t)function->recursion_allowed, function->tags,
                        function->id);
    if (result == 0)
        function->sequence = sequence;
    return result;
}

int store_function_remove(struct store *store, int64_t id, struct err *err)
{
    uint64_t sequence;
    int result = next_sequence(store, &sequence, err);

    return result < 0 ? result : db_run(store, err, "DELETE FROM function WHERE id = ?", "i", id);
}

int store_function_names(struct store *store, const char *after, bool from, size_t limit,
                         int (*each)(const char *name, void *ctx), void *ctx, struct err *err)
{
    AUTO_STMT *row = NULL;
    int result = db_prepare(store, &row, err,
                            from ? "SELECT name FROM function WHERE name >= ? ORDER BY name LIMIT ?"
                                 : "SELECT name FROM function WHERE name > ? ORDER BY name LIMIT ?",
                            "ti", after, (int64_t)limit);

    while (result == 0 && (result = db_step(store, row, err)) == 1) {
        char name[STORE_NAME_BYTES];

        db_text(row, 0, name, sizeof name);
        result = each(name, ctx);
    }
    return result;
}

int store_usage(struct store *store, const char *but, struct store_usage *ret_usage, struct err *err)
{
    int64_t functions, bytes, reserved;
    int result = db_number(store, &functions, err, "SELECT count(*) FROM function", "");

    if (result == 0)
        result = db_number(store, &bytes, err, "SELECT coalesce(sum(code_bytes), 0) FROM version", "");
    if (result == 0)
        result = db_number(store, &reserved, err,
                           "SELECT coalesce(sum(reserved), 0) FROM function WHERE reserved > 0 AND name <> ?",
                           "t", but ? but : "");
    if (result == 0)
        *ret_usage = (struct store_usage){ .functions = (uint64_t)functions,
                                           .code_bytes = (uint64_t)bytes,
                                           .reserved = (uint64_t)reserved };
    return result;
}
