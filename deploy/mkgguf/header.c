/* The header of a GGUF file: what describes the model, its vocabulary, and the list of tensors. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "deploy/mkgguf/model.h"

/* The types of values in GGUF's metadata. */
enum { GGUF_U16 = 2, GGUF_U32 = 4, GGUF_I32 = 5, GGUF_F32 = 6, GGUF_BOOL = 7, GGUF_STRING = 8, GGUF_ARRAY = 9 };

void bytes_destroy(struct bytes *b)
{
    free(b->data);
    *b = (struct bytes){0};
}

static void put(struct bytes *b, const void *data, size_t n)
{
    if (!b->failed && b->n + n > b->capacity) {
        size_t capacity = 2 * (b->n + n);
        uint8_t *grown = realloc(b->data, capacity);

        b->failed = !grown;
        b->data = grown ? grown : b->data;
        b->capacity = grown ? capacity : b->capacity;
    }
    if (b->failed)
        return;
    memcpy(b->data + b->n, data, n);
    b->n += n;
}

static void put_le(struct bytes *b, uint64_t value, size_t n)
{
    uint8_t le[8];

    for (size_t i = 0; i < n; i++)
        le[i] = (uint8_t)(value >> 8 * i);
    put(b, le, n);
}

static void put_f32(struct bytes *b, float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    put_le(b, bits, 4);
}

static void put_string(struct bytes *b, const char *s)
{
    put_le(b, strlen(s), 8);
    put(b, s, strlen(s));
}

static void put_padding(struct bytes *b)
{
    static const uint8_t zeros[ALIGNMENT];

    put(b, zeros, (ALIGNMENT - b->n % ALIGNMENT) % ALIGNMENT);
}

static void put_key(struct bytes *b, const char *key, uint32_t type)
{
    put_string(b, key);
    put_le(b, type, 4);
}

static void put_kv_u32(struct bytes *b, const char *key, uint64_t value)
{
    put_key(b, key, GGUF_U32);
    put_le(b, value, 4);
}

static void put_kv_u16(struct bytes *b, const char *key, uint64_t value)
{
    put_key(b, key, GGUF_U16);
    put_le(b, value, 2);
}

static void put_kv_bool(struct bytes *b, const char *key, bool value)
{
    put_key(b, key, GGUF_BOOL);
    put_le(b, value, 1);
}

static void put_kv_string(struct bytes *b, const char *key, const char *value)
{
    put_key(b, key, GGUF_STRING);
    put_string(b, value);
}

static void put_array(struct bytes *b, const char *key, uint32_t type, uint64_t n)
{
    put_key(b, key, GGUF_ARRAY);
    put_le(b, type, 4);
    put_le(b, n, 8);
}

/* ---- vocabulary: --------------------------------------------- */

/* Word i. Word 0 says something, since a model whose weights are all zero repeats it. The first ones already differ in
 * their first letters, for a small vocabulary is the common one. */
static void word(uint64_t i, char *ret, size_t size)
{
    static const char consonants[] = "bdfgklmnprstvz", vowels[] = "aeiou";
    enum { C = sizeof(consonants) - 1, V = sizeof(vowels) - 1 };
    uint64_t a = i % C, b = i / C % V, c = (i / C / V + a) % C, d = (i / C / V / C + b) % V;

    /* U+2581 is the tokenizer's space */
    if (i == 0)
        snprintf(ret, size, "\u2581caravan");
    else if (i < C * V * C * V)
        snprintf(ret, size, "\u2581%c%c%c%c", consonants[a], vowels[b], consonants[c], vowels[d]);
    else
        snprintf(ret, size, "\u2581w%" PRIu64, i);
}

static void put_vocabulary(struct bytes *b, uint64_t vocab)
{
    static const char *const special[SPECIAL_TOKENS] = {"<unk>", "<s>", "</s>"};
    enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, BYTE = 6 };
    uint64_t words = vocab - NOT_WORDS, normal = words + CHAR_TOKENS;
    char text[32];

    put_array(b, "tokenizer.ggml.tokens", GGUF_STRING, vocab);
    for (uint64_t i = 0; i < words; i++) {
        word(i, text, sizeof(text));
        put_string(b, text);
    }
    put_string(b, "\u2581");
    for (int c = '!'; c <= '~'; c++)
        put_string(b, (char[]){(char)c, '\0'});
    for (unsigned i = 0; i < BYTE_TOKENS; i++) {
        snprintf(text, sizeof(text), "<0x%02X>", i);
        put_string(b, text);
    }
    for (unsigned i = 0; i < SPECIAL_TOKENS; i++)
        put_string(b, special[i]);

    put_array(b, "tokenizer.ggml.scores", GGUF_F32, vocab);
    for (uint64_t i = 0; i < vocab; i++)
        put_f32(b, i < normal ? -(float)i : 0.0F);

    put_array(b, "tokenizer.ggml.token_type", GGUF_I32, vocab);
    for (uint64_t i = 0; i < vocab - SPECIAL_TOKENS; i++)
        put_le(b, i < normal ? NORMAL : BYTE, 4);
    put_le(b, UNKNOWN, 4);
    put_le(b, CONTROL, 4);
    put_le(b, CONTROL, 4);
}

/* ---- header --------------------------------------------------------------------------------------------------- */

/* Writes what describes the model and returns how many pairs that was. */
static uint64_t put_model(struct bytes *b, const struct options *o)
{
    static const char chat_template[] =
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}";

    put_kv_string(b, "general.architecture", "llama");
    put_kv_string(b, "general.name", o->name);
    put_kv_u32(b, "general.file_type", o->type->file_type);
    put_kv_u32(b, "general.alignment", ALIGNMENT);
    put_kv_u32(b, "llama.block_count", o->layers);
    put_kv_u32(b, "llama.context_length", o->ctx);
    put_kv_u32(b, "llama.embedding_length", o->embd);
    put_kv_u32(b, "llama.feed_forward_length", o->ff);
    put_kv_u32(b, "llama.attention.head_count", o->heads);
    put_kv_u32(b, "llama.attention.head_count_kv", o->kv_heads);
    put_key(b, "llama.attention.layer_norm_rms_epsilon", GGUF_F32);
    put_f32(b, 1e-5F);
    put_kv_u32(b, "llama.rope.dimension_count", o->embd / o->heads);
    put_kv_u32(b, "llama.vocab_size", o->vocab);
    put_kv_string(b, "tokenizer.ggml.model", "llama");
    put_kv_string(b, "tokenizer.ggml.pre", "default");
    put_vocabulary(b, o->vocab); /* three pairs */
    put_kv_u32(b, "tokenizer.ggml.unknown_token_id", o->vocab - 3);
    put_kv_u32(b, "tokenizer.ggml.bos_token_id", o->vocab - 2);
    put_kv_u32(b, "tokenizer.ggml.eos_token_id", o->vocab - 1);
    put_kv_bool(b, "tokenizer.ggml.add_bos_token", true);
    put_kv_bool(b, "tokenizer.ggml.add_eos_token", false);
    put_kv_string(b, "tokenizer.chat_template", chat_template);
    return 24;
}

static uint64_t put_split(struct bytes *b, const struct options *o, uint64_t shard, size_t n_tensors)
{
    if (o->shards == 1)
        return 0;
    put_kv_u16(b, "split.no", shard);
    put_kv_u16(b, "split.count", o->shards);
    put_key(b, "split.tensors.count", GGUF_I32);
    put_le(b, n_tensors, 4);
    return 3;
}

static void put_tensor(struct bytes *b, const struct tensor *t)
{
    put_string(b, t->name);
    put_le(b, t->n_dims, 4);
    for (uint32_t i = 0; i < t->n_dims; i++)
        put_le(b, t->dim[i], 8);
    put_le(b, t->type->ggml_type, 4);
    put_le(b, t->offset, 8);
}

void header_put(struct bytes *b, const struct options *o, uint64_t shard, const struct tensor *tensors,
                size_t n_tensors)
{
    struct bytes pairs = {0};
    uint64_t n_pairs = shard == 0 ? put_model(&pairs, o) : 0, n_here = 0;

    n_pairs += put_split(&pairs, o, shard, n_tensors);
    for (size_t i = 0; i < n_tensors; i++)
        n_here += tensors[i].shard == shard;
    put(b, "GGUF", 4);
    put_le(b, 3, 4);
    put_le(b, n_here, 8);
    put_le(b, n_pairs, 8);
    put(b, pairs.data, pairs.n);
    for (size_t i = 0; i < n_tensors; i++) {
        if (tensors[i].shard == shard)
            put_tensor(b, &tensors[i]);
    }
    put_padding(b);
    b->failed = b->failed || pairs.failed;
    bytes_destroy(&pairs);
}
