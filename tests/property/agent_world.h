/* A node's world for random tests of the agent's core: processes, the disk, commands and neighbours as they really are,
 * and after each effect whether it was right. Whatever comes, these hold:
 *
 *   - two processes never serve one rank of one epoch, and no id is spawned while its process lives;
 *   - nothing is started for an epoch that is not on disk, is over, or has a newer one written;
 *   - a worker of a live epoch is never probed once it runs;
 *   - the leases reported never exceed the limit;
 *   - each command gets its result, and never another one;
 *   - nothing is said where there is no way, and nothing but by the way there is;
 *   - nothing is passed on but what its sender may say. */
#ifndef CARAVAN_TESTS_PROPERTY_AGENT_WORLD_H
#define CARAVAN_TESTS_PROPERTY_AGENT_WORLD_H

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

enum {
    INSTANCES = 3,
    EPOCHS = 6,
    COMMANDS_MAX = 256, /* as many as results are kept */
    PROCESSES_MAX = 64,
    WRITES_MAX = 512,
    LIMIT_BYTES = 1000
};

struct process {
    char id[PROTO_NAME_MAX];
    enum { ABSENT, SPAWNING, ALIVE, GONE } life;
    enum unit_role role;
    enum unit_state state; /* as its transitions told */
    bool terminated, killed, probed;
    bool undead; /* SIGKILL does not end it until the world has settled */
    bool standing;
    struct id128 instance;
    uint64_t epoch;
    int32_t rank;
    uint64_t token; /* of its last ASSIGN */
    struct record { /* on disk */
        struct id128 instance;
        uint64_t epoch;
        int32_t rank;
    } record;
};

struct peer_seen {
    char key[PROTO_KEY_MAX];
    bool up, linked; /* as it said last, at heard_ms */
    bool asked;      /* it was given our hello, and nobody else since */
    uint64_t heard_ms;
};

struct write {
    uint64_t token;
    bool is_epoch;
    struct agent_epoch epoch;
    char unit_id[PROTO_NAME_MAX];
    struct record record;
};

struct sent {
    struct message command;
    unsigned n_sent, n_results;
    struct result result;
};

static struct world {
    uint64_t seed, rng, now_ms;
    struct agent *agent;
    size_t n_processes, n_writes, n_sent;
    struct process process[PROCESSES_MAX];
    struct write write[WRITES_MAX];
    struct sent sent[COMMANDS_MAX];
    uint64_t written[INSTANCES + 1];   /* newest epoch whose lease is on disk */
    uint64_t stopped[INSTANCES + 1];   /* newest epoch that a stop was sent for */
    uint64_t overtaken[INSTANCES + 1]; /* all epochs up to this are over: a newer one is on disk, or a stop came */
    bool linked;
    struct peer_seen peer[2];
    uint64_t last_command;
    struct agent_epoch disk[INSTANCES + 1];
    size_t n_knocks;
    uint64_t knock[16]; /* tokens of those under way */
} w;

#define check(condition)                                          \
    do {                                                          \
        if (!(condition))                                         \
            fail_msg("seed %" PRIu64 ": %s", w.seed, #condition); \
    } while (0)

static unsigned below(unsigned n)
{
    w.rng ^= w.rng << 13;
    w.rng ^= w.rng >> 7;
    w.rng ^= w.rng << 17;
    return (unsigned)((w.rng >> 33) % n);
}

static struct process *process_of(const char *id)
{
    for (size_t i = 0; i < w.n_processes; i++) {
        if (strcmp(w.process[i].id, id) == 0)
            return &w.process[i];
    }
    return NULL;
}

/* ---- what the agent does --------------------------------------------------------------------------------------- */

static void check_may_serve(const struct unit_facts *u)
{
    unsigned i = u->instance.b[0];

    if (!i)
        return;
    check(w.written[i] == u->epoch);  /* on disk, and no newer one */
    check(w.overtaken[i] < u->epoch); /* not stopped */
}

static void on_spawn(const struct agent_fx *fx)
{
    const struct unit_facts *u = &fx->unit;
    struct process *p = process_of(u->id);

    check_may_serve(u);
    check((u->role == UNIT_COORDINATOR) == (fx->coordinator != NULL));
    if (!p) {
        check(w.n_processes < PROCESSES_MAX);
        p = &w.process[w.n_processes++];
        memset(p, 0, sizeof(*p));
        p->state = UNIT_STARTING; /* its first transition came before */
    }
    check(p->life == ABSENT);
    for (size_t i = 0; u->instance.b[0] && i < w.n_processes; i++) {
        const struct process *other = &w.process[i];

        if (other != p && (other->life == SPAWNING || other->life == ALIVE) && other->role == u->role &&
            other->epoch == u->epoch && other->rank == u->rank)
            check(!id128_equal(&other->instance, &u->instance));
    }
    memcpy(p->id, u->id, sizeof(p->id));
    p->life = SPAWNING;
    p->role = u->role;
    p->instance = u->instance;
    p->epoch = u->epoch;
    p->rank = u->rank;
    p->terminated = p->killed = p->probed = p->undead = false;
    p->standing = u->standing;
    p->record = (struct record){.instance = u->instance, .epoch = u->epoch, .rank = u->rank};
}

static void on_assign(const struct agent_fx *fx)
{
    struct process *p = process_of(fx->unit_id);

    check(p && p->life == ALIVE);
    check_may_serve(&fx->unit);
    p->instance = fx->unit.instance;
    p->epoch = fx->unit.epoch;
    p->rank = fx->unit.rank;
    p->token = fx->token;
}

static void on_probe(const struct agent_fx *fx)
{
    struct process *p = process_of(fx->unit_id);

    check(p && p->life == ALIVE && p->role == UNIT_WORKER && !p->probed);
    if (p->state != UNIT_STARTING && p->instance.b[0]) {
        check(w.overtaken[p->instance.b[0]] >= p->epoch);
        for (size_t i = 0; i < w.n_processes; i++) { /* and its coordinator is gone */
            const struct process *c = &w.process[i];

            if (c->role == UNIT_COORDINATOR && c->epoch == p->epoch && id128_equal(&c->instance, &p->instance))
                check(c->life == ABSENT || c->life == GONE);
        }
    }
    p->probed = true;
}

static bool lives(const struct process *p, const struct id128 *instance, uint64_t up_to_epoch)
{
    return (p->life == SPAWNING || p->life == ALIVE) && p->epoch <= up_to_epoch && id128_equal(&p->instance, instance);
}

/* Done is said of what is so. */
static void check_done(const struct message *m, enum command_kind kind)
{
    const struct process *p = process_of(m->result.unit);

    switch (kind) {
    case COMMAND_LEASE:
    case COMMAND_STOP:
        for (size_t i = 0; i < w.n_processes; i++)
            check(!lives(&w.process[i], &m->instance, kind == COMMAND_STOP ? m->epoch : m->epoch - 1));
        check(kind == COMMAND_STOP || w.written[m->instance.b[0]] == m->epoch);
        return;
    case COMMAND_START_WORKER:
    case COMMAND_START_COORDINATOR:
        check(p && p->life == ALIVE && p->epoch == m->epoch && lives(p, &m->instance, m->epoch));
        for (size_t i = 0; i < w.n_writes; i++) /* its record says so */
            check(w.write[i].is_epoch || strcmp(w.write[i].unit_id, p->id) != 0);
        return;
    case COMMAND_KNOCK:
        check(strcmp(m->result.reason, "answered") == 0);
        return;
    }
}

static void on_result(const struct message *m)
{
    for (size_t i = 0; i < w.n_sent; i++) {
        struct sent *s = &w.sent[i];

        if (s->command.command_id != m->command_id)
            continue;
        check(s->command.epoch == m->epoch && id128_equal(&s->command.instance, &m->instance));
        check(s->n_results < s->n_sent); /* one each time that it came */
        if (!s->n_results && m->result.code == RESULT_DONE)
            check_done(m, s->command.command.kind);
        if (s->n_results++ && s->command.command.kind != COMMAND_KNOCK)
            check(memcmp(&s->result, &m->result, sizeof(s->result)) == 0);
        s->result = m->result;
        check(m->result.text[0] && (m->result.code == RESULT_DONE || m->result.reason[0]));
        return;
    }
    check(false && "a result for a command that was never sent");
}

static void on_report(const struct report *r)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < r->n_leases; i++)
        sum += r->lease[i].bytes;
    check(sum <= LIMIT_BYTES);
}

static void on_write(const struct agent_fx *fx, bool is_epoch)
{
    check(w.n_writes < WRITES_MAX);
    w.write[w.n_writes] = (struct write){.token = fx->token, .is_epoch = is_epoch, .epoch = fx->epoch};
    w.write[w.n_writes].record =
        (struct record){.instance = fx->unit.instance, .epoch = fx->unit.epoch, .rank = fx->unit.rank};
    memcpy(w.write[w.n_writes++].unit_id, fx->unit_id, sizeof(fx->unit_id));
}

/* ---- what it says ---------------------------------------------------------------------------------------------- */

static void on_said(const struct message *m)
{
    if (m->kind == MESSAGE_RESULT)
        on_result(m);
    else if (m->kind == MESSAGE_REPORT)
        on_report(m->report);
    else
        check(m->kind == MESSAGE_EVENT || m->kind == MESSAGE_HELLO);
}

/* Over our own link. A result may be sent where there is no way at all: it is remembered. */
static void on_sent(const struct message *m)
{
    check(w.linked || (m->kind == MESSAGE_RESULT && !agent_via(w.agent)));
    if (m->kind != MESSAGE_RELAY) {
        on_said(m);
        return;
    }
    check(strcmp(m->relay.key, "b") == 0 || strcmp(m->relay.key, "d") == 0);
    check(m->relay.inner->kind == MESSAGE_HELLO || m->relay.inner->kind == MESSAGE_RESULT);
}

static void on_peer_sent(const struct agent_fx *fx)
{
    const struct message *m = fx->message;
    struct peer_seen *to = &w.peer[fx->key[0] == 'd'];

    check(strcmp(fx->key, to->key) == 0);
    if (m->kind == MESSAGE_HEALTH) {
        check(m->health.linked == w.linked);
        return;
    }
    check(m->kind == MESSAGE_RELAY && to->up);
    if (strcmp(m->relay.key, "me") != 0) { /* carried, from the controller */
        check(w.linked && strcmp(m->relay.key, to->key) == 0 && m->relay.inner->kind == MESSAGE_WELCOME);
        return;
    }
    check(!w.linked);
    if (m->relay.inner->kind == MESSAGE_HELLO) {
        check(to->linked && w.now_ms - to->heard_ms < 3000);
        w.peer[0].asked = w.peer[1].asked = false;
        to->asked = true;
    } else {
        check(to->asked && m->relay.inner->seq > 1);
    }
    on_said(m->relay.inner);
}

static void on_knock(const struct agent_fx *fx)
{
    check(w.n_knocks < 16);
    w.knock[w.n_knocks++] = fx->token;
}

static void on_effect(const struct agent_fx *fx)
{
    struct process *p = process_of(fx->unit_id);

    switch (fx->kind) {
    case AGENT_FX_SEND:
        on_sent(fx->message);
        break;
    case AGENT_FX_PERSIST_EPOCH:
        on_write(fx, true);
        break;
    case AGENT_FX_SPAWN:
        on_spawn(fx);
        break;
    case AGENT_FX_ASSIGN:
        on_assign(fx);
        on_write(fx, false);
        break;
    case AGENT_FX_SIGNAL:
        if (p && p->life == ALIVE) { /* one that does not exist yet gets none */
            p->killed = p->killed || fx->signal == 9;
            p->terminated = p->terminated || fx->signal == 15;
        }
        break;
    case AGENT_FX_PROBE:
        on_probe(fx);
        break;
    case AGENT_FX_FORGET:
        if (p) {
            check(p->life == GONE);
            p->life = ABSENT;
        }
        break;
    case AGENT_FX_ADVERTISE:
        check(!fx->advertise || (p && p->life == ALIVE));
        break;
    case AGENT_FX_TRANSITION:
        if (p) {
            check(strcmp(fx->transition.from, unit_state_name(p->state)) == 0);
            for (enum unit_state s = UNIT_IDLE; s <= UNIT_FAILED; s++) {
                if (strcmp(fx->transition.to, unit_state_name(s)) == 0)
                    p->state = s;
            }
        }
        break;
    case AGENT_FX_PEERS:
        break;
    case AGENT_FX_PEER_SEND:
        on_peer_sent(fx);
        break;
    case AGENT_FX_KNOCK:
        on_knock(fx);
        break;
    }
}

static void step(const struct agent_ev *ev)
{
    struct agent_effects *fx = agent_step(w.agent, ev, w.now_ms);

    check(fx != NULL);
    for (size_t i = 0; i < fx->n; i++)
        on_effect(&fx->item[i]);
    agent_effects_destroy(&fx);
    check(agent_deadline_ms(w.agent) > w.now_ms); /* else the shell would spin */
}

#endif
