/* The list of supervised processes: finding them, and who comes into it and leaves it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/core/state.h"

/* ---- finding ---------------------------------------------------------------------------------------------------- */

struct unit *unit_find(struct state *s, const char *id)
{
    for (size_t i = 0; id && i < s->n_units; i++) {
        if (strcmp(s->unit[i].facts.id, id) == 0)
            return &s->unit[i];
    }
    return NULL;
}

struct unit *unit_standing(struct state *s)
{
    for (size_t i = 0; i < s->n_units; i++) {
        if (s->unit[i].facts.standing)
            return &s->unit[i];
    }
    return NULL;
}

struct unit *unit_coordinator(struct state *s, const struct id128 *instance, uint64_t epoch)
{
    for (size_t i = 0; i < s->n_units; i++) {
        const struct unit_facts *f = &s->unit[i].facts;

        if (f->role == UNIT_COORDINATOR && f->epoch == epoch && id128_equal(&f->instance, instance))
            return &s->unit[i];
    }
    return NULL;
}

struct unit *unit_rank(struct state *s, const struct id128 *instance, uint64_t epoch, int32_t rank)
{
    for (size_t i = 0; i < s->n_units; i++) {
        const struct unit_facts *f = &s->unit[i].facts;

        if (f->role == UNIT_WORKER && f->rank == rank && f->epoch == epoch && id128_equal(&f->instance, instance))
            return &s->unit[i];
    }
    return NULL;
}

/* One that is being ended was left over by an earlier life of the agent: there may be another one beside it. */
struct unit *unit_carrier(struct state *s, const struct id128 *instance, uint64_t epoch)
{
    for (size_t i = 0; i < s->n_units; i++) {
        const struct unit_facts *f = &s->unit[i].facts;

        if (f->role == UNIT_CARRIER && f->epoch == epoch && !s->unit[i].ending && id128_equal(&f->instance, instance))
            return &s->unit[i];
    }
    return NULL;
}

bool unit_is_carried(const struct state *s, const struct unit *u)
{
    for (size_t i = 0; i < s->n_units; i++) {
        const struct unit_facts *f = &s->unit[i].facts;

        if (f->role == UNIT_CARRIER && f->epoch == u->facts.epoch && id128_equal(&f->instance, &u->facts.instance))
            return true;
    }
    return false;
}

bool unit_is_free(const struct unit *u)
{
    return id128_is_zero(&u->facts.instance);
}

bool unit_serves(const struct unit *u, const struct id128 *instance, uint64_t up_to_epoch)
{
    return !unit_is_free(u) && u->facts.epoch <= up_to_epoch && id128_equal(&u->facts.instance, instance);
}

bool unit_any(const struct state *s, const struct id128 *instance, uint64_t up_to_epoch)
{
    for (size_t i = 0; i < s->n_units; i++) {
        if (unit_serves(&s->unit[i], instance, up_to_epoch))
            return true;
    }
    return false;
}

bool unit_is_gone(const struct unit *u)
{
    switch (u->facts.state) {
    case UNIT_EXITED:
    case UNIT_BACKOFF:
    case UNIT_FAILED:
        return true;
    case UNIT_IDLE:
    case UNIT_STARTING:
    case UNIT_RUNNING:
    case UNIT_STOPPING:
        break;
    }
    return false;
}

/* ---- making and dropping ---------------------------------------------------------------------------------------- */

/* Numbers follow the monotonic clock: unique over restarts of the agent, for the clock does not start anew with it; and
 * they go on above those of adopted units. */
static void name_unit(struct step *st, struct unit_facts *f)
{
    static const char letter[] = {[UNIT_WORKER] = 'w', [UNIT_COORDINATOR] = 'c', [UNIT_CARRIER] = 't'};
    uint64_t next = st->s->last_unit_number + 1;

    st->s->last_unit_number = next > st->now_ms ? next : st->now_ms;
    snprintf(f->id, sizeof(f->id), "%c%" PRIu64, letter[f->role], st->s->last_unit_number);
}

const char *unit_home(const struct step *st, enum unit_role role)
{
    return role == UNIT_CARRIER ? st->config->carrier_addr : st->config->addr;
}

bool unit_is_elsewhere(const struct step *st, const struct unit *u)
{
    return strcmp(u->facts.addr, unit_home(st, u->facts.role)) != 0;
}

struct unit *unit_new(struct step *st, enum unit_role role)
{
    struct unit *u;

    if (st->s->n_units == PROTO_UNITS_MAX)
        return NULL;
    u = &st->s->unit[st->s->n_units];
    memset(u, 0, sizeof(*u));
    u->facts.role = role;
    u->facts.state = UNIT_IDLE;
    u->facts.rank = -1;
    u->facts.proc_state = '?';
    u->due_ms = UINT64_MAX;
    u->grace_ms = AGENT_STOP_GRACE_MS;
    u->port_hint = role == UNIT_WORKER ? st->s->worker_port : 0;
    memcpy(u->facts.addr, unit_home(st, role), sizeof(u->facts.addr));
    name_unit(st, &u->facts);
    st->s->n_units++;
    st->s->units_changed = true;
    return u;
}

struct agent_fx *unit_effect(struct step *st, const struct unit *u, enum agent_fx_kind kind)
{
    struct agent_fx *fx = effects_add(&st->fx, kind);

    if (fx)
        memcpy(fx->unit_id, u->facts.id, sizeof(fx->unit_id));
    return fx;
}

void unit_drop(struct step *st, struct unit *u)
{
    size_t at = (size_t)(u - st->s->unit);

    if (u->facts.state == UNIT_EXITED || u->facts.state == UNIT_FAILED) /* else it has no record, or none any more */
        unit_effect(st, u, AGENT_FX_FORGET);
    memmove(u, u + 1, (st->s->n_units - at - 1) * sizeof(*u));
    st->s->n_units--;
    st->s->units_changed = true;
}
