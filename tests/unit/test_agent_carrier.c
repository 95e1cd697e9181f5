/* Real carriers under a real agent: started, asked, adopted, missed, ended. What llama.cpp is needed for takes it from LLAMA_DIR
 * and a model from CARAVAN_TEST_MODEL. */
#include <sys/stat.h>

#include "tests/unit/agent_world.h"

enum { EPOCH = 3 };

/* ---- asking for things ------------------------------------------------------------------------------------------- */

static void begin(struct world *w)
{
    w->transport = "tunnel";
    run_agent(w, NULL);
}

/* false: there is no llama.cpp here. */
static bool begin_with_llama(struct world *w)
{
    char path[1024];

    w->llama_dir = getenv("LLAMA_DIR");
    if (!w->llama_dir || !getenv("CARAVAN_TEST_MODEL") || access(program(path, "caravan-carrier"), X_OK) < 0) {
        w->llama_dir = "/nonexistent";
        return false;
    }
    take_model(w, getenv("CARAVAN_TEST_MODEL"));
    begin(w);
    AWAIT(w, w->n_models == 2 && running(w, UNIT_WORKER));
    return true;
}

static void take_lease(struct world *w)
{
    struct message m = {
        .epoch = EPOCH,
        .command = {.kind = COMMAND_LEASE, .lease = {.n_devices = 1, .device = {"CPU"}, .bytes = {64 << 20}}}};

    command(w, &m, 1);
    expect_result(w, 1, RESULT_DONE, NULL);
}

/* peer: of another node's coordinator; NULL: it is for the one beside it. */
static void start_worker(struct world *w, uint64_t id, int32_t rank, const uint8_t *peer)
{
    struct message m = {.epoch = EPOCH, .command = {.kind = COMMAND_START_WORKER}};
    struct worker_spec *spec = &m.command.worker;

    *spec = (struct worker_spec){.rank = rank, .n_devices = 1, .device = {"CPU"}};
    if (peer) {
        crypto_key_format(peer, spec->peer);
        strcpy(spec->model, "tiny");
        spec->header_hash = w->model[1].header_hash;
    }
    command(w, &m, id);
}

/* endpoint: of rank 0, on this node; far: of rank 1, on another one with that key; NULL: there is none. */
static void start_coordinator_over(struct world *w, uint64_t id, const char *endpoint, const char *far,
                                   const uint8_t *key)
{
    struct message m = {.epoch = EPOCH, .command = {.kind = COMMAND_START_COORDINATOR}};
    struct coordinator_spec *spec = &m.command.coordinator;

    *spec = (struct coordinator_spec){.model = "tiny",
                                      .alias = "t",
                                      .n_ranks = 1,
                                      .n_routes = 1,
                                      .n_gateways = 1,
                                      .n_devices = 1,
                                      .device = {"RPC0"},
                                      .ctx = 256,
                                      .slots = 1,
                                      .batch = 64,
                                      .ubatch = 64,
                                      .kv_type = "f16",
                                      .api_key = "0123"};
    crypto_key_format(w->identity.public_key, spec->gateway[0]);
    spec->header_hash = w->model[1].header_hash;
    spec->layers[0] = w->n_layer[1] + 1;
    snprintf(spec->endpoint[0], sizeof(spec->endpoint[0]), "%s", endpoint);
    if (far) {
        spec->n_ranks = spec->n_routes = spec->n_devices = 2;
        snprintf(spec->endpoint[1], sizeof(spec->endpoint[1]), "%s", far);
        spec->route[1].rank = 1;
        crypto_key_format(key, spec->route[1].peer);
        strcpy(spec->device[1], "RPC1");
        spec->layers[1] = spec->layers[0] / 2;
        spec->layers[0] -= spec->layers[1];
    }
    command(w, &m, id);
}

static void start_coordinator(struct world *w, uint64_t id, const char *endpoint)
{
    start_coordinator_over(w, id, endpoint, NULL, NULL);
}

static void stop(struct world *w, uint64_t id)
{
    struct message m = {.epoch = EPOCH, .command = {.kind = COMMAND_STOP, .stop = {.grace_ms = 3000}}};

    command(w, &m, id);
    expect_result(w, id, RESULT_DONE, NULL);
}

/* The sensor has seen rank 0's load, though that is on the coordinator's own node: it is judged as a worker's end is. */
static bool load_was_seen(const struct world *w)
{
    const struct rank_flow *f = &w->flow[0];

    return w->n_flows == 1 && f->tensor_bytes > 100000 && f->at_worker && f->rank == 0 && f->epoch == EPOCH;
}

/* All buffers of a rank are said to be where the plan has it, not where its coordinator dials it. */
static void expect_buffers_at(struct world *w, const char *endpoint)
{
    const struct agent_event_facts *e = &w->event[AGENT_EVENT_RANK_BUFFERS];
    size_t n = 0;

    for (size_t i = 0; i < e->n_buffers; i++) {
        if (!e->buffers[i].endpoint[0])
            continue;
        assert_string_equal(e->buffers[i].endpoint, endpoint);
        n++;
    }
    assert_true(n > 0);
}

/* The rank's own port, by the carrier's conf, is the coordinator's. */
static void expect_in_conf(struct world *w, const char *line)
{
    char text[256];

    snprintf(text, sizeof(text), "grep -qx '%s' %s/state/units/t*/conf", line, w->dir);
    if (system(text))
        fail_msg("no carrier has \"%s\" in its conf", line);
}

/* ---- a coordinator ----------------------------------------------------------------------------------------------- */

/* One instance on one node, behind its carrier: started, kept and understood over the agent's death, stopped. */
static void case_03_a_carrier_outlives_its_agent(void **state)
{
    struct world *w = *state;
    char endpoint[PROTO_ADDR_MAX + 8], line[64];
    int32_t carrier, coordinator;

    if (!begin_with_llama(w))
        skip();
    assert_string_equal(w->hello.transport, "tunnel");
    take_lease(w);
    start_worker(w, 2, 0, NULL);
    expect_result(w, 2, RESULT_DONE, NULL);
    assert_string_equal(w->result.addr, "127.0.0.1");
    assert_int_equal(w->result.port, unit_of(w, UNIT_WORKER)->port);
    snprintf(endpoint, sizeof(endpoint), "%s:%u", w->result.addr, w->result.port);
    start_coordinator(w, 3, endpoint);
    expect_result(w, 3, RESULT_DONE, NULL);
    AWAIT(w, w->n_events[AGENT_EVENT_LISTENING] && running(w, UNIT_COORDINATOR) && running(w, UNIT_CARRIER));
    assert_int_equal(w->result.port, unit_of(w, UNIT_CARRIER)->port);
    assert_true(w->result.port >= 7440 && w->result.port <= 7499);
    assert_string_equal(unit_of(w, UNIT_COORDINATOR)->addr, "127.0.0.1");
    snprintf(line, sizeof(line), "coordinator=%u", unit_of(w, UNIT_COORDINATOR)->port);
    expect_in_conf(w, line);
    expect_buffers_at(w, endpoint);
    AWAIT(w, load_was_seen(w));
    carrier = unit_of(w, UNIT_CARRIER)->pid;
    coordinator = unit_of(w, UNIT_COORDINATOR)->pid;

    end_agent(w, SIGKILL);
    w->n_units = w->n_hello = w->n_flows = 0;
    memset(w->n_events, 0, sizeof(w->n_events));
    run_agent(w, NULL);
    AWAIT(w, w->n_hello && running(w, UNIT_COORDINATOR) && w->n_events[AGENT_EVENT_LISTENING]);
    assert_int_equal(unit_of(w, UNIT_COORDINATOR)->pid, coordinator);
    assert_int_equal(unit_of(w, UNIT_CARRIER)->pid, carrier);
    assert_true(w->n_events[AGENT_EVENT_RANK_BUFFERS] >= 1);
    expect_buffers_at(w, endpoint);
    AWAIT(w, load_was_seen(w));
    start_coordinator(w, 4, endpoint); /* asked again: the same */
    expect_result(w, 4, RESULT_DONE, NULL);
    assert_int_equal(w->result.port, unit_of(w, UNIT_CARRIER)->port);

    stop(w, 5);
    AWAIT(w, !unit_of(w, UNIT_COORDINATOR) && !unit_of(w, UNIT_CARRIER) && !w->n_flows);
    assert_int_equal(kill(coordinator, 0), -1);
    assert_int_equal(kill(carrier, 0), -1);
    AWAIT(w, running(w, UNIT_WORKER)); /* it was kept: nobody else could have come to it */
    assert_int_equal(unit_of(w, UNIT_WORKER)->restarts, 0);
}

/* It takes its coordinator with it, which says so by the name that its rank has in the plan. */
static void test_a_killed_carrier_is_told(void **state)
{
    struct world *w = *state;
    char endpoint[PROTO_ADDR_MAX + 8];

    if (!begin_with_llama(w))
        skip();
    take_lease(w);
    start_worker(w, 2, 0, NULL);
    expect_result(w, 2, RESULT_DONE, NULL);
    snprintf(endpoint, sizeof(endpoint), "%s:%u", w->result.addr, w->result.port);
    start_coordinator(w, 3, endpoint);
    AWAIT(w, w->n_events[AGENT_EVENT_LISTENING] && running(w, UNIT_CARRIER));
    kill(unit_of(w, UNIT_CARRIER)->pid, SIGKILL);
    AWAIT(w, w->n_events[AGENT_EVENT_UNIT_EXITED]);
    assert_int_equal(w->event[AGENT_EVENT_UNIT_EXITED].unit.role, UNIT_CARRIER);
    assert_int_equal(w->event[AGENT_EVENT_UNIT_EXITED].unit.exit.signal, SIGKILL);
    stop(w, 4);
}

/* Asks the coordinator for some tokens, and does not wait for them. */
static int ask(const struct world *w)
{
    static const char body[] = "{\"prompt\":\"a b c\",\"max_tokens\":64}";
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), n;
    char text[512];

    n = snprintf(text, sizeof(text),
                 "POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer 0123\r\n"
                 "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                 sizeof(body) - 1, body);
    a.sin_port = htons(unit_of(w, UNIT_COORDINATOR)->port);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(send(fd, text, (size_t)n, 0), n);
    return fd;
}

/* What its carrier brings it lies unread as a coordinator's own would: rule P1 needs no streams to be understood. */
static void case_11_a_frozen_worker_behind_its_carrier(void **state)
{
    struct world *w = *state;
    char endpoint[PROTO_ADDR_MAX + 8];
    int fd;

    if (!begin_with_llama(w))
        skip();
    take_lease(w);
    start_worker(w, 2, 0, NULL);
    expect_result(w, 2, RESULT_DONE, NULL);
    snprintf(endpoint, sizeof(endpoint), "%s:%u", w->result.addr, w->result.port);
    start_coordinator(w, 3, endpoint);
    AWAIT(w, w->n_events[AGENT_EVENT_LISTENING] && running(w, UNIT_COORDINATOR));
    kill(unit_of(w, UNIT_WORKER)->pid, SIGSTOP);
    fd = ask(w);
    AWAIT(w, unit_of(w, UNIT_WORKER)->frozen_ms >= 1500);
    assert_int_equal(unit_of(w, UNIT_COORDINATOR)->closed_streams, 0);
    kill(unit_of(w, UNIT_WORKER)->pid, SIGCONT);
    AWAIT(w, !unit_of(w, UNIT_WORKER)->frozen_ms && unit_of(w, UNIT_COORDINATOR)->n_decode);
    close(fd);
    stop(w, 4);
}

/* ---- a worker for another node ----------------------------------------------------------------------------------- */

static void test_a_worker_behind_its_carrier(void **state)
{
    struct world *w = *state;
    char line[256];

    if (!begin_with_llama(w))
        skip();
    take_lease(w);
    start_worker(w, 2, 1, w->identity.public_key);
    expect_result(w, 2, RESULT_DONE, NULL);
    AWAIT(w, running(w, UNIT_CARRIER) && w->n_flows == 1);
    assert_int_equal(w->result.port, unit_of(w, UNIT_CARRIER)->port);
    assert_string_equal(w->result.unit, unit_of(w, UNIT_WORKER)->id);
    assert_int_equal(w->result.rpc.major, unit_of(w, UNIT_WORKER)->rpc.major);
    assert_true(w->flow[0].at_worker);
    assert_int_equal(w->flow[0].rank, 1);
    assert_memory_equal(&w->flow[0].instance, &unit_of(w, UNIT_CARRIER)->instance, sizeof(struct id128));
    snprintf(line, sizeof(line), "file=%s/models/tiny.gguf", w->dir);
    expect_in_conf(w, line);
    stop(w, 3);
    AWAIT(w, !unit_of(w, UNIT_CARRIER) && !w->n_flows);
}

/* ---- two nodes --------------------------------------------------------------------------------------------------- */

static const struct rank_flow *flow_of(const struct world *w, uint32_t rank)
{
    for (size_t i = 0; i < w->n_flows; i++)
        if (w->flow[i].rank == rank)
            return &w->flow[i];
    return NULL;
}

static uint64_t tensor_bytes(const struct world *w, uint32_t rank)
{
    const struct rank_flow *f = flow_of(w, rank);

    return f ? f->tensor_bytes + f->fed_bytes : 0;
}

static void expect_answer(int fd)
{
    char text[4096] = "";
    ssize_t n = recv(fd, text, 12, MSG_WAITALL);

    assert_int_equal(n, 12);
    assert_string_equal(text, "HTTP/1.1 200");
    close(fd);
}

/* Rank 1 is on another node, through both carriers' sandboxes; and while both agents are dead, a request is answered. */
static void case_03_two_nodes_outlive_their_agents(void **state)
{
    struct world *w = *state, *far;
    char near_at[PROTO_ADDR_MAX + 8], far_at[PROTO_ADDR_MAX + 8];
    const struct agent_event_facts *e = &w->event[AGENT_EVENT_RANK_BUFFERS];
    bool named[2] = {false};

    if (!begin_with_llama(w))
        skip();
    assert_int_equal(set_up((void **)&w->far), 0);
    far = w->far;
    far->address = "127.0.0.2";
    begin_with_llama(far);
    take_lease(w);
    take_lease(far);
    start_worker(far, 2, 1, w->agent_key);
    start_worker(w, 2, 0, NULL);
    expect_result(far, 2, RESULT_DONE, NULL);
    expect_result(w, 2, RESULT_DONE, NULL);
    assert_string_equal(far->result.addr, "127.0.0.2");
    snprintf(near_at, sizeof(near_at), "%s:%u", w->result.addr, w->result.port);
    snprintf(far_at, sizeof(far_at), "%s:%u", far->result.addr, far->result.port);
    start_coordinator_over(w, 3, near_at, far_at, far->agent_key);
    AWAIT(w, w->n_events[AGENT_EVENT_LISTENING] && running(w, UNIT_COORDINATOR));
    for (size_t i = 0; i < e->n_buffers; i++) {
        named[0] = named[0] || !strcmp(e->buffers[i].endpoint, near_at);
        named[1] = named[1] || !strcmp(e->buffers[i].endpoint, far_at);
    }
    assert_true(named[0] && named[1]);
    AWAIT(w, tensor_bytes(w, 0) > 100000 && tensor_bytes(w, 1) > 100000 && !flow_of(w, 1)->at_worker);
    AWAIT(far, tensor_bytes(far, 1) > 100000 && flow_of(far, 1)->at_worker);

    end_agent(w, SIGKILL);
    end_agent(far, SIGKILL);
    expect_answer(ask(w));
    run_agent(w, NULL);
    AWAIT(w, w->n_hello == 2 && running(w, UNIT_COORDINATOR));
    stop(w, 4);
}

/* ---- carriers that are none -------------------------------------------------------------------------------------- */

static void write_script(struct world *w, const char *text)
{
    static char path[128];
    FILE *f;

    snprintf(path, sizeof(path), "%s/bin", w->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    strcat(path, "/carrier");
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "#!/bin/sh\n%s\n", text);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0700), 0);
    w->carrier = path;
}

static void test_a_carrier_that_cannot_run(void **state)
{
    struct world *w = *state;

    w->carrier = "/nonexistent/caravan-carrier";
    if (!begin_with_llama(w))
        skip();
    take_lease(w);
    start_worker(w, 2, 1, w->identity.public_key);
    expect_result(w, 2, RESULT_FAILED, "exec_failed");
    start_worker(w, 3, 1, w->identity.public_key);
    expect_result(w, 3, RESULT_REFUSED, "exec_failed");
    stop(w, 4);
}

static void test_a_carrier_that_ends_at_once(void **state)
{
    struct world *w = *state;

    write_script(w, "echo there is something amiss; exit 7");
    if (!begin_with_llama(w))
        skip();
    take_lease(w);
    start_coordinator(w, 2, "127.0.0.1:20052");
    expect_result(w, 2, RESULT_FAILED, "carrier_exited");
    assert_non_null(strstr(w->result.text, "there is something amiss"));
    AWAIT(w, w->n_events[AGENT_EVENT_UNIT_EXITED] == 2); /* and the coordinator that waited for it */
    assert_int_equal(w->event[AGENT_EVENT_UNIT_EXITED].unit.role, UNIT_COORDINATOR);
    assert_string_equal(w->event[AGENT_EVENT_UNIT_EXITED].text, "its carrier ended before it could be started");
    stop(w, 3);
}

/* The coordinator that waits for it is let go as well, though there is no process to be signalled. */
static void test_a_stop_while_a_coordinator_waits(void **state)
{
    struct world *w = *state;
    char text[128];

    write_script(w, "exec sleep 1000");
    if (!begin_with_llama(w))
        skip();
    take_lease(w);
    start_coordinator(w, 2, "127.0.0.1:20052");
    AWAIT(w, unit_of(w, UNIT_CARRIER) && unit_of(w, UNIT_CARRIER)->pid);
    assert_int_equal(unit_of(w, UNIT_COORDINATOR)->pid, 0);
    stop(w, 3);
    AWAIT(w, !unit_of(w, UNIT_CARRIER) && !unit_of(w, UNIT_COORDINATOR));
    snprintf(text, sizeof(text), "grep -q carrier.silent %s/log", w->dir);
    assert_int_not_equal(system(text), 0); /* not only when its carrier was given up */
}

/* The agent dies while a coordinator waits: what is left of that start is ended, and the start that comes again is done. */
static void test_an_agent_that_died_while_a_coordinator_waited(void **state)
{
    struct world *w = *state;
    char endpoint[PROTO_ADDR_MAX + 8];
    int32_t stuck;

    write_script(w, "exec sleep 1000");
    if (!begin_with_llama(w))
        skip();
    take_lease(w);
    start_worker(w, 2, 0, NULL);
    expect_result(w, 2, RESULT_DONE, NULL);
    snprintf(endpoint, sizeof(endpoint), "%s:%u", w->result.addr, w->result.port);
    start_coordinator(w, 3, endpoint);
    AWAIT(w, unit_of(w, UNIT_CARRIER) && unit_of(w, UNIT_CARRIER)->pid);
    stuck = unit_of(w, UNIT_CARRIER)->pid;
    end_agent(w, SIGKILL);
    w->n_units = w->n_hello = 0;
    w->carrier = NULL;
    run_agent(w, NULL);
    AWAIT(w, w->n_hello && running(w, UNIT_WORKER));
    start_coordinator(w, 3, endpoint);
    expect_result(w, 3, RESULT_DONE, NULL);
    AWAIT(w, w->n_events[AGENT_EVENT_LISTENING]);
    expect_buffers_at(w, endpoint);
    assert_int_equal(kill(stuck, 0), -1);
    stop(w, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(case_03_a_carrier_outlives_its_agent),
        IN_WORLD(test_a_killed_carrier_is_told),
        IN_WORLD(case_11_a_frozen_worker_behind_its_carrier),
        IN_WORLD(test_a_worker_behind_its_carrier),
        IN_WORLD(case_03_two_nodes_outlive_their_agents),
        IN_WORLD(test_a_carrier_that_cannot_run),
        IN_WORLD(test_a_carrier_that_ends_at_once),
        IN_WORLD(test_a_stop_while_a_coordinator_waits),
        IN_WORLD(test_an_agent_that_died_while_a_coordinator_waited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
