#include "tests/lib/view_lab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SET(field, text) snprintf(field, sizeof(field), "%s", text)

struct id128 lab_id(uint8_t seed)
{
    struct id128 id;

    memset(id.b, seed, sizeof(id.b));
    return id;
}

static void fill_rank(struct plan_rank *rank, uint8_t i)
{
    char text[32];

    rank->node = lab_id((uint8_t)(i + 1));
    snprintf(rank->node_name, sizeof(rank->node_name), "n%d", i + 1);
    snprintf(rank->addr, sizeof(rank->addr), "10.0.0.%d", i + 1);
    rank->n_devices = 1;
    SET(rank->device[0].name, "CPU");
    snprintf(text, sizeof(text), "RPC%d", i);
    SET(rank->device[0].flag, text);
    rank->device[0].first_layer = i * 2u;
    rank->device[0].n_layers = 2u + i;
    rank->device[0].has_output = i == 1;
    rank->device[0].weight_bytes = 1000;
    rank->device[0].kv_bytes = 200;
    rank->device[0].compute_bytes = 30;
    rank->device[0].peak_bytes = 1230;
    rank->device[0].offer_bytes = 5000000000;
}

struct plan *lab_plan(void)
{
    struct plan *p = calloc(1, sizeof(*p));

    SET(p->model, "tiny");
    SET(p->alias, "m");
    SET(p->kv_type, "f16");
    SET(p->build, "b11669-0.7.0");
    p->model_bytes = 2000000;
    p->header_hash = UINT64_C(0xfedcba9876543210);
    p->n_layer = 4;
    p->ctx = 512;
    p->slots = 1;
    p->batch = 512;
    p->ubatch = 512;
    p->policy = POLICY_SPREAD;
    p->transport = TRANSPORT_DIRECT;
    p->band = 2;
    p->n_ranks = 2;
    fill_rank(&p->rank[0], 0);
    fill_rank(&p->rank[1], 1);
    p->n_notes = 1;
    SET(p->note[0], "two nodes, since spread was asked for");
    return p;
}

static void fill_unit(struct unit_facts *u, uint8_t node)
{
    snprintf(u->id, sizeof(u->id), "worker-%d", node);
    u->role = UNIT_WORKER;
    u->state = UNIT_RUNNING;
    u->standing = true;
    u->rank = -1;
    snprintf(u->addr, sizeof(u->addr), "10.0.0.%d", node);
    u->port = 20052;
    u->pid = 4711;
    u->proc_state = 'S';
    u->rpc = (struct rpc_version){8, 0, 0};
    u->n_devices = 1;
    SET(u->device[0], "CPU");
    u->device_total_bytes[0] = 1 << 20;
}

static void fill_node(struct view_node *n, uint8_t i)
{
    n->id = lab_id(i);
    n->state = NODE_READY;
    n->joined = true;
    snprintf(n->hello.name, sizeof(n->hello.name), "n%d", i);
    SET(n->hello.build, "b11669-0.7.0");
    n->hello.rpc = (struct rpc_version){8, 0, 0};
    SET(n->hello.transport, "direct");
    n->hello.n_addrs = 1;
    snprintf(n->hello.addr[0], sizeof(n->hello.addr[0]), "10.0.0.%d", i);
    n->last_report_ms = 120;
    n->host_total_bytes = 8000;
    n->host_free_bytes = 6000;
    n->n_devices = 1;
    SET(n->device[0].name, "CPU");
    n->device[0].kind = DEVICE_CPU;
    n->device[0].total_bytes = 8000;
    n->device[0].free_bytes = 6000;
    n->device[0].utilization_permille = -1;
    n->device[0].temperature_c = INT32_MIN;
    n->n_units = 1;
    fill_unit(&n->unit[0], i);
    n->n_models = 2;
}

static void fill_instance(struct view_instance *in, enum instance_state state, uint16_t port)
{
    in->id = lab_id(0xaa);
    SET(in->name, "m");
    SET(in->model, "tiny");
    in->state = state;
    in->epoch = 3;
    in->plan = lab_plan();
    SET(in->coordinator_addr, "127.0.0.1");
    in->coordinator_port = port;
    in->n_ranks = 2;
    SET(in->rank[0].endpoint, "10.0.0.1:20052");
    SET(in->rank[1].endpoint, "10.0.0.2:20052");
    in->progress_permille = 420;
    in->eta_ms = UINT64_MAX;
    in->state_since_wall_ms = 1000;
}

static void fill_models(struct view_model *m)
{
    SET(m[0].name, "broken");
    SET(m[0].problem, "the file is cut off");
    SET(m[1].name, "tiny");
    SET(m[1].arch, "llama");
    m[1].size_bytes = 2000000;
    m[1].header_hash = UINT64_C(0xfedcba9876543210);
    m[1].n_layer = 4;
    m[1].n_ctx_train = 2048;
    m[1].n_nodes = 2;
    SET(m[1].node_name[0], "n1");
    SET(m[1].node_name[1], "n2");
}

struct view *lab_view(enum instance_state state, uint16_t port)
{
    struct view *v = calloc(1, sizeof(*v));

    v->refs = 1;
    v->made_wall_ms = 1700000000000;
    v->cluster = lab_id(0xcc);
    v->controller = lab_id(0xdd);
    v->leader = true;
    v->trust_open = true;
    v->node = calloc(2, sizeof(v->node[0]));
    v->n_nodes = 2;
    fill_node(&v->node[0], 1);
    fill_node(&v->node[1], 2);
    v->instance = calloc(1, sizeof(v->instance[0]));
    v->n_instances = 1;
    fill_instance(&v->instance[0], state, port);
    v->task = calloc(1, sizeof(v->task[0]));
    v->n_tasks = 1;
    v->task[0] = (struct view_task){.id = 7, .kind = TASK_DEPLOY, .state = TASK_RUNNING, .instance = lab_id(0xaa)};
    SET(v->task[0].name, "m");
    SET(v->task[0].step, "loading");
    v->model = calloc(2, sizeof(v->model[0]));
    v->n_models = 2;
    fill_models(v->model);
    v->refusal = calloc(1, sizeof(v->refusal[0]));
    v->n_refusals = 1;
    v->refusal[0] = (struct view_refusal){"node", "retired", "report", 0};
    return v;
}
