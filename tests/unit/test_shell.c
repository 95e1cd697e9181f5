/* The whole controller in one process: its real store, link, core and HTTP thread. Played from outside: one agent over a
 * real CURVE link, a coordinator that answers HTTP, at its own port or behind a carrier, and people with HTTP clients. */
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <inttypes.h>
#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/log.h"
#include "common/message.h"
#include "common/wire.h"
#include "controller/shell.h"
#include "controller/store.h"
#include "controller/upstream.h"
#include "tests/lib/carrier_lab.h"
#include "tests/lib/http_lab.h"

#define MIB (1024ull * 1024)

static bool through_carrier;

struct lab {
    struct event_base *base;
    struct shell *shell;
    struct models_conf *models;
    struct identity identity, node;
    char dir[96];
    uint16_t port, http_port, coordinator_port;
    /* the agent */
    struct wire_client *wire;
    bool up, welcomed, running, stopped;
    bool deaf; /* it does not end what it is told to end */
    uint64_t grace_ms;
    uint16_t knock_port; /* nobody listens there */
    struct message welcome;
    struct unit_facts unit[3];
    size_t n_units;
    char api_key[PROTO_KEY_MAX];
    uint64_t seq, term;
    /* the coordinator */
    struct evhttp *coordinator;
    struct carrier_lab carrier;
    char authorization[128];
};

/* ---- the coordinator ---- */

static void on_question(struct evhttp_request *req, void *ctx)
{
    const char *given = evhttp_find_header(evhttp_request_get_input_headers(req), "Authorization");
    struct evbuffer *out = evbuffer_new();
    struct lab *lab = ctx;

    snprintf(lab->authorization, sizeof(lab->authorization), "%s", given ? given : "");
    evbuffer_add_printf(out, "{\"answer\":42}");
    evhttp_send_reply(req, 200, "OK", out);
    evbuffer_free(out);
}

/* ---- the agent ---- */

static void tell(struct lab *lab, struct message *m)
{
    uint8_t *buf = NULL;
    size_t n = 0;

    m->version_major = PROTOCOL_MAJOR;
    m->seq = ++lab->seq;
    assert_int_equal(message_pack(m, &buf, &n), 0);
    assert_int_equal(wire_client_send(lab->wire, buf, n), 0);
    free(buf);
    message_clear(m);
}

static void say_hello(struct lab *lab)
{
    struct message m = {.kind = MESSAGE_HELLO};
    struct hello *h = &m.hello;

    h->node = crypto_node_id(lab->node.public_key);
    snprintf(h->name, sizeof(h->name), "n1");
    snprintf(h->boot_id, sizeof(h->boot_id), "boot");
    snprintf(h->build, sizeof(h->build), "b11669-0.7.0");
    snprintf(h->transport, sizeof(h->transport), through_carrier ? "tunnel" : "direct");
    h->rpc = (struct rpc_version){8, 0, 0};
    h->n_addrs = 1;
    snprintf(h->addr[0], sizeof(h->addr[0]), "127.0.0.1");
    h->can_coordinate = true;
    h->port = lab->knock_port;
    tell(lab, &m);
}

static void fill_model(struct model_facts *f)
{
    snprintf(f->name, sizeof(f->name), "tiny");
    snprintf(f->path, sizeof(f->path), "/models/tiny.gguf");
    f->size_bytes = 60 * MIB;
    f->n_files = 1;
    f->header_hash = 0xfeed;
    f->shape = model_shape_new(4);
    snprintf(f->shape->arch, sizeof(f->shape->arch), "llama");
    f->shape->n_embd = 1024;
    f->shape->n_head = 16;
    f->shape->n_ff = 2816;
    f->shape->head_dim_k = f->shape->head_dim_v = 64;
    f->shape->n_vocab = 1024;
    f->shape->n_ctx_train = 2048;
    f->shape->token_embd_bytes = f->shape->output_bytes = f->shape->output_max_tensor_bytes = MIB;
    for (size_t i = 0; i < 4; i++)
        f->shape->layer[i] =
            (struct model_layer){.weight_bytes = 12 * MIB, .max_tensor_bytes = 3 * MIB, .n_head_kv = 4, .n_ff = 2816};
}

static void report(struct lab *lab)
{
    struct message m = {.kind = MESSAGE_REPORT};
    struct report *r = calloc(1, sizeof(*r));

    m.report = r;
    r->full = r->has_devices = r->has_units = r->has_models = true;
    r->host_total_bytes = 16384 * MIB;
    r->host_free_bytes = 8192 * MIB;
    r->n_devices = 1;
    r->device[0] = (struct device_facts){.name = "CPU",
                                         .kind = DEVICE_CPU,
                                         .total_bytes = 16384 * MIB,
                                         .free_bytes = 8192 * MIB,
                                         .utilization_permille = -1,
                                         .temperature_c = INT32_MIN};
    r->n_units = lab->n_units;
    memcpy(r->unit, lab->unit, sizeof(lab->unit));
    r->n_models = 1;
    r->model = calloc(1, sizeof(*r->model));
    fill_model(&r->model[0]);
    tell(lab, &m);
}

static struct unit_facts *add_unit(struct lab *lab, const struct message *m, enum unit_role role, uint16_t port)
{
    struct unit_facts *u = &lab->unit[lab->n_units++];

    *u = (struct unit_facts){.role = role,
                             .state = UNIT_RUNNING,
                             .instance = m->instance,
                             .epoch = m->epoch,
                             .rank = role == UNIT_WORKER ? 0 : -1,
                             .addr = "127.0.0.1",
                             .port = port,
                             .pid = 4711,
                             .proc_state = 'S',
                             .rpc = {8, 0, 0}};
    snprintf(u->id, sizeof(u->id), "%s", unit_role_name(role));
    return u;
}

static void tell_event(struct lab *lab, const struct unit_facts *u, enum agent_event_kind kind)
{
    struct message m = {.kind = MESSAGE_EVENT, .instance = u->instance, .epoch = u->epoch};
    struct rank_buffers *b;

    m.event = calloc(1, sizeof(*m.event));
    m.event->kind = kind;
    m.event->unit = *u;
    if (kind == AGENT_EVENT_RANK_BUFFERS) {
        b = &m.event->buffers[m.event->n_buffers++];
        snprintf(b->endpoint, sizeof(b->endpoint), "127.0.0.1:20052");
        b->model_bytes = 49 * MIB;
        b->kv_bytes = MIB;
    }
    tell(lab, &m);
}

/* It lets in whoever it is told to, for this epoch. Returns its port. */
static uint16_t start_carrier(struct lab *lab, const struct message *m)
{
    const struct coordinator_spec *spec = &m->command.coordinator;

    assert_int_equal(spec->n_gateways, 1);
    assert_int_equal(spec->n_routes, 1);
    assert_string_equal(spec->route[0].peer, "");
    carrier_lab_kill(&lab->carrier);
    lab->carrier = (struct carrier_lab){
        .node = lab->node, .instance = m->instance, .epoch = m->epoch, .coordinator_port = lab->coordinator_port};
    assert_int_equal(crypto_key_parse(spec->gateway[0], lab->carrier.gateway), 0);
    carrier_lab_open(&lab->carrier, lab->base);
    add_unit(lab, m, UNIT_CARRIER, lab->carrier.port);
    return lab->carrier.port;
}

static void obey(struct lab *lab, const struct message *m)
{
    struct message result = {.kind = MESSAGE_RESULT,
                             .instance = m->instance,
                             .epoch = m->epoch,
                             .command_id = m->command_id,
                             .result = {.code = RESULT_DONE, .addr = "127.0.0.1"}};
    const struct unit_facts *u = NULL;

    switch (m->command.kind) {
    case COMMAND_LEASE:
        break;
    case COMMAND_START_WORKER:
        add_unit(lab, m, UNIT_WORKER, 20052);
        result.result.port = 20052;
        result.result.rpc = (struct rpc_version){8, 0, 0};
        break;
    case COMMAND_START_COORDINATOR:
        snprintf(lab->api_key, sizeof(lab->api_key), "%s", m->command.coordinator.api_key);
        result.result.port = through_carrier ? start_carrier(lab, m) : lab->coordinator_port;
        u = add_unit(lab, m, UNIT_COORDINATOR, lab->coordinator_port);
        break;
    case COMMAND_STOP:
        if (lab->deaf)
            return;
        carrier_lab_kill(&lab->carrier);
        lab->n_units = 0;
        lab->stopped = true;
        break;
    case COMMAND_KNOCK:
        break;
    }
    tell(lab, &result);
    if (!u)
        return;
    tell_event(lab, u, AGENT_EVENT_LOADING);
    tell_event(lab, u, AGENT_EVENT_RANK_BUFFERS);
    tell_event(lab, u, AGENT_EVENT_LISTENING);
    lab->running = true;
}

static void on_wire(void *ctx, const void *buf, size_t n)
{
    struct message *m = NULL;
    struct lab *lab = ctx;

    assert_int_equal(message_unpack(buf, n, &m), 0);
    assert_int_equal(m->version_major, PROTOCOL_MAJOR);
    lab->term = m->term;
    if (m->kind == MESSAGE_WELCOME) {
        lab->welcome = *m;
        lab->welcomed = true;
    } else if (m->kind == MESSAGE_COMMAND) {
        obey(lab, m);
    }
    message_destroy(&m);
}

static void on_connected(void *ctx)
{
    struct lab *lab = ctx;

    lab->up = true;
    lab->seq = 0;
    say_hello(lab);
    report(lab);
}

static void on_disconnected(void *ctx)
{
    ((struct lab *)ctx)->up = false;
}

/* ---- the controller ---- */

static int try_start(struct lab *lab, const char *models, char *why, size_t why_size)
{
    struct shell_config c = {.name = "ctl",
                             .state_dir = lab->dir,
                             .listen = "127.0.0.1",
                             .port = lab->port,
                             .http_text = "127.0.0.1:1",
                             .n_http_fds = 1,
                             .http_is_local = true,
                             .trust_open = true,
                             .tunnel = through_carrier,
                             .settle_ms = 100,
                             .silent_ms = 60000,
                             .evict_after_ms = 120000,
                             .load_stall_ms = 60000,
                             .warm_up_ms = 60000,
                             .transition_grace_ms = lab->grace_ms};
    int fd = lab_listen(&lab->http_port), r;

    assert_int_equal(models_conf_parse("models.conf", models, strlen(models), &lab->models, why, why_size), 0);
    c.identity = &lab->identity;
    c.http_fds = &fd;
    c.models = lab->models;
    r = shell_new(lab->base, &c, &lab->shell, why, why_size);
    if (r)
        close(fd);
    return r;
}

static void start(struct lab *lab, const char *models)
{
    char why[512] = "";

    if (try_start(lab, models, why, sizeof(why)))
        fail_msg("not started: %s", why);
}

static void dial(struct lab *lab)
{
    const struct wire_client_callbacks cb = {
        .message = on_wire, .connected = on_connected, .disconnected = on_disconnected, .ctx = lab};

    assert_int_equal(
        wire_client_new(lab->base, &lab->node, "127.0.0.1", lab->port, lab->identity.public_key, &cb, &lab->wire), 0);
}

static void lab_open(struct lab *lab, const char *models)
{
    char node_dir[128];

    memset(lab, 0, sizeof(*lab));
    lab->grace_ms = 500;
    assert_int_equal(crypto_init(), 0);
    snprintf(lab->dir, sizeof(lab->dir), "/tmp/caravan-test-XXXXXX");
    assert_non_null(mkdtemp(lab->dir));
    snprintf(node_dir, sizeof(node_dir), "%s/node", lab->dir);
    assert_int_equal(mkdir(node_dir, 0700), 0);
    assert_int_equal(crypto_identity_load(lab->dir, &lab->identity), 0);
    assert_int_equal(crypto_identity_load(node_dir, &lab->node), 0);
    lab->base = event_base_new();
    close(lab_listen(&lab->port));
    close(lab_listen(&lab->knock_port));
    lab->coordinator = evhttp_new(lab->base);
    assert_int_equal(evhttp_accept_socket(lab->coordinator, lab_listen(&lab->coordinator_port)), 0);
    evhttp_set_gencb(lab->coordinator, on_question, lab);
    start(lab, models);
    dial(lab);
    lab_until_true(lab->base, &lab->welcomed);
}

static void stop(struct lab *lab)
{
    shell_destroy(&lab->shell);
    models_conf_destroy(&lab->models);
}

static void lab_shut(struct lab *lab)
{
    char command[160];

    wire_client_destroy(&lab->wire);
    stop(lab);
    carrier_lab_kill(&lab->carrier);
    evhttp_free(lab->coordinator);
    event_base_free(lab->base);
    snprintf(command, sizeof(command), "rm -r %s", lab->dir);
    assert_int_equal(system(command), 0);
}

static void until(struct lab *lab, const char *path, const char *words, bool there)
{
    char request[128], *text;

    snprintf(request, sizeof(request), "GET %s HTTP/1.0\r\n\r\n", path);
    for (int i = 0; i < 2000; i++) {
        text = lab_ask(lab->base, lab->http_port, request);
        if (!strstr(text, words) == !there) {
            free(text);
            return;
        }
        if (i == 1999)
            fail_msg("%s %s showed %s, but: %s", path, there ? "never" : "always", words, text);
        free(text);
    }
}

/* Asks until the answer has the words in it: what is shown follows what happened within SHELL_VIEW_MS. */
static void until_shown(struct lab *lab, const char *path, const char *words)
{
    until(lab, path, words, true);
}

static void until_not_shown(struct lab *lab, const char *path, const char *words)
{
    until(lab, path, words, false);
}

static char *post(struct lab *lab, const char *path, const char *body)
{
    char *request, *text;

    assert_true(asprintf(&request, "POST %s HTTP/1.0\r\nContent-Length: %zu\r\n\r\n%s", path, strlen(body), body) > 0);
    text = lab_ask(lab->base, lab->http_port, request);
    free(request);
    return text;
}

static void test_join_deploy_chat_stop(void **state)
{
    struct lab_client c;
    struct lab lab;
    char bearer[128], *text;

    (void)state;
    lab_open(&lab, "");
    assert_true(lab.welcome.welcome.open);
    assert_string_equal(lab.welcome.welcome.name, "ctl");
    assert_int_equal(lab.welcome.term, 1);
    assert_int_equal(lab.welcome.seq, 1);
    assert_false(id128_is_zero(&lab.welcome.cluster));
    until_shown(&lab, "/api/nodes", "\"name\":\"n1\",\"state\":\"ready\"");
    until_shown(&lab, "/api/models", "\"name\":\"tiny\"");
    text = lab_ask(lab.base, lab.http_port, "GET /api/plan?model=tiny HTTP/1.0\r\n\r\n");
    assert_non_null(strstr(text, "{\"ok\":true,"));
    assert_non_null(strstr(text, "\"node_name\":\"n1\""));
    free(text);

    text = post(&lab, "/api/instances", "{\"model\":\"tiny\",\"alias\":\"t\",\"ctx\":512,\"rank0\":\"rpc\"}");
    assert_int_equal(strncmp(text, "HTTP/1.1 202 ", 13), 0);
    free(text);
    lab_connect(&c, lab.base, lab.http_port);
    lab_send(&c,
             "GET /api/tasks/1 HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n");
    lab_until_closed(&c);
    if (!strstr(c.got, "\"state\":\"complete\""))
        fail_msg("the task did not complete: %s", c.got);
    lab_close(&c);
    assert_int_equal(strlen(lab.api_key), 64);
    snprintf(bearer, sizeof(bearer), "Bearer %s", lab.api_key);
    assert_string_equal(lab.authorization, bearer); /* the first token was asked for with the epoch's key */

    lab.authorization[0] = '\0';
    text = post(&lab, "/v1/chat/completions", "{\"model\":\"t\",\"messages\":[]}");
    assert_non_null(strstr(text, "{\"answer\":42}"));
    assert_string_equal(lab.authorization, bearer);
    assert_int_equal(lab.carrier.n_opened, through_carrier ? 2 : 0);
    free(text);
    text = lab_ask(lab.base, lab.http_port, "DELETE /api/instances/t HTTP/1.0\r\n\r\n");
    assert_int_equal(strncmp(text, "HTTP/1.1 202 ", 13), 0);
    free(text);
    lab_until_true(lab.base, &lab.stopped);
    report(&lab);
    until_shown(&lab, "/api/instances", "\"state\":\"stopped\"");
    lab_shut(&lab);
}

static void test_garbage_costs_a_counter(void **state)
{
    static const uint8_t garbage[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x80};
    struct lab lab;

    (void)state;
    lab_open(&lab, "");
    for (int i = 0; i < 3; i++)
        assert_int_equal(wire_client_send(lab.wire, garbage, sizeof(garbage)), 0);
    report(&lab);
    until_shown(&lab, "/metrics", "caravan_link_messages_dropped_total{reason=\"malformed\"} 3\n");
    until_shown(&lab, "/api/nodes", "\"state\":\"ready\"");
    lab_shut(&lab);
}

static void test_restart_keeps_what_was(void **state)
{
    struct id128 cluster;
    struct lab lab;
    char *text;

    (void)state;
    lab_open(&lab, "");
    cluster = lab.welcome.cluster;
    text = post(&lab, "/api/instances", "{\"model\":\"tiny\",\"rank0\":\"rpc\"}");
    free(text);
    until_shown(&lab, "/api/instances", "\"state\":\"ready\"");
    stop(&lab);
    lab.welcomed = false;
    start(&lab, "");
    lab_until_true(lab.base, &lab.welcomed); /* it dials again by itself */
    assert_int_equal(lab.welcome.term, 2);
    assert_true(id128_equal(&lab.welcome.cluster, &cluster));
    until_shown(&lab, "/api/instances", "\"model\":\"tiny\"");
    until_shown(&lab, "/api/tasks", "\"kind\":\"deploy\"");
    lab_shut(&lab);
}

static void test_refuses_to_start_on_what_it_cannot_use(void **state)
{
    struct lab lab, twin;
    char why[512] = "";

    (void)state;
    lab_open(&lab, "");
    twin = (struct lab){.base = lab.base, .identity = lab.identity, .port = lab.port};
    memcpy(twin.dir, lab.dir, sizeof(twin.dir));
    assert_int_equal(try_start(&twin, "", why, sizeof(why)), SHELL_E_START);
    assert_non_null(strstr(why, "is used by another controller"));
    models_conf_destroy(&twin.models);
    snprintf(twin.dir, sizeof(twin.dir), "%.64s/node", lab.dir);
    assert_int_equal(try_start(&twin, "", why, sizeof(why)), SHELL_E_START);
    assert_non_null(strstr(why, "is taken by another program"));
    models_conf_destroy(&twin.models);
    lab_shut(&lab);
}

static void no_row(void *ctx, const struct store_record *r)
{
    (void)ctx, (void)r;
}

static void no_commit(void *ctx, uint64_t token, int r)
{
    (void)ctx, (void)token, (void)r;
}

/* The store of a controller that has been stopped. */
static struct store *open_store(struct lab *lab)
{
    const struct store_callbacks cb = {.committed = no_commit};
    struct store *store = NULL;
    char path[128], why[256];

    snprintf(path, sizeof(path), "%s/store.db", lab->dir);
    assert_int_equal(store_open(lab->base, path, &cb, no_row, NULL, &store, why, sizeof(why)), 0);
    return store;
}

static void expect_no_start(struct lab *lab, const char *words)
{
    char why[1024] = "";

    assert_int_equal(try_start(lab, "", why, sizeof(why)), SHELL_E_START);
    models_conf_destroy(&lab->models);
    if (!strstr(why, words))
        fail_msg("not \"%s\", but: %s", words, why);
}

/* Whatever is wrong with the store: the file is named, and what to do. Moving the file away alone would not do. */
static void test_says_what_is_wrong_with_the_store(void **state)
{
    struct store_record rec = {.kind = "node", .key = "k", .value = strdup("{")};
    struct store *store;
    struct lab lab;
    char mark[128];

    (void)state;
    lab_open(&lab, "");
    stop(&lab);
    store = open_store(&lab);
    assert_int_equal(store_meta_set(store, "term", "-1"), 0);
    store_close(&store);
    expect_no_start(&lab, "store.db is damaged (its term is not valid) and was left as it is: bring a backup back with "
                          "caravan-controller --restore FILE");
    store = open_store(&lab);
    assert_int_equal(store_append(store, 0, &rec, 1), 0);
    store_close(&store);
    expect_no_start(&lab, "store.db is damaged (its node record k cannot be read: not valid JSON");
    snprintf(mark, sizeof(mark), "%s/store.db-cluster", lab.dir);
    assert_int_equal(unlink(mark), 0);
    assert_int_equal(mkdir(mark, 0700), 0);
    expect_no_start(&lab, "store.db cannot be used: Is a directory");
    lab_shut(&lab);
}

static void test_boot_deploys_when_the_model_appears(void **state)
{
    struct lab lab;

    (void)state;
    lab_open(&lab, "[served]\nfile = tiny.gguf\nstart = boot\ncontext = 512\n[other]\nstart = boot\n");
    until_shown(&lab, "/v1/models", "{\"id\":\"served\",\"object\":\"model\"");
    until_shown(&lab, "/api/instances", "\"state\":\"ready\"");
    lab_shut(&lab);
}

/* Its link is closed: it is knocked at, and its kernel says that nobody is there. The silence would take a minute. */
static void test_a_closed_link_leads_to_a_knock(void **state)
{
    struct lab lab;

    (void)state;
    lab_open(&lab, "");
    until_shown(&lab, "/api/nodes", "\"name\":\"n1\",\"state\":\"ready\"");
    until_shown(&lab, "/api/nodes", "\"own_host\":true"); /* it comes from 127.0.0.1, which is ours */
    wire_client_destroy(&lab.wire);
    until_shown(&lab, "/api/nodes", "\"name\":\"n1\",\"state\":\"stuck\"");
    dial(&lab);
    until_shown(&lab, "/api/nodes", "\"name\":\"n1\",\"state\":\"ready\"");
    lab_shut(&lab);
}

/* ---- the audit on a full disk ---- */

static void limit_files(rlim_t n_bytes)
{
    struct rlimit limit;

    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = n_bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
}

/* Rows that went with a commit that failed are counted as lost too, and the controller goes on. */
static void test_what_a_full_disk_loses_is_counted(void **state)
{
    struct lab lab;

    (void)state;
    lab_open(&lab, "");
    until_shown(&lab, "/api/nodes", "\"name\":\"n1\",\"state\":\"ready\"");
    until_shown(&lab, "/metrics", "caravan_audit_lost_total 0\n");
    signal(SIGXFSZ, SIG_IGN);
    limit_files(1);
    wire_client_destroy(&lab.wire);
    until_shown(&lab, "/metrics", "caravan_nodes{state=\"stuck\"} 1\n");
    until_not_shown(&lab, "/metrics", "caravan_audit_lost_total 0\n");
    limit_files(RLIM_INFINITY);
    dial(&lab);
    until_shown(&lab, "/api/nodes", "\"name\":\"n1\",\"state\":\"ready\"");
    lab_shut(&lab);
}

/* ---- refusals ---- */

enum { ASKERS = 20, ASKED_AT_ONCE = 25, ROUNDS = 20, REFUSALS = ASKERS * ASKED_AT_ONCE * ROUNDS };

#ifdef __SANITIZE_ADDRESS__
size_t __sanitizer_get_current_allocated_bytes(void);

static size_t live_bytes(void)
{
    return __sanitizer_get_current_allocated_bytes();
}
#else
static size_t live_bytes(void)
{
    return mallinfo2().uordblks;
}
#endif

static size_t count(const char *text, const char *word)
{
    size_t n = 0;

    for (; (text = strstr(text, word)); text += strlen(word))
        n++;
    return n;
}

/* Each asker asks for what cannot be, ASKED_AT_ONCE times on one connection. */
static void ask_in_vain(struct lab *lab)
{
    static const char one[] =
        "POST /api/instances HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n%s\r\n{\"model\":\"tiny\"}";
    struct lab_client c[ASKERS];
    char request[256];

    for (int a = 0; a < ASKERS; a++) {
        lab_connect(&c[a], lab->base, lab->http_port);
        for (int i = 0; i < ASKED_AT_ONCE; i++) {
            snprintf(request, sizeof(request), one, i == ASKED_AT_ONCE - 1 ? "Connection: close\r\n" : "");
            lab_send(&c[a], request);
        }
    }
    for (int a = 0; a < ASKERS; a++) {
        lab_until_closed(&c[a]);
        assert_int_equal(count(c[a].got, "HTTP/1.1 409 "), ASKED_AT_ONCE);
        assert_int_equal(count(c[a].got, "\"machine\":\"instance\",\"state\":\"stopping\",\"event\":\"deploy\""),
                         ASKED_AT_ONCE);
        lab_close(&c[a]);
    }
}

static void count_refused(void *ctx, const struct store_record *r)
{
    *(size_t *)ctx += strstr(r->value, "\"verdict\":\"refuse\"") && strstr(r->value, "\"from\":\"stopping\"") &&
                      strstr(r->value, "\"event\":\"deploy\"");
}

static size_t refusals_audited(struct lab *lab)
{
    struct store *store = open_store(lab);
    size_t n = 0;

    assert_int_equal(store_audit_tail(store, STORE_AUDIT_MAX, count_refused, &n), 0);
    store_close(&store);
    return n;
}

/* Ten thousand wishes that the state forbids: each is refused, counted, and in the audit; nothing grows by them. */
static void test_what_is_refused_costs_nothing(void **state)
{
    char words[160];
    size_t early = 0;
    struct lab lab;
    char *text;

    (void)state;
    lab_open(&lab, "");
    stop(&lab);
    lab.grace_ms = 0;
    lab.deaf = true;
    lab.welcomed = false;
    start(&lab, "");
    lab_until_true(lab.base, &lab.welcomed);
    until_shown(&lab, "/api/models", "\"name\":\"tiny\"");
    free(post(&lab, "/api/instances", "{\"model\":\"tiny\",\"rank0\":\"rpc\"}"));
    until_shown(&lab, "/api/instances", "\"state\":\"ready\"");
    text = lab_ask(lab.base, lab.http_port, "DELETE /api/instances/tiny HTTP/1.0\r\n\r\n");
    free(text);
    until_shown(&lab, "/api/instances", "\"state\":\"stopping\"");
    log_set_level(LOG_LEVEL_ERROR);
    for (int round = 0; round < ROUNDS; round++) {
        ask_in_vain(&lab);
        if (round == ROUNDS / 4) /* the rings of events and tasks are full by now */
            early = live_bytes();
    }
    assert_true(live_bytes() < early + MIB);
    log_set_level(LOG_LEVEL_INFO);
    snprintf(words, sizeof(words),
             "caravan_transitions_refused_total{machine=\"instance\",state=\"stopping\",event=\"deploy\"} %d\n",
             (int)REFUSALS);
    until_shown(&lab, "/metrics", words);
    stop(&lab);
    assert_int_equal(refusals_audited(&lab), REFUSALS);
    lab_shut(&lab);
}

static int go_through_carrier(void **state)
{
    (void)state;
    through_carrier = true;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_closed_link_leads_to_a_knock),
        cmocka_unit_test(test_what_is_refused_costs_nothing),
        cmocka_unit_test(test_join_deploy_chat_stop),
        cmocka_unit_test(test_garbage_costs_a_counter),
        cmocka_unit_test(test_restart_keeps_what_was),
        cmocka_unit_test(test_refuses_to_start_on_what_it_cannot_use),
        cmocka_unit_test(test_says_what_is_wrong_with_the_store),
        cmocka_unit_test(test_what_a_full_disk_loses_is_counted),
        cmocka_unit_test(test_boot_deploys_when_the_model_appears),
    };
    const struct CMUnitTest behind_a_carrier[] = {
        cmocka_unit_test(test_join_deploy_chat_stop),
        cmocka_unit_test(test_restart_keeps_what_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) +
           cmocka_run_group_tests_name("through a carrier", behind_a_carrier, go_through_carrier, NULL);
}
