/* The door to czmq: a thread with a loop of its own that is spoken to over a pipe (zactor). What must not wait for the
 * control loop, or must not make it wait, is an actor: mDNS, the store's disk, the model inventory, HTTP.
 *
 * A pipe carries pointers: whoever sends one gives the object away. Objects still in the pipe at the end are handed to
 * `drop`. Nothing is shared between threads but immutable, reference-counted snapshots; there is no mutex.
 *
 * Actors are made while a program starts: czmq does not survive a system that has no thread left. Signals are blocked in
 * an actor's thread; a child process started there must unblock them. */
#ifndef CARAVAN_COMMON_ACTOR_H
#define CARAVAN_COMMON_ACTOR_H

struct actor;
struct actor_pipe;
struct event_base;

/* Objects that may wait in a pipe, each way. */
enum { ACTOR_QUEUE_MAX = 1024 };

/* Runs in the new thread. Must call actor_pipe_attach or actor_pipe_fd/_drain, and return soon after `stop` came. */
typedef void actor_main(struct actor_pipe *pipe, void *arg);
/* object: owned by the callee from now on. */
typedef void actor_receive(void *ctx, void *object);
typedef void actor_drop(void *object);

/* Starts the thread. base: the owner's loop, on which receive is called for what the actor sends. arg: the actor's own
 * from now until actor_destroy. drop: for objects in either direction that nobody took. 0 or negative errno. */
int actor_new(struct event_base *base, actor_main *main, void *arg, actor_receive *receive, void *ctx,
              actor_drop *drop_to_actor, actor_drop *drop_to_owner, struct actor **ret);
/* Tells it to stop, waits until main has returned, drops what is in the pipe. What was sent before reaches the actor
 * first. May be called from within receive. */
void actor_destroy(struct actor **a);
/* Owner -> actor. object: consumed in every case. 0 or negative errno (-ENOBUFS at the high water mark). */
int actor_send(struct actor *a, void *object);

/* ---- inside the actor's thread ---- */
/* On a libevent base of the actor: receive for each object, stop when the owner wants the end (nothing comes after). */
int actor_pipe_attach(struct actor_pipe *p, struct event_base *base, actor_receive *receive, void *ctx,
                      void (*stop)(void *ctx));
/* Before the base is freed, where the loop ended without `stop`. Harmless otherwise. */
void actor_pipe_detach(struct actor_pipe *p);
/* For a foreign loop: an fd that becomes readable when actor_pipe_drain has something to do. Call it then, and once
 * after each send: it calls receive for each object; returns false when the owner wants the end. */
int actor_pipe_fd(struct actor_pipe *p);
_Bool actor_pipe_drain(struct actor_pipe *p, actor_receive *receive, void *ctx);
/* Actor -> owner. object: consumed in every case. 0 or negative errno (-ENOBUFS at the high water mark). */
int actor_pipe_send(struct actor_pipe *p, void *object);

#endif
