/* What is held against each step of an agent, and what happens to processes. */
#include <inttypes.h>
#include <string.h>

#include "tests/sim/check_state.h"
#include "tests/sim/pages.h"

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static struct shadow *shadow_of(struct host *h, const char *id)
{
    for (size_t i = 0; i < h->n_shadows; i++) {
        if (strcmp(h->shadow[i].id, id) == 0)
            return &h->shadow[i];
    }
    return NULL;
}

static struct shadow *shadow_new(struct world *w, struct host *h, const char *id, enum unit_state state)
{
    struct shadow *s;

    if (h->n_shadows == HOST_SHADOWS) {
        world_fail(w, "%s has more units than it may have", h->name);
        return &h->shadow[0];
    }
    s = &h->shadow[h->n_shadows++];
    memcpy(s->id, id, sizeof(s->id));
    s->state = state;
    return s;
}

void check_adopted(struct world *w, struct host *h, const struct unit_facts *unit)
{
    if (!shadow_of(h, unit->id))
        shadow_new(w, h, unit->id, unit->state);
}

void check_agent_transition(struct world *w, struct host *h, const struct agent_transition *t)
{
    const struct pages_step words = {t->from, t->to, t->event, t->verdict};
    struct shadow *s = shadow_of(h, t->id);
    const char *wrong;

    w->stats->checked[CHECK_TABLE]++;
    if (!s)
        s = shadow_new(w, h, t->id, UNIT_IDLE);
    wrong = pages_follow(CELLS_PROCESS, &words, &s->state);
    check_freed(w, h, t);
    if (wrong)
        world_fail(w, "%s: unit %s: %s -> %s (%s, %s): %s", h->name, t->id, t->from, t->to, t->event, t->verdict,
                   wrong);
}

/* Nothing changed behind the transitions' back. */
void check_agent(struct world *w, struct host *h)
{
    const struct unit_facts *unit;
    size_t n = agent_units(h->agent, &unit), kept = 0;

    w->stats->checked[CHECK_TABLE]++;
    if (n != h->n_shadows) {
        for (size_t i = 0; i < h->n_shadows; i++) {
            if (agent_unit(h->agent, h->shadow[i].id))
                h->shadow[kept++] = h->shadow[i];
        }
        h->n_shadows = kept;
    }
    for (size_t i = 0; i < n; i++) {
        const struct shadow *s =
            i < h->n_shadows && strcmp(h->shadow[i].id, unit[i].id) == 0 ? &h->shadow[i] : shadow_of(h, unit[i].id);

        if (!s || s->state != unit[i].state)
            world_fail(w, "%s: unit %s is %s, and nothing said so", h->name, unit[i].id,
                       unit_state_name(unit[i].state));
    }
}

/* ---- processes --------------------------------------------------------------------------------------------------- */

/* It was sent away, and nobody leads what is left there. */
static bool is_of_a_retired(const struct world *w, const struct process *p)
{
    for (size_t n = 1; n <= w->n_hosts; n++) {
        if (p >= w->host[n].process && p < w->host[n].process + HOST_PROCESSES)
            return check_node_state(w, (int)n) == NODE_RETIRED;
    }
    return false;
}

void check_worker_taken(struct world *w, struct host *h, const struct process *worker, const struct process *by)
{
    w->stats->checked[CHECK_WORKER]++;
    if (id128_is_zero(&worker->instance))
        return; /* one that was let go: a coordinator that is just being ended may still find it, and leaves it soon */
    if ((worker->epoch != by->epoch || !id128_equal(&worker->instance, &by->instance)) && !is_of_a_retired(w, by))
        world_fail(w, "worker %s on %s serves %s epoch %" PRIu64 ", and epoch %" PRIu64 " of %s takes it", worker->unit,
                   h->name, ID128_SHORT(&worker->instance), worker->epoch, by->epoch, ID128_SHORT(&by->instance));
}

void check_started(struct world *w, struct host *h, const struct unit_facts *unit)
{
    w->stats->checked[CHECK_WORKER]++;
    for (size_t i = 0; i < HOST_PROCESSES && !id128_is_zero(&unit->instance); i++) {
        const struct process *p = &h->process[i];

        if (p->used && !p->dying && (p->client_host || p->role != UNIT_WORKER) && p->epoch < unit->epoch &&
            id128_equal(&p->instance, &unit->instance))
            world_fail(w, "%s starts epoch %" PRIu64 " of an instance while %s of epoch %" PRIu64 " still runs there",
                       h->name, unit->epoch, p->unit, p->epoch);
    }
}

void check_binds(struct world *w, struct host *h, const struct unit_facts *unit)
{
    const char *addr = h->tunnel && unit->role != UNIT_CARRIER ? HOST_LOOPBACK : h->addr;

    w->stats->checked[CHECK_BINDS]++;
    if (strcmp(unit->addr, addr) != 0 || (unit->role == UNIT_CARRIER && !h->tunnel))
        world_fail(w, "%s: %s %s is to listen on %s, not %s", h->name, unit_role_name(unit->role), unit->id, unit->addr,
                   addr);
}

void check_signal(struct world *w, struct host *h, const struct process *p)
{
    w->stats->checked[CHECK_SIGNAL]++;
    check_end_order(w, h, p);
    if (!id128_is_zero(&p->instance) && check_epoch_serves(w, &p->instance, p->epoch))
        world_fail(w, "%s ends %s %s, which serves the newest epoch", h->name, unit_role_name(p->role), p->unit);
}

void check_probe(struct world *w, struct host *h, const struct process *p)
{
    w->stats->checked[CHECK_SIGNAL]++;
    if (p->client_host && !id128_is_zero(&p->instance) && check_epoch_serves(w, &p->instance, p->epoch))
        world_fail(w, "%s probes worker %s, which serves the newest epoch", h->name, p->unit);
}
