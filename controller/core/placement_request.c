#include "controller/core/placement_request.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/ggml_type.h"

/* ---- flags ---- */

/* Up to eight names of one flag; the first is what a person is told. */
struct flag {
    const char *name[8];
};

/* What Caravan decides, and what would make its log, its memory figures or its way to the coordinator untrue. Source:
 * llama-server --help. */
static const struct flag owned[] = {
    {{"--rpc"}},
    {{"-ts", "--tensor-split"}},
    {{"-dev", "--device"}},
    {{"-ngl", "--gpu-layers", "--n-gpu-layers"}},
    {{"-sm", "--split-mode"}},
    {{"-mg", "--main-gpu"}},
    {{"-fit", "--fit"}},
    {{"-fitt", "--fit-target"}},
    {{"-fitc", "--fit-ctx"}},
    {{"-ot", "--override-tensor"}},
    {{"-cmoe", "--cpu-moe"}},
    {{"-ncmoe", "--n-cpu-moe"}},
    {{"-ncffn", "--n-cpu-ffn"}},
    {{"-nkvo", "--no-kv-offload"}},
    {{"-c", "--ctx-size"}},
    {{"-np", "--parallel"}},
    {{"-ctk", "--cache-type-k"}},
    {{"-ctv", "--cache-type-v"}},
    {{"-cram", "--cache-ram"}},
    {{"-ctxcp", "--ctx-checkpoints", "--swa-checkpoints"}},
    {{"-m", "--model"}},
    {{"-mu", "--model-url"}},
    {{"-hf", "-hfr", "--hf-repo"}},
    {{"-hff", "--hf-file"}},
    {{"-dr", "--docker-repo"}},
    {{"--models-dir"}},
    {{"--models-preset"}},
    {{"-a", "--alias"}},
    {{"--host"}},
    {{"--port"}},
    {{"--reuse-port"}},
    {{"--api-prefix"}},
    {{"--api-key"}},
    {{"--api-key-file"}},
    {{"--ssl-key-file"}},
    {{"--ssl-cert-file"}},
    {{"--metrics"}},
    {{"--slots", "--no-slots"}},
    {{"--sleep-idle-seconds"}},
    {{"-lv", "--verbosity", "--log-verbosity"}},
    {{"-v", "--verbose", "--log-verbose"}},
    {{"--log-disable"}},
    {{"--log-file"}},
    {{"--log-jsonl", "--no-log-jsonl"}},
};

/* Is arg one of these names, alone or as NAME=VALUE? llama.cpp reads '_' as '-' in long ones. */
static bool is_named(const char *arg, const struct flag *flag)
{
    bool is_long = strncmp(arg, "--", 2) == 0;

    for (size_t i = 0; i < sizeof(flag->name) / sizeof(flag->name[0]) && flag->name[i]; i++) {
        const char *a = arg, *n = flag->name[i];

        while (*n && (*a == *n || (is_long && *a == '_' && *n == '-'))) {
            a++;
            n++;
        }
        if (!*n && (!*a || *a == '='))
            return true;
    }
    return false;
}

const char *place_owned_flag(const char *arg)
{
    for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++) {
        if (is_named(arg, &owned[i]))
            return owned[i].name[0];
    }
    return NULL;
}

/* ---- arguments that change what it takes ---- */

static const struct flag flag_batch = {{"-b", "--batch-size"}}, flag_ubatch = {{"-ub", "--ubatch-size"}},
                         flag_attn = {{"-fa", "--flash-attn"}}, flag_unified = {{"-kvu", "--kv-unified"}},
                         flag_not_unified = {{"-no-kvu", "--no-kv-unified"}}, flag_swa_full = {{"--swa-full"}},
                         flag_embeds = {{"--embedding", "--embeddings", "--rerank", "--reranking"}};

static const struct flag uncounted[] = {
    {{"--mmproj", "-mm"}},
    {{"--mmproj-url", "-mmu"}},
    {{"--model-draft", "-md", "--spec-draft-model"}},
    {{"--hf-repo-draft", "-hfd", "-hfrd", "--spec-draft-hf"}},
    {{"--lora"}},
    {{"--lora-scaled"}},
    {{"--control-vector"}},
};

const char *place_uncounted_arg(const struct place_request *req)
{
    for (size_t i = 0; i < req->n_args; i++) {
        for (size_t j = 0; j < sizeof(uncounted) / sizeof(uncounted[0]); j++) {
            if (is_named(req->arg[i], &uncounted[j]))
                return uncounted[j].name[0];
        }
    }
    return NULL;
}

/* The value of the i-th argument: behind its '=', or the next argument. "" where there is none. */
static const char *value_of(const struct place_request *req, size_t i)
{
    const char *equals = strchr(req->arg[i], '=');

    if (equals)
        return equals + 1;
    return i + 1 < req->n_args ? req->arg[i + 1] : "";
}

static void take_number(const char *text, uint32_t *to)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    if (end != text && *text != '-' && !*end && n > 0 && n <= UINT32_MAX)
        *to = (uint32_t)n;
}

bool place_embeds(const struct place_request *req)
{
    for (size_t i = 0; i < req->n_args; i++)
        if (is_named(req->arg[i], &flag_embeds))
            return true;
    return false;
}

static void take_args(const struct place_request *req, struct memory_run *run)
{
    for (size_t i = 0; i < req->n_args; i++) {
        const char *arg = req->arg[i], *value = value_of(req, i);

        if (is_named(arg, &flag_batch))
            take_number(value, &run->batch);
        else if (is_named(arg, &flag_ubatch))
            take_number(value, &run->ubatch);
        else if (is_named(arg, &flag_attn))
            run->flash_attn = strcmp(value, "off") != 0 && strcmp(value, "0") != 0 && strcmp(value, "false") != 0;
        else if (is_named(arg, &flag_unified))
            run->kv_unified = true;
        else if (is_named(arg, &flag_not_unified))
            run->kv_unified = false;
        else if (is_named(arg, &flag_swa_full))
            run->swa_full = true;
        else if (is_named(arg, &flag_embeds))
            run->all_rows = true;
    }
}

/* ---- all together ---- */

static uint32_t default_ctx(const struct model_shape *s)
{
    return s->n_ctx_train && s->n_ctx_train < PLACE_CTX_DEFAULT ? s->n_ctx_train : PLACE_CTX_DEFAULT;
}

static int check_model(const struct model_facts *model, char *why, size_t why_size)
{
    if (model->shape->has_projector) {
        snprintf(why, why_size, "%s is a projector (mmproj), not a language model", model->name);
        return PLACE_E_MODEL;
    }
    if (model->shape->n_layer == 0) {
        snprintf(why, why_size, "%s has no layers: it is not a language model", model->name);
        return PLACE_E_MODEL;
    }
    return 0;
}

static int take_cache_type(const struct model_shape *s, struct memory_run *run, const char *kv_type, char *why,
                           size_t why_size)
{
    int32_t id = ggml_type_id(kv_type);

    if (id < 0 || !ggml_type_find((uint32_t)id)->kv) {
        snprintf(why, why_size, "cache type %s: use f16, bf16, f32, q8_0, q5_1, q5_0, q4_1, q4_0 or iq4_nl", kv_type);
        return PLACE_E_MODEL;
    }
    run->kv_type = (uint32_t)id;
    if (memory_kv_possible(s, run))
        return 0;
    if (run->flash_attn)
        snprintf(why, why_size, "cache type %s needs heads of a multiple of %" PRIu32 ", the model's are %" PRIu32,
                 kv_type, ggml_type_find(run->kv_type)->block, s->head_dim_k);
    else
        snprintf(why, why_size, "cache type %s needs flash attention: leave out -fa off, or use f16", kv_type);
    return PLACE_E_MODEL;
}

int place_resolve(const struct place_request *req, const struct model_facts *model, struct memory_run *run,
                  char *kv_type, char *why, size_t why_size)
{
    int r = check_model(model, why, why_size);

    if (r)
        return r;
    *run = (struct memory_run){
        .ctx = req->ctx ? req->ctx : default_ctx(model->shape),
        .slots = req->slots ? req->slots : 1,
        .batch = req->batch ? req->batch : PLACE_BATCH_DEFAULT,
        .ubatch = req->ubatch ? req->ubatch : PLACE_UBATCH_DEFAULT,
        .flash_attn = true,
        .n_devices = 1,
    };
    take_args(req, run);
    if (run->slots > PLACE_SLOTS_MAX) {
        snprintf(why, why_size, "%" PRIu32 " slots: at most %d", run->slots, PLACE_SLOTS_MAX);
        return PLACE_E_MODEL;
    }
    snprintf(kv_type, 16, "%s", req->kv_type[0] ? req->kv_type : "f16");
    return take_cache_type(model->shape, run, kv_type, why, why_size);
}
