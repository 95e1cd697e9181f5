/* An agent's life as a process: with its controller, without llama.cpp, with a real instance, over restarts of both. */
#include <sys/un.h>

#include "common/knock.h"
#include "tests/unit/agent_world.h"
#include "tests/unit/tensor_harness.h"

/* llama.cpp missing: the node joins, says what is wrong, refuses to start, and goes in peace. */
static void test_without_llama(void **state)
{
    struct world *w = *state;
    struct message lease = {
        .epoch = 1,
        .command = {.kind = COMMAND_LEASE, .lease = {.n_devices = 1, .device = {"CPU"}, .bytes = {1 << 20}}}};
    struct message worker = {.epoch = 1,
                             .command = {.kind = COMMAND_START_WORKER, .worker = {.n_devices = 1, .device = {"CPU"}}}};
    int status;

    run_agent(w, NULL);
    AWAIT(w, w->n_hello && w->n_models);
    assert_string_equal(w->hello.name, "node1");
    assert_string_equal(w->hello.addr[0], "127.0.0.1");
    assert_non_null(strstr(w->hello.build_problem, "llama-server was not found in /nonexistent"));
    assert_false(w->hello.can_coordinate);
    assert_int_equal(w->n_models, 1);
    assert_string_equal(w->model[0].name, "bad");
    assert_true(w->model[0].problem[0]);
    command(w, &lease, 1);
    expect_result(w, 1, RESULT_DONE, NULL);
    command(w, &worker, 2);
    expect_result(w, 2, RESULT_REFUSED, NULL);
    assert_non_null(strstr(w->result.text, "llama-server was not found"));
    status = end_agent(w, SIGTERM);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Closed standard descriptors would become the lock or the link, and the log would go there; an ignored SIGCHLD swallows
 * what children ended with; a blocked SIGTERM could not end us. */
static void test_started_badly(void **state)
{
    struct world *w = *state;
    int status;

    w->badly = true;
    run_agent(w, NULL);
    AWAIT(w, w->n_hello && w->n_models);
    for (int i = 0; i < 3; i++) {
        char path[64], to[64] = "";

        snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)w->agent, i);
        assert_true(readlink(path, to, sizeof(to) - 1) > 0);
        assert_string_equal(to, "/dev/null");
    }
    w->badly = false;
    status = end_agent(w, SIGTERM);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static bool has_logged(const struct world *w, const char *text)
{
    static char log[65536];
    CLEANUP(cleanup_close) int fd = -1;
    char path[128];
    ssize_t n;

    snprintf(path, sizeof(path), "%s/log", w->dir);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = read(fd, log, sizeof(log) - 1);
    log[n > 0 ? n : 0] = '\0';
    return strstr(log, text);
}

/* What carriers are to feed from is made ready beforehand. */
static void test_models_are_indexed(void **state)
{
    static const struct llama_dims dims = {
        .n_layer = 1, .n_embd = 64, .n_head = 4, .n_head_kv = 4, .n_ff = 128, .n_vocab = 32, .type = 1};
    struct world *w = *state;
    struct model model;
    char path[128];
    int status;

    model_make_of(&model, &dims, 0);
    snprintf(path, sizeof(path), "%s/models/m.gguf", w->dir);
    model_write(&model, path);
    free(model.data);
    w->transport = "tunnel";
    run_agent(w, NULL);
    AWAIT(w, w->n_models == 2 && has_logged(w, "msg=tensors.done files=1 indexed=1 failed=0"));
    status = end_agent(w, SIGTERM);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* The link comes back by itself, and so does a full report. */
static void test_controller_restarts(void **state)
{
    struct world *w = *state;

    run_agent(w, NULL);
    AWAIT(w, w->n_models == 1);
    wire_server_destroy(&w->server);
    w->n_models = 0;
    serve(w);
    AWAIT(w, w->n_hello == 2 && w->n_models == 1);
}

static void on_answer(evutil_socket_t fd, short what, void *ctx)
{
    struct world *w = ctx;
    ssize_t n = recv(fd, w->answer + w->n_answer, sizeof(w->answer) - 1 - w->n_answer, 0);

    (void)what;
    if (n > 0)
        w->n_answer += (size_t)n;
    else
        w->answered = true;
}

static const char *ask_locally(struct world *w, const char *request)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct event *on_read;

    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/agent.sock", w->dir);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(send(fd, request, strlen(request), 0), strlen(request));
    w->n_answer = 0;
    w->answered = false;
    on_read = event_new(w->base, fd, EV_READ | EV_PERSIST, on_answer, w);
    event_add(on_read, NULL);
    AWAIT(w, w->answered);
    event_free(on_read);
    close(fd);
    w->answer[w->n_answer] = '\0';
    return w->answer;
}

/* What the controller told last is answered while it is away; with `socket =` empty nobody is. */
static void test_answers_while_the_controller_is_away(void **state)
{
    struct message snapshot = {.kind = MESSAGE_SNAPSHOT,
                               .snapshot = {.n_nodes_bytes = 12,
                                            .nodes = (char[]){"{\"nodes\":[]}"},
                                            .n_instances_bytes = 2,
                                            .instances = (char[]){"{}"}}};
    CLEANUP(cleanup_free) uint8_t *buf = NULL;
    static const char request[] = "GET /api/nodes HTTP/1.1\r\n\r\n";
    struct world *w = *state;
    char path[96];
    size_t n;

    run_agent(w, NULL);
    AWAIT(w, w->n_models);
    assert_non_null(strstr(ask_locally(w, request), "HTTP/1.1 503 "));
    snapshot.cluster = (struct id128){{7}};
    assert_int_equal(message_pack(&snapshot, &buf, &n), 0);
    assert_int_equal(wire_server_send(w->server, w->agent_key, buf, n), 0);
    while (!strstr(ask_locally(w, request), "HTTP/1.1 200 "))
        ;
    wire_server_destroy(&w->server);
    assert_non_null(strstr(ask_locally(w, request), ",\"nodes\":[]}"));
    end_agent(w, SIGTERM);
    snprintf(path, sizeof(path), "%s/agent.sock", w->dir);
    assert_int_equal(access(path, F_OK), -1);

    w->no_socket = true;
    w->n_models = 0;
    serve(w);
    run_agent(w, NULL);
    AWAIT(w, w->n_models);
    assert_int_equal(access(path, F_OK), -1);
}

static void on_knocked(void *ctx, enum knock_outcome outcome)
{
    *(enum knock_outcome *)ctx = outcome;
}

static enum knock_outcome knock(struct world *w)
{
    struct peer_facts peer = {.port = w->hello.port, .n_addrs = 1, .addr = {"127.0.0.1"}};
    enum knock_outcome outcome = 0;
    struct knock *k;

    crypto_key_format(w->agent_key, peer.key);
    assert_int_equal(knock_start(w->base, &w->identity, &peer, on_knocked, &outcome, &k), 0);
    AWAIT(w, outcome);
    return outcome;
}

/* The controller's key is let in from the start; a stopped agent does not answer though its kernel accepts. */
static void test_knocked_at(void **state)
{
    struct world *w = *state;

    run_agent(w, NULL);
    AWAIT(w, w->n_hello);
    assert_true(w->hello.port >= 7431 && w->hello.port < 7431 + 32);
    assert_int_equal(knock(w), KNOCK_ANSWERED);
    kill(w->agent, SIGSTOP);
    assert_int_equal(knock(w), KNOCK_REFUSED);
    kill(w->agent, SIGCONT);
    assert_int_equal(knock(w), KNOCK_ANSWERED);
    end_agent(w, SIGTERM);
    assert_int_equal(knock(w), KNOCK_REFUSED);
}

static void start_instance(struct world *w)
{
    struct message lease = {
        .epoch = 3,
        .command = {.kind = COMMAND_LEASE, .lease = {.n_devices = 1, .device = {"CPU"}, .bytes = {64 << 20}}}};
    struct message worker = {.epoch = 3,
                             .command = {.kind = COMMAND_START_WORKER, .worker = {.n_devices = 1, .device = {"CPU"}}}};
    struct message coordinator = {.epoch = 3, .command = {.kind = COMMAND_START_COORDINATOR}};
    struct coordinator_spec *spec = &coordinator.command.coordinator;

    AWAIT(w, w->n_models == 2 && running(w, UNIT_WORKER));
    command(w, &lease, 1);
    expect_result(w, 1, RESULT_DONE, NULL);
    command(w, &worker, 2);
    expect_result(w, 2, RESULT_DONE, NULL);
    *spec = (struct coordinator_spec){.model = "tiny",
                                      .alias = "t",
                                      .n_ranks = 1,
                                      .n_devices = 1,
                                      .device = {"RPC0"},
                                      .ctx = 256,
                                      .slots = 1,
                                      .batch = 64,
                                      .ubatch = 64,
                                      .kv_type = "f16",
                                      .api_key = "0123"};
    spec->header_hash = w->model[1].header_hash;
    spec->layers[0] = w->n_layer[1] + 1;
    snprintf(spec->endpoint[0], sizeof(spec->endpoint[0]), "%s:%u", w->result.addr, w->result.port);
    command(w, &coordinator, 3);
    expect_result(w, 3, RESULT_DONE, NULL);
    AWAIT(w, w->n_events[AGENT_EVENT_LISTENING]);
    assert_true(w->n_events[AGENT_EVENT_LOADING] >= 1);
    assert_true(w->n_events[AGENT_EVENT_RANK_BUFFERS] >= 1);
    assert_true(w->event[AGENT_EVENT_RANK_BUFFERS].n_buffers >= 2);
}

/* One instance on one node, for real: started, kept over the agent's death, stopped; nothing is left. */
static void case_03_an_instance_outlives_its_agent(void **state)
{
    struct message stop = {.epoch = 3, .command = {.kind = COMMAND_STOP, .stop = {.grace_ms = 3000}}};
    struct world *w = *state;
    int32_t worker, coordinator;

    w->llama_dir = getenv("LLAMA_DIR");
    if (!w->llama_dir || !getenv("CARAVAN_TEST_MODEL")) {
        w->llama_dir = "/nonexistent";
        skip();
    }
    take_model(w, getenv("CARAVAN_TEST_MODEL"));
    run_agent(w, NULL);
    start_instance(w);
    AWAIT(w, running(w, UNIT_COORDINATOR));
    worker = unit_of(w, UNIT_WORKER)->pid;
    coordinator = unit_of(w, UNIT_COORDINATOR)->pid;

    end_agent(w, SIGKILL);
    w->n_units = w->n_hello = 0;
    memset(w->n_events, 0, sizeof(w->n_events));
    run_agent(w, NULL);
    AWAIT(w, w->n_hello && running(w, UNIT_COORDINATOR) && running(w, UNIT_WORKER));
    assert_int_equal(unit_of(w, UNIT_WORKER)->pid, worker);
    assert_int_equal(unit_of(w, UNIT_COORDINATOR)->pid, coordinator);
    assert_true(unit_of(w, UNIT_COORDINATOR)->adopted);
    assert_int_equal(unit_of(w, UNIT_COORDINATOR)->epoch, 3);
    assert_int_equal(unit_of(w, UNIT_WORKER)->epoch, 3);
    AWAIT(w, w->n_events[AGENT_EVENT_LISTENING]);

    command(w, &stop, 4);
    expect_result(w, 4, RESULT_DONE, NULL);
    AWAIT(w, !unit_of(w, UNIT_COORDINATOR));
    assert_int_equal(kill(coordinator, 0), -1);
}

/* Its exit is told with its signal. */
static void case_14_a_killed_worker_is_told(void **state)
{
    struct world *w = *state;

    w->llama_dir = getenv("LLAMA_DIR");
    if (!w->llama_dir || !getenv("CARAVAN_TEST_MODEL")) {
        w->llama_dir = "/nonexistent";
        skip();
    }
    take_model(w, getenv("CARAVAN_TEST_MODEL"));
    run_agent(w, NULL);
    start_instance(w);
    kill(unit_of(w, UNIT_WORKER)->pid, SIGKILL);
    AWAIT(w, w->n_events[AGENT_EVENT_UNIT_EXITED]);
    assert_int_equal(w->event[AGENT_EVENT_UNIT_EXITED].unit.role, UNIT_WORKER);
    assert_int_equal(w->event[AGENT_EVENT_UNIT_EXITED].unit.exit.signal, SIGKILL);
    assert_int_equal(w->event[AGENT_EVENT_UNIT_EXITED].unit.rank, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(test_without_llama),
        IN_WORLD(test_started_badly),
        IN_WORLD(test_models_are_indexed),
        IN_WORLD(test_controller_restarts),
        IN_WORLD(test_knocked_at),
        IN_WORLD(test_answers_while_the_controller_is_away),
        IN_WORLD(case_03_an_instance_outlives_its_agent),
        IN_WORLD(case_14_a_killed_worker_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
