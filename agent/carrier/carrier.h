/* One carrier, as its conf says: the public door with its grants, a loopback port per rank elsewhere, what it is asked over
 * its control socket, and its figures. It decides nothing by itself, and begins to carry at once. */
#ifndef CARAVAN_AGENT_CARRIER_CARRIER_H
#define CARAVAN_AGENT_CARRIER_CARRIER_H

#include "agent/carrier/conf.h"
#include "common/crypto.h"

struct event_base;
struct carrier;

/* conf, own: borrowed. `control` and `figures` are made in the working directory, the first one last: who answers there
 * carries. ret: owned. 0; negative errno (said which port it was about, where it was one). */
int carrier_new(struct event_base *base, const struct carrier_conf *conf, const struct identity *own,
                struct carrier **ret);
/* Resets all streams. NULL is fine. */
void carrier_destroy(struct carrier **c);

#endif
