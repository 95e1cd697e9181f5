#include "controller/core/effects.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/access.h"
#include "controller/core/neighbours.h"
#include "controller/core/nodes.h"

/* A zeroed effect at the end of the list, or NULL. */
static struct cluster_fx *fx_new(struct step *s, enum cluster_fx_kind kind)
{
    struct cluster_effects *fx = s->fx;

    if (fx->n == fx->cap) {
        size_t cap = fx->cap ? fx->cap * 2 : 4;
        struct cluster_fx *grown = realloc(fx->item, cap * sizeof(*grown));

        if (!grown)
            return NULL;
        fx->item = grown;
        fx->cap = cap;
    }
    memset(&fx->item[fx->n], 0, sizeof(fx->item[fx->n]));
    fx->item[fx->n].kind = kind;
    return &fx->item[fx->n++];
}

static int fx_send_as_is(struct step *s, const char *key, const char *addr, struct message **m)
{
    struct cluster_fx *fx = fx_new(s, CLUSTER_FX_SEND);
    const struct message *inner = (*m)->kind == MESSAGE_RELAY ? (*m)->relay.inner : *m;

    if (!fx) {
        message_destroy(m);
        return err_raise(-ENOMEM);
    }
    text_format(fx->key, sizeof(fx->key), "%s", key);
    text_format(fx->addr, sizeof(fx->addr), "%s", addr);
    fx->instance = inner->instance;
    fx->epoch = inner->epoch;
    fx->message = *m;
    *m = NULL;
    return 0;
}

/* Whoever still has something on its way to a key that is revoked need not know that: nothing leaves. */
static bool drop(const struct step *s, const char *key, struct message **m)
{
    if (!access_is_revoked(s->c, key))
        return false;
    message_destroy(m);
    return true;
}

int fx_relay(struct step *s, const struct node *carrier, const char *key, struct message **m)
{
    struct message *outer;

    if (drop(s, key, m))
        return 0;
    outer = message_to(s, MESSAGE_RELAY);
    if (!outer) {
        message_destroy(m);
        return err_raise(-ENOMEM);
    }
    text_format(outer->relay.key, sizeof(outer->relay.key), "%s", key);
    outer->relay.inner = *m;
    *m = NULL;
    return err_fold(fx_send_as_is(s, carrier->key, "", &outer));
}

int fx_send(struct step *s, const char *key, const char *addr, struct message **m)
{
    const struct node *carrier = addr[0] ? NULL : neighbours_carrier(s->c, key);

    if (drop(s, key, m))
        return 0;
    return err_fold(carrier ? fx_relay(s, carrier, key, m) : fx_send_as_is(s, key, addr, m));
}

struct message *message_to(const struct step *s, enum message_kind kind)
{
    struct message *m = calloc(1, sizeof(*m));

    if (!m)
        return NULL;
    m->kind = kind;
    m->version_major = PROTOCOL_MAJOR;
    m->version_minor = PROTOCOL_MINOR;
    m->cluster = s->c->config.cluster;
    m->term = s->c->config.term;
    return m;
}

int fx_verdict(struct step *s, struct cluster_transition *t, enum verdict verdict, const char *sentence,
               const struct cause *cause, uint64_t *refused)
{
    struct cluster_fx *fx;
    int r;

    t->verdict = verdict_name(verdict);
    text_format(t->text, sizeof(t->text), "%s", cause && cause->text ? cause->text : sentence ? sentence : "");
    if (verdict == REFUSE) {
        r = journal_change(&s->journal, refused, sizeof(*refused));
        if (r)
            return err_fold(r);
        (*refused)++;
        s->changed = true;
    }
    fx = fx_new(s, CLUSTER_FX_TRANSITION);
    if (!fx)
        return err_raise(-ENOMEM);
    fx->instance = t->instance;
    fx->epoch = t->epoch;
    fx->transition = *t;
    return 0;
}

int fx_warm_up(struct step *s, const struct instance *i)
{
    struct cluster_fx *fx = fx_new(s, CLUSTER_FX_WARM_UP);

    if (!fx)
        return err_raise(-ENOMEM);
    fx->instance = i->id;
    fx->epoch = i->epoch;
    memcpy(fx->addr, i->run.coordinator_addr, sizeof(fx->addr));
    fx->port = i->run.coordinator_port;
    text_format(fx->key, sizeof(fx->key), "%s", node_carrier_key(s->c, i));
    memcpy(fx->name, i->name, sizeof(fx->name));
    fx->embeds = place_embeds(&i->request);
    return 0;
}

int fx_knock(struct step *s, const struct peer_facts *at, uint64_t token)
{
    struct peer_facts *peer = malloc(sizeof(*peer));
    struct cluster_fx *fx = peer ? fx_new(s, CLUSTER_FX_KNOCK) : NULL;

    if (!fx) {
        free(peer);
        return err_raise(-ENOMEM);
    }
    *peer = *at;
    fx->node = at->node;
    fx->token = token;
    fx->peer = peer;
    return 0;
}

int fx_answer(struct step *s, uint64_t token, uint64_t request_id, const struct cluster_answer *answer)
{
    struct pending_answer *later;
    struct cluster_fx *fx;

    if (!request_id)
        return 0;
    if (token && s->c->answers.n < CLUSTER_ANSWERS_MAX) {
        later = malloc(sizeof(*later));
        if (!later)
            return err_raise(-ENOMEM);
        *later = (struct pending_answer){.token = token, .request_id = request_id, .answer = *answer};
        return err_fold(journal_add(&s->journal, &s->c->answers, s->c->answers.n, later, free));
    }
    fx = fx_new(s, CLUSTER_FX_ANSWER);
    if (!fx)
        return err_raise(-ENOMEM);
    fx->request_id = request_id;
    fx->answer = *answer;
    if (token)
        fx->answer = (struct cluster_answer){.code = "busy", .text = "too many requests wait already; try again"};
    return 0;
}

static int fx_key(struct step *s, enum cluster_fx_kind kind, const char *key, enum key_scope scope)
{
    struct cluster_fx *fx = fx_new(s, kind);

    if (!fx)
        return err_raise(-ENOMEM);
    text_format(fx->key, sizeof(fx->key), "%s", key);
    fx->scope = scope;
    return 0;
}

int fx_allow(struct step *s, const char *key, enum key_scope scope)
{
    return err_fold(fx_key(s, CLUSTER_FX_ALLOW, key, scope));
}

int fx_forbid(struct step *s, const char *key)
{
    return err_fold(fx_key(s, CLUSTER_FX_FORBID, key, KEY_REVOKED));
}

int fx_refuse(struct step *s, uint64_t request_id, const char *code, const char *text)
{
    struct cluster_answer answer = {0};

    text_format(answer.code, sizeof(answer.code), "%s", code);
    text_format(answer.text, sizeof(answer.text), "%s", text);
    return err_fold(fx_answer(s, 0, request_id, &answer));
}

int fx_finish(struct step *s)
{
    struct cluster_fx *fx;
    int r;

    if (s->n_records) {
        fx = fx_new(s, CLUSTER_FX_COMMIT);
        if (!fx)
            return err_raise(-ENOMEM);
        fx->token = step_token(s);
        r = fx_fill_commit(s, fx);
        if (r)
            return err_fold(r);
    }
    if (s->changed && !fx_new(s, CLUSTER_FX_CHANGED))
        return err_raise(-ENOMEM);
    return 0;
}

void cluster_effects_destroy(struct cluster_effects **fx)
{
    if (!fx || !*fx)
        return;
    for (size_t i = 0; i < (*fx)->n; i++) {
        struct cluster_fx *item = &(*fx)->item[i];

        message_destroy(&item->message);
        for (size_t k = 0; k < item->n_records; k++)
            record_clear(&item->record[k]);
        free(item->record);
        free(item->peer);
    }
    free((*fx)->item);
    free(*fx);
    *fx = NULL;
}
