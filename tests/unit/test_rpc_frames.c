/* The sensor of the rank tunnel: a real stream in pieces of any size, ages by hand, and streams that make no sense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/core/rpc_frames.h"
#include "tests/unit/rpc_frames_sample.h"

enum {
    REQUESTS = 123,
    ANSWERS = 25,
    REQUEST_BYTES = 242990,
    ANSWER_BYTES = 13188,
    TENSOR_BYTES = 130272
}; /* of the sample */
enum { GET = 8, HASH = 7, SET = 6, GRAPH = 10, AGAIN = 16, CLEAR = 5, HELLO = 14, COUNT = 15 };

/* ---- a recorded stream ---- */

/* One line of the sample as bytes. Returns how many; buf: 64 KiB. */
static size_t frame_of(const char *line, uint8_t *buf)
{
    size_t n = 0;
    unsigned byte;
    int used;

    for (line += 2; *line && *line != '\n'; line += strspn(line, " ")) {
        if (*line == '*') {
            size_t n_data = strtoul(line + 1, NULL, 10);

            for (size_t i = 0; i < n_data; i++)
                buf[n++] = (uint8_t)(i * 7);
            break;
        }
        assert_int_equal(sscanf(line, "%2x%n", &byte, &used), 1);
        buf[n++] = (uint8_t)byte;
        line += used;
    }
    return n;
}

static void feed(struct rpc_frames *f, char way, const uint8_t *p, size_t n, size_t piece)
{
    for (size_t at = 0; at < n; at += piece) {
        size_t n_piece = n - at < piece ? n - at : piece;

        if (way == '>') {
            rpc_frames_request(f, p + at, n_piece, 1000);
            rpc_frames_written(f, n_piece, 1000);
        } else {
            rpc_frames_answer(f, p + at, n_piece, 1000);
        }
    }
}

/* What is written goes out in pieces that know nothing of frames: up to where the direction changes. */
static void play(struct rpc_frames *f, size_t piece)
{
    static uint8_t run[1024 * 1024];
    size_t n = 0;
    char way = '>';

    rpc_frames_init(f);
    for (const char *line = rpc_frames_sample; *line; line = strchr(line, '\n') + 1) {
        if (*line != way) {
            feed(f, way, run, n, piece);
            n = 0;
        }
        way = *line;
        assert_true(n + 65536 <= sizeof(run));
        n += frame_of(line, run + n);
    }
    feed(f, way, run, n, piece);
}

static void test_real_stream(void **state)
{
    static const size_t piece[] = {1, 2, 3, 7, 8, 9, 10, 17, 64, 313, 4096, 1024 * 1024};

    (void)state;
    for (size_t i = 0; i < sizeof(piece) / sizeof(piece[0]); i++) {
        struct rpc_frames f;
        struct rpc_figures v;

        play(&f, piece[i]);
        rpc_frames_figures(&f, 2000, &v);
        assert_int_equal(v.why, RPC_BLIND_NOT);
        assert_int_equal(v.version.major, 8);
        assert_int_equal(v.request.n_frames, REQUESTS);
        assert_int_equal(v.answer.n_frames, ANSWERS);
        assert_int_equal(v.n_round_trips, ANSWERS);
        assert_int_equal(v.request.n_bytes, REQUEST_BYTES);
        assert_int_equal(v.answer.n_bytes, ANSWER_BYTES);
        assert_int_equal(v.n_tensor_bytes, TENSOR_BYTES);
        assert_int_equal(v.n_graphs, 8);
        assert_int_equal(v.n_graphs_open, 0);
        assert_int_equal(v.n_waiting, 0);
        assert_null(v.oldest);
        assert_int_equal(v.n_held_bytes, 0);
    }
}

/* ---- by hand ---- */

static size_t frame(uint8_t *buf, uint8_t command, uint64_t n_data)
{
    buf[0] = command;
    for (size_t i = 0; i < 8; i++)
        buf[1 + i] = (uint8_t)(n_data >> (8 * i));
    return 9;
}

/* The head of a request, and as many zeros as it says. */
static void ask(struct rpc_frames *f, uint8_t command, size_t n_data, uint64_t now_ms)
{
    static uint8_t buf[70000];
    size_t n = frame(buf, command, n_data) + n_data;

    rpc_frames_request(f, buf, n, now_ms);
}

static void ask_written(struct rpc_frames *f, uint8_t command, size_t n_data, uint64_t now_ms)
{
    ask(f, command, n_data, now_ms);
    rpc_frames_written(f, 9 + n_data, now_ms);
}

static void answer(struct rpc_frames *f, uint64_t n_says, const uint8_t *data, size_t n, uint64_t now_ms)
{
    uint8_t buf[9];

    frame(buf, 0, n_says);
    rpc_frames_answer(f, buf + 1, 8, now_ms);
    rpc_frames_answer(f, data, n, now_ms);
}

static void begin(struct rpc_frames *f, uint8_t major, size_t n_answer)
{
    uint8_t version[28] = {major, 1, 2};

    rpc_frames_init(f);
    ask_written(f, HELLO, 24, 1);
    answer(f, n_answer, version, n_answer, 2);
}

static enum rpc_blind why(const struct rpc_frames *f)
{
    struct rpc_figures v;

    rpc_frames_figures(f, 100, &v);
    assert_int_equal(!*rpc_blind_text(v.why), !v.why);
    assert_int_equal(!*rpc_blind_name(v.why), !v.why);
    assert_true(strlen(rpc_blind_name(v.why)) < PROTO_WORD_MAX);
    return v.why;
}

/* The age counts from the last byte that the worker's socket took, and ends where the answer begins. */
static void test_age_of_command(void **state)
{
    static const uint8_t data[16];
    struct rpc_frames f;
    struct rpc_figures v;

    (void)state;
    begin(&f, 8, 28);
    ask(&f, GET, 312, 1000);
    rpc_frames_figures(&f, 5000, &v);
    assert_int_equal(v.n_waiting, 1);
    assert_string_equal(v.oldest, "GET_TENSOR");
    assert_int_equal(v.oldest_age_ms, 0);
    assert_int_equal(v.n_held_bytes, 321);
    assert_int_equal(v.held_ms, 4000);
    rpc_frames_written(&f, 320, 6000);
    rpc_frames_figures(&f, 6500, &v);
    assert_int_equal(v.oldest_age_ms, 0);
    assert_int_equal(v.n_held_bytes, 1);
    assert_int_equal(v.held_ms, 500);
    ask(&f, CLEAR, 9, 6600); /* more to hold is no progress */
    rpc_frames_figures(&f, 6700, &v);
    assert_int_equal(v.n_held_bytes, 19);
    assert_int_equal(v.held_ms, 700);
    rpc_frames_written(&f, 19, 7000);
    rpc_frames_figures(&f, 17000, &v);
    assert_int_equal(v.oldest_age_ms, 10000);
    assert_int_equal(v.held_ms, 0);
    answer(&f, 1000, data, 1, 18000);
    rpc_frames_figures(&f, 30000, &v);
    assert_int_equal(v.n_waiting, 0);
    assert_null(v.oldest);
    assert_int_equal(v.n_round_trips, 1); /* HELLO's; this one is not at its end */
}

/* Of several that wait, the oldest counts. */
static void test_oldest(void **state)
{
    static const uint8_t data[16];
    struct rpc_frames f;
    struct rpc_figures v;

    (void)state;
    begin(&f, 8, 28);
    ask_written(&f, COUNT, 0, 1000);
    ask_written(&f, GET, 312, 2000);
    rpc_frames_figures(&f, 3000, &v);
    assert_int_equal(v.n_waiting, 2);
    assert_string_equal(v.oldest, "DEVICE_COUNT");
    assert_int_equal(v.oldest_age_ms, 2000);
    answer(&f, 4, data, 4, 3000);
    rpc_frames_figures(&f, 3500, &v);
    assert_string_equal(v.oldest, "GET_TENSOR");
    assert_int_equal(v.oldest_age_ms, 1500);
    assert_int_equal(v.n_waiting, 1);
}

static void expect_graphs(const struct rpc_frames *f, uint64_t now_ms, uint64_t n_open, uint64_t age_ms,
                          uint64_t all_ms)
{
    struct rpc_figures v;

    rpc_frames_figures(f, now_ms, &v);
    assert_int_equal(v.n_graphs_open, n_open);
    assert_int_equal(v.graph_age_ms, age_ms);
    assert_int_equal(v.graph_ms, all_ms);
}

/* Open until the next GET_TENSOR is answered; no other answer says anything about it. */
static void test_graphs(void **state)
{
    static const uint8_t data[16];
    struct rpc_frames f;

    (void)state;
    begin(&f, 8, 28);
    ask_written(&f, GRAPH, 5000, 1000);
    expect_graphs(&f, 1500, 1, 500, 0);
    ask_written(&f, CLEAR, 9, 1500);
    ask_written(&f, COUNT, 0, 1600);
    answer(&f, 4, data, 4, 1700);
    expect_graphs(&f, 2000, 1, 1000, 0);
    ask_written(&f, GET, 312, 2000);
    ask_written(&f, AGAIN, 12, 2100);
    expect_graphs(&f, 2200, 2, 1200, 0);
    answer(&f, 4, data, 4, 3000); /* of the GET between them */
    expect_graphs(&f, 3500, 1, 500, 2000);
    ask_written(&f, GET, 312, 3600);
    answer(&f, 4, data, 4, 4000);
    expect_graphs(&f, 9000, 0, 0, 3000);
    ask_written(&f, GET, 312, 9000); /* a second one costs no graph's time */
    answer(&f, 4, data, 4, 9900);
    expect_graphs(&f, 9900, 0, 0, 3000);
    ask(&f, GRAPH, 5000, 10000);
    rpc_frames_written(&f, 5008, 10000); /* all but its last byte */
    expect_graphs(&f, 11000, 1, 0, 3000);
    rpc_frames_written(&f, 1, 12000);
    expect_graphs(&f, 12500, 1, 500, 3000);
    assert_int_equal(why(&f), RPC_BLIND_NOT);
}

static void test_hashes(void **state)
{
    static const uint8_t yes = 1, no = 0;
    struct rpc_frames f;
    struct rpc_figures v;

    (void)state;
    begin(&f, 8, 28);
    ask_written(&f, HASH, 312, 1);
    answer(&f, 1, &no, 1, 2);
    ask_written(&f, SET, RPC_TENSOR_HEAD_BYTES + 1000, 3);
    ask_written(&f, HASH, 312, 4);
    answer(&f, 1, &yes, 1, 5);
    ask_written(&f, SET, 10, 6); /* shorter than its description: no bytes of a tensor */
    rpc_frames_figures(&f, 7, &v);
    assert_int_equal(v.n_hash_asked, 2);
    assert_int_equal(v.n_hash_known, 1);
    assert_int_equal(v.n_tensor_bytes, 1000);
}

/* Not while anything is between a question and the end of its answer, nor in what is not understood. */
static void test_may_answer(void **state)
{
    static const uint8_t data[10] = {0};
    struct rpc_frames f;
    uint8_t head[9];

    (void)state;
    rpc_frames_init(&f);
    assert_false(rpc_frames_may_answer(&f));
    ask_written(&f, HELLO, 24, 1);
    assert_false(rpc_frames_may_answer(&f));
    begin(&f, 8, 28);
    assert_true(rpc_frames_may_answer(&f));
    ask_written(&f, SET, 1000, 3);
    assert_true(rpc_frames_may_answer(&f));
    ask_written(&f, GET, 312, 3);
    assert_false(rpc_frames_may_answer(&f));
    frame(head, 0, sizeof(data));
    rpc_frames_answer(&f, head + 1, 5, 4);
    assert_false(rpc_frames_may_answer(&f));
    rpc_frames_answer(&f, head + 6, 3, 4);
    assert_false(rpc_frames_may_answer(&f));
    rpc_frames_answer(&f, data, 9, 4);
    assert_false(rpc_frames_may_answer(&f));
    rpc_frames_answer(&f, data, 1, 4);
    assert_true(rpc_frames_may_answer(&f));
    ask_written(&f, 200, 0, 5);
    assert_false(rpc_frames_may_answer(&f));
    begin(&f, 7, 28);
    assert_false(rpc_frames_may_answer(&f));
}

/* ---- what makes no sense ---- */

static void test_versions(void **state)
{
    static const struct {
        uint8_t major;
        size_t n_answer;
        enum rpc_blind why;
    } rows[] = {
        {8, 28, RPC_BLIND_NOT},     {8, 3, RPC_BLIND_NOT},      {3, 3, RPC_BLIND_VERSION}, {7, 28, RPC_BLIND_VERSION},
        {9, 28, RPC_BLIND_VERSION}, {0, 28, RPC_BLIND_VERSION}, {8, 2, RPC_BLIND_VERSION}, {8, 0, RPC_BLIND_VERSION},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct rpc_frames f;

        begin(&f, rows[i].major, rows[i].n_answer);
        assert_int_equal(why(&f), rows[i].why);
    }
}

/* From then on only bytes are counted, and nothing is said to wait. */
static void expect_blind(struct rpc_frames *f, enum rpc_blind expected, uint8_t command)
{
    struct rpc_figures before, v;

    rpc_frames_figures(f, 100, &before);
    assert_int_equal(before.why, expected);
    assert_int_equal(before.odd_command, command);
    ask(f, GRAPH, 100, 200);
    ask(f, GET, 312, 200);
    answer(f, UINT64_MAX, (const uint8_t *)"abc", 3, 200);
    rpc_frames_figures(f, 9000, &v);
    assert_int_equal(v.why, expected);
    assert_int_equal(v.request.n_bytes, before.request.n_bytes + 109 + 321);
    assert_int_equal(v.answer.n_bytes, before.answer.n_bytes + 8 + 3);
    assert_int_equal(v.request.n_frames, before.request.n_frames);
    assert_int_equal(v.n_waiting, 0);
    assert_null(v.oldest);
    assert_int_equal(v.n_graphs_open, 0);
    assert_true(v.n_held_bytes > 0);
}

static void test_first_words(void **state)
{
    struct rpc_frames f;

    (void)state;
    rpc_frames_init(&f);
    ask(&f, COUNT, 0, 1);
    expect_blind(&f, RPC_BLIND_NO_HELLO, COUNT);
    rpc_frames_init(&f);
    ask_written(&f, HELLO, 24, 1);
    ask(&f, HELLO, 24, 1);
    expect_blind(&f, RPC_BLIND_NO_HELLO, HELLO);
    rpc_frames_init(&f);
    answer(&f, 28, NULL, 0, 1);
    expect_blind(&f, RPC_BLIND_UNASKED, 0);
}

static void test_unknown_command(void **state)
{
    struct rpc_frames f;

    (void)state;
    begin(&f, 8, 28);
    ask_written(&f, GRAPH, 10, 3);
    ask_written(&f, GET, 312, 3);
    ask(&f, 17, 0, 4);
    expect_blind(&f, RPC_BLIND_COMMAND, 17);
    begin(&f, 8, 28);
    ask(&f, 255, 5, 4);
    expect_blind(&f, RPC_BLIND_COMMAND, 255);
    assert_string_equal(rpc_command_name(255), "unknown");
    assert_string_equal(rpc_command_name(17), "unknown");
    assert_string_equal(rpc_command_name(16), "GRAPH_RECOMPUTE");
}

static void test_lengths(void **state)
{
    uint8_t head[9];
    struct rpc_frames f;
    struct rpc_figures v;

    (void)state;
    begin(&f, 8, 28);
    ask(&f, COUNT, RPC_SMALL_REQUEST_MAX + 1, 4);
    expect_blind(&f, RPC_BLIND_LENGTH, COUNT);
    begin(&f, 8, 28);
    ask_written(&f, COUNT, 0, 4);
    answer(&f, RPC_SMALL_ANSWER_MAX + 1, NULL, 0, 5);
    expect_blind(&f, RPC_BLIND_LENGTH, COUNT);
    begin(&f, 8, 28);
    ask_written(&f, GET, 312, 4);
    answer(&f, UINT64_MAX, (const uint8_t *)"abc", 3, 5); /* believed as far as it comes */
    assert_int_equal(why(&f), RPC_BLIND_NOT);
    begin(&f, 8, 28);
    rpc_frames_request(&f, head, frame(head, SET, UINT64_MAX), 4);
    ask(&f, COUNT, 600, 5); /* data, whatever it looks like */
    rpc_frames_figures(&f, 6, &v);
    assert_int_equal(v.why, RPC_BLIND_NOT);
    assert_int_equal(v.n_waiting, 0);
    assert_int_equal(v.n_tensor_bytes, 609 - RPC_TENSOR_HEAD_BYTES);
}

static void test_answers_unasked(void **state)
{
    struct rpc_frames f;

    (void)state;
    begin(&f, 8, 28);
    ask_written(&f, CLEAR, 9, 4); /* has no answer */
    answer(&f, 0, NULL, 0, 5);
    expect_blind(&f, RPC_BLIND_UNASKED, 0);
    begin(&f, 8, 28);
    ask(&f, COUNT, 0, 4);
    rpc_frames_written(&f, 8, 4); /* one byte short: the worker cannot know the question */
    answer(&f, 4, (const uint8_t *)"abcd", 4, 5);
    expect_blind(&f, RPC_BLIND_UNASKED, 0);
}

static void test_too_many(void **state)
{
    static const uint8_t data[RPC_SMALL_ANSWER_MAX + 1];
    struct rpc_frames f;

    (void)state;
    begin(&f, 8, 28);
    for (size_t round = 0; round < 3; round++) { /* the ring goes round */
        for (size_t i = 0; i < RPC_FRAMES_WAITING_MAX; i++)
            ask_written(&f, i % 3 ? COUNT : GET, 0, 4);
        for (size_t i = 0; i < RPC_FRAMES_WAITING_MAX - 5 * (round == 2); i++)
            answer(&f, i % 3 ? 4 : sizeof(data), data, i % 3 ? 4 : sizeof(data), 5);
    }
    for (size_t i = 5; i < RPC_FRAMES_WAITING_MAX; i++)
        ask_written(&f, COUNT, 0, 6);
    assert_int_equal(why(&f), RPC_BLIND_NOT);
    ask(&f, COUNT, 0, 7);
    expect_blind(&f, RPC_BLIND_TOO_MANY, COUNT);
}

/* A caller that says more was written than there was is not believed. */
static void test_written_too_much(void **state)
{
    struct rpc_frames f;
    struct rpc_figures v;

    (void)state;
    begin(&f, 8, 28);
    rpc_frames_written(&f, UINT64_MAX, 4);
    ask(&f, COUNT, 0, 5);
    rpc_frames_figures(&f, 6, &v);
    assert_int_equal(v.n_held_bytes, 9);
    assert_int_equal(v.held_ms, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_stream),      cmocka_unit_test(test_age_of_command),
        cmocka_unit_test(test_oldest),           cmocka_unit_test(test_graphs),
        cmocka_unit_test(test_hashes),           cmocka_unit_test(test_may_answer),
        cmocka_unit_test(test_versions),         cmocka_unit_test(test_first_words),
        cmocka_unit_test(test_unknown_command),  cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_answers_unasked),  cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_written_too_much),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
