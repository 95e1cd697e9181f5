#include "controller/core/hang_facts.h"

#include <inttypes.h>
#include <string.h>

#include "controller/core/flows.h"
#include "controller/core/hang.h"
#include "controller/core/nodes.h"
#include "controller/core/sentence.h"

const struct node *hang_node(const struct cluster *c, const struct instance *i, size_t k)
{
    return node_find(c, &i->plan->rank[k].node);
}

const struct unit_facts *hang_worker(const struct cluster *c, const struct instance *i, size_t k)
{
    return i->plan->rank[k].local ? NULL : node_unit(hang_node(c, i, k), i, UNIT_WORKER, (int32_t)k);
}

const struct unit_facts *hang_coordinator(const struct cluster *c, const struct instance *i)
{
    return node_unit(hang_node(c, i, 0), i, UNIT_COORDINATOR, -1);
}

const struct unit_facts *hang_carrier(const struct cluster *c, const struct instance *i, size_t k)
{
    return node_unit(hang_node(c, i, k), i, UNIT_CARRIER, -1);
}

void hang_clocks_restart(struct hang *h, uint64_t now_ms)
{
    h->calm_ms = h->still_ms = h->late_ms = now_ms;
}

bool hang_is_disturbed(const struct cluster *c, const struct instance *i)
{
    const struct unit_facts *u = hang_coordinator(c, i);
    bool disturbed = u && u->retransmits;

    for (size_t k = 0; k < i->run.n_ranks; k++) {
        const struct node *n = hang_node(c, i, k);

        u = hang_worker(c, i, k);
        disturbed |= (u && u->retransmits) || !n || n->state == NODE_SUSPECT || n->state == NODE_LOST;
    }
    return disturbed;
}

bool hang_devices_work(const struct node *n, const struct plan_rank *rank)
{
    for (size_t d = 0; d < rank->n_devices; d++) {
        for (size_t k = 0; k < n->n_devices; k++) {
            const struct device_facts *device = &n->device[k];

            if (device->kind != DEVICE_CPU && device->utilization_permille != 0 &&
                !strcmp(device->name, rank->device[d].name))
                return true;
        }
    }
    return false;
}

void hang_say_waits(const struct instance *i, size_t k, const char *before, char *buf, size_t size)
{
    const struct rank_flow *f = flows_at_worker(i, k);

    if (f && f->oldest[0])
        sentence_add(buf, size, "%s%s waits for %" PRIu64 " s", before, f->oldest,
                     (f->oldest_ms + HANG_EARLY_MS) / 1000);
}
