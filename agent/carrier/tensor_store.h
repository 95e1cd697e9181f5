/* A model's file and the index of it on disk: DIR/INODE-SIZE-MTIME.tensors, replaced whole. Two files on two disks may have
 * one inode number; all three have never been seen to agree, and the header's hash would still tell. */
#ifndef CARAVAN_AGENT_CARRIER_TENSOR_STORE_H
#define CARAVAN_AGENT_CARRIER_TENSOR_STORE_H

#include "agent/carrier/tensor_index.h"

enum { TENSOR_STORE_NAME_MAX = 64 };

/* The name in DIR of what is kept of that file. Returns buf. */
char *tensor_store_name(const struct tensor_file_id *id, char buf[TENSOR_STORE_NAME_MAX]);

/* What fd (of a model, borrowed) is now. 0 or negative errno. */
int tensor_store_identify(int fd, struct tensor_file_id *ret);

/* Reads the header of fd's file and takes in what was kept of it, if that still holds: else every byte is to be hashed
 * again (tensor_index_step), and that is no error. ret: owned. 0; TENSOR_INDEX_E_NO_MODEL, why says why; negative errno. */
int tensor_store_open(const char *dir, int fd, struct tensor_index **ret, char *why, size_t why_size);

/* Keeps x, which is done. 0 or negative errno; then what was kept before is still there. */
int tensor_store_keep(const char *dir, const struct tensor_index *x);

#endif
