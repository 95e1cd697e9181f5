/* Asks a coordinator that serves for its /metrics, once a second: what it has decoded, and whether it answers at all. A
 * poll costs it nothing that could be measured; a coordinator that is stopped is the only one that does not answer. */
#ifndef CARAVAN_AGENT_METRICS_POLL_H
#define CARAVAN_AGENT_METRICS_POLL_H

#include <stdint.h>

struct event_base;
struct metrics_poll;

enum { METRICS_POLL_MS = 1000, METRICS_POLL_LIMIT_MS = 2000 /* then it is asked anew */ };

struct metrics_figures {
    uint64_t n_decode; /* llamacpp:n_decode_total; 0: not read yet */
    /* Since the first question that was not answered; refused or timed out. 0: it answers, or has had no second yet. */
    uint64_t silent_ms;
};

/* addr: IP literal; key: its API key, "" for none; both copied. Asks at once. 0 or negative errno. */
int metrics_poll_new(struct event_base *base, const char *addr, uint16_t port, const char *key,
                     struct metrics_poll **ret);
void metrics_poll_destroy(struct metrics_poll **p);
void metrics_poll_figures(const struct metrics_poll *p, struct metrics_figures *ret);

#endif
