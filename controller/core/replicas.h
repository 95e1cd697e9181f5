/* Several instances under one name: each has a number of its own, and the deploy that began them ends with the last. */
#ifndef CARAVAN_CONTROLLER_CORE_REPLICAS_H
#define CARAVAN_CONTROLLER_CORE_REPLICAS_H

#include "controller/core/state.h"

/* How many of them somebody asks for. */
size_t replicas_wanted(const struct place_request *r);

/* The numbers under `wanted` that no instance of the name has, but for such as end. ret: room for SERVED_REPLICAS_MAX. Returns how many. */
size_t replicas_missing(const struct cluster *c, const char *name, size_t wanted, uint32_t *ret);

/* Those of them whose newest instance was given up, and not since since_ms. */
size_t replicas_failed(const struct cluster *c, const char *name, size_t wanted, uint64_t since_ms, uint32_t *ret);

/* The other one bears the same name, runs or is about to, and is not the one whose place it takes or that takes its. */
bool replicas_are_sisters(const struct instance *i, const struct instance *other);

/* For i its deploy ends so. For the task that does when it has for all that it began: done when each is ready, failed when
 * one is not, with the number and the reason of each such. 0, -ENOMEM. */
int replicas_task_end(struct step *s, struct instance *i, enum task_event event, const struct cause *cause);

#endif
