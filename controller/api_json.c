#include "controller/api_json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "controller/api_json_put.h"
#include "controller/plan_json.h"

json_t *api_json_version(const struct view *v)
{
    json_t *o = json_object();
    int bad = json_put_text(o, "version", CARAVAN_VERSION);

    bad |= put_id(o, "cluster", &v->cluster);
    bad |= put_id(o, "controller", &v->controller);
    bad |= json_put_text(o, "trust", v->trust_open ? "open" : "keys");
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

/* Of each of its nodes, how much of the file is hashed there. */
static json_t *indexes_json(const struct view_model *m, size_t n)
{
    json_t *list = json_array();
    int bad = 0;

    for (size_t i = 0; !bad && i < n; i++)
        bad |= append(list, json_integer(m->index_permille[i]));
    return whole(list, bad);
}

static json_t *model_json(const struct view *v, const struct view_model *m)
{
    size_t n_all = sizeof(m->node_name) / sizeof(m->node_name[0]), n = m->n_nodes < n_all ? m->n_nodes : n_all;
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
    bad |= put_names(o, "nodes", n, m->node_name[0], sizeof(m->node_name[0]));
    bad |= json_put(o, "index_permille", indexes_json(m, n));
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

json_t *api_json_plan(const struct plan *p)
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
    bad |= json_put(o, "plan", api_json_plan(p->plan));
    bad |= json_put(o, "other", api_json_plan(p->other));
    return whole(o, bad);
}

/* ---- tasks ---- */

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

    bad |= json_put(o, "instance", in ? api_json_instance(v, in, true) : json_null());
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
    bad |= json_put_text(o, "transport", place_transport_name(b->tunnel ? TRANSPORT_TUNNEL : TRANSPORT_DIRECT));
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

/* ---- answers ---- */

json_t *api_json_accepted(const struct cluster_answer *a)
{
    json_t *o = json_object();
    int bad = json_put_uint_or_null(o, "task", a->task_id);

    bad |= put_id_or_null(o, "instance", &a->instance);
    bad |= json_put_bool(o, "attached", a->attached);
    bad |= json_put_text_or_null(o, "text", a->text);
    return whole(o, bad);
}

json_t *api_json_refused(const struct cluster_answer *a, const struct front_refusal *r)
{
    json_t *o = json_object(), *error = json_object();
    int bad = json_put(o, "error", error);

    bad |= json_put_text(error, "code", a->code);
    bad |= json_put_text(error, "message", a->text);
    bad |= json_put_text(error, "machine", r->machine);
    bad |= json_put_text(error, "state", r->state);
    bad |= json_put_text(error, "event", r->event);
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
