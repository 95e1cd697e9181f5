#include "controller/core/flows.h"

#include "common/core/err.h"
#include "common/core/sat.h"
#include "controller/core/instances.h"
#include "controller/core/loading.h"

/* ---- what is told ------------------------------------------------------------------------------------------------ */

static struct flow_end *end_of(struct instance *i, const struct rank_flow *f)
{
    return &i->run.rank[f->rank].flow[f->at_worker ? FLOW_AT_WORKER : FLOW_AT_COORDINATOR];
}

/* Each node speaks for its own ends alone. */
static bool may_tell(const struct instance *i, const struct node *n, const struct rank_flow *f)
{
    size_t end;

    if (f->epoch != i->epoch || f->rank >= i->run.n_ranks)
        return false;
    end = i->run.rank[f->at_worker ? f->rank : 0].member;
    return id128_equal(&i->run.member[end].node, &n->id);
}

static int take(struct step *s, struct instance *i, const struct rank_flow *f)
{
    struct flow_end *end = end_of(i, f);
    int r = step_instance(s, i);

    if (r)
        return err_fold(r);
    if (f->request_bytes != end->flow.request_bytes || f->answer_bytes != end->flow.answer_bytes)
        end->moved_ms = s->now_ms;
    end->flow = *f;
    end->told_ms = s->now_ms;
    loading_flow(s, i, f->rank);
    return 0;
}

int flows_hear(struct step *s, const struct node *n, const struct report *report)
{
    int r = 0;

    for (size_t k = 0; !r && k < report->n_flows; k++) {
        const struct rank_flow *f = &report->flow[k];
        struct instance *i = instance_find(s->c, &f->instance);

        if (i && may_tell(i, n, f))
            r = take(s, i, f);
    }
    return err_fold(r);
}

/* ---- what is known ----------------------------------------------------------------------------------------------- */

static const struct flow_end *told(const struct instance *i, size_t rank, enum flow_at at)
{
    const struct flow_end *both = i->run.rank[rank].flow, *end = &both[at];

    if (!end->told_ms && !run_is_remote(&i->run, rank))
        end = &both[at == FLOW_AT_WORKER ? FLOW_AT_COORDINATOR : FLOW_AT_WORKER];
    return end->told_ms ? end : NULL;
}

const struct rank_flow *flows_at_worker(const struct instance *i, size_t rank)
{
    const struct flow_end *end = told(i, rank, FLOW_AT_WORKER);

    return end ? &end->flow : NULL;
}

const struct rank_flow *flows_at_coordinator(const struct instance *i, size_t rank)
{
    const struct flow_end *end = told(i, rank, FLOW_AT_COORDINATOR);

    return end ? &end->flow : NULL;
}

uint64_t flows_told_ms(const struct instance *i, size_t rank)
{
    const struct flow_end *end = told(i, rank, FLOW_AT_WORKER);

    return end ? end->told_ms : 0;
}

bool flows_loaded(const struct instance *i, size_t rank, uint64_t *ret_bytes)
{
    const struct rank_flow *f = flows_at_worker(i, rank);

    if (!f || f->blind[0])
        return false;
    *ret_bytes = sat_add(f->tensor_bytes, f->fed_bytes);
    return true;
}

/* ---- signs of life ----------------------------------------------------------------------------------------------- */

/* Of a rank's node the coordinator's tells, of the coordinator's node all ranks' do. What a node says of itself is no later
 * than its own last word. */
static uint64_t moved_ms(const struct instance *i, size_t member)
{
    uint64_t last = 0;

    for (size_t r = 0; r < i->run.n_ranks; r++) {
        const struct rank *rank = &i->run.rank[r];

        if (rank->member == member)
            last = sat_max(last, rank->flow[FLOW_AT_COORDINATOR].moved_ms);
        else if (i->run.rank[0].member == member)
            last = sat_max(last, rank->flow[FLOW_AT_WORKER].moved_ms);
    }
    return last;
}

uint64_t flows_moved_ms(const struct cluster *c, const struct id128 *node)
{
    uint64_t last = 0;
    size_t m;

    for (size_t k = 0; k < c->instances.n; k++) {
        const struct instance *i = CLUSTER_INSTANCE(c, k);

        if (run_member(&i->run, node, &m))
            last = sat_max(last, moved_ms(i, m));
    }
    return last;
}
