#include "common/message_map.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <protobuf-c/protobuf-c.h>

#include "common/core/err.h"
#include "common/core/ids.h"
#include "common/core/protocol.h"
#include "common/crypto.h"
#include "common/message.h"

enum {
    /* What protobuf-c may take for a message of n bytes: BUDGET_FACTOR * n + BUDGET_BASE. Honest messages need under
     * half of it; a list of empty submessages, two bytes each, would need a hundred times n. */
    BUDGET_FACTOR = 8,
    BUDGET_BASE = 64 * 1024
};

#define AT(T, base, offset)       (*(T *)((char *)(base) + (offset)))
#define AT_CONST(T, base, offset) (*(T const *)((const char *)(base) + (offset)))

/* ---- protobuf-c's memory ---- */

struct budget {
    size_t left;
    bool short_of_memory; /* malloc failed; else it was the budget */
};

static void *budget_alloc(void *ctx, size_t size)
{
    struct budget *b = ctx;
    void *p;

    if (size > b->left)
        return NULL;
    b->left -= size;
    p = malloc(size ? size : 1);
    b->short_of_memory |= !p;
    return p;
}

static void budget_free(void *ctx, void *p)
{
    (void)ctx;
    free(p);
}

int map_parse(const ProtobufCMessageDescriptor *desc, const void *buf, size_t n_bytes, ProtobufCMessage **ret)
{
    struct budget budget = {.left = BUDGET_FACTOR * n_bytes + BUDGET_BASE};
    ProtobufCAllocator allocator = {.alloc = budget_alloc, .free = budget_free, .allocator_data = &budget};

    *ret = protobuf_c_message_unpack(desc, &allocator, n_bytes, buf);
    if (*ret)
        return 0;
    return budget.short_of_memory ? err_raise(-ENOMEM) : MESSAGE_E_MALFORMED;
}

void map_parsed_destroy(ProtobufCMessage **m)
{
    ProtobufCAllocator allocator = {.alloc = budget_alloc, .free = budget_free};

    if (*m)
        protobuf_c_message_free_unpacked(*m, &allocator);
    *m = NULL;
}

uint32_t map_count_unknown(const ProtobufCMessage *m)
{
    size_t n = m->n_unknown_fields;

    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        bool oneof = f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;

        if (f->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            ProtobufCMessage **list = AT_CONST(ProtobufCMessage **, m, f->offset);

            for (size_t k = 0; k < AT_CONST(size_t, m, f->quantifier_offset); k++)
                n += map_count_unknown(list[k]);
        } else if ((!oneof || AT_CONST(uint32_t, m, f->quantifier_offset) == f->id) &&
                   AT_CONST(ProtobufCMessage *, m, f->offset)) {
            n += map_count_unknown(AT_CONST(ProtobufCMessage *, m, f->offset));
        }
    }
    return (uint32_t)n; /* under PROTO_MESSAGE_MAX: each is at least two bytes long */
}

/* ---- UTF-8 ---- */

/* Length of the sequence at s (n >= 1 bytes left), 0 where it is none: RFC 3629, and NUL is none either. */
static size_t utf8_sequence(const uint8_t *s, size_t n)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    uint32_t c;

    if (length == 0 || length > n || s[0] == 0)
        return 0;
    if (length == 1)
        return 1;
    c = s[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if (s[i] >> 6 != 2)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    return c < least[length] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? 0 : length;
}

static bool utf8_valid(const uint8_t *s, size_t n)
{
    for (size_t i = 0, length; i < n; i += length) {
        length = utf8_sequence(s + i, n - i);
        if (!length)
            return false;
    }
    return true;
}

/* ---- from protobuf-c's structs to ours ---- */

/* to: size bytes, zeroed. */
int map_get_text(const ProtobufCBinaryData *from, char *to, size_t size)
{
    if (from->len >= size || !utf8_valid(from->data, from->len))
        return MESSAGE_E_MALFORMED;
    if (from->len)
        memcpy(to, from->data, from->len);
    return 0;
}

static int get_id(const ProtobufCBinaryData *from, struct id128 *to)
{
    if (from->len == 0)
        return 0;
    if (from->len != sizeof(to->b))
        return MESSAGE_E_MALFORMED;
    memcpy(to->b, from->data, sizeof(to->b));
    return 0;
}

static int get_key(const ProtobufCBinaryData *from, char to[PROTO_KEY_MAX])
{
    if (from->len != CRYPTO_KEY_BYTES)
        return MESSAGE_E_MALFORMED;
    crypto_key_format(from->data, to);
    return 0;
}

/* One spelling only: keys are compared as texts. */
static int get_hex_key(const ProtobufCBinaryData *from, bool may_lack, char to[PROTO_KEY_MAX])
{
    uint8_t key[CRYPTO_KEY_BYTES];
    int r = map_get_text(from, to, PROTO_KEY_MAX);

    if (r || (may_lack && from->len == 0))
        return r;
    if (crypto_key_parse(to, key))
        return MESSAGE_E_MALFORMED;
    crypto_key_format(key, to);
    return 0;
}

/* A number of any type, checked against the bounds of f. */
static int get_number(const struct field *f, const void *wire, void *own)
{
    uint32_t u = f->type == FIELD_U64 ? 0 : AT_CONST(uint32_t, wire, f->wire);
    int32_t i = f->type == FIELD_U64 ? 0 : AT_CONST(int32_t, wire, f->wire);

    switch (f->type) {
    case FIELD_BOOL:
        AT(bool, own, f->own) = AT_CONST(protobuf_c_boolean, wire, f->wire) != 0;
        return 0;
    case FIELD_CHAR:
        AT(char, own, f->own) = u ? (char)u : '?';
        return u && (u <= ' ' || u > '~') ? MESSAGE_E_MALFORMED : 0;
    case FIELD_U8:
        AT(uint8_t, own, f->own) = (uint8_t)u;
        return u > UINT8_MAX ? MESSAGE_E_MALFORMED : 0;
    case FIELD_U16:
        AT(uint16_t, own, f->own) = (uint16_t)u;
        return u > UINT16_MAX ? MESSAGE_E_MALFORMED : 0;
    case FIELD_U32:
        AT(uint32_t, own, f->own) = u;
        return f->max && u > f->max ? MESSAGE_E_MALFORMED : 0;
    case FIELD_U64:
        AT(uint64_t, own, f->own) = AT_CONST(uint64_t, wire, f->wire);
        return 0;
    case FIELD_I32:
        AT(int32_t, own, f->own) = i;
        return i < f->min || i > f->max ? MESSAGE_E_MALFORMED : 0;
    case FIELD_ROLE:
    case FIELD_ENUM:
        if (i < 1 || i > f->max)
            return f->type == FIELD_ROLE && i > f->max ? MAP_E_LATER : MESSAGE_E_MALFORMED;
        AT(unsigned int, own, f->own) = (unsigned int)i;
        return 0;
    case FIELD_TEXT:
    case FIELD_ID:
    case FIELD_KEY:
    case FIELD_HEX_KEY:
    case FIELD_SUB:
    case FIELD_TEXTS:
    case FIELD_HEX_KEYS:
    case FIELD_U32S:
    case FIELD_U64S:
    case FIELD_LIST:
        break;
    }
    return err_raise(-ENOTRECOVERABLE);
}

static int get_texts(const struct field *f, const void *wire, void *own)
{
    size_t n = AT_CONST(size_t, wire, f->wire_n);
    const ProtobufCBinaryData *from = AT_CONST(ProtobufCBinaryData *, wire, f->wire);
    char *to = (char *)own + f->own;
    int r = 0;

    if (n > (size_t)f->max)
        return MESSAGE_E_MALFORMED;
    AT(size_t, own, f->own_n) = n;
    for (size_t i = 0; i < n && !r; i++)
        r = f->type == FIELD_TEXTS ? map_get_text(&from[i], to + i * f->size, f->size)
                                   : get_hex_key(&from[i], false, to + i * f->size);
    return r;
}

static int get_list(const struct field *f, const void *wire, void *own)
{
    size_t n = AT_CONST(size_t, wire, f->wire_n), *n_own = &AT(size_t, own, f->own_n);
    void *const *from = AT_CONST(void **, wire, f->wire);
    int r = 0;

    if (n > (size_t)f->max)
        return MESSAGE_E_MALFORMED;
    for (size_t i = 0; i < n && !r; i++) {
        char *to = (char *)own + f->own + *n_own * f->size;

        r = map_get(f->sub, from[i], to);
        if (r == MAP_E_LATER) {
            memset(to, 0, f->size);
            r = 0;
        } else {
            ++*n_own;
        }
    }
    return r;
}

static int get_column(const struct field *f, const void *wire, void *own)
{
    size_t n = AT_CONST(size_t, wire, f->wire_n);
    size_t width = f->type == FIELD_U32S ? sizeof(uint32_t) : sizeof(uint64_t);

    if (n != AT(size_t, own, f->own_n))
        return MESSAGE_E_MALFORMED;
    if (n)
        memcpy((char *)own + f->own, AT_CONST(void *, wire, f->wire), n * width);
    return 0;
}

static int get_field(const struct field *f, const void *wire, void *own)
{
    const void *sub;

    switch (f->type) {
    case FIELD_TEXT:
        return map_get_text(&AT_CONST(ProtobufCBinaryData, wire, f->wire), (char *)own + f->own, f->size);
    case FIELD_ID:
        return get_id(&AT_CONST(ProtobufCBinaryData, wire, f->wire), &AT(struct id128, own, f->own));
    case FIELD_KEY:
        return get_key(&AT_CONST(ProtobufCBinaryData, wire, f->wire), (char *)own + f->own);
    case FIELD_HEX_KEY:
        return get_hex_key(&AT_CONST(ProtobufCBinaryData, wire, f->wire), true, (char *)own + f->own);
    case FIELD_SUB:
        sub = AT_CONST(void *, wire, f->wire);
        return sub ? map_get(f->sub, sub, (char *)own + f->own) : 0;
    case FIELD_TEXTS:
    case FIELD_HEX_KEYS:
        return get_texts(f, wire, own);
    case FIELD_LIST:
        return get_list(f, wire, own);
    case FIELD_U32S:
    case FIELD_U64S:
        return get_column(f, wire, own);
    case FIELD_BOOL:
    case FIELD_CHAR:
    case FIELD_U8:
    case FIELD_U16:
    case FIELD_U32:
    case FIELD_U64:
    case FIELD_I32:
    case FIELD_ENUM:
    case FIELD_ROLE:
        break;
    }
    return get_number(f, wire, own);
}

int map_get(const struct map *map, const void *wire, void *own)
{
    int r = 0;

    for (size_t i = 0; i < map->n && !r; i++)
        r = get_field(&map->field[i], wire, own);
    return r;
}

/* ---- from our structs to protobuf-c's ---- */

struct chunk {
    struct chunk *next;
    max_align_t memory[];
};

void arena_clear(struct arena *a)
{
    while (a->first) {
        struct chunk *next = a->first->next;

        free(a->first);
        a->first = next;
    }
}

void *arena_take(struct arena *a, size_t n, size_t size)
{
    struct chunk *c = calloc(1, sizeof(*c) + n * size);

    if (!c)
        return NULL;
    c->next = a->first;
    a->first = c;
    return c->memory;
}

/* Text that is not UTF-8 (a device's name from a driver, a line of a log cut in mid-sequence) must not cost the whole
 * message at the other end: each byte that does not belong becomes '?'. */
int map_put_text(struct arena *a, const char *from, size_t size, ProtobufCBinaryData *to)
{
    size_t n = strnlen(from, size), length;
    char *copy;

    assert(n < size);
    *to = (ProtobufCBinaryData){.len = n, .data = (uint8_t *)from};
    if (utf8_valid(to->data, n))
        return 0;
    copy = arena_take(a, n, 1);
    if (!copy)
        return err_raise(-ENOMEM);
    memcpy(copy, from, n);
    to->data = (uint8_t *)copy;
    for (size_t i = 0; i < n; i += length ? length : 1) {
        length = utf8_sequence(to->data + i, n - i);
        if (!length)
            copy[i] = '?';
    }
    return 0;
}

static void put_id(const struct id128 *from, ProtobufCBinaryData *to)
{
    if (!id128_is_zero(from))
        *to = (ProtobufCBinaryData){.len = sizeof(from->b), .data = (uint8_t *)from->b};
}

/* from: a key, checked by who filled in the message. */
static int put_key(struct arena *a, const char *from, ProtobufCBinaryData *to)
{
    uint8_t *key = arena_take(a, CRYPTO_KEY_BYTES, 1);
    int r;

    if (!key)
        return err_raise(-ENOMEM);
    r = crypto_key_parse(from, key);
    assert(!r);
    (void)r;
    *to = (ProtobufCBinaryData){.len = CRYPTO_KEY_BYTES, .data = key};
    return 0;
}

static int put_list(struct arena *a, const struct field *f, const void *own, void *wire)
{
    size_t n = AT_CONST(size_t, own, f->own_n);
    const char *from = (const char *)own + f->own;
    bool texts = f->type != FIELD_LIST;
    void *to;

    assert(n <= (size_t)f->max);
    if (!n)
        return 0;
    to = arena_take(a, n, texts ? sizeof(ProtobufCBinaryData) : sizeof(void *));
    if (!to)
        return err_raise(-ENOMEM);
    for (size_t i = 0; i < n; i++) {
        if (texts) {
            if (map_put_text(a, from + i * f->size, f->size, (ProtobufCBinaryData *)to + i))
                return -ENOMEM;
        } else {
            void *sub = ((void **)to)[i] = map_put(a, f->sub, from + i * f->size);

            if (!sub)
                return -ENOMEM;
        }
    }
    AT(size_t, wire, f->wire_n) = n;
    AT(void *, wire, f->wire) = to;
    return 0;
}

static int put_field(struct arena *a, const struct field *f, const void *own, void *wire)
{
    char c;

    switch (f->type) {
    case FIELD_TEXT:
    case FIELD_HEX_KEY:
        return map_put_text(a, (const char *)own + f->own, f->size, &AT(ProtobufCBinaryData, wire, f->wire));
    case FIELD_ID:
        put_id(&AT_CONST(struct id128, own, f->own), &AT(ProtobufCBinaryData, wire, f->wire));
        return 0;
    case FIELD_KEY:
        return put_key(a, (const char *)own + f->own, &AT(ProtobufCBinaryData, wire, f->wire));
    case FIELD_BOOL:
        AT(protobuf_c_boolean, wire, f->wire) = AT_CONST(bool, own, f->own);
        return 0;
    case FIELD_CHAR:
        c = AT_CONST(char, own, f->own);
        AT(uint32_t, wire, f->wire) = c > ' ' && c <= '~' ? (uint32_t)c : 0;
        return 0;
    case FIELD_U8:
        AT(uint32_t, wire, f->wire) = AT_CONST(uint8_t, own, f->own);
        return 0;
    case FIELD_U16:
        AT(uint32_t, wire, f->wire) = AT_CONST(uint16_t, own, f->own);
        return 0;
    case FIELD_U32:
    case FIELD_I32:
    case FIELD_ENUM:
    case FIELD_ROLE:
        memcpy((char *)wire + f->wire, (const char *)own + f->own, sizeof(uint32_t));
        return 0;
    case FIELD_U64:
        AT(uint64_t, wire, f->wire) = AT_CONST(uint64_t, own, f->own);
        return 0;
    case FIELD_SUB:
        AT(void *, wire, f->wire) = map_put(a, f->sub, (const char *)own + f->own);
        return AT(void *, wire, f->wire) ? 0 : -ENOMEM;
    case FIELD_TEXTS:
    case FIELD_HEX_KEYS:
    case FIELD_LIST:
        return put_list(a, f, own, wire);
    case FIELD_U32S:
    case FIELD_U64S:
        AT(size_t, wire, f->wire_n) = AT_CONST(size_t, own, f->own_n);
        AT(const void *, wire, f->wire) = (const char *)own + f->own;
        return 0;
    }
    return err_raise(-ENOTRECOVERABLE);
}

void *map_put(struct arena *a, const struct map *map, const void *own)
{
    void *wire = arena_take(a, 1, map->wire->sizeof_message);

    if (!wire)
        return NULL;
    protobuf_c_message_init(map->wire, wire);
    for (size_t i = 0; i < map->n; i++) {
        if (put_field(a, &map->field[i], own, wire))
            return NULL;
    }
    return wire;
}
