/* A store in a directory of its own, and all that it said. For the tests that include it; each test runs in its own directory
 * (TEST_IN_DIR), which fails where something was left behind. */
#ifndef CARAVAN_TESTS_UNIT_STORE_HARNESS_H
#define CARAVAN_TESTS_UNIT_STORE_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "common/cleanup.h"
#include "common/crypto.h"
#include "controller/store.h"

#define TEST_IN_DIR(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
/* Not every test program needs all of it. */
#define HELPER static inline __attribute__((unused))

static char dir[] = "/tmp/caravan-store-XXXXXX";
static char path[64];

HELPER int setup(void **state)
{
    (void)state;
    memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/state.db", dir);
    return 0;
}

HELPER void remove_file(const char *suffix)
{
    char name[128];

    snprintf(name, sizeof(name), "%s%s", path, suffix);
    unlink(name);
}

HELPER int teardown(void **state)
{
    (void)state;
    remove_file("");
    remove_file("-wal");
    remove_file("-cluster");
    remove_file(".copy");
    return rmdir(dir); /* fails where something else was left behind */
}

/* ---- a store and all that it said ---- */

enum { SEEN_MAX = 20000 };

struct fixture {
    struct event_base *base;
    struct store *store;
    char why[512];
    size_t n_rows, n_committed;
    char rows[1 << 16]; /* "kind/key=value " of the first ones */
    uint64_t token[SEEN_MAX];
    int result[SEEN_MAX];
    int tell; /* file descriptor that committed tokens are written to; -1: none */
    bool close_at_once;
};

HELPER void on_row(void *ctx, const struct store_record *r)
{
    struct fixture *f = ctx;
    size_t used = strlen(f->rows);

    f->n_rows++;
    snprintf(f->rows + used, sizeof(f->rows) - used, "%s/%s=%.40s ", r->kind, r->key, r->value);
}

HELPER void on_committed(void *ctx, uint64_t token, int r)
{
    struct fixture *f = ctx;

    f->token[f->n_committed] = token;
    f->result[f->n_committed++] = r;
    if (f->tell >= 0 && write(f->tell, &token, sizeof(token)) != (ssize_t)sizeof(token))
        abort();
    if (f->close_at_once)
        store_close(&f->store);
}

HELPER int reopen(struct fixture *f)
{
    const struct store_callbacks cb = {.committed = on_committed, .ctx = f};

    store_close(&f->store);
    f->n_rows = 0;
    f->rows[0] = f->why[0] = '\0';
    return store_open(f->base, path, &cb, on_row, f, &f->store, f->why, sizeof(f->why));
}

HELPER struct fixture *fixture_new(void)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->tell = -1;
    f->base = event_base_new();
    assert_non_null(f->base);
    return f;
}

HELPER struct fixture *opened(void)
{
    struct fixture *f = fixture_new();
    int r = reopen(f);

    if (r)
        fail_msg("%d: %s", r, f->why);
    return f;
}

HELPER void fixture_destroy(struct fixture **f)
{
    if (!*f)
        return;
    store_close(&(*f)->store);
    event_base_free((*f)->base);
    free(*f);
    *f = NULL;
}
#define FIXTURE CLEANUP(fixture_destroy) struct fixture

HELPER struct store_record record(const char *kind, const char *key, const char *value)
{
    struct store_record r = {.gone = !value, .value = value ? strdup(value) : NULL};

    snprintf(r.kind, sizeof(r.kind), "%s", kind);
    snprintf(r.key, sizeof(r.key), "%s", key);
    return r;
}

HELPER void put(struct fixture *f, uint64_t token, const char *kind, const char *key, const char *value)
{
    struct store_record r = record(kind, key, value);

    assert_int_equal(store_append(f->store, token, &r, 1), 0);
}

HELPER void wait_committed(struct fixture *f, size_t n)
{
    while (f->n_committed < n)
        assert_int_equal(event_base_loop(f->base, EVLOOP_ONCE), 0);
}

/* Of the store, or of what stands beside it: "-wal". */
HELPER size_t file_size(const char *suffix)
{
    char name[128];
    struct stat st;

    snprintf(name, sizeof(name), "%s%s", path, suffix);
    assert_int_equal(stat(name, &st), 0);
    return (size_t)st.st_size;
}

HELPER void fill(void)
{
    FIXTURE *f = opened();
    char key[16], value[1024];

    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (int i = 0; i < 40; i++) {
        snprintf(key, sizeof(key), "%d", i);
        put(f, 1, "task", key, value);
    }
    wait_committed(f, 40);
}

HELPER void limit_files(rlim_t n_bytes)
{
    struct rlimit limit;

    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = n_bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
}

#endif
