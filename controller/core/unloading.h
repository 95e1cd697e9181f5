/* Who leaves without anybody having said so: an instance that nobody asks for, or whose memory another one needs.
 *
 *   ttl: no request for that long since its last one, or since it became ready
 *   want of memory: an instance waits because nothing fits; then the one that was asked for the longest time ago leaves, of
 *       those that a request began or that have a ttl, and without which it would not fit; one at a time, and none at all
 *       where it would not fit even if all of them left. What a person has deployed without a ttl stays
 *
 * A pinned one never leaves so. Whoever leaves is shown as leaving first, and gets no new request. A request that was on its
 * way then, or one that comes, keeps it: nothing in flight is cut. */
#ifndef CARAVAN_CONTROLLER_CORE_UNLOADING_H
#define CARAVAN_CONTROLLER_CORE_UNLOADING_H

#include "controller/core/state.h"

enum {
    UNLOADING_QUIET_MS = 500, /* from its being shown until its end: the gateway tells of a first request in 100 ms */
    UNLOADING_LOOK_MS = 1000, /* waiting: between two looks at who could leave */
    UNLOADING_UNSURE_MS =
        60000 /* so long, twice what a silent node has at most, a look is put off while memory may be there
                                   that is not known of */
};

/* All that take a step return 0 or -ENOMEM. */

/* Whether that would fit if all who may leave were gone; those that are asked just now may when they have answered, and what
 * is wanted waits for that. who: NULL: a new one. */
int unloading_may_help(struct step *s, const struct place_request *request, const struct instance *who, bool *ret);

/* Memory may be there that is not known of: what has just been let go is not measured yet, a node has not come yet, or is
 * not heard for a moment. */
bool unloading_unsure(const struct step *s);

/* The gateway has told of it, and had told so before. The caller has said step_instance. */
int unloading_traffic(struct step *s, struct instance *i, const struct cluster_traffic *before);
/* Somebody asks for it, or for any of that name: it does not leave, in whatever state it has got to meanwhile. */
int unloading_keep(struct step *s, struct instance *i);
int unloading_keep_all(struct step *s, const char *name);
/* It may still be kept. */
bool unloading_leaves(const struct instance *i);
/* What people and the gateway see as leaving: until it has ended, unless a person ends it. */
bool unloading_shows(const struct instance *i);

/* Actions of instance_machine's table. */
int instance_on_unload(struct step *s, struct instance *i, const struct cause *cause);
int instance_on_keep(struct step *s, struct instance *i, const struct cause *cause);

/* At the end of each step, and when unloading_due_ms has come. */
int unloading_advance(struct step *s);
uint64_t unloading_due_ms(const struct cluster *c);

#endif
