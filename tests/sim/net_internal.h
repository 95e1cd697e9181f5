/* Shared by net.c (who reaches whom, connections) and net_letters.c (what is on its way). */
#ifndef CARAVAN_TESTS_SIM_NET_INTERNAL_H
#define CARAVAN_TESTS_SIM_NET_INTERNAL_H

#include "tests/sim/net.h"

struct letter {
    struct message *m; /* NULL: the other end has closed */
    struct letter *next;
};

/* side: 0 the dialler, 1 the listener. */
int net_end_of(const struct conn *c, int side);
/* What is sent to that end now would be read there. */
bool net_arrives(const struct world *w, const struct conn *c, int side);
/* say: the other end is told, as a kernel does. */
void net_close_end(struct world *w, struct conn *c, int side, bool say);

/* To that end; m: consumed, NULL: the other one closes. */
void net_post(struct world *w, struct conn *c, int side, struct message *m);
void net_clear_pipe(struct pipe *p);
/* What was stuck goes on, where it can. */
void net_go_on(struct world *w, struct conn *c, int side);

#endif
