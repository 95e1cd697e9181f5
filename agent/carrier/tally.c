#include "agent/carrier/tally.h"

#include <stdio.h>

#include "common/core/sat.h"

void tally_passed(struct rank_flow *flow, const struct rpc_figures *of)
{
    flow->request_bytes = sat_add(flow->request_bytes, of->request.n_bytes);
    flow->answer_bytes = sat_add(flow->answer_bytes, of->answer.n_bytes);
    flow->n_requests += of->request.n_frames;
    flow->n_answers += of->answer.n_frames;
    flow->tensor_bytes = sat_add(flow->tensor_bytes, of->n_tensor_bytes);
    flow->fed_bytes = sat_add(flow->fed_bytes, of->n_fed_bytes);
    flow->n_round_trips += of->n_round_trips;
    flow->n_graphs += of->n_graphs;
    flow->graph_ms = sat_add(flow->graph_ms, of->graph_ms);
}

void tally_open(struct rank_flow *flow, const struct rpc_figures *of)
{
    tally_passed(flow, of);
    flow->n_streams++;
    if (of->oldest && (!*flow->oldest || of->oldest_age_ms > flow->oldest_ms)) {
        snprintf(flow->oldest, sizeof(flow->oldest), "%s", of->oldest);
        flow->oldest_ms = of->oldest_age_ms;
    }
    flow->held_bytes = sat_add(flow->held_bytes, of->n_held_bytes);
    flow->held_ms = sat_max(flow->held_ms, of->held_ms);
    if (!*flow->blind)
        snprintf(flow->blind, sizeof(flow->blind), "%s", rpc_blind_name(of->why));
}
