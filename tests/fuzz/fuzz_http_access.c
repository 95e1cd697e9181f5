/* Who asks, by which name and from which page: of the head of a request. The path of it, without its '/', is what stands in
 * http_hosts. Decided here once more, by other means, where that can be said in a few words. */
#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/crypto.h"
#include "controller/http_auth.h"
#include "controller/http_names.h"
#include "tests/fuzz/support.h"

enum { N_KEYS = 3 };
static const char *const key[N_KEYS] = {"caravan_i", "caravan_r", "caravan_a"};
static struct view_api_key keys[N_KEYS];
static const struct view without, with = {.n_api_keys = N_KEYS, .api_key = keys};

void fuzz_setup(void)
{
    for (size_t i = 0; i < N_KEYS; i++) {
        uint8_t digest[CRYPTO_KEY_BYTES];

        crypto_digest(key[i], strlen(key[i]), digest);
        crypto_key_format(digest, keys[i].hash);
        keys[i].scope = (enum api_scope)(API_INFER + i);
    }
}

/* ---- names ---- */

/* Is it an address, localhost, node.example.org in one of its forms, or the allowed one? A port may follow each. */
static bool is_ours(const char *text, const char *allowed)
{
    static const char *const name[] = {"localhost", "node", "node.local", "node.example.org"};
    size_t n = *text == '[' ? strcspn(text, "]") : strcspn(text, ":");
    unsigned char address[16];
    char host[300];

    snprintf(host, sizeof(host), "%.*s", (int)n, text);
    if (*host == '[')
        return inet_pton(AF_INET6, host + 1, address) == 1;
    if (n && host[n - 1] == '.')
        host[n - 1] = '\0';
    for (size_t i = 0; i < sizeof(name) / sizeof(name[0]); i++)
        if (strcasecmp(host, name[i]) == 0)
            return true;
    return inet_pton(AF_INET, host, address) == 1 || strcasecmp(host, allowed) == 0 || strcasecmp(text, allowed) == 0;
}

static void check_names(const struct http_head *h)
{
    const char *allowed = h->path + (*h->path == '/'), *origin, *authority;
    const struct http_names names = {.host = "node.example.org", .allowed = &allowed, .n_allowed = 1};
    bool foreign = http_names_foreign(&names, h);

    if (http_names_host(&names, h->host))
        FUZZ_CHECK(is_ours(h->host, allowed));
    if (http_names_valid(allowed))
        FUZZ_CHECK(http_names_host(&names, allowed) || *allowed == '[');
    origin = http_names_origin(&names, h);
    if (!origin) {
        FUZZ_CHECK(foreign || !http_head_field(h, "Origin"));
        return;
    }
    authority = strstr(origin, "//") + 2;
    FUZZ_CHECK(strcasecmp(authority, h->host) == 0 || is_ours(authority, allowed));
}

/* ---- keys ---- */

static bool says(const struct http_head *h, const char *text)
{
    for (size_t i = 0; i < h->n_fields; i++) {
        const struct http_field *f = &h->field[i];

        if ((strcasecmp(f->name, "X-Api-Key") == 0 && strcmp(f->value, text) == 0) ||
            (strcasecmp(f->name, "Authorization") == 0 && strncasecmp(f->value, "Bearer ", 7) == 0 &&
             strcmp(f->value + 7 + strspn(f->value + 7, " "), text) == 0))
            return true;
    }
    return false;
}

/* Who may, by a route's access: the keys of these scopes. */
static bool is_enough(enum http_claim claim, enum http_access access)
{
    return access == HTTP_FOR_ALL || claim == HTTP_CLAIM_ADMIN ||
           (access == HTTP_FOR_READ && claim == HTTP_CLAIM_READ) ||
           (access == HTTP_FOR_INFER && claim == HTTP_CLAIM_INFER);
}

static void check_verdicts(enum http_claim claim)
{
    for (int access = HTTP_FOR_ADMIN; access <= HTTP_FOR_ALL; access++) {
        const struct http_route r = {.access = (enum http_access)access};
        bool for_all = access == HTTP_FOR_ALL;

        FUZZ_CHECK(http_auth_judge(NULL, true, claim, &r) == (for_all ? HTTP_PASS : HTTP_STARTING));
        FUZZ_CHECK(http_auth_judge(&without, true, claim, &r) == HTTP_PASS);
        FUZZ_CHECK(http_auth_judge(&without, false, claim, &r) == (for_all ? HTTP_PASS : HTTP_CLOSED));
        FUZZ_CHECK((http_auth_judge(&with, true, claim, &r) == HTTP_PASS) == is_enough(claim, r.access));
    }
    FUZZ_CHECK((http_auth_judge(&with, true, claim, NULL) == HTTP_PASS) == http_claim_counts(claim));
}

static void check_keys(struct http_head *h)
{
    char hash[PROTO_KEY_MAX], same[PROTO_KEY_MAX];
    enum http_claim claim = http_auth_claim(&with, h, hash);

    FUZZ_CHECK(!http_claim_counts(claim) || http_auth_claim_again(&with, hash) == claim);
    for (int i = 0; i < N_KEYS; i++)
        if (claim == (enum http_claim)(HTTP_CLAIM_INFER + i))
            FUZZ_CHECK(says(h, key[i]) && strcmp(http_claim_name(claim), api_scope_name(keys[i].scope)) == 0);
    FUZZ_CHECK(http_claim_counts(claim) == (strcmp(http_claim_name(claim), "no") != 0));
    FUZZ_CHECK(!http_claim_counts(http_auth_claim(NULL, h, same)) && strcmp(hash, same) == 0);
    FUZZ_CHECK(!http_claim_counts(http_auth_claim(&without, h, same)) && strcmp(hash, same) == 0);
    check_verdicts(claim);
    http_auth_wipe(h);
    FUZZ_CHECK(http_auth_claim(&with, h, same) == HTTP_CLAIM_NONE && !*same && !says(h, key[2]));
}

void fuzz_one(const uint8_t *data, size_t size)
{
    CLEANUP(cleanup_free) struct http_head *h = NULL;
    size_t scanned = 0, n;

    if (http_head_find((const char *)data, size, &scanned, &n) || http_head_parse((const char *)data, n, &h))
        return;
    check_names(h);
    check_keys(h);
}
