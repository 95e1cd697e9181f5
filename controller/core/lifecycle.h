/* The way of an instance to `ready`: what each state begins (the actions of instance_machine's table) and what its answers
 * lead to. Its way down is release.h's. */
#ifndef CARAVAN_CONTROLLER_CORE_LIFECYCLE_H
#define CARAVAN_CONTROLLER_CORE_LIFECYCLE_H

#include "common/core/patience.h"
#include "controller/core/state.h"

enum {
    LEASE_MS = 5000,
    WORKER_START_MS = PATIENCE_START_MS + PATIENCE_WAY_MS,
    COORDINATOR_START_MS = PATIENCE_START_MS + PATIENCE_WAY_MS,
    CARRIED_START_MS = PATIENCE_CARRIED_MS + PATIENCE_WAY_MS /* one with a carrier begins when that answers */
};

/* All return 0 or -ENOMEM; the caller has said step_instance. */
int instance_on_place(struct step *s, struct instance *i, const struct cause *cause);
int instance_on_unplaced(struct step *s, struct instance *i, const struct cause *cause);
int instance_on_lease(struct step *s, struct instance *i, const struct cause *cause);
int instance_on_start(struct step *s, struct instance *i, const struct cause *cause);
int instance_on_load(struct step *s, struct instance *i, const struct cause *cause);
int instance_on_ready(struct step *s, struct instance *i, const struct cause *cause);
int instance_on_trouble(struct step *s, struct instance *i, const struct cause *cause);
int instance_on_failed(struct step *s, struct instance *i, const struct cause *cause);
int instance_on_stop(struct step *s, struct instance *i, const struct cause *cause);
int instance_on_stopped(struct step *s, struct instance *i, const struct cause *cause);

/* Its plan did not become durable. */
int lifecycle_not_planned(struct step *s, struct instance *i, const struct cause *cause);

/* A call of the run was answered (it is closed already) or passed its deadline. */
int lifecycle_answered(struct step *s, struct instance *i, enum command_kind kind, size_t index,
                       const struct result *res);
int lifecycle_timed_out(struct step *s, struct instance *i, enum command_kind kind, size_t index);

/* The epoch is over, for this reason. node: whose fault it is (the next placement may avoid it); NULL: nobody's. */
int lifecycle_trouble(struct step *s, struct instance *i, const struct id128 *node, const char *code,
                      const char *format, ...) __attribute__((format(printf, 5, 6)));

/* "rank 1 on n2", "coordinator on n1", "the carrier of rank 1 on n2". rank: of a coordinator not looked at. */
void lifecycle_unit_name(const struct instance *i, enum unit_role role, size_t rank, char *buf, size_t size);

#endif
