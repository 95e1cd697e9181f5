/* The whole agent as a process that joins by a token: a controller of a few lines, which lets in only keys that it knows. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/core/join_token.h"
#include "common/crypto.h"
#include "common/log.h"
#include "common/message.h"
#include "common/wire.h"

struct world {
    char dir[64], config[128];
    struct event_base *base;
    struct identity controller, token_key;
    struct join_token token;
    char text[JOIN_TOKEN_TEXT_MAX];
    struct wire_server *server;
    struct event *on_disk;
    pid_t agent;
    int status;
    size_t n_joins, n_hellos, n_reports;
    uint8_t node[CRYPTO_KEY_BYTES];
    bool uses_up, silent; /* the token, with its first use; says nothing */
};

/* ---- the controller ---------------------------------------------------------------------------------------------- */

static void say(struct world *w, const uint8_t *key, struct message *m)
{
    CLEANUP(cleanup_free) uint8_t *buf = NULL;
    size_t n;

    m->cluster = w->token.cluster;
    assert_int_equal(message_pack(m, &buf, &n), 0);
    wire_server_send(w->server, key, buf, n);
}

static void let_in(evutil_socket_t fd, short what, void *ctx)
{
    struct message joined = {.kind = MESSAGE_JOINED};
    struct world *w = ctx;

    (void)fd, (void)what;
    assert_int_equal(wire_server_allow(w->server, w->node), 0);
    crypto_key_format(w->node, joined.joined.key);
    if (!w->silent)
        say(w, w->token_key.public_key, &joined);
    if (w->uses_up)
        wire_server_disallow(w->server, w->token_key.public_key);
}

/* It takes as long as a disk does. */
static void on_join(struct world *w, const uint8_t *key, const struct join *ask)
{
    w->n_joins++;
    assert_memory_equal(key, w->token_key.public_key, CRYPTO_KEY_BYTES);
    assert_string_equal(ask->name, "node1");
    assert_int_equal(crypto_key_parse(ask->key, w->node), 0);
    evtimer_add(w->on_disk, &(struct timeval){.tv_usec = 50000});
}

static void on_message(void *ctx, const uint8_t *key, const char *peer_addr, const void *buf, size_t n_bytes)
{
    struct message welcome = {.kind = MESSAGE_WELCOME, .term = 1, .welcome = {.controller = {{9}}, .name = "test"}};
    CLEANUP(message_destroy) struct message *m = NULL;
    struct world *w = ctx;

    (void)peer_addr;
    assert_int_equal(message_unpack(buf, n_bytes, &m), 0);
    if (m->kind == MESSAGE_JOIN) {
        on_join(w, key, &m->join);
        return;
    }
    assert_memory_equal(key, w->node, CRYPTO_KEY_BYTES); /* the token's key says nothing else */
    if (m->kind == MESSAGE_HELLO) {
        w->n_hellos++;
        say(w, key, &welcome);
    }
    w->n_reports += m->kind == MESSAGE_REPORT;
}

static void on_refused(void *ctx, const uint8_t *key, const char *addr)
{
    (void)ctx, (void)key, (void)addr;
}

static void on_closed(void *ctx, const uint8_t *key, const char *addr)
{
    (void)ctx, (void)key, (void)addr;
}

static void serve(struct world *w, uint16_t port)
{
    const struct wire_server_callbacks cb = {on_message, on_refused, w};

    assert_int_equal(wire_server_new(w->base, &w->controller, "127.0.0.1", port, false, &cb, &w->server), 0);
    assert_int_equal(wire_server_watch_closed(w->server, w->base, on_closed), 0);
}

/* ---- the agent --------------------------------------------------------------------------------------------------- */

static void agent_path(char buf[1024])
{
    ssize_t n = readlink("/proc/self/exe", buf, 900);

    assert_true(n > 0);
    buf[n] = '\0';
    for (int i = 0; i < 2; i++)
        *strrchr(buf, '/') = '\0';
    strcat(buf, "/caravan-agent");
}

/* join: "--join" and its value, or "--join=VALUE"; NULL: neither. */
static void start_agent(struct world *w, const char *join, const char *value)
{
    char path[1024], state[128], log[128];
    const char *argv[] = {path,           "--config", w->config, "--state-dir", state,      "--models",
                          "/nonexistent", "--name",   "node1",   "--llama-dir", "/nowhere", "--address",
                          "127.0.0.1",    "--socket", "",        join,          value,      NULL};

    agent_path(path);
    snprintf(state, sizeof(state), "%s/state", w->dir);
    snprintf(log, sizeof(log), "%s/log", w->dir);
    w->agent = fork();
    if (w->agent == 0) {
        int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(fd, STDERR_FILENO);
        execv(path, (char *const *)argv);
        _exit(99);
    }
}

static void end_agent(struct world *w)
{
    kill(w->agent, SIGTERM);
    assert_int_equal(waitpid(w->agent, &w->status, 0), w->agent);
    w->agent = 0;
    assert_true(WIFEXITED(w->status));
}

static size_t read_file(const char *path, char *buf, size_t size)
{
    CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, buf, size - 1);

    buf[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

static bool log_has(const struct world *w, const char *text)
{
    char path[128], said[16384];

    snprintf(path, sizeof(path), "%s/log", w->dir);
    read_file(path, said, sizeof(said));
    return strstr(said, text) != NULL;
}

/* What the agent says comes by no event of ours. */
static void look(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what, (void)ctx;
}

/* ctest's time limit is the only clock. */
#define AWAIT(condition)                                                      \
    do {                                                                      \
        struct event *tick_ = event_new(w->base, -1, EV_PERSIST, look, NULL); \
        event_add(tick_, &(struct timeval){.tv_usec = 20000});                \
        while (!(condition))                                                  \
            event_base_loop(w->base, EVLOOP_ONCE);                            \
        event_free(tick_);                                                    \
    } while (0)

static void write_config(struct world *w, const char *text)
{
    FILE *f = fopen(w->config, "we");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct join_controller *c = &w->token.controller[0];

    assert_non_null(w);
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(crypto_init(), 0);
    strcpy(w->dir, "/tmp/test_agent_join.XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->config, sizeof(w->config), "%s/agent.conf", w->dir);
    write_config(w, "standing = no\n");
    assert_int_equal(crypto_identity_load(w->dir, &w->controller), 0);
    w->base = event_base_new();
    w->on_disk = evtimer_new(w->base, let_in, w);
    serve(w, 0);
    w->token.cluster = (struct id128){{7}};
    crypto_random(w->token.seed, sizeof(w->token.seed));
    crypto_identity_from_seed(w->token.seed, &w->token_key);
    w->token.n_controllers = 1;
    memcpy(c->key, w->controller.public_key, sizeof(c->key));
    c->port = wire_server_port(w->server);
    strcpy(c->addr, "127.0.0.1");
    join_token_format(&w->token, w->text);
    assert_int_equal(wire_server_allow(w->server, w->token_key.public_key), 0);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    char command[128];

    if (w->agent) {
        kill(w->agent, SIGKILL);
        waitpid(w->agent, NULL, 0);
    }
    wire_server_destroy(&w->server);
    event_free(w->on_disk);
    event_base_free(w->base);
    snprintf(command, sizeof(command), "rm -rf %s", w->dir);
    if (system(command))
        return -1;
    free(w);
    return 0;
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void argv_is_wiped(const struct world *w)
{
    char path[64], shown[8192];
    size_t n;

    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)w->agent);
    n = read_file(path, shown, sizeof(shown));
    assert_non_null(memmem(shown, n, "--join", 6));
    assert_null(memmem(shown, n, "caravan1_", 9));
    assert_null(memmem(shown, n, w->text + 20, 8));
}

/* One string, and the node is in, with no dial that was refused; then neither a token nor a configuration is needed. */
static void test_joins_in_one_go(void **state)
{
    struct world *w = *state;
    uint16_t port = wire_server_port(w->server);

    start_agent(w, "--join", w->text);
    AWAIT(w->n_reports >= 1);
    argv_is_wiped(w);
    assert_int_equal(w->n_joins, 1);
    assert_int_equal(w->n_hellos, 1);
    assert_int_equal(wire_server_stats(w->server).n_refused, 0);
    AWAIT(log_has(w, "msg=join.done"));
    assert_false(log_has(w, w->text + 20));
    end_agent(w);

    wire_server_disallow(w->server, w->token_key.public_key);
    start_agent(w, NULL, NULL);
    AWAIT(w->n_hellos == 2);
    wire_server_destroy(&w->server); /* and a controller's restart keeps it in */
    serve(w, port);
    assert_int_equal(wire_server_allow(w->server, w->node), 0);
    AWAIT(w->n_hellos == 3);
    assert_int_equal(w->n_joins, 1);
    end_agent(w);
}

static void test_joins_where_the_answer_is_lost(void **state)
{
    struct world *w = *state;
    char joined[JOIN_TOKEN_TEXT_MAX + 8];

    w->uses_up = w->silent = true;
    snprintf(joined, sizeof(joined), "--join=%s", w->text);
    start_agent(w, joined, NULL);
    AWAIT(w->n_reports >= 1);
    argv_is_wiped(w);
    AWAIT(log_has(w, "msg=join.done"));
    assert_false(log_has(w, "level=warn msg=join"));
    end_agent(w);
}

/* `join = @FILE` stays in agent.conf for ever: its token is soon used up, and nothing is said of it. */
static void test_a_token_in_the_configuration(void **state)
{
    struct world *w = *state;
    char path[128], config[256];
    uint64_t n_refused;
    FILE *f;

    snprintf(path, sizeof(path), "%s/token", w->dir);
    snprintf(config, sizeof(config), "join = @%s\nstanding = no\n", path);
    write_config(w, config);
    f = fopen(path, "we");
    assert_non_null(f);
    fputs(w->text, f);
    fclose(f);
    assert_int_equal(chmod(path, 0600), 0);
    w->uses_up = true;
    start_agent(w, NULL, NULL);
    AWAIT(log_has(w, "msg=join.done"));
    end_agent(w);
    w->n_reports = 0;
    n_refused = wire_server_stats(w->server).n_refused;
    start_agent(w, NULL, NULL);
    AWAIT(w->n_reports >= 2);
    assert_false(log_has(w, "msg=join."));
    assert_int_equal(wire_server_stats(w->server).n_refused, n_refused); /* nor is it tried */
    end_agent(w);
    unlink(path);
    start_agent(w, NULL, NULL);
    AWAIT(w->n_hellos == 3);
    assert_true(log_has(w, "this node has joined already"));
    end_agent(w);
    assert_int_equal(w->n_joins, 1);
}

/* It lives on and says what to do, and gets in as soon as it may. */
static void test_a_used_up_token(void **state)
{
    struct world *w = *state;
    char path[128], state_dir[128];
    struct identity node;

    wire_server_disallow(w->server, w->token_key.public_key);
    start_agent(w, "--join", w->text);
    AWAIT(log_has(w, "used up, expired or withdrawn"));
    AWAIT(log_has(w, "msg=link.denied"));
    assert_true(log_has(w, "approve KEY --name node1"));
    snprintf(state_dir, sizeof(state_dir), "%s/state", w->dir);
    snprintf(path, sizeof(path), "%s/state/cluster", w->dir);
    assert_int_equal(access(path, F_OK), -1); /* it is not in */
    assert_int_equal(crypto_identity_load(state_dir, &node), 0);
    memcpy(w->node, node.public_key, sizeof(w->node));
    assert_int_equal(wire_server_allow(w->server, w->node), 0); /* approved */
    AWAIT(log_has(w, "msg=join.done"));
    end_agent(w);
}

static void test_a_token_of_another_cluster(void **state)
{
    struct world *w = *state;

    start_agent(w, "--join", w->text);
    AWAIT(log_has(w, "msg=join.done"));
    end_agent(w);
    w->token.cluster.b[0] = 8;
    join_token_format(&w->token, w->text);
    start_agent(w, "--join", w->text);
    assert_int_equal(waitpid(w->agent, &w->status, 0), w->agent);
    w->agent = 0;
    assert_true(WIFEXITED(w->status) && WEXITSTATUS(w->status) == 2);
    assert_true(log_has(w, "msg=join.other_cluster"));
}

/* Its first word was forgotten. */
static void test_a_token_alone_is_not_shown(void **state)
{
    struct world *w = *state;

    start_agent(w, w->text, NULL);
    assert_int_equal(waitpid(w->agent, &w->status, 0), w->agent);
    w->agent = 0;
    assert_true(WIFEXITED(w->status) && WEXITSTATUS(w->status) == 2);
    assert_true(log_has(w, "a join token is given by --join"));
    assert_false(log_has(w, "caravan1_"));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_joins_in_one_go), TEST(test_joins_where_the_answer_is_lost), TEST(test_a_token_in_the_configuration),
        TEST(test_a_used_up_token), TEST(test_a_token_of_another_cluster),     TEST(test_a_token_alone_is_not_shown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
