/* API keys: their text, their hash, and the file that one of them lies in. */
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
#include <unistd.h>

#include <cmocka.h>

#include "common/crypto.h"
#include "controller/api_key.h"

static char dir[64], path[96];

static int set_up(void **state)
{
    (void)state;
    assert_int_equal(crypto_init(), 0);
    strcpy(dir, "/tmp/test_api_key.XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/" API_KEY_FILE, dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static void put(const char *text, mode_t mode)
{
    FILE *f;

    unlink(path);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f) | chmod(path, mode), 0);
}

static void test_text(void **state)
{
    char a[API_KEY_TEXT], b[API_KEY_TEXT], hash[PROTO_KEY_MAX];

    (void)state;
    api_key_new(a);
    api_key_new(b);
    assert_int_equal(strlen(a), API_KEY_TEXT - 1);
    assert_memory_equal(a, "caravan_", 8);
    assert_int_equal(strspn(a + 8, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"), 43);
    assert_string_not_equal(a, b);
    /* b2sum -l 256 says the same */
    api_key_hash("caravan_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", hash);
    assert_string_equal(hash, "3768be9044a4fd316151d67360b8118cadd9883cac01e4607dc160cf2942b22a");
}

static void test_made_once(void **state)
{
    char first[API_KEY_TEXT] = "", again[API_KEY_TEXT] = "", why[256];
    struct stat st;

    (void)state;
    assert_int_equal(api_key_read_file(dir, first, why, sizeof(why)), API_KEY_E_NONE);
    umask(0);
    assert_int_equal(api_key_make_file(dir), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, API_KEY_TEXT); /* with a newline in place of the NUL */
    assert_int_equal(api_key_read_file(dir, first, why, sizeof(why)), 0);
    assert_int_equal(strlen(first), API_KEY_TEXT - 1);
    assert_int_equal(api_key_make_file(dir), API_KEY_E_EXISTS);
    assert_int_equal(api_key_read_file(dir, again, why, sizeof(why)), 0);
    assert_string_equal(first, again);
}

#define KEY43 "0123456789012345678901234567890123456789_-z"

static void test_what_is_not_taken_for_a_key(void **state)
{
    static const struct {
        const char *text;
        mode_t mode;
        const char *why; /* NULL: it is one */
    } cases[] = {
        {"caravan_" KEY43 "\n", 0600, NULL},
        {"caravan_" KEY43 "\n", 0400, NULL},
        {"caravan_" KEY43 "\n", 0640, "may be read by others"},
        {"caravan_" KEY43 "\n", 0604, "may be read by others"},
        {"", 0600, "holds no API key"},
        {"caravan_" KEY43, 0600, "holds no API key"},
        {"caravan_" KEY43 "\n\n", 0600, "holds no API key"},
        {"caravan_" KEY43 "x\n", 0600, "holds no API key"},
        {"caravan_012345678901234567890123456789012345678=_-z\n", 0600, "holds no API key"},
        {"karavan_" KEY43 "\n", 0600, "holds no API key"},
    };
    char text[API_KEY_TEXT], why[256];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int r;

        put(cases[i].text, cases[i].mode);
        strcpy(text, "untouched");
        r = api_key_read_file(dir, text, why, sizeof(why));
        assert_int_equal(r, cases[i].why ? API_KEY_E_BAD_FILE : 0);
        if (!cases[i].why)
            continue;
        assert_string_equal(text, "untouched");
        assert_non_null(strstr(why, cases[i].why));
        assert_non_null(strstr(why, path));
    }
}

static void test_what_is_no_file(void **state)
{
    char text[API_KEY_TEXT], why[256];

    (void)state;
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(api_key_read_file(dir, text, why, sizeof(why)), API_KEY_E_BAD_FILE);
    assert_int_equal(api_key_make_file(dir), API_KEY_E_EXISTS);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(api_key_read_file(dir, text, why, sizeof(why)), API_KEY_E_BAD_FILE);
    assert_int_equal(api_key_make_file("/nonexistent"), -ENOENT);
}

#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIR(test_text),
        IN_DIR(test_made_once),
        IN_DIR(test_what_is_not_taken_for_a_key),
        IN_DIR(test_what_is_no_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
