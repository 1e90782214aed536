#include "store/db_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "store/schema_priv.h"

enum { PATH_BYTES = 128, BUSY_TIMEOUT_MS = 5000 };
#define VFS_NAME "irori"

struct store {
    sqlite3 *db;          /* owned */
    pthread_mutex_t lock; /* held from store_begin() to store_end() */
    int dir_fd;           /* owned; the database's path leads through it */
};

/* SQLite's own would resolve /proc/self/fd/N to a path whose parents we may not enter. */
static int keep_path(sqlite3_vfs *vfs, const char *name, int size, char *out)
{
    (void)vfs;
    return snprintf(out, (size_t)size, "%s", name) < size ? SQLITE_OK : SQLITE_CANTOPEN;
}

/* SQLite keeps a pointer to it for good, hence static. */
static sqlite3_vfs path_vfs;
static pthread_once_t path_vfs_once = PTHREAD_ONCE_INIT;

static void register_vfs(void)
{
    const sqlite3_vfs *unix_vfs = sqlite3_vfs_find(NULL);

    if (!unix_vfs)
        return;
    path_vfs = *unix_vfs;
    path_vfs.pNext = NULL;
    path_vfs.zName = VFS_NAME;
    path_vfs.xFullPathname = keep_path;
    (void)sqlite3_vfs_register(&path_vfs, 0);
}

static enum err_code code_of(int result)
{
    return (result & 255) == SQLITE_FULL ? ERR_LIMIT : ERR_SYSTEM;
}

static int fail(struct store *store, struct err *err, const char *what)
{
    int result = sqlite3_extended_errcode(store->db);

    return err_set(err, code_of(result), 0, "database: %s: %s", what, sqlite3_errmsg(store->db));
}

static int bind_all(sqlite3_stmt *statement, const char *types, va_list args)
{
    int result = SQLITE_OK;

    for (int i = 0; types[i] && result == SQLITE_OK; i++) {
        if (types[i] == 't')
            result = sqlite3_bind_text(statement, i + 1, va_arg(args, const char *), -1, SQLITE_STATIC);
        else if (types[i] == 'd')
            result = sqlite3_bind_double(statement, i + 1, va_arg(args, double));
        else
            result = sqlite3_bind_int64(statement, i + 1, va_arg(args, int64_t));
    }
    return result;
}

static int prepare(struct store *store, sqlite3_stmt **ret_statement, struct err *err, const char *sql,
                   const char *types, va_list args)
{
    sqlite3_stmt *statement = NULL;

    if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) != SQLITE_OK ||
        bind_all(statement, types, args) != SQLITE_OK) {
        int result = fail(store, err, "prepare");

        (void)sqlite3_finalize(statement);
        return result;
    }
    *ret_statement = statement;
    return 0;
}

int db_prepare(struct store *store, sqlite3_stmt **ret_statement, struct err *err, const char *sql,
               const char *types, ...)
{
    va_list args;
    int result;

    va_start(args, types);
    result = prepare(store, ret_statement, err, sql, types, args);
    va_end(args);
    return result;
}

int db_step(struct store *store, sqlite3_stmt *statement, struct err *err)
{
    int result = sqlite3_step(statement);

    if (result == SQLITE_ROW)
        return 1;
    return result == SQLITE_DONE ? 0 : fail(store, err, "step");
}

int db_run(struct store *store, struct err *err, const char *sql, const char *types, ...)
{
    AUTO_STMT *statement = NULL;
    va_list args;
    int result;

    va_start(args, types);
    result = prepare(store, &statement, err, sql, types, args);
    va_end(args);
    if (result < 0)
        return result;
    result = db_step(store, statement, err);
    return result < 0 ? result : 0;
}

int db_number(struct store *store, int64_t *ret_number, struct err *err, const char *sql, const char *types,
              ...)
{
    AUTO_STMT *statement = NULL;
    va_list args;
    int result;

    va_start(args, types);
    result = prepare(store, &statement, err, sql, types, args);
    va_end(args);
    if (result < 0)
        return result;
    result = db_step(store, statement, err);
    if (result < 0)
        return result;
    *ret_number = result == 1 ? sqlite3_column_int64(statement, 0) : 0;
    return 0;
}

int db_changes(const struct store *store)
{
    return sqlite3_changes(store->db);
}

void db_text(sqlite3_stmt *statement, int column, char *out, size_t size)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);

    (void)snprintf(out, size, "%s", text ? text : "");
}

int db_strdup(sqlite3_stmt *statement, int column, char **ret_text, struct err *err)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);

    *ret_text = text ? strdup(text) : NULL;
    if (!*ret_text && sqlite3_column_type(statement, column) != SQLITE_NULL)
        return err_set(err, ERR_SYSTEM, ENOMEM, "database: copy a text");
    return 0;
}

static int execute(struct store *store, const char *sql, struct err *err)
{
    return sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(store, err, "execute");
}

static int migrate_one(struct store *store, int64_t step, struct err *err)
{
    char pragma[64];
    int result = execute(store, "BEGIN IMMEDIATE", err);

    if (result < 0)
        return result;
    (void)snprintf(pragma, sizeof pragma, "PRAGMA user_version = %lld", (long long)step + 1);
    result = execute(store, schema_steps[step], err);
    if (result == 0)
        result = execute(store, pragma, err);
    if (result == 0)
        result = execute(store, "COMMIT", err);
    if (result < 0)
        (void)sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    return result;
}

static int migrate(struct store *store, struct err *err)
{
    int64_t version;
    int result = db_number(store, &version, err, "PRAGMA user_version", "");

    if (result == 0 && version > SCHEMA_STEP_COUNT)
        return err_set(
            err, ERR_CONFLICT, 0,
            "the database has schema %lld, this program knows up to %d: it was used by a newer Irori",
            (long long)version, SCHEMA_STEP_COUNT);
    for (int64_t step = version; result == 0 && step < SCHEMA_STEP_COUNT; step++)
        result = migrate_one(store, step, err);
    return result;
}

/* Made by us first, since SQLite would let everybody read it. */
static int make_file(int dir_fd, const char *name, struct err *err)
{
    AUTO_FD int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    return fd < 0 ? err_set(err, ERR_SYSTEM, errno, "cannot open the database %s", name) : 0;
}

static int open_database(struct store *store, const char *name, struct err *err)
{
    char path[PATH_BYTES];
    int result = make_file(store->dir_fd, name, err);

    if (result < 0)
        return result;
    (void)pthread_once(&path_vfs_once, register_vfs);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d/%s", store->dir_fd, name);
    if (sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, VFS_NAME) != SQLITE_OK)
        return store->db ? fail(store, err, "open")
                         : err_set(err, ERR_SYSTEM, ENOMEM, "cannot open the database");
    (void)sqlite3_busy_timeout(store->db, BUSY_TIMEOUT_MS);
    result =
        execute(store,
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                "PRAGMA trusted_schema = OFF; PRAGMA cache_size = -1024; PRAGMA journal_size_limit = 4194304",
                err);
    return result < 0 ? result : migrate(store, err);
}

int store_open(int dir_fd, const char *name, struct store **ret_store, struct err *err)
{
    struct store *store = calloc(1, sizeof *store);
    int result;

    if (!store)
        return err_set(err, ERR_SYSTEM, ENOMEM, "cannot open the database");
    (void)pthread_mutex_init(&store->lock, NULL);
    store->dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
    result = store->dir_fd < 0 ? err_set(err, ERR_SYSTEM, errno, "cannot open the data folder")
                               : open_database(store, name, err);
    if (result < 0) {
        (void)store_free(store);
        return result;
    }
    *ret_store = store;
    return 0;
}

struct store *store_free(struct store *store)
{
    if (!store)
        return NULL;
    (void)sqlite3_close_v2(store->db);
    if (store->dir_fd >= 0)
        (void)close(store->dir_fd);
    (void)pthread_mutex_destroy(&store->lock);
    free(store);
    return NULL;
}

int store_begin(struct store *store, struct err *err)
{
    int result;

    (void)pthread_mutex_lock(&store->lock);
    result = execute(store, "BEGIN", err);
    if (result < 0)
        (void)pthread_mutex_unlock(&store->lock);
    return result;
}

int store_end(struct store *store, bool commit, struct err *err)
{
    int result = commit ? execute(store, "COMMIT", err) : 0;

    /* A failed write may have ended the transaction already. */
    if ((!commit || result < 0) && !sqlite3_get_autocommit(store->db))
        (void)sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    (void)pthread_mutex_unlock(&store->lock);
    return result;
}
