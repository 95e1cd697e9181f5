/* The agent's links against real CURVE servers on the loopback. */
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/link.h"
#include "agent/name_lookup.h"
#include "common/cleanup.h"
#include "common/crypto.h"
#include "common/log.h"
#include "common/message.h"
#include "common/wire.h"

struct world {
    char dir[64];
    struct event_base *base;
    struct identity controller, node;
    struct wire_server *server;
    struct state_dir *state;
    struct agent_options options;
    struct state_cluster cluster;
    struct hello hello;
    struct link *link;
    size_t n_up, n_down, n_looked_up, n_addrs, n_messages, n_snapshots, n_controllers, n_denied, n_heard;
    bool trust_keys, seen_to;
    int real_stderr, caught;
    enum message_kind kind;
    const char *refusal; /* what it answers with; NULL: with a welcome */
};

static void on_message(void *ctx, const uint8_t *key, const char *peer_addr, const void *buf, size_t n_bytes)
{
    struct message welcome = {.kind = MESSAGE_WELCOME,
                              .version_major = PROTOCOL_MAJOR,
                              .cluster = {{7}},
                              .term = 1,
                              .seq = 1,
                              .welcome = {.controller = {{9}}, .name = "test", .version = "0", .open = true}};
    CLEANUP(cleanup_free) uint8_t *answer = NULL;
    struct world *w = ctx;
    size_t n;

    (void)peer_addr, (void)buf, (void)n_bytes;
    w->n_heard++;
    if (w->refusal)
        snprintf(welcome.welcome.refused, sizeof(welcome.welcome.refused), "%s", w->refusal);
    assert_int_equal(message_pack(&welcome, &answer, &n), 0);
    assert_int_equal(wire_server_send(w->server, key, answer, n), 0);
}

static void on_refused(void *ctx, const uint8_t *key, const char *addr)
{
    (void)ctx, (void)key, (void)addr;
}

static void on_up(void *ctx)
{
    ((struct world *)ctx)->n_up++;
}

static void on_down(void *ctx)
{
    ((struct world *)ctx)->n_down++;
}

static void on_link_message(void *ctx, const struct message *m)
{
    struct world *w = ctx;

    w->kind = m->kind;
    w->n_messages++;
}

static void on_snapshot(void *ctx, struct snapshot *snapshot)
{
    struct world *w = ctx;

    assert_string_equal(snapshot->nodes, "{\"nodes\":[]}");
    w->n_snapshots++;
}

static void on_controller(void *ctx, const uint8_t *key)
{
    struct world *w = ctx;

    assert_memory_equal(key, w->controller.public_key, CRYPTO_KEY_BYTES);
    w->n_controllers++;
}

static bool on_denied(void *ctx)
{
    struct world *w = ctx;

    w->n_denied++;
    return w->seen_to;
}

static void give_up(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what, (void)ctx;
    fail_msg("waited 10 s in vain");
}

static void await(struct world *w, const size_t *counter, size_t n)
{
    struct event *limit = evtimer_new(w->base, give_up, NULL);

    evtimer_add(limit, &(struct timeval){.tv_sec = 10});
    while (*counter < n)
        event_base_loop(w->base, EVLOOP_ONCE);
    event_free(limit);
}

static void catch_log(struct world *w)
{
    w->real_stderr = dup(STDERR_FILENO);
    w->caught = memfd_create("log", MFD_CLOEXEC);
    assert_true(w->real_stderr >= 0 && w->caught >= 0);
    dup2(w->caught, STDERR_FILENO);
    log_set_level(LOG_LEVEL_INFO);
}

static void release_log(struct world *w, char said[4096])
{
    ssize_t n = pread(w->caught, said, 4095, 0);

    said[n > 0 ? n : 0] = '\0';
    dup2(w->real_stderr, STDERR_FILENO);
    close(w->real_stderr);
    close(w->caught);
    log_set_level(LOG_LEVEL_ERROR);
}

static void serve(struct world *w, uint16_t port)
{
    struct wire_server_callbacks cb = {on_message, on_refused, w};

    assert_int_equal(wire_server_new(w->base, &w->controller, "127.0.0.1", port, !w->trust_keys, &cb, &w->server), 0);
}

static void open_link(struct world *w)
{
    struct link_callbacks cb = {on_up, on_down, on_link_message, on_snapshot, on_controller, w, on_denied};

    assert_int_equal(link_new(w->base, &w->options, w->state, &w->node, &w->cluster, &w->hello, &cb, &w->link), 0);
}

static void set_controller(struct world *w, const char *host)
{
    struct controller_address *a = &w->options.controller[0];

    w->options.n_controllers = 1;
    snprintf(a->host, sizeof(a->host), "%s", host);
    a->port = wire_server_port(w->server);
    a->has_key = true;
    memcpy(a->key, w->controller.public_key, sizeof(a->key));
}

static void announce(struct world *w, bool gone)
{
    struct mdns_service s = {.gone = gone, .addr = "127.0.0.1", .port = wire_server_port(w->server), .n_txt = 1};
    char key[CRYPTO_KEY_HEX];

    strcpy(s.txt[0].key, "key");
    strcpy(s.txt[0].value, crypto_key_format(w->controller.public_key, key));
    link_on_service(w->link, &s);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    char path[80];

    assert_non_null(w);
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(crypto_init(), 0);
    strcpy(w->dir, "/tmp/test_link.XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(path, sizeof(path), "%s/node", w->dir);
    assert_int_equal(state_dir_open(path, "", &w->state), 0);
    assert_int_equal(crypto_identity_load(path, &w->node), 0);
    assert_int_equal(crypto_identity_load(w->dir, &w->controller), 0);
    strcpy(w->hello.name, "n");
    w->base = event_base_new();
    serve(w, 0);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    char command[128];

    link_destroy(&w->link);
    wire_server_destroy(&w->server);
    state_dir_close(&w->state);
    event_base_free(w->base);
    snprintf(command, sizeof(command), "rm -rf %s", w->dir);
    if (system(command))
        return -1;
    free(w);
    return 0;
}

static void test_controller_by_address(void **state)
{
    struct world *w = *state;

    set_controller(w, "127.0.0.1");
    open_link(w);
    await(w, &w->n_up, 1);
}

static void from_controller(struct world *w, struct message *m)
{
    CLEANUP(cleanup_free) uint8_t *buf = NULL;
    size_t n;

    m->cluster = (struct id128){{7}};
    assert_int_equal(message_pack(m, &buf, &n), 0);
    assert_int_equal(wire_server_send(w->server, w->node.public_key, buf, n), 0);
}

/* By what a token or the state file says of the cluster, with nothing configured; and mDNS may say where it has moved. */
static void test_controller_of_the_cluster_that_was_joined(void **state)
{
    struct world *w = *state;
    struct join_controller *c = &w->cluster.controller[0];
    static const struct id128 none;

    w->cluster.n_controllers = 1;
    c->port = wire_server_port(w->server);
    memcpy(c->key, w->controller.public_key, sizeof(c->key));
    strcpy(c->addr, "127.0.0.1");
    open_link(w);
    assert_int_equal(w->n_controllers, 1);
    assert_memory_equal(link_cluster(w->link), &none, sizeof(none));
    await(w, &w->n_up, 1);
    assert_int_equal(link_cluster(w->link)->b[0], 7);
    wire_server_destroy(&w->server);
    await(w, &w->n_down, 1);
    serve(w, 0);
    announce(w, false);
    await(w, &w->n_up, 2);
}

/* Nobody is dialled before the key can be known. */
static void test_held_back(void **state)
{
    struct world *w = *state;

    w->trust_keys = true;
    wire_server_destroy(&w->server);
    serve(w, 0);
    set_controller(w, "127.0.0.1");
    open_link(w);
    link_hold(w->link);
    event_base_loopexit(w->base, &(struct timeval){.tv_usec = 100000});
    event_base_dispatch(w->base);
    assert_int_equal(wire_server_stats(w->server).n_refused, 0);
    assert_int_equal(wire_server_allow(w->server, w->node.public_key), 0);
    link_let_go(w->link);
    await(w, &w->n_up, 1);
    assert_int_equal(wire_server_stats(w->server).n_refused, 0);
}

/* A key that is not let in: told for each dial, said once a minute and only where nobody sees to it; approved, it is in. */
static void test_denied(void **state)
{
    struct world *w = *state;
    char said[4096];

    w->trust_keys = w->seen_to = true;
    wire_server_destroy(&w->server);
    serve(w, 0);
    set_controller(w, "127.0.0.1");
    catch_log(w);
    open_link(w);
    await(w, &w->n_denied, 2);
    release_log(w, said);
    assert_null(strstr(said, "link.denied"));
    w->seen_to = false;
    catch_log(w);
    await(w, &w->n_denied, 4);
    release_log(w, said);
    assert_non_null(strstr(said, "approve KEY --name n`"));
    assert_null(strstr(strstr(said, "link.denied") + 1, "link.denied"));
    assert_int_equal(w->n_down, 0);
    assert_int_equal(wire_server_allow(w->server, w->node.public_key), 0);
    await(w, &w->n_up, 1);
}

/* What goes where, of who has welcomed us. */
static void test_what_a_controller_says(void **state)
{
    struct world *w = *state;
    struct message command = {.kind = MESSAGE_COMMAND, .command = {.kind = COMMAND_STOP}};
    struct message list = {.kind = MESSAGE_NEIGHBOURS, .neighbours = &(struct neighbours){.n_peers = 0}};
    struct message relay = {.kind = MESSAGE_RELAY, .relay = {.inner = &command}};
    struct message snapshot = {.kind = MESSAGE_SNAPSHOT,
                               .snapshot = {.n_nodes_bytes = 12,
                                            .nodes = (char[]){"{\"nodes\":[]}"},
                                            .n_instances_bytes = 2,
                                            .instances = (char[]){"{}"}}};
    struct message *const in_turn[] = {&command, &list, &relay};

    crypto_key_format(w->node.public_key, relay.relay.key);
    set_controller(w, "127.0.0.1");
    open_link(w);
    assert_int_equal(w->n_controllers, 1);
    await(w, &w->n_up, 1);
    for (size_t i = 0; i < 3; i++) {
        from_controller(w, in_turn[i]);
        await(w, &w->n_messages, i + 1);
        assert_int_equal(w->kind, in_turn[i]->kind);
    }
    from_controller(w, &snapshot);
    await(w, &w->n_snapshots, 1);
    assert_int_equal(w->n_messages, 3);
}

/* A node that is retired while it is linked: what it says from then on would only be refused, twice a second. */
static void test_a_node_that_is_retired_while_it_is_linked(void **state)
{
    struct world *w = *state;
    struct message report = {.kind = MESSAGE_REPORT, .report = &(struct report){.full = true}};
    uint16_t port = wire_server_port(w->server);

    set_controller(w, "127.0.0.1");
    open_link(w);
    await(w, &w->n_up, 1);
    w->refusal = "it was retired";
    link_send(w->link, &report);
    await(w, &w->n_down, 1);
    w->refusal = NULL;
    wire_server_destroy(&w->server);
    serve(w, port);
    await(w, &w->n_up, 2);
    assert_int_equal(w->n_down, 1); /* it had no session to lose any more */
}

/* What a refusal is about may have passed a moment later: a machine that is up again before its last boot is found silent. */
static void test_refused_for_a_moment(void **state)
{
    struct world *w = *state;

    w->refusal = "duplicate_identity";
    set_controller(w, "127.0.0.1");
    catch_log(w);
    open_link(w);
    await(w, &w->n_heard, 1);
    w->refusal = NULL;
    await(w, &w->n_up, 1);
    release_log(w, (char[4096]){0});
    assert_int_equal(w->n_heard, 2);
}

/* A message of ours within a relay is ours by cluster and term; one that we only pass on is not. */
static void test_stamps(void **state)
{
    struct world *w = *state;
    struct message ours = {.kind = MESSAGE_REPORT}, theirs = {.kind = MESSAGE_REPORT, .cluster = {{8}}, .term = 4};
    struct message m = {.kind = MESSAGE_RELAY, .relay = {.inner = &ours}};

    set_controller(w, "127.0.0.1");
    open_link(w);
    await(w, &w->n_up, 1);
    link_stamp(w->link, &m);
    assert_int_equal(m.cluster.b[0], 7);
    assert_int_equal(m.term, 1);
    assert_int_equal(ours.cluster.b[0], 7);
    assert_int_equal(ours.term, 1);
    m.relay.inner = &theirs;
    link_stamp(w->link, &m);
    assert_int_equal(theirs.cluster.b[0], 8);
    assert_int_equal(theirs.term, 4);
}

__attribute__((unused)) static void test_controller_by_name(void **state)
{
    struct world *w = *state;

    set_controller(w, "localhost");
    open_link(w);
    await(w, &w->n_up, 1);
}

/* A controller whose address changes, with mDNS quicker to notice than the link: the old addresses make room. */
static void test_controller_that_moves(void **state)
{
    struct world *w = *state;

    w->options.trust_open = true;
    open_link(w);
    for (size_t i = 1; i <= 20; i++) {
        announce(w, false);
        await(w, &w->n_up, i);
        announce(w, true);
        wire_server_destroy(&w->server);
        await(w, &w->n_down, i);
        serve(w, 0);
    }
}

/* avahi-daemon stops, then the controller restarts where it was. */
static void test_controller_restarts_without_mdns(void **state)
{
    struct world *w = *state;
    uint16_t port = wire_server_port(w->server);

    w->options.trust_open = true;
    open_link(w);
    assert_int_equal(w->n_controllers, 0);
    announce(w, false);
    assert_int_equal(w->n_controllers, 1);
    await(w, &w->n_up, 1);
    announce(w, true);
    wire_server_destroy(&w->server);
    await(w, &w->n_down, 1);
    serve(w, port);
    await(w, &w->n_up, 2);
}

static void on_looked_up(void *ctx, const char (*addr)[PROTO_ADDR_MAX], size_t n, const char *problem)
{
    struct world *w = ctx;

    (void)addr;
    assert_true(n || problem[0]);
    w->n_looked_up++;
    w->n_addrs = n;
}

__attribute__((unused)) static void test_lookups(void **state)
{
    struct world *w = *state;
    struct name_lookup *lookup;
    char long_name[NAME_LOOKUP_HOST_MAX + 1];

    assert_int_equal(name_lookup_start(w->base, "localhost", on_looked_up, w, &lookup), 0);
    await(w, &w->n_looked_up, 1);
    assert_true(w->n_addrs >= 1);
    assert_int_equal(name_lookup_start(w->base, "no such..host", on_looked_up, w, &lookup), 0);
    await(w, &w->n_looked_up, 2);
    assert_int_equal(w->n_addrs, 0);
    assert_int_equal(name_lookup_start(w->base, "localhost", on_looked_up, w, &lookup), 0);
    name_lookup_cancel(&lookup);
    assert_null(lookup);
    event_base_loop(w->base, EVLOOP_NONBLOCK);
    assert_int_equal(w->n_looked_up, 2);
    memset(long_name, 'a', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    assert_int_equal(name_lookup_start(w->base, long_name, on_looked_up, w, &lookup), -ENAMETOOLONG);
}

#define IN_WORLD(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(test_controller_by_address),
        IN_WORLD(test_controller_of_the_cluster_that_was_joined),
        IN_WORLD(test_held_back),
        IN_WORLD(test_denied),
        IN_WORLD(test_what_a_controller_says),
        IN_WORLD(test_a_node_that_is_retired_while_it_is_linked),
        IN_WORLD(test_refused_for_a_moment),
        IN_WORLD(test_stamps),
        IN_WORLD(test_controller_that_moves),
        IN_WORLD(test_controller_restarts_without_mdns),
#ifndef __SANITIZE_THREAD__ /* it does not know of the thread that getaddrinfo_a makes inside glibc, and ends the program */
        IN_WORLD(test_controller_by_name),
        IN_WORLD(test_lookups),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
