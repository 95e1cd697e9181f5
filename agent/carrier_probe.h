/* Asks a carrier over its control socket whether it carries, and which of its ports stand for which ranks: tens of
 * microseconds for one that runs. It answers anybody of its own user as often as it is asked. */
#ifndef CARAVAN_AGENT_CARRIER_PROBE_H
#define CARAVAN_AGENT_CARRIER_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/carrier/control.h"

struct event_base;
struct carrier_probe;

struct carrier_probe_result {
    bool ok;
    struct control_answer answer; /* ok */
    char text[PROTO_TEXT_MAX];    /* !ok: why, for a person */
};

/* unit_dir: of the carrier, need not have its socket yet. Tries again while nobody answers, until deadline_ms from now. done:
 * once, from the loop, unless cancelled before; the handle is gone when it is called. 0 or negative errno (done is then not
 * called). */
int carrier_probe_start(struct event_base *base, const char *unit_dir, uint64_t deadline_ms,
                        void (*done)(void *ctx, const struct carrier_probe_result *result), void *ctx,
                        struct carrier_probe **ret);
/* NULL is fine. */
void carrier_probe_cancel(struct carrier_probe **p);

#endif
