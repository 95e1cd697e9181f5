/* What the newest view changes: units come, their epochs end, they go. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"
#include "common/core/sat.h"
#include "controller/core/admission_state.h"

/* ---- the picture ------------------------------------------------------------------------------------------------ */

static bool is_known(const struct admission *a, const struct view_instance *in)
{
    return admission_find_unit(a, &in->id) != NULL;
}

static int add_unit(struct admission *a, const struct view_instance *in)
{
    struct admission_unit *u = calloc(1, sizeof(*u));
    int r;

    if (!u)
        return err_raise(-ENOMEM);
    r = line_make(a, in->name, NULL, &u->line);
    if (r < 0) {
        free(u);
        return err_pass(r);
    }
    u->instance = in->id;
    u->slots = 1;
    a->unit[a->n_units++] = u;
    return 0;
}

/* Units for the instances that are new: all of them, or none. Lines that were made for them are swept later. */
static int add_units(struct admission *a, const struct view *v)
{
    size_t n = a->n_units;
    struct admission_unit **grown = realloc(a->unit, (n + v->n_instances + 1) * sizeof(*grown));
    int r = 0;

    if (!grown)
        return err_raise(-ENOMEM);
    a->unit = grown;
    for (size_t k = 0; !r && k < v->n_instances; k++)
        if (!is_known(a, &v->instance[k]))
            r = add_unit(a, &v->instance[k]);
    while (r < 0 && a->n_units > n)
        free(a->unit[--a->n_units]);
    return r < 0 ? err_pass(r) : 0;
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

/* So long it is not started anew by a request. The view tells the time of day, as its maker had it. */
static uint64_t failed_until_ms(const struct view *v, const struct view_instance *in, uint64_t now_ms)
{
    uint64_t age_ms = sat_sub(v->made_wall_ms, in->state_since_wall_ms);

    return in->state == INSTANCE_FAILED && age_ms < ADMISSION_FAILED_MS ? now_ms + ADMISSION_FAILED_MS - age_ms : 0;
}

static void learn(struct admission *a, const struct view_instance *in, uint64_t now_ms)
{
    struct admission_unit *u = admission_find_unit(a, &in->id);

    forgive(a, in);
    if (admission_unit_learn(u, in))
        cut(a, u, blame_of(in, u->traffic_epoch), now_ms);
    if (admission_unit_grew(u, in))
        u->moved_ms = now_ms;
    u->failed_until_ms = failed_until_ms(a->view, in, now_ms);
}

/* ---- those that wait -------------------------------------------------------------------------------------------- */

struct meant { /* most of a line have said the same name: it is looked up once */
    const char *model;
    int r;
    struct admission_line *line;
    enum admission_refusal why;
};

/* Nobody stops a model to have it started again by those who waited for it. */
static void look_up(struct admission *a, const char *model, struct meant *m, uint64_t now_ms)
{
    m->model = model;
    m->r = line_find(a, model, now_ms, &m->line, &m->why);
    if (m->r || !m->line->stopped || m->line->n_live)
        return;
    m->r = LINE_E_REFUSED;
    m->why = ADMISSION_NOT_READY;
}

static void look_up_again(struct admission *a, struct ticket_list *list, struct meant *m, uint64_t now_ms)
{
    for (struct admission_ticket *t = list->first, *next; t; t = next) {
        next = t->next;
        if (!m->model || strcmp(m->model, t->model) != 0)
            look_up(a, t->model, m, now_ms);
        if (m->r < 0)
            continue; /* no memory: it waits where it is until the next view */
        if (m->r)
            ticket_refuse(a, t, m->why);
        else if (m->line != t->line)
            ticket_move(a, t, m->line);
    }
}

/* Whom do their names mean now? */
static void resolve_waiting(struct admission *a, uint64_t now_ms)
{
    for (size_t k = 0; k < a->n_lines; k++) {
        struct meant m = {.model = NULL};

        look_up_again(a, &a->line[k]->fresh, &m, now_ms);
        m.model = NULL;
        look_up_again(a, &a->line[k]->suspects, &m, now_ms);
    }
}

/* ---- those that are no longer shown ----------------------------------------------------------------------------- */

static void end_units(struct admission *a, uint64_t now_ms)
{
    for (size_t k = 0; k < a->n_units; k++) {
        if (a->unit[k]->listed)
            continue;
        admission_unit_vanish(a->unit[k]);
        cut(a, a->unit[k], BLAME_OTHER, now_ms);
    }
}

static void drop_unit(struct admission *a, struct admission_unit *u)
{
    for (size_t k = 0; k < a->n_lines; k++) {
        if (a->line[k]->only == u)
            a->line[k]->only = NULL;
        if (a->line[k]->held == u)
            a->line[k]->held = NULL;
    }
    free(u);
}

static void drop_units(struct admission *a)
{
    size_t n = 0;

    for (size_t k = 0; k < a->n_units; k++) {
        if (a->unit[k]->listed)
            a->unit[n++] = a->unit[k];
        else
            drop_unit(a, a->unit[k]);
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
    end_units(a, now_ms);
    lines_count(a);
    resolve_waiting(a, now_ms);
    drop_units(a);
    lines_sweep(a, now_ms);
    queue_serve(a, now_ms);
    return 0;
}
