/* The gate that finds questions by hash: whatever comes in pieces, what goes out is what came in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/carrier/hash_gate.h"

enum { SET = 6, HASH = 7, GET = 8, STREAM_MAX = 4096 };

struct stream {
    uint8_t bytes[STREAM_MAX];
    size_t n;
};

/* A frame of n bytes that look like heads of questions. */
static void add(struct stream *s, uint8_t command, uint64_t n_says, size_t n)
{
    s->bytes[s->n++] = command;
    for (size_t i = 0; i < 8; i++)
        s->bytes[s->n++] = (uint8_t)(n_says >> (8 * i));
    memset(s->bytes + s->n, HASH, n);
    s->n += n;
    assert_true(s->n <= STREAM_MAX);
}

struct outcome {
    struct stream out;
    size_t n_asked, n_released;
};

static void take(struct hash_gate *g, const uint8_t *p, size_t n, bool ask, struct outcome *o)
{
    while (n) {
        enum hash_gate_verdict v = 0;
        size_t used = hash_gate_take(g, p, n, ask, &v);

        assert_in_range(used, 1, n);
        if (v == HASH_GATE_PASS) {
            memcpy(o->out.bytes + o->out.n, p, used);
            o->out.n += used;
        } else if (v != HASH_GATE_HELD) {
            memcpy(o->out.bytes + o->out.n, g->held, g->n_held);
            o->out.n += g->n_held;
        }
        o->n_asked += v == HASH_GATE_ASK;
        o->n_released += v == HASH_GATE_RELEASE;
        assert_true(v != HASH_GATE_ASK || g->n_held == HASH_FRAME_BYTES);
        p += used;
        n -= used;
    }
}

static struct outcome play(const struct stream *s, size_t piece, bool ask)
{
    struct hash_gate g = {0};
    struct outcome o = {0};

    for (size_t at = 0; at < s->n; at += piece)
        take(&g, s->bytes + at, s->n - at < piece ? s->n - at : piece, ask, &o);
    return o;
}

static void test_pieces(void **state)
{
    struct stream s = {0};

    (void)state;
    add(&s, SET, 700, 700);
    add(&s, HASH, HASH_QUESTION_BYTES, HASH_QUESTION_BYTES);
    add(&s, GET, 0, 0);
    add(&s, HASH, 20, 20); /* of some other version */
    add(&s, HASH, 0, 0);
    add(&s, HASH, HASH_QUESTION_BYTES, HASH_QUESTION_BYTES);
    add(&s, HASH, HASH_QUESTION_BYTES, HASH_QUESTION_BYTES);
    for (size_t piece = 1; piece <= s.n; piece++) {
        struct outcome o = play(&s, piece, true);

        assert_int_equal(o.n_asked, 3);
        assert_int_equal(o.n_released, 2);
        assert_int_equal(o.out.n, s.n);
        assert_memory_equal(o.out.bytes, s.bytes, s.n);
        o = play(&s, piece, false);
        assert_int_equal(o.n_asked + o.n_released, 0);
        assert_int_equal(o.out.n, s.n);
        assert_memory_equal(o.out.bytes, s.bytes, s.n);
    }
}

/* A frame that began to pass passes whole, also where asking is allowed from its second byte on. */
static void test_allowed_in_mid_frame(void **state)
{
    struct hash_gate g = {0};
    struct outcome o = {0};
    struct stream s = {0};

    (void)state;
    add(&s, HASH, HASH_QUESTION_BYTES, HASH_QUESTION_BYTES);
    add(&s, HASH, HASH_QUESTION_BYTES, HASH_QUESTION_BYTES);
    take(&g, s.bytes, 1, false, &o);
    take(&g, s.bytes + 1, s.n - 2, true, &o);
    assert_int_equal(o.out.n, HASH_FRAME_BYTES);
    take(&g, s.bytes + s.n - 1, 1, false, &o); /* and one that is held is held to its end */
    assert_int_equal(o.n_asked, 1);
    assert_int_equal(o.out.n, s.n);
}

static void test_hostile_length(void **state)
{
    struct stream s = {0};
    struct outcome o;

    (void)state;
    add(&s, HASH, UINT64_MAX, 1000);
    o = play(&s, 100, true);
    assert_int_equal(o.n_released, 1);
    assert_int_equal(o.n_asked, 0);
    assert_int_equal(o.out.n, s.n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_allowed_in_mid_frame),
        cmocka_unit_test(test_hostile_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
