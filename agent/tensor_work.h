/* Which model files of this node are to be indexed (agent/carrier/tensor_index.h), and how far that is: done in slices, once
 * per file, and kept for carriers to read. No thread and no loop: tensor_room.c has those. */
#ifndef CARAVAN_AGENT_TENSOR_WORK_H
#define CARAVAN_AGENT_TENSOR_WORK_H

#include <stddef.h>
#include <stdint.h>

#include "agent/inventory_scan.h"

enum { TENSOR_WORK_E_MORE = 1 };
/* What is kept of a file that is not there stays as long: its disk may be back tomorrow, and hashing again takes minutes. */
enum { TENSOR_WORK_KEEP_DAYS = 30 };

struct tensor_progress {
    size_t n_files, n_indexed, n_failed;
    uint64_t n_bytes, left_bytes; /* in tensors that are asked for by hash, of the files that were looked at */
    uint64_t take;                /* of which list of models the rest speaks */
    size_t n_models;              /* as in that list */
    uint16_t index_permille[PROTO_MODELS_MAX]; /* as in struct model_facts */
};

/* Models, by their first files. */
struct tensor_models {
    uint64_t take; /* counted by whoever wants to know which list a progress is of */
    size_t n;
    char path[][PROTO_PATH_MAX];
};
/* Those that can be used. ret: owned, for free(). 0; -ENOMEM. */
int tensor_models_of(const struct inventory *models, struct tensor_models **ret);

struct tensor_work;

/* index_dir: there already; it and dir, the node's model directories: borrowed as long as the work lives. ret: owned. 0;
 * -ENOMEM. */
int tensor_work_new(const char *index_dir, const char *const *dir, size_t n_dirs, struct tensor_work **ret);
/* What is half hashed is lost. NULL is fine. */
void tensor_work_destroy(struct tensor_work **w);

/* From now on it is all files of these. What is done of one that has not changed stays done. models: borrowed. 0; -ENOMEM,
 * and all is as it was. */
int tensor_work_take(struct tensor_work *w, const struct tensor_models *models);

/* Does a little: one header, or n_bytes hashed. What fails is said in a log line and left. 0: nothing is left to do;
 * TENSOR_WORK_E_MORE. */
int tensor_work_step(struct tensor_work *w, uint64_t n_bytes);

void tensor_work_progress(const struct tensor_work *w, struct tensor_progress *ret);

#endif
