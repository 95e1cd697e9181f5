#include "tests/lib/messages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SET(to, text) snprintf((to), sizeof(to), "%s", (text))

static void *need(void *p)
{
    if (!p)
        abort();
    return p;
}

/* ---- fixed samples ---- */

#define SAMPLE_KEY "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static const struct id128 instance_id = {
    {0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 1}};

static void fill_hello(struct message *m)
{
    struct hello *h = &m->hello;

    m->kind = MESSAGE_HELLO;
    m->cluster = (struct id128){{0}};
    h->node = (struct id128){{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
    SET(h->name, "n1");
    SET(h->boot_id, "2f1b5c0e-6c1d-4a55-9a0e-0d5b8a4a7d11");
    SET(h->version, "0.1.0");
    SET(h->build, "b11669-0.7.0");
    h->rpc = (struct rpc_version){8, 0, 0};
    SET(h->transport, "direct");
    h->n_addrs = 2;
    SET(h->addr[0], "10.77.0.11");
    SET(h->addr[1], "fd00::11");
    h->can_coordinate = true;
}

static void fill_hello_with_port(struct message *m)
{
    fill_hello(m);
    m->hello.port = 7431;
}

static void fill_hello_without_llama(struct message *m)
{
    fill_hello(m);
    memset(m->hello.build, 0, sizeof(m->hello.build));
    m->hello.rpc = (struct rpc_version){0};
    m->hello.can_coordinate = false;
    SET(m->hello.build_problem, "llama.cpp was not found: set llama_dir");
}

static void fill_welcome(struct message *m)
{
    m->kind = MESSAGE_WELCOME;
    m->welcome.controller = (struct id128){{9, 9, 9}};
    SET(m->welcome.name, "ctl");
    SET(m->welcome.version, "0.1.0");
    m->welcome.open = true;
}

static void fill_welcome_refused(struct message *m)
{
    fill_welcome(m);
    m->welcome.open = false;
    SET(m->welcome.refused, "this key is not allowed in");
}

static void fill_unit(struct unit_facts *u)
{
    SET(u->id, "w0");
    u->role = UNIT_WORKER;
    u->state = UNIT_RUNNING;
    u->standing = true;
    u->instance = instance_id;
    u->epoch = 4;
    u->rank = 1;
    SET(u->addr, "10.77.0.11");
    u->port = 20052;
    u->pid = 4711;
    u->rss_bytes = 123456789;
    u->cpu_ms = 900;
    u->proc_state = 'S';
    u->adopted = true;
    u->restarts = 2;
    u->rpc = (struct rpc_version){8, 0, 0};
    u->n_devices = 2;
    SET(u->device[0], "CUDA0");
    SET(u->device[1], "CUDA1");
    u->device_total_bytes[0] = UINT64_C(25769803776);
    u->device_total_bytes[1] = UINT64_C(25769803776);
}

static void fill_shape(struct model_shape *s)
{
    SET(s->arch, "llama");
    s->n_embd = 256;
    s->n_head = 4;
    s->n_ff = 512;
    s->head_dim_k = s->head_dim_v = 64;
    s->n_vocab = 512;
    s->n_ctx_train = 2048;
    s->token_embd_bytes = 262144;
    s->output_bytes = 263168;
    s->output_max_tensor_bytes = 262144;
    s->output_tied = true;
    for (uint32_t i = 0; i < s->n_layer; i++)
        s->layer[i] = (struct model_layer){1000000 + i, 300000, 2, 512};
}

static void fill_report_quiet(struct message *m)
{
    m->kind = MESSAGE_REPORT;
    m->report = need(calloc(1, sizeof(*m->report)));
    m->report->uptime_ms = 60000;
    m->report->load_permille = 250;
    m->report->host_total_bytes = UINT64_C(16) << 30;
    m->report->host_free_bytes = UINT64_C(9) << 30;
}

static void fill_report_models(struct report *r)
{
    r->has_models = true;
    r->n_models = 2;
    r->model = need(calloc(2, sizeof(*r->model)));
    SET(r->model[0].name, "tiny");
    SET(r->model[0].path, "/var/lib/caravan/models/tiny.gguf");
    r->model[0].size_bytes = 2097152;
    r->model[0].mtime_wall_ms = UINT64_C(1790000000000);
    r->model[0].n_files = 1;
    r->model[0].header_hash = UINT64_C(0xcbf29ce484222325);
    r->model[0].shape = need(model_shape_new(4));
    fill_shape(r->model[0].shape);
    SET(r->model[1].name, "torn");
    SET(r->model[1].path, "/var/lib/caravan/models/torn.gguf");
    SET(r->model[1].problem, "the file ends within its header");
}

static void fill_report_full(struct message *m)
{
    struct report *r;

    fill_report_quiet(m);
    r = m->report;
    r->full = r->has_devices = r->has_units = true;
    r->memory_limit_bytes = UINT64_C(4) << 30;
    r->n_devices = 2;
    r->device[0] = (struct device_facts){.name = "CPU",
                                         .description = "Zürich-class CPU",
                                         .kind = DEVICE_CPU,
                                         .total_bytes = UINT64_C(16) << 30,
                                         .free_bytes = UINT64_C(9) << 30,
                                         .utilization_permille = -1,
                                         .temperature_c = INT32_MIN};
    r->device[1] = r->device[0];
    SET(r->device[1].name, "CUDA0");
    r->device[1].kind = DEVICE_GPU;
    r->device[1].utilization_permille = 1000;
    r->device[1].temperature_c = -3;
    r->n_units = 2;
    fill_unit(&r->unit[0]);
    fill_unit(&r->unit[1]);
    SET(r->unit[1].id, "c-11223344-4");
    r->unit[1].role = UNIT_COORDINATOR;
    r->unit[1].state = UNIT_EXITED;
    r->unit[1].rank = -1;
    r->unit[1].n_devices = 0;
    memset(r->unit[1].device, 0, sizeof(r->unit[1].device));
    memset(r->unit[1].device_total_bytes, 0, sizeof(r->unit[1].device_total_bytes));
    r->unit[1].proc_state = '?';
    r->unit[1].exit = (struct exit_facts){.known = true, .signal = 9};
    r->n_leases = 1;
    r->lease[0].instance = instance_id;
    r->lease[0].epoch = 4;
    r->lease[0].bytes = UINT64_C(3) << 30;
    fill_report_models(r);
}

static void fill_report_watched(struct message *m)
{
    struct report *r;

    fill_report_quiet(m);
    r = m->report;
    r->has_units = true;
    r->n_units = 2;
    fill_unit(&r->unit[0]);
    r->unit[0].frozen_ms = 10200;
    r->unit[0].retransmits = true;
    SET(r->unit[1].id, "c-11223344-4");
    r->unit[1].role = UNIT_COORDINATOR;
    r->unit[1].state = UNIT_RUNNING;
    r->unit[1].rank = -1;
    r->unit[1].proc_state = 'S';
    r->unit[1].closed_streams = 1;
    r->unit[1].n_decode = 123456;
    r->unit[1].http_silent_ms = 2100;
}

static void fill_report_indexed(struct message *m)
{
    fill_report_full(m);
    m->report->model[0].index_permille = 437;
    m->report->model[1].index_permille = 1000;
}

/* A node of an instance whose ranks are reached through carriers. */
static void fill_report_carried(struct message *m)
{
    struct report *r;

    fill_report_quiet(m);
    r = m->report;
    r->has_units = true;
    r->n_units = 1;
    fill_unit(&r->unit[0]);
    SET(r->unit[0].id, "x-11223344-4");
    r->unit[0].role = UNIT_CARRIER;
    r->unit[0].standing = false;
    r->unit[0].rank = -1;
    r->unit[0].port = 7440;
    r->unit[0].rpc = (struct rpc_version){0};
    r->unit[0].n_devices = 0;
    memset(r->unit[0].device, 0, sizeof(r->unit[0].device));
    memset(r->unit[0].device_total_bytes, 0, sizeof(r->unit[0].device_total_bytes));
    r->n_flows = 2;
    r->flow[0] = (struct rank_flow){.instance = instance_id,
                                    .epoch = 4,
                                    .rank = 1,
                                    .at_worker = true,
                                    .n_streams = 1,
                                    .request_bytes = 105000000,
                                    .answer_bytes = 312000,
                                    .n_requests = 2801,
                                    .n_answers = 2680,
                                    .tensor_bytes = 40000000,
                                    .fed_bytes = 65000000,
                                    .n_round_trips = 2680,
                                    .n_graphs = 1300,
                                    .graph_ms = 9000,
                                    .oldest = "GET_TENSOR",
                                    .oldest_ms = 11000,
                                    .held_bytes = 321,
                                    .held_ms = 10900};
    r->flow[1] = (struct rank_flow){.instance = instance_id,
                                    .epoch = 4,
                                    .rank = 2,
                                    .n_streams = 1,
                                    .request_bytes = 7,
                                    .answer_bytes = 5,
                                    .blind = "version"};
}

/* A node whose carrier was knocked at by others, and could not reach somebody. */
static void fill_report_refused(struct message *m)
{
    fill_report_carried(m);
    m->report->unit[0].n_refused = 1234567;
    m->report->unit[0].n_unreached = 3;
}

static void command(struct message *m, enum command_kind kind)
{
    m->kind = MESSAGE_COMMAND;
    m->instance = instance_id;
    m->epoch = 4;
    m->command_id = 77;
    m->command.kind = kind;
}

static void fill_lease(struct message *m)
{
    command(m, COMMAND_LEASE);
    m->command.lease.n_devices = 2;
    SET(m->command.lease.device[0], "CUDA0");
    SET(m->command.lease.device[1], "CUDA1");
    m->command.lease.bytes[0] = UINT64_C(5000000000);
    m->command.lease.bytes[1] = UINT64_C(6000000000);
    m->command.lease.host_bytes = 700000;
}

static void fill_worker(struct message *m)
{
    command(m, COMMAND_START_WORKER);
    m->command.worker.rank = 3;
    m->command.worker.n_devices = 1;
    SET(m->command.worker.device[0], "CUDA0");
}

static void fill_coordinator(struct message *m)
{
    struct coordinator_spec *c = &m->command.coordinator;

    command(m, COMMAND_START_COORDINATOR);
    SET(c->model, "tiny");
    c->header_hash = UINT64_C(0xcbf29ce484222325);
    SET(c->alias, "small");
    c->n_ranks = 2;
    SET(c->endpoint[0], "10.77.0.11:20052");
    SET(c->endpoint[1], "10.77.0.12:20052");
    c->n_devices = 2;
    SET(c->device[0], "RPC0");
    SET(c->device[1], "RPC1");
    c->layers[0] = 3;
    c->layers[1] = 2;
    c->ctx = 4096;
    c->slots = 2;
    c->batch = 2048;
    c->ubatch = 512;
    SET(c->kv_type, "f16");
    SET(c->api_key, "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    c->n_args = 2;
    c->arg = need(calloc(2, sizeof(*c->arg)));
    SET(c->arg[0], "--temp");
    SET(c->arg[1], "0");
}

static void fill_worker_with_peer(struct message *m)
{
    fill_worker(m);
    SET(m->command.worker.peer, SAMPLE_KEY);
    SET(m->command.worker.model, "tiny");
    m->command.worker.header_hash = UINT64_C(0xcbf29ce484222325);
}

static void fill_coordinator_with_routes(struct message *m)
{
    struct coordinator_spec *c = &m->command.coordinator;

    fill_coordinator(m);
    SET(c->endpoint[0], "127.0.0.1:20052");
    SET(c->endpoint[1], "10.77.0.12:7440");
    c->n_gateways = 1;
    SET(c->gateway[0], "33112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    c->n_routes = 2;
    c->route[1].rank = 1;
    SET(c->route[1].peer, SAMPLE_KEY);
}

static void fill_stop(struct message *m)
{
    command(m, COMMAND_STOP);
    m->command.stop.grace_ms = 3000;
}

static void fill_stop_at_large(struct message *m)
{
    command(m, COMMAND_STOP);
    m->command.stop.grace_ms = 1;
    m->command.stop.at_large = true;
}

static void fill_peer(struct peer_facts *p)
{
    p->node = (struct id128){{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
    SET(p->name, "n1");
    SET(p->key, "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    p->port = 7431;
    p->n_addrs = 2;
    SET(p->addr[0], "10.77.0.11");
    SET(p->addr[1], "fd00::11");
}

static void fill_knock(struct message *m)
{
    command(m, COMMAND_KNOCK);
    m->instance = (struct id128){{0}};
    m->epoch = 0;
    fill_peer(&m->command.knock);
}

static void fill_neighbours(struct message *m)
{
    m->kind = MESSAGE_NEIGHBOURS;
    m->neighbours = need(calloc(1, sizeof(*m->neighbours)));
    m->neighbours->n_peers = m->neighbours->n_guests = 2;
    fill_peer(&m->neighbours->peer[0]);
    fill_peer(&m->neighbours->peer[1]);
    SET(m->neighbours->peer[1].name, "n2");
    SET(m->neighbours->guest[0], "33112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    SET(m->neighbours->guest[1], "44112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
}

static void snapshot_text(const char *text, char **to, size_t *n_bytes)
{
    *to = need(strdup(text));
    *n_bytes = strlen(text);
}

static void fill_snapshot(struct message *m)
{
    m->kind = MESSAGE_SNAPSHOT;
    m->snapshot.made_wall_ms = UINT64_C(1790000000000);
    snapshot_text("{\"nodes\":[{\"name\":\"n1\"}]}", &m->snapshot.nodes, &m->snapshot.n_nodes_bytes);
    snapshot_text("{\"instances\":[]}", &m->snapshot.instances, &m->snapshot.n_instances_bytes);
}

static void fill_health(struct message *m)
{
    m->kind = MESSAGE_HEALTH;
    m->health = (struct health){.linked = true, .uptime_ms = 60000};
}

static void fill_relay(struct message *m)
{
    m->kind = MESSAGE_RELAY;
    SET(m->relay.key, "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    m->relay.inner = need(calloc(1, sizeof(*m->relay.inner)));
    m->relay.inner->version_major = PROTOCOL_MAJOR;
    m->relay.inner->version_minor = PROTOCOL_MINOR;
    m->relay.inner->seq = 4;
    fill_report_quiet(m->relay.inner);
}

static void fill_ping(struct message *m)
{
    m->kind = MESSAGE_PING;
    m->nonce = UINT64_C(0x1122334455667788);
}

static void fill_pong(struct message *m)
{
    fill_ping(m);
    m->kind = MESSAGE_PONG;
}

static void fill_join(struct message *m)
{
    m->kind = MESSAGE_JOIN;
    m->cluster = (struct id128){{0}};
    SET(m->join.key, "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    SET(m->join.name, "n1");
}

static void fill_joined(struct message *m)
{
    m->kind = MESSAGE_JOINED;
    SET(m->joined.key, "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
}

static void fill_joined_refused(struct message *m)
{
    fill_joined(m);
    SET(m->joined.refused, "the token is used up");
}

static void fill_result(struct message *m)
{
    command(m, COMMAND_START_WORKER);
    memset(&m->command, 0, sizeof(m->command));
    m->kind = MESSAGE_RESULT;
    m->result.code = RESULT_DONE;
    SET(m->result.addr, "10.77.0.11");
    m->result.port = 20052;
    SET(m->result.unit, "w0");
    m->result.rpc = (struct rpc_version){8, 0, 0};
}

static void fill_result_refused(struct message *m)
{
    fill_result(m);
    memset(&m->result, 0, sizeof(m->result));
    m->result.code = RESULT_REFUSED;
    SET(m->result.reason, "stale_epoch");
    SET(m->result.text, "epoch 4 is over: 5 was seen");
}

static void fill_result_stale(struct message *m)
{
    fill_result_refused(m);
    m->result.newest_epoch = 5;
}

static void event(struct message *m, enum agent_event_kind kind)
{
    m->kind = MESSAGE_EVENT;
    m->instance = instance_id;
    m->epoch = 4;
    m->event = need(calloc(1, sizeof(*m->event)));
    m->event->kind = kind;
}

static void fill_exited(struct message *m)
{
    event(m, AGENT_EVENT_UNIT_EXITED);
    fill_unit(&m->event->unit);
    m->event->unit.state = UNIT_EXITED;
    m->event->unit.exit = (struct exit_facts){.known = true, .code = 1};
    SET(m->event->text, "ggml: out of memory\nabort");
}

static void fill_buffers(struct message *m)
{
    event(m, AGENT_EVENT_RANK_BUFFERS);
    fill_unit(&m->event->unit);
    m->event->n_buffers = 2;
    m->event->buffers[0] = (struct rank_buffers){"10.77.0.11:20052", 0, 1000000, 2000000, 300000};
    m->event->buffers[1] = (struct rank_buffers){"", 0, 500000, 0, 40000};
}

static void fill_resumed(struct message *m)
{
    event(m, AGENT_EVENT_RESUMED);
    m->instance = (struct id128){{0}};
    m->epoch = 0;
}

const struct message_sample message_samples[] = {
    {"hello", fill_hello},
    {"hello_with_port", fill_hello_with_port},
    {"hello_without_llama", fill_hello_without_llama},
    {"welcome", fill_welcome},
    {"welcome_refused", fill_welcome_refused},
    {"report_quiet", fill_report_quiet},
    {"report_full", fill_report_full},
    {"report_watched", fill_report_watched},
    {"report_carried", fill_report_carried},
    {"report_refused", fill_report_refused},
    {"report_indexed", fill_report_indexed},
    {"command_lease", fill_lease},
    {"command_start_worker", fill_worker},
    {"command_start_worker_with_peer", fill_worker_with_peer},
    {"command_start_coordinator", fill_coordinator},
    {"command_start_coordinator_with_routes", fill_coordinator_with_routes},
    {"command_stop", fill_stop},
    {"command_stop_at_large", fill_stop_at_large},
    {"command_knock", fill_knock},
    {"result_done", fill_result},
    {"result_refused", fill_result_refused},
    {"result_stale", fill_result_stale},
    {"event_unit_exited", fill_exited},
    {"event_rank_buffers", fill_buffers},
    {"event_resumed", fill_resumed},
    {"neighbours", fill_neighbours},
    {"snapshot", fill_snapshot},
    {"health", fill_health},
    {"relay", fill_relay},
    {"ping", fill_ping},
    {"pong", fill_pong},
    {"join", fill_join},
    {"joined", fill_joined},
    {"joined_refused", fill_joined_refused},
    {NULL, NULL},
};

struct message *message_sample_new(const struct message_sample *s)
{
    struct message *m = need(calloc(1, sizeof(*m)));

    m->version_major = PROTOCOL_MAJOR;
    m->version_minor = PROTOCOL_MINOR;
    m->cluster = (struct id128){{0xca, 0xfe}};
    m->term = 3;
    m->seq = 9;
    s->fill(m);
    return m;
}

/* ---- random ones ---- */

static uint64_t next(uint64_t *rng) /* splitmix64 */
{
    uint64_t z = (*rng += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static size_t below(uint64_t *rng, size_t n)
{
    return (size_t)(next(rng) % n);
}

/* Any width of number, the largest included. */
static uint64_t number(uint64_t *rng)
{
    return below(rng, 8) ? next(rng) >> below(rng, 64) : UINT64_MAX;
}

static uint32_t small(uint64_t *rng)
{
    return (uint32_t)number(rng);
}

static void text(uint64_t *rng, char *to, size_t size)
{
    static const char *const piece[] = {"a", "Z", "0", "\n", "\x7f", "ß", "€", "𝄞"};
    size_t want = below(rng, 3) ? below(rng, size < 24 ? size : 24) : size - 1, used = 0;

    while (used < want) {
        const char *p = piece[below(rng, sizeof(piece) / sizeof(piece[0]))];

        if (used + strlen(p) > want)
            p = "x";
        memcpy(to + used, p, strlen(p));
        used += strlen(p);
    }
}
#define RANDOM_TEXT(to) text(rng, (to), sizeof(to))

static void random_id(uint64_t *rng, struct id128 *id)
{
    for (size_t i = 0; i < sizeof(id->b); i++)
        id->b[i] = (uint8_t)next(rng);
}

static void random_key(uint64_t *rng, char to[PROTO_KEY_MAX])
{
    for (size_t i = 0; i + 1 < PROTO_KEY_MAX; i++)
        to[i] = "0123456789abcdef"[below(rng, 16)];
}

static size_t count(uint64_t *rng, size_t max)
{
    return below(rng, 4) ? below(rng, max < 4 ? max + 1 : 4) : max;
}

static void random_rpc(uint64_t *rng, struct rpc_version *v)
{
    *v = (struct rpc_version){(uint8_t)next(rng), (uint8_t)next(rng), (uint8_t)next(rng)};
}

static void random_unit(uint64_t *rng, struct unit_facts *u)
{
    RANDOM_TEXT(u->id);
    if (!u->id[0])
        SET(u->id, "u");
    u->role = 1 + (enum unit_role)below(rng, UNIT_CARRIER);
    u->state = 1 + (enum unit_state)below(rng, UNIT_FAILED);
    u->standing = below(rng, 2);
    random_id(rng, &u->instance);
    u->epoch = number(rng);
    u->rank = (int32_t)below(rng, PROTO_RANKS_MAX + 1) - 1;
    RANDOM_TEXT(u->addr);
    u->port = (uint16_t)next(rng);
    u->pid = (int32_t)(small(rng) >> 1);
    u->rss_bytes = number(rng);
    u->cpu_ms = number(rng);
    u->proc_state = "?SRDTZ"[below(rng, 6)];
    u->dying = below(rng, 2);
    u->adopted = below(rng, 2);
    u->restarts = small(rng);
    random_rpc(rng, &u->rpc);
    u->frozen_ms = number(rng);
    u->retransmits = below(rng, 2);
    u->closed_streams = small(rng);
    u->n_decode = number(rng);
    u->http_silent_ms = number(rng);
    u->n_refused = number(rng);
    u->n_unreached = number(rng);
    u->exit = (struct exit_facts){below(rng, 2), (int32_t)small(rng), (int32_t)small(rng)};
    u->n_devices = count(rng, PROTO_DEVICES_MAX);
    for (size_t i = 0; i < u->n_devices; i++) {
        RANDOM_TEXT(u->device[i]);
        u->device_total_bytes[i] = number(rng);
    }
}

static void random_model(uint64_t *rng, struct model_facts *f)
{
    RANDOM_TEXT(f->name);
    RANDOM_TEXT(f->path);
    f->size_bytes = number(rng);
    f->mtime_wall_ms = number(rng);
    f->n_files = small(rng);
    f->header_hash = next(rng);
    if (below(rng, 4) == 0) {
        RANDOM_TEXT(f->problem);
        return;
    }
    f->shape = need(model_shape_new((uint32_t)(below(rng, 16) ? below(rng, 100) : MODEL_LAYERS_MAX)));
    RANDOM_TEXT(f->shape->arch);
    f->shape->n_embd = small(rng);
    f->shape->n_vocab = small(rng);
    f->shape->has_projector = below(rng, 2);
    f->shape->other_bytes = number(rng);
    for (uint32_t i = 0; i < f->shape->n_layer; i++)
        f->shape->layer[i] = (struct model_layer){number(rng), number(rng), small(rng), small(rng)};
}

static void random_flow(uint64_t *rng, struct rank_flow *f)
{
    random_id(rng, &f->instance);
    f->epoch = number(rng);
    f->rank = (uint32_t)below(rng, PROTO_RANKS_MAX);
    f->at_worker = below(rng, 2);
    f->n_streams = small(rng);
    f->request_bytes = number(rng);
    f->answer_bytes = number(rng);
    f->n_requests = number(rng);
    f->n_answers = number(rng);
    f->tensor_bytes = number(rng);
    f->fed_bytes = number(rng);
    f->n_round_trips = number(rng);
    f->n_graphs = number(rng);
    f->graph_ms = number(rng);
    RANDOM_TEXT(f->oldest);
    f->oldest_ms = number(rng);
    f->held_bytes = number(rng);
    f->held_ms = number(rng);
    RANDOM_TEXT(f->blind);
}

static void random_report(uint64_t *rng, struct message *m)
{
    struct report *r = m->report = need(calloc(1, sizeof(*r)));

    r->full = below(rng, 2);
    r->uptime_ms = number(rng);
    r->load_permille = small(rng);
    r->host_free_bytes = number(rng);
    r->has_devices = below(rng, 2);
    r->n_devices = count(rng, PROTO_DEVICES_MAX);
    for (size_t i = 0; i < r->n_devices; i++) {
        RANDOM_TEXT(r->device[i].name);
        RANDOM_TEXT(r->device[i].description);
        r->device[i].kind = 1 + (enum device_kind)below(rng, DEVICE_UNIFIED);
        r->device[i].total_bytes = number(rng);
        r->device[i].free_bytes = number(rng);
        r->device[i].utilization_permille = (int32_t)below(rng, 1002) - 1;
        r->device[i].temperature_c = (int32_t)small(rng);
    }
    r->n_units = count(rng, PROTO_UNITS_MAX);
    for (size_t i = 0; i < r->n_units; i++)
        random_unit(rng, &r->unit[i]);
    r->n_leases = count(rng, PROTO_UNITS_MAX);
    for (size_t i = 0; i < r->n_leases; i++) {
        random_id(rng, &r->lease[i].instance);
        r->lease[i].epoch = number(rng);
        r->lease[i].bytes = number(rng);
    }
    r->n_flows = count(rng, PROTO_FLOWS_MAX);
    for (size_t i = 0; i < r->n_flows; i++)
        random_flow(rng, &r->flow[i]);
    r->n_models = below(rng, 16) ? below(rng, 4) : PROTO_MODELS_MAX;
    r->model = r->n_models ? need(calloc(r->n_models, sizeof(*r->model))) : NULL;
    for (size_t i = 0; i < r->n_models; i++)
        random_model(rng, &r->model[i]);
}

static void random_route(uint64_t *rng, struct rank_route *r, int32_t rank)
{
    r->rank = rank;
    if (below(rng, 2))
        random_key(rng, r->peer);
}

static void random_coordinator(uint64_t *rng, struct coordinator_spec *c)
{
    RANDOM_TEXT(c->model);
    c->header_hash = next(rng);
    RANDOM_TEXT(c->alias);
    c->n_ranks = count(rng, PROTO_RANKS_MAX);
    for (size_t i = 0; i < c->n_ranks; i++)
        RANDOM_TEXT(c->endpoint[i]);
    c->n_devices = count(rng, PROTO_RANKS_MAX * 2);
    for (size_t i = 0; i < c->n_devices; i++) {
        RANDOM_TEXT(c->device[i]);
        c->layers[i] = small(rng);
    }
    c->ctx = small(rng);
    c->slots = small(rng);
    c->batch = small(rng);
    c->ubatch = small(rng);
    RANDOM_TEXT(c->kv_type);
    RANDOM_TEXT(c->api_key);
    c->n_gateways = below(rng, PROTO_GATEWAYS_MAX + 1);
    for (size_t i = 0; i < c->n_gateways; i++)
        random_key(rng, c->gateway[i]);
    c->n_routes = c->n_gateways ? c->n_ranks : 0;
    for (size_t i = 0; i < c->n_routes; i++)
        random_route(rng, &c->route[i], (int32_t)i);
    c->n_args = count(rng, PROTO_ARGS_MAX);
    c->arg = c->n_args ? need(calloc(c->n_args, sizeof(*c->arg))) : NULL;
    for (size_t i = 0; i < c->n_args; i++)
        RANDOM_TEXT(c->arg[i]);
}

static void random_peer(uint64_t *rng, struct peer_facts *p)
{
    random_id(rng, &p->node);
    RANDOM_TEXT(p->name);
    RANDOM_TEXT(p->key);
    p->port = (uint16_t)next(rng);
    p->n_addrs = count(rng, PROTO_ADDRS_MAX);
    for (size_t i = 0; i < p->n_addrs; i++)
        RANDOM_TEXT(p->addr[i]);
}

static void random_command(uint64_t *rng, struct command *c)
{
    c->kind = 1 + (enum command_kind)below(rng, COMMAND_KNOCK);
    switch (c->kind) {
    case COMMAND_LEASE:
        c->lease.n_devices = count(rng, PROTO_DEVICES_MAX);
        for (size_t i = 0; i < c->lease.n_devices; i++) {
            RANDOM_TEXT(c->lease.device[i]);
            c->lease.bytes[i] = number(rng);
        }
        c->lease.host_bytes = number(rng);
        break;
    case COMMAND_START_WORKER:
        c->worker.rank = (int32_t)below(rng, PROTO_RANKS_MAX);
        c->worker.n_devices = count(rng, PROTO_DEVICES_MAX);
        for (size_t i = 0; i < c->worker.n_devices; i++)
            RANDOM_TEXT(c->worker.device[i]);
        if (below(rng, 2))
            random_key(rng, c->worker.peer);
        RANDOM_TEXT(c->worker.model);
        c->worker.header_hash = next(rng);
        break;
    case COMMAND_START_COORDINATOR:
        random_coordinator(rng, &c->coordinator);
        break;
    case COMMAND_STOP:
        c->stop.grace_ms = small(rng);
        c->stop.at_large = below(rng, 2);
        break;
    case COMMAND_KNOCK:
        random_peer(rng, &c->knock);
        break;
    }
}

static void random_neighbours(uint64_t *rng, struct message *m)
{
    struct neighbours *n = m->neighbours = need(calloc(1, sizeof(*n)));

    n->n_peers = count(rng, PROTO_PEERS_MAX);
    for (size_t i = 0; i < n->n_peers; i++)
        random_peer(rng, &n->peer[i]);
    n->n_guests = count(rng, PROTO_PEERS_MAX);
    for (size_t i = 0; i < n->n_guests; i++)
        RANDOM_TEXT(n->guest[i]);
}

static void random_list(uint64_t *rng, char **to, size_t *n_bytes)
{
    size_t size = 1 + (below(rng, 8) ? below(rng, 4000) : PROTO_SNAPSHOT_MAX);

    *to = need(calloc(1, size));
    text(rng, *to, size);
    *n_bytes = strlen(*to);
}

static void random_event(uint64_t *rng, struct message *m)
{
    struct agent_event_facts *e = m->event = need(calloc(1, sizeof(*e)));

    e->kind = 1 + (enum agent_event_kind)below(rng, AGENT_EVENT_PORT_CLASH);
    if (below(rng, 4))
        random_unit(rng, &e->unit);
    RANDOM_TEXT(e->text);
    e->n_buffers = count(rng, sizeof(e->buffers) / sizeof(e->buffers[0]));
    for (size_t i = 0; i < e->n_buffers; i++) {
        RANDOM_TEXT(e->buffers[i].endpoint);
        e->buffers[i].device = small(rng);
        e->buffers[i].model_bytes = number(rng);
        e->buffers[i].kv_bytes = number(rng);
        e->buffers[i].compute_bytes = number(rng);
    }
}

static void random_message(uint64_t *rng, enum message_kind last, struct message *m);

static void random_body(uint64_t *rng, struct message *m)
{
    switch (m->kind) {
    case MESSAGE_HELLO:
        random_id(rng, &m->hello.node);
        RANDOM_TEXT(m->hello.name);
        RANDOM_TEXT(m->hello.boot_id);
        RANDOM_TEXT(m->hello.build_problem);
        random_rpc(rng, &m->hello.rpc);
        m->hello.n_addrs = count(rng, PROTO_ADDRS_MAX);
        for (size_t i = 0; i < m->hello.n_addrs; i++)
            RANDOM_TEXT(m->hello.addr[i]);
        m->hello.port = (uint16_t)next(rng);
        break;
    case MESSAGE_WELCOME:
        random_id(rng, &m->welcome.controller);
        RANDOM_TEXT(m->welcome.name);
        RANDOM_TEXT(m->welcome.refused);
        break;
    case MESSAGE_REPORT:
        random_report(rng, m);
        break;
    case MESSAGE_COMMAND:
        random_command(rng, &m->command);
        break;
    case MESSAGE_RESULT:
        m->result.code = 1 + (enum result_code)below(rng, RESULT_FAILED);
        RANDOM_TEXT(m->result.reason);
        RANDOM_TEXT(m->result.text);
        RANDOM_TEXT(m->result.unit);
        m->result.port = (uint16_t)next(rng);
        m->result.newest_epoch = number(rng);
        break;
    case MESSAGE_EVENT:
        random_event(rng, m);
        break;
    case MESSAGE_NEIGHBOURS:
        random_neighbours(rng, m);
        break;
    case MESSAGE_SNAPSHOT:
        m->snapshot.made_wall_ms = number(rng);
        random_list(rng, &m->snapshot.nodes, &m->snapshot.n_nodes_bytes);
        random_list(rng, &m->snapshot.instances, &m->snapshot.n_instances_bytes);
        break;
    case MESSAGE_HEALTH:
        m->health = (struct health){.linked = below(rng, 2), .uptime_ms = number(rng)};
        break;
    case MESSAGE_RELAY:
        RANDOM_TEXT(m->relay.key);
        m->relay.inner = need(calloc(1, sizeof(*m->relay.inner)));
        random_message(rng, MESSAGE_HEALTH, m->relay.inner); /* of any kind but a relay */
        break;
    case MESSAGE_PING:
    case MESSAGE_PONG:
        m->nonce = number(rng);
        break;
    case MESSAGE_JOIN:
        random_key(rng, m->join.key);
        RANDOM_TEXT(m->join.name);
        break;
    case MESSAGE_JOINED:
        random_key(rng, m->joined.key);
        RANDOM_TEXT(m->joined.refused);
        break;
    }
}

static void random_message(uint64_t *rng, enum message_kind last, struct message *m)
{
    m->kind = 1 + (enum message_kind)below(rng, last);
    m->version_major = PROTOCOL_MAJOR;
    m->version_minor = PROTOCOL_MINOR;
    random_id(rng, &m->cluster);
    m->term = number(rng);
    m->seq = number(rng);
    random_id(rng, &m->instance);
    m->epoch = number(rng);
    m->command_id = number(rng);
    random_body(rng, m);
}

struct message *message_random_new(uint64_t seed)
{
    struct message *m = need(calloc(1, sizeof(*m)));

    random_message(&seed, MESSAGE_JOINED, m);
    return m;
}

/* ---- comparison: both sides were zeroed before they were filled, so padding is equal too ---- */

static bool same_report(const struct report *a, const struct report *b)
{
    struct report flat_a = *a, flat_b = *b;

    if (a->n_models != b->n_models)
        return false;
    for (size_t i = 0; i < a->n_models; i++) {
        struct model_facts x = a->model[i], y = b->model[i];

        if (!x.shape != !y.shape)
            return false;
        if (x.shape && (x.shape->n_layer != y.shape->n_layer ||
                        memcmp(x.shape, y.shape, sizeof(*x.shape) + x.shape->n_layer * sizeof(x.shape->layer[0]))))
            return false;
        x.shape = y.shape = NULL;
        if (memcmp(&x, &y, sizeof(x)))
            return false;
    }
    flat_a.model = flat_b.model = NULL;
    return !memcmp(&flat_a, &flat_b, sizeof(flat_a));
}

static bool same_snapshot(const struct snapshot *a, const struct snapshot *b)
{
    return a->made_wall_ms == b->made_wall_ms && a->n_nodes_bytes == b->n_nodes_bytes &&
           a->n_instances_bytes == b->n_instances_bytes && !memcmp(a->nodes, b->nodes, a->n_nodes_bytes + 1) &&
           !memcmp(a->instances, b->instances, a->n_instances_bytes + 1);
}

bool message_same(const struct message *a, const struct message *b)
{
    struct message flat_a = *a, flat_b = *b;

    flat_a.n_unknown = flat_b.n_unknown = 0;
    if (a->kind != b->kind)
        return false;
    if (a->kind == MESSAGE_REPORT) {
        if (!same_report(a->report, b->report))
            return false;
        flat_a.report = flat_b.report = NULL;
    }
    if (a->kind == MESSAGE_EVENT) {
        if (memcmp(a->event, b->event, sizeof(*a->event)))
            return false;
        flat_a.event = flat_b.event = NULL;
    }
    if (a->kind == MESSAGE_COMMAND && a->command.kind == COMMAND_START_COORDINATOR) {
        const struct coordinator_spec *x = &a->command.coordinator, *y = &b->command.coordinator;

        if (x->n_args != y->n_args || (x->n_args && memcmp(x->arg, y->arg, x->n_args * sizeof(*x->arg))))
            return false;
        flat_a.command.coordinator.arg = flat_b.command.coordinator.arg = NULL;
    }
    if (a->kind == MESSAGE_NEIGHBOURS) {
        if (memcmp(a->neighbours, b->neighbours, sizeof(*a->neighbours)))
            return false;
        flat_a.neighbours = flat_b.neighbours = NULL;
    }
    if (a->kind == MESSAGE_SNAPSHOT) {
        if (!same_snapshot(&a->snapshot, &b->snapshot))
            return false;
        flat_a.snapshot = flat_b.snapshot = (struct snapshot){0};
    }
    if (a->kind == MESSAGE_RELAY) {
        if (!message_same(a->relay.inner, b->relay.inner))
            return false;
        flat_a.relay.inner = flat_b.relay.inner = NULL;
    }
    return !memcmp(&flat_a, &flat_b, sizeof(flat_a));
}
