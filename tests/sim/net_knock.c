/* What a knock finds. */
#include "tests/sim/host.h"
#include "tests/sim/net.h"
#include "tests/sim/scenario.h"

enum { KNOCK_MS = 450 };

/* Each of the two connects needs a packet there and one back; one sent again after a second comes too late. */
static bool both_lost(struct world *w)
{
    for (int i = 0; i < 4; i++) {
        if (!world_maybe(w, w->net->loss_permille))
            return false;
    }
    return true;
}

enum knock_outcome net_knock(struct world *w, int from_machine, int host, uint64_t *ret_ms)
{
    const struct host *h = &w->host[host];

    *ret_ms = KNOCK_MS;
    if (from_machine != host && !net_carrier(w, from_machine))
        return KNOCK_NO_CARRIER;
    if (!net_passes_both(w, from_machine, host) || both_lost(w))
        return KNOCK_UNANSWERED;
    if (!host_agent_runs(h)) {
        *ret_ms = 1 + net_delay(w);
        return KNOCK_REFUSED;
    }
    if (!host_agent_listens(h))
        return KNOCK_REFUSED;
    *ret_ms = 1 + 2 * net_delay(w);
    if (*ret_ms < KNOCK_MS)
        return KNOCK_ANSWERED;
    *ret_ms = KNOCK_MS;
    return KNOCK_REFUSED;
}
