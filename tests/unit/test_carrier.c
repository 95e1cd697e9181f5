/* Who may reach what through a carrier, what it tells of its ranks, and what it is asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>

#include "common/tunnel_end.h"
#include "tests/unit/carrier_harness.h"

/* A node with rank 1's worker, and one with the coordinator, which also has rank 0's. */
struct world {
    struct node head, node;
    int worker[2], coordinator; /* listen */
    uint16_t port[2];
    struct identity gateway, stranger;
    struct event_base *base;
};

static int make_world(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct carrier_conf *c;

    assert_non_null(w);
    *state = w;
    w->base = event_base_new();
    node_init(&w->head);
    node_init(&w->node);
    crypto_identity_from_secret((const uint8_t[CRYPTO_KEY_BYTES]){0, 1}, &w->gateway);
    crypto_identity_from_secret((const uint8_t[CRYPTO_KEY_BYTES]){0, 2}, &w->stranger);
    for (int i = 0; i < 2; i++)
        w->worker[i] = listen_on("127.0.0.1", 0, &w->port[i]);
    w->node.conf.rank = 1;
    w->node.conf.worker_port = w->port[1];
    memcpy(w->node.conf.peer, w->head.own.public_key, 32);
    c = &w->head.conf;
    w->coordinator = listen_on("127.0.0.1", 0, &c->coordinator_port);
    c->n_gateways = 1;
    memcpy(c->gateway[0], w->gateway.public_key, 32);
    c->n_routes = 2;
    c->route[0] = (struct conf_route){.rank = 0, .addr = "127.0.0.1", .port = w->port[0]};
    c->route[1] = (struct conf_route){.rank = 1, .port = w->node.conf.port, .tunnel = true};
    memcpy(c->route[1].addr, w->node.conf.addr, PROTO_ADDR_MAX);
    memcpy(c->route[1].peer, w->node.own.public_key, 32);
    node_start(&w->node);
    node_start(&w->head);
    return 0;
}

static int end_world(void **state)
{
    struct world *w = *state;

    node_stop(&w->head);
    node_stop(&w->node);
    close(w->worker[0]);
    close(w->worker[1]);
    close(w->coordinator);
    event_base_free(w->base);
    free(w);
    return 0;
}

/* ---- who may what ------------------------------------------------------------------------------------------------- */

struct call {
    bool done;
    int r;
    enum tunnel_verdict verdict;
    struct tunnel_end end;
};

static void on_dialled(void *ctx, int r, struct tunnel_end *end, enum tunnel_verdict verdict)
{
    struct call *c = ctx;

    c->done = true;
    c->r = r;
    c->verdict = verdict;
    if (r == 0)
        c->end = *end;
}

static struct call call(const struct world *w, const struct identity *own, const struct node *to,
                        const struct tunnel_claim *claim)
{
    struct tunnel_dial_spec spec = {.own = own, .claim = *claim, .port = to->conf.port, .timeout_ms = LIMIT_MS};
    struct call c = {.end = {.fd = -1}};
    struct tunnel_dial *dial;

    memcpy(spec.addr, to->conf.addr, sizeof(spec.addr));
    memcpy(spec.peer, to->own.public_key, sizeof(spec.peer));
    assert_int_equal(tunnel_dial_start(w->base, &spec, on_dialled, &c, &dial), 0);
    while (!c.done)
        event_base_loop(w->base, EVLOOP_ONCE);
    return c;
}

static const struct tunnel_claim to_rank = {
    .instance = {{0xca, 1}}, .epoch = 4, .rank = 1, .direction = TUNNEL_TO_RANK};
static const struct tunnel_claim to_coordinator = {
    .instance = {{0xca, 1}}, .epoch = 4, .direction = TUNNEL_TO_COORDINATOR};

static bool has_refused(const struct figures *f, const void *arg)
{
    const uint64_t *n = arg;

    return !memcmp(f->n_refused, n, sizeof(f->n_refused));
}

static void test_who_may_reach_a_worker(void **state)
{
    struct world *w = *state;
    struct tunnel_claim other_rank = to_rank, other_epoch = to_rank, older_epoch = to_rank, other_instance = to_rank;
    const struct {
        const struct identity *who;
        const struct tunnel_claim *claim;
        enum tunnel_verdict told, counted;
    } rows[] = {
        {&w->head.own, &other_rank, TUNNEL_OTHER_RANK, TUNNEL_OTHER_RANK},
        {&w->head.own, &other_epoch, TUNNEL_OTHER_EPOCH, TUNNEL_OTHER_EPOCH},
        {&w->head.own, &older_epoch, TUNNEL_OTHER_EPOCH, TUNNEL_OTHER_EPOCH},
        {&w->head.own, &to_coordinator, TUNNEL_OTHER_DIRECTION, TUNNEL_OTHER_DIRECTION},
        {&w->head.own, &other_instance, TUNNEL_NO_GRANT, TUNNEL_NO_GRANT},
        {&w->gateway, &to_rank, TUNNEL_NO_GRANT, TUNNEL_OTHER_PEER},
        {&w->stranger, &to_rank, TUNNEL_NO_GRANT, TUNNEL_OTHER_PEER},
        {&w->node.own, &to_rank, TUNNEL_NO_GRANT, TUNNEL_OTHER_PEER}, /* itself */
    };
    uint64_t n_refused[TUNNEL_VERDICT_N] = {0};
    struct call c;
    int worker;

    other_rank.rank = 2;
    other_epoch.epoch = 5;
    older_epoch.epoch = 3;
    other_instance.instance.b[15] = 1;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        c = call(w, rows[i].who, &w->node, rows[i].claim);
        if (c.r != -EACCES || c.verdict != rows[i].told)
            fail_msg("row %zu: %d, %s", i, c.r, tunnel_verdict_name(c.verdict));
        n_refused[rows[i].counted]++;
    }
    c = call(w, &w->head.own, &w->node, &to_rank); /* the control */
    assert_int_equal(c.r, 0);
    worker = take(w->worker[1]); /* the first that came there */
    tunnel_end_clear(&c.end);
    assert_int_equal(next_end(worker), ECONNRESET);
    close(worker);
    look_until(&w->node, has_refused, n_refused);
    assert_int_equal(look(&w->node).n_accepted, 1);
}

/* One record each way. */
static void say_sealed(struct tunnel_end *end, const char *text)
{
    uint8_t record[256];
    size_t n = strlen(text);

    memcpy(record + SEAL_HEAD_BYTES, text, n);
    assert_int_equal(seal_record(end->seal, SEAL_DATA, record, n), 0);
    put(end->fd, record, n + SEAL_OVERHEAD_BYTES);
}

static void expect_sealed(struct tunnel_end *end, const char *text)
{
    struct seal_opened o = {.n_record = strlen(text) + SEAL_OVERHEAD_BYTES};
    uint8_t record[256];
    size_t at = 0;

    while (at < o.n_record) {
        struct pollfd p = {.fd = end->fd, .events = POLLIN};
        ssize_t n;

        assert_int_equal(poll(&p, 1, LIMIT_MS), 1);
        n = recv(end->fd, record + at, o.n_record - at, 0);
        assert_true(n > 0);
        at += (size_t)n;
    }
    assert_int_equal(seal_open(end->open, record, at, &o), 0);
    assert_memory_equal(o.data, text, strlen(text));
}

static void test_a_gateway_reaches_the_coordinator_alone(void **state)
{
    struct world *w = *state;
    struct tunnel_claim rank_0 = to_rank, rank_1 = to_rank;
    struct call c = call(w, &w->gateway, &w->head, &to_coordinator);
    int coordinator = take(w->coordinator);
    struct pollfd others[2] = {{.fd = w->worker[0], .events = POLLIN}, {.fd = w->worker[1], .events = POLLIN}};

    assert_int_equal(c.r, 0);
    say_sealed(&c.end, "GET /health");
    expect(coordinator, "GET /health", 11);
    put(coordinator, "200 OK", 6);
    expect_sealed(&c.end, "200 OK");
    tunnel_end_clear(&c.end);
    assert_int_equal(next_end(coordinator), ECONNRESET);
    close(coordinator);
    rank_0.rank = 0;
    c = call(w, &w->gateway, &w->head, &rank_0);
    assert_int_equal(c.verdict, TUNNEL_OTHER_DIRECTION);
    c = call(w, &w->gateway, &w->head, &rank_1);
    assert_int_equal(c.verdict, TUNNEL_OTHER_DIRECTION);
    c = call(w, &w->gateway, &w->node, &to_coordinator);
    assert_int_equal(c.verdict, TUNNEL_NO_GRANT);
    c = call(w, &w->node.own, &w->head, &to_coordinator); /* who has a worker has no business there */
    assert_int_equal(c.verdict, TUNNEL_NO_GRANT);
    assert_int_equal(poll(others, 2, 0), 0);
}

static void test_busy(void **state)
{
    enum { MAX = 64 };
    struct world *w = *state;
    struct call c[MAX + 1];
    int worker;

    for (int i = 0; i < MAX; i++) {
        c[i] = call(w, &w->head.own, &w->node, &to_rank);
        assert_int_equal(c[i].r, 0);
        close(take(w->worker[1]));
    }
    for (int i = 0; i < MAX; i++) /* the worker has ended them, which they have not heard of */
        assert_int_equal(call(w, &w->head.own, &w->node, &to_rank).verdict, TUNNEL_BUSY);
    tunnel_end_clear(&c[7].end);
    do /* until that has arrived */
        c[7] = call(w, &w->head.own, &w->node, &to_rank);
    while (c[7].r == -EACCES && c[7].verdict == TUNNEL_BUSY);
    assert_int_equal(c[7].r, 0);
    worker = take(w->worker[1]);
    say_sealed(&c[7].end, "x");
    expect(worker, "x", 1);
    close(worker);
    for (int i = 0; i < MAX; i++)
        tunnel_end_clear(&c[i].end);
}

/* Nothing but a stranger's bytes, and bytes that were changed on the way. */
static bool has_bad(const struct figures *f, const void *arg)
{
    (void)arg;
    return f->n_bad_handshakes == 1 && f->n_forged == 1 && f->n_cut == 1;
}

static void test_forged(void **state)
{
    struct world *w = *state;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(w->node.conf.port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), worker;
    struct call c;

    inet_pton(AF_INET, w->node.conf.addr, &at.sin_addr);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    put(fd, "GET / HTTP/1.1\r\n\r\n", 18);
    assert_int_equal(next_end(fd), ECONNRESET);
    close(fd);
    c = call(w, &w->head.own, &w->node, &to_rank);
    worker = take(w->worker[1]);
    say_sealed(&c.end, "good");
    expect(worker, "good", 4);
    put(c.end.fd, "\0\0\0\4bad!................", 4 + 4 + 16);
    assert_int_equal(next_end(worker), ECONNRESET);
    close(worker);
    tunnel_end_clear(&c.end);
    c = call(w, &w->head.own, &w->node, &to_rank);
    worker = take(w->worker[1]);
    shutdown(c.end.fd, SHUT_WR); /* as anybody on the way could */
    assert_int_equal(next_end(worker), ECONNRESET);
    close(worker);
    tunnel_end_clear(&c.end);
    look_until(&w->node, has_bad, NULL);
}

/* ---- what it tells ------------------------------------------------------------------------------------------------ */

static const uint8_t hello[9 + 24] = {14, 24}, hello_answer[8 + 28] = {28, [8] = 8};
static const uint8_t get_tensor[9 + 312] = {8, 56, 1}, set_tensor[9 + 305 + 1000] = {6, 25, 5};
static const uint8_t recompute[9 + 4] = {16, 4};

static bool waits_for_tensor(const struct figures *f, const void *arg)
{
    const struct rank_flow *flow = flow_of_rank(f, *(const uint32_t *)arg);

    return !strcmp(flow->oldest, "GET_TENSOR") && flow->oldest_ms >= 500;
}

static bool has_answer(const struct figures *f, const void *arg)
{
    const struct rank_flow *flow = flow_of_rank(f, *(const uint32_t *)arg);

    return flow->n_answers == 2 && flow->n_round_trips == 2 && !*flow->oldest;
}

/* What both ends say of a stream that is understood, or for a rank here the only one. */
static void check_flow(const struct node *n, uint32_t rank, bool at_worker)
{
    struct figures f = look_until(n, waits_for_tensor, &rank);
    const struct rank_flow *flow = flow_of_rank(&f, rank);

    assert_int_equal(flow->at_worker, at_worker);
    assert_memory_equal(&flow->instance, &the_instance, sizeof(the_instance));
    assert_int_equal(flow->epoch, 4);
    assert_int_equal(flow->n_streams, 1);
    assert_int_equal(flow->request_bytes, sizeof(hello) + sizeof(set_tensor) + sizeof(recompute) + sizeof(get_tensor));
    assert_int_equal(flow->answer_bytes, sizeof(hello_answer));
    assert_int_equal(flow->n_requests, 4);
    assert_int_equal(flow->n_answers, 1);
    assert_int_equal(flow->n_round_trips, 1);
    assert_int_equal(flow->tensor_bytes, 1000);
    assert_int_equal(flow->n_graphs, 1);
    assert_int_equal(flow->graph_ms, 0);
    assert_int_equal(flow->held_bytes, 0);
    assert_string_equal(flow->blind, "");
    assert_int_equal(f.n_dialled, at_worker || !rank ? f.n_dialled : 1);
}

static void test_what_it_tells_of_a_rank(void **state)
{
    static const uint8_t answer[8 + 64] = {64};
    struct world *w = *state;

    for (uint32_t rank = 0; rank < 2; rank++) {
        int near = dial(port_of(&w->head, (int32_t)rank)), worker = take(w->worker[rank]);

        put(near, hello, sizeof(hello));
        expect(worker, hello, sizeof(hello));
        put(worker, hello_answer, sizeof(hello_answer));
        expect(near, hello_answer, sizeof(hello_answer));
        put(near, set_tensor, sizeof(set_tensor));
        put(near, recompute, sizeof(recompute));
        put(near, get_tensor, sizeof(get_tensor)); /* and the worker never answers */
        check_flow(&w->head, rank, rank == 0);
        if (rank)
            check_flow(&w->node, rank, true);
        put(worker, answer, sizeof(answer)); /* but it does */
        expect(near, answer, sizeof(answer));
        look_until(&w->head, has_answer, &rank);
        close(near);
        assert_int_equal(next_end(worker), 0);
        close(worker);
    }
}

static bool is_blind(const struct figures *f, const void *arg)
{
    return !strcmp(flow_of_rank(f, 1)->blind, arg);
}

static bool has_ended(const struct figures *f, const void *arg)
{
    const struct rank_flow *flow = flow_of_rank(f, 1);

    return flow->n_streams == 0 && flow->request_bytes == *(const uint64_t *)arg;
}

/* It is carried all the same, and says so as long as it is there; what it has carried stays in the sums. */
static void test_what_is_not_understood(void **state)
{
    static const char nonsense[] = "GET / HTTP/1.1\r\n\r\n";
    static const uint64_t n_bytes = 2 * sizeof(nonsense);
    struct world *w = *state;

    for (int i = 0; i < 2; i++) {
        int near = dial(port_of(&w->head, 1)), worker = take(w->worker[1]);

        put(near, nonsense, sizeof(nonsense));
        expect(worker, nonsense, sizeof(nonsense));
        put(worker, nonsense, sizeof(nonsense));
        expect(near, nonsense, sizeof(nonsense));
        look_until(&w->head, is_blind, "no_hello");
        look_until(&w->node, is_blind, "no_hello");
        close(near);
        assert_int_equal(next_end(worker), 0);
        close(worker);
        look_until(&w->head, is_blind, "");
    }
    look_until(&w->head, has_ended, &n_bytes);
    look_until(&w->node, has_ended, &n_bytes);
}

/* A worker that takes nothing: what is for it is held, and for how long. */
static bool is_held(const struct figures *f, const void *arg)
{
    const struct rank_flow *flow = flow_of_rank(f, 1);

    (void)arg;
    return flow->held_bytes > 0 && flow->held_ms >= 500;
}

static void test_what_is_held(void **state)
{
    static uint8_t much[65536];
    struct world *w = *state;
    int near = dial(port_of(&w->head, 1)), worker = take(w->worker[1]);
    size_t n = 0;

    for (;;) { /* until nothing more goes in anywhere */
        struct pollfd p = {.fd = near, .events = POLLOUT};

        if (poll(&p, 1, 1000) == 0)
            break;
        assert_true(send(near, much, sizeof(much), MSG_DONTWAIT | MSG_NOSIGNAL) > 0);
        n++;
    }
    look_until(&w->node, is_held, NULL);
    assert_true(n > 0);
    reset(near);
    close(worker);
}

static bool rests(const struct figures *f, const void *arg)
{
    (void)arg;
    return f->due_ms == 0;
}

static void wait_until_late(const struct node *n)
{
    struct figures f;

    for (int i = 0; i < LIMIT_MS / 10; i++) {
        if (figures_read(n->figures, clock_now_ms(), &f) == FIGURES_E_LATE)
            return;
        usleep(10000);
    }
    fail_msg("it is never late");
}

static bool has_a_stream(const struct figures *f, const void *arg)
{
    (void)arg;
    return flow_of_rank(f, 1)->n_streams == 1;
}

/* One in which nothing moves says nothing more, and owes nothing; one that was stopped while something waited is late. */
static void test_what_it_owes(void **state)
{
    struct world *w = *state;
    uint32_t rank = 1;
    int near, worker;

    look_until(&w->head, rests, NULL);
    near = dial(port_of(&w->head, 1));
    worker = take(w->worker[1]);
    look_until(&w->head, has_a_stream, NULL);
    look_until(&w->head, rests, NULL);
    put(near, hello, sizeof(hello));
    expect(worker, hello, sizeof(hello));
    put(worker, hello_answer, sizeof(hello_answer));
    expect(near, hello_answer, sizeof(hello_answer));
    put(near, get_tensor, sizeof(get_tensor));
    look_until(&w->head, waits_for_tensor, &rank);
    assert_int_equal(kill(w->head.pid, SIGSTOP), 0);
    wait_until_late(&w->head);
    assert_int_equal(kill(w->head.pid, SIGCONT), 0);
    close(near);
    close(worker);
    look_until(&w->head, rests, NULL);
}

static bool has_refused_and_missed(const struct figures *f, const void *arg)
{
    (void)arg;
    return f->n_unreached == 1 && f->n_strangers == (geteuid() == 0 ? 2 : 0);
}

/* ---- what it is asked --------------------------------------------------------------------------------------------- */

static void test_hello(void **state)
{
    struct world *w = *state;
    const struct control_answer *a = &w->head.hello;
    char endpoint[PROTO_ADDR_MAX + 8];

    assert_int_equal(a->version, CONTROL_VERSION);
    assert_int_equal(a->n_routes, 2);
    assert_int_equal(a->route[0].rank, 0);
    assert_int_equal(a->route[1].rank, 1);
    snprintf(endpoint, sizeof(endpoint), "127.0.0.1:%u", w->port[0]);
    assert_string_equal(a->route[0].endpoint, endpoint);
    snprintf(endpoint, sizeof(endpoint), "%s:%u", w->node.conf.addr, w->node.conf.port);
    assert_string_equal(a->route[1].endpoint, endpoint);
    assert_int_equal(w->node.hello.n_routes, 0);
}

static void test_odd_questions(void **state)
{
    static const char long_one[CONTROL_PACKET_MAX + 1] = "hello\n";
    struct world *w = *state;
    struct control_answer a;
    char buf[CONTROL_PACKET_MAX];
    int fd = control_connect(&w->head), more[16];
    ssize_t n;

    for (int i = 0; i < 3; i++) { /* on one connection */
        const char *said = i == 0 ? "what\n" : i == 1 ? long_one : "hello\n";

        put(fd, said, i == 1 ? sizeof(long_one) : strlen(said));
        n = recv(fd, buf, sizeof(buf), 0);
        assert_true(n > 0);
        assert_int_equal(control_answer_parse(buf, (size_t)n, &a), 0);
        assert_int_equal(a.ok, i == 2);
        assert_int_equal(!*a.text, i == 2);
    }
    for (int i = 0; i < 16; i++) { /* who says nothing makes room for who does */
        more[i] = control_connect(&w->head);
        assert_true(more[i] >= 0);
    }
    ask(&w->head, &(struct control_question){.kind = CONTROL_HELLO}, &a);
    assert_true(a.ok);
    assert_int_equal(next_end(fd), 0);
    close(fd);
    for (int i = 0; i < 16; i++)
        close(more[i]);
}

static void try_as_another_user(const struct node *n)
{
    struct pollfd p;
    char buf[16];

    if (setgid(65534) < 0 || setuid(65534) < 0)
        _exit(3);
    p = (struct pollfd){.fd = control_connect(n), .events = POLLIN};
    if (p.fd < 0)
        _exit(4);
    send(p.fd, "hello\n", 6, MSG_NOSIGNAL);
    if (poll(&p, 1, LIMIT_MS) != 1)
        _exit(5);
    _exit(recv(p.fd, buf, sizeof(buf), 0) > 0 ? 6 : 0);
}

/* The socket's place keeps others out already; and where that was opened, they are hung up on. */
static void test_another_user(void **state)
{
    struct world *w = *state;
    struct control_answer a;
    struct stat st;
    char path[128];
    int status;
    pid_t pid;

    assert_int_equal(stat(path_in(&w->head, "control", path), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(stat(path_in(&w->head, "figures", path), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    if (geteuid() != 0)
        skip();
    chmod(w->head.dir, 0755);
    chmod(path_in(&w->head, "control", path), 0777);
    pid = fork();
    if (pid == 0)
        try_as_another_user(&w->head);
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    ask(&w->head, &(struct control_question){.kind = CONTROL_HELLO}, &a); /* the control */
    assert_true(a.ok);
}

/* A port on 127.0.0.1 is anybody's to dial; but a rank elsewhere is not. */
static void dial_as_another_user(uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd;

    if (setgid(65534) < 0 || setuid(65534) < 0)
        _exit(3);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
        _exit(4);
    _exit(next_end(fd) == ECONNRESET ? 0 : 5);
}

static bool has_one_flow(const struct figures *f, const void *arg)
{
    (void)arg;
    return flow_of_rank(f, 0)->n_streams == 1 && flow_of_rank(f, 1)->n_streams == 1;
}

static void test_another_user_at_a_route(void **state)
{
    struct world *w = *state;
    int near[2], worker[2], status;

    if (geteuid() != 0)
        skip();
    for (int rank = 0; rank < 2; rank++) {
        pid_t pid = fork();

        if (pid == 0)
            dial_as_another_user(port_of(&w->head, rank));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        near[rank] = dial(port_of(&w->head, rank)); /* the control */
        worker[rank] = take(w->worker[rank]);
        put(near[rank], "own", 3);
        expect(worker[rank], "own", 3);
    }
    look_until(&w->head, has_one_flow, NULL);
    close(w->worker[0]); /* a rank that cannot be had is told of, too */
    w->worker[0] = -1;
    close(near[0]);
    near[0] = dial(port_of(&w->head, 0));
    assert_int_equal(next_end(near[0]), ECONNRESET);
    look_until(&w->head, has_refused_and_missed, NULL);
    for (int rank = 0; rank < 2; rank++) {
        close(near[rank]);
        close(worker[rank]);
    }
}

/* ---- how it starts ------------------------------------------------------------------------------------------------ */

static void expect_exit(struct node *n, const char *arg, int status, const char *said)
{
    char buf[4096];

    spawn(n, arg);
    wait_for_word(n, said, buf, sizeof(buf));
    assert_int_equal(reap(n), status << 8);
    close(n->log);
    n->log = -1;
}

static void test_what_it_cannot_start_with(void **state)
{
    struct node n;
    char path[128], *text;
    size_t n_bytes;
    int holder;

    (void)state;
    node_init(&n);
    expect_exit(&n, "--help", 0, "Usage: caravan-carrier");
    expect_exit(&n, "--version", 0, "caravan-carrier ");
    expect_exit(&n, NULL, 2, "Usage: caravan-carrier");
    expect_exit(&n, "--no-such", 2, "Usage: caravan-carrier");
    expect_exit(&n, "/nowhere", 2, "No such file");
    expect_exit(&n, n.dir, 2, "conf cannot be read");
    write_conf_text(&n, "version=1\ninstance=x\n", 21);
    expect_exit(&n, n.dir, 2, "line=2");
    assert_int_equal(carrier_conf_format(&n.conf, &text, &n_bytes), 0);
    write_conf_text(&n, text, n_bytes - 1);
    expect_exit(&n, n.dir, 2, "line=5");
    write_conf_text(&n, text, n_bytes);
    free(text);
    holder = listen_on(n.conf.addr, n.conf.port, NULL);
    expect_exit(&n, n.dir, 1, "msg=carrier.listen");
    close(holder);
    chmod(path_in(&n, "identity", path), 0644);
    expect_exit(&n, n.dir, 1, "msg=identity.bad");
    unlink(path);
    expect_exit(&n, n.dir, 1, "No such file"); /* none is made */
    assert_int_equal(access(path, F_OK), -1);
    node_stop(&n);
}

#define IN_A_WORLD(test) cmocka_unit_test_setup_teardown(test, make_world, end_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_A_WORLD(test_who_may_reach_a_worker),
        IN_A_WORLD(test_a_gateway_reaches_the_coordinator_alone),
        IN_A_WORLD(test_busy),
        IN_A_WORLD(test_forged),
        IN_A_WORLD(test_what_it_tells_of_a_rank),
        IN_A_WORLD(test_what_is_not_understood),
        IN_A_WORLD(test_what_is_held),
        IN_A_WORLD(test_what_it_owes),
        IN_A_WORLD(test_hello),
        IN_A_WORLD(test_odd_questions),
        IN_A_WORLD(test_another_user),
        IN_A_WORLD(test_another_user_at_a_route),
        cmocka_unit_test(test_what_it_cannot_start_with),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
