#include "controller/knocking.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "common/core/err.h"
#include "common/knock.h"

struct one {
    LIST_ENTRY(one) link;
    struct knocking *all;
    struct knock *knock;
    struct id128 node;
    uint64_t token;
};

struct knocking {
    struct event_base *base;
    const struct identity *id;
    void (*found)(void *ctx, const struct id128 *node, uint64_t token, enum knock_outcome outcome);
    void *ctx;
    size_t n;
    LIST_HEAD(, one) ones;
};

int knocking_new(struct event_base *base, const struct identity *id,
                 void (*found)(void *ctx, const struct id128 *node, uint64_t token, enum knock_outcome outcome),
                 void *ctx, struct knocking **ret)
{
    struct knocking *k = calloc(1, sizeof(*k));

    if (!k)
        return err_raise(-ENOMEM);
    *k = (struct knocking){.base = base, .id = id, .found = found, .ctx = ctx};
    LIST_INIT(&k->ones);
    *ret = k;
    return 0;
}

static void forget(struct one *o)
{
    LIST_REMOVE(o, link);
    o->all->n--;
    free(o);
}

void knocking_destroy(struct knocking **k)
{
    struct one *o;

    if (!*k)
        return;
    while ((o = LIST_FIRST(&(*k)->ones))) {
        knock_cancel(&o->knock);
        forget(o);
    }
    free(*k);
    *k = NULL;
}

static void on_found(void *ctx, enum knock_outcome outcome)
{
    struct one *o = ctx;
    struct knocking *k = o->all;
    struct id128 node = o->node;
    uint64_t token = o->token;

    forget(o);
    k->found(k->ctx, &node, token, outcome);
}

int knocking_begin(struct knocking *k, const struct id128 *node, uint64_t token, const struct peer_facts *peer)
{
    struct one *o;
    int r;

    if (k->n == KNOCKING_MAX)
        return KNOCKING_E_FULL;
    o = calloc(1, sizeof(*o));
    if (!o)
        return err_raise(-ENOMEM);
    *o = (struct one){.all = k, .node = *node, .token = token};
    r = knock_start(k->base, k->id, peer, on_found, o, &o->knock);
    if (r) {
        free(o);
        return err_fold(r);
    }
    LIST_INSERT_HEAD(&k->ones, o, link);
    k->n++;
    return 0;
}
