/* What is held against carriers, and against those who are to notice what happens on the tunnel. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/core/instances.h"
#include "controller/core/nodes.h"
#include "controller/core/state.h"
#include "tests/sim/carrier.h"
#include "tests/sim/check_state.h"
#include "tests/sim/leader.h"
#include "tests/sim/net.h"
#include "tests/sim/scenario.h"

enum { LEFT_OUT_NAMED = 8 /* of more a plan names only some */ };

/* ---- how long they live ------------------------------------------------------------------------------------------ */

void check_carriers(struct world *w, struct host *h)
{
    for (size_t i = 0; i < HOST_PROCESSES; i++) {
        struct process *p = &h->process[i];
        bool over;

        if (!p->used || p->role != UNIT_CARRIER)
            continue;
        w->stats->checked[CHECK_CARRIER]++;
        over =
            check_reaches(w, h) && !check_is_live(w, &p->instance, p->epoch) && !check_is_forgotten(w, h, &p->instance);
        if (check_too_long(w, over, &p->outlived_ms, CHECK_LEASE_MS + CHECK_EVERY_MS))
            world_fail(w, "%s: carrier %s of %s epoch %" PRIu64 " lives %" PRIu64 " ms after the end of that", h->name,
                       p->unit, ID128_SHORT(&p->instance), p->epoch, w->now_ms - p->outlived_ms);
    }
}

/* ---- in which order they end ------------------------------------------------------------------------------------- */

static const struct process *of_its_epoch(const struct host *h, const struct process *p, enum unit_role role)
{
    for (size_t i = 0; i < HOST_PROCESSES; i++) {
        const struct process *other = &h->process[i];

        if (other->used && !other->dying && other->role == role && other->epoch == p->epoch &&
            id128_equal(&other->instance, &p->instance))
            return other;
    }
    return NULL;
}

void check_end_order(struct world *w, const struct host *h, const struct process *p)
{
    const struct process *first = NULL;

    if (p->role == UNIT_CARRIER || (p->role == UNIT_WORKER && p->client_host))
        first = of_its_epoch(h, p, UNIT_COORDINATOR);
    if (!first && p->role == UNIT_WORKER && p->client_far)
        first = of_its_epoch(h, p, UNIT_CARRIER);
    if (first)
        world_fail(w, "%s ends %s %s before %s %s of the same epoch", h->name, unit_role_name(p->role), p->unit,
                   unit_role_name(first->role), first->unit);
}

void check_freed(struct world *w, struct host *h, const struct agent_transition *t)
{
    const struct unit_facts *u = agent_unit(h->agent, t->id);
    const struct process *p = u ? llama_find(h, u->pid) : NULL;

    if (!p || strcmp(t->event, "not_empty") != 0 || !p->loopback)
        return;
    w->stats->checked[CHECK_FREED]++;
    if (p->up && !p->frozen && p->client_host)
        world_fail(w, "%s: worker %s is still busy after its carrier has ended", h->name, p->unit);
}

/* ---- another transport ------------------------------------------------------------------------------------------- */

void check_transport(struct world *w, const struct instance *i)
{
    const char *wanted = plan_is_tunnel(i->plan) ? "tunnel" : "direct";

    for (size_t k = 0; k < i->plan->n_ranks; k++) {
        const struct node *n = node_find(w->leader->c, &i->plan->rank[k].node);

        w->stats->checked[CHECK_TRANSPORT]++;
        if (n && strcmp(n->hello.transport, wanted) != 0)
            world_fail(w, "%s is placed on %s, which has another rank_transport", i->name, n->hello.name);
    }
}

static bool is_said(const struct plan *plan, const char *why, const char *name)
{
    char words[64];

    snprintf(words, sizeof(words), "%s left out: rank_transport is", name);
    for (size_t i = 0; plan && i < plan->n_notes; i++) {
        if (strstr(plan->note[i], words))
            return true;
    }
    return !plan && strstr(why, words);
}

void check_left_out(struct world *w)
{
    struct place_request request = {.model = "small"};
    char why[PROTO_TEXT_MAX] = "";
    struct plan *plan = NULL;

    cluster_plan(w->leader->c, &request, leader_clock(w), &plan, why, sizeof(why));
    for (size_t k = 1; k <= w->n_hosts && w->n_hosts <= LEFT_OUT_NAMED; k++) {
        const struct host *h = &w->host[k];
        const struct node *n = node_find(w->leader->c, &h->id);

        if (!n || n->state != NODE_READY || n->draining || h->tunnel == w->leader->tunnel)
            continue;
        w->stats->checked[CHECK_TRANSPORT]++;
        if (!is_said(plan, why, h->name))
            world_fail(w, "%s has another rank_transport, and no plan says that: %s", h->name, why);
    }
    free(plan);
}

/* ---- what is away for a moment ----------------------------------------------------------------------------- */

void check_serving(struct world *w)
{
    const struct cluster *c = w->leader->c;
    struct check *check = w->check;

    check->n_serving = 0;
    for (size_t k = 0; c && w->scenario->calm && k < c->instances.n && check->n_serving < CHECK_SERVING; k++) {
        const struct instance *i = CLUSTER_INSTANCE(c, k);

        if (i->state == INSTANCE_READY)
            check->serving[check->n_serving++] = (struct serving){i->id, i->epoch};
    }
}

static bool was_serving(const struct world *w, const struct id128 *id, uint64_t epoch)
{
    for (size_t k = 0; k < w->check->n_serving; k++) {
        if (w->check->serving[k].epoch == epoch && id128_equal(&w->check->serving[k].instance, id))
            return true;
    }
    return false;
}

void check_cut_off(struct world *w, const struct id128 *instance, uint64_t epoch)
{
    if (was_serving(w, instance, epoch))
        world_fail(w, "a request to %s epoch %" PRIu64 " was cut off because something was away for a moment",
                   ID128_SHORT(instance), epoch);
}

void check_still_serving(struct world *w)
{
    struct check *check = w->check;

    for (size_t k = 0; w->leader->c && k < check->n_serving; k++) {
        const struct instance *i = instance_find(w->leader->c, &check->serving[k].instance);

        w->stats->checked[CHECK_STILL_SERVING]++;
        if (!i || i->state != INSTANCE_READY || i->epoch != check->serving[k].epoch)
            world_fail(w,
                       "something was away for a moment, and %s is %s in epoch %" PRIu64 " after epoch %" PRIu64 ": %s",
                       i ? i->name : "an instance", i ? instance_state_name(i->state) : "gone", i ? i->epoch : 0,
                       check->serving[k].epoch, i ? i->reason : "");
    }
    check->n_serving = 0;
}

/* ---- what stands still ------------------------------------------------------------------------------------------- */

static bool is_frozen(struct host *h, int32_t pid)
{
    const struct process *p = pid ? llama_find(h, pid) : NULL;

    return p && p->frozen;
}

bool check_hangs(struct world *w, const struct instance *i)
{
    const struct process *p = check_coordinator_of(w, i);
    struct host *first = i->plan ? host_by_id(w, &i->plan->rank[0].node) : NULL;
    bool frozen;

    if (!p || !llama_computes(p) || !p->stalled || p->frozen || w->net->loss_permille)
        return false;
    frozen = is_frozen(first, p->near);
    for (size_t k = 0; k < p->n_connected; k++) {
        struct host *h = &w->host[p->stream[k].host];

        if (!h->n || !check_reaches(w, h))
            return false;
        frozen |= is_frozen(h, p->stream[k].pid) || is_frozen(h, p->stream[k].far);
    }
    return frozen && check_reaches(w, first);
}

/* With nothing in flight, too: who asks next would wait. */
bool check_is_stopped(struct world *w, const struct instance *i)
{
    bool stopped = false;

    for (size_t k = 0; i->plan && k < i->run.n_ranks && !w->net->loss_permille; k++) {
        struct host *h = host_by_id(w, &i->plan->rank[k].node);

        if (!h || !check_reaches(w, h))
            return false;
        for (size_t n = 0; n < HOST_PROCESSES; n++) {
            const struct process *p = &h->process[n];

            stopped |= p->used && !p->dying && p->frozen && p->role == UNIT_CARRIER && p->epoch == i->epoch &&
                       id128_equal(&p->instance, &i->id);
        }
    }
    return stopped;
}

/* ---- who is named ------------------------------------------------------------------------------------------------ */

static bool names_carrier(const struct host *at, const char *text)
{
    char asked[64], idle[64];

    snprintf(asked, sizeof(asked), "on %s hangs, its carrier is stopped", at->name);
    snprintf(idle, sizeof(idle), "on %s hangs: it has been stopped", at->name);
    return strstr(text, asked) || strstr(text, idle);
}

/* A worker is known by its rank and by what it owes, if it was given that; a carrier by its being stopped. */
static bool names(struct world *w, const struct stream *s, const char *text)
{
    struct host *at = &w->host[s->host];
    char who[64];

    if (is_frozen(at, s->far) && names_carrier(at, text))
        return true;
    if (!is_frozen(at, s->pid))
        return false;
    snprintf(who, sizeof(who), "rank %d on %s", llama_find(at, s->pid)->rank, at->name);
    return strstr(text, who) && (!s->worker_ms || strstr(text, "GET_TENSOR"));
}

static bool names_anybody(struct world *w, const struct instance *i, const struct process *coordinator,
                          const char *text)
{
    struct host *first = host_by_id(w, &i->plan->rank[0].node);

    for (size_t k = 0; k < coordinator->n_connected; k++) {
        if (coordinator->stream[k].host && names(w, &coordinator->stream[k], text))
            return true;
    }
    return is_frozen(first, coordinator->near) && names_carrier(first, text);
}

void check_named(struct world *w, const struct instance *i, const char *text)
{
    const struct process *p = check_coordinator_of(w, i);

    if (!p || !check_instance(w, &i->id)->hung_ms || (!strstr(text, "hangs") && !strstr(text, "stood still")))
        return;
    w->stats->checked[CHECK_NAMED]++;
    if (check_hangs(w, i) && !names_anybody(w, i, p, text))
        world_fail(w, "instance %s recovers from what is stopped, and that is not named, with what it owes: %s",
                   i->name, text);
}
