/* What passes between a llama-server and its workers through two carriers: all of it, in its order, with its ends, to whom it
 * is for; and what becomes of it where somebody dies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/random.h"
#include "tests/unit/carrier_harness.h"

/* Rank 0 is on the coordinator's own node, ranks 1 and 2 on nodes of their own. */
enum { N_WORKERS = 3 };
struct world {
    struct node head, node[N_WORKERS]; /* node[0] is not used */
    int worker[N_WORKERS];             /* listen */
    uint16_t port[N_WORKERS];
};

static void add_route(struct world *w, int32_t rank)
{
    struct conf_route *r = &w->head.conf.route[w->head.conf.n_routes++];
    const struct node *to = &w->node[rank];

    *r = (struct conf_route){.rank = rank, .tunnel = rank > 0, .port = rank ? to->conf.port : w->port[0]};
    strcpy(r->addr, rank ? to->conf.addr : "127.0.0.1");
    memcpy(r->peer, to->own.public_key, sizeof(r->peer));
}

static int make_world(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    *state = w;
    node_init(&w->head);
    for (int32_t i = 0; i < N_WORKERS; i++) {
        w->worker[i] = listen_on("127.0.0.1", 0, &w->port[i]);
        if (i) {
            node_init(&w->node[i]);
            w->node[i].conf.rank = i;
            w->node[i].conf.worker_port = w->port[i];
            memcpy(w->node[i].conf.peer, w->head.own.public_key, 32);
            node_start(&w->node[i]);
        }
        add_route(w, i);
    }
    node_start(&w->head);
    return 0;
}

static int end_world(void **state)
{
    struct world *w = *state;

    node_stop(&w->head);
    for (int i = 0; i < N_WORKERS; i++) {
        close(w->worker[i]);
        if (i)
            node_stop(&w->node[i]);
    }
    free(w);
    return 0;
}

/* A stream of a rank: llama-server's end and the worker's. */
static void open_stream(const struct world *w, int32_t rank, int *ret_near, int *ret_worker)
{
    *ret_near = dial(port_of(&w->head, rank));
    *ret_worker = take(w->worker[rank]);
}

/* ---- bytes -------------------------------------------------------------------------------------------------------- */

struct sender {
    int fd;
    uint64_t seed, sizes;
    size_t n_left;
    uint8_t piece[30000];
    size_t at, n;
};

struct taker {
    int fd;
    uint64_t seed;
    size_t n_left, odd; /* of a word */
    uint64_t word;
};

static void send_some(struct sender *s)
{
    ssize_t n;

    if (s->at == s->n) {
        s->at = 0;
        s->n = (size_t)random_in(&s->sizes, 1, sizeof(s->piece) / 8) * 8;
        s->n = s->n < s->n_left ? s->n : s->n_left;
        for (size_t i = 0; i < s->n; i += 8) {
            uint64_t word = random_next(&s->seed);

            memcpy(s->piece + i, &word, 8);
        }
    }
    n = send(s->fd, s->piece + s->at, s->n - s->at, MSG_DONTWAIT | MSG_NOSIGNAL);
    assert_true(n > 0 || errno == EAGAIN);
    s->at += n > 0 ? (size_t)n : 0;
    s->n_left -= n > 0 ? (size_t)n : 0;
}

static void take_some(struct taker *t)
{
    uint8_t buf[40000];
    ssize_t n = recv(t->fd, buf, sizeof(buf), MSG_DONTWAIT);

    assert_true(n > 0);
    for (ssize_t i = 0; i < n; i++) {
        if (t->odd == 0)
            t->word = random_next(&t->seed);
        assert_int_equal(buf[i], (uint8_t)(t->word >> 8 * t->odd));
        t->odd = (t->odd + 1) % 8;
    }
    t->n_left -= (size_t)n;
}

/* n random bytes each way at once, n a multiple of 8. */
static void exchange(int a, int b, size_t n, uint64_t seed)
{
    struct sender from[2] = {{.fd = a, .seed = seed, .n_left = n}, {.fd = b, .seed = seed + 1, .n_left = n}};
    struct taker to[2] = {{.fd = b, .seed = seed, .n_left = n}, {.fd = a, .seed = seed + 1, .n_left = n}};

    while (from[0].n_left + from[1].n_left + to[0].n_left + to[1].n_left) {
        struct pollfd p[2];

        for (int i = 0; i < 2; i++)
            p[i] = (struct pollfd){.fd = from[i].fd,
                                   .events = (short)((from[i].n_left ? POLLOUT : 0) | (to[!i].n_left ? POLLIN : 0))};
        assert_true(poll(p, 2, LIMIT_MS) > 0);
        for (int i = 0; i < 2; i++) {
            if (p[i].revents & POLLOUT)
                send_some(&from[i]);
            if (p[i].revents & POLLIN)
                take_some(&to[!i]);
        }
    }
}

static void test_bytes_pass_whole(void **state)
{
    struct world *w = *state;
    int near, worker;

    for (int32_t rank = 0; rank < N_WORKERS; rank++) {
        open_stream(w, rank, &near, &worker);
        exchange(near, worker, 10 * 1000 * 1000, (uint64_t)rank);
        close(near);
        assert_int_equal(next_end(worker), 0);
        close(worker);
    }
}

static void test_streams_do_not_cross(void **state)
{
    struct world *w = *state;
    int near[N_WORKERS], worker[N_WORKERS], near_2, worker_2;
    char said[16];

    for (int32_t i = 0; i < N_WORKERS; i++)
        open_stream(w, i, &near[i], &worker[i]);
    open_stream(w, 1, &near_2, &worker_2); /* the same rank once more */
    put(near_2, "to one again", 12);
    for (int i = N_WORKERS; i-- > 0;) {
        snprintf(said, sizeof(said), "to %d", i);
        put(near[i], said, strlen(said));
        snprintf(said, sizeof(said), "of %d", i);
        put(worker[i], said, strlen(said));
    }
    for (int i = 0; i < N_WORKERS; i++) {
        snprintf(said, sizeof(said), "to %d", i);
        expect(worker[i], said, strlen(said));
        snprintf(said, sizeof(said), "of %d", i);
        expect(near[i], said, strlen(said));
        close(near[i]);
        assert_int_equal(next_end(worker[i]), 0); /* and nothing else came */
        close(worker[i]);
    }
    expect(worker_2, "to one again", 12);
    close(near_2);
    assert_int_equal(next_end(worker_2), 0);
    close(worker_2);
}

/* ---- ends --------------------------------------------------------------------------------------------------------- */

/* One direction ends, the other goes on. */
static void test_ends_pass(void **state)
{
    struct world *w = *state;
    int near, worker;

    for (int32_t rank = 0; rank < N_WORKERS; rank++) {
        open_stream(w, rank, &near, &worker);
        put(near, "last", 4);
        shutdown(near, SHUT_WR);
        expect(worker, "last", 4);
        assert_int_equal(next_end(worker), 0);
        put(worker, "and still", 9);
        expect(near, "and still", 9);
        close(worker);
        assert_int_equal(next_end(near), 0);
        close(near);
    }
}

static void test_resets_pass(void **state)
{
    struct world *w = *state;
    int near, worker;

    for (int32_t rank = 0; rank < N_WORKERS; rank++) {
        open_stream(w, rank, &near, &worker);
        put(near, "x", 1);
        expect(worker, "x", 1);
        reset(near);
        assert_int_equal(next_end(worker), ECONNRESET);
        close(worker);
        open_stream(w, rank, &near, &worker);
        put(near, "x", 1);
        expect(worker, "x", 1);
        reset(worker);
        assert_int_equal(next_end(near), ECONNRESET);
        close(near);
    }
}

/* As llama.cpp does: a worker has one place, and the next stream gets it only when the one before has ended there. */
static void test_short_ones_in_a_row(void **state)
{
    struct world *w = *state;
    int near, worker;

    for (int i = 0; i < 20; i++) {
        open_stream(w, 1, &near, &worker);
        put(near, "hello", 5);
        expect(worker, "hello", 5);
        put(worker, "you", 3);
        expect(near, "you", 3);
        close(near);
        assert_int_equal(next_end(worker), 0);
        close(worker);
    }
}

/* What is said before the other side stands is not lost; and where that side does not stand, nothing was taken. */
static void test_said_before_the_worker_takes_it(void **state)
{
    struct world *w = *state;
    int near = dial(port_of(&w->head, 2)), worker;

    put(near, "early", 5);
    shutdown(near, SHUT_WR);
    worker = take(w->worker[2]);
    expect(worker, "early", 5);
    assert_int_equal(next_end(worker), 0);
    close(worker);
    assert_int_equal(next_end(near), 0);
    close(near);
}

static void test_nobody_there(void **state)
{
    struct world *w = *state;
    int near, worker;

    for (int32_t rank = 0; rank < 2; rank++) { /* no worker */
        close(w->worker[rank]);
        near = dial(port_of(&w->head, rank));
        assert_int_equal(next_end(near), ECONNRESET);
        close(near);
        w->worker[rank] = listen_on("127.0.0.1", w->port[rank], NULL);
    }
    kill(w->node[1].pid, SIGTERM); /* no carrier */
    assert_int_equal(reap(&w->node[1]), 0);
    near = dial(port_of(&w->head, 1));
    assert_int_equal(next_end(near), ECONNRESET);
    close(near);
    open_stream(w, 2, &near, &worker); /* of the others, nothing has changed */
    put(near, "x", 1);
    expect(worker, "x", 1);
    close(near);
    close(worker);
}

/* More than a rank may have; as many as it may, all of them work. */
static void test_too_many(void **state)
{
    enum { MAX = 64 };
    struct world *w = *state;
    int near[MAX + 1], worker[MAX + 1];

    for (int i = 0; i < MAX; i++)
        open_stream(w, 1, &near[i], &worker[i]);
    near[MAX] = dial(port_of(&w->head, 1));
    assert_int_equal(next_end(near[MAX]), ECONNRESET);
    close(near[MAX]);
    open_stream(w, 2, &near[MAX], &worker[MAX]); /* another rank has its own */
    for (int i = 0; i < MAX + 1; i++) {
        put(near[i], "x", 1);
        expect(worker[i], "x", 1);
        close(near[i]);
        close(worker[i]);
    }
}

/* ---- deaths ------------------------------------------------------------------------------------------------------- */

/* However a carrier goes, both of its sides know at once, and so do those behind the other carrier. */
static void dies(struct world *w, struct node *n, int signal)
{
    int near, worker, status;

    open_stream(w, 1, &near, &worker);
    put(near, "to", 2);
    expect(worker, "to", 2);
    put(worker, "of", 2);
    expect(near, "of", 2);
    kill(n->pid, signal);
    assert_int_equal(next_end(near), ECONNRESET);
    assert_int_equal(next_end(worker), ECONNRESET);
    close(near);
    close(worker);
    status = reap(n);
    assert_true(signal == SIGKILL ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_the_head_is_killed(void **state)
{
    struct world *w = *state;

    dies(w, &w->head, SIGKILL);
}

static void test_the_head_is_ended(void **state)
{
    struct world *w = *state;

    dies(w, &w->head, SIGTERM);
}

static void test_the_worker_s_is_killed(void **state)
{
    struct world *w = *state;

    dies(w, &w->node[1], SIGKILL);
}

static void test_the_worker_s_is_ended(void **state)
{
    struct world *w = *state;

    dies(w, &w->node[1], SIGTERM);
}

/* Of a rank here, the head is the only one. */
static void test_a_rank_here(void **state)
{
    struct world *w = *state;
    int near, worker;

    open_stream(w, 0, &near, &worker);
    put(near, "to", 2);
    expect(worker, "to", 2);
    kill(w->head.pid, SIGKILL);
    assert_int_equal(next_end(near), ECONNRESET);
    assert_int_equal(next_end(worker), ECONNRESET);
    close(near);
    close(worker);
    reap(&w->head);
}

#define IN_A_WORLD(test) cmocka_unit_test_setup_teardown(test, make_world, end_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_A_WORLD(test_bytes_pass_whole),
        IN_A_WORLD(test_streams_do_not_cross),
        IN_A_WORLD(test_ends_pass),
        IN_A_WORLD(test_resets_pass),
        IN_A_WORLD(test_short_ones_in_a_row),
        IN_A_WORLD(test_said_before_the_worker_takes_it),
        IN_A_WORLD(test_nobody_there),
        IN_A_WORLD(test_too_many),
        IN_A_WORLD(test_the_head_is_killed),
        IN_A_WORLD(test_the_head_is_ended),
        IN_A_WORLD(test_the_worker_s_is_killed),
        IN_A_WORLD(test_the_worker_s_is_ended),
        IN_A_WORLD(test_a_rank_here),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
