#include "controller/core/detector.h"

#include <inttypes.h>

#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/brake.h"
#include "controller/core/instances.h"
#include "controller/core/lifecycle.h"
#include "controller/core/nodes.h"

enum { EVICT_MIN_MS = 2000, EVICT_MAX_MS = 30000 };

/* ---- evictions -------------------------------------------------------------------------------------------------- */

/* What a reload costs is what waiting may cost: a cable out for ten seconds is cheaper than minutes of loading. */
uint64_t detector_evict_after_ms(const struct cluster *c, const struct instance *i)
{
    uint64_t quarter = i->load_ms / 4;

    if (c->config.evict_after_ms)
        return c->config.evict_after_ms;
    return quarter < EVICT_MIN_MS ? EVICT_MIN_MS : quarter > EVICT_MAX_MS ? EVICT_MAX_MS : quarter;
}

/* When the absence of member m ends this epoch; UINT64_MAX: it does not. */
static uint64_t absence_due_ms(const struct cluster *c, const struct instance *i, size_t m)
{
    const struct node *n = node_find(c, &i->run.member[m].node);

    return n && n->state == NODE_LOST ? n->last_seen_ms + detector_evict_after_ms(c, i) : UINT64_MAX;
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

static bool awaited_by_any(const struct cluster *c, const struct node *n)
{
    size_t member;

    for (size_t k = 0; k < c->instances.n; k++) {
        const struct instance *i = CLUSTER_INSTANCE(c, k);

        if (instance_state_runs(i->state) && run_member(&i->run, &n->id, &member))
            return true;
    }
    return false;
}

/* The node's own eviction: nobody waits for it any more, and it has had its time. */
static uint64_t eviction_due_ms(const struct cluster *c, const struct node *n)
{
    uint64_t after_ms = c->config.evict_after_ms ? c->config.evict_after_ms : EVICT_MAX_MS;

    return n->state == NODE_LOST && !awaited_by_any(c, n) ? n->last_seen_ms + after_ms : UINT64_MAX;
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

/* ---- the room --------------------------------------------------------------------------------------------------- */

int detector_traffic(struct step *s, const struct cluster_ev *ev)
{
    (void)s;
    (void)ev;
    return 0;
}

int detector_upstream(struct step *s, const struct cluster_ev *ev)
{
    (void)s;
    (void)ev;
    return 0;
}

int detector_tick(struct step *s)
{
    if (!brake_is_on(s->c))
        return err_fold(evict(s));
    return 0;
}

uint64_t detector_due_ms(const struct cluster *c)
{
    return brake_is_on(c) ? UINT64_MAX : evict_due_ms(c);
}
