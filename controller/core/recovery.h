/* What becomes of an instance whose epoch has ended in trouble: it is placed again at once, a little later, or when there
 * is room, on other nodes than those that have failed it twice; or it is given up, with what was tried.
 * Source: design, "The failure unit". */
#ifndef CARAVAN_CONTROLLER_CORE_RECOVERY_H
#define CARAVAN_CONTROLLER_CORE_RECOVERY_H

#include "controller/core/state.h"

enum {
    RECOVERY_ATTEMPTS_MAX = 6,   /* epochs in a row without RECOVERY_STEADY_MS of `ready` */
    RECOVERY_STEADY_MS = 300000, /* of `ready`: from then on what was before does not count */
    RECOVERY_BACKOFF_MS = 1000,  /* before the second new epoch; twice as long before each one after it */
    RECOVERY_BACKOFF_MAX_MS = 30000,
    RECOVERY_REPORT_MS = 2000,    /* for the first reports after an end, before it is said that there is no room */
    RECOVERY_LOOK_MS = 5000,      /* waiting: memory that others gave back shows in no event */
    RECOVERY_PATIENCE_MS = 120000 /* waiting: then whoever asked for it is told, and it waits on by itself; but not what
                                     requests alone have asked for in vain: that fails */
};

/* The code of a cause that no other attempt can change: a file, a flag, a model that llama.cpp does not take. */
#define RECOVERY_FINAL "unservable"
/* The code of a cause that is nobody's fault: its node is to be emptied. */
#define RECOVERY_DRAINED "drained"

void recovery_clear(struct recovery *r);
/* What a record keeps of it: 0, -ENOMEM. Restored it is as if no epoch had been tried meanwhile; one of an earlier version
 * tells only how many there were. */
int recovery_keep(const struct recovery *r, struct record_instance *ret);
void recovery_restore(struct recovery *r, const struct record_instance *kept);

/* The epoch of i is over for this reason. The caller has said step_instance. */
void recovery_blame(struct step *s, struct instance *i, const struct cause *cause);
/* Whether placement should do without this node for it. */
bool recovery_avoids(const struct instance *i, const struct id128 *node);
/* It is ready, or something else has become of it: what it waited for does not matter any more. */
void recovery_ready(struct step *s, struct instance *i);
void recovery_rest(struct instance *i);

/* All that follow return 0 or -ENOMEM. */

/* Actions of instance_machine's table: nothing of the epoch is left; there is no room. */
int recovery_on_released(struct step *s, struct instance *i, const struct cause *cause);
int recovery_on_no_room(struct step *s, struct instance *i, const struct cause *cause);

/* That epoch's end was one request's doing, which is refused from now on: it is no attempt of the instance. Before its end
 * or after it. */
int recovery_pardon(struct step *s, struct instance *i, uint64_t epoch);

/* How an epoch ended is sometimes heard after it was noticed that it has: a process that was going down is gone, or a
 * worker or carrier had ended before the coordinator that aborted for its sake. Whether that is so of this unit; then its end is the
 * reason that is shown, and its node the one to avoid. */
bool recovery_tells_more(const struct instance *i, const struct unit_facts *u);
int recovery_amend(struct step *s, struct instance *i, const struct unit_facts *u, const struct cause *cause);

/* One of its times has come. */
int recovery_tick(struct step *s, struct instance *i);
uint64_t recovery_due_ms(const struct instance *i);

/* At the end of each step: is there room now for what waits for it? */
int recovery_look(struct step *s);

#endif
