#include "controller/core/instances.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"
#include "common/core/fnv.h"
#include "common/core/text.h"
#include "controller/core/effects.h"
#include "controller/core/recovery.h"
#include "controller/core/release.h"

struct instance *instance_find(const struct cluster *c, const struct id128 *id)
{
    for (size_t k = 0; k < c->instances.n; k++) {
        if (id128_equal(&CLUSTER_INSTANCE(c, k)->id, id))
            return CLUSTER_INSTANCE(c, k);
    }
    return NULL;
}

/* How well a state stands for a name that more than one bears while it moves. */
static int standing(enum instance_state state)
{
    switch (state) {
    case INSTANCE_READY:
        return 4;
    case INSTANCE_REQUESTED:
    case INSTANCE_PLACING:
    case INSTANCE_WAITING:
    case INSTANCE_LEASING:
    case INSTANCE_STARTING:
    case INSTANCE_LOADING:
    case INSTANCE_RECOVERING:
        return 3;
    case INSTANCE_DRAINING:
        return 2;
    case INSTANCE_STOPPING:
        return 1;
    case INSTANCE_STOPPED:
    case INSTANCE_FAILED:
        break;
    }
    return 0;
}

struct instance *instance_named(const struct cluster *c, const char *name)
{
    struct instance *found = NULL;

    for (size_t k = 0; k < c->instances.n; k++) {
        struct instance *i = CLUSTER_INSTANCE(c, k);

        if (!strcmp(i->name, name) && (!found || standing(i->state) >= standing(found->state)))
            found = i;
    }
    return found;
}

/* Nobody draws a number here, and no two may ever be the same: from another id, the time of day and what else is new. */
struct id128 instances_new_id(const struct step *s, const struct id128 *from, uint64_t salt)
{
    struct id128 id = *from;

    for (uint64_t n = 0; id128_is_zero(&id) || id128_equal(&id, from) || instance_find(s->c, &id); n++) {
        const uint64_t news[] = {salt, s->wall_ms, n};
        uint64_t hash = fnv1a(FNV1A_BASIS, news, sizeof(news));

        for (size_t b = 0; b < sizeof(id.b); b++) {
            hash = fnv1a(hash, &from->b[b], 1);
            id.b[b] = (uint8_t)(hash >> 32);
        }
    }
    return id;
}

size_t instances_live(const struct cluster *c)
{
    size_t n = 0;

    for (size_t k = 0; k < c->instances.n; k++)
        n += !instance_state_ended(CLUSTER_INSTANCE(c, k)->state);
    return n;
}

bool run_member(const struct run *r, const struct id128 *node, size_t *ret)
{
    for (size_t m = 0; m < r->n_members; m++) {
        if (id128_equal(&r->member[m].node, node)) {
            *ret = m;
            return true;
        }
    }
    return false;
}

bool run_rank_on(const struct run *r, const struct id128 *node, size_t *ret)
{
    size_t member;

    if (!run_member(r, node, &member))
        return false;
    for (*ret = 0; *ret < r->n_ranks; (*ret)++) {
        if (r->rank[*ret].member == member)
            return true;
    }
    return false;
}

bool run_is_remote(const struct run *r, size_t rank)
{
    return r->rank[rank].member != r->rank[0].member;
}

static void run_clear(struct run *r)
{
    *r = (struct run){0};
    r->stall_ms = r->proof_ms = r->warm_ms = r->release_ms = UINT64_MAX;
}

static void add_member(struct run *r, const struct plan_rank *rank)
{
    size_t at, known;

    if (run_member(r, &rank->node, &known))
        return;
    for (at = r->n_members; at && id128_compare(&rank->node, &r->member[at - 1].node) < 0; at--)
        r->member[at] = r->member[at - 1];
    r->member[at] = (struct member){.node = rank->node};
    memcpy(r->member[at].name, rank->node_name, sizeof(r->member[at].name));
    r->n_members++;
}

void run_begin(struct run *r, const struct plan *p)
{
    run_clear(r);
    r->n_ranks = p->n_ranks;
    for (size_t k = 0; k < p->n_ranks; k++)
        add_member(r, &p->rank[k]);
    for (size_t k = 0; k < p->n_ranks; k++)
        run_member(r, &p->rank[k].node, &r->rank[k].member);
}

int instance_add(struct step *s, const struct id128 *id, const char *name, const struct place_request *request,
                 const struct plan *pinned, struct instance **ret)
{
    struct instance *i = calloc(1, sizeof(*i));
    int r;

    if (!i)
        return err_raise(-ENOMEM);
    r = request_copy(request, &i->request);
    if (!r && pinned) {
        i->pinned = plan_copy(pinned);
        r = i->pinned ? 0 : err_raise(-ENOMEM);
    }
    if (r) {
        instance_free(i);
        return err_fold(r);
    }
    i->id = *id;
    text_format(i->name, sizeof(i->name), "%s", name);
    i->state = INSTANCE_REQUESTED;
    i->state_since_wall_ms = s->wall_ms;
    i->settle_ms = i->remove_ms = i->want_ms = UINT64_MAX;
    recovery_clear(&i->recovery);
    run_clear(&i->run);
    s->changed = true;
    r = journal_add(&s->journal, &s->c->instances, s->c->instances.n, i, instance_free);
    if (r)
        return err_fold(r);
    *ret = i;
    return 0;
}

int instance_remove(struct step *s, struct instance *i)
{
    s->changed = true;
    return err_fold(journal_remove(&s->journal, &s->c->instances, i, instance_free));
}

int instances_prune(struct step *s)
{
    size_t n_ended = s->c->instances.n - instances_live(s->c);
    int r;

    for (size_t k = 0; n_ended > CLUSTER_ENDED_MAX && k < s->c->instances.n;) {
        struct instance *i = CLUSTER_INSTANCE(s->c, k);

        if (!instance_state_ended(i->state) || release_owed(s->c, i)) {
            k++;
            continue;
        }
        r = record_instance(s, i, 0, true);
        if (r)
            return err_fold(r);
        r = instance_remove(s, i);
        if (r)
            return err_fold(r);
        n_ended--;
    }
    return 0;
}

int instances_each(struct step *s, struct node *n, int (*f)(struct step *s, struct instance *i, struct node *n))
{
    const struct table *t = &s->c->instances;
    int r;

    for (size_t k = 0; k < t->n;) {
        struct instance *i = t->item[k];

        r = f(s, i, n);
        if (r)
            return err_fold(r);
        if (k < t->n && t->item[k] == i)
            k++;
    }
    return 0;
}
