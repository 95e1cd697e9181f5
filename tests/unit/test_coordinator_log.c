/* The coordinator's log: a real one whole, cut at every length, in random pieces; errors as llama-server words them;
 * lines made to deceive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/core/coordinator_log.h"
#include "common/core/text.h"
#include "tests/unit/coordinator_log_sample.h"

enum { SAMPLE_BYTES = sizeof(coordinator_log_sample) - 1 };

#define MIB(whole, hundredths) (((uint64_t)(whole)*100 + (hundredths)) * 1024 * 1024 / 100)

static void feed_text(struct coordinator_log *l, const char *text, unsigned *ret_news)
{
    coordinator_log_init(l);
    *ret_news = coordinator_log_feed(l, text, strlen(text));
}

static const struct rank_buffers sample_buffers[] = {
    {"", 0, MIB(0, 53), 0, MIB(22, 7)},
    {"10.77.0.11:20052", 0, MIB(73, 36), MIB(3, 0), MIB(52, 5)},
    {"10.77.0.12:20052", 0, MIB(73, 36), MIB(3, 0), MIB(34, 4)},
    {"10.77.0.13:20052", 0, MIB(49, 44), MIB(2, 0), MIB(34, 4)},
};

static void assert_sample(const struct coordinator_log *l)
{
    assert_int_equal(l->n_buffers, 4);
    for (size_t i = 0; i < 4; i++) {
        const struct rank_buffers *b = &l->buffers[i], *want = &sample_buffers[i];

        assert_string_equal(b->endpoint, want->endpoint);
        assert_int_equal(b->device, want->device);
        assert_int_equal(b->model_bytes, want->model_bytes);
        assert_int_equal(b->kv_bytes, want->kv_bytes);
        assert_int_equal(b->compute_bytes, want->compute_bytes);
    }
    assert_int_equal(l->sched_copies, 4);
    assert_int_equal(l->n_dropped, 0);
    assert_true(l->loaded && l->listening);
    assert_int_equal(l->error, COORDINATOR_ERROR_NONE);
    assert_string_equal(coordinator_log_cause(l), "");
}

static void test_real_log(void **state)
{
    struct coordinator_log l;
    unsigned news;

    (void)state;
    feed_text(&l, coordinator_log_sample, &news);
    assert_int_equal(news, COORDINATOR_LOG_LOADING | COORDINATOR_LOG_BUFFERS | COORDINATOR_LOG_LOADED |
                               COORDINATOR_LOG_LISTENING);
    assert_sample(&l);
}

/* A log that ends anywhere gives figures that are right or absent, never wrong ones. */
static void test_cut_at_every_length(void **state)
{
    struct coordinator_log l, cut;

    (void)state;
    coordinator_log_init(&l);
    for (size_t i = 0; i < SAMPLE_BYTES; i++) {
        coordinator_log_feed(&l, &coordinator_log_sample[i], 1);
        cut = l;
        coordinator_log_end(&cut);
        assert_true(cut.n_buffers <= 4);
        for (size_t k = 0; k < cut.n_buffers; k++) {
            const struct rank_buffers *b = &cut.buffers[k], *want = &sample_buffers[k];

            assert_string_equal(b->endpoint, want->endpoint);
            assert_true(!b->model_bytes || b->model_bytes == want->model_bytes);
            assert_true(!b->kv_bytes || b->kv_bytes == want->kv_bytes);
            assert_true(!b->compute_bytes || b->compute_bytes == want->compute_bytes);
        }
        assert_int_equal(cut.error, COORDINATOR_ERROR_NONE);
    }
    assert_sample(&l);
}

static void test_random_pieces(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 200; seed++) {
        struct coordinator_log l;
        unsigned rng = seed, news = 0, n_loading = 0;

        coordinator_log_init(&l);
        for (size_t at = 0, n; at < SAMPLE_BYTES; at += n) {
            unsigned some;

            n = 1 + (size_t)rand_r(&rng) % (seed % 7 ? 97 : 3000);
            if (n > SAMPLE_BYTES - at)
                n = SAMPLE_BYTES - at;
            some = coordinator_log_feed(&l, coordinator_log_sample + at, n);

            n_loading += (some & COORDINATOR_LOG_LOADING) != 0;
            news |= some;
        }
        assert_int_equal(n_loading, 1);
        assert_int_equal(news, 15);
        assert_sample(&l);
    }
}

static void test_devices(void **state)
{
    static const char log[] = "0.1 I load_tensors: RPC0[10.0.0.1:20052] model buffer size =  1000.00 MiB\n"
                              "0.1 I load_tensors: RPC1[10.0.0.1:20052] model buffer size =     0.01 MiB\n"
                              "load_tensors: RPC[10.0.0.2:20052] model buffer size = 2.00 MiB\r\n"
                              "0.1 I load_tensors:        CUDA0 model buffer size =     5.00 MiB\n"
                              "0.1 I load_tensors:    CUDA_Host model buffer size =     6.00 MiB\n"
                              "0.1 I load_tensors:   CPU_Mapped model buffer size =     7.00 MiB\n"
                              "0.1 I load_tensors:   CPU_REPACK model buffer size =     1.50 MiB\n"
                              "0.1 I llama_kv_cache:      CUDA0 KV buffer size =     8.00 MiB\n"
                              "0.1 I llama_kv_cache:      CUDA0 KV buffer size =     1.00 MiB\n"
                              "0.1 I llama_memory_recurrent:      CUDA0 RS buffer size =     0.50 MiB\n"
                              "0.1 I sched_reserve:      CUDA0 compute buffer size =   300.00 MiB\n"
                              "0.1 I sched_reserve:      CUDA0 compute buffer size =   200.00 MiB\n";
    static const struct rank_buffers want[] = {
        {"10.0.0.1:20052", 0, MIB(1000, 0), 0, 0},
        {"10.0.0.1:20052", 1, MIB(0, 1), 0, 0},
        {"10.0.0.2:20052", 0, MIB(2, 0), 0, 0},
        {"CUDA0", 0, MIB(5, 0), MIB(9, 50), MIB(200, 0)},
        {"", 0, MIB(14, 50), 0, 0},
    };
    struct coordinator_log l;
    unsigned news;

    (void)state;
    feed_text(&l, log, &news);
    assert_int_equal(l.n_buffers, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(l.buffers[i].endpoint, want[i].endpoint);
        assert_int_equal(l.buffers[i].device, want[i].device);
        assert_int_equal(l.buffers[i].model_bytes, want[i].model_bytes);
        assert_int_equal(l.buffers[i].kv_bytes, want[i].kv_bytes);
        assert_int_equal(l.buffers[i].compute_bytes, want[i].compute_bytes);
    }
}

static void test_not_a_figure(void **state)
{
    static const char *const lines[] = {
        "load_tensors: RPC0[10.0.0.1:20052] model buffer size = 99999999999999999999.00 MiB",
        "load_tensors: RPC0[10.0.0.1:20052] model buffer size = -1.00 MiB",
        "load_tensors: RPC0[10.0.0.1:20052] model buffer size = 1.0 MiB",
        "load_tensors: RPC0[10.0.0.1:20052] model buffer size = 1.00 GiB",
        "load_tensors: RPC0[10.0.0.1:20052] model buffer size = 1.00 MB",
        "load_tensors: RPC0[10.0.0.1:20052] model buffer size",
        "load_tensors: RPC0[10.0.0.1:20052 model buffer size = 1.00 MiB",
        "load_tensors: RPC0[] model buffer size = 1.00 MiB",
        "load_tensors: RPC00000[10.0.0.1:20052] model buffer size = 1.00 MiB",
        "load_tensors: RPC0[1234567890123456789012345678901234567890123456789012345] model buffer size = 1.00 MiB",
        "load_tensors: ANAMETHATISLONGERTHANANYDEVICESNAME model buffer size = 1.00 MiB",
        "load_tensors: RPC0[10.0.0.1:20052] other buffer size = 1.00 MiB",
        "the RPC0[10.0.0.1:20052] model buffer size = 1.00 MiB",
        "model buffer size = 1.00 MiB",
        " buffer size = 1.00 MiB",
        "0.00.000.001 I llama_context:        CPU  output buffer size =     0.01 MiB",
        "0.00.000.001 I srv load_model: loading model 'models/a: model loaded'",
        "0.00.000.001 I srv start: HTTP server is listening, hostname: 127.0.0.1, port: 18080, http threads: 5",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct coordinator_log l;
        unsigned news;

        feed_text(&l, lines[i], &news);
        news |= coordinator_log_end(&l);
        if (news || l.n_buffers)
            fail_msg("taken for something: %s", lines[i]);
    }
}

/* What a prompt makes it print later is no figure; the lines end as on other systems, too. */
static void test_buffers_are_final_once_loaded(void **state)
{
    static const char log[] = "0.1 I load_tensors: RPC0[10.0.0.1:20052] model buffer size = 1.00 MiB\r\n"
                              "0.1 I srv  llama_server: model loaded\r\n"
                              "0.1 I load_tensors: RPC0[10.0.0.1:20052] model buffer size = 1.00 MiB\r\n";
    struct coordinator_log l;
    unsigned news;

    (void)state;
    feed_text(&l, log, &news);
    assert_int_equal(news, COORDINATOR_LOG_LOADING | COORDINATOR_LOG_BUFFERS | COORDINATOR_LOG_LOADED);
    assert_int_equal(l.buffers[0].model_bytes, MIB(1, 0));
}

static void test_buffers_are_bounded(void **state)
{
    struct coordinator_log l;

    (void)state;
    coordinator_log_init(&l);
    for (unsigned i = 0; i < 100; i++) {
        char line[128];
        int n = snprintf(line, sizeof(line), "load_tensors: RPC0[10.0.0.%u:20052] model buffer size = 1.00 MiB\n", i);

        coordinator_log_feed(&l, line, (size_t)n);
    }
    assert_int_equal(l.n_buffers, COORDINATOR_LOG_BUFFERS_MAX);
    assert_int_equal(l.n_dropped, 100 - COORDINATOR_LOG_BUFFERS_MAX);
}

static void test_endless_line(void **state)
{
    static const char begin[] = "0.00.000.001 E srv start: ", after[] = "\n0.1 I srv llama_server: model loaded\n";
    struct coordinator_log l;

    (void)state;
    coordinator_log_init(&l);
    coordinator_log_feed(&l, begin, sizeof(begin) - 1);
    for (size_t i = 0; i < 10000; i++)
        coordinator_log_feed(&l, "xxxxxxxxxx", 10);
    assert_int_equal(coordinator_log_feed(&l, after, sizeof(after) - 1),
                     COORDINATOR_LOG_ERROR | COORDINATOR_LOG_LOADED);
    assert_int_equal(strlen(coordinator_log_cause(&l)), PROTO_TEXT_MAX - 1);
}

/* Every text is what build 11669 printed in that situation. */
static void test_errors(void **state)
{
    static const struct {
        const char *log;
        enum coordinator_error error;
        const char *cause;
    } cases[] = {
        {"error: invalid argument: --nope\n", COORDINATOR_ERROR_FLAG, "error: invalid argument: --nope"},
        {"error while handling argument \"-c\": stoi\n\nusage:\n-c,    --ctx-size N    size\n", COORDINATOR_ERROR_FLAG,
         "error while handling argument \"-c\": stoi"},
        {"error while handling argument \"--device\": invalid device: RPC9\n", COORDINATOR_ERROR_MAY_PASS,
         "error while handling argument \"--device\": invalid device: RPC9"},
        {"0.00.016.094 E gguf_init_from_reader: invalid magic characters: 'garb', expected 'GGUF'\n"
         "0.00.016.177 E llama_model_load: error loading model: llama_model_loader: failed to load model from m.gguf\n"
         "0.00.016.190 E llama_model_load_from_file_impl: failed to load model\n"
         "0.00.016.585 E srv  llama_server: exiting due to model loading error\n",
         COORDINATOR_ERROR_FILE, "gguf_init_from_reader: invalid magic characters: 'garb', expected 'GGUF'"},
        {"0.00.015.189 E llama_model_load: error loading model: tensor 'blk.0.attn_q.weight' data is not within the "
         "file bounds, model is corrupted or incomplete\n"
         "0.00.015.198 E cmn  common_init_: failed to load model 'm.gguf'\n",
         COORDINATOR_ERROR_FILE,
         "llama_model_load: error loading model: tensor 'blk.0.attn_q.weight' data is not within the file bounds, model "
         "is corrupted or incomplete"},
        {"0.00.015.980 E llama_model_load: error loading model: unknown model architecture: 'lxyza'\n"
         "0.00.016.381 E srv  llama_server: exiting due to model loading error\n",
         COORDINATOR_ERROR_MODEL, "llama_model_load: error loading model: unknown model architecture: 'lxyza'"},
        {"0.00.014.756 E srv         start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 18998\n"
         "0.00.014.768 I srv    operator(): operator(): cleaning up before exit...\n"
         "0.00.014.909 E srv  llama_server: exiting due to HTTP server error\n",
         COORDINATOR_ERROR_MAY_PASS, "srv start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 18998"},
        {"./src/ggml-rpc/ggml-rpc.cpp:650: Failed to connect to 127.0.0.1:1\n", COORDINATOR_ERROR_MAY_PASS,
         "./src/ggml-rpc/ggml-rpc.cpp:650: Failed to connect to 127.0.0.1:1"},
        {"0.00.326.075 E recv failed (bytes_recv=0, size_to_recv=8)\n"
         "./src/ggml-rpc/ggml-rpc.cpp:682: Remote RPC server crashed or returned malformed response\n",
         COORDINATOR_ERROR_MAY_PASS,
         "./src/ggml-rpc/ggml-rpc.cpp:682: Remote RPC server crashed or returned malformed response"},
        {"0.00.019.256 I ./src/llama-context.cpp:2384: GGML_ASSERT(n_outputs_max <= cparams.n_outputs_max) failed\n",
         COORDINATOR_ERROR_MAY_PASS,
         "./src/llama-context.cpp:2384: GGML_ASSERT(n_outputs_max <= cparams.n_outputs_max) failed"},
        {"0.00.024.255 E srv  llama_server: exiting due to model loading error", COORDINATOR_ERROR_MAY_PASS,
         "srv llama_server: exiting due to model loading error"},
        {"0.00.024.255 W srv  llama_server: security: no API key is set, error or not\n", COORDINATOR_ERROR_NONE, ""},
        {"0.01.000.000 I srv  llama_server: listening on http://10.0.0.1:18080\n"
         "0.01.000.001 E srv  operator(): got exception: unknown model architecture\n",
         COORDINATOR_ERROR_MAY_PASS, "srv operator(): got exception: unknown model architecture"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct coordinator_log l;
        unsigned news;

        feed_text(&l, cases[i].log, &news);
        coordinator_log_end(&l);
        assert_string_equal(coordinator_log_cause(&l), cases[i].cause);
        assert_int_equal(l.error, cases[i].error);
        if (!l.listening && l.error)
            assert_int_equal(coordinator_error_of(coordinator_log_cause(&l)), cases[i].error);
    }
}

static void test_error_names(void **state)
{
    (void)state;
    assert_string_equal(coordinator_error_name(COORDINATOR_ERROR_FILE), "bad_file");
    assert_string_equal(coordinator_error_name(COORDINATOR_ERROR_MODEL), "unsupported_model");
    assert_string_equal(coordinator_error_name(COORDINATOR_ERROR_FLAG), "bad_flag");
    assert_string_equal(coordinator_error_name(COORDINATOR_ERROR_MAY_PASS), "coordinator_failed");
    assert_false(coordinator_error_is_final(COORDINATOR_ERROR_NONE));
    assert_false(coordinator_error_is_final(COORDINATOR_ERROR_MAY_PASS));
    assert_true(coordinator_error_is_final(COORDINATOR_ERROR_FLAG));
}

/* What a peer would refuse as text must not leave here. */
static void test_text_is_clean(void **state)
{
    static const struct {
        const char *in, *out;
        size_t size;
    } cases[] = {
        {"plain", "plain", 16},
        {"a\tb\x1b[1m\x7f", "a b [1m ", 16},
        {"two\nlines", "two\nlines", 16},
        {"gr\xc3\xbcn \xe2\x82\xac \xf0\x9f\x90\xab", "gr\xc3\xbcn \xe2\x82\xac \xf0\x9f\x90\xab", 32},
        {"gr\xc3\xbcn", "gr", 4}, /* cut inside of a character */
        {"\xe2\x82\xac", "", 3},
        {"\xff\xfe.", "??.", 16},
        {"\xc0\xaf", "??", 16}, /* overlong */
        {"\xed\xa0\x80.",
         "?"
         "?"
         "?.",
         16}, /* surrogate */
        {"\xf4\x90\x80\x80",
         "?"
         "?"
         "??",
         16}, /* beyond Unicode */
        {"\xe0\x80\x80.",
         "?"
         "?"
         "?.",
         16},
        {"\xf0\x80\x80\x80.",
         "?"
         "?"
         "?"
         "?.",
         16},
        {"\xe2\x82x", "??x", 16},
        {"", "", 1},
    };
    char buf[32];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        text_copy(buf, cases[i].size, cases[i].in);
        assert_string_equal(buf, cases[i].out);
        text_format(buf, cases[i].size, "%s", cases[i].in);
        assert_string_equal(buf, cases[i].out);
    }
    text_copy(buf, sizeof(buf), NULL);
    assert_string_equal(buf, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_log),
        cmocka_unit_test(test_cut_at_every_length),
        cmocka_unit_test(test_random_pieces),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_not_a_figure),
        cmocka_unit_test(test_buffers_are_final_once_loaded),
        cmocka_unit_test(test_buffers_are_bounded),
        cmocka_unit_test(test_endless_line),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_error_names),
        cmocka_unit_test(test_text_is_clean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
