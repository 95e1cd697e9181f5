/* What every request must pass before a byte of its body is read: the name it asks for, where it comes from, its API key.
 * Whoever does not pass is answered here, counted, said in the log now and then, and let go. */
#ifndef CARAVAN_CONTROLLER_HTTP_GATE_H
#define CARAVAN_CONTROLLER_HTTP_GATE_H

#include "common/core/talkers.h"
#include "controller/core/view.h"
#include "controller/http.h"
#include "controller/http_names.h"
#include "controller/metrics.h"

struct http_gate {
    const struct http_names *names; /* borrowed */
    struct metrics *metrics;        /* borrowed */
    bool local;                     /* only this host can reach us */
    struct talkers turned_away;
};

/* v: the newest view, NULL before the first. Returns true where x is answered. head: of x; nothing in it is a secret any
 * more afterwards. */
bool http_gate_stops(struct http_gate *g, const struct view *v, struct http_exchange *x, struct http_head *head,
                     const struct http_route *route);
/* Would what it let in be let in under v as well? sender: as it has set. */
bool http_gate_keeps(const struct http_gate *g, const struct view *v, const char *sender,
                     const struct http_route *route);

#endif
