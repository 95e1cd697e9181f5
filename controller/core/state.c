#include "controller/core/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"

int step_node(struct step *s, struct node *n)
{
    s->changed = true;
    return err_fold(journal_change(&s->journal, n, sizeof(*n)));
}

int step_instance(struct step *s, struct instance *i)
{
    s->changed = true;
    return err_fold(journal_change(&s->journal, i, sizeof(*i)));
}

int step_task(struct step *s, struct task *t)
{
    s->changed = true;
    return err_fold(journal_change(&s->journal, t, sizeof(*t)));
}

int step_key(struct step *s, struct access_key *k)
{
    s->changed = true;
    return err_fold(journal_change(&s->journal, k, sizeof(*k)));
}

int step_api_key(struct step *s, struct access_api_key *k)
{
    s->changed = true;
    return err_fold(journal_change(&s->journal, k, sizeof(*k)));
}

int step_late(struct step *s)
{
    s->c->numbers.late_messages++;
    return 0;
}

const struct served *served_named(const struct cluster *c, const char *name)
{
    return served_find(c->served, c->n_served, name);
}

void inventory_free(void *inventory)
{
    struct inventory *inv = inventory;

    if (!inv)
        return;
    for (size_t i = 0; i < (inv->model ? inv->n : 0); i++)
        free(inv->model[i].shape);
    free(inv->model);
    free(inv);
}

void node_free(void *node)
{
    struct node *n = node;

    inventory_free(n->models);
    free(n->units);
    free(n);
}

void request_clear(struct place_request *r)
{
    free(r->arg);
    r->arg = NULL;
    r->n_args = 0;
}

int request_copy(const struct place_request *from, struct place_request *ret)
{
    struct place_request copy = *from;

    copy.arg = NULL;
    if (from->n_args) {
        copy.arg = malloc(from->n_args * sizeof(*copy.arg));
        if (!copy.arg)
            return err_raise(-ENOMEM);
        memcpy(copy.arg, from->arg, from->n_args * sizeof(*copy.arg));
    }
    *ret = copy;
    return 0;
}

struct plan *plan_copy(const struct plan *p)
{
    struct plan *copy = malloc(sizeof(*copy));

    return copy ? memcpy(copy, p, sizeof(*copy)) : NULL;
}

void instance_free(void *instance)
{
    struct instance *i = instance;

    request_clear(&i->request);
    free(i->pinned);
    free(i->plan);
    free(i->early);
    free(i);
}

void held_free(void *held)
{
    struct held *h = held;

    request_clear(&h->request);
    free(h->plan);
    free(h);
}
