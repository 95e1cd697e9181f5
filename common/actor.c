#include "common/actor.h"

#include <assert.h>
#include <czmq.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/zmq_watch.h"

/* The end goes: owner STOP, actor END, then czmq's own "$TERM" and signal. czmq's alone would not do: it throws away what
 * is still in the pipe, and our objects would leak. */
enum parcel_kind { PARCEL_OBJECT = 1, PARCEL_STOP, PARCEL_END };

struct parcel {
    void *object;
    enum parcel_kind kind;
};

/* One direction. The counter is the high water mark, and its release and acquire are what hands memory from one thread to
 * the other in terms of the language: an object's, and with END all that the actor has touched. ZeroMQ's own barriers are
 * out of the compiler's sight. */
struct lane {
    atomic_size_t n_waiting;
    actor_drop *drop;
};

struct actor_pipe {
    void *socket;
    struct lane *in;
    struct lane *out;
    struct zmq_watch *watch; /* attached to a libevent loop; else NULL */
    actor_receive *receive;
    void *ctx;
    void (*stop)(void *ctx);
    bool stopped; /* STOP was taken */
};

struct actor {
    struct lane to_actor;
    struct lane to_owner;
    struct actor_pipe pipe; /* the owner's end */
    zactor_t *zactor;
    /* For the thread, set before it runs. */
    actor_main *main;
    void *arg;
};

/* ---- parcels ---------------------------------------------------------------------------------------------------- */

static int lane_send(struct lane *lane, void *socket, void *object)
{
    struct parcel parcel = {.object = object, .kind = PARCEL_OBJECT};
    int r = 0;

    if (atomic_fetch_add_explicit(&lane->n_waiting, 1, memory_order_release) >= ACTOR_QUEUE_MAX)
        r = -ENOBUFS;
    else if (zmq_send(socket, &parcel, sizeof(parcel), ZMQ_DONTWAIT) < 0)
        r = -errno;
    if (!r)
        return 0;
    atomic_fetch_sub_explicit(&lane->n_waiting, 1, memory_order_relaxed);
    lane->drop(object);
    return err_raise(r);
}

/* Control words are counted, but never over the mark, and the ZeroMQ pipe has no limit: they always fit. */
static void send_word(struct lane *lane, void *socket, enum parcel_kind kind)
{
    struct parcel parcel = {.kind = kind};

    atomic_fetch_add_explicit(&lane->n_waiting, 1, memory_order_release);
    while (zmq_send(socket, &parcel, sizeof(parcel), 0) < 0 && errno == EINTR)
        ;
}

/* Takes the next parcel of ours, skipping czmq's own words. false: nothing there, or the other end is gone. */
static bool take(struct actor_pipe *p, int flags, struct parcel *ret)
{
    for (;;) {
        int n = zmq_recv(p->socket, ret, sizeof(*ret), flags);

        if (n == (int)sizeof(*ret))
            break;
        if (n < 0 && errno != EINTR)
            return false;
    }
    atomic_fetch_sub_explicit(&p->in->n_waiting, 1, memory_order_acquire);
    return true;
}

/* Blocks, dropping objects, until that word comes. */
static void drop_until(struct actor_pipe *p, enum parcel_kind word)
{
    struct parcel parcel;

    while (take(p, 0, &parcel) && parcel.kind != word)
        if (parcel.kind == PARCEL_OBJECT)
            p->in->drop(parcel.object);
}

static bool read_one(void *ctx)
{
    struct actor_pipe *p = ctx;
    struct parcel parcel;

    if (!take(p, ZMQ_DONTWAIT, &parcel))
        return false;
    switch (parcel.kind) {
    case PARCEL_OBJECT:
        p->receive(p->ctx, parcel.object); /* p may be gone */
        break;
    case PARCEL_STOP:
        p->stopped = true;
        zmq_watch_destroy(&p->watch);
        p->stop(p->ctx);
        break;
    case PARCEL_END:
        break;
    }
    return true;
}

/* ---- the owner's side ------------------------------------------------------------------------------------------- */

static void thread_main(zsock_t *zsock, void *arg)
{
    struct actor *a = arg;
    struct actor_pipe pipe = {.socket = zsock_resolve(zsock), .in = &a->to_actor, .out = &a->to_owner};
    char word[8];

    zsock_signal(zsock, 0); /* zactor_new waits for it */
    a->main(&pipe, a->arg);
    actor_pipe_detach(&pipe);
    if (!pipe.stopped)
        drop_until(&pipe, PARCEL_STOP);
    send_word(pipe.out, pipe.socket, PARCEL_END);
    while (zmq_recv(pipe.socket, word, sizeof(word), 0) < 0 && errno == EINTR) /* "$TERM" */
        ;
}

/* Signals are the main thread's: the thread is born with all of them blocked but those that a fault of its own raises. */
static zactor_t *start_thread(struct actor *a)
{
    static const int own_faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigset_t block, before;
    zactor_t *zactor;

    sigfillset(&block);
    for (size_t i = 0; i < sizeof(own_faults) / sizeof(own_faults[0]); i++)
        sigdelset(&block, own_faults[i]);
    pthread_sigmask(SIG_SETMASK, &block, &before);
    zactor = zactor_new(thread_main, a);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return zactor;
}

int actor_new(struct event_base *base, actor_main *main, void *arg, actor_receive *receive, void *ctx,
              actor_drop *drop_to_actor, actor_drop *drop_to_owner, struct actor **ret)
{
    CLEANUP(actor_destroy) struct actor *a = calloc(1, sizeof(*a));
    int r;

    if (!a || !zmq_watch_context())
        return err_raise(-ENOMEM);
    a->to_actor.drop = drop_to_actor;
    a->to_owner.drop = drop_to_owner;
    a->main = main;
    a->arg = arg;
    a->zactor = start_thread(a);
    if (!a->zactor)
        return err_raise(-ENOMEM);
    a->pipe = (struct actor_pipe){
        .socket = zactor_resolve(a->zactor), .in = &a->to_owner, .out = &a->to_actor, .receive = receive, .ctx = ctx};
    r = zmq_watch_new(base, a->pipe.socket, read_one, &a->pipe, &a->pipe.watch);
    if (r < 0)
        return err_pass(r);
    *ret = a;
    a = NULL;
    return 0;
}

void actor_destroy(struct actor **a)
{
    if (!*a)
        return;
    zmq_watch_destroy(&(*a)->pipe.watch);
    if ((*a)->zactor) {
        send_word((*a)->pipe.out, (*a)->pipe.socket, PARCEL_STOP);
        drop_until(&(*a)->pipe, PARCEL_END);
        zactor_destroy(&(*a)->zactor);
    }
    free(*a);
    *a = NULL;
}

int actor_send(struct actor *a, void *object)
{
    int r = lane_send(a->pipe.out, a->pipe.socket, object);

    zmq_watch_sent(a->pipe.watch);
    return r < 0 ? err_pass(r) : 0;
}

/* ---- the actor's side ------------------------------------------------------------------------------------------- */

int actor_pipe_attach(struct actor_pipe *p, struct event_base *base, actor_receive *receive, void *ctx,
                      void (*stop)(void *ctx))
{
    int r;

    assert(!p->watch && !p->stopped);
    p->receive = receive;
    p->ctx = ctx;
    p->stop = stop;
    r = zmq_watch_new(base, p->socket, read_one, p, &p->watch);
    return r < 0 ? err_pass(r) : 0;
}

void actor_pipe_detach(struct actor_pipe *p)
{
    zmq_watch_destroy(&p->watch);
}

int actor_pipe_fd(struct actor_pipe *p)
{
    int fd = -1;
    size_t size = sizeof(fd);

    zmq_getsockopt(p->socket, ZMQ_FD, &fd, &size);
    return fd;
}

_Bool actor_pipe_drain(struct actor_pipe *p, actor_receive *receive, void *ctx)
{
    struct parcel parcel;

    while (!p->stopped && take(p, ZMQ_DONTWAIT, &parcel)) {
        if (parcel.kind == PARCEL_OBJECT)
            receive(ctx, parcel.object);
        else
            p->stopped = true;
    }
    return !p->stopped;
}

int actor_pipe_send(struct actor_pipe *p, void *object)
{
    int r = lane_send(p->out, p->socket, object);

    if (p->watch)
        zmq_watch_sent(p->watch);
    return r < 0 ? err_pass(r) : 0;
}
