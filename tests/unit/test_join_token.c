/* Join tokens: what is written is read, and each cut, slip or strange number is refused with its reason and nothing else. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/core/fnv.h"
#include "common/core/ip_literal.h"
#include "common/core/join_token.h"
#include "tests/lib/random.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static struct join_token make(size_t n_controllers, const char *addr)
{
    struct join_token t = {.cluster = {{0xca, 0xfe}}, .n_controllers = n_controllers};

    for (size_t i = 0; i < JOIN_TOKEN_SECRET; i++)
        t.seed[i] = (uint8_t)(i * 7);
    for (size_t i = 0; i < n_controllers; i++) {
        t.controller[i].port = (uint16_t)(7420 + i);
        memset(t.controller[i].key, (int)i + 1, sizeof(t.controller[i].key));
        snprintf(t.controller[i].addr, PROTO_ADDR_MAX, "%s", addr);
    }
    return t;
}

/* An exact copy, so that AddressSanitizer sees a byte read behind the end. ret: untouched where it is refused. */
static int parse(const char *text, size_t n, struct join_token *ret, char why[PROTO_TEXT_MAX])
{
    struct join_token before = *ret;
    char *copy = malloc(n ? n : 1);
    int r;

    assert_non_null(copy);
    memcpy(copy, text, n);
    why[0] = '\0';
    r = join_token_parse(copy, n, ret, why, PROTO_TEXT_MAX);
    free(copy);
    if (r) {
        assert_int_equal(r, JOIN_TOKEN_E_INVALID);
        assert_memory_equal(ret, &before, sizeof(before));
        assert_true(why[0]);
    }
    return r;
}

static void refused(const char *text, size_t n, const char *reason)
{
    struct join_token t = {.n_controllers = 0};
    char why[PROTO_TEXT_MAX];

    if (!parse(text, n, &t, why))
        fail_msg("'%.*s' is taken", (int)n, text);
    if (!strstr(why, reason))
        fail_msg("'%.*s': '%s' instead of '%s'", (int)n, text, why, reason);
    if (n > 16 && memmem(why, strlen(why), text + 9, 6))
        fail_msg("shows the token: %s", why);
}

static void test_round_trip(void **state)
{
    static const char *const addr[] = {"10.77.0.10", "fd00::10", "1.2.3.4",
                                       "1111:2222:3333:4444:5555:6666:111.122.133.144"};

    (void)state;
    for (size_t n = 1; n <= JOIN_TOKEN_CONTROLLERS_MAX; n++)
        for (size_t i = 0; i < sizeof(addr) / sizeof(addr[0]); i++) {
            struct join_token want = make(n, addr[i]), got = {.n_controllers = 0};
            char text[JOIN_TOKEN_TEXT_MAX], spaced[JOIN_TOKEN_TEXT_MAX + 8], why[PROTO_TEXT_MAX];

            join_token_format(&want, text);
            assert_int_equal(parse(text, strlen(text), &got, why), 0);
            assert_memory_equal(&want, &got, sizeof(want));
            got = (struct join_token){.n_controllers = 0};
            snprintf(spaced, sizeof(spaced), " \t%s\r\n", text);
            assert_int_equal(parse(spaced, strlen(spaced), &got, why), 0);
            assert_memory_equal(&want, &got, sizeof(want));
        }
}

/* Fixed for ever: tokens are made by one version and read by another. */
static void test_the_text_of_one(void **state)
{
    struct join_token t = make(1, "10.77.0.10");
    char text[JOIN_TOKEN_TEXT_MAX];

    (void)state;
    join_token_format(&t, text);
    assert_string_equal(text, "caravan1_"
                              "Acr-AAAAAAAAAAAAAAAAAAAABw4VHCMqMTg_Rk1UW2JpcHd-hYyTmqGor7a9xMvS2QEBAQEBAQEBAQEBAQEB"
                              "AQEBAQEBAQEBAQEBAQEBAQEBARz8CjEwLjc3LjAuMTCHtihg");
}

static void test_every_cut_is_refused(void **state)
{
    struct join_token t = make(3, "192.168.178.20");
    char text[JOIN_TOKEN_TEXT_MAX];

    (void)state;
    join_token_format(&t, text);
    for (size_t n = 9; n < strlen(text); n++)
        refused(text, n, "cut");
    for (size_t n = 0; n < 9; n++)
        refused(text, n, n ? "no join token" : "empty");
}

/* Each character in turn becomes each other one: among them, every flip of a bit. */
static void test_every_slip_is_refused(void **state)
{
    struct join_token t = make(2, "10.77.0.10");
    char text[JOIN_TOKEN_TEXT_MAX];

    (void)state;
    join_token_format(&t, text);
    for (size_t at = 0; text[at]; at++) {
        char was = text[at];

        for (size_t i = 0; i < sizeof(digits) - 1; i++) {
            if (digits[i] == was)
                continue;
            text[at] = digits[i];
            refused(text, strlen(text), "it is");
        }
        for (unsigned bit = 0; bit < 8; bit++) {
            text[at] = (char)(was ^ (1 << bit));
            refused(text, strlen(text), "");
        }
        text[at] = was;
    }
}

/* ---- bytes made by hand: right check, wrong contents ---- */

static size_t bytes_of(const struct join_token *t, uint8_t data[1024])
{
    size_t n = 0;

    data[n++] = 1;
    memcpy(data + n, t->cluster.b, 16);
    memcpy(data + n + 16, t->seed, 32);
    n += 48;
    data[n++] = (uint8_t)t->n_controllers;
    for (size_t i = 0; i < t->n_controllers; i++) {
        memcpy(data + n, t->controller[i].key, 32);
        data[n + 32] = (uint8_t)(t->controller[i].port >> 8);
        data[n + 33] = (uint8_t)t->controller[i].port;
        data[n + 34] = (uint8_t)strlen(t->controller[i].addr);
        memcpy(data + n + 35, t->controller[i].addr, data[n + 34]);
        n += 35 + (size_t)data[n + 34];
    }
    return n;
}

static void text_of(uint8_t data[1024], size_t n, char text[2048])
{
    uint64_t hash = fnv1a(FNV1A_BASIS, data, n);
    size_t used = 9;

    for (size_t i = 0; i < 4; i++)
        data[n++] = (uint8_t)(hash >> (56 - 8 * i));
    memcpy(text, "caravan1_", 9);
    for (size_t bit = 0; bit < n * 8; bit += 6) {
        unsigned two = (unsigned)data[bit / 8] << 8 | (bit / 8 + 1 < n ? data[bit / 8 + 1] : 0);

        text[used++] = digits[two >> (10 - bit % 8) & 63];
    }
    text[used] = '\0';
}

enum { AT_VERSION = 0, AT_CLUSTER = 1, AT_N = 49, AT_KEY = 50, AT_PORT = 82, AT_LENGTH = 84, AT_ADDR = 85 };

static void test_strange_contents(void **state)
{
    static const char *const not_an_address[] = {"",  "localhost", "10.77.0", "10.77.0.300", "fe80::1%eth0",
                                                 "*", "::1::"};
    struct join_token t = make(1, "10.77.0.10"), got = {.n_controllers = 0};
    char text[2048], same[JOIN_TOKEN_TEXT_MAX], why[PROTO_TEXT_MAX];
    uint8_t data[1024];
    size_t n = bytes_of(&t, data);

    (void)state;
    text_of(data, n, text); /* the maker of these agrees with join_token_format */
    join_token_format(&t, same);
    assert_string_equal(text, same);
#define WITH(at, value, reason)                \
    do {                                       \
        n = bytes_of(&t, data);                \
        data[at] = (value);                    \
        text_of(data, n, text);                \
        refused(text, strlen(text), (reason)); \
    } while (0)
    WITH(AT_VERSION, 2, "later version");
    WITH(AT_VERSION, 0, "later version");
    WITH(AT_N, 0, "not one that a controller has made");
    WITH(AT_N, 2, "not one that");
    WITH(AT_N, JOIN_TOKEN_CONTROLLERS_MAX + 1, "not one that");
    WITH(AT_N, 255, "not one that");
    WITH(AT_LENGTH, 0, "not one that");
    WITH(AT_LENGTH, 9, "not one that"); /* one byte is left over */
    WITH(AT_LENGTH, 11, "not one that");
    WITH(AT_LENGTH, PROTO_ADDR_MAX, "not one that");
    WITH(AT_LENGTH, 255, "not one that");
    WITH(AT_ADDR, 0, "not one that");
#undef WITH
    t.controller[0].port = 0;
    text_of(data, bytes_of(&t, data), text);
    refused(text, strlen(text), "not one that");
    t.controller[0].port = 1;
    for (size_t i = 0; i < sizeof(not_an_address) / sizeof(not_an_address[0]); i++) {
        snprintf(t.controller[0].addr, PROTO_ADDR_MAX, "%s", not_an_address[i]);
        text_of(data, bytes_of(&t, data), text);
        refused(text, strlen(text), "not one that");
    }
    t = make(1, "10.77.0.10");
    t.cluster = (struct id128){{0}};
    text_of(data, bytes_of(&t, data), text);
    refused(text, strlen(text), "not one that");
    t = make(JOIN_TOKEN_CONTROLLERS_MAX, "1111:2222:3333:4444:5555:6666:111.122.133.144"); /* the longest */
    text_of(data, bytes_of(&t, data), text);
    assert_int_equal(parse(text, strlen(text), &got, why), 0);
}

/* More than there is room for, and bytes enough to fill it. */
static void test_more_than_there_is_room_for(void **state)
{
    struct join_token t = make(1, "::1");
    uint8_t data[1024] = {0};
    size_t n = bytes_of(&t, data), one = n - AT_KEY;
    char text[2048];

    (void)state;
    for (size_t i = 1; i <= JOIN_TOKEN_CONTROLLERS_MAX; i++)
        memcpy(data + AT_KEY + i * one, data + AT_KEY, one);
    data[AT_N] = JOIN_TOKEN_CONTROLLERS_MAX + 1;
    text_of(data, AT_KEY + data[AT_N] * one, text);
    refused(text, strlen(text), "not one that");
    data[AT_N] = JOIN_TOKEN_CONTROLLERS_MAX;
    n = AT_ADDR + (JOIN_TOKEN_CONTROLLERS_MAX - 1) * one;
    data[n - 1] = 255;
    memset(data + n, '1', 255);
    text_of(data, n + 255, text);
    refused(text, strlen(text), "not one that");
}

static void test_other_texts(void **state)
{
    static const struct {
        const char *text, *reason;
    } row[] = {
        {"", "empty"},
        {" \n", "empty"},
        {"hello", "no join token"},
        {"caravan", "no join token"},
        {"caravan1", "no join token"},
        {"caravanx_", "no join token"},
        {"Caravan1_AAAA", "no join token"},
        {"caravan_2X1sT0nQmYw7Lr5Pp3Vb8KdZc4Ge6Hf9Ja0Mu1Ry2Wo", "API key"},
        {"caravan2_AAAA", "later version"},
        {"caravan12_AAAA", "later version"},
        {"caravan1_", "cut"},
        {"caravan1_A", "cut"},
        {"caravan1_AA AA", "blank"},
        {"caravan1_AA\nAA", "blank"},
        {"caravan1_AA=A", "mistyped"},
        {"caravan1_AA+/", "mistyped"},
        {"caravan1_AB", "at its end"}, /* bits that mean nothing */
    };
    char longest[4 * JOIN_TOKEN_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
        refused(row[i].text, strlen(row[i].text), row[i].reason);
    refused("caravan1_AA\0AA", 14, "mistyped");
    memset(longest, 'A', sizeof(longest));
    memcpy(longest, "caravan1_", 9);
    refused(longest, sizeof(longest), "too long");
    refused(longest, JOIN_TOKEN_TEXT_MAX - 1, "cut or mistyped");
}

/* Against the C library's own reader, over texts that are nearly addresses. */
static void test_addresses_as_inet_pton_reads_them(void **state)
{
    static const char letter[] = "0012f::::..9aF256";
    static const char *const good[] = {
        "10.77.0.10", "fd00::10", "::", "1:2:3:4:5:6:7::", "::ffff:10.0.0.1", "255.255.255.255"};
    uint64_t seed = 1;
    size_t n_good = 0;

    (void)state;
    for (size_t round = 0; round < 200000; round++) {
        char text[48] = "";
        struct in6_addr buf;
        bool want;

        if (round % 2)
            snprintf(text, sizeof(text), "%s", good[random_in(&seed, 0, 5)]);
        for (uint64_t i = 0, n = round % 2 ? random_in(&seed, 1, 2) : random_in(&seed, 0, 19); i < n; i++) {
            size_t at = round % 2 ? random_in(&seed, 0, strlen(text) - 1) : i;

            text[at] = letter[random_in(&seed, 0, sizeof(letter) - 2)];
        }
        want = inet_pton(AF_INET, text, &buf) == 1 || inet_pton(AF_INET6, text, &buf) == 1;
        n_good += want;
        if (ip_literal(text, strlen(text)) != want)
            fail_msg("'%s': inet_pton says %d", text, want);
    }
    assert_true(n_good > 10000); /* both answers were asked for */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),           cmocka_unit_test(test_the_text_of_one),
        cmocka_unit_test(test_every_cut_is_refused), cmocka_unit_test(test_every_slip_is_refused),
        cmocka_unit_test(test_strange_contents),     cmocka_unit_test(test_more_than_there_is_room_for),
        cmocka_unit_test(test_other_texts),          cmocka_unit_test(test_addresses_as_inet_pton_reads_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
