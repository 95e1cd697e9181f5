/* A restarted agent finds its children: what they are, whom they serve, and which of them the dead agent was ending. */
#include <stdlib.h>
#include <string.h>

#include "agent/core/state.h"

/* Names go on above those in use, whatever the clock says. */
static void note_name(struct state *s, const char *id)
{
    uint64_t number = id[0] ? strtoull(id + 1, NULL, 10) : 0;

    if (number < UINT64_MAX && number > s->last_unit_number)
        s->last_unit_number = number;
}

/* The number on disk and the unit's own should agree. Where they do not, the newer one holds. An epoch is only recorded
 * as over when nothing of it was left: a unit that says it serves it could not have its own record written or deleted. */
static void adopt_epoch(struct step *st, struct unit *u)
{
    struct epoch *e = epoch_book_enter(&st->s->epochs, &u->facts.instance);

    if (!e)
        return;
    if (e->epoch > u->facts.epoch || (e->epoch == u->facts.epoch && e->state == EPOCH_OVER)) {
        u->ending = true;
        return;
    }
    if (e->epoch < u->facts.epoch) {
        e->bytes = 0; /* it is not known; what the process holds is measured all the same */
        lease_book_release(&st->s->leases, &e->instance, e->epoch);
    }
    e->epoch = u->facts.epoch;
    if (lease_book_grant(&st->s->leases, &e->instance, e->epoch, e->bytes, 0) == 0)
        e->state = EPOCH_LIVE;
}

/* Of one that has ended its record can be spared. */
static bool make_room(struct step *st)
{
    for (size_t i = 0; i < st->s->n_units; i++) {
        if (unit_is_gone(&st->s->unit[i])) {
            unit_drop(st, &st->s->unit[i]);
            return true;
        }
    }
    return st->s->n_units < PROTO_UNITS_MAX;
}

void adopt_unit(struct step *st, const struct unit_facts *facts)
{
    struct unit *u;

    if (st->s->n_units == PROTO_UNITS_MAX && !make_room(st)) { /* no agent ever started so many */
        unit_disown(st, facts->id, facts->state == UNIT_EXITED);
        return;
    }
    u = &st->s->unit[st->s->n_units];
    memset(u, 0, sizeof(*u));
    u->facts = *facts;
    u->facts.adopted = true;
    u->due_ms = UINT64_MAX;
    u->grace_ms = AGENT_STOP_GRACE_MS;
    u->running_ms = u->started_ms = st->now_ms;
    u->facts.standing = (facts->standing || unit_is_free(u)) && facts->role == UNIT_WORKER && !unit_standing(st->s);
    if (!unit_is_free(u))
        adopt_epoch(st, u);
    if (unit_is_gone(u)) {
        u->untold = !unit_is_free(u) && !u->ending;
        u->facts.pid = 0;
    }
    note_name(st->s, facts->id);
    st->s->n_units++;
    st->s->units_changed = true;
}

/* A worker of an older epoch may have been told before one of a newer epoch was. */
static bool is_stale(struct state *s, const struct unit *u)
{
    const struct epoch *e = epoch_book_find(&s->epochs, &u->facts.instance);

    return e && u->facts.epoch < e->epoch;
}

static bool has_begun(const struct state *s, const struct epoch *e)
{
    for (size_t i = 0; i < s->n_units; i++) {
        if (s->unit[i].facts.epoch == e->epoch && unit_serves(&s->unit[i], &e->instance, e->epoch))
            return true;
    }
    return false;
}

/* An epoch is written before it is granted, so after a restart in between more may be on record than was ever promised:
 * over this node's limit, one that nobody serves was not. */
static void end_ungranted(struct step *st)
{
    struct state *s = st->s;
    uint64_t limit_bytes = st->config->memory_limit_bytes;

    for (size_t i = 0; i < s->epochs.n; i++) {
        struct epoch *e = &s->epochs.epoch[i];

        if (!limit_bytes || lease_book_sum(&s->leases) <= limit_bytes)
            return;
        if (e->state == EPOCH_LIVE && !has_begun(s, e)) {
            lease_book_release(&s->leases, &e->instance, e->epoch);
            e->state = EPOCH_ENDING;
        }
    }
}

/* The last agent was still ending the older epochs of these, so they were not granted yet. */
static void go_on_clearing(struct state *s)
{
    for (size_t i = 0; i < s->epochs.n; i++) {
        struct epoch *e = &s->epochs.epoch[i];

        if (e->state == EPOCH_LIVE && !has_begun(s, e) && unit_any(s, &e->instance, e->epoch)) {
            e->state = EPOCH_CLEARING;
            lease_book_release(&s->leases, &e->instance, e->epoch);
        }
    }
}

/* A carrier is there for a coordinator, or for a worker that another node's coordinator dials (rank 0 stands beside its own).
 * Without either, the last agent ended before that was started, and the start will come again; or their record was lost, and
 * the process with it. Nothing is ended the other way round: a worker is given a carrier when its start comes again, and of
 * one that has lost its own the streams broke, which is told by where they led. */
static bool has_lost_its_own(const struct state *s, const struct unit *carrier)
{
    for (size_t i = 0; i < s->n_units; i++) {
        const struct unit_facts *f = &s->unit[i].facts;
        bool carried = f->role == UNIT_COORDINATOR || (f->role == UNIT_WORKER && f->rank > 0);

        if (carried && f->epoch == carrier->facts.epoch && id128_equal(&f->instance, &carrier->facts.instance))
            return false;
    }
    return true;
}

/* All records were told. Those who serve nobody and are not the standing worker were left over by a stop that the
 * agent's own end cut short. */
void adopt_end(struct step *st)
{
    st->s->begun = true;
    route_on_begin(st);
    for (size_t i = st->s->n_units; i-- > 0;) {
        struct unit *u = &st->s->unit[i];

        if (u->facts.role == UNIT_CARRIER && has_lost_its_own(st->s, u)) {
            u->ending = true;
        } else if (!unit_is_free(u)) {
            if (!is_stale(st->s, u))
                continue;
            u->ending = true;
            unit_expose(st, u); /* how its coordinator fared is not on record */
        } else if (unit_is_gone(u)) {
            unit_drop(st, u);
        } else if (u->facts.standing && !unit_is_elsewhere(st, u)) {
            unit_ask_empty(st, u);
        } else {
            u->facts.standing = false;
            u->ending = true;
        }
    }
    go_on_clearing(st->s);
    end_ungranted(st);
}
