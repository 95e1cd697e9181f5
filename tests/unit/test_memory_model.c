/* The memory model against what llama.cpp itself said: buffer lines of real loads, llama-fit-params, and the figures of
 * the measurements that the formulas come from. An estimate may be above what was logged, never below. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/ggml_type.h"
#include "common/core/memory_model.h"
#include "common/core/units.h"
#include "tests/lib/gguf_image.h"

#define MIB (UINT64_C(1) << 20)

/* Hundredths of a MiB, as llama.cpp logs them ("%.2f"). */
static int64_t logged(uint64_t bytes)
{
    char text[32];

    snprintf(text, sizeof(text), "%.2f", (double)bytes / (double)MIB);
    memmove(strchr(text, '.'), strchr(text, '.') + 1, 3);
    return strtoll(text, NULL, 10);
}

static struct memory_run run_of(uint32_t ctx, uint32_t n_devices)
{
    return (struct memory_run){.ctx = ctx,
                               .slots = 1,
                               .batch = 2048,
                               .ubatch = 512,
                               .kv_type = GGML_ID_F16,
                               .flash_attn = true,
                               .n_devices = n_devices};
}

/* Units begin..end of which n_layer is the output. */
static struct memory_part part_of(const struct model_shape *s, const struct memory_run *run, uint32_t begin,
                                  uint32_t end)
{
    struct memory_part p;

    memory_part_begin(&p, begin == 0);
    for (uint32_t i = begin; i < end; i++) {
        if (i < s->n_layer)
            memory_part_add_layer(&p, s, run, i);
        else
            memory_part_add_output(&p, s);
    }
    return p;
}

/* ---- real loads ---- */

/* The test model of 206 MB: 17 units, q8_0. */
static const struct llama_dims m206 = {
    .n_layer = 16, .n_embd = 1024, .n_head = 16, .n_head_kv = 4, .n_ff = 3072, .n_vocab = 512, .type = 8};
/* 0.9 GB, 33 units, f16, narrow and with a wide feed-forward. */
static const struct llama_dims m900 = {
    .n_layer = 32, .n_embd = 512, .n_head = 4, .n_head_kv = 1, .n_ff = 8704, .n_vocab = 512, .type = 1};

struct load {
    const char *name;
    const struct llama_dims *dims;
    uint32_t ctx, slots, ubatch;
    uint32_t kv_type;
    bool fa, unified;
    uint32_t n; /* ranks */
    uint32_t ts[4];
    struct { /* as logged, hundredths of a MiB */
        int64_t model, kv, compute;
        int64_t hwm_kib; /* VmHWM of the worker after the load; 0: not taken */
    } rank[4];
    int64_t host_model, host_compute;
};

/* llama-server 0.7.0 (build 11669) over rpc-server workers on CPUs, each line from its log. */
static const struct load loads[] = {
    {"6,6,5",
     &m206,
     512,
     1,
     512,
     1,
     true,
     false,
     3,
     {6, 6, 5},
     {{7336, 300, 5205, 0}, {7336, 300, 3404, 0}, {4944, 200, 3404, 0}},
     53,
     2207},
    {"6,11 two slots",
     &m206,
     2048,
     2,
     512,
     1,
     true,
     false,
     2,
     {6, 11},
     {{7336, 1200, 5405, 97540}, {12280, 2000, 3604, 156452}},
     53,
     2407},
    {"9,7,1 no flash attention",
     &m206,
     1024,
     1,
     512,
     1,
     false,
     false,
     3,
     {9, 7, 1},
     {{11004, 900, 7804, 132104}, {8559, 700, 6002, 105212}, {54, 0, 2, 7272}},
     53,
     3205},
    {"1,16 unified q8_0",
     &m206,
     4096,
     4,
     512,
     8,
     true,
     true,
     2,
     {1, 16},
     {{1223, 212, 6418, 22720}, {18393, 3188, 4616, 231568}},
     53,
     3620},
    {"8,8,8,9 small batch",
     &m900,
     4096,
     1,
     128,
     1,
     true,
     false,
     4,
     {8, 8, 8, 9},
     {{21403, 1600, 2076, 251796},
      {21403, 1600, 1851, 251544},
      {21403, 1600, 1851, 251768},
      {21453, 1600, 1851, 252116}},
     50,
     652},
    {"17 alone", &m206, 4096, 1, 512, 1, true, false, 1, {17}, {{19616, 6400, 3001, 276700}}, 53, 1202},
};

static void check_rank(const struct load *l, const struct model_shape *s, const struct memory_run *run, uint32_t rank,
                       uint32_t begin)
{
    struct memory_part p = part_of(s, run, begin, begin + l->ts[rank]);
    int64_t compute = logged(memory_part_compute(&p, s, run));

    if (logged(p.weight_bytes) != l->rank[rank].model || logged(p.kv_bytes) != l->rank[rank].kv ||
        compute < l->rank[rank].compute)
        print_error("%s, rank %u\n", l->name, rank);
    assert_int_equal(logged(p.weight_bytes), l->rank[rank].model);
    assert_int_equal(logged(p.kv_bytes), l->rank[rank].kv);
    assert_true(compute >= l->rank[rank].compute);
    assert_true((int64_t)(memory_part_process(&p, s, run) / 1024) >= l->rank[rank].hwm_kib);
    assert_true(compute <= l->rank[rank].compute * 3 / 2 + 300); /* near: a bound that is far off wastes nodes */
}

static void test_real_loads(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
        const struct load *l = &loads[i];
        struct model_shape *s = llama_shape(l->dims);
        struct memory_run run = {.ctx = l->ctx,
                                 .slots = l->slots,
                                 .batch = 2048,
                                 .ubatch = l->ubatch,
                                 .kv_type = l->kv_type,
                                 .flash_attn = l->fa,
                                 .kv_unified = l->unified,
                                 .n_devices = l->n};
        uint32_t begin = 0;

        for (uint32_t rank = 0; rank < l->n; rank++) {
            check_rank(l, s, &run, rank, begin);
            begin += l->ts[rank];
        }
        assert_int_equal(begin, s->n_layer + 1);
        assert_int_equal(logged(s->token_embd_bytes), l->host_model);
        assert_in_range(logged(memory_host_compute(s, &run)), l->host_compute, l->host_compute * 5 / 4 + 100);
        assert_true(memory_host(s, &run) >= s->token_embd_bytes + memory_host_compute(s, &run));
        free(s);
    }
}

/* ---- llama-fit-params as an oracle: whole MiB, rounded down ---- */

static const struct llama_dims dims_8b = {
    .n_layer = 32, .n_embd = 4096, .n_head = 32, .n_head_kv = 8, .n_ff = 14336, .n_vocab = 128256, .type = 8};
static const struct llama_dims dims_70b = {
    .n_layer = 80, .n_embd = 8192, .n_head = 64, .n_head_kv = 8, .n_ff = 28672, .n_vocab = 128256, .type = 8};

static void test_fit_params(void **state)
{
    static const struct {
        const struct llama_dims *dims;
        uint32_t ctx, slots, ubatch, kv_type;
        bool fa;
        uint32_t n, layers; /* ranks, layers of the first */
        uint64_t model, kv, compute, host_model, host_compute;
    } rows[] = {
        {&dims_8b, 8192, 1, 512, 1, true, 3, 11, 2431, 352, 244, 532, 112},
        {&dims_70b, 8192, 1, 512, 1, true, 4, 21, 18208, 672, 456, 1064, 192},
        {&dims_8b, 32768, 4, 512, 1, false, 2, 16, 3536, 2048, 728, 532, 160},
        {&dims_8b, 16384, 2, 256, 8, true, 2, 16, 3536, 544, 118, 532, 56},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct model_shape *s = llama_shape(rows[i].dims);
        struct memory_run run = {.ctx = rows[i].ctx,
                                 .slots = rows[i].slots,
                                 .batch = 2048,
                                 .ubatch = rows[i].ubatch,
                                 .kv_type = rows[i].kv_type,
                                 .flash_attn = rows[i].fa,
                                 .n_devices = rows[i].n};
        struct memory_part p = part_of(s, &run, 0, rows[i].layers);

        assert_int_equal(p.weight_bytes / MIB, rows[i].model);
        assert_int_equal(p.kv_bytes / MIB, rows[i].kv);
        assert_in_range(memory_part_compute(&p, s, &run) / MIB, rows[i].compute,
                        rows[i].compute + rows[i].compute / 40 + 5);
        assert_int_equal(s->token_embd_bytes / MIB, rows[i].host_model);
        assert_in_range(memory_host_compute(s, &run) / MIB, rows[i].host_compute, rows[i].host_compute + 50);
        free(s);
    }
}

/* ---- real sizes: compute of the first rank of several, 8192 cells, against llama-fit-params ---- */

static void test_real_sizes(void **state)
{
    static const struct {
        const char *name;
        struct llama_dims dims;
        uint64_t bound_mib; /* what the memory model gives */
        uint64_t tool_mib;  /* what llama-fit-params printed */
    } rows[] = {
        {"8B",
         {.n_layer = 2, .n_embd = 4096, .n_head = 32, .n_head_kv = 8, .n_ff = 14336, .n_vocab = 128256, .type = 8},
         245,
         244},
        {"70B",
         {.n_layer = 2, .n_embd = 8192, .n_head = 64, .n_head_kv = 8, .n_ff = 28672, .n_vocab = 128256, .type = 8},
         457,
         456},
        {"qwen2.5-32B",
         {.arch = "qwen2",
          .n_layer = 2,
          .n_embd = 5120,
          .n_head = 40,
          .n_head_kv = 8,
          .n_ff = 27648,
          .n_vocab = 152064,
          .type = 8},
         355,
         354},
        {"mixtral",
         {.n_layer = 2,
          .n_embd = 4096,
          .n_head = 32,
          .n_head_kv = 8,
          .n_ff = 14336,
          .n_vocab = 32000,
          .n_expert = 8,
          .n_expert_used = 2,
          .n_ff_expert = 14336,
          .type = 8},
         329,
         328},
        {"30B-A3B",
         {.arch = "qwen3moe",
          .n_layer = 2,
          .n_embd = 2048,
          .n_head = 32,
          .n_head_kv = 4,
          .n_ff = 6144,
          .n_vocab = 151936,
          .head_dim = 128,
          .n_expert = 128,
          .n_expert_used = 8,
          .n_ff_expert = 768,
          .type = 8},
         177,
         168},
        {"gemma3-27B",
         {.arch = "gemma3",
          .n_layer = 7,
          .n_embd = 5376,
          .n_head = 32,
          .n_head_kv = 16,
          .n_ff = 21504,
          .n_vocab = 262208,
          .head_dim = 128,
          .n_swa = 1024,
          .type = 8},
         334,
         329},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct model_shape *s = llama_shape(&rows[i].dims);
        struct memory_run run = run_of(8192, 3);
        struct memory_part p = part_of(s, &run, 0, s->n_layer);
        uint64_t compute = memory_part_compute(&p, s, &run);

        if ((compute + MIB / 2) / MIB != rows[i].bound_mib)
            print_error("%s\n", rows[i].name);
        assert_int_equal((compute + MIB / 2) / MIB, rows[i].bound_mib);
        assert_true(compute / MIB >= rows[i].tool_mib);
        free(s);
    }
}

/* 8B dims, 8192 cells, three ranks: compute 244/172/164 MiB, host 112, and what changes it. */
static void test_what_compute_depends_on(void **state)
{
    static const struct llama_dims dims = {
        .n_layer = 6, .n_embd = 4096, .n_head = 32, .n_head_kv = 8, .n_ff = 14336, .n_vocab = 128256, .type = 8};
    struct model_shape *s = llama_shape(&dims);
    struct memory_run run = run_of(8192, 3);
    struct memory_part first = part_of(s, &run, 0, 2), middle = part_of(s, &run, 2, 4), last = part_of(s, &run, 4, 7);
    struct memory_part one = part_of(s, &run, 5, 7);
    uint64_t whole = memory_part_compute(&first, s, &run);

    (void)state;
    assert_true(whole >= 244 * MIB && whole < 250 * MIB);
    assert_true(memory_part_compute(&middle, s, &run) >= 172 * MIB &&
                memory_part_compute(&middle, s, &run) < 180 * MIB);
    assert_true(memory_part_compute(&last, s, &run) >= 164 * MIB && memory_part_compute(&last, s, &run) < 180 * MIB);
    /* The first rank takes 9 * E * u more than the others. */
    assert_int_equal(whole - memory_part_compute(&middle, s, &run), 72 * MIB);
    /* The last layer's feed-forward is not computed for every row. */
    assert_true(memory_part_compute(&one, s, &run) < memory_part_compute(&last, s, &run));
    run.all_rows = true;
    assert_true(memory_part_compute(&one, s, &run) >= 140 * MIB);
    run.all_rows = false;
    run.ubatch = 128; /* linear in ub */
    assert_in_range(memory_part_compute(&first, s, &run), whole / 4, whole / 4 + 2 * MIB);
    run = run_of(32768, 3);
    run.flash_attn = false; /* cells * ub * 4 * H: 2 GiB, 2.4 in all */
    assert_in_range(memory_part_compute(&first, s, &run), 2400 * MIB, 2600 * MIB);
    free(s);
}

/* With -c 512 -np 8 each slot still gets 256 cells; unified they share what -c says. */
static void test_cells(void **state)
{
    static const struct {
        uint32_t ctx, slots;
        bool unified;
        uint64_t cells; /* in all streams */
    } rows[] = {{512, 1, false, 512}, {512, 8, false, 2048}, {512, 8, true, 512},   {1000, 3, false, 1536},
                {1, 1, false, 256},   {257, 1, false, 512},  {4096, 4, false, 4096}};
    struct model_shape *s = llama_shape(&m206);

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct memory_run run = run_of(rows[i].ctx, 1);
        struct memory_part p;

        run.slots = rows[i].slots;
        run.kv_unified = rows[i].unified;
        p = part_of(s, &run, 0, 1);
        assert_int_equal(p.kv_bytes, rows[i].cells * 2 * (64 * 4) * 2);
    }
    free(s);
}

/* gemma3: five of six layers keep a window and a batch; an unknown model with a window keeps everything. */
static void test_sliding_windows(void **state)
{
    struct llama_dims dims = {.arch = "gemma3",
                              .n_layer = 6,
                              .n_embd = 256,
                              .n_head = 4,
                              .n_head_kv = 1,
                              .n_ff = 512,
                              .n_vocab = 64,
                              .n_swa = 1024,
                              .type = 1};
    struct memory_run run = run_of(8192, 1);
    struct model_shape *s = llama_shape(&dims);
    struct memory_part p = part_of(s, &run, 0, 6);
    uint64_t row = 2 * 64 * 2;

    (void)state;
    assert_int_equal(p.kv_bytes, row * (5 * 1536 + 8192));
    assert_true(p.mask_full && p.mask_swa);
    run.swa_full = true;
    p = part_of(s, &run, 0, 6);
    assert_int_equal(p.kv_bytes, row * 6 * 8192);
    run.swa_full = false;
    run.kv_unified = true;
    run.slots = 3;
    p = part_of(s, &run, 0, 1);
    assert_int_equal(p.kv_bytes, row * 3584); /* W * slots + ub */
    free(s);
    dims.arch = "newcomer";
    s = llama_shape(&dims);
    run = run_of(8192, 1);
    p = part_of(s, &run, 0, 6);
    assert_int_equal(p.kv_bytes, row * 6 * 8192);
    assert_true(memory_part_compute(&p, s, &run) >= 34 * UINT64_C(256) * 2048); /* and k = 34 */
    free(s);
}

/* Recurrent: 4 B * np * ((conv - 1) * inner + state * inner) per layer, whatever the context; compute of E 1024, ub
 * 512 was 24 MiB on one rank, 66 and 64 on two. */
static void test_recurrent(void **state)
{
    struct model_shape *s = model_shape_new(4);
    struct memory_run run = run_of(4096, 1);
    struct memory_part p;

    (void)state;
    strcpy(s->arch, "mamba");
    s->n_embd = 1024;
    s->n_vocab = 1000;
    s->ssm_conv = 4;
    s->ssm_inner = 2048;
    s->ssm_state = 16;
    p = part_of(s, &run, 0, 4);
    assert_int_equal(p.kv_bytes, UINT64_C(4) * 4 * (3 * 2048 + 16 * 2048));
    assert_true(memory_part_compute(&p, s, &run) >= 24 * MIB);
    run.n_devices = 2;
    assert_true(memory_part_compute(&p, s, &run) >= 66 * MIB);
    assert_true(memory_kv_possible(s, &run));
    free(s);
}

/* rpc-server receives each tensor whole: 512 MiB of output made a rank of 564 MiB of weights peak at 1030 MiB. */
static void test_loading_peak(void **state)
{
    static const struct llama_dims dims = {
        .n_layer = 2, .n_embd = 64, .n_head = 4, .n_head_kv = 4, .n_ff = 64, .n_vocab = 64, .type = 1};
    struct model_shape *s = llama_shape(&dims);
    struct memory_run run = run_of(512, 2);
    struct memory_part p = part_of(s, &run, 0, 1);

    (void)state;
    p.weight_bytes = 564 * MIB;
    p.max_tensor_bytes = 512 * MIB;
    assert_in_range(memory_part_process(&p, s, &run), 1030 * MIB, 1100 * MIB);
    p.max_tensor_bytes = 2 * MIB; /* small tensors stay in the heap */
    assert_int_equal(memory_part_process(&p, s, &run), memory_part_device(&p, s, &run) + 18 * MIB);
    assert_int_equal(memory_part_receive(&p), 18 * MIB);
    free(s);
}

static void test_output_alone(void **state)
{
    struct model_shape *s = llama_shape(&m206);
    struct memory_run run = run_of(512, 3);
    struct memory_part p = part_of(s, &run, 16, 17);

    (void)state;
    assert_int_equal(p.kv_bytes, 0);
    assert_int_equal(memory_part_compute(&p, s, &run), 4 * 4 * 1024 + 4 * (512 + 4 * 1024) + MIB / 4);
    free(s);
}

static void test_cache_types(void **state)
{
    struct model_shape *s = llama_shape(&m206);
    struct memory_run run = run_of(512, 1);

    (void)state;
    assert_true(memory_kv_possible(s, &run));
    run.kv_type = GGML_ID_Q8_0;
    assert_true(memory_kv_possible(s, &run));
    run.flash_attn = false; /* "quantized V cache requires flash_attn" */
    assert_false(memory_kv_possible(s, &run));
    run.flash_attn = true;
    s->head_dim_k = 80; /* not whole blocks */
    assert_false(memory_kv_possible(s, &run));
    run.kv_type = (uint32_t)ggml_type_id("q6_K"); /* not a cache type */
    assert_false(memory_kv_possible(s, &run));
    run.kv_type = 4;
    assert_false(memory_kv_possible(s, &run));
    free(s);
}

/* Figures from a header may be anything: sums stop, and never come out small. */
static void test_absurd_figures_saturate(void **state)
{
    struct model_shape *s = model_shape_new(2);
    struct memory_run run = {.ctx = UINT32_MAX,
                             .slots = UINT32_MAX,
                             .batch = UINT32_MAX,
                             .ubatch = UINT32_MAX,
                             .kv_type = GGML_ID_F32,
                             .n_devices = UINT32_MAX,
                             .all_rows = true};
    struct memory_part p;

    (void)state;
    s->n_embd = s->n_head = s->n_ff = s->head_dim_k = s->head_dim_v = s->n_vocab = UINT32_MAX;
    s->n_expert = s->n_expert_used = s->n_ff_expert = s->n_swa = UINT32_MAX;
    s->ssm_conv = s->ssm_inner = s->ssm_state = UINT32_MAX;
    s->token_embd_bytes = s->output_bytes = s->other_bytes = UINT64_MAX;
    for (int i = 0; i < 2; i++)
        s->layer[i] = (struct model_layer){UINT64_MAX, UINT64_MAX, UINT32_MAX, UINT32_MAX};
    for (int fa = 0; fa < 2; fa++) {
        run.flash_attn = fa;
        p = part_of(s, &run, 0, 3);
        assert_int_equal(p.weight_bytes, UINT64_MAX);
        assert_int_equal(p.kv_bytes, UINT64_MAX);
        assert_int_equal(memory_part_compute(&p, s, &run), UINT64_MAX);
        assert_int_equal(memory_part_process(&p, s, &run), UINT64_MAX);
        assert_int_equal(memory_host(s, &run), UINT64_MAX);
    }
    free(s);
}

static void test_sizes_for_people(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *file, *memory;
    } rows[] = {
        {0, "0 B", "0 B"},
        {999, "999 B", "999 B"},
        {1000, "1 kB", "1000 B"},
        {1025, "1 kB", "2 KiB"},
        {999499, "999 kB", "977 KiB"},
        {999500, "1 MB", "977 KiB"},
        {206266688, "206 MB", "197 MiB"},
        {400 * MIB, "419 MB", "400 MiB"},
        {1073741824, "1.07 GB", "1.0 GiB"},
        {1073741825, "1.07 GB", "1.1 GiB"},
        {11980026592, "11.98 GB", "11.2 GiB"},
        {2147483647, "2.15 GB", "2.0 GiB"},
        {UINT64_MAX, "18446744073.71 GB", "17179869184.0 GiB"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_string_equal(UNITS_FILE(rows[i].bytes), rows[i].file);
        assert_string_equal(UNITS_MEMORY(rows[i].bytes), rows[i].memory);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_loads),
        cmocka_unit_test(test_fit_params),
        cmocka_unit_test(test_real_sizes),
        cmocka_unit_test(test_what_compute_depends_on),
        cmocka_unit_test(test_cells),
        cmocka_unit_test(test_sliding_windows),
        cmocka_unit_test(test_recurrent),
        cmocka_unit_test(test_loading_peak),
        cmocka_unit_test(test_output_alone),
        cmocka_unit_test(test_cache_types),
        cmocka_unit_test(test_absurd_figures_saturate),
        cmocka_unit_test(test_sizes_for_people),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
