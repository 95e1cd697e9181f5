/* The tensors of the model: which there are, where they lie, and their random bytes. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "deploy/mkgguf/model.h"

enum { TENSORS_PER_LAYER = 9, CHUNK_BYTES = 1 << 20 };

static const struct tensor_type tensor_types[] = {
    {"f16", 1, 1, 1, 2}, {"f32", 0, 0, 1, 4}, {"q8_0", 8, 7, 32, 34}, /* a half as scale, 32 signed bytes */
};
static const struct tensor_type *const f32 = &tensor_types[1];

const struct tensor_type *tensor_type_find(const char *name)
{
    for (size_t i = 0; i < sizeof(tensor_types) / sizeof(*tensor_types); i++) {
        if (!strcmp(name, tensor_types[i].name))
            return &tensor_types[i];
    }
    return NULL;
}

static void tensor_set(struct tensor *t, const struct tensor_type *type, enum fill fill, uint64_t row, uint64_t rows)
{
    t->type = type;
    t->fill = fill;
    t->n_dims = rows ? 2 : 1;
    t->dim[0] = row;
    t->dim[1] = rows;
    t->bytes = row / type->block * type->block_bytes * (rows ? rows : 1);
}

static void tensors_of_layer(const struct options *o, uint64_t layer, struct tensor *t)
{
    const uint64_t kv = o->embd / o->heads * o->kv_heads;
    const struct {
        const char *name;
        uint64_t row, rows;
    } parts[TENSORS_PER_LAYER] = {
        {"attn_norm", o->embd, 0},    {"attn_q", o->embd, o->embd},      {"attn_k", o->embd, kv},
        {"attn_v", o->embd, kv},      {"attn_output", o->embd, o->embd}, {"ffn_norm", o->embd, 0},
        {"ffn_gate", o->embd, o->ff}, {"ffn_up", o->embd, o->ff},        {"ffn_down", o->ff, o->embd},
    };

    for (size_t i = 0; i < TENSORS_PER_LAYER; i++) {
        bool norm = parts[i].rows == 0;

        snprintf(t[i].name, sizeof(t[i].name), "blk.%" PRIu64 ".%s.weight", layer, parts[i].name);
        tensor_set(&t[i], norm ? f32 : o->type, norm ? FILL_ONES : FILL_RANDOM, parts[i].row, parts[i].rows);
    }
}

/* Gives each tensor its shard, whole and in order, and its place there. */
static void tensors_place(struct tensor *t, size_t n, uint64_t shards)
{
    uint64_t total = 0, before = 0, offset = 0;

    for (size_t i = 0; i < n; i++)
        total += t[i].bytes;
    for (size_t i = 0; i < n; i++) {
        uint64_t shard = (uint64_t)((double)before / (double)total * (double)shards);

        if (i > 0 && shard != t[i - 1].shard)
            offset = 0;
        t[i].shard = shard;
        t[i].offset = offset;
        offset += (t[i].bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        before += t[i].bytes;
    }
}

struct tensor *tensors_new(const struct options *o, size_t *ret_n)
{
    size_t n = 3 + TENSORS_PER_LAYER * (size_t)o->layers;
    struct tensor *t = calloc(n, sizeof(*t));

    if (!t)
        return NULL;
    snprintf(t[0].name, sizeof(t[0].name), "token_embd.weight");
    tensor_set(&t[0], o->type, FILL_RANDOM, o->embd, o->vocab);
    snprintf(t[1].name, sizeof(t[1].name), "output_norm.weight");
    tensor_set(&t[1], f32, FILL_ONES, o->embd, 0);
    snprintf(t[2].name, sizeof(t[2].name), "output.weight");
    tensor_set(&t[2], o->type, FILL_OUTPUT, o->embd, o->vocab);
    for (uint64_t i = 0; i < o->layers; i++)
        tensors_of_layer(o, i, t + 3 + TENSORS_PER_LAYER * i);
    tensors_place(t, n, o->shards);
    *ret_n = n;
    return t;
}

/* ---- weights ------------------------------------------------------------------------------------------------ */

struct weights {
    uint64_t state;         /* of splitmix64 */
    uint16_t half[1 << 16]; /* a random 16-bit number as a half in about [-amplitude, amplitude] */
    uint16_t scale;         /* q8_0: amplitude / 127 as a half */
    float amplitude;        /* makes the standard deviation about 1 / sqrt(embd) */
    uint8_t chunk[CHUNK_BYTES];
};

static uint64_t next_random(struct weights *w)
{
    uint64_t z = w->state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* Enough for |value| < 2: rounds towards zero and takes subnormals for zero. */
static uint16_t to_half(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    uint32_t sign = bits >> 16 & 0x8000, exponent = bits >> 23 & 0xff, mantissa = bits >> 13 & 0x3ff;
    return (uint16_t)(exponent < 113 ? sign : sign | (exponent - 112) << 10 | mantissa);
}

struct weights *weights_new(const struct options *o)
{
    struct weights *w = calloc(1, sizeof(*w));

    if (!w)
        return NULL;
    w->state = o->seed;
    w->amplitude = 1.7F / sqrtf((float)o->embd);
    w->scale = to_half(w->amplitude / 127);
    for (unsigned i = 0; i < 1 << 16; i++)
        w->half[i] = to_half(((float)i - 32767.5F) / 32767.5F * w->amplitude);
    return w;
}

/* Each fills the first n bytes of the chunk; n is a multiple of the type's block. */
static void fill_f16(struct weights *w, size_t n)
{
    for (size_t i = 0; i + 2 <= n; i += 8) {
        uint64_t r = next_random(w);

        for (size_t k = i; k < i + 8 && k + 2 <= n; k += 2, r >>= 16) {
            w->chunk[k] = (uint8_t)w->half[r & 0xffff];
            w->chunk[k + 1] = (uint8_t)(w->half[r & 0xffff] >> 8);
        }
    }
}

static void fill_f32(struct weights *w, size_t n)
{
    for (size_t i = 0; i + 4 <= n; i += 4) {
        float value = ((float)(next_random(w) >> 40) / 8388608.0F - 1) * w->amplitude;
        uint32_t bits;

        memcpy(&bits, &value, sizeof(bits));
        for (size_t k = 0; k < 4; k++)
            w->chunk[i + k] = (uint8_t)(bits >> 8 * k);
    }
}

static void fill_q8_0(struct weights *w, size_t n)
{
    for (size_t i = 0; i + 34 <= n; i += 34) {
        w->chunk[i] = (uint8_t)w->scale;
        w->chunk[i + 1] = (uint8_t)(w->scale >> 8);
        for (size_t k = 0; k < 32; k += 8) {
            uint64_t r = next_random(w);

            memcpy(w->chunk + i + 2 + k, &r, sizeof(r));
        }
    }
}

static void fill_ones(struct weights *w, size_t n)
{
    static const uint8_t one[4] = {0x00, 0x00, 0x80, 0x3f};

    for (size_t i = 0; i + sizeof(one) <= n; i += sizeof(one))
        memcpy(w->chunk + i, one, sizeof(one));
}

bool weights_write(struct weights *w, FILE *f, const struct options *o, const struct tensor *t)
{
    uint64_t row_bytes = t->dim[0] / t->type->block * t->type->block_bytes;
    uint64_t left = t->bytes;

    if (t->fill == FILL_OUTPUT)
        left = (o->vocab - NOT_WORDS) * row_bytes;
    while (left > 0) {
        size_t whole = CHUNK_BYTES / t->type->block_bytes * t->type->block_bytes;
        size_t n = left < whole ? (size_t)left : whole;

        if (t->fill == FILL_ONES)
            fill_ones(w, n);
        else if (t->type->ggml_type == f32->ggml_type)
            fill_f32(w, n);
        else if (t->type->block == 1)
            fill_f16(w, n);
        else
            fill_q8_0(w, n);
        if (fwrite(w->chunk, 1, n, f) != n)
            return false;
        left -= n;
    }
    return true;
}
