#include "agent/carrier/hash_gate.h"

#include <string.h>

#include "common/core/le.h"

enum { CMD_SET_TENSOR_HASH = 7, HEAD_BYTES = 9 };

static uint64_t length_in(const uint8_t head[HEAD_BYTES])
{
    return le_get(head + 1, 8);
}

static size_t hold(struct hash_gate *g, const uint8_t *buf, size_t n, enum hash_gate_verdict *ret)
{
    size_t wanted = (g->n_held < HEAD_BYTES ? (size_t)HEAD_BYTES : (size_t)HASH_FRAME_BYTES) - g->n_held;
    size_t n_took = n < wanted ? n : wanted;

    memcpy(g->held + g->n_held, buf, n_took);
    g->n_held += n_took;
    *ret = HASH_GATE_HELD;
    if (g->n_held == HEAD_BYTES && length_in(g->held) != HASH_QUESTION_BYTES) {
        g->n_left = length_in(g->held);
        *ret = HASH_GATE_RELEASE;
    } else if (g->n_held == HASH_FRAME_BYTES) {
        *ret = HASH_GATE_ASK;
    }
    g->spent = *ret != HASH_GATE_HELD;
    return n_took;
}

/* Bytes of the frame that passes, of its head or its data. */
static size_t pass_some(struct hash_gate *g, const uint8_t *buf, size_t n)
{
    size_t n_took;

    if (g->n_left) {
        n_took = g->n_left < n ? (size_t)g->n_left : n;
        g->n_left -= n_took;
        return n_took;
    }
    n_took = HEAD_BYTES - g->n_head < n ? HEAD_BYTES - g->n_head : n;
    memcpy(g->head + g->n_head, buf, n_took);
    g->n_head += n_took;
    if (g->n_head == HEAD_BYTES) {
        g->n_head = 0;
        g->n_left = length_in(g->head);
    }
    return n_took;
}

static bool is_question(const struct hash_gate *g, uint8_t first)
{
    return !g->n_head && !g->n_left && first == CMD_SET_TENSOR_HASH;
}

size_t hash_gate_take(struct hash_gate *g, const uint8_t *buf, size_t n_bytes, bool ask, enum hash_gate_verdict *ret)
{
    size_t at = 0;

    if (g->spent) {
        g->holding = g->spent = false;
        g->n_held = 0;
    }
    if (g->holding)
        return hold(g, buf, n_bytes, ret);
    while (at < n_bytes && !(ask && is_question(g, buf[at])))
        at += pass_some(g, buf + at, n_bytes - at);
    if (at) {
        *ret = HASH_GATE_PASS;
        return at;
    }
    g->holding = true;
    return hold(g, buf, n_bytes, ret);
}
