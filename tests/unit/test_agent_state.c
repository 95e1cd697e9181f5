/* The state directory: one machine's, one agent's; epochs and pins as they were written. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/state.h"
#include "common/log.h"

#define MACHINE_A "3d1219c7c4c5404aaa1f6d2a48adfda4"
#define MACHINE_B "00000000000000000000000000000b0b"

static char root[64], dir[128];

static int set_up(void **state)
{
    (void)state;
    log_set_level(LOG_LEVEL_ERROR);
    strcpy(root, "/tmp/test_agent_state.XXXXXX");
    if (crypto_init() || !mkdtemp(root))
        return -1;
    snprintf(dir, sizeof(dir), "%s/var/lib/caravan", root);
    return 0;
}

static int tear_down(void **state)
{
    char command[96];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", root);
    return system(command);
}

static void be_machine(const char *id)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof(path), "%s/etc", root);
    mkdir(path, 0700);
    strcat(path, "/machine-id");
    if (!id) {
        unlink(path);
        return;
    }
    f = fopen(path, "we");
    assert_non_null(f);
    fprintf(f, "%s\n", id);
    fclose(f);
}

static struct state_dir *open_state(void)
{
    struct state_dir *s = NULL;

    assert_int_equal(state_dir_open(dir, root, &s), 0);
    return s;
}

static void read_key(const struct state_dir *s, uint8_t ret[CRYPTO_KEY_BYTES])
{
    struct identity id;

    assert_int_equal(crypto_identity_load(state_dir_path(s), &id), 0);
    memcpy(ret, id.public_key, CRYPTO_KEY_BYTES);
    crypto_identity_clear(&id);
}

static void test_one_machine(void **state)
{
    uint8_t first[CRYPTO_KEY_BYTES], key[CRYPTO_KEY_BYTES];
    struct state_dir *s;
    char aside[256];

    (void)state;
    be_machine(MACHINE_A);
    s = open_state();
    read_key(s, first);
    state_dir_close(&s);
    s = open_state();
    read_key(s, key);
    assert_memory_equal(first, key, sizeof(key));
    state_dir_close(&s);
    be_machine(MACHINE_B); /* a clone of the disk */
    s = open_state();
    read_key(s, key);
    assert_memory_not_equal(first, key, sizeof(key));
    state_dir_close(&s);
    snprintf(aside, sizeof(aside), "%s.%s/identity", dir, MACHINE_A);
    assert_int_equal(access(aside, F_OK), 0);
}

/* Without a machine-id the state stays its owner's, also when the machine comes by one. */
static void test_no_machine_id(void **state)
{
    uint8_t first[CRYPTO_KEY_BYTES], key[CRYPTO_KEY_BYTES];
    struct state_dir *s;

    (void)state;
    be_machine(NULL);
    s = open_state();
    read_key(s, first);
    state_dir_close(&s);
    s = open_state();
    state_dir_close(&s);
    be_machine(MACHINE_A);
    s = open_state();
    read_key(s, key);
    assert_memory_equal(first, key, sizeof(key));
    state_dir_close(&s);
}

static void test_one_agent(void **state)
{
    struct state_dir *s, *second = NULL;

    (void)state;
    be_machine(MACHINE_A);
    s = open_state();
    assert_int_equal(state_dir_open(dir, root, &second), STATE_E_IN_USE);
    assert_null(second);
    state_dir_close(&s);
    s = open_state();
    state_dir_close(&s);
}

static void test_epochs(void **state)
{
    const struct agent_epoch *list;
    struct state_dir *s;

    (void)state;
    be_machine(MACHINE_A);
    s = open_state();
    assert_int_equal(state_dir_epochs(s, &list), 0);
    for (uint8_t i = 0; i < 3; i++) {
        struct agent_epoch e = {.instance = {{i}}, .epoch = i, .leased = i == 0, .lease_bytes = UINT64_MAX};

        assert_int_equal(state_dir_write_epoch(s, &e), 0);
    }
    assert_int_equal(state_dir_write_epoch(s, &(struct agent_epoch){.instance = {{1}}, .epoch = 99}), 0);
    state_dir_close(&s);
    s = open_state();
    assert_int_equal(state_dir_epochs(s, &list), 3);
    assert_true(list[0].leased);
    assert_int_equal(list[0].lease_bytes, UINT64_MAX);
    assert_int_equal(list[1].instance.b[0], 2);
    assert_int_equal(list[2].instance.b[0], 1); /* the newest is last, and the instance is there once */
    assert_int_equal(list[2].epoch, 99);
    state_dir_close(&s);
}

/* Over the bound the oldest that is over is forgotten; what is leased is not. */
static void test_too_many_epochs(void **state)
{
    const struct agent_epoch *list;
    struct state_dir *s;
    char path[256], line[STATE_EPOCH_LINE_MAX];
    FILE *f;

    (void)state;
    be_machine(MACHINE_A);
    s = open_state();
    snprintf(path, sizeof(path), "%s/epochs", state_dir_path(s));
    state_dir_close(&s);
    f = fopen(path, "we");
    assert_non_null(f);
    for (unsigned i = 0; i < AGENT_EPOCHS_MAX; i++) {
        struct agent_epoch e = {.instance = {{(uint8_t)i, 1}}, .epoch = i, .leased = i < 2};

        state_epoch_format(&e, line);
        fputs(line, f);
    }
    fclose(f);
    s = open_state();
    assert_int_equal(state_dir_epochs(s, &list), AGENT_EPOCHS_MAX);
    assert_int_equal(state_dir_write_epoch(s, &(struct agent_epoch){.instance = {{0, 2}}, .epoch = 1}), 0);
    assert_int_equal(state_dir_epochs(s, &list), AGENT_EPOCHS_MAX);
    assert_int_equal(list[0].epoch, 0);
    assert_int_equal(list[1].epoch, 1);
    assert_int_equal(list[2].epoch, 3); /* 2 has gone */
    assert_int_equal(list[AGENT_EPOCHS_MAX - 1].instance.b[1], 2);
    state_dir_close(&s);
}

static void test_epoch_lines(void **state)
{
    static const char *const bad[] = {
        "",
        "aa 1 over 0",
        "aa000000000000000000000000000000 1 over",
        "aa000000000000000000000000000000 1 over ",
        "aa000000000000000000000000000000 1 gone 0",
        "aa000000000000000000000000000000 -1 over 0",
        "aa000000000000000000000000000000 1 over 0 ",
        "aa000000000000000000000000000000 99999999999999999999999 over 0",
        "ga000000000000000000000000000000 1 over 0",
    };
    struct agent_epoch e = {.instance = {{0xaa}}, .epoch = UINT64_MAX, .leased = true, .lease_bytes = UINT64_MAX}, back;
    char line[STATE_EPOCH_LINE_MAX];
    size_t n = state_epoch_format(&e, line);

    (void)state;
    assert_true(n < STATE_EPOCH_LINE_MAX);
    assert_true(state_epoch_parse(line, n - 1, &back));
    assert_int_equal(back.epoch, UINT64_MAX);
    assert_true(back.leased);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(state_epoch_parse(bad[i], strlen(bad[i]), &back));
    for (size_t i = 0; i < n; i++) {
        char *cut = malloc(i ? i : 1);

        assert_non_null(cut);
        memcpy(cut, line, i);
        (void)state_epoch_parse(cut, i, &back);
        free(cut);
    }
}

static void test_pins(void **state)
{
    const uint8_t(*pin)[CRYPTO_KEY_BYTES];
    uint8_t key[CRYPTO_KEY_BYTES] = {1, 2, 3};
    struct state_dir *s;

    (void)state;
    be_machine(MACHINE_A);
    s = open_state();
    assert_int_equal(state_dir_pins(s, &pin), 0);
    assert_int_equal(state_dir_pin(s, key), 0);
    state_dir_close(&s);
    s = open_state();
    assert_int_equal(state_dir_pins(s, &pin), 1);
    assert_memory_equal(pin[0], key, sizeof(key));
    state_dir_close(&s);
}

/* A full disk must not let every stranger in, one after the other: the first is the one, at least until a restart. */
static void test_pin_that_cannot_be_written(void **state)
{
    const uint8_t(*pin)[CRYPTO_KEY_BYTES];
    uint8_t key[CRYPTO_KEY_BYTES] = {1, 2, 3};
    struct state_dir *s;
    char in_the_way[192];

    (void)state;
    be_machine(MACHINE_A);
    s = open_state();
    snprintf(in_the_way, sizeof(in_the_way), "%s/controllers.new", dir);
    assert_int_equal(mkdir(in_the_way, 0700), 0);
    assert_int_equal(state_dir_pin(s, key), -EISDIR);
    assert_int_equal(state_dir_pins(s, &pin), 1);
    assert_memory_equal(pin[0], key, sizeof(key));
    state_dir_close(&s);
}

#define WITH_ROOT(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

/* ---- cluster ---- */

static struct state_cluster some_cluster(size_t n)
{
    struct state_cluster c = {.id = {{0xca, 0xfe}}};

    for (size_t i = 0; i < n; i++) {
        struct join_controller one = {.port = (uint16_t)(7420 + i)};

        memset(one.key, (int)i, sizeof(one.key));
        strcpy(one.addr, i % 2 ? "1111:2222:3333:4444:5555:6666:111.122.133.144" : "10.77.0.10");
        state_cluster_add(&c, &one);
        state_cluster_add(&c, &one); /* twice is once */
    }
    return c;
}

static void test_a_cluster_is_kept(void **state)
{
    struct state_cluster c = some_cluster(2);
    char path[256];
    struct stat st;
    struct state_dir *s;

    (void)state;
    be_machine(MACHINE_A);
    s = open_state();
    assert_true(id128_is_zero(&state_dir_cluster(s)->id));
    assert_int_equal(state_dir_write_cluster(s, &c), 0);
    assert_true(state_cluster_same(state_dir_cluster(s), &c));
    state_dir_close(&s);
    snprintf(path, sizeof(path), "%s/cluster", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    s = open_state();
    assert_true(state_cluster_same(state_dir_cluster(s), &c));
    state_dir_close(&s);
}

/* Whoever stands in the file may lead this node: one that others could have written counts for nothing. */
static void test_a_cluster_file_of_others(void **state)
{
    struct state_cluster c = some_cluster(1);
    char path[256], other[256];
    struct state_dir *s;

    (void)state;
    be_machine(MACHINE_A);
    s = open_state();
    assert_int_equal(state_dir_write_cluster(s, &c), 0);
    state_dir_close(&s);
    snprintf(path, sizeof(path), "%s/cluster", dir);
    snprintf(other, sizeof(other), "%s/elsewhere", root);
    assert_int_equal(chmod(path, 0620), 0);
    s = open_state();
    assert_true(id128_is_zero(&state_dir_cluster(s)->id));
    state_dir_close(&s);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(symlink(other, path), 0);
    s = open_state();
    assert_true(id128_is_zero(&state_dir_cluster(s)->id));
    state_dir_close(&s);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0); /* and does not wait for it */
    s = open_state();
    assert_true(id128_is_zero(&state_dir_cluster(s)->id));
    state_dir_close(&s);
}

static bool parses(const char *text, size_t n, struct state_cluster *ret)
{
    char *copy = malloc(n ? n : 1);
    bool ok;

    assert_non_null(copy);
    memcpy(copy, text, n);
    ok = state_cluster_parse(copy, n, ret);
    free(copy);
    return ok;
}

/* Each cut and each flipped bit gives no cluster, or another one that is whole in itself: ids, keys and numbers are free. */
static void test_a_damaged_cluster_file(void **state)
{
    char text[STATE_CLUSTER_TEXT_MAX], again[STATE_CLUSTER_TEXT_MAX];
    struct state_cluster c = some_cluster(STATE_CONTROLLERS_MAX), got;
    size_t n = state_cluster_format(&c, text);

    (void)state;
    assert_true(parses(text, n, &got));
    assert_true(state_cluster_same(&c, &got));
    state_cluster_add(&c, &(struct join_controller){.port = 1, .addr = "::"}); /* no room */
    assert_true(state_cluster_same(&c, &got));
    for (size_t i = 0; i < n; i++)
        if (parses(text, i, &got))
            assert_int_equal(text[i - 1], '\n'); /* behind a whole line */
    for (size_t i = 0; i < n * 8; i++) {
        text[i / 8] = (char)(text[i / 8] ^ (1 << i % 8));
        if (parses(text, n, &got)) {
            assert_int_equal(state_cluster_format(&got, again), n);
            assert_memory_equal(text, again, n);
        }
        text[i / 8] = (char)(text[i / 8] ^ (1 << i % 8));
    }
}

static void test_what_is_no_cluster_file(void **state)
{
#define ID   "cafe0000000000000000000000000000"
#define ZERO "00000000000000000000000000000000"
#define KEY  ID ID
    static const char *const row[] = {
        "",
        "\n",
        "cluster " ID "\n",
        "cluster " ZERO "\ncontroller 10.0.0.1 7420 " KEY "\n",
        "cluster " ID "\ncontroller 10.0.0.1 7420 " KEY, /* no end */
        "cluster " ID "\ncontroller 10.0.0.1 0 " KEY "\n",
        "cluster " ID "\ncontroller 10.0.0.1 65536 " KEY "\n",
        "cluster " ID "\ncontroller 10.0.0.1 07420 " KEY "\n",
        "cluster " ID "\ncontroller localhost 7420 " KEY "\n",
        "cluster " ID "\ncontroller  7420 " KEY "\n",
        "cluster " ID "\ncontroller 10.0.0.1 7420\n",
        "cluster " ID "\ncontroller 10.0.0.1 7420 " KEY " \n",
        "cluster " ID "\ncontroller 10.0.0.1 7420 " KEY "\n\n",
        "cluster " ID "\ncontroller 10.0.0.1 7420 " KEY "\nmore\n",
        "controller 10.0.0.1 7420 " KEY "\n",
    };
    struct state_cluster got = {.n_controllers = 77};
    char big[STATE_CLUSTER_TEXT_MAX + 16];

    (void)state;
    assert_true(parses("cluster " ID "\ncontroller 10.0.0.1 7420 " KEY "\n", 41 + 25 + 65, &got));
    got.n_controllers = 77;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
        if (parses(row[i], strlen(row[i]), &got))
            fail_msg("taken: %s", row[i]);
    assert_false(parses("cluster " ID "\ncontroller 10.0.0.1\0 7420 " KEY "\n", 132, &got));
    strcpy(big, "cluster " ID "\n");
    for (size_t i = 0; i <= STATE_CONTROLLERS_MAX; i++)
        strcat(big, "controller 10.0.0.1 7420 " KEY "\n");
    assert_false(parses(big, strlen(big), &got));
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = row[3][i % strlen(row[3])];
    assert_false(parses(big, sizeof(big), &got));
    assert_int_equal(got.n_controllers, 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ROOT(test_one_machine),
        WITH_ROOT(test_no_machine_id),
        WITH_ROOT(test_one_agent),
        WITH_ROOT(test_epochs),
        WITH_ROOT(test_too_many_epochs),
        cmocka_unit_test(test_epoch_lines),
        WITH_ROOT(test_pins),
        WITH_ROOT(test_pin_that_cannot_be_written),
        WITH_ROOT(test_a_cluster_is_kept),
        WITH_ROOT(test_a_cluster_file_of_others),
        cmocka_unit_test(test_a_damaged_cluster_file),
        cmocka_unit_test(test_what_is_no_cluster_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
