/* The store's file: made whole or not at all, looked at before SQLite may touch it, checked before it is believed. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <sqlite3.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "controller/store.h"
#include "controller/store_file.h"

enum {
    APPLICATION_ID = 0x43727631, /* "Crv1", for file(1) and for us */
    FORMAT = 1,                  /* user_version */
    CHECK_MS = 100,              /* quick_check: a store is checked within this, a much larger one in part */
    PATH_MAX_BYTES = 4096
};

static const char schema_sql[] = "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"
                                 "CREATE TABLE record(seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL,"
                                 " key TEXT NOT NULL, value TEXT NOT NULL, UNIQUE(kind, key)) STRICT;"
                                 "CREATE TABLE audit(seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL,"
                                 " value TEXT NOT NULL) STRICT;";

/* ---- results ---- */

static bool out_of_space(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

/* What the system said of the file that an I/O error was about: SQLite tells a full disk apart by itself, but not a quota. */
static int last_error(sqlite3 *db)
{
    sqlite3_file *wal = NULL;
    int error = 0;

    sqlite3_file_control(db, "main", SQLITE_FCNTL_LAST_ERRNO, &error);
    if (!error && sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal) == SQLITE_OK && wal &&
        wal->pMethods)
        wal->pMethods->xFileControl(wal, SQLITE_FCNTL_LAST_ERRNO, &error);
    return error ? error : sqlite3_system_errno(db);
}

int store_outcome(sqlite3 *db, int rc)
{
    int error;

    switch (rc & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return STORE_E_DAMAGED;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return STORE_E_LOCKED;
    case SQLITE_FULL:
        return STORE_E_FULL;
    case SQLITE_NOMEM:
        return err_raise(-ENOMEM);
    case SQLITE_PERM:
    case SQLITE_READONLY:
        return err_raise(-EACCES);
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        error = last_error(db);
        return out_of_space(error) ? STORE_E_FULL : err_raise(error > 0 ? -error : -EIO);
    }
    return err_raise(-EIO);
}

static int exec(sqlite3 *db, const char *sql)
{
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

    return rc ? store_outcome(db, rc) : 0;
}

void store_finalize(sqlite3_stmt **stmt)
{
    sqlite3_finalize(*stmt);
    *stmt = NULL;
}

static void close_db(sqlite3 **db)
{
    sqlite3_close(*db);
    *db = NULL;
}

/* The first number that sql yields. */
static int query_number(sqlite3 *db, const char *sql, int64_t *ret)
{
    CLEANUP(store_finalize) sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc != SQLITE_ROW)
        return store_outcome(db, rc == SQLITE_DONE ? SQLITE_CORRUPT : rc);
    *ret = sqlite3_column_int64(stmt, 0);
    return 0;
}

/* ---- making ---- */

/* WAL and FULL: a commit is on the disk when it returns. EXCLUSIVE: nobody else opens it while we live, and there is no
 * shared memory file. */
static int connect(const char *path, sqlite3 **ret)
{
    CLEANUP(close_db) sqlite3 *db = NULL;
    int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), r;

    if (rc)
        return db ? store_outcome(db, rc) : err_raise(-ENOMEM);
    sqlite3_extended_result_codes(db, 1);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    r = exec(db, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                 "PRAGMA journal_size_limit = 4194304; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -512;"
                 "PRAGMA cell_size_check = ON;");
    if (r)
        return r;
    *ret = db;
    db = NULL;
    return 0;
}

static int fill_new(const char *path)
{
    CLEANUP(close_db) sqlite3 *db = NULL;
    char sql[128];
    int r = connect(path, &db);

    snprintf(sql, sizeof(sql), "PRAGMA application_id = %d; PRAGMA user_version = %d;", APPLICATION_ID, FORMAT);
    if (r == 0)
        r = exec(db, "BEGIN IMMEDIATE");
    if (r == 0)
        r = exec(db, schema_sql);
    if (r == 0)
        r = exec(db, sql);
    return r ? r : exec(db, "COMMIT");
}

static int sync_directory_of(const char *path)
{
    CLEANUP(cleanup_close) int fd = -1;
    char dir[PATH_MAX_BYTES];
    char *slash;

    snprintf(dir, sizeof(dir), "%s", path);
    slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir] = '\0';
    fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? err_raise(-errno) : 0;
}

/* A store appears under its name only when it is whole: an empty or half-made file there is damage, never a beginning.
 * link does not replace what somebody else made meanwhile; theirs is opened then. */
static int make(const char *path)
{
    char temporary[PATH_MAX_BYTES + 32];
    int fd, r;

    snprintf(temporary, sizeof(temporary), "%s.new-%d", path, (int)getpid());
    unlink(temporary);
    fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return out_of_space(errno) ? STORE_E_FULL : err_raise(-errno);
    close(fd); /* before SQLite opens it: closing any descriptor of a file drops its POSIX locks */
    r = fill_new(temporary);
    if (r == 0 && link(temporary, path) < 0 && errno != EEXIST)
        r = out_of_space(errno) ? STORE_E_FULL : err_raise(-errno);
    unlink(temporary);
    return r ? r : sync_directory_of(path);
}

/* ---- opening ---- */

static int out_of_time(void *deadline)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000 >= *(long *)deadline;
}

/* quick_check's first finding, without the heading of the database that it may stand under. */
static void describe_damage(const char *found, char *text, size_t size)
{
    const char *end = strchr(found, '\n');

    if (strncmp(found, "***", 3) == 0 && end)
        found = end + 1;
    snprintf(text, size, "%.*s", (int)strcspn(found, "\n"), found);
}

/* What is wrong goes to text. */
static int check_pages(sqlite3 *db, char *text, size_t size)
{
    CLEANUP(store_finalize) sqlite3_stmt *stmt = NULL;
    struct timespec now;
    long deadline;
    int rc;

    clock_gettime(CLOCK_MONOTONIC, &now);
    deadline = now.tv_sec * 1000 + now.tv_nsec / 1000000 + CHECK_MS;
    sqlite3_progress_handler(db, 1000, out_of_time, &deadline);
    rc = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    sqlite3_progress_handler(db, 0, NULL, NULL);
    if ((rc & 0xff) == SQLITE_INTERRUPT)
        return 0;
    if (rc != SQLITE_ROW)
        return store_outcome(db, rc);
    if (strcmp((const char *)sqlite3_column_text(stmt, 0), "ok") == 0)
        return 0;
    describe_damage((const char *)sqlite3_column_text(stmt, 0), text, size);
    return STORE_E_DAMAGED;
}

static int check(sqlite3 *db, char *text, size_t size)
{
    int64_t id, format;
    int r = query_number(db, "PRAGMA application_id", &id);

    if (r == 0)
        r = query_number(db, "PRAGMA user_version", &format);
    if (r)
        return r;
    if (id != APPLICATION_ID) {
        snprintf(text, size, "it is no store of Caravan's");
        return STORE_E_DAMAGED;
    }
    if (format != FORMAT) {
        snprintf(text, size, "format %lld", (long long)format);
        return STORE_E_VERSION;
    }
    return check_pages(db, text, size);
}

/* SQLite takes a file of a few bytes for an empty database and writes over it, so the header is read before. */
static int look_inside(const char *path, char *text, size_t size)
{
    CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    unsigned char head[100];
    struct stat st;
    ssize_t n;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_raise(-errno);
    n = S_ISREG(st.st_mode) ? pread(fd, head, sizeof(head), 0) : 0;
    if (n == (ssize_t)sizeof(head) && memcmp(head, "SQLite format 3", 16) == 0)
        /* It holds secrets; copies that people put back tend to be readable by all. */
        return (st.st_mode & 077) && fchmod(fd, 0600) < 0 ? err_raise(-errno) : 0;
    snprintf(text, size, "it is %s", n > 0 ? "no database" : "empty");
    return STORE_E_DAMAGED;
}

/* 0, STORE_E_DAMAGED, negative errno. */
static int look(const char *path, bool *ret_exists, char *text, size_t size)
{
    char wal[PATH_MAX_BYTES + 8];

    if (strlen(path) >= PATH_MAX_BYTES)
        return err_raise(-ENAMETOOLONG);
    *ret_exists = access(path, F_OK) == 0;
    if (*ret_exists)
        return look_inside(path, text, size);
    if (errno != ENOENT)
        return err_raise(-errno);
    snprintf(wal, sizeof(wal), "%s-wal", path);
    if (access(wal, F_OK) < 0)
        return 0;
    snprintf(text, size, "its -wal file is there, and it is not");
    return STORE_E_DAMAGED;
}

int store_file_open(const char *path, sqlite3 **ret, char *text, size_t size)
{
    CLEANUP(close_db) sqlite3 *db = NULL;
    bool exists;
    int r = look(path, &exists, text, size);

    if (r == 0 && !exists)
        r = make(path);
    if (r == 0)
        r = connect(path, &db);
    if (r == 0)
        r = check(db, text, size);
    if (r)
        return r;
    *ret = db;
    db = NULL;
    return 0;
}

void store_file_explain(int r, const char *path, const char *text, char *why, size_t size)
{
    switch (r) {
    case STORE_E_DAMAGED:
        snprintf(why, size,
                 "%s is damaged (%s) and was left as it is: put a copy back, or move it away together with %s-wal to "
                 "begin without it; instances that run are then reported by their agents as unknown",
                 path, text, path);
        break;
    case STORE_E_LOCKED:
        snprintf(why, size, "%s is used by another controller: stop that one, or give this one a state_dir of its own",
                 path);
        break;
    case STORE_E_VERSION:
        snprintf(why, size, "%s was written by another version of Caravan (%s; this one knows %d): run that version",
                 path, text, FORMAT);
        break;
    case STORE_E_FULL:
        snprintf(why, size, "%s: no space left on the disk", path);
        break;
    default:
        snprintf(why, size, "%s: %s", path, strerror(r < 0 ? -r : r));
        break;
    }
}
