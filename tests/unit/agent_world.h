/* The whole agent as a process, led by a controller of a few lines over a real CURVE link. What needs llama.cpp takes it
 * from LLAMA_DIR and a model from CARAVAN_TEST_MODEL. */
#ifndef CARAVAN_TESTS_UNIT_AGENT_WORLD_H
#define CARAVAN_TESTS_UNIT_AGENT_WORLD_H

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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/core/protocol.h"
#include "common/crypto.h"
#include "common/log.h"
#include "common/message.h"
#include "common/wire.h"

#define MAYBE_UNUSED __attribute__((unused))

struct world {
    struct world *far; /* another node, under another controller; NULL: none */
    char dir[64], port_text[8];
    const char *llama_dir;
    const char *address;   /* NULL: 127.0.0.1 */
    const char *transport; /* NULL: direct */
    const char *carrier;   /* NULL: its own choice */
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
    size_t n_flows;
    struct rank_flow flow[PROTO_FLOWS_MAX];
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
        w->n_flows = r->n_flows;
        memcpy(w->flow, r->flow, sizeof(w->flow));
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
    char path[1024], carrier[1024], state[128], models[128], controller[128], key[CRYPTO_KEY_HEX], log[128], local[128];
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
              w->llama_dir, "--interfaces", "lo", "--address", w->address ? w->address : "127.0.0.1", "--name", "node1",
              "--socket", w->no_socket ? "" : local, "--rank-transport", w->transport ? w->transport : "direct",
              "--carrier", w->carrier ? w->carrier : program(carrier, "caravan-carrier"), flag, (char *)NULL);
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

static MAYBE_UNUSED int set_up(void **state)
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

    if (w->far)
        tear_down((void **)&w->far);
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

static MAYBE_UNUSED const struct unit_facts *unit_of(const struct world *w, enum unit_role role)
{
    for (size_t i = 0; i < w->n_units; i++)
        if (w->unit[i].role == role)
            return &w->unit[i];
    return NULL;
}

static MAYBE_UNUSED bool running(const struct world *w, enum unit_role role)
{
    const struct unit_facts *u = unit_of(w, role);

    return u && u->state == UNIT_RUNNING && u->pid;
}

static MAYBE_UNUSED void take_model(struct world *w, const char *model)
{
    char command_line[512];

    snprintf(command_line, sizeof(command_line), "cp '%s' %s/models/tiny.gguf", model, w->dir);
    assert_int_equal(system(command_line), 0);
}

#define IN_WORLD(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

#endif
