/* What somebody asked for, made definite: every figure that memory and the coordinator need. Used by placement alone. */
#ifndef CARAVAN_CONTROLLER_CORE_PLACEMENT_REQUEST_H
#define CARAVAN_CONTROLLER_CORE_PLACEMENT_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "common/core/memory_model.h"
#include "controller/core/placement.h"

enum {
    PLACE_CTX_DEFAULT = 4096, /* or what the model was trained with, where that is less */
    PLACE_CTX_LEAST = 512,    /* down to this, where the default does not fit */
    PLACE_BATCH_DEFAULT = 2048,
    PLACE_UBATCH_DEFAULT = 512,
    PLACE_SLOTS_MAX = 256
};

/* Fills run (but n_devices) from the request, its arguments and the defaults. kv_type: at least 16 bytes. 0;
 * PLACE_E_MODEL with a sentence in why. */
int place_resolve(const struct place_request *req, const struct model_facts *model, struct memory_run *run,
                  char *kv_type, char *why, size_t why_size);

/* An argument whose memory nobody has measured (a projector, a draft model, ...), or NULL. */
const char *place_uncounted_arg(const struct place_request *req);

#endif
