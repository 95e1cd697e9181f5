/* What survives the controller: a log of records that is committed before its effects leave, and its snapshot.
 * Engine: SQLite (one file, WAL, synchronous=FULL) in an actor of its own; the door to sqlite3. The interface is cut so
 * that etcd can stand behind it: compare-and-append guarded by "I am still the leader", a total order of records, reading
 * from a number on, a compacted snapshot, word of lost leadership. */
#ifndef CARAVAN_CONTROLLER_STORE_H
#define CARAVAN_CONTROLLER_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct store;

#define STORE_FILE "store.db" /* in the state directory */

enum {
    STORE_AUDIT_MAX = 10000,
    STORE_PENDING_MAX = 512 /* appends that are not committed yet; one more is refused with -ENOBUFS */
};

enum {
    STORE_E_DAMAGED = 1,
    STORE_E_LOCKED, /* another controller uses the file */
    STORE_E_VERSION,
    STORE_E_FULL,
    STORE_E_MISSING, /* the file is gone; FILE-cluster says that there was one */
    STORE_E_OTHER    /* it is not what belongs there: another cluster's, or no store at all */
};

/* One row of state: the newest value of (kind, key). */
struct store_record {
    char kind[16];
    char key[72];
    bool gone;
    char *value; /* JSON text, owned by whoever owns the record; NULL where gone */
};

struct store_callbacks {
    /* r: 0 durable; STORE_E_FULL; negative errno. In the order of store_append. */
    void (*committed)(void *ctx, uint64_t token, int r);
    void *ctx;
};

/* Opens FILE (0600; no other controller opens it meanwhile), or makes it with an id for its cluster (crypto_init was
 * called), once: FILE-cluster beside it says that it was made. Reads the snapshot: `row` for each record but audit rows,
 * oldest change first, before it returns; r and what it points to are borrowed. A file that is damaged or gone is never
 * replaced. Unless it is 0, why says what is wrong and what to do. base: borrowed, outlives the store. 0; STORE_E_*; negative errno. */
int store_open(struct event_base *base, const char *path, const struct store_callbacks *cb,
               void (*row)(void *ctx, const struct store_record *r), void *row_ctx, struct store **ret, char *why,
               size_t why_size);
/* The same sentence for a store that is whole, and whose records its owner cannot read; what: "its ... is ...". */
void store_say_damaged(const char *path, const char *what, char *why, size_t why_size);
/* Waits until everything appended is durable (or has failed); committed is not called any more. Also from within
 * committed. */
void store_close(struct store **s);

/* All of them or none. rec: borrowed, its values consumed in every case. Audit rows (kind "audit", any key, never gone) are
 * kept to the newest STORE_AUDIT_MAX. 0 or negative errno: then committed is not called. */
int store_append(struct store *s, uint64_t token, struct store_record *rec, size_t n);

/* At start only, synchronously: before the first store_append (assert).
 * Meta values beside the records: "cluster", "term", "secret". */
int store_meta_get(struct store *s, const char *key, char *buf, size_t size); /* 0; 1: none; negative errno */
int store_meta_set(struct store *s, const char *key, const char *value);      /* 0; negative errno */
/* The newest n audit rows, oldest first; as `row` of store_open. 0 or negative errno. */
int store_audit_tail(struct store *s, size_t n, void (*row)(void *ctx, const struct store_record *r), void *ctx);

/* Without a store that is open; said: what was done, or what is wrong and what to do. 0; STORE_E_*; negative errno.
 *
 * A checked copy of the store at path in FILE (0600: it holds secrets), also while a controller runs. FILE is replaced, at
 * once and only by a whole one, if it is an older copy; anything else there is left alone. */
int store_backup(const char *path, const char *file, char *said, size_t size);
/* The copy in FILE becomes the store at path, whose own file is kept beside it under a dated name; nothing is touched
 * before FILE was found whole. Refused while a controller runs. Its term jumps ahead of every one that there can have been
 * since, so that agents know the newer leader. */
int store_restore(const char *path, const char *file, char *said, size_t size);

#endif
