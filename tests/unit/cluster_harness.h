/* One leader and up to eight nodes that say what a test tells them to. Do one thing, then expect every line of it:
 *
 *     join(1); join(2);
 *     deploy(7, "m", 2);
 *     EXPECT("commit 1: task 1 running, instance m leasing e1\n" ...);
 *
 * Every effect is one line; CHANGED is left out (changed tells whether it was there). Commits wait for commit(). */
#ifndef CARAVAN_TESTS_UNIT_CLUSTER_HARNESS_H
#define CARAVAN_TESTS_UNIT_CLUSTER_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/core/cluster.h"
#include "controller/core/effects.h"
#include "controller/core/nodes.h"
#include "controller/core/state.h"

#define GIB (1024ull * 1024 * 1024)

enum { NODES = 9, LOG_SIZE = 64 * 1024, ASKED_MAX = 64 };

/* A command that reached a node, to be answered by answer(). */
struct asked {
    int node;
    struct message m; /* without the arguments */
};

struct world {
    struct cluster *c;
    uint64_t now;
    char log[LOG_SIZE];
    bool changed;
    uint64_t token[ASKED_MAX];
    size_t n_tokens;
    struct asked asked[ASKED_MAX];
    size_t n_asked;
    uint64_t round; /* the newest one of knocks */
    bool show_neighbours;
    uint64_t last_id[NODES][COMMAND_KNOCK + 1]; /* newest command id per node and kind */
    struct unit_facts unit[NODES][PROTO_UNITS_MAX];
    size_t n_units[NODES];
    struct rank_flow flow[NODES][PROTO_FLOWS_MAX];
    size_t n_flows[NODES];
    struct plan plan;            /* the newest one committed */
    struct record_instance kept; /* the newest record of an instance, without its request's arguments and its plans */
    struct tried tried[VIEW_TRIES_MAX];
    struct id128 instance;
    uint64_t epoch;
    struct cluster_answer answer; /* the newest */
    struct cluster_effects *(*step)(struct cluster *, struct cluster_ev *, uint64_t);
};

static struct world w;

static inline struct id128 id_of(int n)
{
    struct id128 id = {{0}};

    id.b[0] = (uint8_t)n;
    id.b[1] = (uint8_t)(n >> 8);
    id.b[15] = (uint8_t)n;
    return id;
}

static inline int node_of(const char *key)
{
    return key[1] - '0';
}

__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...)
{
    size_t used = strlen(w.log);
    va_list args;

    va_start(args, format);
    vsnprintf(w.log + used, sizeof(w.log) - used, format, args);
    va_end(args);
}

/* Not assert_string_equal: it cuts what it shows at 1024 characters. */
static inline void expect(const char *text, const char *file, int line)
{
    if (strcmp(w.log, text) != 0) {
        fprintf(stderr, "%s:%d: expected\n%s--- but it was\n%s---\n", file, line, text, w.log);
        _fail(file, line);
    }
    w.log[0] = '\0';
}

#define EXPECT(text) expect(text, __FILE__, __LINE__)

/* ---- what comes out ---------------------------------------------------------------------------------------------- */

/* " from k1 feeding m"; " | ctl | 0 1=k2". */
static inline void say_grants(const struct command *c)
{
    if (c->kind == COMMAND_START_WORKER && c->worker.peer[0])
        say(" from %s feeding %s", c->worker.peer, c->worker.model);
    if (c->kind != COMMAND_START_COORDINATOR || !c->coordinator.n_gateways)
        return;
    say(" |");
    for (size_t i = 0; i < c->coordinator.n_gateways; i++)
        say(" %s", c->coordinator.gateway[i]);
    say(" |");
    for (size_t i = 0; i < c->coordinator.n_routes; i++)
        say(" %d%s%s", c->coordinator.route[i].rank, c->coordinator.route[i].peer[0] ? "=" : "",
            c->coordinator.route[i].peer);
}

static inline void say_command(int node, const struct message *m)
{
    const struct command *c = &m->command;
    bool again = w.last_id[node][c->kind] == m->command_id;

    if (c->kind == COMMAND_KNOCK) {
        say("n%d < knock %s\n", node, c->knock.name);
        w.round = m->command_id;
        return;
    }
    say("n%d < %s e%llu", node, command_kind_name(c->kind), (unsigned long long)m->epoch);
    if (c->kind == COMMAND_LEASE)
        say(" %s%s", c->lease.device[0], c->lease.host_bytes ? " host" : "");
    if (c->kind == COMMAND_START_WORKER)
        say(" rank %d %s", c->worker.rank, c->worker.device[0]);
    for (size_t i = 0; c->kind == COMMAND_START_COORDINATOR && i < c->coordinator.n_ranks; i++)
        say(" %s %s=%u", c->coordinator.endpoint[i], c->coordinator.device[i], c->coordinator.layers[i]);
    say_grants(c);
    if (c->kind == COMMAND_STOP && c->stop.at_large)
        say(" at large");
    say("%s\n", again ? " again" : "");
    w.last_id[node][c->kind] = m->command_id;
    for (size_t i = 0; i < w.n_asked; i++) {
        if (w.asked[i].m.command_id == m->command_id)
            return;
    }
    assert_true(w.n_asked < ASKED_MAX);
    w.asked[w.n_asked].node = node;
    w.asked[w.n_asked++].m = *m;
}

static inline void say_neighbours(int node, const struct neighbours *l)
{
    say("n%d < neighbours:", node);
    for (size_t i = 0; i < l->n_peers; i++)
        say(" %s", l->peer[i].name);
    say(" |");
    for (size_t i = 0; i < l->n_guests; i++)
        say(" %s", l->guest[i]);
    say("\n");
}

static inline void say_message(int node, const struct message *m)
{
    if (m->kind == MESSAGE_COMMAND)
        say_command(node, m);
    else if (m->kind == MESSAGE_WELCOME)
        say("n%d < welcome%s%s\n", node, m->welcome.refused[0] ? " refused: " : "", m->welcome.refused);
    else if (m->kind != MESSAGE_NEIGHBOURS)
        say("n%d < message %d\n", node, m->kind);
    else if (w.show_neighbours)
        say_neighbours(node, m->neighbours);
}

/* "by n3: n2 < lease e1": n3 carries it. */
static inline void say_send(const struct cluster_fx *fx)
{
    const struct message *m = fx->message;

    if (m->kind == MESSAGE_JOINED) {
        say("%.8s < joined %.8s%s%s\n", fx->key, m->joined.key, m->joined.refused[0] ? ": " : "", m->joined.refused);
        return;
    }
    if (m->kind != MESSAGE_RELAY) {
        say_message(node_of(fx->key), m);
        return;
    }
    if (m->relay.inner->kind != MESSAGE_NEIGHBOURS || w.show_neighbours)
        say("by n%d: ", node_of(fx->key));
    say_message(node_of(m->relay.key), m->relay.inner);
}

static inline void say_key(const struct record *r)
{
    if (r->kind == RECORD_API_KEY)
        say("api_key %s %s", r->api_key.name, r->gone ? "gone" : api_scope_name(r->api_key.scope));
    else
        say("key %.8s %s", r->key.key, r->gone ? "gone" : key_scope_name(r->key.scope));
    if (r->kind == RECORD_KEY && r->key.scope == KEY_JOIN && !r->gone)
        say(" %u", r->key.uses_left);
}

static inline void say_commit(const struct cluster_fx *fx)
{
    say("commit %llu:", (unsigned long long)fx->token);
    for (size_t i = 0; i < fx->n_records; i++) {
        const struct record *r = &fx->record[i];

        say("%s ", i ? "," : "");
        if (r->kind == RECORD_NODE)
            say("node %s%s%s%s", r->node.name, r->gone ? " gone" : "", r->node.draining ? " draining" : "",
                r->node.retired ? " retired" : "");
        else if (r->kind == RECORD_KEY || r->kind == RECORD_API_KEY)
            say_key(r);
        else if (r->kind == RECORD_TASK)
            say("task %llu %s", (unsigned long long)r->task.id, r->gone ? "gone" : task_state_name(r->task.state));
        else
            say("instance %s %s e%llu", r->i.name, r->gone ? "gone" : instance_state_name(r->i.state),
                (unsigned long long)r->i.epoch);
        if (r->kind == RECORD_INSTANCE) {
            w.kept = r->i;
            w.kept.request.arg = NULL;
            w.kept.plan = w.kept.pinned = NULL;
            w.kept.tried = w.tried;
            if (r->i.n_tried)
                memcpy(w.tried, r->i.tried, r->i.n_tried * sizeof(w.tried[0]));
        }
        if (r->kind == RECORD_INSTANCE && r->i.plan) {
            w.plan = *r->i.plan;
            w.instance = r->instance;
            w.epoch = r->i.epoch;
        }
    }
    say("\n");
    assert_true(w.n_tokens < ASKED_MAX);
    w.token[w.n_tokens++] = fx->token;
}

static inline void say_transition(const struct cluster_transition *t)
{
    say("%s %s %s", t->machine, t->id, t->from);
    if (strcmp(t->verdict, "go") == 0)
        say(" -> %s (%s)", t->to, t->event);
    else
        say(" %s: %s", t->event, t->verdict);
    say("%s%s\n", t->text[0] ? ": " : "", t->text);
}

static inline void say_answer(const struct cluster_fx *fx)
{
    const struct cluster_answer *a = &fx->answer;

    w.answer = *a;
    if (a->accepted)
        say("answer %llu: task %llu%s\n", (unsigned long long)fx->request_id, (unsigned long long)a->task_id,
            a->attached ? " attached" : "");
    else
        say("answer %llu: refused %s: %s\n", (unsigned long long)fx->request_id, a->code, a->text);
}

static inline void say_effect(const struct cluster_fx *fx)
{
    switch (fx->kind) {
    case CLUSTER_FX_SEND:
        say_send(fx);
        break;
    case CLUSTER_FX_COMMIT:
        say_commit(fx);
        break;
    case CLUSTER_FX_WARM_UP:
        say("warm_up %s %s:%u%s%s%s\n", fx->name, fx->addr, fx->port, fx->key[0] ? " by " : "", fx->key,
            fx->embeds ? " by an embedding" : "");
        break;
    case CLUSTER_FX_ANSWER:
        say_answer(fx);
        break;
    case CLUSTER_FX_TRANSITION:
        say_transition(&fx->transition);
        break;
    case CLUSTER_FX_KNOCK:
        say("knock %s\n", fx->peer->name);
        w.round = fx->token;
        break;
    case CLUSTER_FX_ALLOW:
        say("allow %.8s %s\n", fx->key, key_scope_name(fx->scope));
        break;
    case CLUSTER_FX_FORBID:
        say("forbid %.8s\n", fx->key);
        break;
    case CLUSTER_FX_CHANGED:
        w.changed = true;
        break;
    }
}

static inline void step(struct cluster_ev *ev)
{
    struct cluster_effects *fx;

    w.changed = false;
    ev->wall_ms = 1000000 + w.now;
    fx = w.step(w.c, ev, w.now);
    assert_non_null(fx);
    assert_null(ev->message);
    for (size_t i = 0; i < fx->n; i++)
        say_effect(&fx->item[i]);
    cluster_effects_destroy(&fx);
}

/* ---- what goes in ------------------------------------------------------------------------------------------------ */

static inline struct cluster_config world_config(void)
{
    struct cluster_config config = {.name = "ctl",
                                    .cluster = id_of(200),
                                    .controller = id_of(201),
                                    .term = 3,
                                    .trust_open = true,
                                    .silent_ms = 1000,
                                    .brake_hold_ms = 60000,
                                    .graph_max_ms = 300000,
                                    .settle_ms = 10000,
                                    .load_stall_ms = 60000,
                                    .warm_up_ms = 120000,
                                    .transition_grace_ms = 500};

    return config;
}

static inline void world_open_with(const struct cluster_config *config)
{
    memset(&w, 0, sizeof(w));
    w.now = 1000;
    w.step = cluster_step;
    assert_int_equal(cluster_new(config, &w.c), 0);
}

static inline void world_open(void)
{
    struct cluster_config config = world_config();

    world_open_with(&config);
}

static inline void begin(void)
{
    step(&(struct cluster_ev){.kind = CLUSTER_EV_BEGIN});
}

static inline int world_setup(void **state)
{
    (void)state;
    world_open();
    begin();
    return 0;
}

static inline struct cluster_config tunnel_config(void)
{
    struct cluster_config config = world_config();

    config.tunnel = true;
    strcpy(config.key, "ctl");
    return config;
}

static inline int tunnel_setup(void **state)
{
    struct cluster_config config = tunnel_config();

    (void)state;
    world_open_with(&config);
    begin();
    return 0;
}

static inline int world_teardown(void **state)
{
    (void)state;
    cluster_destroy(&w.c);
    return 0;
}

static inline struct message *message_from(int node, enum message_kind kind)
{
    struct message *m = calloc(1, sizeof(*m));

    (void)node;
    assert_non_null(m);
    m->kind = kind;
    m->version_major = PROTOCOL_MAJOR;
    return m;
}

static inline struct cluster_ev event_from(int node, enum cluster_ev_kind kind, struct message *m)
{
    struct cluster_ev ev = {.kind = kind, .node = id_of(node), .message = m};

    snprintf(ev.key, sizeof(ev.key), "k%d", node);
    snprintf(ev.peer_addr, sizeof(ev.peer_addr), "10.0.0.%d", node);
    return ev;
}

static inline struct message *hello_of(int node)
{
    struct message *m = message_from(node, MESSAGE_HELLO);

    m->hello.node = id_of(node);
    snprintf(m->hello.name, sizeof(m->hello.name), "n%d", node);
    snprintf(m->hello.boot_id, sizeof(m->hello.boot_id), "boot%d", node);
    strcpy(m->hello.build, "b11669-0.7.0");
    m->hello.rpc = (struct rpc_version){8, 0, 0};
    strcpy(m->hello.transport, w.c->config.tunnel ? "tunnel" : "direct");
    m->hello.n_addrs = 1;
    snprintf(m->hello.addr[0], sizeof(m->hello.addr[0]), "10.0.0.%d", node);
    m->hello.can_coordinate = true;
    m->hello.port = 7431;
    return m;
}

static inline void hello(int node)
{
    struct cluster_ev ev = event_from(node, CLUSTER_EV_HELLO, hello_of(node));

    step(&ev);
}

static inline void fill_model(struct model_facts *f, const char *name)
{
    memset(f, 0, sizeof(*f));
    strcpy(f->name, name);
    snprintf(f->path, sizeof(f->path), "/models/%s.gguf", name);
    f->size_bytes = 200ull * 1024 * 1024;
    f->mtime_wall_ms = 1;
    f->n_files = 1;
    f->header_hash = 0xfeed;
    f->shape = model_shape_new(16);
    assert_non_null(f->shape);
    strcpy(f->shape->arch, "llama");
    f->shape->n_embd = 1024;
    f->shape->n_head = 16;
    f->shape->n_ff = 2816;
    f->shape->head_dim_k = f->shape->head_dim_v = 64;
    f->shape->n_vocab = 1024;
    f->shape->n_ctx_train = 2048;
    f->shape->token_embd_bytes = 1024 * 1024;
    f->shape->output_bytes = 1024 * 1024;
    f->shape->output_max_tensor_bytes = 1024 * 1024;
    for (size_t i = 0; i < 16; i++)
        f->shape->layer[i] = (struct model_layer){
            .weight_bytes = 12 * 1024 * 1024, .max_tensor_bytes = 3 * 1024 * 1024, .n_head_kv = 4, .n_ff = 2816};
}

/* A full report: one CPU device, 8 GiB free, model m, and the units that the test has put there. */
static inline struct message *report_of(int node)
{
    struct message *m = message_from(node, MESSAGE_REPORT);
    struct report *r = calloc(1, sizeof(*r));

    assert_non_null(r);
    m->report = r;
    r->full = r->has_devices = r->has_units = r->has_models = true;
    r->host_total_bytes = 16 * GIB;
    r->host_free_bytes = 8 * GIB;
    r->n_devices = 1;
    strcpy(r->device[0].name, "CPU");
    r->device[0].kind = DEVICE_CPU;
    r->device[0].total_bytes = 16 * GIB;
    r->device[0].free_bytes = 8 * GIB;
    r->n_units = w.n_units[node];
    memcpy(r->unit, w.unit[node], sizeof(w.unit[node]));
    r->n_flows = w.n_flows[node];
    memcpy(r->flow, w.flow[node], sizeof(w.flow[node]));
    r->n_models = 1;
    r->model = calloc(1, sizeof(*r->model));
    assert_non_null(r->model);
    fill_model(&r->model[0], "m");
    return m;
}

static inline void hear(int node, struct message *m)
{
    struct cluster_ev ev = event_from(node, CLUSTER_EV_MESSAGE, m);

    step(&ev);
}

static inline void report(int node)
{
    hear(node, report_of(node));
}

/* Hello and report, without their lines. */
static inline void join(int node)
{
    size_t used = strlen(w.log);

    hello(node);
    report(node);
    w.log[used] = '\0';
}

static inline struct place_request request_of(const char *model, uint32_t nodes)
{
    struct place_request r = {.nodes = nodes};

    snprintf(r.model, sizeof(r.model), "%s", model);
    return r;
}

static inline void deploy_request(uint64_t request_id, const struct place_request *r, const struct plan *plan)
{
    struct cluster_ev ev = {.kind = CLUSTER_EV_DEPLOY, .request_id = request_id, .request = r, .plan = plan};

    ev.new_instance = id_of(100 + (int)request_id);
    step(&ev);
}

static inline void deploy(uint64_t request_id, const char *model, uint32_t nodes)
{
    struct place_request r = request_of(model, nodes);

    deploy_request(request_id, &r, NULL);
}

static inline void stop(uint64_t request_id, const char *target)
{
    step(&(struct cluster_ev){.kind = CLUSTER_EV_STOP, .request_id = request_id, .target = target});
}

/* Everything that waits becomes durable, in its order. */
static inline void commit_all(bool ok)
{
    while (w.n_tokens) {
        uint64_t token = w.token[0];

        memmove(w.token, w.token + 1, --w.n_tokens * sizeof(w.token[0]));
        step(&(struct cluster_ev){.kind = CLUSTER_EV_COMMITTED, .token = token, .ok = ok});
    }
}

static inline void commit(void)
{
    commit_all(true);
}

static inline struct unit_facts *unit_at(int node, enum unit_role role)
{
    for (size_t i = 0; i < w.n_units[node]; i++) {
        if (w.unit[node][i].role == role)
            return &w.unit[node][i];
    }
    return NULL;
}

/* Whom a start is answered for: it listens for the other nodes. */
static inline bool has_carrier(const struct asked *a)
{
    const struct command *c = &a->m.command;

    return c->kind == COMMAND_START_WORKER ? c->worker.peer[0] != '\0'
                                           : c->kind == COMMAND_START_COORDINATOR && c->coordinator.n_gateways;
}

static inline void address_of(const struct asked *a, enum unit_role role, char *buf, size_t size)
{
    if (w.c->config.tunnel && role != UNIT_CARRIER)
        snprintf(buf, size, "127.0.0.1");
    else
        snprintf(buf, size, "10.0.0.%d", a->node);
}

static inline void unit_add(const struct asked *a, enum unit_role role, uint16_t port)
{
    struct unit_facts *u = &w.unit[a->node][w.n_units[a->node]++];

    memset(u, 0, sizeof(*u));
    snprintf(u->id, sizeof(u->id), "%s-%d", unit_role_name(role), a->node);
    u->role = role;
    u->state = role == UNIT_COORDINATOR ? UNIT_STARTING : UNIT_RUNNING;
    u->instance = a->m.instance;
    u->epoch = a->m.epoch;
    u->rank = role == UNIT_WORKER ? a->m.command.worker.rank : -1;
    address_of(a, role, u->addr, sizeof(u->addr));
    u->port = port;
    u->pid = 4000 + a->node;
    u->rss_bytes = 6 * 1024 * 1024;
}

static inline struct message *result_of(const struct asked *a, enum result_code code, const char *reason,
                                        const char *text)
{
    struct message *m = message_from(a->node, MESSAGE_RESULT);

    m->instance = a->m.instance;
    m->epoch = a->m.epoch;
    m->command_id = a->m.command_id;
    m->result.code = code;
    strcpy(m->result.reason, reason);
    strcpy(m->result.text, text);
    if (code != RESULT_DONE)
        return m;
    address_of(a, has_carrier(a) ? UNIT_CARRIER : UNIT_WORKER, m->result.addr, sizeof(m->result.addr));
    if (a->m.command.kind == COMMAND_START_WORKER)
        m->result.port = 20052;
    if (a->m.command.kind == COMMAND_START_COORDINATOR)
        m->result.port = 18080;
    if (has_carrier(a))
        m->result.port = 7440;
    return m;
}

static inline void carry_out(const struct asked *a)
{
    if (a->m.command.kind == COMMAND_START_WORKER)
        unit_add(a, UNIT_WORKER, 20052);
    if (a->m.command.kind == COMMAND_START_COORDINATOR)
        unit_add(a, UNIT_COORDINATOR, 18080);
    if (has_carrier(a))
        unit_add(a, UNIT_CARRIER, 7440);
    if (a->m.command.kind == COMMAND_STOP)
        w.n_units[a->node] = 0;
}

/* The node answers the oldest command of that kind that it has not answered. */
static inline void answer_with(int node, enum command_kind kind, enum result_code code, const char *reason,
                               const char *text)
{
    for (size_t i = 0; i < w.n_asked; i++) {
        struct asked a = w.asked[i];

        if (a.node != node || a.m.command.kind != kind)
            continue;
        memmove(&w.asked[i], &w.asked[i + 1], (--w.n_asked - i) * sizeof(w.asked[0]));
        if (code == RESULT_DONE)
            carry_out(&a);
        hear(node, result_of(&a, code, reason, text));
        return;
    }
    fail_msg("node %d was not asked for %s; so far:\n%s", node, command_kind_name(kind), w.log);
}

static inline void done(int node, enum command_kind kind)
{
    answer_with(node, kind, RESULT_DONE, "", "");
}

/* ---- events of processes ----------------------------------------------------------------------------------------- */

static inline struct message *event_of(int node, enum agent_event_kind kind, enum unit_role role)
{
    struct message *m = message_from(node, MESSAGE_EVENT);
    const struct unit_facts *u = unit_at(node, role);

    m->event = calloc(1, sizeof(*m->event));
    assert_non_null(m->event);
    m->event->kind = kind;
    assert_non_null(u);
    m->event->unit = *u;
    m->instance = u->instance;
    m->epoch = u->epoch;
    return m;
}

/* The process is gone, and its agent says so at once. */
static inline void exits(int node, enum unit_role role, int32_t code, int32_t signal, const char *text)
{
    struct message *m;
    struct unit_facts *u = unit_at(node, role);

    assert_non_null(u);
    u->state = UNIT_EXITED;
    u->exit = (struct exit_facts){.known = true, .code = code, .signal = signal};
    m = event_of(node, AGENT_EVENT_UNIT_EXITED, role);
    strcpy(m->event->text, text);
    hear(node, m);
}

/* The coordinator's log has shown the buffers of every rank, but rank `wrong` with other_bytes (-1: all as planned). */
static inline void shows_buffers(int node, int wrong, uint64_t other_bytes)
{
    struct message *m = event_of(node, AGENT_EVENT_RANK_BUFFERS, UNIT_COORDINATOR);

    for (size_t r = 0; r < w.plan.n_ranks; r++) {
        struct rank_buffers *b = &m->event->buffers[m->event->n_buffers++];

        if (!w.c->config.tunnel)
            snprintf(b->endpoint, sizeof(b->endpoint), "%s:20052", w.plan.rank[r].addr);
        else if (r)
            snprintf(b->endpoint, sizeof(b->endpoint), "%s:7440", w.plan.rank[r].addr);
        else
            snprintf(b->endpoint, sizeof(b->endpoint), "127.0.0.1:20052");
        b->model_bytes = (int)r == wrong ? other_bytes : w.plan.rank[r].device[0].weight_bytes;
        b->kv_bytes = 3 * 1024 * 1024;
    }
    hear(node, m);
}

static inline void listens(int node)
{
    struct unit_facts *u = unit_at(node, UNIT_COORDINATOR);

    assert_non_null(u);
    u->state = UNIT_RUNNING;
    hear(node, event_of(node, AGENT_EVENT_LISTENING, UNIT_COORDINATOR));
}

static inline void warmed(bool ok, const char *text)
{
    step(&(struct cluster_ev){
        .kind = CLUSTER_EV_WARMED, .instance = w.instance, .epoch = w.epoch, .ok = ok, .text = text});
}

/* ---- what carriers tell ------------------------------------------------------------------------------------------- */

/* What node tells of one end of that rank; a new one is of the newest epoch. */
static inline struct rank_flow *flow_of(int node, uint32_t rank, bool at_worker)
{
    for (size_t k = 0; k < w.n_flows[node]; k++) {
        struct rank_flow *f = &w.flow[node][k];

        if (f->epoch == w.epoch && f->rank == rank && f->at_worker == at_worker &&
            id128_equal(&f->instance, &w.instance))
            return f;
    }
    assert_true(w.n_flows[node] < PROTO_FLOWS_MAX);
    w.flow[node][w.n_flows[node]] = (struct rank_flow){
        .instance = w.instance, .epoch = w.epoch, .rank = rank, .at_worker = at_worker, .n_streams = 1};
    return &w.flow[node][w.n_flows[node]++];
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

static inline void tick(void)
{
    step(&(struct cluster_ev){.kind = CLUSTER_EV_TICK});
}

/* Time passes, and every deadline in it is kept when it comes. */
static inline void pass(uint64_t ms)
{
    uint64_t until = w.now + ms;

    while (cluster_deadline_ms(w.c) <= until) {
        uint64_t due = cluster_deadline_ms(w.c);

        w.now = due > w.now ? due : w.now;
        tick();
        assert_true(cluster_deadline_ms(w.c) > w.now); /* or the shell would spin */
    }
    w.now = until;
}

/* The same, with nodes 1..n reporting every 500 ms, their lines and those of sends left out of the log. */
static inline void pass_reporting(uint64_t ms, int n)
{
    for (uint64_t t = 0; t < ms; t += 500) {
        pass(500);
        for (int node = 1; node <= n; node++)
            report(node);
    }
}

/* ---- knocks ------------------------------------------------------------------------------------------------------ */

/* What our own knock of the newest round found. */
static inline void knocked(int node, enum knock_outcome found)
{
    step(&(struct cluster_ev){.kind = CLUSTER_EV_KNOCKED, .node = id_of(node), .token = w.round, .knock = found});
}

/* What a witness of that round found. */
static inline void witnessed(int witness, enum knock_outcome found)
{
    struct message *m = message_from(witness, MESSAGE_RESULT);

    m->command_id = w.round;
    m->result.code = RESULT_DONE;
    strcpy(m->result.reason, knock_outcome_name(found));
    hear(witness, m);
}

/* Nodes 1..n report on; `gone` is not heard of any more, and every knock at it finds nobody: it is lost 2 s later. Only
 * what follows from the last answer is left in the log. */
static inline void vanish(int gone, int n)
{
    for (int half = 1; half <= 4; half++) {
        pass(500);
        for (int node = 1; node <= n; node++) {
            if (node != gone)
                report(node);
        }
        for (int node = 1; half > 2 && node <= n; node++) {
            if (node != gone)
                witnessed(node, KNOCK_UNANSWERED);
        }
        w.log[0] = '\0';
        if (half > 2)
            knocked(gone, KNOCK_UNANSWERED);
    }
}

/* ---- whole stories, without their lines ---------------------------------------------------------------------------- */

static inline void quiet(void)
{
    w.log[0] = '\0';
}

/* All is up to the point where the coordinator of m over n nodes was asked to start. */
static inline void begin_load(uint64_t request_id, int n)
{
    for (int node = 1; node <= n; node++)
        join(node);
    deploy(request_id, "m", (uint32_t)n);
    commit();
    for (int node = 1; node <= n; node++)
        done(node, COMMAND_LEASE);
    for (int node = 1; node <= n; node++)
        done(node, COMMAND_START_WORKER);
    quiet();
}

static inline void make_ready(uint64_t request_id, int n)
{
    begin_load(request_id, n);
    done(1, COMMAND_START_COORDINATOR);
    shows_buffers(1, -1, 0);
    listens(1);
    warmed(true, "");
    commit();
    quiet();
}

static inline struct view *view_now(void)
{
    struct view *v = NULL;

    assert_int_equal(cluster_view(w.c, w.now, 1000000 + w.now, &v), 0);
    return v;
}

#endif
