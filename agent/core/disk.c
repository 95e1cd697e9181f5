/* What is to be on disk. A restarted agent believes its disk, so what a full one did not take is written again until it
 * agrees with what holds: an epoch that is over would be obeyed and its lease kept, a worker that serves nobody would be
 * taken for one that is leased. What could not be written of a beginning needs no second try: it did not begin. */
#include "agent/core/state.h"

static void write_epoch(struct step *st, struct epoch *e, bool leased)
{
    struct agent_fx *fx = effects_add(&st->fx, AGENT_FX_PERSIST_EPOCH);

    e->token = ++st->s->last_token;
    e->unwritten = false;
    if (!fx)
        return;
    fx->token = e->token;
    fx->epoch = (struct agent_epoch){
        .instance = e->instance, .epoch = e->epoch, .leased = leased, .lease_bytes = leased ? e->bytes : 0};
}

void disk_write_lease(struct step *st, struct epoch *e)
{
    e->state = EPOCH_WRITING;
    write_epoch(st, e, true);
}

void disk_write_over(struct step *st, struct epoch *e)
{
    e->state = EPOCH_OVER;
    write_epoch(st, e, false);
}

static void try_again(struct state *s, uint64_t now_ms)
{
    if (s->rewrite_due_ms == UINT64_MAX)
        s->rewrite_due_ms = now_ms + AGENT_REWRITE_MS;
}

void disk_unit_failed(struct step *st, struct unit *u)
{
    u->unwritten = true;
    try_again(st->s, st->now_ms);
}

void disk_over_failed(struct step *st, struct epoch *e)
{
    e->unwritten = true;
    try_again(st->s, st->now_ms);
}

void disk_on_due(struct step *st)
{
    static const struct id128 nobody;
    struct state *s = st->s;

    if (st->now_ms < s->rewrite_due_ms)
        return;
    s->rewrite_due_ms = UINT64_MAX;
    for (size_t i = 0; i < s->n_units; i++) {
        if (s->unit[i].unwritten)
            unit_assign(st, &s->unit[i], &nobody, 0, -1);
    }
    for (size_t i = 0; i < s->epochs.n; i++) {
        if (s->epochs.epoch[i].unwritten)
            disk_write_over(st, &s->epochs.epoch[i]);
    }
}
