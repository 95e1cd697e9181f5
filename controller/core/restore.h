/* A controller that begins: what its store says, compared with what the nodes still run.
 *
 * An instance that was `ready` is adopted as it is once every node of it has reported and every unit of its epoch runs; one
 * that was on its way goes on from its load, where it had come so far. Of any other the epoch is ended, and it is placed
 * again. All are shown as `recovering` until then, and decided at the latest when `settle` is over, in
 * which our own link has to be up. */
#ifndef CARAVAN_CONTROLLER_CORE_RESTORE_H
#define CARAVAN_CONTROLLER_CORE_RESTORE_H

#include "controller/core/state.h"

/* Whether nodes of it have yet to report before it is decided; names them in buf, else leaves that alone. */
bool restore_waits(const struct cluster *c, const struct instance *i, char *buf, size_t size);
/* Whether there is one whose nodes are still waited for. */
bool restore_undecided(const struct cluster *c);
/* When it is decided even without them; UINT64_MAX: it is decided, or it is we who cannot hear them. */
uint64_t restore_due_ms(const struct cluster *c, const struct instance *i);

/* All that take a step return 0 or -ENOMEM. */
int restore_record(struct step *s, const struct record *rec);
int restore_begin(struct step *s);
/* We could not hear anybody until now: whoever is still waited for has `settle` once more. */
int restore_wait_on(struct step *s);
/* A node of this restored instance has reported. */
int restore_observe(struct step *s, struct instance *i);
/* One of its processes, before it is decided: what its load has shown is told only once. */
int restore_heard(struct step *s, struct instance *i, const struct agent_event_facts *ev);
/* Action of instance_machine's table: it goes on from its load. */
int instance_on_found(struct step *s, struct instance *i, const struct cause *cause);
/* Now or never. */
int restore_decide(struct step *s, struct instance *i);

#endif
