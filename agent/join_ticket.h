/* What a node knows of its cluster before it dials anybody: by its state file, and by the token that `join` gives it. */
#ifndef CARAVAN_AGENT_JOIN_TICKET_H
#define CARAVAN_AGENT_JOIN_TICKET_H

#include <stdbool.h>

#include "agent/state.h"

struct join_ticket {
    struct state_cluster
        cluster;         /* the token's controllers, then those that the state file has besides; id zero: none */
    bool asks;           /* there is a token: */
    size_t n_asked;      /* its controllers, the first ones of cluster */
    struct identity key; /* secret: follows from its seed, which is kept nowhere. join_new takes it */
};

enum { JOIN_TICKET_E_REFUSED = 1 /* said */ };

/* text: as `join` was given (a token, "@FILE", "-"), NULL: not at all. A node that has joined already does without a file
 * that is gone or a token that is damaged; a token of another cluster than the one it has joined is refused. ret: to be
 * cleared in every case. 0, JOIN_TICKET_E_REFUSED. */
int join_ticket_read(const char *text, const struct state_dir *state, struct join_ticket *ret);
void join_ticket_clear(struct join_ticket *t);

#endif
