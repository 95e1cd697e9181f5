#include "controller/core/nodes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/effects.h"
#include "controller/core/hearing.h"
#include "controller/core/release.h"

/* Index of the node, or where it would be. */
static size_t node_index(const struct cluster *c, const struct id128 *id)
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

bool node_gone(const struct cluster *c, const struct id128 *id, uint64_t now_ms)
{
    const struct node *n = node_find(c, id);

    if (!n)
        return now_ms >= c->numbers.settle_ms;
    return n->state == NODE_LOST || n->state == NODE_EVICTED || n->state == NODE_RETIRED;
}

const char *node_addr(const struct node *n)
{
    return n->hello.n_addrs ? n->hello.addr[0] : n->peer_addr;
}

/* ---- hello ------------------------------------------------------------------------------------------------------ */

static bool still_reports(const struct node *n, const struct cluster *c, uint64_t now_ms)
{
    return !node_gone(c, &n->id, now_ms) && now_ms - n->last_seen_ms < c->config.silent_ms;
}

/* Whether a hello must be refused; why: the sentence, then. n: who has this key already, or NULL. */
static bool hello_is_bad(const struct step *s, const struct node *n, const struct cluster_ev *ev, char *why,
                         size_t size)
{
    const struct message *m = ev->message;
    const struct hello *h = &m->hello;
    const struct cluster *c = s->c;

    if (m->version_major != PROTOCOL_MAJOR)
        text_format(why, size,
                    "it speaks protocol %" PRIu32 ", this controller %d: install the same version of Caravan on both",
                    m->version_major, (int)PROTOCOL_MAJOR);
    else if (!id128_is_zero(&m->cluster) && !id128_equal(&m->cluster, &c->config.cluster))
        text_format(why, size, "it belongs to cluster %s, this is %s: remove it there first", ID128_SHORT(&m->cluster),
                    ID128_SHORT(&c->config.cluster));
    else if (!id128_equal(&h->node, &ev->node))
        text_format(why, size, "its id %s does not follow from its key", ID128_SHORT(&h->node));
    else if (n && n->joined && strcmp(n->hello.boot_id, h->boot_id) != 0 && still_reports(n, c, s->now_ms))
        text_format(
            why, size,
            "duplicate_identity: %s and %s use the same key at the same time; remove the state directory of the copy",
            n->peer_addr, ev->peer_addr);
    else if (!n && c->nodes.n >= CLUSTER_NODES_MAX)
        text_format(why, size, "there are %d nodes already, which is as many as a cluster may have",
                    (int)CLUSTER_NODES_MAX);
    else if (n && node_cell(n->state, NODE_EV_HELLO)->verdict == REFUSE)
        text_format(why, size, "%s", node_cell(n->state, NODE_EV_HELLO)->sentence);
    else
        return false;
    return true;
}

static int send_welcome(struct step *s, const struct cluster_ev *ev, const char *refused)
{
    CLEANUP(message_destroy) struct message *m = calloc(1, sizeof(*m));
    const struct cluster_config *config = &s->c->config;

    if (!m)
        return err_raise(-ENOMEM);
    m->kind = MESSAGE_WELCOME;
    m->version_major = PROTOCOL_MAJOR;
    m->version_minor = PROTOCOL_MINOR;
    m->cluster = config->cluster;
    m->term = config->term;
    m->welcome.controller = config->controller;
    text_format(m->welcome.name, sizeof(m->welcome.name), "%s", config->name);
    text_format(m->welcome.version, sizeof(m->welcome.version), "%s", CARAVAN_VERSION);
    m->welcome.open = config->trust_open;
    text_format(m->welcome.refused, sizeof(m->welcome.refused), "%s", refused);
    return err_fold(fx_send(s, ev->key, ev->peer_addr, &m));
}

static int node_add(struct step *s, const struct cluster_ev *ev, struct node **ret)
{
    struct node *n = calloc(1, sizeof(*n));
    int r;

    if (!n)
        return err_raise(-ENOMEM);
    n->id = ev->node;
    text_format(n->key, sizeof(n->key), "%s", ev->key);
    n->state = NODE_UNKNOWN;
    r = journal_add(&s->journal, &s->c->nodes, node_index(s->c, &ev->node), n, node_free);
    if (r)
        return err_fold(r);
    *ret = n;
    return 0;
}

/* Both are kept: a name is a name tag, the key says who it is. */
static const struct node *namesake(const struct cluster *c, const struct node *n)
{
    for (size_t i = 0; i < c->nodes.n; i++) {
        const struct node *other = CLUSTER_NODE(c, i);

        if (other != n && other->joined && !strcmp(other->hello.name, n->hello.name))
            return other;
    }
    return NULL;
}

static int refuse_hello(struct step *s, struct node *n, const struct cluster_ev *ev, const char *why)
{
    const struct cause cause = {.code = "bad_hello", .text = why};
    int r;

    r = n ? node_event(s, n, NODE_EV_BAD_HELLO, &cause)
          : node_refuse_stranger(s, ev->message->hello.name, NODE_EV_BAD_HELLO, &cause);
    if (r)
        return err_fold(r);
    return err_fold(send_welcome(s, ev, why));
}

int nodes_hello(struct step *s, const struct cluster_ev *ev)
{
    struct node *n = node_find(s->c, &ev->node);
    char why[PROTO_TEXT_MAX] = "";
    const struct node *other;
    int r;

    if (hello_is_bad(s, n, ev, why, sizeof(why)))
        return err_fold(refuse_hello(s, n, ev, why));
    r = n ? step_node(s, n) : node_add(s, ev, &n);
    if (r)
        return err_fold(r);
    n->hello = ev->message->hello;
    if (!n->hello.name[0])
        id128_short(&n->id, n->hello.name);
    text_format(n->peer_addr, sizeof(n->peer_addr), "%s", ev->peer_addr);
    n->last_seen_ms = s->now_ms;
    n->joined_wall_ms = s->wall_ms;
    n->joined = true;
    n->complete = false;
    n->n_unknown_fields += ev->message->n_unknown;
    s->changed = true;
    other = namesake(s->c, n);
    if (other)
        text_format(why, sizeof(why), "node %s has the same name", ID128_SHORT(&other->id));
    r = node_event(s, n, NODE_EV_HELLO, &(struct cause){.text = why});
    if (r)
        return err_fold(r);
    return err_fold(send_welcome(s, ev, ""));
}

/* ---- report ----------------------------------------------------------------------------------------------------- */

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
    n->complete |= report->full;
    return err_fold(take_lists(s, n, report));
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
    return err_fold(release_sweep(s, n));
}

int nodes_seen(struct step *s, struct node *n, const struct message *m)
{
    int r = journal_change(&s->journal, n, sizeof(*n));

    if (r)
        return err_fold(r);
    n->last_seen_ms = s->now_ms;
    n->n_unknown_fields += m->n_unknown;
    return 0;
}

/* ---- silence ---------------------------------------------------------------------------------------------------- */

int node_on_lost(struct step *s, struct node *n, const struct cause *cause)
{
    (void)cause;
    return err_fold(hear_node_lost(s, n));
}

/* When the silence of a node means something next, and what. */
static uint64_t silence_due_ms(const struct cluster *c, const struct node *n, enum node_event *ret)
{
    switch (n->state) {
    case NODE_JOINING:
    case NODE_READY:
    case NODE_DRAINING:
        *ret = NODE_EV_SILENT;
        return n->last_seen_ms + c->config.silent_ms;
    case NODE_SUSPECT: /* knocks.h decides */
    case NODE_UNKNOWN:
    case NODE_LOST:
    case NODE_EVICTED:
    case NODE_STUCK:
    case NODE_DRAINED:
    case NODE_RETIRED:
        break;
    }
    *ret = NODE_EV_SILENT;
    return UINT64_MAX;
}

int nodes_tick(struct step *s)
{
    enum node_event event;
    char text[96];
    int r;

    for (size_t i = 0; i < s->c->nodes.n; i++) {
        struct node *n = CLUSTER_NODE(s->c, i);

        while (silence_due_ms(s->c, n, &event) <= s->now_ms) {
            text_format(text, sizeof(text), "nothing heard for %" PRIu64 " ms", s->now_ms - n->last_seen_ms);
            r = node_event(s, n, event, &(struct cause){.text = text});
            if (r)
                return err_fold(r);
        }
    }
    return 0;
}

uint64_t nodes_due_ms(const struct cluster *c)
{
    uint64_t due = UINT64_MAX;
    enum node_event event;

    for (size_t i = 0; i < c->nodes.n; i++) {
        uint64_t at = silence_due_ms(c, CLUSTER_NODE(c, i), &event);

        due = at < due ? at : due;
    }
    return due;
}

/* ---- what operators and machines say ----------------------------------------------------------------------------- */

int nodes_retire(struct step *s, const struct cluster_ev *ev)
{
    (void)s;
    (void)ev;
    return 0;
}

int nodes_resumed(struct step *s)
{
    (void)s;
    return 0;
}
