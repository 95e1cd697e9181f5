#include "tests/sim/models.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

struct model {
    const char *name;
    uint32_t n_layer;
    uint64_t layer_bytes, output_bytes;
};

/* One that fits anywhere, one of band 2, one that needs several nodes of those here. */
static const struct model models[] = {
    {"small", 16, 12 * MIB, 2 * MIB}, {"middle", 24, 88 * MIB, 60 * MIB}, {"large", 32, 150 * MIB, 120 * MIB}};

const char *const model_names[MODELS_N] = {"small", "middle", "large", "nowhere"};

static void fill(struct model_facts *f, const struct model *m)
{
    snprintf(f->name, sizeof(f->name), "%s", m->name);
    snprintf(f->path, sizeof(f->path), "/models/%s.gguf", m->name);
    f->size_bytes = m->n_layer * m->layer_bytes + m->output_bytes;
    f->mtime_wall_ms = 1;
    f->n_files = 1;
    f->header_hash = 0xfeed0000 + m->n_layer;
    f->shape = model_shape_new(m->n_layer);
    assert(f->shape);
    strcpy(f->shape->arch, "llama");
    f->shape->n_embd = 1024;
    f->shape->n_head = 16;
    f->shape->n_ff = 2816;
    f->shape->head_dim_k = f->shape->head_dim_v = 64;
    f->shape->n_vocab = 1024;
    f->shape->n_ctx_train = 2048;
    f->shape->token_embd_bytes = MIB;
    f->shape->output_bytes = m->output_bytes;
    f->shape->output_max_tensor_bytes = MIB;
    for (uint32_t i = 0; i < m->n_layer; i++)
        f->shape->layer[i] = (struct model_layer){
            .weight_bytes = m->layer_bytes, .max_tensor_bytes = 3 * MIB, .n_head_kv = 4, .n_ff = 2816};
}

struct model_facts *models_make(size_t *ret_n)
{
    size_t n = sizeof(models) / sizeof(models[0]);
    struct model_facts *f = calloc(n, sizeof(*f));

    assert(f);
    for (size_t i = 0; i < n; i++)
        fill(&f[i], &models[i]);
    *ret_n = n;
    return f;
}

void models_free(struct model_facts *m, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(m[i].shape);
    free(m);
}

static const struct model *find(const char *name)
{
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        if (strcmp(models[i].name, name) == 0)
            return &models[i];
    }
    return NULL;
}

uint64_t model_weights(const char *name, uint32_t first, uint32_t layers)
{
    const struct model *m = find(name);
    uint64_t sum = 0;

    for (uint32_t i = first; m && i < first + layers; i++)
        sum += i < m->n_layer ? m->layer_bytes : i == m->n_layer ? m->output_bytes : 0;
    return sum;
}

uint64_t model_bytes(const char *name)
{
    return model_weights(name, 0, MODEL_LAYERS_MAX + 1);
}
