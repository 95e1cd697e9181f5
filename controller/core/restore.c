#include "controller/core/restore.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/access.h"
#include "controller/core/api_keys.h"
#include "controller/core/brake.h"
#include "controller/core/effects.h"
#include "controller/core/instances.h"
#include "controller/core/lifecycle.h"
#include "controller/core/loading.h"
#include "controller/core/nodes.h"
#include "controller/core/planning.h"
#include "controller/core/recovery.h"
#include "controller/core/release.h"
#include "controller/core/retire.h"
#include "controller/core/sentence.h"
#include "controller/core/tasks.h"

/* ---- from the store --------------------------------------------------------------------------------------------- */

static int restore_plan(struct instance *i, const struct plan *plan)
{
    if (!plan || !planning_is_sound(plan))
        return 0;
    i->plan = plan_copy(plan);
    if (!i->plan)
        return err_raise(-ENOMEM);
    run_begin(&i->run, i->plan);
    for (size_t m = 0; m < i->run.n_members; m++) {
        i->run.member[m].told = true; /* nobody knows how far it came */
        i->run.member[m].leased = !instance_state_ended(i->state);
    }
    return 0;
}

static int restore_instance(struct step *s, const struct record *rec)
{
    const struct plan *pinned = rec->i.pinned && planning_is_sound(rec->i.pinned) ? rec->i.pinned : NULL;
    struct instance *i;
    int r;

    r = instance_add(s, &rec->instance, rec->i.name, &rec->i.request, pinned, &i);
    if (r)
        return err_fold(r);
    i->epoch = rec->i.epoch;
    i->state = rec->i.state;
    i->state_since_wall_ms = rec->wall_ms;
    i->placed = rec->i.epoch > 0 || rec->i.state == INSTANCE_WAITING;
    i->replica = rec->i.replica;
    i->demand = rec->i.demand;
    i->deploy_task = rec->i.deploy_task;
    i->served = rec->i.served;
    i->load_ms = rec->i.load_ms;
    i->follows = rec->i.follows;
    i->n_debts = rec->i.n_debts < DEBTS_MAX ? rec->i.n_debts : DEBTS_MAX;
    memcpy(i->debt, rec->i.debt, i->n_debts * sizeof(i->debt[0]));
    recovery_restore(&i->recovery, &rec->i);
    memcpy(i->reason, rec->i.reason, sizeof(i->reason));
    if (i->state == INSTANCE_STOPPED)
        i->remove_ms = s->now_ms + CLUSTER_STOPPED_SHOWN_MS;
    if (!instance_state_ended(i->state)) {
        i->stored = i->state;
        i->settle_ms = s->now_ms + s->c->config.settle_ms;
        if (i->state != INSTANCE_STOPPING)
            i->state = INSTANCE_RECOVERING; /* as it comes into being: no transition leads here */
    }
    return err_fold(restore_plan(i, rec->i.plan));
}

int restore_record(struct step *s, const struct record *rec)
{
    if (rec->gone)
        return 0;
    switch (rec->kind) {
    case RECORD_INSTANCE:
        if (rec->i.state < INSTANCE_REQUESTED || rec->i.state > INSTANCE_FAILED || instance_find(s->c, &rec->instance))
            return 0;
        return err_fold(restore_instance(s, rec));
    case RECORD_TASK:
        if (rec->task.state < TASK_PENDING || rec->task.state > TASK_CANCELLED || task_find(s->c, rec->task.id))
            return 0;
        return err_fold(task_restore(s, &rec->task));
    case RECORD_NODE:
        return err_fold(retire_restore(s, rec));
    case RECORD_KEY:
        return err_fold(access_restore(s, &rec->key));
    case RECORD_API_KEY:
        return err_fold(api_keys_restore(s, &rec->api_key));
    case RECORD_AUDIT:
        break;
    }
    return 0;
}

/* By number, so the last one is that which is going on. One before it has ended, and its end could not be written. */
static int rejoin_drain(struct step *s, const struct task *t)
{
    static const struct cause unwritten = {
        .code = "controller_restarted",
        .text = "how it ended could not be written down, and the controller was restarted; the node was drained again"};
    struct node *n = node_find(s->c, &t->view.instance);
    int r;

    if (!n || !n->draining)
        return err_fold(
            tasks_end(s, t->view.id, TASK_EV_CANCEL,
                      &(struct cause){.code = "undrained", .text = "the node is not being drained any more"}));
    r = tasks_end(s, n->drain_task, TASK_EV_FAIL, &unwritten);
    if (!r)
        r = step_node(s, n);
    if (r)
        return err_fold(r);
    n->drain_task = t->view.id;
    return 0;
}

static int never_done(struct step *s, const struct task *t)
{
    return err_fold(tasks_end(
        s, t->view.id, TASK_EV_FAIL,
        &(struct cause){.code = "controller_restarted", .text = "the controller was restarted before this was done"}));
}

/* By that task, or by the one that knows it: records of earlier versions do not know their task. */
static bool is_of(const struct instance *i, const struct task *t)
{
    return !instance_state_ended(i->state) && (i->deploy_task == t->view.id || id128_equal(&i->id, &t->view.instance));
}

static int rejoin_deploy(struct step *s, const struct task *t)
{
    bool found = false;
    int r = 0;

    for (size_t k = 0; !r && k < s->c->instances.n; k++) {
        struct instance *i = CLUSTER_INSTANCE(s->c, k);

        if (!is_of(i, t))
            continue;
        found = true;
        r = step_instance(s, i);
        if (r)
            break;
        i->deploy_task = t->view.id;
        if (i->state == INSTANCE_STOPPING)
            r = release_cancel_deploy(s, i);
    }
    return r || found ? err_fold(r) : err_fold(never_done(s, t));
}

/* Stopped by a task of its own, which ends with it. */
static bool has_own_stop(const struct cluster *c, const struct instance *i, const struct task *but)
{
    for (size_t k = 0; k < c->tasks.n; k++) {
        const struct task *t = CLUSTER_TASK(c, k);

        if (t != but && t->view.kind == TASK_STOP && !task_state_ended(t->view.state) &&
            id128_equal(&t->view.instance, &i->id))
            return true;
    }
    return false;
}

/* It may be for two that bear one name: one was to take the other's place. */
static int rejoin_stop(struct step *s, const struct task *t)
{
    bool found = false;
    int r;

    for (size_t k = 0; k < s->c->instances.n; k++) {
        struct instance *i = CLUSTER_INSTANCE(s->c, k);

        if (i->state != INSTANCE_STOPPING || strcmp(i->name, t->view.name) != 0 || has_own_stop(s->c, i, t) ||
            task_live(s->c, i->stop_task))
            continue;
        r = step_instance(s, i);
        if (r)
            return err_fold(r);
        i->stop_task = t->view.id;
        found = true;
    }
    return found ? 0 : err_fold(never_done(s, t));
}

/* Gives each task back to what it was for; one that has lost that can only have failed. */
static int rejoin_task(struct step *s, const struct task *t)
{
    switch (t->view.kind) {
    case TASK_DEPLOY:
        return err_fold(rejoin_deploy(s, t));
    case TASK_STOP:
        return task_state_ended(t->view.state) ? 0 : err_fold(rejoin_stop(s, t));
    case TASK_DRAIN:
        return task_state_ended(t->view.state) ? 0 : err_fold(rejoin_drain(s, t));
    }
    return err_fold(never_done(s, t));
}

int restore_begin(struct step *s)
{
    struct cluster *c = s->c;
    int r;

    c->numbers.settle_ms = s->now_ms + c->config.settle_ms;
    s->changed = true;
    for (size_t k = 0; k < c->tasks.n; k++) {
        r = rejoin_task(s, CLUSTER_TASK(c, k));
        if (r)
            return err_fold(r);
    }
    for (size_t k = 0; k < c->instances.n; k++) {
        struct instance *i = CLUSTER_INSTANCE(c, k);

        if (i->settle_ms == UINT64_MAX)
            continue;
        r = step_instance(s, i);
        if (r)
            return err_fold(r);
        i->settle_ms = i->run.n_members ? c->numbers.settle_ms : s->now_ms;
    }
    r = brake_silent(s);
    return r ? err_fold(r) : err_fold(access_begin(s));
}

/* ---- what the nodes say ----------------------------------------------------------------------------------------- */

/* Whatever it said last, nothing of it counts. */
static bool is_out(const struct node *n)
{
    return n->state == NODE_RETIRED || n->state == NODE_EVICTED;
}

/* A coordinator that loads does not answer yet. */
static bool is_there(const struct unit_facts *u)
{
    return u->state == UNIT_RUNNING || (u->role == UNIT_COORDINATOR && u->state == UNIT_STARTING);
}

static const struct unit_facts *living_unit(const struct cluster *c, const struct instance *i, const struct id128 *node,
                                            enum unit_role role, int32_t rank)
{
    const struct node *n = node_find(c, node);
    bool told = n && n->complete && n->units && !is_out(n);

    for (size_t u = 0; u < (told ? n->units->n : 0); u++) {
        const struct unit_facts *unit = &n->units->unit[u];

        if (unit->role == role && is_there(unit) && unit->epoch == i->epoch &&
            (role != UNIT_WORKER || unit->rank == rank) && id128_equal(&unit->instance, &i->id))
            return unit;
    }
    return NULL;
}

/* One of the epoch's processes on the node of rank k; NULL: it is missing, and named. */
static const struct unit_facts *find_unit(const struct cluster *c, const struct instance *i, enum unit_role role,
                                          size_t k, char *missing, size_t size)
{
    const struct unit_facts *u = living_unit(c, i, &i->plan->rank[k].node, role, (int32_t)k);

    if (!u && role == UNIT_COORDINATOR)
        text_format(missing, size, "its coordinator");
    else if (!u)
        lifecycle_unit_name(i, role, k, missing, size);
    return u;
}

static bool find_worker(const struct cluster *c, struct instance *i, size_t k, char *missing, size_t size)
{
    const struct unit_facts *u = find_unit(c, i, UNIT_WORKER, k, missing, size);

    if (!u)
        return false;
    i->run.rank[k].rss_bytes = u->rss_bytes;
    if (plan_is_tunnel(i->plan) && run_is_remote(&i->run, k))
        u = find_unit(c, i, UNIT_CARRIER, k, missing, size);
    if (!u)
        return false;
    text_format(i->run.rank[k].endpoint, sizeof(i->run.rank[k].endpoint), "%s:%" PRIu16, u->addr, u->port);
    return true;
}

static bool find_coordinator(const struct cluster *c, struct instance *i, char *missing, size_t size)
{
    const struct unit_facts *u = find_unit(c, i, UNIT_COORDINATOR, 0, missing, size);

    if (u && plan_is_tunnel(i->plan))
        u = find_unit(c, i, UNIT_CARRIER, 0, missing, size);
    if (!u)
        return false;
    memcpy(i->run.coordinator_addr, u->addr, sizeof(i->run.coordinator_addr));
    i->run.coordinator_port = u->port;
    return true;
}

/* Names the first unit that is missing; with none missing the run is filled in from what is there. */
static bool find_units(const struct cluster *c, struct instance *i, char *missing, size_t size)
{
    if (!i->run.n_ranks) {
        text_format(missing, size, "its coordinator");
        return false;
    }
    for (size_t k = 0; k < i->run.n_ranks; k++) {
        if (!i->plan->rank[k].local && !find_worker(c, i, k, missing, size))
            return false;
    }
    return find_coordinator(c, i, missing, size);
}

static bool is_awaited(const struct cluster *c, const struct member *m)
{
    const struct node *n = node_find(c, &m->node);

    return !n || (!n->complete && !is_out(n));
}

static size_t count_awaited(const struct cluster *c, const struct instance *i)
{
    size_t sum = 0;

    for (size_t m = 0; m < i->run.n_members; m++)
        sum += is_awaited(c, &i->run.member[m]);
    return sum;
}

bool restore_waits(const struct cluster *c, const struct instance *i, char *buf, size_t size)
{
    size_t left = i->settle_ms == UINT64_MAX ? 0 : count_awaited(c, i);

    if (!left)
        return false;
    text_format(buf, size, "waiting for ");
    for (size_t m = 0; m < i->run.n_members; m++) {
        if (is_awaited(c, &i->run.member[m]))
            sentence_add(buf, size, "%s%s", i->run.member[m].name, --left > 1 ? ", " : left ? " and " : "");
    }
    sentence_add(buf, size, " to report after the controller's restart");
    return true;
}

/* ---- until when -------------------------------------------------------------------------------------------------- */

bool restore_undecided(const struct cluster *c)
{
    for (size_t k = 0; k < c->instances.n; k++) {
        const struct instance *i = CLUSTER_INSTANCE(c, k);

        if (i->settle_ms != UINT64_MAX && i->run.n_members)
            return true;
    }
    return false;
}

uint64_t restore_due_ms(const struct cluster *c, const struct instance *i)
{
    return brake_deaf(c) && i->run.n_members ? UINT64_MAX : i->settle_ms;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a < b ? b : a;
}

int restore_wait_on(struct step *s)
{
    uint64_t until_ms = s->now_ms + s->c->config.settle_ms;
    int r = 0;

    s->c->numbers.settle_ms = later(s->c->numbers.settle_ms, until_ms);
    for (size_t k = 0; !r && k < s->c->instances.n; k++) {
        struct instance *i = CLUSTER_INSTANCE(s->c, k);

        r = journal_change(&s->journal, &i->settle_ms, sizeof(i->settle_ms));
        if (!r)
            i->settle_ms = later(i->settle_ms, until_ms);
    }
    return err_fold(r);
}

/* ---- the decision ------------------------------------------------------------------------------------------------- */

int restore_observe(struct step *s, struct instance *i)
{
    int r;

    if (count_awaited(s->c, i))
        return 0;
    r = step_instance(s, i);
    if (r)
        return err_fold(r);
    return err_fold(restore_decide(s, i));
}

int restore_heard(struct step *s, struct instance *i, const struct agent_event_facts *ev)
{
    struct agent_event_facts *copy;
    int r;

    if (ev->kind == AGENT_EVENT_LISTENING) {
        r = step_instance(s, i);
        if (r)
            return err_fold(r);
        i->early_listening = true;
    }
    if (ev->kind != AGENT_EVENT_RANK_BUFFERS)
        return 0; /* its nodes' reports will show what runs */
    copy = malloc(sizeof(*copy));
    if (!copy)
        return err_raise(-ENOMEM);
    *copy = *ev;
    return err_fold(journal_replace(&s->journal, &i->early, copy, free));
}

int instance_on_found(struct step *s, struct instance *i, const struct cause *cause)
{
    const struct agent_event_facts listening = {.kind = AGENT_EVENT_LISTENING};
    int r;

    (void)cause;
    r = loading_started(s, i, i->run.coordinator_addr, i->run.coordinator_port);
    if (!r && i->early)
        r = loading_event(s, i, i->early);
    if (!r && i->early_listening)
        r = loading_event(s, i, &listening);
    if (r)
        return err_fold(r);
    return err_fold(journal_replace(&s->journal, &i->early, NULL, free));
}

/* Its epoch was to run: does it? */
static int find(struct step *s, struct instance *i)
{
    char missing[PROTO_NAME_MAX + 32] = "";
    bool loaded = i->stored == INSTANCE_READY || i->stored == INSTANCE_DRAINING;

    if (!find_units(s->c, i, missing, sizeof(missing)))
        return err_fold(lifecycle_trouble(s, i, NULL, "controller_restarted",
                                          "after the controller's restart %s did not run any more", missing));
    i->run.load_began = loaded;
    return err_fold(instance_event(s, i, loaded ? INSTANCE_EV_ADOPTED : INSTANCE_EV_FOUND, NULL));
}

int restore_decide(struct step *s, struct instance *i)
{
    i->settle_ms = UINT64_MAX;
    if (instance_state_runs(i->stored))
        return err_fold(find(s, i));
    return err_fold(release_begin(s, i)); /* its epoch was over: it goes on from there */
}
