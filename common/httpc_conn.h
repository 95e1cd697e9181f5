/* Private to httpc*.c: one connection, from its first dial until it is closed. It passes from hand to hand: a request's, a
 * place's while it waits there (common/httpc_place.h), another request's; whoever has it hears of it by its calls. */
#ifndef CARAVAN_COMMON_HTTPC_CONN_H
#define CARAVAN_COMMON_HTTPC_CONN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/httpc.h"

struct addrinfo;
struct event;

/* From the loop. Any but the first two may be the last one; the connection may be closed in each. */
struct httpc_conn_calls {
    void (*opened)(void *ctx);       /* it stands: what is written from now on goes out */
    void (*readable)(void *ctx);     /* there may be more input */
    void (*ended)(void *ctx, int r); /* 0: its other end is through; negative errno: it broke, or never stood */
    void (*timed_out)(void *ctx);    /* it does not stand in time; or what httpc_conn_arm was given is over */
    void *ctx;
};

struct httpc_conn {
    TAILQ_ENTRY(httpc_conn) idle;
    struct httpc_place *place; /* where it waits; of no meaning otherwise */
    struct event_base *base;
    struct httpc_conn_calls calls;
    struct bufferevent *bev; /* NULL: a dialler is at work. Until it stands, this one may give way to another */
    bool stands;
    struct event *timer;
    uint32_t connect_timeout_ms;
    struct addrinfo *addresses;
    struct addrinfo *next_address;     /* to be tried if this one fails */
    const struct httpc_secure *secure; /* NULL: plain */
    char *host;                        /* whom that must prove */
    bool secured;                      /* bev is what it has made */
    struct httpc_dialer dialer;
    void *dialled; /* its handle; NULL: we connect ourselves */
};

/* To where it says, in the way it says; of spec nothing else counts. calls: copied; none comes before this returns. ret:
 * owned. 0, negative errno. */
int httpc_conn_open(struct event_base *base, const struct httpc_spec *spec, const struct httpc_conn_calls *calls,
                    struct httpc_conn **ret);
void httpc_conn_close(struct httpc_conn **c);
/* Anew; 0: never. */
void httpc_conn_arm(struct httpc_conn *c, uint32_t ms);

#endif
