/* What may be served under which name, and how: the sections of models.conf. Pure.
 *
 * A model that lies on a node and that no section names is served under its own name, as cluster_config says of the others.
 * `start` says who begins it: a person alone, the first request too, or the leader itself as soon as the model appears. */
#ifndef CARAVAN_CONTROLLER_CORE_SERVED_H
#define CARAVAN_CONTROLLER_CORE_SERVED_H

#include "controller/core/placement.h"

enum { SERVED_MAX = 256, SERVED_REPLICAS_MAX = 16 };
enum served_start { SERVED_MANUAL = 1, SERVED_DEMAND, SERVED_BOOT };

struct served {
    char name[PROTO_MODEL_MAX];   /* what `model` in a request says */
    struct place_request request; /* model, alias and all that the section says; arg owned */
    enum served_start start;
};

const char *served_start_name(enum served_start s); /* "manual", "demand", "boot" */

#endif
