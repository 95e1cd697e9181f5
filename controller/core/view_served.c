#include "controller/core/view_served.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"

/* A file that one can talk to, as far as its header tells. */
static bool is_servable(const struct model_facts *f)
{
    return !f->problem[0] && f->shape && f->shape->n_layer && !f->shape->has_projector;
}

static int by_name(const void *a, const void *b)
{
    const struct view_served *x = a, *y = b;
    int order = strcmp(x->name, y->name);

    return order ? order : (int)y->there - (int)x->there;
}

/* Two of a name: the section comes first and is the one; of files one that can be served. */
static void keep_one_each(struct view *v)
{
    size_t n = 0;

    qsort(v->served, v->n_served, sizeof(*v->served), by_name);
    for (size_t k = 0; k < v->n_served; k++) {
        if (!n || strcmp(v->served[n - 1].name, v->served[k].name) != 0)
            v->served[n++] = v->served[k];
    }
    v->n_served = n;
}

static size_t count_files(const struct cluster *c)
{
    size_t n = 0;

    for (size_t k = 0; k < c->nodes.n; k++)
        n += CLUSTER_NODE(c, k)->models ? CLUSTER_NODE(c, k)->models->n : 0;
    return n;
}

/* A file is what a section is of, or is served under its own name. */
static void take_file(const struct cluster *c, const struct model_facts *f, struct view *v)
{
    bool named = served_named(c, f->name);
    struct view_served *own;

    for (size_t k = 0; k < c->n_served; k++) {
        if (strcmp(c->served[k].request.model, f->name) != 0)
            continue;
        v->served[k].there |= is_servable(f);
        named = true;
    }
    if (named || !is_servable(f))
        return;
    own = &v->served[v->n_served++];
    own->start = c->config.others ? c->config.others : SERVED_MANUAL;
    own->there = true;
    memcpy(own->name, f->name, sizeof(own->name));
    memcpy(own->model, f->name, sizeof(own->model));
}

int view_served(const struct cluster *c, struct view *v)
{
    v->served = calloc(c->n_served + count_files(c) + 1, sizeof(*v->served));
    if (!v->served)
        return err_raise(-ENOMEM);
    for (v->n_served = 0; v->n_served < c->n_served; v->n_served++) {
        const struct served *s = &c->served[v->n_served];
        struct view_served *to = &v->served[v->n_served];

        to->start = s->start;
        to->section = true;
        memcpy(to->name, s->name, sizeof(to->name));
        memcpy(to->model, s->request.model, sizeof(to->model));
    }
    for (size_t k = 0; k < c->nodes.n; k++) {
        const struct inventory *inv = CLUSTER_NODE(c, k)->models;

        for (size_t m = 0; m < (inv ? inv->n : 0); m++)
            take_file(c, &inv->model[m], v);
    }
    keep_one_each(v);
    return 0;
}
