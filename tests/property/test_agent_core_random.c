/* An agent's core against a world that does anything in any order: processes that come late, die, ignore SIGTERM, hang or
 * outlive SIGKILL, disks that fail, commands doubled, reordered and for dead epochs, links and neighbours that flap, probes
 * answered by chance, sleep, and the agent itself killed at any moment and started again. agent_world.h says what holds
 * meanwhile; in the end
 *
 *   - each command has its result after a minute's patience, though processes hang and spawns go unanswered;
 *   - once everything is answered nobody is left in stopping;
 *   - after a stop of everything only the standing worker lives, and no memory is promised to anybody.
 *
 * CARAVAN_SEED=n runs one seed; CARAVAN_SEEDS=n runs that many. A failing seed is printed. */
#include "tests/property/agent_world.h"

enum { SEEDS = 2000, STEPS = 200 };

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
        p->undead = !below(12);
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
        if (p->undead && !settled)
            return;
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

static void to_disk(const struct write *done)
{
    struct process *p = process_of(done->unit_id);

    if (done->is_epoch)
        w.disk[done->epoch.instance.b[0]] = done->epoch;
    else if (p)
        p->record = done->record;
}

static void finish_write(size_t at, bool ok)
{
    struct process *p;
    const struct write done = w.write[at];
    unsigned i = done.epoch.instance.b[0];

    memmove(&w.write[at], &w.write[at + 1], (w.n_writes - at - 1) * sizeof(done));
    w.n_writes--;
    if (ok)
        to_disk(&done);
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

/* Over the way that there is; where there is none, over a link that the agent does not know to be down. */
static void deliver(struct message *command)
{
    const char *via = agent_via(w.agent);
    struct message m = {.kind = MESSAGE_RELAY, .relay = {.key = "me", .inner = command}};

    if (via)
        step(&(struct agent_ev){.kind = AGENT_EV_PEER_MESSAGE, .key = via, .message = &m});
    else
        step(&(struct agent_ev){.kind = AGENT_EV_MESSAGE, .message = command});
}

static void send_command(struct sent *s)
{
    unsigned i = s->command.instance.b[0];

    s->n_sent++;
    if (s->command.command.kind == COMMAND_STOP && w.overtaken[i] < s->command.epoch)
        w.overtaken[i] = s->command.epoch;
    deliver(&s->command);
}

static struct sent *new_command(unsigned instance, uint64_t epoch, enum command_kind kind)
{
    struct sent *s = &w.sent[w.n_sent++];
    struct command *c = &s->command.command;

    memset(s, 0, sizeof(*s));
    s->command.kind = MESSAGE_COMMAND;
    s->command.instance.b[0] = (uint8_t)instance;
    s->command.epoch = epoch;
    s->command.command_id = ++w.last_command;
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
        deliver(&s->command);
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
    if (!below(10)) {
        send_command(new_command(0, 0, COMMAND_KNOCK));
        return;
    }
    send_command(new_command(instance, epoch ? epoch : 1, kind));
}

static void sample(void)
{
    struct agent_sample s = {.host_total_bytes = 4000, .host_free_bytes = 400 + below(4000), .n_devices = 1};

    strcpy(s.device[0].name, "CPU");
    s.device[0].kind = DEVICE_CPU;
    for (size_t i = 0; i < w.n_processes && s.n_units < PROTO_UNITS_MAX; i++) {
        struct agent_unit_sample *u = &s.unit[s.n_units];

        if (w.process[i].life != ALIVE)
            continue;
        memcpy(u->id, w.process[i].id, sizeof(u->id));
        u->proc_state = "SSSRDT"[below(6)];
        u->has_sockets = below(4) != 0;
        u->unread_bytes = below(2) * 321;
        s.n_units++;
    }
    step(&(struct agent_ev){.kind = AGENT_EV_SAMPLE, .sample = &s});
}

/* ---- neighbours ------------------------------------------------------------------------------------------------- */

static void tell_neighbours(void)
{
    struct neighbours n = {.n_peers = 1, .n_guests = below(4) ? 1 : 0, .peer = {{.key = "b"}}, .guest = {"d"}};
    struct message m = {.kind = MESSAGE_NEIGHBOURS, .neighbours = &n};

    step(&(struct agent_ev){.kind = AGENT_EV_MESSAGE, .message = &m});
    w.peer[1].up = w.peer[1].up && n.n_guests;
}

static void peer_says(const struct peer_seen *p, const char *key, struct message *inner)
{
    struct message m = {.kind = MESSAGE_RELAY, .relay.inner = inner};

    strcpy(m.relay.key, key);
    step(&(struct agent_ev){.kind = AGENT_EV_PEER_MESSAGE, .key = p->key, .message = &m});
}

static void controller_says(const char *key)
{
    struct message inner = {.kind = MESSAGE_WELCOME}, m = {.kind = MESSAGE_RELAY, .relay.inner = &inner};

    strcpy(m.relay.key, key);
    if (w.linked)
        step(&(struct agent_ev){.kind = AGENT_EV_MESSAGE, .message = &m});
}

static void peer_event(void)
{
    struct peer_seen *p = &w.peer[below(2)];
    struct message health = {.kind = MESSAGE_HEALTH, .health.linked = below(4) != 0}, inner = {0};

    switch (below(8)) {
    case 0:
        tell_neighbours();
        return;
    case 1:
        p->up = below(3) != 0;
        p->linked = p->asked = false;
        step(&(struct agent_ev){.kind = p->up ? AGENT_EV_PEER_UP : AGENT_EV_PEER_DOWN, .key = p->key});
        return;
    case 2:
    case 3:
        p->linked = health.health.linked;
        p->heard_ms = w.now_ms;
        step(&(struct agent_ev){.kind = AGENT_EV_PEER_MESSAGE, .key = p->key, .message = &health});
        return;
    case 4:
    case 5:
        inner.kind = MESSAGE_WELCOME; /* asked for or not */
        peer_says(p, "me", &inner);
        return;
    case 6:
        inner.kind = below(2) ? MESSAGE_HELLO : MESSAGE_RESULT;
        peer_says(p, below(8) ? p->key : "x", &inner);
        return;
    default:
        controller_says(below(8) ? p->key : "x");
        return;
    }
}

/* ---- the agent dies --------------------------------------------------------------------------------------------- */

/* What was on its way to disk is there up to some point. */
static void lose_writes(void)
{
    size_t kept = w.n_writes ? below((unsigned)w.n_writes + 1) : 0;

    for (size_t i = 0; i < kept; i++)
        to_disk(&w.write[i]);
    w.n_writes = 0;
}

static void adopt(struct process *p)
{
    struct unit_facts u = {.role = p->role, .standing = p->standing, .pid = 5, .addr = "10.0.0.1", .port = 20052};

    memcpy(u.id, p->id, sizeof(u.id));
    u.state = p->state = p->life == ALIVE ? UNIT_RUNNING : UNIT_EXITED;
    u.instance = p->instance = p->record.instance;
    u.epoch = p->epoch = p->record.epoch;
    u.rank = p->rank = p->record.rank;
    p->probed = false;
    p->token = 0;
    step(&(struct agent_ev){.kind = AGENT_EV_ADOPT, .unit = &u});
}

static void begin(void);

/* Those that were being started did, or never will. Of the others no trace is left, and their names may come again. */
static void lose_processes(void)
{
    size_t kept = 0;

    for (size_t i = 0; i < w.n_processes; i++) {
        struct process *p = &w.process[i];

        if (p->life == SPAWNING)
            p->life = below(2) ? ALIVE : ABSENT;
        if (p->life != ABSENT)
            w.process[kept++] = *p;
    }
    w.n_processes = kept;
}

/* Who asked is not told; the controllers of this world do not ask again. */
static void restart(void)
{
    lose_writes();
    lose_processes();
    w.n_sent = w.n_knocks = 0;
    w.linked = false;
    for (size_t i = 0; i < 2; i++)
        w.peer[i].up = w.peer[i].asked = false;
    for (unsigned i = 1; i <= INSTANCES; i++) {
        w.written[i] = w.disk[i].epoch;
        w.overtaken[i] = w.disk[i].epoch && w.disk[i].leased ? w.disk[i].epoch - 1 : w.disk[i].epoch;
    }
    agent_destroy(&w.agent);
    begin();
}

/* ---- anything --------------------------------------------------------------------------------------------------- */

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
    switch (below(20)) {
    case 19:
    case 18:
        peer_event();
        return;
    case 17:
        if (w.n_knocks)
            step(&(struct agent_ev){.kind = AGENT_EV_KNOCKED, .token = w.knock[--w.n_knocks], .knock = KNOCK_ANSWERED});
        return;
    case 16:
        if (!below(8))
            restart();
        else if (!below(8))
            step(&(struct agent_ev){.kind = AGENT_EV_RESUMED});
        return;
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
        step(&(struct agent_ev){.kind = w.linked ? AGENT_EV_LINK_UP : AGENT_EV_LINK_DOWN,
                                .minor = PROTOCOL_MINOR - below(2)});
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

/* Disks answer, but nobody ends and no start is answered: whoever waits is told so. */
static void lose_patience(void)
{
    while (w.n_writes)
        finish_write(0, true);
    for (unsigned i = 0; i < 3; i++) { /* a start, its stop, its kill */
        w.now_ms += AGENT_STUCK_MS;
        step(&(struct agent_ev){.kind = AGENT_EV_TICK});
        while (w.n_writes)
            finish_write(0, true);
    }
    w.n_knocks = 0;
    for (size_t i = 0; i < w.n_sent; i++)
        check(w.sent[i].n_results == w.sent[i].n_sent);
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

/* With what is on disk and whom the last life has left. */
static void begin(void)
{
    struct agent_config config = {.addr = "10.0.0.1",
                                  .standing = true,
                                  .can_run = true,
                                  .n_devices = 1,
                                  .memory_limit_bytes = LIMIT_BYTES,
                                  .key = "me",
                                  .device = {"CPU"}};
    struct model_facts *m = calloc(1, sizeof(*m));

    assert_non_null(m);
    strcpy(m->name, "m");
    assert_int_equal(agent_new(&config, w.disk + 1, INSTANCES, &w.agent), 0);
    for (size_t i = 0; i < w.n_processes; i++)
        adopt(&w.process[i]);
    step(&(struct agent_ev){.kind = AGENT_EV_MODELS, .model = m, .n_models = 1});
    step(&(struct agent_ev){.kind = AGENT_EV_BEGIN});
}

static void run_seed(uint64_t seed)
{
    memset(&w, 0, sizeof(w));
    w.seed = seed;
    w.rng = seed * 0x9e3779b97f4a7c15u + 1;
    w.now_ms = 1000;
    strcpy(w.peer[0].key, "b");
    strcpy(w.peer[1].key, "d");
    for (unsigned i = 1; i <= INSTANCES; i++)
        w.disk[i].instance.b[0] = (uint8_t)i;
    begin();
    for (unsigned i = 0; i < STEPS && w.n_processes < PROCESSES_MAX - 8; i++)
        random_step();
    if (below(2))
        lose_patience();
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
