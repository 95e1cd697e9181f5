#include "controller/api_json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "controller/json_fields.h"
#include "controller/plan_json.h"

/* Objects are put together with `bad |= json_put...`: each gives 0 or a negative, and one check at the end is enough. */

static json_t *whole(json_t *o, int bad)
{
    if (!bad)
        return o;
    json_decref(o);
    return NULL;
}

static int append(json_t *list, json_t *value)
{
    return json_array_append_new(list, value) < 0 ? -ENOMEM : 0;
}

static int put_id(json_t *o, const char *key, const struct id128 *id)
{
    return json_put_text(o, key, ID128(id));
}

static int put_id_or_null(json_t *o, const char *key, const struct id128 *id)
{
    return id128_is_zero(id) ? json_put_null(o, key) : put_id(o, key, id);
}

static int put_rpc(json_t *o, const char *key, const struct rpc_version *v)
{
    char text[16];

    if (!v->major)
        return json_put_null(o, key);
    snprintf(text, sizeof(text), "%u.%u.%u", v->major, v->minor, v->patch);
    return json_put_text(o, key, text);
}

static int put_names(json_t *o, const char *key, size_t n, const char *first, size_t stride)
{
    json_t *list = json_array();
    int bad = json_put(o, key, list);

    for (size_t i = 0; !bad && i < n; i++)
        bad |= append(list, json_text(first + i * stride));
    return bad;
}

json_t *api_json_version(const struct view *v)
{
    json_t *o = json_object();
    int bad = json_put_text(o, "version", CARAVAN_VERSION);

    bad |= put_id(o, "cluster", &v->cluster);
    bad |= put_id(o, "controller", &v->controller);
    bad |= json_put_text(o, "trust", v->trust_open ? "open" : "keys");
    return whole(o, bad);
}

/* ---- nodes ---- */

static json_t *device_json(const struct device_facts *d)
{
    json_t *o = json_object();
    int bad = json_put_text(o, "name", d->name);

    bad |= json_put_text(o, "kind", device_kind_name(d->kind));
    bad |= json_put_text(o, "description", d->description);
    bad |= json_put_uint(o, "total_bytes", d->total_bytes);
    bad |= json_put_uint(o, "free_bytes", d->free_bytes);
    bad |= json_put(o, "utilization_permille",
                    d->utilization_permille < 0 ? json_null() : json_integer(d->utilization_permille));
    bad |= json_put(o, "temperature_c", d->temperature_c == INT32_MIN ? json_null() : json_integer(d->temperature_c));
    return whole(o, bad);
}

static json_t *exit_json(const struct unit_facts *u)
{
    json_t *o;
    int bad;

    if (u->state != UNIT_EXITED && u->state != UNIT_BACKOFF && u->state != UNIT_FAILED)
        return json_null();
    o = json_object();
    bad = json_put_bool(o, "known", u->exit.known);
    bad |= json_put(o, "code", json_integer(u->exit.code));
    bad |= json_put(o, "signal", json_integer(u->exit.signal));
    return whole(o, bad);
}

static json_t *unit_json(const struct unit_facts *u)
{
    json_t *o = json_object();
    int bad = json_put_text(o, "id", u->id);

    bad |= json_put_text(o, "role", unit_role_name(u->role));
    bad |= json_put_text(o, "state", unit_state_name(u->state));
    bad |= json_put_bool(o, "standing", u->standing);
    bad |= put_id_or_null(o, "instance", &u->instance);
    bad |= json_put_uint(o, "epoch", u->epoch);
    bad |= json_put(o, "rank", u->rank < 0 ? json_null() : json_integer(u->rank));
    bad |= json_put_text(o, "addr", u->addr);
    bad |= json_put_uint(o, "port", u->port);
    bad |= json_put(o, "pid", json_integer(u->pid));
    bad |= json_put_uint(o, "rss_bytes", u->rss_bytes);
    bad |= json_put_uint(o, "cpu_ms", u->cpu_ms);
    bad |= json_put_text(o, "proc_state", (char[2]){u->proc_state ? u->proc_state : '?', '\0'});
    bad |= put_rpc(o, "rpc", &u->rpc);
    bad |= json_put_uint(o, "restarts", u->restarts);
    bad |= json_put_bool(o, "adopted", u->adopted);
    bad |= put_names(o, "devices", u->n_devices, u->device[0], sizeof(u->device[0]));
    bad |= json_put(o, "exit", exit_json(u));
    return whole(o, bad);
}

static json_t *memory_json(const struct view_node *n)
{
    json_t *o = json_object();
    int bad = json_put_uint(o, "limit_bytes", n->memory_limit_bytes);

    bad |= json_put_uint(o, "total_bytes", n->host_total_bytes);
    bad |= json_put_uint(o, "free_bytes", n->host_free_bytes);
    bad |= json_put_uint(o, "leased_bytes", n->leased_bytes);
    return whole(o, bad);
}

static bool has_rank_on(const struct view_instance *in, const struct id128 *node)
{
    for (size_t r = 0; in->plan && r < in->plan->n_ranks; r++)
        if (id128_equal(&in->plan->rank[r].node, node))
            return true;
    return false;
}

/* Instances with a rank there that were not ended. */
static json_t *node_instances_json(const struct view *v, const struct view_node *n)
{
    json_t *list = json_array();
    int bad = 0;

    for (size_t i = 0; !bad && i < v->n_instances; i++) {
        const struct view_instance *in = &v->instance[i];

        if (in->state != INSTANCE_STOPPED && in->state != INSTANCE_FAILED && has_rank_on(in, &n->id))
            bad |= append(list, json_text(in->name));
    }
    return whole(list, bad);
}

static int put_lists(json_t *o, const struct view_node *n)
{
    json_t *devices = json_array(), *units = json_array();
    int bad = json_put(o, "devices", devices);

    bad |= json_put(o, "units", units);
    for (size_t i = 0; !bad && i < n->n_devices; i++)
        bad |= append(devices, device_json(&n->device[i]));
    for (size_t i = 0; !bad && i < n->n_units; i++)
        bad |= append(units, unit_json(&n->unit[i]));
    return bad;
}

/* since_ms: age of the view itself. */
static json_t *node_json(const struct view *v, const struct view_node *n, uint64_t since_ms)
{
    const struct hello *h = &n->hello;
    json_t *o = json_object();
    int bad = put_id(o, "id", &n->id);

    bad |= json_put_text(o, "name", h->name);
    bad |= json_put_text(o, "state", node_state_name(n->state));
    bad |= json_put_text(o, "addr", h->n_addrs ? h->addr[0] : "");
    bad |= put_names(o, "addrs", h->n_addrs, h->addr[0], sizeof(h->addr[0]));
    bad |= json_put_text(o, "peer_addr", n->peer_addr);
    bad |= json_put_text(o, "key", n->key);
    bad |= json_put_text(o, "version", h->version);
    bad |= json_put_text(o, "boot_id", h->boot_id);
    bad |= json_put_text(o, "build", h->build);
    bad |= json_put_text(o, "build_problem", h->build_problem);
    bad |= put_rpc(o, "rpc", &h->rpc);
    bad |= json_put_text(o, "transport", h->transport);
    bad |= json_put_uint(o, "age_ms", n->last_report_ms + since_ms);
    bad |= json_put_uint(o, "load_permille", n->load_permille);
    bad |= json_put(o, "memory", memory_json(n));
    bad |= put_lists(o, n);
    bad |= json_put_uint(o, "models", n->n_models);
    bad |= json_put(o, "instances", node_instances_json(v, n));
    return whole(o, bad);
}

json_t *api_json_nodes(const struct view *v, uint64_t wall_ms)
{
    uint64_t since_ms = wall_ms > v->made_wall_ms ? wall_ms - v->made_wall_ms : 0;
    json_t *o = json_object(), *list = json_array();
    int bad = json_put_uint(o, "made_wall_ms", v->made_wall_ms);

    bad |= json_put_text(o, "trust", v->trust_open ? "open" : "keys");
    bad |= json_put(o, "nodes", list);
    for (size_t i = 0; !bad && i < v->n_nodes; i++)
        bad |= append(list, node_json(v, &v->node[i], since_ms));
    return whole(o, bad);
}

/* ---- models ---- */

static json_t *model_instance_json(const struct view *v, const struct view_model *m)
{
    const struct view_instance *in = view_find_instance(v, m->name);
    json_t *o;
    int bad;

    if (!in || in->state == INSTANCE_STOPPED)
        return json_null();
    o = json_object();
    bad = json_put_text(o, "name", in->name);
    bad |= json_put_text(o, "state", instance_state_name(in->state));
    return whole(o, bad);
}

static json_t *model_json(const struct view *v, const struct view_model *m)
{
    size_t n_named = sizeof(m->node_name) / sizeof(m->node_name[0]);
    json_t *o = json_object();
    char hash[17];
    int bad = json_put_text(o, "name", m->name);

    snprintf(hash, sizeof(hash), "%016" PRIx64, m->header_hash);
    bad |= json_put_uint(o, "size_bytes", m->size_bytes);
    bad |= json_put_uint(o, "layers", m->n_layer);
    bad |= json_put_text(o, "arch", m->arch);
    bad |= json_put_uint(o, "ctx_train", m->n_ctx_train);
    bad |= json_put_text(o, "header_hash", hash);
    bad |= json_put_text_or_null(o, "problem", m->problem);
    bad |= put_names(o, "nodes", m->n_nodes < n_named ? m->n_nodes : n_named, m->node_name[0], sizeof(m->node_name[0]));
    bad |= json_put(o, "instance", model_instance_json(v, m));
    return whole(o, bad);
}

json_t *api_json_models(const struct view *v)
{
    json_t *o = json_object(), *list = json_array();
    int bad = json_put(o, "models", list);

    for (size_t i = 0; !bad && i < v->n_models; i++)
        bad |= append(list, model_json(v, &v->model[i]));
    return whole(o, bad);
}

/* ---- plans ---- */

static json_t *plan_or_null(const struct plan *p)
{
    json_t *o = NULL;

    return !p ? json_null() : plan_json_write(p, &o) < 0 ? NULL : o;
}

static const char *planned_code(int r)
{
    switch (r) {
    case PLACE_E_NO_FIT:
        return "no_fit";
    case PLACE_E_NO_FILE:
        return "no_file";
    case PLACE_E_TOO_FEW:
        return "too_few";
    default: /* PLACE_E_MODEL, CLUSTER_E_BAD_MODEL: outcomes of two modules, told in one word */
        return "bad_model";
    }
}

json_t *api_json_planned(const struct front_planned *p)
{
    json_t *o = json_object();
    int bad = json_put_bool(o, "ok", p->r == 0);

    bad |= p->r ? json_put_text(o, "code", planned_code(p->r)) : json_put_null(o, "code");
    bad |= json_put_text(o, "message", p->why);
    bad |= json_put(o, "plan", plan_or_null(p->plan));
    bad |= json_put(o, "other", plan_or_null(p->other));
    return whole(o, bad);
}

/* ---- instances and tasks ---- */

static json_t *rank_json(const struct view_instance *in, size_t i)
{
    const struct view_rank *rank = &in->rank[i];
    json_t *o = json_object();
    int bad = json_put_uint(o, "rank", i);

    bad |= json_put_text(o, "node_name", in->plan && i < in->plan->n_ranks ? in->plan->rank[i].node_name : "");
    bad |= json_put_text(o, "endpoint", rank->endpoint);
    bad |= json_put_uint(o, "loaded_bytes", rank->loaded_bytes);
    bad |= json_put_uint(o, "planned_bytes", rank->planned_bytes);
    bad |= json_put_bool(o, "proven", rank->proven);
    return whole(o, bad);
}

static json_t *coordinator_json(const struct view_instance *in)
{
    char text[PROTO_ADDR_MAX + 8];

    if (!in->coordinator_port)
        return json_null();
    snprintf(text, sizeof(text), strchr(in->coordinator_addr, ':') ? "[%s]:%u" : "%s:%u", in->coordinator_addr,
             in->coordinator_port);
    return json_text(text);
}

json_t *api_json_instance(const struct view_instance *in)
{
    json_t *o = json_object(), *ranks = json_array();
    int bad = put_id(o, "id", &in->id);

    bad |= json_put_text(o, "name", in->name);
    bad |= json_put_text(o, "model", in->model);
    bad |= json_put_text(o, "state", instance_state_name(in->state));
    bad |= json_put_uint(o, "epoch", in->epoch);
    bad |= json_put(o, "plan", plan_or_null(in->plan));
    bad |= json_put(o, "coordinator", coordinator_json(in));
    bad |= json_put(o, "ranks", ranks);
    for (size_t i = 0; !bad && i < in->n_ranks; i++)
        bad |= append(ranks, rank_json(in, i));
    bad |= json_put_uint(o, "progress_permille", in->progress_permille);
    bad |= in->eta_ms == UINT64_MAX ? json_put_null(o, "eta_ms") : json_put_uint(o, "eta_ms", in->eta_ms);
    bad |= json_put_uint(o, "state_since_wall_ms", in->state_since_wall_ms);
    bad |= json_put_uint_or_null(o, "ready_wall_ms", in->ready_wall_ms);
    bad |= json_put_text_or_null(o, "reason", in->reason);
    return whole(o, bad);
}

json_t *api_json_instances(const struct view *v)
{
    json_t *o = json_object(), *list = json_array();
    int bad = json_put(o, "instances", list);

    for (size_t i = 0; !bad && i < v->n_instances; i++)
        bad |= append(list, api_json_instance(&v->instance[i]));
    return whole(o, bad);
}

json_t *api_json_task(const struct view_task *t)
{
    json_t *o = json_object();
    int bad = json_put_uint(o, "id", t->id);

    bad |= json_put_text(o, "kind", task_kind_name(t->kind));
    bad |= json_put_text(o, "state", task_state_name(t->state));
    bad |= put_id(o, "instance", &t->instance);
    bad |= json_put_text(o, "name", t->name);
    bad |= json_put_text_or_null(o, "code", t->code);
    bad |= json_put_text_or_null(o, "text", t->text);
    bad |= json_put_text(o, "step", t->step);
    bad |= json_put_uint(o, "created_wall_ms", t->created_wall_ms);
    bad |= json_put_uint_or_null(o, "ended_wall_ms", t->ended_wall_ms);
    return whole(o, bad);
}

json_t *api_json_tasks(const struct view *v)
{
    json_t *o = json_object(), *list = json_array();
    int bad = json_put(o, "tasks", list);

    for (size_t i = 0; !bad && i < v->n_tasks; i++)
        bad |= append(list, api_json_task(&v->task[i]));
    return whole(o, bad);
}

const struct view_task *api_find_task(const struct view *v, uint64_t id)
{
    for (size_t i = 0; i < v->n_tasks; i++)
        if (v->task[i].id == id)
            return &v->task[i];
    return NULL;
}

const struct view_instance *api_find_instance_by_id(const struct view *v, const struct id128 *id)
{
    for (size_t i = 0; i < v->n_instances; i++)
        if (id128_equal(&v->instance[i].id, id))
            return &v->instance[i];
    return NULL;
}

json_t *api_json_follow(const struct view *v, const struct view_task *t)
{
    const struct view_instance *in = api_find_instance_by_id(v, &t->instance);
    json_t *o = json_object();
    int bad = json_put(o, "task", api_json_task(t));

    bad |= json_put(o, "instance", in ? api_json_instance(in) : json_null());
    return whole(o, bad);
}

/* ---- backends ---- */

static json_t *said_json(const struct backend *b)
{
    json_t *list = json_array();
    int bad = 0;

    for (int s = 0; s < BACKEND_SOURCES; s++) {
        json_t *o;

        if (!b->said[s].last_wall_ms)
            continue;
        o = json_object();
        bad |= append(list, o);
        bad |= json_put_text(o, "source", backend_source_name((enum backend_source)s));
        bad |= json_put_text(o, "says", b->said[s].text);
        bad |= json_put_uint(o, "last_seen_wall_ms", b->said[s].last_wall_ms);
    }
    return whole(list, bad);
}

static json_t *backend_json(const struct backend *b)
{
    uint64_t agent_ms = b->said[BACKEND_BY_AGENT].last_wall_ms, mdns_ms = b->said[BACKEND_BY_MDNS].last_wall_ms;
    json_t *o = json_object();
    int bad = json_put_text(o, "host", b->host);

    bad |= json_put_uint(o, "port", b->port);
    bad |= json_put_text_or_null(o, "node_name", b->node_name);
    bad |= json_put_text(o, "transport", "direct");
    bad |= json_put_text(o, "state", backend_state_name(b->state));
    bad |= put_rpc(o, "rpc", &b->rpc);
    bad |= json_put_uint_or_null(o, "memory_bytes", b->memory_bytes);
    bad |= put_names(o, "devices", b->n_devices, b->device[0], sizeof(b->device[0]));
    bad |= json_put_text(o, "source", backend_source_name(agent_ms ? BACKEND_BY_AGENT : BACKEND_BY_MDNS));
    bad |= json_put_uint(o, "first_seen_wall_ms", b->first_seen_wall_ms);
    bad |= json_put_uint(o, "last_seen_wall_ms", agent_ms > mdns_ms ? agent_ms : mdns_ms);
    bad |= json_put(o, "sources", said_json(b));
    return whole(o, bad);
}

json_t *api_json_backends(const struct backends *b)
{
    json_t *o = json_object(), *list = json_array(), *dropped = json_object();
    int bad = json_put(o, "backends", list);

    bad |= json_put(o, "dropped", dropped);
    for (size_t i = 0; !bad && i < b->n; i++)
        bad |= append(list, backend_json(&b->item[i]));
    for (int d = 0; !bad && d < BACKEND_DROPS; d++)
        bad |= json_put_uint(dropped, backend_drop_name((enum backend_drop)d), b->dropped[d]);
    return whole(o, bad);
}

json_t *api_json_transition(const struct cluster_transition *t, uint64_t wall_ms)
{
    json_t *o = json_object();
    int bad = json_put_uint(o, "wall_ms", wall_ms);

    bad |= json_put_text(o, "machine", t->machine);
    bad |= json_put_text(o, "id", t->id);
    bad |= put_id_or_null(o, "instance", &t->instance);
    bad |= json_put_uint(o, "epoch", t->epoch);
    bad |= json_put_text(o, "from", t->from);
    bad |= json_put_text(o, "to", t->to ? t->to : t->from);
    bad |= json_put_text(o, "event", t->event);
    bad |= json_put_text(o, "verdict", t->verdict);
    bad |= json_put_text(o, "text", t->text);
    return whole(o, bad);
}
