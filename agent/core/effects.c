#include "agent/core/effects.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"

enum { EFFECTS_FIRST = 8 };

static size_t list_size(size_t cap)
{
    return sizeof(struct agent_effects) + cap * sizeof(struct agent_fx);
}

int effects_begin(struct effects *e)
{
    e->failed = false;
    e->list = malloc(list_size(EFFECTS_FIRST));
    if (!e->list)
        return err_raise(-ENOMEM);
    e->list->n = 0;
    e->list->cap = EFFECTS_FIRST;
    return 0;
}

void effects_fail(struct effects *e)
{
    e->failed = true;
}

void *effects_copy(struct effects *e, const void *from, size_t n_bytes)
{
    void *copy = malloc(n_bytes);

    if (copy)
        memcpy(copy, from, n_bytes);
    else
        e->failed = true;
    return copy;
}

struct agent_fx *effects_add(struct effects *e, enum agent_fx_kind kind)
{
    struct agent_fx *fx;

    if (e->failed)
        return NULL;
    if (e->list->n == e->list->cap) {
        struct agent_effects *more = realloc(e->list, list_size(e->list->cap * 2));

        if (!more) {
            e->failed = true;
            return NULL;
        }
        more->cap *= 2;
        e->list = more;
    }
    fx = &e->list->item[e->list->n++];
    memset(fx, 0, sizeof(*fx));
    fx->kind = kind;
    return fx;
}

/* Of a heartbeat's 45 KB most is room for lists: it is not touched. What a count covers is written by whoever sets it. */
static struct report *new_report(void)
{
    struct report *r = malloc(sizeof(*r));

    if (!r)
        return NULL;
    memset(r, 0, offsetof(struct report, device));
    r->n_units = r->n_models = r->n_leases = r->n_flows = 0;
    r->model = NULL;
    return r;
}

static struct message *new_message(struct effects *e, enum message_kind kind)
{
    struct message *m = calloc(1, sizeof(*m));

    if (!m) {
        e->failed = true;
        return NULL;
    }
    m->kind = kind;
    if (kind == MESSAGE_REPORT)
        m->report = new_report();
    else if (kind == MESSAGE_EVENT)
        m->event = calloc(1, sizeof(*m->event));
    if ((kind == MESSAGE_REPORT && !m->report) || (kind == MESSAGE_EVENT && !m->event))
        e->failed = true;
    return m;
}

static struct agent_fx *add_message(struct effects *e, enum agent_fx_kind fx_kind, enum message_kind kind)
{
    CLEANUP(message_destroy) struct message *m = new_message(e, kind);
    struct agent_fx *fx = effects_add(e, fx_kind);

    if (!fx)
        return NULL;
    fx->message = m;
    m = NULL;
    return fx;
}

struct message *effects_send(struct effects *e, enum message_kind kind)
{
    struct agent_fx *fx = add_message(e, AGENT_FX_SEND, kind);

    return fx ? fx->message : NULL;
}

struct message *effects_peer_send(struct effects *e, const char *to, enum message_kind kind)
{
    struct agent_fx *fx = add_message(e, AGENT_FX_PEER_SEND, kind);

    if (!fx)
        return NULL;
    memcpy(fx->key, to, strlen(to) + 1);
    return fx->message;
}

struct message *effects_relay(struct effects *e, const char *to, const char *key, enum message_kind kind)
{
    CLEANUP(message_destroy) struct message *inner = new_message(e, kind);
    struct message *outer = effects_peer_send(e, to, MESSAGE_RELAY);

    if (!outer)
        return NULL;
    memcpy(outer->relay.key, key, strlen(key) + 1);
    outer->relay.inner = inner;
    inner = NULL;
    return outer->relay.inner;
}

void agent_spec_destroy(struct coordinator_spec **spec)
{
    if (!*spec)
        return;
    free((*spec)->arg);
    explicit_bzero(*spec, sizeof(**spec));
    free(*spec);
    *spec = NULL;
}

void agent_effects_destroy(struct agent_effects **fx)
{
    if (!*fx)
        return;
    for (size_t i = 0; i < (*fx)->n; i++) {
        struct agent_fx *item = &(*fx)->item[i];

        message_destroy(&item->message);
        free(item->neighbours);
        free(item->peer);
        free(item->carrier);
        agent_spec_destroy(&item->coordinator);
    }
    free(*fx);
    *fx = NULL;
}
