/* An agent's core against a world that does anything in any order: processes that come late, die, ignore SIGTERM or
 * hang, disks that fail, commands doubled, reordered and for dead epochs, links that flap, probes answered by chance.
 * Whatever comes, these hold:
 *
 *   - two processes never serve one rank of one epoch, and no id is spawned while its process lives;
 *   - nothing is started for an epoch that is not on disk, is over, or has a newer one written;
 *   - a worker of a live epoch is never probed once it runs;
 *   - the leases reported never exceed the limit;
 *   - each command gets its result, and never another one;
 *   - once everything is answered nobody is left in stopping; after a stop of everything only the standing worker lives.
 *
 * CARAVAN_SEED=n runs one seed; CARAVAN_SEEDS=n runs that many. A failing seed is printed. */
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
    SEEDS = 2000,
    STEPS = 200,
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
    struct id128 instance;
    uint64_t epoch;
    int32_t rank;
    uint64_t token; /* of its last ASSIGN */
};

struct write {
    uint64_t token;
    bool is_epoch;
    struct agent_epoch epoch;
    char unit_id[PROTO_NAME_MAX];
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
    p->terminated = p->killed = p->probed = false;
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
        break;
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
        if (s->n_results++)
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

    check(w.linked);
    for (size_t i = 0; i < r->n_leases; i++)
        sum += r->lease[i].bytes;
    check(sum <= LIMIT_BYTES);
}

static void on_write(const struct agent_fx *fx, bool is_epoch)
{
    check(w.n_writes < WRITES_MAX);
    w.write[w.n_writes] = (struct write){.token = fx->token, .is_epoch = is_epoch, .epoch = fx->epoch};
    memcpy(w.write[w.n_writes++].unit_id, fx->unit_id, sizeof(fx->unit_id));
}

static void on_effect(const struct agent_fx *fx)
{
    struct process *p = process_of(fx->unit_id);

    switch (fx->kind) {
    case AGENT_FX_SEND:
        if (fx->message->kind == MESSAGE_RESULT)
            on_result(fx->message);
        else if (fx->message->kind == MESSAGE_REPORT)
            on_report(fx->message->report);
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
    case AGENT_FX_PEER_SEND:
    case AGENT_FX_KNOCK:
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

/* ---- what the world does ---------------------------------------------------------------------------------------- */

static void forget_if_gone(struct process *p)
{
    if (p->life == GONE && !agent_unit(w.agent, p->id))
        p->life = ABSENT;
}

static void exit_of(struct process *p)
{
    p->life = GONE;
    p->probed = false;
    step(&(struct agent_ev){.kind = AGENT_EV_EXITED,
                            .unit_id = p->id,
                            .exit = {.known = true, .signal = p->killed ? 9 : 0},
                            .text = "the end"});
    forget_if_gone(p);
}

static void spawn_of(struct process *p, bool ok)
{
    if (ok) {
        p->life = ALIVE;
        step(&(struct agent_ev){
            .kind = AGENT_EV_SPAWNED, .unit_id = p->id, .pid = 5, .addr = "10.0.0.1", .port = 20052});
        return;
    }
    p->life = GONE;
    step(&(struct agent_ev){.kind = AGENT_EV_SPAWN_FAILED, .unit_id = p->id, .text = "no"});
    forget_if_gone(p);
}

static void probe_of(struct process *p, bool ok)
{
    p->probed = false;
    step(&(struct agent_ev){.kind = AGENT_EV_PROBED, .unit_id = p->id, .ok = ok, .rpc = {8, 0, 0}});
}

static void log_of(const struct process *p)
{
    static const enum agent_event_kind kinds[] = {AGENT_EVENT_LOADING, AGENT_EVENT_RANK_BUFFERS, AGENT_EVENT_LISTENING};
    struct agent_event_facts facts = {.kind = kinds[below(3)], .n_buffers = below(40)};

    step(&(struct agent_ev){.kind = AGENT_EV_COORDINATOR, .unit_id = p->id, .facts = &facts});
}

/* Something that is due to this process happens; in a settled world nothing fails any more. */
static void advance(struct process *p, bool settled)
{
    switch (p->life) {
    case SPAWNING:
        spawn_of(p, settled || below(8));
        return;
    case ALIVE:
        if (p->killed || (p->terminated && (settled || below(3))))
            exit_of(p);
        else if (p->probed)
            probe_of(p, settled || below(6));
        else if (p->role == UNIT_COORDINATOR)
            log_of(p);
        return;
    case ABSENT:
    case GONE:
        return;
    }
}

static void finish_write(size_t at, bool ok)
{
    struct process *p;
    const struct write done = w.write[at];
    unsigned i = done.epoch.instance.b[0];

    memmove(&w.write[at], &w.write[at + 1], (w.n_writes - at - 1) * sizeof(done));
    w.n_writes--;
    if (done.is_epoch && ok && done.epoch.epoch >= w.written[i]) {
        w.written[i] = done.epoch.epoch;
        if (w.overtaken[i] < done.epoch.epoch - 1)
            w.overtaken[i] = done.epoch.epoch - 1;
    }
    if (done.is_epoch && !ok && w.overtaken[i] < done.epoch.epoch) /* it is over, and what is older too */
        w.overtaken[i] = done.epoch.epoch;
    p = done.is_epoch || ok ? NULL : process_of(done.unit_id);
    if (p && p->token == done.token) /* its record is as it was; it serves nobody */
        p->instance.b[0] = 0;
    step(&(struct agent_ev){.kind = AGENT_EV_PERSISTED, .token = done.token, .ok = ok});
}

static void send_command(struct sent *s)
{
    unsigned i = s->command.instance.b[0];

    s->n_sent++;
    if (s->command.command.kind == COMMAND_STOP && w.overtaken[i] < s->command.epoch)
        w.overtaken[i] = s->command.epoch;
    step(&(struct agent_ev){.kind = AGENT_EV_MESSAGE, .message = &s->command});
}

static struct sent *new_command(unsigned instance, uint64_t epoch, enum command_kind kind)
{
    struct sent *s = &w.sent[w.n_sent++];
    struct command *c = &s->command.command;

    memset(s, 0, sizeof(*s));
    s->command.kind = MESSAGE_COMMAND;
    s->command.instance.b[0] = (uint8_t)instance;
    s->command.epoch = epoch;
    s->command.command_id = w.n_sent;
    c->kind = kind;
    if (kind == COMMAND_LEASE) {
        c->lease.n_devices = 1;
        strcpy(c->lease.device[0], "CPU");
        c->lease.bytes[0] = 50 + below(600);
    } else if (kind == COMMAND_START_WORKER) {
        c->worker.rank = (int32_t)below(3);
        c->worker.n_devices = 1;
        strcpy(c->worker.device[0], "CPU");
    } else if (kind == COMMAND_START_COORDINATOR) {
        strcpy(c->coordinator.model, "m");
        c->coordinator.n_devices = 1;
        strcpy(c->coordinator.device[0], below(4) ? "RPC0" : "CUDA0");
    }
    return s;
}

/* A repeat waits until the first is answered, or else its answer is the first's: it is counted as sent only once. */
static void repeat_command(void)
{
    struct sent *s = &w.sent[below((unsigned)w.n_sent)];

    if (s->n_results == s->n_sent)
        send_command(s);
    else
        step(&(struct agent_ev){.kind = AGENT_EV_MESSAGE, .message = &s->command});
}

/* Mostly the command that comes next for the newest epoch; now and then any. */
static void random_command(void)
{
    static const enum command_kind usual[] = {COMMAND_LEASE, COMMAND_START_WORKER, COMMAND_START_WORKER,
                                              COMMAND_START_COORDINATOR, COMMAND_STOP};
    unsigned instance = 1 + below(INSTANCES);
    uint64_t newest = w.written[instance], epoch = below(4) ? newest : 1 + below(EPOCHS);
    enum command_kind kind = usual[below(5)];

    if (kind == COMMAND_STOP && below(2))
        kind = COMMAND_START_WORKER;
    if (kind == COMMAND_LEASE && below(3))
        epoch = newest + 1;
    send_command(new_command(instance, epoch ? epoch : 1, kind));
}

static void sample(void)
{
    struct agent_sample s = {.host_total_bytes = 4000, .host_free_bytes = 400 + below(4000), .n_devices = 1};

    strcpy(s.device[0].name, "CPU");
    s.device[0].kind = DEVICE_CPU;
    step(&(struct agent_ev){.kind = AGENT_EV_SAMPLE, .sample = &s});
}

/* What nobody asked for. */
static void stray_event(void)
{
    const char *id = w.n_processes ? w.process[below((unsigned)w.n_processes)].id : "w0";

    switch (below(5)) {
    case 0:
        step(&(struct agent_ev){.kind = AGENT_EV_PERSISTED, .token = 1000000 + below(5), .ok = true});
        return;
    case 1:
        if (!process_of(id) || !process_of(id)->probed) /* else it would be an answer */
            step(&(struct agent_ev){.kind = AGENT_EV_PROBED, .unit_id = id, .ok = below(2) != 0});
        return;
    case 2:
        step(&(struct agent_ev){.kind = AGENT_EV_DYING, .unit_id = id});
        return;
    case 3:
        step(&(struct agent_ev){.kind = AGENT_EV_EXITED, .unit_id = "w0", .text = ""});
        return;
    default:
        step(&(struct agent_ev){.kind = AGENT_EV_PORT_CLASH, .unit_id = id, .text = "held"});
        return;
    }
}

static void random_step(void)
{
    struct process *p = w.n_processes ? &w.process[below((unsigned)w.n_processes)] : NULL;

    w.now_ms += below(3) ? 0 : below(800);
    switch (below(16)) {
    case 0:
    case 1:
    case 2:
        if (w.n_sent < COMMANDS_MAX - 64)
            random_command();
        return;
    case 3:
        if (w.n_sent)
            repeat_command();
        return;
    case 4:
    case 5:
    case 6:
        if (w.n_writes)
            finish_write(0, below(10) != 0); /* a disk keeps the order */
        return;
    case 7:
        if (p && p->life == ALIVE && !below(4))
            exit_of(p);
        return;
    case 8:
        sample();
        return;
    case 9:
        stray_event();
        return;
    case 10:
        w.linked = below(4) != 0;
        step(&(struct agent_ev){.kind = w.linked ? AGENT_EV_LINK_UP : AGENT_EV_LINK_DOWN});
        return;
    case 11:
        w.now_ms += below(10) ? 100 : 20000;
        step(&(struct agent_ev){.kind = AGENT_EV_TICK});
        return;
    default:
        if (p)
            advance(p, false);
        return;
    }
}

/* The world calms down: everything outstanding comes to its end. */
static void calm_down(void)
{
    for (unsigned round = 0; round < 40; round++) {
        while (w.n_writes)
            finish_write(0, true);
        for (size_t i = 0; i < w.n_processes; i++)
            advance(&w.process[i], true);
        w.now_ms += 2000;
        step(&(struct agent_ev){.kind = AGENT_EV_TICK});
    }
}

static void check_calm(void)
{
    const struct unit_facts *units;
    size_t n = agent_units(w.agent, &units);

    for (size_t i = 0; i < n; i++)
        check(units[i].state != UNIT_STOPPING && units[i].state != UNIT_IDLE);
    for (size_t i = 0; i < w.n_sent; i++)
        check(w.sent[i].n_results == w.sent[i].n_sent);
}

static void check_only_the_standing_worker_is_left(void)
{
    const struct unit_facts *units;

    for (unsigned i = 1; i <= INSTANCES; i++)
        send_command(new_command(i, 1000, COMMAND_STOP));
    calm_down();
    check_calm();
    check(agent_units(w.agent, &units) == 1);
    check(units[0].standing && units[0].state == UNIT_RUNNING && id128_is_zero(&units[0].instance));
    for (size_t i = 0; i < w.n_processes; i++)
        check(w.process[i].life != SPAWNING &&
              (w.process[i].life != ALIVE || strcmp(w.process[i].id, units[0].id) == 0));
    for (unsigned i = 1; i <= INSTANCES; i++) { /* nor is memory promised to anybody */
        struct sent *s = new_command(i, 2000, COMMAND_LEASE);

        s->command.command.lease.bytes[0] = LIMIT_BYTES / INSTANCES;
        send_command(s);
        calm_down();
        check(s->result.code == RESULT_DONE);
    }
}

static void begin(void)
{
    struct agent_config config = {.addr = "10.0.0.1",
                                  .standing = true,
                                  .can_run = true,
                                  .n_devices = 1,
                                  .memory_limit_bytes = LIMIT_BYTES,
                                  .device = {"CPU"}};
    struct model_facts *m = calloc(1, sizeof(*m));

    assert_non_null(m);
    strcpy(m->name, "m");
    assert_int_equal(agent_new(&config, NULL, 0, &w.agent), 0);
    step(&(struct agent_ev){.kind = AGENT_EV_MODELS, .model = m, .n_models = 1});
    step(&(struct agent_ev){.kind = AGENT_EV_BEGIN});
}

static void run_seed(uint64_t seed)
{
    memset(&w, 0, sizeof(w));
    w.seed = seed;
    w.rng = seed * 0x9e3779b97f4a7c15u + 1;
    w.now_ms = 1000;
    begin();
    for (unsigned i = 0; i < STEPS && w.n_processes < PROCESSES_MAX - 8; i++)
        random_step();
    calm_down();
    check_calm();
    check_only_the_standing_worker_is_left();
    agent_destroy(&w.agent);
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void test_any_order_of_events(void **state)
{
    uint64_t one = setting("CARAVAN_SEED", 0), n = setting("CARAVAN_SEEDS", SEEDS);

    (void)state;
    if (one) {
        run_seed(one);
        return;
    }
    for (uint64_t seed = 1; seed <= n; seed++)
        run_seed(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_any_order_of_events)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
