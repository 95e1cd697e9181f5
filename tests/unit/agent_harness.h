/* A node without a world: events in, effects out as text, one line each, so that a test reads as a transcript.
 *
 *     lease(1, "a", 4, 100);
 *     EXPECT("persist a/4 leased 100 #1\n");
 *
 * Instances are named by one letter. Time moves only by at(). */
#ifndef CARAVAN_TESTS_UNIT_AGENT_HARNESS_H
#define CARAVAN_TESTS_UNIT_AGENT_HARNESS_H

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/core/agent.h"

#define MAYBE_UNUSED __attribute__((unused))

static struct {
    struct agent *agent;
    struct agent_config config;
    uint64_t now_ms;
    uint64_t token;            /* of the last write that was asked for */
    uint32_t last_permille[2]; /* of the first models that were told last */
    size_t used;
    char out[65536];
    struct agent_effects *(*step)(struct agent *, const struct agent_ev *, uint64_t); /* agent_step, or one around it */
} h;

__attribute__((format(printf, 1, 2))) static void line(const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(h.out + h.used, sizeof(h.out) - h.used, format, args);
    va_end(args);
    assert_true(n >= 0 && (size_t)n < sizeof(h.out) - h.used);
    h.used += (size_t)n;
}

static struct id128 instance_of(const char *name)
{
    struct id128 id = {{0}};

    id.b[0] = (uint8_t)name[0];
    return id;
}

static const char *whom(const struct id128 *instance, uint64_t epoch, char buf[32])
{
    if (id128_is_zero(instance))
        return "nobody";
    snprintf(buf, 32, "%c/%" PRIu64, instance->b[0], epoch);
    return buf;
}
#define WHOM(instance, epoch) whom((instance), (epoch), (char[32]){0})

static const char *result_name(enum result_code code)
{
    return code == RESULT_DONE ? "done" : code == RESULT_REFUSED ? "refused" : "failed";
}

static void show_message(const struct message *m);

/* Of a message that no link of ours will stamp. */
static void show_relayed(const struct message *m)
{
    assert_int_equal(m->version_major, PROTOCOL_MAJOR);
    assert_int_equal(m->version_minor, PROTOCOL_MINOR);
    line("[%d %" PRIu64 " %" PRIu64 "] ", m->cluster.b[0], m->term, m->seq);
    show_message(m);
}

static void show_message(const struct message *m)
{
    const struct report *r = m->report;

    switch (m->kind) {
    case MESSAGE_RESULT:
        line("result %" PRIu64 " %s%s%s", m->command_id, result_name(m->result.code), m->result.reason[0] ? " " : "",
             m->result.reason);
        if (m->result.newest_epoch)
            line(" newest %" PRIu64, m->result.newest_epoch);
        if (m->result.unit[0])
            line(" %s %s:%u", m->result.unit, m->result.addr, (unsigned)m->result.port);
        line("\n");
        assert_true(m->result.text[0]); /* whoever reads it gets a sentence */
        break;
    case MESSAGE_EVENT:
        line("event %s", agent_event_kind_name(m->event->kind));
        if (m->event->unit.id[0])
            line(" %s %s", m->event->unit.id, WHOM(&m->instance, m->epoch));
        if (m->event->n_buffers)
            line(" buffers %zu", m->event->n_buffers);
        if (m->event->kind == AGENT_EVENT_UNIT_EXITED)
            line(" signal %d: %s", m->event->unit.exit.signal, m->event->text);
        line("\n");
        break;
    case MESSAGE_REPORT:
        line("report%s", r->full ? " full" : "");
        if (r->has_devices)
            line(" devices %zu", r->n_devices);
        if (r->has_units)
            line(" units %zu", r->n_units);
        if (r->n_flows)
            line(" flows %zu", r->n_flows);
        if (r->has_models)
            line(" models %zu", r->n_models);
        for (size_t i = 0; i < r->n_models && i < 2; i++)
            h.last_permille[i] = r->model[i].index_permille;
        for (size_t i = 0; i < r->n_leases; i++)
            line(" lease %s %" PRIu64, WHOM(&r->lease[i].instance, r->lease[i].epoch), r->lease[i].bytes);
        line("\n");
        break;
    case MESSAGE_HELLO:
        line("hello %s rpc %u\n", m->hello.name, (unsigned)m->hello.rpc.major);
        break;
    case MESSAGE_HEALTH:
        line("health%s\n", m->health.linked ? " linked" : "");
        break;
    case MESSAGE_RELAY:
        line("relay %s ", m->relay.key);
        show_relayed(m->relay.inner);
        break;
    case MESSAGE_WELCOME:
        line("welcome\n");
        break;
    case MESSAGE_COMMAND:
        line("command %" PRIu64 " %s\n", m->command_id, command_kind_name(m->command.kind));
        break;
    case MESSAGE_NEIGHBOURS:
        line("neighbours\n");
        break;
    case MESSAGE_SNAPSHOT:
    case MESSAGE_PING:
    case MESSAGE_PONG:
    case MESSAGE_JOIN:
    case MESSAGE_JOINED:
        fail_msg("an agent core does not send kind %d", (int)m->kind);
    }
}

static void show_spec(const char *word, const struct unit_facts *u)
{
    line("%s %s %s%s %s", word, u->id, u->standing ? "standing " : "", unit_role_name(u->role),
         WHOM(&u->instance, u->epoch));
    if (u->rank >= 0)
        line(" rank %d", u->rank);
}

/* " for w1000 rank 1 of qwen, peer P" or " for c1001: rank 0 at 127.0.0.1:20052, ...; gateways G" */
static void show_carrier(const struct carrier_spec *c)
{
    line(" for %s%s", c->worker, c->coordinator);
    if (c->rank >= 0)
        line(" rank %d of %s, peer %s", c->rank, c->model, c->peer);
    for (size_t i = 0; i < c->n_routes; i++)
        line("%s rank %d at %s%s%s", i ? "," : ":", c->route[i].rank, c->route[i].endpoint,
             c->route[i].peer[0] ? " of " : "", c->route[i].peer);
    for (size_t i = 0; i < c->n_gateways; i++)
        line("%s %s", i ? "," : "; gateways", c->gateway[i]);
}

static void show(const struct agent_fx *fx)
{
    h.token = fx->token ? fx->token : h.token;
    switch (fx->kind) {
    case AGENT_FX_SEND:
        show_message(fx->message);
        break;
    case AGENT_FX_PERSIST_EPOCH:
        line("persist %s", WHOM(&fx->epoch.instance, fx->epoch.epoch));
        if (fx->epoch.leased)
            line(" leased %" PRIu64, fx->epoch.lease_bytes);
        else
            assert_int_equal(fx->epoch.lease_bytes, 0);
        line(" #%" PRIu64 "\n", fx->token);
        break;
    case AGENT_FX_SPAWN:
        show_spec("spawn", &fx->unit);
        if (fx->port_hint)
            line(" from port %u", (unsigned)fx->port_hint);
        if (fx->coordinator)
            line(" %s with %zu args", fx->coordinator->model, fx->coordinator->n_args);
        if (fx->carrier)
            show_carrier(fx->carrier);
        line("\n");
        break;
    case AGENT_FX_ASSIGN:
        show_spec("assign", &fx->unit);
        line(" #%" PRIu64 "\n", fx->token);
        break;
    case AGENT_FX_SIGNAL:
        line("signal %s %d\n", fx->unit_id, fx->signal);
        break;
    case AGENT_FX_PROBE:
        line("probe %s %" PRIu64 "\n", fx->unit_id, fx->deadline_ms);
        break;
    case AGENT_FX_FORGET:
        line("forget %s\n", fx->unit_id);
        break;
    case AGENT_FX_ADVERTISE:
        if (fx->advertise)
            line("advertise %s port %u %s\n", fx->unit_id, (unsigned)fx->unit.port, fx->advertise);
        else
            line("withdraw\n");
        break;
    case AGENT_FX_TRANSITION:
        if (strcmp(fx->transition.verdict, "go") == 0)
            line("%s %s -> %s\n", fx->unit_id, fx->transition.from, fx->transition.to);
        else
            line("%s %s: %s %s\n", fx->unit_id, fx->transition.from, fx->transition.verdict, fx->transition.event);
        break;
    case AGENT_FX_KNOCK:
        line("knock %s #%" PRIu64 "\n", fx->peer->name, fx->token);
        break;
    case AGENT_FX_PEERS:
        line("peers dial");
        for (size_t i = 0; i < fx->neighbours->n_peers; i++)
            line(" %s", fx->neighbours->peer[i].key);
        line(" let in");
        for (size_t i = 0; i < fx->neighbours->n_guests; i++)
            line(" %s", fx->neighbours->guest[i]);
        line("\n");
        break;
    case AGENT_FX_PEER_SEND:
        line("to %s: ", fx->key);
        show_message(fx->message);
        break;
    }
}

static void step(const struct agent_ev *ev)
{
    struct agent_effects *fx = h.step(h.agent, ev, h.now_ms);

    assert_non_null(fx);
    for (size_t i = 0; i < fx->n; i++)
        show(&fx->item[i]);
    agent_effects_destroy(&fx);
}

/* Every line of what happened since the last one. */
#define EXPECT(text) expect((text), __FILE__, __LINE__)
static MAYBE_UNUSED void expect(const char *text, const char *file, int at)
{
    if (strcmp(h.out, text) != 0) {
        print_error("%s:%d: expected\n%s--- got\n%s---\n", file, at, text, h.out);
        fail();
    }
    h.used = 0;
    h.out[0] = '\0';
}

static MAYBE_UNUSED void skip_output(void)
{
    h.used = 0;
    h.out[0] = '\0';
}

static MAYBE_UNUSED void at(uint64_t now_ms)
{
    assert_true(now_ms >= h.now_ms);
    h.now_ms = now_ms;
}

static void boot_with(const struct agent_epoch *epochs, size_t n_epochs)
{
    agent_destroy(&h.agent);
    h.now_ms = 1000;
    skip_output();
    assert_int_equal(agent_new(&h.config, epochs, n_epochs, &h.agent), 0);
}

static int set_up(void **state)
{
    (void)state;
    memset(&h, 0, sizeof(h));
    h.step = agent_step;
    strcpy(h.config.addr, "10.0.0.1");
    strcpy(h.config.key, "me");
    strcpy(h.config.hello.name, "node-me");
    h.config.standing = true;
    h.config.can_run = true;
    h.config.n_devices = 1;
    strcpy(h.config.device[0], "CPU");
    boot_with(NULL, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    agent_destroy(&h.agent);
    return 0;
}

/* ---- events ----------------------------------------------------------------------------------------------------- */

static void simple(enum agent_ev_kind kind)
{
    step(&(struct agent_ev){.kind = kind, .minor = PROTOCOL_MINOR});
}

static MAYBE_UNUSED void tick(uint64_t now_ms)
{
    at(now_ms);
    simple(AGENT_EV_TICK);
}

static MAYBE_UNUSED void spawned(const char *id, uint16_t port)
{
    const struct unit_facts *u = agent_unit(h.agent, id);
    char addr[PROTO_ADDR_MAX];

    snprintf(addr, sizeof(addr), "%s", u ? u->addr : h.config.addr);
    step(&(struct agent_ev){
        .kind = AGENT_EV_SPAWNED, .unit_id = id, .pid = 4000 + port % 1000, .addr = addr, .port = port});
}

static MAYBE_UNUSED void spawn_failed(const char *id, const char *reason, const char *text)
{
    step(&(struct agent_ev){.kind = AGENT_EV_SPAWN_FAILED, .unit_id = id, .reason = reason, .text = text});
}

static MAYBE_UNUSED void probed(const char *id, bool ok)
{
    step(&(struct agent_ev){.kind = AGENT_EV_PROBED,
                            .unit_id = id,
                            .ok = ok,
                            .rpc = {8, 0, 0},
                            .n_devices = 1,
                            .device_total_bytes = {5000}});
}

static MAYBE_UNUSED void exited(const char *id, int32_t signal, const char *text)
{
    step(&(struct agent_ev){
        .kind = AGENT_EV_EXITED, .unit_id = id, .exit = {.known = true, .signal = signal}, .text = text});
}

static MAYBE_UNUSED void persisted(uint64_t token, bool ok)
{
    step(&(struct agent_ev){.kind = AGENT_EV_PERSISTED, .token = token, .ok = ok});
}

static MAYBE_UNUSED void sample(uint64_t host_free_bytes)
{
    struct agent_sample s = {.host_total_bytes = 10000, .host_free_bytes = host_free_bytes, .n_devices = 1};

    strcpy(s.device[0].name, "CPU");
    s.device[0].kind = DEVICE_CPU;
    s.device[0].free_bytes = host_free_bytes;
    step(&(struct agent_ev){.kind = AGENT_EV_SAMPLE, .sample = &s});
}

/* The same with what was seen of units; 500 bytes are free. */
static MAYBE_UNUSED void sample_units(const struct agent_unit_sample *units, size_t n)
{
    struct agent_sample s = {.host_total_bytes = 10000, .host_free_bytes = 500, .n_devices = 1, .n_units = n};

    strcpy(s.device[0].name, "CPU");
    s.device[0].kind = DEVICE_CPU;
    s.device[0].free_bytes = 500;
    memcpy(s.unit, units, n * sizeof(units[0]));
    step(&(struct agent_ev){.kind = AGENT_EV_SAMPLE, .sample = &s});
}

static MAYBE_UNUSED void log_says(const char *id, enum agent_event_kind kind, size_t n_buffers)
{
    struct agent_event_facts facts = {.kind = kind, .n_buffers = n_buffers};

    step(&(struct agent_ev){.kind = AGENT_EV_COORDINATOR, .unit_id = id, .facts = &facts});
}

/* The inventory: the models named, each with header hash 7. */
static MAYBE_UNUSED void models(const char *const *names, size_t n)
{
    struct model_facts *m = calloc(n ? n : 1, sizeof(*m));

    assert_non_null(m);
    for (size_t i = 0; i < n; i++) {
        snprintf(m[i].name, sizeof(m[i].name), "%s", names[i]);
        m[i].header_hash = 7;
        if (strncmp(names[i], "bad", 3) == 0)
            strcpy(m[i].problem, "The file ends before its tensors do.");
        else
            m[i].shape = model_shape_new(2);
    }
    step(&(struct agent_ev){.kind = AGENT_EV_MODELS, .model = m, .n_models = n});
}

static struct message command(uint64_t id, const char *instance, uint64_t epoch, enum command_kind kind)
{
    struct message m = {.kind = MESSAGE_COMMAND, .instance = instance_of(instance), .epoch = epoch, .command_id = id};

    m.command.kind = kind;
    return m;
}

static void send_command(const struct message *m)
{
    step(&(struct agent_ev){.kind = AGENT_EV_MESSAGE, .message = m});
}

static MAYBE_UNUSED void lease_on(uint64_t id, const char *instance, uint64_t epoch, const char *device, uint64_t bytes)
{
    struct message m = command(id, instance, epoch, COMMAND_LEASE);

    m.command.lease.n_devices = 1;
    strcpy(m.command.lease.device[0], device);
    m.command.lease.bytes[0] = bytes;
    send_command(&m);
}

static MAYBE_UNUSED void lease(uint64_t id, const char *instance, uint64_t epoch, uint64_t bytes)
{
    lease_on(id, instance, epoch, "CPU", bytes);
}

static MAYBE_UNUSED void start_worker_on(uint64_t id, const char *instance, uint64_t epoch, int32_t rank,
                                         const char *device)
{
    struct message m = command(id, instance, epoch, COMMAND_START_WORKER);

    m.command.worker.rank = rank;
    m.command.worker.n_devices = 1;
    strcpy(m.command.worker.device[0], device);
    send_command(&m);
}

static MAYBE_UNUSED void start_worker(uint64_t id, const char *instance, uint64_t epoch, int32_t rank)
{
    start_worker_on(id, instance, epoch, rank, "CPU");
}

static MAYBE_UNUSED void start_coordinator_on(uint64_t id, const char *instance, uint64_t epoch, const char *model,
                                              const char *device)
{
    static char args[2][PROTO_ARG_MAX] = {"--temp", "0"};
    struct message m = command(id, instance, epoch, COMMAND_START_COORDINATOR);
    struct coordinator_spec *c = &m.command.coordinator;

    strcpy(c->model, model);
    c->header_hash = 7;
    c->n_devices = 1;
    strcpy(c->device[0], device);
    c->n_args = 2;
    c->arg = args;
    send_command(&m);
}

static MAYBE_UNUSED void start_coordinator(uint64_t id, const char *instance, uint64_t epoch)
{
    start_coordinator_on(id, instance, epoch, "qwen", "RPC0");
}

/* ... to be reached from another node, whose key is "P", and fed from this node's "qwen". */
static MAYBE_UNUSED void start_carried_worker(uint64_t id, const char *instance, uint64_t epoch, int32_t rank)
{
    struct message m = command(id, instance, epoch, COMMAND_START_WORKER);

    m.command.worker.rank = rank;
    m.command.worker.n_devices = 1;
    strcpy(m.command.worker.device[0], "CPU");
    strcpy(m.command.worker.peer, "P");
    strcpy(m.command.worker.model, "qwen");
    m.command.worker.header_hash = 7;
    send_command(&m);
}

/* Rank 0 on this node, rank 1 behind the carrier of the node "Q"; a gateway with the key "G". */
static struct message carried_coordinator(uint64_t id, const char *instance, uint64_t epoch)
{
    struct message m = command(id, instance, epoch, COMMAND_START_COORDINATOR);
    struct coordinator_spec *c = &m.command.coordinator;

    strcpy(c->model, "qwen");
    c->header_hash = 7;
    c->n_devices = c->n_ranks = c->n_routes = 2;
    strcpy(c->device[0], "RPC0");
    strcpy(c->device[1], "RPC1");
    strcpy(c->endpoint[0], "127.0.0.1:20052");
    strcpy(c->endpoint[1], "10.0.0.2:7440");
    c->route[1].rank = 1;
    strcpy(c->route[1].peer, "Q");
    c->n_gateways = 1;
    strcpy(c->gateway[0], "G");
    return m;
}

static MAYBE_UNUSED void start_carried_coordinator(uint64_t id, const char *instance, uint64_t epoch)
{
    struct message m = carried_coordinator(id, instance, epoch);

    send_command(&m);
}

static MAYBE_UNUSED void stop_within(uint64_t id, const char *instance, uint64_t epoch, uint32_t grace_ms)
{
    struct message m = command(id, instance, epoch, COMMAND_STOP);

    m.command.stop.grace_ms = grace_ms;
    send_command(&m);
}

static MAYBE_UNUSED void stop(uint64_t id, const char *instance, uint64_t epoch)
{
    stop_within(id, instance, epoch, 2000);
}

static MAYBE_UNUSED void knock_at(uint64_t id, const char *name)
{
    struct message m = {.kind = MESSAGE_COMMAND, .command_id = id, .command.kind = COMMAND_KNOCK};

    snprintf(m.command.knock.name, sizeof(m.command.knock.name), "%s", name);
    send_command(&m);
}

static MAYBE_UNUSED void knocked(uint64_t token, enum knock_outcome outcome)
{
    step(&(struct agent_ev){.kind = AGENT_EV_KNOCKED, .token = token, .knock = outcome});
}

static MAYBE_UNUSED void found(const char *id, enum unit_role role, enum unit_state state, bool standing,
                               const char *instance, uint64_t epoch, int32_t rank)
{
    struct unit_facts u = {.role = role, .state = state, .standing = standing, .epoch = epoch, .rank = rank, .pid = 77};

    strcpy(u.id, id);
    strcpy(u.addr, role == UNIT_CARRIER ? h.config.carrier_addr : h.config.addr);
    u.port = 20052;
    u.n_devices = 1;
    strcpy(u.device[0], "CPU");
    if (instance)
        u.instance = instance_of(instance);
    if (state == UNIT_EXITED)
        u.exit = (struct exit_facts){.known = true, .signal = 9};
    step(&(struct agent_ev){.kind = AGENT_EV_ADOPT, .unit = &u});
}

/* ---- neighbours: their keys are their names ---------------------------------------------------------------------- */

/* dial, guest: a letter for each. */
static struct neighbours neighbours_of(const char *dial, const char *guest)
{
    struct neighbours n = {.n_peers = strlen(dial), .n_guests = strlen(guest)};

    for (size_t i = 0; i < n.n_peers; i++)
        n.peer[i].key[0] = dial[i];
    for (size_t i = 0; i < n.n_guests; i++)
        n.guest[i][0] = guest[i];
    return n;
}

static MAYBE_UNUSED void neighbours(const char *dial, const char *guest)
{
    struct neighbours n = neighbours_of(dial, guest);
    struct message m = {.kind = MESSAGE_NEIGHBOURS, .cluster = instance_of("C"), .term = 9, .neighbours = &n};

    step(&(struct agent_ev){.kind = AGENT_EV_MESSAGE, .message = &m});
}

static MAYBE_UNUSED void peer_up(const char *key)
{
    step(&(struct agent_ev){.kind = AGENT_EV_PEER_UP, .key = key});
}

static MAYBE_UNUSED void peer_down(const char *key)
{
    step(&(struct agent_ev){.kind = AGENT_EV_PEER_DOWN, .key = key});
}

static void peer_says(const char *key, const struct message *m)
{
    step(&(struct agent_ev){.kind = AGENT_EV_PEER_MESSAGE, .key = key, .message = m});
}

static MAYBE_UNUSED void health(const char *key, bool linked)
{
    struct message m = {.kind = MESSAGE_HEALTH, .health.linked = linked};

    peer_says(key, &m);
}

/* from: the neighbour it comes over; key: whose it is, or whom it is for. */
static MAYBE_UNUSED void relayed(const char *from, const char *key, struct message *inner)
{
    struct message m = {.kind = MESSAGE_RELAY, .relay.inner = inner};

    strcpy(m.relay.key, key);
    inner->version_major = PROTOCOL_MAJOR;
    inner->version_minor = PROTOCOL_MINOR;
    inner->cluster = instance_of("D");
    inner->term = 4;
    peer_says(from, &m);
}

static MAYBE_UNUSED void relayed_kind(const char *from, const char *key, enum message_kind kind)
{
    struct message m = {.kind = kind};

    relayed(from, key, &m);
}

/* The controller, through its link to us: for the neighbour with this key. */
static MAYBE_UNUSED void controller_relays(const char *key, enum message_kind kind)
{
    struct message inner = {.kind = kind, .cluster = instance_of("C"), .term = 9, .seq = 1};
    struct message m = {.kind = MESSAGE_RELAY, .cluster = instance_of("C"), .term = 9, .relay.inner = &inner};

    inner.version_major = PROTOCOL_MAJOR;
    inner.version_minor = PROTOCOL_MINOR;
    strcpy(m.relay.key, key);
    step(&(struct agent_ev){.kind = AGENT_EV_MESSAGE, .message = &m});
}

/* ---- where most tests begin -------------------------------------------------------------------------------------- */

/* The node's ranks are reached through carriers. */
static MAYBE_UNUSED void boot_with_carriers(void)
{
    strcpy(h.config.addr, "127.0.0.1");
    strcpy(h.config.carrier_addr, "10.0.0.1");
    boot_with(NULL, 0);
}

/* w1000 runs, stands idle on port 20052 and is advertised. */
static MAYBE_UNUSED void begin_idle(void)
{
    simple(AGENT_EV_BEGIN);
    spawned("w1000", 20052);
    probed("w1000", true);
    skip_output();
}

/* ... and w1000 is rank 0 of a/1, c1001 its coordinator, listening; commands 1 to 3 are answered. */
static MAYBE_UNUSED void begin_serving(void)
{
    static const char *const names[] = {"qwen"};

    begin_idle();
    models(names, 1);
    simple(AGENT_EV_LINK_UP);
    lease(1, "a", 1, 100);
    persisted(1, true);
    start_worker(2, "a", 1, 0);
    persisted(2, true);
    start_coordinator(3, "a", 1);
    spawned("c1001", 18080);
    log_says("c1001", AGENT_EVENT_LOADING, 0);
    log_says("c1001", AGENT_EVENT_RANK_BUFFERS, 2);
    log_says("c1001", AGENT_EVENT_LISTENING, 0);
    skip_output();
}

#endif
