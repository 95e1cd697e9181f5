/* GET /api/nodes. */
#include <string.h>

#include "controller/api_json.h"
#include "controller/api_json_put.h"

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

/* What may be wrong with a process that lives. */
static int put_health(json_t *o, const struct unit_facts *u)
{
    int bad = json_put_bool(o, "stopped", u->proc_state == 'T');

    bad |= json_put_bool(o, "dying", u->dying);
    bad |= json_put_uint(o, "frozen_ms", u->frozen_ms);
    bad |= json_put_bool(o, "retransmits", u->retransmits);
    bad |= json_put_uint(o, "closed_streams", u->closed_streams);
    bad |= json_put_uint(o, "http_silent_ms", u->http_silent_ms);
    bad |= json_put_uint(o, "refused", u->n_refused);
    bad |= json_put_uint(o, "unreached", u->n_unreached);
    return bad;
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
    bad |= put_health(o, u);
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
    bad |= json_put_text_or_null(o, "reason", n->reason);
    bad |= json_put_text_or_null(o, "via", n->via);
    bad |= json_put_bool(o, "own_host", n->own_host);
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
    bad |= json_put_uint(o, "refused", n->n_refused);
    bad |= json_put_uint(o, "unreached", n->n_unreached);
    bad |= json_put(o, "instances", node_instances_json(v, n));
    return whole(o, bad);
}

static json_t *brake_json(const struct view_brake *b)
{
    json_t *o = json_object();
    int bad = json_put_bool(o, "on", b->on);

    bad |= json_put_uint_or_null(o, "since_wall_ms", b->on ? b->since_wall_ms : 0);
    bad |= json_put_text_or_null(o, "text", b->on ? b->text : "");
    return whole(o, bad);
}

json_t *api_json_nodes(const struct view *v, uint64_t wall_ms)
{
    uint64_t since_ms = wall_ms > v->made_wall_ms ? wall_ms - v->made_wall_ms : 0;
    json_t *o = json_object(), *list = json_array();
    int bad = json_put_uint(o, "made_wall_ms", v->made_wall_ms);

    bad |= json_put_text(o, "trust", v->trust_open ? "open" : "keys");
    bad |= json_put(o, "brake", brake_json(&v->brake));
    bad |= json_put_bool(o, "carrier", v->carrier);
    bad |= json_put(o, "nodes", list);
    for (size_t i = 0; !bad && i < v->n_nodes; i++)
        bad |= append(list, node_json(v, &v->node[i], since_ms));
    return whole(o, bad);
}
