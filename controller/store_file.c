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
#include "common/crypto.h"
#include "controller/store.h"
#include "controller/store_file.h"
#include "controller/store_mark.h"

enum {
    FORMAT = 1,    /* user_version */
    BUSY_MS = 2000 /* a backup that begins or ends, or a person with sqlite3(1) */
};

static const char schema_sql[] = "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"
                                 "CREATE TABLE record(seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL,"
                                 " key TEXT NOT NULL, value TEXT NOT NULL, UNIQUE(kind, key)) STRICT;"
                                 "CREATE TABLE audit(seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL,"
                                 " value TEXT NOT NULL) STRICT;";

/* ---- results ---- */

bool store_file_out_of_space(int error)
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
        return store_file_out_of_space(error) ? STORE_E_FULL : err_raise(error > 0 ? -error : -EIO);
    }
    return err_raise(-EIO);
}

int store_file_exec(sqlite3 *db, const char *sql)
{
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

    return rc ? store_outcome(db, rc) : 0;
}

void store_finalize(sqlite3_stmt **stmt)
{
    sqlite3_finalize(*stmt);
    *stmt = NULL;
}

void store_file_close(sqlite3 **db)
{
    sqlite3_close(*db);
    *db = NULL;
}

int store_file_number(sqlite3 *db, const char *sql, int64_t *ret)
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

/* FULL: a commit is on the disk when it returns. The lock is the mark's, not SQLite's: a backup may read meanwhile. */
static int connect(const char *path, const char *journal_mode, sqlite3 **ret)
{
    CLEANUP(store_file_close) sqlite3 *db = NULL;
    int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), r;
    char sql[64];

    if (rc)
        return db ? store_outcome(db, rc) : err_raise(-ENOMEM);
    sqlite3_extended_result_codes(db, 1);
    sqlite3_busy_timeout(db, BUSY_MS);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    snprintf(sql, sizeof(sql), "PRAGMA journal_mode = %s", journal_mode);
    r = store_file_exec(db, sql);
    if (r == 0)
        r = store_file_exec(db, "PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 4194304;"
                                "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -512; PRAGMA cell_size_check = ON;");
    if (r)
        return r;
    *ret = db;
    db = NULL;
    return 0;
}

/* Without a WAL: all of it is in the one file that gets its name. It has its cluster's id from the beginning. */
static int fill_new(const char *path)
{
    CLEANUP(store_file_close) sqlite3 *db = NULL;
    struct id128 cluster = crypto_random_id();
    int r = connect(path, "DELETE", &db);
    char sql[256];

    snprintf(sql, sizeof(sql),
             "PRAGMA application_id = %d; PRAGMA user_version = %d; INSERT INTO meta VALUES('cluster', '%s');",
             STORE_APPLICATION_ID, FORMAT, ID128(&cluster));
    if (r == 0)
        r = store_file_exec(db, "BEGIN IMMEDIATE");
    if (r == 0)
        r = store_file_exec(db, schema_sql);
    if (r == 0)
        r = store_file_exec(db, sql);
    return r ? r : store_file_exec(db, "COMMIT");
}

static int open_directory_of(const char *path)
{
    char dir[STORE_PATH_MAX];
    char *slash;
    int fd;

    snprintf(dir, sizeof(dir), "%s", path);
    slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir] = '\0';
    fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? err_raise(-errno) : fd;
}

int store_file_sync_directory(const char *path)
{
    CLEANUP(cleanup_close) int fd = open_directory_of(path);

    if (fd < 0)
        return err_pass(fd);
    return fsync(fd) < 0 ? err_raise(-errno) : 0;
}

int store_file_give_to_owner(int fd, const char *path)
{
    CLEANUP(cleanup_close) int dir = geteuid() == 0 ? open_directory_of(path) : -1;
    struct stat st;

    if (geteuid() != 0)
        return 0;
    if (dir < 0)
        return err_pass(dir);
    return fstat(dir, &st) < 0 || fchown(fd, st.st_uid, st.st_gid) < 0 ? err_raise(-errno) : 0;
}

/* A store appears under its name only when it is whole: an empty or half-made file there is damage, never a beginning.
 * link does not replace what somebody else made meanwhile; theirs is opened then. */
static int make(const char *path)
{
    char temporary[STORE_PATH_MAX + 32];
    int fd, r;

    snprintf(temporary, sizeof(temporary), "%s.new-%d", path, (int)getpid());
    unlink(temporary);
    fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return store_file_out_of_space(errno) ? STORE_E_FULL : err_raise(-errno);
    close(fd); /* before SQLite opens it: closing any descriptor of a file drops its POSIX locks */
    r = fill_new(temporary);
    if (r == 0 && link(temporary, path) < 0 && errno != EEXIST)
        r = store_file_out_of_space(errno) ? STORE_E_FULL : err_raise(-errno);
    unlink(temporary);
    return r ? r : store_file_sync_directory(path);
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
static int check_pages(sqlite3 *db, int check_ms, char *text, size_t size)
{
    CLEANUP(store_finalize) sqlite3_stmt *stmt = NULL;
    struct timespec now;
    long deadline;
    int rc;

    clock_gettime(CLOCK_MONOTONIC, &now);
    deadline = now.tv_sec * 1000 + now.tv_nsec / 1000000 + check_ms;
    if (check_ms != STORE_CHECK_WHOLE)
        sqlite3_progress_handler(db, 1000, out_of_time, &deadline);
    rc = sqlite3_prepare_v2(db, check_ms == STORE_CHECK_WHOLE ? "PRAGMA integrity_check(1)" : "PRAGMA quick_check(1)",
                            -1, &stmt, NULL);
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

/* A store without it would be given a new one, and begin a cluster that no agent knows. */
static int read_cluster(sqlite3 *db, struct id128 *ret, char *text, size_t size)
{
    CLEANUP(store_finalize) sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db, "SELECT value FROM meta WHERE key = 'cluster'", -1, &stmt, NULL);
    const char *id;

    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE && (rc & 0xff) != SQLITE_ERROR) /* ERROR: the table is missing */
        return store_outcome(db, rc);
    id = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    if (id && id128_parse(id, ret))
        return 0;
    snprintf(text, size, "it has no cluster id");
    return STORE_E_DAMAGED;
}

int store_file_check(sqlite3 *db, int check_ms, struct id128 *ret_cluster, char *text, size_t size)
{
    int64_t id, format;
    int r = store_file_number(db, "PRAGMA application_id", &id);

    if (r == 0)
        r = store_file_number(db, "PRAGMA user_version", &format);
    if (r)
        return r;
    if (id != STORE_APPLICATION_ID) {
        snprintf(text, size, "it is no store of Caravan's");
        return STORE_E_DAMAGED;
    }
    if (format != FORMAT) {
        snprintf(text, size, "format %lld", (long long)format);
        return STORE_E_VERSION;
    }
    r = check_pages(db, check_ms, text, size);
    return r ? r : read_cluster(db, ret_cluster, text, size);
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
        return 0;
    snprintf(text, size, "it is %s", n > 0 ? "no database" : "empty");
    return STORE_E_DAMAGED;
}

int store_file_look(const char *path, bool *ret_exists, char *text, size_t size)
{
    char wal[STORE_PATH_MAX + 8];

    if (strlen(path) >= STORE_PATH_MAX)
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

/* It holds secrets; copies that people put back tend to be readable by all. */
static int close_to_others(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0 || ((st.st_mode & 077) && chmod(path, 0600) < 0))
        return err_raise(-errno);
    return 0;
}

/* The file is there, or is made where nothing says that there was one. */
static int find(const char *path, const struct store_mark *mark, char *text, size_t size)
{
    bool exists;
    int r = store_file_look(path, &exists, text, size);

    if (r || exists)
        return r ? r : close_to_others(path);
    switch (mark->state) {
    case STORE_MARK_NONE:
        return make(path);
    case STORE_MARK_MADE:
        snprintf(text, size, "that of cluster %s", ID128_SHORT(&mark->cluster));
        return STORE_E_MISSING;
    case STORE_MARK_SPOILT:
        snprintf(text, size, "of which cluster, nothing says any more");
        return STORE_E_MISSING;
    }
    return err_raise(-ENOTRECOVERABLE);
}

/* Whose store is it, and whose should it be? */
static int compare(struct store_mark *mark, const struct id128 *cluster, char *text, size_t size)
{
    if (mark->state != STORE_MARK_MADE)
        return store_mark_write(mark, cluster);
    if (id128_equal(&mark->cluster, cluster))
        return 0;
    snprintf(text, size, "it is that of cluster %s, and this controller's is %s", ID128_SHORT(cluster),
             ID128_SHORT(&mark->cluster));
    return STORE_E_OTHER;
}

int store_file_open(const char *path, struct store_mark *mark, sqlite3 **ret, char *text, size_t size)
{
    CLEANUP(store_file_close) sqlite3 *db = NULL;
    struct id128 cluster;
    int r = find(path, mark, text, size);

    if (r == 0)
        r = connect(path, "WAL", &db);
    if (r == 0)
        r = store_file_check(db, STORE_CHECK_MS, &cluster, text, size);
    if (r == 0)
        r = compare(mark, &cluster, text, size);
    if (r)
        return r;
    *ret = db;
    db = NULL;
    return 0;
}

#define RESTORE "bring a backup back with caravan-controller --restore FILE"
#define UNKNOWN "instances that run are then shown as unknown and go on"

void store_file_explain(int r, const char *path, const char *text, char *why, size_t size)
{
    switch (r) {
    case STORE_E_DAMAGED:
        snprintf(why, size,
                 "%s is damaged (%s) and was left as it is: " RESTORE
                 ", or move it away together with its -wal and " STORE_MARK_SUFFIX
                 " files to begin a new cluster; " UNKNOWN,
                 path, text);
        break;
    case STORE_E_MISSING:
        snprintf(why, size,
                 "%s is gone, and there was one (%s): " RESTORE ", or remove %s" STORE_MARK_SUFFIX
                 " to begin a new cluster; " UNKNOWN,
                 path, text, path);
        break;
    case STORE_E_OTHER:
        snprintf(why, size,
                 "%s is not this controller's (%s): put the right one back, or remove %s" STORE_MARK_SUFFIX
                 " to go on with this one",
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
        snprintf(why, size, "%s cannot be used: %s%s", path, strerror(r < 0 ? -r : r),
                 r == -EACCES || r == -EPERM ? "; the user that the controller runs as must own state_dir and all in it"
                                             : "");
        break;
    }
}

void store_say_damaged(const char *path, const char *what, char *why, size_t why_size)
{
    store_file_explain(STORE_E_DAMAGED, path, what, why, why_size);
}
