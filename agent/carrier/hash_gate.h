/* Finds the questions "do you have the tensor with this hash" in what a coordinator sends, so that they can be answered
 * from this node's own file. Pure. All else passes through; only a SET_TENSOR_HASH is held until it is whole. */
#ifndef CARAVAN_AGENT_CARRIER_HASH_GATE_H
#define CARAVAN_AGENT_CARRIER_HASH_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HASH_QUESTION_BYTES = 312, /* of RPC 8: the tensor's description, the offset, the hash */
    HASH_FRAME_BYTES = 9 + HASH_QUESTION_BYTES
};

enum hash_gate_verdict {
    HASH_GATE_PASS = 1, /* the bytes that were used go to the worker as they are */
    HASH_GATE_HELD,     /* they are in `held`, and more must come */
    HASH_GATE_RELEASE,  /* held[0..n_held) goes to the worker: not the question that we know */
    HASH_GATE_ASK       /* held is a whole question: answer it, or let it go to the worker */
};

/* Zero before the first byte of a stream. */
struct hash_gate {
    uint8_t head[9];
    size_t n_head;   /* of the frame that passes */
    uint64_t n_left; /* of its data */
    bool holding, spent;
    size_t n_held;
    uint8_t held[HASH_FRAME_BYTES];
};

/* Takes bytes of buf (borrowed; n_bytes > 0) up to the next verdict; returns how many were used. To be called again with
 * the rest. ask: whether frames that begin here may be held. It must be false until the RPC version is known to be one
 * that asks like this, and while a command waits for its answer: answers must keep their order. */
size_t hash_gate_take(struct hash_gate *g, const uint8_t *buf, size_t n_bytes, bool ask, enum hash_gate_verdict *ret);

#endif
