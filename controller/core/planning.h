/* From a wish to a plan: which file is meant, what the nodes offer, what placement says. */
#ifndef CARAVAN_CONTROLLER_CORE_PLANNING_H
#define CARAVAN_CONTROLLER_CORE_PLANNING_H

#include "controller/core/state.h"

/* The file that a name means: where nodes hold different ones under it, the newest usable one. Borrowed.
 * 0; CLUSTER_E_UNKNOWN_MODEL, CLUSTER_E_BAD_MODEL with a sentence in why. */
int planning_model(const struct cluster *c, const char *name, const struct model_facts **ret, char *why, size_t size);

struct gone;

/* Who wants a place. All borrowed. */
struct planning {
    const struct place_request *request;
    const struct instance *who; /* NULL: nobody who had a place before, or has sisters */
    const struct gone *gone;    /* these, in thought; NULL: nobody */
};
int planning_compute(const struct cluster *c, const struct planning *p, struct plan **ret, char *why, size_t size);

/* A place for i: what its pinned plan says, or anew without the nodes that have failed it twice in one way. Where nothing
 * fits without them they are taken all the same, and a note says so. ret: owned (free), NULL unless there is a plan or
 * placement made one to say why not. 0; PLACE_E_*; CLUSTER_E_* (why: the sentence); -ENOMEM. */
int planning_instance(const struct cluster *c, const struct instance *i, struct plan **ret, char *why, size_t size);

/* The stable word of a positive outcome: "no_fit", "unknown_model", ... */
const char *planning_code(int outcome);

/* Whether the counts of a plan that was read from somewhere lie within its arrays. */
bool planning_is_sound(const struct plan *p);

#endif
