/* Which tensors of a GGUF file a coordinator asks for by hash (those of more than 10 MiB), and where their bytes lie. Pure:
 * bytes come through a callback.
 *
 * Hashing goes at about 1 GB/s, so it is done in slices, in the background, once per file; what came out is kept and taken
 * back as long as the file is the same. Nothing rests on that: whoever feeds bytes hashes them again. */
#ifndef CARAVAN_AGENT_CARRIER_TENSOR_INDEX_H
#define CARAVAN_AGENT_CARRIER_TENSOR_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/gguf.h"
#include "common/core/rpc_wire.h"

enum { TENSOR_ASKED_OVER_BYTES = RPC_HASHED_OVER_BYTES };

enum {
    TENSOR_INDEX_E_MORE = 1, /* tensor_index_step: not all is hashed yet */
    TENSOR_INDEX_E_NO_MODEL  /* tensor_index_new: why says why */
};

/* What tells a file from another one, or from itself before it was written to. */
struct tensor_file_id {
    uint64_t inode, size_bytes;
    int64_t mtime_ns;
};
bool tensor_file_same(const struct tensor_file_id *a, const struct tensor_file_id *b);

struct tensor_span {
    uint64_t hash; /* FNV-1a-64 of the bytes */
    uint64_t offset, n_bytes;
};

struct tensor_index;

/* Reads the header. source: borrowed, of exactly id->size_bytes. ret: owned. 0; TENSOR_INDEX_E_NO_MODEL; negative errno. */
int tensor_index_new(const struct gguf_source *source, const struct tensor_file_id *id, struct tensor_index **ret,
                     char *why, size_t why_size);
void tensor_index_destroy(struct tensor_index **x);

/* Hashes the next n_bytes (or what is left). 0: all is hashed. TENSOR_INDEX_E_MORE. Negative errno of the callback: it may
 * be tried again, nothing was taken of that slice. */
int tensor_index_step(struct tensor_index *x, const struct gguf_source *source, uint64_t n_bytes);
bool tensor_index_is_done(const struct tensor_index *x);
uint64_t tensor_index_bytes(const struct tensor_index *x); /* in tensors that are asked for by hash */
uint64_t tensor_index_left_bytes(const struct tensor_index *x);
struct tensor_file_id tensor_index_file(const struct tensor_index *x);

/* Borrowed from x. NULL: not in this file, or not all of it is hashed. */
const struct tensor_span *tensor_index_find(const struct tensor_index *x, uint64_t hash);

/* How x is kept. write: buf has tensor_index_kept_bytes; x is done. take: fills x in from what was kept; false, and x as it
 * was: damaged, or of a file that was another one or had another header. */
size_t tensor_index_kept_bytes(const struct tensor_index *x);
void tensor_index_write(const struct tensor_index *x, uint8_t *buf);
bool tensor_index_take(struct tensor_index *x, const void *buf, size_t n_bytes);

#endif
