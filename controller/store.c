/* SQLite behind store.h. The connection belongs to the owner's thread until the first append (opening, snapshot, meta) and
 * to the actor's from then on; actor_send is what hands it over. What has queued up while a transaction was synced goes
 * into the next one together. */
#include "controller/store.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "common/actor.h"
#include "common/cleanup.h"
#include "common/core/err.h"
#include "controller/store_file.h"
#include "controller/store_mark.h"

enum statement { PUT, DELETE, AUDIT, TRIM, BEGIN, COMMIT, ROLLBACK, STATEMENT_N };

static const char *const statement_sql[STATEMENT_N] = {
    [PUT] = "INSERT OR REPLACE INTO record(kind, key, value) VALUES(?1, ?2, ?3)", /* with a new seq */
    [DELETE] = "DELETE FROM record WHERE kind = ?1 AND key = ?2",
    [AUDIT] = "INSERT INTO audit(key, value) VALUES(?2, ?3)",
    [TRIM] = "DELETE FROM audit WHERE seq <= (SELECT max(seq) FROM audit) - ?1",
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
};

/* One store_append on its way to the disk and, with its result, back. */
struct job {
    struct job *next;
    uint64_t token;
    int r;
    size_t n;
    struct store_record rec[];
};

struct store {
    struct store_mark mark;
    sqlite3 *db;
    sqlite3_stmt *stmt[STATEMENT_N];
    struct actor *actor;
    struct store_callbacks cb;
    size_t n_pending; /* jobs that the owner has not got back */
    bool begun;       /* the connection is the actor's */
    /* The actor's: what it has taken and not yet written, in order. */
    struct job *first, **end;
};

static int prepare(struct store *s)
{
    for (size_t i = 0; i < STATEMENT_N; i++) {
        int rc = sqlite3_prepare_v3(s->db, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s->stmt[i], NULL);

        if (rc)
            return (rc & 0xff) == SQLITE_ERROR ? STORE_E_DAMAGED : store_outcome(s->db, rc); /* a table is missing */
    }
    return 0;
}

/* Column of a row into a field of ours; false where it does not fit. */
static bool column(sqlite3_stmt *stmt, int i, char *to, size_t size)
{
    const char *text = (const char *)sqlite3_column_text(stmt, i);

    if (!text || strlen(text) >= size || (int)strlen(text) != sqlite3_column_bytes(stmt, i))
        return false;
    memcpy(to, text, strlen(text) + 1);
    return true;
}

/* sql yields kind, key, value. */
static int read_rows(struct store *s, const char *sql, int64_t limit,
                     void (*row)(void *ctx, const struct store_record *r), void *ctx)
{
    CLEANUP(store_finalize) sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &stmt, NULL);

    if (rc == SQLITE_OK)
        sqlite3_bind_int64(stmt, 1, limit);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        struct store_record rec = {0};

        rc = sqlite3_step(stmt);
        if (rc != SQLITE_ROW)
            break;
        if (!column(stmt, 0, rec.kind, sizeof(rec.kind)) || !column(stmt, 1, rec.key, sizeof(rec.key)))
            return STORE_E_DAMAGED;
        rec.value = (char *)sqlite3_column_text(stmt, 2);
        if (!rec.value)
            return STORE_E_DAMAGED;
        row(ctx, &rec);
    }
    return rc == SQLITE_DONE ? 0 : store_outcome(s->db, rc);
}

/* ---- the actor ---- */

static void job_destroy(struct job **job)
{
    if (!*job)
        return;
    for (size_t i = 0; i < (*job)->n; i++)
        free((*job)->rec[i].value);
    free(*job);
    *job = NULL;
}

static void job_drop(void *object)
{
    struct job *job = object;

    job_destroy(&job);
}

static int step(struct store *s, enum statement which)
{
    int rc = sqlite3_step(s->stmt[which]);

    sqlite3_reset(s->stmt[which]);
    return rc == SQLITE_DONE ? 0 : store_outcome(s->db, rc);
}

static int write_record(struct store *s, const struct store_record *rec)
{
    bool audit = strcmp(rec->kind, "audit") == 0;
    enum statement which = rec->gone ? DELETE : audit ? AUDIT : PUT;
    int r;

    if (rec->gone && audit)
        return 0; /* they go by age */
    if (!audit)
        sqlite3_bind_text(s->stmt[which], 1, rec->kind, -1, SQLITE_STATIC);
    sqlite3_bind_text(s->stmt[which], 2, rec->key, -1, SQLITE_STATIC);
    if (!rec->gone)
        sqlite3_bind_text(s->stmt[which], 3, rec->value, -1, SQLITE_STATIC);
    r = step(s, which);
    sqlite3_clear_bindings(s->stmt[which]);
    if (r == 0 && audit) {
        sqlite3_bind_int64(s->stmt[TRIM], 1, STORE_AUDIT_MAX);
        r = step(s, TRIM);
    }
    return r;
}

/* All that is queued, or nothing of it. */
static int write_queue(struct store *s)
{
    int r = step(s, BEGIN);

    for (struct job *job = s->first; job && r == 0; job = job->next) {
        for (size_t i = 0; i < job->n && r == 0; i++)
            r = write_record(s, &job->rec[i]);
    }
    if (r == 0)
        r = step(s, COMMIT);
    if (r && !sqlite3_get_autocommit(s->db))
        step(s, ROLLBACK);
    return r <= 0 || r == STORE_E_FULL ? r : err_raise(-EBADMSG); /* damaged or locked under our hands */
}

static void take_job(void *ctx, void *object)
{
    struct store *s = ctx;
    struct job *job = object;

    *s->end = job;
    s->end = &job->next;
}

static void answer_queue(struct store *s, struct actor_pipe *pipe, int r)
{
    while (s->first) {
        struct job *job = s->first;

        s->first = job->next;
        job->r = r;
        actor_pipe_send(pipe, job); /* always fits: STORE_PENDING_MAX */
    }
    s->end = &s->first;
}

static void store_main(struct actor_pipe *pipe, void *arg)
{
    struct store *s = arg;
    struct pollfd readable = {.fd = actor_pipe_fd(pipe), .events = POLLIN};
    bool go_on = true;

    while (go_on) {
        /* The fd tells of changes only: nothing may be left in the pipe before it is waited for. */
        go_on = actor_pipe_drain(pipe, take_job, s);
        if (s->first)
            answer_queue(s, pipe, write_queue(s));
        else if (go_on)
            poll(&readable, 1, -1);
    }
}

/* ---- the owner's side ---- */

static void on_written(void *ctx, void *object)
{
    struct store *s = ctx;
    struct store_callbacks cb = s->cb;
    CLEANUP(job_destroy) struct job *job = object;

    s->n_pending--;
    cb.committed(cb.ctx, job->token, job->r); /* may close the store */
}

int store_open(struct event_base *base, const char *path, const struct store_callbacks *cb,
               void (*row)(void *ctx, const struct store_record *r), void *row_ctx, struct store **ret, char *why,
               size_t why_size)
{
    CLEANUP(store_close) struct store *s = calloc(1, sizeof(*s));
    char text[256] = "it cannot be read";
    int r;

    if (!s)
        return err_raise(-ENOMEM);
    s->cb = *cb;
    s->end = &s->first;
    s->mark.fd = -1;
    r = store_mark_take(path, &s->mark);
    if (r == 0)
        r = store_file_open(path, &s->mark, &s->db, text, sizeof(text));
    if (r == 0)
        r = prepare(s);
    if (r == 0)
        r = read_rows(s, "SELECT kind, key, value FROM record ORDER BY seq LIMIT ?1", -1, row, row_ctx);
    if (r == 0)
        r = actor_new(base, store_main, s, on_written, s, job_drop, job_drop, &s->actor);
    if (r) {
        store_file_explain(r, path, text, why, why_size);
        return r < 0 ? err_pass(r) : r;
    }
    *ret = s;
    s = NULL;
    return 0;
}

void store_close(struct store **s)
{
    if (!*s)
        return;
    actor_destroy(&(*s)->actor); /* it writes what is queued before it ends */
    for (size_t i = 0; i < STATEMENT_N; i++)
        sqlite3_finalize((*s)->stmt[i]);
    sqlite3_close((*s)->db);
    store_mark_drop(&(*s)->mark);
    free(*s);
    *s = NULL;
}

int store_append(struct store *s, uint64_t token, struct store_record *rec, size_t n)
{
    struct job *job = s->n_pending < STORE_PENDING_MAX ? calloc(1, sizeof(*job) + n * sizeof(*rec)) : NULL;
    int r = s->n_pending < STORE_PENDING_MAX ? -ENOMEM : -ENOBUFS;

    for (size_t i = 0; i < n; i++) {
        assert(rec[i].gone || rec[i].value);
        if (job)
            job->rec[i] = rec[i];
        else
            free(rec[i].value);
        rec[i].value = NULL;
    }
    if (!job)
        return err_raise(r);
    job->token = token;
    job->n = n;
    s->begun = true;
    r = actor_send(s->actor, job);
    if (r < 0)
        return err_pass(r);
    s->n_pending++;
    return 0;
}

int store_meta_get(struct store *s, const char *key, char *buf, size_t size)
{
    CLEANUP(store_finalize) sqlite3_stmt *stmt = NULL;
    int rc;

    assert(!s->begun);
    rc = sqlite3_prepare_v2(s->db, "SELECT value FROM meta WHERE key = ?1", -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(stmt, 1, key, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_DONE)
        return 1;
    if (rc != SQLITE_ROW)
        return err_raise(-EIO);
    return column(stmt, 0, buf, size) ? 0 : err_raise(-EMSGSIZE);
}

int store_meta_set(struct store *s, const char *key, const char *value)
{
    CLEANUP(store_finalize) sqlite3_stmt *stmt = NULL;
    int rc, r;

    assert(!s->begun);
    rc = sqlite3_prepare_v2(s->db, "INSERT OR REPLACE INTO meta(key, value) VALUES(?1, ?2)", -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(stmt, 1, key, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(stmt, 2, value, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_DONE)
        return 0;
    r = store_outcome(s->db, rc);
    return r == STORE_E_FULL ? err_raise(-ENOSPC) : r > 0 ? err_raise(-EBADMSG) : err_pass(r);
}

int store_audit_tail(struct store *s, size_t n, void (*row)(void *ctx, const struct store_record *r), void *ctx)
{
    int r;

    assert(!s->begun);
    r = read_rows(s, "SELECT 'audit', key, value FROM (SELECT * FROM audit ORDER BY seq DESC LIMIT ?1) ORDER BY seq",
                  (int64_t)n, row, ctx);
    return r > 0 ? err_raise(-EBADMSG) : r < 0 ? err_pass(r) : 0;
}
