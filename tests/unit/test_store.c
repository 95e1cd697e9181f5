/* The store: what was said to be durable is there again, after a kill too; what is damaged is never begun anew. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "tests/unit/store_harness.h"

/* ---- what it is for ---- */

/* In place of libc's, which SQLite calls. */
static atomic_uint n_synced;
static atomic_bool sync_fails; /* the next one, as of a disk that goes bad */

int fdatasync(int fd)
{
    atomic_fetch_add(&n_synced, 1);
    if (atomic_exchange(&sync_fails, false)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

static void test_synced_before_it_is_called_durable(void **state)
{
    FIXTURE *f = opened();

    (void)state;
    for (unsigned i = 1; i <= 3; i++) {
        unsigned before = n_synced;

        put(f, i, "task", "a", "{}");
        wait_committed(f, i);
        assert_true(n_synced > before);
    }
}

static void test_a_new_store(void **state)
{
    FIXTURE *f = opened();
    struct stat st;

    (void)state;
    assert_int_equal(f->n_rows, 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_nlink, 1);
}

static void test_records_come_back_oldest_change_first(void **state)
{
    FIXTURE *f = opened();

    (void)state;
    put(f, 11, "instance", "a", "{\"epoch\":1}");
    put(f, 12, "instance", "b", "{}");
    put(f, 13, "task", "a", "{}");
    put(f, 14, "instance", "a", "{\"epoch\":2}");
    put(f, 15, "task", "a", NULL);
    put(f, 16, "task", "never there", NULL);
    wait_committed(f, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(f->token[i], 11 + i);
        assert_int_equal(f->result[i], 0);
    }
    assert_int_equal(reopen(f), 0);
    assert_string_equal(f->rows, "instance/b={} instance/a={\"epoch\":2} ");
    put(f, 17, "instance", "b", "{\"é\":1}");
    assert_int_equal(reopen(f), 0);
    assert_string_equal(f->rows, "instance/a={\"epoch\":2} instance/b={\"é\":1} ");
}

static void test_close_writes_what_is_queued(void **state)
{
    FIXTURE *f = opened();
    char key[16];

    (void)state;
    for (int i = 0; i < STORE_PENDING_MAX; i++) {
        snprintf(key, sizeof(key), "%d", i);
        put(f, (uint64_t)i, "task", key, "{}");
    }
    assert_int_equal(f->n_committed, 0);
    assert_int_equal(reopen(f), 0);
    assert_int_equal(f->n_rows, STORE_PENDING_MAX);
}

static void test_too_many_at_once_are_refused(void **state)
{
    FIXTURE *f = opened();
    struct store_record r = record("task", "x", "{}");

    (void)state;
    for (int i = 0; i < STORE_PENDING_MAX; i++)
        put(f, (uint64_t)i, "task", "x", "{}");
    assert_int_equal(store_append(f->store, 9, &r, 1), -ENOBUFS);
    assert_null(r.value);
    wait_committed(f, STORE_PENDING_MAX);
    put(f, 10, "task", "x", "{}");
    wait_committed(f, STORE_PENDING_MAX + 1);
}

static void test_closed_from_within_committed(void **state)
{
    FIXTURE *f = opened();

    (void)state;
    f->close_at_once = true;
    put(f, 1, "task", "a", "{}");
    put(f, 2, "task", "b", "{}");
    wait_committed(f, 1);
    assert_null(f->store);
    assert_int_equal(reopen(f), 0);
    assert_string_equal(f->rows, "task/a={} task/b={} ");
}

static void test_meta(void **state)
{
    FIXTURE *f = opened();
    char buf[8];

    (void)state;
    assert_int_equal(store_meta_get(f->store, "term", buf, sizeof(buf)), 1);
    assert_int_equal(store_meta_set(f->store, "term", "1"), 0);
    assert_int_equal(store_meta_set(f->store, "term", "2"), 0);
    assert_int_equal(store_meta_set(f->store, "long", "12345678"), 0);
    assert_int_equal(reopen(f), 0);
    assert_int_equal(f->n_rows, 0);
    assert_int_equal(store_meta_get(f->store, "term", buf, sizeof(buf)), 0);
    assert_string_equal(buf, "2");
    assert_int_equal(store_meta_get(f->store, "long", buf, sizeof(buf)), -EMSGSIZE);
}

static void test_audit_is_bounded(void **state)
{
    enum { EACH = 100, N = (STORE_AUDIT_MAX + 500) / EACH };
    FIXTURE *f = opened();

    (void)state;
    put(f, 0, "instance", "a", "{}");
    for (int i = 0; i < N; i++) {
        struct store_record r[EACH];
        char key[16];

        for (int k = 0; k < EACH; k++) {
            snprintf(key, sizeof(key), "%d", i * EACH + k);
            r[k] = record("audit", key, "{}");
        }
        assert_int_equal(store_append(f->store, 1, r, EACH), 0);
    }
    wait_committed(f, N + 1);
    assert_int_equal(reopen(f), 0);
    assert_string_equal(f->rows, "instance/a={} "); /* not in the snapshot */
    f->rows[0] = '\0';
    assert_int_equal(store_audit_tail(f->store, 2, on_row, f), 0);
    assert_string_equal(f->rows, "audit/10498={} audit/10499={} ");
    f->n_rows = 0;
    assert_int_equal(store_audit_tail(f->store, SEEN_MAX, on_row, f), 0);
    assert_int_equal(f->n_rows, STORE_AUDIT_MAX);
    assert_non_null(strstr(f->rows, "audit/500={} "));
    assert_null(strstr(f->rows, "audit/499={} "));
}

/* Rows of a usual length, a hundred thousand of them: after the first ten thousand the file stays as large as it is. */
static void test_audit_does_not_grow(void **state)
{
    enum { EACH = 250, N = 100000 / EACH };
    FIXTURE *f = opened();
    size_t after_first = 0;
    char value[400];

    (void)state;
    memset(value, 'a', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (int i = 0; i < N; i++) {
        struct store_record r[EACH];
        char key[32];

        for (int k = 0; k < EACH; k++) {
            snprintf(key, sizeof(key), "%031d", i * EACH + k);
            r[k] = record("audit", key, value);
        }
        assert_int_equal(store_append(f->store, 1, r, EACH), 0);
        wait_committed(f, (size_t)i + 1);
        if ((i + 1) * EACH == 2 * STORE_AUDIT_MAX)
            after_first = file_size("");
    }
    print_message("           audit: %zu KiB after 20,000 appends, %zu KiB and %zu KiB of WAL after 100,000\n",
                  after_first / 1024, file_size("") / 1024, file_size("-wal") / 1024);
    assert_true(file_size("") <= after_first + after_first / 20);
    assert_true(file_size("-wal") <= 8 << 20);
    assert_int_equal(reopen(f), 0);
    f->n_rows = 0;
    assert_int_equal(store_audit_tail(f->store, SEEN_MAX, on_row, f), 0);
    assert_int_equal(f->n_rows, STORE_AUDIT_MAX);
}

/* ---- kill -9 ---- */

/* Appends for ever, and tells each token that was said to be durable. */
static void write_until_killed(int tell)
{
    struct fixture *f = opened();
    char key[32];

    f->tell = tell;
    for (uint64_t token = 1;; token++) {
        snprintf(key, sizeof(key), "%llu", (unsigned long long)token);
        put(f, token, "task", key, "{}");
        if (token % 7 == 0)
            wait_committed(f, f->n_committed + 1);
        f->n_committed = f->n_committed > SEEN_MAX / 2 ? 0 : f->n_committed;
    }
}

static void test_a_kill_loses_nothing_that_was_committed(void **state)
{
    FIXTURE *f = fixture_new();
    uint64_t token, last = 0;
    int fd[2];
    pid_t pid;

    (void)state;
    assert_int_equal(pipe(fd), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fd[0]);
        write_until_killed(fd[1]);
    }
    close(fd[1]);
    while (last < 200 && read(fd[0], &token, sizeof(token)) == (ssize_t)sizeof(token))
        last = token;
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    while (read(fd[0], &token, sizeof(token)) == (ssize_t)sizeof(token))
        last = token;
    close(fd[0]);
    assert_true(last >= 200);
    assert_int_equal(reopen(f), 0);
    assert_true(f->n_rows >= last);
}

/* ---- a second controller ---- */

static void test_a_second_controller_is_told(void **state)
{
    FIXTURE *f = opened();
    int status;
    pid_t pid = fork();

    (void)state;
    assert_true(pid >= 0);
    if (pid == 0) {
        struct fixture *second = fixture_new();
        int r = reopen(second);

        _exit(r == STORE_E_LOCKED && strstr(second->why, "is used by another controller") ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    put(f, 1, "task", "a", "{}"); /* still ours */
    wait_committed(f, 1);
    assert_int_equal(f->result[0], 0);
}

/* ---- damage ---- */

static void assert_damaged(struct fixture *f)
{
    size_t before = file_size("");
    int r = reopen(f);

    if (r != STORE_E_DAMAGED)
        fail_msg("%d: %s", r, f->why);
    assert_non_null(strstr(f->why, path));
    assert_non_null(strstr(f->why, "was left as it is"));
    assert_int_equal(file_size(""), before);
}

static void test_a_cut_file_is_damaged(void **state)
{
    static const size_t left[] = {0, 1, 99, 100, 512, 4095, 4096, 4097, 8192, 3 * 4096, 4 * 4096};
    FIXTURE *f = fixture_new();

    (void)state;
    fill();
    assert_true(file_size("") > 5 * 4096);
    for (size_t i = sizeof(left) / sizeof(left[0]); i-- > 0;) {
        assert_int_equal(truncate(path, (off_t)left[i]), 0);
        assert_damaged(f);
    }
}

static void test_garbage_is_damaged(void **state)
{
    FIXTURE *f = fixture_new();
    char page[4096];

    (void)state;
    memset(page, 0xa5, sizeof(page));
    for (off_t at = 0; at < 5; at++) {
        int fd;

        fill();
        fd = open(path, O_WRONLY);
        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, page, sizeof(page), at * 4096), sizeof(page));
        close(fd);
        assert_damaged(f);
        assert_null(strstr(f->why, "***")); /* a heading is no cause */
        remove_file("");
        remove_file("-cluster");
    }
}

static void test_what_is_no_store_is_damaged(void **state)
{
    static const char text[] = "instances = 4\n";
    FIXTURE *f = fixture_new();
    int fd = open(path, O_WRONLY | O_CREAT, 0600);

    (void)state;
    assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    close(fd);
    assert_damaged(f);
}

/* A fresh store beside a log of an old one: somebody deleted half of it. */
static void test_a_wal_without_its_file_is_damaged(void **state)
{
    FIXTURE *f = fixture_new();
    char wal[128];
    int fd;

    (void)state;
    snprintf(wal, sizeof(wal), "%s-wal", path);
    fd = open(wal, O_WRONLY | O_CREAT, 0600);
    close(fd);
    assert_int_equal(reopen(f), STORE_E_DAMAGED);
    assert_non_null(strstr(f->why, "-wal file is there"));
    assert_true(access(path, F_OK) < 0);
}

/* user_version lies at byte 60 of the header, application_id at 68. */
static void test_another_format(void **state)
{
    FIXTURE *f = opened();
    const unsigned char later = 2;
    int fd;

    (void)state;
    store_close(&f->store);
    fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, &later, 1, 63), 1);
    assert_int_equal(reopen(f), STORE_E_VERSION);
    assert_non_null(strstr(f->why, "another version of Caravan (format 2; this one knows 1)"));
    assert_int_equal(pwrite(fd, &later, 1, 68), 1);
    close(fd);
    assert_damaged(f);
    assert_non_null(strstr(f->why, "no store of Caravan's"));
}

static void write_mark(const char *text)
{
    char name[128];
    FILE *file;

    snprintf(name, sizeof(name), "%s-cluster", path);
    file = fopen(name, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void test_a_store_that_is_gone_is_missed(void **state)
{
    static const char *const marks[] = {NULL, "0123", "00000000000000000000000000000000\n"};
    FIXTURE *f = opened();

    (void)state;
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        store_close(&f->store);
        remove_file("");
        if (marks[i])
            write_mark(marks[i]);
        assert_int_equal(reopen(f), STORE_E_MISSING);
        assert_non_null(strstr(f->why, "is gone, and there was one"));
        assert_non_null(strstr(f->why, "--restore FILE"));
        assert_true(access(path, F_OK) < 0); /* and none was begun */
    }
    remove_file("-cluster"); /* as the sentence says */
    assert_int_equal(reopen(f), 0);
}

/* A crash between the store's first name and its mark; and a mark that a bad disk spoilt. */
static void test_a_mark_is_mended(void **state)
{
    static const char *const marks[] = {"", "0123"};
    FIXTURE *f = opened();
    char cluster[64], now[64];

    (void)state;
    assert_int_equal(store_meta_get(f->store, "cluster", cluster, sizeof(cluster)), 0);
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        store_close(&f->store);
        write_mark(marks[i]);
        assert_int_equal(reopen(f), 0);
        assert_int_equal(store_meta_get(f->store, "cluster", now, sizeof(now)), 0);
        assert_string_equal(now, cluster);
        store_close(&f->store);
        remove_file("");
        assert_int_equal(reopen(f), STORE_E_MISSING);
        assert_non_null(strstr(f->why, (char[9]){cluster[0], cluster[1], cluster[2], cluster[3], cluster[4], cluster[5],
                                                 cluster[6], cluster[7], '\0'}));
        remove_file("-cluster");
        assert_int_equal(reopen(f), 0);
        assert_int_equal(store_meta_get(f->store, "cluster", cluster, sizeof(cluster)), 0);
    }
}

static void test_another_clusters_store(void **state)
{
    FIXTURE *f = opened();

    (void)state;
    store_close(&f->store);
    write_mark("00112233445566778899aabbccddeeff\n");
    assert_int_equal(reopen(f), STORE_E_OTHER);
    assert_non_null(strstr(f->why, "this controller's is 00112233"));
    remove_file("-cluster");
    assert_int_equal(reopen(f), 0);
}

static void test_a_store_without_its_cluster_is_damaged(void **state)
{
    FIXTURE *f = opened();

    (void)state;
    assert_int_equal(store_meta_set(f->store, "cluster", "none"), 0);
    store_close(&f->store);
    assert_damaged(f);
    assert_non_null(strstr(f->why, "it has no cluster id"));
}

static void test_no_directory(void **state)
{
    FIXTURE *f = fixture_new();

    (void)state;
    snprintf(path, sizeof(path), "%s/none/state.db", dir);
    assert_true(reopen(f) < 0);
    assert_non_null(strstr(f->why, "No such file or directory"));
    snprintf(path, sizeof(path), "%s/state.db", dir);
}

static void test_a_file_that_others_can_read_is_closed_to_them(void **state)
{
    FIXTURE *f = opened();
    struct stat st;

    (void)state;
    store_close(&f->store);
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(reopen(f), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

/* ---- a full disk ---- */

/* A limit on the size of files stands in for a full disk: writes fail in the same place. */
static void test_a_full_disk(void **state)
{
    FIXTURE *f = opened();
    char *big = calloc(1, 100001);
    size_t n;

    (void)state;
    assert_non_null(big);
    signal(SIGXFSZ, SIG_IGN);
    memset(big, 'x', 100000);
    put(f, 1, "task", "before", "{}");
    wait_committed(f, 1);
    limit_files(200000);
    for (n = 1; n < 10 && f->result[n - 1] == 0; n++) {
        put(f, 2, "task", "big", big);
        wait_committed(f, n + 1);
    }
    limit_files(RLIM_INFINITY);
    assert_int_equal(f->result[n - 1], STORE_E_FULL);
    put(f, 3, "task", "after", "{}");
    wait_committed(f, n + 1);
    assert_int_equal(f->result[n], 0); /* there is room again: it goes on by itself */
    assert_int_equal(reopen(f), 0);
    assert_non_null(strstr(f->rows, "task/before={} "));
    assert_non_null(strstr(f->rows, "task/after={} "));
    free(big);
}

/* A disk that failed once is tried again; what it did not take was said to be lost and is not there. */
static void test_a_disk_that_fails(void **state)
{
    FIXTURE *f = opened();

    (void)state;
    put(f, 1, "task", "before", "{}");
    wait_committed(f, 1);
    sync_fails = true;
    put(f, 2, "task", "lost", "{}");
    wait_committed(f, 2);
    assert_int_equal(f->result[1], -EIO);
    put(f, 3, "task", "after", "{}");
    wait_committed(f, 3);
    assert_int_equal(f->result[2], 0);
    assert_int_equal(reopen(f), 0);
    assert_string_equal(f->rows, "task/before={} task/after={} ");
}

static void test_a_full_disk_at_the_first_start(void **state)
{
    FIXTURE *f = fixture_new();

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    limit_files(4096);
    assert_int_equal(reopen(f), STORE_E_FULL);
    limit_files(RLIM_INFINITY);
    assert_non_null(strstr(f->why, "no space left"));
    assert_true(access(path, F_OK) < 0); /* nothing half-made */
    assert_int_equal(reopen(f), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_DIR(test_a_new_store),
        TEST_IN_DIR(test_synced_before_it_is_called_durable),
        TEST_IN_DIR(test_records_come_back_oldest_change_first),
        TEST_IN_DIR(test_close_writes_what_is_queued),
        TEST_IN_DIR(test_too_many_at_once_are_refused),
        TEST_IN_DIR(test_closed_from_within_committed),
        TEST_IN_DIR(test_meta),
        TEST_IN_DIR(test_audit_is_bounded),
        TEST_IN_DIR(test_audit_does_not_grow),
        TEST_IN_DIR(test_a_kill_loses_nothing_that_was_committed),
        TEST_IN_DIR(test_a_second_controller_is_told),
        TEST_IN_DIR(test_a_cut_file_is_damaged),
        TEST_IN_DIR(test_garbage_is_damaged),
        TEST_IN_DIR(test_what_is_no_store_is_damaged),
        TEST_IN_DIR(test_a_wal_without_its_file_is_damaged),
        TEST_IN_DIR(test_another_format),
        TEST_IN_DIR(test_a_store_that_is_gone_is_missed),
        TEST_IN_DIR(test_a_mark_is_mended),
        TEST_IN_DIR(test_another_clusters_store),
        TEST_IN_DIR(test_a_store_without_its_cluster_is_damaged),
        TEST_IN_DIR(test_no_directory),
        TEST_IN_DIR(test_a_file_that_others_can_read_is_closed_to_them),
        TEST_IN_DIR(test_a_full_disk),
        TEST_IN_DIR(test_a_disk_that_fails),
        TEST_IN_DIR(test_a_full_disk_at_the_first_start),
    };

    if (crypto_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
