/* The line of those who ask for one name: whom the name means, and what the leader is asked for them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"
#include "common/core/sat.h"
#include "controller/core/admission_state.h"

/* ---- lines ------------------------------------------------------------------------------------------------------ */

int line_make(struct admission *a, const char *name, struct admission_unit *only, struct admission_line **ret)
{
    struct admission_line **grown, *l;

    for (size_t k = 0; k < a->n_lines; k++) {
        *ret = a->line[k];
        if (a->line[k]->only == only && strcmp(a->line[k]->name, name) == 0)
            return 0;
    }
    grown = realloc(a->line, (a->n_lines + 1) * sizeof(*grown));
    if (!grown)
        return err_raise(-ENOMEM);
    a->line = grown;
    l = calloc(1, sizeof(*l));
    if (!l)
        return err_raise(-ENOMEM);
    strncpy(l->name, name, sizeof(l->name) - 1);
    l->only = only;
    *ret = a->line[a->n_lines++] = l;
    return 0;
}

bool line_has(const struct admission_line *l, const struct admission_unit *u)
{
    return l->only ? l->only == u : l == u->line;
}

struct admission_ticket *line_first(const struct admission_line *l)
{
    struct admission_ticket *f = l->fresh.first, *s = l->suspects.first;

    return !s || (f && f->seq < s->seq) ? f : s;
}

uint64_t line_moved_ms(const struct admission *a, const struct admission_line *l)
{
    uint64_t moved_ms = 0;

    for (size_t k = 0; k < a->n_units; k++)
        if (line_has(l, a->unit[k]))
            moved_ms = sat_max(moved_ms, a->unit[k]->moved_ms);
    return moved_ms;
}

/* ---- what the view says of them --------------------------------------------------------------------------------- */

static const struct view_served *find_startable(const struct admission *a, const char *name)
{
    const struct view_served *s = a->view ? view_find_served(a->view, name) : NULL;

    return s && s->start != SERVED_MANUAL ? s : NULL;
}

/* Its line is asked for by the instance's id. */
static void look_at_one(struct admission_line *l)
{
    l->n_live = l->only->live;
    l->keepable = l->only->keepable;
}

static void look_up(const struct admission *a, struct admission_line *l)
{
    l->was_live = l->n_live;
    l->n_units = l->n_live = l->n_serving = l->n_ready = l->n_failed = 0;
    l->failed_until_ms = 0;
    l->stopped = l->keepable = false;
    l->startable = !l->only && find_startable(a, l->name);
    if (l->only)
        look_at_one(l);
}

static void count(struct admission_line *l, const struct admission_unit *u)
{
    bool serves = u->serving && !u->leaving;

    l->n_units++;
    l->n_live += u->live;
    l->n_serving += serves;
    l->n_ready += serves && u->ready;
    l->n_failed += u->failed;
    l->stopped |= u->stopped;
    l->keepable |= u->keepable;
    l->failed_until_ms = sat_max(l->failed_until_ms, u->failed_until_ms);
}

void lines_count(struct admission *a)
{
    for (size_t k = 0; k < a->n_lines; k++)
        look_up(a, a->line[k]);
    for (size_t k = 0; k < a->n_units; k++)
        if (a->unit[k]->listed)
            count(a->unit[k]->line, a->unit[k]);
    for (size_t k = 0; k < a->n_lines; k++) {
        struct admission_line *l = a->line[k];

        l->wanted &= !l->n_live || l->n_failed;
        if (l->was_live && !l->n_live)
            l->asked_ms = 0; /* what was asked for has been; now it is another matter */
    }
}

void lines_sweep(struct admission *a, uint64_t now_ms)
{
    size_t n = 0;

    for (size_t k = 0; k < a->n_lines; k++) {
        struct admission_line *l = a->line[k];

        if (l->n_tickets || l->n_units || l->refused_ms > now_ms)
            a->line[n++] = l;
        else
            free(l);
    }
    a->n_lines = n;
}

/* ---- whom a name means ------------------------------------------------------------------------------------------ */

static int refuse(const struct view_instance *in, enum admission_refusal *why)
{
    if (!in || in->state == INSTANCE_STOPPED)
        *why = ADMISSION_NOT_FOUND;
    else
        *why = in->state == INSTANCE_FAILED ? ADMISSION_FAILED : ADMISSION_NOT_READY;
    return LINE_E_REFUSED;
}

/* Nobody serves it; the leader may be asked to change that. */
static int find_to_start(struct admission *a, const struct view_served *s, uint64_t now_ms, struct admission_line **ret,
                         enum admission_refusal *why)
{
    int r = line_make(a, s->name, NULL, ret);

    if (r < 0)
        return err_pass(r);
    (*ret)->startable = true;
    *why = (*ret)->failed_until_ms > now_ms ? ADMISSION_FAILED : ADMISSION_NOT_STARTED;
    return (*ret)->failed_until_ms > now_ms || (*ret)->refused_ms > now_ms ? LINE_E_REFUSED : 0;
}

static bool is_id_of(const char *model, const struct view_instance *in)
{
    struct id128 id;

    return id128_parse(model, &id) && id128_equal(&id, &in->id);
}

static int find_one(struct admission *a, struct admission_unit *u, struct admission_line **ret)
{
    int r = line_make(a, ID128(&u->instance), u, ret);

    if (r < 0)
        return err_pass(r);
    look_at_one(*ret);
    return 0;
}

int line_find(struct admission *a, const char *model, uint64_t now_ms, struct admission_line **ret,
              enum admission_refusal *why)
{
    const struct view_instance *in = a->view ? view_find_instance(a->view, model) : NULL;
    struct admission_unit *u = in ? admission_find_unit(a, &in->id) : NULL;
    const struct view_served *served;

    *ret = NULL;
    if (in && is_id_of(model, in))
        return u->live || u->keepable ? find_one(a, u, ret) : refuse(in, why);
    if (in && (u->line->n_live || u->line->keepable)) {
        *ret = u->line;
        return 0;
    }
    served = find_startable(a, model);
    if (!served && in)
        served = find_startable(a, in->name);
    return served ? find_to_start(a, served, now_ms, ret, why) : refuse(in, why);
}

/* ---- what the leader is asked ----------------------------------------------------------------------------------- */

/* Others of it serve meanwhile. */
static uint64_t failed_due_ms(const struct admission_line *l)
{
    if (!l->startable || !l->n_failed || !l->wanted)
        return UINT64_MAX;
    return sat_max(l->asked_ms ? l->asked_ms + ADMISSION_FAILED_MS : 0, l->failed_until_ms);
}

uint64_t line_word_due_ms(const struct admission_line *l)
{
    if (l->n_live)
        return failed_due_ms(l);
    if (!(l->startable || l->keepable) || !(l->wanted || l->n_waiting))
        return UINT64_MAX;
    return l->asked_ms ? l->asked_ms + ADMISSION_ENSURE_MS : 0;
}

bool line_next_word(struct admission_line *l, uint64_t now_ms, struct admission_word *ret)
{
    if (line_word_due_ms(l) > now_ms)
        return false;
    *ret = (struct admission_word){.kind = ADMISSION_SAYS_ENSURE};
    memcpy(ret->name, l->name, sizeof(ret->name));
    l->asked_ms = now_ms;
    l->wanted = false;
    return true;
}

static void refuse_all(struct admission *a, struct admission_line *l)
{
    for (struct admission_ticket *t; (t = line_first(l));)
        ticket_refuse(a, t, ADMISSION_NOT_STARTED);
}

/* It has not been decided: the leader is asked once more in its time, and nobody is refused by it. */
static bool is_for_later(const char *code)
{
    return strcmp(code, "busy") == 0 || strcmp(code, "store_failed") == 0 || strcmp(code, ENSURE_TOO_EARLY) == 0;
}

void admission_ensured(struct admission *a, const char *name, const struct cluster_answer *answer, uint64_t now_ms)
{
    struct admission_line *l = NULL;

    for (size_t k = 0; k < a->n_lines && !l; k++)
        if (strcmp(a->line[k]->name, name) == 0)
            l = a->line[k];
    if (!l || answer->accepted || l->n_live || is_for_later(answer->code))
        return;
    l->refused_ms = now_ms + ADMISSION_ENSURE_MS;
    l->wanted = false;
    memcpy(l->code, answer->code, sizeof(l->code));
    memcpy(l->text, answer->text, sizeof(l->text));
    refuse_all(a, l);
}
