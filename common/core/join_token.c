/* Reading is strict: one token has one text, so that a flipped bit never goes unnoticed, and nothing of a token that is
 * refused is used or shown. */
#include "common/core/join_token.h"

#include <assert.h>
#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "common/core/base64url.h"
#include "common/core/fnv.h"
#include "common/core/ip_literal.h"
#include "common/core/text.h"

#define FAMILY "caravan"
#define PREFIX FAMILY "1_"
#define COPY   "; copy it again, or make another with `caravan token create`"

enum {
    VERSION = 1,
    KEY_BYTES = sizeof(((struct join_controller *)0)->key),
    CHECK_BYTES = 4,
    ENTRY_MAX = KEY_BYTES + 2 + 1 + PROTO_ADDR_MAX - 1,
    BYTES_MAX = 1 + sizeof(struct id128) + JOIN_TOKEN_SECRET + 1 + JOIN_TOKEN_CONTROLLERS_MAX * ENTRY_MAX + CHECK_BYTES,
    BYTES_MIN = 1 + CHECK_BYTES
};
_Static_assert(sizeof(PREFIX) - 1 + BASE64URL_TEXT(BYTES_MAX) <= JOIN_TOKEN_TEXT_MAX, "the largest token has room");

/* What the bytes say of themselves, before the check is looked at. */
enum shape { SHAPE_WHOLE, SHAPE_SHORT /* they end too early */, SHAPE_WRONG };

static void put_check(const uint8_t *data, size_t n, uint8_t check[CHECK_BYTES])
{
    uint64_t hash = fnv1a(FNV1A_BASIS, data, n);

    for (size_t i = 0; i < CHECK_BYTES; i++)
        check[i] = (uint8_t)(hash >> (56 - 8 * i));
}

/* ---- out --------------------------------------------------------------------------------------------------------- */

static void put(uint8_t *data, size_t *n, const void *from, size_t n_bytes)
{
    memcpy(data + *n, from, n_bytes);
    *n += n_bytes;
}

static size_t put_token(const struct join_token *t, uint8_t data[BYTES_MAX])
{
    size_t n = 0;

    data[n++] = VERSION;
    put(data, &n, t->cluster.b, sizeof(t->cluster.b));
    put(data, &n, t->seed, sizeof(t->seed));
    data[n++] = (uint8_t)t->n_controllers;
    for (size_t i = 0; i < t->n_controllers; i++) {
        const struct join_controller *c = &t->controller[i];
        size_t length = strnlen(c->addr, sizeof(c->addr));

        assert(length < sizeof(c->addr));
        put(data, &n, c->key, sizeof(c->key));
        data[n++] = (uint8_t)(c->port >> 8);
        data[n++] = (uint8_t)c->port;
        data[n++] = (uint8_t)length;
        put(data, &n, c->addr, length);
    }
    put_check(data, n, data + n);
    return n + CHECK_BYTES;
}

void join_token_format(const struct join_token *t, char buf[JOIN_TOKEN_TEXT_MAX])
{
    uint8_t data[BYTES_MAX];

    assert(t->n_controllers >= 1 && t->n_controllers <= JOIN_TOKEN_CONTROLLERS_MAX);
    memcpy(buf, PREFIX, sizeof(PREFIX) - 1);
    base64url_format(data, put_token(t, data), buf + sizeof(PREFIX) - 1);
    explicit_bzero(data, sizeof(data));
}

/* ---- in ---------------------------------------------------------------------------------------------------------- */

/* data: room for n bytes. NULL; else what is wrong. */
static const char *get_base64(const char *text, size_t n, uint8_t *data, size_t *ret_n)
{
    switch (base64url_parse(text, n, data, ret_n)) {
    case 0:
        return NULL;
    case BASE64URL_E_CHARACTER:
        return isspace((unsigned char)text[base64url_span(text, n)])
                   ? "there is a blank or a line break within it: paste it as one word"
                   : "it is mistyped: one of its characters stands in no token" COPY;
    case BASE64URL_E_LENGTH:
        return "it is cut: its end is missing" COPY;
    }
    return "it is cut or mistyped at its end" COPY;
}

struct bytes {
    const uint8_t *p;
    size_t left;
};

/* false: there are not so many. */
static bool take(struct bytes *b, void *to, size_t n)
{
    if (b->left < n)
        return false;
    memcpy(to, b->p, n);
    b->p += n;
    b->left -= n;
    return true;
}

static enum shape get_controller(struct bytes *b, struct join_controller *c)
{
    uint8_t head[3];

    if (!take(b, c->key, sizeof(c->key)) || !take(b, head, sizeof(head)))
        return SHAPE_SHORT;
    c->port = (uint16_t)(head[0] << 8 | head[1]);
    if (!c->port || head[2] >= sizeof(c->addr))
        return SHAPE_WRONG;
    if (!take(b, c->addr, head[2]))
        return SHAPE_SHORT;
    return ip_literal(c->addr, head[2]) ? SHAPE_WHOLE : SHAPE_WRONG;
}

/* b: without the check, behind the version. t: zeroed. */
static enum shape get_token(struct bytes b, struct join_token *t)
{
    enum shape shape = SHAPE_WHOLE;
    uint8_t n;

    if (!take(&b, t->cluster.b, sizeof(t->cluster.b)) || !take(&b, t->seed, sizeof(t->seed)) || !take(&b, &n, 1))
        return SHAPE_SHORT;
    if (!n || n > JOIN_TOKEN_CONTROLLERS_MAX || id128_is_zero(&t->cluster))
        return SHAPE_WRONG;
    for (t->n_controllers = 0; t->n_controllers < n && shape == SHAPE_WHOLE; t->n_controllers++)
        shape = get_controller(&b, &t->controller[t->n_controllers]);
    return shape == SHAPE_WHOLE && b.left ? SHAPE_WRONG : shape;
}

/* NULL; else what is wrong. The check is the first thing that counts; without it, the shape tells a cut from a slip. */
static const char *get_bytes(const uint8_t *data, size_t n, struct join_token *t)
{
    uint8_t check[CHECK_BYTES];
    enum shape shape;

    if (n < BYTES_MIN)
        return "it is cut: its end is missing" COPY;
    n -= CHECK_BYTES;
    put_check(data, n, check);
    shape = get_token((struct bytes){data + 1, n - 1}, t);
    if (memcmp(check, data + n, CHECK_BYTES) != 0)
        return shape == SHAPE_SHORT ? "it is cut: its end is missing" COPY : "it is cut or mistyped" COPY;
    if (data[0] != VERSION)
        return "it is of a later version: update Caravan on this node";
    return shape == SHAPE_WHOLE ? NULL : "it is not one that a controller has made";
}

/* NULL; else what is wrong. Tokens of other versions have the same beginning and another number. */
static const char *get_prefix(const char *text, size_t n)
{
    size_t at = sizeof(FAMILY) - 1;

    if (n > at && memcmp(text, FAMILY, at) == 0 && text[at] == '_')
        return "it is an API key; a join token begins with " PREFIX;
    while (n > at && memcmp(text, FAMILY, sizeof(FAMILY) - 1) == 0 && isdigit((unsigned char)text[at]))
        at++;
    if (at == sizeof(FAMILY) - 1 || at == n || text[at] != '_')
        return "it is no join token: one begins with " PREFIX;
    if (at + 1 != sizeof(PREFIX) - 1 || memcmp(text, PREFIX, sizeof(PREFIX) - 1) != 0)
        return "it is of a later version: update Caravan on this node";
    return n >= JOIN_TOKEN_TEXT_MAX ? "it is too long for a join token" : NULL;
}

int join_token_parse(const char *text, size_t n_bytes, struct join_token *ret, char *why, size_t why_size)
{
    uint8_t data[JOIN_TOKEN_TEXT_MAX];
    struct join_token t = {.n_controllers = 0};
    const char *problem;
    size_t n = 0;

    for (; n_bytes && isspace((unsigned char)*text); n_bytes--)
        text++;
    while (n_bytes && isspace((unsigned char)text[n_bytes - 1]))
        n_bytes--;
    problem = n_bytes ? get_prefix(text, n_bytes) : "it is empty";
    if (!problem)
        problem = get_base64(text + sizeof(PREFIX) - 1, n_bytes - (sizeof(PREFIX) - 1), data, &n);
    if (!problem)
        problem = get_bytes(data, n, &t);
    if (problem)
        text_copy(why, why_size, problem);
    else
        *ret = t;
    explicit_bzero(data, sizeof(data));
    explicit_bzero(&t, sizeof(t));
    return problem ? JOIN_TOKEN_E_INVALID : 0;
}
