#include "controller/http_auth.h"

#include <string.h>
#include <strings.h>

#include "common/crypto.h"
#include "controller/api_key.h"

/* The key that a field names; NULL: none. */
static const char *key_of(const struct http_field *field)
{
    const char *value = field->value;

    if (strcasecmp(field->name, "X-Api-Key") == 0)
        return *value ? value : NULL;
    if (strcasecmp(field->name, "Authorization") != 0 || strncasecmp(value, "Bearer", 6) != 0 || value[6] != ' ')
        return NULL;
    value += 6 + strspn(value + 6, " ");
    return *value ? value : NULL;
}

/* HTTP_CLAIM_NONE, or HTTP_CLAIM_UNKNOWN with *ret set where there is one key to look up. */
static enum http_claim find_key(const struct http_head *h, const char **ret)
{
    *ret = NULL;
    for (size_t i = 0; i < h->n_fields; i++) {
        const char *key = key_of(&h->field[i]);

        if (!key)
            continue;
        if (*ret && strcmp(*ret, key) != 0) { /* two readers could each take another for the one that counts */
            *ret = NULL;
            return HTTP_CLAIM_UNKNOWN;
        }
        *ret = key;
    }
    return *ret ? HTTP_CLAIM_UNKNOWN : HTTP_CLAIM_NONE;
}

static enum http_claim claim_of(enum api_scope scope)
{
    switch (scope) {
    case API_INFER:
        return HTTP_CLAIM_INFER;
    case API_READ:
        return HTTP_CLAIM_READ;
    case API_ADMIN:
        return HTTP_CLAIM_ADMIN;
    }
    return HTTP_CLAIM_UNKNOWN;
}

enum http_claim http_auth_claim_again(const struct view *v, const char *hash)
{
    enum http_claim claim = *hash ? HTTP_CLAIM_UNKNOWN : HTTP_CLAIM_NONE;

    for (size_t i = 0; v && *hash && i < v->n_api_keys; i++)
        if (crypto_equal(v->api_key[i].hash, hash, CRYPTO_KEY_HEX))
            claim = claim_of(v->api_key[i].scope);
    return claim;
}

enum http_claim http_auth_claim(const struct view *v, const struct http_head *h, char hash[PROTO_KEY_MAX])
{
    const char *key;
    enum http_claim claim = find_key(h, &key);

    *hash = '\0';
    if (!key || strlen(key) > HTTP_AUTH_KEY_MAX)
        return claim;
    api_key_hash(key, hash);
    return http_auth_claim_again(v, hash);
}

bool http_auth_same_keys(const struct view *a, const struct view *b)
{
    size_t n = a ? a->n_api_keys : 0;

    if (n != (b ? b->n_api_keys : 0))
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(a->api_key[i].hash, b->api_key[i].hash) != 0 || a->api_key[i].scope != b->api_key[i].scope)
            return false;
    return true;
}

void http_auth_wipe(struct http_head *h)
{
    static const char *const secret[] = {"Authorization", "Proxy-Authorization", "X-Api-Key", "Cookie"};

    for (size_t i = 0; i < sizeof(secret) / sizeof(secret[0]); i++)
        http_head_wipe(h, secret[i]);
}

bool http_claim_counts(enum http_claim c)
{
    switch (c) {
    case HTTP_CLAIM_INFER:
    case HTTP_CLAIM_READ:
    case HTTP_CLAIM_ADMIN:
        return true;
    case HTTP_CLAIM_NONE:
    case HTTP_CLAIM_UNKNOWN:
        return false;
    }
    return false;
}

const char *http_claim_name(enum http_claim c)
{
    switch (c) {
    case HTTP_CLAIM_INFER:
        return api_scope_name(API_INFER);
    case HTTP_CLAIM_READ:
        return api_scope_name(API_READ);
    case HTTP_CLAIM_ADMIN:
        return api_scope_name(API_ADMIN);
    case HTTP_CLAIM_NONE:
    case HTTP_CLAIM_UNKNOWN:
        return "no";
    }
    return "no";
}

static bool suffices(enum http_claim claim, const struct http_route *route)
{
    if (!route || claim == HTTP_CLAIM_ADMIN)
        return true;
    switch (route->access) {
    case HTTP_FOR_ADMIN:
        return false;
    case HTTP_FOR_READ:
        return claim == HTTP_CLAIM_READ;
    case HTTP_FOR_INFER:
        return claim == HTTP_CLAIM_INFER;
    case HTTP_FOR_ALL:
        return true;
    }
    return false;
}

enum http_verdict http_auth_judge(const struct view *v, bool local, enum http_claim claim,
                                  const struct http_route *route)
{
    if (route && route->access == HTTP_FOR_ALL)
        return HTTP_PASS;
    if (!v)
        return HTTP_STARTING;
    if (!v->n_api_keys)
        return local ? HTTP_PASS : HTTP_CLOSED;
    if (http_claim_counts(claim))
        return suffices(claim, route) ? HTTP_PASS : HTTP_LESSER_KEY;
    return claim == HTTP_CLAIM_NONE ? HTTP_NO_KEY : HTTP_WRONG_KEY;
}
