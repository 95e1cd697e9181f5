/* Series of ranks that instances have now: those of an epoch that is over are gone, and counters begin again with the next
 * one. What carriers count is only there where one has told. */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>

#include "controller/metrics_page.h"

static void begin(const struct page *p, const char *name, const struct view_instance *in, size_t r)
{
    fprintf(p->out, "%s{", name);
    metrics_label(p->out, "model", in->name);
    fputc(',', p->out);
    metrics_label(p->out, "unit", ID128(&in->id));
    fprintf(p->out, ",rank=\"%zu\"", r);
}

#define FOR_EACH_RANK(p, in, r)                                         \
    for (size_t i_ = 0; (p)->view && i_ < (p)->view->n_instances; i_++) \
        for (size_t r = 0; r < (p)->view->instance[i_].n_ranks; r++)    \
            for (const struct view_instance *in = &(p)->view->instance[i_]; in; in = NULL)

static uint64_t stall_ms(const struct view_rank *rank)
{
    const struct rank_flow *f = &rank->flow;
    uint64_t ms = f->held_ms > rank->frozen_ms ? f->held_ms : rank->frozen_ms;

    return f->oldest[0] && f->oldest_ms > ms ? f->oldest_ms : ms;
}

void metrics_rank_stall(const struct page *p, const char *name)
{
    FOR_EACH_RANK(p, in, r)
    {
        begin(p, name, in, r);
        fprintf(p->out, "} %.3f\n", (double)stall_ms(&in->rank[r]) / 1000);
    }
}

void metrics_rank_bytes(const struct page *p, const char *name)
{
    FOR_EACH_RANK(p, in, r)
    {
        if (!in->rank[r].has_flow)
            continue;
        begin(p, name, in, r);
        fprintf(p->out, ",direction=\"to\"} %" PRIu64 "\n", in->rank[r].flow.request_bytes);
        begin(p, name, in, r);
        fprintf(p->out, ",direction=\"from\"} %" PRIu64 "\n", in->rank[r].flow.answer_bytes);
    }
}

void metrics_rank_fed(const struct page *p, const char *name)
{
    FOR_EACH_RANK(p, in, r)
    {
        if (!in->rank[r].has_flow)
            continue;
        begin(p, name, in, r);
        fprintf(p->out, "} %" PRIu64 "\n", in->rank[r].flow.fed_bytes);
    }
}

void metrics_rank_round_trips(const struct page *p, const char *name)
{
    FOR_EACH_RANK(p, in, r)
    {
        if (!in->rank[r].has_flow)
            continue;
        begin(p, name, in, r);
        fprintf(p->out, "} %" PRIu64 "\n", in->rank[r].flow.n_round_trips);
    }
}

void metrics_rank_graphs(const struct page *p, const char *name)
{
    FOR_EACH_RANK(p, in, r)
    {
        if (!in->rank[r].has_flow)
            continue;
        begin(p, name, in, r);
        fprintf(p->out, "} %.3f\n", (double)in->rank[r].flow.graph_ms / 1000);
    }
}
