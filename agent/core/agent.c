#include "agent/core/agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/state.h"
#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/sat.h"

struct agent {
    struct agent_config config;
    struct state *now, *draft; /* they change places when a step has succeeded */
    struct result_book results;
    struct unit_facts view[PROTO_UNITS_MAX];
};

/* ---- life ------------------------------------------------------------------------------------------------------- */

static void free_models(struct model_facts *model, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(model[i].shape);
    free(model);
}

static void restore_epoch(struct state *s, const struct agent_epoch *from)
{
    struct epoch *e = epoch_book_enter(&s->epochs, &from->instance);

    if (!e || e->epoch > from->epoch)
        return;
    e->epoch = from->epoch;
    e->bytes = from->lease_bytes;
    lease_book_release(&s->leases, &from->instance, from->epoch);
    e->state = from->leased && lease_book_grant(&s->leases, &from->instance, from->epoch, from->lease_bytes, 0) == 0
                   ? EPOCH_LIVE
                   : EPOCH_OVER;
}

int agent_new(const struct agent_config *config, const struct agent_epoch *epochs, size_t n_epochs, struct agent **ret)
{
    CLEANUP(agent_destroy) struct agent *a = calloc(1, sizeof(*a));

    if (!a)
        return err_raise(-ENOMEM);
    a->config = *config;
    a->now = calloc(1, sizeof(*a->now));
    a->draft = calloc(1, sizeof(*a->draft));
    if (!a->now || !a->draft)
        return err_raise(-ENOMEM);
    a->now->told_due_ms = a->now->rewrite_due_ms = UINT64_MAX;
    for (size_t i = 0; i < n_epochs; i++)
        restore_epoch(a->now, &epochs[i]);
    *ret = a;
    a = NULL;
    return 0;
}

void agent_destroy(struct agent **a)
{
    if (!*a)
        return;
    if ((*a)->now)
        free_models((*a)->now->model, (*a)->now->n_models);
    free((*a)->now);
    free((*a)->draft);
    free(*a);
    *a = NULL;
}

/* ---- the step --------------------------------------------------------------------------------------------------- */

static void on_unit_event(struct step *st, const struct agent_ev *ev)
{
    struct unit *u = unit_find(st->s, ev->unit_id);

    if (!u) {
        unit_on_unknown(st, ev);
        return;
    }
    switch (ev->kind) {
    case AGENT_EV_SPAWNED:
        unit_on_spawned(st, u, ev);
        return;
    case AGENT_EV_SPAWN_FAILED:
        unit_on_spawn_failed(st, u, ev->reason, ev->text);
        return;
    case AGENT_EV_PROBED:
        unit_on_probed(st, u, ev);
        return;
    case AGENT_EV_DYING:
        unit_on_dying(st, u);
        return;
    case AGENT_EV_EXITED:
        unit_on_exited(st, u, &ev->exit, ev->text);
        return;
    case AGENT_EV_COORDINATOR:
        unit_on_log(st, u, ev->facts);
        return;
    case AGENT_EV_ADOPT:
    case AGENT_EV_BEGIN:
    case AGENT_EV_LINK_UP:
    case AGENT_EV_LINK_DOWN:
    case AGENT_EV_MESSAGE:
    case AGENT_EV_PERSISTED:
    case AGENT_EV_SAMPLE:
    case AGENT_EV_MODELS:
    case AGENT_EV_PORT_CLASH:
    case AGENT_EV_PEER_UP:
    case AGENT_EV_PEER_DOWN:
    case AGENT_EV_PEER_MESSAGE:
    case AGENT_EV_KNOCKED:
    case AGENT_EV_RESUMED:
    case AGENT_EV_TICK:
        return;
    }
}

static void resume(struct step *st)
{
    for (size_t i = 0; i < st->s->n_units; i++)
        unit_on_resumed(st, &st->s->unit[i]);
    knock_on_resumed(st);
    peers_on_resumed(st);
    route_on_resumed(st);
    report_on_resumed(st);
}

static void on_message(struct step *st, const struct message *m)
{
    route_note_leader(st, m);
    if (m->kind == MESSAGE_COMMAND)
        command_on_message(st, m);
    else if (m->kind == MESSAGE_NEIGHBOURS)
        peers_on_list(st, m->neighbours);
    else if (m->kind == MESSAGE_RELAY)
        relay_from_controller(st, &m->relay);
}

static void on_peer_message(struct step *st, const struct agent_ev *ev)
{
    struct peer *from = peer_find(st->s, ev->key);

    if (from && ev->message->kind == MESSAGE_HEALTH)
        peers_on_health(st, from, &ev->message->health);
    else if (from && ev->message->kind == MESSAGE_RELAY)
        relay_from_peer(st, from, &ev->message->relay);
}

static void on_event(struct step *st, const struct agent_ev *ev)
{
    switch (ev->kind) {
    case AGENT_EV_ADOPT:
        adopt_unit(st, ev->unit);
        return;
    case AGENT_EV_BEGIN:
        adopt_end(st);
        return;
    case AGENT_EV_LINK_UP:
        route_on_link_up(st, ev->minor);
        return;
    case AGENT_EV_LINK_DOWN:
        route_on_link_down(st);
        return;
    case AGENT_EV_MESSAGE:
        on_message(st, ev->message);
        return;
    case AGENT_EV_PERSISTED:
        command_on_persisted(st, ev->token, ev->ok);
        return;
    case AGENT_EV_SAMPLE:
        report_on_sample(st, ev->sample);
        return;
    case AGENT_EV_MODELS:
        st->s->model = ev->model;
        st->s->n_models = ev->n_models;
        memset(st->s->index_permille, 0, sizeof(st->s->index_permille));
        st->s->models_untold = true;
        return;
    case AGENT_EV_PORT_CLASH:
        unit_tell(st, unit_find(st->s, ev->unit_id), AGENT_EVENT_PORT_CLASH, ev->text);
        return;
    case AGENT_EV_SPAWNED:
    case AGENT_EV_SPAWN_FAILED:
    case AGENT_EV_PROBED:
    case AGENT_EV_DYING:
    case AGENT_EV_EXITED:
    case AGENT_EV_COORDINATOR:
        on_unit_event(st, ev);
        return;
    case AGENT_EV_KNOCKED:
        knock_on_found(st, ev->token, ev->knock);
        return;
    case AGENT_EV_RESUMED:
        resume(st);
        return;
    case AGENT_EV_PEER_UP:
        peers_on_up(st, ev->key);
        return;
    case AGENT_EV_PEER_DOWN:
        peers_on_down(st, ev->key);
        return;
    case AGENT_EV_PEER_MESSAGE:
        on_peer_message(st, ev);
        return;
    case AGENT_EV_TICK:
        return;
    }
}

/* Of each list only what is in use: most of the state is room. */
static void make_draft(struct state *to, const struct state *from)
{
    memcpy(to, from, offsetof(struct state, leases));
    memcpy(&to->leases, &from->leases,
           offsetof(struct lease_book, lease) + from->leases.n * sizeof(from->leases.lease[0]));
    memcpy(&to->epochs, &from->epochs,
           offsetof(struct epoch_book, epoch) + from->epochs.n * sizeof(from->epochs.epoch[0]));
    to->n_flows = from->n_flows;
    memcpy(to->flow, from->flow, from->n_flows * sizeof(from->flow[0]));
    to->n_pending = from->n_pending;
    memcpy(to->pending, from->pending, from->n_pending * sizeof(from->pending[0]));
    to->n_units = from->n_units;
    memcpy(to->unit, from->unit, from->n_units * sizeof(from->unit[0]));
}

/* Whichever way it goes. Not one that we carry for a neighbour: that is a relay in a SEND. NULL: it is no result. */
static const struct message *own_result(const struct agent_fx *fx)
{
    const struct message *m = fx->message;

    if (m && fx->kind == AGENT_FX_PEER_SEND)
        m = m->kind == MESSAGE_RELAY ? m->relay.inner : NULL;
    return m && m->kind == MESSAGE_RESULT ? m : NULL;
}

static void commit(struct agent *a, const struct agent_effects *fx)
{
    struct state *old = a->now;

    for (size_t i = 0; i < fx->n; i++) {
        const struct message *m = own_result(&fx->item[i]);

        if (m && !id128_is_zero(&m->instance)) { /* a knock's is not kept */
            const struct command_key key = command_key_of(m);

            result_book_put(&a->results, &key, &m->result);
        }
    }
    if (old->model != a->draft->model)
        free_models(old->model, old->n_models);
    a->now = a->draft;
    a->draft = old;
    for (size_t i = 0; i < a->now->n_units; i++)
        a->view[i] = a->now->unit[i].facts;
}

struct agent_effects *agent_step(struct agent *a, const struct agent_ev *ev, uint64_t now_ms)
{
    struct step st = {.config = &a->config, .results = &a->results, .s = a->draft, .now_ms = now_ms};

    if (effects_begin(&st.fx) < 0)
        return NULL;
    make_draft(a->draft, a->now);
    on_event(&st, ev);
    peers_settle(&st);
    route_settle(&st); /* before anything else is said: what goes a lost way must not count as told */
    for (size_t i = 0; i < st.s->n_units; i++)
        unit_on_due(&st, &st.s->unit[i]);
    knock_on_due(&st);
    disk_on_due(&st);
    settle(&st);
    report_if_due(&st);
    if (st.fx.failed) {
        agent_effects_destroy(&st.fx.list);
        return NULL;
    }
    commit(a, st.fx.list);
    return st.fx.list;
}

uint64_t agent_deadline_ms(const struct agent *a)
{
    uint64_t due = sat_min(sat_min(report_due_ms(a->now), knock_due_ms(a->now)),
                           sat_min(peers_due_ms(a->now), route_due_ms(a->now)));

    due = sat_min(due, a->now->rewrite_due_ms);

    for (size_t i = 0; i < a->now->n_units; i++)
        due = sat_min(due, a->now->unit[i].due_ms);
    return due;
}

/* ---- views ------------------------------------------------------------------------------------------------------ */

size_t agent_units(const struct agent *a, const struct unit_facts **ret)
{
    *ret = a->view;
    return a->now->n_units;
}

const struct unit_facts *agent_unit(const struct agent *a, const char *unit_id)
{
    for (size_t i = 0; i < a->now->n_units; i++) {
        if (strcmp(a->view[i].id, unit_id) == 0)
            return &a->view[i];
    }
    return NULL;
}

const char *agent_via(const struct agent *a)
{
    return a->now->route.state == ROUTE_VIA ? a->now->route.via : NULL;
}

uint64_t agent_relays_dropped(const struct agent *a)
{
    return a->now->relays_dropped;
}
