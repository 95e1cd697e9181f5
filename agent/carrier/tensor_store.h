/* A model's file and the index of it on disk: DIR/INODE.tensors, one per file, replaced whole. */
#ifndef CARAVAN_AGENT_CARRIER_TENSOR_STORE_H
#define CARAVAN_AGENT_CARRIER_TENSOR_STORE_H

#include <stdbool.h>

#include "agent/carrier/tensor_index.h"

/* What fd (of a model, borrowed) is now. 0 or negative errno. */
int tensor_store_identify(int fd, struct tensor_file_id *ret);

/* Reads the header of fd's file and takes in what was kept of it, if that still holds: else every byte is to be hashed
 * again (tensor_index_step), and that is no error. ret: owned. 0; TENSOR_INDEX_E_NO_MODEL, why says why; negative errno. */
int tensor_store_open(const char *dir, int fd, struct tensor_index **ret, char *why, size_t why_size);

/* Keeps x, which is done. 0 or negative errno; then what was kept before is still there. */
int tensor_store_keep(const char *dir, const struct tensor_index *x);

#endif
