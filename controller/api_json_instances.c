/* GET /api/instances. */
#include <stdio.h>
#include <string.h>

#include "controller/api_json.h"
#include "controller/api_json_put.h"

/* The worker of a rank, where its node has told of it. */
static const struct unit_facts *find_worker(const struct view *v, const struct view_instance *in, size_t rank)
{
    for (size_t n = 0; n < v->n_nodes; n++)
        for (size_t u = 0; u < v->node[n].n_units; u++) {
            const struct unit_facts *unit = &v->node[n].unit[u];

            if (unit->role == UNIT_WORKER && unit->rank == (int32_t)rank && unit->epoch == in->epoch &&
                id128_equal(&unit->instance, &in->id))
                return unit;
        }
    return NULL;
}

/* What carriers have seen of its streams; null: nothing. */
static json_t *flow_json(const struct view_rank *rank)
{
    const struct rank_flow *f = &rank->flow;
    json_t *o;
    int bad;

    if (!rank->has_flow)
        return json_null();
    o = json_object();
    bad = json_put_text(o, "end", f->at_worker ? "worker" : "coordinator");
    bad |= json_put_uint(o, "streams", f->n_streams);
    bad |= json_put_uint(o, "to_bytes", f->request_bytes);
    bad |= json_put_uint(o, "to_frames", f->n_requests);
    bad |= json_put_uint(o, "from_bytes", f->answer_bytes);
    bad |= json_put_uint(o, "from_frames", f->n_answers);
    bad |= json_put_uint(o, "tensor_bytes", f->tensor_bytes);
    bad |= json_put_uint(o, "fed_bytes", f->fed_bytes);
    bad |= json_put_uint(o, "round_trips", f->n_round_trips);
    bad |= json_put_uint(o, "graphs", f->n_graphs);
    bad |= json_put_uint(o, "graph_ms", f->graph_ms);
    bad |= json_put_uint(o, "share_permille", rank->share_permille);
    bad |= json_put_text_or_null(o, "oldest", f->oldest);
    bad |= json_put_uint(o, "oldest_ms", f->oldest_ms);
    bad |= json_put_uint(o, "away_ms", rank->away_ms);
    bad |= json_put_uint(o, "held_bytes", f->held_bytes);
    bad |= json_put_uint(o, "held_ms", f->held_ms);
    bad |= json_put_text_or_null(o, "blind", f->blind);
    return whole(o, bad);
}

static json_t *rank_json(const struct view *v, const struct view_instance *in, size_t i)
{
    const struct unit_facts *worker = find_worker(v, in, i);
    const struct view_rank *rank = &in->rank[i];
    json_t *o = json_object();
    int bad = json_put_uint(o, "rank", i);

    bad |= json_put_text(o, "node_name", in->plan && i < in->plan->n_ranks ? in->plan->rank[i].node_name : "");
    bad |= json_put_text(o, "endpoint", rank->endpoint);
    bad |= json_put_uint(o, "loaded_bytes", rank->loaded_bytes);
    bad |= json_put_uint(o, "planned_bytes", rank->planned_bytes);
    bad |= json_put_bool(o, "proven", rank->proven);
    bad |= json_put_bool(o, "slow", rank->slow);
    bad |= json_put_bool(o, "stopped", worker && worker->proc_state == 'T');
    bad |= json_put_uint(o, "frozen_ms", rank->frozen_ms);
    bad |= json_put(o, "flow", flow_json(rank));
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

/* What came of the last epochs, oldest first. */
static json_t *tried_json(const struct view_instance *in)
{
    json_t *list = json_array();
    int bad = 0;

    for (size_t i = 0; !bad && i < in->n_tried; i++) {
        const struct view_try *t = &in->tried[i];
        json_t *o = json_object();

        bad |= append(list, o);
        bad |= json_put_uint(o, "epoch", t->epoch);
        bad |= json_put_uint(o, "wall_ms", t->wall_ms);
        bad |= json_put_text(o, "code", t->code);
        bad |= json_put_text_or_null(o, "node_name", t->node);
        bad |= json_put_text(o, "text", t->text);
    }
    return whole(list, bad);
}

static int put_unless_never(json_t *o, const char *key, uint64_t ms)
{
    return ms == UINT64_MAX ? json_put_null(o, key) : json_put_uint(o, key, ms);
}

static int put_ranks(json_t *o, const struct view *v, const struct view_instance *in)
{
    json_t *ranks = json_array();
    int bad = json_put(o, "ranks", ranks);

    for (size_t i = 0; !bad && i < in->n_ranks; i++)
        bad |= append(ranks, rank_json(v, in, i));
    return bad;
}

/* How it is getting on after trouble. */
static int put_recovery(json_t *o, const struct view_instance *in)
{
    int bad = json_put_uint(o, "attempts", in->attempts);

    bad |= put_unless_never(o, "again_in_ms", in->again_in_ms);
    bad |= json_put_uint_or_null(o, "missing_bytes", in->missing_bytes);
    bad |= json_put(o, "tried", tried_json(in));
    bad |= put_id_or_null(o, "follows", &in->follows);
    return bad;
}

/* How long it stays. */
static int put_stay(json_t *o, const struct view_instance *in)
{
    int bad = json_put_uint(o, "replica", in->replica);

    bad |= json_put_bool(o, "demand", in->demand);
    bad |= json_put_bool(o, "pinned", in->pinned);
    bad |= json_put_uint_or_null(o, "ttl_ms", in->ttl_ms);
    bad |= json_put_uint(o, "idle_ms", in->idle_ms);
    bad |= json_put_bool(o, "leaving", in->leaving);
    return bad;
}

json_t *api_json_instance(const struct view *v, const struct view_instance *in, bool with_plan)
{
    json_t *o = json_object();
    int bad = put_id(o, "id", &in->id);

    bad |= json_put_text(o, "name", in->name);
    bad |= json_put_text(o, "model", in->model);
    bad |= json_put_text(o, "state", instance_state_name(in->state));
    bad |= json_put_uint(o, "epoch", in->epoch);
    bad |= json_put(o, "plan", api_json_plan(with_plan ? in->plan : NULL));
    bad |= json_put(o, "coordinator", coordinator_json(in));
    bad |= put_ranks(o, v, in);
    bad |= json_put_uint(o, "in_flight", in->in_flight);
    bad |= json_put_uint(o, "progress_permille", in->progress_permille);
    bad |= put_unless_never(o, "eta_ms", in->eta_ms);
    bad |= json_put_uint(o, "state_since_wall_ms", in->state_since_wall_ms);
    bad |= json_put_uint_or_null(o, "ready_wall_ms", in->ready_wall_ms);
    bad |= json_put_text_or_null(o, "reason", in->reason);
    bad |= put_recovery(o, in);
    bad |= put_stay(o, in);
    return whole(o, bad);
}

static json_t *all(const struct view *v, bool with_plans)
{
    json_t *o = json_object(), *list = json_array();
    int bad = json_put_uint(o, "made_wall_ms", v->made_wall_ms);

    bad |= json_put(o, "instances", list);
    for (size_t i = 0; !bad && i < v->n_instances; i++)
        bad |= append(list, api_json_instance(v, &v->instance[i], with_plans));
    return whole(o, bad);
}

json_t *api_json_instances(const struct view *v)
{
    return all(v, true);
}

json_t *api_json_instances_brief(const struct view *v)
{
    return all(v, false);
}
