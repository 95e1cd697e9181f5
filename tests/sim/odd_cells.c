/* Every event that the leader's tables refuse or ignore. */
#include <assert.h>
#include <stdlib.h>

#include "controller/core/effects.h"
#include "controller/core/state.h"
#include "tests/sim/leader.h"
#include "tests/sim/odd.h"
#include "tests/sim/pages.h"

static const struct cause odd = {.code = "odd", .text = ODD_TEXT};

static int raise_at_nodes(struct step *s)
{
    int r = 0;

    for (unsigned e = 0; e < NODE_EVENT_N && !r; e++) {
        for (size_t k = 0; k < s->c->nodes.n && !r; k++) {
            struct node *n = CLUSTER_NODE(s->c, k);

            if (pages_cell(CELLS_NODE, n->state, e)->verdict != CELLS_GO)
                r = node_event(s, n, (enum node_event)e, &odd);
        }
        if (!r && pages_cell(CELLS_NODE, NODE_UNKNOWN, e)->verdict != CELLS_GO)
            r = node_refuse_stranger(s, "stranger", (enum node_event)e, &odd);
    }
    return r;
}

static int raise_at_instances(struct step *s)
{
    int r = 0;

    for (unsigned e = 0; e < INSTANCE_EVENT_N && !r; e++) {
        for (size_t k = 0; k < s->c->instances.n && !r; k++) {
            struct instance *i = CLUSTER_INSTANCE(s->c, k);

            if (pages_cell(CELLS_INSTANCE, i->state, e)->verdict != CELLS_GO)
                r = instance_event(s, i, (enum instance_event)e, &odd);
        }
    }
    return r;
}

static int raise_at_tasks(struct step *s)
{
    int r = 0;

    for (unsigned e = 0; e < TASK_EVENT_N && !r; e++) {
        for (size_t k = 0; k < s->c->tasks.n && !r; k++) {
            struct task *t = CLUSTER_TASK(s->c, k);

            if (pages_cell(CELLS_TASK, t->view.state, e)->verdict != CELLS_GO)
                r = task_event(s, t, (enum task_event)e, &odd);
        }
    }
    return r;
}

void odd_raise_all(struct world *w)
{
    struct step s = {.c = w->leader->c, .now_ms = leader_clock(w)};
    int r;

    world_say(w, "every event that its state does not expect is raised at the controller");
    s.fx = calloc(1, sizeof(*s.fx));
    assert(s.fx);
    r = raise_at_nodes(&s);
    if (!r)
        r = raise_at_instances(&s);
    if (!r)
        r = raise_at_tasks(&s);
    if (!r)
        r = fx_finish(&s);
    assert(!r);
    free(s.record);
    journal_keep(&s.journal);
    for (size_t i = 0; i < s.fx->n; i++) {
        const struct cluster_fx *fx = &s.fx->item[i];

        if (fx->kind == CLUSTER_FX_SEND || fx->kind == CLUSTER_FX_WARM_UP || fx->kind == CLUSTER_FX_KNOCK)
            world_fail(w, "an event that was refused or ignored has had an effect");
    }
    leader_take(w, s.fx);
}
