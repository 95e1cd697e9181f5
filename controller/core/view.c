#include "controller/core/view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "controller/core/access.h"
#include "controller/core/brake.h"
#include "controller/core/instances.h"
#include "controller/core/loading.h"
#include "controller/core/nodes.h"
#include "controller/core/offers.h"
#include "controller/core/state.h"
#include "controller/core/view_instances.h"
#include "controller/core/view_served.h"

/* ---- nodes ------------------------------------------------------------------------------------------------------ */

static void fill_node(const struct cluster *c, const struct node *n, uint64_t now_ms, struct view_node *v)
{
    const struct node *carrier = id128_is_zero(&n->via) ? NULL : node_find(c, &n->via);

    v->id = n->id;
    memcpy(v->key, n->key, sizeof(v->key));
    v->state = n->state;
    v->joined = n->joined;
    v->hello = n->hello;
    memcpy(v->peer_addr, n->peer_addr, sizeof(v->peer_addr));
    v->last_report_ms = n->last_report_ms ? now_ms - n->last_report_ms : now_ms - n->last_seen_ms;
    v->joined_wall_ms = n->joined_wall_ms;
    v->load_permille = n->load_permille;
    v->memory_limit_bytes = n->memory_limit_bytes;
    v->host_total_bytes = n->host_total_bytes;
    v->host_free_bytes = n->host_free_bytes;
    v->leased_bytes = offers_leased_bytes(c, n);
    v->n_devices = n->n_devices;
    memcpy(v->device, n->device, n->n_devices * sizeof(v->device[0]));
    v->n_units = n->units ? n->units->n : 0;
    if (n->units)
        memcpy(v->unit, n->units->unit, n->units->n * sizeof(v->unit[0]));
    v->n_models = n->models ? n->models->n : 0;
    v->n_unknown_fields = n->n_unknown_fields;
    v->n_refused = n->n_refused;
    v->n_unreached = n->n_unreached;
    if (carrier)
        memcpy(v->via, carrier->hello.name, sizeof(v->via));
    v->own_host = brake_own_host(c, n);
    memcpy(v->reason, n->reason, sizeof(v->reason));
}

static void fill_brake(const struct cluster *c, struct view *v)
{
    v->carrier = brake_carrier(c);
    v->brake.on = c->brake.on;
    v->brake.since_wall_ms = c->brake.on ? c->brake.since_wall_ms : 0;
    memcpy(v->brake.text, c->brake.text, sizeof(v->brake.text));
}

static int by_name(const void *a, const void *b)
{
    const struct view_node *x = a, *y = b;
    int order = strcmp(x->hello.name, y->hello.name);

    return order ? order : id128_compare(&x->id, &y->id);
}

static int view_nodes(const struct cluster *c, uint64_t now_ms, struct view *v)
{
    v->node = calloc(c->nodes.n + 1, sizeof(*v->node));
    if (!v->node)
        return err_raise(-ENOMEM);
    for (size_t k = 0; k < c->nodes.n; k++)
        fill_node(c, CLUSTER_NODE(c, k), now_ms, &v->node[v->n_nodes++]);
    qsort(v->node, v->n_nodes, sizeof(*v->node), by_name);
    return 0;
}

/* ---- tasks ------------------------------------------------------------------------------------------------------ */

/* How far its load is, where carriers tell: until it has an outcome that is what there is to say of it. */
static void fill_progress(const struct cluster *c, struct view_task *t)
{
    const struct instance *i = instance_find(c, &t->instance);

    if (t->kind == TASK_DEPLOY && t->state == TASK_RUNNING && i && i->state == INSTANCE_LOADING)
        loading_text(i, t->text, sizeof(t->text));
}

static int view_tasks(const struct cluster *c, struct view *v)
{
    size_t n = c->tasks.n < CLUSTER_TASKS_MAX ? c->tasks.n : CLUSTER_TASKS_MAX;

    v->task = calloc(n + 1, sizeof(*v->task));
    if (!v->task)
        return err_raise(-ENOMEM);
    for (size_t k = c->tasks.n; v->n_tasks < n; v->n_tasks++) {
        v->task[v->n_tasks] = CLUSTER_TASK(c, --k)->view;
        fill_progress(c, &v->task[v->n_tasks]);
    }
    return 0;
}

/* ---- models ----------------------------------------------------------------------------------------------------- */

/* A model file and who holds it, before they are put together. */
struct holder {
    const struct model_facts *facts;
    const struct node *node;
};

/* By name; under one name the usable and newest first, as planning_model chooses; then by node. */
static int by_model(const void *a, const void *b)
{
    const struct holder *x = a, *y = b;
    int order = strcmp(x->facts->name, y->facts->name);
    bool x_good = x->facts->shape && !x->facts->problem[0];
    bool y_good = y->facts->shape && !y->facts->problem[0];

    if (order)
        return order;
    if (x_good != y_good)
        return x_good ? -1 : 1;
    if (x->facts->mtime_wall_ms != y->facts->mtime_wall_ms)
        return x->facts->mtime_wall_ms > y->facts->mtime_wall_ms ? -1 : 1;
    return id128_compare(&x->node->id, &y->node->id);
}

static void fill_model(const struct model_facts *f, struct view_model *v)
{
    memcpy(v->name, f->name, sizeof(v->name));
    v->size_bytes = f->size_bytes;
    v->header_hash = f->header_hash;
    memcpy(v->problem, f->problem, sizeof(v->problem));
    if (!f->shape)
        return;
    v->n_layer = f->shape->n_layer;
    v->n_ctx_train = f->shape->n_ctx_train;
    memcpy(v->arch, f->shape->arch, sizeof(v->arch));
}

static void add_holder(const struct holder *h, struct view_model *v)
{
    if (v->n_nodes < sizeof(v->node) / sizeof(v->node[0])) {
        v->node[v->n_nodes] = h->node->id;
        memcpy(v->node_name[v->n_nodes], h->node->hello.name, sizeof(v->node_name[0]));
        v->index_permille[v->n_nodes] = h->facts->index_permille;
    }
    v->n_nodes++;
}

static size_t list_holders(const struct cluster *c, struct holder *ret)
{
    size_t n = 0;

    for (size_t k = 0; k < c->nodes.n; k++) {
        const struct node *node = CLUSTER_NODE(c, k);

        for (size_t m = 0; m < (node->models ? node->models->n : 0); m++, n++) {
            if (ret)
                ret[n] = (struct holder){.facts = &node->models->model[m], .node = node};
        }
    }
    return n;
}

static int view_models(const struct cluster *c, struct view *v)
{
    size_t n = list_holders(c, NULL);
    CLEANUP(cleanup_free) struct holder *holder = calloc(n + 1, sizeof(*holder));

    v->model = calloc(n + 1, sizeof(*v->model));
    if (!holder || !v->model)
        return err_raise(-ENOMEM);
    list_holders(c, holder);
    qsort(holder, n, sizeof(*holder), by_model);
    for (size_t k = 0; k < n; k++) {
        struct view_model *last = v->n_models ? &v->model[v->n_models - 1] : NULL;

        if (!last || strcmp(last->name, holder[k].facts->name) != 0) {
            last = &v->model[v->n_models++];
            fill_model(holder[k].facts, last);
        }
        if (holder[k].facts->header_hash == last->header_hash)
            add_holder(&holder[k], last);
    }
    return 0;
}

/* ---- refusals --------------------------------------------------------------------------------------------------- */

static void add_refusal(struct view_refusal *ret, size_t *n, const char *machine, const char *state, const char *event,
                        uint64_t count)
{
    if (ret)
        ret[*n] = (struct view_refusal){.machine = machine, .state = state, .event = event, .n = count};
    (*n)++;
}

/* Every cell that can refuse, at 0 too: a counter that only appears with its first event is missed by whoever watches. */
static size_t list_refusals(const struct cluster *c, struct view_refusal *ret)
{
    size_t n = 0;

    for (unsigned st = NODE_UNKNOWN; st < NODE_STATE_N; st++) {
        for (unsigned ev = 0; ev < NODE_EVENT_N; ev++) {
            if (node_cell(st, ev)->verdict == REFUSE)
                add_refusal(ret, &n, "node", node_state_name(st), node_event_name(ev), c->node_refused[st][ev]);
        }
    }
    for (unsigned st = INSTANCE_REQUESTED; st < INSTANCE_STATE_N; st++) {
        for (unsigned ev = 0; ev < INSTANCE_EVENT_N; ev++) {
            if (instance_cell(st, ev)->verdict == REFUSE)
                add_refusal(ret, &n, "instance", instance_state_name(st), instance_event_name(ev),
                            c->instance_refused[st][ev]);
        }
    }
    for (unsigned st = TASK_PENDING; st < TASK_STATE_N; st++) {
        for (unsigned ev = 0; ev < TASK_EVENT_N; ev++) {
            if (task_cell(st, ev)->verdict == REFUSE)
                add_refusal(ret, &n, "task", task_state_name(st), task_event_name(ev), c->task_refused[st][ev]);
        }
    }
    return n;
}

static int view_refusals(const struct cluster *c, struct view *v)
{
    v->n_refusals = list_refusals(c, NULL);
    v->refusal = calloc(v->n_refusals + 1, sizeof(*v->refusal));
    if (!v->refusal)
        return err_raise(-ENOMEM);
    list_refusals(c, v->refusal);
    return 0;
}

/* ---- the view --------------------------------------------------------------------------------------------------- */

static void view_free(struct view *v)
{
    for (size_t k = 0; k < v->n_instances; k++)
        free((struct plan *)v->instance[k].plan);
    free(v->node);
    free(v->instance);
    free(v->task);
    free(v->model);
    free(v->refusal);
    free(v->served);
    free(v->key);
    free(v->api_key);
    free(v);
}

int cluster_view(const struct cluster *c, uint64_t now_ms, uint64_t wall_ms, struct view **ret)
{
    CLEANUP(view_unref) struct view *v = calloc(1, sizeof(*v));
    int r;

    if (!v)
        return err_raise(-ENOMEM);
    v->refs = 1;
    v->made_wall_ms = wall_ms;
    v->cluster = c->config.cluster;
    v->controller = c->config.controller;
    v->term = c->config.term;
    v->leader = true;
    v->trust_open = c->config.trust_open;
    v->settling = now_ms < c->numbers.settle_ms;
    v->coordinator_starts = c->numbers.coordinator_starts;
    v->late_messages = c->numbers.late_messages;
    v->joins_refused = c->numbers.joins_refused;
    fill_brake(c, v);
    r = view_nodes(c, now_ms, v);
    if (!r)
        r = view_instances(c, now_ms, v);
    if (!r)
        r = view_tasks(c, v);
    if (!r)
        r = view_models(c, v);
    if (!r)
        r = view_served(c, v);
    if (!r)
        r = view_refusals(c, v);
    if (!r)
        r = access_view(c, v);
    if (r)
        return err_fold(r);
    *ret = v;
    v = NULL;
    return 0;
}

struct view *view_ref(struct view *v)
{
    v->refs++;
    return v;
}

void view_unref(struct view **v)
{
    if (!v || !*v)
        return;
    if (--(*v)->refs == 0)
        view_free(*v);
    *v = NULL;
}

/* ---- who answers ------------------------------------------------------------------------------------------------ */

bool view_node_answers(const struct view_node *n)
{
    switch (n->state) {
    case NODE_READY:
    case NODE_SUSPECT:
    case NODE_DRAINING:
    case NODE_DRAINED:
        return true;
    case NODE_UNKNOWN:
    case NODE_JOINING:
    case NODE_LOST:
    case NODE_EVICTED:
    case NODE_STUCK:
    case NODE_RETIRED:
        break;
    }
    return false;
}

/* ---- whom a request means --------------------------------------------------------------------------------------- */

struct meant {
    const char *model;
    const struct id128 *id; /* NULL: it is none */
    bool by_name;           /* and not by its model's */
};

/* How well it is meant: 0 not at all; its name or id before its model's name, one that serves before one that does not. */
static int likeness(const struct view_instance *i, const struct meant *m)
{
    int serving = i->state == INSTANCE_READY      ? 4
                  : i->state == INSTANCE_DRAINING ? 2
                                                  : 0; /* one that moves has left the name behind */

    if (!strcmp(i->name, m->model) || (m->id && id128_equal(&i->id, m->id)))
        return serving + 2;
    return m->by_name || strcmp(i->model, m->model) ? 0 : serving + 1;
}

const struct view_instance *view_find_instance(const struct view *v, const char *model)
{
    const struct view_served *served = view_find_served(v, model);
    const struct view_instance *found = NULL;
    struct id128 id;
    const struct meant m = {
        .model = model, .id = id128_parse(model, &id) ? &id : NULL, .by_name = served && served->section};
    int best = 0;

    for (size_t k = 0; k < v->n_instances; k++) {
        int like = likeness(&v->instance[k], &m);

        if (like > best) {
            best = like;
            found = &v->instance[k];
        }
    }
    return found;
}

const struct view_served *view_find_served(const struct view *v, const char *name)
{
    for (size_t k = 0; k < v->n_served; k++)
        if (!strcmp(v->served[k].name, name))
            return &v->served[k];
    return NULL;
}
