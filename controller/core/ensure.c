#include "controller/core/ensure.h"

#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/fnv.h"
#include "common/core/sat.h"
#include "common/core/text.h"
#include "controller/core/effects.h"
#include "controller/core/instances.h"
#include "controller/core/planning.h"
#include "controller/core/replicas.h"
#include "controller/core/starts.h"
#include "controller/core/tasks.h"
#include "controller/core/unloading.h"

/* Why it cannot be. code empty: it can. */
struct refusal {
    char code[PROTO_NAME_MAX], text[PROTO_TEXT_MAX];
};

static void refuse(struct refusal *r, const char *code)
{
    text_format(r->code, sizeof(r->code), "%s", code);
}

/* ---- a new one ---------------------------------------------------------------------------------------------------- */

/* As a person's deploy would be refused; and one without a place is not even begun, so that no task tells of each asking. */
static int judge(struct step *s, const struct start *st, struct refusal *ret)
{
    CLEANUP(cleanup_free) struct plan *plan = NULL;
    const char *code = starts_objection(s, st, ret->text, sizeof(ret->text));
    bool helps = false;
    int r;

    if (code) {
        refuse(ret, code);
        return 0;
    }
    r = planning_compute(s->c, &(struct planning){.request = st->request}, &plan, ret->text, sizeof(ret->text));
    if (r < 0)
        return err_pass(r);
    code = r ? planning_code(r) : NULL;
    r = code ? unloading_may_help(s, st->request, NULL, &helps) : 0;
    if (!r && code && !helps)
        refuse(ret, code);
    return err_fold(r);
}

/* A refusal for want of what may just not be known yet is none. */
static void reconsider(const struct step *s, struct refusal *why)
{
    static const char *const unknown[] = {"unknown_model", "no_file", "too_few", "no_fit"};

    for (size_t k = 0; unloading_unsure(s) && k < sizeof(unknown) / sizeof(unknown[0]); k++) {
        if (!strcmp(why->code, unknown[k]))
            refuse(why, ENSURE_TOO_EARLY);
    }
}

static int begin(struct step *s, const struct start *st, struct refusal *ret)
{
    int r = judge(s, st, ret);

    return r || ret->code[0] ? err_fold(r) : err_fold(starts_begin(s, st));
}

/* ---- requests ----------------------------------------------------------------------------------------------------- */

/* What is meant by a name. */
struct meant {
    struct place_request request; /* borrows its arguments */
    enum served_start start;
};

static void say_not_found(const struct cluster *c, const char *name, struct refusal *ret)
{
    const struct model_facts *model;

    refuse(ret, "not_found");
    if (planning_model(c, name, &model, ret->text, sizeof(ret->text)) != CLUSTER_E_UNKNOWN_MODEL)
        text_format(ret->text, sizeof(ret->text), "%s is served under another name: `caravan models` lists them", name);
}

static bool find_meant(const struct cluster *c, const char *name, struct meant *ret, struct refusal *why)
{
    const struct served *section = served_named(c, name);
    const struct model_facts *model;
    char unused[PROTO_TEXT_MAX];

    *ret = (struct meant){.start = c->config.others ? c->config.others : SERVED_MANUAL};
    if (section && !strcmp(section->name, name)) {
        ret->request = section->request;
        ret->start = section->start;
        return true;
    }
    text_format(ret->request.model, sizeof(ret->request.model), "%s", name);
    if (!section && !served_has_model(c->served, c->n_served, name) &&
        planning_model(c, name, &model, unused, sizeof(unused)) != CLUSTER_E_UNKNOWN_MODEL)
        return true;
    say_not_found(c, name, why);
    return false;
}

/* One of the name has just been given up: whoever asks now is told why, and does not begin the same again. */
static const struct instance *just_failed(const struct step *s, const char *name)
{
    for (size_t k = s->c->instances.n; k--;) {
        const struct instance *i = CLUSTER_INSTANCE(s->c, k);

        if (i->state == INSTANCE_FAILED && !strcmp(i->name, name) && i->failed_ms &&
            s->now_ms < i->failed_ms + ENSURE_FAILED_MS)
            return i;
    }
    return NULL;
}

static int start(struct step *s, const struct cluster_ev *ev, const struct meant *meant)
{
    const struct instance *failed = just_failed(s, ev->target);
    const struct start st = {
        .request_id = ev->request_id, .request = &meant->request, .id = ev->new_instance, .demand = true};
    struct refusal why = {.code = ""};
    int r = 0;

    if (meant->start == SERVED_MANUAL) {
        refuse(&why, "manual");
        text_format(why.text, sizeof(why.text), "%s does not run, and is started by hand: caravan deploy %s",
                    ev->target, ev->target);
    } else if (failed) {
        refuse(&why, failed->code[0] ? failed->code : "failed");
        text_format(why.text, sizeof(why.text), "%s", failed->reason);
    } else {
        r = begin(s, &st, &why);
        reconsider(s, &why);
    }
    if (r || !why.code[0])
        return err_fold(r);
    return err_fold(fx_refuse(s, ev->request_id, why.code, why.text));
}

/* Of several one has failed a while ago: it is tried again for those who ask. Where it cannot be, the others serve on. */
static int begin_failed(struct step *s, const struct cluster_ev *ev, const struct instance *i, bool *ret_begun)
{
    const struct start st = {.request_id = ev->request_id,
                             .request = &i->request,
                             .id = ev->new_instance,
                             .demand = i->demand,
                             .failed = true};
    uint32_t number[SERVED_REPLICAS_MAX];
    struct refusal why = {.code = ""};
    struct meant meant;
    int r;

    *ret_begun = false;
    if (!replicas_failed(s->c, i->name, replicas_wanted(&i->request), sat_sub(s->now_ms, ENSURE_FAILED_MS), number) ||
        !find_meant(s->c, i->name, &meant, &why) || meant.start == SERVED_MANUAL)
        return 0;
    r = begin(s, &st, &why);
    *ret_begun = !why.code[0];
    return err_fold(r);
}

/* It is there or on its way: whoever asks waits for the same. */
static int attach(struct step *s, const struct cluster_ev *ev, struct instance *i)
{
    const struct task *t = task_live(s->c, i->deploy_task);
    const struct cluster_answer there = {.accepted = true, .attached = true, .instance = i->id};
    int r = unloading_keep_all(s, i->name);
    bool begun = false;

    if (!r)
        r = begin_failed(s, ev, i, &begun);
    if (r || begun)
        return err_fold(r);
    return t ? err_fold(starts_answer(s, ev->request_id, t, true)) : err_fold(fx_answer(s, 0, ev->request_id, &there));
}

static struct instance *find_there(const struct cluster *c, const char *target)
{
    struct instance *i = instance_named(c, target);
    struct id128 id;

    return i || !id128_parse(target, &id) ? i : instance_find(c, &id);
}

int ensure_wish(struct step *s, const struct cluster_ev *ev)
{
    struct instance *i = find_there(s->c, ev->target);
    struct refusal why;
    struct meant meant;

    /* what is just being stopped ends by itself, and a new one may wait for its memory */
    if (i && !instance_state_ended(i->state) && i->state != INSTANCE_STOPPING)
        return err_fold(attach(s, ev, i));
    if (!find_meant(s->c, ev->target, &meant, &why))
        return err_fold(fx_refuse(s, ev->request_id, why.code, why.text));
    return err_fold(start(s, ev, &meant));
}

/* ---- from the start on -------------------------------------------------------------------------------------------- */

static int say_refused(struct step *s, const struct served *section, struct boot *b, const struct refusal *why)
{
    struct cluster_transition t = {.machine = "served", .from = "waiting", .to = "waiting", .event = "boot"};
    uint64_t said = fnv1a(FNV1A_BASIS, why->text, strlen(why->text)) | 1;

    if (b->said == said)
        return 0;
    b->said = said;
    text_format(t.id, sizeof(t.id), "%s", section->name);
    return err_fold(fx_verdict(s, &t, REFUSE, NULL, &(struct cause){.text = why->text}, &b->n_refused));
}

/* Asked for once: what becomes of it then is as if a person had. */
static int boot(struct step *s, size_t k)
{
    const struct served *section = &s->c->served[k];
    struct boot *b = &s->c->boot[k];
    const struct start st = {.request = &section->request, .id = instances_new_id(s, &s->c->config.controller, k)};
    const struct instance *i = instance_named(s->c, section->name);
    struct refusal why = {.code = ""};
    int r = journal_change(&s->journal, b, sizeof(*b));

    if (r)
        return err_fold(r);
    b->next_ms = s->now_ms + ENSURE_BOOT_MS;
    if (!i || instance_state_ended(i->state))
        r = begin(s, &st, &why);
    b->done = !why.code[0];
    return r || b->done ? err_fold(r) : err_fold(say_refused(s, section, b, &why));
}

static bool has_appeared(const struct cluster *c, const char *name)
{
    const struct model_facts *model;
    char unused[PROTO_TEXT_MAX];

    return planning_model(c, name, &model, unused, sizeof(unused)) == 0;
}

/* From now on what is not known is not there: the picture says so. */
static void note_settled(struct step *s)
{
    struct numbers *n = &s->c->numbers;

    if (n->settled_ms == n->settle_ms || s->now_ms < n->settle_ms)
        return;
    n->settled_ms = n->settle_ms;
    s->changed = true;
}

int ensure_boots(struct step *s)
{
    struct cluster *c = s->c;
    int r = 0;

    note_settled(s);
    if (s->now_ms < c->numbers.boot_ms || c->numbers.settle_ms == UINT64_MAX)
        return 0;
    c->numbers.boot_ms = UINT64_MAX; /* a model that is not there yet is looked for when one comes */
    for (size_t k = 0; !r && k < c->n_served; k++) {
        struct boot *b = &c->boot[k];

        if (c->served[k].start != SERVED_BOOT || b->done || !has_appeared(c, c->served[k].request.model))
            continue;
        if (b->next_ms <= s->now_ms)
            r = boot(s, k);
        if (!b->done)
            c->numbers.boot_ms = sat_min(c->numbers.boot_ms, b->next_ms);
    }
    return err_fold(r);
}

uint64_t ensure_due_ms(const struct cluster *c)
{
    const struct numbers *n = &c->numbers;

    if (n->settle_ms == UINT64_MAX)
        return UINT64_MAX;
    return n->settled_ms == n->settle_ms ? n->boot_ms : sat_min(n->settle_ms, n->boot_ms);
}
