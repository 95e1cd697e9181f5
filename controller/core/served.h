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
    char section[PROTO_MODEL_MAX]; /* what `caravan deploy` may call it, too */
    char name[PROTO_MODEL_MAX];    /* what `model` in a request says: the alias, else the section */
    struct place_request request;  /* model, alias and all that the section says; arg owned */
    enum served_start start;
};

const char *served_start_name(enum served_start s); /* "manual", "demand", "boot" */

/* Deep. ret: owned (served_free). 0, -ENOMEM. */
int served_copy(const struct served *list, size_t n, struct served **ret);
void served_free(struct served *list, size_t n);

/* The one of that name, else the section so called; NULL: none. */
const struct served *served_find(const struct served *list, size_t n, const char *name);
/* Whether any of them is this model. */
bool served_has_model(const struct served *list, size_t n, const char *model);

/* A copy of req in which what it leaves unsaid is taken from what it names. from: NULL: it names none of ours. ret->arg:
 * owned. 0, -ENOMEM. */
int served_fill(const struct served *from, const struct place_request *req, struct place_request *ret);

#endif
