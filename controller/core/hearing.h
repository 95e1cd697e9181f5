/* What nodes say of instances: results of commands, events of processes, reports, and silence. */
#ifndef CARAVAN_CONTROLLER_CORE_HEARING_H
#define CARAVAN_CONTROLLER_CORE_HEARING_H

#include "controller/core/state.h"

/* All return 0 or -ENOMEM. What is late, doubled or of an epoch that is over is counted and changes nothing. */
int hear_message(struct step *s, struct node *n, struct message *m); /* of a report the models are taken out */
int hear_units(struct step *s, struct node *n);                      /* its list of units is new */
int hear_node_lost(struct step *s, struct node *n);
int hear_node_disturbed(struct step *s, struct node *n); /* it was silent or suspended: no hang is judged by then */
int hear_node_silent(struct step *s,
                     struct node *n); /* nothing waits for its answers any more; what serves, serves on */
int hear_node_retired(struct step *s, struct node *n);

#endif
