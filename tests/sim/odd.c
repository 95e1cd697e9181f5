#include "tests/sim/odd.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/process_machine.h"
#include "tests/sim/check.h"
#include "tests/sim/host.h"
#include "tests/sim/leader.h"
#include "tests/sim/net.h"
#include "tests/sim/pages.h"
#include "tests/sim/stats.h"

static struct message *new_message(enum message_kind kind)
{
    struct message *m = calloc(1, sizeof(*m));

    assert(m);
    m->kind = kind;
    m->version_major = PROTOCOL_MAJOR;
    return m;
}

static void say_to_leader(struct world *w, const struct host *h, const char *from, struct message *m)
{
    struct cluster_ev ev = {.kind = m->kind == MESSAGE_HELLO ? CLUSTER_EV_HELLO : CLUSTER_EV_MESSAGE, .message = m};

    ev.node = h->id;
    memcpy(ev.key, h->key, sizeof(h->key));
    snprintf(ev.peer_addr, sizeof(ev.peer_addr), "%s", from);
    if (leader_listens(w))
        leader_feed(w, &ev);
    else
        message_destroy(&ev.message);
}

/* Another machine, made from the same image. One that is refused must change nothing. */
static void copy_of_node(struct world *w, struct host *h)
{
    struct message *m = new_message(MESSAGE_HELLO);
    uint64_t changes;
    bool passes;

    host_hello(h, m);
    strcpy(m->hello.boot_id, "boot-of-the-copy");
    say_to_leader(w, h, "10.9.9.9", m);
    passes = check_speaks(w, h, "10.9.9.9"); /* asked now: the controller may end over its next word */
    h->belied |= passes;
    changes = w->stats->n_recovered;
    m = new_message(MESSAGE_REPORT);
    m->report = calloc(1, sizeof(*m->report));
    assert(m->report);
    m->report->full = true;
    say_to_leader(w, h, "10.9.9.9", m);
    if (w->stats->n_recovered != changes && !passes)
        world_fail(w, "a copy of %s was refused, and its word cost an instance", h->name);
}

/* As over a new connection that its old one has not made way for. */
static void hello_again(struct world *w, struct host *h, bool bad)
{
    struct message *m = new_message(MESSAGE_HELLO);

    if (!h->agent || !net_passes_both(w, h->n, net_leader_machine(w))) {
        message_destroy(&m);
        return;
    }
    host_hello(h, m);
    if (bad)
        m->version_major = PROTOCOL_MAJOR + 1;
    say_to_leader(w, h, h->addr, m);
}

static void late_hello(struct world *w, const struct host *h)
{
    struct message *m = new_message(MESSAGE_HELLO);

    host_hello(h, m);
    say_to_leader(w, h, h->addr, m);
}

/* A whole one only of a machine without power: nothing runs there, and that is true. */
static void late_report(struct world *w, const struct host *h, bool whole)
{
    struct message *m = new_message(MESSAGE_REPORT);

    m->report = calloc(1, sizeof(*m->report));
    assert(m->report);
    m->report->full = whole && !h->powered;
    say_to_leader(w, h, h->addr, m);
}

static void on_late_report(struct world *w, const struct happening *happening)
{
    if (!w->healed)
        late_report(w, &w->host[happening->host], world_maybe(w, 300));
}

static void late_words(struct world *w, const struct host *h, uint64_t n)
{
    if (n % LATE_WORDS_N == LATE_HALF || n % LATE_WORDS_N == LATE_WHOLE) {
        late_report(w, h, n % LATE_WORDS_N == LATE_WHOLE);
        return;
    }
    late_hello(w, h);
    if (n % LATE_WORDS_N == 0)
        world_at(w, w->now_ms + world_chance(w, 0, 45000), (struct happening){.happen = on_late_report, .host = h->n});
}

void odd_late_words(struct world *w)
{
    struct host *h = &w->host[world_chance(w, 1, w->n_hosts)];

    if (!w->healed && (world_maybe(w, 50) || (!host_agent_runs(h) && world_maybe(w, 500))))
        late_words(w, h, world_chance(w, 0, LATE_WORDS_N - 1));
}

static void stranger(struct world *w)
{
    struct host h = {.n = 0};
    struct message *m = new_message(MESSAGE_REPORT);

    h.id.b[0] = 0xff;
    strcpy(h.key, "x");
    m->report = calloc(1, sizeof(*m->report));
    assert(m->report);
    say_to_leader(w, &h, "10.8.8.8", m);
    m = new_message(MESSAGE_HELLO);
    m->version_major = PROTOCOL_MAJOR + 1;
    say_to_leader(w, &h, "10.8.8.8", m);
}

/* From the controller's own link, so they are read: of an instance that is not, or of an epoch that never was leased. */
static void bad_command(struct world *w, struct host *h, uint64_t n)
{
    struct message *m = new_message(MESSAGE_COMMAND);

    if (!h->welcomed || !host_agent_listens(h)) {
        message_destroy(&m);
        return;
    }
    m->command.kind = (enum command_kind)(COMMAND_LEASE + n % 5);
    m->instance.b[0] = 0xbb;
    m->instance.b[1] = (uint8_t)(n >> 3);
    m->epoch = n >> 8 & 3;
    m->command_id = UINT64_C(1) << 63 | w->order;
    if (m->command.kind == COMMAND_LEASE && n >> 12 & 1)
        m->command.lease.host_bytes = UINT64_MAX / 2; /* more than anybody has */
    else if (m->command.kind == COMMAND_LEASE)
        m->command.kind = COMMAND_STOP;
    host_feed(w, h, &(struct agent_ev){.kind = AGENT_EV_MESSAGE, .message = m});
    message_destroy(&m);
}

/* What a shell would have to be confused to say: of a process that is not in a state for it. */
static void odd_event(struct world *w, struct host *h, enum agent_ev_kind kind, const struct unit_facts *unit)
{
    static const struct {
        enum agent_ev_kind kind;
        enum process_event event;
    } pairs[] = {{AGENT_EV_SPAWNED, PROCESS_EV_SPAWNED},
                 {AGENT_EV_SPAWN_FAILED, PROCESS_EV_SPAWN_FAILED},
                 {AGENT_EV_DYING, PROCESS_EV_DYING},
                 {AGENT_EV_EXITED, PROCESS_EV_EXITED}};
    struct agent_ev ev = {.kind = kind, .pid = 1, .text = "out of turn", .addr = h->addr, .port = unit->port};
    char id[PROTO_NAME_MAX];

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        if (pairs[i].kind == kind && pages_cell(CELLS_PROCESS, unit->state, pairs[i].event)->verdict == CELLS_GO)
            return; /* it would be believed, and rightly so */
    }
    memcpy(id, unit->id, sizeof(id));
    ev.unit_id = id;
    host_feed(w, h, &ev);
}

static void odd_events(struct world *w, struct host *h)
{
    static const enum agent_ev_kind kinds[] = {AGENT_EV_SPAWNED, AGENT_EV_SPAWN_FAILED, AGENT_EV_DYING,
                                               AGENT_EV_EXITED};
    const struct unit_facts *unit;

    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        for (size_t i = 0; host_agent_listens(h) && i < agent_units(h->agent, &unit); i++)
            odd_event(w, h, kinds[k], &unit[i]);
    }
}

void odd_raise_at(struct world *w, int host)
{
    odd_events(w, &w->host[host]);
}

void odd_raise_at_agents(struct world *w)
{
    for (size_t n = 1; n <= w->n_hosts; n++)
        odd_events(w, &w->host[n]);
}

void odd_do(struct world *w, const struct action *a)
{
    struct host *h = &w->host[a->host ? a->host : 1];

    switch ((int)a->kind) {
    case ACTION_COPY_OF_NODE:
        copy_of_node(w, h);
        return;
    case ACTION_HELLO_AGAIN:
        hello_again(w, h, a->n % 2);
        return;
    case ACTION_LATE_WORDS:
        late_words(w, h, a->n);
        return;
    case ACTION_STRANGER_REPORTS:
        stranger(w);
        return;
    case ACTION_BAD_COMMANDS:
        for (uint64_t i = 0; i < 8; i++)
            bad_command(w, h, a->n + i * 7919);
        return;
    case ACTION_ODD_EVENTS:
        odd_events(w, h);
        if (leader_listens(w))
            odd_raise_all(w);
        return;
    default:
        return;
    }
}
