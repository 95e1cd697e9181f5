/* The whole agent as a process, led by a controller of a few lines over a real CURVE link. What needs llama.cpp takes it
 * from LLAMA_DIR and a model from CARAVAN_TEST_MODEL. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/core/protocol.h"
#include "common/crypto.h"
#include "common/knock.h"
#include "common/log.h"
#include "common/message.h"
#include "common/wire.h"

struct world {
    char dir[64], port_text[8];
    const char *llama_dir;
    uint16_t port;
    struct event_base *base;
    struct identity identity;
    struct wire_server *server;
    pid_t agent;
    uint8_t agent_key[CRYPTO_KEY_BYTES];
    bool waited_in_vain, badly, no_socket;
    /* the newest of what the agent said */
    size_t n_hello, n_units, n_models;
    struct hello hello;
    struct unit_facts unit[PROTO_UNITS_MAX];
    struct model_facts model[4]; /* without shapes */
    uint32_t n_layer[4];
    size_t n_results;
    struct result result;
    uint64_t result_id;
    char answer[1024]; /* of its own socket */
    size_t n_answer;
    bool answered;
    size_t n_events[AGENT_EVENT_PORT_CLASH + 1];
    struct agent_event_facts event[AGENT_EVENT_PORT_CLASH + 1];
};

static void answer_hello(struct world *w, const uint8_t *key)
{
    struct message m = {.kind = MESSAGE_WELCOME,
                        .version_major = PROTOCOL_MAJOR,
                        .cluster = {{7}},
                        .term = 1,
                        .seq = 1,
                        .welcome = {.controller = {{9}}, .name = "test", .version = "0", .open = true}};
    CLEANUP(cleanup_free) uint8_t *buf = NULL;
    size_t n;

    memcpy(w->agent_key, key, CRYPTO_KEY_BYTES);
    assert_int_equal(message_pack(&m, &buf, &n), 0);
    assert_int_equal(wire_server_send(w->server, key, buf, n), 0);
}

static void take_report(struct world *w, const struct report *r)
{
    if (r->has_units) {
        w->n_units = r->n_units;
        memcpy(w->unit, r->unit, sizeof(w->unit));
    }
    if (!r->has_models)
        return;
    w->n_models = r->n_models;
    for (size_t i = 0; i < r->n_models && i < 4; i++) {
        w->n_layer[i] = r->model[i].shape ? r->model[i].shape->n_layer : 0;
        w->model[i] = r->model[i];
        w->model[i].shape = NULL;
    }
}

static void on_message(void *ctx, const uint8_t *key, const char *peer_addr, const void *buf, size_t n_bytes)
{
    CLEANUP(message_destroy) struct message *m = NULL;
    struct world *w = ctx;

    (void)peer_addr;
    assert_int_equal(message_unpack(buf, n_bytes, &m), 0);
    switch (m->kind) {
    case MESSAGE_HELLO:
        w->n_hello++;
        w->hello = m->hello;
        answer_hello(w, key);
        break;
    case MESSAGE_REPORT:
        take_report(w, m->report);
        break;
    case MESSAGE_RESULT:
        w->n_results++;
        w->result = m->result;
        w->result_id = m->command_id;
        break;
    case MESSAGE_EVENT:
        w->n_events[m->event->kind]++;
        w->event[m->event->kind] = *m->event;
        break;
    case MESSAGE_WELCOME:
    case MESSAGE_COMMAND:
        fail_msg("not an agent's message");
    case MESSAGE_NEIGHBOURS:
    case MESSAGE_SNAPSHOT:
    case MESSAGE_HEALTH:
    case MESSAGE_RELAY:
    case MESSAGE_PING:
    case MESSAGE_PONG:
    case MESSAGE_JOIN:
    case MESSAGE_JOINED:
        break;
    }
}

static void on_refused(void *ctx, const uint8_t *key, const char *addr)
{
    (void)ctx;
    (void)key;
    (void)addr;
}

static const char *program(char buf[1024], const char *name)
{
    ssize_t n = readlink("/proc/self/exe", buf, 900);

    assert_true(n > 0);
    buf[n] = '\0';
    for (int i = 0; i < 2; i++)
        *strrchr(buf, '/') = '\0';
    strcat(buf, "/");
    return strcat(buf, name);
}

/* As a careless launcher leaves a process behind. */
static void start_badly(void)
{
    sigset_t all;

    for (int i = 0; i < 3; i++)
        close(i);
    signal(SIGCHLD, SIG_IGN);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
}

static int run_agent(struct world *w, const char *flag)
{
    char path[1024], state[128], models[128], controller[128], key[CRYPTO_KEY_HEX], log[128], local[128];
    pid_t pid;

    program(path, "caravan-agent");
    snprintf(state, sizeof(state), "%s/state", w->dir);
    snprintf(models, sizeof(models), "%s/models", w->dir);
    snprintf(log, sizeof(log), "%s/log", w->dir);
    snprintf(local, sizeof(local), "%s/agent.sock", w->dir);
    snprintf(controller, sizeof(controller), "127.0.0.1:%u %s", w->port,
             crypto_key_format(w->identity.public_key, key));
    pid = fork();
    if (pid == 0) {
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(fd, STDERR_FILENO);
        dup2(fd, STDOUT_FILENO);
        if (w->badly)
            start_badly();
        execl(path, path, "--state-dir", state, "--models", models, "--controllers", controller, "--llama-dir",
              w->llama_dir, "--interfaces", "lo", "--address", "127.0.0.1", "--name", "node1", "--socket",
              w->no_socket ? "" : local, flag, (char *)NULL);
        _exit(99);
    }
    w->agent = pid;
    return (int)pid;
}

static int end_agent(struct world *w, int signal)
{
    int status = 0;

    kill(w->agent, signal);
    waitpid(w->agent, &status, 0);
    w->agent = 0;
    return status;
}

static void in_vain(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    ((struct world *)ctx)->waited_in_vain = true;
}

static void show_log(const struct world *w)
{
    char command[160];

    snprintf(command, sizeof(command), "tail -n 30 %s/log >&2", w->dir);
    if (system(command))
        fputs("no log\n", stderr);
}

#define AWAIT(w, condition)                                          \
    do {                                                             \
        struct event *limit_ = evtimer_new((w)->base, in_vain, (w)); \
        evtimer_add(limit_, &(struct timeval){.tv_sec = 30});        \
        while (!(condition) && !(w)->waited_in_vain)                 \
            event_base_loop((w)->base, EVLOOP_ONCE);                 \
        event_free(limit_);                                          \
        if ((w)->waited_in_vain) {                                   \
            show_log(w);                                             \
            fail_msg("waited 30 s for %s", #condition);              \
        }                                                            \
    } while (0)

static uint16_t free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static void serve(struct world *w)
{
    struct wire_server_callbacks cb = {on_message, on_refused, w};

    assert_int_equal(wire_server_new(w->base, &w->identity, "127.0.0.1", w->port, true, &cb, &w->server), 0);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    char command[256];

    assert_non_null(w);
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(crypto_init(), 0);
    strcpy(w->dir, "/tmp/test_agent_shell.XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(command, sizeof(command), "mkdir %s/models && echo junk > %s/models/bad.gguf", w->dir, w->dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(crypto_identity_load(w->dir, &w->identity), 0);
    w->base = event_base_new();
    w->port = free_port();
    serve(w);
    w->llama_dir = "/nonexistent";
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    char command[256];

    if (w->agent)
        end_agent(w, SIGKILL);
    run_agent(w, "--purge");
    end_agent(w, 0);
    wire_server_destroy(&w->server);
    event_base_free(w->base);
    snprintf(command, sizeof(command), "rm -rf %s", w->dir);
    if (system(command))
        return -1;
    free(w);
    return 0;
}

static void command(struct world *w, struct message *m, uint64_t id)
{
    CLEANUP(cleanup_free) uint8_t *buf = NULL;
    size_t n;

    m->kind = MESSAGE_COMMAND;
    m->version_major = PROTOCOL_MAJOR;
    m->cluster = (struct id128){{7}};
    m->term = 1;
    m->seq = id + 1;
    m->command_id = id;
    m->instance = (struct id128){{0xaa}};
    assert_int_equal(message_pack(m, &buf, &n), 0);
    assert_int_equal(wire_server_send(w->server, w->agent_key, buf, n), 0);
}

static void expect_result(struct world *w, uint64_t id, enum result_code code, const char *reason)
{
    AWAIT(w, w->result_id == id);
    if (w->result.code != code || (reason && strcmp(w->result.reason, reason) != 0)) {
        show_log(w);
        fail_msg("command %d: code %d, reason %s, text %s", (int)id, (int)w->result.code, w->result.reason,
                 w->result.text);
    }
}

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

static const struct unit_facts *unit_of(const struct world *w, enum unit_role role)
{
    for (size_t i = 0; i < w->n_units; i++)
        if (w->unit[i].role == role)
            return &w->unit[i];
    return NULL;
}

static bool running(const struct world *w, enum unit_role role)
{
    const struct unit_facts *u = unit_of(w, role);

    return u && u->state == UNIT_RUNNING && u->pid;
}

static void take_model(struct world *w, const char *model)
{
    char command_line[512];

    snprintf(command_line, sizeof(command_line), "cp '%s' %s/models/tiny.gguf", model, w->dir);
    assert_int_equal(system(command_line), 0);
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

#define IN_WORLD(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(test_without_llama),
        IN_WORLD(test_started_badly),
        IN_WORLD(test_controller_restarts),
        IN_WORLD(test_knocked_at),
        IN_WORLD(test_answers_while_the_controller_is_away),
        IN_WORLD(case_03_an_instance_outlives_its_agent),
        IN_WORLD(case_14_a_killed_worker_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
