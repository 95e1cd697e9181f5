/* Backups of the store: --backup and --restore. What gets a name is a whole, checked copy, made beside it under a name of
 * its own; until then nothing that is there is touched. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
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
#include "controller/store_mark.h"

enum { BUSY_MS = 5000, STAMP_SIZE = 32 };

/* More starts than there can have been since a backup was made. */
#define TERM_JUMP "1048576"

/* What is going on, for the sentence that it ends with. */
struct copy {
    const char *from, *to;
    char temporary[STORE_PATH_MAX + 32]; /* beside `to`; empty: not made */
    struct id128 cluster;
    int64_t n_instances, n_tasks;
    char text[256]; /* what is wrong, where there is more to say than the outcome */
};

static void copy_drop(struct copy *c)
{
    char name[sizeof(c->temporary) + 16];

    if (!c->temporary[0])
        return;
    unlink(c->temporary);
    snprintf(name, sizeof(name), "%s-journal", c->temporary);
    unlink(name);
}

static void copy_said(const struct copy *c, int r, char *buf, size_t size)
{
    switch (r) {
    case STORE_E_DAMAGED:
    case STORE_E_VERSION:
    case STORE_E_MISSING:
    case STORE_E_OTHER:
        snprintf(buf, size, "%s", c->text[0] ? c->text : "it is damaged");
        break;
    case STORE_E_LOCKED:
        snprintf(buf, size, "%s", c->text[0] ? c->text : "another program is busy with it");
        break;
    case STORE_E_FULL:
        snprintf(buf, size, "no space left on the disk");
        break;
    default:
        snprintf(buf, size, "%s", c->text[0] ? c->text : strerror(-r));
        break;
    }
}

static int failed(void)
{
    return store_file_out_of_space(errno) ? STORE_E_FULL : err_raise(-errno);
}

static int open_db(const char *path, int flags, sqlite3 **ret)
{
    CLEANUP(store_file_close) sqlite3 *db = NULL;
    int rc = sqlite3_open_v2(path, &db, flags, NULL);

    if (!db)
        return err_raise(-ENOMEM);
    sqlite3_extended_result_codes(db, 1);
    sqlite3_busy_timeout(db, BUSY_MS);
    sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    if (rc)
        return store_outcome(db, rc);
    *ret = db;
    db = NULL;
    return 0;
}

/* ---- a copy ---- */

/* In one step, under one read lock: what is committed meanwhile waits for nothing and does not begin it anew. */
static int copy_pages(sqlite3 *from, sqlite3 *to)
{
    sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
    int rc;

    if (!b)
        return store_outcome(to, sqlite3_errcode(to));
    rc = sqlite3_backup_step(b, -1);
    if (rc != SQLITE_DONE) {
        sqlite3_backup_finish(b);
        return store_outcome(to, rc ? rc : SQLITE_IOERR); /* of reading, it knows no more than that it failed */
    }
    rc = sqlite3_backup_finish(b);
    return rc ? store_outcome(to, rc) : 0;
}

/* after: statements that make it what it is to be. The copy is one file: what it is a copy of has a WAL beside it. */
static int fill(struct copy *c, int from_flags, const char *after)
{
    CLEANUP(store_file_close) sqlite3 *from = NULL, *to = NULL;
    int r = open_db(c->from, from_flags, &from);

    if (r == 0)
        r = open_db(c->temporary, SQLITE_OPEN_READWRITE, &to);
    if (r == 0)
        r = store_file_exec(to, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL");
    if (r == 0)
        r = copy_pages(from, to);
    if (r == 0)
        r = store_file_check(to, STORE_CHECK_WHOLE, &c->cluster, c->text, sizeof(c->text));
    if (r == 0)
        r = store_file_exec(to, "PRAGMA journal_mode = DELETE");
    if (r == 0)
        r = store_file_exec(to, after);
    if (r == 0)
        r = store_file_number(to, "SELECT count(*) FROM record WHERE kind = 'instance'", &c->n_instances);
    return r ? r : store_file_number(to, "SELECT count(*) FROM record WHERE kind = 'task'", &c->n_tasks);
}

static int make_copy(struct copy *c, int from_flags, const char *after)
{
    CLEANUP(cleanup_close) int fd = -1;
    int r;

    if (strlen(c->to) >= STORE_PATH_MAX)
        return err_raise(-ENAMETOOLONG);
    snprintf(c->temporary, sizeof(c->temporary), "%s.new-%d", c->to, (int)getpid());
    unlink(c->temporary);
    fd = open(c->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return failed();
    r = fill(c, from_flags, after);
    if (r == 0)
        r = store_file_give_to_owner(fd, c->to);
    return r || fsync(fd) == 0 ? r : failed();
}

/* Is there a store of ours in FILE? */
static int find_source(struct copy *c)
{
    bool exists;
    int r = store_file_look(c->from, &exists, c->text, sizeof(c->text));

    return r || exists ? r : err_raise(-ENOENT);
}

static bool same_file(const char *a, const char *b)
{
    struct stat one, two;

    return stat(a, &one) == 0 && stat(b, &two) == 0 && one.st_dev == two.st_dev && one.st_ino == two.st_ino;
}

/* ---- --backup ---- */

/* What will be replaced must be a backup, not whatever a slip of the finger names. */
static int find_target(struct copy *c)
{
    CLEANUP(store_file_close) sqlite3 *db = NULL;
    int64_t id = 0;
    bool exists;
    int r;

    if (same_file(c->from, c->to)) {
        snprintf(c->text, sizeof(c->text), "it is the store itself: name another file");
        return STORE_E_OTHER;
    }
    r = store_file_look(c->to, &exists, c->text, sizeof(c->text));
    if (r == 0 && !exists)
        return 0;
    if (r == 0)
        r = open_db(c->to, SQLITE_OPEN_READONLY, &db);
    if (r == 0)
        r = store_file_number(db, "PRAGMA application_id", &id);
    if (r == 0 && id == STORE_APPLICATION_ID)
        return 0;
    snprintf(c->text, sizeof(c->text), "there is something else than a backup: move it away or name another file");
    return STORE_E_OTHER;
}

static int put_in_place(const struct copy *c)
{
    int r = rename(c->temporary, c->to) < 0 ? failed() : 0;

    return r ? r : store_file_sync_directory(c->to);
}

int store_backup(const char *path, const char *file, char *said, size_t size)
{
    CLEANUP(copy_drop) struct copy c = {.from = path, .to = file};
    char what[256];
    int r = find_source(&c);

    if (r) {
        copy_said(&c, r, what, sizeof(what));
        snprintf(said, size, "%s cannot be backed up: %s", path, what);
        return r < 0 ? err_pass(r) : r;
    }
    r = find_target(&c);
    if (r == 0)
        r = make_copy(&c, SQLITE_OPEN_READWRITE, ""); /* a WAL left by a controller that was killed must be read too */
    if (r == 0)
        r = put_in_place(&c);
    if (r) {
        copy_said(&c, r, what, sizeof(what));
        snprintf(said, size, "%s was not written: %s", file, what);
        return r < 0 ? err_pass(r) : r;
    }
    snprintf(said, size,
             "%s holds cluster %s (instances: %" PRId64 ", tasks: %" PRId64
             "), and secrets: keep it where only root can read it",
             file, ID128_SHORT(&c.cluster), c.n_instances, c.n_tasks);
    return 0;
}

/* ---- --restore ---- */

/* STORE, STORE-wal -> STORE.DATE, STORE.DATE-wal, which is a store again under its new name. The first one first: without it
 * the next start says that it is gone, and never takes the rest of it for all. stamp: empty where nothing was there. */
static int move_aside(const char *path, char *stamp, size_t size)
{
    static const char *const suffix[] = {"", "-wal"};
    char from[STORE_PATH_MAX + 16], to[STORE_PATH_MAX + STAMP_SIZE + 16], date[STAMP_SIZE];
    time_t now = time(NULL);
    struct tm tm;

    strftime(date, sizeof(date), ".%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
    for (size_t i = 0; i < sizeof(suffix) / sizeof(suffix[0]); i++) {
        snprintf(from, sizeof(from), "%s%s", path, suffix[i]);
        snprintf(to, sizeof(to), "%s%s%s", path, date, suffix[i]);
        if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
            snprintf(stamp, size, "%s", date);
        else if (errno != ENOENT)
            return failed();
    }
    snprintf(from, sizeof(from), "%s-shm", path);
    unlink(from); /* a map of the WAL for those who have it open: nobody has */
    return 0;
}

static int restore(struct copy *c, struct store_mark *mark, char *stamp, size_t size)
{
    int r = store_mark_take(c->to, mark);

    if (r == STORE_E_LOCKED)
        snprintf(c->text, sizeof(c->text), "a controller runs on it; stop that one first");
    if (r)
        return r;
    if (same_file(c->from, c->to)) {
        snprintf(c->text, sizeof(c->text), "it is the store itself");
        return STORE_E_OTHER;
    }
    r = make_copy(c, SQLITE_OPEN_READONLY,
                  "UPDATE meta SET value = CAST(value AS INTEGER) + " TERM_JUMP " WHERE key = 'term'");
    if (r == 0)
        r = move_aside(c->to, stamp, size);
    if (r == 0)
        r = put_in_place(c);
    return r ? r : store_mark_write(mark, &c->cluster);
}

int store_restore(const char *path, const char *file, char *said, size_t size)
{
    CLEANUP(copy_drop) struct copy c = {.from = file, .to = path};
    CLEANUP(store_mark_drop) struct store_mark mark = {.fd = -1};
    char what[256], stamp[STAMP_SIZE] = "";
    int r = find_source(&c);

    if (r == 0)
        r = restore(&c, &mark, stamp, sizeof(stamp));
    if (r) {
        copy_said(&c, r, what, sizeof(what));
        snprintf(said, size, "%s was not restored: %s%s%s%s", file, what,
                 stamp[0] ? "; the store that was there is now " : "", stamp[0] ? path : "", stamp);
        return r < 0 ? err_pass(r) : r;
    }
    snprintf(said, size, "%s holds cluster %s again (instances: %" PRId64 ", tasks: %" PRId64 "), from %s%s%s%s", path,
             ID128_SHORT(&c.cluster), c.n_instances, c.n_tasks, file, stamp[0] ? "; what was there before is now " : "",
             stamp[0] ? path : "", stamp);
    return 0;
}
