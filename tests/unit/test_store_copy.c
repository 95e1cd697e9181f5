/* Backup and restore: a copy that is there is whole, nothing is replaced by less than that, and what a restore moves away
 * is still there. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/unit/store_harness.h"

static char copy[80], said[1024];

static int name_copy(void **state)
{
    int r = setup(state);

    snprintf(copy, sizeof(copy), "%s/copy", dir);
    return r;
}

static int drop_copy(void **state)
{
    unlink(copy);
    return teardown(state);
}
#define TEST_COPY(f) cmocka_unit_test_setup_teardown(f, name_copy, drop_copy)

static int backup(void)
{
    return store_backup(path, copy, said, sizeof(said));
}

/* As another program does it: SQLite shares what it knows of a file within one. */
static int backup_by_another(void)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(backup() ? 1 : 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static int restore(void)
{
    return store_restore(path, copy, said, sizeof(said));
}

#define ASSERT_SAID(part)                                 \
    do {                                                  \
        if (!strstr(said, part))                          \
            fail_msg("\"%s\" is not in: %s", part, said); \
    } while (0)

/* The dated name that the last restore gave to what was there; it is moved to ->name. */
static void find_aside(char *name, size_t size)
{
    const char *at = strstr(said, "is now ");

    assert_non_null(at);
    snprintf(name, size, "%s", at + strlen("is now "));
    assert_int_equal(strncmp(name, path, strlen(path)), 0);
    assert_int_equal(strlen(name), strlen(path) + strlen(".20261121T094002Z"));
}

static size_t n_files(void)
{
    DIR *d = opendir(dir);
    size_t n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(name, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void assert_holds(const char *name, const char *text)
{
    char buf[64];
    FILE *f = fopen(name, "r");

    assert_non_null(f);
    buf[fread(buf, 1, sizeof(buf) - 1, f)] = '\0';
    fclose(f);
    assert_string_equal(buf, text);
}

static void spoil(const char *name, off_t at)
{
    static const char garbage[4096] = {"spoilt"};
    int fd = open(name, O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, garbage, sizeof(garbage), at), sizeof(garbage));
    close(fd);
}

/* ---- both ways ---- */

static void test_what_was_backed_up_is_there_again(void **state)
{
    FIXTURE *f = opened();
    char aside[128], cluster[64], now[64], term[32];
    struct stat st;

    (void)state;
    assert_int_equal(store_meta_set(f->store, "term", "7"), 0);
    assert_int_equal(store_meta_get(f->store, "cluster", cluster, sizeof(cluster)), 0);
    put(f, 1, "instance", "a", "{\"epoch\":1}");
    put(f, 2, "task", "a", "{}");
    put(f, 3, "audit", "a", "{}");
    wait_committed(f, 3);
    assert_int_equal(backup_by_another(), 0); /* it is open, and its WAL is not empty */
    assert_int_equal(stat(copy, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    put(f, 4, "task", "later", "{}");
    store_close(&f->store);
    assert_int_equal(backup_by_another(), 0); /* in place of the first */
    assert_int_equal(reopen(f), 0);
    put(f, 5, "task", "lost", "{}");
    store_close(&f->store);

    assert_int_equal(restore(), 0);
    ASSERT_SAID("again (instances: 1, tasks: 2), from ");
    find_aside(aside, sizeof(aside));
    assert_int_equal(reopen(f), 0);
    assert_string_equal(f->rows, "instance/a={\"epoch\":1} task/a={} task/later={} ");
    assert_int_equal(store_meta_get(f->store, "cluster", now, sizeof(now)), 0);
    assert_string_equal(now, cluster);
    assert_int_equal(store_meta_get(f->store, "term", term, sizeof(term)), 0);
    assert_int_equal(strtoull(term, NULL, 10), 7 + 1048576);
    f->rows[0] = '\0';
    assert_int_equal(store_audit_tail(f->store, 9, on_row, f), 0);
    assert_string_equal(f->rows, "audit/a={} ");
    store_close(&f->store);

    assert_int_equal(rename(aside, path), 0); /* nothing is lost by a restore that was a mistake */
    assert_int_equal(reopen(f), 0);
    assert_non_null(strstr(f->rows, "task/lost={} "));
    store_close(&f->store);
    assert_int_equal(n_files(), 3); /* store, mark, copy */
}

/* Rows are appended all the time; what a copy has is a beginning of what was appended, without a gap. */
static void test_a_backup_while_it_is_written_to(void **state)
{
    enum { EACH = 40 };
    FIXTURE *f = opened();
    char value[2000], key[16];
    size_t n = 0;

    (void)state;
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (int round = 0; round < 5; round++) {
        pid_t pid = fork();
        int status = 0;

        assert_true(pid >= 0);
        if (pid == 0)
            _exit(backup() ? 1 : 0);
        while (waitpid(pid, &status, WNOHANG) == 0) {
            for (int i = 0; i < EACH; i++, n++) {
                snprintf(key, sizeof(key), "%08zu", n);
                put(f, n, "task", key, value);
            }
            wait_committed(f, n);
            assert_int_equal(f->result[n - 1], 0);
            assert_true(n < SEEN_MAX - EACH);
        }
        assert_int_equal(status, 0);
    }
    store_close(&f->store);
    assert_int_equal(restore(), 0);
    f->tell = -1;
    assert_int_equal(reopen(f), 0);
    assert_true(f->n_rows > 0 && f->n_rows <= n);
    store_close(&f->store);
    {
        char aside[128];

        find_aside(aside, sizeof(aside));
        unlink(aside);
    }
}

/* ---- what a backup leaves alone ---- */

static void test_nothing_but_a_backup_is_replaced(void **state)
{
    static const char text[] = "instances = 4\n";
    FIXTURE *f = opened();
    int n;

    (void)state;
    store_close(&f->store);
    write_file(copy, text);
    n = (int)n_files();
    assert_int_equal(backup(), STORE_E_OTHER);
    ASSERT_SAID("there is something else than a backup");
    assert_holds(copy, text);
    unlink(copy);
    assert_int_equal(symlink(path, copy), 0);
    assert_int_equal(backup(), STORE_E_OTHER);
    ASSERT_SAID("it is the store itself");
    assert_int_equal(n_files(), n);
}

static void test_a_damaged_store_does_not_replace_a_backup(void **state)
{
    FIXTURE *f = fixture_new();

    (void)state;
    fill();
    assert_int_equal(backup(), 0);
    spoil(path, 4 * 4096);
    assert_int_equal(backup(), STORE_E_DAMAGED);
    ASSERT_SAID("was not written");
    assert_int_equal(reopen(f), STORE_E_DAMAGED);
    assert_int_equal(n_files(), 3);
    {
        char aside[128];

        assert_int_equal(restore(), 0); /* the first one is whole */
        find_aside(aside, sizeof(aside));
        unlink(aside);
    }
    assert_int_equal(reopen(f), 0);
    assert_int_equal(f->n_rows, 40);
}

static void test_there_is_no_store(void **state)
{
    (void)state;
    assert_int_equal(backup(), -ENOENT);
    ASSERT_SAID("cannot be backed up: No such file");
    assert_int_equal(restore(), -ENOENT);
    ASSERT_SAID("was not restored: No such file");
    assert_int_equal(n_files(), 0);
}

static void test_a_full_disk_for_a_backup(void **state)
{
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    fill();
    limit_files(40000);
    assert_int_equal(backup(), STORE_E_FULL);
    limit_files(RLIM_INFINITY);
    ASSERT_SAID("no space left on the disk");
    assert_int_equal(n_files(), 2);
}

/* ---- what a restore leaves alone ---- */

static void test_no_restore_under_a_controller(void **state)
{
    FIXTURE *f = opened();

    (void)state;
    put(f, 1, "task", "a", "{}");
    wait_committed(f, 1);
    assert_int_equal(backup_by_another(), 0);
    assert_int_equal(restore(), STORE_E_LOCKED);
    ASSERT_SAID("a controller runs on it");
    put(f, 2, "task", "b", "{}");
    assert_int_equal(reopen(f), 0);
    assert_string_equal(f->rows, "task/a={} task/b={} ");
}

static void test_a_damaged_backup_is_not_restored(void **state)
{
    static const off_t at[] = {0, 4096, 4 * 4096};
    FIXTURE *f = fixture_new();

    (void)state;
    fill();
    for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
        assert_int_equal(backup(), 0);
        spoil(copy, at[i]);
        assert_int_equal(restore(), STORE_E_DAMAGED);
        ASSERT_SAID("was not restored");
        assert_int_equal(n_files(), 3);
        unlink(copy);
    }
    assert_int_equal(backup(), 0);
    assert_int_equal(truncate(copy, 3 * 4096), 0);
    assert_int_equal(restore(), STORE_E_DAMAGED);
    assert_int_equal(truncate(copy, 0), 0);
    assert_int_equal(restore(), STORE_E_DAMAGED);
    ASSERT_SAID("it is empty");
    write_file(copy, "instances = 4\n");
    assert_int_equal(restore(), STORE_E_DAMAGED);
    ASSERT_SAID("it is no database");
    assert_int_equal(reopen(f), 0);
    assert_int_equal(f->n_rows, 40);
}

static void test_the_store_itself_is_no_backup(void **state)
{
    FIXTURE *f = fixture_new();

    (void)state;
    fill();
    assert_int_equal(store_restore(path, path, said, sizeof(said)), STORE_E_OTHER);
    ASSERT_SAID("it is the store itself");
    assert_int_equal(n_files(), 2);
    assert_int_equal(reopen(f), 0);
    assert_int_equal(f->n_rows, 40);
}

static void test_a_full_disk_for_a_restore(void **state)
{
    FIXTURE *f = fixture_new();

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    fill();
    assert_int_equal(backup(), 0);
    limit_files(40000);
    assert_int_equal(restore(), STORE_E_FULL);
    limit_files(RLIM_INFINITY);
    assert_int_equal(n_files(), 3);
    assert_int_equal(reopen(f), 0);
    assert_int_equal(f->n_rows, 40);
}

/* ---- whatever is in its place ---- */

static void test_a_restore_where_nothing_is(void **state)
{
    FIXTURE *f = fixture_new();

    (void)state;
    fill();
    assert_int_equal(backup(), 0);
    remove_file("");
    assert_int_equal(reopen(f), STORE_E_MISSING);
    assert_int_equal(restore(), 0);
    assert_null(strstr(said, "is now"));
    assert_int_equal(reopen(f), 0);
    assert_int_equal(f->n_rows, 40);
    store_close(&f->store);

    remove_file(""); /* on another machine */
    remove_file("-cluster");
    assert_int_equal(restore(), 0);
    assert_int_equal(reopen(f), 0);
    assert_int_equal(f->n_rows, 40);
}

static void test_a_restore_over_another_cluster(void **state)
{
    FIXTURE *f = fixture_new();
    char aside[128];

    (void)state;
    fill();
    assert_int_equal(backup(), 0);
    remove_file("");
    remove_file("-cluster");
    assert_int_equal(reopen(f), 0); /* a new one */
    store_close(&f->store);
    assert_int_equal(restore(), 0);
    find_aside(aside, sizeof(aside));
    assert_int_equal(unlink(aside), 0);
    assert_int_equal(reopen(f), 0); /* the mark names the one that was restored */
    assert_int_equal(f->n_rows, 40);
}

/* systemd gives the directory to the controller's user; who restores is root. */
static void test_what_root_restores_is_the_controllers(void **state)
{
    static const char *const names[] = {"", "-cluster"};
    char name[128];
    struct stat st;

    (void)state;
    if (geteuid() != 0)
        skip();
    fill();
    assert_int_equal(backup(), 0);
    remove_file("");
    remove_file("-cluster");
    assert_int_equal(chown(dir, 65534, 65534), 0);
    assert_int_equal(restore(), 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(name, sizeof(name), "%s%s", path, names[i]);
        assert_int_equal(stat(name, &st), 0);
        assert_int_equal(st.st_uid, 65534);
        assert_int_equal(st.st_mode & 07777, 0600);
    }
}

/* What a kill leaves lies in the WAL. */
static void append_and_die(void)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        struct fixture *f = opened();

        put(f, 1, "task", "in the log", "{}");
        wait_committed(f, 1);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_what_a_killed_controller_left(void **state)
{
    FIXTURE *f = fixture_new();
    char aside[128], from[160], to[160];

    (void)state;
    append_and_die();
    assert_true(file_size("-wal") > 0);
    assert_int_equal(backup_by_another(), 0);
    assert_int_equal(reopen(f), 0);
    assert_string_equal(f->rows, "task/in the log={} ");
    put(f, 2, "task", "in the log", NULL);
    store_close(&f->store);
    append_and_die();
    assert_int_equal(restore(), 0);
    assert_int_equal(reopen(f), 0);
    assert_string_equal(f->rows, "task/in the log={} ");
    store_close(&f->store);

    find_aside(aside, sizeof(aside)); /* its WAL went with it */
    assert_int_equal(rename(aside, path), 0);
    snprintf(from, sizeof(from), "%s-wal", aside);
    snprintf(to, sizeof(to), "%s-wal", path);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(reopen(f), 0);
    assert_string_equal(f->rows, "task/in the log={} ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_COPY(test_what_was_backed_up_is_there_again),
        TEST_COPY(test_a_backup_while_it_is_written_to),
        TEST_COPY(test_nothing_but_a_backup_is_replaced),
        TEST_COPY(test_a_damaged_store_does_not_replace_a_backup),
        TEST_COPY(test_there_is_no_store),
        TEST_COPY(test_a_full_disk_for_a_backup),
        TEST_COPY(test_no_restore_under_a_controller),
        TEST_COPY(test_a_damaged_backup_is_not_restored),
        TEST_COPY(test_the_store_itself_is_no_backup),
        TEST_COPY(test_a_full_disk_for_a_restore),
        TEST_COPY(test_a_restore_where_nothing_is),
        TEST_COPY(test_a_restore_over_another_cluster),
        TEST_COPY(test_what_root_restores_is_the_controllers),
        TEST_COPY(test_what_a_killed_controller_left),
    };

    if (crypto_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
