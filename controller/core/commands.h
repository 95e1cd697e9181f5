/* The commands of an epoch: built from the plan and what is known by now, sent again until answered. */
#ifndef CARAVAN_CONTROLLER_CORE_COMMANDS_H
#define CARAVAN_CONTROLLER_CORE_COMMANDS_H

#include "controller/core/state.h"

enum { COMMAND_RESEND_MS = 1000 };

/* What one node promises to one epoch. */
struct share {
    size_t n_devices;
    char device[PROTO_DEVICES_MAX][PROTO_DEVICE_MAX];
    uint64_t bytes[PROTO_DEVICES_MAX];
    uint64_t host_bytes; /* beside the devices */
};
void plan_share(const struct plan *p, const struct id128 *node, struct share *ret);

/* The at-th call of a run; false: there are no more. */
bool run_call_at(struct run *r, size_t at, enum command_kind *kind, size_t *index, struct call **ret);

/* Sends it, or sends it again, under the call's id; its first sending sets the deadline, wait_ms from now. The caller has
 * said step_instance. A node that is not there gets nothing now and the call stays open. 0, -ENOMEM. */
int command_send(struct step *s, struct instance *i, enum command_kind kind, size_t index, uint64_t wait_ms);

/* One STOP for an epoch that is not the instance's own any more; nobody waits for its answer. 0, -ENOMEM. */
int command_stop_stale(struct step *s, const struct node *n, const struct id128 *instance, uint64_t epoch);

/* The next command's number; the term is in it, so that no two leaders ever give out the same one. */
uint64_t command_new_id(struct step *s);

/* Asks witness to knock at a node; its result has the same id. 0, -ENOMEM. */
int command_knock(struct step *s, const struct node *witness, const struct peer_facts *at, uint64_t id);

#endif
