/* What the newest view changes: units come, their epochs end, they go. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"
#include "controller/core/admission_state.h"

/* ---- the picture ------------------------------------------------------------------------------------------------ */

static bool is_known(const struct admission *a, const struct view_instance *in)
{
    return admission_find_unit(a, &in->id) != NULL;
}

/* Units for the instances that are new: all of them, or none. */
static int add_units(struct admission *a, const struct view *v)
{
    size_t n = a->n_units;
    struct admission_unit **grown = realloc(a->unit, (n + v->n_instances + 1) * sizeof(*grown));

    if (!grown)
        return err_raise(-ENOMEM);
    a->unit = grown;
    for (size_t k = 0; k < v->n_instances; k++) {
        struct admission_unit *u;

        if (is_known(a, &v->instance[k]))
            continue;
        u = calloc(1, sizeof(*u));
        if (!u) {
            while (a->n_units > n)
                free(a->unit[--a->n_units]);
            return err_raise(-ENOMEM);
        }
        u->instance = v->instance[k].id;
        a->unit[a->n_units++] = u;
    }
    return 0;
}

/* Whose doing was the end of an epoch, by its code? Of one that hung or answers errors, no request need be the cause. */
enum blame { BLAME_UNKNOWN = 0, BLAME_COORDINATOR, BLAME_OTHER };

static enum blame blame(const struct view_try *t)
{
    if (strncmp(t->code, "rank_", 5) == 0 || strncmp(t->code, "node_", 5) == 0 || strncmp(t->code, "carrier_", 8) == 0)
        return BLAME_OTHER;
    return strcmp(t->code, "coordinator_lost") == 0 || strcmp(t->code, "coordinator_refused") == 0 ? BLAME_COORDINATOR
                                                                                                   : BLAME_UNKNOWN;
}

static enum blame blame_of(const struct view_instance *in, uint64_t epoch)
{
    if (in->state == INSTANCE_STOPPING || in->state == INSTANCE_STOPPED)
        return BLAME_OTHER;
    for (size_t k = 0; k < in->n_tried; k++)
        if (in->tried[k].epoch == epoch)
            return blame(&in->tried[k]);
    return BLAME_UNKNOWN;
}

/* No request did it, where a node or a rank did. */
static void forgive(struct admission *a, const struct view_instance *in)
{
    for (size_t k = 0; k < in->n_tried && !suspects_none(a->suspects); k++)
        if (blame(&in->tried[k]) == BLAME_OTHER)
            suspects_forgive(a->suspects, &in->id, in->tried[k].epoch);
}

/* What goes on in epochs that are over now. */
static void cut(struct admission *a, struct admission_unit *u, enum blame whose, uint64_t now_ms)
{
    struct admission_ticket *t, *next;

    if (whose != BLAME_OTHER && u->n_sent)
        queue_mark_abort(a, u, u->traffic_epoch, whose == BLAME_COORDINATOR, now_ms);
    for (t = a->sent.first; t; t = next) {
        next = t->next;
        if (t->unit == u && t->epoch <= u->over)
            queue_interrupted(a, t, now_ms);
    }
    for (t = a->losing.first; t; t = next) {
        next = t->next;
        if (t->unit == u && t->epoch <= u->over)
            ticket_refuse(a, t, ADMISSION_LOST);
    }
}

static void learn(struct admission *a, const struct view_instance *in, uint64_t now_ms)
{
    struct admission_unit *u = admission_find_unit(a, &in->id);

    forgive(a, in);
    if (admission_unit_learn(u, in))
        cut(a, u, blame_of(in, u->traffic_epoch), now_ms);
}

/* Those which the view no longer shows end here. Nobody waits for them any more. */
static void drop_units(struct admission *a, uint64_t now_ms)
{
    size_t n = 0;

    for (size_t k = 0; k < a->n_units; k++) {
        struct admission_unit *u = a->unit[k];

        if (!u->listed && admission_unit_vanish(u))
            cut(a, u, BLAME_OTHER, now_ms);
    }
    for (struct admission_ticket *t = a->waiting.first, *next; t; t = next) {
        next = t->next;
        queue_resolve(a, t);
    }
    for (size_t k = 0; k < a->n_units; k++) {
        if (a->unit[k]->listed)
            a->unit[n++] = a->unit[k];
        else
            free(a->unit[k]);
    }
    a->n_units = n;
}

int admission_view(struct admission *a, struct view *v, uint64_t now_ms)
{
    int r = add_units(a, v);

    if (r < 0)
        return err_pass(r);
    view_unref(&a->view);
    a->view = view_ref(v);
    for (size_t k = 0; k < a->n_units; k++)
        a->unit[k]->listed = false;
    for (size_t k = 0; k < v->n_instances; k++)
        learn(a, &v->instance[k], now_ms);
    drop_units(a, now_ms);
    queue_serve(a, now_ms);
    return 0;
}
