#include "controller/core/nodes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"
#include "common/core/sat.h"
#include "common/core/text.h"
#include "controller/core/brake.h"
#include "controller/core/effects.h"
#include "controller/core/flows.h"
#include "controller/core/hang.h"
#include "controller/core/hearing.h"
#include "controller/core/hello.h"
#include "controller/core/knocks.h"
#include "controller/core/neighbours.h"
#include "controller/core/release.h"
#include "controller/core/restore.h"

size_t node_index(const struct cluster *c, const struct id128 *id)
{
    size_t low = 0, high = c->nodes.n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (id128_compare(&CLUSTER_NODE(c, middle)->id, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct node *node_find(const struct cluster *c, const struct id128 *id)
{
    size_t i = node_index(c, id);

    return i < c->nodes.n && id128_equal(&CLUSTER_NODE(c, i)->id, id) ? CLUSTER_NODE(c, i) : NULL;
}

struct node *node_by_key(const struct cluster *c, const char *key)
{
    for (size_t k = 0; k < c->nodes.n; k++) {
        if (!strcmp(CLUSTER_NODE(c, k)->key, key))
            return CLUSTER_NODE(c, k);
    }
    return NULL;
}

/* Whether who has not come since we began has had his time. */
static bool settled(const struct cluster *c, uint64_t now_ms)
{
    return now_ms >= c->numbers.settle_ms && !brake_deaf(c);
}

bool node_gone(const struct cluster *c, const struct id128 *id, uint64_t now_ms)
{
    const struct node *n = node_find(c, id);

    if (!n)
        return settled(c, now_ms);
    switch (n->state) {
    case NODE_STUCK:
    case NODE_LOST:
    case NODE_EVICTED:
    case NODE_RETIRED:
        return true;
    case NODE_SUSPECT:
        return knocks_unanswered(n);
    case NODE_UNKNOWN: /* an operator's word on it was in the store */
        return settled(c, now_ms);
    case NODE_JOINING:
    case NODE_READY:
    case NODE_DRAINING:
    case NODE_DRAINED:
        break;
    }
    return false;
}

const struct unit_facts *node_unit(const struct node *n, const struct instance *i, enum unit_role role, int32_t rank)
{
    for (size_t u = 0; u < (n && n->units ? n->units->n : 0); u++) {
        const struct unit_facts *unit = &n->units->unit[u];

        if (unit->role == role && unit->epoch == i->epoch && (role != UNIT_WORKER || unit->rank == rank) &&
            id128_equal(&unit->instance, &i->id))
            return unit;
    }
    return NULL;
}

const char *node_carrier_key(const struct cluster *c, const struct instance *i)
{
    const struct node *n = i->plan && plan_is_tunnel(i->plan) ? node_find(c, &i->plan->rank[0].node) : NULL;

    return n ? n->key : "";
}

const char *node_addr(const struct node *n)
{
    return n->hello.n_addrs ? n->hello.addr[0] : n->peer_addr;
}

bool node_peer(const struct node *n, struct peer_facts *ret)
{
    *ret = (struct peer_facts){.node = n->id, .port = n->hello.port, .n_addrs = n->hello.n_addrs};
    memcpy(ret->name, n->hello.name, sizeof(ret->name));
    memcpy(ret->key, n->key, sizeof(ret->key));
    memcpy(ret->addr, n->hello.addr, sizeof(ret->addr));
    if (!ret->n_addrs && n->peer_addr[0])
        memcpy(ret->addr[ret->n_addrs++], n->peer_addr, sizeof(ret->addr[0]));
    return ret->port && ret->n_addrs;
}

void node_set_carrier(struct step *s, struct node *n, const struct node *carrier)
{
    const struct id128 via = carrier ? carrier->id : (struct id128){{0}};

    s->changed |= !id128_equal(&via, &n->via);
    n->via = via;
    if (!carrier)
        n->direct_ms = s->now_ms;
}

/* ---- report ----------------------------------------------------------------------------------------------------- */

/* As it was told before; NULL: it is new. */
static const struct unit_facts *same_unit(const struct node *n, const struct unit_facts *unit)
{
    for (size_t i = 0; i < (n->units ? n->units->n : 0); i++)
        if (!strcmp(n->units->unit[i].id, unit->id))
            return &n->units->unit[i];
    return NULL;
}

/* What grew is added to the node's own counts, which outlive the carrier. An agent that was started anew may not have read its
 * carrier's yet: counts that went back stay as they were. */
static void count_carrier(struct node *n, struct unit_facts *unit)
{
    const struct unit_facts *before = same_unit(n, unit);
    uint64_t n_refused = before ? before->n_refused : 0, n_unreached = before ? before->n_unreached : 0;

    unit->n_refused = sat_max(unit->n_refused, n_refused);
    unit->n_unreached = sat_max(unit->n_unreached, n_unreached);
    n->n_refused = sat_add(n->n_refused, unit->n_refused - n_refused);
    n->n_unreached = sat_add(n->n_unreached, unit->n_unreached - n_unreached);
}

static int take_units(struct step *s, struct node *n, const struct report *report)
{
    size_t n_bytes = report->n_units * sizeof(struct unit_facts);
    struct unit_list *list = malloc(sizeof(*list) + n_bytes);

    if (!list)
        return err_raise(-ENOMEM);
    list->n = report->n_units;
    memcpy(list->unit, report->unit, n_bytes);
    /* at hello no worker had answered yet: which protocol they speak is known from the first one that did */
    for (size_t i = 0; i < list->n; i++)
        if (list->unit[i].role == UNIT_WORKER && list->unit[i].rpc.major)
            n->hello.rpc = list->unit[i].rpc;
        else if (list->unit[i].role == UNIT_CARRIER)
            count_carrier(n, &list->unit[i]);
    return err_fold(journal_replace(&s->journal, &n->units, list, free));
}

/* The array moves over: a node's models with their shapes may be megabytes. */
static int take_models(struct step *s, struct node *n, struct report *report)
{
    struct inventory *inv = calloc(1, sizeof(*inv));
    int r;

    if (!inv)
        return err_raise(-ENOMEM);
    inv->n = report->n_models;
    r = journal_replace(&s->journal, &n->models, inv, inventory_free);
    if (r)
        return err_fold(r);
    r = journal_replace(&s->journal, &inv->model, report->model, NULL);
    if (r)
        return err_fold(r);
    r = journal_replace(&s->journal, &report->model, NULL, NULL);
    if (r)
        return err_fold(r);
    r = journal_change(&s->journal, &report->n_models, sizeof(report->n_models));
    if (r)
        return err_fold(r);
    report->n_models = 0;
    s->c->numbers.boot_ms = s->c->n_served ? s->now_ms : UINT64_MAX;
    return 0;
}

/* Models come with the first full report of a link and when they change: their shapes are too long for every ten seconds. */
static int take_lists(struct step *s, struct node *n, struct report *report)
{
    int r = 0;

    if (report->has_devices || report->full) {
        n->n_devices = report->n_devices;
        memcpy(n->device, report->device, report->n_devices * sizeof(n->device[0]));
    }
    if (report->has_units || report->full)
        r = take_units(s, n, report);
    if (!r && report->has_models)
        r = take_models(s, n, report);
    return err_fold(r);
}

static int take_report(struct step *s, struct node *n, struct report *report)
{
    int r = step_node(s, n);

    if (r)
        return err_fold(r);
    n->last_report_ms = s->now_ms;
    n->load_permille = report->load_permille;
    n->memory_limit_bytes = report->memory_limit_bytes;
    n->host_total_bytes = report->host_total_bytes;
    n->host_free_bytes = report->host_free_bytes;
    n->owed_host_bytes = 0; /* what it measured now is after the end of those leases */
    memset(n->owed_device_bytes, 0, sizeof(n->owed_device_bytes));
    n->n_leases = report->n_leases;
    memcpy(n->lease, report->lease, report->n_leases * sizeof(n->lease[0]));
    n->complete |= report->full;
    r = take_lists(s, n, report);
    return r ? err_fold(r) : err_fold(flows_hear(s, n, report));
}

int nodes_report(struct step *s, struct node *n, struct message *m)
{
    struct report *report = m->report;
    bool units = report->has_units || report->full;
    int r;

    if (node_cell(n->state, NODE_EV_REPORT)->verdict != GO)
        return err_fold(node_event(s, n, NODE_EV_REPORT, NULL));
    r = take_report(s, n, report);
    if (r)
        return err_fold(r);
    r = node_event(s, n, n->complete ? NODE_EV_REPORT : NODE_EV_PARTIAL, NULL);
    if (r)
        return err_fold(r);
    if (units && n->complete) {
        r = hear_units(s, n);
        if (r)
            return err_fold(r);
    }
    return err_fold(release_sweep(s, n, report->full));
}

int nodes_seen(struct step *s, struct node *n, const struct message *m, const struct node *carrier)
{
    int r = journal_change(&s->journal, n, sizeof(*n));

    if (r)
        return err_fold(r);
    node_set_carrier(s, n, carrier);
    n->last_seen_ms = n->heard_ms = s->now_ms;
    n->n_unknown_fields += m->n_unknown;
    return 0;
}

/* ---- silence ---------------------------------------------------------------------------------------------------- */

int node_on_silent(struct step *s, struct node *n, const struct cause *cause)
{
    int r;

    (void)cause;
    n->silent_since_ms = s->now_ms;
    r = hear_node_disturbed(s, n);
    if (!r)
        r = brake_silent(s);
    if (r)
        return err_fold(r);
    return err_fold(knocks_begin(s, n));
}

int node_on_lost(struct step *s, struct node *n, const struct cause *cause)
{
    int r;

    (void)cause;
    r = neighbours_carrier_gone(s, n);
    if (r)
        return err_fold(r);
    return err_fold(hear_node_lost(s, n));
}

int node_on_stuck(struct step *s, struct node *n, const struct cause *cause)
{
    int r;

    (void)cause;
    r = neighbours_carrier_gone(s, n);
    if (r)
        return err_fold(r);
    return err_fold(hear_node_silent(s, n));
}

int node_on_ready(struct step *s, struct node *n, const struct cause *cause)
{
    int r = hear_node_disturbed(s, n);

    (void)cause;
    if (r)
        return err_fold(r);
    if (n->draining)
        return err_fold(node_event(s, n, NODE_EV_DRAIN, &(struct cause){.text = "it was being drained before"}));
    return 0;
}

int node_on_retired(struct step *s, struct node *n, const struct cause *cause)
{
    int r;

    (void)cause;
    r = neighbours_carrier_gone(s, n);
    if (!r)
        r = hear_node_retired(s, n);
    if (!r && n->joined)
        r = hello_dismiss(s, n, node_cell(NODE_RETIRED, NODE_EV_HELLO)->sentence);
    return err_fold(r);
}

bool nodes_listens_for(const struct node *n)
{
    switch (n->state) {
    case NODE_JOINING:
    case NODE_READY:
    case NODE_DRAINING:
        return true;
    case NODE_SUSPECT: /* knocks.h decides */
    case NODE_STUCK:
    case NODE_LOST:
    case NODE_UNKNOWN:
    case NODE_EVICTED:
    case NODE_DRAINED: /* may be switched off */
    case NODE_RETIRED:
        break;
    }
    return false;
}

static uint64_t silence_due_ms(const struct cluster *c, const struct node *n)
{
    return nodes_listens_for(n) ? n->last_seen_ms + c->config.silent_ms : UINT64_MAX;
}

int nodes_tick(struct step *s)
{
    char text[96];
    int r;

    if (nodes_quiet(s))
        return 0;
    for (size_t i = 0; i < s->c->nodes.n; i++) {
        struct node *n = CLUSTER_NODE(s->c, i);

        if (silence_due_ms(s->c, n) > s->now_ms)
            continue;
        text_format(text, sizeof(text), "nothing heard for %" PRIu64 " ms", s->now_ms - n->last_seen_ms);
        r = node_event(s, n, NODE_EV_SILENT, &(struct cause){.text = text});
        if (r)
            return err_fold(r);
    }
    return 0;
}

uint64_t nodes_due_ms(const struct cluster *c)
{
    uint64_t due = UINT64_MAX;

    for (size_t i = 0; i < c->nodes.n; i++) {
        uint64_t at = silence_due_ms(c, CLUSTER_NODE(c, i));

        due = at < due ? at : due;
    }
    return due < c->numbers.quiet_ms ? c->numbers.quiet_ms : due;
}

/* ---- our own suspend -------------------------------------------------------------------------------------------- */

/* What was heard before is as old as the suspend was long, which our clock does not show: nobody was silent but us. */
static int forget_silence(struct step *s, struct node *n)
{
    int r = step_node(s, n);

    if (r)
        return err_fold(r);
    n->last_seen_ms = s->now_ms;
    n->heard_ms = n->direct_ms = 0;
    if (n->knock.due_ms != UINT64_MAX)
        n->knock = (struct knock){.due_ms = s->c->numbers.quiet_ms};
    return 0;
}

int nodes_resumed(struct step *s)
{
    int r = restore_wait_on(s);

    s->c->numbers.quiet_ms = s->now_ms + s->c->config.settle_ms;
    for (size_t k = 0; !r && k < s->c->nodes.n; k++)
        r = forget_silence(s, CLUSTER_NODE(s->c, k));
    for (size_t k = 0; !r && k < s->c->instances.n; k++)
        r = hang_cut_off(s, CLUSTER_INSTANCE(s->c, k));
    return err_fold(r);
}

bool nodes_quiet(const struct step *s)
{
    return s->now_ms < s->c->numbers.quiet_ms;
}
