/* Is a worker hung? The rule that needs nobody's help, P1: for as long as unread bytes lie in its receive queue and never
 * become fewer, while it uses no CPU time, does not wait for a disk (state D) and its devices do nothing, it is frozen;
 * a leader acts at 10 s. In healthy runs, slow prefills and loads included, this never lasted a second. Source: design,
 * "The rank tunnel".
 *
 * Pure, a plain value; zeroed is "nothing seen yet". */
#ifndef CARAVAN_AGENT_CORE_HANG_WATCH_H
#define CARAVAN_AGENT_CORE_HANG_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/core/agent.h"

enum { HANG_GAP_MS = 3000 /* samples further apart say nothing of the time between them */ };

struct hang_watch {
    bool running;
    uint64_t since_ms, sampled_ms; /* when the clock began, when it was last looked at */
    uint64_t unread_bytes, cpu_ms; /* at the last sample */
};

/* The next sample of a worker that serves a rank: for how long it has been frozen by now. Any broken condition starts
 * the clock anew, and so do bytes that a rank connection had to send again: then the network is slow, and nobody hangs. */
uint64_t hang_watch_sample(struct hang_watch *w, const struct agent_unit_sample *s, uint64_t now_ms);

/* The next sample of a carrier, which has no work of its own by which one could tell: for how long it has been stopped. */
uint64_t hang_watch_stopped(struct hang_watch *w, char proc_state, uint64_t now_ms);

/* The machine slept, or the worker serves somebody else. */
void hang_watch_restart(struct hang_watch *w);

#endif
