/* The header of a GGUF file: magic, version, counts, key-value pairs, tensor infos. */
#include "common/core/gguf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/fnv.h"
#include "common/core/ggml_type.h"
#include "common/core/gguf_reader.h"
#include "common/core/gguf_shape.h"
#include "common/core/le.h"
#include "common/core/sat.h"
#include "common/core/units.h"

/* ---- what has been seen: keys and tensor names, each once ---- */

/* Hashes stand for names. Two names with one 64-bit hash would be taken for a duplicate; 65536 honest names meet that
 * with a chance of 1 in 8 billion, and who builds such a file only has it refused. */
struct name_set {
    uint64_t *slot; /* 0: empty */
    size_t n, size; /* size: a power of two */
};

static int name_set_grow(struct name_set *set)
{
    struct name_set bigger = {.size = set->size ? set->size * 2 : 256, .n = set->n};

    bigger.slot = calloc(bigger.size, sizeof(*bigger.slot));
    if (!bigger.slot)
        return err_raise(-ENOMEM);
    for (size_t i = 0; i < set->size; i++) {
        size_t at = set->slot[i] & (bigger.size - 1);

        while (set->slot[i] && bigger.slot[at])
            at = (at + 1) & (bigger.size - 1);
        if (set->slot[i])
            bigger.slot[at] = set->slot[i];
    }
    free(set->slot);
    *set = bigger;
    return 0;
}

/* *ret_new: it was not there before. 0 or -ENOMEM. */
static int name_set_add(struct name_set *set, const char *name, bool *ret_new)
{
    uint64_t hash = fnv1a(FNV1A_BASIS, name, strlen(name)) | 1;
    size_t at;

    if (set->n * 2 >= set->size && name_set_grow(set) < 0)
        return err_pass(-ENOMEM);
    for (at = hash & (set->size - 1); set->slot[at]; at = (at + 1) & (set->size - 1)) {
        if (set->slot[at] == hash) {
            *ret_new = false;
            return 0;
        }
    }
    set->slot[at] = hash;
    set->n++;
    *ret_new = true;
    return 0;
}

static void name_set_clear(struct name_set *set)
{
    free(set->slot);
    *set = (struct name_set){0};
}

/* ---- the scan ---- */

enum value_type {
    VALUE_U8,
    VALUE_I8,
    VALUE_U16,
    VALUE_I16,
    VALUE_U32,
    VALUE_I32,
    VALUE_F32,
    VALUE_BOOL,
    VALUE_STRING,
    VALUE_ARRAY,
    VALUE_U64,
    VALUE_I64,
    VALUE_F64,
    N_VALUE_TYPES
};

static const uint8_t value_bytes[N_VALUE_TYPES] = {
    [VALUE_U8] = 1,  [VALUE_I8] = 1,   [VALUE_U16] = 2, [VALUE_I16] = 2, [VALUE_U32] = 4, [VALUE_I32] = 4,
    [VALUE_F32] = 4, [VALUE_BOOL] = 1, [VALUE_U64] = 8, [VALUE_I64] = 8, [VALUE_F64] = 8,
};

struct scan {
    struct gguf_reader in;
    struct name_set seen;
    uint32_t version;
    uint64_t n_tensors, n_keys;
    bool arch_late; /* general.architecture came after keys that could not be understood without it */
    uint64_t data_bytes;
    struct gguf_raw raw;
};

#define say(s, code, ...) gguf_say((s)->in.why, (s)->in.why_size, (code), __VA_ARGS__)

static void scan_destroy(struct scan **s)
{
    if (*s)
        name_set_clear(&(*s)->seen);
    free(*s);
    *s = NULL;
}

static int add_name(struct scan *s, const char *name)
{
    bool is_new;
    int r = name_set_add(&s->seen, name, &is_new);

    if (r < 0)
        return err_pass(r);
    return is_new ? 0 : say(s, GGUF_E_MALFORMED, "%s is there twice: the file is damaged", name);
}

/* One whole number of the given type. */
static int read_number(struct scan *s, uint32_t type, const char *key, uint64_t *ret)
{
    unsigned char b[8];
    uint64_t v;
    bool is_signed = type == VALUE_I8 || type == VALUE_I16 || type == VALUE_I32 || type == VALUE_I64;
    int r;

    if (type >= N_VALUE_TYPES || !value_bytes[type] || type == VALUE_F32 || type == VALUE_F64)
        return say(s, GGUF_E_MALFORMED, "%s is not a whole number: the file is damaged", key);
    r = gguf_reader_bytes(&s->in, b, value_bytes[type]);
    if (r)
        return r;
    v = le_get(b, value_bytes[type]);
    if (is_signed && b[value_bytes[type] - 1] & 0x80)
        return say(s, GGUF_E_MALFORMED, "%s is negative: the file is damaged", key);
    if (v > UINT32_MAX)
        return say(s, GGUF_E_MALFORMED, "%s is %" PRIu64 ", far beyond any model: the file is damaged", key, v);
    *ret = v;
    return 0;
}

static int skip_array(struct scan *s, const char *key)
{
    uint32_t type;
    uint64_t n;
    int r = gguf_reader_u32(&s->in, &type);

    if (!r)
        r = gguf_reader_u64(&s->in, &n);
    if (r)
        return r;
    if (type < N_VALUE_TYPES && value_bytes[type])
        return gguf_reader_skip(&s->in, sat_mul(n, value_bytes[type]));
    if (type != VALUE_STRING)
        return say(s, GGUF_E_MALFORMED, "%s is an array of type %" PRIu32 ", which GGUF does not have", key, type);
    for (uint64_t i = 0; i < n && !r; i++)
        r = gguf_reader_skip_text(&s->in);
    return r;
}

static int skip_value(struct scan *s, uint32_t type, const char *key)
{
    if (type == VALUE_STRING)
        return gguf_reader_skip_text(&s->in);
    if (type == VALUE_ARRAY)
        return skip_array(s, key);
    if (type >= N_VALUE_TYPES)
        return say(s, GGUF_E_MALFORMED, "%s has type %" PRIu32 ", which GGUF does not have", key, type);
    return gguf_reader_skip(&s->in, value_bytes[type]);
}

/* A number that may differ from layer to layer: the largest counts, all are kept where the fact has a list. */
static int read_list(struct scan *s, enum gguf_fact fact, const char *key)
{
    struct gguf_list *list = gguf_fact_list(&s->raw, fact);
    uint32_t type;
    uint64_t n, v, max = 0;
    int r = gguf_reader_u32(&s->in, &type);

    if (!r)
        r = gguf_reader_u64(&s->in, &n);
    if (r)
        return r;
    if (n > MODEL_LAYERS_MAX)
        return say(s, GGUF_E_MALFORMED, "%s has %" PRIu64 " entries, one per layer is at most %d", key, n,
                   MODEL_LAYERS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        r = read_number(s, type, key, &v);
        if (r)
            return r;
        max = v > max ? v : max;
        if (list)
            list->value[list->n++] = (uint32_t)v;
    }
    s->raw.fact[fact] = (uint32_t)max;
    return 0;
}

static int read_fact(struct scan *s, enum gguf_fact fact, uint32_t type, const char *key)
{
    uint64_t v;
    int r;

    s->raw.has_fact[fact] = true;
    if (type == VALUE_ARRAY)
        return read_list(s, fact, key);
    r = read_number(s, type, key, &v);
    if (!r)
        s->raw.fact[fact] = (uint32_t)v;
    return r;
}

static int read_text(struct scan *s, uint32_t type, const char *key, char *buf, size_t size)
{
    if (type != VALUE_STRING)
        return say(s, GGUF_E_MALFORMED, "%s is not a text: the file is damaged", key);
    return gguf_reader_text(&s->in, buf, size, key);
}

/* general.name is only shown: one that is too long is cut, not refused. */
static int read_name(struct scan *s, uint32_t type)
{
    uint64_t n;
    size_t kept;
    int r;

    if (type != VALUE_STRING)
        return skip_value(s, type, "general.name");
    r = gguf_reader_u64(&s->in, &n);
    if (r)
        return r;
    kept = n < GGUF_NAME_MAX ? (size_t)n : GGUF_NAME_MAX - 1;
    r = gguf_reader_bytes(&s->in, s->raw.name, kept);
    if (r)
        return r;
    s->raw.name[kept] = '\0';
    return gguf_reader_skip(&s->in, n - kept);
}

static int read_pair(struct scan *s, bool first)
{
    char key[GGUF_STRING_MAX + 1];
    enum gguf_fact fact;
    uint32_t type;
    int r = gguf_reader_text(&s->in, key, sizeof(key), "a key");

    if (!r)
        r = add_name(s, key);
    if (!r)
        r = gguf_reader_u32(&s->in, &type);
    if (r)
        return r;
    if (strcmp(key, "general.architecture") == 0) {
        s->arch_late = !first && !s->raw.arch[0];
        return read_text(s, type, key, s->raw.arch, sizeof(s->raw.arch));
    }
    if (strcmp(key, "general.type") == 0)
        return read_text(s, type, key, s->raw.type, sizeof(s->raw.type));
    if (strcmp(key, "general.name") == 0)
        return read_name(s, type);
    if (gguf_fact_find(key, s->raw.arch, &fact))
        return read_fact(s, fact, type, key);
    return skip_value(s, type, key);
}

struct tensor {
    char name[GGUF_TENSOR_NAME_MAX];
    uint64_t dim[4];
    uint64_t bytes, offset;
};

static int tensor_bytes(struct scan *s, struct tensor *t, uint32_t type_id)
{
    const struct ggml_type *type = ggml_type_find(type_id);

    if (!type && ggml_type_was_removed(type_id))
        return say(s, GGUF_E_TENSOR_TYPE,
                   "%s has type %" PRIu32 ", which llama.cpp no longer reads: convert the model again", t->name,
                   type_id);
    if (!type)
        return say(s, GGUF_E_TENSOR_TYPE, "%s has type %" PRIu32 ", which this version does not know", t->name,
                   type_id);
    if (t->dim[0] % type->block)
        return say(s, GGUF_E_MALFORMED, "%s has rows of %" PRIu64 ", not a multiple of %" PRIu32 " as %s needs",
                   t->name, t->dim[0], type->block, type->name);
    t->bytes = t->dim[0] / type->block;
    for (size_t i = 1; i < 4; i++)
        t->bytes = sat_mul(t->bytes, t->dim[i]);
    t->bytes = sat_mul(t->bytes, type->block_bytes);
    if (!t->bytes || t->bytes > INT64_MAX)
        return say(s, GGUF_E_MALFORMED, "%s has an impossible size: the file is damaged", t->name);
    return 0;
}

static int read_dims(struct scan *s, struct tensor *t)
{
    uint32_t n;
    int r = gguf_reader_u32(&s->in, &n);

    if (r)
        return r;
    if (n < 1 || n > 4)
        return say(s, GGUF_E_MALFORMED, "%s has %" PRIu32 " dimensions: the file is damaged", t->name, n);
    for (uint32_t i = 0; i < 4; i++) {
        t->dim[i] = 1;
        if (i < n && !r)
            r = gguf_reader_u64(&s->in, &t->dim[i]);
    }
    return r;
}

/* ggml wants the tensors one after the other, each padded to the alignment; it refuses any other offset. */
static int check_offset(struct scan *s, const struct tensor *t)
{
    uint64_t alignment = s->raw.fact[FACT_ALIGNMENT], padded;

    if (t->offset % alignment)
        return say(s, GGUF_E_MALFORMED, "%s lies at %" PRIu64 ", not a multiple of %" PRIu64 ": the file is damaged",
                   t->name, t->offset, alignment);
    if (t->offset != s->data_bytes)
        return say(s, GGUF_E_MALFORMED, "%s lies at %" PRIu64 " instead of %" PRIu64 ": the file is damaged", t->name,
                   t->offset, s->data_bytes);
    padded = sat_add(s->data_bytes, sat_add(t->bytes, alignment - 1)) & ~(alignment - 1);
    if (padded > INT64_MAX)
        return say(s, GGUF_E_MALFORMED, "the tensors up to %s have an impossible size: the file is damaged", t->name);
    s->data_bytes = padded;
    return 0;
}

static int read_tensor(struct scan *s)
{
    struct tensor t;
    uint32_t type;
    int r = gguf_reader_text(&s->in, t.name, sizeof(t.name), "a tensor's name");

    if (!r)
        r = add_name(s, t.name);
    if (!r)
        r = read_dims(s, &t);
    if (!r)
        r = gguf_reader_u32(&s->in, &type);
    if (!r)
        r = gguf_reader_u64(&s->in, &t.offset);
    if (!r)
        r = tensor_bytes(s, &t, type);
    if (!r)
        r = check_offset(s, &t);
    if (r)
        return r;
    s->raw.data_end = t.offset + t.bytes;
    if (!gguf_raw_add(&s->raw, t.name, t.dim, t.bytes))
        return say(s, GGUF_E_TOO_LARGE, "%s: more than %d layers", t.name, MODEL_LAYERS_MAX);
    if (!s->in.source->on_tensor || s->arch_late) /* then all of it is read once more */
        return 0;
    r = s->in.source->on_tensor(s->in.source->ctx, t.offset, t.bytes);
    return r ? err_fold(r) : 0;
}

static int read_magic(struct scan *s)
{
    char magic[5] = {0};
    int r;

    if (s->in.source->size_bytes < 4)
        return say(s, GGUF_E_NOT_GGUF, "not a GGUF file (%" PRIu64 " bytes long): copy or download it again",
                   s->in.source->size_bytes);
    r = gguf_reader_bytes(&s->in, magic, 4);
    if (r)
        return r;
    if (memcmp(magic, "GGUF", 4) != 0)
        return say(s, GGUF_E_NOT_GGUF,
                   "not a GGUF file (it begins with %02x %02x %02x %02x): copy or download it again, or convert it",
                   (unsigned char)magic[0], (unsigned char)magic[1], (unsigned char)magic[2], (unsigned char)magic[3]);
    return gguf_reader_u32(&s->in, &s->version);
}

static int read_counts(struct scan *s)
{
    int r;

    if (s->version == 0x02000000 || s->version == 0x03000000)
        return say(s, GGUF_E_VERSION, "a big-endian GGUF file: get the model for little-endian machines");
    if (s->version != 2 && s->version != 3)
        return say(s, GGUF_E_VERSION, "GGUF version %" PRIu32 " cannot be read, 2 and 3 can: convert the model again",
                   s->version);
    r = gguf_reader_u64(&s->in, &s->n_tensors);
    if (!r)
        r = gguf_reader_u64(&s->in, &s->n_keys);
    if (r)
        return r;
    if (s->n_keys > GGUF_KEYS_MAX || s->n_tensors > GGUF_TENSORS_MAX)
        return say(s, GGUF_E_TOO_LARGE, "%" PRIu64 " keys and %" PRIu64 " tensors are more than any model has (%d, %d)",
                   s->n_keys, s->n_tensors, GGUF_KEYS_MAX, GGUF_TENSORS_MAX);
    return 0;
}

static int read_header(struct scan *s)
{
    uint32_t *alignment = &s->raw.fact[FACT_ALIGNMENT];
    int r = read_magic(s);

    if (!r)
        r = read_counts(s);
    for (uint64_t i = 0; i < s->n_keys && !r; i++)
        r = read_pair(s, i == 0);
    if (r)
        return r;
    name_set_clear(&s->seen); /* a tensor may have a key's name */
    if (!s->raw.has_fact[FACT_ALIGNMENT])
        *alignment = 32;
    if (!*alignment || *alignment & (*alignment - 1) || *alignment > GGUF_HEADER_MAX)
        return say(s, GGUF_E_MALFORMED, "general.alignment is %" PRIu32 ", not a power of two", *alignment);
    for (uint64_t i = 0; i < s->n_tensors && !r; i++)
        r = read_tensor(s);
    return r;
}

/* Once; and once more in the rare file whose architecture is not its first key. */
static int scan_run(struct scan *s, const struct gguf_source *source, char *why, size_t why_size)
{
    char arch[MODEL_ARCH_MAX];
    int r;

    gguf_reader_init(&s->in, source, why, why_size);
    r = read_header(s);
    if (r || !s->arch_late)
        return r;
    memcpy(arch, s->raw.arch, sizeof(arch));
    name_set_clear(&s->seen);
    memset(&s->raw, 0, sizeof(s->raw));
    memcpy(s->raw.arch, arch, sizeof(arch));
    s->arch_late = false;
    s->data_bytes = 0;
    gguf_reader_init(&s->in, source, why, why_size);
    return read_header(s);
}

/* Is all of it there? */
static int check_length(struct scan *s, const struct gguf *g)
{
    uint64_t size = s->in.source->size_bytes;

    if (g->n_tensors == 0 && g->split_count > 1)
        return 0; /* the first file of a set may hold the keys alone */
    if (g->n_tensors == 0 || size <= g->data_offset)
        return say(s, GGUF_E_HEADER_ONLY, "only a header, without the tensors: copy or download the whole file%s%s",
                   g->n_tensors ? ", " : "", g->n_tensors ? UNITS_FILE(g->needed_bytes) : "");
    if (size < g->needed_bytes)
        return say(s, GGUF_E_TRUNCATED, "the file is %" PRIu64 " bytes too short (%s of %s): copy or download it again",
                   g->needed_bytes - size, UNITS_FILE(size), UNITS_FILE(g->needed_bytes));
    return 0;
}

static int scan_result(struct scan *s, struct gguf *g)
{
    uint64_t alignment = s->raw.fact[FACT_ALIGNMENT];
    int r;

    g->version = s->version;
    memcpy(g->name, s->raw.name, sizeof(g->name));
    g->header_hash = gguf_reader_hash(&s->in);
    g->data_offset = (s->in.at + alignment - 1) & ~(alignment - 1);
    g->needed_bytes = sat_add(g->data_offset, s->raw.data_end);
    g->n_tensors = (uint32_t)s->n_tensors;
    g->split_no = s->raw.fact[FACT_SPLIT_NO];
    g->split_count = s->raw.fact[FACT_SPLIT_COUNT] ? s->raw.fact[FACT_SPLIT_COUNT] : 1;
    g->split_tensors = s->raw.fact[FACT_SPLIT_TENSORS];
    g->has_output = s->raw.has_output;
    if (g->split_count > GGUF_SHARDS_MAX || g->split_no >= g->split_count)
        return say(s, GGUF_E_MALFORMED, "file %" PRIu32 " of %" PRIu32 " (split.no, split.count) makes no sense",
                   g->split_no + 1, g->split_count);
    r = gguf_shape_make(&s->raw, g->split_no > 0, &g->shape, s->in.why, s->in.why_size);
    if (!r)
        r = check_length(s, g);
    if (!r && g->split_count == 1)
        r = gguf_shape_close(g->shape, g->has_output, s->in.why, s->in.why_size);
    return r;
}

int gguf_read(const struct gguf_source *source, struct gguf **ret, char *why, size_t why_size)
{
    CLEANUP(scan_destroy) struct scan *s = calloc(1, sizeof(*s));
    CLEANUP(gguf_destroy) struct gguf *g = calloc(1, sizeof(*g));
    int r;

    if (!s || !g)
        return err_raise(-ENOMEM);
    r = scan_run(s, source, why, why_size);
    if (!r)
        r = scan_result(s, g);
    if (r)
        return err_pass(r);
    *ret = g;
    g = NULL;
    return 0;
}

void gguf_destroy(struct gguf **g)
{
    if (*g)
        free((*g)->shape);
    free(*g);
    *g = NULL;
}
