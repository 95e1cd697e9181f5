/* What carriers tell, for the samples. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/shell_internal.h"
#include "common/clock.h"
#include "common/log.h"

static const char FIGURES_FILE[] = "figures";

/* false: nothing is known of it yet. */
static bool read_figures(struct shell *s, struct child *c, struct figures *ret)
{
    const struct unit_facts *of = agent_unit(s->core, c->carried->unit_id);
    char path[PROTO_PATH_MAX];
    int r;

    if (!process_file_path(s->processes, c->id, FIGURES_FILE, path, sizeof(path)))
        return false;
    r = carrier_told_read(&c->carried->told, path, c->id, clock_now_ms(), ret);
    if (r == CARRIER_TOLD_E_UNREAD && of)
        carrier_told_unread(of, &c->carried->answer, ret);
    return r == 0 || (r == CARRIER_TOLD_E_UNREAD && of);
}

/* There is room for all that carriers are started for: these figures speak of more. */
static void say_too_many(struct shell *s, const char *unit_id, size_t n_flows)
{
    uint64_t n = seldom_count(&s->flows_left_out, clock_now_ms());

    if (n)
        log_warn("carrier.flows",
                 "unit=%s flows=%zu times=%" PRIu64
                 " text=\"its ranks are more than this node can have: they are left out\"",
                 unit_id, n_flows, n);
}

static void take_flows(struct shell *s, const struct unit_facts *unit, const struct figures *f,
                       struct agent_sample *sample)
{
    if (f->n_flows > PROTO_FLOWS_MAX - sample->n_flows) {
        say_too_many(s, unit->id, f->n_flows);
        return;
    }
    for (size_t i = 0; i < f->n_flows; i++) {
        struct rank_flow *flow = &sample->flow[sample->n_flows++];

        *flow = f->flow[i];
        flow->instance = unit->instance; /* whose it is is not for it to say */
        flow->epoch = unit->epoch;
    }
}

static void take_counts(const char *unit_id, const struct figures *f, struct agent_sample *sample)
{
    for (size_t i = 0; i < sample->n_units; i++)
        if (!strcmp(sample->unit[i].id, unit_id)) {
            sample->unit[i].n_refused = figures_refused(f);
            sample->unit[i].n_unreached = f->n_unreached;
        }
}

void shell_sample_flows(struct shell *s, struct agent_sample *sample)
{
    for (size_t i = 0; i < PROTO_UNITS_MAX; i++) {
        struct child *c = &s->child[i];
        const struct unit_facts *unit = c->id[0] && !c->ended && c->carried ? agent_unit(s->core, c->id) : NULL;
        struct figures f;

        if (!unit || !read_figures(s, c, &f))
            continue;
        take_flows(s, unit, &f, sample);
        take_counts(c->id, &f, sample);
    }
}
