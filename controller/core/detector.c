#include "controller/core/detector.h"

#include <inttypes.h>

#include "common/core/err.h"
#include "common/core/sat.h"
#include "common/core/text.h"
#include "controller/core/brake.h"
#include "controller/core/effects.h"
#include "controller/core/flows.h"
#include "controller/core/hang.h"
#include "controller/core/instances.h"
#include "controller/core/lifecycle.h"
#include "controller/core/nodes.h"
#include "controller/core/recovery.h"
#include "controller/core/unloading.h"

enum { EVICT_MIN_MS = 2000, EVICT_MAX_MS = 30000, PROBE_AGAIN_MS = 5000 };

/* ---- evictions -------------------------------------------------------------------------------------------------- */

/* What a reload costs is what waiting may cost: a cable out for ten seconds is cheaper than minutes of loading. */
uint64_t detector_evict_after_ms(const struct cluster *c, const struct instance *i)
{
    uint64_t quarter = i->load_ms / 4;

    if (c->config.evict_after_ms)
        return c->config.evict_after_ms;
    return quarter < EVICT_MIN_MS ? EVICT_MIN_MS : quarter > EVICT_MAX_MS ? EVICT_MAX_MS : quarter;
}

/* Its own word, or that of a node to which one of its ranks still sends or from which it still takes. */
static uint64_t last_sign_ms(const struct cluster *c, const struct node *n)
{
    return sat_max(n->last_seen_ms, flows_moved_ms(c, &n->id));
}

/* When the absence of member m ends this epoch; UINT64_MAX: it does not. */
static uint64_t absence_due_ms(const struct cluster *c, const struct instance *i, size_t m)
{
    const struct node *n = node_find(c, &i->run.member[m].node);

    return n && n->state == NODE_LOST ? last_sign_ms(c, n) + detector_evict_after_ms(c, i) : UINT64_MAX;
}

static int evict_from(struct step *s, struct instance *i, struct node *unused)
{
    int r;

    (void)unused;
    for (size_t m = 0; instance_state_runs(i->state) && m < i->run.n_members; m++) {
        if (absence_due_ms(s->c, i, m) > s->now_ms)
            continue;
        r = step_instance(s, i);
        if (r)
            return err_fold(r);
        return err_fold(lifecycle_trouble(
            s, i, &i->run.member[m].node, "node_evicted", "node %s is lost, and was last heard of %" PRIu64 " ms ago",
            i->run.member[m].name, s->now_ms - node_find(s->c, &i->run.member[m].node)->last_seen_ms));
    }
    return 0;
}

/* The node's own eviction. No unit waits longer than that, so none does any more. */
static uint64_t eviction_due_ms(const struct cluster *c, const struct node *n)
{
    uint64_t after_ms = c->config.evict_after_ms ? c->config.evict_after_ms : EVICT_MAX_MS;

    return n->state == NODE_LOST ? last_sign_ms(c, n) + after_ms : UINT64_MAX;
}

static int evict_nodes(struct step *s)
{
    char text[96];
    int r;

    for (size_t k = 0; k < s->c->nodes.n; k++) {
        struct node *n = CLUSTER_NODE(s->c, k);

        if (eviction_due_ms(s->c, n) > s->now_ms)
            continue;
        text_format(text, sizeof(text), "last heard of %" PRIu64 " s ago", (s->now_ms - n->last_seen_ms) / 1000);
        r = node_event(s, n, NODE_EV_EVICT, &(struct cause){.text = text});
        if (r)
            return err_fold(r);
    }
    return 0;
}

static int evict(struct step *s)
{
    int r = instances_each(s, NULL, evict_from);

    if (r)
        return err_fold(r);
    return err_fold(evict_nodes(s));
}

static uint64_t evict_due_ms(const struct cluster *c)
{
    uint64_t due = UINT64_MAX, at;

    for (size_t k = 0; k < c->nodes.n; k++) {
        at = eviction_due_ms(c, CLUSTER_NODE(c, k));
        due = at < due ? at : due;
    }
    for (size_t k = 0; k < c->instances.n; k++) {
        const struct instance *i = CLUSTER_INSTANCE(c, k);

        for (size_t m = 0; instance_state_runs(i->state) && m < i->run.n_members; m++) {
            at = absence_due_ms(c, i, m);
            due = at < due ? at : due;
        }
    }
    return due;
}

/* ---- what the gateway sees --------------------------------------------------------------------------------------- */

/* The instance whose epoch this is about, if it is still the one that serves; NULL: it is over. */
static struct instance *served(const struct cluster *c, const struct cluster_ev *ev)
{
    struct instance *i = instance_find(c, &ev->instance);

    return i && i->epoch == ev->epoch && (i->state == INSTANCE_READY || i->state == INSTANCE_DRAINING) ? i : NULL;
}

int detector_traffic(struct step *s, const struct cluster_ev *ev)
{
    struct instance *i = served(s->c, ev);
    struct cluster_traffic before;
    int r;

    if (!i)
        return step_late(s);
    r = step_instance(s, i);
    if (r)
        return err_fold(r);
    before = i->run.traffic;
    hang_traffic(s, i, &ev->traffic);
    return err_fold(unloading_traffic(s, i, &before));
}

/* An error may be the request's own fault. A token of ours tells: a coordinator with a dead endpoint answers 500 for ever. */
static int probe(struct step *s, struct instance *i)
{
    struct probe *p = &i->run.probe;
    int r;

    if (p->open || s->now_ms < p->next_ms)
        return 0;
    r = journal_change(&s->journal, p, sizeof(*p));
    if (r)
        return err_fold(r);
    p->open = true;
    p->next_ms = s->now_ms + PROBE_AGAIN_MS;
    return err_fold(fx_warm_up(s, i));
}

int detector_warmed(struct step *s, struct instance *i, bool ok, const char *text)
{
    if (!i->run.probe.open)
        return step_late(s);
    i->run.probe.open = false;
    if (ok || nodes_quiet(s))
        return 0;
    return err_fold(lifecycle_trouble(s, i, NULL, "coordinator_broken",
                                      "coordinator on %s answers errors, and not the token that was asked of it: %s",
                                      i->plan->rank[0].node_name, text ? text : ""));
}

static int refused(struct step *s, struct instance *i, const char *text)
{
    int r = step_instance(s, i);

    if (r)
        return err_fold(r);
    return err_fold(lifecycle_trouble(s, i, NULL, "coordinator_refused",
                                      "coordinator on %s: its %s refused or reset a connection%s%s",
                                      i->plan->rank[0].node_name, plan_is_tunnel(i->plan) ? "carrier" : "port",
                                      text && text[0] ? ": " : "", text ? text : ""));
}

/* The epoch that a request has killed is over by now, or will be. */
static int pardon(struct step *s, const struct cluster_ev *ev)
{
    struct instance *i = instance_find(s->c, &ev->instance);

    if (!i)
        return step_late(s);
    return err_fold(recovery_pardon(s, i, ev->epoch));
}

int detector_upstream(struct step *s, const struct cluster_ev *ev)
{
    struct instance *i = served(s->c, ev);

    if (ev->upstream == UPSTREAM_POISON)
        return err_fold(pardon(s, ev));
    if (!i || nodes_quiet(s)) /* what was reset was open before our suspend */
        return step_late(s);
    switch (ev->upstream) {
    case UPSTREAM_REFUSED:
        return err_fold(refused(s, i, ev->text));
    case UPSTREAM_BROKEN:
        return err_fold(probe(s, i));
    case UPSTREAM_POISON:
        break;
    }
    return 0;
}

/* ---- once a second ---------------------------------------------------------------------------------------------- */

static int sample_one(struct step *s, struct instance *i, struct node *unused)
{
    struct probe *p = &i->run.probe;
    int r;

    (void)unused;
    if (!hang_watches(i))
        return 0;
    if (p->open && s->now_ms >= p->next_ms + s->c->config.warm_up_ms) { /* its slots are taken: that says nothing */
        r = journal_change(&s->journal, p, sizeof(*p));
        if (r)
            return err_fold(r);
        p->open = false;
    }
    return err_fold(hang_sample(s, i));
}

static int sample(struct step *s)
{
    if (s->now_ms < s->c->numbers.sample_ms)
        return 0;
    s->c->numbers.sample_ms = s->now_ms + HANG_SAMPLE_MS;
    return err_fold(instances_each(s, NULL, sample_one));
}

static uint64_t sample_due_ms(const struct cluster *c)
{
    for (size_t k = 0; k < c->instances.n; k++) {
        if (hang_watches(CLUSTER_INSTANCE(c, k)))
            return c->numbers.sample_ms;
    }
    return UINT64_MAX;
}

int detector_tick(struct step *s)
{
    int r = 0;

    if (nodes_quiet(s))
        return 0;
    if (!brake_is_on(s->c))
        r = evict(s);
    if (r)
        return err_fold(r);
    return err_fold(sample(s));
}

uint64_t detector_due_ms(const struct cluster *c)
{
    uint64_t due = sample_due_ms(c), at = brake_is_on(c) ? UINT64_MAX : evict_due_ms(c);

    due = at < due ? at : due;
    return due < c->numbers.quiet_ms ? c->numbers.quiet_ms : due;
}
