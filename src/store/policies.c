#include <stdlib.h>

#include "base/err.h"
#include "store/db_priv.h"

void store_policy_done(struct store_policy *policy)
{
    free(policy->statements);
    policy->statements = NULL;
}

static int read_row(sqlite3_stmt *row, struct store_policy *ret_policy, struct err *err)
{
    struct store_policy policy = { .statements = NULL };
    int result = db_strdup(row, 1, &policy.statements, err);

    db_text(row, 0, policy.qualifier, sizeof policy.qualifier);
    db_text(row, 2, policy.revision_id, sizeof policy.revision_id);
    if (result == 0)
        *ret_policy = policy;
    return result;
}

int store_policy_find(struct store *store, int64_t function_id, const char *qualifier,
                      struct store_policy *ret_policy, struct err *err)
{
    AUTO_STMT *row = NULL;
    int result = db_prepare(
        store, &row, err,
        "SELECT qualifier, statements, revision_id FROM policy WHERE function_id = ? AND qualifier = ?", "it",
        function_id, qualifier);

    if (result == 0)
        result = db_step(store, row, err);
    if (result <= 0)
        return result;
    result = read_row(row, ret_policy, err);
    return result < 0 ? result : 1;
}

int store_policy_put(struct store *store, int64_t function_id, const struct store_policy *policy,
                     struct err *err)
{
    return db_run(store, err, "INSERT OR REPLACE INTO policy VALUES (?, ?, ?, ?)", "ittt", function_id,
                  policy->qualifier, policy->statements, policy->revision_id);
}

int store_policy_remove(struct store *store, int64_t function_id, const char *qualifier, struct err *err)
{
    return db_run(store, err, "DELETE FROM policy WHERE function_id = ? AND qualifier = ?", "it", function_id,
                  qualifier);
}

int store_policy_each(struct store *store, int64_t function_id,
                      int (*each)(const struct store_policy *policy, void *ctx), void *ctx, struct err *err)
{
    AUTO_STMT *row = NULL;
    int result = db_prepare(
        store, &row, err,
        "SELECT qualifier, statements, revision_id FROM policy WHERE function_id = ? ORDER BY qualifier", "i",
        function_id);

    while (result == 0 && (result = db_step(store, row, err)) == 1) {
        struct store_policy policy;

        result = read_row(row, &policy, err);
        if (result < 0)
            return result;
        result = each(&policy, ctx);
        store_policy_done(&policy);
    }
    return result;
}
