/* The table of instances: who is there and who is meant. */
#ifndef CARAVAN_CONTROLLER_CORE_INSTANCES_H
#define CARAVAN_CONTROLLER_CORE_INSTANCES_H

#include "controller/core/state.h"

/* NULL: none. */
struct instance *instance_find(const struct cluster *c, const struct id128 *id);
/* By the name that requests use: the one that is ready, else on its way there, else leaving, else the newest that was. */
struct instance *instance_named(const struct cluster *c, const char *name);
size_t instances_live(const struct cluster *c);
/* One that nobody has yet, and that no other `from` or salt gives. */
struct id128 instances_new_id(const struct step *s, const struct id128 *from, uint64_t salt);

/* The member that is this node; false: none. */
bool run_member(const struct run *r, const struct id128 *node, size_t *ret);

/* The rank on that node; false: none. */
bool run_rank_on(const struct run *r, const struct id128 *node, size_t *ret);

/* Whether it is on another node than the coordinator. */
bool run_is_remote(const struct run *r, size_t rank);

/* Makes the run of i->plan: members in id order, ranks; nothing of it promised yet. */
void run_begin(struct run *r, const struct plan *p);

/* All return 0 or -ENOMEM. */
int instance_add(struct step *s, const struct id128 *id, const char *name, const struct place_request *request,
                 const struct plan *pinned, struct instance **ret);
int instance_remove(struct step *s, struct instance *i);
/* Ended ones beyond those that are kept to be shown go, oldest first; never one with a process left somewhere. */
int instances_prune(struct step *s);

/* f for each instance, with n passed through; the one at hand may leave the table. */
int instances_each(struct step *s, struct node *n, int (*f)(struct step *s, struct instance *i, struct node *n));

#endif
