/* base64url: the vectors of RFC 4648 without their padding, every byte at every place, and what is no such text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/core/base64url.h"

/* From an exact copy, so that AddressSanitizer sees a byte read behind the end. */
static int parse(const char *text, uint8_t *buf, size_t *ret_n)
{
    size_t n = strlen(text);
    char *copy = malloc(n ? n : 1);
    int r;

    assert_non_null(copy);
    memcpy(copy, text, n);
    r = base64url_parse(copy, n, buf, ret_n);
    free(copy);
    return r;
}

static void test_vectors(void **state)
{
    static const struct {
        const char *bytes, *text;
    } row[] = {
        {"", ""},           {"f", "Zg"},          {"fo", "Zm8"},          {"foo", "Zm9v"},
        {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}, {"\xfb\xff\xbf", "-_-_"},
    };
    char text[BASE64URL_TEXT(6)];
    uint8_t bytes[8];
    size_t n;

    (void)state;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        n = strlen(row[i].bytes);
        assert_string_equal(base64url_format(row[i].bytes, n, text), row[i].text);
        assert_int_equal(strlen(text) + 1, BASE64URL_TEXT(n));
        assert_int_equal(parse(row[i].text, bytes, &n), 0);
        assert_int_equal(n, strlen(row[i].bytes));
        assert_memory_equal(bytes, row[i].bytes, n);
    }
}

static void test_every_byte(void **state)
{
    (void)state;
    for (size_t at = 0; at < 4; at++)
        for (int value = 0; value < 256; value++) {
            uint8_t bytes[4] = {0}, back[BASE64URL_TEXT(4)];
            char text[BASE64URL_TEXT(4)];
            size_t n = 0;

            bytes[at] = (uint8_t)value;
            assert_int_equal(parse(base64url_format(bytes, at + 1, text), back, &n), 0);
            assert_int_equal(n, at + 1);
            assert_memory_equal(back, bytes, n);
        }
}

static void test_refused(void **state)
{
    static const struct {
        const char *text;
        int outcome;
        size_t span;
    } row[] = {
        {"Zg==", BASE64URL_E_CHARACTER, 2},
        {"Zm9v ", BASE64URL_E_CHARACTER, 4},
        {"+m9v", BASE64URL_E_CHARACTER, 0},
        {"Zm/v", BASE64URL_E_CHARACTER, 2},
        {"Zm9v\xc3", BASE64URL_E_CHARACTER, 4},
        {"Z", BASE64URL_E_LENGTH, 1},
        {"Zm9vA", BASE64URL_E_LENGTH, 5},
        {"Zh", BASE64URL_E_END, 2},
        {"Zm9", BASE64URL_E_END, 3},
        {"Zm9vYg\n", BASE64URL_E_CHARACTER, 6},
    };
    uint8_t bytes[8];

    (void)state;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        size_t n = 77;

        assert_int_equal(parse(row[i].text, bytes, &n), row[i].outcome);
        assert_int_equal(n, 77);
        assert_int_equal(base64url_span(row[i].text, strlen(row[i].text)), row[i].span);
    }
    assert_int_equal(base64url_span("Zm\0v", 4), 2);
    assert_int_equal(base64url_span("Zm9v", 2), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
