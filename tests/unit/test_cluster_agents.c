/* The leader and the real agent core together, over a link that loses nothing and processes that do as they are told: do
 * both sides mean the same by their messages? (Faults and time are the simulator's.) */
#include "agent/core/agent.h"
#include "tests/unit/cluster_harness.h"

enum { AGENTS = 3, PROCESSES = 8 };

static struct host {
    struct agent *agent;
    struct process {
        char id[PROTO_NAME_MAX]; /* empty: none */
        uint16_t port;
        struct coordinator_spec spec; /* of a coordinator; without arguments */
    } process[PROCESSES];
    uint16_t next_port;
} host[AGENTS + 1];

static uint64_t commits[64];
static size_t n_commits;

static void lead(struct cluster_ev *ev);

static void agent(int n, const struct agent_ev *ev);

static struct process *process_of(int n, const char *id)
{
    for (int i = 0; i < PROCESSES; i++) {
        if (!strcmp(host[n].process[i].id, id))
            return &host[n].process[i];
    }
    return NULL;
}

static void spawn(int n, const struct agent_fx *fx)
{
    struct process *p = process_of(n, "");

    assert_non_null(p);
    strcpy(p->id, fx->unit_id);
    p->port = (uint16_t)((fx->coordinator ? 18080 : 20052) + host[n].next_port++);
    if (fx->coordinator)
        p->spec = *fx->coordinator;
    agent(
        n,
        &(struct agent_ev){
            .kind = AGENT_EV_SPAWNED, .unit_id = p->id, .pid = 100 + p->port, .addr = fx->unit.addr, .port = p->port});
}

static void end(int n, const char *id, int32_t signal)
{
    struct process *p = process_of(n, id);
    char name[PROTO_NAME_MAX];

    if (!p)
        return;
    strcpy(name, id);
    p->id[0] = '\0';
    agent(n, &(struct agent_ev){
                 .kind = AGENT_EV_EXITED, .unit_id = name, .exit = {.known = true, .signal = signal}, .text = ""});
}

static void carry(int n, struct agent_fx *fx)
{
    struct cluster_ev ev;

    switch (fx->kind) {
    case AGENT_FX_SEND:
        fx->message->version_major = PROTOCOL_MAJOR;
        ev = event_from(n, CLUSTER_EV_MESSAGE, fx->message);
        fx->message = NULL;
        lead(&ev);
        break;
    case AGENT_FX_PERSIST_EPOCH:
    case AGENT_FX_ASSIGN:
        agent(n, &(struct agent_ev){.kind = AGENT_EV_PERSISTED, .token = fx->token, .ok = true});
        break;
    case AGENT_FX_SPAWN:
        spawn(n, fx);
        break;
    case AGENT_FX_SIGNAL:
        end(n, fx->unit_id, fx->signal);
        break;
    case AGENT_FX_PROBE:
        agent(n, &(struct agent_ev){.kind = AGENT_EV_PROBED,
                                    .unit_id = fx->unit_id,
                                    .ok = true,
                                    .rpc = {8, 0, 0},
                                    .n_devices = 1,
                                    .device_total_bytes = {16 * GIB}});
        break;
    case AGENT_FX_FORGET:
    case AGENT_FX_ADVERTISE:
    case AGENT_FX_TRANSITION:
        break;
    case AGENT_FX_PEERS:
    case AGENT_FX_PEER_SEND:
    case AGENT_FX_KNOCK:
        break;
    }
}

static void agent(int n, const struct agent_ev *ev)
{
    struct agent_effects *fx = agent_step(host[n].agent, ev, w.now);

    assert_non_null(fx);
    for (size_t i = 0; i < fx->n; i++)
        carry(n, &fx->item[i]);
    agent_effects_destroy(&fx);
}

static void lead(struct cluster_ev *ev)
{
    struct cluster_effects *fx;

    ev->wall_ms = 1000000 + w.now;
    fx = cluster_step(w.c, ev, w.now);
    assert_non_null(fx);
    for (size_t i = 0; i < fx->n; i++) {
        struct cluster_fx *f = &fx->item[i];

        if (f->kind == CLUSTER_FX_TRANSITION)
            say_transition(&f->transition);
        if (f->kind == CLUSTER_FX_COMMIT)
            commits[n_commits++] = f->token;
        if (f->kind == CLUSTER_FX_SEND && f->message->kind == MESSAGE_COMMAND)
            agent(node_of(f->key), &(struct agent_ev){.kind = AGENT_EV_MESSAGE, .message = f->message});
        if (f->kind == CLUSTER_FX_WARM_UP) {
            struct cluster_ev warm = {
                .kind = CLUSTER_EV_WARMED, .instance = f->instance, .epoch = f->epoch, .ok = true, .text = ""};

            lead(&warm);
        }
    }
    cluster_effects_destroy(&fx);
}

static void commit_now(void)
{
    while (n_commits) {
        struct cluster_ev ev = {.kind = CLUSTER_EV_COMMITTED, .token = commits[0], .ok = true};

        memmove(commits, commits + 1, --n_commits * sizeof(commits[0]));
        lead(&ev);
    }
}

static void sample(int n)
{
    static struct agent_sample s;

    s = (struct agent_sample){.host_total_bytes = 16 * GIB, .host_free_bytes = 8 * GIB, .n_devices = 1};
    strcpy(s.device[0].name, "CPU");
    s.device[0].kind = DEVICE_CPU;
    s.device[0].total_bytes = 16 * GIB;
    s.device[0].free_bytes = 8 * GIB;
    for (int i = 0; i < PROCESSES; i++) {
        if (host[n].process[i].id[0])
            strcpy(s.unit[s.n_units++].id, host[n].process[i].id);
    }
    agent(n, &(struct agent_ev){.kind = AGENT_EV_SAMPLE, .sample = &s});
}

static void run(uint64_t ms)
{
    for (uint64_t until = w.now + ms; w.now < until; w.now += 50) {
        if (cluster_deadline_ms(w.c) <= w.now) {
            struct cluster_ev tick = {.kind = CLUSTER_EV_TICK};

            lead(&tick);
        }
        for (int n = 1; n <= AGENTS; n++) {
            if (w.now % 500 == 0)
                sample(n);
            if (agent_deadline_ms(host[n].agent) <= w.now)
                agent(n, &(struct agent_ev){.kind = AGENT_EV_TICK});
        }
        commit_now();
    }
}

static void start_agent(int n)
{
    struct agent_config config = {.standing = true, .n_devices = 1, .can_run = true};
    struct cluster_ev ev = event_from(n, CLUSTER_EV_HELLO, hello_of(n));
    struct model_facts *models = calloc(1, sizeof(*models));

    snprintf(config.addr, sizeof(config.addr), "10.0.0.%d", n);
    strcpy(config.device[0], "CPU");
    assert_int_equal(agent_new(&config, NULL, 0, &host[n].agent), 0);
    assert_non_null(models);
    fill_model(models, "m");
    agent(n, &(struct agent_ev){.kind = AGENT_EV_MODELS, .model = models, .n_models = 1});
    agent(n, &(struct agent_ev){.kind = AGENT_EV_BEGIN});
    sample(n);
    lead(&ev);
    agent(n, &(struct agent_ev){.kind = AGENT_EV_LINK_UP});
}

static int setup(void **state)
{
    struct cluster_ev ev = {.kind = CLUSTER_EV_BEGIN};

    (void)state;
    world_open();
    memset(host, 0, sizeof(host));
    n_commits = 0;
    lead(&ev);
    for (int n = 1; n <= AGENTS; n++)
        start_agent(n);
    run(1000);
    quiet();
    return 0;
}

static int teardown(void **state)
{
    for (int n = 1; n <= AGENTS; n++)
        agent_destroy(&host[n].agent);
    return world_teardown(state);
}

/* The coordinator's load, told by its log. */
static void load(void)
{
    for (int n = 1; n <= AGENTS; n++) {
        for (int i = 0; i < PROCESSES; i++) {
            struct process *p = &host[n].process[i];
            struct agent_event_facts facts = {.kind = AGENT_EVENT_RANK_BUFFERS};
            struct view *v = view_now();

            for (size_t r = 0; p->id[0] && r < p->spec.n_ranks; r++) {
                struct rank_buffers *b = &facts.buffers[facts.n_buffers++];

                memcpy(b->endpoint, p->spec.endpoint[r], sizeof(b->endpoint));
                b->model_bytes = v->instance[0].plan->rank[r].device[0].weight_bytes;
            }
            view_unref(&v);
            if (!facts.n_buffers)
                continue;
            agent(n, &(struct agent_ev){.kind = AGENT_EV_COORDINATOR, .unit_id = p->id, .facts = &facts});
            facts = (struct agent_event_facts){.kind = AGENT_EVENT_LISTENING};
            agent(n, &(struct agent_ev){.kind = AGENT_EV_COORDINATOR, .unit_id = p->id, .facts = &facts});
        }
    }
}

static void deploy_three(void)
{
    struct place_request r = request_of("m", 3);
    struct cluster_ev ev = {.kind = CLUSTER_EV_DEPLOY, .request_id = 1, .request = &r, .new_instance = id_of(50)};

    lead(&ev);
    run(500);
    load();
    run(500);
}

static void test_from_deploy_to_ready_to_stopped(void **state)
{
    struct cluster_ev ev = {.kind = CLUSTER_EV_STOP, .request_id = 2, .target = "m"};

    (void)state;
    deploy_three();
    EXPECT("task 1 pending -> running (begin)\n"
           "instance m requested -> placing (place)\n"
           "instance m placing -> leasing (planned)\n"
           "instance m leasing -> starting (leased)\n"
           "instance m starting -> loading (workers_up)\n"
           "instance m loading -> ready (ranks_proven)\n"
           "task 1 running -> complete (done)\n");
    run(60000);
    EXPECT("");
    lead(&ev);
    run(6000);
    EXPECT("task 2 pending -> running (begin)\n"
           "instance m ready -> stopping (stop)\n"
           "instance m stopping -> stopped (released): stopped\n"
           "task 2 running -> complete (done)\n");
    for (int n = 1; n <= AGENTS; n++) {
        const struct unit_facts *units;

        assert_int_equal(agent_units(host[n].agent, &units), 1); /* the standing worker, idle again */
        assert_true(units[0].standing && units[0].state == UNIT_RUNNING && id128_is_zero(&units[0].instance));
    }
}

static void test_a_killed_worker_is_named_and_nothing_stays(void **state)
{
    const struct unit_facts *units;
    size_t n_units;

    (void)state;
    deploy_three();
    quiet();
    n_units = agent_units(host[2].agent, &units);
    for (size_t i = 0; i < n_units; i++) {
        if (units[i].role == UNIT_WORKER && !id128_is_zero(&units[i].instance)) {
            end(2, units[i].id, 9);
            break;
        }
    }
    run(6000);
    EXPECT("instance m ready -> recovering (trouble): rank 1 on n2: worker killed by signal 9 (SIGKILL)\n"
           "instance m recovering -> placing (place)\n"
           "instance m placing -> leasing (planned)\n"
           "instance m leasing -> starting (leased)\n"
           "instance m starting -> loading (workers_up)\n");
    for (int n = 1; n <= AGENTS; n++) {
        n_units = agent_units(host[n].agent, &units);
        for (size_t u = 0; u < n_units; u++)
            assert_true(id128_is_zero(&units[u].instance) || units[u].epoch == 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_from_deploy_to_ready_to_stopped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_killed_worker_is_named_and_nothing_stays, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
