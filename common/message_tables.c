#include "common/message_tables.h"

#include "caravan.pb-c.h"
#include "common/core/protocol.h"

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
#define KEY(m)              .type = FIELD_KEY, WIRE(m, ProtobufCBinaryData), OWN(m, char[PROTO_KEY_MAX])
#define HEX_KEY(m)          .type = FIELD_HEX_KEY, WIRE(m, ProtobufCBinaryData), OWN(m, char[PROTO_KEY_MAX]), SIZE(m)
#define BOOL(m)             .type = FIELD_BOOL, NUMBER(m, protobuf_c_boolean, bool)
#define CHAR(m)             .type = FIELD_CHAR, NUMBER(m, uint32_t, char)
#define U8(m)               .type = FIELD_U8, NUMBER(m, uint32_t, uint8_t)
#define U16(m)              .type = FIELD_U16, NUMBER(m, uint32_t, uint16_t)
#define U32(m)              .type = FIELD_U32, NUMBER(m, uint32_t, uint32_t)
#define RANK(m)             .type = FIELD_U32, NUMBER(m, uint32_t, uint32_t), .max = PROTO_RANKS_MAX - 1
#define PERMILLE(m)         .type = FIELD_U32, NUMBER(m, uint32_t, uint32_t), .max = 1000
#define U64(m)              .type = FIELD_U64, NUMBER(m, uint64_t, uint64_t)
#define I32(m, least, most) .type = FIELD_I32, NUMBER(m, int32_t, int32_t), .min = (least), .max = (most)
/* C has no one type for enums; both sides must have the size of an int. */
#define WORD(m, last)                              \
    .wire = offsetof(P, m), .own = offsetof(S, m), \
    .max = (last) + 0 * sizeof(char[sizeof(((S *)0)->m) == 4 && sizeof(((P *)0)->m) == 4 ? 1 : -1])
#define ENUM(m, last) .type = FIELD_ENUM, WORD(m, last)
#define ROLE(m, last) .type = FIELD_ROLE, WORD(m, last)
#define SUB(m, map) \
    .type = FIELD_SUB, .wire = offsetof(P, m), .own = offsetof(S, m), SIZE(m), .sub = &message_##map##_map
#define TEXTS(m, count) \
    .type = FIELD_TEXTS, WIRE(m, ProtobufCBinaryData *), .own = offsetof(S, m), COUNT(m, count), ELEMENTS(m)
#define HEX_KEYS(m, count) \
    .type = FIELD_HEX_KEYS, WIRE(m, ProtobufCBinaryData *), OWN(m, char[][PROTO_KEY_MAX]), COUNT(m, count), ELEMENTS(m)
#define U32S(m, count) .type = FIELD_U32S, WIRE(m, uint32_t *), OWN(m, uint32_t[]), COUNT(m, count), ELEMENTS(m)
#define U64S(m, count) .type = FIELD_U64S, WIRE(m, uint64_t *), OWN(m, uint64_t[]), COUNT(m, count), ELEMENTS(m)
#define LIST(m, count, map)                                                                          \
    .type = FIELD_LIST, .wire = offsetof(P, m), .own = offsetof(S, m), COUNT(m, count), ELEMENTS(m), \
    .sub = &message_##map##_map

/* message_NAME_map for the table NAME_fields of protobuf-c's message caravan__NAME. */
#define MAP(name, fields)                                                                                          \
    const struct map message_##name##_map = {&caravan__##name##__descriptor, sizeof(fields) / sizeof((fields)[0]), \
                                             fields}

/* Enums go over the wire as they are. */
#define SAME_ENUM(theirs, ours) _Static_assert((int)CARAVAN__##theirs == (int)(ours), #theirs " is another number")
SAME_ENUM(DEVICE_KIND__DEVICE_KIND_UNIFIED, DEVICE_UNIFIED);
SAME_ENUM(UNIT_ROLE__UNIT_ROLE_CARRIER, UNIT_CARRIER);
SAME_ENUM(UNIT_STATE__UNIT_STATE_FAILED, UNIT_FAILED);
SAME_ENUM(RESULT_CODE__RESULT_CODE_FAILED, RESULT_FAILED);
SAME_ENUM(EVENT_KIND__EVENT_KIND_PORT_CLASH, AGENT_EVENT_PORT_CLASH);

#define P Caravan__RpcVersion
#define S struct rpc_version
static const struct field rpc_version_fields[] = {{U8(major)}, {U8(minor)}, {U8(patch)}};
static MAP(rpc_version, rpc_version_fields);
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
static MAP(device, device_fields);
#undef P
#undef S

#define P Caravan__Exit
#define S struct exit_facts
static const struct field exit_fields[] = {
    {BOOL(known)},
    {I32(code, INT32_MIN, INT32_MAX)},
    {I32(signal, INT32_MIN, INT32_MAX)},
};
static MAP(exit, exit_fields);
#undef P
#undef S

#define P Caravan__Unit
#define S struct unit_facts
static const struct field unit_fields[] = {
    {TEXT(id)},
    {ROLE(role, UNIT_CARRIER)},
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
    {U64(n_refused)},
    {U64(n_unreached)},
};
MAP(unit, unit_fields);
#undef P
#undef S

#define P Caravan__Lease
#define S struct lease_facts
static const struct field lease_fields[] = {{ID(instance)}, {U64(epoch)}, {U64(bytes)}};
static MAP(lease, lease_fields);
#undef P
#undef S

#define P Caravan__RankFlow
#define S struct rank_flow
static const struct field rank_flow_fields[] = {
    {ID(instance)},       {U64(epoch)},         {RANK(rank)},      {BOOL(at_worker)}, {U32(n_streams)},
    {U64(request_bytes)}, {U64(answer_bytes)},  {U64(n_requests)}, {U64(n_answers)},  {U64(tensor_bytes)},
    {U64(fed_bytes)},     {U64(n_round_trips)}, {U64(n_graphs)},   {U64(graph_ms)},   {TEXT(oldest)},
    {U64(oldest_ms)},     {U64(held_bytes)},    {U64(held_ms)},    {TEXT(blind)},
};
static MAP(rank_flow, rank_flow_fields);
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
    {LIST(flow, n_flows, rank_flow)},
};
MAP(report, report_fields);
#undef P
#undef S

#define P Caravan__Model
#define S struct model_facts
static const struct field model_fields[] = {
    {TEXT(name)},   {TEXT(path)},       {U64(size_bytes)}, {U64(mtime_wall_ms)},
    {U32(n_files)}, {U64(header_hash)}, {TEXT(problem)},   {PERMILLE(index_permille)},
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
static const struct field start_worker_fields[] = {
    {I32(rank, 0, PROTO_RANKS_MAX - 1)}, {TEXTS(device, n_devices)}, {HEX_KEY(peer)}, {TEXT(model)}, {U64(header_hash)},
};
MAP(start_worker, start_worker_fields);
#undef P
#undef S

#define P Caravan__RankRoute
#define S struct rank_route
static const struct field rank_route_fields[] = {{I32(rank, 0, PROTO_RANKS_MAX - 1)}, {HEX_KEY(peer)}};
static MAP(rank_route, rank_route_fields);
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
    {HEX_KEYS(gateway, n_gateways)},
    {LIST(route, n_routes, rank_route)},
};
MAP(start_coordinator, start_coordinator_fields);
#undef P
#undef S

#define P Caravan__Stop
#define S __typeof__(((struct command *)0)->stop)
static const struct field stop_fields[] = {{U32(grace_ms)}, {BOOL(at_large)}};
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
#define S struct relayed
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

#define P Caravan__Join
#define S struct join
static const struct field join_fields[] = {{KEY(key)}, {TEXT(name)}};
MAP(join, join_fields);
#undef P
#undef S

#define P Caravan__Joined
#define S struct joined
static const struct field joined_fields[] = {{KEY(key)}, {TEXT(refused)}};
MAP(joined, joined_fields);
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
static MAP(rank_buffers, rank_buffers_fields);
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
