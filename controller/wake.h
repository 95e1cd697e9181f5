/* Was the machine asleep? The clock that goes on meanwhile has then run away from the one that stands still. Pure. */
#ifndef CARAVAN_CONTROLLER_WAKE_H
#define CARAVAN_CONTROLLER_WAKE_H

#include <stdbool.h>
#include <stdint.h>

enum { WAKE_MS = 2000 };

struct wake {
    bool begun;
    uint64_t asleep_ms; /* in all, as of the last look */
};

/* boot_ms, mono_ms: CLOCK_BOOTTIME, CLOCK_MONOTONIC, read one after the other. Whether over WAKE_MS were slept since the
 * last look; false on the first. */
static inline bool wake_seen(struct wake *w, uint64_t boot_ms, uint64_t mono_ms)
{
    uint64_t asleep_ms = boot_ms > mono_ms ? boot_ms - mono_ms : 0;
    bool seen = w->begun && asleep_ms > w->asleep_ms + WAKE_MS;

    w->begun = true;
    w->asleep_ms = asleep_ms;
    return seen;
}

#endif
