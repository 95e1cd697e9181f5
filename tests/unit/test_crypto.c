/* Identities: made once, kept, and never taken from a file that others can read or that does not hold together. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/crypto.h"

static char dir[] = "/tmp/caravan-crypto-XXXXXX";
static char path[sizeof(dir) + sizeof("/identity")];

static int setup(void **state)
{
    (void)state;
    memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/identity", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir); /* fails where something else was left behind */
}

static size_t read_file(char *buf, size_t size)
{
    FILE *f = fopen(path, "rb");
    size_t n;

    assert_non_null(f);
    n = fread(buf, 1, size, f);
    fclose(f);
    return n;
}

static void write_file(const char *buf, size_t n, mode_t mode)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(buf, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void test_made_once_and_kept(void **state)
{
    struct identity a, b;
    struct stat st;

    (void)state;
    umask(0);
    assert_int_equal(crypto_identity_load(dir, &a), 0);
    assert_int_equal(crypto_identity_load(dir, &b), 0);
    assert_memory_equal(&a, &b, sizeof(a));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_nlink, 1);
    crypto_identity_clear(&a);
    for (size_t i = 0; i < sizeof(a); i++)
        assert_int_equal(((uint8_t *)&a)[i], 0);
}

/* The same file by its path; who only reads makes none. */
static void test_read_by_its_path(void **state)
{
    struct identity a, b;

    (void)state;
    assert_int_equal(crypto_identity_read(path, &b), -ENOENT);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(crypto_identity_read("/nonexistent/of/caravan", &b), -ENOENT);
    assert_int_equal(crypto_identity_load(dir, &a), 0);
    assert_int_equal(crypto_identity_read(path, &b), 0);
    assert_memory_equal(&a, &b, sizeof(a));
    assert_int_equal(chdir(dir), 0);
    assert_int_equal(crypto_identity_read("identity", &b), 0);
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(crypto_identity_read(path, &b), CRYPTO_E_BAD_KEY_FILE);
}

static void test_no_directory(void **state)
{
    struct identity a;

    (void)state;
    assert_true(crypto_identity_load("/nonexistent/of/caravan", &a) < 0);
}

static void test_files_that_others_can_read_are_refused(void **state)
{
    static const mode_t mode[] = {0640, 0604, 0620, 0666};
    struct identity a, b;

    (void)state;
    assert_int_equal(crypto_identity_load(dir, &a), 0);
    for (size_t i = 0; i < sizeof(mode) / sizeof(mode[0]); i++) {
        assert_int_equal(chmod(path, mode[i]), 0);
        assert_int_equal(crypto_identity_load(dir, &b), CRYPTO_E_BAD_KEY_FILE);
    }
    assert_int_equal(chmod(path, 0400), 0);
    assert_int_equal(crypto_identity_load(dir, &b), 0);
}

static void test_what_is_no_file_is_refused(void **state)
{
    char other[sizeof(path) + 8];
    struct identity a;

    (void)state;
    assert_int_equal(crypto_identity_load(dir, &a), 0);
    snprintf(other, sizeof(other), "%s.other", path);
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(symlink(other, path), 0);
    assert_int_equal(crypto_identity_load(dir, &a), CRYPTO_E_BAD_KEY_FILE);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unlink(other), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(crypto_identity_load(dir, &a), CRYPTO_E_BAD_KEY_FILE);
}

/* Root asks for the key of the service's user, whose directory it is; not for one that somebody put there. */
static void test_whose_file_it_is(void **state)
{
    struct identity a;

    (void)state;
    assert_int_equal(crypto_identity_load(dir, &a), 0);
    if (geteuid() != 0)
        return;
    assert_int_equal(chown(path, 65534, 65534), 0);
    assert_int_equal(crypto_identity_load(dir, &a), CRYPTO_E_BAD_KEY_FILE);
    assert_int_equal(chown(dir, 65534, 65534), 0);
    assert_int_equal(crypto_identity_load(dir, &a), 0);
    assert_int_equal(chown(path, 1, 1), 0);
    assert_int_equal(crypto_identity_load(dir, &a), CRYPTO_E_BAD_KEY_FILE);
}

/* Each cut and each changed byte: refused, and the file left as it is. */
static void test_damage_is_refused_and_kept(void **state)
{
    char good[1024], bad[1024], after[1024];
    struct identity a;
    size_t n;

    (void)state;
    assert_int_equal(crypto_identity_load(dir, &a), 0);
    n = read_file(good, sizeof(good));
    for (size_t cut = 0; cut < n; cut++) {
        write_file(good, cut, 0600);
        assert_int_equal(crypto_identity_load(dir, &a), CRYPTO_E_BAD_KEY_FILE);
        assert_int_equal(read_file(after, sizeof(after)), cut);
    }
    for (size_t i = 0; i < n; i++) {
        memcpy(bad, good, n);
        bad[i] = bad[i] == 'a' ? 'b' : 'a';
        write_file(bad, n, 0600);
        assert_int_equal(crypto_identity_load(dir, &a), CRYPTO_E_BAD_KEY_FILE);
    }
    memcpy(bad, good, n);
    bad[n] = '\n';
    write_file(bad, n + 1, 0600);
    assert_int_equal(crypto_identity_load(dir, &a), CRYPTO_E_BAD_KEY_FILE);
    memset(bad, '#', sizeof(bad));
    write_file(bad, sizeof(bad), 0600);
    assert_int_equal(crypto_identity_load(dir, &a), CRYPTO_E_BAD_KEY_FILE);
    write_file(good, n, 0600);
    assert_int_equal(crypto_identity_load(dir, &a), 0);
}

/* Two programs at once agree on one identity, and none sees half of it. */
static void test_two_at_once(void **state)
{
    int fd[2];
    struct identity seen[2];

    (void)state;
    assert_int_equal(pipe(fd), 0);
    for (int i = 0; i < 2; i++) {
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
            struct identity a;
            int r = crypto_identity_load(dir, &a);

            _exit(r || write(fd[1], &a, sizeof(a)) != (ssize_t)sizeof(a));
        }
    }
    for (int i = 0; i < 2; i++) {
        int status;

        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
        assert_int_equal(read(fd[0], &seen[i], sizeof(seen[i])), sizeof(seen[i]));
    }
    assert_memory_equal(&seen[0], &seen[1], sizeof(seen[0]));
    close(fd[0]);
    close(fd[1]);
}

static void test_keys_as_text(void **state)
{
    static const char hex[] = "00ff102030405060708090a0b0c0d0e0f0112233445566778899aabbccddeeff";
    static const char *const bad[] = {
        "",
        "00",
        "00ff102030405060708090a0b0c0d0e0f0112233445566778899aabbccddeef",
        "00ff102030405060708090a0b0c0d0e0f0112233445566778899aabbccddeeff0",
        "00ff102030405060708090a0b0c0d0e0f0112233445566778899aabbccddeefg",
        " 0ff102030405060708090a0b0c0d0e0f0112233445566778899aabbccddeeff",
    };
    uint8_t key[CRYPTO_KEY_BYTES], kept[CRYPTO_KEY_BYTES];
    char buf[CRYPTO_KEY_HEX];

    (void)state;
    assert_int_equal(crypto_key_parse(hex, key), 0);
    assert_int_equal(key[1], 0xff);
    assert_string_equal(crypto_key_format(key, buf), hex);
    memcpy(kept, key, sizeof(key));
    assert_int_equal(crypto_key_parse(NULL, key), CRYPTO_E_BAD_HEX);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(crypto_key_parse(bad[i], key), CRYPTO_E_BAD_HEX);
    assert_memory_equal(key, kept, sizeof(key));
}

/* Values by `b2sum -l 256`: an id and a derived secret must mean the same in every version. */
static void test_ids_and_secrets_do_not_change(void **state)
{
    static const uint8_t key[CRYPTO_KEY_BYTES] = {0}, other[CRYPTO_KEY_BYTES] = {1};
    struct id128 id = crypto_node_id(key), random[2] = {crypto_random_id(), crypto_random_id()};
    uint8_t a[32], b[32];

    (void)state;
    assert_string_equal(ID128(&id), "89eb0d6a8a691dae2cd15ed0369931ce");
    assert_false(id128_equal(&random[0], &random[1]));
    crypto_derive(key, "x", 1, a);
    crypto_derive(key, "x", 1, b);
    assert_memory_equal(a, b, 32);
    crypto_derive(key, "y", 1, b);
    assert_memory_not_equal(a, b, 32);
    crypto_derive(other, "x", 1, b);
    assert_memory_not_equal(a, b, 32);
}

#define TEST_IN_DIR(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_DIR(test_made_once_and_kept),
        TEST_IN_DIR(test_read_by_its_path),
        TEST_IN_DIR(test_no_directory),
        TEST_IN_DIR(test_files_that_others_can_read_are_refused),
        TEST_IN_DIR(test_what_is_no_file_is_refused),
        TEST_IN_DIR(test_whose_file_it_is),
        TEST_IN_DIR(test_damage_is_refused_and_kept),
        TEST_IN_DIR(test_two_at_once),
        cmocka_unit_test(test_keys_as_text),
        cmocka_unit_test(test_ids_and_secrets_do_not_change),
    };

    if (crypto_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
