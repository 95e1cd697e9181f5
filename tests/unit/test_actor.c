/* Actors: order, the high water mark, and that no object is lost or leaked however the two ends part. Every object is
 * counted when it is made and when it is freed; both counts are equal at the end of each test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "common/actor.h"

static atomic_int n_made, n_freed;

struct item {
    int value;
};

static struct item *item_new(int value)
{
    struct item *item = malloc(sizeof(*item));

    assert_non_null(item);
    item->value = value;
    atomic_fetch_add(&n_made, 1);
    return item;
}

static void item_drop(void *object)
{
    free(object);
    atomic_fetch_add(&n_freed, 1);
}

static void assert_all_freed(void)
{
    assert_int_equal(atomic_load(&n_made), atomic_load(&n_freed));
}

/* ---- the owner ---- */

struct owner {
    struct event_base *base;
    struct actor *actor;
    int n_received, n_wanted, next;
    _Bool destroy_at_once;
};

static void owner_receive(void *ctx, void *object)
{
    struct owner *o = ctx;
    struct item *item = object;

    assert_int_equal(item->value, o->next++);
    item_drop(item);
    if (o->destroy_at_once)
        actor_destroy(&o->actor);
    if (++o->n_received == o->n_wanted)
        event_base_loopbreak(o->base);
}

static void owner_start(struct owner *o, actor_main *main, void *arg)
{
    o->base = event_base_new();
    assert_non_null(o->base);
    assert_int_equal(actor_new(o->base, main, arg, owner_receive, o, item_drop, item_drop, &o->actor), 0);
}

static void owner_end(struct owner *o)
{
    actor_destroy(&o->actor);
    assert_null(o->actor);
    event_base_free(o->base);
    assert_all_freed();
}

/* ---- actors ---- */

struct echo {
    struct actor_pipe *pipe;
    struct event_base *base;
    int n_received;
    int n_after_stop;
    _Bool stopped;
};

static void echo_receive(void *ctx, void *object)
{
    struct echo *e = ctx;

    e->n_received++;
    e->n_after_stop += e->stopped;
    actor_pipe_send(e->pipe, object);
}

static void echo_stop(void *ctx)
{
    struct echo *e = ctx;

    e->stopped = 1;
    event_base_loopbreak(e->base);
}

static void echo_main(struct actor_pipe *pipe, void *arg)
{
    struct echo *e = arg;

    e->pipe = pipe;
    e->base = event_base_new();
    if (e->base && actor_pipe_attach(pipe, e->base, echo_receive, e, echo_stop) == 0)
        event_base_loop(e->base, EVLOOP_NO_EXIT_ON_EMPTY);
    event_base_free(e->base);
}

static void foreign_main(struct actor_pipe *pipe, void *arg)
{
    struct echo *e = arg;
    struct pollfd fd = {.fd = actor_pipe_fd(pipe), .events = POLLIN};

    e->pipe = pipe;
    while (actor_pipe_drain(pipe, echo_receive, e))
        poll(&fd, 1, -1);
    e->stopped = 1;
}

static void quitter_main(struct actor_pipe *pipe, void *arg)
{
    (void)pipe;
    (void)arg;
}

/* Leaves its loop without having been told to, with the pipe still attached. */
static void deserter_receive(void *ctx, void *object)
{
    item_drop(object);
    event_base_loopbreak(((struct echo *)ctx)->base);
}

static void deserter_main(struct actor_pipe *pipe, void *arg)
{
    struct echo *e = arg;

    e->base = event_base_new();
    if (e->base && actor_pipe_attach(pipe, e->base, deserter_receive, e, echo_stop) == 0)
        event_base_dispatch(e->base);
    actor_pipe_detach(pipe);
    event_base_free(e->base);
}

struct gate {
    sem_t open, passed;
    int r_last;
    int n_sent;
};

/* Does not look at its pipe until the gate opens; then sends one more than fits. */
static void gate_main(struct actor_pipe *pipe, void *arg)
{
    struct gate *g = arg;

    while (sem_wait(&g->open) < 0)
        ;
    for (int i = 0; i < g->n_sent; i++)
        g->r_last = actor_pipe_send(pipe, item_new(i));
    sem_post(&g->passed);
}

static void gate_init(struct gate *g)
{
    assert_int_equal(sem_init(&g->open, 0, 0), 0);
    assert_int_equal(sem_init(&g->passed, 0, 0), 0);
}

static void gate_let_pass(struct gate *g)
{
    sem_post(&g->open);
    while (sem_wait(&g->passed) < 0)
        ;
}

/* ---- tests ---- */

static void echo_many(actor_main *main)
{
    enum { N = 5000, IN_FLIGHT = 500 };
    struct echo echo = {0};
    struct owner o = {0};

    owner_start(&o, main, &echo);
    for (int sent = 0; sent < N;) {
        for (int i = 0; i < IN_FLIGHT; i++)
            assert_int_equal(actor_send(o.actor, item_new(sent++)), 0);
        o.n_wanted = sent;
        event_base_loop(o.base, EVLOOP_NO_EXIT_ON_EMPTY);
        assert_int_equal(o.n_received, sent);
    }
    owner_end(&o);
    assert_true(echo.stopped);
    assert_int_equal(echo.n_received, N);
}

static void test_echo_on_libevent(void **state)
{
    (void)state;
    echo_many(echo_main);
}

static void test_echo_on_foreign_loop(void **state)
{
    (void)state;
    echo_many(foreign_main);
}

static void test_what_was_sent_arrives_before_the_stop(void **state)
{
    actor_main *const mains[] = {echo_main, foreign_main};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct echo echo = {0};
        struct owner o = {0};

        owner_start(&o, mains[i], &echo);
        for (int n = 0; n < 300; n++)
            assert_int_equal(actor_send(o.actor, item_new(n)), 0);
        owner_end(&o); /* 300 answers were never looked at: dropped */
        assert_int_equal(echo.n_received, 300);
        assert_int_equal(echo.n_after_stop, 0);
    }
}

static void test_actor_that_ends_by_itself(void **state)
{
    struct echo echo = {0};
    struct owner o = {0};

    (void)state;
    owner_start(&o, quitter_main, NULL);
    for (int i = 0; i < 10; i++)
        assert_int_equal(actor_send(o.actor, item_new(i)), 0);
    owner_end(&o);

    owner_start(&o, deserter_main, &echo);
    for (int i = 0; i < 10; i++)
        assert_int_equal(actor_send(o.actor, item_new(i)), 0);
    owner_end(&o);
}

static void test_destroy_from_within_receive(void **state)
{
    struct echo echo = {0};
    struct owner o = {.destroy_at_once = 1, .n_wanted = 1};

    (void)state;
    owner_start(&o, echo_main, &echo);
    for (int i = 0; i < 50; i++)
        assert_int_equal(actor_send(o.actor, item_new(i)), 0);
    event_base_loop(o.base, EVLOOP_NO_EXIT_ON_EMPTY);
    assert_null(o.actor);
    assert_int_equal(o.n_received, 1);
    owner_end(&o);
}

static void test_high_water_mark_both_ways(void **state)
{
    struct gate gate = {.n_sent = ACTOR_QUEUE_MAX + 1};
    struct owner o = {0};

    (void)state;
    gate_init(&gate);
    owner_start(&o, gate_main, &gate);
    for (int i = 0; i < ACTOR_QUEUE_MAX; i++)
        assert_int_equal(actor_send(o.actor, item_new(i)), 0);
    assert_int_equal(actor_send(o.actor, item_new(0)), -ENOBUFS);
    sem_post(&gate.open);
    o.n_wanted = ACTOR_QUEUE_MAX;
    event_base_loop(o.base, EVLOOP_NO_EXIT_ON_EMPTY);
    owner_end(&o); /* the stop fits in spite of the full pipe */
}

static void test_high_water_mark_refuses_the_actor(void **state)
{
    struct gate gate = {.n_sent = ACTOR_QUEUE_MAX + 1};
    struct owner o = {0};

    (void)state;
    gate_init(&gate);
    owner_start(&o, gate_main, &gate);
    gate_let_pass(&gate); /* nobody reads while it sends */
    assert_int_equal(gate.r_last, -ENOBUFS);
    owner_end(&o);
}

static void test_owner_is_served_beside_a_flood(void **state)
{
    struct gate gate = {.n_sent = 1000};
    struct owner o = {0};

    (void)state;
    gate_init(&gate);
    owner_start(&o, gate_main, &gate);
    gate_let_pass(&gate);
    while (o.n_received < 1000) { /* each turn of the loop takes a part only */
        int before = o.n_received;

        event_base_loop(o.base, EVLOOP_ONCE);
        assert_true(o.n_received - before <= 128);
    }
    owner_end(&o);
}

static void mask_main(struct actor_pipe *pipe, void *arg)
{
    sigset_t *set = arg;

    (void)pipe;
    pthread_sigmask(SIG_SETMASK, NULL, set);
}

static void test_signals_stay_with_the_main_thread(void **state)
{
    struct owner o = {0};
    sigset_t in_actor, here;
    struct sigaction sa;

    (void)state;
    sigemptyset(&in_actor);
    owner_start(&o, mask_main, &in_actor);
    owner_end(&o);
    assert_int_equal(sigismember(&in_actor, SIGTERM), 1);
    assert_int_equal(sigismember(&in_actor, SIGCHLD), 1);
    assert_int_equal(sigismember(&in_actor, SIGSEGV), 0);
    pthread_sigmask(SIG_SETMASK, NULL, &here);
    assert_int_equal(sigismember(&here, SIGTERM), 0);
    /* czmq took no handler either */
    assert_int_equal(sigaction(SIGTERM, NULL, &sa), 0);
    assert_true(sa.sa_handler == SIG_DFL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo_on_libevent),
        cmocka_unit_test(test_echo_on_foreign_loop),
        cmocka_unit_test(test_what_was_sent_arrives_before_the_stop),
        cmocka_unit_test(test_actor_that_ends_by_itself),
        cmocka_unit_test(test_destroy_from_within_receive),
        cmocka_unit_test(test_high_water_mark_both_ways),
        cmocka_unit_test(test_high_water_mark_refuses_the_actor),
        cmocka_unit_test(test_owner_is_served_beside_a_flood),
        cmocka_unit_test(test_signals_stay_with_the_main_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
