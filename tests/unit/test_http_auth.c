/* Who may ask, by which name, from which page: tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/crypto.h"
#include "controller/http_auth.h"
#include "controller/http_names.h"

static struct view_api_key keys[3];
static struct view view = {.n_api_keys = 3, .api_key = keys};

static void hash(const char *text, char hex[PROTO_KEY_MAX])
{
    uint8_t digest[CRYPTO_KEY_BYTES];

    crypto_digest(text, strlen(text), digest);
    crypto_key_format(digest, hex);
}

static int make_keys(void **state)
{
    static const char *const text[] = {"caravan_i", "caravan_r", "caravan_a"};

    (void)state;
    if (crypto_init() < 0)
        return -1;
    for (int i = 0; i < 3; i++) {
        keys[i].scope = (enum api_scope)(API_INFER + i);
        hash(text[i], keys[i].hash);
    }
    return 0;
}

/* A head with these fields beside Host. */
static struct http_head *head(const char *host, const char *fields)
{
    struct http_head *h = NULL;
    char text[2048];
    int n = snprintf(text, sizeof(text), "GET /x HTTP/1.1\r\nHost: %s\r\n%s\r\n", host, fields);

    assert_int_equal(http_head_parse(text, (size_t)n, &h), 0);
    return h;
}

static void test_claims(void **state)
{
    static const struct {
        const char *fields;
        enum http_claim claim;
    } cases[] = {
        {"", HTTP_CLAIM_NONE},
        {"Authorization: Bearer caravan_i\r\n", HTTP_CLAIM_INFER},
        {"authorization: bearer   caravan_r\r\n", HTTP_CLAIM_READ},
        {"X-API-KEY: caravan_a\r\n", HTTP_CLAIM_ADMIN},
        {"Authorization: Bearer caravan_A\r\n", HTTP_CLAIM_UNKNOWN},
        {"Authorization: Bearer caravan_a x\r\n", HTTP_CLAIM_UNKNOWN},
        {"Authorization: Bearer caravan_\r\n", HTTP_CLAIM_UNKNOWN},
        {"Authorization: Bearer\r\n", HTTP_CLAIM_NONE},
        {"Authorization: Bearercaravan_a\r\n", HTTP_CLAIM_NONE},
        {"X-Api-Key:\r\n", HTTP_CLAIM_NONE},
        {"Cookie: key=caravan_a\r\n", HTTP_CLAIM_NONE},
        /* a proxy's own word beside the key */
        {"Authorization: Basic Y2FyYXZhbl9h\r\n", HTTP_CLAIM_NONE},
        {"Authorization: Basic Y2FyYXZhbl9h\r\nX-Api-Key: caravan_r\r\n", HTTP_CLAIM_READ},
        /* some clients say it in both; two keys are none */
        {"Authorization: Bearer caravan_r\r\nX-Api-Key: caravan_r\r\n", HTTP_CLAIM_READ},
        {"Authorization: Bearer caravan_r\r\nX-Api-Key: caravan_a\r\n", HTTP_CLAIM_UNKNOWN},
        {"Authorization: Bearer caravan_a\r\nAuthorization: Bearer nonsense\r\n", HTTP_CLAIM_UNKNOWN},
    };

    char said[PROTO_KEY_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_head *h = head("x", cases[i].fields);
        enum http_claim claim = http_auth_claim(&view, h, said);

        assert_int_equal(http_auth_claim_again(&view, said), *said ? claim : HTTP_CLAIM_NONE);

        if (claim != cases[i].claim)
            fail_msg("case %zu: %d, not %d", i, claim, cases[i].claim);
        free(h);
    }
}

static void test_a_long_key_is_not_looked_up(void **state)
{
    char fields[600], key[HTTP_AUTH_KEY_MAX + 2] = "", said[PROTO_KEY_MAX];
    struct view_api_key one = {.scope = API_ADMIN};
    struct view v = {.n_api_keys = 1, .api_key = &one};

    (void)state;
    memset(key, 'k', HTTP_AUTH_KEY_MAX);
    for (int longer = 0; longer < 2; longer++) {
        struct http_head *h;

        key[HTTP_AUTH_KEY_MAX] = longer ? 'k' : '\0';
        hash(key, one.hash);
        snprintf(fields, sizeof(fields), "X-Api-Key: %s\r\n", key);
        h = head("x", fields);
        assert_int_equal(http_auth_claim(&v, h, said), longer ? HTTP_CLAIM_UNKNOWN : HTTP_CLAIM_ADMIN);
        free(h);
    }
}

/* A record that is damaged must not become a way in. */
static void test_a_key_without_a_hash_or_scope_is_nobodys(void **state)
{
    struct view_api_key bad[2] = {{.scope = API_ADMIN}, {.scope = (enum api_scope)9}};
    struct view v = {.n_api_keys = 2, .api_key = bad};
    struct http_head *h = head("x", "X-Api-Key: caravan_a\r\n");
    char said[PROTO_KEY_MAX];

    (void)state;
    hash("caravan_a", bad[1].hash);
    assert_int_equal(http_auth_claim(&v, h, said), HTTP_CLAIM_UNKNOWN);
    assert_int_equal(http_auth_claim(NULL, h, said), HTTP_CLAIM_UNKNOWN);
    free(h);
}

static void test_secrets_are_wiped(void **state)
{
    struct http_head *h = head("x", "Authorization: Bearer s3cret\r\nCookie: s3cret\r\nX-Api-Key: s3cret\r\nA: b\r\n"
                                    "Proxy-Authorization: s3cret\r\nx-api-key: s3cret\r\n");

    (void)state;
    http_auth_wipe(h);
    assert_string_equal(http_head_field(h, "Authorization"), "");
    assert_string_equal(http_head_field(h, "A"), "b");
    for (size_t i = 0; i < h->n_fields; i++)
        assert_null(strstr(h->field[i].value, "s3cret"));
    free(h);
}

static void test_judgement(void **state)
{
    static const struct http_route admin = {.access = HTTP_FOR_ADMIN}, read = {.access = HTTP_FOR_READ},
                                   infer = {.access = HTTP_FOR_INFER}, all = {.access = HTTP_FOR_ALL};
    const struct http_route *const routes[] = {&admin, &read, &infer, &all, NULL};
    static const enum http_verdict expected[][5] = {
        [HTTP_CLAIM_NONE] = {HTTP_NO_KEY, HTTP_NO_KEY, HTTP_NO_KEY, HTTP_PASS, HTTP_NO_KEY},
        [HTTP_CLAIM_UNKNOWN] = {HTTP_WRONG_KEY, HTTP_WRONG_KEY, HTTP_WRONG_KEY, HTTP_PASS, HTTP_WRONG_KEY},
        [HTTP_CLAIM_INFER] = {HTTP_LESSER_KEY, HTTP_LESSER_KEY, HTTP_PASS, HTTP_PASS, HTTP_PASS},
        [HTTP_CLAIM_READ] = {HTTP_LESSER_KEY, HTTP_PASS, HTTP_LESSER_KEY, HTTP_PASS, HTTP_PASS},
        [HTTP_CLAIM_ADMIN] = {HTTP_PASS, HTTP_PASS, HTTP_PASS, HTTP_PASS, HTTP_PASS},
    };
    static const struct view open_view;

    (void)state;
    for (enum http_claim c = HTTP_CLAIM_NONE; c <= HTTP_CLAIM_ADMIN; c++)
        for (size_t i = 0; i < 5; i++) {
            bool all_may = routes[i] == &all;

            assert_int_equal(http_auth_judge(&view, true, c, routes[i]), expected[c][i]);
            assert_int_equal(http_auth_judge(&view, false, c, routes[i]), expected[c][i]);
            assert_int_equal(http_auth_judge(NULL, true, c, routes[i]), all_may ? HTTP_PASS : HTTP_STARTING);
            assert_int_equal(http_auth_judge(&open_view, true, c, routes[i]), HTTP_PASS);
            assert_int_equal(http_auth_judge(&open_view, false, c, routes[i]), all_may ? HTTP_PASS : HTTP_CLOSED);
        }
}

static const char *const allowed[] = {"ai.example.org", "chat.example.org:3000"};
static const struct http_names names = {.host = "box.home.arpa", .allowed = allowed, .n_allowed = 2};

static void test_names(void **state)
{
    static const struct {
        const char *host;
        bool ours;
    } cases[] = {
        {"127.0.0.1", true},
        {"127.0.0.1:8080", true},
        {"192.168.1.5:8080", true},
        {"[::1]", true},
        {"[::1]:8080", true},
        {"[fe80::1]", true},
        {"localhost", true},
        {"LocalHost:8080", true},
        {"localhost.", true},
        {"localhost.:80", true},
        {"box.home.arpa", true},
        {"box", true},
        {"BOX.local:8080", true},
        {"ai.example.org", true},
        {"AI.example.org:8443", true},
        {"chat.example.org:3000", true},
        {"chat.example.org:3001", false},
        {"chat.example.org", false},
        {"evil.example", false},
        {"box.evil.example", false},
        {"boxlocal", false},
        {"bo", false},
        {"localhost.evil.example", false},
        {"127.0.0.1.evil.example", false},
        {"127.1", false}, /* resolvers take it for an address, so somebody may resolve it otherwise */
        {"0x7f.0.0.1", false},
        {"2130706433", false},
        {"::1", false},
        {"[::1", false},
        {"[localhost]", false},
        {"[127.0.0.1]", false},
        {"[::1]x", false},
        {"localhost:", false},
        {"localhost:80a", false},
        {"localhost:8080:80", false},
        {":8080", false},
        {".", false},
        {"", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (http_names_host(&names, cases[i].host) != cases[i].ours)
            fail_msg("case %zu: %s", i, cases[i].host);
    assert_false(http_names_host(&(struct http_names){.host = ""}, "box"));
    assert_false(http_names_host(&(struct http_names){.host = ""}, ".local"));
    assert_true(http_names_valid("a.b:80"));
    assert_false(http_names_valid("http://a.b"));
    assert_false(http_names_valid("a b"));
    assert_false(http_names_valid(""));
}

static void test_pages_from_elsewhere(void **state)
{
    static const struct {
        const char *host, *fields;
        bool foreign;
        const char *origin;
    } cases[] = {
        {"127.0.0.1:8080", "", false, NULL},
        {"127.0.0.1:8080", "Origin: http://127.0.0.1:8080\r\n", false, "http://127.0.0.1:8080"},
        {"127.0.0.1:8080", "Origin: http://127.0.0.1:3000\r\n", true, NULL}, /* another program's page */
        {"127.0.0.1:8080", "Origin: http://localhost:8080\r\n", true, NULL},
        {"box", "Origin: https://box\r\n", false, "https://box"},
        {"box", "Origin: https://BOX\r\nSec-Fetch-Site: same-origin\r\n", false, "https://BOX"},
        {"box", "Origin: null\r\n", true, NULL},
        {"box", "Origin:\r\n", true, NULL},
        {"box", "Origin: file://box\r\n", true, NULL},
        {"box", "Origin: http://evil.example\r\n", true, NULL},
        {"box", "Origin: http://box@evil.example\r\n", true, NULL},
        {"box", "Origin: http://box\r\nOrigin: http://evil.example\r\n", true, "http://box"},
        {"box", "Origin: https://ai.example.org\r\n", false, "https://ai.example.org"},
        {"box", "Origin: https://ai.example.org\r\nSec-Fetch-Site: cross-site\r\n", false, "https://ai.example.org"},
        {"box", "Origin: http://chat.example.org:3000\r\n", false, "http://chat.example.org:3000"},
        {"box", "Origin: http://chat.example.org\r\n", true, NULL},
        {"box", "Sec-Fetch-Site: cross-site\r\n", true, NULL},
        {"box", "Sec-Fetch-Site: none\r\n", false, NULL},
        {"box", "Sec-Fetch-Site: same-origin\r\n", false, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_head *h = head(cases[i].host, cases[i].fields);
        const char *origin = http_names_origin(&names, h);

        if (http_names_foreign(&names, h) != cases[i].foreign)
            fail_msg("case %zu: %s", i, cases[i].fields);
        if (!origin != !cases[i].origin || (origin && strcmp(origin, cases[i].origin) != 0))
            fail_msg("case %zu: origin %s", i, origin ? origin : "-");
        free(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_claims),
        cmocka_unit_test(test_a_long_key_is_not_looked_up),
        cmocka_unit_test(test_a_key_without_a_hash_or_scope_is_nobodys),
        cmocka_unit_test(test_secrets_are_wiped),
        cmocka_unit_test(test_judgement),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_pages_from_elsewhere),
    };

    return cmocka_run_group_tests(tests, make_keys, NULL);
}
