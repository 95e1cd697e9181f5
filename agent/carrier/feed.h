/* Feeds a worker one tensor out of this node's own file, in place of the coordinator, who asked for it by its hash.
 *
 * The frame is a SET_TENSOR with the question's own description and offset, and the bytes are hashed as they pass. Whether
 * they were the right ones is known only at the end, and needs no second copy: where they were not, the answer to the
 * coordinator is "no", it sends the tensor itself, and that overwrites what was fed. */
#ifndef CARAVAN_AGENT_CARRIER_FEED_H
#define CARAVAN_AGENT_CARRIER_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/carrier/hash_gate.h"
#include "agent/carrier/tensor_index.h"
#include "common/core/rpc_frames.h"

enum {
    FEED_E_NOT_HERE = 1, /* its index does not know the hash */
    FEED_E_CHANGED       /* it does, but the file is not the one that was indexed any more */
};
enum { FEED_AHEAD_BYTES = 4 * 1024 * 1024 };
enum { FEED_HEAD_BYTES = 9 + RPC_TENSOR_HEAD_BYTES, FEED_ANSWER_BYTES = 9 };

/* One file of the model (a split one has several). Both borrowed, as long as feeds of them run. */
struct feed_file {
    int fd;
    const struct tensor_index *index;
};

struct feed {
    const struct feed_file *file;
    struct tensor_span span;
    uint8_t head[FEED_HEAD_BYTES];
    uint64_t at;   /* of head and data */
    uint64_t hash; /* of the data so far */
    bool failed;
};

/* frame: a whole one, as hash_gate gives it. 0; FEED_E_...: another file may have it, or else the worker is to be asked as
 * if nothing were here. */
int feed_begin(struct feed *f, const struct feed_file *file, const uint8_t frame[HASH_FRAME_BYTES]);

/* The next bytes for the worker, as many as n; fewer only at the end of the frame, then 0. A file that cannot be read gives
 * zeros, so that the frame is whole in any case.
 *
 * It reads the file, and so may wait for a disk. No thread stands between, since nothing else needs the loop then: a carrier
 * serves one epoch, which is loading, and its coordinator waits for this very tensor. What can be had for nothing is that the
 * disk works while the worker takes and the hash is made: FEED_AHEAD_BYTES are asked for in advance. */
size_t feed_read(struct feed *f, void *buf, size_t n);

uint64_t feed_left_bytes(const struct feed *f);

/* Once nothing is left and the worker has taken it: the answer for the coordinator. Returns whether it is "yes". */
bool feed_answer(const struct feed *f, uint8_t buf[FEED_ANSWER_BYTES]);

#endif
