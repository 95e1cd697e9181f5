#include "controller/core/view_instances.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"
#include "common/core/sat.h"
#include "common/core/text.h"
#include "controller/core/flows.h"
#include "controller/core/hang.h"
#include "controller/core/loading.h"
#include "controller/core/nodes.h"
#include "controller/core/restore.h"
#include "controller/core/unloading.h"

static bool serves(enum instance_state state)
{
    return state == INSTANCE_READY || state == INSTANCE_DRAINING;
}

static void fill_flow(const struct instance *i, size_t r, struct view_rank *v)
{
    const struct rank_flow *near = flows_at_coordinator(i, r), *far = flows_at_worker(i, r);
    uint64_t far_ms = far && far->oldest[0] ? far->oldest_ms : 0;

    v->has_flow = near || far;
    if (v->has_flow)
        v->flow = far ? *far : *near;
    if (near && far && near->oldest[0] && !far->blind[0])
        v->away_ms = sat_sub(near->oldest_ms, far_ms);
}

static void fill_shares(struct view_instance *v)
{
    uint64_t sum_ms = 0;

    for (size_t r = 0; r < v->n_ranks; r++)
        sum_ms = sat_add(sum_ms, v->rank[r].flow.graph_ms);
    for (size_t r = 0; sum_ms && r < v->n_ranks; r++)
        v->rank[r].share_permille = (uint32_t)((double)v->rank[r].flow.graph_ms / (double)sum_ms * 1000.0 + 0.5);
}

static void fill_ranks(const struct cluster *c, const struct instance *i, uint64_t now_ms, struct view_instance *v)
{
    v->n_ranks = i->run.n_ranks;
    for (size_t r = 0; r < i->run.n_ranks; r++) {
        memcpy(v->rank[r].endpoint, i->run.rank[r].endpoint, sizeof(v->rank[r].endpoint));
        v->rank[r].loaded_bytes = loading_loaded_bytes(i, r);
        v->rank[r].planned_bytes = loading_planned_bytes(i, r);
        v->rank[r].proven = serves(i->state) || (i->state == INSTANCE_LOADING && loading_proven(i, r));
        v->rank[r].slow = hang_is_slow(i, r, now_ms);
        v->rank[r].frozen_ms = hang_frozen_ms(c, i, r);
        fill_flow(i, r, &v->rank[r]);
    }
    fill_shares(v);
}

static void fill_recovery(const struct instance *i, uint64_t now_ms, struct view_instance *v)
{
    const struct recovery *r = &i->recovery;

    v->attempts = r->attempts;
    v->again_in_ms = r->again_ms == UINT64_MAX ? UINT64_MAX : r->again_ms > now_ms ? r->again_ms - now_ms : 0;
    v->missing_bytes = i->state == INSTANCE_WAITING ? r->missing_bytes : 0;
    v->n_tried = r->n_tried;
    for (size_t k = 0; k < r->n_tried; k++)
        v->tried[k] = r->tried[k].shown;
}

static int fill_instance(const struct cluster *c, const struct instance *i, uint64_t now_ms, struct view_instance *v)
{
    v->id = i->id;
    memcpy(v->name, i->name, sizeof(v->name));
    memcpy(v->model, i->request.model, sizeof(v->model));
    v->state = i->state;
    v->epoch = i->epoch;
    memcpy(v->coordinator_addr, i->run.coordinator_addr, sizeof(v->coordinator_addr));
    v->coordinator_port = i->run.coordinator_port;
    text_format(v->coordinator_key, sizeof(v->coordinator_key), "%s", node_carrier_key(c, i));
    v->progress_permille = loading_progress(i, now_ms, &v->eta_ms);
    v->state_since_wall_ms = i->state_since_wall_ms;
    v->ready_wall_ms = i->ready_wall_ms;
    if (!restore_waits(c, i, v->reason, sizeof(v->reason)))
        memcpy(v->reason, i->reason, sizeof(v->reason));
    v->follows = i->follows;
    v->in_flight = i->run.traffic.in_flight;
    v->replica = i->replica;
    v->demand = i->demand;
    v->leaving = unloading_shows(i);
    v->pinned = i->request.pinned;
    v->ttl_ms = i->request.ttl_ms;
    if (i->state == INSTANCE_READY && !v->in_flight)
        v->idle_ms = sat_sub(now_ms, i->asked_ms);
    fill_recovery(i, now_ms, v);
    if (!i->plan)
        return 0;
    fill_ranks(c, i, now_ms, v);
    v->plan = plan_copy(i->plan);
    return v->plan ? 0 : err_raise(-ENOMEM);
}

int view_instances(const struct cluster *c, uint64_t now_ms, struct view *v)
{
    int r;

    v->instance = calloc(c->instances.n + 1, sizeof(*v->instance));
    if (!v->instance)
        return err_raise(-ENOMEM);
    for (size_t k = c->instances.n; k--;) {
        r = fill_instance(c, CLUSTER_INSTANCE(c, k), now_ms, &v->instance[v->n_instances++]);
        if (r)
            return err_fold(r);
    }
    return 0;
}
