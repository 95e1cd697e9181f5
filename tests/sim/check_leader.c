/* What is held against each step of the leader and what the gateway is shown. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "controller/core/brake.h"
#include "controller/core/commands.h"
#include "controller/core/instances.h"
#include "controller/core/nodes.h"
#include "controller/core/state.h"
#include "tests/sim/check_state.h"
#include "tests/sim/host.h"
#include "tests/sim/leader.h"
#include "tests/sim/net.h"
#include "tests/sim/odd.h"
#include "tests/sim/pages.h"
#include "tests/sim/user.h"

struct instance_seen *check_instance(struct world *w, const struct id128 *id)
{
    struct check *c = w->check;

    for (size_t i = c->n_instances; i--;) {
        if (id128_equal(&c->instance[i].id, id))
            return &c->instance[i];
    }
    assert(c->n_instances < CHECK_INSTANCES);
    c->instance[c->n_instances] = (struct instance_seen){.id = *id, .state = INSTANCE_REQUESTED};
    return &c->instance[c->n_instances++];
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static int node_of(const struct world *w, const char *name)
{
    int n = name[0] == 'n' ? atoi(name + 1) : 0;

    return n >= 1 && (size_t)n <= w->n_hosts ? n : 0;
}

static unsigned *seen_state(struct world *w, const struct cluster_transition *t, enum cells_machine *ret)
{
    struct check *c = w->check;
    uint64_t task;

    if (strcmp(t->machine, "node") == 0) {
        *ret = CELLS_NODE;
        c->node[0] = NODE_UNKNOWN; /* of whoever is no node of ours */
        return &c->node[node_of(w, t->id)];
    }
    if (strcmp(t->machine, "instance") == 0) {
        *ret = CELLS_INSTANCE;
        return &check_instance(w, &t->instance)->state;
    }
    if (strcmp(t->machine, "task") != 0)
        return NULL; /* the brake has no table */
    *ret = CELLS_TASK;
    task = strtoull(t->id, NULL, 10);
    assert(task < CHECK_TASKS);
    if (!c->task[task])
        c->task[task] = TASK_PENDING;
    return &c->task[task];
}

/* A refusal that was told a moment ago is no news. */
static bool told_before(struct check *c, const struct cluster_transition *t)
{
    uint64_t hash = 1469598103934665603u;

    for (const char *p = t->id; *p; p++)
        hash = (hash ^ (uint64_t)*p) * 1099511628211u;
    hash ^= (uint64_t)(uintptr_t)t->event * 31 ^ (uint64_t)(uintptr_t)t->from;
    for (size_t i = 0; i < sizeof(c->told) / sizeof(c->told[0]); i++) {
        if (c->told[i] == hash)
            return true;
    }
    c->told[c->n_told++ % (sizeof(c->told) / sizeof(c->told[0]))] = hash;
    return false;
}

static void tell(struct world *w, const struct cluster_transition *t)
{
    if (strcmp(t->verdict, "go") == 0)
        world_say(w, "ctl > %s %s %s -> %s (%s)%s%s", t->machine, t->id, t->from, t->to, t->event,
                  t->text[0] ? ": " : "", t->text);
    else if (strcmp(t->text, ODD_TEXT) != 0 && !told_before(w->check, t))
        world_say(w, "ctl > %s %s is %s: %ss %s: %s", t->machine, t->id, t->from, t->verdict, t->event, t->text);
}

/* What it asked for before was cut off by that, and its links may not be up again. */
static void check_own_suspend(struct world *w, const struct cluster_transition *t)
{
    const struct leader *l = w->leader;

    if (l->woke_ms && w->now_ms - l->woke_ms < leader_config(w).settle_ms &&
        strncmp(t->text, "the first token did not come: ", 30) == 0)
        world_fail(w, "%s %s -> %s: %s; but the controller's machine has just been suspended", t->id, t->from, t->to,
                   t->text);
}

void check_transition(struct world *w, const struct cluster_transition *t)
{
    const struct pages_step words = {t->from, t->to ? t->to : "", t->event, t->verdict};
    enum cells_machine m;
    unsigned *state = seen_state(w, t, &m), before = state ? *state : 0;
    const char *wrong = state ? pages_follow(m, &words, state) : NULL;

    w->stats->checked[CHECK_TABLE]++;
    check_own_suspend(w, t);
    check_unloads(w, t);
    if (w->story)
        tell(w, t);
    if (wrong)
        world_fail(w, "%s %s: %s -> %s (%s, %s): %s", t->machine, t->id, t->from, words.to, t->event, t->verdict,
                   wrong);
    if (!state || m != CELLS_INSTANCE || *state == before)
        return;
    if (before == INSTANCE_READY && *state == INSTANCE_RECOVERING)
        check_named(w, instance_find(w->leader->c, &t->instance), t->text);
    w->stats->n_ready += *state == INSTANCE_READY;
    w->stats->n_recovered += *state == INSTANCE_RECOVERING;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static bool on_gpu(const struct node *n, const char *device)
{
    for (size_t d = 0; d < n->n_devices; d++) {
        if (strcmp(n->device[d].name, device) == 0)
            return n->device[d].kind == DEVICE_GPU;
    }
    return false;
}

static uint64_t resident(const struct node *n, const struct instance *i)
{
    uint64_t sum = 0;

    for (size_t u = 0; u < (n->units ? n->units->n : 0); u++) {
        const struct unit_facts *f = &n->units->unit[u];

        if (f->epoch == i->epoch && id128_equal(&f->instance, &i->id))
            sum += f->rss_bytes;
    }
    return sum;
}

/* By what the instance does, not by what the leader has noted. */
static bool is_promised(const struct instance *i, size_t member)
{
    return i->run.member[member].leased || i->state == INSTANCE_PLACING || instance_state_runs(i->state);
}

/* What is promised there against what it has; after the step in which something was promised. */
static void check_memory(struct world *w, const struct cluster *c, const struct node *n)
{
    uint64_t host = 0, gpu = 0, held = 0;

    w->stats->checked[CHECK_LEASE_MEMORY]++;
    for (size_t k = 0; k < c->instances.n; k++) {
        const struct instance *i = CLUSTER_INSTANCE(c, k);
        struct share share;
        uint64_t mine = 0;
        size_t m;

        if (!i->plan || !run_member(&i->run, &n->id, &m) || !is_promised(i, m))
            continue;
        plan_share(i->plan, &n->id, &share);
        mine = share.host_bytes;
        for (size_t d = 0; d < share.n_devices; d++)
            *(on_gpu(n, share.device[d]) ? &gpu : &mine) += share.bytes[d];
        held += resident(n, i) < mine ? resident(n, i) : mine;
        host += mine;
    }
    if (host > n->host_total_bytes || host > n->host_free_bytes + held)
        world_fail(w, "%s: %" PRIu64 " MiB are promised, %" PRIu64 " free and %" PRIu64 " held by them", n->hello.name,
                   host >> 20, n->host_free_bytes >> 20, held >> 20);
    if (n->n_devices && n->device[0].kind == DEVICE_GPU && gpu > n->device[0].total_bytes)
        world_fail(w, "%s: %" PRIu64 " MiB of the GPU are promised, it has %" PRIu64, n->hello.name, gpu >> 20,
                   n->device[0].total_bytes >> 20);
    if (n->memory_limit_bytes && host + gpu > n->memory_limit_bytes)
        world_fail(w, "%s: more is promised than it offers (memory =)", n->hello.name);
}

static void new_epoch(struct world *w, const struct cluster *c, const struct instance *i, struct instance_seen *seen)
{
    if (i->epoch < (w->check->restoring ? seen->sent : seen->epoch)) /* one that nobody was told of may be forgotten */
        world_fail(w, "instance %s: epoch %" PRIu64 " comes after %" PRIu64, i->name, i->epoch, seen->epoch);
    seen->epoch = i->epoch;
    if (i->plan && !w->check->restoring)
        check_transport(w, i);
    for (size_t m = 0; i->plan && m < i->run.n_members; m++) {
        const struct node *n = node_find(c, &i->run.member[m].node);

        if (n && !w->check->restoring)
            check_memory(w, c, n);
    }
}

/* ---- after each step --------------------------------------------------------------------------------------------- */

static void check_nodes(struct world *w, const struct cluster *c)
{
    for (size_t k = 0; k < c->nodes.n; k++) {
        const struct node *n = CLUSTER_NODE(c, k);
        const struct host *h = host_by_id(w, &n->id);

        if (!h)
            continue;
        if (w->check->restoring)
            w->check->node[h->n] = n->state;
        else if (w->check->node[h->n] != n->state)
            world_fail(w, "node %s is %s, and nothing said so", h->name, node_state_name(n->state));
    }
}

/* A node of another machine that has not told what is left there. */
static const struct member *unheard_member(const struct cluster *c, const struct instance *i)
{
    for (size_t m = 0; m < i->run.n_members; m++) {
        const struct node *n = node_find(c, &i->run.member[m].node);

        if (!n || (!n->complete && n->state != NODE_RETIRED && n->state != NODE_EVICTED))
            return &i->run.member[m];
    }
    return NULL;
}

static void check_deaf(struct world *w, const struct cluster *c, const struct instance *i, struct instance_seen *seen)
{
    bool was = seen->undecided;
    const struct member *m;

    seen->undecided = i->settle_ms != UINT64_MAX && i->run.n_members;
    if (!was || w->check->restoring || !brake_deaf(c))
        return;
    w->stats->checked[CHECK_DEAF]++;
    m = unheard_member(c, i);
    if (!seen->undecided && m && i->state != INSTANCE_STOPPING && !instance_state_ended(i->state))
        world_fail(w, "instance %s is %s, though the controller has no carrier and has not heard %s", i->name,
                   instance_state_name(i->state), m->name);
    if (seen->undecided && m && !brake_is_on(c))
        world_fail(w, "the controller has no carrier and waits for %s, and the brake is off", m->name);
}

static void check_instances(struct world *w, const struct cluster *c)
{
    for (size_t k = 0; k < c->instances.n; k++) {
        const struct instance *i = CLUSTER_INSTANCE(c, k);
        struct instance_seen *seen = check_instance(w, &i->id);

        if (w->check->restoring)
            seen->state = i->state;
        else if (seen->state != i->state)
            world_fail(w, "instance %s is %s, and nothing said so", i->name, instance_state_name(i->state));
        if (seen->epoch != i->epoch)
            new_epoch(w, c, i, seen);
        check_deaf(w, c, i, seen);
    }
}

static void check_tasks(struct world *w, const struct cluster *c)
{
    for (size_t k = 0; k < c->tasks.n; k++) {
        const struct view_task *t = &CLUSTER_TASK(c, k)->view;
        unsigned *seen = &w->check->task[t->id];

        assert(t->id < CHECK_TASKS);
        if (w->check->restoring || !*seen)
            *seen = t->state;
        else if (*seen != t->state)
            world_fail(w, "task %" PRIu64 " is %s, and nothing said so", t->id, task_state_name(t->state));
    }
}

void check_leader(struct world *w)
{
    const struct cluster *c = w->leader->c;

    w->stats->checked[CHECK_TABLE]++;
    check_nodes(w, c);
    check_instances(w, c);
    check_tasks(w, c);
    check_single_flight(w, c);
    if (brake_is_on(c))
        w->check->brake_ms = w->now_ms;
}

void check_restored(struct world *w, bool restoring)
{
    w->check->restoring = restoring;
}

void check_leader_gone(struct world *w)
{
    for (size_t i = 0; i < w->check->n_instances; i++) {
        struct instance_seen *seen = &w->check->instance[i];

        seen->routed = seen->over = seen->missing_ms = seen->heard_ms = seen->hung_ms = 0;
    }
    for (size_t n = 0; n <= w->n_hosts; n++) {
        w->check->node[n] = NODE_UNKNOWN;
        for (size_t i = 0; i < w->check->n_leases[n]; i++)
            w->check->lease[n][i].dead_ms = 0;
    }
    memset(w->check->task, 0, sizeof(w->check->task));
}

/* ---- what leaves ------------------------------------------------------------------------------------------------- */

void check_leader_sends(struct world *w, const struct host *to, const struct message *m)
{
    const struct record *r;
    struct instance_seen *seen;

    if (m->kind == MESSAGE_RELAY && m->relay.inner) {
        check_leader_sends(w, host_by_key(w, m->relay.key), m->relay.inner);
        return;
    }
    if (m->kind != MESSAGE_COMMAND || m->command.kind == COMMAND_KNOCK)
        return;
    seen = check_instance(w, &m->instance);
    if (m->command.kind == COMMAND_STOP) {
        check_stop_order(w, to, m);
        seen->stop_epoch = m->epoch > seen->stop_epoch ? m->epoch : seen->stop_epoch;
        world_say(w, "ctl > %s: stop %s epoch %" PRIu64, to ? to->name : "?", ID128_SHORT(&m->instance), m->epoch);
        return;
    }
    seen->sent = m->epoch > seen->sent ? m->epoch : seen->sent;
    w->stats->checked[CHECK_DURABLE]++;
    world_say(w, "ctl > %s: %s %s epoch %" PRIu64, to ? to->name : "?", command_kind_name(m->command.kind),
              ID128_SHORT(&m->instance), m->epoch);
    r = sim_store_instance(&w->leader->store, &m->instance);
    if (!r || r->i.epoch < m->epoch || !r->i.plan)
        world_fail(w, "%s of epoch %" PRIu64 " leaves before it is durable", command_kind_name(m->command.kind),
                   m->epoch);
}

void check_answer(struct world *w, uint64_t request_id, const struct cluster_answer *a)
{
    struct wish *wish;

    w->stats->checked[CHECK_ANSWER]++;
    if (!request_id || request_id > w->users->n_wishes) {
        world_fail(w, "an answer to nobody: request %" PRIu64, request_id);
        return;
    }
    wish = &w->users->wish[request_id];
    world_say(w, "ctl > answer: %s%s%s", a->accepted ? "accepted" : "refused: ", a->code, a->text);
    if (++wish->n_answers > 1)
        world_fail(w, "request %" PRIu64 " is answered twice", request_id);
    if (!a->accepted && (!a->code[0] || !a->text[0]))
        world_fail(w, "request %" PRIu64 " is refused without a word", request_id);
    wish->accepted = a->accepted;
    wish->task = a->task_id;
    if (wish->kind == ACTION_DEPLOY && a->accepted)
        check_deployed(w, &a->instance);
}

/* One may be followed by another that is due at once; not by one after the other. */
void check_time(struct world *w, const char *who, uint64_t deadline_ms, uint64_t now_ms)
{
    struct check *c = w->check;

    w->stats->checked[CHECK_TIME]++;
    if (deadline_ms > now_ms)
        return;
    c->n_same = c->same_ms == w->now_ms ? c->n_same + 1 : 1;
    c->same_ms = w->now_ms;
    if (c->n_same > CHECK_TICKS)
        world_fail(w, "%s: ticks come, and the same one is still due", who);
}

enum node_state check_node_state(const struct world *w, int host)
{
    return (enum node_state)w->check->node[host];
}

bool check_speaks(const struct world *w, const struct host *h, const char *addr)
{
    const struct node *n = w->leader->c ? node_find(w->leader->c, &h->id) : NULL;

    return n && strcmp(n->peer_addr, addr) == 0;
}

/* ---- the gateway ------------------------------------------------------------------------------------------------- */

void check_picture(struct world *w)
{
    for (size_t i = 0; i < w->leader->n_pictures; i++) {
        const struct picture *p = &w->leader->picture[i];
        struct instance_seen *seen = check_instance(w, &p->id);
        bool serves = p->state == INSTANCE_READY || p->state == INSTANCE_DRAINING;

        w->stats->checked[CHECK_ROUTE]++;
        if (!serves && seen->routed > seen->over)
            seen->over = seen->routed;
        if (!serves)
            continue;
        if (p->epoch <= seen->over || p->epoch < seen->routed)
            world_fail(w, "instance %s: epoch %" PRIu64 " is shown to the gateway after it was over", p->name,
                       p->epoch);
        seen->routed = p->epoch;
    }
}

void check_routed(struct world *w, const struct picture *p)
{
    const struct instance_seen *seen = check_instance(w, &p->id);

    w->stats->checked[CHECK_ROUTE]++;
    if (p->epoch != seen->routed || p->epoch <= seen->over)
        world_fail(w, "instance %s: a request goes to epoch %" PRIu64 ", which is over", p->name, p->epoch);
}

bool check_epoch_serves(struct world *w, const struct id128 *instance, uint64_t epoch)
{
    const struct instance *i = w->leader->c ? instance_find(w->leader->c, instance) : NULL;
    const struct instance_seen *seen = check_instance(w, instance);

    return i && i->state == INSTANCE_READY && i->epoch == epoch && seen->stop_epoch < epoch;
}
