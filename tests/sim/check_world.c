/* What is looked at twice a second, and what must have become of it all. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "controller/core/brake.h"
#include "controller/core/instances.h"
#include "controller/core/nodes.h"
#include "controller/core/offers.h"
#include "controller/core/release.h"
#include "controller/core/state.h"
#include "tests/sim/check_state.h"
#include "tests/sim/keys.h"
#include "tests/sim/net.h"
#include "tests/sim/scenario.h"
#include "tests/sim/user.h"

/* ---- leases ------------------------------------------------------------------------------------------------------ */

void check_report(struct world *w, int from, const struct message *m)
{
    const struct host *h = &w->host[from];
    struct lease_seen now[PROTO_UNITS_MAX];
    uint64_t promised = 0;
    size_t n = 0;

    if (m->kind != MESSAGE_REPORT)
        return;
    for (size_t i = 0; i < m->report->n_leases; i++) {
        const struct lease_facts *f = &m->report->lease[i];

        now[n] = (struct lease_seen){.instance = f->instance, .epoch = f->epoch};
        for (size_t k = 0; k < w->check->n_leases[from]; k++) {
            const struct lease_seen *old = &w->check->lease[from][k];

            if (old->epoch == f->epoch && id128_equal(&old->instance, &f->instance))
                now[n].dead_ms = old->dead_ms;
        }
        if (f->instance.b[0] ==
            0xee) /* not what a bad command asked for: that is refused when it is known to be too much */
            promised += f->bytes;
        n++;
    }
    w->stats->checked[CHECK_LEASE_MEMORY]++;
    if (promised > h->total_bytes + (h->has_gpu ? h->gpu_bytes : 0))
        world_fail(w, "%s promises more memory than it has", h->name);
    memcpy(w->check->lease[from], now, n * sizeof(now[0]));
    w->check->n_leases[from] = n;
}

/* Somebody may still want it: it runs, or it has not been decided yet. */
bool check_is_live(const struct world *w, const struct id128 *id, uint64_t epoch)
{
    const struct instance *i = instance_find(w->leader->c, id);

    if (!i) /* not ours to judge: it is shown as unknown */
        return false;
    return i->epoch == epoch &&
           (instance_state_runs(i->state) || i->state == INSTANCE_PLACING || i->settle_ms != UINT64_MAX ||
            i->run.release == RELEASE_FIRST); /* its workers are busy by right until their coordinator has ended */
}

/* What is left of it there was forgotten, on the word of a copy or because it had ended: it is shown as unknown, and a
 * person must decide. */
bool check_is_forgotten(const struct world *w, const struct host *h, const struct id128 *id)
{
    return h->belied && !instance_find(w->leader->c, id);
}

bool check_reaches(const struct world *w, const struct host *h)
{
    const struct node *n = w->leader->c ? node_find(w->leader->c, &h->id) : NULL;

    return n && leader_listens(w) && host_agent_listens(h) && h->welcomed && !h->disk.full &&
           net_passes_both(w, net_leader_machine(w), h->n) &&
           (n->state == NODE_READY || n->state == NODE_DRAINING || n->state == NODE_DRAINED);
}

static void check_leases(struct world *w, struct host *h)
{
    for (size_t i = 0; i < w->check->n_leases[h->n]; i++) {
        struct lease_seen *l = &w->check->lease[h->n][i];

        w->stats->checked[CHECK_LEASE_LIVE]++;
        if (!check_reaches(w, h) || check_is_live(w, &l->instance, l->epoch) || check_is_forgotten(w, h, &l->instance))
            l->dead_ms = 0;
        else if (!l->dead_ms)
            l->dead_ms = w->now_ms;
        else if (w->now_ms - l->dead_ms > CHECK_LEASE_MS + CHECK_EVERY_MS)
            world_fail(w, "%s has held a lease of %s epoch %" PRIu64 " for %" PRIu64 " ms after its end", h->name,
                       ID128_SHORT(&l->instance), l->epoch, w->now_ms - l->dead_ms);
    }
}

/* ---- ready ------------------------------------------------------------------------------------------------------- */

static bool runs_there(struct host *h, const struct instance *i, enum unit_role role, int32_t rank)
{
    for (size_t k = 0; k < HOST_PROCESSES; k++) {
        const struct process *p = &h->process[k];

        if (p->used && !p->dying && p->role == role && p->epoch == i->epoch && id128_equal(&p->instance, &i->id) &&
            (role != UNIT_WORKER || (p->rank == rank && p->client_host)))
            return true;
    }
    return false;
}

/* To the coordinator's node. */
static bool has_streams(const struct instance *i, size_t rank)
{
    return !i->plan->rank[rank].local && !id128_equal(&i->plan->rank[rank].node, &i->plan->rank[0].node);
}

/* NULL: all are there. Else where one is missing. */
static struct host *missing_at(struct world *w, const struct instance *i)
{
    for (size_t k = 0; k < i->plan->n_ranks; k++) {
        struct host *h = host_by_id(w, &i->plan->rank[k].node);

        assert(h);
        if ((k == 0 || has_streams(i, k)) && plan_is_tunnel(i->plan) && !runs_there(h, i, UNIT_CARRIER, -1))
            return h;
        if ((!i->plan->rank[k].local && !runs_there(h, i, UNIT_WORKER, (int32_t)k)) ||
            (k == 0 && !runs_there(h, i, UNIT_COORDINATOR, -1)))
            return h;
    }
    return NULL;
}

bool check_too_long(const struct world *w, bool missing, uint64_t *since_ms, uint64_t bound_ms)
{
    if (!missing)
        *since_ms = 0;
    else if (!*since_ms)
        *since_ms = w->now_ms;
    return missing && w->now_ms - *since_ms > bound_ms;
}

struct process *check_coordinator_of(struct world *w, const struct instance *i)
{
    struct host *h = i->plan ? host_by_id(w, &i->plan->rank[0].node) : NULL;

    for (size_t k = 0; h && k < HOST_PROCESSES; k++) {
        struct process *p = &h->process[k];

        if (p->used && p->role == UNIT_COORDINATOR && p->epoch == i->epoch && id128_equal(&p->instance, &i->id))
            return p;
    }
    return NULL;
}

void check_stop_order(struct world *w, const struct host *to, const struct message *m)
{
    const struct instance *i = instance_find(w->leader->c, &m->instance);
    const struct node *n = to ? node_find(w->leader->c, &to->id) : NULL;
    struct host *first;
    uint64_t for_ms;

    if (!i || i->epoch != m->epoch || !i->plan || !n || n->retired || i->run.release == RELEASE_NONE)
        return;
    first = host_by_id(w, &i->plan->rank[0].node);
    for_ms = leader_clock(w) + RELEASE_MS - i->run.release_ms;
    w->stats->checked[CHECK_SIGNAL]++;
    if (first != to && first && check_reaches(w, first) && check_coordinator_of(w, i) &&
        !check_coordinator_of(w, i)->dying && for_ms < RELEASE_FIRST_MS &&
        first->welcomed_ms + for_ms + 3000 < w->now_ms)
        world_fail(w, "%s is told to end its rank of %s while the coordinator lives on %s", to->name, i->name,
                   first->name);
}

/* Its kernel answers and its agent does not: what runs there goes on, and nobody can tell what does not. */
static bool is_stuck(const struct host *h)
{
    return host_awake(h) && !host_agent_listens(h);
}

static void check_ready(struct world *w, const struct instance *i)
{
    struct instance_seen *seen = check_instance(w, &i->id);
    struct host *h = i->state == INSTANCE_READY && leader_listens(w) ? missing_at(w, i) : NULL;

    w->stats->checked[CHECK_READY]++;
    if (check_too_long(w, h && check_reaches(w, h), &seen->heard_ms, CHECK_NOTICE_MS) ||
        check_too_long(w, h && !is_stuck(h) && !brake_is_on(w->leader->c), &seen->missing_ms, CHECK_EVICT_MS))
        world_fail(w, "instance %s is ready, and a process of it on %s has been missing for %" PRIu64 " ms", i->name,
                   h->name, w->now_ms - seen->missing_ms);
    if (check_too_long(w, i->state == INSTANCE_READY && check_hangs(w, i), &seen->hung_ms, CHECK_HUNG_MS))
        world_fail(w, "instance %s is ready, and a rank of it has been stopped in a request for %d ms", i->name,
                   CHECK_HUNG_MS);
    if (check_too_long(w, i->state == INSTANCE_READY && check_is_stopped(w, i), &seen->stopped_ms, CHECK_HUNG_MS))
        world_fail(w, "instance %s is ready, and a carrier of it has been stopped for %d ms", i->name, CHECK_HUNG_MS);
}

/* Its agent takes itself for welcomed, so it does not say hello again: then what it says must count. */
static void check_heard(struct world *w, const struct host *h)
{
    const struct node *n = node_find(w->leader->c, &h->id);
    bool counts = n && (n->retired || n->state == NODE_READY || n->state == NODE_DRAINING || n->state == NODE_DRAINED);
    bool speaks =
        leader_listens(w) && host_agent_listens(h) && h->welcomed && net_passes_both(w, net_leader_machine(w), h->n);

    w->stats->checked[CHECK_HEARD]++;
    if (check_too_long(w, speaks && !counts, &w->check->ignored_ms[h->n], CHECK_HEARD_MS))
        world_fail(w, "%s is welcomed and speaks, and has been %s for %d ms", h->name,
                   n ? node_state_name(n->state) : "unknown", CHECK_HEARD_MS);
}

static void on_look(struct world *w, const struct happening *happening)
{
    struct cluster *c = w->leader->c;

    world_at(w, w->now_ms + CHECK_EVERY_MS, *happening);
    if (!c)
        return;
    for (size_t n = 1; n <= w->n_hosts; n++) {
        check_leases(w, &w->host[n]);
        check_heard(w, &w->host[n]);
        check_carriers(w, &w->host[n]);
    }
    for (size_t k = 0; k < c->instances.n; k++) {
        check_ready(w, CLUSTER_INSTANCE(c, k));
        check_leaving(w, CLUSTER_INSTANCE(c, k));
    }
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

/* Whether it could be served as things are. */
static bool deployable(struct world *w, const struct instance *i)
{
    char why[PROTO_TEXT_MAX];
    struct plan *plan = NULL;
    int r = cluster_plan(w->leader->c, &i->request, leader_clock(w), &plan, why, sizeof(why));

    free(plan);
    return r == 0;
}

/* It serves what it had, has a minute for that, and one is moved after the other. */
static bool is_leaving(struct world *w, const struct instance *i)
{
    return i->state == INSTANCE_DRAINING && leader_clock(w) < i->drain.end_ms;
}

static bool anybody_is_leaving(struct world *w)
{
    for (size_t k = 0; k < w->leader->c->instances.n; k++) {
        if (is_leaving(w, CLUSTER_INSTANCE(w->leader->c, k)))
            return true;
    }
    return false;
}

static void check_instance_is_well(struct world *w, const struct instance *i)
{
    bool ended =
        instance_state_ended(i->state) && !w->scenario->calm; /* where hardly anything goes wrong, nothing fails */

    w->stats->checked[CHECK_END]++;
    if (ended || i->state == INSTANCE_READY || is_leaving(w, i))
        return;
    if (i->state == INSTANCE_WAITING && !deployable(w, i))
        return;
    world_fail(w, "instance %s is %s a minute after all was healed: %s", i->name, instance_state_name(i->state),
               i->reason);
}

static void check_node_is_well(struct world *w, struct host *h)
{
    const struct node *n = node_find(w->leader->c, &h->id);

    w->stats->checked[CHECK_END]++;
    if (!n || (n->state != NODE_READY && !n->draining))
        world_fail(w, "node %s is %s a minute after all was healed", h->name,
                   n ? node_state_name(n->state) : "unknown");
}

/* With one of its instances. */
static bool waits_for_room(struct world *w, const struct view_task *t)
{
    for (size_t k = 0; t->kind == TASK_DEPLOY && k < w->leader->c->instances.n; k++) {
        const struct instance *i = CLUSTER_INSTANCE(w->leader->c, k);

        if (i->deploy_task == t->id && i->state == INSTANCE_WAITING && !deployable(w, i))
            return true;
    }
    return false;
}

static void check_task_is_well(struct world *w, const struct view_task *t)
{
    w->stats->checked[CHECK_TASK]++;
    if (waits_for_room(w, t))
        return;
    if (t->kind == TASK_DRAIN && anybody_is_leaving(w))
        return;
    if (!task_state_ended(t->state))
        world_fail(w, "task %" PRIu64 " (%s %s) is %s a minute after all was healed", t->id, task_kind_name(t->kind),
                   t->name, task_state_name(t->state));
}

/* Every process belongs to somebody who wants it. */
static void check_processes(struct world *w, struct host *h)
{
    for (size_t k = 0; k < HOST_PROCESSES; k++) {
        struct process *p = &h->process[k];
        const struct unit_facts *u = p->used ? agent_unit(h->agent, p->unit) : NULL;

        w->stats->checked[CHECK_END]++;
        if (!p->used)
            continue;
        if (!u || u->pid != p->pid)
            world_fail(w, "%s: %s %s runs and its agent does not know it", h->name, unit_role_name(p->role), p->unit);
        else if (id128_is_zero(&p->instance)
                     ? !u->standing || p->client_host
                     : !check_is_live(w, &p->instance, p->epoch) && !check_is_forgotten(w, h, &p->instance))
            world_fail(w, "%s: %s %s runs and serves nobody", h->name, unit_role_name(p->role), p->unit);
    }
}

static bool is_retired(const struct world *w, const struct host *h)
{
    const struct node *n = node_find(w->leader->c, &h->id);

    return n && n->retired;
}

static void check_hosts(struct world *w)
{
    for (size_t n = 1; n <= w->n_hosts && !w->failed; n++) {
        struct host *h = &w->host[n];

        if (!h->agent) {
            world_fail(w, "the agent of %s does not run", h->name);
            return;
        }
        if (is_retired(w, h) || keys_is_out(w, h->n))
            continue; /* it was sent away, and nobody leads it any more */
        check_node_is_well(w, h);
        check_processes(w, h);
        for (size_t i = 0; i < w->check->n_leases[n]; i++) {
            const struct lease_seen *l = &w->check->lease[n][i];

            w->stats->checked[CHECK_END]++;
            if (!check_is_live(w, &l->instance, l->epoch) && !check_is_forgotten(w, h, &l->instance))
                world_fail(w, "%s holds a lease of %s epoch %" PRIu64 ", which is over", h->name,
                           ID128_SHORT(&l->instance), l->epoch);
        }
    }
}

void check_all_is_well(struct world *w)
{
    struct cluster *c = w->leader->c;

    assert(c);
    for (size_t k = 0; k < c->instances.n; k++)
        check_instance_is_well(w, CLUSTER_INSTANCE(c, k));
    for (size_t k = 0; k < c->tasks.n; k++)
        check_task_is_well(w, &CLUSTER_TASK(c, k)->view);
    for (uint64_t i = 1; i <= w->users->n_wishes; i++) {
        const struct wish *wish = &w->users->wish[i];

        w->stats->checked[CHECK_ANSWER]++;
        if (!wish->n_answers && wish->leader_life == w->leader->life)
            world_fail(w, "request %" PRIu64 " (%s) was never answered", i, action_name(wish->kind));
    }
    check_hosts(w);
    check_left_out(w);
    check_demand(w);
}

void check_nothing_is_left(struct world *w)
{
    struct cluster *c = w->leader->c;

    for (size_t k = 0; k < c->nodes.n; k++) {
        const struct node *n = CLUSTER_NODE(c, k);

        w->stats->checked[CHECK_END]++;
        if (!n->retired && offers_leased_bytes(c, n))
            world_fail(w, "the leader counts a lease on %s that nobody has", n->hello.name);
    }
    for (size_t k = 0; k < c->instances.n; k++) {
        w->stats->checked[CHECK_END]++;
        if (!instance_state_ended(CLUSTER_INSTANCE(c, k)->state))
            world_fail(w, "instance %s is %s after it was stopped", CLUSTER_INSTANCE(c, k)->name,
                       instance_state_name(CLUSTER_INSTANCE(c, k)->state));
    }
    for (size_t k = 0; k < c->tasks.n; k++)
        check_task_is_well(w, &CLUSTER_TASK(c, k)->view);
    check_hosts(w);
}

uint64_t check_brake_ms(const struct world *w)
{
    return w->check->brake_ms;
}

void check_begin(struct world *w)
{
    w->check = calloc(1, sizeof(*w->check));
    assert(w->check);
    for (size_t n = 0; n <= HOSTS_MAX; n++)
        w->check->node[n] = NODE_UNKNOWN;
    world_at(w, CHECK_EVERY_MS, (struct happening){.happen = on_look});
}

void check_end(struct world *w)
{
    free(w->check);
}
