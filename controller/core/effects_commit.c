/* What a step wants kept, as it is when the step ends, and what goes on when that is durable. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/effects.h"
#include "controller/core/recovery.h"

static int step_record_add(struct step *s, const struct step_record *rec)
{
    for (size_t i = 0; i < s->n_records; i++) {
        if (s->record[i].instance == rec->instance && s->record[i].task == rec->task &&
            s->record[i].node == rec->node && s->record[i].key == rec->key && s->record[i].api_key == rec->api_key) {
            s->record[i] = *rec;
            return 0;
        }
    }
    if (s->n_records == s->cap_records) {
        size_t cap = s->cap_records ? s->cap_records * 2 : 8;
        struct step_record *grown = realloc(s->record, cap * sizeof(*grown));

        if (!grown)
            return err_raise(-ENOMEM);
        s->record = grown;
        s->cap_records = cap;
    }
    s->record[s->n_records++] = *rec;
    return 0;
}

int record_instance(struct step *s, const struct instance *i, enum instance_state as, bool gone)
{
    return err_fold(step_record_add(s, &(struct step_record){.instance = i, .as = as, .gone = gone}));
}

int record_task(struct step *s, const struct task *t, bool gone)
{
    return err_fold(step_record_add(s, &(struct step_record){.task = t, .gone = gone}));
}

int record_node(struct step *s, const struct node *n)
{
    return err_fold(step_record_add(s, &(struct step_record){.node = n, .gone = !n->draining && !n->retired}));
}

int record_key(struct step *s, const struct access_key *k, bool gone)
{
    return err_fold(step_record_add(s, &(struct step_record){.key = k, .gone = gone}));
}

int record_api_key(struct step *s, const struct access_api_key *k, bool gone)
{
    return err_fold(step_record_add(s, &(struct step_record){.api_key = k, .gone = gone}));
}

uint64_t step_token(struct step *s)
{
    if (!s->token)
        s->token = ++s->c->numbers.last_token;
    return s->token;
}

static int step_pend(struct step *s, const struct pending *what)
{
    struct pending *p = malloc(sizeof(*p));

    if (!p)
        return err_raise(-ENOMEM);
    *p = *what;
    p->token = step_token(s);
    return err_fold(journal_add(&s->journal, &s->c->pending, s->c->pending.n, p, free));
}

int step_then(struct step *s, enum intent intent, const struct instance *i, uint64_t task)
{
    return err_fold(
        step_pend(s, &(struct pending){.intent = intent, .instance = i->id, .epoch = i->epoch, .task = task}));
}

int step_then_node(struct step *s, enum intent intent, const struct node *n)
{
    return err_fold(step_pend(s, &(struct pending){.intent = intent, .instance = n->id}));
}

int step_then_key(struct step *s, enum intent intent, const struct node *n, const char *key, const char *by)
{
    struct pending p = {.intent = intent};

    if (n)
        p.instance = n->id;
    text_format(p.key, sizeof(p.key), "%s", key);
    text_format(p.by, sizeof(p.by), "%s", by);
    return err_fold(step_pend(s, &p));
}

static int fill_plans(const struct instance *i, struct record *to)
{
    if (i->plan) {
        to->i.plan = plan_copy(i->plan);
        if (!to->i.plan)
            return err_raise(-ENOMEM);
    }
    if (i->pinned) {
        to->i.pinned = plan_copy(i->pinned);
        if (!to->i.pinned)
            return err_raise(-ENOMEM);
    }
    return 0;
}

static int fill_instance(const struct step_record *from, struct record *to)
{
    const struct instance *i = from->instance;
    int r;

    to->kind = RECORD_INSTANCE;
    to->instance = i->id;
    memcpy(to->i.name, i->name, sizeof(to->i.name));
    to->i.state = from->as ? from->as : i->state;
    to->i.epoch = i->epoch;
    memcpy(to->i.reason, i->reason, sizeof(to->i.reason));
    to->i.load_ms = i->load_ms;
    to->i.served = i->served;
    to->i.follows = i->follows;
    to->i.replica = i->replica;
    to->i.demand = i->demand;
    to->i.deploy_task = i->deploy_task;
    to->i.n_debts = i->n_debts;
    memcpy(to->i.debt, i->debt, sizeof(to->i.debt));
    if (from->gone)
        return 0;
    r = request_copy(&i->request, &to->i.request);
    if (!r)
        r = recovery_keep(&i->recovery, &to->i);
    if (r)
        return err_fold(r);
    return err_fold(fill_plans(i, to));
}

static void fill_node(const struct node *n, struct record *to)
{
    to->kind = RECORD_NODE;
    to->instance = n->id;
    memcpy(to->node.name, n->hello.name, sizeof(to->node.name));
    memcpy(to->node.key, n->key, sizeof(to->node.key));
    to->node.draining = n->draining;
    to->node.retired = n->retired;
}

static void fill_key(const struct access_key *k, struct record *to)
{
    to->kind = RECORD_KEY;
    to->key = k->view;
    if (k->next)
        to->key.scope = k->next;
}

static void fill_api_key(const struct access_api_key *k, struct record *to)
{
    to->kind = RECORD_API_KEY;
    to->api_key = k->writing && k->next.scope ? k->next : k->view;
}

static void fill_task(const struct task *t, struct record *to)
{
    to->kind = RECORD_TASK;
    to->instance = t->view.instance;
    to->task = t->view;
}

static int fill_record(const struct step_record *from, struct record *to)
{
    if (from->instance)
        return err_fold(fill_instance(from, to));
    if (from->node)
        fill_node(from->node, to);
    else if (from->key)
        fill_key(from->key, to);
    else if (from->api_key)
        fill_api_key(from->api_key, to);
    else
        fill_task(from->task, to);
    return 0;
}

int fx_fill_commit(const struct step *s, struct cluster_fx *fx)
{
    int r;

    fx->record = calloc(s->n_records, sizeof(*fx->record));
    if (!fx->record)
        return err_raise(-ENOMEM);
    for (size_t k = 0; k < s->n_records; k++) {
        const struct step_record *from = &s->record[k];
        struct record *to = &fx->record[k];

        fx->n_records = k + 1;
        to->gone = from->gone;
        to->wall_ms = s->wall_ms;
        r = fill_record(from, to);
        if (r)
            return err_fold(r);
    }
    return 0;
}
