/* Between struct message and its bytes. One table per struct names each field once, with its bounds, so that packing and
 * unpacking cannot disagree. What does not fit a table (heap arrays, columns of a model's layers, the two oneofs) is
 * done by hand below them. */
#include "common/message.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "caravan.pb-c.h"
#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/message_map.h"

enum { KIND_FIRST = 16, KIND_LAST = 63 }; /* fields of Envelope that are kinds, known or not */

/* ---- tables ---- */

/* A table sets P, protobuf-c's struct, and S, ours. A member whose type is not the one promised does not compile. */
#define SAME(T, expr)   (sizeof(char[__builtin_types_compatible_p(T, __typeof__(expr)) ? 1 : -1]) - 1)
#define WIRE(m, T)      .wire = offsetof(P, m) + SAME(T, ((P *)0)->m)
#define OWN(m, T)       .own = offsetof(S, m) + SAME(T, ((S *)0)->m)
#define SIZE(m)         .size = sizeof(((S *)0)->m)
#define COUNT(m, count) .wire_n = offsetof(P, n_##m), .own_n = offsetof(S, count) + SAME(size_t, ((S *)0)->count)
#define ELEMENTS(m)     .size = sizeof(((S *)0)->m[0]), .max = sizeof(((S *)0)->m) / sizeof(((S *)0)->m[0])
#define NUMBER(m, W, T) WIRE(m, W), OWN(m, T)

#define TEXT(m)             .type = FIELD_TEXT, WIRE(m, ProtobufCBinaryData), OWN(m, char[]), SIZE(m)
#define ID(m)               .type = FIELD_ID, WIRE(m, ProtobufCBinaryData), OWN(m, struct id128)
#define BOOL(m)             .type = FIELD_BOOL, NUMBER(m, protobuf_c_boolean, bool)
#define CHAR(m)             .type = FIELD_CHAR, NUMBER(m, uint32_t, char)
#define U8(m)               .type = FIELD_U8, NUMBER(m, uint32_t, uint8_t)
#define U16(m)              .type = FIELD_U16, NUMBER(m, uint32_t, uint16_t)
#define U32(m)              .type = FIELD_U32, NUMBER(m, uint32_t, uint32_t)
#define U64(m)              .type = FIELD_U64, NUMBER(m, uint64_t, uint64_t)
#define I32(m, least, most) .type = FIELD_I32, NUMBER(m, int32_t, int32_t), .min = (least), .max = (most)
/* C has no one type for enums; both sides must have the size of an int. */
#define ENUM(m, last)                                                  \
    .type = FIELD_ENUM, .wire = offsetof(P, m), .own = offsetof(S, m), \
    .max = (last) + 0 * sizeof(char[sizeof(((S *)0)->m) == 4 && sizeof(((P *)0)->m) == 4 ? 1 : -1])
#define SUB(m, map) .type = FIELD_SUB, .wire = offsetof(P, m), .own = offsetof(S, m), SIZE(m), .sub = &map##_map
#define TEXTS(m, count) \
    .type = FIELD_TEXTS, WIRE(m, ProtobufCBinaryData *), .own = offsetof(S, m), COUNT(m, count), ELEMENTS(m)
#define U32S(m, count) .type = FIELD_U32S, WIRE(m, uint32_t *), OWN(m, uint32_t[]), COUNT(m, count), ELEMENTS(m)
#define U64S(m, count) .type = FIELD_U64S, WIRE(m, uint64_t *), OWN(m, uint64_t[]), COUNT(m, count), ELEMENTS(m)
#define LIST(m, count, map) \
    .type = FIELD_LIST, .wire = offsetof(P, m), .own = offsetof(S, m), COUNT(m, count), ELEMENTS(m), .sub = &map##_map

/* NAME_map for the table NAME_fields of protobuf-c's message caravan__NAME. */
#define MAP(name, fields) \
    static const struct map name##_map = {&caravan__##name##__descriptor, sizeof(fields) / sizeof((fields)[0]), fields}

/* Enums go over the wire as they are. */
#define SAME_ENUM(theirs, ours) _Static_assert((int)CARAVAN__##theirs == (int)(ours), #theirs " is another number")
SAME_ENUM(DEVICE_KIND__DEVICE_KIND_UNIFIED, DEVICE_UNIFIED);
SAME_ENUM(UNIT_ROLE__UNIT_ROLE_COORDINATOR, UNIT_COORDINATOR);
SAME_ENUM(UNIT_STATE__UNIT_STATE_FAILED, UNIT_FAILED);
SAME_ENUM(RESULT_CODE__RESULT_CODE_FAILED, RESULT_FAILED);
SAME_ENUM(EVENT_KIND__EVENT_KIND_PORT_CLASH, AGENT_EVENT_PORT_CLASH);

#define P Caravan__RpcVersion
#define S struct rpc_version
static const struct field rpc_version_fields[] = {{U8(major)}, {U8(minor)}, {U8(patch)}};
MAP(rpc_version, rpc_version_fields);
#undef P
#undef S

#define P Caravan__Hello
#define S struct hello
static const struct field hello_fields[] = {
    {ID(node)},
    {TEXT(name)},
    {TEXT(boot_id)},
    {TEXT(version)},
    {TEXT(build)},
    {TEXT(build_problem)},
    {SUB(rpc, rpc_version)},
    {TEXT(transport)},
    {TEXTS(addr, n_addrs)},
    {BOOL(can_coordinate)},
    {U16(port)},
};
MAP(hello, hello_fields);
#undef P
#undef S

#define P Caravan__Welcome
#define S struct welcome
static const struct field welcome_fields[] = {
    {ID(controller)}, {TEXT(name)}, {TEXT(version)}, {BOOL(open)}, {TEXT(refused)}};
MAP(welcome, welcome_fields);
#undef P
#undef S

#define P Caravan__Device
#define S struct device_facts
static const struct field device_fields[] = {
    {TEXT(name)},
    {TEXT(description)},
    {ENUM(kind, DEVICE_UNIFIED)},
    {U64(total_bytes)},
    {U64(free_bytes)},
    {I32(utilization_permille, -1, 1000)},
    {I32(temperature_c, INT32_MIN, INT32_MAX)},
};
MAP(device, device_fields);
#undef P
#undef S

#define P Caravan__Exit
#define S struct exit_facts
static const struct field exit_fields[] = {
    {BOOL(known)},
    {I32(code, INT32_MIN, INT32_MAX)},
    {I32(signal, INT32_MIN, INT32_MAX)},
};
MAP(exit, exit_fields);
#undef P
#undef S

#define P Caravan__Unit
#define S struct unit_facts
static const struct field unit_fields[] = {
    {TEXT(id)},
    {ENUM(role, UNIT_COORDINATOR)},
    {ENUM(state, UNIT_FAILED)},
    {BOOL(standing)},
    {ID(instance)},
    {U64(epoch)},
    {I32(rank, -1, PROTO_RANKS_MAX - 1)},
    {TEXT(addr)},
    {U16(port)},
    {I32(pid, 0, INT32_MAX)},
    {U64(rss_bytes)},
    {U64(cpu_ms)},
    {CHAR(proc_state)},
    {BOOL(dying)},
    {BOOL(adopted)},
    {U32(restarts)},
    {SUB(rpc, rpc_version)},
    {SUB(exit, exit)},
    {TEXTS(device, n_devices)},
    {U64S(device_total_bytes, n_devices)},
    {U64(frozen_ms)},
    {BOOL(retransmits)},
    {U32(closed_streams)},
    {U64(n_decode)},
    {U64(http_silent_ms)},
};
MAP(unit, unit_fields);
#undef P
#undef S

#define P Caravan__Lease
#define S struct lease_facts
static const struct field lease_fields[] = {{ID(instance)}, {U64(epoch)}, {U64(bytes)}};
MAP(lease, lease_fields);
#undef P
#undef S

#define P Caravan__Report
#define S struct report
static const struct field report_fields[] = {
    {BOOL(full)},
    {U64(uptime_ms)},
    {U32(load_permille)},
    {U64(memory_limit_bytes)},
    {U64(host_total_bytes)},
    {U64(host_free_bytes)},
    {BOOL(has_devices)},
    {BOOL(has_units)},
    {BOOL(has_models)},
    {LIST(device, n_devices, device)},
    {LIST(unit, n_units, unit)},
    {LIST(lease, n_leases, lease)},
};
MAP(report, report_fields);
#undef P
#undef S

#define P Caravan__Model
#define S struct model_facts
static const struct field model_fields[] = {
    {TEXT(name)},   {TEXT(path)},       {U64(size_bytes)}, {U64(mtime_wall_ms)},
    {U32(n_files)}, {U64(header_hash)}, {TEXT(problem)},
};
MAP(model, model_fields);
#undef P
#undef S

#define P Caravan__Shape
#define S struct model_shape
static const struct field shape_fields[] = {
    {TEXT(arch)},
    {U32(n_embd)},
    {U32(n_head)},
    {U32(n_ff)},
    {U32(head_dim_k)},
    {U32(head_dim_v)},
    {U32(n_vocab)},
    {U32(n_ctx_train)},
    {U32(n_expert)},
    {U32(n_expert_used)},
    {U32(n_ff_expert)},
    {U32(n_swa)},
    {U32(ssm_conv)},
    {U32(ssm_inner)},
    {U32(ssm_state)},
    {BOOL(has_projector)},
    {U64(token_embd_bytes)},
    {U64(output_bytes)},
    {U64(output_max_tensor_bytes)},
    {U64(other_bytes)},
    {BOOL(output_tied)},
};
MAP(shape, shape_fields);
#undef P
#undef S

#define P Caravan__TakeLease
#define S __typeof__(((struct command *)0)->lease)
static const struct field take_lease_fields[] = {
    {TEXTS(device, n_devices)}, {U64S(bytes, n_devices)}, {U64(host_bytes)}};
MAP(take_lease, take_lease_fields);
#undef P
#undef S

#define P Caravan__StartWorker
#define S __typeof__(((struct command *)0)->worker)
static const struct field start_worker_fields[] = {{I32(rank, 0, PROTO_RANKS_MAX - 1)}, {TEXTS(device, n_devices)}};
MAP(start_worker, start_worker_fields);
#undef P
#undef S

#define P Caravan__StartCoordinator
#define S struct coordinator_spec
static const struct field start_coordinator_fields[] = {
    {TEXT(model)},
    {U64(header_hash)},
    {TEXT(alias)},
    {TEXTS(endpoint, n_ranks)},
    {TEXTS(device, n_devices)},
    {U32S(layers, n_devices)},
    {U32(ctx)},
    {U32(slots)},
    {U32(batch)},
    {U32(ubatch)},
    {TEXT(kv_type)},
    {TEXT(api_key)},
};
MAP(start_coordinator, start_coordinator_fields);
#undef P
#undef S

#define P Caravan__Stop
#define S __typeof__(((struct command *)0)->stop)
static const struct field stop_fields[] = {{U32(grace_ms)}};
MAP(stop, stop_fields);
#undef P
#undef S

#define P Caravan__Peer
#define S struct peer_facts
static const struct field peer_fields[] = {{ID(node)}, {TEXT(name)}, {TEXT(key)}, {U16(port)}, {TEXTS(addr, n_addrs)}};
MAP(peer, peer_fields);
#undef P
#undef S

#define P Caravan__Neighbours
#define S struct neighbours
static const struct field neighbours_fields[] = {{LIST(peer, n_peers, peer)}, {TEXTS(guest, n_guests)}};
MAP(neighbours, neighbours_fields);
#undef P
#undef S

#define P Caravan__Snapshot
#define S struct snapshot
static const struct field snapshot_fields[] = {{U64(made_wall_ms)}};
MAP(snapshot, snapshot_fields);
#undef P
#undef S

#define P Caravan__Health
#define S struct health
static const struct field health_fields[] = {{BOOL(linked)}, {U64(uptime_ms)}};
MAP(health, health_fields);
#undef P
#undef S

#define P Caravan__Relay
#define S struct relay
static const struct field relay_fields[] = {{TEXT(key)}};
MAP(relay, relay_fields);
#undef P
#undef S

#define P Caravan__Ping
#define S struct message
static const struct field ping_fields[] = {{U64(nonce)}};
MAP(ping, ping_fields);
#undef P
#undef S

#define P Caravan__Result
#define S struct result
static const struct field result_fields[] = {
    {ENUM(code, RESULT_FAILED)}, {TEXT(reason)},      {TEXT(text)}, {TEXT(addr)}, {U16(port)}, {TEXT(unit)},
    {SUB(rpc, rpc_version)},     {U64(newest_epoch)},
};
MAP(result, result_fields);
#undef P
#undef S

#define P Caravan__RankBuffers
#define S struct rank_buffers
static const struct field rank_buffers_fields[] = {
    {TEXT(endpoint)}, {U32(device)}, {U64(model_bytes)}, {U64(kv_bytes)}, {U64(compute_bytes)},
};
MAP(rank_buffers, rank_buffers_fields);
#undef P
#undef S

#define P Caravan__Event
#define S struct agent_event_facts
static const struct field event_fields[] = {
    {ENUM(kind, AGENT_EVENT_PORT_CLASH)},
    {TEXT(text)},
    {LIST(buffers, n_buffers, rank_buffers)},
};
MAP(event, event_fields);
#undef P
#undef S

#define P Caravan__Envelope
#define S struct message
static const struct field envelope_fields[] = {
    {U32(version_major)}, {U32(version_minor)}, {ID(cluster)}, {U64(term)},
    {U64(seq)},           {ID(instance)},       {U64(epoch)},  {U64(command_id)},
};
MAP(envelope, envelope_fields);
#undef P
#undef S

/* ---- from protobuf-c's structs to ours ---- */

static int get_shape(const Caravan__Shape *wire, struct model_shape **ret)
{
    size_t n = wire->n_layer_weight_bytes;
    CLEANUP(cleanup_free) struct model_shape *s = NULL;
    int r;

    if (n > MODEL_LAYERS_MAX || wire->n_layer_max_tensor_bytes != n || wire->n_layer_n_head_kv != n ||
        wire->n_layer_n_ff != n)
        return MESSAGE_E_MALFORMED;
    s = model_shape_new((uint32_t)n);
    if (!s)
        return err_raise(-ENOMEM);
    r = map_get(&shape_map, wire, s);
    if (r)
        return r;
    for (size_t i = 0; i < n; i++)
        s->layer[i] = (struct model_layer){.weight_bytes = wire->layer_weight_bytes[i],
                                           .max_tensor_bytes = wire->layer_max_tensor_bytes[i],
                                           .n_head_kv = wire->layer_n_head_kv[i],
                                           .n_ff = wire->layer_n_ff[i]};
    *ret = s;
    s = NULL;
    return 0;
}

static int get_report(const Caravan__Report *wire, struct message *m)
{
    struct report *own = m->report = calloc(1, sizeof(*own));
    int r;

    if (!own)
        return err_raise(-ENOMEM);
    r = map_get(&report_map, wire, own);
    if (r || wire->n_model == 0)
        return r;
    if (wire->n_model > PROTO_MODELS_MAX)
        return MESSAGE_E_MALFORMED;
    own->model = calloc(wire->n_model, sizeof(*own->model));
    if (!own->model)
        return err_raise(-ENOMEM);
    own->n_models = wire->n_model;
    for (size_t i = 0; i < own->n_models && !r; i++) {
        r = map_get(&model_map, wire->model[i], &own->model[i]);
        if (!r && wire->model[i]->shape)
            r = get_shape(wire->model[i]->shape, &own->model[i].shape);
    }
    return r;
}

static int get_coordinator(const Caravan__StartCoordinator *wire, struct coordinator_spec *own)
{
    int r = map_get(&start_coordinator_map, wire, own);

    if (r || wire->n_arg == 0)
        return r;
    if (wire->n_arg > PROTO_ARGS_MAX)
        return MESSAGE_E_MALFORMED;
    own->arg = calloc(wire->n_arg, sizeof(*own->arg));
    if (!own->arg)
        return err_raise(-ENOMEM);
    own->n_args = wire->n_arg;
    for (size_t i = 0; i < own->n_args && !r; i++)
        r = map_get_text(&wire->arg[i], own->arg[i], sizeof(own->arg[i]));
    return r;
}

static int get_command(const Caravan__Command *wire, struct command *own)
{
    switch (wire->body_case) {
    case CARAVAN__COMMAND__BODY_LEASE:
        own->kind = COMMAND_LEASE;
        return map_get(&take_lease_map, wire->lease, &own->lease);
    case CARAVAN__COMMAND__BODY_WORKER:
        own->kind = COMMAND_START_WORKER;
        return map_get(&start_worker_map, wire->worker, &own->worker);
    case CARAVAN__COMMAND__BODY_COORDINATOR:
        own->kind = COMMAND_START_COORDINATOR;
        return get_coordinator(wire->coordinator, &own->coordinator);
    case CARAVAN__COMMAND__BODY_STOP:
        own->kind = COMMAND_STOP;
        return map_get(&stop_map, wire->stop, &own->stop);
    case CARAVAN__COMMAND__BODY_KNOCK:
        own->kind = COMMAND_KNOCK;
        return map_get(&peer_map, wire->knock, &own->knock);
    case CARAVAN__COMMAND__BODY__NOT_SET:
    case _CARAVAN__COMMAND__BODY__CASE_IS_INT_SIZE:
        break;
    }
    return wire->base.n_unknown_fields ? MESSAGE_E_UNKNOWN_KIND : MESSAGE_E_MALFORMED;
}

static int get_event(const Caravan__Event *wire, struct message *m)
{
    struct agent_event_facts *own = m->event = calloc(1, sizeof(*own));
    int r;

    if (!own)
        return err_raise(-ENOMEM);
    r = map_get(&event_map, wire, own);
    if (r || !wire->unit)
        return r;
    r = map_get(&unit_map, wire->unit, &own->unit);
    return r || own->unit.id[0] ? r : MESSAGE_E_MALFORMED; /* an empty id is for events about no unit */
}

static int get_neighbours(const Caravan__Neighbours *wire, struct message *m)
{
    m->neighbours = calloc(1, sizeof(*m->neighbours));
    if (!m->neighbours)
        return err_raise(-ENOMEM);
    return map_get(&neighbours_map, wire, m->neighbours);
}

static int get_list_text(const ProtobufCBinaryData *from, char **ret, size_t *ret_n_bytes)
{
    if (from->len > PROTO_SNAPSHOT_MAX)
        return MESSAGE_E_MALFORMED;
    *ret = calloc(1, from->len + 1);
    if (!*ret)
        return err_raise(-ENOMEM);
    *ret_n_bytes = from->len;
    return map_get_text(from, *ret, from->len + 1);
}

static int get_snapshot(const Caravan__Snapshot *wire, struct snapshot *own)
{
    int r = map_get(&snapshot_map, wire, own);

    if (!r)
        r = get_list_text(&wire->nodes, &own->nodes, &own->n_nodes_bytes);
    if (!r)
        r = get_list_text(&wire->instances, &own->instances, &own->n_instances_bytes);
    return r;
}

static int unpack(const void *buf, size_t n_bytes, bool relayed, struct message **ret);

/* Who carries a message has unpacked it and packed it anew: another version in there is the carrier's mistake. */
static int get_relay(const Caravan__Relay *wire, struct relay *own)
{
    int r = map_get(&relay_map, wire, own);

    if (!r)
        r = unpack(wire->inner.data, wire->inner.len, true, &own->inner);
    return r == MESSAGE_E_VERSION ? MESSAGE_E_MALFORMED : r;
}

static bool has_unknown_kind(const Caravan__Envelope *wire)
{
    for (size_t i = 0; i < wire->base.n_unknown_fields; i++) {
        if (wire->base.unknown_fields[i].tag >= KIND_FIRST && wire->base.unknown_fields[i].tag <= KIND_LAST)
            return true;
    }
    return false;
}

/* m->kind is set before what it owns, so that message_destroy works on half of a message. */
static int get_body(const Caravan__Envelope *wire, struct message *m)
{
    switch (wire->body_case) {
    case CARAVAN__ENVELOPE__BODY_HELLO:
        m->kind = MESSAGE_HELLO;
        return map_get(&hello_map, wire->hello, &m->hello);
    case CARAVAN__ENVELOPE__BODY_WELCOME:
        m->kind = MESSAGE_WELCOME;
        return map_get(&welcome_map, wire->welcome, &m->welcome);
    case CARAVAN__ENVELOPE__BODY_REPORT:
        m->kind = MESSAGE_REPORT;
        return get_report(wire->report, m);
    case CARAVAN__ENVELOPE__BODY_COMMAND:
        m->kind = MESSAGE_COMMAND;
        return get_command(wire->command, &m->command);
    case CARAVAN__ENVELOPE__BODY_RESULT:
        m->kind = MESSAGE_RESULT;
        return map_get(&result_map, wire->result, &m->result);
    case CARAVAN__ENVELOPE__BODY_EVENT:
        m->kind = MESSAGE_EVENT;
        return get_event(wire->event, m);
    case CARAVAN__ENVELOPE__BODY_NEIGHBOURS:
        m->kind = MESSAGE_NEIGHBOURS;
        return get_neighbours(wire->neighbours, m);
    case CARAVAN__ENVELOPE__BODY_SNAPSHOT:
        m->kind = MESSAGE_SNAPSHOT;
        return get_snapshot(wire->snapshot, &m->snapshot);
    case CARAVAN__ENVELOPE__BODY_HEALTH:
        m->kind = MESSAGE_HEALTH;
        return map_get(&health_map, wire->health, &m->health);
    case CARAVAN__ENVELOPE__BODY_RELAY:
        m->kind = MESSAGE_RELAY;
        return get_relay(wire->relay, &m->relay);
    case CARAVAN__ENVELOPE__BODY_PING:
        m->kind = MESSAGE_PING;
        return map_get(&ping_map, wire->ping, m);
    case CARAVAN__ENVELOPE__BODY_PONG:
        m->kind = MESSAGE_PONG;
        return map_get(&ping_map, wire->pong, m);
    case CARAVAN__ENVELOPE__BODY__NOT_SET:
    case _CARAVAN__ENVELOPE__BODY__CASE_IS_INT_SIZE:
        break;
    }
    return has_unknown_kind(wire) ? MESSAGE_E_UNKNOWN_KIND : MESSAGE_E_MALFORMED;
}

/* Bytes that are no Envelope of ours may be one of another major version. */
static int why_not_ours(const void *buf, size_t n_bytes)
{
    CLEANUP(map_parsed_destroy) ProtobufCMessage *prelude = NULL;
    int r = map_parse(&caravan__prelude__descriptor, buf, n_bytes, &prelude);
    uint32_t major;

    if (r)
        return r;
    major = ((Caravan__Prelude *)prelude)->version_major;
    return major && major != PROTOCOL_MAJOR ? MESSAGE_E_VERSION : MESSAGE_E_MALFORMED;
}

/* relayed: what a relay carries, which must not be a relay again: nothing below this level is parsed then. */
static int unpack(const void *buf, size_t n_bytes, bool relayed, struct message **ret)
{
    CLEANUP(map_parsed_destroy) ProtobufCMessage *wire = NULL;
    CLEANUP(message_destroy) struct message *m = NULL;
    int r;

    r = map_parse(&caravan__envelope__descriptor, buf, n_bytes, &wire);
    if (r < 0)
        return err_pass(r);
    if (r || ((Caravan__Envelope *)wire)->version_major != PROTOCOL_MAJOR)
        return why_not_ours(buf, n_bytes);
    if (relayed && ((Caravan__Envelope *)wire)->body_case == CARAVAN__ENVELOPE__BODY_RELAY)
        return MESSAGE_E_MALFORMED;
    m = calloc(1, sizeof(*m));
    if (!m)
        return err_raise(-ENOMEM);
    r = map_get(&envelope_map, wire, m);
    if (!r)
        r = get_body((Caravan__Envelope *)wire, m);
    if (r)
        return r < 0 ? err_pass(r) : r;
    m->n_unknown = map_count_unknown(wire);
    *ret = m;
    m = NULL;
    return 0;
}

int message_unpack(const void *buf, size_t n_bytes, struct message **ret)
{
    return n_bytes > PROTO_MESSAGE_MAX ? MESSAGE_E_TOO_LARGE : unpack(buf, n_bytes, false, ret);
}

/* ---- from our structs to protobuf-c's ---- */

static Caravan__Shape *put_shape(struct arena *a, const struct model_shape *own)
{
    Caravan__Shape *wire = map_put(a, &shape_map, own);
    size_t n = own->n_layer;
    uint64_t *wide = arena_take(a, 2 * n, sizeof(*wide));
    uint32_t *narrow = arena_take(a, 2 * n, sizeof(*narrow));

    if (!wire || !wide || !narrow)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        wide[i] = own->layer[i].weight_bytes;
        wide[n + i] = own->layer[i].max_tensor_bytes;
        narrow[i] = own->layer[i].n_head_kv;
        narrow[n + i] = own->layer[i].n_ff;
    }
    wire->n_layer_weight_bytes = wire->n_layer_max_tensor_bytes = wire->n_layer_n_head_kv = wire->n_layer_n_ff = n;
    wire->layer_weight_bytes = wide;
    wire->layer_max_tensor_bytes = wide + n;
    wire->layer_n_head_kv = narrow;
    wire->layer_n_ff = narrow + n;
    return wire;
}

static Caravan__Report *put_report(struct arena *a, const struct report *own)
{
    Caravan__Report *wire = map_put(a, &report_map, own);

    assert(own->n_models <= PROTO_MODELS_MAX);
    if (!wire)
        return NULL;
    wire->n_model = own->n_models;
    wire->model = arena_take(a, own->n_models, sizeof(*wire->model));
    if (!wire->model)
        return NULL;
    for (size_t i = 0; i < own->n_models; i++) {
        wire->model[i] = map_put(a, &model_map, &own->model[i]);
        if (!wire->model[i])
            return NULL;
        if (!own->model[i].shape)
            continue;
        wire->model[i]->shape = put_shape(a, own->model[i].shape);
        if (!wire->model[i]->shape)
            return NULL;
    }
    return wire;
}

static Caravan__StartCoordinator *put_coordinator(struct arena *a, const struct coordinator_spec *own)
{
    Caravan__StartCoordinator *wire = map_put(a, &start_coordinator_map, own);

    assert(own->n_args <= PROTO_ARGS_MAX);
    if (!wire)
        return NULL;
    wire->n_arg = own->n_args;
    wire->arg = arena_take(a, own->n_args, sizeof(*wire->arg));
    if (!wire->arg)
        return NULL;
    for (size_t i = 0; i < own->n_args; i++) {
        if (map_put_text(a, own->arg[i], sizeof(own->arg[i]), &wire->arg[i]))
            return NULL;
    }
    return wire;
}

static Caravan__Command *put_command(struct arena *a, const struct command *own)
{
    static const struct map empty = {&caravan__command__descriptor, 0, NULL};
    Caravan__Command *wire = map_put(a, &empty, own);

    if (!wire)
        return NULL;
    switch (own->kind) {
    case COMMAND_LEASE:
        wire->body_case = CARAVAN__COMMAND__BODY_LEASE;
        wire->lease = map_put(a, &take_lease_map, &own->lease);
        break;
    case COMMAND_START_WORKER:
        wire->body_case = CARAVAN__COMMAND__BODY_WORKER;
        wire->worker = map_put(a, &start_worker_map, &own->worker);
        break;
    case COMMAND_START_COORDINATOR:
        wire->body_case = CARAVAN__COMMAND__BODY_COORDINATOR;
        wire->coordinator = put_coordinator(a, &own->coordinator);
        break;
    case COMMAND_STOP:
        wire->body_case = CARAVAN__COMMAND__BODY_STOP;
        wire->stop = map_put(a, &stop_map, &own->stop);
        break;
    case COMMAND_KNOCK:
        wire->body_case = CARAVAN__COMMAND__BODY_KNOCK;
        wire->knock = map_put(a, &peer_map, &own->knock);
        break;
    }
    return wire->lease ? wire : NULL; /* a union: whichever it was */
}

static Caravan__Event *put_event(struct arena *a, const struct agent_event_facts *own)
{
    Caravan__Event *wire = map_put(a, &event_map, own);

    if (!wire || own->unit.id[0] == '\0')
        return wire;
    wire->unit = map_put(a, &unit_map, &own->unit);
    return wire->unit ? wire : NULL;
}

static int put_list_text(struct arena *a, const char *from, size_t n_bytes, ProtobufCBinaryData *to)
{
    assert(n_bytes <= PROTO_SNAPSHOT_MAX);
    return n_bytes ? map_put_text(a, from, n_bytes + 1, to) : 0;
}

static Caravan__Snapshot *put_snapshot(struct arena *a, const struct snapshot *own)
{
    Caravan__Snapshot *wire = map_put(a, &snapshot_map, own);

    if (!wire || put_list_text(a, own->nodes, own->n_nodes_bytes, &wire->nodes) ||
        put_list_text(a, own->instances, own->n_instances_bytes, &wire->instances))
        return NULL;
    return wire;
}

static Caravan__Envelope *put_message(struct arena *a, const struct message *m);

static Caravan__Relay *put_relay(struct arena *a, const struct relay *own)
{
    Caravan__Relay *wire = map_put(a, &relay_map, own);
    Caravan__Envelope *inner;

    assert(own->inner->kind != MESSAGE_RELAY);
    inner = put_message(a, own->inner);
    if (!wire || !inner)
        return NULL;
    wire->inner.data = arena_take(a, protobuf_c_message_get_packed_size(&inner->base), 1);
    if (!wire->inner.data)
        return NULL;
    wire->inner.len = protobuf_c_message_pack(&inner->base, wire->inner.data);
    return wire;
}

static Caravan__Envelope *put_message(struct arena *a, const struct message *m)
{
    Caravan__Envelope *wire = map_put(a, &envelope_map, m);

    if (!wire)
        return NULL;
    wire->version_major = PROTOCOL_MAJOR;
    wire->version_minor = PROTOCOL_MINOR;
    switch (m->kind) {
    case MESSAGE_HELLO:
        wire->body_case = CARAVAN__ENVELOPE__BODY_HELLO;
        wire->hello = map_put(a, &hello_map, &m->hello);
        break;
    case MESSAGE_WELCOME:
        wire->body_case = CARAVAN__ENVELOPE__BODY_WELCOME;
        wire->welcome = map_put(a, &welcome_map, &m->welcome);
        break;
    case MESSAGE_REPORT:
        wire->body_case = CARAVAN__ENVELOPE__BODY_REPORT;
        wire->report = put_report(a, m->report);
        break;
    case MESSAGE_COMMAND:
        wire->body_case = CARAVAN__ENVELOPE__BODY_COMMAND;
        wire->command = put_command(a, &m->command);
        break;
    case MESSAGE_RESULT:
        wire->body_case = CARAVAN__ENVELOPE__BODY_RESULT;
        wire->result = map_put(a, &result_map, &m->result);
        break;
    case MESSAGE_EVENT:
        wire->body_case = CARAVAN__ENVELOPE__BODY_EVENT;
        wire->event = put_event(a, m->event);
        break;
    case MESSAGE_NEIGHBOURS:
        wire->body_case = CARAVAN__ENVELOPE__BODY_NEIGHBOURS;
        wire->neighbours = map_put(a, &neighbours_map, m->neighbours);
        break;
    case MESSAGE_SNAPSHOT:
        wire->body_case = CARAVAN__ENVELOPE__BODY_SNAPSHOT;
        wire->snapshot = put_snapshot(a, &m->snapshot);
        break;
    case MESSAGE_HEALTH:
        wire->body_case = CARAVAN__ENVELOPE__BODY_HEALTH;
        wire->health = map_put(a, &health_map, &m->health);
        break;
    case MESSAGE_RELAY:
        wire->body_case = CARAVAN__ENVELOPE__BODY_RELAY;
        wire->relay = put_relay(a, &m->relay);
        break;
    case MESSAGE_PING:
        wire->body_case = CARAVAN__ENVELOPE__BODY_PING;
        wire->ping = map_put(a, &ping_map, m);
        break;
    case MESSAGE_PONG:
        wire->body_case = CARAVAN__ENVELOPE__BODY_PONG;
        wire->pong = map_put(a, &ping_map, m);
        break;
    }
    return wire->hello ? wire : NULL; /* a union: whichever it was */
}

int message_pack(const struct message *m, uint8_t **ret, size_t *ret_n_bytes)
{
    CLEANUP(arena_clear) struct arena arena = {0};
    Caravan__Envelope *wire = put_message(&arena, m);
    size_t n_bytes;
    uint8_t *buf;

    if (!wire)
        return err_raise(-ENOMEM);
    n_bytes = protobuf_c_message_get_packed_size(&wire->base);
    if (n_bytes > PROTO_MESSAGE_MAX)
        return MESSAGE_E_TOO_LARGE;
    buf = malloc(n_bytes ? n_bytes : 1);
    if (!buf)
        return err_raise(-ENOMEM);
    *ret_n_bytes = protobuf_c_message_pack(&wire->base, buf);
    *ret = buf;
    return 0;
}

const char *message_outcome_name(int outcome)
{
    switch (outcome) {
    case MESSAGE_E_MALFORMED:
        return "malformed";
    case MESSAGE_E_TOO_LARGE:
        return "too_large";
    case MESSAGE_E_UNKNOWN_KIND:
        return "unknown_kind";
    case MESSAGE_E_VERSION:
        return "version";
    }
    return outcome ? "failed" : "ok";
}
