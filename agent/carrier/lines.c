#include "agent/carrier/lines.h"

#include <string.h>

#include "common/core/ip_literal.h"
#include "common/core/procfs.h"
#include "common/core/protocol.h"
#include "common/crypto.h"

_Static_assert(CRYPTO_KEY_BYTES == 32 && (int)CRYPTO_KEY_HEX == (int)PROTO_KEY_MAX, "keys of field_key");

bool lines_next(struct span *text, struct span *ret_key, struct span *ret_value)
{
    size_t n = (size_t)(text->end - text->p);
    const char *eol = n ? memchr(text->p, '\n', n) : NULL;
    const char *eq = eol ? memchr(text->p, '=', (size_t)(eol - text->p)) : NULL;

    if (!eq)
        return false;
    *ret_key = (struct span){.p = text->p, .end = eq};
    *ret_value = (struct span){.p = eq + 1, .end = eol};
    text->p = eol + 1;
    return true;
}

bool span_is(const struct span *s, const char *word)
{
    size_t n = (size_t)(s->end - s->p);

    return strlen(word) == n && !memcmp(s->p, word, n);
}

/* The field ends at `to`. */
static bool leave(struct span *value, const char *to)
{
    if (to != value->end && (*to != ' ' || to + 1 == value->end))
        return false;
    value->p = to == value->end ? to : to + 1;
    return true;
}

static const char *end_of_field(const struct span *value)
{
    size_t n = (size_t)(value->end - value->p);
    const char *blank = n ? memchr(value->p, ' ', n) : NULL;

    return blank ? blank : value->end;
}

static bool copy(const char *p, const char *end, char *ret, size_t size)
{
    size_t n = (size_t)(end - p);

    if (!n || n >= size || memchr(p, '\0', n))
        return false;
    memcpy(ret, p, n);
    ret[n] = '\0';
    return true;
}

bool field_uint(struct span *value, uint64_t min, uint64_t max, uint64_t *ret)
{
    const char *p = value->p;

    return procfs_uint(&p, value->end, ret) && *ret >= min && *ret <= max && leave(value, p);
}

bool field_port(struct span *value, uint16_t *ret)
{
    uint64_t n;

    if (!field_uint(value, 1, UINT16_MAX, &n))
        return false;
    *ret = (uint16_t)n;
    return true;
}

bool field_rank(struct span *value, int32_t *ret)
{
    uint64_t n;

    if (!field_uint(value, 0, PROTO_RANKS_MAX - 1, &n))
        return false;
    *ret = (int32_t)n;
    return true;
}

bool field_word(struct span *value, char *ret, size_t n)
{
    const char *end = end_of_field(value);

    return copy(value->p, end, ret, n) && leave(value, end);
}

bool field_addr(struct span *value, char *ret)
{
    return field_word(value, ret, PROTO_ADDR_MAX) && ip_literal(ret, strlen(ret));
}

bool field_key(struct span *value, uint8_t ret[32])
{
    char hex[CRYPTO_KEY_HEX];

    return field_word(value, hex, sizeof(hex)) && crypto_key_parse(hex, ret) == 0;
}

bool field_rest(struct span *value, char *ret, size_t n)
{
    if (!copy(value->p, value->end, ret, n))
        return false;
    value->p = value->end;
    return true;
}
