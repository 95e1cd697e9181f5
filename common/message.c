/* Between struct message and its bytes. What a table can say of a struct stands in message_tables.c; what does not fit one is
 * done by hand here: heap arrays, columns of a model's layers, lists of a snapshot, what a relay carries, the two oneofs. */
#include "common/message.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "caravan.pb-c.h"
#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/message_map.h"
#include "common/message_tables.h"

enum { KIND_FIRST = 16, KIND_LAST = 63 }; /* fields of Envelope that are kinds, known or not */

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
    r = map_get(&message_shape_map, wire, s);
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
    r = map_get(&message_report_map, wire, own);
    m->n_unknown += (uint32_t)(wire->n_unit - own->n_units); /* of a role that is none yet */
    if (r || wire->n_model == 0)
        return r;
    if (wire->n_model > PROTO_MODELS_MAX)
        return MESSAGE_E_MALFORMED;
    own->model = calloc(wire->n_model, sizeof(*own->model));
    if (!own->model)
        return err_raise(-ENOMEM);
    own->n_models = wire->n_model;
    for (size_t i = 0; i < own->n_models && !r; i++) {
        r = map_get(&message_model_map, wire->model[i], &own->model[i]);
        if (!r && wire->model[i]->shape)
            r = get_shape(wire->model[i]->shape, &own->model[i].shape);
    }
    return r;
}

/* With a carrier each endpoint has its route, in the order of their ranks; without one there are none. */
static bool routes_fit(const struct coordinator_spec *c)
{
    if (c->n_routes != (c->n_gateways ? c->n_ranks : 0))
        return false;
    for (size_t i = 1; i < c->n_routes; i++) {
        if (c->route[i].rank <= c->route[i - 1].rank)
            return false;
    }
    return true;
}

static int get_coordinator(const Caravan__StartCoordinator *wire, struct coordinator_spec *own)
{
    int r = map_get(&message_start_coordinator_map, wire, own);

    if (!r && !routes_fit(own))
        return MESSAGE_E_MALFORMED;
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
        return map_get(&message_take_lease_map, wire->lease, &own->lease);
    case CARAVAN__COMMAND__BODY_WORKER:
        own->kind = COMMAND_START_WORKER;
        return map_get(&message_start_worker_map, wire->worker, &own->worker);
    case CARAVAN__COMMAND__BODY_COORDINATOR:
        own->kind = COMMAND_START_COORDINATOR;
        return get_coordinator(wire->coordinator, &own->coordinator);
    case CARAVAN__COMMAND__BODY_STOP:
        own->kind = COMMAND_STOP;
        return map_get(&message_stop_map, wire->stop, &own->stop);
    case CARAVAN__COMMAND__BODY_KNOCK:
        own->kind = COMMAND_KNOCK;
        return map_get(&message_peer_map, wire->knock, &own->knock);
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
    r = map_get(&message_event_map, wire, own);
    if (r || !wire->unit)
        return r;
    r = map_get(&message_unit_map, wire->unit, &own->unit);
    if (r == MAP_E_LATER) /* nothing is left of an event about nobody */
        return MESSAGE_E_UNKNOWN_KIND;
    return r || own->unit.id[0] ? r : MESSAGE_E_MALFORMED; /* an empty id is for events about no unit */
}

static int get_neighbours(const Caravan__Neighbours *wire, struct message *m)
{
    m->neighbours = calloc(1, sizeof(*m->neighbours));
    if (!m->neighbours)
        return err_raise(-ENOMEM);
    return map_get(&message_neighbours_map, wire, m->neighbours);
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
    int r = map_get(&message_snapshot_map, wire, own);

    if (!r)
        r = get_list_text(&wire->nodes, &own->nodes, &own->n_nodes_bytes);
    if (!r)
        r = get_list_text(&wire->instances, &own->instances, &own->n_instances_bytes);
    return r;
}

static int unpack(const void *buf, size_t n_bytes, bool relayed, struct message **ret);

/* Who carries a message has unpacked it and packed it anew: another version in there is the carrier's mistake. */
static int get_relay(const Caravan__Relay *wire, struct relayed *own)
{
    int r = map_get(&message_relay_map, wire, own);

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
        return map_get(&message_hello_map, wire->hello, &m->hello);
    case CARAVAN__ENVELOPE__BODY_WELCOME:
        m->kind = MESSAGE_WELCOME;
        return map_get(&message_welcome_map, wire->welcome, &m->welcome);
    case CARAVAN__ENVELOPE__BODY_REPORT:
        m->kind = MESSAGE_REPORT;
        return get_report(wire->report, m);
    case CARAVAN__ENVELOPE__BODY_COMMAND:
        m->kind = MESSAGE_COMMAND;
        return get_command(wire->command, &m->command);
    case CARAVAN__ENVELOPE__BODY_RESULT:
        m->kind = MESSAGE_RESULT;
        return map_get(&message_result_map, wire->result, &m->result);
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
        return map_get(&message_health_map, wire->health, &m->health);
    case CARAVAN__ENVELOPE__BODY_RELAY:
        m->kind = MESSAGE_RELAY;
        return get_relay(wire->relay, &m->relay);
    case CARAVAN__ENVELOPE__BODY_PING:
        m->kind = MESSAGE_PING;
        return map_get(&message_ping_map, wire->ping, m);
    case CARAVAN__ENVELOPE__BODY_PONG:
        m->kind = MESSAGE_PONG;
        return map_get(&message_ping_map, wire->pong, m);
    case CARAVAN__ENVELOPE__BODY_JOIN:
        m->kind = MESSAGE_JOIN;
        return map_get(&message_join_map, wire->join, &m->join);
    case CARAVAN__ENVELOPE__BODY_JOINED:
        m->kind = MESSAGE_JOINED;
        return map_get(&message_joined_map, wire->joined, &m->joined);
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
    r = map_get(&message_envelope_map, wire, m);
    if (!r)
        r = get_body((Caravan__Envelope *)wire, m);
    if (r)
        return r < 0 ? err_pass(r) : r;
    m->n_unknown += map_count_unknown(wire);
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
    Caravan__Shape *wire = map_put(a, &message_shape_map, own);
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
    Caravan__Report *wire = map_put(a, &message_report_map, own);

    assert(own->n_models <= PROTO_MODELS_MAX);
    if (!wire)
        return NULL;
    wire->n_model = own->n_models;
    wire->model = arena_take(a, own->n_models, sizeof(*wire->model));
    if (!wire->model)
        return NULL;
    for (size_t i = 0; i < own->n_models; i++) {
        wire->model[i] = map_put(a, &message_model_map, &own->model[i]);
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
    Caravan__StartCoordinator *wire = map_put(a, &message_start_coordinator_map, own);

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
        wire->lease = map_put(a, &message_take_lease_map, &own->lease);
        break;
    case COMMAND_START_WORKER:
        wire->body_case = CARAVAN__COMMAND__BODY_WORKER;
        wire->worker = map_put(a, &message_start_worker_map, &own->worker);
        break;
    case COMMAND_START_COORDINATOR:
        wire->body_case = CARAVAN__COMMAND__BODY_COORDINATOR;
        wire->coordinator = put_coordinator(a, &own->coordinator);
        break;
    case COMMAND_STOP:
        wire->body_case = CARAVAN__COMMAND__BODY_STOP;
        wire->stop = map_put(a, &message_stop_map, &own->stop);
        break;
    case COMMAND_KNOCK:
        wire->body_case = CARAVAN__COMMAND__BODY_KNOCK;
        wire->knock = map_put(a, &message_peer_map, &own->knock);
        break;
    }
    return wire->lease ? wire : NULL; /* a union: whichever it was */
}

static Caravan__Event *put_event(struct arena *a, const struct agent_event_facts *own)
{
    Caravan__Event *wire = map_put(a, &message_event_map, own);

    if (!wire || own->unit.id[0] == '\0')
        return wire;
    wire->unit = map_put(a, &message_unit_map, &own->unit);
    return wire->unit ? wire : NULL;
}

static int put_list_text(struct arena *a, const char *from, size_t n_bytes, ProtobufCBinaryData *to)
{
    assert(n_bytes <= PROTO_SNAPSHOT_MAX);
    return n_bytes ? map_put_text(a, from, n_bytes + 1, to) : 0;
}

static Caravan__Snapshot *put_snapshot(struct arena *a, const struct snapshot *own)
{
    Caravan__Snapshot *wire = map_put(a, &message_snapshot_map, own);

    if (!wire || put_list_text(a, own->nodes, own->n_nodes_bytes, &wire->nodes) ||
        put_list_text(a, own->instances, own->n_instances_bytes, &wire->instances))
        return NULL;
    return wire;
}

static Caravan__Envelope *put_message(struct arena *a, const struct message *m);

static Caravan__Relay *put_relay(struct arena *a, const struct relayed *own)
{
    Caravan__Relay *wire = map_put(a, &message_relay_map, own);
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
    Caravan__Envelope *wire = map_put(a, &message_envelope_map, m);

    if (!wire)
        return NULL;
    wire->version_major = PROTOCOL_MAJOR;
    wire->version_minor = PROTOCOL_MINOR;
    switch (m->kind) {
    case MESSAGE_HELLO:
        wire->body_case = CARAVAN__ENVELOPE__BODY_HELLO;
        wire->hello = map_put(a, &message_hello_map, &m->hello);
        break;
    case MESSAGE_WELCOME:
        wire->body_case = CARAVAN__ENVELOPE__BODY_WELCOME;
        wire->welcome = map_put(a, &message_welcome_map, &m->welcome);
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
        wire->result = map_put(a, &message_result_map, &m->result);
        break;
    case MESSAGE_EVENT:
        wire->body_case = CARAVAN__ENVELOPE__BODY_EVENT;
        wire->event = put_event(a, m->event);
        break;
    case MESSAGE_NEIGHBOURS:
        wire->body_case = CARAVAN__ENVELOPE__BODY_NEIGHBOURS;
        wire->neighbours = map_put(a, &message_neighbours_map, m->neighbours);
        break;
    case MESSAGE_SNAPSHOT:
        wire->body_case = CARAVAN__ENVELOPE__BODY_SNAPSHOT;
        wire->snapshot = put_snapshot(a, &m->snapshot);
        break;
    case MESSAGE_HEALTH:
        wire->body_case = CARAVAN__ENVELOPE__BODY_HEALTH;
        wire->health = map_put(a, &message_health_map, &m->health);
        break;
    case MESSAGE_RELAY:
        wire->body_case = CARAVAN__ENVELOPE__BODY_RELAY;
        wire->relay = put_relay(a, &m->relay);
        break;
    case MESSAGE_PING:
        wire->body_case = CARAVAN__ENVELOPE__BODY_PING;
        wire->ping = map_put(a, &message_ping_map, m);
        break;
    case MESSAGE_PONG:
        wire->body_case = CARAVAN__ENVELOPE__BODY_PONG;
        wire->pong = map_put(a, &message_ping_map, m);
        break;
    case MESSAGE_JOIN:
        wire->body_case = CARAVAN__ENVELOPE__BODY_JOIN;
        wire->join = map_put(a, &message_join_map, &m->join);
        break;
    case MESSAGE_JOINED:
        wire->body_case = CARAVAN__ENVELOPE__BODY_JOINED;
        wire->joined = map_put(a, &message_joined_map, &m->joined);
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
