/* The model files of the simulated cluster: which there are and how heavy their layers are. */
#ifndef CARAVAN_TESTS_SIM_MODELS_H
#define CARAVAN_TESTS_SIM_MODELS_H

#include "common/core/protocol.h"

enum { MODELS_N = 4 };

extern const char *const model_names[MODELS_N]; /* the last one is in no directory */

/* All files, on the heap: for AGENT_EV_MODELS. */
struct model_facts *models_make(size_t *ret_n);
void models_free(struct model_facts *m, size_t n);
/* Weights of `layers` whole layers from `first` on; the one after the last is the output's. 0: no such model. */
uint64_t model_weights(const char *name, uint32_t first, uint32_t layers);
uint64_t model_bytes(const char *name);

#endif
