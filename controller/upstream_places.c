#include "controller/upstream_places.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/core/err.h"
#include "common/httpc_place.h"
#include "controller/core/view.h"
#include "controller/tunnels.h"
#include "controller/upstream.h"

struct entry {
    LIST_ENTRY(entry) link;
    struct upstream_target target;
    struct tunnels_way way; /* the dialler's */
    struct httpc_place *place;
    char bearer[UPSTREAM_BEARER_MAX];
};

struct upstream_places {
    struct tunnels *tunnels;
    const uint8_t *secret;
    LIST_HEAD(, entry) entries;
};

int upstream_places_new(struct tunnels *tunnels, const uint8_t secret[CRYPTO_KEY_BYTES], struct upstream_places **ret)
{
    struct upstream_places *p = calloc(1, sizeof(*p));

    if (!p)
        return err_raise(-ENOMEM);
    p->tunnels = tunnels;
    p->secret = secret;
    LIST_INIT(&p->entries);
    *ret = p;
    return 0;
}

static void leave(struct entry *e)
{
    LIST_REMOVE(e, link);
    httpc_place_leave(&e->place);
    explicit_bzero(e->bearer, sizeof(e->bearer));
    free(e);
}

void upstream_places_destroy(struct upstream_places **p)
{
    struct entry *e;

    if (!*p)
        return;
    while ((e = LIST_FIRST(&(*p)->entries)))
        leave(e);
    free(*p);
    *p = NULL;
}

static bool is_same(const struct upstream_target *a, const struct upstream_target *b)
{
    return a->epoch == b->epoch && id128_equal(&a->instance, &b->instance) && a->port == b->port &&
           strcmp(a->addr, b->addr) == 0 && strcmp(a->key, b->key) == 0;
}

static int make(struct upstream_places *p, const struct upstream_target *target, struct entry **ret)
{
    struct httpc_dialer dialer = tunnels_dialer;
    struct httpc_spec spec = {.port = target->port, .connect_timeout_ms = UPSTREAM_CONNECT_MS};
    struct entry *e = calloc(1, sizeof(*e));
    int r;

    if (!e)
        return err_raise(-ENOMEM);
    e->target = *target;
    e->way = (struct tunnels_way){.tunnels = p->tunnels, .target = &e->target};
    dialer.ctx = &e->way;
    spec.host = e->target.addr;
    spec.dialer = *target->key ? &dialer : NULL;
    r = httpc_place_new(&spec, &e->place);
    if (r < 0) {
        free(e);
        return err_pass(r);
    }
    upstream_bearer(p->secret, target, e->bearer);
    LIST_INSERT_HEAD(&p->entries, e, link);
    *ret = e;
    return 0;
}

int upstream_places_find(struct upstream_places *p, const struct upstream_target *target, struct httpc_place **ret,
                         const char **ret_bearer)
{
    struct entry *e;
    int r;

    LIST_FOREACH(e, &p->entries, link)
    {
        if (is_same(&e->target, target))
            break;
    }
    r = e ? 0 : make(p, target, &e);
    if (r < 0)
        return err_pass(r);
    *ret = e->place;
    *ret_bearer = e->bearer;
    return 0;
}

static bool lives(const struct view *v, const struct upstream_target *target)
{
    for (size_t i = 0; i < v->n_instances; i++) {
        const struct view_instance *in = &v->instance[i];

        if (id128_equal(&in->id, &target->instance) && in->epoch == target->epoch)
            return in->state == INSTANCE_READY || in->state == INSTANCE_DRAINING;
    }
    return false;
}

void upstream_places_review(struct upstream_places *p, const struct view *v)
{
    struct entry *e, *next;

    for (e = LIST_FIRST(&p->entries); e; e = next) {
        next = LIST_NEXT(e, link);
        if (!lives(v, &e->target))
            leave(e);
    }
}
