/* An answer of anybody who listens at a coordinator's port, whole and in pieces: the same parts come out. First byte: bit 0
 * it answers HEAD; the rest how long the pieces are. */
#include <string.h>

#include "common/core/http_parse.h"
#include "tests/fuzz/support.h"

struct outcome {
    int r, status, eof;
    size_t n_fields, n_body;
    uint32_t hash;
    bool ended;
};

static void take_part(struct outcome *o, const struct http_part *part)
{
    switch (part->kind) {
    case HTTP_PART_NONE:
        break;
    case HTTP_PART_HEAD:
        o->status = part->status;
        o->n_fields = part->n_fields;
        for (size_t i = 0; i < part->n_fields; i++)
            FUZZ_CHECK(http_is_token(part->field[i].name) && http_is_field_value(part->field[i].value));
        http_field_get(part->field, part->n_fields, "Content-Type");
        break;
    case HTTP_PART_DATA:
        FUZZ_CHECK(part->n_bytes > 0);
        for (size_t i = 0; i < part->n_bytes; i++)
            o->hash = o->hash * 31 + (uint8_t)part->data[i];
        o->n_body += part->n_bytes;
        break;
    case HTTP_PART_END:
        o->ended = true;
        break;
    }
}

static struct outcome parse(const char *text, size_t n, bool head_only, size_t n_piece)
{
    struct outcome o = {.hash = 1};
    struct http_parser *p = NULL;

    o.r = http_parser_new(head_only, &p);
    for (size_t at = 0, used; !o.r && !o.ended;) {
        size_t piece = n - at < n_piece ? n - at : n_piece;
        struct http_part part;

        o.r = http_parse(p, text + at, piece, &used, &part);
        FUZZ_CHECK(used <= piece);
        at += used;
        if (!o.r)
            take_part(&o, &part);
        if (!o.r && part.kind == HTTP_PART_NONE && (at == n || used < piece))
            break;
    }
    if (p && !o.r)
        o.eof = http_parse_eof(p);
    http_parser_destroy(&p);
    return o;
}

void fuzz_one(const uint8_t *data, size_t size)
{
    struct outcome whole, pieces;

    if (!size)
        return;
    whole = parse((const char *)data + 1, size - 1, data[0] & 1, SIZE_MAX);
    pieces = parse((const char *)data + 1, size - 1, data[0] & 1, 1 + data[0] / 2);
    FUZZ_CHECK(whole.r >= 0 && whole.r == pieces.r && whole.ended == pieces.ended && whole.eof == pieces.eof);
    FUZZ_CHECK(whole.status == pieces.status && whole.n_fields == pieces.n_fields && whole.n_body == pieces.n_body &&
               whole.hash == pieces.hash);
}
